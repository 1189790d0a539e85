//! One connection to another server: the engine of `proto::smtp::client` driven over a stream.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use base::ports::{BoxStream, Clock, TlsInfo};
use proto::smtp::client::{self, Client, Credentials, Event};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

use super::{Outbound, outcome};
use crate::queue::failure::{Failure, Peer, Status};
use crate::queue::settings::TlsPolicy;
use crate::route::{Proven, Unproven, Wanted};
use crate::tlsrpt::Fault;

/// How long a TLS handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(60);
/// How long we wait for the answer to QUIT, and for what a server said before it closed.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(5);
/// Read at once; the engine takes up to 64 KiB.
const READ_BYTES: usize = 4 * 1024;

/// An open connection.
pub(crate) struct Session {
    pub(super) client: Client,
    pub(super) peer: Peer,
    pub(super) tls: Option<TlsInfo>,
    /// How the server proved itself.
    pub(super) proven: Proven,
    /// What is wrong with TLS there, though the letter goes.
    pub(super) fault: Option<Fault>,
    /// What the route asked for; the connection may have less if that is allowed.
    pub(super) wanted: Wanted,
    /// Letters sent on it.
    pub(super) letters: usize,
    /// Its place among the connections to this address, while it has work.
    pub(super) permit: Option<OwnedSemaphorePermit>,
    stream: BoxStream,
}

/// How a connection is to be made.
#[derive(Clone)]
pub(super) struct SessionSettings {
    pub(super) wanted: Wanted,
    /// Whether the operator allowed that the password is sent in clear. That TLS broke is no
    /// permission: whoever sits in between could break it to read the password.
    pub(super) login_in_clear: bool,
    /// LMTP (RFC 2033) instead of SMTP.
    pub(super) lmtp: bool,
}

/// Why a session did not come to be.
pub(super) struct Problem {
    pub(super) failure: Failure,
    /// Nobody answered: another address is better tried first for a while.
    pub(super) silent: bool,
    /// It never came to a connection, for a reason of ours that says nothing of the server.
    pub(super) ours: bool,
    /// It was the handshake that failed.
    pub(super) broke_tls: bool,
    /// What is wrong with TLS there, if it came to that.
    pub(super) fault: Option<Fault>,
}

impl Outbound {
    /// Connects, and comes to where a letter can be sent.
    pub(super) async fn connect(
        &self,
        peer: &Peer,
        settings: &SessionSettings,
    ) -> Result<Session, Problem> {
        let source = settings.wanted.source.as_ref();
        let from = source.map(|source| source.address);
        let connecting = self.connector.connect(peer.address, from);
        let stream = match timeout(self.settings.connect_timeout, connecting).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) if from.is_some() && is_of_the_source(&error) => {
                return Err(Problem::of_source(peer, from, &error));
            }
            Ok(Err(error)) => return Err(Problem::silent(peer, &format!("connecting: {error}"))),
            Err(_) => return Err(Problem::silent(peer, "connecting: no answer in time")),
        };
        let mut session = Session {
            client: Client::new(self.client_config(settings), false, self.clock.now()),
            peer: peer.clone(),
            tls: None,
            proven: Proven::Not,
            fault: None,
            wanted: settings.wanted.clone(),
            letters: 0,
            permit: None,
            stream,
        };
        loop {
            match session.drive(self.clock.as_ref()).await {
                Event::Ready => {
                    if session.tls.is_none() && settings.wanted.tls != TlsPolicy::Never {
                        session.fault = Some(Fault::StartTlsNotSupported);
                    }
                    return Ok(session);
                }
                Event::StartTls => session = self.start_tls(session).await?,
                Event::Failed(failure) => return Err(Problem::of_session(peer, &failure)),
                // There is no letter yet.
                Event::Done(_) => {}
            }
        }
    }

    fn client_config(&self, settings: &SessionSettings) -> client::Config {
        let credentials = settings.wanted.login.as_ref().map(|login| {
            let (one, two, three) = (
                self.entropy.next_u64(),
                self.entropy.next_u64(),
                self.entropy.next_u64(),
            );
            Credentials {
                login: login.user.clone(),
                password: login.password.clone(),
                nonce: format!("{one:016x}{two:016x}{three:016x}"),
                without_tls: settings.login_in_clear,
            }
        });
        let source = settings.wanted.source.as_ref();
        let hostname = source.and_then(|source| source.hostname.as_ref());
        client::Config {
            hostname: hostname.unwrap_or(&self.hostname).clone(),
            tls: match settings.wanted.tls {
                TlsPolicy::Never => client::TlsPolicy::Never,
                TlsPolicy::Opportunistic => client::TlsPolicy::Opportunistic,
                TlsPolicy::Required | TlsPolicy::Verified => client::TlsPolicy::Required,
            },
            credentials,
            timeouts: self.timeouts,
            lmtp: settings.lmtp,
        }
    }

    /// RFC 3207 §4.1. Nothing is sent to a server that does not prove what it must.
    async fn start_tls(&self, session: Session) -> Result<Session, Problem> {
        let Session {
            mut client,
            peer,
            wanted,
            letters,
            permit,
            stream,
            ..
        } = session;
        let name = wanted.server_name(&peer.host);
        let handshake = self.connector.show_tls(stream, name);
        let error = match timeout(HANDSHAKE_TIMEOUT, handshake).await {
            Ok(Ok((stream, tls, shown))) => {
                let now = self.clock.now();
                let proven = match wanted.judge(&shown, now) {
                    Ok(proven) => proven,
                    Err(unproven) => return Err(Problem::unproven(peer, &unproven)),
                };
                client.set_channel_binding(tls.binding.clone());
                client.tls_started(now);
                return Ok(Session {
                    client,
                    peer,
                    tls: Some(tls),
                    proven,
                    fault: wanted.fault(&shown),
                    wanted,
                    letters,
                    permit,
                    stream,
                });
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer in time".to_owned(),
        };
        Err(Problem {
            // RFC 3463 §3.8: X.7.5 is a cryptographic failure.
            failure: Failure::temporary(Status(4, 7, 5), format!("TLS handshake: {error}"))
                .at(peer),
            silent: false,
            ours: false,
            broke_tls: true,
            fault: Some(Fault::Validation),
        })
    }
}

