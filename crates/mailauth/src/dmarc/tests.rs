//! Letters and records as RFC 9989 has them, and some that nobody should write.

use expect_test::{Expect, expect};
use message::Fields;
use proptest::prelude::*;

use super::*;
use crate::dns::{Answer, Question, Records};

/// A DNS of TXT records; other names do not exist, `SERVFAIL` and `EXISTS` are what they say.
struct Zone<'a>(&'a [(&'a str, &'a str)]);

impl Zone<'_> {
    fn answer(&self, question: &Question) -> Answer {
        let here = self.0.iter().filter(|(name, _)| *name == question.name);
        let texts: Vec<&str> = here.map(|(_, text)| *text).collect();
        match texts.as_slice() {
            [] => Answer::NoName,
            ["SERVFAIL"] => Answer::Temporary,
            ["EXISTS"] => Answer::NoRecords,
            texts => {
                let texts = texts.iter().map(|text| text.as_bytes().to_vec());
                Answer::Found(Records::Txt(texts.collect()))
            }
        }
    }

    fn run(&self, from: &str, identifiers: &[Identifier<'_>]) -> (Vec<DmarcOutcome>, usize) {
        let letter = format!("From: {from}\r\n\r\n");
        let authors = Authors::read(Fields::new(letter.as_bytes()));
        let mut answers = Answers::default();
        for _ in 0..10 {
            match evaluate(&authors, identifiers, &answers) {
                Ok(outcomes) => return (outcomes, answers.len()),
                Err(Need(questions)) => {
                    for question in questions {
                        let answer = self.answer(&question);
                        answers.insert(question, answer);
                    }
                }
            }
        }
        panic!("a check that does not end")
    }
}

fn spf(domain: &str) -> Identifier<'_> {
    Identifier {
        domain,
        method: Method::Spf,
        verified: true,
    }
}

fn dkim(domain: &str) -> Identifier<'_> {
    Identifier {
        method: Method::Dkim,
        ..spf(domain)
    }
}

fn unsure(domain: &str) -> Identifier<'_> {
    Identifier {
        verified: false,
        ..dkim(domain)
    }
}

