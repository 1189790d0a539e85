//! The library behind the binary: it puts the rooms of the house together into a running node.
//!
//! Here are the settings ([`settings`]), the real outside world behind `base::ports`
//! ([`outside`]), a node with its listeners and tasks ([`node`]), the command line ([`cli`]) and
//! the demonstration of two nodes ([`demo`]). No protocol is spoken and no SQL is written here:
//! that is done by `transport`, `access` and `store`.

pub mod outside;
pub mod settings;
