//! A disk in memory that behaves like one whose power fails, and SQLite's way to it.
//!
//! [`Disk`] keeps for each file what is on the disk for sure and what was written since the last
//! flush. [`Disk::cut_power`] keeps the first and any part of the second: whole writes are lost,
//! others are torn. [`Mount`] registers the disk as a file system of SQLite (a VFS); after the power
//! failed, the files of that mount answer nothing but errors, and a new one is needed.
//!
//! It models no slow disk, no rotten bits and no disk that lies about a flush (but see
//! [`Disk::lie_about_flushes`]). All connections of a mount belong to one thread; nothing waits.

mod disk;
mod file;
mod locks;
mod vfs;

pub use disk::{Disk, Fault};
pub use vfs::Mount;
