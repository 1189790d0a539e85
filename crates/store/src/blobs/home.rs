//! The homes of letters' bytes: the row itself, segment files, an object store.
//!
//! **Shape.** A home outside the database does three things. `put` takes the parts of one blob and
//! answers once they are durable, *before* the transaction that names their places. `get` gives the
//! stored bytes of one part by its [`Name`] and [`Place`], checked against the checksum of the row.
//! `free` is told, *after* the commit, which blobs have no rows any more. A part's [`Place`] stands in
//! its row of `blob`, and `segment` says which home that is: [`IN_ROW`] the row, a number above 0 that
//! segment file, [`IN_OBJECT`] the object that is named by hash and blob id, with the parts one behind
//! the other and the offset in `place`.
//!
//! The home that is configured takes new letters; what is stored already is read from wherever it is.
//! So a change of the setting needs no move.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use base::ports::Entropy;
use bytes::Bytes;

use super::object_home::ObjectHome;
use super::objects::ObjectName;
use super::segments::{Hold, Name, Options, Pending, ReadError, Record, Segments};
use crate::engine::{Body, Engine, Priority, Tx, params};
use crate::prepare::Part;
use crate::{BlobHome, StoreError};

/// `blob.segment` of a part whose bytes are in its row.
pub(crate) const IN_ROW: i64 = 0;
/// `blob.segment` of a part whose bytes are in an object.
pub(crate) const IN_OBJECT: i64 = -1;
/// The folder of segments in the data folder.
const SEGMENTS_FOLDER: &str = "segments";
/// Numbers for segments that are taken from the counter at once: half a GiB of letters.
const NUMBERS: i64 = 8;

/// Where the bytes of a part are, as its row says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    /// Which home; see [`IN_ROW`] and [`IN_OBJECT`].
    pub segment: i64,
    /// Where it begins there.
    pub offset: i64,
    /// Bytes of the part as stored.
    pub stored_bytes: i64,
    /// The first 64 bits of the BLAKE3 of these bytes.
    pub checksum: i64,
}

/// The parts of a blob, put in a home.
pub(crate) struct Put {
    /// Where each is, in order.
    pub places: Vec<Place>,
    /// To be kept until the transaction that names the places is over.
    pub pending: Vec<Pending>,
}

/// What [`Homes::get`] found.
pub(crate) enum Got {
    /// The stored bytes.
    Bytes(Bytes),
    /// Nothing is at that place any more. If the row still names it, the bytes are lost.
    Nothing,
    /// What is there is not what was written; the text names what and where.
    Damaged(StoreError),
}

/// The homes of a store.
pub(crate) struct Homes {
    takes: Takes,
    /// Letters up to this size stay in their rows.
    inline_bytes_max: u64,
    segments: Option<Arc<Segments>>,
    /// Held by the one who moves what is in them.
    pub(super) compacting: tokio::sync::Mutex<()>,
    objects: Option<Arc<ObjectHome>>,
    /// Whether the object store has told that its letters are ours.
    is_owner_checked: AtomicBool,
    /// Where segment files are looked for.
    segments_folder: PathBuf,
}

/// Which home takes new letters.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Takes {
    Rows,
    Segments,
    Objects,
}

/// While it lives, nothing outside the database that a snapshot of it may name is removed.
pub(crate) struct Kept {
    _segments: Option<Hold>,
    _objects: Option<Arc<()>>,
}

/// What the homes need to open.
pub(crate) struct HomeOptions<'a> {
    pub home: &'a BlobHome,
    pub data_dir: &'a Path,
    /// Whether the database is a file of this node alone.
    pub is_embedded: bool,
    /// Whether writes are flushed.
    pub flushes: bool,
    /// For the pauses between tries.
    pub entropy: Arc<dyn Entropy>,
}

