//! DMARC aggregate reports (RFC 9990) from one domain to another: counted at one node, sent when the day
//! is over, signed, and read by Python, by xmllint against the schema, and by the node that gets them.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use interop::clients::{Server, swaks};
use interop::imap;
use interop::node::{self, Node, port};
use interop::nsd::{Nsd, Zone};
use interop::place::Place;
use interop::process::{must_run, run_with_input, said, wait_for};
use interop::world::{BLACK, RED, wait_for_key_records};

const LIMIT: Duration = Duration::from_secs(60);
const SCHEMA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/schema/dmarc.xsd");

/// Takes the report out of a letter and writes its XML to a file; prints what it says.
const READ: &str = r#"
import email, email.policy, gzip, sys, xml.etree.ElementTree as tree
letter = email.message_from_bytes(sys.stdin.buffer.read(), policy=email.policy.default)
part, = [part for part in letter.walk() if part.get_content_type() == "application/gzip"]
print("subject=" + letter["Subject"])
print("file=" + part.get_filename())
xml = gzip.decompress(part.get_payload(decode=True))
open(sys.argv[1], "wb").write(xml)
root = tree.fromstring(xml)
name = lambda path: "/".join("{urn:ietf:params:xml:ns:dmarc-2.0}" + step for step in path.split("/"))
assert root.tag == name("feedback"), root.tag
text = lambda node, path: node.find(name(path)).text or ""
print("id=" + text(root, "report_metadata/report_id"))
print("policy=%s %s" % (text(root, "policy_published/domain"), text(root, "policy_published/p")))
for record in root.findall(name("record")):
    print("record=" + " ".join(text(record, path) for path in [
        "row/count", "row/source_ip", "row/policy_evaluated/disposition",
        "row/policy_evaluated/dkim", "row/policy_evaluated/spf", "identifiers/header_from",
        "identifiers/envelope_from", "auth_results/spf/result"]))
"#;

struct World {
    red: Node,
    black: Node,
    _nsd: Nsd,
    place: Place,
}

fn setup(dns: SocketAddr, host: u8, domain: &str) -> node::Setup {
    node::Setup {
        dns: Some(dns),
        // All of the test is one machine; what it sends is to be checked all the same.
        settings: "auth.trusted = []\n".to_owned(),
        ..node::Setup::new(host, domain)
    }
}

impl World {
    /// Both domains want reports; black.test signs, as its keys are in the DNS.
    fn new() -> World {
        let place = Place::new();
        let dns = place.at(53, 53);
        let black = Node::start(&place, &setup(dns, BLACK, "black.test"), &["bob"]);
        let records = wait_for_key_records(&black, "black.test", LIMIT);
        let red = Node::start(&place, &setup(dns, RED, "red.test"), &["dmarc"]);
        let zones = [
            Zone::new("test").record("client A 127.0.0.1"),
            Zone::new("black.test")
                .mx(10, "mx", place.address(BLACK))
                .record("_dmarc TXT \"v=DMARC1; p=reject; rua=mailto:bob@black.test\"")
                .record(&records),
            Zone::new("red.test")
                .mx(10, "mx", place.address(RED))
                .record("@ TXT \"v=spf1 a:client.test -all\"")
                .record(
                    "_dmarc TXT \"v=DMARC1; p=reject; rua=mailto:dmarc@red.test!10m,\" \
                     \"mailto:victim@black.test\"",
                ),
        ];
        let nsd = Nsd::start(&place, dns, &zones);
        World {
            place,
            red,
            black,
            _nsd: nsd,
        }
    }

    /// A letter of red.test to bob, from this machine; whether it is taken.
    fn send(&self, sender: &str) -> bool {
        let letter = b"From: a@red.test\r\nSubject: x\r\n\r\ny\r\n";
        let server = Server::open(self.black.at(port::SMTP));
        let output = swaks::send(&server, sender, &["bob@black.test"], letter);
        let told = said(&output);
        assert!(
            output.status.success() || told.contains("550 5.7.26"),
            "{told}"
        );
        output.status.success()
    }
}

/// Asks a node's database while the node stands.
fn sql(node: &Node, text: &str) -> String {
    let mut command = Command::new("sqlite3");
    command.arg(node.data_dir().join("mail.db")).arg(text);
    must_run(&mut command, LIMIT).trim().to_owned()
}

/// Stops a node and lets all days that it has counted be a day longer ago.
fn a_day_passes(node: &mut Node) {
    assert!(node.stop().success());
    sql(
        node,
        "UPDATE dmarc_outcome SET day = day - 1; DELETE FROM job",
    );
    node.serve();
}

#[test]
fn a_report_is_counted_sent_and_read() {
    let mut world = World::new();
    assert!(world.send("a@red.test"));
    assert!(world.send("a@red.test"));
    assert!(!world.send("a@elsewhere.test"));
    a_day_passes(&mut world.black);
    let at = world.red.at(port::IMAP);
    let letters = wait_for("the report", LIMIT, || {
        let mut client = imap::Client::log_in(at, "dmarc@red.test", node::PASSWORD).ok()?;
        let letters = client.letters("INBOX").ok()?;
        (!letters.is_empty()).then_some(letters)
    });
    let letter = &letters[0];
    let text = String::from_utf8_lossy(letter).replace("\r\n\t", " ");
    // RFC 9990 §3.5.2: the report itself passes DMARC.
    assert!(text.contains("dmarc=pass"), "{text}");
    assert!(text.contains("header.from=black.test"), "{text}");
    let xml = world.place.path("report.xml");
    let mut python = Command::new("/usr/bin/python3");
    python.args(["-c", READ]).arg(&xml);
    let output = run_with_input(&mut python, letter, LIMIT);
    assert!(output.status.success(), "{}", said(&output));
    let read = String::from_utf8_lossy(&output.stdout).into_owned();
    let id = read
        .lines()
        .find_map(|line| line.strip_prefix("id="))
        .expect("an id");
    for line in [
        format!("subject=Report Domain: red.test Submitter: black.test Report-ID: <{id}>"),
        "policy=red.test reject".to_owned(),
        "record=2 127.0.0.1 pass fail pass red.test red.test pass".to_owned(),
        "record=1 127.0.0.1 reject fail fail red.test elsewhere.test none".to_owned(),
    ] {
        assert!(
            read.lines().any(|read| read == line),
            "{line} is not in {read}"
        );
    }
    let file = read.lines().find(|line| line.starts_with("file="));
    let file = file.expect("a file name");
    assert!(file.starts_with("file=black.test!red.test!"), "{file}");
    assert!(file.ends_with(&format!("!{id}.xml.gz")), "{file}");
    let mut xmllint = Command::new("xmllint");
    xmllint
        .args(["--noout", "--nonet", "--schema", SCHEMA])
        .arg(&xml);
    must_run(&mut xmllint, LIMIT);
    // The victim has not agreed to it, and has heard nothing.
    let bob = imap::Client::log_in(world.black.at(port::IMAP), "bob@black.test", node::PASSWORD);
    let count = bob
        .expect("bob can log in")
        .count("INBOX")
        .expect("a count");
    assert_eq!(count, 2);
    // black.test wants reports, too, but not of its report.
    assert!(world.red.stop().success());
    assert_eq!(sql(&world.red, "SELECT count(*) FROM dmarc_outcome"), "0");
    // What was sent is forgotten.
    assert!(world.black.stop().success());
    assert_eq!(sql(&world.black, "SELECT count(*) FROM dmarc_outcome"), "0");
}
