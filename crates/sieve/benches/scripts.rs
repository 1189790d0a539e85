//! The cost of a script: compiling it once, and running it on each letter.
//!
//! `cargo bench -p pennyblack-sieve`

use std::fmt::Write as _;
use std::hint::black_box;

use base::{EmailAddress, Timestamp};
use criterion::{Criterion, criterion_group, criterion_main};
use message::Message;
use pennyblack_sieve::{Answers, Capabilities, Limits, Run, Scores, Script, User, What};

/// A letter of about 5 KB with the header that two servers add.
fn letter() -> String {
    let mut raw = String::new();
    for hop in 0..3 {
        let _ = write!(
            raw,
            "Received: from mail{hop}.red.test (mail{hop}.red.test [192.0.2.{hop}])\r\n by mx.black.test \
             with ESMTPS id 4bXk2v{hop} for <bob@black.test>;\r\n Tue, 24 Nov 2026 06:38:0{hop} +0000\r\n"
        );
    }
    raw += "From: Alice <alice@red.test>\r\nTo: Bob <bob+orders@black.test>\r\n\
            Subject: =?utf-8?q?Your_order_of_Gr=C3=BC=C3=9Fe?=\r\nMessage-ID: <1@red.test>\r\n\
            Date: Tue, 24 Nov 2026 06:38:05 +0000\r\n\r\n";
    raw + &"Dear Bob, the letter of yesterday has arrived.\r\n".repeat(90)
}

/// What people have: a few rules by sender and subject, a tag folder, an answer.
const USUAL: &str = r#"require ["fileinto", "envelope", "subaddress", "variables", "vacation", "imap4flags"];
if header :contains "list-id" ["lists.example.org", "dev.example.org"] { fileinto "Lists"; stop; }
if anyof(address :domain "from" ["shop.example", "store.example"],
         header :matches "subject" ["*invoice*", "*receipt*", "Your order*"]) {
    addflag "\\Flagged"; fileinto "Shopping"; stop;
}
if envelope :detail :matches "to" "*" { fileinto "tags.${1}"; stop; }
vacation "I am away.";
"#;

/// A generated block list.
fn block_list(addresses: usize) -> String {
    let mut script = "if address \"from\" [\"a@b.test\"".to_owned();
    for number in 0..addresses {
        let _ = write!(script, ",\n\"spammer{number}@junk{}.test\"", number % 7);
    }
    script + "] { discard; }\n"
}

fn scripts(c: &mut Criterion) {
    let (raw, limits) = (letter(), Limits::default());
    let message = Message::parse(raw.as_bytes());
    let address = |text: &str| EmailAddress::parse(text).ok();
    let (sender, recipient) = (address("alice@red.test"), address("bob+orders@black.test"));
    let Some(user) = address("bob@black.test").map(User::new) else {
        return;
    };
    let run = Run {
        letter: &message,
        reverse_path: sender.as_ref(),
        recipient: recipient.as_ref(),
        user: &user,
        now: Timestamp::from_secs(1_795_502_285),
        environment: &[],
        scores: Scores::default(),
        limits: &limits,
    };
    let body =
        "require \"body\"; if body :contains [\"lottery\", \"casino\"] { discard; }".to_owned();
    let regex =
        "require \"regex\"; if header :regex \"subject\" \"^(re|aw): .*[0-9]{6}\" { discard; }";
    let named = [
        ("usual", USUAL.to_owned()),
        ("block list of 1,000", block_list(1_000)),
        ("body", body),
        ("regex", regex.to_owned()),
    ];
    for (name, text) in named {
        let compile = || Script::compile(black_box(&text), Capabilities::all(), &limits);
        let Ok(script) = compile() else {
            continue;
        };
        let outcome = script.run(&run, &Answers::default());
        assert!(outcome.is_ok_and(
            |outcome| outcome.error.is_none() && outcome.actions[0].what != What::Discard
        ));
        let mut group = c.benchmark_group(name);
        group.bench_function("compile", |b| b.iter(compile));
        group.bench_function("run", |b| {
            b.iter(|| script.run(black_box(&run), &Answers::default()))
        });
        group.finish();
    }
}

/// The most that a script can take: each runs until it meets a limit.
fn hostile(c: &mut Criterion) {
    let limits = Limits::default();
    let Some(user) = EmailAddress::parse("bob@black.test").ok().map(User::new) else {
        return;
    };
    let many_fields = "X-Field: a\r\n".repeat(9_000) + "\r\nx";
    let long_field = format!(
        "Subject: {}\r\n\r\n{}",
        "a".repeat(60_000),
        "a".repeat(4_000_000)
    );
    let parts = "\r\n--b\r\nA: b\r\n\r\nx".repeat(9_000);
    let many_parts = format!("Content-Type: multipart/mixed; boundary=b\r\n{parts}\r\n--b--\r\n");
    let repeat = |require: &str, test: &str, times: usize| {
        format!(
            "require [\"copy\"{require}];\n{}",
            format!("if {test} {{ discard; }}\n").repeat(times)
        )
    };
    let cases = [
        ("fields", &many_fields, repeat("", "exists [\"a\", \"b\", \"c\", \"d\", \"e\", \"f\", \"g\", \"h\"]", 3_000)),
        ("wildcards", &long_field, repeat("", "header :matches \"subject\" \"*?a?a?a?a?a?a?b*\"", 3_000)),
        ("body", &long_field, repeat(", \"body\"", "body :contains \"aab\"", 3_000)),
        ("small expression", &long_field, repeat(", \"regex\"", "header :regex \"subject\" \"(a?a?a?a?)*b\"", 64)),
        ("large expression", &long_field, repeat(", \"regex\"", "header :regex \"subject\" \"(a?){200}[ab]{300}c\"", 64)),
        ("classes", &long_field, repeat(", \"regex\"", r#"header :regex "subject" "(\\w\\d?|a){2}!""#, 64)),
        ("parts", &many_parts, repeat(", \"foreverypart\", \"mime\"", "header :mime :anychild \"a\" \"c\"", 3_000)),
        (
            "loops",
            &many_parts,
            "require [\"foreverypart\", \"mime\"]; foreverypart { foreverypart { if header :mime \"a\" \"c\" { discard; } } }".to_owned(),
        ),
    ];
    let mut group = c.benchmark_group("hostile");
    group.sample_size(10);
    for (name, raw, text) in cases {
        let message = Message::parse(raw.as_bytes());
        let run = Run {
            letter: &message,
            reverse_path: None,
            recipient: None,
            user: &user,
            now: Timestamp::from_secs(1_795_502_285),
            environment: &[],
            scores: Scores::default(),
            limits: &limits,
        };
        let script = Script::compile(&text, Capabilities::all(), &limits);
        assert!(script.is_ok(), "{script:?}");
        let Ok(script) = script else { continue };
        group.bench_function(name, |b| {
            b.iter(|| script.run(black_box(&run), &Answers::default()))
        });
    }
    group.finish();
}

criterion_group!(benches, scripts, hostile);
criterion_main!(benches);
