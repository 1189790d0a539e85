//! What is known of a message while a search decides about it: more with each reading.

use message::{AddressList, Envelope};
use store::MessageMeta;

use super::super::flags::FlagSet;

/// What is known of a message.
pub(super) struct Facts<'a> {
    pub(super) index: usize,
    pub(super) flags: &'a FlagSet,
    pub(super) meta: Option<&'a MessageMeta>,
    pub(super) envelope: Option<&'a Envelope>,
    pub(super) scanned: Option<&'a Scanned>,
    pub(super) indexed: Option<&'a Indexed>,
}

/// What the full-text search has found: for each needle, a bit for each row of the snapshot.
#[derive(Debug, Default)]
pub(super) struct Indexed {
    bits: Vec<Vec<u64>>,
}

impl Indexed {
    pub(super) fn new(needles: usize, rows: usize) -> Self {
        Self {
            bits: vec![vec![0; rows.div_ceil(64)]; needles],
        }
    }

    pub(super) fn add(&mut self, needle: usize, row: usize) {
        if let Some(word) = self
            .bits
            .get_mut(needle)
            .and_then(|bits| bits.get_mut(row / 64))
        {
            *word |= 1 << (row % 64);
        }
    }

    pub(super) fn has(&self, needle: usize, row: usize) -> bool {
        let bits = self.bits.get(needle).and_then(|bits| bits.get(row / 64));
        bits.is_some_and(|word| word & 1 << (row % 64) != 0)
    }
}

/// What reading the letter has shown: for each needle whether it was found.
#[derive(Debug, Default)]
pub(super) struct Scanned {
    /// For each needle, whether it stands in the body.
    pub(super) in_body: Vec<bool>,
    /// For each needle, whether it stands in a header (for TEXT), or in its field (for HEADER).
    pub(super) in_header: Vec<bool>,
}

impl<'a> Facts<'a> {
    pub(super) fn of_row(index: usize, flags: &'a FlagSet) -> Self {
        Self {
            index,
            flags,
            meta: None,
            envelope: None,
            scanned: None,
            indexed: None,
        }
    }

    pub(super) fn with_indexed(mut self, indexed: Option<&'a Indexed>) -> Self {
        self.indexed = indexed;
        self
    }
}

/// The text of a header field as the envelope has it, decoded and in lower case. The outer nothing:
/// the envelope does not hold this field; the inner: the letter does not.
#[expect(clippy::option_option, reason = "the two differ: see above")]
pub(super) fn field_text(envelope: &Envelope, name: &str) -> Option<Option<String>> {
    let addresses = |list: &AddressList| (!list.is_empty()).then(|| address_text(list));
    let text = match name {
        "from" => addresses(&envelope.from),
        "to" => addresses(&envelope.to),
        "cc" => addresses(&envelope.cc),
        "bcc" => addresses(&envelope.bcc),
        "subject" => envelope.decoded_subject(),
        "message-id" => envelope.message_id.clone(),
        "in-reply-to" => envelope.in_reply_to.clone(),
        _ => return None,
    };
    Some(text.map(|text| text.to_lowercase()))
}

fn address_text(list: &AddressList) -> String {
    let mut text = String::new();
    for mailbox in list.mailboxes() {
        if !text.is_empty() {
            text.push_str(", ");
        }
        match mailbox.display_name() {
            Some(name) => {
                text.push_str(&name);
                text.push_str(" <");
                text.push_str(&mailbox.email());
                text.push('>');
            }
            None => text.push_str(&mailbox.email()),
        }
    }
    text
}
