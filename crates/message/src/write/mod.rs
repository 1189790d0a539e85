//! Writing of letters: header fields, small letters, delivery reports. All lines end with CRLF, and
//! none is longer than RFC 5322 §2.1.1 allows.

mod compose;
mod convert;
mod fields;
mod fold;
mod report;
mod transfer;
mod words;

pub use compose::{Attachment, Compose};
pub use convert::{ConvertError, to_seven_bit, without_binary};
pub use fields::{
    ReceivedField, Transmission, delivered_to_field, format_date, message_id, received_field,
    return_path_field,
};
pub use fold::HeaderWriter;
pub use report::{Action, DeliveryReport, RecipientReport, ReturnedLetter, delivery_status};
pub use words::{encode_phrase, encode_text};
