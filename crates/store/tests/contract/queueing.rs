//! The queue: due, claimed, settled, and what an operator does.

use std::time::Duration;

use base::{LetterId, Timestamp};
use bytes::Bytes;
use pennyblack_store::{
    Claim, DsnReturn, DueCursor, Keywords, Lane, LastAttempt, LocalRecipient, Note, Notify,
    Outcome, QueueFilter, QueueNews, QueueRecipientState, Role, Settlement, Step, Store,
    StoreError,
};

use crate::house::{House, address, domain, letter, recipient};

pub(crate) const LEASE: Duration = Duration::from_secs(60);

pub(crate) fn settlement(claim: &Claim, outcome: &Outcome) -> Settlement {
    let recipients = claim.recipients.iter();
    Settlement {
        claim: claim.reference,
        outcomes: recipients.map(|of| (of.id, outcome.clone())).collect(),
        local: Vec::new(),
        forwards: Vec::new(),
        reports: Vec::new(),
        addresses: Default::default(),
        notes: Vec::new(),
    }
}

fn retry(at: Timestamp) -> Outcome {
    Outcome::Retry {
        at,
        reason: "451 later".to_owned(),
        delay_reported: true,
        counts: true,
        last: Box::new(LastAttempt {
            class: "refused".to_owned(),
            reply: "451 later".to_owned(),
            host: "mx.black.test [192.0.2.1]:25".to_owned(),
            tls: "TLSv1.3".to_owned(),
        }),
    }
}

pub(crate) async fn submit(house: &House, store: &Store, name: &str, to: &[&str]) -> LetterId {
    let (alice, text) = (base::AccountId(1), letter(name));
    let submission = house.submission(store, &text, alice, to).await;
    store.submit(submission).await.unwrap()
}

pub(crate) async fn claim(house: &House, store: &Store, name: &str, count: usize) -> Vec<Claim> {
    let wanted = [(domain(name), count)];
    store.claim(house.now(), LEASE, &wanted).await.unwrap()
}

async fn all(store: &Store) -> Vec<pennyblack_store::QueueEntry> {
    store.queue_list(&QueueFilter::default()).await.unwrap()
}

/// Everything that was submitted stands in the claim.
pub(crate) async fn a_claim_is_whole(house: &House) {
    let (store, alice, _) = house.with_people().await;
    let text = letter("whole");
    let to = ["dora@black.test", "emil@black.test"];
    let mut submission = house.submission(&store, &text, alice, &to).await;
    submission.dsn_return = DsnReturn::Full;
    submission.needs_utf8 = true;
    submission.recipients[1].notify = Notify::NEVER;
    submission.recipients[1].original = None;
    let id = store.submit(submission).await.unwrap();
    let claim = claim(house, &store, "black.test", 1).await.remove(0);
    assert_eq!(claim.reference.letter, id);
    assert_eq!(claim.account, Some(alice));
    assert_eq!(claim.reverse_path, Some(address("alice@red.test")));
    assert_eq!(claim.envelope_id.as_deref(), Some("id-1"));
    assert_eq!(claim.dsn_return, DsnReturn::Full);
    assert!(claim.needs_utf8);
    assert_eq!(claim.head, "Received: by red.test\r\n");
    assert_eq!(claim.size, (claim.head.len() + text.len()) as u64);
    assert_eq!(claim.received_at, house.now());
    assert_eq!(claim.recipients[0].address, address("dora@black.test"));
    assert_eq!(
        claim.recipients[0].original.as_deref(),
        Some("rfc822;dora@black.test")
    );
    assert_eq!(claim.recipients[0].notify, Notify::DEFAULT);
    assert_eq!(claim.recipients[1].notify, Notify::NEVER);
    assert_eq!(claim.recipients[1].original, None);
    house.finish(store).await;
}

/// A transaction takes about a thousand recipients; a claim takes all that was asked for.
pub(crate) async fn claims_of_many_recipients(house: &House) {
    let (store, _, _) = house.with_people().await;
    let to: Vec<String> = (0..600)
        .map(|number| format!("p{number}@black.test"))
        .collect();
    let to: Vec<&str> = to.iter().map(String::as_str).collect();
    for name in ["a", "b", "c", "d", "e"] {
        submit(house, &store, name, &to).await;
    }
    let claims = claim(house, &store, "black.test", 4).await;
    assert_eq!(claims.len(), 4);
    assert!(claims.iter().all(|claim| claim.recipients.len() == 600));
    assert_eq!(claim(house, &store, "black.test", 9).await.len(), 1);
    house.finish(store).await;
}

