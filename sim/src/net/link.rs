//! One connection: two directions with their delays, and what goes wrong with it.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use super::ear::{Ear, Heard};
use crate::ledger::{Ledger, Passage};
use crate::random::Random;
use crate::trace::Trace;

/// What may lie in one direction before the writer waits; as much as a small socket buffer.
const ROOM_BYTES: usize = 64 * 1024;

/// Whether a machine runs. What it writes after its end reaches nobody.
#[derive(Clone, Debug)]
pub struct Power(Arc<PowerState>);

#[derive(Debug)]
struct PowerState {
    on: AtomicBool,
    /// Whether its peers hear nothing of its end, instead of a reset.
    silent: AtomicBool,
}

impl Default for Power {
    fn default() -> Self {
        Self(Arc::new(PowerState {
            on: AtomicBool::new(true),
            silent: AtomicBool::new(false),
        }))
    }
}

impl Power {
    /// Ends it.
    pub fn cut(&self, silent: bool) {
        self.0.silent.store(silent, Ordering::Relaxed);
        self.0.on.store(false, Ordering::Relaxed);
    }

    /// Whether it runs.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.0.on.load(Ordering::Relaxed)
    }
}

/// What will go wrong with a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// Nothing.
    Whole,
    /// It is reset after so many bytes in a direction.
    Cut(Side, u64),
    /// From so many bytes in a direction on, nothing of either side arrives.
    Vanish(Side, u64),
}

/// An end of a connection; as the direction of bytes, the one that writes them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// Who has connected.
    Client,
    /// Who has accepted.
    Server,
}

impl Side {
    const fn other(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }
}

/// What a connection is made from.
pub(super) struct LinkOptions {
    /// Its name in the trace.
    pub name: String,
    /// Who connects and who is connected to.
    pub passage: Passage,
    /// What will go wrong.
    pub fate: Fate,
    /// The delay of each piece, in milliseconds: from, to.
    pub delay_ms: (u64, u64),
    /// Delays.
    pub random: Random,
    /// Where it is noted.
    pub trace: Trace,
    /// Where letters are noted.
    pub ledger: Ledger,
    /// Replies 250 itself when the server has read a letter, and drops the server's own reply: a
    /// deliberate mistake.
    pub replies_early: bool,
    /// Until when nothing passes between these two.
    pub parted_until: Arc<dyn Fn() -> Option<Instant> + Send + Sync>,
}

#[derive(Default)]
struct Half {
    pieces: VecDeque<(Instant, Vec<u8>)>,
    bytes: usize,
    last_at: Option<Instant>,
    sent: u64,
    /// Since when it has been closed by its writer.
    closed_at: Option<Instant>,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

struct Link {
    options: LinkOptions,
    client: Half,
    server: Half,
    ear: Ear,
    is_reset: bool,
    has_vanished: bool,
    /// The server's next line is dropped.
    drops_line: bool,
}

/// One end of a connection.
pub struct End {
    link: Arc<Mutex<Link>>,
    side: Side,
    power: Power,
    alarm: Pin<Box<Sleep>>,
}

/// Makes a connection between two machines.
#[must_use]
pub(super) fn connect(options: LinkOptions, client: &Power, server: &Power) -> (End, End) {
    let link = Arc::new(Mutex::new(Link {
        options,
        client: Half::default(),
        server: Half::default(),
        ear: Ear::default(),
        is_reset: false,
        has_vanished: false,
        drops_line: false,
    }));
    let end = |side, power: &Power| End {
        link: Arc::clone(&link),
        side,
        power: power.clone(),
        alarm: Box::pin(sleep_until(Instant::now())),
    };
    (end(Side::Client, client), end(Side::Server, server))
}

impl Link {
    fn half(&mut self, writer: Side) -> &mut Half {
        match writer {
            Side::Client => &mut self.client,
            Side::Server => &mut self.server,
        }
    }

    fn note(&self, what: impl std::fmt::Display) {
        self.options.trace.note(&self.options.name, what);
    }

    fn reset(&mut self) {
        self.is_reset = true;
        self.wake();
    }

    fn wake(&mut self) {
        for half in [&mut self.client, &mut self.server] {
            half.reader.take().into_iter().for_each(Waker::wake);
            half.writer.take().into_iter().for_each(Waker::wake);
        }
    }

    /// Sends bytes; the fate of the connection may come over it.
    fn send(&mut self, writer: Side, bytes: &[u8]) {
        let sent = self.half(writer).sent;
        let passes = |limit: u64| usize::try_from(limit.saturating_sub(sent)).unwrap_or(usize::MAX);
        let (passing, ends) = match self.options.fate {
            Fate::Cut(side, limit) | Fate::Vanish(side, limit) if side == writer => {
                (passes(limit).min(bytes.len()), passes(limit) <= bytes.len())
            }
            Fate::Cut(..) | Fate::Vanish(..) | Fate::Whole => (bytes.len(), false),
        };
        self.push(writer, &bytes[..passing]);
        if ends {
            let fate = self.options.fate;
            self.options.fate = Fate::Whole;
            self.note(format_args!("fault: {fate:?}"));
            self.options.ledger.fault("connection");
            if matches!(fate, Fate::Vanish(..)) {
                self.has_vanished = true;
            } else {
                self.reset();
            }
        }
    }

