//! Reads a restore point whole and says what is damaged.

use std::collections::BTreeSet;

use super::{
    BackupFolder, BlobEntry, Known, Manifest, Progress, Record, TableReader, Watcher, table_file,
};
use crate::StoreError;

/// Damages that are listed; more are only counted.
const DAMAGES_MAX: usize = 100;

/// What a check of a restore point found.
#[derive(Clone, Debug)]
pub struct PointCheck {
    /// The point.
    pub point: Manifest,
    /// What is damaged, in words; at most 100 lines.
    pub damages: Vec<String>,
    /// How many damages there are.
    pub count: u64,
    /// How many of them are letters whose bytes are damaged or missing; the rest can be restored.
    pub lost: u64,
    /// The first damage to rows or lists, with which nothing can be restored.
    pub refusal: Option<String>,
    /// Bytes of packs that were read.
    pub bytes: u64,
}

impl PointCheck {
    fn note(&mut self, damage: String) {
        self.count += 1;
        if self.damages.len() < DAMAGES_MAX {
            self.damages.push(damage);
        }
    }

    fn try_to<T>(&mut self, outcome: Result<T, StoreError>) -> Option<T> {
        match outcome {
            Ok(value) => Some(value),
            Err(error) => {
                self.refuse(error.to_string());
                None
            }
        }
    }

    fn refuse(&mut self, damage: String) {
        self.refusal.get_or_insert_with(|| damage.clone());
        self.note(damage);
    }

    fn lose(&mut self, damage: String) {
        self.lost += 1;
        self.note(damage);
    }
}

/// Reads all of a point.
pub(super) fn check(
    folder: &BackupFolder,
    point: &Manifest,
    watcher: &Watcher,
) -> Result<PointCheck, StoreError> {
    let mut found = PointCheck {
        point: point.clone(),
        damages: Vec::new(),
        count: 0,
        lost: 0,
        refusal: None,
        bytes: 0,
    };
    for table in &point.tables {
        let path = folder
            .point_dir(&point.id)
            .join(format!("tables/{}.zst", table.name));
        let sum = found.try_to(table_file::checksum(&path));
        if sum.is_some_and(|sum| sum != table.checksum) {
            found.refuse(format!("{}: its checksum is wrong", path.display()));
        }
    }
    let list = folder.point_dir(&point.id).join("blobs.zst");
    match found.try_to(table_file::checksum(&list)) {
        Some(sum) if sum == point.blob_list => {}
        Some(_) => {
            found.refuse(format!("{}: its checksum is wrong", list.display()));
            return Ok(found);
        }
        None => return Ok(found),
    }
    let mut known = Known::open(&folder.blobs_dir())?;
    for pack in known.packs().collect::<Vec<_>>() {
        let records = known.records_of(pack).map(|_| ());
        found.try_to(records);
    }
    let mut done = 0;
    each_slice(folder, point, &mut known, |known, records, missing| {
        for blob in missing {
            let hash = blake3::Hash::from_bytes(blob.hash).to_hex();
            found.lose(format!("no pack has the blob {hash}"));
        }
        for (record, _) in records {
            found.bytes += record.length;
            if let Err(error) = read_through(known, record) {
                found.lose(error.to_string());
            }
        }
        done += (records.len() + missing.len()) as u64;
        watcher(Progress {
            step: "checking",
            done,
            total: point.blobs,
        });
        Ok(())
    })?;
    Ok(found)
}

pub(super) fn read_through(known: &Known, record: &Record) -> Result<(), StoreError> {
    let mut reader = known.read(record)?;
    while reader.next()?.is_some() {}
    Ok(())
}

/// Goes through the blobs of a point in slices, each in the order in which they lie in the packs:
/// the records with what the point says of them, and the blobs that no pack has.
pub(crate) fn each_slice(
    folder: &BackupFolder,
    point: &Manifest,
    known: &mut Known,
    mut work: impl FnMut(&Known, &[(Record, BlobEntry)], &[BlobEntry]) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let mut list = TableReader::new(folder.point_dir(&point.id).join("blobs.zst"))?;
    let mut at = 0;
    let mut records: Vec<(Record, BlobEntry)> = Vec::new();
    let mut missing = Vec::new();
    // The list is in the order of hashes only in pieces, which is enough to be quick.
    while let Some(rows) = list.next()? {
        for row in rows {
            let blob = BlobEntry::from_row(row)?;
            let slice = known.slice_of(&blob.hash);
            if slice != at || records.len() >= SLICE_MAX {
                records.sort_unstable_by_key(|(record, _)| *record);
                work(known, &records, &missing)?;
                records.clear();
                missing.clear();
                at = slice;
            }
            match known.find(&blob.hash)? {
                Some(record) => records.push((record, blob)),
                None => missing.push(blob),
            }
        }
    }
    records.sort_unstable_by_key(|(record, _)| *record);
    work(known, &records, &missing)
}

/// Records that are sorted at once, when there are few slices: 15 MB.
const SLICE_MAX: usize = 100_000;

/// The hashes of a point that are in a slice.
pub(super) fn hashes(
    folder: &BackupFolder,
    point: &Manifest,
    mut wanted: impl FnMut(&[u8; 32]) -> bool,
    into: &mut BTreeSet<[u8; 32]>,
) -> Result<(), StoreError> {
    let mut list = TableReader::new(folder.point_dir(&point.id).join("blobs.zst"))?;
    while let Some(rows) = list.next()? {
        for row in rows {
            let blob = BlobEntry::from_row(row)?;
            if wanted(&blob.hash) {
                into.insert(blob.hash);
            }
        }
    }
    Ok(())
}
