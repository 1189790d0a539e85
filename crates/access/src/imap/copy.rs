//! COPY and MOVE (RFC 9051 §6.4.7, §6.4.8) with COPYUID (RFC 4315).

use proto::imap::command::Numbering;
use proto::imap::write::Status;
use proto::imap::{Code, MailboxName, MessageSet};
use store::{CopiedUid, MailboxInfo};

use super::reply::Failure;
use super::session::{Done, Session};

impl Session {
    pub(super) async fn copy(
        &mut self,
        numbering: Numbering,
        set: &MessageSet,
        target: &MailboxName,
    ) -> Result<Done, Failure> {
        let uids = self.selected()?.uids(numbering, set)?;
        let target = self.target(target).await?;
        let selected = self.selected()?;
        let (account, from) = (selected.account, selected.mailbox);
        let copied = self
            .context
            .options
            .store
            .copy(account, from, &uids, target.id)
            .await?;
        if copied.len() < uids.len() && numbering == Numbering::Sequence {
            return Err(Failure::Expunged);
        }
        let done = Done::new("The messages are copied");
        Ok(match copy_uid(&target, copied) {
            Some(code) => done.with_code(code),
            None => done,
        })
    }

    pub(super) async fn move_messages(
        &mut self,
        numbering: Numbering,
        set: &MessageSet,
        target: &MailboxName,
    ) -> Result<Done, Failure> {
        let (account, from) = self.writable()?;
        let uids = self.selected()?.uids(numbering, set)?;
        let target = self.target(target).await?;
        if target.id == from {
            return Err(Failure::SameMailbox);
        }
        let moved = self
            .context
            .options
            .store
            .move_messages(account, from, &uids, target.id)
            .await?;
        // RFC 9051 §6.4.8: COPYUID comes before the EXPUNGE responses, which `sync` tells.
        if let Some(code) = copy_uid(&target, moved) {
            let writer = &mut self.connection.writer;
            writer.status(None, Status::Ok, Some(&code), "Moved");
        }
        Ok(Done::new("The messages are moved"))
    }

    /// A mailbox that messages go to.
    async fn target(&mut self, name: &MailboxName) -> Result<MailboxInfo, Failure> {
        let account = self.account()?;
        let found = self
            .context
            .options
            .store
            .mailbox(account, name.as_str())
            .await?;
        found.ok_or(Failure::NoTarget)
    }
}

/// RFC 4315 §3: told only if something was copied.
fn copy_uid(target: &MailboxInfo, copied: Vec<CopiedUid>) -> Option<Code> {
    if copied.is_empty() {
        return None;
    }
    let (from, to) = copied
        .into_iter()
        .map(|pair| (pair.from.0, pair.to.0))
        .unzip();
    Some(Code::CopyUid {
        uid_validity: target.uid_validity.0,
        from,
        to,
    })
}
