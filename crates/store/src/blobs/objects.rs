//! Objects: the bytes of letters in an S3-compatible store. One object holds all parts of a letter,
//! one behind the other; rows of the database say where each begins.
//!
//! An object is written once, under a name that no other upload has ([`ObjectName`]), so that a
//! late try or a late removal never meets another letter. Every call has a deadline, every try a
//! shorter one; what may heal by itself is tried again until then. It does not know which objects
//! rows name: [`crate::blobs`] does.

use std::sync::Arc;
use std::time::{Duration, Instant};

use base::Timestamp;
use base::ports::Entropy;
use bytes::Bytes;
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::list::{PaginatedListOptions, PaginatedListStore};
use object_store::path::Path;
use object_store::{ClientOptions, ObjectStoreExt, PutPayload, RetryConfig};
use tokio::sync::Semaphore;

use super::fault::{Fault, FaultKind};
use super::object_options::ObjectOptions;
use super::segments::checksum;
use crate::StoreError;

/// Transfers at once: what keeps a line of 1 Gbit/s busy at 50 ms a request with letters of 200 KB,
/// and few enough that no server calls it an attack.
const TRANSFERS_MAX: usize = 32;
/// The slowest line that a transfer is still waited for.
const BYTES_PER_SECOND_MIN: u64 = 1 << 20;
/// Tries that fit into the time of a call, at least.
const TRIES: u32 = 4;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const BACK_OFF_FIRST: Duration = Duration::from_millis(50);
const BACK_OFF_MAX: Duration = Duration::from_secs(4);
/// Names that one list request asks for: the most that S3 gives.
const LIST_MAX: usize = 1_000;

/// The object that says whose the others are.
const NOTE: &str = "pennyblack-store";

/// A bucket, and the folder in it that is ours.
pub(crate) struct Objects {
    client: AmazonS3,
    /// `s3://bucket/prefix at endpoint`, for people.
    place: String,
    /// Ends with a slash unless it is empty.
    prefix: String,
    timeout: Duration,
    transfers: Semaphore,
    entropy: Arc<dyn Entropy>,
}

/// The name of an object, which is new for each upload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ObjectName {
    /// Of the letter.
    pub hash: [u8; 32],
    /// Of the blob; new with each letter that comes in.
    pub blob_id: i64,
    /// 0 for a letter that came in; random for one that was moved here, whose blob is older.
    pub generation: u32,
}

/// Where a part stands and what it must be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Piece {
    /// Where it begins in its object.
    pub place: u64,
    pub stored_bytes: u64,
    /// See [`super::home::Place`].
    pub checksum: i64,
}

/// One page of a list.
pub(crate) struct Listed {
    /// Objects that bear names of ours, with the time at which the store took them.
    pub objects: Vec<(ObjectName, Timestamp)>,
    /// Where the next page begins; `None` after the last one.
    pub next: Option<String>,
}

