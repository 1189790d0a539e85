//! Delivery status notifications: multipart/report (RFC 6522) with message/delivery-status
//! (RFC 3464), or message/global-delivery-status where addresses are not ASCII (RFC 6533).

use std::fmt::Write as _;

use base::{Domain, EmailAddress, Timestamp};

use super::compose::multipart;
use super::transfer::encode_text_body;
use super::{HeaderWriter, format_date};
use crate::header::{Mailbox, is_empty_line, line_end};

/// Header bytes that a report gives back at most; a longer header is cut between lines.
const RETURNED_HEADER_BYTES_MAX: usize = 64 * 1024;

/// Characters of a remote server's answer that are told.
const DIAGNOSTIC_CHARS_MAX: usize = 2_000;

/// What happened to a letter for one recipient (RFC 3464 §2.3.3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// It will not be delivered.
    Failed,
    /// Not yet; it is tried again.
    Delayed,
    /// It is in the mailbox.
    Delivered,
    /// It was given to a server that does not tell about deliveries.
    Relayed,
    /// It was given to a server that delivers to several recipients.
    Expanded,
}

impl Action {
    const fn keyword(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Delayed => "delayed",
            Self::Delivered => "delivered",
            Self::Relayed => "relayed",
            Self::Expanded => "expanded",
        }
    }

    const fn sentence(self) -> &'static str {
        match self {
            Self::Failed => "could not be delivered to",
            Self::Delayed => "could not be delivered yet, and will be tried again, to",
            Self::Delivered => "was delivered to",
            Self::Relayed => "was handed on to a server that sends no reports, for",
            Self::Expanded => "was handed on to several recipients by",
        }
    }
}

/// One recipient of a report.
#[derive(Clone, Debug)]
pub struct RecipientReport<'a> {
    /// `ORCPT` with its xtext decoded: `rfc822;bob@black.test` (RFC 3464 §2.3.1).
    pub original_recipient: Option<&'a str>,
    /// To whom it was to go.
    pub final_recipient: &'a EmailAddress,
    /// What happened.
    pub action: Action,
    /// The enhanced status code: `5.1.1` (RFC 3463).
    pub status: &'a str,
    /// What that means for a person, and what can be done, in whole lines; told before the
    /// server's own words.
    pub explanation: Option<&'a str>,
    /// The remote server's answer, or our own reason.
    pub diagnostic: Option<&'a str>,
    /// The server that gave the answer.
    pub remote_mta: Option<&'a str>,
    /// When it was last tried.
    pub last_attempt: Option<Timestamp>,
    /// For [`Action::Delayed`]: until when it will be tried.
    pub will_retry_until: Option<Timestamp>,
}

/// What of the letter goes back (RFC 3461 §4.3 `RET`).
#[derive(Clone, Copy, Debug)]
pub enum ReturnedLetter<'a> {
    /// Only the header of these bytes (a header alone, or a letter).
    Header(&'a [u8]),
    /// The whole letter, if it is no longer than `bytes_max`; else its header.
    Whole {
        /// The letter.
        letter: &'a [u8],
        /// The longest letter that is given back.
        bytes_max: usize,
    },
}

/// A report to be written.
#[derive(Clone, Debug)]
pub struct DeliveryReport<'a> {
    /// In the From field: `mailer-daemon@red.test`. The envelope sender of a report is empty.
    pub from: &'a EmailAddress,
    /// The sender of the letter.
    pub to: &'a EmailAddress,
    /// The report's own id, without angle brackets.
    pub message_id: &'a str,
    /// The server that reports.
    pub reporting_mta: &'a Domain,
    /// `ENVID` with its xtext decoded.
    pub envelope_id: Option<&'a str>,
    /// When the letter came in.
    pub arrival_date: Option<Timestamp>,
    /// The letter's own id as written, with angle brackets, so that the report is shown beside it.
    pub original_message_id: Option<&'a str>,
    /// The recipients.
    pub recipients: &'a [RecipientReport<'a>],
    /// Words for people, put before the list of recipients; `None` is the usual words.
    pub text: Option<&'a str>,
    /// What goes back.
    pub returned: ReturnedLetter<'a>,
    /// Whether the report may have UTF-8 in its header (RFC 6533), as the letter's sender used
    /// SMTPUTF8.
    pub smtp_utf8: bool,
    /// Now.
    pub now: Timestamp,
    /// Makes the boundary.
    pub random: u64,
}

