//! The cost of a letter on its way: parsing, the cached form, the preview, and decoding.
//!
//! `cargo bench -p pennyblack-message`

use std::hint::black_box;

use base::Timestamp;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use pennyblack_message::write::{Attachment, Compose};
use pennyblack_message::{Mailbox, Message, Structure};

/// A letter as a person writes it, with the header that two servers add, of about 5 KB.
fn letter_5_kb() -> Vec<u8> {
    let mut raw = String::new();
    for hop in 0..3 {
        raw += &format!(
            "Received: from mail{hop}.red.test (mail{hop}.red.test [192.0.2.{hop}])\r\n by \
             mx.black.test with ESMTPS id 4bXk2v{hop} for <bob@black.test>;\r\n Tue, 24 Nov 2026 \
             06:38:0{hop} +0000\r\n"
        );
    }
    raw += &format!(
        "DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=red.test; s=1;\r\n b={}\r\n",
        "abcdefgh".repeat(30)
    );
    let mut letter = compose(&"Dear Bob, the letter of yesterday has arrived.\n".repeat(33));
    letter.html = Some("<p>Dear Bob, the letter of <b>yesterday</b> has arrived.</p>\n".repeat(33));
    let mut raw = raw.into_bytes();
    raw.extend_from_slice(&letter.to_bytes());
    raw
}

/// A letter of 1 MB, nearly all of it an attachment.
fn letter_1_mb() -> Vec<u8> {
    let mut letter = compose("Dear Bob, here is the picture.\n");
    letter.attachments.push(Attachment {
        filename: "picture.png".into(),
        media_type: "image/png".into(),
        content: (0..=255).cycle().take(750_000).collect(),
    });
    letter.to_bytes()
}

fn compose(text: &str) -> Compose {
    let mailbox = |name: &str, local: &str, domain: &str| Mailbox {
        name: Some(name.into()),
        local: local.into(),
        domain: domain.into(),
    };
    let mut letter = Compose::text(
        mailbox("Alice Müller", "alice", "red.test"),
        mailbox("Bob", "bob", "black.test"),
        "Grüße aus Köln",
        text,
    );
    letter.date = Timestamp::from_secs(1_795_502_285);
    letter.message_id = "19a.0123456789abcdef@red.test".into();
    letter
        .fields
        .push(("References".into(), "<1@red.test> <2@black.test>".into()));
    letter
}

fn letters(c: &mut Criterion) {
    for (name, raw) in [("5 KB", letter_5_kb()), ("1 MB", letter_1_mb())] {
        let mut group = c.benchmark_group(name);
        group.throughput(Throughput::Bytes(raw.len() as u64));
        group.bench_function("parse", |b| b.iter(|| Message::parse(black_box(&raw))));
        let message = Message::parse(&raw);
        let encoded = message.structure().encode();
        group.bench_function("encode structure", |b| {
            b.iter(|| black_box(message.structure()).encode());
        });
        group.bench_function("decode structure", |b| {
            b.iter(|| Structure::decode(black_box(&encoded)));
        });
        group.bench_function("preview", |b| b.iter(|| black_box(&message).preview()));
        group.bench_function("thread keys", |b| {
            b.iter(|| black_box(&message).thread_keys())
        });
        let last = message
            .leaves()
            .pop()
            .map(|part| message.decoded(part).len());
        assert!(last.is_some_and(|length| length > 0));
        group.bench_function("decode last part", |b| {
            b.iter(|| {
                message
                    .leaves()
                    .pop()
                    .map(|part| message.decoded(part).len())
            });
        });
        group.finish();
    }
}

criterion_group!(benches, letters);
criterion_main!(benches);
