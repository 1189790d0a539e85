//! Maildir: a file for each letter in `cur` and `new`, flags in its name, sub-folders as Maildir++
//! (`.Work.2026` beside `cur`) and, when read, also as folders in folders. Keywords have letters
//! that the file `dovecot-keywords` explains.
//!
//! What we write has LF, as delivery agents do, unless that would lose something; see
//! [`super::lines`].

pub mod read;
pub mod write;

use std::io::{self, BufRead as _, BufReader};
use std::path::Path;

/// The file that says which letter stands for which keyword.
pub(super) const KEYWORDS_FILE: &str = "dovecot-keywords";
/// Letters there are for keywords.
pub(super) const KEYWORD_LETTERS: usize = 26;

/// The names of keywords by number: lines `0 name`.
pub(super) fn read_keywords(folder: &Path) -> io::Result<Vec<String>> {
    let file = match std::fs::File::open(folder.join(KEYWORDS_FILE)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    let mut names = Vec::new();
    let mut line = Vec::new();
    // 26 lines of at most 255 bytes and a number.
    let mut reader = BufReader::new(file);
    for _ in 0..KEYWORD_LETTERS * 2 {
        line.clear();
        if io::Read::take(&mut reader, 1_024).read_until(b'\n', &mut line)? == 0 {
            break;
        }
        let text = String::from_utf8_lossy(&line);
        let Some((number, name)) = text.trim().split_once(' ') else {
            continue;
        };
        if let Ok(number @ 0..KEYWORD_LETTERS) = number.parse::<usize>() {
            names.resize(names.len().max(number + 1), String::new());
            name.clone_into(&mut names[number]);
        }
    }
    Ok(names)
}
