//! Exim and we send each other letters: TLS, 8BITMIME, SMTPUTF8, CHUNKING, pipelining, several
//! recipients, delivery reports, sizes, refusals for now and for good. What was used Exim says in its
//! log (`K` for CHUNKING, `L` for pipelining).

use interop::certificates::Certificate;
use interop::clients::with_lf;
use interop::exim::{Exim, Setup};
use interop::letters::{Heading, Writer};
use interop::node::{Node, port};
use interop::process::wait_for;
use interop::smtp::{Client, Failure, Said};
use interop::world::{
    ARRIVES_WITHIN, BLACK, EXIM, RED, World, give, submit, wait_for_empty_queue, wait_for_letters,
};

const ALICE: &str = "alice@red.test";
const BOB: &str = "bob@black.test";
const EVE: &str = "eve@exim.test";

fn exim(world: &World, main: &str, rcpt: &str) -> Exim {
    let authority = Certificate::authority(&world.place, "authority");
    let certificate = authority.sign(&world.place, "exim", &["mx1.exim.test"], false);
    start(world, Some(certificate), main, rcpt)
}

fn start(world: &World, certificate: Option<Certificate>, main: &str, rcpt: &str) -> Exim {
    let setup = Setup {
        hostname: "mx1.exim.test".to_owned(),
        domain: "exim.test".to_owned(),
        certificate,
        dns: Some(world.dns.address.ip()),
        port: port::SMTP,
        main: format!("log_selector = +8bitmime +pipelining +dnssec\n{main}"),
        rcpt: rcpt.to_owned(),
    };
    let address = world.place.at(EXIM, port::SMTP);
    Exim::start(&world.place, "exim", address, &setup)
}

fn red(world: &World) -> Node {
    world.node(RED, "red.test", &["alice"])
}

/// Lines that a careless peer would change: eight bits, dots, blanks at the end, a long line.
fn letter(from: &str, to: &str) -> Vec<u8> {
    let heading = Heading {
        from,
        to,
        number: 1,
    };
    let text = Writer::new(5).letter(heading, 4_000);
    let text = text.replace(
        "Content-Transfer-Encoding: 7bit",
        "Content-Transfer-Encoding: 8bit",
    );
    let long = "x".repeat(990);
    format!("{text}Gr\u{fc}\u{df}e \u{2709}\r\n.\r\n..\r\n.dot\r\n \t\r\nblank \r\n{long}\r\n\r\nend\r\n")
        .into_bytes()
}

fn delivered(exim: &Exim, count: usize) -> Vec<String> {
    let enough = || Some(exim.delivered()).filter(|letters| letters.len() >= count);
    wait_for("the letters", ARRIVES_WITHIN, enough)
        .iter()
        .map(|letter| String::from_utf8_lossy(letter).into_owned())
        .collect()
}

/// The line of Exim's log that tells of a letter it received or delivered.
fn line(exim: &Exim, arrow: &str, about: &str) -> String {
    wait_for("the line in the log", ARRIVES_WITHIN, || {
        let log = exim.log();
        let found = |line: &&str| line.contains(arrow) && line.contains(about);
        log.lines().find(found).map(str::to_owned)
    })
}

/// Exim writes `L` where pipelining was offered, with a minus where it was not used, and with a dot
/// where nothing was sent before the greeting.
fn is_pipelined(line: &str) -> bool {
    line.split(' ').any(|word| word == "L" || word == "L.")
}

fn becomes_empty(exim: &Exim) {
    wait_for("an empty queue of Exim", ARRIVES_WITHIN, || {
        exim.queue_is_empty().then_some(())
    });
}

