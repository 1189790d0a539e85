//! What the checks of a letter cost, without the DNS: SPF through a chain of includes, DMARC with a
//! tree walk, and all of them together with a letter of 5 KB that is signed with RSA.
//!
//! `cargo bench -p pennyblack-mailauth`

use std::collections::BTreeMap;
use std::hint::black_box;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use base::{Domain, Timestamp};
use criterion::{Criterion, criterion_group, criterion_main};
use message::Fields;
use pennyblack_mailauth::dkim::{Algorithm, SigningKey, sign};
use pennyblack_mailauth::dmarc::{self, Authors, Identifier, Method, Policy};
use pennyblack_mailauth::spf::{self, SpfIdentity, SpfInput, SpfResult};
use pennyblack_mailauth::{Answer, Answers, Checks, LetterInput, Need, RecordType, Records};

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

/// A DNS of texts; other names do not exist.
struct Zone(BTreeMap<String, String>);

impl Zone {
    fn new(key: &str) -> Self {
        let mut zone = BTreeMap::new();
        let mut add = |name: &str, text: &str| zone.insert(name.to_owned(), text.to_owned());
        add(
            "red.test",
            "v=spf1 include:_spf.red.test include:other.test ~all",
        );
        add(
            "other.test",
            "v=spf1 ip4:198.51.100.0/24 ip4:203.0.113.0/24 -all",
        );
        let blocks = (1..=3).map(|n| format!("include:_block{n}.red.test "));
        let blocks: String = blocks.collect();
        add("_spf.red.test", &format!("v=spf1 {blocks}~all"));
        for block in 1..=3 {
            let networks = (0..12).map(|n| format!("ip4:10.{block}.{n}.0/24 "));
            let networks: String = networks.collect();
            let last = if block == 3 { "ip4:192.0.2.0/24 " } else { "" };
            let text = format!("v=spf1 {networks}{last}~all");
            add(&format!("_block{block}.red.test"), &text);
        }
        add(
            "_dmarc.red.test",
            "v=DMARC1; p=reject; rua=mailto:reports@red.test",
        );
        add("s1._domainkey.red.test", key);
        Self(zone)
    }

    /// Runs a check to its end as a driver does, with its own answers.
    fn run<T>(&self, mut check: impl FnMut(&Answers) -> Result<T, Need>) -> T {
        let mut answers = Answers::default();
        loop {
            let Need(questions) = match check(&answers) {
                Ok(found) => return found,
                Err(need) => need,
            };
            for question in questions {
                let answer = match (self.0.get(&question.name), question.kind) {
                    (Some(text), RecordType::Txt) => {
                        Answer::Found(Records::Txt(vec![text.clone().into_bytes()]))
                    }
                    _ => Answer::NoName,
                };
                answers.insert(question, answer);
            }
        }
    }
}

fn input() -> SpfInput<'static> {
    SpfInput {
        address: [192, 0, 2, 1].into(),
        helo: "mx.red.test",
        reverse_path: "alice@red.test",
        receiver: "mx.black.test",
        now_secs: NOW.secs(),
    }
}

/// A signed letter, and its key's record.
fn signed_letter() -> Option<(Vec<u8>, String)> {
    let text = "One penny, any distance, to bob at black.test by the next coach.\r\n".repeat(70);
    let letter = format!(
        "From: alice@red.test\r\nTo: bob@black.test\r\nSubject: x\r\n\
         Date: Tue, 24 Nov 2026 09:00:00 +0000\r\nMessage-ID: <1@red.test>\r\n\r\n{text}"
    );
    let pair = KeyPair::generate(KeySize::Rsa2048).ok()?;
    let pkcs8: Pkcs8V1Der<'_> = pair.as_der().ok()?;
    let domain = Domain::parse("red.test").ok()?;
    let key = SigningKey::from_pkcs8(domain, "s1", Algorithm::RsaSha256, pkcs8.as_ref()).ok()?;
    let mut bytes = sign(&[letter.as_bytes()], &[&key], NOW).ok()?;
    bytes.extend_from_slice(letter.as_bytes());
    Some((bytes, key.record().ok()?))
}

fn checks(c: &mut Criterion) {
    let Some((letter, record)) = signed_letter() else {
        return;
    };
    let zone = Zone::new(&record);
    c.bench_function("spf, six records", |b| {
        b.iter(|| {
            let outcome = zone.run(|answers| spf::check(&input(), SpfIdentity::MailFrom, answers));
            assert_eq!(outcome.result, SpfResult::Pass);
        });
    });
    let authors = Authors::read(Fields::new(&letter));
    c.bench_function("dmarc, relaxed alignment", |b| {
        let domain = "bounce.red.test";
        let identifiers = [Identifier {
            domain,
            method: Method::Spf,
            verified: true,
        }];
        b.iter(|| zone.run(|answers| dmarc::evaluate(&authors, &identifiers, answers)));
    });
    c.bench_function("all checks of a signed letter of 5 KB", |b| {
        b.iter(|| {
            let mut checks = Checks::default();
            let read = LetterInput::new(black_box(&letter));
            zone.run(|answers| {
                checks.advance_connection(&input(), answers)?;
                checks.advance_signatures(&read, NOW, answers)?;
                checks.advance_author(&read, answers)
            });
            let mut report = checks.finish();
            if let Some(report) = &mut report {
                report.decide(Policy::Reject, &[]);
                black_box(
                    report
                        .results("mx.black.test", "alice@red.test")
                        .field(false),
                );
            }
        });
    });
}

criterion_group!(benches, checks);
criterion_main!(benches);