fn check(zone: &[(&str, &str)], from: &str, identifiers: &[Identifier<'_>], expected: &Expect) {
    let (outcomes, questions) = Zone(zone).run(from, identifiers);
    let lines = outcomes.iter().map(|outcome| {
        let reason = outcome.reason.as_ref().map(ToString::to_string);
        format!(
            "{} {} {} ({}) wish {}\n",
            outcome.author,
            outcome.result.word(),
            outcome.policy.word(),
            reason.unwrap_or_default(),
            outcome.wish().word()
        )
    });
    let shown: String = lines.collect();
    expected.assert_eq(&format!("{shown}{questions} questions\n"));
}

const RED: &[(&str, &str)] = &[("_dmarc.red.test", "v=DMARC1; p=reject")];

#[test]
fn the_same_domain_passes_with_one_question() {
    let identifiers = [spf("bounce.example.org"), dkim("Red.Test")];
    check(
        RED,
        "a@red.test",
        &identifiers,
        &expect![[r#"
            red.test pass reject (dkim of red.test aligned) wish none
            1 questions
        "#]],
    );
}

#[test]
fn relaxed_alignment_is_of_the_organisation() {
    check(
        RED,
        "a@news.red.test",
        &[spf("bounce.red.test")],
        &expect![[r#"
            news.red.test pass reject (spf of bounce.red.test aligned) wish none
            4 questions
        "#]],
    );
    check(
        RED,
        "a@red.test",
        &[spf("evil.test"), dkim("red.test.evil.test")],
        &expect![[r#"
            red.test fail reject (what passed is not of the author's domain) wish reject
            2 questions
        "#]],
    );
}

#[test]
fn strict_alignment_is_equality() {
    check(
        &[("_dmarc.red.test", "v=DMARC1; p=quarantine; adkim=s; aspf=s")],
        "a@red.test",
        &[spf("mail.red.test"), dkim("mail.red.test")],
        &expect![[r#"
            red.test fail quarantine (what passed is not of the author's domain) wish quarantine
            1 questions
        "#]],
    );
}

#[test]
fn subdomains_have_policies_of_their_own() {
    let zone = [
        (
            "_dmarc.red.test",
            "v=DMARC1; p=none; sp=quarantine; np=reject",
        ),
        ("news.red.test", "EXISTS"),
    ];
    check(
        &zone,
        "a@news.red.test",
        &[],
        &expect![[r#"
            news.red.test fail quarantine (neither SPF nor DKIM passed) wish quarantine
            4 questions
        "#]],
    );
    check(
        &zone,
        "a@void.red.test",
        &[],
        &expect![[r#"
            void.red.test fail reject (neither SPF nor DKIM passed) wish reject
            4 questions
        "#]],
    );
}

#[test]
fn a_test_lowers_the_wish_by_one_level() {
    check(
        &[("_dmarc.red.test", "v=DMARC1; p=reject; t=y")],
        "a@red.test",
        &[],
        &expect![[r#"
            red.test fail quarantine (neither SPF nor DKIM passed) wish quarantine
            1 questions
        "#]],
    );
}

#[test]
fn a_public_suffix_speaks_for_domains_without_a_record_only() {
    let zone = [
        ("_dmarc.bank", "v=DMARC1; p=reject; psd=y; sp=quarantine"),
        ("_dmarc.red.bank", "v=DMARC1; p=none"),
    ];
    check(
        &zone,
        "a@blue.bank",
        &[spf("other.bank")],
        &expect![[r#"
            blue.bank fail quarantine (what passed is not of the author's domain) wish quarantine
            2 questions
        "#]],
    );
    check(
        &zone,
        "a@mail.red.bank",
        &[dkim("red.bank")],
        &expect![[r#"
            mail.red.bank pass none (dkim of red.bank aligned) wish none
            3 questions
        "#]],
    );
}

#[test]
fn two_records_are_as_none() {
    let zone = [
        ("_dmarc.red.test", "v=DMARC1; p=reject"),
        ("_dmarc.red.test", "v=DMARC1; p=none"),
    ];
    check(
        &zone,
        "a@red.test",
        &[],
        &expect![[r#"
            red.test none none () wish none
            2 questions
        "#]],
    );
    check(
        &[("_dmarc.red.test", "v=DMARC1; p=refuse")],
        "a@red.test",
        &[],
        &expect![[r#"
            red.test none none (the record of red.test has no valid policy) wish none
            1 questions
        "#]],
    );
}

#[test]
fn without_an_answer_nothing_fails() {
    check(
        &[("_dmarc.red.test", "SERVFAIL")],
        "a@red.test",
        &[],
        &expect![[r#"
            red.test temperror none (no answer from the DNS for red.test) wish none
            1 questions
        "#]],
    );
    check(
        RED,
        "a@red.test",
        &[unsure("red.test"), spf("evil.test")],
        &expect![[r#"
            red.test temperror reject (dkim of red.test could not be checked) wish quarantine
            2 questions
        "#]],
    );
    let zone = [RED[0], ("_dmarc.mail.red.test", "SERVFAIL")];
    check(
        &zone,
        "a@red.test",
        &[spf("mail.red.test")],
        &expect![[r#"
            red.test temperror reject (no answer from the DNS for mail.red.test) wish quarantine
            3 questions
        "#]],
    );
}

/// Nobody makes a forgery a temporary error by his own DNS.
#[test]
fn a_stranger_s_silent_dns_changes_nothing() {
    let zone = [RED[0], ("_dmarc.evil.test", "SERVFAIL")];
    check(
        &zone,
        "a@red.test",
        &[spf("evil.test"), unsure("mail.evil.test")],
        &expect![[r#"
            red.test fail reject (what passed is not of the author's domain) wish reject
            2 questions
        "#]],
    );
}

/// RFC 9989 §11.5: a second author does not hide the first.
#[test]
fn the_strongest_wish_of_several_authors_counts() {
    check(
        RED,
        "b@blue.test, a@red.test",
        &[dkim("blue.test")],
        &expect![[r#"
            red.test fail reject (what passed is not of the author's domain) wish reject
            blue.test none none () wish none
            3 questions
        "#]],
    );
    let many: Vec<String> = (0..11).map(|n| format!("a@n{n}.example")).collect();
    let (outcomes, _) = Zone(RED).run(&many.join(", "), &[]);
    assert_eq!(outcomes[0].wish(), Policy::Reject);
    check(
        RED,
        "nobody",
        &[],
        &expect![[r#"
             permerror quarantine (no author) wish quarantine
            0 questions
        "#]],
    );
    check(
        &[("_dmarc.blue.test", "v=DMARC1; p=none")],
        "a@blue.test, b@[nowhere",
        &[dkim("blue.test")],
        &expect![[r#"
             permerror quarantine (an author's address cannot be read) wish quarantine
            blue.test pass none (dkim of blue.test aligned) wish none
            1 questions
        "#]],
    );
}

proptest! {
    #[test]
    fn texts_at_random_never_panic(
        record in "(v=DMARC1;)?[ -~\u{e9}]{0,80}",
        from in "[ -~]{0,60}",
        signer in "[a-z.]{0,40}",
    ) {
        let zone = [("_dmarc.red.test", record.as_str()), ("_dmarc.test", record.as_str())];
        for from in [from.as_str(), "a@mail.red.test"] {
            let (outcomes, _) = Zone(&zone).run(from, &[dkim(&signer), unsure("a.red.test")]);
            prop_assert!(!outcomes.is_empty());
        }
    }
}
