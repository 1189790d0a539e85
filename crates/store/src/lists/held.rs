//! Letters that wait for a word of an owner. The letter stays in the queue, held; here stands for
//! which list, and what an owner said.

use std::sync::Arc;

use base::{EmailAddress, LetterId, RecipientId, Timestamp};

use super::HELD_MAX;
use crate::deliver::Submit;
use crate::directory::address;
use crate::engine::{Body, Priority, Tx, params};
use crate::journey::{self, Step};
use crate::queue::rows::remove_if_done;
use crate::shared::Shared;
use crate::{ClaimRef, Note, Store, StoreError, Submission};

/// A letter that is to wait.
#[derive(Clone, Debug)]
pub struct NewHeld {
    /// The claim under which it was looked at.
    pub claim: ClaimRef,
    /// The recipient that is the list.
    pub recipient: RecipientId,
    /// The list.
    pub list: EmailAddress,
    /// Who wrote it.
    pub author: String,
    /// Its subject.
    pub subject: String,
    /// Why it waits.
    pub reason: String,
}

/// A letter that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldLetter {
    /// The letter in the queue.
    pub letter: LetterId,
    /// The list.
    pub list: EmailAddress,
    /// Who wrote it.
    pub author: String,
    /// Its subject.
    pub subject: String,
    /// Why it waits.
    pub reason: String,
    /// Since when.
    pub held_at: Timestamp,
}

/// What an owner says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It goes to the members.
    Approve,
    /// It is dropped, and its author hears nothing.
    Discard,
}

impl Store {
    /// Lets a claimed letter wait, and queues what tells its owners, in one commit; the claim is over
    /// for this recipient. `false`: the claim was lost,
    /// or too many letters of the list wait already.
    ///
    /// # Errors
    /// Those of writing.
    pub async fn hold_for_list(
        &self,
        held: NewHeld,
        notices: Vec<Submission>,
    ) -> Result<bool, StoreError> {
        let mut prepared = Vec::with_capacity(notices.len());
        for notice in notices {
            prepared.push(self.prepare_submission(notice).await?);
        }
        let body = Hold {
            held,
            notices: prepared,
            batch: self.0.shared.next_id(),
            now: self.0.shared.now(),
            shared: Arc::clone(&self.0.shared),
        };
        self.0.engine.write(body, Priority::Urgent).await
    }

    /// The letters that wait for a word, of one list or of all, oldest first.
    ///
    /// # Errors
    /// Those of reading.
    pub async fn held_for_lists(
        &self,
        list: Option<&EmailAddress>,
    ) -> Result<Vec<HeldLetter>, StoreError> {
        let key = list.map(EmailAddress::key);
        self.0.engine.read(ReadHeld { key }).await
    }

    /// Does what an owner says about a letter that waits; `false` if it does not wait any more. One
    /// that is approved is given up as much later as it has waited.
    ///
    /// # Errors
    /// Those of writing.
    pub async fn decide_held(
        &self,
        list: &EmailAddress,
        letter: LetterId,
        decision: Decision,
    ) -> Result<bool, StoreError> {
        let body = Decide {
            key: list.key(),
            letter,
            decision,
            batch: self.0.shared.next_id(),
            now: self.0.shared.now(),
            shared: Arc::clone(&self.0.shared),
        };
        self.0.engine.write(body, Priority::Urgent).await
    }

    /// Whether an owner has approved this letter.
    ///
    /// # Errors
    /// Those of reading.
    pub async fn is_approved(
        &self,
        letter: LetterId,
        recipient: RecipientId,
    ) -> Result<bool, StoreError> {
        self.0.engine.read(IsApproved { letter, recipient }).await
    }
}

struct Hold {
    held: NewHeld,
    notices: Vec<Submit>,
    batch: i64,
    now: Timestamp,
    shared: Arc<Shared>,
}

impl Body for Hold {
    type Out = bool;

    fn blobs(&self) -> Vec<[u8; 32]> {
        self.notices.iter().flat_map(Body::blobs).collect()
    }

    async fn run(&self, tx: &mut Tx<'_>) -> Result<bool, StoreError> {
        let held = &self.held;
        let key = held.list.key();
        let lock = "SELECT 1 FROM list WHERE address_key = $1 FOR UPDATE";
        tx.lock(lock, params![&key]).await?;
        let sql = "SELECT count(*) FROM list_held WHERE list_key = $1 AND state = 0";
        if tx.one(sql, params![&key]).await?.int(0)? >= HELD_MAX {
            return Ok(false);
        }
        let sql = "UPDATE recipient SET fence = 0, node = '', incarnation = 0, held = 1,
                next_at = $1, reason = $2
            WHERE letter_id = $3 AND recipient_id = $4 AND fence = $5";
        let (letter, fence) = (held.claim.letter, held.claim.fence);
        let values = params![self.now, &held.reason, letter, held.recipient, fence];
        if tx.execute(sql, values).await? == 0 {
            return Ok(false);
        }
        let sql =
            "INSERT INTO list_held (letter_id, recipient_id, list_key, state, author, subject,
                reason, held_at)
            VALUES ($1, $2, $3, 0, $4, $5, $6, $7)
            ON CONFLICT (letter_id, recipient_id) DO UPDATE SET state = 0, held_at = $7";
        let (author, subject, reason) = (&held.author, &held.subject, &held.reason);
        let values = params![
            letter,
            held.recipient,
            &key,
            author,
            subject,
            reason,
            self.now
        ];
        tx.execute(sql, values).await?;
        let words = format!("waits for an owner of {}: {reason}", held.list);
        note(tx, (letter, self.batch), self.now, words).await?;
        for notice in &self.notices {
            notice.run(tx).await?;
        }
        Ok(true)
    }

    fn committed(&self, held: &bool) {
        if *held {
            self.shared.watches.much_of_queue_changed();
        }
    }
}

