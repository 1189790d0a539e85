//! What an operator sees of the queue and does to it.

use std::sync::Arc;

use base::{LetterId, Timestamp};

use super::rows::remove_if_done;
use super::{
    LIST_DEFAULT, LastAttempt, QueueEntry, QueueFilter, QueueRecipientState, RecipientEntry,
};
use crate::directory::address;
use crate::engine::{Body, Priority, Row, Tx, params};
use crate::journey::{self, Step};
use crate::shared::Shared;
use crate::{Note, Store, StoreError};

/// Letters that one transaction changes.
const PIECE_LETTERS: i64 = 100;
/// Recipients of a domain that are sorted to find a piece. With more of them, walking over the whole
/// queue comes to the next one sooner.
const FEW_RECIPIENTS: i64 = 10_000;

/// What an operator does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    Retry,
    Hold,
    Release,
    Drop,
}

impl Store {
    /// Does it to all matching recipients, in pieces.
    pub(super) async fn operate(&self, filter: &QueueFilter, act: Act) -> Result<u64, StoreError> {
        let mut after = LetterId(0);
        let mut left = if filter.limit == 0 {
            usize::MAX
        } else {
            filter.limit
        };
        let mut total = 0;
        while left > 0 {
            let body = Operate {
                filter: filter.clone(),
                act,
                after,
                limit: i64::try_from(left).unwrap_or(i64::MAX).min(PIECE_LETTERS),
                now: self.0.shared.now(),
                shared: Arc::clone(&self.0.shared),
            };
            let done = self.0.engine.write(body, Priority::Bulk).await?;
            total += done.recipients;
            let Some(last) = done.last else {
                break;
            };
            after = last;
            left = left.saturating_sub(done.letters);
        }
        Ok(total)
    }
}

struct Operate {
    filter: QueueFilter,
    act: Act,
    after: LetterId,
    limit: i64,
    now: Timestamp,
    shared: Arc<Shared>,
}

struct Operated {
    last: Option<LetterId>,
    letters: usize,
    recipients: u64,
}

impl Body for Operate {
    type Out = Operated;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Operated, StoreError> {
        let letters = matching(tx, &self.filter, self.after, self.limit).await?;
        let mut recipients = 0;
        for letter in &letters {
            let changed = self.change(tx, *letter).await?;
            if changed > 0 {
                self.note(tx, *letter, changed).await?;
            }
            if self.act == Act::Drop {
                remove_if_done(tx, *letter, self.now).await?;
            }
            recipients += changed;
        }
        Ok(Operated {
            last: letters.last().copied(),
            letters: letters.len(),
            recipients,
        })
    }

    fn committed(&self, _: &Operated) {
        self.shared.watches.much_of_queue_changed();
    }
}

impl Operate {
    async fn change(&self, tx: &mut Tx<'_>, letter: LetterId) -> Result<u64, StoreError> {
        let domain = self.filter.domain.as_ref().map(base::Domain::as_str);
        match self.act {
            // A recipient on which a node works is left alone: it is being tried right now.
            Act::Retry => {
                let sql = "UPDATE recipient SET next_at = $3
                    WHERE letter_id = $1 AND (CAST($2 AS TEXT) IS NULL OR domain = $2)
                        AND held = 0 AND fence = 0";
                tx.execute(sql, params![letter, domain, self.now]).await
            }
            // One on which a node works is held once the node is done with it.
            Act::Hold => {
                let sql = "UPDATE recipient SET held = 1
                    WHERE letter_id = $1 AND (CAST($2 AS TEXT) IS NULL OR domain = $2) AND held = 0";
                tx.execute(sql, params![letter, domain]).await
            }
            Act::Release => {
                let sql = "UPDATE recipient SET held = 0
                    WHERE letter_id = $1 AND (CAST($2 AS TEXT) IS NULL OR domain = $2) AND held <> 0";
                tx.execute(sql, params![letter, domain]).await
            }
            Act::Drop => {
                let sql = "DELETE FROM recipient
                    WHERE letter_id = $1 AND (CAST($2 AS TEXT) IS NULL OR domain = $2)";
                tx.execute(sql, params![letter, domain]).await
            }
        }
    }

    async fn note(&self, tx: &mut Tx<'_>, letter: LetterId, count: u64) -> Result<(), StoreError> {
        let what = match self.act {
            Act::Retry => "to be tried now",
            Act::Hold => "held",
            Act::Release => "released",
            Act::Drop => "dropped",
        };
        let notes = journey::encode(&[Note {
            at: self.now,
            recipient: None,
            step: Step::Operated,
            detail: format!("{what} ({count} recipients)"),
        }]);
        journey::add_row(tx, letter, self.shared.next_id(), None, &notes).await
    }
}

