//! The planner: which destinations get how many letters, and how many transfers run to each.
//!
//! Pure: the time is an argument, the store and the network are not known here. Its rules:
//!
//! - **Fairness.** Letters are taken for the destination that has the fewest in hand, one by one,
//!   so that a destination with 100,000 letters gets no more than one with ten until the ten are
//!   served. Of a destination's tenants (sender domains) who has the fewest in hand there, and then
//!   anywhere, is next; of its letters urgent ones go first (RFC 6710), and then its users take
//!   turns. Local and remote
//!   letters have separate totals: slow servers never hold up mailboxes here.
//! - **Standing.** Destinations that fail, or whose letters were tried before in vain, get at most
//!   half of the room and of the connections, and with those that are not known yet at most seven
//!   eighths: however many of them there are, what is alive gets through.
//! - **Window.** A destination starts with a few connections; how many it bears is found out by
//!   [`Flow`]: more with each letter that is taken, fewer with each lost connection and with storms
//!   of 4xx, and none for a while when they go on. What is due in such a pause is deferred with what
//!   the destination said last, as in a block.
//! - **Sharing.** What other nodes have in hand for a destination takes from the limit of its
//!   connections, but never more than leaves each its fair part, so that the nodes together keep to
//!   the limit, by estimate and after a second.
//! - **Back-off.** A destination that fails as a whole (no route, no connection, no greeting) is
//!   blocked for a time that doubles with each failure. Letters that are due meanwhile are
//!   claimed and deferred with the known reason, without connecting, so that each keeps its own
//!   schedule, warning and end. After the time one letter is tried; if it gets through, the window
//!   opens again.

mod destination;
mod flow;

use base::{Domain, Timestamp};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use store::Lane;

use super::failure::Failure;
use super::settings::QueueSettings;
use destination::Destination;
pub use flow::{Flow, FlowLimits, Trouble, says_too_many_recipients, trouble_of_reply};

/// Letters in hand for each connection of a destination: what a connection takes next is here
/// already when it is done with one.
const LETTERS_PER_CONNECTION_IN_HAND: usize = 4;
/// Destinations whose state is remembered.
const DESTINATIONS_MAX: usize = 20_000;

/// Whether a destination is one of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Its mailboxes are here.
    Here,
    /// It is reached over the network.
    Elsewhere,
}

/// A lane of a destination with letters due in the store.
#[derive(Clone, Debug)]
pub struct DueWork {
    /// Its domain.
    pub domain: Domain,
    /// Whose letters they are.
    pub lane: Lane,
    /// Where it is.
    pub place: Place,
    /// Letters due there that no one has claimed.
    pub letters: usize,
    /// Since when the first has been due.
    pub oldest: Timestamp,
    /// Whether the first was tried before, in vain.
    pub tried: bool,
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
    /// The connection was lost on the way, or the destination said "not now": how, in its words.
    Struggled(Trouble, Box<Failure>),
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
    /// Defer it at once: the destination is blocked or paused.
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
    /// Letters in hand for other servers, by tenant.
    tenants: BTreeMap<String, usize>,
    here: Totals,
    elsewhere: Totals,
    /// Of those elsewhere: for destinations that fail.
    doubtful: Totals,
    /// Of those elsewhere: for destinations that have not answered yet.
    unproven: Totals,
    /// Whether the last plan had to leave something out that a destination could have taken.
    crowded: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Totals {
    in_hand: usize,
    active: usize,
}

impl Totals {
    fn add(&mut self, destination: &Destination) {
        self.in_hand += destination.in_hand;
        self.active += destination.active;
    }

    fn take(&mut self, destination: &Destination) {
        self.in_hand -= destination.in_hand;
        self.active -= destination.active;
    }
}

impl Planner {
    /// A planner with nothing in hand.
    #[must_use]
    pub fn new(settings: QueueSettings) -> Self {
        Self {
            settings,
            destinations: BTreeMap::new(),
            tenants: BTreeMap::new(),
            here: Totals::default(),
            elsewhere: Totals::default(),
            doubtful: Totals::default(),
            unproven: Totals::default(),
            crowded: false,
        }
    }

