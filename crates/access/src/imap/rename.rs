//! RENAME (RFC 9051 §6.3.6).

use proto::imap::MailboxName;

use super::reply::Failure;
use super::session::{Done, Session};

impl Session {
    pub(super) async fn rename(
        &mut self,
        from: &MailboxName,
        to: &MailboxName,
    ) -> Result<Done, Failure> {
        let account = self.account()?;
        if to.is_inbox() {
            return Err(Failure::Inbox);
        }
        if to.as_str().contains(['%', '*']) {
            return Err(Failure::Wildcard);
        }
        let store = &self.context.options.store;
        store
            .rename_mailbox(account, from.as_str(), to.as_str())
            .await?;
        Ok(Done::new("The mailbox is renamed"))
    }
}