/// RFC 3207, RFC 3030 §2, RFC 6152, RFC 2920: all of it is used, and no byte is changed.
#[test]
fn we_send_to_exim_over_tls_in_chunks() {
    let world = World::new();
    let exim = exim(&world, "", "");
    let red = red(&world);
    let sent = letter(ALICE, EVE);
    let to = ["<eve@exim.test>", "<adam@exim.test>"];
    submit(&red, ALICE, " BODY=8BITMIME", &to, &sent);
    for text in delivered(&exim, 2) {
        assert!(
            text.as_bytes().ends_with(&with_lf(&sent)),
            "changed on the way: {text}"
        );
    }
    let line = line(&exim, " <= ", ALICE);
    assert!(
        line.contains("P=esmtps ") && line.contains("X=TLS1.3"),
        "{line}"
    );
    assert!(is_pipelined(&line) && line.contains(" K "), "{line}");
    assert!(line.contains("M8S=8"), "{line}");
    // Both recipients came in one transaction.
    let log = exim.log();
    assert_eq!(log.matches(" <= alice@red.test").count(), 1, "{log}");
    wait_for_empty_queue(&red, ARRIVES_WITHIN);
}

/// RFC 2920 §3.1, RFC 5321 §4.5.2: what a server without TLS and chunks gets.
#[test]
fn we_send_to_exim_in_the_clear_with_pipelined_commands() {
    let world = World::new();
    let exim = start(&world, None, "chunking_advertise_hosts =\n", "");
    let red = red(&world);
    let sent = letter(ALICE, EVE);
    let to = ["<eve@exim.test>", "<adam@exim.test>"];
    submit(&red, ALICE, " BODY=8BITMIME", &to, &sent);
    for text in delivered(&exim, 2) {
        assert!(
            text.as_bytes().ends_with(&with_lf(&sent)),
            "changed on the way: {text}"
        );
    }
    let line = line(&exim, " <= ", ALICE);
    assert!(line.contains("P=esmtp ") && is_pipelined(&line), "{line}");
    assert!(!line.contains(" K "), "{line}");
}

#[test]
fn exim_sends_to_us_over_tls_in_chunks() {
    let world = World::new();
    let exim = exim(&world, "", "");
    let black = world.node(BLACK, "black.test", &["bob", "carol"]);
    let sent = letter(EVE, BOB);
    let said = Said {
        mail: &format!("<{EVE}> BODY=8BITMIME"),
        rcpt: &["<bob@black.test>", "<carol@black.test>"],
        login: None,
    };
    give(exim.address, said, &sent);
    for user in [BOB, "carol@black.test"] {
        let arrived = wait_for_letters(&black, user, 1);
        let text = String::from_utf8_lossy(&arrived[0]);
        assert!(arrived[0].ends_with(&sent), "changed on the way: {text}");
        // RFC 3848: the protocol of the hop is named.
        assert!(text.contains("with ESMTPS"), "{text}");
    }
    let line = line(&exim, " => ", BOB);
    assert!(line.contains("X=TLS1.3"), "{line}");
    assert!(is_pipelined(&line) && line.contains(" K "), "{line}");
    becomes_empty(&exim);
}

/// RFC 6531 §3: addresses and header in UTF-8, both ways.
#[test]
fn addresses_in_utf8_go_both_ways() {
    let world = World::new();
    let exim = exim(&world, "", "");
    let red = red(&world);
    let sent = letter(ALICE, "pel\u{e9}@exim.test");
    let parameters = " SMTPUTF8 BODY=8BITMIME";
    submit(&red, ALICE, parameters, &["<pel\u{e9}@exim.test>"], &sent);
    let texts = delivered(&exim, 1);
    assert!(
        texts[0].as_bytes().ends_with(&with_lf(&sent)),
        "{}",
        texts[0]
    );
    let received = line(&exim, " <= ", ALICE);
    assert!(received.contains("P=utf8esmtps"), "{received}");
    let back = letter("pel\u{e9}@exim.test", ALICE);
    let said = Said {
        mail: &format!("<pel\u{e9}@exim.test>{parameters}"),
        rcpt: &["<alice@red.test>"],
        login: None,
    };
    give(exim.address, said, &back);
    let arrived = wait_for_letters(&red, ALICE, 1);
    let text = String::from_utf8_lossy(&arrived[0]);
    assert!(arrived[0].ends_with(&back), "{text}");
    assert!(text.contains("with UTF8SMTPS"), "{text}");
}

