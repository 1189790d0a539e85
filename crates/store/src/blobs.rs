//! Blobs: the letters as received, stored once however many refer to them.
//!
//! A row of `message` or `letter` that names a hash is itself the reference. Whoever removes such a
//! row condemns the blob; the collector looks again after a grace and removes what nobody names.
//! Whoever stores a letter revives its blob in the same transaction.
//!
//! Where the bytes of a blob are is the business of [`home`]: in its rows, or outside the database.

mod check;
mod compaction;
pub(crate) mod home;
pub(crate) mod segments;

mod cache;
mod fault;
mod mending;
mod moving;
mod object_home;
mod object_options;
mod objects;
mod orphans;

pub use moving::BlobMove;
pub use object_options::{ObjectKeys, ObjectOptions};

use std::sync::Arc;
use std::time::Duration;

use base::Timestamp;
use bytes::Bytes;

use crate::directory::signed;
use crate::engine::{Body, Priority, Tx, params};
use crate::hold::is_held;
use crate::prepare::{Part, Prepared, decompress};
use crate::{Store, StoreError};
use home::{Got, IN_ROW, Place};
use objects::ObjectName;
use segments::Name;

/// Longer than any transaction, read or backup that may still want a condemned blob.
const GRACE: Duration = Duration::from_secs(3_600);
/// Bytes of parts that are stored in the transaction of their message: written in about 2 ms.
const TOGETHER_BYTES_MAX: usize = 512 * 1024;
/// What a row without bytes counts as: 256 of them go together, written in 2 ms as well.
const PLACE_BYTES: usize = TOGETHER_BYTES_MAX / 256;
/// How often a blob is stored that the collector removes at the same moment; the second time it is
/// not on its list.
const STORE_TRIES: usize = 3;
/// Blobs that one transaction of the collector looks at.
const COLLECT_MAX: i64 = 50;

impl Store {
    /// Puts the parts of a letter in their home, so that its transaction only names their places.
    pub(crate) async fn put_away(&self, prepared: Prepared) -> Result<Prepared, StoreError> {
        let prepared = self.put_outside(prepared).await?;
        self.store_ahead(prepared).await
    }

    /// Puts the parts of a letter outside the database, if that is where they belong. No row is
    /// written.
    pub(crate) async fn put_outside(&self, mut prepared: Prepared) -> Result<Prepared, StoreError> {
        if !prepared.parts.is_empty() && self.0.homes.takes(prepared.bytes) {
            let name = (prepared.hash, prepared.blob_id);
            let put = self.0.homes.put(&self.0.engine, name, &prepared.parts);
            let put = put.await?;
            for (part, place) in prepared.parts.iter_mut().zip(put.places) {
                part.data = Bytes::new();
                part.place = Some(place);
            }
            prepared.pending = Arc::new(put.pending);
        }
        Ok(prepared)
    }

    /// Stores the parts of a large letter in transactions of their own, so that the one that makes
    /// it a message stays short. Until then the blob is condemned: if that transaction never comes,
    /// the collector removes it.
    async fn store_ahead(&self, mut prepared: Prepared) -> Result<Prepared, StoreError> {
        let written: usize = prepared.parts.iter().map(row_bytes).sum();
        if written <= TOGETHER_BYTES_MAX {
            return Ok(prepared);
        }
        let mut parts = std::mem::take(&mut prepared.parts);
        prepared.parts_ahead = parts.len();
        let letter = Arc::new(prepared);
        let mut first = 0;
        while !parts.is_empty() {
            let mut bytes = 0;
            let count = parts.iter().take_while(|part| {
                bytes += row_bytes(part);
                bytes <= TOGETHER_BYTES_MAX
            });
            // A part is smaller than what goes together, so that there is at least one.
            let rest = parts.split_off(count.count().max(1));
            let body = StoreParts {
                letter: Arc::clone(&letter),
                first,
                parts,
                now: self.0.shared.now(),
            };
            first += i64::try_from(body.parts.len()).unwrap_or(i64::MAX);
            parts = rest;
            self.0.engine.write(body, Priority::Part).await?;
        }
        Ok(Arc::unwrap_or_clone(letter))
    }

    /// Removes blobs that were condemned long ago and that nobody names: the rows, and after the
    /// commit what they named outside the database.
    pub(crate) async fn collect(&self) -> Result<(), StoreError> {
        loop {
            let collect = Collect::new(self.0.shared.now());
            let collected = self.0.engine.write(collect, Priority::Bulk).await?;
            if let Some(home) = self.0.homes.objects() {
                home.remove(&collected.objects).await;
            }
            if collected.looked_at == 0 {
                return Ok(());
            }
        }
    }

