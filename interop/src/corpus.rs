//! Real letters for tests: a collection of other people's mail, which is not part of the
//! repository, made ready to be sent by a user of ours.
//!
//! The collection lies in `../shared/data` beside the repository, or below where `PENNYBLACK_SHARED`
//! says.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::process::{must_run, program};

/// A letter of the collection.
#[derive(Clone, Debug)]
pub struct Letter {
    /// Its path in the collection.
    pub name: String,
    /// The Message-ID that it was given, without brackets.
    pub message_id: String,
    /// The letter with CRLF line ends, from the user.
    pub bytes: Vec<u8>,
}

/// A line longer than this may be broken on the way (RFC 5321 §4.5.3.1.6).
const LINE_BYTES_MAX: usize = 998;

/// Larger letters are tested by themselves.
const LETTER_BYTES_MAX: usize = 3 << 20;

/// Where the collection is.
///
/// # Panics
/// When it is not there: a test that has nothing to send shows nothing.
fn directory() -> PathBuf {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared");
    let dir = std::env::var_os("PENNYBLACK_SHARED")
        .map_or_else(beside, PathBuf::from)
        .join("data");
    assert!(
        dir.is_dir(),
        "{} is missing: put the shared data beside the repository, or set PENNYBLACK_SHARED",
        dir.display()
    );
    dir
}

/// Unpacks the collection of MIME letters and gives at most `most_of_a_type` for each media type
/// of an attachment, in a fixed order, sent by `from`.
#[must_use]
pub fn with_attachments(scratch: &Path, from: &str, most_of_a_type: usize) -> Vec<Letter> {
    let mut command = Command::new(program("tar"));
    command
        .arg("-xJf")
        .arg(directory().join("mime/mime-torture.tar.xz"))
        .arg("-C")
        .arg(scratch);
    must_run(&mut command, Duration::from_secs(120));
    let mut of_type: BTreeMap<String, usize> = BTreeMap::new();
    let mut letters: Vec<Letter> = Vec::new();
    for path in files(&scratch.join("mime")) {
        let bytes = std::fs::read(&path).unwrap_or_default();
        let types = attachment_types(&bytes);
        let fresh = |kind: &String| of_type.get(kind).is_none_or(|had| *had < most_of_a_type);
        if bytes.len() > LETTER_BYTES_MAX || !types.iter().any(fresh) {
            continue;
        }
        let name = path
            .strip_prefix(scratch)
            .unwrap_or(&path)
            .display()
            .to_string();
        let message_id = format!("collected.{}@letters.test", letters.len());
        if let Some(bytes) = as_sent_by(&bytes, from, &message_id) {
            for kind in types {
                *of_type.entry(kind).or_default() += 1;
            }
            letters.push(Letter {
                name,
                message_id,
                bytes,
            });
        }
    }
    letters
}

/// Unpacks the collection of MIME letters and gives at most `most` of its files that are letters, as
/// they are, spread over the whole of it.
#[must_use]
pub fn any(scratch: &Path, most: usize) -> Vec<Vec<u8>> {
    std::fs::create_dir_all(scratch).expect("a directory of ours can be made");
    let mut command = Command::new(program("tar"));
    command
        .arg("-xJf")
        .arg(directory().join("mime/mime-torture.tar.xz"))
        .arg("-C")
        .arg(scratch);
    must_run(&mut command, Duration::from_secs(120));
    let mut paths = files(&scratch.join("mime"));
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "eml"));
    let step = paths.len().div_ceil(most.max(1)).max(1);
    paths
        .into_iter()
        .step_by(step)
        .filter_map(|path| std::fs::read(path).ok())
        .filter(|bytes| !bytes.is_empty() && bytes.len() <= LETTER_BYTES_MAX)
        .collect()
}

