//! What a server answers (RFC 9051 §9, RFC 3501), read liberally: servers that break the grammar
//! in ways that do not matter are many.

/// A value in an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    /// An atom, a number, a flag: whatever ends at a space or a bracket.
    Atom(String),
    /// A quoted string or a literal.
    Text(Vec<u8>),
    /// A list.
    List(Vec<Value>),
}

/// Lists in lists.
const DEPTH_MAX: usize = 20;
/// Values of one answer.
const VALUES_MAX: usize = 100_000;

impl Value {
    /// As bytes; NIL and lists are nothing.
    pub(super) fn bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Atom(atom) if atom.eq_ignore_ascii_case("nil") => None,
            Self::Atom(atom) => Some(atom.as_bytes()),
            Self::Text(bytes) => Some(bytes),
            Self::List(_) => None,
        }
    }

    /// As text.
    pub(super) fn text(&self) -> Option<String> {
        self.bytes()
            .map(|bytes| String::from_utf8_lossy(bytes).into_owned())
    }

    /// As a number.
    pub(super) fn number(&self) -> Option<u64> {
        match self {
            Self::Atom(atom) => atom.parse().ok(),
            Self::Text(_) | Self::List(_) => None,
        }
    }

    /// As a list; anything else is an empty one.
    pub(super) fn list(&self) -> &[Self] {
        match self {
            Self::List(items) => items,
            Self::Atom(_) | Self::Text(_) => &[],
        }
    }
}

/// Reads the values of an answer. `literals` stand where a line says `{n}`, which the reader of
/// lines has left in the text; what cannot be read ends the answer.
pub(super) fn values(text: &[u8], literals: Vec<Vec<u8>>) -> Vec<Value> {
    let mut reader = Reader {
        rest: text,
        literals: literals.into_iter(),
        count: 0,
    };
    reader.items(0)
}

struct Reader<'a> {
    rest: &'a [u8],
    literals: std::vec::IntoIter<Vec<u8>>,
    count: usize,
}

impl Reader<'_> {
    /// Items up to a closing bracket or the end.
    fn items(&mut self, depth: usize) -> Vec<Value> {
        let mut items = Vec::new();
        loop {
            self.rest = self.rest.trim_ascii_start();
            let Some((first, after)) = self.rest.split_first() else {
                return items;
            };
            self.count += 1;
            if self.count > VALUES_MAX {
                self.rest = &[];
                return items;
            }
            match first {
                b')' => {
                    self.rest = after;
                    if depth > 0 {
                        return items;
                    }
                }
                b'(' if depth < DEPTH_MAX => {
                    self.rest = after;
                    items.push(Value::List(self.items(depth + 1)));
                }
                b'(' => {
                    self.rest = &[];
                    return items;
                }
                b'"' => {
                    self.rest = after;
                    items.push(Value::Text(self.quoted()));
                }
                b'{' | b'~' if self.is_literal() => {
                    let end = memchr::memchr(b'}', self.rest).map_or(self.rest.len(), |at| at + 1);
                    self.rest = &self.rest[end..];
                    items.push(Value::Text(self.literals.next().unwrap_or_default()));
                }
                _ => items.push(Value::Atom(self.atom())),
            }
        }
    }

    fn is_literal(&self) -> bool {
        let digits = self.rest.strip_prefix(b"~").unwrap_or(self.rest);
        digits
            .strip_prefix(b"{")
            .is_some_and(|rest| rest.first().is_some_and(u8::is_ascii_digit))
    }

    fn quoted(&mut self) -> Vec<u8> {
        let mut text = Vec::new();
        while let Some((first, after)) = self.rest.split_first() {
            self.rest = after;
            match first {
                b'"' => break,
                b'\\' => {
                    if let Some((escaped, after)) = self.rest.split_first() {
                        text.push(*escaped);
                        self.rest = after;
                    }
                }
                other => text.push(*other),
            }
        }
        text
    }

    /// An atom; brackets and what is in them belong to it: `BODY[HEADER.FIELDS (DATE)]<0>`.
    fn atom(&mut self) -> String {
        let mut in_brackets = false;
        let end = self.rest.iter().position(|byte| {
            match byte {
                b'[' => in_brackets = true,
                b']' => in_brackets = false,
                _ => {}
            }
            !in_brackets && (byte.is_ascii_whitespace() || matches!(byte, b'(' | b')'))
        });
        let (atom, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()).max(1));
        self.rest = rest;
        String::from_utf8_lossy(atom).into_owned()
    }
}

/// The bytes that a literal at the end of a line announces: `{n}`, `{n+}`, `~{n}`.
pub(super) fn literal_bytes(line: &[u8]) -> Option<u64> {
    let line = line.strip_suffix(b"}")?;
    let open = memchr::memrchr(b'{', line)?;
    let digits = &line[open + 1..];
    let digits = digits.strip_suffix(b"+").unwrap_or(digits);
    let is_number = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    is_number
        .then(|| std::str::from_utf8(digits).ok()?.parse().ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn atom(text: &str) -> Value {
        Value::Atom(text.to_owned())
    }

    fn text(text: &str) -> Value {
        Value::Text(text.as_bytes().to_vec())
    }

    #[test]
    fn an_answer_of_fetch() {
        let line = br#"12 FETCH (UID 7 FLAGS (\Seen $x) BODY[HEADER.FIELDS (DATE)] {3} INTERNALDATE "24-Nov-2026 06:38:05 +0000" X NIL)"#;
        let read = values(line, vec![b"a)b".to_vec()]);
        let expected = [
            atom("12"),
            atom("FETCH"),
            Value::List(vec![
                atom("UID"),
                atom("7"),
                atom("FLAGS"),
                Value::List(vec![atom("\\Seen"), atom("$x")]),
                atom("BODY[HEADER.FIELDS (DATE)]"),
                text("a)b"),
                atom("INTERNALDATE"),
                text("24-Nov-2026 06:38:05 +0000"),
                atom("X"),
                atom("NIL"),
            ]),
        ];
        assert_eq!(read, expected);
    }

    #[test]
    fn names_of_mailboxes() {
        let read = values(br#"LIST (\HasNoChildren) "\\" "a\"b""#, Vec::new());
        assert_eq!(read[2..], [text("\\"), text("a\"b")]);
        assert_eq!(values(b"NIL", Vec::new())[0].text(), None);
        assert_eq!(values(b"[Gmail]/Sent", Vec::new()), [atom("[Gmail]/Sent")]);
    }

    #[test]
    fn literals() {
        for (line, bytes) in [
            ("x {12}", Some(12)),
            ("x {12+}", Some(12)),
            ("~{3}", Some(3)),
            ("{}", None),
            ("{1a}", None),
            ("{99999999999999999999}", None),
            ("x", None),
        ] {
            assert_eq!(literal_bytes(line.as_bytes()), bytes, "{line}");
        }
    }

    proptest! {
        #[test]
        fn anything_can_be_read(bytes in prop::collection::vec(
            prop::sample::select(b"()[]{}\"\\ ~1aN\r\n\0\xff".to_vec()), 0..60)) {
            values(&bytes, vec![b"x".to_vec()]);
            literal_bytes(&bytes);
        }
    }
}
