//! SEARCH (RFC 9051 §6.4.4, RFC 3501 §6.4.4), with RFC 4731 (ESEARCH) and RFC 5182 (SEARCHRES).

use super::cursor::{Cursor, Parsed};
use super::date::Day;
use super::error::SyntaxError;
use super::flag::Keyword;
use super::sequence::{MessageSet, SequenceSet};

/// Deepest nesting of search keys. Clients that look for any of many texts or messages send a chain,
/// `OR a OR b OR c d`, which is as deep as it is long.
pub const DEPTH_MAX: usize = 100;
/// Most search keys in one command: each may read every letter.
pub const KEYS_MAX: usize = 1_000;

/// What SEARCH asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Search {
    /// `RETURN (…)`; without it, RFC 3501's SEARCH response is given in an IMAP4rev1 session.
    pub returns: Option<Returns>,
    /// The keys; all must match.
    pub key: Key,
}

/// `search-return-opt`, RFC 9051 §6.4.4; none of them means ALL.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Returns {
    /// The lowest number.
    pub min: bool,
    /// The highest number.
    pub max: bool,
    /// All numbers.
    pub all: bool,
    /// How many.
    pub count: bool,
    /// Keep the result for `$`.
    pub save: bool,
}

/// A flag that a search can ask for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SearchFlag {
    /// `\Answered`
    Answered,
    /// `\Deleted`
    Deleted,
    /// `\Draft`
    Draft,
    /// `\Flagged`
    Flagged,
    /// `\Seen`
    Seen,
    /// A keyword.
    Keyword(Keyword),
    /// `\Recent` (RFC 3501): no message has it.
    Recent,
}

/// Which date is compared.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DateField {
    /// The internal date.
    Internal,
    /// The Date header field.
    Sent,
}

/// How a date is compared.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DateOrder {
    /// Earlier than the day.
    Before,
    /// Within the day.
    On,
    /// Within the day or later.
    Since,
}

/// One condition. Texts are in Unicode, and compared whatever their case.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Key {
    /// Every message.
    All,
    /// All of these.
    And(Vec<Self>),
    /// One of these.
    Or(Box<Self>, Box<Self>),
    /// Not this.
    Not(Box<Self>),
    /// Message numbers.
    Numbers(MessageSet),
    /// UIDs.
    Uids(MessageSet),
    /// A flag that is set.
    Flag(SearchFlag),
    /// `BEFORE`, `ON`, `SINCE`, `SENTBEFORE`, `SENTON`, `SENTSINCE`.
    Date(DateField, DateOrder, Day),
    /// Larger than so many bytes.
    Larger(u64),
    /// Smaller than so many bytes.
    Smaller(u64),
    /// The field `name` exists and has this text (an empty text: it exists).
    Header {
        /// The field's name, without colon.
        name: String,
        /// The text.
        text: String,
    },
    /// The text stands in the body.
    Body(String),
    /// The text stands in the header or the body.
    Text(String),
}

impl Search {
    /// `search = "SEARCH" [search-return-opts] SP search-program`; the cursor stands behind the
    /// command and its space.
    pub(super) fn read(cursor: &mut Cursor<'_>) -> Parsed<Self> {
        let mut returns = None;
        if cursor.take_word("RETURN") {
            cursor.space()?;
            returns = Some(Returns::read(cursor)?);
            cursor.space()?;
        }
        if cursor.take_word("CHARSET") {
            cursor.space()?;
            let charset = cursor.text()?;
            if !["UTF-8", "UTF8", "US-ASCII", "ASCII"]
                .contains(&charset.to_ascii_uppercase().as_str())
            {
                return Err(SyntaxError::Charset);
            }
            cursor.space()?;
        }
        let mut reader = KeyReader {
            keys_left: KEYS_MAX,
        };
        let mut keys = vec![reader.key(cursor, 0)?];
        while cursor.take(b' ') && !cursor.is_at_end() {
            keys.push(reader.key(cursor, 0)?);
        }
        Ok(Self {
            returns,
            key: all_of(keys),
        })
    }
}

