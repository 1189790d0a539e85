//! Handing a letter over to another server by SMTP (RFC 5321 §3.3, §5.1): connections, STARTTLS
//! (RFC 3207, opportunistic as RFC 7435), several letters on one connection, the next address when
//! one does not answer.
//!
//! It does not find routes, and it does not decide about retries: it makes one attempt and tells
//! what became of each recipient.

mod fit;
mod memory;
mod outcome;
mod pool;
mod port;
mod session;
mod sources;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base::ports::{BoxFuture, Clock, Connector, Entropy, TlsInfo};
use base::{Domain, Timestamp};
use bytes::Bytes;
use proto::smtp::client::{Event, Outgoing, RecipientOutcome, Step, Timeouts};
use tracing::{info, warn};

use crate::queue::failure::{Failure, Peer, Status};
use crate::queue::planner::{Trouble, Verdict, says_too_many_recipients, trouble_of_reply};
use crate::queue::settings::{QueueSettings, TlsPolicy};
use crate::route::{Proof, Proven, Route, Wanted};
use crate::tlsrpt::{Fault, Ledger};
use memory::Memory;
use pool::Pool;
use port::{Change, PortWatch};
use session::{Problem, Session, SessionSettings};
pub use sources::{Choice, Source, Sources};

/// Addresses that are tried in one attempt. A route may have more; they come in turn with the next
/// attempts, as equal ones are shuffled and silent ones go last.
const ADDRESSES_TRIED_MAX: usize = 6;
/// Servers that are asked about a recipient in one attempt, when the first answers "not now".
const SERVERS_ASKED_MAX: usize = 2;
/// How long a letter waits for one of the connections to an address.
const CONNECTION_WAIT: Duration = Duration::from_secs(60);

/// Hands letters over; shared by all transfers of a node.
pub struct Outbound {
    connector: Arc<dyn Connector>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    hostname: Domain,
    settings: QueueSettings,
    timeouts: Timeouts,
    pool: Pool,
    memory: Memory,
    ledger: Ledger,
    port: Mutex<PortWatch>,
}

/// What became of one attempt.
#[derive(Debug)]
pub struct Transfer {
    /// What it says about the destination.
    pub verdict: Verdict,
    /// What became of each recipient, in the order of the letter's recipients.
    pub results: Vec<RecipientResult>,
    /// The connections that were opened, reused or not to be had, for the journey.
    pub connections: Vec<(Timestamp, String)>,
}

/// What became of one recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecipientResult {
    /// The server has taken the responsibility.
    Taken(Taken),
    /// It has not.
    Failed(Failure),
}

/// How a letter was handed over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// To whom.
    pub peer: Peer,
    /// Whether encrypted.
    pub tls: Option<TlsInfo>,
    /// How it proved itself.
    pub proven: Proven,
    /// Its reply to the letter.
    pub reply: String,
    /// Whether it sends the reports that were asked for (RFC 3461 §5.2.1).
    pub reports: bool,
}

/// Makes what goes before a letter that is sent in another form than it was given.
pub(crate) trait Dressing: Sync {
    /// The fields for the converted letter; may be empty.
    fn fields(&self, converted: Bytes) -> BoxFuture<'_, Bytes>;
}

/// What goes before a letter: signatures, which hold for the letter as it was given.
#[derive(Clone)]
pub(crate) struct Dressed<'a> {
    /// The fields.
    pub(crate) fields: Bytes,
    /// Makes them anew for another form of the letter (RFC 6376 §5.3).
    pub(crate) anew: &'a dyn Dressing,
}

/// The work on one letter over the addresses of a route.
struct Attempt<'a> {
    outgoing: Outgoing,
    dressed: Option<Dressed<'a>>,
    /// The last word about each recipient.
    results: Vec<Option<RecipientResult>>,
    /// The recipients that another server may still be asked about.
    open: Vec<usize>,
    connections: Vec<(Timestamp, String)>,
    /// Servers that answered to the letter.
    asked: BTreeSet<Domain>,
    /// The worst that a server said or did that puts letters off.
    trouble: Trouble,
    /// What that was.
    struggle: Option<Failure>,
    /// Why the last server could not be asked at all.
    unreachable: Option<Failure>,
    /// Whether it is for a reason of ours that some server could not be asked.
    ours: bool,
    /// Whether every server that could not be asked refused for good.
    refused_for_good: bool,
    /// Sessions that have heard of the letter; they say nothing more until it is settled.
    held: Held,
}

