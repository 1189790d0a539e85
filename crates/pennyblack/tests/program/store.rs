//! The store as a whole from the command line: its key, backups, what is refused.

use crate::support::{Folder, Talk};

/// The key of a running node is changed; lost, it is given up.
#[test]
fn the_key_of_the_store() {
    let folder = Folder::new();
    let password = "one penny";
    folder.ok_with_stdin(
        &["account", "add", "alice@me.test", "--password-stdin"],
        &format!("{password}\n"),
    );
    let file = folder.path().join("data/store.key");
    let first = std::fs::read_to_string(&file).unwrap();
    let node = folder.serve();
    let told = folder.ok(&["store", "key", "rotate", "--drop-old"]);
    let second = std::fs::read_to_string(&file).unwrap();
    assert_ne!(first, second);
    let id = second
        .lines()
        .find_map(|line| line.strip_prefix("key "))
        .unwrap();
    assert!(told.contains(id.split(' ').next().unwrap()), "{told}");
    node.stop();
    // Another key than that of the store.
    std::fs::write(&file, &first).unwrap();
    folder.fails(2, &["account", "list"], "store key forget");
    folder.fails(2, &["store", "key", "forget"], "--yes");
    folder.ok(&["store", "key", "forget", "--yes"]);
    let node = folder.serve();
    let mut imap = Talk::new(node.address("imap"));
    imap.expect("* OK");
    imap.say(&format!("a LOGIN alice@me.test \"{password}\""));
    imap.until("a OK");
    node.stop();
    std::fs::write(&file, "key 00 no\n").unwrap();
    folder.fails(2, &["account", "list"], "is damaged");
}

/// Backups of a running node and without one; what is refused says why.
#[test]
fn backups_on_the_command_line() {
    let folder = Folder::new();
    folder.ok(&["account", "add", "alice@me.test"]);
    let place = folder.path().join("backup");
    let backup = place.to_str().unwrap();
    let made = folder.ok(&["backup", backup]);
    assert!(made.contains("1 accounts, 0 messages"), "{made}");
    let node = folder.serve();
    let row = folder.json(&["backup", backup, "--keep", "1", "--json"]);
    assert_eq!(row["accounts"], 1);
    assert_eq!(row["removed"].as_array().unwrap().len(), 1);
    let rows = folder.json(&["backup", "list", backup, "--json"]);
    assert_eq!(rows.as_array().unwrap().len(), 1);
    assert_eq!(rows[0]["id"], row["id"]);
    folder.fails(5, &["restore", backup], "in use");
    node.stop();
    folder.fails(2, &["restore", backup], "the store has data already");
    folder.fails(
        3,
        &["restore", backup, "--at", "1999-01-01"],
        "no such restore point",
    );
    let data = folder.path().join("data");
    folder.fails(
        2,
        &["backup", "list", data.to_str().unwrap()],
        "is no backup",
    );
    folder.fails(
        2,
        &["backup", data.to_str().unwrap()],
        "choose an empty folder",
    );
    folder.fails(2, &["backup"], "Usage");
    assert_eq!(
        folder.ok(&["verify", "--deep"]).trim(),
        "the store is consistent"
    );
    assert_eq!(folder.ok(&["verify", "--json"]).trim(), "[]");
    folder.fails(2, &["verify", "--repair"], "--yes");
}
