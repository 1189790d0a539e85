//! The snapshot of a selected mailbox: what its message numbers mean to this session.
//!
//! A row is 16 bytes. [`Selected::refresh`] learns changes from the store;
//! [`Selected::announce`] tells the client, and only there numbers change.

use std::ops::Range;

use base::{AccountId, MailboxId, MessageId, ModSeq, Uid, UidValidity};
use proto::imap::command::Numbering;
use proto::imap::{MessageSet, Writer};
use store::{AccountWatch, MailboxInfo, PlacementRow, Store};

use super::flags::{FlagSet, FlagTable, SETTABLE, SetId};
use super::reply::Failure;
use super::session::Expunges;

/// Rows read from the store at once: each page is a short read transaction.
const PAGE_ROWS: usize = 2_000;

/// Sets of flags beyond the number of rows before the table is made anew.
const STALE_SETS_MAX: usize = 1_024;

/// A message of the snapshot.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    pub(super) message: MessageId,
    pub(super) uid: Uid,
    flags: SetId,
}

/// A selected mailbox.
pub(super) struct Selected {
    pub(super) account: AccountId,
    pub(super) mailbox: MailboxId,
    pub(super) uid_validity: UidValidity,
    pub(super) read_only: bool,
    /// Wakes IDLE.
    pub(super) watch: AccountWatch,
    /// The result that a SEARCH has saved: ascending UIDs (RFC 9051 §6.4.4.1).
    pub(super) saved: Vec<Uid>,
    /// By UID; the index is the message number less one.
    rows: Vec<Row>,
    table: FlagTable,
    state: ModSeq,
    uid_next: Uid,
    /// UIDs that are gone and not yet told; ascending.
    vanished: Vec<Uid>,
    /// UIDs whose flags others have changed, not yet told.
    changed: Vec<Uid>,
    /// How many messages the client knows of.
    exists_told: usize,
    /// How many keywords the client knows of.
    keywords_told: usize,
}

impl Selected {
    /// Reads a mailbox.
    pub(super) async fn open(
        store: &Store,
        account: AccountId,
        info: &MailboxInfo,
        read_only: bool,
    ) -> Result<Self, Failure> {
        let mut selected = Self {
            account,
            mailbox: info.id,
            uid_validity: info.uid_validity,
            read_only,
            watch: store.watch(account),
            saved: Vec::new(),
            rows: Vec::with_capacity(info.status.messages as usize),
            table: FlagTable::default(),
            // Read before the rows, so that what changes meanwhile is learned again below.
            state: info.status.highest_modseq,
            uid_next: info.status.uid_next,
            vanished: Vec::new(),
            changed: Vec::new(),
            exists_told: 0,
            keywords_told: 0,
        };
        let mut from = Uid(1);
        loop {
            let page = store.placements(account, info.id, from, PAGE_ROWS).await?;
            let Some(last) = page.last().map(|row| row.uid) else {
                break;
            };
            let is_last = page.len() < PAGE_ROWS;
            for row in page {
                selected.push(row);
            }
            let Some(next) = last.0.checked_add(1).filter(|_| !is_last) else {
                break;
            };
            from = Uid(next);
        }
        selected.refresh(store).await?;
        selected.forget_vanished();
        selected.changed.clear();
        selected.exists_told = selected.rows.len();
        selected.keywords_told = selected.table.keywords().len();
        Ok(selected)
    }

    /// The messages, as the client knows them and new ones behind.
    pub(super) fn rows(&self) -> &[Row] {
        &self.rows[..self.exists_told]
    }

    pub(super) fn uid_next(&self) -> Uid {
        self.uid_next
    }

    pub(super) fn flags(&self, row: Row) -> &FlagSet {
        self.table.set(row.flags)
    }

    /// The number of the first message without `\Seen`.
    pub(super) fn first_unseen(&self) -> Option<usize> {
        let unseen = |row: &Row| !self.flags(*row).is_seen();
        Some(self.rows.iter().position(unseen)? + 1)
    }

    /// The flags in use and those that are always there, for FLAGS.
    pub(super) fn flag_names(&self) -> Vec<&str> {
        let mut names = SETTABLE.to_vec();
        names.extend(self.table.keywords());
        names
    }

    fn push(&mut self, row: PlacementRow) {
        let flags = self.table.intern(FlagSet {
            deleted: row.deleted,
            keywords: row.keywords,
        });
        self.rows.push(Row {
            message: row.message,
            uid: row.uid,
            flags,
        });
    }

    fn index_of(&self, uid: Uid) -> Result<usize, usize> {
        self.rows.binary_search_by_key(&uid, |row| row.uid)
    }

    /// Learns what changed in the store since the last time.
    pub(super) async fn refresh(&mut self, store: &Store) -> Result<(), Failure> {
        let changes = store
            .mailbox_changes(self.account, self.mailbox, self.state)
            .await?;
        if changes.mailbox_gone {
            return Err(Failure::MailboxGone);
        }
        self.state = changes.until;
        self.uid_next = changes.uid_next;
        for row in changes.changed {
            let uid = row.uid;
            if self.apply(row) {
                self.changed.push(uid);
            }
        }
        for uid in changes.vanished {
            if self.index_of(uid).is_ok() {
                self.vanished.push(uid);
            }
        }
        self.vanished.sort_unstable();
        self.vanished.dedup();
        self.compact();
        Ok(())
    }

    /// Takes over a placement; true if it was known and its flags are other ones now.
    pub(super) fn apply(&mut self, row: PlacementRow) -> bool {
        match self.index_of(row.uid) {
            Ok(index) => {
                let flags = self.table.intern(FlagSet {
                    deleted: row.deleted,
                    keywords: row.keywords,
                });
                let differs = self.rows[index].flags != flags;
                self.rows[index].flags = flags;
                differs
            }
            Err(index) if index == self.rows.len() => {
                self.push(row);
                false
            }
            // Gone and told already; the change is older than that.
            Err(_) => false,
        }
    }

