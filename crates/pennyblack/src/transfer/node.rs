//! The node's side of imports and exports: frames in, store verbs, frames out.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::sync::Arc;

use base::{AccountId, EmailAddress, MailboxId, Timestamp, Uid};
use serde_json::{Value, json};
use store::{
    ImportLetter, ImportMailbox, ImportMark, Keywords, MailboxInfo, MessageMeta, PlacementRow,
    Role, Store, StoreError,
};
use tokio::io::{AsyncRead, AsyncWrite, BufReader, BufWriter};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::flags::Flags;
use super::names::Target;
use super::source::{Mark, Skipped, date_in_head, too_large};
use super::wire::{
    Ask, ExportMailbox, FrameReader, FrameWriter, IDLE_MAX, LetterIn, LetterOut, MailboxOut, Tell,
};
use crate::control::{ExportOrder, Failure, FailureKind, ImportOrder, rows};

/// Letters, and bytes of them, that are stored at once.
const BATCH: usize = 200;
const BATCH_BYTES: u64 = 4 << 20;
/// Placements that are read at once.
const PAGE: usize = 500;

/// Why a session ended early.
enum End {
    /// Tell the command.
    Failed(Failure),
    /// The command has gone.
    Gone(io::Error),
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> Self {
        Self::Gone(error)
    }
}

impl From<StoreError> for End {
    fn from(error: StoreError) -> Self {
        Self::Failed(error.into())
    }
}

impl From<Failure> for End {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// Stores what a command sends.
///
/// # Errors
/// When the command has gone; everything else is told to it.
pub async fn import<R, W>(
    reader: R,
    writer: W,
    store: &Store,
    order: &ImportOrder,
    shutdown: &CancellationToken,
) -> io::Result<()>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut reader = FrameReader::new(BufReader::with_capacity(128 * 1024, reader));
    let mut writer = FrameWriter::new(BufWriter::new(writer));
    let done = import_all(&mut reader, &mut writer, store, order, shutdown).await;
    tell_end(&mut writer, done).await
}

/// Gives a command what it asks for.
///
/// # Errors
/// When the command has gone; everything else is told to it.
pub async fn export<R, W>(
    reader: R,
    writer: W,
    store: &Store,
    order: &ExportOrder,
    shutdown: &CancellationToken,
) -> io::Result<()>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut reader = FrameReader::new(BufReader::new(reader));
    let mut writer = FrameWriter::new(BufWriter::with_capacity(128 * 1024, writer));
    let done = tokio::select! {
        biased;
        () = shutdown.cancelled() => Err(stopping()),
        done = export_all(&mut reader, &mut writer, store, order) => done,
    };
    tell_end(&mut writer, done).await
}

async fn tell_end<W: AsyncWrite + Unpin>(
    writer: &mut FrameWriter<W>,
    done: Result<(), End>,
) -> io::Result<()> {
    let last = match done {
        Ok(()) => Tell::Done,
        Err(End::Failed(failure)) => Tell::Failed(failure),
        Err(End::Gone(error)) => return Err(error),
    };
    send(writer, &last).await?;
    in_time(writer.flush()).await
}

fn stopping() -> End {
    End::Failed(Failure {
        kind: FailureKind::Transient,
        text: "the node is stopping; the same command goes on later where this one stopped"
            .to_owned(),
    })
}

async fn in_time<T>(work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    let done = tokio::time::timeout(IDLE_MAX, work).await;
    done.map_err(|_| io::ErrorKind::TimedOut)?
}

async fn send<W: AsyncWrite + Unpin>(writer: &mut FrameWriter<W>, tell: &Tell) -> io::Result<()> {
    in_time(writer.message(tell)).await
}

