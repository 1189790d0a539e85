//! Passwords made at random.

use base::ports::Entropy as _;

use crate::outside::OsEntropy;

/// Four groups of four letters: 76 bits, easy to type, nothing to quote in a shell.
#[must_use]
pub(crate) fn password() -> String {
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
        let one = password();
        assert_ne!(one, password());
        assert_eq!(one.len(), 19);
        assert!(one.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'));
    }
}
