//! Moves letters that are stored already to the home that takes new ones, on a running store, a
//! blob at a time.
//!
//! What is to be moved is what rows say: a part whose home is not the one where such a letter would
//! be kept today. So a move that was interrupted goes on by being asked again, and there is nothing
//! to clean up but what every crash leaves: copies that no row names. A part is copied first and
//! durable; then its row changes, only where it still names the old place; then the old bytes go.
//! Readers that come in between look at the row once more.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::home::{Got, IN_OBJECT, IN_ROW, Place, Put};
use super::object_home::object_of;
use super::objects::ObjectName;
use super::orphans::named_objects;
use super::segments::{Name, Record};
use super::{NOWHERE, TOGETHER_BYTES_MAX};
use crate::engine::{Body, Priority, Tx, params};
use crate::letter::share;
use crate::prepare::Coding;
use crate::{Store, StoreError};

/// Blobs that one look at the rows gives.
const LOOK_MAX: i64 = 64;
/// Blobs that are moved at once: an object store answers each after 20 ms or more, and takes many.
const AT_ONCE: usize = 8;
/// Rows that one transaction changes when no bytes go into them.
const ROWS_MAX: usize = 128;

/// How far a move has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BlobMove {
    /// The last blob that was looked at; given to the next call.
    pub after: Option<[u8; 32]>,
    /// Letters that were looked at.
    pub seen: u64,
    /// Letters that were moved.
    pub moved: u64,
    /// Bytes of these, before compression.
    pub bytes: u64,
    /// Letters that could not be read and stay where they are; the log says why.
    pub left: u64,
    /// Whether all have been looked at.
    pub is_done: bool,
}

impl Store {
    /// Moves letters to the home that takes new ones, for about so long, and tells how far it has
    /// come. Call it with what the last call gave until it is done; without that it begins anew, and
    /// passes over what is moved already.
    ///
    /// # Errors
    /// Those of writing to the home; what was moved until then stays moved.
    pub async fn bring_blobs_home(
        &self,
        mut progress: BlobMove,
        span: Duration,
    ) -> Result<BlobMove, StoreError> {
        let until = Instant::now() + span;
        while !progress.is_done && Instant::now() < until {
            let look = FindBlobs {
                after: progress.after.unwrap_or([0; 32]),
            };
            let blobs = self.0.engine.read(look).await?;
            progress.is_done = blobs.is_empty();
            for blobs in blobs.chunks(AT_ONCE) {
                let mut moves = tokio::task::JoinSet::new();
                for blob in blobs {
                    let (store, blob) = (self.clone(), *blob);
                    moves.spawn(async move { (blob, store.move_blob(blob).await) });
                }
                while let Some(ended) = moves.join_next().await {
                    let (blob, moved) = ended
                        .map_err(|error| StoreError::Bug(format!("moving failed: {error}")))?;
                    match moved {
                        Ok(true) => {
                            progress.moved += 1;
                            progress.bytes += blob.total_bytes;
                        }
                        Ok(false) => {}
                        Err(MoveError::Unreadable(error)) => {
                            tracing::error!(%error, "a letter cannot be moved");
                            progress.left += 1;
                        }
                        Err(MoveError::Failed(error)) => return Err(error),
                    }
                }
                progress.seen += blobs.len() as u64;
                progress.after = blobs.last().map(|blob| blob.hash);
            }
        }
        Ok(progress)
    }

    /// How many letters there are, for a progress bar.
    ///
    /// # Errors
    /// Those of reading.
    pub async fn count_blobs(&self) -> Result<u64, StoreError> {
        self.0.engine.read(CountBlobs).await
    }

