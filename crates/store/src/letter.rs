//! A letter on its way into the store: collected in memory, beyond 256 KiB in a temporary file,
//! and hashed while it comes.

use bytes::Bytes;

use crate::{Store, StoreError};

/// Collects a letter as it arrives.
pub struct Spool {}

/// A whole letter in memory, with its hash; holds its share of the memory for letters until it is
/// dropped. Cheap to clone.
#[derive(Clone)]
pub struct Letter {}

impl Spool {
    /// Adds bytes.
    ///
    /// # Errors
    /// [`StoreError::DiskFull`] or [`StoreError::Io`] of the temporary file. The caller checks the
    /// size limit with [`Self::len`].
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        todo!()
    }

    /// Bytes collected so far.
    #[must_use]
    pub fn len(&self) -> u64 {
        todo!()
    }

    /// Whether nothing has been collected.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Ends the collecting; waits while too many large letters are in memory.
    pub async fn finish(self) -> Result<Letter, StoreError> {
        todo!()
    }
}

impl Letter {
    /// The letter as received.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        todo!()
    }

    /// BLAKE3 of [`Self::bytes`].
    #[must_use]
    pub fn hash(&self) -> &[u8; 32] {
        todo!()
    }
}

impl Store {
    /// A new, empty spool.
    #[must_use]
    pub fn spool(&self) -> Spool {
        todo!()
    }

    /// A letter that is in memory already (reports, small APPENDs).
    pub async fn letter(&self, bytes: Bytes) -> Result<Letter, StoreError> {
        todo!()
    }
}