    /// Tells what is new. Message numbers change here and nowhere else.
    pub(super) fn announce(&mut self, writer: &mut Writer, expunges: Expunges) {
        self.announce_keywords(writer);
        let changed = std::mem::take(&mut self.changed);
        for uid in changed {
            if let Ok(index) = self.index_of(uid)
                && index < self.exists_told
            {
                self.write_flags(writer, index);
            }
        }
        if expunges == Expunges::Told && !self.vanished.is_empty() {
            // From the highest down, so that no number shifts under the next.
            for index in self.vanished_indexes().into_iter().rev() {
                if index < self.exists_told {
                    writer.display(format_args!("* {} EXPUNGE\r\n", index + 1));
                    self.exists_told -= 1;
                }
            }
            self.forget_vanished();
        }
        // RFC 9051 §7.4.1: a number may grow while removals wait.
        if self.rows.len() > self.exists_told {
            self.exists_told = self.rows.len();
            writer.display(format_args!("* {} EXISTS\r\n", self.exists_told));
        }
    }

    /// RFC 9051 §7.3.5: FLAGS is told again when a keyword is new.
    pub(super) fn announce_keywords(&mut self, writer: &mut Writer) {
        let count = self.table.keywords().len();
        if count > self.keywords_told {
            self.keywords_told = count;
            writer.raw("* FLAGS ");
            writer.list(self.flag_names());
            writer.end();
        }
    }

    /// `* n FETCH (UID … FLAGS …)`.
    pub(super) fn write_flags(&self, writer: &mut Writer, index: usize) {
        let row = self.rows[index];
        let flags = self.flags(row);
        let number = index + 1;
        writer.display(format_args!(
            "* {number} FETCH (UID {} FLAGS {flags})\r\n",
            row.uid
        ));
    }

    /// Whether a message is gone and only its number is still counted.
    pub(super) fn is_gone(&self, row: Row) -> bool {
        self.vanished.binary_search(&row.uid).is_ok()
    }

    fn vanished_indexes(&self) -> Vec<usize> {
        let gone = self.vanished.iter();
        gone.filter_map(|uid| self.index_of(*uid).ok()).collect()
    }

    fn forget_vanished(&mut self) {
        let indexes = self.vanished_indexes();
        let mut gone = indexes.iter().copied().peekable();
        let mut index = 0;
        self.rows.retain(|_| {
            let goes = gone.next_if_eq(&index).is_some();
            index += 1;
            !goes
        });
        self.vanished.clear();
        let rows = &self.rows;
        self.saved
            .retain(|uid| rows.binary_search_by_key(uid, |row| row.uid).is_ok());
    }

    /// Makes the table of flag sets anew when most of it is not used any more.
    fn compact(&mut self) {
        if self.table.len() <= self.rows.len() + STALE_SETS_MAX {
            return;
        }
        let mut table = FlagTable::default();
        for row in &mut self.rows {
            row.flags = table.intern(self.table.set(row.flags).clone());
        }
        self.table = table;
        self.keywords_told = self.table.keywords().len();
    }

    /// The rows that a set names, as ascending ranges of indexes.
    ///
    /// RFC 9051 §6.4.9: UIDs that do not exist are passed over; message numbers that do not exist
    /// are an error.
    pub(super) fn resolve(
        &self,
        numbering: Numbering,
        set: &MessageSet,
    ) -> Result<Vec<Range<usize>>, Failure> {
        let rows = self.rows();
        match (set, numbering) {
            (MessageSet::Saved, _) => Ok(self.saved_ranges()),
            (MessageSet::Set(set), Numbering::Sequence) => {
                let count = u32::try_from(rows.len()).unwrap_or(u32::MAX);
                let ranges = set.ranges(count);
                if ranges.last().is_some_and(|range| *range.end() > count) {
                    return Err(Failure::MessageNumber);
                }
                let to_indexes = |range: std::ops::RangeInclusive<u32>| {
                    *range.start() as usize - 1..*range.end() as usize
                };
                Ok(ranges.into_iter().map(to_indexes).collect())
            }
            (MessageSet::Set(set), Numbering::Uid) => {
                let largest = rows.last().map_or(0, |row| row.uid.0);
                let to_indexes = |range: std::ops::RangeInclusive<u32>| {
                    let start = rows.partition_point(|row| row.uid.0 < *range.start());
                    let end = rows.partition_point(|row| row.uid.0 <= *range.end());
                    start..end
                };
                let ranges = set.ranges(largest).into_iter().map(to_indexes);
                Ok(ranges.filter(|range| !range.is_empty()).collect())
            }
        }
    }

    fn saved_ranges(&self) -> Vec<Range<usize>> {
        let mut ranges: Vec<Range<usize>> = Vec::new();
        for uid in &self.saved {
            let Ok(index) = self.index_of(*uid) else {
                continue;
            };
            match ranges.last_mut() {
                Some(last) if last.end == index => last.end += 1,
                Some(_) | None => ranges.push(index..index + 1),
            }
        }
        ranges
    }

    /// The UIDs of the rows that a set names, ascending.
    pub(super) fn uids(&self, numbering: Numbering, set: &MessageSet) -> Result<Vec<Uid>, Failure> {
        let ranges = self.resolve(numbering, set)?;
        let rows = ranges.into_iter().flat_map(|range| &self.rows[range]);
        Ok(rows.map(|row| row.uid).collect())
    }
}
