//! The planner: which destinations get how many letters, and how many transfers run to each.
//!
//! Pure: the time is an argument, the store and the network are not known here. Its rules:
//!
//! - **Fairness.** Letters are taken for the destination that has the fewest in hand, one by one,
//!   so that a destination with 100,000 letters gets no more than one with ten until the ten are
//!   served. Local and remote letters have separate totals: slow servers never hold up mailboxes
//!   here.
//! - **Window.** A destination starts with a few connections; each letter that is taken allows one
//!   more, up to the limit; a lost connection or a 421 halves the window.
//! - **Sharing.** What other nodes have in hand for a destination takes from the limit of its
//!   connections, but never more than leaves each its fair part, so that the nodes together keep to
//!   the limit, by estimate and after a second.
//! - **Back-off.** A destination that fails as a whole (no route, no connection, no greeting) is
//!   blocked for a time that doubles with each failure. Letters that are due meanwhile are
//!   claimed and deferred with the known reason, without connecting, so that each keeps its own
//!   schedule, warning and end. After the time one letter is tried; if it gets through, the window
//!   opens again.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::time::Duration;

use base::{Domain, Timestamp};

use super::backoff;
use super::failure::Failure;
use super::settings::QueueSettings;

/// Letters in hand for each connection of a destination: what a connection takes next is here
/// already when it is done with one.
const LETTERS_PER_CONNECTION_IN_HAND: usize = 4;
/// Transfers into mailboxes here at once: as many as one commit of the store groups.
const LOCAL_TRANSFERS_MAX: usize = 64;
/// Letters of a blocked destination that are deferred at once.
const DEFERRED_AT_ONCE_MAX: usize = 100;
/// Destinations whose state is remembered.
const DESTINATIONS_MAX: usize = 10_000;
/// How long the window of a destination without work is remembered.
const WINDOW_REMEMBERED: Duration = Duration::from_secs(300);
/// How long the failures of a destination without work are remembered after its block.
const FAILURES_REMEMBERED: Duration = Duration::from_secs(3_600);

/// Whether a destination is one of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Its mailboxes are here.
    Here,
    /// It is reached over the network.
    Elsewhere,
}

/// A destination with letters due in the store.
#[derive(Clone, Debug)]
pub struct DueWork {
    /// Its domain.
    pub domain: Domain,
    /// Where it is.
    pub place: Place,
    /// Letters due there that no one has claimed.
    pub letters: usize,
    /// Since when the first has been due.
    pub oldest: Timestamp,
    /// What other nodes have in hand for it.
    pub elsewhere: OtherNodes,
}

/// Work of other nodes on the same store for a destination.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OtherNodes {
    /// Nodes that have letters in hand.
    pub nodes: usize,
    /// Letters they have in hand.
    pub letters: usize,
}

/// How the work on a letter ended, as far as its destination is concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The destination took it.
    Took,
    /// The destination answered, but took it for no recipient.
    Answered,
    /// The connection was lost on the way, or the destination asked us to go away (421).
    Struggled,
    /// Nobody could be reached there.
    Down(Failure),
    /// It was not tried.
    NotTried,
}

/// What may be done with a letter in hand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Start on it now.
    Start,
    /// Defer it at once: the destination is blocked.
    Defer {
        /// Until when.
        until: Timestamp,
        /// Why.
        failure: Failure,
    },
    /// Not before another is finished.
    Wait,
}

/// The state of the queue's work on this node.
#[derive(Debug)]
pub struct Planner {
    settings: QueueSettings,
    destinations: BTreeMap<Domain, Destination>,
    /// Those that the store had more for than was claimed.
    hungry: BTreeSet<Domain>,
    here: Totals,
    elsewhere: Totals,
}

#[derive(Debug, Default)]
struct Totals {
    in_hand: usize,
    active: usize,
}

#[derive(Debug)]
struct Destination {
    place: Place,
    in_hand: usize,
    active: usize,
    window: usize,
    /// Connections that other nodes leave to this one.
    share: usize,
    /// Whole failures in a row.
    failures: u32,
    block: Option<Block>,
    last_used: Timestamp,
}

#[derive(Clone, Debug)]
struct Block {
    until: Timestamp,
    failure: Failure,
}

impl Planner {
    /// A planner with nothing in hand.
    #[must_use]
    pub fn new(settings: QueueSettings) -> Self {
        Self {
            settings,
            destinations: BTreeMap::new(),
            hungry: BTreeSet::new(),
            here: Totals::default(),
            elsewhere: Totals::default(),
        }
    }

    /// Decides how many letters to claim for each destination now. [`Self::claimed`] is then told
    /// what the store gave.
    #[must_use]
    pub fn plan(&mut self, now: Timestamp, due: &[DueWork]) -> Vec<(Domain, usize)> {
        self.forget_idle(now);
        self.take_shares(now, due);
        let mut grants = vec![0_usize; due.len()];
        for place in [Place::Here, Place::Elsewhere] {
            self.share_out(now, place, due, &mut grants);
        }
        self.hungry.clear();
        for (work, grant) in due.iter().zip(&grants) {
            if work.letters > *grant {
                self.destination(now, &work.domain, work.place);
                self.hungry.insert(work.domain.clone());
            }
        }
        due.iter()
            .zip(grants)
            .filter(|(_, grant)| *grant > 0)
            .map(|(work, grant)| (work.domain.clone(), grant))
            .collect()
    }

