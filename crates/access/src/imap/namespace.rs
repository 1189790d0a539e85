//! NAMESPACE (RFC 9051 §6.3.10): personal mailboxes at the root, no others yet.

use super::reply::Failure;
use super::session::{Done, Session};

impl Session {
    pub(super) fn namespace(&mut self) -> Result<Done, Failure> {
        self.account()?;
        let writer = &mut self.connection.writer;
        writer.raw("* NAMESPACE ((\"\" \"/\")) NIL NIL");
        writer.end();
        Ok(Done::new("NAMESPACE is done"))
    }
}
