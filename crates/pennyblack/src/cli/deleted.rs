//! `pennyblack account deleted`: mail that was deleted and can be recovered.

use std::time::{SystemTime, UNIX_EPOCH};

use base::time::Civil;
use clap::{Args, Subcommand};
use serde_json::Value;

use super::Operator;
use super::exit::Exit;
use super::output::{Output, bytes, field};
use crate::control::{Deleted, Request};
use crate::settings::value;

#[derive(Subcommand)]
pub(super) enum DeletedCommand {
    /// Lists deleted mail, that deleted last first.
    List {
        #[command(flatten)]
        which: Which,
        /// At most so many; 0: all.
        #[arg(long, default_value_t = 1_000)]
        limit: usize,
        /// As a JSON array.
        #[arg(long)]
        json: bool,
    },
    /// Puts deleted mail back where it was; a mailbox that is gone is made again.
    Recover {
        #[command(flatten)]
        which: Which,
        /// All that there is.
        #[arg(long, required_unless_present_any = ["message", "since", "mailbox"])]
        all: bool,
        /// Puts all of it into this mailbox.
        #[arg(long, value_name = "MAILBOX")]
        to: Option<String>,
    },
    /// Removes deleted mail for good.
    Purge {
        #[command(flatten)]
        which: Which,
        /// All that there is.
        #[arg(long, required_unless_present_any = ["message", "since", "mailbox"])]
        all: bool,
    },
}

/// Which deleted mail.
#[derive(Args)]
pub(super) struct Which {
    /// The account's address.
    address: String,
    /// Only this message, by its number in the list; may be repeated.
    #[arg(long, value_name = "NUMBER")]
    message: Vec<i64>,
    /// Only what was deleted since a time in UTC, such as `2026-11-25` or `2026-11-25T14:30:00Z`, or
    /// in a span until now, such as `2 h` or `3 d`.
    #[arg(long, value_name = "TIME", value_parser = since)]
    since: Option<Since>,
    /// Only what was deleted from this mailbox, as it was called then.
    #[arg(long, value_name = "MAILBOX")]
    mailbox: Option<String>,
}

/// Milliseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Since(i64);

fn since(text: &str) -> Result<Since, String> {
    if let Some(span_ms) = value::span(text) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now_ms = now.map_or(0, |now| i64::try_from(now.as_millis()).unwrap_or(i64::MAX));
        return Ok(Since(now_ms.saturating_sub(span_ms)));
    }
    point(text)
        .map(Since)
        .ok_or_else(|| "a time such as `2026-11-25T14:30:00Z`, or a span such as `3 d`".to_owned())
}

/// `2026-11-25` or `2026-11-25T14:30:00Z`.
fn point(text: &str) -> Option<i64> {
    let (date, time) = match text.split_once('T') {
        Some((date, time)) => (date, time.strip_suffix('Z')?),
        None => (text, "00:00:00"),
    };
    let date: Vec<i64> = numbers(date, '-')?;
    let time: Vec<i64> = numbers(time, ':')?;
    let ([year, month, day], [hour, minute, second]) = (date.as_slice(), time.as_slice()) else {
        return None;
    };
    let civil = Civil {
        year: *year,
        month: u8::try_from(*month).ok()?,
        day: u8::try_from(*day).ok()?,
        hour: u8::try_from(*hour).ok()?,
        minute: u8::try_from(*minute).ok()?,
        second: u8::try_from(*second).ok()?,
        ..Civil::from_secs(0)
    };
    let secs = civil.to_secs();
    // A 31st of February is another day, and so not what was meant.
    let read = Civil::from_secs(secs);
    let same = (read.year, read.month, read.day) == (civil.year, civil.month, civil.day);
    (same && *hour < 24 && *minute < 60 && *second < 60).then(|| secs.saturating_mul(1_000))
}

fn numbers(text: &str, separator: char) -> Option<Vec<i64>> {
    let parts = text.split(separator);
    parts
        .map(|part| {
            let digits = part.len() <= 4 && part.bytes().all(|byte| byte.is_ascii_digit());
            part.parse().ok().filter(|_| digits)
        })
        .collect()
}

impl Which {
    fn split(self) -> (String, Deleted) {
        let which = Deleted {
            messages: self.message,
            since_ms: self.since.map(|since| since.0),
            mailbox: self.mailbox,
        };
        (self.address, which)
    }
}

pub(super) fn run(operator: &Operator, command: DeletedCommand) -> Result<(), Exit> {
    match command {
        DeletedCommand::List { which, limit, json } => list(operator, which, limit, json),
        DeletedCommand::Recover { which, to, .. } => {
            let (address, which) = which.split();
            operator.act(Request::DeletedRecover { address, which, to })
        }
        DeletedCommand::Purge { which, .. } => {
            let (address, which) = which.split();
            operator.act(Request::DeletedPurge { address, which })
        }
    }
}

fn list(operator: &Operator, which: Which, limit: usize, json: bool) -> Result<(), Exit> {
    let (address, which) = which.split();
    let limit = if limit == 0 { usize::MAX } else { limit };
    let mut found: Vec<Value> = Vec::new();
    let mut after = None;
    while found.len() < limit {
        let page = operator.ask(Request::DeletedList {
            address: address.clone(),
            which: which.clone(),
            after,
        })?;
        let Some(last) = page.rows.last() else { break };
        let cursor = |name: &str| last[name].as_i64().unwrap_or(i64::MIN);
        after = Some((cursor("removed_ms"), cursor("message")));
        found.extend(page.rows);
    }
    found.truncate(limit);
    let mut output = Output::default();
    if json {
        return output.json(&found);
    }
    let cells: Vec<Vec<String>> = found
        .iter()
        .map(|row| {
            vec![
                field(row, "message"),
                field(row, "removed_at"),
                field(row, "mailbox"),
                bytes(row, "size"),
                field(row, "from"),
                field(row, "subject"),
            ]
        })
        .collect();
    let head = ["message", "deleted", "mailbox", "size", "from", "subject"];
    output.table(&head, &cells)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_of_time() {
        assert_eq!(point("1970-01-02"), Some(86_400_000));
        assert_eq!(point("2026-11-25T14:30:05Z"), Some(1_795_617_005_000));
        for wrong in [
            "",
            "2026",
            "2026-02-31",
            "2026-13-01",
            "2026-11-25T24:00:00Z",
            "2026-11-25T14:30",
            "2026-11-25T14:30:00",
            "+026-11-25",
            "2026-11-25T-1:00:00Z",
            "99999-01-01",
        ] {
            assert_eq!(point(wrong), None, "{wrong}");
        }
        assert!(since("3 d").is_ok());
        assert!(since("soon").is_err());
    }
}
