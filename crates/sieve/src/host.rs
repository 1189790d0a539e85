//! What a run asks its host, and the answers that it is given.
//!
//! A run that lacks an answer ends with [`Need`]: the host answers the question and runs the script
//! again, from its start, with the same arguments. A run has no effect outside its result, so it
//! comes to the same place with one answer more. [`Limits::questions_max`](crate::Limits) bounds
//! how often that happens.

use std::collections::BTreeMap;

use crate::Script;

/// A question of a script to the world outside.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Question {
    /// Does the user have a mailbox of this name, and may the script put letters into it
    /// (RFC 5490 §3.1)?
    MailboxExists(String),
    /// Is there a mailbox of this id (RFC 9042 §4)?
    MailboxIdExists(String),
    /// Is there a mailbox with this use, or does this mailbox have it (RFC 8579 §4)? With the
    /// backslash: `\Junk`.
    SpecialUseExists {
        /// The mailbox; `None`: any.
        mailbox: Option<String>,
        /// The use.
        special_use: String,
    },
    /// Is there a list of this name (RFC 6134 §2.7)?
    ListExists(String),
    /// Is the value in the list (RFC 6134 §2.1)?
    InList {
        /// The list, as the script names it.
        list: String,
        /// The value, as in the letter.
        value: String,
    },
    /// Has this been marked within the last `seconds` (RFC 7352)? The host looks only at marks of
    /// runs that have ended.
    Duplicate {
        /// What is marked.
        key: String,
        /// How old a mark may be.
        seconds: u64,
    },
    /// Has this sender had this answer within the last `seconds` (RFC 5230 §4.2)?
    Answered {
        /// Which answer: see [`VacationAnswer::key`](crate::VacationAnswer).
        key: String,
        /// The sender, in lower case.
        sender: String,
        /// How long ago, at most.
        seconds: u64,
    },
    /// The script of this name, compiled (RFC 6609 §3.2). Answered with [`Answers::script`].
    Script {
        /// Whether it is one of the site (`:global`), else one of the user.
        global: bool,
        /// Its name.
        name: String,
    },
}

/// What a script asks for by [`Question::Script`].
#[derive(Clone, Debug)]
pub enum Included {
    /// Here it is.
    Script(Script),
    /// There is none.
    Missing,
    /// There is one, but it does not compile; with the first error.
    Broken(String),
}

/// A question without an answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Need(pub Question);

/// The answers so far, for one letter and one user.
#[derive(Clone, Default, Debug)]
pub struct Answers {
    known: BTreeMap<Question, bool>,
    scripts: BTreeMap<(bool, String), Included>,
}

impl Answers {
    /// Keeps yes or no to any question but [`Question::Script`].
    pub fn insert(&mut self, question: Question, yes: bool) {
        self.known.insert(question, yes);
    }

    /// Keeps the answer to [`Question::Script`].
    pub fn script(&mut self, global: bool, name: impl Into<String>, script: Included) {
        self.scripts.insert((global, name.into()), script);
    }

    pub(crate) fn is(&self, question: Question) -> Result<bool, Need> {
        match self.known.get(&question) {
            Some(yes) => Ok(*yes),
            None => Err(Need(question)),
        }
    }

    pub(crate) fn included(&self, global: bool, name: &str) -> Result<&Included, Need> {
        let key = (global, name.to_owned());
        self.scripts.get(&key).ok_or_else(|| {
            Need(Question::Script {
                global,
                name: name.to_owned(),
            })
        })
    }
}
