//! Why a script does not compile, or why a run ended early.

use std::fmt;

/// One thing that is wrong with a script.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CompileError {
    /// The line, from 1.
    pub line: u32,
    /// The column in characters, from 1.
    pub column: u32,
    /// What is wrong, in words for the person who wrote the script; no full stop.
    pub text: String,
}

impl fmt::Display for CompileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "line {}, column {}: {}",
            self.line, self.column, self.text
        )
    }
}

impl std::error::Error for CompileError {}

/// All that is wrong with a script, in the order of its lines; never empty. A text that breaks the
/// grammar gives one error, as what follows it would only be guessed at.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CompileErrors(pub Vec<CompileError>);

impl fmt::Display for CompileErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, error) in self.0.iter().enumerate() {
            if at > 0 {
                f.write_str("\n")?;
            }
            error.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for CompileErrors {}

/// Why a run ended early. The letter is kept all the same.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RunError {
    /// The included script that it happened in; `None`: the user's own.
    pub script: Option<String>,
    /// The line of the command.
    pub line: u32,
    /// What happened, in words for the script's owner; no full stop.
    pub text: String,
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(script) = &self.script {
            write!(f, "script \"{script}\", ")?;
        }
        write!(f, "line {}: {}", self.line, self.text)
    }
}

impl std::error::Error for RunError {}
