//! The letter: collected, checked, given its trace fields, and kept in one durable commit before
//! the `250`.

use std::fmt::Write;
use std::time::Duration;

use base::{AccountId, EmailAddress, LetterId, Timestamp};
use bytes::Bytes;
use message::write::{
    ReceivedField, Transmission, delivered_to_field, received_field, return_path_field,
};
use proto::smtp::{Body, Reply, Role as ListenerRole};
use store::{
    Delivery, Keywords, Letter, ListPart, LocalRecipient, Note, Role, Spool, Step, StoreError,
    Submission, Submitted,
};
use tracing::info;

use super::asked::{addresses, dsn_return, expires_at, handling, needs_utf8, success_note};
use super::checks::{Verdict, aside};
use super::envelope::Envelope;
use super::header::Header;
use super::session::Session;
use crate::lists;

/// A letter while it comes in.
pub(super) struct Collected {
    /// Why the rest is not collected any more.
    spool: Result<Spool, StoreError>,
}

/// A letter that is complete, with what its header told.
pub(super) struct Complete {
    pub(super) letter: Letter,
    pub(super) header: Header,
    pub(super) envelope: Envelope,
    /// Its name in its Received field, and beside the letter's id in the log.
    pub(super) trace: String,
    pub(super) at: Timestamp,
}

