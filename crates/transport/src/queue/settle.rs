//! The end of a claim: from what became of each recipient to one settlement with its outcomes,
//! journey notes and report, and to one log line for each recipient.

use std::time::Duration;

use base::{EmailAddress, Timestamp};
use bytes::Bytes;
use message::write::Action;
use store::{
    AddressNews, Claim, ClaimedRecipient, DeliverByMode, LastAttempt, LocalRecipient, Note, Notify,
    Outcome, QueueRecipient, Settlement, Step, Store, StoreError, Submission,
};
use tracing::{error, info, warn};

use super::backoff::{NextAttempt, next_attempt};
use super::class::FailureClass;
use super::failure::Failure;
use super::suppress;
use super::worker::Shared;
use crate::dsn::{self, About, Item, Reporter, Why};
use crate::smtp_out::Taken;

/// How often a settlement is tried when the store is busy, and how long is waited before.
const SETTLE_PAUSES: [Duration; 4] = [
    Duration::from_millis(50),
    Duration::from_millis(500),
    Duration::from_secs(2),
    Duration::from_secs(10),
];

/// What became of one recipient.
#[derive(Clone, Debug)]
pub(super) enum Ending {
    /// Stored in so many mailboxes here, and forwarded to these addresses.
    Placed {
        mailboxes: usize,
        forwarded: Vec<EmailAddress>,
    },
    /// Handed out to the members of a list, in words.
    HandedOut { told: String },
    /// A list did what the letter asked for, or was right to do nothing; in words.
    Heeded { told: String },
    /// It stays in the queue as another verb has left it.
    Kept,
    /// Handed over to another server.
    Taken(Taken),
    /// Not reached; not to be tried before the time, if there is one.
    Failed {
        failure: Failure,
        not_before: Option<Timestamp>,
    },
    /// Not tried, as the node stops.
    Released,
}

impl Ending {
    pub(super) fn of(failure: Failure) -> Self {
        Self::Failed {
            failure,
            not_before: None,
        }
    }
}

/// All that is known at the end of a claim.
pub(super) struct End {
    pub(super) claim: Claim,
    /// For each recipient of the claim, in order.
    pub(super) endings: Vec<Ending>,
    pub(super) local: Vec<LocalRecipient>,
    pub(super) forwards: Vec<QueueRecipient>,
    /// Letters of ours that go out with the settlement.
    pub(super) letters: Vec<Submission>,
    /// Steps noted on the way (route, connections).
    pub(super) notes: Vec<Note>,
    /// How long the transfer took.
    pub(super) took: Duration,
    /// What a report returns, when the letter was at hand; otherwise it is loaded.
    pub(super) letter: Option<store::Letter>,
}

/// What one recipient's ending means for the settlement.
struct Part {
    outcome: Outcome,
    step: Option<(Step, String)>,
    item: Option<Item>,
    label: &'static str,
}

impl End {
    pub(super) fn new(claim: Claim, endings: Vec<Ending>) -> Self {
        Self {
            claim,
            endings,
            local: Vec::new(),
            forwards: Vec::new(),
            letters: Vec::new(),
            notes: Vec::new(),
            took: Duration::ZERO,
            letter: None,
        }
    }

    /// All recipients failed for the same reason.
    pub(super) fn all_failed(
        claim: Claim,
        failure: &Failure,
        not_before: Option<Timestamp>,
    ) -> Self {
        let endings = vec![
            Ending::Failed {
                failure: failure.clone(),
                not_before,
            };
            claim.recipients.len()
        ];
        Self::new(claim, endings)
    }

