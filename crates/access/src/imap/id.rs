//! ID (RFC 2971).

use tracing::info;

use super::session::{Done, Session};

impl Session {
    pub(super) fn id(&mut self, fields: &[(String, String)]) -> Done {
        if !fields.is_empty() {
            info!(client = ?fields, "the client says what it is");
        }
        let writer = &mut self.connection.writer;
        writer.raw("* ID (\"name\" \"Pennyblack\" \"version\" ");
        writer.quoted(env!("CARGO_PKG_VERSION"));
        writer.raw(")");
        writer.end();
        Done::new("ID is done")
    }
}
