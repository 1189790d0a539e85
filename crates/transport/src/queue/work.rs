//! The work on one claim, from its start to its settlement.

use std::collections::BTreeMap;

use base::{EmailAddress, Timestamp};
use proto::smtp::client::{Outgoing, OutgoingRecipient};
use proto::smtp::{DeliverBy, OriginalRecipient, Ret, params};
use store::{
    Claim, ClaimedRecipient, DeliverByMode, DsnReturn, ListAddress, Note, Notify, Step, StoreError,
    Submission, TlsWish,
};
use tracing::error;

use super::failure::{Failure, Status};
use super::planner::Verdict;
use super::settle::{End, Ending};
use super::suppress;
use super::worker::Shared;
use crate::lists::{self, Fate};
use crate::local::{self, Placement};
use crate::route::for_wish;
use crate::sign::{Anew, proven_sender};
use crate::smtp_out::Dressed;
use crate::smtp_out::RecipientResult;

/// Stores a claim's letter in mailboxes here.
pub(super) async fn deliver_here(shared: &Shared, claim: Claim) -> Verdict {
    let started_at = shared.clock.now();
    let placed = match local::place(&shared.store, &claim).await {
        Ok(placed) => placed,
        Err(error) => return store_failed(shared, claim, &error).await,
    };
    let mut endings = Vec::with_capacity(placed.recipients.len());
    let mut letters = Vec::new();
    for (recipient, placement) in claim.recipients.iter().zip(placed.recipients) {
        endings.push(match placement {
            Placement::Placed {
                mailboxes,
                forwarded,
            } => Ending::Placed {
                mailboxes,
                forwarded,
            },
            Placement::Failed(failure) => Ending::of(failure),
            Placement::List(list) => {
                take_for_list(shared, &claim, recipient, &list, &mut letters).await
            }
        });
    }
    let mut end = End::new(claim, endings);
    end.letters = letters;
    end.local = placed.local;
    end.forwards = placed.forwards;
    end.took = shared.clock.now().since(started_at);
    end.settle(shared).await;
    Verdict::Answered
}

/// Gives a letter to a mailing list.
async fn take_for_list(
    shared: &Shared,
    claim: &Claim,
    recipient: &ClaimedRecipient,
    list: &ListAddress,
    letters: &mut Vec<Submission>,
) -> Ending {
    let now = shared.clock.now();
    let context = lists::Context {
        store: &shared.store,
        entropy: shared.entropy.as_ref(),
        hostname: &shared.own.hostname,
        url: &shared.settings.list_url,
        now,
        expires_at: now + shared.settings.lifetime,
    };
    let taken = match lists::take(&context, claim, recipient, list).await {
        Ok(taken) => taken,
        Err(error) => {
            error!(letter = %claim.reference.letter, %error, "the store failed while a list worked");
            return Ending::Failed {
                failure: Failure::temporary(
                    Status(4, 3, 0),
                    "the server's storage does not answer",
                ),
                not_before: None,
            };
        }
    };
    letters.extend(taken.letters);
    match taken.fate {
        Fate::Done(told) => Ending::Heeded { told },
        Fate::HandedOut(told) => Ending::HandedOut { told },
        Fate::Kept => Ending::Kept,
        Fate::Refused(failure) => Ending::Failed {
            failure,
            not_before: None,
        },
    }
}

/// Hands a claim's letter over to another server, but for recipients that are not to be tried.
pub(super) async fn hand_over(shared: &Shared, claim: Claim) -> Verdict {
    let suppressed = match suppress::of_claim(&shared.store, &claim).await {
        Ok(suppressed) => suppressed,
        Err(error) => return store_failed(shared, claim, &error).await,
    };
    if suppressed.len() == claim.recipients.len() {
        let endings = suppressed.into_values().map(Ending::of).collect();
        End::new(claim, endings).settle(shared).await;
        return Verdict::NotTried;
    }
    send_on(shared, claim, &suppressed).await
}

