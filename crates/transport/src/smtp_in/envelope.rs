//! MAIL and RCPT: who may send, and who is here. Nobody relays who has not logged in.

use std::collections::BTreeMap;

use base::{AccountId, EmailAddress};
use mailauth::srs::Srs;
use message::write::Action;
use proto::smtp::server::{Mail, Rcpt};
use proto::smtp::{Notify, OriginalRecipient, Recipient, Reply, Role};
use store::{ListAddress, QueueRecipient, Resolved, Target};

use super::backup::Backup;
use super::refusal::reply_for_refusal;
use super::session::Session;
use crate::queue::suppress;
use crate::{dsn, lists, sign};

/// The envelope of the letter that is being taken.
pub(super) struct Envelope {
    pub(super) mail: Mail,
    /// The recipients as given.
    pub(super) recipients: Vec<Given>,
    /// Accounts here, with the address that led to each first.
    pub(super) local: BTreeMap<AccountId, EmailAddress>,
    /// Recipients elsewhere, by address; for a submission all recipients.
    pub(super) queued: BTreeMap<EmailAddress, QueueRecipient>,
    /// The aliases that lead elsewhere.
    pub(super) forwarding: Vec<EmailAddress>,
    /// Whether a recipient is a group that not everybody may write to.
    pub(super) restricted: bool,
    /// Whether a recipient is of a domain that we keep mail for.
    pub(super) relayed: bool,
    /// The addresses of mailing lists among the recipients.
    pub(super) lists: Vec<ListAddress>,
}

impl Envelope {
    /// Adds a recipient for the queue; one that is there stays as it is.
    fn queue(&mut self, address: EmailAddress, original: Option<String>, notify: store::Notify) {
        self.queued
            .entry(address.clone())
            .or_insert(QueueRecipient {
                address,
                original,
                notify,
            });
    }
}

/// A recipient as given.
pub(super) struct Given {
    pub(super) address: EmailAddress,
    /// ORCPT, or what stands for it.
    pub(super) original: Option<String>,
    pub(super) notify: store::Notify,
    /// What is to be told about it once the letter is kept; `None` if others tell.
    pub(super) placed: Option<Action>,
}

