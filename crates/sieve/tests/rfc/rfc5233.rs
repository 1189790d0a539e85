//! RFC 5233: sub-addresses.

use crate::support::{Scene, check, is};

#[test]
fn section_4_user_and_detail() {
    let scene =
        Scene::letter("To: \"A\" <ken+sieve@example.org>, joe@example.org, sam+@example.org\n\nx");
    assert!(scene.is("subaddress", "address :user \"to\" \"ken\""));
    assert!(scene.is("subaddress", "address :detail \"to\" \"sieve\""));
    assert!(scene.is("subaddress", "address :user \"to\" \"joe\""));
    assert!(
        scene.is("subaddress", "address :detail \"to\" \"\""),
        "an empty detail is one"
    );
    let none = Scene::letter("To: joe@example.org\n\nx");
    assert!(!none.is("subaddress", "address :detail :matches \"to\" \"*\""));
    assert!(is(
        "subaddress envelope",
        "envelope :detail \"to\" \"orders\""
    ));
    let mut scene = Scene::default();
    scene.user.detail_separator = Some('-');
    assert!(!scene.is(
        "subaddress envelope",
        "envelope :detail :contains \"to\" \"\""
    ));
}

#[test]
fn section_5_the_example() {
    let script = "require [\"envelope\", \"subaddress\", \"fileinto\"];\n\
        if envelope :detail \"to\" \"spam\" { discard; }\n\
        if envelope :user \"to\" \"bob\" { fileinto \"orders\"; }\n\
        if envelope :detail \"to\" \"mta-filters\" { fileinto \"inbox.ietf-mta-filters\"; }";
    check(script, "fileinto \"orders\"");
}
