//! What is deleted and comes back, or goes for good: messages, old mail in Trash, accounts.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use base::limits::{Limits, Retention};
use base::{AccountId, MailboxId, Uid};
use pennyblack_store::{
    FlagChange, FlagOp, Keywords, PlacementRow, QuotaChange, Refusal, RemovedFilter, Resolved,
    Role, Store, StoreError, Target,
};

use crate::house::{House, address, domain, letter, person, secret};

const DAY: Duration = Duration::from_secs(24 * 3_600);
const INBOX: MailboxId = MailboxId(1);
const ARCHIVE: MailboxId = MailboxId(4);
const JUNK: MailboxId = MailboxId(5);
const TRASH: MailboxId = MailboxId(6);

fn keywords(names: &[&str]) -> Keywords {
    names.iter().copied().collect()
}

async fn append(house: &House, store: &Store, who: AccountId, place: MailboxId, name: &str) -> Uid {
    let text = house.letter(store, name).await;
    let words = keywords(&["$seen", "blue"]);
    let appended = store.append(who, place, text, words, house.now() - DAY);
    appended.await.unwrap().uid
}

async fn list(store: &Store, account: AccountId, mailbox: MailboxId) -> Vec<PlacementRow> {
    let page = store.placements(account, mailbox, Uid(1), 10_000).await;
    page.unwrap()
}

/// Marks all messages of a mailbox with \\Deleted and expunges them.
async fn expunge(store: &Store, account: AccountId, mailbox: MailboxId) -> usize {
    let all = list(store, account, mailbox).await;
    let uids: Vec<Uid> = all.iter().map(|row| row.uid).collect();
    let change = FlagChange {
        op: FlagOp::Add,
        keywords: Keywords::default(),
        deleted: true,
        unchanged_since: None,
    };
    let marked = store.set_flags(account, mailbox, &uids, &change).await;
    marked.unwrap();
    store.expunge(account, mailbox, None).await.unwrap().len()
}

async fn opened_with(house: &House, retention: Retention) -> Store {
    let mut options = house.options();
    options.limits = Arc::new(Limits {
        retention,
        ..Limits::default()
    });
    Store::open(options).await.unwrap()
}

fn everything() -> RemovedFilter {
    RemovedFilter::default()
}

/// Thread, keywords, dates and bytes stay; the UID is new, and the counters are right.
pub(crate) async fn deleted_mail_comes_back_as_it_was(house: &House) {
    let (store, _, bob) = house.with_people().await;
    append(house, &store, bob, INBOX, "a").await;
    let before = list(&store, bob, INBOX).await;
    let meta = store
        .message_metas(bob, &[before[0].message])
        .await
        .unwrap();
    let used = store.account(bob).await.unwrap().used_bytes;
    house.pass(Duration::from_secs(5));
    assert_eq!(expunge(&store, bob, INBOX).await, 1);
    let info = store.account(bob).await.unwrap();
    assert_eq!((info.used_bytes, info.messages), (0, 0));
    assert_eq!((info.removed_bytes, info.removed_messages), (used, 1));
    let removed = store.removed(bob, &everything(), None).await.unwrap();
    assert_eq!(removed.len(), 1);
    assert_eq!(removed[0].message, before[0].message);
    assert_eq!(removed[0].mailbox_name, "INBOX");
    assert_eq!(removed[0].removed_at, house.now());
    assert_eq!(removed[0].subject, "a");
    assert_eq!(removed[0].from, "carol@black.test");
    assert_eq!(removed[0].keywords, keywords(&["$seen", "blue"]));
    assert_eq!(store.verify().await.unwrap(), Vec::<String>::new());
    assert_eq!(store.recover(bob, &everything(), None).await, Ok(1));
    let after = list(&store, bob, INBOX).await;
    assert_eq!(after[0].uid, Uid(2), "a UID is never used again");
    assert_eq!(after[0].message, before[0].message);
    assert_eq!(after[0].keywords, before[0].keywords);
    assert!(!after[0].deleted);
    let again = store.message_metas(bob, &[after[0].message]).await.unwrap();
    assert_eq!(again, meta);
    let reader = store.body(bob, after[0].message).await.unwrap();
    let bytes = reader.read(0..u64::MAX).await.unwrap();
    assert_eq!(bytes, letter("a").as_bytes());
    let info = store.account(bob).await.unwrap();
    assert_eq!((info.used_bytes, info.messages), (used, 1));
    assert_eq!((info.removed_bytes, info.removed_messages), (0, 0));
    let inbox = store.mailbox(bob, "INBOX").await.unwrap().unwrap();
    assert_eq!((inbox.status.messages, inbox.status.unseen), (1, 0));
    assert_eq!(store.recover(bob, &everything(), None).await, Ok(0));
    house.finish(store).await;
}

