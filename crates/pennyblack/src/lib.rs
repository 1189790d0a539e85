//! The library behind the binary: it puts the rooms of the house together into a running node.
//!
//! Here are the settings ([`settings`]), the real outside world behind `base::ports`
//! ([`outside`]), a node with its listeners and tasks ([`node`]), what an operator can ask of it
//! ([`control`]) and the command line ([`cli`]). No protocol is spoken and no SQL is written here:
//! that is done by `transport`, `access` and `store`.

pub mod cli;
pub mod control;
pub mod demo;
pub mod logs;
pub mod node;
pub mod outside;
pub mod pdf;
mod random;
pub mod records;
pub mod settings;
pub mod transfer;
