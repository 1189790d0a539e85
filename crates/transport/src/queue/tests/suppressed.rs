//! Addresses that failed for good again and again.

use super::*;
use crate::testing::{Act, hello, script, takes};
use Act::{Say, Want};

const FAR: &str = "far.test A 192.0.2.1";

fn refuses() -> Line {
    let no = vec![
        Want("MAIL"),
        Say("250 ok"),
        Want("RCPT"),
        Say("550 5.1.1 no such user"),
        Act::Close,
    ];
    script(&[hello(), no])
}

/// Passed without making letters due: there are none.
fn pass(world: &World, days: i64) {
    world
        .clock
        .offset_ms
        .fetch_add(days * 86_400_000, Ordering::Relaxed);
}

#[tokio::test]
async fn an_address_that_always_fails_is_not_tried_until_its_time_is_over() {
    let lines = vec![refuses(), refuses(), refuses(), script(&[hello(), takes()])];
    let world = World::new(FAR, &[("192.0.2.1", lines)]).await;
    for day in 1..=3 {
        let letter = world.submit(&["gone@far.test"]).await;
        world.gone(letter).await;
        world.inbox_after(world.alice, day).await;
        pass(&world, 1);
    }
    let tried = world
        .net
        .heard()
        .iter()
        .filter(|line| *line == "[192.0.2.1]")
        .count();
    assert_eq!(tried, 3);

    let letter = world.submit(&["gone@far.test"]).await;
    world.gone(letter).await;
    assert!(!world.net.has_heard("[192.0.2.1]"), "not tried");
    let reports = world.inbox_after(world.alice, 4).await;
    let report = reports.last().unwrap();
    assert!(report.contains("Status: 5.1.1\r\n"), "{report}");
    assert!(report.contains("failed for good 3 times"), "{report}");
    assert!(report.contains("pennyblack suppression remove"), "{report}");
    let journey = world.journey(letter).await;
    assert!(
        has(&journey, "Failed gone", "550 5.1.1 no such user"),
        "{journey:?}"
    );

    pass(&world, 31);
    let letter = world.submit(&["gone@far.test"]).await;
    world.gone(letter).await;
    assert!(has(
        &world.journey(letter).await,
        "Transferred gone",
        "250 2.0.0 kept"
    ));
    let filter = store::SuppressionFilter::default();
    assert!(world.store.suppressions(&filter).await.unwrap().is_empty());
    world.end().await;
}

#[tokio::test]
async fn others_of_the_letter_are_tried() {
    let world = World::new(FAR, &[("192.0.2.1", vec![script(&[hello(), takes()])])]).await;
    let new = store::NewSuppression {
        address: address("gone@far.test"),
        sender_domain: None,
        reason: "left".to_owned(),
        until: None,
    };
    world.store.suppress(new).await.unwrap();
    let letter = world.submit(&["gone@far.test", "carol@far.test"]).await;
    world.gone(letter).await;
    let heard = world.net.heard();
    assert!(
        heard.iter().any(|line| line == "RCPT TO:<carol@far.test>"),
        "{heard:?}"
    );
    assert!(
        !heard.iter().any(|line| line.contains("gone@")),
        "{heard:?}"
    );
    let journey = world.journey(letter).await;
    assert!(has(&journey, "Transferred carol", "kept"), "{journey:?}");
    assert!(has(
        &journey,
        "Failed gone",
        "stopped letters to gone@far.test: left"
    ));
    let reports = world.inbox_after(world.alice, 1).await;
    assert!(!reports[0].contains("carol@far.test"), "{}", reports[0]);
    world.end().await;
}
