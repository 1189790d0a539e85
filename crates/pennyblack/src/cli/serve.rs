//! `pennyblack serve`.

use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sd_notify::NotifyState;

use super::exit::Exit;
use crate::logs;
use crate::node::signals::{Signals, Wish, raise_file_limit, tell_manager};
use crate::node::{Node, NodeError};
use crate::settings::Settings;

pub(super) fn run(config: &Path) -> Result<(), Exit> {
    let started = Instant::now();
    let settings = Settings::load(config)?;
    logs::init(&settings.log_level, settings.log_format);
    logs::log_panics();
    raise_file_limit();
    let runtime = runtime()?;
    let result = runtime.block_on(serve(Arc::new(settings), started));
    // A task that was cut off must not keep the process.
    runtime.shutdown_timeout(Duration::from_secs(1));
    result
}

/// How long a thread for work that blocks waits for more of it.
const BLOCKING_THREAD_IDLE: Duration = Duration::from_secs(2);

/// A runtime with a worker for each core.
pub(super) fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("pennyblack")
        // The allocator gives back what a thread has freed when the thread ends: 19 MiB after a
        // password was checked.
        .thread_keep_alive(BLOCKING_THREAD_IDLE)
        .build()
}

async fn serve(settings: Arc<Settings>, started: Instant) -> Result<(), Exit> {
    let mut signals = Signals::new()?;
    let node = Node::start(settings).await?;
    let ready_ms = started.elapsed().as_millis();
    // Without a stderr nobody waits for the line.
    let _ = writeln!(std::io::stderr(), "{} ({ready_ms} ms)", node.ready_line());
    tell_manager(NotifyState::Ready);
    while signals.next().await == Wish::Reload {
        node.reload();
    }
    tell_manager(NotifyState::Stopping);
    tracing::info!("stopping");
    until_hurried(&mut signals, node.stop()).await;
    Ok(())
}

/// Waits for the end of `stopping`, but no longer than until a second request to stop.
pub(super) async fn until_hurried(signals: &mut Signals, stopping: impl Future<Output = ()>) {
    let second = async { while signals.next().await == Wish::Reload {} };
    tokio::select! {
        biased;
        () = stopping => {}
        () = second => tracing::warn!("stopped at once by a second signal"),
    }
}

impl From<NodeError> for Exit {
    fn from(error: NodeError) -> Self {
        match error {
            NodeError::Store(error) => error.into(),
            NodeError::Tls(_) => Self::Usage(error.to_string()),
            NodeError::Dns(_) | NodeError::Listen(..) | NodeError::Control(..) => {
                Self::Failed(error.to_string())
            }
        }
    }
}