    /// Writes the settlement. Whether the claim was still ours and is settled.
    pub(super) async fn settle(mut self, shared: &Shared) -> bool {
        let kept = |ending: &Ending| matches!(ending, Ending::Kept);
        if self.endings.iter().all(kept) {
            return true;
        }
        let now = shared.clock.now();
        let parts = self.parts(shared, now);
        let letter = self.letter.take();
        let items: Vec<Item> = parts.iter().filter_map(|part| part.item.clone()).collect();
        let mut reports = match report(shared, &self.claim, &items, letter, now).await {
            Ok(reports) => reports,
            Err(error) => {
                // Without its report the failure must not be settled: the sender would never hear.
                // The lease ends, and the claim is worked on again.
                let letter = self.claim.reference.letter;
                error!(%letter, %error, "report not written; the claim is left to its lease");
                return false;
            }
        };
        let reported = !reports.is_empty();
        reports.append(&mut self.letters);
        let settlement = Settlement {
            claim: self.claim.reference,
            outcomes: self
                .claim
                .recipients
                .iter()
                .zip(&parts)
                .map(|(recipient, part)| (recipient.id, part.outcome.clone()))
                .collect(),
            local: std::mem::take(&mut self.local),
            forwards: std::mem::take(&mut self.forwards),
            notes: self.notes(&parts, &items, reported, now),
            reports,
            addresses: self.addresses(shared),
        };
        let (letter, domain) = (self.claim.reference.letter, &self.claim.domain);
        match settle_patiently(&shared.store, settlement).await {
            Ok(true) => {
                self.tell(shared, &parts, reported, now);
                true
            }
            Ok(false) => {
                warn!(%letter, %domain, "the claim was lost to another node; nothing was changed");
                false
            }
            Err(error) => {
                shared.metrics.faults.inc();
                error!(%letter, %domain, %error, "not settled; the claim is left to its lease");
                false
            }
        }
    }

    /// What is learned about addresses elsewhere.
    fn addresses(&self, shared: &Shared) -> AddressNews {
        let mut news = AddressNews::default();
        for (recipient, ending) in self.claim.recipients.iter().zip(&self.endings) {
            let address = &recipient.address;
            match ending {
                Ending::Taken(_) => news.reached.push(address.clone()),
                Ending::Failed { failure, .. } => {
                    suppress::count(&mut news, &shared.settings, (&self.claim, address), failure);
                }
                Ending::Placed { .. }
                | Ending::HandedOut { .. }
                | Ending::Heeded { .. }
                | Ending::Kept
                | Ending::Released => {}
            }
        }
        news
    }

    fn parts(&self, shared: &Shared, now: Timestamp) -> Vec<Part> {
        // One number for all: recipients of a letter that failed together stay together.
        let random = shared.entropy.next_u64();
        self.claim
            .recipients
            .iter()
            .zip(&self.endings)
            .enumerate()
            .map(|(index, (recipient, ending))| {
                self.part(shared, (index, recipient), ending, now, random)
            })
            .collect()
    }

    /// The steps on the way, those of the recipients, and the report.
    fn notes(
        &mut self,
        parts: &[Part],
        items: &[Item],
        reported: bool,
        at: Timestamp,
    ) -> Vec<Note> {
        let mut notes = std::mem::take(&mut self.notes);
        for (recipient, part) in self.claim.recipients.iter().zip(parts) {
            if let Some((step, detail)) = &part.step {
                notes.push(Note {
                    at,
                    recipient: Some(recipient.address.clone()),
                    step: *step,
                    detail: detail.clone(),
                });
            }
        }
        if let (true, Some(sender)) = (reported, &self.claim.reverse_path) {
            notes.push(Note {
                at,
                recipient: None,
                step: Step::Reported,
                detail: format!("to {sender}: {}", summary(&self.claim, items)),
            });
        }
        notes
    }

    /// One log line for each recipient, and the figures.
    fn tell(&self, shared: &Shared, parts: &[Part], reported: bool, now: Timestamp) {
        let latency = now.since(self.claim.received_at).as_secs_f64();
        for (recipient, part) in self.claim.recipients.iter().zip(parts) {
            shared.metrics.recipient(part.label);
            if part.outcome == Outcome::Done {
                shared.metrics.latency.observe(latency);
            }
            info!(
                letter = %self.claim.reference.letter,
                recipient = %recipient.address,
                result = part.label,
                attempt = recipient.attempts + 1,
                took_ms = u64::try_from(self.took.as_millis()).unwrap_or(u64::MAX),
                detail = part.step.as_ref().map(|(_, detail)| detail.as_str()),
                "recipient settled"
            );
        }
        if reported {
            shared.metrics.reports.inc();
        }
    }

