//! What the driver looks at in a letter's header: hops, and for a submission From, Sender,
//! Date and Message-ID. One pass over the fields; the letter itself is never changed.

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
    from_fields: usize,
    sender_fields: usize,
    /// A Sender address that cannot be read, or too many of them.
    sender_is_bad: bool,
    /// A From address that cannot be read, or too many of them.
    from_is_bad: bool,
    hops: usize,
    delivered_to: Vec<String>,
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

    /// RFC 5322 §3.6: exactly one From field, with at least one address, and at most one Sender
    /// field.
    ///
    /// # Errors
    /// The reply that says what is wrong.
    pub(super) fn check_from(&self) -> Result<(), Reply> {
        match self.from_fields {
            0 => Err(Reply::bad_letter("it has no From field")),
            1 if self.from_is_bad || self.from.is_empty() => {
                Err(Reply::bad_letter("its From field cannot be read"))
            }
            1 if self.sender_fields > 1 => {
                Err(Reply::bad_letter("it has more than one Sender field"))
            }
            1 if self.sender_is_bad => Err(Reply::bad_letter("its Sender field cannot be read")),
            1 => Ok(()),
            _ => Err(Reply::bad_letter("it has more than one From field")),
        }
    }

    fn take(&mut self, field: &message::Field<'_>) {
        match field.name.len() {
            8 if field.is("Received") => self.hops += 1,
            4 if field.is("Date") => self.has_date = true,
            10 if field.is("Message-ID") => self.has_message_id = true,
            4 if field.is("From") => {
                self.from_fields += 1;
                for mailbox in field.addresses().mailboxes() {
                    match mailbox.to_address() {
                        Some(address) if self.from.len() < FROM_MAX => self.from.push(address),
                        _ => self.from_is_bad = true,
                    }
                }
            }
            6 if field.is("Sender") => {
                self.sender_fields += 1;
                for mailbox in field.addresses().mailboxes() {
                    match mailbox.to_address() {
                        Some(address) if self.sender.len() < FROM_MAX => self.sender.push(address),
                        _ => self.sender_is_bad = true,
                    }
                }
            }
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
        assert!(header.check_from().is_ok());
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
        let check = |text: &str| read(text).unwrap().check_from().is_ok();
        assert!(check("From: A <a@x.test>, b@x.test\r\n\r\n"));
        assert!(!check("Subject: x\r\n\r\nFrom: a@x.test\r\n"));
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
}
