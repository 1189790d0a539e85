//! Letters in an object store: what its faults do to mail, what a crash leaves, how letters come
//! there and leave it again.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use base::Class;
use base::error::Classified;
use bytes::Bytes;
use interop::s3::{Fault, Garage, Method, S3Server};
use pennyblack_store::backup::{BackupOptions, Watcher};
use pennyblack_store::{
    BlobHome, BlobMove, BodyReader, ObjectOptions, Store, StoreError, StoredCopy, VerifyOptions,
};

use super::house::{House, letter, object_options};
use super::{delivering, queueing, together};

const FOREVER: usize = usize::MAX;
const HOUR: Duration = Duration::from_secs(3_600);
/// Letters up to this size stay in the rows, where it matters.
const SMALL: u64 = 16 * 1024;

/// A letter of about so many bytes that do not compress.
pub(crate) fn large(name: &str, bytes: usize) -> String {
    let mut text = letter(name);
    let mut hash = blake3::hash(name.as_bytes());
    while text.len() < bytes {
        text.push_str(&hash.to_hex());
        text.push_str("\r\n");
        hash = blake3::hash(hash.as_bytes());
    }
    text
}

async fn deliver(house: &House, store: &Store, text: &str) -> Result<StoredCopy, StoreError> {
    let accounts = store.accounts().await.unwrap();
    let bob = accounts
        .iter()
        .find(|account| account.address.to_string() == "bob@red.test");
    let to = [(bob.unwrap().id, "bob@red.test")];
    let delivered = store
        .deliver(house.delivery(store, text, &to).await)
        .await?;
    Ok(delivered.stored[0])
}

async fn read(store: &Store, copy: StoredCopy) -> Result<Bytes, StoreError> {
    let reader = store.body(copy.account, copy.message).await.unwrap();
    read_all(&reader).await
}

async fn read_all(reader: &BodyReader) -> Result<Bytes, StoreError> {
    let mut all = Vec::new();
    while (all.len() as u64) < reader.size() {
        let from = all.len() as u64;
        all.extend_from_slice(&reader.read(from..u64::MAX).await?);
    }
    Ok(all.into())
}

pub(crate) async fn is_whole(store: &Store, copy: StoredCopy, text: &str) {
    let bytes = read(store, copy).await.unwrap();
    assert!(bytes.ends_with(text.as_bytes()));
}

fn server(house: &House) -> &S3Server {
    house.objects.as_ref().unwrap()
}

/// The options of a house's object store, to change.
fn options(house: &mut House) -> &mut ObjectOptions {
    match &mut house.blobs {
        BlobHome::Objects(options) => options,
        other => panic!("{other:?}"),
    }
}

/// Names of the objects, without the note of whose they are.
pub(crate) fn objects(server: &S3Server) -> Vec<std::path::PathBuf> {
    let mut objects = server.objects();
    objects.retain(|path| !path.ends_with("pennyblack-store"));
    objects
}

