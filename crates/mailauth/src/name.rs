//! Domain names as checks use them: lower case, A-labels, no final dot.

use base::Domain;

/// RFC 1035 §2.3.4: a name in presentation form, without the final dot.
pub(crate) const NAME_BYTES_MAX: usize = 253;
/// RFC 1035 §2.3.4.
const LABEL_BYTES_MAX: usize = 63;

/// The name of a question; `None` for one that the DNS cannot hold. Any ASCII character may stand
/// in a label, as SPF macros put there what they like; others must be A-labels already.
pub(crate) fn question_name(text: &str) -> Option<String> {
    let text = text.strip_suffix('.').unwrap_or(text);
    let fits = text.is_ascii()
        && (1..=NAME_BYTES_MAX).contains(&text.len())
        && text
            .split('.')
            .all(|label| (1..=LABEL_BYTES_MAX).contains(&label.len()));
    fits.then(|| text.to_ascii_lowercase())
}

/// The name as A-labels (RFC 8616 §3: U-labels are converted before anything is compared or
/// asked); `None` for one that is no name.
pub(crate) fn to_ascii(text: &str) -> Option<String> {
    let text = text.strip_suffix('.').unwrap_or(text);
    if text.is_ascii() {
        question_name(text)
    } else {
        let domain = Domain::parse(text).ok()?;
        question_name(domain.as_str())
    }
}

/// Whether the name is `parent` or below it.
pub(crate) fn is_within(name: &str, parent: &str) -> bool {
    name.strip_suffix(parent)
        .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_and_names_at_their_limits() {
        let label = "a".repeat(63);
        assert!(question_name(&format!("{label}.Test.")).is_some());
        assert!(question_name(&format!("{label}a.test")).is_none());
        let long = [label.as_str(), &label, &label, &label[..61]].join(".");
        assert_eq!(long.len(), NAME_BYTES_MAX);
        assert!(question_name(&long).is_some());
        assert!(question_name(&format!("{long}a")).is_none());
        assert!(question_name("a..test").is_none());
        assert!(question_name("").is_none());
    }

    #[test]
    fn u_labels_become_a_labels() {
        assert_eq!(
            to_ascii("B\u{fc}cher.Test").as_deref(),
            Some("xn--bcher-kva.test")
        );
        assert!(to_ascii("b\u{fc}cher test").is_none());
    }

    #[test]
    fn a_name_is_within_its_parents() {
        assert!(is_within("a.b.test", "b.test") && is_within("b.test", "b.test"));
        assert!(!is_within("ab.test", "b.test"));
    }
}
