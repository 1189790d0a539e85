//! Cached envelopes and structures as the writer of responses wants them: borrowed, not copied.

use message::{Address, AddressList, Content, Envelope, Mailbox, Param, Part};
use proto::imap::bodystructure::{self, Parameters};
use proto::imap::envelope;

pub(super) fn envelope_view(cached: &Envelope) -> envelope::Envelope<'_> {
    envelope::Envelope {
        date: bytes(cached.date.as_ref()),
        subject: bytes(cached.subject.as_ref()),
        from: addresses(&cached.from),
        sender: addresses(&cached.sender),
        reply_to: addresses(&cached.reply_to),
        to: addresses(&cached.to),
        cc: addresses(&cached.cc),
        bcc: addresses(&cached.bcc),
        in_reply_to: bytes(cached.in_reply_to.as_ref()),
        message_id: bytes(cached.message_id.as_ref()),
    }
}

fn addresses(list: &AddressList) -> Vec<envelope::Address<'_>> {
    let mut views = Vec::with_capacity(list.0.len());
    for address in &list.0 {
        match address {
            Address::Mailbox(mailbox) => views.push(mailbox_view(mailbox)),
            Address::Group(group) => {
                views.push(envelope::Address::GroupStart(group.name.as_bytes()));
                views.extend(group.members.iter().map(mailbox_view));
                views.push(envelope::Address::GroupEnd);
            }
        }
    }
    views
}

fn mailbox_view(mailbox: &Mailbox) -> envelope::Address<'_> {
    envelope::Address::Mailbox {
        name: bytes(mailbox.name.as_ref()),
        local: mailbox.local.as_bytes(),
        domain: mailbox.domain.as_bytes(),
    }
}

/// The depth is bounded by that of the cached structure.
pub(super) fn part_view(part: &Part) -> bodystructure::Part<'_> {
    let content = match &part.content {
        Content::Leaf => bodystructure::Content::Single,
        Content::Multipart(children) => {
            bodystructure::Content::Multipart(children.iter().map(part_view).collect())
        }
        Content::Message(inner) => bodystructure::Content::Message(Box::new((
            envelope_view(&inner.envelope),
            part_view(&inner.root),
        ))),
    };
    let disposition = part.disposition.as_ref();
    bodystructure::Part {
        media_type: part.content_type.as_bytes(),
        media_subtype: part.subtype.as_bytes(),
        parameters: parameters(&part.params),
        id: bytes(part.id.as_ref()),
        description: bytes(part.description.as_ref()),
        encoding: part.encoding.as_bytes(),
        body_bytes: part.body.len() as u64,
        body_lines: u64::from(part.lines),
        md5: bytes(part.md5.as_ref()),
        disposition: disposition.map(|d| (d.value.as_bytes(), parameters(&d.params))),
        languages: part.language.iter().map(String::as_bytes).collect(),
        location: bytes(part.location.as_ref()),
        content,
    }
}

fn parameters(params: &[Param]) -> Parameters<'_> {
    params
        .iter()
        .map(|param| (param.name.as_bytes(), param.value.as_bytes()))
        .collect()
}

fn bytes(text: Option<&String>) -> Option<&[u8]> {
    text.map(String::as_bytes)
}
