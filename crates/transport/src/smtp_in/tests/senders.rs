//! As whom users send: RFC 6409 §6.1 and §8, RFC 5322 §3.6.2, §3.6.3 and §3.6.6.

use std::time::Duration;

use store::{AuthorCheck, SendRight};

use super::*;

/// What is sent on of the letter that was submitted, head and letter; it leaves the queue.
async fn sent(world: &World) -> String {
    let entries = world
        .store
        .queue_list(&QueueFilter::default())
        .await
        .unwrap();
    let [entry] = &entries[..] else {
        panic!("{} letters in the queue", entries.len());
    };
    let domains = [(Domain::parse("else.test").unwrap(), 1)];
    let now = entry.received_at + Duration::from_secs(1);
    let claims = world.store.claim(now, Duration::from_secs(60), &domains);
    let claims = claims.await.unwrap();
    let mut text = String::from_utf8(claims[0].head.to_vec()).unwrap();
    let letter = world.store.claimed_letter(&claims[0]).await.unwrap();
    text.push_str(std::str::from_utf8(letter.bytes()).unwrap());
    world
        .store
        .queue_drop(&QueueFilter::default())
        .await
        .unwrap();
    text
}

async fn submit(world: &World, header: &str) -> String {
    let mut peer = world.user().await;
    let letter = format!("{header}\r\n\r\ny\r\n");
    peer.letter("bob@black.test", &["eve@else.test"], &letter)
        .await
}

#[tokio::test]
async fn an_identity_is_as_good_as_an_own_address() {
    let world = World::new().await;
    let reply = submit(&world, "From: sales@else.test").await;
    let told = "550 5.7.1 You may not send as <sales@else.test> (From field); you may as \
        bob@black.test\r\n";
    assert_eq!(reply, told);
    let right = SendRight::Address(address("sales@else.test"));
    world.store.add_send_right(world.bob, right).await.unwrap();
    let reply = submit(&world, "From: sales@else.test").await;
    assert!(reply.starts_with("250 2.0.0"), "{reply}");
    assert!(!sent(&world).await.contains("\r\nSender:"));
    let mut peer = world.user().await;
    peer.ask("MAIL FROM:<sales@else.test>", "250").await;
    peer.ask("RSET", "250").await;
    let reply = peer.ask("MAIL FROM:<carol@black.test>", "550 5.7.1").await;
    assert!(reply.contains("(MAIL FROM); you may as bob@black.test, sales@else.test"));
}

#[tokio::test]
async fn who_sends_on_behalf_is_named() {
    let world = World::new().await;
    let name = address("carol@black.test");
    let carol = world.store.account_by_address(&name).await;
    let carol = carol.unwrap().unwrap();
    let right = SendRight::OnBehalfOf(carol);
    world.store.add_send_right(world.bob, right).await.unwrap();
    // RFC 6409 §8.1: the server adds what the letter does not say.
    let reply = submit(&world, "From: Carol <carol@black.test>").await;
    assert!(reply.starts_with("250 2.0.0"), "{reply}");
    assert!(
        sent(&world)
            .await
            .contains("\r\nSender: bob@black.test\r\n")
    );
    let own = "From: carol@black.test\r\nSender: robert@black.test";
    assert!(submit(&world, own).await.starts_with("250"));
    let text = sent(&world).await;
    assert_eq!(text.matches("Sender:").count(), 1, "{text}");
    // Being lent a name in From is not being it.
    let forged = "From: carol@black.test\r\nSender: carol@black.test";
    let reply = submit(&world, forged).await;
    assert!(reply.contains("<carol@black.test> (Sender field); you may as bob@black.test, "));
    let mut peer = world.user().await;
    peer.ask("MAIL FROM:<carol@black.test>", "550 5.7.1").await;
    // RFC 5322 §3.6.2: of several authors, one sent it.
    let both = "From: carol@black.test, bob@black.test";
    assert!(submit(&world, both).await.starts_with("250"));
    assert!(
        sent(&world)
            .await
            .contains("\r\nSender: bob@black.test\r\n")
    );
    // RFC 6854: members of a group are authors.
    let group = "From: We: bob@black.test, root@black.test;";
    let reply = submit(&world, group).await;
    assert!(reply.contains("<root@black.test> (From field)"), "{reply}");
}

#[tokio::test]
async fn what_is_missing_is_added_and_what_is_private_taken_out() {
    let world = World::new().await;
    let header =
        "Return-Path: <x@else.test>\r\nSubject: x\r\nBcc: one@else.test,\r\n two@else.test";
    assert!(submit(&world, header).await.starts_with("250"));
    let text = sent(&world).await;
    assert!(text.contains("\r\nFrom: bob@black.test\r\n"), "{text}");
    assert!(text.contains("\r\nDate: ") && text.contains("\r\nMessage-ID: <"));
    assert!(!text.contains("Bcc") && !text.contains("two@") && !text.contains("Return-Path"));
    assert!(text.ends_with("Subject: x\r\n\r\ny\r\n"), "{text}");
}

#[tokio::test]
async fn a_letter_that_is_sent_again_is_its_authors_where_the_domain_lets_it() {
    let world = World::new().await;
    let again = "Resent-From: bob@black.test\r\nResent-To: eve@else.test\r\nFrom: eve@else.test";
    let reply = submit(&world, again).await;
    assert!(reply.contains("<eve@else.test> (From field)"), "{reply}");
    let black = Domain::parse("black.test").unwrap();
    let set = async |check| world.store.set_author_check(&black, check).await.unwrap();
    set(AuthorCheck::NotResent).await;
    assert!(submit(&world, again).await.starts_with("250"));
    assert!(!sent(&world).await.contains("\r\nSender:"));
    // Ours would be signed in that name; and nobody sends again in another's name.
    for header in [
        "Resent-From: bob@black.test\r\nFrom: carol@black.test",
        "Resent-From: carol@black.test\r\nFrom: eve@else.test",
        "Resent-From: bob@black.test\r\nResent-Sender: carol@black.test\r\nFrom: eve@else.test",
        "From: eve@else.test",
    ] {
        let reply = submit(&world, header).await;
        assert!(reply.starts_with("550 5.7.1"), "{header}: {reply}");
    }
    let nobody = "Resent-To: x@else.test\r\nFrom: bob@black.test";
    assert!(submit(&world, nobody).await.starts_with("554 5.6.0"));
    set(AuthorCheck::Never).await;
    assert!(
        submit(&world, "From: eve@else.test")
            .await
            .starts_with("250")
    );
    // Who sends is said all the same.
    assert!(
        sent(&world)
            .await
            .contains("\r\nSender: bob@black.test\r\n")
    );
    let mut peer = world.user().await;
    peer.ask("MAIL FROM:<eve@else.test>", "550 5.7.1").await;
    // What would be signed as another domain of ours is not let through by any check.
    let red = Domain::parse("red.test").unwrap();
    world.store.add_domain(&red).await.unwrap();
    for author in ["eve@red.test", "eve@shop.red.test"] {
        let reply = submit(&world, &format!("From: {author}")).await;
        assert!(reply.starts_with("550 5.7.1"), "{author}: {reply}");
    }
    let own = submit(&world, "From: shop@black.test").await;
    assert!(own.starts_with("250"), "{own}");
}