/// RFC 3461 §5.2.1 and §5.2.3: what the sender asked reaches the server that delivers.
#[test]
fn delivery_reports_are_asked_for_and_made() {
    let world = World::new();
    let exim = exim(&world, "", "");
    let red = red(&world);
    let asks = "<eve@exim.test> NOTIFY=SUCCESS ORCPT=rfc822;old+2Beve@exim.test";
    submit(
        &red,
        ALICE,
        " RET=HDRS ENVID=id+2B7",
        &[asks],
        &letter(ALICE, EVE),
    );
    let reports = wait_for_letters(&red, ALICE, 1);
    let report = String::from_utf8_lossy(&reports[0]);
    for part in [
        "Reporting-MTA: dns; mx1.exim.test",
        // As it came: Exim leaves the coding of RFC 3461 §4 in it.
        "Original-Envelope-ID: id+2B7",
        "Original-Recipient: rfc822;old+2Beve@exim.test",
        "Action: delivered",
    ] {
        assert!(report.contains(part), "{part} in {report}");
    }
    let said = Said {
        mail: &format!("<{EVE}> RET=FULL ENVID=id+2B8"),
        rcpt: &["<alice@red.test> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;al@red.test"],
        login: None,
    };
    give(exim.address, said, &letter(EVE, ALICE));
    // The letter from Alice is there, and our report about the one to her.
    let texts = delivered(&exim, 2);
    let ours = |text: &&String| text.contains("Reporting-MTA: dns; mx.red.test");
    let report = texts
        .iter()
        .find(ours)
        .unwrap_or_else(|| panic!("{texts:?}"));
    for part in [
        "Original-Envelope-Id: id+8",
        "Original-Recipient: rfc822;al@red.test",
        "Action: delivered",
    ] {
        assert!(report.contains(part), "{part} in {report}");
    }
}

/// RFC 1870 §6: a letter that is too large is refused by its size and comes back, both ways.
#[test]
fn letters_that_are_too_large_come_back() {
    let world = World::new();
    let exim = exim(&world, "message_size_limit = 120K\n", "");
    let mut setup = world.setup(RED, "red.test");
    setup.settings += "limits.letter_size = \"64 KB\"\n";
    let red = Node::start(&world.place, &setup, &["alice"]);
    let heading = |from, to| Heading {
        from,
        to,
        number: 9,
    };
    let large = Writer::new(6).letter(heading(EVE, ALICE), 100_000);
    let said = Said {
        mail: &format!("<{EVE}>"),
        rcpt: &["<alice@red.test>"],
        login: None,
    };
    give(exim.address, said, large.as_bytes());
    let texts = delivered(&exim, 1);
    assert!(texts[0].contains("552"), "{}", texts[0]);
    assert!(texts[0].contains("Action: failed"), "{}", texts[0]);

    let black = world.node(BLACK, "black.test", &["bob"]);
    let larger = Writer::new(6).letter(heading(BOB, EVE), 200_000);
    let said = Said {
        login: Some(BOB),
        mail: &format!("<{BOB}>"),
        rcpt: &["<eve@exim.test>"],
    };
    give(black.at(port::SUBMISSION), said, larger.as_bytes());
    let reports = wait_for_letters(&black, BOB, 1);
    let report = String::from_utf8_lossy(&reports[0]);
    assert!(
        report.contains("Status: 5.3.4") || report.contains("Status: 5.2.3"),
        "{report}"
    );
    wait_for_empty_queue(&black, ARRIVES_WITHIN);
    assert!(red.queue() == "[]");
}