/// Sessions that wait until the letter they carried is settled. A server takes the next command on
/// a connection as the sign that its reply was heard. Were that command sent before the settlement
/// is on disk, a crash in between would send the letter twice.
#[derive(Default)]
pub(crate) struct Held(Vec<Session>);

impl Outbound {
    /// Nothing is connected yet.
    #[must_use]
    pub fn new(
        connector: Arc<dyn Connector>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        hostname: Domain,
        settings: QueueSettings,
    ) -> Self {
        let pool = Pool::new(
            settings.connections_per_address_max,
            settings.connections_max,
        );
        Self {
            connector,
            clock,
            entropy,
            hostname,
            settings,
            timeouts: Timeouts::default(),
            pool,
            memory: Memory::default(),
            ledger: Ledger::default(),
            port: Mutex::default(),
        }
    }

    /// The same, which counts in this ledger what becomes of TLS.
    #[must_use]
    pub fn with_ledger(mut self, ledger: Ledger) -> Self {
        self.ledger = ledger;
        self
    }

    /// Makes one attempt to hand a letter over, for who has nothing to settle.
    ///
    /// Not cancellation safe: if it is dropped after the letter's final dot, the letter may have
    /// been taken.
    pub async fn transfer(&self, route: &Route, outgoing: Outgoing) -> Transfer {
        let (transfer, held) = self.transfer_and_hold(route, outgoing, None).await;
        self.let_go(held).await;
        transfer
    }

    /// Lets sessions go on to the next letter, or ends them.
    pub(crate) async fn let_go(&self, held: Held) {
        for session in held.0 {
            let told = session.client.extensions().letters_max;
            let letters_max = self.settings.letters_per_connection_max;
            // RFC 9422 §4.1 MAILMAX.
            let letters_max = letters_max.min(told.unwrap_or(usize::MAX));
            if session.client.is_ready() && session.letters < letters_max {
                self.pool.keep(self.clock.now(), session);
            } else {
                session.quit(self.clock.as_ref()).await;
            }
        }
    }

    /// Makes one attempt to hand a letter over; the sessions wait for [`Self::let_go`].
    pub(crate) async fn transfer_and_hold(
        &self,
        route: &Route,
        outgoing: Outgoing,
        dressed: Option<Dressed<'_>>,
    ) -> (Transfer, Held) {
        let mut attempt = Attempt::new(outgoing, dressed);
        let (peers, unfit) = self.peers(route, &attempt.outgoing);
        if let Some(failure) = unfit {
            attempt.not_from_here(self.clock.now(), failure);
        }
        for (peer, wanted) in peers {
            if attempt.is_over(&peer) {
                continue;
            }
            // A connection that was kept may have been closed meanwhile: that is no failure of the
            // server, and a fresh one is made.
            let mut kept = self.pool.take(&peer, &wanted);
            loop {
                let reused = kept.is_some();
                let session = match kept.take() {
                    Some(session) => Ok(session),
                    None => self.open(route, (&peer, &wanted), &mut attempt).await,
                };
                match session {
                    Ok(session) => {
                        let stale = self.hand_over(session, reused, &mut attempt).await;
                        if !stale {
                            break;
                        }
                    }
                    Err(failure) => {
                        attempt.unreachable(self.clock.now(), failure);
                        break;
                    }
                }
            }
        }
        let held = std::mem::take(&mut attempt.held);
        (attempt.finish(), held)
    }

    /// Takes connections out that have had no work for long enough, or all; each is to be ended
    /// with [`Session::quit`].
    #[must_use]
    pub(crate) fn take_idle(&self, all: bool) -> Vec<Session> {
        let idle_max = if all {
            Duration::ZERO
        } else {
            self.settings.connection_idle
        };
        self.pool.take_idle(self.clock.now(), idle_max)
    }

