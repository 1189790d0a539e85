//! What the worker knows to be due: lanes of destinations with letters that nobody has claimed. It is
//! learned from the store bit by bit and forgotten as claims come back short, so that no look reads
//! all of a long queue.
//!
//! It knows no letters, only lanes, and of those at most a number: see [`Agenda::is_full`].

use std::collections::{BTreeMap, BTreeSet};

use base::Domain;
use store::Lane;

use super::planner::DueWork;

/// Lanes that are known at once, about 200 bytes each.
const LANES_MAX: usize = 20_000;

/// Lanes from which on no destination may have more than [`LANES_OF_ONE_MAX`].
const LANES_MANY: usize = LANES_MAX / 2;
/// Lanes of one destination that are known while there are many: a slow one leaves room for others, so
/// that looks go on. What is left out is found again by a later sweep.
const LANES_OF_ONE_MAX: usize = LANES_MAX / 4;

/// Letters that a lane is taken to have when those that were counted are claimed and there are more.
const LETTERS_ASSUMED: usize = 64;

/// Lanes with letters due.
#[derive(Debug, Default)]
pub(super) struct Agenda {
    known: BTreeMap<(Domain, Lane), Known>,
    /// How many of them each destination has; none with 0.
    lanes: BTreeMap<Domain, usize>,
    /// Destinations that may be given letters: they have more than they were granted.
    wanting: BTreeSet<Domain>,
}

#[derive(Debug)]
struct Known {
    work: DueWork,
    /// Whether there may be more letters than were counted.
    more: bool,
}

impl Agenda {
    /// Takes what was found to be due. `more`: not all of its letters were counted. When there is
    /// much already, more lanes of a destination that has very many are left out.
    pub(super) fn learn(&mut self, work: DueWork, more: bool) {
        let key = (work.domain.clone(), work.lane.clone());
        if !self.known.contains_key(&key) {
            let many = self.known.len() >= LANES_MANY;
            let lanes = self.lanes.entry(key.0.clone()).or_default();
            if many && *lanes >= LANES_OF_ONE_MAX {
                return;
            }
            *lanes += 1;
        }
        self.known.insert(key, Known { work, more });
    }

    /// Takes into account that a lane has new letters. Whether it is known already; otherwise it is
    /// to be looked at.
    pub(super) fn grew(&mut self, key: &(Domain, Lane)) -> bool {
        let known = self.known.get_mut(key);
        known.map(|known| known.more = true).is_some()
    }

    /// Takes into account that letters of a lane were asked for and claimed.
    pub(super) fn claimed(&mut self, key: &(Domain, Lane), asked: usize, got: usize) {
        let Some(known) = self.known.get_mut(key) else {
            return;
        };
        known.work.letters = known.work.letters.saturating_sub(got);
        // A claim that comes back short took all. What comes later is told.
        if got < asked || (known.work.letters == 0 && !known.more) {
            self.known.remove(key);
            if let Some(lanes) = self.lanes.get_mut(&key.0) {
                *lanes = lanes.saturating_sub(1);
                if *lanes == 0 {
                    self.lanes.remove(&key.0);
                }
            }
        } else if known.work.letters == 0 {
            known.work.letters = LETTERS_ASSUMED;
        }
    }

    /// Whether nothing more should be looked for: what is known must be worked on first. What is
    /// named by a wake-up is learned all the same.
    pub(super) fn is_full(&self) -> bool {
        self.known.len() >= LANES_MAX
    }

    /// Whether nothing is due.
    pub(super) fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Letters due, as far as they were counted.
    pub(super) fn letters(&self) -> usize {
        self.known.values().map(|known| known.work.letters).sum()
    }

    /// All of it.
    pub(super) fn works(&self) -> Vec<DueWork> {
        self.known
            .values()
            .map(|known| known.work.clone())
            .collect()
    }

    /// What is due for one destination.
    pub(super) fn works_of(&self, domain: &Domain) -> impl Iterator<Item = &DueWork> {
        let first = Lane {
            priority: i8::MIN,
            ..Lane::default()
        };
        let from = (domain.clone(), first);
        self.known
            .range(from..)
            .take_while(move |((known, _), _)| known == domain)
            .map(|(_, known)| &known.work)
    }

    /// Notes that a destination has room for more, if it has more.
    pub(super) fn note_room(&mut self, domain: &Domain) {
        if self.works_of(domain).next().is_some() {
            self.wanting.insert(domain.clone());
        }
    }

