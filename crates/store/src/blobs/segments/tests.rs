//! Segments alone, on real files: torn and changed bytes, failing writes, many appends at once.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use proptest::prelude::*;
use tempfile::TempDir;

use super::record::{Header, checksum};
use super::scan::scan;

use super::*;
use crate::prepare::Coding;

fn record(seed: u64, bytes: usize) -> Record {
    let hash = *blake3::hash(&seed.to_le_bytes()).as_bytes();
    let mut stored = vec![0; bytes];
    blake3::Hasher::new_keyed(&hash)
        .finalize_xof()
        .fill(&mut stored);
    Record {
        name: Name {
            hash,
            blob_id: i64::try_from(seed).unwrap(),
            part: u32::try_from(seed % 7).unwrap(),
        },
        coding: if seed.is_multiple_of(2) {
            Coding::Plain
        } else {
            Coding::Zstd
        },
        plain_bytes: u32::try_from(bytes * 2).unwrap(),
        stored: stored.into(),
    }
}

fn small() -> Options {
    Options {
        segment_bytes_max: 10_000,
        ..Options::default()
    }
}

fn open(folder: &TempDir, options: Options) -> Segments {
    let segments = Segments::open(folder.path().to_owned(), options).unwrap();
    let first = segments.wants_numbers().unwrap();
    segments.add_numbers(first..first + 100);
    segments
}

async fn append(segments: &Segments, records: &[Record]) -> Vec<Place> {
    let appended = segments.append(records.to_vec()).await.unwrap();
    appended.into_iter().flat_map(|one| one.places).collect()
}

/// The error of a read that must fail, and not because the file is gone.
fn damage(segments: &Segments, place: Place, name: &Name) -> String {
    match segments.read(place, name) {
        Err(ReadError::Damaged(error)) => error.to_string(),
        other => panic!("read {other:?}"),
    }
}

#[tokio::test]
async fn what_is_appended_is_read_back_now_and_after_opening_again() {
    let folder = tempfile::tempdir().unwrap();
    let records: Vec<Record> = (0..30)
        .map(|seed| record(seed, 100 * seed as usize))
        .collect();
    let segments = open(&folder, small());
    let mut places = Vec::new();
    for pair in records.chunks(2) {
        places.extend(append(&segments, pair).await);
    }
    assert!(places.last().unwrap().segment > 3, "files have a limit");
    let check = |segments: &Segments| {
        for (place, record) in places.iter().zip(&records) {
            assert_eq!(segments.read(*place, &record.name).unwrap(), *record);
        }
    };
    check(&segments);
    segments.close();
    assert!(matches!(
        segments.append(vec![record(1, 1)]).await,
        Err(StoreError::Closed)
    ));
    let again = open(&folder, small());
    check(&again);
    let next = append(&again, &[record(99, 10)]).await[0];
    assert_eq!(next.segment, places.last().unwrap().segment + 1);
    assert_eq!(next.offset, 0, "a file that was there is not appended to");
}

#[tokio::test]
async fn a_number_is_not_used_again_when_its_file_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let segments = open(&folder, small());
    let place = append(&segments, &[record(1, 100)]).await[0];
    segments.close();
    segments.remove(place.segment).unwrap();
    segments.remove(place.segment).unwrap();
    assert!(matches!(
        segments.read(place, &record(1, 100).name),
        Err(ReadError::Gone)
    ));
    // The counter says 6, the folder has nothing.
    let again = Segments::open(folder.path().to_owned(), small()).unwrap();
    assert_eq!(again.wants_numbers(), Some(1));
    again.add_numbers(6..8);
    assert_eq!(append(&again, &[record(2, 100)]).await[0].segment, 6);
    again.close();
    // The folder has 6, the counter was set back.
    let again = Segments::open(folder.path().to_owned(), small()).unwrap();
    assert_eq!(again.wants_numbers(), Some(7));
    again.add_numbers(5..9);
    assert_eq!(append(&again, &[record(3, 100)]).await[0].segment, 7);
}

