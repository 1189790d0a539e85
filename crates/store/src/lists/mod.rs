//! Mailing lists: who is on them and what they want, as rows. What becomes of a letter is decided in
//! `transport::lists`.

mod address;

pub use address::{ListAddress, ListPart};
