//! The index of the embedded store: an FTS5 table in `search.db`, a file of its own, so that the
//! database's writer never waits for it. It can be made again from the letters at any time: a file
//! that is damaged or of another version is removed, and a crash may lose its last steps (it is not
//! flushed with each), but never a part of one, as progress and rows are stored together.
//!
//! The table holds no text (`contentless`), only which tokens stand where. A message's row has the
//! account in the upper half of its number. It knows nothing of letters and tokenises nothing: the
//! tokens come separated by spaces.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base::{AccountId, MessageId};
use rusqlite::{Connection, OpenFlags, OptionalExtension, params};

use super::index::{Page, Progress, Step, keys};
use super::query::{SearchField, SearchQuery};
use crate::aside::Aside;
use crate::engine::{sqlite_connect as connect, sqlite_failure as failure};
use crate::{SimulatedDisk, StoreError};

/// Raised whenever tokens or tables change: the file is then made anew.
const VERSION: i64 = 1;
/// Bits of a row's number that are the message's.
const MESSAGE_BITS: u32 = 32;
/// The page cache of the writing connection, in KiB.
const CACHE_KIB: i64 = 8 * 1024;
/// Connections kept for queries.
const READERS_MAX: usize = 4;
/// Rows that one transaction of a removal takes.
const PIECE_ROWS: i64 = 1_000;

/// A batch is written in one piece (FTS5 writes one for each MiB otherwise), and pieces are merged by
/// eight: merging is most of the work, and grows with the index.
const TABLES: &str = "
    CREATE TABLE progress (
        account_id INTEGER NOT NULL PRIMARY KEY,
        modseq INTEGER NOT NULL,
        scan_after INTEGER
    );
    CREATE VIRTUAL TABLE letter USING fts5 (
        subject, addresses, header, body, attachments,
        content = '', contentless_delete = 1, tokenize = \"ascii tokenchars '/'\"
    );
    INSERT INTO letter (letter, rank) VALUES ('hashsize', 16777216);
    INSERT INTO letter (letter, rank) VALUES ('automerge', 8);";

/// The file. Cheap to clone.
#[derive(Clone)]
pub(crate) struct FtsFile(Arc<Inner>);

struct Inner {
    path: PathBuf,
    simulated: Option<Arc<dyn SimulatedDisk>>,
    /// Nothing after closing.
    writer: Mutex<Option<Connection>>,
    /// Nothing after closing.
    readers: Mutex<Option<Vec<Connection>>>,
}

impl FtsFile {
    /// Opens the file; makes it anew if it cannot be used. Blocks.
    pub(crate) fn open(
        path: &Path,
        simulated: Option<Arc<dyn SimulatedDisk>>,
    ) -> Result<Self, StoreError> {
        let vfs = simulated.as_ref().map(|disk| disk.vfs());
        let writer = match open_writer(path, vfs) {
            Ok(Some(writer)) => writer,
            other => {
                match other {
                    Err(error) if path.exists() => {
                        tracing::warn!(%error, "the search index is made anew");
                    }
                    _ => {}
                }
                remove(path)?;
                open_writer(path, vfs)?
                    .ok_or_else(|| StoreError::Bug("a new search index is old".to_owned()))?
            }
        };
        Ok(Self(Arc::new(Inner {
            path: path.to_owned(),
            simulated,
            writer: Mutex::new(Some(writer)),
            readers: Mutex::new(Some(Vec::new())),
        })))
    }

    /// Closes the file. Blocks until the step under way is taken.
    pub(crate) fn close(&self) {
        *lock(&self.0.readers) = None;
        *lock(&self.0.writer) = None;
    }

    pub(super) async fn progress(
        &self,
        account: AccountId,
    ) -> Result<Option<Progress>, StoreError> {
        self.reading(move |connection| progress_of(connection, account))
            .await
    }

    pub(super) async fn take(&self, steps: Vec<Step>) -> Result<(), StoreError> {
        self.writing(move |connection| take_all(connection, steps))
            .await
    }

