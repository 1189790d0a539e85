//! Everything that the administrator is told by mail, once it goes wrong and once it is well again:
//! certificate, clock, DNS records and blocklists of NSD, queue, backup. The disk is filled in
//! `crates/pennyblack/tests/program/alerts.rs`.

#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use std::net::{SocketAddr, UdpSocket};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use interop::certificates::Certificate;
use interop::clients::Tls;
use interop::imap;
use interop::letters::{Heading, Writer};
use interop::node::{self, Node, port};
use interop::nsd::{Nsd, Zone};
use interop::place::Place;
use interop::process::{must_run, said, wait_for};
use interop::smtp::Client;
use interop::world::{NOBODY, RED, submission};

const LIMIT: Duration = Duration::from_secs(60);
const ALICE: &str = "alice@red.test";
/// What is wrong in the beginning: kind and subject. One list has our address, the other one is dead.
const WRONG: [&str; 7] = [
    "backup (",
    "blocklist (192.0.2.5 on list.test (mx.red.test))",
    "blocklist (dead.test (mx.red.test))",
    "certificate (mx.red.test)",
    "clock (mx.red.test)",
    "dns (red.test)",
    "queue (all nodes)",
];

/// A time server by RFC 4330 whose clock is off by as many seconds as the test says.
struct TimeServer {
    address: SocketAddr,
    off_secs: Arc<AtomicI64>,
}

impl TimeServer {
    fn start(address: SocketAddr) -> TimeServer {
        let socket = UdpSocket::bind(address).expect("the address is free");
        let off_secs = Arc::new(AtomicI64::new(3_600));
        let off = Arc::clone(&off_secs);
        std::thread::spawn(move || {
            let mut question = [0; 48];
            while let Ok((48, from)) = socket.recv_from(&mut question) {
                let now = SystemTime::now()
                    .duration_since(UNIX_EPOCH)
                    .expect("after 1970");
                let secs =
                    2_208_988_800 + now.as_secs().cast_signed() + off.load(Ordering::Relaxed);
                let secs = u32::try_from(secs % (1 << 32))
                    .expect("32 bits")
                    .to_be_bytes();
                let mut answer = [0; 48];
                answer[..2].copy_from_slice(&[0b00_100_100, 2]);
                answer[24..32].copy_from_slice(&question[40..]);
                answer[32..36].copy_from_slice(&secs);
                answer[40..44].copy_from_slice(&secs);
                let _ = socket.send_to(&answer, from);
            }
        });
        TimeServer { address, off_secs }
    }
}

/// The zones; `well`: as they should be.
fn zones(place: &Place, keys: &str, well: bool) -> Vec<Zone> {
    let red = Zone::new("red.test")
        .mx(10, "mx", place.address(RED))
        .record("_dmarc TXT \"v=DMARC1; p=reject\"")
        .record(keys);
    // RFC 5782 §5: the entry that shows that a list lives.
    let alive = "2.0.0.127 A 127.0.0.2";
    let list = Zone::new("list.test").record(alive);
    let dead = Zone::new("dead.test");
    let (red, list, dead) = if well {
        (
            red.record("@ TXT \"v=spf1 mx -all\""),
            list,
            dead.record(alive),
        )
    } else {
        let listed = "5.2.0.192 A 127.0.0.3\n5.2.0.192 TXT \"spam was seen\"";
        (red, list.record(listed), dead)
    };
    let black = Zone::new("black.test").mx(10, "mx", place.address(NOBODY));
    vec![Zone::new("test"), red, list, dead, black]
}

struct World {
    red: Node,
    nsd: Option<Nsd>,
    time: TimeServer,
    shown: Certificate,
    good: Certificate,
    place: Place,
}

impl World {
    fn new() -> World {
        let place = Place::new();
        let dns = place.at(53, 53);
        let time = TimeServer::start(place.at(54, 12_123));
        let authority = Certificate::authority(&place, "authority");
        let shown = authority.sign(&place, "shown", &["mx.red.test"], true);
        let good = authority.sign(&place, "good", &["mx.red.test"], false);
        let setup = node::Setup {
            dns: Some(dns),
            settings: format!(
                "dns.cache_answers = 0\nqueue.retry_first = \"1s\"\nqueue.retry_max = \"2s\"\n\
                 tls.certificate = \"{}\"\ntls.key = \"{}\"\n\
                 [alerts]\nto = [\"{ALICE}\"]\ninterval = \"1s\"\ndns_interval = \"1s\"\n\
                 queue_age = \"1s\"\ntime_servers = [\"{}\"]\nblocklists = [\"list.test\", \
                 \"dead.test\"]\naddresses = [\"192.0.2.5\"]\nbackup = \"{}\"\ndisk_percent = 0\n",
                shown.chain.display(),
                shown.key.display(),
                time.address,
                place.path("backup").display(),
            ),
            ..node::Setup::new(RED, "red.test")
        };
        let nsd = Nsd::start(&place, dns, &zones(&place, "", false));
        let red = Node::start(&place, &setup, &["alice"]);
        World {
            place,
            red,
            nsd: Some(nsd),
            time,
            shown,
            good,
        }
    }

