//! `pennyblack verify`.

use std::path::PathBuf;

use clap::Args;

use super::Operator;
use super::exit::Exit;
use super::output::{Output, field};
use crate::control::Request;

#[derive(Args)]
pub(super) struct VerifyArgs {
    /// Read every letter's bytes and compare them with their hash.
    #[arg(long)]
    deep: bool,
    /// Repair what can be repaired.
    #[arg(long, requires = "yes")]
    repair: bool,
    /// With --repair: yes, change the store.
    #[arg(long)]
    yes: bool,
    /// With --repair: fetch lost bytes of letters from this backup.
    #[arg(long, value_name = "FOLDER", requires = "repair")]
    backup: Option<PathBuf>,
    /// As a JSON array.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(operator: &Operator, args: VerifyArgs) -> Result<(), Exit> {
    let request = Request::Verify {
        deep: args.deep,
        repair: args.repair,
        backup: args.backup.map(std::path::absolute).transpose()?,
    };
    let rows = operator.watch(request)?.rows;
    let mut output = Output::default();
    if args.json {
        output.json(&rows)?;
    }
    let left = rows.iter().filter(|row| row["repaired"] != true).count();
    if !args.json {
        for row in &rows {
            let what = field(row, "what");
            if row["repaired"] == true {
                output.line(&format!("repaired: {what}"))?;
            } else {
                output.line(&what)?;
                output.line(&format!("  way out: {}", field(row, "repair")))?;
            }
        }
    }
    match (rows.len(), left) {
        (0, _) if args.json => Ok(()),
        (0, _) => output.line("the store is consistent"),
        (_, 0) => Ok(()),
        (_, left) => Err(Exit::Failed(format!("the store has {left} findings"))),
    }
}
