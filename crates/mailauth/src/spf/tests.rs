//! What the openspf suite (`tests/spf_suite.rs`) does not have: reasons, international names, the
//! HELO identity, and bytes at random.

use proptest::prelude::*;

use super::*;
use crate::dns::{Answer, Question, RecordType, Records};

fn texts(records: &[(&str, &str)]) -> Answers {
    let mut answers = Answers::default();
    for (name, text) in records {
        let question = Question {
            name: (*name).to_owned(),
            kind: RecordType::Txt,
        };
        let records = Records::Txt(vec![text.as_bytes().to_vec()]);
        answers.insert(question, Answer::Found(records));
    }
    answers
}

fn input<'a>(reverse_path: &'a str) -> SpfInput<'a> {
    SpfInput {
        address: "192.0.2.1".parse().unwrap(),
        helo: "mx.helo.test",
        reverse_path,
        receiver: "mx.black.test",
        now_secs: 1_800_000_000,
    }
}

fn check_mail(reverse_path: &str, answers: &Answers) -> SpfOutcome {
    check(&input(reverse_path), SpfIdentity::MailFrom, answers).unwrap()
}

#[test]
fn the_outcome_names_the_term_and_the_domain() {
    let answers = texts(&[("red.test", "v=spf1 ip4:192.0.2.0/24 -all")]);
    let outcome = check_mail("a@Red.Test", &answers);
    assert_eq!(outcome.result, SpfResult::Pass);
    assert_eq!(outcome.domain, "red.test");
    assert_eq!(outcome.mechanism.as_deref(), Some("ip4:192.0.2.0/24"));
}

#[test]
fn errors_say_what_is_wrong() {
    let answers = texts(&[
        ("bad.test", "v=spf1 a:x.test\u{1} -all"),
        ("loop.test", "v=spf1 include:loop.test"),
        ("lost.test", "v=spf1 redirect=none.test"),
    ]);
    let reason = |sender: &str, answers: &Answers| {
        let outcome = check_mail(sender, answers);
        assert_eq!(outcome.result, SpfResult::PermError);
        outcome.reason.unwrap().to_string()
    };
    assert_eq!(
        reason("a@bad.test", &answers),
        "the SPF record of bad.test has a bad term: a:x.test?"
    );
    assert_eq!(
        reason("a@loop.test", &answers),
        "the SPF record needs more than 10 look-ups"
    );
    let mut answers = answers;
    let question = Question {
        name: "none.test".to_owned(),
        kind: RecordType::Txt,
    };
    answers.insert(question, Answer::NoName);
    assert_eq!(
        reason("a@lost.test", &answers),
        "none.test is named but has no SPF record"
    );
}

/// RFC 7208 §2.3, §2.4.
#[test]
fn helo_has_a_check_of_its_own_and_stands_for_the_null_sender() {
    let answers = texts(&[
        ("mx.helo.test", "v=spf1 exp=why.test -all"),
        ("why.test", "%{s}"),
    ]);
    let null = check_mail("", &answers);
    assert_eq!(
        (null.result, null.domain.as_str()),
        (SpfResult::Fail, "mx.helo.test")
    );
    assert_eq!(null.explanation.as_deref(), Some("postmaster@mx.helo.test"));
    let helo = check(&input("a@red.test"), SpfIdentity::Helo, &answers).unwrap();
    assert_eq!(
        (helo.result, helo.domain.as_str()),
        (SpfResult::Fail, "mx.helo.test")
    );
}

/// RFC 8616 §4: domains are asked as A-labels; a local part beyond ASCII matches nothing.
#[test]
fn international_senders() {
    let answers = texts(&[(
        "xn--bcher-kva.test",
        "v=spf1 exists:%{l}.users.test include:%{o} ?all",
    )]);
    let outcome = check_mail("j\u{f6}rg@b\u{fc}cher.test", &answers);
    // The include is the record itself, so the look-ups run out: the first term has not matched,
    // and the second has asked for the A-labels.
    assert_eq!(outcome.reason, Some(SpfReason::TooManyLookups));
    let need = check(
        &input("joe@b\u{fc}cher.test"),
        SpfIdentity::MailFrom,
        &answers,
    );
    assert_eq!(need.unwrap_err().0[0].name, "joe.users.test");
}

