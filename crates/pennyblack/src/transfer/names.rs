//! Names of mailboxes: how folders, files and other servers spell them, and which of them mean one
//! of the mailboxes that every account has.

use std::path::Path;

use base::Domain;
use proto::imap::utf7;
use serde::{Deserialize, Serialize};

/// Bytes of one level of a name, and levels of it, that the store takes.
const LEVEL_BYTES_MAX: usize = 255;
const LEVELS_MAX: usize = 20;
/// Bytes of a file's name on the usual file systems.
const FILE_NAME_BYTES_MAX: usize = 255;

/// Which mailbox a letter goes to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// Its full name with `/` between levels.
    pub name: String,
    /// What it is for (`sent`, `trash`, …): the account's mailbox for that takes its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// Whether it is shown to clients that only look at subscribed mailboxes.
    #[serde(default = "yes")]
    pub subscribed: bool,
}

const fn yes() -> bool {
    true
}

impl Target {
    /// From the levels of a name as others write them. What the store does not take is replaced;
    /// a name of one level (also below INBOX) that commonly means a mailbox that every account has
    /// gets its role.
    #[must_use]
    pub fn guess(levels: &[&str]) -> Self {
        let levels: Vec<String> = levels
            .iter()
            .map(|level| clean_level(level))
            .filter(|level| !level.is_empty())
            .collect();
        let role = match levels.as_slice() {
            [one] => role_of(one),
            [inbox, one] if inbox.eq_ignore_ascii_case("inbox") => role_of(one),
            _ => None,
        };
        Self {
            name: join(&levels),
            role: role.map(str::to_owned),
            subscribed: true,
        }
    }

    /// A mailbox that the operator named.
    #[must_use]
    pub fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            role: None,
            subscribed: true,
        }
    }

    /// The mailbox of this name below another, where there is one.
    #[must_use]
    pub fn below(self, parent: Option<&str>) -> Self {
        match parent {
            None => self,
            Some(parent) => Self {
                name: format!("{parent}/{}", self.name),
                role: None,
                ..self
            },
        }
    }
}

/// Joins levels; those beyond the deepest become part of it.
fn join(levels: &[String]) -> String {
    if levels.is_empty() {
        return "INBOX".to_owned();
    }
    let deep = levels.len().min(LEVELS_MAX);
    let mut kept = levels[..deep].to_vec();
    if let Some(last) = kept.last_mut()
        && levels.len() > deep
    {
        *last = cut(&levels[deep - 1..].join("_")).to_owned();
    }
    kept.join("/")
}

fn clean_level(level: &str) -> String {
    let clean: String = level
        .trim()
        .chars()
        .map(|c| if c.is_control() || c == '/' { '_' } else { c })
        .collect();
    cut(&clean).to_owned()
}

/// At most as long as the store takes, cut between characters.
fn cut(level: &str) -> &str {
    let mut end = level.len().min(LEVEL_BYTES_MAX);
    while !level.is_char_boundary(end) {
        end -= 1;
    }
    &level[..end]
}

/// What a name commonly stands for: as Outlook, Apple Mail, Gmail, Thunderbird, Courier and
/// Dovecot name mailboxes.
#[must_use]
pub fn role_of(name: &str) -> Option<&'static str> {
    Some(match name.to_lowercase().as_str() {
        "inbox" => "inbox",
        "sent" | "sent items" | "sent messages" | "sent mail" | "sent-mail" | "gesendet"
        | "gesendete elemente" | "gesendete objekte" => "sent",
        "drafts" | "draft" | "entw\u{fc}rfe" => "drafts",
        "trash"
        | "deleted"
        | "deleted items"
        | "deleted messages"
        | "papierkorb"
        | "gel\u{f6}schte elemente"
        | "gel\u{f6}schte objekte" => "trash",
        "junk" | "spam" | "junk mail" | "junk e-mail" | "junk email" | "bulk mail" => "junk",
        "archive" | "archives" | "archiv" => "archive",
        _ => return None,
    })
}

/// A name that can stand in the file system and in a zip on any system; it need not be read back,
/// as the list beside the letters holds the real one.
#[must_use]
pub fn file_name(level: &str, extension_bytes: usize) -> String {
    let mut name = String::with_capacity(level.len());
    for (at, c) in level.char_indices() {
        let plain = !c.is_control()
            && !"%/\\:*?\"<>|".contains(c)
            && !(c == '.' && (at == 0 || at + 1 == level.len()))
            && !(c == ' ' && (at == 0 || at + 1 == level.len()));
        if plain {
            name.push(c);
        } else {
            let mut bytes = [0; 4];
            for byte in c.encode_utf8(&mut bytes).bytes() {
                name.push_str(&format!("%{byte:02X}"));
            }
        }
    }
    let room = FILE_NAME_BYTES_MAX - extension_bytes;
    if name.len() <= room {
        return name;
    }
    let hash = digest_of(level.as_bytes());
    let mut end = room - hash.len() - 1;
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}~{hash}", &name[..end])
}

/// Some letters that tell long names, or pieces of files, apart.
pub(super) fn digest_of(text: &[u8]) -> String {
    // FNV-1a: nothing here is chosen against us.
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in text {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    }
    format!("{hash:016x}")
}

