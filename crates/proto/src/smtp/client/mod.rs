//! The client's side of a session: see [`Client`].

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use base::error::Classified;
use base::ports::ChannelBinding;
use base::{Class, Domain, EmailAddress, Secret, Timestamp};
use bytes::{Bytes, BytesMut};

use super::params::{DeliverBy, Notify, OriginalRecipient, Ret};
use super::reply::Reply;
use crate::sasl;

mod auth;
mod body;
mod ehlo;
mod other;
mod reader;
mod starttls;
mod transaction;

pub use ehlo::Extensions;

use reader::ReplyReader;
use transaction::Transaction;

/// When TLS is used.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum TlsPolicy {
    /// Never, not even when it is offered.
    Never,
    /// When it is offered (RFC 7435).
    #[default]
    Opportunistic,
    /// Always: without it no letter is sent.
    Required,
}

/// How to log in, at a smarthost.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// The login.
    pub login: String,
    /// The password.
    pub password: Secret,
    /// 18 or more random bytes as base64, for SCRAM.
    pub nonce: String,
    /// Log in on a connection that is not encrypted too: for loopback only.
    pub without_tls: bool,
}

/// What a session is to be like.
#[derive(Clone, Debug)]
pub struct Config {
    /// The name we give in EHLO.
    pub hostname: Domain,
    /// When TLS is used.
    pub tls: TlsPolicy,
    /// How to log in, if at all.
    pub credentials: Option<Credentials>,
    /// How long the peer may take.
    pub timeouts: Timeouts,
    /// Speak LMTP (RFC 2033) instead of SMTP.
    pub lmtp: bool,
}

/// How long the peer may take; the defaults are those of RFC 5321 §4.5.3.2.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// For the greeting: 5 minutes.
    pub greeting: Duration,
    /// For the reply to a command: 5 minutes.
    pub command: Duration,
    /// For the reply to DATA: 2 minutes.
    pub data_start: Duration,
    /// To take a block of the letter: 3 minutes.
    pub data_block: Duration,
    /// For the reply to the letter: 10 minutes.
    pub letter_end: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            greeting: Duration::from_secs(300),
            command: Duration::from_secs(300),
            data_start: Duration::from_secs(120),
            data_block: Duration::from_secs(180),
            letter_end: Duration::from_secs(600),
        }
    }
}

/// One letter to be sent.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// The sender; `None` is `<>`.
    pub reverse_path: Option<EmailAddress>,
    /// To whom; at least one.
    pub recipients: Vec<OutgoingRecipient>,
    /// RET=, told to peers with DSN.
    pub ret: Option<Ret>,
    /// ENVID=, told to peers with DSN.
    pub envelope_id: Option<String>,
    /// The header needs SMTPUTF8. Addresses are looked at besides.
    pub needs_utf8: bool,
    /// AUTH= (RFC 4954 §5), told where we have logged in: the address of who submitted the letter,
    /// if we vouch for it.
    pub submitter: Option<EmailAddress>,
    /// REQUIRETLS (RFC 8689): without it at the peer the letter is refused. That the connection is
    /// safe enough is the driver's to see to.
    pub require_tls: bool,
    /// BY= (RFC 2852), told to peers with DELIVERBY; one that is to be returned is refused without.
    pub deliver_by: Option<DeliverBy>,
    /// MT-PRIORITY= (RFC 6710), told to peers that offer it.
    pub priority: i8,
    /// The letter in one or more parts (what we add, and what was given), lines ending with CR LF.
    pub parts: Vec<Bytes>,
}

impl Outgoing {
    /// A letter of whose way nothing is asked.
    #[must_use]
    pub fn plain(
        reverse_path: Option<EmailAddress>,
        recipients: Vec<EmailAddress>,
        parts: Vec<Bytes>,
    ) -> Self {
        let recipients = recipients.into_iter().map(|address| OutgoingRecipient {
            address,
            notify: None,
            original: None,
        });
        Self {
            reverse_path,
            recipients: recipients.collect(),
            ret: None,
            envelope_id: None,
            needs_utf8: false,
            submitter: None,
            require_tls: false,
            deliver_by: None,
            priority: 0,
            parts,
        }
    }
}

/// One recipient of it.
#[derive(Clone, Debug)]
pub struct OutgoingRecipient {
    /// The address.
    pub address: EmailAddress,
    /// NOTIFY=, told to peers with DSN.
    pub notify: Option<Notify>,
    /// ORCPT=, told to peers with DSN.
    pub original: Option<OriginalRecipient>,
}

