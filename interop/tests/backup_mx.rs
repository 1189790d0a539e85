//! We are the backup MX of a domain whose primary is Postfix: mail is taken while Postfix is away, and
//! passed on to it, and to nobody else, when it is back.

use interop::node::port;
use interop::nsd::{Nsd, Zone};
use interop::place::Place;
use interop::postfix::{Postfix, Setup};
use interop::process::{said, wait_for};
use interop::smtp::Client;
use interop::world::{ARRIVES_WITHIN, wait_for_empty_queue};
use interop::{node, node::Node};

const PRIMARY: u8 = 2;
const LETTER: &[u8] = b"From: a@far.test\r\nSubject: kept\r\n\r\nfor another server\r\n";

#[test]
fn mail_is_kept_for_postfix_while_it_is_away() {
    let place = Place::new();
    // We are the second; the third is us again, and nothing may go there.
    let zone = Zone::new("black.test")
        .mx(10, "mx1", place.address(PRIMARY))
        .mx(20, "mx2", place.address(1))
        .mx(30, "mx3", place.address(3));
    let dns = Nsd::start(&place, place.at(53, 53), &[zone]);
    place.write("node-1/people", "bob@black.test\n");
    let mut setup = node::Setup::new(1, "red.test");
    setup.dns = Some(dns.address);
    setup.settings = "backup_mx.domains = [\"black.test\"]\nbackup_mx.recipients = \"people\"\n\
                      auth.trusted = [\"127.0.0.0/8\"]\nqueue.retry_first = \"1s\"\n"
        .to_owned();
    let red = Node::start(&place, &setup, &[]);
    let mut client = Client::connect(red.at(port::SMTP), ARRIVES_WITHIN).unwrap();
    let nobody = client.send("a@far.test", &["nobody@black.test".to_owned()], LETTER);
    let told = format!("{nobody:?}");
    assert!(told.contains("550") && told.contains("5.1.1"), "{told}");
    let mut client = Client::connect(red.at(port::SMTP), ARRIVES_WITHIN).unwrap();
    let to = ["bob@black.test".to_owned()];
    let reply = client.send("a@far.test", &to, LETTER).unwrap();
    assert!(reply.is_positive(), "{reply:?}");
    wait_for("an attempt in vain", ARRIVES_WITHIN, || {
        red.queue().contains("mx1.black.test").then_some(())
    });
    let primary = Setup {
        hostname: "mx1.black.test".to_owned(),
        domains: vec!["black.test".to_owned()],
        ..Setup::default()
    };
    let primary = Postfix::start(&place, "primary", place.at(PRIMARY, port::SMTP), &primary);
    let arrived = wait_for("the letter", ARRIVES_WITHIN, || {
        let retried = red.command(&["queue", "retry", "--domain", "black.test"]);
        // It fails when nothing is left.
        let _ = said(&retried);
        Some(primary.delivered()).filter(|all| all.len() == 1)
    });
    let text = String::from_utf8_lossy(&arrived[0]).into_owned();
    assert!(text.contains("Return-Path: <a@far.test>"), "{text}");
    assert!(text.ends_with("\n\nfor another server\n"), "{text}");
    wait_for_empty_queue(&red, ARRIVES_WITHIN);
}
