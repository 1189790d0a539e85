//! Objects that no row names: uploads whose transaction never came, and removals that a crash or an
//! outage cut short. They are found by listing the bucket, and removed when they are so old that
//! nobody can be about to name them.
//!
//! Listing makes a mistake costly, so it is done only in a folder whose note bears this store's
//! number: two stores never remove each other's letters.

use std::collections::BTreeSet;
use std::time::Duration;

use super::home::Place;
use super::object_home::{ObjectHome, object_of};
use super::objects::ObjectName;
use crate::engine::{Body, Engine, Priority, Tx, params};
use crate::{Store, StoreError};

/// Longer than any upload with its transaction, any read, and any difference between clocks: S3
/// refuses requests from clocks that are 15 minutes off.
pub(crate) const GRACE: Duration = Duration::from_secs(24 * 3_600);
/// How often the bucket is listed: orphans are few, and each thousand names cost a request.
const PERIOD: Duration = Duration::from_secs(24 * 3_600);
/// Names that one look into the rows is for.
const LOOK_MAX: usize = 100;

impl Store {
    /// Removes orphans, if it is time for it and no other node does.
    pub(crate) async fn remove_orphans_when_due(&self) -> Result<(), StoreError> {
        let Some(objects) = self.0.homes.objects() else {
            return Ok(());
        };
        let Some(hold) = self.hold_job("orphans", PERIOD).await? else {
            return Ok(());
        };
        match hold.run(self.remove_orphans(objects)).await {
            Ok(Some(removed)) if removed > 0 => {
                tracing::info!(removed, "removed objects that no letter needs");
                Ok(())
            }
            Ok(_) => Ok(()),
            Err(StoreError::Closed) => Err(StoreError::Closed),
            // The object store may be away; the other work of the house goes on.
            Err(error) => {
                tracing::warn!(%error, "objects that no letter needs could not be looked for");
                Ok(())
            }
        }
    }

    async fn remove_orphans(&self, objects: &ObjectHome) -> Result<u64, StoreError> {
        objects.check_owner(&self.0.engine).await?;
        let old = self.0.shared.now() - GRACE;
        let mut removed = 0;
        let mut after = None;
        loop {
            let page = objects.objects.list(after).await?;
            let names = page.objects.into_iter().filter(|(_, at)| *at < old);
            let names: Vec<ObjectName> = names.map(|(name, _)| name).collect();
            for names in names.chunks(LOOK_MAX) {
                let unnamed = Unnamed {
                    names: names.to_vec(),
                };
                let unnamed = self.0.engine.read(unnamed).await?;
                removed += unnamed.len() as u64;
                objects.remove(&unnamed).await;
            }
            after = page.next;
            if after.is_none() || objects.is_held() {
                return Ok(removed);
            }
        }
    }
}

impl ObjectHome {
    /// Checks that the objects are those of this store.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] if they are not, or the setup is wrong; [`StoreError::Busy`] if the
    /// object store does not answer now.
    pub(crate) async fn check_owner(&self, engine: &Engine) -> Result<(), StoreError> {
        let random = i64::try_from(self.objects.random() >> 1).unwrap_or(1);
        let number = engine
            .write(StoreNumber { random }, Priority::Urgent)
            .await?;
        let own = format!("{number:016x}");
        let owner = self.objects.owner(&own).await.map_err(|fault| {
            if fault.may_heal() {
                StoreError::Busy(fault.to_string())
            } else {
                StoreError::Invalid(fault.to_string())
            }
        })?;
        if owner == own {
            return Ok(());
        }
        Err(StoreError::Invalid(format!(
            "the object store {} holds the letters of another store (its note pennyblack-store is \
             not ours, {own}): choose another prefix in blobs.url",
            self.objects.place()
        )))
    }
}

/// The number that tells this store from others, made when it is first asked for.
struct StoreNumber {
    /// The number, if there is none yet.
    random: i64,
}

impl Body for StoreNumber {
    type Out = i64;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<i64, StoreError> {
        let read = "SELECT number FROM object_note WHERE one = 1";
        if let Some(row) = tx.row(read, &[]).await? {
            return row.int(0);
        }
        let insert = "INSERT INTO object_note (one, number) VALUES (1, $1)
            ON CONFLICT (one) DO NOTHING";
        tx.execute(insert, params![self.random]).await?;
        tx.one(read, &[]).await?.int(0)
    }
}

/// Which of these objects no row names.
struct Unnamed {
    names: Vec<ObjectName>,
}

impl Body for Unnamed {
    type Out = Vec<ObjectName>;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Vec<ObjectName>, StoreError> {
        let mut unnamed = Vec::new();
        for name in &self.names {
            let named = named_objects(tx, &name.hash).await?;
            if !named.contains(name) {
                unnamed.push(*name);
            }
        }
        Ok(unnamed)
    }
}

/// The objects that the rows of a letter name: one, or more where an upload was cut short.
pub(crate) async fn named_objects(
    tx: &mut Tx<'_>,
    hash: &[u8; 32],
) -> Result<BTreeSet<ObjectName>, StoreError> {
    let sql = "SELECT blob_id, segment, place FROM blob WHERE hash = $1 AND segment = -1";
    let rows = tx.rows(sql, params![hash]).await?;
    let names = rows.iter().map(|row| {
        let place = Place {
            segment: row.int(1)?,
            offset: row.int(2)?,
            stored_bytes: 0,
            checksum: 0,
        };
        Ok(object_of(*hash, row.int(0)?, place).0)
    });
    names.collect()
}
