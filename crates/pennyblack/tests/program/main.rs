//! The program as its users run it: the real binary, real sockets, real files.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod accounts;
mod alerts;
mod disk;
mod keys;
mod limits;
mod lists;
mod reports;
mod senders;
mod store;
mod support;
mod transfer;

use std::process::Command;
use std::time::{Duration, Instant};

use support::{Folder, Talk};

#[test]
fn a_letter_is_submitted_delivered_and_read() {
    let folder = Folder::new();
    folder.ok(&["account", "add", "bob@me.test", "--name", "Bob"]);
    let node = folder.serve();
    // Beside the running node, through its control socket.
    folder.ok_with_stdin(
        &["account", "add", "alice@me.test", "--password-stdin"],
        "pass word\n",
    );
    folder.ok_with_stdin(
        &["account", "password", "bob@me.test", "--password-stdin"],
        "b0b\n",
    );
    folder.ok(&["alias", "add", "info@me.test", "bob@me.test"]);

    node.submit(
        "alice@me.test",
        "pass word",
        "info@me.test",
        "Subject: Hello\r\n\r\nHello Bob\r\n",
    );
    let mut imap = Talk::new(node.address("imap"));
    imap.expect("* OK");
    imap.say("a LOGIN bob@me.test b0b");
    imap.until("a OK");
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        imap.say("b SELECT INBOX");
        if imap.until("b OK").contains("* 1 EXISTS") {
            break;
        }
        assert!(Instant::now() < deadline, "the letter did not arrive");
    }
    imap.say("c FETCH 1 BODY[TEXT]");
    assert!(imap.until("c OK").contains("Hello Bob"));
    imap.say("d LOGOUT");
    imap.until("d OK");

    let accounts = folder.json(&["account", "list", "--json"]);
    assert_eq!(accounts[1]["address"], "bob@me.test");
    assert_eq!(accounts[1]["messages"], 1);
    assert_eq!(
        folder
            .json(&["queue", "list", "--json"])
            .as_array()
            .unwrap()
            .len(),
        0
    );
    assert!(folder.ok(&["verify"]).contains("consistent"));
    assert!(node.http("/healthz").ends_with("ok\n"));
    assert!(
        node.http("/metrics")
            .contains("pennyblack_connections_total{protocol=\"imap\"} 1")
    );
    node.stop();
}

#[test]
fn the_queue_is_shown_and_worked_on() {
    let folder = Folder::new();
    folder.ok_with_stdin(
        &["account", "add", "alice@me.test", "--password-stdin"],
        "secret\n",
    );
    let node = folder.serve();
    // The DNS of the test does not answer, so this letter waits.
    node.submit(
        "alice@me.test",
        "secret",
        "x@elsewhere.test",
        "Subject: Wait\r\n\r\nwait\r\n",
    );
    let queued = folder.json(&["queue", "list", "--json"]);
    let letter = queued[0]["letter"].to_string();
    assert_eq!(queued[0]["from"], "alice@me.test");
    assert_eq!(queued[0]["recipients"][0]["address"], "x@elsewhere.test");
    assert!(
        folder
            .ok(&["queue", "show", &letter])
            .contains("x@elsewhere.test")
    );
    assert!(
        folder
            .ok(&["queue", "trace", &letter])
            .contains("submitted")
    );

    // A letter that is being worked on right now is not held before that ends.
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        folder.run(&["queue", "hold", &letter]);
        let state = &folder.json(&["queue", "list", "--json"])[0]["recipients"][0]["state"];
        if state == "held" {
            break;
        }
        assert!(Instant::now() < deadline, "still {state}");
        std::thread::sleep(Duration::from_millis(100));
    }
    folder.ok(&["queue", "release", "--domain", "elsewhere.test"]);
    folder.ok(&["queue", "hold", "--all"]);
    folder.ok(&["queue", "expedite", &letter]);
    let deadline = Instant::now() + Duration::from_secs(20);
    while !folder.run(&["queue", "drop", &letter]).status.success() {
        assert!(Instant::now() < deadline, "not dropped");
        std::thread::sleep(Duration::from_millis(100));
    }
    folder.fails(3, &["queue", "show", &letter], "not in the queue");
    node.stop();
}

