//! QUIT: RFC 5321 §4.1.1.10.

use super::{Client, Expect};

impl Client {
    /// Says goodbye. With a letter under way, or before the session is ready, it only closes.
    pub fn quit(&mut self) {
        if self.is_ready() {
            self.ready = false;
            self.command(format_args!("QUIT"), Expect::Quit);
        } else if !matches!(self.expected.front(), Some(Expect::Quit)) {
            self.closed = true;
        }
    }
}
