//! CREATE (RFC 9051 §6.3.4), with a special use (RFC 6154 §3).

use proto::imap::list::{Create, SpecialUse};
use store::Role;

use super::reply::Failure;
use super::session::{Done, Session};

impl Session {
    pub(super) async fn create(&mut self, create: &Create) -> Result<Done, Failure> {
        let account = self.account()?;
        if create.mailbox.is_inbox() {
            return Err(Failure::Inbox);
        }
        let name = create.mailbox.as_str();
        // Wildcards in a name could be listed, but never alone.
        if name.contains(['%', '*']) {
            return Err(Failure::Wildcard);
        }
        let role = match create.uses.as_slice() {
            [] => None,
            [only] => Some(role(*only).ok_or(Failure::SpecialUse)?),
            _ => return Err(Failure::SpecialUse),
        };
        let store = &self.context.options.store;
        if role.is_some() {
            // One mailbox for each use.
            let mailboxes = store.mailboxes(account).await?;
            if mailboxes.iter().any(|info| info.role == role) {
                return Err(Failure::SpecialUse);
            }
        }
        store.create_mailbox(account, name, role).await?;
        Ok(Done::new("The mailbox is made"))
    }
}

fn role(special_use: SpecialUse) -> Option<Role> {
    match special_use {
        SpecialUse::Archive => Some(Role::Archive),
        SpecialUse::Drafts => Some(Role::Drafts),
        SpecialUse::Junk => Some(Role::Junk),
        SpecialUse::Sent => Some(Role::Sent),
        SpecialUse::Trash => Some(Role::Trash),
        SpecialUse::All | SpecialUse::Flagged | SpecialUse::Important => None,
    }
}
