//! What holds for any bytes: no panic, spans inside of the letter, and what is written is read
//! again.

use base::Timestamp;
use pennyblack_message::body::{
    TransferEncoding, charset_to_utf8, decode_base64, decode_quoted_printable, html_to_text,
    preview_of,
};
use pennyblack_message::header::{decode_text, parse_addresses, parse_content_value, parse_date};
use pennyblack_message::search::{SearchText, TextLimits};
use pennyblack_message::thread::base_subject;
use pennyblack_message::write::{
    Attachment, Compose, HeaderWriter, encode_phrase, encode_text, format_date,
};
use pennyblack_message::{
    DEPTH_MAX, Envelope, Mailbox, Message, ParseLimits, Part, Span, Structure, Walk,
};
use proptest::collection::vec;
use proptest::prelude::*;

/// Everything that must hold for the tree of any letter.
fn check_tree(raw: &[u8], structure: &Structure) {
    let whole = Span::new(0, raw.len());
    assert_eq!(structure.root.header.start, 0);
    assert_eq!(structure.root.body.end as usize, raw.len());
    check_part(whole, &structure.root);
    let decoded = Structure::decode(&structure.encode());
    assert_eq!(decoded.as_ref(), Ok(structure));
    let envelope = &structure.envelope;
    assert_eq!(Envelope::decode(&envelope.encode()).as_ref(), Ok(envelope));
    for (path, part) in structure.root.walk(Walk::IntoMessages) {
        assert_eq!(structure.part(&path.0), Some(part));
    }
}

fn check_part(parent: Span, part: &Part) {
    assert!(parent.contains(part.header) && parent.contains(part.body));
    assert!(part.header.end <= part.body.start);
    assert!(part.lines as usize <= part.body.len());
    let mut after = part.body.start;
    for child in part.children() {
        assert!(after <= child.header.start, "children do not overlap");
        check_part(part.body, child);
        after = child.body.end;
    }
    if let Some(inner) = part.message() {
        check_part(part.body, &inner.root);
    }
}

/// Uses everything a letter offers.
fn use_all(raw: &[u8]) {
    let message = Message::parse(raw);
    check_tree(raw, message.structure());
    let _ = message.text_body();
    let _ = SearchText::of(&message, &TextLimits::default());
    let _ = message.thread_keys();
    let _ = message.has_attachment();
    let _ = message.received_count();
    assert!(message.preview().chars().count() <= 256);
    for part in message.leaves() {
        assert!(message.decoded(part).len() <= part.body.len());
        let _ = message.text(part);
        let _ = part.filename();
        let _ = part.decoded_description();
    }
    for field in message.fields() {
        let text = field.raw_text();
        assert!(!text.contains(['\r', '\n', '\0']), "{text:?}");
        assert!(!field.text().contains(['\r', '\n', '\0']));
        let _ = field.addresses();
        let _ = field.message_ids();
        let _ = field.date();
        let _ = parse_content_value(field.value, 10);
    }
}

