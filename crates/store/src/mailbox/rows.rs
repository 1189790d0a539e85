//! The rows of mailboxes and the transactions on them.

use std::collections::BTreeMap;
use std::sync::Arc;

use base::{AccountId, MailboxId, ModSeq, Timestamp, Uid, UidValidity};

use super::{MAILBOXES_MAX, MailboxInfo, MailboxName, MailboxStatus, Role, STANDARD_MAILBOXES};
use crate::copies::{ChangeKind, Operation, Used, next_modseq, note_change};
use crate::engine::{Body, Row, Tx, params};
use crate::message_rows::rows::remove_placements;
use crate::removed::Fate;
use crate::shared::Shared;
use crate::{ImportMailbox, StoreError};

/// Placements that one transaction of a mailbox's removal takes.
const DELETE_PIECE: i64 = 200;
/// Rows of the log of removals that one such transaction takes.
const DELETE_PIECE_LOG: i64 = 2_000;

/// Columns, in the order in which [`mailbox_info`] reads them, are written out in each statement:
/// statements are constant texts.
pub(crate) fn mailbox_info(mut row: Row) -> Result<MailboxInfo, StoreError> {
    Ok(MailboxInfo {
        id: MailboxId(row.int(0)?),
        name: row.text(1)?,
        role: row.maybe_int(2)?.and_then(Role::from_number),
        subscribed: row.truth(3)?,
        uid_validity: UidValidity(row.u32(4)?),
        status: MailboxStatus {
            uid_next: Uid(row.u32(5)?),
            messages: row.u32(6)?,
            unseen: row.u32(7)?,
            deleted: row.u32(8)?,
            size: row.unsigned(9)?,
            highest_modseq: ModSeq(row.int(10)?),
        },
    })
}

pub(super) struct List {
    pub account: AccountId,
}

impl Body for List {
    type Out = Vec<MailboxInfo>;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Vec<MailboxInfo>, StoreError> {
        let sql = "SELECT mailbox_id, name, role, subscribed, uid_validity, uid_next, messages,
                unseen, deleted, size, highest_modseq
            FROM mailbox WHERE account_id = $1";
        let rows = tx.rows(sql, params![self.account]).await?;
        let all: Result<Vec<_>, _> = rows.into_iter().map(mailbox_info).collect();
        let mut all = all?;
        all.sort_by(|a, b| (a.name != "INBOX", &a.name).cmp(&(b.name != "INBOX", &b.name)));
        Ok(all)
    }
}

pub(super) struct Find {
    pub account: AccountId,
    pub name: MailboxName,
}

impl Body for Find {
    type Out = Option<MailboxInfo>;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Option<MailboxInfo>, StoreError> {
        find(tx, self.account, self.name.as_str()).await
    }
}

async fn find(
    tx: &mut Tx<'_>,
    account: AccountId,
    name: &str,
) -> Result<Option<MailboxInfo>, StoreError> {
    let sql = "SELECT mailbox_id, name, role, subscribed, uid_validity, uid_next, messages,
            unseen, deleted, size, highest_modseq
        FROM mailbox WHERE account_id = $1 AND name = $2";
    let row = tx.row(sql, params![account, name]).await?;
    row.map(mailbox_info).transpose()
}

async fn need(
    tx: &mut Tx<'_>,
    account: AccountId,
    name: &MailboxName,
) -> Result<MailboxInfo, StoreError> {
    let found = find(tx, account, name.as_str()).await?;
    found.ok_or(StoreError::NotFound("mailbox"))
}

pub(super) struct Create {
    pub account: AccountId,
    pub name: MailboxName,
    pub role: Option<Role>,
    pub now: Timestamp,
    pub shared: Arc<Shared>,
}