impl Homes {
    /// Opens the home that is configured, and those that may hold letters of an earlier
    /// configuration. Blocks.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] for a home that does not go with the database; [`StoreError::Io`] with
    /// the path.
    pub(crate) fn open(options: &HomeOptions<'_>) -> Result<Self, StoreError> {
        let usual = options.data_dir.join(SEGMENTS_FOLDER);
        let (home, leaving) = match options.home {
            BlobHome::Leaving { home, objects } => (home.as_ref(), Some(objects)),
            home => (home, None),
        };
        let (takes, folder, inline_bytes_max) = match home {
            BlobHome::Inline => (Takes::Rows, usual, u64::MAX),
            BlobHome::Segments { .. } if !options.is_embedded => {
                return Err(StoreError::Invalid(
                    "segment files are read by one node alone: with PostgreSQL keep letters in the \
                     database (inline:) or in an object store (s3://…)"
                        .to_owned(),
                ));
            }
            BlobHome::Segments {
                folder,
                inline_bytes_max,
            } => {
                let folder = folder.clone().unwrap_or(usual);
                crate::open::make_folder(&folder)?;
                (Takes::Segments, folder, *inline_bytes_max)
            }
            BlobHome::Objects(objects) => (Takes::Objects, usual, objects.inline_bytes_max),
            BlobHome::Leaving { .. } => {
                let why = "letters can leave one object store at a time".to_owned();
                return Err(StoreError::Invalid(why));
            }
        };
        let objects = match (home, leaving) {
            (BlobHome::Objects(_), Some(_)) => {
                return Err(StoreError::Invalid(
                    "letters cannot be in two object stores: copy the objects of one to the other \
                     with the tools of the stores, under the same names, and name only that one"
                        .to_owned(),
                ));
            }
            (BlobHome::Objects(objects), None) => Some(objects),
            (BlobHome::Inline | BlobHome::Segments { .. } | BlobHome::Leaving { .. }, leaving) => {
                leaving
            }
        };
        let objects = match objects {
            Some(objects) => {
                let entropy = Arc::clone(&options.entropy);
                let home = ObjectHome::open(objects, options.data_dir, entropy)?;
                Some(Arc::new(home))
            }
            None => None,
        };
        let segments = if options.is_embedded && folder.is_dir() {
            Some(open_segments(folder.clone(), options.flushes)?)
        } else {
            None
        };
        Ok(Self {
            takes,
            inline_bytes_max,
            segments,
            compacting: tokio::sync::Mutex::default(),
            objects,
            is_owner_checked: AtomicBool::new(false),
            segments_folder: folder,
        })
    }

    /// Checks that the folder is the one whose segment files the rows name: neither the oldest file
    /// nor the newest is there if it is another. A single file that is lost is no reason not to
    /// start.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] with what has to be corrected.
    pub(crate) async fn check_folder(&self, engine: &Engine) -> Result<(), StoreError> {
        let Some((lowest, highest)) = engine.read(SegmentsNamed).await? else {
            return Ok(());
        };
        let files = match &self.segments {
            Some(segments) => {
                let segments = Arc::clone(segments);
                let files = tokio::task::spawn_blocking(move || segments.files()).await;
                files.map_err(|error| StoreError::Bug(format!("reading failed: {error}")))??
            }
            None => Vec::new(),
        };
        let mut numbers = files.iter().map(|file| file.number);
        if numbers.any(|number| number == lowest || number == highest) {
            return Ok(());
        }
        Err(StoreError::Invalid(format!(
            "letters are in segment files {lowest} to {highest}, and these are not in the folder {}: \
             put the files there, or name the folder where they are in blobs.url (segments:FOLDER)",
            self.segments_folder.display()
        )))
    }

    /// Checks once that what is in the object store is ours.
    async fn check_owner(&self, engine: &Engine) -> Result<(), StoreError> {
        let Some(objects) = &self.objects else {
            return Ok(());
        };
        if !self.is_owner_checked.load(Ordering::Acquire) {
            objects.check_owner(engine).await?;
            self.is_owner_checked.store(true, Ordering::Release);
        }
        Ok(())
    }

    /// Refuses to put letters among another store's, which would remove them. That is the
    /// operator's to correct: senders come again.
    async fn may_put(&self, engine: &Engine) -> Result<(), StoreError> {
        match self.check_owner(engine).await {
            Err(StoreError::Invalid(why)) => Err(StoreError::Io(why)),
            other => other,
        }
    }

    /// Asks the object store, if there is one, whether its bucket is there, the keys are right and
    /// its letters are ours. One that does not answer now is no reason not to start: what is cached
    /// can be read, and letters wait until it has told whose it is.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] with what has to be corrected.
    pub(crate) async fn greet(&self, engine: &Engine) -> Result<(), StoreError> {
        match self.check_owner(engine).await {
            Err(StoreError::Busy(why)) => {
                tracing::warn!(%why, "the object store does not answer; letters wait for it");
                Ok(())
            }
            other => other,
        }
    }

