//! The form of a settings table: one row per setting, from which `pennyblack settings`,
//! `docs/settings.md` and the check of a configuration file are made. Each crate has one table.

/// What a setting holds, with its unit and range.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// Free text.
    Text,
    /// A list of texts.
    TextList,
    /// `true` or `false`.
    Bool,
    /// A whole number from `min` to `max`.
    Integer {
        /// Smallest value.
        min: i64,
        /// Largest value.
        max: i64,
    },
    /// A size: whole bytes, or a text with `KB`, `MB`, `GB` (powers of 1,024).
    Bytes {
        /// Smallest value, in bytes.
        min: i64,
        /// Largest value, in bytes.
        max: i64,
    },
    /// A span of time: whole seconds, or a text with `ms`, `s`, `m`, `h`, `d`.
    Span {
        /// Smallest value, in milliseconds.
        min_ms: i64,
        /// Largest value, in milliseconds.
        max_ms: i64,
    },
    /// One of the given words.
    OneOf(&'static [&'static str]),
}

/// One setting.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// Its full name: `limits.letter_size`.
    pub name: &'static str,
    /// What it holds.
    pub kind: Kind,
    /// The default, written as in TOML.
    pub default: &'static str,
    /// One or two sentences for the operator.
    pub doc: &'static str,
}