    /// Something that waits in the queue.
    fn send(&self) {
        let server = submission(&self.red, ALICE, Tls::None);
        let to = "bob@black.test".to_owned();
        let heading = Heading {
            from: ALICE,
            to: &to,
            number: 1,
        };
        let letter = Writer::new(1).letter(heading, 500);
        let mut client = Client::connect(server.address, LIMIT).expect("the node greets");
        client.log_in(ALICE, node::PASSWORD).expect("the login");
        let sent = client.send(ALICE, std::slice::from_ref(&to), letter.as_bytes());
        sent.expect("the letter is taken");
    }

    fn run(&self, arguments: &[&str]) -> String {
        let output = self.red.command(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", said(&output));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Waits until a letter to alice tells so.
    fn told(&self, heading: &str, what: &str) {
        wait_for(&format!("{heading}: {what}"), LIMIT, || {
            (self.count(heading, what) > 0).then_some(())
        });
    }

    /// How often letters to alice tell so.
    fn count(&self, heading: &str, what: &str) -> usize {
        let at = self.red.at(port::IMAP);
        let letters = imap::Client::log_in(at, ALICE, node::PASSWORD)
            .and_then(|mut client| client.letters("INBOX"))
            .unwrap_or_default();
        let line = format!("\r\n{heading}: {what}");
        let texts = letters.iter().map(|letter| String::from_utf8_lossy(letter));
        texts.map(|text| text.matches(&line).count()).sum()
    }

    /// All that was wrong is mended.
    fn mend(&mut self) {
        self.time.off_secs.store(0, Ordering::Relaxed);
        let keys = self.run(&["key", "records", "red.test"]);
        self.nsd = None;
        let zones = zones(&self.place, &keys, true);
        self.nsd = Some(Nsd::start(&self.place, self.place.at(53, 53), &zones));
        self.run(&["queue", "drop", "--domain", "black.test"]);
        self.run(&["backup", &self.place.path("backup").display().to_string()]);
        std::fs::copy(&self.good.chain, &self.shown.chain).expect("a certificate");
        std::fs::copy(&self.good.key, &self.shown.key).expect("a key");
        let mut hang_up = Command::new("kill");
        must_run(hang_up.args(["-HUP", &self.red.pid().to_string()]), LIMIT);
    }
}

#[test]
fn the_administrator_is_told_once_and_when_it_is_over() {
    let mut world = World::new();
    world.send();
    for what in WRONG {
        world.told("Wrong", what);
    }
    let listed = world.run(&["alerts", "list"]);
    for part in [
        "backup",
        "192.0.2.5 is listed: spam was seen",
        "dead.test",
        "the certificate has ended",
        "s behind the time servers",
        "TXT of red.test is missing",
        "a letter waits since",
    ] {
        assert!(listed.contains(part), "{part} is not in {listed}");
    }
    let url = format!("http://{}/metrics", world.red.at(port::HTTP));
    let metrics = must_run(Command::new("curl").args(["--silent", &url]), LIMIT);
    assert!(
        metrics.contains("alerts{kind=\"blocklist\"} 2"),
        "{metrics}"
    );
    assert!(metrics.contains("alerts{kind=\"disk\"} 0"), "{metrics}");
    // What was told is known over a restart.
    assert!(world.red.stop().success());
    world.red.serve();
    world.mend();
    for what in WRONG {
        world.told("Well again", what);
    }
    for what in WRONG {
        let told = ["Wrong", "Still wrong", "Well again"].map(|heading| world.count(heading, what));
        assert_eq!(told, [1, 0, 1], "{what}");
    }
    wait_for("the end of all", LIMIT, || {
        let listed = world.run(&["alerts", "list", "--json"]);
        (listed.trim() == "[]").then_some(())
    });
}
