//! `pennyblack domain`.

use clap::Subcommand;

use super::exit::Exit;
use super::output::{Output, field};
use super::{ListArgs, Operator, sending};
use crate::control::{CheckAuthors, Request};

#[derive(Subcommand)]
pub(super) enum DomainCommand {
    /// Makes a domain ours.
    Add {
        /// The domain.
        domain: String,
    },
    /// Lists our domains.
    List(ListArgs),
    /// Sets whether the authors (From) are checked that letters of the domain's accounts name.
    Authors {
        /// The domain.
        domain: String,
        /// `not-resent` leaves authors of other domains alone where Resent-From is the user's.
        check: CheckAuthors,
    },
    /// Sets where mail to unknown users of a domain goes.
    CatchAll {
        /// The domain.
        domain: String,
        /// Addresses here or elsewhere, in place of those before.
        #[arg(required_unless_present = "none", conflicts_with = "none")]
        targets: Vec<String>,
        /// Mail to unknown users is refused again.
        #[arg(long)]
        none: bool,
    },
    /// Sets how much all accounts of a domain may send together.
    Limit {
        /// The domain.
        domain: String,
        #[command(flatten)]
        limits: sending::LimitArgs,
    },
    /// Gives a domain up; refused while accounts or aliases use it.
    Remove {
        /// The domain.
        domain: String,
    },
}

pub(super) fn run(operator: &Operator, command: DomainCommand) -> Result<(), Exit> {
    match command {
        DomainCommand::Add { domain } => operator.act(Request::DomainAdd { domain }),
        DomainCommand::Limit { domain, limits } => operator.act(Request::DomainLimit {
            domain,
            limits: limits.into(),
        }),
        DomainCommand::Authors { domain, check } => {
            operator.act(Request::DomainAuthorCheck { domain, check })
        }
        DomainCommand::CatchAll {
            domain, targets, ..
        } => operator.act(Request::DomainCatchAll { domain, targets }),
        DomainCommand::Remove { domain } => operator.act(Request::DomainRemove { domain }),
        DomainCommand::List(ListArgs { json }) => {
            let rows = operator.ask(Request::DomainList)?.rows;
            let mut output = Output::default();
            if json {
                return output.json(&rows);
            }
            let cells: Vec<Vec<String>> = rows
                .iter()
                .map(|row| {
                    let columns = ["domain", "created_at", "author_check", "catch_all"];
                    columns.iter().map(|name| field(row, name)).collect()
                })
                .collect();
            output.table(&["domain", "since", "authors checked", "catch-all"], &cells)
        }
    }
}
