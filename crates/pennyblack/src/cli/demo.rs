//! `pennyblack demo`.

use std::path::PathBuf;

use clap::Args;
use store::StoreError;

use super::exit::Exit;
use super::output::Output;
use super::serve::{runtime, until_hurried};
use crate::demo::{Demo, DemoError, print, send};
use crate::logs;
use crate::node::NodeError;
use crate::node::signals::{Signals, Wish, raise_file_limit};
use crate::settings::LogFormat;

#[derive(Args)]
pub(super) struct DemoArgs {
    /// Where the demo keeps its state.
    #[arg(long, value_name = "DIR", default_value = "demo-data")]
    dir: PathBuf,
    /// Sends one letter from Alice to Bob, prints its journey, and ends.
    #[arg(long)]
    send: bool,
}

pub(super) fn run(args: &DemoArgs) -> Result<(), Exit> {
    logs::init("warn", LogFormat::Text);
    logs::log_panics();
    raise_file_limit();
    runtime()?.block_on(demonstrate(args))
}

async fn demonstrate(args: &DemoArgs) -> Result<(), Exit> {
    let mut signals = Signals::new()?;
    let demo = Demo::start(&args.dir)
        .await
        .map_err(|error| started_already(error, args))?;
    let result = if args.send {
        send_once(&demo).await
    } else {
        let printed = print::text(&demo)?;
        Output::default().text(&printed)?;
        while signals.next().await == Wish::Reload {}
        Ok(())
    };
    until_hurried(&mut signals, demo.stop()).await;
    result
}

/// A folder in use is most likely another demo that runs.
fn started_already(error: DemoError, args: &DemoArgs) -> Exit {
    match error {
        DemoError::Node(NodeError::Store(StoreError::Locked(_))) => Exit::Transient(format!(
            "a demo runs already in {}: stop it first, or name another folder with --dir",
            args.dir.display()
        )),
        other => other.into(),
    }
}

async fn send_once(demo: &Demo) -> Result<(), Exit> {
    let lines = send::send(demo).await.map_err(Exit::Failed)?;
    Output::default().line(&lines.join("\n"))
}

impl From<DemoError> for Exit {
    fn from(error: DemoError) -> Self {
        match error {
            DemoError::Node(error) => error.into(),
            DemoError::Store(error) => error.into(),
            DemoError::Io(_) | DemoError::Bug(_) => Self::Failed(error.to_string()),
        }
    }
}
