//! The books of a run: what was sent and acknowledged, what arrived, what was reported, and every
//! fault that may explain a difference.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::plan::{Plan, Way};

/// A node that stops so soon after it has read a reply may not have noted it: the flush of a
/// settlement takes some tens of milliseconds.
const NOTED_WITHIN: Duration = Duration::from_secs(2);
/// While its disk is full, a settlement is tried for so long; and two slow flushes take as long.
const NOTED_WITHIN_ON_BAD_DISK: Duration = Duration::from_secs(20);
/// Violations that are told; after the first few the rest says nothing new.
const VIOLATIONS_MAX: usize = 50;

/// A letter on a connection.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Carried {
    /// Which letter, or which letter is reported about.
    pub token: u64,
    /// Whether it is a report about it.
    pub is_report: bool,
}

impl fmt::Display for Carried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = if self.is_report {
            "report about"
        } else {
            "letter"
        };
        write!(f, "{what} {}", self.token)
    }
}

/// From whom to whom a connection goes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Passage {
    /// Who connects.
    pub client: String,
    /// Who accepts.
    pub server: String,
}

/// What the sender knows of a letter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Known {
    /// Nothing yet, or the connection died behind the letter.
    Nothing,
    /// It was taken.
    Taken,
    /// It was refused.
    Refused,
}

/// A letter that was sent.
#[derive(Clone, Debug)]
pub struct Sent {
    /// The envelope's sender.
    pub sender: String,
    /// The recipients that were not refused.
    pub recipients: Vec<String>,
    /// What the sender knows.
    pub known: Known,
}

/// The books. Clones are the same.
#[derive(Clone, Default)]
pub struct Ledger(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    sent: BTreeMap<u64, Sent>,
    /// How often a letter was stored for a recipient.
    stored: BTreeMap<(u64, String), u64>,
    /// How often a failure was reported to the sender.
    reported: BTreeMap<(u64, String), u64>,
    /// How often a letter may have come to a server besides the one time: it was read and the reply
    /// was not, or who read the reply may not have noted it.
    excuses: BTreeMap<(Carried, String), u64>,
    /// Replies that somebody has read lately.
    lately: BTreeMap<String, VecDeque<Noted>>,
    /// Reports that the server of a sender's domain refused for good, by the sender.
    refused_reports: BTreeMap<String, u64>,
    /// Nodes whose disk is full.
    full: BTreeSet<String>,
    /// Nodes whose disk is slow, and until when one was.
    slow: BTreeMap<String, Option<Instant>>,
    faults: BTreeMap<&'static str, u64>,
    violations: Vec<String>,
    open: u64,
    open_max: u64,
}

/// A reply that was read.
struct Noted {
    at: Instant,
    carried: Carried,
    server: String,
    /// Whether it is an excuse already.
    is_excused: bool,
}

/// What the end of a run compares.
#[derive(Clone, Debug, Default)]
pub struct Books {
    /// Letters sent.
    pub letters: u64,
    /// Of them taken.
    pub taken: u64,
    /// Copies stored, at nodes and outside.
    pub stored: u64,
    /// Failures reported.
    pub reported: u64,
    /// Taken for a recipient, and neither stored nor reported.
    pub lost: u64,
    /// Neither stored nor reported, because the sender cannot be told: the server that the DNS named
    /// for him refused the report for good, or there is none.
    pub unreportable: u64,
    /// Copies more than one, for which no connection died.
    pub unexplained_duplicates: u64,
    /// Copies more than one, each after a reply that was not read or not noted.
    pub explained_duplicates: u64,
    /// Faults by kind.
    pub faults: BTreeMap<&'static str, u64>,
    /// Connections open at once, at most.
    pub open_max: u64,
    /// What must not be.
    pub violations: Vec<String>,
}

impl Ledger {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a letter that is about to be sent.
    pub fn sending(&self, token: u64, sender: &str) {
        let sent = Sent {
            sender: sender.to_owned(),
            recipients: Vec::new(),
            known: Known::Nothing,
        };
        self.lock().sent.insert(token, sent);
    }