/// Letters put together from pieces that mean something to the parser.
fn letter() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just(b"\r\n".to_vec()),
        Just(b"\n".to_vec()),
        Just(b"\r\n\r\n".to_vec()),
        Just(b"--a\r\n".to_vec()),
        Just(b"--a--\r\n".to_vec()),
        Just(b"--b\n".to_vec()),
        Just(b"--b--".to_vec()),
        Just(b"Content-Type: multipart/mixed; boundary=a\r\n\r\n".to_vec()),
        Just(b"Content-Type: multipart/digest;\r\n boundary=\"b\"\r\n\r\n".to_vec()),
        Just(b"Content-Type: message/rfc822\r\n\r\n".to_vec()),
        Just(b"Content-Type: text/html; charset=utf-7\n\n".to_vec()),
        Just(b"Content-Transfer-Encoding: base64\r\n".to_vec()),
        Just(b"Content-Disposition: attachment; filename*0*=utf-8''%C3; filename*1=x\r\n".to_vec()),
        Just(b"From: a <b@c>, d:e@f;\r\n".to_vec()),
        Just(b"Subject: =?utf-8?q?=C3=A4?= =?utf-8?b?\r\n".to_vec()),
        Just(b"References: <a@b> <\r\n".to_vec()),
        Just(b"Date: Tue, 24 Nov 2026 06:38:05 +0100\r\n".to_vec()),
        "[ -~]{0,20}".prop_map(String::into_bytes),
        vec(any::<u8>(), 0..20),
    ];
    vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn any_bytes(raw in vec(any::<u8>(), 0..2_000)) {
        use_all(&raw);
    }

    #[test]
    fn any_pieces(raw in letter()) {
        use_all(&raw);
    }

    #[test]
    fn small_limits(raw in letter(), depth in 0_usize..4, parts in 0_usize..6, few in 0_usize..40) {
        let limits = ParseLimits {
            depth_max: depth,
            parts_max: parts,
            header_fields_max: few,
            header_bytes_max: few,
            addresses_max: few,
            params_max: few,
        };
        let message = Message::parse_with(&raw, &limits);
        check_tree(&raw, message.structure());
        // The letter itself, and the opaque rest, are beyond the limit at most; inner letters count
        // twice, as a part and as a letter.
        prop_assert!(message.structure().root.walk(Walk::IntoMessages).len() <= parts + 2);
    }

    #[test]
    fn damaged_structures(bytes in vec(any::<u8>(), 0..300), raw in letter(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let _ = Structure::decode(&bytes);
        let _ = Envelope::decode(&bytes);
        let mut encoded = Message::parse(&raw).into_structure().encode();
        for end in 0..encoded.len() {
            prop_assert!(Structure::decode(&encoded[..end]).is_err());
        }
        let at = at.index(encoded.len());
        encoded[at] = byte;
        if let Ok(structure) = Structure::decode(&encoded) {
            // It belongs to no letter, but it must do no harm.
            let message = Message::with_structure(&raw, structure);
            let _ = message.text_body();
            let _ = message.preview();
            let _ = SearchText::of(&message, &TextLimits::default());
        }
    }

    #[test]
    fn any_value(bytes in vec(any::<u8>(), 0..200), charset in "[ -~]{0,20}") {
        let _ = parse_addresses(&bytes, 10);
        let _ = decode_text(&bytes);
        let _ = charset_to_utf8(&bytes, &charset);
        for name in ["base64", "quoted-printable", "x-uuencode", "8bit"] {
            prop_assert!(TransferEncoding::from_name(name).decode(&bytes).len() <= bytes.len());
        }
        let text = String::from_utf8_lossy(&bytes);
        let _ = parse_date(&text);
        let _ = base_subject(&text);
        let _ = html_to_text(&text, 100);
        prop_assert!(preview_of(&text, 10).chars().count() <= 10);
    }

    #[test]
    fn any_html(html in "[<>&;/!\"'a-z \\-#]{0,200}") {
        let _ = html_to_text(&html, 1_000);
    }

    #[test]
    fn text_survives(text in "\\PC{0,200}") {
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let encoded = encode_text(&text);
        prop_assert!(encoded.is_ascii());
        prop_assert_eq!(decode_text(encoded.as_bytes()), text.clone());
        let field = HeaderWriter::new().text("Subject", &text).finish();
        prop_assert_eq!(Message::parse(&field).envelope().decoded_subject().unwrap(), text.clone());
        let from = format!("{} <a@b>", encode_phrase(&text));
        let list = parse_addresses(from.as_bytes(), 10);
        let name = list.mailboxes().next().and_then(Mailbox::display_name);
        prop_assert_eq!(name.unwrap_or_default(), text);
    }

    #[test]
    fn fields_cannot_be_injected(value in "\\PC{0,50}[\r\n\\x00-\\x1f]{0,4}\\PC{0,1500}") {
        let header = HeaderWriter::new().raw("X", &value).text("Y", &value).finish();
        prop_assert_eq!(Message::parse(&header).fields().count(), 2);
        prop_assert!(header.split(|b| *b == b'\n').all(|line| line.len() <= 999));
    }

    #[test]
    fn dates_survive(secs in -62_135_596_800_i64..253_402_300_800) {
        let moment = Timestamp::from_secs(secs);
        prop_assert_eq!(parse_date(&format_date(moment)).map(|d| d.timestamp), Some(moment));
    }

    #[test]
    fn letters_survive(
        text in "[\\PC\n]{0,300}",
        filename in "[ -~äß日]{1,40}",
        content in vec(any::<u8>(), 0..400),
        random in any::<u64>(),
    ) {
        let mailbox = Mailbox { name: None, local: "a".into(), domain: "b.test".into() };
        let filename = filename.trim().to_owned();
        prop_assume!(!filename.is_empty());
        let mut letter = Compose::text(mailbox.clone(), mailbox, "s", &text);
        letter.random = random;
        letter.attachments.push(Attachment {
            filename: filename.clone(),
            media_type: "application/pdf".into(),
            content: content.clone(),
        });
        let raw = letter.to_bytes();
        prop_assert!(raw.split(|b| *b == b'\n').all(|line| line.len() <= 999));
        let message = Message::parse(&raw);
        check_tree(&raw, message.structure());
        let lists = message.body_lists();
        let attachment = lists.attachments[0];
        prop_assert_eq!(attachment.filename(), Some(filename));
        prop_assert_eq!(message.decoded(attachment).into_owned(), content);
        let read = message.text_body();
        prop_assert_eq!(read.lines().collect::<Vec<_>>(), text.lines().collect::<Vec<_>>());
    }

    #[test]
    fn encodings_agree_with_the_crate(content in vec(any::<u8>(), 0..300)) {
        use base64::Engine as _;
        let encoded = base64::engine::general_purpose::STANDARD.encode(&content);
        prop_assert_eq!(decode_base64(encoded.as_bytes()), content.clone());
        let escaped: String = content.iter().map(|b| format!("={b:02x}")).collect();
        prop_assert_eq!(decode_quoted_printable(escaped.as_bytes()), content);
    }
}