    /// Takes letters that the store gave into account.
    pub fn claimed(&mut self, now: Timestamp, domain: &Domain, place: Place, letters: usize) {
        let destination = self.destination(now, domain, place);
        destination.in_hand += letters;
        self.totals(place).in_hand += letters;
    }

    /// What may be done with the next letter in hand for a destination. After
    /// [`Admission::Start`] and [`Admission::Defer`] the letter counts as started.
    pub fn admit(&mut self, now: Timestamp, domain: &Domain) -> Admission {
        let total_max = self.settings.connections_max;
        let Some(destination) = self.destinations.get_mut(domain) else {
            debug_assert!(false, "a letter in hand has a destination");
            return Admission::Wait;
        };
        destination.last_used = now;
        if destination.active >= destination.in_hand {
            return Admission::Wait;
        }
        if let Some(block) = destination.block.as_ref().filter(|block| now < block.until) {
            let admission = Admission::Defer {
                until: block.until,
                failure: block.failure.clone(),
            };
            destination.active += 1;
            let place = destination.place;
            self.totals(place).active += 1;
            return admission;
        }
        let place = destination.place;
        let total_active = match place {
            Place::Here => 0,
            Place::Elsewhere => self.elsewhere.active,
        };
        if destination.active >= destination.connections_max() || total_active >= total_max {
            return Admission::Wait;
        }
        destination.active += 1;
        self.totals(place).active += 1;
        Admission::Start
    }

    /// Ends the work on a letter that was started.
    pub fn finished(&mut self, now: Timestamp, domain: &Domain, verdict: Verdict) {
        let Some(destination) = self.destinations.get_mut(domain) else {
            debug_assert!(false, "a letter in hand has a destination");
            return;
        };
        destination.in_hand = destination.in_hand.saturating_sub(1);
        destination.active = destination.active.saturating_sub(1);
        destination.last_used = now;
        destination.judge(now, verdict, &self.settings);
        let place = destination.place;
        let totals = self.totals(place);
        totals.in_hand = totals.in_hand.saturating_sub(1);
        totals.active = totals.active.saturating_sub(1);
    }

    /// Lets go of a letter in hand that was never started.
    pub fn released(&mut self, domain: &Domain) {
        let Some(destination) = self.destinations.get_mut(domain) else {
            debug_assert!(false, "a letter in hand has a destination");
            return;
        };
        destination.in_hand = destination.in_hand.saturating_sub(1);
        let place = destination.place;
        let totals = self.totals(place);
        totals.in_hand = totals.in_hand.saturating_sub(1);
    }

    /// Whether looking into the store would bring work that there is room for: some destination
    /// has more than was claimed, and less than half of what it may have in hand.
    #[must_use]
    pub fn wants_more(&self, now: Timestamp) -> bool {
        self.hungry
            .iter()
            .filter_map(|domain| self.destinations.get(domain))
            .any(|destination| {
                let (total, total_max) = self.room(destination.place);
                destination.in_hand <= destination.in_hand_max(now) / 2 && total <= total_max / 2
            })
    }

    /// Where a destination is that has letters in hand.
    #[must_use]
    pub fn place(&self, domain: &Domain) -> Place {
        self.destinations
            .get(domain)
            .map_or(Place::Elsewhere, |destination| destination.place)
    }

    /// Letters in hand: (here, elsewhere).
    #[must_use]
    pub fn in_hand(&self) -> (usize, usize) {
        (self.here.in_hand, self.elsewhere.in_hand)
    }

    /// Destinations that are blocked now.
    #[must_use]
    pub fn blocked(&self, now: Timestamp) -> usize {
        self.destinations
            .values()
            .filter(|destination| destination.blocked(now))
            .count()
    }

    /// Takes what other nodes do into account.
    fn take_shares(&mut self, now: Timestamp, due: &[DueWork]) {
        let max = self.settings.connections_per_destination_max;
        for work in due {
            let alone = work.elsewhere.nodes == 0;
            if work.place == Place::Here || (alone && !self.destinations.contains_key(&work.domain))
            {
                continue;
            }
            let fair = max.div_ceil(work.elsewhere.nodes.saturating_add(1));
            let theirs = work
                .elsewhere
                .letters
                .div_ceil(LETTERS_PER_CONNECTION_IN_HAND);
            let share = max.saturating_sub(theirs).max(fair);
            self.destination(now, &work.domain, work.place).share = share;
        }
    }

