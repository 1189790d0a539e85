//! The server's side of a session: see [`Server`].

use std::sync::Arc;
use std::time::Duration;

use base::ports::ChannelBinding;
use base::{Domain, EmailAddress, Secret, Timestamp};
use bytes::{Bytes, BytesMut};

use super::params::{Body, DeliverBy, Notify, OriginalRecipient, Ret};
use super::path::Recipient;
use super::reply::Reply;
use crate::sasl::{self, Algorithm, ScramKeys};

mod auth;
mod bdat;
mod command;
mod data;
mod each;
mod ehlo;
mod mail;
mod other;
mod rcpt;
mod starttls;
mod xclient;

pub use xclient::Xclient;

/// Input that may be waiting: two reads of 32 KiB. A whole pipelined transaction with a small
/// letter fits, and a peer cannot make us hold more.
pub const INPUT_BYTES_MAX: usize = 64 * 1024;

/// Replies that may be waiting to be sent, before the next command is looked at: a short command
/// with a long reply, pipelined without end, must not fill our memory.
pub const OUTPUT_BYTES_MAX: usize = 32 * 1024;

/// Who connects.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// Other servers, on port 25. Nobody logs in here.
    Relay,
    /// Users, on port 587 or 465 (RFC 6409, RFC 8314): they log in before they send.
    Submission,
    /// Programs of the same house that hand letters over for mailboxes here (LMTP, RFC 2033).
    Lmtp,
}

/// What is offered beyond what every listener offers; the default is nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Offers {
    /// REQUIRETLS (RFC 8689), told only on an encrypted connection.
    pub require_tls: bool,
    /// FUTURERELEASE (RFC 4865): for how long a letter may be held.
    pub future_release: Option<Duration>,
    /// DELIVERBY (RFC 2852).
    pub deliver_by: bool,
    /// MT-PRIORITY (RFC 6710).
    pub mt_priority: bool,
    /// Access tokens instead of passwords: OAUTHBEARER and XOAUTH2.
    pub tokens: bool,
}

/// What a server offers and bears. One value serves all sessions of a listener.
#[derive(Clone, Debug)]
pub struct Config {
    /// The name in the greeting.
    pub hostname: Domain,
    /// Who connects.
    pub role: Role,
    /// STARTTLS is offered where the connection is not encrypted.
    pub starttls: bool,
    /// AUTH is offered on a connection that is not encrypted: for loopback only.
    pub auth_without_tls: bool,
    /// SCRAM-SHA-256 is offered: the store keeps keys for it.
    pub scram: bool,
    /// Largest letter in octets, told as SIZE.
    pub letter_bytes_max: u64,
    /// Most recipients in one transaction.
    pub recipients_max: usize,
    /// Most errors before the session is closed; a letter accepted sets the count to zero.
    pub errors_max: u32,
    /// Most letters in one session.
    pub letters_max: u32,
    /// How long the next command may take to come.
    pub command_timeout: Duration,
    /// How long the next block of a letter may take to come.
    pub data_timeout: Duration,
    /// How long the session may last without a letter accepted.
    pub session_timeout: Duration,
    /// What else is offered.
    pub offers: Offers,
}

/// MAIL, RFC 5321 §4.1.1.2.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mail {
    /// The sender; `None` is the null path `<>` of a failure notice.
    pub reverse_path: Option<EmailAddress>,
    /// SIZE=, in octets.
    pub size: Option<u64>,
    /// BODY=.
    pub body: Body,
    /// SMTPUTF8 was given.
    pub utf8: bool,
    /// RET=.
    pub ret: Option<Ret>,
    /// ENVID=, decoded.
    pub envelope_id: Option<String>,
    /// AUTH= (RFC 4954 §5), decoded: who submitted the letter, as the peer says; `<>` is nobody.
    pub submitter: Option<String>,
    /// PRDR was given: each recipient gets a reply of its own to the letter.
    pub reply_each: bool,
    /// REQUIRETLS was given (RFC 8689 §4).
    pub require_tls: bool,
    /// HOLDFOR= or HOLDUNTIL= (RFC 4865 §4): not to be sent on before.
    pub hold_until: Option<Timestamp>,
    /// BY= (RFC 2852 §4).
    pub deliver_by: Option<DeliverBy>,
    /// MT-PRIORITY= (RFC 6710 §5).
    pub priority: Option<i8>,
}

