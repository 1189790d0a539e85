//! What the sender asked of the way, and what other servers can take.

use store::{DeliverBy, DeliverByMode, TlsWish};

use super::*;
use crate::queue::FixedRoute;
use crate::testing::{Act, Line, hello, script, takes};
use Act::{Say, Want, WantLetter};

/// DNSSEC vouches for it: without that a letter with REQUIRETLS goes nowhere.
const FAR: &str = "far.test A 192.0.2.1\nfar.test SECURE far.test";

async fn submit(world: &World, change: impl FnOnce(&mut Submission)) -> LetterId {
    let mut letter = world.letter(&["carol@far.test"]).await;
    change(&mut letter);
    world.store.submit(letter).await.unwrap()
}

fn to_far(acts: Vec<Act>) -> Vec<(&'static str, Vec<Line>)> {
    vec![("192.0.2.1", vec![script(&[acts])])]
}

/// RFC 8689 §4.2.1: X.7.10, "encryption needed".
#[tokio::test]
async fn requiretls_fails_where_there_is_no_tls() {
    let world = World::new(FAR, &to_far(hello())).await;
    let letter = submit(&world, |letter| letter.handling.tls = TlsWish::Required).await;
    world.gone(letter).await;
    let reports = world.inbox_after(world.alice, 1).await;
    assert!(reports[0].contains("Status: 5.7.10\r\n"), "{}", reports[0]);
    assert!(
        reports[0].contains("as safe as it has to be"),
        "{}",
        reports[0]
    );
    world.end().await;
}

/// RFC 8689 §4.2.1: a name that anybody could have put into the DNS is no safe way.
#[tokio::test]
async fn requiretls_fails_where_nobody_vouches_for_the_server() {
    let world = World::new("far.test A 192.0.2.1", &[]).await;
    let letter = submit(&world, |letter| letter.handling.tls = TlsWish::Required).await;
    world.gone(letter).await;
    let reports = world.inbox_after(world.alice, 1).await;
    assert!(reports[0].contains("Status: 5.7.10\r\n"), "{}", reports[0]);
    assert!(reports[0].contains("neither DNSSEC"), "{}", reports[0]);
    world.end().await;
}

#[tokio::test]
async fn requiretls_fails_where_the_certificate_is_not_valid() {
    let tls = vec![
        Say("220 hi"),
        Want("EHLO"),
        Say("250-hi\r\n250 STARTTLS"),
        Want("STARTTLS"),
        Say("220 go"),
    ];
    let world = World::new(FAR, &to_far(tls)).await;
    let letter = submit(&world, |letter| letter.handling.tls = TlsWish::Required).await;
    world.gone(letter).await;
    let reports = world.inbox_after(world.alice, 1).await;
    assert!(reports[0].contains("Status: 5.7.10\r\n"), "{}", reports[0]);
    assert!(
        reports[0].contains("no certificate authority that is trusted here"),
        "{}",
        reports[0]
    );
    world.end().await;
}

/// RFC 2852 §4 by-mode `N`: told at the moment, long before `queue.delay_warning`.
#[tokio::test]
async fn the_sender_is_told_when_the_time_is_over() {
    let settings = QueueSettings {
        retry_first: Duration::from_secs(600),
        ..settings()
    };
    let world = World::with(FAR, &[], settings).await;
    let now = world.clock.now();
    let letter = submit(&world, |letter| {
        letter.handling.deliver_by = Some(DeliverBy {
            at: now + Duration::from_secs(300),
            mode: DeliverByMode::Notify,
            trace: false,
        });
    })
    .await;
    let entry = world.deferred(letter, 1).await;
    let next = entry.recipients[0].next_at;
    assert_eq!(next, now + Duration::from_secs(300), "tried again then");
    world.forward(Duration::from_secs(301)).await;
    let reports = world.inbox_after(world.alice, 1).await;
    assert!(reports[0].contains("Action: delayed\r\n"), "{}", reports[0]);
    world.end().await;
}

