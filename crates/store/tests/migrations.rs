//! Databases of earlier schemas, with data, opened by this program.

#![expect(clippy::unwrap_used, reason = "a test")]

#[path = "contract/house.rs"]
#[expect(dead_code, reason = "the contract suite uses more of it")]
mod house;

use std::path::Path;

use base::{AccountId, MessageId, Uid};
use message::Message;
use pennyblack_store::{QueueFilter, Store, StoreError};
use rusqlite::{Connection, params};

use house::{House, domain, letter};

/// The first schema, as it was released.
const FIRST: &str = include_str!("../schema/sqlite/0001_first.sql");
const SECOND: &str = include_str!("../schema/sqlite/0002_store.sql");

/// Rows of the first schema: two people, their mailboxes, a secret, keys as they were before they
/// were sealed, and a queue.
const ROWS: &str = "
    INSERT INTO schema_version VALUES (1, 1795000000000);
    INSERT INTO server_secret VALUES ('scram', x'0102030405060708');
    INSERT INTO sequence VALUES ('account', 3);
    INSERT INTO domain VALUES ('red.test', 1795000000000);
    INSERT INTO address VALUES ('alice@red.test', 'alice@red.test', 'red.test', 1),
        ('bob@red.test', 'bob@red.test', 'red.test', 2), ('team@red.test', 'team@red.test', 'red.test', NULL);
    INSERT INTO alias_target VALUES ('team@red.test', 'bob@red.test');
    INSERT INTO account VALUES
        (1, 'alice@red.test', 'Alice', 1795000000000, 1, 1, 0, NULL, 0, 0, 1, 0, 1, 3, 3),
        (2, 'bob@red.test', 'Bob', 1795000000000, 1, 0, 0, 1000000, 0, 2, 9, 0, 3, 3, 3);
    INSERT INTO credential VALUES (2, '$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$AAAA',
        x'00112233445566778899aabbccddeeff', 10000,
        x'1111111111111111111111111111111111111111111111111111111111111111',
        x'2222222222222222222222222222222222222222222222222222222222222222', 1795000000000);
    INSERT INTO mailbox VALUES (1, 1, 'INBOX', 1, 1, 1, 1, 0, 0, 0, 0, 1),
        (2, 1, 'INBOX', 1, 1, 1, 3, 2, 1, 1, 0, 9), (2, 2, 'Work', NULL, 1, 2, 1, 0, 0, 0, 0, 4);
    INSERT INTO expunged VALUES (2, 2, 4, 1);
    INSERT INTO change VALUES (2, 8, 1, 1, 1, 1795000000000), (2, 9, 1, 2, 1, 1795000000000);
    INSERT INTO thread_key VALUES (2, 42, 1);
    INSERT INTO delivery VALUES (77, x'0a', 1795000000000);
    INSERT INTO letter_name VALUES (78, 4711);";

