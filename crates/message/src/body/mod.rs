//! Bodies: content transfer encodings (RFC 2045 §6), charsets to UTF-8, HTML to plain text, and
//! previews. Nothing here writes HTML or makes it safe to show: that is the web mail's work.

mod charset;
mod html;
mod preview;
mod transfer;

pub use charset::charset_to_utf8;
pub use html::html_to_text;
pub use preview::{PREVIEW_CHARS_MAX, preview_of};
pub use transfer::{TransferEncoding, decode_base64, decode_quoted_printable};

pub(crate) use transfer::decode_q;