/// RCPT, RFC 5321 §4.1.1.3.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rcpt {
    /// Whom it is for.
    pub recipient: Recipient,
    /// NOTIFY=.
    pub notify: Option<Notify>,
    /// ORCPT=.
    pub original: Option<OriginalRecipient>,
}

/// What happened. The ones marked *asks* stop the session until the driver answers.
#[derive(Debug)]
pub enum Event {
    /// *Asks* whether the sender is welcome: [`Server::accept`] or [`Server::reject`].
    Mail(Mail),
    /// *Asks* whether the recipient is: [`Server::accept`] or [`Server::reject`].
    Rcpt(Rcpt),
    /// *Asks* whether a letter can be taken now: [`Server::accept`] or [`Server::reject`].
    LetterStart,
    /// A part of the letter, without dot-stuffing.
    Chunk(Bytes),
    /// The letter broke a limit or a rule: drop what came of it. The reply follows at its end, as
    /// [`Event::Refused`].
    LetterDropped,
    /// *Asks* whether the letter is kept: [`Server::accept_with`] once it is on disk, or
    /// [`Server::reject`]; or [`Server::answer_each`] where [`Server::replies_each`]. Each of them
    /// ends the transaction.
    LetterEnd,
    /// The transaction was given up.
    Reset,
    /// *Asks* whether TLS can start: [`Server::accept`], transmit, do the handshake on the raw
    /// connection, [`Server::tls_started`]; or [`Server::reject`].
    StartTls,
    /// *Asks* whether a proxy may tell this of its client: [`Server::accept`], and from then on the
    /// session is that client's; or [`Server::reject`]. Comes only after
    /// [`Server::offer_xclient`].
    Xclient(Xclient),
    /// *Asks* whether this is the login's password: [`Server::accept`] or [`Server::reject`].
    Password {
        /// Who wants to log in.
        login: String,
        /// With which password.
        password: Secret,
    },
    /// *Asks* for the SCRAM keys of a login: [`Server::keys`] (made-up keys for an unknown login)
    /// or [`Server::reject`].
    Keys {
        /// Whose keys.
        login: String,
        /// Made with which hash function.
        algorithm: Algorithm,
    },
    /// *Asks* whom an access token stands for: [`Server::stands_for`], [`Server::token_refused`]
    /// or, if it cannot be checked now, [`Server::reject`].
    Token {
        /// Whose token it should be, if the client says.
        login: Option<String>,
        /// The token.
        token: Secret,
    },
    /// *Asks* whom the client's certificate stands for: [`Server::stands_for`] or
    /// [`Server::reject`].
    External {
        /// Whom the client wants to act as; `None`: whom the certificate names.
        identity: Option<String>,
    },
    /// *Asks* whether this login, which proved its password by SCRAM, may enter:
    /// [`Server::accept`] or [`Server::reject`].
    Proved {
        /// Who wants to log in.
        login: String,
        /// With which of the keys that were given; see [`sasl::ServerStep::Proved`].
        which: usize,
    },
    /// A SCRAM proof was wrong; the reply is already written. To be counted.
    WrongProof {
        /// Whose password was not known.
        login: String,
    },
    /// This reply was given to the peer by the session itself. To be logged.
    Refused(Reply),
    /// The peer said goodbye.
    Quit,
}

/// What an event that asks waits for.
#[derive(Debug)]
enum Waiting {
    Mail {
        utf8: bool,
        binary: bool,
        each: bool,
    },
    Rcpt,
    Data,
    Chunk {
        size: u64,
        last: bool,
    },
    LetterEnd,
    Password {
        login: String,
    },
    Keys(sasl::Server),
    Token(sasl::Server),
    External,
    Proved {
        login: String,
    },
    StartTls,
    /// With the name that the proxy's client gave.
    Xclient(Option<String>),
}

