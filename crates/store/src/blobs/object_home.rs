//! Letters in an object store, behind the read cache of this node: how rows name objects.
//!
//! The `place` of a row holds where the part begins in its object and, above 32 bits, the generation
//! of the object's name. What nobody names any more is removed after the commit that took the last
//! name, and what that misses by [`super::orphans`].

use std::path::Path;
use std::sync::Arc;

use base::ports::Entropy;
use bytes::Bytes;

use super::cache::Cache;
use super::fault::FaultKind;
use super::home::{Got, IN_OBJECT, Place};
use super::object_options::ObjectOptions;
use super::objects::{ObjectName, Objects, Piece};
use super::segments::{Name, checksum};
use crate::StoreError;
use crate::letter::io;

/// The folder of the cache in the data folder.
const CACHE_FOLDER: &str = "cache";
/// Where the generation begins in a place.
const GENERATION_SHIFT: u32 = 32;

/// An object store, and what was read from it.
pub(crate) struct ObjectHome {
    pub objects: Objects,
    cache: Option<Cache>,
    /// Held by others while nothing may be removed.
    holds: Arc<()>,
}

impl ObjectHome {
    /// Opens the cache and prepares the way to the bucket. Blocks.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] if the options cannot be right.
    pub(crate) fn open(
        options: &ObjectOptions,
        data_dir: &Path,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, StoreError> {
        let folder = data_dir.join(CACHE_FOLDER);
        let cache = match options.cache_bytes {
            0 => None,
            bytes_max => match Cache::open(folder, bytes_max) {
                Ok(cache) => Some(cache),
                Err(error) => {
                    tracing::warn!(error = %io(error), "the read cache of letters cannot be used");
                    None
                }
            },
        };
        Ok(Self {
            objects: Objects::open(options, entropy)?,
            cache,
            holds: Arc::default(),
        })
    }

    /// A new name for a blob that is stored elsewhere.
    pub(crate) fn name_of_moved(&self, blob: Name) -> ObjectName {
        // Below 31 bits, so that a place stays positive; 0 is for what came in.
        let generation = u32::try_from(self.objects.random() >> 33)
            .unwrap_or(1)
            .max(1);
        ObjectName {
            hash: blob.hash,
            blob_id: blob.blob_id,
            generation,
        }
    }

    /// Stores the parts of a letter under a new name; gives their places.
    ///
    /// # Errors
    /// [`StoreError::Io`]; nothing is stored then that anybody names.
    pub(crate) async fn put(
        &self,
        name: ObjectName,
        parts: &[Bytes],
    ) -> Result<Vec<Place>, StoreError> {
        self.objects.put(&name, parts).await?;
        let mut offset = 0;
        let mut places = Vec::with_capacity(parts.len());
        for part in parts {
            let stored_bytes = i64::try_from(part.len()).unwrap_or(i64::MAX);
            places.push(Place {
                segment: IN_OBJECT,
                offset: i64::from(name.generation) << GENERATION_SHIFT | offset,
                stored_bytes,
                checksum: checksum(part),
            });
            if let Some(cache) = &self.cache {
                // What has just come in is read soon.
                cache.put(name, offset.unsigned_abs(), part.clone()).await;
            }
            offset += stored_bytes;
        }
        Ok(places)
    }

    /// Reads a part: from the cache, or else from the object store.
    ///
    /// # Errors
    /// [`StoreError::Io`], which names what is wrong with the object store.
    pub(crate) async fn get(&self, name: Name, place: Place) -> Result<Got, StoreError> {
        let (object, offset) = object_of(name.hash, name.blob_id, place);
        if let Some(cache) = &self.cache
            && let Some(bytes) = cache.get(object, offset, place.checksum).await
        {
            return Ok(Got::Bytes(bytes));
        }
        let got = self.get_original(name, place).await?;
        if let (Some(cache), Got::Bytes(bytes)) = (&self.cache, &got) {
            cache.put(object, offset, bytes.clone()).await;
        }
        Ok(got)
    }

    /// Reads a part from the object store.
    ///
    /// # Errors
    /// Those of [`Self::get`].
    pub(crate) async fn get_original(&self, name: Name, place: Place) -> Result<Got, StoreError> {
        let (object, offset) = object_of(name.hash, name.blob_id, place);
        let piece = Piece {
            place: offset,
            stored_bytes: place.stored_bytes.unsigned_abs(),
            checksum: place.checksum,
        };
        match self.objects.get(&object, piece).await {
            Ok(bytes) => Ok(Got::Bytes(bytes)),
            Err(fault) if fault.kind == FaultKind::Missing => Ok(Got::Nothing),
            Err(fault) if fault.kind == FaultKind::Damaged => Ok(Got::Damaged(fault.into())),
            Err(fault) => Err(fault.into()),
        }
    }

    /// Removes objects that no row names any more. What fails is left to be found as an orphan.
    pub(crate) async fn remove(&self, names: &[ObjectName]) {
        for (done, name) in names.iter().enumerate() {
            if self.is_held() {
                return;
            }
            if let Err(fault) = self.objects.delete(name).await {
                let left = names.len() - done;
                tracing::warn!(%fault, left, "objects nobody needs are left for a later look");
                return;
            }
        }
    }

    /// While it lives, nothing is removed here.
    pub(crate) fn hold(&self) -> Arc<()> {
        Arc::clone(&self.holds)
    }

    /// Whether somebody needs that nothing is removed.
    pub(crate) fn is_held(&self) -> bool {
        Arc::strong_count(&self.holds) > 1
    }
}

/// The object that a row names, and where its part begins there.
pub(crate) fn object_of(hash: [u8; 32], blob_id: i64, place: Place) -> (ObjectName, u64) {
    let bits = place.offset.unsigned_abs();
    let name = ObjectName {
        hash,
        blob_id,
        generation: u32::try_from(bits >> GENERATION_SHIFT).unwrap_or(u32::MAX),
    };
    (name, bits & u64::from(u32::MAX))
}
