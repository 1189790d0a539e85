//! Letters for other servers: the journey, greylisting, servers that are down.

use super::*;
use crate::testing::{Act, hello, script, takes};
use Act::{Close, Say, Want, WantLetter};
use store::QueueRecipientState;

const FAR: &str = "far.test MX 10 mx.far.test
                   mx.far.test A 192.0.2.1";

#[tokio::test]
async fn a_letter_is_handed_over_and_its_journey_told() {
    let world = World::new(FAR, &[("192.0.2.1", vec![script(&[hello(), takes()])])]).await;
    let letter = world.submit(&["carol@far.test"]).await;
    world.gone(letter).await;
    let journey = world.journey(letter).await;
    assert_eq!(journey.len(), 3, "{journey:?}");
    assert!(
        has(&journey, "Routed -", "mx.far.test (preference 10)"),
        "{journey:?}"
    );
    assert!(has(
        &journey,
        "Connected -",
        "mx.far.test [192.0.2.1]:25 in clear"
    ));
    assert!(
        has(&journey, "Transferred carol", ": 250 2.0.0 kept"),
        "{journey:?}"
    );
    assert!(world.inbox(world.alice).await.is_empty());
    world.end().await;
}

#[tokio::test]
async fn one_is_taken_one_refused_and_one_greylisted() {
    let first = vec![
        Want("MAIL"),
        Say("250 ok"),
        Want("RCPT TO:<a@"),
        Say("250 ok"),
        Want("RCPT TO:<b@"),
        Say("550 5.1.1 no such user"),
        Want("RCPT TO:<c@"),
        Say("450 4.7.1 greylisted"),
        Want("DATA"),
        Say("354 go"),
        WantLetter,
        Say("250 kept"),
    ];
    let world = World::new(
        FAR,
        &[("192.0.2.1", vec![script(&[hello(), first, takes()])])],
    )
    .await;
    let letter = world
        .submit(&["a@far.test", "b@far.test", "c@far.test"])
        .await;
    let entry = world.deferred(letter, 1).await;
    assert_eq!(entry.recipients.len(), 1);
    assert!(entry.recipients[0].reason.contains("greylisted"));
    world.gone(letter).await;
    let reports = world.inbox_after(world.alice, 1).await;
    assert_eq!(reports.len(), 1);
    assert!(reports[0].contains("Final-Recipient: rfc822; b@far.test\r\n"));
    assert!(reports[0].contains("The server mx.far.test said: 550 5.1.1 no such user"));
    assert!(!reports[0].contains("c@far.test"));
    let journey = world.journey(letter).await;
    assert!(has(&journey, "Transferred a", "250 kept"), "{journey:?}");
    assert!(
        has(&journey, "Failed b", "550 5.1.1 no such user"),
        "{journey:?}"
    );
    assert!(
        has(&journey, "Deferred c", "450 4.7.1 greylisted"),
        "{journey:?}"
    );
    assert!(
        has(&journey, "Transferred c", "250 2.0.0 kept"),
        "{journey:?}"
    );
    world.end().await;
}

#[tokio::test]
async fn a_connection_that_drops_after_the_letter_makes_a_retry_and_no_loss() {
    let mut drops = takes();
    drops.pop();
    drops.push(Close);
    let lines = vec![script(&[hello(), drops]), script(&[hello(), takes()])];
    let world = World::new(FAR, &[("192.0.2.1", lines)]).await;
    let letter = world.submit(&["carol@far.test"]).await;
    world.gone(letter).await;
    let heard = world.net.heard();
    let letters = heard
        .iter()
        .filter(|line| line.starts_with("letter of"))
        .count();
    assert_eq!(letters, 2, "{heard:?}");
    world.end().await;
}

#[tokio::test]
async fn a_421_in_the_middle_of_a_session_is_tried_again() {
    let lines = vec![
        script(&[
            hello(),
            takes(),
            vec![
                Want("MAIL"),
                Say("250 ok"),
                Want("RCPT"),
                Say("421 4.3.2 bye"),
                Close,
            ],
        ]),
        script(&[hello(), takes()]),
        script(&[hello(), takes()]),
    ];
    let world = World::new(FAR, &[("192.0.2.1", lines)]).await;
    for _ in 0..2 {
        let letter = world.submit(&["carol@far.test"]).await;
        world.gone(letter).await;
    }
    world.end().await;
}

#[tokio::test]
async fn many_letters_share_few_connections() {
    let all = (0..20).map(|_| takes()).collect::<Vec<_>>().concat();
    let lines = (0..20).map(|_| script(&[hello(), all.clone()])).collect();
    let world = World::new(FAR, &[("192.0.2.1", lines)]).await;
    let mut letters = Vec::new();
    for _ in 0..20 {
        letters.push(world.submit(&["carol@far.test"]).await);
    }
    for letter in letters {
        world.gone(letter).await;
    }
    let heard = world.net.heard();
    let connections = heard.iter().filter(|line| line.starts_with('[')).count();
    assert!(connections < 20, "{connections} connections");
    world.end().await;
}

#[tokio::test]
async fn a_destination_that_is_down_is_asked_by_few_letters() {
    // Nothing listens: every connection is refused.
    let settings = QueueSettings {
        retry_first: Duration::from_secs(3_600),
        ..settings()
    };
    let world = World::with(FAR, &[], settings).await;
    let mut letters = Vec::new();
    for _ in 0..60 {
        letters.push(world.submit(&["carol@far.test"]).await);
    }
    for letter in letters {
        let entry = world.deferred(letter, 1).await;
        assert!(
            entry.recipients[0]
                .reason
                .contains("connection refused (4.4.1)"),
            "{entry:?}"
        );
    }
    let connections = world.net.heard().len();
    assert!(connections <= 5, "{connections} connections");
    world.end().await;
}

