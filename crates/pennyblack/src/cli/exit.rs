//! How a command ends, for scripts: the exit code and the text on stderr.

use std::fmt;
use std::process::ExitCode;

use store::StoreError;

use crate::control::{Failure, FailureKind};
use crate::settings::SettingsError;

/// Why a command failed. The numbers stay.
#[derive(Debug)]
pub enum Exit {
    /// 1: it did not work.
    Failed(String),
    /// 2: the command line or the configuration is wrong.
    Usage(String),
    /// 3: the thing named does not exist.
    NotFound(String),
    /// 4: the thing to be made exists already.
    Exists(String),
    /// 5: not now; trying again may help (the store is in use, the disk is full).
    Transient(String),
    /// 6: done, but some things were left out and are named.
    Skipped(String),
}

impl Exit {
    /// The exit code.
    #[must_use]
    pub const fn number(&self) -> u8 {
        match self {
            Self::Failed(_) => 1,
            Self::Usage(_) => 2,
            Self::NotFound(_) => 3,
            Self::Exists(_) => 4,
            Self::Transient(_) => 5,
            Self::Skipped(_) => 6,
        }
    }

    /// The exit code, for the system.
    #[must_use]
    pub fn code(&self) -> ExitCode {
        ExitCode::from(self.number())
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(text)
            | Self::Usage(text)
            | Self::NotFound(text)
            | Self::Exists(text)
            | Self::Transient(text)
            | Self::Skipped(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for Exit {}

impl From<SettingsError> for Exit {
    fn from(error: SettingsError) -> Self {
        Self::Usage(error.to_string())
    }
}

impl From<Failure> for Exit {
    fn from(failure: Failure) -> Self {
        match failure.kind {
            FailureKind::Invalid => Self::Usage(failure.text),
            FailureKind::NotFound => Self::NotFound(failure.text),
            FailureKind::Exists => Self::Exists(failure.text),
            FailureKind::Transient => Self::Transient(failure.text),
            FailureKind::Other => Self::Failed(failure.text),
        }
    }
}

impl From<StoreError> for Exit {
    fn from(error: StoreError) -> Self {
        Failure::from(error).into()
    }
}

impl From<std::io::Error> for Exit {
    fn from(error: std::io::Error) -> Self {
        Self::Failed(error.to_string())
    }
}
