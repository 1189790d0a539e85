//! Simple letters: a text, perhaps HTML beside it, and attachments.

use base::Timestamp;

use super::transfer::{boundary_for, encode_base64_body, encode_text_body};
use super::{HeaderWriter, encode_text, format_date};
use crate::header::Mailbox;

/// A file in a letter.
#[derive(Clone, Debug)]
pub struct Attachment {
    /// Its name.
    pub filename: String,
    /// Its media type: `image/png`.
    pub media_type: String,
    /// Its content.
    pub content: Vec<u8>,
}

/// A letter to be written. Its time, its id and the randomness for its boundaries are given.
#[derive(Clone, Debug)]
pub struct Compose {
    /// Who writes.
    pub from: Mailbox,
    /// To whom.
    pub to: Vec<Mailbox>,
    /// Who gets a copy.
    pub cc: Vec<Mailbox>,
    /// The subject.
    pub subject: String,
    /// The text; any line ends.
    pub text: String,
    /// The same as HTML.
    pub html: Option<String>,
    /// The files.
    pub attachments: Vec<Attachment>,
    /// The time in the Date field.
    pub date: Timestamp,
    /// The id without angle brackets; see [`message_id`](super::message_id).
    pub message_id: String,
    /// Further fields: name and text.
    pub fields: Vec<(String, String)>,
    /// Makes the boundaries.
    pub random: u64,
}

impl Compose {
    /// A letter with a text only.
    #[must_use]
    pub fn text(from: Mailbox, to: Mailbox, subject: &str, text: &str) -> Self {
        Self {
            from,
            to: vec![to],
            cc: Vec::new(),
            subject: subject.to_owned(),
            text: text.to_owned(),
            html: None,
            attachments: Vec::new(),
            date: Timestamp(0),
            message_id: String::new(),
            fields: Vec::new(),
            random: 0,
        }
    }

    /// The letter, with CRLF lines.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut header = HeaderWriter::new()
            .raw("Date", &format_date(self.date))
            .addresses("From", std::slice::from_ref(&self.from))
            .addresses("To", &self.to);
        if !self.cc.is_empty() {
            header = header.addresses("Cc", &self.cc);
        }
        header = header.text("Subject", &self.subject);
        if !self.message_id.is_empty() {
            header = header.raw("Message-ID", &format!("<{}>", self.message_id));
        }
        for (name, value) in &self.fields {
            header = header.text(name, value);
        }
        let mut out = header.raw("MIME-Version", "1.0").finish();
        out.extend_from_slice(&self.body());
        out
    }

    /// The fields of the outermost part, the empty line, and the body.
    fn body(&self) -> Vec<u8> {
        let mut text = text_part("plain", &self.text);
        if let Some(html) = &self.html {
            text = multipart(
                "alternative",
                self.random.wrapping_add(1),
                &[text, text_part("html", html)],
            );
        }
        if self.attachments.is_empty() {
            return text;
        }
        let mut parts = vec![text];
        parts.extend(self.attachments.iter().map(attachment_part));
        multipart("mixed", self.random, &parts)
    }
}

fn text_part(subtype: &str, text: &str) -> Vec<u8> {
    let (encoding, body) = encode_text_body(text);
    let mut out = HeaderWriter::new()
        .raw("Content-Type", &format!("text/{subtype}; charset=utf-8"))
        .raw("Content-Transfer-Encoding", encoding)
        .finish();
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(&body);
    out
}

fn attachment_part(attachment: &Attachment) -> Vec<u8> {
    // RFC 2231 in full is for the reader; what is written is what all of them understand.
    let name = filename_param(&attachment.filename);
    let mut out = HeaderWriter::new()
        .raw("Content-Type", &attachment.media_type)
        .raw("Content-Disposition", &format!("attachment; {name}"))
        .raw("Content-Transfer-Encoding", "base64")
        .finish();
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(&encode_base64_body(&attachment.content));
    out
}