    pub(super) async fn find(
        &self,
        account: AccountId,
        query: &SearchQuery,
        after: MessageId,
        limit: usize,
    ) -> Result<Page, StoreError> {
        let text = match_text(account, query);
        self.reading(move |connection| find(connection, account, &text, after, limit))
            .await
    }

    pub(super) async fn restart(&self, account: AccountId) -> Result<(), StoreError> {
        self.writing(move |connection| {
            let sql = "DELETE FROM progress WHERE account_id = ?1";
            connection.execute(sql, [account.0]).map_err(failure)?;
            Ok(())
        })
        .await
    }

    pub(super) async fn all_progress(&self) -> Result<BTreeMap<AccountId, Progress>, StoreError> {
        self.reading(all_progress).await
    }

    /// Removes what belongs to an account, in pieces.
    pub(super) async fn forget(&self, account: AccountId) -> Result<(), StoreError> {
        let remove = move |connection: &mut Connection| remove_piece(connection, account);
        while self.writing(remove).await? {}
        Ok(())
    }

    async fn writing<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let inner = Arc::clone(&self.0);
        let work = move || work(lock(&inner.writer).as_mut().ok_or(StoreError::Closed)?);
        self.0.aside().run("the search index", work).await?
    }

    /// Runs work on a snapshot.
    async fn reading<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let inner = Arc::clone(&self.0);
        let work = move || {
            let kept = lock(&inner.readers)
                .as_mut()
                .ok_or(StoreError::Closed)?
                .pop();
            let mut connection = match kept {
                Some(connection) => connection,
                None => open_reader(&inner.path, inner.vfs())?,
            };
            let snapshot = connection.transaction().map_err(failure)?;
            let answer = work(&snapshot);
            drop(snapshot);
            if let Some(readers) = lock(&inner.readers).as_mut()
                && readers.len() < READERS_MAX
            {
                readers.push(connection);
            }
            answer
        };
        self.0.aside().run("the search index", work).await?
    }
}

impl Inner {
    fn aside(&self) -> Aside {
        let inline = self.simulated.as_ref().map(|_| Aside::Inline);
        inline.unwrap_or(Aside::Threads)
    }

    fn vfs(&self) -> Option<&str> {
        self.simulated.as_ref().map(|disk| disk.vfs())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The writing connection; nothing if the file is of another version.
fn open_writer(path: &Path, vfs: Option<&str>) -> Result<Option<Connection>, StoreError> {
    let connection = connect(path, OpenFlags::default(), vfs).map_err(failure)?;
    // In a write-ahead log, NORMAL flushes at checkpoints only: a crash of the machine loses the
    // last steps, whole.
    let pragmas = format!(
        "PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;
         PRAGMA temp_store = MEMORY; PRAGMA cache_size = -{CACHE_KIB}; PRAGMA busy_timeout = 5000;"
    );
    connection.execute_batch(&pragmas).map_err(failure)?;
    let version = || connection.query_row("PRAGMA user_version", [], |row| row.get::<_, i64>(0));
    match version().map_err(failure)? {
        VERSION => Ok(Some(connection)),
        0 => {
            let make = format!("BEGIN; {TABLES} PRAGMA user_version = {VERSION}; COMMIT;");
            connection.execute_batch(&make).map_err(failure)?;
            Ok(Some(connection))
        }
        _ => Ok(None),
    }
}

fn open_reader(path: &Path, vfs: Option<&str>) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = connect(path, flags, vfs).map_err(failure)?;
    let pragmas = "PRAGMA cache_size = -2048; PRAGMA busy_timeout = 5000;";
    connection.execute_batch(pragmas).map_err(failure)?;
    Ok(connection)
}

/// Removes the file and its log.
fn remove(path: &Path) -> Result<(), StoreError> {
    for end in ["", "-wal", "-shm"] {
        let mut name = path.as_os_str().to_owned();
        name.push(end);
        match std::fs::remove_file(&name) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(crate::letter::io(error));
            }
            _ => {}
        }
    }
    Ok(())
}

