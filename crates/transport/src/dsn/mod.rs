//! Reports to the sender (RFC 3461 §6, RFC 3464): who gets one, what it returns, how it is queued.
//! Its form is made by `message::write`.
//!
//! There is never a report about a letter with the null reverse-path (RFC 5321 §4.5.5), so never
//! one about a report; NOTIFY and RET of the sender are obeyed.

#[cfg(test)]
mod tests;

use base::{Domain, EmailAddress, LocalPart, Timestamp};
use bytes::Bytes;
use message::write::{Action, DeliveryReport, RecipientReport, ReturnedLetter, delivery_status};
use message::{Fields, write};
use proto::smtp::OriginalRecipient;
use store::{Claim, ClaimedRecipient, DsnReturn, Note, Notify, QueueRecipient, Step, Submission};

/// Header bytes of the letter that are kept for a report; `message` returns no more.
const HEADER_BYTES_MAX: usize = 64 * 1024;

/// What a report says about one recipient.
#[derive(Clone, Debug)]
pub struct Item {
    /// The recipient's place in the claim.
    pub recipient: usize,
    /// What happened.
    pub action: Action,
    /// The enhanced status code.
    pub status: String,
    /// The other server's reply, or ours.
    pub diagnostic: Option<String>,
    /// The other server.
    pub remote_host: Option<String>,
}

/// What all reports of a node have in common.
pub struct Reporter<'a> {
    /// Who reports.
    pub hostname: &'a Domain,
    /// The domain of the report's sender: the letter's sender's own if it is ours, so that an
    /// answer finds somebody.
    pub from_domain: &'a Domain,
    /// The largest letter that is returned whole.
    pub bytes_max: u64,
    /// Now.
    pub now: Timestamp,
    /// When the report itself is given up.
    pub expires_at: Timestamp,
    /// Makes its id and boundary.
    pub random: u64,
}

/// Whether the sender wants to hear about this.
#[must_use]
pub fn is_wanted(claim: &Claim, recipient: &ClaimedRecipient, action: Action) -> bool {
    // RFC 3461 §5.2.9 and RFC 5321 §4.5.5: nobody is told about the null reverse-path.
    claim.reverse_path.is_some()
        && match action {
            Action::Failed => recipient.notify.failure,
            // RFC 3461 §6.3: a delay is told once.
            Action::Delayed => recipient.notify.delay && !recipient.delay_reported,
            Action::Delivered | Action::Relayed | Action::Expanded => recipient.notify.success,
        }
}

/// The bytes of a letter that its report returns: all of it when that was asked for and it is not
/// too large, otherwise its header (RFC 3461 §4.3).
#[must_use]
pub fn returned_bytes(claim: &Claim, letter: &[u8], bytes_max: u64) -> Bytes {
    let whole = claim.dsn_return == DsnReturn::Full && claim.size <= bytes_max;
    let kept = if whole {
        letter
    } else {
        let end = header_end(letter).min(HEADER_BYTES_MAX);
        &letter[..end]
    };
    let mut bytes = Vec::with_capacity(claim.head.len() + kept.len());
    bytes.extend_from_slice(&claim.head);
    bytes.extend_from_slice(kept);
    bytes.into()
}

