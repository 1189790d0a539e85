//! Single fields: Date, Message-ID, and the trace fields that a server adds (RFC 5321 §4.4).

use std::net::IpAddr;

use base::ports::TlsInfo;
use base::{Domain, EmailAddress, Timestamp};

use super::HeaderWriter;

/// RFC 5322 §3.3, in UTC: `Tue, 24 Nov 2026 06:38:05 +0000`.
#[must_use]
pub fn format_date(moment: Timestamp) -> String {
    const DAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let civil = moment.civil();
    format!(
        "{}, {} {} {:04} {:02}:{:02}:{:02} +0000",
        DAYS[usize::from(civil.weekday) % 7],
        civil.day,
        MONTHS[usize::from(civil.month.saturating_sub(1)) % 12],
        civil.year,
        civil.hour,
        civil.minute,
        civil.second
    )
}

/// A new message id without angle brackets: the time and 64 random bits, so that it is unique and
/// tells nothing more.
#[must_use]
pub fn message_id(now: Timestamp, random: u64, host: &Domain) -> String {
    format!("{:x}.{random:016x}@{host}", now.millis())
}

/// How a letter came in: the `with` clause of RFC 3848 and RFC 6531 §4.3.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Transmission {
    /// LMTP (RFC 2033) instead of SMTP.
    pub lmtp: bool,
    /// The client said EHLO.
    pub extended: bool,
    /// The client used SMTPUTF8.
    pub utf8: bool,
    /// TLS was on.
    pub tls: bool,
    /// The client authenticated.
    pub authenticated: bool,
}

impl Transmission {
    /// The keyword: `ESMTPSA`.
    #[must_use]
    pub fn keyword(self) -> String {
        let name = match (self.utf8, self.lmtp, self.extended) {
            (true, false, _) => "UTF8SMTP",
            (true, true, _) => "UTF8LMTP",
            (false, true, _) => "LMTP",
            (false, false, true) => "ESMTP",
            (false, false, false) => "SMTP",
        };
        // RFC 3848 has no letters for plain SMTP; TLS and AUTH cannot be without EHLO.
        let tls = if self.tls && name != "SMTP" { "S" } else { "" };
        let auth = if self.authenticated && name != "SMTP" {
            "A"
        } else {
            ""
        };
        format!("{name}{tls}{auth}")
    }
}

/// What a Received field tells.
#[derive(Clone, Debug)]
pub struct ReceivedField<'a> {
    /// What the client called itself in EHLO; a stranger's text.
    pub helo: &'a str,
    /// Its host name by reverse look-up, checked or not.
    pub host: Option<&'a str>,
    /// Its address; left out where the sender's own address must stay private.
    pub address: Option<IpAddr>,
    /// This server.
    pub by: &'a str,
    /// How it came.
    pub with: Transmission,
    /// What TLS agreed on.
    pub tls: Option<&'a TlsInfo>,
    /// The id under which logs know the letter.
    pub id: &'a str,
    /// The recipient, if there is exactly one (more would tell Bcc recipients).
    pub recipient: Option<&'a EmailAddress>,
    /// When it came.
    pub at: Timestamp,
}

/// A Received field with CRLF.
///
/// `Time-stamp-line = "Received:" FWS From-domain By-domain Opt-info … ";" FWS date-time CRLF`.
#[must_use]
pub fn received_field(received: &ReceivedField<'_>) -> Vec<u8> {
    let mut value = format!("from {}", word(received.helo));
    // RFC 5321 §4.1.3: an address literal has a tag for IPv6.
    let literal = received
        .address
        .map(|address| match address.to_canonical() {
            IpAddr::V4(v4) => format!("[{v4}]"),
            IpAddr::V6(v6) => format!("[IPv6:{v6}]"),
        });
    match (received.host.map(word), literal) {
        (Some(host), Some(literal)) => value += &format!(" ({host} {literal})"),
        (Some(host), None) => value += &format!(" ({host})"),
        (None, Some(literal)) => value += &format!(" ({literal})"),
        (None, None) => {}
    }
    value += &format!(" by {} with {}", word(received.by), received.with.keyword());
    if let Some(tls) = received.tls {
        value += &format!(" (version={} cipher={})", tls.version, word(&tls.cipher));
    }
    value += &format!(" id {}", word(received.id));
    // RFC 6531 §3.7.3: no UTF-8 in a trace field of a letter that did not come by SMTPUTF8.
    let recipient = received
        .recipient
        .filter(|recipient| received.with.utf8 || !recipient.needs_utf8());
    if let Some(recipient) = recipient {
        value += &format!(" for <{recipient}>");
    }
    value += &format!("; {}", format_date(received.at));
    HeaderWriter::new().raw("Received", &value).finish()
}