fn progress_of(
    connection: &Connection,
    account: AccountId,
) -> Result<Option<Progress>, StoreError> {
    let sql = "SELECT modseq, scan_after FROM progress WHERE account_id = ?1";
    let mut statement = connection.prepare_cached(sql).map_err(failure)?;
    let row = statement.query_row([account.0], |row| {
        Ok(Progress {
            modseq: row.get(0)?,
            scan_after: row.get(1)?,
        })
    });
    row.optional().map_err(failure)
}

fn take_all(connection: &mut Connection, mut steps: Vec<Step>) -> Result<(), StoreError> {
    // Rows in order of their numbers: the table collects them in memory up to the first that goes
    // back.
    steps.sort_by_key(|step| step.account);
    let transaction = connection.transaction().map_err(failure)?;
    for step in &mut steps {
        take(&transaction, step)?;
    }
    transaction.commit().map_err(failure)
}

fn take(connection: &Connection, step: &mut Step) -> Result<(), StoreError> {
    if progress_of(connection, step.account)? != step.from {
        return Ok(());
    }
    if let Some((after, through)) = step.cleared {
        let (zero, last) = rows_of(step.account)?;
        let first = zero.saturating_add(after).saturating_add(1);
        let last = zero.saturating_add(through).min(last);
        let sql = "DELETE FROM letter WHERE rowid BETWEEN ?1 AND ?2";
        connection.execute(sql, [first, last]).map_err(failure)?;
    }
    for message in &step.removed {
        let sql = "DELETE FROM letter WHERE rowid = ?1";
        let mut statement = connection.prepare_cached(sql).map_err(failure)?;
        let row = row_of(step.account, *message)?;
        statement.execute([row]).map_err(failure)?;
    }
    step.documents.sort_by_key(|document| document.message);
    for document in &step.documents {
        let sql = "INSERT OR REPLACE INTO letter
                (rowid, subject, addresses, header, body, attachments)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
        let mut statement = connection.prepare_cached(sql).map_err(failure)?;
        let [subject, addresses, header, body, attachments] = &document.fields;
        let row = row_of(step.account, document.message)?;
        let values = params![row, subject, addresses, header, body, attachments];
        statement.execute(values).map_err(failure)?;
    }
    let sql = "INSERT OR REPLACE INTO progress (account_id, modseq, scan_after)
        VALUES (?1, ?2, ?3)";
    let values = params![step.account.0, step.to.modseq, step.to.scan_after];
    connection.execute(sql, values).map_err(failure)?;
    Ok(())
}

fn find(
    connection: &Connection,
    account: AccountId,
    text: &str,
    after: MessageId,
    limit: usize,
) -> Result<Page, StoreError> {
    let progress = progress_of(connection, account)?;
    let sql = "SELECT rowid FROM letter
        WHERE letter MATCH ?1 AND rowid BETWEEN ?2 AND ?3 ORDER BY rowid LIMIT ?4";
    let mut statement = connection.prepare_cached(sql).map_err(failure)?;
    let (first, last) = rows_of(account)?;
    let from = row_of(account, after)?.saturating_add(1);
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let rows = statement.query_map(params![text, from, last, limit], |row| row.get::<_, i64>(0));
    let messages = rows
        .map_err(failure)?
        .map(|row| Ok(MessageId(row.map_err(failure)? - first)));
    Ok(Page {
        progress,
        messages: messages.collect::<Result<_, StoreError>>()?,
    })
}

fn all_progress(connection: &Connection) -> Result<BTreeMap<AccountId, Progress>, StoreError> {
    let sql = "SELECT account_id, modseq, scan_after FROM progress";
    let mut statement = connection.prepare_cached(sql).map_err(failure)?;
    let rows = statement.query_map([], |row| {
        let progress = Progress {
            modseq: row.get(1)?,
            scan_after: row.get(2)?,
        };
        Ok((AccountId(row.get(0)?), progress))
    });
    let rows = rows.map_err(failure)?;
    rows.map(|row| row.map_err(failure)).collect()
}

