//! Replies: their form on the wire, and every text that our server says. An error of any kind
//! becomes protocol text here and nowhere else.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use base::AddressError;
use bytes::{BufMut, BytesMut};

/// RFC 3463 §2: `class "." subject "." detail`; the class is the reply code's first digit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EnhancedCode {
    /// 2, 4 or 5.
    pub class: u8,
    /// 0 to 999.
    pub subject: u16,
    /// 0 to 999.
    pub detail: u16,
}

impl fmt::Display for EnhancedCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.class, self.subject, self.detail)
    }
}

impl EnhancedCode {
    /// Reads the code at the start of a reply's text, and gives the text behind it.
    #[must_use]
    pub fn parse_prefix(text: &str) -> Option<(Self, &str)> {
        let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
        let mut parts = word.split('.');
        let number = |part: Option<&str>| {
            part.filter(|p| (1..=3).contains(&p.len()) && p.bytes().all(|b| b.is_ascii_digit()))
                .and_then(|p| p.parse::<u16>().ok())
        };
        let (class, subject, detail) = (
            number(parts.next())?,
            number(parts.next())?,
            number(parts.next())?,
        );
        let class = u8::try_from(class).ok().filter(|c| [2, 4, 5].contains(c))?;
        let code = Self {
            class,
            subject,
            detail,
        };
        parts.next().is_none().then_some((code, rest))
    }
}

/// One reply: of ours to a client, or of a peer's server to us.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reply {
    /// 200 to 599.
    pub code: u16,
    /// RFC 2034; none in 3yz replies, the greeting and the answer to EHLO.
    pub enhanced: Option<EnhancedCode>,
    /// The text; lines are parted by `\n`.
    pub text: Cow<'static, str>,
}

impl fmt::Display for Reply {
    /// On one line, as logs and failure notices show it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.code)?;
        if let Some(enhanced) = self.enhanced {
            write!(f, " {enhanced}")?;
        }
        for line in self.text.lines() {
            write!(f, " {line}")?;
        }
        Ok(())
    }
}

impl Reply {
    /// A reply with an enhanced code, whose class is the first digit of `code`.
    #[must_use]
    pub fn new(
        code: u16,
        (subject, detail): (u16, u16),
        text: impl Into<Cow<'static, str>>,
    ) -> Self {
        let class = match code / 100 {
            2 => 2,
            4 => 4,
            _ => 5,
        };
        Self {
            code,
            enhanced: Some(EnhancedCode {
                class,
                subject,
                detail,
            }),
            text: text.into(),
        }
    }

    /// A reply without an enhanced code.
    #[must_use]
    pub fn plain(code: u16, text: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            enhanced: None,
            text: text.into(),
        }
    }

    /// Code 2yz or 3yz.
    #[must_use]
    pub const fn is_positive(&self) -> bool {
        self.code < 400
    }

    /// Code 4yz: trying again may help.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        self.code >= 400 && self.code < 500
    }

    /// Code 5yz: trying again will not help.
    #[must_use]
    pub const fn is_permanent(&self) -> bool {
        self.code >= 500
    }

    /// Writes `code-text` lines and the last `code text` line (RFC 5321 §4.2). What cannot stand in
    /// a reply line (control characters) is written as `?`.
    pub(super) fn write(&self, output: &mut BytesMut) {
        let mut lines = self.text.split('\n').peekable();
        while let Some(line) = lines.next() {
            let separator = if lines.peek().is_some() { '-' } else { ' ' };
            // Writing to a BytesMut cannot fail: it grows.
            let _ = fmt::Write::write_fmt(output, format_args!("{}{separator}", self.code));
            if let Some(enhanced) = self.enhanced {
                let _ = fmt::Write::write_fmt(output, format_args!("{enhanced} "));
            }
            for byte in line.bytes() {
                output.put_u8(if byte.is_ascii_control() { b'?' } else { byte });
            }
            output.put_slice(b"\r\n");
        }
    }
}

// ---- What the server says by itself -------------------------------------------------------------

impl Reply {
    pub(super) fn closing() -> Self {
        Self::new(221, (0, 0), "Goodbye")
    }

    pub(super) fn ok() -> Self {
        Self::new(250, (0, 0), "OK")
    }

    pub(super) fn sender_ok() -> Self {
        Self::new(250, (1, 0), "Sender OK")
    }

    pub(super) fn recipient_ok() -> Self {
        Self::new(250, (1, 5), "Recipient OK")
    }

