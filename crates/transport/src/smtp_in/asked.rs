//! What the sender asked of the letter's way, from the parameters of MAIL and RCPT to what the store
//! keeps, and the reports of success that are due at once (RFC 3461).

use base::{EmailAddress, Timestamp};
use message::write::Action;
use message::{Content, Message, Part};
use proto::smtp::Ret;
use proto::smtp::server::Mail;
use store::{
    DeliverBy, DeliverByMode, DsnReturn, Handling, Letter, Note, Step, StoreError, Submission,
    TlsWish,
};

use super::envelope::{Envelope, Given};
use super::header::Header;
use super::session::Session;
use crate::dsn::{self, About, Item, Reporter};

impl Session<'_> {
    /// RFC 3461 §5.2.3, §5.2.7.2: who asked to hear of success is told when the letter is in the
    /// mailbox, or goes on to several.
    pub(super) async fn success_reports(
        &self,
        envelope: &Envelope,
        letter: &Letter,
        head: &[u8],
        at: Timestamp,
    ) -> Result<Vec<Submission>, StoreError> {
        let Some(sender) = envelope.reverse_path() else {
            return Ok(Vec::new());
        };
        let told = envelope.recipients.iter().enumerate();
        let items: Vec<Item> = told
            .filter(|(_, given)| given.notify.success)
            .filter_map(|(index, given)| Some(Item::success(index, given.placed?)))
            .collect();
        if items.is_empty() {
            return Ok(Vec::new());
        }
        let options = &self.context.options;
        let about = About {
            letter: None,
            sender,
            envelope_id: envelope.mail.envelope_id.as_deref(),
            dsn_return: dsn_return(&envelope.mail),
            needs_utf8: envelope.mail.utf8,
            tls: if envelope.mail.require_tls {
                TlsWish::Required
            } else {
                TlsWish::None
            },
            head,
            size: (head.len() + letter.bytes().len()) as u64,
            received_at: at,
            tried_until: at,
            recipients: envelope
                .recipients
                .iter()
                .map(|given| (&given.address, given.original.as_deref()))
                .collect(),
        };
        let reporter = Reporter {
            hostname: &options.hostname,
            from_domain: &dsn::from_domain(&options.store, &options.hostname, sender).await?,
            // Good news returns no whole letter.
            bytes_max: 0,
            now: at,
            expires_at: at + options.queue_lifetime,
            random: options.entropy.next_u64(),
        };
        let returned = dsn::returned_bytes(&about, &items, letter.bytes(), 0);
        let report = dsn::write_report(&reporter, &about, &items, &returned);
        let report = options.store.letter(report.into()).await?;
        Ok(vec![dsn::submission(&reporter, &about, report)])
    }
}

/// The step of the letter's journey that tells of the reports of success.
pub(super) fn success_note(envelope: &Envelope, at: Timestamp) -> Option<Note> {
    let sender = envelope.reverse_path()?;
    let told = envelope.recipients.iter();
    let told = told.filter(|given| given.notify.success);
    let told: Vec<String> = told
        .filter_map(|given| {
            let word = match given.placed? {
                Action::Delivered => "delivered",
                Action::Expanded => "expanded",
                Action::Relayed => "relayed",
                Action::Delayed => "delayed",
                Action::Failed => "failed",
            };
            Some(format!("{} {word}", given.address))
        })
        .collect();
    Some(Note {
        at,
        recipient: None,
        step: Step::Reported,
        detail: format!("to {sender}: {}", told.join(", ")),
    })
}

pub(super) fn addresses(recipients: &[Given]) -> Vec<EmailAddress> {
    recipients
        .iter()
        .map(|given| given.address.clone())
        .collect()
}

/// What is kept of the wishes of MAIL, and of the header.
pub(super) fn handling(envelope: &Envelope, header: &Header, at: Timestamp) -> Handling {
    let mail = &envelope.mail;
    Handling {
        tls: if mail.require_tls {
            TlsWish::Required
        } else if header.tls_is_optional {
            TlsWish::Optional
        } else {
            TlsWish::None
        },
        deliver_by: mail.deliver_by.map(|by| DeliverBy {
            at: Timestamp(at.millis().saturating_add(by.seconds.saturating_mul(1_000))),
            mode: if by.returned {
                DeliverByMode::Return
            } else {
                DeliverByMode::Notify
            },
            trace: by.trace,
        }),
        priority: mail.priority.unwrap_or(0),
    }
}

/// When the letter is given up: after the queue's time, counted from when it may be sent (RFC 4865
/// §4), or when its own is over (RFC 2852 §4 by-mode `R`).
pub(super) fn expires_at(handling: &Handling, end: Timestamp) -> Timestamp {
    match handling.deliver_by {
        Some(by) if by.mode == DeliverByMode::Return => by.at.min(end),
        _ => end,
    }
}

pub(super) fn dsn_return(mail: &Mail) -> DsnReturn {
    match mail.ret {
        None => DsnReturn::Unasked,
        Some(Ret::Full) => DsnReturn::Full,
        Some(Ret::Headers) => DsnReturn::Headers,
    }
}

/// RFC 6531 §3.2: a letter that was given with SMTPUTF8 and has nothing of it in addresses and
/// header can travel to every server.
pub(super) fn needs_utf8(envelope: &Envelope, letter: &[u8]) -> bool {
    let queued = envelope.queued.keys();
    let mut addresses = envelope.reverse_path().into_iter().chain(queued);
    addresses.any(EmailAddress::needs_utf8)
        || (envelope.mail.utf8 && !letter.is_ascii() && {
            let message = Message::parse(letter);
            has_utf8_header(&message, message.root())
        })
}

/// Whether a header of the part, or of one inside of it, has UTF-8.
fn has_utf8_header(message: &Message<'_>, part: &Part) -> bool {
    let inside = |part: &Part| has_utf8_header(message, part);
    !message.bytes(part.header).is_ascii()
        || match &part.content {
            Content::Leaf => false,
            Content::Multipart(parts) => parts.iter().any(inside),
            Content::Message(inner) => inside(&inner.root),
        }
}