/// Removes some rows of an account, and its progress with the last; whether there may be more.
fn remove_piece(connection: &mut Connection, account: AccountId) -> Result<bool, StoreError> {
    let transaction = connection.transaction().map_err(failure)?;
    let (first, last) = rows_of(account)?;
    let sql = "DELETE FROM letter WHERE rowid IN
        (SELECT rowid FROM letter WHERE rowid BETWEEN ?1 AND ?2 ORDER BY rowid LIMIT ?3)";
    let removed = transaction
        .execute(sql, [first, last, PIECE_ROWS])
        .map_err(failure)?;
    if removed == 0 {
        let sql = "DELETE FROM progress WHERE account_id = ?1";
        transaction.execute(sql, [account.0]).map_err(failure)?;
    }
    transaction.commit().map_err(failure)?;
    Ok(removed > 0)
}

/// The lowest and the highest number of an account's rows.
fn rows_of(account: AccountId) -> Result<(i64, i64), StoreError> {
    let low = (1 << MESSAGE_BITS) - 1;
    let first = account.0.checked_mul(1 << MESSAGE_BITS);
    first
        .filter(|first| *first >= 0)
        .map(|first| (first, first | low))
        .ok_or_else(|| StoreError::Bug(format!("account {} has no place in the index", account.0)))
}

fn row_of(account: AccountId, message: MessageId) -> Result<i64, StoreError> {
    let (first, last) = rows_of(account)?;
    let row = message.0.checked_add(first);
    row.filter(|row| (first..=last).contains(row))
        .ok_or_else(|| StoreError::Bug(format!("message {} has no place in the index", message.0)))
}

/// The query as FTS5 reads it: `{subject body} : "1/red 1/fo" * AND …`. Tokens have no quotes.
fn match_text(account: AccountId, query: &SearchQuery) -> String {
    let terms = query.terms.iter().map(|term| {
        let columns = SearchField::ALL
            .iter()
            .filter(|field| term.fields.has(**field));
        let columns: Vec<_> = columns.map(|field| column(*field)).collect();
        let words: Vec<_> = keys(account, term).collect();
        let star = if term.prefix { " *" } else { "" };
        format!(
            "({{{}}} : \"{}\"{star})",
            columns.join(" "),
            words.join(" ")
        )
    });
    terms.collect::<Vec<_>>().join(" AND ")
}