    /// What is due for those that have room for more, and forgets that they have.
    pub(super) fn take_wanting(&mut self) -> Vec<DueWork> {
        let wanting = std::mem::take(&mut self.wanting);
        let works = wanting.iter().flat_map(|domain| self.works_of(domain));
        works.cloned().collect()
    }

    /// Whether any destination has room for more.
    pub(super) fn has_wanting(&self) -> bool {
        !self.wanting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use base::{AccountId, Timestamp};

    use super::super::planner::{OtherNodes, Place};
    use super::*;

    fn work(name: &str, account: i64, letters: usize) -> DueWork {
        DueWork {
            domain: Domain::parse(name).unwrap(),
            lane: Lane {
                account: Some(AccountId(account)),
                ..Lane::default()
            },
            place: Place::Elsewhere,
            letters,
            oldest: Timestamp(0),
            tried: false,
            elsewhere: OtherNodes::default(),
        }
    }

    #[test]
    fn a_lane_is_forgotten_when_a_claim_comes_back_short() {
        let mut agenda = Agenda::default();
        agenda.learn(work("a.test", 1, 50), true);
        agenda.learn(work("b.test", 1, 3), false);
        let key = (Domain::parse("a.test").unwrap(), work("a.test", 1, 0).lane);
        agenda.claimed(&key, 50, 50);
        assert_eq!((agenda.works().len(), agenda.letters()), (2, 64 + 3));
        agenda.claimed(&key, 20, 19);
        assert_eq!((agenda.works().len(), agenda.letters()), (1, 3));
        assert!(!agenda.grew(&key), "to be looked at");
        // What is not known any more changes nothing.
        agenda.claimed(&key, 1, 0);
        assert!(!agenda.is_empty() && !agenda.is_full());
    }

    #[test]
    fn a_lane_whose_letters_were_all_counted_is_forgotten_with_the_last() {
        let mut agenda = Agenda::default();
        let key = (Domain::parse("a.test").unwrap(), work("a.test", 1, 0).lane);
        agenda.learn(work("a.test", 1, 3), false);
        agenda.claimed(&key, 2, 2);
        assert_eq!(agenda.letters(), 1);
        agenda.claimed(&key, 1, 1);
        assert!(agenda.is_empty());
        agenda.learn(work("a.test", 1, 3), false);
        assert!(agenda.grew(&key));
        agenda.claimed(&key, 3, 3);
        assert_eq!(agenda.letters(), 64, "more came meanwhile");
    }

    #[test]
    fn only_who_has_more_wants_more() {
        let mut agenda = Agenda::default();
        let works = [
            work("a.test", 1, 5),
            work("b.test", 1, 5),
            work("b.test", 2, 6),
            work("c.test", 1, 5),
        ];
        works.into_iter().for_each(|work| agenda.learn(work, false));
        assert!(!agenda.has_wanting());
        for name in ["b.test", "d.test"] {
            agenda.note_room(&Domain::parse(name).unwrap());
        }
        assert!(agenda.has_wanting());
        let letters: Vec<usize> = agenda.take_wanting().iter().map(|it| it.letters).collect();
        assert_eq!(letters, [5, 6]);
        assert!(!agenda.has_wanting() && agenda.take_wanting().is_empty());
    }

    #[test]
    fn it_is_full_at_its_limit() {
        let mut agenda = Agenda::default();
        for account in 1..LANES_MAX {
            let name = format!("a{}.test", account % 7);
            agenda.learn(work(&name, account.try_into().unwrap(), 1), false);
        }
        assert!(!agenda.is_full());
        agenda.learn(work("b.test", 1, 1), false);
        assert!(agenda.is_full());
        assert_eq!(agenda.works().len(), LANES_MAX);
    }

    #[test]
    fn one_destination_does_not_fill_it() {
        let mut agenda = Agenda::default();
        for account in 1..=LANES_MAX + 5 {
            agenda.learn(work("slow.test", account.try_into().unwrap(), 1), false);
        }
        assert!(!agenda.is_full());
        assert_eq!(agenda.works().len(), LANES_MANY);
        // What is known is still brought up to date, and others are learned.
        agenda.learn(work("slow.test", 1, 9), false);
        agenda.learn(work("b.test", 1, 1), false);
        assert_eq!(agenda.letters(), LANES_MANY + 9);
        let lane = |account| work("slow.test", account, 0).lane;
        let slow = Domain::parse("slow.test").unwrap();
        agenda.claimed(&(slow.clone(), lane(2)), 2, 1);
        agenda.claimed(&(slow.clone(), lane(3)), 2, 1);
        agenda.claimed(&(slow, lane(4)), 2, 1);
        assert_eq!(agenda.works().len(), LANES_MANY - 2);
    }
}
