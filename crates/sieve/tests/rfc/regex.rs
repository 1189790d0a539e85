//! draft-ietf-sieve-regex: regular expressions.

use crate::support::{Scene, check, errors, is};

#[test]
fn section_5_match_type() {
    assert!(is("regex", "header :regex \"subject\" \"^the .*friday$\""));
    assert!(!is(
        "regex",
        "header :regex :comparator \"i;octet\" \"subject\" \"^the\""
    ));
    assert!(is(
        "regex",
        "address :regex :comparator \"i;ascii-casemap\" \"from\" \"^[[:alpha:]]+\\\\+home@\""
    ));
    assert!(is(
        "regex envelope",
        "envelope :localpart :regex \"to\" [\"x\", \"bo{1}b.*\"]"
    ));
    assert_eq!(
        errors("require \"regex\"; if header :regex \"a\" \"(b\" {}"),
        "line 1, column 39: this is no regular expression: unclosed group"
    );
}

#[test]
fn section_6_match_variables() {
    let script = "require [\"regex\", \"variables\", \"fileinto\"]; if header :regex \"subject\" \"(LUNCH|dinner) on (x)?([a-z]+)\" { fileinto \"${1}-${2}-${3}\"; }";
    check(script, "fileinto \"lunch--Friday\"");
}

#[test]
fn section_5_expressions_from_variables() {
    let scene = Scene::letter("Subject: a.b\nX: axb\n\nx");
    let script = |modifier: &str, field: &str| {
        format!(
            "require [\"regex\", \"variables\"]; if header :matches \"subject\" \"*\" {{ set {modifier} \"v\" \"${{1}}\"; }} if header :regex \"{field}\" \"^${{v}}$\" {{ discard; }}"
        )
    };
    scene.check(&script("", "x"), "discard");
    scene.check(&script(":quoteregex", "x"), "implicit keep");
    scene.check(&script(":quoteregex", "subject"), "discard");
    let wrong = "require [\"regex\", \"variables\"]; set \"v\" \"(\"; if header :regex \"subject\" \"${v}\" { discard; }";
    scene.check(
        wrong,
        "implicit keep; error: line 1: this is no regular expression: unclosed group",
    );
}

#[test]
fn no_expression_takes_long() {
    let value = "a".repeat(60_000);
    let scene = Scene::letter(&format!("Subject: {value}\n\nx"));
    for expression in [
        "(a*)*b",
        "(a|aa)+$b",
        "(a?){50}a{50}b",
        "^(([a-z])+.)+[A-Z]([a-z])+$x",
    ] {
        scene.check(
            &format!(
                "require \"regex\"; if header :regex \"subject\" \"{expression}\" {{ discard; }}"
            ),
            "implicit keep",
        );
    }
}
