//! STATUS (RFC 9051 §6.3.11).

use proto::imap::list::StatusItem;
use proto::imap::{MailboxName, Writer};
use store::MailboxInfo;

use super::reply::Failure;
use super::session::{Done, Session};

impl Session {
    pub(super) async fn status(
        &mut self,
        name: &MailboxName,
        items: &[StatusItem],
    ) -> Result<Done, Failure> {
        let account = self.account()?;
        let store = &self.context.options.store;
        let info = store.mailbox(account, name.as_str()).await?;
        let info = info.ok_or(Failure::NoMailbox)?;
        write_status(&mut self.connection.writer, &info, items);
        Ok(Done::new("STATUS is done"))
    }
}

/// `* STATUS name (MESSAGES 3 …)`.
pub(super) fn write_status(writer: &mut Writer, info: &MailboxInfo, items: &[StatusItem]) {
    let status = &info.status;
    writer.raw("* STATUS ");
    writer.mailbox(&info.name);
    writer.raw(" ");
    writer.list(items.iter().map(|item| {
        let value = match item {
            StatusItem::Messages => u64::from(status.messages),
            StatusItem::UidNext => u64::from(status.uid_next.0),
            StatusItem::UidValidity => u64::from(info.uid_validity.0),
            StatusItem::Unseen => u64::from(status.unseen),
            StatusItem::Deleted => u64::from(status.deleted),
            StatusItem::Size => status.size,
            StatusItem::Recent => 0,
        };
        format!("{} {value}", item.name())
    }));
    writer.end();
}
