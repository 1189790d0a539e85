//! RFC 5228: the base language, with `fileinto`, `envelope`, `encoded-character` and comparators.

use crate::support::{Scene, check, errors, is};

#[test]
fn section_2_4_2_strings_and_headers() {
    check(
        "if header \"subject\" \"the LUNCH on friday\" { discard; }",
        "discard",
    );
    check(
        "if header :is [\"x-none\", \"subject\"] [\"a\", \"The lunch on Friday\"] { discard; }",
        "discard",
    );
    let text = "require [\"reject\"]; reject text:\nA..\n..b\n.\n;";
    check(text, "reject \"A..\\r\\n.b\\r\\n\"");
    let encoded = "require [\"fileinto\", \"encoded-character\"]; fileinto \"${hex: 41 42}${unicode:e9}${x}\";";
    check(encoded, "fileinto \"ABé${x}\"");
    check(
        "require \"fileinto\"; fileinto \"${hex:41}\";",
        "fileinto \"${hex:41}\"",
    );
    assert_eq!(
        errors("require \"encoded-character\";\nif header \"a\" \"${unicode:D800}\" { keep; }"),
        "line 2, column 15: there is no character D800 in Unicode"
    );
}

#[test]
fn section_2_7_1_match_types() {
    assert!(is("", "header :contains \"subject\" \"LUNCH\""));
    assert!(!is("", "header :contains \"subject\" \"dinner\""));
    assert!(is("", "header :contains \"subject\" \"\""));
    assert!(!is("", "header :contains \"x-none\" \"\""));
    assert!(!is("", "header :is \"subject\" \"lunch\""));
    assert!(is("", "header :matches \"subject\" \"*lunch ?n*\""));
    assert!(!is("", "header :matches \"subject\" \"lunch\""));
    assert!(is("", "header :matches \"subject\" \"*\""));
}

#[test]
fn section_2_7_3_comparators() {
    assert!(!is(
        "",
        "header :comparator \"i;octet\" :contains \"subject\" \"LUNCH\""
    ));
    assert!(is(
        "",
        "header :comparator \"i;octet\" :contains \"subject\" \"lunch\""
    ));
    let numeric = "comparator-i;ascii-numeric";
    let scene = Scene::letter("X-Score: 007\n\nx");
    assert!(scene.is(
        numeric,
        "header :comparator \"i;ascii-numeric\" \"x-score\" \"7\""
    ));
    assert!(!scene.is(
        numeric,
        "header :comparator \"i;ascii-numeric\" \"x-score\" \"70\""
    ));
    let scene = Scene::letter("Subject: =?utf-8?q?=C3=89COLE?=\n\nx");
    assert!(!scene.is("", "header \"subject\" \"école\""));
    assert!(scene.is(
        "comparator-i;unicode-casemap",
        "header :comparator \"i;unicode-casemap\" \"subject\" \"école\""
    ));
    assert_eq!(
        errors("if header :comparator \"i;ascii-numeric\" \"a\" \"b\" { keep; }"),
        "line 1, column 23: the comparator \"i;ascii-numeric\" needs `require \"comparator-i;ascii-numeric\";` at the start of the script"
    );
    assert_eq!(
        errors(
            "require \"comparator-i;ascii-numeric\"; if header :contains :comparator \"i;ascii-numeric\" \"a\" \"b\" { keep; }"
        ),
        "line 1, column 49: numbers can only be compared with `:is`, `:value` and `:count`"
    );
    assert_eq!(
        errors("if header :comparator \"x\" \"a\" \"b\" {}"),
        "line 1, column 23: there is no comparator \"x\""
    );
}

#[test]
fn section_2_10_2_implicit_keep() {
    check("", "implicit keep");
    check("# only a comment\n", "implicit keep");
    check("keep;", "keep");
    check("keep; keep;", "keep");
    check("stop; discard;", "implicit keep");
    check("discard; discard;", "discard");
    check("discard; keep;", "keep");
    check(
        "require \"fileinto\"; fileinto \"A\"; stop;",
        "fileinto \"A\"",
    );
    check("redirect \"x@green.test\";", "redirect x@green.test");
}

