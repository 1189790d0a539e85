//! Letters for mailboxes here, and aliases that lead elsewhere.

use super::*;
use crate::testing::{Act, hello, script};
use store::QuotaChange;

#[tokio::test]
async fn a_letter_to_two_users_is_stored_for_both() {
    let world = World::new("", &[]).await;
    let letter = world.submit(&["alice@here.test", "bob@here.test"]).await;
    world.gone(letter).await;
    for (account, name) in [(world.alice, "alice"), (world.bob, "bob")] {
        let inbox = world.inbox(account).await;
        assert_eq!(inbox.len(), 1);
        let head = format!(
            "Return-Path: <alice@here.test>\r\n\
             Delivered-To: {name}@here.test\r\n\
             Received: from laptop by mx.here.test\r\n\
             From: alice@here.test\r\n"
        );
        assert!(inbox[0].starts_with(&head), "{}", inbox[0]);
        assert!(inbox[0].ends_with("\r\n\r\nhello\r\n"));
    }
    let journey = world.journey(letter).await;
    assert!(has(&journey, "Stored alice", "INBOX"), "{journey:?}");
    assert!(has(&journey, "Stored bob", "INBOX"), "{journey:?}");
    world.end().await;
}

#[tokio::test]
async fn a_user_who_does_not_exist_is_reported_and_the_other_served() {
    let world = World::new("", &[]).await;
    let letter = world.submit(&["nobody@here.test", "bob@here.test"]).await;
    world.gone(letter).await;
    assert_eq!(world.inbox(world.bob).await.len(), 1);
    let reports = world.inbox_after(world.alice, 1).await;
    assert!(reports[0].contains("Final-Recipient: rfc822; nobody@here.test\r\n"));
    assert!(reports[0].contains("Status: 5.1.1\r\n"));
    assert!(!reports[0].contains("bob@here.test"), "{}", reports[0]);
    assert!(reports[0].starts_with("Return-Path: <>\r\n"));
    let journey = world.journey(letter).await;
    assert!(
        has(&journey, "Failed nobody", "there is no user"),
        "{journey:?}"
    );
    assert!(
        has(
            &journey,
            "Reported -",
            "to alice@here.test: nobody@here.test failed"
        ),
        "{journey:?}"
    );
    world.end().await;
}

#[tokio::test]
async fn a_disabled_user_is_refused_for_good() {
    let world = World::new("", &[]).await;
    world.store.set_enabled(world.bob, false).await.unwrap();
    let letter = world.submit(&["bob@here.test"]).await;
    world.gone(letter).await;
    let reports = world.inbox_after(world.alice, 1).await;
    assert!(reports[0].contains("Status: 5.2.1\r\n"), "{}", reports[0]);
    world.end().await;
}

#[tokio::test]
async fn a_full_mailbox_delays() {
    let world = World::new("", &[]).await;
    let first = world.submit(&["bob@here.test"]).await;
    world.gone(first).await;
    world
        .store
        .set_quota(world.bob, QuotaChange::AtMost(1), QuotaChange::Keep)
        .await
        .unwrap();
    let second = world.submit(&["bob@here.test"]).await;
    let entry = world.deferred(second, 1).await;
    assert!(
        entry.recipients[0].reason.contains("is full (4.2.2)"),
        "{entry:?}"
    );
    world
        .store
        .set_quota(world.bob, QuotaChange::Lift, QuotaChange::Keep)
        .await
        .unwrap();
    world.gone(second).await;
    assert_eq!(world.inbox(world.bob).await.len(), 2);
    world.end().await;
}

#[tokio::test]
async fn an_alias_leads_here_and_elsewhere() {
    let takes = vec![
        Act::Want("MAIL FROM:<alice@here.test>"),
        Act::Say("250 ok"),
        Act::Want("RCPT TO:<carol@far.test>"),
        Act::Say("250 ok"),
        Act::Want("DATA"),
        Act::Say("354 go"),
        Act::WantLetter,
        Act::Say("250 kept"),
    ];
    let world = World::new(
        "far.test A 192.0.2.1",
        &[("192.0.2.1", vec![script(&[hello(), takes])])],
    )
    .await;
    world
        .store
        .add_alias(
            &address("team@here.test"),
            &[address("bob@here.test"), address("carol@far.test")],
        )
        .await
        .unwrap();
    let letter = world.submit(&["team@here.test"]).await;
    world.gone(letter).await;
    assert_eq!(world.inbox(world.bob).await.len(), 1);
    let journey = world.journey(letter).await;
    assert!(
        has(&journey, "Forwarded team", "to carol@far.test"),
        "{journey:?}"
    );
    world
        .until("the forward is gone", async || {
            let filter = QueueFilter::default();
            world.store.queue_list(&filter).await.unwrap().is_empty()
        })
        .await;
    let heard = world.net.heard();
    assert!(
        heard.iter().any(|line| line.starts_with("letter of")),
        "{heard:?}"
    );
    world.end().await;
}

#[tokio::test]
async fn two_recipients_that_lead_to_one_account_make_one_copy() {
    let world = World::new("", &[]).await;
    let letter = world
        .submit(&["bob@here.test", "bob+lists@here.test"])
        .await;
    world.gone(letter).await;
    assert_eq!(world.inbox(world.bob).await.len(), 1);
    world.end().await;
}

#[tokio::test]
async fn many_letters_are_each_stored_once() {
    let world = World::new("", &[]).await;
    let mut letters = Vec::new();
    for _ in 0..300 {
        letters.push(world.submit(&["bob@here.test"]).await);
    }
    for letter in letters {
        world.gone(letter).await;
    }
    assert_eq!(world.inbox(world.bob).await.len(), 300);
    assert!(
        world
            .context
            .metrics
            .encode()
            .contains("result=\"stored\"} 300")
    );
    world.end().await;
}

#[tokio::test]
async fn a_held_letter_waits_for_its_time() {
    let world = World::new("", &[]).await;
    let letter = world.letter(&["bob@here.test"]).await;
    let hold_until = world.clock.now() + Duration::from_millis(400);
    let letter = world
        .store
        .submit(Submission {
            hold_until: Some(hold_until),
            ..letter
        })
        .await
        .unwrap();
    assert!(world.inbox(world.bob).await.is_empty());
    world.gone(letter).await;
    assert!(world.clock.now() >= hold_until);
    assert_eq!(world.inbox(world.bob).await.len(), 1);
    world.end().await;
}
