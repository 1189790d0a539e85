//! The worker: looks for due letters, claims what the planner allows, starts the work on each, keeps
//! the leases alive, and stops gracefully.
//!
//! One task owns all state; every claim in work is a task of its own that ends in a settlement.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use base::ports::{Clock, Entropy};
use base::{Domain, Timestamp};
use store::{Claim, ClaimRef, Lane, QueueNews, QueueSignal, Store, StoreError};
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use super::QueueContext;
use super::agenda::Agenda;
use super::lookout::Lookout;
use super::metrics::QueueMetrics;
use super::planner::{Admission, DueWork, Place, Planner, Verdict};
use super::settings::QueueSettings;
use super::work;
use crate::route::{Own, Router};
use crate::sign::Signer;
use crate::smtp_out::Outbound;

/// How long the worker sleeps at most: a wake-up that was lost costs no more.
const LOOK_SPAN: Duration = Duration::from_secs(5);
/// The least time between two looks that wake-ups ask for: each new letter is one.
const LOOK_PAUSE: Duration = Duration::from_millis(5);
/// The least time between two plans for all that is known, while there is more than room: so that
/// letters are claimed in lots.
const CROWDED_PAUSE: Duration = Duration::from_millis(20);
/// Plans for all that is known take at most this part of the time.
const PLAN_DIVISOR: u32 = 20;
/// Domains are claimed from in so many transactions at once, which the store commits together.
const CLAIMS_AT_ONCE: usize = 32;
/// How long it waits when the store fails.
const STORE_PAUSE: Duration = Duration::from_secs(1);
/// How often connections without work are looked at.
const IDLE_SPAN: Duration = Duration::from_secs(1);
/// How long the last settlements may take after the grace is over.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(10);

/// What all claims in work share.
pub(super) struct Shared {
    pub(super) store: Store,
    pub(super) router: Router,
    pub(super) outbound: Outbound,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) entropy: Arc<dyn Entropy>,
    pub(super) settings: QueueSettings,
    pub(super) own: Own,
    pub(super) signer: Signer,
    pub(super) metrics: QueueMetrics,
    /// Cancelled when the grace of a stop is over: what was not handed over by then is given back.
    pub(super) cut_off: CancellationToken,
}

struct Worker {
    shared: Arc<Shared>,
    planner: Planner,
    lookout: Lookout,
    agenda: Agenda,
    /// Claims that wait for their turn, by destination.
    waiting: BTreeMap<Domain, VecDeque<Claim>>,
    /// Claims in work.
    tasks: JoinSet<Verdict>,
    /// Which claim a task works on. Never iterated: ids have no order.
    claims: HashMap<Id, Claim>,
    /// All claims in hand, whose leases are kept alive.
    leases: BTreeMap<ClaimRef, (Domain, Lane)>,
    /// When, by the clock that leases go by, all of them were surely alive.
    renewed: Timestamp,
    goodbyes: JoinSet<()>,
    /// When the store is to be looked at next.
    look_at: Instant,
    looked_at: Instant,
    /// Whether something is known that may find room now, though nothing has been said of it.
    crowded: bool,
    /// When a plan for all that is known may be made next.
    plan_at: Instant,
    renew_at: Instant,
    idle_at: Instant,
}

/// Why the worker woke up.
enum Wake {
    Stop,
    Finished(Result<(Id, Verdict), JoinError>),
    Signal,
    Time,
}

/// Works on the queue until `stop` is cancelled, then finishes what it can within the grace and
/// gives the rest back.
pub async fn run(context: QueueContext, stop: CancellationToken) {
    let mut signal = context.store.queue_signal();
    let shared = shared(context);
    let mut worker = Worker::new(Arc::new(shared));
    loop {
        match worker.wait(&mut signal, &stop).await {
            Wake::Stop => break,
            Wake::Finished(result) => worker.finished(result).await,
            Wake::Signal => worker.woken(),
            Wake::Time => {}
        }
        worker.step(&signal).await;
    }
    worker.stop().await;
}

fn shared(context: QueueContext) -> Shared {
    let QueueContext {
        store,
        resolver,
        connector,
        clock,
        entropy,
        settings,
        own,
        metrics,
        policies,
        ledger,
    } = context;
    Shared {
        router: Router::new(
            resolver,
            Arc::clone(&clock),
            own.clone(),
            settings.port,
            settings.smarthost.clone(),
            settings.routes.clone(),
        )
        .with_policies(policies)
        .with_sender_routes(settings.sender_routes.clone())
        .with_backup(settings.backup.clone()),
        outbound: Outbound::new(
            connector,
            Arc::clone(&clock),
            Arc::clone(&entropy),
            own.hostname.clone(),
            settings.clone(),
        )
        .with_ledger(ledger),
        metrics: QueueMetrics::new(&metrics),
        signer: Signer::new(store.clone(), Arc::clone(&clock)),
        cut_off: CancellationToken::new(),
        store,
        clock,
        entropy,
        settings,
        own,
    }
}