/// How the next input is read.
#[derive(Debug)]
enum Mode {
    /// Not yet greeted.
    Greeting,
    Command,
    Auth(sasl::Server),
    Data,
    Chunk {
        remaining: u64,
        size: u64,
        last: bool,
    },
    /// Between the reply to STARTTLS and the end of the handshake.
    Handshake,
    Closed,
}

/// What one step of [`Server::poll`] gave.
enum Step {
    Event(Event),
    Again,
    NeedInput,
}

/// The transaction between MAIL and the end of the letter.
#[derive(Debug, Default)]
struct Transaction {
    utf8: bool,
    /// BODY=BINARYMIME was given.
    binary: bool,
    /// Each recipient gets a reply of its own: LMTP, or PRDR.
    each: bool,
    recipients: usize,
}

/// The letter being received.
#[derive(Debug, Default)]
struct Letter {
    /// The driver was asked and agreed.
    started: bool,
    bytes: u64,
    /// The next octet of DATA is the first of a line.
    line_start: bool,
    /// The last octet of BDAT was CR.
    after_cr: bool,
    /// Why the letter will be refused; what comes of it is dropped.
    fault: Option<Reply>,
}

/// The server's engine for one session.
///
/// The driver calls, in this order:
/// 1. [`Server::new`], then [`Server::greet`] or [`Server::refuse`], then [`Server::transmit`];
/// 2. [`Server::receive`] with what came, at most 32 KiB at a time and only while
///    [`Server::wants_input`];
/// 3. [`Server::poll`] until `None`, answering each event that asks before the next `poll`;
/// 4. [`Server::transmit`] and send: replies to pipelined commands leave in one piece; when
///    [`Server::is_stalled`], again from 3;
/// 5. again from 2, until [`Server::is_closed`]; when [`Server::deadline`] passes first,
///    [`Server::timeout`], then from 3.
///
/// While an event waits for its answer nothing further is read from the input, so each reply stands
/// in the order of its command (RFC 2920 §3.2).
#[derive(Debug)]
pub struct Server {
    config: Arc<Config>,
    input: BytesMut,
    output: BytesMut,
    mode: Mode,
    waiting: Option<Waiting>,
    /// How much of the input was searched for a line end already.
    searched: usize,
    /// The rest of a line that was too long is being skipped.
    skipping: bool,
    peer_name: Option<String>,
    /// The name that a proxy told of its client; it goes before the proxy's own.
    told_name: Option<String>,
    xclient: bool,
    extended: bool,
    tls: bool,
    channel: ChannelBinding,
    certificate: bool,
    login: Option<String>,
    transaction: Option<Transaction>,
    letter: Letter,
    errors: u32,
    letters: u32,
    draining: bool,
    stalled: bool,
    refused: Option<Reply>,
    now: Timestamp,
    progress_at: Timestamp,
    letter_at: Timestamp,
}

impl Server {
    /// A session that begins now, on a connection that is encrypted already or not.
    #[must_use]
    pub fn new(config: Arc<Config>, tls: bool, now: Timestamp) -> Self {
        Self {
            config,
            input: BytesMut::new(),
            output: BytesMut::new(),
            mode: Mode::Greeting,
            waiting: None,
            searched: 0,
            skipping: false,
            peer_name: None,
            told_name: None,
            xclient: false,
            extended: false,
            tls,
            channel: ChannelBinding::default(),
            certificate: false,
            login: None,
            transaction: None,
            letter: Letter::default(),
            errors: 0,
            letters: 0,
            draining: false,
            stalled: false,
            refused: None,
            now,
            progress_at: now,
            letter_at: now,
        }
    }

    /// What a login may be bound to, once the connection is encrypted.
    pub fn set_channel_binding(&mut self, channel: ChannelBinding) {
        self.channel = channel;
    }

    /// The client has shown a certificate that can be logged in with: EXTERNAL is offered.
    pub fn offer_external(&mut self) {
        self.certificate = true;
    }

