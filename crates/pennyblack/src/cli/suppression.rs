//! `pennyblack suppression`.

use clap::{Args, Subcommand};

use super::exit::Exit;
use super::output::{Output, field};
use super::{ListArgs, Operator};
use crate::control::Request;
use crate::settings::value;

#[derive(Subcommand)]
pub(super) enum SuppressionCommand {
    /// Lists the addresses that are not tried, with reasons.
    List {
        /// Only this address.
        address: Option<String>,
        #[command(flatten)]
        senders: Senders,
        /// At most so many.
        #[arg(long, default_value_t = 1_000)]
        limit: usize,
        #[command(flatten)]
        list: ListArgs,
    },
    /// Keeps letters to an address elsewhere from being tried.
    Add {
        /// The address.
        address: String,
        /// Why: senders are told.
        #[arg(long)]
        reason: String,
        /// For how long, such as 30d; otherwise until it is removed.
        #[arg(long = "for", value_name = "SPAN")]
        span: Option<String>,
        #[command(flatten)]
        senders: Senders,
    },
    /// Lets letters to an address be tried again, and forgets its failures.
    Remove {
        /// The address.
        address: String,
        #[command(flatten)]
        senders: Senders,
    },
}

/// For whose letters.
#[derive(Args)]
pub(super) struct Senders {
    /// Only for letters of senders of this domain of ours; otherwise of all.
    #[arg(long, value_name = "DOMAIN")]
    sender_domain: Option<String>,
}

pub(super) fn run(operator: &Operator, command: SuppressionCommand) -> Result<(), Exit> {
    match command {
        SuppressionCommand::List {
            address,
            senders,
            limit,
            list,
        } => {
            let request = Request::SuppressionList {
                address,
                sender_domain: senders.sender_domain,
                limit,
            };
            let rows = operator.ask(request)?.rows;
            let mut output = Output::default();
            if list.json {
                return output.json(&rows);
            }
            let names = [
                "address", "senders", "since", "until", "failures", "status", "reason",
            ];
            let cells: Vec<Vec<String>> = rows
                .iter()
                .map(|row| names.iter().map(|name| field(row, name)).collect())
                .collect();
            output.table(&names, &cells)
        }
        SuppressionCommand::Add {
            address,
            reason,
            span,
            senders,
        } => {
            let for_ms = span.as_deref().map(milliseconds).transpose()?;
            operator.act(Request::SuppressionAdd {
                address,
                sender_domain: senders.sender_domain,
                reason,
                for_ms,
            })
        }
        SuppressionCommand::Remove { address, senders } => {
            operator.act(Request::SuppressionRemove {
                address,
                sender_domain: senders.sender_domain,
            })
        }
    }
}

fn milliseconds(text: &str) -> Result<u64, Exit> {
    value::span(text)
        .and_then(|ms| u64::try_from(ms).ok())
        .filter(|ms| *ms > 0)
        .ok_or_else(|| Exit::Usage(format!("not a span of time, such as 30d: {text}")))
}
