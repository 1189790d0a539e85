//! Sets of message numbers and UIDs (RFC 9051 §9, sequence-set; RFC 5182 for `$`).

use std::fmt;
use std::ops::RangeInclusive;

use super::cursor::{Cursor, Parsed};
use super::error::SyntaxError;

/// One end of a range: a number, or `*` for the largest in use (kept as 0).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct End(u32);

impl End {
    fn resolve(self, largest: u32) -> u32 {
        if self.0 == 0 { largest } else { self.0 }
    }
}

/// `sequence-set = (seq-number / seq-range) ["," sequence-set]`; never empty.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SequenceSet(Box<[(End, End)]>);

impl SequenceSet {
    pub(super) fn read(cursor: &mut Cursor<'_>) -> Parsed<Self> {
        let mut ranges = Vec::new();
        loop {
            let first = read_end(cursor)?;
            let last = if cursor.take(b':') {
                read_end(cursor)?
            } else {
                first
            };
            ranges.push((first, last));
            if !cursor.take(b',') {
                return Ok(Self(ranges.into()));
            }
        }
    }

    /// The ranges in ascending order, merged. `largest` is what `*` stands for; with 0 (an empty
    /// mailbox) `*` stands for nothing.
    ///
    /// RFC 9051 §9: the ends of a range may stand in either order.
    #[must_use]
    pub fn ranges(&self, largest: u32) -> Vec<RangeInclusive<u32>> {
        let resolved = self.0.iter().filter_map(|(first, last)| {
            let (first, last) = (first.resolve(largest), last.resolve(largest));
            let (low, high) = (first.min(last), first.max(last));
            // Only an empty mailbox makes a 0, from `*`.
            (low > 0).then_some((low, high))
        });
        merge(resolved.collect())
    }

    /// The ranges of `text`, which may not have a `*`; for tests and stored sets.
    ///
    /// # Errors
    /// [`SyntaxError`] when it is no sequence set.
    pub fn parse(text: &str) -> Parsed<Self> {
        let mut cursor = Cursor::new(text.as_bytes(), false);
        let set = Self::read(&mut cursor)?;
        cursor.end()?;
        Ok(set)
    }
}

fn read_end(cursor: &mut Cursor<'_>) -> Parsed<End> {
    if cursor.take(b'*') {
        return Ok(End(0));
    }
    match cursor.peek() {
        Some(b'0'..=b'9') => match cursor.number()? {
            0 => Err(SyntaxError::Number),
            number => Ok(End(number)),
        },
        Some(_) | None => Err(SyntaxError::Expected("a sequence set")),
    }
}

fn merge(mut ranges: Vec<(u32, u32)>) -> Vec<RangeInclusive<u32>> {
    ranges.sort_unstable();
    let mut merged: Vec<RangeInclusive<u32>> = Vec::with_capacity(ranges.len());
    for (low, high) in ranges {
        match merged.last_mut() {
            Some(last) if low <= last.end().saturating_add(1) => {
                *last = *last.start()..=high.max(*last.end());
            }
            Some(_) | None => merged.push(low..=high),
        }
    }
    merged
}

/// Which messages a command is about.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum MessageSet {
    /// Numbers or UIDs.
    Set(SequenceSet),
    /// `$`: the result saved by the last SEARCH (RFC 9051 §6.4.4.1).
    Saved,
}

impl MessageSet {
    pub(super) fn read(cursor: &mut Cursor<'_>) -> Parsed<Self> {
        if cursor.take(b'$') {
            Ok(Self::Saved)
        } else {
            SequenceSet::read(cursor).map(Self::Set)
        }
    }
}

/// Writes ascending numbers as the shortest sequence set, `1:3,5`.
#[derive(Debug)]
pub struct Compact<'a>(pub &'a [u32]);

impl fmt::Display for Compact<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut numbers = self.0.iter().copied().peekable();
        let mut separator = "";
        while let Some(first) = numbers.next() {
            let mut last = first;
            while let Some(next) = numbers.next_if_eq(&last.saturating_add(1)) {
                last = next;
            }
            if first == last {
                write!(f, "{separator}{first}")?;
            } else {
                write!(f, "{separator}{first}:{last}")?;
            }
            separator = ",";
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, largest: u32, expected: &[RangeInclusive<u32>]) {
        assert_eq!(
            SequenceSet::parse(text).unwrap().ranges(largest),
            expected,
            "{text}"
        );
    }

    #[test]
    fn ranges_are_sorted_and_merged() {
        check("1", 9, &[1..=1]);
        check("4:2,9,3:5", 9, &[2..=5, 9..=9]);
        check("1:2,3", 9, &[1..=3]);
        check("*", 7, &[7..=7]);
        check("10:*", 7, &[7..=10]);
        check("1:*", 0, &[]);
        check("4294967295,1:4294967295", 5, &[1..=u32::MAX]);
    }

    #[test]
    fn refuses_what_is_no_set() {
        for bad in ["", "0", "1:", ",1", "1,", "a", "1:0", "4294967296", "1 2"] {
            assert!(SequenceSet::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn compact_form() {
        let shown = |numbers: &[u32]| Compact(numbers).to_string();
        assert_eq!(shown(&[1, 2, 3, 5, 7, 8]), "1:3,5,7:8");
        assert_eq!(shown(&[u32::MAX]), "4294967295");
        assert_eq!(shown(&[]), "");
    }
}
