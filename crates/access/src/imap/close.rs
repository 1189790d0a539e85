//! CLOSE and UNSELECT (RFC 9051 §6.4.1, §6.4.2).

use super::reply::Failure;
use super::session::{Done, Session};

impl Session {
    /// Removes what is marked `\Deleted` without telling, and leaves the mailbox.
    pub(super) async fn close(&mut self) -> Result<Done, Failure> {
        let selected = self.selected()?;
        if !selected.read_only {
            let store = &self.context.options.store;
            store
                .expunge(selected.account, selected.mailbox, None)
                .await?;
        }
        self.selected = None;
        Ok(Done::new("The mailbox is closed"))
    }

    pub(super) fn unselect(&mut self) -> Result<Done, Failure> {
        self.selected()?;
        self.selected = None;
        Ok(Done::new("The mailbox is left"))
    }
}
