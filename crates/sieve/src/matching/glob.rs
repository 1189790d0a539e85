//! `:matches`: `*` for any text, `?` for one character, a backslash before what stands for itself
//! (RFC 5228 §2.7.1). The wildcards take as little as they can (RFC 5229 §3.2).

use memchr::memmem;

use super::{Comparator, Folded, MATCH_VARIABLES_MAX, Matched, Work};

/// A pattern, cut at its stars.
#[derive(Debug)]
pub(crate) struct Glob {
    /// At least one; between each two stands a star.
    segments: Vec<Segment>,
}

#[derive(Debug, Default)]
struct Segment(Vec<Element>);

#[derive(Debug)]
enum Element {
    /// Folded by the comparator; not empty.
    Literal(String),
    /// `?`.
    One,
}

/// The span that a wildcard took, in the folded value.
type Taken = (usize, usize);

/// Where a segment stands, and what its `?` took.
struct Found {
    start: usize,
    end: usize,
    ones: Vec<Taken>,
}

impl Glob {
    pub(crate) fn new(pattern: &str, comparator: Comparator) -> Self {
        let mut segments = vec![Segment::default()];
        let mut literal = String::new();
        let flush = |literal: &mut String, segments: &mut Vec<Segment>| {
            if let Some(segment) = segments.last_mut().filter(|_| !literal.is_empty()) {
                let folded = comparator.fold(literal).text.into_owned();
                segment.0.push(Element::Literal(folded));
                literal.clear();
            }
        };
        let mut chars = pattern.chars();
        while let Some(c) = chars.next() {
            match c {
                '*' => {
                    flush(&mut literal, &mut segments);
                    segments.push(Segment::default());
                }
                '?' => {
                    flush(&mut literal, &mut segments);
                    if let Some(segment) = segments.last_mut() {
                        segment.0.push(Element::One);
                    }
                }
                '\\' => literal.extend(chars.next()),
                c => literal.push(c),
            }
        }
        flush(&mut literal, &mut segments);
        Self { segments }
    }

    /// Whether the whole value matches; `folded` is the value folded by the comparator.
    pub(crate) fn matches<W: Work>(
        &self,
        value: &str,
        folded: &Folded<'_>,
        work: &mut W,
    ) -> Result<Matched, W::Stop> {
        let Some(taken) = self.find(folded, work)? else {
            return Ok(Matched::No);
        };
        let mut found = vec![value.to_owned()];
        for (start, end) in taken {
            let (start, end) = (folded.original(start), folded.original(end));
            found.push(value.get(start..end).unwrap_or_default().to_owned());
        }
        Ok(Matched::With(found))
    }

    fn find<W: Work>(
        &self,
        folded: &Folded<'_>,
        work: &mut W,
    ) -> Result<Option<Vec<Taken>>, W::Stop> {
        let text: &str = &folded.text;
        let mut taken = Vec::new();
        let Some((first, others)) = self.segments.split_first() else {
            return Ok(None);
        };
        work.work(first.0.len())?;
        let Some(mut position) = first.at(folded, 0, &mut taken) else {
            return Ok(None);
        };
        let Some((last, middle)) = others.split_last() else {
            return Ok((position == text.len()).then_some(taken));
        };
        for segment in middle {
            let star = position;
            let Some(found) = segment.search(folded, position, work)? else {
                return Ok(None);
            };
            keep(&mut taken, &[(star, found.start)]);
            keep(&mut taken, &found.ones);
            position = found.end;
        }
        work.work(last.0.len())?;
        let Some(start) = last
            .start_from_end(folded)
            .filter(|start| *start >= position)
        else {
            return Ok(None);
        };
        let mut ones = Vec::new();
        if last.at(folded, start, &mut ones) != Some(text.len()) {
            return Ok(None);
        }
        keep(&mut taken, &[(position, start)]);
        keep(&mut taken, &ones);
        Ok(Some(taken))
    }
}

/// Keeps as many spans as there are match variables, the whole value being the first.
fn keep(taken: &mut Vec<Taken>, spans: &[Taken]) {
    let room = (MATCH_VARIABLES_MAX - 1).saturating_sub(taken.len());
    taken.extend(spans.iter().take(room));
}

impl Segment {
    /// Where the segment ends if it stands at `start`.
    fn at(&self, folded: &Folded<'_>, start: usize, taken: &mut Vec<Taken>) -> Option<usize> {
        let mut position = start;
        for element in &self.0 {
            match element {
                Element::Literal(literal) => {
                    if !folded.text.get(position..)?.starts_with(literal.as_str()) {
                        return None;
                    }
                    position += literal.len();
                }
                Element::One => {
                    let end = folded.end_of_character(position)?;
                    keep(taken, &[(position, end)]);
                    position = end;
                }
            }
        }
        Some(position)
    }

    /// The first place at or after `from` where it stands.
    fn search<W: Work>(
        &self,
        folded: &Folded<'_>,
        from: usize,
        work: &mut W,
    ) -> Result<Option<Found>, W::Stop> {
        let text: &str = &folded.text;
        let mut start = from;
        loop {
            // An attempt takes some tens of nanoseconds, and a few for each element.
            work.work(self.0.len() * 4 + 16)?;
            if let Some(Element::Literal(literal)) = self.0.first() {
                let rest = text.get(start..).unwrap_or_default();
                let Some(found) = memmem::find(rest.as_bytes(), literal.as_bytes()) else {
                    work.work(rest.len())?;
                    return Ok(None);
                };
                work.work(found)?;
                start += found;
            }
            let mut ones = Vec::new();
            if let Some(end) = self.at(folded, start, &mut ones) {
                return Ok(Some(Found { start, end, ones }));
            }
            let Some(next) = text.get(start..).and_then(|rest| rest.chars().next()) else {
                return Ok(None);
            };
            start += next.len_utf8();
        }
    }