/// More than one page and one piece, listed and recovered without holes.
pub(crate) async fn many_come_back_in_pieces(house: &House) {
    let (store, _, bob) = house.with_people().await;
    for round in 0..3 {
        for number in 0..150 {
            append(house, &store, bob, INBOX, &format!("{round}-{number}")).await;
        }
        house.pass(Duration::from_secs(60));
        assert_eq!(expunge(&store, bob, INBOX).await, 150);
    }
    let mut found = BTreeSet::new();
    let mut after = None;
    loop {
        let page = store.removed(bob, &everything(), after).await.unwrap();
        let Some(last) = page.last() else { break };
        assert!(page.len() <= 200);
        after = Some(last.cursor());
        found.extend(page.iter().map(|removed| removed.message));
    }
    assert_eq!(found.len(), 450);
    let late = RemovedFilter {
        since: Some(house.now() - Duration::from_secs(60)),
        ..everything()
    };
    assert_eq!(store.recover(bob, &late, None).await, Ok(300));
    assert_eq!(list(&store, bob, INBOX).await.len(), 300);
    let some: BTreeSet<_> = found.iter().copied().take(3).collect();
    let named = RemovedFilter {
        messages: some,
        ..everything()
    };
    assert_eq!(store.recover(bob, &named, None).await, Ok(3));
    let forgotten = store.forget_removed(bob, &everything()).await;
    assert_eq!(forgotten, Ok(147));
    assert_eq!(list(&store, bob, INBOX).await.len(), 303);
    house.finish(store).await;
}

/// Into the old mailbox, also under its new name; into one made again, with its role; elsewhere.
pub(crate) async fn where_deleted_mail_goes(house: &House) {
    let (store, _, bob) = house.with_people().await;
    let work = store.create_mailbox(bob, "Work/2026", None).await.unwrap();
    append(house, &store, bob, work.id, "a").await;
    append(house, &store, bob, TRASH, "b").await;
    assert_eq!(expunge(&store, bob, work.id).await, 1);
    store.delete_mailbox(bob, "Trash").await.unwrap();
    store.rename_mailbox(bob, "Work/2026", "Old").await.unwrap();
    assert_eq!(store.recover(bob, &everything(), None).await, Ok(2));
    assert_eq!(list(&store, bob, work.id).await.len(), 1);
    let trash = store.mailbox(bob, "Trash").await.unwrap().unwrap();
    assert_eq!(trash.role, Some(Role::Trash));
    assert!(trash.id > TRASH);
    assert_eq!(trash.status.messages, 1);
    // A message in two mailboxes is deleted with the second.
    store.copy(bob, trash.id, &[Uid(1)], ARCHIVE).await.unwrap();
    assert_eq!(expunge(&store, bob, trash.id).await, 1);
    assert!(
        store
            .removed(bob, &everything(), None)
            .await
            .unwrap()
            .is_empty()
    );
    assert_eq!(expunge(&store, bob, ARCHIVE).await, 1);
    store.delete_mailbox(bob, "Old").await.unwrap();
    let of_archive = RemovedFilter {
        mailbox: Some("Archive".to_owned()),
        ..everything()
    };
    let to = Some("Back/From the dead");
    assert_eq!(store.recover(bob, &of_archive, to).await, Ok(1));
    let back = store.mailbox(bob, "Back/From the dead").await.unwrap();
    assert_eq!(back.unwrap().status.messages, 1);
    let left = store.removed(bob, &everything(), None).await.unwrap();
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].mailbox_name, "Old");
    let bad = store.recover(bob, &everything(), Some("a//b")).await;
    assert!(matches!(bad, Err(StoreError::Invalid(_))), "{bad:?}");
    house.finish(store).await;
}

