//! RFC 5293: editing the header.

use pennyblack_sieve::edited;

use crate::support::{Scene, check, errors};

/// The letter as the first action gets it.
fn letter(scene: &Scene, script: &str) -> String {
    let script =
        format!("require [\"editheader\", \"fileinto\", \"variables\", \"index\"];\n{script}");
    let outcome = scene.outcome(&script).0;
    assert_eq!(outcome.error, None);
    let bytes = edited(&scene.letter, &outcome.edits[..outcome.actions[0].edits]);
    String::from_utf8(bytes.into_owned())
        .unwrap()
        .replace("\r\n", "\n")
}

fn small() -> Scene {
    Scene::letter("A: 1\nX: a\nX: b\nX: c\nReceived: here\nAuto-Submitted: no\n\nbody\n")
}

#[test]
fn section_4_addheader() {
    let rest = "A: 1\nX: a\nX: b\nX: c\nReceived: here\nAuto-Submitted: no\n";
    assert_eq!(
        letter(
            &small(),
            "addheader \"X-Sieve-Filtered\" \"<kim@job.example.com>\";"
        ),
        format!("X-Sieve-Filtered: <kim@job.example.com>\n{rest}\nbody\n")
    );
    assert_eq!(
        letter(&small(), "addheader :last \"N\" \"é\";"),
        format!("{rest}N: =?utf-8?b?w6k=?=\n\nbody\n")
    );
    assert_eq!(
        letter(&small(), "addheader \"N\" \"a\\r\\n\\r\\nb  c \";")
            .lines()
            .next(),
        Some("N: arnrnb c")
    );
    // Later tests see it.
    check(
        "require \"editheader\"; addheader \"N\" \"x\"; if header \"n\" \"X\" { discard; }",
        "discard",
    );
    assert_eq!(
        errors("require \"editheader\"; addheader \"a:b\" \"x\";"),
        "line 1, column 33: \"a:b\" is no name of a header field"
    );
    let script =
        "require [\"editheader\", \"variables\"]; set \"n\" \"a b\"; addheader \"${n}\" \"x\";";
    check(
        script,
        "implicit keep; error: line 1: \"a b\" is no name of a header field",
    );
}

#[test]
fn section_5_deleteheader() {
    let fields = |script: &str| {
        let text = letter(&small(), script);
        text.split("\n\n")
            .next()
            .unwrap()
            .replace("\nReceived: here\nAuto-Submitted: no", "")
    };
    assert_eq!(fields("deleteheader \"x\";"), "A: 1");
    assert_eq!(fields("deleteheader :index 2 \"X\";"), "A: 1\nX: a\nX: c");
    assert_eq!(
        fields("deleteheader :index 1 :last \"X\";"),
        "A: 1\nX: a\nX: b"
    );
    assert_eq!(
        fields("deleteheader :contains \"X\" [\"a\", \"c\"];"),
        "A: 1\nX: b"
    );
    assert_eq!(
        fields("deleteheader :index 1 \"X\" \"b\";"),
        "A: 1\nX: a\nX: b\nX: c",
        "the index comes before the value"
    );
    assert_eq!(fields("deleteheader \"none\";"), "A: 1\nX: a\nX: b\nX: c");
    assert_eq!(
        fields("deleteheader :index 1 \"X\"; deleteheader :index 1 \"X\";"),
        "A: 1\nX: c"
    );
    assert_eq!(
        fields("deleteheader \"x\"; addheader :last \"X\" \"new\";")
            .split('\n')
            .next(),
        Some("A: 1")
    );
}

#[test]
fn section_6_trace_fields_stay() {
    check(
        "require \"editheader\"; deleteheader \"Received\"; if exists \"received\" { discard; }",
        "discard; note: the field Received cannot be deleted",
    );
}

#[test]
fn section_3_actions_get_the_letter_as_it_is_then() {
    let scene = small();
    let outcome = scene.outcome("require [\"editheader\", \"fileinto\"]; fileinto \"A\"; addheader \"N\" \"1\"; fileinto \"B\"; addheader \"M\" \"2\"; keep;").0;
    let edits: Vec<usize> = outcome.actions.iter().map(|action| action.edits).collect();
    assert_eq!(edits, [0, 1, 2]);
}
