//! `pennyblack demo`.

use std::path::PathBuf;

use clap::Args;

use super::exit::Exit;

#[derive(Args)]
pub(super) struct DemoArgs {
    /// Where the demo keeps its state.
    #[arg(long, value_name = "DIR", default_value = "demo-data")]
    dir: PathBuf,
    /// Sends one letter from alice to bob, prints its journey, and ends.
    #[arg(long)]
    send: bool,
}

pub(super) fn run(_args: &DemoArgs) -> Result<(), Exit> {
    Err(Exit::Failed("not yet".to_owned()))
}
