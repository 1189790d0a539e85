//! IDLE (RFC 9051 §6.3.13): news are told as they come.

use std::time::Duration;

use proto::imap::Line;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::reply::Failure;
use super::session::{Done, Expunges, Session};

/// How long to wait without a wake-up before looking anyway: a lost one costs only this.
const LOOK_EVERY: Duration = Duration::from_secs(15);

/// How often a quiet client is sent something, so that NAT entries stay and dead peers are found.
const KEEP_ALIVE_EVERY: Duration = Duration::from_secs(120);

enum Woken {
    Line(Line),
    Changed,
    Time,
    Stop,
}

impl Session {
    pub(super) async fn idle(&mut self) -> Result<Done, Failure> {
        self.account()?;
        self.connection.writer.continuation("Idling");
        let end = Instant::now() + self.context.options.limits.imap_idle_timeout;
        let mut keep_alive = Instant::now() + KEEP_ALIVE_EVERY;
        loop {
            self.sync(Expunges::Told).await?;
            if !self.connection.writer.is_empty() {
                keep_alive = Instant::now() + KEEP_ALIVE_EVERY;
            }
            self.connection.flush().await?;
            match timeout_at(end, self.wait(keep_alive)).await {
                Err(_) => return Err(Failure::TimedOut),
                Ok(woken) => match woken? {
                    Woken::Line(Line::Text(line)) if line.eq_ignore_ascii_case(b"DONE") => {
                        return Ok(Done::new("IDLE is done"));
                    }
                    // RFC 9051 §6.3.13: nothing but DONE may come. The line is not read as a
                    // command: it may be half of one.
                    Woken::Line(_) => return Err(Failure::Protocol("DONE was expected")),
                    Woken::Changed => {}
                    Woken::Time => {
                        if keep_alive <= Instant::now() {
                            self.connection.writer.raw("* OK Still here\r\n");
                        }
                    }
                    // The main loop says farewell.
                    Woken::Stop => return Ok(Done::new("The server is stopping")),
                },
            }
        }
    }

    /// Waits for whatever comes first. Cancellation safe.
    async fn wait(&mut self, keep_alive: Instant) -> Result<Woken, Failure> {
        let look = keep_alive.min(Instant::now() + LOOK_EVERY);
        let Self {
            stop,
            connection,
            selected,
            ..
        } = self;
        loop {
            if let Some(line) = connection.reader.poll_line() {
                return Ok(Woken::Line(line));
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(Woken::Stop),
                filled = connection.fill() => filled?,
                () = async {
                    match selected.as_mut() {
                        Some(selected) => selected.watch.changed().await,
                        // Nothing is selected: there is nothing to tell.
                        None => std::future::pending().await,
                    }
                } => return Ok(Woken::Changed),
                () = sleep_until(look) => return Ok(Woken::Time),
            }
        }
    }
}
