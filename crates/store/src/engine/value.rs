//! Values that go into statements and rows that come out.

use base::{
    AccountId, LetterId, MailboxId, MessageId, ModSeq, RecipientId, ThreadId, Timestamp, Uid,
    UidValidity,
};

use crate::StoreError;

/// A parameter of a statement.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Value<'a> {
    /// NULL.
    Null,
    /// A whole number; also truth and time.
    Int(i64),
    /// UTF-8 text.
    Text(&'a str),
    /// Bytes.
    Bytes(&'a [u8]),
    /// A list of whole numbers for `IN list($n)`.
    List(&'a [i64]),
}

/// Makes the parameters of a statement from plain values.
macro_rules! params {
    ($($value:expr),* $(,)?) => {
        &[$($crate::engine::Value::from($value)),*]
    };
}
pub(crate) use params;

macro_rules! from_id {
    ($($id:ident),*) => {
        $(impl From<$id> for Value<'_> {
            fn from(id: $id) -> Self {
                Self::Int(i64::from(id.0))
            }
        })*
    };
}

from_id!(
    AccountId,
    LetterId,
    MailboxId,
    MessageId,
    ModSeq,
    RecipientId,
    ThreadId,
    Timestamp,
    Uid,
    UidValidity
);

impl From<i64> for Value<'_> {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

impl From<u32> for Value<'_> {
    fn from(number: u32) -> Self {
        Self::Int(i64::from(number))
    }
}

impl From<bool> for Value<'_> {
    fn from(truth: bool) -> Self {
        Self::Int(i64::from(truth))
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(text)
    }
}

impl<'a> From<&'a String> for Value<'a> {
    fn from(text: &'a String) -> Self {
        Self::Text(text)
    }
}

impl<'a> From<&'a [u8]> for Value<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self::Bytes(bytes)
    }
}

impl<'a> From<&'a [u8; 32]> for Value<'a> {
    fn from(bytes: &'a [u8; 32]) -> Self {
        Self::Bytes(bytes)
    }
}

impl<'a> From<&'a [i64]> for Value<'a> {
    fn from(list: &'a [i64]) -> Self {
        Self::List(list)
    }
}

impl<'a, T: Into<Value<'a>>> From<Option<T>> for Value<'a> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// A value read from a row.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Cell {
    /// NULL.
    Null,
    /// A whole number.
    Int(i64),
    /// UTF-8 text.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
}

/// A row that was read. Texts and bytes are taken out of it, once.
#[derive(Clone, Debug)]
pub(crate) struct Row(pub(super) Vec<Cell>);

impl Row {
    /// A whole number.
    pub(crate) fn int(&self, at: usize) -> Result<i64, StoreError> {
        self.maybe_int(at)?.ok_or_else(|| wrong(at, "a number"))
    }

    /// A whole number or NULL.
    pub(crate) fn maybe_int(&self, at: usize) -> Result<Option<i64>, StoreError> {
        match self.0.get(at) {
            Some(Cell::Int(number)) => Ok(Some(*number)),
            Some(Cell::Null) => Ok(None),
            Some(Cell::Text(_) | Cell::Bytes(_)) | None => Err(wrong(at, "a number")),
        }
    }

    /// A whole number that is not negative.
    pub(crate) fn unsigned(&self, at: usize) -> Result<u64, StoreError> {
        u64::try_from(self.int(at)?).map_err(|_| wrong(at, "a number from 0 on"))
    }

    /// A whole number of 32 bits.
    pub(crate) fn u32(&self, at: usize) -> Result<u32, StoreError> {
        u32::try_from(self.int(at)?).map_err(|_| wrong(at, "a number of 32 bits"))
    }

    /// All whole numbers of it, as text.
    pub(crate) fn numbers(&self) -> String {
        let numbers = self.0.iter().map(|cell| match cell {
            Cell::Int(number) => number.to_string(),
            Cell::Null | Cell::Text(_) | Cell::Bytes(_) => "-".to_owned(),
        });
        numbers.collect::<Vec<_>>().join(", ")
    }

    /// Truth.
    pub(crate) fn truth(&self, at: usize) -> Result<bool, StoreError> {
        Ok(self.int(at)? != 0)
    }

    /// A time.
    pub(crate) fn time(&self, at: usize) -> Result<Timestamp, StoreError> {
        Ok(Timestamp(self.int(at)?))
    }

    /// Takes a text.
    pub(crate) fn text(&mut self, at: usize) -> Result<String, StoreError> {
        self.maybe_text(at)?.ok_or_else(|| wrong(at, "a text"))
    }

    /// Takes a text or NULL.
    pub(crate) fn maybe_text(&mut self, at: usize) -> Result<Option<String>, StoreError> {
        match self
            .0
            .get_mut(at)
            .map(|cell| std::mem::replace(cell, Cell::Null))
        {
            Some(Cell::Text(text)) => Ok(Some(text)),
            Some(Cell::Null) => Ok(None),
            Some(Cell::Int(_) | Cell::Bytes(_)) | None => Err(wrong(at, "a text")),
        }
    }

    /// Takes bytes.
    pub(crate) fn bytes(&mut self, at: usize) -> Result<Vec<u8>, StoreError> {
        match self
            .0
            .get_mut(at)
            .map(|cell| std::mem::replace(cell, Cell::Null))
        {
            Some(Cell::Bytes(bytes)) => Ok(bytes),
            Some(Cell::Null | Cell::Int(_) | Cell::Text(_)) | None => Err(wrong(at, "bytes")),
        }
    }

    /// Takes the 32 bytes of a hash.
    pub(crate) fn hash(&mut self, at: usize) -> Result<[u8; 32], StoreError> {
        self.bytes(at)?
            .try_into()
            .map_err(|_| wrong(at, "a hash of 32 bytes"))
    }
}

fn wrong(at: usize, expected: &str) -> StoreError {
    StoreError::Bug(format!("column {at} of a row is not {expected}"))
}
