//! `docs/limits.md` played against the running program: each row provokes what the page tells, and
//! the reply must be the one that the page has, and stand in the log once.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::support::{Folder, Serving, Talk, base64};

/// The page itself.
const PAGE: &str = include_str!("../../../../docs/limits.md");

/// What a peer does, up to the line that must be refused.
struct Row {
    /// The beginning of the page's row.
    what: &'static str,
    /// Where it connects.
    to: &'static str,
    /// What it sends; all but the last must be welcome, and the last is refused as the page says.
    says: Vec<String>,
}

fn row(what: &'static str, to: &'static str, says: &[&str]) -> Row {
    let says = says.iter().map(|line| (*line).to_owned()).collect();
    Row { what, to, says }
}

/// The replies that the page has in the row that begins so.
fn replies(what: &str) -> Vec<String> {
    let start = format!("| {what}");
    let mut rows = PAGE.lines().filter(|line| line.starts_with(&start));
    let found = rows
        .next()
        .unwrap_or_else(|| panic!("no row {what:?} in docs/limits.md"));
    assert!(rows.next().is_none(), "two rows {what:?} in docs/limits.md");
    let cell = found.split(" | ").nth(1).unwrap();
    cell.split('`')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect()
}

/// Whether a reply is one of the page's, whose `…` stands for anything.
fn is_as_told(what: &str, reply: &str) -> bool {
    replies(what).iter().any(|told| match told.split_once('…') {
        Some((start, end)) => {
            reply.starts_with(start) && reply.ends_with(end.split('…').next_back().unwrap_or(end))
        }
        None => told == reply,
    })
}

fn check_told(what: &str, reply: &str) {
    let told = replies(what);
    assert!(is_as_told(what, reply), "{what}: {reply:?}, not {told:?}");
}