    /// Notes what the sender knows of it now.
    pub fn known(&self, token: u64, recipients: Vec<String>, known: Known) {
        if let Some(sent) = self.lock().sent.get_mut(&token) {
            sent.recipients = recipients;
            sent.known = known;
        }
    }

    /// A letter that was sent.
    #[must_use]
    pub fn sent(&self, token: u64) -> Option<Sent> {
        self.lock().sent.get(&token).cloned()
    }

    /// Notes a copy in a mailbox.
    pub fn stored(&self, token: u64, recipient: &str) {
        let mut inner = self.lock();
        *inner
            .stored
            .entry((token, recipient.to_owned()))
            .or_default() += 1;
    }

    /// Notes a failure that was reported.
    pub fn reported(&self, token: u64, recipient: &str) {
        let mut inner = self.lock();
        *inner
            .reported
            .entry((token, recipient.to_owned()))
            .or_default() += 1;
    }

    /// Forgets what arrived, to count anew; where `keep` says so it stays.
    pub fn count_anew(&self, keep: impl Fn(&str) -> bool) {
        let mut inner = self.lock();
        inner.stored.retain(|(_, recipient), _| keep(recipient));
    }

    /// The reply to a letter was read.
    pub fn answered(&self, passage: &Passage, carried: Carried) {
        let now = Instant::now();
        let mut inner = self.lock();
        let is_excused = inner.full.contains(&passage.client);
        if is_excused {
            inner.excuse(carried, passage.server.clone());
        }
        let lately = inner.lately.entry(passage.client.clone()).or_default();
        while lately
            .front()
            .is_some_and(|noted| now - noted.at > NOTED_WITHIN_ON_BAD_DISK)
        {
            lately.pop_front();
        }
        lately.push_back(Noted {
            at: now,
            carried,
            server: passage.server.clone(),
            is_excused,
        });
    }

    /// A letter was read by a server, and the reply was not.
    pub fn unanswered(&self, passage: &Passage, carried: Carried) {
        self.lock().excuse(carried, passage.server.clone());
    }

    /// A server has refused a report to this sender for good: about a report none is made.
    pub fn report_refused(&self, sender: &str) {
        let mut inner = self.lock();
        *inner.refused_reports.entry(sender.to_owned()).or_default() += 1;
    }

    /// A connection begins.
    pub fn opened(&self) {
        let mut inner = self.lock();
        inner.open += 1;
        inner.open_max = inner.open_max.max(inner.open);
    }

    /// A connection has ended.
    pub fn closed(&self) {
        self.lock().open -= 1;
    }

    /// Counts a fault.
    pub fn fault(&self, kind: &'static str) {
        *self.lock().faults.entry(kind).or_default() += 1;
    }

    /// A node has stopped without warning.
    pub fn stopped(&self, node: &str) {
        let mut inner = self.lock();
        let is_slow = inner.slow.get(node).is_some_and(|until| {
            until.is_none_or(|until| until.elapsed() <= NOTED_WITHIN_ON_BAD_DISK)
        });
        let within = if is_slow {
            NOTED_WITHIN_ON_BAD_DISK
        } else {
            NOTED_WITHIN
        };
        inner.may_have_lost(node, within);
    }

    /// A node's disk is full, or has room again.
    pub fn disk_is_full(&self, node: &str, full: bool) {
        let mut inner = self.lock();
        if full {
            inner.full.insert(node.to_owned());
            inner.may_have_lost(node, NOTED_WITHIN_ON_BAD_DISK);
        } else {
            inner.full.remove(node);
        }
    }

    /// The flushes of a node's disk take seconds, or do not any more.
    pub fn disk_is_slow(&self, node: &str, slow: bool) {
        let until = (!slow).then(Instant::now);
        self.lock().slow.insert(node.to_owned(), until);
    }

    /// Notes what must not be.
    pub fn violation(&self, what: String) {
        let mut inner = self.lock();
        if inner.violations.len() < VIOLATIONS_MAX {
            inner.violations.push(what);
        }
    }

