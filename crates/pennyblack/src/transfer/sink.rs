//! Where an export goes, whatever its format.

use base::Timestamp;
use serde_json::Value;

use super::flags::Flags;
use super::source::Skipped;
use super::wire::MailboxOut;
use crate::control::Failure;

/// A letter on its way out.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// Its UID in its mailbox.
    pub uid: u32,
    /// Its flags.
    pub flags: Flags,
    /// IMAP INTERNALDATE.
    pub received_at: Timestamp,
    /// Its bytes as the store keeps them.
    pub bytes: Vec<u8>,
}

/// UIDs as ranges, each with its first and last one, ascending.
pub type Ranges = Vec<(u32, u32)>;

/// Takes letters mailbox by mailbox. Works with blocking calls.
pub trait Sink: Send {
    /// Begins a mailbox; gives the UIDs of letters that are there whole from an earlier export.
    /// [`Skipped`] if the format cannot hold it.
    ///
    /// # Errors
    /// What ends the export.
    fn begin(&mut self, mailbox: &MailboxOut) -> Result<Result<Ranges, Skipped>, Failure>;

    /// Writes a letter of the mailbox that was begun last.
    ///
    /// # Errors
    /// What ends the export.
    fn letter(&mut self, letter: &Outgoing) -> Result<(), Failure>;

    /// Ends a mailbox.
    ///
    /// # Errors
    /// What ends the export.
    fn end(&mut self) -> Result<(), Failure>;

    /// Ends the export; all is on the disk then.
    ///
    /// # Errors
    /// What made it fail.
    fn finish(&mut self, account: &Value) -> Result<(), Failure>;
}

/// The ranges of UIDs.
#[must_use]
pub fn ranges(mut uids: Vec<u32>) -> Ranges {
    uids.sort_unstable();
    let mut ranges: Ranges = Vec::new();
    for uid in uids {
        match ranges.last_mut() {
            Some((_, last)) if uid.saturating_sub(*last) <= 1 => *last = uid,
            _ => ranges.push((uid, uid)),
        }
    }
    ranges
}

/// How many UIDs ranges hold.
#[must_use]
pub fn count(ranges: &Ranges) -> u64 {
    let of = |(first, last): &(u32, u32)| u64::from(last - first) + 1;
    ranges.iter().map(of).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_uids() {
        assert_eq!(ranges(vec![3, 1, 2, 7, 7, 9]), [(1, 3), (7, 7), (9, 9)]);
        assert_eq!(count(&ranges(vec![3, 1, 2, 7, 7, 9])), 5);
        assert_eq!(ranges(Vec::new()), []);
    }
}
