//! Delivery reports (RFC 3461, RFC 3464) between Postfix and us: what a sender asked goes through
//! to the server that delivers, and that one reports.

use interop::clients::{Tls, with_lf};
use interop::letters::{Heading, Writer};
use interop::node::port;
use interop::postfix::{Postfix, Setup};
use interop::process::wait_for;
use interop::smtp;
use interop::world::{ARRIVES_WITHIN, BLACK, POSTFIX, RED, World, submission, wait_for_letters};
use std::net::SocketAddr;
use std::time::Duration;

const ALICE: &str = "alice@red.test";
const BOB: &str = "bob@black.test";
const PETER: &str = "peter@postfix.test";
const LIMIT: Duration = Duration::from_secs(60);

fn postfix(world: &World) -> Postfix {
    let setup = Setup {
        hostname: "mx2.postfix.test".to_owned(),
        domains: vec!["postfix.test".to_owned()],
        dns: Some(world.dns.address.ip()),
        main: format!("smtp_tcp_port = {}\n", port::SMTP),
        ..Setup::default()
    };
    let address = world.place.at(POSTFIX, port::SMTP);
    Postfix::start(&world.place, "postfix", address, &setup)
}

/// One letter with DSN parameters.
fn send(to: SocketAddr, login: Option<&str>, mail: &str, rcpt: &str, letter: &[u8]) {
    let mut client = smtp::Client::connect(to, LIMIT)
        .unwrap_or_else(|error| panic!("the server greets: {error:?}"));
    if let Some(user) = login {
        client
            .log_in(user, interop::node::PASSWORD)
            .unwrap_or_else(|error| panic!("the login: {error:?}"));
    }
    assert!(client.offers("DSN"));
    for (line, code) in [(mail, 250), (rcpt, 250), ("DATA", 354)] {
        let reply = client
            .command(line)
            .unwrap_or_else(|error| panic!("a reply: {error:?}"));
        assert_eq!(reply.code, code, "{line}: {reply:?}");
    }
    let letter = String::from_utf8(letter.to_vec())
        .unwrap_or_else(|error| panic!("a letter of text: {error:?}"));
    let reply = client
        .command(&format!("{letter}."))
        .unwrap_or_else(|error| panic!("a reply: {error:?}"));
    assert_eq!(reply.code, 250, "{reply:?}");
    client
        .quit()
        .unwrap_or_else(|error| panic!("goodbye: {error:?}"));
}

fn letter(from: &str, to: &str) -> Vec<u8> {
    let text = Writer::new(4).letter(
        Heading {
            from,
            to,
            number: 1,
        },
        800,
    );
    // No line starts with a dot, so none needs to be doubled.
    text.replace("\r\n.", "\r\n").into_bytes()
}

/// RFC 3461 §5.2.1: we pass NOTIFY, ORCPT and ENVID on, and Postfix reports to our user.
#[test]
fn postfix_reports_what_our_user_asked() {
    let world = World::new();
    let _postfix = postfix(&world);
    let red = world.node(RED, "red.test", &["alice"]);
    let server = submission(&red, ALICE, Tls::None);
    send(
        server.address,
        Some(ALICE),
        &format!("MAIL FROM:<{ALICE}> RET=HDRS ENVID=id+2B7"),
        &format!("RCPT TO:<{PETER}> NOTIFY=SUCCESS ORCPT=rfc822;old+2Bpeter@postfix.test"),
        &letter(ALICE, PETER),
    );
    let reports = wait_for_letters(&red, ALICE, 1);
    let report = String::from_utf8_lossy(&reports[0]);
    for part in [
        "Reporting-MTA: dns; mx2.postfix.test",
        "Original-Envelope-Id: id+7",
        "Original-Recipient: rfc822;old+peter@postfix.test",
        "Action: delivered",
    ] {
        assert!(report.contains(part), "{part} in {report}");
    }
}

/// RFC 3461 §5.2.3: Postfix passes on what its user asked, and we report the delivery.
#[test]
fn we_report_what_a_user_of_postfix_asked() {
    let world = World::new();
    let postfix = postfix(&world);
    let black = world.node(BLACK, "black.test", &["bob"]);
    send(
        postfix.address,
        None,
        &format!("MAIL FROM:<{PETER}> RET=FULL ENVID=id+2B8"),
        &format!("RCPT TO:<{BOB}> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;robert@black.test"),
        &letter(PETER, BOB),
    );
    let report = report_to_peter(&postfix);
    for part in [
        "Reporting-MTA: dns; ",
        "Original-Envelope-Id: id+8",
        "Original-Recipient: rfc822;robert@black.test",
        "Final-Recipient: rfc822; bob@black.test",
        "Action: delivered",
    ] {
        assert!(report.contains(part), "{part} in {report}");
    }
    assert_eq!(wait_for_letters(&black, BOB, 1).len(), 1);
}

fn report_to_peter(postfix: &Postfix) -> String {
    let one = || Some(postfix.delivered()).filter(|letters| !letters.is_empty());
    let delivered = wait_for("the report", ARRIVES_WITHIN, one);
    String::from_utf8_lossy(&with_lf(&delivered[0])).into_owned()
}
