//! Checks and repairs: what is broken behind the store's back is found, told, and put right.

use std::sync::Arc;

use base::{AccountId, MessageId, Uid};
use pennyblack_store::backup::{BackupOptions, Progress, Watcher};
use pennyblack_store::{Store, VerifyOptions};

use crate::house::{House, letter};

fn nobody() -> Watcher {
    Arc::new(|_: Progress| {})
}

async fn with_mail(house: &House) -> (Store, AccountId, AccountId) {
    let (store, alice, bob) = house.with_people().await;
    for number in 0..8 {
        let text = letter(&format!("n{number}"));
        let to = [(alice, "alice@red.test"), (bob, "bob@red.test")];
        let delivery = house.delivery(&store, &text, &to).await;
        store.deliver(delivery).await.unwrap();
    }
    let inbox = store.mailbox(bob, "INBOX").await.unwrap().unwrap().id;
    let archive = store.mailbox(bob, "Archive").await.unwrap().unwrap().id;
    store.copy(bob, inbox, &[Uid(1)], archive).await.unwrap();
    let submission = house
        .submission(&store, &letter("queued"), alice, &["x@black.test"])
        .await;
    store.submit(submission).await.unwrap();
    (store, alice, bob)
}

/// Each kind of damage, by the words with which it is told.
const DAMAGES: &[(&str, &str)] = &[
    (
        "UPDATE account SET used_bytes = used_bytes + 7, messages = messages + 1",
        "bytes counted",
    ),
    (
        "UPDATE mailbox SET unseen = unseen + 3 WHERE account_id = 2",
        "its counters are wrong",
    ),
    (
        "UPDATE mailbox SET uid_next = 2 WHERE account_id = 2 AND name = 'INBOX'",
        "at or above UIDNEXT",
    ),
    (
        "INSERT INTO placement (account_id, mailbox_id, uid, message_id, modseq, deleted, seen,
            size, saved_at, keywords) VALUES (2, 1, 900, 900, 1, 0, 0, 10, 0, '')",
        "without its message",
    ),
    (
        "INSERT INTO placement (account_id, mailbox_id, uid, message_id, modseq, deleted, seen,
            size, saved_at, keywords) VALUES (2, 77, 1, 901, 1, 0, 0, 10, 0, '')",
        "without its mailbox",
    ),
    (
        "DELETE FROM placement WHERE account_id = 2 AND message_id = 3",
        "a message without a placement",
    ),
    (
        "UPDATE placement SET keywords = 'odd' WHERE account_id = 2 AND message_id = 1
            AND mailbox_id = 1",
        "different keywords",
    ),
    (
        "UPDATE account SET next_message_id = 2 WHERE account_id = 2",
        "an id that was not given out",
    ),
    (
        "UPDATE mailbox SET highest_modseq = 1 WHERE account_id = 2",
        "a modseq above",
    ),
    (
        "INSERT INTO expunged (account_id, mailbox_id, modseq, uid) VALUES (2, 1, 1, 5)",
        "noted as gone is there",
    ),
    (
        "INSERT INTO removed (account_id, message_id, removed_at, mailbox_id, mailbox_name,
            keywords) VALUES (2, 5, 0, 1, 'INBOX', '')",
        "noted as removed",
    ),
    (
        "INSERT INTO recipient (letter_id, recipient_id, address, domain, notify, attempts,
            delay_reported, held, next_at, reason, fence, node, incarnation)
            VALUES (7, 7, 'x@y.test', 'y.test', 0, 0, 0, 1, 0, '', 0, '', 0)",
        "a recipient without its letter",
    ),
];

/// Every kind of damage is found and put right.
pub(crate) async fn damages_are_found_and_repaired(house: &House) {
    let (store, _, bob) = with_mail(house).await;
    assert_eq!(bob, AccountId(2));
    for (sql, _) in DAMAGES {
        house.sql(sql);
    }
    let found = store
        .examine(&VerifyOptions::default(), nobody())
        .await
        .unwrap();
    for (_, words) in DAMAGES {
        assert!(
            found.iter().any(|finding| finding.what.contains(words)),
            "{words}: {found:?}"
        );
    }
    assert!(
        found
            .iter()
            .all(|finding| !finding.repaired && !finding.repair.is_empty())
    );
    let repair = VerifyOptions {
        repair: true,
        ..VerifyOptions::default()
    };
    let repaired = store.examine(&repair, nobody()).await.unwrap();
    let left: Vec<_> = repaired
        .iter()
        .filter(|finding| !finding.repaired)
        .collect();
    assert!(left.is_empty(), "{left:?}");
    assert_eq!(repaired.len(), found.len());
    // What there was to keep is there.
    let inbox = store.mailbox(bob, "INBOX").await.unwrap().unwrap();
    let rows = store.placements(bob, inbox.id, Uid(1), 100).await.unwrap();
    assert_eq!(rows.len(), 7);
    assert_eq!(inbox.status.messages, 7);
    let delivery = house
        .delivery(&store, &letter("after"), &[(bob, "bob@red.test")])
        .await;
    store.deliver(delivery).await.unwrap();
    house.finish(store).await;
}

/// Bytes that are lost, or changed under us, come back from a backup.
pub(crate) async fn lost_bytes_come_back_from_a_backup(house: &House) {
    let (store, alice, bob) = with_mail(house).await;
    let folder = house.path().join("backup");
    let options = BackupOptions {
        folder: folder.clone(),
        keep: None,
        with_key: false,
    };
    store.backup(options, nobody()).await.unwrap();
    let blob = |message: u32| {
        format!("(SELECT blob_hash FROM message WHERE account_id = 2 AND message_id = {message})")
    };
    house.sql(&format!("DELETE FROM blob WHERE hash = {}", blob(2)));
    let zeroes = match house.postgres {
        Some(_) => "decode('0000', 'hex')",
        None => "x'0000'",
    };
    house.sql(&format!(
        "UPDATE blob SET data = {zeroes}, segment = 0, place = 0, stored_bytes = 0
         WHERE hash = {}",
        blob(4)
    ));
    let quick = store
        .examine(&VerifyOptions::default(), nobody())
        .await
        .unwrap();
    let missing = quick
        .iter()
        .filter(|found| found.what.contains("its blob is missing"));
    assert_eq!(missing.count(), 2, "{quick:?}");
    let deep = VerifyOptions {
        deep: true,
        ..VerifyOptions::default()
    };
    let found = store.examine(&deep, nobody()).await.unwrap();
    let changed = found
        .iter()
        .filter(|found| found.what.contains("not what was stored"));
    assert_eq!(changed.count(), 1, "{found:?}");
    // Without a backup there is no way, and it is told.
    let repair = VerifyOptions {
        repair: true,
        ..deep
    };
    let tried = store.examine(&repair, nobody()).await.unwrap();
    assert!(
        tried
            .iter()
            .all(|found| !found.repaired && found.repair.contains("--backup"))
    );
    let repair = VerifyOptions {
        backup: Some(folder),
        ..repair
    };
    let repaired = store.examine(&repair, nobody()).await.unwrap();
    assert!(repaired.iter().all(|found| found.repaired), "{repaired:?}");
    for account in [alice, bob] {
        for (message, name) in [(2, "n1"), (4, "n3")] {
            let reader = store.body(account, MessageId(message)).await.unwrap();
            let bytes = reader.read(0..u64::MAX).await.unwrap();
            assert!(bytes.ends_with(letter(name).as_bytes()));
        }
    }
    house.finish(store).await;
}