/// What is deleted frees the quota at once; coming back takes room.
pub(crate) async fn recovering_keeps_to_the_quota(house: &House) {
    let (store, _, bob) = house.with_people().await;
    let at_most = QuotaChange::AtMost(1);
    let quota = store.set_quota(bob, QuotaChange::Keep, at_most).await;
    quota.unwrap();
    append(house, &store, bob, INBOX, "a").await;
    assert_eq!(expunge(&store, bob, INBOX).await, 1);
    let room = store.resolve(&address("bob@red.test")).await.unwrap();
    assert_eq!(room, Resolved::Targets(vec![Target::Account(bob)]));
    append(house, &store, bob, INBOX, "b").await;
    let full = store.recover(bob, &everything(), None).await;
    assert_eq!(full, Err(StoreError::OverQuota));
    assert_eq!(list(&store, bob, INBOX).await.len(), 1);
    assert_eq!(expunge(&store, bob, INBOX).await, 1);
    let both = store.recover(bob, &everything(), None).await;
    assert_eq!(
        both,
        Err(StoreError::OverQuota),
        "a piece comes whole or not"
    );
    let lifted = store
        .set_quota(bob, QuotaChange::Keep, QuotaChange::Lift)
        .await;
    lifted.unwrap();
    assert_eq!(store.recover(bob, &everything(), None).await, Ok(2));
    house.finish(store).await;
}

/// At the limit it is still there, and one moment later the message and its blob go.
pub(crate) async fn the_time_is_over(house: &House) {
    let (store, alice, bob) = house.with_people().await;
    append(house, &store, bob, INBOX, "a").await;
    let message = list(&store, bob, INBOX).await[0].message;
    assert_eq!(expunge(&store, bob, INBOX).await, 1);
    house.pass(DAY * 14 - Duration::from_millis(1));
    store.maintain().await.unwrap();
    assert_eq!(
        store.removed(bob, &everything(), None).await.unwrap().len(),
        1
    );
    assert_eq!(store.blob_usage().await.unwrap().blobs, 1);
    house.pass(Duration::from_millis(1));
    store.maintain().await.unwrap();
    assert!(
        store
            .removed(bob, &everything(), None)
            .await
            .unwrap()
            .is_empty()
    );
    let gone = store.body(bob, message).await.err();
    assert_eq!(gone, Some(StoreError::NotFound("message")));
    house.pass(DAY);
    store.maintain().await.unwrap();
    assert_eq!(store.blob_usage().await.unwrap().blobs, 0);
    // An account goes with what it has deleted.
    append(house, &store, alice, INBOX, "b").await;
    assert_eq!(expunge(&store, alice, INBOX).await, 1);
    store.remove_account(alice).await.unwrap();
    assert!(
        store
            .removed(alice, &everything(), None)
            .await
            .unwrap()
            .is_empty()
    );
    house.pass(DAY);
    store.maintain().await.unwrap();
    assert_eq!(store.blob_usage().await.unwrap().blobs, 0);
    house.finish(store).await;
}

/// A row of a deleted message that is not there keeps the others from nothing.
pub(crate) async fn what_is_broken_holds_nothing_up(house: &House) {
    let (store, _, bob) = house.with_people().await;
    for name in ["a", "b"] {
        append(house, &store, bob, INBOX, name).await;
    }
    let message = list(&store, bob, INBOX).await[0].message;
    assert_eq!(expunge(&store, bob, INBOX).await, 2);
    house.sql(&format!(
        "DELETE FROM message WHERE account_id = {} AND message_id = {}",
        bob.0, message.0
    ));
    house.pass(DAY * 14);
    store.maintain().await.unwrap();
    let left = store.removed(bob, &everything(), None).await.unwrap();
    assert!(left.is_empty(), "{left:?}");
    let gone = store.blob_usage().await.unwrap().blobs;
    house.pass(DAY);
    store.maintain().await.unwrap();
    assert!(store.blob_usage().await.unwrap().blobs < gone);
    store.close().await.unwrap();
}

/// With all spans at zero, deleted mail is gone at once and nothing is emptied.
pub(crate) async fn without_retention(house: &House) {
    let (store, ..) = house.with_people().await;
    store.close().await.unwrap();
    drop(store);
    house.pass(Duration::from_secs(1));
    let none = Retention {
        deleted: Duration::ZERO,
        trash: Duration::ZERO,
        junk: Duration::ZERO,
        account: Duration::ZERO,
    };
    let store = opened_with(house, none).await;
    let bob = AccountId(2);
    append(house, &store, bob, INBOX, "a").await;
    append(house, &store, bob, TRASH, "b").await;
    assert_eq!(expunge(&store, bob, INBOX).await, 1);
    assert!(
        store
            .removed(bob, &everything(), None)
            .await
            .unwrap()
            .is_empty()
    );
    assert_eq!(store.account(bob).await.unwrap().removed_messages, 0);
    house.pass(DAY * 400);
    store.maintain().await.unwrap();
    assert_eq!(list(&store, bob, TRASH).await.len(), 1);
    assert_eq!(store.blob_usage().await.unwrap().blobs, 1);
    house.finish(store).await;
}

