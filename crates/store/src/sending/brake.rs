//! The brake: an account that suddenly sends far more than it usually does, or whose letters are
//! refused in numbers, is most likely in the hands of somebody else. What it submits from then on is
//! taken and held.

use base::limits::Sending;
use base::{AccountId, Timestamp};

use super::{Counted, Counts};
use crate::StoreError;
use crate::directory::{Changed, note_changes};
use crate::engine::{Tx, params};

/// Of so many recipients one that cannot be reached is too much.
const REFUSED_SHARE: i64 = 3;
/// What a new account may do, and one with a new password: so much less.
const STRICT_DIVISOR: i64 = 4;
/// What the letters say that are held.
const WHY_HELD: &str = "held: the account is held for sending too much";

/// That an account is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    /// Whether the administrators were told.
    pub told: bool,
}

/// When an account is held, as memory knows it when a letter is stored. 0: never.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Brake {
    /// Recipients in an hour that are always allowed.
    recipients: i64,
    /// How many times its busiest hour of the last week an account may send.
    factor: i64,
    /// Recipients in a day that could not be reached.
    refused: i64,
    /// Released just now: it is counted, and left alone.
    is_free: bool,
}

impl Brake {
    /// For an account that is new, or was released just now, or neither.
    pub(crate) fn new(settings: &Sending, is_strict: bool, is_free: bool) -> Self {
        let divisor = if is_strict { STRICT_DIVISOR } else { 1 };
        // A limit that is small is not made none.
        let part = |most: u32| match i64::from(most) {
            0 => 0,
            most => (most / divisor).max(1),
        };
        Self {
            recipients: part(settings.brake_recipients),
            factor: match settings.brake_recipients {
                0 => 0,
                _ => i64::from(settings.brake_factor),
            },
            refused: part(settings.brake_failures),
            is_free,
        }
    }

    /// Decides about the letter that was counted just now.
    pub(super) async fn check(
        &self,
        tx: &mut Tx<'_>,
        account: AccountId,
        hour: i64,
        counts: &Counts,
        held_since: Option<Timestamp>,
    ) -> Result<Counted, StoreError> {
        if held_since.is_some() {
            // It may be let go at this moment: who ends the hold waits for the lock, and then finds
            // this letter, or was quicker, and the letter goes.
            let sql = "SELECT send_held_at FROM account WHERE account_id = $1 FOR UPDATE";
            let row = tx.row(sql, params![account]).await?;
            let is_held = row.map(|row| row.maybe_int(0)).transpose()?.flatten();
            if is_held.is_none() {
                return Ok(Counted::default());
            }
            return Ok(Counted {
                hold: Some(WHY_HELD.to_owned()),
                trips: false,
            });
        }
        if self.is_free {
            return Ok(Counted::default());
        }
        let [recipients, of_day] = counts.recipients;
        if self.refused > 0
            && counts.refused >= self.refused
            && counts.refused * REFUSED_SHARE > of_day
        {
            return Ok(Counted {
                hold: Some(format!(
                    "held: {} of the {of_day} recipients of this day could not be reached",
                    counts.refused
                )),
                trips: true,
            });
        }
        if self.recipients == 0 || recipients <= self.recipients {
            return Ok(Counted::default());
        }
        let sql = "SELECT coalesce(max(recipients), 0) FROM sent
            WHERE account_id = $1 AND hour BETWEEN $2 - 168 AND $2 - 1";
        let usual = tx.one(sql, params![account, hour]).await?.int(0)?;
        if recipients <= usual.saturating_mul(self.factor) {
            return Ok(Counted::default());
        }
        Ok(Counted {
            hold: Some(format!(
                "held: {recipients} recipients in this hour, and at most {usual} in an hour of the last \
                 week"
            )),
            trips: true,
        })
    }
}

/// Holds the account; the last step of the transaction.
pub(crate) async fn trip(
    tx: &mut Tx<'_>,
    account: AccountId,
    why: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    let sql = "UPDATE account SET send_held_at = $2, send_held_why = $3, send_held_told = 0
        WHERE account_id = $1 AND send_held_at IS NULL";
    tx.execute(sql, params![account, now, why]).await?;
    note_changes(tx, &[Changed::Account(account)]).await
}
