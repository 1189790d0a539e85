//! The work on a letter that is done before its transaction is queued: parsing, compressing. Once
//! per letter, however many recipients it has.

use std::cell::RefCell;
use std::sync::Arc;

use bytes::Bytes;
use message::Message;

use crate::blobs::home::Place;
use crate::blobs::segments::Pending;
use crate::{Letter, Store, StoreError};

/// Letters up to this size are prepared where they are; larger ones on a thread for such work.
const INLINE_BYTES_MAX: usize = 256 * 1024;
/// Bytes of a blob's part before compression: what a reader holds in memory.
pub(crate) const PART_BYTES: usize = 256 * 1024;
/// Measured on letters of 5 KB: level 3 gains 1 % over level 1 and costs 20 % more time; level -1
/// saves 15 % of the time and leaves a quarter more.
const ZSTD_LEVEL: i32 = 1;

/// A letter, ready to be stored.
#[derive(Clone, Debug, Default)]
pub(crate) struct Prepared {
    /// Of the letter.
    pub hash: [u8; 32],
    /// The id of its blob, if it turns out to be new.
    pub blob_id: i64,
    /// Bytes of the letter.
    pub bytes: u64,
    /// Its parts; empty if the blob is known to be stored.
    pub parts: Vec<Part>,
    /// The number of its parts, if they were stored ahead.
    pub parts_ahead: usize,
    /// Keeps the places of the parts until the transaction is over.
    pub pending: Arc<Vec<Pending>>,
    /// The hash of its Message-ID.
    pub message_key: Option<i64>,
    /// Hashes of the Message-IDs that place it in a thread: its own first, then the nearest
    /// ancestors.
    pub thread_keys: Vec<i64>,
    /// Encoded envelope.
    pub envelope: Vec<u8>,
    /// Encoded structure.
    pub structure: Vec<u8>,
    /// Its first words.
    pub preview: String,
}

/// A part of a blob, as stored.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    /// Bytes before compression.
    pub plain_bytes: u32,
    /// How it is written.
    pub coding: Coding,
    /// The bytes; none once they are at their place.
    pub data: Bytes,
    /// Where they are, if not in the row.
    pub place: Option<Place>,
}

/// How a part is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Coding {
    /// As it is.
    Plain = 0,
    /// zstd.
    Zstd = 1,
}

impl Coding {
    /// The coding that a row or a record names.
    pub(crate) fn of(number: i64) -> Option<Self> {
        [Self::Plain, Self::Zstd]
            .into_iter()
            .find(|coding| *coding as i64 == number)
    }
}

/// What of a letter is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// Its parts and its Message-ID: it is only queued.
    Blob,
    /// Its parts and what a mailbox shows.
    All,
    /// Only what a mailbox shows: the blob is stored already.
    Shown,
}

impl Store {
    /// Prepares a letter, and stores what is too large for its transaction.
    pub(crate) async fn prepare(
        &self,
        letter: &Letter,
        need: Need,
    ) -> Result<Prepared, StoreError> {
        let blob_id = self.0.shared.next_id();
        let bytes = letter.bytes().len();
        let parts_ahead = match need {
            Need::Blob | Need::All => self.parts_stored(letter).await?,
            Need::Shown => 0,
        };
        let prepared = if bytes <= INLINE_BYTES_MAX {
            work(letter, need, blob_id, parts_ahead)?
        } else {
            let letter = letter.clone();
            let work = move || work(&letter, need, blob_id, parts_ahead);
            self.0.aside.run("preparing a letter", work).await??
        };
        self.put_away(prepared).await
    }
}

/// The parts of a letter as they are stored.
pub(crate) async fn compressed(letter: &Letter) -> Result<Vec<Part>, StoreError> {
    if letter.bytes().len() <= INLINE_BYTES_MAX {
        return compress(letter.bytes());
    }
    let letter = letter.clone();
    tokio::task::spawn_blocking(move || compress(letter.bytes()))
        .await
        .map_err(|error| StoreError::Bug(format!("preparing a letter failed: {error}")))?
}

