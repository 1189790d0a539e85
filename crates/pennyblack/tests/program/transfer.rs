//! Imports and exports: files in and out, beside a running node and without one, cut off and gone
//! on with.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Folder, Serving, Talk};

/// A letter of an export: when it was received, its flags, its bytes.
type Exported = (i64, Value, Vec<u8>);
/// A mailbox to be: its name, and its letters with their flags.
type Made = (&'static str, Vec<(Value, Vec<u8>)>);

/// What an export as `.eml` holds, by mailbox, in order.
fn read_export(folder: &Path) -> BTreeMap<String, Vec<Exported>> {
    let mut mailboxes = BTreeMap::new();
    for index in find(folder, "letters.jsonl") {
        let text = fs::read_to_string(&index).unwrap();
        let mut lines = text
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap());
        let head = lines.next().unwrap();
        let mut letters: Vec<Value> = lines.collect();
        letters.sort_by_key(|line| line["uid"].as_u64());
        let letters = letters.iter().map(|line| {
            let file = index.with_file_name(line["file"].as_str().unwrap());
            let flags = json!([line["keywords"], line["deleted"]]);
            (line["at"].as_i64().unwrap(), flags, fs::read(file).unwrap())
        });
        mailboxes.insert(head["name"].as_str().unwrap().to_owned(), letters.collect());
    }
    mailboxes
}

fn find(folder: &Path, name: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(find(&path, name));
        } else if path.file_name().is_some_and(|file| file == name) {
            found.push(path);
        }
    }
    found
}

/// Writes an export by hand: mailboxes with letters, flags and dates.
fn write_export(folder: &Path, mailboxes: &[Made]) {
    for (number, (name, letters)) in mailboxes.iter().enumerate() {
        let path = folder.join(number.to_string());
        fs::create_dir_all(&path).unwrap();
        let mut index = format!(
            "{}\n",
            json!({"pennyblack": 1, "name": name, "uid_validity": 1})
        );
        for (uid, (flags, bytes)) in letters.iter().enumerate() {
            let file = format!("{uid:03}.eml");
            fs::write(path.join(&file), bytes).unwrap();
            let mut line = json!({
                "file": file,
                "uid": uid + 1,
                "at": 1_600_000_000_123_i64 + i64::try_from(uid).unwrap() * 86_400_000,
                "bytes": bytes.len(),
            });
            for (name, value) in flags.as_object().unwrap() {
                line[name] = value.clone();
            }
            index.push_str(&format!("{line}\n"));
        }
        fs::write(path.join("letters.jsonl"), index).unwrap();
    }
}

/// Letters with all that formats stumble over.
fn awkward() -> Vec<(Value, Vec<u8>)> {
    let flagged = |flags: Value, text: &str| (flags, text.as_bytes().to_vec());
    let mut letters = vec![
        flagged(json!({}), "Subject: plain\r\n\r\nHello\r\n"),
        flagged(
            json!({"keywords": ["$seen", "$flagged", "$answered", "$draft", "$forwarded", "work"]}),
            "Return-Path: <a@b.test>\r\nSubject: From\r\n\r\nFrom here\r\n>From there\r\n>>From x\r\n",
        ),
        flagged(
            json!({"deleted": true}),
            "From a@b Tue Nov 24 07:38:05 2026\r\nSubject: x\r\n\r\ny\r\n",
        ),
        flagged(
            json!({}),
            "Subject: x\r\n\r\n\r\nFrom a@b Tue Nov 24 07:38:05 2026\r\n\r\n\r\n",
        ),
        flagged(
            json!({}),
            "Status: RO\r\nX-Status: F\r\nX-Keywords: a b\r\nContent-Length: 3\r\n\r\nabc",
        ),
        flagged(
            json!({}),
            "X-Pennyblack: v=1; lines=3\r\nSubject: x\r\n\r\n",
        ),
        flagged(json!({}), "Subject: no end"),
        flagged(json!({}), "Subject: mixed\r\n\nbare\r\rcr\nlf\r\n"),
        flagged(json!({}), "Subject: crs\r\r\n\r\n\r\r\n"),
        flagged(
            json!({}),
            "Subject: nul\0 and eight bits \u{e4}\r\n\r\n\0\r\n",
        ),
        flagged(json!({}), "\r\n"),
        flagged(json!({}), "no letter at all"),
        (
            json!({"keywords": ["$seen"]}),
            b"Subject: \xff\xfe\r\n\r\n\x80\r\n".to_vec(),
        ),
    ];
    let long = format!(
        "Subject: large\r\n\r\n{}",
        "0123456789 line\r\n".repeat(40_000)
    );
    letters.push(flagged(json!({}), &long));
    letters
}

