//! A letter that dkimpy 1.1.4 has signed five times: RSA with each pair of canonical forms (the last,
//! simple and simple, with `l=`), and Ed25519. The letter has what is easily got wrong: folded fields,
//! runs of white space, empty lines at its end, UTF-8.

#![expect(clippy::unwrap_used, reason = "a test")]

use base::Timestamp;
use pennyblack_mailauth::dkim::{DkimResult, Outcome, Prepared, Reason, verify};
use pennyblack_mailauth::{Answer, Answers, Question, RecordType, Records};

const LETTER: &[u8] = include_bytes!("vectors/dkimpy.eml");
const RSA: &str = "v=DKIM1; h=sha256; k=rsa; p=MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA3BsSV1bxN2NE\
    rdnV7b0lWT5SszRzMg5Fukk4h5SumyqtTq4dxAwJCLfiFiIqb4qQe08a8a3FSvNcc9DfblioNrbRt3m1LL/L\
    eVu5I5KM4ILksDv/1pW24QfA5UShSHRz7SnNQdPrk6tUQfr5ZITSCgRur6HOhdkedmlBDIjHEg0ZxxrUiA4q\
    0VgY/+yZIXMUR+jJZmwhyu4KnywzawQ6umd00R6q1xn4TGUHxUV6GGJeZzkd6geohRN+jY1TZ+lbaGCbsXPG\
    bEMrc78+clH6E7nlybOGPb/kSPc69E6XshWQJHjuqLQuPxMKJo6z24xpvHuN1imWPULRyES6O6/fxQIDAQAB";
const ED25519: &str = "v=DKIM1; k=ed25519; p=A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg=";
const NOW: Timestamp = Timestamp::from_secs(1_795_628_200);

fn results(letter: &[u8]) -> Vec<DkimResult> {
    let mut answers = Answers::default();
    for (selector, record) in [("open", RSA), ("ed", ED25519)] {
        let question = Question {
            name: format!("{selector}._domainkey.peer.test"),
            kind: RecordType::Txt,
        };
        let texts = Records::Txt(vec![record.as_bytes().to_vec()]);
        answers.insert(question, Answer::Found(texts));
    }
    verify(&Prepared::new(&[letter]), &answers, NOW).unwrap()
}

/// The letter with one thing in it changed.
fn changed(from: &str, to: &str) -> Vec<Outcome> {
    let text = std::str::from_utf8(LETTER).unwrap();
    let at = text.rfind(from).unwrap();
    let letter = format!("{}{to}{}", &text[..at], &text[at + from.len()..]);
    let results = results(letter.as_bytes());
    results.into_iter().map(|result| result.outcome).collect()
}

#[test]
fn every_signature_is_right() {
    let results = results(LETTER);
    assert_eq!(results.len(), 5);
    assert!(results.iter().all(DkimResult::is_pass), "{results:?}");
    // dkimpy puts the newest on top.
    let notes: Vec<_> = results.iter().map(|result| result.notes).collect();
    assert_eq!(notes[0].rsa_bits, Some(2_048));
    assert_eq!(notes[4].rsa_bits, None);
    assert_eq!(notes[3].unsigned_body_bytes, Some(0));
}

#[test]
fn each_form_forgives_what_it_should() {
    use Outcome::{Fail, Pass};
    let header = Fail(Reason::SignatureWrong);
    let body = Fail(Reason::BodyChanged);
    let short = Fail(Reason::BodyTooShort);
    // In order: relaxed/relaxed, relaxed/simple, simple/relaxed, simple/simple with l=, Ed25519.
    let spaces = changed("Two   spaces", "Two spaces");
    assert_eq!(spaces, [Pass, Pass, header, header, Pass]);
    let spaces = changed("Hello  there", "Hello there");
    assert_eq!(spaces, [Pass, body, Pass, short, Pass]);
    let spaces = changed("at its end   \r\n", "at its end\r\n");
    assert_eq!(spaces, [Pass, body, Pass, short, Pass]);
    assert_eq!(changed("Hello", "Jello"), [body; 5]);
    // What is added behind l= changes nothing for it.
    let added = changed("\r\n\r\n\r\n", "\r\n\r\n\r\nmore\r\n");
    assert_eq!(added, [body, body, body, Pass, body]);
}
