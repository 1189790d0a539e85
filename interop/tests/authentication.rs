//! Letters of swaks and Postfix, right and forged, are checked against records that NSD serves; what
//! we write about them is read by authres and held against pyspf and dkimpy.

#![expect(clippy::unwrap_used, reason = "a test stops at what it cannot do")]

use std::collections::BTreeMap;

use interop::clients::{Server, msmtp, swaks};
use interop::imap;
use interop::judges::{Key, judge};
use interop::node::{self, Node, port};
use interop::nsd::{Nsd, Zone};
use interop::place::Place;
use interop::postfix::{Postfix, Setup};
use interop::process::{said, wait_for};
use interop::world::ARRIVES_WITHIN;

const BOB: &str = "bob@black.test";
/// Where swaks connects from, and what it says that it is.
const CLIENT: &str = "127.0.0.1";
const HELO: &str = "client.test";
const BLACK: u8 = 2;
const POSTFIX: u8 = 3;

struct World {
    place: Place,
    dns: Nsd,
    black: Node,
    rsa: Key,
    ed25519: Key,
}

impl World {
    fn new() -> World {
        let place = Place::new();
        let (rsa, ed25519) = (Key::new(&place, "rsa"), Key::new(&place, "ed25519"));
        let key = |selector: &str, key: &Key| format!("{selector}._domainkey TXT {}", key.record);
        let postfix = place.address(POSTFIX);
        let zones = [
            Zone::new("test").record("client A 127.0.0.1"),
            Zone::new("black.test").mx(10, "mx1", place.address(BLACK)),
            Zone::new("red.test")
                .record("@ TXT \"v=spf1 a:client.test -all\"")
                .record("_dmarc TXT \"v=DMARC1; p=reject\"")
                .record(&key("r", &rsa))
                .record(&key("e", &ed25519)),
            Zone::new("evil.test").record("@ TXT \"v=spf1 ip4:192.0.2.0/24 -all\""),
            Zone::new("soft.test")
                .record("@ TXT \"v=spf1 include:nowhere.soft.test ~all\"")
                .record("_dmarc TXT \"v=DMARC1; p=quarantine\""),
            Zone::new("postfix.test")
                .record(&format!("mx2 A {postfix}"))
                .record("@ TXT \"v=spf1 a:mx2.postfix.test -all\"")
                .record("_dmarc TXT \"v=DMARC1; p=reject; adkim=s; aspf=s\""),
        ];
        let dns = Nsd::start(&place, place.at(53, 53), &zones);
        let setup = node::Setup {
            dns: Some(dns.address),
            settings: "auth.trusted = []\n".to_owned(),
            ..node::Setup::new(BLACK, "black.test")
        };
        let black = Node::start(&place, &setup, &["bob"]);
        World {
            place,
            dns,
            black,
            rsa,
            ed25519,
        }
    }

    /// Sends by swaks; gives the reply to the letter if it is refused.
    fn send(&self, sender: &str, letter: &[u8]) -> Result<(), String> {
        let server = Server::open(self.black.at(port::SMTP));
        let output = swaks::send(&server, sender, &[BOB], letter);
        if output.status.success() {
            return Ok(());
        }
        let dialogue = said(&output);
        let refusal = dialogue.lines().find(|line| line.contains("<** 5"));
        Err(refusal.unwrap_or(&dialogue).to_owned())
    }

    /// The newest letter of a folder that has this many, and what the judges say about it.
    fn newest(&self, folder: &str, count: usize) -> Vec<u8> {
        let at = self.black.at(port::IMAP);
        let mut letters = wait_for("the letter", ARRIVES_WITHIN, || {
            let mut client = imap::Client::log_in(at, BOB, node::PASSWORD).ok()?;
            let letters = client.letters(folder).ok()?;
            (letters.len() == count).then_some(letters)
        });
        letters.pop().unwrap()
    }

    fn judge(&self, letter: &[u8], sender: &str) -> BTreeMap<String, String> {
        let address = CLIENT.parse().unwrap();
        judge(letter, self.dns.address, address, sender, HELO)
    }
}

fn letter(from: &str, subject: &str) -> Vec<u8> {
    format!(
        "From: {from}\r\nTo: {BOB}\r\nSubject: {subject}\r\n\
         Date: Tue, 24 Nov 2026 09:00:00 +0000\r\nMessage-ID: <{subject}@red.test>\r\n\r\n\
         One penny, any distance.\r\n"
    )
    .into_bytes()
}

/// What we wrote must be what the judges find.
fn agree(found: &BTreeMap<String, String>) {
    assert_eq!(found["field.server"], "mx.black.test");
    assert_eq!(found["field.spf"], found["pyspf.spf"], "{found:#?}");
    assert_eq!(found["field.dkim"], found["dkimpy.dkim"], "{found:#?}");
}

