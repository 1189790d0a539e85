//! Finds what is due, without ever reading all of the queue at once:
//!
//! - what a wake-up names is looked up;
//! - what has become due since the last look is found by time;
//! - all of it is gone through in pages now and then, so that a lost wake-up, a clock that was set or
//!   the work of another node costs only latency. The pages take a small part of the time, however
//!   long the queue is.
//!
//! What is done about it is not decided here.

use std::time::Duration;

use base::{Domain, Timestamp};
use store::{DueCursor, DueDestination, Lane, QueueNews, Store, StoreError};
use tokio::time::Instant;

use super::agenda::Agenda;
use super::planner::{DueWork, OtherNodes, Place};

/// Recipients that one look by time reads.
const RECIPIENTS_MAX: usize = 2_000;
/// Looks by time in a row; the rest is for the next look.
const READS_MAX: usize = 4;
/// How far back is looked when another node has told of a change: its clock may be behind, and its
/// commit may have taken a while.
const OTHERS_SPAN: Duration = Duration::from_secs(10);
/// How often all is gone through.
const SWEEP_SPAN: Duration = Duration::from_secs(5);
/// The pages of a sweep take at most this part of the time, and all sweeps together a tenth of that.
const SWEEP_DIVISOR: u32 = 10;

/// How long nothing is read after an error of the store.
const STORE_PAUSE: Duration = Duration::from_secs(1);
/// Lanes that are kept in mind while the store cannot be read; with more, all is gone through.
const LANES_MAX: usize = 20_000;

/// How far the looks have come.
pub(super) struct Lookout {
    store: Store,
    /// Letters of a lane are counted up to so many recipients.
    counted_max: usize,
    cursor: DueCursor,
    /// What was told and is not looked up yet.
    news: QueueNews,
    sweep: Sweep,
}

struct Sweep {
    /// The last lane of the last page; `None`: it is to begin.
    after: Option<(Domain, Lane)>,
    /// When the next page is read.
    at: Instant,
    /// What this one has taken so far.
    spent: Duration,
    /// Whether something was told meanwhile that its first pages may have missed.
    again: bool,
}

impl Lookout {
    pub(super) fn new(store: Store, counted_max: usize) -> Self {
        Self {
            store,
            counted_max,
            cursor: DueCursor::start(),
            news: QueueNews::default(),
            sweep: Sweep {
                after: None,
                at: Instant::now() + SWEEP_SPAN,
                spent: Duration::ZERO,
                again: false,
            },
        }
    }

    /// Looks at what the news name, and at what has become due. Gives the time at which to look
    /// again at the latest. After an error it looks at the same again.
    pub(super) async fn look(
        &mut self,
        now: Timestamp,
        news: QueueNews,
        agenda: &mut Agenda,
    ) -> Result<Option<Instant>, StoreError> {
        self.news.lanes.extend(news.lanes);
        self.news.elsewhere |= news.elsewhere;
        self.news.others |= news.others;
        let looked = self.look_up(now, agenda).await;
        if looked.is_ok() {
            let news = std::mem::take(&mut self.news);
            if news.others {
                self.sweep_now();
            }
        } else {
            if self.news.lanes.len() > LANES_MAX {
                self.news.lanes.clear();
                self.news.others = true;
            }
            self.pause_sweep();
        }
        looked
    }

    async fn look_up(
        &mut self,
        now: Timestamp,
        agenda: &mut Agenda,
    ) -> Result<Option<Instant>, StoreError> {
        let mut lanes: Vec<(Domain, Lane)> = self.news.lanes.iter().cloned().collect();
        if self.news.elsewhere {
            let from = DueCursor::before(now - OTHERS_SPAN);
            let found = self.store.became_due(from, now, RECIPIENTS_MAX).await?;
            lanes.extend(found.lanes);
        }
        let mut more = false;
        let mut cursor = self.cursor.clone();
        for _ in 0..READS_MAX {
            if agenda.is_full() {
                break;
            }
            let from = cursor.clone();
            let found = self.store.became_due(from, now, RECIPIENTS_MAX).await?;
            lanes.extend(found.lanes);
            cursor = found.cursor;
            more = found.more;
            if !more {
                break;
            }
        }
        lanes.sort();
        lanes.dedup();
        lanes.retain(|lane| {
            let known = agenda.grew(lane);
            if known {
                agenda.note_room(&lane.0);
            }
            !known
        });
        if !lanes.is_empty() {
            let due = self.store.due_of(now, lanes, self.counted_max).await?;
            self.learn(due, agenda).await?;
        }
        // Only now: what was found would not be found again.
        self.cursor = cursor;
        if more {
            return Ok(Some(Instant::now()));
        }
        let next = self.store.next_due(now).await?;
        Ok(next.map(|at| Instant::now() + at.since(now)))
    }

    /// When the next page of all is to be read.
    pub(super) fn sweep_at(&self) -> Instant {
        self.sweep.at
    }

    /// Reads the next page of all, if it is time; after an error, the same one after a pause.
    pub(super) async fn sweep(
        &mut self,
        now: Timestamp,
        agenda: &mut Agenda,
    ) -> Result<(), StoreError> {
        let begun = Instant::now();
        if begun < self.sweep.at {
            return Ok(());
        }
        if agenda.is_full() {
            self.sweep.at = begun + SWEEP_SPAN;
            return Ok(());
        }
        let last = match self.read_page(now, agenda).await {
            Ok(last) => last,
            Err(error) => {
                self.pause_sweep();
                return Err(error);
            }
        };
        self.sweep.after = last;
        let ended = Instant::now();
        let took = ended - begun;
        self.sweep.spent += took;
        let pause = if self.sweep.after.is_some() {
            took * (SWEEP_DIVISOR - 1)
        } else {
            let spent = std::mem::take(&mut self.sweep.spent);
            let pause = SWEEP_SPAN.max(spent * SWEEP_DIVISOR * SWEEP_DIVISOR);
            // What was told in the middle of it is looked for at once.
            if std::mem::take(&mut self.sweep.again) {
                Duration::ZERO
            } else {
                pause
            }
        };
        self.sweep.at = ended + pause;
        Ok(())
    }

    async fn read_page(
        &self,
        now: Timestamp,
        agenda: &mut Agenda,
    ) -> Result<Option<(Domain, Lane)>, StoreError> {
        let after = self.sweep.after.clone();
        let page = self.store.due_page(now, after, self.counted_max).await?;
        self.learn(page.due, agenda).await?;
        Ok(page.last)
    }

    /// The store fails: it is not asked again and again without a pause.
    fn pause_sweep(&mut self) {
        self.sweep.at = self.sweep.at.max(Instant::now() + STORE_PAUSE);
    }

    fn sweep_now(&mut self) {
        if self.sweep.after.is_some() {
            self.sweep.again = true;
        } else {
            self.sweep.at = Instant::now();
        }
    }

    async fn learn(&self, due: Vec<DueDestination>, agenda: &mut Agenda) -> Result<(), StoreError> {
        for due in due {
            let place = if self.store.is_ours(&due.domain).await? {
                Place::Here
            } else {
                Place::Elsewhere
            };
            let count = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
            let domain = due.domain.clone();
            let work = DueWork {
                domain: due.domain,
                lane: due.lane,
                place,
                letters: count(due.letters),
                oldest: due.oldest,
                tried: due.tried,
                elsewhere: OtherNodes {
                    nodes: count(due.nodes_elsewhere),
                    letters: count(due.letters_elsewhere),
                },
            };
            agenda.learn(work, due.more);
            agenda.note_room(&domain);
        }
        Ok(())
    }
}
