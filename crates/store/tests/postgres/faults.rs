//! Servers that cannot be used, or stop being usable.

use std::time::{Duration, Instant};

use base::{AccountId, Uid};
use bytes::Bytes;
use interop::postgres::{Flushed, Postgres};
use pennyblack_store::{Keywords, Store, StoreError};

use crate::house::{House, letter};
use crate::{behind_proxy, is_transient, names, refusal};

/// Fewer connections than tasks, for tests that need all of them.
const MANY: usize = 64;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_opening_says() {
    let mut server = Postgres::start(Flushed::No);
    let url = server.database_of_user("mail", "s3cret");
    let error = refusal("postgres://mail:s3cret@127.0.0.1:99999/mail").await;
    assert!(matches!(error, StoreError::Invalid(_)), "{error:?}");
    names(
        &error,
        &["`store.url`", "port", "postgres://user:password@host"],
    );
    let wrong = url.replace("s3cret", "guess");
    let error = refusal(&wrong).await;
    names(
        &error,
        &["mail@127.", "password authentication failed", "PGPASSWORD"],
    );
    let error = refusal(&url.replace(":5432/mail", ":5432/male")).await;
    names(
        &error,
        &["\"male\" does not exist", "createdb", "`store.url`"],
    );
    let error = refusal("postgres://mail:s3cret@no-such-host.invalid/mail").await;
    names(
        &error,
        &["mail@no-such-host.invalid:5432/mail", "`store.url`"],
    );
    assert!(is_transient(&error), "{error:?}");
    server.psql("postgres", "ALTER ROLE mail CONNECTION LIMIT 0");
    let error = refusal(&url).await;
    names(
        &error,
        &[
            "too many connections",
            "max_connections",
            "store.connections",
        ],
    );
    assert!(is_transient(&error), "{error:?}");
    server.psql("postgres", "ALTER ROLE mail CONNECTION LIMIT -1");
    server.psql("mail", "ALTER SCHEMA public OWNER TO postgres");
    let error = refusal(&url).await;
    names(&error, &["permission denied", "own the database"]);
    let sql = "CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0";
    server.psql("postgres", sql);
    let error = refusal(&server.url("latin")).await;
    names(&error, &["LATIN1", "UTF8", "createdb"]);
    assert!(matches!(error, StoreError::Invalid(_)), "{error:?}");
    server.stop();
    let error = refusal(&url).await;
    names(
        &error,
        &["cannot connect", "refused", "is PostgreSQL running"],
    );
    assert!(is_transient(&error), "{error:?}");
}

