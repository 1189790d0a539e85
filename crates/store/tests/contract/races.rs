//! What goes wrong only when it happens together: readers that follow writers, the last recipients
//! of a letter, a blob that the collector is about to take, quotas, claims whose lease ran out.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::time::Duration;

use base::{AccountId, MailboxId, ModSeq, Uid};
use bytes::Bytes;
use pennyblack_store::{
    FlagChange, FlagOp, Keywords, NewAccount, Outcome, PlacementRow, QueueFilter, Role, Settlement,
    Store, StoreError,
};

use crate::house::{House, domain, letter, person};
use crate::together::join;

/// Tasks at once.
const TASKS: usize = 32;

/// A reader that follows a mailbox by its modseq sees every change of 32 writers: no change becomes
/// visible below a modseq that was seen before.
pub(crate) async fn a_reader_follows_many_writers(house: &House) {
    let (store, _, bob) = house.with_people().await;
    let inbox = store.mailbox(bob, "INBOX").await.unwrap().unwrap().id;
    let left = Cell::new(TASKS);
    let known = RefCell::new(BTreeMap::new());
    let writers = (0..TASKS).map(|task| {
        let (store, left) = (&store, &left);
        Box::pin(async move {
            write_to(house, store, (bob, inbox), task).await;
            left.set(left.get() - 1);
        }) as std::pin::Pin<Box<dyn Future<Output = ()>>>
    });
    let mut work: Vec<_> = writers.collect();
    work.push(Box::pin(follow(&store, (bob, inbox), &left, &known)));
    join(work).await;
    let rows = store.placements(bob, inbox, Uid(1), 10_000).await.unwrap();
    let rows: BTreeMap<Uid, PlacementRow> = rows.into_iter().map(|row| (row.uid, row)).collect();
    // Three come from each task, one goes.
    assert_eq!(rows.len(), 2 * TASKS);
    assert_eq!(known.into_inner(), rows);
    house.finish(store).await;
}

/// Three messages, two changes of flags, one removal.
async fn write_to(
    house: &House,
    store: &Store,
    (account, mailbox): (AccountId, MailboxId),
    task: usize,
) {
    let mut uids = Vec::new();
    for number in 0..3 {
        let text = letter(&format!("m{task}.{number}"));
        let own = store.letter(Bytes::from(text)).await.unwrap();
        let appended = store
            .append(account, mailbox, own, Keywords::default(), house.now())
            .await
            .unwrap();
        uids.push(appended.uid);
    }
    let mut change = FlagChange {
        op: FlagOp::Add,
        keywords: ["$seen"].into_iter().collect(),
        deleted: false,
        unchanged_since: None,
    };
    store
        .set_flags(account, mailbox, &uids[..2], &change)
        .await
        .unwrap();
    change.deleted = true;
    store
        .set_flags(account, mailbox, &uids[2..], &change)
        .await
        .unwrap();
    let removed = store.expunge(account, mailbox, Some(&uids[2..])).await;
    assert_eq!(removed.unwrap(), uids[2..]);
}

/// Keeps a copy of a mailbox by its changes alone, until the writers are done.
async fn follow(
    store: &Store,
    (account, mailbox): (AccountId, MailboxId),
    left: &Cell<usize>,
    known: &RefCell<BTreeMap<Uid, PlacementRow>>,
) {
    let mut since = ModSeq(1);
    loop {
        let was_last = left.get() == 0;
        let changes = store
            .mailbox_changes(account, mailbox, since)
            .await
            .unwrap();
        assert!(
            changes.until >= since,
            "{:?} after {since:?}",
            changes.until
        );
        for row in changes.changed {
            assert!(row.modseq > since, "{row:?} since {since:?}");
            known.borrow_mut().insert(row.uid, row);
        }
        for uid in changes.vanished {
            known.borrow_mut().remove(&uid);
        }
        since = changes.until;
        if was_last {
            return;
        }
        tokio::task::yield_now().await;
    }
}

