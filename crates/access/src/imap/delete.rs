//! DELETE (RFC 9051 §6.3.5).

use proto::imap::MailboxName;

use super::reply::Failure;
use super::session::{Done, Session};

impl Session {
    pub(super) async fn delete(&mut self, name: &MailboxName) -> Result<Done, Failure> {
        let account = self.account()?;
        if name.is_inbox() {
            return Err(Failure::Inbox);
        }
        let store = &self.context.options.store;
        let mailboxes = store.mailboxes(account).await?;
        let found = mailboxes.iter().find(|info| info.name == name.as_str());
        let id = found.ok_or(Failure::NoMailbox)?.id;
        let prefix = format!("{name}/");
        if mailboxes.iter().any(|info| info.name.starts_with(&prefix)) {
            return Err(Failure::HasChildren);
        }
        store.delete_mailbox(account, name.as_str()).await?;
        if self.selected.as_ref().is_some_and(|s| s.mailbox == id) {
            self.leave_mailbox();
        }
        Ok(Done::new("The mailbox is deleted"))
    }
}
