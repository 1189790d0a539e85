//! OpenSMTPD and we send each other letters: TLS where it can, 8BITMIME, several recipients,
//! delivery reports, sizes, refusals for now and for good. It has neither pipelining nor chunks nor
//! UTF-8 in addresses, so this is how we are with a plain server.

use interop::certificates::Certificate;
use interop::clients::with_lf;
use interop::imap;
use interop::letters::{Heading, Writer};
use interop::node::{self, Node, port};
use interop::opensmtpd::{OpenSmtpd, Setup};
use interop::process::wait_for;
use interop::smtp::{Client, Said};
use interop::world::{
    ARRIVES_WITHIN, BLACK, OPENSMTPD, RED, World, give, submit, wait_for_empty_queue,
    wait_for_letters,
};

const ALICE: &str = "alice@red.test";
const BOB: &str = "bob@black.test";
const OSCAR: &str = "oscar@opensmtpd.test";

fn setup(world: &World, relay: &str) -> Setup {
    Setup {
        hostname: "mx1.opensmtpd.test".to_owned(),
        domain: "opensmtpd.test".to_owned(),
        dns: Some(world.dns.address.ip()),
        relay: format!("smtp://mx1.{relay}:{}", port::SMTP),
        ..Setup::default()
    }
}

fn start(world: &World, setup: &Setup) -> OpenSmtpd {
    let address = world.place.at(OPENSMTPD, port::SMTP);
    OpenSmtpd::start(&world.place, "opensmtpd", address, setup)
}

fn letter(from: &str, to: &str, bytes: usize) -> Vec<u8> {
    let heading = Heading {
        from,
        to,
        number: 1,
    };
    let text = Writer::new(8).letter(heading, bytes);
    format!("{text}Gr\u{fc}\u{df}e \u{2709}\r\n.\r\n..\r\n.dot\r\n \t\r\nblank \r\n\r\nend\r\n")
        .into_bytes()
}

fn delivered(opensmtpd: &OpenSmtpd, count: usize) -> Vec<String> {
    let enough = || Some(opensmtpd.delivered()).filter(|letters| letters.len() >= count);
    wait_for("the letters", ARRIVES_WITHIN, enough)
        .iter()
        .map(|letter| String::from_utf8_lossy(letter).into_owned())
        .collect()
}

fn becomes_empty(opensmtpd: &OpenSmtpd) {
    wait_for("an empty queue of OpenSMTPD", ARRIVES_WITHIN, || {
        opensmtpd.queue_is_empty().then_some(())
    });
}

#[test]
fn we_send_to_a_plain_server() {
    let world = World::new();
    let opensmtpd = start(&world, &setup(&world, "red.test"));
    let client = Client::connect(opensmtpd.address, ARRIVES_WITHIN)
        .unwrap_or_else(|error| panic!("{error}"));
    assert!(client.offers("8BITMIME") && client.offers("DSN"));
    assert!(!client.offers("PIPELINING") && !client.offers("CHUNKING"));
    let red = world.node(RED, "red.test", &["alice"]);
    let sent = letter(ALICE, OSCAR, 4_000);
    let to = [
        "<oscar@opensmtpd.test> NOTIFY=SUCCESS",
        "<olga@opensmtpd.test>",
    ];
    submit(&red, ALICE, " BODY=8BITMIME ENVID=id+2B9", &to, &sent);
    for text in delivered(&opensmtpd, 2) {
        assert!(
            text.as_bytes().ends_with(&with_lf(&sent)),
            "changed on the way: {text}"
        );
    }
    // RFC 3461: it reports what our user asked.
    let reports = wait_for_letters(&red, ALICE, 1);
    let report = String::from_utf8_lossy(&reports[0]);
    assert!(report.contains("Action: delivered"), "{report}");
    assert!(report.contains("mx1.opensmtpd.test"), "{report}");
    wait_for_empty_queue(&red, ARRIVES_WITHIN);
}

/// RFC 7435 §3: a server that offers STARTTLS and then cannot is served without, unless something
/// says that it must have TLS. OpenSMTPD of Debian 12 is such a server.
#[test]
fn a_server_whose_tls_is_broken_gets_its_mail() {
    let world = World::new();
    let authority = Certificate::authority(&world.place, "authority");
    let certificate = authority.sign(&world.place, "opensmtpd", &["mx1.opensmtpd.test"], false);
    let setup = Setup {
        certificate: Some(certificate),
        ..setup(&world, "red.test")
    };
    let opensmtpd = start(&world, &setup);
    let red = world.node(RED, "red.test", &["alice"]);
    let sent = letter(ALICE, OSCAR, 2_000);
    submit(
        &red,
        ALICE,
        " BODY=8BITMIME",
        &["<oscar@opensmtpd.test>"],
        &sent,
    );
    let texts = delivered(&opensmtpd, 1);
    assert!(
        texts[0].as_bytes().ends_with(&with_lf(&sent)),
        "{}",
        texts[0]
    );
    wait_for_empty_queue(&red, ARRIVES_WITHIN);
}