#[test]
fn section_2_10_3_no_message_twice_in_a_mailbox() {
    check(
        "require \"fileinto\"; fileinto \"A\"; fileinto \"B\"; fileinto \"A\";",
        "fileinto \"A\"; fileinto \"B\"",
    );
}

#[test]
fn section_2_10_6_errors_keep_the_letter() {
    let script = "require [\"fileinto\", \"variables\"];\nfileinto \"A\";\nset \"a\" \"nobody\";\nredirect \"${a}\";";
    check(
        script,
        "implicit keep; error: line 4: this is no address to redirect to: there is no @ in the address",
    );
}

#[test]
fn section_3_1_if() {
    let script = |a: &str, b: &str| {
        format!(
            "require \"fileinto\"; if {a} {{ fileinto \"1\"; }} elsif {b} {{ fileinto \"2\"; }} else {{ fileinto \"3\"; }}"
        )
    };
    check(&script("true", "true"), "fileinto \"1\"");
    check(&script("false", "true"), "fileinto \"2\"");
    check(&script("false", "false"), "fileinto \"3\"");
    check("if false { discard; }", "implicit keep");
    check(
        "if true { if false { keep; } else { discard; stop; } keep; }",
        "discard",
    );
    assert_eq!(
        errors("else { keep; }"),
        "line 1, column 1: `else` must follow the block of an `if`"
    );
    assert_eq!(
        errors("if true {} else {} elsif true {}"),
        "line 1, column 20: `elsif` cannot follow `else`"
    );
    assert_eq!(
        errors("if true;"),
        "line 1, column 8: a block in `{ }` must follow `if`"
    );
    assert_eq!(errors("if {}"), "line 1, column 1: a test must follow `if`");
    assert_eq!(
        errors("if (true, true) {}"),
        "line 1, column 1: one test must follow `if`; `anyof` or `allof` take several"
    );
    assert_eq!(
        errors("if keep {}"),
        "line 1, column 4: there is no test `keep`"
    );
    assert_eq!(
        errors("header \"a\" \"b\";"),
        "line 1, column 1: `header` is a test: it must follow an `if`"
    );
}

#[test]
fn section_3_2_require() {
    assert_eq!(
        errors("fileinto \"A\";"),
        "line 1, column 1: `fileinto` needs `require \"fileinto\";` at the start of the script"
    );
    assert_eq!(
        errors("require [\"fileinto\",\n \"x-unknown\"];"),
        "line 2, column 2: there is no extension \"x-unknown\" here"
    );
    assert_eq!(
        errors("keep; require \"fileinto\";"),
        "line 1, column 7: `require` must stand before all other commands"
    );
    assert_eq!(
        errors("require;"),
        "line 1, column 1: `require` lacks an argument: the names of extensions"
    );
    assert_eq!(errors("require \"comparator-i;octet\"; keep;"), "none");
}

#[test]
fn section_4_1_fileinto() {
    check(
        "require \"fileinto\";\nif header :contains [\"from\"] \"alice\" {\n fileinto \"INBOX.harassment\";\n}",
        "fileinto \"INBOX.harassment\"",
    );
    let wrong = "line 1, column 30: this is no name of a mailbox";
    assert_eq!(errors("require \"fileinto\"; fileinto \"\";"), wrong);
    assert_eq!(errors("require \"fileinto\"; fileinto \"a\u{1}b\";"), wrong);
    let name = |length: usize| {
        errors(&format!(
            "require \"fileinto\"; fileinto \"{}\";",
            "a".repeat(length)
        ))
    };
    assert_eq!(name(1_000), "none");
    assert_eq!(name(1_001), wrong);
    check(
        "require [\"fileinto\", \"variables\"]; fileinto \"${a}\";",
        "implicit keep; error: line 1: this is no name of a mailbox",
    );
}