    /// Greets the peer.
    pub fn greet(&mut self) {
        let protocol = match self.config.role {
            Role::Lmtp => "LMTP",
            Role::Relay | Role::Submission => "ESMTP",
        };
        let text = format!("{} {protocol} Pennyblack", self.config.hostname);
        Reply::plain(220, text).write(&mut self.output);
        self.mode = Mode::Command;
    }

    /// Greets the peer with a refusal (RFC 5321 §3.1, §4.2.3: 421 or 554) and closes.
    pub fn refuse(&mut self, reply: &Reply) {
        self.close(reply);
    }

    /// Takes what the peer sent.
    pub fn receive(&mut self, bytes: &[u8], now: Timestamp) {
        self.now = now;
        match self.mode {
            // RFC 3207 §4.2: what was sent in clear before the handshake is not looked at.
            Mode::Closed | Mode::Handshake => return,
            Mode::Data | Mode::Chunk { .. } => self.progress_at = now,
            Mode::Greeting | Mode::Command | Mode::Auth(_) => {}
        }
        self.input.extend_from_slice(bytes);
    }

    /// Whether more input can be taken.
    #[must_use]
    pub fn wants_input(&self) -> bool {
        self.waiting.is_none()
            && !self.stalled
            && !matches!(self.mode, Mode::Closed | Mode::Handshake)
            && self.input.len() < INPUT_BYTES_MAX
    }

    /// The next event; `None` when more input, an answer or the handshake is needed, or it is over.
    pub fn poll(&mut self) -> Option<Event> {
        loop {
            if let Some(reply) = self.refused.take() {
                return Some(Event::Refused(reply));
            }
            if self.waiting.is_some() {
                return None;
            }
            self.stalled = self.output.len() >= OUTPUT_BYTES_MAX && !self.is_closed();
            if self.stalled {
                return None;
            }
            let between = matches!(self.mode, Mode::Command | Mode::Auth(_));
            if self.draining && !self.letter.started && between {
                self.close(&Reply::shutting_down());
                return None;
            }
            let step = match self.mode {
                Mode::Greeting | Mode::Handshake | Mode::Closed => Step::NeedInput,
                Mode::Command | Mode::Auth(_) => self.next_line(),
                Mode::Data => self.next_data(),
                Mode::Chunk { .. } => self.next_chunk(),
            };
            match step {
                Step::Event(event) => return Some(event),
                Step::Again => {}
                Step::NeedInput => return None,
            }
        }
    }

    /// Whether [`Server::poll`] stopped because so much is to be sent first.
    #[must_use]
    pub fn is_stalled(&self) -> bool {
        self.stalled
    }

    /// What is to be sent to the peer; `None` when there is nothing.
    pub fn transmit(&mut self) -> Option<Bytes> {
        (!self.output.is_empty()).then(|| self.output.split().freeze())
    }

    /// When [`Server::timeout`] is due; `None` while an event waits for its answer.
    #[must_use]
    pub fn deadline(&self) -> Option<Timestamp> {
        let step = match self.mode {
            Mode::Closed => return None,
            // RFC 5321 §4.5.3.2.5: 3 minutes for a block of DATA.
            Mode::Data | Mode::Chunk { .. } => self.config.data_timeout,
            // RFC 5321 §4.5.3.2.7: 5 minutes for a command.
            Mode::Greeting | Mode::Command | Mode::Auth(_) | Mode::Handshake => {
                self.config.command_timeout
            }
        };
        let session = self.letter_at + self.config.session_timeout;
        (self.waiting.is_none()).then(|| session.min(self.progress_at + step))
    }

    /// Closes the session if the deadline has passed.
    pub fn timeout(&mut self, now: Timestamp) {
        self.now = now;
        if self.deadline().is_some_and(|deadline| deadline <= now) {
            let reply = Reply::timeout();
            self.close(&reply);
            self.refused = Some(reply);
        }
    }

    /// Ends the session with 421 at once, or after the letter that is being received.
    pub fn drain(&mut self) {
        self.draining = true;
    }

    /// Ends the session at once with this reply (a 421).
    pub fn close(&mut self, reply: &Reply) {
        reply.write(&mut self.output);
        self.shut();
    }

