//! Notifications by mail (RFC 5436): the URI `mailto:` (RFC 6068) and the letter.

use base::{EmailAddress, Timestamp};
use message::Mailbox;
use message::write::{HeaderWriter, format_date};

use crate::outcome::{Importance, Notification};
use crate::vacation::text_entity;

/// The methods of `notify`, as ManageSieve announces them (RFC 5804 §1.7).
pub const NOTIFY_METHODS: &str = "mailto";

/// Recipients of one notification.
const RECIPIENTS_MAX: usize = 10;
/// Header fields that one URI adds.
const FIELDS_MAX: usize = 10;

/// A `mailto` URI, read.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct MailtoUri {
    pub(crate) to: Vec<EmailAddress>,
    pub(crate) cc: Vec<EmailAddress>,
    pub(crate) bcc: Vec<EmailAddress>,
    pub(crate) subject: Option<String>,
    pub(crate) body: Option<String>,
    pub(crate) fields: Vec<(String, String)>,
}

impl MailtoUri {
    /// `mailtoURI = "mailto:" [ to ] [ "?" hfield *( "&" hfield ) ]`.
    ///
    /// # Errors
    /// What is wrong with it, for the script's owner.
    pub(crate) fn parse(uri: &str) -> Result<Self, String> {
        let Some((scheme, rest)) = uri.split_once(':') else {
            return Err("a notification goes to a URI like \"mailto:me@example.org\"".to_owned());
        };
        if !scheme.eq_ignore_ascii_case("mailto") {
            let scheme: String = scheme.chars().take(30).collect();
            return Err(format!(
                "notifications by \"{}\" are not supported",
                scheme.escape_debug()
            ));
        }
        let (to, fields) = rest.split_once('?').unwrap_or((rest, ""));
        let mut out = Self::default();
        addresses(to, &mut out.to)?;
        for field in fields.split('&').filter(|field| !field.is_empty()) {
            let Some((name, value)) = field.split_once('=') else {
                return Err("a header field in the URI has no `=`".to_owned());
            };
            out.field(&decode(name)?.to_ascii_lowercase(), value)?;
        }
        let count = out.to.len() + out.cc.len() + out.bcc.len();
        if count == 0 {
            return Err("the URI names no address".to_owned());
        }
        if count > RECIPIENTS_MAX {
            return Err(format!(
                "a notification may go to {RECIPIENTS_MAX} addresses"
            ));
        }
        Ok(out)
    }

    fn field(&mut self, name: &str, value: &str) -> Result<(), String> {
        match name {
            "to" => addresses(value, &mut self.to)?,
            "cc" => addresses(value, &mut self.cc)?,
            "bcc" => addresses(value, &mut self.bcc)?,
            "subject" => self.subject = Some(crate::vacation::one_line(&decode(value)?)),
            "body" => self.body = Some(decode(value)?),
            // RFC 5436 §2.3: the interpreter sets these itself, or they lie about the letter's way.
            "from" | "sender" | "date" | "message-id" | "received" | "return-path" | "reply-to"
            | "auto-submitted" | "in-reply-to" | "references" | "mime-version" | "importance" => {}
            name if name.starts_with("content-") || name.starts_with("resent-") => {}
            name if name.starts_with("dkim-")
                || name.starts_with("arc-")
                || name.starts_with("list-") => {}
            name if crate::compile::is_field_name(name) && self.fields.len() < FIELDS_MAX => {
                let value = crate::vacation::one_line(&decode(value)?);
                self.fields.push((name.to_owned(), value));
            }
            _ => return Err("the URI has a wrong header field, or too many".to_owned()),
        }
        Ok(())
    }
}

fn addresses(text: &str, out: &mut Vec<EmailAddress>) -> Result<(), String> {
    for part in text.split(',').filter(|part| !part.is_empty()) {
        let decoded = decode(part)?;
        match EmailAddress::parse(decoded.trim()) {
            Ok(address) => out.push(address),
            Err(error) => return Err(format!("the URI has a wrong address: {error}")),
        }
    }
    Ok(())
}

