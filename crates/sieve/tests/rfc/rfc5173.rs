//! RFC 5173: tests of the body.

use crate::support::{Scene, check, is};

const PARTS: &str = "Content-Type: multipart/mixed; boundary=b\n\nThis is the prologue.\n--b\n\
    Content-Type: text/plain; charset=iso-8859-1\nContent-Transfer-Encoding: quoted-printable\n\nGr=FC=DFe\n--b\n\
    Content-Type: text/html\n\n<p>Make <b>mon</b>ey</p>\n--b\nContent-Type: application/octet-stream\n\
    Content-Transfer-Encoding: base64\n\nU0VDUkVU\n--b\nContent-Type: message/rfc822\n\nSubject: inner\n\ninner text\n--b--\nepilogue\n";

fn parts(test: &str) -> bool {
    Scene::letter(PARTS).is("body", test)
}

#[test]
fn section_5_1_raw() {
    assert!(is("body", "body :raw :contains \"MEET at noon\""));
    assert!(
        !is("body", "body :raw :contains \"Friday\""),
        "the header is no part of it"
    );
    assert!(parts("body :raw :contains \"Gr=FC\""));
    assert!(parts("body :raw :contains \"--b\""));
}

#[test]
fn section_5_2_content() {
    assert!(parts("body :content \"text\" :contains \"Grüße\""));
    assert!(!parts("body :content \"text\" :contains \"SECRET\""));
    assert!(parts(
        "body :content \"application/octet-stream\" \"SECRET\""
    ));
    assert!(parts("body :content [\"image\", \"\"] \"SECRET\""));
    assert!(parts("body :content \"multipart\" :contains \"prologue\""));
    assert!(parts("body :content \"multipart\" :contains \"epilogue\""));
    assert!(!parts("body :content \"multipart\" :contains \"inner\""));
    assert!(parts(
        "body :content \"message/rfc822\" :contains \"Subject: inner\""
    ));
    assert!(!parts(
        "body :content \"message/rfc822\" :contains \"inner text\""
    ));
    assert!(parts(
        "body :content \"text/plain\" :contains \"inner text\""
    ));
    assert!(!parts("body :content \"text/\" :contains \"\""));
    assert!(parts("body :content \"text/html\" :contains \"<b>mon\""));
}

#[test]
fn section_5_3_text() {
    assert!(
        parts("body :text :contains \"Make money\""),
        "without markup"
    );
    assert!(parts("body :contains \"GRüße\""));
    assert!(!parts("body :text :contains \"SECRET\""));
    assert!(is("body", "body :text :contains [\"missile\", \"noon\"]"));
}

#[test]
fn section_6_variables_keep_their_values() {
    let script = "require [\"body\", \"variables\", \"fileinto\"]; if header :matches \"subject\" \"The * *\" {}\n\
        if body :matches \"*noon*\" { fileinto \"${1}\"; }";
    check(script, "fileinto \"lunch\"");
}
