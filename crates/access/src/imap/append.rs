//! APPEND (RFC 9051 §6.3.12) with APPENDUID (RFC 4315): the letter streams into the store's spool
//! and is on disk before the answer.

use base::{AccountId, MailboxId};
use proto::imap::append::Append;
use proto::imap::{Code, Event};
use store::{Letter, Spool};

use super::flags::FlagSet;
use super::reply::Failure;
use super::session::{Done, Session};

impl Session {
    pub(super) async fn append(&mut self, append: Append) -> Result<Done, Failure> {
        let (account, mailbox) = match self.append_target(&append).await {
            Ok(target) => target,
            Err(failure) => {
                self.connection.reader.refuse_letter();
                return Err(failure);
            }
        };
        if self.connection.reader.accept_letter() {
            self.connection.writer.continuation("Send the message");
        }
        let letter = self.receive_letter().await?;
        let flags = FlagSet::of_flags(&append.flags);
        let now = self.context.options.clock.now();
        let received_at = append.internal_date.unwrap_or(now);
        let store = &self.context.options.store;
        let appended = store
            .append(account, mailbox, letter, flags.keywords, received_at)
            .await?;
        if flags.deleted {
            let change = store::FlagChange {
                op: store::FlagOp::Add,
                keywords: store::Keywords::default(),
                deleted: true,
                unchanged_since: None,
            };
            store
                .set_flags(account, mailbox, &[appended.uid], &change)
                .await?;
        }
        Ok(
            Done::new("The message is stored").with_code(Code::AppendUid {
                uid_validity: appended.uid_validity.0,
                uid: appended.uid.0,
            }),
        )
    }

    /// Where the letter goes, if it may come.
    async fn append_target(&mut self, append: &Append) -> Result<(AccountId, MailboxId), Failure> {
        let account = self.account()?;
        if append.letter_bytes == 0 {
            return Err(Failure::EmptyLetter);
        }
        let store = &self.context.options.store;
        if store.is_disk_low() {
            return Err(Failure::DiskLow);
        }
        let info = store.mailbox(account, append.mailbox.as_str()).await?;
        Ok((account, info.ok_or(Failure::NoTarget)?.id))
    }

    /// Takes the letter off the connection. One that cannot be kept is still read to its end, so
    /// that the client hears why.
    async fn receive_letter(&mut self) -> Result<Letter, Failure> {
        let mut spool: Result<Spool, Failure> = Ok(self.context.options.store.spool());
        let limit = self.context.options.limits.data_timeout;
        loop {
            match self.connection.event(limit).await? {
                Event::Chunk(bytes) => {
                    if let Ok(open) = &mut spool {
                        let outcome = if bytes.contains(&0) {
                            // RFC 3516 §4.4: such a letter could not be shown to most clients.
                            Err(Failure::Nul)
                        } else {
                            open.write(&bytes).await.map_err(Failure::from)
                        };
                        if let Err(failure) = outcome {
                            spool = Err(failure);
                        }
                    }
                }
                Event::LetterEnd => return Ok(spool?.finish().await?),
                Event::Bad { error, .. } => return Err(error.into()),
                Event::Continue | Event::Command { .. } | Event::Append { .. } => {
                    return Err(Failure::Protocol("A message was expected"));
                }
            }
        }
    }
}