async fn note(
    tx: &mut Tx<'_>,
    (letter, batch): (LetterId, i64),
    at: Timestamp,
    detail: String,
) -> Result<(), StoreError> {
    let note = Note {
        at,
        recipient: None,
        step: Step::Operated,
        detail,
    };
    journey::add_row(tx, letter, batch, None, &journey::encode(&[note])).await
}

struct ReadHeld {
    key: Option<String>,
}

impl Body for ReadHeld {
    type Out = Vec<HeldLetter>;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Self::Out, StoreError> {
        let rows = match &self.key {
            Some(key) => {
                let sql = "SELECT h.letter_id, l.address, h.author, h.subject, h.reason, h.held_at
                    FROM list_held h JOIN list l ON l.address_key = h.list_key
                    WHERE h.list_key = $1 AND h.state = 0 ORDER BY h.letter_id";
                tx.rows(sql, params![key]).await?
            }
            None => {
                let sql = "SELECT h.letter_id, l.address, h.author, h.subject, h.reason, h.held_at
                    FROM list_held h JOIN list l ON l.address_key = h.list_key
                    WHERE h.state = 0 ORDER BY h.letter_id";
                tx.rows(sql, &[]).await?
            }
        };
        rows.into_iter()
            .map(|mut row| {
                Ok(HeldLetter {
                    letter: LetterId(row.int(0)?),
                    list: address(&row.text(1)?)?,
                    author: row.text(2)?,
                    subject: row.text(3)?,
                    reason: row.text(4)?,
                    held_at: row.time(5)?,
                })
            })
            .collect()
    }
}

struct Decide {
    key: String,
    letter: LetterId,
    decision: Decision,
    batch: i64,
    now: Timestamp,
    shared: Arc<Shared>,
}

impl Body for Decide {
    type Out = bool;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<bool, StoreError> {
        let sql = "SELECT recipient_id, held_at FROM list_held
            WHERE letter_id = $1 AND list_key = $2 AND state = 0 FOR UPDATE";
        let Some(row) = tx.row(sql, params![self.letter, &self.key]).await? else {
            return Ok(false);
        };
        let recipient = RecipientId(row.int(0)?);
        let waited = (self.now.millis() - row.int(1)?).max(0);
        let place = params![self.letter, recipient];
        let word = match self.decision {
            Decision::Approve => {
                let sql =
                    "UPDATE list_held SET state = 1 WHERE letter_id = $1 AND recipient_id = $2";
                tx.execute(sql, place).await?;
                let sql = "UPDATE recipient SET held = 0, next_at = $3, reason = ''
                    WHERE letter_id = $1 AND recipient_id = $2 AND fence = 0";
                tx.execute(sql, params![self.letter, recipient, self.now])
                    .await?;
                // While it waited it was not tried: that does not count.
                let sql = "UPDATE letter SET expires_at = expires_at + $2 WHERE letter_id = $1";
                tx.execute(sql, params![self.letter, waited]).await?;
                "approved"
            }
            Decision::Discard => {
                let sql = "DELETE FROM list_held WHERE letter_id = $1 AND recipient_id = $2";
                tx.execute(sql, place).await?;
                let sql = "DELETE FROM recipient WHERE letter_id = $1 AND recipient_id = $2
                    AND fence = 0";
                tx.execute(sql, place).await?;
                remove_if_done(tx, self.letter, self.now).await?;
                "discarded"
            }
        };
        let words = format!("{word} by an owner of {}", self.key);
        note(tx, (self.letter, self.batch), self.now, words).await?;
        Ok(true)
    }

    fn committed(&self, done: &bool) {
        if *done {
            self.shared.watches.much_of_queue_changed();
        }
    }
}

struct IsApproved {
    letter: LetterId,
    recipient: RecipientId,
}

impl Body for IsApproved {
    type Out = bool;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<bool, StoreError> {
        let sql = "SELECT 1 FROM list_held
            WHERE letter_id = $1 AND recipient_id = $2 AND state = 1";
        let row = tx.row(sql, params![self.letter, self.recipient]).await?;
        Ok(row.is_some())
    }
}
