//! One file: what is on the disk for sure, and what was written since.

/// A disk writes sectors of so many bytes whole or not at all.
const SECTOR_BYTES: usize = 512;

/// What was done to a file since its last flush, and what was there before.
#[derive(Clone)]
enum Change {
    Write {
        at: usize,
        bytes: Vec<u8>,
        /// What stood in its place, and how long the file was.
        before: Vec<u8>,
        length: usize,
    },
    Truncate {
        length: usize,
        /// What was cut off.
        cut: Vec<u8>,
    },
}

/// A file. A new one is on the disk with its first flush.
///
/// What is on the disk for sure is not kept a second time: it is what is left when the changes since
/// the last flush are undone.
#[derive(Clone, Default)]
pub(crate) struct File {
    now: Vec<u8>,
    is_on_disk: bool,
    pending: Vec<Change>,
}

impl File {
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.now
    }

    /// Bytes by which a write would make it longer.
    pub(crate) fn growth(&self, at: usize, bytes: usize) -> u64 {
        (at + bytes).saturating_sub(self.now.len()) as u64
    }

    pub(crate) fn write(&mut self, at: usize, bytes: &[u8]) {
        let length = self.now.len();
        let from = at.min(length);
        let before = self.now[from..length.min(at + bytes.len())].to_owned();
        put(&mut self.now, at, bytes);
        self.pending.push(Change::Write {
            at,
            bytes: bytes.to_owned(),
            before,
            length,
        });
    }

    pub(crate) fn truncate(&mut self, length: usize) {
        let cut = self.now.split_off(length.min(self.now.len()));
        self.pending.push(Change::Truncate { length, cut });
    }

    /// Flushes it; whether it is new on the disk.
    pub(crate) fn flush(&mut self) -> bool {
        self.pending.clear();
        !std::mem::replace(&mut self.is_on_disk, true)
    }

    /// What is left of it after the power failed; `None` if nothing is. `random(n)` gives a number
    /// below `n`.
    pub(crate) fn after_power_cut(mut self, random: &mut dyn FnMut(u64) -> u64) -> Option<Self> {
        if !self.is_on_disk && random(2) == 0 {
            return None;
        }
        let mut left = std::mem::take(&mut self.now);
        for change in self.pending.iter().rev() {
            undo(&mut left, change);
        }
        // Nothing of it, all of it, the first of it, or any of it: disks write in their own order.
        let (kept, order) = (random(self.pending.len() as u64 + 1), random(4));
        for (number, change) in (0..).zip(&self.pending) {
            match order {
                0 => break,
                1 => apply(&mut left, change),
                2 if number < kept => apply(&mut left, change),
                2 if number == kept => apply_torn(&mut left, change, random),
                2 => break,
                _ => match random(3) {
                    0 => {}
                    1 => apply(&mut left, change),
                    _ => apply_torn(&mut left, change, random),
                },
            }
        }
        Some(Self {
            now: left,
            is_on_disk: true,
            pending: Vec::new(),
        })
    }
}

/// Only the first sectors of a write.
fn apply_torn(content: &mut Vec<u8>, change: &Change, random: &mut dyn FnMut(u64) -> u64) {
    let Change::Write { at, bytes, .. } = change else {
        return apply(content, change);
    };
    let sectors = bytes.len().div_ceil(SECTOR_BYTES) as u64;
    let kept = usize::try_from(random(sectors + 1)).unwrap_or(0) * SECTOR_BYTES;
    put(content, *at, &bytes[..kept.min(bytes.len())]);
}

fn apply(content: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Write { at, bytes, .. } => put(content, *at, bytes),
        Change::Truncate { length, .. } => content.truncate(*length),
    }
}

fn undo(content: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Write {
            at, before, length, ..
        } => {
            put(content, *at, before);
            content.truncate(*length);
        }
        Change::Truncate { cut, .. } => content.extend_from_slice(cut),
    }
}

fn put(content: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    if bytes.is_empty() {
        return;
    }
    let end = at + bytes.len();
    if content.len() < end {
        content.resize(end, 0);
    }
    content[at..end].copy_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_flushed_is_left_and_the_rest_in_any_part() {
        let mut file = File::default();
        file.write(0, &[1; 2_000]);
        file.flush();
        file.write(1_000, &[2; 2_000]);
        let mut lengths = std::collections::BTreeSet::new();
        let mut state = 1_u64;
        for _ in 0..200 {
            let mut random = |below: u64| {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                (state >> 33) % below
            };
            let left = file.clone().after_power_cut(&mut random).unwrap();
            assert_eq!(left.bytes()[..1_000], [1; 1_000]);
            lengths.insert(left.bytes().len());
        }
        assert!(lengths.contains(&2_000) && lengths.contains(&3_000));
        assert!(lengths.contains(&2_536), "a write was torn at a sector");
    }

    #[test]
    fn a_power_cut_that_keeps_nothing_leaves_what_was_flushed() {
        let mut file = File::default();
        file.write(0, &[1; 3_000]);
        file.flush();
        let flushed = file.bytes().to_owned();
        file.write(2_500, &[2; 1_000]);
        file.truncate(700);
        file.write(900, &[3; 10]);
        file.write(0, &[4; 5_000]);
        file.truncate(9_000);
        // The order in which nothing is kept.
        let left = file.after_power_cut(&mut |_| 0).unwrap();
        assert_eq!(left.bytes(), flushed);
    }

    #[test]
    fn a_file_that_was_never_flushed_may_be_gone() {
        let mut file = File::default();
        file.write(0, b"x");
        assert!(file.clone().after_power_cut(&mut |_| 0).is_none());
        assert!(file.after_power_cut(&mut |_| 1).is_some());
    }
}