/// The last recipients of a letter leave together: the letter goes with them, once.
pub(crate) async fn the_last_recipients_together(house: &House) {
    let (store, alice, _) = house.with_people().await;
    let to: Vec<String> = (0..TASKS).map(|task| format!("x@d{task}.test")).collect();
    let to: Vec<&str> = to.iter().map(String::as_str).collect();
    let submission = house.submission(&store, &letter("l"), alice, &to).await;
    store.submit(submission).await.unwrap();
    let settling = (0..TASKS).map(|task| settle_one(house, &store, task));
    join(settling.collect()).await;
    let queue = store.queue_list(&QueueFilter::default()).await.unwrap();
    assert!(queue.is_empty(), "{queue:?}");
    house.finish(store).await;
}

async fn settle_one(house: &House, store: &Store, task: usize) {
    let wanted = [(domain(&format!("d{task}.test")), 9)];
    let lease = Duration::from_secs(60);
    let claims = store.claim(house.now(), lease, &wanted).await.unwrap();
    assert_eq!(claims.len(), 1);
    assert!(store.settle(done(&claims[0])).await.unwrap());
}

fn done(claim: &pennyblack_store::Claim) -> Settlement {
    Settlement {
        claim: claim.reference,
        outcomes: vec![(claim.recipients[0].id, Outcome::Done)],
        local: Vec::new(),
        forwards: Vec::new(),
        reports: Vec::new(),
        addresses: Default::default(),
        notes: Vec::new(),
    }
}

/// Claims whose leases run out at once are taken by others while they are settled: each letter is
/// settled by one of them.
pub(crate) async fn claims_without_a_lease(house: &House) {
    let (store, alice, _) = house.with_people().await;
    for number in 0..TASKS {
        let text = letter(&format!("c{number}"));
        let submission = house
            .submission(&store, &text, alice, &["x@black.test"])
            .await;
        store.submit(submission).await.unwrap();
    }
    let settled = Cell::new(0);
    let claiming = (0..8).map(|_| claim_and_settle(house, &store, &settled));
    join(claiming.collect()).await;
    assert_eq!(settled.get(), TASKS);
    let queue = store.queue_list(&QueueFilter::default()).await.unwrap();
    assert!(queue.is_empty(), "{queue:?}");
    house.finish(store).await;
}

async fn claim_and_settle(house: &House, store: &Store, settled: &Cell<usize>) {
    let wanted = [(domain("black.test"), 4)];
    let mut now = house.now();
    loop {
        now = now + Duration::from_millis(5);
        let claims = store.claim(now, Duration::from_millis(1), &wanted).await;
        let claims = claims.unwrap();
        if claims.is_empty() {
            let none = store.queue_list(&QueueFilter::default()).await.unwrap();
            if none.is_empty() {
                return;
            }
        }
        for claim in &claims {
            if store.settle(done(claim)).await.unwrap() {
                settled.set(settled.get() + 1);
            }
        }
    }
}

/// A letter comes again while the collector takes its bytes: whoever is told that it is stored can
/// read it.
pub(crate) async fn a_blob_at_the_collector(house: &House) {
    let (store, _, bob) = house.with_people().await;
    let inbox = store.mailbox(bob, "INBOX").await.unwrap().unwrap().id;
    let texts: Vec<String> = (0..8).map(|number| letter(&format!("b{number}"))).collect();
    for _ in 0..6 {
        let writing = texts.iter().map(|text| {
            Box::pin(append_and_read(house, &store, (bob, inbox), text))
                as std::pin::Pin<Box<dyn Future<Output = ()>>>
        });
        let mut work: Vec<_> = writing.collect();
        let maintaining = async { store.maintain().await.unwrap() };
        work.insert(4, Box::pin(maintaining));
        join(work).await;
        let all = store.placements(bob, inbox, Uid(1), 100).await.unwrap();
        let uids: Vec<Uid> = all.iter().map(|row| row.uid).collect();
        let delete = FlagChange {
            op: FlagOp::Add,
            keywords: Keywords::default(),
            deleted: true,
            unchanged_since: None,
        };
        store.set_flags(bob, inbox, &uids, &delete).await.unwrap();
        store.expunge(bob, inbox, None).await.unwrap();
        house.pass(Duration::from_secs(2 * 3_600));
    }
    house.finish(store).await;
}

