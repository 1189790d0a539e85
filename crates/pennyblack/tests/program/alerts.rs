//! The administrator is told of a disk that is nearly full; what else is told is in
//! `interop/tests/alerts.rs`.

use std::time::{Duration, Instant};

use crate::support::{Folder, Serving, Talk};

const LIMIT: Duration = Duration::from_secs(60);

#[test]
fn a_disk_that_is_nearly_full_is_told() {
    let folder = Folder::new();
    folder.append_settings(
        "[alerts]\ninterval = \"1 s\"\ndns = false\ndisk_percent = 60\n\
         [limits]\nfree_disk = \"1 MB\"\nfree_disk_percent = 5\n",
    );
    let node = folder.serve_on_small_disk(32);
    let command = "printf 'secret\\n' | \"$1\" --config \"$2\" \\
         account add root@me.test --admin --password-stdin";
    node.within(&folder, command);
    let listed = || node.within(&folder, "\"$1\" --config \"$2\" alerts list");
    node.within(&folder, "head -c 16000000 /dev/zero > \"$0\"/ballast");
    wait_for("the alert", &node, || {
        let letters = inbox(&node);
        letters.contains("Subject: [mx.me.test] wrong: disk") && letters.contains("Make room")
    });
    assert!(listed().contains("of the disk are free"), "{}", listed());
    assert!(node.http("/metrics").contains("alerts{kind=\"disk\"} 1"));
    node.within(&folder, "rm \"$0\"/ballast");
    wait_for("the end of it", &node, || {
        inbox(&node).contains("Subject: [mx.me.test] well again: disk")
    });
    assert_eq!(
        inbox(&node).matches("Subject: [mx.me.test] wrong").count(),
        1
    );
    assert!(!listed().contains("disk"), "{}", listed());
    node.stop();
}

fn wait_for(what: &str, node: &Serving, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !done() {
        assert!(
            Instant::now() < deadline,
            "{what} does not come: {}",
            node.log()
        );
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// All letters of the administrator.
fn inbox(node: &Serving) -> String {
    let mut imap = Talk::new(node.address("imap"));
    imap.expect("* OK");
    imap.say("a LOGIN root@me.test secret");
    imap.until("a OK");
    imap.say("x EXAMINE INBOX");
    imap.until("x OK");
    imap.say("y FETCH 1:* (BODY.PEEK[])");
    let letters = imap.literals("y OK");
    letters
        .iter()
        .map(|letter| String::from_utf8_lossy(letter))
        .collect()
}
