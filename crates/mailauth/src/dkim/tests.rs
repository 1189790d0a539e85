//! Whole letters with the published signatures of RFC 8463, and what becomes of them when a letter,
//! a key, or the time is another.

use base::Timestamp;

use super::*;
use crate::dns::{Answer, Answers, Need, Question, RecordType, Records};

/// RFC 8463 appendix A.3.
const LETTER: &str = "DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed;\r\n \
    d=football.example.com; i=@football.example.com;\r\n \
    q=dns/txt; s=brisbane; t=1528637909; h=from : to :\r\n \
    subject : date : message-id : from : subject : date;\r\n \
    bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;\r\n \
    b=/gCrinpcQOoIfuHNQIbq4pgh9kyIK3AQUdt9OdqQehSwhEIug4D11Bus\r\n \
    Fa3bT3FY5OsU7ZbnKELq+eXdp1Q1Dw==\r\n\
    DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed;\r\n \
    d=football.example.com; i=@football.example.com;\r\n \
    q=dns/txt; s=test; t=1528637909; h=from : to : subject :\r\n \
    date : message-id : from : subject : date;\r\n \
    bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;\r\n \
    b=F45dVWDfMbQDGHJFlXUNB2HKfbCeLRyhDXgFpEL8GwpsRe0IeIixNTe3\r\n \
    DhCVlUrSjV4BwcVcOF6+FF3Zo9Rpo1tFOeS9mPYQTnGdaSGsgeefOsk2Jz\r\n \
    dA+L10TeYt9BgDfQNZtKdN1WO//KgIqXP7OdEFE4LjFYNcUxZQ4FADY+8=\r\n\
    From: Joe SixPack <joe@football.example.com>\r\n\
    To: Suzie Q <suzie@shopping.example.net>\r\n\
    Subject: Is dinner ready?\r\n\
    Date: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)\r\n\
    Message-ID: <20030712040037.46341.5F8J@football.example.com>\r\n\
    \r\n\
    Hi.\r\n\
    \r\n\
    We lost the game.  Are you hungry yet?\r\n\
    \r\n\
    Joe.\r\n";

/// RFC 8463 appendix A.2.
const ED25519: &str = "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";
const RSA: &str = "v=DKIM1; k=rsa; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDkHlOQoBTzWR\
    iGs5V6NpP3idY6Wk08a5qhdR6wy5bdOKb2jLQiY/J16JYi0Qvx/byYzCNb3W91y3FutAC\
    DfzwQ/BC/e/8uBsCR+yz1Lxj+PL6lHvqMKrM3rG4hstT5QjvHO9PzoxZyVYLzBfO2EeC3\
    Ip3G+2kryOTIKT+l/K4w3QIDAQAB";

const NOW: Timestamp = Timestamp::from_secs(1_528_637_910);

fn question(selector: &str) -> Question {
    Question {
        name: format!("{selector}._domainkey.football.example.com"),
        kind: RecordType::Txt,
    }
}

fn answers(ed25519: &str, rsa: &str) -> Answers {
    let mut answers = Answers::default();
    for (selector, record) in [("brisbane", ed25519), ("test", rsa)] {
        let records = Records::Txt(vec![record.as_bytes().to_vec()]);
        answers.insert(question(selector), Answer::Found(records));
    }
    answers
}

fn outcomes(letter: &str, answers: &Answers, now: Timestamp) -> [Outcome; 2] {
    let prepared = Prepared::new(&[letter.as_bytes()]);
    let results = verify(&prepared, answers, now).unwrap();
    [results[0].outcome, results[1].outcome]
}

fn check(from: &str, to: &str, expected: [Outcome; 2]) {
    assert!(LETTER.contains(from), "{from}");
    let letter = LETTER.replace(from, to);
    assert_eq!(
        outcomes(&letter, &answers(ED25519, RSA), NOW),
        expected,
        "{from} -> {to}"
    );
}