#[test]
fn section_4_2_redirect() {
    check(
        "redirect \"bart@example.com\"; redirect \"bart@example.com\";",
        "redirect bart@example.com",
    );
    // §2.4.2.3: a name may stand before the address.
    check(
        "redirect \"Bart <bart@example.com>\";",
        "redirect bart@example.com",
    );
    assert_eq!(
        errors("redirect \"bart\";"),
        "line 1, column 10: this is no address to redirect to: there is no @ in the address"
    );
    assert_eq!(
        errors("redirect;"),
        "line 1, column 1: `redirect` lacks an argument: an address"
    );
    assert_eq!(
        errors("redirect [\"a@b.test\"];"),
        "line 1, column 10: one string is expected here, not a list"
    );
    assert_eq!(
        errors("redirect \"a@b.test\" 5;"),
        "line 1, column 21: `redirect` takes no argument here"
    );
}

#[test]
fn section_5_1_address() {
    assert!(is("", "address :is :all \"from\" \"alice+home@RED.test\""));
    assert!(is("", "address :localpart \"from\" \"alice+home\""));
    assert!(is("", "address :domain [\"to\", \"cc\"] \"green.test\""));
    assert!(is("", "address \"to\" \"carol@black.test\""));
    assert!(
        !is("", "address :contains \"from\" \"Alice M\""),
        "names are not looked at"
    );
    let scene = Scene::letter("From: group: a@x.test, b@y.test;\nTo: root\n\nx");
    assert!(scene.is("", "address :domain \"from\" \"y.test\""));
    assert!(scene.is("", "address :all \"to\" \"root\""));
    assert!(!scene.is("", "address :localpart \"to\" \"root\""));
    assert_eq!(
        errors("if address \"subject\" \"a\" {}"),
        "line 1, column 12: the field \"subject\" holds no addresses; `header` tests it"
    );
}

#[test]
fn section_5_2_to_5_10_tests() {
    assert!(is("", "allof (true, true)"));
    assert!(!is("", "allof (true, false)"));
    assert!(is("", "anyof (false, true)"));
    assert!(!is("", "anyof (false, false)"));
    assert!(is("", "not false"));
    assert!(is("", "exists [\"From\", \"Date\"]"));
    assert!(!is("", "exists [\"From\", \"X-None\"]"));
    assert!(is("", "size :over 100"));
    assert!(!is("", "size :over 1K"));
    assert!(is("", "size :under 1K"));
    let exact = Scene::letter("A: b\n\nx");
    let bytes = exact.letter.len();
    assert!(!exact.is("", &format!("size :over {bytes}")));
    assert!(!exact.is("", &format!("size :under {bytes}")));
    assert_eq!(
        errors("if size 100 {}"),
        "line 1, column 4: `:over` or `:under` must follow `size`"
    );
    assert_eq!(
        errors("if size :over :under 100 {}"),
        "line 1, column 15: `:over` and `:under` cannot stand together"
    );
}

#[test]
fn section_5_4_envelope() {
    assert!(is(
        "envelope",
        "envelope :all :is \"from\" \"alice+home@red.test\""
    ));
    assert!(is("envelope", "envelope :localpart \"to\" \"bob+orders\""));
    let scene = Scene {
        reverse_path: None,
        ..Scene::default()
    };
    assert!(scene.is("envelope", "envelope :domain :is \"from\" \"\""));
    assert!(!scene.is("envelope", "envelope :contains \"from\" \"a\""));
    assert_eq!(
        errors("require \"envelope\"; if envelope \"auth\" \"a\" {}"),
        "line 1, column 33: the envelope has \"from\" and \"to\", but no \"auth\""
    );
}

