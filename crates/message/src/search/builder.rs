//! The texts of a letter, put together part by part.

use super::{Source, SourceKind, TextLimits, sources};
use crate::body::{charset_to_utf8, html_to_text};
use crate::office::office_text;
use crate::{AddressList, Content, Envelope, Fields, Message, Part, Structure};

/// A plain text of fewer bytes may stand for an HTML one that it does not repeat ("your program
/// cannot show this letter").
const STUB_BYTES_MAX: usize = 1_024;

/// What of a letter is searched, as UTF-8 for people.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SearchText {
    /// The decoded Subject.
    pub subject: String,
    /// Names and addresses of From, Sender, Reply-To, To, Cc and Bcc.
    pub addresses: String,
    /// Other header fields, each with its name; those of servers on the way are left out.
    pub header: String,
    /// The text that is read as the letter.
    pub body: String,
    /// File names, and the texts of attachments and inner letters with their subjects and addresses.
    pub attachments: String,
}

impl SearchText {
    /// The texts of a letter that is in memory. PDF is left out.
    #[must_use]
    pub fn of(message: &Message<'_>, limits: &TextLimits) -> Self {
        let mut builder = TextBuilder::new(message.structure(), limits);
        builder.header(message.header());
        for source in sources(message.structure(), limits) {
            builder.part(&source, message.bytes(source.span));
        }
        builder.finish()
    }
}

/// Puts the texts together.
pub struct TextBuilder {
    text: SearchText,
    limits: TextLimits,
    /// Bytes of body and attachments that may still come.
    left: usize,
}

impl TextBuilder {
    /// Begins with what the structure says: subject, addresses, file names.
    #[must_use]
    pub fn new(structure: &Structure, limits: &TextLimits) -> Self {
        let mut builder = Self {
            text: SearchText::default(),
            limits: *limits,
            left: limits.text_bytes_max,
        };
        let envelope = &structure.envelope;
        let subject = envelope.decoded_subject().unwrap_or_default();
        append(&mut builder.text.subject, &subject, limits.header_bytes_max);
        push_addresses(
            &mut builder.text.addresses,
            envelope,
            limits.header_bytes_max,
        );
        builder.names(&structure.root);
        builder
    }

    /// Takes the header of the letter.
    pub fn header(&mut self, header: &[u8]) {
        for field in Fields::new(header) {
            let name = String::from_utf8_lossy(field.name);
            if is_of_no_interest(&name.to_ascii_lowercase()) {
                continue;
            }
            let line = format!("{name}: {}", field.text());
            append(&mut self.text.header, &line, self.limits.header_bytes_max);
        }
    }

    /// Takes the bytes of a part, still encoded. A damaged document gives no text; a PDF gives none
    /// either.
    pub fn part(&mut self, source: &Source<'_>, encoded: &[u8]) {
        if self.left == 0 {
            return;
        }
        let data = source.part.transfer_encoding().decode(encoded);
        let text = match source.kind {
            SourceKind::Plain => charset_to_utf8(&data, &source.part.charset()).into_owned(),
            SourceKind::Html => {
                let html = charset_to_utf8(&data, &source.part.charset());
                html_to_text(&html, self.left)
            }
            SourceKind::Office(kind) => office_text(&data, kind, self.left),
            SourceKind::Pdf => return,
        };
        self.extracted(source, &text);
    }

    /// Takes the text of a part that somebody else has read.
    pub fn extracted(&mut self, source: &Source<'_>, text: &str) {
        if source.is_alternative {
            let plain = self.text.body.len();
            if plain > STUB_BYTES_MAX || text.len() < plain.saturating_mul(2) {
                return;
            }
        }
        let place = if source.is_body {
            &mut self.text.body
        } else {
            &mut self.text.attachments
        };
        let before = place.len();
        append(place, text, before.saturating_add(self.left));
        self.left = self.left.saturating_sub(place.len() - before);
    }

    /// Whether more text would be left out anyway.
    #[must_use]
    pub const fn is_full(&self) -> bool {
        self.left == 0
    }

    /// The texts.
    #[must_use]
    pub fn finish(self) -> SearchText {
        self.text
    }

    /// File names and descriptions of parts, and what inner letters are about.
    fn names(&mut self, part: &Part) {
        let limit = self.limits.header_bytes_max;
        for name in [part.filename(), part.decoded_description()]
            .into_iter()
            .flatten()
        {
            append(&mut self.text.attachments, &name, limit);
        }
        match &part.content {
            Content::Leaf => {}
            Content::Multipart(children) => {
                for child in children {
                    self.names(child);
                }
            }
            Content::Message(inner) => {
                let subject = inner.envelope.decoded_subject().unwrap_or_default();
                append(&mut self.text.attachments, &subject, limit);
                push_addresses(&mut self.text.attachments, &inner.envelope, limit);
                self.names(&inner.root);
            }
        }
    }
}