fn all_of(mut keys: Vec<Key>) -> Key {
    match keys.pop() {
        Some(key) if keys.is_empty() => key,
        Some(key) => {
            keys.push(key);
            Key::And(keys)
        }
        None => Key::All,
    }
}

impl Returns {
    fn read(cursor: &mut Cursor<'_>) -> Parsed<Self> {
        let mut returns = Self::default();
        cursor.list(|cursor| {
            match cursor.word("a return option")?.as_str() {
                "MIN" => returns.min = true,
                "MAX" => returns.max = true,
                "ALL" => returns.all = true,
                "COUNT" => returns.count = true,
                "SAVE" => returns.save = true,
                _ => return Err(SyntaxError::Expected("a known return option")),
            }
            Ok(())
        })?;
        // RFC 9051 §6.4.4: an empty list is ALL. With SAVE alone nothing is told.
        if returns == Self::default() {
            returns.all = true;
        }
        Ok(returns)
    }
}

struct KeyReader {
    keys_left: usize,
}

impl KeyReader {
    fn key(&mut self, cursor: &mut Cursor<'_>, depth: usize) -> Parsed<Key> {
        if depth > DEPTH_MAX || self.keys_left == 0 {
            return Err(SyntaxError::SearchTooDeep);
        }
        self.keys_left -= 1;
        match cursor.peek() {
            Some(b'(') => {
                let keys = cursor.list(|cursor| self.key(cursor, depth + 1))?;
                if keys.is_empty() {
                    return Err(SyntaxError::Expected("a search key"));
                }
                Ok(all_of(keys))
            }
            Some(b'0'..=b'9' | b'*') => {
                Ok(Key::Numbers(MessageSet::Set(SequenceSet::read(cursor)?)))
            }
            Some(b'$') => Ok(Key::Numbers(MessageSet::read(cursor)?)),
            Some(_) | None => {
                let name = cursor.word("a search key")?;
                self.named(cursor, &name, depth)
            }
        }
    }

    fn named(&mut self, cursor: &mut Cursor<'_>, name: &str, depth: usize) -> Parsed<Key> {
        if let Some(key) = plain_key(name) {
            return Ok(key);
        }
        cursor.space()?;
        match name {
            "NOT" => Ok(not(self.key(cursor, depth + 1)?)),
            "OR" => {
                let first = self.key(cursor, depth + 1)?;
                cursor.space()?;
                let second = self.key(cursor, depth + 1)?;
                Ok(Key::Or(Box::new(first), Box::new(second)))
            }
            _ => key_with_argument(cursor, name),
        }
    }
}

fn not(key: Key) -> Key {
    Key::Not(Box::new(key))
}

fn plain_key(name: &str) -> Option<Key> {
    let flag = |flag| Key::Flag(flag);
    Some(match name {
        "ALL" => Key::All,
        "ANSWERED" => flag(SearchFlag::Answered),
        "DELETED" => flag(SearchFlag::Deleted),
        "DRAFT" => flag(SearchFlag::Draft),
        "FLAGGED" => flag(SearchFlag::Flagged),
        "SEEN" => flag(SearchFlag::Seen),
        "RECENT" => flag(SearchFlag::Recent),
        "UNANSWERED" => not(flag(SearchFlag::Answered)),
        "UNDELETED" => not(flag(SearchFlag::Deleted)),
        "UNDRAFT" => not(flag(SearchFlag::Draft)),
        "UNFLAGGED" => not(flag(SearchFlag::Flagged)),
        "UNSEEN" => not(flag(SearchFlag::Seen)),
        // RFC 3501 §6.4.4: OLD is NOT RECENT, NEW is RECENT UNSEEN.
        "OLD" => not(flag(SearchFlag::Recent)),
        "NEW" => Key::And(vec![flag(SearchFlag::Recent), not(flag(SearchFlag::Seen))]),
        _ => return None,
    })
}

