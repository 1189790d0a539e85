//! The field as RFC 8601 has it in its examples, and as strangers may write it.

use expect_test::{Expect, expect};
use proptest::prelude::*;

use super::*;

fn check_read(value: &str, expected: &Expect) {
    let read = AuthResults::parse(value.as_bytes());
    expected.assert_eq(&read.map_or_else(|| "unreadable".to_owned(), |read| read.payload(true)));
}

/// RFC 8601 appendix B; RFC 6008 §4: `header.b` tells signatures of one domain apart.
#[test]
fn examples_of_the_rfc_are_read() {
    // RFC 8601 appendix B.
    check_read(" example.org 1; none", &expect!["example.org; none"]);
    check_read(
        "example.com;\r\n auth=pass (cram-md5) smtp.auth=sender@example.net;\r\n \
         spf=pass smtp.mailfrom=example.net",
        &expect![
            "example.com; auth=pass (cram-md5) smtp.auth=sender@example.net; spf=pass smtp.mailfrom=example.net"
        ],
    );
    check_read(
        "foo.example.net (foobar) 1 (baz);\r\n dkim (Because I like it) / 1 (One yay) = (wait for \
         it) fail\r\n policy (A dot can go here) . (like that) expired (this surprised me) = (as I \
         wasn't expecting it) 1362471462",
        &expect!["foo.example.net; dkim=fail policy.expired=1362471462"],
    );
    check_read(
        "example.com; dkim=pass reason=\"good; very \\\"good\\\"\" header.i=@mail.example.com \
         header.b=\"AbC/+=12\"",
        &expect![[
            r#"example.com; dkim=pass reason="good; very \"good\"" header.i=@mail.example.com header.b="AbC/+=12""#
        ]],
    );
}

#[test]
fn what_is_wrong_is_passed_over() {
    check_read("", &expect!["unreadable"]);
    check_read("mx.test/2; spf=pass", &expect!["unreadable"]);
    check_read("mx.test 2; spf=pass", &expect!["unreadable"]);
    check_read("(open comment mx.test; spf=pass", &expect!["unreadable"]);
    check_read(
        "mx.test; =pass; spf=pass smtp.mailfrom=\"a b\"@x.test; dkim=; iprev=fail x",
        &expect![[r#"mx.test; spf=pass smtp.mailfrom="a b@x.test""#]],
    );
    check_read("mx.test; spf=pass (open", &expect!["mx.test; none"]);
}

fn full() -> AuthResults {
    let mut iprev = MethodResult::new("iprev", "pass").with("policy", "iprev", Some("192.0.2.1"));
    iprev.comment = Some("mx.red.test".to_owned());
    let mut spf = MethodResult::new("spf", "fail").with("smtp", "mailfrom", Some("a@red.test"));
    spf.reason = Some("the record says \"-all\"".to_owned());
    AuthResults {
        server: "mx.black.test".to_owned(),
        results: vec![iprev, spf, MethodResult::new("dkim", "none")],
    }
}

#[test]
fn a_result_stands_on_its_line() {
    let field = String::from_utf8(full().field(false)).unwrap();
    expect![[r#"
        Authentication-Results: mx.black.test;
        	iprev=pass (mx.red.test) policy.iprev=192.0.2.1;
        	spf=fail reason="the record says \"-all\"" smtp.mailfrom=a@red.test;
        	dkim=none
    "#]]
    .assert_eq(&field.replace("\r\n", "\n"));
    let nothing = AuthResults {
        server: "mx.black.test".to_owned(),
        results: Vec::new(),
    };
    assert_eq!(
        nothing.field(false),
        b"Authentication-Results: mx.black.test;\r\n\tnone\r\n"
    );
}

#[test]
fn strangers_values_cannot_leave_their_place() {
    let evil = "x\r\nBcc: all@black.test\r\n\r\n; spf=pass\") (";
    let mut result = MethodResult::new("spf", "fail").with("smtp", "mailfrom", Some(evil));
    result.comment = Some(evil.to_owned());
    result.reason = Some(evil.to_owned());
    let written = AuthResults {
        server: "mx.black.test".to_owned(),
        results: vec![result],
    };
    let field = String::from_utf8(written.field(false)).unwrap();
    for line in field.lines().skip(1) {
        assert!(line.starts_with('\t'), "{field}");
    }
    let value = field.split_once(':').unwrap().1;
    let read = AuthResults::parse(value.as_bytes()).unwrap();
    assert_eq!(read.results.len(), 1);
    assert_eq!(read.results[0].result, "fail");
    let umlaut = MethodResult::new("spf", "pass").with("smtp", "mailfrom", Some("j\u{f6}@x.test"));
    let written = |utf8| {
        AuthResults {
            server: "mx.test".to_owned(),
            results: vec![umlaut.clone()],
        }
        .payload(utf8)
    };
    assert!(written(false).ends_with("\"j?@x.test\""));
    assert!(written(true).ends_with("\"j\u{f6}@x.test\""));
}

/// RFC 8601 §5.
#[test]
fn fields_in_our_name_are_found_in_every_spelling() {
    let ours = ["mx.black.test", "xn--bcher-kva.test"];
    for forged in [
        "Authentication-Results: mx.black.test; spf=pass\r\n",
        "AUTHENTICATION-RESULTS : MX.Black.TEST.; spf=pass\r\n",
        "authentication-results:\r\n (hi) \"mx.black\\.test\" 1;\r\n\tdkim=pass\r\n",
        "Authentication-Results: (a (b) c) mx.black.test (d)\r\n",
        "Authentication-Results: B\u{fc}cher.test; spf=pass\r\n",
        // Whoever reads these differently might take them for ours.
        "Authentication-Results: (mx.black.test; spf=pass\r\n",
        "Authentication-Results: i=1; mx.black.test; spf=pass\r\n",
        "Authentication-Results:\r\n",
        "Authentication-Results: mx.black.test/1; spf=pass\r\n",
    ] {
        let letter = format!("To: x\r\n{forged}Subject: y\r\n\r\nz\r\n");
        let found = forged_fields(letter.as_bytes(), &ours);
        assert_eq!(found.len(), 1, "{forged}");
        assert_eq!(&letter[found[0].clone()], forged);
    }
    for honest in [
        "Authentication-Results: mx.red.test; spf=pass smtp.mailfrom=mx.black.test\r\n",
        "X-Authentication-Results: mx.black.test; spf=pass\r\n",
        "Authentication-Results: smx.black.test; none\r\n",
    ] {
        let letter = format!("{honest}\r\nAuthentication-Results: mx.black.test; none\r\n");
        assert!(
            forged_fields(letter.as_bytes(), &ours).is_empty(),
            "{honest}"
        );
    }
}

proptest! {
    #[test]
    fn bytes_at_random_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = AuthResults::parse(&bytes);
        let _ = forged_fields(&[b"Authentication-Results:", bytes.as_slice()].concat(), &["mx.test"]);
    }

    #[test]
    fn grammar_at_random_never_panics(text in "[a-z =.;/()\"\\\\\r\n]{0,60}") {
        let _ = AuthResults::parse(text.as_bytes());
    }

    #[test]
    fn what_is_written_is_read(value in "[ -~]{0,80}", reason in "[ -~]{0,80}") {
        let mut result = MethodResult::new("spf", "pass").with("smtp", "mailfrom", Some(value));
        result.reason = Some(reason);
        let written = AuthResults { server: "mx.test".to_owned(), results: vec![result] };
        let field = written.field(false);
        let read = AuthResults::parse(&field[FIELD_NAME.len() + 1..]);
        prop_assert_eq!(read, Some(written));
    }
}