/// What became of one recipient.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RecipientOutcome {
    /// The peer has taken the responsibility, with this reply to the letter.
    Accepted(Reply),
    /// The peer refused the recipient, the sender or the letter.
    Refused(Reply),
    /// We found that the peer cannot take it (too large, no SMTPUTF8), told in the words of a reply;
    /// the peer was not asked.
    Unfit(Reply),
    /// The session ended first. The letter may have arrived if that was at [`Step::LetterEnd`].
    Unfinished(Failure),
}

/// Where in a session something happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// Waiting for the greeting.
    Greeting,
    /// EHLO or HELO.
    Hello,
    /// STARTTLS and its handshake.
    StartTls,
    /// AUTH.
    Auth,
    /// RSET.
    Reset,
    /// MAIL.
    Mail,
    /// RCPT.
    Rcpt,
    /// DATA.
    Data,
    /// Sending the letter.
    Letter,
    /// Waiting for the reply to it.
    LetterEnd,
    /// QUIT, or between letters.
    Idle,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Greeting => "the greeting",
            Self::Hello => "EHLO",
            Self::StartTls => "STARTTLS",
            Self::Auth => "AUTH",
            Self::Reset => "RSET",
            Self::Mail => "MAIL",
            Self::Rcpt => "RCPT",
            Self::Data => "DATA",
            Self::Letter => "the letter",
            Self::LetterEnd => "the end of the letter",
            Self::Idle => "the end of the session",
        })
    }
}

/// Why a session ended other than by our QUIT.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Failure {
    /// The peer refused to go on.
    Refused {
        /// Where.
        at: Step,
        /// In its words.
        reply: Reply,
    },
    /// The peer took too long.
    Timeout(Step),
    /// The connection broke.
    Disconnected(Step),
    /// What came is no SMTP reply, or one that cannot stand here.
    Malformed {
        /// Where.
        at: Step,
        /// What is wrong.
        why: &'static str,
    },
    /// TLS is required and not offered.
    TlsNotOffered,
    /// AUTH is needed, and no mechanism of ours is offered (over TLS).
    AuthNotOffered,
    /// The peer could not prove that it knows the account (SCRAM).
    NotGenuine(sasl::ClientError),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused { at, reply } => write!(f, "refused at {at}: {reply}"),
            Self::Timeout(at) => write!(f, "timeout at {at}"),
            Self::Disconnected(at) => write!(f, "connection lost at {at}"),
            Self::Malformed { at, why } => write!(f, "not understood at {at}: {why}"),
            Self::TlsNotOffered => f.write_str("TLS is required and the peer does not offer it"),
            Self::AuthNotOffered => {
                f.write_str("the peer offers no way to log in that is acceptable")
            }
            Self::NotGenuine(why) => write!(f, "the peer is not who it should be: {why}"),
        }
    }
}

impl std::error::Error for Failure {}

impl Classified for Failure {
    fn class(&self) -> Class {
        match self {
            Self::Refused { reply, .. } if reply.is_permanent() => Class::Permanent,
            Self::Malformed { .. } => Class::Peer,
            Self::Refused { .. }
            | Self::Timeout(_)
            | Self::Disconnected(_)
            | Self::TlsNotOffered
            | Self::AuthNotOffered
            | Self::NotGenuine(_) => Class::Transient,
        }
    }
}

/// What happened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// The peer agreed to start TLS: transmit nothing more, do the handshake on the raw connection,
    /// then [`Client::tls_started`] or [`Client::close`].
    StartTls,
    /// The session can take a letter: [`Client::send`] or [`Client::quit`].
    Ready,
    /// The letter is settled, one outcome for each recipient in order. The session can take another
    /// unless [`Event::Failed`] follows.
    Done(Vec<RecipientOutcome>),
    /// The session is over.
    Failed(Failure),
}

/// The replies that are awaited, in order.
#[derive(Debug)]
enum Expect {
    Greeting,
    Ehlo,
    Helo,
    StartTls,
    Auth(Box<sasl::Client>),
    AuthCancelled(Failure),
    Reset,
    Mail,
    Rcpt(usize),
    Data,
    LetterEnd,
    /// LMTP and PRDR: the reply to the letter for one recipient.
    LetterEndOf(usize),
    /// PRDR: the reply to the whole, behind those for each; only it makes them count.
    LetterEndOfAll,
    Quit,
}

