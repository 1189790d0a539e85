//! What an embedded store needs of a simulation: a disk of its own, and no thread.
//!
//! Such a store does the same work by the same code. Only who runs it differs: bodies that wait for
//! the writer are run by a task, blocking work is done where it is asked for, and so one seed gives
//! one order of events.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use crate::DiskSpace;

/// The disk under a simulated store.
pub trait SimulatedDisk: fmt::Debug + Send + Sync + 'static {
    /// The name under which SQLite knows the file system (VFS).
    fn vfs(&self) -> &str;

    /// How much is free.
    fn space(&self) -> DiskSpace;

    /// How long the next commit takes, by the clock of the simulation.
    fn flush_time(&self) -> Duration;

    /// The statement that is run in place of this one. Others than the same one are deliberate
    /// mistakes, by which a simulation shows that it would notice them.
    fn statement<'s>(&self, sql: &'s str) -> Cow<'s, str> {
        Cow::Borrowed(sql)
    }
}
