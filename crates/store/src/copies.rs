//! A new message in a mailbox: the rows that a delivery, an APPEND, a Sent copy and a local
//! recipient of the queue have in common.

use base::{AccountId, LetterId, MailboxId, MessageId, ThreadId, Timestamp, Uid, UidValidity};

use crate::directory::signed;
use crate::engine::{Row, Tx, params};
use crate::prepare::Prepared;
use crate::{Role, StoreError, StoredCopy};

/// What a new message is made of.
pub(crate) struct NewMessage<'a> {
    pub account: AccountId,
    pub place: Place,
    /// The keywords as they are stored.
    pub keywords: &'a str,
    pub seen: bool,
    /// What stands before the letter.
    pub head: &'a [u8],
    pub letter: Option<LetterId>,
    pub prepared: &'a Prepared,
    pub blob_id: i64,
    pub received_at: Timestamp,
    pub now: Timestamp,
    /// Whether it is stored although it goes over the quota.
    pub over_quota: bool,
}

/// Which mailbox.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Place {
    /// By role; the inbox if there is none.
    Role(Role),
    /// This one.
    Mailbox(MailboxId),
}

/// What became of it.
pub(crate) enum Inserted {
    Stored(Stored),
    OverQuota,
    NoAccount,
    NoMailbox,
}

/// A message that was stored.
pub(crate) struct Stored {
    pub copy: StoredCopy,
    pub uid_validity: UidValidity,
    pub mailbox_name: String,
    /// What the account takes now.
    pub used: Used,
}

/// What an account's mail takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Used {
    pub bytes: i64,
    pub messages: i64,
}

/// Stores a message; the blob is stored by the caller, once.
pub(crate) async fn insert_message(
    tx: &mut Tx<'_>,
    new: &NewMessage<'_>,
) -> Result<Inserted, StoreError> {
    let size = signed(new.prepared.bytes + new.head.len() as u64);
    let account = tx
        .row(
            "UPDATE account SET modseq = modseq + 1, next_message_id = next_message_id + 1,
                used_bytes = used_bytes + $2, messages = messages + 1
             WHERE account_id = $1 AND removing = 0
                AND ($3 = 1 OR ((quota_bytes IS NULL OR used_bytes + $2 <= quota_bytes)
                    AND (quota_messages IS NULL OR messages < quota_messages)))
             RETURNING modseq, next_message_id - 1, used_bytes, messages",
            params![new.account, size, new.over_quota],
        )
        .await?;
    let Some(account) = account else {
        let sql = "SELECT 1 FROM account WHERE account_id = $1 AND removing = 0";
        let exists = tx.row(sql, params![new.account]).await?.is_some();
        return Ok(if exists {
            Inserted::OverQuota
        } else {
            Inserted::NoAccount
        });
    };
    let modseq = account.int(0)?;
    let message = MessageId(account.int(1)?);
    let Some(mut mailbox) = count_in_mailbox(tx, new, size, modseq).await? else {
        return Ok(Inserted::NoMailbox);
    };
    let copy = StoredCopy {
        account: new.account,
        message,
        mailbox: MailboxId(mailbox.int(0)?),
        uid: Uid(mailbox.u32(1)?),
    };
    let thread = thread_of(tx, new, message).await?;
    insert_rows(tx, new, &copy, thread, modseq, size).await?;
    Ok(Inserted::Stored(Stored {
        copy,
        uid_validity: UidValidity(mailbox.u32(2)?),
        mailbox_name: mailbox.text(3)?,
        used: Used {
            bytes: account.int(2)?,
            messages: account.int(3)?,
        },
    }))
}

/// Counts the message in its mailbox and takes a UID.
async fn count_in_mailbox(
    tx: &mut Tx<'_>,
    new: &NewMessage<'_>,
    size: i64,
    modseq: i64,
) -> Result<Option<Row>, StoreError> {
    let by_role = "UPDATE mailbox SET uid_next = uid_next + 1, messages = messages + 1,
            unseen = unseen + $3, size = size + $4, highest_modseq = $5
        WHERE account_id = $1 AND role = $2
        RETURNING mailbox_id, uid_next - 1, uid_validity, name";
    let by_id = "UPDATE mailbox SET uid_next = uid_next + 1, messages = messages + 1,
            unseen = unseen + $3, size = size + $4, highest_modseq = $5
        WHERE account_id = $1 AND mailbox_id = $2
        RETURNING mailbox_id, uid_next - 1, uid_validity, name";
    let unseen = i64::from(!new.seen);
    match new.place {
        Place::Mailbox(id) => {
            tx.row(by_id, params![new.account, id, unseen, size, modseq])
                .await
        }
        Place::Role(role) => {
            let values = params![new.account, role.number(), unseen, size, modseq];
            if let Some(row) = tx.row(by_role, values).await? {
                return Ok(Some(row));
            }
            let values = params![new.account, Role::Inbox.number(), unseen, size, modseq];
            tx.row(by_role, values).await
        }
    }
}

