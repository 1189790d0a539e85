//! `:regex` (draft-ietf-sieve-regex): extended regular expressions, matched in time linear in the
//! text. There are no back references; of several ways to match, the first alternative counts and
//! not the longest.

use regex::{Regex, RegexBuilder};

use super::Comparator;

/// Nesting of groups; the compiler goes one call deeper for each.
const NEST_MAX: u32 = 32;

/// # Errors
/// What is wrong with the expression, for the script's owner.
pub(crate) fn compile_regex(
    expression: &str,
    comparator: Comparator,
    bytes_max: usize,
) -> Result<Regex, String> {
    let built = RegexBuilder::new(expression)
        .case_insensitive(comparator != Comparator::Octet)
        // As in POSIX: a dot and a negated bracket take line ends, `^` and `$` are the text's ends.
        .dot_matches_new_line(true)
        .size_limit(bytes_max)
        .dfa_size_limit(bytes_max)
        .nest_limit(NEST_MAX)
        .build();
    built.map_err(|error| match error {
        regex::Error::CompiledTooBig(_) => {
            "this regular expression is too large when it is compiled".to_owned()
        }
        error => {
            // The last line says what is wrong; those before it draw a picture.
            let text = error.to_string();
            let last = text.lines().last().unwrap_or_default();
            let last = last.strip_prefix("error: ").unwrap_or(last);
            format!("this is no regular expression: {last}")
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(expression: &str) -> String {
        compile_regex(expression, Comparator::AsciiCasemap, 100_000).unwrap_err()
    }

    #[test]
    fn errors_say_what_is_wrong() {
        assert_eq!(error("(a"), "this is no regular expression: unclosed group");
        assert_eq!(
            error("a{1,1000}{1,1000}"),
            "this regular expression is too large when it is compiled"
        );
        let nested = "(".repeat(40) + &")".repeat(40);
        assert!(error(&nested).contains("nest"), "{}", error(&nested));
        assert!(error(r"(a)\1").contains("backreferences"));
    }

    #[test]
    fn case_follows_the_comparator() {
        let is_match = |comparator, expression, text| {
            compile_regex(expression, comparator, 100_000)
                .unwrap()
                .is_match(text)
        };
        assert!(is_match(Comparator::AsciiCasemap, "^[[:alpha:]]+$", "ABC"));
        assert!(is_match(Comparator::AsciiCasemap, "abc", "xABCx"));
        assert!(!is_match(Comparator::Octet, "abc", "ABC"));
        assert!(is_match(Comparator::UnicodeCasemap, "é", "É"));
        assert!(is_match(Comparator::AsciiCasemap, "a.c", "A\nC"));
    }
}
