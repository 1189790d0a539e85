//! Mail moves in and out: other people's letters through every format, byte for byte, and folders
//! of a real server by IMAP.
#![expect(clippy::unwrap_used, reason = "a test stops at what it cannot do")]

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use interop::corpus;
use interop::dovecot::{self, Dovecot};
use interop::imap::Client;
use interop::node::{Node, Setup, built};
use interop::place::Place;
use interop::process::{program, run, run_with_input, said};

const BOB: &str = "bob@red.test";
const LIMIT: Duration = Duration::from_secs(240);

/// Runs a command of a node's operator.
fn operate(place: &Place, arguments: &[&str], input: &str) -> Output {
    let mut command = Command::new(built());
    command
        .args(arguments)
        .arg("--config")
        .arg(place.path("node-1/pennyblack.toml"));
    run_with_input(&mut command, input.as_bytes(), LIMIT)
}

fn ok(place: &Place, arguments: &[&str]) -> String {
    let output = operate(place, arguments, "");
    assert!(output.status.success(), "{arguments:?}: {}", said(&output));
    String::from_utf8(output.stdout).unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    let mut entries: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            files(&path, found);
        } else {
            found.push(path);
        }
    }
}

/// The letters of an export as `.eml`, by folder, in order.
fn letters(folder: &Path) -> BTreeMap<PathBuf, Vec<Vec<u8>>> {
    let mut all = Vec::new();
    files(folder, &mut all);
    let mut letters: BTreeMap<PathBuf, Vec<Vec<u8>>> = BTreeMap::new();
    for path in all {
        if path.extension().is_some_and(|extension| extension == "eml") {
            let of = path.parent().unwrap().strip_prefix(folder).unwrap();
            letters
                .entry(of.to_owned())
                .or_default()
                .push(fs::read(&path).unwrap());
        }
    }
    letters
}

/// What an import makes of a file's line ends.
fn as_stored(bytes: &[u8]) -> Vec<u8> {
    if bytes.windows(2).any(|pair| pair == b"\r\n") {
        return bytes.to_vec();
    }
    let lines: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').collect();
    lines.join(&b"\r\n"[..])
}

/// Real and hostile letters of others: in as a folder, out and in again in each format.
#[test]
fn letters_of_others_stay_what_they_are() {
    let place = Place::new();
    let accounts = ["bob", "mbox", "maildir", "zip", "eml"];
    let _node = Node::start(&place, &Setup::new(1, "red.test"), &accounts);
    let source = place.path("source/mixed");
    fs::create_dir_all(&source).unwrap();
    let mut expected = Vec::new();
    for (number, bytes) in corpus::any(&place.path("corpus"), 1_500)
        .into_iter()
        .enumerate()
    {
        fs::write(source.join(format!("{number:05}.eml")), &bytes).unwrap();
        expected.push(as_stored(&bytes));
    }
    assert!(expected.len() > 800, "{} letters", expected.len());
    ok(&place, &["import", BOB, text(&place.path("source"))]);
    let first = place.path("first");
    ok(&place, &["export", BOB, text(&first), "--format", "eml"]);
    let stored = letters(&first);
    let mixed = &stored[Path::new("mixed")];
    assert_eq!(mixed.len(), expected.len());
    for (number, (found, expected)) in mixed.iter().zip(&expected).enumerate() {
        assert!(
            found == expected,
            "{}",
            source.join(format!("{number:05}.eml")).display()
        );
    }
    for format in ["eml", "mbox", "maildir", "zip"] {
        let account = format!("{format}@red.test");
        let written = place.path(&format!("written-{format}"));
        ok(&place, &["export", BOB, text(&written), "--format", format]);
        ok(&place, &["import", &account, text(&written)]);
        let back = place.path(&format!("back-{format}"));
        ok(
            &place,
            &["export", &account, text(&back), "--format", "eml"],
        );
        assert!(letters(&back) == stored, "{format}");
    }
}