#[test]
fn opensmtpd_sends_to_us_over_tls() {
    let world = World::new();
    let opensmtpd = start(&world, &setup(&world, "black.test"));
    let black = world.node(BLACK, "black.test", &["bob", "carol"]);
    let sent = letter(OSCAR, BOB, 4_000);
    let said = Said {
        mail: &format!("<{OSCAR}> BODY=8BITMIME ENVID=id+2B8"),
        rcpt: &[
            "<bob@black.test> NOTIFY=SUCCESS ORCPT=rfc822;rob@black.test",
            "<carol@black.test>",
        ],
        login: None,
    };
    give(opensmtpd.address, said, &sent);
    for user in [BOB, "carol@black.test"] {
        let arrived = wait_for_letters(&black, user, 1);
        let text = String::from_utf8_lossy(&arrived[0]);
        assert!(arrived[0].ends_with(&sent), "changed on the way: {text}");
        assert!(text.contains("with ESMTPS"), "{text}");
    }
    // RFC 3461 §5.2.3: we report what its user asked.
    let texts = delivered(&opensmtpd, 1);
    for part in [
        "Original-Envelope-Id: id+8",
        "Original-Recipient: rfc822;rob@black.test",
        "Action: delivered",
    ] {
        assert!(texts[0].contains(part), "{part} in {}", texts[0]);
    }
    becomes_empty(&opensmtpd);
}

/// RFC 5321 §4.5.4.1, RFC 1870 §6.
#[test]
fn we_keep_what_it_puts_off_and_return_what_it_refuses() {
    let world = World::new();
    let strict = Setup {
        letter_bytes_max: 20_000,
        refusals: vec![
            ("oscar", "451 4.3.2 come again in a penny's time"),
            ("nobody", "550 5.1.1 no penny for nobody"),
        ],
        ..setup(&world, "red.test")
    };
    let opensmtpd = start(&world, &strict);
    let red = world.node(RED, "red.test", &["alice"]);
    let sent = letter(ALICE, OSCAR, 4_000);
    let to = [
        "<oscar@opensmtpd.test>",
        "<olga@opensmtpd.test>",
        "<nobody@opensmtpd.test>",
    ];
    submit(&red, ALICE, " BODY=8BITMIME", &to, &sent);
    assert_eq!(delivered(&opensmtpd, 1).len(), 1);
    let reports = wait_for_letters(&red, ALICE, 1);
    let report = String::from_utf8_lossy(&reports[0]);
    assert!(report.contains("no penny for nobody"), "{report}");
    assert!(
        !report.contains("Final-Recipient: rfc822; oscar@"),
        "{report}"
    );
    wait_for("its words in our queue", ARRIVES_WITHIN, || {
        red.queue()
            .contains("come again in a penny's time")
            .then_some(())
    });
    let large = letter(ALICE, OSCAR, 40_000);
    submit(
        &red,
        ALICE,
        " BODY=8BITMIME",
        &["<olga@opensmtpd.test>"],
        &large,
    );
    let reports = wait_for_letters(&red, ALICE, 2);
    let about_size = |report: &Vec<u8>| {
        let text = String::from_utf8_lossy(report);
        text.contains("Status: 5.3.4") || text.contains("Status: 5.2.3")
    };
    assert!(reports.iter().any(about_size), "no report about the size");
    drop(opensmtpd);
    // It comes back and takes everybody.
    let opensmtpd = OpenSmtpd::start(
        &world.place,
        "kinder",
        world.place.at(OPENSMTPD, port::SMTP),
        &setup(&world, "red.test"),
    );
    let texts = delivered(&opensmtpd, 1);
    assert!(
        texts[0].as_bytes().ends_with(&with_lf(&sent)),
        "{}",
        texts[0]
    );
    wait_for_empty_queue(&red, ARRIVES_WITHIN);
}

#[test]
fn it_keeps_what_we_put_off_and_returns_what_we_refuse() {
    let world = World::new();
    let opensmtpd = start(&world, &setup(&world, "black.test"));
    let mut settings = world.setup(BLACK, "black.test");
    settings.settings += "limits.connections_per_address = 1\n";
    let black = Node::start(&world.place, &settings, &["bob"]);
    let place = Client::connect(black.at(port::SMTP), ARRIVES_WITHIN)
        .unwrap_or_else(|error| panic!("{error}"));
    let sent = letter(OSCAR, BOB, 2_000);
    let said = |rcpt| Said {
        mail: "<oscar@opensmtpd.test> BODY=8BITMIME",
        rcpt,
        login: None,
    };
    give(opensmtpd.address, said(&["<bob@black.test>"]), &sent);
    wait_for("a letter put off", ARRIVES_WITHIN, || {
        opensmtpd
            .log()
            .contains("result=\"TempFail\"")
            .then_some(())
    });
    assert!(!opensmtpd.queue_is_empty());
    place.quit().unwrap_or_else(|error| panic!("{error}"));
    wait_for("an empty queue of OpenSMTPD", ARRIVES_WITHIN, || {
        opensmtpd.try_again();
        opensmtpd.queue_is_empty().then_some(())
    });
    give(opensmtpd.address, said(&["<nobody@black.test>"]), &sent);
    // There may be a report about the delay, too.
    wait_for("the report of the refusal", ARRIVES_WITHIN, || {
        delivered(&opensmtpd, 1)
            .into_iter()
            .find(|text| text.contains("nobody@black.test") && text.contains("550"))
    });
    // It keeps its connection for a while, and there is only one.
    let arrived = wait_for("the letter", ARRIVES_WITHIN, || {
        let mut imap = imap::Client::log_in(black.at(port::IMAP), BOB, node::PASSWORD).ok()?;
        imap.letters("INBOX").ok()
    });
    assert!(arrived[0].ends_with(&sent));
}
