//! Writing letters as they are, a file each, beside a list of what a file cannot hold
//! ([`super::index`]): into a folder, or into a zip.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Read as _, Write};
use std::path::{Path, PathBuf};

use base::Timestamp;
use serde_json::Value;
use zip::ZipWriter;
use zip::result::ZipError;
use zip::write::SimpleFileOptions;

use super::files::{self, Unfinished};
use super::index::{Head, INDEX_BYTES_MAX, INDEX_FILE, Index, Line, write_line};
use super::lines;
use super::names;
use super::sink::{Outgoing, Ranges, Sink, ranges};
use super::source::{Skipped, at};
use super::wire::MailboxOut;
use crate::control::{Failure, FailureKind};

/// What a person who finds an export should know.
const READ_ME: &str = "Mail of one account, written by Pennyblack.\n\n\
    Each folder is a mailbox, each .eml file a letter exactly as it was received; any mail program\n\
    opens them. letters.jsonl beside them says for each when it was received and its flags.\n\
    account.json tells about the account.\n\n\
    `pennyblack import ADDRESS THIS` brings all of it into another account.\n";

/// The folder of a mailbox, as levels.
fn folder_of(mailbox: &MailboxOut) -> Vec<String> {
    let levels = mailbox.target.name.split('/');
    levels.map(|level| names::file_name(level, 0)).collect()
}

fn head_of(mailbox: &MailboxOut) -> Head {
    Head {
        pennyblack: 1,
        mailbox: mailbox.target.clone(),
        uid_validity: mailbox.uid_validity,
    }
}

fn line_of(letter: &Outgoing) -> Line {
    Line {
        file: format!("{:010}.eml", letter.uid),
        uid: letter.uid,
        at: letter.received_at.millis(),
        bytes: letter.bytes.len() as u64,
        flags: letter.flags.clone(),
        raw: !lines::stays(&letter.bytes),
    }
}

fn no_mailbox() -> Failure {
    Failure::invalid("bug: no mailbox is open")
}

/// Writes into a folder.
pub struct EmlSink {
    root: PathBuf,
    open: Option<OpenFolder>,
}

struct OpenFolder {
    path: PathBuf,
    index: BufWriter<File>,
}

impl EmlSink {
    /// Writes into a folder that is empty, not there yet, or holds an earlier export.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn open(root: &Path) -> Result<Self, Failure> {
        files::make_folder(root)?;
        Ok(Self {
            root: root.to_owned(),
            open: None,
        })
    }
}

impl Sink for EmlSink {
    fn begin(&mut self, mailbox: &MailboxOut) -> Result<Result<Ranges, Skipped>, Failure> {
        let mut path = self.root.clone();
        path.extend(folder_of(mailbox));
        files::make_folder(&path)?;
        let (there, index) = open_index(&path, &head_of(mailbox))?;
        self.open = Some(OpenFolder { path, index });
        Ok(Ok(there))
    }

    fn letter(&mut self, letter: &Outgoing) -> Result<(), Failure> {
        let folder = self.open.as_mut().ok_or_else(no_mailbox)?;
        let line = line_of(letter);
        let path = folder.path.join(&line.file);
        let beside = folder.path.join(".part");
        files::write(&path, &beside, &letter.bytes, letter.received_at)?;
        // Behind the file: a line says that it is there whole.
        write_line(&mut folder.index, &line).map_err(|error| at(&path, error))
    }

    fn end(&mut self) -> Result<(), Failure> {
        match self.open.take() {
            None => Ok(()),
            Some(mut folder) => folder
                .index
                .flush()
                .map_err(|error| at(&folder.path, error)),
        }
    }

    fn finish(&mut self, account: &Value) -> Result<(), Failure> {
        for (name, text) in [
            ("account.json", format!("{account:#}\n")),
            ("README.txt", READ_ME.to_owned()),
        ] {
            let beside = self.root.join(".part");
            files::write(
                &self.root.join(name),
                &beside,
                text.as_bytes(),
                Timestamp(-1),
            )?;
        }
        files::sync_disk(&self.root)
    }
}