    /// Moves one blob; `false` if it is where it belongs.
    async fn move_blob(&self, blob: Blob) -> Result<bool, MoveError> {
        let homes = &self.0.homes;
        let is_outside = homes.takes(blob.total_bytes);
        let parts = FindStored { hash: blob.hash };
        let mut parts = self.0.engine.read(parts).await?;
        parts.retain(|part| !homes.is_at_home(is_outside, part.place.segment));
        if parts.is_empty() {
            return Ok(false);
        }
        let _share = share(&self.0.memory, blob.total_bytes).await?;
        let mut touched: BTreeSet<ObjectName> = objects(parts.iter().map(|part| part.place_of()));
        // Almost always one: parts of two uploads come together only where one was cut short.
        for parts in parts.chunk_by(|one, next| one.name.blob_id == next.name.blob_id) {
            if is_outside {
                touched.extend(self.move_out(parts).await?);
            } else {
                self.move_in(parts).await?;
            }
        }
        if let Some(home) = homes.objects() {
            // What was emptied, and a copy that came too late for its row.
            let named = self.0.engine.read(FindNamed { hash: blob.hash }).await?;
            let unnamed: Vec<_> = touched.difference(&named).copied().collect();
            home.remove(&unnamed).await;
        }
        Ok(true)
    }

    /// Copies parts of one upload to the home outside the database, and names them there. Gives the
    /// objects that were made.
    async fn move_out(&self, parts: &[Stored]) -> Result<BTreeSet<ObjectName>, MoveError> {
        let mut records = Vec::with_capacity(parts.len());
        for part in parts {
            records.push(Record {
                name: part.name,
                coding: part.coding,
                plain_bytes: part.plain_bytes,
                stored: self.stored_bytes(part).await?,
            });
        }
        // Kept until the last of the transactions is over.
        let Put { places, pending } = self.0.homes.put_moved(&self.0.engine, records).await?;
        let moves: Vec<Move> = parts
            .iter()
            .zip(&places)
            .map(|(part, to)| Move {
                name: part.name,
                from: part.place,
                to: *to,
                coding: part.coding,
                data: Bytes::new(),
            })
            .collect();
        for moves in moves.chunks(ROWS_MAX) {
            let moves = moves.to_vec();
            self.0
                .engine
                .write(Rename { moves }, Priority::Bulk)
                .await?;
        }
        drop(pending);
        Ok(objects(moves.iter().map(|part| (part.name, part.to))))
    }

    /// Copies parts into their rows.
    async fn move_in(&self, parts: &[Stored]) -> Result<(), MoveError> {
        let mut parts = parts.iter().peekable();
        while parts.peek().is_some() {
            let mut moves = Vec::new();
            let mut bytes = 0;
            while let Some(part) = parts.next_if(|_| bytes < TOGETHER_BYTES_MAX) {
                let data = self.stored_bytes(part).await?;
                bytes += data.len();
                moves.push(Move {
                    name: part.name,
                    from: part.place,
                    to: NOWHERE,
                    coding: part.coding,
                    data,
                });
            }
            self.0
                .engine
                .write(Rename { moves }, Priority::Bulk)
                .await?;
        }
        Ok(())
    }

    /// The bytes of a part as they are stored, wherever that is.
    async fn stored_bytes(&self, part: &Stored) -> Result<Bytes, MoveError> {
        if part.place.segment == IN_ROW {
            let row = FindData { name: part.name };
            return Ok(self.0.engine.read(row).await?.into());
        }
        match self.0.homes.get(part.name, part.place).await {
            Ok(Got::Bytes(bytes)) => Ok(bytes),
            Ok(Got::Nothing) => Err(MoveError::Unreadable(super::lost(part.place))),
            Ok(Got::Damaged(error)) => Err(MoveError::Unreadable(error)),
            Err(error) => Err(MoveError::Unreadable(error)),
        }
    }
}

/// The objects among places of parts.
fn objects(places: impl Iterator<Item = (Name, Place)>) -> BTreeSet<ObjectName> {
    places
        .filter(|(_, place)| place.segment == IN_OBJECT)
        .map(|(name, place)| object_of(name.hash, name.blob_id, place).0)
        .collect()
}

/// Why a blob was not moved.
enum MoveError {
    /// It cannot be read where it is.
    Unreadable(StoreError),
    /// The store or the new home fails.
    Failed(StoreError),
}

impl From<StoreError> for MoveError {
    fn from(error: StoreError) -> Self {
        Self::Failed(error)
    }
}

/// A blob to look at.
#[derive(Clone, Copy)]
struct Blob {
    hash: [u8; 32],
    total_bytes: u64,
}

/// A part as its row says, without its bytes.
#[derive(Clone)]
pub(super) struct Stored {
    pub name: Name,
    pub coding: Coding,
    pub plain_bytes: u32,
    pub place: Place,
}