/// Sets when the object store took its objects.
fn age(house: &House, server: &S3Server) {
    let millis = u64::try_from(house.now().millis()).unwrap();
    let time = SystemTime::UNIX_EPOCH + Duration::from_millis(millis);
    for path in server.objects() {
        let file = std::fs::File::options().write(true).open(path).unwrap();
        file.set_modified(time).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_defers_letters_and_loses_none() {
    let mut house = House::objects();
    options(&mut house).timeout = Duration::from_millis(1_200);
    let (store, _, bob) = house.with_people().await;
    let before = deliver(&house, &store, &letter("before")).await.unwrap();
    let switch = server(&house).switch();
    for fault in [
        Fault::Status(500),
        Fault::Status(503),
        Fault::Status(403),
        Fault::Silent,
        Fault::Slow(Duration::from_secs(2)),
        Fault::LostReply,
    ] {
        switch.fail(Method::Any, fault, FOREVER);
        let name = format!("during {fault:?}");
        let error = deliver(&house, &store, &letter(&name)).await.unwrap_err();
        // What becomes 451 for the sender.
        assert_eq!(error.class(), Class::Transient, "{error}");
        assert!(
            error.to_string().contains("object store s3://letters/mail"),
            "{error}"
        );
        let (text, to) = (letter(&name), ["carol@black.test"]);
        let submission = house.submission(&store, &text, bob, &to).await;
        assert!(store.submit(submission).await.is_err());
        // What is cached can be read all the while.
        is_whole(&store, before, &letter("before")).await;
        switch.heal();
        let text = letter(&format!("after {fault:?}"));
        let after = deliver(&house, &store, &text).await.unwrap();
        is_whole(&store, after, &text).await;
    }
    let count = store.accounts().await.unwrap();
    let bob = count.iter().find(|account| account.id == bob).unwrap();
    assert_eq!(bob.messages, 7, "only what was acknowledged is there");
    house.finish(store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_read_is_told_and_never_wrong() {
    let mut house = House::objects();
    options(&mut house).timeout = Duration::from_millis(1_200);
    options(&mut house).cache_bytes = 0;
    let (store, _, _) = house.with_people().await;
    let text = large("one", 600_000);
    let copy = deliver(&house, &store, &text).await.unwrap();
    let server = server(&house);
    server.switch().fail(Method::Get, Fault::WrongBytes, 1);
    is_whole(&store, copy, &text).await;
    for (fault, says) in [
        (Fault::WrongBytes, "is not what was written"),
        (Fault::Status(503), "SlowDown"),
        (Fault::Status(404), "the object store has not its object"),
        (Fault::Cut, "the connection broke"),
    ] {
        server.switch().fail(Method::Get, fault, FOREVER);
        let error = read(&store, copy).await.unwrap_err().to_string();
        assert!(error.contains(says), "{fault:?}: {error}");
        server.switch().heal();
        is_whole(&store, copy, &text).await;
    }
    store.close().await.unwrap();
}

/// What cannot be read now is no loss: a check and a backup fail, and a repair whose letters cannot be
/// put away leaves what is there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_is_no_loss() {
    let mut house = House::objects();
    options(&mut house).timeout = Duration::from_millis(600);
    options(&mut house).cache_bytes = 0;
    let (store, _, _) = house.with_people().await;
    let text = large("one", 600_000);
    let copy = deliver(&house, &store, &text).await.unwrap();
    let backup = |name: &str| BackupOptions {
        folder: house.path().join(name),
        keep: None,
        with_key: false,
    };
    let deep = VerifyOptions {
        deep: true,
        ..VerifyOptions::default()
    };
    let server = server(&house);
    let watcher = || -> Watcher { Arc::new(|_| {}) };
    for fault in [Fault::Status(503), Fault::Status(403), Fault::Silent] {
        server.switch().fail(Method::Get, fault, FOREVER);
        let checked = store.examine(&deep, watcher()).await;
        assert!(
            matches!(checked, Err(StoreError::Io(_))),
            "{fault:?}: {checked:?}"
        );
        let kept = store.backup(backup("during"), watcher()).await;
        assert!(
            matches!(kept, Err(StoreError::Io(_))),
            "{fault:?}: {kept:?}"
        );
        server.switch().heal();
    }
    assert_eq!(store.examine(&deep, watcher()).await.unwrap(), []);
    let made = store.backup(backup("whole"), watcher()).await.unwrap();
    assert!(made.point.lost.is_empty());
    // Damaged for good: that is a loss, for both.
    let path = objects(server).remove(0);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[1_000] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let found = store.examine(&deep, watcher()).await.unwrap();
    assert_eq!(found.len(), 1, "{found:?}");
    let made = store.backup(backup("after"), watcher()).await.unwrap();
    assert_eq!(made.point.lost.len(), 1);
    server
        .switch()
        .fail(Method::Put, Fault::Status(503), FOREVER);
    let repair = VerifyOptions {
        repair: true,
        backup: Some(house.path().join("whole")),
        ..deep
    };
    let failed = store.examine(&repair, watcher()).await;
    assert!(matches!(failed, Err(StoreError::Io(_))), "{failed:?}");
    server.switch().heal();
    let left = read(&store, copy).await.unwrap_err().to_string();
    assert!(left.contains("is not what was written"), "{left}");
    let repaired = store.examine(&repair, watcher()).await.unwrap();
    assert!(repaired.len() == 1 && repaired[0].repaired, "{repaired:?}");
    is_whole(&store, copy, &text).await;
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_setup_is_refused_when_the_store_opens() {
    let mut house = House::objects();
    let refused = async |house: &House, says: &str| {
        let error = Store::open(house.options()).await.map(|_| ()).unwrap_err();
        assert_eq!(error.class(), Class::Permanent, "{error}");
        assert!(error.to_string().contains(says), "{error}");
    };
    let right = options(&mut house).clone();
    options(&mut house).bucket = "nobodys".to_owned();
    refused(&house, "there is no such bucket").await;
    *options(&mut house) = right.clone();
    options(&mut house).keys = None;
    refused(&house, "set AWS_ACCESS_KEY_ID").await;
    *options(&mut house) = right.clone();
    options(&mut house).keys.as_mut().unwrap().key_id = "NOBODY".to_owned();
    refused(&house, "AWS_ACCESS_KEY_ID").await;
    *options(&mut house) = right.clone();
    house.open().await.close().await.unwrap();

    // Another store in the same folder of the bucket.
    let mut other = House::sqlite();
    other.blobs = BlobHome::Objects(right.clone());
    other.seed = 7;
    refused(&other, "holds the letters of another store").await;
    // Nor does it put letters there if nobody could be asked when it was opened.
    options(&mut other).timeout = Duration::from_millis(1_200);
    let switch = server(&house).switch();
    switch.fail(Method::Any, Fault::Status(503), FOREVER);
    let (store, _, _) = other.with_people().await;
    switch.heal();
    let error = deliver(&other, &store, &letter("strange")).await;
    let error = error.unwrap_err();
    assert_eq!(error.class(), Class::Transient, "{error}");
    let says = "holds the letters of another store";
    assert!(error.to_string().contains(says), "{error}");
    store.close().await.unwrap();

    // One that is away now is no reason not to start: what is cached can be read.
    options(&mut house).timeout = Duration::from_millis(1_200);
    let (store, _, _) = house.with_people().await;
    let copy = deliver(&house, &store, &letter("cached")).await.unwrap();
    store.close().await.unwrap();
    server(&house)
        .switch()
        .fail(Method::Any, Fault::Status(503), FOREVER);
    let store = house.open().await;
    is_whole(&store, copy, &letter("cached")).await;
    assert!(deliver(&house, &store, &letter("later")).await.is_err());
    server(&house).switch().heal();
    deliver(&house, &store, &letter("later")).await.unwrap();
    house.finish(store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn letters_are_read_again_from_the_cache() {
    let house = House::objects();
    let (store, _, _) = house.with_people().await;
    let text = large("one", 600_000);
    let copy = deliver(&house, &store, &text).await.unwrap();
    // Whatever asks for the letter now would fail.
    let switch = server(&house).switch();
    let away = || switch.fail(Method::Get, Fault::Status(404), FOREVER);
    away();
    is_whole(&store, copy, &text).await;
    store.close().await.unwrap();
    switch.heal();
    let store = house.open().await;
    away();
    is_whole(&store, copy, &text).await;
    store.close().await.unwrap();
    switch.heal();
    std::fs::remove_dir_all(house.path().join("data/cache")).unwrap();
    let store = house.open().await;
    is_whole(&store, copy, &text).await;
    away();
    is_whole(&store, copy, &text).await;
    switch.heal();
    house.finish(store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn objects_go_with_their_letters_and_orphans_after_a_day() {
    let mut house = House::objects();
    options(&mut house).timeout = Duration::from_millis(1_200);
    let (store, _, bob) = house.with_people().await;
    store.maintain().await.unwrap();
    deliver(&house, &store, &letter("stays")).await.unwrap();
    let stays = objects(server(&house));
    // The upload comes through, its answer does not: the letter is not acknowledged.
    server(&house)
        .switch()
        .fail(Method::Put, Fault::LostReply, FOREVER);
    deliver(&house, &store, &letter("orphan"))
        .await
        .unwrap_err();
    server(&house).switch().heal();
    assert_eq!(objects(server(&house)).len(), 2);
    let foreign = stays[0].with_file_name("notes.txt");
    std::fs::write(&foreign, "not ours").unwrap();
    age(&house, server(&house));
    house.pass(HOUR * 23);
    store.maintain().await.unwrap();
    assert_eq!(
        objects(server(&house)).len(),
        3,
        "young ones may be about to be named"
    );
    house.pass(HOUR * 2);
    // Not while the object store fails, and the other work goes on then.
    server(&house)
        .switch()
        .fail(Method::Get, Fault::Status(503), FOREVER);
    store.maintain().await.unwrap();
    server(&house).switch().heal();
    assert_eq!(objects(server(&house)).len(), 3);
    house.pass(HOUR);
    store.maintain().await.unwrap();
    let mut left = stays.clone();
    left.push(foreign.clone());
    left.sort();
    assert_eq!(objects(server(&house)), left);

    store.remove_account(bob).await.unwrap();
    // A removal that fails is done later.
    server(&house)
        .switch()
        .fail(Method::Delete, Fault::Status(500), FOREVER);
    house.pass(HOUR * 2);
    store.maintain().await.unwrap();
    server(&house).switch().heal();
    assert_eq!(objects(server(&house)), left);
    house.pass(HOUR * 30);
    store.maintain().await.unwrap();
    assert_eq!(objects(server(&house)), [foreign]);
    house.finish(store).await;
}

/// Moves all, in small steps.
async fn move_all(store: &Store) -> BlobMove {
    let mut progress = BlobMove::default();
    while !progress.is_done {
        progress = store
            .bring_blobs_home(progress, Duration::from_millis(1))
            .await
            .unwrap();
    }
    progress
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn letters_move_between_homes_and_back() {
    let mut house = House::sqlite();
    let bucket = S3Server::start();
    let mut away = object_options(&bucket.access());
    away.inline_bytes_max = SMALL;
    let (store, _, _) = house.with_people().await;
    let mut letters = Vec::new();
    for number in 0..30 {
        let size = [1_000, 20_000, 300_000, 1_500_000][number % 4];
        let text = large(&number.to_string(), size);
        letters.push((deliver(&house, &store, &text).await.unwrap(), text));
    }
    store.close().await.unwrap();
    let segments = BlobHome::Segments {
        folder: None,
        inline_bytes_max: SMALL,
    };
    let leaving = |home: BlobHome| BlobHome::Leaving {
        home: Box::new(home),
        objects: away.clone(),
    };
    for (home, moved, in_bucket) in [
        (BlobHome::Objects(away.clone()), 22, 22),
        (leaving(segments.clone()), 22, 0),
        (BlobHome::Objects(away.clone()), 22, 22),
        (leaving(BlobHome::Inline), 22, 0),
        (segments.clone(), 22, 0),
        (BlobHome::Inline, 22, 0),
        (BlobHome::Objects(away.clone()), 22, 22),
    ] {
        house.blobs = home;
        let store = house.open().await;
        let reader = store
            .body(letters[3].0.account, letters[3].0.message)
            .await
            .unwrap();
        for (copy, text) in &letters {
            is_whole(&store, *copy, text).await;
        }
        let progress = move_all(&store).await;
        assert_eq!(
            (progress.seen, progress.moved, progress.left),
            (30, moved, 0)
        );
        assert_eq!(store.count_blobs().await.unwrap(), 30);
        assert_eq!(objects(&bucket).len(), in_bucket);
        // One that was open all the while finds its letter in the new place.
        assert!(
            read_all(&reader)
                .await
                .unwrap()
                .ends_with(letters[3].1.as_bytes())
        );
        for (copy, text) in &letters {
            is_whole(&store, *copy, text).await;
        }
        assert_eq!(move_all(&store).await.moved, 0);
        house.finish(store).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_move_goes_on_after_faults_and_beside_mail() {
    let mut house = House::sqlite();
    let bucket = S3Server::start();
    let mut away = object_options(&bucket.access());
    away.timeout = Duration::from_millis(1_200);
    let (store, _, bob) = house.with_people().await;
    let mut letters = Vec::new();
    for number in 0..40 {
        let text = large(&number.to_string(), 30_000);
        letters.push((deliver(&house, &store, &text).await.unwrap(), text));
    }
    store.close().await.unwrap();
    house.blobs = BlobHome::Objects(away);
    let store = house.open().await;
    let switch = bucket.switch();
    switch.fail(Method::Put, Fault::Status(500), FOREVER);
    let begun = BlobMove::default();
    let error = store
        .bring_blobs_home(begun, Duration::from_secs(60))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("InternalError"), "{error}");
    switch.heal();
    let house = Arc::new(house);
    let mail = {
        let (house, store) = (Arc::clone(&house), store.clone());
        tokio::spawn(async move {
            let mut letters = Vec::new();
            for number in 0..20 {
                let text = large(&format!("new {number}"), 30_000);
                letters.push((deliver(&house, &store, &text).await.unwrap(), text));
            }
            letters
        })
    };
    let progress = move_all(&store).await;
    assert!(progress.moved <= 40 && progress.left == 0, "{progress:?}");
    letters.extend(mail.await.unwrap());
    for (copy, text) in &letters {
        is_whole(&store, *copy, text).await;
    }
    assert_eq!(move_all(&store).await.moved, 0);
    let counted = store.accounts().await.unwrap();
    let bob = counted.iter().find(|account| account.id == bob).unwrap();
    assert_eq!(bob.messages, 60);
    // All of them and what the fault left, which goes as orphans.
    assert!(objects(&bucket).len() >= 60);
    age(&house, &bucket);
    house.pass(HOUR * 25);
    store.maintain().await.unwrap();
    assert_eq!(objects(&bucket).len(), 60);
    house.finish(store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_postgres() {
    let bucket = S3Server::start();
    let mut away = object_options(&bucket.access());
    away.inline_bytes_max = SMALL;
    let mut house = House::postgres();
    let (store, _, bob) = house.with_people().await;
    let mut letters = Vec::new();
    for size in [1_000, 20_000, 300_000, 1_500_000] {
        let text = large(&size.to_string(), size);
        letters.push((deliver(&house, &store, &text).await.unwrap(), text));
    }
    store.close().await.unwrap();
    let leaving = BlobHome::Leaving {
        home: Box::new(BlobHome::Inline),
        objects: away.clone(),
    };
    let home = BlobHome::Objects(away);
    for (home, in_bucket) in [(home.clone(), 3), (leaving, 0), (home, 3)] {
        house.blobs = home;
        let store = house.open().await;
        assert_eq!(move_all(&store).await.moved, 3);
        assert_eq!(objects(&bucket).len(), in_bucket);
        for (copy, text) in &letters {
            is_whole(&store, *copy, text).await;
        }
        house.finish(store).await;
    }
    let store = house.open().await;
    let text = large("later", 600_000);
    let copy = deliver(&house, &store, &text).await.unwrap();
    is_whole(&store, copy, &text).await;
    store.remove_account(bob).await.unwrap();
    house.pass(HOUR * 2);
    store.maintain().await.unwrap();
    assert_eq!(objects(&bucket).len(), 0);
    house.finish(store).await;
}

/// A house whose letters are in Garage, in a folder of their own.
fn in_garage(garage: &Garage, folder: &str) -> House {
    let mut house = House::sqlite();
    let mut options = object_options(&garage.access());
    folder.clone_into(&mut options.prefix);
    house.blobs = BlobHome::Objects(options);
    house
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Garage: `make test-cluster` runs it"]
async fn garage() {
    let garage = Garage::start();
    delivering::a_letter_travels(&in_garage(&garage, "travels")).await;
    delivering::a_large_letter(&in_garage(&garage, "large")).await;
    delivering::one_letter_many_recipients(&in_garage(&garage, "many")).await;
    delivering::blobs_are_shared_and_collected(&in_garage(&garage, "collected")).await;
    queueing::submissions(&in_garage(&garage, "submissions")).await;
    together::each_verb_from_many_tasks(&in_garage(&garage, "together")).await;

    let house = in_garage(&garage, "faults");
    let (store, _, _) = house.with_people().await;
    let text = large("one", 600_000);
    let copy = deliver(&house, &store, &text).await.unwrap();
    garage
        .switch()
        .fail(Method::Any, Fault::Status(503), FOREVER);
    let error = deliver(&house, &store, &letter("two")).await.unwrap_err();
    assert_eq!(error.class(), Class::Transient, "{error}");
    garage.switch().heal();
    std::fs::remove_dir_all(Path::new(&house.path().join("data/cache"))).unwrap();
    is_whole(&store, copy, &text).await;
    house.finish(store).await;
}
