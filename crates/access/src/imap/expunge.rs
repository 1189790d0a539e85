//! EXPUNGE and UID EXPUNGE (RFC 9051 §6.4.3, §6.4.9). What is gone is told by the news before the
//! tagged answer.

use proto::imap::MessageSet;
use proto::imap::command::Numbering;

use super::reply::Failure;
use super::session::{Done, Session};

impl Session {
    pub(super) async fn expunge(&mut self, set: Option<&MessageSet>) -> Result<Done, Failure> {
        let (account, mailbox) = self.writable()?;
        let uids = match set {
            Some(set) => Some(self.selected()?.uids(Numbering::Uid, set)?),
            None => None,
        };
        self.context
            .options
            .store
            .expunge(account, mailbox, uids.as_deref())
            .await?;
        Ok(Done::new("The deleted messages are removed"))
    }
}
