//! `pennyblack reports`: what others report about our domains, and `pennyblack alerts`: what is wrong.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use serde_json::{Value, json};
use transport::feedback::Report;

use super::exit::Exit;
use super::output::{Output, field};
use super::{ListArgs, Operator, remark};
use crate::control::Request;
use crate::control::reporting::ReportsRequest;

/// The largest file that is read; a letter is not larger.
const FILE_BYTES_MAX: u64 = 50_000_000;

#[derive(Subcommand)]
pub(super) enum ReportsCommand {
    /// Lists the reports that came in letters, the newest first.
    List {
        /// Only about this domain.
        #[arg(long)]
        domain: Option<String>,
        /// At most so many.
        #[arg(long, default_value_t = 100)]
        limit: usize,
        #[command(flatten)]
        list: ListArgs,
    },
    /// Shows one report with its rows.
    Show {
        /// Its name, as the list has it.
        name: String,
        #[command(flatten)]
        list: ListArgs,
    },
    /// Sums up by source what reports say; only those whose letters were from whom they say.
    Summary {
        /// Only about this domain.
        #[arg(long)]
        domain: Option<String>,
        /// Of so many days.
        #[arg(long, default_value_t = 30)]
        days: u32,
        #[command(flatten)]
        list: ListArgs,
    },
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

#[derive(Subcommand)]
pub(super) enum AlertsCommand {
    /// Lists what is wrong, since when, and when the administrator was told last.
    List {
        #[command(flatten)]
        list: ListArgs,
    },
}

pub(super) fn run(config: &Path, command: ReportsCommand) -> Result<(), Exit> {
    let (request, list, columns) = match command {
        ReportsCommand::Read { files, list } => return read_files(&files, &list),
        ReportsCommand::List {
            domain,
            limit,
            list,
        } => {
            let columns = [
                "name",
                "received_at",
                "kind",
                "domain",
                "sender",
                "good",
                "bad",
                "believed",
            ];
            (
                ReportsRequest::List { domain, limit },
                list,
                columns.to_vec(),
            )
        }
        ReportsCommand::Summary { domain, days, list } => {
            let columns = ["domain", "kind", "source", "good", "bad"];
            (
                ReportsRequest::Summary { domain, days },
                list,
                columns.to_vec(),
            )
        }
        ReportsCommand::Show { name, list } => (ReportsRequest::Show { name }, list, Vec::new()),
    };
    let rows = Operator::new(config)?.ask(Request::Reports(request))?.rows;
    let mut output = Output::default();
    if list.json {
        output.json(&rows)
    } else if columns.is_empty() {
        rows.iter().try_for_each(|row| print(&mut output, row))
    } else {
        print_table(&mut output, &columns, &rows)
    }
}

pub(super) fn run_alerts(operator: &Operator, command: AlertsCommand) -> Result<(), Exit> {
    let AlertsCommand::List { list } = command;
    let rows = operator.ask(Request::AlertList)?.rows;
    let mut output = Output::default();
    if list.json {
        return output.json(&rows);
    }
    let columns = ["kind", "subject", "since", "told_at", "detail"];
    print_table(&mut output, &columns, &rows)
}

fn print_table(output: &mut Output, columns: &[&str], rows: &[Value]) -> Result<(), Exit> {
    let cells: Vec<Vec<String>> = rows
        .iter()
        .map(|row| columns.iter().map(|name| field(row, name)).collect())
        .collect();
    output.table(columns, &cells)
}

fn read_files(files: &[PathBuf], list: &ListArgs) -> Result<(), Exit> {
    let mut rows = Vec::new();
    let mut failed = 0_usize;
    for file in files {
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
            Report::from_letter(&bytes, |_| true).map_err(|_| alone)
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
        "kind": report.kind.word(),
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
        "sender",
        "organisation",
        "id",
        "begins_at",
        "ends_at",
        "received_at",
        "believed",
        "good",
        "bad",
    ] {
        // A file that is only read has no sender.
        if !report[name].is_null() {
            output.line(&format!("{name:<13}{}", field(report, name)))?;
        }
    }
    let rows = report["rows"].as_array().map_or(&[][..], Vec::as_slice);
    print_table(output, &["source", "good", "count", "result"], rows)?;
    output.line("")
}