/// RFC 3986 §2.1.
fn decode(text: &str) -> Result<String, String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let digit = |byte: Option<u8>| byte.and_then(|b| char::from(b).to_digit(16));
        match (digit(bytes.next()), digit(bytes.next())) {
            (Some(high), Some(low)) => out.push(u8::try_from(high * 16 + low).unwrap_or_default()),
            _ => return Err("a `%` in the URI has no two digits after it".to_owned()),
        }
    }
    String::from_utf8(out).map_err(|_| "the URI is not UTF-8".to_owned())
}

impl Notification {
    /// The notification as a letter. Its reverse-path is null (RFC 5436 §2.4); `message_id` is
    /// without angle brackets.
    #[must_use]
    pub fn to_bytes(&self, now: Timestamp, message_id: &str) -> Vec<u8> {
        let mailboxes =
            |list: &[EmailAddress]| -> Vec<Mailbox> { list.iter().map(mailbox).collect() };
        let mut header = HeaderWriter::new()
            .raw("Date", &format_date(now))
            .addresses("From", &[mailbox(&self.from)]);
        for (name, list) in [("To", &self.to), ("Cc", &self.cc)] {
            if !list.is_empty() {
                header = header.addresses(name, &mailboxes(list));
            }
        }
        header = header
            .text("Subject", &self.subject)
            .raw("Message-ID", &format!("<{message_id}>"))
            // RFC 5436 §2.7.1.
            .raw(
                "Auto-Submitted",
                &format!("auto-notified; owner-email=\"{}\"", self.owner),
            );
        let importance = match self.importance {
            Importance::High => Some("high"),
            Importance::Normal => None,
            Importance::Low => Some("low"),
        };
        if let Some(importance) = importance {
            header = header.raw("Importance", importance);
        }
        for (name, value) in &self.fields {
            header = header.text(name, value);
        }
        let mut out = header.raw("MIME-Version", "1.0").finish();
        out.extend_from_slice(&text_entity(&self.text));
        out
    }
}

fn mailbox(address: &EmailAddress) -> Mailbox {
    Mailbox {
        name: None,
        local: address.local.as_str().to_owned(),
        domain: address.domain.as_str().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc_5436_2_3_uris() {
        let uri = MailtoUri::parse(
            "mailto:a%2Bb@x.test,c@x.test?subject=Hello%20you&to=d@x.test&body=%C3%A9&X-Prio=1&from=evil@x.test",
        )
        .unwrap();
        let to: Vec<String> = uri.to.iter().map(ToString::to_string).collect();
        assert_eq!(to, ["a+b@x.test", "c@x.test", "d@x.test"]);
        assert_eq!(uri.subject.as_deref(), Some("Hello you"));
        assert_eq!(uri.body.as_deref(), Some("é"));
        assert_eq!(uri.fields, [("x-prio".to_owned(), "1".to_owned())]);
        for bad in [
            "me@x.test",
            "xmpp:me@x.test",
            "mailto:",
            "mailto:me",
            "mailto:a@x.test?b",
            "mailto:a%4@x.test",
            "mailto:a@x.test?a%20b=c",
        ] {
            assert!(MailtoUri::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(
            MailtoUri::parse("mailto:a@x.test?subject=a%0D%0Ab")
                .unwrap()
                .subject
                .as_deref(),
            Some("a b")
        );
    }

    #[test]
    fn there_are_so_many_recipients() {
        let uri = |count: usize| format!("mailto:{}", vec!["a@x.test"; count].join(","));
        assert!(MailtoUri::parse(&uri(RECIPIENTS_MAX)).is_ok());
        assert!(MailtoUri::parse(&uri(RECIPIENTS_MAX + 1)).is_err());
        let uri = |count: usize| format!("mailto:a@x.test?{}", vec!["x=1"; count].join("&"));
        assert!(MailtoUri::parse(&uri(FIELDS_MAX)).is_ok());
        assert!(MailtoUri::parse(&uri(FIELDS_MAX + 1)).is_err());
    }
}