    /// Decides how many letters to claim of each lane now. [`Self::claimed`] is then told what the
    /// store gave. Not all that is due need be given: what is left out gets nothing this time.
    #[must_use]
    pub fn plan(&mut self, now: Timestamp, due: &[DueWork]) -> Vec<(Domain, Lane, usize)> {
        self.forget_idle(now);
        self.learn(now, due);
        let mut grants = vec![0_usize; due.len()];
        let mut crowded = false;
        for place in [Place::Here, Place::Elsewhere] {
            crowded |= Sharing::new(self, now, place, due).share_out(&mut grants);
        }
        self.crowded = crowded;
        due.iter()
            .zip(grants)
            .filter(|(_, grant)| *grant > 0)
            .map(|(work, grant)| (work.domain.clone(), work.lane.clone(), grant))
            .collect()
    }

    /// Takes letters that the store gave into account.
    pub fn claimed(
        &mut self,
        now: Timestamp,
        (domain, lane): (&Domain, &Lane),
        place: Place,
        letters: usize,
    ) {
        self.destination(now, domain, place);
        self.change(domain, |destination, _| destination.take(lane, letters));
        // Where the planner has it, as when it is let go, though the domain has moved meanwhile.
        if self.place(domain) == Place::Elsewhere {
            *self.tenants.entry(lane.tenant.clone()).or_default() += letters;
        }
    }

    /// Takes into account that a letter in hand was tried before in vain.
    pub fn was_tried(&mut self, domain: &Domain) {
        self.change(domain, |destination, _| destination.tried = true);
    }

    /// What may be done with the next letter in hand for a destination. After
    /// [`Admission::Start`] and [`Admission::Defer`] the letter counts as started.
    pub fn admit(&mut self, now: Timestamp, domain: &Domain) -> Admission {
        let Some(destination) = self.destinations.get(domain) else {
            debug_assert!(false, "a letter in hand has a destination");
            return Admission::Wait;
        };
        if destination.active >= destination.in_hand {
            return Admission::Wait;
        }
        let admission = match destination.closed(now) {
            Some((until, failure)) => Admission::Defer {
                until,
                failure: failure.clone(),
            },
            None if self.has_connection(now, destination) => Admission::Start,
            None => return Admission::Wait,
        };
        self.change(domain, |destination, _| {
            destination.last_used = now;
            destination.active += 1;
        });
        admission
    }

    /// Whether a transfer to it may start.
    fn has_connection(&self, now: Timestamp, destination: &Destination) -> bool {
        if destination.active >= destination.connections_max(now) {
            return false;
        }
        let max = self.settings.connections_max;
        destination.place == Place::Here
            || (self.elsewhere.active < max
                && !(destination.is_doubtful() && self.doubtful.active >= for_doubtful(max))
                && !(destination.is_unproven() && self.unproven.active >= for_unproven(max)))
    }

    /// Ends the work on a letter that was started.
    pub fn finished(&mut self, now: Timestamp, (domain, lane): (&Domain, &Lane), verdict: Verdict) {
        self.change(domain, |destination, settings| {
            destination.let_go(lane);
            destination.active = destination.active.saturating_sub(1);
            destination.last_used = now;
            destination.judge(now, verdict, settings);
        });
        self.tenant_let_go(domain, lane);
    }

    /// Lets go of a letter in hand that was never started.
    pub fn released(&mut self, (domain, lane): (&Domain, &Lane)) {
        self.change(domain, |destination, _| destination.let_go(lane));
        self.tenant_let_go(domain, lane);
    }

    /// Whether more letters for a destination would find room: it has at most half of what it may
    /// have in hand, and the node has any room. Slow destinations may hold much of that for long,
    /// and a fast one is not to wait for them.
    #[must_use]
    pub fn wants_more(&self, now: Timestamp, domain: &Domain) -> bool {
        self.destinations.get(domain).is_some_and(|destination| {
            let (total, total_max) = self.room(destination.place);
            destination.in_hand <= destination.in_hand_max(now) / 2 && total < total_max
        })
    }

    /// Whether the last plan had to leave something out, for want of room, that a destination could
    /// have taken.
    #[must_use]
    pub fn is_crowded(&self) -> bool {
        self.crowded
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
            .filter(|destination| destination.is_blocked(now))
            .count()
    }

    /// Destinations that are paused now.
    #[must_use]
    pub fn paused(&self, now: Timestamp) -> usize {
        let all = self.destinations.values();
        all.filter(|destination| destination.flow.paused_until(now).is_some())
            .count()
    }

    /// When the first pause of a destination ends.
    #[must_use]
    pub fn pause_ends(&self, now: Timestamp) -> Option<Timestamp> {
        self.destinations
            .values()
            .filter_map(|destination| destination.flow.paused_until(now))
            .min()
    }

