//! Writing of responses (RFC 9051 §7, §9): status lines, strings in the shortest form that is
//! allowed, literals.

use std::fmt::{self, Write as _};

use super::code::Code;
use super::mailbox::MailboxName;
use super::tag::Tag;
use super::utf7;

/// Longest text that is sent between quotes; longer ones are literals.
const QUOTED_BYTES_MAX: usize = 1_000;

/// What stands for NUL in a literal; Dovecot sends the same, so clients have seen it.
const NUL_REPLACED: u8 = 0x80;

/// The outcome of a command, or of the connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Status {
    /// `OK`
    Ok,
    /// `NO`
    No,
    /// `BAD`
    Bad,
    /// `BYE`
    Bye,
    /// `PREAUTH`
    PreAuth,
}

impl Status {
    const fn name(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::No => "NO",
            Self::Bad => "BAD",
            Self::Bye => "BYE",
            Self::PreAuth => "PREAUTH",
        }
    }
}

/// Collects responses. The caller takes the bytes with [`Writer::take`] and sends them before they
/// grow large.
#[derive(Debug, Default)]
pub struct Writer {
    out: Vec<u8>,
    utf8: bool,
}

impl Writer {
    /// From now on quoted strings and mailbox names may be UTF-8 (RFC 9051 §5.1, RFC 6855 §3).
    pub fn use_utf8(&mut self) {
        self.utf8 = true;
    }

    /// Whether UTF-8 may be sent.
    #[must_use]
    pub fn is_utf8(&self) -> bool {
        self.utf8
    }

    /// How many bytes wait to be sent.
    #[must_use]
    pub fn len(&self) -> usize {
        self.out.len()
    }

    /// Whether nothing waits to be sent.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.out.is_empty()
    }

    /// The bytes to send.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.out
    }

    /// Forgets the bytes, once they are sent.
    pub fn clear(&mut self) {
        self.out.clear();
        // One large response must not hold its memory for the rest of the session.
        self.out.shrink_to(64 * 1024);
    }

    /// Takes the bytes out.
    #[must_use]
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.out)
    }

    /// Text as it is; never a peer's.
    pub fn raw(&mut self, text: &str) {
        self.out.extend_from_slice(text.as_bytes());
    }

    /// Numbers and other values whose text needs no quoting.
    pub fn display(&mut self, value: impl fmt::Display) {
        // Writing to a Vec cannot fail.
        let _ = write!(Sink(&mut self.out), "{value}");
    }

    /// Bytes as they are: the content of a literal8 that was announced, or of a literal that is
    /// known to hold no NUL.
    pub fn bytes_raw(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    /// The end of a response.
    pub fn end(&mut self) {
        self.raw("\r\n");
    }

    /// `tag OK [CODE] text`; `*` if there is no tag.
    pub fn status(&mut self, tag: Option<&Tag>, status: Status, code: Option<&Code>, text: &str) {
        self.raw(tag.map_or("*", Tag::as_str));
        self.raw(" ");
        self.raw(status.name());
        if let Some(code) = code {
            self.display(format_args!(" [{code}]"));
        }
        self.raw(" ");
        self.line_text(text);
        self.end();
    }

    /// `+ text`: a continuation request.
    pub fn continuation(&mut self, text: &str) {
        self.raw("+ ");
        self.line_text(text);
        self.end();
    }

    /// `resp-text`: what people read. Anything that would end the line is left out.
    fn line_text(&mut self, text: &str) {
        for c in text.chars().filter(|c| !c.is_control()) {
            let mut buffer = [0; 4];
            match c {
                c if c.is_ascii() || self.utf8 => self.raw(c.encode_utf8(&mut buffer)),
                _ => self.raw("?"),
            }
        }
    }

    /// `quoted` of a text without CR, LF and NUL, which are left out.
    pub fn quoted(&mut self, text: &str) {
        self.out.push(b'"');
        for byte in text.bytes().filter(|b| !matches!(b, b'\r' | b'\n' | 0)) {
            if matches!(byte, b'"' | b'\\') {
                self.out.push(b'\\');
            }
            self.out.push(byte);
        }
        self.out.push(b'"');
    }

    /// `string`: quoted where that is allowed, otherwise a literal.
    pub fn string(&mut self, bytes: &[u8]) {
        match std::str::from_utf8(bytes) {
            Ok(text) if self.may_be_quoted(text) => self.quoted(text),
            // Text stays UTF-8, so a NUL in it becomes a space.
            Ok(text) if text.contains('\0') => self.literal(text.replace('\0', " ").as_bytes()),
            Ok(_) | Err(_) => self.literal(bytes),
        }
    }

    fn may_be_quoted(&self, text: &str) -> bool {
        text.len() <= QUOTED_BYTES_MAX
            && (self.utf8 || text.is_ascii())
            && !text.bytes().any(|b| matches!(b, b'\r' | b'\n' | 0))
    }

    /// `nstring`: `NIL` or a string.
    pub fn nstring(&mut self, bytes: Option<&[u8]>) {
        match bytes {
            Some(bytes) => self.string(bytes),
            None => self.raw("NIL"),
        }
    }

    /// A literal with its content, whose NUL bytes are replaced as [`Self::bytes_char8`] does.
    pub fn literal(&mut self, bytes: &[u8]) {
        self.literal_start(bytes.len() as u64);
        self.bytes_char8(bytes);
    }

    /// A part of a literal that was announced by [`Self::literal_start`]. A NUL byte may not stand
    /// in it (RFC 9051 §9, CHAR8) and becomes 0x80, as no text holds it alone, so that lengths and
    /// all other bytes stay.
    pub fn bytes_char8(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while let Some(at) = memchr::memchr(0, rest) {
            self.out.extend_from_slice(&rest[..at]);
            self.out.push(NUL_REPLACED);
            rest = &rest[at + 1..];
        }
        self.out.extend_from_slice(rest);
    }

    /// The announcement of a literal whose content follows by other ways.
    pub fn literal_start(&mut self, length: u64) {
        self.display(format_args!("{{{length}}}\r\n"));
    }

    /// The announcement of a literal8 (RFC 3516), which may hold NUL.
    pub fn literal8_start(&mut self, length: u64) {
        self.display(format_args!("~{{{length}}}\r\n"));
    }

    /// A mailbox name: modified UTF-7, or UTF-8 once the client has asked for it.
    pub fn mailbox(&mut self, name: &str) {
        if self.utf8 || name.is_ascii() && !name.contains('&') {
            self.astring(name);
        } else {
            self.astring(&utf7::encode(name));
        }
    }

    /// A mailbox name that was checked.
    pub fn mailbox_name(&mut self, name: &MailboxName) {
        self.mailbox(name.as_str());
    }

    /// `astring`: an atom where that is allowed and no other meaning comes from it.
    pub fn astring(&mut self, text: &str) {
        let is_atom = !text.is_empty()
            && text.bytes().all(super::cursor::is_atom)
            && !text.eq_ignore_ascii_case("NIL");
        if is_atom {
            self.raw(text);
        } else {
            self.string(text.as_bytes());
        }
    }

    /// `"(" [item *(SP item)] ")"` of texts that need no quoting.
    pub fn list<T: fmt::Display>(&mut self, items: impl IntoIterator<Item = T>) {
        self.raw("(");
        let mut separator = "";
        for item in items {
            self.raw(separator);
            self.display(item);
            separator = " ";
        }
        self.raw(")");
    }
}