#[tokio::test]
async fn without_a_number_nothing_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let segments = Segments::open(folder.path().to_owned(), small()).unwrap();
    let error = segments.append(vec![record(1, 1)]).await.unwrap_err();
    assert!(matches!(error, StoreError::Busy(_)), "{error}");
    assert_eq!(segments.files().unwrap(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn appends_of_many_tasks_do_not_mix() {
    let folder = tempfile::tempdir().unwrap();
    let segments = Arc::new(open(
        &folder,
        Options {
            segment_bytes_max: 300_000,
            ..Options::default()
        },
    ));
    let tasks: Vec<_> = (0..16_u64)
        .map(|task| {
            let segments = Arc::clone(&segments);
            tokio::spawn(async move {
                let mut stored = Vec::new();
                for number in 0..20 {
                    let seed = task * 1_000 + number;
                    let records = [record(seed, 900), record(seed + 500, 3_000)];
                    let places = append(&segments, &records).await;
                    stored.extend(places.into_iter().zip(records));
                }
                stored
            })
        })
        .collect();
    let mut stored = BTreeMap::new();
    for task in tasks {
        stored.extend(task.await.unwrap().into_iter().map(|(place, record)| {
            assert_eq!(segments.read(place, &record.name).unwrap(), record);
            ((place.segment, place.offset), record)
        }));
    }
    assert_eq!(stored.len(), 16 * 40, "no place was given twice");
    segments.close();
    // The files hold these records and nothing else.
    for file in segments.files().unwrap() {
        let scanned = scan(&segments.path(file.number), |offset, record| {
            let key = (file.number, i64::try_from(offset).unwrap());
            assert_eq!(stored.remove(&key), Some(record));
        });
        assert_eq!(scanned.unwrap().good_bytes, file.bytes);
    }
    assert_eq!(stored.len(), 0);
}

#[tokio::test]
async fn a_large_letter_goes_in_several_writes() {
    let folder = tempfile::tempdir().unwrap();
    let segments = open(&folder, Options::default());
    let records: Vec<Record> = (0..40).map(|seed| record(seed, 250_000)).collect();
    let appended = segments.append(records.clone()).await.unwrap();
    assert!(appended.len() > 2, "{}", appended.len());
    let places: Vec<Place> = appended.into_iter().flat_map(|one| one.places).collect();
    for (place, record) in places.iter().zip(&records) {
        assert_eq!(segments.read(*place, &record.name).unwrap(), *record);
    }
    let error = segments.append(vec![record(1, STORED_BYTES_MAX + 1)]).await;
    assert!(matches!(error, Err(StoreError::Bug(_))));
    append(&segments, &[record(1, STORED_BYTES_MAX)]).await;
}

#[tokio::test]
async fn a_segment_that_somebody_needs_is_not_free() {
    let folder = tempfile::tempdir().unwrap();
    let segments = open(&folder, small());
    let first = segments.append(vec![record(1, 9_000)]).await.unwrap();
    let second = segments.append(vec![record(2, 9_000)]).await.unwrap();
    assert_eq!(first[0].places[0].segment, 1);
    assert_eq!(second[0].places[0].segment, 2);
    assert!(!segments.is_free(1), "a transaction may name its records");
    drop(first);
    assert!(segments.is_free(1));
    let hold = segments.hold();
    assert!(!segments.is_free(1), "a copy of the store may need it");
    drop(hold);
    drop(second);
    assert!(!segments.is_free(2), "it still grows");
    assert!(!segments.is_full(2));
}

#[tokio::test]
async fn every_torn_tail_is_known() {
    let folder = tempfile::tempdir().unwrap();
    let segments = open(&folder, Options::default());
    let records = [record(1, 150), record(2, 0), record(3, 300)];
    let places = append(&segments, &records).await;
    segments.close();
    let path = segments.path(1);
    let whole = fs::read(&path).unwrap();
    for length in 0..=whole.len() {
        fs::write(&path, &whole[..length]).unwrap();
        let mut found = Vec::new();
        let scanned = scan(&path, |_, record| found.push(record)).unwrap();
        let ends = records.iter().scan(0, |end, record| {
            *end += record.len();
            Some(*end)
        });
        let good: Vec<u64> = ends.filter(|end| *end <= length as u64).collect();
        assert_eq!(scanned.records, good.len() as u64);
        assert_eq!(scanned.good_bytes, good.last().copied().unwrap_or(0));
        assert_eq!(scanned.file_bytes, length as u64);
        assert_eq!(found, records[..good.len()]);
        // The records before are read as ever, those behind are said to be missing.
        let again = Segments::open(folder.path().to_owned(), small()).unwrap();
        for (at, (place, record)) in places.iter().zip(&records).enumerate() {
            if at < good.len() {
                assert_eq!(again.read(*place, &record.name).unwrap(), *record);
            } else {
                let text = damage(&again, *place, &record.name);
                let of_file = format!("0000000001.seg at {}", place.offset);
                assert!(text.contains(&of_file), "{text}");
                assert!(text.contains("the file ends before it"), "{text}");
            }
        }
    }
}

#[tokio::test]
async fn a_record_that_is_another_one_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let segments = open(&folder, Options::default());
    let records = [record(1, 50), record(2, 50)];
    let places = append(&segments, &records).await;
    let text = damage(&segments, places[0], &records[1].name);
    assert!(text.contains("another letter"), "{text}");
    let place = Place {
        checksum: places[1].checksum,
        ..places[0]
    };
    let text = damage(&segments, place, &records[0].name);
    assert!(text.contains("checksum"), "{text}");
    for stored_bytes in [i64::MAX, -1, 1 << 40] {
        let place = Place {
            stored_bytes,
            ..places[0]
        };
        let text = damage(&segments, place, &records[0].name);
        assert!(text.contains("impossible length"), "{text}");
    }
}

#[tokio::test]
async fn more_files_are_read_than_are_kept_open() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options {
        segment_bytes_max: 1,
        ..Options::default()
    };
    let segments = open(&folder, options);
    let records: Vec<Record> = (0..90).map(|seed| record(seed, 20)).collect();
    let mut places = Vec::new();
    for record in &records {
        places.extend(append(&segments, std::slice::from_ref(record)).await);
    }
    for _ in 0..2 {
        for (place, record) in places.iter().zip(&records) {
            assert_eq!(segments.read(*place, &record.name).unwrap(), *record);
        }
    }
    let of_folder = format!("{}/", folder.path().display());
    let open = fs::read_dir("/proc/self/fd").unwrap().filter(|entry| {
        let target = fs::read_link(entry.as_ref().unwrap().path());
        target.is_ok_and(|path| path.to_string_lossy().starts_with(&of_folder))
    });
    assert!(open.count() <= 33);
}