    fn push(&mut self, writer: Side, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let (from, to) = self.options.delay_ms;
        let mut at = Instant::now() + self.options.random.span_ms(from, to);
        if let Some(until) = (self.options.parted_until)() {
            at = at.max(until);
        }
        let half = self.half(writer);
        at = half.last_at.map_or(at, |last| last.max(at));
        half.last_at = Some(at);
        half.sent += bytes.len() as u64;
        half.bytes += bytes.len();
        half.pieces.push_back((at, bytes.to_owned()));
        half.reader.take().into_iter().for_each(Waker::wake);
    }

    /// The server writes: the ear listens, unless its line is dropped.
    fn server_says(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        if self.drops_line {
            match bytes.iter().position(|byte| *byte == b'\n') {
                Some(end) => {
                    self.drops_line = false;
                    rest = &bytes[end + 1..];
                }
                None => return,
            }
        }
        let mut heard = Vec::new();
        self.ear.said(rest, &mut heard);
        self.heard(heard);
        self.send(Side::Server, rest);
    }

    /// The server has read bytes.
    fn server_reads(&mut self, bytes: &[u8]) {
        let mut heard = Vec::new();
        self.ear.heard(bytes, &mut heard);
        let ended = heard
            .iter()
            .any(|heard| matches!(heard, Heard::LetterEnd(_)));
        self.heard(heard);
        if ended && self.options.replies_early {
            self.server_says(b"250 2.0.0 kept, perhaps\r\n");
            self.drops_line = true;
        }
    }

    fn heard(&self, heard: Vec<Heard>) {
        for heard in heard {
            match heard {
                Heard::Command(line) => self.note(format_args!("C: {line}")),
                Heard::Reply(line) => self.note(format_args!("S: {line}")),
                Heard::LetterEnd(Some(carried)) => {
                    self.note(format_args!("letter read: {carried}"))
                }
                Heard::LetterEnd(None) => self.note("letter read"),
                Heard::ReportRefused(sender) => self.options.ledger.report_refused(&sender),
            }
        }
    }

    fn client_reads(&mut self, bytes: usize) {
        if let Some(carried) = self.ear.read(bytes) {
            self.options.ledger.answered(&self.options.passage, carried);
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        if let Some(carried) = self.ear.end() {
            self.note(format_args!("ended without the reply to {carried}"));
            self.options
                .ledger
                .unanswered(&self.options.passage, carried);
        }
        self.options.ledger.closed();
    }
}

impl End {
    fn lock(&self) -> MutexGuard<'_, Link> {
        self.link.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn reset() -> io::Error {
    io::ErrorKind::ConnectionReset.into()
}

impl AsyncRead for End {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.power.is_on() {
            return Poll::Pending;
        }
        let side = self.side;
        let link = Arc::clone(&self.link);
        let mut link = link.lock().unwrap_or_else(PoisonError::into_inner);
        let (is_reset, has_vanished) = (link.is_reset, link.has_vanished);
        let half = link.half(side.other());
        let next = half
            .pieces
            .front()
            .map(|(at, _)| *at)
            .or_else(|| half.closed_at.filter(|_| !has_vanished));
        let now = Instant::now();
        match next {
            Some(at) if at > now => {
                half.reader = Some(context.waker().clone());
                self.alarm.as_mut().reset(at);
                drop(link);
                let _ = self.alarm.as_mut().poll(context);
                return Poll::Pending;
            }
            None if is_reset => return Poll::Ready(Err(reset())),
            None => {
                half.reader = Some(context.waker().clone());
                return Poll::Pending;
            }
            Some(_) => {}
        }
        let Some((at, mut piece)) = half.pieces.pop_front() else {
            return Poll::Ready(Ok(()));
        };
        let count = piece.len().min(buffer.remaining());
        buffer.put_slice(&piece[..count]);
        half.bytes -= count;
        let read: Vec<u8> = piece.drain(..count).collect();
        if !piece.is_empty() {
            half.pieces.push_front((at, piece));
        }
        half.writer.take().into_iter().for_each(Waker::wake);
        match side {
            Side::Server => link.server_reads(&read),
            Side::Client => link.client_reads(count),
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for End {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if !self.power.is_on() {
            return Poll::Pending;
        }
        let side = self.side;
        let mut link = self.lock();
        if link.is_reset {
            return Poll::Ready(Err(reset()));
        }
        if link.has_vanished {
            return Poll::Ready(Ok(bytes.len()));
        }
        let half = link.half(side);
        let room = ROOM_BYTES.saturating_sub(half.bytes);
        if room == 0 {
            half.writer = Some(context.waker().clone());
            return Poll::Pending;
        }
        let count = room.min(bytes.len());
        match side {
            Side::Client => link.send(Side::Client, &bytes[..count]),
            Side::Server => link.server_says(&bytes[..count]),
        }
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.lock().close(self.side);
        Poll::Ready(Ok(()))
    }
}

impl Link {
    fn close(&mut self, side: Side) {
        let (from, to) = self.options.delay_ms;
        let at = Instant::now() + self.options.random.span_ms(from, to);
        let half = self.half(side);
        if half.closed_at.is_none() {
            half.closed_at = Some(half.last_at.map_or(at, |last| last.max(at)));
        }
        half.reader.take().into_iter().for_each(Waker::wake);
    }
}

impl Drop for End {
    fn drop(&mut self) {
        let (side, power) = (self.side, self.power.clone());
        let mut link = self.lock();
        if power.is_on() {
            link.close(side);
            return;
        }
        if power.0.silent.load(Ordering::Relaxed) {
            link.has_vanished = true;
        } else {
            link.reset();
        }
    }
}

/// How long a connection attempt takes that nobody answers: longer than any caller waits.
pub(super) const NEVER: Duration = Duration::from_secs(365 * 24 * 3_600);