    pub(super) fn start_data() -> Self {
        Self::plain(354, "Send the letter, then a line with a single dot")
    }

    pub(super) fn chunk_received(bytes: u64) -> Self {
        Self::new(250, (0, 0), format!("{bytes} octets received"))
    }

    /// draft-hall-prdr §3.
    pub(super) fn replies_follow() -> Self {
        Self::plain(353, "A reply for each recipient follows")
    }

    pub(super) fn letter_accepted() -> Self {
        Self::new(250, (0, 0), "Letter accepted")
    }

    pub(super) fn start_tls() -> Self {
        Self::new(220, (0, 0), "Start TLS now")
    }

    pub(super) fn authenticated() -> Self {
        Self::new(235, (7, 0), "Authentication succeeded")
    }

    /// RFC 5321 §3.5.3: neither confirmed nor denied.
    pub(super) fn cannot_verify() -> Self {
        Self::new(
            252,
            (5, 0),
            "Cannot verify the address, but will take letters and attempt delivery",
        )
    }

    pub(super) fn help() -> Self {
        Self::new(
            214,
            (0, 0),
            "EHLO HELO MAIL RCPT DATA BDAT RSET NOOP VRFY HELP QUIT STARTTLS AUTH\n\
             See RFC 5321; write to postmaster for help from a person",
        )
    }

    pub(super) fn unknown_command() -> Self {
        Self::new(500, (5, 2), "Command not recognised")
    }

    /// RFC 5321 §4.2.4: known, but not here.
    pub(super) fn not_implemented() -> Self {
        Self::new(502, (5, 1), "Command not implemented")
    }

    pub(super) fn line_too_long() -> Self {
        Self::new(500, (5, 2), "Command line too long")
    }

    /// RFC 4954 §4.
    pub(super) fn auth_line_too_long() -> Self {
        Self::new(500, (5, 6), "Authentication exchange line is too long")
    }

    pub(super) fn bare_line_end() -> Self {
        Self::new(
            500,
            (5, 2),
            "Lines must end with CR LF; a bare CR or LF is refused",
        )
    }

    pub(super) fn bad_characters() -> Self {
        Self::new(
            500,
            (5, 2),
            "Control characters or bytes that are not UTF-8 in a command",
        )
    }

    pub(super) fn http_spoken() -> Self {
        Self::new(421, (7, 0), "This is an SMTP server, not a web server")
    }

    pub(super) fn bad_sequence(hint: &'static str) -> Self {
        Self::new(503, (5, 1), hint)
    }

    pub(super) fn syntax(hint: &'static str) -> Self {
        Self::new(501, (5, 4), hint)
    }

    /// RFC 5321 §4.1.1.11: a parameter that was not offered.
    pub(super) fn unknown_parameter(keyword: &str) -> Self {
        let shown: String = keyword.chars().take(40).collect();
        Self::new(
            555,
            (5, 4),
            format!("Parameter {shown} is not supported here"),
        )
    }

    pub(super) fn bad_sender(error: Option<AddressError>) -> Self {
        match error {
            None => Self::new(501, (1, 7), "Syntax: MAIL FROM:<address>"),
            Some(error) => Self::new(501, (1, 7), format!("Bad sender address: {error}")),
        }
    }

    pub(super) fn bad_recipient(error: Option<AddressError>) -> Self {
        match error {
            None => Self::new(501, (1, 3), "Syntax: RCPT TO:<address>"),
            Some(error) => Self::new(501, (1, 3), format!("Bad recipient address: {error}")),
        }
    }

    /// RFC 6531 §3.5.
    pub(super) fn needs_smtputf8() -> Self {
        Self::new(
            553,
            (6, 7),
            "An address with non-ASCII characters needs the SMTPUTF8 parameter of MAIL",
        )
    }

    /// RFC 4954 §6.
    pub(super) fn authentication_required() -> Self {
        Self::new(530, (7, 0), "Authentication required")
    }

    /// RFC 3207 §4.
    pub(super) fn starttls_first() -> Self {
        Self::new(530, (7, 0), "Must issue a STARTTLS command first")
    }

    /// RFC 4954 §6.
    pub(super) fn encryption_required() -> Self {
        Self::new(538, (7, 11), "Encryption required: issue STARTTLS first")
    }