#[test]
fn exit_codes_and_texts_of_mistakes() {
    let folder = Folder::new();
    folder.fails(
        2,
        &["account", "add", "nobody"],
        "there is no @ in the address",
    );
    folder.fails(
        3,
        &["account", "remove", "nobody@me.test"],
        "there is no account",
    );
    folder.fails(
        3,
        &["account", "add", "a@other.test"],
        "`pennyblack domain add other.test`",
    );
    folder.fails(
        3,
        &["alias", "add", "a@other.test", "b@other.test"],
        "the domain other.test is not ours",
    );
    folder.fails(3, &["queue", "trace", "12345"], "nothing is known");
    folder.fails(2, &["queue", "drop"], "required");
    folder.fails(2, &["no-such-command"], "unrecognized subcommand");
    folder.ok(&["domain", "add", "other.test"]);
    folder.ok(&["account", "add", "a@other.test", "--quota", "5 MB"]);
    folder.fails(4, &["account", "add", "a@other.test"], "exists");
    assert_eq!(
        folder.json(&["account", "list", "--json"])[0]["quota_bytes"],
        5 << 20
    );
    let used = folder.run(&["domain", "remove", "other.test"]);
    assert!(!used.status.success());
    folder.ok(&["account", "remove", "a@other.test", "--now"]);
    folder.ok(&["domain", "remove", "other.test"]);

    folder.write_settings("hostname = \"mx.me.test\"\ndata_dir = \"/proc/none\"\n");
    folder.fails(5, &["domain", "list"], "/proc/none: ");
    folder.write_settings("hostnmae = \"mx.me.test\"\n");
    folder.fails(
        2,
        &["domain", "list"],
        "pennyblack.toml:1: there is no setting `hostnmae`",
    );
    folder.fails(2, &["serve"], "did you mean `hostname`?");
}

#[test]
fn two_nodes_never_share_a_folder_and_a_killed_one_leaves_no_lock() {
    let folder = Folder::new();
    let node = folder.serve();
    folder.fails(5, &["serve"], "in use");
    node.kill();
    // The socket of the dead node is still there.
    assert!(folder.ok(&["domain", "list"]).contains("me.test"));
    let started = Instant::now();
    let node = folder.serve();
    assert!(started.elapsed() < Duration::from_secs(5));
    assert!(folder.ok(&["domain", "list"]).contains("me.test"));
    node.stop();
}

#[test]
fn idle_sessions_end_with_a_word_when_the_node_stops() {
    let folder = Folder::new();
    let node = folder.serve();
    let mut smtp = Talk::new(node.address("submission"));
    smtp.expect("220 ");
    let mut imap = Talk::new(node.address("imap"));
    imap.expect("* OK");
    let started = Instant::now();
    node.stop();
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "{:?}",
        started.elapsed()
    );
    smtp.expect("421 ");
    imap.expect("* BYE");
}

#[test]
fn too_many_connections_hear_why() {
    let folder = Folder::new();
    folder.append_settings("\n[limits]\nconnections_per_address = 2\n");
    let node = folder.serve();
    let mut first = Talk::new(node.address("submission"));
    first.expect("220 ");
    let mut second = Talk::new(node.address("imap"));
    second.expect("* OK");
    Talk::new(node.address("submission")).expect("421 ");
    Talk::new(node.address("imap")).expect("* BYE [UNAVAILABLE] Too many connections");
    assert!(node.http("/healthz").starts_with("HTTP/1.1 503"));
    drop(first);
    drop(second);
    node.stop();
}

#[test]
fn the_demo_sends_a_letter_and_tells_its_journey() {
    let folder = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        let output = Command::new(env!("CARGO_BIN_EXE_pennyblack"))
            .args(["demo", "--send", "--dir"])
            .arg(folder.path())
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{text}\n{error}");
        let steps = [
            "submitted",
            "routed",
            "connected",
            "transferred",
            "received",
            "stored",
        ];
        for step in steps {
            assert!(text.contains(step), "no step {step} in\n{text}");
        }
        assert!(text.contains("TLSv1.3"), "{text}");
        assert!(text.contains("in Bob's mailbox after"), "{text}");
    }
}

