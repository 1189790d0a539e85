//! Numbered migrations: each SQL file in `schema/sqlite/` is applied once, in order. A database that is
//! newer than this program is refused.

use base::Timestamp;

use super::Session;
use crate::StoreError;
use crate::engine::value::Value;

/// The migrations; the position (from 1) is the version.
const MIGRATIONS: &[&str] = &[
    include_str!("../../../schema/sqlite/0001_first.sql"),
    include_str!("../../../schema/sqlite/0002_store.sql"),
];

/// The newest version.
pub(crate) const SCHEMA: i64 = 2;

/// Brings a database up to the newest version.
pub(super) fn migrate(session: &mut Session, now: Timestamp) -> Result<(), StoreError> {
    session.batch(
        "CREATE TABLE IF NOT EXISTS schema_version (
            version INTEGER NOT NULL PRIMARY KEY,
            applied_at INTEGER NOT NULL
        )",
    )?;
    let rows = session.rows(
        "SELECT coalesce(max(version), 0) FROM schema_version",
        &[],
        1,
    )?;
    let version = rows.first().map_or(Ok(0), |row| row.int(0))?;
    if version > SCHEMA {
        return Err(StoreError::Invalid(format!(
            "the database has schema {version}, newer than this program knows ({SCHEMA})"
        )));
    }
    for (number, sql) in (1_i64..).zip(MIGRATIONS) {
        if number > version {
            apply(session, number, sql, now)?;
        }
    }
    Ok(())
}

fn apply(session: &mut Session, number: i64, sql: &str, now: Timestamp) -> Result<(), StoreError> {
    session.batch("BEGIN IMMEDIATE")?;
    let applied = session.batch(sql).and_then(|()| {
        session.execute(
            "INSERT INTO schema_version (version, applied_at) VALUES ($1, $2)",
            &[Value::Int(number), Value::Int(now.millis())],
        )
    });
    match applied {
        Ok(_) => session.batch("COMMIT"),
        Err(error) => {
            session.batch("ROLLBACK")?;
            Err(error)
        }
    }
}
