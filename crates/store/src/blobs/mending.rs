//! Letters that come again although their bytes are lost: a segment file or an object that is gone or
//! damaged. Their rows are there, and trusting these would acknowledge a letter that nobody can read.
//!
//! So what rows name outside the database is read before a letter counts as stored, past the read
//! cache, which is no copy to rely on. What cannot be read is put into the home anew, and the rows
//! name the new place, for all messages of that letter. A letter that is new costs nothing of this.

use bytes::Bytes;

use super::home::{Got, IN_ROW, Put};
use super::moving::{FindStored, Move, Rename, Stored};
use super::segments::Record;
use crate::engine::{Body, Priority, Tx, params};
use crate::prepare::{PART_BYTES, compressed};
use crate::{Letter, Store, StoreError};

/// Parts that are read at once.
const AT_ONCE: usize = 8;
/// Rows that one transaction changes.
const ROWS_MAX: usize = 128;

impl Store {
    /// In how many parts a letter is stored already outside the database; 0 if it is not, or if its
    /// blob may be about to go. Saves compressing and writing it once more; it may be stored by
    /// somebody else a moment later, which leaves dead bytes and no harm. What cannot be read is
    /// stored anew.
    ///
    /// # Errors
    /// Those of reading and of storing anew: a home that is away says nothing about the bytes.
    pub(crate) async fn parts_stored(&self, letter: &Letter) -> Result<usize, StoreError> {
        let bytes = letter.bytes().len() as u64;
        if !self.0.homes.takes(bytes) {
            return Ok(0);
        }
        let hash = *letter.hash();
        let known = self.0.engine.read(FindKnown { hash }).await?;
        let lost = self.lost_parts(hash, &known.parts).await?;
        if !lost.is_empty() {
            self.mend(letter, lost).await?;
        }
        let all = bytes.div_ceil(PART_BYTES as u64).max(1);
        let is_stored = known.parts.len() as u64 == all && !known.is_condemned;
        Ok(if is_stored { known.parts.len() } else { 0 })
    }

    /// The parts whose bytes are not where their rows say.
    async fn lost_parts(
        &self,
        hash: [u8; 32],
        parts: &[Stored],
    ) -> Result<Vec<Stored>, StoreError> {
        let mut lost = Vec::new();
        for parts in parts.chunks(AT_ONCE) {
            let mut looks = tokio::task::JoinSet::new();
            for part in parts.iter().filter(|part| part.place.segment != IN_ROW) {
                let (store, part) = (self.clone(), part.clone());
                looks.spawn(async move {
                    let got = store.0.homes.get_original(part.name, part.place).await;
                    (part, got)
                });
            }
            while let Some(ended) = looks.join_next().await {
                let (part, got) =
                    ended.map_err(|error| StoreError::Bug(format!("reading failed: {error}")))?;
                match got? {
                    Got::Bytes(_) => {}
                    Got::Nothing | Got::Damaged(_) => lost.push(part),
                }
            }
        }
        if lost.is_empty() {
            return Ok(lost);
        }
        // What was moved between the two looks is not lost.
        let now = self.0.engine.read(FindStored { hash }).await?;
        lost.retain(|part| {
            now.iter()
                .any(|row| (row.name, row.place) == (part.name, part.place))
        });
        lost.sort_by_key(|part| part.name.part);
        Ok(lost)
    }

    /// Stores parts of a letter anew.
    async fn mend(&self, letter: &Letter, lost: Vec<Stored>) -> Result<(), StoreError> {
        let fresh = compressed(letter).await?;
        let name = blake3::Hash::from_bytes(*letter.hash()).to_hex();
        tracing::warn!(
            hash = %name,
            parts = lost.len(),
            "a letter came again whose bytes were lost: they are stored anew"
        );
        // Almost always one: parts of two uploads come together only where one was cut short.
        for lost in lost.chunk_by(|one, next| one.name.blob_id == next.name.blob_id) {
            let mut records = Vec::with_capacity(lost.len());
            for part in lost {
                let fresh = usize::try_from(part.name.part)
                    .ok()
                    .and_then(|at| fresh.get(at));
                let fresh = fresh.filter(|fresh| fresh.plain_bytes == part.plain_bytes);
                let Some(fresh) = fresh else {
                    let why = "a letter's bytes are lost, and its parts were of another size";
                    return Err(StoreError::Io(why.to_owned()));
                };
                records.push(Record {
                    name: part.name,
                    coding: fresh.coding,
                    plain_bytes: fresh.plain_bytes,
                    stored: fresh.data.clone(),
                });
            }
            let codings: Vec<_> = records.iter().map(|record| record.coding).collect();
            // Kept until the last of the transactions is over.
            let Put { places, pending } = self.0.homes.put_moved(&self.0.engine, records).await?;
            let moves = lost.iter().zip(places).zip(codings);
            let moves: Vec<Move> = moves
                .map(|((part, to), coding)| Move {
                    name: part.name,
                    from: part.place,
                    to,
                    coding,
                    data: Bytes::new(),
                })
                .collect();
            for moves in moves.chunks(ROWS_MAX) {
                let moves = moves.to_vec();
                let body = Rename { moves };
                self.0.engine.write(body, Priority::Part).await?;
            }
            drop(pending);
        }
        Ok(())
    }
}

/// What rows say of a blob.
struct Known {
    parts: Vec<Stored>,
    is_condemned: bool,
}

struct FindKnown {
    hash: [u8; 32],
}

impl Body for FindKnown {
    type Out = Known;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Known, StoreError> {
        let parts = FindStored { hash: self.hash }.run(tx).await?;
        let sql = "SELECT 1 FROM condemned WHERE hash = $1";
        let is_condemned = !parts.is_empty() && tx.row(sql, params![&self.hash]).await?.is_some();
        Ok(Known {
            parts,
            is_condemned,
        })
    }
}
