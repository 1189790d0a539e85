//! STORE (RFC 9051 §6.4.6).

use super::cursor::{Cursor, Parsed};
use super::error::SyntaxError;
use super::flag::Flag;

/// How the given flags change those of a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Change {
    /// `FLAGS`: these and no others.
    Replace,
    /// `+FLAGS`
    Add,
    /// `-FLAGS`
    Remove,
}

/// `store-att-flags = (["+" / "-"] "FLAGS" [".SILENT"]) SP …`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoreFlags {
    /// What is done with the flags.
    pub change: Change,
    /// Whether the new flags are not told back.
    pub silent: bool,
    /// The flags.
    pub flags: Vec<Flag>,
}

impl StoreFlags {
    pub(super) fn read(cursor: &mut Cursor<'_>) -> Parsed<Self> {
        let change = if cursor.take(b'+') {
            Change::Add
        } else if cursor.take(b'-') {
            Change::Remove
        } else {
            Change::Replace
        };
        let silent = match cursor.word("FLAGS")?.as_str() {
            "FLAGS" => false,
            "FLAGS.SILENT" => true,
            _ => return Err(SyntaxError::Expected("FLAGS")),
        };
        cursor.space()?;
        let flags = Flag::read_store(cursor)?;
        Ok(Self {
            change,
            silent,
            flags,
        })
    }
}
