//! Who gets an automatic answer, and the answer itself: RFC 5230 §4.5 to §5.8 and RFC 3834. Pure
//! decisions; whether the sender has had one already is the host's to know.

use base::{EmailAddress, Timestamp};
use message::write::{HeaderWriter, format_date};
use message::{Mailbox, Message};

use crate::outcome::FileInto;

/// Addresses of one header field that are compared with the user's; letters to more people are not
/// to this one.
const ADDRESSES_MAX: usize = 1_000;

/// Message ids kept in References: RFC 5322 §3.6.4 lets old ones go.
const REFERENCES_MAX: usize = 20;

/// An answer to the sender of a letter.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VacationAnswer {
    /// The sender: the reverse-path of the letter.
    pub to: EmailAddress,
    /// From field: `:from`, else the address that the letter came to.
    pub from: Mailbox,
    /// `:subject`, else `Auto: ` and the letter's.
    pub subject: String,
    /// The text, or with `mime` a MIME entity with its own header.
    pub reason: String,
    /// `:mime`.
    pub mime: bool,
    /// `:handle`, as written.
    pub handle: Option<String>,
    /// Which answer it is: equal for answers that count as the same (RFC 5230 §4.2). The host keeps
    /// it with the sender's address.
    pub key: String,
    /// How long the sender has no second one, in seconds, within the user's limits.
    pub seconds: u64,
    /// The Message-ID of the letter, without angle brackets.
    pub in_reply_to: Option<String>,
    /// The References of the answer, oldest first.
    pub references: Vec<String>,
    /// `:fcc`: where a copy is stored (RFC 8580).
    pub fcc: Option<FileInto>,
}

impl VacationAnswer {
    /// The answer as a letter. Its reverse-path is null (RFC 5230 §5.1); `message_id` is without
    /// angle brackets.
    #[must_use]
    pub fn to_bytes(&self, now: Timestamp, message_id: &str) -> Vec<u8> {
        let to = Mailbox {
            name: None,
            local: self.to.local.as_str().to_owned(),
            domain: self.to.domain.as_str().to_owned(),
        };
        let mut header = HeaderWriter::new()
            .raw("Date", &format_date(now))
            .addresses("From", std::slice::from_ref(&self.from))
            .addresses("To", &[to])
            .text("Subject", &self.subject)
            .raw("Message-ID", &format!("<{message_id}>"));
        if let Some(id) = &self.in_reply_to {
            header = header.raw("In-Reply-To", &format!("<{id}>"));
        }
        if !self.references.is_empty() {
            let ids: Vec<String> = self.references.iter().map(|id| format!("<{id}>")).collect();
            header = header.raw("References", &ids.join(" "));
        }
        // RFC 3834 §3.1.7 and §3.1.8; others know only the old sign.
        let header = header
            .raw("Auto-Submitted", "auto-replied (vacation)")
            .raw("Precedence", "bulk")
            .raw("X-Auto-Response-Suppress", "All")
            .raw("MIME-Version", "1.0");
        let mut out = header.finish();
        if self.mime {
            out.extend_from_slice(entity(&self.reason).as_bytes());
        } else {
            out.extend_from_slice(&text_entity(&self.reason));
        }
        out
    }
}

/// A MIME entity that a script wrote: fields, an empty line, a body. Lines end with CRLF; what does
/// not begin with a field is a body.
pub(crate) fn entity(text: &str) -> String {
    let text = with_crlf(text);
    let has_header = text.split("\r\n").next().is_some_and(|line| {
        line.is_empty()
            || line
                .split_once(':')
                .is_some_and(|(name, _)| crate::compile::is_field_name(name))
    });
    if has_header {
        text
    } else {
        format!("\r\n{text}")
    }
}

