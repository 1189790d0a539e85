//! Servers that say "not now" again and again, and many that do not answer.

use super::*;
use crate::testing::{Act, hello, script, takes};
use Act::{Close, Say, Want};

const FAR: &str = "far.test MX 10 mx.far.test
                   mx.far.test A 192.0.2.1";

/// How a server puts everything off at one stage of the dialogue.
fn refuses(stage: &str) -> Line {
    match stage {
        "greeting" => script(&[vec![Say("421 4.3.2 too many connections"), Close]]),
        "mail" => script(&[
            hello(),
            vec![Want("MAIL"), Say("421 4.7.0 slow down"), Close],
        ]),
        "rcpt" => script(&[
            hello(),
            vec![
                Want("MAIL"),
                Say("250 ok"),
                Want("RCPT"),
                Say("451 4.3.2 system busy"),
                Close,
            ],
        ]),
        _ => {
            let mut acts = takes();
            acts.pop();
            acts.extend([Say("452 4.3.1 no space left"), Close]);
            script(&[hello(), acts])
        }
    }
}

/// A storm at each stage: after a few letters nothing more is tried until the pause is over; then
/// one letter opens the way for all.
#[tokio::test]
async fn a_storm_pauses_a_destination_before_all_letters_have_met_it() {
    for stage in ["greeting", "mail", "rcpt", "end of data"] {
        let settings = QueueSettings {
            retry_first: Duration::from_secs(3_600),
            connections_initial: 2,
            ..settings()
        };
        let refusals = vec![refuses(stage); 60];
        let world = World::with(FAR, &[("192.0.2.1", refusals)], settings).await;
        for number in 0..60 {
            world.submit(&[&format!("user{number}@far.test")]).await;
        }
        let paused = async || {
            let shown = world.context.metrics.encode();
            shown.contains("queue_destinations_paused 1")
        };
        world.until("the destination is paused", paused).await;
        // All have the reason, though few have met it.
        let told = async || {
            let all = world.store.queue_list(&QueueFilter::default()).await;
            let all = all.unwrap();
            all.len() == 60
                && all.iter().all(|entry| {
                    let recipient = &entry.recipients[0];
                    recipient.attempts == 1 && recipient.reason.contains(" 4")
                })
        };
        world.until("all are deferred with the reason", told).await;
        let connections = world.net.heard();
        let connections = connections.iter().filter(|line| *line == "[192.0.2.1]");
        assert!(connections.count() <= 30, "{stage}");

        world.net.forget_lines();
        let lines = (0..60).map(|_| {
            let acts: Vec<Act> = (0..60).flat_map(|_| takes()).collect();
            script(&[hello(), acts])
        });
        world.net.add("192.0.2.1", lines.collect());
        world.forward(Duration::from_secs(3_600)).await;
        let gone = async || {
            let left = world.store.queue_list(&QueueFilter::default()).await;
            left.unwrap().is_empty()
        };
        world.until("all letters are gone", gone).await;
        world.end().await;
    }
}

/// Dead destinations, each with a letter that was tried before, hold nearly every connection for as
/// long as they like; a letter for a living one goes all the same.
#[tokio::test]
async fn dead_destinations_do_not_hold_up_a_living_one() {
    let mut records = FAR.to_owned();
    let dead: Vec<String> = (0..40).map(|n| format!("dead{n}.test")).collect();
    for (number, name) in dead.iter().enumerate() {
        records += &format!("\n{name} MX 10 mx.{name}\nmx.{name} A 192.0.3.{number}");
    }
    let settings = QueueSettings {
        letters_in_hand_max: 8,
        letters_per_tenant_max: 8,
        connections_max: 8,
        connect_timeout: Duration::from_secs(300),
        ..settings()
    };
    let world = World::with(&records, &[], settings).await;
    // The first time nobody is there; after that, no packet comes back.
    for name in &dead {
        let letter = world.submit(&[&format!("user@{name}")]).await;
        world.deferred(letter, 1).await;
    }
    for number in 0..dead.len() {
        let holes = vec![Line::Blackhole; 50];
        world.net.add(&format!("192.0.3.{number}"), holes);
    }
    world.net.heard();
    world.forward(Duration::from_secs(3_600)).await;
    let stuck = async || {
        let shown = world.context.metrics.encode();
        shown.contains("queue_letters_in_hand{place=\"elsewhere\"} 4")
    };
    world
        .until("half of the connections are stuck", stuck)
        .await;
    world
        .net
        .add("192.0.2.1", vec![script(&[hello(), takes()])]);
    let letter = world.submit(&["carol@far.test"]).await;
    world.gone(letter).await;
    world.end().await;
}
