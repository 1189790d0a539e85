//! Verbs from many tasks at once, wake-ups, random sequences against a model.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use base::{AccountId, MailboxId, Uid};
use bytes::Bytes;
use pennyblack_store::{FlagChange, FlagOp, Keywords, Outcome, QueueFilter, Settlement, Store};

use crate::house::{House, domain, letter};

/// Tasks at once.
const TASKS: usize = 32;

/// Each verb from 32 tasks at once; then every invariant holds and every count is right.
pub(crate) async fn each_verb_from_many_tasks(house: &House) {
    let (store, alice, bob) = house.with_people().await;
    let mut work = Vec::new();
    for task in 0..TASKS {
        work.push(one_of_many(house, &store, (alice, bob), task));
    }
    join(work).await;
    let inbox = store.mailbox(bob, "INBOX").await.unwrap().unwrap();
    // Two deliveries and an append come from each task; one is moved, one expunged.
    assert_eq!(inbox.status.messages as usize, TASKS);
    assert_eq!(inbox.status.uid_next.0 as usize, 3 * TASKS + 1);
    let archive = store.mailbox(bob, "Archive").await.unwrap().unwrap();
    assert_eq!(archive.status.messages as usize, 2 * TASKS);
    let page = store
        .placements(bob, inbox.id, Uid(1), 1_000)
        .await
        .unwrap();
    let uids: BTreeSet<Uid> = page.iter().map(|row| row.uid).collect();
    assert_eq!(uids.len(), TASKS);
    assert!(
        store
            .queue_list(&QueueFilter::default())
            .await
            .unwrap()
            .is_empty()
    );
    house.finish(store).await;
}

