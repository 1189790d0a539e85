//! Reports to the sender (RFC 3461 §6, RFC 3464): who gets one, what it returns, how it is queued.
//! Its form is made by `message::write`.
//!
//! There is never a report about a letter with the null reverse-path (RFC 5321 §4.5.5), so never
//! one about a report; NOTIFY and RET of the sender are obeyed.

#[cfg(test)]
mod tests;
mod words;

use base::{Domain, EmailAddress, LetterId, LocalPart, Timestamp};
use bytes::Bytes;
use message::write::{Action, DeliveryReport, RecipientReport, ReturnedLetter, delivery_status};
use message::{Fields, write};
use proto::smtp::OriginalRecipient;
use store::{
    Claim, ClaimedRecipient, DsnReturn, Handling, Note, Notify, QueueRecipient, Step, Store,
    StoreError, Submission, TlsWish,
};

use crate::queue::class::FailureClass;

/// Header bytes of the letter that are kept for a report; `message` returns no more.
const HEADER_BYTES_MAX: usize = 64 * 1024;
/// How much of the letter's subject the report repeats.
const SUBJECT_CHARS_MAX: usize = 100;
/// RFC 5322 §2.1.1: lines of at most 78 characters.
const TEXT_WIDTH: usize = 78;

/// What the words of a report go by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Why {
    /// The status and the reply.
    #[default]
    Status,
    /// It was not tried, as the address is suppressed.
    Suppressed,
    /// It could not be reached for now, for a reason of this class.
    Waited(FailureClass),
}

/// What a report says about one recipient.
#[derive(Clone, Debug)]
pub struct Item {
    /// The recipient's place among those of the letter.
    pub recipient: usize,
    /// What happened.
    pub action: Action,
    /// The enhanced status code.
    pub status: String,
    /// What the words for a person go by.
    pub why: Why,
    /// The other server's reply, or ours.
    pub diagnostic: Option<String>,
    /// The other server.
    pub remote_host: Option<String>,
}

/// The letter that a report is about.
#[derive(Clone, Debug)]
pub struct About<'a> {
    /// Under which name log and journey know it, where it has one already.
    pub letter: Option<LetterId>,
    /// Who hears of it.
    pub sender: &'a EmailAddress,
    /// RFC 3461 ENVID, decoded.
    pub envelope_id: Option<&'a str>,
    /// RFC 3461 RET.
    pub dsn_return: DsnReturn,
    /// Whether it needs SMTPUTF8.
    pub needs_utf8: bool,
    /// What its sender said about TLS.
    pub tls: TlsWish,
    /// What stands before it.
    pub head: &'a [u8],
    /// Bytes of head and letter together.
    pub size: u64,
    /// When it was received.
    pub received_at: Timestamp,
    /// Until when it is tried.
    pub tried_until: Timestamp,
    /// The recipients, each with its ORCPT as given.
    pub recipients: Vec<(&'a EmailAddress, Option<&'a str>)>,
}

impl<'a> About<'a> {
    /// A letter of the queue; `None` if it has no sender: nobody is told about the null
    /// reverse-path.
    #[must_use]
    pub fn claim(claim: &'a Claim) -> Option<Self> {
        let recipient =
            |recipient: &'a ClaimedRecipient| (&recipient.address, recipient.original.as_deref());
        Some(Self {
            letter: Some(claim.reference.letter),
            sender: claim.reverse_path.as_ref()?,
            envelope_id: claim.envelope_id.as_deref(),
            dsn_return: claim.dsn_return,
            needs_utf8: claim.needs_utf8,
            tls: claim.handling.tls,
            head: &claim.head,
            size: claim.size,
            received_at: claim.received_at,
            tried_until: claim.expires_at,
            recipients: claim.recipients.iter().map(recipient).collect(),
        })
    }

