//! `pennyblack reports`: what others report about our domains.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use serde_json::{Value, json};
use transport::feedback::{Kind, Report};

use super::exit::Exit;
use super::output::{Output, field};
use super::{ListArgs, remark};

/// The largest file that is read; a letter is not larger.
const FILE_BYTES_MAX: u64 = 50_000_000;

#[derive(Subcommand)]
pub(super) enum ReportsCommand {
    /// Reads DMARC and TLS reports: letters as they came, or the files in them (XML, JSON, gzip,
    /// zip). Fails if one of them is no report.
    Read {
        /// The files.
        #[arg(required = true)]
        files: Vec<PathBuf>,
        #[command(flatten)]
        list: ListArgs,
    },
}

pub(super) fn run(command: ReportsCommand) -> Result<(), Exit> {
    let ReportsCommand::Read { files, list } = command;
    let mut rows = Vec::new();
    let mut failed = 0_usize;
    for file in &files {
        match read(file) {
            Ok(report) => rows.push(row(&report)),
            Err(why) => {
                remark(&format!("{}: {why}", file.display()));
                failed += 1;
            }
        }
    }
    let mut output = Output::default();
    if list.json {
        output.json(&rows)?;
    } else {
        rows.iter().try_for_each(|row| print(&mut output, row))?;
    }
    match failed {
        0 => Ok(()),
        count => Err(Exit::Failed(format!(
            "{count} of {} files are no reports",
            files.len()
        ))),
    }
}

fn read(path: &Path) -> Result<Report, String> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes))
        .map_err(|error| error.to_string())?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err("the file is too large for a report".to_owned());
    }
    Report::from_file(&bytes)
        .or_else(|alone| {
            // A letter begins with a header, which is no report; what was one says what is wrong.
            Report::from_letter(&bytes).map_err(|_| alone)
        })
        .map_err(|error| error.to_string())
}

fn row(report: &Report) -> Value {
    let rows: Vec<Value> = report
        .rows
        .iter()
        .map(|row| {
            json!({
                "source": row.source,
                "good": row.good,
                "result": row.result,
                "count": row.count,
            })
        })
        .collect();
    json!({
        "kind": match report.kind {
            Kind::Dmarc => "dmarc",
            Kind::Tls => "tls",
        },
        "organisation": report.organisation,
        "id": report.id,
        "domain": report.domain,
        "begins_at": report.begins_at.whole_seconds(),
        "ends_at": report.ends_at.whole_seconds(),
        "good": report.good,
        "bad": report.bad,
        "rows": rows,
    })
}

fn print(output: &mut Output, report: &Value) -> Result<(), Exit> {
    for name in [
        "kind",
        "domain",
        "organisation",
        "id",
        "begins_at",
        "ends_at",
        "good",
        "bad",
    ] {
        output.line(&format!("{name:<13}{}", field(report, name)))?;
    }
    let rows = report["rows"].as_array().map_or(&[][..], Vec::as_slice);
    let columns = ["source", "good", "count", "result"];
    let cells: Vec<Vec<String>> = rows
        .iter()
        .map(|row| columns.iter().map(|name| field(row, name)).collect())
        .collect();
    output.table(&columns, &cells)?;
    output.line("")
}