fn mailboxes() -> Vec<Made> {
    let one = || vec![(json!({}), b"Subject: x\r\n\r\nx\r\n".to_vec())];
    vec![
        ("INBOX", awkward()),
        ("Sent", one()),
        ("Spam", one()),
        ("Work/v1.0 100%/Entw\u{fc}rfe & more", one()),
        ("Work/..", one()),
        ("Empty", Vec::new()),
    ]
}

fn account(folder: &Folder, name: &str) -> String {
    let address = format!("{name}@me.test");
    folder.ok_with_stdin(
        &["account", "add", &address, "--password-stdin"],
        "secret\n",
    );
    address
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Each format gives back what it got, byte for byte, with flags, dates and names.
fn there_and_back(folder: &Folder) {
    let alice = account(folder, "alice");
    let source = folder.path().join("source");
    write_export(&source, &mailboxes());
    folder.ok(&["import", &alice, text(&source)]);
    let first = folder.path().join("first");
    folder.ok(&["export", &alice, text(&first), "--format", "eml"]);
    let expected = read_export(&first);
    for (name, letters) in mailboxes() {
        let name = if name == "Sent" { "Sent" } else { name };
        let bytes: Vec<&Vec<u8>> = expected[name].iter().map(|(_, _, bytes)| bytes).collect();
        let wanted: Vec<&Vec<u8>> = letters.iter().map(|(_, bytes)| bytes).collect();
        assert!(bytes == wanted, "{name}");
    }
    assert_eq!(expected["INBOX"][1].0, 1_600_086_400_123);
    assert_eq!(expected["INBOX"][2].1, json!([null, true]));
    for format in ["eml", "mbox", "maildir", "zip"] {
        let name = format!("bob-{format}");
        let bob = account(folder, &name);
        let written = folder.path().join(&name);
        folder.ok(&["export", &alice, text(&written), "--format", format]);
        let said = folder.ok(&["import", &bob, text(&written)]);
        assert!(said.contains("18 letters imported"), "{format}: {said}");
        let again = folder.ok(&["import", &bob, text(&written)]);
        assert!(again.contains("0 letters imported"), "{format}: {again}");
        let back = folder.path().join(format!("{name}-back"));
        folder.ok(&["export", &bob, text(&back), "--format", "eml"]);
        let mut found = read_export(&back);
        if ["maildir", "mbox"].contains(&format) {
            // Without a list of ours, a mailbox of this name is taken for what it mostly is.
            assert_eq!(found["Junk"].len(), 1, "{format}");
            found.insert("Junk".to_owned(), Vec::new());
            found.insert("Spam".to_owned(), expected["Spam"].clone());
        }
        for (mailbox, letters) in &expected {
            assert_eq!(found[mailbox].len(), letters.len(), "{format} {mailbox}");
            for (number, (found, letter)) in found[mailbox].iter().zip(letters).enumerate() {
                assert!(found.2 == letter.2, "{format} {mailbox} {number}");
                assert_eq!(
                    (found.0, &found.1),
                    (letter.0, &letter.1),
                    "{format} {mailbox} {number}"
                );
            }
        }
        let names = |of: &BTreeMap<String, Vec<Exported>>| of.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&found), names(&expected), "{format}");
    }
    assert!(folder.ok(&["verify"]).contains("consistent"));
}