async fn append(
    house: &House,
    store: &Store,
    account: AccountId,
    name: &str,
) -> Result<Uid, StoreError> {
    let inbox = store.mailbox(account, "INBOX").await?.unwrap().id;
    let own = store.letter(Bytes::from(letter(name))).await?;
    let appended = store
        .append(account, inbox, own, Keywords::default(), house.now())
        .await?;
    Ok(appended.uid)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_becomes_read_only() {
    let server = Postgres::start(Flushed::No);
    let url = server.database_of_user("mail", "s3cret");
    let house = House::at(&url);
    let (store, _, bob) = house.with_people().await;
    server.set("default_transaction_read_only = on");
    let error = append(&house, &store, bob, "x").await.unwrap_err();
    names(&error, &["read-only", "default_transaction_read_only"]);
    assert!(is_transient(&error), "{error:?}");
    // What can be read is read.
    assert_eq!(store.mailboxes(bob).await.unwrap().len(), 6);
    let error = refusal(&url).await;
    names(&error, &["read-only", "primary"]);
    server.set("default_transaction_read_only = off");
    append(&house, &store, bob, "y").await.unwrap();
    house.finish(store).await;
}

/// All at once, with connections for a few: they wait for each other; when the server itself has
/// too few, they are told to come later, and later it works.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_with_too_few_connections() {
    let server = Postgres::start(Flushed::No);
    let house = House::at(&server.database_of_user("mail", "s3cret"));
    let (store, _, bob) = house.with_people().await;
    server.psql("postgres", "ALTER ROLE mail CONNECTION LIMIT 2");
    let mut reading = Vec::new();
    for _ in 0..MANY {
        let store = store.clone();
        reading.push(tokio::spawn(async move { store.mailboxes(bob).await }));
    }
    let mut refused = 0;
    for one in reading {
        if let Err(error) = one.await.unwrap() {
            assert!(is_transient(&error), "{error:?}");
            names(&error, &["too many connections", "max_connections"]);
            refused += 1;
        }
    }
    // Reading and indexing share what connections there are.
    let until = Instant::now() + Duration::from_secs(60);
    while let Err(error) = append(&house, &store, bob, "x").await {
        assert!(is_transient(&error), "{error:?}");
        assert!(Instant::now() < until, "{error:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    server.psql("postgres", "ALTER ROLE mail CONNECTION LIMIT -1");
    eprintln!("{refused} of {MANY} were told to come later");
    store.mailboxes(bob).await.unwrap();
    house.finish(store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_stops_and_comes_back() {
    let mut server = Postgres::start(Flushed::No);
    let (proxy, house) = behind_proxy(&server);
    let (store, _, bob) = house.with_people().await;
    append(&house, &store, bob, "a").await.unwrap();
    server.stop();
    let started = Instant::now();
    let (reading, writing) =
        tokio::join!(store.mailboxes(bob), store.create_mailbox(bob, "New", None));
    for error in [reading.unwrap_err(), writing.unwrap_err()] {
        assert!(is_transient(&error), "{error:?}");
        names(&error, &["cannot connect", "is PostgreSQL running"]);
    }
    assert!(started.elapsed() < Duration::from_secs(60));
    server.begin();
    append(&house, &store, bob, "b").await.unwrap();
    assert_eq!(store.mailboxes(bob).await.unwrap().len(), 6);
    // A restart while a verb waits costs it nothing but time. However long the server takes for it,
    // it is out of reach for a second after the verb was asked.
    proxy.close();
    server.stop();
    server.begin();
    let appending = append_later(&house, &store, bob);
    let opening = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        proxy.open();
    };
    let (appended, ()) = tokio::join!(appending, opening);
    appended.unwrap();
    house.finish(store).await;
}

/// The peer goes on, so that it has seen the reply, while the database is out of reach: the equal
/// letter that comes later is a letter of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_confirmation_without_the_server() {
    let server = Postgres::start(Flushed::No);
    let (proxy, house) = behind_proxy(&server);
    let (store, _, bob) = house.with_people().await;
    let text = letter("x");
    let delivery = async || {
        house
            .delivery(&store, &text, &[(bob, "bob@red.test")])
            .await
    };
    let first = store.deliver(delivery().await).await.unwrap();
    proxy.close();
    let error = store.confirm(vec![first.letter]).await.unwrap_err();
    assert!(is_transient(&error), "{error:?}");
    drop(first);
    // Also where it goes with another letter, whose own error is told.
    proxy.open();
    let second = store.deliver(delivery().await).await.unwrap();
    assert!(!second.repeated, "the letter is lost");
    let mut third = delivery().await;
    third.confirms = vec![second.letter];
    proxy.close();
    let error = store.deliver(third).await.unwrap_err();
    names(&error, &["cannot connect"]);
    drop(second);
    proxy.open();
    let third = store.deliver(delivery().await).await.unwrap();
    assert!(!third.repeated, "the letter is lost");
    drop(third);
    // In the background the first two are written.
    let until = Instant::now() + Duration::from_secs(60);
    while server.psql("mail", "SELECT count(*) FROM delivery").trim() != "1" {
        assert!(Instant::now() < until, "they are not written");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let again = store.deliver(delivery().await).await.unwrap();
    assert!(again.repeated);
    house.finish(store).await;
}

async fn append_later(house: &House, store: &Store, bob: AccountId) -> Result<(), StoreError> {
    store.create_mailbox(bob, "Later", None).await?;
    append(house, store, bob, "c").await.map(drop)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk() {
    let server = Postgres::start_with_disk(Flushed::No, Some(40));
    let space = server.small_disk().join("space");
    let sql = format!("CREATE TABLESPACE small LOCATION '{}'", space.display());
    server.psql("postgres", &sql);
    server.psql("postgres", "CREATE DATABASE mail TABLESPACE small");
    let house = House::at(&server.url("mail"));
    let (store, _, bob) = house.with_people().await;
    let inbox = store.mailbox(bob, "INBOX").await.unwrap().unwrap().id;
    // Pages of the catalogue that are still in memory only would not find a place later, and reading
    // puts them out.
    server.psql("mail", "CHECKPOINT");
    server.psql(
        "mail",
        "CREATE TABLE waste (w TEXT);
        DO $$ BEGIN FOR i IN 1..100000 LOOP
            BEGIN
                INSERT INTO waste SELECT repeat(md5(random()::text), 60)
                    FROM generate_series(1, 500);
            EXCEPTION WHEN disk_full THEN EXIT; END;
        END LOOP; END $$",
    );
    let mut refused = None;
    let mut stored = 0;
    for number in 0..200 {
        let text = format!("{}{}", letter(&format!("f{number}")), noise(number));
        let own = store.letter(Bytes::from(text)).await.unwrap();
        let appended = store
            .append(bob, inbox, own, Keywords::default(), house.now())
            .await;
        match appended {
            Ok(_) => stored += 1,
            Err(error) => {
                refused = Some(error);
                break;
            }
        }
    }
    assert_eq!(refused, Some(StoreError::DiskFull));
    assert!(is_transient(&StoreError::DiskFull));
    let rows = store.placements(bob, inbox, Uid(1), 1_000).await.unwrap();
    assert_eq!(rows.len(), stored);
    server.psql("mail", "DROP TABLE waste");
    append(&house, &store, bob, "after").await.unwrap();
    house.finish(store).await;
}

/// Letters that do not compress.
fn noise(seed: u64) -> String {
    let mut text = String::new();
    for line in 0..2_000_u64 {
        let hash = blake3::hash(&(seed * 10_000 + line).to_le_bytes());
        text.push_str(hash.to_hex().as_str());
        text.push_str("\r\n");
    }
    text
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_page() {
    let mut server = Postgres::start(Flushed::No);
    let house = House::at(&server.database("mail"));
    let (store, alice, bob) = house.with_people().await;
    append(&house, &store, bob, "x").await.unwrap();
    let file = server.file_of("mail", "message");
    server.stop();
    let mut bytes = std::fs::read(&file).unwrap();
    let at = bytes.len() - 100;
    bytes[at] ^= 0x55;
    std::fs::write(&file, bytes).unwrap();
    server.begin();
    let inbox = store.mailbox(bob, "INBOX").await.unwrap().unwrap();
    let page = store.placements(bob, inbox.id, Uid(1), 10).await.unwrap();
    let error = store.structured(bob, &[page[0].message]).await.unwrap_err();
    names(&error, &["invalid page", "damaged", "restore a backup"]);
    assert!(is_transient(&error), "{error:?}");
    // What does not touch the page works.
    store
        .create_mailbox(alice, "Still here", None)
        .await
        .unwrap();
    store.close().await.unwrap();
}