impl Worker {
    fn new(shared: Arc<Shared>) -> Self {
        let now = Instant::now();
        Self {
            planner: Planner::new(shared.settings.clone()),
            lookout: Lookout::new(shared.store.clone(), counted_max(&shared.settings)),
            agenda: Agenda::default(),
            waiting: BTreeMap::new(),
            tasks: JoinSet::new(),
            claims: HashMap::new(),
            leases: BTreeMap::new(),
            renewed: shared.clock.now(),
            goodbyes: JoinSet::new(),
            look_at: now,
            looked_at: now,
            crowded: false,
            plan_at: now,
            renew_at: now + shared.settings.lease / 3,
            idle_at: now + IDLE_SPAN,
            shared,
        }
    }

    /// Waits for something to do.
    async fn wait(&mut self, signal: &mut QueueSignal, stop: &CancellationToken) -> Wake {
        let mut next = self.look_at.min(self.renew_at).min(self.lookout.sweep_at());
        if self.crowded {
            next = next.min(self.plan_at);
        }
        if self.shared.outbound.has_idle() {
            next = next.min(self.idle_at);
        }
        tokio::select! {
            biased;
            () = stop.cancelled() => Wake::Stop,
            Some(result) = self.tasks.join_next_with_id() => Wake::Finished(result),
            () = signal.woken() => Wake::Signal,
            () = sleep_until(next) => Wake::Time,
        }
    }

    /// The queue has changed: a look soon, and at once if there was none just now.
    fn woken(&mut self) {
        self.look_at = self.look_at.min(self.looked_at + LOOK_PAUSE);
    }

    /// Does whatever is due.
    async fn step(&mut self, signal: &QueueSignal) {
        // All that has finished frees its room before the next look.
        while let Some(result) = self.tasks.try_join_next_with_id() {
            self.finished(result).await;
        }
        self.start();
        let now = Instant::now();
        if now >= self.renew_at {
            self.renew().await;
            self.renew_at = Instant::now() + self.shared.settings.lease / 3;
        }
        if now >= self.idle_at {
            self.end_idle_connections(false);
            self.idle_at = Instant::now() + IDLE_SPAN;
        }
        let looks = now >= self.look_at || now >= self.lookout.sweep_at();
        if looks {
            self.look_at = match self.look(signal.news()).await {
                Ok(at) => at,
                Err(error) => {
                    error!(%error, "the queue cannot be read");
                    Instant::now() + STORE_PAUSE
                }
            };
            self.looked_at = Instant::now();
        }
        if self.agenda.has_wanting() || self.crowded || looks {
            self.share_out().await;
            self.start();
        }
        self.shared.metrics.in_hand(self.planner.in_hand());
        let port_is_blocked = self.shared.outbound.port_is_blocked();
        self.shared
            .metrics
            .port_blocked
            .set(i64::from(port_is_blocked));
    }

    /// Looks for due letters; when to look again.
    async fn look(&mut self, news: QueueNews) -> Result<Instant, StoreError> {
        let now = self.shared.clock.now();
        let told_at = news.next_at;
        let next = self.lookout.look(now, news, &mut self.agenda).await?;
        self.lookout.sweep(now, &mut self.agenda).await?;
        self.crowded |= !self.agenda.is_empty();
        let later = Instant::now() + LOOK_SPAN;
        let at = |time: Timestamp| Instant::now() + time.since(now);
        let times = [next, told_at.map(at), self.planner.pause_ends(now).map(at)];
        Ok(times.into_iter().flatten().fold(later, Instant::min))
    }

    /// Claims what there is room for: of all that is known, or, where the node has room for
    /// everybody, of the destinations that have room for more.
    async fn share_out(&mut self) {
        let now = self.shared.clock.now();
        let begun = Instant::now();
        let for_all = self.crowded && begun >= self.plan_at;
        let works = match for_all {
            true => self.agenda.works(),
            // Who comes first gets nothing before the others have had their turn.
            false if self.planner.is_crowded() => return,
            false => self.agenda.take_wanting(),
        };
        if works.is_empty() {
            if for_all {
                self.crowded = false;
                self.show(now);
            }
            return;
        }
        if !self.keeps_leases(now).await {
            self.plan_at = begun + STORE_PAUSE;
            self.crowded = true;
            return;
        }
        let wanted = self.planner.plan(now, &works);
        if for_all {
            self.agenda.take_wanting();
            // What found no room finds it when something ends.
            self.crowded = false;
            self.show(now);
        }
        if !wanted.is_empty() {
            self.claim(now, wanted, &works).await;
        }
        if for_all {
            let ended = Instant::now();
            self.plan_at = ended + CROWDED_PAUSE.max((ended - begun) * PLAN_DIVISOR);
        }
    }

