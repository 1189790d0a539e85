//! NOOP and CHECK (RFC 9051 §6.1.2, RFC 3501 §6.4.1): news are told before every tagged answer, so
//! there is nothing more to do.

use super::session::{Done, Session};

impl Session {
    #[expect(
        clippy::unused_self,
        reason = "every command is a method of the session"
    )]
    pub(super) fn noop(&self) -> Done {
        Done::new("Nothing is done")
    }
}
