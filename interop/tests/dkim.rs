//! Signatures between us and others, over keys in a real DNS: OpenDKIM and dkimpy verify ours behind a
//! relay through Postfix, and OpenDKIM signs for us to verify. What we forward keeps its chain (ARC)
//! and comes from an address of ours (SRS).

#![expect(clippy::expect_used, reason = "a test")]

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use interop::clients::Tls;
use interop::letters::{Heading, Writer};
use interop::node::{self, Node, port};
use interop::nsd::{Nsd, Zone};
use interop::opendkim::{Key, OpenDkim};
use interop::place::Place;
use interop::postfix::{Postfix, Setup};
use interop::process::{must_run, said, wait_for};
use interop::world::{
    ARRIVES_WITHIN, POSTFIX, RED, send, submission, wait_for_key_records, wait_for_letters,
};

const ALICE: &str = "alice@red.test";
const PETER: &str = "peter@postfix.test";
const LIMIT: Duration = Duration::from_secs(60);

/// What dkimpy says about each signature of a letter, or about its chain.
const DKIMPY: &str = r#"
import dkim, dns.resolver, sys
what, path, server = sys.argv[1:]
resolver = dns.resolver.Resolver(configure=False)
resolver.nameservers = [server]
def texts(name, timeout=5):
    name = name.decode() if isinstance(name, bytes) else name
    for answer in resolver.resolve(name, "TXT"):
        return b"".join(answer.strings)
letter = open(path, "rb").read()
if what == "arc":
    state, sets, reason = dkim.ARC(letter).verify(dnsfunc=texts)
    print(state.decode(), len(sets), reason)
else:
    message = dkim.DKIM(letter)
    count = sum(1 for name, _ in message.headers if name.lower() == b"dkim-signature")
    for index in range(count):
        right = dkim.DKIM(letter).verify(idx=index, dnsfunc=texts)
        print("pass" if right else "fail")
"#;

/// An address where nobody listens.
const NOBODY: u8 = 77;

/// A node for red.test, and Postfix with OpenDKIM for postfix.test.
struct Scene {
    place: Place,
    red: Node,
    dns: SocketAddr,
    postfix: Postfix,
    _nsd: Nsd,
    _opendkim: OpenDkim,
}

impl Scene {
    fn new() -> Scene {
        let place = Place::new();
        let dns = place.at(53, 53);
        let setup = node::Setup {
            dns: Some(dns),
            // All of the test is one machine; what it sends is to be checked all the same.
            settings: "queue.retry_first = \"1s\"\nqueue.retry_max = \"2s\"\nauth.trusted = []\n"
                .to_owned(),
            ..node::Setup::new(RED, "red.test")
        };
        let red = Node::start(&place, &setup, &["alice"]);
        // The domain of the settings gets its keys by itself.
        let records = wait_for_key_records(&red, "red.test", LIMIT);
        let key = Key::new(&place, "postfix.test");
        let zones = [
            Zone::new("test"),
            Zone::new("red.test")
                .mx(10, "mx", place.address(RED))
                .record("@ TXT \"v=spf1 mx -all\"")
                .record("_dmarc TXT \"v=DMARC1; p=reject\"")
                .record(&records),
            Zone::new("postfix.test")
                .mx(10, "mx", place.address(POSTFIX))
                .record(&key.record),
            // Nobody answers there: what is for it waits.
            Zone::new("black.test").mx(10, "mx", place.address(NOBODY)),
        ];
        let nsd = Nsd::start(&place, dns, &zones);
        let opendkim = OpenDkim::start(&place, place.at(POSTFIX, 8891), dns, &key);
        let setup = Setup {
            hostname: "mx.postfix.test".to_owned(),
            domains: vec!["postfix.test".to_owned()],
            dns: Some(dns.ip()),
            main: format!(
                "smtp_tcp_port = {}\nsmtpd_milters = inet:{}:{}\nmilter_protocol = 6\n",
                port::SMTP,
                opendkim.address.ip(),
                opendkim.address.port()
            ),
            ..Setup::default()
        };
        let address = place.at(POSTFIX, port::SMTP);
        let postfix = Postfix::start(&place, "postfix", address, &setup);
        Scene {
            place,
            red,
            dns,
            postfix,
            _nsd: nsd,
            _opendkim: opendkim,
        }
    }

    /// The one letter that Postfix has delivered.
    fn delivered(&self) -> String {
        let letters = wait_for("the letter at Postfix", ARRIVES_WITHIN, || {
            let letters = self.postfix.delivered();
            (!letters.is_empty()).then_some(letters)
        });
        String::from_utf8(letters[0].clone()).expect("a letter of text")
    }