impl Expect {
    fn step(&self) -> Step {
        match self {
            Self::Greeting => Step::Greeting,
            Self::Ehlo | Self::Helo => Step::Hello,
            Self::StartTls => Step::StartTls,
            Self::Auth(_) | Self::AuthCancelled(_) => Step::Auth,
            Self::Reset => Step::Reset,
            Self::Mail => Step::Mail,
            Self::Rcpt(_) => Step::Rcpt,
            Self::Data => Step::Data,
            Self::LetterEnd | Self::LetterEndOf(_) | Self::LetterEndOfAll => Step::LetterEnd,
            Self::Quit => Step::Idle,
        }
    }
}

/// The client's engine for one session of many letters.
///
/// The driver calls, in this order:
/// 1. [`Client::new`] on a connection that was just opened;
/// 2. [`Client::receive`] with what came, at most 64 KiB at a time, or [`Client::disconnected`];
/// 3. [`Client::poll`] until `None`, obeying each event;
/// 4. [`Client::transmit`] until `None`, sending each piece;
/// 5. again from 2, until [`Client::is_closed`]; when [`Client::deadline`] passes first,
///    [`Client::timeout`], then from 3.
///
/// MAIL, RCPT and DATA are pipelined where the peer offers it (RFC 2920). Where CHUNKING is offered
/// the letter goes by BDAT (RFC 3030) once a recipient is accepted: nothing in it can be taken for
/// its end. A letter with octets above 127 is sent as it is; for a peer without 8BITMIME the driver
/// converts it first. Parameters go only to peers that offer them; [`Client::extensions`] tells.
#[derive(Debug)]
pub struct Client {
    config: Config,
    reader: ReplyReader,
    output: BytesMut,
    expected: VecDeque<Expect>,
    events: VecDeque<Event>,
    extensions: Extensions,
    greeting: String,
    tls: bool,
    ready: bool,
    in_handshake: bool,
    channel: ChannelBinding,
    needs_reset: bool,
    transaction: Option<Transaction>,
    closed: bool,
    now: Timestamp,
    progress_at: Timestamp,
}

impl Client {
    /// A session on a connection that was opened just now, encrypted already or not.
    #[must_use]
    pub fn new(config: Config, tls: bool, now: Timestamp) -> Self {
        Self {
            config,
            reader: ReplyReader::default(),
            output: BytesMut::new(),
            expected: VecDeque::from([Expect::Greeting]),
            events: VecDeque::new(),
            extensions: Extensions::default(),
            greeting: String::new(),
            tls,
            ready: false,
            in_handshake: false,
            channel: ChannelBinding::default(),
            needs_reset: false,
            transaction: None,
            closed: false,
            now,
            progress_at: now,
        }
    }

    /// Takes what the peer sent.
    pub fn receive(&mut self, bytes: &[u8], now: Timestamp) {
        self.now = now;
        // RFC 3207 §6: what came in clear behind the reply to STARTTLS is not believed.
        if self.closed || self.in_handshake {
            return;
        }
        self.reader.receive(bytes);
        while !self.closed && !self.in_handshake {
            match self.reader.next() {
                // A reply that comes drop by drop does not move the deadline.
                Ok(Some(reply)) => {
                    self.progress_at = now;
                    self.reply(reply);
                }
                Ok(None) => break,
                Err(why) => self.fail(Failure::Malformed {
                    at: self.step(),
                    why,
                }),
            }
        }
        self.pump();
    }

    /// The peer closed the connection, or it broke.
    pub fn disconnected(&mut self) {
        if matches!(self.expected.front(), Some(Expect::Quit)) {
            self.closed = true;
        }
        self.fail(Failure::Disconnected(self.step()));
    }

