//! Reading a message's bytes: the head from its row, the letter from the parts of its blob. At most
//! one part is held in memory.

use std::ops::Range;

use base::{AccountId, MessageId};
use bytes::{Bytes, BytesMut};
use tokio::sync::Mutex;

use crate::blobs::{BlobInfo, StoredPart, blob_info, first_part};
use crate::engine::{Body, Tx, params};
use crate::{Store, StoreError};

/// Reads a message's bytes piece by piece.
pub struct BodyReader {
    store: Store,
    found: Found,
    /// The part read last.
    part: Mutex<Option<(u64, Bytes)>>,
}

/// Where a message's bytes are.
pub(super) struct Found {
    head: Bytes,
    hash: [u8; 32],
    blob: BlobInfo,
}

impl BodyReader {
    pub(super) fn new(store: Store, found: Found) -> Self {
        Self {
            store,
            found,
            part: Mutex::new(None),
        }
    }

    /// A reader that has read the first part already.
    pub(super) fn with_part(
        store: Store,
        found: Found,
        part: Option<StoredPart>,
    ) -> Result<Self, StoreError> {
        let part = part.map(StoredPart::plain).transpose()?;
        Ok(Self {
            part: Mutex::new(part.map(|bytes| (0, bytes))),
            ..Self::new(store, found)
        })
    }

    /// Whether all bytes are here already.
    pub(crate) fn is_read(&self) -> bool {
        let has_first = self.part.try_lock().is_ok_and(|part| part.is_some());
        has_first && self.found.blob.total_bytes <= self.found.blob.part_bytes
    }

    /// Bytes of the message: head and letter.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.found.head.len() as u64 + self.found.blob.total_bytes
    }

    /// Reads a range (cut to the message's end) of head and letter together.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if the message was removed long ago.
    pub async fn read(&self, range: Range<u64>) -> Result<Bytes, StoreError> {
        let end = range.end.min(self.size());
        let head = self.found.head.len() as u64;
        let mut at = range.start.min(end);
        let mut pieces = Vec::new();
        if at < head {
            let until = end.min(head);
            pieces.push(slice(&self.found.head, at, until));
            at = until;
        }
        while at < end {
            let offset = at - head;
            let number = offset / self.found.blob.part_bytes.max(1);
            let start = number * self.found.blob.part_bytes;
            let part = self.part(number).await?;
            let until = (end - head).min(start + part.len() as u64);
            if until <= offset {
                return Err(StoreError::Io("a stored letter is damaged".to_owned()));
            }
            pieces.push(slice(&part, offset - start, until - start));
            at = head + until;
        }
        if let [piece] = pieces.as_slice() {
            return Ok(piece.clone());
        }
        let mut all = BytesMut::with_capacity(pieces.iter().map(Bytes::len).sum());
        for piece in pieces {
            all.extend_from_slice(&piece);
        }
        Ok(all.freeze())
    }

    async fn part(&self, number: u64) -> Result<Bytes, StoreError> {
        let mut kept = self.part.lock().await;
        if let Some((known, bytes)) = &*kept
            && *known == number
        {
            return Ok(bytes.clone());
        }
        let part = u32::try_from(number).unwrap_or(u32::MAX);
        let read = self.store.read_part(self.found.hash, part).await?;
        let bytes = read.ok_or(StoreError::NotFound("message"))?;
        *kept = Some((number, bytes.clone()));
        Ok(bytes)
    }
}

/// A slice of bytes whose bounds lie within it.
fn slice(bytes: &Bytes, start: u64, end: u64) -> Bytes {
    let end = usize::try_from(end).unwrap_or(usize::MAX).min(bytes.len());
    let start = usize::try_from(start).unwrap_or(usize::MAX).min(end);
    bytes.slice(start..end)
}

/// Bytes of first parts that are held at once; the parts of others are read when they are wanted.
const FIRST_PARTS_BYTES: usize = 4 * 1024 * 1024;

/// Looks messages up, with the first part of each where it is in the database: readers that need
/// nothing more for small letters. For work in the background.
pub(super) struct OpenMany {
    pub account: AccountId,
    pub messages: Vec<MessageId>,
}

impl Body for OpenMany {
    type Out = Vec<(MessageId, Result<(Found, Option<StoredPart>), StoreError>)>;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Self::Out, StoreError> {
        let mut out = Vec::with_capacity(self.messages.len());
        let mut bytes = 0;
        for message in &self.messages {
            let (account, message) = (self.account, *message);
            let opened = match open(tx, account, message).await? {
                Ok(found) if bytes < FIRST_PARTS_BYTES => {
                    let part = first_part(tx, &found.hash).await?;
                    bytes += part.as_ref().map_or(0, |part| part.plain_bytes);
                    Ok((found, part))
                }
                Ok(found) => Ok((found, None)),
                Err(error) => Err(error),
            };
            out.push((message, opened));
        }
        Ok(out)
    }
}

/// Looks a message up.
pub(super) struct Open {
    pub account: AccountId,
    pub message: MessageId,
}

impl Body for Open {
    type Out = Found;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Found, StoreError> {
        open(tx, self.account, self.message).await?
    }
}

/// Looks a message up. The inner error is of this message alone.
async fn open(
    tx: &mut Tx<'_>,
    account: AccountId,
    message: MessageId,
) -> Result<Result<Found, StoreError>, StoreError> {
    let sql = "SELECT head, blob_hash FROM message WHERE account_id = $1 AND message_id = $2";
    let Some(mut row) = tx.row(sql, params![account, message]).await? else {
        return Ok(Err(StoreError::NotFound("message")));
    };
    let hash = row.hash(1)?;
    let Some(blob) = blob_info(tx, &hash).await? else {
        let missing = "a letter's bytes are missing".to_owned();
        return Ok(Err(StoreError::Io(missing)));
    };
    Ok(Ok(Found {
        head: row.bytes(0)?.into(),
        hash,
        blob,
    }))
}