#[test]
fn letters_go_there_and_back_without_a_node() {
    there_and_back(&Folder::new());
}

#[test]
fn letters_go_there_and_back_beside_a_node() {
    let folder = Folder::new();
    let node = folder.serve();
    there_and_back(&folder);
    node.stop();
}

/// Only an IMAP client can store a letter with LF alone; formats that have room for a remark keep
/// even that.
#[test]
fn a_letter_with_lf_alone() {
    let folder = Folder::new();
    let alice = account(&folder, "alice");
    let source = folder.path().join("source");
    let letter = b"Subject: lf\n\nFrom x\n".to_vec();
    write_export(
        &source,
        &[("INBOX", vec![(json!({"raw": true}), letter.clone())])],
    );
    folder.ok(&["import", &alice, text(&source)]);
    for format in ["eml", "mbox", "zip"] {
        let bob = account(&folder, format);
        let written = folder.path().join(format);
        folder.ok(&["export", &alice, text(&written), "--format", format]);
        folder.ok(&["import", &bob, text(&written)]);
        let back = folder.path().join(format!("{format}-back"));
        folder.ok(&["export", &bob, text(&back), "--format", "eml"]);
        assert_eq!(read_export(&back)["INBOX"][0].2, letter, "{format}");
    }
}

#[test]
fn an_export_adds_what_is_missing() {
    let folder = Folder::new();
    let alice = account(&folder, "alice");
    let letter = |n: u32| format!("Subject: {n}\r\n\r\nx\r\n");
    let source = folder.path().join("one.eml");
    for format in ["eml", "maildir"] {
        let written = folder.path().join(format);
        for n in 1..4 {
            fs::write(&source, letter(n)).unwrap();
            let path = folder.path().join(format!("{format}-{n}"));
            fs::create_dir(&path).unwrap();
            fs::copy(&source, path.join("x.eml")).unwrap();
            folder.ok(&["import", &alice, text(&path), "--mailbox", format]);
            let export = [
                "export",
                &alice,
                text(&written),
                "--format",
                format,
                "--mailbox",
                format,
            ];
            let said = folder.ok(&export);
            assert!(said.starts_with("1 letters exported"), "{said}");
            assert_eq!(said.contains("were there already"), n > 1, "{said}");
            if n == 2 && format == "eml" {
                // A crash tore the list, and lost a letter.
                let index = find(&written, "letters.jsonl").remove(0);
                let text = fs::read_to_string(&index).unwrap();
                fs::write(&index, &text[..text.len() - 5]).unwrap();
                assert!(folder.ok(&export).starts_with("1 letters exported"));
            }
        }
    }
    assert_eq!(read_export(&folder.path().join("eml"))["eml"].len(), 3);
    let into = folder.path().join("mbox");
    folder.ok(&["export", &alice, text(&into), "--format", "mbox"]);
    folder.fails(
        4,
        &["export", &alice, text(&into), "--format", "mbox"],
        "is not empty",
    );
}

#[test]
fn everything_of_a_person() {
    let folder = Folder::new();
    let node = folder.serve();
    let alice = account(&folder, "alice");
    folder.ok(&["alias", "add", "info@me.test", &alice]);
    let source = folder.path().join("source");
    write_export(&source, &mailboxes());
    folder.ok(&["import", &alice, text(&source)]);
    let file = folder.path().join("alice.zip");
    folder.ok(&["account", "export", &alice, text(&file)]);
    folder.fails(
        4,
        &["account", "export", &alice, text(&file)],
        "is there already",
    );
    let unpacked = folder.path().join("unpacked");
    let unzip = "import sys, zipfile; zipfile.ZipFile(sys.argv[1]).extractall(sys.argv[2])";
    let status = Command::new("python3")
        .args(["-c", unzip, text(&file), text(&unpacked)])
        .status();
    assert!(status.unwrap().success());
    let about: Value =
        serde_json::from_slice(&fs::read(unpacked.join("account.json")).unwrap()).unwrap();
    assert_eq!(about["address"], "alice@me.test");
    assert_eq!(about["aliases"], json!(["info@me.test"]));
    assert_eq!(about["account"]["messages"], 18);
    assert!(
        about["mailboxes"]
            .as_array()
            .unwrap()
            .iter()
            .any(|m| m["name"] == "Work/..")
    );
    assert_eq!(read_export(&unpacked)["INBOX"].len(), awkward().len());
    folder.fails(
        3,
        &["account", "export", "nobody@me.test", "x.zip"],
        "no account",
    );
    assert!(!Path::new("x.zip").exists());
    node.stop();
}