impl Body for Create {
    type Out = MailboxInfo;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<MailboxInfo, StoreError> {
        let account = self.account;
        let modseq = next_modseq(tx, account).await?;
        if find(tx, account, self.name.as_str()).await?.is_some() {
            return Err(StoreError::Exists("mailbox"));
        }
        if let Some(role) = self.role {
            let sql = "SELECT 1 FROM mailbox WHERE account_id = $1 AND role = $2";
            if tx
                .row(sql, params![account, role.number()])
                .await?
                .is_some()
            {
                return Err(StoreError::Exists("mailbox with this role"));
            }
        }
        make_parents(tx, account, &self.name, modseq, self.now).await?;
        insert(tx, account, self.name.as_str(), self.role, modseq, self.now).await?;
        check_count(tx, account).await?;
        need(tx, account, &self.name).await
    }

    fn committed(&self, _: &MailboxInfo) {
        self.shared.watches.account_changed(self.account);
    }
}

/// Finds the mailbox that an import means, or makes it.
pub(crate) async fn ensure(
    tx: &mut Tx<'_>,
    account: AccountId,
    wanted: &ImportMailbox,
    modseq: i64,
    now: Timestamp,
) -> Result<MailboxId, StoreError> {
    let name = MailboxName::parse(&wanted.name)?;
    if let Some(found) = find(tx, account, name.as_str()).await? {
        return Ok(found.id);
    }
    if let Some(role) = wanted.role {
        let sql = "SELECT mailbox_id FROM mailbox WHERE account_id = $1 AND role = $2";
        if let Some(row) = tx.row(sql, params![account, role.number()]).await? {
            return Ok(MailboxId(row.int(0)?));
        }
    }
    make_parents(tx, account, &name, modseq, now).await?;
    insert(tx, account, name.as_str(), wanted.role, modseq, now).await?;
    check_count(tx, account).await?;
    let made = need(tx, account, &name).await?.id;
    if wanted.subscribed {
        let sql = "UPDATE mailbox SET subscribed = 1 WHERE account_id = $1 AND mailbox_id = $2";
        tx.execute(sql, params![account, made]).await?;
    }
    Ok(made)
}

/// The names of an account's mailboxes.
pub(crate) async fn names_of(
    tx: &mut Tx<'_>,
    account: AccountId,
) -> Result<BTreeMap<MailboxId, String>, StoreError> {
    let sql = "SELECT mailbox_id, name FROM mailbox WHERE account_id = $1";
    let rows = tx.rows(sql, params![account]).await?;
    rows.into_iter()
        .map(|mut row| Ok((MailboxId(row.int(0)?), row.text(1)?)))
        .collect()
}

/// The role that a standard name brings with it, unless another mailbox has it.
async fn role_of_name(
    tx: &mut Tx<'_>,
    account: AccountId,
    name: &str,
) -> Result<Option<Role>, StoreError> {
    let standard = STANDARD_MAILBOXES.iter().find(|(_, known)| *known == name);
    let Some((role, _)) = standard else {
        return Ok(None);
    };
    let sql = "SELECT 1 FROM mailbox WHERE account_id = $1 AND role = $2";
    let taken = tx.row(sql, params![account, role.number()]).await?;
    Ok(taken.is_none().then_some(*role))
}

/// Parents count, too, so that the check comes when everything is made.
async fn check_count(tx: &mut Tx<'_>, account: AccountId) -> Result<(), StoreError> {
    let count = "SELECT count(*) FROM mailbox WHERE account_id = $1";
    if tx.one(count, params![account]).await?.int(0)? > MAILBOXES_MAX {
        return Err(StoreError::Invalid(format!(
            "an account has at most {MAILBOXES_MAX} mailboxes"
        )));
    }
    Ok(())
}

async fn make_parents(
    tx: &mut Tx<'_>,
    account: AccountId,
    name: &MailboxName,
    modseq: i64,
    now: Timestamp,
) -> Result<(), StoreError> {
    for parent in name.parents() {
        if find(tx, account, parent).await?.is_none() {
            insert(tx, account, parent, None, modseq, now).await?;
        }
    }
    Ok(())
}

