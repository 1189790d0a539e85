//! The load itself: N sessions hand distinct letters to an SMTP server as fast as it acknowledges
//! them, or at a given rate, and count what was acknowledged.
//!
//! Sessions are threads with blocking sockets: that costs the least CPU on the side of the load, so
//! that more of the machine is left to the server that is measured.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use interop::letters::{Heading, Writer};
use interop::smtp::{Client, Failure};

/// What load to put on which server.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where the server listens.
    pub to: SocketAddr,
    /// Connections at the same time.
    pub sessions: u64,
    /// Letters in all.
    pub letters: u64,
    /// Bytes of each letter, header included.
    pub letter_bytes: usize,
    /// Recipients of each letter.
    pub recipients: u64,
    /// The address of a recipient; `%d` becomes a number below `mailboxes`.
    pub recipient: String,
    /// How many different recipients there are.
    pub mailboxes: u64,
    /// The reverse path.
    pub sender: String,
    /// Letters a second over all sessions; 0 is as fast as the server takes them.
    pub rate: u64,
    /// Letters before a connection is closed and a new one opened; 0 is never.
    pub letters_per_connection: u64,
    /// The seed of texts and Message-IDs.
    pub seed: u64,
    /// Letters to send instead of new ones, in turn, each under a first field of its own.
    pub ready: Option<Arc<Vec<Ready>>>,
}

/// A letter that stands ready.
#[derive(Clone, Debug)]
pub struct Ready {
    /// Its reverse path.
    pub sender: String,
    /// The letter, header included.
    pub letter: Vec<u8>,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Letters that the server acknowledged.
    pub acknowledged: u64,
    /// Letters that it refused, or whose connection broke.
    pub failed: u64,
    /// The first failure, in words.
    pub first_failure: Option<String>,
    /// From the first connection to the last acknowledgement.
    pub elapsed: Duration,
    /// Time from MAIL to the acknowledgement of each letter, sorted.
    pub latencies: Vec<Duration>,
}

impl Outcome {
    /// Letters acknowledged in a second.
    #[must_use]
    pub fn per_second(&self) -> f64 {
        self.acknowledged as f64 / self.elapsed.as_secs_f64().max(1e-9)
    }

    /// The latency that `share` (0 to 1) of the letters did not exceed.
    #[must_use]
    pub fn latency(&self, share: f64) -> Duration {
        let last = self.latencies.len().saturating_sub(1);
        let rank = (last as f64 * share).ceil() as usize;
        self.latencies.get(rank).copied().unwrap_or_default()
    }

    fn add(&mut self, other: Outcome) {
        self.acknowledged += other.acknowledged;
        self.failed += other.failed;
        self.latencies.extend(other.latencies);
        self.first_failure = self.first_failure.take().or(other.first_failure);
    }
}

/// Puts the load on the server and waits until it is done.
#[must_use]
pub fn run(plan: &Plan) -> Outcome {
    let writer = Writer::new(plan.seed);
    let next = AtomicU64::new(0);
    let started = Instant::now();
    let mut outcome = Outcome::default();
    std::thread::scope(|scope| {
        let sessions: Vec<_> = (0..plan.sessions)
            .map(|_| scope.spawn(|| Session::new(plan, &writer, &next, started).run()))
            .collect();
        for session in sessions {
            outcome.add(session.join().unwrap_or_default());
        }
    });
    outcome.elapsed = started.elapsed();
    outcome.latencies.sort_unstable();
    outcome
}

/// A server that refuses this many letters in a row on one session is not worth more attempts.
const FAILURES_IN_A_ROW_MAX: u32 = 20;

struct Session<'a> {
    plan: &'a Plan,
    writer: &'a Writer,
    next: &'a AtomicU64,
    started: Instant,
    client: Option<Client>,
    sent_on_this: u64,
    outcome: Outcome,
}

impl<'a> Session<'a> {
    fn new(plan: &'a Plan, writer: &'a Writer, next: &'a AtomicU64, started: Instant) -> Self {
        let outcome = Outcome::default();
        Session {
            plan,
            writer,
            next,
            started,
            client: None,
            sent_on_this: 0,
            outcome,
        }
    }

    fn run(mut self) -> Outcome {
        let mut failures_in_a_row = 0;
        while failures_in_a_row < FAILURES_IN_A_ROW_MAX {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            if number >= self.plan.letters {
                break;
            }
            self.wait_for_turn(number);
            match self.one_letter(number) {
                Ok(latency) => {
                    failures_in_a_row = 0;
                    self.outcome.acknowledged += 1;
                    self.outcome.latencies.push(latency);
                }
                Err(failure) => {
                    failures_in_a_row += 1;
                    self.outcome.failed += 1;
                    self.outcome
                        .first_failure
                        .get_or_insert_with(|| describe(&failure));
                    self.client = None;
                }
            }
        }
        if let Some(client) = self.client {
            // All letters are acknowledged: how the farewell goes does not matter.
            let _ = client.quit();
        }
        self.outcome
    }

    fn wait_for_turn(&self, number: u64) {
        if self.plan.rate > 0 {
            let turn = Duration::from_secs_f64(number as f64 / self.plan.rate as f64);
            std::thread::sleep(turn.saturating_sub(self.started.elapsed()));
        }
    }

    fn one_letter(&mut self, number: u64) -> Result<Duration, Failure> {
        let plan = self.plan;
        let to: Vec<String> = (0..plan.recipients)
            .map(|place| number.wrapping_mul(plan.recipients).wrapping_add(place) % plan.mailboxes)
            .map(|mailbox| plan.recipient.replace("%d", &mailbox.to_string()))
            .collect();
        let first = to.first().map_or("", String::as_str);
        let (sender, letter) = self.letter(first, number);
        let full = plan.letters_per_connection;
        if full > 0
            && self.sent_on_this >= full
            && let Some(client) = self.client.take()
        {
            client.quit()?;
        }
        let mut client = match self.client.take() {
            Some(client) => client,
            None => {
                self.sent_on_this = 0;
                Client::connect(plan.to, Duration::from_secs(300))?
            }
        };
        let from_mail = Instant::now();
        client.send(sender, &to, &letter)?;
        let latency = from_mail.elapsed();
        self.sent_on_this += 1;
        self.client = Some(client);
        Ok(latency)
    }
}

impl<'a> Session<'a> {
    /// A letter that nobody has sent before, and its sender.
    fn letter(&self, to: &str, number: u64) -> (&'a str, Vec<u8>) {
        let plan = self.plan;
        if let Some(ready) = plan.ready.as_deref().filter(|ready| !ready.is_empty()) {
            let Ready { sender, letter } = &ready[number as usize % ready.len()];
            let mut text = format!("X-Load: {}.{number}\r\n", plan.seed).into_bytes();
            text.extend_from_slice(letter);
            return (sender, text);
        }
        let from = &plan.sender;
        let heading = Heading { from, to, number };
        let letter = self.writer.letter(heading, plan.letter_bytes);
        (from, letter.into_bytes())
    }
}

fn describe(failure: &Failure) -> String {
    match failure {
        Failure::Broken(cause) => format!("{failure}: {cause}"),
        Failure::Refused { .. } => failure.to_string(),
    }
}