/// RFC 5321 §4.5.4.1: "no" for now is tried again, "no" for good comes back, in Exim's words.
#[test]
fn we_keep_what_exim_puts_off_and_return_what_it_refuses() {
    let world = World::new();
    let busy = world.place.write("busy", "");
    let rcpt = format!(
        "  defer local_parts = eve\n    condition = ${{if exists{{{}}}}}\n    \
         message = 4.3.2 come again in a penny's time\n\
         \x20 deny local_parts = nobody\n    message = 5.1.1 no penny for nobody\n",
        busy.display()
    );
    let exim = exim(&world, "", &rcpt);
    let red = red(&world);
    let sent = letter(ALICE, EVE);
    let to = ["<eve@exim.test>", "<adam@exim.test>", "<nobody@exim.test>"];
    submit(&red, ALICE, " BODY=8BITMIME", &to, &sent);
    // Of three recipients one is served, one waits, one is told.
    assert_eq!(delivered(&exim, 1).len(), 1);
    let reports = wait_for_letters(&red, ALICE, 1);
    let report = String::from_utf8_lossy(&reports[0]);
    assert!(report.contains("no penny for nobody"), "{report}");
    assert!(report.contains("Status: 5.1.1"), "{report}");
    assert!(
        !report.contains("Final-Recipient: rfc822; eve@"),
        "{report}"
    );
    wait_for("the words of Exim in our queue", ARRIVES_WITHIN, || {
        red.queue()
            .contains("come again in a penny's time")
            .then_some(())
    });
    std::fs::remove_file(busy).unwrap_or_else(|error| panic!("{error}"));
    let texts = delivered(&exim, 2);
    assert!(
        texts
            .iter()
            .all(|text| text.as_bytes().ends_with(&with_lf(&sent))),
        "{texts:?}"
    );
    wait_for_empty_queue(&red, ARRIVES_WITHIN);
    assert_eq!(wait_for_letters(&red, ALICE, 1).len(), 1);
}

/// The same the other way: Exim hears 421 from us while we are full, and 550 for whom we do not know.
#[test]
fn exim_keeps_what_we_put_off_and_returns_what_we_refuse() {
    let world = World::new();
    let exim = exim(&world, "", "");
    let mut setup = world.setup(BLACK, "black.test");
    setup.settings += "limits.connections_per_address = 1\n";
    let black = Node::start(&world.place, &setup, &["bob"]);
    // Everybody on this machine comes from one address, and this takes its place.
    let place = Client::connect(black.at(port::SMTP), ARRIVES_WITHIN)
        .unwrap_or_else(|error| panic!("{error}"));
    let sent = letter(EVE, BOB);
    let said = |rcpt| Said {
        mail: "<eve@exim.test> BODY=8BITMIME",
        rcpt,
        login: None,
    };
    give(exim.address, said(&["<bob@black.test>"]), &sent);
    let deferred = line(&exim, " == ", BOB);
    assert!(deferred.contains("421"), "{deferred}");
    assert!(!exim.queue_is_empty());
    place.quit().unwrap_or_else(|error| panic!("{error}"));
    becomes_empty(&exim);
    give(exim.address, said(&["<nobody@black.test>"]), &sent);
    let texts = delivered(&exim, 1);
    assert!(texts[0].contains("550"), "{}", texts[0]);
    assert!(texts[0].contains("nobody@black.test"), "{}", texts[0]);
    becomes_empty(&exim);
    let arrived = wait_for_letters(&black, BOB, 1);
    assert!(arrived[0].ends_with(&sent));
}

/// RFC 3207 §4.2: what stands behind STARTTLS in the same packet is not taken as if it came by TLS.
#[test]
fn commands_behind_starttls_are_not_answered() {
    let world = World::new();
    let exim = exim(&world, "", "");
    let black = world.node(BLACK, "black.test", &["bob"]);
    for address in [exim.address, black.at(port::SMTP)] {
        let mut client =
            Client::connect(address, ARRIVES_WITHIN).unwrap_or_else(|error| panic!("{error}"));
        let reply = client
            .command("STARTTLS\r\nNOOP")
            .unwrap_or_else(|error| panic!("{address}: {error}"));
        if reply.code != 220 {
            // Refused as a whole, and nothing was answered before.
            assert!(reply.code >= 500, "{address}: {reply:?}");
            continue;
        }
        // No handshake begins so. The server may say that as TLS does, but answers no command.
        match client.command("QUIT") {
            Err(Failure::Broken(_)) => {}
            other => panic!("{address}: {other:?}"),
        }
    }
}
