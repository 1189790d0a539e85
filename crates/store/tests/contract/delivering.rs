//! Letters come in and go out.

use std::time::Duration;

use base::{ModSeq, Uid};
use pennyblack_store::{Outcome, QueueFilter, Settlement};

use crate::house::{House, domain, letter};

/// Delivered, read, submitted, claimed, settled.
pub(crate) async fn a_letter_travels(house: &House) {
    let (store, alice, bob) = house.with_people().await;
    let delivery = house
        .delivery(&store, &letter("one"), &[(bob, "bob@red.test")])
        .await;
    let delivered = store.deliver(delivery).await.unwrap();
    assert!(!delivered.repeated);
    let inbox = store.mailbox(bob, "inbox").await.unwrap().unwrap();
    assert_eq!(inbox.status.messages, 1);
    assert_eq!(inbox.status.unseen, 1);
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
    let changes = store
        .mailbox_changes(bob, inbox.id, ModSeq(0))
        .await
        .unwrap();
    assert_eq!(changes.changed, page);

    let to = ["dora@black.test", "emil@black.test", "fred@blue.test"];
    let submission = house.submission(&store, &letter("two"), alice, &to).await;
    let id = store.submit(submission).await.unwrap();
    let due = store.due(house.now(), 10).await.unwrap();
    assert_eq!(due.len(), 2);
    let wanted = [(domain("black.test"), 5), (domain("blue.test"), 5)];
    let lease = Duration::from_secs(60);
    let claims = store.claim(house.now(), lease, &wanted).await.unwrap();
    assert_eq!(claims.len(), 2);
    assert_eq!(claims[0].recipients.len(), 2);
    assert!(store.due(house.now(), 10).await.unwrap().is_empty());
    let bytes = store.claimed_letter(&claims[0]).await.unwrap();
    assert_eq!(bytes.bytes(), letter("two").as_bytes());
    for claim in &claims {
        let outcomes = claim.recipients.iter().map(|of| (of.id, Outcome::Done));
        let settlement = Settlement {
            claim: claim.reference,
            outcomes: outcomes.collect(),
            local: Vec::new(),
            forwards: Vec::new(),
            reports: Vec::new(),
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
    assert_eq!(store.verify().await.unwrap(), Vec::<String>::new());
    store.close().await.unwrap();
}