    /// Whether anything was noted that must not be.
    #[must_use]
    pub fn is_violated(&self) -> bool {
        !self.lock().violations.is_empty()
    }

    /// Compares the books; `way` tells where a recipient's letters arrive in the end, and how.
    #[must_use]
    pub fn close(&self, way: &dyn Fn(&str) -> Way) -> Books {
        let inner = self.lock();
        let mut books = Books {
            letters: inner.sent.len() as u64,
            faults: inner.faults.clone(),
            open_max: inner.open_max,
            stored: inner.stored.values().sum(),
            reported: inner.reported.values().sum(),
            violations: inner.violations.clone(),
            ..Books::default()
        };
        let mut refused_reports = inner.refused_reports.clone();
        for (token, sent) in &inner.sent {
            books.taken += u64::from(sent.known == Known::Taken);
            inner.close_letter(*token, sent, way, &mut refused_reports, &mut books);
        }
        inner.find_strange(way, &mut books);
        books
    }
}

impl Inner {
    /// How often a letter may have come to these servers besides the one time.
    fn excuses(&self, carried: Carried, servers: &[String]) -> u64 {
        let each = servers
            .iter()
            .map(|server| self.excuses_at(carried, server));
        each.sum()
    }

    fn excuses_at(&self, carried: Carried, server: &str) -> u64 {
        let key = (carried, server.to_owned());
        self.excuses.get(&key).copied().unwrap_or(0)
    }

    fn excuse(&mut self, carried: Carried, server: String) {
        *self.excuses.entry((carried, server)).or_default() += 1;
    }

    /// What a node has read within a time may not be on its disk.
    fn may_have_lost(&mut self, node: &str, within: Duration) {
        let now = Instant::now();
        let lately = self.lately.get_mut(node).into_iter().flatten();
        let lost = lately.filter(|noted| !noted.is_excused && now - noted.at <= within);
        let lost: Vec<(Carried, String)> = lost
            .map(|noted| {
                noted.is_excused = true;
                (noted.carried, noted.server.clone())
            })
            .collect();
        for (carried, server) in lost {
            self.excuse(carried, server);
        }
    }

    fn close_letter(
        &self,
        token: u64,
        sent: &Sent,
        way: &dyn Fn(&str) -> Way,
        refused_reports: &mut BTreeMap<String, u64>,
        books: &mut Books,
    ) {
        for recipient in &sent.recipients {
            let Way { address, servers } = way(recipient);
            let stored = self.stored.get(&(token, address)).copied().unwrap_or(0);
            let reported = self
                .reported
                .get(&(token, recipient.clone()))
                .copied()
                .unwrap_or(0);
            let letter = Carried {
                token,
                is_report: false,
            };
            let report = Carried {
                token,
                is_report: true,
            };
            let excuses = self.excuses(letter, &servers);
            let about = format!("letter {token} from {} for {recipient}", sent.sender);
            let refused = refused_reports
                .get_mut(&sent.sender)
                .filter(|refused| **refused > 0);
            if sent.known != Known::Taken || stored + reported > 0 {
            } else if !Plan::can_be_told(&sent.sender) {
                books.unreportable += 1;
            } else if let Some(refused) = refused {
                *refused -= 1;
                books.unreportable += 1;
            } else {
                books.lost += 1;
                books.violations.push(format!("lost: {about}"));
            }
            let more = stored.saturating_sub(1);
            if more > excuses {
                books.unexplained_duplicates += more - excuses;
                books.violations.push(format!(
                    "unexplained duplicate: {about} was stored {stored} times, with {excuses} excuses"
                ));
            }
            books.explained_duplicates += more.min(excuses);
            if stored > 0 && reported > 0 && excuses == 0 {
                books
                    .violations
                    .push(format!("stored and reported as failed: {about}"));
            }
            let home = way(&sent.sender).servers;
            // A letter that came twice to an alias may fail twice behind it.
            let forwarded_again = self.excuses(letter, servers.get(1..).unwrap_or_default());
            if reported > 1 + self.excuses(report, &home) + forwarded_again {
                books
                    .violations
                    .push(format!("reported {reported} times: {about}"));
            }
            if sent.known == Known::Refused && stored + reported > 0 {
                books
                    .violations
                    .push(format!("refused, and came all the same: {about}"));
            }
        }
    }