/// Destinations stand in the order of waiting; what is held back or tried later is not due.
pub(crate) async fn due_in_order(house: &House) {
    let (store, alice, _) = house.with_people().await;
    submit(house, &store, "a", &["x@late.test", "y@late.test"]).await;
    house.pass(Duration::from_secs(1));
    submit(house, &store, "b", &["x@black.test", "x@late.test"]).await;
    house.pass(Duration::from_secs(1));
    submit(house, &store, "c", &["x@blue.test"]).await;
    let to = ["x@hold.test"];
    let mut held = house.submission(&store, &letter("d"), alice, &to).await;
    let until = house.now() + Duration::from_secs(30);
    held.hold_until = Some(until);
    store.submit(held).await.unwrap();
    let due = store.due(house.now(), 10).await.unwrap();
    let names: Vec<_> = due
        .iter()
        .map(|due| (due.domain.as_str(), due.letters))
        .collect();
    assert_eq!(
        names,
        [("late.test", 2), ("black.test", 1), ("blue.test", 1)]
    );
    assert_eq!(store.due(house.now(), 1).await.unwrap().len(), 1);
    assert_eq!(store.next_due(house.now()).await.unwrap(), Some(until));
    house.pass(Duration::from_secs(30));
    assert_eq!(store.due(house.now(), 10).await.unwrap().len(), 4);
    assert_eq!(store.next_due(house.now()).await.unwrap(), None);
    house.finish(store).await;
}

/// An old fencing number changes nothing; a lease that ended gives the work to the next.
pub(crate) async fn fences_and_leases(house: &House) {
    let (store, _, _) = house.with_people().await;
    submit(house, &store, "a", &["x@black.test", "y@black.test"]).await;
    let first = claim(house, &store, "black.test", 5).await.remove(0);
    assert!(claim(house, &store, "black.test", 5).await.is_empty());
    assert!(store.due(house.now(), 9).await.unwrap().is_empty());
    assert_eq!(
        all(&store).await[0].recipients[0].state,
        QueueRecipientState::Claimed
    );
    house.pass(LEASE / 2);
    let lost = store
        .renew(&[first.reference], house.now(), LEASE)
        .await
        .unwrap();
    assert!(lost.is_empty());
    house.pass(LEASE / 2 + Duration::from_secs(1));
    assert!(
        claim(house, &store, "black.test", 5).await.is_empty(),
        "it was renewed"
    );
    house.pass(LEASE);
    let second = claim(house, &store, "black.test", 5).await.remove(0);
    assert_ne!(first.reference.fence, second.reference.fence);
    let lost = store
        .renew(&[first.reference], house.now(), LEASE)
        .await
        .unwrap();
    assert_eq!(lost, [first.reference]);
    let mut late = settlement(&first, &Outcome::Done);
    late.forwards = vec![recipient("z@blue.test")];
    assert!(!store.settle(late).await.unwrap());
    assert_eq!(all(&store).await.len(), 1);
    assert_eq!(all(&store).await[0].recipients.len(), 2);
    assert!(
        store
            .settle(settlement(&second, &Outcome::Done))
            .await
            .unwrap()
    );
    assert!(
        !store
            .settle(settlement(&second, &Outcome::Done))
            .await
            .unwrap()
    );
    assert!(all(&store).await.is_empty());
    house.finish(store).await;
}

/// A node that starts again takes back at once what it had claimed; others' work stays theirs.
pub(crate) async fn a_restarted_node_takes_its_work_back(house: &House) {
    let (store, _, _) = house.with_people().await;
    submit(house, &store, "a", &["x@black.test"]).await;
    let old = claim(house, &store, "black.test", 5).await.remove(0);
    store.close().await.unwrap();
    drop(store);
    let store = house.open().await;
    assert_eq!(store.due(house.now(), 9).await.unwrap().len(), 1);
    assert!(
        !store
            .settle(settlement(&old, &Outcome::Done))
            .await
            .unwrap()
    );
    claim(house, &store, "black.test", 5).await.remove(0);
    store.close().await.unwrap();
    drop(store);
    let mut options = house.options();
    options.node = "black".to_owned();
    let store = Store::open(options).await.unwrap();
    assert!(store.due(house.now(), 9).await.unwrap().is_empty());
    house.finish(store).await;
}

