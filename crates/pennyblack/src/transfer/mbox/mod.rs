//! mbox: many letters in one file, each behind a line `From sender date`.
//!
//! Written is mboxrd: lines of a letter that begin with `From ` behind any number of `>` get one
//! more. Read is what is around: mboxrd, mboxo, and mboxcl with its Content-Length where that is
//! true. Flags stand in `Status`, `X-Status` and `X-Keywords`, which are no part of the letter;
//! Thunderbird's fields are read, too.
//!
//! What we write begins with a field `X-Pennyblack` that says how many lines of the head are ours
//! and how the letter ended, so that it comes back byte for byte.

pub mod file;
pub mod folder;
pub mod read;
pub mod write;

/// The field that begins each letter of ours.
pub(super) const MARK: &str = "X-Pennyblack";

#[cfg(test)]
mod tests {
    use base::Timestamp;
    use proptest::prelude::*;

    use super::read::{Entry, Mbox};
    use super::write::write_letter;
    use crate::transfer::flags::Flags;

    fn flags(word: &str) -> Flags {
        let mut flags = Flags::default();
        flags.insert(word);
        flags
    }

    fn read_all(bytes: &[u8]) -> Vec<(Vec<u8>, Flags, Option<Timestamp>)> {
        let mut mbox = Mbox::new(bytes, 0);
        let mut all = Vec::new();
        while let Some(entry) = mbox.next(1 << 20).unwrap() {
            match entry {
                Entry::Letter(letter) => all.push((letter.bytes, letter.flags, letter.received_at)),
                Entry::TooLarge { start, .. } => panic!("too large at {start}"),
            }
        }
        all
    }

    proptest! {
        #[test]
        fn what_is_written_comes_back(letters in prop::collection::vec((
            prop::collection::vec(prop::sample::select(vec![
                "\r\n", "\n", "\r", "\r\n\r\n", "From ", ">From ", ">", "From a@b Tue Nov 24 07:38:05 2026",
                "a: b", "X-Pennyblack: v=1; lines=9", "Status: O", "Content-Length: 3", "\0", "x"]), 0..25),
            0_i64..4_000_000_000_000, "[$a-z]{1,9}"), 0..6)) {
            let mut file = Vec::new();
            let mut expected = Vec::new();
            for (parts, at, keyword) in letters {
                let letter = parts.concat().into_bytes();
                let flags = flags(&keyword);
                write_letter(&mut file, &letter, &flags, Timestamp(at)).unwrap();
                expected.push((letter, flags, Some(Timestamp(at))));
            }
            prop_assert_eq!(read_all(&file), expected);
        }

        #[test]
        fn anything_can_be_read(parts in prop::collection::vec(prop::sample::select(vec![
            "\n", "\r\n", "From a Tue Nov 24 07:38:05 2026\n", "From \n", "Content-Length: 5\n", ">From x\n",
            "Content-Length: 99999999999999999999\n", "a: b\n", "body\n", "X-Pennyblack: lines=99\n"]), 0..40)) {
            let file = format!("From a Tue Nov 24 07:38:05 2026\n{}", parts.concat());
            let mut mbox = Mbox::new(file.as_bytes(), 0);
            let mut last = 0;
            while let Some(entry) = mbox.next(200).unwrap() {
                let next = match entry {
                    Entry::Letter(letter) => letter.next,
                    Entry::TooLarge { next, .. } => next,
                };
                prop_assert!(next > last);
                last = next;
            }
            prop_assert_eq!(last, file.len() as u64);
        }
    }
}