    /// Whether any connection is kept for the next letter.
    #[must_use]
    pub(crate) fn has_idle(&self) -> bool {
        self.pool.has_idle()
    }

    /// The addresses in the order of this attempt: those that were silent just now go last, and
    /// those with a connection that waits for work go first among the best.
    ///
    /// Beside each stands what a connection to it must have. Servers that the sender's pool of
    /// addresses cannot reach are left out; if those are all, why.
    fn peers(&self, route: &Route, outgoing: &Outgoing) -> (Vec<(Peer, Wanted)>, Option<Failure>) {
        let now = self.clock.now();
        let mut peers: Vec<(Peer, Wanted)> = route
            .attempts(self.entropy.as_ref())
            .into_iter()
            .filter_map(|peer| Some((self.wanted(route, &peer, outgoing)?, peer)))
            .map(|(wanted, peer)| (peer, wanted))
            .collect();
        let best = route.hosts.first().map(|host| host.preference);
        let is_best = |peer: &Peer| {
            route
                .hosts
                .iter()
                .any(|host| host.name == peer.host && Some(host.preference) == best)
        };
        peers.sort_by_cached_key(|(peer, wanted)| {
            (
                self.memory.is_silent(now, peer.address),
                !(is_best(peer) && self.pool.has_for(peer, wanted)),
            )
        });
        peers.truncate(ADDRESSES_TRIED_MAX);
        let text = "the addresses from which the sender's letters leave are of another family \
                    (IPv4, IPv6) than those of the server";
        let unfit = peers
            .is_empty()
            .then(|| Failure::temporary(Status(4, 4, 4), text));
        (peers, unfit)
    }

    /// What a connection to this server must have; `None`: it cannot be made from the addresses that
    /// the sender's letters leave from.
    fn wanted(&self, route: &Route, peer: &Peer, outgoing: &Outgoing) -> Option<Wanted> {
        let sender = outgoing.reverse_path.as_ref().map(|from| &from.domain);
        let first = outgoing.recipients.first();
        let destination = first.map_or(&peer.host, |to| &to.address.domain);
        let sources = &self.settings.sources;
        let source = match sources.choose(sender, destination, peer.address.ip()) {
            Choice::Any => None,
            Choice::From(source) => Some(source),
            Choice::None => return None,
        };
        Some(Wanted {
            source,
            ..route.wanted(&peer.host)
        })
    }

    /// Opens a connection to one address and brings it to where a letter can be sent.
    async fn open(
        &self,
        route: &Route,
        (peer, wanted): (&Peer, &Wanted),
        attempt: &mut Attempt<'_>,
    ) -> Result<Session, Failure> {
        if let Proof::Refused(refusal) = &wanted.proof {
            self.count(route, peer, wanted, Some(refusal.into()));
            return Err(refusal.failure().at(peer.clone()));
        }
        let slot = self.pool.slot(peer.address, wanted);
        let Ok(Ok(permit)) = tokio::time::timeout(CONNECTION_WAIT, slot.acquire_owned()).await
        else {
            attempt.trouble = Trouble::REFUSAL;
            let text = "all connections to it are busy";
            return Err(Failure::temporary(Status(4, 4, 5), text).at(peer.clone()));
        };
        let started_at = self.clock.now();
        let mut policy = wanted.tls;
        if policy == TlsPolicy::Opportunistic && self.memory.breaks_tls(started_at, peer.address) {
            policy = TlsPolicy::Never;
        }
        let settings = SessionSettings {
            wanted: Wanted {
                tls: policy,
                ..wanted.clone()
            },
            login_in_clear: route.tls == TlsPolicy::Never,
            lmtp: route.lmtp,
        };
        let mut opened = self.connect(peer, &settings).await;
        if let Some(fault) = fault_of(&opened, wanted) {
            self.count(route, peer, wanted, fault);
        }
        if let Err(problem) = &opened
            && problem.broke_tls
            && policy == TlsPolicy::Opportunistic
        {
            // RFC 7435 §3: better in clear than not at all; the address is remembered.
            self.memory.remember_broken_tls(started_at, peer.address);
            attempt
                .connections
                .push((started_at, format!("{}; in clear then", problem.failure)));
            let settings = SessionSettings {
                wanted: Wanted {
                    tls: TlsPolicy::Never,
                    ..wanted.clone()
                },
                ..settings
            };
            opened = self.connect(peer, &settings).await;
        }
        let took = self.clock.now().since(started_at);
        match opened {
            Ok(mut session) => {
                self.watch_port(|port| port.answered(peer.address));
                session.permit = Some(permit);
                session.wanted = wanted.clone();
                self.memory.forget_silence(peer.address);
                let text = format!("{}, in {} ms", session.describe(), took.as_millis());
                attempt.connections.push((started_at, text));
                Ok(session)
            }
            Err(problem) if problem.ours => {
                attempt.ours = true;
                Err(problem.failure)
            }
            Err(problem) => Err(self.not_opened(peer, started_at, problem)),
        }
    }