impl Session<'_> {
    pub(super) fn letter_start(&mut self) {
        if self.context.options.store.is_disk_low() {
            return self.refuse(&Reply::disk_full());
        }
        self.collected = Some(Collected {
            spool: Ok(self.context.options.store.spool()),
        });
        self.server.accept();
    }

    pub(super) async fn chunk(&mut self, bytes: &Bytes) {
        let Some(collected) = &mut self.collected else {
            return;
        };
        if let Ok(spool) = &mut collected.spool
            && let Err(error) = spool.write(bytes).await
        {
            collected.spool = Err(error);
        }
    }

    pub(super) async fn letter_end(&mut self) {
        match self.keep().await {
            Ok((letter, is_held)) => {
                self.answered.push(letter);
                let reply = match is_held {
                    true => Reply::kept_and_held(&letter),
                    false => Reply::kept_as(&letter),
                };
                self.server.accept_with(&reply);
            }
            Err(reply) => self.refuse(&reply),
        }
        self.forget_letter();
    }

    /// Gives the letter's name, and whether it is held.
    async fn keep(&mut self) -> Result<(LetterId, bool), Reply> {
        let complete = self.complete().await?;
        let bytes = complete.letter.bytes().len() as u64;
        let kept = match self.listener.role {
            ListenerRole::Relay | ListenerRole::Lmtp => {
                let letter = self.deliver(complete).await;
                letter.map(|letter| (letter, false))
            }
            ListenerRole::Submission => self.submit(complete).await,
        };
        if kept.is_ok() {
            self.context.metrics.letter(self.listener.role, bytes);
        }
        kept
    }

    async fn complete(&mut self) -> Result<Complete, Reply> {
        let (Some(collected), Some(envelope)) = (self.collected.take(), self.envelope.take())
        else {
            return Err(Reply::try_later());
        };
        let letter = match collected.spool {
            Ok(spool) => spool.finish().await,
            Err(error) => Err(error),
        };
        let letter = letter.map_err(|error| self.reply_for(&error))?;
        let header = Header::read(letter.bytes(), self.context.options.limits.hops_max)?;
        let at = self.context.now();
        let random = self.context.options.entropy.next_u64();
        Ok(Complete {
            letter,
            header,
            envelope,
            trace: format!("{:x}.{random:016x}", at.millis()),
            at,
        })
    }

    /// RFC 3030 §3: behind the door nothing has to know of binary letters: their parts are written
    /// as base64. Signatures are of the letter as it came, so they are checked before.
    async fn without_binary(&self, complete: Complete) -> Result<Complete, Reply> {
        match complete.envelope.mail.body {
            Body::Binary => {}
            Body::SevenBit | Body::EightBitMime => return Ok(complete),
        }
        let converted = aside(&complete.letter, message::write::without_binary).await?;
        // Who holds a large letter and waits for room for another could wait for ever.
        drop(complete.letter);
        let converted = converted.map_err(|error| Reply::bad_letter(&error.to_string()))?;
        let letter = self.context.options.store.letter(converted.into()).await;
        let letter = letter.map_err(|error| self.reply_for(&error))?;
        Ok(Complete { letter, ..complete })
    }

    /// Whether a letter from another server may come in, and in which form.
    async fn admit(&mut self, complete: Complete) -> Result<(Complete, Option<Verdict>), Reply> {
        let envelope = &complete.envelope;
        // RFC 9228 §3: an alias that leads outside and back is seen by its own field.
        for address in &envelope.forwarding {
            if complete.header.was_delivered_to(address) {
                return Err(Reply::delivered_before(address));
            }
        }
        let utf8 = envelope.mail.utf8;
        let verdict = self.check_letter(&complete.letter, utf8).await?;
        self.check_lists(&complete, verdict.as_ref()).await?;
        let complete = match verdict {
            Some(_) => self.without_forged(complete).await?,
            None => complete,
        };
        Ok((self.without_binary(complete).await?, verdict))
    }

    /// From another server: into the mailboxes, and on to where aliases lead.
    async fn deliver(&mut self, complete: Complete) -> Result<LetterId, Reply> {
        let (complete, verdict) = self.admit(complete).await?;
        let envelope = &complete.envelope;
        let received = self.trace_fields(&complete, verdict.as_ref());
        let local = local_copies(envelope, &received, verdict.as_ref());
        let forward_head = forward_head(envelope, &received);
        let handling = handling(envelope, &complete.header, complete.at);
        let backscatter = verdict.as_ref().is_some_and(Verdict::may_be_backscatter);
        let report = report(&complete.letter, verdict.as_ref());
        let mut notes = self.notes(&complete, verdict);
        let Complete {
            letter,
            envelope,
            trace,
            at,
            ..
        } = complete;
        let bytes = letter.bytes().len();
        let recipients = envelope.recipients.len();
        let needs_utf8 = needs_utf8(&envelope, letter.bytes());
        let mut reports = Vec::new();
        if !backscatter {
            let written = self.success_reports(&envelope, &letter, &received, at);
            reports = written.await.map_err(|error| self.reply_for(&error))?;
        }
        if !reports.is_empty() {
            notes.extend(success_note(&envelope, at));
        }
        let sender = envelope.mail.reverse_path.clone();
        let lifetime = self.lifetime(&envelope);
        let delivered = self.context.options.store.deliver(Delivery {
            letter,
            dsn_return: dsn_return(&envelope.mail),
            reverse_path: envelope.mail.reverse_path,
            envelope: addresses(&envelope.recipients),
            local,
            forwards: envelope.queued.into_values().collect(),
            forward_head: forward_head.into(),
            envelope_id: envelope.mail.envelope_id,
            needs_utf8,
            handling,
            reports,
            received_at: at,
            expires_at: expires_at(&handling, at + lifetime),
            notes,
            confirms: self.confirmed.clone(),
        });
        let delivered = delivered.await.map_err(|error| self.reply_for(&error))?;
        if let Some((letter, from)) = report {
            // Before the reply: whoever hears none sends the letter again.
            super::reports::keep(self.context, letter, from).await;
        }
        for letter in self.confirmed.drain(..) {
            self.unconfirmed.remove(&letter);
        }
        self.unconfirmed
            .insert(delivered.letter, delivered.unconfirmed);
        let sender = sender.as_ref().map(tracing::field::display);
        info!(
            letter = %delivered.letter, trace, peer = %self.peer, sender, recipients, bytes,
            copies = delivered.stored.len(), repeated = delivered.repeated, "letter received"
        );
        Ok(delivered.letter)
    }

    /// How long the letter is tried.
    fn lifetime(&self, envelope: &Envelope) -> Duration {
        let options = &self.context.options;
        if envelope.relayed {
            options.backup.lifetime
        } else {
            options.queue_lifetime
        }
    }

    /// What a group or a list refuses is refused here, so that nobody whose name was taken hears of it.
    async fn check_lists(
        &self,
        complete: &Complete,
        verdict: Option<&Verdict>,
    ) -> Result<(), Reply> {
        let envelope = &complete.envelope;
        let sender = envelope.reverse_path();
        let found = verdict.map_or(&[][..], |verdict| &verdict.field);
        if envelope.restricted && verdict.is_some_and(|verdict| !verdict.sender_is_proven) {
            return Err(Reply::closed_group());
        }
        for list in &envelope.lists {
            let is_post = list.part == ListPart::Post;
            if is_post && verdict.is_some_and(|verdict| verdict.is_suspect) {
                return Err(Reply::closed_list("it may be forged"));
            }
            let store = &self.context.options.store;
            let refusal = lists::refusal(store, list, &complete.letter, sender, found).await;
            if let Some(reply) = refusal.map_err(|error| self.reply_for(&error))? {
                return Err(reply);
            }
        }
        Ok(())
    }

    async fn without_forged(&self, complete: Complete) -> Result<Complete, Reply> {
        let letter = super::checks::without_forged(self, complete.letter).await;
        let letter = letter.map_err(|error| self.reply_for(&error))?;
        Ok(Complete { letter, ..complete })
    }

    /// RFC 8601 §4: our results stand above our Received, which is where our part of the trace begins.
    fn trace_fields(&self, complete: &Complete, verdict: Option<&Verdict>) -> Vec<u8> {
        let mut fields = verdict.map_or_else(Vec::new, |verdict| verdict.field.clone());
        fields.extend_from_slice(&self.received_field(complete));
        fields
    }

    fn notes(&self, complete: &Complete, verdict: Option<Verdict>) -> Vec<Note> {
        let mut notes = vec![self.note(complete, Step::Received)];
        notes.extend(verdict.map(|verdict| Note {
            at: complete.at,
            recipient: None,
            step: Step::Checked,
            detail: verdict.detail,
        }));
        notes
    }

    /// From a user: into the queue.
    async fn submit(&mut self, complete: Complete) -> Result<(LetterId, bool), Reply> {
        let reverse_path = complete.envelope.reverse_path();
        let added = self.check_author(&complete.header, reverse_path).await?;
        let complete = self.without_private(complete).await?;
        let complete = self.without_binary(complete).await?;
        let head = self.submission_head(&complete, &added);
        let note = self.note(&complete, Step::Submitted);
        let handling = handling(&complete.envelope, &complete.header, complete.at);
        let Complete {
            letter,
            envelope,
            trace,
            at,
            ..
        } = complete;
        let bytes = letter.bytes().len();
        let recipients = envelope.recipients.len();
        let needs_utf8 = needs_utf8(&envelope, letter.bytes());
        let mail = envelope.mail;
        let sender = mail.reverse_path.clone();
        let submitted = self.context.options.store.submit_and_tell(Submission {
            letter,
            head: head.into(),
            account: self.account,
            dsn_return: dsn_return(&mail),
            reverse_path: mail.reverse_path,
            recipients: envelope.queued.into_values().collect(),
            envelope_id: mail.envelope_id,
            needs_utf8,
            handling,
            received_at: at,
            hold_until: mail.hold_until,
            // RFC 4865 §4.1: the time of trying begins when it may be sent.
            expires_at: expires_at(
                &handling,
                mail.hold_until.unwrap_or(at).max(at) + self.context.options.queue_lifetime,
            ),
            // Mail programs put their own copy into Sent by IMAP.
            sent_copy: None,
            notes: vec![note],
        });
        let submitted = submitted.await;
        let Submitted { letter, held } = submitted.map_err(|error| self.reply_to_sender(&error))?;
        let sender = sender.as_ref().map(tracing::field::display);
        info!(
            %letter, trace, peer = %self.peer, sender, recipients, bytes, held,
            account = self.account.map(tracing::field::display), "letter submitted"
        );
        if held.is_some() {
            self.context.metrics.held_letters.inc();
        }
        Ok((letter, held.is_some()))
    }

    /// The reply for an error of a submission: where a limit is reached, with the time until it passes.
    fn reply_to_sender(&self, error: &StoreError) -> Reply {
        match error {
            StoreError::SentTooMuch(why) => {
                let wait = why.again_at.map(|at| at.since(self.context.now()));
                Reply::sent_too_much(&why.limit, why.of_domain, wait)
            }
            other => self.reply_for(other),
        }
    }

    /// RFC 5321 §4.4. Where a user sends from stays private.
    pub(super) fn received_field(&self, complete: &Complete) -> Vec<u8> {
        let envelope = &complete.envelope;
        let submitted = self.listener.role == ListenerRole::Submission;
        received_field(&ReceivedField {
            helo: match (submitted, self.server.peer_name()) {
                (false, Some(name)) => name,
                (true, _) | (false, None) => "client",
            },
            host: None,
            address: (!submitted).then_some(self.peer.ip()),
            by: self.context.options.hostname.as_str(),
            with: Transmission {
                lmtp: self.listener.role == ListenerRole::Lmtp,
                extended: self.server.is_extended(),
                utf8: envelope.mail.utf8,
                tls: self.tls.is_some(),
                authenticated: self.account.is_some(),
            },
            tls: self.tls.as_ref(),
            id: &complete.trace,
            recipient: match envelope.recipients.as_slice() {
                [only] => Some(&only.address),
                _ => None,
            },
            at: complete.at,
        })
    }

    fn note(&self, complete: &Complete, step: Step) -> Note {
        let mut detail = format!("trace {}", complete.trace);
        // Writing to a String cannot fail.
        if let Some(name) = self.server.peer_name() {
            let _ = write!(detail, ", from {name}");
        }
        let _ = write!(detail, " [{}]", self.peer.ip());
        if let Some(tls) = &self.tls {
            let _ = write!(detail, ", {}", tls.version);
        }
        match complete.envelope.mail.body {
            Body::SevenBit => {}
            Body::EightBitMime => detail.push_str(", 8BITMIME"),
            Body::Binary => detail.push_str(", BINARYMIME, written as base64"),
        }
        Note {
            at: complete.at,
            recipient: None,
            step,
            detail,
        }
    }
}

