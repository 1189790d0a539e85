//! What an error of PostgreSQL means: to a verb, and to the engine that may run it again.

use std::io::Error as IoError;

use tokio_postgres::error::{Error, SqlState};

use super::answer::Wrong;
use crate::StoreError;

/// Why a transaction may be run again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// It collided with another.
    Again,
    /// The connection is gone, and with it what was not committed.
    Lost,
}

/// What a missing answer is to a verb, and whether another run may succeed.
pub(super) fn failure(wrong: &Wrong) -> (StoreError, Option<Fault>) {
    match wrong {
        Wrong::Told(error) => failure_of(error),
        Wrong::Silent(span) => {
            let text = format!(
                "the database has not answered for {} seconds; the connection is given up",
                span.as_secs()
            );
            (StoreError::Io(text), Some(Fault::Lost))
        }
    }
}

fn failure_of(error: &Error) -> (StoreError, Option<Fault>) {
    let text = told(error);
    let Some(state) = error.code() else {
        let is_io = std::error::Error::source(error).is_some_and(|source| source.is::<IoError>());
        return if error.is_closed() || is_io {
            let text = format!("the connection to the database was lost: {text}");
            (StoreError::Io(text), Some(Fault::Lost))
        } else {
            (StoreError::Bug(text), None)
        };
    };
    let class = state.code().get(..2).unwrap_or_default();
    let again = [
        SqlState::T_R_SERIALIZATION_FAILURE,
        SqlState::T_R_DEADLOCK_DETECTED,
        // Two made the same row: the one who comes second finds it in the next run.
        SqlState::UNIQUE_VIOLATION,
    ];
    let lost = [
        SqlState::ADMIN_SHUTDOWN,
        SqlState::CRASH_SHUTDOWN,
        SqlState::CANNOT_CONNECT_NOW,
        SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT,
    ];
    let busy = [SqlState::QUERY_CANCELED, SqlState::LOCK_NOT_AVAILABLE];
    if again.contains(state) {
        (StoreError::Busy(text), Some(Fault::Again))
    } else if class == "08" || lost.contains(state) {
        (StoreError::Io(text), Some(Fault::Lost))
    } else if *state == SqlState::DISK_FULL {
        tracing::error!(error = %text, "the database has no room");
        (StoreError::DiskFull, None)
    } else if class == "53" || busy.contains(state) {
        (StoreError::Busy(text), None)
    } else if is_outside(state, class) {
        (StoreError::Io(text), None)
    } else {
        (StoreError::Bug(text), None)
    }
}

/// Whether the operator or the machine is to blame. 28: login; 3D: no such database; 58: its files;
/// XX: its data.
fn is_outside(state: &SqlState, class: &str) -> bool {
    let outside = [
        SqlState::READ_ONLY_SQL_TRANSACTION,
        SqlState::INSUFFICIENT_PRIVILEGE,
    ];
    ["28", "3D", "58", "XX"].contains(&class) || outside.contains(state)
}

/// What it is to a verb that no connection can be made.
pub(super) fn connecting(error: &Error, address: &str) -> StoreError {
    let (kind, _) = failure_of(error);
    let text = format!("cannot connect to {address}: {}", told(error));
    match (kind, error.code()) {
        (StoreError::Busy(_), _) => StoreError::Busy(text),
        (_, Some(_)) => StoreError::Io(text),
        (_, None) => StoreError::Io(format!(
            "{text}; is PostgreSQL running there, and do `store.url` and its `sslmode` fit it?"
        )),
    }
}

/// The error with its cause, and what to do about it.
fn told(error: &Error) -> String {
    let Some(said) = error.as_db_error() else {
        let cause = std::error::Error::source(error);
        return cause.map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"));
    };
    let mut text = format!(
        "PostgreSQL says: {} ({})",
        said.message(),
        said.code().code()
    );
    for more in [said.detail(), said.hint(), way_out(said.code())]
        .into_iter()
        .flatten()
    {
        text.push_str("; ");
        text.push_str(more);
    }
    text
}

/// What an operator does about it.
fn way_out(state: &SqlState) -> Option<&'static str> {
    let ways = [
        (
            SqlState::INVALID_PASSWORD,
            "check the user and password in `store.url`, or PGPASSWORD",
        ),
        (
            SqlState::INVALID_AUTHORIZATION_SPECIFICATION,
            "check the user in `store.url`, and pg_hba.conf on the server",
        ),
        (
            SqlState::INVALID_CATALOG_NAME,
            "make it with `createdb`, or name another in `store.url`",
        ),
        (
            SqlState::TOO_MANY_CONNECTIONS,
            "raise max_connections on the server, or lower `store.connections` of the nodes",
        ),
        (
            SqlState::READ_ONLY_SQL_TRANSACTION,
            "the server is a standby or its default_transaction_read_only is on: point `store.url` \
             at the primary, or turn that off",
        ),
        (
            SqlState::INSUFFICIENT_PRIVILEGE,
            "let the user in `store.url` own the database",
        ),
        (
            SqlState::DATA_CORRUPTED,
            "the database is damaged: look into PostgreSQL's log and restore a backup",
        ),
        (
            SqlState::INDEX_CORRUPTED,
            "an index is damaged: REINDEX DATABASE makes it anew",
        ),
    ];
    let found = ways.into_iter().find(|(known, _)| known == state);
    found.map(|(_, way)| way)
}