impl Objects {
    /// Prepares the way to the bucket; asks nothing of it yet.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] if the options cannot be right.
    pub(crate) fn open(
        options: &ObjectOptions,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, StoreError> {
        let place = options.to_string();
        if options.keys.is_none() && !options.endpoint.is_empty() {
            return Err(StoreError::Invalid(format!(
                "{place}: there are no keys: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in \
                 the environment"
            )));
        }
        let timeout = options.timeout;
        let prefix = match options.prefix.trim_matches('/') {
            "" => String::new(),
            prefix => format!("{prefix}/"),
        };
        let client = client(options)
            .map_err(|error| StoreError::Invalid(format!("blobs.url: {place}: {error}")))?;
        Ok(Self {
            client,
            place,
            prefix,
            timeout,
            transfers: Semaphore::new(TRANSFERS_MAX),
            entropy,
        })
    }

    /// Where the objects are, for people.
    pub(crate) fn place(&self) -> &str {
        &self.place
    }

    /// A random number.
    pub(crate) fn random(&self) -> u64 {
        self.entropy.next_u64()
    }

    /// Stores the parts of a letter as one object. When it answers, the object is durable.
    ///
    /// # Errors
    /// [`Fault`]; the object may be there all the same, without anybody to name it.
    pub(crate) async fn put(&self, name: &ObjectName, parts: &[Bytes]) -> Result<(), Fault> {
        let path = self.path(name);
        let bytes = parts.iter().map(|part| part.len() as u64).sum();
        let payload: PutPayload = parts.iter().cloned().collect();
        self.try_until_late("storing", bytes, || async {
            self.client.put(&path, payload.clone()).await.map(|_| ())
        })
        .await
    }

    /// Reads a part. Bytes that are not those that were written are asked for once more.
    ///
    /// # Errors
    /// [`Fault`].
    pub(crate) async fn get(&self, name: &ObjectName, piece: Piece) -> Result<Bytes, Fault> {
        let path = self.path(name);
        let range = piece.place..piece.place.saturating_add(piece.stored_bytes);
        for _ in 0..2 {
            let bytes = self
                .try_until_late("reading", piece.stored_bytes, || {
                    self.client.get_range(&path, range.clone())
                })
                .await?;
            if bytes.len() as u64 == piece.stored_bytes && checksum(&bytes) == piece.checksum {
                return Ok(bytes);
            }
            tracing::warn!(object = %path, place = %self.place, "wrong bytes from the object store");
        }
        Err(Fault::damaged(&self.place, path.as_ref()))
    }

    /// Whose folder this is: reads the note in it, or leaves one in the name of `own`. On the way it
    /// proves that the bucket is there and that the keys may list, read and write.
    ///
    /// # Errors
    /// [`Fault`].
    pub(crate) async fn owner(&self, own: &str) -> Result<String, Fault> {
        self.page(Some(self.prefix.as_str()), None, 1).await?;
        let path = Path::from(format!("{}{NOTE}", self.prefix));
        let read = || async { self.client.get(&path).await?.bytes().await };
        let noted = match self.try_until_late("reading", 0, read).await {
            Err(fault) if fault.kind == FaultKind::Missing => {
                let note = PutPayload::from(own.to_owned());
                self.try_until_late("storing", 0, || async {
                    self.client.put(&path, note.clone()).await.map(|_| ())
                })
                .await?;
                // Another store may have begun at the same moment: the last note counts for both.
                self.try_until_late("reading", 0, read).await?
            }
            other => other?,
        };
        Ok(String::from_utf8_lossy(&noted).into_owned())
    }

    /// Removes an object; one that is not there is removed already.
    ///
    /// # Errors
    /// [`Fault`].
    pub(crate) async fn delete(&self, name: &ObjectName) -> Result<(), Fault> {
        let path = self.path(name);
        let removed = self.try_until_late("removing", 0, || self.client.delete(&path));
        match removed.await {
            Err(fault) if fault.kind == FaultKind::Missing => Ok(()),
            other => other,
        }
    }

    /// Gives the names of objects from `after` on, a page at a time, in no order.
    ///
    /// # Errors
    /// [`Fault`].
    pub(crate) async fn list(&self, after: Option<String>) -> Result<Listed, Fault> {
        self.page(Some(self.prefix.as_str()), after, LIST_MAX).await
    }

    async fn page(
        &self,
        prefix: Option<&str>,
        token: Option<String>,
        max_keys: usize,
    ) -> Result<Listed, Fault> {
        let prefix = prefix.filter(|prefix| !prefix.is_empty());
        let page = self.try_until_late("listing", 0, || {
            let options = PaginatedListOptions {
                max_keys: Some(max_keys),
                page_token: token.clone(),
                ..PaginatedListOptions::default()
            };
            self.client.list_paginated(prefix, options)
        });
        let page = page.await?;
        let objects = page.result.objects.iter().filter_map(|object| {
            let name = ObjectName::parse(object.location.as_ref().strip_prefix(&self.prefix)?)?;
            let at = Timestamp(object.last_modified.timestamp_millis());
            Some((name, at))
        });
        Ok(Listed {
            objects: objects.collect(),
            next: page.page_token,
        })
    }

    fn path(&self, name: &ObjectName) -> Path {
        Path::from(format!("{}{name}", self.prefix))
    }

    /// Tries until it works, cannot work, or takes too long.
    async fn try_until_late<T, F>(
        &self,
        what: &'static str,
        bytes: u64,
        attempt: impl Fn() -> F,
    ) -> Result<T, Fault>
    where
        F: Future<Output = object_store::Result<T>>,
    {
        let transfer = Duration::from_millis(bytes.saturating_mul(1_000) / BYTES_PER_SECOND_MIN);
        let one = self.timeout / TRIES + transfer;
        let deadline = Instant::now() + self.timeout + transfer;
        let mut pause = BACK_OFF_FIRST;
        loop {
            let patience = one.min(deadline.saturating_duration_since(Instant::now()));
            let fault = match tokio::time::timeout(patience, self.once(&attempt)).await {
                Ok(Ok(done)) => return Ok(done),
                Ok(Err(error)) => Fault::of(&self.place, what, &error),
                Err(_) => Fault::late(&self.place, what, patience),
            };
            let wait = self.spread(pause);
            // A last try that has no time to succeed would only hide what is wrong.
            if !fault.may_heal() || Instant::now() + wait + one / 2 >= deadline {
                return Err(fault);
            }
            tracing::debug!(%fault, "trying the object store again");
            tokio::time::sleep(wait).await;
            pause = (pause * 2).min(BACK_OFF_MAX);
        }
    }

    /// One try, when it is its turn.
    async fn once<T, F>(&self, attempt: impl Fn() -> F) -> object_store::Result<T>
    where
        F: Future<Output = object_store::Result<T>>,
    {
        // The semaphore is never closed; without it the try would only be uncounted.
        let _turn = self.transfers.acquire().await;
        attempt().await
    }

    /// Between half of a pause and all of it, so that many who fail together do not come together.
    fn spread(&self, pause: Duration) -> Duration {
        let part = u32::try_from(self.entropy.next_u64() % 1_000).unwrap_or(0);
        pause / 2 + pause * part / 2_000
    }
}

impl ObjectName {
    /// Reads a name back; `None` if it is not one of ours.
    fn parse(text: &str) -> Option<Self> {
        let (folder, rest) = text.split_once('/')?;
        let mut texts = rest.split('-');
        let (hash_text, id_text) = (texts.next()?, texts.next()?);
        let generation = match texts.next() {
            Some(text) => u32::from_str_radix(text, 16).ok()?,
            None => 0,
        };
        let mut hash = [0; 32];
        for (at, byte) in hash.iter_mut().enumerate() {
            *byte = u8::from_str_radix(hash_text.get(at * 2..at * 2 + 2)?, 16).ok()?;
        }
        let id = u64::from_str_radix(id_text, 16).ok()?;
        let name = Self {
            hash,
            blob_id: i64::from_le_bytes(id.to_le_bytes()),
            generation,
        };
        // Only the one spelling that we write.
        (hash_text.starts_with(folder) && name.to_string() == text).then_some(name)
    }
}

impl std::fmt::Display for ObjectName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // A folder of two digits keeps lists short for people; the store does not need it.
        write!(f, "{:02x}/", self.hash[0])?;
        for byte in self.hash {
            write!(f, "{byte:02x}")?;
        }
        write!(f, "-{:016x}", self.blob_id)?;
        match self.generation {
            0 => Ok(()),
            generation => write!(f, "-{generation:08x}"),
        }
    }
}

