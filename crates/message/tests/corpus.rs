//! All letters of two collections, `mime/mime-torture.tar.xz` (what the tests of some 25 other
//! mail programs are made of) and `spam/labelled-clean.tar.xz` (8,000 real letters): what must
//! hold for any letter holds for each, and an independent parser reads the same out of them,
//! except for the differences that are counted here by reason.
//!
//! `SHOW_DIFFERENCES=1` shows each difference. The data lies beside the repository, in `../shared/data`, or where `PENNYBLACK_SHARED` says.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use expect_test::{Expect, expect};
use mail_parser::{MessageParser, MimeHeaders, PartType};
use pennyblack_message::body::{decode_base64, decode_quoted_printable};
use pennyblack_message::search::{SearchText, TextLimits};
use pennyblack_message::{Content, Message, ParseLimits, Part, Span, Structure, Walk};

#[test]
fn torture() {
    check(
        "mime/mime-torture.tar.xz",
        &expect![[r#"
            attachment: 1295 compared, 29 differ
              29 other
            file name: 5320 compared, 28 differ
              8 a charset that the other parser does not read
              2 only white space
              18 other
            files: 3995 compared, 1293 differ
              1293 no letter: only the invariants
            from: 2702 compared, 46 differ
              24 other
              22 the other parser finds no address
            message id: 2702 compared, 11 differ
              11 other
            part count: 2702 compared, 35 differ
              35 other
            subject: 2702 compared, 53 differ
              23 a charset that the other parser does not read
              17 only white space
              13 other
            text: 3533 compared, 140 differ
              57 a charset that the other parser does not read
              1 only white space
              76 other
              6 the other parser leaves it encoded
        "#]],
    );
}

#[test]
fn real_letters() {
    check(
        "spam/labelled-clean.tar.xz",
        &expect![[r#"
            attachment: 382 compared, 4 differ
              4 other
            file name: 8914 compared, 1 differ
              1 other
            files: 8028 compared, 0 differ
            from: 8028 compared, 23 differ
              9 other
              14 the other parser finds no address
            message id: 8028 compared, 31 differ
              31 other
            part count: 8028 compared, 0 differ
            subject: 8028 compared, 232 differ
              65 a charset that the other parser does not read
              157 only white space
              10 other
            text: 8527 compared, 234 differ
              160 a charset that the other parser does not read
              6 only white space
              24 other
              44 the other parser leaves it encoded
        "#]],
    );
}

fn check(archive: &str, expected: &Expect) {
    let mut files = Vec::new();
    collect_files(&unpacked(archive), &mut files);
    files.sort();
    // What an absent or half unpacked archive would look like.
    assert!(files.len() > 1_000, "{} files", files.len());
    let next = AtomicUsize::new(0);
    let total = Mutex::new(Counts::default());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut counts = Counts::default();
                while let Some(path) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let raw = std::fs::read(path).unwrap();
                    check_letter(&raw);
                    compare(&raw, path, &mut counts);
                }
                total.lock().unwrap().add(&counts);
            });
        }
    });
    let total = total.into_inner().unwrap();
    expected.assert_eq(&total.shown());
}

/// The folder into which an archive is unpacked, once per version of the archive.
fn unpacked(archive: &str) -> PathBuf {
    let shared = std::env::var_os("PENNYBLACK_SHARED").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared"),
        PathBuf::from,
    );
    let archive = shared.join("data").join(archive);
    let Ok(metadata) = std::fs::metadata(&archive) else {
        panic!(
            "{} is missing: put the shared data beside the repository, or set PENNYBLACK_SHARED",
            archive.display()
        );
    };
    let name = archive.file_name().unwrap().to_str().unwrap();
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", metadata.len()));
    if folder.exists() {
        return folder;
    }
    // Under another name first, so that a test that was stopped leaves no half of it.
    let half = folder.with_extension(format!("half-{}", std::process::id()));
    std::fs::create_dir_all(&half).unwrap();
    let status = Command::new("tar")
        .arg("-xJf")
        .arg(&archive)
        .arg("-C")
        .arg(&half)
        .status()
        .expect("tar and xz are installed");
    assert!(
        status.success(),
        "tar could not unpack {}",
        archive.display()
    );
    if std::fs::rename(&half, &folder).is_err() {
        // Another run was faster.
        std::fs::remove_dir_all(&half).unwrap();
    }
    folder
}

