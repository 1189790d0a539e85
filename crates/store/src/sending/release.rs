//! Accounts that are held: who is to be told of them, and how they are let go.

use std::sync::Arc;

use base::{AccountId, EmailAddress, LetterId, Timestamp};

use super::FREE_FOR;
use crate::deliver::Submit;
use crate::directory::{Changed, note_changes};
use crate::engine::{Body, Priority, Tx, params};
use crate::journey::{self, Step};
use crate::queue::rows::remove_if_done;
use crate::shared::Shared;
use crate::{Note, Store, StoreError, Submission};

/// Letters that one transaction lets go.
const PIECE_LETTERS: i64 = 100;

/// An account that is held, of which nobody was told yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldAccount {
    /// Which.
    pub id: AccountId,
    /// Its address.
    pub address: EmailAddress,
    /// Since when.
    pub since: Timestamp,
    /// Why, in words.
    pub why: String,
}

impl Store {
    /// Accounts that are held and of which the administrators were not told; none costs nothing.
    ///
    /// # Errors
    /// Those of reading.
    pub async fn untold_holds(&self) -> Result<Vec<HeldAccount>, StoreError> {
        let untold = self.0.shared.directory().untold_holds();
        let mut found = Vec::with_capacity(untold.len());
        for (id, address) in untold {
            if let Some((since, why)) = self.sent(id).await?.held {
                found.push(HeldAccount {
                    id,
                    address,
                    since,
                    why,
                });
            }
        }
        Ok(found)
    }

    /// Sends a letter about an account that is held, once: `false` if another node did.
    ///
    /// # Errors
    /// Those of [`Store::submit`].
    pub async fn tell_hold(&self, id: AccountId, letter: Submission) -> Result<bool, StoreError> {
        let body = Tell {
            id,
            letter: self.prepare_submission(letter).await?,
            shared: Arc::clone(&self.0.shared),
        };
        self.0.engine.write(body, Priority::Urgent).await
    }

    /// Lets an account go that is held, and sends or drops the letters that are. The brake leaves it
    /// alone for a day. Gives how many recipients they have.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] for one that is not held.
    pub async fn release_sender(&self, id: AccountId, drop: bool) -> Result<u64, StoreError> {
        let body = EndHold {
            id,
            free_until: self.0.shared.now() + FREE_FOR,
            shared: Arc::clone(&self.0.shared),
        };
        self.0.engine.write(body, Priority::Urgent).await?;
        let (mut after, mut total) = (LetterId(0), 0);
        loop {
            let body = LetGo {
                id,
                drop,
                after,
                now: self.0.shared.now(),
                shared: Arc::clone(&self.0.shared),
            };
            let (last, count) = self.0.engine.write(body, Priority::Bulk).await?;
            total += count;
            match last {
                Some(last) => after = last,
                None => return Ok(total),
            }
        }
    }
}

struct Tell {
    id: AccountId,
    letter: Submit,
    shared: Arc<Shared>,
}

impl Body for Tell {
    type Out = bool;

    fn blobs(&self) -> Vec<[u8; 32]> {
        self.letter.blobs()
    }

    async fn run(&self, tx: &mut Tx<'_>) -> Result<bool, StoreError> {
        let sql = "UPDATE account SET send_held_told = 1
            WHERE account_id = $1 AND send_held_at IS NOT NULL AND send_held_told = 0";
        if tx.execute(sql, params![self.id]).await? == 0 {
            return Ok(false);
        }
        self.letter.run(tx).await?;
        note_changes(tx, &[Changed::Account(self.id)]).await?;
        Ok(true)
    }

    fn committed(&self, told: &bool) {
        let mut directory = self.shared.directory_mut();
        directory.change_account(self.id, |account| {
            if let Some(held) = &mut account.sending.held {
                held.told = true;
            }
        });
        drop(directory);
        if *told {
            self.letter.tell(None);
        }
    }
}

struct EndHold {
    id: AccountId,
    free_until: Timestamp,
    shared: Arc<Shared>,
}

impl Body for EndHold {
    type Out = ();

    async fn run(&self, tx: &mut Tx<'_>) -> Result<(), StoreError> {
        let sql = "UPDATE account SET send_held_at = NULL, send_held_why = '', send_free_until = $2
            WHERE account_id = $1 AND send_held_at IS NOT NULL";
        if tx.execute(sql, params![self.id, self.free_until]).await? == 0 {
            return Err(StoreError::NotFound("hold"));
        }
        note_changes(tx, &[Changed::Account(self.id)]).await
    }

    fn committed(&self, (): &()) {
        let mut directory = self.shared.directory_mut();
        directory.change_account(self.id, |account| {
            account.sending.held = None;
            account.sending.free_until = self.free_until;
        });
        drop(directory);
        self.shared.directory_changed();
    }
}

/// Lets some letters go; gives the last that was looked at, and how many recipients went.
struct LetGo {
    id: AccountId,
    drop: bool,
    after: LetterId,
    now: Timestamp,
    shared: Arc<Shared>,
}

impl Body for LetGo {
    type Out = (Option<LetterId>, u64);

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Self::Out, StoreError> {
        let sql = "SELECT r.letter_id, l.sender_account FROM recipient r
            JOIN letter l ON l.letter_id = r.letter_id
            WHERE r.held = 2 AND r.letter_id > $1
            ORDER BY r.letter_id LIMIT $2";
        let rows = tx.rows(sql, params![self.after, PIECE_LETTERS]).await?;
        let (mut last, mut count) = (None, 0);
        for row in rows {
            let letter = LetterId(row.int(0)?);
            if last == Some(letter) || row.maybe_int(1)? != Some(self.id.0) {
                last = Some(letter);
                continue;
            }
            last = Some(letter);
            count += self.let_go(tx, letter).await?;
        }
        Ok((last, count))
    }

    fn committed(&self, _: &Self::Out) {
        self.shared.watches.much_of_queue_changed();
    }
}

impl LetGo {
    async fn let_go(&self, tx: &mut Tx<'_>, letter: LetterId) -> Result<u64, StoreError> {
        let count = if self.drop {
            let sql = "DELETE FROM recipient WHERE letter_id = $1 AND held = 2";
            tx.execute(sql, params![letter]).await?
        } else {
            // The time of trying begins now.
            let sql = "UPDATE letter SET expires_at = expires_at + ($2 - received_at)
                WHERE letter_id = $1 AND received_at < $2";
            tx.execute(sql, params![letter, self.now]).await?;
            // RFC 4865: what its sender put off goes no earlier.
            let sql = "UPDATE recipient SET held = 0, reason = '',
                    next_at = CASE WHEN next_at > $2 THEN next_at ELSE $2 END
                WHERE letter_id = $1 AND held = 2";
            tx.execute(sql, params![letter, self.now]).await?
        };
        let detail = if self.drop { "dropped" } else { "released" };
        let notes = journey::encode(&[Note {
            at: self.now,
            recipient: None,
            step: Step::Operated,
            detail: format!("{detail} with all that was held of the account"),
        }]);
        journey::add_row(tx, letter, self.shared.next_id(), None, &notes).await?;
        if self.drop {
            remove_if_done(tx, letter, self.now).await?;
        }
        Ok(count)
    }
}