    fn show(&self, now: Timestamp) {
        let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        let metrics = &self.shared.metrics;
        metrics.due.set(number(self.agenda.letters()));
        metrics.blocked.set(number(self.planner.blocked(now)));
        metrics.paused.set(number(self.planner.paused(now)));
    }

    /// Claims from all lanes at once, so that their transactions are committed together. What one
    /// of them fails to claim is still due, and is asked for again.
    async fn claim(&mut self, now: Timestamp, wanted: Vec<Wanted>, works: &[DueWork]) {
        let mut claiming = JoinSet::new();
        for some in wanted.chunks(wanted.len().div_ceil(CLAIMS_AT_ONCE).max(1)) {
            let (store, lease) = (self.shared.store.clone(), self.shared.settings.lease);
            let some = some.to_vec();
            claiming.spawn(async move {
                let claimed = store.claim_lanes(now, lease, &some).await;
                (some, claimed)
            });
        }
        let mut letters = 0;
        while let Some(claimed) = claiming.join_next().await {
            match claimed {
                Ok((asked, Ok(claims))) => {
                    letters += claims.len();
                    self.take(now, asked, claims, works);
                }
                Ok((_, Err(error))) => {
                    error!(%error, "letters cannot be claimed");
                    self.crowded = true;
                    self.plan_at = Instant::now() + STORE_PAUSE;
                }
                Err(error) => error!(%error, "claiming letters panicked"),
            }
        }
        debug!(letters, lanes = wanted.len(), "claimed");
    }

    /// Takes claims in hand.
    fn take(&mut self, now: Timestamp, asked: Vec<Wanted>, claims: Vec<Claim>, works: &[DueWork]) {
        for (domain, lane, count) in asked {
            let got = claims
                .iter()
                .filter(|claim| claim.domain == domain && claim.lane == lane)
                .count();
            self.agenda.claimed(&(domain, lane), count, got);
        }
        for claim in claims {
            let place = place_of(works, &claim.domain);
            let key = (claim.domain.clone(), claim.lane.clone());
            self.planner.claimed(now, (&key.0, &key.1), place, 1);
            if claim.recipients.iter().all(|to| to.attempts > 0) {
                self.planner.was_tried(&claim.domain);
            }
            self.leases.insert(claim.reference, key);
            self.waiting
                .entry(claim.domain.clone())
                .or_default()
                .push_back(claim);
        }
    }

    /// Starts work on waiting claims as far as the planner admits.
    fn start(&mut self) {
        let now = self.shared.clock.now();
        let (planner, shared) = (&mut self.planner, &self.shared);
        for (domain, waiting) in &mut self.waiting {
            while !waiting.is_empty() {
                let admission = planner.admit(now, domain);
                if admission == Admission::Wait {
                    break;
                }
                let Some(claim) = waiting.pop_front() else {
                    break;
                };
                let place = planner.place(domain);
                let task = work_on(Arc::clone(shared), claim.clone(), admission, place);
                let id = self.tasks.spawn(task).id();
                self.claims.insert(id, claim);
            }
        }
        self.waiting.retain(|_, waiting| !waiting.is_empty());
    }

    /// A task has ended: its room is free, and the planner learns.
    async fn finished(&mut self, result: Result<(Id, Verdict), JoinError>) {
        let (id, verdict) = match result {
            Ok((id, verdict)) => (id, Some(verdict)),
            Err(error) => (error.id(), None),
        };
        let Some(claim) = self.claims.remove(&id) else {
            debug_assert!(false, "every task has its claim");
            return;
        };
        self.leases.remove(&claim.reference);
        let (domain, lane) = (claim.domain.clone(), claim.lane.clone());
        let verdict = match verdict {
            Some(verdict) => verdict,
            None => {
                self.shared.metrics.faults.inc();
                error!(letter = %claim.reference.letter, %domain, "the work on a letter panicked");
                work::give_up_on(&self.shared, claim).await;
                Verdict::NotTried
            }
        };
        if let Verdict::Down(failure) = &verdict {
            info!(%domain, reason = %failure, "destination does not answer");
        }
        let now = self.shared.clock.now();
        self.planner.finished(now, (&domain, &lane), verdict);
        self.crowded |= self.planner.is_crowded();
        if self.planner.wants_more(now, &domain) {
            self.agenda.note_room(&domain);
        }
    }

