//! What the driver looks at in a letter's header: hops, and for a submission From, Sender,
//! Date and Message-ID. One pass over the fields; the letter itself is never changed.

use std::ops::Range;

use base::EmailAddress;
use message::{Fields, ParseLimits};
use proto::smtp::Reply;

/// Fields of one header, and lines that are none; real letters have at most some hundred.
const FIELDS_MAX: usize = 2_000;
/// Bytes of one header; Postfix takes 100 KiB, we leave more room.
const HEADER_BYTES_MAX: usize = 256 * 1024;
/// From (and Sender) addresses that are checked one by one.
const FROM_MAX: usize = 50;

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Header {
    pub(super) has_date: bool,
    pub(super) has_message_id: bool,
    /// RFC 8689 §5: there is one TLS-Required field, and it says `No`.
    pub(super) tls_is_optional: bool,
    tls_required_fields: usize,
    /// The addresses of the From field.
    pub(super) from: Vec<EmailAddress>,
    /// The addresses of the Sender field.
    pub(super) sender: Vec<EmailAddress>,
    /// What says that the letter is sent again.
    pub(super) resent: Resent,
    /// Where the fields stand that are taken out of a submission: Bcc, Resent-Bcc, Return-Path.
    pub(super) private: Vec<Range<usize>>,
    from_fields: usize,
    sender_fields: usize,
    /// A Sender address that cannot be read, or too many of them.
    sender_is_bad: bool,
    /// A From address that cannot be read, or too many of them.
    from_is_bad: bool,
    hops: usize,
    delivered_to: Vec<String>,
}

/// RFC 5322 §3.6.6: the fields of who sent a letter again, of the last time only: they stand above
/// those of earlier times.
#[derive(Debug, Default)]
pub(super) struct Resent {
    /// The addresses of the Resent-From field.
    pub(super) from: Vec<EmailAddress>,
    /// The addresses of the Resent-Sender field.
    pub(super) sender: Vec<EmailAddress>,
    /// There is a Resent- field.
    any: bool,
    has_from: bool,
    /// What comes now is of an earlier time.
    is_over: bool,
    is_bad: bool,
}

impl Header {
    /// Reads the header of a letter.
    ///
    /// # Errors
    /// The reply for a header beyond our limits, or for a letter that goes round in circles.
    pub(super) fn read(letter: &[u8], hops_max: usize) -> Result<Self, Reply> {
        let limits = ParseLimits {
            header_fields_max: FIELDS_MAX,
            header_bytes_max: HEADER_BYTES_MAX,
            ..ParseLimits::default()
        };
        let mut header = Self::default();
        let mut bytes = 0;
        let mut fields = Fields::with_limits(letter, &limits);
        for field in fields.by_ref() {
            bytes = field.span.range().end;
            header.take(&field);
        }
        // What is behind a limit is seen by nobody here, but by mail programs: a second author, or
        // results in our name.
        if fields.is_cut() || bytes > HEADER_BYTES_MAX {
            return Err(Reply::bad_letter(
                "its header is too long or has too many lines",
            ));
        }
        // RFC 5321 §6.3.
        if header.hops > hops_max {
            return Err(Reply::mail_loop(header.hops));
        }
        Ok(header)
    }

    /// RFC 9228: whether the letter has passed this address before.
    pub(super) fn was_delivered_to(&self, address: &EmailAddress) -> bool {
        let text = address.to_string();
        self.delivered_to
            .iter()
            .any(|seen| seen.eq_ignore_ascii_case(&text))
    }

    /// Whether the From field is to be added (RFC 6409 §8).
    pub(super) fn lacks_from(&self) -> bool {
        self.from_fields == 0
    }