    /// What is remembered of an address that could not be used.
    fn not_opened(&self, peer: &Peer, started_at: Timestamp, problem: Problem) -> Failure {
        let mut failure = problem.failure;
        if problem.silent {
            self.memory.remember_silence(started_at, peer.address);
            self.watch_port(|port| port.failed(started_at, peer.address));
            if self.port_is_blocked() {
                failure.text.push_str(port::HINT);
            }
        } else {
            self.watch_port(|port| port.answered(peer.address));
        }
        failure
    }

    /// Whether port 25 of all other servers seems to be out of reach.
    #[must_use]
    pub(crate) fn port_is_blocked(&self) -> bool {
        let port = self.port.lock().unwrap_or_else(PoisonError::into_inner);
        port.is_blocked()
    }

    fn watch_port(&self, tell: impl FnOnce(&mut PortWatch) -> Change) {
        let mut port = self.port.lock().unwrap_or_else(PoisonError::into_inner);
        match tell(&mut port) {
            Change::None => {}
            Change::Blocked => warn!(
                "no server answers on port 25, whatever its network: outgoing port 25 seems to be \
                 blocked; ask the provider of this server to open it, or set outbound.smarthost"
            ),
            Change::Open => info!("outgoing port 25 is open"),
        }
    }

    /// Counts for the reports to the domain (RFC 8460).
    fn count(&self, route: &Route, peer: &Peer, wanted: &Wanted, fault: Option<Fault>) {
        if let Some(destination) = &route.destination {
            let now = self.clock.now();
            self.ledger
                .note(now, destination, (peer, &wanted.proof), fault);
        }
    }

    /// Sends the letter on a session, and holds the session if the letter was taken. Whether the
    /// session turned out to be closed already, before the server heard of the letter.
    async fn hand_over(
        &self,
        mut session: Session,
        reused: bool,
        attempt: &mut Attempt<'_>,
    ) -> bool {
        if reused {
            let text = format!("{}, open already", session.describe());
            attempt.connections.push((self.clock.now(), text));
        }
        let taken_before = attempt.taken();
        let mut waiting = std::mem::take(&mut attempt.open);
        let mut first = true;
        while !waiting.is_empty() {
            // RFC 9422 §4.2 RCPTMAX: the rest comes in another transaction.
            let most = session.client.extensions().recipients_max;
            let rest = waiting.split_off(waiting.len().min(most.unwrap_or(usize::MAX)));
            let now = std::mem::replace(&mut waiting, rest);
            let (outgoing, dressed) = (attempt.outgoing_to(&now), attempt.dressed.as_ref());
            let mut now = now;
            let mut outcomes = self.send(&mut session, outgoing, dressed).await;
            if reused && std::mem::take(&mut first) && attempt.is_stale(&outcomes) {
                attempt.connections.pop();
                attempt.open = now;
                attempt.open.append(&mut waiting);
                return true;
            }
            let mut beyond = match session.client.is_closed() {
                true => Vec::new(),
                false => take_beyond_the_limit(&mut now, &mut outcomes),
            };
            attempt.learn(&session, now, outcomes);
            beyond.append(&mut waiting);
            waiting = beyond;
            if session.client.is_closed() {
                break;
            }
        }
        attempt.open.append(&mut waiting);
        if attempt.taken() > taken_before {
            attempt.held.0.push(session);
        } else {
            // Nothing to settle: no reason to keep others waiting for the connection.
            self.let_go(Held(vec![session])).await;
        }
        false
    }
}

