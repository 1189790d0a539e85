//! Writing a Maildir. A name holds the letter's UID, so that a second export only adds what is
//! missing.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use base::Timestamp;
use base::ports::Clock as _;
use serde_json::Value;

use super::{KEYWORD_LETTERS, KEYWORDS_FILE, read_keywords};
use crate::control::{Failure, FailureKind};
use crate::outside::SystemClock;
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
    begun_at: Timestamp,
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
            begun_at: SystemClock.now(),
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
        // By the time of the export and the UID, so that the order of names is that of UIDs.
        let name = format!(
            "{}.U{:010}V{}R{}.{HOST},S={}",
            self.begun_at.secs(),
            letter.uid,
            self.uid_validity,
            letter.received_at.millis(),
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
        files::write(&path, &beside, text.as_bytes(), Timestamp(-1))
    }
}

/// The UID in a name of ours, if it is of this epoch.
fn uid_of(name: &str, uid_validity: u32) -> Option<u32> {
    let (uid, rest) = own_part(name)?.split_once('V')?;
    let (validity, _) = rest.split_once('R')?;
    (validity.parse() == Ok(uid_validity)).then_some(())?;
    uid.parse().ok()
}

/// When the letter of a name of ours was received; the file's time may have got lost.
pub(super) fn received_at(name: &str) -> Option<Timestamp> {
    let (_, millis) = own_part(name)?.split_once('R')?;
    millis.parse().ok().map(Timestamp)
}

/// What is between `U` and the host in a name of ours.
fn own_part(name: &str) -> Option<&str> {
    let mut parts = name.splitn(3, '.').skip(1);
    let unique = parts.next()?.strip_prefix('U')?;
    parts.next()?.starts_with(HOST).then_some(unique)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_ours() {
        let name = "1700000000.U0000000042V7R1234.pennyblack,S=5:2,S";
        assert_eq!(uid_of(name, 7), Some(42));
        assert_eq!(received_at(name), Some(Timestamp(1_234)));
        assert_eq!(received_at("1700000000.U1R5.host"), None);
        assert_eq!(uid_of(name, 8), None);
        assert_eq!(uid_of("1700000000.M12P3.host:2,", 7), None);
        assert_eq!(uid_of("x", 7), None);
    }
}
