//! RFC 5229: variables.

use crate::support::{Scene, check, errors, is};

/// The value of `${x}` after these commands, as the name of a mailbox.
fn value(commands: &str) -> String {
    let script =
        format!("require [\"variables\", \"fileinto\"];\n{commands}\nfileinto \"=${{x}}\";");
    Scene::default().run(&script)
}

#[test]
fn section_3_references() {
    let company = "set \"company\" \"ACME\"; ";
    let x = |text: &str| value(&format!("{company}set \"x\" \"{text}\";"));
    assert_eq!(x("${}"), "fileinto \"=${}\"");
    assert_eq!(
        x("${President, ${Company} Inc.}"),
        "fileinto \"=${President, ACME Inc.}\""
    );
    assert_eq!(x("${company"), "fileinto \"=${company\"");
    assert_eq!(x("${${company}}"), "fileinto \"=${ACME}\"");
    assert_eq!(x("&%${}!"), "fileinto \"=&%${}!\"");
    assert_eq!(x("${doh!}"), "fileinto \"=${doh!}\"");
    assert_eq!(x("${none}"), "fileinto \"=\"");
    assert_eq!(x("${COMPANY}${_1}"), "fileinto \"=ACME\"");
    check(
        "require \"fileinto\"; fileinto \"${a}\";",
        "fileinto \"${a}\"",
    );
    assert_eq!(
        errors("require \"variables\"; if header \"a\" \"${a.b}\" {}"),
        "line 1, column 36: there is no namespace of variables for `${a.b}`"
    );
    assert_eq!(
        errors("require \"variables\"; if header \"a\" \"${32}\" {}"),
        "line 1, column 36: match variables end at ${31}"
    );
}

#[test]
fn section_3_1_numbers_and_quoting() {
    assert_eq!(
        value("set \"x\" \"regarding ${y}\";"),
        "fileinto \"=regarding \""
    );
    assert_eq!(
        value("set \"y\" \"a\"; set \"x\" \"\\${y}\";"),
        "fileinto \"=a\""
    );
    assert_eq!(
        value("set \"y\" \"${z}\"; set \"z\" \"b\"; set \"x\" \"${y}\";"),
        "fileinto \"=\""
    );
}

#[test]
fn section_3_2_match_variables() {
    let scene = Scene::letter(
        "To: coyote@ACME.Example.COM\nSubject: [acme-users] [fwd] version 1.0 is out\nList-ID: x\n\nx",
    );
    let script = |test: &str, name: &str| {
        format!("require [\"fileinto\", \"variables\"]; if {test} {{ fileinto \"{name}\"; }}")
    };
    scene.check(
        &script("header :matches \"Subject\" \"[*] *\"", "INBOX.lists.${1}"),
        "fileinto \"INBOX.lists.acme-users\"",
    );
    scene.check(
        &script("header :matches \"Subject\" \"[*] *\"", "${2}${3}"),
        "fileinto \"[fwd] version 1.0 is out\"",
    );
    scene.check(
        &script(
            "address :matches [\"To\", \"Cc\"] [\"coyote@**.com\", \"wile@**.com\"]",
            "${0},${1},${2},${3}",
        ),
        "fileinto \"coyote@ACME.Example.COM,,ACME.Example,\"",
    );
    // A match that fails leaves the values.
    let kept = "require [\"fileinto\", \"variables\"]; if header :matches \"subject\" \"[*]*\" {}\n\
        if header :matches \"subject\" \"<*>\" {} if header \"list-id\" \"x\" {} fileinto \"${1}\";";
    scene.check(kept, "fileinto \"acme-users\"");
    // From left to right, and no further than needed.
    let order = "require [\"fileinto\", \"variables\"]; if anyof(header :matches \"list-id\" \"*\", \
        header :matches \"subject\" \"*\") { fileinto \"${1}\"; }";
    scene.check(order, "fileinto \"x\"");
}

#[test]
fn section_4_set() {
    assert_eq!(
        value("set \"X\" \"a\"; set \"x\" \"${X}b\";"),
        "fileinto \"=ab\""
    );
    assert_eq!(
        errors("require \"variables\"; set \"a b\" \"c\";"),
        "line 1, column 26: `a b` is no name of a variable"
    );
    assert_eq!(
        errors("require \"variables\"; set \"${a}\" \"c\";"),
        "line 1, column 26: no variable may stand here"
    );
    assert_eq!(
        errors("require \"variables\"; set \"1\" \"c\";"),
        "line 1, column 26: `1` is no name of a variable"
    );
    let long = "a".repeat(65);
    assert_eq!(
        errors(&format!("require \"variables\"; set \"{long}\" \"c\";")),
        "line 1, column 26: names of variables may have 64 characters"
    );
    assert_eq!(
        errors(&format!(
            "require \"variables\"; set \"{}\" \"c\";",
            &long[1..]
        )),
        "none"
    );
}

#[test]
fn section_4_1_modifiers() {
    let x = |set: &str| value(&format!("set \"a\" \"juMBlEd lETteRS\"; {set}"));
    assert_eq!(x("set :length \"x\" \"${a}\";"), "fileinto \"=15\"");
    assert_eq!(
        x("set :lower \"x\" \"${a}\";"),
        "fileinto \"=jumbled letters\""
    );
    assert_eq!(
        x("set :upperfirst \"x\" \"${a}\";"),
        "fileinto \"=JuMBlEd lETteRS\""
    );
    assert_eq!(
        x("set :upperfirst :lower \"x\" \"${a}\";"),
        "fileinto \"=Jumbled letters\""
    );
    assert_eq!(
        x("set :quotewildcard \"x\" \"Rock*\";"),
        "fileinto \"=Rock\\\\*\""
    );
    assert_eq!(
        errors("require \"variables\"; set :lower :upper \"a\" \"b\";"),
        "line 1, column 33: `:lower` and `:upper` cannot stand together"
    );
}

#[test]
fn section_5_string() {
    let is = |test: &str| is("variables relational comparator-i;ascii-numeric", test);
    assert!(is("string [\"a\", \"b\"] \"B\""));
    assert!(is("string \"${none}\" \"\""));
    assert!(is(
        "string :count \"eq\" :comparator \"i;ascii-numeric\" [\"a\", \"\", \"b\"] \"2\""
    ));
    let script = "require [\"variables\", \"fileinto\"];\nset \"state\" \"${state} pending\";\n\
        if string :matches \" ${state} \" \"* pending *\" { fileinto \"yes\"; }";
    check(script, "fileinto \"yes\"");
}
