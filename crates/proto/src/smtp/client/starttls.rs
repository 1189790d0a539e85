//! STARTTLS: RFC 3207.

use base::Timestamp;
use base::ports::ChannelBinding;

use super::{Client, Event, Step, TlsPolicy};
use crate::smtp::reply::Reply;

impl Client {
    pub(super) fn starttls_answered(&mut self, reply: Reply) {
        if reply.code == 220 {
            self.in_handshake = true;
            // RFC 3207 §6: what came behind the reply came in clear.
            self.reader.clear();
            self.events.push_back(Event::StartTls);
        } else if self.config.tls == TlsPolicy::Required || reply.is_positive() {
            self.refused(Step::StartTls, reply);
        } else {
            self.encrypted_or_not();
        }
    }

    /// What the connection has to bind a login to (RFC 5802 §6); to be told before
    /// [`Client::tls_started`].
    pub fn set_channel_binding(&mut self, channel: ChannelBinding) {
        self.channel = channel;
    }

    /// The handshake succeeded; what the peer said before is forgotten (RFC 3207 §4.2).
    pub fn tls_started(&mut self, now: Timestamp) {
        if self.in_handshake && !self.closed {
            self.now = now;
            self.progress_at = now;
            self.in_handshake = false;
            self.tls = true;
            self.hello();
        }
    }
}
