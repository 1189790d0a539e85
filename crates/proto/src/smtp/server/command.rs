//! Command lines: their form, their limits, and which command they are (RFC 5321 §2.4, §4.5.3.1.4).

use bytes::{Buf, BytesMut};
use memchr::memchr;

use super::{Mode, Reply, Server, Step};

/// RFC 4954 §4: the longest line of an authentication exchange, with its CR LF.
const AUTH_LINE_BYTES_MAX: usize = 12_288;
/// RFC 5321 §4.5.3.1.4: the longest command line, with its CR LF.
const COMMAND_LINE_BYTES_MAX: usize = 512;
/// MAIL may be longer by SIZE 26 (RFC 1870 §3), BODY 17 (RFC 6152 §2), SMTPUTF8 10 (RFC 6531
/// §3.1), AUTH 500 (RFC 4954 §3), ` ENVID=` 107 with ` RET=FULL` 9 (RFC 3461 §4.3, §4.4), PRDR 5,
/// REQUIRETLS 11 (RFC 8689 §3), HOLDUNTIL 34 (RFC 4865 §3), BY 17 (RFC 2852 §3) and MT-PRIORITY 15
/// (RFC 6710 §3).
const MAIL_LINE_BYTES_MAX: usize =
    COMMAND_LINE_BYTES_MAX + 26 + 17 + 10 + 500 + 107 + 9 + 5 + 11 + 34 + 17 + 15;
/// RCPT may be longer by ` ORCPT=` 507 and ` NOTIFY=SUCCESS,FAILURE,DELAY` 29 (RFC 3461 §4.1, §4.2).
const RCPT_LINE_BYTES_MAX: usize = COMMAND_LINE_BYTES_MAX + 507 + 29;

impl Server {
    /// Does the next line of the input: a command, or an answer in an authentication exchange.
    pub(super) fn next_line(&mut self) -> Step {
        let Some(line) = self.take_line() else {
            return Step::NeedInput;
        };
        self.progress_at = self.now;
        let mode = std::mem::replace(&mut self.mode, Mode::Command);
        let in_exchange = matches!(mode, Mode::Auth(_));
        let text = match check_line(line.as_deref(), in_exchange) {
            Ok(text) => text,
            // In an exchange this also ends the exchange.
            Err(reply) => return self.refuse_command(reply),
        };
        match mode {
            Mode::Auth(exchange) => self.auth_line(exchange, text),
            _ => self.command(text),
        }
    }

    fn command(&mut self, text: &str) -> Step {
        let (verb, argument) = text.split_once(' ').unwrap_or((text, ""));
        let argument = argument.trim_end_matches(' ');
        let verb = verb.to_ascii_uppercase();
        let limit = match verb.as_str() {
            "AUTH" => AUTH_LINE_BYTES_MAX,
            "MAIL" => MAIL_LINE_BYTES_MAX,
            "RCPT" => RCPT_LINE_BYTES_MAX,
            _ => COMMAND_LINE_BYTES_MAX,
        };
        if text.len() + 2 > limit {
            return self.refuse_command(Reply::line_too_long());
        }
        match verb.as_str() {
            "EHLO" => self.ehlo(argument),
            "HELO" => self.helo(argument),
            "LHLO" => self.lhlo(argument),
            "MAIL" => self.mail(argument),
            "RCPT" => self.rcpt(argument),
            "DATA" => self.data(argument),
            "BDAT" => self.bdat(argument),
            "RSET" => self.rset(argument),
            "NOOP" => self.noop(),
            "VRFY" => self.vrfy(argument),
            "HELP" => self.help(),
            "QUIT" => self.quit(argument),
            "STARTTLS" => self.starttls(argument),
            "XCLIENT" => self.xclient(argument),
            "AUTH" => self.auth(argument),
            "EXPN" | "TURN" | "ETRN" | "SEND" | "SOML" | "SAML" => {
                self.refuse_command(Reply::not_implemented())
            }
            // A browser led here by a hostile page speaks so; it must not get far.
            "GET" | "POST" | "PUT" | "CONNECT" | "HOST:" if self.peer_name.is_none() => {
                let reply = Reply::http_spoken();
                self.close(&reply);
                Step::Event(super::Event::Refused(reply))
            }
            _ => self.refuse_command(Reply::unknown_command()),
        }
    }

    /// The next line with its line end; `Some(None)` is one that was too long.
    #[expect(
        clippy::option_option,
        reason = "no line yet, and a line that is lost, are two things"
    )]
    fn take_line(&mut self) -> Option<Option<BytesMut>> {
        let Some(at) = memchr(b'\n', &self.input[self.searched..]) else {
            self.searched = self.input.len();
            if self.searched > AUTH_LINE_BYTES_MAX {
                self.skipping = true;
                self.input.clear();
                self.searched = 0;
            }
            return None;
        };
        let line_bytes = self.searched + at + 1;
        self.searched = 0;
        if std::mem::take(&mut self.skipping) || line_bytes > AUTH_LINE_BYTES_MAX {
            self.input.advance(line_bytes);
            return Some(None);
        }
        Some(Some(self.input.split_to(line_bytes)))
    }
}

/// The text of a line, if it is one that may stand in a session.
fn check_line(line: Option<&[u8]>, in_exchange: bool) -> Result<&str, Reply> {
    let line = line.ok_or_else(|| match in_exchange {
        true => Reply::auth_line_too_long(),
        false => Reply::line_too_long(),
    })?;
    // RFC 5321 §2.3.8: only CR LF ends a line, and neither may stand elsewhere.
    let content = line
        .strip_suffix(b"\r\n")
        .ok_or_else(Reply::bare_line_end)?;
    if memchr(b'\r', content).is_some() {
        return Err(Reply::bare_line_end());
    }
    match std::str::from_utf8(content) {
        Ok(text) if !text.bytes().any(|b| b.is_ascii_control()) => Ok(text),
        _ => Err(Reply::bad_characters()),
    }
}
