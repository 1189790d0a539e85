//! What the planner knows of one destination.

use std::collections::BTreeMap;
use std::time::Duration;

use base::Timestamp;
use store::Lane;

use super::super::backoff;
use super::Verdict;
use super::{Failure, Flow, FlowLimits, LETTERS_PER_CONNECTION_IN_HAND, Place, QueueSettings};

/// Transfers into mailboxes here at once: as many as one commit of the store groups.
const LOCAL_TRANSFERS_MAX: usize = 64;
/// Letters of a blocked or paused destination that are deferred at once.
const DEFERRED_AT_ONCE_MAX: usize = 100;
/// How long the window of a destination without work is remembered.
pub(super) const WINDOW_REMEMBERED: Duration = Duration::from_secs(300);
/// How long the failures of a destination without work are remembered after its block.
pub(super) const FAILURES_REMEMBERED: Duration = Duration::from_secs(3_600);

#[derive(Debug)]
pub(super) struct Destination {
    pub(super) place: Place,
    pub(super) in_hand: usize,
    pub(super) active: usize,
    /// Letters in hand by lane; none with 0.
    lanes: BTreeMap<Lane, usize>,
    pub(super) flow: Flow,
    /// Connections that other nodes leave to this one.
    pub(super) share: usize,
    /// Whole failures in a row.
    pub(super) failures: u32,
    block: Option<Block>,
    /// What was said when letters were last put off as too much: the reason of a pause.
    struggle: Option<Box<Failure>>,
    /// Whether it has answered anything since it is known.
    answered: bool,
    /// Whether letters for it were tried before in vain.
    pub(super) tried: bool,
    pub(super) last_used: Timestamp,
}

#[derive(Clone, Debug)]
struct Block {
    until: Timestamp,
    failure: Failure,
}

impl Destination {
    pub(super) fn new(now: Timestamp, place: Place, settings: &QueueSettings) -> Self {
        Self {
            place,
            in_hand: 0,
            active: 0,
            lanes: BTreeMap::new(),
            flow: match place {
                Place::Here => Flow::fixed(LOCAL_TRANSFERS_MAX),
                Place::Elsewhere => Flow::new(flow_limits(settings)),
            },
            share: usize::MAX,
            failures: 0,
            block: None,
            struggle: None,
            answered: false,
            tried: false,
            last_used: now,
        }
    }

    /// Takes letters of a lane in hand.
    pub(super) fn take(&mut self, lane: &Lane, letters: usize) {
        self.in_hand += letters;
        *self.lanes.entry(lane.clone()).or_default() += letters;
    }

    /// Lets one letter of a lane go.
    pub(super) fn let_go(&mut self, lane: &Lane) {
        self.in_hand = self.in_hand.saturating_sub(1);
        if let Some(letters) = self.lanes.get_mut(lane) {
            *letters = letters.saturating_sub(1);
            if *letters == 0 {
                self.lanes.remove(lane);
            }
        }
    }

    pub(super) fn of_lane(&self, lane: &Lane) -> usize {
        self.lanes.get(lane).copied().unwrap_or(0)
    }

    pub(super) fn of_tenant(&self, tenant: &str) -> usize {
        let of_it = self.lanes.iter().filter(|(lane, _)| lane.tenant == tenant);
        of_it.map(|(_, letters)| letters).sum()
    }

    /// Whether it fails, or what is known of its letters says that it did.
    pub(super) fn is_doubtful(&self) -> bool {
        self.failures > 0 || self.flow.is_sore() || (self.tried && !self.answered)
    }

    /// Whether it has not answered yet.
    pub(super) fn is_unproven(&self) -> bool {
        !self.answered
    }

    /// Connections to have at once.
    pub(super) fn connections_max(&self, now: Timestamp) -> usize {
        if self.place == Place::Elsewhere && self.flow.paused_until(now).is_some() {
            return 0;
        }
        self.flow.window().min(self.share)
    }

    /// Most letters to have in hand.
    pub(super) fn in_hand_max(&self, now: Timestamp) -> usize {
        match self.place {
            Place::Here => usize::MAX,
            Place::Elsewhere if self.closed(now).is_some() => DEFERRED_AT_ONCE_MAX,
            // One letter finds out whether the destination is back.
            Place::Elsewhere if self.failures > 0 => 1,
            Place::Elsewhere => self.connections_max(now) * LETTERS_PER_CONNECTION_IN_HAND,
        }
    }

    /// Until when it is not asked, and why: it is blocked or paused.
    pub(super) fn closed(&self, now: Timestamp) -> Option<(Timestamp, &Failure)> {
        let paused = || {
            let until = self.flow.paused_until(now)?;
            Some((until, self.struggle.as_deref()?))
        };
        self.block(now).or_else(paused)
    }

    /// Until when it is blocked, and why.
    fn block(&self, now: Timestamp) -> Option<(Timestamp, &Failure)> {
        let block = self.block.as_ref().filter(|block| now < block.until)?;
        Some((block.until, &block.failure))
    }

    pub(super) fn is_blocked(&self, now: Timestamp) -> bool {
        self.block(now).is_some()
    }

    pub(super) fn blocked_until(&self) -> Timestamp {
        self.block
            .as_ref()
            .map_or(Timestamp(i64::MIN), |block| block.until)
    }

    /// Whether nothing is lost with it.
    pub(super) fn may_be_forgotten(&self, now: Timestamp, too_many: bool) -> bool {
        let remembered = if self.failures > 0 || self.flow.is_sore() {
            FAILURES_REMEMBERED
        } else {
            WINDOW_REMEMBERED
        };
        let idle = now.since(self.last_used.max(self.blocked_until()));
        self.in_hand == 0 && (idle >= remembered || too_many)
    }

    /// Learns from how the work on one letter ended.
    pub(super) fn judge(&mut self, now: Timestamp, verdict: Verdict, settings: &QueueSettings) {
        if self.place == Place::Here {
            return;
        }
        let limits = flow_limits(settings);
        match verdict {
            Verdict::Took => {
                self.recover(settings);
                self.struggle = None;
                self.flow.took(limits);
            }
            Verdict::Answered => self.recover(settings),
            Verdict::Struggled(trouble, failure) => {
                self.recover(settings);
                self.struggle = Some(failure);
                self.flow.troubled(now, trouble, limits);
            }
            // Of several that fail together, the first blocks and the others tell nothing new.
            Verdict::Down(failure) if !self.is_blocked(now) => {
                // The shortest delay: the letters that fail with it come back a little later, each
                // at its own time, and find the block over.
                let (first, max) = (settings.retry_first, settings.retry_max);
                let span = backoff::delay(first, max, self.failures, 0);
                self.failures = self.failures.saturating_add(1);
                self.answered = false;
                self.flow.collapse();
                self.block = Some(Block {
                    until: now + span,
                    failure,
                });
            }
            Verdict::Down(_) | Verdict::NotTried => {}
        }
    }

    /// The destination answers: whatever was held against it is forgotten.
    fn recover(&mut self, settings: &QueueSettings) {
        if self.failures > 0 {
            self.flow = Flow::new(flow_limits(settings));
        }
        self.failures = 0;
        self.block = None;
        self.answered = true;
    }
}

fn flow_limits(settings: &QueueSettings) -> FlowLimits {
    FlowLimits {
        initial: settings.connections_initial,
        max: settings.connections_per_destination_max,
        retry_first: settings.retry_first,
    }
}
