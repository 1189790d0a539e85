//! ID (RFC 2971): who the client says it is; only for logs.

use super::cursor::{Cursor, Parsed};
use super::error::SyntaxError;

/// RFC 2971 §3.3: at most 30 fields.
pub const FIELDS_MAX: usize = 30;
/// RFC 2971 §3.3: field names up to 30 octets, values up to 1,024.
const VALUE_BYTES_MAX: usize = 1_024;

/// `id-params-list = "(" *(string SP nstring) ")" / nil`; fields without a value are left out.
pub(super) fn read(cursor: &mut Cursor<'_>) -> Parsed<Vec<(String, String)>> {
    if cursor.take_word("NIL") {
        return Ok(Vec::new());
    }
    let mut pairs = Vec::new();
    cursor.open()?;
    while !cursor.take(b')') {
        if pairs.len() == FIELDS_MAX {
            return Err(SyntaxError::Expected("at most 30 fields"));
        }
        let name = lossy(&cursor.astring()?);
        cursor.space()?;
        if cursor.take_word("NIL") {
            pairs.push((name, None));
        } else {
            pairs.push((name, Some(lossy(&cursor.astring()?))));
        }
        cursor.take(b' ');
    }
    Ok(pairs
        .into_iter()
        .filter_map(|(name, value)| value.map(|value| (name, value)))
        .collect())
}

fn lossy(bytes: &[u8]) -> String {
    let cut = &bytes[..bytes.len().min(VALUE_BYTES_MAX)];
    String::from_utf8_lossy(cut)
        .chars()
        .filter(|c| !c.is_control())
        .collect()
}
