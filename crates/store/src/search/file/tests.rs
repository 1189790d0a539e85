//! The index file by itself: steps, crashes, merging.

use std::collections::BTreeSet;

use super::*;
use crate::search::segments::{BlockReader, each_place, key};
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

async fn find(file: &IndexFile, text: &str) -> (Option<i64>, Vec<i64>) {
    let query = SearchQuery::parse(text);
    let page = file.find(ACCOUNT, &query, MessageId(0), 100).await.unwrap();
    let messages = page.messages.iter().map(|message| message.0).collect();
    (page.progress.map(|progress| progress.modseq), messages)
}

#[tokio::test]
async fn steps_are_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("search.db");
    let file = IndexFile::open(&path, None).unwrap();
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
    gone.removed = vec![MessageId(1), MessageId(2)];
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
    let file = IndexFile::open(&path, None).unwrap();
    file.take(vec![step(None, 5, vec![document(1, "red")])])
        .await
        .unwrap();
    let many = (2..2_000).map(|number| document(number, &format!("red w{number}")));
    let mut batches = Batches::default();
    batches.add(ACCOUNT, many.collect()).unwrap();
    let runs = segments::runs_of(batches, Aside::Inline).await.unwrap();
    let blocks = segments::join(runs).unwrap();
    {
        let mut writer = lock(&file.0.writer);
        let transaction = writer.as_mut().unwrap().transaction().unwrap();
        // Enough that pages go to the disk before the commit.
        transaction.execute_batch("PRAGMA cache_size = 1").unwrap();
        let taken = Taken {
            step: step(Some(5), 6, Vec::new()),
            letters: 1_998,
        };
        take(&transaction, &taken).unwrap();
        write_blocks(&transaction, 2, &blocks).unwrap();
        let crashed = folder.path().join("crashed.db");
        for end in ["", "-wal"] {
            let name = |path: &Path| format!("{}{end}", path.display());
            std::fs::copy(name(&path), name(&crashed)).unwrap();
        }
        let file = IndexFile::open(&crashed, None).unwrap();
        let found = lock(&file.0.writer);
        let found = found.as_ref().unwrap();
        let progress = progress_of(found, ACCOUNT).unwrap().unwrap();
        assert_eq!(progress.modseq, 5);
        check(found);
        let docs = find::find(found, ACCOUNT, &SearchQuery::parse("red")).unwrap();
        assert_eq!(docs.from(0).collect::<Vec<_>>(), [1]);
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
    let file = IndexFile::open(&path, None).unwrap();
    file.take(vec![step(None, 5, vec![document(1, "red")])])
        .await
        .unwrap();
    file.close();
    let connection = Connection::open(&path).unwrap();
    connection
        .execute_batch("PRAGMA user_version = 99")
        .unwrap();
    drop(connection);
    let file = IndexFile::open(&path, None).unwrap();
    assert_eq!(find(&file, "red").await, (None, vec![]));
    file.close();
    assert_eq!(file.progress(ACCOUNT).await, Err(StoreError::Closed));
}

/// Words and messages are in order, and all that is named is there.
fn check(connection: &Connection) {
    let numbers = |sql: &str| -> Vec<i64> {
        let mut statement = connection.prepare(sql).unwrap();
        let rows = statement.query_map([], |row| row.get(0)).unwrap();
        rows.collect::<Result<_, _>>().unwrap()
    };
    assert_eq!(
        numbers("SELECT count(*) FROM block"),
        numbers("SELECT count(*) FROM fence")
    );
    for segment in numbers("SELECT segment_id FROM segment WHERE state = 1") {
        let mut last = None;
        let sql = format!("SELECT block_id FROM fence WHERE segment_id = {segment} ORDER BY first");
        for block in numbers(&sql) {
            let data = merge::block_data(connection, block).unwrap();
            let mut reader = BlockReader::new(data);
            let sql = format!("SELECT first FROM fence WHERE block_id = {block}");
            let fence: Vec<u8> = connection.query_row(&sql, [], |row| row.get(0)).unwrap();
            let mut is_first = true;
            while let Some(found) = reader.next().unwrap() {
                let chunk = reader.chunk(found);
                if std::mem::take(&mut is_first) {
                    assert_eq!(fence, key(reader.term(), chunk.first));
                }
                let mut end = 0;
                let each = |message, places: &[u8]| {
                    end = message;
                    each_place(places, |_| ())
                };
                chunk.each(each).unwrap();
                assert_eq!(end, chunk.last);
                let here = Some((reader.term().to_vec(), chunk.first));
                assert!(last < here);
                last = Some((reader.term().to_vec(), chunk.last));
            }
        }
    }
}