#[tokio::test]
async fn a_server_that_comes_back_gets_its_letter() {
    let world = World::new(FAR, &[("192.0.2.1", vec![Line::Refused])]).await;
    let letter = world.submit(&["carol@far.test"]).await;
    world.deferred(letter, 1).await;
    world
        .net
        .add("192.0.2.1", vec![script(&[hello(), takes()])]);
    world.gone(letter).await;
    assert!(world.inbox(world.alice).await.is_empty());
    world.end().await;
}

#[tokio::test]
async fn a_domain_that_takes_no_mail_is_reported_without_a_connection() {
    let world = World::new("far.test MX 0 .", &[]).await;
    let letter = world.submit(&["carol@far.test"]).await;
    world.gone(letter).await;
    let reports = world.inbox_after(world.alice, 1).await;
    assert!(reports[0].contains("Status: 5.1.10\r\n"), "{}", reports[0]);
    assert!(world.net.heard().is_empty());
    world.end().await;
}

#[tokio::test]
async fn mail_that_would_come_back_to_us_is_returned() {
    let world = World::new("far.test A 192.0.2.99", &[]).await;
    let letter = world.submit(&["carol@far.test"]).await;
    world.gone(letter).await;
    let reports = world.inbox_after(world.alice, 1).await;
    assert!(reports[0].contains("Status: 5.4.6\r\n"), "{}", reports[0]);
    assert!(world.net.heard().is_empty());
    world.end().await;
}

#[tokio::test]
async fn a_bug_in_the_work_on_one_letter_delays_only_that_letter() {
    let records = format!("bug.test MX PANIC\n{FAR}");
    let settings = QueueSettings {
        retry_first: Duration::from_secs(3_600),
        ..settings()
    };
    let lines = vec![script(&[hello(), takes()])];
    let world = World::with(&records, &[("192.0.2.1", lines)], settings).await;
    let bad = world.submit(&["carol@bug.test"]).await;
    let good = world.submit(&["carol@far.test"]).await;
    world.gone(good).await;
    let entry = world.deferred(bad, 1).await;
    assert!(
        entry.recipients[0].reason.contains("internal error"),
        "{entry:?}"
    );
    let metrics = world.context.metrics.encode();
    assert!(metrics.contains("queue_faults_total 1\n"), "{metrics}");
    world.end().await;
}

#[tokio::test]
async fn a_lease_is_kept_alive_during_a_long_transfer() {
    let settings = QueueSettings {
        lease: Duration::from_millis(300),
        ..settings()
    };
    let mut slow = takes();
    slow.insert(6, Act::Pause(Duration::from_millis(1_200)));
    let lines = vec![script(&[hello(), slow])];
    let world = World::with(FAR, &[("192.0.2.1", lines)], settings).await;
    let letter = world.submit(&["carol@far.test"]).await;
    world.gone(letter).await;
    let journey = world.journey(letter).await;
    assert!(
        has(&journey, "Transferred carol", "250 2.0.0 kept"),
        "{journey:?}"
    );
    let heard = world.net.heard();
    let connections = heard.iter().filter(|line| line.starts_with('[')).count();
    assert_eq!(connections, 1, "{heard:?}");
    world.end().await;
}

#[tokio::test]
async fn an_operator_may_drop_a_letter_under_way() {
    let mut slow = takes();
    slow.insert(6, Act::Pause(Duration::from_millis(300)));
    let lines = vec![script(&[hello(), slow, takes()])];
    let world = World::new(FAR, &[("192.0.2.1", lines)]).await;
    let dropped = world.submit(&["carol@far.test"]).await;
    world
        .until("the letter is being sent", async || {
            world.net.has_heard("DATA")
        })
        .await;
    let entry = world.entry(dropped).await.unwrap();
    assert_eq!(entry.recipients[0].state, QueueRecipientState::Claimed);
    let filter = QueueFilter {
        letter: Some(dropped),
        ..QueueFilter::default()
    };
    assert_eq!(world.store.queue_drop(&filter).await.unwrap(), 1);
    let next = world.submit(&["carol@far.test"]).await;
    world.gone(next).await;
    assert!(world.entry(dropped).await.is_none());
    world.end().await;
}

/// A clock that jumps beyond the lease ends no lease of a letter that is being sent: it would be
/// claimed again and sent twice.
#[tokio::test]
async fn a_letter_under_way_is_not_claimed_again_when_the_clock_jumps() {
    let mut slow = takes();
    slow.insert(6, Act::Pause(Duration::from_millis(700)));
    let lines = vec![script(&[hello(), slow]), script(&[hello(), takes()])];
    let world = World::new("far.test A 192.0.2.1", &[("192.0.2.1", lines)]).await;
    let letter = world.submit(&["carol@far.test"]).await;
    world
        .until("the letter is being sent", async || {
            world.net.has_heard("DATA")
        })
        .await;
    let jump = world.context.settings.lease.as_millis() * 3;
    let jump = i64::try_from(jump).unwrap();
    world.clock.offset_ms.fetch_add(jump, Ordering::Relaxed);
    // Another letter makes the worker look.
    let other = world.submit(&["bob@here.test"]).await;
    world.gone(other).await;
    world.gone(letter).await;
    let heard = world.net.heard();
    let connections = heard.iter().filter(|line| *line == "[192.0.2.1]");
    assert_eq!(connections.count(), 1, "{heard:?}");
    world.end().await;
}