/// Retries count, wait and remember; recipients that were not named stay due.
pub(crate) async fn retries(house: &House) {
    let (store, _, _) = house.with_people().await;
    submit(
        house,
        &store,
        "a",
        &["x@black.test", "y@black.test", "z@black.test"],
    )
    .await;
    let first = claim(house, &store, "black.test", 5).await.remove(0);
    let at = house.now() + Duration::from_secs(600);
    let mut some = settlement(&first, &retry(at));
    some.outcomes.truncate(2);
    some.outcomes[1].1 = Outcome::Failed {
        reason: "550 no".to_owned(),
    };
    assert!(store.settle(some).await.unwrap());
    let entry = all(&store).await.remove(0);
    assert_eq!(entry.recipients.len(), 2);
    assert_eq!(entry.recipients[0].reason, "451 later");
    assert_eq!(
        (entry.recipients[0].attempts, entry.recipients[0].next_at),
        (1, at)
    );
    assert_eq!(entry.recipients[0].state, QueueRecipientState::Waiting);
    let again = claim(house, &store, "black.test", 5).await.remove(0);
    assert_eq!(again.recipients.len(), 1);
    assert_eq!(again.recipients[0].address, address("z@black.test"));
    assert!(
        store
            .settle(settlement(&again, &Outcome::Done))
            .await
            .unwrap()
    );
    house.pass(Duration::from_secs(600));
    let last = claim(house, &store, "black.test", 5).await.remove(0);
    assert_eq!(last.recipients[0].attempts, 1);
    assert!(last.recipients[0].delay_reported);
    house.finish(store).await;
}

/// Local copies, forwards and reports come with the outcomes in one commit.
pub(crate) async fn a_settlement_is_one_commit(house: &House) {
    let (store, alice, bob) = house.with_people().await;
    let id = submit(house, &store, "a", &["bob@red.test", "list@red.test"]).await;
    let taken = claim(house, &store, "red.test", 5).await.remove(0);
    let report = house
        .submission(&store, &letter("dsn"), alice, &["alice@red.test"])
        .await;
    let mut settled = settlement(&taken, &Outcome::Done);
    settled.local = vec![LocalRecipient {
        account: bob,
        address: address("bob@red.test"),
        mailbox: Role::Inbox,
        keywords: Keywords::default(),
        head: Bytes::from_static(b"Return-Path: <alice@red.test>\r\n"),
    }];
    settled.forwards = vec![recipient("far@blue.test")];
    settled.reports = vec![report];
    settled.notes = vec![Note {
        at: house.now(),
        recipient: None,
        step: Step::Reported,
        detail: "to the sender".to_owned(),
    }];
    assert!(store.settle(settled).await.unwrap());
    let inbox = store.mailbox(bob, "INBOX").await.unwrap().unwrap();
    let page = store
        .placements(bob, inbox.id, base::Uid(1), 9)
        .await
        .unwrap();
    let reader = store.body(bob, page[0].message).await.unwrap();
    let bytes = reader.read(0..u64::MAX).await.unwrap();
    assert!(bytes.ends_with(letter("a").as_bytes()));
    let structured = store.structured(bob, &[page[0].message]).await.unwrap();
    assert_eq!(structured[0].preview, "Hello, this is a.");
    let queue = all(&store).await;
    assert!(queue.iter().all(|entry| entry.letter != id));
    let mut to: Vec<_> = queue
        .iter()
        .map(|entry| entry.recipients[0].address.clone())
        .collect();
    to.sort();
    assert_eq!(to, [address("alice@red.test"), address("far@blue.test")]);
    let steps: Vec<_> = store.journey(id).await.unwrap();
    let steps: Vec<_> = steps.iter().map(|event| event.note.step).collect();
    assert_eq!(steps, [Step::Reported, Step::Stored]);
    let far = claim(house, &store, "blue.test", 5).await.remove(0);
    assert_eq!(
        store.claimed_letter(&far).await.unwrap().bytes(),
        letter("a").as_bytes()
    );
    assert_eq!(far.head, "Received: by red.test\r\n");
    let named = store
        .letters_by_message_id("a@black.test", 9)
        .await
        .unwrap();
    assert_eq!(named, [far.reference.letter, id]);
    house.finish(store).await;
}