async fn insert(
    tx: &mut Tx<'_>,
    account: AccountId,
    name: &str,
    role: Option<Role>,
    modseq: i64,
    now: Timestamp,
) -> Result<(), StoreError> {
    let role = match role {
        Some(role) => Some(role),
        None => role_of_name(tx, account, name).await?,
    };
    // A UID epoch is never used twice in an account: a name that comes back gets a new one.
    let sql = "UPDATE account SET next_mailbox_id = next_mailbox_id + 1,
            next_uid_validity =
                CASE WHEN next_uid_validity > $2 THEN next_uid_validity ELSE $2 END + 1
        WHERE account_id = $1 RETURNING next_mailbox_id - 1, next_uid_validity - 1";
    let row = tx.one(sql, params![account, now.secs()]).await?;
    let id = row.int(0)?;
    tx.execute(
        "INSERT INTO mailbox (account_id, mailbox_id, name, role, subscribed, uid_validity,
            uid_next, messages, unseen, deleted, size, highest_modseq)
         VALUES ($1, $2, $3, $4, 0, $5, 1, 0, 0, 0, 0, $6)",
        params![
            account,
            id,
            name,
            role.map(Role::number),
            row.u32(1)?,
            modseq
        ],
    )
    .await?;
    let operation = Operation::Created;
    note_change(tx, account, modseq, ChangeKind::Mailbox, id, operation, now).await
}

/// A step of a mailbox's removal.
pub(super) struct DeletePiece {
    pub account: AccountId,
    pub name: MailboxName,
    /// The mailbox that the first step has found: another one may get the name meanwhile.
    pub only: Option<MailboxId>,
    pub fate: Fate,
    pub now: Timestamp,
    pub shared: Arc<Shared>,
}

/// What became of it.
pub(super) struct Deleted {
    pub done: bool,
    pub mailbox: MailboxId,
    used: Used,
}

impl Body for DeletePiece {
    type Out = Deleted;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Deleted, StoreError> {
        let account = self.account;
        if self.name.is_inbox() {
            return Err(StoreError::Invalid("INBOX cannot be deleted".to_owned()));
        }
        let modseq = next_modseq(tx, account).await?;
        let mailbox = need(tx, account, &self.name).await?;
        if self.only.is_some_and(|only| only != mailbox.id) {
            return Err(StoreError::NotFound("mailbox"));
        }
        let (first, end) = self.name.children();
        let sql = "SELECT 1 FROM mailbox WHERE account_id = $1 AND name >= $2 AND name < $3";
        if tx.row(sql, params![account, &first, &end]).await?.is_some() {
            return Err(StoreError::Invalid("the mailbox has children".to_owned()));
        }
        let sql = "SELECT uid FROM placement WHERE account_id = $1 AND mailbox_id = $2
            ORDER BY uid LIMIT $3";
        let rows = tx
            .rows(sql, params![account, mailbox.id, DELETE_PIECE])
            .await?;
        let uids: Result<Vec<i64>, _> = rows.iter().map(|row| row.int(0)).collect();
        let uids = uids?;
        let place = (account, mailbox.id);
        let used = remove_placements(tx, place, &uids, modseq, self.fate, self.now).await?;
        let is_empty = i64::try_from(uids.len()).unwrap_or(i64::MAX) < DELETE_PIECE;
        let done = is_empty && trim_log(tx, account, mailbox.id).await?;
        if done {
            let sql = "DELETE FROM mailbox WHERE account_id = $1 AND mailbox_id = $2";
            tx.execute(sql, params![account, mailbox.id]).await?;
            let (kind, operation) = (ChangeKind::Mailbox, Operation::Destroyed);
            note_change(tx, account, modseq, kind, mailbox.id.0, operation, self.now).await?;
        }
        Ok(Deleted {
            done,
            mailbox: mailbox.id,
            used,
        })
    }

