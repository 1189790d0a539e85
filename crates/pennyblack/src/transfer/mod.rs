//! Letters on their way into the store and out of it: files of the usual formats, other servers,
//! and the wire between a command and a running node.
//!
//! The command reads and writes files, as the operator may be another user than the node; letters
//! go over the control socket. Without a node the same code runs on a store that is opened for the
//! occasion. A [`source::Source`] gives letters, [`import`] sends them, [`node`] stores them in
//! batches with how far the source has been read; a [`sink::Sink`] takes what [`export`] gets.
//! At most a few letters are in memory at once.

pub mod ahead;
pub mod archive;
pub mod eml;
pub mod export;
mod files;
pub mod flags;
pub mod imap;
pub mod import;
pub mod index;
pub mod lines;
pub mod link;
pub mod maildir;
pub mod mbox;
pub mod names;
pub mod node;
pub mod report;
pub mod sink;
pub mod source;
pub mod tree;
pub mod wire;
