//! The peers themselves: what the other tests rely on is shown here without any part of ours.

use std::time::Duration;

use interop::clients::{Server, Tls, curl, imaplib, mbsync, msmtp, mutt, swaks, with_lf};
use interop::dovecot::{self, Dovecot};
use interop::imap;
use interop::letters::{Heading, Writer};
use interop::nsd::{Nsd, Zone};
use interop::place::Place;
use interop::postfix::{Postfix, Setup};
use interop::process::{must_run, program, said, wait_for};
use interop::smtp::Client;

const LIMIT: Duration = Duration::from_secs(20);

#[test]
fn postfix_takes_a_letter_and_dovecot_stores_it() {
    let place = Place::new();
    let dovecot = Dovecot::start(&place, place.at(1, 1143));
    let setup = Setup {
        hostname: "mx.black.test".to_owned(),
        domains: vec!["black.test".to_owned()],
        transport: Some(format!("lmtp:unix:{}", dovecot.lmtp.display())),
        ..Setup::default()
    };
    let postfix = Postfix::start(&place, "postfix", place.at(1, 2525), &setup);
    let writer = Writer::new(1);
    let heading = Heading {
        from: "a@red.test",
        to: "user1@black.test",
        number: 1,
    };
    let letter = writer.letter(heading, 3_000);
    let mut client = Client::connect(postfix.address, LIMIT).unwrap();
    client
        .send(
            "a@red.test",
            &["user1@black.test".to_owned()],
            letter.as_bytes(),
        )
        .unwrap();
    let stored = wait_for("the letter", LIMIT, || {
        let mut imap = imap::Client::log_in(dovecot.imap, "user1", dovecot::PASSWORD).ok()?;
        imap.letters("INBOX")
            .ok()
            .filter(|letters| !letters.is_empty())
    });
    assert!(
        stored[0].ends_with(letter.as_bytes()),
        "{}",
        String::from_utf8_lossy(&stored[0])
    );
}

#[test]
fn postfix_finds_another_postfix_by_its_mx_record() {
    let place = Place::new();
    let zone = Zone::new("black.test").mx(10, "mx1", place.address(2));
    let nsd = Nsd::start(&place, place.at(53, 53), &[zone]);
    let black = Setup {
        hostname: "mx.black.test".to_owned(),
        domains: vec!["black.test".to_owned()],
        ..Setup::default()
    };
    let black = Postfix::start(&place, "black", place.at(2, 2525), &black);
    let red = Setup {
        hostname: "mx.red.test".to_owned(),
        dns: Some(nsd.address.ip()),
        main: "smtp_tcp_port = 2525\n".to_owned(),
        ..Setup::default()
    };
    let red = Postfix::start(&place, "red", place.at(1, 2525), &red);
    let mut client = Client::connect(red.address, LIMIT).unwrap();
    let to = ["bob@black.test".to_owned()];
    client
        .send("a@red.test", &to, b"Subject: x\r\n\r\nhello\r\n")
        .unwrap();
    let one = || Some(black.delivered()).filter(|all| all.len() == 1);
    let letters = wait_for("the letter", LIMIT, one);
    assert!(letters[0].ends_with(b"hello\n"));
    wait_for("an empty queue", LIMIT, || {
        red.queue_is_empty().then_some(())
    });
}

/// Each client sends to Postfix, and each reads from Dovecot, a letter with all that is awkward:
/// dots at line starts, eight-bit text, an empty line at the end.
#[test]
fn every_client_sends_and_reads_byte_for_byte() {
    let place = Place::new();
    let dovecot = Dovecot::start(&place, place.at(1, 1143));
    let setup = Setup {
        hostname: "mx.black.test".to_owned(),
        domains: vec!["black.test".to_owned()],
        transport: Some(format!("lmtp:unix:{}", dovecot.lmtp.display())),
        ..Setup::default()
    };
    let postfix = Postfix::start(&place, "postfix", place.at(1, 2525), &setup);
    let smtp = Server::open(postfix.address);
    let (from, to) = ("a@red.test", ["bob@black.test"]);
    let letter = |client: &str| {
        let text = "From: a@red.test\r\nTo: bob@black.test\r\nSubject: by CLIENT\r\n\
                    Date: Tue, 24 Nov 2026 09:00:00 +0000\r\nMessage-ID: <CLIENT@red.test>\r\n\
                    MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\
                    Content-Transfer-Encoding: 8bit\r\n\r\n\
                    .\r\n..\r\n.hidden\r\nFrom here: Grüße\r\n%d %FROM_ADDRESS% \\n\r\n\r\n";
        text.replace("CLIENT", client).into_bytes()
    };
    let sent = [
        swaks::send(&smtp, from, &to, &letter("swaks")),
        msmtp::send(&smtp, from, &to, &letter("msmtp")),
        curl::send(&place, &smtp, from, &to, &letter("curl")),
    ];
    for output in &sent {
        assert!(output.status.success(), "{}", said(output));
    }
    let imap = Server::with_login(dovecot.imap, Tls::None, "bob", dovecot::PASSWORD);
    let all = wait_for("three letters", LIMIT, || {
        Some(imaplib::read(&place, &imap, "INBOX")).filter(|letters| letters.len() == 3)
    });
    for client in ["swaks", "msmtp", "curl"] {
        let found = all
            .iter()
            .filter(|stored| stored.ends_with(&letter(client)))
            .count();
        assert_eq!(
            found,
            1,
            "{client}: {}",
            String::from_utf8_lossy(&all.concat())
        );
    }
    for (uid, stored) in (1..).zip(&all) {
        assert_eq!(
            &curl::fetch(&imap, "INBOX", uid),
            stored,
            "curl and imaplib differ"
        );
    }
    let mut expected: Vec<Vec<u8>> = all.iter().map(|letter| with_lf(letter)).collect();
    expected.sort();
    for (client, mut letters) in [
        ("mbsync", mbsync::read_inbox(&place, &imap)),
        ("mutt", mutt::read_inbox(&place, &imap)),
    ] {
        letters.sort();
        assert_eq!(letters.len(), expected.len(), "{client}");
        for (letter, expected) in letters.iter().zip(&expected) {
            let (letter, expected) = (
                String::from_utf8_lossy(letter),
                String::from_utf8_lossy(expected),
            );
            assert_eq!(letter, expected, "{client}");
        }
    }
}

#[test]
fn nsd_serves_the_records_of_a_zone() {
    let place = Place::new();
    let zone = Zone::new("black.test")
        .mx(10, "mx1", place.address(2))
        .record("old CNAME mx1");
    let nsd = Nsd::start(&place, place.at(53, 5353), &[zone]);
    // A plain question over TCP, put together by hand (RFC 1035 §4.1): id 1, MX of black.test.
    let script = "import socket,struct,sys\n\
        q=struct.pack('>6H',1,0,1,0,0,0)+b'\\x05black\\x04test\\0'+struct.pack('>2H',15,1)\n\
        s=socket.create_connection((sys.argv[1],int(sys.argv[2])),5)\n\
        s.sendall(struct.pack('>H',len(q))+q)\n\
        print(s.recv(4096))\n";
    let (ip, port) = (nsd.address.ip().to_string(), nsd.address.port().to_string());
    let mut command = std::process::Command::new(program("python3"));
    let answer = must_run(command.args(["-c", script, &ip, &port]), LIMIT);
    assert!(answer.contains("mx1"), "{answer}");
}
