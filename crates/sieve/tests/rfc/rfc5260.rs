//! RFC 5260: dates and the index of fields.

use base::Timestamp;

use crate::support::{Scene, errors, is};

#[test]
fn section_4_date() {
    assert!(is("date", "date :originalzone \"date\" \"hour\" \"07\""));
    assert!(is("date", "date :zone \"-0500\" \"date\" \"hour\" \"01\""));
    assert!(is("date", "date \"date\" \"date\" \"2026-11-24\""));
    assert!(is(
        "date relational",
        "date :value \"ge\" :originalzone \"date\" \"hour\" \"07\""
    ));
    assert!(
        is("date", "date \"received\" \"time\" \"06:38:06\""),
        "what follows the semicolon"
    );
    assert!(!is("date", "date :matches \"x-none\" \"year\" \"*\""));
    assert!(
        !Scene::letter("Date: yesterday\n\nx").is("date", "date :matches \"date\" \"year\" \"*\"")
    );
    let mut scene = Scene::default();
    scene.user.offset_minutes = 90;
    assert!(
        scene.is("date", "date \"date\" \"zone\" \"+0130\""),
        "the user's zone when none is named"
    );
    assert!(scene.is("date", "date \"date\" \"hour\" \"08\""));
    assert!(is(
        "date relational comparator-i;ascii-numeric",
        "date :count \"eq\" :comparator \"i;ascii-numeric\" \"x-none\" \"year\" \"0\""
    ));
}

#[test]
fn section_5_currentdate() {
    assert!(is("date", "currentdate \"weekday\" \"2\""));
    assert!(is(
        "date",
        "currentdate :zone \"+0100\" \"iso8601\" \"2026-11-25T00:30:05+01:00\""
    ));
    assert!(is(
        "date relational",
        "allof(currentdate :value \"ge\" \"date\" \"2026-06-30\", currentdate :value \"lt\" \"date\" \"2027-01-01\")"
    ));
    // The example of the section.
    let script = "require [\"date\", \"relational\", \"fileinto\"];\n\
        if allof(header :is \"from\" \"boss@example.com\", date :value \"ge\" :originalzone \"date\" \"hour\" \"09\",\n\
        date :value \"lt\" :originalzone \"date\" \"hour\" \"17\") { fileinto \"urgent\"; }";
    let at = |hour: &str| {
        Scene::letter(&format!(
            "From: boss@example.com\nDate: Tue, 24 Nov 2026 {hour}:00:00 -0800\n\nx"
        ))
        .run(script)
    };
    assert_eq!(at("09"), "fileinto \"urgent\"");
    assert_eq!(at("17"), "implicit keep");
    let night = Scene {
        now: Timestamp(-1),
        ..Scene::default()
    };
    assert!(night.is("date", "currentdate \"julian\" \"40586\""));
}

#[test]
fn section_6_index() {
    let scene = Scene::letter(
        "X: a\nX: b\nX: c\nTo: a@x.test\nTo: b@x.test\nReceived: one; Tue, 24 Nov 2026 01:00:00 +0000\nReceived: two; Tue, 24 Nov 2026 02:00:00 +0000\n\nx",
    );
    assert!(scene.is("index", "header :index 2 \"x\" \"b\""));
    assert!(!scene.is("index", "header :index 2 \"x\" \"a\""));
    assert!(scene.is("index", "header :index 1 :last \"x\" \"c\""));
    assert!(!scene.is("index", "header :index 4 :matches \"x\" \"*\""));
    assert!(scene.is("index", "address :index 2 \"to\" \"b@x.test\""));
    assert!(scene.is("date index", "date :index 2 \"received\" \"hour\" \"02\""));
    assert_eq!(
        errors("require \"index\"; if header :index 0 \"x\" \"a\" {}"),
        "line 1, column 28: `:index` counts from 1"
    );
    assert_eq!(
        errors("require \"index\"; if header :last \"x\" \"a\" {}"),
        "line 1, column 28: `:last` needs `:index`"
    );
}

#[test]
fn wrong_parts_and_zones() {
    assert_eq!(
        errors("require \"date\"; if currentdate \"week\" \"1\" {}"),
        "line 1, column 32: this is no part of a date"
    );
    assert_eq!(
        errors("require \"date\"; if currentdate :zone \"CET\" \"hour\" \"1\" {}"),
        "line 1, column 32: a zone is written like \"+0100\""
    );
    assert_eq!(
        errors("require \"date\"; if currentdate :originalzone \"hour\" \"1\" {}"),
        "line 1, column 32: `currentdate` has no `:originalzone`"
    );
}
