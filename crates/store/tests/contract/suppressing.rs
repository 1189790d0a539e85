//! Addresses elsewhere that are not tried for a while.

use std::time::Duration;

use pennyblack_store::{
    AddressNews, CountedFailure, NewSuppression, Outcome, Store, StoreError, SuppressionFilter,
    SuppressionRule,
};

use crate::house::{House, address, domain};
use crate::queueing::{claim, settlement, submit};

const DAY: Duration = Duration::from_secs(86_400);

fn failure() -> CountedFailure {
    CountedFailure {
        address: address("Dora@black.test"),
        status: "5.1.1".to_owned(),
        reason: "550 5.1.1 no such user".to_owned(),
        rule: SuppressionRule {
            failures: 2,
            span: DAY,
            memory: DAY * 90,
            kept: DAY * 30,
            kept_max: DAY * 180,
        },
    }
}

/// Sends a letter and settles it with this news.
async fn letter_ends(house: &House, store: &Store, outcome: Outcome, addresses: AddressNews) {
    submit(house, store, "one", &["dora@black.test"]).await;
    let claim = claim(house, store, "black.test", 1).await.remove(0);
    let mut settlement = settlement(&claim, &outcome);
    settlement.addresses = addresses;
    assert!(store.settle(settlement).await.unwrap());
}

async fn fails(house: &House, store: &Store) {
    let addresses = AddressNews {
        failed: vec![(domain("red.test"), failure())],
        reached: Vec::new(),
    };
    let reason = "550".to_owned();
    letter_ends(house, store, Outcome::Failed { reason }, addresses).await;
}

async fn listed(store: &Store) -> usize {
    let filter = SuppressionFilter::default();
    store.suppressions(&filter).await.unwrap().len()
}

pub(crate) async fn an_address_that_fails_again_and_again(house: &House) {
    let (store, _, _) = house.with_people().await;
    let (dora, red) = (address("dora@black.test"), domain("red.test"));
    fails(house, &store).await;
    assert_eq!(store.suppression(&dora, Some(&red)).await.unwrap(), None);
    assert_eq!(listed(&store).await, 0, "one failure is none");

    house.pass(DAY);
    let since = house.now();
    fails(house, &store).await;
    let found = store.suppression(&dora, Some(&red)).await.unwrap().unwrap();
    assert_eq!(found.address, dora);
    assert_eq!(found.sender_domain, Some(red.clone()));
    assert_eq!((found.manual, found.failures), (false, 2));
    assert_eq!(found.reason, "550 5.1.1 no such user");
    assert_eq!(found.since, since);
    assert_eq!(found.until, Some(since + DAY * 30));
    // Other senders' letters are not concerned, nor other people of the domain.
    let (blue, emil) = (domain("blue.test"), address("emil@black.test"));
    assert_eq!(store.suppression(&dora, Some(&blue)).await.unwrap(), None);
    assert_eq!(store.suppression(&dora, None).await.unwrap(), None);
    assert_eq!(store.suppression(&emil, Some(&red)).await.unwrap(), None);

    house.pass(DAY * 30);
    assert_eq!(store.suppression(&dora, Some(&red)).await.unwrap(), None);
    let addresses = AddressNews {
        failed: Vec::new(),
        reached: vec![dora.clone()],
    };
    letter_ends(house, &store, Outcome::Done, addresses).await;
    // All is forgotten: it takes as many failures as at first.
    fails(house, &store).await;
    assert_eq!(listed(&store).await, 0);
}

pub(crate) async fn the_operators_rows(house: &House) {
    let (store, _, _) = house.with_people().await;
    let (dora, red) = (address("dora@black.test"), domain("red.test"));
    let new = NewSuppression {
        address: address("DORA@black.test"),
        sender_domain: None,
        reason: "she asked for it".to_owned(),
        until: None,
    };
    store.suppress(new.clone()).await.unwrap();
    for sender in [None, Some(&red)] {
        let found = store.suppression(&dora, sender).await.unwrap().unwrap();
        assert!(found.manual && found.until.is_none());
        assert_eq!(found.reason, "she asked for it");
    }
    // Neither failures nor a letter that was under way change it.
    fails(house, &store).await;
    let addresses = AddressNews {
        failed: Vec::new(),
        reached: vec![dora.clone()],
    };
    letter_ends(house, &store, Outcome::Done, addresses).await;
    assert_eq!(listed(&store).await, 1);
    let one = SuppressionFilter {
        address: Some(address("emil@black.test")),
        ..SuppressionFilter::default()
    };
    assert!(store.suppressions(&one).await.unwrap().is_empty());
    assert_eq!(store.unsuppress(&dora, Some(&red)).await.unwrap(), 0);
    assert_eq!(store.unsuppress(&dora, None).await.unwrap(), 1);
    assert_eq!(listed(&store).await, 0);

    let ours = NewSuppression {
        address: address("bob@red.test"),
        ..new
    };
    let refused = store.suppress(ours).await.unwrap_err();
    assert!(matches!(refused, StoreError::Invalid(_)), "{refused}");
}