#[test]
fn the_letter_of_rfc_8463_passes() {
    let prepared = Prepared::new(&[LETTER.as_bytes()]);
    let results = verify(&prepared, &answers(ED25519, RSA), NOW).unwrap();
    assert!(results.iter().all(DkimResult::is_pass), "{results:?}");
    let first = &results[0];
    assert_eq!(
        first.domain.as_ref().unwrap().as_str(),
        "football.example.com"
    );
    assert_eq!(first.selector.as_deref(), Some("brisbane"));
    assert_eq!(first.identity.as_deref(), Some("@football.example.com"));
    assert_eq!(first.algorithm, Some(Algorithm::Ed25519Sha256));
    assert_eq!(first.signature_start.as_deref(), Some("/gCrinpc"));
    assert_eq!(first.notes, Notes::default());
    assert_eq!(results[1].notes.rsa_bits, Some(1_024));
}

#[test]
fn pieces_make_no_difference() {
    let at = LETTER.find("From:").unwrap();
    let body = LETTER.find("We lost").unwrap();
    let pieces = [&LETTER[..at], &LETTER[at..body], &LETTER[body..]];
    let prepared = Prepared::new(&pieces.map(str::as_bytes));
    let results = verify(&prepared, &answers(ED25519, RSA), NOW).unwrap();
    assert!(results.iter().all(DkimResult::is_pass), "{results:?}");
}

#[test]
fn all_keys_are_asked_for_at_once_and_only_where_they_matter() {
    let prepared = Prepared::new(&[LETTER.as_bytes()]);
    let Need(questions) = verify(&prepared, &Answers::default(), NOW).unwrap_err();
    assert_eq!(questions, [question("brisbane"), question("test")]);
    let changed = LETTER.replace("hungry", "thirsty");
    let results = verify(
        &Prepared::new(&[changed.as_bytes()]),
        &Answers::default(),
        NOW,
    );
    let changed = Outcome::Fail(Reason::BodyChanged);
    assert!(
        results
            .unwrap()
            .iter()
            .all(|result| result.outcome == changed)
    );
}

/// RFC 6376 §8.15: a second field above the signed one leaves the signature right, and is known.
#[test]
fn fields_that_stand_twice_and_are_signed_once_are_noted() {
    for (added, double) in [
        ("", false),
        ("Cc: b@x.test\r\n", false),
        ("Content-Type: text/html\r\n", false),
        ("X-Other: 1\r\nX-Other: 2\r\n", false),
        ("TO : b@x.test\r\n", true),
        (
            "Content-Type: text/html\r\nContent-Type: text/plain\r\n",
            true,
        ),
    ] {
        let letter = LETTER.replace("To: Suzie", &format!("{added}To: Suzie"));
        let prepared = Prepared::new(&[letter.as_bytes()]);
        let results = verify(&prepared, &answers(ED25519, RSA), NOW).unwrap();
        assert!(results.iter().all(DkimResult::is_pass), "{results:?}");
        assert_eq!(results[0].notes.unsigned_double, double, "{added:?}");
    }
}

#[test]
fn what_may_and_may_not_change_on_the_way() {
    let pass = [Outcome::Pass; 2];
    let wrong = [Outcome::Fail(Reason::SignatureWrong); 2];
    check("Subject: Is dinner", "SUBJECT :   Is\r\n\tdinner", pass);
    check("game.  Are", "game. Are", pass);
    check("Joe.\r\n", "Joe. \t\r\n\r\n \r\n\r\n", pass);
    check("Joe.\r\n", "Joe.", pass);
    check("Is dinner ready?", "Is dinner cold?", wrong);
    check("To: Suzie", "X-Other: 1\r\nTo: Suzie", pass);
    check("To: Suzie", "To: b@x.test\r\nTo: Suzie", pass);
    // Named twice in h=, so that no second one can be put above.
    check("To: Suzie", "From: b@x.test\r\nTo: Suzie", wrong);
    check("To: Suzie", "Subject: b\r\nTo: Suzie", wrong);
    check("t=1528637909", "t=1528637908", wrong);
    check(
        "hungry yet",
        "hungry, yet",
        [Outcome::Fail(Reason::BodyChanged); 2],
    );
}

