//! IMAP sessions over a real store in a temporary folder: transcripts, several sessions at once,
//! hostile input. The streams are in memory; everything else is what a node runs.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "in a test a surprise is a failure"
)]

mod agreement;
mod client;
mod dialogs;
mod hostile;
mod sessions;
mod world;
