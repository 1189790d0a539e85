//! RFC 5463: what the engine has.

use crate::support::{check, errors};

#[test]
fn section_4_ihave() {
    let script = "require [\"ihave\"]; if ihave \"x-none\" { x_command :x 5; } else { discard; }";
    check(script, "discard");
    check(
        "require \"ihave\"; if ihave [\"fileinto\", \"copy\"] { fileinto :copy \"A\"; }",
        "fileinto \"A\"; implicit keep",
    );
    check(
        "require \"ihave\"; if ihave [\"fileinto\", \"x-none\"] { discard; }",
        "implicit keep",
    );
    check(
        "require \"ihave\"; if not ihave \"editheader\" { discard; }",
        "implicit keep",
    );
}

#[test]
fn section_4_unknown_parts_are_errors_when_they_are_run() {
    check(
        "require \"ihave\";\nx_command;",
        "implicit keep; error: line 2: there is no command `x_command`",
    );
    check(
        "require \"ihave\"; if x_test \"a\" { discard; }",
        "implicit keep; error: line 1: there is no test `x_test`",
    );
    check(
        "require \"ihave\"; if allof(false, x_test) { discard; }",
        "implicit keep",
    );
    check("require \"ihave\"; if false { keep :x; }", "implicit keep");
    assert_eq!(
        errors("require \"ihave\"; if header 5 {}"),
        "line 1, column 21: `header` lacks an argument: keys"
    );
}

#[test]
fn section_5_error() {
    check(
        "require [\"ihave\", \"fileinto\"]; fileinto \"A\";\nerror \"it went wrong\";",
        "implicit keep; error: line 2: it went wrong",
    );
}
