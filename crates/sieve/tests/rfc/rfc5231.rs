//! RFC 5231: relational tests.

use crate::support::{Scene, errors};

fn letter() -> Scene {
    Scene::letter(
        "Received: a\nReceived: b\nReceived: c\nReceived: d\nReceived: e\nSubject: none\nX-Priority: 3\n\
         From: \"Brian Jones\" <bj@x.test>\nTo: a@x.test, b@x.test\nCc: c@x.test\n\nx",
    )
}

const NEEDS: &str = "relational comparator-i;ascii-numeric";

#[test]
fn section_4_1_value() {
    let is = |test: &str| letter().is(NEEDS, test);
    assert!(is(
        "header :value \"lt\" :comparator \"i;ascii-numeric\" [\"x-priority\"] [\"5\"]"
    ));
    assert!(!is(
        "header :value \"gt\" :comparator \"i;ascii-numeric\" [\"x-priority\"] [\"3\"]"
    ));
    assert!(is(
        "header :value \"ge\" :comparator \"i;ascii-numeric\" \"x-priority\" \"3\""
    ));
    assert!(is(
        "header :value \"le\" :comparator \"i;ascii-numeric\" \"x-priority\" \"3\""
    ));
    assert!(is(
        "header :value \"eq\" :comparator \"i;ascii-numeric\" \"x-priority\" \"03\""
    ));
    assert!(is(
        "header :value \"ne\" :comparator \"i;ascii-numeric\" \"x-priority\" \"30\""
    ));
    // In the alphabet "10" comes before "3".
    assert!(is("header :value \"gt\" \"x-priority\" \"10\""));
    assert!(!is("address :value \"gt\" :all [\"from\"] [\"M\"]"));
}

#[test]
fn section_4_2_and_6_count() {
    let is = |test: &str| letter().is(NEEDS, test);
    assert!(is(
        "header :count \"ge\" :comparator \"i;ascii-numeric\" [\"received\"] [\"3\"]"
    ));
    assert!(!is(
        "header :count \"ge\" :comparator \"i;ascii-numeric\" [\"received\"] [\"6\"]"
    ));
    assert!(is(
        "header :count \"ge\" :comparator \"i;ascii-numeric\" [\"received\", \"subject\"] [\"6\"]"
    ));
    assert!(is(
        "address :count \"gt\" :comparator \"i;ascii-numeric\" [\"to\", \"cc\"] [\"2\"]"
    ));
    assert!(!is(
        "address :count \"gt\" :comparator \"i;ascii-numeric\" [\"to\"] [\"2\"]"
    ));
    assert!(is(
        "header :count \"eq\" :comparator \"i;ascii-numeric\" \"x-none\" \"0\""
    ));
}

#[test]
fn section_4_wrong_relations() {
    assert_eq!(
        errors("require \"relational\"; if header :value \"over\" \"a\" \"b\" {}"),
        "line 1, column 33: \"gt\", \"ge\", \"lt\", \"le\", \"eq\" or \"ne\" must follow `:value`"
    );
    assert_eq!(
        errors("if header :count \"gt\" \"a\" \"b\" {}"),
        "line 1, column 11: `:count` needs `require \"relational\";` at the start of the script"
    );
}