async fn append_and_read(
    house: &House,
    store: &Store,
    (account, mailbox): (AccountId, MailboxId),
    text: &str,
) {
    let own = store.letter(Bytes::copy_from_slice(text.as_bytes()));
    let own = own.await.unwrap();
    let appended = store
        .append(account, mailbox, own, Keywords::default(), house.now())
        .await
        .unwrap();
    let body = store.body(account, appended.message).await.unwrap();
    assert_eq!(body.read(0..u64::MAX).await.unwrap(), text.as_bytes());
}

/// One letter to the same accounts in many deliveries at once, whose orders differ.
pub(crate) async fn one_letter_in_many_deliveries(house: &House) {
    let (store, alice, bob) = house.with_people().await;
    let people = [(alice, "alice@red.test"), (bob, "bob@red.test")];
    let delivering = (0..TASKS).map(|task| {
        let (store, mut to) = (&store, people);
        if task % 2 == 1 {
            to.reverse();
        }
        async move {
            let text = letter(&format!("n{}", task % 4));
            let delivery = house.delivery(store, &text, &to).await;
            let delivered = store.deliver(delivery).await.unwrap();
            assert_eq!(delivered.stored.len(), 2);
            store.confirm(vec![delivered.letter]).await.unwrap();
        }
    });
    join(delivering.collect()).await;
    for account in [alice, bob] {
        let info = store.account(account).await.unwrap();
        assert_eq!(info.messages, TASKS as u64);
    }
    house.finish(store).await;
}

/// A quota with room for ten letters takes ten of thirty-two.
pub(crate) async fn a_quota_from_many_tasks(house: &House) {
    let (store, _, _) = house.with_people().await;
    let text = letter("q00");
    let carl = store
        .add_account(NewAccount {
            quota_bytes: Some(text.len() as u64 * 10 + 5),
            ..person("carl@red.test", false)
        })
        .await
        .unwrap();
    let inbox = store.mailbox(carl, "INBOX").await.unwrap().unwrap().id;
    let stored = Cell::new(0);
    let appending = (0..TASKS).map(|task| {
        let (store, stored) = (&store, &stored);
        async move {
            let text = letter(&format!("q{task:02}"));
            let own = store.letter(Bytes::from(text)).await.unwrap();
            let appended = store
                .append(carl, inbox, own, Keywords::default(), house.now())
                .await;
            match appended {
                Ok(_) => stored.set(stored.get() + 1),
                Err(error) => assert_eq!(error, StoreError::OverQuota),
            }
        }
    });
    join(appending.collect()).await;
    assert_eq!(stored.get(), 10);
    house.finish(store).await;
}

/// Folders of one name from many tasks; a domain that goes while an account comes.
pub(crate) async fn names_from_many_tasks(house: &House) {
    let (store, _, bob) = house.with_people().await;
    let made = Cell::new(0);
    let making = (0..TASKS).map(|task| {
        let (store, made) = (&store, &made);
        async move {
            let name = format!("Same/{}", task % 2);
            match store.create_mailbox(bob, &name, Some(Role::Junk)).await {
                Err(StoreError::Exists(_)) => {}
                other => panic!("a second mailbox with a role: {other:?}"),
            }
            match store.create_mailbox(bob, &name, None).await {
                Ok(_) => made.set(made.get() + 1),
                Err(error) => assert_eq!(error, StoreError::Exists("mailbox")),
            }
        }
    });
    join(making.collect()).await;
    assert_eq!(made.get(), 2);
    for round in 0..8 {
        let name = domain(&format!("r{round}.test"));
        store.add_domain(&name).await.unwrap();
        let address = format!("x@r{round}.test");
        let (added, removed) = (Cell::new(None), Cell::new(None));
        let adding = async {
            let person = person(&address, false);
            added.set(Some(store.add_account(person).await.is_ok()));
        };
        let removing = async {
            removed.set(Some(store.remove_domain(&name).await.is_ok()));
        };
        let work: Vec<std::pin::Pin<Box<dyn Future<Output = ()>>>> =
            vec![Box::pin(adding), Box::pin(removing)];
        join(work).await;
        // An account without its domain would be left if both succeeded.
        assert_ne!(added.get(), removed.get(), "round {round}");
    }
    house.finish(store).await;
}
