//! Letters come in from other servers.

use std::time::Duration;

use base::{AccountId, MailboxId, ModSeq, Uid};
use bytes::Bytes;
use pennyblack_store::{
    Delivered, Keywords, Outcome, QueueFilter, QuotaChange, Refusal, Resolved, Role, Settlement,
    Step, Store, StoreError, Target,
};

use crate::house::{House, address, domain, letter, person, recipient};

/// Delivered, read, submitted, claimed, settled.
pub(crate) async fn a_letter_travels(house: &House) {
    let (store, alice, bob) = house.with_people().await;
    let delivery = house
        .delivery(&store, &letter("one"), &[(bob, "bob@red.test")])
        .await;
    let delivered = store.deliver(delivery).await.unwrap();
    assert!(!delivered.repeated);
    let inbox = store.mailbox(bob, "inbox").await.unwrap().unwrap();
    assert_eq!((inbox.status.messages, inbox.status.unseen), (1, 1));
    let page = store.placements(bob, inbox.id, Uid(1), 10).await.unwrap();
    assert_eq!(page.len(), 1);
    assert_eq!(page[0].message, delivered.stored[0].message);
    let reader = store.body(bob, page[0].message).await.unwrap();
    let bytes = reader.read(0..u64::MAX).await.unwrap();
    let expected = format!("Delivered-To: bob@red.test\r\n{}", letter("one"));
    assert_eq!(bytes, expected.as_bytes());
    let structured = store.structured(bob, &[page[0].message]).await.unwrap();
    assert_eq!(structured[0].preview, "Hello, this is one.");
    assert_eq!(structured[0].meta.size, expected.len() as u64);
    assert_eq!(structured[0].meta.letter, Some(delivered.letter));
    let changes = store
        .mailbox_changes(bob, inbox.id, ModSeq(0))
        .await
        .unwrap();
    assert_eq!(changes.changed, page);

    let to = ["dora@black.test", "emil@black.test", "fred@blue.test"];
    let submission = house.submission(&store, &letter("two"), alice, &to).await;
    let id = store.submit(submission).await.unwrap();
    let wanted = [(domain("black.test"), 5), (domain("blue.test"), 5)];
    let lease = Duration::from_secs(60);
    let claims = store.claim(house.now(), lease, &wanted).await.unwrap();
    assert_eq!(claims.len(), 2);
    for claim in &claims {
        let bytes = store.claimed_letter(claim).await.unwrap();
        assert_eq!(bytes.bytes(), letter("two").as_bytes());
        let settlement = Settlement {
            claim: claim.reference,
            outcomes: claim
                .recipients
                .iter()
                .map(|of| (of.id, Outcome::Done))
                .collect(),
            local: Vec::new(),
            forwards: Vec::new(),
            reports: Vec::new(),
            addresses: Default::default(),
            notes: Vec::new(),
        };
        assert!(store.settle(settlement).await.unwrap());
    }
    assert!(
        store
            .queue_list(&QueueFilter::default())
            .await
            .unwrap()
            .is_empty()
    );
    let found = store
        .letters_by_message_id("two@black.test", 9)
        .await
        .unwrap();
    assert_eq!(found, [id]);
    house.finish(store).await;
}

async fn deliver(house: &House, store: &Store, name: &str, to: AccountId) -> Delivered {
    let delivery = house
        .delivery(store, &letter(name), &[(to, "bob@red.test")])
        .await;
    store.deliver(delivery).await.unwrap()
}