    /// Where it must start so that it ends with the text.
    fn start_from_end(&self, folded: &Folded<'_>) -> Option<usize> {
        let text: &str = &folded.text;
        let mut position = text.len();
        for element in self.0.iter().rev() {
            position = match element {
                Element::Literal(literal) => position.checked_sub(literal.len())?,
                Element::One => folded.start_of_character(position)?,
            };
        }
        text.is_char_boundary(position).then_some(position)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts, and stops at a limit.
    struct Count(usize);

    impl Work for Count {
        type Stop = ();
        fn work(&mut self, bytes: usize) -> Result<(), ()> {
            self.0 = self.0.checked_sub(bytes).ok_or(())?;
            Ok(())
        }
    }

    fn check(pattern: &str, value: &str, expected: Option<&[&str]>) {
        for comparator in [
            Comparator::Octet,
            Comparator::AsciiCasemap,
            Comparator::UnicodeCasemap,
        ] {
            let folded = comparator.fold(value);
            let matched =
                Glob::new(pattern, comparator).matches(value, &folded, &mut Count(10_000));
            let found = match matched.unwrap() {
                Matched::With(found) => Some(found),
                Matched::No | Matched::Yes => None,
            };
            let expected = expected.map(|e| e.iter().map(ToString::to_string).collect::<Vec<_>>());
            assert_eq!(found, expected, "{pattern} {value}");
        }
    }

    #[test]
    fn rfc_5229_3_2_wildcards_take_little() {
        check("*", "", Some(&["", ""]));
        check("", "", Some(&[""]));
        check("", "a", None);
        check("a", "a", Some(&["a"]));
        check("*a*", "banana", Some(&["banana", "b", "nana"]));
        check("*a", "banana", Some(&["banana", "banan"]));
        check("b*a?a", "banana", Some(&["banana", "an", "n"]));
        check("?*?", "é", None);
        check("?*?", "éü", Some(&["éü", "é", "", "ü"]));
        check("*é?n*", "aéünx", Some(&["aéünx", "a", "ü", "x"]));
        check(r"\*a\?\\*", r"*a?\b", Some(&[r"*a?\b", "b"]));
        check("a*a", "a", None);
        check("**a", "xa", Some(&["xa", "", "x"]));
        check(
            "[acme-users] *",
            "[acme-users] [fwd] version 1.0 is out",
            Some(&[
                "[acme-users] [fwd] version 1.0 is out",
                "[fwd] version 1.0 is out",
            ]),
        );
    }

    /// Tries everything: what each wildcard takes, the first ones as little as they can.
    fn try_all(pattern: &[char], value: &[char]) -> Option<Vec<String>> {
        let Some((first, rest)) = pattern.split_first() else {
            return value.is_empty().then(Vec::new);
        };
        let lengths = match first {
            '*' => 0..=value.len(),
            _ => 1..=1,
        };
        for length in lengths {
            let taken = value.get(..length)?;
            if !matches!(first, '*' | '?') && taken != [*first] {
                return None;
            }
            if let Some(others) = try_all(rest, &value[length..]) {
                let wild = matches!(first, '*' | '?');
                let own = wild.then(|| taken.iter().collect());
                return Some(own.into_iter().chain(others).collect());
            }
        }
        None
    }

    proptest::proptest! {
        #[test]
        fn the_same_as_trying_everything(pattern in "[aé*?*]{0,7}", value in "[aé]{0,7}") {
            let chars = |text: &str| text.chars().collect::<Vec<_>>();
            let mut expected = try_all(&chars(&pattern), &chars(&value));
            if let Some(found) = &mut expected {
                found.insert(0, value.clone());
            }
            let expected: Option<Vec<&str>> = expected.as_ref().map(|e| e.iter().map(String::as_str).collect());
            check(&pattern, &value, expected.as_deref());
        }
    }

    #[test]
    fn what_is_found_keeps_its_letter_case() {
        let value = "ÀB x ÉCOLE";
        let comparator = Comparator::UnicodeCasemap;
        let matched = Glob::new("àb * é*", comparator).matches(
            value,
            &comparator.fold(value),
            &mut Count(999),
        );
        assert_eq!(
            matched,
            Ok(Matched::With(vec![value.into(), "x".into(), "COLE".into()]))
        );
    }

    #[test]
    fn hostile_patterns_run_into_the_budget() {
        let value = "a".repeat(10_000);
        let pattern = "*?a?a?a?a?a?a?a?a?a?a?a?ab*";
        let comparator = Comparator::Octet;
        let glob = Glob::new(pattern, comparator);
        assert_eq!(
            glob.matches(&value, &comparator.fold(&value), &mut Count(200_000)),
            Err(())
        );
        assert_eq!(
            glob.matches(&value, &comparator.fold(&value), &mut Count(4_000_000)),
            Ok(Matched::No)
        );
    }

    #[test]
    fn there_are_so_many_match_variables() {
        let comparator = Comparator::Octet;
        let count = |wildcards: usize| {
            let value = "a".repeat(wildcards);
            let glob = Glob::new(&"?".repeat(wildcards), comparator);
            match glob
                .matches(&value, &comparator.fold(&value), &mut Count(9_999))
                .unwrap()
            {
                Matched::With(found) => found.len(),
                Matched::No | Matched::Yes => 0,
            }
        };
        assert_eq!(count(MATCH_VARIABLES_MAX - 1), MATCH_VARIABLES_MAX);
        assert_eq!(count(MATCH_VARIABLES_MAX), MATCH_VARIABLES_MAX);
    }
}