/// The letter that is to be read as a report, and from whom it is.
fn report(letter: &Letter, verdict: Option<&Verdict>) -> Option<(Letter, (String, bool))> {
    let from = verdict?.report_from.clone()?;
    Some((letter.clone(), from))
}

/// The copies for mailboxes here, each with its own head (RFC 5321 §4.4, RFC 9228).
fn local_copies(
    envelope: &Envelope,
    received: &[u8],
    verdict: Option<&Verdict>,
) -> Vec<LocalRecipient> {
    let mailbox = match verdict {
        Some(verdict) if verdict.is_suspect => Role::Junk,
        Some(_) | None => Role::Inbox,
    };
    let return_path = return_path_field(envelope.reverse_path());
    let copy = |(account, address): (&AccountId, &EmailAddress)| {
        let mut head = return_path.clone();
        head.extend_from_slice(&delivered_to_field(address));
        head.extend_from_slice(received);
        LocalRecipient {
            account: *account,
            address: address.clone(),
            mailbox,
            keywords: Keywords::default(),
            head: head.into(),
        }
    };
    envelope.local.iter().map(copy).collect()
}

/// What stands before the letter where it is forwarded.
fn forward_head(envelope: &Envelope, received: &[u8]) -> Vec<u8> {
    let mut head = Vec::new();
    for address in &envelope.forwarding {
        head.extend_from_slice(&delivered_to_field(address));
    }
    head.extend_from_slice(received);
    head
}

impl Envelope {
    pub(super) fn reverse_path(&self) -> Option<&EmailAddress> {
        self.mail.reverse_path.as_ref()
    }
}
