//! Groups: who may write to them, and who is told that they were expanded.

use store::Senders;

use super::*;

async fn with_group(senders: Senders) -> World {
    let world = World::new().await;
    let members = ["bob@black.test", "far@elsewhere.test"].map(address);
    let group = address("team@black.test");
    let made = world.store.set_group(&group, &members, Some(senders)).await;
    made.unwrap();
    world
}

#[tokio::test]
async fn a_group_of_members_takes_letters_of_members() {
    let world = with_group(Senders::Members).await;
    let mut peer = world.stranger().await;
    for sender in ["alice@red.test", "", "bob@black.test"] {
        peer.ask(&format!("MAIL FROM:<{sender}>"), "250").await;
        peer.ask("RCPT TO:<team@black.test>", "550 5.7.2").await;
        peer.ask("RSET", "250").await;
    }
    let reply = peer
        .letter("far@elsewhere.test", &["team@black.test"], LETTER)
        .await;
    assert!(reply.starts_with("250"), "{reply}");
    assert_eq!(world.inbox(world.bob).await.len(), 1);
    assert_eq!(world.queued().await, ["far@elsewhere.test"]);
    let mut bob = world.user().await;
    bob.ask("MAIL FROM:<bob@black.test>", "250").await;
    bob.ask("RCPT TO:<team@black.test>", "250").await;
}

/// Who claims to be of the domain and has not logged in is not believed.
#[tokio::test]
async fn a_group_of_a_domain_takes_letters_of_its_users() {
    let world = with_group(Senders::Domain).await;
    let mut peer = world.stranger().await;
    for sender in ["far@elsewhere.test", "bob@black.test"] {
        peer.ask(&format!("MAIL FROM:<{sender}>"), "250").await;
        peer.ask("RCPT TO:<team@black.test>", "550 5.7.2").await;
        peer.ask("RSET", "250").await;
    }
    let mut bob = world.user().await;
    bob.ask("MAIL FROM:<bob@black.test>", "250").await;
    bob.ask("RCPT TO:<team@black.test>", "250").await;
}

/// RFC 3461 §5.2.7.2.
#[tokio::test]
async fn who_asks_is_told_of_the_expansion() {
    let world = with_group(Senders::Anyone).await;
    let mut peer = world.stranger().await;
    peer.ask("MAIL FROM:<alice@red.test>", "250").await;
    peer.ask("RCPT TO:<team@black.test> NOTIFY=SUCCESS", "250")
        .await;
    peer.ask("DATA", "354").await;
    peer.ask(&format!("{LETTER}."), "250").await;
    let mut queued = world.queued().await;
    queued.sort();
    assert_eq!(queued, ["alice@red.test", "far@elsewhere.test"]);
}