/// A letter that comes again after its reply was lost is not stored again.
pub(crate) async fn a_repetition_after_a_lost_reply(house: &House) {
    let (store, _, bob) = house.with_people().await;
    let first = deliver(house, &store, "x", bob).await;
    let id = first.letter;
    // While the connection lives, an equal letter is a letter of its own.
    let second = deliver(house, &store, "x", bob).await;
    assert!(!second.repeated);
    store.confirm(vec![second.letter]).await.unwrap();
    // The connection dies before the peer has shown that it saw the reply.
    drop(first);
    let third = deliver(house, &store, "x", bob).await;
    assert!(third.repeated);
    assert_eq!((third.letter, third.stored.len()), (id, 0));
    // It was repeated once. While that connection lives, the next is a letter of its own; when it
    // is lost as well, the next is a repetition again.
    let other = deliver(house, &store, "x", bob).await;
    assert!(!other.repeated);
    store.confirm(vec![other.letter]).await.unwrap();
    drop(third);
    let third = deliver(house, &store, "x", bob).await;
    assert_eq!((third.repeated, third.letter), (true, id));
    // Another letter, another envelope: no repetitions.
    assert!(!deliver(house, &store, "y", bob).await.repeated);
    let mut delivery = house
        .delivery(&store, &letter("x"), &[(bob, "bob@red.test")])
        .await;
    delivery.reverse_path = None;
    assert!(!store.deliver(delivery).await.unwrap().repeated);
    // Once it is confirmed, the next is a letter of its own.
    store.confirm(vec![third.letter]).await.unwrap();
    let fourth = deliver(house, &store, "x", bob).await;
    assert!(!fourth.repeated);
    drop(fourth);
    // After a day nobody repeats.
    house.pass(Duration::from_secs(24 * 3_600 + 1));
    assert!(!deliver(house, &store, "x", bob).await.repeated);
    house.finish(store).await;
}

/// Confirmations that come with a delivery count even if it is refused.
pub(crate) async fn confirmations_count_even_with_a_refusal(house: &House) {
    let (store, _, bob) = house.with_people().await;
    let first = deliver(house, &store, "x", bob).await.letter;
    store
        .set_quota(bob, QuotaChange::AtMost(1), QuotaChange::Keep)
        .await
        .unwrap();
    let mut delivery = house
        .delivery(&store, &letter("y"), &[(bob, "bob@red.test")])
        .await;
    delivery.confirms = vec![first];
    assert_eq!(
        store.deliver(delivery).await.err(),
        Some(StoreError::OverQuota)
    );
    store
        .set_quota(bob, QuotaChange::Lift, QuotaChange::Keep)
        .await
        .unwrap();
    assert!(!deliver(house, &store, "x", bob).await.repeated);
    house.finish(store).await;
}