    /// What arrived or was reported, and was never sent to there.
    fn find_strange(&self, way: &dyn Fn(&str) -> Way, books: &mut Books) {
        for (token, recipient) in self.stored.keys() {
            let expected = self.sent.get(token).is_some_and(|sent| {
                let places = sent
                    .recipients
                    .iter()
                    .map(|recipient| way(recipient).address);
                places.collect::<BTreeSet<_>>().contains(recipient)
            });
            if !expected {
                books
                    .violations
                    .push(format!("letter {token} was not sent to {recipient}"));
            }
        }
        for (token, recipient) in self.reported.keys() {
            let sent = self.sent.get(token);
            if !sent.is_some_and(|sent| sent.recipients.contains(recipient)) {
                books
                    .violations
                    .push(format!("a report about letter {token} for {recipient}"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(recipient: &str) -> Way {
        Way {
            address: recipient.to_owned(),
            servers: vec!["server".to_owned()],
        }
    }

    fn ledger() -> Ledger {
        let ledger = Ledger::default();
        ledger.sending(1, "a");
        ledger.known(1, vec!["b".to_owned()], Known::Taken);
        ledger
    }

    fn passage() -> Passage {
        Passage {
            client: "client".to_owned(),
            server: "server".to_owned(),
        }
    }

    const LETTER: Carried = Carried {
        token: 1,
        is_report: false,
    };

    #[test]
    fn taken_and_neither_stored_nor_reported_is_lost() {
        let books = ledger().close(&place);
        assert_eq!((books.lost, books.violations.len()), (1, 1));
        let stored = ledger();
        stored.stored(1, "b");
        assert!(stored.close(&place).violations.is_empty());
        let reported = ledger();
        reported.reported(1, "b");
        assert!(reported.close(&place).violations.is_empty());
    }

    #[test]
    fn a_duplicate_needs_a_reply_that_was_not_read() {
        let ledger = ledger();
        ledger.stored(1, "b");
        ledger.stored(1, "b");
        assert_eq!(ledger.close(&place).unexplained_duplicates, 1);
        ledger.unanswered(&passage(), LETTER);
        let books = ledger.close(&place);
        assert_eq!(
            (books.unexplained_duplicates, books.explained_duplicates),
            (0, 1)
        );
        assert!(books.violations.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_that_stops_may_not_have_noted_the_reply() {
        let ledger = ledger();
        ledger.stored(1, "b");
        ledger.stored(1, "b");
        ledger.answered(&passage(), LETTER);
        tokio::time::advance(NOTED_WITHIN).await;
        let late = ledger.close(&place);
        assert_eq!(late.unexplained_duplicates, 1);
        ledger.stopped("client");
        assert_eq!(ledger.close(&place).unexplained_duplicates, 0);
    }

    #[test]
    fn a_letter_that_came_twice_to_an_alias_may_fail_twice() {
        let alias = |recipient: &str| Way {
            servers: vec!["behind".to_owned(), "server".to_owned()],
            ..place(recipient)
        };
        let ledger = ledger();
        ledger.reported(1, "b");
        ledger.reported(1, "b");
        assert_eq!(ledger.close(&alias).violations.len(), 1);
        ledger.unanswered(&passage(), LETTER);
        assert!(ledger.close(&alias).violations.is_empty());
        // One that came twice to the server of its recipient may not.
        assert_eq!(ledger.close(&place).violations.len(), 1);
    }

    #[test]
    fn one_report_for_a_failure() {
        let ledger = ledger();
        ledger.reported(1, "b");
        ledger.reported(1, "b");
        ledger.reported(1, "other");
        assert_eq!(ledger.close(&place).violations.len(), 2);
    }
}
