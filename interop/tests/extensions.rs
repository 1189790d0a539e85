//! Extensions of SMTP with real peers: Postfix takes and gives letters in the ways that they allow,
//! swaks is the proxy that tells of its clients.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use interop::clients::Tls;
use interop::node::{self, Node, port};
use interop::postfix::{Postfix, Setup};
use interop::process::{program, run, said, wait_for};
use interop::smtp;
use interop::world::{ARRIVES_WITHIN, BLACK, POSTFIX, RED, World, submission, wait_for_letters};

const ALICE: &str = "alice@red.test";
const BOB: &str = "bob@black.test";
const LIMIT: Duration = Duration::from_secs(60);

fn postfix(world: &World, main: &str) -> Postfix {
    let setup = Setup {
        hostname: "mx2.postfix.test".to_owned(),
        domains: vec!["postfix.test".to_owned()],
        dns: Some(world.dns.address.ip()),
        main: format!("smtp_tcp_port = {}\n{main}", port::SMTP),
        ..Setup::default()
    };
    let address = world.place.at(POSTFIX, port::SMTP);
    Postfix::start(&world.place, "postfix", address, &setup)
}

/// Alice hands a letter over with these parameters of MAIL.
fn submit(red: &Node, parameters: &str, to: &str, letter: &str) {
    let server = submission(red, ALICE, Tls::None);
    send(
        server.address,
        Some(ALICE),
        &format!("<{ALICE}>{parameters}"),
        &[to],
        letter,
    );
}

fn send(to: SocketAddr, login: Option<&str>, from: &str, recipients: &[&str], letter: &str) {
    let mut client = smtp::Client::connect(to, LIMIT)
        .unwrap_or_else(|error| panic!("the server greets: {error:?}"));
    if let Some(user) = login {
        client
            .log_in(user, node::PASSWORD)
            .unwrap_or_else(|error| panic!("the login: {error:?}"));
    }
    let mut lines = vec![(format!("MAIL FROM:{from}"), 250)];
    for recipient in recipients {
        lines.push((format!("RCPT TO:<{recipient}>"), 250));
    }
    lines.push(("DATA".to_owned(), 354));
    lines.push((format!("{letter}."), 250));
    for (line, code) in lines {
        let reply = client
            .command(&line)
            .unwrap_or_else(|error| panic!("a reply: {error:?}"));
        assert_eq!(reply.code, code, "{line}: {reply:?}");
    }
    client
        .quit()
        .unwrap_or_else(|error| panic!("goodbye: {error:?}"));
}

fn delivered(postfix: &Postfix) -> String {
    let one = || Some(postfix.delivered()).filter(|letters| !letters.is_empty());
    let letters = wait_for("the letter", ARRIVES_WITHIN, one);
    String::from_utf8_lossy(&letters[0]).into_owned()
}

const LETTER: &str = "From: alice@red.test\r\nSubject: x\r\nMIME-Version: 1.0\r\n\
    Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n\
    Gr\u{fc}\u{df}e\r\n..\r\n...\r\nend\r\n";

/// RFC 3030 §2, RFC 6531 §3: by BDAT, with an address in UTF-8.
#[test]
fn postfix_takes_bdat_and_smtputf8() {
    let world = World::new();
    let postfix = postfix(&world, "smtputf8_enable = yes\n");
    let offered = smtp::Client::connect(postfix.address, LIMIT)
        .unwrap_or_else(|error| panic!("Postfix greets: {error:?}"));
    assert!(offered.offers("CHUNKING") && offered.offers("SMTPUTF8"));
    let red = world.node(RED, "red.test", &["alice"]);
    submit(
        &red,
        " SMTPUTF8 BODY=8BITMIME",
        "pel\u{e9}@postfix.test",
        LETTER,
    );
    let letter = delivered(&postfix);
    assert!(
        letter.ends_with("Gr\u{fc}\u{df}e\n.\n..\nend\n"),
        "{letter}"
    );
}

/// RFC 6152 §3, RFC 6531 §3.2: what an old server cannot take is converted or returned.
#[test]
fn an_old_server_gets_what_it_can_take() {
    let world = World::new();
    let postfix = postfix(
        &world,
        "smtpd_discard_ehlo_keywords = 8bitmime, smtputf8, chunking, dsn\n",
    );
    let red = world.node(RED, "red.test", &["alice"]);
    submit(&red, " BODY=8BITMIME", "peter@postfix.test", LETTER);
    let letter = delivered(&postfix);
    assert!(
        letter.contains("Content-Transfer-Encoding: quoted-printable\n"),
        "{letter}"
    );
    assert!(
        letter.ends_with("Gr=C3=BC=C3=9Fe\n=2E\n=2E.\nend\n"),
        "{letter}"
    );
    submit(
        &red,
        " SMTPUTF8",
        "pel\u{e9}@postfix.test",
        "From: alice@red.test\r\n\r\nx\r\n",
    );
    let reports = wait_for_letters(&red, ALICE, 1);
    let report = String::from_utf8_lossy(&reports[0]);
    assert!(report.contains("Status: 5.6.7"), "{report}");
    assert!(
        report.contains("message/global-delivery-status"),
        "{report}"
    );
}

