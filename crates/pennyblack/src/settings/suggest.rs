//! The nearest valid name to one that is not valid.

/// The name most like `wrong`, if one is alike enough to be meant.
#[must_use]
pub fn nearest<'a>(wrong: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // A third of the letters may differ: more is another word, not a slip.
    let allowed = (wrong.chars().count() / 3).max(2);
    names
        .into_iter()
        .map(|name| (distance(wrong, name), name))
        .filter(|(distance, _)| *distance <= allowed)
        .min()
        .map(|(_, name)| name)
}

/// The fewest insertions, removals, replacements and swaps of neighbours that turn one text into
/// the other.
fn distance(left: &str, right: &str) -> usize {
    let left: Vec<char> = left.chars().collect();
    let right: Vec<char> = right.chars().collect();
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=right.len()).collect();
    for i in 1..=left.len() {
        let mut row = vec![i];
        for j in 1..=right.len() {
            let cost = usize::from(left[i - 1] != right[j - 1]);
            let mut best = (last[j] + 1).min(row[j - 1] + 1).min(last[j - 1] + cost);
            let swapped =
                i > 1 && j > 1 && left[i - 1] == right[j - 2] && left[i - 2] == right[j - 1];
            if swapped {
                best = best.min(before_last[j - 2] + 1);
            }
            row.push(best);
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        assert_eq!(distance("hostname", "hostname"), 0);
        assert_eq!(distance("hotsname", "hostname"), 1);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("abc", ""), 3);
    }

    #[test]
    fn a_slip_is_recognised_and_another_word_is_not() {
        let names = ["hostname", "data_dir", "limits.hops"];
        assert_eq!(nearest("hostnmae", names), Some("hostname"));
        assert_eq!(nearest("datadir", names), Some("data_dir"));
        assert_eq!(nearest("colour", names), None);
    }
}
