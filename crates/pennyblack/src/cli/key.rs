//! `pennyblack key`: the keys that sign as our domains (DKIM).

use clap::{Args, Subcommand, ValueEnum};
use serde_json::Value;

use super::exit::Exit;
use super::output::{Output, field};
use super::{ListArgs, Operator};
use crate::control::Request;
use crate::records::zone_line;

#[derive(Subcommand)]
pub(super) enum KeyCommand {
    /// Lists keys and what each does.
    List {
        /// Only of this domain.
        domain: Option<String>,
        #[command(flatten)]
        list: ListArgs,
    },
    /// Prints the DNS records of a domain's keys, as lines of a zone file.
    Records {
        /// The domain.
        domain: String,
    },
    /// Makes the keys that a domain has not, and prints their records. Domains get keys by
    /// themselves; this is for those whose keys were removed.
    Generate(MakeArgs),
    /// Announces new keys and prints their records. Each signs once its record is in the DNS, which
    /// a running node finds out by itself; the key before it is kept for a week.
    Rotate(MakeArgs),
    /// Lets an announced key sign at once, whatever the DNS says.
    Activate {
        /// The domain.
        domain: String,
        /// The key's selector.
        selector: String,
    },
    /// Removes a key at once: letters that it signed and that are still under way lose their
    /// signature.
    Remove {
        /// The domain.
        domain: String,
        /// The key's selector.
        selector: String,
    },
}

#[derive(Args)]
pub(super) struct MakeArgs {
    /// The domain.
    domain: String,
    /// Only this kind; otherwise both.
    #[arg(long)]
    algorithm: Option<Kind>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Kind {
    /// RSA of 2,048 bits, which every server verifies.
    Rsa,
    /// Ed25519, shorter and quicker.
    Ed25519,
}

pub(super) fn run(operator: &Operator, command: KeyCommand) -> Result<(), Exit> {
    match command {
        KeyCommand::List { domain, list } => {
            let rows = operator.ask(Request::DkimList { domain })?.rows;
            let mut output = Output::default();
            if list.json {
                return output.json(&rows);
            }
            let columns = ["domain", "selector", "algorithm", "state", "since"];
            let cells: Vec<Vec<String>> = rows
                .iter()
                .map(|row| columns.iter().map(|name| field(row, name)).collect())
                .collect();
            output.table(&columns, &cells)
        }
        KeyCommand::Records { domain } => {
            let request = Request::DkimList {
                domain: Some(domain.clone()),
            };
            let rows = operator.ask(request)?.rows;
            if rows.is_empty() {
                return Err(Exit::NotFound(format!("the domain {domain} has no keys")));
            }
            print_records(&rows)
        }
        KeyCommand::Generate(args) => make(operator, args, false),
        KeyCommand::Rotate(args) => make(operator, args, true),
        KeyCommand::Activate { domain, selector } => {
            operator.act(Request::DkimActivate { domain, selector })
        }
        KeyCommand::Remove { domain, selector } => {
            operator.act(Request::DkimRemove { domain, selector })
        }
    }
}

fn make(operator: &Operator, args: MakeArgs, anew: bool) -> Result<(), Exit> {
    let algorithm = args.algorithm.map(|kind| match kind {
        Kind::Rsa => "rsa".to_owned(),
        Kind::Ed25519 => "ed25519".to_owned(),
    });
    let answer = operator.ask(Request::DkimMake {
        domain: args.domain,
        algorithm,
        anew,
    })?;
    print_records(&answer.rows)?;
    // Stdout is for the zone file.
    super::remark(&answer.done);
    Ok(())
}

fn print_records(rows: &[Value]) -> Result<(), Exit> {
    let mut output = Output::default();
    for row in rows {
        output.line(&zone_line(&field(row, "name"), &field(row, "record")))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_several_strings() {
        assert_eq!(zone_line("a.test", "v=x"), "a.test. IN TXT ( \"v=x\" )");
        let line = zone_line("a.test", &"x".repeat(300));
        let (one, two) = ("x".repeat(255), "x".repeat(45));
        assert_eq!(line, format!("a.test. IN TXT ( \"{one}\" \"{two}\" )"));
    }
}