async fn receive<R: AsyncRead + Unpin>(reader: &mut FrameReader<R>) -> io::Result<Ask> {
    let ask = in_time(reader.message()).await?;
    ask.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

async fn import_all<R: AsyncRead + Unpin, W: AsyncWrite + Unpin>(
    reader: &mut FrameReader<R>,
    writer: &mut FrameWriter<W>,
    store: &Store,
    order: &ImportOrder,
    shutdown: &CancellationToken,
) -> Result<(), End> {
    let account = account_id(store, &order.account).await?;
    let mut marks = Vec::new();
    for source in &order.sources {
        if order.again {
            store.forget_import(account, source).await?;
        }
        marks.extend(
            store
                .import_marks(account, source)
                .await?
                .into_iter()
                .map(|ImportMark { source, position }| Mark { source, position }),
        );
    }
    send(writer, &Tell::Ready(marks)).await?;
    in_time(writer.flush()).await?;
    // One batch is read while the one before is stored.
    let (batches, waiting) = mpsc::channel(1);
    let reading = Reading {
        store,
        account,
        mailboxes: BTreeMap::new(),
        batch: Batch::default(),
        batches,
    };
    let storing = store_batches(
        store,
        (account, order.over_quota),
        waiting,
        writer,
        shutdown,
    );
    let (read, stored) = tokio::join!(reading.read_all(reader), storing);
    // What the store says is the reason; a closed channel is only its echo.
    stored.and(read)
}

/// What is read and not stored yet.
#[derive(Default)]
struct Batch {
    letters: Vec<ImportLetter>,
    skipped: Vec<Skipped>,
    bytes: u64,
}

struct Reading<'a> {
    store: &'a Store,
    account: AccountId,
    /// Mailboxes that were named, or why they cannot be made.
    mailboxes: BTreeMap<String, Result<Arc<ImportMailbox>, String>>,
    batch: Batch,
    batches: mpsc::Sender<Batch>,
}

impl Reading<'_> {
    async fn read_all<R: AsyncRead + Unpin>(
        mut self,
        reader: &mut FrameReader<R>,
    ) -> Result<(), End> {
        loop {
            let ask = tokio::select! {
                biased;
                // The store has failed; the command hears it there.
                () = self.batches.closed() => return Ok(()),
                ask = receive(reader) => ask?,
            };
            match ask {
                Ask::Mailbox(target) => {
                    if let Err(reason) = self.mailbox(&target).await? {
                        let name = format!("mailbox {}", target.name);
                        self.batch.skipped.push(Skipped { name, reason });
                    }
                }
                Ask::Letter(letter) => self.letter(*letter, reader).await?,
                // It is told in its turn.
                Ask::Skipped(skipped) => self.batch.skipped.push(skipped),
                // While nothing comes, what has come need not wait.
                Ask::Ping => self.hand_over().await,
                Ask::End => {
                    self.hand_over().await;
                    return Ok(());
                }
                Ask::Export(_) => return Err(Failure::invalid("this is an import").into()),
            }
            let waiting = self.batch.letters.len() + self.batch.skipped.len();
            if waiting >= BATCH || self.batch.bytes >= BATCH_BYTES {
                self.hand_over().await;
            }
        }
    }

    async fn hand_over(&mut self) {
        let batch = std::mem::take(&mut self.batch);
        // A closed channel is looked at before the next frame.
        let _ = self.batches.send(batch).await;
    }

    /// The mailbox of a target, which is made once.
    async fn mailbox(
        &mut self,
        target: &Target,
    ) -> Result<Result<Arc<ImportMailbox>, String>, End> {
        if let Some(known) = self.mailboxes.get(&target.name) {
            return Ok(known.clone());
        }
        let mailbox = ImportMailbox {
            name: target.name.clone(),
            role: target.role.as_deref().and_then(role),
            subscribed: target.subscribed,
        };
        let made = match self
            .store
            .import_mailbox(self.account, mailbox.clone())
            .await
        {
            Ok(()) => Ok(Arc::new(mailbox)),
            Err(StoreError::Invalid(why)) => Err(why),
            Err(error) => return Err(error.into()),
        };
        self.mailboxes.insert(target.name.clone(), made.clone());
        Ok(made)
    }

    async fn letter<R: AsyncRead + Unpin>(
        &mut self,
        letter: LetterIn,
        reader: &mut FrameReader<R>,
    ) -> Result<(), End> {
        let limit = self.store.letter_bytes_max();
        let refused = match self.mailbox(&letter.target).await? {
            Err(why) => Some(why),
            Ok(_) if letter.bytes > limit => Some(too_large(limit)),
            Ok(_) if letter.bytes == 0 => Some("is empty".to_owned()),
            Ok(_) => None,
        };
        let mut spool = refused.is_none().then(|| self.store.spool());
        let mut left = letter.bytes;
        while left > 0 {
            let bytes = in_time(reader.bytes()).await?;
            left = left
                .checked_sub(bytes.len() as u64)
                .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
            if let Some(spool) = &mut spool {
                spool.write(&bytes).await?;
            }
        }
        let Some(spool) = spool else {
            let (name, reason) = (letter.name, refused.unwrap_or_default());
            self.batch.skipped.push(Skipped { name, reason });
            return Ok(());
        };
        let Ok(mailbox) = self.mailbox(&letter.target).await? else {
            return Ok(());
        };
        let bytes = spool.finish().await?;
        let dated = letter.received_at.map(Timestamp);
        let received_at = dated.or_else(|| date_in_head(bytes.bytes()));
        self.batch.bytes += letter.bytes;
        self.batch.letters.push(ImportLetter {
            received_at: received_at.unwrap_or_else(|| self.store.now()),
            letter: bytes,
            mailbox,
            keywords: keywords(&letter.flags),
            deleted: letter.flags.deleted,
            mark: Some(ImportMark {
                source: letter.mark.source,
                position: letter.mark.position,
            }),
        });
        Ok(())
    }
}

