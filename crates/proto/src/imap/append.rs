//! APPEND (RFC 9051 §6.3.12), with the UTF8 data item of RFC 6855 §4 and literal8 of RFC 3516.

use base::Timestamp;

use super::cursor::{Cursor, Parsed};
use super::date::read_date_time;
use super::error::SyntaxError;
use super::flag::Flag;
use super::mailbox::MailboxName;

/// All of an APPEND before its literal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Append {
    /// Where the letter goes.
    pub mailbox: MailboxName,
    /// The flags it gets.
    pub flags: Vec<Flag>,
    /// Its internal date; now if it is absent.
    pub internal_date: Option<Timestamp>,
    /// The size of the letter in bytes.
    pub letter_bytes: u64,
    /// The literal stands in `UTF8 (…)`.
    pub(super) in_utf8: bool,
}

impl Append {
    /// `append = "APPEND" SP mailbox [SP flag-list] [SP date-time] SP literal`, up to the literal's
    /// opening brace; the cursor stands behind the command and its space.
    pub(super) fn read_head(cursor: &mut Cursor<'_>, letter_bytes: u64) -> Parsed<Self> {
        let mailbox = cursor.mailbox()?;
        cursor.space()?;
        let mut flags = Vec::new();
        if cursor.peek() == Some(b'(') {
            flags = Flag::read_list(cursor)?;
            cursor.space()?;
        }
        let mut internal_date = None;
        if cursor.peek() == Some(b'"') {
            internal_date = Some(read_date_time(cursor)?);
            cursor.space()?;
        }
        let in_utf8 = cursor.take_word("UTF8");
        if in_utf8 {
            cursor.space()?;
            cursor.open()?;
        }
        cursor.take(b'~');
        if !cursor.is_at_end() {
            return Err(SyntaxError::Expected("a literal"));
        }
        Ok(Self {
            mailbox,
            flags,
            internal_date,
            letter_bytes,
            in_utf8,
        })
    }
}
