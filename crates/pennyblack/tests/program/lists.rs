//! Addresses that belong to no account, and mailing lists, as operators meet them.

use serde_json::json;

use crate::support::Folder;

#[test]
fn groups_catch_alls_and_lists_by_command() {
    let folder = Folder::new();
    folder.ok(&["domain", "catch-all", "me.test", "a@far.test", "b@far.test"]);
    let domains = folder.json(&["domain", "list", "--json"]);
    assert_eq!(domains[0]["catch_all"], json!(["a@far.test", "b@far.test"]));
    folder.ok(&["domain", "catch-all", "me.test", "--none"]);
    folder.fails(
        3,
        &["domain", "catch-all", "me.test", "--none"],
        "no catch-all",
    );
    folder.fails(2, &["domain", "catch-all", "me.test"], "required");

    let add = ["group", "add", "team@me.test", "a@far.test", "b@far.test"];
    folder.ok(&[&add[..], &["--senders", "domain"]].concat());
    folder.ok(&["group", "remove", "team@me.test", "b@far.test"]);
    folder.ok(&["group", "senders", "team@me.test", "members"]);
    let groups = folder.json(&["group", "list", "--json"]);
    let team = json!({ "group": "team@me.test", "members": ["a@far.test"], "senders": "members" });
    assert_eq!(groups, json!([team]));
    folder.fails(4, &["alias", "add", "team@me.test", "a@far.test"], "exists");
    folder.ok(&["group", "remove", "team@me.test"]);

    let owner = ["--owner", "a@far.test"];
    folder.ok(&[
        &["list", "add", "dev@me.test", "--title", "Dev"],
        &owner[..],
    ]
    .concat());
    let bad = ["list", "add", "d+v@me.test"];
    folder.fails(2, &[&bad[..], &owner].concat(), "a list's name");
    let people = "# people\na@far.test\n\nb@far.test\n";
    folder.ok_with_stdin(&["list", "subscribe", "dev@me.test", "-"], people);
    let set = [
        "list",
        "set",
        "dev@me.test",
        "--posting",
        "owners",
        "--others",
        "hold",
    ];
    folder.ok(&[&set[..], &["--subject-tag", "dev", "--size", "5000"]].concat());
    folder.ok(&["list", "set", "dev@me.test", "--add-owner", "b@far.test"]);
    folder.ok(&["list", "pause", "dev@me.test", "b@far.test"]);
    let list = &folder.json(&["list", "show", "dev@me.test", "--json"])[0];
    for (name, expected) in [
        ("title", json!("Dev")),
        ("owners", json!(["a@far.test", "b@far.test"])),
        ("members", json!(2)),
        ("active", json!(1)),
        ("posting", json!("owners")),
        ("others", json!("hold")),
        ("subject_tag", json!("dev")),
        ("size", json!(5_000)),
    ] {
        assert_eq!(list[name], expected, "{name}");
    }
    let members = folder.json(&["list", "members", "dev@me.test", "--json"]);
    assert_eq!(members[1]["state"], "paused");
    folder.ok(&["list", "unsubscribe", "dev@me.test", "b@far.test"]);
    let gone = ["list", "unsubscribe", "dev@me.test", "b@far.test"];
    folder.fails(3, &gone, "nobody of them");
    assert_eq!(folder.json(&["list", "held", "--json"]), json!([]));
    folder.ok(&["list", "remove", "dev@me.test"]);
    folder.fails(3, &["list", "members", "dev@me.test"], "there is no list");
}
