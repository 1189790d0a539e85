//! A mailing list with members at Postfix: what they get is right for dkimpy, a letter that Postfix returns
//! suspends its member, and members leave by one click (curl) and by mail.

#![expect(clippy::expect_used, reason = "a test")]

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use interop::clients::Tls;
use interop::node::{self, Node, port};
use interop::nsd::{Nsd, Zone};
use interop::place::Place;
use interop::postfix::{Postfix, Setup};
use interop::process::{must_run, program, said, wait_for};
use interop::smtp::Client;
use interop::world::{POSTFIX, RED, send, submission, wait_for_key_records, wait_for_letters};

const LIST: &str = "dev@red.test";
const ALICE: &str = "alice@red.test";
const LIMIT: Duration = Duration::from_secs(60);

/// What dkimpy says about each signature of a letter and about its chain, and which fields the first
/// signature covers.
const DKIMPY: &str = r#"
import dkim, dns.resolver, re, sys
path, server = sys.argv[1:]
resolver = dns.resolver.Resolver(configure=False)
resolver.nameservers = [server]
def texts(name, timeout=5):
    name = name.decode() if isinstance(name, bytes) else name
    for answer in resolver.resolve(name, "TXT"):
        return b"".join(answer.strings)
letter = open(path, "rb").read()
message = dkim.DKIM(letter)
signatures = [value for name, value in message.headers if name.lower() == b"dkim-signature"]
for index in range(len(signatures)):
    print("pass" if dkim.DKIM(letter).verify(idx=index, dnsfunc=texts) else "fail")
state, sets, reason = dkim.ARC(letter).verify(dnsfunc=texts)
print("arc", state.decode(), len(sets))
print(re.sub(rb"\s", b"", re.search(rb"\bh=([^;]*)", signatures[0]).group(1)).decode())
"#;

struct Scene {
    place: Place,
    red: Node,
    dns: SocketAddr,
    postfix: Postfix,
    _nsd: Nsd,
}

impl Scene {
    fn new() -> Scene {
        let place = Place::new();
        let dns = place.at(53, 53);
        let setup = node::Setup {
            dns: Some(dns),
            // All of the test is one machine; what it sends is to be checked all the same.
            settings: "queue.retry_first = \"1s\"\nqueue.retry_max = \"2s\"\nauth.trusted = []\n\
                       lists.url = \"https://lists.red.test\"\n"
                .to_owned(),
            ..node::Setup::new(RED, "red.test")
        };
        let red = Node::start(&place, &setup, &["alice"]);
        let records = wait_for_key_records(&red, "red.test", LIMIT);
        let zones = [
            Zone::new("test"),
            Zone::new("red.test")
                .mx(10, "mx", place.address(RED))
                .record("_dmarc TXT \"v=DMARC1; p=reject\"")
                .record(&records),
            Zone::new("postfix.test")
                .mx(10, "mx", place.address(POSTFIX))
                .record("@ TXT \"v=spf1 mx -all\"")
                // Reports have no other sender than the name in HELO.
                .record("mx TXT \"v=spf1 a -all\"")
                .record("_dmarc TXT \"v=DMARC1; p=reject\""),
        ];
        let nsd = Nsd::start(&place, dns, &zones);
        let setup = Setup {
            hostname: "mx.postfix.test".to_owned(),
            domains: vec!["postfix.test".to_owned()],
            dns: Some(dns.ip()),
            // It takes letters for gone@ and returns them.
            main: format!(
                "smtp_tcp_port = {}\nsmtp_bind_address = {}\n\
                 virtual_alias_maps = inline:{{ {{ gone@postfix.test = gone@nowhere.test }} }}\n",
                port::SMTP,
                place.address(POSTFIX)
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
        }
    }

    fn run(&self, arguments: &[&str]) -> String {
        let output = self.red.command(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", said(&output));
        String::from_utf8(output.stdout).expect("text")
    }

    fn members(&self) -> String {
        self.run(&["list", "members", LIST, "--json"])
    }

    /// The letters with this text that Postfix has delivered, once there are so many.
    fn delivered(&self, text: &str, count: usize) -> Vec<String> {
        wait_for(&format!("{count} letters with {text}"), LIMIT, || {
            let letters = self.postfix.delivered().into_iter();
            let letters = letters.map(|letter| String::from_utf8(letter).expect("text"));
            let letters: Vec<String> = letters.filter(|letter| letter.contains(text)).collect();
            (letters.len() == count).then_some(letters)
        })
    }

    /// What dkimpy says, a line for each answer.
    fn dkimpy(&self, letter: &str) -> Vec<String> {
        let path = self.place.write("letter", letter.replace('\n', "\r\n"));
        // The distribution's, where its packages are.
        let mut command = Command::new("/usr/bin/python3");
        command.args(["-c", DKIMPY]).arg(path);
        command.arg(self.dns.ip().to_string());
        let said = must_run(&mut command, LIMIT);
        said.lines().map(str::to_owned).collect()
    }

    fn curl(&self, arguments: &[&str], path: &str) -> String {
        let url = format!("http://{}{path}", self.red.at(port::HTTP));
        let mut command = Command::new(program("curl"));
        command.args(["--silent", "--write-out", "\n%{http_code}"]);
        must_run(command.args(arguments).arg(url), LIMIT)
    }
}

fn letter(from: &str, subject: &str) -> String {
    format!(
        "From: {from}\r\nTo: {LIST}\r\nSubject: {subject}\r\n\
         Date: Wed, 25 Nov 2026 09:00:00 +0000\r\nMessage-ID: <{subject}@test>\r\n\r\nwords\r\n"
    )
}

/// The field with its folds taken out.
fn field(letter: &str, name: &str) -> String {
    let unfolded = letter.replace("\n ", " ").replace("\n\t", " ");
    let start = format!("{name}: ");
    let line = unfolded.lines().find(|line| line.starts_with(&start));
    line.expect(name)[start.len()..].to_owned()
}

/// What stands between `start` and `>` in List-Unsubscribe.
fn way_out(letter: &str, start: &str) -> String {
    let field = field(letter, "List-Unsubscribe");
    let at = field.find(start).expect(start) + start.len();
    field[at..].split('>').next().expect("an end").to_owned()
}

fn of<'a>(letters: &'a [String], member: &str) -> &'a str {
    let line = format!("\nDelivered-To: {member}\n");
    let found = letters.iter().find(|letter| letter.contains(&line));
    found.expect(member)
}