/// By the time at which a message came into the mailbox, not by its own date.
pub(crate) async fn trash_and_junk_are_emptied(house: &House) {
    let (store, _, bob) = house.with_people().await;
    for number in 0..250 {
        append(house, &store, bob, TRASH, &format!("old {number}")).await;
    }
    append(house, &store, bob, JUNK, "spam").await;
    append(house, &store, bob, INBOX, "mine").await;
    house.pass(DAY * 29);
    append(house, &store, bob, TRASH, "new").await;
    let moved = store.move_messages(bob, INBOX, &[Uid(1)], TRASH).await;
    moved.unwrap();
    house.pass(DAY - Duration::from_millis(1));
    store.maintain().await.unwrap();
    assert_eq!(list(&store, bob, TRASH).await.len(), 252);
    house.pass(Duration::from_millis(1));
    let mut watch = store.watch(bob);
    store.maintain().await.unwrap();
    let told = tokio::time::timeout(Duration::from_secs(5), watch.changed()).await;
    assert!(told.is_ok(), "who watches is told");
    assert_eq!(list(&store, bob, TRASH).await.len(), 2);
    assert_eq!(list(&store, bob, JUNK).await.len(), 0);
    let of_junk = RemovedFilter {
        mailbox: Some("Junk".to_owned()),
        ..everything()
    };
    assert_eq!(store.recover(bob, &of_junk, None).await, Ok(1));
    // It is new there: it stays for another 30 days.
    house.pass(DAY * 13);
    store.maintain().await.unwrap();
    assert_eq!(list(&store, bob, JUNK).await.len(), 1);
    assert_eq!(store.account(bob).await.unwrap().removed_messages, 250);
    house.finish(store).await;
}

/// Told to go: no login, no mail, the address taken; back as it was; gone after the grace.
pub(crate) async fn an_account_goes_after_a_grace(house: &House) {
    let (store, alice, bob) = house.with_people().await;
    store.set_password(bob, &secret("pw")).await.unwrap();
    append(house, &store, bob, INBOX, "a").await;
    let bobs = address("bob@red.test");
    let open = Resolved::Targets(vec![Target::Account(bob)]);
    let closed = Resolved::Refused(Refusal::Closed);
    let login = async |store: &Store| store.authenticate("bob", &secret("pw")).await.unwrap();
    assert_eq!(login(&store).await, Some(bob));
    let at = store.schedule_removal(bob).await.unwrap();
    assert_eq!(at, house.now() + DAY * 30);
    house.pass(DAY);
    assert_eq!(
        store.schedule_removal(bob).await,
        Ok(at),
        "it does not move"
    );
    assert_eq!(store.resolve(&bobs).await.unwrap(), closed);
    assert_eq!(login(&store).await, None, "also where it was remembered");
    let taken = store.add_account(person("bob@red.test", false)).await;
    assert_eq!(taken.err(), Some(StoreError::Exists("address")));
    assert_eq!(store.account(bob).await.unwrap().delete_at, Some(at));
    let used = store.remove_domain(&domain("red.test")).await;
    assert!(matches!(used, Err(StoreError::Invalid(_))));
    // Also after a restart.
    store.close().await.unwrap();
    drop(store);
    house.pass(Duration::from_secs(1));
    let store = house.open().await;
    assert_eq!(store.resolve(&bobs).await.unwrap(), closed);
    store.restore_account(bob).await.unwrap();
    assert_eq!(store.resolve(&bobs).await.unwrap(), open);
    assert_eq!(login(&store).await, Some(bob));
    assert_eq!(list(&store, bob, INBOX).await.len(), 1);
    let again = store.restore_account(bob).await;
    assert_eq!(again, Err(StoreError::NotFound("removed account")));
    let at = store.schedule_removal(bob).await.unwrap();
    // Mail to postmaster does not go to a closed account.
    store.schedule_removal(alice).await.unwrap();
    assert_eq!(store.postmaster().await.unwrap(), None);
    store.restore_account(alice).await.unwrap();
    house.pass(at.since(house.now()) - Duration::from_millis(1));
    store.maintain().await.unwrap();
    assert!(store.account(bob).await.is_ok());
    house.pass(Duration::from_millis(1));
    store.maintain().await.unwrap();
    assert_eq!(
        store.account(bob).await.err(),
        Some(StoreError::NotFound("account"))
    );
    assert_eq!(store.resolve(&bobs).await.unwrap(), Resolved::Unknown);
    store
        .add_account(person("bob@red.test", false))
        .await
        .unwrap();
    house.finish(store).await;
}

