//! What is done with the letter (RFC 5228 §4, RFC 3894, RFC 5429), and what excludes what.

use base::EmailAddress;

use super::{Go, Machine, error};
use crate::outcome::{Action, FileInto, Redirect, What};
use crate::program::{self, Reject, Target, Text};
use crate::vacation::one_mailbox;

/// RFC 5228 §2.4.2.3: `sieve-address = addr-spec / phrase "<" addr-spec ">"`.
///
/// # Errors
/// What is wrong, for the script's owner.
pub(crate) fn redirect_address(text: &str) -> Result<EmailAddress, String> {
    let text = text.trim();
    EmailAddress::parse(text).or_else(|wrong| {
        let mailbox = one_mailbox(text).filter(|_| text.ends_with('>'));
        let address = mailbox.and_then(|mailbox| mailbox.to_address());
        address.ok_or_else(|| format!("this is no address to redirect to: {wrong}"))
    })
}

/// Whether a mailbox could have this name. One that no protocol could say is the script's fault, not
/// the store's to repair.
pub(crate) fn is_mailbox_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= 1_000 && !name.chars().any(char::is_control)
}

/// Bytes of the reason of a rejection: it goes into replies and reports.
const REASON_BYTES_MAX: usize = 4 * 1024;

impl<'a> Machine<'a> {
    /// Adds an action; `None` when the same is done already.
    pub(super) fn act(&mut self, what: What) -> Go<()> {
        let is_reject = matches!(what, What::Reject { .. });
        // RFC 5429 §2: a letter is not refused and taken; RFC 5230 §4.7: nor refused and answered.
        for action in &self.actions {
            let rejected = matches!(action.what, What::Reject { .. });
            let harmless = matches!(action.what, What::Discard | What::Notify(_));
            let new_harmless = matches!(what, What::Discard | What::Notify(_));
            if rejected && is_reject {
                return error("the letter is rejected twice");
            }
            if (rejected && !new_harmless) || (is_reject && !harmless) {
                return error("a letter cannot be rejected and also kept, sent on or answered");
            }
        }
        if self.actions.len() >= self.limits.actions_max {
            return error(format!(
                "the script wants more than {} actions",
                self.limits.actions_max
            ));
        }
        let origin = self.origin();
        self.actions.push(Action {
            what,
            origin,
            edits: self.edits.len(),
        });
        Ok(())
    }

    pub(super) fn keep(&mut self, flags: Option<&'a [Text]>) -> Go<()> {
        let flags = self.flags_or_own(flags)?;
        self.implicit_keep = false;
        let known = self
            .actions
            .iter_mut()
            .find_map(|action| match &mut action.what {
                What::Keep { flags, .. } => Some((flags, &mut action.edits)),
                What::FileInto(_)
                | What::Redirect(_)
                | What::Discard
                | What::Reject { .. }
                | What::Vacation(_)
                | What::Notify(_) => None,
            });
        // RFC 5228 §4.3: kept twice is kept once; the last word counts.
        if let Some((known, edits)) = known {
            *known = flags;
            *edits = self.edits.len();
            return Ok(());
        }
        self.act(What::Keep {
            flags,
            implicit: false,
        })
    }

    pub(super) fn discard(&mut self) -> Go<()> {
        self.implicit_keep = false;
        if self
            .actions
            .iter()
            .any(|action| action.what == What::Discard)
        {
            return Ok(());
        }
        self.act(What::Discard)
    }

    pub(super) fn file_into(&mut self, file_into: &'a program::FileInto) -> Go<()> {
        let target = self.target(&file_into.target)?;
        if !file_into.copy {
            self.implicit_keep = false;
        }
        // RFC 5228 §2.10.3: one copy in each mailbox; the last word on flags counts.
        for action in &mut self.actions {
            if let What::FileInto(known) = &mut action.what
                && known.mailbox == target.mailbox
                && known.special_use == target.special_use
                && known.mailbox_id == target.mailbox_id
            {
                known.create |= target.create;
                known.flags = target.flags;
                action.edits = self.edits.len();
                return Ok(());
            }
        }
        self.act(What::FileInto(target))
    }

    /// Where a letter or a copy goes.
    pub(super) fn target(&mut self, target: &'a Target) -> Go<FileInto> {
        let mailbox = self.text(&target.mailbox)?.into_owned();
        if !is_mailbox_name(&mailbox) {
            return error("this is no name of a mailbox");
        }
        let special_use = self.optional(target.special_use.as_ref())?;
        if let Some(use_) = special_use
            .as_deref()
            .filter(|use_| !crate::compile::is_special_use(use_))
        {
            return error(format!("\"{}\" is no special use", use_.escape_debug()));
        }
        Ok(FileInto {
            mailbox,
            flags: self.flags_or_own(target.flags.as_deref())?,
            create: target.create,
            special_use,
            mailbox_id: self.optional(target.mailbox_id.as_ref())?,
        })
    }

    pub(super) fn redirect(&mut self, redirect: &'a program::Redirect) -> Go<()> {
        let text = self.text(&redirect.address)?;
        let to = if redirect.list {
            Redirect::List(text.into_owned())
        } else {
            match redirect_address(&text) {
                Ok(address) => Redirect::Address(address),
                Err(wrong) => return error(wrong),
            }
        };
        if !redirect.copy {
            self.implicit_keep = false;
        }
        let mut redirects = 0;
        for action in &self.actions {
            if let What::Redirect(known) = &action.what {
                redirects += 1;
                // RFC 5228 §4.2: once to each.
                if *known == to {
                    return Ok(());
                }
            }
        }
        if redirects >= self.limits.redirects_max {
            return error(format!(
                "the script redirects to more than {} addresses",
                self.limits.redirects_max
            ));
        }
        self.act(What::Redirect(to))
    }

    pub(super) fn reject(&mut self, reject: &'a Reject) -> Go<()> {
        let reason = self.text(&reject.reason)?;
        let reason = crate::matching::cut(&reason, REASON_BYTES_MAX).to_owned();
        self.implicit_keep = false;
        self.act(What::Reject {
            in_protocol: reject.in_protocol,
            reason,
        })
    }
}