/// A Maildir of Dovecot's and an mbox that Python wrote are what they say.
#[test]
fn files_of_other_programs() {
    let place = Place::new();
    let _node = Node::start(&place, &Setup::new(1, "red.test"), &["bob"]);
    let script = place.write(
        "make.py",
        "import mailbox, sys\n\
         box = mailbox.mbox(sys.argv[1])\n\
         for n in range(3):\n\
         \x20   m = mailbox.mboxMessage(f'From: a@b.test\\nSubject: {n}\\n\\nFrom here\\nend\\n')\n\
         \x20   m.set_flags('RO' if n else '')\n\
         \x20   box.add(m)\n\
         box.flush()\n\
         box = mailbox.Maildir(sys.argv[2])\n\
         for folder in (box, box.add_folder('Work.2026')):\n\
         \x20   m = mailbox.MaildirMessage('From: a@b.test\\nSubject: m\\n\\nx\\n')\n\
         \x20   m.set_subdir('cur')\n\
         \x20   m.set_flags('FS')\n\
         \x20   folder.add(m)\n\
         \x20   folder.add('Subject: new\\n\\nx\\n')\n",
    );
    let (mbox, maildir) = (place.path("saved.mbox"), place.path("maildir"));
    let mut python = Command::new(program("python3"));
    python.arg(script).args([&mbox, &maildir]);
    let output = run(&mut python, LIMIT);
    assert!(output.status.success(), "{}", said(&output));
    ok(&place, &["import", BOB, text(&mbox)]);
    ok(&place, &["import", BOB, text(&maildir), "--mailbox", "Old"]);
    let out = place.path("out");
    ok(&place, &["export", BOB, text(&out), "--format", "eml"]);
    let found = letters(&out);
    let saved = &found[Path::new("saved")];
    assert_eq!(saved.len(), 3);
    assert_eq!(
        saved[1],
        b"From: a@b.test\r\nSubject: 1\r\n\r\nFrom here\r\nend\r\n"
    );
    assert_eq!(found[Path::new("Old")].len(), 2);
    assert_eq!(found[Path::new("Old/Work/2026")].len(), 2);
    // Python reads what we write: the letters and their flags.
    let written = place.path("written");
    ok(
        &place,
        &[
            "export",
            BOB,
            text(&written),
            "--format",
            "mbox",
            "--mailbox",
            "saved",
        ],
    );
    let reader = "import mailbox, sys\n\
        for m in mailbox.mbox(sys.argv[1]):\n\
        \x20   print(m['subject'], m.get_flags(), len(m.get_payload().splitlines()))\n";
    let script = place.write("read.py", reader);
    let mut python = Command::new(program("python3"));
    python.arg(script).arg(written.join("saved.mbox"));
    let output = run(&mut python, LIMIT);
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        "0 O 2\n1 RO 2\n2 RO 2\n"
    );
}

/// Fills folders of a Dovecot.
fn fill(at: SocketAddr) {
    let mut client = Client::log_in(at, "carol", dovecot::PASSWORD).unwrap();
    for folder in [
        "Sent",
        "Work",
        "Work/2026",
        "\"Entw&APw-rfe &- more\"",
        "Empty",
    ] {
        client.command(&format!("CREATE {folder}")).unwrap();
    }
    client.command("SUBSCRIBE Work").unwrap();
    for number in 0..550 {
        let letter = format!("Subject: {number}\r\n\r\nletter {number}\r\n");
        // Each at its own moment, in a zone of its own.
        let inbox = format!("INBOX \"01-Feb-2019 03:04:{:02} +0130\"", number % 60);
        client.append(&inbox, letter.as_bytes()).unwrap();
    }
    client
        .append("Work/2026", b"Subject: deep\r\n\r\n.\r\n\xff\r\n")
        .unwrap();
    client
        .append("Sent", b"Subject: sent\r\n\r\nx\r\n")
        .unwrap();
    client.append("\"Entw&APw-rfe &- more\"", &large()).unwrap();
    client.command("SELECT INBOX").unwrap();
    client
        .command("STORE 3 FLAGS (\\Seen \\Flagged work $Forwarded)")
        .unwrap();
    client.command("STORE 4 FLAGS (\\Deleted)").unwrap();
    client.command("STORE 5 FLAGS (\\Deleted)").unwrap();
    client.command("UID EXPUNGE 5").unwrap();
}

fn large() -> Vec<u8> {
    let mut letter = b"Subject: large\r\n\r\n".to_vec();
    for number in 0..200_000 {
        write!(letter, "line {number}\r\n").unwrap();
    }
    letter
}

fn pull(place: &Place, at: SocketAddr, more: &[&str]) -> Output {
    let (host, port) = (at.ip().to_string(), at.port().to_string());
    let mut arguments = vec![
        "import",
        "imap",
        BOB,
        "--host",
        &host,
        "--port",
        &port,
        "--user",
        "carol",
        "--tls",
        "none",
        "--password-stdin",
    ];
    arguments.extend(more);
    operate(place, &arguments, &format!("{}\n", dovecot::PASSWORD))
}

/// All folders of a real server with flags and dates; what comes later is pulled later.
#[test]
fn folders_of_dovecot() {
    let place = Place::new();
    let node = Node::start(&place, &Setup::new(1, "red.test"), &["bob"]);
    let dovecot = Dovecot::start(&place, place.at(2, 1143));
    fill(dovecot.imap);
    let output = pull(&place, dovecot.imap, &[]);
    let said_text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        said_text.contains("552 letters imported"),
        "{}",
        said(&output)
    );
    let out = place.path("out");
    ok(&place, &["export", BOB, text(&out), "--format", "eml"]);
    let found = letters(&out);
    let inbox = &found[Path::new("INBOX")];
    assert_eq!(inbox.len(), 549);
    assert_eq!(inbox[0], b"Subject: 0\r\n\r\nletter 0\r\n");
    assert_eq!(inbox[548], b"Subject: 549\r\n\r\nletter 549\r\n");
    assert_eq!(
        found[Path::new("Work/2026")][0],
        b"Subject: deep\r\n\r\n.\r\n\xff\r\n"
    );
    assert_eq!(found[Path::new("Sent")].len(), 1);
    assert!(found[Path::new("Entw\u{fc}rfe & more")][0] == large());
    assert!(out.join("Empty").is_dir());
    let list = fs::read_to_string(out.join("INBOX/letters.jsonl")).unwrap();
    let line = list.lines().nth(3).unwrap();
    for word in ["\"$flagged\"", "\"$forwarded\"", "\"$seen\"", "\"work\""] {
        assert!(line.contains(word), "{line}");
    }
    assert!(list.lines().nth(4).unwrap().contains("\"deleted\":true"));

    let mut client = Client::log_in(dovecot.imap, "carol", dovecot::PASSWORD).unwrap();
    let before: Vec<String> = dates(&mut client);
    let stored = dates(
        &mut Client::log_in(
            node.at(interop::node::port::IMAP),
            BOB,
            interop::node::PASSWORD,
        )
        .unwrap(),
    );
    assert_eq!(stored, before, "dates");
    what_comes_later(&place, &dovecot, &mut client);
    assert!(ok(&place, &["verify"]).contains("consistent"));
}