    /// RFC 4954 §4.
    pub(super) fn unknown_mechanism() -> Self {
        Self::new(504, (5, 4), "Authentication mechanism not offered")
    }

    /// RFC 4954 §4: the client sent `*`.
    pub(super) fn authentication_cancelled() -> Self {
        Self::new(501, (7, 0), "Authentication cancelled")
    }

    pub(super) fn bad_base64() -> Self {
        Self::new(501, (5, 2), "Not valid base64")
    }

    pub(super) fn bad_authentication_message(why: &'static str) -> Self {
        Self::new(501, (5, 2), format!("Bad authentication message: {why}"))
    }

    /// RFC 5321 §4.5.3.1.10.
    pub(super) fn too_many_recipients(max: usize) -> Self {
        Self::new(
            452,
            (5, 3),
            format!("Too many recipients: at most {max} in one transaction"),
        )
    }

    /// RFC 1870 §6.
    pub(super) fn too_large(max: u64) -> Self {
        Self::new(
            552,
            (3, 4),
            format!("Letter too large: at most {max} octets"),
        )
    }

    pub(super) fn bare_line_end_in_letter() -> Self {
        Self::new(
            550,
            (5, 2),
            "Letter refused: a bare CR or LF in it; its lines must end with CR LF",
        )
    }

    /// RFC 3030 §3: what may hold any octet cannot come by DATA.
    pub(super) fn binary_needs_bdat() -> Self {
        Self::new(503, (5, 1), "A letter of BODY=BINARYMIME comes by BDAT")
    }

    /// RFC 4865 §4.1.
    pub(super) fn bad_hold() -> Self {
        Self::new(
            501,
            (5, 4),
            "HOLDFOR= is a number of seconds, HOLDUNTIL= a date of RFC 3339; one of them, and no \
             longer than offered",
        )
    }

    /// RFC 2852 §4.
    pub(super) fn bad_deliver_by() -> Self {
        Self::new(
            501,
            (5, 4),
            "BY= is seconds, then ;R (more than none) or ;N, and T for a trace",
        )
    }

    pub(super) fn bad_chunk_size() -> Self {
        Self::new(421, (5, 4), "BDAT without a valid size: cannot go on")
    }

    pub(super) fn timeout() -> Self {
        Self::new(421, (4, 2), "Timeout: waited too long")
    }

    pub(super) fn too_many_errors() -> Self {
        Self::new(421, (7, 0), "Too many errors on this connection")
    }

    pub(super) fn enough_letters() -> Self {
        Self::new(
            421,
            (7, 0),
            "Enough letters on this connection; please connect again",
        )
    }
}

// ---- What our client finds out without asking the peer ------------------------------------------

impl Reply {
    /// RFC 1870 §6, decided by the SIZE that the peer told.
    pub(super) fn peer_takes_less(bytes: u64, max: u64) -> Self {
        Self::new(
            552,
            (3, 4),
            format!("The letter has {bytes} octets; the next server takes at most {max}"),
        )
    }

    /// RFC 2045 §2.8.
    pub(super) fn null_in_letter() -> Self {
        Self::new(
            550,
            (6, 3),
            "The letter has NUL octets, which the next server cannot take",
        )
    }

    /// RFC 6531 §3.2.
    pub(super) fn peer_lacks_smtputf8() -> Self {
        Self::new(
            550,
            (6, 7),
            "The letter needs SMTPUTF8, which the next server does not offer",
        )
    }

    /// RFC 8689 §4.2.1.
    pub(super) fn peer_lacks_require_tls() -> Self {
        Self::new(
            550,
            (7, 30),
            "The letter needs REQUIRETLS, which the next server does not offer",
        )
    }

    /// RFC 2852 §4.2: it would not be given back in time.
    pub(super) fn peer_lacks_deliver_by() -> Self {
        Self::new(
            550,
            (3, 3),
            "The letter is to be returned if it is late, and the next server does not offer \
             DELIVERBY",
        )
    }

    /// RFC 6152 §3: the letter's octets above 127, for a peer that takes none.
    #[must_use]
    pub fn peer_lacks_eight_bit(why: &str) -> Self {
        Self::new(
            550,
            (6, 3),
            format!("The next server takes no 8-bit letters, and {why}"),
        )
    }
}

// ---- What the driver of a server has to say -----------------------------------------------------

impl Reply {
    /// The letter is kept: `id` is the word under which the log knows it.
    #[must_use]
    pub fn kept_as(id: &dyn fmt::Display) -> Self {
        Self::new(250, (0, 0), format!("Kept as {id}"))
    }

