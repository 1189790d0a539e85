//! SUBSCRIBE and UNSUBSCRIBE (RFC 9051 §6.3.7, §6.3.8): names of mailboxes that exist.

use proto::imap::MailboxName;
use store::StoreError;

use super::reply::Failure;
use super::session::{Done, Session};

impl Session {
    pub(super) async fn subscribe(
        &mut self,
        name: &MailboxName,
        subscribed: bool,
    ) -> Result<Done, Failure> {
        let account = self.account()?;
        let store = &self.context.options.store;
        match store
            .set_subscribed(account, name.as_str(), subscribed)
            .await
        {
            Ok(()) if subscribed => Ok(Done::new("Subscribed")),
            Ok(()) => Ok(Done::new("Unsubscribed")),
            // A name that is gone is not subscribed to: what was asked for is so already.
            Err(StoreError::NotFound(_)) if !subscribed => Ok(Done::new("Unsubscribed")),
            Err(StoreError::NotFound(_)) => Err(Failure::NoMailbox),
            Err(error) => Err(error.into()),
        }
    }
}