    fn part(
        &self,
        shared: &Shared,
        (index, recipient): (usize, &ClaimedRecipient),
        ending: &Ending,
        now: Timestamp,
        random: u64,
    ) -> Part {
        let claim = &self.claim;
        match ending {
            Ending::Placed {
                mailboxes,
                forwarded,
            } => placed(claim, (index, recipient), *mailboxes, forwarded),
            Ending::HandedOut { told } => handed_out(claim, (index, recipient), told),
            Ending::Heeded { told } => Part {
                outcome: Outcome::Done,
                step: Some((Step::Operated, told.clone())),
                item: None,
                label: "heeded",
            },
            // The settlement passes over recipients that are not under its claim any more.
            Ending::Kept => Part {
                outcome: Outcome::Done,
                step: None,
                item: None,
                label: "kept",
            },
            Ending::Taken(taken) => handed_over(claim, (index, recipient), taken, self.took),
            Ending::Failed { failure, .. } if failure.permanent => {
                let why = if failure.suppressed {
                    Why::Suppressed
                } else {
                    Why::Status
                };
                failed(
                    claim,
                    (index, recipient),
                    (failure, why),
                    &failure.to_string(),
                )
            }
            Ending::Failed {
                failure,
                not_before,
            } => {
                let class = FailureClass::of(failure, recipient.attempts);
                let next = next_attempt(
                    (&shared.settings, class),
                    now,
                    claim.received_at,
                    (claim.expires_at, notify_at(claim)),
                    recipient.attempts,
                    random,
                );
                match next {
                    NextAttempt::At { at, late } => {
                        let at = not_before.map_or(at, |not_before| at.max(not_before));
                        let at = at.min(claim.expires_at);
                        deferred(claim, (index, recipient), (failure, class), at, late)
                    }
                    NextAttempt::Expired => {
                        let reason = expired(claim, failure, now);
                        let why = Why::Waited(class);
                        failed(claim, (index, recipient), (failure, why), &reason)
                    }
                }
            }
            Ending::Released => released(now),
        }
    }
}

/// RFC 2852 §4 by-mode `N`: when the sender is to be told that the letter is late.
fn notify_at(claim: &Claim) -> Option<Timestamp> {
    let by = claim.handling.deliver_by?;
    (by.mode == DeliverByMode::Notify).then_some(by.at)
}

fn released(now: Timestamp) -> Part {
    Part {
        outcome: Outcome::Retry {
            at: now,
            reason: "the node was stopped before it came to this letter".to_owned(),
            delay_reported: false,
            counts: false,
            last: Box::default(),
        },
        step: None,
        item: None,
        label: "released",
    }
}

fn expired(claim: &Claim, failure: &Failure, now: Timestamp) -> String {
    let days = now.since(claim.received_at).as_secs_f64() / 86_400.0;
    format!("given up after {days:.1} days; the last reason: {failure}")
}

fn placed(
    claim: &Claim,
    (index, recipient): (usize, &ClaimedRecipient),
    mailboxes: usize,
    forwarded: &[EmailAddress],
) -> Part {
    let targets: Vec<String> = forwarded.iter().map(ToString::to_string).collect();
    // The store notes each copy with its mailbox by itself.
    let step =
        (!targets.is_empty()).then(|| (Step::Forwarded, format!("to {}", targets.join(", "))));
    let item = dsn::placed(mailboxes, forwarded.len())
        .filter(|action| dsn::is_wanted(claim, recipient, *action))
        .map(|action| Item::success(index, action));
    Part {
        outcome: Outcome::Done,
        step,
        item,
        label: if mailboxes > 0 { "stored" } else { "forwarded" },
    }
}

/// RFC 3461 §5.2.7.3: for its sender a letter is delivered when the list has it.
fn handed_out(claim: &Claim, (index, recipient): (usize, &ClaimedRecipient), told: &str) -> Part {
    let wanted = dsn::is_wanted(claim, recipient, Action::Delivered);
    Part {
        outcome: Outcome::Done,
        step: Some((Step::Forwarded, told.to_owned())),
        item: wanted.then(|| Item::success(index, Action::Delivered)),
        label: "handed out",
    }
}