/// The thread of a message: that of its Message-ID, else of its nearest known ancestor, else its
/// own. All its ids then lead there, unless they lead elsewhere already: threads never merge.
async fn thread_of(
    tx: &mut Tx<'_>,
    new: &NewMessage<'_>,
    message: MessageId,
) -> Result<ThreadId, StoreError> {
    let keys = new.prepared.thread_keys.as_slice();
    let insert = "INSERT INTO thread_key (account_id, thread_key, thread_id) VALUES ($1, $2, $3)
        ON CONFLICT (account_id, thread_key) DO NOTHING";
    let find = "SELECT thread_id FROM thread_key WHERE account_id = $1 AND thread_key = $2";
    if let [key] = keys {
        // The most frequent case costs one statement.
        if tx
            .execute(insert, params![new.account, *key, message])
            .await?
            == 1
        {
            return Ok(ThreadId(message.0));
        }
        return Ok(ThreadId(
            tx.one(find, params![new.account, *key]).await?.int(0)?,
        ));
    }
    let mut thread = None;
    let mut missing = Vec::with_capacity(keys.len());
    for key in keys {
        match tx.row(find, params![new.account, *key]).await? {
            Some(row) => thread = thread.or(Some(row.int(0)?)),
            None => missing.push(*key),
        }
    }
    let thread = thread.unwrap_or(message.0);
    for key in missing {
        tx.send(insert, params![new.account, key, thread]).await?;
    }
    Ok(ThreadId(thread))
}

async fn insert_rows(
    tx: &mut Tx<'_>,
    new: &NewMessage<'_>,
    copy: &StoredCopy,
    thread: ThreadId,
    modseq: i64,
    size: i64,
) -> Result<(), StoreError> {
    tx.send(
        "INSERT INTO message (account_id, message_id, thread_id, letter_id, received_at, size,
            head_bytes, blob_hash, blob_id, head, envelope, structure, preview)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)",
        params![
            new.account,
            copy.message,
            thread,
            new.letter,
            new.received_at,
            size,
            signed(new.head.len() as u64),
            &new.prepared.hash,
            new.blob_id,
            new.head,
            new.prepared.envelope.as_slice(),
            new.prepared.structure.as_slice(),
            &new.prepared.preview,
        ],
    )
    .await?;
    tx.send(
        "INSERT INTO placement (account_id, mailbox_id, uid, message_id, modseq, deleted, seen,
            size, saved_at, keywords)
         VALUES ($1, $2, $3, $4, $5, 0, $6, $7, $8, $9)",
        params![
            new.account,
            copy.mailbox,
            copy.uid,
            copy.message,
            modseq,
            new.seen,
            size,
            new.now,
            new.keywords,
        ],
    )
    .await?;
    let kind = ChangeKind::Message;
    note_change(
        tx,
        new.account,
        modseq,
        kind,
        copy.message.0,
        Operation::Created,
        new.now,
    )
    .await
}

/// The type of a thing that changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChangeKind {
    Message = 1,
    Mailbox = 2,
}

/// What happened to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Created = 1,
    Updated = 2,
    Destroyed = 3,
}

/// Notes a change in the account's log.
pub(crate) async fn note_change(
    tx: &mut Tx<'_>,
    account: AccountId,
    modseq: i64,
    kind: ChangeKind,
    id: i64,
    operation: Operation,
    now: Timestamp,
) -> Result<(), StoreError> {
    tx.send(
        "INSERT INTO change (account_id, modseq, type, id, operation, at)
         VALUES ($1, $2, $3, $4, $5, $6)
         ON CONFLICT (account_id, modseq, type, id) DO UPDATE SET operation = $5",
        params![account, modseq, kind as i64, id, operation as i64, now],
    )
    .await
}

/// Takes the next modseq of an account.
pub(crate) async fn next_modseq(tx: &mut Tx<'_>, account: AccountId) -> Result<i64, StoreError> {
    let sql = "UPDATE account SET modseq = modseq + 1 WHERE account_id = $1 AND removing = 0
        RETURNING modseq";
    let row = tx.row(sql, params![account]).await?;
    row.ok_or(StoreError::NotFound("account"))?.int(0)
}
