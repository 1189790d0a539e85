//! The rows of the queue that several verbs write and read.

use base::{AccountId, Domain, EmailAddress, LetterId, Timestamp};

use crate::blobs::condemn;
use crate::directory::signed;
use crate::engine::{Tx, params};
use crate::shared::Shared;
use crate::{DsnReturn, Handling, Lane, Notify, QueueRecipient, StoreError};

/// A letter for the queue; its blob is stored by the caller.
pub(crate) struct NewLetter<'a> {
    pub letter: LetterId,
    pub hash: &'a [u8; 32],
    pub blob_id: i64,
    /// Bytes of the letter without the head.
    pub bytes: u64,
    pub head: &'a [u8],
    pub account: Option<AccountId>,
    pub reverse_path: Option<&'a EmailAddress>,
    pub envelope_id: Option<&'a str>,
    pub dsn_return: DsnReturn,
    pub needs_utf8: bool,
    pub received_at: Timestamp,
    pub due_at: Timestamp,
    pub expires_at: Timestamp,
    pub handling: Handling,
    pub recipients: &'a [QueueRecipient],
    /// Why it is held, if its account is.
    pub held: Option<&'a str>,
}

impl NewLetter<'_> {
    /// The lane in which it stands.
    pub(crate) fn lane(&self) -> Lane {
        Lane::of(self.reverse_path, self.account, self.handling.priority)
    }
}

/// Where a letter's recipients stand in the queue.
pub(crate) fn lanes_of(recipients: &[QueueRecipient], lane: &Lane) -> Vec<(Domain, Lane)> {
    let domains = recipients
        .iter()
        .map(|to| (to.address.domain.clone(), lane.clone()));
    domains.collect()
}

/// Stores a letter with its recipients.
pub(crate) async fn insert_letter(
    tx: &mut Tx<'_>,
    new: &NewLetter<'_>,
    shared: &Shared,
) -> Result<(), StoreError> {
    let reverse_path = new.reverse_path.map(ToString::to_string);
    let (tls_wish, deliver_by, deliver_by_mode, priority) = new.handling.columns();
    tx.send(
        "INSERT INTO letter (letter_id, blob_hash, sender_account, reverse_path, envelope_id,
            dsn_return, needs_utf8, size, received_at, expires_at, head, blob_id,
            tls_wish, deliver_by, deliver_by_mode, priority)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)",
        params![
            new.letter,
            new.hash,
            new.account,
            reverse_path.as_deref(),
            new.envelope_id,
            new.dsn_return.number(),
            new.needs_utf8,
            signed(new.bytes + new.head.len() as u64),
            new.received_at,
            new.expires_at,
            new.head,
            new.blob_id,
            tls_wish,
            deliver_by,
            deliver_by_mode,
            priority,
        ],
    )
    .await?;
    // One that is held back until a moment is not sent before it.
    let is_held = new.due_at > new.received_at;
    let head_start_ms = if is_held {
        0
    } else {
        new.handling.head_start_ms()
    };
    let due_at = Timestamp(new.due_at.millis() - head_start_ms);
    let lane = new.lane().text();
    // An operator's hold is 1.
    let held: i64 = if new.held.is_some() { 2 } else { 0 };
    for recipient in new.recipients {
        tx.send(
            "INSERT INTO recipient (letter_id, recipient_id, address, domain, original, notify,
                attempts, delay_reported, held, next_at, reason, fence, node, incarnation,
                lane)
             VALUES ($1, $2, $3, $4, $5, $6, 0, 0, $9, $7, $10, 0, '', 0, $8)",
            params![
                new.letter,
                shared.next_id(),
                &recipient.address.to_string(),
                recipient.address.domain.as_str(),
                recipient.original.as_deref(),
                recipient.notify.number(),
                due_at,
                &lane,
                held,
                new.held.unwrap_or_default(),
            ],
        )
        .await?;
    }
    Ok(())
}

/// Removes a letter if it has no recipient left.
pub(crate) async fn remove_if_done(
    tx: &mut Tx<'_>,
    letter: LetterId,
    now: Timestamp,
) -> Result<(), StoreError> {
    // Two that remove the last two recipients would each see that of the other.
    let lock = "SELECT 1 FROM letter WHERE letter_id = $1 FOR UPDATE";
    tx.lock(lock, params![letter]).await?;
    let sql = "DELETE FROM letter WHERE letter_id = $1 AND NOT EXISTS
        (SELECT 1 FROM recipient WHERE recipient.letter_id = $1) RETURNING blob_hash";
    if let Some(mut row) = tx.row(sql, params![letter]).await? {
        condemn(tx, &row.hash(0)?, now).await?;
    }
    Ok(())
}

impl Notify {
    /// As it is stored.
    pub(crate) fn number(self) -> i64 {
        i64::from(self.success)
            | i64::from(self.failure) << 1
            | i64::from(self.delay) << 2
            | i64::from(self.asked) << 3
    }

    /// From what was stored.
    pub(crate) fn from_number(number: i64) -> Self {
        Self {
            success: number & 1 != 0,
            failure: number & 2 != 0,
            delay: number & 4 != 0,
            asked: number & 8 != 0,
        }
    }
}

impl DsnReturn {
    /// As it is stored.
    pub(crate) fn number(self) -> i64 {
        match self {
            Self::Unasked => 0,
            Self::Full => 1,
            Self::Headers => 2,
        }
    }

    /// From what was stored.
    pub(crate) fn from_number(number: i64) -> Self {
        match number {
            1 => Self::Full,
            2 => Self::Headers,
            _ => Self::Unasked,
        }
    }
}