fn handed_over(
    claim: &Claim,
    (index, recipient): (usize, &ClaimedRecipient),
    taken: &Taken,
    took: Duration,
) -> Part {
    let tls = match &taken.tls {
        Some(tls) => format!("{} {}, {}", tls.version, tls.cipher, taken.proven),
        None => "in clear".to_owned(),
    };
    let detail = format!(
        "to {} ({tls}) in {} ms: {}",
        taken.peer,
        took.as_millis(),
        taken.reply
    );
    // RFC 3461 §5.2.2: a server without DSN will not report; so we do.
    let wanted = !taken.reports && dsn::is_wanted(claim, recipient, Action::Relayed);
    // RFC 2852 §4.1.4: with the trace modifier each hand-over is reported.
    let traced = claim.handling.deliver_by.is_some_and(|by| by.trace)
        && claim.reverse_path.is_some()
        && recipient.notify != Notify::NEVER;
    let item = (wanted || traced).then(|| Item {
        recipient: index,
        action: Action::Relayed,
        status: "2.0.0".to_owned(),
        why: Why::Status,
        diagnostic: Some(taken.reply.clone()),
        remote_host: Some(taken.peer.host.to_string()),
    });
    Part {
        outcome: Outcome::Done,
        step: Some((Step::Transferred, detail)),
        item,
        label: "transferred",
    }
}

fn deferred(
    claim: &Claim,
    (index, recipient): (usize, &ClaimedRecipient),
    (failure, class): (&Failure, FailureClass),
    at: Timestamp,
    late: bool,
) -> Part {
    let reported = late && dsn::is_wanted(claim, recipient, Action::Delayed);
    Part {
        outcome: Outcome::Retry {
            at,
            reason: failure.to_string(),
            delay_reported: reported,
            counts: true,
            last: Box::new(last_attempt(failure, class)),
        },
        step: Some((
            Step::Deferred,
            format!("until {at} ({}): {failure}", class.as_str()),
        )),
        item: reported.then(|| item(index, Action::Delayed, failure, Why::Waited(class))),
        label: "deferred",
    }
}

fn failed(
    claim: &Claim,
    (index, recipient): (usize, &ClaimedRecipient),
    (failure, why): (&Failure, Why),
    reason: &str,
) -> Part {
    let reported = dsn::is_wanted(claim, recipient, Action::Failed);
    let silent = if reported {
        ""
    } else if claim.reverse_path.is_none() {
        "; not reported, as the letter has no sender"
    } else {
        "; not reported, as the sender asked for that"
    };
    Part {
        outcome: Outcome::Failed {
            reason: reason.to_owned(),
        },
        step: Some((Step::Failed, format!("{reason}{silent}"))),
        item: reported.then(|| item(index, Action::Failed, failure, why)),
        label: "failed",
    }
}

/// What the operator sees of an attempt.
fn last_attempt(failure: &Failure, class: FailureClass) -> LastAttempt {
    let peer = failure.peer.as_ref();
    LastAttempt {
        class: class.as_str().to_owned(),
        reply: failure.reply.clone().unwrap_or_default(),
        host: peer.map(ToString::to_string).unwrap_or_default(),
        tls: failure.tls.as_deref().unwrap_or_default().to_owned(),
    }
}

fn item(recipient: usize, action: Action, failure: &Failure, why: Why) -> Item {
    let mut status = failure.status;
    if action == Action::Failed && !failure.permanent {
        // RFC 3463 §3.5: X.4.7, the delivery time has expired. The class says "failed" (§2).
        status = super::failure::Status(5, 4, 7);
    }
    Item {
        recipient,
        action,
        status: status.to_string(),
        why,
        diagnostic: Some(failure.diagnostic()),
        // RFC 3464 §2.3.5: the server that gave the diagnostic, so not one that never answered.
        remote_host: failure
            .peer
            .as_ref()
            .filter(|_| failure.reply.is_some())
            .map(|peer| peer.host.to_string()),
    }
}