fn client(options: &ObjectOptions) -> object_store::Result<AmazonS3> {
    // Tries are made here, where their deadline and their number of transfers are known.
    let no_retries = RetryConfig {
        max_retries: 0,
        ..RetryConfig::default()
    };
    let connection = ClientOptions::new()
        .with_allow_http(true)
        .with_timeout_disabled()
        .with_connect_timeout(CONNECT_TIMEOUT.min(options.timeout / TRIES));
    let mut builder = match &options.keys {
        Some(keys) => {
            let builder = AmazonS3Builder::new()
                .with_access_key_id(&keys.key_id)
                .with_secret_access_key(keys.secret_key.expose_str().unwrap_or_default());
            match keys.token.as_ref().and_then(|token| token.expose_str()) {
                Some(token) => builder.with_token(token),
                None => builder,
            }
        }
        // A role of the machine or of the container, as Amazon gives them.
        None => AmazonS3Builder::from_env(),
    };
    if !options.endpoint.is_empty() {
        builder = builder.with_endpoint(&options.endpoint);
    }
    builder
        .with_region(&options.region)
        .with_bucket_name(&options.bucket)
        .with_client_options(connection)
        .with_retry(no_retries)
        // Not every store has the other way, and we remove one at a time.
        .with_disable_bulk_delete(true)
        .build()
}

#[cfg(test)]
mod tests;
