//! From what the engine tells to what the queue works with: replies and failures are classified
//! here and nowhere else.

use proto::smtp::Reply;
use proto::smtp::client::{self, RecipientOutcome, Step};

use super::session::Session;
use super::{RecipientResult, Taken};
use crate::queue::failure::{Failure, Peer, Status};

/// What became of a recipient, and whether another server may be asked about it in this attempt.
pub(super) fn judge(session: &Session, outcome: RecipientOutcome) -> (RecipientResult, bool) {
    match outcome {
        RecipientOutcome::Accepted(reply) => {
            let taken = Taken {
                peer: session.peer.clone(),
                tls: session.tls.clone(),
                proven: session.proven,
                reply: reply.to_string(),
                reports: session.client.extensions().dsn,
            };
            (RecipientResult::Taken(taken), false)
        }
        RecipientOutcome::Refused(reply) => {
            let mut failure = of_reply(&session.peer, "refused", &reply);
            failure.tls = tls_of(session);
            let may_ask_another = !failure.permanent;
            (RecipientResult::Failed(failure), may_ask_another)
        }
        RecipientOutcome::Unfit(reply) => {
            let failure = of_finding(&session.peer, &reply);
            // RFC 8689 §4.2.1: another server of the domain may offer what this one does not.
            let may_ask_another = failure.status == UNSAFE;
            (RecipientResult::Failed(failure), may_ask_another)
        }
        RecipientOutcome::Unfinished(failure) => {
            // After the final dot the letter may have been taken: asking another server at once
            // would make a double likely (RFC 5321 §4.5.4.1 leaves it to the next attempt).
            let may_ask_another = step(&failure) != Some(Step::LetterEnd);
            let mut failure = for_now(of_session(&session.peer, &failure));
            failure.tls = tls_of(session);
            (RecipientResult::Failed(failure), may_ask_another)
        }
    }
}

/// How the session is encrypted, in words.
fn tls_of(session: &Session) -> Option<Box<str>> {
    let tls = session.tls.as_ref()?;
    Some(format!("{} {}", tls.version, tls.cipher).into())
}

/// Why a session ended, in the terms of the queue.
pub(super) fn of_session(peer: &Peer, failure: &client::Failure) -> Failure {
    let text = failure.to_string();
    let status = match failure {
        client::Failure::Refused { at, reply } => {
            let refused = of_reply(peer, &format!("refused at {at}"), reply);
            return match at {
                // A wrong password or missing TLS is our operator's matter, not the letter's.
                Step::Auth | Step::StartTls => for_now(refused),
                Step::Greeting
                | Step::Hello
                | Step::Reset
                | Step::Mail
                | Step::Rcpt
                | Step::Data
                | Step::Letter
                | Step::LetterEnd
                | Step::Idle => refused,
            };
        }
        client::Failure::Timeout(_) | client::Failure::Disconnected(_) => Status(4, 4, 2),
        client::Failure::Malformed { .. } => Status(4, 5, 0),
        client::Failure::TlsNotOffered => Status(4, 7, 4),
        client::Failure::AuthNotOffered | client::Failure::NotGenuine(_) => Status(4, 7, 0),
    };
    Failure::temporary(status, text).at(peer.clone())
}

/// Where the session ended, if the failure tells.
pub(super) fn step(failure: &client::Failure) -> Option<Step> {
    match failure {
        client::Failure::Refused { at, .. } | client::Failure::Malformed { at, .. } => Some(*at),
        client::Failure::Timeout(at) | client::Failure::Disconnected(at) => Some(*at),
        client::Failure::TlsNotOffered
        | client::Failure::AuthNotOffered
        | client::Failure::NotGenuine(_) => None,
    }
}

/// The same failure, as one that may pass.
pub(super) fn for_now(mut failure: Failure) -> Failure {
    failure.permanent = false;
    failure.status.0 = 4;
    failure
}

/// RFC 8689 §8.4: X.7.30, REQUIRETLS is not supported.
const UNSAFE: Status = Status(5, 7, 30);

/// What we found out about a server, in our own words.
fn of_finding(peer: &Peer, reply: &Reply) -> Failure {
    Failure {
        reply: None,
        text: reply.text.to_string(),
        ..of_reply(peer, "", reply)
    }
}

fn of_reply(peer: &Peer, text: &str, reply: &Reply) -> Failure {
    let permanent = reply.is_permanent();
    let class = if permanent { 5 } else { 4 };
    // RFC 2034 §4: the class of the enhanced code is that of the reply; if a server contradicts
    // itself, the reply code counts.
    let status = match reply.enhanced {
        Some(code) => Status(class, code.subject, code.detail),
        // RFC 7504 §3, §4: these codes say it all.
        None if reply.code == 521 => Status(5, 3, 2),
        None if reply.code == 556 => Status(5, 1, 10),
        None => Status(class, 0, 0),
    };
    Failure {
        permanent,
        status,
        text: text.to_owned(),
        reply: Some(reply.to_string()),
        peer: Some(peer.clone()),
        tls: None,
        suppressed: false,
    }
}