#[test]
fn a_list_with_members_at_postfix() {
    let scene = Scene::new();
    scene.run(&[
        "list",
        "add",
        LIST,
        "--owner",
        ALICE,
        "--title",
        "Development",
        "--bounces",
        "1",
    ]);
    let people = [
        "peter@postfix.test",
        "mary@postfix.test",
        "gone@postfix.test",
        ALICE,
    ];
    let subscribe = [&["list", "subscribe", LIST][..], &people].concat();
    scene.run(&subscribe);
    let server = submission(&scene.red, ALICE, Tls::None).address;
    send(server, Some(ALICE), ALICE, LIST, &letter(ALICE, "first"));
    let letters = scene.delivered("Subject: first", 2);
    let inbox = wait_for_letters(&scene.red, ALICE, 1);
    let inbox = String::from_utf8(inbox[0].clone()).expect("text");
    assert!(
        inbox.contains("List-Id: Development <dev.red.test>"),
        "{inbox}"
    );
    for letter in &letters {
        assert!(
            letter.starts_with("Return-Path: <dev-bounces+b"),
            "{letter}"
        );
        assert_eq!(field(letter, "From"), ALICE);
        let post = field(letter, "List-Unsubscribe-Post");
        assert_eq!(post, "List-Unsubscribe=One-Click");
        let said = scene.dkimpy(letter);
        assert_eq!(said[..2], ["pass", "pass"], "{said:?}\n{letter}");
        let covered = said.last().expect("fields");
        // RFC 8058 §4.
        for name in ["list-unsubscribe", "list-unsubscribe-post", "list-id"] {
            assert!(covered.split(':').any(|field| field == name), "{covered}");
        }
    }
    assert_ne!(
        field(&letters[0], "Return-Path"),
        field(&letters[1], "Return-Path")
    );
    // Postfix returns the letter to gone@, and then the probe.
    wait_for("the member to be suspended", LIMIT, || {
        let members = scene.members();
        let gone = members
            .split('{')
            .find(|row| row.contains("gone@postfix.test"))?;
        (gone.contains("\"suspended\"") && gone.contains("5.4.4")).then_some(())
    });
    a_member_writes(&scene);
    members_leave(&scene, &letters);
}

/// From outside: the author's domain wishes refusal, so that the list takes his place; what was found
/// is sealed.
fn a_member_writes(scene: &Scene) {
    let mary = "mary@postfix.test";
    send(
        scene.postfix.address,
        None,
        mary,
        LIST,
        &letter(mary, "second"),
    );
    let letters = scene.delivered("Subject: second", 2);
    let text = of(&letters, "peter@postfix.test");
    assert_eq!(field(text, "From"), "mary via Development <dev@red.test>");
    assert_eq!(field(text, "Reply-To"), mary);
    let said = scene.dkimpy(text);
    assert_eq!(
        said[..3],
        ["pass", "pass", "arc pass 1"],
        "{said:?}\n{text}"
    );
    // A stranger is told at once.
    let mut client = Client::connect(scene.red.at(port::SMTP), LIMIT).expect("a greeting");
    let stranger = "stranger@far.test";
    let refused = client.send(
        stranger,
        &[LIST.to_owned()],
        letter(stranger, "x").as_bytes(),
    );
    let refused = format!("{refused:?}");
    assert!(
        refused.contains("550") && refused.contains("5.7.2"),
        "{refused}"
    );
}

fn members_leave(scene: &Scene, letters: &[String]) {
    let link = way_out(of(letters, "peter@postfix.test"), "<https://lists.red.test");
    let page = scene.curl(&[], &link);
    assert!(
        page.ends_with("\n200") && page.contains("method=\"post\""),
        "{page}"
    );
    assert!(
        scene.members().contains("peter@postfix.test"),
        "GET changes nothing"
    );
    let wrong = scene.curl(
        &["--data", "List-Unsubscribe=One-Click"],
        &format!("{link}x"),
    );
    assert!(wrong.ends_with("\n404"), "{wrong}");
    assert!(scene.members().contains("peter@postfix.test"));
    for _ in 0..2 {
        let done = scene.curl(&["--data", "List-Unsubscribe=One-Click"], &link);
        assert!(done.ends_with("\n200"), "{done}");
        assert!(!scene.members().contains("peter@postfix.test"));
    }
    let mary = "mary@postfix.test";
    let address = way_out(of(letters, mary), "<mailto:");
    send(
        scene.postfix.address,
        None,
        mary,
        &address,
        &letter(mary, "leave"),
    );
    wait_for("mary to have left", LIMIT, || {
        (!scene.members().contains(mary)).then_some(())
    });
}
