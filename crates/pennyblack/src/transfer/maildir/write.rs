//! Writing a Maildir. A name holds the letter's UID, so that a second export only adds what is
//! missing.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{KEYWORD_LETTERS, KEYWORDS_FILE, read_keywords};
use crate::control::{Failure, FailureKind};
use crate::transfer::files;
use crate::transfer::lines;
use crate::transfer::names;
use crate::transfer::sink::{Outgoing, Ranges, Sink, ranges};
use crate::transfer::source::{Skipped, at};
use crate::transfer::wire::MailboxOut;

/// Where the name says who made it.
const HOST: &str = "pennyblack";

/// Writes into a folder.
pub struct MaildirSink {
    root: PathBuf,
    open: Option<OpenFolder>,
}

struct OpenFolder {
    path: PathBuf,
    uid_validity: u32,
    /// Names of keywords by number.
    keywords: Vec<String>,
}

impl MaildirSink {
    /// Writes into a folder that is empty, not there yet, or a Maildir.
    ///
    /// # Errors
    /// When it holds something else, or cannot be made.
    pub fn open(root: &Path) -> Result<Self, Failure> {
        files::make_folder(root)?;
        let is_empty = fs::read_dir(root)
            .map_err(|error| at(root, error))?
            .next()
            .is_none();
        if !is_empty && !super::read::is_maildir(root) {
            return Err(Failure {
                kind: FailureKind::Exists,
                text: format!("{} holds something else than a Maildir", root.display()),
            });
        }
        for folder in ["cur", "new", "tmp"] {
            files::make_folder(&root.join(folder))?;
        }
        Ok(Self {
            root: root.to_owned(),
            open: None,
        })
    }
}

impl Sink for MaildirSink {
    fn begin(&mut self, mailbox: &MailboxOut) -> Result<Result<Ranges, Skipped>, Failure> {
        let name = &mailbox.target.name;
        let Some(folder) = names::to_maildir(name) else {
            return Ok(Err(Skipped {
                name: format!("mailbox {name}"),
                reason: "its name is too long for a Maildir".to_owned(),
            }));
        };
        let path = self.root.join(folder);
        for folder in ["cur", "new", "tmp"] {
            files::make_folder(&path.join(folder))?;
        }
        let keywords = read_keywords(&path).map_err(|error| at(&path, error))?;
        let mut there = Vec::new();
        for folder in ["cur", "new"] {
            let path = path.join(folder);
            for entry in fs::read_dir(&path).map_err(|error| at(&path, error))? {
                let entry = entry.map_err(|error| at(&path, error))?;
                let name = entry.file_name().to_string_lossy().into_owned();
                there.extend(uid_of(&name, mailbox.uid_validity));
            }
        }
        self.open = Some(OpenFolder {
            path,
            uid_validity: mailbox.uid_validity,
            keywords,
        });
        Ok(Ok(ranges(there)))
    }

    fn letter(&mut self, letter: &Outgoing) -> Result<(), Failure> {
        let Some(folder) = &mut self.open else {
            return Err(Failure::invalid("bug: no mailbox is open"));
        };
        folder.write(letter)
    }

    fn end(&mut self) -> Result<(), Failure> {
        self.open = None;
        Ok(())
    }

    fn finish(&mut self, _: &Value) -> Result<(), Failure> {
        files::sync_disk(&self.root)
    }
}

impl OpenFolder {
    fn write(&mut self, letter: &Outgoing) -> Result<(), Failure> {
        let lf = lines::to_lf(&letter.bytes);
        let bytes = lf.as_deref().unwrap_or(&letter.bytes);
        let info = self.info(letter)?;
        let millis = letter.received_at.millis();
        let name = format!(
            "{}.M{}U{:010}V{}.{HOST},S={}",
            millis.div_euclid(1_000),
            millis.rem_euclid(1_000),
            letter.uid,
            self.uid_validity,
            bytes.len()
        );
        let path = self.path.join("cur").join(format!("{name}:2,{info}"));
        let beside = self.path.join("tmp").join(&name);
        files::write(&path, &beside, bytes, letter.received_at)
    }

    /// The flags of the name; a keyword gets a letter when it comes first. One without a letter is
    /// left out: a Maildir has 26.
    fn info(&mut self, letter: &Outgoing) -> Result<String, Failure> {
        let before = self.keywords.len();
        let keywords = &mut self.keywords;
        let info = letter.flags.to_maildir(|keyword| {
            let known = keywords.iter().position(|known| known == keyword);
            let number = known.unwrap_or_else(|| {
                if keywords.len() < KEYWORD_LETTERS {
                    keywords.push(keyword.to_owned());
                    keywords.len() - 1
                } else {
                    KEYWORD_LETTERS
                }
            });
            let number = u8::try_from(number).unwrap_or(u8::MAX);
            (number < 26).then(|| char::from(b'a' + number))
        });
        if self.keywords.len() != before {
            self.write_keywords()?;
        }
        Ok(info)
    }

    /// On the disk before the first name that uses it.
    fn write_keywords(&self) -> Result<(), Failure> {
        let lines: BTreeMap<usize, &String> = self.keywords.iter().enumerate().collect();
        let mut text = String::new();
        for (number, name) in lines {
            text.push_str(&format!("{number} {name}\n"));
        }
        let path = self.path.join(KEYWORDS_FILE);
        let beside = self.path.join("tmp").join(KEYWORDS_FILE);
        files::write(&path, &beside, text.as_bytes(), base::Timestamp(-1))
    }
}

/// The UID in a name of ours, if it is of this epoch.
fn uid_of(name: &str, uid_validity: u32) -> Option<u32> {
    let unique = name.split('.').nth(1)?;
    if !name.split('.').nth(2)?.starts_with(HOST) {
        return None;
    }
    let (_, rest) = unique.split_once('U')?;
    let (uid, validity) = rest.split_once('V')?;
    (validity.parse() == Ok(uid_validity)).then_some(())?;
    uid.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_ours() {
        let name = "1700000000.M12U0000000042V7.pennyblack,S=5:2,S";
        assert_eq!(uid_of(name, 7), Some(42));
        assert_eq!(uid_of(name, 8), None);
        assert_eq!(uid_of("1700000000.M12P3.host:2,", 7), None);
        assert_eq!(uid_of("x", 7), None);
    }
}
