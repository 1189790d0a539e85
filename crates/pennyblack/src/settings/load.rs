//! From a TOML text to checked values: every key must have a row in a table, every value must be
//! in its range. All mistakes of a file are told at once, each with its line.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::path::PathBuf;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::suggest::nearest;
use super::table::{self, LISTEN_PREFIX};
use super::value::{self, Value};

/// The most listeners of one node.
const LISTENERS_MAX: usize = 64;

/// What is wrong with a configuration.
#[derive(Debug)]
pub struct SettingsError {
    /// The file.
    pub file: PathBuf,
    /// Each mistake, with its line where it has one.
    pub mistakes: Vec<Mistake>,
}

/// One mistake.
#[derive(Debug, PartialEq, Eq)]
pub struct Mistake {
    /// The line, counted from 1.
    pub line: Option<usize>,
    /// What is wrong and what to do.
    pub text: String,
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, mistake) in self.mistakes.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{}", self.file.display())?;
            if let Some(line) = mistake.line {
                write!(f, ":{line}")?;
            }
            write!(f, ": {}", mistake.text)?;
        }
        Ok(())
    }
}

impl std::error::Error for SettingsError {}

/// A value and where it stands.
#[derive(Clone, Debug)]
pub struct Located {
    /// The value.
    pub value: Value,
    /// Its line; `None` for a default.
    pub line: Option<usize>,
}

/// Checked values by full name.
#[derive(Clone, Debug, Default)]
pub struct Values(BTreeMap<String, Located>);

impl Values {
    /// The value of a setting: as given, else its default.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<Value> {
        debug_assert!(table::row(name).is_some(), "no row for {name}");
        if let Some(located) = self.0.get(name) {
            return Some(located.value.clone());
        }
        default_of(name)
    }

    /// The line on which a setting was given.
    #[must_use]
    pub fn line(&self, name: &str) -> Option<usize> {
        self.0.get(name).and_then(|located| located.line)
    }
}

/// The default of a setting. A test reads the default of every row.
fn default_of(name: &str) -> Option<Value> {
    let row = table::row(name)?;
    let parsed = DeValue::parse(row.default).ok()?;
    value::check(row.kind, parsed.get_ref()).ok()
}

/// A file's content: the plain settings, and one set per `[[listen]]` table.
#[derive(Debug, Default)]
pub struct Loaded {
    /// The plain settings.
    pub values: Values,
    /// The listeners, with names that begin with `listen[].`, and the line of each.
    pub listeners: Vec<(Values, Option<usize>)>,
}

/// Reads a TOML text.
///
/// # Errors
/// All mistakes found; of a text that is not TOML only the first.
pub fn load(text: &str) -> Result<Loaded, Vec<Mistake>> {
    let lines = Lines(text);
    let root = DeTable::parse(text).map_err(|error| {
        let line = error.span().map(|span| lines.line(&span));
        vec![Mistake {
            line,
            text: error.message().to_owned(),
        }]
    })?;
    let mut reader = Reader {
        lines,
        loaded: Loaded::default(),
        mistakes: Vec::new(),
    };
    reader.table("", root.get_ref());
    if reader.mistakes.is_empty() {
        Ok(reader.loaded)
    } else {
        Err(reader.mistakes)
    }
}

struct Lines<'a>(&'a str);

impl Lines<'_> {
    fn line(&self, span: &Range<usize>) -> usize {
        let before = self.0.get(..span.start).unwrap_or(self.0);
        before.bytes().filter(|byte| *byte == b'\n').count() + 1
    }
}

struct Reader<'a> {
    lines: Lines<'a>,
    loaded: Loaded,
    mistakes: Vec<Mistake>,
}