    fn committed(&self, out: &Deleted) {
        self.shared.takes_now(self.account, out.used);
    }
}

/// Removes some rows of a mailbox's log of removals; `true` when none is left.
async fn trim_log(
    tx: &mut Tx<'_>,
    account: AccountId,
    mailbox: MailboxId,
) -> Result<bool, StoreError> {
    let sql = "DELETE FROM expunged WHERE account_id = $1 AND mailbox_id = $2
        AND modseq <= (SELECT max(modseq) FROM (SELECT modseq FROM expunged
            WHERE account_id = $1 AND mailbox_id = $2 ORDER BY modseq LIMIT $3) limited)";
    let removed = tx
        .execute(sql, params![account, mailbox, DELETE_PIECE_LOG])
        .await?;
    // One modseq has at most one piece's rows, so that less than a full piece is all.
    Ok(i64::try_from(removed).unwrap_or(i64::MAX) < DELETE_PIECE_LOG)
}

/// Renames a mailbox (not INBOX) and those below it.
pub(super) struct Rename {
    pub account: AccountId,
    pub from: MailboxName,
    pub to: MailboxName,
    pub now: Timestamp,
    pub shared: Arc<Shared>,
}

impl Body for Rename {
    type Out = ();

    async fn run(&self, tx: &mut Tx<'_>) -> Result<(), StoreError> {
        let account = self.account;
        let modseq = next_modseq(tx, account).await?;
        let mailbox = need(tx, account, &self.from).await?;
        if self.from.is_above(&self.to) {
            let why = "a mailbox cannot be moved below itself".to_owned();
            return Err(StoreError::Invalid(why));
        }
        if find(tx, account, self.to.as_str()).await?.is_some() {
            return Err(StoreError::Exists("mailbox"));
        }
        make_parents(tx, account, &self.to, modseq, self.now).await?;
        check_count(tx, account).await?;
        let (first, end) = self.from.children();
        let sql = "SELECT mailbox_id, name FROM mailbox
            WHERE account_id = $1 AND name >= $2 AND name < $3";
        let mut moved = vec![(mailbox.id.0, self.to.as_str().to_owned())];
        for mut row in tx.rows(sql, params![account, &first, &end]).await? {
            let name = row.text(1)?;
            let rest = &name[self.from.as_str().len()..];
            let name = MailboxName::parse(&format!("{}{rest}", self.to.as_str()))?;
            moved.push((row.int(0)?, name.as_str().to_owned()));
        }
        for (id, name) in moved {
            let sql = "UPDATE mailbox SET name = $3 WHERE account_id = $1 AND mailbox_id = $2";
            tx.execute(sql, params![account, id, &name]).await?;
            let (kind, operation) = (ChangeKind::Mailbox, Operation::Updated);
            note_change(tx, account, modseq, kind, id, operation, self.now).await?;
        }
        Ok(())
    }

    fn committed(&self, (): &()) {
        self.shared.watches.account_changed(self.account);
    }
}

pub(super) struct Subscribe {
    pub account: AccountId,
    pub name: MailboxName,
    pub subscribed: bool,
    pub now: Timestamp,
    pub shared: Arc<Shared>,
}

impl Body for Subscribe {
    type Out = ();

    async fn run(&self, tx: &mut Tx<'_>) -> Result<(), StoreError> {
        let account = self.account;
        let modseq = next_modseq(tx, account).await?;
        let mailbox = need(tx, account, &self.name).await?;
        let sql = "UPDATE mailbox SET subscribed = $3 WHERE account_id = $1 AND mailbox_id = $2";
        tx.execute(sql, params![account, mailbox.id, self.subscribed])
            .await?;
        let (kind, operation) = (ChangeKind::Mailbox, Operation::Updated);
        note_change(tx, account, modseq, kind, mailbox.id.0, operation, self.now).await
    }

    fn committed(&self, (): &()) {
        self.shared.watches.account_changed(self.account);
    }
}
