//! Greeting, EHLO with HELO as the fallback: RFC 5321 §3.1, §3.2, §4.1.1.1.

use super::{Client, Event, Expect, Failure, Step, TlsPolicy};
use crate::sasl::Mechanism;
use crate::smtp::reply::Reply;

/// What the peer offers.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Extensions {
    /// RFC 2920.
    pub pipelining: bool,
    /// RFC 1870: `Some(0)` is no fixed limit.
    pub size: Option<u64>,
    /// RFC 6152.
    pub eight_bit_mime: bool,
    /// RFC 6531.
    pub smtputf8: bool,
    /// RFC 3461.
    pub dsn: bool,
    /// RFC 3207.
    pub starttls: bool,
    /// RFC 3030: BDAT.
    pub chunking: bool,
    /// RFC 9422 RCPTMAX: most recipients of one letter.
    pub recipients_max: Option<usize>,
    /// RFC 9422 MAILMAX: most letters in one session.
    pub letters_max: Option<usize>,
    /// draft-hall-prdr: a reply for each recipient.
    pub reply_each: bool,
    /// RFC 8689.
    pub require_tls: bool,
    /// RFC 2852.
    pub deliver_by: bool,
    /// RFC 6710.
    pub mt_priority: bool,
    /// RFC 4954: AUTH is there, with whatever mechanisms.
    pub auth: bool,
    /// RFC 4954: those of its mechanisms that we have, best first.
    pub mechanisms: Vec<Mechanism>,
}

impl Extensions {
    fn parse(text: &str) -> Self {
        let mut extensions = Self::default();
        // The first line is the peer's name.
        for line in text.lines().skip(1) {
            let mut words = line.split_ascii_whitespace();
            match words.next().map(str::to_ascii_uppercase).as_deref() {
                Some("PIPELINING") => extensions.pipelining = true,
                Some("SIZE") => {
                    extensions.size = Some(words.next().and_then(|n| n.parse().ok()).unwrap_or(0));
                }
                Some("8BITMIME") => extensions.eight_bit_mime = true,
                Some("SMTPUTF8") => extensions.smtputf8 = true,
                Some("DSN") => extensions.dsn = true,
                Some("STARTTLS") => extensions.starttls = true,
                Some("CHUNKING") => extensions.chunking = true,
                Some("PRDR") => extensions.reply_each = true,
                Some("REQUIRETLS") => extensions.require_tls = true,
                Some("DELIVERBY") => extensions.deliver_by = true,
                Some("MT-PRIORITY") => extensions.mt_priority = true,
                Some("LIMITS") => words.for_each(|word| extensions.limit(word)),
                Some("AUTH") => {
                    extensions.auth = true;
                    extensions.mechanisms.extend(
                        words
                            .filter_map(Mechanism::parse)
                            .filter(|m| m.is_for_clients()),
                    );
                }
                _ => {}
            }
        }
        extensions.mechanisms.sort_unstable();
        extensions.mechanisms.dedup();
        extensions
    }

    /// RFC 9422 §3: `name "=" value`; what is not understood is passed over. A limit of nothing
    /// makes no sense and is none.
    fn limit(&mut self, word: &str) {
        let Some((name, value)) = word.split_once('=') else {
            return;
        };
        let value = value.parse().ok().filter(|value| *value > 0);
        match name.to_ascii_uppercase().as_str() {
            "RCPTMAX" => self.recipients_max = value,
            "MAILMAX" => self.letters_max = value,
            _ => {}
        }
    }
}

impl Client {
    pub(super) fn greeted(&mut self, reply: Reply) {
        if reply.code != 220 {
            return self.refused(Step::Greeting, reply);
        }
        self.greeting = reply.text.into_owned();
        self.hello();
    }

    pub(super) fn hello(&mut self) {
        let hostname = self.config.hostname.clone();
        // RFC 2033 §4.1.
        let verb = if self.config.lmtp { "LHLO" } else { "EHLO" };
        self.command(format_args!("{verb} {hostname}"), Expect::Ehlo);
    }

    pub(super) fn ehlo_answered(&mut self, reply: Reply) {
        if reply.code == 250 {
            self.extensions = Extensions::parse(&reply.text);
            self.hello_done();
        } else if reply.is_permanent() && !self.config.lmtp {
            // RFC 5321 §3.2: an old server does not know EHLO.
            self.extensions = Extensions::default();
            let hostname = self.config.hostname.clone();
            self.command(format_args!("HELO {hostname}"), Expect::Helo);
        } else {
            self.refused(Step::Hello, reply);
        }
    }

    pub(super) fn helo_answered(&mut self, reply: Reply) {
        if reply.code == 250 {
            self.hello_done();
        } else {
            self.refused(Step::Hello, reply);
        }
    }

    /// TLS, then login, then letters.
    fn hello_done(&mut self) {
        match self.config.tls {
            _ if self.tls => {}
            TlsPolicy::Never => {}
            TlsPolicy::Opportunistic | TlsPolicy::Required if self.extensions.starttls => {
                return self.command(format_args!("STARTTLS"), Expect::StartTls);
            }
            TlsPolicy::Opportunistic => {}
            TlsPolicy::Required => return self.fail(Failure::TlsNotOffered),
        }
        self.encrypted_or_not();
    }

    /// All that TLS could do is done.
    pub(super) fn encrypted_or_not(&mut self) {
        if self.config.credentials.is_some() {
            self.log_in();
        } else {
            self.become_ready();
        }
    }

    pub(super) fn become_ready(&mut self) {
        self.ready = true;
        self.events.push_back(Event::Ready);
    }

    /// A reply that ends the session; one that is positive does not belong here.
    pub(super) fn refused(&mut self, at: Step, reply: Reply) {
        if reply.is_positive() {
            let why = "a positive reply with the wrong code";
            self.fail(Failure::Malformed { at, why });
        } else {
            self.fail(Failure::Refused { at, reply });
        }
    }
}