    /// The next event.
    pub fn poll(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// What is to be sent next, at most about 64 KiB; `None` when there is nothing now.
    pub fn transmit(&mut self, now: Timestamp) -> Option<Bytes> {
        self.now = now;
        if !self.closed {
            self.fill_from_letter();
        }
        if self.output.is_empty() {
            return None;
        }
        self.progress_at = now;
        Some(self.output.split().freeze())
    }

    /// When [`Client::timeout`] is due; `None` while the session waits for us.
    #[must_use]
    pub fn deadline(&self) -> Option<Timestamp> {
        if self.closed {
            return None;
        }
        let timeouts = &self.config.timeouts;
        let span = match self.step() {
            _ if self.is_sending() => timeouts.data_block,
            Step::Idle if self.expected.is_empty() && !self.in_handshake => return None,
            Step::Greeting => timeouts.greeting,
            Step::Data => timeouts.data_start,
            Step::Letter => timeouts.data_block,
            Step::LetterEnd => timeouts.letter_end,
            Step::Hello
            | Step::StartTls
            | Step::Auth
            | Step::Reset
            | Step::Mail
            | Step::Rcpt
            | Step::Idle => timeouts.command,
        };
        Some(self.progress_at + span)
    }

    /// Ends the session if the deadline has passed.
    pub fn timeout(&mut self, now: Timestamp) {
        self.now = now;
        if self.deadline().is_some_and(|deadline| deadline <= now) {
            self.fail(Failure::Timeout(self.step()));
        }
    }

    /// Ends the session for a reason of the driver's, such as a failed handshake.
    pub fn close(&mut self, failure: Failure) {
        self.fail(failure);
    }

    /// Whether the session is over; what is left to transmit may still be sent.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// Whether a letter can be sent now.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.ready && !self.closed && self.transaction.is_none() && self.expected.is_empty()
    }

    /// What the peer offers, from its last EHLO.
    #[must_use]
    pub fn extensions(&self) -> &Extensions {
        &self.extensions
    }

    /// The text of the peer's greeting, for the journey.
    #[must_use]
    pub fn greeting(&self) -> &str {
        &self.greeting
    }

    /// Whether the connection is encrypted.
    #[must_use]
    pub fn is_encrypted(&self) -> bool {
        self.tls
    }

    /// One reply of the peer.
    fn reply(&mut self, reply: Reply) {
        let Some(expect) = self.expected.pop_front() else {
            // RFC 5321 §3.8: 421 may come at any time.
            let at = self.step();
            return match reply.code {
                421 => self.fail(Failure::Refused { at, reply }),
                400..600 if self.is_sending() => self.refused_while_sending(reply),
                _ => self.fail(Failure::Malformed {
                    at,
                    why: "a reply that was not asked for",
                }),
            };
        };
        let at = expect.step();
        if reply.code == 421 && !matches!(expect, Expect::Quit) {
            return self.fail(Failure::Refused { at, reply });
        }
        match expect {
            Expect::Greeting => self.greeted(reply),
            Expect::Ehlo => self.ehlo_answered(reply),
            Expect::Helo => self.helo_answered(reply),
            Expect::StartTls => self.starttls_answered(reply),
            Expect::Auth(exchange) => self.auth_answered(exchange, reply),
            Expect::AuthCancelled(failure) => self.fail(failure),
            // Whatever is said to RSET, the next MAIL will show whether it worked.
            Expect::Reset => {}
            Expect::Mail => self.mail_answered(&reply),
            Expect::Rcpt(index) => self.rcpt_answered(index, reply),
            Expect::Data => self.data_answered(&reply),
            Expect::LetterEnd => self.letter_answered(&reply),
            Expect::LetterEndOf(index) => self.letter_answered_for(index, reply),
            Expect::LetterEndOfAll => self.letter_answered_for_all(reply),
            Expect::Quit => self.closed = true,
        }
    }

    /// Where the session is.
    fn step(&self) -> Step {
        match self.expected.front() {
            Some(expect) => expect.step(),
            None if self.in_handshake => Step::StartTls,
            None if self.is_sending() => Step::Letter,
            None => Step::Idle,
        }
    }

    /// Ends the session; recipients that are not settled stay unfinished.
    fn fail(&mut self, failure: Failure) {
        if self.closed {
            return;
        }
        self.closed = true;
        self.ready = false;
        self.expected.clear();
        self.output.clear();
        if let Some(transaction) = self.transaction.take() {
            let unfinished = RecipientOutcome::Unfinished(failure.clone());
            self.events
                .push_back(Event::Done(transaction.outcomes(&unfinished)));
        }
        self.events.push_back(Event::Failed(failure));
    }

    fn command(&mut self, line: fmt::Arguments<'_>, expect: Expect) {
        // Writing to a BytesMut cannot fail: it grows.
        let _ = fmt::Write::write_fmt(&mut self.output, line);
        self.output.extend_from_slice(b"\r\n");
        self.expected.push_back(expect);
    }
}