    /// Nobody has that address.
    #[must_use]
    pub fn unknown_user() -> Self {
        Self::new(550, (1, 1), "No such user here")
    }

    /// A group or list that does not take letters from this sender (RFC 3463 §3.8: X.7.2).
    #[must_use]
    pub fn closed_group() -> Self {
        Self::new(
            550,
            (7, 2),
            "This address takes letters only from certain senders",
        )
    }

    /// An address elsewhere that is not tried now, with the reasons, a line each. A line is cut to what
    /// a reply line may have (RFC 5321 §4.5.3.1.5: 512 octets).
    #[must_use]
    pub fn suppressed(reasons: &[String]) -> Self {
        const LINE_BYTES_MAX: usize = 480;
        let lines: Vec<&str> = reasons
            .iter()
            .map(|line| &line[..line.floor_char_boundary(LINE_BYTES_MAX)])
            .collect();
        Self::new(550, (1, 1), lines.join("\n"))
    }

    /// A letter that a mailing list does not take (RFC 3463 §3.8: X.7.2), and why.
    #[must_use]
    pub fn closed_list(why: &str) -> Self {
        Self::new(
            550,
            (7, 2),
            format!("The list does not take the letter: {why}"),
        )
    }

    /// A letter that is larger than a mailing list takes (RFC 3463 §3.3: X.2.3).
    #[must_use]
    pub fn too_large_for_list(why: &str) -> Self {
        Self::new(
            552,
            (2, 3),
            format!("The list does not take the letter: {why}"),
        )
    }

    /// A letter that has been on this mailing list before.
    #[must_use]
    pub fn list_loop() -> Self {
        Self::new(
            554,
            (4, 6),
            "Mail loop: the letter has been on this list before",
        )
    }

    /// A domain that is not ours, from somebody who did not log in.
    #[must_use]
    pub fn relay_denied() -> Self {
        Self::new(
            550,
            (7, 1),
            "Relaying denied: not our domain, and you are not logged in",
        )
    }

    /// The account is turned off.
    #[must_use]
    pub fn account_disabled() -> Self {
        Self::new(550, (2, 1), "Mailbox disabled, not accepting letters")
    }

    /// The account was removed, and can still be restored.
    #[must_use]
    pub fn account_closed() -> Self {
        Self::new(550, (2, 1), "Mailbox closed, not accepting letters")
    }

    /// An alias leads to itself, or through too many others.
    #[must_use]
    pub fn alias_loop() -> Self {
        Self::new(554, (4, 6), "Alias loop: the address leads to itself")
    }

    /// The letter has passed this address before.
    #[must_use]
    pub fn delivered_before(address: &dyn fmt::Display) -> Self {
        Self::new(
            554,
            (4, 6),
            format!("Mail loop: the letter was delivered to {address} before"),
        )
    }

    /// The account is full.
    #[must_use]
    pub fn over_quota() -> Self {
        Self::new(452, (2, 2), "Mailbox full; try again later")
    }

    /// RFC 6409 §6.1: the login has no right to this address in this place (`MAIL FROM`, a field's
    /// name); `allowed` says in words what it has.
    #[must_use]
    pub fn may_not_send_as(place: &str, address: &dyn fmt::Display, allowed: &str) -> Self {
        Self::new(
            550,
            (7, 1),
            format!("You may not send as <{address}> ({place}); you may as {allowed}"),
        )
    }

    /// The account, or its domain, has sent as much as it may; `wait`: until the letter passes, `None`
    /// if it never does.
    #[must_use]
    pub fn sent_too_much(limit: &str, of_domain: bool, wait: Option<Duration>) -> Self {
        let whom = if of_domain {
            "Your domain may send at most"
        } else {
            "You may send at most"
        };
        match wait {
            Some(wait) => {
                let minutes = wait.as_secs().div_ceil(60).max(1);
                let text = format!("{whom} {limit}; try again in {minutes} minutes");
                Self::new(452, (7, 28), text)
            }
            None => Self::new(
                550,
                (7, 28),
                format!("{whom} {limit}, and this letter is more"),
            ),
        }
    }

    /// The letter is kept, and waits for an administrator.
    #[must_use]
    pub fn kept_and_held(id: &dyn fmt::Display) -> Self {
        Self::new(
            250,
            (0, 0),
            format!(
                "Kept as {id}, but held: you send far more than usual, and the administrator decides"
            ),
        )
    }

