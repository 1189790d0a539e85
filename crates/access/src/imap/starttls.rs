//! STARTTLS (RFC 9051 §6.2.1).

use std::sync::Arc;

use proto::imap::Tag;
use proto::imap::write::Status;
use tokio::time::timeout;
use tracing::debug;

use super::reply::Failure;
use super::session::{Done, Session};

impl Session {
    /// The tagged answer comes before the handshake, so it is written here.
    pub(super) async fn start_tls(&mut self, tag: &Tag) -> Result<Done, Failure> {
        if self.account.is_some() {
            return Err(Failure::WrongState("Already logged in"));
        }
        if self.tls.is_some() {
            return Err(Failure::WrongState("TLS is on already"));
        }
        let offered = self.context.options.tls.as_ref();
        let acceptor = offered.filter(|_| self.may_start_tls()).map(Arc::clone);
        let acceptor = acceptor.ok_or(Failure::WrongState("TLS is not offered here"))?;
        let writer = &mut self.connection.writer;
        writer.status(Some(tag), Status::Ok, None, "Begin TLS now");
        self.connection.flush().await?;
        // What came in the same breath is thrown away: nobody knows who has sent it.
        let stream = self.connection.take_stream().ok_or_else(gone)?;
        let limit = self.context.options.limits.command_timeout;
        let (stream, info) = timeout(limit, acceptor.accept_with_certificate(stream))
            .await
            .map_err(|_| Failure::TimedOut)?
            .map_err(Failure::Io)?;
        debug!(version = info.version, cipher = %info.cipher, "TLS is on");
        self.connection.set_stream(stream);
        self.tls = Some(info);
        Ok(Done::already_told())
    }
}

fn gone() -> Failure {
    Failure::Io(std::io::ErrorKind::NotConnected.into())
}
