//! The key file.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use base::Secret;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::StoreError;
use crate::backup::{at, sync, write_whole};

/// What stands on top, for people.
const HEAD: &str = "# The key of the secrets in Pennyblack's store. Keep a copy in a safe place: without it, after a\n\
    # restore, sealed secrets (DKIM keys, keys for SCRAM logins) have to be made anew.\n";
/// A file is not longer.
const BYTES_MAX: usize = 64 * 1024;

/// A key.
#[derive(Clone)]
pub(super) struct KeyLine {
    pub(super) id: [u8; 8],
    pub(super) secret: Secret,
}

impl KeyLine {
    pub(super) fn new(secret: [u8; 32]) -> Self {
        let mut id = [0; 8];
        let hash = blake3::derive_key("pennyblack 2026 id of a store key", &secret);
        id.copy_from_slice(&hash[..8]);
        Self {
            id,
            secret: Secret::new(secret.to_vec()),
        }
    }
}

/// An id as people see it.
pub(super) fn id_text(id: &[u8]) -> String {
    let mut text = String::new();
    for byte in id {
        // Writing to a text does not fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// Reads the file; one that is not there has no keys.
pub(super) fn read(path: &Path) -> Result<Vec<KeyLine>, StoreError> {
    match std::fs::read(path) {
        Ok(bytes) if bytes.len() <= BYTES_MAX => parse(&String::from_utf8_lossy(&bytes), path),
        Ok(_) => Err(wrong(path)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(at(path, error)),
    }
}

/// Reads the text of a file.
pub(super) fn parse(text: &str, path: &Path) -> Result<Vec<KeyLine>, StoreError> {
    let mut lines = Vec::new();
    for line in text.lines().map(str::trim) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let mut words = line.split_ascii_whitespace();
        let (Some("key"), Some(id), Some(secret), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(wrong(path));
        };
        let secret = STANDARD.decode(secret).map_err(|_| wrong(path))?;
        let secret = <[u8; 32]>::try_from(secret).map_err(|_| wrong(path))?;
        let line = KeyLine::new(secret);
        if id_text(&line.id) != id {
            return Err(wrong(path));
        }
        lines.push(line);
    }
    if lines.is_empty() {
        Err(wrong(path))
    } else {
        Ok(lines)
    }
}

/// Writes the file.
pub(super) fn write(path: &Path, lines: &[KeyLine]) -> Result<(), StoreError> {
    write_whole(path, text(lines).as_bytes())
}

/// Makes the file, unless somebody else has made it meanwhile; whether it was made.
pub(super) fn create(path: &Path, lines: &[KeyLine]) -> Result<bool, StoreError> {
    let own = own_file(path, text(lines).as_bytes())?;
    let made = std::fs::hard_link(&own, path);
    std::fs::remove_file(&own).map_err(|error| at(&own, error))?;
    match made {
        Ok(()) => {
            if let Some(parent) = path.parent() {
                sync(parent)?;
            }
            Ok(true)
        }
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(at(path, error)),
    }
}

/// Writes a file beside the key file that nobody else has; gives its path.
fn own_file(path: &Path, content: &[u8]) -> Result<PathBuf, StoreError> {
    let mut number = 0_u32;
    loop {
        let own = path.with_extension(format!("{number}.new"));
        let made = File::options()
            .create_new(true)
            .write(true)
            .mode(0o600)
            .open(&own);
        match made.and_then(|mut file| {
            file.write_all(content)?;
            file.sync_all()
        }) {
            Ok(()) => return Ok(own),
            // Somebody's who starts at the same time, or of one who was cut short.
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => number += 1,
            Err(error) => return Err(at(&own, error)),
        }
    }
}

/// The text of a file.
pub(super) fn text(lines: &[KeyLine]) -> String {
    let mut text = HEAD.to_owned();
    for line in lines {
        // Writing to a text does not fail.
        let _ = writeln!(
            text,
            "key {} {}",
            id_text(&line.id),
            STANDARD.encode(line.secret.expose())
        );
    }
    text
}

fn wrong(path: &Path) -> StoreError {
    StoreError::Invalid(format!(
        "the key file {} is damaged: it has a line `key ID BASE64` for each key; bring it back from a copy",
        path.display()
    ))
}
