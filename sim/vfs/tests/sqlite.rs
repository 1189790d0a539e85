//! SQLite on the disk: what it committed with a flush is there after every power cut, at whichever
//! operation it comes, and nothing is half there.

#![expect(clippy::unwrap_used, reason = "a test")]

use rusqlite::{Connection, ErrorCode, OpenFlags};
use sim_vfs::{Disk, Mount};

fn open(mount: &Mount) -> rusqlite::Result<Connection> {
    let connection =
        Connection::open_with_flags_and_vfs("a.db", OpenFlags::default(), mount.name())?;
    let mode: String = connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
    assert_eq!(mode, "wal");
    connection.execute_batch("PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 20;")?;
    connection.execute_batch("CREATE TABLE IF NOT EXISTS pair (a INTEGER, b BLOB)")?;
    Ok(connection)
}

/// Writes pairs of rows until the power fails; how many commits were answered.
fn work(mount: &Mount) -> i64 {
    let Ok(mut connection) = open(mount) else {
        return 0;
    };
    let sql = "SELECT coalesce(max(a), 0) FROM pair";
    let Ok(mut first) = connection.query_row(sql, [], |row| row.get::<_, i64>(0)) else {
        return 0;
    };
    let mut answered = first;
    loop {
        first += 1;
        let done = connection.transaction().and_then(|transaction| {
            for _ in 0..2 {
                let values = (first, vec![7_u8; 3_000]);
                transaction.execute("INSERT INTO pair VALUES (?1, ?2)", values)?;
            }
            transaction.commit()
        });
        match done {
            Ok(()) => answered = first,
            Err(_) => return answered,
        }
    }
}

fn random(state: &mut u64) -> impl FnMut(u64) -> u64 + '_ {
    |below| {
        *state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (*state >> 33) % below
    }
}

/// Whether every answered commit is there and every pair is whole.
fn is_whole(disk: &Disk, answered: i64) -> bool {
    let mount = Mount::new(disk);
    let connection = open(&mount).unwrap();
    let check: String = connection
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .unwrap();
    assert_eq!(check, "ok");
    let (rows, numbers, last): (i64, i64, i64) = connection
        .query_row(
            "SELECT count(*), count(DISTINCT a), coalesce(max(a), 0) FROM pair",
            [],
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
        )
        .unwrap();
    rows == 2 * numbers && numbers == last && last >= answered
}

#[test]
fn a_commit_survives_a_power_cut_at_any_operation() {
    let mut state = 7;
    for operations in 1..400 {
        let disk = Disk::new(64 << 20);
        let mut answered = 0;
        for _ in 0..2 {
            let mount = Mount::new(&disk);
            disk.fail_after(operations, || {});
            answered = answered.max(work(&mount));
            assert!(!disk.has_power());
            disk.cut_power(&mut random(&mut state));
            assert!(
                is_whole(&disk, answered),
                "cut after {operations} operations"
            );
        }
    }
}

#[test]
fn a_disk_that_lies_loses_commits() {
    let mut state = 7;
    let lost = (20..120).filter(|operations| {
        let disk = Disk::new(64 << 20);
        drop(open(&Mount::new(&disk)).unwrap());
        disk.lie_about_flushes();
        let mount = Mount::new(&disk);
        disk.fail_after(*operations, || {});
        let answered = work(&mount);
        disk.cut_power(&mut random(&mut state));
        let mount = Mount::new(&disk);
        let last = open(&mount).and_then(|connection| {
            connection.query_row("SELECT coalesce(max(a), 0) FROM pair", [], |row| {
                row.get::<_, i64>(0)
            })
        });
        last.is_err() || last.is_ok_and(|last| last < answered)
    });
    assert!(lost.count() > 10);
}

#[test]
fn a_full_disk_is_told_and_what_was_there_stays() {
    let disk = Disk::new(200 << 10);
    let mount = Mount::new(&disk);
    let answered = work(&mount);
    assert!(answered > 5);
    disk.set_capacity(64 << 20);
    assert!(is_whole(&disk, answered));
}

#[test]
fn files_of_a_dead_mount_answer_errors() {
    let disk = Disk::new(64 << 20);
    let old = Mount::new(&disk);
    let connection = open(&old).unwrap();
    disk.cut_power(&mut |_| 0);
    let new = Mount::new(&disk);
    let error = connection
        .execute("INSERT INTO pair VALUES (1, x'00')", [])
        .unwrap_err();
    assert_eq!(error.sqlite_error_code(), Some(ErrorCode::SystemIoFailure));
    drop(old);
    drop(connection);
    assert!(open(&new).is_ok());
}