#[test]
fn what_cannot_be_taken_is_named_and_the_rest_goes_on() {
    let folder = Folder::new();
    folder.append_settings("[limits]\nletter_size = \"1 MB\"\n");
    let alice = account(&folder, "alice");
    let source = folder.path().join("source");
    fs::create_dir(&source).unwrap();
    fs::write(source.join("1.eml"), "Subject: 1\n\nx\n").unwrap();
    fs::write(source.join("2.eml"), "x".repeat((1 << 20) + 1)).unwrap();
    fs::write(source.join("3.eml"), "").unwrap();
    fs::write(source.join("picture.png"), b"\x89PNG").unwrap();
    fs::write(source.join("4.eml"), "Subject: 4\n\nx\n").unwrap();
    let output = folder.run(&["import", &alice, text(&source), "--json"]);
    assert_eq!(output.status.code(), Some(6));
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&said["letters"], &said["skipped"]), (&json!(2), &json!(3)));
    let reasons: Vec<&str> = said["skipped_letters"]
        .as_array()
        .unwrap()
        .iter()
        .map(|skipped| skipped["reason"].as_str().unwrap())
        .collect();
    assert!(
        reasons[0].contains("larger than 1048576 bytes"),
        "{reasons:?}"
    );
    assert!(reasons[1].contains("is empty"), "{reasons:?}");
    assert!(
        reasons[2].contains("does not look like a letter"),
        "{reasons:?}"
    );
    folder.fails(
        3,
        &["import", "nobody@me.test", text(&source)],
        "no account",
    );
    folder.fails(3, &["import", &alice, "/does/not/exist"], "No such file");
    folder.fails(
        2,
        &["import", &alice, text(&source), "--format", "maildir"],
        "no Maildir",
    );
    folder.fails(2, &["import", &alice], "required");
}

#[test]
fn an_import_ends_at_the_quota_and_goes_on_behind_it() {
    let folder = Folder::new();
    let alice = account(&folder, "alice");
    let mbox = folder.path().join("a.mbox");
    write_mbox(&mbox, 400);
    let size = fs::metadata(&mbox).unwrap().len() / 2;
    folder.ok(&["account", "quota", &alice, "--bytes", &format!("{size} B")]);
    folder.fails(
        5,
        &["import", &alice, text(&mbox)],
        "does not fit into the account's quota",
    );
    let stored = messages(&folder);
    assert!((150..400).contains(&stored), "{stored}");
    folder.ok(&["import", &alice, text(&mbox), "--over-quota"]);
    assert_eq!(messages(&folder), 400);
    whole(&folder, &alice, 400);
}

/// Numbered letters of about 2 KB.
fn write_mbox(path: &Path, count: usize) {
    let mut text = String::new();
    for number in 0..count {
        text.push_str(&format!(
            "From a@b.test Tue Nov 24 07:38:05 2026\nSubject: {number}\n\
             Message-ID: <{number}@b.test>\n\n{}\n",
            format!("line {number} of some length\n").repeat(80)
        ));
    }
    fs::write(path, text).unwrap();
}

fn messages(folder: &Folder) -> u64 {
    let accounts = folder.json(&["account", "list", "--json"]);
    let accounts = accounts.as_array().unwrap();
    accounts
        .iter()
        .map(|account| account["messages"].as_u64().unwrap())
        .sum()
}

