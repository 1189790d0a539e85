//! ENABLE (RFC 9051 §6.3.1): IMAP4rev2 and UTF8=ACCEPT (RFC 6855).

use super::reply::Failure;
use super::session::{Done, Session};

impl Session {
    pub(super) fn enable(&mut self, names: &[String]) -> Result<Done, Failure> {
        self.account()?;
        // RFC 9051 §6.3.1: what a session means by its answers does not change within a mailbox.
        if self.selected.is_some() {
            return Err(Failure::WrongState("Leave the mailbox first"));
        }
        // RFC 5161 §3.1: what is not known is passed over.
        let rev2 = names.iter().any(|name| name == "IMAP4REV2");
        let utf8 = names.iter().any(|name| name == "UTF8=ACCEPT");
        self.is_rev2 |= rev2;
        if rev2 || utf8 {
            self.connection.reader.use_utf8();
            self.connection.writer.use_utf8();
        }
        let writer = &mut self.connection.writer;
        writer.raw("* ENABLED");
        if rev2 {
            writer.raw(" IMAP4rev2");
        }
        if utf8 {
            writer.raw(" UTF8=ACCEPT");
        }
        writer.end();
        Ok(Done::new("ENABLE is done"))
    }
}
