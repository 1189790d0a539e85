//! Quotas, deleted mail, and the end of accounts, as operators and users meet them.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{Folder, Serving, Talk};

/// A node with SMTP, Trash that is emptied after a second, and bob.
fn node() -> (Folder, Serving) {
    let folder = Folder::new();
    folder.append_settings(
        "[[listen]]\nprotocol = \"smtp\"\naddress = \"127.0.0.1:0\"\n\
         [retention]\ntrash = \"1 s\"\n[accounts]\nquota_messages = 3\n",
    );
    folder.ok_with_stdin(
        &["account", "add", "bob@me.test", "--password-stdin"],
        "secret\n",
    );
    let node = folder.serve();
    (folder, node)
}

fn rcpt(node: &Serving, to: &str) -> String {
    let mut smtp = Talk::new(node.address("smtp"));
    smtp.expect("220 ");
    for line in ["EHLO x.test", "MAIL FROM:<carol@far.test>"] {
        smtp.say(line);
        smtp.reply();
    }
    smtp.say(&format!("RCPT TO:<{to}>"));
    smtp.reply()
}

fn imap(node: &Serving, login: &str) -> Talk {
    let mut imap = Talk::new(node.address("imap"));
    imap.expect("* OK");
    imap.say(&format!("a LOGIN {login} secret"));
    imap.until("a OK");
    imap
}

/// Appends a letter; the server's word.
fn append(imap: &mut Talk, mailbox: &str, subject: &str) -> String {
    let letter = format!("From: carol@far.test\r\nSubject: {subject}\r\n\r\nHello\r\n");
    imap.say(&format!(
        "b APPEND {mailbox} (\\Flagged) {{{}+}}",
        letter.len()
    ));
    imap.say(&letter);
    imap.until("b ")
}

fn deleted(folder: &Folder) -> Vec<Value> {
    let rows = folder.json(&["account", "deleted", "list", "bob@me.test", "--json"]);
    rows.as_array().unwrap().clone()
}

#[test]
fn a_full_account_is_refused_and_deleted_mail_comes_back() {
    let (folder, node) = node();
    let mut bob = imap(&node, "bob@me.test");
    for subject in ["one", "two", "three"] {
        let told = append(&mut bob, "INBOX", subject);
        assert!(told.contains("b OK"), "{told}");
    }
    let told = append(&mut bob, "INBOX", "four");
    assert!(told.contains("b NO [OVERQUOTA]"), "{told}");
    assert_eq!(
        rcpt(&node, "bob@me.test"),
        "452 4.2.2 Mailbox full; try again later"
    );
    bob.say("c SELECT INBOX");
    bob.until("c OK");
    bob.say("d COPY 1 INBOX");
    let told = bob.until("d ");
    assert!(told.contains("d NO [OVERQUOTA]"), "{told}");

    bob.say("e STORE 1:2 +FLAGS (\\Deleted)");
    bob.until("e OK");
    bob.say("f EXPUNGE");
    bob.until("f OK");
    assert!(rcpt(&node, "bob@me.test").starts_with("250 "), "room again");
    let rows = deleted(&folder);
    assert_eq!(rows.len(), 2);
    assert_eq!(rows[0]["mailbox"], "INBOX");
    assert_eq!(rows[0]["from"], "carol@far.test");
    let subjects: Vec<&str> = rows
        .iter()
        .filter_map(|row| row["subject"].as_str())
        .collect();
    assert_eq!(subjects, ["two", "one"]);
    let number = rows[1]["message"].to_string();
    let args = ["account", "deleted", "recover", "bob@me.test"];
    folder.fails(2, &args, "required");
    folder.ok(&[&args[..], &["--message", &number]].concat());
    // The session that is open sees it come.
    bob.say("g NOOP");
    assert!(bob.until("g OK").contains("* 2 EXISTS"));
    bob.say("h FETCH 2 (UID FLAGS BODY[HEADER.FIELDS (SUBJECT)])");
    let told = bob.until("h OK");
    assert!(
        told.contains("UID 4") && told.contains("\\Flagged"),
        "{told}"
    );
    assert!(told.contains("Subject: one"), "{told}");

    folder.ok(&["account", "quota", "bob@me.test", "--messages", "2"]);
    folder.fails(5, &[&args[..], &["--all"]].concat(), "over its quota");
    folder.ok(&["account", "quota", "bob@me.test", "--none"]);
    folder.ok(&[&args[..], &["--since", "1 h", "--to", "Found/Again"]].concat());
    bob.say("i STATUS Found/Again (MESSAGES)");
    assert!(bob.until("i OK").contains("(MESSAGES 1)"));
    folder.fails(3, &[&args[..], &["--all"]].concat(), "no deleted message");
    assert!(folder.ok(&["verify"]).contains("consistent"));
    node.stop();
}