/// The lines of the log about this peer's refusals, once there is one.
fn refusals(node: &Serving, port: u16) -> Vec<String> {
    let peer = format!("peer=127.0.0.1:{port} ");
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let log = node.log();
        let about = |line: &&str| {
            line.contains(&peer) && (line.contains(" refused ") || line.contains("login failed"))
        };
        let found: Vec<String> = log.lines().filter(about).map(str::to_owned).collect();
        if !found.is_empty() {
            // One too many would stand beside it.
            return found;
        }
        assert!(Instant::now() < deadline, "nothing about {peer}in\n{log}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn smtp(node: &Serving, to: &str) -> Talk {
    let mut talk = Talk::new(node.address(to));
    talk.expect("220 ");
    talk.say("EHLO client.test");
    talk.until("250 ");
    talk
}

fn play(node: &Serving, row: &Row) {
    let mut talk = smtp(node, row.to);
    let (last, before) = row.says.split_last().unwrap();
    for line in before {
        talk.say(line);
        let reply = talk.reply();
        let welcome = reply.starts_with('2') || reply.starts_with('3');
        assert!(welcome, "{}: {line:.60}: {reply}", row.what);
    }
    // It may hear why before it has sent all.
    talk.send(last.as_bytes());
    if !last.ends_with('\n') {
        talk.send(b"\r\n");
    }
    let reply = talk.reply();
    check_told(row.what, &reply);
    let logged = refusals(node, talk.port());
    assert_eq!(logged.len(), 1, "{}: {logged:?}", row.what);
    // The line about a wrong password tells the login instead of the reply.
    let tells = logged[0].contains(&reply) || logged[0].contains("login failed");
    assert!(tells, "{logged:?} tells of {reply:?}");
}

fn login() -> String {
    format!("AUTH PLAIN {}", base64("\0bob@me.test\0secret"))
}

/// A node with listeners for servers and users, accounts, and these limits.
fn node(limits: &str) -> (Folder, Serving) {
    let folder = Folder::new();
    folder.append_settings(&format!(
        "[[listen]]\nprotocol = \"smtp\"\naddress = \"127.0.0.1:0\"\n[limits]\n{limits}\n"
    ));
    folder.ok_with_stdin(
        &["account", "add", "bob@me.test", "--password-stdin"],
        "secret\n",
    );
    let node = folder.serve();
    (folder, node)
}

/// Limits that few lines reach. The disk of the machine does not matter here.
const SMALL: &str = "letter_size = \"64 KB\"\nrecipients_per_transaction = 100\n\
    recipients_per_submission = 2\nerrors_per_session = 3\nletters_per_session = 1\nhops = 10\n\
    auth_failures = 2\nconnections_per_address = 1000\nconnections_per_second = 1000\n\
    free_disk = \"0 B\"";

const MAIL: &str = "MAIL FROM:<a@far.test>";
const RCPT: &str = "RCPT TO:<bob@me.test>";

fn in_a_letter(what: &'static str, letter: &str) -> Row {
    row(
        what,
        "smtp",
        &[MAIL, RCPT, "DATA", &format!("{letter}\r\n.")],
    )
}

fn rows_of_commands() -> Vec<Row> {
    let long = format!("NOOP {}", "x".repeat(600));
    vec![
        row("a command line over 512 octets", "smtp", &[&long]),
        row("a line that ends with a bare LF", "smtp", &["NOOP\n"]),
        row("a line that ends with a bare LF", "smtp", &["NO\rOP"]),
        row("control characters", "smtp", &["NOOP a\0b"]),
        row("control characters", "smtp", &["MAIL FROM:<a@x.test>\u{b}"]),
        row("an unknown command", "smtp", &["XYZZY"]),
        row("EXPN, TURN", "smtp", &["EXPN all"]),
        row("EXPN, TURN", "smtp", &[&login()]),
        row("EXPN, TURN", "smtp", &["STARTTLS"]),
        row("a command out of its order", "smtp", &["DATA"]),
        row("a bad argument", "smtp", &["DATA now"]),
    ]
}

fn rows_of_envelopes() -> Vec<Row> {
    vec![
        row(
            "a parameter that was not offered",
            "smtp",
            &["MAIL FROM:<> XYZZY=1"],
        ),
        row(
            "a malformed sender address",
            "smtp",
            &["MAIL FROM:<a..b@x.test>"],
        ),
        row(
            "a malformed recipient address",
            "smtp",
            &[MAIL, "RCPT TO:<a@x..test>"],
        ),
        row(
            "a malformed recipient address",
            "smtp",
            &[MAIL, "RCPT TO:<a@b@me.test>"],
        ),
        row(
            "an address with non-ASCII",
            "smtp",
            &["MAIL FROM:<é@x.test>"],
        ),
        row("SIZE= larger", "smtp", &["MAIL FROM:<> SIZE=65537"]),
        row(
            "a user of ours that does not exist",
            "smtp",
            &[MAIL, "RCPT TO:<eve@me.test>"],
        ),
        row(
            "a domain that is not ours",
            "smtp",
            &[MAIL, "RCPT TO:<eve@far.test>"],
        ),
        row(
            "an account that is disabled",
            "smtp",
            &[MAIL, "RCPT TO:<gone@me.test>"],
        ),
        row(
            "an account over its quota, in bytes or in messages | `452",
            "smtp",
            &[MAIL, "RCPT TO:<full@me.test>"],
        ),
        row("MAIL without login", "submission", &[MAIL]),
        row(
            "a mechanism that is not offered",
            "submission",
            &["AUTH CRAM-MD5"],
        ),
        row("what is not base64", "submission", &["AUTH PLAIN ***"]),
        row("`*` in an exchange", "submission", &["AUTH PLAIN", "*"]),
        row(
            "a sender address that is not the user's",
            "submission",
            &[&login(), MAIL],
        ),
        row("BDAT without a valid size", "smtp", &[MAIL, RCPT, "BDAT x"]),
    ]
}

fn rows_of_letters() -> Vec<Row> {
    let own = "MAIL FROM:<bob@me.test>";
    let submitted = |what, header: &str| {
        let letter = format!("{header}\r\n\r\nx\r\n.");
        row(what, "submission", &[&login(), own, RCPT, "DATA", &letter])
    };
    let mut crowd = vec![MAIL];
    crowd.resize(101, RCPT);
    crowd.push(RCPT);
    let large = "x\r\n".repeat(22_000);
    vec![
        row("more recipients than", "smtp", &crowd),
        row(
            "more recipients than",
            "submission",
            &[&login(), own, RCPT, RCPT, RCPT],
        ),
        in_a_letter("larger than `limits.letter_size`", &large),
        in_a_letter("a bare CR or LF in it", "Subject: x\r\n\r\na\nb"),
        in_a_letter(
            "a bare CR or LF in it",
            "Subject: x\r\n\r\na\n.\nMAIL FROM:<eve@x.test>",
        ),
        in_a_letter("more Received fields", &"Received: x\r\n".repeat(11)),
        in_a_letter("a header of more than", &"X: y\r\n".repeat(2_001)),
        submitted("a From field that is not the user's", "From: eve@me.test"),
        submitted(
            "a From field that is not the user's",
            "From: bob@me.test, eve@me.test",
        ),
        submitted(
            "a Sender field that is not the user's",
            "From: bob@me.test\r\nSender: eve@me.test",
        ),
        submitted("more than one From or Sender", "From: Nobody:;"),
        submitted(
            "a Resent-From or Resent-Sender",
            "Resent-From: eve@me.test\r\nFrom: bob@me.test",
        ),
        submitted(
            "more than one From or Sender",
            "From: bob@me.test\r\nFrom : eve@me.test",
        ),
    ]
}

#[test]
fn every_refusal_is_the_one_that_is_told_and_is_logged_once() {
    let (folder, node) = node(SMALL);
    folder.ok(&["account", "add", "gone@me.test"]);
    folder.ok(&["account", "disable", "gone@me.test"]);
    folder.ok(&["account", "add", "full@me.test", "--quota", "0 B"]);
    for row in [rows_of_commands(), rows_of_envelopes(), rows_of_letters()]
        .iter()
        .flatten()
    {
        play(&node, row);
    }

    let mut talk = Talk::new(node.address("smtp"));
    talk.expect("220 ");
    talk.say("GET / HTTP/1.1");
    check_told("a browser speaks", &talk.reply());
    assert_eq!(talk.line(), "", "closed");

    let mut talk = smtp(&node, "smtp");
    for _ in 0..2 {
        talk.say("XYZZY");
        talk.expect("500 ");
    }
    talk.say("XYZZY");
    talk.expect("500 ");
    check_told("`limits.errors_per_session` errors", &talk.reply());
    assert_eq!(talk.line(), "", "closed");

    let mut talk = smtp(&node, "smtp");
    for line in [MAIL, RCPT, "DATA"] {
        talk.say(line);
        talk.reply();
    }
    talk.say("Subject: x\r\n\r\nx\r\n.");
    talk.expect("250 ");
    talk.say(MAIL);
    check_told("more than `limits.letters_per_session`", &talk.reply());
    assert_eq!(talk.line(), "", "closed");

    let metrics = node.http("/metrics");
    assert!(
        metrics.contains("pennyblack_smtp_refusals_total{code=\"550 5.7.1\"} 6\n"),
        "{metrics}"
    );
    assert!(folder.ok(&["verify"]).contains("consistent"));
    node.stop();
}

/// No form of an address makes us send on a stranger's letter.
#[test]
fn nobody_relays_through_us() {
    let (folder, node) = node("errors_per_session = 100\nfree_disk = \"0 B\"");
    folder.ok(&["alias", "add", "*@me.test", "bob@me.test"]);
    let mut talk = smtp(&node, "smtp");
    talk.say(MAIL);
    talk.expect("250 ");
    for (path, reply) in [
        ("<eve@far.test>", "550 5.7.1 "),
        ("<@me.test:eve@far.test>", "550 5.7.1 "),
        ("<@me.test,@mx.me.test:eve@far.test>", "550 5.7.1 "),
        ("<eve@[127.0.0.1]>", "550 5.7.1 "),
        ("<eve@[IPv6:::1]>", "550 5.7.1 "),
        ("<eve@me.test.far.test>", "550 5.7.1 "),
        ("<eve@mx.me.test>", "550 5.7.1 "),
        ("<eve@far.test@me.test>", "501 5.1.3 "),
        // These are local parts of ours, however they look, and go to the catch-all.
        ("<eve%far.test@me.test>", "250 "),
        ("<far.test!eve@me.test>", "250 "),
        ("<\"eve@far.test\"@me.test>", "250 "),
        ("<bob+eve=far.test@me.test>", "250 "),
    ] {
        talk.say(&format!("RCPT TO:{path}"));
        let answer = talk.reply();
        assert!(answer.starts_with(reply), "{path}: {answer}");
    }
    talk.say("DATA");
    talk.expect("354 ");
    talk.say("Subject: x\r\n\r\nx\r\n.");
    talk.expect("250 ");
    assert_eq!(folder.ok(&["queue", "list", "--json"]).trim(), "[]");
    // One copy for bob, whom all of them led to.
    assert_eq!(
        folder.json(&["account", "list", "--json"])[0]["messages"],
        1
    );
    node.stop();
}

#[test]
fn wrong_passwords_are_slowed_down() {
    let (_folder, node) = node(SMALL);
    let wrong = format!("AUTH PLAIN {}", base64("\0bob@me.test\0guess"));
    let nobody = format!("AUTH PLAIN {}", base64("\0nobody@me.test\0guess"));
    for attempt in [&wrong, &nobody] {
        play(
            &node,
            &row(
                "a wrong password, an unknown or disabled user (same reply, same time) | `535",
                "submission",
                &[attempt],
            ),
        );
    }
    let mut talk = smtp(&node, "submission");
    for _ in 0..2 {
        // Even the right one.
        talk.say(&login());
        let reply = talk.reply();
        assert!(reply.starts_with("454 "), "{reply}");
        check_told(
            "more than `limits.auth_failures` of them from one address in `limits.auth_window`, or ten times as many for one login (but a login that has worked from there within a day: only its own failures from there count) | `454",
            &reply,
        );
    }
    talk.say(&login());
    assert_eq!(
        talk.reply(),
        "421 4.7.0 Too many failed logins; try again later"
    );
    assert_eq!(talk.line(), "", "closed");
    // Another protocol is no way round it.
    let mut imap = Talk::new(node.address("imap"));
    imap.expect("* OK");
    imap.say("a LOGIN bob@me.test secret");
    imap.expect("a NO [UNAVAILABLE] Too many wrong passwords; try again later");
    node.stop();
}

#[test]
fn slow_peers_and_endless_ones_are_cut_off() {
    let (_folder, node) = node(
        "command_timeout = \"1 s\"\ndata_timeout = \"1 s\"\nsession_timeout = \"3 s\"\n\
         free_disk = \"0 B\"\nerrors_per_session = 10000",
    );
    let node = &node;
    std::thread::scope(|scope| {
        let silent = "no command for `limits.command_timeout`";
        scope.spawn(move || {
            let mut talk = smtp(node, "smtp");
            check_told(silent, &talk.reply());
            assert_eq!(talk.line(), "", "closed");
            assert_eq!(refusals(node, talk.port()).len(), 1);
        });
        scope.spawn(move || {
            let mut talk = smtp(node, "smtp");
            let started = Instant::now();
            // Byte by byte, which is no command either.
            while started.elapsed() < Duration::from_secs(5) && talk.send(b"N") {
                std::thread::sleep(Duration::from_millis(200));
                if node
                    .log()
                    .contains(&format!("peer=127.0.0.1:{} ", talk.port()))
                {
                    break;
                }
            }
            check_told(silent, &talk.reply());
        });
        scope.spawn(move || {
            let mut talk = smtp(node, "smtp");
            for line in [MAIL, RCPT, "DATA"] {
                talk.say(line);
                talk.reply();
            }
            talk.send(b"Subject: x\r\n");
            check_told(
                "no block of a letter for `limits.data_timeout` (",
                &talk.reply(),
            );
            assert_eq!(talk.line(), "", "closed");
        });
        scope.spawn(move || {
            // Never silent, never late, and never with a letter.
            let mut talk = smtp(node, "smtp");
            let started = Instant::now();
            let mut last = String::new();
            while started.elapsed() < Duration::from_secs(15) {
                if !talk.send(&b"NOOP\r\n".repeat(200)) {
                    break;
                }
                let replies: Vec<String> = (0..200).map(|_| talk.reply()).collect();
                if let Some(end) = replies.iter().find(|reply| !reply.starts_with("250 ")) {
                    last.clone_from(end);
                    break;
                }
            }
            check_told("no letter accepted for `limits.session_timeout`", &last);
        });
    });
}

#[test]
fn too_many_connections_hear_why_at_each_limit() {
    let greeting = |node: &Serving| {
        let mut talk = Talk::new(node.address("smtp"));
        let reply = talk.reply();
        (talk, reply)
    };
    for (limits, at_once, what) in [
        (
            "connections = 2",
            2,
            "more connections than `limits.connections` ",
        ),
        (
            "connections_per_address = 2",
            2,
            "more connections from one address (IPv6: one /64) than",
        ),
        (
            "connections_per_second = 1",
            10,
            "new connections from one address faster than",
        ),
    ] {
        let (_folder, node) = node(limits);
        let mut open = Vec::new();
        for _ in 0..at_once {
            let (talk, reply) = greeting(&node);
            assert!(reply.starts_with("220 "), "{reply}");
            open.push(talk);
        }
        let (mut talk, reply) = greeting(&node);
        check_told(what, &reply);
        assert_eq!(talk.line(), "", "closed");
        let logged = refusals(&node, talk.port());
        assert_eq!(logged.len(), 1, "{logged:?}");
    }
}

/// A client that opens 20 connections a second is an ordinary one; what is beyond the limits hears
/// so, and nobody meets silence.
#[test]
fn an_ordinary_burst_gets_through_the_default_limits() {
    let (_folder, node) = node("");
    let started = Instant::now();
    for turn in 1..=60_u32 {
        let mut talk = smtp(&node, "smtp");
        talk.say("QUIT");
        talk.expect("221 ");
        let due = Duration::from_millis(50) * turn;
        std::thread::sleep(due.saturating_sub(started.elapsed()));
    }
    let mut open: Vec<Talk> = (0..80).map(|_| Talk::new(node.address("smtp"))).collect();
    let mut heard: BTreeMap<String, usize> = BTreeMap::new();
    for talk in &mut open {
        *heard.entry(talk.reply()).or_default() += 1;
    }
    let told = replies("more connections from one address (IPv6: one /64) than");
    let expected = [
        ("220 mx.me.test ESMTP Pennyblack".to_owned(), 50),
        (told[0].clone(), 30),
    ];
    assert_eq!(heard, BTreeMap::from(expected));
    node.stop();
}

/// Letters that break the rules of MIME are kept as they are and shown as well as can be.
#[test]
fn malformed_letters_do_no_harm() {
    let (folder, node) = node(SMALL);
    let letters: [&[u8]; 8] = [
        b"",
        b"no header at all, not even a colon",
        b"Content-Type: multipart/mixed; boundary=\"\"\r\n\r\n--\r\n\r\n----\r\n",
        b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n--b--",
        b"Subject: =?utf-8?B?///?= =?x?Q?=GG?=\r\nFrom: \"<<>>,;:\r\nTo: a@@b, group:;\r\nDate: 99 Foo 0000\r\n\r\n\0\xff\xfe",
        b"Content-Type: text/plain; charset=\"nul\0l\"; name*0*=%ZZ\r\nContent-Transfer-Encoding: base64\r\n\r\n!!!=\0",
        b"Content-Type: message/rfc822\r\n\r\nContent-Type: message/rfc822\r\n\r\nSubject",
        b"\r\n\r\n\r\n",
    ];
    for letter in &letters {
        let mut talk = smtp(&node, "smtp");
        for line in [MAIL, RCPT, "DATA"] {
            talk.say(line);
            talk.reply();
        }
        talk.send(letter);
        talk.send(b"\r\n.\r\n");
        let reply = talk.reply();
        assert!(reply.starts_with("250 "), "{letter:?}: {reply}");
    }
    let mut imap = Talk::new(node.address("imap"));
    imap.expect("* OK");
    imap.say("a LOGIN bob@me.test secret");
    imap.until("a OK");
    imap.say("b SELECT INBOX");
    assert!(
        imap.until("b OK")
            .contains(&format!("* {} EXISTS", letters.len()))
    );
    imap.say("c FETCH 1:* (BODY.PEEK[])");
    let bodies = imap.literals("c OK");
    assert_eq!(bodies.len(), letters.len());
    for (body, letter) in bodies.iter().zip(&letters) {
        // RFC 9051 §9: a literal has no NUL.
        let shown: Vec<u8> = letter
            .iter()
            .map(|b| if *b == 0 { 0x80 } else { *b })
            .collect();
        assert!(
            body.ends_with(&[&shown[..], b"\r\n"].concat()),
            "{letter:?}"
        );
    }
    for number in 1..=letters.len() {
        imap.say(&format!(
            "d FETCH {number} (ENVELOPE BODYSTRUCTURE BODY.PEEK[1] BODY.PEEK[HEADER.FIELDS (FROM)])"
        ));
        imap.literals("d OK");
    }
    imap.say("e SEARCH TEXT colon SUBJECT x FROM y");
    imap.until("e OK");
    assert!(!node.log().contains("panicked"), "{}", node.log());
    assert!(folder.ok(&["verify"]).contains("consistent"));
    node.stop();
}