/// Whether the address from which a connection was to be made cannot be used: it is none of this
/// machine, or has no port left.
fn is_of_the_source(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::AddrNotAvailable | io::ErrorKind::AddrInUse
    )
}

impl Problem {
    fn unproven(peer: Peer, unproven: &Unproven) -> Self {
        let text = format!("it does not prove to be the right server: {unproven}");
        Self {
            failure: Failure::temporary(Status(4, 7, 5), text).at(peer),
            silent: false,
            ours: false,
            broke_tls: false,
            fault: Some(unproven.into()),
        }
    }

    /// RFC 3463 §3.4: X.3.5 is a system that is set up wrongly, here ours.
    fn of_source(peer: &Peer, source: Option<IpAddr>, error: &io::Error) -> Self {
        let source = source.map_or_else(String::new, |source| format!(" {source}"));
        let text = format!("no connection can be made from our address{source}: {error}");
        Self {
            failure: Failure::temporary(Status(4, 3, 5), text).at(peer.clone()),
            silent: false,
            ours: true,
            broke_tls: false,
            fault: None,
        }
    }

    fn silent(peer: &Peer, why: &str) -> Self {
        Self {
            failure: Failure::temporary(Status(4, 4, 1), why).at(peer.clone()),
            silent: true,
            ours: false,
            broke_tls: false,
            fault: None,
        }
    }

    fn of_session(peer: &Peer, failure: &client::Failure) -> Self {
        Self {
            failure: outcome::of_session(peer, failure),
            silent: matches!(
                failure,
                client::Failure::Timeout(_) | client::Failure::Disconnected(_)
            ),
            ours: false,
            broke_tls: false,
            fault: matches!(failure, client::Failure::TlsNotOffered)
                .then_some(Fault::StartTlsNotSupported),
        }
    }
}

impl Session {
    /// Reads and writes until the engine has an event.
    pub(super) async fn drive(&mut self, clock: &dyn Clock) -> Event {
        let (mut reader, mut writer) = tokio::io::split(&mut self.stream);
        let mut buffer = [0_u8; READ_BYTES];
        let mut pending = bytes::Bytes::new();
        let mut unflushed = false;
        let mut writable = true;
        loop {
            if let Some(event) = self.client.poll() {
                // Nothing of a letter is left when an event comes: the engine sends QUIT and the
                // last words of a closed session by itself.
                return event;
            }
            if pending.is_empty() && writable {
                pending = self.client.transmit(clock.now()).unwrap_or_default();
            }
            let wait = match self.client.deadline() {
                Some(deadline) if writable => deadline.since(clock.now()),
                Some(_) | None => GOODBYE_TIMEOUT,
            };
            tokio::select! {
                biased;
                read = reader.read(&mut buffer) => match read {
                    Ok(count) if count > 0 => self.client.receive(&buffer[..count], clock.now()),
                    Ok(_) | Err(_) => self.client.disconnected(),
                },
                written = send(&mut writer, &mut pending, &mut unflushed),
                    if writable && (unflushed || !pending.is_empty()) => {
                    // What the server said before it closed may still be read.
                    writable = written.is_ok();
                }
                () = tokio::time::sleep(wait) => {
                    self.client.timeout(clock.now());
                    if !writable || self.client.deadline().is_none() {
                        self.client.disconnected();
                    }
                }
            }
        }
    }

