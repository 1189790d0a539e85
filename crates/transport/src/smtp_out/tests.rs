//! One attempt against scripted servers over in-memory pipes, on a paused clock.

use std::net::SocketAddr;

use base::{EmailAddress, Secret};
use bytes::Bytes;
use tokio::time::Instant;

use super::*;
use crate::queue::settings::{Login, Smarthost};
use crate::route::Host;
use crate::testing::Act::{self, Close, Say, Silence, Want, WantLetter};
use crate::testing::{Line, Net, hello, hello_with_tls, script, takes};

/// Goes with tokio's clock, so that a paused one drives the engine's deadlines.
struct TokioClock(Instant);

impl Clock for TokioClock {
    fn now(&self) -> Timestamp {
        Timestamp(1_000_000) + self.0.elapsed()
    }
}

struct Zero;

impl Entropy for Zero {
    fn fill(&self, buffer: &mut [u8]) {
        buffer.fill(0);
    }
}

struct World {
    net: Arc<Net>,
    outbound: Outbound,
}

fn world(lines: &[(&str, Vec<Line>)]) -> World {
    world_with(lines, QueueSettings::default())
}

fn world_with(lines: &[(&str, Vec<Line>)], settings: QueueSettings) -> World {
    let net = Arc::new(Net::default());
    for (ip, lines) in lines {
        net.add(ip, lines.clone());
    }
    let outbound = Outbound::new(
        net.clone(),
        Arc::new(TokioClock(Instant::now())),
        Arc::new(Zero),
        Domain::parse("us.test").unwrap(),
        settings,
    );
    World { net, outbound }
}

/// Hosts `a.test`, `b.test`, … of falling preference, one for each address.
fn route(ips: &[&str]) -> Route {
    let hosts = ips
        .iter()
        .zip('a'..='z')
        .zip(0..)
        .map(|((ip, letter), preference)| Host {
            name: Domain::parse(&format!("{letter}.test")).unwrap(),
            preference,
            addresses: vec![SocketAddr::new(ip.parse().unwrap(), 25)],
            proof: Proof::Nothing,
        })
        .collect();
    Route {
        hosts,
        tls: TlsPolicy::Opportunistic,
        smarthost: false,
        login: None,
        lmtp: false,
        destination: None,
    }
}

fn letter(recipients: &[&str]) -> Outgoing {
    let addresses = recipients.iter();
    Outgoing::plain(
        EmailAddress::parse("me@us.test").ok(),
        addresses
            .map(|recipient| EmailAddress::parse(recipient).unwrap())
            .collect(),
        vec![Bytes::from_static(b"Subject: x\r\n\r\nhello\r\n")],
    )
}

fn show(transfer: &Transfer) -> Vec<String> {
    transfer
        .results
        .iter()
        .map(|result| match result {
            RecipientResult::Taken(taken) => format!("taken by {}: {}", taken.peer, taken.reply),
            RecipientResult::Failed(failure) if failure.permanent => format!("never: {failure}"),
            RecipientResult::Failed(failure) => format!("later: {failure}"),
        })
        .collect()
}

