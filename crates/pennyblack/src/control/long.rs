//! Requests that take long: they tell of their progress in rows of their own
//! (`{"progress": {"step", "done", "total"}}`) before the rows of their answer. An operator who goes
//! away ends them.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use store::backup::{BackupOptions, BackupReport, Manifest, Progress, Watcher};
use store::{Finding, Store, VerifyOptions};
use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::operate::Answer;
use super::{Failure, FailureKind, Reply, Request, client, server, wire};

/// How often progress is told.
const TOLD_EVERY: Duration = Duration::from_millis(200);

/// Whether a request is of this kind.
pub(super) const fn is_long(request: &Request) -> bool {
    matches!(request, Request::Backup { .. } | Request::Verify { .. })
}

/// Does it.
///
/// # Errors
/// In words for the operator.
pub async fn run(store: &Store, request: Request, watcher: Watcher) -> Result<Answer, Failure> {
    match request {
        Request::Backup {
            folder,
            keep,
            with_key,
        } => {
            if !folder.is_absolute() {
                return Err(Failure::invalid(
                    "the folder of the backup must be absolute",
                ));
            }
            let options = BackupOptions {
                folder,
                keep,
                with_key,
            };
            let report = store.backup(options, watcher).await?;
            Ok(Answer {
                rows: vec![backed_up(&report)],
                done: String::new(),
            })
        }
        Request::Verify {
            deep,
            repair,
            backup,
        } => {
            let options = VerifyOptions {
                deep,
                repair,
                backup,
            };
            let findings = store.examine(&options, watcher).await?;
            Ok(Answer {
                rows: findings.iter().map(finding).collect(),
                done: String::new(),
            })
        }
        other => super::operate::operate(store, other).await,
    }
}

/// The node's side.
pub(super) async fn serve<W: AsyncWrite + Unpin>(
    writer: &mut W,
    store: &Store,
    request: Request,
    shutdown: &CancellationToken,
) -> io::Result<()> {
    let (watcher, mut told) = watcher();
    let mut work = pin!(run(store, request, watcher));
    let answer = loop {
        tokio::select! {
            biased;
            answer = &mut work => break answer,
            () = shutdown.cancelled() => break Err(Failure {
                kind: FailureKind::Transient,
                text: "the node stops".to_owned(),
            }),
            () = tokio::time::sleep(TOLD_EVERY) => {
                let progress = *told.borrow_and_update();
                wire::write_line(writer, &Reply::Row(told_of(progress))).await?;
                writer.flush().await?;
            }
        }
    };
    server::tell(writer, answer).await
}

/// The command's side: asks a running node and tells of its progress.
pub(super) async fn ask(
    stream: UnixStream,
    request: &Request,
    watcher: &Watcher,
) -> Result<Answer, Failure> {
    client::ask(stream, request, |row| match progress_of(row) {
        Some(progress) => {
            watcher(progress);
            false
        }
        None => true,
    })
    .await
}

fn watcher() -> (Watcher, watch::Receiver<Progress>) {
    let begun = Progress {
        step: "beginning",
        done: 0,
        total: 0,
    };
    let (tell, told) = watch::channel(begun);
    let watcher: Watcher = Arc::new(move |progress| {
        // Whoever asked may have gone.
        let _ = tell.send(progress);
    });
    (watcher, told)
}

fn told_of(progress: Progress) -> Value {
    json!({ "progress": {
        "step": progress.step, "done": progress.done, "total": progress.total,
    } })
}

/// The steps that are told; a command and a node of different versions may not know all.
const STEPS: &[&str] = &["rows", "letters", "checking", "accounts", "beginning"];

fn progress_of(row: &Value) -> Option<Progress> {
    let told = row.get("progress")?;
    let step = STEPS.iter().find(|step| told["step"] == **step);
    Some(Progress {
        step: step.copied().unwrap_or("working"),
        done: told["done"].as_u64().unwrap_or(0),
        total: told["total"].as_u64().unwrap_or(0),
    })
}

/// A restore point as a row.
#[must_use]
pub fn point(point: &Manifest) -> Value {
    json!({
        "id": point.id, "taken": point.taken, "node": point.node, "schema": point.schema,
        "accounts": point.accounts, "messages": point.messages, "rows": row_count(point),
        "blobs": point.blobs, "blob_bytes": point.blob_bytes, "lost": point.lost,
        "key": point.key, "with_key": point.with_key,
    })
}

fn row_count(point: &Manifest) -> u64 {
    point.tables.iter().map(|table| table.rows).sum()
}

fn backed_up(report: &BackupReport) -> Value {
    let mut row = point(&report.point);
    row["new_blobs"] = report.new_blobs.into();
    row["new_bytes"] = report.new_bytes.into();
    row["removed"] = report.removed.clone().into();
    row
}

/// A finding as a row.
#[must_use]
pub fn finding(finding: &Finding) -> Value {
    json!({
        "what": finding.what, "repair": finding.repair, "repaired": finding.repaired,
    })
}
