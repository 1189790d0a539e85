//! What DKIM costs a letter: reading and hashing it, verifying, signing. The letter of 5 KB is text;
//! the large body is an attachment in base64, and one of text that canonicalisation changes in every
//! line.

#![expect(clippy::unwrap_used, reason = "a measurement")]

use std::hint::black_box;

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::Ed25519KeyPair;
use base::{Domain, Timestamp};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use pennyblack_mailauth::dkim::{Algorithm, Prepared, SigningKey, sign, verify};
use pennyblack_mailauth::{Answer, Answers, Question, RecordType, Records};

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
const LARGE_BYTES: usize = 8 << 20;

fn keys() -> [SigningKey; 2] {
    let domain = Domain::parse("red.test").unwrap();
    let rsa = KeyPair::generate(KeySize::Rsa2048).unwrap();
    let rsa: Pkcs8V1Der<'_> = rsa.as_der().unwrap();
    let ed25519 = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
    let ed25519 = ed25519.to_pkcs8().unwrap();
    let rsa = SigningKey::from_pkcs8(domain.clone(), "r", Algorithm::RsaSha256, rsa.as_ref());
    let kind = Algorithm::Ed25519Sha256;
    let ed25519 = SigningKey::from_pkcs8(domain, "e", kind, ed25519.as_ref());
    [rsa.unwrap(), ed25519.unwrap()]
}

fn answers(keys: &[SigningKey]) -> Answers {
    let mut answers = Answers::default();
    for key in keys {
        let question = Question {
            name: format!("{}._domainkey.red.test", key.selector()),
            kind: RecordType::Txt,
        };
        let record = key.record().unwrap().into_bytes();
        answers.insert(question, Answer::Found(Records::Txt(vec![record])));
    }
    answers
}

fn letter(line: &str, bytes: usize) -> Vec<u8> {
    let mut letter = b"From: Alice <alice@red.test>\r\nTo: bob@black.test\r\n\
        Subject: How much is it?\r\nDate: Fri, 15 Jan 2027 08:00:00 +0000\r\n\
        Message-ID: <1@red.test>\r\nMIME-Version: 1.0\r\n\
        Content-Type: text/plain; charset=utf-8\r\n\r\n"
        .to_vec();
    while letter.len() < bytes {
        letter.extend_from_slice(line.as_bytes());
    }
    letter
}

fn small(criterion: &mut Criterion) {
    let keys = keys();
    let answers = answers(&keys);
    let letter = letter(
        "The quick brown fox jumps over the lazy dog, and again.\r\n",
        5_000,
    );
    for key in &keys {
        let name = key.algorithm();
        criterion.bench_function(&format!("sign 5 KB, {name}"), |bencher| {
            bencher.iter(|| sign(&[black_box(&letter)], &[key], NOW).unwrap());
        });
        let field = sign(&[&letter], &[key], NOW).unwrap();
        criterion.bench_function(&format!("verify 5 KB, {name}"), |bencher| {
            bencher.iter(|| {
                let prepared = Prepared::new(&[black_box(&field), black_box(&letter)]);
                let results = verify(&prepared, &answers, NOW).unwrap();
                assert!(results[0].is_pass());
            });
        });
    }
}

fn large(criterion: &mut Criterion) {
    let keys = keys();
    let mut group = criterion.benchmark_group("read and hash 8 MiB");
    group
        .throughput(Throughput::Bytes(LARGE_BYTES as u64))
        .sample_size(10);
    let base64 = format!("{}\r\n", "QUJD".repeat(19));
    let spaced = "a  line\twith  white space in  it,  and at its end  \r\n";
    for (name, line) in [("base64", base64.as_str()), ("spaced text", spaced)] {
        let letter = letter(line, LARGE_BYTES);
        let field = sign(&[&letter], &[&keys[1]], NOW).unwrap();
        group.bench_function(name, |bencher| {
            bencher.iter(|| Prepared::new(&[black_box(&field), black_box(&letter)]));
        });
    }
    group.finish();
}

criterion_group!(benches, small, large);
criterion_main!(benches);
