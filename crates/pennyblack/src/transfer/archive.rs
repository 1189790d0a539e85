//! A zip of letters: `.eml` and other files that look like letters, mbox files; folders become
//! mailboxes. Nothing is unpacked to the file system. The list of the archive's files is held in
//! memory, a letter at a time beside it.

use std::fs::File;
use std::io::{BufReader, Read};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use base::Timestamp;
use base::time::Civil;
use zip::ZipArchive;
use zip::result::ZipError;

use super::index::{INDEX_BYTES_MAX, INDEX_FILE, Index};
use super::mbox::read::{Entry, Mbox};
use super::names;
use super::source::{Give, Incoming, Item, Known, Mark, Progress, Skipped, Source, at, too_large};
use super::tree::{Context, Kind, kind_of, no_letter};
use crate::control::Failure;

/// Bytes that tell what a file is.
const LOOKED_AT_BYTES: usize = 256;

/// Reads a zip.
pub struct Archive {
    zip: ZipArchive<BufReader<File>>,
    path: PathBuf,
    source: String,
    into: Option<String>,
    bytes_max: u64,
    /// Where to begin: a file of the archive, and a byte of it if it is an mbox.
    from: (usize, u64),
}

impl Archive {
    /// Opens an archive, after what earlier imports took.
    ///
    /// # Errors
    /// When it cannot be read, or is another one than the last import stopped in.
    pub fn open(
        path: &Path,
        into: Option<&str>,
        known: &Known,
        bytes_max: u64,
    ) -> Result<Self, Failure> {
        let path = std::fs::canonicalize(path).map_err(|error| at(path, error))?;
        let file = File::open(&path).map_err(|error| at(&path, error))?;
        let zip = ZipArchive::new(BufReader::new(file)).map_err(|error| broken(&path, &error))?;
        let source = format!("zip:{}", path.display());
        let from = match known.get(&source) {
            None => (0, 0),
            Some(position) => place(&zip, position).ok_or_else(|| {
                Failure::invalid(format!(
                    "{} has changed since the last import stopped in it; --again imports it from \
                     its start, and letters that are there already come twice",
                    path.display()
                ))
            })?,
        };
        Ok(Self {
            zip,
            path,
            source,
            into: into.map(str::to_owned),
            bytes_max,
            from,
        })
    }

    /// The levels of a file's folder, and its name.
    fn split(&self, number: usize) -> (Vec<String>, String) {
        let name = self.zip.name_for_index(number).unwrap_or_default();
        let mut levels: Vec<String> = name
            .split(['/', '\\'])
            .filter(|level| !matches!(*level, "" | "." | ".."))
            .map(str::to_owned)
            .collect();
        let file = match name.ends_with(['/', '\\']) {
            true => String::new(),
            false => levels.pop().unwrap_or_default(),
        };
        (levels, file)
    }

    /// What is known of a folder of the archive.
    fn context(&mut self, number: usize, levels: Vec<String>) -> Result<Context, Failure> {
        let name = self.zip.name_for_index(number).unwrap_or_default();
        let folder = name.rfind(['/', '\\']).map_or("", |end| &name[..=end]);
        let index = self.zip.index_for_name(&format!("{folder}{INDEX_FILE}"));
        let index = match index {
            None => None,
            Some(index) => {
                let file = self.zip.by_index(index);
                let file = file.map_err(|error| broken(&self.path, &error))?;
                let mut text = Vec::new();
                file.take(INDEX_BYTES_MAX)
                    .read_to_end(&mut text)
                    .map_err(|error| at(&self.path, error))?;
                Index::parse(text)
            }
        };
        let root = names::stem(&self.path);
        Ok(Context::new(levels, index, self.into.as_deref(), &root))
    }