/// RFC 2033: Postfix is the door, and we keep the mailboxes.
#[test]
fn postfix_delivers_by_lmtp() {
    let world = World::new();
    let black = world.node(BLACK, "black.test", &["bob", "carol"]);
    let lmtp = black.at(port::LMTP);
    let setup = Setup {
        hostname: "mx2.postfix.test".to_owned(),
        domains: vec!["black.test".to_owned()],
        transport: Some(format!("lmtp:inet:[{}]:{}", lmtp.ip(), lmtp.port())),
        ..Setup::default()
    };
    let address = world.place.at(POSTFIX, port::SMTP);
    let postfix = Postfix::start(&world.place, "postfix", address, &setup);
    let to = [BOB, "carol@black.test"];
    send(postfix.address, None, "<peter@postfix.test>", &to, LETTER);
    for user in to {
        let letters = wait_for_letters(&black, user, 1);
        let letter = String::from_utf8_lossy(&letters[0]).replace("\r\n", "");
        assert!(
            letter.contains("with UTF8LMTP") || letter.contains("with LMTP"),
            "{letter}"
        );
    }
    wait_for("an empty queue", ARRIVES_WITHIN, || {
        postfix.queue_is_empty().then_some(())
    });
}

/// swaks with these options, a letter to Bob.
fn swaks(to: SocketAddr, options: &[&str]) -> (bool, String) {
    let mut command = Command::new(program("swaks"));
    command.args(["--server", &to.to_string(), "--helo", "proxy.test"]);
    command.args(["--from", "peter@postfix.test", "--to", BOB]);
    command.args(options);
    let output = run(&mut command, LIMIT);
    (output.status.success(), said(&output))
}

fn trusting(world: &World) -> Node {
    let setup = world.setup(BLACK, "black.test");
    let setup = node::Setup {
        settings: format!(
            "{}proxy.trusted = [\"127.0.0.0/8\"]\nsmtp.xclient_trusted = [\"127.0.0.0/8\"]\n\
             auth.dmarc = \"none\"\n",
            setup.settings
        ),
        ..setup
    };
    Node::start(&world.place, &setup, &["bob"])
}

/// Postfix XCLIENT_README, and the PROXY protocol in both versions.
#[test]
fn swaks_tells_of_its_clients() {
    let world = World::new();
    let black = trusting(&world);
    let xclient = [
        "--xclient-addr",
        "192.0.2.77",
        "--xclient-helo",
        "mail.far.test",
    ];
    let (sent, told) = swaks(black.at(port::SMTP), &xclient);
    assert!(sent, "{told}");
    for version in ["1", "2"] {
        let options = [
            "--proxy-version",
            version,
            "--proxy-family",
            if version == "1" { "TCP4" } else { "AF_INET" },
            "--proxy-source",
            "192.0.2.78",
            "--proxy-source-port",
            "4711",
            "--proxy-dest",
            "192.0.2.1",
            "--proxy-dest-port",
            "25",
        ];
        let (sent, told) = swaks(black.at(port::SMTP_PROXIED), &options);
        assert!(sent, "version {version}: {told}");
    }
    let letters = wait_for_letters(&black, BOB, 3);
    let heads: Vec<String> = letters
        .iter()
        .map(|letter| String::from_utf8_lossy(letter).replace("\r\n", ""))
        .collect();
    assert!(
        heads[0].contains("from mail.far.test ([192.0.2.77])"),
        "{}",
        heads[0]
    );
    for head in &heads[1..] {
        assert!(head.contains("from proxy.test ([192.0.2.78])"), "{head}");
    }
}

/// Nobody is believed who is not named in the settings.
#[test]
fn a_stranger_cannot_tell_who_he_is() {
    let world = World::new();
    let black = world.node(BLACK, "black.test", &["bob"]);
    let (sent, told) = swaks(black.at(port::SMTP), &["--xclient-addr", "192.0.2.77"]);
    assert!(!sent, "{told}");
    let options = ["--proxy", "TCP4 192.0.2.78 192.0.2.1 4711 25"];
    let (sent, told) = swaks(black.at(port::SMTP_PROXIED), &options);
    assert!(!sent, "{told}");
}