    /// Takes in what the work tells of its destination: what other nodes do, and whether letters
    /// were tried before.
    fn learn(&mut self, now: Timestamp, due: &[DueWork]) {
        let max = self.settings.connections_per_destination_max;
        for work in due {
            if work.place == Place::Here {
                continue;
            }
            let alone = work.elsewhere.nodes == 0;
            let is_known = self.destinations.contains_key(&work.domain);
            if alone && !is_known {
                continue;
            }
            let fair = max.div_ceil(work.elsewhere.nodes.saturating_add(1));
            let theirs = work
                .elsewhere
                .letters
                .div_ceil(LETTERS_PER_CONNECTION_IN_HAND);
            let share = max.saturating_sub(theirs).max(fair);
            self.destination(now, &work.domain, work.place);
            self.change(&work.domain, |destination, _| {
                destination.share = share;
                destination.tried |= work.tried;
            });
        }
    }

    /// Letters in hand of a place, and how many there may be.
    fn room(&self, place: Place) -> (usize, usize) {
        match place {
            Place::Here => (self.here.in_hand, self.settings.local_letters_in_hand_max),
            Place::Elsewhere => (self.elsewhere.in_hand, self.settings.letters_in_hand_max),
        }
    }

    /// Sees that a destination is known.
    fn destination(&mut self, now: Timestamp, domain: &Domain, place: Place) {
        match self.destinations.get(domain) {
            // The domain became ours, or was given up.
            Some(known) if known.place != place && known.in_hand == 0 => {}
            Some(_) => return,
            None => {}
        }
        let fresh = Destination::new(now, place, &self.settings);
        self.destinations.insert(domain.clone(), fresh);
    }

    /// Changes a destination, and the totals with it.
    fn change(&mut self, domain: &Domain, change: impl FnOnce(&mut Destination, &QueueSettings)) {
        let Some(destination) = self.destinations.get_mut(domain) else {
            debug_assert!(false, "a letter in hand has a destination");
            return;
        };
        let totals = |destination: &Destination| {
            let elsewhere = destination.place == Place::Elsewhere;
            [
                !elsewhere,
                elsewhere,
                elsewhere && destination.is_doubtful(),
                elsewhere && destination.is_unproven(),
            ]
        };
        let mut all = [
            &mut self.here,
            &mut self.elsewhere,
            &mut self.doubtful,
            &mut self.unproven,
        ];
        for (total, counts) in all.iter_mut().zip(totals(destination)) {
            if counts {
                total.take(destination);
            }
        }
        change(destination, &self.settings);
        for (total, counts) in all.iter_mut().zip(totals(destination)) {
            if counts {
                total.add(destination);
            }
        }
    }

    fn tenant_let_go(&mut self, domain: &Domain, lane: &Lane) {
        if self.place(domain) == Place::Elsewhere
            && let Some(letters) = self.tenants.get_mut(&lane.tenant)
        {
            *letters = letters.saturating_sub(1);
            if *letters == 0 {
                self.tenants.remove(&lane.tenant);
            }
        }
    }

    /// Forgets destinations that have had no work for a while; beyond the limit, all without work.
    fn forget_idle(&mut self, now: Timestamp) {
        let too_many = self.destinations.len() > DESTINATIONS_MAX;
        self.destinations
            .retain(|_, destination| !destination.may_be_forgotten(now, too_many));
    }
}

/// What destinations that fail may have of something.
fn for_doubtful(max: usize) -> usize {
    max.div_ceil(2)
}

/// What destinations that have not answered yet may have of something.
fn for_unproven(max: usize) -> usize {
    max - max / 8
}

/// One sharing-out of the room of a place, one letter at a time to whoever has the fewest in hand.
struct Sharing<'a> {
    planner: &'a Planner,
    now: Timestamp,
    place: Place,
    due: &'a [DueWork],
    /// What is in hand and granted, by what it is counted by.
    destinations: BTreeMap<&'a Domain, usize>,
    tenants_there: BTreeMap<(&'a Domain, &'a str), usize>,
    lanes: BTreeMap<(&'a Domain, &'a Lane), usize>,
    tenants: BTreeMap<&'a str, usize>,
    room: usize,
    doubtful_room: usize,
    unproven_room: usize,
}

/// The order in which lanes get their next letter: the lowest first.
type Turn = (
    usize,
    bool,
    usize,
    usize,
    Reverse<i8>,
    usize,
    Timestamp,
    usize,
);

