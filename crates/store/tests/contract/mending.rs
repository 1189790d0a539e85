//! Letters that come again although the bytes of their first copy are lost.

use base::AccountId;
use pennyblack_store::{BlobHome, Store, StoredCopy};

use crate::house::{House, letter};
use crate::objects::{is_whole, large, objects};

/// A small letter and one of several parts.
fn letters() -> [String; 2] {
    [letter("small"), large("large", 700_000)]
}

/// Each letter as one of its own.
async fn deliver_all(house: &House, store: &Store, bob: AccountId) -> Vec<(StoredCopy, String)> {
    let mut copies = Vec::new();
    for text in letters() {
        let to = [(bob, "bob@red.test")];
        let delivery = house.delivery(store, &text, &to).await;
        let delivered = store.deliver(delivery).await.unwrap();
        store.confirm(vec![delivered.letter]).await.unwrap();
        copies.push((delivered.stored[0], text));
    }
    copies
}

async fn are_whole(store: &Store, copies: &[(StoredCopy, String)]) {
    for (copy, text) in copies {
        is_whole(store, *copy, text).await;
    }
}

/// Loses all bytes outside the database: objects go, segment files are damaged.
fn lose(house: &House) {
    let mut lost = 0;
    if let Some(server) = &house.objects {
        for path in objects(server) {
            std::fs::remove_file(path).unwrap();
            lost += 1;
        }
    } else {
        for entry in std::fs::read_dir(house.path().join("data/segments")).unwrap() {
            let path = entry.unwrap().path();
            let zeroes = vec![0; std::fs::read(&path).unwrap().len()];
            std::fs::write(&path, zeroes).unwrap();
            lost += 1;
        }
    }
    assert!(lost > 0);
}

/// The same home, and then the database where letters were in that home.
async fn lost_bytes_are_stored_anew(mut house: House) {
    let (store, _, bob) = house.with_people().await;
    let mut copies = deliver_all(&house, &store, bob).await;
    are_whole(&store, &copies).await;
    lose(&house);
    copies.extend(deliver_all(&house, &store, bob).await);
    if let Some(server) = &house.objects {
        assert!(!objects(server).is_empty(), "what is cached is not stored");
    }
    are_whole(&store, &copies).await;
    // What is whole is not stored once more.
    let count = || house.objects.as_ref().map(|server| objects(server).len());
    let before = count();
    copies.extend(deliver_all(&house, &store, bob).await);
    assert_eq!(count(), before);
    house.finish(store).await;

    house.blobs = match std::mem::take(&mut house.blobs) {
        BlobHome::Objects(mut objects) => {
            objects.cache_bytes = 0;
            BlobHome::Leaving {
                home: Box::default(),
                objects,
            }
        }
        _ => BlobHome::Inline,
    };
    let store = house.open().await;
    are_whole(&store, &copies).await;
    lose(&house);
    copies.extend(deliver_all(&house, &store, bob).await);
    are_whole(&store, &copies).await;
    house.finish(store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_segments() {
    lost_bytes_are_stored_anew(House::segments()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_an_object_store() {
    lost_bytes_are_stored_anew(House::objects()).await;
}
