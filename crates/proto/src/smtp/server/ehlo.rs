//! EHLO and HELO: RFC 5321 §4.1.1.1.

use std::fmt::Write;

use super::{Event, Reply, Role, Server, Step};
use crate::sasl::{Mechanism, Needs};

/// A host name is at most 255 octets (RFC 5321 §4.5.3.1.2).
const NAME_BYTES_MAX: usize = 255;

impl Server {
    pub(super) fn ehlo(&mut self, argument: &str) -> Step {
        // RFC 2033 §4.1: an LMTP server knows neither HELO nor EHLO.
        if self.config.role == Role::Lmtp {
            return self.refuse_command(Reply::unknown_command());
        }
        self.hello(argument, true)
    }

    pub(super) fn helo(&mut self, argument: &str) -> Step {
        if self.config.role == Role::Lmtp {
            return self.refuse_command(Reply::unknown_command());
        }
        self.hello(argument, false)
    }

    /// LHLO: RFC 2033 §4.1.
    pub(super) fn lhlo(&mut self, argument: &str) -> Step {
        if self.config.role != Role::Lmtp {
            return self.refuse_command(Reply::unknown_command());
        }
        self.hello(argument, true)
    }

    /// Real clients send names that are no domain names (`DESKTOP_1`, `localhost`), so any word of
    /// printable characters is taken.
    fn hello(&mut self, argument: &str, extended: bool) -> Step {
        let printable = argument.bytes().all(|b| b.is_ascii_graphic());
        if argument.is_empty() || argument.len() > NAME_BYTES_MAX || !printable {
            return self.refuse_command(Reply::syntax("Syntax: EHLO host.name"));
        }
        self.peer_name = Some(argument.to_owned());
        self.extended = extended;
        let text = if extended {
            self.extensions()
        } else {
            self.config.hostname.to_string()
        };
        Reply::plain(250, text).write(&mut self.output);
        // RFC 5321 §4.1.4: EHLO in a session does what RSET does.
        if self.end_transaction() {
            Step::Event(Event::Reset)
        } else {
            Step::Again
        }
    }

    fn extensions(&self) -> String {
        let config = &self.config;
        let mut text = format!(
            "{}\nPIPELINING\nSIZE {}\n8BITMIME\nSMTPUTF8\nCHUNKING\nBINARYMIME\n\
             ENHANCEDSTATUSCODES\nDSN",
            config.hostname, config.letter_bytes_max
        );
        // RFC 9422 §3. Writing to a String cannot fail.
        let (letters, recipients) = (config.letters_max, config.recipients_max);
        let _ = write!(text, "\nLIMITS MAILMAX={letters} RCPTMAX={recipients}");
        if config.role != Role::Lmtp {
            text.push_str("\nPRDR");
        }
        self.optional_extensions(&mut text);
        if config.starttls && !self.tls {
            text.push_str("\nSTARTTLS");
        }
        if config.role == Role::Submission && self.auth_is_safe() {
            text.push_str("\nAUTH");
            for mechanism in Mechanism::ALL.into_iter().filter(|m| self.offers(*m)) {
                // Writing to a String cannot fail.
                let _ = write!(text, " {}", mechanism.name());
            }
        }
        text
    }

    fn optional_extensions(&self, text: &mut String) {
        let offers = &self.config.offers;
        // RFC 8689 §2: only on a connection that is encrypted.
        if offers.require_tls && self.tls {
            text.push_str("\nREQUIRETLS");
        }
        if let Some(longest) = offers.future_release {
            // RFC 4865 §4.1. Writing to a String cannot fail.
            let until = (self.now + longest).whole_seconds();
            let _ = write!(text, "\nFUTURERELEASE {} {until}", longest.as_secs());
        }
        if offers.deliver_by {
            text.push_str("\nDELIVERBY");
        }
        if offers.mt_priority {
            text.push_str("\nMT-PRIORITY");
        }
        if self.xclient {
            text.push_str("\nXCLIENT NAME ADDR PORT PROTO HELO");
        }
    }

    /// RFC 4954 §4, §9: no password over a connection that others can read.
    pub(super) fn auth_is_safe(&self) -> bool {
        self.tls || self.config.auth_without_tls
    }

    pub(super) fn offers(&self, mechanism: Mechanism) -> bool {
        match mechanism.needs() {
            Needs::Nothing => true,
            Needs::Keys => self.config.scram,
            Needs::KeysAndBinding => self.config.scram && !self.channel.is_empty(),
            Needs::Certificate => self.certificate,
            Needs::Tokens => self.config.offers.tokens,
        }
    }
}