/// Compares answers with what is living: each message has a word for each of its divisors.
async fn compare(file: &IndexFile, living: &BTreeSet<i64>) {
    for divisor in 2..12 {
        let expected = living
            .iter()
            .copied()
            .filter(|message| message % divisor == 0);
        let expected: Vec<i64> = expected.take(100).collect();
        assert_eq!(
            find(file, &format!("by{divisor}")).await.1,
            expected,
            "{divisor}"
        );
    }
    let expected: Vec<i64> = living.iter().copied().take(100).collect();
    for query in ["\"red fox\"", "re*", "\"red fo\"*", "all", "all fox"] {
        assert_eq!(find(file, query).await.1, expected, "{query}");
    }
    assert_eq!(find(file, "\"fox red\"").await.1, [] as [i64; 0]);
    assert_eq!(find(file, "\"all by2\"").await.1, {
        let even = living.iter().copied().filter(|message| message % 2 == 0);
        even.take(100).collect::<Vec<i64>>()
    });
}

/// Reads an account through once more, in pieces: some letters are in two segments then.
async fn read_again(
    file: &IndexFile,
    living: &BTreeSet<i64>,
    modseq: i64,
    words: impl Fn(i64) -> String,
) {
    file.restart(ACCOUNT).await.unwrap();
    let (mut after, mut from) = (0, None);
    while after < 700 {
        let piece = living.range(after + 1..=after + 37);
        let documents = piece.map(|message| document(*message, &words(*message)));
        let mut step = step(from, modseq, documents.collect());
        step.to.scan_after = (after + 37 < 700).then_some(after + 37);
        step.from = from.map(|modseq| Progress {
            modseq,
            scan_after: Some(after),
        });
        step.cleared = Some((after, after + 37));
        from = Some(modseq);
        after += 37;
        file.take(vec![step]).await.unwrap();
        if after % 5 == 0 {
            compare(file, living).await;
        }
    }
}

/// Whatever was added and removed in whatever steps and merged meanwhile: each word finds its
/// letters.
#[tokio::test]
async fn merging_changes_no_answer() {
    let folder = tempfile::tempdir().unwrap();
    let file = IndexFile::open(&folder.path().join("search.db"), None).unwrap();
    let words = |message: i64| {
        let all = (2..12).filter(|divisor| message % divisor == 0);
        let words: Vec<String> = all.map(|divisor| format!("by{divisor}")).collect();
        format!("all {} red fox", words.join(" "))
    };
    let (mut modseq, mut living) = (0, BTreeSet::new());
    let mut from = None;
    for round in 0..120_i64 {
        modseq += 1;
        let new = round * 5 + 1..round * 5 + 6;
        let documents = new
            .clone()
            .map(|message| document(message, &words(message)));
        let mut step = step(from, modseq, documents.collect());
        living.extend(new);
        let gone: Vec<i64> = living
            .iter()
            .copied()
            .filter(|m| m % 41 == round % 41)
            .collect();
        if round % 3 == 2 {
            // What is removed in a step was there before it.
            let gone = gone.into_iter().filter(|message| *message <= round * 5);
            step.removed = gone.map(MessageId).collect();
            step.removed.iter().for_each(|message| {
                living.remove(&message.0);
            });
        }
        file.take(vec![step]).await.unwrap();
        from = Some(modseq);
    }
    compare(&file, &living).await;
    merge::run(&file.0).unwrap();
    compare(&file, &living).await;
    read_again(&file, &living, modseq, words).await;
    merge::run(&file.0).unwrap();
    compare(&file, &living).await;
    let count = |sql| {
        let writer = lock(&file.0.writer);
        let row = writer
            .as_ref()
            .unwrap()
            .query_row(sql, [], |row| row.get::<_, i64>(0));
        row.unwrap()
    };
    assert!(count("SELECT count(*) FROM segment") < 16);
    check(lock(&file.0.writer).as_ref().unwrap());
    // All that is marked as gone goes in the end.
    file.forget(ACCOUNT).await.unwrap();
    merge::run(&file.0).unwrap();
    assert_eq!(find(&file, "all").await, (None, vec![]));
    assert_eq!(count("SELECT count(*) FROM block"), 0);
    assert_eq!(count("SELECT count(*) FROM dead"), 0);
    // Who comes later is found.
    file.take(vec![step(None, 1, vec![document(3, "hen")])])
        .await
        .unwrap();
    assert_eq!(find(&file, "hen").await, (Some(1), vec![3]));
}