/// Makes a database of the first schema in a folder.
fn first(data: &Path) {
    std::fs::create_dir_all(data).unwrap();
    let db = Connection::open(data.join("mail.db")).unwrap();
    db.execute_batch(
        "PRAGMA page_size = 4096; PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = WAL;
         CREATE TABLE schema_version (version INTEGER NOT NULL PRIMARY KEY, applied_at INTEGER NOT NULL);",
    )
    .unwrap();
    db.execute_batch(FIRST).unwrap();
    db.execute_batch(ROWS).unwrap();
    for (number, name) in [(1_i64, "one"), (2, "two")] {
        let text = letter(name);
        let parsed = Message::parse(text.as_bytes());
        let hash = blake3::hash(text.as_bytes());
        let bytes = i64::try_from(text.len()).unwrap();
        let head = b"Delivered-To: bob@red.test\r\n";
        let size = bytes + i64::try_from(head.len()).unwrap();
        let blob = "INSERT INTO blob (hash, part, blob_id, coding, plain_bytes, total_bytes, data)
            VALUES (?1, 0, ?2, 0, ?3, ?3, ?4)";
        let hash = hash.as_bytes().as_slice();
        db.execute(blob, params![hash, 500 + number, bytes, text.as_bytes()])
            .unwrap();
        let message =
            "INSERT INTO message VALUES (2, ?1, 1, NULL, 1795000000000, ?2, ?3, ?4, ?5, ?6,
            ?7, ?8, ?9)";
        let values = params![
            number,
            size,
            size - bytes,
            hash,
            500 + number,
            head.as_slice(),
            parsed.envelope().encode(),
            parsed.structure().encode(),
            parsed.preview()
        ];
        db.execute(message, values).unwrap();
        let placement = "INSERT INTO placement VALUES (2, 1, ?1, ?1, 7 + ?1, ?1 = 2, ?1 = 1, ?2,
            1795000000000, CASE WHEN ?1 = 1 THEN '$seen blue' ELSE '' END)";
        db.execute(placement, params![number, size]).unwrap();
        let count = "UPDATE account SET used_bytes = used_bytes + ?1 WHERE account_id = 2";
        db.execute(count, [size]).unwrap();
        let count = "UPDATE mailbox SET size = size + ?1 WHERE account_id = 2 AND mailbox_id = 1";
        db.execute(count, [size]).unwrap();
    }
    let text = letter("one");
    let queue = "INSERT INTO letter VALUES (79, ?1, 501, 1, 'alice@red.test', 'id', 0, 0, ?2,
        1795000000000, 1895000000000, x'')";
    let hash = blake3::hash(text.as_bytes());
    let size = i64::try_from(text.len()).unwrap();
    db.execute(queue, params![hash.as_bytes().as_slice(), size])
        .unwrap();
    db.execute_batch(
        "INSERT INTO recipient VALUES (79, 1, 'x@black.test', 'black.test', NULL, 0, 2, 0, 1,
            1795000000000, 'later', 0, '', 0)",
    )
    .unwrap();
}