/// Fields that say how a letter travelled and what programs think of it, ids, and those that have
/// places of their own.
fn is_of_no_interest(name: &str) -> bool {
    matches!(
        name,
        "subject"
            | "from"
            | "sender"
            | "reply-to"
            | "to"
            | "cc"
            | "bcc"
            | "date"
            | "message-id"
            | "in-reply-to"
            | "references"
            | "received"
            | "return-path"
            | "delivered-to"
            | "x-received"
            | "authentication-results"
            | "received-spf"
            | "mime-version"
            | "thread-index"
            | "autocrypt"
            | "face"
            | "x-face"
    ) || [
        "content-",
        "arc-",
        "dkim-",
        "domainkey-",
        "x-google-",
        "x-ms-exchange-",
    ]
    .iter()
    .any(|start| name.starts_with(start))
        || name.ends_with("-signature")
}

fn push_addresses(out: &mut String, envelope: &Envelope, bytes_max: usize) {
    let lists: [&AddressList; 6] = [
        &envelope.from,
        &envelope.sender,
        &envelope.reply_to,
        &envelope.to,
        &envelope.cc,
        &envelope.bcc,
    ];
    for mailbox in lists.into_iter().flat_map(AddressList::mailboxes) {
        if out.len() >= bytes_max {
            return;
        }
        let line = match mailbox.display_name() {
            Some(name) => format!("{name} <{}>", mailbox.email()),
            None => mailbox.email(),
        };
        append(out, &line, bytes_max);
    }
}

/// Adds a text on a line of its own, as far as there is room; cut between two letters.
fn append(out: &mut String, text: &str, bytes_max: usize) {
    let room = bytes_max.saturating_sub(out.len());
    if text.is_empty() || room < 2 {
        return;
    }
    if !out.is_empty() {
        out.push('\n');
    }
    let end = text.floor_char_boundary(room - 1);
    out.push_str(&text[..end]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};

    fn check(raw: &str, expected: &Expect) {
        let message = Message::parse(raw.as_bytes());
        let text = SearchText::of(&message, &TextLimits::default());
        expected.assert_debug_eq(&text);
    }

    #[test]
    fn a_letter_with_all_of_it() {
        check(
            "Received: from somewhere\nFrom: =?utf-8?Q?J=C3=BCrgen?= <j@red.test>\nTo: bob@red.test\n\
             Subject: =?utf-8?Q?Gr=C3=BC=C3=9Fe?=\nX-Thing: 42\n\
             Content-Type: multipart/mixed; boundary=x\n\n--x\n\
             Content-Type: multipart/alternative; boundary=y\n\n--y\n\nplain text\n--y\n\
             Content-Type: text/html\n\n<p>plain text</p>\n--y--\n--x\n\
             Content-Type: application/octet-stream; name=\"list of things.csv\"\n\
             Content-Transfer-Encoding: base64\n\nYXBwbGUscGVhcg==\n--x\n\
             Content-Type: image/png; name=cat.png\n\npixels\n--x\n\
             Content-Type: message/rfc822\n\nSubject: inner\nFrom: carol@black.test\n\ninner text\n--x--\n",
            &expect![[r#"
                SearchText {
                    subject: "Grüße",
                    addresses: "Jürgen <j@red.test>\nbob@red.test",
                    header: "X-Thing: 42",
                    body: "plain text",
                    attachments: "list of things.csv\ncat.png\ninner\ncarol@black.test\napple,pear\ninner text",
                }
            "#]],
        );
    }

    #[test]
    fn html_that_says_more_than_its_plain_form() {
        let letter = |plain: &str| {
            format!(
                "Content-Type: multipart/alternative; boundary=y\n\n--y\n\n{plain}\n--y\n\
                 Content-Type: text/html\n\n<p>the whole news of this long week</p>\n--y--\n"
            )
        };
        let body = |plain: &str| {
            let raw = letter(plain);
            let message = Message::parse(raw.as_bytes());
            SearchText::of(&message, &TextLimits::default()).body
        };
        assert_eq!(
            body("no HTML?"),
            "no HTML?\nthe whole news of this long week"
        );
        assert_eq!(
            body("the whole news of this long week"),
            "the whole news of this long week"
        );
    }

    #[test]
    fn everything_is_bounded() {
        let limits = TextLimits {
            text_bytes_max: 100,
            header_bytes_max: 20,
            part_bytes_max: 60,
            document_bytes_max: 100,
            read_bytes_max: 1_000,
            parts_max: 3,
        };
        let part = format!("--x\n\n{}\n", "\u{e4}bc ".repeat(40));
        let raw = format!(
            "Subject: {}\nX-A: {}\nTo: {}\nContent-Type: multipart/mixed; boundary=x\n\n{}--x--\n",
            "s".repeat(50),
            "t".repeat(50),
            "a@b.test,".repeat(50),
            part.repeat(10)
        );
        let message = Message::parse(raw.as_bytes());
        assert_eq!(sources(message.structure(), &limits).len(), 3);
        let text = SearchText::of(&message, &limits);
        for bounded in [&text.subject, &text.header, &text.addresses] {
            assert!((1..=20).contains(&bounded.len()), "{text:?}");
        }
        let all = text.body.len() + text.attachments.len();
        assert!((90..=103).contains(&all), "{text:?}");
    }
}
