//! One connection from its first byte to its last: reads, lets the engine decide, answers what it
//! asks, writes. A letter of 5 KB costs one read, one write for its replies, and no task hop.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::Duration;

use base::ports::{BoxFuture, BoxStream, TlsAcceptor, TlsInfo};
use base::{AccountId, LetterId};
use proto::smtp::server::Xclient;
use proto::smtp::{Event, Reply, Role, Server};
use store::{StoreError, Unconfirmed};
use tokio::io::{AsyncRead as _, AsyncWriteExt, ReadBuf};
use tokio::time::{Instant, Sleep, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::checks::Early;
use super::envelope::Envelope;
use super::letter::Collected;
use super::refusal::{is_fault, reply_for};
use super::{Listener, Security, SmtpContext};
use crate::net::Permit;

/// A 5 KB letter with its commands fits; the engine asks for at most 32 KiB at a time.
const READ_BYTES: usize = 16 * 1024;
/// A handshake takes a few round trips; slower peers are broken or hostile.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(30);
/// The same for a peer that is refused and only waits to hear why.
const REFUSED_HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a peer that is cut off may still send, so that our last reply is not lost by a reset.
const LINGER: Duration = Duration::from_secs(1);
/// And in how many reads: 4 MiB are more than both ends' socket buffers hold.
const LINGER_READS_MAX: usize = 256;

/// The driver's side of a session.
pub(super) struct Session<'a> {
    pub(super) context: &'a SmtpContext,
    pub(super) server: Server,
    pub(super) peer: SocketAddr,
    pub(super) listener: Listener,
    pub(super) tls: Option<TlsInfo>,
    /// Where the client of a proxy is, as the proxy tells; unspecified when it does not.
    client: Option<IpAddr>,
    /// Who logged in.
    pub(super) account: Option<AccountId>,
    /// Whose SCRAM keys were given out, until the proof comes, and the numbers of the app passwords
    /// among them.
    pub(super) scram_account: Option<(AccountId, Vec<i64>)>,
    /// Logins that were refused without a look at the password.
    pub(super) shut_out: u32,
    pub(super) envelope: Option<Envelope>,
    pub(super) collected: Option<Collected>,
    /// The checks of the connection and the reverse-path, from the first recipient on.
    pub(super) early: Option<Early>,
    /// Letters whose 250 is written to the engine, but not yet to the connection.
    pub(super) answered: Vec<LetterId>,
    /// Letters whose 250 was sent.
    sent: Vec<LetterId>,
    /// Letters whose 250 the peer has seen, as it went on.
    pub(super) confirmed: Vec<LetterId>,
    /// Kept until a letter's confirmation is stored: an equal letter on another connection is
    /// meanwhile a letter of its own. Dropped with the session, whichever way it ends.
    pub(super) unconfirmed: BTreeMap<LetterId, Arc<Unconfirmed>>,
    handshake: bool,
}

/// Serves a connection; see [`super::serve`].
pub(super) async fn run(
    context: &SmtpContext,
    stream: BoxStream,
    peer: SocketAddr,
    listener: Listener,
    stop: CancellationToken,
) {
    context.metrics.connection(listener.role);
    let admitted = context.options.gate.admit(peer.ip(), context.now());
    let mut handshake_timeout = HANDSHAKE_TIMEOUT;
    let mut _place = None;
    if let Err(crowded) = admitted {
        let Some(place) = context.options.gate.refusal() else {
            let reply = Reply::too_many_connections(crowded.reason());
            context.metrics.refusal(&reply);
            return debug!(%peer, %reply, "closed without a word: too many refusals");
        };
        _place = Some(place);
        handshake_timeout = REFUSED_HANDSHAKE_TIMEOUT;
    }
    let Some((stream, tls)) = secure(context, stream, peer, listener, handshake_timeout).await
    else {
        return;
    };
    let config = context.config(listener, peer);
    let mut session = Session {
        context,
        server: Server::new(config, tls.is_some(), context.now()),
        peer,
        listener,
        tls,
        client: None,
        account: None,
        scram_account: None,
        shut_out: 0,
        envelope: None,
        collected: None,
        early: None,
        answered: Vec::new(),
        sent: Vec::new(),
        confirmed: Vec::new(),
        unconfirmed: BTreeMap::new(),
        handshake: false,
    };
    if let Some(tls) = &session.tls {
        session.server.set_channel_binding(tls.binding.clone());
        if !tls.client_addresses.is_empty() {
            session.server.offer_external();
        }
    }
    let permit: Option<Permit> = match admitted {
        Ok(permit) => {
            if context.options.trusts_proxy(peer) {
                session.server.offer_xclient();
            }
            session.server.greet();
            Some(permit)
        }
        Err(crowded) => {
            let reply = Reply::too_many_connections(crowded.reason());
            session.note_refusal(&reply);
            session.server.refuse(&reply);
            None
        }
    };
    context.metrics.sessions.inc();
    if let Err(error) = session.pump(stream, stop).await {
        debug!(%peer, %error, "connection lost");
    }
    context.metrics.sessions.dec();
    Box::pin(session.finish()).await;
    drop(permit);
}