    /// RFC 4954 §6: wrong password or unknown user, which are not told apart.
    #[must_use]
    pub fn authentication_failed() -> Self {
        Self::new(535, (7, 8), "Authentication credentials invalid")
    }

    /// Too many wrong passwords.
    #[must_use]
    pub fn too_many_failed_logins() -> Self {
        Self::new(454, (7, 0), "Too many failed logins; try again later")
    }

    /// The same, of a peer that does not stop.
    #[must_use]
    pub fn closing_for_failed_logins() -> Self {
        Self::new(421, (7, 0), "Too many failed logins; try again later")
    }

    /// RFC 4954 §6: the directory cannot be asked now.
    #[must_use]
    pub fn authentication_unavailable() -> Self {
        Self::new(
            454,
            (7, 0),
            "Temporary authentication failure; try again later",
        )
    }

    /// Something of ours does not work now; nothing of the letter was kept.
    #[must_use]
    pub fn try_later() -> Self {
        Self::new(451, (3, 0), "Local error in processing; try again later")
    }

    /// Too little free disk.
    #[must_use]
    pub fn disk_full() -> Self {
        Self::new(452, (3, 1), "Not enough storage now; try again later")
    }

    /// Too many letters are in memory at once.
    #[must_use]
    pub fn busy() -> Self {
        Self::new(451, (3, 2), "Too busy now; try again later")
    }

    /// RFC 9989 §7.3: the author's domain wishes the letter to be refused. Without a domain: the
    /// letter names authors of too many.
    #[must_use]
    pub fn dmarc_failed(author: Option<&str>) -> Self {
        match author {
            // RFC 7372 §3.3: neither SPF nor a signature speaks for the author.
            Some(domain) => Self::new(
                550,
                (7, 26),
                format!("The letter fails DMARC, and {domain} has such letters refused"),
            ),
            None => Self::new(
                550,
                (7, 1),
                "The letter fails DMARC: its authors are of too many domains".to_owned(),
            ),
        }
    }

    /// RFC 5321 §6.3.
    #[must_use]
    pub fn mail_loop(hops: usize) -> Self {
        Self::new(
            554,
            (4, 6),
            format!("Mail loop: the letter has {hops} Received fields"),
        )
    }

    /// The letter's form is beyond what we read.
    #[must_use]
    pub fn bad_letter(why: &str) -> Self {
        Self::new(554, (6, 0), format!("Letter refused: {why}"))
    }

    /// The node stops; another connection will find it again.
    #[must_use]
    pub fn shutting_down() -> Self {
        Self::new(421, (3, 2), "Server is shutting down; try again later")
    }

    /// Refused at the door.
    #[must_use]
    pub fn too_many_connections(why: &'static str) -> Self {
        Self::new(421, (7, 0), why)
    }

    /// TLS cannot be started now (RFC 3207 §4).
    #[must_use]
    pub fn tls_unavailable() -> Self {
        Self::new(454, (7, 0), "TLS not available now")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire(reply: &Reply) -> String {
        let mut output = BytesMut::new();
        reply.write(&mut output);
        String::from_utf8(output.to_vec()).unwrap()
    }

    /// RFC 5321 §4.2.1: replies of several lines; RFC 2034 §4: the enhanced code stands first.
    #[test]
    fn one_line_and_many() {
        assert_eq!(wire(&Reply::ok()), "250 2.0.0 OK\r\n");
        assert_eq!(wire(&Reply::plain(250, "a\nb")), "250-a\r\n250 b\r\n");
        assert_eq!(wire(&Reply::new(550, (7, 1), "a\rb")), "550 5.7.1 a?b\r\n");
    }

    /// RFC 3463 §2: class, subject and detail of at most three digits.
    #[test]
    fn enhanced_codes_are_read() {
        let check = |text| EnhancedCode::parse_prefix(text).map(|(code, _)| code.to_string());
        assert_eq!(check("5.1.1 No such user").as_deref(), Some("5.1.1"));
        assert_eq!(check("5.1.1").as_deref(), Some("5.1.1"));
        for bad in [
            "1.1.1 x",
            "5.1 x",
            "5.1.1.1 x",
            "5.1.1000",
            "5.+1.1",
            "OK",
            "",
        ] {
            assert_eq!(check(bad), None, "{bad}");
        }
    }
}