impl<'a> Sharing<'a> {
    fn new(planner: &'a Planner, now: Timestamp, place: Place, due: &'a [DueWork]) -> Self {
        let (total, total_max) = planner.room(place);
        Self {
            planner,
            now,
            place,
            due,
            destinations: BTreeMap::new(),
            tenants_there: BTreeMap::new(),
            lanes: BTreeMap::new(),
            tenants: BTreeMap::new(),
            room: total_max.saturating_sub(total),
            doubtful_room: for_doubtful(total_max).saturating_sub(planner.doubtful.in_hand),
            unproven_room: for_unproven(total_max).saturating_sub(planner.unproven.in_hand),
        }
    }

    /// Shares the room out; whether there was too little of it.
    fn share_out(mut self, grants: &mut [usize]) -> bool {
        let mut crowded = false;
        let mut line: BinaryHeap<Reverse<Turn>> = (0..self.due.len())
            .filter(|index| self.due[*index].place == self.place)
            .map(|index| Reverse(self.turn(index)))
            .collect();
        while let Some(Reverse(turn)) = line.pop() {
            let index = turn.7;
            let work = &self.due[index];
            if grants[index] >= work.letters || turn.0 >= self.in_hand_max(work) {
                continue;
            }
            if !self.has_room(work) {
                crowded = true;
                if self.room == 0 {
                    break;
                }
                continue;
            }
            // What another lane of the destination got meanwhile moves this one back.
            let now_at = self.turn(index);
            if now_at > turn {
                line.push(Reverse(now_at));
                continue;
            }
            grants[index] += 1;
            self.grant(work);
            line.push(Reverse(self.turn(index)));
        }
        crowded
    }

    fn turn(&self, index: usize) -> Turn {
        let work = &self.due[index];
        let known = self.planner.destinations.get(&work.domain);
        let there = known.map_or(0, |known| known.in_hand);
        let of_tenant = known.map_or(0, |known| known.of_tenant(&work.lane.tenant));
        let of_lane = known.map_or(0, |known| known.of_lane(&work.lane));
        let (domain, tenant) = (&work.domain, work.lane.tenant.as_str());
        let granted = |count: Option<&usize>| count.copied().unwrap_or(0);
        (
            there + granted(self.destinations.get(domain)),
            self.is_doubtful(work),
            of_tenant + granted(self.tenants_there.get(&(domain, tenant))),
            self.of_tenant(tenant),
            Reverse(work.lane.priority),
            of_lane + granted(self.lanes.get(&(domain, &work.lane))),
            work.oldest,
            index,
        )
    }

    fn is_doubtful(&self, work: &DueWork) -> bool {
        let known = self.planner.destinations.get(&work.domain);
        known.map_or(work.tried, Destination::is_doubtful)
    }

    fn is_unproven(&self, work: &DueWork) -> bool {
        let known = self.planner.destinations.get(&work.domain);
        known.is_none_or(Destination::is_unproven)
    }

    fn in_hand_max(&self, work: &DueWork) -> usize {
        match self.planner.destinations.get(&work.domain) {
            Some(destination) => destination.in_hand_max(self.now),
            None => {
                Destination::new(self.now, self.place, &self.planner.settings).in_hand_max(self.now)
            }
        }
    }

    fn has_room(&self, work: &DueWork) -> bool {
        if self.place == Place::Here || self.room == 0 {
            return self.room > 0;
        }
        let tenant = work.lane.tenant.as_str();
        self.of_tenant(tenant) < self.planner.settings.letters_per_tenant_max
            && !(self.is_doubtful(work) && self.doubtful_room == 0)
            && !(self.is_unproven(work) && self.unproven_room == 0)
    }

    /// Letters of a tenant in hand and granted, over all destinations.
    fn of_tenant(&self, tenant: &str) -> usize {
        let count = |count: Option<&usize>| count.copied().unwrap_or(0);
        count(self.planner.tenants.get(tenant)) + count(self.tenants.get(tenant))
    }

    fn grant(&mut self, work: &'a DueWork) {
        let (domain, tenant) = (&work.domain, work.lane.tenant.as_str());
        *self.destinations.entry(domain).or_default() += 1;
        *self.tenants_there.entry((domain, tenant)).or_default() += 1;
        *self.lanes.entry((domain, &work.lane)).or_default() += 1;
        *self.tenants.entry(tenant).or_default() += 1;
        self.room -= 1;
        if self.is_doubtful(work) {
            self.doubtful_room = self.doubtful_room.saturating_sub(1);
        }
        if self.is_unproven(work) {
            self.unproven_room = self.unproven_room.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod fairness;
#[cfg(test)]
mod tests;
