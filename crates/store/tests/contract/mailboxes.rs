//! Mailboxes and the messages in them.

use std::time::Duration;

use base::{AccountId, MailboxId, ModSeq, Uid};
use bytes::Bytes;
use pennyblack_store::{
    FlagChange, FlagOp, Keywords, PlacementRow, QuotaChange, Role, Store, StoreError,
};

use crate::house::{House, letter};

fn keywords(names: &[&str]) -> Keywords {
    names.iter().copied().collect()
}

fn flags(op: FlagOp, names: &[&str], deleted: bool) -> FlagChange {
    FlagChange {
        op,
        keywords: keywords(names),
        deleted,
        unchanged_since: None,
    }
}

async fn append(house: &House, store: &Store, to: (AccountId, MailboxId), name: &str) -> Uid {
    let bytes = Bytes::from(letter(name));
    let letter = store.letter(bytes).await.unwrap();
    let none = Keywords::default();
    store
        .append(to.0, to.1, letter, none, house.now())
        .await
        .unwrap()
        .uid
}

async fn id_of(store: &Store, account: AccountId, name: &str) -> MailboxId {
    store.mailbox(account, name).await.unwrap().unwrap().id
}

async fn rows(store: &Store, account: AccountId, mailbox: MailboxId) -> Vec<PlacementRow> {
    store
        .placements(account, mailbox, Uid(1), 1_000)
        .await
        .unwrap()
}

async fn names(store: &Store, account: AccountId) -> Vec<String> {
    let all = store.mailboxes(account).await.unwrap();
    all.into_iter().map(|mailbox| mailbox.name).collect()
}

/// Making, renaming, deleting.
pub(crate) async fn the_tree(house: &House) {
    let (store, _, bob) = house.with_people().await;
    let standard = ["INBOX", "Archive", "Drafts", "Junk", "Sent", "Trash"];
    assert_eq!(names(&store, bob).await, standard);
    let sent = store.mailbox(bob, "Sent").await.unwrap().unwrap();
    assert_eq!((sent.role, sent.subscribed), (Some(Role::Sent), true));
    let made = store
        .create_mailbox(bob, "Work/2026/Q1", None)
        .await
        .unwrap();
    assert_eq!(
        (made.name.as_str(), made.subscribed),
        ("Work/2026/Q1", false)
    );
    assert!(store.mailbox(bob, "Work/2026").await.unwrap().is_some());
    let again = store.create_mailbox(bob, "Work", None).await;
    assert_eq!(again.err(), Some(StoreError::Exists("mailbox")));
    assert!(matches!(
        store.create_mailbox(bob, "a//b", None).await,
        Err(StoreError::Invalid(_))
    ));
    let role = store.create_mailbox(bob, "Spam", Some(Role::Junk)).await;
    assert!(matches!(role, Err(StoreError::Exists(_))));
    store.set_subscribed(bob, "Work", true).await.unwrap();
    assert!(
        store
            .mailbox(bob, "Work")
            .await
            .unwrap()
            .unwrap()
            .subscribed
    );
    let parent = store.delete_mailbox(bob, "Work").await;
    assert!(matches!(parent, Err(StoreError::Invalid(_))));
    store.rename_mailbox(bob, "Work", "Old/Work").await.unwrap();
    let renamed = store
        .mailbox(bob, "Old/Work/2026/Q1")
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (renamed.id, renamed.uid_validity),
        (made.id, made.uid_validity)
    );
    let below = store.rename_mailbox(bob, "Old", "Old/x").await;
    assert!(matches!(below, Err(StoreError::Invalid(_))));
    let taken = store.rename_mailbox(bob, "Old", "Sent").await;
    assert_eq!(taken, Err(StoreError::Exists("mailbox")));
    store.delete_mailbox(bob, "Old/Work/2026/Q1").await.unwrap();
    let back = store
        .create_mailbox(bob, "Old/Work/2026/Q1", None)
        .await
        .unwrap();
    assert!(back.uid_validity > made.uid_validity, "the epoch is new");
    let inbox = store.delete_mailbox(bob, "inbox").await;
    assert!(matches!(inbox, Err(StoreError::Invalid(_))));
    let missing = store.delete_mailbox(bob, "nothing").await;
    assert_eq!(missing, Err(StoreError::NotFound("mailbox")));
    house.finish(store).await;
}