#[test]
fn the_exchanges_of_mx_are_asked_at_once() {
    let mut answers = texts(&[("red.test", "v=spf1 mx -all")]);
    let exchanges = [(10, "a.test"), (20, "b.test"), (30, "")];
    let exchanges = exchanges.map(|(preference, host)| (preference, host.to_owned()));
    let question = Question {
        name: "red.test".to_owned(),
        kind: RecordType::Mx,
    };
    answers.insert(question, Answer::Found(Records::Mx(exchanges.to_vec())));
    let need = check(&input("a@red.test"), SpfIdentity::MailFrom, &answers).unwrap_err();
    let names: Vec<_> = need.0.iter().map(|question| &question.name).collect();
    assert_eq!(names, ["a.test", "b.test"]);
}

#[test]
fn a_stranger_s_explanation_is_cut() {
    let long = "x".repeat(3_000);
    let answers = texts(&[
        ("red.test", "v=spf1 exp=why.test -all"),
        ("why.test", &long),
    ]);
    let explanation = check_mail("a@red.test", &answers).explanation.unwrap();
    assert_eq!(explanation.len(), 500);
    let lines = texts(&[
        ("red.test", "v=spf1 exp=why.test -all"),
        ("why.test", "a\r\nb"),
    ]);
    assert_eq!(check_mail("a@red.test", &lines).explanation, None);
}

/// Anything that the DNS may say to a question, of the size of the seed.
fn any_answer(question: &Question, seed: u64, text: &[u8]) -> Answer {
    let count = usize::try_from(seed % 14).unwrap();
    let host = || format!("h{}.{}", seed % 7, question.name);
    match (seed % 11, question.kind) {
        (0, _) => Answer::Temporary,
        (1, _) => Answer::NoName,
        (2, _) => Answer::NoRecords,
        // An answer of another type than the question's.
        (3, _) => Answer::Found(Records::Ptr(vec![host()])),
        (_, RecordType::Txt) => Answer::Found(Records::Txt(vec![text.to_vec(); count.min(2)])),
        (_, RecordType::A) => Answer::Found(Records::A(vec![[192, 0, 2, 2].into(); count])),
        (_, RecordType::Aaaa) => Answer::Found(Records::Aaaa(vec![1.into(); count])),
        (_, RecordType::Mx) => Answer::Found(Records::Mx(vec![(1, host()); count])),
        (_, RecordType::Ptr) => Answer::Found(Records::Ptr(vec![host(); count])),
    }
}

/// Runs a check against a DNS that says anything; it must end within the limits.
fn run_to_the_end(input: &SpfInput<'_>, record: &[u8], seed: u64) -> SpfOutcome {
    let mut answers = Answers::default();
    for round in 0.. {
        match check(input, SpfIdentity::MailFrom, &answers) {
            Ok(outcome) => return outcome,
            Err(Need(questions)) => {
                assert!(!questions.is_empty());
                for question in questions {
                    let seed = seed.rotate_left(u32::try_from(answers.len() % 64).unwrap());
                    let answer = any_answer(&question, seed, record);
                    answers.insert(question, answer);
                }
            }
        }
        assert!(round < 40, "a check has at most 11 records and 10 terms");
    }
    unreachable!()
}

const PIECES: &[&str] = &[
    " ",
    " a",
    " mx",
    " ptr",
    " exists:",
    " include:",
    " redirect=",
    " exp=",
    ":",
    "/",
    "//",
    "24",
    "%{",
    "}",
    "s",
    "l",
    "d",
    "i",
    "p",
    "h",
    "v",
    "r",
    "0",
    "9",
    "-",
    "%%",
    "%_",
    "%",
    ".",
    "test",
    "-all",
    " ?",
    " ~",
    " ip4:192.0.2.1",
    " ip6:::1",
    "\u{e9}",
    "=",
    "\0",
];

proptest! {
    #[test]
    fn records_at_random_never_panic(
        pieces in proptest::collection::vec(0..PIECES.len(), 0..24),
        seed: u64,
        v6: bool,
    ) {
        let text: String = pieces.iter().map(|piece| PIECES[*piece]).collect();
        let record = format!("v=spf1{text}");
        let address = if v6 { "2001:db8::1" } else { "192.0.2.1" };
        let input = SpfInput { address: address.parse().unwrap(), ..input("a@red.test") };
        let outcome = run_to_the_end(&input, record.as_bytes(), seed);
        prop_assert!(outcome.explanation.is_none_or(|text| text.len() <= 500));
    }

    #[test]
    fn bytes_at_random_never_panic(
        record in proptest::collection::vec(any::<u8>(), 0..300),
        sender in ".{0,80}",
        helo in ".{0,80}",
        seed: u64,
    ) {
        let input = SpfInput { helo: &helo, ..input(&sender) };
        run_to_the_end(&input, &[b"v=spf1 ", record.as_slice()].concat(), seed);
    }
}
