//! The Sieve mail filtering language (RFC 5228 and its extensions): reads a script, checks it, and
//! runs it on a letter. What comes out are decisions ([`Outcome`]); carrying them out is the host's.
//!
//! [`Script::compile`] once, [`Script::run`] for each letter. A run that must know something of the
//! world (does this mailbox exist, has this sender had this answer) ends with a [`Question`]; the
//! host puts the answer into [`Answers`] and runs the script again.
//!
//! It deliberately does not: store, send, or remember anything, look at the clock or draw
//! randomness, which are arguments where they are needed. Whatever a script or letter holds, nothing
//! panics, and time and memory are bounded by [`Limits`]; a run that meets a limit or an error keeps
//! the letter (RFC 5228 §2.10.6).

mod capability;
mod compile;
mod edits;
mod error;
mod host;
mod input;
mod limits;
mod matching;
mod notify;
mod outcome;
mod program;
mod run;
mod syntax;
mod vacation;

use std::sync::Arc;

pub use capability::{Capabilities, Capability};
pub use edits::{Edit, edited};
pub use error::{CompileError, CompileErrors, RunError};
pub use host::{Answers, Included, Need, Question};
pub use input::{DUPLICATE_FACTOR_MAX, Run, Scores, User};
pub use limits::{INCLUDE_DEPTH_MAX, Limits, NESTING_MAX, RUN_NESTING_MAX};
pub use notify::NOTIFY_METHODS;
pub use outcome::{
    Action, FileInto, Importance, Mark, Note, Notification, Origin, Outcome, Redirect, What,
};
pub use vacation::{NoAnswer, VacationAnswer, may_answer};

/// A compiled script. Cheap to clone; may be run any number of times, by several threads at once.
#[derive(Clone, Debug)]
pub struct Script(Arc<program::Program>);

impl Script {
    /// Checks and compiles a script that may use these extensions. Scripts that it includes are not
    /// looked at, as RFC 6609 §3.2 asks.
    ///
    /// # Errors
    /// All that is wrong with it, each with its place: the user's fault.
    pub fn compile(
        text: &str,
        allowed: Capabilities,
        limits: &Limits,
    ) -> Result<Self, CompileErrors> {
        Ok(Self(Arc::new(compile::compile(text, allowed, limits)?)))
    }

    /// Runs it on a letter.
    ///
    /// An error in the script does not fail the run: it is in the [`Outcome`], which then keeps the
    /// letter.
    ///
    /// # Errors
    /// [`Need`]: a question that must be answered first; then run it again with the same arguments.
    pub fn run(&self, run: &Run<'_>, answers: &Answers) -> Result<Outcome, Need> {
        run::run(&self.0, run, answers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_script_runs_in_many_threads() {
        fn shared<T: Send + Sync + Clone>(_: &T) {}
        let script = Script::compile("keep;", Capabilities::all(), &Limits::default()).unwrap();
        shared(&script);
    }
}