/// The media types of parts that are neither text nor multipart.
fn attachment_types(letter: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(letter);
    let mut types = Vec::new();
    for line in text.lines() {
        let Some(value) = strip_name(line, "content-type:") else {
            continue;
        };
        let kind = value
            .split(';')
            .next()
            .unwrap_or_default()
            .trim()
            .to_ascii_lowercase();
        let wanted = ["image/", "audio/", "video/", "application/"];
        if wanted.iter().any(|prefix| kind.starts_with(prefix)) && !types.contains(&kind) {
            types.push(kind);
        }
    }
    types
}

fn strip_name<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let (head, value) = line.split_at_checked(name.len())?;
    head.eq_ignore_ascii_case(name).then_some(value)
}

/// The letter as a client of `from` would send it: CRLF line ends, its own sender, date and id.
/// `None` when no client would send it: NUL or bare CR, overlong lines, a header that is not ASCII
/// or no header.
fn as_sent_by(letter: &[u8], from: &str, message_id: &str) -> Option<Vec<u8>> {
    let lines: Vec<&[u8]> = letter
        .strip_suffix(b"\n")
        .unwrap_or(letter)
        .split(|byte| *byte == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
        .collect();
    let fine =
        |line: &&[u8]| line.len() <= LINE_BYTES_MAX && !line.contains(&0) && !line.contains(&b'\r');
    let end = lines.iter().position(|line| line.is_empty())?;
    let header = &lines[..end];
    if !lines.iter().all(fine) || !header.iter().all(|line| line.is_ascii()) {
        return None;
    }
    let mut out = format!(
        "From: <{from}>\r\nDate: Tue, 24 Nov 2026 09:00:00 +0000\r\nMessage-ID: <{message_id}>\r\n"
    )
    .into_bytes();
    let mut kept = true;
    for (place, line) in header.iter().enumerate() {
        let folded = line.starts_with(b" ") || line.starts_with(b"\t");
        if folded {
            if place == 0 {
                return None;
            }
        } else {
            let (name, _) = line.split_at(line.iter().position(|byte| *byte == b':')?);
            let name = String::from_utf8_lossy(name).trim().to_ascii_lowercase();
            if name.contains(' ') {
                return None;
            }
            kept = !LEFT_OUT.contains(&name.as_str());
        }
        if kept {
            out.extend_from_slice(line);
            out.extend_from_slice(b"\r\n");
        }
    }
    for line in &lines[end..] {
        out.extend_from_slice(line);
        out.extend_from_slice(b"\r\n");
    }
    Some(out)
}

/// Fields that the sending client or the servers write, and that clients add to their copies.
const LEFT_OUT: &[&str] = &[
    "from",
    "sender",
    "date",
    "message-id",
    "bcc",
    "return-path",
    "delivered-to",
    "received",
    "content-length",
    "lines",
    "status",
    "x-tuid",
    "reply-to",
];

/// All files below a directory in a fixed order.
fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    let below = |path: PathBuf| {
        if path.is_dir() {
            files(&path)
        } else {
            vec![path]
        }
    };
    paths.into_iter().flat_map(below).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_gets_our_sender_and_keeps_its_body() {
        let letter = b"From: x@y.test\n folded\nSubject: s\nDate: now\n\n.body\n\nend\n";
        let sent = as_sent_by(letter, "alice@red.test", "1@a.test").unwrap();
        assert_eq!(
            String::from_utf8(sent).unwrap(),
            "From: <alice@red.test>\r\nDate: Tue, 24 Nov 2026 09:00:00 +0000\r\n\
             Message-ID: <1@a.test>\r\nSubject: s\r\n\r\n.body\r\n\r\nend\r\n"
        );
    }

    #[test]
    fn what_no_client_would_send_is_left_out() {
        for letter in [
            "a: b\n\nnul \0\n",
            "a: b\n\nbare \r cr\n",
            "no header\n",
            "a: \u{e4}\n\nx\n",
        ] {
            assert!(
                as_sent_by(letter.as_bytes(), "a@b.test", "1@a.test").is_none(),
                "{letter:?}"
            );
        }
    }
}