impl Outbound {
    /// Sends the letter to some of its recipients, in a form that the server can take.
    async fn send(
        &self,
        session: &mut Session,
        outgoing: Outgoing,
        dressed: Option<&Dressed<'_>>,
    ) -> Vec<RecipientOutcome> {
        let fitted = fit::for_peer(outgoing, session.client.extensions());
        let (mut outgoing, is_converted) = match fitted {
            Ok(fitted) => fitted,
            Err((recipients, reply)) => return vec![RecipientOutcome::Unfit(reply); recipients],
        };
        if let Some(Dressed { fields, anew }) = dressed {
            let fields = match is_converted {
                true => anew.fields(outgoing.parts.concat().into()).await,
                false => fields.clone(),
            };
            // The seal of a letter with addresses in UTF-8 may need eight bits, too.
            let may_travel = fields.is_ascii() || session.client.extensions().eight_bit_mime;
            if may_travel && !fields.is_empty() {
                outgoing.parts.insert(0, fields);
            }
        }
        session.letters += 1;
        session.client.send(outgoing);
        let mut outcomes = Vec::new();
        loop {
            match session.drive(self.clock.as_ref()).await {
                Event::Done(list) => {
                    outcomes = list;
                    if !session.client.is_closed() {
                        return outcomes;
                    }
                }
                Event::Failed(_) => return outcomes,
                // Neither comes once the session is ready.
                Event::Ready | Event::StartTls => {}
            }
        }
    }
}

/// Takes out the recipients that the server would not have in one transaction with those that it
/// took: they come in the next one (RFC 5321 §4.5.3.1.10).
fn take_beyond_the_limit(
    recipients: &mut Vec<usize>,
    outcomes: &mut Vec<RecipientOutcome>,
) -> Vec<usize> {
    let is_taken = |outcome: &RecipientOutcome| matches!(outcome, RecipientOutcome::Accepted(_));
    if !outcomes.iter().any(is_taken) {
        return Vec::new();
    }
    let all = std::mem::take(recipients).into_iter();
    let (beyond, rest): (Vec<_>, Vec<_>) =
        all.zip(std::mem::take(outcomes))
            .partition(|(_, outcome)| match outcome {
                RecipientOutcome::Refused(reply) => says_too_many_recipients(reply),
                RecipientOutcome::Accepted(_)
                | RecipientOutcome::Unfit(_)
                | RecipientOutcome::Unfinished(_) => false,
            });
    (*recipients, *outcomes) = rest.into_iter().unzip();
    beyond.into_iter().map(|(index, _)| index).collect()
}

/// What a connection says about TLS; `None` when it did not come to that.
fn fault_of(opened: &Result<Session, Problem>, wanted: &Wanted) -> Option<Option<Fault>> {
    match opened {
        Ok(session) => Some(match (&session.fault, &wanted.proof) {
            (Some(fault), _) => Some(*fault),
            (None, Proof::DaneUnusable) => Some(Fault::TlsaInvalid),
            (None, Proof::StsTesting { named: false }) => Some(Fault::Validation),
            (None, _) => None,
        }),
        Err(problem) => problem.fault.map(Some),
    }
}

impl<'a> Attempt<'a> {
    fn new(outgoing: Outgoing, dressed: Option<Dressed<'a>>) -> Self {
        let recipients = outgoing.recipients.len();
        Self {
            outgoing,
            dressed,
            results: vec![None; recipients],
            open: (0..recipients).collect(),
            connections: Vec::new(),
            asked: BTreeSet::new(),
            trouble: Trouble::default(),
            struggle: None,
            unreachable: None,
            ours: false,
            refused_for_good: true,
            held: Held::default(),
        }
    }

    /// Whether nothing is to be asked of this server: all is settled, it said already what it has
    /// to say, or enough servers were asked.
    fn is_over(&self, peer: &Peer) -> bool {
        self.open.is_empty()
            || self.asked.contains(&peer.host)
            || self.asked.len() >= SERVERS_ASKED_MAX
    }

