//! `pennyblack backup` and `pennyblack restore`.

use std::path::{Path, PathBuf};

use ::store::backup;
use ::store::{RestoreOptions, Store};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::Operator;
use super::exit::Exit;
use super::output::{Output, bytes, field};
use super::progress::Bar;
use crate::control::{Request, long};

#[derive(Args)]
#[command(args_conflicts_with_subcommands = true, arg_required_else_help = true)]
pub(super) struct BackupArgs {
    #[command(subcommand)]
    command: Option<BackupCommand>,
    #[command(flatten)]
    run: RunArgs,
}

#[derive(Args)]
struct RunArgs {
    /// The folder of the backup; made if it is not there. A running node opens it, with the node's
    /// rights.
    folder: Option<PathBuf>,
    /// Keep only the newest so many restore points.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    keep: Option<u32>,
    /// Put the key of the store's secrets into the backup, too.
    #[arg(long)]
    with_key: bool,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Subcommand)]
enum BackupCommand {
    /// Lists the restore points of a backup.
    List {
        /// The folder of the backup.
        folder: PathBuf,
        /// As a JSON array.
        #[arg(long)]
        json: bool,
    },
    /// Reads a restore point and compares every checksum.
    Verify {
        /// The folder of the backup.
        folder: PathBuf,
        /// The restore point: its id or a time; the newest when not given.
        #[arg(long, value_name = "TIME|ID")]
        at: Option<String>,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Args)]
pub(super) struct RestoreArgs {
    /// The folder of the backup.
    folder: PathBuf,
    /// The restore point: its id, or a time, which means the newest that is not later; the newest
    /// of all when not given.
    #[arg(long, value_name = "TIME|ID")]
    at: Option<String>,
    /// Send the letters that were to be sent when the backup was made, instead of holding them.
    #[arg(long)]
    send_queue: bool,
    /// Give up the secrets whose key is lost.
    #[arg(long)]
    forget_key: bool,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(config: &Path, args: BackupArgs) -> Result<(), Exit> {
    match args.command {
        None => make(&Operator::new(config)?, args.run),
        Some(BackupCommand::List { folder, json }) => list(&folder, json),
        Some(BackupCommand::Verify { folder, at, json }) => verify(&folder, at.as_deref(), json),
    }
}

fn make(operator: &Operator, args: RunArgs) -> Result<(), Exit> {
    let folder = args
        .folder
        .ok_or_else(|| Exit::Usage("the folder is missing".to_owned()))?;
    let request = Request::Backup {
        folder: std::path::absolute(folder)?,
        keep: args.keep.map(|keep| keep as usize),
        with_key: args.with_key,
    };
    let answer = operator.watch(request)?;
    let mut output = Output::default();
    let Some(row) = answer.rows.first() else {
        return Err(Exit::Failed("the node did not say what it did".to_owned()));
    };
    if args.json {
        return output.line(&row.to_string());
    }
    output.line(&format!(
        "restore point {}: {} accounts, {} messages; {} letters new ({})",
        field(row, "id"),
        field(row, "accounts"),
        field(row, "messages"),
        field(row, "new_blobs"),
        bytes(row, "new_bytes"),
    ))?;
    let lost = row["lost"].as_array().map_or(0, Vec::len);
    if lost > 0 {
        output.line(&format!(
            "the bytes of {lost} letters are lost or damaged in the store and not in the backup; \
             `pennyblack verify --deep` names them"
        ))?;
    }
    Ok(())
}

fn list(folder: &Path, json: bool) -> Result<(), Exit> {
    let rows: Vec<Value> = backup::list(folder)?.iter().map(long::point).collect();
    let mut output = Output::default();
    if json {
        return output.json(&rows);
    }
    let cells = rows.iter().map(|row| {
        let mut cells: Vec<String> = ["id", "taken", "node", "accounts", "messages"]
            .iter()
            .map(|name| field(row, name))
            .collect();
        cells.push(bytes(row, "blob_bytes"));
        cells.push(field(row, "with_key"));
        cells
    });
    let head = [
        "id", "taken", "node", "accounts", "messages", "letters", "key",
    ];
    output.table(&head, &cells.collect::<Vec<_>>())
}

fn verify(folder: &Path, at: Option<&str>, json: bool) -> Result<(), Exit> {
    let bar = Bar::new();
    let checked = backup::check(folder, at, &bar.watcher());
    bar.end();
    let checked = checked?;
    let mut output = Output::default();
    if json {
        output.line(
            &json!({
                "id": checked.point.id, "damages": checked.damages, "count": checked.count,
                "bytes": checked.bytes,
            })
            .to_string(),
        )?;
    } else {
        for damage in &checked.damages {
            output.line(damage)?;
        }
    }
    if checked.count > 0 {
        return Err(Exit::Failed(format!(
            "the restore point {} has {} damages",
            checked.point.id, checked.count
        )));
    }
    if json {
        return Ok(());
    }
    output.line(&format!(
        "the restore point {} is whole: {} messages, {} letters",
        checked.point.id, checked.point.messages, checked.point.blobs
    ))
}

/// Restores into the store of the settings. No node may run on it.
pub(super) fn restore(operator: &Operator, args: RestoreArgs) -> Result<(), Exit> {
    let options = RestoreOptions {
        folder: args.folder,
        at: args.at,
        send_queue: args.send_queue,
        forget_key: args.forget_key,
    };
    let bar = Bar::new();
    let work = async {
        let store = Store::open_for_restore(operator.store_options(), &options).await?;
        let report = store.restore(&options, bar.watcher()).await;
        store.close().await?;
        report
    };
    let report = super::serve::runtime()?.block_on(work);
    bar.end();
    let report = report?;
    let mut output = Output::default();
    if args.json {
        let mut row = long::point(&report.point);
        row["held"] = report.held.into();
        row["forgotten"] = report.forgotten.into();
        row["lost_in_backup"] = report.lost.into();
        row["findings"] = report.findings.clone().into();
        output.line(&row.to_string())?;
    } else {
        output.line(&format!(
            "restored {}: {} accounts, {} messages",
            report.point.id, report.point.accounts, report.point.messages
        ))?;
        if report.held > 0 {
            output.line(&format!(
                "{} letters are held in the queue, as they may have been sent since: look at \
                 `pennyblack queue list`, then `queue release` or `queue drop`",
                report.held
            ))?;
        }
        if report.lost > 0 {
            output.line(&format!(
                "the bytes of {} letters are damaged or missing in the backup: their messages are \
                 there without them",
                report.lost
            ))?;
        }
        if report.forgotten > 0 {
            output.line(&format!(
                "{} accounts log in by SCRAM again when their password is set anew",
                report.forgotten
            ))?;
        }
    }
    if report.findings.is_empty() {
        return Ok(());
    }
    Err(Exit::Failed(format!(
        "the restored store has findings:\n{}",
        report.findings.join("\n")
    )))
}
