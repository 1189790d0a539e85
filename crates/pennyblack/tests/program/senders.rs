//! As whom users send and with which passwords, as an administrator grants it and programs meet it.

use serde_json::Value;

use crate::support::{Folder, Serving, Talk, base64};

fn node() -> (Folder, Serving) {
    let folder = Folder::new();
    for (account, password) in [("bob@me.test", "secret\n"), ("boss@me.test", "other\n")] {
        folder.ok_with_stdin(&["account", "add", account, "--password-stdin"], password);
    }
    let node = folder.serve();
    (folder, node)
}

/// The replies to these lines of a user who is logged in.
fn submit(node: &Serving, password: &str, lines: &[&str]) -> Vec<String> {
    let mut talk = Talk::new(node.address("submission"));
    talk.expect("220 ");
    talk.say("EHLO x.test");
    talk.until("250 ");
    let login = base64(&format!("\0bob@me.test\0{password}"));
    talk.say(&format!("AUTH PLAIN {login}"));
    let mut replies = vec![talk.reply()];
    for line in lines {
        talk.say(line);
        replies.push(talk.reply());
    }
    replies
}

#[test]
fn identities_and_delegates_are_granted_and_taken_back() {
    let (folder, node) = node();
    let may = |from: &str| {
        let replies = submit(&node, "secret", &[&format!("MAIL FROM:<{from}>")]);
        replies[1].clone()
    };
    let refused = may("sales@far.test");
    let told = "550 5.7.1 You may not send as <sales@far.test> (MAIL FROM); you may as bob@me.test";
    assert_eq!(refused, told);
    let identity = [
        "account",
        "identity",
        "add",
        "bob@me.test",
        "sales@far.test",
    ];
    folder.fails(2, &identity, "--outside");
    folder.ok(&[&identity[..], &["--outside"]].concat());
    assert!(may("sales@far.test").starts_with("250"));
    folder.ok(&["account", "identity", "add", "bob@me.test", "*@me.test"]);
    assert!(may("anything@me.test").starts_with("250"));
    folder.ok(&["account", "identity", "remove", "bob@me.test", "*@me.test"]);
    assert!(may("boss@me.test").starts_with("550 5.7.1"));
    folder.ok(&["account", "delegate", "add", "boss@me.test", "bob@me.test"]);
    assert!(may("boss@me.test").starts_with("250"));
    let list = folder.json(&["account", "identity", "list", "bob@me.test", "--json"]);
    let kinds: Vec<&Value> = list
        .as_array()
        .unwrap()
        .iter()
        .map(|row| &row["kind"])
        .collect();
    assert_eq!(kinds, ["identity", "as"]);
    folder.ok(&[
        "account",
        "delegate",
        "remove",
        "boss@me.test",
        "bob@me.test",
    ]);
    assert!(may("boss@me.test").starts_with("550 5.7.1"));
    let again = [
        "account",
        "delegate",
        "remove",
        "boss@me.test",
        "bob@me.test",
    ];
    folder.fails(3, &again, "was not allowed");
    folder.ok(&["domain", "authors", "me.test", "not-resent"]);
    let domains = folder.json(&["domain", "list", "--json"]);
    assert_eq!(domains[0]["author_check"], "not-resent");
}