#[test]
fn section_5_7_header_values_are_decoded_and_trimmed() {
    let scene = Scene::letter(
        "Subject: =?iso-8859-1?q?Gr=FC=DFe?=\n  aus =?utf-8?q?K=C3=B6ln?=  \nX-Caffeine: C8H10N4O2\nX-Empty:\n\nx",
    );
    assert!(scene.is("", "header :is \"subject\" \"Grüße  aus Köln\""));
    assert!(!scene.is("", "header :is [\"X-Caffeine\"] [\"\"]"));
    assert!(scene.is("", "header :contains [\"X-Caffeine\"] [\"\"]"));
    assert!(scene.is("", "header :is \"x-empty\" \"\""));
    assert_eq!(
        errors("if header \"a b\" \"c\" {}"),
        "line 1, column 11: \"a b\" is no name of a header field"
    );
}

#[test]
fn errors_are_told_together_with_their_places() {
    let script =
        "require \"fileinto\";\nkepe;\nif foo {\n  fileinto 5;\n  discard \"é\" ;\n}\nkeep :copy;";
    assert_eq!(
        errors(script),
        "line 2, column 1: there is no command `kepe`\n\
         line 3, column 4: there is no test `foo`\n\
         line 4, column 12: a string is expected here\n\
         line 5, column 11: `discard` takes no argument here\n\
         line 7, column 6: `keep` has no `:copy`"
    );
    assert_eq!(
        errors("keep\nstop;"),
        "line 1, column 1: `keep` takes no test; perhaps a `;` or `,` is missing before `stop`"
    );
    assert_eq!(
        errors("keep {}"),
        "line 1, column 5: `keep` has no block: a `;` is expected here"
    );
    assert_eq!(
        errors("if header :is :is \"a\" \"b\" {}"),
        "line 1, column 15: `:is` stands here twice"
    );
    assert_eq!(
        errors("if header \"a\" :is \"b\" {}"),
        "line 1, column 15: `:is` must stand before the arguments without a tag"
    );
}

#[test]
fn section_9_the_extended_example() {
    let script = r#"
        require ["fileinto"];
        if header :is "Sender" "owner-ietf-mta-filters@imc.org"
            {
            fileinto "filter";
            }
        elsif address :DOMAIN :is ["From", "To"] "example.com"
            {
            keep;
            }
        elsif anyof (NOT address :all :contains
                       ["To", "Cc", "Bcc"] "me@example.com",
                     header :matches "subject"
                       ["*make*money*fast*", "*university*dipl*mas*"])
            {
            fileinto "spam";
            }
        else
            {
            fileinto "personal";
            }
    "#;
    let outcome = |letter: &str| Scene::letter(letter).run(script);
    assert_eq!(
        outcome("Sender: owner-ietf-mta-filters@imc.org\n\nx"),
        "fileinto \"filter\""
    );
    assert_eq!(outcome("From: a@example.com\n\nx"), "keep");
    assert_eq!(
        outcome("From: coyote@desert.example.org\nTo: roadrunner@acme.example\n\nx"),
        "fileinto \"spam\""
    );
    assert_eq!(
        outcome("To: me@example.com.test\nSubject: make MONEY very fast\n\nx"),
        "fileinto \"spam\""
    );
    assert_eq!(
        outcome("To: me@example.com.test\nSubject: hello\n\nx"),
        "fileinto \"personal\""
    );
}

#[test]
fn each_action_tells_where_and_why() {
    let script = "require \"fileinto\";\nif header :contains \"subject\" \"lunch\" {\n  fileinto \"Lunch\";\n}\nkeep;";
    let outcome = Scene::default().outcome(script).0;
    let origin = &outcome.actions[0].origin;
    assert_eq!(origin.line, 3);
    assert_eq!(
        origin.because,
        Some((2, "header :contains \"subject\" \"lunch\"".to_owned()))
    );
    assert_eq!(outcome.actions[1].origin.because, None);
    let outcome = Scene::default().outcome("if false {} else { discard; }").0;
    assert_eq!(
        outcome.actions[0].origin.because,
        Some((1, "else".to_owned()))
    );
}
