//! The connection that a node holds for life: it proves the node's name, tells the others what has
//! changed here, and hears what has changed there.
//!
//! When it is lost, it is made again, and the lock taken again. Until then no letters are claimed,
//! and changes are found by the look of each second.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use super::{Entered, Identity, Standing, Told};
use crate::engine::Apart;
use crate::open::Inner;
use crate::shared::Shared;
use crate::{StoreError, Wakeup};

/// The channel of all nodes on a database.
const CHANNEL: &str = "pennyblack";
/// The least time between two messages: what changes meanwhile is told together.
const TELL_PAUSE: Duration = Duration::from_millis(5);
/// Between two attempts to connect.
const RETRY_PAUSE: Duration = Duration::from_millis(500);
/// How often the clocks are compared.
const CLOCK_SPAN: Duration = Duration::from_secs(60);
/// How far this machine's time may be from the database's before it is told.
const CLOCK_DIFFERENCE_MS_MAX: u64 = 5_000;
/// How often it is told again that the name is another's.
const REMIND_SPAN: Duration = Duration::from_secs(60);

/// The task that owns the connection.
pub(super) struct Wire {
    pub identity: Identity,
    pub wakeup: Wakeup,
    pub shared: Arc<Shared>,
    pub store: Weak<Inner>,
    /// Ends with the store.
    pub running: watch::Receiver<bool>,
}

/// Why a connection is given up.
enum End {
    Stopped,
    Lost,
}

impl Wire {
    /// Runs until the store closes.
    pub(super) async fn run(mut self, entered: Entered) {
        let mut apart = entered.apart;
        loop {
            self.shared.nodes.set_standing(Standing::Held);
            match self.serve(&mut apart).await {
                Ok(End::Stopped) => return,
                Ok(End::Lost) => {
                    tracing::warn!("the node's own connection to the database is lost")
                }
                Err(error) => tracing::warn!(%error, "the node's own connection to the database"),
            }
            self.shared.nodes.set_standing(Standing::Broken);
            match self.again().await {
                Some(fresh) => apart = fresh,
                None => return,
            }
        }
    }

    /// Tells and hears until the connection is lost.
    async fn serve(&mut self, apart: &mut Apart) -> Result<End, StoreError> {
        if self.wakeup == Wakeup::Notify {
            apart.listen(CHANNEL).await?;
        }
        let mut compare_at = Instant::now();
        let mut tell_at = Instant::now();
        loop {
            let shared = Arc::clone(&self.shared);
            tokio::select! {
                biased;
                _ = self.running.changed() => return Ok(End::Stopped),
                heard = apart.heard() => match heard {
                    Some(text) => self.heard(&text),
                    None => return Ok(End::Lost),
                },
                told = shared.watches.bell.rung(tell_at) => {
                    apart.notify(CHANNEL, &told.write(shared.incarnation)).await?;
                    tell_at = Instant::now() + TELL_PAUSE;
                }
                () = sleep_until(compare_at) => {
                    self.compare_clocks(apart).await?;
                    compare_at = Instant::now() + CLOCK_SPAN;
                }
            }
        }
    }

    fn heard(&self, text: &str) {
        let Some((incarnation, told)) = Told::read(text) else {
            return;
        };
        if incarnation == self.shared.incarnation {
            return;
        }
        if told.directory {
            self.shared.nodes.directory.notify_one();
        }
        self.shared.watches.told(&told);
    }

    /// Leases of letters are times of the nodes' clocks.
    async fn compare_clocks(&self, apart: &Apart) -> Result<(), StoreError> {
        let before = self.shared.now();
        let there = apart.now().await?;
        let difference = before.millis().abs_diff(there.millis());
        if difference > CLOCK_DIFFERENCE_MS_MAX {
            tracing::warn!(
                milliseconds = difference,
                "the clocks of this machine and of the database differ"
            );
        }
        Ok(())
    }

    /// Connects and takes the lock again; `None` when the store closes.
    async fn again(&mut self) -> Option<Apart> {
        let mut remind_at = Instant::now();
        loop {
            match self.attempt().await {
                Ok(Some(apart)) => {
                    tracing::info!(node = self.identity.name, "the node has its name again");
                    return Some(apart);
                }
                Ok(None) => {
                    self.shared.nodes.set_standing(Standing::Taken);
                    if Instant::now() >= remind_at {
                        remind_at = Instant::now() + REMIND_SPAN;
                        tracing::error!(
                            node = self.identity.name,
                            "another process runs under this node's name; this one claims no \
                             letters until the other is gone"
                        );
                    }
                }
                Err(StoreError::Closed) => return None,
                Err(error) => tracing::debug!(%error, "the database cannot be reached"),
            }
            tokio::select! {
                biased;
                _ = self.running.changed() => return None,
                () = sleep(RETRY_PAUSE) => {}
            }
        }
    }

    async fn attempt(&self) -> Result<Option<Apart>, StoreError> {
        let inner = self.store.upgrade().ok_or(StoreError::Closed)?;
        let apart = inner.engine.apart().await?.ok_or(StoreError::Closed)?;
        Ok(self.identity.take(&apart).await?.then_some(apart))
    }
}
