//! What is searched for: words, phrases and beginnings of words, each in some of the texts of a
//! letter; all must be found.

use super::tokens::{is_of_pairs, tokens};

/// Terms of one query; further ones are left out.
const TERMS_MAX: usize = 32;
/// Words of a phrase that are compared in a row. A longer phrase is several, one after the other.
pub(crate) const PHRASE_TOKENS_MAX: usize = 16;
/// Words of one text of a query.
const TOKENS_MAX: usize = 128;

/// The texts of a letter that are told apart.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum SearchField {
    /// The subject.
    Subject,
    /// Names and addresses of sender and recipients.
    Addresses,
    /// Other header fields.
    Header,
    /// The text that is read as the letter.
    Body,
    /// Names and texts of attachments.
    Attachments,
}

impl SearchField {
    /// All of them, in the order in which they are stored.
    pub(crate) const ALL: [Self; 5] = [
        Self::Subject,
        Self::Addresses,
        Self::Header,
        Self::Body,
        Self::Attachments,
    ];
}

/// A set of texts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SearchFields(u8);

impl SearchFields {
    /// Every text.
    pub const ALL: Self = Self(0b1_1111);
    /// The body of the letter with its attachments (IMAP BODY).
    pub const BODY: Self = Self::of(&[SearchField::Body, SearchField::Attachments]);

    /// Of some texts.
    #[must_use]
    pub const fn of(fields: &[SearchField]) -> Self {
        let (mut bits, mut at) = (0, 0);
        while at < fields.len() {
            bits |= 1 << fields[at] as u8;
            at += 1;
        }
        Self(bits)
    }

    /// Whether a text is among them.
    #[must_use]
    pub const fn has(self, field: SearchField) -> bool {
        self.0 & 1 << field as u8 != 0
    }
}

/// Words in a row, in some of the texts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Term {
    pub(crate) fields: SearchFields,
    /// As the tokeniser gives them; at least one.
    pub(crate) tokens: Vec<Box<str>>,
    /// Whether the last one is the beginning of a word.
    pub(crate) prefix: bool,
}

/// What is searched for. Upper and lower case and accents do not matter.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SearchQuery {
    pub(crate) terms: Vec<Term>,
}

impl SearchQuery {
    /// Reads what a person has typed: words, `"a phrase"`, `begin*`, and each of these behind
    /// `subject:`, `from:`, `to:`, `cc:`, `body:` or `attachment:` (`from:`, `to:` and `cc:` look
    /// among all addresses). A word with signs in it, such as an address, is a phrase.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut query = Self::default();
        let mut rest = text.trim_start();
        while !rest.is_empty() {
            let (fields, after) = field_of(rest);
            let (words, prefix, after) = words_of(after);
            query.push(words, fields, prefix);
            rest = after.trim_start();
        }
        query
    }

    /// Words that stand in a row in one of some texts; with `prefix` the last may go on.
    #[must_use]
    pub fn phrase(text: &str, fields: SearchFields, prefix: bool) -> Self {
        let mut query = Self::default();
        query.push(text, fields, prefix);
        query
    }

    /// Whether nothing is searched for: then every letter is found.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }

    fn push(&mut self, text: &str, fields: SearchFields, prefix: bool) {
        let mut tokens = tokens(text, TOKENS_MAX);
        let mut prefix = prefix;
        if let [before @ .., last] = tokens.as_slice()
            && is_of_pairs(last)
            && last.chars().nth(1).is_none()
        {
            // A letter alone begins pairs; behind one it only ends it, where a text may go on.
            let ends_pair = before.last().is_some_and(|pair| {
                is_of_pairs(pair) && pair.chars().count() == 2 && pair.ends_with(&**last)
            });
            if ends_pair {
                tokens.pop();
            } else {
                prefix = true;
            }
        }
        let pieces = tokens.chunks(PHRASE_TOKENS_MAX);
        let last = pieces.len();
        for (number, piece) in (1..).zip(pieces) {
            if self.terms.len() == TERMS_MAX {
                return;
            }
            self.terms.push(Term {
                fields,
                tokens: piece.to_vec(),
                prefix: prefix && number == last,
            });
        }
    }
}

