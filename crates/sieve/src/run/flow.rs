//! Blocks, conditions, loops and included scripts.

use std::sync::Arc;

use super::{Flow, Frame, Go, Machine, error};
use crate::Included;
use crate::limits::{INCLUDE_DEPTH_MAX, RUN_NESTING_MAX};
use crate::program::{Branch, Command, Include, Op};

impl<'a> Machine<'a> {
    pub(super) fn block(&mut self, commands: &'a [Command]) -> Go<Flow<'a>> {
        self.deeper()?;
        for command in commands {
            self.line = command.line;
            self.budget.step()?;
            let flow = self.command(&command.op)?;
            if flow != Flow::Next {
                self.nesting -= 1;
                return Ok(flow);
            }
        }
        self.nesting -= 1;
        Ok(Flow::Next)
    }

    pub(super) fn deeper(&mut self) -> Go<()> {
        self.nesting += 1;
        if self.nesting > RUN_NESTING_MAX {
            return error(format!(
                "blocks, tests and included scripts are nested more than {RUN_NESTING_MAX} deep"
            ));
        }
        Ok(())
    }

    fn command(&mut self, op: &'a Op) -> Go<Flow<'a>> {
        match op {
            Op::If(branches) => return self.conditional(branches),
            Op::Stop => return Ok(Flow::Stop),
            Op::Return => return Ok(Flow::Return),
            Op::Break(name) => return Ok(Flow::Break(name.as_deref())),
            Op::Include(include) => return self.include(include),
            Op::ForEveryPart { name, block } => return self.for_every_part(name.as_deref(), block),
            Op::Keep { flags } => self.keep(flags.as_deref())?,
            Op::Discard => self.discard()?,
            Op::FileInto(file_into) => self.file_into(file_into)?,
            Op::Redirect(redirect) => self.redirect(redirect)?,
            Op::Reject(reject) => self.reject(reject)?,
            Op::Set(set) => self.set(set)?,
            Op::Flags {
                change,
                variable,
                flags,
            } => self.change_flags(*change, variable.as_deref(), flags)?,
            Op::Vacation(vacation) => self.vacation(vacation)?,
            Op::Notify(notify) => self.notify(notify)?,
            Op::AddHeader(add) => self.add_header(add)?,
            Op::DeleteHeader(delete) => self.delete_header(delete)?,
            Op::Global(names) => {
                if let Some(frame) = self.frames.last_mut() {
                    frame.shared.extend(names.iter().cloned());
                }
            }
            Op::ExtractText {
                first,
                name,
                modifiers,
            } => self.extract_text(*first, name, modifiers)?,
            Op::Replace(replace) => self.replace(replace)?,
            Op::Enclose(enclose) => self.enclose(enclose)?,
            Op::Error(text) => {
                let text = self.text(text)?.into_owned();
                return error(text);
            }
            Op::Unsupported(text) => return error(text.as_str()),
        }
        Ok(Flow::Next)
    }

    fn conditional(&mut self, branches: &'a [Branch]) -> Go<Flow<'a>> {
        for branch in branches {
            self.line = branch.line;
            if self.test(&branch.test)? {
                self.branches.push(branch);
                let flow = self.block(&branch.block);
                self.branches.pop();
                return flow;
            }
        }
        Ok(Flow::Next)
    }

    /// RFC 6609 §3.2.
    fn include(&mut self, include: &'a Include) -> Go<Flow<'a>> {
        let name = self.text(&include.name)?.into_owned();
        let key = (include.global, name.clone());
        if include.once && self.included.contains(&key) {
            return Ok(Flow::Next);
        }
        let is_open = |frame: &Frame| {
            let script = frame.script.as_ref();
            script.is_some_and(|(global, open)| *global == include.global && **open == *name)
        };
        if self.frames.iter().any(is_open) {
            return error(format!("the script \"{name}\" includes itself"));
        }
        let depth_max = self.limits.include_depth_max.min(INCLUDE_DEPTH_MAX);
        if self.frames.len() > depth_max {
            return error(format!(
                "scripts include each other more than {depth_max} deep"
            ));
        }
        self.includes += 1;
        if self.includes > self.limits.includes_max {
            return error(format!(
                "scripts are included more than {} times",
                self.limits.includes_max
            ));
        }
        self.asks()?;
        let answers = self.answers;
        let script = match answers.included(include.global, &name)? {
            Included::Script(script) => script,
            Included::Missing if include.optional => return Ok(Flow::Next),
            Included::Missing => return error(format!("there is no script \"{name}\" to include")),
            Included::Broken(why) => {
                return error(format!("the included script \"{name}\" is wrong: {why}"));
            }
        };
        self.included.insert(key);
        self.frames.push(Frame {
            script: Some((include.global, Arc::from(name))),
            line: self.line,
            ..Frame::default()
        });
        // A reason is a test of the same script.
        let branches = std::mem::take(&mut self.branches);
        // After an error the frame stays: it tells in which script it was.
        let flow = self.block(&script.0.commands)?;
        self.branches = branches;
        if let Some(frame) = self.frames.pop() {
            self.line = frame.line;
        }
        Ok(if flow == Flow::Stop {
            Flow::Stop
        } else {
            Flow::Next
        })
    }
}
