//! Removes old restore points, and the bytes that no point needs any more.
//!
//! A pack that no point needs is removed; one of which less than half is needed is written anew, the
//! new pack before the old one goes, so that a run that is cut short loses nothing.

use std::collections::BTreeSet;

use super::pack::{self, PackWriter};
use super::{BackupFolder, Known, Manifest, check};
use crate::StoreError;

/// Keeps the newest points and gives the names of those that are gone.
pub(super) fn prune(folder: &BackupFolder, keep: usize) -> Result<Vec<String>, StoreError> {
    let mut points = folder.points()?;
    let kept = points.split_off(points.len().saturating_sub(keep.max(1)));
    if points.is_empty() {
        return Ok(Vec::new());
    }
    for point in &points {
        folder.remove(&point.id)?;
    }
    tidy(folder, &kept)?;
    Ok(points.into_iter().map(|point| point.id).collect())
}

fn tidy(folder: &BackupFolder, kept: &[Manifest]) -> Result<(), StoreError> {
    let blobs = folder.blobs_dir();
    let known = Known::open(&blobs)?;
    let mut writer = PackWriter::new(blobs.clone())?;
    let mut going = Vec::new();
    for number in known.packs() {
        let records = match known.records_of(number) {
            Ok(records) => records,
            Err(error) => {
                tracing::warn!(%error, "a damaged pack of the backup stays as it is");
                continue;
            }
        };
        let (Some(first), Some(last)) = (records.first(), records.last()) else {
            going.push(number);
            continue;
        };
        // Of each point only the hashes of this pack are in memory: 256 MiB have few of them.
        let held: BTreeSet<[u8; 32]> = records.iter().map(|record| record.hash).collect();
        let mut needed = BTreeSet::new();
        for point in kept {
            let here =
                |hash: &[u8; 32]| (first.hash..=last.hash).contains(hash) && held.contains(hash);
            check::hashes(folder, point, here, &mut needed)?;
        }
        let all: u64 = records.iter().map(|record| record.length).sum();
        let live = records
            .iter()
            .filter(|record| needed.contains(&record.hash));
        let live: Vec<_> = live.copied().collect();
        let bytes: u64 = live.iter().map(|record| record.length).sum();
        if bytes > all / 2 {
            continue;
        }
        // What cannot be read now may be read by other means, as long as it is there.
        let read = live
            .iter()
            .try_for_each(|record| check::read_through(&known, record));
        if let Err(error) = read {
            tracing::warn!(%error, "a damaged pack of the backup stays as it is");
            continue;
        }
        for record in live {
            let mut reader = known.read(&record)?;
            writer.begin(record.hash, reader.total, reader.parts)?;
            while let Some(part) = reader.next()? {
                writer.part(&part)?;
            }
        }
        going.push(number);
    }
    writer.seal()?;
    for number in going {
        pack::remove(&blobs, number)?;
    }
    Ok(())
}