/// A Return-Path field with CRLF; `None` is the null reverse path of reports.
#[must_use]
pub fn return_path_field(reverse_path: Option<&EmailAddress>) -> Vec<u8> {
    let path = reverse_path.map_or_else(String::new, ToString::to_string);
    // Not folded: no address is longer than 254 bytes, and a quoted one may hold two spaces.
    format!("Return-Path: <{path}>\r\n").into_bytes()
}

/// A Delivered-To field with CRLF (RFC 9228).
#[must_use]
pub fn delivered_to_field(recipient: &EmailAddress) -> Vec<u8> {
    format!("Delivered-To: {recipient}\r\n").into_bytes()
}

/// A stranger's text as one word that cannot close a comment or end a clause.
fn word(text: &str) -> String {
    /// RFC 5321 §4.5.3.1.2: no name is longer.
    const WORD_CHARS_MAX: usize = 255;
    let word: String = text
        .chars()
        .take(WORD_CHARS_MAX)
        .map(|c| {
            if c.is_ascii_alphanumeric() || "-_.[]:+=/@".contains(c) {
                c
            } else {
                '?'
            }
        })
        .collect();
    if word.is_empty() {
        "unknown".to_owned()
    } else {
        word
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    #[test]
    fn received() {
        let tls = TlsInfo {
            version: "TLSv1.3",
            cipher: "TLS13_AES_256_GCM_SHA384".to_owned(),
            verified: false,
            binding: Default::default(),
            client_addresses: Vec::new(),
        };
        let bob = EmailAddress::parse("bob@black.test").unwrap();
        let field = received_field(&ReceivedField {
            helo: "evil) by x (\r\nBcc: a",
            host: Some("mail.red.test"),
            address: Some("2001:db8::1".parse().unwrap()),
            by: "mx.black.test",
            with: Transmission {
                extended: true,
                tls: true,
                ..Transmission::default()
            },
            tls: Some(&tls),
            id: "1f",
            recipient: Some(&bob),
            at: Timestamp::from_secs(1_795_502_285),
        });
        expect![[r#"
            Received: from evil??by?x????Bcc:?a (mail.red.test [IPv6:2001:db8::1]) by
             mx.black.test with ESMTPS (version=TLSv1.3 cipher=TLS13_AES_256_GCM_SHA384)
             id 1f for <bob@black.test>; Tue, 24 Nov 2026 06:38:05 +0000
        "#]]
        .assert_eq(&String::from_utf8(field).unwrap().replace("\r\n", "\n"));
    }

    #[test]
    fn a_utf8_recipient_is_told_only_by_smtputf8() {
        let recipient = EmailAddress::parse("böb@black.test").unwrap();
        let field = |utf8| {
            let field = received_field(&ReceivedField {
                helo: "größe",
                host: None,
                address: None,
                by: "mx.black.test",
                with: Transmission {
                    extended: true,
                    utf8,
                    ..Transmission::default()
                },
                tls: None,
                id: "1",
                recipient: Some(&recipient),
                at: Timestamp(0),
            });
            String::from_utf8(field).unwrap()
        };
        assert!(field(false).is_ascii());
        assert!(field(true).contains("<böb@black.test>;"));
    }

    #[test]
    fn with_keywords() {
        let keyword = |lmtp, extended, utf8, tls, authenticated| {
            Transmission {
                lmtp,
                extended,
                utf8,
                tls,
                authenticated,
            }
            .keyword()
        };
        assert_eq!(keyword(false, false, false, false, false), "SMTP");
        assert_eq!(keyword(false, true, false, true, true), "ESMTPSA");
        assert_eq!(keyword(false, true, true, true, false), "UTF8SMTPS");
        assert_eq!(keyword(true, true, false, false, false), "LMTP");
    }

    #[test]
    fn dates_and_ids() {
        let now = Timestamp::from_secs(1_795_502_285);
        assert_eq!(format_date(now), "Tue, 24 Nov 2026 06:38:05 +0000");
        let host = Domain::parse("mx.red.test").unwrap();
        assert_eq!(
            message_id(now, 0xabc, &host),
            "1a20c46a0c8.0000000000000abc@mx.red.test"
        );
        let alice = EmailAddress::parse("\"a b\"@x.test").unwrap();
        assert_eq!(
            return_path_field(Some(&alice)),
            b"Return-Path: <\"a b\"@x.test>\r\n"
        );
        assert_eq!(return_path_field(None), b"Return-Path: <>\r\n");
        assert_eq!(
            delivered_to_field(&alice),
            b"Delivered-To: \"a b\"@x.test\r\n"
        );
    }
}