/// TLS from the first byte, where the listener has it; `None`: the connection is over.
async fn secure(
    context: &SmtpContext,
    stream: BoxStream,
    peer: SocketAddr,
    listener: Listener,
    limit: Duration,
) -> Option<(BoxStream, Option<TlsInfo>)> {
    match (listener.security, &context.options.tls) {
        (Security::Implicit, Some(acceptor)) => {
            match timeout(limit, handshake(acceptor.as_ref(), stream, listener)).await {
                Ok(Ok((stream, tls))) => return Some((stream, Some(tls))),
                Ok(Err(error)) => debug!(%peer, %error, "TLS handshake failed"),
                Err(_) => debug!(%peer, "TLS handshake took too long"),
            }
            None
        }
        // A listener that must encrypt and cannot is closed; the node does not start so.
        (Security::Implicit, None) => None,
        (Security::None | Security::StartTls, _) => Some((stream, None)),
    }
}

/// Who submits may log in by a certificate. Others are not asked for one: nothing rests on it, and
/// a server that has none to show could stumble over the question.
fn handshake(
    acceptor: &dyn TlsAcceptor,
    stream: BoxStream,
    listener: Listener,
) -> BoxFuture<'_, io::Result<(BoxStream, TlsInfo)>> {
    match listener.role {
        Role::Submission => acceptor.accept_with_certificate(stream),
        Role::Relay | Role::Lmtp => acceptor.accept(stream),
    }
}

