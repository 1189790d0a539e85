//! Which segments are merged next.

use std::ops::Range;

/// Segments that are merged at once.
const INPUTS_MAX: usize = 64;
/// All is merged when one letter of so many is gone,
const GONE_SHARE: i64 = 5;
/// but not for fewer than these,
const GONE_LETTERS_MIN: i64 = 64;
/// or when there are so many marks, and one for so many letters.
const MARKS_MAX: i64 = 10_000;
const LETTERS_OF_MARK: i64 = 20;

/// States of a segment: being built, searched, or to be removed piece by piece.
pub(in crate::search) const BUILDING: i64 = 0;
pub(in crate::search) const LIVE: i64 = 1;
pub(in crate::search) const REMOVED: i64 = 2;

/// A segment as it is listed. What is merged keeps the epoch of the last of its segments.
pub(in crate::search) struct Segment {
    pub id: i64,
    pub epoch: i64,
    /// How many; need not be exact.
    pub letters: i64,
}

/// How eagerly segments are merged: the more are left as they are, the less is written again, and the
/// more a search looks into.
#[derive(Clone, Copy)]
pub(in crate::search) struct Shape {
    /// Segments of about one size that are merged into one.
    pub fan_in: usize,
    /// A segment has a level for each factor of this many bits in its letters.
    pub level_bits: u32,
}

impl Shape {
    /// The segments that are merged next, of those that are searched, in order of epoch. `marks` are
    /// how many, `gone` the letters that they are about.
    pub(in crate::search) fn next(
        &self,
        segments: &[Segment],
        marks: i64,
        gone: i64,
    ) -> Option<Range<usize>> {
        let letters: i64 = segments.iter().map(|segment| segment.letters).sum();
        let is_worth_it = gone >= GONE_LETTERS_MIN && gone * GONE_SHARE >= letters;
        if marks > MARKS_MAX.max(letters / LETTERS_OF_MARK) || is_worth_it {
            return Some(0..segments.len());
        }
        self.crowd(segments)
    }

    /// Neighbours of which there are too many of one level or below, the smallest level first. A few
    /// of them must have that level themselves: no large segment is written anew for some small ones.
    fn crowd(&self, segments: &[Segment]) -> Option<Range<usize>> {
        let levels = segments
            .iter()
            .map(|segment| segment.letters.max(1).ilog2() / self.level_bits);
        let levels: Vec<u32> = levels.collect();
        let equals = if levels.len() > INPUTS_MAX {
            1
        } else {
            self.fan_in / 2
        };
        for level in 0..=levels.iter().copied().max()? {
            let mut start = 0;
            while start < levels.len() {
                let run = levels.iter().skip(start);
                let run = run.take_while(|other| **other <= level).take(INPUTS_MAX);
                let (length, equal) = run.fold((0, 0), |(length, equal), other| {
                    (length + 1, equal + usize::from(*other == level))
                });
                if length >= self.fan_in && equal >= equals {
                    return Some(start..start + length);
                }
                start += length + 1;
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: Shape = Shape {
        fan_in: 8,
        level_bits: 3,
    };

    fn segments(letters: &[i64]) -> Vec<Segment> {
        let segments = letters.iter().map(|letters| Segment {
            id: 0,
            epoch: 0,
            letters: *letters,
        });
        segments.collect()
    }

    #[test]
    fn neighbours_of_one_size_are_merged() {
        let check = |letters: &[i64], expected: Option<Range<usize>>| {
            let found = SHAPE.next(&segments(letters), 0, 0);
            assert_eq!(found, expected, "{letters:?}");
        };
        check(&[], None);
        check(&[1; 7], None);
        check(&[1; 8], Some(0..8));
        check(&[100, 1, 1, 1, 1, 1, 1, 1, 3], Some(1..9));
        check(&[1, 1, 1, 1, 100, 1, 1, 1, 1], None);
        check(&[9000, 1, 1, 1, 1, 1, 1, 9000], None);
        // Small ones between large ones do not gather for ever.
        check(&[9000, 1, 9000, 1, 9000, 1, 9000, 1], Some(0..8));
    }

    #[test]
    fn all_is_merged_when_much_is_gone() {
        let three = segments(&[200, 200, 10]);
        assert_eq!(SHAPE.next(&three, 1, 81), None);
        assert_eq!(SHAPE.next(&three, 1, 82), Some(0..3));
        assert_eq!(SHAPE.next(&segments(&[60]), 1, 60), None);
        assert_eq!(SHAPE.next(&three, 10_000, 1), None);
        assert_eq!(SHAPE.next(&three, 10_001, 1), Some(0..3));
        let large = segments(&[400_000]);
        assert_eq!(SHAPE.next(&large, 20_000, 1), None);
        assert_eq!(SHAPE.next(&large, 20_001, 1), Some(0..1));
    }
}