    /// Reads one part of a blob as it was before compression.
    ///
    /// # Errors
    /// [`StoreError::Io`] if it is damaged, or its home has lost it.
    pub(crate) async fn read_part(
        &self,
        hash: [u8; 32],
        part: u32,
    ) -> Result<Option<Bytes>, StoreError> {
        match self.read_stored(hash, part).await? {
            Some(part) => part.plain().map(Some),
            None => Ok(None),
        }
    }

    /// Reads one part of a blob as it is stored.
    ///
    /// # Errors
    /// [`StoreError::Io`] if its home has lost it.
    pub(crate) async fn read_stored(
        &self,
        hash: [u8; 32],
        part: u32,
    ) -> Result<Option<StoredPart>, StoreError> {
        match self.look_stored(hash, part).await? {
            Look::Part(part) => Ok(Some(part)),
            Look::NoRow => Ok(None),
            Look::Lost(error) => Err(error),
        }
    }

    /// Like [`Self::read_stored`], and tells bytes that are lost from those that cannot be read now.
    ///
    /// # Errors
    /// Those of reading, which says nothing about the bytes.
    pub(crate) async fn look_stored(&self, hash: [u8; 32], part: u32) -> Result<Look, StoreError> {
        let mut looked_at = None;
        loop {
            let Some(row) = self.0.engine.read(ReadPart { hash, part }).await? else {
                return Ok(Look::NoRow);
            };
            let Some(place) = row.place else {
                return Ok(Look::Part(row));
            };
            let name = Name {
                hash,
                blob_id: row.blob_id,
                part,
            };
            match self.0.homes.get(name, place).await? {
                Got::Bytes(data) => return Ok(Look::Part(StoredPart { data, ..row })),
                // It was moved between the two looks; if not, it is lost.
                Got::Nothing if looked_at != Some(place) => looked_at = Some(place),
                Got::Nothing => return Ok(Look::Lost(lost(place))),
                Got::Damaged(error) => return Ok(Look::Lost(error)),
            }
        }
    }
}

impl Store {
    /// Keeps everything outside the database that a snapshot of it may name, until the value is
    /// dropped: for a copy of the store, taken before its snapshot. Meanwhile no room is given back.
    #[must_use]
    pub fn keep_blobs(&self) -> KeptBlobs {
        KeptBlobs {
            _kept: self.0.homes.keep(),
        }
    }
}

/// What a look at a part gives.
pub(crate) enum Look {
    /// The part as it is stored.
    Part(StoredPart),
    /// No row names it.
    NoRow,
    /// Its bytes are missing or not what was written, and no other try will help.
    Lost(StoreError),
}

/// See [`Store::keep_blobs`].
pub struct KeptBlobs {
    _kept: home::Kept,
}

/// The error of a part whose home has nothing at its place.
fn lost(place: Place) -> StoreError {
    let what = match place.segment {
        home::IN_OBJECT => "the object store has not its object".to_owned(),
        segment => format!("there is no segment file {segment}"),
    };
    StoreError::Damaged(format!("a letter's bytes are missing: {what}"))
}

/// About what a part adds to its row's transaction.
fn row_bytes(part: &Part) -> usize {
    match part.place {
        Some(_) => PLACE_BYTES,
        None => part.data.len(),
    }
}

/// Stores the parts of a letter, unless they are there. Gives the blob's id.
pub(crate) async fn store_blob(tx: &mut Tx<'_>, prepared: &Prepared) -> Result<i64, StoreError> {
    let hash = &prepared.hash;
    for _ in 0..STORE_TRIES {
        if let Some((first, rest)) = prepared.parts.split_first() {
            let total = signed(prepared.bytes);
            let is_new = insert_part(tx, prepared, total, 0, first).await?;
            for (number, part) in (1..).zip(rest) {
                insert_part(tx, prepared, total, number, part).await?;
            }
            if is_new {
                return Ok(prepared.blob_id);
            }
        }
        // The collector holds the condemned row while it removes a blob, so that only a look after
        // this tells whether it came first.
        revive(tx, hash).await?;
        let sql = "SELECT min(CASE WHEN part = 0 THEN blob_id END), count(*),
            count(CASE WHEN segment <> 0 THEN 1 END) FROM blob WHERE hash = $1";
        let row = tx.one(sql, params![hash]).await?;
        if row.unsigned(2)? > 0 {
            for (number, part) in (0..).zip(&prepared.parts) {
                bring_in(tx, prepared, number, part).await?;
            }
        }
        let is_whole = row.unsigned(1)? >= prepared.parts_ahead as u64;
        match row.maybe_int(0)? {
            Some(blob_id) if is_whole => return Ok(blob_id),
            Some(_) | None if prepared.parts.is_empty() => break,
            Some(_) | None => {}
        }
    }
    Err(StoreError::Busy(
        "the letter has to be stored again".to_owned(),
    ))
}

