//! Flags of a letter, and how each format writes them: Maildir info, mbox Status fields,
//! Thunderbird's, IMAP's.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// Keywords of one letter, and bytes of all of them: what the store takes.
const KEYWORDS_MAX: usize = 100;
const KEYWORDS_BYTES_MAX: usize = 1_024;
/// Bytes of one keyword (RFC 8621 §4.1.1).
const KEYWORD_BYTES_MAX: usize = 255;

/// Keywords that have a letter in the info of a Maildir name, in the order of the alphabet.
const MAILDIR: [(char, &str); 5] = [
    ('D', "$draft"),
    ('F', "$flagged"),
    ('P', "$forwarded"),
    ('R', "$answered"),
    ('S', "$seen"),
];

/// The flags of one letter in one mailbox.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flags {
    /// Keywords in JMAP form: `$seen`, `$flagged`, others in lower case.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub keywords: BTreeSet<String>,
    /// `\Deleted`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub deleted: bool,
}

impl Flags {
    /// Adds a keyword; one that the store could not keep is left out: some programs write anything.
    pub fn insert(&mut self, keyword: &str) {
        let keyword = keyword.to_ascii_lowercase();
        let bytes: usize = self.keywords.iter().map(|known| known.len() + 1).sum();
        let fits = (1..=KEYWORD_BYTES_MAX).contains(&keyword.len())
            && bytes + keyword.len() <= KEYWORDS_BYTES_MAX
            && self.keywords.len() < KEYWORDS_MAX
            && keyword.bytes().all(is_atom);
        if fits {
            self.keywords.insert(keyword);
        }
    }

    /// Whether a keyword is among them.
    #[must_use]
    pub fn has(&self, keyword: &str) -> bool {
        self.keywords.contains(keyword)
    }

    /// Adds a flag as IMAP names it; `\Recent` and unknown system flags are nothing.
    pub fn insert_imap(&mut self, flag: &str) {
        match flag.strip_prefix('\\') {
            None => self.insert(flag),
            Some(system) => match system.to_ascii_lowercase().as_str() {
                "deleted" => self.deleted = true,
                known @ ("seen" | "flagged" | "answered" | "draft") => {
                    self.insert(&format!("${known}"));
                }
                _ => {}
            },
        }
    }

    /// From the letters after `:2,` of a Maildir name; small letters are keywords by number.
    #[must_use]
    pub fn from_maildir(info: &str, names: &[String]) -> Self {
        let mut flags = Self::default();
        for letter in info.chars() {
            if letter == 'T' {
                flags.deleted = true;
            } else if letter.is_ascii_lowercase() {
                let number = usize::from(letter as u8 - b'a');
                if let Some(name) = names.get(number) {
                    flags.insert(name);
                }
            } else if let Some((_, keyword)) = MAILDIR.iter().find(|(known, _)| *known == letter) {
                flags.insert(keyword);
            }
        }
        flags
    }

    /// The letters after `:2,`; keywords without a letter get one from `letter_of`, or none.
    pub fn to_maildir(&self, mut letter_of: impl FnMut(&str) -> Option<char>) -> String {
        let mut info = BTreeSet::new();
        if self.deleted {
            info.insert('T');
        }
        for keyword in &self.keywords {
            let known = MAILDIR.iter().find(|(_, known)| known == keyword);
            info.extend(known.map_or_else(|| letter_of(keyword), |(letter, _)| Some(*letter)));
        }
        info.into_iter().collect()
    }

    /// Takes in a field of an mbox letter's head; whether it was one of those that only describe
    /// the letter's place in the file.
    pub fn take_mbox_field(&mut self, name: &[u8], value: &str) -> bool {
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        if is("Status") || is("X-Status") {
            for letter in value.chars() {
                match letter {
                    'R' => self.insert("$seen"),
                    'A' => self.insert("$answered"),
                    'F' => self.insert("$flagged"),
                    'T' => self.insert("$draft"),
                    'D' => self.deleted = true,
                    _ => {}
                }
            }
        } else if is("X-Keywords") || is("X-Mozilla-Keys") {
            for keyword in value.split([' ', ',', '\t', '\r', '\n']) {
                self.insert(keyword);
            }
        } else if is("X-Mozilla-Status") {
            self.take_mozilla_status(u32::from_str_radix(value.trim(), 16).unwrap_or(0));
        } else {
            return is("X-Mozilla-Status2")
                || is("X-UID")
                || is("X-IMAP")
                || is("X-IMAPbase")
                || is("Content-Length");
        }
        true
    }