/// Everything of the first schema is there.
async fn check(house: &House, store: &Store) {
    let bob = AccountId(2);
    let inbox = store.mailbox(bob, "INBOX").await.unwrap().unwrap();
    assert_eq!((inbox.status.messages, inbox.status.unseen), (2, 1));
    let rows = store.placements(bob, inbox.id, Uid(1), 10).await.unwrap();
    let seen: Vec<bool> = rows
        .iter()
        .map(|row| row.keywords.contains("blue"))
        .collect();
    assert_eq!(seen, [true, false]);
    for (number, name) in [(1, "one"), (2, "two")] {
        let reader = store.body(bob, MessageId(number)).await.unwrap();
        let bytes = reader.read(0..u64::MAX).await.unwrap();
        assert!(bytes.ends_with(letter(name).as_bytes()));
    }
    let keys = store.scram_keys("bob").await.unwrap();
    assert_eq!((keys.account, keys.stored_key), (Some(bob), [0x11; 32]));
    let queue = store.queue_list(&QueueFilter::default()).await.unwrap();
    assert_eq!(queue.len(), 1);
    assert!(
        store
            .domains()
            .await
            .unwrap()
            .iter()
            .any(|it| it.domain == domain("red.test"))
    );
    assert_eq!(store.verify().await.unwrap(), Vec::<String>::new());
    let new = house
        .delivery(store, &letter("three"), &[(bob, "bob@red.test")])
        .await;
    assert_eq!(store.deliver(new).await.unwrap().stored[0].uid, Uid(3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_schema_with_data() {
    let house = House::sqlite();
    let data = house.path().join("data");
    first(&data);
    let store = house.open().await;
    check(&house, &store).await;
    store.close().await.unwrap();
    // Nothing that was secret lies there in the clear.
    let db = Connection::open(data.join("mail.db")).unwrap();
    let sql =
        "SELECT count(*) FROM server_secret WHERE substr(value, 1, 4) <> CAST('PBS1' AS BLOB)";
    assert_eq!(
        db.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap(),
        0
    );
    let sql = "SELECT count(*) FROM credential WHERE substr(scram_stored_key, 1, 4) <> CAST('PBS1' AS BLOB)
        OR substr(scram_server_key, 1, 4) <> CAST('PBS1' AS BLOB)";
    assert_eq!(
        db.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap(),
        0
    );
}

/// A crash in the middle of a migration: what it wrote stands in the log without its commit.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_migration_cut_short() {
    let house = House::sqlite();
    let (data, crashed) = (house.path().join("before"), house.path().join("data"));
    first(&data);
    let db = Connection::open(data.join("mail.db")).unwrap();
    // So small a cache writes to the log before the commit.
    db.execute_batch("PRAGMA cache_size = 1; PRAGMA cache_spill = 1; BEGIN IMMEDIATE")
        .unwrap();
    db.execute_batch(SECOND).unwrap();
    std::fs::create_dir_all(&crashed).unwrap();
    for name in ["mail.db", "mail.db-wal"] {
        std::fs::copy(data.join(name), crashed.join(name)).unwrap();
    }
    drop(db);
    let store = house.open().await;
    check(&house, &store).await;
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newer_schema_is_refused() {
    for house in [House::sqlite(), House::postgres()] {
        let store = house.open().await;
        store.close().await.unwrap();
        house.sql("INSERT INTO schema_version VALUES (99, 0)");
        let Err(StoreError::Invalid(why)) = Store::open(house.options()).await else {
            panic!("it was opened");
        };
        assert!(why.contains("schema 99, newer than this program"), "{why}");
    }
}

/// Nodes that start together on an empty database make its schema and its key once.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn several_nodes_migrate_at_once() {
    let house = House::postgres();
    let mut tasks = Vec::new();
    for node in 0..4 {
        let mut options = house.options();
        options.node = format!("n{node}");
        options.data_dir = house.path().join(&options.node);
        tasks.push(tokio::spawn(Store::open(options)));
    }
    for task in tasks {
        let store = task.await.unwrap().unwrap();
        assert_eq!(store.verify().await.unwrap(), Vec::<String>::new());
        store.close().await.unwrap();
    }
}

/// A node with another key does not start, and says what to do; a lost key can be given up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_key_and_a_lost_one() {
    for house in [House::sqlite(), House::postgres()] {
        let (store, alice, _) = house.with_people().await;
        store
            .set_password(alice, &house::secret("one penny"))
            .await
            .unwrap();
        let id = store.rotate_key(true).await.unwrap();
        assert!(store.scram_keys("alice").await.unwrap().account.is_some());
        store.close().await.unwrap();
        let file = house.path().join("store.key");
        assert!(std::fs::read_to_string(&file).unwrap().contains(&id));
        std::fs::rename(&file, house.path().join("away")).unwrap();
        let Err(StoreError::Invalid(why)) = Store::open(house.options()).await else {
            panic!("it was opened");
        };
        assert!(
            why.contains(&id) && why.contains("store key forget"),
            "{why}"
        );
        let lost = pennyblack_store::Lost::Key;
        let store = Store::open_idle(house.options(), lost).await.unwrap();
        store.close().await.unwrap();
        let store = house.open().await;
        let right = store
            .authenticate("alice", &house::secret("one penny"))
            .await
            .unwrap();
        assert_eq!(right, Some(alice));
        assert_eq!(store.scram_keys("alice").await.unwrap().account, None);
        store
            .set_password(alice, &house::secret("two pence"))
            .await
            .unwrap();
        assert_eq!(
            store.scram_keys("alice").await.unwrap().account,
            Some(alice)
        );
        house.finish(store).await;
    }
}

/// A page of the file is overwritten: the error names the cause and the way out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_file() {
    let house = House::sqlite();
    let (store, _, bob) = house.with_people().await;
    for number in 0..200 {
        let text = letter(&format!("n{number}"));
        let delivery = house
            .delivery(&store, &text, &[(bob, "bob@red.test")])
            .await;
        store.deliver(delivery).await.unwrap();
    }
    store.close().await.unwrap();
    let file = house.path().join("data/mail.db");
    let db = Connection::open(&file).unwrap();
    let root: u32 = db
        .query_row(
            "SELECT rootpage FROM sqlite_schema WHERE name = 'message'",
            [],
            |row| row.get(0),
        )
        .unwrap();
    drop(db);
    let mut bytes = std::fs::read(&file).unwrap();
    let start = (root as usize - 1) * 4_096;
    let page = &mut bytes[start..start + 4_096];
    for byte in page.iter_mut().take(512) {
        *byte ^= 0xA5;
    }
    std::fs::write(&file, bytes).unwrap();
    let store = house.open().await;
    let Err(StoreError::Io(why)) = store.verify().await else {
        panic!("the damage was not seen");
    };
    for word in ["damaged", "mail.db", "docs/backup.md", ".recover"] {
        assert!(why.contains(word), "{word}: {why}");
    }
    store.close().await.unwrap();
}