    /// Gives what one file of the archive holds.
    fn give_file(
        &mut self,
        number: usize,
        file: &str,
        context: &Context,
        give: &mut dyn FnMut(Item) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let skip_bytes = if number == self.from.0 {
            self.from.1
        } else {
            0
        };
        let shown = format!(
            "{} in {}",
            self.zip.name_for_index(number).unwrap_or_default(),
            self.path.display()
        );
        let digest = names::digest_of(
            self.zip
                .name_for_index(number)
                .unwrap_or_default()
                .as_bytes(),
        );
        let mark = |at: &str| Mark {
            source: self.source.clone(),
            position: format!("{number}:{at}:{digest}"),
        };
        let skipped = |reason: String| {
            let name = shown.clone();
            Item::Skipped(Skipped { name, reason })
        };
        let mut entry = match self.zip.by_index(number) {
            Ok(entry) if entry.is_dir() || entry.is_symlink() => return ControlFlow::Continue(()),
            Ok(entry) => entry,
            Err(error) => return give(skipped(error.to_string())),
        };
        let mut start = Vec::new();
        let looked = entry.by_ref().take(LOOKED_AT_BYTES as u64);
        if let Err(error) = { looked }.read_to_end(&mut start) {
            return give(skipped(error.to_string()));
        }
        match kind_of(file, &start) {
            Kind::Ignored => ControlFlow::Continue(()),
            Kind::Other => give(no_letter(shown)),
            Kind::Letter => {
                let modified = entry.last_modified().and_then(moment);
                let room = (self.bytes_max + 1).saturating_sub(start.len() as u64);
                if let Err(error) = entry.take(room).read_to_end(&mut start) {
                    return give(skipped(error.to_string()));
                }
                give(context.letter(file, shown, start, modified, mark("end"), self.bytes_max))
            }
            Kind::Mbox => {
                let target = context.mbox_target(file, self.into.as_deref());
                let mbox = Mbox::new(start.chain(entry), 0);
                let of_mbox = OfMbox {
                    shown: &shown,
                    target,
                    skip_bytes,
                    bytes_max: self.bytes_max,
                };
                of_mbox.give_all(mbox, &|next| mark(&next.to_string()), give)
            }
        }
    }
}

