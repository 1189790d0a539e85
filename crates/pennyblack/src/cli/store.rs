//! `pennyblack store`: work on the store as a whole.

use std::path::{Path, PathBuf};

use ::store::{Lost, MoveReport, Store, StoreError};
use base::metrics::Metrics;
use clap::Subcommand;
use serde_json::json;

use super::Operator;
use super::blobs;
use super::exit::Exit;
use super::output::Output;
use super::progress::Bar;
use crate::control::{Request, client};
use crate::settings::Settings;

#[derive(Subcommand)]
pub(super) enum StoreCommand {
    /// Copies the whole store into another one: SQLite to PostgreSQL and back, with any home of the
    /// letters' bytes. No node may run on either. Cut short, it goes on when it is run again.
    Move {
        /// The configuration of the new store; `store` and `blobs` in it say where.
        #[arg(long, value_name = "FILE")]
        to: PathBuf,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Makes the search index anew, also while a node runs. Meanwhile searching goes on, slower.
    Reindex {
        /// Only of this account.
        #[arg(long, value_name = "ADDRESS")]
        account: Option<String>,
    },
    /// Moves the bytes of letters to where `blobs.url` keeps new ones, while the node runs.
    ///
    /// Letters that are there already stay; cut short and given again, it goes on. Letters that are
    /// in an object store that `blobs.url` no longer names are found through `blobs.leaving`.
    MoveBlobs {
        /// Prints what was done as JSON, and no bar.
        #[arg(long)]
        json: bool,
    },
    /// The key that seals the store's secrets.
    #[command(subcommand)]
    Key(KeyCommand),
}

#[derive(Subcommand)]
pub(super) enum KeyCommand {
    /// Makes a new key and seals everything with it.
    Rotate {
        /// Drop the old key at once. Without this it stays in the key file, for nodes that do not
        /// have the new file yet.
        #[arg(long)]
        drop_old: bool,
    },
    /// Gives up the secrets whose key is lost, so that the store opens again.
    Forget {
        /// Yes, I know that they cannot be brought back.
        #[arg(long)]
        yes: bool,
    },
}

pub(super) fn run(config: &Path, command: StoreCommand) -> Result<(), Exit> {
    let operator = Operator::new(config)?;
    match command {
        StoreCommand::Move { to, json } => move_to(&operator, &to, json),
        StoreCommand::Reindex { account } => operator.act(Request::Reindex { account }),
        StoreCommand::MoveBlobs { json } => blobs::move_home(&operator, json),
        StoreCommand::Key(KeyCommand::Rotate { drop_old }) => {
            operator.act(Request::KeyRotate { drop_old })
        }
        StoreCommand::Key(KeyCommand::Forget { yes }) => forget(&operator, yes),
    }
}

fn move_to(operator: &Operator, to: &Path, json: bool) -> Result<(), Exit> {
    let target = Settings::load(to)?;
    let bar = Bar::new();
    let work = move_into(operator, &target, &bar);
    let report = super::serve::runtime()?.block_on(work);
    bar.end();
    let report = report?;
    let mut output = Output::default();
    if json {
        let row = json!({
            "rows": report.rows, "letters": report.blobs, "copied": report.copied,
            "lost": report.lost, "findings": report.findings,
        });
        output.line(&row.to_string())?;
    } else {
        output.line(&format!(
            "moved {} rows and {} letters ({} copied by this run); the old store is as it was",
            report.rows, report.blobs, report.copied
        ))?;
        for hash in &report.lost {
            output.line(&format!(
                "the bytes of a letter were lost before: blob {hash}"
            ))?;
        }
    }
    if report.findings.is_empty() {
        return Ok(());
    }
    Err(Exit::Failed(format!(
        "the new store has findings:\n{}",
        report.findings.join("\n")
    )))
}

async fn move_into(
    operator: &Operator,
    target: &Settings,
    bar: &Bar,
) -> Result<MoveReport, StoreError> {
    let source = Store::open_idle(operator.store_options(), Lost::Nothing).await?;
    let target = source
        .open_beside(client::options(target, &Metrics::default()))
        .await?;
    let report = source.move_into(&target, bar.watcher()).await;
    target.close().await?;
    source.close().await?;
    report
}

fn forget(operator: &Operator, yes: bool) -> Result<(), Exit> {
    if !yes {
        return Err(Exit::Usage(
            "this gives up DKIM keys and the like for good, and logins by SCRAM until passwords \
             are set anew; say --yes if the key file is really lost"
                .to_owned(),
        ));
    }
    let work = async {
        let store = Store::open_idle(operator.store_options(), Lost::Key).await?;
        let id = store.key_id();
        store.close().await?;
        Ok::<_, StoreError>(id)
    };
    let id = super::serve::runtime()?.block_on(work)?;
    Output::default().line(&format!(
        "the sealed secrets are gone; the store's key is {id} now"
    ))
}