    /// nsMsgMessageFlags.h of Thunderbird.
    fn take_mozilla_status(&mut self, bits: u32) {
        for (bit, keyword) in [
            (0x0001, "$seen"),
            (0x0002, "$answered"),
            (0x0004, "$flagged"),
            (0x1000, "$forwarded"),
        ] {
            if bits & bit != 0 {
                self.insert(keyword);
            }
        }
        // Hidden until the folder is compacted.
        self.deleted |= bits & 0x0008 != 0;
    }

    /// The mbox fields `Status`, `X-Status` and, where there are any, `X-Keywords`, a line each.
    #[must_use]
    pub fn to_mbox_fields(&self) -> Vec<String> {
        let status = if self.has("$seen") { "RO" } else { "O" };
        let mut lines = vec![format!("Status: {status}")];
        let mut letters = String::new();
        for (letter, keyword) in [('A', "$answered"), ('F', "$flagged"), ('T', "$draft")] {
            if self.has(keyword) {
                letters.push(letter);
            }
        }
        if self.deleted {
            letters.push('D');
        }
        if !letters.is_empty() {
            lines.push(format!("X-Status: {letters}"));
        }
        let system = ["$seen", "$answered", "$flagged", "$draft"];
        let keywords: Vec<&str> = self
            .keywords
            .iter()
            .map(String::as_str)
            .filter(|keyword| !system.contains(keyword))
            .collect();
        if !keywords.is_empty() {
            lines.push(format!("X-Keywords: {}", keywords.join(" ")));
        }
        lines
    }
}

/// RFC 9051 §9: `atom = 1*ATOM-CHAR`, without `]` as in a flag-keyword that clients can name.
fn is_atom(byte: u8) -> bool {
    byte.is_ascii_graphic() && !b"(){%*\"\\]".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(keywords: &[&str], deleted: bool) -> Flags {
        Flags {
            keywords: keywords
                .iter()
                .map(|keyword| (*keyword).to_owned())
                .collect(),
            deleted,
        }
    }

    #[test]
    fn maildir_letters() {
        let names = ["work".to_owned(), "Later".to_owned()];
        let read = Flags::from_maildir("FRSTbz", &names);
        assert_eq!(
            read,
            flags(&["$flagged", "$answered", "$seen", "later"], true)
        );
        let letter_of = |keyword: &str| (keyword == "later").then_some('b');
        assert_eq!(read.to_maildir(letter_of), "FRSTb");
    }

    #[test]
    fn mbox_fields_there_and_back() {
        let all = flags(&["$seen", "$flagged", "$forwarded", "work"], true);
        let lines = all.to_mbox_fields();
        assert_eq!(
            lines,
            ["Status: RO", "X-Status: FD", "X-Keywords: $forwarded work"]
        );
        let mut read = Flags::default();
        for line in lines {
            let (name, value) = line.split_once(':').unwrap();
            assert!(read.take_mbox_field(name.as_bytes(), value));
        }
        assert_eq!(read, all);
        assert!(!read.take_mbox_field(b"Subject", "x"));
    }

    #[test]
    fn thunderbird() {
        let mut read = Flags::default();
        assert!(read.take_mbox_field(b"X-Mozilla-Status", " 1007"));
        assert!(read.take_mbox_field(b"X-Mozilla-Keys", " $label1 NonJunk  "));
        let expected = [
            "$seen",
            "$answered",
            "$flagged",
            "$forwarded",
            "$label1",
            "nonjunk",
        ];
        assert_eq!(read, flags(&expected, false));
    }

    #[test]
    fn what_the_store_would_refuse_is_left_out() {
        let mut read = Flags::default();
        read.insert("two words");
        read.insert("a\\b");
        read.insert("\u{e4}");
        read.insert("");
        read.insert(&"x".repeat(256));
        assert_eq!(read, Flags::default());
        for number in 0..300 {
            read.insert(&format!("keyword-number-{number}"));
        }
        let bytes: usize = read.keywords.iter().map(|keyword| keyword.len() + 1).sum();
        assert!(bytes <= 1_025 && read.keywords.len() > 40);
    }
}
