//! Variables (RFC 5229) and flags (RFC 5232).

use std::borrow::Cow;

use super::{Go, Machine, error};
use crate::matching::{Work, cut};
use crate::program::{FlagChange, Modifier, Piece, Set, Text};

impl<'a> Machine<'a> {
    /// A text with its variables put in.
    pub(super) fn text(&mut self, text: &'a Text) -> Go<Cow<'a, str>> {
        let pieces = match text {
            Text::Constant(text) => return Ok(Cow::Borrowed(text)),
            Text::Template(pieces) => pieces,
        };
        let mut out = String::new();
        for piece in pieces {
            let value = match piece {
                Piece::Literal(literal) => literal,
                Piece::Variable(name) => self.variable(name),
                Piece::Match(number) => {
                    self.frame().matched.get(*number).map_or("", String::as_str)
                }
            };
            let room = self.limits.text_bytes_max.saturating_sub(out.len());
            out.push_str(cut(value, room));
        }
        self.budget.work(out.len())?;
        Ok(Cow::Owned(out))
    }

    pub(super) fn texts(&mut self, texts: &'a [Text]) -> Go<Vec<Cow<'a, str>>> {
        texts.iter().map(|text| self.text(text)).collect()
    }

    pub(super) fn optional(&mut self, text: Option<&'a Text>) -> Go<Option<String>> {
        text.map(|text| Ok(self.text(text)?.into_owned()))
            .transpose()
    }

    /// The value of a variable; one without a value is empty (RFC 5229 §3).
    pub(super) fn variable(&self, name: &str) -> &str {
        let (shared, name) = self.place(name);
        let variables = if shared {
            &self.globals
        } else {
            &self.frame().variables
        };
        variables.get(name).map_or("", String::as_str)
    }

    /// Whether a variable is shared between scripts, and its name there.
    fn place<'n>(&self, name: &'n str) -> (bool, &'n str) {
        match name.strip_prefix("global.") {
            Some(name) => (true, name),
            None => (self.frame().shared.contains(name), name),
        }
    }

    pub(super) fn assign(&mut self, name: &str, value: &str) -> Go<()> {
        let value = cut(value, self.limits.variable_bytes_max).to_owned();
        self.budget.work(value.len())?;
        let (shared, name) = self.place(name);
        let count =
            self.globals.len() + self.frames.iter().map(|f| f.variables.len()).sum::<usize>();
        let variables = match self.frames.last_mut() {
            Some(frame) if !shared => &mut frame.variables,
            Some(_) | None => &mut self.globals,
        };
        if let Some(known) = variables.get_mut(name) {
            *known = value;
            return Ok(());
        }
        if count >= self.limits.variables_max {
            return error(format!(
                "the script has more than {} variables",
                self.limits.variables_max
            ));
        }
        variables.insert(name.to_owned(), value);
        Ok(())
    }

    pub(super) fn set(&mut self, set: &'a Set) -> Go<()> {
        let value = self.text(&set.value)?;
        let value = modified(&value, &set.modifiers, self.limits.variable_bytes_max);
        self.assign(&set.name, &value)
    }

    /// What the wildcards of a match took (RFC 5229 §3.2).
    pub(super) fn keep_matched(&mut self, mut found: Vec<String>) -> Go<()> {
        for value in &mut found {
            value.truncate(value.floor_char_boundary(self.limits.variable_bytes_max));
            self.budget.work(value.len())?;
        }
        if let Some(frame) = self.frames.last_mut() {
            frame.matched = found;
        }
        Ok(())
    }

    pub(super) fn change_flags(
        &mut self,
        change: FlagChange,
        variable: Option<&'a str>,
        flags: &'a [Text],
    ) -> Go<()> {
        let given = self.flag_list(flags)?;
        let mut list = match (change, variable) {
            (FlagChange::Set, _) => Vec::new(),
            (FlagChange::Add | FlagChange::Remove, None) => self.flags.clone(),
            (FlagChange::Add | FlagChange::Remove, Some(name)) => {
                let mut list = Vec::new();
                add_flags(&mut list, self.variable(name));
                list
            }
        };
        match change {
            FlagChange::Set | FlagChange::Add => {
                for flag in &given {
                    add_flags(&mut list, flag);
                }
            }
            FlagChange::Remove => {
                list.retain(|flag| !given.iter().any(|g| g.eq_ignore_ascii_case(flag)))
            }
        }
        self.are_few(&list)?;
        match variable {
            Some(name) => self.assign(name, &list.join(" ")),
            None => {
                self.flags = list;
                Ok(())
            }
        }
    }

    /// The flags of a list of strings, each of which may hold several (RFC 5232 §2).
    pub(super) fn flag_list(&mut self, flags: &'a [Text]) -> Go<Vec<String>> {
        let mut list = Vec::new();
        for text in self.texts(flags)? {
            // Each is compared with all others.
            self.budget
                .work(text.len().saturating_add(list.len() * 64))?;
            add_flags(&mut list, &text);
            self.are_few(&list)?;
        }
        Ok(list)
    }

    /// `:flags`, else the variable without a name.
    pub(super) fn flags_or_own(&mut self, flags: Option<&'a [Text]>) -> Go<Vec<String>> {
        match flags {
            Some(flags) => self.flag_list(flags),
            None => Ok(self.flags.clone()),
        }
    }

    fn are_few(&self, list: &[String]) -> Go<()> {
        if list.len() > self.limits.flags_max {
            return error(format!(
                "there are more than {} flags",
                self.limits.flags_max
            ));
        }
        Ok(())
    }
}

/// Adds the flags of a text, each once whatever its letter case; what is none is passed over.
pub(super) fn add_flags(list: &mut Vec<String>, text: &str) {
    for flag in text.split_ascii_whitespace() {
        if is_flag(flag) && !list.iter().any(|known| known.eq_ignore_ascii_case(flag)) {
            list.push(flag.to_owned());
        }
    }
}

/// RFC 9051 §9 `flag`, without `\Recent`, which no client may set.
fn is_flag(text: &str) -> bool {
    const BYTES_MAX: usize = 128;
    if text.eq_ignore_ascii_case("\\recent") || text.len() > BYTES_MAX {
        return false;
    }
    let atom = text.strip_prefix('\\').unwrap_or(text);
    !atom.is_empty()
        && atom
            .bytes()
            .all(|b| b.is_ascii_graphic() && !b"(){%*\"\\]".contains(&b))
}

/// RFC 5229 §4.1.
pub(super) fn modified<'v>(
    value: &'v str,
    modifiers: &[Modifier],
    bytes_max: usize,
) -> Cow<'v, str> {
    let mut out = Cow::Borrowed(cut(value, bytes_max));
    for modifier in modifiers {
        out = Cow::Owned(match modifier {
            Modifier::Lower => out.to_lowercase(),
            Modifier::Upper => out.to_uppercase(),
            Modifier::LowerFirst => first(&out, |c| c.to_lowercase().collect()),
            Modifier::UpperFirst => first(&out, |c| c.to_uppercase().collect()),
            Modifier::QuoteWildcard => quote(&out, |c| matches!(c, '*' | '?' | '\\'), bytes_max),
            Modifier::QuoteRegex => quote(&out, |c| "\\^$.[]|()?*+{}".contains(c), bytes_max),
            Modifier::EncodeUrl => encode_url(&out, bytes_max),
            Modifier::Length => out.chars().count().to_string(),
        });
    }
    out
}

