//! Postfix and we send each other letters, found by MX records that NSD serves; people send and
//! read with msmtp, mbsync and mutt. What cannot be delivered comes back, what is not ours is
//! refused.

use interop::clients::{Server, Tls, mbsync, msmtp, mutt, swaks, with_lf};
use interop::letters::{Heading, Writer};
use interop::node::{self, Node, port};
use interop::postfix::{Postfix, Setup};
use interop::process::{said, wait_for};
use interop::world::{
    ARRIVES_WITHIN, BLACK, POSTFIX, RED, World, reading, submission, wait_for_empty_queue,
    wait_for_letters,
};
use interop::{imap, smtp};

const ALICE: &str = "alice@red.test";
const BOB: &str = "bob@black.test";

fn postfix(world: &World) -> Postfix {
    let setup = Setup {
        hostname: "mx2.postfix.test".to_owned(),
        domains: vec!["postfix.test".to_owned()],
        dns: Some(world.dns.address.ip()),
        main: format!(
            "smtp_tcp_port = {}\nsmtpd_recipient_restrictions = \
             check_recipient_access inline:{{ {{ gone@postfix.test = REJECT no such user }} }}, \
             permit\n",
            port::SMTP
        ),
        ..Setup::default()
    };
    Postfix::start(
        &world.place,
        "postfix",
        world.place.at(POSTFIX, port::SMTP),
        &setup,
    )
}

fn letter(from: &str, to: &str, number: u64) -> Vec<u8> {
    Writer::new(2)
        .letter(Heading { from, to, number }, 6_000)
        .into_bytes()
}

#[test]
fn postfix_sends_to_us_and_mutt_and_mbsync_read() {
    let world = World::new();
    let postfix = postfix(&world);
    let black = world.node(BLACK, "black.test", &["bob", "carol"]);
    let from = "peter@postfix.test";
    let sent = letter(from, BOB, 1);
    let to = [BOB, "carol@black.test"];
    let output = msmtp::send(&Server::open(postfix.address), from, &to, &sent);
    assert!(output.status.success(), "{}", said(&output));
    let arrived = wait_for_letters(&black, BOB, 1);
    assert!(
        arrived[0].ends_with(&sent),
        "{}",
        String::from_utf8_lossy(&arrived[0])
    );
    let head = String::from_utf8_lossy(&arrived[0]).into_owned();
    // Postfix takes the STARTTLS that we offer; RFC 3848 names that in Received.
    assert!(head.contains("with ESMTPS"), "{head:.1500}");
    assert_eq!(wait_for_letters(&black, to[1], 1).len(), 1);
    let expected = [with_lf(&arrived[0])];
    assert_eq!(
        mbsync::read_inbox(&world.place, &reading(&black, BOB, Tls::StartTls)),
        expected
    );
    assert_eq!(
        mutt::read_inbox(&world.place, &reading(&black, BOB, Tls::None)),
        expected
    );
    wait_for("an empty queue", ARRIVES_WITHIN, || {
        postfix.queue_is_empty().then_some(())
    });
}

#[test]
fn we_send_to_postfix_by_its_second_mx() {
    let world = World::new();
    let postfix = postfix(&world);
    let red = world.node(RED, "red.test", &["alice"]);
    let to = "peter@postfix.test";
    let sent = letter(ALICE, to, 2);
    let output = msmtp::send(&submission(&red, ALICE, Tls::StartTls), ALICE, &[to], &sent);
    assert!(output.status.success(), "{}", said(&output));
    let one = || Some(postfix.delivered()).filter(|letters| !letters.is_empty());
    let delivered = wait_for("the letter", ARRIVES_WITHIN, one);
    assert!(
        delivered[0].ends_with(&with_lf(&sent)),
        "{}",
        String::from_utf8_lossy(&delivered[0])
    );
    wait_for_empty_queue(&red, ARRIVES_WITHIN);
}

