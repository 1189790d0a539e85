//! ENVELOPE (RFC 9051 §7.5.2).

use super::write::Writer;

/// The header fields of an ENVELOPE, as they stand in the letter (unfolded, encoded words kept).
#[derive(Clone, Debug, Default)]
pub struct Envelope<'a> {
    /// `Date`
    pub date: Option<&'a [u8]>,
    /// `Subject`
    pub subject: Option<&'a [u8]>,
    /// `From`
    pub from: Vec<Address<'a>>,
    /// `Sender`
    pub sender: Vec<Address<'a>>,
    /// `Reply-To`
    pub reply_to: Vec<Address<'a>>,
    /// `To`
    pub to: Vec<Address<'a>>,
    /// `Cc`
    pub cc: Vec<Address<'a>>,
    /// `Bcc`
    pub bcc: Vec<Address<'a>>,
    /// `In-Reply-To`
    pub in_reply_to: Option<&'a [u8]>,
    /// `Message-ID`
    pub message_id: Option<&'a [u8]>,
}

/// `address`, or one end of a group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Address<'a> {
    /// A mailbox.
    Mailbox {
        /// The display name.
        name: Option<&'a [u8]>,
        /// The part before the `@`.
        local: &'a [u8],
        /// The part after it.
        domain: &'a [u8],
    },
    /// The start of a group, with its name.
    GroupStart(&'a [u8]),
    /// The end of a group.
    GroupEnd,
}

/// Writes the parenthesised list.
pub fn write(writer: &mut Writer, envelope: &Envelope<'_>) {
    // RFC 9051 §7.5.2: absent Sender and Reply-To are those of From.
    let or_from = |own: &[Address<'_>]| -> bool { own.is_empty() };
    let sender = if or_from(&envelope.sender) {
        &envelope.from
    } else {
        &envelope.sender
    };
    let reply_to = if or_from(&envelope.reply_to) {
        &envelope.from
    } else {
        &envelope.reply_to
    };
    writer.raw("(");
    writer.nstring(envelope.date);
    writer.raw(" ");
    writer.nstring(envelope.subject);
    let lists = [
        &envelope.from,
        sender,
        reply_to,
        &envelope.to,
        &envelope.cc,
        &envelope.bcc,
    ];
    for list in lists {
        writer.raw(" ");
        write_addresses(writer, list);
    }
    writer.raw(" ");
    writer.nstring(envelope.in_reply_to);
    writer.raw(" ");
    writer.nstring(envelope.message_id);
    writer.raw(")");
}

fn write_addresses(writer: &mut Writer, addresses: &[Address<'_>]) {
    if addresses.is_empty() {
        writer.raw("NIL");
        return;
    }
    writer.raw("(");
    for address in addresses {
        // name, source route (always NIL, RFC 9051), local part, domain.
        let (name, local, domain) = match address {
            Address::Mailbox {
                name,
                local,
                domain,
            } => (*name, Some(*local), Some(*domain)),
            Address::GroupStart(name) => (None, Some(*name), None),
            Address::GroupEnd => (None, None, None),
        };
        writer.raw("(");
        writer.nstring(name);
        writer.raw(" NIL ");
        writer.nstring(local);
        writer.raw(" ");
        writer.nstring(domain);
        writer.raw(")");
    }
    writer.raw(")");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absent_fields_and_groups() {
        let from = vec![Address::Mailbox {
            name: Some(b"A \"B\""),
            local: b"a",
            domain: b"x.test",
        }];
        let envelope = Envelope {
            subject: Some(b""),
            from,
            to: vec![Address::GroupStart(b"all"), Address::GroupEnd],
            ..Envelope::default()
        };
        let mut writer = Writer::default();
        write(&mut writer, &envelope);
        let person = "((\"A \\\"B\\\"\" NIL \"a\" \"x.test\"))";
        let group = "((NIL NIL \"all\" NIL)(NIL NIL NIL NIL))";
        assert_eq!(
            String::from_utf8(writer.take()).unwrap(),
            format!("(NIL \"\" {person} {person} {person} {group} NIL NIL NIL NIL)")
        );
    }
}