    /// Whether no lease in hand has ended at this time. One that has would be claimed again by this
    /// very node, and its letter sent twice: after the clock has jumped forward, or while the store
    /// could not be written.
    async fn keeps_leases(&mut self, now: Timestamp) -> bool {
        let half_over = now.since(self.renewed) >= self.shared.settings.lease / 2;
        if !half_over || self.leases.is_empty() {
            if self.leases.is_empty() {
                self.renewed = now;
            }
            return true;
        }
        self.renew().await
    }

    /// Keeps all leases alive; whether the store has heard it. A claim that waits and is lost is
    /// dropped; one in work goes on, and its settlement will change nothing.
    async fn renew(&mut self) -> bool {
        let all: Vec<ClaimRef> = self.leases.keys().copied().collect();
        let now = self.shared.clock.now();
        if all.is_empty() {
            self.renewed = now;
            return true;
        }
        let lost = match self
            .shared
            .store
            .renew(&all, now, self.shared.settings.lease)
            .await
        {
            Ok(lost) => lost,
            Err(error) => {
                warn!(%error, "leases cannot be renewed");
                return false;
            }
        };
        self.renewed = now;
        for reference in lost {
            let Some((domain, lane)) = self.leases.remove(&reference) else {
                continue;
            };
            // One in work may also have been settled this moment.
            let Some(waiting) = self.waiting.get_mut(&domain) else {
                continue;
            };
            let before = waiting.len();
            waiting.retain(|claim| claim.reference != reference);
            if waiting.len() < before {
                warn!(letter = %reference.letter, %domain, "a claim that waited was lost");
                self.planner.released((&domain, &lane));
            }
        }
        true
    }

    fn end_idle_connections(&mut self, all: bool) {
        while self.goodbyes.try_join_next().is_some() {}
        for session in self.shared.outbound.take_idle(all) {
            let clock = Arc::clone(&self.shared.clock);
            self.goodbyes
                .spawn(async move { session.quit(clock.as_ref()).await });
        }
    }

    /// Gives back what waits, lets transfers finish within the grace, and gives the rest back too.
    async fn stop(mut self) {
        let mut given_back = 0_usize;
        let waiting = std::mem::take(&mut self.waiting);
        let mut releases = JoinSet::new();
        for claim in waiting.into_values().flatten() {
            given_back += 1;
            let shared = Arc::clone(&self.shared);
            releases.spawn(async move { work::release(&shared, claim).await });
        }
        let grace_ends = Instant::now() + self.shared.settings.stop_grace;
        while !self.tasks.is_empty() {
            tokio::select! {
                biased;
                result = self.tasks.join_next_with_id() => {
                    if let Some(Ok((id, _))) = result {
                        self.claims.remove(&id);
                    }
                }
                () = sleep_until(self.renew_at) => {
                    self.renew().await;
                    self.renew_at = Instant::now() + self.shared.settings.lease / 3;
                }
                () = sleep_until(grace_ends) => break,
            }
        }
        // The tasks are not aborted: one whose letter was taken this moment must still settle that,
        // or the letter would be sent twice. The others give their claims back themselves.
        given_back += self.tasks.len();
        self.shared.cut_off.cancel();
        self.end_idle_connections(true);
        let settled = timeout(RELEASE_TIMEOUT, async {
            while self.tasks.join_next().await.is_some() {}
            while releases.join_next().await.is_some() {}
            while self.goodbyes.join_next().await.is_some() {}
        });
        if settled.await.is_err() {
            warn!("the last claims could not be given back in time; their leases will end");
        }
        info!(given_back, "the queue has stopped");
    }
}

async fn work_on(shared: Arc<Shared>, claim: Claim, admission: Admission, place: Place) -> Verdict {
    match (admission, place) {
        (Admission::Defer { until, failure }, _) => {
            work::defer(&shared, claim, &failure, until).await
        }
        (Admission::Start | Admission::Wait, Place::Here) => {
            work::deliver_here(&shared, claim).await
        }
        (Admission::Start | Admission::Wait, Place::Elsewhere) => {
            work::hand_over(&shared, claim).await
        }
    }
}

/// A destination, a lane, and how many letters of it.
type Wanted = (Domain, Lane, usize);

/// Letters of a lane need not be counted further than one claim takes.
fn counted_max(settings: &QueueSettings) -> usize {
    settings
        .letters_in_hand_max
        .max(settings.local_letters_in_hand_max)
}

fn place_of(due: &[DueWork], domain: &Domain) -> Place {
    due.iter()
        .find(|work| work.domain == *domain)
        .map_or(Place::Elsewhere, |work| work.place)
}