/// The levels of what [`file_name`] wrote.
#[must_use]
pub fn from_file_name(name: &str) -> String {
    let mut bytes = Vec::with_capacity(name.len());
    let mut rest = name.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let code = (*first == b'%')
            .then(|| after.get(..2))
            .flatten()
            .and_then(|hex| std::str::from_utf8(hex).ok())
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match code {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The levels of a Maildir++ folder's name: `.Work.2026`, modified UTF-7, `\2e` for a dot.
#[must_use]
pub fn from_maildir(folder: &str) -> Vec<String> {
    let name = folder.strip_prefix('.').unwrap_or(folder);
    name.split('.')
        .map(|level| {
            // Newer programs write UTF-8.
            let text = utf7::decode(level.as_bytes()).unwrap_or_else(|| level.to_owned());
            unescape(&text)
        })
        .collect()
}

/// The folder of a mailbox in a Maildir++; empty for INBOX, `None` if it would be too long for a
/// file system.
#[must_use]
pub fn to_maildir(name: &str) -> Option<String> {
    if name == "INBOX" {
        return Some(String::new());
    }
    let mut folder = String::new();
    for level in name.split('/') {
        folder.push('.');
        let escaped = level.replace('\\', "\\5c").replace('.', "\\2e");
        folder.push_str(&utf7::encode(&escaped));
    }
    (folder.len() <= FILE_NAME_BYTES_MAX).then_some(folder)
}

/// Dovecot's listescape.
fn unescape(level: &str) -> String {
    let mut text = level.to_owned();
    for (code, plain) in [("\\2e", "."), ("\\2E", "."), ("\\2f", "_"), ("\\5c", "\\")] {
        if text.contains(code) {
            text = text.replace(code, plain);
        }
    }
    text
}

/// The name of a file or folder without its extension, as text.
#[must_use]
pub fn stem(path: &Path) -> String {
    path.file_stem()
        .map(|stem| stem.to_string_lossy().into_owned())
        .unwrap_or_default()
}

/// The address in a letter's first field, if it is a Return-Path that can stand in a `From ` line.
#[must_use]
pub fn return_path(letter: &[u8]) -> Option<&str> {
    let line = letter.get(..letter.len().min(600))?;
    let line = line.split(|byte| *byte == b'\n').next()?;
    let (name, value) = std::str::from_utf8(line).ok()?.split_once(':')?;
    let address = value.trim().strip_prefix('<')?.strip_suffix('>')?;
    let (local, domain) = address.rsplit_once('@')?;
    let plain = local.bytes().all(|byte| byte.is_ascii_graphic()) && !local.is_empty();
    (name.eq_ignore_ascii_case("return-path") && plain && Domain::parse(domain).is_ok())
        .then_some(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guess(levels: &[&str]) -> (String, Option<String>) {
        let target = Target::guess(levels);
        (target.name, target.role)
    }

    #[test]
    fn what_names_mean() {
        assert_eq!(
            guess(&["Sent Items"]),
            ("Sent Items".into(), Some("sent".into()))
        );
        assert_eq!(
            guess(&["INBOX", "Trash"]),
            ("INBOX/Trash".into(), Some("trash".into()))
        );
        assert_eq!(guess(&["Work", "Sent"]), ("Work/Sent".into(), None));
        assert_eq!(guess(&["a/b", "", "c\td"]), ("a_b/c_d".into(), None));
        assert_eq!(guess(&[]), ("INBOX".into(), None));
        assert_eq!(guess(&["x".repeat(300).as_str()]).0.len(), 255);
        assert_eq!(guess(&["a"; 30]).0.split('/').count(), 20);
    }

    #[test]
    fn file_names_there_and_back() {
        for level in [
            "Work",
            "..",
            ".",
            ".hidden",
            "50%",
            "a:b",
            "Entw\u{fc}rfe",
            "CON*",
            " x ",
            "a\\b",
        ] {
            let name = file_name(level, 5);
            assert_eq!(from_file_name(&name), level);
            assert!(
                !name.starts_with('.') && !name.contains(['/', '\\', ':', '*']),
                "{name}"
            );
        }
        let long = file_name(&"\u{e4}".repeat(127), 5);
        assert!(long.len() <= 250);
        assert!(file_name(&":".repeat(255), 5).len() <= 250);
        assert_eq!(from_file_name("100%"), "100%");
        assert_eq!(from_file_name("%zz"), "%zz");
    }

    #[test]
    fn maildir_folders_there_and_back() {
        for (name, folder) in [
            ("INBOX", ""),
            ("Work/2026", ".Work.2026"),
            ("Entw\u{fc}rfe", ".Entw&APw-rfe"),
            ("v1.0/a\\b", ".v1\\2e0.a\\5cb"),
        ] {
            assert_eq!(to_maildir(name).as_deref(), Some(folder));
            if !folder.is_empty() {
                assert_eq!(from_maildir(folder).join("/"), name);
            }
        }
        assert_eq!(from_maildir(".Entw\u{fc}rfe"), ["Entw\u{fc}rfe"]);
        assert_eq!(to_maildir(&"x".repeat(255)), None);
    }

    #[test]
    fn return_paths() {
        let is = |letter: &str, expected| assert_eq!(return_path(letter.as_bytes()), expected);
        is("Return-Path: <a@b.test>\r\nFrom: x\r\n", Some("a@b.test"));
        is("Return-Path: <>\r\n", None);
        is("Return-Path: <a b@c.test>\r\n", None);
        is("From: x\r\n", None);
        is("", None);
    }
}
