//! Writing mbox files: one for each mailbox, in folders as the mailboxes are.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::write::write_letter;
use crate::control::{Failure, FailureKind};
use crate::transfer::files::{self, Unfinished};
use crate::transfer::names;
use crate::transfer::sink::{Outgoing, Ranges, Sink};
use crate::transfer::source::{Skipped, at};
use crate::transfer::wire::MailboxOut;

/// Writes into a folder.
pub struct MboxSink {
    root: PathBuf,
    open: Option<(Unfinished, BufWriter<File>)>,
}

impl MboxSink {
    /// Writes into a folder that is empty or not there yet: an mbox cannot be gone on with.
    ///
    /// # Errors
    /// When it holds something, or cannot be made.
    pub fn open(root: &Path) -> Result<Self, Failure> {
        files::make_folder(root)?;
        let mut there = std::fs::read_dir(root).map_err(|error| at(root, error))?;
        if there.next().is_some() {
            return Err(Failure {
                kind: FailureKind::Exists,
                text: format!(
                    "{} is not empty: an export as mbox begins anew each time",
                    root.display()
                ),
            });
        }
        Ok(Self {
            root: root.to_owned(),
            open: None,
        })
    }
}

impl Sink for MboxSink {
    fn begin(&mut self, mailbox: &MailboxOut) -> Result<Result<Ranges, Skipped>, Failure> {
        let mut path = self.root.clone();
        let mut levels = mailbox.target.name.split('/').peekable();
        while let Some(level) = levels.next() {
            if levels.peek().is_some() {
                path.push(names::file_name(level, 0));
            } else {
                // Room for `.mbox.part`.
                path.push(format!("{}.mbox", names::file_name(level, 10)));
            }
        }
        if let Some(folder) = path.parent() {
            files::make_folder(folder)?;
        }
        let (unfinished, file) = Unfinished::begin(&path)?;
        self.open = Some((unfinished, BufWriter::with_capacity(256 * 1024, file)));
        Ok(Ok(Ranges::new()))
    }

    fn letter(&mut self, letter: &Outgoing) -> Result<(), Failure> {
        let Some((unfinished, writer)) = &mut self.open else {
            return Err(Failure::invalid("bug: no mailbox is open"));
        };
        write_letter(writer, &letter.bytes, &letter.flags, letter.received_at)
            .map_err(|error| at(&unfinished.path, error))
    }

    fn end(&mut self) -> Result<(), Failure> {
        let Some((unfinished, mut writer)) = self.open.take() else {
            return Ok(());
        };
        writer
            .flush()
            .map_err(|error| at(&unfinished.path, error))?;
        unfinished.finish(writer.get_ref())
    }

    fn finish(&mut self, _: &Value) -> Result<(), Failure> {
        Ok(())
    }
}
