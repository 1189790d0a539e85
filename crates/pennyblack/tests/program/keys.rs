//! Keys that sign as our domains, by the command line.

use crate::support::Folder;

#[test]
fn keys_are_made_listed_changed_and_removed() {
    let folder = Folder::new();
    // A domain that is added has keys at once; one of the settings when a node runs.
    folder.ok(&["domain", "add", "other.test"]);
    let keys = folder.json(&["key", "list", "other.test", "--json"]);
    let shown = |row: &serde_json::Value| format!("{} {}", row["algorithm"], row["state"]);
    let keys = keys.as_array().unwrap();
    let mut kinds: Vec<String> = keys.iter().map(shown).collect();
    kinds.sort();
    assert_eq!(kinds, ["\"ed25519\" \"active\"", "\"rsa\" \"active\""]);
    assert!(keys.iter().all(|key| key.get("private_key").is_none()));
    folder.fails(3, &["key", "records", "me.test"], "has no keys");
    let serving = folder.serve();
    folder.ok(&["key", "generate", "me.test"]);
    let records = folder.ok(&["key", "records", "me.test"]);
    assert_eq!(records.lines().count(), 2, "{records}");
    for line in records.lines() {
        assert!(
            line.contains("._domainkey.me.test. IN TXT ( \"v=DKIM1; k="),
            "{line}"
        );
    }
    let new = folder.ok(&["key", "rotate", "me.test", "--algorithm", "ed25519"]);
    let selector = new.split('.').next().unwrap();
    assert!(
        selector.starts_with("ed-") && selector.ends_with('b'),
        "{new}"
    );
    let state = |selector: &str| {
        let keys = folder.json(&["key", "list", "me.test", "--json"]);
        let keys = keys.as_array().unwrap().clone();
        let found = keys.into_iter().find(|key| key["selector"] == selector);
        found.map(|key| key["state"].as_str().unwrap().to_owned())
    };
    assert_eq!(state(selector).as_deref(), Some("announced"));
    folder.ok(&["key", "activate", "me.test", selector]);
    assert_eq!(state(selector).as_deref(), Some("active"));
    let old = selector.trim_end_matches('b');
    assert_eq!(state(old).as_deref(), Some("retired"));
    folder.fails(3, &["key", "activate", "me.test", old], "no announced key");
    folder.ok(&["key", "remove", "me.test", old]);
    assert_eq!(state(old), None);
    folder.fails(3, &["key", "remove", "me.test", old], "DKIM key");
    folder.fails(3, &["key", "generate", "none.test"], "is not ours");
    folder.fails(2, &["dns", "check", "a b"], "is no domain");
    serving.stop();
}
