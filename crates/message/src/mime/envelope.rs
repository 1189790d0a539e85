//! The envelope of IMAP and the convenience fields of JMAP: what lists, searches and threads need
//! of a letter's header.

use crate::ParseLimits;
use crate::header::{
    AddressList, Date, Field, Mailbox, decode_words, parse_addresses, parse_date, parse_message_ids,
};

/// The header fields of RFC 9051 §7.5.2 ENVELOPE, with References (JMAP, threads).
///
/// Texts are unfolded UTF-8 with encoded words left as they are, as IMAP shows them; the methods
/// decode.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Envelope {
    /// The Date field as written.
    pub date: Option<String>,
    /// The Subject field, encoded words not decoded.
    pub subject: Option<String>,
    /// From.
    pub from: AddressList,
    /// Sender as written; IMAP shows [`Envelope::sender_or_from`].
    pub sender: AddressList,
    /// Reply-To as written; IMAP shows [`Envelope::reply_to_or_from`].
    pub reply_to: AddressList,
    /// To.
    pub to: AddressList,
    /// Cc.
    pub cc: AddressList,
    /// Bcc.
    pub bcc: AddressList,
    /// The In-Reply-To field as written.
    pub in_reply_to: Option<String>,
    /// The Message-ID field as written, with its angle brackets.
    pub message_id: Option<String>,
    /// The References field as written.
    pub references: Option<String>,
}

impl Envelope {
    /// The Subject for people.
    #[must_use]
    pub fn decoded_subject(&self) -> Option<String> {
        self.subject
            .as_deref()
            .map(|s| decode_words(s).into_owned())
    }

    /// The Date, if it can be read.
    #[must_use]
    pub fn sent_at(&self) -> Option<Date> {
        parse_date(self.date.as_deref()?)
    }

    /// Sender, or From where there is none (RFC 9051 §7.5.2 asks for this).
    #[must_use]
    pub fn sender_or_from(&self) -> &AddressList {
        non_empty_or(&self.sender, &self.from)
    }

    /// Reply-To, or From where there is none (RFC 9051 §7.5.2 asks for this).
    #[must_use]
    pub fn reply_to_or_from(&self) -> &AddressList {
        non_empty_or(&self.reply_to, &self.from)
    }

    /// The first author.
    #[must_use]
    pub fn first_from(&self) -> Option<&Mailbox> {
        self.from.mailboxes().next()
    }

    /// The id of the letter, without angle brackets.
    #[must_use]
    pub fn id(&self) -> Option<String> {
        ids(self.message_id.as_deref()).into_iter().next()
    }

    /// The ids of In-Reply-To, without angle brackets.
    #[must_use]
    pub fn in_reply_to_ids(&self) -> Vec<String> {
        ids(self.in_reply_to.as_deref())
    }

    /// The ids of References, without angle brackets, oldest first.
    #[must_use]
    pub fn reference_ids(&self) -> Vec<String> {
        ids(self.references.as_deref())
    }

    /// Takes over one field of the header. Of texts the first counts; addresses add up.
    pub(super) fn take(&mut self, field: &Field<'_>, limits: &ParseLimits) {
        let text = match field.name.to_ascii_lowercase().as_slice() {
            b"date" => &mut self.date,
            b"subject" => &mut self.subject,
            b"in-reply-to" => &mut self.in_reply_to,
            b"message-id" => &mut self.message_id,
            b"references" => &mut self.references,
            b"from" => return add(&mut self.from, field, limits),
            b"sender" => return add(&mut self.sender, field, limits),
            b"reply-to" => return add(&mut self.reply_to, field, limits),
            b"to" => return add(&mut self.to, field, limits),
            b"cc" => return add(&mut self.cc, field, limits),
            b"bcc" => return add(&mut self.bcc, field, limits),
            _ => return,
        };
        if text.is_none() {
            *text = Some(field.raw_text());
        }
    }
}

fn non_empty_or<'a>(list: &'a AddressList, other: &'a AddressList) -> &'a AddressList {
    if list.is_empty() { other } else { list }
}

fn ids(text: Option<&str>) -> Vec<String> {
    text.map(|t| parse_message_ids(t.as_bytes()))
        .unwrap_or_default()
}

fn add(list: &mut AddressList, field: &Field<'_>, limits: &ParseLimits) {
    let left = limits.addresses_max.saturating_sub(list.0.len());
    list.0.append(&mut parse_addresses(field.value, left).0);
}