/// Writes the report about these recipients. `returned` is what [`returned_bytes`] gave.
#[must_use]
pub fn write_report(
    reporter: &Reporter<'_>,
    claim: &Claim,
    sender: &EmailAddress,
    items: &[Item],
    returned: &[u8],
) -> Vec<u8> {
    let originals: Vec<Option<String>> = items
        .iter()
        .map(|item| original(&claim.recipients[item.recipient]))
        .collect();
    let recipients: Vec<RecipientReport<'_>> = items
        .iter()
        .zip(&originals)
        .map(|(item, original)| RecipientReport {
            original_recipient: original.as_deref(),
            final_recipient: &claim.recipients[item.recipient].address,
            action: item.action,
            status: &item.status,
            diagnostic: item.diagnostic.as_deref(),
            remote_mta: item.remote_host.as_deref(),
            last_attempt: Some(reporter.now),
            will_retry_until: (item.action == Action::Delayed).then_some(claim.expires_at),
        })
        .collect();
    let from = EmailAddress {
        local: daemon(),
        domain: reporter.from_domain.clone(),
    };
    let message_id = write::message_id(reporter.now, reporter.random, reporter.hostname);
    let original_message_id = Fields::new(returned)
        .find("Message-ID")
        .and_then(|field| field.message_ids().into_iter().next())
        .map(|id| format!("<{id}>"));
    let whole = claim.dsn_return == DsnReturn::Full && claim.size <= reporter.bytes_max;
    delivery_status(&DeliveryReport {
        from: &from,
        to: sender,
        message_id: &message_id,
        reporting_mta: reporter.hostname,
        envelope_id: claim.envelope_id.as_deref(),
        arrival_date: Some(claim.received_at),
        original_message_id: original_message_id.as_deref(),
        recipients: &recipients,
        text: Some(&text(reporter, items)),
        returned: if whole {
            ReturnedLetter::Whole {
                letter: returned,
                bytes_max: returned.len(),
            }
        } else {
            ReturnedLetter::Header(returned)
        },
        smtp_utf8: claim.needs_utf8,
        now: reporter.now,
        random: reporter.random,
    })
}

/// The report as a letter to be queued: from nobody (RFC 5321 §4.5.5), asking for no report itself.
#[must_use]
pub fn submission(
    reporter: &Reporter<'_>,
    claim: &Claim,
    sender: &EmailAddress,
    letter: store::Letter,
) -> Submission {
    Submission {
        letter,
        head: Bytes::new(),
        account: None,
        reverse_path: None,
        recipients: vec![QueueRecipient {
            address: sender.clone(),
            original: None,
            notify: Notify::NEVER,
        }],
        envelope_id: None,
        dsn_return: DsnReturn::Headers,
        needs_utf8: claim.needs_utf8,
        received_at: reporter.now,
        hold_until: None,
        expires_at: reporter.expires_at,
        sent_copy: None,
        notes: vec![Note {
            at: reporter.now,
            recipient: None,
            step: Step::Submitted,
            detail: format!(
                "by this server, to report about letter {}",
                claim.reference.letter
            ),
        }],
    }
}

/// The words for a person, before the list of recipients.
fn text(reporter: &Reporter<'_>, items: &[Item]) -> String {
    let hostname = reporter.hostname;
    let any = |action| items.iter().any(|item| item.action == action);
    if any(Action::Failed) {
        format!(
            "This is the mail server {hostname}.\n\n\
             Your letter did not reach everybody named below, and the server will not try again.\n\
             The letter, or its header, is attached."
        )
    } else if any(Action::Delayed) {
        format!(
            "This is the mail server {hostname}.\n\n\
             Your letter is on its way for longer than usual. The server goes on trying; you do\n\
             not have to do anything, and you will be told if it fails in the end."
        )
    } else {
        format!(
            "This is the mail server {hostname}.\n\n\
             You asked to be told when your letter arrives."
        )
    }
}

/// The original recipient with its xtext decoded; an odd one is told as it is.
fn original(recipient: &ClaimedRecipient) -> Option<String> {
    let text = recipient.original.as_deref()?;
    Some(match OriginalRecipient::parse(text) {
        Some(original) => format!("{};{}", original.kind, original.address),
        None => text.to_owned(),
    })
}

#[expect(clippy::expect_used, reason = "a constant that is an address part")]
fn daemon() -> LocalPart {
    LocalPart::parse("mailer-daemon").expect("invariant: mailer-daemon is a local part")
}

/// The length of the header with its empty line.
fn header_end(letter: &[u8]) -> usize {
    if letter.starts_with(b"\r\n") {
        return 0;
    }
    letter
        .windows(4)
        .take(HEADER_BYTES_MAX)
        .position(|window| window == b"\r\n\r\n")
        .map_or(letter.len(), |at| at + 2)
}
