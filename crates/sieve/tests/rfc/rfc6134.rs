//! RFC 6134: lists that are kept elsewhere.

use pennyblack_sieve::Question;

use crate::support::{Scene, check};

const BOOK: &str = ":addrbook:default";

fn world() -> Scene {
    Scene {
        yes: vec![
            Question::ListExists(BOOK.into()),
            Question::InList {
                list: BOOK.into(),
                value: "alice+home@red.test".into(),
            },
            Question::InList {
                list: "tag:example.com,2026:VIPs".into(),
                value: "red.test".into(),
            },
        ],
        ..Scene::default()
    }
}

#[test]
fn section_2_1_list_tests() {
    assert!(world().is("extlists", "address :list \"from\" \":addrbook:default\""));
    assert!(world().is(
        "extlists envelope",
        "envelope :list \"from\" [\"x\", \":addrbook:default\"]"
    ));
    assert!(world().is(
        "extlists",
        "address :domain :list \"from\" \"tag:example.com,2026:VIPs\""
    ));
    assert!(!world().is("extlists", "address :list \"to\" \":addrbook:default\""));
    assert!(!world().is("extlists", "header :list \"x-none\" \":addrbook:default\""));
}

#[test]
fn section_2_5_redirect_to_a_list() {
    check(
        "require [\"extlists\", \"copy\"]; redirect :copy :list \"tag:example.com,2026:friends\";",
        "redirect list tag:example.com,2026:friends; implicit keep",
    );
}

#[test]
fn section_2_7_valid_ext_list() {
    assert!(world().is("extlists", "valid_ext_list \":addrbook:default\""));
    assert!(!world().is("extlists", "valid_ext_list [\":addrbook:default\", \"x\"]"));
}