/// Renaming INBOX moves its messages, and INBOX stays.
pub(crate) async fn renaming_inbox(house: &House) {
    let (store, _, bob) = house.with_people().await;
    let inbox = id_of(&store, bob, "INBOX").await;
    for name in ["a", "b", "c"] {
        append(house, &store, (bob, inbox), name).await;
    }
    store.rename_mailbox(bob, "INBOX", "Saved").await.unwrap();
    assert!(rows(&store, bob, inbox).await.is_empty());
    let saved = id_of(&store, bob, "Saved").await;
    assert_eq!(rows(&store, bob, saved).await.len(), 3);
    house.finish(store).await;
}

/// A mailbox with more messages than one transaction takes.
pub(crate) async fn deleting_a_full_mailbox(house: &House) {
    let (store, _, bob) = house.with_people().await;
    let full = store.create_mailbox(bob, "Full", None).await.unwrap().id;
    for number in 0..450 {
        append(house, &store, (bob, full), &format!("n{number}")).await;
    }
    store.delete_mailbox(bob, "Full").await.unwrap();
    assert_eq!(store.account(bob).await.unwrap().messages, 0);
    let changes = store.mailbox_changes(bob, full, ModSeq(1)).await.unwrap();
    assert!(changes.mailbox_gone);
    house.finish(store).await;
}

/// A long history of removals goes in pieces, too; what is made under the name meanwhile stays.
pub(crate) async fn deleting_a_mailbox_with_a_past(house: &House) {
    let (store, _, bob) = house.with_people().await;
    let old = store.create_mailbox(bob, "Old", None).await.unwrap().id;
    let inbox = id_of(&store, bob, "INBOX").await;
    append(house, &store, (bob, inbox), "n").await;
    // Moved to and fro, one message leaves a removal each time.
    for uid in 1..=2_100 {
        let moved = store
            .move_messages(bob, inbox, &[Uid(uid)], old)
            .await
            .unwrap();
        let back = store
            .move_messages(bob, old, &[moved[0].to], inbox)
            .await
            .unwrap();
        assert_eq!(back[0].to, Uid(uid + 1));
    }
    store.delete_mailbox(bob, "Old").await.unwrap();
    let new = store.create_mailbox(bob, "Old", None).await.unwrap();
    let changes = store.mailbox_changes(bob, new.id, ModSeq(1)).await.unwrap();
    assert_eq!((changes.vanished.len(), changes.mailbox_gone), (0, false));
    let gone = store.mailbox_changes(bob, old, ModSeq(1)).await.unwrap();
    assert!(gone.mailbox_gone);
    house.finish(store).await;
}

/// Parents that a rename makes count as well.
pub(crate) async fn the_number_of_mailboxes(house: &House) {
    let (store, _, bob) = house.with_people().await;
    store.create_mailbox(bob, "x", None).await.unwrap();
    let mut names = names(&store, bob).await.len();
    let mut number = 0;
    let refused = loop {
        let deep: Vec<String> = (0..19).map(|level| format!("{number}-{level}")).collect();
        let to = format!("{}/x", deep.join("/"));
        let from = match number {
            0 => "x".to_owned(),
            _ => {
                let before = number - 1;
                let deep: Vec<String> = (0..19).map(|level| format!("{before}-{level}")).collect();
                format!("{}/x", deep.join("/"))
            }
        };
        if let Err(error) = store.rename_mailbox(bob, &from, &to).await {
            break error;
        }
        names += 19;
        number += 1;
        assert!(names <= 5_000);
    };
    assert!(matches!(refused, StoreError::Invalid(_)), "{refused:?}");
    assert!(names > 4_980, "{names}");
    house.finish(store).await;
}