/// RFC 2183 §2.3 for ASCII names, RFC 2231 §4 for others.
fn filename_param(filename: &str) -> String {
    let simple = filename
        .bytes()
        .all(|b| matches!(b, b' '..=b'~') && !matches!(b, b'"' | b'\\'));
    if simple && encode_text(filename) == filename && !filename.contains("  ") {
        return format!("filename=\"{filename}\"");
    }
    let mut value = String::new();
    for byte in filename.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_') {
            value.push(char::from(byte));
        } else {
            value += &format!("%{byte:02X}");
        }
    }
    format!("filename*=utf-8''{value}")
}

/// A multipart with its fields; each part begins with its own fields.
pub(super) fn multipart(subtype: &str, random: u64, parts: &[Vec<u8>]) -> Vec<u8> {
    let contents: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
    let boundary = boundary_for(random, &contents);
    let mut out = HeaderWriter::new()
        .raw(
            "Content-Type",
            &format!("multipart/{subtype}; boundary=\"{boundary}\""),
        )
        .finish();
    for part in parts {
        out.extend_from_slice(format!("\r\n--{boundary}\r\n").as_bytes());
        out.extend_from_slice(part);
    }
    out.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Message;

    fn mailbox(name: Option<&str>, local: &str) -> Mailbox {
        Mailbox {
            name: name.map(str::to_owned),
            local: local.to_owned(),
            domain: "red.test".to_owned(),
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let content: Vec<u8> = (0..=255).cycle().take(5_000).collect();
        let letter = Compose {
            html: Some("<p>Grüße</p>".to_owned()),
            attachments: vec![
                Attachment {
                    filename: "Übersicht 1.png".to_owned(),
                    media_type: "image/png".to_owned(),
                    content: content.clone(),
                },
                Attachment {
                    filename: "a b.bin".to_owned(),
                    media_type: "application/octet-stream".to_owned(),
                    content: Vec::new(),
                },
            ],
            date: Timestamp::from_secs(1_795_502_285),
            message_id: "1@red.test".to_owned(),
            ..Compose::text(
                mailbox(Some("Älice"), "alice"),
                mailbox(None, "bob"),
                "Grüße",
                "Grüße\naus Köln\n",
            )
        }
        .to_bytes();
        let message = Message::parse(&letter);
        let envelope = message.envelope();
        assert_eq!(envelope.decoded_subject().as_deref(), Some("Grüße"));
        assert_eq!(envelope.id().as_deref(), Some("1@red.test"));
        assert_eq!(
            envelope.sent_at().map(|d| d.timestamp),
            Some(Timestamp::from_secs(1_795_502_285))
        );
        let from = envelope.first_from().unwrap();
        assert_eq!(from.display_name().as_deref(), Some("Älice"));
        assert_eq!(message.text_body(), "Grüße\r\naus Köln\r\n");
        assert_eq!(message.preview(), "Grüße aus Köln");
        let attachments = message.body_lists().attachments;
        assert_eq!(attachments.len(), 2);
        assert_eq!(
            attachments[0].filename().as_deref(),
            Some("Übersicht 1.png")
        );
        assert_eq!(message.decoded(attachments[0]), content);
        assert_eq!(attachments[1].filename().as_deref(), Some("a b.bin"));
        assert!(message.decoded(attachments[1]).is_empty());
    }

    #[test]
    fn a_plain_letter_is_one_part() {
        let letter = Compose::text(mailbox(None, "a"), mailbox(None, "b"), "Hi", "x").to_bytes();
        let expected = "Date: Thu, 1 Jan 1970 00:00:00 +0000\r\nFrom: a@red.test\r\nTo: b@red.test\r\n\
            Subject: Hi\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\
            Content-Transfer-Encoding: 7bit\r\n\r\nx\r\n";
        assert_eq!(String::from_utf8(letter).unwrap(), expected);
    }
}