/// The letters that a filter means, after a letter, oldest first.
async fn matching(
    tx: &mut Tx<'_>,
    filter: &QueueFilter,
    after: LetterId,
    limit: i64,
) -> Result<Vec<LetterId>, StoreError> {
    let domain = filter.domain.as_ref().map(base::Domain::as_str);
    let rows = match filter.letter {
        Some(letter) => {
            let sql = "SELECT letter_id FROM letter WHERE letter_id = $1 AND letter_id > $2";
            tx.rows(sql, params![letter, after]).await?
        }
        None => match domain {
            Some(domain) if few(tx, domain).await? => {
                let sql = "SELECT DISTINCT letter_id FROM (
                        SELECT letter_id FROM recipient WHERE held = 0 AND domain = $1
                        UNION ALL
                        SELECT letter_id FROM recipient WHERE held <> 0 AND domain = $1) of_domain
                    WHERE letter_id > $2 ORDER BY letter_id LIMIT $3";
                tx.rows(sql, params![domain, after, limit]).await?
            }
            domain => {
                let sql = "SELECT letter_id FROM letter WHERE letter_id > $1
                        AND (CAST($2 AS TEXT) IS NULL OR EXISTS (SELECT 1 FROM recipient r
                            WHERE r.letter_id = letter.letter_id AND r.domain = $2))
                    ORDER BY letter_id LIMIT $3";
                tx.rows(sql, params![after, domain, limit]).await?
            }
        },
    };
    rows.iter().map(|row| Ok(LetterId(row.int(0)?))).collect()
}

/// Whether so few letters are queued for a domain that they are better found by it than among all.
async fn few(tx: &mut Tx<'_>, domain: &str) -> Result<bool, StoreError> {
    let sql = "SELECT count(*) FROM (
            SELECT 1 FROM recipient WHERE held = 0 AND domain = $1 LIMIT $2) limited";
    let row = tx.one(sql, params![domain, FEW_RECIPIENTS]).await?;
    Ok(row.int(0)? < FEW_RECIPIENTS)
}

/// The queue as an operator sees it.
pub(super) struct List {
    pub filter: QueueFilter,
    pub now: Timestamp,
}

impl Body for List {
    type Out = Vec<QueueEntry>;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Vec<QueueEntry>, StoreError> {
        let limit = match self.filter.limit {
            0 => LIST_DEFAULT,
            limit => limit,
        };
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let letters = matching(tx, &self.filter, LetterId(0), limit).await?;
        let mut entries = Vec::with_capacity(letters.len());
        for letter in letters {
            entries.push(self.entry(tx, letter).await?);
        }
        Ok(entries)
    }
}

impl List {
    async fn entry(&self, tx: &mut Tx<'_>, letter: LetterId) -> Result<QueueEntry, StoreError> {
        let sql = "SELECT reverse_path, size, received_at, expires_at FROM letter
            WHERE letter_id = $1";
        let mut row = tx.one(sql, params![letter]).await?;
        let sql = "SELECT address, attempts, next_at, reason, held, fence,
                class, reply, host, tls, tried_at FROM recipient
            WHERE letter_id = $1 AND (CAST($2 AS TEXT) IS NULL OR domain = $2) ORDER BY recipient_id";
        let domain = self.filter.domain.as_ref().map(base::Domain::as_str);
        let recipients = tx.rows(sql, params![letter, domain]).await?;
        let recipients = recipients.into_iter().map(|row| recipient(row, self.now));
        Ok(QueueEntry {
            letter,
            reverse_path: row.maybe_text(0)?.as_deref().map(address).transpose()?,
            size: row.unsigned(1)?,
            received_at: row.time(2)?,
            expires_at: row.time(3)?,
            recipients: recipients.collect::<Result<_, _>>()?,
        })
    }
}

fn recipient(mut row: Row, now: Timestamp) -> Result<RecipientEntry, StoreError> {
    let next_at = row.time(2)?;
    let state = if row.int(5)? != 0 && next_at > now {
        QueueRecipientState::Claimed
    } else if row.truth(4)? {
        QueueRecipientState::Held
    } else {
        QueueRecipientState::Waiting
    };
    Ok(RecipientEntry {
        address: address(&row.text(0)?)?,
        state,
        attempts: row.u32(1)?,
        next_at,
        reason: row.text(3)?,
        last: LastAttempt {
            class: row.text(6)?,
            reply: row.text(7)?,
            host: row.text(8)?,
            tls: row.text(9)?,
        },
        tried_at: row.maybe_int(10)?.map(Timestamp),
    })
}