    /// Whether a letter of this size is kept outside the database.
    pub(crate) fn takes(&self, letter_bytes: u64) -> bool {
        self.takes != Takes::Rows && letter_bytes > self.inline_bytes_max
    }

    /// Puts the parts of a blob where new letters go, which is not the rows. They are durable when
    /// this answers.
    ///
    /// # Errors
    /// [`StoreError::DiskFull`], [`StoreError::Io`], also if the object store is another store's;
    /// [`StoreError::Busy`] while it has not told whose it is. Nothing is stored then that anybody
    /// names.
    pub(crate) async fn put(
        &self,
        engine: &Engine,
        (hash, blob_id): ([u8; 32], i64),
        parts: &[Part],
    ) -> Result<Put, StoreError> {
        if self.takes == Takes::Objects {
            self.may_put(engine).await?;
            let name = ObjectName {
                hash,
                blob_id,
                generation: 0,
            };
            return self.put_object(name, parts).await;
        }
        let records = (0..).zip(parts).map(|(part, stored)| Record {
            name: Name {
                hash,
                blob_id,
                part,
            },
            coding: stored.coding,
            plain_bytes: stored.plain_bytes,
            stored: stored.data.clone(),
        });
        let segments = self.segments.as_deref();
        let segments = segments
            .ok_or_else(|| StoreError::Bug("no home takes letters outside the rows".to_owned()))?;
        append(engine, segments, records.collect()).await
    }

    /// Puts parts of one upload, which are stored elsewhere, where new letters go. They are durable
    /// when this answers.
    ///
    /// # Errors
    /// Those of [`Self::put`].
    pub(crate) async fn put_moved(
        &self,
        engine: &Engine,
        records: Vec<Record>,
    ) -> Result<Put, StoreError> {
        let nobody = || StoreError::Bug("no home takes letters outside the rows".to_owned());
        if self.takes == Takes::Objects {
            self.may_put(engine).await?;
            let objects = self.objects.as_deref().ok_or_else(nobody)?;
            let first = records.first().map(|record| record.name);
            let name = objects.name_of_moved(first.ok_or_else(nobody)?);
            let parts: Vec<Bytes> = records.into_iter().map(|record| record.stored).collect();
            return Ok(Put {
                places: objects.put(name, &parts).await?,
                pending: Vec::new(),
            });
        }
        let segments = self.segments.as_deref().ok_or_else(nobody)?;
        append(engine, segments, records).await
    }

    /// Whether a part is where it would be put today, if its letter is kept outside the rows or not.
    pub(crate) fn is_at_home(&self, is_outside: bool, segment: i64) -> bool {
        match self.takes {
            Takes::Segments if is_outside => segment > IN_ROW,
            Takes::Objects if is_outside => segment == IN_OBJECT,
            Takes::Rows | Takes::Segments | Takes::Objects => segment == IN_ROW,
        }
    }

    async fn put_object(&self, name: ObjectName, parts: &[Part]) -> Result<Put, StoreError> {
        let objects = self.objects.as_deref();
        let objects =
            objects.ok_or_else(|| StoreError::Bug("no object store takes letters".to_owned()))?;
        let parts: Vec<Bytes> = parts.iter().map(|part| part.data.clone()).collect();
        Ok(Put {
            places: objects.put(name, &parts).await?,
            pending: Vec::new(),
        })
    }

    /// Reads the stored bytes of a part that is not in its row.
    ///
    /// # Errors
    /// [`StoreError::Io`] when it cannot be read now.
    pub(crate) async fn get(&self, name: Name, place: Place) -> Result<Got, StoreError> {
        if place.segment == IN_OBJECT {
            let Some(objects) = &self.objects else {
                let why = "a letter is in an object store, and none is configured (blobs.url, \
                    blobs.leaving)";
                return Err(StoreError::Io(why.to_owned()));
            };
            return objects.get(name, place).await;
        }
        let Some(segments) = self.segments.clone() else {
            let why = "a letter is in a segment file, and their folder is not there (blobs.url)";
            return Err(StoreError::Io(why.to_owned()));
        };
        let read = tokio::task::spawn_blocking(move || segments.read(place, &name)).await;
        match read.map_err(|error| StoreError::Bug(format!("reading failed: {error}")))? {
            Ok(record) => Ok(Got::Bytes(record.stored)),
            Err(ReadError::Gone) => Ok(Got::Nothing),
            Err(ReadError::Damaged(error)) => Ok(Got::Damaged(error)),
            Err(ReadError::Failed(error)) => Err(error),
        }
    }

