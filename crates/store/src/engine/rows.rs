//! Rows of whole tables on their way out of a store and into another, whichever engines they have.
//!
//! A row is written as its cells, each a tag and a value: 0 NULL, 1 a whole number (zigzag, then 7
//! bits a byte), 2 text, 3 bytes (both with their length before them). The names of the columns
//! travel once, before the rows, so that the order of columns need not be the same on both sides.

use super::value::{Cell, Row, Value};
use crate::StoreError;

/// A batch of rows is sent on when it has this many bytes.
pub(super) const BATCH_BYTES: usize = 256 * 1024;
/// The largest cell that is read back. The largest written are the structures of hostile letters.
const CELL_BYTES_MAX: u64 = 64 << 20;

/// What a table gives on its way out, in this order: one `Table`, any number of `Rows`, one `End`.
#[derive(Debug, PartialEq)]
pub(crate) enum Piece {
    /// A table begins.
    Table {
        /// Its name.
        name: &'static str,
        /// The names of its columns.
        columns: Vec<String>,
    },
    /// Rows of it.
    Rows(Batch),
    /// It has ended.
    End,
}

/// Some rows, written one after the other.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Batch {
    /// How many.
    pub rows: u32,
    /// Their bytes.
    pub bytes: Vec<u8>,
}

impl Batch {
    /// Appends a row.
    pub(crate) fn push(&mut self, row: &Row) {
        for cell in &row.0 {
            write_cell(&mut self.bytes, cell);
        }
        self.rows += 1;
    }

    pub(super) fn is_full(&self) -> bool {
        self.bytes.len() >= BATCH_BYTES
    }

    /// Reads the rows back.
    ///
    /// # Errors
    /// [`StoreError::Io`] when the bytes are not rows of so many columns.
    pub(crate) fn read(&self, columns: usize) -> Result<Vec<Row>, StoreError> {
        let mut rest = self.bytes.as_slice();
        let mut rows = Vec::new();
        for _ in 0..self.rows {
            let cells = (0..columns).map(|_| read_cell(&mut rest));
            rows.push(Row(cells.collect::<Option<_>>().ok_or_else(damaged)?));
        }
        if rest.is_empty() {
            Ok(rows)
        } else {
            Err(damaged())
        }
    }
}

impl Row {
    /// A row of our own.
    pub(crate) fn of(values: &[Value<'_>]) -> Self {
        let cells = values.iter().map(|value| match value {
            Value::Null | Value::List(_) => Cell::Null,
            Value::Int(number) => Cell::Int(*number),
            Value::Text(text) => Cell::Text((*text).to_owned()),
            Value::Bytes(bytes) => Cell::Bytes(bytes.to_vec()),
        });
        Self(cells.collect())
    }

    /// The cells as parameters of a statement.
    pub(super) fn values(&self) -> impl Iterator<Item = Value<'_>> {
        self.0.iter().map(|cell| match cell {
            Cell::Null => Value::Null,
            Cell::Int(number) => Value::Int(*number),
            Cell::Text(text) => Value::Text(text),
            Cell::Bytes(bytes) => Value::Bytes(bytes),
        })
    }
}

fn damaged() -> StoreError {
    StoreError::Io("a batch of rows is damaged".to_owned())
}

fn write_cell(out: &mut Vec<u8>, cell: &Cell) {
    match cell {
        Cell::Null => out.push(0),
        Cell::Int(number) => {
            out.push(1);
            write_number(
                out,
                number.wrapping_shl(1).cast_unsigned() ^ (number >> 63).cast_unsigned(),
            );
        }
        Cell::Text(text) => write_bytes(out, 2, text.as_bytes()),
        Cell::Bytes(bytes) => write_bytes(out, 3, bytes),
    }
}

fn write_bytes(out: &mut Vec<u8>, tag: u8, bytes: &[u8]) {
    out.push(tag);
    write_number(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn write_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    out.push(number.to_le_bytes()[0]);
}

fn read_cell(rest: &mut &[u8]) -> Option<Cell> {
    let (tag, after) = rest.split_first()?;
    *rest = after;
    match tag {
        0 => Some(Cell::Null),
        1 => {
            let number = read_number(rest)?;
            Some(Cell::Int(
                (number >> 1).cast_signed() ^ -(number & 1).cast_signed(),
            ))
        }
        2 => String::from_utf8(read_bytes(rest)?.to_vec())
            .ok()
            .map(Cell::Text),
        3 => Some(Cell::Bytes(read_bytes(rest)?.to_vec())),
        _ => None,
    }
}

fn read_bytes<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = read_number(rest).filter(|length| *length <= CELL_BYTES_MAX)?;
    let (bytes, after) = rest.split_at_checked(usize::try_from(length).ok()?)?;
    *rest = after;
    Some(bytes)
}

fn read_number(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        let bits = u64::from(byte & 0x7F);
        if shift == 63 && bits > 1 {
            return None;
        }
        number |= bits << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cell() -> impl Strategy<Value = Cell> {
        prop_oneof![
            Just(Cell::Null),
            any::<i64>().prop_map(Cell::Int),
            prop_oneof![Just(i64::MIN), Just(i64::MAX), Just(-1)].prop_map(Cell::Int),
            any::<String>().prop_map(Cell::Text),
            any::<Vec<u8>>().prop_map(Cell::Bytes),
        ]
    }

    proptest! {
        #[test]
        fn rows_there_and_back(rows in prop::collection::vec(prop::collection::vec(cell(), 3), 0..9)) {
            let mut batch = Batch::default();
            for row in &rows {
                batch.push(&Row(row.clone()));
            }
            let back: Vec<Vec<Cell>> = batch.read(3).unwrap().into_iter().map(|row| row.0).collect();
            prop_assert_eq!(back, rows);
        }

        #[test]
        fn damaged_rows_are_an_error_and_no_panic(bytes: Vec<u8>, rows in 0_u32..9) {
            let _ = Batch { rows, bytes }.read(3);
        }
    }

    #[test]
    fn a_rest_is_an_error() {
        assert!(
            Batch {
                rows: 1,
                bytes: vec![0, 0]
            }
            .read(1)
            .is_err()
        );
        assert!(
            Batch {
                rows: 1,
                bytes: vec![1]
            }
            .read(1)
            .is_err()
        );
        assert!(
            Batch {
                rows: 1,
                bytes: vec![2, 1, 0xFF]
            }
            .read(1)
            .is_err()
        );
    }
}
