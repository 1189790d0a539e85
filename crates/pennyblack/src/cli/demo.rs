//! `pennyblack demo`.

use std::path::PathBuf;

use clap::Args;

use super::exit::Exit;
use super::output::Output;
use super::serve::runtime;
use crate::demo::{Demo, DemoError, print, send};
use crate::logs;
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
    let demo = Demo::start(&args.dir).await?;
    let result = if args.send {
        send_once(&demo).await
    } else {
        let printed = print::text(&demo)?;
        Output::default().text(&printed)?;
        while signals.next().await == Wish::Reload {}
        Ok(())
    };
    demo.stop().await;
    result
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