fn first(text: &str, change: impl Fn(char) -> String) -> String {
    let mut chars = text.chars();
    let first = chars.next().map(change).unwrap_or_default();
    first + chars.as_str()
}

/// A backslash before each; no pair is cut in two.
fn quote(text: &str, is_special: impl Fn(char) -> bool, bytes_max: usize) -> String {
    let mut out = String::new();
    for c in text.chars() {
        let special = is_special(c);
        if out.len() + c.len_utf8() + usize::from(special) > bytes_max {
            break;
        }
        if special {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

/// RFC 5435 §6, RFC 3986 §2.1.
fn encode_url(text: &str, bytes_max: usize) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if out.len() + 3 > bytes_max {
            break;
        }
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out += &format!("%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use Modifier as M;

    #[test]
    fn rfc_5229_4_1_modifiers() {
        fn check(modifiers: &[Modifier], value: &str, expected: &str) {
            assert_eq!(modified(value, modifiers, 100), expected);
        }
        check(&[M::Length], "juMBlEd lETteRS", "15");
        check(&[M::Lower], "juMBlEd lETteRS", "jumbled letters");
        check(&[M::UpperFirst], "juMBlEd lETteRS", "JuMBlEd lETteRS");
        check(
            &[M::Lower, M::UpperFirst],
            "juMBlEd lETteRS",
            "Jumbled letters",
        );
        check(&[M::QuoteWildcard], "Rock*", "Rock\\*");
        check(&[M::QuoteRegex], "a.b", "a\\.b");
        check(&[M::EncodeUrl], "a b/é", "a%20b%2F%C3%A9");
        check(&[M::LowerFirst], "", "");
        assert_eq!(modified("a*b", &[M::QuoteWildcard], 2), "a");
        assert_eq!(modified("éé", &[], 3), "é");
    }

    #[test]
    fn rfc_5232_2_flags() {
        fn flags(text: &str) -> Vec<String> {
            let mut list = Vec::new();
            add_flags(&mut list, text);
            list
        }
        assert_eq!(
            flags(r"\Seen  $Junk \SEEN a(b \Recent \ Wichtig"),
            [r"\Seen", "$Junk", "Wichtig"]
        );
        assert!(flags(&"a".repeat(129)).is_empty());
        assert_eq!(flags(&"a".repeat(128)).len(), 1);
    }
}