impl Reader<'_> {
    fn table(&mut self, prefix: &str, table: &DeTable<'_>) {
        for (key, value) in table {
            let name = format!("{prefix}{}", key.get_ref());
            if name == "listen" {
                self.listeners(value);
            } else if let Some(inner) = value.get_ref().as_table()
                && table::rows().any(|row| row.name.starts_with(&format!("{name}.")))
            {
                self.table(&format!("{name}."), inner);
            } else {
                let found = self.value(&name, key.span(), value);
                if let Some(located) = found {
                    self.loaded.values.0.insert(name, located);
                }
            }
        }
    }

    fn listeners(&mut self, value: &Spanned<DeValue<'_>>) {
        let line = self.lines.line(&value.span());
        let Some(items) = value.get_ref().as_array() else {
            return self.mistake(
                line,
                "listeners are written as `[[listen]]` tables".to_owned(),
            );
        };
        if items.len() > LISTENERS_MAX {
            return self.mistake(
                line,
                format!("there are more than {LISTENERS_MAX} listeners"),
            );
        }
        for item in items {
            let line = self.lines.line(&item.span());
            match item.get_ref().as_table() {
                Some(table) => self.listener(line, table),
                None => self.mistake(line, "a listener is a `[[listen]]` table".to_owned()),
            }
        }
    }

    fn listener(&mut self, line: usize, table: &DeTable<'_>) {
        let mut values = Values::default();
        for (key, value) in table {
            let name = format!("{LISTEN_PREFIX}{}", key.get_ref());
            if let Some(located) = self.value(&name, key.span(), value) {
                values.0.insert(name, located);
            }
        }
        self.loaded.listeners.push((values, Some(line)));
    }

    fn value(
        &mut self,
        name: &str,
        key: Range<usize>,
        given: &Spanned<DeValue<'_>>,
    ) -> Option<Located> {
        let line = self.lines.line(&key);
        let Some(row) = table::row(name) else {
            self.mistake(line, unknown(name));
            return None;
        };
        match value::check(row.kind, given.get_ref()) {
            Ok(value) => Some(Located {
                value,
                line: Some(line),
            }),
            Err(why) => {
                self.mistake(line, format!("`{}` {why}", row.name));
                None
            }
        }
    }

    fn mistake(&mut self, line: usize, text: String) {
        self.mistakes.push(Mistake {
            line: Some(line),
            text,
        });
    }
}

fn unknown(name: &str) -> String {
    let short: String = name.chars().take(100).collect();
    match nearest(&short, table::rows().map(|row| row.name)) {
        Some(near) => format!("there is no setting `{short}`; did you mean `{near}`?"),
        None => format!("there is no setting `{short}`; `pennyblack settings` lists them all"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mistakes(text: &str) -> Vec<(usize, String)> {
        load(text)
            .unwrap_err()
            .into_iter()
            .map(|mistake| (mistake.line.unwrap(), mistake.text))
            .collect()
    }

    #[test]
    fn an_unknown_key_names_the_nearest_one_and_its_line() {
        let found = mistakes("hostnmae = \"a.test\"\n\n[limits]\nletter_sise = \"1 MB\"\n");
        assert_eq!(
            found,
            [
                (
                    1,
                    "there is no setting `hostnmae`; did you mean `hostname`?".to_owned()
                ),
                (
                    4,
                    "there is no setting `limits.letter_sise`; did you mean `limits.letter_size`?"
                        .to_owned()
                ),
            ]
        );
        assert!(
            mistakes("[weather]\nrain = true\n")[0]
                .1
                .contains("there is no setting")
        );
        assert!(
            mistakes("[[listen]]\nadress = \"x\"\n")[0]
                .1
                .contains("`listen[].address`")
        );
    }

    #[test]
    fn a_value_out_of_range_names_unit_and_range() {
        let found = mistakes("[limits]\nletter_size = \"1 KB\"\n");
        assert_eq!(found[0].0, 2);
        assert!(
            found[0]
                .1
                .starts_with("`limits.letter_size` must be a size from 64 KB to ")
        );
        assert!(
            mistakes("hostname = 5\n")[0]
                .1
                .ends_with("must be a text, not 5")
        );
        assert!(
            mistakes("[hostname]\nx = 1\n")[0]
                .1
                .contains("not a TOML table")
        );
    }

    #[test]
    fn a_text_that_is_not_toml_has_a_line_too() {
        assert_eq!(mistakes("hostname = \"a.test\"\nwhat is this\n")[0].0, 2);
        assert_eq!(mistakes("listen = 5\n")[0].0, 1);
    }

    #[test]
    fn every_default_is_in_its_own_range() {
        for row in table::rows() {
            assert!(default_of(row.name).is_some(), "{}", row.name);
        }
    }

    #[test]
    fn the_number_of_listeners_is_limited() {
        let one = "[[listen]]\naddress = \"127.0.0.1:0\"\n";
        assert_eq!(
            load(&one.repeat(LISTENERS_MAX)).unwrap().listeners.len(),
            LISTENERS_MAX
        );
        assert!(load(&one.repeat(LISTENERS_MAX + 1)).is_err());
    }
}
