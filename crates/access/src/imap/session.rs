//! One connection from greeting to farewell: which command may come when, and the loop around them.

use std::sync::Arc;

use base::ports::{BoxStream, TlsInfo};
use base::{AccountId, MailboxId};
use proto::imap::write::Status;
use proto::imap::{Code, Command, Event, ReaderLimits, Tag};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, debug, error, info, info_span, warn};

use super::connection::Connection;
use super::context::{Entry, ImapContext};
use super::reply::Failure;
use super::selected::Selected;

/// What a command that succeeded tells.
pub(super) struct Done {
    pub(super) code: Option<Code>,
    pub(super) text: &'static str,
    /// Whether news of removed messages may be told before the tagged answer.
    pub(super) expunges: Expunges,
    /// Whether the tagged answer was sent already (STARTTLS).
    is_told: bool,
}

/// RFC 9051 §7.5.1: message numbers may not change while a command that is given in them, or
/// answers in them, is being done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Expunges {
    /// They are told.
    Told,
    /// They wait for the next command.
    Wait,
}

impl Done {
    pub(super) const fn new(text: &'static str) -> Self {
        Self {
            code: None,
            text,
            expunges: Expunges::Told,
            is_told: false,
        }
    }

    /// The command has sent its tagged answer itself.
    pub(super) fn already_told() -> Self {
        Self {
            is_told: true,
            ..Self::new("")
        }
    }

    pub(super) fn with_code(self, code: Code) -> Self {
        Self {
            code: Some(code),
            ..self
        }
    }

    pub(super) fn with_expunges(self, expunges: Expunges) -> Self {
        Self { expunges, ..self }
    }
}

/// One connection.
pub(super) struct Session {
    pub(super) context: Arc<ImapContext>,
    pub(super) connection: Connection,
    pub(super) entry: Entry,
    pub(super) tls: Option<TlsInfo>,
    /// Whether IMAP4rev2 is enabled.
    pub(super) is_rev2: bool,
    pub(super) account: Option<AccountId>,
    pub(super) selected: Option<Selected>,
    pub(super) stop: CancellationToken,
    connected_at: Instant,
    errors: u32,
}

/// Whether the session goes on.
enum Next {
    Continue,
    End,
}

/// Runs one connection until the client leaves, breaks a limit, or `stop` is cancelled; then it says
/// `* BYE`. A command that has begun is finished first. Dropping the future cuts the connection.
pub async fn serve(
    context: &Arc<ImapContext>,
    stream: BoxStream,
    entry: Entry,
    stop: CancellationToken,
) {
    let span = info_span!("imap", peer = %entry.peer);
    context.metrics.sessions.inc();
    context.metrics.connections.inc();
    let metrics = context.metrics.clone();
    let mut session = Session::new(stream, entry, context.clone(), stop);
    session.run().instrument(span).await;
    metrics.sessions.dec();
}

impl Session {
    fn new(
        stream: BoxStream,
        entry: Entry,
        context: Arc<ImapContext>,
        stop: CancellationToken,
    ) -> Self {
        let limits = ReaderLimits {
            letter_bytes_max: context.options.limits.letter_bytes_max,
            ..ReaderLimits::default()
        };
        let sent_bytes = context.metrics.sent_bytes.clone();
        let write_timeout = context.options.limits.data_timeout;
        Self {
            connection: Connection::new(stream, limits, write_timeout, sent_bytes),
            tls: entry.tls.clone(),
            entry,
            context,
            is_rev2: false,
            account: None,
            selected: None,
            stop,
            connected_at: Instant::now(),
            errors: 0,
        }
    }

    async fn run(&mut self) {
        self.greet();
        loop {
            let event = match self.next_event().await {
                Ok(Some(event)) => event,
                Ok(None) => {
                    self.bye("The server is stopping");
                    break;
                }
                Err(failure) => {
                    self.part(&failure);
                    break;
                }
            };
            if let Next::End = self.handle(event).await {
                break;
            }
        }
        self.connection.close().await;
        debug!("connection closed");
    }