/// Look-ups, logins, senders and aliases follow; the old address is free or an alias.
pub(crate) async fn an_account_is_renamed(house: &House) {
    let (store, alice, bob) = house.with_people().await;
    store.set_password(bob, &secret("pw")).await.unwrap();
    let (old, new) = (address("bob@red.test"), address("robert@red.test"));
    let team = address("team@red.test");
    let both = [address("Bob@red.test"), address("alice@red.test")];
    store.add_alias(&team, &both).await.unwrap();
    let own = address("rob@red.test");
    store.add_alias(&own, &both[..1]).await.unwrap();
    let login = async |store: &Store, who: &str| store.authenticate(who, &secret("pw")).await;
    assert_eq!(login(&store, "bob@red.test").await, Ok(Some(bob)));

    let taken = store
        .rename_account(bob, &address("alice@red.test"), false)
        .await;
    assert_eq!(taken, Err(StoreError::Exists("address")));
    let shared = store.rename_account(bob, &team, false).await;
    assert_eq!(shared, Err(StoreError::Exists("address")));
    let foreign = store
        .rename_account(bob, &address("b@none.test"), false)
        .await;
    assert_eq!(foreign, Err(StoreError::NotFound("domain")));

    store.rename_account(bob, &new, false).await.unwrap();
    let to_bob = Resolved::Targets(vec![Target::Account(bob)]);
    let to_both = Resolved::Targets(vec![Target::Account(alice), Target::Account(bob)]);
    for round in 0..2 {
        let store = &store;
        assert_eq!(
            store.account(bob).await.unwrap().address,
            new,
            "round {round}"
        );
        assert_eq!(store.resolve(&new).await.unwrap(), to_bob);
        assert_eq!(store.resolve(&old).await.unwrap(), Resolved::Unknown);
        assert_eq!(store.resolve(&team).await.unwrap(), to_both);
        assert_eq!(store.resolve(&own).await.unwrap(), to_bob);
        assert_eq!(login(store, "bob@red.test").await, Ok(None));
        assert_eq!(login(store, "robert@red.test").await, Ok(Some(bob)));
        assert_eq!(store.may_send_from(bob, &new).await, Ok(true));
        assert_eq!(store.may_send_from(bob, &old).await, Ok(false));
        let aliases = store.aliases().await.unwrap();
        assert_eq!(aliases.len(), 2);
    }
    // Somebody else may have the free address; an alias of one's own becomes the address.
    store
        .add_account(person("bob@red.test", false))
        .await
        .unwrap();
    store.rename_account(bob, &own, true).await.unwrap();
    store.close().await.unwrap();
    drop(store);
    house.pass(Duration::from_secs(1));
    let store = house.open().await;
    assert_eq!(store.resolve(&own).await.unwrap(), to_bob);
    assert_eq!(
        store.resolve(&new).await.unwrap(),
        to_bob,
        "the old one is an alias"
    );
    assert_eq!(store.resolve(&team).await.unwrap(), to_both);
    assert_eq!(login(&store, "rob@red.test").await, Ok(Some(bob)));
    assert_eq!(store.may_send_from(bob, &new).await, Ok(true));
    store.remove_alias(&new).await.unwrap();
    assert_eq!(store.resolve(&team).await.unwrap(), to_both);
    // Only the case changes.
    let large = address("Rob@red.test");
    store.rename_account(bob, &large, true).await.unwrap();
    assert_eq!(store.account(bob).await.unwrap().address, large);
    assert_eq!(store.resolve(&own).await.unwrap(), to_bob);
    house.finish(store).await;
}

/// Letters are counted once, messages as often as they are there.
pub(crate) async fn what_is_taken(house: &House) {
    let (store, alice, bob) = house.with_people().await;
    let both = [(bob, "bob@red.test"), (alice, "alice@red.test")];
    let text = format!("{}{}", letter("long"), "the same again\r\n".repeat(40_000));
    let delivery = house.delivery(&store, &text, &both).await;
    store.deliver(delivery).await.unwrap();
    let usage = store.blob_usage().await.unwrap();
    assert_eq!((usage.blobs, usage.bytes), (1, text.len() as u64));
    assert!(usage.stored_bytes > 0 && usage.stored_bytes < usage.bytes / 10);
    let of_bob = store.account(bob).await.unwrap();
    assert!(of_bob.used_bytes > usage.bytes);
    let database = store.database_bytes().await.unwrap();
    assert!(database > 10_000, "{database}");
    house.finish(store).await;
}