    /// RFC 5322 §3.6: at most one From field (one that is missing is added), with at least one
    /// address, and at most one Sender field, with one address. RFC 6854 §1 lets a group stand in
    /// From, but one without members names no author.
    ///
    /// # Errors
    /// The reply that says what is wrong.
    pub(super) fn check_author_fields(&self) -> Result<(), Reply> {
        let has_from = self.from_fields == 1;
        let wrong = if self.from_fields > 1 {
            "it has more than one From field"
        } else if self.from_is_bad {
            "its From field cannot be read"
        } else if has_from && self.from.is_empty() {
            "its From field names no address"
        } else if self.sender_fields > 1 {
            "it has more than one Sender field"
        } else if self.sender_is_bad || self.sender_fields == 1 && self.sender.is_empty() {
            "its Sender field cannot be read"
        } else if self.sender.len() > 1 {
            "its Sender field names more than one address"
        } else if self.resent.any && (self.resent.is_bad || self.resent.from.is_empty()) {
            "it has Resent- fields, but no Resent-From that can be read"
        } else {
            return Ok(());
        };
        Err(Reply::bad_letter(wrong))
    }

    fn take(&mut self, field: &message::Field<'_>) {
        match field.name.len() {
            8 if field.is("Received") => self.hops += 1,
            4 if field.is("Date") => self.has_date = true,
            10 if field.is("Message-ID") => self.has_message_id = true,
            4 if field.is("From") => {
                self.from_fields += 1;
                self.from_is_bad |= !read_into(&mut self.from, field);
            }
            6 if field.is("Sender") => {
                self.sender_fields += 1;
                self.sender_is_bad |= !read_into(&mut self.sender, field);
            }
            3 if field.is("Bcc") => self.private.push(field.span.range()),
            11 if field.is("Return-Path") => self.private.push(field.span.range()),
            10 if field.is("Resent-Bcc") => {
                self.private.push(field.span.range());
                self.resent.any = true;
            }
            9..=13 if is_resent(field) => self.resent.take(field),
            12 if field.is("TLS-Required") => {
                self.tls_required_fields += 1;
                self.tls_is_optional = self.tls_required_fields == 1
                    && field.raw_text().trim().eq_ignore_ascii_case("no");
            }
            // More than a loop could ever need are not kept.
            12 if field.is("Delivered-To") && self.delivered_to.len() < 100 => {
                self.delivered_to.push(field.raw_text().trim().to_owned());
            }
            _ => {}
        }
    }
}

impl Resent {
    fn take(&mut self, field: &message::Field<'_>) {
        self.any = true;
        let is_from = field.is("Resent-From");
        self.is_over |= is_from && self.has_from;
        if self.is_over {
            return;
        }
        if is_from {
            self.has_from = true;
            self.is_bad |= !read_into(&mut self.from, field);
        } else if field.is("Resent-Sender") {
            self.is_bad |= !read_into(&mut self.sender, field);
        }
    }
}

fn is_resent(field: &message::Field<'_>) -> bool {
    ["From", "Sender", "To", "Cc", "Date"].iter().any(|name| {
        let start = field.name.get(..7);
        start.is_some_and(|start| start.eq_ignore_ascii_case(b"Resent-"))
            && field.name[7..].eq_ignore_ascii_case(name.as_bytes())
    })
}