fn column(field: SearchField) -> &'static str {
    match field {
        SearchField::Subject => "subject",
        SearchField::Addresses => "addresses",
        SearchField::Header => "header",
        SearchField::Body => "body",
        SearchField::Attachments => "attachments",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::text::Document;

    const ACCOUNT: AccountId = AccountId(26);

    fn document(message: i64, words: &str) -> Document {
        let body = words.split(' ').map(|word| format!(" 1a/{word}")).collect();
        Document {
            message: MessageId(message),
            fields: [
                String::new(),
                String::new(),
                String::new(),
                body,
                String::new(),
            ],
        }
    }

    fn step(from: Option<i64>, to: i64, documents: Vec<Document>) -> Step {
        let at = |modseq| Progress {
            modseq,
            scan_after: None,
        };
        Step {
            account: ACCOUNT,
            from: from.map(at),
            to: at(to),
            cleared: None,
            removed: Vec::new(),
            documents,
        }
    }

    async fn find(file: &FtsFile, text: &str) -> (Option<i64>, Vec<i64>) {
        let query = SearchQuery::parse(text);
        let page = file.find(ACCOUNT, &query, MessageId(0), 100).await.unwrap();
        let messages = page.messages.iter().map(|message| message.0).collect();
        (page.progress.map(|progress| progress.modseq), messages)
    }

    #[tokio::test]
    async fn steps_are_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("search.db");
        let file = FtsFile::open(&path, None).unwrap();
        let both = vec![document(2, "red fox"), document(1, "red")];
        file.take(vec![step(None, 5, both)]).await.unwrap();
        assert_eq!(find(&file, "red").await, (Some(5), vec![1, 2]));
        // From elsewhere: not taken.
        let other = vec![document(3, "red")];
        file.take(vec![step(Some(4), 6, other)]).await.unwrap();
        assert_eq!(find(&file, "red").await, (Some(5), vec![1, 2]));
        // It fails in the middle: nothing of it is there.
        let bad = vec![document(4, "red"), document(1 << 40, "red")];
        assert!(file.take(vec![step(Some(5), 7, bad)]).await.is_err());
        assert_eq!(find(&file, "red").await, (Some(5), vec![1, 2]));
        let mut gone = step(Some(5), 8, vec![document(1, "hen")]);
        gone.removed = vec![MessageId(2)];
        file.take(vec![gone]).await.unwrap();
        assert_eq!(find(&file, "red").await, (Some(8), vec![]));
        assert_eq!(find(&file, "hen").await, (Some(8), vec![1]));
        let mut cleared = step(Some(8), 9, vec![document(3, "hen")]);
        cleared.cleared = Some((0, i64::MAX));
        file.take(vec![cleared]).await.unwrap();
        assert_eq!(find(&file, "hen").await, (Some(9), vec![3]));
        file.forget(ACCOUNT).await.unwrap();
        assert_eq!(find(&file, "hen").await, (None, vec![]));
    }

    /// What the disk holds at a crash in the middle of a step: the steps before it.
    #[tokio::test]
    async fn a_crash_in_a_step() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("search.db");
        let file = FtsFile::open(&path, None).unwrap();
        file.take(vec![step(None, 5, vec![document(1, "red")])])
            .await
            .unwrap();
        {
            let mut writer = lock(&file.0.writer);
            let transaction = writer.as_mut().unwrap().transaction().unwrap();
            // Enough that pages go to the disk before the commit.
            transaction.execute_batch("PRAGMA cache_size = 1").unwrap();
            let many = (2..2_000).map(|number| document(number, &format!("red w{number}")));
            take(&transaction, &mut step(Some(5), 6, many.collect())).unwrap();
            let crashed = folder.path().join("crashed.db");
            for end in ["", "-wal"] {
                let name = |path: &Path| format!("{}{end}", path.display());
                std::fs::copy(name(&path), name(&crashed)).unwrap();
            }
            let file = FtsFile::open(&crashed, None).unwrap();
            let found = lock(&file.0.writer);
            let found = found.as_ref().unwrap();
            let progress = progress_of(found, ACCOUNT).unwrap().unwrap();
            assert_eq!(progress.modseq, 5);
            let check = "INSERT INTO letter (letter) VALUES ('integrity-check')";
            found.execute_batch(check).unwrap();
            let count = "SELECT count(*) FROM letter WHERE letter MATCH '\"1a/red\"'";
            let count: i64 = found.query_row(count, [], |row| row.get(0)).unwrap();
            assert_eq!(count, 1);
        }
    }

    #[tokio::test]
    async fn a_file_that_cannot_be_used_is_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("search.db");
        std::fs::write(
            &path,
            "no database, but longer than the header of one".repeat(9),
        )
        .unwrap();
        let file = FtsFile::open(&path, None).unwrap();
        file.take(vec![step(None, 5, vec![document(1, "red")])])
            .await
            .unwrap();
        file.close();
        let connection = Connection::open(&path).unwrap();
        connection
            .execute_batch("PRAGMA user_version = 99")
            .unwrap();
        drop(connection);
        let file = FtsFile::open(&path, None).unwrap();
        assert_eq!(find(&file, "red").await, (None, vec![]));
        file.close();
        assert_eq!(file.progress(ACCOUNT).await, Err(StoreError::Closed));
    }

    #[test]
    fn queries() {
        let check = |text: &str, expected: &str| {
            assert_eq!(match_text(ACCOUNT, &SearchQuery::parse(text)), expected);
        };
        let all = "{subject addresses header body attachments}";
        check("red", &format!("({all} : \"1a/red\")"));
        check(
            "\"red fo\"* subject:x",
            &format!("({all} : \"1a/red 1a/fo\" *) AND ({{subject}} : \"1a/x\")"),
        );
    }
}
