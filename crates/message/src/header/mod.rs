//! Reading of header fields (RFC 5322 §2.2, §3.6, with UTF-8 as RFC 6532): splitting into
//! fields, and the values of the structured ones. Everything is liberal: a value that breaks the
//! grammar gives what can be made of it, never an error.

mod address;
mod content_type;
mod date;
mod fields;
mod ids;
mod text;

pub use address::{Address, AddressList, Group, Mailbox, parse_addresses};
pub use content_type::{ContentValue, Param, decoded_param, parse_content_value};
pub use date::{Date, parse_date};
pub use fields::{Field, Fields};
pub(crate) use fields::{is_empty_line, line_end};
pub use ids::{MESSAGE_ID_BYTES_MAX, parse_message_ids};
pub use text::{decode_text, decode_words, raw_text, unfold};