#[test]
fn trash_is_emptied_and_told_to_who_looks_at_it() {
    let (folder, node) = node();
    let mut bob = imap(&node, "bob@me.test");
    append(&mut bob, "Trash", "old");
    bob.say("c SELECT Trash");
    assert!(bob.until("c OK").contains("* 1 EXISTS"));
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        bob.say("d NOOP");
        if bob.until("d OK").contains("* 1 EXPUNGE") {
            break;
        }
        assert!(Instant::now() < deadline, "not emptied");
        std::thread::sleep(Duration::from_millis(500));
    }
    assert!(
        node.log().contains("old mail was deleted"),
        "{}",
        node.log()
    );
    let usage = folder.json(&["account", "usage", "--json"]);
    assert_eq!(usage[0]["messages"], 0);
    assert_eq!(usage[0]["removed_messages"], 1);
    assert_eq!(deleted(&folder)[0]["mailbox"], "Trash");
    folder.ok(&[
        "account",
        "deleted",
        "purge",
        "bob@me.test",
        "--mailbox",
        "Trash",
    ]);
    assert!(deleted(&folder).is_empty());
    node.stop();
}

#[test]
fn an_account_is_renamed_closed_and_restored() {
    let (folder, node) = node();
    folder.ok(&[
        "account",
        "rename",
        "bob@me.test",
        "rob@me.test",
        "--keep-old",
    ]);
    let mut rob = imap(&node, "rob@me.test");
    append(&mut rob, "INBOX", "one");
    assert!(rcpt(&node, "bob@me.test").starts_with("250 "));
    let shown = folder.json(&["account", "show", "rob@me.test", "--json"]);
    assert_eq!(shown[0]["aliases"][0], "bob@me.test");
    let told = folder.ok(&["account", "remove", "rob@me.test"]);
    assert!(told.contains("account restore rob@me.test"), "{told}");
    let closed = "550 5.2.1 Mailbox closed, not accepting letters";
    assert_eq!(rcpt(&node, "rob@me.test"), closed);
    let mut refused = Talk::new(node.address("imap"));
    refused.expect("* OK");
    refused.say("a LOGIN rob@me.test secret");
    assert!(refused.until("a ").contains("a NO"));
    folder.fails(4, &["account", "add", "rob@me.test"], "exists");
    folder.ok(&["account", "restore", "rob@me.test"]);
    folder.fails(2, &["account", "restore", "rob@me.test"], "was not removed");
    assert!(rcpt(&node, "rob@me.test").starts_with("250 "));
    let usage = folder.ok(&["account", "usage", "rob@me.test"]);
    assert!(usage.contains("INBOX"), "{usage}");
    let whole = folder.ok(&["account", "usage", "--blobs"]);
    assert!(whole.contains("letters, each once: 1 of"), "{whole}");
    folder.ok(&["account", "remove", "rob@me.test", "--now"]);
    assert_eq!(rcpt(&node, "rob@me.test"), "550 5.1.1 No such user here");
    node.stop();
}