/// Opens the list of a folder to go on with it, or begins one. Gives the UIDs of letters that are
/// there whole.
fn open_index(folder: &Path, head: &Head) -> Result<(Ranges, BufWriter<File>), Failure> {
    let path = folder.join(INDEX_FILE);
    let failed = |error: io::Error| at(&path, error);
    let mut text = Vec::new();
    match File::open(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        other => {
            let file = other.map_err(failed)?;
            file.take(INDEX_BYTES_MAX)
                .read_to_end(&mut text)
                .map_err(failed)?;
        }
    }
    let whole = memchr::memrchr(b'\n', &text).map_or(0, |end| end + 1);
    text.truncate(whole);
    if text.is_empty() {
        let mut file = BufWriter::new(files::create(&path).map_err(failed)?);
        write_line(&mut file, head).map_err(failed)?;
        return Ok((Ranges::new(), file));
    }
    let index = Index::parse(text).filter(|index| {
        index.head.uid_validity == head.uid_validity && index.head.mailbox.name == head.mailbox.name
    });
    let Some(index) = index else {
        return Err(Failure {
            kind: FailureKind::Exists,
            text: format!("{} belongs to another mailbox", path.display()),
        });
    };
    let is_whole = |line: &Line| {
        fs::metadata(folder.join(&line.file)).is_ok_and(|file| file.len() == line.bytes)
    };
    let there = index.lines().filter(is_whole).map(|line| line.uid);
    let there = ranges(there.collect());
    let file = OpenOptions::new()
        .append(true)
        .open(&path)
        .map_err(failed)?;
    // A torn line of a crash.
    file.set_len(whole as u64).map_err(failed)?;
    Ok((there, BufWriter::new(file)))
}

/// Writes into a zip.
pub struct ZipSink {
    zip: Option<(Unfinished, ZipWriter<BufWriter<File>>)>,
    path: PathBuf,
    folder: String,
    /// The list of the mailbox that is open.
    index: Vec<u8>,
}

impl ZipSink {
    /// Begins an archive.
    ///
    /// # Errors
    /// When it is there already or cannot be made.
    pub fn open(path: &Path) -> Result<Self, Failure> {
        let (unfinished, file) = Unfinished::begin(path)?;
        let writer = BufWriter::with_capacity(256 * 1024, file);
        Ok(Self {
            zip: Some((unfinished, ZipWriter::new(writer))),
            path: path.to_owned(),
            folder: String::new(),
            index: Vec::new(),
        })
    }

    fn write(&mut self, name: &str, bytes: &[u8], time: Option<Timestamp>) -> Result<(), Failure> {
        let (_, zip) = self.zip.as_mut().ok_or_else(no_mailbox)?;
        let options = SimpleFileOptions::default()
            .unix_permissions(0o600)
            .large_file(bytes.len() as u64 >= u64::from(u32::MAX))
            .last_modified_time(time.and_then(zip_time).unwrap_or_default());
        zip.start_file(name, options)
            .and_then(|()| zip.write_all(bytes).map_err(ZipError::Io))
            .map_err(|error| failed(&self.path, error))
    }
}

impl Sink for ZipSink {
    fn begin(&mut self, mailbox: &MailboxOut) -> Result<Result<Ranges, Skipped>, Failure> {
        self.folder = folder_of(mailbox).join("/");
        self.index = Vec::new();
        write_line(&mut self.index, &head_of(mailbox)).map_err(|error| at(&self.path, error))?;
        Ok(Ok(Ranges::new()))
    }

    fn letter(&mut self, letter: &Outgoing) -> Result<(), Failure> {
        let line = line_of(letter);
        write_line(&mut self.index, &line).map_err(|error| at(&self.path, error))?;
        let name = format!("{}/{}", self.folder, line.file);
        self.write(&name, &letter.bytes, Some(letter.received_at))
    }

    fn end(&mut self) -> Result<(), Failure> {
        let index = std::mem::take(&mut self.index);
        self.write(&format!("{}/{INDEX_FILE}", self.folder), &index, None)
    }

    fn finish(&mut self, account: &Value) -> Result<(), Failure> {
        self.write("account.json", format!("{account:#}\n").as_bytes(), None)?;
        self.write("README.txt", READ_ME.as_bytes(), None)?;
        let Some((unfinished, zip)) = self.zip.take() else {
            return Err(no_mailbox());
        };
        let mut writer = zip.finish().map_err(|error| failed(&self.path, error))?;
        writer.flush().map_err(|error| at(&self.path, error))?;
        unfinished.finish(writer.get_ref())
    }
}

fn failed(path: &Path, error: ZipError) -> Failure {
    match error {
        ZipError::Io(error) => at(path, error),
        other => Failure {
            kind: FailureKind::Other,
            text: format!("{}: {other}", path.display()),
        },
    }
}

/// A time as a zip keeps it, from 1980 on.
fn zip_time(moment: Timestamp) -> Option<zip::DateTime> {
    let civil = moment.civil();
    let year = u16::try_from(civil.year).ok()?;
    zip::DateTime::from_date_and_time(
        year,
        civil.month,
        civil.day,
        civil.hour,
        civil.minute,
        civil.second,
    )
    .ok()
}
