//! Letters that come in numbers from outside.

use std::sync::Arc;

use base::{AccountId, Timestamp, Uid};
use bytes::Bytes;
use pennyblack_store::{
    ImportLetter, ImportMailbox, ImportMark, Imported, Keywords, QuotaChange, Role, Store,
    StoreError,
};

use crate::house::{House, letter};

fn mailbox(name: &str, role: Option<Role>) -> Arc<ImportMailbox> {
    Arc::new(ImportMailbox {
        name: name.to_owned(),
        role,
        subscribed: true,
    })
}

fn mark(source: &str, position: &str) -> ImportMark {
    ImportMark {
        source: source.to_owned(),
        position: position.to_owned(),
    }
}

async fn incoming(store: &Store, name: &str, mailbox: &Arc<ImportMailbox>) -> ImportLetter {
    ImportLetter {
        letter: store.letter(Bytes::from(letter(name))).await.unwrap(),
        mailbox: Arc::clone(mailbox),
        keywords: Keywords::default(),
        deleted: false,
        received_at: Timestamp(1_700_000_000_000),
        mark: Some(mark("mbox:/a", name)),
    }
}

async fn count(store: &Store, account: AccountId, name: &str) -> u32 {
    let found = store.mailbox(account, name).await.unwrap();
    found.map_or(0, |found| found.status.messages)
}

/// Flags, dates, mailboxes that are made or found by their role, marks.
pub(crate) async fn letters_with_all_they_have(house: &House) {
    let (store, alice, bob) = house.with_people().await;
    let deep = mailbox("Old/2019", None);
    let spam = mailbox("Spam", Some(Role::Junk));
    let mut letters = Vec::new();
    for number in 0..120 {
        letters.push(incoming(&store, &format!("{number:03}"), &deep).await);
    }
    let mut special = incoming(&store, "special", &spam).await;
    special.keywords = ["$seen", "work"].into_iter().collect();
    special.deleted = true;
    special.mark = Some(mark("mbox:/a/b", "7"));
    letters.push(special);
    let imported = store.import(bob, letters, false).await.unwrap();
    assert_eq!((imported.letters, imported.over_quota), (121, false));

    let old = store.mailbox(bob, "Old/2019").await.unwrap().unwrap();
    assert_eq!((old.status.messages, old.status.unseen), (120, 120));
    assert!(old.subscribed);
    let rows = store.placements(bob, old.id, Uid(1), 1_000).await.unwrap();
    let ids: Vec<_> = rows.iter().map(|row| row.message).collect();
    let metas = store.message_metas(bob, &ids).await.unwrap();
    assert!(
        metas
            .iter()
            .all(|meta| meta.received_at == Timestamp(1_700_000_000_000))
    );
    for (number, id) in ids.iter().enumerate() {
        let body = store.body(bob, *id).await.unwrap();
        let bytes = body.read(0..body.size()).await.unwrap();
        assert_eq!(bytes, letter(&format!("{number:03}")), "in their order");
    }
    let junk = store.mailbox(bob, "Junk").await.unwrap().unwrap();
    assert_eq!((junk.status.messages, junk.status.deleted), (1, 1));
    let rows = store.placements(bob, junk.id, Uid(1), 10).await.unwrap();
    assert!(rows[0].deleted && rows[0].keywords.seen());
    assert!(store.mailbox(bob, "Spam").await.unwrap().is_none());

    let marks = store.import_marks(bob, "mbox:/a").await.unwrap();
    assert_eq!(marks, [mark("mbox:/a", "119"), mark("mbox:/a/b", "7")]);
    assert_eq!(store.import_marks(alice, "mbox:/a").await.unwrap(), []);
    store.forget_import(bob, "mbox:/a/b").await.unwrap();
    store.forget_import(bob, "mbox:/").await.unwrap();
    assert_eq!(store.import_marks(bob, "mbox:/a").await.unwrap().len(), 1);

    store.import_mailbox(bob, (*deep).clone()).await.unwrap();
    store
        .import_mailbox(bob, (*mailbox("New/x", None)).clone())
        .await
        .unwrap();
    assert!(store.mailbox(bob, "New").await.unwrap().is_some());
    store.remove_account(bob).await.unwrap();
    house.finish(store).await;
}

/// What is before the quota is stored, and the mark stands there.
pub(crate) async fn as_far_as_the_quota(house: &House) {
    let (store, _, bob) = house.with_people().await;
    let target = mailbox("a", None);
    let bytes = letter("x").len() as u64;
    let at_most = QuotaChange::AtMost(bytes * 2 + 1);
    store
        .set_quota(bob, at_most, QuotaChange::Keep)
        .await
        .unwrap();
    let mut letters = Vec::new();
    for name in ["1", "2", "3"] {
        letters.push(incoming(&store, name, &target).await);
    }
    let imported = store.import(bob, letters, false).await.unwrap();
    let expected = Imported {
        letters: 2,
        over_quota: true,
    };
    assert_eq!(imported, expected);
    let marks = store.import_marks(bob, "mbox:/a").await.unwrap();
    assert_eq!(marks, [mark("mbox:/a", "2")]);
    let letters = vec![incoming(&store, "3", &target).await];
    let imported = store.import(bob, letters, true).await.unwrap();
    assert_eq!((imported.letters, imported.over_quota), (1, false));
    assert_eq!(count(&store, bob, "a").await, 3);
    house.finish(store).await;
}

/// A batch that cannot be stored leaves nothing, and no mark.
pub(crate) async fn what_is_refused(house: &House) {
    let (store, _, bob) = house.with_people().await;
    let good = mailbox("a", None);
    let bad = mailbox("a//b", None);
    let letters = vec![
        incoming(&store, "1", &good).await,
        incoming(&store, "2", &bad).await,
    ];
    let refused = store.import(bob, letters, false).await;
    assert!(matches!(refused, Err(StoreError::Invalid(_))));
    assert_eq!(count(&store, bob, "a").await, 0);
    assert_eq!(store.import_marks(bob, "mbox:/a").await.unwrap(), []);
    let mut wrong = incoming(&store, "1", &good).await;
    wrong.keywords = ["two words"].into_iter().collect();
    let refused = store.import(bob, vec![wrong], false).await;
    assert!(matches!(refused, Err(StoreError::Invalid(_))));
    let nobody = store.import(
        AccountId(99),
        vec![incoming(&store, "1", &good).await],
        false,
    );
    assert_eq!(nobody.await.err(), Some(StoreError::NotFound("account")));
    assert_eq!(
        store.import(bob, Vec::new(), false).await.unwrap().letters,
        0
    );
    house.finish(store).await;
}
