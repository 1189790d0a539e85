//! What an error of PostgreSQL means: to a verb, and to the engine that may run it again.

use tokio_postgres::error::{Error, SqlState};

use crate::StoreError;

/// Why a transaction may be run again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// It collided with another.
    Again,
    /// The connection is gone, and with it what was not committed.
    Lost,
}

/// What an error is to a verb, and whether another run may succeed.
pub(super) fn failure(error: &Error) -> (StoreError, Option<Fault>) {
    let Some(state) = error.code() else {
        return without_state(error);
    };
    let text = told(error);
    let class = state.code().get(..2).unwrap_or_default();
    if [
        SqlState::T_R_SERIALIZATION_FAILURE,
        SqlState::T_R_DEADLOCK_DETECTED,
        // Two made the same row: the one who comes second finds it in the next run.
        SqlState::UNIQUE_VIOLATION,
    ]
    .contains(state)
    {
        return (StoreError::Busy(text), Some(Fault::Again));
    }
    let lost = [
        SqlState::ADMIN_SHUTDOWN,
        SqlState::CRASH_SHUTDOWN,
        SqlState::CANNOT_CONNECT_NOW,
    ];
    if class == "08" || lost.contains(state) {
        return (StoreError::Io(text), Some(Fault::Lost));
    }
    if *state == SqlState::DISK_FULL {
        return (StoreError::DiskFull, None);
    }
    let busy = [SqlState::QUERY_CANCELED, SqlState::LOCK_NOT_AVAILABLE];
    if class == "53" || busy.contains(state) {
        return (StoreError::Busy(text), None);
    }
    let outside = [
        SqlState::READ_ONLY_SQL_TRANSACTION,
        SqlState::INSUFFICIENT_PRIVILEGE,
    ];
    // 28: login; 3D: no such database; 58: its files; XX: its data.
    if ["28", "3D", "58", "XX"].contains(&class) || outside.contains(state) {
        return (StoreError::Io(text), None);
    }
    (StoreError::Bug(text), None)
}

fn without_state(error: &Error) -> (StoreError, Option<Fault>) {
    let text = told(error);
    let is_io = std::error::Error::source(error)
        .is_some_and(|source| source.downcast_ref::<std::io::Error>().is_some());
    if error.is_closed() || is_io {
        return (StoreError::Io(text), Some(Fault::Lost));
    }
    (StoreError::Bug(text), None)
}

/// The error with its cause: the crate's own text names only the kind.
fn told(error: &Error) -> String {
    let cause = std::error::Error::source(error);
    cause.map_or_else(
        || format!("database: {error}"),
        |cause| format!("database: {error}: {cause}"),
    )
}