async fn store_batches<W: AsyncWrite + Unpin>(
    store: &Store,
    (account, over_quota): (AccountId, bool),
    mut waiting: mpsc::Receiver<Batch>,
    writer: &mut FrameWriter<W>,
    shutdown: &CancellationToken,
) -> Result<(), End> {
    loop {
        let batch = tokio::select! {
            biased;
            () = shutdown.cancelled() => return Err(stopping()),
            batch = waiting.recv() => batch,
        };
        let Some(batch) = batch else { return Ok(()) };
        if store.is_disk_low() {
            return Err(StoreError::DiskFull.into());
        }
        for skipped in batch.skipped {
            send(writer, &Tell::Skipped(skipped)).await?;
        }
        let imported = store.import(account, batch.letters, over_quota).await?;
        send(writer, &Tell::Stored(imported.letters as u64)).await?;
        in_time(writer.flush()).await?;
        if imported.over_quota {
            return Err(End::Failed(Failure {
                kind: FailureKind::Transient,
                text: "the next letter does not fit into the account's quota: raise it with \
                       `pennyblack account quota` and give the same command again, which goes on \
                       here, or let letters go over it with --over-quota"
                    .to_owned(),
            }));
        }
    }
}

async fn export_all<R: AsyncRead + Unpin, W: AsyncWrite + Unpin>(
    reader: &mut FrameReader<R>,
    writer: &mut FrameWriter<W>,
    store: &Store,
    order: &ExportOrder,
) -> Result<(), End> {
    let account = account_id(store, &order.account).await?;
    let mut mailboxes = store.mailboxes(account).await?;
    if !order.mailboxes.is_empty() {
        for name in &order.mailboxes {
            if !mailboxes
                .iter()
                .any(|mailbox| is_within(&mailbox.name, name))
            {
                let text = format!("{} has no mailbox {name}", order.account);
                return Err(Failure::not_found(text).into());
            }
        }
        let wanted = |mailbox: &MailboxInfo| {
            let mut names = order.mailboxes.iter();
            names.any(|name| is_within(&mailbox.name, name))
        };
        mailboxes.retain(wanted);
    }
    let about = about(store, account, &order.account).await?;
    send(writer, &Tell::Account(about)).await?;
    let told = mailboxes.iter().map(mailbox_out).collect();
    send(writer, &Tell::Mailboxes(told)).await?;
    in_time(writer.flush()).await?;
    loop {
        match receive(reader).await? {
            Ask::Export(wanted) => {
                let mailbox = mailboxes.iter().find(|mailbox| mailbox.name == wanted.name);
                if let Some(mailbox) = mailbox {
                    export_mailbox(store, (account, mailbox.id), &wanted, writer).await?;
                }
                send(writer, &Tell::MailboxEnd).await?;
                in_time(writer.flush()).await?;
            }
            Ask::Ping => {}
            Ask::End => return Ok(()),
            Ask::Mailbox(_) | Ask::Letter(_) | Ask::Skipped(_) => {
                return Err(Failure::invalid("this is an export").into());
            }
        }
    }
}