    /// Shares the room of one place out, one letter at a time to whoever has the fewest in hand;
    /// of two with equally many, to the one that has waited longer.
    fn share_out(&self, now: Timestamp, place: Place, due: &[DueWork], grants: &mut [usize]) {
        let (total, total_max) = self.room(place);
        let mut room = total_max.saturating_sub(total);
        let mut line: BinaryHeap<Reverse<(usize, Timestamp, usize)>> = due
            .iter()
            .enumerate()
            .filter(|(_, work)| work.place == place)
            .map(|(index, work)| Reverse((self.held(&work.domain), work.oldest, index)))
            .collect();
        while room > 0 {
            let Some(Reverse((in_hand, oldest, index))) = line.pop() else {
                break;
            };
            let work = &due[index];
            let in_hand_max = match self.destinations.get(&work.domain) {
                Some(destination) => destination.in_hand_max(now),
                None => Destination::new(now, place, &self.settings).in_hand_max(now),
            };
            if grants[index] >= work.letters || in_hand >= in_hand_max {
                continue;
            }
            grants[index] += 1;
            room -= 1;
            line.push(Reverse((in_hand + 1, oldest, index)));
        }
    }

    /// Letters in hand of a place, and how many there may be.
    fn room(&self, place: Place) -> (usize, usize) {
        match place {
            Place::Here => (self.here.in_hand, self.settings.local_letters_in_hand_max),
            Place::Elsewhere => (self.elsewhere.in_hand, self.settings.letters_in_hand_max),
        }
    }

    fn held(&self, domain: &Domain) -> usize {
        self.destinations
            .get(domain)
            .map_or(0, |destination| destination.in_hand)
    }

    fn destination(&mut self, now: Timestamp, domain: &Domain, place: Place) -> &mut Destination {
        if !self.destinations.contains_key(domain) {
            let fresh = Destination::new(now, place, &self.settings);
            self.destinations.insert(domain.clone(), fresh);
        }
        let destination = self
            .destinations
            .entry(domain.clone())
            .or_insert_with(|| Destination::new(now, place, &self.settings));
        if destination.place != place && destination.in_hand == 0 {
            // The domain became ours, or was given up.
            *destination = Destination::new(now, place, &self.settings);
        }
        destination
    }

    fn totals(&mut self, place: Place) -> &mut Totals {
        match place {
            Place::Here => &mut self.here,
            Place::Elsewhere => &mut self.elsewhere,
        }
    }

    /// Forgets destinations that have had no work for a while; beyond the limit, all without work.
    fn forget_idle(&mut self, now: Timestamp) {
        let too_many = self.destinations.len() > DESTINATIONS_MAX;
        self.destinations.retain(|_, destination| {
            let remembered = if destination.failures > 0 {
                FAILURES_REMEMBERED
            } else {
                WINDOW_REMEMBERED
            };
            let idle = now.since(destination.last_used.max(destination.blocked_until()));
            destination.in_hand > 0 || (idle < remembered && !too_many)
        });
    }
}

impl Destination {
    fn new(now: Timestamp, place: Place, settings: &QueueSettings) -> Self {
        Self {
            place,
            in_hand: 0,
            active: 0,
            window: match place {
                Place::Here => LOCAL_TRANSFERS_MAX,
                Place::Elsewhere => Self::window_initial(settings),
            },
            share: usize::MAX,
            failures: 0,
            block: None,
            last_used: now,
        }
    }

    /// Connections to have at once.
    fn connections_max(&self) -> usize {
        self.window.min(self.share)
    }

    fn window_initial(settings: &QueueSettings) -> usize {
        settings
            .connections_initial
            .min(settings.connections_per_destination_max)
            .max(1)
    }

    /// Most letters to have in hand.
    fn in_hand_max(&self, now: Timestamp) -> usize {
        match self.place {
            Place::Here => usize::MAX,
            Place::Elsewhere if self.blocked(now) => DEFERRED_AT_ONCE_MAX,
            // One letter finds out whether the destination is back.
            Place::Elsewhere if self.failures > 0 => 1,
            Place::Elsewhere => self.connections_max() * LETTERS_PER_CONNECTION_IN_HAND,
        }
    }

    fn blocked(&self, now: Timestamp) -> bool {
        now < self.blocked_until()
    }

    fn blocked_until(&self) -> Timestamp {
        self.block
            .as_ref()
            .map_or(Timestamp(i64::MIN), |block| block.until)
    }

    /// Learns from how the work on one letter ended.
    fn judge(&mut self, now: Timestamp, verdict: Verdict, settings: &QueueSettings) {
        if self.place == Place::Here {
            return;
        }
        match verdict {
            Verdict::Took => {
                self.recover(settings);
                self.window = (self.window + 1).min(settings.connections_per_destination_max);
            }
            Verdict::Answered => self.recover(settings),
            Verdict::Struggled => {
                self.recover(settings);
                self.window = (self.window / 2).max(1);
            }
            // Of several that fail together, the first blocks and the others tell nothing new.
            Verdict::Down(failure) if !self.blocked(now) => {
                // The shortest delay: the letters that fail with it come back a little later, each
                // at its own time, and find the block over.
                let (first, max) = (settings.retry_first, settings.retry_max);
                let span = backoff::delay(first, max, self.failures, 0);
                self.failures = self.failures.saturating_add(1);
                self.window = 1;
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
            self.window = Self::window_initial(settings);
        }
        self.failures = 0;
        self.block = None;
    }
}

#[cfg(test)]
mod tests;