/// Hold, release, retry, drop.
pub(crate) async fn an_operator_at_work(house: &House) {
    let (store, _, _) = house.with_people().await;
    let a = submit(house, &store, "a", &["x@black.test", "x@blue.test"]).await;
    let b = submit(house, &store, "b", &["y@black.test"]).await;
    let of = |letter: Option<LetterId>, name: Option<&str>| QueueFilter {
        letter,
        domain: name.map(domain),
        limit: 0,
    };
    assert_eq!(
        store
            .queue_hold(&of(None, Some("black.test")))
            .await
            .unwrap(),
        2
    );
    let due = store.due(house.now(), 9).await.unwrap();
    assert_eq!(due.len(), 1);
    let entry = store
        .queue_list(&of(Some(a), Some("black.test")))
        .await
        .unwrap()
        .remove(0);
    assert_eq!(entry.recipients.len(), 1);
    assert_eq!(entry.recipients[0].state, QueueRecipientState::Held);
    assert_eq!(store.queue_release(&of(Some(b), None)).await.unwrap(), 1);
    let claim_b = claim(house, &store, "black.test", 9).await.remove(0);
    assert_eq!(claim_b.reference.letter, b);
    // What a node works on is held only once the node is done with it.
    assert_eq!(store.queue_hold(&of(Some(b), None)).await.unwrap(), 1);
    let soon = house.now() + Duration::from_secs(9);
    assert!(
        store
            .settle(settlement(&claim_b, &retry(soon)))
            .await
            .unwrap()
    );
    house.pass(Duration::from_secs(10));
    assert!(claim(house, &store, "black.test", 9).await.is_empty());
    assert_eq!(store.queue_release(&of(None, None)).await.unwrap(), 2);
    let later = house.now() + Duration::from_secs(900);
    let blue = claim(house, &store, "blue.test", 9).await.remove(0);
    assert!(
        store
            .settle(settlement(&blue, &retry(later)))
            .await
            .unwrap()
    );
    assert_eq!(store.due(house.now(), 9).await.unwrap().len(), 1);
    assert_eq!(
        store
            .queue_retry(&of(None, Some("blue.test")))
            .await
            .unwrap(),
        1
    );
    assert_eq!(store.due(house.now(), 9).await.unwrap().len(), 2);
    assert_eq!(store.queue_drop(&of(Some(a), None)).await.unwrap(), 2);
    assert_eq!(store.queue_drop(&of(Some(a), None)).await.unwrap(), 0);
    assert_eq!(all(&store).await.len(), 1);
    let steps = store.journey(a).await.unwrap();
    assert!(
        steps.iter().all(|event| event.note.step == Step::Operated),
        "{steps:?}"
    );
    house.finish(store).await;
}

/// A drop while a node works: the settlement changes nothing.
pub(crate) async fn a_drop_under_a_claim(house: &House) {
    let (store, _, _) = house.with_people().await;
    submit(house, &store, "a", &["x@black.test"]).await;
    let taken = claim(house, &store, "black.test", 9).await.remove(0);
    assert_eq!(store.queue_drop(&QueueFilter::default()).await.unwrap(), 1);
    assert!(
        !store
            .settle(settlement(&taken, &Outcome::Done))
            .await
            .unwrap()
    );
    let gone = store.claimed_letter(&taken).await.err();
    assert_eq!(gone, Some(StoreError::NotFound("letter")));
    house.finish(store).await;
}

/// Many letters for one destination: claims are disjoint and bounded.
pub(crate) async fn claims_are_disjoint(house: &House) {
    let (store, _, _) = house.with_people().await;
    for number in 0..150 {
        let name = format!("n{number}");
        submit(
            house,
            &store,
            &name,
            &["x@black.test", "y@black.test", "z@blue.test"],
        )
        .await;
    }
    let due = store.due(house.now(), 9).await.unwrap();
    assert_eq!(due[0].letters, 150);
    let first = claim(house, &store, "black.test", 100).await;
    assert_eq!(first.len(), 100);
    let rest = claim(house, &store, "black.test", 100).await;
    assert_eq!(rest.len(), 50);
    let mut letters: Vec<_> = first
        .iter()
        .chain(&rest)
        .map(|of| of.reference.letter)
        .collect();
    letters.sort();
    letters.dedup();
    assert_eq!(letters.len(), 150);
    assert!(first.iter().all(|claim| claim.recipients.len() == 2));
    house.finish(store).await;
}

