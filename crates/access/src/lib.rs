//! How people reach their mail: IMAP.
//!
//! It turns what a client says into verbs of the store and back; it knows no SQL, opens no socket
//! (connections come in as streams) and never calls the transport: both meet in the store.

pub mod imap;
