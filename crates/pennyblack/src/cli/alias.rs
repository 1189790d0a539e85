//! `pennyblack alias`.

use clap::Subcommand;

use super::exit::Exit;
use super::output::{Output, field};
use super::{ListArgs, Operator};
use crate::control::Request;

#[derive(Subcommand)]
pub(super) enum AliasCommand {
    /// Adds targets to an alias, making it if needed.
    Add {
        /// The alias; `*@domain` takes all mail of the domain that nobody else takes.
        alias: String,
        /// Where its mail goes: addresses here or elsewhere.
        #[arg(required = true)]
        targets: Vec<String>,
    },
    /// Lists aliases.
    List(ListArgs),
    /// Removes an alias, or some of its targets.
    Remove {
        /// The alias.
        alias: String,
        /// Only these targets.
        targets: Vec<String>,
    },
}

pub(super) fn run(operator: &Operator, command: AliasCommand) -> Result<(), Exit> {
    match command {
        AliasCommand::Add { alias, targets } => operator.act(Request::AliasAdd { alias, targets }),
        AliasCommand::Remove { alias, targets } if targets.is_empty() => {
            operator.act(Request::AliasRemove { alias })
        }
        AliasCommand::Remove { alias, targets } => operator.act(Request::TargetsRemove {
            address: alias,
            targets,
        }),
        AliasCommand::List(ListArgs { json }) => {
            let rows = operator.ask(Request::AliasList)?.rows;
            let mut output = Output::default();
            if json {
                return output.json(&rows);
            }
            let cells: Vec<Vec<String>> = rows
                .iter()
                .map(|row| vec![field(row, "alias"), field(row, "targets")])
                .collect();
            output.table(&["alias", "targets"], &cells)
        }
    }
}