/// A submission may put a copy into Sent; without recipients it is none.
pub(crate) async fn submissions(house: &House) {
    let (store, alice, _) = house.with_people().await;
    let text = letter("s");
    let mut submission = house
        .submission(&store, &text, alice, &["x@black.test"])
        .await;
    submission.sent_copy = Some(Role::Sent);
    store.submit(submission).await.unwrap();
    let sent = store.mailbox(alice, "Sent").await.unwrap().unwrap();
    assert_eq!((sent.status.messages, sent.status.unseen), (1, 0));
    let mut none = house
        .submission(&store, &text, alice, &["x@black.test"])
        .await;
    none.recipients.clear();
    assert!(matches!(
        store.submit(none).await,
        Err(StoreError::Invalid(_))
    ));
    house.finish(store).await;
}

/// What is new is named, what becomes due is found by time, and pages find all of it.
pub(crate) async fn looks_at_the_queue(house: &House) {
    let (store, alice, _) = house.with_people().await;
    let signal = store.queue_signal();
    assert_eq!(signal.news(), QueueNews::default());
    submit(
        house,
        &store,
        "a",
        &["x@black.test", "y@black.test", "x@blue.test"],
    )
    .await;
    let lane = Lane {
        tenant: "red.test".to_owned(),
        account: Some(alice),
        priority: 0,
    };
    let news = signal.news();
    let named = [
        (domain("black.test"), lane.clone()),
        (domain("blue.test"), lane.clone()),
    ];
    assert_eq!(news.lanes.into_iter().collect::<Vec<_>>(), named);
    assert!(!news.others && signal.news().lanes.is_empty());
    let due = store.due_of(house.now(), named.to_vec(), 1).await.unwrap();
    let seen: Vec<_> = due
        .iter()
        .map(|due| (due.letters, due.more, due.tried))
        .collect();
    assert_eq!(seen, [(1, true, false), (1, false, false)]);
    // By time: in reads that are cut anywhere, each lane once, and nothing twice.
    let mut cursor = DueCursor::start();
    let mut found = Vec::new();
    loop {
        let read = store.became_due(cursor, house.now(), 1).await.unwrap();
        found.extend(read.lanes);
        cursor = read.cursor;
        if !read.more {
            break;
        }
    }
    assert_eq!(found, named);
    // What was settled for later is found when its time has come, and is no news before.
    let later = house.now() + Duration::from_secs(60);
    let claims = claim(house, &store, "blue.test", 9).await;
    let _ = signal.news();
    store
        .settle(settlement(&claims[0], &retry(later)))
        .await
        .unwrap();
    let news = signal.news();
    assert!(news.lanes.is_empty());
    assert_eq!(news.next_at, Some(later));
    let read = store
        .became_due(cursor.clone(), house.now(), 9)
        .await
        .unwrap();
    assert!(read.lanes.is_empty() && read.cursor == cursor);
    assert_eq!(store.next_due(house.now()).await.unwrap(), Some(later));
    house.pass(Duration::from_secs(60));
    let read = store.became_due(cursor, house.now(), 9).await.unwrap();
    assert_eq!(read.lanes, [named[1].clone()]);
    let due = store.due_of(house.now(), read.lanes, 9).await.unwrap();
    assert!(due[0].tried);
    house.finish(store).await;
}