struct Sink<'a>(&'a mut Vec<u8>);

impl fmt::Write for Sink<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(write: impl FnOnce(&mut Writer)) -> String {
        let mut writer = Writer::default();
        write(&mut writer);
        String::from_utf8(writer.take()).unwrap()
    }

    #[test]
    fn strings_take_the_form_that_is_allowed() {
        assert_eq!(shown(|w| w.string(b"a\"b\\")), "\"a\\\"b\\\\\"");
        assert_eq!(shown(|w| w.string("ü".as_bytes())), "{2}\r\nü");
        assert_eq!(shown(|w| w.string(b"a\r\nb")), "{4}\r\na\r\nb");
        assert_eq!(shown(|w| w.string(b"a\0b")), "{3}\r\na b");
        let mut writer = Writer::default();
        writer.literal(b"\0a\0\0b\xff\0");
        assert_eq!(writer.bytes(), b"{7}\r\n\x80a\x80\x80b\xff\x80");
        assert_eq!(shown(|w| w.nstring(None)), "NIL");
        assert_eq!(
            shown(|w| {
                w.use_utf8();
                w.string("ü".as_bytes());
            }),
            "\"ü\""
        );
    }

    #[test]
    fn mailboxes() {
        assert_eq!(shown(|w| w.mailbox("INBOX")), "INBOX");
        assert_eq!(shown(|w| w.mailbox("nil")), "\"nil\"");
        assert_eq!(shown(|w| w.mailbox("a b")), "\"a b\"");
        assert_eq!(
            shown(|w| w.mailbox("Entwürfe & mehr")),
            "\"Entw&APw-rfe &- mehr\""
        );
    }

    #[test]
    fn a_text_cannot_end_its_line() {
        let line = shown(|w| w.status(None, Status::No, Some(&Code::Cannot), "a\r\n* OK b"));
        assert_eq!(line, "* NO [CANNOT] a* OK b\r\n");
    }
}
