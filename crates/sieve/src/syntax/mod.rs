//! The text of a script to the generic grammar of RFC 5228 §8: commands with arguments, tests and
//! blocks. What a command means is not known here.

mod lexer;
mod parser;

pub(crate) use parser::parse;

use crate::CompileError;

/// An offset in the script.
pub(crate) type At = usize;

/// `command = identifier arguments (";" / block)`; a test has the same form without an end.
#[derive(Debug)]
pub(crate) struct Node {
    /// The identifier in lower case.
    pub(crate) name: String,
    pub(crate) at: At,
    /// The offset after its last token.
    pub(crate) end: At,
    pub(crate) arguments: Vec<Argument>,
    pub(crate) tests: Tests,
    /// The commands between braces.
    pub(crate) block: Option<Vec<Node>>,
}

/// `[test / test-list]`.
#[derive(Debug)]
pub(crate) enum Tests {
    None,
    One(Box<Node>),
    /// In parentheses.
    List(Vec<Node>),
}

/// `argument = string-list / number / tag`.
#[derive(Debug)]
pub(crate) struct Argument {
    pub(crate) at: At,
    pub(crate) value: Value,
}

#[derive(Debug)]
pub(crate) enum Value {
    /// In lower case, without the colon.
    Tag(String),
    Number(u64),
    String(String),
    /// In brackets; each with its offset.
    Strings(Vec<(At, String)>),
}

/// An error at an offset.
#[derive(Debug)]
pub(crate) struct SyntaxError {
    pub(crate) at: At,
    pub(crate) text: String,
}

impl SyntaxError {
    pub(crate) fn new(at: At, text: impl Into<String>) -> Self {
        Self {
            at,
            text: text.into(),
        }
    }
}

/// Where the lines of a script begin.
pub(crate) struct Lines<'a> {
    script: &'a str,
    starts: Vec<At>,
}

impl<'a> Lines<'a> {
    pub(crate) fn new(script: &'a str) -> Self {
        let mut starts = vec![0];
        starts.extend(memchr::memchr_iter(b'\n', script.as_bytes()).map(|at| at + 1));
        Self { script, starts }
    }

    /// The line of an offset, from 1.
    pub(crate) fn line(&self, at: At) -> u32 {
        let line = self.starts.partition_point(|start| *start <= at);
        u32::try_from(line).unwrap_or(u32::MAX)
    }

    pub(crate) fn error(&self, error: SyntaxError) -> CompileError {
        let line = self.line(error.at);
        let start = self.starts.get(line as usize - 1).copied().unwrap_or(0);
        let before = self.script.get(start..error.at).unwrap_or_default();
        CompileError {
            line,
            column: u32::try_from(before.chars().count() + 1).unwrap_or(u32::MAX),
            text: error.text,
        }
    }

    /// The text between two offsets on one line, for the reason of an action: at most 120
    /// characters.
    pub(crate) fn excerpt(&self, start: At, end: At) -> String {
        const CHARS_MAX: usize = 120;
        let text = self.script.get(start..end).unwrap_or_default();
        // Enough for the excerpt, however long the test is.
        let words = text.split_whitespace().take(CHARS_MAX);
        let line = words.collect::<Vec<_>>().join(" ");
        match line.char_indices().nth(CHARS_MAX) {
            Some((cut, _)) => format!("{}…", &line[..cut]),
            None => line,
        }
    }
}