#[test]
fn settings_are_printed_also_to_a_reader_that_goes_away() {
    let folder = Folder::new();
    assert!(folder.ok(&["settings"]).contains("limits.letter_size"));
    let binary = env!("CARGO_BIN_EXE_pennyblack");
    let output = Command::new("sh")
        .args(["-c", &format!("{binary} settings | head -n 1")])
        .output();
    let output = output.unwrap();
    assert!(output.status.success());
    assert!(
        output.stderr.is_empty(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn the_service_manager_hears_of_start_and_stop() {
    let folder = Folder::new();
    let path = folder.path().join("notify");
    let manager = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
    manager
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    let node = folder.serve_with(&[("NOTIFY_SOCKET", path.to_str().unwrap())]);
    let hear = || {
        let mut message = [0; 100];
        let length = manager.recv(&mut message).unwrap();
        String::from_utf8(message[..length].to_vec()).unwrap()
    };
    assert_eq!(hear().trim(), "READY=1");
    node.stop();
    assert_eq!(hear().trim(), "STOPPING=1");
}

#[test]
fn the_certificate_is_read_again_on_sighup() {
    let folder = Folder::new();
    folder.append_settings(
        "[[listen]]\nprotocol = \"imap\"\naddress = \"127.0.0.1:0\"\ntls = \"implicit\"\n",
    );
    let node = folder.serve();
    let data = folder.path().join("data");
    let files = [
        data.join("self-signed.crt.pem"),
        data.join("self-signed.key.pem"),
    ];
    let before = std::fs::read(&files[0]).unwrap();
    for file in &files {
        std::fs::remove_file(file).unwrap();
    }
    node.hang_up();
    let deadline = Instant::now() + Duration::from_secs(10);
    while !files[0].exists() {
        assert!(Instant::now() < deadline, "no new certificate");
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_ne!(std::fs::read(&files[0]).unwrap(), before);
    node.stop();
}

#[test]
fn a_node_out_of_file_descriptors_goes_on_when_some_are_free() {
    let folder = Folder::new();
    folder.append_settings("\n[limits]\nconnections_per_address = 1000\n");
    let node = folder.serve_with_files(64);
    let address = node.address("imap");
    let crowd: Vec<_> = (0..100)
        .map(|_| std::net::TcpStream::connect(address).unwrap())
        .collect();
    std::thread::sleep(Duration::from_millis(300));
    drop(crowd);
    Talk::new(address).expect("* OK");
    let metrics = node.http("/metrics");
    let pauses = metrics
        .lines()
        .find_map(|l| l.strip_prefix("pennyblack_accept_pauses_total "));
    assert!(pauses.unwrap().parse::<u64>().unwrap() > 0, "{pauses:?}");
    node.stop();
}

#[test]
fn the_control_socket_is_private_and_answers_nonsense_politely() {
    use std::io::{Read as _, Write as _};
    use std::os::unix::fs::PermissionsExt as _;
    let folder = Folder::new();
    let node = folder.serve();
    let socket = folder.path().join("data/control.sock");
    let mode = std::fs::metadata(&socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let long = format!("\"{}\"\n", "x".repeat(17 << 20));
    for nonsense in [
        "hello\n",
        "{\"command\":\"format-disk\"}\n",
        "[]",
        long.as_str(),
    ] {
        let mut stream = std::os::unix::net::UnixStream::connect(&socket).unwrap();
        // The node may have answered and closed before a long line is written whole.
        let _ = stream.write_all(nonsense.as_bytes());
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer);
        assert!(
            answer.contains("not understood") || nonsense.len() > 16 << 20,
            "{answer}"
        );
    }
    assert!(folder.ok(&["domain", "list"]).contains("me.test"));
    node.stop();
    assert!(!socket.exists());
}

/// A data folder that others may enter, as a package may have made it, holds nothing that they may
/// read.
#[test]
fn what_a_node_makes_is_for_its_owner_only() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = Folder::new();
    let data = folder.path().join("data");
    std::fs::create_dir(&data).unwrap();
    std::fs::set_permissions(&data, std::fs::Permissions::from_mode(0o755)).unwrap();
    folder.append_settings(
        "[[listen]]\nprotocol = \"imap\"\naddress = \"127.0.0.1:0\"\ntls = \"implicit\"\n",
    );
    let node = folder.serve();
    let mut names = Vec::new();
    for entry in std::fs::read_dir(&data).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        let mode = entry.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{name}: {mode:o}");
        names.push(name);
    }
    for name in ["mail.db", "lock", "control.sock", "self-signed.key.pem"] {
        assert!(names.iter().any(|n| n == name), "{name} of {names:?}");
    }
    node.stop();
}

#[test]
fn the_same_port_for_ipv4_and_ipv6() {
    let folder = Folder::new();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    for address in ["0.0.0.0", "[::]"] {
        folder.append_settings(&format!(
            "[[listen]]\nprotocol = \"smtp\"\naddress = \"{address}:{port}\"\n"
        ));
    }
    let node = folder.serve();
    for address in ["127.0.0.1", "[::1]"] {
        Talk::new(format!("{address}:{port}").parse().unwrap()).expect("220 ");
    }
    node.stop();
}
