//! A node whose letters go into an object store, as its operator sees it: the way there and back,
//! an outage, and keys that are wrong.
#![expect(clippy::unwrap_used, reason = "a test stops at what it cannot do")]

use std::time::Duration;

use interop::imap;
use interop::node::{Node, PASSWORD, Setup, port};
use interop::place::Place;
use interop::process::said;
use interop::s3::{Fault, Method, S3Server};
use interop::smtp::{Client, Failure, Reply};
use interop::world::wait_for_letters;

const BOB: &str = "bob@red.test";
/// Above what stays in the database (`blobs.inline_max`).
const LARGE: usize = 100_000;
const SMALL: usize = 2_000;

/// A letter of lines that do not compress away.
fn letter(name: &str, bytes: usize) -> Vec<u8> {
    let mut text = format!("From: carol@black.test\r\nTo: {BOB}\r\nSubject: {name}\r\n\r\n");
    let mut number: u64 = bytes as u64;
    while text.len() < bytes {
        number = number
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        text.push_str(&format!("{name} {number:016x}\r\n"));
    }
    text.into_bytes()
}

fn send(node: &Node, letter: &[u8]) -> Result<Reply, Failure> {
    let mut client = Client::connect(node.at(port::SMTP), Duration::from_secs(30))?;
    client.send("carol@black.test", &[BOB.to_owned()], letter)
}

/// That so many letters are in the inbox, and these among them.
fn are_there(node: &Node, letters: &[Vec<u8>]) {
    let arrived = wait_for_letters(node, BOB, letters.len());
    assert_eq!(arrived.len(), letters.len());
    for (arrived, sent) in arrived.iter().zip(letters) {
        assert!(arrived.ends_with(sent), "a letter is not what was sent");
    }
}

fn setup(server: &S3Server, blobs: &str) -> Setup {
    let access = server.access();
    let mut setup = Setup::new(1, "red.test");
    setup.settings = format!(
        "{blobs}\nblobs.endpoint = \"{}\"\nblobs.region = \"{}\"\nblobs.timeout = \"2 s\"\nblobs.cache = 0\n",
        access.endpoint, access.region
    );
    setup.environment = vec![
        ("AWS_ACCESS_KEY_ID", access.key_id),
        ("AWS_SECRET_ACCESS_KEY", access.secret_key),
    ];
    setup
}

fn objects(server: &S3Server) -> usize {
    let objects = server.objects();
    let letters = objects
        .iter()
        .filter(|path| !path.ends_with("pennyblack-store"));
    letters.count()
}

/// While the object store is away, large letters wait with their senders; small ones do not.
fn an_outage(node: &Node, server: &S3Server, sent: &mut Vec<Vec<u8>>) {
    server
        .switch()
        .fail(Method::Any, Fault::Status(503), usize::MAX);
    let large = letter("waits", LARGE);
    match send(node, &large) {
        Err(Failure::Refused { reply, .. }) => assert_eq!(reply.code, 451, "{reply:?}"),
        other => panic!("{other:?}"),
    }
    let mut reader = imap::Client::log_in(node.at(port::IMAP), BOB, PASSWORD).unwrap();
    reader.command("SELECT INBOX").unwrap();
    assert_eq!(reader.command("FETCH 2 BODY.PEEK[]").unwrap().len(), 1);
    // The literal has begun, and cannot be taken back: only the end of the connection is left.
    reader.command("FETCH 1 BODY.PEEK[]").map(drop).unwrap_err();
    let log = node.log();
    assert!(
        log.contains("reading in the object store"),
        "the log does not name the cause"
    );
    sent.push(letter("small", SMALL));
    send(node, &sent[5]).unwrap();
    server.switch().heal();
    sent.push(large);
    send(node, &sent[6]).unwrap();
    assert_eq!(objects(server), 4);
    assert!(
        node.log().contains("SlowDown"),
        "the log does not name the cause"
    );
}

#[test]
fn letters_go_into_an_object_store_and_come_back() {
    let place = Place::new();
    let server = S3Server::start();
    let there = "blobs.url = \"s3://letters/mail\"";
    let mut node = Node::start(&place, &setup(&server, "blobs.url = \"inline:\""), &["bob"]);
    let mut sent = Vec::new();
    for (number, bytes) in [LARGE, SMALL, LARGE, SMALL, LARGE].into_iter().enumerate() {
        sent.push(letter(&number.to_string(), bytes));
        send(&node, &sent[number]).unwrap();
    }
    node.stop();
    assert_eq!(objects(&server), 0);

    let mut node = Node::new(&place, &setup(&server, there));
    node.serve();
    are_there(&node, &sent);
    let moved = node.command(&["store", "move-blobs"]);
    assert_eq!(
        said(&moved).trim(),
        "3 letters moved, 2 were in their place already"
    );
    assert_eq!(objects(&server), 3);
    are_there(&node, &sent);

    an_outage(&node, &server, &mut sent);
    node.kill();
    node.serve();
    are_there(&node, &sent);
    node.stop();

    // Without a node, and with wrong keys.
    let mut wrong = setup(&server, there);
    wrong.environment[1].1 = "wrong".to_owned();
    let output = Node::new(&place, &wrong).command(&["verify"]);
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    assert!(
        said(&output).contains("AWS_SECRET_ACCESS_KEY"),
        "{}",
        said(&output)
    );

    let back = "blobs.url = \"inline:\"\nblobs.leaving = \"s3://letters/mail\"";
    let node = Node::new(&place, &setup(&server, back));
    let moved = node.command(&["store", "move-blobs", "--json"]);
    let text = said(&moved);
    assert!(
        text.contains("\"moved\":4") && text.contains("\"left\":0"),
        "{text}"
    );
    assert_eq!(objects(&server), 0);
    drop(server);
    let mut setup = Setup::new(1, "red.test");
    setup.settings = "blobs.url = \"inline:\"\n".to_owned();
    let mut node = Node::new(&place, &setup);
    node.serve();
    are_there(&node, &sent);
}