async fn send_on(shared: &Shared, claim: Claim, suppressed: &BTreeMap<usize, Failure>) -> Verdict {
    let started_at = shared.clock.now();
    let sender = proven_sender(&claim);
    let by_sender = shared.router.has_own_route(sender, &claim.domain);
    let finding = shared.router.route_from(sender, &claim.domain);
    let found = unless_cut_off(shared, finding).await;
    let route = match found {
        None => return give_back(shared, claim).await,
        Some(Ok(route)) => route,
        Some(Err(failure)) => {
            let verdict = if failure.permanent || by_sender {
                Verdict::Answered
            } else {
                Verdict::Down(failure.clone())
            };
            End::all_failed(claim, &failure, None).settle(shared).await;
            return verdict;
        }
    };
    let mut notes = vec![note(started_at, Step::Routed, route.to_string())];
    let letter = match shared.store.claimed_letter(&claim).await {
        Ok(letter) => letter,
        Err(error) => return store_failed(shared, claim, &error).await,
    };
    let leaving = shared.signer.leaving(&claim, &letter).await;
    if !leaving.told.is_empty() {
        notes[0].detail = format!("{route}; {}", leaving.told);
    }
    let route = for_wish(route, claim.handling.tls);
    let fields = leaving.fields.clone();
    let mut outgoing = outgoing(&claim, &letter, leaving.reverse_path, started_at);
    let mut places = 0..;
    let mut is_open = || {
        !places
            .next()
            .is_some_and(|place| suppressed.contains_key(&place))
    };
    outgoing.recipients.retain(|_| is_open());
    if route.smarthost {
        outgoing.submitter = submitter(shared, &claim).await;
    }
    let anew = Anew(&shared.signer, &claim);
    let dressed = Dressed {
        fields,
        anew: &anew,
    };
    let transferring = shared
        .outbound
        .transfer_and_hold(&route, outgoing, Some(dressed));
    let Some((transfer, held)) = unless_cut_off(shared, transferring).await else {
        return give_back(shared, claim).await;
    };
    notes.extend(
        transfer
            .connections
            .into_iter()
            .map(|(at, detail)| note(at, Step::Connected, detail)),
    );
    let endings = endings(&claim, suppressed, transfer.results);
    let mut end = End::new(claim, endings);
    end.notes = notes;
    end.letter = Some(letter);
    end.took = shared.clock.now().since(started_at);
    end.settle(shared).await;
    shared.outbound.let_go(held).await;
    match transfer.verdict {
        // A sender's own smarthost that is away tells nothing about the destination.
        Verdict::Down(_) | Verdict::Struggled(..) if by_sender => Verdict::Answered,
        verdict => verdict,
    }
}

/// What became of each recipient: those that were tried have a result, in order.
fn endings(
    claim: &Claim,
    suppressed: &BTreeMap<usize, Failure>,
    results: Vec<RecipientResult>,
) -> Vec<Ending> {
    let mut results = results.into_iter();
    let ending = |place| match suppressed.get(&place) {
        Some(failure) => Some(Ending::of(failure.clone())),
        None => Some(match results.next()? {
            RecipientResult::Taken(taken) => Ending::Taken(taken),
            RecipientResult::Failed(failure) => {
                Ending::of(for_good_if_unsafe(failure, claim.handling.tls))
            }
        }),
    };
    (0..claim.recipients.len()).filter_map(ending).collect()
}

/// RFC 8689 §4.2.1: a letter that asked for TLS is returned where no server could prove itself; it
/// does not wait for better times. X.7.10 is "encryption needed".
fn for_good_if_unsafe(mut failure: Failure, wish: TlsWish) -> Failure {
    let unsafe_now = matches!(failure.status, Status(4, 7, 4 | 5));
    if wish == TlsWish::Required && unsafe_now && failure.reply.is_none() {
        failure.permanent = true;
        failure.status = Status(5, 7, 10);
    }
    failure
}

