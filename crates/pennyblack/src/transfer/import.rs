//! The command's side of an import: a source is read on a thread of its own, its letters go over
//! the wire, and what the node says of them is counted.

use std::ops::ControlFlow;
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinHandle;

use super::link::{From, Link, To};
use super::report::{Report, Summary};
use super::source::{Incoming, Item, Known, Progress, Source};
use super::wire::{Ask, LetterIn, PING_EVERY, Tell};
use crate::control::{Failure, FailureKind, ImportOrder, Request};
use crate::settings::Settings;

/// Things that are read ahead, and bytes of letters among them.
const AHEAD: usize = 64;
const AHEAD_BYTES: usize = 8 << 20;
/// The unit in which these bytes are counted.
const UNIT_BYTES: usize = 1_024;

/// A thing on its way, with its share of the memory.
pub struct Given {
    item: Item,
    progress: Progress,
    _share: Option<OwnedSemaphorePermit>,
}

/// Where a source puts what it reads.
#[derive(Clone)]
pub struct Intake {
    sender: mpsc::Sender<Given>,
    memory: Arc<Semaphore>,
}

impl Intake {
    fn new() -> (Self, mpsc::Receiver<Given>) {
        let (sender, receiver) = mpsc::channel(AHEAD);
        let memory = Arc::new(Semaphore::new(AHEAD_BYTES / UNIT_BYTES));
        (Self { sender, memory }, receiver)
    }

    /// Puts a thing on its way; waits for room. [`ControlFlow::Break`] when nobody wants more.
    pub async fn give(&self, item: Item, progress: Progress) -> ControlFlow<()> {
        let bytes = match &item {
            Item::Letter(letter) => letter.bytes.len(),
            Item::Mailbox(_) | Item::Skipped(_) => 0,
        };
        // One letter that is larger than all the room goes alone.
        let units = (bytes / UNIT_BYTES).min(AHEAD_BYTES / UNIT_BYTES);
        let units = u32::try_from(units).unwrap_or(u32::MAX);
        let share = Arc::clone(&self.memory)
            .acquire_many_owned(units)
            .await
            .ok();
        let given = Given {
            item,
            progress,
            _share: share,
        };
        match self.sender.send(given).await {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    }
}

/// Imports what a source of files gives. `open` makes it, once it is known where earlier imports
/// stopped.
///
/// # Errors
/// In words for the operator; what was stored until then is stored.
pub async fn run(
    settings: &Settings,
    order: ImportOrder,
    report: Report,
    open: impl FnOnce(Known) -> Result<Box<dyn Source>, Failure> + Send + 'static,
) -> Result<Summary, Failure> {
    run_with(settings, order, report, |known, intake| {
        tokio::task::spawn_blocking(move || {
            let mut source = open(known)?;
            let handle = Handle::current();
            source.give_all(&mut |item, progress| handle.block_on(intake.give(item, progress)))
        })
    })
    .await
}

/// Imports what a task gives.
///
/// # Errors
/// As [`run`].
pub async fn run_with(
    settings: &Settings,
    order: ImportOrder,
    mut report: Report,
    start: impl FnOnce(Known, Intake) -> JoinHandle<Result<(), Failure>>,
) -> Result<Summary, Failure> {
    let mut link = Link::open(settings, Request::Import(order)).await?;
    let Tell::Ready(marks) = link.from.next().await? else {
        return Err(unexpected());
    };
    let known = marks.into_iter().map(|mark| (mark.source, mark.position));
    let (intake, given) = Intake::new();
    let reading = start(known.collect(), intake);
    let (progress, seen) = tokio::sync::watch::channel(Progress::default());
    let Link { from, to, .. } = &mut link;
    let outcome = {
        let sending = send_all(to, given, &progress);
        let counting = count_all(from, &mut report, seen);
        let mut sending = std::pin::pin!(sending);
        let mut counting = std::pin::pin!(counting);
        let mut sent = None;
        loop {
            tokio::select! {
                biased;
                counted = &mut counting => break counted.and_then(|()| sent.unwrap_or(Ok(()))),
                done = &mut sending, if sent.is_none() => sent = Some(done),
            }
        }
    };
    let closed = link.close().await;
    let read = reading.await.unwrap_or_else(|error| {
        Err(Failure {
            kind: FailureKind::Other,
            text: format!("bug: reading the source failed: {error}"),
        })
    });
    let summary = report.finish();
    // What the node said comes first: a source that was cut off by it has nothing to say.
    let failed = outcome.and(read).and(closed).err();
    match failed {
        None => Ok(summary),
        Some(failure) => Err(summary.with(failure)),
    }
}

async fn send_all(
    to: &mut To,
    mut given: mpsc::Receiver<Given>,
    progress: &tokio::sync::watch::Sender<Progress>,
) -> Result<(), Failure> {
    loop {
        let next = match given.try_recv() {
            Ok(next) => Ok(Some(next)),
            Err(_) => {
                // Nothing to do: what waits in the buffer may go.
                to.flush().await?;
                tokio::time::timeout(PING_EVERY, given.recv()).await
            }
        };
        match next {
            Err(_) => to.say(&Ask::Ping).await?,
            Ok(None) => break,
            Ok(Some(Given {
                item,
                progress: at,
                _share,
            })) => {
                match item {
                    Item::Mailbox(target) => to.say(&Ask::Mailbox(target)).await?,
                    Item::Letter(letter) => send_letter(to, *letter).await?,
                    Item::Skipped(skipped) => to.say(&Ask::Skipped(skipped)).await?,
                }
                progress.send_replace(at);
            }
        }
    }
    to.say(&Ask::End).await?;
    to.flush().await
}

async fn send_letter(to: &mut To, letter: Incoming) -> Result<(), Failure> {
    let head = LetterIn {
        name: letter.name,
        target: (*letter.target).clone(),
        flags: letter.flags,
        received_at: letter.received_at.map(|at| at.millis()),
        bytes: letter.bytes.len() as u64,
        mark: letter.mark,
    };
    to.say(&Ask::Letter(Box::new(head))).await?;
    to.bytes(&letter.bytes).await
}

async fn count_all(
    from: &mut From,
    report: &mut Report,
    progress: tokio::sync::watch::Receiver<Progress>,
) -> Result<(), Failure> {
    loop {
        match from.next().await? {
            Tell::Stored(letters) => report.stored(letters, *progress.borrow()),
            Tell::Skipped(skipped) => report.skipped(skipped),
            Tell::Done => return Ok(()),
            _ => return Err(unexpected()),
        }
    }
}

/// A node that says something else than this program expects.
pub(super) fn unexpected() -> Failure {
    Failure {
        kind: FailureKind::Other,
        text: "the running node speaks another version: restart it with this program".to_owned(),
    }
}