/// RFC 2852 §4.1.4.
#[tokio::test]
async fn a_trace_is_reported() {
    let acts = [hello(), takes()].concat();
    let world = World::new(FAR, &to_far(acts)).await;
    let now = world.clock.now();
    let letter = submit(&world, |letter| {
        letter.handling.deliver_by = Some(DeliverBy {
            at: now + Duration::from_secs(300),
            mode: DeliverByMode::Notify,
            trace: true,
        });
    })
    .await;
    world.gone(letter).await;
    let reports = world.inbox_after(world.alice, 1).await;
    assert!(reports[0].contains("Action: relayed\r\n"), "{}", reports[0]);
    world.end().await;
}

/// RFC 9422 §4.2: the rest goes in another transaction on the same connection.
#[tokio::test]
async fn rcptmax_is_kept() {
    let one = |name: &'static str| {
        vec![
            Want("MAIL"),
            Say("250 ok"),
            Want(name),
            Say("250 ok"),
            Want("DATA"),
            Say("354 go"),
            WantLetter,
            Say("250 2.0.0 kept"),
        ]
    };
    let acts = [
        vec![
            Say("220 hi"),
            Want("EHLO"),
            Say("250-hi\r\n250 LIMITS MAILMAX=9 RCPTMAX=1 X"),
        ],
        one("RCPT TO:<carol@far.test>"),
        one("RCPT TO:<dave@far.test>"),
    ]
    .concat();
    let world = World::new(FAR, &to_far(acts)).await;
    let letter = world.submit(&["carol@far.test", "dave@far.test"]).await;
    world.gone(letter).await;
    let journey = world.journey(letter).await;
    for name in ["Transferred carol", "Transferred dave"] {
        assert!(has(&journey, name, "250 2.0.0 kept"), "{journey:?}");
    }
    world.end().await;
}

/// RFC 6531 §3.2, RFC 6152 §3: what cannot travel is told in our words, not as the server's.
#[tokio::test]
async fn what_the_next_server_cannot_take_is_returned() {
    let world = World::new(FAR, &to_far(hello())).await;
    let letter = submit(&world, |letter| letter.needs_utf8 = true).await;
    world.gone(letter).await;
    let reports = world.inbox_after(world.alice, 1).await;
    for part in [
        "Status: 5.6.7\r\n",
        "The reason: 550 5.6.7 The letter needs SMTPUTF8",
        "letters that the other server cannot\r\ntake.",
    ] {
        assert!(reports[0].contains(part), "{part} in {}", reports[0]);
    }
    assert!(!reports[0].contains("Remote-MTA"), "{}", reports[0]);
    world.end().await;
}

/// RFC 2033: a domain that the settings give to an LMTP server.
#[tokio::test]
async fn a_domain_may_have_a_server_of_its_own() {
    let settings = QueueSettings {
        routes: vec![FixedRoute {
            port: 25,
            ..FixedRoute::parse("far.test lmtp:[192.0.2.1]").unwrap()
        }],
        ..settings()
    };
    let acts = vec![
        Say("220 hi LMTP"),
        Want("LHLO mx.here.test"),
        Say("250 hi"),
        Want("MAIL"),
        Say("250 ok"),
        Want("RCPT TO:<carol@far.test>"),
        Say("250 ok"),
        Want("RCPT TO:<dave@far.test>"),
        Say("250 ok"),
        Want("DATA"),
        Say("354 go"),
        WantLetter,
        Say("250 2.0.0 carol has it"),
        Say("552 5.2.2 dave is full"),
    ];
    let world = World::with("", &to_far(acts), settings).await;
    let letter = world.submit(&["carol@far.test", "dave@far.test"]).await;
    world.gone(letter).await;
    let journey = world.journey(letter).await;
    assert!(has(&journey, "Routed", "LMTP [192.0.2.1]"), "{journey:?}");
    assert!(
        has(&journey, "Transferred carol", "carol has it"),
        "{journey:?}"
    );
    assert!(has(&journey, "Failed dave", "dave is full"), "{journey:?}");
    world.end().await;
}