/// Replace, add, remove; counters follow; keywords belong to the message, `\Deleted` to the place.
pub(crate) async fn flags_of_messages(house: &House) {
    let (store, _, bob) = house.with_people().await;
    let inbox = id_of(&store, bob, "INBOX").await;
    let archive = id_of(&store, bob, "Archive").await;
    let one = append(house, &store, (bob, inbox), "a").await;
    let two = append(house, &store, (bob, inbox), "b").await;
    store.copy(bob, inbox, &[one], archive).await.unwrap();
    let add = flags(FlagOp::Add, &["$seen", "todo"], true);
    let uids = [two, one, Uid(77)];
    let (now, left) = store.set_flags(bob, inbox, &uids, &add).await.unwrap();
    assert_eq!((now.len(), left.len()), (2, 0));
    assert!(
        now.iter()
            .all(|row| row.deleted && row.keywords == keywords(&["$seen", "todo"]))
    );
    let copy = rows(&store, bob, archive).await.remove(0);
    assert_eq!(copy.keywords, keywords(&["$seen", "todo"]));
    assert!(!copy.deleted);
    assert_eq!(
        copy.modseq, now[0].modseq,
        "every placement has the new modseq"
    );
    let status = store.mailbox(bob, "INBOX").await.unwrap().unwrap().status;
    assert_eq!((status.messages, status.unseen, status.deleted), (2, 0, 2));
    let remove = flags(FlagOp::Remove, &["$seen"], true);
    store.set_flags(bob, inbox, &[one], &remove).await.unwrap();
    let status = store.mailbox(bob, "Archive").await.unwrap().unwrap().status;
    assert_eq!(status.unseen, 1);
    let replace = flags(FlagOp::Replace, &["$flagged"], false);
    let (now, _) = store.set_flags(bob, inbox, &[two], &replace).await.unwrap();
    assert_eq!(
        (now[0].keywords.clone(), now[0].deleted),
        (keywords(&["$flagged"]), false)
    );
    // A change that changes nothing keeps the modseq.
    let (same, _) = store.set_flags(bob, inbox, &[two], &replace).await.unwrap();
    assert_eq!(same, now);
    let mut since = flags(FlagOp::Add, &["x"], false);
    since.unchanged_since = Some(ModSeq(now[0].modseq.0 - 1));
    let (rows, left) = store
        .set_flags(bob, inbox, &[one, two], &since)
        .await
        .unwrap();
    assert_eq!(left, [two]);
    assert_eq!(rows.len(), 2);
    let bad = flags(FlagOp::Add, &["two words"], false);
    let refused = store.set_flags(bob, inbox, &[one], &bad).await;
    assert!(matches!(refused, Err(StoreError::Invalid(_))));
    house.finish(store).await;
}

/// Copies share the message; into a mailbox that has it already, they are messages of their own.
pub(crate) async fn copying_and_moving(house: &House) {
    let (store, _, bob) = house.with_people().await;
    let inbox = id_of(&store, bob, "INBOX").await;
    let archive = id_of(&store, bob, "Archive").await;
    let one = append(house, &store, (bob, inbox), "a").await;
    let two = append(house, &store, (bob, inbox), "b").await;
    let copied = store.copy(bob, inbox, &[two, one], archive).await.unwrap();
    let pairs: Vec<_> = copied.iter().map(|pair| (pair.from, pair.to)).collect();
    assert_eq!(pairs, [(one, Uid(1)), (two, Uid(2))]);
    let source = rows(&store, bob, inbox).await;
    let target = rows(&store, bob, archive).await;
    assert_eq!(source[0].message, target[0].message);
    assert_eq!(store.account(bob).await.unwrap().messages, 2);
    store.copy(bob, inbox, &[one], archive).await.unwrap();
    let target = rows(&store, bob, archive).await;
    assert_ne!(target[2].message, target[0].message);
    let reader = store.body(bob, target[2].message).await.unwrap();
    assert_eq!(
        reader.read(0..u64::MAX).await.unwrap(),
        letter("a").as_bytes()
    );
    assert_eq!(store.account(bob).await.unwrap().messages, 3);
    let trash = id_of(&store, bob, "Trash").await;
    let moved = store
        .move_messages(bob, archive, &[Uid(2), Uid(3)], trash)
        .await
        .unwrap();
    assert_eq!(moved.len(), 2);
    assert_eq!(rows(&store, bob, archive).await.len(), 1);
    assert_eq!(rows(&store, bob, trash).await[0].message, source[1].message);
    // Within the mailbox: a new UID.
    let moved = store
        .move_messages(bob, trash, &[Uid(1)], trash)
        .await
        .unwrap();
    assert_eq!(moved[0].to, Uid(3));
    assert_eq!(rows(&store, bob, trash).await.len(), 2);
    let nowhere = store.copy(bob, inbox, &[one], MailboxId(999)).await;
    assert_eq!(nowhere.err(), Some(StoreError::NotFound("mailbox")));
    let foreign = store
        .copy(AccountId(1), inbox, &[one], archive)
        .await
        .unwrap();
    assert!(foreign.is_empty(), "another account's UIDs mean nothing");
    house.finish(store).await;
}

