//! One file: what is on the disk for sure, and what was written since.

/// A disk writes sectors of so many bytes whole or not at all.
const SECTOR_BYTES: usize = 512;

/// What was done to a file since its last flush.
#[derive(Clone)]
enum Change {
    Write { at: usize, bytes: Vec<u8> },
    Truncate(usize),
}

/// A file. A new one is on the disk with its first flush.
#[derive(Clone, Default)]
pub(crate) struct File {
    now: Vec<u8>,
    flushed: Option<Vec<u8>>,
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
        put(&mut self.now, at, bytes);
        self.pending.push(Change::Write {
            at,
            bytes: bytes.to_owned(),
        });
    }

    pub(crate) fn truncate(&mut self, length: usize) {
        self.now.truncate(length);
        self.pending.push(Change::Truncate(length));
    }

    /// Flushes it; whether it is new on the disk.
    pub(crate) fn flush(&mut self) -> bool {
        let is_new = self.flushed.is_none();
        let flushed = self.flushed.get_or_insert_default();
        for change in self.pending.drain(..) {
            apply(flushed, &change);
        }
        is_new
    }

    /// What is left of it after the power failed; `None` if nothing is. `random(n)` gives a number
    /// below `n`.
    pub(crate) fn after_power_cut(mut self, random: &mut dyn FnMut(u64) -> u64) -> Option<Self> {
        if self.flushed.is_none() && random(2) == 0 {
            return None;
        }
        let mut left = self.flushed.take().unwrap_or_default();
        // Nothing of it, all of it, the first of it, or any of it: disks write in their own order.
        let (kept, order) = (random(self.pending.len() as u64 + 1), random(4));
        for (number, change) in (0..).zip(&self.pending) {
            match order {
                0 => break,
                1 => apply(&mut left, change),
                2 if number < kept => apply(&mut left, change),
                2 if number == kept => apply(&mut left, &torn(change, random)),
                2 => break,
                _ => match random(3) {
                    0 => {}
                    1 => apply(&mut left, change),
                    _ => apply(&mut left, &torn(change, random)),
                },
            }
        }
        Some(Self {
            now: left.clone(),
            flushed: Some(left),
            pending: Vec::new(),
        })
    }
}

/// The first sectors of a write.
fn torn(change: &Change, random: &mut dyn FnMut(u64) -> u64) -> Change {
    let Change::Write { at, bytes } = change else {
        return change.clone();
    };
    let sectors = bytes.len().div_ceil(SECTOR_BYTES) as u64;
    let kept = usize::try_from(random(sectors + 1)).unwrap_or(0) * SECTOR_BYTES;
    Change::Write {
        at: *at,
        bytes: bytes[..kept.min(bytes.len())].to_owned(),
    }
}

fn apply(content: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Write { at, bytes } => put(content, *at, bytes),
        Change::Truncate(length) => content.truncate(*length),
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
    fn a_file_that_was_never_flushed_may_be_gone() {
        let mut file = File::default();
        file.write(0, b"x");
        assert!(file.clone().after_power_cut(&mut |_| 0).is_none());
        assert!(file.after_power_cut(&mut |_| 1).is_some());
    }
}