/// A confirmation that the database does not take counts at once all the same, and is written when
/// it can be.
pub(crate) async fn confirmations_that_cannot_be_written(house: &House) {
    let (store, _, bob) = house.with_people().await;
    let first = deliver(house, &store, "x", bob).await;
    let second = deliver(house, &store, "y", bob).await;
    house.refuse_deletes("delivery");
    store.confirm(vec![first.letter]).await.unwrap_err();
    drop(first);
    // With a delivery: its own error is told.
    store
        .set_quota(bob, QuotaChange::AtMost(1), QuotaChange::Keep)
        .await
        .unwrap();
    let mut delivery = house
        .delivery(&store, &letter("z"), &[(bob, "bob@red.test")])
        .await;
    delivery.confirms = vec![second.letter];
    let refused = store.deliver(delivery).await.unwrap_err();
    assert_ne!(refused, StoreError::Closed, "{refused}");
    drop(second);
    store
        .set_quota(bob, QuotaChange::Lift, QuotaChange::Keep)
        .await
        .unwrap();
    for name in ["x", "y"] {
        let again = deliver(house, &store, name, bob).await;
        assert!(!again.repeated, "{name} is lost");
    }
    let waiting = "SELECT count(*) FROM delivery";
    assert_eq!(house.number(waiting), 4);
    house.allow_deletes("delivery");
    let until = std::time::Instant::now() + Duration::from_secs(60);
    while house.number(waiting) != 2 {
        assert!(std::time::Instant::now() < until, "they are not written");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // They were two letters each, of which two may still come again.
    for name in ["x", "y"] {
        let again = deliver(house, &store, name, bob).await;
        assert!(again.repeated, "{name}");
        store.confirm(vec![again.letter]).await.unwrap();
        assert!(!deliver(house, &store, name, bob).await.repeated, "{name}");
    }
    house.finish(store).await;
}

/// Over quota: refused alone, stored in company (the other copies are accepted already).
pub(crate) async fn quota(house: &House) {
    let (store, alice, bob) = house.with_people().await;
    let size = (letter("x").len() + "Delivered-To: bob@red.test\r\n".len()) as u64;
    store
        .set_quota(bob, QuotaChange::AtMost(size), QuotaChange::Keep)
        .await
        .unwrap();
    deliver(house, &store, "x", bob).await;
    assert_eq!(store.account(bob).await.unwrap().used_bytes, size);
    let refused = store.resolve(&address("bob@red.test")).await.unwrap();
    assert!(matches!(refused, Resolved::Refused(_)), "{refused:?}");
    let delivery = house
        .delivery(&store, &letter("y"), &[(bob, "bob@red.test")])
        .await;
    assert_eq!(
        store.deliver(delivery).await.err(),
        Some(StoreError::OverQuota)
    );
    let both = [(bob, "bob@red.test"), (alice, "alice@red.test")];
    let delivery = house.delivery(&store, &letter("z"), &both).await;
    let delivered = store.deliver(delivery).await.unwrap();
    assert_eq!(delivered.stored.len(), 2);
    house.finish(store).await;
}

/// As [`quota`], counted in messages: at the limit, one more, with room again, and in company.
pub(crate) async fn quota_of_messages(house: &House) {
    let (store, alice, bob) = house.with_people().await;
    let at_most = QuotaChange::AtMost(2);
    store
        .set_quota(bob, QuotaChange::Keep, at_most)
        .await
        .unwrap();
    deliver(house, &store, "a", bob).await;
    let bobs = address("bob@red.test");
    let room = store.resolve(&bobs).await.unwrap();
    assert_eq!(room, Resolved::Targets(vec![Target::Account(bob)]));
    deliver(house, &store, "b", bob).await;
    let full = Resolved::Refused(Refusal::OverQuota);
    assert_eq!(store.resolve(&bobs).await.unwrap(), full);
    let to_bob = [(bob, "bob@red.test")];
    let delivery = house.delivery(&store, &letter("c"), &to_bob).await;
    let refused = store.deliver(delivery).await.err();
    assert_eq!(refused, Some(StoreError::OverQuota));
    let inbox = MailboxId(1);
    let text = house.letter(&store, "d").await;
    let appended = store.append(bob, inbox, text, Keywords::default(), house.now());
    assert_eq!(appended.await.err(), Some(StoreError::OverQuota));
    // A copy where the message already is makes a message of its own; elsewhere it does not.
    let here = store.copy(bob, inbox, &[Uid(1)], inbox).await;
    assert_eq!(here.err(), Some(StoreError::OverQuota));
    store
        .copy(bob, inbox, &[Uid(1)], MailboxId(4))
        .await
        .unwrap();
    let mut sent = house
        .submission(&store, &letter("e"), bob, &["x@black.test"])
        .await;
    sent.sent_copy = Some(Role::Sent);
    assert_eq!(store.submit(sent).await.err(), Some(StoreError::OverQuota));
    let both = [(bob, "bob@red.test"), (alice, "alice@red.test")];
    let delivery = house.delivery(&store, &letter("f"), &both).await;
    assert_eq!(store.deliver(delivery).await.unwrap().stored.len(), 2);
    let info = store.account(bob).await.unwrap();
    assert_eq!((info.messages, info.quota_messages), (3, Some(2)));
    // What memory knows is what the rows say.
    store.close().await.unwrap();
    drop(store);
    house.pass(Duration::from_secs(1));
    let store = house.open().await;
    assert_eq!(store.resolve(&bobs).await.unwrap(), full);
    store
        .set_quota(bob, QuotaChange::Keep, QuotaChange::Lift)
        .await
        .unwrap();
    deliver(house, &store, "g", bob).await;
    house.finish(store).await;
}

/// The copy of what a user sent counts at once, also for who asks at RCPT.
pub(crate) async fn a_sent_copy_counts_at_once(house: &House) {
    let (store, _, bob) = house.with_people().await;
    let at_most = QuotaChange::AtMost(1);
    store
        .set_quota(bob, QuotaChange::Keep, at_most)
        .await
        .unwrap();
    let mut sent = house
        .submission(&store, &letter("a"), bob, &["x@black.test"])
        .await;
    sent.sent_copy = Some(Role::Sent);
    store.submit(sent).await.unwrap();
    let bobs = store.resolve(&address("bob@red.test")).await.unwrap();
    assert_eq!(bobs, Resolved::Refused(Refusal::OverQuota));
    house.finish(store).await;
}

/// Several recipients, a role without a mailbox, a forward, an account that is gone: one commit.
pub(crate) async fn one_letter_many_recipients(house: &House) {
    let (store, alice, bob) = house.with_people().await;
    let gone = store
        .add_account(person("gone@red.test", false))
        .await
        .unwrap();
    store.remove_account(gone).await.unwrap();
    store.delete_mailbox(bob, "Archive").await.unwrap();
    let to = [
        (bob, "bob@red.test"),
        (alice, "alice@red.test"),
        (gone, "gone@red.test"),
    ];
    let mut delivery = house.delivery(&store, &letter("m"), &to).await;
    delivery.local[0].mailbox = Role::Archive;
    delivery.local[1].mailbox = Role::Junk;
    delivery.local[1].keywords.insert("$junk");
    delivery.forwards = vec![recipient("else@blue.test")];
    delivery.forward_head = Bytes::from_static(b"Received: here\r\n");
    let delivered = store.deliver(delivery).await.unwrap();
    assert_eq!(delivered.stored.len(), 2);
    let inbox = store.mailbox(bob, "INBOX").await.unwrap().unwrap();
    assert_eq!(inbox.status.messages, 1);
    let junk = store.mailbox(alice, "Junk").await.unwrap().unwrap();
    let page = store.placements(alice, junk.id, Uid(1), 9).await.unwrap();
    assert!(page[0].keywords.contains("$junk"));
    let queue = store.queue_list(&QueueFilter::default()).await.unwrap();
    assert_eq!(queue[0].letter, delivered.letter);
    assert_eq!(queue[0].size, letter("m").len() as u64 + 16);
    let events = store.journey(delivered.letter).await.unwrap();
    let steps: Vec<Step> = events.iter().map(|event| event.note.step).collect();
    assert_eq!(steps, [Step::Stored, Step::Stored, Step::Failed]);
    assert!(
        events
            .iter()
            .any(|event| event.note.detail == "INBOX, UID 1")
    );
    house.finish(store).await;
}

/// A letter of several megabytes: spilled to a file, stored in parts, read by ranges.
pub(crate) async fn a_large_letter(house: &House) {
    let (store, _, bob) = house.with_people().await;
    let mut text = letter("big").into_bytes();
    let mut state = 1_u32;
    while text.len() < 3_000_000 {
        // Half of it hardly shrinks, half of it does.
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        text.extend_from_slice(format!("{state:08x}{:80}\r\n", "").as_bytes());
    }
    let mut spool = store.spool();
    for piece in text.chunks(7_777) {
        spool.write(piece).await.unwrap();
    }
    assert_eq!(spool.len(), text.len() as u64);
    let big = spool.finish().await.unwrap();
    assert_eq!(big.bytes(), &text);
    assert_eq!(big.hash(), blake3::hash(&text).as_bytes());
    let mut delivery = house.delivery(&store, "", &[(bob, "bob@red.test")]).await;
    delivery.letter = big;
    delivery.forwards = vec![recipient("else@blue.test")];
    let head = delivery.local[0].head.clone();
    let stored = store.deliver(delivery).await.unwrap().stored[0];
    let whole = [head.as_ref(), text.as_slice()].concat();
    let reader = store.body(bob, stored.message).await.unwrap();
    assert_eq!(reader.size(), whole.len() as u64);
    for start in [
        0,
        5,
        28,
        29,
        262_143,
        262_173,
        1_000_000,
        whole.len() - 1,
        whole.len(),
    ] {
        for length in [0, 1, 100, 262_144, 700_000, 9_000_000] {
            let range = start as u64..(start + length) as u64;
            let end = (start + length).min(whole.len());
            assert_eq!(
                reader.read(range.clone()).await.unwrap(),
                whole[start..end],
                "{range:?}"
            );
        }
    }
    let wanted = [(domain("blue.test"), 1)];
    let claims = store
        .claim(house.now(), Duration::from_secs(9), &wanted)
        .await
        .unwrap();
    let letter = store.claimed_letter(&claims[0]).await.unwrap();
    assert_eq!(letter.bytes(), &text);
    house.finish(store).await;
}

/// Equal letters share a blob; it goes when the last message goes, and not before.
pub(crate) async fn blobs_are_shared_and_collected(house: &House) {
    let (store, alice, bob) = house.with_people().await;
    let text = letter("shared");
    let both = [(bob, "bob@red.test"), (alice, "alice@red.test")];
    let delivered = store
        .deliver(house.delivery(&store, &text, &both).await)
        .await
        .unwrap();
    store.remove_account(alice).await.unwrap();
    house.pass(Duration::from_secs(7_200));
    store.maintain().await.unwrap();
    let of_bob = delivered
        .stored
        .iter()
        .find(|copy| copy.account == bob)
        .unwrap();
    let reader = store.body(bob, of_bob.message).await.unwrap();
    assert!(
        reader
            .read(0..u64::MAX)
            .await
            .unwrap()
            .ends_with(text.as_bytes())
    );
    // The last message goes: the reader that is open still reads within the grace.
    store.remove_account(bob).await.unwrap();
    store.maintain().await.unwrap();
    assert!(reader.read(0..u64::MAX).await.is_ok());
    // A letter that comes back within the grace keeps its blob.
    let carol = store
        .add_account(person("carol@red.test", false))
        .await
        .unwrap();
    let to = [(carol, "carol@red.test")];
    let copy = store
        .deliver(house.delivery(&store, &text, &to).await)
        .await
        .unwrap()
        .stored[0];
    house.pass(Duration::from_secs(7_200));
    store.maintain().await.unwrap();
    let reader = store.body(carol, copy.message).await.unwrap();
    assert!(
        reader
            .read(0..u64::MAX)
            .await
            .unwrap()
            .ends_with(text.as_bytes())
    );
    store.remove_account(carol).await.unwrap();
    house.pass(Duration::from_secs(7_200));
    store.maintain().await.unwrap();
    assert!(
        reader.read(0..u64::MAX).await.is_ok(),
        "the part read last is kept"
    );
    house.finish(store).await;
}

/// Answers belong to the thread of what they answer, whichever comes first; threads never merge.
pub(crate) async fn threads(house: &House) {
    let (store, _, bob) = house.with_people().await;
    let thread = async |id: &str, references: &str| {
        let text = format!(
            "Subject: s\r\nMessage-ID: <{id}@t>\r\nReferences: {references}\r\n\r\n{id}\r\n"
        );
        let delivery = house
            .delivery(&store, &text, &[(bob, "bob@red.test")])
            .await;
        let message = store.deliver(delivery).await.unwrap().stored[0].message;
        store.message_metas(bob, &[message]).await.unwrap()[0].thread
    };
    let a = thread("a", "").await;
    assert_eq!(thread("b", "<a@t>").await, a);
    // The answer comes before the letter that it answers.
    let c = thread("c", "<q@t> <d@t>").await;
    assert_eq!(thread("d", "").await, c);
    assert_eq!(thread("q", "").await, c);
    assert_ne!(a, c);
    // One that answers both stays with the nearer one, and neither moves.
    assert_eq!(thread("e", "<a@t> <c@t>").await, c);
    assert_eq!(thread("f", "<b@t>").await, a);
    house.finish(store).await;
}
