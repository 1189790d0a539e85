//! `:regex` (draft-ietf-sieve-regex): extended regular expressions, matched in time linear in the
//! text. There are no back references; of several ways to match, the first alternative counts and
//! not the longest.

use regex::{Regex, RegexBuilder};

use super::Comparator;

/// Nesting of groups; the compiler goes one call deeper for each.
const NEST_MAX: u32 = 32;

/// Sizes that are tried, in bytes of the compiled expression: the first that is enough tells what a
/// byte of text costs at worst, when each state of the expression is alive.
const SIZES: [usize; 8] = [
    2 << 10,
    4 << 10,
    8 << 10,
    16 << 10,
    32 << 10,
    64 << 10,
    128 << 10,
    usize::MAX,
];

/// Bytes of an expression for which one byte of text counts as one more. A state has about 30 bytes
/// and takes a few nanoseconds, so that a unit of work stays near a few nanoseconds.
const BYTES_PER_WORK: usize = 32;

/// Bytes of memory for the states of the fast matcher, per expression and thread.
const CACHE_BYTES_MAX: usize = 128 * 1024;

/// An expression, and what it costs for each byte of text.
#[derive(Debug)]
pub(crate) struct WeighedRegex {
    pub(crate) regex: Regex,
    pub(crate) weight: usize,
}

/// # Errors
/// What is wrong with the expression, for the script's owner.
pub(crate) fn compile_regex(
    expression: &str,
    comparator: Comparator,
    bytes_max: usize,
) -> Result<WeighedRegex, String> {
    let mut builder = RegexBuilder::new(expression);
    builder
        .case_insensitive(comparator != Comparator::Octet)
        // As in POSIX: a dot and a negated bracket take line ends, `^` and `$` are the text's ends.
        .dot_matches_new_line(true)
        .dfa_size_limit(CACHE_BYTES_MAX)
        .nest_limit(NEST_MAX);
    for size in SIZES {
        let size = size.min(bytes_max);
        return match builder.size_limit(size).build() {
            Ok(regex) => Ok(WeighedRegex {
                regex,
                weight: size / BYTES_PER_WORK + 1,
            }),
            Err(regex::Error::CompiledTooBig(_)) if size < bytes_max => continue,
            Err(error) => Err(describe(&error)),
        };
    }
    Err(describe(&regex::Error::CompiledTooBig(bytes_max)))
}

fn describe(error: &regex::Error) -> String {
    if let regex::Error::CompiledTooBig(_) = error {
        return "this regular expression is too large when it is compiled".to_owned();
    }
    // The last line says what is wrong; those before it draw a picture.
    let text = error.to_string();
    let last = text.lines().last().unwrap_or_default();
    let last = last.strip_prefix("error: ").unwrap_or(last);
    format!("this is no regular expression: {last}")
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
    fn larger_expressions_cost_more() {
        let weight = |expression: &str| {
            let compiled = compile_regex(expression, Comparator::Octet, 256 * 1024);
            compiled.unwrap().weight
        };
        assert_eq!(weight("^a+b"), (2 << 10) / BYTES_PER_WORK + 1);
        assert!(weight("^(a|b){500}c") > 100);
        assert!(weight(r"\w+") > weight("[a-z]+"));
        // Classes of Unicode are large, but not too large.
        assert!(weight(r"(\w\d?|a){2}!") > weight(r"\w+"));
    }

    #[test]
    fn case_follows_the_comparator() {
        let is_match = |comparator, expression, text| {
            compile_regex(expression, comparator, 100_000)
                .unwrap()
                .regex
                .is_match(text)
        };
        assert!(is_match(Comparator::AsciiCasemap, "^[[:alpha:]]+$", "ABC"));
        assert!(is_match(Comparator::AsciiCasemap, "abc", "xABCx"));
        assert!(!is_match(Comparator::Octet, "abc", "ABC"));
        assert!(is_match(Comparator::UnicodeCasemap, "é", "É"));
        assert!(is_match(Comparator::AsciiCasemap, "a.c", "A\nC"));
    }
}