/// Each numbered letter is there once, in order.
fn whole(folder: &Folder, account: &str, count: usize) {
    let into = folder.path().join("whole");
    folder.ok(&[
        "export",
        account,
        text(&into),
        "--format",
        "eml",
        "--mailbox",
        "a",
    ]);
    let subjects: Vec<String> = read_export(&into)["a"]
        .iter()
        .map(|(_, _, bytes)| {
            String::from_utf8_lossy(bytes)
                .lines()
                .next()
                .unwrap()
                .to_owned()
        })
        .collect();
    let expected: Vec<String> = (0..count)
        .map(|number| format!("Subject: {number}"))
        .collect();
    assert!(subjects == expected, "{} letters", subjects.len());
    assert!(folder.ok(&["verify"]).contains("consistent"));
}

fn begin_import(folder: &Folder, account: &str, mbox: &Path) -> std::process::Child {
    Command::new(env!("CARGO_BIN_EXE_pennyblack"))
        .arg("--config")
        .arg(folder.path().join("pennyblack.toml"))
        .args(["import", account, text(mbox)])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Killed at moments of its work until it gets through: nothing is lost, nothing comes twice.
#[test]
fn an_import_that_is_killed_goes_on() {
    const LETTERS: usize = 3_000;
    let folder = Folder::new();
    let alice = account(&folder, "alice");
    let mbox = folder.path().join("a.mbox");
    write_mbox(&mbox, LETTERS);
    let mut cut_off = 0;
    for round in 0_u64.. {
        let mut import = begin_import(&folder, &alice, &mbox);
        std::thread::sleep(Duration::from_millis(300 + 150 * round));
        let ended = import.try_wait().unwrap();
        import.kill().unwrap();
        import.wait().unwrap();
        let stored = messages(&folder);
        if ended.is_some() {
            break;
        }
        cut_off += usize::from(stored > 0 && stored < LETTERS as u64);
        assert!(round < 60, "it does not get on: {stored}");
    }
    assert!(cut_off > 0, "it was never killed in the middle");
    folder.ok(&["import", &alice, text(&mbox)]);
    assert_eq!(messages(&folder), LETTERS as u64);
    whole(&folder, &alice, LETTERS);
}

/// The node is killed under an import while letters come in; both go on with the next node.
#[test]
fn a_node_that_is_killed_under_an_import() {
    const LETTERS: usize = 4_000;
    let folder = Folder::new();
    let alice = account(&folder, "alice");
    let bob = account(&folder, "bob");
    let mbox = folder.path().join("a.mbox");
    write_mbox(&mbox, LETTERS);
    let mut node = folder.serve();
    let mut sent = 0;
    let mut submit = |node: &Serving| {
        let letter = format!("Subject: mail {sent}\r\n\r\nx\r\n");
        node.submit(&bob, "secret", &alice, &letter);
        sent += 1;
    };
    let mut import = begin_import(&folder, &alice, &mbox);
    let deadline = Instant::now() + Duration::from_secs(60);
    while messages(&folder) < 300 {
        submit(&node);
        assert!(Instant::now() < deadline, "nothing is imported");
    }
    node.kill();
    let code = import.wait().unwrap().code();
    assert!([Some(5), Some(0)].contains(&code), "{code:?}");
    node = folder.serve();
    let mut import = begin_import(&folder, &alice, &mbox);
    while import.try_wait().unwrap().is_none() {
        submit(&node);
    }
    assert_eq!(import.wait().unwrap().code(), Some(0));
    let deadline = Instant::now() + Duration::from_secs(30);
    let mut imap = Talk::new(node.address("imap"));
    imap.expect("* OK");
    imap.say("a LOGIN alice@me.test secret");
    imap.until("a OK");
    loop {
        imap.say("b STATUS INBOX (MESSAGES)");
        if imap.until("b OK").contains(&format!("MESSAGES {sent})")) {
            break;
        }
        assert!(Instant::now() < deadline, "a letter is missing");
        std::thread::sleep(Duration::from_millis(100));
    }
    imap.say("c STATUS a (MESSAGES)");
    assert!(imap.until("c OK").contains(&format!("MESSAGES {LETTERS})")));
    whole(&folder, &alice, LETTERS);
    node.stop();
}

/// A node that is asked to stop does not wait for a long import, and says that it goes on later.
#[test]
fn a_node_that_stops_under_an_import() {
    let folder = Folder::new();
    let alice = account(&folder, "alice");
    let mbox = folder.path().join("a.mbox");
    write_mbox(&mbox, 6_000);
    let node = folder.serve();
    let mut import = begin_import(&folder, &alice, &mbox);
    let deadline = Instant::now() + Duration::from_secs(60);
    while messages(&folder) < 200 {
        assert!(Instant::now() < deadline, "nothing is imported");
    }
    let asked = Instant::now();
    node.stop();
    assert!(
        asked.elapsed() < Duration::from_secs(10),
        "{:?}",
        asked.elapsed()
    );
    assert_eq!(import.wait().unwrap().code(), Some(5));
    folder.ok(&["import", &alice, text(&mbox)]);
    whole(&folder, &alice, 6_000);
}

/// From one node to another by IMAP: with TLS from the first byte and after STARTTLS; a certificate
/// that nobody vouches for is refused unless the operator says otherwise.
#[test]
fn from_another_server_with_tls() {
    let old = Folder::new();
    for tls in ["implicit", "starttls"] {
        old.append_settings(&format!(
            "[[listen]]\nprotocol = \"imap\"\naddress = \"127.0.0.1:0\"\ntls = \"{tls}\"\n"
        ));
    }
    let carol = account(&old, "carol");
    let source = old.path().join("source");
    write_export(&source, &mailboxes());
    old.ok(&["import", &carol, text(&source)]);
    let node = old.serve();
    let new = Folder::new();
    for tls in ["implicit", "starttls"] {
        let address = account(&new, tls);
        let port = node.port_with("imap", tls).to_string();
        let pull = [
            "import",
            "imap",
            &address,
            "--host",
            "127.0.0.1",
            "--port",
            &port,
            "--user",
            &carol,
            "--tls",
            tls,
            "--password-stdin",
        ];
        let output = new.run_with_stdin(&pull, "secret\n");
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(5), "{error}");
        assert!(error.contains("TLS"), "{error}");
        let mut insecure = pull.to_vec();
        insecure.push("--insecure");
        let said = new.ok_with_stdin(&insecure, "secret\n");
        assert!(said.contains("18 letters imported"), "{said}");
        let (out, expected) = (new.path().join(tls), old.path().join(tls));
        new.ok(&["export", &address, text(&out), "--format", "eml"]);
        old.ok(&["export", &carol, text(&expected), "--format", "eml"]);
        let (mut found, expected) = (read_export(&out), read_export(&expected));
        // Spam is taken for Junk, as on any server that does not say what it is for.
        let junk = found.insert("Junk".to_owned(), Vec::new());
        found.insert("Spam".to_owned(), junk.unwrap_or_default());
        for (name, letters) in &expected {
            as_imap_tells(&found[name], letters, &format!("{tls} {name}"));
        }
    }
    let refused = [
        "import",
        "imap",
        "implicit@me.test",
        "--host",
        "127.0.0.1",
        "--port",
        "1",
        "--password-stdin",
    ];
    let output = new.run_with_stdin(&refused, "secret\n");
    assert_eq!(output.status.code(), Some(5));
    node.stop();
}

/// IMAP tells whole seconds, and a NUL is no byte that it can send (RFC 9051 §4.3).
fn as_imap_tells(found: &[Exported], letters: &[Exported], what: &str) {
    assert_eq!(found.len(), letters.len(), "{what}");
    for (number, (found, letter)) in found.iter().zip(letters).enumerate() {
        let told = (found.0 / 1_000, &found.1);
        assert_eq!(told, (letter.0 / 1_000, &letter.1), "{what} {number}");
        let sendable = letter
            .2
            .iter()
            .map(|byte| if *byte == 0 { 0x80 } else { *byte });
        assert!(found.2 == sendable.collect::<Vec<u8>>(), "{what} {number}");
    }
}