impl Session<'_> {
    /// Pumps bytes until the session is over.
    async fn pump(&mut self, mut stream: BoxStream, stop: CancellationToken) -> io::Result<()> {
        let stopped = std::pin::pin!(stop.cancelled());
        let mut stopped = Some(stopped);
        let mut alarm = std::pin::pin!(sleep(self.context.options.limits.command_timeout));
        loop {
            while let Some(event) = self.server.poll() {
                self.event(event).await;
            }
            self.flush(&mut stream).await?;
            if self.server.is_closed() {
                return self.hang_up(stream).await;
            }
            if self.server.is_stalled() {
                continue;
            }
            if std::mem::take(&mut self.handshake) {
                stream = Box::pin(self.start_tls(stream)).await?;
                continue;
            }
            let stop_seen = async {
                match stopped.as_mut() {
                    Some(stopped) => stopped.as_mut().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                // These go first: a peer that sends without end outruns neither of them.
                () = stop_seen => {
                    stopped = None;
                    self.server.drain();
                }
                () = alarm.as_mut() => self.check_deadline(alarm.as_mut()),
                () = Early::advance(&mut self.early) => {}
                read = read_some(&mut stream, |bytes| {
                    // The peer goes on, so it has seen the replies that were sent.
                    self.confirmed.append(&mut self.sent);
                    self.server.receive(bytes, self.context.now());
                }) => if read? == 0 {
                    return Ok(());
                },
            }
        }
    }

    /// The alarm is not moved with each command: when it rings early it is set anew.
    fn check_deadline(&mut self, alarm: Pin<&mut Sleep>) {
        let now = self.context.now();
        match self.server.deadline() {
            Some(deadline) if deadline <= now => self.server.timeout(now),
            deadline => {
                let span = deadline.map_or(Duration::from_secs(1), |at| at.since(now));
                alarm.reset(Instant::now() + span);
            }
        }
    }

    /// Boxed is what asks the store or others: else every session that waits would hold the room for
    /// all of it.
    async fn event(&mut self, event: Event) {
        match event {
            Event::Mail(mail) => Box::pin(self.mail(mail)).await,
            Event::Rcpt(rcpt) => Box::pin(self.rcpt(rcpt)).await,
            Event::LetterStart => self.letter_start(),
            Event::Chunk(bytes) => Box::pin(self.chunk(&bytes)).await,
            Event::LetterDropped => self.collected = None,
            Event::LetterEnd => Box::pin(self.letter_end()).await,
            Event::Reset => self.forget_letter(),
            Event::StartTls => {
                self.handshake = self.context.options.tls.is_some();
                match self.handshake {
                    true => self.server.accept(),
                    false => self.refuse(&Reply::tls_unavailable()),
                }
            }
            Event::Xclient(told) => {
                self.told_of_client(&told);
                self.server.accept();
            }
            Event::Password { login, password } => {
                Box::pin(self.check_password(&login, &password)).await;
            }
            Event::Keys { login, algorithm } => Box::pin(self.find_keys(&login, algorithm)).await,
            Event::Token { login, token } => {
                Box::pin(self.check_token(login.as_deref(), &token)).await;
            }
            Event::External { identity } => {
                Box::pin(self.check_certificate(identity.as_deref())).await;
            }
            Event::Proved { login, which } => {
                Box::pin(self.proved(&login, which)).await;
            }
            Event::WrongProof { login } => self.login_failed(&login),
            Event::Refused(reply) => {
                self.note_refusal(&reply);
                // A refused letter ends its transaction inside of the engine.
                if !self.server.is_in_transaction() {
                    self.forget_letter();
                }
            }
            // Saying goodbye, the peer shows that it has seen every reply before.
            Event::Quit => {
                self.confirmed.append(&mut self.sent);
                self.confirmed.append(&mut self.answered);
            }
        }
    }

    /// The session is now that of a proxy's client, who has the trust of its own address and not
    /// that of the proxy: it may be anybody, and what is passed on are its own commands.
    fn told_of_client(&mut self, told: &Xclient) {
        let address = told.address.unwrap_or_else(|| self.peer.ip());
        let port = told.port.unwrap_or_else(|| self.peer.port());
        info!(proxy = %self.peer, peer = %address, "a proxy tells of its client");
        self.peer = SocketAddr::new(address, port);
        self.account = None;
        // A client of unknown address is no proxy, and not on this machine. What was told of it
        // before still holds.
        let unknown = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        let client = told.address.or(self.client).unwrap_or(unknown);
        self.client = Some(client);
        let trusted_as = SocketAddr::new(client, port);
        if !self.context.options.trusts_proxy(trusted_as) {
            self.server.withdraw_xclient();
        }
        let config = self.context.config(self.listener, trusted_as);
        self.server.set_config(config);
    }

    /// Whose address its letters are checked by: never that of a proxy.
    pub(super) fn speaks_for(&self) -> IpAddr {
        self.client.unwrap_or_else(|| self.peer.ip())
    }

    /// Says no to what the engine asks.
    pub(super) fn refuse(&mut self, reply: &Reply) {
        self.note_refusal(reply);
        self.server.reject(reply);
    }

    /// The reply for an error of the store. What the line about the refusal does not tell goes to
    /// the log here, and only that, so that a full disk costs one line for each letter.
    pub(super) fn reply_for(&self, error: &StoreError) -> Reply {
        if is_fault(error) {
            warn!(peer = %self.peer, %error, "the store fails");
        }
        reply_for(error)
    }

    pub(super) fn forget_letter(&mut self) {
        self.envelope = None;
        self.collected = None;
        self.early = None;
    }

    fn note_refusal(&self, reply: &Reply) {
        self.context.metrics.refusal(reply);
        let envelope = self.envelope.as_ref();
        let sender = envelope.and_then(|e| e.mail.reverse_path.as_ref());
        let helo = self.server.peer_name();
        info!(peer = %self.peer, helo, sender = sender.map(tracing::field::display), %reply, "refused");
    }

    async fn flush(&mut self, stream: &mut BoxStream) -> io::Result<()> {
        let Some(bytes) = self.server.transmit() else {
            return Ok(());
        };
        let limit = self.context.options.limits.command_timeout;
        let written = timeout(limit, async {
            stream.write_all(&bytes).await?;
            stream.flush().await
        });
        written.await.map_err(|_| io::ErrorKind::TimedOut)??;
        self.sent.append(&mut self.answered);
        Ok(())
    }

    async fn start_tls(&mut self, stream: BoxStream) -> io::Result<BoxStream> {
        let Some(acceptor) = &self.context.options.tls else {
            return Err(io::ErrorKind::Unsupported.into());
        };
        let accepting = handshake(acceptor.as_ref(), stream, self.listener);
        let accepted = timeout(HANDSHAKE_TIMEOUT, accepting).await;
        let (stream, tls) = accepted.map_err(|_| io::ErrorKind::TimedOut)??;
        self.account = None;
        self.server.tls_started(self.context.now());
        self.server.set_channel_binding(tls.binding.clone());
        if !tls.client_addresses.is_empty() {
            self.server.offer_external();
        }
        self.tls = Some(tls);
        Ok(stream)
    }

    /// Closes so that the last reply arrives: a socket closed with unread input resets the
    /// connection, and the peer may lose what it has not read.
    async fn hang_up(&mut self, mut stream: BoxStream) -> io::Result<()> {
        let close = async {
            stream.shutdown().await?;
            for _ in 0..LINGER_READS_MAX {
                if read_some(&mut stream, |_| {}).await? == 0 {
                    break;
                }
            }
            Ok(())
        };
        timeout(LINGER, close).await.unwrap_or(Ok(()))
    }

    async fn finish(&mut self) {
        let letters = std::mem::take(&mut self.confirmed);
        if !letters.is_empty()
            && let Err(error) = self.context.options.store.confirm(letters).await
        {
            debug!(peer = %self.peer, %error, "the seen replies could not be noted");
        }
    }
}

/// Reads what is there, gives it to `take` unless the peer has ended, and tells how much it was.
/// The bytes stand on the stack of the poll that finds them, so a connection that waits, as most of
/// a flood do, holds no buffer. Cancellation safe.
async fn read_some(stream: &mut BoxStream, mut take: impl FnMut(&[u8])) -> io::Result<usize> {
    poll_fn(|context| {
        let mut space = [MaybeUninit::uninit(); READ_BYTES];
        let mut buffer = ReadBuf::uninit(&mut space);
        ready!(Pin::new(&mut *stream).poll_read(context, &mut buffer))?;
        if !buffer.filled().is_empty() {
            take(buffer.filled());
        }
        Poll::Ready(Ok(buffer.filled().len()))
    })
    .await
}