/// Whoever asks for a flush that fails must hear of it, and the file is left behind: after a failed
/// flush a later one may claim success for bytes that are lost.
#[tokio::test]
async fn after_a_failed_flush_a_new_file_is_begun() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options::default();
    let fail = Arc::clone(&options.fail_flush);
    let segments = open(&folder, options);
    let first = append(&segments, &[record(1, 100)]).await[0];
    fail.store(true, Ordering::Release);
    let error = segments.append(vec![record(2, 100)]).await.unwrap_err();
    assert!(error.to_string().contains("0000000001.seg"), "{error}");
    let third = append(&segments, &[record(3, 100)]).await[0];
    assert_eq!((third.segment, third.offset), (2, 0));
    let read = segments.read(first, &record(1, 100).name).unwrap();
    assert_eq!(read, record(1, 100));
    assert!(segments.is_free(1), "nobody waits for it any more");
}

/// A write that the system refuses half-way, for real: the child may not make files above 64 KiB.
#[test]
fn a_write_that_fails_is_cut_off() {
    let output = Command::new("sh")
        .args(["-c", "ulimit -f 128; trap '' XFSZ; exec \"$0\" \"$@\""])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "--ignored", "--nocapture"])
        .arg("blobs::segments::tests::child_with_a_limit")
        .env("PENNYBLACK_CHILD", "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}{errors}");
    assert!(text.contains("1 passed"), "{text}{errors}");
}

#[tokio::test]
#[ignore = "run by the test above"]
async fn child_with_a_limit() {
    if std::env::var_os("PENNYBLACK_CHILD").is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let segments = open(&folder, Options::default());
    let small = append(&segments, &[record(1, 30_000)]).await[0];
    let error = segments.append(vec![record(2, 50_000)]).await.unwrap_err();
    assert!(error.to_string().contains("0000000001.seg"), "{error}");
    let length = fs::metadata(segments.path(1)).unwrap().len();
    assert_eq!(length, record(1, 30_000).len(), "half a record is left");
    // What is smaller still fits, in the same file.
    let next = append(&segments, &[record(3, 20_000)]).await[0];
    assert_eq!((next.segment, next.offset), (1, length as i64));
    for (place, record) in [(small, record(1, 30_000)), (next, record(3, 20_000))] {
        assert_eq!(segments.read(place, &record.name).unwrap(), record);
    }
}

