//! Gives the room of dead records back: moves what is alive out of segments that are mostly dead, and
//! removes files that no row names.
//!
//! A crash at any point loses nothing. Records are copied and flushed first; then a transaction moves
//! their rows, each only where it still names the old place; the file is removed long after. So every
//! row names a whole record at every moment, and what a crash leaves is dead bytes for a later round.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::home::{Place, append};
use super::segments::{HEADER_BYTES, Name, Pending, ReadError, Record, SegmentFile, Segments};
use crate::engine::{Body, Priority, Row, Tx, params};
use crate::{Store, StoreError};

/// How long a file stays after its last row is gone. A copy of the store that was begun before holds
/// it anyway; this is for one that somebody makes by hand.
const GRACE: Duration = Duration::from_secs(3_600);
/// A segment is compacted when so much of it is dead. At a half, one byte is copied for each byte that
/// is given back, and files take at most twice the room of what is alive in them.
const DEAD_PERCENT_MIN: u64 = 50;
/// More files than these that are smaller than this are put together: each start of the node begins a
/// new one, and may be the next start comes soon.
const SMALL_FILES_MAX: usize = 32;
const SMALL_BYTES: u64 = 4 * 1024 * 1024;
/// Rows that are moved in one transaction, and bytes that are in memory meanwhile.
const MOVE_ROWS: i64 = 64;
const MOVE_BYTES_MAX: i64 = 4 * 1024 * 1024;

impl Store {
    /// One round of compaction over all segments. A second one that is begun meanwhile does nothing.
    ///
    /// # Errors
    /// Those of reading and writing; [`StoreError::DiskFull`] where not even a copy fits.
    pub(crate) async fn compact_segments(&self) -> Result<(), StoreError> {
        let Some(segments) = self.0.homes.segments().cloned() else {
            return Ok(());
        };
        let Ok(_alone) = self.0.homes.compacting.try_lock() else {
            return Ok(());
        };
        let listed = Arc::clone(&segments);
        let files = blocking(move || listed.files()).await?;
        let is_small = |file: &SegmentFile| file.bytes < SMALL_BYTES;
        let are_too_many = files.iter().filter(|file| is_small(file)).count() > SMALL_FILES_MAX;
        for file in files {
            // Before the rows are looked at: what is pending now may be in them later.
            let is_free = segments.is_free(file.number);
            let body = FindUse {
                segment: file.number,
            };
            let used = self.0.engine.read(body).await?;
            if used.rows == 0 {
                self.remove_later(&segments, file.number, is_free).await?;
            } else {
                segments.is_named(file.number);
                let is_wanted = is_mostly_dead(&file, used) || are_too_many && is_small(&file);
                if is_wanted && segments.is_full(file.number) {
                    self.move_records(&segments, file.number).await?;
                }
            }
        }
        Ok(())
    }

    /// Removes a file that no row names, once it has been so for the grace.
    async fn remove_later(
        &self,
        segments: &Arc<Segments>,
        number: i64,
        is_free: bool,
    ) -> Result<(), StoreError> {
        if !is_free {
            segments.is_named(number);
            return Ok(());
        }
        let now = self.0.shared.now();
        if segments.unnamed_since(number, now) > now - GRACE {
            return Ok(());
        }
        let segments = Arc::clone(segments);
        blocking(move || segments.remove(number)).await?;
        tracing::info!(segment = number, "removed a segment that no letter is in");
        Ok(())
    }

    /// Moves all records of a segment that are alive to the one that grows. What cannot be read stays
    /// where it is, and so does the file.
    async fn move_records(&self, segments: &Arc<Segments>, number: i64) -> Result<(), StoreError> {
        let mut after = -1;
        loop {
            let started = Instant::now();
            let body = FindParts {
                segment: number,
                after,
                limit: MOVE_ROWS,
            };
            let mut parts = self.0.engine.read(body).await?;
            let mut bytes = 0;
            let fit = parts.iter().take_while(|part| {
                bytes += part.place.stored_bytes;
                bytes <= MOVE_BYTES_MAX
            });
            parts.truncate(fit.count().max(1));
            let Some(last) = parts.last() else {
                return Ok(());
            };
            after = last.place.offset;
            self.move_some(segments, parts).await?;
            // Half of the time is left to those who wait for the disk.
            tokio::time::sleep(started.elapsed()).await;
        }
    }