/// Does the work. `parts_ahead`: the number of parts of the letter, if it is stored already.
fn work(
    letter: &Letter,
    need: Need,
    blob_id: i64,
    parts_ahead: usize,
) -> Result<Prepared, StoreError> {
    let parts = match need {
        Need::Blob | Need::All if parts_ahead == 0 => compress(letter.bytes())?,
        Need::Blob | Need::All | Need::Shown => Vec::new(),
    };
    let parsed = Message::parse(letter.bytes());
    let keys = parsed.thread_keys();
    let message_key = keys.message_id.as_deref().map(key_of);
    let mut prepared = Prepared {
        hash: *letter.hash(),
        blob_id,
        bytes: letter.bytes().len() as u64,
        parts,
        parts_ahead,
        pending: Arc::default(),
        message_key,
        thread_keys: Vec::new(),
        envelope: Vec::new(),
        structure: Vec::new(),
        preview: String::new(),
    };
    if need != Need::Blob {
        let ancestors = keys.ancestors.iter().rev().map(|id| key_of(id));
        prepared.thread_keys = message_key.into_iter().chain(ancestors).collect();
        prepared.preview = parsed.preview();
        prepared.envelope = parsed.envelope().encode();
        prepared.structure = parsed.structure().encode();
    }
    Ok(prepared)
}

/// The key of a Message-ID: 64 bits of its hash.
pub(crate) fn key_of(message_id: &str) -> i64 {
    let hash = blake3::hash(message_id.as_bytes());
    let mut key = [0; 8];
    key.copy_from_slice(&hash.as_bytes()[..8]);
    i64::from_le_bytes(key)
}

thread_local! {
    /// Making a compressor costs more than compressing a letter.
    static COMPRESSOR: RefCell<Option<zstd::bulk::Compressor<'static>>> =
        const { RefCell::new(None) };
    static DECOMPRESSOR: RefCell<Option<zstd::bulk::Decompressor<'static>>> =
        const { RefCell::new(None) };
}

fn compress(bytes: &Bytes) -> Result<Vec<Part>, StoreError> {
    COMPRESSOR.with_borrow_mut(|kept| {
        let compressor = match kept {
            Some(compressor) => compressor,
            None => kept.insert(zstd::bulk::Compressor::new(ZSTD_LEVEL).map_err(zstd_error)?),
        };
        let count = bytes.len().div_ceil(PART_BYTES).max(1);
        (0..count)
            .map(|at| {
                let start = at * PART_BYTES;
                let plain = bytes.slice(start..bytes.len().min(start + PART_BYTES));
                let data = compressor.compress(&plain).map_err(zstd_error)?;
                let smaller = data.len() < plain.len();
                Ok(Part {
                    plain_bytes: u32::try_from(plain.len()).unwrap_or(u32::MAX),
                    coding: if smaller { Coding::Zstd } else { Coding::Plain },
                    data: if smaller { data.into() } else { plain },
                    place: None,
                })
            })
            .collect()
    })
}

/// Reads a part back. `plain_bytes` is what was noted when it was written.
pub(crate) fn decompress(
    coding: i64,
    plain_bytes: usize,
    data: Bytes,
) -> Result<Bytes, StoreError> {
    let plain = if coding == Coding::Plain as i64 {
        data
    } else if coding == Coding::Zstd as i64 && plain_bytes <= PART_BYTES {
        DECOMPRESSOR.with_borrow_mut(|kept| {
            let decompressor = match kept {
                Some(decompressor) => decompressor,
                None => kept.insert(zstd::bulk::Decompressor::new().map_err(zstd_error)?),
            };
            decompressor
                .decompress(&data, plain_bytes)
                .map(Bytes::from)
                .map_err(zstd_error)
        })?
    } else {
        return Err(StoreError::Io("a part of a letter is damaged".to_owned()));
    };
    if plain.len() == plain_bytes {
        Ok(plain)
    } else {
        Err(StoreError::Io(
            "a part of a letter has the wrong length".to_owned(),
        ))
    }
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "the form that map_err asks for"
)]
fn zstd_error(error: std::io::Error) -> StoreError {
    StoreError::Io(format!("zstd: {error}"))
}