/// Whether a mailbox is the one named or below it.
fn is_within(mailbox: &str, name: &str) -> bool {
    let name = if name.eq_ignore_ascii_case("inbox") {
        "INBOX"
    } else {
        name
    };
    mailbox
        .strip_prefix(name)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

async fn export_mailbox<W: AsyncWrite + Unpin>(
    store: &Store,
    (account, mailbox): (AccountId, MailboxId),
    wanted: &ExportMailbox,
    writer: &mut FrameWriter<W>,
) -> Result<(), End> {
    let mut from = Uid(1);
    loop {
        let page = store.placements(account, mailbox, from, PAGE).await?;
        let Some(last) = page.last() else {
            return Ok(());
        };
        from = Uid(last.uid.0.saturating_add(1));
        let is_there = |row: &PlacementRow| {
            let before = wanted.have.partition_point(|(_, last)| *last < row.uid.0);
            wanted
                .have
                .get(before)
                .is_some_and(|(first, _)| *first <= row.uid.0)
        };
        let missing: Vec<&PlacementRow> = page.iter().filter(|row| !is_there(row)).collect();
        let ids: Vec<_> = missing.iter().map(|row| row.message).collect();
        let metas = store.message_metas(account, &ids).await?;
        let metas: BTreeMap<_, _> = metas.into_iter().map(|meta| (meta.id, meta)).collect();
        for row in missing {
            // A letter that has gone meanwhile is none.
            if let Some(meta) = metas.get(&row.message) {
                export_letter(store, account, (row, meta), &wanted.name, writer).await?;
            }
        }
    }
}

async fn export_letter<W: AsyncWrite + Unpin>(
    store: &Store,
    account: AccountId,
    (row, meta): (&PlacementRow, &MessageMeta),
    mailbox: &str,
    writer: &mut FrameWriter<W>,
) -> Result<(), End> {
    let skipped = |error: StoreError| {
        let name = format!("UID {} of {mailbox}", row.uid);
        let reason = error.to_string();
        Tell::Skipped(Skipped { name, reason })
    };
    let body = match store.body(account, row.message).await {
        Ok(body) => body,
        Err(StoreError::NotFound(_)) => return Ok(()),
        Err(error @ StoreError::Io(_)) => return Ok(send(writer, &skipped(error)).await?),
        Err(error) => return Err(error.into()),
    };
    let size = body.size();
    let mut at = 0;
    while at < size || size == 0 {
        let bytes = match body.read(at..size.min(at + (256 << 10))).await {
            Ok(bytes) => bytes,
            Err(StoreError::NotFound(_)) if at == 0 => return Ok(()),
            // In the place of bytes: the command gives up what it has of this letter.
            Err(error @ StoreError::Io(_)) => return Ok(send(writer, &skipped(error)).await?),
            Err(error) => return Err(error.into()),
        };
        if at == 0 {
            let letter = LetterOut {
                uid: row.uid.0,
                flags: flags(row),
                received_at: meta.received_at.millis(),
                bytes: size,
            };
            send(writer, &Tell::Letter(letter)).await?;
        }
        in_time(writer.bytes(&bytes)).await?;
        at += bytes.len() as u64;
        if size == 0 {
            break;
        }
    }
    Ok(())
}

/// What a personal export says of the account beside its mail.
async fn about(store: &Store, account: AccountId, address: &str) -> Result<Value, End> {
    let accounts = store.accounts().await?;
    let known = accounts.iter().find(|known| known.id == account);
    let aliases = store.aliases().await?;
    let own = |targets: &[EmailAddress]| {
        let address = known.map(|known| known.address.to_string());
        let mut targets = targets.iter();
        targets.any(|target| address.as_deref() == Some(target.to_string().as_str()))
    };
    let aliases: Vec<Value> = aliases
        .iter()
        .filter(|alias| own(&alias.targets))
        .map(|alias| json!(alias.address.to_string()))
        .collect();
    let mailboxes = store.mailboxes(account).await?;
    let mailboxes: Vec<Value> = mailboxes
        .iter()
        .map(|mailbox| {
            json!({
                "name": mailbox.name,
                "role": mailbox.role.map(role_name),
                "subscribed": mailbox.subscribed,
                "messages": mailbox.status.messages,
                "unseen": mailbox.status.unseen,
                "bytes": mailbox.status.size,
            })
        })
        .collect();
    Ok(json!({
        "pennyblack": 1,
        "exported_at": store.now().to_string(),
        "address": address,
        "account": known.map(rows::account),
        "aliases": aliases,
        "mailboxes": mailboxes,
    }))
}

fn mailbox_out(mailbox: &MailboxInfo) -> MailboxOut {
    MailboxOut {
        target: Target {
            name: mailbox.name.clone(),
            role: mailbox.role.map(|role| role_name(role).to_owned()),
            subscribed: mailbox.subscribed,
        },
        uid_validity: mailbox.uid_validity.0,
        messages: mailbox.status.messages,
    }
}

fn flags(row: &PlacementRow) -> Flags {
    Flags {
        keywords: row.keywords.iter().map(str::to_owned).collect(),
        deleted: row.deleted,
    }
}

/// What the store takes of the keywords that a command names.
fn keywords(flags: &Flags) -> Keywords {
    let mut clean = Flags::default();
    for keyword in &flags.keywords {
        clean.insert(keyword);
    }
    clean.keywords.iter().map(String::as_str).collect()
}

const ROLES: [(&str, Role); 6] = [
    ("inbox", Role::Inbox),
    ("drafts", Role::Drafts),
    ("sent", Role::Sent),
    ("archive", Role::Archive),
    ("junk", Role::Junk),
    ("trash", Role::Trash),
];

fn role(name: &str) -> Option<Role> {
    let known = ROLES.iter().find(|(known, _)| *known == name);
    known.map(|(_, role)| *role)
}

fn role_name(role: Role) -> &'static str {
    let known = ROLES.iter().find(|(_, known)| *known == role);
    known.map_or("", |(name, _)| name)
}

async fn account_id(store: &Store, address: &str) -> Result<AccountId, Failure> {
    crate::control::operate::account_id(store, address).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mailbox_and_what_is_below_it() {
        assert!(is_within("Work", "Work"));
        assert!(is_within("Work/2026", "Work"));
        assert!(is_within("INBOX/a", "inbox"));
        assert!(!is_within("Workshop", "Work"));
        assert!(!is_within("Work", "Work/2026"));
    }

    #[test]
    fn roles_there_and_back() {
        for (name, of) in ROLES {
            assert_eq!(role(name), Some(of));
            assert_eq!(role_name(of), name);
        }
    }
}
