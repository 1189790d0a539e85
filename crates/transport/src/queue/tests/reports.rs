//! Who hears of what: NOTIFY, the null reverse-path, delays, the end of the time.

use super::*;
use crate::testing::{Act, hello, script, takes};
use Act::{Say, Want, WantLetter};

const FAR: &str = "far.test A 192.0.2.1";
const SUCCESS: Notify = Notify {
    success: true,
    failure: true,
    delay: false,
    asked: true,
};

async fn submit(world: &World, change: impl FnOnce(&mut Submission)) -> LetterId {
    let mut letter = world.letter(&["nobody@here.test"]).await;
    change(&mut letter);
    world.store.submit(letter).await.unwrap()
}

#[tokio::test]
async fn a_letter_without_sender_is_not_reported() {
    let world = World::new("", &[]).await;
    let letter = submit(&world, |letter| letter.reverse_path = None).await;
    world.gone(letter).await;
    let journey = world.journey(letter).await;
    assert!(
        has(
            &journey,
            "Failed nobody",
            "not reported, as the letter has no sender"
        ),
        "{journey:?}"
    );
    assert!(world.inbox(world.alice).await.is_empty());
    world.end().await;
}

#[tokio::test]
async fn a_report_that_fails_is_not_reported() {
    let world = World::new("", &[]).await;
    let sender = || Some(address("gone@here.test"));
    let letter = submit(&world, |letter| letter.reverse_path = sender()).await;
    world.gone(letter).await;
    world
        .until("the report has failed too", async || {
            let filter = QueueFilter::default();
            world.store.queue_list(&filter).await.unwrap().is_empty()
        })
        .await;
    let metrics = world.context.metrics.encode();
    assert!(metrics.contains("queue_reports_total 1\n"), "{metrics}");
    world.end().await;
}

#[tokio::test]
async fn never_is_obeyed() {
    let world = World::new("", &[]).await;
    let letter = submit(&world, |letter| letter.recipients[0].notify = Notify::NEVER).await;
    world.gone(letter).await;
    let journey = world.journey(letter).await;
    assert!(
        has(
            &journey,
            "Failed nobody",
            "not reported, as the sender asked for that"
        ),
        "{journey:?}"
    );
    assert!(world.inbox(world.alice).await.is_empty());
    world.end().await;
}

#[tokio::test]
async fn success_here_is_reported_when_asked() {
    let world = World::new("", &[]).await;
    let letter = submit(&world, |letter| {
        letter.recipients = vec![recipient("bob@here.test", SUCCESS)];
    })
    .await;
    world.gone(letter).await;
    let reports = world.inbox_after(world.alice, 1).await;
    assert!(
        reports[0].contains("Action: delivered\r\n"),
        "{}",
        reports[0]
    );
    world.end().await;
}

/// RFC 3461 §5.2.7.2.
#[tokio::test]
async fn an_alias_for_two_users_is_reported_as_expanded() {
    let world = World::new("", &[]).await;
    let targets = [address("bob@here.test"), address("alice@here.test")];
    let team = address("team@here.test");
    world.store.add_alias(&team, &targets).await.unwrap();
    let letter = submit(&world, |letter| {
        letter.recipients = vec![recipient("team@here.test", SUCCESS)];
    })
    .await;
    world.gone(letter).await;
    let reports = world.inbox_after(world.alice, 2).await;
    let expanded = |report: &&String| report.contains("Action: expanded\r\n");
    assert_eq!(reports.iter().filter(expanded).count(), 1, "{reports:?}");
    assert_eq!(world.inbox(world.bob).await.len(), 1);
    world.end().await;
}

