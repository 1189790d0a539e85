//! A letter is on disk before it is acknowledged: shown by system calls, and shown to be seen when
//! it is not so.
#![expect(clippy::unwrap_used, reason = "a test stops at what it cannot do")]

use std::path::PathBuf;
use std::time::Duration;

use interop::imap;
use interop::letters::Random;
use interop::node::{self, Node, port};
use interop::place::Place;
use interop::smtp::{Client, base64};
use interop::trace::{self, Tracer, Verdict};

/// Letters of each kind: enough that a flush that comes sometimes too late is seen.
const LETTERS: usize = 25;

/// Random bytes in each letter: a journal that only notes its arrival is much smaller.
const RANDOM_BYTES: usize = 30_000;

const BOB: &str = "bob@black.test";
const LIMIT: Duration = Duration::from_secs(30);

#[test]
fn every_acknowledged_letter_was_flushed_before_the_reply() {
    let verdict = in_database("full");
    assert_eq!(verdict.acknowledged, 3 * LETTERS);
    assert_eq!(verdict.broken, [], "acknowledged before it was on disk");
}

#[test]
fn the_check_sees_a_store_that_does_not_flush() {
    let verdict = in_database("off");
    assert_eq!(verdict.acknowledged, 3 * LETTERS);
    assert_eq!(
        verdict.broken.len(),
        3 * LETTERS,
        "the check passes a store that does not flush"
    );
}

#[test]
fn a_letter_in_a_segment_is_flushed_before_the_database_names_it() {
    let verdict = in_segments("full");
    assert_eq!(verdict.acknowledged, 3 * LETTERS);
    assert_eq!(verdict.broken, [], "named before it was on disk");
}

#[test]
fn the_check_sees_segments_that_are_not_flushed() {
    let verdict = in_segments("off");
    assert_eq!(verdict.acknowledged, 3 * LETTERS);
    assert_eq!(
        verdict.broken.len(),
        3 * LETTERS,
        "the check passes segments that are not flushed"
    );
}

fn in_database(synchronous: &str) -> Verdict {
    let (trace, data_dir) = trace_of_a_node(synchronous, "inline:");
    trace::check(&trace, &data_dir, RANDOM_BYTES as i64)
}

fn in_segments(synchronous: &str) -> Verdict {
    let (trace, data_dir) = trace_of_a_node(synchronous, "segments:");
    let files = ("segments", "mail.db-wal");
    trace::check_in_order(&trace, &data_dir, files, RANDOM_BYTES as i64)
}

/// Delivers, submits and appends letters on a node under `strace`; gives the trace and the data
/// folder.
fn trace_of_a_node(synchronous: &str, blobs: &str) -> (String, PathBuf) {
    let place = Place::new();
    let settings = format!("store.synchronous = \"{synchronous}\"\nblobs.url = \"{blobs}\"\n");
    let setup = node::Setup {
        settings,
        ..node::Setup::new(1, "black.test")
    };
    let node = Node::start(&place, &setup, &["bob"]);
    // The first login pays for the password check; it is not what is looked at.
    let mut imap = imap::Client::log_in(node.at(port::IMAP), BOB, node::PASSWORD).unwrap();
    let tracer = Tracer::attach(node.pid(), &place.path("trace"));
    let mut random = Random::new(11);
    let mut deliver = Client::connect(node.at(port::SMTP), LIMIT).unwrap();
    let mut submit = Client::connect(node.at(port::SUBMISSION), LIMIT).unwrap();
    submit.log_in(BOB, node::PASSWORD).unwrap();
    for number in 0..LETTERS {
        let to = [BOB.to_owned()];
        let letter = incompressible(&mut random, &format!("deliver.{number}"));
        deliver.send("x@red.test", &to, &letter).unwrap();
        let letter = incompressible(&mut random, &format!("submit.{number}"));
        submit.send(BOB, &to, &letter).unwrap();
        let letter = incompressible(&mut random, &format!("append.{number}"));
        imap.append("INBOX", &letter).unwrap();
    }
    (tracer.finish(), node.data_dir())
}

fn incompressible(random: &mut Random, id: &str) -> Vec<u8> {
    let bytes: Vec<u8> = std::iter::repeat_with(|| random.next_u64().to_le_bytes())
        .flatten()
        .take(RANDOM_BYTES)
        .collect();
    let mut letter = format!(
        "From: <{BOB}>\r\nTo: <{BOB}>\r\nDate: Tue, 24 Nov 2026 09:00:00 +0000\r\nSubject: noise\r\n\
         Message-ID: <{id}@letters.test>\r\nMIME-Version: 1.0\r\n\
         Content-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    );
    for line in bytes.chunks(57) {
        letter.push_str(&base64(line));
        letter.push_str("\r\n");
    }
    letter.into_bytes()
}