/// Works until the grace of a stop is over; what is ready by then counts.
async fn unless_cut_off<T>(shared: &Shared, work: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        done = work => Some(done),
        () = shared.cut_off.cancelled() => None,
    }
}

async fn give_back(shared: &Shared, claim: Claim) -> Verdict {
    release(shared, claim).await;
    Verdict::NotTried
}

/// Defers a claim whose destination is known to be down.
pub(super) async fn defer(
    shared: &Shared,
    claim: Claim,
    failure: &Failure,
    until: Timestamp,
) -> Verdict {
    End::all_failed(claim, failure, Some(until))
        .settle(shared)
        .await;
    Verdict::NotTried
}

/// Gives a claim back unworked, as the node stops.
pub(super) async fn release(shared: &Shared, claim: Claim) {
    let endings = vec![Ending::Released; claim.recipients.len()];
    End::new(claim, endings).settle(shared).await;
}

/// Settles a claim whose work ended in a bug, so that it is tried later and not at once for ever.
pub(super) async fn give_up_on(shared: &Shared, claim: Claim) {
    let failure = Failure::temporary(Status(4, 3, 0), "an internal error of this server");
    End::all_failed(claim, &failure, None).settle(shared).await;
}

async fn store_failed(shared: &Shared, claim: Claim, error: &StoreError) -> Verdict {
    error!(letter = %claim.reference.letter, %error, "the store failed while a letter was worked on");
    let failure = Failure::temporary(Status(4, 3, 0), "the server's storage does not answer");
    End::all_failed(claim, &failure, None).settle(shared).await;
    Verdict::NotTried
}

fn note(at: Timestamp, step: Step, detail: String) -> Note {
    Note {
        at,
        recipient: None,
        step,
        detail,
    }
}

/// RFC 4954 §5: who submitted the letter; we know it of our own users.
async fn submitter(shared: &Shared, claim: &Claim) -> Option<EmailAddress> {
    let account = shared.store.account(claim.account?).await;
    account.ok().map(|account| account.address)
}

/// The letter as it stands in the queue; what it leaves with goes before it.
fn outgoing(
    claim: &Claim,
    letter: &store::Letter,
    reverse_path: Option<EmailAddress>,
    now: Timestamp,
) -> Outgoing {
    Outgoing {
        reverse_path,
        recipients: claim.recipients.iter().map(outgoing_recipient).collect(),
        // RFC 3461 §5.2.1: what was given is passed on, and nothing else.
        ret: match claim.dsn_return {
            DsnReturn::Full => Some(Ret::Full),
            DsnReturn::Headers => Some(Ret::Headers),
            DsnReturn::Unasked => None,
        },
        envelope_id: claim.envelope_id.clone(),
        needs_utf8: claim.needs_utf8,
        submitter: None,
        require_tls: claim.handling.tls == TlsWish::Required,
        deliver_by: claim.handling.deliver_by.map(|by| DeliverBy {
            // RFC 2852 §4.2: the seconds that are left.
            seconds: (by.at.millis() - now.millis()).div_euclid(1_000),
            returned: by.mode == DeliverByMode::Return,
            trace: by.trace,
        }),
        priority: claim.handling.priority,
        parts: [claim.head.clone(), letter.bytes().clone()]
            .into_iter()
            .filter(|part| !part.is_empty())
            .collect(),
    }
}

fn outgoing_recipient(recipient: &ClaimedRecipient) -> OutgoingRecipient {
    let Notify {
        success,
        failure,
        delay,
        asked,
    } = recipient.notify;
    OutgoingRecipient {
        address: recipient.address.clone(),
        notify: asked.then_some(params::Notify {
            success,
            failure,
            delay,
        }),
        original: recipient
            .original
            .as_deref()
            .and_then(OriginalRecipient::parse),
    }
}
