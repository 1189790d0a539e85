//! RCPT: RFC 5321 §4.1.1.3, with NOTIFY and ORCPT (RFC 3461).

use super::mail::{Seen, strip_word};
use super::{Event, Notify, OriginalRecipient, Rcpt, Reply, Server, Step, Waiting};
use crate::smtp::params;
use crate::smtp::path::{self, PathError};

impl Server {
    pub(super) fn rcpt(&mut self, argument: &str) -> Step {
        let Some(transaction) = &self.transaction else {
            return self.refuse_command(Reply::bad_sequence("MAIL first"));
        };
        if self.letter.started || self.letter.fault.is_some() {
            // RFC 3030 §2: after the first BDAT only BDAT, RSET, NOOP and QUIT.
            return self.refuse_command(Reply::bad_sequence("The letter has begun already"));
        }
        let max = self.config.recipients_max;
        if transaction.recipients >= max {
            // RFC 5321 §4.5.3.1.10: the sender sends the rest in another transaction.
            return self.refuse_command(Reply::too_many_recipients(max));
        }
        match self.parse_rcpt(argument, transaction.utf8) {
            Ok(rcpt) => self.ask(Waiting::Rcpt, Event::Rcpt(rcpt)),
            Err(reply) => self.refuse_command(reply),
        }
    }

    fn parse_rcpt(&self, argument: &str, utf8: bool) -> Result<Rcpt, Reply> {
        let text = strip_word(argument, "TO:").ok_or_else(|| Reply::bad_recipient(None))?;
        let argument = path::split(text).map_err(bad_recipient)?;
        let mut rcpt = Rcpt {
            recipient: path::forward(argument.path).map_err(bad_recipient)?,
            notify: None,
            original: None,
        };
        let mut seen = Seen::default();
        for (keyword, value) in params::split(argument.params) {
            let keyword = keyword.to_ascii_uppercase();
            seen.once(&keyword)?;
            match (keyword.as_str(), value) {
                _ if !self.extended => return Err(Reply::unknown_parameter(&keyword)),
                ("NOTIFY", Some(value)) => {
                    let notify = Notify::parse(value).ok_or_else(|| {
                        Reply::syntax("NOTIFY= is NEVER or some of SUCCESS, FAILURE, DELAY")
                    })?;
                    rcpt.notify = Some(notify);
                }
                ("ORCPT", Some(value)) => {
                    let original = OriginalRecipient::parse(value)
                        .ok_or_else(|| Reply::syntax("ORCPT= is type;address in xtext"))?;
                    rcpt.original = Some(original);
                }
                ("NOTIFY" | "ORCPT", None) => {
                    return Err(Reply::syntax("A RCPT parameter lacks its value"));
                }
                (keyword, _) => return Err(Reply::unknown_parameter(keyword)),
            }
        }
        // RFC 6531 §3.5.
        if !utf8 && !argument.path.is_ascii() {
            return Err(Reply::needs_smtputf8());
        }
        Ok(rcpt)
    }
}

fn bad_recipient(error: PathError) -> Reply {
    match error {
        PathError::NoBrackets => Reply::bad_recipient(None),
        PathError::Address(error) => Reply::bad_recipient(Some(error)),
    }
}
