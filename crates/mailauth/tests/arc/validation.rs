//! Every validation case has the result that its authors expect, or is named with the reason why it
//! has not.

use pennyblack_mailauth::dkim::Prepared;
use pennyblack_mailauth::{Answer, Answers, Need, Question, Records, arc};

use crate::vectors::{self, Group};

/// Cases whose expected result is not ours, and why.
const DIFFERENT: &[(&str, &str)] = &[
    (
        "ams_fields_c_na",
        "the vectors are of a draft where c= not given is relaxed; RFC 8617 §4.1.2 has it from \
         RFC 6376 §3.5, where it is simple",
    ),
    (
        "cv_fail_i1_as_cv_fail",
        "the file has no result; RFC 8617 §5.2 step 2 says fail",
    ),
    (
        "cv_fail_i2_as2_fail",
        "the file has no result; RFC 8617 §5.2 step 2 says fail",
    ),
    (
        "cv_fail_i2_as1_fail",
        "the file has no result; RFC 8617 §5.2 step 3 says fail",
    ),
];

fn result(group: &Group, letter: &str) -> (String, String) {
    let letter = letter.replace('\n', "\r\n");
    let prepared = Prepared::new(&[letter.as_bytes()]);
    let mut answers = Answers::default();
    loop {
        match arc::verify(&prepared, &answers) {
            Ok(result) => {
                return (
                    result.outcome.word().to_owned(),
                    format!("{:?}", result.outcome),
                );
            }
            Err(Need(questions)) => {
                for question in questions {
                    let answer = answer(group, &question);
                    answers.insert(question, answer);
                }
            }
        }
    }
}

fn answer(group: &Group, question: &Question) -> Answer {
    match group.records.get(&question.name) {
        Some(text) => Answer::Found(Records::Txt(vec![text.as_bytes().to_vec()])),
        None => Answer::NoName,
    }
}

#[test]
fn every_chain_is_judged_as_expected() {
    let groups = vectors::read(include_str!("../vectors/arc-validation-tests.yml"));
    let mut wrong = Vec::new();
    let mut cases = 0;
    for group in &groups {
        for case in &group.cases {
            cases += 1;
            let expected = case.values["cv"].trim().to_ascii_lowercase();
            let (found, detail) = result(group, &case.values["message"]);
            let named = DIFFERENT.iter().any(|(name, _)| *name == case.name);
            if named {
                assert_eq!(found, "fail", "{}: {detail}", case.name);
            } else if found != expected {
                wrong.push(format!("{}: {detail}, expected {expected}", case.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // The authors count 171, as four names are there twice. A reader that loses some would be seen.
    assert_eq!(cases, 175);
}