/// RFC 3461 §5.2.1: nothing was asked, so nothing is passed on.
#[tokio::test]
async fn a_server_with_dsn_is_told_nothing_that_was_not_asked() {
    let with_dsn = vec![
        Say("220 hi"),
        Want("EHLO"),
        Say("250-hi\r\n250 DSN"),
        Want("MAIL FROM:<alice@here.test>"),
        Say("250 ok"),
        Want("RCPT TO:<carol@far.test>"),
        Say("250 ok"),
        Want("DATA"),
        Say("354 go"),
        WantLetter,
        Say("250 kept"),
    ];
    let world = World::new(FAR, &[("192.0.2.1", vec![script(&[with_dsn])])]).await;
    let letter = world.submit(&["carol@far.test"]).await;
    world.gone(letter).await;
    let heard = world.net.heard();
    for line in ["MAIL FROM:<alice@here.test>", "RCPT TO:<carol@far.test>"] {
        assert!(heard.iter().any(|heard| heard == line), "{heard:?}");
    }
    world.end().await;
}

#[tokio::test]
async fn success_at_a_server_without_dsn_is_reported_by_us() {
    let world = World::new(FAR, &[("192.0.2.1", vec![script(&[hello(), takes()])])]).await;
    let letter = submit(&world, |letter| {
        letter.recipients = vec![recipient("carol@far.test", SUCCESS)];
    })
    .await;
    world.gone(letter).await;
    let reports = world.inbox_after(world.alice, 1).await;
    assert!(reports[0].contains("Action: relayed\r\n"), "{}", reports[0]);
    world.end().await;
}

#[tokio::test]
async fn a_server_with_dsn_is_told_and_reports_itself() {
    let with_dsn = vec![
        Say("220 hi"),
        Want("EHLO"),
        Say("250-hi\r\n250 DSN"),
        Want("MAIL FROM:<alice@here.test> RET=FULL ENVID=e+2B1"),
        Say("250 ok"),
        Want("RCPT TO:<carol@far.test> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;c@old.test"),
        Say("250 ok"),
        Want("DATA"),
        Say("354 go"),
        WantLetter,
        Say("250 kept"),
    ];
    let world = World::new(FAR, &[("192.0.2.1", vec![script(&[with_dsn])])]).await;
    let letter = submit(&world, |letter| {
        letter.envelope_id = Some("e+1".to_owned());
        letter.dsn_return = DsnReturn::Full;
        letter.recipients = vec![QueueRecipient {
            original: Some("rfc822;c@old.test".to_owned()),
            ..recipient("carol@far.test", SUCCESS)
        }];
    })
    .await;
    world.gone(letter).await;
    assert!(has(&world.journey(letter).await, "Transferred", "250 kept"));
    assert!(world.inbox(world.alice).await.is_empty());
    world.end().await;
}

#[tokio::test]
async fn a_delay_is_told_once_and_the_end_too() {
    let settings = QueueSettings {
        retry_first: Duration::from_secs(600),
        ..settings()
    };
    let world = World::with(FAR, &[], settings).await;
    let letter = world.submit(&["carol@far.test"]).await;
    world.deferred(letter, 1).await;
    assert!(world.inbox(world.alice).await.is_empty());

    world.forward(Duration::from_secs(5 * 3_600)).await;
    world.deferred(letter, 2).await;
    let reports = world.inbox_after(world.alice, 1).await;
    assert!(reports[0].contains("Action: delayed\r\n"), "{}", reports[0]);

    world.forward(Duration::from_secs(5 * 3_600)).await;
    world.deferred(letter, 3).await;
    assert_eq!(world.inbox(world.alice).await.len(), 1, "told once");

    world.forward(world.context.settings.lifetime).await;
    world.gone(letter).await;
    let reports = world.inbox_after(world.alice, 2).await;
    assert!(reports[1].contains("Action: failed\r\n"), "{}", reports[1]);
    assert!(reports[1].contains("Status: 5.4.7\r\n"), "{}", reports[1]);
    assert!(reports[1].contains("connection refused"), "{}", reports[1]);
    let journey = world.journey(letter).await;
    assert!(
        has(&journey, "Failed carol", "given up after 5.4 days"),
        "{journey:?}"
    );
    world.end().await;
}