/// What the columns of a place hold when the bytes are in the row.
const NOWHERE: Place = Place {
    segment: IN_ROW,
    offset: 0,
    stored_bytes: 0,
    checksum: 0,
};

/// Stores a part; `false` if it is there already.
async fn insert_part(
    tx: &mut Tx<'_>,
    prepared: &Prepared,
    total_bytes: i64,
    number: i64,
    part: &Part,
) -> Result<bool, StoreError> {
    let sql = "INSERT INTO blob (hash, part, blob_id, coding, plain_bytes, total_bytes, data,
            segment, place, stored_bytes, checksum)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) ON CONFLICT (hash, part) DO NOTHING";
    let place = part.place.unwrap_or(NOWHERE);
    let values = params![
        &prepared.hash,
        number,
        prepared.blob_id,
        part.coding as i64,
        part.plain_bytes,
        total_bytes,
        part.data.as_ref(),
        place.segment,
        place.offset,
        place.stored_bytes,
        place.checksum,
    ];
    Ok(tx.execute(sql, values).await? > 0)
}

/// Puts a part that is at hand into its row, if the row names a place outside the database: a letter
/// that is kept in rows today need not be looked for there, and may be lost. Parts with a place were
/// looked at before.
async fn bring_in(
    tx: &mut Tx<'_>,
    prepared: &Prepared,
    number: i64,
    part: &Part,
) -> Result<(), StoreError> {
    if part.place.is_some() {
        return Ok(());
    }
    let sql = "SELECT 1 FROM blob WHERE hash = $1 AND part = $2 AND segment <> 0";
    if tx
        .row(sql, params![&prepared.hash, number])
        .await?
        .is_none()
    {
        return Ok(());
    }
    let sql = "UPDATE blob SET segment = 0, place = 0, stored_bytes = 0, checksum = 0,
            data = $3, coding = $4
        WHERE hash = $1 AND part = $2 AND segment <> 0 AND plain_bytes = $5";
    let (coding, plain) = (part.coding as i64, part.plain_bytes);
    let values = params![&prepared.hash, number, part.data.as_ref(), coding, plain];
    tx.execute(sql, values).await.map(drop)
}

/// Some parts of a large letter.
struct StoreParts {
    /// The letter without its parts.
    letter: Arc<Prepared>,
    first: i64,
    parts: Vec<Part>,
    now: Timestamp,
}

impl Body for StoreParts {
    type Out = ();

    async fn run(&self, tx: &mut Tx<'_>) -> Result<(), StoreError> {
        condemn(tx, &self.letter.hash, self.now).await?;
        let total = signed(self.letter.bytes);
        for (number, part) in (self.first..).zip(&self.parts) {
            if !insert_part(tx, &self.letter, total, number, part).await? {
                bring_in(tx, &self.letter, number, part).await?;
            }
        }
        Ok(())
    }
}

/// Takes a blob from the collector's list.
pub(crate) async fn revive(tx: &mut Tx<'_>, hash: &[u8; 32]) -> Result<(), StoreError> {
    tx.send("DELETE FROM condemned WHERE hash = $1", params![hash])
        .await
}

/// Puts a blob that lost a reference on the collector's list.
pub(crate) async fn condemn(
    tx: &mut Tx<'_>,
    hash: &[u8; 32],
    now: Timestamp,
) -> Result<(), StoreError> {
    tx.send(
        "INSERT INTO condemned (hash, condemned_at) VALUES ($1, $2)
         ON CONFLICT (hash) DO UPDATE SET condemned_at = $2",
        params![hash, now],
    )
    .await
}

/// What is known of a blob.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BlobInfo {
    pub total_bytes: u64,
    /// Bytes of each part but the last.
    pub part_bytes: u64,
}

/// Looks a blob up.
pub(crate) struct FindBlob {
    pub hash: [u8; 32],
}

impl Body for FindBlob {
    type Out = Option<BlobInfo>;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Option<BlobInfo>, StoreError> {
        blob_info(tx, &self.hash).await
    }
}

