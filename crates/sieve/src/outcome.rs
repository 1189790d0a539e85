//! What a run decided: actions in their order, each with the line that made it and why.

use std::fmt;
use std::sync::Arc;

use base::EmailAddress;

use crate::edits::Edit;
use crate::{RunError, VacationAnswer};

/// The result of a run.
///
/// There always is a place for the letter: a keep (implicit or not), another mailbox, a redirect,
/// a rejection, or a [`What::Discard`] that the script asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// What to do, in order.
    pub actions: Vec<Action>,
    /// Changes of the letter; see [`Action::edits`].
    pub edits: Vec<Edit>,
    /// What the host marks once all actions are done (RFC 7352 §3.1).
    pub marks: Vec<Mark>,
    /// What the journey should tell besides: an answer that was not given, and why.
    pub notes: Vec<Note>,
    /// Why the run ended early. There are no actions then but the implicit keep (RFC 5228 §2.10.6).
    pub error: Option<RunError>,
    /// Commands and tests that were carried out.
    pub steps: u64,
}

impl Outcome {
    /// Whether the letter goes into the user's mail in some way.
    #[must_use]
    pub fn is_stored(&self) -> bool {
        let stored = |action: &Action| matches!(action.what, What::Keep { .. } | What::FileInto(_));
        self.actions.iter().any(stored)
    }
}

/// One thing to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Action {
    /// What.
    pub what: What,
    /// Where in the scripts it was decided.
    pub origin: Origin,
    /// How many of [`Outcome::edits`] the letter has for this action; see
    /// [`edited`](crate::edited). Rejections, answers and notifications are about the letter as it
    /// came.
    pub edits: usize,
}

/// Which command, and why it was carried out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Origin {
    /// The included script; `None`: the user's own.
    pub script: Option<Arc<str>>,
    /// The line of the command; 0 for the implicit keep.
    pub line: u32,
    /// The innermost test that was true, as written, with its line; `else` for a branch without
    /// test, and `None` for a command outside of all blocks.
    pub because: Option<(u32, String)>,
}

impl fmt::Display for Origin {
    /// For the journey: `line 3, as line 2 holds: header :contains "subject" "x"`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(script) = &self.script {
            write!(f, "script \"{script}\", ")?;
        }
        if self.line == 0 {
            return f.write_str("no command took the letter elsewhere");
        }
        write!(f, "line {}", self.line)?;
        match &self.because {
            Some((line, test)) if test == "else" => {
                write!(f, ", as no test before the else in line {line} holds")
            }
            Some((line, test)) => write!(f, ", as line {line} holds: {test}"),
            None => Ok(()),
        }
    }
}

/// Something for the journey.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Note {
    /// The command.
    pub origin: Origin,
    /// What, as a sentence without full stop.
    pub text: String,
}

/// The kinds of actions.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum What {
    /// Into the inbox, or wherever a letter without a script goes.
    Keep {
        /// Flags and keywords (RFC 5232).
        flags: Vec<String>,
        /// No command asked for it: none cancelled it (RFC 5228 §2.10.2), or an error ended the run.
        implicit: bool,
    },
    /// Into another mailbox.
    FileInto(FileInto),
    /// To another address, with the reverse-path that the host chooses (RFC 5228 §4.2).
    Redirect(Redirect),
    /// Nowhere (RFC 5228 §4.4). Listed only when the letter goes to no other place.
    Discard,
    /// Back to the sender (RFC 5429).
    Reject {
        /// `ereject`: only ever in the SMTP dialogue; `reject`: as a report when that is too late.
        in_protocol: bool,
        /// Why, for the sender.
        reason: String,
    },
    /// An answer to the sender (RFC 5230). Boxed as it is large and rare.
    Vacation(Box<VacationAnswer>),
    /// A message about this one (RFC 5435).
    Notify(Box<Notification>),
}

impl What {
    /// Whether the letter itself goes somewhere by it: it is stored, sent on or sent back.
    #[must_use]
    pub const fn has_place(&self) -> bool {
        match self {
            Self::Keep { .. } | Self::FileInto(_) | Self::Redirect(_) | Self::Reject { .. } => true,
            Self::Discard | Self::Vacation(_) | Self::Notify(_) => false,
        }
    }
}

/// Where a letter or a copy is stored.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct FileInto {
    /// The name of the mailbox, UTF-8, with the hierarchy separator that the user writes. Where it
    /// does not exist and may not be created, the letter is kept instead.
    pub mailbox: String,
    /// Flags and keywords (RFC 5232).
    pub flags: Vec<String>,
    /// `:create`: make the mailbox if it is missing (RFC 5490 §3.2).
    pub create: bool,
    /// `:specialuse`: the mailbox with this use first, `mailbox` if there is none (RFC 8579 §3).
    pub special_use: Option<String>,
    /// `:mailboxid`: the mailbox of this id first, `mailbox` if there is none (RFC 9042 §3).
    pub mailbox_id: Option<String>,
}

/// Whom a letter is sent on to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Redirect {
    /// One address.
    Address(EmailAddress),
    /// All addresses of a list (RFC 6134 §2.5).
    List(String),
}

/// `:importance` (RFC 5435 §3.4).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Importance {
    /// 1.
    High,
    /// 2.
    #[default]
    Normal,
    /// 3.
    Low,
}

/// A notification by mail (RFC 5436). The envelope's reverse-path is null or the user's, and the
/// letter is marked as automatic; [`Notification::to_bytes`] makes it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Notification {
    /// To whom; at least one.
    pub to: Vec<EmailAddress>,
    /// Carbon copies.
    pub cc: Vec<EmailAddress>,
    /// Hidden copies.
    pub bcc: Vec<EmailAddress>,
    /// `:from`, when it is an address of the user; else the user's first.
    pub from: EmailAddress,
    /// Whose script it is, for `owner-email=` (RFC 5436 §2.7.1).
    pub owner: EmailAddress,
    /// The subject: of the URI, else of `:message`, else of the letter.
    pub subject: String,
    /// The text.
    pub text: String,
    /// How much it matters.
    pub importance: Importance,
    /// Further header fields that the URI asked for and that do no harm.
    pub fields: Vec<(String, String)>,
    /// `:options`, as written: the method mailto has none.
    pub options: Vec<String>,
    /// `:fcc`: where a copy is stored (RFC 8580).
    pub fcc: Option<FileInto>,
}

/// What `duplicate` looks for in later letters.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mark {
    /// What is marked.
    pub key: String,
    /// How long the mark is kept.
    pub seconds: u64,
}