    /// Says goodbye (RFC 5321 §4.1.1.10) and closes, in a bounded time.
    pub(crate) async fn quit(mut self, clock: &dyn Clock) {
        self.permit = None;
        if !self.client.is_closed() {
            self.client.quit();
            let _ = timeout(GOODBYE_TIMEOUT, self.say_goodbye(clock)).await;
        }
        let _ = timeout(GOODBYE_TIMEOUT, self.stream.shutdown()).await;
    }

    async fn say_goodbye(&mut self, clock: &dyn Clock) -> io::Result<()> {
        while let Some(bytes) = self.client.transmit(clock.now()) {
            self.stream.write_all(&bytes).await?;
        }
        self.stream.flush().await?;
        let mut buffer = [0_u8; READ_BYTES];
        while !self.client.is_closed() {
            match self.stream.read(&mut buffer).await? {
                0 => break,
                count => self.client.receive(&buffer[..count], clock.now()),
            }
        }
        Ok(())
    }

    /// Whether it can take a letter for this server under this policy.
    pub(super) fn serves(&self, peer: &Peer, wanted: &Wanted) -> bool {
        self.peer == *peer && self.wanted == *wanted
    }

    /// The connection in words, for the journey.
    pub(super) fn describe(&self) -> String {
        let from = match &self.wanted.source {
            Some(source) => format!(" from {}", source.address),
            None => String::new(),
        };
        match &self.tls {
            Some(tls) => format!(
                "{}{from} with {} {}, {}",
                self.peer, tls.version, tls.cipher, self.proven
            ),
            None => format!("{}{from} in clear", self.peer),
        }
    }
}

/// Writes some of what is pending. Cancellation safe: what was written is taken off `pending` in
/// the same step, and a flush that did not end is remembered, as TLS keeps what the connection
/// did not take at once: the end of a letter must not stay there.
async fn send(
    writer: &mut (impl AsyncWriteExt + Unpin),
    pending: &mut bytes::Bytes,
    unflushed: &mut bool,
) -> io::Result<()> {
    if !pending.is_empty() {
        let count = writer.write(pending).await?;
        if count == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        let _ = pending.split_to(count);
        *unflushed = true;
    }
    if pending.is_empty() {
        writer.flush().await?;
        *unflushed = false;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::pin::{Pin, pin};
    use std::task::{Context, Poll, Waker};

    use bytes::Bytes;
    use tokio::io::AsyncWrite;

    use super::*;

    /// As TLS does: takes what is written, and passes it on with the flush, which takes two polls.
    #[derive(Default)]
    struct Buffered {
        held: Vec<u8>,
        passed_on: Vec<u8>,
        polled: bool,
    }

    impl AsyncWrite for Buffered {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            self.held.extend_from_slice(bytes);
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_flush(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            if !std::mem::replace(&mut self.polled, true) {
                return Poll::Pending;
            }
            let held = std::mem::take(&mut self.held);
            self.passed_on.extend_from_slice(&held);
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[test]
    fn a_flush_that_was_cancelled_is_made_up_for() {
        let mut writer = Buffered::default();
        let (mut pending, mut unflushed) = (Bytes::from_static(b".\r\n"), false);
        let mut context = Context::from_waker(Waker::noop());
        let first = pin!(send(&mut writer, &mut pending, &mut unflushed)).poll(&mut context);
        assert!(first.is_pending());
        assert!(unflushed && pending.is_empty() && writer.passed_on.is_empty());
        let again = pin!(send(&mut writer, &mut pending, &mut unflushed)).poll(&mut context);
        assert!(matches!(again, Poll::Ready(Ok(()))));
        assert!(!unflushed);
        assert_eq!(writer.passed_on, b".\r\n");
    }
}