fn key_with_argument(cursor: &mut Cursor<'_>, name: &str) -> Parsed<Key> {
    let date =
        |cursor: &mut Cursor<'_>, field, order| Ok(Key::Date(field, order, Day::read(cursor)?));
    match name {
        "BCC" | "CC" | "FROM" | "SUBJECT" | "TO" => Ok(Key::Header {
            name: name.to_ascii_lowercase(),
            text: cursor.text()?,
        }),
        "HEADER" => {
            let name = cursor.text()?;
            cursor.space()?;
            Ok(Key::Header {
                name: name.to_ascii_lowercase(),
                text: cursor.text()?,
            })
        }
        "BODY" => Ok(Key::Body(cursor.text()?)),
        "TEXT" => Ok(Key::Text(cursor.text()?)),
        "KEYWORD" => Ok(Key::Flag(read_keyword(cursor)?)),
        "UNKEYWORD" => Ok(not(Key::Flag(read_keyword(cursor)?))),
        "LARGER" => Ok(Key::Larger(cursor.number64()?)),
        "SMALLER" => Ok(Key::Smaller(cursor.number64()?)),
        "UID" => Ok(Key::Uids(MessageSet::read(cursor)?)),
        "BEFORE" => date(cursor, DateField::Internal, DateOrder::Before),
        "ON" => date(cursor, DateField::Internal, DateOrder::On),
        "SINCE" => date(cursor, DateField::Internal, DateOrder::Since),
        "SENTBEFORE" => date(cursor, DateField::Sent, DateOrder::Before),
        "SENTON" => date(cursor, DateField::Sent, DateOrder::On),
        "SENTSINCE" => date(cursor, DateField::Sent, DateOrder::Since),
        _ => Err(SyntaxError::Expected("a known search key")),
    }
}

fn read_keyword(cursor: &mut Cursor<'_>) -> Parsed<SearchFlag> {
    let bytes = cursor.take_while(super::cursor::is_atom);
    let text = std::str::from_utf8(bytes).map_err(|_| SyntaxError::Flag)?;
    Ok(SearchFlag::Keyword(Keyword::parse(text)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn search(text: &str) -> Parsed<Search> {
        let mut cursor = Cursor::new(text.as_bytes(), false);
        let search = Search::read(&mut cursor)?;
        cursor.end()?;
        Ok(search)
    }

    #[test]
    fn keys() {
        let parsed =
            search("RETURN (MIN COUNT) FLAGGED SINCE 1-Feb-1994 NOT FROM \"Smith\"").unwrap();
        let returns = parsed.returns.unwrap();
        assert!(returns.min && returns.count && !returns.all);
        let Key::And(keys) = parsed.key else {
            panic!("three keys")
        };
        assert_eq!(keys.len(), 3);
        assert_eq!(
            search("CHARSET utf-8 TEXT {4}\r\n\u{f6}\u{f6}")
                .unwrap()
                .key,
            Key::Text("öö".into())
        );
        assert_eq!(search("(((1)))").unwrap().key, search("1").unwrap().key);
        assert!(search("RETURN () ALL").unwrap().returns.unwrap().all);
        assert!(search("OR (SEEN $) UID 1:*").is_ok());
        assert!(search("OR SEEN OR DELETED DRAFT").is_ok());
    }

    #[test]
    fn refuses() {
        assert_eq!(search("CHARSET KOI8-R ALL"), Err(SyntaxError::Charset));
        for bad in [
            "",
            "()",
            "NOT",
            "OR SEEN",
            "FOO",
            "FROM",
            "LARGER x",
            "SINCE 1-Foo-2020",
            "(SEEN",
        ] {
            assert!(search(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn depth_at_the_limit_and_beyond() {
        let nested = |depth: usize| format!("{}SEEN{}", "(".repeat(depth), ")".repeat(depth));
        assert!(search(&nested(DEPTH_MAX)).is_ok());
        assert!(search(&format!("{}SEEN", "OR SUBJECT x ".repeat(DEPTH_MAX))).is_ok());
        assert_eq!(
            search(&nested(DEPTH_MAX + 1)),
            Err(SyntaxError::SearchTooDeep)
        );
        assert_eq!(
            search(&format!("{}SEEN", "NOT ".repeat(10_000))),
            Err(SyntaxError::SearchTooDeep)
        );
        assert_eq!(
            search(&vec!["SEEN"; KEYS_MAX + 1].join(" ")),
            Err(SyntaxError::SearchTooDeep)
        );
    }
}
