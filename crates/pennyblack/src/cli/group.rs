//! `pennyblack group`.

use clap::{Subcommand, ValueEnum};

use super::exit::Exit;
use super::output::{Output, field};
use super::{ListArgs, Operator};
use crate::control::Request;

#[derive(Subcommand)]
pub(super) enum GroupCommand {
    /// Adds members to a group, making it if needed.
    Add {
        /// The group.
        group: String,
        /// Who is in it: addresses here or elsewhere.
        #[arg(required = true)]
        members: Vec<String>,
        /// Who may write to it; anyone, for a new one.
        #[arg(long)]
        senders: Option<Senders>,
    },
    /// Says who may write to a group.
    Senders {
        /// The group.
        group: String,
        /// Who.
        senders: Senders,
    },
    /// Lists groups.
    List(ListArgs),
    /// Removes a group, or some of its members.
    Remove {
        /// The group.
        group: String,
        /// Only these members.
        members: Vec<String>,
    },
}

/// Who may write to a group.
#[derive(Clone, Copy, ValueEnum)]
pub(super) enum Senders {
    /// Anybody.
    Anyone,
    /// Its members.
    Members,
    /// Whoever has an address in its domain.
    Domain,
}

impl Senders {
    fn word(self) -> String {
        let word = match self {
            Self::Anyone => "anyone",
            Self::Members => "members",
            Self::Domain => "domain",
        };
        word.to_owned()
    }
}

pub(super) fn run(operator: &Operator, command: GroupCommand) -> Result<(), Exit> {
    match command {
        GroupCommand::Add {
            group,
            members,
            senders,
        } => operator.act(Request::GroupSet {
            group,
            members,
            senders: senders.map(Senders::word),
        }),
        GroupCommand::Senders { group, senders } => operator.act(Request::GroupSet {
            group,
            members: Vec::new(),
            senders: Some(senders.word()),
        }),
        GroupCommand::Remove { group, members } if members.is_empty() => {
            operator.act(Request::GroupRemove { group })
        }
        GroupCommand::Remove { group, members } => operator.act(Request::TargetsRemove {
            address: group,
            targets: members,
        }),
        GroupCommand::List(ListArgs { json }) => {
            let rows = operator.ask(Request::GroupList)?.rows;
            let mut output = Output::default();
            if json {
                return output.json(&rows);
            }
            let columns = ["group", "senders", "members"];
            let cells: Vec<Vec<String>> = rows
                .iter()
                .map(|row| columns.iter().map(|name| field(row, name)).collect())
                .collect();
            output.table(&columns, &cells)
        }
    }
}
