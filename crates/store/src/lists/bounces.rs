//! Letters to members that came back, counted; and what is done from time to time.
//!
//! Of the reports about one member one a day counts, so that a letter written in ten parts does not
//! suspend anybody. Two weeks without one wipe the count. At the list's limit the member gets no
//! more letters, and one last letter asks whether it can be reached (the probe): if that comes back
//! the member stays suspended, if it does not within a week the member gets letters again.

use base::{EmailAddress, Timestamp};

use super::MemberState;
use crate::engine::{Body, Priority, Tx, params};
use crate::{Store, StoreError};

const DAY_MS: i64 = 86_400_000;
/// Without a report for so long, earlier ones are forgotten.
const FORGOTTEN_AFTER_MS: i64 = 14 * DAY_MS;
/// A probe that has not come back after so long has arrived.
const PROBED_FOR_MS: i64 = 7 * DAY_MS;
/// A held letter that no owner cared for is given up after so long.
const HELD_FOR_MS: i64 = 14 * DAY_MS;
/// Bytes of what was said that are kept.
const WORDS_BYTES_MAX: usize = 300;

/// What a report about a member means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bounced {
    /// Nothing: there is no such member, it gets no letters anyway, or one counted today already.
    Ignored,
    /// It was counted; so many are.
    Counted(u32),
    /// The member is suspended: a probe is to be sent.
    Suspended,
}

impl Store {
    /// Counts that a letter to a member came back, and what was said.
    ///
    /// # Errors
    /// Those of writing.
    pub async fn count_bounce(
        &self,
        list: &EmailAddress,
        member: i64,
        words: &str,
    ) -> Result<Bounced, StoreError> {
        let body = Count {
            key: list.key(),
            member,
            words: words[..words.floor_char_boundary(WORDS_BYTES_MAX)].to_owned(),
            now: self.0.shared.now(),
        };
        self.0.engine.write(body, Priority::Urgent).await
    }

    /// Notes that the probe came back: the member stays suspended. Whether it was under way.
    ///
    /// # Errors
    /// Those of writing.
    pub async fn probe_came_back(
        &self,
        list: &EmailAddress,
        member: i64,
    ) -> Result<bool, StoreError> {
        let body = ProbeFailed {
            key: list.key(),
            member,
        };
        self.0.engine.write(body, Priority::Urgent).await
    }

    /// What is done for lists from time to time: members whose probe did not come back get letters
    /// again, held letters that nobody cared for are given up, and what is left of letters that are
    /// gone is forgotten. Gives how many members are back.
    ///
    /// # Errors
    /// Those of reading and writing.
    pub async fn tend_lists(&self) -> Result<u64, StoreError> {
        let now = self.0.shared.now();
        let back = self.0.engine.write(Tend { now }, Priority::Bulk).await?;
        let until = Timestamp(now.millis() - HELD_FOR_MS);
        for held in self.held_for_lists(None).await? {
            if held.held_at < until {
                let decision = super::Decision::Discard;
                self.decide_held(&held.list, held.letter, decision).await?;
            }
        }
        Ok(back)
    }
}

struct Count {
    key: String,
    member: i64,
    words: String,
    now: Timestamp,
}

impl Body for Count {
    type Out = Bounced;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Bounced, StoreError> {
        let sql = "SELECT m.state, m.bounces, m.bounced_at, l.bounces_max
            FROM list_member m JOIN list l ON l.address_key = m.list_key
            WHERE m.list_key = $1 AND m.member_id = $2";
        let lock = "SELECT 1 FROM list_member WHERE list_key = $1 AND member_id = $2 FOR UPDATE";
        tx.lock(lock, params![&self.key, self.member]).await?;
        let Some(row) = tx.row(sql, params![&self.key, self.member]).await? else {
            return Ok(Bounced::Ignored);
        };
        let now = self.now.millis();
        let last = row.maybe_int(2)?;
        let active = row.int(0)? == MemberState::Active.number();
        if !active || last.is_some_and(|last| now - last < DAY_MS) {
            return Ok(Bounced::Ignored);
        }
        let before = match last {
            Some(last) if now - last < FORGOTTEN_AFTER_MS => row.u32(1)?,
            Some(_) | None => 0,
        };
        let count = before + 1;
        let suspended = count >= row.u32(3)?;
        let state = if suspended {
            MemberState::Probed
        } else {
            MemberState::Active
        };
        let sql = "UPDATE list_member SET state = CAST($3 AS BIGINT), bounces = $4, bounced_at = $5, bounce = $6,
                probed_at = CASE WHEN CAST($3 AS BIGINT) = 1 THEN $5 ELSE probed_at END
            WHERE list_key = $1 AND member_id = $2";
        let values = params![
            &self.key,
            self.member,
            state.number(),
            i64::from(count),
            now,
            &self.words
        ];
        tx.execute(sql, values).await?;
        Ok(if suspended {
            Bounced::Suspended
        } else {
            Bounced::Counted(count)
        })
    }
}

struct ProbeFailed {
    key: String,
    member: i64,
}

impl Body for ProbeFailed {
    type Out = bool;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<bool, StoreError> {
        let sql = "UPDATE list_member SET state = 2
            WHERE list_key = $1 AND member_id = $2 AND state = 1";
        Ok(tx.execute(sql, params![&self.key, self.member]).await? > 0)
    }
}

struct Tend {
    now: Timestamp,
}

impl Body for Tend {
    type Out = u64;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<u64, StoreError> {
        for sql in [
            "DELETE FROM list_held WHERE NOT EXISTS (SELECT 1 FROM recipient r
                WHERE r.letter_id = list_held.letter_id
                    AND r.recipient_id = list_held.recipient_id)",
            "DELETE FROM list_sending WHERE NOT EXISTS (SELECT 1 FROM recipient r
                WHERE r.letter_id = list_sending.letter_id
                    AND r.recipient_id = list_sending.recipient_id)",
        ] {
            tx.execute(sql, &[]).await?;
        }
        let sql = "UPDATE list_member SET state = 0, bounces = 0, bounced_at = NULL, bounce = '',
                probed_at = NULL
            WHERE state = 1 AND probed_at < $1";
        let until = self.now.millis() - PROBED_FOR_MS;
        tx.execute(sql, params![until]).await
    }
}
