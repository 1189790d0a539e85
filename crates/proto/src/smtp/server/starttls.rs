//! STARTTLS: RFC 3207.

use base::Timestamp;
use bytes::BytesMut;

use super::{Event, Mode, Reply, Server, Step, Waiting};

impl Server {
    pub(super) fn starttls(&mut self, argument: &str) -> Step {
        let reply = if !argument.is_empty() {
            Reply::syntax("Syntax: STARTTLS")
        } else if self.tls {
            Reply::bad_sequence("TLS is active already")
        } else if !self.config.starttls {
            Reply::not_implemented()
        } else if self.transaction.is_some() {
            Reply::bad_sequence("Not inside of a transaction")
        } else {
            return self.ask(Waiting::StartTls, Event::StartTls);
        };
        self.refuse_command(reply)
    }

    /// RFC 3207 §4.2, §6: what was pipelined behind STARTTLS came in clear, perhaps from a man in
    /// the middle: it is thrown away, and nothing said before counts any more.
    pub(super) fn begin_handshake(&mut self) {
        self.mode = Mode::Handshake;
        self.input = BytesMut::new();
        self.searched = 0;
        self.skipping = false;
        self.peer_name = None;
        self.extended = false;
        self.login = None;
        self.channel = base::ports::ChannelBinding::default();
        self.end_transaction();
    }

    /// The handshake succeeded; the session begins anew, without a greeting.
    pub fn tls_started(&mut self, now: Timestamp) {
        if matches!(self.mode, Mode::Handshake) {
            self.now = now;
            self.progress_at = now;
            self.tls = true;
            self.mode = Mode::Command;
        }
    }
}
