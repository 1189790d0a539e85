//! Who a letter from outside is from: the checks of the connection run while the letter still comes
//! in, those of the letter when it is there. The result is written into the letter's head; fields
//! that a stranger wrote in our name are taken out.
//!
//! RFC 7208, 6376, 8617, 9989 by [`mailauth`]; RFC 8601 §5 for the fields.

use std::future::pending;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use base::Timestamp;
use base::ports::BoxFuture;
use mailauth::dmarc::{DmarcResult, Policy};
use mailauth::results::forged_fields;
use mailauth::spf::{SpfInput, SpfResult};
use mailauth::{Checks, LetterInput, Report};
use proto::smtp::{Reply, Role as ListenerRole};
use store::{Letter, StoreError};
use tracing::info;

use super::author::without;
use super::session::Session;
use crate::auth::{AuthOptions, Lookups};

/// Letters up to this size are hashed or converted where they are, in about a millisecond; larger ones on a thread
/// of their own, so that other sessions go on.
const DONE_HERE_BYTES_MAX: usize = 256 * 1024;

/// The checks of the connection.
pub(super) enum Early {
    /// Never locked: the cell only lets a session that holds it be looked at across an await.
    Running(Mutex<BoxFuture<'static, Box<Begun>>>),
    Done(Box<Begun>),
}

/// What is done when a letter has come in.
pub(super) struct Begun {
    checks: Checks,
    lookups: Lookups,
    about: About,
}

/// What the checks of the connection are about.
struct About {
    address: IpAddr,
    helo: String,
    reverse_path: String,
    receiver: String,
    at: Timestamp,
}

/// What follows for a letter.
pub(super) struct Verdict {
    /// The Authentication-Results field.
    pub(super) field: Vec<u8>,
    /// The same for the journey.
    pub(super) detail: String,
    /// Into Junk with it.
    pub(super) is_suspect: bool,
    /// The domain of the reverse-path says by SPF that the letter is not from there.
    pub(super) sender_is_denied: bool,
    /// It says that the letter is from there.
    pub(super) sender_is_proven: bool,
    /// Where its header is that of a report: the author's domain, and whether the letter is from there.
    pub(super) report_from: Option<(String, bool)>,
}

impl Verdict {
    /// Whether a report to the sender would likely go to somebody whose name was taken (RFC 3834 §2).
    pub(super) fn may_be_backscatter(&self) -> bool {
        self.is_suspect || self.sender_is_denied
    }
}

impl Early {
    /// Ends when the checks have ended; never when they had already, or when there are none.
    pub(super) async fn advance(early: &mut Option<Self>) {
        match early {
            Some(Self::Running(running)) => {
                let running = running.get_mut().unwrap_or_else(PoisonError::into_inner);
                let begun = running.as_mut().await;
                *early = Some(Self::Done(begun));
            }
            Some(Self::Done(_)) | None => pending().await,
        }
    }

    async fn finish(self) -> Box<Begun> {
        match self {
            Self::Running(running) => {
                let running = running.into_inner();
                running.unwrap_or_else(PoisonError::into_inner).await
            }
            Self::Done(begun) => begun,
        }
    }
}

async fn check_connection(auth: Arc<AuthOptions>, about: About) -> Box<Begun> {
    let mut checks = Checks::default();
    let mut lookups = Lookups::new(Arc::clone(&auth.resolver), auth.time_limit);
    let input = SpfInput {
        address: about.address,
        helo: &about.helo,
        reverse_path: &about.reverse_path,
        receiver: &about.receiver,
        now_secs: about.at.secs(),
    };
    lookups
        .run(|answers| checks.advance_connection(&input, answers))
        .await;
    Box::new(Begun {
        checks,
        lookups,
        about,
    })
}

impl Session<'_> {
    /// Begins the checks, once somebody here takes the letter. Users and trusted peers are not
    /// checked.
    pub(super) fn begin_checks(&mut self) {
        let options = &self.context.options;
        let from_outside = self.listener.role == ListenerRole::Relay
            && self.account.is_none()
            && options.auth.checks(self.speaks_for());
        if !from_outside || self.early.is_some() {
            return;
        }
        let Some(envelope) = &self.envelope else {
            return;
        };
        let sender = envelope.mail.reverse_path.as_ref();
        let about = About {
            address: self.speaks_for(),
            helo: self.server.peer_name().unwrap_or_default().to_owned(),
            reverse_path: sender.map(ToString::to_string).unwrap_or_default(),
            receiver: options.hostname.to_string(),
            at: self.context.now(),
        };
        let checking = check_connection(Arc::clone(&options.auth), about);
        self.early = Some(Early::Running(Mutex::new(Box::pin(checking))));
    }

