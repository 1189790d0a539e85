//! Numbered migrations on PostgreSQL. The first version that it has is 2.

use base::Timestamp;

use super::session::Session;
use crate::StoreError;
use crate::engine::value::Value;

/// The versions and what leads to each from the one before.
const MIGRATIONS: &[(i64, &str)] = &[(2, include_str!("../../../schema/postgres/0002_store.sql"))];

/// Marks of connections of long ago: nobody asks for them any more.
const FORGET_MARKS: &str = "DELETE FROM commit_mark
    WHERE at < CAST(extract(epoch FROM now()) * 1000 AS BIGINT) - 86400000
        AND NOT EXISTS (SELECT 1 FROM pg_stat_activity
            WHERE application_name = 'pennyblack ' || to_hex(mark))";

/// Nodes that start together wait for each other here.
const LOCK: &str = "SELECT pg_advisory_xact_lock(7310579, 1)";

/// The oldest server: older ones get no more corrections.
const SERVER_MIN: i64 = 130_000;

/// Whether we can work on a server.
fn suits(version: i64, encoding: &str) -> Result<(), StoreError> {
    if version < SERVER_MIN {
        return Err(StoreError::Invalid(format!(
            "PostgreSQL {} is too old: at least {} is needed",
            version / 10_000,
            SERVER_MIN / 10_000
        )));
    }
    if encoding != "UTF8" {
        return Err(StoreError::Invalid(format!(
            "the database has the encoding {encoding} and needs UTF8: make one with \
             `createdb --encoding=UTF8 --template=template0`, and name it in `store.url`"
        )));
    }
    Ok(())
}

/// Brings a database up to the newest version.
pub(super) async fn migrate(session: &mut Session, now: Timestamp) -> Result<(), StoreError> {
    let sql = "SELECT CAST(current_setting('server_version_num') AS BIGINT),
        current_setting('server_encoding')";
    if let Some(mut row) = session.rows(sql, &[], 1).await?.into_iter().next() {
        suits(row.int(0)?, &row.text(1)?)?;
    }
    session.batch("BEGIN").await?;
    let done = migrate_within(session, now).await;
    match done {
        Ok(()) => session.batch("COMMIT").await,
        Err(error) => {
            session.roll_back();
            Err(error)
        }
    }
}

async fn migrate_within(session: &mut Session, now: Timestamp) -> Result<(), StoreError> {
    session.batch(LOCK).await?;
    session
        .batch(
            "CREATE TABLE IF NOT EXISTS schema_version (
                version BIGINT NOT NULL PRIMARY KEY,
                applied_at BIGINT NOT NULL
            )",
        )
        .await?;
    let sql = "SELECT coalesce(max(version), 0) FROM schema_version";
    let rows = session.rows(sql, &[], 1).await?;
    let version = rows.first().map_or(Ok(0), |row| row.int(0))?;
    let newest = MIGRATIONS.last().map_or(0, |(version, _)| *version);
    if version > newest {
        return Err(StoreError::Invalid(format!(
            "the database has schema {version}, newer than this program knows ({newest})"
        )));
    }
    for (number, sql) in MIGRATIONS {
        if *number > version {
            session.batch(sql).await?;
            let note = "INSERT INTO schema_version (version, applied_at) VALUES ($1, $2)";
            let values = [Value::Int(*number), Value::Int(now.millis())];
            session.execute(note, &values).await?;
        }
    }
    session.batch(FORGET_MARKS).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::suits;

    #[test]
    fn servers_that_suit() {
        assert_eq!(suits(130_000, "UTF8"), Ok(()));
        let refused = suits(129_999, "UTF8").unwrap_err().to_string();
        assert_eq!(refused, "PostgreSQL 12 is too old: at least 13 is needed");
        let refused = suits(150_000, "LATIN1").unwrap_err().to_string();
        assert!(refused.contains("LATIN1"), "{refused}");
    }
}