/// A plain text with the fields that say so.
pub(crate) fn text_entity(text: &str) -> Vec<u8> {
    let text = with_crlf(text);
    let lines_fit = text.split("\r\n").all(|line| line.len() <= 998);
    if text.is_ascii() && lines_fit {
        let mut out = b"Content-Type: text/plain; charset=us-ascii\r\n\r\n".to_vec();
        out.extend_from_slice(text.as_bytes());
        return out;
    }
    let mut out = b"Content-Type: text/plain; charset=utf-8\r\n\
        Content-Transfer-Encoding: quoted-printable\r\n\r\n"
        .to_vec();
    quoted_printable(&text, &mut out);
    out
}

/// RFC 2045 §6.7, with lines of at most 76 characters.
fn quoted_printable(text: &str, out: &mut Vec<u8>) {
    for (at, line) in text.split("\r\n").enumerate() {
        if at > 0 {
            out.extend_from_slice(b"\r\n");
        }
        let mut length = 0;
        for (at, byte) in line.bytes().enumerate() {
            let plain = matches!(byte, b'!'..=b'<' | b'>'..=b'~')
                || matches!(byte, b' ' | b'\t') && at + 1 < line.len();
            let needed = if plain { 1 } else { 3 };
            if length + needed > 75 {
                out.extend_from_slice(b"=\r\n");
                length = 0;
            }
            if plain {
                out.push(byte);
            } else {
                out.extend_from_slice(format!("={byte:02X}").as_bytes());
            }
            length += needed;
        }
    }
}

fn with_crlf(text: &str) -> String {
    let mut out = text.replace("\r\n", "\n").replace(['\r', '\n'], "\r\n");
    if !out.is_empty() && !out.ends_with("\r\n") {
        out.push_str("\r\n");
    }
    out
}

/// Why there is no answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NoAnswer {
    /// The reverse-path is null: the letter is a report itself (RFC 5230 §4.6).
    NullReversePath,
    /// The sender is the user (RFC 5230 §4.6).
    FromUser,
    /// The sender is no person: a mail system, the owner of a list (RFC 5230 §4.6, RFC 3834 §2).
    FromSystem,
    /// The letter was sent by a program (RFC 3834 §2).
    AutoSubmitted,
    /// The letter came over a mailing list (RFC 5230 §4.6).
    FromList,
    /// The letter's Precedence is bulk, list or junk (RFC 3834 §2).
    Bulk,
    /// The sender wants no automatic answers.
    Suppressed,
    /// No address of the user stands in the letter (RFC 5230 §4.5).
    NotAddressed,
    /// The sender has had this answer (RFC 5230 §4.2).
    Answered,
}

impl NoAnswer {
    /// For the journey.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::NullReversePath => "no automatic answer: the letter has no sender to answer",
            Self::FromUser => "no automatic answer: the letter is from the user",
            Self::FromSystem => "no automatic answer: the sender is a mail system or a list",
            Self::AutoSubmitted => "no automatic answer: the letter was sent by a program",
            Self::FromList => "no automatic answer: the letter came over a mailing list",
            Self::Bulk => "no automatic answer: the letter is bulk mail",
            Self::Suppressed => "no automatic answer: the sender asks for none",
            Self::NotAddressed => "no automatic answer: the letter is not addressed to the user",
            Self::Answered => "no automatic answer: the sender has had it already",
        }
    }
}

