//! Locks of files and of the memory that connections share (the index of the write-ahead log), as
//! SQLite's documentation describes them. Nobody waits: who cannot have a lock is told so.

/// The levels of SQLite's file locks.
pub(crate) const NONE: i32 = 0;
pub(crate) const SHARED: i32 = 1;
pub(crate) const RESERVED: i32 = 2;
pub(crate) const PENDING: i32 = 3;
pub(crate) const EXCLUSIVE: i32 = 4;

/// The locks that connections have on one file.
#[derive(Default)]
pub(crate) struct FileLocks {
    shared: u32,
    reserved: bool,
    pending: bool,
    exclusive: bool,
}

impl FileLocks {
    /// Raises a connection's lock from a level to a level: the level that it has then.
    pub(crate) fn raise(&mut self, from: i32, to: i32) -> i32 {
        if from >= to {
            return from;
        }
        match to {
            SHARED if self.exclusive || self.pending => from,
            SHARED => {
                self.shared += 1;
                SHARED
            }
            RESERVED if self.reserved => from,
            RESERVED => {
                self.reserved = true;
                RESERVED
            }
            _ => {
                if from < RESERVED {
                    if self.reserved {
                        return from;
                    }
                    self.reserved = true;
                }
                if self.shared > 1 {
                    self.pending = true;
                    return PENDING;
                }
                self.exclusive = true;
                EXCLUSIVE
            }
        }
    }

    /// Lowers a connection's lock.
    pub(crate) fn lower(&mut self, from: i32, to: i32) {
        if from > SHARED && to <= SHARED {
            self.reserved = false;
            self.pending = false;
            self.exclusive = false;
        }
        if from >= SHARED && to == NONE {
            self.shared = self.shared.saturating_sub(1);
        }
    }

    pub(crate) const fn is_reserved(&self) -> bool {
        self.reserved
    }
}

/// Locks on shared memory.
pub(crate) const SHARED_LOCKS: usize = 8;

/// The shared memory of one file.
#[derive(Default)]
pub(crate) struct Shared {
    /// Pieces at fixed places; of whole words, so that they are aligned.
    pub(crate) regions: Vec<Box<[u64]>>,
    pub(crate) users: u32,
    /// For each lock: how many share it, or -1 for one who has it alone.
    locks: [i32; SHARED_LOCKS],
}

impl Shared {
    /// Takes locks for a connection that has those of the masks; whether it could.
    pub(crate) fn take(
        &mut self,
        held: &mut Held,
        range: std::ops::Range<usize>,
        alone: bool,
    ) -> bool {
        let free = |lock: usize, locks: &[i32; SHARED_LOCKS]| match (alone, locks[lock]) {
            (false, held) => held >= 0,
            (true, 0) => true,
            // Its own share does not stand in its way.
            (true, 1) => held.shares(lock),
            (true, _) => false,
        };
        let taken: Vec<usize> = range.filter(|lock| !held.has(*lock, alone)).collect();
        if !taken.iter().all(|lock| free(*lock, &self.locks)) {
            return false;
        }
        for lock in taken {
            if alone {
                self.locks[lock] = -1;
                held.alone |= 1 << lock;
                held.shared &= !(1 << lock);
            } else {
                self.locks[lock] += 1;
                held.shared |= 1 << lock;
            }
        }
        true
    }

    /// Gives locks back.
    pub(crate) fn give(&mut self, held: &mut Held, range: std::ops::Range<usize>) {
        for lock in range {
            if held.alone & (1 << lock) != 0 {
                self.locks[lock] = 0;
                held.alone &= !(1 << lock);
            } else if held.shares(lock) {
                self.locks[lock] -= 1;
                held.shared &= !(1 << lock);
            }
        }
    }
}

/// The locks on shared memory that a connection has.
#[derive(Default)]
pub(crate) struct Held {
    shared: u16,
    alone: u16,
}

impl Held {
    const fn shares(&self, lock: usize) -> bool {
        self.shared & (1 << lock) != 0
    }

    const fn has(&self, lock: usize, alone: bool) -> bool {
        let mask = if alone {
            self.alone
        } else {
            self.shared | self.alone
        };
        mask & (1 << lock) != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_writer_and_no_reader_beside_an_exclusive_lock() {
        let mut locks = FileLocks::default();
        let one = locks.raise(NONE, SHARED);
        let other = locks.raise(NONE, SHARED);
        assert_eq!((one, other), (SHARED, SHARED));
        assert_eq!(locks.raise(one, RESERVED), RESERVED);
        assert_eq!(locks.raise(other, RESERVED), SHARED, "there is one already");
        assert_eq!(
            locks.raise(RESERVED, EXCLUSIVE),
            PENDING,
            "there is a reader"
        );
        assert_eq!(locks.raise(NONE, SHARED), NONE, "no new reader");
        locks.lower(other, NONE);
        assert_eq!(locks.raise(PENDING, EXCLUSIVE), EXCLUSIVE);
        locks.lower(EXCLUSIVE, NONE);
        assert_eq!(locks.raise(NONE, SHARED), SHARED);
    }

    #[test]
    fn shared_memory_is_locked_by_many_or_by_one() {
        let mut shared = Shared::default();
        let (mut one, mut other) = (Held::default(), Held::default());
        assert!(shared.take(&mut one, 3..4, false));
        assert!(shared.take(&mut other, 3..4, false));
        assert!(!shared.take(&mut one, 3..4, true));
        shared.give(&mut other, 3..4);
        assert!(shared.take(&mut one, 3..4, true));
        assert!(!shared.take(&mut other, 3..4, false));
        shared.give(&mut one, 0..SHARED_LOCKS);
        assert!(shared.take(&mut other, 3..4, true));
    }
}
