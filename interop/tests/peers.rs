//! The peers themselves: what the other tests rely on is shown here without any part of ours.

use std::time::Duration;

use interop::dovecot::{self, Dovecot};
use interop::imap;
use interop::letters::{Heading, Writer};
use interop::nsd::{Nsd, Zone};
use interop::place::Place;
use interop::postfix::{Postfix, Setup};
use interop::process::{must_run, program, wait_for};
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
