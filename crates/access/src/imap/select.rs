//! SELECT and EXAMINE (RFC 9051 §6.3.2, §6.3.3; RFC 3501 §6.3.1).

use proto::imap::write::Status;
use proto::imap::{Code, MailboxName};

use super::flags::SETTABLE;
use super::list::{Attributes, parents, write_list};
use super::reply::Failure;
use super::selected::Selected;
use super::session::{Done, Session};

impl Session {
    /// Deselects the mailbox, if one is selected, and tells the client (RFC 9051 §7.1, CLOSED).
    pub(super) fn leave_mailbox(&mut self) {
        if self.selected.take().is_some() {
            let writer = &mut self.connection.writer;
            writer.status(
                None,
                Status::Ok,
                Some(&Code::Closed),
                "The mailbox is closed",
            );
        }
    }

    pub(super) async fn select(
        &mut self,
        name: &MailboxName,
        read_only: bool,
    ) -> Result<Done, Failure> {
        let account = self.account()?;
        // RFC 9051 §6.3.2: also a SELECT that fails leaves no mailbox selected.
        self.leave_mailbox();
        let store = &self.context.options.store;
        let info = store.mailbox(account, name.as_str()).await?;
        let info = info.ok_or(Failure::NoMailbox)?;
        let selected = Selected::open(store, account, &info, read_only).await?;
        self.write_mailbox_state(&selected);
        if self.is_rev2 {
            let mailboxes = self.context.options.store.mailboxes(account).await?;
            let attributes = Attributes::of(&parents(mailboxes.iter()), &info);
            write_list(
                &mut self.connection.writer,
                "LIST",
                &attributes.all(),
                &info.name,
            );
        }
        self.selected = Some(selected);
        Ok(if read_only {
            Done::new("The mailbox is open for reading").with_code(Code::ReadOnly)
        } else {
            Done::new("The mailbox is open").with_code(Code::ReadWrite)
        })
    }

    fn write_mailbox_state(&mut self, selected: &Selected) {
        let is_rev2 = self.is_rev2;
        let writer = &mut self.connection.writer;
        writer.raw("* FLAGS ");
        writer.list(selected.flag_names());
        writer.end();
        let permanent = if selected.read_only {
            "()".to_owned()
        } else {
            // `\*`: keywords may be made.
            format!("({} \\*)", SETTABLE.join(" "))
        };
        let mut ok = |code: Code, text: &str| writer.status(None, Status::Ok, Some(&code), text);
        ok(Code::PermanentFlags(permanent), "These flags stay");
        ok(Code::UidValidity(selected.uid_validity.0), "UIDs are valid");
        ok(Code::UidNext(selected.uid_next().0), "The next UID");
        writer.display(format_args!("* {} EXISTS\r\n", selected.rows().len()));
        if !is_rev2 {
            // RFC 3501 §7.3.2; RFC 9051 has done away with it.
            writer.raw("* 0 RECENT\r\n");
            if let Some(number) = selected.first_unseen() {
                writer.display(format_args!(
                    "* OK [UNSEEN {number}] The first unseen message\r\n"
                ));
            }
        }
    }
}
