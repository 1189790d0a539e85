//! Checks that what rows say of segments is true: every record is there, alone at its place, and
//! whole; numbers of files are not about to be given again.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::compaction::PlacedPart;
use super::segments::{HEADER_BYTES, ReadError, Segments};
use crate::engine::{Body, Tx, params};
use crate::{Store, StoreError};

/// Rows of one look: a short snapshot each.
const PAGE_ROWS: i64 = 500;
/// Without `deep`, the records of one row in so many are read.
const SAMPLE: u64 = 64;
/// Lines reported.
const LINES_MAX: usize = 20;

impl Store {
    /// Checks the letters that are in segment files; returns what is wrong, a line each. With `deep`
    /// every record is read and compared with its checksum, otherwise one in 64, and of the others
    /// only that the file is long enough.
    ///
    /// # Errors
    /// Those of reading the database and the folder.
    pub async fn verify_segments(&self, deep: bool) -> Result<Vec<String>, StoreError> {
        let Some(segments) = self.0.homes.segments().cloned() else {
            return self.0.engine.read(CountLost).await;
        };
        // Nothing is removed meanwhile: what is missing is lost.
        let _kept = self.0.homes.keep();
        let mut check = Check::new(&segments, deep)?;
        let number = self.0.engine.read(NextNumber).await?;
        check.number(number);
        let mut after = (0, -1);
        while check.lines.len() < LINES_MAX {
            let page = self.0.engine.read(FindPage { after }).await?;
            let Some(last) = page.last() else {
                break;
            };
            after = (last.place.segment, last.place.offset);
            let work = move || {
                for part in page {
                    check.part(&part);
                }
                check
            };
            let done = tokio::task::spawn_blocking(work).await;
            check = done.map_err(|error| StoreError::Bug(format!("checking failed: {error}")))?;
        }
        check.lines.truncate(LINES_MAX);
        Ok(check.lines)
    }
}

/// A check under way.
struct Check {
    segments: Arc<Segments>,
    deep: bool,
    /// Bytes of each file when the check began; a row may name more only in a file that still grew.
    files: BTreeMap<i64, u64>,
    /// Where the last part ended.
    end: (i64, i64),
    rows: u64,
    lines: Vec<String>,
}

impl Check {
    fn new(segments: &Arc<Segments>, deep: bool) -> Result<Self, StoreError> {
        let files = segments.files()?;
        Ok(Self {
            segments: Arc::clone(segments),
            deep,
            files: files.iter().map(|file| (file.number, file.bytes)).collect(),
            end: (0, 0),
            rows: 0,
            lines: Vec::new(),
        })
    }

    /// The counter of numbers must be above every file that was there before it was read.
    fn number(&mut self, next: i64) {
        if let Some((highest, _)) = self.files.last_key_value()
            && *highest >= next
            && !self.segments.knows_number(*highest)
        {
            self.lines.push(format!(
                "next number, segment file: a number that would be given again: {next} {highest}"
            ));
        }
    }

    fn part(&mut self, part: &PlacedPart) {
        let place = part.place;
        if self.end.0 == place.segment && self.end.1 > place.offset {
            self.tell(part, "two parts of letters overlap");
        }
        let bytes = HEADER_BYTES as i64 + place.stored_bytes;
        self.end = (place.segment, place.offset.saturating_add(bytes));
        let is_read = self.deep || self.rows.is_multiple_of(SAMPLE);
        self.rows += 1;
        let known = self.files.get(&place.segment).copied().unwrap_or(0);
        let is_within = u64::try_from(self.end.1).is_ok_and(|end| end <= known);
        // A file that has grown since is looked at by reading.
        if is_within && !is_read {
            return;
        }
        match self.segments.read(place, &part.name) {
            Ok(_) => {}
            Err(ReadError::Gone) => self.tell(part, "the file is missing"),
            Err(ReadError::Damaged(error) | ReadError::Failed(error)) => {
                self.tell(part, &error.to_string())
            }
        }
    }

    fn tell(&mut self, part: &PlacedPart, why: &str) {
        self.lines.push(format!(
            "segment, place, blob, part: {why}: {} {} {} {}",
            part.place.segment, part.place.offset, part.name.blob_id, part.name.part
        ));
    }
}

/// What the counter of segment numbers says.
struct NextNumber;

impl Body for NextNumber {
    type Out = i64;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<i64, StoreError> {
        let sql = "SELECT next FROM sequence WHERE name = 'segment'";
        tx.row(sql, &[]).await?.map_or(Ok(1), |row| row.int(0))
    }
}

/// Rows that name segments although there is no folder of them.
struct CountLost;

impl Body for CountLost {
    type Out = Vec<String>;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Vec<String>, StoreError> {
        let sql = "SELECT count(*) FROM blob WHERE segment > 0";
        let lost = tx.one(sql, &[]).await?.unsigned(0)?;
        let line = format!("parts of letters: in segment files, whose folder is missing: {lost}");
        Ok(if lost == 0 { Vec::new() } else { vec![line] })
    }
}

/// The next parts in all segments, in their order there.
struct FindPage {
    after: (i64, i64),
}

impl Body for FindPage {
    type Out = Vec<PlacedPart>;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Vec<PlacedPart>, StoreError> {
        let sql = "SELECT hash, part, blob_id, segment, place, stored_bytes, checksum FROM blob
            WHERE segment > 0 AND (segment, place) > ($1, $2)
            ORDER BY segment, place LIMIT $3";
        let (segment, place) = self.after;
        let mut rows = tx.rows(sql, params![segment, place, PAGE_ROWS]).await?;
        rows.iter_mut().map(PlacedPart::of).collect()
    }
}
