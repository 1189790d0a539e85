//! Where a query's words stand in a letter: the subject, and a piece of its text around the first
//! words that were found. The texts are plain; who shows them marks the ranges.

use std::ops::Range;

use message::search::SearchText;

use super::query::{SearchField, SearchQuery, Term};
use super::tokens::each_token_at;

/// Bytes of the piece of text: RFC 8621 §5 allows 255 octets with the marks.
const SNIPPET_BYTES_MAX: usize = 240;
/// Bytes of it before the first word that was found.
const BEFORE_BYTES: usize = 60;
/// Bytes of a text that are looked through.
const TEXT_BYTES_MAX: usize = 256 * 1024;

/// A text with what was found in it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Snippet {
    /// The text, in one line.
    pub text: String,
    /// Bytes of the words that were found, ascending, not overlapping, at borders of letters.
    pub ranges: Vec<Range<usize>>,
}

/// What of a letter to show in a list of what was found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Highlights {
    /// The whole subject, if something was found in it.
    pub subject: Option<Snippet>,
    /// A piece of the body, or else of the attachments, if something was found there.
    pub text: Option<Snippet>,
}

/// Looks through the texts of a letter.
pub(super) fn highlights(text: &SearchText, query: &SearchQuery) -> Highlights {
    let in_text = |field, text: &str| {
        let line = one_line(text);
        let found = found(&line, field, query);
        (!found.is_empty()).then(|| piece(&line, &found))
    };
    let subject = one_line(&text.subject);
    let ranges = found(&subject, SearchField::Subject, query);
    Highlights {
        subject: (!ranges.is_empty()).then_some(Snippet {
            text: subject,
            ranges,
        }),
        text: in_text(SearchField::Body, &text.body)
            .or_else(|| in_text(SearchField::Attachments, &text.attachments)),
    }
}

fn one_line(text: &str) -> String {
    let end = text.floor_char_boundary(TEXT_BYTES_MAX);
    let mut out = String::with_capacity(end);
    for word in text[..end].split_whitespace() {
        if !out.is_empty() {
            out.push(' ');
        }
        out.push_str(word);
    }
    out
}

/// The ranges of all terms in a text, put in order and together.
fn found(text: &str, field: SearchField, query: &SearchQuery) -> Vec<Range<usize>> {
    let terms: Vec<&Term> = query
        .terms
        .iter()
        .filter(|term| term.fields.has(field))
        .collect();
    if terms.is_empty() {
        return Vec::new();
    }
    let mut tokens = Vec::new();
    each_token_at(text, |token, range| {
        tokens.push((Box::<str>::from(token), range))
    });
    let mut ranges = Vec::new();
    for term in terms {
        for window in tokens.windows(term.tokens.len()) {
            if is_match(term, window) {
                ranges.extend(window.iter().map(|(_, range)| range.clone()));
            }
        }
    }
    ranges.sort_by_key(|range: &Range<usize>| (range.start, range.end));
    let mut joined: Vec<Range<usize>> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match joined.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => joined.push(range),
        }
    }
    joined
}

fn is_match(term: &Term, window: &[(Box<str>, Range<usize>)]) -> bool {
    let last = term.tokens.len() - 1;
    let mut pairs = term.tokens.iter().zip(window).enumerate();
    pairs.all(|(at, (wanted, (token, _)))| {
        if term.prefix && at == last {
            token.starts_with(&**wanted)
        } else {
            token == wanted
        }
    })
}

/// The piece of a text around the first range, cut at spaces where there are some.
fn piece(text: &str, found: &[Range<usize>]) -> Snippet {
    let first = found.first().map_or(0, |range| range.start);
    let from = text.floor_char_boundary(first.saturating_sub(BEFORE_BYTES));
    let start = if from == 0 {
        0
    } else {
        text[from..first].find(' ').map_or(from, |at| from + at + 1)
    };
    let limit = text.floor_char_boundary(start + SNIPPET_BYTES_MAX);
    let end = if limit == text.len() {
        limit
    } else {
        let last_space = text[start..limit].rfind(' ').map(|at| start + at);
        last_space.filter(|end| *end > first).unwrap_or(limit)
    };
    let inside = found.iter().filter(|range| range.start < end);
    let ranges = inside.map(|range| range.start - start..range.end.min(end) - start);
    Snippet {
        text: text[start..end].to_owned(),
        ranges: ranges.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn show(snippet: Option<Snippet>) -> String {
        let Some(snippet) = snippet else {
            return "-".to_owned();
        };
        let mut text = snippet.text;
        for range in snippet.ranges.iter().rev() {
            text.insert(range.end, ']');
            text.insert(range.start, '[');
        }
        text
    }

    fn check(subject: &str, body: &str, query: &str, expected: (&str, &str)) {
        let text = SearchText {
            subject: subject.to_owned(),
            body: body.to_owned(),
            ..SearchText::default()
        };
        let found = highlights(&text, &SearchQuery::parse(query));
        let shown = (show(found.subject), show(found.text));
        assert_eq!((shown.0.as_str(), shown.1.as_str()), expected, "{query}");
    }

    #[test]
    fn words_are_marked() {
        check(
            "Größe!",
            "die\r\nGRÖSSE des Hauses",
            "grosse",
            ("[Größe]!", "die [GRÖSSE] des Hauses"),
        );
        check(
            "no",
            "red fox, red",
            "\"red fox\"",
            ("-", "[red] [fox], red"),
        );
        check("no", "foxes and hens", "fox*", ("-", "[foxes] and hens"));
        check("fox", "fox", "subject:fox", ("[fox]", "-"));
        check("no", "見る東京都から", "東京都", ("-", "見る[東京都]から"));
        check("no", "見る京", "京", ("-", "見る[京]"));
        check(
            "no",
            "to bob.smith@red.test.",
            "bob.smith@red.test",
            ("-", "to [bob].[smith]@[red].[test]."),
        );
        check("no", "nothing", "fox", ("-", "-"));
    }

    #[test]
    fn pieces_are_cut_at_spaces() {
        let body = format!("{}needle {}", "before ".repeat(50), "after ".repeat(100));
        let text = SearchText {
            body,
            ..SearchText::default()
        };
        let found = highlights(&text, &SearchQuery::parse("needle"))
            .text
            .unwrap();
        assert!(found.text.starts_with("before ") && found.text.ends_with("after"));
        assert!((200..=SNIPPET_BYTES_MAX).contains(&found.text.len()));
        assert_eq!(&found.text[found.ranges[0].clone()], "needle");
    }

    proptest! {
        #[test]
        fn ranges_are_right(
            body in "[a-c äß東京\u{300}½.]{0,400}",
            query in "[a-cä東京]{1,3}\\*?",
        ) {
            let text = SearchText { body, ..SearchText::default() };
            if let Some(found) = highlights(&text, &SearchQuery::parse(&query)).text {
                prop_assert!(found.text.len() <= SNIPPET_BYTES_MAX);
                prop_assert!(!found.ranges.is_empty());
                let mut end = 0;
                for range in found.ranges {
                    prop_assert!(range.start >= end && range.start < range.end);
                    end = range.end;
                    prop_assert!(found.text.get(range).is_some());
                }
            }
        }
    }
}
