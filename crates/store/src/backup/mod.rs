//! Backups: a folder with restore points, which share the bytes of letters.
//!
//! ```text
//! FOLDER/lock                        held while a run works
//! FOLDER/points/ID/manifest.json     a restore point; there only when it is whole
//! FOLDER/points/ID/tables/NAME.zst   rows, see `table_file`
//! FOLDER/points/ID/blobs.zst         which blobs belong to it: hash, id, bytes
//! FOLDER/points/ID/store.key         the key of the secrets, if it was asked for
//! FOLDER/blobs/N.pack, N.index       bytes of letters, see `pack`
//! ```
//!
//! A run writes the rows from one snapshot, then appends the blobs that no pack has yet, then
//! names the restore point. Killed at any moment, it leaves the earlier points as they were, and
//! the packs that it finished are used by the next run. While it runs, the collector of blobs waits
//! ([`crate::hold`]), so that no blob that the snapshot names goes away.
//!
//! The format belongs to no engine. It does not hold what can be made again: the search index, and
//! what nodes know of each other.

mod check;
mod folder;
mod pack;
mod point;
mod prune;
mod run;
mod source;
mod table_file;

pub use check::PointCheck;
pub use point::{Manifest, TableEntry};
pub use run::{BackupOptions, BackupReport};

pub(crate) use check::each_slice;
pub(crate) use folder::{BackupFolder, Use, sync, write_whole};
pub(crate) use pack::{Fragment, Known, Record};
pub(crate) use point::BlobEntry;
pub(crate) use run::{CopyOut, blocking, blocking_task, joined};
pub(crate) use table_file::TableReader;

use std::path::Path;
use std::sync::Arc;

use crate::StoreError;

/// The tables that a backup holds and a move carries, in the order in which they are written.
pub(crate) const CARRIED: &[&str] = &[
    "server_secret",
    "sequence",
    "domain",
    "dkim_key",
    "sts_policy",
    "tls_outcome",
    "suppression",
    "dmarc_outcome",
    "report",
    "report_row",
    "address",
    "alias_target",
    "list",
    "list_member",
    "list_request",
    "send_right",
    "send_limit",
    "sent",
    "sent_domain",
    "account",
    "credential",
    "app_password",
    "mailbox",
    "message",
    "placement",
    "removed",
    "expunged",
    "change",
    "thread_key",
    "import_state",
    "letter",
    "recipient",
    "list_held",
    "list_sending",
    "delivery",
    "journey",
    "letter_name",
    "condemned",
];

/// The tables that are not carried, and why.
#[cfg(test)]
const NOT_CARRIED: &[(&str, &str)] = &[
    ("alert", "what is wrong now, and is found again"),
    (
        "blob",
        "bytes of letters travel one by one, to whatever home the target has",
    ),
    ("directory_change", "news for nodes that run now"),
    ("job", "who works now"),
    ("node", "who is alive now"),
    (
        "object_note",
        "whose objects they are; the target writes its own",
    ),
    ("schema_version", "the target has its own"),
    ("segment", "where this store keeps bytes"),
    ("search_block", "can be made again"),
    ("search_dead", "can be made again"),
    ("search_progress", "can be made again"),
    ("search_segment", "can be made again"),
];

/// What is under way, for a bar of progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The step, in words: `rows`, `letters`, `checking`, …
    pub step: &'static str,
    /// How much of it is done; rows or letters.
    pub done: u64,
    /// How much there is; 0: not known.
    pub total: u64,
}

/// Who is told of progress. It is called often and must be quick.
pub type Watcher = Arc<dyn Fn(Progress) + Send + Sync>;

/// The restore points of a folder, oldest first.
///
/// # Errors
/// When the folder is not a backup or cannot be read.
pub fn list(folder: &Path) -> Result<Vec<Manifest>, StoreError> {
    BackupFolder::open(folder, Use::Read)?.points()
}

/// Reads all of a restore point (the newest when `id` is not given) and compares checksums and
/// hashes. Blocks.
///
/// # Errors
/// When the folder is not a backup or cannot be read. What is damaged is in the answer.
pub fn check(folder: &Path, id: Option<&str>, watcher: &Watcher) -> Result<PointCheck, StoreError> {
    let folder = BackupFolder::open(folder, Use::Read)?;
    let point = folder.find(id)?;
    check::check(&folder, &point, watcher)
}

/// An error of a file, with its path.
pub(crate) fn at(path: &Path, error: std::io::Error) -> StoreError {
    match crate::letter::io(error) {
        StoreError::Io(why) => StoreError::Io(format!("{}: {why}", path.display())),
        other => other,
    }
}

/// Something in a backup is not as it was written.
pub(crate) fn damaged(path: &Path, what: &str) -> StoreError {
    StoreError::Io(format!("the backup is damaged: {}: {what}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_table_is_carried_or_has_a_reason() {
        for (table, _) in crate::TABLES {
            let carried = CARRIED.contains(table);
            let reason = NOT_CARRIED.iter().any(|(name, _)| name == table);
            assert!(
                carried ^ reason,
                "{table}: carried {carried}, has a reason {reason}"
            );
        }
    }
}
