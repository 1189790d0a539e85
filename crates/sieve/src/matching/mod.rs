//! Comparing of values with keys: comparators (RFC 4790), `:is`, `:contains`, `:matches` (RFC 5228
//! §2.7.1), `:value` and `:count` (RFC 5231), and `:regex`.

mod comparator;
mod glob;
mod regexes;

use std::cmp::Ordering;

pub(crate) use comparator::{Comparator, Folded};
pub(crate) use regexes::{WeighedRegex, compile_regex};

use crate::program::MatchKind;
use glob::Glob;

/// RFC 5229 §3.2 asks for at least ten match variables.
pub(crate) const MATCH_VARIABLES_MAX: usize = 32;

/// `"gt" / "ge" / "lt" / "le" / "eq" / "ne"`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Relation {
    Gt,
    Ge,
    Lt,
    Le,
    Eq,
    Ne,
}

impl Relation {
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Some(match name.to_ascii_lowercase().as_str() {
            "gt" => Self::Gt,
            "ge" => Self::Ge,
            "lt" => Self::Lt,
            "le" => Self::Le,
            "eq" => Self::Eq,
            "ne" => Self::Ne,
            _ => return None,
        })
    }

    pub(crate) fn holds(self, order: Ordering) -> bool {
        match self {
            Self::Gt => order.is_gt(),
            Self::Ge => order.is_ge(),
            Self::Lt => order.is_lt(),
            Self::Le => order.is_le(),
            Self::Eq => order.is_eq(),
            Self::Ne => order.is_ne(),
        }
    }
}

/// A key made ready for comparing.
#[derive(Debug)]
pub(crate) enum Pattern {
    /// Folded by the comparator.
    Text(String),
    Glob(Glob),
    Regex(WeighedRegex),
}

/// A value of a letter, made comparable once for all keys.
pub(crate) struct Subject<'v> {
    pub(crate) value: &'v str,
    folded: Folded<'v>,
}

impl<'v> Subject<'v> {
    pub(crate) fn new(value: &'v str, comparator: Comparator) -> Self {
        Self {
            value,
            folded: comparator.fold(value),
        }
    }
}

impl Pattern {
    /// # Errors
    /// What is wrong with a regular expression.
    pub(crate) fn new(
        kind: MatchKind,
        comparator: Comparator,
        key: &str,
        regex_bytes_max: usize,
    ) -> Result<Self, String> {
        Ok(match kind {
            MatchKind::Matches => Self::Glob(Glob::new(key, comparator)),
            MatchKind::Regex => Self::Regex(compile_regex(key, comparator, regex_bytes_max)?),
            MatchKind::Is
            | MatchKind::Contains
            | MatchKind::Value(_)
            | MatchKind::Count(_)
            | MatchKind::List => Self::Text(comparator.fold(key).text.into_owned()),
        })
    }
}

/// Whether a value matches, and with what in place of the wildcards: `${0}` first.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Matched {
    No,
    Yes,
    With(Vec<String>),
}

impl Matched {
    fn from_bool(yes: bool) -> Self {
        if yes { Self::Yes } else { Self::No }
    }
}

/// What a comparison costs is counted here.
pub(crate) trait Work {
    /// Why the work must end.
    type Stop;
    /// Takes some of the budget.
    fn work(&mut self, bytes: usize) -> Result<(), Self::Stop>;
}

/// Compares one value with one key. `:list` is not decided by the value alone.
pub(crate) fn compare<W: Work>(
    kind: MatchKind,
    comparator: Comparator,
    subject: &Subject<'_>,
    pattern: &Pattern,
    regex_text_bytes_max: usize,
    work: &mut W,
) -> Result<Matched, W::Stop> {
    let folded: &str = &subject.folded.text;
    work.work(folded.len() + 1)?;
    Ok(match pattern {
        Pattern::Regex(expression) => {
            let text = cut(subject.value, regex_text_bytes_max);
            work.work(text.len().saturating_mul(expression.weight))?;
            let Some(captures) = expression.regex.captures(text) else {
                return Ok(Matched::No);
            };
            let groups = captures.iter().take(MATCH_VARIABLES_MAX);
            let text_of = |group: Option<regex::Match<'_>>| {
                group.map_or_else(String::new, |found| found.as_str().to_owned())
            };
            Matched::With(groups.map(text_of).collect())
        }
        Pattern::Glob(glob) => glob.matches(subject.value, &subject.folded, work)?,
        Pattern::Text(key) => Matched::from_bool(match kind {
            MatchKind::Is => comparator.order(folded, key).is_eq(),
            MatchKind::Contains => {
                memchr::memmem::find(folded.as_bytes(), key.as_bytes()).is_some()
            }
            MatchKind::Value(relation) | MatchKind::Count(relation) => {
                relation.holds(comparator.order(folded, key))
            }
            MatchKind::Matches | MatchKind::Regex | MatchKind::List => false,
        }),
    })
}

/// The start of a text, cut between characters.
pub(crate) fn cut(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}