    /// Ends the checks; `None` for a letter that is not checked.
    ///
    /// # Errors
    /// The reply for a letter whose author's domain wishes it to be refused.
    pub(super) async fn check_letter(
        &mut self,
        letter: &Letter,
        utf8: bool,
    ) -> Result<Option<Verdict>, Reply> {
        let Some(early) = self.early.take() else {
            return Ok(None);
        };
        let auth = &self.context.options.auth;
        let input = aside(letter, LetterInput::new).await?;
        let Begun {
            mut checks,
            mut lookups,
            about,
        } = *early.finish().await;
        let now = self.context.now();
        // The peer waits for a reply now, and both steps together shall not take longer than the
        // first, which began with the recipients.
        let limit = auth.time_limit / 2;
        lookups.begin_step(limit);
        lookups
            .run(|answers| checks.advance_signatures(&input, now, answers))
            .await;
        lookups.begin_step(limit);
        lookups
            .run(|answers| checks.advance_author(&input, answers))
            .await;
        let mut report = checks.finish().ok_or_else(Reply::try_later)?;
        report.decide(auth.dmarc, &auth.arc_sealers);
        let looks_like_report = input.looks_like_report();
        if let Some(ledger) = auth.ledger.as_ref().filter(|_| report.wants_reports()) {
            let aligned = lookups.run(|answers| report.alignments(answers)).await;
            let from = (about.address, about.reverse_path.as_str());
            ledger.note(now, from, (&report, &aligned), looks_like_report);
        }
        let results = report.results(&about.receiver, &about.reverse_path);
        self.context.metrics.checks(&results);
        let detail = results.payload(utf8);
        if report.applied == Policy::Reject {
            info!(peer = %self.peer, results = detail, "a letter fails DMARC");
            return Err(Reply::dmarc_failed(author(&report)));
        }
        Ok(Some(Verdict {
            field: results.field(utf8),
            detail,
            is_suspect: report.applied == Policy::Quarantine,
            sender_is_denied: report.mail_from.result == SpfResult::Fail,
            sender_is_proven: report.mail_from.result == SpfResult::Pass,
            report_from: report
                .deciding()
                .filter(|_| looks_like_report)
                .map(|outcome| {
                    let passes = outcome.result == DmarcResult::Pass;
                    (outcome.author.clone(), passes)
                }),
        }))
    }
}

/// The domain that the peer is told about; a letter of too many authors has none.
fn author(report: &Report) -> Option<&str> {
    let deciding = report.deciding()?;
    Some(deciding.author.as_str()).filter(|author| !author.is_empty())
}

/// Goes once through a letter, on a thread of its own where that takes long.
///
/// # Errors
/// The reply for work that came to no end.
pub(super) async fn aside<T: Send + 'static>(
    letter: &Letter,
    work: impl FnOnce(&[u8]) -> T + Send + 'static,
) -> Result<T, Reply> {
    if letter.bytes().len() <= DONE_HERE_BYTES_MAX {
        return Ok(work(letter.bytes()));
    }
    let letter = letter.clone();
    tokio::task::spawn_blocking(move || work(letter.bytes()))
        .await
        .map_err(|_| Reply::try_later())
}

/// Takes out the fields that a stranger wrote in our name (RFC 8601 §5).
pub(super) async fn without_forged(
    session: &Session<'_>,
    letter: Letter,
) -> Result<Letter, StoreError> {
    let options = &session.context.options;
    let mut servers = vec![options.hostname.as_str()];
    servers.extend(options.auth.names.iter().map(String::as_str));
    let forged = forged_fields(letter.bytes(), &servers);
    if forged.is_empty() {
        return Ok(letter);
    }
    info!(peer = %session.peer, fields = forged.len(), "forged Authentication-Results taken out");
    without(&options.store, letter, &forged).await
}