    /// Like [`Self::get`], and never from the read cache.
    ///
    /// # Errors
    /// Those of [`Self::get`].
    pub(crate) async fn get_original(&self, name: Name, place: Place) -> Result<Got, StoreError> {
        match &self.objects {
            Some(objects) if place.segment == IN_OBJECT => objects.get_original(name, place).await,
            Some(_) | None => self.get(name, place).await,
        }
    }

    /// The segments, if there are any.
    pub(crate) fn segments(&self) -> Option<&Arc<Segments>> {
        self.segments.as_ref()
    }

    /// The folder of letters outside the database on this machine, which may be another disk.
    pub(crate) fn folder(&self) -> Option<&Path> {
        self.segments.as_ref().map(|segments| segments.folder())
    }

    /// The object store, if there is one.
    pub(crate) fn objects(&self) -> Option<&Arc<ObjectHome>> {
        self.objects.as_ref()
    }

    /// Keeps everything that rows of a snapshot taken from now on may name, for a copy of the store.
    pub(crate) fn keep(&self) -> Kept {
        Kept {
            _segments: self.segments.as_ref().map(|segments| segments.hold()),
            _objects: self.objects.as_ref().map(|objects| objects.hold()),
        }
    }

    /// Finishes what waits. Blocks.
    pub(crate) fn close(&self) {
        if let Some(segments) = &self.segments {
            segments.close();
        }
    }
}

fn open_segments(folder: PathBuf, flushes: bool) -> Result<Arc<Segments>, StoreError> {
    let options = Options {
        flushes,
        ..Options::default()
    };
    Segments::open(folder, options).map(Arc::new)
}

/// Appends records to the segments; brings numbers for new files first, if they are wanted.
pub(crate) async fn append(
    engine: &Engine,
    segments: &Segments,
    records: Vec<Record>,
) -> Result<Put, StoreError> {
    if let Some(floor) = segments.wants_numbers() {
        let first = engine
            .write(TakeNumbers { floor }, Priority::Urgent)
            .await?;
        segments.add_numbers(first..first + NUMBERS);
    }
    let mut put = Put {
        places: Vec::with_capacity(records.len()),
        pending: Vec::new(),
    };
    for appended in segments.append(records).await? {
        put.places.extend(appended.places);
        put.pending.push(appended.pending);
    }
    Ok(put)
}

/// Takes numbers for segments from the counter, for good; gives the first.
struct TakeNumbers {
    /// Above every number that is known to have been in use.
    floor: i64,
}

impl Body for TakeNumbers {
    type Out = i64;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<i64, StoreError> {
        let sql = "INSERT INTO sequence (name, next)
            VALUES ('segment', CAST($1 AS BIGINT) + CAST($2 AS BIGINT))
            ON CONFLICT (name) DO UPDATE SET next = CAST($2 AS BIGINT)
                + CASE WHEN sequence.next < $1 THEN $1 ELSE sequence.next END
            RETURNING next - CAST($2 AS BIGINT)";
        tx.one(sql, params![self.floor, NUMBERS]).await?.int(0)
    }
}

/// The lowest and the highest segment file that rows name.
struct SegmentsNamed;

impl Body for SegmentsNamed {
    type Out = Option<(i64, i64)>;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Self::Out, StoreError> {
        // Two statements, so that each is one look into the index.
        let lowest = "SELECT segment FROM blob WHERE segment > 0 ORDER BY segment LIMIT 1";
        let highest = "SELECT segment FROM blob WHERE segment > 0 ORDER BY segment DESC LIMIT 1";
        let Some(row) = tx.row(lowest, &[]).await? else {
            return Ok(None);
        };
        Ok(Some((row.int(0)?, tx.one(highest, &[]).await?.int(0)?)))
    }
}
