//! Carries out a compiled script on one letter. The machine walks the commands; nothing that it does
//! has an effect outside of its [`Outcome`].

pub(crate) mod actions;
pub(crate) mod dates;
mod editing;
mod flow;
mod letter;
mod mime;
mod replies;
mod tests;
mod values;
mod variables;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use message::Part;

use crate::edits::Edit;
use crate::matching::Work;
use crate::outcome::{Action, Mark, Note, Origin, Outcome, What};
use crate::program::{Branch, Program};
use crate::{Answers, Limits, Need, Question, Run, RunError};
use letter::Entry;

/// Runs a script.
pub(crate) fn run(program: &Program, run: &Run<'_>, answers: &Answers) -> Result<Outcome, Need> {
    let mut machine = Machine::new(run, answers);
    match machine.block(&program.commands) {
        Ok(_) => Ok(machine.finish()),
        Err(Halt::Need(need)) => Err(need),
        Err(Halt::Error(text)) => Ok(machine.fail(text)),
    }
}

/// Why a run cannot go on.
enum Halt {
    Need(Need),
    /// For the script's owner.
    Error(String),
}

impl From<Need> for Halt {
    fn from(need: Need) -> Self {
        Self::Need(need)
    }
}

type Go<T> = Result<T, Halt>;

fn error<T>(text: impl Into<String>) -> Go<T> {
    Err(Halt::Error(text.into()))
}

/// What comes after a command.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flow<'a> {
    Next,
    Stop,
    /// Out of an included script.
    Return,
    /// Out of the loop of this name, or of the innermost one.
    Break(Option<&'a str>),
}

struct Machine<'a> {
    run: &'a Run<'a>,
    answers: &'a Answers,
    limits: &'a Limits,
    budget: Budget,
    /// Blocks and tests that are open.
    nesting: usize,
    questions: usize,
    regexes_made: usize,
    /// The scripts that include each other, the user's own first.
    frames: Vec<Frame>,
    /// RFC 6609 §3.4: shared by all scripts.
    globals: BTreeMap<String, String>,
    included: BTreeSet<(bool, String)>,
    includes: usize,
    /// The branches that are open, innermost last.
    branches: Vec<&'a Branch>,
    /// The parts of the loops around, innermost last.
    parts: Vec<&'a Part>,
    /// The header as edited.
    fields: Vec<Entry<'a>>,
    /// RFC 5232 §2: the variable without a name.
    flags: Vec<String>,
    implicit_keep: bool,
    line: u32,
    actions: Vec<Action>,
    edits: Vec<Edit>,
    marks: Vec<Mark>,
    notes: Vec<Note>,
}

/// One script with its variables.
#[derive(Default)]
struct Frame {
    /// `None`: the user's own script.
    script: Option<(bool, Arc<str>)>,
    variables: BTreeMap<String, String>,
    /// Names that `global` made to be shared.
    shared: BTreeSet<String>,
    /// `${0}` and so on.
    matched: Vec<String>,
    /// Where it was included.
    line: u32,
}

/// Bounds the time of a run.
struct Budget {
    steps: u64,
    steps_max: u64,
    work: u64,
}

impl Budget {
    fn step(&mut self) -> Go<()> {
        self.steps += 1;
        if self.steps > self.steps_max {
            return error(format!(
                "the script takes more than {} steps",
                self.steps_max
            ));
        }
        Ok(())
    }
}

impl Work for Budget {
    type Stop = Halt;

    fn work(&mut self, bytes: usize) -> Go<()> {
        match self.work.checked_sub(bytes as u64) {
            Some(left) => {
                self.work = left;
                Ok(())
            }
            None => error("the script looks at too much text"),
        }
    }
}

impl<'a> Machine<'a> {
    fn new(run: &'a Run<'a>, answers: &'a Answers) -> Self {
        Self {
            run,
            answers,
            limits: run.limits,
            budget: Budget {
                steps: 0,
                steps_max: run.limits.steps_max,
                work: run.limits.work_bytes_max,
            },
            nesting: 0,
            questions: 0,
            regexes_made: 0,
            frames: vec![Frame::default()],
            globals: BTreeMap::new(),
            included: BTreeSet::new(),
            includes: 0,
            branches: Vec::new(),
            parts: Vec::new(),
            fields: letter::entries(run.letter.header()),
            flags: Vec::new(),
            implicit_keep: true,
            line: 0,
            actions: Vec::new(),
            edits: Vec::new(),
            marks: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// The script has ended.
    fn finish(mut self) -> Outcome {
        if self.implicit_keep {
            let flags = std::mem::take(&mut self.flags);
            self.actions.push(implicit_keep(flags, self.edits.len()));
        } else if self.actions.iter().any(|action| action.what.has_place()) {
            // Discarding only takes the implicit keep away (RFC 5228 §4.4).
            self.actions.retain(|action| action.what != What::Discard);
        }
        Outcome {
            actions: self.actions,
            edits: self.edits,
            marks: self.marks,
            notes: self.notes,
            error: None,
            steps: self.budget.steps,
        }
    }

    /// RFC 5228 §2.10.6: nothing of what the script wanted is done, as it may be half of it; the
    /// letter is kept as it came.
    fn fail(self, text: String) -> Outcome {
        let script = self.frame().script.as_ref();
        let error = RunError {
            script: script.map(|(_, name)| name.to_string()),
            line: self.line,
            text,
        };
        Outcome {
            actions: vec![implicit_keep(Vec::new(), 0)],
            edits: Vec::new(),
            marks: Vec::new(),
            notes: self.notes,
            error: Some(error),
            steps: self.budget.steps,
        }
    }

    fn frame(&self) -> &Frame {
        // The first frame is never taken away.
        self.frames.last().unwrap_or(&NO_FRAME)
    }

    /// Asks the host, or ends the run with the question.
    fn ask(&mut self, question: Question) -> Go<bool> {
        self.asks()?;
        Ok(self.answers.is(question)?)
    }

    fn asks(&mut self) -> Go<()> {
        self.questions += 1;
        if self.questions > self.limits.questions_max {
            return error(format!(
                "the script asks more than {} questions",
                self.limits.questions_max
            ));
        }
        Ok(())
    }

    /// Where the command stands that is being carried out.
    fn origin(&self) -> Origin {
        let because = self.branches.last().map(|branch| {
            let source = if branch.source.is_empty() {
                "else"
            } else {
                &branch.source
            };
            (branch.line, source.to_owned())
        });
        Origin {
            script: self
                .frame()
                .script
                .as_ref()
                .map(|(_, name)| Arc::clone(name)),
            line: self.line,
            because,
        }
    }

    fn note(&mut self, text: impl Into<String>) {
        let origin = self.origin();
        // Each command that notes something has made a step; this bounds what the journey holds.
        if self.notes.len() < self.limits.actions_max {
            self.notes.push(Note {
                origin,
                text: text.into(),
            });
        }
    }
}

static NO_FRAME: Frame = Frame {
    script: None,
    variables: BTreeMap::new(),
    shared: BTreeSet::new(),
    matched: Vec::new(),
    line: 0,
};

fn implicit_keep(flags: Vec<String>, edits: usize) -> Action {
    Action {
        what: What::Keep {
            flags,
            implicit: true,
        },
        origin: Origin {
            script: None,
            line: 0,
            because: None,
        },
        edits,
    }
}