/// Expunge takes what is marked, and changes tell it, also after the log was cut.
pub(crate) async fn expunging_and_changes(house: &House) {
    let (store, _, bob) = house.with_people().await;
    let inbox = id_of(&store, bob, "INBOX").await;
    for name in ["a", "b", "c", "d"] {
        append(house, &store, (bob, inbox), name).await;
    }
    let before = store.mailbox_changes(bob, inbox, ModSeq(0)).await.unwrap();
    assert_eq!((before.changed.len(), before.uid_next), (4, Uid(5)));
    let marked = [Uid(1), Uid(2), Uid(4)];
    store
        .set_flags(bob, inbox, &marked, &flags(FlagOp::Add, &[], true))
        .await
        .unwrap();
    let some = store
        .expunge(bob, inbox, Some(&[Uid(2), Uid(3)]))
        .await
        .unwrap();
    assert_eq!(some, [Uid(2)]);
    let changes = store
        .mailbox_changes(bob, inbox, before.until)
        .await
        .unwrap();
    assert_eq!(changes.vanished, [Uid(2)]);
    let changed: Vec<_> = changes.changed.iter().map(|row| row.uid).collect();
    assert_eq!(changed, [Uid(1), Uid(4)]);
    assert_eq!(
        store.expunge(bob, inbox, None).await.unwrap(),
        [Uid(1), Uid(4)]
    );
    let nothing = store
        .mailbox_changes(bob, inbox, changes.until)
        .await
        .unwrap();
    assert_eq!(nothing.vanished, [Uid(1), Uid(4)]);
    let last = store
        .mailbox_changes(bob, inbox, nothing.until)
        .await
        .unwrap();
    assert!(last.changed.is_empty() && last.vanished.is_empty());
    assert_eq!(last.until, nothing.until);
    // Beyond the log every UID that is not there is told.
    house.pass(Duration::from_secs(31 * 24 * 3_600));
    store.maintain().await.unwrap();
    append(house, &store, (bob, inbox), "e").await;
    let old = store
        .mailbox_changes(bob, inbox, before.until)
        .await
        .unwrap();
    assert_eq!(old.vanished, [Uid(1), Uid(2), Uid(4)]);
    house.finish(store).await;
}

/// APPEND into what does not exist, over the quota, with a keyword that is none.
pub(crate) async fn bad_appends(house: &House) {
    let (store, _, bob) = house.with_people().await;
    let inbox = id_of(&store, bob, "INBOX").await;
    let letter = store.letter(Bytes::from(letter("x"))).await.unwrap();
    let append = async |account, mailbox, names: &[&str]| {
        let (letter, names) = (letter.clone(), keywords(names));
        store
            .append(account, mailbox, letter, names, house.now())
            .await
            .err()
    };
    let nowhere = append(bob, MailboxId(99), &[]).await;
    assert_eq!(nowhere, Some(StoreError::NotFound("mailbox")));
    let nobody = append(AccountId(99), inbox, &[]).await;
    assert_eq!(nobody, Some(StoreError::NotFound("account")));
    let keyword = append(bob, inbox, &["ä"]).await;
    assert!(matches!(keyword, Some(StoreError::Invalid(_))));
    let long = |last: usize| -> Vec<String> {
        let full = (0..4).map(|number| format!("{number}{}", "k".repeat(203)));
        full.chain([format!("4{}", "k".repeat(last - 1))]).collect()
    };
    // With the spaces between them, these are 1,025 bytes.
    let too_long = long(205);
    let too_long: Vec<&str> = too_long.iter().map(String::as_str).collect();
    let keyword = append(bob, inbox, &too_long).await;
    assert!(matches!(keyword, Some(StoreError::Invalid(_))));
    let just = long(204);
    let just: Vec<&str> = just.iter().map(String::as_str).collect();
    assert_eq!(append(bob, inbox, &just).await, None);
    store
        .set_quota(bob, QuotaChange::AtMost(10), QuotaChange::Keep)
        .await
        .unwrap();
    assert_eq!(append(bob, inbox, &[]).await, Some(StoreError::OverQuota));
    assert_eq!(store.account(bob).await.unwrap().messages, 1);
    house.finish(store).await;
}
