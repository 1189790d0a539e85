//! An operator's tools from outside: a node is backed up while mail comes in, restored on another
//! host with its keys, and moved to another database; every letter of the collection is then read
//! by IMAP as it was, byte for byte, with its UID and its flags, and people log in as before.
#![expect(clippy::unwrap_used, reason = "a test stops at what it cannot do")]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use interop::corpus;
use interop::imap::Client;
use interop::node::{Node, PASSWORD, Setup, port};
use interop::place::Place;
use interop::postgres::{Flushed, Postgres};
use interop::process::said;
use interop::smtp;

const HOST: u8 = 1;
const LIMIT: Duration = Duration::from_secs(20);

/// Letters of each media type of the collection.
const OF_A_TYPE: usize = 6;

/// A node whose DNS server does not answer: what it sends stays in its queue.
fn setup(place: &Place) -> Setup {
    Setup {
        dns: Some(place.at(99, 5_353)),
        ..Setup::new(HOST, "red.test")
    }
}

fn ok(node: &Node, arguments: &[&str]) -> String {
    let output = node.command(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", said(&output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn fails(node: &Node, arguments: &[&str], says: &str) {
    let output = node.command(arguments);
    assert!(!output.status.success(), "{arguments:?} worked");
    assert!(
        said(&output).contains(says),
        "{arguments:?}: {}",
        said(&output)
    );
}

/// A mailbox as a client sees it: UIDVALIDITY, and for each UID its flags and its bytes.
type Seen = (String, BTreeMap<u64, (String, Vec<u8>)>);

fn seen(at: SocketAddr, mailbox: &str) -> Seen {
    let mut client = Client::log_in(at, "alice@red.test", PASSWORD).unwrap();
    let selected = client.command(&format!("EXAMINE {mailbox}")).unwrap();
    let validity = selected
        .iter()
        .find(|answer| answer.text.contains("UIDVALIDITY"))
        .unwrap()
        .text
        .clone();
    let mut letters = BTreeMap::new();
    for answer in client
        .command("UID FETCH 1:* (UID FLAGS BODY.PEEK[])")
        .unwrap()
    {
        let Some(literal) = answer.literals.into_iter().next() else {
            continue;
        };
        let (_, after) = answer.text.split_once("UID ").unwrap();
        let uid = after.split([' ', ')']).next().unwrap().parse().unwrap();
        let (_, after) = answer.text.split_once("FLAGS (").unwrap();
        let flags = after.split(')').next().unwrap().to_owned();
        letters.insert(uid, (flags, literal));
    }
    (validity, letters)
}

/// Fills mailboxes with the collection, flags letters, deletes some, and leaves one in the queue.
fn fill(node: &Node, scratch: &Path) -> usize {
    let letters = corpus::with_attachments(scratch, "alice@red.test", OF_A_TYPE);
    assert!(letters.len() > 50, "{} letters", letters.len());
    let mut client = Client::log_in(node.at(port::IMAP), "alice@red.test", PASSWORD).unwrap();
    for letter in &letters {
        client.append("Archive", &letter.bytes).unwrap();
    }
    client.command("SELECT Archive").unwrap();
    client
        .command("UID STORE 2,5,9 +FLAGS (\\Seen \\Flagged blue)")
        .unwrap();
    client.command("UID STORE 3,4 +FLAGS (\\Deleted)").unwrap();
    client.command("EXPUNGE").unwrap();
    let mut sender = smtp::Client::connect(node.at(port::SUBMISSION), LIMIT).unwrap();
    sender.log_in("alice@red.test", PASSWORD).unwrap();
    let to = ["x@elsewhere.test".to_owned()];
    let text = b"From: alice@red.test\r\nTo: x@elsewhere.test\r\nSubject: waits\r\n\r\nWait.\r\n";
    assert!(
        sender
            .send("alice@red.test", &to, text)
            .unwrap()
            .is_positive()
    );
    letters.len() - 2
}

#[test]
fn a_backup_under_load_is_restored_on_another_host_and_moved() {
    let (here, there) = (Place::new(), Place::new());
    let mut red = Node::start(&here, &setup(&here), &["alice", "bob"]);
    let archived = fill(&red, here.dir());
    let archive = seen(red.at(port::IMAP), "Archive");
    assert_eq!(archive.1.len(), archived);
    let folder = here.path("backup");
    let backup = folder.to_str().unwrap();
    let before = under_load(&red, backup);
    let listed = ok(&red, &["backup", "list", backup, "--json"]);
    assert_eq!(listed.matches("\"id\"").count(), 2, "{listed}");
    ok(&red, &["backup", "verify", backup]);
    let inbox = seen(red.at(port::IMAP), "INBOX");
    red.kill();

    let mut other = Node::new(&there, &setup(&there));
    let restored = ok(&other, &["restore", backup, "--json"]);
    assert!(restored.contains("\"findings\":[]"), "{restored}");
    other.serve();
    assert_eq!(seen(other.at(port::IMAP), "Archive"), archive);
    let arrived = seen(other.at(port::IMAP), "INBOX");
    assert_eq!(arrived.0, inbox.0);
    assert!(
        arrived.1.len() >= before,
        "{} of {before} letters",
        arrived.1.len()
    );
    for (uid, letter) in &arrived.1 {
        assert_eq!(Some(letter), inbox.1.get(uid), "UID {uid}");
    }
    assert!(other.queue().contains("held"), "{}", other.queue());
    // A running node is asked; a store with data is left alone.
    assert_eq!(
        ok(&other, &["verify", "--deep"]).trim(),
        "the store is consistent"
    );
    fails(&other, &["restore", backup], "in use");
    assert!(other.stop().success());
    fails(&other, &["restore", backup], "the store has data already");
    move_to_postgres_and_back(&there, &mut other, &archive);
}

/// Backs up twice while letters come in; how many had been acknowledged before the second began.
fn under_load(red: &Node, backup: &str) -> usize {
    let stop = AtomicBool::new(false);
    let at = red.at(port::IMAP);
    std::thread::scope(|scope| {
        let load = scope.spawn(|| {
            let mut client = Client::log_in(at, "alice@red.test", PASSWORD).unwrap();
            let mut count = 0;
            while !stop.load(Ordering::Relaxed) {
                let text = format!("Subject: load {count}\r\n\r\nLetter {count}.\r\n");
                client.append("INBOX", text.as_bytes()).unwrap();
                count += 1;
            }
        });
        ok(red, &["backup", backup, "--with-key"]);
        let mut client = Client::log_in(at, "alice@red.test", PASSWORD).unwrap();
        let before = client.count("INBOX").unwrap();
        let second = ok(red, &["backup", backup, "--with-key", "--json"]);
        stop.store(true, Ordering::Relaxed);
        load.join().unwrap();
        assert!(second.contains("\"lost\":[]"), "{second}");
        usize::try_from(before).unwrap()
    })
}

fn move_to_postgres_and_back(place: &Place, node: &mut Node, archive: &Seen) {
    let server = Postgres::start(Flushed::No);
    let config = node.data_dir().with_file_name("pennyblack.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    let url = server.database("mail");
    let moved = format!("store.url = \"{url}\"\nblobs.url = \"inline:\"\n{text}");
    let target = place.write("node-1/postgres.toml", &moved);
    let report = ok(
        node,
        &["store", "move", "--to", target.to_str().unwrap(), "--json"],
    );
    assert!(report.contains("\"findings\":[]"), "{report}");
    std::fs::rename(&config, config.with_file_name("sqlite.toml")).unwrap();
    std::fs::write(&config, &moved).unwrap();
    node.serve();
    assert_eq!(&seen(node.at(port::IMAP), "Archive"), archive);
    assert!(node.stop().success());
    // And back, into another file.
    let back = format!("store.url = \"sqlite://back.db\"\n{text}");
    let target = place.write("node-1/back.toml", &back);
    ok(node, &["store", "move", "--to", target.to_str().unwrap()]);
    std::fs::write(&config, &back).unwrap();
    node.serve();
    assert_eq!(&seen(node.at(port::IMAP), "Archive"), archive);
    assert!(node.queue().contains("held"), "{}", node.queue());
    assert!(node.stop().success());
}

/// A restore that is killed is run again; until then the store is not served.
#[test]
fn a_restore_cut_short_goes_on() {
    let (here, there) = (Place::new(), Place::new());
    let red = Node::start(&here, &setup(&here), &["alice"]);
    fill(&red, here.dir());
    let archive = seen(red.at(port::IMAP), "Archive");
    let folder = here.path("backup");
    let backup = folder.to_str().unwrap();
    ok(&red, &["backup", backup]);
    let mut other = Node::new(&there, &setup(&there));
    // The key is not in the backup.
    fails(&other, &["restore", backup], "--forget-key");
    std::fs::copy(here.path("store.key"), there.path("store.key")).unwrap();
    let mut cut = 0;
    for pause_ms in [60, 120, 200, 300] {
        let mut command = other.command_line(&["restore", backup]);
        let mut child = command.spawn().unwrap();
        std::thread::sleep(Duration::from_millis(pause_ms));
        cut += u32::from(child.try_wait().unwrap().is_none());
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert!(cut > 0, "every restore was quicker than its end");
    let output = other.command(&["restore", backup]);
    if !output.status.success() {
        // One of them had come to its end.
        assert!(
            said(&output).contains("has data already"),
            "{}",
            said(&output)
        );
    }
    other.serve();
    assert_eq!(seen(other.at(port::IMAP), "Archive"), archive);
}
