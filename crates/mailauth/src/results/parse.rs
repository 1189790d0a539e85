//! Reading the field (RFC 8601 §2.2): comments, quotes and folding may stand almost everywhere.

use super::{AuthResults, MethodResult, Property};

/// Results of one field that are read.
const RESULTS_MAX: usize = 100;
/// Properties of one result that are read.
const PROPERTIES_MAX: usize = 50;
/// How deep comments may be nested.
const COMMENT_DEPTH_MAX: usize = 50;

impl AuthResults {
    /// Reads what stands after the field's name. A result that breaks the grammar is passed over;
    /// `None` if not even the server's name can be read.
    #[must_use]
    pub fn parse(value: &[u8]) -> Option<Self> {
        let mut cursor = Cursor {
            bytes: value,
            position: 0,
        };
        let server = cursor.server()?;
        let mut results = Vec::new();
        while cursor.skip_to_semicolon() && results.len() < RESULTS_MAX {
            if let Some(result) = cursor.result() {
                results.push(result);
            }
        }
        Some(Self { server, results })
    }
}

struct Cursor<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl Cursor<'_> {
    /// `authserv-id [ CFWS authres-version ]`, up to a semicolon or the end.
    fn server(&mut self) -> Option<String> {
        self.skip_space()?;
        let server = match self.peek() {
            Some(b'"') => self.quoted()?,
            _ => self.take_while(is_token_byte),
        };
        self.skip_space()?;
        let version = self.take_while(|byte| byte.is_ascii_digit());
        self.skip_space()?;
        let ends = matches!(self.peek(), None | Some(b';'));
        // RFC 8601 §2.2: another version than 1 has a grammar that we do not know.
        (ends && !server.is_empty() && matches!(version.as_str(), "" | "1")).then_some(server)
    }

    /// `method [ "/" version ] "=" result [ reasonspec ] *propspec`
    fn result(&mut self) -> Option<MethodResult> {
        self.skip_space()?;
        let mut found = MethodResult::new(&self.keyword()?, "");
        self.skip_space()?;
        if self.eat(b'/') {
            self.skip_space()?;
            self.take_while(|byte| byte.is_ascii_digit());
            self.skip_space()?;
        }
        self.expect(b'=')?;
        self.skip_space()?;
        found.result = self.keyword()?.to_ascii_lowercase();
        found.method.make_ascii_lowercase();
        loop {
            found.comment = found.comment.take().or(self.skip_space()?);
            if matches!(self.peek(), None | Some(b';')) {
                return Some(found);
            }
            let name = self.keyword()?;
            self.skip_space()?;
            if self.eat(b'=') {
                self.skip_space()?;
                if name.eq_ignore_ascii_case("reason") {
                    found.reason = Some(self.value()?);
                } else {
                    self.value()?;
                }
                continue;
            }
            self.expect(b'.')?;
            self.skip_space()?;
            let property = self.keyword()?;
            self.skip_space()?;
            self.expect(b'=')?;
            self.skip_space()?;
            let value = self.value()?;
            if found.properties.len() < PROPERTIES_MAX {
                found.properties.push(Property {
                    kind: name.to_ascii_lowercase(),
                    name: property.to_ascii_lowercase(),
                    value,
                });
            }
        }
    }

    /// `pvalue`, also where it is less strictly written than it should be: a quoted text, perhaps
    /// with a domain behind it, or anything up to white space.
    fn value(&mut self) -> Option<String> {
        let mut value = match self.peek() {
            Some(b'"') => self.quoted()?,
            _ => String::new(),
        };
        value.push_str(
            &self.take_while(|byte| !byte.is_ascii_whitespace() && byte != b';' && byte != b'('),
        );
        Some(value)
    }

    fn keyword(&mut self) -> Option<String> {
        let word =
            self.take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
        (!word.is_empty()).then_some(word)
    }

    /// A quoted string without its quotes.
    fn quoted(&mut self) -> Option<String> {
        self.position += 1;
        let mut content = Vec::new();
        loop {
            match self.next()? {
                b'"' => return Some(String::from_utf8_lossy(&content).into_owned()),
                b'\\' => content.push(self.next()?),
                // RFC 5322 §2.2.3: a fold leaves its white space behind.
                b'\r' | b'\n' => {}
                byte => content.push(byte),
            }
        }
    }

    /// Passes over white space and comments; gives the first comment. `None` if one does not end.
    #[expect(
        clippy::option_option,
        reason = "the outer one is for `?`, like the others here"
    )]
    fn skip_space(&mut self) -> Option<Option<String>> {
        let mut first = None;
        loop {
            match self.peek() {
                Some(byte) if byte.is_ascii_whitespace() => self.position += 1,
                Some(b'(') => {
                    let comment = self.comment()?;
                    first.get_or_insert(comment);
                }
                _ => return Some(first),
            }
        }
    }

    fn comment(&mut self) -> Option<String> {
        let mut depth = 0;
        let mut content = Vec::new();
        loop {
            let byte = self.next()?;
            match byte {
                b'(' if depth == COMMENT_DEPTH_MAX => return None,
                b'(' => depth += 1,
                b')' => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                let content = content.get(1..).unwrap_or_default();
                return Some(String::from_utf8_lossy(content).into_owned());
            }
            match byte {
                b'\\' => content.push(self.next()?),
                b'\r' | b'\n' => {}
                byte => content.push(byte),
            }
        }
    }

    /// Moves behind the next semicolon that is in no quotes and no comment.
    fn skip_to_semicolon(&mut self) -> bool {
        while let Some(byte) = self.peek() {
            let passed = match byte {
                b'"' => self.quoted().map(drop),
                b'(' => self.comment().map(drop),
                b';' => {
                    self.position += 1;
                    return true;
                }
                _ => {
                    self.position += 1;
                    Some(())
                }
            };
            if passed.is_none() {
                return false;
            }
        }
        false
    }

    fn take_while(&mut self, wanted: impl Fn(u8) -> bool) -> String {
        let rest = &self.bytes[self.position..];
        let length = rest.iter().take_while(|byte| wanted(**byte)).count();
        self.position += length;
        String::from_utf8_lossy(&rest[..length]).into_owned()
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.position).copied()
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.position += 1;
        Some(byte)
    }

    fn eat(&mut self, wanted: u8) -> bool {
        let found = self.peek() == Some(wanted);
        self.position += usize::from(found);
        found
    }

    fn expect(&mut self, wanted: u8) -> Option<()> {
        self.eat(wanted).then_some(())
    }
}

/// RFC 2045 §5.1 `token`, with UTF-8 (RFC 8616 §6).
fn is_token_byte(byte: u8) -> bool {
    !byte.is_ascii_whitespace() && !byte.is_ascii_control() && !b"()<>@,;:\\\"/[]?=".contains(&byte)
}