/// `failed: a@x.test, b@x.test`.
fn summary(claim: &Claim, items: &[Item]) -> String {
    let mut text = String::new();
    for item in items {
        let comma = if text.is_empty() { "" } else { ", " };
        let address = &claim.recipients[item.recipient].address;
        let action = match item.action {
            Action::Failed => "failed",
            Action::Delayed => "delayed",
            Action::Delivered => "delivered",
            Action::Relayed => "relayed",
            Action::Expanded => "expanded",
        };
        text.push_str(&format!("{comma}{address} {action}"));
    }
    text
}

/// The report about these recipients, if there are any.
async fn report(
    shared: &Shared,
    claim: &Claim,
    items: &[Item],
    letter: Option<store::Letter>,
    now: Timestamp,
) -> Result<Vec<Submission>, StoreError> {
    let (false, Some(about)) = (items.is_empty(), About::claim(claim)) else {
        return Ok(Vec::new());
    };
    let bytes_max = shared.settings.report_bytes_max;
    // The letter is let go before room for the report is asked for: who holds one and waits for
    // another could wait for ever.
    let returned = {
        let letter = match letter {
            Some(letter) => Some(letter),
            None => what_is_left_of(shared, claim).await?,
        };
        let bytes = letter.as_ref().map_or(&[][..], |letter| letter.bytes());
        dsn::returned_bytes(&about, items, bytes, bytes_max)
    };
    let from_domain =
        patiently(|| dsn::from_domain(&shared.store, &shared.own.hostname, about.sender)).await?;
    let reporter = Reporter {
        hostname: &shared.own.hostname,
        from_domain: &from_domain,
        bytes_max,
        now,
        expires_at: now + shared.settings.lifetime,
        random: shared.entropy.next_u64(),
    };
    let bytes = Bytes::from(dsn::write_report(&reporter, &about, items, &returned));
    let letter = patiently(|| shared.store.letter(bytes.clone())).await?;
    Ok(vec![dsn::submission(&reporter, &about, letter)])
}

/// The letter of a claim; none if its bytes are lost, so that the sender hears of the failure all the
/// same, with the fields that we put before them.
async fn what_is_left_of(
    shared: &Shared,
    claim: &Claim,
) -> Result<Option<store::Letter>, StoreError> {
    match patiently(|| shared.store.claimed_letter(claim)).await {
        Ok(letter) => Ok(Some(letter)),
        Err(error @ (StoreError::Damaged(_) | StoreError::NotFound(_))) => {
            let letter = claim.reference.letter;
            error!(%letter, %error, "the letter is lost; it is reported without its own bytes");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Whether the same may work a little later.
fn is_passing<T>(result: &Result<T, StoreError>) -> bool {
    matches!(
        result,
        Err(StoreError::Busy(_) | StoreError::Io(_) | StoreError::DiskFull)
    )
}

/// Tries again while the store is busy. Recipients that have the letter already would get it again
/// from a claim that is left to its lease.
async fn patiently<T, F>(work: impl Fn() -> F) -> Result<T, StoreError>
where
    F: Future<Output = Result<T, StoreError>>,
{
    let mut result = work().await;
    for pause in SETTLE_PAUSES {
        if !is_passing(&result) {
            break;
        }
        tokio::time::sleep(pause).await;
        result = work().await;
    }
    result
}

/// Tries again while the store is busy: what happened to the letter must not be forgotten because
/// of a moment's pressure.
async fn settle_patiently(store: &Store, settlement: Settlement) -> Result<bool, StoreError> {
    let mut kept = copy(&settlement);
    let mut result = store.settle(settlement).await;
    for pause in SETTLE_PAUSES {
        if !is_passing(&result) {
            break;
        }
        tokio::time::sleep(pause).await;
        let again = copy(&kept);
        result = store.settle(kept).await;
        kept = again;
    }
    result
}

fn copy(settlement: &Settlement) -> Settlement {
    Settlement {
        claim: settlement.claim,
        outcomes: settlement.outcomes.clone(),
        local: settlement.local.clone(),
        forwards: settlement.forwards.clone(),
        reports: settlement.reports.clone(),
        notes: settlement.notes.clone(),
        addresses: settlement.addresses.clone(),
    }
}
