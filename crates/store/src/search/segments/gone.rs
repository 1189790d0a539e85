//! Rows of messages that are gone, or that are about to be in the index anew: what stands in segments
//! up to an epoch is not theirs any more. Merging leaves it out.

/// Marks on rows: the first row, the last row, and the last epoch from whose segments they are gone.
/// In order of the first row.
#[derive(Default)]
pub(in crate::search) struct Marks(pub Vec<(i64, i64, i64)>);

impl Marks {
    /// What is gone from segments of an epoch.
    pub(in crate::search) fn at(&self, epoch: i64) -> Gone {
        let mut ranges: Vec<(i64, i64)> = Vec::new();
        for (first, last, through) in &self.0 {
            if *through < epoch {
                continue;
            }
            match ranges.last_mut() {
                Some((_, end)) if *first <= end.saturating_add(1) => *end = (*last).max(*end),
                _ => ranges.push((*first, *last)),
            }
        }
        Gone(ranges)
    }
}

/// Rows that are gone: ranges, ascending, that do not touch.
pub(in crate::search) struct Gone(Vec<(i64, i64)>);

impl Gone {
    pub(in crate::search) fn has(&self, row: i64) -> bool {
        self.touches(row, row)
    }

    /// Whether one of some rows is gone.
    pub(in crate::search) fn touches(&self, first: i64, last: i64) -> bool {
        let next = self.0.partition_point(|(_, end)| *end < first);
        self.0.get(next).is_some_and(|(start, _)| *start <= last)
    }

    pub(in crate::search) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_count_up_to_their_epoch() {
        let marks = Marks(vec![(5, 9, 3), (8, 12, 7), (20, 20, 7), (21, 30, 2)]);
        let gone = marks.at(3);
        let found: Vec<i64> = (1..40).filter(|row| gone.has(*row)).collect();
        assert_eq!(found, (5..=12).chain([20]).collect::<Vec<_>>());
        assert!(gone.touches(1, 5) && gone.touches(12, 19) && !gone.touches(13, 19));
        let gone = marks.at(4);
        assert!(!gone.has(7) && gone.has(8) && !gone.has(21));
        assert!(marks.at(8).is_empty());
    }
}
