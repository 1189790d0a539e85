//! A disk that is full, for real: a file system of a few megabytes, seen by the node alone.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::support::{Folder, Serving, Talk};

/// Megabytes of the disk: the smallest on which a store has room for some letters.
const DISK_MB: u32 = 16;
const LETTER_BYTES: usize = 50_000;

/// The margin is kept: letters are refused before they are sent.
const MARGIN: &str = "free_disk = \"6 MB\"\nfree_disk_percent = 50";
/// Without the margin the system itself says that the disk is full.
const NO_MARGIN: &str = "free_disk = \"0 B\"\nfree_disk_percent = 0";

#[test]
fn a_full_disk_refuses_letters_and_loses_none() {
    fill_and_free("inline:", MARGIN, true);
}

#[test]
fn a_full_disk_refuses_letters_and_loses_none_in_segments() {
    fill_and_free("segments:", MARGIN, true);
}

#[test]
fn a_disk_that_fills_up_to_the_last_byte_loses_no_letter() {
    fill_and_free("inline:", NO_MARGIN, false);
}

#[test]
fn a_disk_that_fills_up_to_the_last_byte_loses_no_letter_in_segments() {
    fill_and_free("segments:", NO_MARGIN, false);
}

fn fill_and_free(blobs: &str, limits: &str, keeps_margin: bool) {
    let folder = Folder::new();
    folder.append_settings(&format!(
        "[[listen]]\nprotocol = \"smtp\"\naddress = \"127.0.0.1:0\"\n[limits]\n{limits}\n\
         [blobs]\nurl = \"{blobs}\"\n"
    ));
    let node = folder.serve_on_small_disk(DISK_MB);
    let command = "printf 'secret\\n' | \"$1\" --config \"$2\" \
         account add bob@me.test --password-stdin";
    node.within(&folder, command);
    // What an operator will find to delete.
    node.within(&folder, "head -c 4000000 /dev/zero > \"$0\"/ballast");

    let mut kept = BTreeSet::new();
    let mut refused = 0;
    for number in 0..400 {
        if keeps_margin {
            // The free space is asked for once a second, in which the margin must not be used up.
            std::thread::sleep(Duration::from_millis(25));
        }
        match deliver(&node, number, keeps_margin) {
            Ok(()) => {
                kept.insert(number);
            }
            Err(reply) => {
                assert!(
                    reply.starts_with("452 4.3.1 Not enough storage now; try again later"),
                    "letter {number}: {reply}"
                );
                refused += 1;
            }
        }
        if refused >= 20 {
            break;
        }
    }
    assert!(refused >= 20, "the disk is never full");
    assert!(kept.len() >= 20, "only {} letters fit", kept.len());
    assert_eq!(numbers(&node), kept, "what was acknowledged is there");

    // Reading and deleting go on, also flags, which are writes.
    let first = *kept.first().unwrap();
    let mut imap = log_in(&node);
    imap.say("b SELECT INBOX");
    imap.until("b OK");
    imap.say("c STORE 1 +FLAGS (\\Deleted \\Seen)");
    if keeps_margin {
        imap.until("c OK");
        imap.say("d EXPUNGE");
        imap.until("d OK");
        kept.remove(&first);
    } else {
        // Not a byte may be left for it, which ends no session.
        let answer = imap.until("c ");
        let known = answer.contains("c OK ") || answer.contains("c NO [UNAVAILABLE] ");
        assert!(known, "{answer}");
        imap.say("d NOOP");
        imap.until("d OK");
    }
    assert_eq!(numbers(&node), kept);

    node.within(&folder, "rm \"$0\"/ballast");
    // The space is asked for once a second.
    std::thread::sleep(Duration::from_millis(1_500));
    for number in 1_000..1_010 {
        deliver(&node, number, keeps_margin).unwrap();
        kept.insert(number);
    }
    assert_eq!(numbers(&node), kept);
    let verified = node.within(&folder, "\"$1\" --config \"$2\" verify");
    assert!(verified.contains("consistent"), "{verified}");
    assert!(!node.log().contains("panicked"), "{}", node.log());
    node.stop();
}

/// Hands a letter over; the reply that refused it.
fn deliver(node: &Serving, number: usize, keeps_margin: bool) -> Result<(), String> {
    let mut talk = Talk::new(node.address("smtp"));
    talk.expect("220 ");
    talk.say("EHLO client.test");
    talk.until("250 ");
    for line in ["MAIL FROM:<a@far.test>", "RCPT TO:<bob@me.test>"] {
        talk.say(line);
        talk.expect("250 ");
    }
    talk.say("DATA");
    let reply = talk.reply();
    if !reply.starts_with("354 ") {
        return Err(reply);
    }
    talk.send(&letter(number));
    talk.send(b".\r\n");
    let reply = talk.reply();
    if reply.starts_with("250 ") {
        return Ok(());
    }
    assert!(!keeps_margin, "the margin was not enough: {reply}");
    Err(reply)
}

/// Bytes that cannot be compressed, and differ from letter to letter.
fn letter(number: usize) -> Vec<u8> {
    let mut text = format!("Subject: number {number}\r\nMessage-ID: <{number}@far.test>\r\n\r\n");
    let mut state = number as u64 + 1;
    while text.len() < LETTER_BYTES {
        for _ in 0..70 {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            text.push(char::from(b'0' + u8::try_from(state >> 58).unwrap()));
        }
        text.push_str("\r\n");
    }
    text.into_bytes()
}

fn log_in(node: &Serving) -> Talk {
    let mut imap = Talk::new(node.address("imap"));
    imap.expect("* OK");
    imap.say("a LOGIN bob@me.test secret");
    imap.until("a OK");
    imap
}

/// The numbers of the letters in the mailbox, each read whole and compared.
fn numbers(node: &Serving) -> BTreeSet<usize> {
    let mut imap = log_in(node);
    imap.say("x EXAMINE INBOX");
    imap.until("x OK");
    imap.say("y FETCH 1:* (BODY.PEEK[])");
    let mut numbers = BTreeSet::new();
    for body in imap.literals("y OK") {
        let text = String::from_utf8(body).unwrap();
        let (_, rest) = text.split_once("Subject: number ").unwrap();
        let number = rest.split("\r\n").next().unwrap().parse().unwrap();
        assert!(
            text.as_bytes().ends_with(&letter(number)),
            "letter {number}"
        );
        assert!(numbers.insert(number), "letter {number} is there twice");
    }
    numbers
}