/// Looks a blob up.
pub(crate) async fn blob_info(
    tx: &mut Tx<'_>,
    hash: &[u8; 32],
) -> Result<Option<BlobInfo>, StoreError> {
    let sql = "SELECT total_bytes, plain_bytes FROM blob WHERE hash = $1 AND part = 0";
    let Some(row) = tx.row(sql, params![hash]).await? else {
        return Ok(None);
    };
    Ok(Some(BlobInfo {
        total_bytes: row.unsigned(0)?,
        part_bytes: row.unsigned(1)?,
    }))
}

/// Looks one part up.
struct ReadPart {
    hash: [u8; 32],
    part: u32,
}

impl Body for ReadPart {
    type Out = Option<StoredPart>;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Option<StoredPart>, StoreError> {
        stored_part(tx, &self.hash, self.part).await
    }
}

/// The first part of a blob, if its bytes are in the row.
pub(crate) async fn first_part(
    tx: &mut Tx<'_>,
    hash: &[u8; 32],
) -> Result<Option<StoredPart>, StoreError> {
    let part = stored_part(tx, hash, 0).await?;
    Ok(part.filter(|part| part.place.is_none()))
}

async fn stored_part(
    tx: &mut Tx<'_>,
    hash: &[u8; 32],
    part: u32,
) -> Result<Option<StoredPart>, StoreError> {
    let sql = "SELECT coding, plain_bytes, data, blob_id, segment, place, stored_bytes, checksum
        FROM blob WHERE hash = $1 AND part = $2";
    let Some(mut row) = tx.row(sql, params![hash, i64::from(part)]).await? else {
        return Ok(None);
    };
    let place = Place {
        segment: row.int(4)?,
        offset: row.int(5)?,
        stored_bytes: row.int(6)?,
        checksum: row.int(7)?,
    };
    Ok(Some(StoredPart {
        coding: row.int(0)?,
        plain_bytes: usize::try_from(row.unsigned(1)?).unwrap_or(usize::MAX),
        data: row.bytes(2)?.into(),
        blob_id: row.int(3)?,
        place: (place.segment != IN_ROW).then_some(place),
    }))
}

/// A part as it is stored.
pub(crate) struct StoredPart {
    pub coding: i64,
    pub plain_bytes: usize,
    /// Its bytes; none while they are still to be fetched from its place.
    pub data: Bytes,
    blob_id: i64,
    /// Where the bytes are, if they are not in the row.
    place: Option<Place>,
}

impl StoredPart {
    /// The bytes before compression.
    pub(crate) fn plain(self) -> Result<Bytes, StoreError> {
        decompress(self.coding, self.plain_bytes, self.data)
    }
}

/// One step of the collector: removes the rows of blobs that were condemned long ago and that
/// nobody names.
pub(crate) struct Collect {
    pub now: Timestamp,
    pub grace: Duration,
}

impl Collect {
    pub(crate) fn new(now: Timestamp) -> Self {
        Self { now, grace: GRACE }
    }
}

/// What a step of the collector did.
pub(crate) struct Collected {
    /// Blobs that it looked at.
    pub looked_at: usize,
    /// Objects that no row names any more.
    pub objects: Vec<ObjectName>,
}

impl Body for Collect {
    type Out = Collected;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Collected, StoreError> {
        if is_held(tx, self.now).await? {
            return Ok(Collected {
                looked_at: 0,
                objects: Vec::new(),
            });
        }
        // Whoever stores such a blob meanwhile waits here, or has taken its row from the list.
        let sql = "SELECT hash FROM condemned WHERE condemned_at <= $1
            ORDER BY condemned_at LIMIT $2 FOR UPDATE";
        let rows = tx
            .rows(sql, params![self.now - self.grace, COLLECT_MAX])
            .await?;
        let mut collected = Collected {
            looked_at: rows.len(),
            objects: Vec::new(),
        };
        for mut row in rows {
            let hash = row.hash(0)?;
            // The collector belongs to no account: it is the one place that asks across them.
            let named = "SELECT 1 FROM blob WHERE hash = $1 AND part = 0
                AND (EXISTS (SELECT 1 FROM message m WHERE m.blob_id = blob.blob_id)
                    OR EXISTS (SELECT 1 FROM letter l WHERE l.blob_id = blob.blob_id))";
            if tx.row(named, params![&hash]).await?.is_none() {
                let objects = orphans::named_objects(tx, &hash).await?;
                collected.objects.extend(objects);
                tx.execute("DELETE FROM blob WHERE hash = $1", params![&hash])
                    .await?;
            }
            revive(tx, &hash).await?;
        }
        Ok(collected)
    }
}