fn collect_files(folder: &Path, out: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            collect_files(&entry.path(), out);
        } else if kind.is_file() {
            out.push(entry.path());
        }
    }
}

/// What must hold for any bytes.
fn check_letter(raw: &[u8]) {
    let message = Message::parse(raw);
    let structure = message.structure();
    check_part(Span::new(0, raw.len()), &structure.root);
    assert_eq!(structure.root.body.end as usize, raw.len());
    let encoded = structure.encode();
    assert_eq!(Structure::decode(&encoded).as_ref(), Ok(structure));
    // The cache must stay small beside the letter.
    assert!(encoded.len() <= 2 * raw.len() + 200, "{}", encoded.len());
    let parts = structure.root.walk(Walk::IntoMessages);
    assert!(parts.len() <= ParseLimits::default().parts_max + 1);
    for (path, part) in parts {
        assert_eq!(structure.part(&path.0), Some(part));
        assert!(path.0.len() <= 2 * ParseLimits::default().depth_max);
    }
    assert!(message.preview().chars().count() <= 256);
    let _ = (message.text_body(), message.thread_keys());
    let limits = TextLimits::default();
    let text = SearchText::of(&message, &limits);
    assert!(text.body.len() + text.attachments.len() <= limits.text_bytes_max * 2);
}

fn check_part(parent: Span, part: &Part) {
    assert!(parent.contains(part.header) && parent.contains(part.body));
    let mut after = part.body.start;
    match &part.content {
        Content::Leaf => {}
        Content::Multipart(children) => {
            assert!(!children.is_empty());
            for child in children {
                assert!(after <= child.header.start);
                check_part(part.body, child);
                after = child.body.end;
            }
        }
        Content::Message(inner) => check_part(part.body, &inner.root),
    }
}

/// What was compared and what differed.
#[derive(Default)]
struct Counts(BTreeMap<&'static str, (usize, BTreeMap<&'static str, usize>)>);

impl Counts {
    fn add(&mut self, other: &Self) {
        for (what, (compared, differing)) in &other.0 {
            let entry = self.0.entry(what).or_default();
            entry.0 += compared;
            for (why, count) in differing {
                *entry.1.entry(why).or_default() += count;
            }
        }
    }

    /// Counts one comparison; `why` names the difference.
    fn count(&mut self, what: &'static str, why: Option<&'static str>) {
        let entry = self.0.entry(what).or_default();
        entry.0 += 1;
        if let Some(why) = why {
            *entry.1.entry(why).or_default() += 1;
        }
    }

    fn shown(&self) -> String {
        let mut out = String::new();
        for (what, (compared, differing)) in &self.0 {
            let differ: usize = differing.values().sum();
            writeln!(out, "{what}: {compared} compared, {differ} differ").unwrap();
            for (why, count) in differing {
                writeln!(out, "  {count} {why}").unwrap();
            }
        }
        out
    }
}

fn compare(raw: &[u8], path: &Path, counts: &mut Counts) {
    if !looks_like_letter(raw) {
        counts.count("files", Some("no letter: only the invariants"));
        return;
    }
    let Ok(theirs) = catch_unwind(|| MessageParser::default().parse(raw)) else {
        counts.count("files", Some("the other parser panics"));
        return;
    };
    let Some(theirs) = theirs else {
        counts.count("files", Some("the other parser finds no letter"));
        return;
    };
    counts.count("files", None);
    let ours = Message::parse(raw);
    let mut note = |what: &'static str, why: Option<&'static str>, detail: (String, String)| {
        if why.is_some() && std::env::var_os("SHOW_DIFFERENCES").is_some() {
            let (ours, theirs) = from_difference(&detail.0, &detail.1);
            eprintln!(
                "{what} {}\n  ours   {ours:?}\n  theirs {theirs:?}",
                path.display()
            );
        }
        counts.count(what, why);
    };
    let subjects = (
        ours.envelope().decoded_subject().unwrap_or_default(),
        theirs.subject().unwrap_or_default().to_owned(),
    );
    note(
        "subject",
        why_texts_differ(&subjects.0, &subjects.1),
        subjects,
    );
    let ids = (
        ours.envelope().id().unwrap_or_default(),
        theirs.message_id().unwrap_or_default().to_owned(),
    );
    note("message id", (ids.0 != ids.1).then_some("other"), ids);
    let froms = (
        ours.envelope()
            .first_from()
            .map(|m| m.email())
            .unwrap_or_default(),
        theirs
            .from()
            .and_then(|a| a.first())
            .and_then(|a| a.address())
            .unwrap_or_default()
            .to_owned(),
    );
    let why = match froms.1.split('@').next() {
        _ if froms.0 == froms.1 => None,
        None | Some("") => Some("the other parser finds no address"),
        Some(_) => Some("other"),
    };
    note("from", why, froms);
    compare_parts(&ours, &theirs, &mut note);
}

