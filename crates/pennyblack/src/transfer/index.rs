//! The list `letters.jsonl` that stands beside exported letters: what a file of a letter cannot
//! hold. Its first line is about the mailbox, each other one about a letter.

use std::io::{self, Write};

use base::Timestamp;
use serde::{Deserialize, Serialize};

use super::flags::Flags;
use super::names::Target;

/// The file's name.
pub const INDEX_FILE: &str = "letters.jsonl";
/// Bytes of a list that are held in memory: a million letters.
pub const INDEX_BYTES_MAX: u64 = 128 << 20;

/// The first line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// The version of the list.
    pub pennyblack: u32,
    /// The mailbox.
    #[serde(flatten)]
    pub mailbox: Target,
    /// The epoch of its UIDs, by which the files are named.
    pub uid_validity: u32,
}

/// A line about a letter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// The file.
    pub file: String,
    /// The letter's UID in the mailbox.
    pub uid: u32,
    /// When it was received, in milliseconds since 1970.
    pub at: i64,
    /// Bytes of the file.
    pub bytes: u64,
    /// Its flags.
    #[serde(flatten)]
    pub flags: Flags,
    /// The file is to be taken as it is, although it has LF only.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub raw: bool,
}

impl Line {
    /// When it was received.
    #[must_use]
    pub const fn received_at(&self) -> Timestamp {
        Timestamp(self.at)
    }
}

/// A list that can be asked for a file. It holds the text and 16 bytes a letter.
#[derive(Debug)]
pub struct Index {
    /// Its first line.
    pub head: Head,
    text: Vec<u8>,
    /// Hashes of files' names and where their lines begin, sorted.
    places: Vec<(u64, usize)>,
}

impl Index {
    /// Reads a list; `None` if it is not one of ours. A torn last line counts for nothing.
    #[must_use]
    pub fn parse(text: Vec<u8>) -> Option<Self> {
        let end = memchr::memchr(b'\n', &text)?;
        let head: Head = serde_json::from_slice(&text[..end]).ok()?;
        if head.pennyblack != 1 {
            return None;
        }
        let mut places = Vec::new();
        let mut start = end + 1;
        while let Some(length) = memchr::memchr(b'\n', &text[start..]) {
            if let Ok(line) = serde_json::from_slice::<Line>(&text[start..start + length]) {
                places.push((hash(&line.file), start));
            }
            start += length + 1;
        }
        places.sort_unstable();
        Some(Self { head, text, places })
    }

    /// The line of a file; the last one, if it has several.
    #[must_use]
    pub fn line(&self, file: &str) -> Option<Line> {
        let wanted = hash(file);
        let first = self.places.partition_point(|(hash, _)| *hash < wanted);
        let same = self.places[first..]
            .iter()
            .take_while(|(hash, _)| *hash == wanted);
        same.filter_map(|(_, start)| self.at(*start))
            .filter(|line| line.file == file)
            .last()
    }

    /// All lines, in no order.
    pub fn lines(&self) -> impl Iterator<Item = Line> + '_ {
        self.places.iter().filter_map(|(_, start)| self.at(*start))
    }

    fn at(&self, start: usize) -> Option<Line> {
        let rest = &self.text[start..];
        let end = memchr::memchr(b'\n', rest)?;
        serde_json::from_slice(&rest[..end]).ok()
    }
}

/// Writes a line.
///
/// # Errors
/// Those of the writer.
pub fn write_line(writer: &mut impl Write, line: &impl Serialize) -> io::Result<()> {
    let mut text = serde_json::to_vec(line)?;
    text.push(b'\n');
    writer.write_all(&text)
}

fn hash(name: &str) -> u64 {
    use std::hash::Hasher as _;
    // Only within this process: equal names have equal hashes, and lines are compared by name.
    let mut hasher = std::hash::DefaultHasher::new();
    hasher.write(name.as_bytes());
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(file: &str, uid: u32) -> Line {
        Line {
            file: file.to_owned(),
            uid,
            at: 5,
            bytes: 7,
            flags: Flags::default(),
            raw: false,
        }
    }

    #[test]
    fn a_list_is_found_in() {
        let mut text = Vec::new();
        let head = Head {
            pennyblack: 1,
            mailbox: Target::guess(&["Sent"]),
            uid_validity: 3,
        };
        write_line(&mut text, &head).unwrap();
        for uid in 1..100 {
            write_line(&mut text, &line(&format!("{uid}.eml"), uid)).unwrap();
        }
        write_line(&mut text, &line("7.eml", 700)).unwrap();
        text.extend_from_slice(b"{\"file\":\"100.eml\",\"uid\":");
        let index = Index::parse(text).unwrap();
        assert_eq!(index.head, head);
        assert_eq!(index.line("7.eml"), Some(line("7.eml", 700)));
        assert_eq!(index.line("99.eml"), Some(line("99.eml", 99)));
        assert_eq!(index.line("100.eml"), None);
        assert_eq!(index.lines().count(), 100);
        assert!(Index::parse(b"{}\n".to_vec()).is_none());
        assert!(Index::parse(Vec::new()).is_none());
    }
}