/// The texts that a `name:` at the start stands for, and what is after it.
fn field_of(text: &str) -> (SearchFields, &str) {
    let known = |name: &str| {
        Some(SearchFields::of(match name {
            "subject" => &[SearchField::Subject],
            "from" | "to" | "cc" | "bcc" | "address" => &[SearchField::Addresses],
            "body" => &[SearchField::Body],
            "attachment" | "file" | "filename" => &[SearchField::Attachments],
            "header" => &[SearchField::Header],
            _ => return None,
        }))
    };
    text.split_once(':')
        .and_then(|(name, after)| Some((known(&name.to_ascii_lowercase())?, after)))
        .unwrap_or((SearchFields::ALL, text))
}

/// A phrase or word at the start, whether it is a beginning, and what is after it.
fn words_of(text: &str) -> (&str, bool, &str) {
    let (words, after) = match text.strip_prefix('"') {
        // A phrase that is still being typed.
        Some(inside) => inside.split_once('"').unwrap_or((inside, "")),
        None => {
            let end = text
                .find(|c: char| c.is_whitespace() || c == '"')
                .unwrap_or(text.len());
            text.split_at(end)
        }
    };
    match after.strip_prefix('*') {
        Some(after) => (words, true, after),
        None => (words, words.ends_with('*'), after),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn show(query: &SearchQuery) -> String {
        let terms = query.terms.iter().map(|term| {
            let fields = SearchField::ALL
                .iter()
                .filter(|field| term.fields.has(**field));
            let fields: Vec<_> = fields.map(|field| format!("{field:?}")).collect();
            let fields = match fields.len() {
                5 => String::new(),
                _ => format!("{}:", fields.join("+")),
            };
            let star = if term.prefix { "*" } else { "" };
            format!("{fields}[{}]{star}", term.tokens.join(" "))
        });
        terms.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn typed() {
        let check = |text: &str, expected: &str| {
            assert_eq!(show(&SearchQuery::parse(text)), expected, "{text}");
        };
        check("Red  fox", "[red] [fox]");
        check("\"red fox\" hol*", "[red fox] [hol]*");
        check("\"red fo\"* x", "[red fo]* [x]");
        check(
            "subject:Größe from:bob@red.test",
            "Subject:[grosse] Addresses:[bob red test]",
        );
        check("attachment:\"my list\"", "Attachments:[my list]");
        check("12:30 unknown:x", "[12 30] [unknown x]");
        check("subject: x", "[x]");
        check("\"not closed", "[not closed]");
        check("a\"b c\"", "[a] [b c]");
        check("東京都 京 大x", "[東京 京都] [京]* [大 x]");
        check("* : \" -", "");
        check("", "");
    }

    #[test]
    fn long_ones() {
        let text = (0..40).map(|n| format!("w{n} ")).collect::<String>();
        let phrase = SearchQuery::phrase(&text, SearchFields::BODY, true);
        let lengths: Vec<_> = phrase.terms.iter().map(|term| term.tokens.len()).collect();
        assert_eq!(lengths, [16, 16, 8]);
        let prefixes: Vec<_> = phrase.terms.iter().map(|term| term.prefix).collect();
        assert_eq!(prefixes, [false, false, true]);
        assert_eq!(SearchQuery::parse(&text).terms.len(), TERMS_MAX);
    }

    proptest! {
        #[test]
        fn every_text_is_taken(text in "[a-z東ก:\"* äÄ\u{300}.@-]{0,60}") {
            let query = SearchQuery::parse(&text);
            prop_assert!(query.terms.len() <= TERMS_MAX);
            prop_assert!(query.terms.iter().all(|term| !term.tokens.is_empty()));
        }
    }
}
