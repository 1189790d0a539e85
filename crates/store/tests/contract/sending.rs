//! How much accounts send: counted, limited, held and let go.

use std::time::Duration;

use base::AccountId;
use base::limits::Sending;
use pennyblack_store::{
    Outcome, QueueFilter, QueueRecipientState, SendLimits, SentTooMuch, Settlement, Store,
    StoreError, Submission, Submitted,
};

use crate::house::{House, address, domain, letter, secret};

const HOUR: Duration = Duration::from_secs(3_600);

async fn submission(
    house: &House,
    store: &Store,
    from: AccountId,
    recipients: usize,
) -> Submission {
    let to: Vec<String> = (0..recipients)
        .map(|number| format!("user{number}@far.test"))
        .collect();
    let to: Vec<&str> = to.iter().map(String::as_str).collect();
    house.submission(store, &letter("sent"), from, &to).await
}

async fn submit(
    house: &House,
    store: &Store,
    from: AccountId,
    recipients: usize,
) -> Result<Submitted, StoreError> {
    let submission = submission(house, store, from, recipients).await;
    store.submit_and_tell(submission).await
}

fn too_much(limit: &str, of_domain: bool, in_hours: Option<i64>, house: &House) -> StoreError {
    let hour_ms = 3_600_000;
    let begun = house.now().millis().div_euclid(hour_ms);
    StoreError::SentTooMuch(SentTooMuch {
        limit: limit.to_owned(),
        of_domain,
        again_at: in_hours.map(|hours| base::Timestamp((begun + hours) * hour_ms)),
    })
}

/// Hours and days, overrides, domains; what was refused does not count, and nothing is forgotten by a
/// restart.
pub(crate) async fn limits(house: &House) {
    let (store, alice, bob) = house.with_people().await;
    let four = SendLimits {
        letters_per_hour: Some(2),
        letters_per_day: Some(3),
        recipients_per_hour: Some(5),
        ..SendLimits::default()
    };
    store.set_account_send_limits(alice, four).await.unwrap();
    assert!(submit(house, &store, alice, 1).await.is_ok());
    let large = submit(house, &store, alice, 6).await;
    let never = too_much("5 recipients in an hour", false, None, house);
    assert_eq!(large, Err(never));
    assert!(submit(house, &store, alice, 4).await.is_ok());
    let third = submit(house, &store, alice, 1).await;
    let soon = too_much("2 letters in an hour", false, Some(1), house);
    assert_eq!(third, Err(soon));
    assert_eq!(store.sent(alice).await.unwrap().day, (2, 5));
    store.close().await.unwrap();
    drop(store);
    let store = house.open().await;
    assert!(submit(house, &store, alice, 1).await.is_err());
    // Bob has no limits of his own, and the settings have none.
    for _ in 0..4 {
        assert!(submit(house, &store, bob, 10).await.is_ok());
    }
    house.pass(HOUR);
    assert!(submit(house, &store, alice, 1).await.is_ok());
    let fourth = submit(house, &store, alice, 1).await;
    // The first two fall out of the day 24 hours after they were sent.
    let tomorrow = too_much("3 letters in a day", false, Some(23), house);
    assert_eq!(fourth, Err(tomorrow));
    house.pass(HOUR * 23);
    assert!(submit(house, &store, alice, 1).await.is_ok());
    assert_eq!(store.sent(alice).await.unwrap().day, (2, 2));

    let of_all = SendLimits {
        recipients_per_day: Some(12),
        ..SendLimits::default()
    };
    let red = domain("red.test");
    store.set_domain_send_limits(&red, of_all).await.unwrap();
    assert!(submit(house, &store, bob, 10).await.is_ok());
    let full = submit(house, &store, alice, 3).await;
    let together = too_much("12 recipients in a day", true, Some(24), house);
    assert_eq!(full, Err(together));
    assert!(submit(house, &store, bob, 2).await.is_ok());
    let none = store
        .set_domain_send_limits(&domain("none.test"), of_all)
        .await;
    assert_eq!(none, Err(StoreError::NotFound("domain")));
    store.maintain().await.unwrap();
    house.pass(HOUR * 24 * 9);
    store.maintain().await.unwrap();
    assert_eq!(house.number("SELECT count(*) FROM sent"), 0);
    house.finish(store).await;
}

const BRAKING: Sending = Sending {
    brake_recipients: 40,
    brake_factor: 2,
    brake_failures: 8,
    ..Sending::NONE
};

async fn states(store: &Store) -> Vec<(QueueRecipientState, String)> {
    let entries = store.queue_list(&QueueFilter::default()).await.unwrap();
    let recipients = entries.into_iter().flat_map(|entry| entry.recipients);
    recipients.map(|one| (one.state, one.reason)).collect()
}