/// Adds the addresses of a field; `false` if one cannot be read, or there are too many.
fn read_into(known: &mut Vec<EmailAddress>, field: &message::Field<'_>) -> bool {
    for mailbox in field.addresses().mailboxes() {
        match mailbox.to_address() {
            Some(address) if known.len() < FROM_MAX => known.push(address),
            _ => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(letter: &str) -> Result<Header, Reply> {
        Header::read(letter.as_bytes(), 2)
    }

    #[test]
    fn hops_at_the_limit_and_one_more() {
        assert!(read(&format!("{}\r\n", "Received: x\r\n".repeat(2))).is_ok());
        let reply = read(&format!("{}\r\n", "Received: x\r\n".repeat(3))).unwrap_err();
        assert!(reply.to_string().starts_with("554 5.4.6"), "{reply}");
    }

    #[test]
    fn fields_at_the_limit_and_one_more() {
        assert!(read(&format!("{}\r\n", "X: y\r\n".repeat(FIELDS_MAX))).is_ok());
        assert!(read(&format!("{}\r\n", "X: y\r\n".repeat(FIELDS_MAX + 1))).is_err());
    }

    /// Nothing can hide behind lines that are no fields.
    #[test]
    fn lines_that_are_no_fields_count() {
        let letter = |lines: usize| format!("{}From: a@x.test\r\n\r\n", "junk\r\n".repeat(lines));
        let header = read(&letter(FIELDS_MAX - 1)).unwrap();
        assert!(header.check_author_fields().is_ok());
        let reply = read(&letter(FIELDS_MAX)).unwrap_err();
        assert!(reply.is_permanent(), "{reply}");
    }

    #[test]
    fn bytes_at_the_limit_and_one_more() {
        let header = |bytes: usize| format!("X: {}\r\n\r\n", "y".repeat(bytes - 5));
        assert!(read(&header(HEADER_BYTES_MAX)).is_ok());
        assert!(read(&header(HEADER_BYTES_MAX + 1)).is_err());
    }

    #[test]
    fn tls_required_no_is_one_field() {
        let check = |text: &str| read(text).unwrap().tls_is_optional;
        assert!(check("TLS-Required: No\r\n\r\n"));
        assert!(check("tls-required:no \r\n\r\n"));
        assert!(!check("TLS-Required: Yes\r\n\r\n"));
        assert!(!check("TLS-Required: No\r\nTLS-Required: No\r\n\r\n"));
        assert!(!check("Subject: x\r\n\r\nTLS-Required: No\r\n"));
    }

    #[test]
    fn from_must_be_one_and_readable() {
        let check = |text: &str| read(text).unwrap().check_author_fields().is_ok();
        assert!(check("From: A <a@x.test>, b@x.test\r\n\r\n"));
        let missing = read("Subject: x\r\n\r\nFrom: a@x.test\r\n").unwrap();
        assert!(missing.lacks_from() && missing.check_author_fields().is_ok());
        assert!(!check("From: a@x.test\r\nFrom: a@x.test\r\n\r\n"));
        assert!(!check("From: nobody\r\n\r\n"));
        assert!(!check("From:\r\n\r\n"));
        assert!(!check("From: a@x.test\r\nFrom : b@x.test\r\n\r\n"));
        assert!(check("From: a@x.test\r\nSender: b@x.test\r\n\r\n"));
        assert!(!check("From: a@x.test\r\nSender: nobody\r\n\r\n"));
        assert!(!check(
            "From: a@x.test\r\nSender: b@x.test\r\nSender: b@x.test\r\n\r\n"
        ));
    }

    /// RFC 6854 §1: members of a group are authors; a group of nobody is none.
    #[test]
    fn groups_in_from() {
        let header = read("From: We: a@x.test, B <b@x.test>;\r\n\r\n").unwrap();
        assert!(header.check_author_fields().is_ok());
        assert_eq!(header.from.len(), 2);
        let nobody = read("From: Nobody:;\r\n\r\n").unwrap();
        assert!(nobody.check_author_fields().is_err());
        let two = read("From: a@x.test\r\nSender: We: a@x.test, b@x.test;\r\n\r\n").unwrap();
        assert!(two.check_author_fields().is_err());
    }

    /// RFC 5322 §3.6.6: the block on top counts; older ones are part of the letter.
    #[test]
    fn the_last_resending_counts() {
        let header = read(
            "Resent-To: x@x.test\r\nResent-From: a@x.test\r\nResent-From: b@x.test\r\n\
             Resent-Sender: c@x.test\r\nFrom: d@x.test\r\n\r\n",
        );
        let header = header.unwrap();
        assert!(header.check_author_fields().is_ok());
        let names =
            |list: &[EmailAddress]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(names(&header.resent.from), ["a@x.test"]);
        assert!(header.resent.sender.is_empty());
        let headless = read("Resent-To: x@x.test\r\nFrom: d@x.test\r\n\r\n").unwrap();
        assert!(headless.check_author_fields().is_err());
    }

    #[test]
    fn what_is_private_is_found_whole() {
        let text = "From: a@x.test\r\nBcc: b@x.test,\r\n c@x.test\r\nReturn-Path: <z@x.test>\r\n\r\nBcc: no\r\n";
        let header = read(text).unwrap();
        let cut: Vec<&str> = header.private.iter().map(|at| &text[at.clone()]).collect();
        assert_eq!(
            cut,
            [
                "Bcc: b@x.test,\r\n c@x.test\r\n",
                "Return-Path: <z@x.test>\r\n"
            ]
        );
    }
}