impl Stored {
    fn place_of(&self) -> (Name, Place) {
        (self.name, self.place)
    }
}

/// A part whose bytes have a copy.
#[derive(Clone)]
pub(super) struct Move {
    pub name: Name,
    pub from: Place,
    pub to: Place,
    pub coding: Coding,
    /// The bytes, if they go into the row.
    pub data: Bytes,
}

/// The next blobs, by hash. This and the other statements here belong to no account.
struct FindBlobs {
    after: [u8; 32],
}

impl Body for FindBlobs {
    type Out = Vec<Blob>;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Vec<Blob>, StoreError> {
        let sql = "SELECT hash, total_bytes FROM blob WHERE hash > $1 AND part = 0
            ORDER BY hash LIMIT $2";
        let mut rows = tx.rows(sql, params![&self.after, LOOK_MAX]).await?;
        let blobs = rows.iter_mut().map(|row| {
            Ok(Blob {
                hash: row.hash(0)?,
                total_bytes: row.unsigned(1)?,
            })
        });
        blobs.collect()
    }
}

struct CountBlobs;

impl Body for CountBlobs {
    type Out = u64;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<u64, StoreError> {
        let sql = "SELECT count(*) FROM blob WHERE part = 0";
        tx.one(sql, &[]).await?.unsigned(0)
    }
}

/// The parts of a blob, in order.
pub(super) struct FindStored {
    pub hash: [u8; 32],
}

impl Body for FindStored {
    type Out = Vec<Stored>;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Vec<Stored>, StoreError> {
        let sql =
            "SELECT part, blob_id, coding, plain_bytes, segment, place, stored_bytes, checksum
            FROM blob WHERE hash = $1 ORDER BY part";
        let rows = tx.rows(sql, params![&self.hash]).await?;
        let parts = rows.iter().map(|row| {
            Ok(Stored {
                name: Name {
                    hash: self.hash,
                    part: u32::try_from(row.unsigned(0)?).unwrap_or(u32::MAX),
                    blob_id: row.int(1)?,
                },
                coding: match row.int(2)? {
                    code if code == Coding::Plain as i64 => Coding::Plain,
                    _ => Coding::Zstd,
                },
                plain_bytes: u32::try_from(row.unsigned(3)?).unwrap_or(u32::MAX),
                place: Place {
                    segment: row.int(4)?,
                    offset: row.int(5)?,
                    stored_bytes: row.int(6)?,
                    checksum: row.int(7)?,
                },
            })
        });
        parts.collect()
    }
}

/// The bytes of a part in its row.
struct FindData {
    name: Name,
}

impl Body for FindData {
    type Out = Vec<u8>;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Vec<u8>, StoreError> {
        let sql = "SELECT data FROM blob WHERE hash = $1 AND part = $2 AND segment = 0";
        let values = params![&self.name.hash, i64::from(self.name.part)];
        // A row that went meanwhile needs no bytes: it will not be renamed.
        tx.row(sql, values)
            .await?
            .map_or(Ok(Vec::new()), |mut row| row.bytes(0))
    }
}

/// The objects that a blob is in.
struct FindNamed {
    hash: [u8; 32],
}

impl Body for FindNamed {
    type Out = BTreeSet<ObjectName>;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<BTreeSet<ObjectName>, StoreError> {
        named_objects(tx, &self.hash).await
    }
}

/// Names the new places of parts that were copied, where they still are at the old ones.
pub(super) struct Rename {
    pub moves: Vec<Move>,
}

impl Body for Rename {
    type Out = ();

    async fn run(&self, tx: &mut Tx<'_>) -> Result<(), StoreError> {
        let sql = "UPDATE blob SET segment = $6, place = $7, stored_bytes = $8, checksum = $9,
                data = $10, coding = $11
            WHERE hash = $1 AND part = $2 AND blob_id = $3 AND segment = $4 AND place = $5";
        for part in &self.moves {
            let (name, from, to) = (&part.name, part.from, part.to);
            let values = params![
                &name.hash,
                i64::from(name.part),
                name.blob_id,
                from.segment,
                from.offset,
                to.segment,
                to.offset,
                to.stored_bytes,
                to.checksum,
                part.data.as_ref(),
                part.coding as i64,
            ];
            tx.execute(sql, values).await?;
        }
        Ok(())
    }
}
