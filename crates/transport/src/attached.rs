//! Letters that carry a packed report to another domain: what those of RFC 8460 and RFC 9990 have in
//! common.

use std::io::Write as _;
use std::time::Duration;

use base::{Domain, EmailAddress, Timestamp};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use message::write::{HeaderWriter, format_date};
use store::{DsnReturn, Handling, Letter, Note, Notify, QueueRecipient, Step, Submission, TlsWish};

/// How long a report waits in the queue.
const LIFETIME: Duration = Duration::from_secs(2 * 86_400);
/// The most characters of a base64 line (RFC 2045 §6.8).
const LINE_CHARS: usize = 76;

/// What such a letter is made of.
pub(crate) struct Attached<'a> {
    pub(crate) at: Timestamp,
    /// The domain of ours whose postmaster sends it.
    pub(crate) from: &'a Domain,
    pub(crate) to: &'a EmailAddress,
    pub(crate) subject: &'a str,
    pub(crate) message_id: &'a str,
    /// More fields of the header.
    pub(crate) fields: &'a [(&'a str, &'a str)],
    /// The media type of the whole without its boundary.
    pub(crate) whole_type: &'a str,
    /// What people read: lines of ASCII with CRLF.
    pub(crate) text: &'a str,
    /// The media type of the report.
    pub(crate) file_type: &'a str,
    /// The name of its file.
    pub(crate) file: &'a str,
    /// The report.
    pub(crate) bytes: &'a [u8],
}

/// The letter: a text for people, and the report.
pub(crate) fn letter(parts: &Attached<'_>) -> Vec<u8> {
    // The parts are ours: none of them has a line that begins so.
    let boundary = "=_report";
    let whole_type = format!("{}; boundary=\"{boundary}\"", parts.whole_type);
    let mut header = HeaderWriter::new()
        .raw("Date", &format_date(parts.at))
        .raw("From", &format!("<postmaster@{}>", parts.from))
        .raw("To", &format!("<{}>", parts.to))
        .raw("Subject", parts.subject)
        .raw("Message-ID", &format!("<{}>", parts.message_id));
    for (name, value) in parts.fields {
        header = header.raw(name, value);
    }
    let mut letter = header
        .raw("Auto-Submitted", "auto-generated")
        .raw("MIME-Version", "1.0")
        .raw("Content-Type", &whole_type)
        .finish();
    letter.extend_from_slice(
        format!(
            "\r\n--{boundary}\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\n{}\r\n\
             --{boundary}\r\nContent-Type: {}\r\nContent-Transfer-Encoding: base64\r\n\
             Content-Disposition: attachment;\r\n filename=\"{}\"\r\n\r\n",
            parts.text, parts.file_type, parts.file
        )
        .as_bytes(),
    );
    for line in base64(parts.bytes).as_bytes().chunks(LINE_CHARS) {
        letter.extend_from_slice(line);
        letter.extend_from_slice(b"\r\n");
    }
    letter.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
    letter
}

/// What goes into the queue. Nobody is told when a report cannot be delivered.
pub(crate) fn submission(
    letter: Letter,
    to: &EmailAddress,
    tls: TlsWish,
    at: Timestamp,
    told: String,
) -> Submission {
    Submission {
        needs_utf8: false,
        letter,
        head: Bytes::new(),
        account: None,
        reverse_path: None,
        recipients: vec![QueueRecipient {
            address: to.clone(),
            original: None,
            notify: Notify::NEVER,
        }],
        envelope_id: None,
        dsn_return: DsnReturn::Unasked,
        handling: Handling {
            tls,
            ..Handling::default()
        },
        received_at: at,
        hold_until: None,
        expires_at: at + LIFETIME,
        sent_copy: None,
        notes: vec![Note {
            at,
            recipient: None,
            step: Step::Submitted,
            detail: told,
        }],
    }
}

/// Packs a text by gzip (RFC 1952).
pub(crate) fn pack(text: &str) -> Option<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text.as_bytes()).ok()?;
    encoder.finish().ok()
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}