type Note<'a> = dyn FnMut(&'static str, Option<&'static str>, (String, String)) + 'a;

fn compare_parts(ours: &Message<'_>, theirs: &mail_parser::Message<'_>, note: &mut Note<'_>) {
    let our_parts = ours.leaves();
    let their_parts: Vec<_> = theirs.parts.iter().filter(|p| !p.is_multipart()).collect();
    let counts = (our_parts.len(), their_parts.len());
    let shown = (counts.0.to_string(), counts.1.to_string());
    note(
        "part count",
        (counts.0 != counts.1).then_some("other"),
        shown,
    );
    if counts.0 != counts.1 {
        return;
    }
    for (our, their) in our_parts.into_iter().zip(their_parts) {
        let names = (
            our.filename().unwrap_or_default(),
            their.attachment_name().unwrap_or_default().to_owned(),
        );
        note("file name", why_texts_differ(&names.0, &names.1), names);
        match &their.body {
            PartType::Text(text) | PartType::Html(text) => {
                let texts = (ours.text(our), text.to_string());
                note("text", why_texts_differ(&texts.0, &texts.1), texts);
            }
            PartType::Binary(bytes) | PartType::InlineBinary(bytes) => {
                let decoded = ours.decoded(our);
                let differ = *decoded != **bytes;
                let shown = |bytes: &[u8]| {
                    format!(
                        "{} {:?}",
                        bytes.len(),
                        String::from_utf8_lossy(&bytes[..bytes.len().min(80)])
                    )
                };
                note(
                    "attachment",
                    differ.then_some("other"),
                    (shown(&decoded), shown(bytes)),
                );
            }
            PartType::Message(_) | PartType::Multipart(_) => {}
        }
    }
}

/// Whether the first line is a field, as most files of the collections are no letters.
fn looks_like_letter(raw: &[u8]) -> bool {
    let line = raw.split(|b| *b == b'\n').next().unwrap_or_default();
    let name = line.split(|b| *b == b':').next().unwrap_or_default();
    name.len() < line.len()
        && !name.is_empty()
        && name.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'-')
}

/// Both texts from a little before their first difference on, cut.
fn from_difference(ours: &str, theirs: &str) -> (String, String) {
    let same = ours
        .chars()
        .zip(theirs.chars())
        .take_while(|(a, b)| a == b)
        .count();
    let cut = |text: &str| {
        text.chars()
            .skip(same.saturating_sub(20))
            .take(100)
            .collect()
    };
    (cut(ours), cut(theirs))
}

fn why_texts_differ(ours: &str, theirs: &str) -> Option<&'static str> {
    if ours == theirs {
        return None;
    }
    let squeeze = |text: &str| text.split_whitespace().collect::<String>();
    let (ours, theirs) = (squeeze(ours), squeeze(theirs));
    if ours == theirs {
        return Some("only white space");
    }
    if theirs.contains('\u{fffd}') && !ours.contains('\u{fffd}') {
        return Some("a charset that the other parser does not read");
    }
    let decoded = [
        decode_base64(theirs.as_bytes()),
        decode_quoted_printable(theirs.as_bytes()),
    ];
    if decoded
        .iter()
        .any(|d| squeeze(&String::from_utf8_lossy(d)) == ours)
    {
        return Some("the other parser leaves it encoded");
    }
    Some("other")
}
