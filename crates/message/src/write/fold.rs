//! Folding of header fields (RFC 5322 §2.2.3).

use super::words::{encode_phrase, encode_text};
use crate::header::Mailbox;

/// RFC 5322 §2.1.1: lines should be no longer than this, without CRLF.
const LINE_CHARS_WANTED: usize = 78;
/// RFC 5322 §2.1.1: lines must be no longer than this, without CRLF.
const LINE_BYTES_MAX: usize = 998;

/// Writes header fields one after the other: each folded, each with CRLF, no control bytes in any
/// value, whatever it is made of.
#[derive(Clone, Debug, Default)]
pub struct HeaderWriter {
    out: Vec<u8>,
}

impl HeaderWriter {
    /// With nothing written yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A field whose value is written as it is, folded at its spaces. UTF-8 stays (RFC 6532).
    #[must_use]
    pub fn raw(mut self, name: &str, value: &str) -> Self {
        self.fold(name, value.split_ascii_whitespace());
        self
    }

    /// A field of free text: encoded words where it is not ASCII (RFC 2047).
    #[must_use]
    pub fn text(self, name: &str, value: &str) -> Self {
        let encoded = encode_text(value);
        self.raw(name, &encoded)
    }

    /// A field of mailboxes. A local part that is not ASCII stays UTF-8 (RFC 6532).
    #[must_use]
    pub fn addresses(mut self, name: &str, mailboxes: &[Mailbox]) -> Self {
        let list: Vec<String> = mailboxes.iter().map(format_mailbox).collect();
        // Two spaces in a quoted local part or name are two: only the ones at a fold are special.
        self.fold(name, list.join(", ").split(' '));
        self
    }

    /// The fields, without the empty line that ends a header.
    #[must_use]
    pub fn finish(self) -> Vec<u8> {
        self.out
    }

    fn fold<'v>(&mut self, name: &str, words: impl Iterator<Item = &'v str>) {
        // RFC 5322 §2.2: printable ASCII without the colon; anything else would end the name.
        let name = name.bytes().filter(|b| b.is_ascii_graphic() && *b != b':');
        let start = self.out.len();
        self.out.extend(name);
        self.out.push(b':');
        let mut line_length = self.out.len() - start;
        let mut first = true;
        for word in words {
            let mut word = clean(word);
            // The first word stays beside the name unless it cannot: some readers do not like a
            // first line without a value.
            let fits = line_length + 1 + word.len() <= LINE_CHARS_WANTED;
            if !fits && !first || line_length + 1 + word.len() > LINE_BYTES_MAX {
                self.out.extend_from_slice(b"\r\n");
                line_length = 0;
            }
            self.out.push(b' ');
            line_length += 1;
            // Only hostile input has such words: cut rather than too long.
            while line_length + word.len() > LINE_BYTES_MAX {
                let cut = floor_char_boundary(&word, LINE_BYTES_MAX - line_length);
                self.out.extend_from_slice(&word.as_bytes()[..cut]);
                self.out.extend_from_slice(b"\r\n ");
                line_length = 1;
                word.drain(..cut);
            }
            self.out.extend_from_slice(word.as_bytes());
            line_length += word.len();
            first = false;
        }
        self.out.extend_from_slice(b"\r\n");
    }
}

/// No control character gets into a header.
fn clean(word: &str) -> String {
    word.chars().filter(|c| !c.is_control()).collect()
}

fn floor_char_boundary(text: &str, at: usize) -> usize {
    (0..=at.min(text.len()))
        .rev()
        .find(|at| text.is_char_boundary(*at))
        .unwrap_or(0)
}

fn format_mailbox(mailbox: &Mailbox) -> String {
    let email = match mailbox.to_address() {
        Some(address) => address.to_string(),
        None => mailbox.email(),
    };
    match mailbox
        .display_name()
        .filter(|name| !name.trim().is_empty())
    {
        Some(name) => format!("{} <{email}>", encode_phrase(&name)),
        None => email,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    #[test]
    fn long_fields_are_folded() {
        let header = HeaderWriter::new()
            .text("Subject", &"word ".repeat(30))
            .raw("X\r\n:", "a\r\nInjected: yes")
            .raw("Y", &"x".repeat(2_000))
            .finish();
        let text = String::from_utf8(header).unwrap();
        assert!(text.ends_with("\r\n"));
        assert!(text.lines().all(|line| line.len() <= LINE_BYTES_MAX));
        expect![[r#"
            Subject: word word word word word word word word word word word word word word
             word word word word word word word word word word word word word word word
             word
            X: a Injected: yes"#]]
        .assert_eq(&text.lines().take(4).collect::<Vec<_>>().join("\n"));
    }

    #[test]
    fn mailboxes() {
        let mailbox = |name: &str, local: &str| Mailbox {
            name: Some(name.to_owned()),
            local: local.to_owned(),
            domain: "x.test".to_owned(),
        };
        let list = [
            mailbox("Bob", "bob"),
            mailbox("Doe, \"J\"", "a  b"),
            mailbox("Jörg", "j"),
            mailbox("", "k"),
        ];
        let header = HeaderWriter::new().addresses("To", &list).finish();
        expect![[r#"
            To: Bob <bob@x.test>, "Doe, \"J\"" <"a  b"@x.test>, =?utf-8?b?SsO2cmc=?=
             <j@x.test>, k@x.test
        "#]]
        .assert_eq(
            &String::from_utf8(header.clone())
                .unwrap()
                .replace("\r\n", "\n"),
        );
        let read = crate::Message::parse(&header).into_structure().envelope.to;
        let read: Vec<_> = read.mailboxes().map(Mailbox::email).collect();
        assert_eq!(read, ["bob@x.test", "a  b@x.test", "j@x.test", "k@x.test"]);
    }
}