#[tokio::test(start_paused = true)]
async fn a_letter_is_taken_and_the_connection_used_again() {
    let world = world(&[("192.0.2.1", vec![script(&[hello(), takes(), takes()])])]);
    let route = route(&["192.0.2.1"]);
    for _ in 0..2 {
        let transfer = world.outbound.transfer(&route, letter(&["x@y.test"])).await;
        assert_eq!(transfer.verdict, Verdict::Took);
        assert_eq!(
            show(&transfer),
            ["taken by a.test [192.0.2.1]:25: 250 2.0.0 kept"]
        );
    }
    assert_eq!(
        world.net.heard(),
        [
            "[192.0.2.1]",
            "EHLO us.test",
            "MAIL FROM:<me@us.test>",
            "RCPT TO:<x@y.test>",
            "DATA",
            "letter of 19 bytes",
            "MAIL FROM:<me@us.test>",
            "RCPT TO:<x@y.test>",
            "DATA",
            "letter of 19 bytes",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn idle_connections_end_with_quit() {
    let bye = vec![Want("QUIT"), Say("221 bye")];
    let world = world(&[("192.0.2.1", vec![script(&[hello(), takes(), bye])])]);
    world
        .outbound
        .transfer(&route(&["192.0.2.1"]), letter(&["x@y.test"]))
        .await;
    assert!(world.outbound.has_idle());
    assert!(world.outbound.take_idle(false).is_empty());
    tokio::time::sleep(Duration::from_secs(10)).await;
    for session in world.outbound.take_idle(false) {
        session.quit(world.outbound.clock.as_ref()).await;
    }
    assert_eq!(world.net.heard().last().unwrap(), "QUIT");
    assert!(!world.outbound.has_idle());
}

#[tokio::test(start_paused = true)]
async fn letters_per_connection_are_bounded() {
    let settings = QueueSettings {
        letters_per_connection_max: 2,
        ..QueueSettings::default()
    };
    let bye = vec![Want("QUIT"), Say("221 bye")];
    let lines = vec![
        script(&[hello(), takes(), takes(), bye]),
        script(&[hello(), takes()]),
    ];
    let world = world_with(&[("192.0.2.1", lines)], settings);
    let route = route(&["192.0.2.1"]);
    for _ in 0..3 {
        let transfer = world.outbound.transfer(&route, letter(&["x@y.test"])).await;
        assert_eq!(transfer.verdict, Verdict::Took);
    }
    let connections = |heard: &[String]| heard.iter().filter(|line| line.starts_with('[')).count();
    assert_eq!(connections(&world.net.heard()), 2);
}

#[tokio::test(start_paused = true)]
async fn a_kept_connection_that_was_closed_meanwhile_is_replaced() {
    let world = world(&[(
        "192.0.2.1",
        vec![
            script(&[hello(), takes(), vec![Close]]),
            script(&[hello(), takes()]),
        ],
    )]);
    let route = route(&["192.0.2.1"]);
    for _ in 0..2 {
        let transfer = world.outbound.transfer(&route, letter(&["x@y.test"])).await;
        assert_eq!(transfer.verdict, Verdict::Took, "{transfer:?}");
        assert_eq!(transfer.connections.len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_kept_connection_that_says_421_is_replaced() {
    let world = world(&[(
        "192.0.2.1",
        vec![
            script(&[
                hello(),
                takes(),
                vec![Say("421 4.4.2 too long idle"), Close],
            ]),
            script(&[hello(), takes()]),
        ],
    )]);
    let route = route(&["192.0.2.1"]);
    for _ in 0..2 {
        let transfer = world.outbound.transfer(&route, letter(&["x@y.test"])).await;
        assert_eq!(transfer.verdict, Verdict::Took, "{transfer:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn some_recipients_are_taken_and_others_not() {
    let world = world(&[(
        "192.0.2.1",
        vec![script(&[
            hello(),
            vec![
                Want("MAIL"),
                Say("250 ok"),
                Want("RCPT TO:<a"),
                Say("250 ok"),
                Want("RCPT TO:<b"),
                Say("550 5.1.1 no such user"),
                Want("RCPT TO:<c"),
                Say("450 4.2.0 greylisted"),
                Want("DATA"),
                Say("354 go"),
                WantLetter,
                Say("250 kept"),
            ],
        ])],
    )]);
    let transfer = world
        .outbound
        .transfer(
            &route(&["192.0.2.1"]),
            letter(&["a@y.test", "b@y.test", "c@y.test"]),
        )
        .await;
    assert_eq!(transfer.verdict, Verdict::Took);
    assert_eq!(
        show(&transfer),
        [
            "taken by a.test [192.0.2.1]:25: 250 kept",
            "never: a.test [192.0.2.1]:25: refused; it said: 550 5.1.1 no such user (5.1.1)",
            "later: a.test [192.0.2.1]:25: refused; it said: 450 4.2.0 greylisted (4.2.0)",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn the_next_server_is_asked_only_about_those_that_are_open() {
    let first = vec![
        Want("MAIL"),
        Say("250 ok"),
        Want("RCPT TO:<a"),
        Say("250 ok"),
        Want("RCPT TO:<b"),
        Say("451 4.3.0 later"),
        Want("DATA"),
        Say("354 go"),
        WantLetter,
        Say("250 kept"),
    ];
    let second = vec![
        Want("MAIL"),
        Say("250 ok"),
        Want("RCPT TO:<b"),
        Say("250 ok"),
    ];
    let rest = vec![Want("DATA"), Say("354 go"), WantLetter, Say("250 kept too")];
    let world = world(&[
        ("192.0.2.1", vec![script(&[hello(), first])]),
        ("192.0.2.2", vec![script(&[hello(), second, rest])]),
    ]);
    let transfer = world
        .outbound
        .transfer(
            &route(&["192.0.2.1", "192.0.2.2"]),
            letter(&["a@y.test", "b@y.test"]),
        )
        .await;
    assert_eq!(
        show(&transfer),
        [
            "taken by a.test [192.0.2.1]:25: 250 kept",
            "taken by b.test [192.0.2.2]:25: 250 kept too",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_421_at_mail_moves_on_to_the_next_server() {
    let world = world(&[
        (
            "192.0.2.1",
            vec![script(&[
                hello(),
                vec![Want("MAIL"), Say("421 4.3.2 going down"), Close],
            ])],
        ),
        ("192.0.2.2", vec![script(&[hello(), takes()])]),
    ]);
    let transfer = world
        .outbound
        .transfer(&route(&["192.0.2.1", "192.0.2.2"]), letter(&["a@y.test"]))
        .await;
    assert_eq!(
        show(&transfer),
        ["taken by b.test [192.0.2.2]:25: 250 2.0.0 kept"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_421_in_the_middle_without_another_server_only_delays() {
    let world = world(&[(
        "192.0.2.1",
        vec![script(&[
            hello(),
            vec![
                Want("MAIL"),
                Say("250 ok"),
                Want("RCPT"),
                Say("250 ok"),
                Want("DATA"),
                Say("421 4.3.2 going down"),
                Close,
            ],
        ])],
    )]);
    let transfer = world
        .outbound
        .transfer(&route(&["192.0.2.1"]), letter(&["a@y.test"]))
        .await;
    assert!(
        matches!(transfer.verdict, Verdict::Struggled(Trouble::REFUSAL, _)),
        "{transfer:?}"
    );
    assert_eq!(
        show(&transfer),
        ["later: a.test [192.0.2.1]:25: refused at DATA; it said: 421 4.3.2 going down (4.3.2)"]
    );
}

#[tokio::test(start_paused = true)]
async fn after_the_final_dot_no_other_server_is_asked() {
    let drop_after_data = vec![
        Want("MAIL"),
        Say("250 ok"),
        Want("RCPT"),
        Say("250 ok"),
        Want("DATA"),
        Say("354 go"),
        WantLetter,
        Close,
    ];
    let world = world(&[
        ("192.0.2.1", vec![script(&[hello(), drop_after_data])]),
        ("192.0.2.2", vec![script(&[hello(), takes()])]),
    ]);
    let transfer = world
        .outbound
        .transfer(&route(&["192.0.2.1", "192.0.2.2"]), letter(&["a@y.test"]))
        .await;
    assert!(
        matches!(transfer.verdict, Verdict::Struggled(Trouble::REFUSAL, _)),
        "{transfer:?}"
    );
    assert_eq!(
        show(&transfer),
        ["later: a.test [192.0.2.1]:25: connection lost at the end of the letter (4.4.2)"]
    );
}

#[tokio::test(start_paused = true)]
async fn silent_and_refusing_addresses_are_passed_over_and_tried_last_next_time() {
    let world = world(&[
        ("192.0.2.1", vec![Line::Blackhole, Line::Blackhole]),
        ("192.0.2.2", vec![Line::Refused, Line::Refused]),
        (
            "192.0.2.3",
            vec![
                script(&[hello(), takes(), vec![Close]]),
                script(&[hello(), takes()]),
            ],
        ),
    ]);
    let route = route(&["192.0.2.1", "192.0.2.2", "192.0.2.3"]);
    let started = Instant::now();
    let transfer = world.outbound.transfer(&route, letter(&["a@y.test"])).await;
    assert_eq!(transfer.verdict, Verdict::Took);
    assert_eq!(
        started.elapsed().as_secs(),
        30,
        "one time-out of connecting"
    );
    let connections: Vec<_> = transfer
        .connections
        .iter()
        .map(|(_, text)| text.as_str())
        .collect();
    assert_eq!(
        connections,
        [
            "a.test [192.0.2.1]:25: connecting: no answer in time (4.4.1)",
            "b.test [192.0.2.2]:25: connecting: connection refused (4.4.1)",
            "c.test [192.0.2.3]:25 in clear, in 0 ms",
        ]
    );
    world.net.heard();
    let transfer = world.outbound.transfer(&route, letter(&["a@y.test"])).await;
    assert_eq!(transfer.verdict, Verdict::Took);
    assert_eq!(world.net.heard()[0], "[192.0.2.3]");
}

#[tokio::test(start_paused = true)]
async fn nobody_answers_at_all() {
    let world = world(&[("192.0.2.1", vec![Line::Refused])]);
    let transfer = world
        .outbound
        .transfer(&route(&["192.0.2.1"]), letter(&["a@y.test", "b@y.test"]))
        .await;
    let why = "a.test [192.0.2.1]:25: connecting: connection refused (4.4.1)";
    assert_eq!(
        show(&transfer),
        [format!("later: {why}"), format!("later: {why}")]
    );
    assert!(
        matches!(&transfer.verdict, Verdict::Down(failure) if failure.to_string() == why),
        "{:?}",
        transfer.verdict
    );
}

#[tokio::test(start_paused = true)]
async fn a_greeting_of_4yz_tries_the_next_and_one_of_5yz_is_for_good_if_all_say_so() {
    let busy = || vec![script(&[vec![Say("421 4.7.0 too many"), Close]])];
    let never = || vec![script(&[vec![Say("554 5.3.2 no mail here"), Close]])];
    let world = world(&[("192.0.2.1", busy()), ("192.0.2.2", never())]);
    let transfer = world
        .outbound
        .transfer(&route(&["192.0.2.1", "192.0.2.2"]), letter(&["a@y.test"]))
        .await;
    assert!(
        matches!(transfer.verdict, Verdict::Struggled(Trouble::REFUSAL, _)),
        "{transfer:?}"
    );
    assert_eq!(
        show(&transfer),
        [
            "later: b.test [192.0.2.2]:25: refused at the greeting; it said: 554 5.3.2 no mail here (4.3.2)"
        ]
    );
    let world = self::world(&[("192.0.2.1", never()), ("192.0.2.2", never())]);
    let transfer = world
        .outbound
        .transfer(&route(&["192.0.2.1", "192.0.2.2"]), letter(&["a@y.test"]))
        .await;
    assert_eq!(transfer.verdict, Verdict::Answered);
    assert!(show(&transfer)[0].starts_with("never: "));
}

#[tokio::test(start_paused = true)]
async fn tls_is_used_when_it_is_offered() {
    let after = vec![Want("EHLO"), Say("250 hi")];
    let world = world(&[(
        "192.0.2.1",
        vec![script(&[hello_with_tls(), after, takes()])],
    )]);
    let transfer = world
        .outbound
        .transfer(&route(&["192.0.2.1"]), letter(&["a@y.test"]))
        .await;
    let RecipientResult::Taken(taken) = &transfer.results[0] else {
        panic!("{transfer:?}");
    };
    assert_eq!(taken.tls.as_ref().unwrap().version, "TLSv1.3");
    assert_eq!(
        transfer.connections[0].1,
        "a.test [192.0.2.1]:25 with TLSv1.3 TLS_AES_256_GCM_SHA384, certificate not verified, in 0 ms"
    );
}

#[tokio::test(start_paused = true)]
async fn broken_tls_is_done_without_and_remembered() {
    let world = world(&[(
        "192.0.2.1",
        vec![
            script(&[hello_with_tls()]),
            script(&[hello(), takes(), vec![Close]]),
            script(&[hello(), takes()]),
        ],
    )]);
    world.net.fail_handshakes();
    let route = route(&["192.0.2.1"]);
    let transfer = world.outbound.transfer(&route, letter(&["a@y.test"])).await;
    assert_eq!(transfer.verdict, Verdict::Took);
    assert_eq!(
        transfer.connections[0].1,
        "a.test [192.0.2.1]:25: TLS handshake: unknown certificate authority (4.7.5); in clear then"
    );
    let transfer = world.outbound.transfer(&route, letter(&["a@y.test"])).await;
    assert_eq!(transfer.verdict, Verdict::Took);
    let handshakes = world
        .net
        .heard()
        .iter()
        .filter(|line| *line == "(handshake)")
        .count();
    assert_eq!(handshakes, 1);
}

#[tokio::test(start_paused = true)]
async fn required_tls_is_never_done_without() {
    let world = world(&[(
        "192.0.2.1",
        vec![script(&[hello()]), script(&[hello_with_tls()])],
    )]);
    let route = Route {
        tls: TlsPolicy::Verified,
        ..route(&["192.0.2.1"])
    };
    let transfer = world.outbound.transfer(&route, letter(&["a@y.test"])).await;
    assert_eq!(
        show(&transfer),
        ["later: a.test [192.0.2.1]:25: TLS is required and the peer does not offer it (4.7.4)"]
    );
    let transfer = world.outbound.transfer(&route, letter(&["a@y.test"])).await;
    assert_eq!(
        show(&transfer),
        [
            "later: a.test [192.0.2.1]:25: it does not prove to be the right server: no certificate authority that is trusted here vouches for it (4.7.5)"
        ]
    );
    assert!(
        !world
            .net
            .heard()
            .iter()
            .any(|line| line.starts_with("MAIL"))
    );
}

#[tokio::test(start_paused = true)]
async fn slow_servers_are_given_up_at_the_times_of_rfc_5321() {
    let silent_at = async |acts: Vec<Act>| {
        let world = world(&[("192.0.2.1", vec![script(&[acts, vec![Silence]])])]);
        let started = Instant::now();
        let transfer = world
            .outbound
            .transfer(&route(&["192.0.2.1"]), letter(&["a@y.test"]))
            .await;
        (show(&transfer).remove(0), started.elapsed().as_secs())
    };
    let (why, seconds) = silent_at(vec![]).await;
    assert!(why.contains("timeout at the greeting"), "{why}");
    assert_eq!(seconds, 300);
    let mut until_data = hello();
    until_data.extend([
        Want("MAIL"),
        Say("250 ok"),
        Want("RCPT"),
        Say("250 ok"),
        Want("DATA"),
    ]);
    let (why, seconds) = silent_at(until_data.clone()).await;
    assert!(why.contains("timeout at DATA"), "{why}");
    assert!((120..140).contains(&seconds), "{seconds}");
    until_data.extend([Say("354 go"), WantLetter]);
    let (why, seconds) = silent_at(until_data).await;
    assert!(why.contains("timeout at the end of the letter"), "{why}");
    assert!((600..620).contains(&seconds), "{seconds}");
}

#[tokio::test(start_paused = true)]
async fn connections_to_one_address_are_bounded() {
    let settings = QueueSettings {
        connections_per_address_max: 1,
        ..QueueSettings::default()
    };
    let slow = vec![Say("220 hi"), Want("EHLO"), Silence];
    let world = Arc::new(world_with(
        &[("192.0.2.1", vec![script(&[slow])])],
        settings,
    ));
    let first = {
        let world = Arc::clone(&world);
        tokio::spawn(async move {
            world
                .outbound
                .transfer(&route(&["192.0.2.1"]), letter(&["a@y.test"]))
                .await
        })
    };
    tokio::time::sleep(Duration::from_secs(1)).await;
    let transfer = world
        .outbound
        .transfer(&route(&["192.0.2.1"]), letter(&["b@y.test"]))
        .await;
    assert!(
        matches!(transfer.verdict, Verdict::Struggled(Trouble::REFUSAL, _)),
        "{transfer:?}"
    );
    assert_eq!(
        show(&transfer),
        ["later: a.test [192.0.2.1]:25: all connections to it are busy (4.4.5)"]
    );
    assert_eq!(
        world
            .net
            .heard()
            .iter()
            .filter(|line| line.starts_with('['))
            .count(),
        1
    );
    first.abort();
}

#[tokio::test(start_paused = true)]
async fn an_early_refusal_of_a_large_letter_is_heard() {
    let refuses = vec![
        Want("MAIL"),
        Say("250 ok"),
        Want("RCPT"),
        Say("250 ok"),
        Want("DATA"),
        Say("354 go"),
        Say("552 5.3.4 too large"),
        Close,
    ];
    let world = world(&[("192.0.2.1", vec![script(&[hello(), refuses])])]);
    let mut large = letter(&["a@y.test"]);
    large
        .parts
        .push(Bytes::from("0123456789 abcdefgh\r\n".repeat(100_000)));
    let transfer = world.outbound.transfer(&route(&["192.0.2.1"]), large).await;
    assert_eq!(
        show(&transfer),
        ["never: a.test [192.0.2.1]:25: refused; it said: 552 5.3.4 too large (5.3.4)"]
    );
}

fn login() -> Arc<Login> {
    Arc::new(Login {
        user: "me".to_owned(),
        password: Secret::new("tea"),
    })
}

/// A smarthost with a user and this policy, at 192.0.2.1.
fn smarthost_world(tls: TlsPolicy, lines: Vec<Line>) -> (World, Route) {
    let settings = QueueSettings {
        smarthost: Some(Smarthost {
            host: Domain::parse("a.test").unwrap(),
            port: 25,
            login: Some(login()),
            tls,
            dane: false,
        }),
        ..QueueSettings::default()
    };
    let route = Route {
        tls,
        smarthost: true,
        login: Some(login()),
        lmtp: false,
        destination: None,
        ..route(&["192.0.2.1"])
    };
    (world_with(&[("192.0.2.1", lines)], settings), route)
}

fn hello_with_auth() -> Vec<Act> {
    vec![
        Want("EHLO"),
        Say("250-hi\r\n250 AUTH PLAIN"),
        // NUL me NUL tea.
        Want("AUTH PLAIN AG1lAHRlYQ=="),
        Say("235 2.7.0 welcome"),
    ]
}

#[tokio::test(start_paused = true)]
async fn a_smarthost_is_logged_in_to_over_tls() {
    let lines = vec![script(&[hello_with_tls(), hello_with_auth(), takes()])];
    let (world, route) = smarthost_world(TlsPolicy::Required, lines);
    let transfer = world.outbound.transfer(&route, letter(&["x@y.test"])).await;
    assert_eq!(transfer.verdict, Verdict::Took, "{transfer:?}");
}

#[tokio::test(start_paused = true)]
async fn a_password_is_never_sent_in_clear_because_tls_broke() {
    let clear = vec![Say("220 hi"), Want("EHLO"), Say("250-hi\r\n250 AUTH PLAIN")];
    let lines = vec![script(&[hello_with_tls()]), script(&[clear])];
    let (world, route) = smarthost_world(TlsPolicy::Opportunistic, lines);
    world.net.fail_handshakes();
    let transfer = world.outbound.transfer(&route, letter(&["x@y.test"])).await;
    assert!(
        show(&transfer)[0].contains("no way to log in that is acceptable"),
        "{transfer:?}"
    );
    let heard = world.net.heard();
    assert!(
        !heard.iter().any(|line| line.starts_with("AUTH")),
        "{heard:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_wrong_password_keeps_the_letter() {
    let refused = vec![
        Want("EHLO"),
        Say("250-hi\r\n250 AUTH PLAIN"),
        Want("AUTH"),
        Say("535 5.7.8 wrong"),
    ];
    let lines = vec![script(&[hello_with_tls(), refused])];
    let (world, route) = smarthost_world(TlsPolicy::Required, lines);
    let transfer = world.outbound.transfer(&route, letter(&["x@y.test"])).await;
    assert_eq!(
        show(&transfer),
        ["later: a.test [192.0.2.1]:25: refused at AUTH; it said: 535 5.7.8 wrong (4.7.8)"]
    );
    assert!(matches!(transfer.verdict, Verdict::Down(_)));
}

/// Each sender's letters leave from its pool, by the name of the address; a connection from one address
/// is not used for another, and a pool without an address of the server's family sends nothing there.
#[tokio::test(start_paused = true)]
async fn letters_leave_from_the_addresses_of_their_senders() {
    let sources = ["192.0.2.101 name=one.us.test", "192.0.2.102 pool=bulk"];
    let sources = sources.iter().map(|text| Source::parse(text).unwrap());
    let bound = [(Domain::parse("bulk.test").unwrap(), "bulk".to_owned())];
    let settings = QueueSettings {
        sources: Sources::new(sources.collect(), bound.into()).unwrap(),
        ..QueueSettings::default()
    };
    let lines = vec![script(&[hello(), takes()]), script(&[hello(), takes()])];
    let world = world_with(&[("192.0.2.1", lines)], settings);
    let route = route(&["192.0.2.1"]);
    let bulk = |mut letter: Outgoing| {
        letter.reverse_path = Some(EmailAddress::parse("news@bulk.test").unwrap());
        letter
    };
    world.outbound.transfer(&route, letter(&["a@y.test"])).await;
    let letter_of_bulk = bulk(letter(&["a@y.test"]));
    let transfer = world.outbound.transfer(&route, letter_of_bulk).await;
    assert_eq!(transfer.verdict, Verdict::Took);
    assert!(
        transfer.connections[0]
            .1
            .contains(" from 192.0.2.102 in clear")
    );
    let heard = world.net.heard();
    let told: Vec<&String> = heard
        .iter()
        .filter(|line| line.starts_with('[') || line.starts_with("EHLO"))
        .collect();
    let expected = [
        "[192.0.2.1] from 192.0.2.101",
        "EHLO one.us.test",
        "[192.0.2.1] from 192.0.2.102",
        "EHLO us.test",
    ];
    assert_eq!(told, expected);

    let over_ipv6 = self::route(&["2001:db8::1"]);
    let letter_of_bulk = bulk(letter(&["a@y.test"]));
    let transfer = world.outbound.transfer(&over_ipv6, letter_of_bulk).await;
    assert_eq!(transfer.verdict, Verdict::NotTried);
    assert!(show(&transfer)[0].contains("are of another family"));
    assert!(world.net.heard().is_empty(), "nobody was called");
}

/// An address of ours that this machine has lost says nothing about other servers, or about port 25.
#[tokio::test(start_paused = true)]
async fn a_source_that_cannot_be_used_is_no_fault_of_the_destination() {
    let source = Source::parse("192.0.2.101").unwrap();
    let settings = QueueSettings {
        sources: Sources::new(vec![source], [].into()).unwrap(),
        ..QueueSettings::default()
    };
    let lines = vec![Line::NoSource, script(&[hello(), takes()])];
    let world = world_with(&[("192.0.2.1", lines)], settings);
    let peers = route(&["192.0.2.1"]);
    let transfer = world.outbound.transfer(&peers, letter(&["a@y.test"])).await;
    assert_eq!(transfer.verdict, Verdict::NotTried);
    let shown = show(&transfer);
    assert!(
        shown[0].contains("from our address 192.0.2.101") && shown[0].ends_with("(4.3.5)"),
        "{shown:?}"
    );
    let peer = peers.hosts[0].addresses[0];
    let now = world.outbound.clock.now();
    assert!(!world.outbound.memory.is_silent(now, peer));
}

/// RFC 5321 §4.5.3.1.10: what is beyond the limit of a transaction follows in the next one.
#[tokio::test(start_paused = true)]
async fn recipients_beyond_the_limit_come_in_the_next_transaction() {
    let first = vec![
        Want("MAIL"),
        Say("250 ok"),
        Want("RCPT TO:<a@y.test>"),
        Say("250 ok"),
        Want("RCPT TO:<b@y.test>"),
        Say("452 4.5.3 enough"),
        Want("DATA"),
        Say("354 go"),
        WantLetter,
        Say("250 2.0.0 kept"),
    ];
    let world = world(&[("192.0.2.1", vec![script(&[hello(), first, takes()])])]);
    let transfer = world
        .outbound
        .transfer(&route(&["192.0.2.1"]), letter(&["a@y.test", "b@y.test"]))
        .await;
    assert_eq!(
        show(&transfer),
        ["taken by a.test [192.0.2.1]:25: 250 2.0.0 kept"; 2]
    );
}