    /// Whether the connection is to be closed once all is transmitted.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        matches!(self.mode, Mode::Closed)
    }

    /// Answers the event that asks with yes.
    pub fn accept(&mut self) {
        self.answer(None);
    }

    /// Answers the event that asks with yes, and with this text instead of the usual one.
    pub fn accept_with(&mut self, reply: &Reply) {
        self.answer(Some(reply));
    }

    /// Answers the event that asks with no. A permanent refusal counts as an error of the peer.
    pub fn reject(&mut self, reply: &Reply) {
        match self.waiting.take() {
            None => {}
            Some(Waiting::Chunk { size, last }) => {
                self.letter.fault = Some(reply.clone());
                self.mode = Mode::Chunk {
                    remaining: size,
                    size,
                    last,
                };
            }
            Some(Waiting::LetterEnd) => {
                self.write_for_the_others(reply);
                self.end_transaction();
                self.say(reply);
            }
            Some(
                Waiting::Mail { .. }
                | Waiting::Rcpt
                | Waiting::Data
                | Waiting::Password { .. }
                | Waiting::Keys(_)
                | Waiting::Token(_)
                | Waiting::External
                | Waiting::Proved { .. }
                | Waiting::StartTls
                | Waiting::Xclient(_),
            ) => self.say(reply),
        }
    }

    /// Answers [`Event::Keys`]; `nonce` is 18 or more random bytes as base64.
    pub fn keys(&mut self, keys: ScramKeys, nonce: &str) {
        if let Some(Waiting::Keys(mut exchange)) = self.waiting.take() {
            let step = exchange.keys(keys, nonce);
            self.refused = self.challenge(exchange, step);
        }
    }

    /// The peer's name for itself, from EHLO or HELO.
    #[must_use]
    pub fn peer_name(&self) -> Option<&str> {
        self.told_name.as_deref().or(self.peer_name.as_deref())
    }

    /// Whether MAIL was accepted and neither a letter's end nor a reset followed.
    #[must_use]
    pub fn is_in_transaction(&self) -> bool {
        self.transaction.is_some()
    }

    /// Who has logged in.
    #[must_use]
    pub fn login(&self) -> Option<&str> {
        self.login.as_deref()
    }

    /// Whether the connection is encrypted.
    #[must_use]
    pub fn is_encrypted(&self) -> bool {
        self.tls
    }

    /// Whether the peer said EHLO, not HELO.
    #[must_use]
    pub fn is_extended(&self) -> bool {
        self.extended
    }

    fn answer(&mut self, reply: Option<&Reply>) {
        let Some(waiting) = self.waiting.take() else {
            return;
        };
        let usual = match waiting {
            Waiting::Mail { utf8, binary, each } => {
                self.transaction = Some(Transaction {
                    utf8,
                    binary,
                    each: each || self.config.role == Role::Lmtp,
                    recipients: 0,
                });
                Reply::sender_ok()
            }
            Waiting::Rcpt => {
                if let Some(transaction) = &mut self.transaction {
                    transaction.recipients += 1;
                }
                Reply::recipient_ok()
            }
            Waiting::Data => {
                self.start_letter();
                self.mode = Mode::Data;
                Reply::start_data()
            }
            Waiting::Chunk { size, last } => {
                self.start_letter();
                self.mode = Mode::Chunk {
                    remaining: size,
                    size,
                    last,
                };
                return;
            }
            Waiting::LetterEnd => {
                let transaction = self.transaction.take().unwrap_or_default();
                self.letter_taken();
                if transaction.each {
                    let kept = reply.cloned().unwrap_or_else(Reply::letter_accepted);
                    return self.write_each(&vec![kept; transaction.recipients]);
                }
                Reply::letter_accepted()
            }
            Waiting::Password { login } | Waiting::Proved { login } => {
                self.login = Some(login);
                Reply::authenticated()
            }
            // Only `keys` answers this one, and `stands_for` the others.
            asks @ (Waiting::Keys(_) | Waiting::Token(_) | Waiting::External) => {
                self.waiting = Some(asks);
                return;
            }
            Waiting::StartTls => {
                self.begin_handshake();
                Reply::start_tls()
            }
            Waiting::Xclient(helo) => return self.begin_again(helo),
        };
        reply.unwrap_or(&usual).write(&mut self.output);
    }

    fn letter_taken(&mut self) {
        self.letters += 1;
        self.errors = 0;
        self.letter_at = self.now;
        self.end_transaction();
    }

    /// Writes a reply and counts it if it is the peer's error. A 421 ends the session.
    fn say(&mut self, reply: &Reply) {
        reply.write(&mut self.output);
        if reply.code == 421 {
            self.shut();
        } else if reply.is_permanent() {
            self.errors += 1;
            if self.errors >= self.config.errors_max {
                let reply = Reply::too_many_errors();
                self.close(&reply);
                self.refused = Some(reply);
            }
        }
    }

    /// A refusal that the session makes by itself.
    fn refuse_command(&mut self, reply: Reply) -> Step {
        self.say(&reply);
        Step::Event(Event::Refused(reply))
    }

    fn ask(&mut self, waiting: Waiting, event: Event) -> Step {
        self.waiting = Some(waiting);
        Step::Event(event)
    }

    fn start_letter(&mut self) {
        self.letter = Letter {
            started: true,
            line_start: true,
            ..Letter::default()
        };
        self.progress_at = self.now;
    }

    /// Forgets the transaction; whether there was one.
    fn end_transaction(&mut self) -> bool {
        self.letter = Letter::default();
        self.transaction.take().is_some()
    }

    fn shut(&mut self) {
        self.mode = Mode::Closed;
        self.waiting = None;
        self.input = BytesMut::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server() -> Server {
        let config = Config {
            hostname: Domain::parse("mx.black.test").unwrap(),
            role: Role::Relay,
            starttls: true,
            auth_without_tls: false,
            scram: true,
            letter_bytes_max: 1_000,
            recipients_max: 5,
            errors_max: u32::MAX,
            letters_max: 100,
            command_timeout: Duration::from_secs(300),
            data_timeout: Duration::from_secs(180),
            session_timeout: Duration::from_secs(3_600),
            offers: Offers::default(),
        };
        let mut server = Server::new(Arc::new(config), false, Timestamp(0));
        server.greet();
        server.transmit();
        server
    }

    /// What a hostile peer may send without end; the most that was held at any time.
    fn held(server: &mut Server, piece: &[u8]) -> usize {
        let mut most = 0;
        for _ in 0..20 {
            server.receive(piece, Timestamp(0));
            loop {
                while server.poll().is_some() {
                    server.accept();
                }
                most = most.max(server.input.len() + server.output.len());
                server.transmit();
                if !server.is_stalled() {
                    break;
                }
            }
        }
        most
    }

    #[test]
    fn memory_is_bounded_whatever_is_sent() {
        let most = INPUT_BYTES_MAX + OUTPUT_BYTES_MAX;
        assert!(held(&mut server(), &[b'x'; 16_384]) <= most);
        assert!(held(&mut server(), &b"EHLO x\r\n".repeat(2_000)) <= most);
        assert!(held(&mut server(), &b"\r\n".repeat(8_000)) <= most);
        let mut in_data = server();
        let start = b"EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<postmaster>\r\nDATA\r\n";
        held(&mut in_data, start);
        assert!(held(&mut in_data, &[b'x'; 16_384]) <= most);
    }

    #[test]
    fn a_421_of_the_driver_ends_the_session() {
        let mut server = server();
        server.receive(b"EHLO x\r\nMAIL FROM:<>\r\nNOOP\r\n", Timestamp(0));
        assert!(matches!(server.poll(), Some(Event::Mail(_))));
        server.reject(&Reply::shutting_down());
        assert!(server.poll().is_none());
        assert!(server.is_closed());
        let said = server.transmit().unwrap();
        assert!(said.ends_with(b"421 4.3.2 Server is shutting down; try again later\r\n"));
    }
}
