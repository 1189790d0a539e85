//! Reading of the basic forms of RFC 9051 §9: atoms, strings, numbers, lists.

use std::borrow::Cow;

use super::error::SyntaxError;
use super::mailbox::MailboxName;

pub(super) type Parsed<T> = Result<T, SyntaxError>;

/// A place in a command that has arrived whole, with its literals inside.
#[derive(Clone)]
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Whether mailbox names are UTF-8 (RFC 9051, RFC 6855) and not modified UTF-7.
    utf8: bool,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8], utf8: bool) -> Self {
        Self { bytes, at: 0, utf8 }
    }

    pub(super) fn rest(&self) -> &'a [u8] {
        &self.bytes[self.at..]
    }

    pub(super) fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.at == self.bytes.len()
    }

    /// The end of the command. Trailing spaces are forgiven: several real clients send them.
    pub(super) fn end(&mut self) -> Parsed<()> {
        while self.take(b' ') {}
        if self.is_at_end() {
            Ok(())
        } else {
            Err(SyntaxError::TrailingText)
        }
    }

    /// Whether another argument follows. Spaces at the end of a command are none.
    pub(super) fn has_argument(&self) -> bool {
        let rest = self.rest();
        rest.first() == Some(&b' ') && rest.iter().any(|b| *b != b' ')
    }

    /// Takes this byte if it is next.
    pub(super) fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    pub(super) fn expect(&mut self, byte: u8, what: &'static str) -> Parsed<()> {
        if self.take(byte) {
            Ok(())
        } else {
            Err(SyntaxError::Expected(what))
        }
    }

    pub(super) fn space(&mut self) -> Parsed<()> {
        self.expect(b' ', "a space")
    }

    pub(super) fn open(&mut self) -> Parsed<()> {
        self.expect(b'(', "an opening parenthesis")
    }

    pub(super) fn close(&mut self) -> Parsed<()> {
        self.expect(b')', "a closing parenthesis")
    }

    pub(super) fn take_while(&mut self, keep: impl Fn(u8) -> bool) -> &'a [u8] {
        let rest = self.rest();
        let length = rest.iter().position(|b| !keep(*b)).unwrap_or(rest.len());
        self.at += length;
        &rest[..length]
    }

    /// Takes at most `max` digits.
    pub(super) fn take_digits(&mut self, max: usize) -> &'a [u8] {
        let rest = self.rest();
        let length = rest
            .iter()
            .take(max)
            .take_while(|b| b.is_ascii_digit())
            .count();
        self.at += length;
        &rest[..length]
    }

    /// Takes this word, whatever its case, if it is next and ends here.
    pub(super) fn take_word(&mut self, word: &str) -> bool {
        let rest = self.rest();
        let found = rest.len() >= word.len()
            && rest[..word.len()].eq_ignore_ascii_case(word.as_bytes())
            && !rest.get(word.len()).is_some_and(|b| is_atom(*b));
        if found {
            self.at += word.len();
        }
        found
    }

    /// `atom = 1*ATOM-CHAR`, in upper case.
    pub(super) fn word(&mut self, what: &'static str) -> Parsed<String> {
        let bytes = self.take_while(is_atom);
        match std::str::from_utf8(bytes) {
            Ok(text) if !text.is_empty() => Ok(text.to_ascii_uppercase()),
            Ok(_) | Err(_) => Err(SyntaxError::Expected(what)),
        }
    }

    /// `number = 1*DIGIT` up to 2^32 - 1.
    pub(super) fn number(&mut self) -> Parsed<u32> {
        u32::try_from(self.number64()?).map_err(|_| SyntaxError::Number)
    }

    /// `number64 = 1*DIGIT` up to 2^63 - 1.
    pub(super) fn number64(&mut self) -> Parsed<u64> {
        let digits = self.take_while(|b| b.is_ascii_digit());
        if digits.is_empty() {
            return Err(SyntaxError::Expected("a number"));
        }
        let text = std::str::from_utf8(digits).map_err(|_| SyntaxError::Number)?;
        text.parse()
            .ok()
            .filter(|number| *number <= i64::MAX as u64)
            .ok_or(SyntaxError::Number)
    }

    /// Whether a quoted string or a literal is next. `~` begins a literal8 only before a brace;
    /// elsewhere it is a letter like others, and clients ask for `~/Mail`.
    fn is_at_string(&self) -> bool {
        matches!(self.rest(), [b'"' | b'{', ..] | [b'~', b'{', ..])
    }

    /// `astring = 1*ASTRING-CHAR / string`.
    pub(super) fn astring(&mut self) -> Parsed<Cow<'a, [u8]>> {
        if self.is_at_string() {
            return self.string();
        }
        match self.peek() {
            Some(b) if is_astring(b) || b >= 0x80 => Ok(Cow::Borrowed(
                self.take_while(|b| is_astring(b) || b >= 0x80),
            )),
            Some(_) | None => Err(SyntaxError::Expected("a string")),
        }
    }

    /// `string = quoted / literal`; a literal8 is taken at any place.
    pub(super) fn string(&mut self) -> Parsed<Cow<'a, [u8]>> {
        match self.peek() {
            Some(b'"') => self.quoted(),
            Some(b'{') => self.literal(),
            Some(b'~') => {
                self.at += 1;
                self.literal()
            }
            Some(_) | None => Err(SyntaxError::Expected("a quoted string or a literal")),
        }
    }

    fn quoted(&mut self) -> Parsed<Cow<'a, [u8]>> {
        self.expect(b'"', "a quoted string")?;
        let plain = self.take_while(|b| !matches!(b, b'"' | b'\\' | b'\r' | b'\n'));
        if self.take(b'"') {
            return Ok(Cow::Borrowed(plain));
        }
        let mut content = plain.to_vec();
        loop {
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(Cow::Owned(content));
                }
                Some(b'\\') => {
                    self.at += 1;
                    // RFC 9051 §9 allows only \" and \\; a lone backslash before something else is
                    // kept, as clients that forget to double it mean it.
                    match self.peek() {
                        Some(b @ (b'"' | b'\\')) => {
                            content.push(b);
                            self.at += 1;
                        }
                        Some(_) | None => content.push(b'\\'),
                    }
                }
                Some(b'\r' | b'\n') | None => {
                    return Err(SyntaxError::Expected("a closing quote"));
                }
                Some(b) => {
                    content.push(b);
                    self.at += 1;
                }
            }
        }
    }

    fn literal(&mut self) -> Parsed<Cow<'a, [u8]>> {
        self.expect(b'{', "a literal")?;
        let length = usize::try_from(self.number64()?).map_err(|_| SyntaxError::Number)?;
        self.take(b'+');
        self.expect(b'}', "a closing brace")?;
        self.expect(b'\r', "a literal")?;
        self.expect(b'\n', "a literal")?;
        let content = self
            .rest()
            .get(..length)
            .ok_or(SyntaxError::Expected("a literal"))?;
        self.at += length;
        Ok(Cow::Borrowed(content))
    }

    /// An `astring` as text.
    pub(super) fn text(&mut self) -> Parsed<String> {
        let bytes = self.astring()?.into_owned();
        String::from_utf8(bytes).map_err(|_| SyntaxError::Expected("UTF-8"))
    }

    /// `mailbox = "INBOX" / astring`.
    pub(super) fn mailbox(&mut self) -> Parsed<MailboxName> {
        let bytes = self.astring()?;
        MailboxName::decode(&bytes, self.utf8)
    }

    /// The text of a mailbox name or pattern, decoded and not checked further.
    pub(super) fn mailbox_text(&self, bytes: &[u8]) -> Parsed<String> {
        super::mailbox::decode_text(bytes, self.utf8)
    }

    /// `list-mailbox = 1*list-char / string`: wildcards need no quotes.
    pub(super) fn list_mailbox(&mut self) -> Parsed<String> {
        let bytes = if self.is_at_string() {
            self.string()?
        } else {
            let is_list = |b| is_astring(b) || matches!(b, b'%' | b'*') || b >= 0x80;
            let plain = self.take_while(is_list);
            if plain.is_empty() {
                return Err(SyntaxError::Expected("a mailbox name or pattern"));
            }
            Cow::Borrowed(plain)
        };
        self.mailbox_text(&bytes)
    }

    /// `"(" [item *(SP item)] ")"`. `read` must move forward or fail.
    ///
    /// More spaces than the grammar has are forgiven, as at the end of a command: clients that put
    /// their lists together from pieces send `(UID FLAGS )`.
    pub(super) fn list<T>(
        &mut self,
        mut read: impl FnMut(&mut Self) -> Parsed<T>,
    ) -> Parsed<Vec<T>> {
        self.open()?;
        let mut items = Vec::new();
        while self.take(b' ') {}
        while !self.take(b')') {
            items.push(read(self)?);
            if self.peek() != Some(b')') {
                self.space()?;
            }
            while self.take(b' ') {}
        }
        Ok(items)
    }
}

/// `ATOM-CHAR = <any CHAR except atom-specials>`, RFC 9051 §9.
pub(super) fn is_atom(b: u8) -> bool {
    matches!(b, 0x21..=0x7e) && !matches!(b, b'(' | b')' | b'{' | b'%' | b'*' | b'"' | b'\\' | b']')
}

/// `ASTRING-CHAR = ATOM-CHAR / resp-specials`.
pub(super) fn is_astring(b: u8) -> bool {
    is_atom(b) || b == b']'
}