impl Source for Archive {
    fn give_all(&mut self, give: &mut Give<'_>) -> Result<(), Failure> {
        let total = self.zip.len();
        let mut open: Option<Context> = None;
        for number in self.from.0..total {
            let progress = Progress {
                done: number as u64,
                total: total as u64,
            };
            let (levels, file) = self.split(number);
            let is_hidden = levels.first().is_some_and(|level| level == "__MACOSX");
            if file.is_empty() || is_hidden {
                continue;
            }
            if open.as_ref().is_none_or(|open| open.levels != levels) {
                let context = self.context(number, levels)?;
                let is_a_mailbox = context.index.is_some();
                let target = (*context.target).clone();
                open = Some(context);
                if is_a_mailbox && give(Item::Mailbox(target), progress).is_break() {
                    return Ok(());
                }
            }
            if let Some(context) = &open {
                let mut give = |item| give(item, progress);
                if self.give_file(number, &file, context, &mut give).is_break() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

/// An mbox in an archive.
struct OfMbox<'a> {
    shown: &'a str,
    target: names::Target,
    skip_bytes: u64,
    bytes_max: u64,
}

impl OfMbox<'_> {
    fn give_all<R: Read>(
        self,
        mut mbox: Mbox<R>,
        mark: &dyn Fn(u64) -> Mark,
        give: &mut dyn FnMut(Item) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let name = |start: u64| format!("{} at byte {start}", self.shown);
        let broken = |start: u64, error: std::io::Error| {
            Item::Skipped(Skipped {
                name: name(start),
                reason: error.to_string(),
            })
        };
        if let Err(error) = mbox.skip(self.skip_bytes) {
            return give(broken(mbox.offset(), error));
        }
        let limit = usize::try_from(self.bytes_max).unwrap_or(usize::MAX);
        let target = std::sync::Arc::new(self.target);
        give(Item::Mailbox((*target).clone()))?;
        loop {
            let item = match mbox.next(limit) {
                Ok(None) => return ControlFlow::Continue(()),
                Ok(Some(Entry::TooLarge { start, .. })) => Item::Skipped(Skipped {
                    name: name(start),
                    reason: too_large(self.bytes_max),
                }),
                Ok(Some(Entry::Letter(letter))) => Item::Letter(Box::new(Incoming {
                    name: name(letter.start),
                    target: std::sync::Arc::clone(&target),
                    flags: letter.flags,
                    received_at: letter.received_at,
                    bytes: letter.bytes.into(),
                    mark: mark(letter.next),
                })),
                // The rest of this file is lost, that of the archive is not.
                Err(error) => return give(broken(mbox.offset(), error)),
            };
            give(item)?;
        }
    }
}

/// Where an import goes on that stopped at a position; `None` if the archive is another one.
fn place(zip: &ZipArchive<BufReader<File>>, position: &str) -> Option<(usize, u64)> {
    let mut words = position.splitn(3, ':');
    let number: usize = words.next()?.parse().ok()?;
    let at = words.next()?;
    let name = zip.name_for_index(number)?;
    if words.next()? != names::digest_of(name.as_bytes()) {
        return None;
    }
    Some(match at {
        "end" => (number + 1, 0),
        offset => (number, offset.parse().ok()?),
    })
}

fn broken(path: &Path, error: &ZipError) -> Failure {
    Failure::invalid(format!("{}: {error}", path.display()))
}

/// The time of a file in an archive, which has no zone: taken as UTC.
fn moment(time: zip::DateTime) -> Option<Timestamp> {
    let civil = Civil {
        year: i64::from(time.year()),
        month: time.month(),
        day: time.day(),
        hour: time.hour(),
        minute: time.minute(),
        second: time.second(),
        weekday: 0,
    };
    // A program without a clock writes 1980.
    (civil.year > 1980).then(|| Timestamp::from_secs(civil.to_secs()))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use zip::write::SimpleFileOptions;

    use super::*;

    fn make(path: &Path, files: &[(&str, &str)]) {
        let mut zip = zip::ZipWriter::new(File::create(path).unwrap());
        for (name, text) in files {
            zip.start_file(*name, SimpleFileOptions::default()).unwrap();
            zip.write_all(text.as_bytes()).unwrap();
        }
        zip.finish().unwrap();
    }

    fn read(path: &Path, known: &Known) -> Vec<(String, String)> {
        let mut archive = Archive::open(path, None, known, 60).unwrap();
        let mut all = Vec::new();
        let mut give = |item, _| {
            all.push(match item {
                Item::Mailbox(target) => (format!("[{}]", target.name), String::new()),
                Item::Letter(letter) => (
                    format!(
                        "{} {:?}",
                        letter.target.name,
                        String::from_utf8_lossy(&letter.bytes)
                    ),
                    letter.mark.position,
                ),
                Item::Skipped(skipped) => (format!("skipped: {}", skipped.reason), String::new()),
            });
            ControlFlow::Continue(())
        };
        archive.give_all(&mut give).unwrap();
        all
    }

    #[test]
    fn letters_and_mboxes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mail.zip");
        let from = "From a@b Tue Nov 24 07:38:05 2026\n";
        make(
            &path,
            &[
                ("1.eml", "A: 1\n"),
                ("../../etc/passwd", "no letter"),
                ("Work/2.eml", "A: 2\n"),
                ("Work/large.eml", &"x".repeat(61)),
                (
                    "Takeout/Sent.mbox",
                    &format!("{from}A: 3\n\n{from}A: 4\n\n"),
                ),
                ("__MACOSX/1.eml", "A: 1\n"),
            ],
        );
        let all = read(&path, &Known::new());
        let shown: Vec<&str> = all.iter().map(|(shown, _)| shown.as_str()).collect();
        assert_eq!(
            shown,
            [
                "mail \"A: 1\\r\\n\"",
                "skipped: does not look like a letter; give it the ending .eml if it is one",
                "Work \"A: 2\\r\\n\"",
                "skipped: larger than 60 bytes, the limit for letters (limits.letter_size)",
                "[Takeout/Sent]",
                "Takeout/Sent \"A: 3\\r\\n\"",
                "Takeout/Sent \"A: 4\\r\\n\"",
            ]
        );
        let source = format!("zip:{}", std::fs::canonicalize(&path).unwrap().display());
        for stopped in [0, 2, 5, 6] {
            let known = Known::from([(source.clone(), all[stopped].1.clone())]);
            let rest = read(&path, &known);
            let letters = |all: &[(String, String)]| {
                let letters = all.iter().filter(|(_, position)| !position.is_empty());
                letters.cloned().collect::<Vec<_>>()
            };
            assert_eq!(letters(&rest), letters(&all[stopped + 1..]), "{stopped}");
        }
        let known = Known::from([(source, "0:end:wrong".to_owned())]);
        assert!(Archive::open(&path, None, &known, 60).is_err());
    }

    #[test]
    fn a_bomb_and_a_broken_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mail.zip");
        make(
            &path,
            &[("a.eml", &"0".repeat(50_000_000)), ("b.eml", "A: 1\n")],
        );
        let all = read(&path, &Known::new());
        assert!(all[0].0.starts_with("skipped: larger"));
        assert_eq!(all[1].0, "mail \"A: 1\\r\\n\"");
        std::fs::write(&path, "no zip").unwrap();
        assert!(Archive::open(&path, None, &Known::new(), 60).is_err());
    }
}
