//! Where a new password comes from: the first line of stdin, or made at random.

use std::io::Read as _;

use base::ports::Entropy as _;

use super::exit::Exit;
use crate::outside::OsEntropy;

/// The longest password, in bytes.
const PASSWORD_BYTES_MAX: usize = 1_000;

/// The first line of stdin.
pub(super) fn from_stdin() -> Result<String, Exit> {
    let mut bytes = Vec::new();
    std::io::stdin()
        .take(PASSWORD_BYTES_MAX as u64 + 3)
        .read_to_end(&mut bytes)?;
    let text = String::from_utf8(bytes)
        .map_err(|_| Exit::Usage("the password on stdin is not UTF-8".to_owned()))?;
    let line = text.lines().next().unwrap_or_default();
    if line.is_empty() {
        return Err(Exit::Usage("there is no password on stdin".to_owned()));
    }
    if line.len() > PASSWORD_BYTES_MAX {
        return Err(Exit::Usage(format!(
            "the password is longer than {PASSWORD_BYTES_MAX} bytes"
        )));
    }
    Ok(line.to_owned())
}

/// Four groups of four letters: 76 bits, easy to type, nothing to quote in a shell.
#[must_use]
pub(crate) fn random() -> String {
    // No letter that looks like another: 27 of them.
    const LETTERS: &[u8] = b"abcdefghijkmnpqrstuvwxyz349";
    let mut password = String::new();
    for i in 0..16 {
        if i % 4 == 0 && i > 0 {
            password.push('-');
        }
        // The remainder's bias at 64 bits is far below anything that matters.
        let index = usize::try_from(OsEntropy.next_u64() % LETTERS.len() as u64).unwrap_or(0);
        password.push(char::from(LETTERS[index]));
    }
    password
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_passwords_differ_and_need_no_quotes() {
        let one = random();
        assert_ne!(one, random());
        assert_eq!(one.len(), 19);
        assert!(one.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'));
    }
}