/// Test threads have the 2 MiB stack of the threads that parse in the server.
#[test]
fn the_deepest_letters_fit_on_the_stack() {
    let limits = ParseLimits {
        depth_max: usize::MAX,
        ..ParseLimits::default()
    };
    for level in [
        "Content-Type: multipart/mixed; boundary=a\n\n--a\n",
        "Content-Type: message/rfc822\n\n",
    ] {
        let raw = level.repeat(2 * DEPTH_MAX);
        let message = Message::parse_with(raw.as_bytes(), &limits);
        check_tree(raw.as_bytes(), message.structure());
        let parts = message.structure().root.walk(Walk::IntoMessages);
        let deepest = parts.iter().map(|(path, _)| path.0.len()).max();
        // An inner letter that is no multipart is part 1 of itself.
        let own_number = usize::from(level.contains("rfc822"));
        assert_eq!(deepest, Some(DEPTH_MAX + own_number));
    }
}

/// Letters that make careless parsers slow or deep. A parser whose work grows with the square of
/// their length would run into the time limit of the test runner here; ours takes a second.
#[test]
fn hostile_letters_are_cheap() {
    let shapes: [(&str, &str); 12] = [
        ("Subject: ", "=?a?q? "),
        ("Subject: ", "[a]"),
        ("Subject: ", "=?utf-8?b?"),
        ("From: ", "<"),
        ("From: ", "(\"<@:"),
        ("References: ", "<a"),
        ("Content-Type: text/plain", ";a=\"b\\"),
        ("Content-Type: text/html\n\n", "<script><style><!"),
        ("Content-Type: text/html\n\n", "<a '><b \">&amp;&x"),
        ("Content-Type: multipart/mixed; boundary=a\n\n", "--a\n"),
        ("", "Content-Type: multipart/mixed; boundary=a\n\n--a\n"),
        ("", "Content-Type: message/rfc822\n\n"),
    ];
    for (start, repeated) in shapes {
        let raw = [start, &repeated.repeat(300_000 / repeated.len())].concat();
        use_all(raw.as_bytes());
    }
}