    /// What dkimpy says, a line for each answer.
    fn dkimpy(&self, what: &str, letter: &str) -> Vec<String> {
        let path = self.place.write("letter", letter.replace('\n', "\r\n"));
        // The distribution's, where its packages are.
        let mut command = Command::new("/usr/bin/python3");
        command
            .args(["-c", DKIMPY, what])
            .arg(path)
            .arg(self.dns.ip().to_string());
        let said = must_run(&mut command, LIMIT);
        said.lines().map(str::to_owned).collect()
    }
}

fn letter(from: &str, to: &str) -> String {
    let heading = Heading {
        from,
        to,
        number: 1,
    };
    Writer::new(7).letter(heading, 5_000)
}

/// RFC 6376, RFC 8463: both our signatures are right for dkimpy, and the one that OpenDKIM knows for
/// OpenDKIM, after a relay through Postfix.
#[test]
fn our_signatures_are_right_for_others_behind_a_relay() {
    let scene = Scene::new();
    let checked = scene.red.command(&["dns", "check", "red.test"]);
    assert!(checked.status.success(), "{}", said(&checked));
    // Postfix's domain has another MX host than this node's name.
    let checked = scene.red.command(&["dns", "check", "postfix.test"]);
    assert_eq!(checked.status.code(), Some(1), "{}", said(&checked));
    let server = submission(&scene.red, ALICE, Tls::None).address;
    send(server, Some(ALICE), ALICE, PETER, &letter(ALICE, PETER));
    let delivered = scene.delivered();
    let signatures = delivered.matches("DKIM-Signature: v=1; a=").count();
    assert_eq!(signatures, 2, "{delivered}");
    assert_eq!(
        scene.dkimpy("dkim", &delivered),
        ["pass", "pass"],
        "{delivered}"
    );
    let unfolded = delivered.replace("\n\t", " ");
    let results = unfolded
        .lines()
        .find(|line| line.starts_with("Authentication-Results: opendkim.test"))
        .unwrap_or_else(|| panic!("OpenDKIM has not checked: {delivered}"));
    assert!(
        results.contains("dkim=pass (2048-bit key") && results.contains("header.d=red.test"),
        "{results}"
    );
    let changed = delivered.replace("Subject: ", "Subject: Re: ");
    assert_eq!(scene.dkimpy("dkim", &changed), ["fail", "fail"]);
}

/// RFC 6376: what OpenDKIM signs on its way out of Postfix is right for us.
#[test]
fn what_opendkim_signs_is_right_for_us() {
    let scene = Scene::new();
    send(
        scene.postfix.address,
        None,
        PETER,
        ALICE,
        &letter(PETER, ALICE),
    );
    let letters = wait_for_letters(&scene.red, ALICE, 1);
    let arrived = String::from_utf8_lossy(&letters[0]).replace("\r\n\t", " ");
    let results = arrived
        .lines()
        .find(|line| line.starts_with("Authentication-Results: mx.red.test"))
        .unwrap_or_else(|| panic!("nothing was checked: {arrived}"));
    assert!(
        results.contains("dkim=pass header.d=postfix.test header.s=open header.a=rsa-sha256"),
        "{results}"
    );
}

/// RFC 8617, SRS: a letter that an alias sends on bears a seal that dkimpy verifies, and a sender of
/// ours; a report to that goes to who is behind it.
#[test]
fn what_is_forwarded_is_sealed_and_reports_find_back() {
    let scene = Scene::new();
    let made = scene.red.command(&["alias", "add", "away@red.test", PETER]);
    assert!(made.status.success(), "{}", said(&made));
    let carol = "carol@black.test";
    let mx = scene.red.at(port::SMTP);
    send(
        mx,
        None,
        carol,
        "away@red.test",
        &letter(carol, "away@red.test"),
    );
    let delivered = scene.delivered();
    let sender = delivered
        .lines()
        .find_map(|line| line.strip_prefix("Return-Path: <")?.strip_suffix('>'))
        .unwrap_or_else(|| panic!("no Return-Path: {delivered}"));
    assert!(
        sender.starts_with("SRS0=") && sender.ends_with("=black.test=carol@red.test"),
        "{sender}"
    );
    let said = scene.dkimpy("arc", &delivered);
    assert!(said[0].starts_with("pass 1 "), "{said:?}: {delivered}");
    assert!(!delivered.contains("DKIM-Signature"), "{delivered}");
    let report = letter("mailer-daemon@postfix.test", sender);
    send(mx, None, "", sender, &report);
    let queue = scene.red.queue();
    assert!(queue.contains(carol), "{queue}");
}