#[test]
fn letters_that_are_right_pass_and_the_judges_agree() {
    let world = World::new();
    let alice = "alice@red.test";
    let plain = letter(alice, "plain");
    let cases = [
        (alice, plain.clone(), "pass", "none"),
        (
            alice,
            world.rsa.sign("r", "red.test", &plain),
            "pass",
            "pass",
        ),
        (
            alice,
            world.ed25519.sign("e", "red.test", &plain),
            "pass",
            "pass",
        ),
        // The envelope is another's: the signature carries the letter.
        (
            "x@evil.test",
            world.rsa.sign("r", "red.test", &plain),
            "fail",
            "pass",
        ),
    ];
    for (number, (sender, text, spf, dkim)) in cases.iter().enumerate() {
        world.send(sender, text).unwrap();
        let stored = world.newest("INBOX", number + 1);
        assert!(
            stored.ends_with(text),
            "{}",
            String::from_utf8_lossy(&stored)
        );
        let found = world.judge(&stored, sender);
        agree(&found);
        assert_eq!((&*found["field.spf"], &*found["field.dkim"]), (*spf, *dkim));
        assert_eq!(found["field.dmarc"], "pass", "{found:#?}");
        assert_eq!(found["field.dmarc.header.from"], "red.test");
        // Resolvers answer for the loopback's own name themselves (RFC 6761 §6.3).
        assert_eq!(found["field.iprev"], "pass");
        assert_eq!(found["field.spf.smtp.mailfrom"], *sender);
    }
}

#[test]
fn forgeries_are_refused_or_put_into_junk() {
    let world = World::new();
    let alice = "alice@red.test";
    let refused = |sender: &str, text: &[u8]| {
        let refusal = world.send(sender, text).unwrap_err();
        assert!(
            refusal.contains("550 5.7.26 The letter fails DMARC"),
            "{refusal}"
        );
        assert!(refusal.contains("red.test"), "{refusal}");
    };
    refused("x@evil.test", &letter(alice, "unsigned"));
    let signed = world.rsa.sign("r", "red.test", &letter(alice, "changed"));
    let text = String::from_utf8(signed).unwrap();
    refused("x@evil.test", text.replace("penny", "pound").as_bytes());
    refused(
        "x@evil.test",
        text.replace("Subject: ", "Subject: Re: ").as_bytes(),
    );
    // Nothing of them is kept, and SPF alone refuses nothing.
    world
        .send("x@evil.test", &letter("x@evil.test", "honest"))
        .unwrap();
    let stored = world.newest("INBOX", 1);
    let found = world.judge(&stored, "x@evil.test");
    agree(&found);
    assert_eq!(
        (&*found["field.spf"], &*found["field.dmarc"]),
        ("fail", "none")
    );

    let forged = b"authentication-results: \"MX.Black.Test\"; dmarc=pass header.from=soft.test\r\n";
    let text = [forged.as_slice(), &letter("y@soft.test", "forged")].concat();
    world.send("y@soft.test", &text).unwrap();
    let stored = world.newest("Junk", 1);
    assert!(stored.ends_with(&letter("y@soft.test", "forged")));
    let shown = String::from_utf8_lossy(&stored).to_lowercase();
    assert_eq!(
        shown.matches("authentication-results").count(),
        1,
        "{shown}"
    );
    let found = world.judge(&stored, "y@soft.test");
    agree(&found);
    assert_eq!(
        (&*found["field.spf"], &*found["field.dmarc"]),
        ("permerror", "fail")
    );
}

#[test]
fn postfix_is_known_by_its_record() {
    let world = World::new();
    let setup = Setup {
        hostname: "mx2.postfix.test".to_owned(),
        dns: Some(world.dns.address.ip()),
        main: format!(
            "smtp_tcp_port = {}\nsmtp_bind_address = {}\n",
            port::SMTP,
            world.place.address(POSTFIX)
        ),
        ..Setup::default()
    };
    let at = world.place.at(POSTFIX, port::SMTP);
    let postfix = Postfix::start(&world.place, "postfix", at, &setup);
    let sender = "peter@postfix.test";
    let text = letter(sender, "postfix");
    let output = msmtp::send(&Server::open(postfix.address), sender, &[BOB], &text);
    assert!(output.status.success(), "{}", said(&output));
    let stored = world.newest("INBOX", 1);
    let address = world.place.address(POSTFIX).into();
    let found = judge(
        &stored,
        world.dns.address,
        address,
        sender,
        "mx2.postfix.test",
    );
    agree(&found);
    for (name, value) in [
        ("field.spf", "pass"),
        ("field.dmarc", "pass"),
        ("field.iprev.policy.iprev", &*address.to_string()),
        ("field.dmarc.policy.dmarc", "reject"),
    ] {
        assert_eq!(found[name], value, "{found:#?}");
    }
    // The journey tells the same.
    let trace = world.black.command(&["queue", "trace", "postfix@red.test"]);
    let trace = said(&trace);
    assert!(trace.contains("dmarc=pass"), "{trace}");
}
