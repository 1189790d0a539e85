//! The small commands: RSET, NOOP, VRFY, HELP, QUIT (RFC 5321 §4.1.1.5 to §4.1.1.10).

use super::{Event, Reply, Server, Step};

impl Server {
    pub(super) fn rset(&mut self, argument: &str) -> Step {
        if !argument.is_empty() {
            return self.refuse_command(Reply::syntax("Syntax: RSET"));
        }
        Reply::ok().write(&mut self.output);
        if self.end_transaction() {
            Step::Event(Event::Reset)
        } else {
            Step::Again
        }
    }

    /// RFC 5321 §4.1.1.9: an argument is ignored.
    pub(super) fn noop(&mut self) -> Step {
        Reply::ok().write(&mut self.output);
        Step::Again
    }

    /// RFC 5321 §3.5.3, §7.3: who has an address here is not told.
    pub(super) fn vrfy(&mut self, argument: &str) -> Step {
        if argument.is_empty() {
            return self.refuse_command(Reply::syntax("Syntax: VRFY address"));
        }
        Reply::cannot_verify().write(&mut self.output);
        Step::Again
    }

    pub(super) fn help(&mut self) -> Step {
        Reply::help().write(&mut self.output);
        Step::Again
    }

    pub(super) fn quit(&mut self, argument: &str) -> Step {
        if !argument.is_empty() {
            return self.refuse_command(Reply::syntax("Syntax: QUIT"));
        }
        self.close(&Reply::closing());
        Step::Event(Event::Quit)
    }
}
