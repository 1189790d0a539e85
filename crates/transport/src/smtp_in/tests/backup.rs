//! Mail that is kept for another server.

use base::ports::Clock as _;

use super::*;

#[tokio::test]
async fn mail_for_another_server_is_kept_and_passed_on_as_it_came() {
    let world = World::new().await;
    let mut peer = world.stranger().await;
    peer.ask("MAIL FROM:<alice@red.test>", "250").await;
    peer.ask("RCPT TO:<nobody@kept.test>", "550 5.1.1").await;
    peer.ask("RCPT TO:<bob@lost.test>", "550 5.7.1").await;
    peer.ask("RSET", "250").await;
    let reply = peer.letter("alice@red.test", &["bob+x@kept.test"], LETTER);
    let reply = reply.await;
    assert!(reply.starts_with("250"), "{reply}");
    let queued = world.store.queue_list(&QueueFilter::default()).await;
    let [entry] = &queued.unwrap()[..] else {
        panic!("not one letter");
    };
    assert_eq!(entry.reverse_path, Some(address("alice@red.test")));
    assert_eq!(entry.recipients[0].address, address("bob+x@kept.test"));
    let days = entry.expires_at.since(entry.received_at).as_secs() / 86_400;
    assert_eq!(days, 20);
    // An alias would have left its name: this is the letter as it came.
    let due = world.store.due(world.clock.now(), 10).await.unwrap();
    let wanted = [(due[0].domain.clone(), 1)];
    let lease = Duration::from_secs(60);
    let claims = world.store.claim(world.clock.now(), lease, &wanted).await;
    let head = claims.unwrap()[0].head.clone();
    let head = String::from_utf8(head.to_vec()).unwrap();
    assert!(head.starts_with("Received: "), "{head}");
    assert!(!head.contains("Delivered-To"), "{head}");
}
