//! How much accounts send: counted by the hour in the transaction that stores what they submit, held
//! against the limits of the account and its domain, and against what the account usually does.
//!
//! A limit refuses ([`StoreError::SentTooMuch`]); the brake refuses nothing: it holds what the
//! account submits from then on, until an administrator has looked. Counts are rows, so that all nodes
//! share them and a restart forgets nothing; they cost one statement and no commit of their own.

mod brake;
mod release;
mod rows;

use std::time::Duration;

use base::limits::Sending;
use base::{AccountId, Domain, Timestamp};

pub use release::HeldAccount;
pub use rows::{SendLimits, Sent};

pub(crate) use brake::{Brake, Held, trip};
pub(crate) use rows::{ForgetSent, account_subject, count_refused, domain_subject, read_limits};

use crate::StoreError;
use crate::engine::{Tx, params};

const HOUR_MS: i64 = 3_600_000;
/// How many hours a day of the limits has.
const DAY: i64 = 24;

/// Why a letter is not taken now, or ever.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SentTooMuch {
    /// The limit, in words: `1000 letters in an hour`.
    pub limit: String,
    /// Whether it is that of the account's domain.
    pub of_domain: bool,
    /// When the letter would pass; `None`: it has more recipients than ever pass at once.
    pub again_at: Option<Timestamp>,
}

/// What an account may send, as memory knows it when a letter is stored.
#[derive(Clone, Debug)]
pub(crate) struct Allowance {
    pub account: Most,
    /// The domain, where that has limits.
    pub domain: Option<(Domain, Most)>,
    pub brake: Brake,
}

impl Allowance {
    /// Whether there is anything to count for.
    pub(crate) fn counts(&self) -> bool {
        self.account != Most::default() || self.domain.is_some() || self.brake != Brake::default()
    }
}

/// The most letters and recipients in an hour and in a day; 0: no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Most {
    letters: [i64; 2],
    recipients: [i64; 2],
}

impl Most {
    /// What holds for an account: its own limits, else those of the settings.
    pub(crate) fn of_account(own: SendLimits, settings: &Sending) -> Self {
        let or = |own: Option<u32>, usual: u32| i64::from(own.unwrap_or(usual));
        Self {
            letters: [
                or(own.letters_per_hour, settings.letters_per_hour),
                or(own.letters_per_day, settings.letters_per_day),
            ],
            recipients: [
                or(own.recipients_per_hour, settings.recipients_per_hour),
                or(own.recipients_per_day, settings.recipients_per_day),
            ],
        }
    }

    /// What holds for a domain; `None` if there is no limit.
    pub(crate) fn of_domain(own: SendLimits) -> Option<Self> {
        let most = Self::of_account(own, &Sending::NONE);
        (most != Self::default()).then_some(most)
    }

    /// Checks the counts with the new letter in them; `None` if all is well.
    fn broken(&self, counts: &Counts) -> Option<Broken> {
        let spans = ["an hour", "a day"];
        for (at, span) in spans.iter().enumerate() {
            for (most, count, one, what) in [
                (self.letters[at], counts.letters[at], 1, "letters"),
                (
                    self.recipients[at],
                    counts.recipients[at],
                    counts.new_recipients,
                    "recipients",
                ),
            ] {
                if most > 0 && count > most {
                    return Some(Broken {
                        limit: format!("{most} {what} in {span}"),
                        never: one > most,
                        of_day: at == 1,
                        room: most - one,
                        of_recipients: what == "recipients",
                    });
                }
            }
        }
        None
    }
}

/// A limit that a letter breaks.
struct Broken {
    limit: String,
    never: bool,
    of_day: bool,
    /// What may have been sent before, so that the letter passes.
    room: i64,
    of_recipients: bool,
}

/// What was counted: in this hour, and in this and the 23 before, the new letter in both.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    letters: [i64; 2],
    recipients: [i64; 2],
    new_recipients: i64,
    /// Recipients of today's failures.
    refused: i64,
}

/// What follows for the letter that was counted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counted {
    /// Why it is held.
    pub hold: Option<String>,
    /// Whether the account is held from this letter on; its row is to be changed last.
    pub trips: bool,
}

/// Counts a letter of an account.
///
/// # Errors
/// [`StoreError::SentTooMuch`]; what was counted goes with the transaction.
pub(crate) async fn count(
    tx: &mut Tx<'_>,
    account: AccountId,
    allowance: &Allowance,
    recipients: usize,
    at: Timestamp,
) -> Result<Counted, StoreError> {
    let new = i64::try_from(recipients).unwrap_or(i64::MAX);
    let hour = hour_of(at);
    let (counts, held_since) = rows::count(tx, account, hour, new).await?;
    if let Some(broken) = allowance.account.broken(&counts) {
        let sql = "SELECT hour, letters, recipients FROM sent
            WHERE account_id = $1 AND hour BETWEEN $2 - 23 AND $2 ORDER BY hour";
        let rows = tx.rows(sql, params![account, hour]).await?;
        return Err(refusal(broken, false, new, at, &rows)?);
    }
    if let Some((domain, most)) = &allowance.domain {
        let counts = rows::count_domain(tx, domain, hour, new).await?;
        if let Some(broken) = most.broken(&counts) {
            let sql = "SELECT hour, letters, recipients FROM sent_domain
                WHERE domain = $1 AND hour BETWEEN $2 - 23 AND $2 ORDER BY hour";
            let rows = tx.rows(sql, params![domain.as_str(), hour]).await?;
            return Err(refusal(broken, true, new, at, &rows)?);
        }
    }
    allowance
        .brake
        .check(tx, account, hour, &counts, held_since)
        .await
}

/// The error, with the time at which the letter would pass.
fn refusal(
    broken: Broken,
    of_domain: bool,
    new_recipients: i64,
    at: Timestamp,
    rows: &[crate::engine::Row],
) -> Result<StoreError, StoreError> {
    let hour = hour_of(at);
    let mut again_at = Timestamp((hour + 1) * HOUR_MS);
    if broken.of_day {
        // Hours fall out of the day one by one, until there is room.
        let mut sent = Vec::with_capacity(rows.len());
        for row in rows {
            let mut count = row.int(if broken.of_recipients { 2 } else { 1 })?;
            if row.int(0)? == hour {
                count -= if broken.of_recipients {
                    new_recipients
                } else {
                    1
                };
            }
            sent.push((row.int(0)?, count));
        }
        let mut left: i64 = sent.iter().map(|(_, count)| count).sum();
        for (then, count) in sent {
            if left <= broken.room {
                break;
            }
            left -= count;
            again_at = Timestamp((then + DAY) * HOUR_MS);
        }
    }
    Ok(StoreError::SentTooMuch(SentTooMuch {
        limit: broken.limit,
        of_domain,
        again_at: (!broken.never).then_some(again_at),
    }))
}

pub(crate) fn hour_of(at: Timestamp) -> i64 {
    at.millis().div_euclid(HOUR_MS)
}

/// How long an account is watched more closely after it was made or got a new password.
pub(crate) const STRICT_FOR: Duration = Duration::from_secs(24 * 3_600);
/// How long the brake lets an account alone that was released.
pub(crate) const FREE_FOR: Duration = Duration::from_secs(24 * 3_600);