/// A burst holds the account until it is released; nothing of what it submits is lost.
pub(crate) async fn a_burst_is_held(house: &House) {
    *house.sending.lock().unwrap() = BRAKING;
    let (store, alice, bob) = house.with_people().await;
    // A new account may send a quarter.
    assert_eq!(submit(house, &store, bob, 10).await.unwrap().held, None);
    let held = submit(house, &store, bob, 1).await.unwrap().held;
    let why = "held: 11 recipients in this hour, and at most 0 in an hour of the last week";
    assert_eq!(held.as_deref(), Some(why));
    assert!(submit(house, &store, bob, 1).await.unwrap().held.is_some());
    assert_eq!(submit(house, &store, alice, 1).await.unwrap().held, None);
    store.close().await.unwrap();
    drop(store);
    let store = house.open().await;
    let told = store.untold_holds().await.unwrap();
    assert_eq!((told.len(), told[0].id), (1, bob));
    assert_eq!(
        (told[0].why.as_str(), told[0].address.clone()),
        (why, address("bob@red.test"))
    );
    let mut report = submission(house, &store, alice, 1).await;
    report.account = None;
    assert!(store.tell_hold(bob, report.clone()).await.unwrap());
    assert!(!store.tell_hold(bob, report).await.unwrap(), "told once");
    assert_eq!(store.untold_holds().await.unwrap(), []);
    assert!(submit(house, &store, bob, 1).await.unwrap().held.is_some());
    let is_held = |(state, _): &&(QueueRecipientState, String)| *state == QueueRecipientState::Held;
    let found = states(&store).await;
    assert_eq!(found.iter().filter(is_held).count(), 3);
    assert!(found.iter().any(|(_, reason)| reason == why));
    // Held letters are not due.
    let due = store.due(house.now() + HOUR, 10).await.unwrap();
    assert_eq!(due.iter().map(|one| one.letters).sum::<u32>(), 3);
    house.pass(HOUR * 24 * 10);
    assert_eq!(store.release_sender(bob, false).await.unwrap(), 3);
    let entries = store.queue_list(&QueueFilter::default()).await.unwrap();
    assert!(entries.iter().any(|entry| entry.expires_at > house.now()));
    assert_eq!(states(&store).await.iter().filter(is_held).count(), 0);
    let again = store.release_sender(bob, false).await;
    assert_eq!(again, Err(StoreError::NotFound("hold")));
    // It is left alone for a day; then its busiest hour counts.
    assert_eq!(submit(house, &store, bob, 50).await.unwrap().held, None);
    house.pass(HOUR * 25);
    assert_eq!(submit(house, &store, bob, 100).await.unwrap().held, None);
    assert!(submit(house, &store, bob, 1).await.unwrap().held.is_some());
    let kept = states(&store).await.len();
    assert_eq!(store.release_sender(bob, true).await.unwrap(), 1);
    assert_eq!(states(&store).await.len(), kept - 1);
    // A new password is watched like a new account.
    house.pass(HOUR * 24 * 8);
    store.set_password(alice, &secret("new")).await.unwrap();
    assert!(
        submit(house, &store, alice, 11)
            .await
            .unwrap()
            .held
            .is_some()
    );
    house.finish(store).await;
}

/// Letters that others refuse in numbers hold the account that sends them.
pub(crate) async fn refusals_hold(house: &House) {
    *house.sending.lock().unwrap() = BRAKING;
    let (store, alice, _) = house.with_people().await;
    house.pass(HOUR * 25);
    for refused in [3, 3, 2] {
        let letter = submission(house, &store, alice, 4).await;
        assert_eq!(store.submit_and_tell(letter).await.unwrap().held, None);
        let wanted = [(domain("far.test"), 1)];
        let claims = store.claim(house.now(), HOUR, &wanted).await.unwrap();
        let outcome = |number: usize| match number < refused {
            true => Outcome::Failed {
                reason: "550 spam".to_owned(),
            },
            false => Outcome::Done,
        };
        let recipients = claims[0].recipients.iter().enumerate();
        let settlement = Settlement {
            claim: claims[0].reference,
            outcomes: recipients.map(|(at, of)| (of.id, outcome(at))).collect(),
            local: Vec::new(),
            forwards: Vec::new(),
            reports: Vec::new(),
            notes: Vec::new(),
            addresses: pennyblack_store::AddressNews::default(),
        };
        assert!(store.settle(settlement).await.unwrap());
    }
    assert_eq!(store.sent(alice).await.unwrap().refused, 8);
    let held = submit(house, &store, alice, 1).await.unwrap().held;
    let why = "held: 8 of the 13 recipients of this day could not be reached";
    assert_eq!(held.as_deref(), Some(why));
    house.finish(store).await;
}