/// The end of a letter is no news; what is given back is, and an operator's work is told without
/// names.
pub(crate) async fn news_of_the_queue(house: &House) {
    let (store, alice, _) = house.with_people().await;
    let signal = store.queue_signal();
    submit(house, &store, "a", &["x@black.test", "x@blue.test"]).await;
    let lane = Lane {
        tenant: "red.test".to_owned(),
        account: Some(alice),
        priority: 0,
    };
    let black = (domain("black.test"), lane);
    let _ = signal.news();
    let claims = claim(house, &store, "blue.test", 9).await;
    store
        .settle(settlement(&claims[0], &Outcome::Done))
        .await
        .unwrap();
    assert_eq!(signal.news(), QueueNews::default());
    let claims = claim(house, &store, "black.test", 9).await;
    store
        .settle(settlement(&claims[0], &retry(house.now())))
        .await
        .unwrap();
    assert_eq!(
        signal.news().lanes.into_iter().collect::<Vec<_>>(),
        std::slice::from_ref(&black)
    );
    // An operator's work names nothing; a page finds it.
    store.queue_hold(&QueueFilter::default()).await.unwrap();
    store.queue_release(&QueueFilter::default()).await.unwrap();
    assert!(signal.news().others);
    let page = store.due_page(house.now(), None, 9).await.unwrap();
    assert_eq!((page.due.len(), page.last), (1, None));
    let page = store.due_page(house.now(), Some(black), 9).await.unwrap();
    assert!(page.due.is_empty());
    house.finish(store).await;
}

/// Each sender has a lane, and so has each priority; claims take from one.
pub(crate) async fn lanes_are_claimed_apart(house: &House) {
    let (store, alice, bob) = house.with_people().await;
    let mut lanes = Vec::new();
    for (account, priority, count) in [(alice, 0, 3), (bob, 0, 2), (alice, 4, 1)] {
        for number in 0..count {
            let text = letter(&format!("{account}-{priority}-{number}"));
            let mut new = house
                .submission(&store, &text, account, &["x@far.test"])
                .await;
            new.handling.priority = priority;
            store.submit(new).await.unwrap();
        }
        lanes.push(Lane {
            tenant: "red.test".to_owned(),
            account: Some(account),
            priority,
        });
    }
    let due = store.due(house.now(), 9).await.unwrap();
    let mut letters: Vec<_> = due
        .iter()
        .map(|due| (due.lane.clone(), due.letters))
        .collect();
    letters.sort();
    let mut expected: Vec<_> = lanes.iter().cloned().zip([3, 2, 1]).collect();
    expected.sort();
    assert_eq!(letters, expected);
    let wanted = [
        (domain("far.test"), lanes[0].clone(), 2),
        (domain("far.test"), lanes[1].clone(), 9),
    ];
    let claims = store
        .claim_lanes(house.now(), LEASE, &wanted)
        .await
        .unwrap();
    let taken: Vec<_> = claims.iter().map(|claim| claim.lane.clone()).collect();
    assert_eq!(
        taken,
        [&lanes[0], &lanes[0], &lanes[1], &lanes[1]].map(Clone::clone)
    );
    // Without a lane, the urgent one comes first.
    let rest = claim(house, &store, "far.test", 9).await;
    let taken: Vec<_> = rest.iter().map(|claim| claim.lane.clone()).collect();
    assert_eq!(taken, [&lanes[2], &lanes[0]].map(Clone::clone));
    house.finish(store).await;
}

/// What an alert is made of.
pub(crate) async fn the_queue_tells_how_far_it_is_behind(house: &House) {
    let (store, _, _) = house.with_people().await;
    let empty = store.queue_state(10).await.unwrap();
    assert_eq!((empty.recipients, empty.oldest_tried), (0, None));
    submit(house, &store, "one", &["a@black.test", "b@black.test"]).await;
    let since = house.now();
    house.pass(Duration::from_secs(60));
    submit(house, &store, "two", &["c@blue.test"]).await;
    // What was not tried yet is not late.
    let fresh = store.queue_state(10).await.unwrap();
    assert_eq!((fresh.recipients, fresh.oldest_tried), (3, None));
    assert_eq!(store.queue_state(2).await.unwrap().recipients, 2);
    let first = claim(house, &store, "black.test", 1).await.remove(0);
    let later = retry(house.now() + LEASE);
    assert!(store.settle(settlement(&first, &later)).await.unwrap());
    let tried = store.queue_state(10).await.unwrap();
    assert_eq!((tried.recipients, tried.oldest_tried), (3, Some(since)));
    // What an operator holds is not late either.
    let domain = Some(domain("black.test"));
    let filter = QueueFilter {
        domain,
        ..QueueFilter::default()
    };
    assert_eq!(store.queue_hold(&filter).await.unwrap(), 2);
    assert_eq!(store.queue_state(10).await.unwrap().oldest_tried, None);
}
