//! RFC 7352: duplicates.

use pennyblack_sieve::{Mark, Question};

use crate::support::{Scene, errors};

const DAY: u64 = 86_400;

fn run(test: &str, seen: &[(&str, u64)]) -> (String, Vec<Mark>) {
    let yes = seen.iter().map(|(key, seconds)| Question::Duplicate {
        key: (*key).to_owned(),
        seconds: *seconds,
    });
    let scene = Scene {
        yes: yes.collect(),
        ..Scene::default()
    };
    let script =
        format!("require [\"duplicate\", \"variables\", \"fileinto\"]; if {test} {{ discard; }}");
    let outcome = scene.outcome(&script).0;
    (crate::support::show(&outcome), outcome.marks)
}

fn mark(key: &str, seconds: u64) -> Mark {
    Mark {
        key: key.to_owned(),
        seconds,
    }
}

#[test]
fn section_3_by_message_id() {
    let key = "0:<1@red.test>";
    assert_eq!(
        run("duplicate", &[]),
        ("implicit keep".into(), vec![mark(key, 7 * DAY)])
    );
    assert_eq!(
        run("duplicate", &[(key, 7 * DAY)]),
        ("discard".into(), vec![]),
        "the old mark stays as it is"
    );
    assert_eq!(
        run("duplicate :last", &[(key, 7 * DAY)]).1,
        [mark(key, 7 * DAY)],
        "the mark is renewed"
    );
}

#[test]
fn section_3_1_header_and_uniqueid() {
    assert_eq!(
        run("duplicate :header \"subject\"", &[]).1,
        [mark("0:The lunch on Friday", 7 * DAY)]
    );
    assert_eq!(run("duplicate :header \"x-none\"", &[]).1, []);
    assert_eq!(
        run("duplicate :uniqueid \"a${1}b\" :handle \"h\"", &[]).1,
        [mark("1:hab", 7 * DAY)]
    );
    assert_eq!(
        errors("require \"duplicate\"; if duplicate :header \"a\" :uniqueid \"b\" {}"),
        "line 1, column 47: `:header` and `:uniqueid` cannot stand together"
    );
}

#[test]
fn section_3_2_seconds() {
    assert_eq!(run("duplicate :seconds 1800", &[]).1[0].seconds, 1_800);
    assert_eq!(
        run("duplicate :seconds 99999999999", &[]).1[0].seconds,
        7 * 13 * DAY
    );
}

#[test]
fn section_3_the_same_test_twice_gives_the_same() {
    let (shown, marks) = run("allof(not duplicate, not duplicate)", &[]);
    assert_eq!((shown.as_str(), marks.len()), ("discard", 1));
}

#[test]
fn section_3_3_an_error_marks_nothing() {
    let script = "require [\"duplicate\", \"ihave\"]; if not duplicate { error \"x\"; }";
    assert_eq!(Scene::default().outcome(script).0.marks, []);
}