#[test]
fn only_names_of_segments_are_taken() {
    let folder = tempfile::tempdir().unwrap();
    for name in [
        "0000000007.seg",
        "12345678901.seg",
        "7.seg",
        "x.seg",
        "0000000007.tmp",
        "-000000007.seg",
    ] {
        fs::write(folder.path().join(name), b"").unwrap();
    }
    let numbers: Vec<i64> = list(folder.path())
        .unwrap()
        .iter()
        .map(|file| file.number)
        .collect();
    assert_eq!(numbers, [7, 12_345_678_901]);
    let missing = list(&folder.path().join("none")).unwrap_err().to_string();
    assert!(missing.contains("none"), "{missing}");
}

/// Three records in a file, as bytes.
fn written() -> (Vec<Record>, Vec<u8>) {
    let records: Vec<Record> = [(1, 40), (2, 200), (3, 90)]
        .map(|(seed, bytes)| record(seed, bytes))
        .into();
    let mut bytes = Vec::new();
    for record in &records {
        record.write(&mut bytes);
    }
    (records, bytes)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// A changed bit anywhere ends the walk before that record, and the record is not read.
    #[test]
    fn a_flipped_bit_is_found(at in 0..written().1.len(), bit in 0..8_u32) {
        let (records, mut bytes) = written();
        bytes[at] ^= 1 << bit;
        let folder = tempfile::tempdir().unwrap();
        let path = file_path(folder.path(), 1);
        fs::write(&path, &bytes).unwrap();
        let mut found = Vec::new();
        let scanned = scan(&path, |_, record| found.push(record)).unwrap();
        let mut end = 0;
        let good = records.iter().take_while(|record| {
            end += record.len();
            end <= at as u64
        });
        let good = good.count();
        prop_assert_eq!(&found, &records[..good]);
        prop_assert_eq!(scanned.records, good as u64);
        let segments = Segments::open(folder.path().to_owned(), small()).unwrap();
        let mut offset = 0;
        for (number, record) in records.iter().enumerate() {
            let place = Place {
                segment: 1,
                offset,
                stored_bytes: i64::try_from(record.stored.len()).unwrap(),
                checksum: checksum(&record.stored),
            };
            offset += i64::try_from(record.len()).unwrap();
            prop_assert_eq!(segments.read(place, &record.name).is_ok(), number != good);
        }
    }

    /// Bytes that are no segment never panic and are never taken for records.
    #[test]
    fn noise_is_no_record(bytes in proptest::collection::vec(any::<u8>(), 0..600), keep in 0..400_usize) {
        let folder = tempfile::tempdir().unwrap();
        let path = file_path(folder.path(), 1);
        let (records, good) = written();
        let mut all = good[..keep.min(good.len())].to_vec();
        all.extend(&bytes);
        fs::write(&path, &all).unwrap();
        let mut found = Vec::new();
        let scanned = scan(&path, |_, record| found.push(record)).unwrap();
        prop_assert!(found.len() <= records.len());
        prop_assert_eq!(&found, &records[..found.len()]);
        prop_assert!(scanned.good_bytes <= keep as u64);
        let header = Header::read(&bytes);
        prop_assert_eq!(header, None);
    }

    /// A record of any size is the same after it was written and read.
    #[test]
    fn a_record_is_read_as_written(seed in any::<u32>(), bytes in 0..5_000_usize) {
        let record = record(u64::from(seed), bytes);
        let mut buffer = vec![1, 2, 3];
        record.write(&mut buffer);
        prop_assert_eq!(buffer.len() as u64, 3 + record.len());
        let header = Header::read(&buffer[3..]).unwrap();
        let stored = Bytes::from(buffer).slice(3 + HEADER_BYTES..);
        prop_assert_eq!(header.with(stored), Some(record));
    }
}
