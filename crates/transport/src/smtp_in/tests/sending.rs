//! How much users send: what they are told, and what waits for the administrator.

use base::limits::Sending;

use super::*;
use crate::brake::tell_of_held;

async fn world(sending: Sending) -> World {
    World::with(Limits {
        sending,
        ..Limits::default()
    })
    .await
}

async fn submit(world: &World, recipients: usize) -> String {
    let mut peer = world.user().await;
    let names: Vec<String> = (0..recipients)
        .map(|number| format!("user{number}@else.test"))
        .collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let letter = "From: bob@black.test\r\n\r\nx\r\n";
    peer.letter("bob@black.test", &names, letter).await
}

#[tokio::test]
async fn a_limit_tells_when_to_come_again() {
    let world = world(Sending {
        recipients_per_hour: 3,
        letters_per_day: 2,
        ..Sending::NONE
    })
    .await;
    // Twenty minutes past the hour.
    world.clock.set(Timestamp::from_secs(1_800_001_200));
    let reply = submit(&world, 4).await;
    let never = "550 5.7.28 You may send at most 3 recipients in an hour, and this letter is more";
    assert_eq!(reply.trim_end(), never);
    assert!(submit(&world, 3).await.starts_with("250 2.0.0 Kept as "));
    let reply = submit(&world, 1).await;
    let later = "452 4.7.28 You may send at most 3 recipients in an hour; try again in 40 minutes";
    assert_eq!(reply.trim_end(), later);
    world.clock.set(Timestamp::from_secs(1_800_003_600));
    assert!(submit(&world, 1).await.starts_with("250 2.0.0 Kept as "));
    let reply = submit(&world, 1).await;
    let later = "452 4.7.28 You may send at most 2 letters in a day; try again in 1380 minutes";
    assert_eq!(reply.trim_end(), later);
    assert_eq!(world.queued().await.len(), 4);
}

#[tokio::test]
async fn a_burst_is_taken_and_held_and_the_admin_is_told_once() {
    let world = world(Sending {
        brake_recipients: 8,
        brake_factor: 3,
        ..Sending::NONE
    })
    .await;
    assert!(submit(&world, 2).await.starts_with("250 2.0.0 Kept as "));
    let reply = submit(&world, 1).await;
    assert!(reply.starts_with("250 2.0.0 Kept as "), "{reply}");
    assert!(
        reply.contains("but held: you send far more than usual"),
        "{reply}"
    );
    let hostname = Domain::parse("mx.black.test").unwrap();
    let now = world.context.now();
    let tell = async || {
        let entropy = Counting::default();
        tell_of_held(&world.store, &hostname, &entropy, now)
            .await
            .unwrap()
    };
    assert_eq!(tell().await, 1);
    assert_eq!(tell().await, 0);
    let entries = world
        .store
        .queue_list(&QueueFilter::default())
        .await
        .unwrap();
    let told = entries
        .iter()
        .find(|entry| entry.recipients[0].address == address("postmaster@black.test"));
    let told = told.unwrap();
    assert_eq!(told.reverse_path, None);
    assert_eq!(
        told.recipients[0].state,
        store::QueueRecipientState::Waiting
    );
    let domains = [(Domain::parse("black.test").unwrap(), 1)];
    let later = now + Duration::from_secs(1);
    let claims = world.store.claim(later, Duration::from_secs(60), &domains);
    let claims = claims.await.unwrap();
    let letter = world.store.claimed_letter(&claims[0]).await.unwrap();
    let text = std::str::from_utf8(letter.bytes()).unwrap();
    assert!(
        text.contains("Subject: bob@black.test is held for sending too much"),
        "{text}"
    );
    assert!(
        text.contains("3 recipients in this hour, and at most 0"),
        "{text}"
    );
    assert!(
        text.contains("pennyblack account release bob@black.test\r\n"),
        "{text}"
    );
    assert!(text.contains("Auto-Submitted: auto-generated"), "{text}");
}