#[test]
fn length_time_and_algorithm() {
    let fail = |reason| [Outcome::Fail(reason); 2];
    let perm = |reason| [Outcome::PermError(reason); 2];
    // The signed text is other then, too; what is checked first is told.
    check("q=dns/txt", "l=9999", fail(Reason::BodyTooShort));
    check("q=dns/txt", "l=3", fail(Reason::BodyChanged));
    check("q=dns/txt", "l=52", fail(Reason::BodyChanged));
    check("q=dns/txt", "x=1528637909", perm(Reason::BadTag("x")));
    check("t=1528637909", "x=1528637909", fail(Reason::Expired));
    check("t=1528637909", "t=1528724311", fail(Reason::Future));
    check(
        "rsa-sha256",
        "rsa-sha1",
        [Outcome::Pass, Outcome::PermError(Reason::Sha1)],
    );
    check(
        "v=1",
        "v=1;;",
        perm(Reason::Tags(crate::tags::TagError::Malformed)),
    );
}

#[test]
fn keys_decide() {
    let with = |ed25519, rsa| outcomes(LETTER, &answers(ed25519, rsa), NOW);
    let perm = Outcome::PermError;
    let revoked = "v=DKIM1; p=";
    let strict = &RSA.replace("k=rsa", "k=rsa; t=s");
    assert_eq!(
        with(revoked, strict),
        [perm(Reason::KeyRevoked), Outcome::Pass]
    );
    assert_eq!(with(RSA, ED25519), [perm(Reason::KeyOfOtherType); 2]);
    let other = "v=DKIM1; k=ed25519; p=3p7bfXt9wbTTW2HC7OQ1Nz+DQ8hbeGdNrfx+FG+IK08=";
    let cut = &RSA.replace("MIGfMA", "MIGeMA");
    let expected = [Outcome::Fail(Reason::SignatureWrong), perm(Reason::BadKey)];
    assert_eq!(with(other, cut), expected);
    let mut answers = Answers::default();
    answers.insert(question("brisbane"), Answer::NoName);
    answers.insert(question("test"), Answer::Temporary);
    let expected = [perm(Reason::NoKey), Outcome::TempError];
    assert_eq!(outcomes(LETTER, &answers, NOW), expected);
}

/// RFC 8301 §3.2: verifiers take no RSA key below 1024 bits.
#[test]
fn an_rsa_key_below_the_limit_is_refused() {
    let start = LETTER.find("F45dVW").unwrap();
    let end = LETTER.find("From: Joe").unwrap();
    // 120 bytes: as a key of 960 bits would sign.
    let letter = format!(
        "{}{}\r\n{}",
        &LETTER[..start],
        "A".repeat(160),
        &LETTER[end..]
    );
    let expected = [Outcome::Pass, Outcome::PermError(Reason::KeyTooShort)];
    assert_eq!(outcomes(&letter, &answers(ED25519, RSA), NOW), expected);
}

#[test]
fn the_limit_of_signatures_holds() {
    let end = LETTER.find("DKIM-Signature: v=1; a=rsa").unwrap();
    let many = |count| LETTER[..end].repeat(count) + &LETTER[end..];
    let prepared = Prepared::new(&[many(SIGNATURES_MAX - 1).as_bytes()]);
    assert_eq!(
        (prepared.signatures.len(), prepared.unread()),
        (SIGNATURES_MAX, 0)
    );
    let letter = many(SIGNATURES_MAX);
    let prepared = Prepared::new(&[letter.as_bytes()]);
    assert_eq!(
        (prepared.signatures.len(), prepared.unread()),
        (SIGNATURES_MAX, 1)
    );
    let letter = "A: 1\r\n".repeat(FIELDS_MAX - 2) + LETTER;
    let results = verify(
        &Prepared::new(&[letter.as_bytes()]),
        &Answers::default(),
        NOW,
    )
    .unwrap();
    assert_eq!(
        results[0].outcome,
        Outcome::PermError(Reason::HeaderTooLong)
    );
}

proptest::proptest! {
    #[test]
    fn no_bytes_panic(letter in "(DKIM-Signature|ARC-Seal|ARC-Message-Signature|From|:|=|;|[a-z]=| |\r\n|\\PC){0,60}") {
        let prepared = Prepared::new(&[letter.as_bytes()]);
        let _ = verify(&prepared, &Answers::default(), NOW);
        let _ = crate::arc::verify(&prepared, &Answers::default());
    }
}