#[test]
fn what_cannot_be_delivered_comes_back_as_one_report() {
    let world = World::new();
    let _postfix = postfix(&world);
    let red = world.node(RED, "red.test", &["alice"]);
    let server = submission(&red, ALICE, Tls::StartTls);
    // A user whom Postfix refuses, and a domain that does not exist.
    for (number, to) in [(3, "gone@postfix.test"), (4, "anybody@nowhere.test")] {
        let output = swaks::send(&server, ALICE, &[to], &letter(ALICE, to, number));
        assert!(output.status.success(), "{}", said(&output));
    }
    let reports = wait_for_letters(&red, ALICE, 2);
    for to in ["gone@postfix.test", "anybody@nowhere.test"] {
        let about = |report: &&Vec<u8>| String::from_utf8_lossy(report).contains(to);
        let report = reports
            .iter()
            .find(about)
            .unwrap_or_else(|| panic!("no report about {to}"));
        let text = String::from_utf8_lossy(report);
        // RFC 3464 §2, RFC 5321 §4.5.5.
        assert!(text.contains("report-type=delivery-status"), "{text}");
        assert!(
            text.contains("Action: failed") && text.contains("Status: 5."),
            "{text}"
        );
        assert!(text.starts_with("Return-Path: <>\r\n"), "{text}");
    }
    wait_for_empty_queue(&red, ARRIVES_WITHIN);
    assert_eq!(
        wait_for_letters(&red, ALICE, 2).len(),
        2,
        "a report came twice"
    );
}

#[test]
fn a_letter_to_a_neighbour_and_oneself_stays_inside() {
    let world = World::new();
    let red = world.node(RED, "red.test", &["alice", "anna"]);
    let sent = letter(ALICE, "anna@red.test", 5);
    let to = ["anna@red.test", ALICE];
    let output = swaks::send(&submission(&red, ALICE, Tls::Implicit), ALICE, &to, &sent);
    assert!(output.status.success(), "{}", said(&output));
    for user in to {
        let arrived = wait_for_letters(&red, user, 1);
        assert!(
            arrived[0].ends_with(&sent),
            "{}",
            String::from_utf8_lossy(&arrived[0])
        );
    }
}

#[test]
fn strangers_cannot_relay_forge_or_guess() {
    let world = World::new();
    let black = world.node(BLACK, "black.test", &["bob", "carol"]);
    refuses(
        &black,
        port::SMTP,
        None,
        "x@red.test",
        "y@red.test",
        "550",
        "relaying",
    );
    refuses(
        &black,
        port::SMTP,
        None,
        "x@red.test",
        "nobody@black.test",
        "550",
        "an unknown user",
    );
    refuses(
        &black,
        port::SUBMISSION,
        None,
        BOB,
        "y@red.test",
        "530",
        "no login",
    );
    let wrong = Some((BOB, "wrong"));
    refuses(
        &black,
        port::SUBMISSION,
        wrong,
        BOB,
        "y@red.test",
        "535",
        "a wrong password",
    );
    let nobody = Some(("nobody@black.test", "wrong"));
    refuses(
        &black,
        port::SUBMISSION,
        nobody,
        BOB,
        "y@red.test",
        "535",
        "an unknown login",
    );
    let bob = Some((BOB, node::PASSWORD));
    refuses(
        &black,
        port::SUBMISSION,
        bob,
        "carol@black.test",
        "y@red.test",
        "55",
        "another's name",
    );
    assert_eq!(black.queue(), "[]");
    for user in [BOB, "carol@black.test"] {
        let mut imap = imap::Client::log_in(black.at(port::IMAP), user, node::PASSWORD).unwrap();
        assert_eq!(imap.count("INBOX").unwrap(), 0);
    }
}

fn refuses(
    node: &Node,
    port: u16,
    login: Option<(&str, &str)>,
    from: &str,
    to: &str,
    code: &str,
    what: &str,
) {
    let attempt = || {
        let mut client = smtp::Client::connect(node.at(port), ARRIVES_WITHIN)?;
        if let Some((user, password)) = login {
            client.log_in(user, password)?;
        }
        client.send(from, &[to.to_owned()], b"Subject: x\r\n\r\nx\r\n")
    };
    match attempt() {
        Err(smtp::Failure::Refused { reply, .. }) => {
            assert!(
                reply.code.to_string().starts_with(code),
                "{what}: {reply:?}"
            );
        }
        other => panic!("{what} was not refused: {other:?}"),
    }
}