    /// RFC 3461 §4.3: RET is for failures; whoever hears good news has the letter.
    fn is_returned_whole(&self, items: &[Item], bytes_max: u64) -> bool {
        // RFC 8689 §4.3: what was to travel safely does not come back whole.
        self.dsn_return == DsnReturn::Full
            && self.tls != TlsWish::Required
            && self.size <= bytes_max
            && items.iter().any(|item| item.action == Action::Failed)
    }
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

impl Item {
    /// A recipient for whom this server has done its part.
    #[must_use]
    pub fn success(recipient: usize, action: Action) -> Self {
        Self {
            recipient,
            action,
            // RFC 3463 §3.2: X.1.5, the destination address is valid.
            status: "2.1.5".to_owned(),
            why: Why::Status,
            diagnostic: None,
            remote_host: None,
        }
    }
}

/// What has become of a recipient whose address led to so many mailboxes and so many addresses
/// elsewhere (RFC 3461 §5.2.7). Nothing is to be told where it led to one address elsewhere: the
/// wish to hear of success goes on with the letter.
#[must_use]
pub fn placed(mailboxes: usize, forwarded: usize) -> Option<Action> {
    match (mailboxes, forwarded) {
        (0, 0 | 1) => None,
        (1, 0) => Some(Action::Delivered),
        (_, _) => Some(Action::Expanded),
    }
}

/// The domain of a report's sender: the letter's sender's own if it is ours, so that an answer finds
/// somebody.
///
/// # Errors
/// When the store cannot be asked.
pub async fn from_domain(
    store: &Store,
    hostname: &Domain,
    sender: &EmailAddress,
) -> Result<Domain, StoreError> {
    Ok(if store.is_ours(&sender.domain).await? {
        sender.domain.clone()
    } else {
        hostname.clone()
    })
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

/// The bytes of a letter that the report about these recipients returns: all of it when somebody
/// was not reached, that was asked for and it is not too large; otherwise its header (RFC 3461
/// §4.3).
#[must_use]
pub fn returned_bytes(about: &About<'_>, items: &[Item], letter: &[u8], bytes_max: u64) -> Bytes {
    let kept = if about.is_returned_whole(items, bytes_max) {
        letter
    } else {
        let end = header_end(letter).min(HEADER_BYTES_MAX);
        &letter[..end]
    };
    let mut bytes = Vec::with_capacity(about.head.len() + kept.len());
    bytes.extend_from_slice(about.head);
    bytes.extend_from_slice(kept);
    bytes.into()
}

/// Writes the report about these recipients. `returned` is what [`returned_bytes`] gave.
#[must_use]
pub fn write_report(
    reporter: &Reporter<'_>,
    about: &About<'_>,
    items: &[Item],
    returned: &[u8],
) -> Vec<u8> {
    let texts: Vec<(Option<String>, Option<String>)> = items
        .iter()
        .map(|item| {
            let (_, given) = about.recipients[item.recipient];
            (given.map(original), explanation(item))
        })
        .collect();
    let recipients: Vec<RecipientReport<'_>> = items
        .iter()
        .zip(&texts)
        .map(|(item, (original, explanation))| RecipientReport {
            original_recipient: original.as_deref(),
            final_recipient: about.recipients[item.recipient].0,
            action: item.action,
            status: &item.status,
            explanation: explanation.as_deref(),
            diagnostic: item.diagnostic.as_deref(),
            remote_mta: item.remote_host.as_deref(),
            last_attempt: Some(reporter.now),
            will_retry_until: (item.action == Action::Delayed).then_some(about.tried_until),
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
    let subject = Fields::new(returned).find("Subject");
    let subject = subject.map(|field| field.text()).unwrap_or_default();
    delivery_status(&DeliveryReport {
        from: &from,
        to: about.sender,
        message_id: &message_id,
        reporting_mta: reporter.hostname,
        envelope_id: about.envelope_id,
        arrival_date: Some(about.received_at),
        original_message_id: original_message_id.as_deref(),
        recipients: &recipients,
        text: Some(&text(reporter, items, subject.trim())),
        returned: if about.is_returned_whole(items, reporter.bytes_max) {
            ReturnedLetter::Whole {
                letter: returned,
                bytes_max: returned.len(),
            }
        } else {
            ReturnedLetter::Header(returned)
        },
        smtp_utf8: about.needs_utf8,
        now: reporter.now,
        random: reporter.random,
    })
}

/// The report as a letter to be queued: from nobody (RFC 5321 §4.5.5), asking for no report itself.
#[must_use]
pub fn submission(reporter: &Reporter<'_>, about: &About<'_>, letter: store::Letter) -> Submission {
    let which = match about.letter {
        Some(letter) => format!("letter {letter}"),
        None => "a letter taken just now".to_owned(),
    };
    Submission {
        // RFC 6533 §3: only what is written in UTF-8 needs a way for UTF-8.
        needs_utf8: about.needs_utf8 && !letter.bytes().is_ascii(),
        letter,
        head: Bytes::new(),
        account: None,
        reverse_path: None,
        recipients: vec![QueueRecipient {
            address: about.sender.clone(),
            original: None,
            notify: Notify::NEVER,
        }],
        envelope_id: None,
        dsn_return: DsnReturn::Unasked,
        // RFC 8689 §4.3: the report about it travels safely, too.
        handling: Handling {
            tls: about.tls,
            ..Handling::default()
        },
        received_at: reporter.now,
        hold_until: None,
        expires_at: reporter.expires_at,
        sent_copy: None,
        notes: vec![Note {
            at: reporter.now,
            recipient: None,
            step: Step::Submitted,
            detail: format!("by this server, to report about {which}"),
        }],
    }
}

/// The words for a person, before the list of recipients.
fn text(reporter: &Reporter<'_>, items: &[Item], subject: &str) -> String {
    let hostname = reporter.hostname;
    let letter = match subject {
        "" => "Your letter".to_owned(),
        subject => {
            let shown: String = subject.chars().take(SUBJECT_CHARS_MAX).collect();
            format!("Your letter \"{shown}\"")
        }
    };
    let any = |action| items.iter().any(|item| item.action == action);
    if any(Action::Failed) {
        format!(
            "This is the mail server {hostname}.\n\n\
             {letter} did not reach everybody named below, and the server will\n\
             not try again. The letter, or its header, is attached."
        )
    } else if any(Action::Delayed) {
        format!(
            "This is the mail server {hostname}.\n\n\
             {letter} is on its way for longer than usual. The server goes on\n\
             trying; you do not have to do anything, and you will be told if it fails in the end."
        )
    } else {
        format!(
            "This is the mail server {hostname}.\n\n\
             {letter} is on its way as you see below; you asked to be told."
        )
    }
}

/// A failure for people: what it means, and the next step.
fn explanation(item: &Item) -> Option<String> {
    match item.action {
        Action::Failed => {
            let words = words::of_failure(item);
            let next = format!("What you can do: {}", words.next);
            Some(format!("{}\n{}", wrapped(words.meaning), wrapped(&next)))
        }
        Action::Delayed => Some(wrapped(words::of_delay(item))),
        Action::Delivered | Action::Relayed | Action::Expanded => None,
    }
}

/// The text in lines of a width that is easy to read.
fn wrapped(text: &str) -> String {
    let (mut lines, mut width) = (String::new(), 0);
    for word in text.split(' ') {
        if width > 0 && width + 1 + word.len() > TEXT_WIDTH {
            lines.push('\n');
            width = 0;
        } else if width > 0 {
            lines.push(' ');
            width += 1;
        }
        lines.push_str(word);
        width += word.len();
    }
    lines
}

/// The original recipient with its xtext decoded; an odd one is told as it is.
fn original(given: &str) -> String {
    match OriginalRecipient::parse(given) {
        Some(original) => format!("{};{}", original.kind, original.address),
        None => given.to_owned(),
    }
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