    /// The next event, or nothing when the server stops.
    async fn next_event(&mut self) -> Result<Option<Event>, Failure> {
        let deadline = self.deadline();
        let Self {
            stop, connection, ..
        } = self;
        loop {
            // Answers to commands that came together are sent together.
            connection.flush_if_large().await?;
            if let Some(event) = connection.reader.poll() {
                return Ok(Some(event));
            }
            connection.flush().await?;
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(None),
                filled = timeout_at(deadline, connection.fill()) => {
                    filled.map_err(|_| Failure::TimedOut)??;
                }
            }
        }
    }

    /// When waiting for the client's next words ends, however slowly they come. RFC 9051 §5.4: after
    /// 30 minutes at the earliest once the client is known; until then, all of the login must
    /// happen in the time of one command.
    pub(super) fn deadline(&self) -> Instant {
        let limits = &self.context.options.limits;
        match self.account {
            Some(_) => Instant::now() + limits.imap_idle_timeout,
            None => self.connected_at + limits.command_timeout,
        }
    }

    fn greet(&mut self) {
        let code = Code::Capability(self.capabilities());
        let text = format!("{} Pennyblack is ready", self.context.options.hostname);
        self.connection
            .writer
            .status(None, Status::Ok, Some(&code), &text);
    }

    fn bye(&mut self, text: &str) {
        self.connection.writer.status(None, Status::Bye, None, text);
    }

    /// The end by a failure: told if the client may still listen.
    fn part(&mut self, failure: &Failure) {
        match failure {
            Failure::Io(error) => debug!(%error, "the client is gone"),
            // Within a literal nothing can be told.
            Failure::CutShort(error) => error!(%error, "an answer was cut short"),
            other => {
                info!(reason = ?other, "the session is ended");
                let (status, code, text) = other.farewell();
                self.connection
                    .writer
                    .status(None, status, code.as_ref(), &text);
            }
        }
    }

    async fn handle(&mut self, event: Event) -> Next {
        let (tag, name, result) = match event {
            Event::Continue => {
                self.connection.writer.continuation("Go on");
                return Next::Continue;
            }
            // Pieces of a letter are read by `append`; none is left here.
            Event::Chunk(_) | Event::LetterEnd => return Next::Continue,
            Event::Bad { tag, error } => (tag, "bad", Err(error.into())),
            Event::Append { tag, append } => {
                let result = self.append(append).await;
                (Some(tag), "APPEND", result)
            }
            Event::Command { tag, command } => {
                let name = command.name();
                if matches!(command, Command::Logout) {
                    self.bye("Good bye");
                    self.finish(Some(&tag), name, Ok(Done::new("LOGOUT is done")))
                        .await;
                    return Next::End;
                }
                let result = self.execute(&tag, command).await;
                (Some(tag), name, result)
            }
        };
        self.finish(tag.as_ref(), name, result).await
    }

    /// News of the selected mailbox, then the tagged answer.
    async fn finish(
        &mut self,
        tag: Option<&Tag>,
        name: &'static str,
        result: Result<Done, Failure>,
    ) -> Next {
        let expunges = match &result {
            Ok(done) => done.expunges,
            Err(_) => Expunges::Wait,
        };
        let ends = result.as_ref().is_err_and(Failure::ends_session);
        let result = match result {
            Ok(done) => self.sync(expunges).await.map(|()| done),
            Err(failure) if ends => Err(failure),
            // The command's own failure is the one to tell.
            Err(failure) => Err(self.sync(expunges).await.err().unwrap_or(failure)),
        };
        self.count(name, &result);
        match result {
            Ok(done) if done.is_told => Next::Continue,
            Ok(done) => {
                let writer = &mut self.connection.writer;
                writer.status(tag, Status::Ok, done.code.as_ref(), done.text);
                Next::Continue
            }
            Err(failure) if failure.ends_session() => {
                self.part(&failure);
                Next::End
            }
            Err(failure) => self.tell(tag, &failure),
        }
    }

    fn tell(&mut self, tag: Option<&Tag>, failure: &Failure) -> Next {
        match failure {
            Failure::Store(error) => warn!(%error, "a command failed in the store"),
            other => debug!(reason = ?other, "a command failed"),
        }
        let (status, code, text) = failure.told();
        let writer = &mut self.connection.writer;
        writer.status(tag, status, code.as_ref(), &text);
        if failure.is_clients_fault() {
            self.errors += 1;
        }
        if self.errors >= self.context.options.limits.errors_per_session_max {
            info!(errors = self.errors, "too many errors");
            self.bye("Too many errors");
            return Next::End;
        }
        Next::Continue
    }

    fn count(&self, name: &'static str, result: &Result<Done, Failure>) {
        let outcome = match result {
            Ok(_) => "ok",
            Err(failure) if failure.is_clients_fault() => "bad",
            Err(_) => "no",
        };
        let labels = vec![
            ("command", name.to_owned()),
            ("outcome", outcome.to_owned()),
        ];
        self.context.metrics.commands.get_or_create(&labels).inc();
    }

    async fn execute(&mut self, tag: &Tag, command: Command) -> Result<Done, Failure> {
        match command {
            Command::Capability => Ok(self.capability()),
            // RFC 3501 §6.4.1: CHECK is a NOOP here, as everything is on disk already.
            Command::Noop | Command::Check | Command::Logout => Ok(self.noop()),
            Command::Id(fields) => Ok(self.id(&fields)),
            Command::StartTls => self.start_tls(tag).await,
            Command::Authenticate { mechanism, initial } => {
                self.authenticate(&mechanism, initial).await
            }
            Command::Login { user, password } => self.login(&user, &password).await,
            Command::Enable(names) => self.enable(&names),
            Command::Namespace => self.namespace(),
            Command::Select(name) => self.select(&name, false).await,
            Command::Examine(name) => self.select(&name, true).await,
            Command::Create(create) => self.create(&create).await,
            Command::Delete(name) => self.delete(&name).await,
            Command::Rename { from, to } => self.rename(&from, &to).await,
            Command::Subscribe(name) => self.subscribe(&name, true).await,
            Command::Unsubscribe(name) => self.subscribe(&name, false).await,
            Command::List(list) => self.list(&list).await,
            Command::Lsub(list) => self.lsub(&list).await,
            Command::Status { mailbox, items } => self.status(&mailbox, &items).await,
            Command::Idle
            | Command::Close
            | Command::Unselect
            | Command::Expunge
            | Command::UidExpunge(_)
            | Command::Search { .. }
            | Command::Fetch { .. }
            | Command::Store { .. }
            | Command::Copy { .. }
            | Command::Move { .. } => self.execute_selected(tag, command).await,
        }
    }

    async fn execute_selected(&mut self, tag: &Tag, command: Command) -> Result<Done, Failure> {
        match command {
            Command::Idle => self.idle().await,
            Command::Close => self.close().await,
            Command::Unselect => self.unselect(),
            Command::Expunge => self.expunge(None).await,
            Command::UidExpunge(set) => self.expunge(Some(&set)).await,
            Command::Search { numbering, search } => self.search(tag, numbering, &search).await,
            Command::Fetch {
                numbering,
                set,
                items,
            } => self.fetch(numbering, &set, &items).await,
            Command::Store {
                numbering,
                set,
                store,
            } => self.store(numbering, &set, &store).await,
            Command::Copy {
                numbering,
                set,
                mailbox,
            } => self.copy(numbering, &set, &mailbox).await,
            Command::Move {
                numbering,
                set,
                mailbox,
            } => self.move_messages(numbering, &set, &mailbox).await,
            _ => Err(Failure::WrongState("This command is not for this state")),
        }
    }

    /// The account, once the client is known.
    pub(super) fn account(&self) -> Result<AccountId, Failure> {
        self.account.ok_or(Failure::WrongState("Log in first"))
    }

    /// The selected mailbox.
    pub(super) fn selected(&self) -> Result<&Selected, Failure> {
        self.account()?;
        self.selected.as_ref().ok_or(NOTHING_SELECTED)
    }

    /// The selected mailbox, to be changed, and the rest that its commands need.
    pub(super) fn parts(
        &mut self,
    ) -> Result<(&mut Selected, &mut Connection, &Arc<ImapContext>), Failure> {
        self.account()?;
        let selected = self.selected.as_mut().ok_or(NOTHING_SELECTED)?;
        Ok((selected, &mut self.connection, &self.context))
    }

    /// The selected mailbox if messages in it may be changed.
    pub(super) fn writable(&self) -> Result<(AccountId, MailboxId), Failure> {
        let selected = self.selected()?;
        if selected.read_only {
            return Err(Failure::ReadOnly);
        }
        Ok((selected.account, selected.mailbox))
    }

    /// Learns what changed in the selected mailbox and tells what may be told now.
    pub(super) async fn sync(&mut self, expunges: Expunges) -> Result<(), Failure> {
        let Some(selected) = self.selected.as_mut() else {
            return Ok(());
        };
        selected.refresh(&self.context.options.store).await?;
        selected.announce(&mut self.connection.writer, expunges);
        self.connection.flush_if_large().await
    }
}

const NOTHING_SELECTED: Failure = Failure::WrongState("Select a mailbox first");