/// Runs futures together on this task; each hands its work to the store's threads.
pub(crate) async fn join(work: Vec<impl Future<Output = ()>>) {
    let mut work: Vec<_> = work.into_iter().map(Box::pin).collect();
    std::future::poll_fn(|context| {
        work.retain_mut(|one| one.as_mut().poll(context).is_pending());
        if work.is_empty() {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
}

/// One task's part of the work.
pub(crate) async fn one_of_many(
    house: &House,
    store: &Store,
    (alice, bob): (AccountId, AccountId),
    task: usize,
) {
    let inbox = store.mailbox(bob, "INBOX").await.unwrap().unwrap().id;
    let archive = store.mailbox(bob, "Archive").await.unwrap().unwrap().id;
    let mut uids = Vec::new();
    for number in 0..2 {
        let text = letter(&format!("d{task}.{number}"));
        let delivery = house.delivery(store, &text, &[(bob, "bob@red.test")]).await;
        let delivered = store.deliver(delivery).await.unwrap();
        store.confirm(vec![delivered.letter]).await.unwrap();
        uids.push(delivered.stored[0].uid);
    }
    let own = store
        .letter(Bytes::from(letter(&format!("a{task}"))))
        .await
        .unwrap();
    let appended = store
        .append(bob, inbox, own, Keywords::default(), house.now())
        .await
        .unwrap();
    let change = FlagChange {
        op: FlagOp::Add,
        keywords: ["$seen"].into_iter().collect(),
        deleted: false,
        unchanged_since: None,
    };
    store.set_flags(bob, inbox, &uids, &change).await.unwrap();
    store.copy(bob, inbox, &uids[..1], archive).await.unwrap();
    store
        .move_messages(bob, inbox, &uids[1..], archive)
        .await
        .unwrap();
    let delete = FlagChange {
        op: FlagOp::Add,
        keywords: Keywords::default(),
        deleted: true,
        unchanged_since: None,
    };
    store
        .set_flags(bob, inbox, &[appended.uid], &delete)
        .await
        .unwrap();
    let removed = store
        .expunge(bob, inbox, Some(&[appended.uid]))
        .await
        .unwrap();
    assert_eq!(removed, [appended.uid]);
    outside_the_mailbox(house, store, (alice, bob), task).await;
}

/// Folders, domains, and the queue.
async fn outside_the_mailbox(
    house: &House,
    store: &Store,
    (alice, bob): (AccountId, AccountId),
    task: usize,
) {
    let folder = format!("Folder/{task}");
    store.create_mailbox(bob, &folder, None).await.unwrap();
    store
        .rename_mailbox(bob, &folder, &format!("Other/{task}"))
        .await
        .unwrap();
    store
        .delete_mailbox(bob, &format!("Other/{task}"))
        .await
        .unwrap();
    let name = format!("d{task}.test");
    store.add_domain(&domain(&name)).await.unwrap();
    let to = format!("x@{name}");
    let text = letter(&format!("s{task}"));
    let submission = house.submission(store, &text, alice, &[&to]).await;
    store.submit(submission).await.unwrap();
    let wanted = [(domain(&name), 9)];
    let claims = store
        .claim(house.now(), Duration::from_secs(60), &wanted)
        .await
        .unwrap();
    assert_eq!(claims.len(), 1);
    let settlement = Settlement {
        claim: claims[0].reference,
        outcomes: vec![(claims[0].recipients[0].id, Outcome::Done)],
        local: Vec::new(),
        forwards: Vec::new(),
        reports: Vec::new(),
        addresses: Default::default(),
        notes: Vec::new(),
    };
    assert!(store.settle(settlement).await.unwrap());
    store.remove_domain(&domain(&name)).await.unwrap();
}

/// Who watches is woken after the commit, also by what happened before the waiting began.
pub(crate) async fn wake_ups(house: &House) {
    let (store, alice, bob) = house.with_people().await;
    let mut of_bob = store.watch(bob);
    let mut of_alice = store.watch(alice);
    let mut queue = store.queue_signal();
    let limit = Duration::from_secs(5);
    let delivery = house
        .delivery(&store, &letter("x"), &[(bob, "bob@red.test")])
        .await;
    store.deliver(delivery).await.unwrap();
    tokio::time::timeout(limit, of_bob.changed()).await.unwrap();
    let short = Duration::from_millis(20);
    assert!(
        tokio::time::timeout(short, of_bob.changed()).await.is_err(),
        "once is once"
    );
    assert!(
        tokio::time::timeout(short, of_alice.changed())
            .await
            .is_err()
    );
    assert!(tokio::time::timeout(short, queue.woken()).await.is_err());
    let text = letter("y");
    let submission = house
        .submission(&store, &text, alice, &["x@black.test"])
        .await;
    store.submit(submission).await.unwrap();
    tokio::time::timeout(limit, queue.woken()).await.unwrap();
    let second = store.watch(bob);
    drop(of_bob);
    let inbox = store.mailbox(bob, "INBOX").await.unwrap().unwrap().id;
    store
        .move_messages(bob, inbox, &[Uid(1)], inbox)
        .await
        .unwrap();
    let mut second = second;
    tokio::time::timeout(limit, second.changed()).await.unwrap();
    house.finish(store).await;
}

/// A mailbox of the model: UIDs with the name of the letter, keywords, and `\Deleted`.
type Model = BTreeMap<MailboxId, BTreeMap<Uid, (String, Keywords, bool)>>;

/// Random sequences of verbs do to the store what they do to a model of a few lines.
pub(crate) async fn random_sequences(house: &House) {
    let (store, _, bob) = house.with_people().await;
    let mut state = 0x1234_5678_9ABC_DEF0_u64;
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state >> 16).unwrap() % below
    };
    let mut model = Model::new();
    for name in ["INBOX", "Archive", "Trash"] {
        model.insert(
            store.mailbox(bob, name).await.unwrap().unwrap().id,
            BTreeMap::new(),
        );
    }
    let ids: Vec<MailboxId> = model.keys().copied().collect();
    for step in 0..400 {
        let (from, to) = (ids[random(3)], ids[random(3)]);
        let known: Vec<Uid> = model[&from].keys().copied().collect();
        // At most a handful, so that copies of copies do not grow without bound.
        let uids = known.into_iter().filter(|_| random(3) == 0).take(4);
        let uids: Vec<Uid> = uids.collect();
        match random(6) {
            0 | 1 => append(house, &store, bob, from, &mut model, step).await,
            2 => {
                let op = [FlagOp::Add, FlagOp::Remove, FlagOp::Replace][random(3)];
                let word = ["$seen", "a", "b"][random(3)];
                set_flags(
                    &store,
                    bob,
                    from,
                    &mut model,
                    &uids,
                    (op, word, random(2) == 0),
                )
                .await;
            }
            3 => transfer(&store, bob, (from, to), &mut model, &uids, false).await,
            4 => transfer(&store, bob, (from, to), &mut model, &uids, true).await,
            _ => {
                let removed = store.expunge(bob, from, Some(&uids)).await.unwrap();
                let mailbox = model.get_mut(&from).unwrap();
                let marked = uids.iter().filter(|uid| mailbox[uid].2);
                assert_eq!(removed, marked.copied().collect::<Vec<_>>(), "step {step}");
                mailbox.retain(|uid, _| !removed.contains(uid));
            }
        }
        if step % 40 == 0 {
            compare(&store, bob, &model, step).await;
        }
    }
    compare(&store, bob, &model, 400).await;
    house.finish(store).await;
}

async fn append(
    house: &House,
    store: &Store,
    account: AccountId,
    mailbox: MailboxId,
    model: &mut Model,
    step: usize,
) {
    let name = format!("m{step}");
    let own = store.letter(Bytes::from(letter(&name))).await.unwrap();
    let none = Keywords::default();
    let appended = store
        .append(account, mailbox, own, none.clone(), house.now())
        .await
        .unwrap();
    let rows = model.get_mut(&mailbox).unwrap();
    assert!(rows.insert(appended.uid, (name, none, false)).is_none());
}

async fn set_flags(
    store: &Store,
    account: AccountId,
    mailbox: MailboxId,
    model: &mut Model,
    uids: &[Uid],
    (op, word, deleted): (FlagOp, &str, bool),
) {
    let change = FlagChange {
        op,
        keywords: [word].into_iter().collect(),
        deleted,
        unchanged_since: None,
    };
    store
        .set_flags(account, mailbox, uids, &change)
        .await
        .unwrap();
    let page = store
        .placements(account, mailbox, Uid(1), 10_000)
        .await
        .unwrap();
    for uid in uids {
        let message = page.iter().find(|row| row.uid == *uid).unwrap().message;
        let row = model.get_mut(&mailbox).unwrap().get_mut(uid).unwrap();
        match op {
            FlagOp::Add => {
                row.1.insert(word);
                row.2 |= deleted;
            }
            FlagOp::Remove => {
                row.1 = row.1.without(&[word].into_iter().collect());
                row.2 &= !deleted;
            }
            FlagOp::Replace => (row.1, row.2) = (change.keywords.clone(), deleted),
        }
        // The keywords are the message's: they follow it into its other mailboxes.
        let keywords = row.1.clone();
        for (other, rows) in model.iter_mut() {
            for placement in store
                .placements(account, *other, Uid(1), 10_000)
                .await
                .unwrap()
            {
                if placement.message == message {
                    rows.get_mut(&placement.uid).unwrap().1 = keywords.clone();
                }
            }
        }
    }
}

async fn transfer(
    store: &Store,
    account: AccountId,
    (from, to): (MailboxId, MailboxId),
    model: &mut Model,
    uids: &[Uid],
    moves: bool,
) {
    let copied = if moves {
        store.move_messages(account, from, uids, to).await.unwrap()
    } else {
        store.copy(account, from, uids, to).await.unwrap()
    };
    assert_eq!(
        copied.iter().map(|pair| pair.from).collect::<Vec<_>>(),
        uids
    );
    for pair in copied {
        let row = model[&from][&pair.from].clone();
        if moves {
            model.get_mut(&from).unwrap().remove(&pair.from);
        }
        assert!(model.get_mut(&to).unwrap().insert(pair.to, row).is_none());
    }
}

async fn compare(store: &Store, account: AccountId, model: &Model, step: usize) {
    for (mailbox, rows) in model {
        let page = store
            .placements(account, *mailbox, Uid(1), 10_000)
            .await
            .unwrap();
        assert_eq!(page.len(), rows.len(), "step {step}, {mailbox:?}");
        for placement in page {
            let (name, keywords, deleted) = &rows[&placement.uid];
            assert_eq!(&placement.keywords, keywords, "step {step}, {placement:?}");
            assert_eq!(placement.deleted, *deleted, "step {step}, {placement:?}");
            let reader = store.body(account, placement.message).await.unwrap();
            let bytes = reader.read(0..u64::MAX).await.unwrap();
            assert_eq!(bytes, letter(name).as_bytes(), "step {step}, {placement:?}");
        }
    }
    assert_eq!(
        store.verify().await.unwrap(),
        Vec::<String>::new(),
        "step {step}"
    );
}