/// The report as a letter with CRLF lines.
#[must_use]
pub fn delivery_status(report: &DeliveryReport<'_>) -> Vec<u8> {
    let global = report.is_global();
    let parts = [
        human_part(report),
        status_part(report, global),
        returned_part(report.returned),
    ];
    let mut header = HeaderWriter::new()
        .raw("Date", &format_date(report.now))
        .addresses(
            "From",
            &[mailbox(report.from, Some("Mail Delivery System"))],
        )
        .addresses("To", &[mailbox(report.to, None)])
        .raw("Subject", subject(report))
        .raw("Message-ID", &format!("<{}>", report.message_id));
    if let Some(id) = report.original_message_id {
        header = header.raw("In-Reply-To", id).raw("References", id);
    }
    // RFC 3834 §3.1.7: nobody's vacation notice answers it.
    let mut out = header
        .raw("Auto-Submitted", "auto-replied")
        .raw("MIME-Version", "1.0")
        .finish();
    // RFC 6522 §3: the report type is the subtype of the second part.
    let kind = if global {
        "report; report-type=global-delivery-status"
    } else {
        "report; report-type=delivery-status"
    };
    out.extend_from_slice(&multipart(kind, report.random, &parts));
    out
}

impl DeliveryReport<'_> {
    /// Whether an address of it can only be written in UTF-8.
    fn is_global(&self) -> bool {
        self.smtp_utf8
            && self.recipients.iter().any(|recipient| {
                // RFC 6531 §3.7.4: such a peer may answer in UTF-8 as well.
                let texts = [recipient.original_recipient, recipient.diagnostic];
                recipient.final_recipient.needs_utf8()
                    || texts.into_iter().flatten().any(|text| !text.is_ascii())
            })
    }
}

fn mailbox(address: &EmailAddress, name: Option<&str>) -> Mailbox {
    Mailbox {
        name: name.map(str::to_owned),
        local: address.local.as_str().to_owned(),
        domain: address.domain.as_str().to_owned(),
    }
}