    /// The letter for some of its recipients.
    fn outgoing_to(&self, recipients: &[usize]) -> Outgoing {
        let mut outgoing = self.outgoing.clone();
        if recipients.len() < outgoing.recipients.len() {
            outgoing.recipients = recipients
                .iter()
                .map(|index| self.outgoing.recipients[*index].clone())
                .collect();
        }
        outgoing
    }

    /// Whether the session ended before the server answered anything about the letter.
    fn is_stale(&self, outcomes: &[RecipientOutcome]) -> bool {
        outcomes.iter().all(|outcome| match outcome {
            RecipientOutcome::Unfinished(failure) => {
                outcome::step(failure).is_none_or(|step| step != Step::LetterEnd)
            }
            RecipientOutcome::Accepted(_)
            | RecipientOutcome::Refused(_)
            | RecipientOutcome::Unfit(_) => false,
        })
    }

    /// How many recipients a server has taken the letter for.
    fn taken(&self) -> usize {
        let taken =
            |result: &&Option<RecipientResult>| matches!(result, Some(RecipientResult::Taken(_)));
        self.results.iter().filter(taken).count()
    }

    /// Takes the outcomes of these recipients in.
    fn learn(
        &mut self,
        session: &Session,
        recipients: Vec<usize>,
        outcomes: Vec<RecipientOutcome>,
    ) {
        self.asked.insert(session.peer.host.clone());
        for (index, outcome) in recipients.into_iter().zip(outcomes) {
            let trouble = match &outcome {
                RecipientOutcome::Unfinished(_) => Trouble::REFUSAL,
                RecipientOutcome::Refused(reply) => trouble_of_reply(reply),
                RecipientOutcome::Accepted(_) | RecipientOutcome::Unfit(_) => Trouble::default(),
            };
            let (result, may_ask_another) = outcome::judge(session, outcome);
            if trouble > self.trouble {
                self.trouble = trouble;
                if let RecipientResult::Failed(failure) = &result {
                    self.struggle = Some(failure.clone());
                }
            }
            self.results[index] = Some(result);
            if may_ask_another {
                self.open.push(index);
            }
        }
    }

    /// No server can be asked from our side, which says nothing about the destination.
    fn not_from_here(&mut self, now: Timestamp, failure: Failure) {
        self.unreachable(now, failure);
        self.ours = true;
    }

    fn unreachable(&mut self, now: Timestamp, failure: Failure) {
        // A server that says "not now" as soon as it is called is there, and has too much to do.
        if failure
            .reply
            .as_ref()
            .is_some_and(|reply| reply.starts_with('4'))
        {
            self.trouble = Trouble::REFUSAL;
            self.struggle = Some(failure.clone());
        }
        self.connections.push((now, failure.to_string()));
        self.refused_for_good &= failure.permanent;
        self.unreachable = Some(failure);
    }

    fn finish(self) -> Transfer {
        let mut unreachable = self.unreachable.unwrap_or_else(|| {
            Failure::temporary(Status(4, 4, 1), "no server of the domain could be asked")
        });
        if !self.refused_for_good {
            unreachable = outcome::for_now(unreachable);
        }
        let took =
            |result: &Option<RecipientResult>| matches!(result, Some(RecipientResult::Taken(_)));
        let verdict = if self.results.iter().any(took) {
            Verdict::Took
        } else if !self.trouble.is_none() {
            let failure = self.struggle.unwrap_or_else(|| unreachable.clone());
            Verdict::Struggled(self.trouble, Box::new(outcome::for_now(failure)))
        } else if self.ours && self.asked.is_empty() {
            Verdict::NotTried
        } else if !self.asked.is_empty() || unreachable.permanent {
            Verdict::Answered
        } else {
            Verdict::Down(unreachable.clone())
        };
        Transfer {
            verdict,
            results: self
                .results
                .into_iter()
                .map(|result| {
                    result.unwrap_or_else(|| RecipientResult::Failed(unreachable.clone()))
                })
                .collect(),
            connections: self.connections,
        }
    }
}