/// Only new letters are pulled again; a wrong password and a folder made anew are told.
fn what_comes_later(place: &Place, dovecot: &Dovecot, client: &mut Client) {
    client
        .append("INBOX", b"Subject: later\r\n\r\nx\r\n")
        .unwrap();
    let output = pull(place, dovecot.imap, &["--json"]);
    let said_text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said_text.contains("\"letters\":1"), "{}", said(&output));

    let wrong = operate(
        place,
        &[
            "import",
            "imap",
            BOB,
            "--host",
            &dovecot.imap.ip().to_string(),
            "--port",
            "1143",
            "--tls",
            "none",
            "--password-stdin",
        ],
        "wrong\n",
    );
    assert_eq!(wrong.status.code(), Some(1), "{}", said(&wrong));
    client.command("DELETE Work/2026").unwrap();
    client.command("CREATE Work/2026").unwrap();
    let output = pull(place, dovecot.imap, &["--folder", "Work/2026"]);
    assert_eq!(output.status.code(), Some(6), "{}", said(&output));
    assert!(said(&output).contains("UIDVALIDITY"), "{}", said(&output));
}

/// The dates of some letters; both servers name them in UTC here.
fn dates(client: &mut Client) -> Vec<String> {
    client.command("EXAMINE INBOX").unwrap();
    let answers = client.command("FETCH 1:9 INTERNALDATE").unwrap();
    let date = |text: &str| {
        // A day of one digit has a space or a zero before it (RFC 9051 §9, date-day-fixed).
        let date = text.split('"').nth(1)?;
        Some(date.trim_start_matches([' ', '0']).to_owned())
    };
    answers
        .iter()
        .filter_map(|answer| date(&answer.text))
        .collect()
}

/// A way to a server that breaks after so many bytes of answers, again and again.
fn breaking(to: SocketAddr, at: SocketAddr, bytes: u64) -> Arc<AtomicU64> {
    let listener = TcpListener::bind(at).unwrap();
    let broken = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&broken);
    std::thread::spawn(move || {
        for near in listener.incoming().map_while(Result::ok) {
            let far = TcpStream::connect(to).unwrap();
            let (mut near_reader, mut far_writer) =
                (near.try_clone().unwrap(), far.try_clone().unwrap());
            std::thread::spawn(move || std::io::copy(&mut near_reader, &mut far_writer));
            let count = Arc::clone(&count);
            std::thread::spawn(move || {
                let mut limited = std::io::Read::take(far.try_clone().unwrap(), bytes);
                if std::io::copy(&mut limited, &mut near.try_clone().unwrap()).unwrap_or(0) == bytes
                {
                    count.fetch_add(1, Ordering::Relaxed);
                }
                // Either end may be gone already.
                let _ = near.shutdown(Shutdown::Both);
                let _ = far.shutdown(Shutdown::Both);
            });
        }
    });
    broken
}

/// A connection that breaks in the middle of letters is made again; nothing is lost or doubled.
#[test]
fn a_connection_that_breaks() {
    let place = Place::new();
    let _node = Node::start(&place, &Setup::new(1, "red.test"), &["bob"]);
    let dovecot = Dovecot::start(&place, place.at(2, 1143));
    let mut client = Client::log_in(dovecot.imap, "carol", dovecot::PASSWORD).unwrap();
    let letter = |number: u32| format!("Subject: {number}\r\n\r\n{}", "x".repeat(20_000));
    for number in 0..100 {
        client.append("INBOX", letter(number).as_bytes()).unwrap();
    }
    let way = place.at(3, 1143);
    let broken = breaking(dovecot.imap, way, 1_100_000);
    let output = pull(&place, way, &[]);
    assert!(output.status.success(), "{}", said(&output));
    assert!(broken.load(Ordering::Relaxed) >= 1, "it never broke");
    let out = place.path("out");
    ok(&place, &["export", BOB, text(&out), "--format", "eml"]);
    let found = letters(&out);
    let expected: Vec<Vec<u8>> = (0..100).map(|number| letter(number).into_bytes()).collect();
    assert!(found[Path::new("INBOX")] == expected);
}