fn subject(report: &DeliveryReport<'_>) -> &'static str {
    let any = |action| report.recipients.iter().any(|r| r.action == action);
    if any(Action::Failed) {
        "Your letter could not be delivered"
    } else if any(Action::Delayed) {
        "Your letter is delayed"
    } else {
        "Your letter was delivered"
    }
}

fn human_part(report: &DeliveryReport<'_>) -> Vec<u8> {
    let mut text = report.text.map_or_else(
        || {
            format!(
                "This is the mail server {}.\n\nA letter that you sent has news:\n",
                report.reporting_mta
            )
        },
        |text| format!("{}\n", text.trim_end()),
    );
    for recipient in report.recipients {
        let address = recipient.final_recipient;
        // Writing to a String cannot fail.
        let _ = write!(text, "\nIt {} <{address}>", recipient.action.sentence());
        let given = recipient.original_recipient.and_then(|o| o.split_once(';'));
        if let Some((_, given)) = given
            && given.trim() != address.to_string()
        {
            let _ = write!(text, ", to which <{}> leads", one_line(given));
        }
        text.push_str(".\n");
        if let Some(explanation) = recipient.explanation {
            let _ = writeln!(text, "{}", explanation.trim_end());
        }
        if let Some(diagnostic) = recipient.diagnostic {
            let diagnostic = one_line(diagnostic);
            let _ = match recipient.remote_mta {
                Some(host) => writeln!(text, "The server {} said: {diagnostic}", one_line(host)),
                None => writeln!(text, "The reason: {diagnostic}"),
            };
        }
        if let Some(until) = recipient.will_retry_until {
            let until = format_date(until);
            let _ = writeln!(
                text,
                "You need not send it again; it is tried until {until}."
            );
        }
    }
    let (encoding, body) = encode_text_body(&text);
    let mut out = HeaderWriter::new()
        .raw("Content-Type", "text/plain; charset=utf-8")
        .raw("Content-Transfer-Encoding", encoding)
        .finish();
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(&body);
    out
}

fn status_part(report: &DeliveryReport<'_>, global: bool) -> Vec<u8> {
    let header = if global {
        // RFC 6533 §3: 8bit, so that addresses stay as they are.
        HeaderWriter::new()
            .raw("Content-Type", "message/global-delivery-status")
            .raw("Content-Transfer-Encoding", "8bit")
    } else {
        HeaderWriter::new().raw("Content-Type", "message/delivery-status")
    };
    let mut out = header.finish();
    out.extend_from_slice(b"\r\n");
    // RFC 3464 §2.2: fields of the whole letter.
    let mut fields = HeaderWriter::new();
    if let Some(id) = report.envelope_id {
        fields = fields.raw("Original-Envelope-Id", &status_text(id, global));
    }
    fields = fields.raw("Reporting-MTA", &format!("dns; {}", report.reporting_mta));
    if let Some(arrival) = report.arrival_date {
        fields = fields.raw("Arrival-Date", &format_date(arrival));
    }
    out.extend_from_slice(&fields.finish());
    for recipient in report.recipients {
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(&recipient_fields(recipient, global));
    }
    out
}

/// RFC 3464 §2.3.
fn recipient_fields(recipient: &RecipientReport<'_>, global: bool) -> Vec<u8> {
    let mut fields = HeaderWriter::new();
    if let Some(original) = recipient.original_recipient {
        fields = fields.raw("Original-Recipient", &address_text(original, global));
    }
    let address = recipient.final_recipient;
    let kind = if address.needs_utf8() {
        "utf-8"
    } else {
        "rfc822"
    };
    fields = fields
        .raw(
            "Final-Recipient",
            &address_text(&format!("{kind}; {address}"), global),
        )
        .raw("Action", recipient.action.keyword())
        .raw("Status", &status_text(recipient.status, global));
    if let Some(host) = recipient.remote_mta {
        fields = fields.raw("Remote-MTA", &format!("dns; {}", status_text(host, global)));
    }
    if let Some(diagnostic) = recipient.diagnostic {
        let text = status_text(diagnostic, global);
        fields = fields.raw("Diagnostic-Code", &format!("smtp; {text}"));
    }
    if let Some(last) = recipient.last_attempt {
        fields = fields.raw("Last-Attempt-Date", &format_date(last));
    }
    if let Some(until) = recipient.will_retry_until {
        fields = fields.raw("Will-Retry-Until", &format_date(until));
    }
    fields.finish()
}

/// RFC 6533 §3: an address in an ASCII report has its letters as `\x{…}`.
fn address_text(address: &str, global: bool) -> String {
    let mut out = String::new();
    for c in one_line(address).chars() {
        if c.is_ascii() || global {
            out.push(c);
        } else {
            let _ = write!(out, "\\x{{{:X}}}", u32::from(c));
        }
    }
    out
}

fn status_text(text: &str, global: bool) -> String {
    let text = one_line(text);
    if global || text.is_ascii() {
        return text;
    }
    text.chars()
        .map(|c| if c.is_ascii() { c } else { '?' })
        .collect()
}

/// A stranger's text as one line of bounded length.
fn one_line(text: &str) -> String {
    let cut: String = text
        .chars()
        .take(DIAGNOSTIC_CHARS_MAX)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    cut.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn returned_part(returned: ReturnedLetter<'_>) -> Vec<u8> {
    let (content, whole) = match returned {
        ReturnedLetter::Whole { letter, bytes_max } if letter.len() <= bytes_max => (letter, true),
        ReturnedLetter::Whole { letter, .. } => (header_of(letter), false),
        ReturnedLetter::Header(letter) => (header_of(letter), false),
    };
    let utf8_header = !header_of(content).is_ascii();
    // RFC 6533 §5: a header with UTF-8 needs the global types.
    let media_type = match (whole, utf8_header) {
        (true, false) => "message/rfc822",
        (true, true) => "message/global",
        (false, false) => "text/rfc822-headers",
        (false, true) => "message/global-headers",
    };
    let encoding = if content.is_ascii() { "7bit" } else { "8bit" };
    let mut out = HeaderWriter::new()
        .raw("Content-Type", media_type)
        .raw("Content-Transfer-Encoding", encoding)
        .finish();
    out.extend_from_slice(b"\r\n");
    for line in content.split_inclusive(|b| *b == b'\n') {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        out.extend_from_slice(line.strip_suffix(b"\r").unwrap_or(line));
        out.extend_from_slice(b"\r\n");
    }
    out
}

/// The header lines of a letter, without the empty line, bounded.
fn header_of(letter: &[u8]) -> &[u8] {
    let mut end = 0;
    while let Some(next) = line_end(letter, end) {
        if is_empty_line(&letter[end..next]) || next > RETURNED_HEADER_BYTES_MAX {
            break;
        }
        end = next;
    }
    &letter[..end]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Message;
    use expect_test::expect;

    fn address(text: &str) -> EmailAddress {
        EmailAddress::parse(text).unwrap()
    }

    const HEADER: ReturnedLetter<'_> =
        ReturnedLetter::Header(b"Subject: x\r\nTo: b\r\n\r\nsecret body");

    /// A report about one recipient.
    fn report(recipient: &str, smtp_utf8: bool, returned: ReturnedLetter<'_>) -> Vec<u8> {
        let now = Timestamp::from_secs(1_795_502_285);
        let (from, to) = (address("mailer-daemon@red.test"), address("alice@red.test"));
        let final_recipient = address(recipient);
        let recipients = [RecipientReport {
            original_recipient: Some("rfc822;bob@black.test"),
            final_recipient: &final_recipient,
            action: Action::Failed,
            status: "5.1.1",
            explanation: Some("There is nobody.\nLook again."),
            diagnostic: Some("550 5.1.1 no\r\n such üser"),
            remote_mta: Some("mx.black.test"),
            last_attempt: Some(now),
            will_retry_until: None,
        }];
        let host = Domain::parse("mx.red.test").unwrap();
        delivery_status(&DeliveryReport {
            from: &from,
            to: &to,
            message_id: "r1@red.test",
            reporting_mta: &host,
            envelope_id: Some("env 1"),
            arrival_date: Some(now),
            original_message_id: Some("<1@red.test>"),
            recipients: &recipients,
            text: None,
            returned,
            smtp_utf8,
            now,
            random: 7,
        })
    }

    /// RFC 3464 §2 and RFC 6522 §3: text, fields for machines, the letter.
    #[test]
    fn a_failure() {
        let letter = report("bob@black.test", false, HEADER);
        let text = String::from_utf8(letter).unwrap();
        assert!(!text.replace("\r\n", "").contains(['\r', '\n']));
        expect![[r#"
            Date: Tue, 24 Nov 2026 06:38:05 +0000
            From: Mail Delivery System <mailer-daemon@red.test>
            To: alice@red.test
            Subject: Your letter could not be delivered
            Message-ID: <r1@red.test>
            In-Reply-To: <1@red.test>
            References: <1@red.test>
            Auto-Submitted: auto-replied
            MIME-Version: 1.0
            Content-Type: multipart/report; report-type=delivery-status;
             boundary="=_0000000000000007"

            --=_0000000000000007
            Content-Type: text/plain; charset=utf-8
            Content-Transfer-Encoding: quoted-printable

            This is the mail server mx.red.test.

            A letter that you sent has news:

            It could not be delivered to <bob@black.test>.
            There is nobody.
            Look again.
            The server mx.black.test said: 550 5.1.1 no such =C3=BCser

            --=_0000000000000007
            Content-Type: message/delivery-status

            Original-Envelope-Id: env 1
            Reporting-MTA: dns; mx.red.test
            Arrival-Date: Tue, 24 Nov 2026 06:38:05 +0000

            Original-Recipient: rfc822;bob@black.test
            Final-Recipient: rfc822; bob@black.test
            Action: failed
            Status: 5.1.1
            Remote-MTA: dns; mx.black.test
            Diagnostic-Code: smtp; 550 5.1.1 no such ?ser
            Last-Attempt-Date: Tue, 24 Nov 2026 06:38:05 +0000

            --=_0000000000000007
            Content-Type: text/rfc822-headers
            Content-Transfer-Encoding: 7bit

            Subject: x
            To: b

            --=_0000000000000007--
        "#]]
        .assert_eq(&text.replace("\r\n", "\n"));
    }

    /// RFC 6533 §3 and §4: the address and the header in UTF-8.
    #[test]
    fn a_utf8_recipient() {
        let second = |smtp_utf8| {
            let letter = report("böb@black.test", smtp_utf8, HEADER);
            let message = Message::parse(&letter);
            assert_eq!(message.root().media_type(), "multipart/report");
            let part = message.part(&[2]).unwrap();
            assert_eq!(
                message.root().param("report-type").as_deref(),
                Some(part.subtype.as_str())
            );
            let body = message.bytes(part.body);
            let at = body.windows(6).position(|w| w == b"Final-").unwrap();
            let line = body[at..].split(|b| *b == b'\r').next().unwrap();
            format!("{} {}", part.subtype, String::from_utf8_lossy(line))
        };
        assert_eq!(
            second(true),
            "global-delivery-status Final-Recipient: utf-8; böb@black.test"
        );
        assert_eq!(
            second(false),
            "delivery-status Final-Recipient: utf-8; b\\x{F6}b@black.test"
        );
    }

    #[test]
    fn what_goes_back() {
        let long = "A: b\r\n".repeat(RETURNED_HEADER_BYTES_MAX);
        let third = |returned| {
            let letter = report("bob@black.test", false, returned);
            let message = Message::parse(&letter);
            let part = message.part(&[3]).unwrap();
            let body = String::from_utf8_lossy(message.bytes(part.body)).into_owned();
            format!("{} {} {body:?}", part.media_type(), part.encoding)
        };
        let letter = "Subject: x\r\n\r\nbödy\n".as_bytes();
        let whole = |bytes_max| ReturnedLetter::Whole { letter, bytes_max };
        assert_eq!(
            third(whole(letter.len())),
            "message/rfc822 8bit \"Subject: x\\r\\n\\r\\nbödy\\r\\n\""
        );
        assert_eq!(
            third(whole(letter.len() - 1)),
            "text/rfc822-headers 7bit \"Subject: x\\r\\n\""
        );
        assert_eq!(
            third(ReturnedLetter::Header("A: ö\r\n\r\n".as_bytes())),
            "message/global-headers 8bit \"A: ö\\r\\n\""
        );
        assert!(
            third(ReturnedLetter::Header(long.as_bytes())).len() < 2 * RETURNED_HEADER_BYTES_MAX
        );
    }
}
