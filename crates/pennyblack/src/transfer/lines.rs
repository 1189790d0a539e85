//! Line ends of letters in files. The store keeps a letter as it was sent, with CRLF; files of
//! others often have LF. A letter that was written by [`to_lf`] comes back the same by
//! [`from_file`], byte for byte.

use memchr::{memchr_iter, memmem};

/// The letter that a file holds: one with CRLF anywhere is taken as it is, in any other each LF
/// becomes CRLF.
#[must_use]
pub fn from_file(bytes: Vec<u8>) -> Vec<u8> {
    if memmem::find(&bytes, b"\r\n").is_some() {
        return bytes;
    }
    let ends = memchr_iter(b'\n', &bytes).count();
    if ends == 0 {
        return bytes;
    }
    let mut letter = Vec::with_capacity(bytes.len() + ends);
    let mut rest = bytes.as_slice();
    while let Some(end) = memchr::memchr(b'\n', rest) {
        letter.extend_from_slice(&rest[..end]);
        letter.extend_from_slice(b"\r\n");
        rest = &rest[end + 1..];
    }
    letter.extend_from_slice(rest);
    letter
}

/// The letter with LF, if [`from_file`] makes the same of it again: each LF stands behind a CR, and
/// behind no second one. Any other letter has to be written as it is.
#[must_use]
pub fn to_lf(letter: &[u8]) -> Option<Vec<u8>> {
    let mut file = Vec::with_capacity(letter.len());
    let mut rest = letter;
    while let Some(end) = memchr::memchr(b'\n', rest) {
        let line = rest[..end].strip_suffix(b"\r")?;
        if line.last() == Some(&b'\r') {
            return None;
        }
        file.extend_from_slice(line);
        file.push(b'\n');
        rest = &rest[end + 1..];
    }
    file.extend_from_slice(rest);
    Some(file)
}

/// Whether [`from_file`] leaves a letter alone that is written as it is.
#[must_use]
pub fn stays(letter: &[u8]) -> bool {
    memchr::memchr(b'\n', letter).is_none() || memmem::find(letter, b"\r\n").is_some()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn line_ends() {
        for (file, letter) in [
            ("a\nb\n", "a\r\nb\r\n"),
            ("a\r\nb\r\n", "a\r\nb\r\n"),
            // Not ours to repair: it came like this.
            ("a\r\nb\n", "a\r\nb\n"),
            ("a\rb\n", "a\rb\r\n"),
            ("a", "a"),
            ("", ""),
        ] {
            assert_eq!(from_file(file.into()), letter.as_bytes(), "{file:?}");
        }
        for (letter, file) in [
            ("a\r\nb\r\n", Some("a\nb\n")),
            ("a\r\n\r\nb", Some("a\n\nb")),
            ("a\nb\r\n", None),
            ("a\r\r\n", None),
        ] {
            assert_eq!(to_lf(letter.as_bytes()).as_deref(), file.map(str::as_bytes));
        }
    }

    proptest! {
        #[test]
        fn what_is_written_comes_back(parts in prop::collection::vec(
            prop::sample::select(vec!["\r", "\n", "\r\n", "a", "From ", "\0"]), 0..30)) {
            let letter = parts.concat().into_bytes();
            match to_lf(&letter) {
                Some(file) => prop_assert_eq!(from_file(file), letter),
                None if stays(&letter) => prop_assert_eq!(from_file(letter.clone()), letter),
                None => {}
            }
        }
    }
}