/// An account that is read through once more is not there twice.
#[tokio::test]
async fn beginning_anew() {
    let folder = tempfile::tempdir().unwrap();
    let file = IndexFile::open(&folder.path().join("search.db"), None).unwrap();
    let all =
        |word: &str| -> Vec<Document> { (1..=50).map(|message| document(message, word)).collect() };
    file.take(vec![step(None, 5, all("red"))]).await.unwrap();
    file.restart(ACCOUNT).await.unwrap();
    assert_eq!(find(&file, "red").await.0, None);
    assert_eq!(find(&file, "red").await.1.len(), 50);
    let mut anew = step(None, 5, all("hen"));
    anew.cleared = Some((0, i64::MAX));
    file.take(vec![anew]).await.unwrap();
    assert_eq!(find(&file, "red").await, (Some(5), vec![]));
    assert_eq!(find(&file, "hen").await.1.len(), 50);
}

/// What nobody has written is told, and the file is made anew at the next start.
#[tokio::test]
async fn a_damaged_block() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("search.db");
    let file = IndexFile::open(&path, None).unwrap();
    file.take(vec![step(None, 5, vec![document(1, "red fox")])])
        .await
        .unwrap();
    file.0
        .write(|connection| {
            let damage = "UPDATE block SET data = x'00ff'";
            connection.execute_batch(damage).map_err(failure)
        })
        .unwrap();
    let query = SearchQuery::parse("red");
    let found = file.find(ACCOUNT, &query, MessageId(0), 9).await;
    assert_eq!(found.err(), Some(segments::damaged()));
    file.close();
    let file = IndexFile::open(&path, None).unwrap();
    assert_eq!(find(&file, "red").await, (None, vec![]));
}

/// A page that SQLite itself finds damaged is told as damage of the index, not of the mail, and the
/// file is made anew at the next start, too.
#[tokio::test]
async fn a_damaged_page() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("search.db");
    let file = IndexFile::open(&path, None).unwrap();
    let all = (1..=500)
        .map(|message| document(message, "red fox"))
        .collect();
    file.take(vec![step(None, 5, all)]).await.unwrap();
    let page_of = "SELECT rootpage FROM sqlite_schema WHERE name = 'block'";
    let (page, page_bytes): (u64, u64) = file
        .0
        .write(|connection| {
            let ask = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, i64>(0));
            let page = ask(page_of).map_err(failure)?;
            let bytes = ask("PRAGMA page_size").map_err(failure)?;
            connection
                .execute_batch("PRAGMA wal_checkpoint(TRUNCATE)")
                .map_err(failure)?;
            Ok((page as u64, bytes as u64))
        })
        .unwrap();
    file.close();
    let damaged = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    let place = (page - 1) * page_bytes;
    std::os::unix::fs::FileExt::write_all_at(&damaged, &[0xff; 64], place).unwrap();
    let file = IndexFile::open(&path, None).unwrap();
    let query = SearchQuery::parse("red");
    let found = file.find(ACCOUNT, &query, MessageId(0), 9).await;
    assert_eq!(found.err(), Some(segments::damaged()));
    file.close();
    let file = IndexFile::open(&path, None).unwrap();
    assert_eq!(find(&file, "red").await, (None, vec![]));
}