/// Whether the sender may have an answer, as far as the letter tells.
///
/// `own` are the addresses of the user, those of `:addresses` among them.
///
/// # Errors
/// Why there is none.
pub fn may_answer<'s>(
    letter: &Message<'_>,
    reverse_path: Option<&'s EmailAddress>,
    own: &[EmailAddress],
) -> Result<&'s EmailAddress, NoAnswer> {
    let sender = reverse_path.ok_or(NoAnswer::NullReversePath)?;
    let is_own = |address: &EmailAddress| own.iter().any(|own| own.key() == address.key());
    if is_own(sender) {
        return Err(NoAnswer::FromUser);
    }
    if is_system(&sender.local.as_str().to_ascii_lowercase()) {
        return Err(NoAnswer::FromSystem);
    }
    let mut addressed = false;
    for field in letter.fields() {
        let name = field.name.to_ascii_lowercase();
        match name.as_slice() {
            b"auto-submitted" => {
                let text = field.raw_text();
                let keyword = text.split([';', '(', ' ']).next().unwrap_or_default();
                // RFC 3834 §5: what is not "no" was sent by a program.
                if !keyword.eq_ignore_ascii_case("no") {
                    return Err(NoAnswer::AutoSubmitted);
                }
            }
            // RFC 2369, RFC 2919.
            b"list-id" | b"list-help" | b"list-subscribe" | b"list-unsubscribe" | b"list-post"
            | b"list-owner" | b"list-archive" | b"mailing-list" => return Err(NoAnswer::FromList),
            b"precedence" => {
                let text = field.raw_text().to_ascii_lowercase();
                if ["bulk", "list", "junk"]
                    .iter()
                    .any(|word| text.starts_with(word))
                {
                    return Err(NoAnswer::Bulk);
                }
            }
            // Exchange and its clients.
            b"x-auto-response-suppress" => {
                let text = field.raw_text().to_ascii_lowercase();
                if text
                    .split(',')
                    .any(|word| matches!(word.trim(), "all" | "oof" | "autoreply"))
                {
                    return Err(NoAnswer::Suppressed);
                }
            }
            b"to" | b"cc" | b"bcc" | b"resent-to" | b"resent-cc" | b"resent-bcc" => {
                let list = field.addresses();
                let mut mailboxes = list.mailboxes().take(ADDRESSES_MAX);
                addressed |=
                    mailboxes.any(|m| m.to_address().is_some_and(|address| is_own(&address)));
            }
            _ => {}
        }
    }
    if addressed {
        Ok(sender)
    } else {
        Err(NoAnswer::NotAddressed)
    }
}

/// RFC 5230 §4.6 names them.
fn is_system(local: &str) -> bool {
    const WHOLE: &[&str] = &[
        "mailer-daemon",
        "mailerdaemon",
        "listserv",
        "majordomo",
        "noreply",
        "no-reply",
        "donotreply",
        "do-not-reply",
        "bounce",
        "bounces",
        "daemon",
        "nobody",
    ];
    const ENDS: &[&str] = &[
        "-request", "-owner", "-bounces", "-bounce", "-relay", "-confirm", "-errors",
    ];
    const STARTS: &[&str] = &[
        "owner-",
        "bounce-",
        "bounces-",
        "bounce+",
        "bounces+",
        "mailer-daemon",
    ];
    let user = local.split('+').next().unwrap_or(local);
    WHOLE.contains(&user)
        || ENDS
            .iter()
            .any(|end| user.ends_with(end) || user.ends_with(&end.replace('-', "_")))
        || STARTS.iter().any(|start| local.starts_with(start))
}

/// What of the letter the answer takes over (RFC 5230 §5.4 to §5.8).
pub(crate) struct Thread {
    pub(crate) in_reply_to: Option<String>,
    pub(crate) references: Vec<String>,
    pub(crate) subject: String,
}

impl Thread {
    pub(crate) fn of(letter: &Message<'_>) -> Self {
        let envelope = letter.envelope();
        let id = envelope.id();
        let mut references = envelope.reference_ids();
        if references.is_empty() {
            // RFC 5322 §3.6.4: a single id of In-Reply-To stands in.
            references = envelope.in_reply_to_ids();
            references.truncate(1);
        }
        references.extend(id.clone());
        let too_many = references.len().saturating_sub(REFERENCES_MAX);
        // The first one names the conversation.
        if too_many > 0 {
            references.drain(1..=too_many);
        }
        Self {
            in_reply_to: id,
            references,
            subject: envelope.decoded_subject().unwrap_or_default(),
        }
    }
}

/// Exactly one mailbox: `me@example.org` or `Me <me@example.org>`.
pub(crate) fn one_mailbox(text: &str) -> Option<Mailbox> {
    let list = message::header::parse_addresses(text.as_bytes(), 2);
    let mut mailboxes = list.mailboxes();
    let first = mailboxes
        .next()
        .filter(|mailbox| mailbox.to_address().is_some())?;
    mailboxes.next().is_none().then(|| first.clone())
}

/// A subject is one line.
pub(crate) fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