    async fn move_some(
        &self,
        segments: &Arc<Segments>,
        parts: Vec<PlacedPart>,
    ) -> Result<(), StoreError> {
        let reading = Arc::clone(segments);
        let read = move || Ok(read_all(&reading, parts));
        let (parts, records): (Vec<_>, Vec<_>) = blocking(read).await?.into_iter().unzip();
        let put = append(&self.0.engine, segments, records).await?;
        let body = MoveParts {
            moves: parts.into_iter().zip(put.places).collect(),
            _pending: put.pending,
        };
        self.0.engine.write(body, Priority::Bulk).await
    }
}

/// Reads records; those that cannot be read are left out and logged.
fn read_all(segments: &Segments, parts: Vec<PlacedPart>) -> Vec<(PlacedPart, Record)> {
    let mut read = Vec::with_capacity(parts.len());
    for part in parts {
        match segments.read(part.place, &part.name) {
            Ok(record) => read.push((part, record)),
            Err(ReadError::Gone) => {
                tracing::error!(segment = part.place.segment, "a segment file is missing");
            }
            Err(ReadError::Damaged(error) | ReadError::Failed(error)) => {
                tracing::error!(%error, "a part of a letter cannot be moved");
            }
        }
    }
    read
}

fn is_mostly_dead(file: &SegmentFile, used: Use) -> bool {
    let alive = used.stored_bytes + used.rows * HEADER_BYTES as u64;
    file.bytes.saturating_sub(alive).saturating_mul(100)
        >= file.bytes.saturating_mul(DEAD_PERCENT_MIN)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| StoreError::Bug(format!("work on segments failed: {error}")))?
}

/// What rows name of a segment.
#[derive(Clone, Copy, Debug)]
struct Use {
    rows: u64,
    stored_bytes: u64,
}

/// Sums up what rows name of a segment. This and the other statements here belong to no account.
struct FindUse {
    segment: i64,
}

impl Body for FindUse {
    type Out = Use;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Use, StoreError> {
        let sql = "SELECT count(*), CAST(coalesce(sum(stored_bytes), 0) AS BIGINT) FROM blob
            WHERE segment > 0 AND segment = $1";
        let row = tx.one(sql, params![self.segment]).await?;
        Ok(Use {
            rows: row.unsigned(0)?,
            stored_bytes: row.unsigned(1)?,
        })
    }
}

/// A part with its place.
#[derive(Clone, Copy, Debug)]
pub(super) struct PlacedPart {
    pub name: Name,
    pub place: Place,
}

impl PlacedPart {
    /// From `hash, part, blob_id, segment, place, stored_bytes, checksum`.
    pub(super) fn of(row: &mut Row) -> Result<Self, StoreError> {
        Ok(Self {
            name: Name {
                hash: row.hash(0)?,
                part: u32::try_from(row.unsigned(1)?).unwrap_or(u32::MAX),
                blob_id: row.int(2)?,
            },
            place: Place {
                segment: row.int(3)?,
                offset: row.int(4)?,
                stored_bytes: row.int(5)?,
                checksum: row.int(6)?,
            },
        })
    }
}

/// The next parts in a segment, in their order there.
struct FindParts {
    segment: i64,
    after: i64,
    limit: i64,
}

impl Body for FindParts {
    type Out = Vec<PlacedPart>;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Vec<PlacedPart>, StoreError> {
        let sql = "SELECT hash, part, blob_id, segment, place, stored_bytes, checksum FROM blob
            WHERE segment > 0 AND segment = $1 AND place > $2 ORDER BY place LIMIT $3";
        let values = params![self.segment, self.after, self.limit];
        let mut rows = tx.rows(sql, values).await?;
        rows.iter_mut().map(PlacedPart::of).collect()
    }
}

/// Names the new places of parts that were copied. A part that was removed, or stored again
/// elsewhere, is left alone: its copy is dead.
struct MoveParts {
    moves: Vec<(PlacedPart, Place)>,
    _pending: Vec<Pending>,
}

impl Body for MoveParts {
    type Out = ();

    async fn run(&self, tx: &mut Tx<'_>) -> Result<(), StoreError> {
        let sql = "UPDATE blob SET segment = $5, place = $6
            WHERE hash = $1 AND part = $2 AND segment = $3 AND place = $4";
        for (part, to) in &self.moves {
            let (name, from) = (&part.name, part.place);
            let number = i64::from(name.part);
            let values = params![
                &name.hash,
                number,
                from.segment,
                from.offset,
                to.segment,
                to.offset
            ];
            tx.execute(sql, values).await?;
        }
        Ok(())
    }
}