#[test]
fn app_passwords_are_made_shown_once_and_taken_back() {
    let (folder, node) = node();
    let add = ["account", "app-password", "add", "bob@me.test"];
    let made = folder.ok(&[&add[..], &["printer", "--for", "smtp"]].concat());
    let password = made
        .lines()
        .find_map(|line| line.strip_prefix("password: "));
    let password = password.unwrap();
    folder.fails(4, &[&add[..], &["printer"]].concat(), "has an app password");
    assert!(submit(&node, password, &[])[0].starts_with("235"));
    let mut imap = Talk::new(node.address("imap"));
    imap.expect("* OK");
    imap.say(&format!("a LOGIN bob@me.test {password}"));
    imap.until("a NO [AUTHENTICATIONFAILED]");
    folder.ok(&["account", "app-password", "only", "bob@me.test"]);
    assert!(submit(&node, "secret", &[])[0].starts_with("535 5.7.8"));
    assert!(submit(&node, password, &[])[0].starts_with("235"));
    let list = ["account", "app-password", "list", "bob@me.test", "--json"];
    let rows = folder.json(&list);
    assert_eq!(rows[0]["name"], "printer");
    assert_eq!(rows[0]["protocols"], serde_json::json!(["smtp"]));
    assert_eq!(rows[0]["used_from"], "127.0.0.1");
    assert!(!rows.to_string().contains(password));
    folder.ok(&[
        "account",
        "app-password",
        "remove",
        "bob@me.test",
        "printer",
    ]);
    assert!(submit(&node, password, &[])[0].starts_with("535 5.7.8"));
    folder.ok(&["account", "app-password", "only", "bob@me.test", "--off"]);
    assert!(submit(&node, "secret", &[])[0].starts_with("235"));
}

#[test]
fn an_account_that_sends_too_much_is_limited_held_and_let_go() {
    let (folder, node) = node();
    let send = || {
        let lines = [
            "MAIL FROM:<bob@me.test>",
            "RCPT TO:<a@far.test>",
            "DATA",
            "From: bob@me.test\r\n\r\nx\r\n.",
        ];
        submit(&node, "secret", &lines).pop().unwrap()
    };
    let limit = ["account", "limit", "bob@me.test"];
    folder.fails(2, &limit, "required");
    folder.ok(&[&limit[..], &["--letters-per-hour", "1"]].concat());
    assert!(send().starts_with("250 2.0.0 Kept as "));
    let refused = send();
    assert!(refused.starts_with("452 4.7.28 You may send at most 1 letters in an hour; "));
    folder.ok(&[&limit[..], &["--letters-per-hour", "usual"]].concat());
    assert!(send().starts_with("250 2.0.0 Kept as "));
    folder.ok(&["domain", "limit", "me.test", "--recipients-per-day", "1"]);
    assert!(
        send().starts_with("250 2.0.0 Kept as "),
        "counted from now on"
    );
    assert!(send().starts_with("452 4.7.28 Your domain may send at most 1 recipients in a day; "));
    folder.ok(&["domain", "limit", "me.test", "--recipients-per-day", "none"]);
    let shown = folder.json(&["account", "sending", "bob@me.test", "--json"]);
    assert_eq!(shown[0]["letters_in_a_day"], 3);
    assert_eq!(shown[0]["held_since"], Value::Null);
    folder.fails(3, &["account", "release", "bob@me.test"], "is not held");
}

#[test]
fn failed_logins_are_seen_and_lifted() {
    let folder = Folder::new();
    folder.append_settings("[limits]\nauth_failures = 2\n");
    folder.ok_with_stdin(
        &["account", "add", "bob@me.test", "--password-stdin"],
        "secret\n",
    );
    folder.fails(
        3,
        &["account", "brake", "lift", "127.0.0.1"],
        "no node runs",
    );
    let node = folder.serve();
    for wrong in ["wrong", "wronger"] {
        assert!(submit(&node, wrong, &[])[0].starts_with("535 5.7.8"));
    }
    assert!(submit(&node, "secret", &[])[0].starts_with("454 4.7.0"));
    // One brake over all protocols.
    let mut imap = Talk::new(node.address("imap"));
    imap.expect("* OK");
    imap.say("a LOGIN bob@me.test secret");
    imap.until("a NO [UNAVAILABLE]");
    let rows = folder.json(&["account", "brake", "list", "--json"]);
    assert_eq!(rows[0]["address"], "127.0.0.1");
    assert_eq!(rows[0]["kept_out"], true);
    folder.ok(&["account", "brake", "lift", "127.0.0.1"]);
    assert!(submit(&node, "secret", &[])[0].starts_with("235"));
    folder.fails(
        3,
        &["account", "brake", "lift", "192.0.2.1"],
        "no failed logins",
    );
}