impl Session<'_> {
    pub(super) async fn mail(&mut self, mail: Mail) {
        if let Some(account) = self.account
            && let Some(sender) = &mail.reverse_path
            && let Err(reply) = self.check_reverse_path(account, sender).await
        {
            return self.refuse(&reply);
        }
        self.envelope = Some(Envelope {
            mail,
            recipients: Vec::new(),
            local: BTreeMap::new(),
            queued: BTreeMap::new(),
            forwarding: Vec::new(),
            restricted: false,
            relayed: false,
            lists: Vec::new(),
        });
        self.server.accept();
    }

    pub(super) async fn rcpt(&mut self, rcpt: Rcpt) {
        let answer = match self.listener.role {
            Role::Relay | Role::Lmtp => self.local_recipient(rcpt).await,
            Role::Submission => self.submitted_recipient(rcpt).await,
        };
        match answer {
            Ok(()) => {
                self.begin_checks();
                self.server.accept();
            }
            Err(reply) => self.refuse(&reply),
        }
    }

    /// From another server: only what is ours.
    async fn local_recipient(&mut self, rcpt: Rcpt) -> Result<(), Reply> {
        let (address, targets) = match &rcpt.recipient {
            Recipient::Postmaster => self.postmaster().await?,
            Recipient::Address(address) => match self.sender_behind(address).await? {
                Some(sender) => (address.clone(), vec![Target::Address(sender)]),
                None => (address.clone(), self.resolve(address, false).await?),
            },
        };
        self.check_group(&address).await?;
        for target in &targets {
            if let Target::List(list) = target {
                let known = lists::knows(&self.context.options.store, list).await;
                if !known.map_err(|error| self.reply_for(&error))? {
                    return Err(Reply::unknown_user());
                }
            }
        }
        let Some(envelope) = &mut self.envelope else {
            return Err(Reply::try_later());
        };
        let is_here = |target: &&Target| matches!(target, Target::Account(_));
        let mailboxes = targets.iter().filter(is_here).count();
        let several = targets.len() > 1;
        let notify = notify(&rcpt);
        envelope.recipients.push(Given {
            address: address.clone(),
            original: rcpt.original.as_ref().map(ToString::to_string),
            notify,
            placed: dsn::placed(mailboxes, targets.len() - mailboxes),
        });
        envelope.restricted |= self.context.options.store.is_restricted(&address);
        for target in targets {
            match target {
                Target::Account(account) => {
                    envelope
                        .local
                        .entry(account)
                        .or_insert_with(|| address.clone());
                }
                // A domain whose mail we keep for another server: passed on as it came.
                Target::Address(elsewhere) if elsewhere == address => {
                    envelope.relayed = true;
                    let original = rcpt.original.as_ref().map(ToString::to_string);
                    envelope.queue(elsewhere, original, notify);
                }
                Target::Address(elsewhere) => {
                    if envelope.forwarding.last() != Some(&address) {
                        envelope.forwarding.push(address.clone());
                    }
                    // RFC 3461 §5.2.7.2.
                    let notify = if several {
                        notify.without_success()
                    } else {
                        notify
                    };
                    envelope.queue(elsewhere, Some(original(&rcpt, &address)), notify);
                }
                // The queue hands it out; its members are no recipients of this letter.
                Target::List(list) => {
                    if let Some(address) = list.to_address() {
                        envelope.lists.push(list);
                        let original = original(&rcpt, &address);
                        envelope.queue(address, Some(original), notify);
                    }
                }
            }
        }
        Ok(())
    }

    /// Whether groups that the address leads to take the letter from its sender. Who claims to be
    /// one of ours and has not logged in is not believed.
    async fn check_group(&self, address: &EmailAddress) -> Result<(), Reply> {
        let store = &self.context.options.store;
        let sender = self.envelope.as_ref();
        let sender = sender.and_then(|envelope| envelope.mail.reverse_path.as_ref());
        let may = store.may_send_to(address, sender).await;
        if !may.map_err(|error| self.reply_for(&error))? {
            return Err(Reply::closed_group());
        }
        let from_outside = self.listener.role == Role::Relay && self.account.is_none();
        if from_outside
            && let Some(sender) = sender
            && store.is_restricted(address)
            && store
                .is_ours(&sender.domain)
                .await
                .map_err(|error| self.reply_for(&error))?
        {
            return Err(Reply::closed_group());
        }
        Ok(())
    }

    /// Whom a report to a rewritten sender is for (SRS): only reports come back that way, so that the
    /// address is of no use to anybody else.
    async fn sender_behind(&self, address: &EmailAddress) -> Result<Option<EmailAddress>, Reply> {
        let is_report = |envelope: &Envelope| envelope.mail.reverse_path.is_none();
        if !self.envelope.as_ref().is_some_and(is_report) || !Srs::is_rewritten(address) {
            return Ok(None);
        }
        let store = &self.context.options.store;
        match store.is_ours(&address.domain).await {
            Ok(true) => {}
            Ok(false) => return Ok(None),
            Err(error) => return Err(self.reply_for(&error)),
        }
        let found = sign::unwrap_sender(store, address, self.context.now()).await;
        let found = found.map_err(|error| self.reply_for(&error))?;
        // One that was not made here is an address like any other.
        Ok(found.ok())
    }

    /// From a user: anybody, but a name that is ours must exist.
    async fn submitted_recipient(&mut self, rcpt: Rcpt) -> Result<(), Reply> {
        let address = match &rcpt.recipient {
            Recipient::Postmaster => self.postmaster().await?.0,
            Recipient::Address(address) => {
                if self.resolve(address, true).await?.is_empty() {
                    self.must_not_be_suppressed(address).await?;
                }
                self.check_group(address).await?;
                address.clone()
            }
        };
        let Some(envelope) = &mut self.envelope else {
            return Err(Reply::try_later());
        };
        let notify = notify(&rcpt);
        let original = rcpt.original.as_ref().map(ToString::to_string);
        envelope.recipients.push(Given {
            address: address.clone(),
            original: original.clone(),
            notify,
            placed: None,
        });
        envelope
            .queued
            .entry(address.clone())
            .or_insert(QueueRecipient {
                address,
                original,
                notify,
            });
        Ok(())
    }

    /// An address elsewhere that has failed again and again is refused at once, with the reason, so that
    /// the sender need not wait for a report.
    async fn must_not_be_suppressed(&self, address: &EmailAddress) -> Result<(), Reply> {
        let sender = self.envelope.as_ref().and_then(Envelope::reverse_path);
        let sender_domain = sender.map(|sender| &sender.domain);
        let store = &self.context.options.store;
        match store.suppression(address, sender_domain).await {
            Ok(None) => Ok(()),
            Ok(Some(row)) => Err(Reply::suppressed(&suppress::lines(&row))),
            Err(error) => Err(self.reply_for(&error)),
        }
    }

    async fn resolve(&self, address: &EmailAddress, may_relay: bool) -> Result<Vec<Target>, Reply> {
        let store = &self.context.options.store;
        let mut resolved = store.resolve(address).await;
        if resolved == Ok(Resolved::NotOurs) && !may_relay {
            // Another node may have made the domain ours just now.
            resolved = store.resolve_anew(address).await;
        }
        match resolved {
            Ok(Resolved::Targets(targets)) => Ok(targets),
            Ok(Resolved::NotOurs) if may_relay => Ok(Vec::new()),
            Ok(Resolved::NotOurs) => self.kept_for_another(address),
            Ok(Resolved::Unknown) => Err(Reply::unknown_user()),
            Ok(Resolved::Refused(refusal)) => Err(reply_for_refusal(refusal)),
            Err(error) => Err(self.reply_for(&error)),
        }
    }

    /// RFC 5321 §5.1: we may be the exchanger that is asked when the domain's own is away.
    fn kept_for_another(&self, address: &EmailAddress) -> Result<Vec<Target>, Reply> {
        let options = &self.context.options;
        let separator = options.limits.sub_address_separator;
        match options.backup.takes(address, separator) {
            // LMTP is for mailboxes here.
            Backup::Taken if self.listener.role == Role::Relay => {
                Ok(vec![Target::Address(address.clone())])
            }
            Backup::Unknown => Err(Reply::unknown_user()),
            Backup::Taken | Backup::NotOurs => Err(Reply::relay_denied()),
        }
    }

    /// RFC 5321 §4.5.1: plain `postmaster` is always there.
    async fn postmaster(&self) -> Result<(EmailAddress, Vec<Target>), Reply> {
        let options = &self.context.options;
        let found = options.store.postmaster().await;
        let account = found
            .map_err(|error| self.reply_for(&error))?
            .ok_or_else(Reply::unknown_user)?;
        let info = options.store.account(account).await;
        let address = info.map_err(|error| self.reply_for(&error))?.address;
        Ok((address, vec![Target::Account(account)]))
    }
}

/// RFC 3461 §5.2.7.1: where an address is replaced, ORCPT keeps the one that the sender wrote.
fn original(rcpt: &Rcpt, given: &EmailAddress) -> String {
    match &rcpt.original {
        Some(original) => original.to_string(),
        None => OriginalRecipient::of(given).to_string(),
    }
}

fn notify(rcpt: &Rcpt) -> store::Notify {
    match rcpt.notify {
        None => store::Notify::DEFAULT,
        Some(Notify {
            success,
            failure,
            delay,
        }) => store::Notify {
            success,
            failure,
            delay,
            asked: true,
        },
    }
}
