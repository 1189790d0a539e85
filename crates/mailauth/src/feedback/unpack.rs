//! Unpacks a report: gzip (RFC 8460 §5.3, RFC 9990) or a zip, as older senders have it.

use std::borrow::Cow;
use std::io::Read as _;

use flate2::read::GzDecoder;
use message::office::first_file_of_zip;

use super::FeedbackError;

/// The most bytes that a report may have when it is unpacked. The largest of real ones, for a domain
/// with a hundred thousand senders, have some 10 MB.
pub const UNPACKED_BYTES_MAX: usize = 20_000_000;

/// Unpacks at most `budget` bytes, and takes them from it. What cannot be unpacked takes all: how far it
/// came is not known.
pub(super) fn unpack<'a>(
    bytes: &'a [u8],
    budget: &mut usize,
) -> Result<Cow<'a, [u8]>, FeedbackError> {
    let most = std::mem::take(budget);
    let unpacked = if bytes.starts_with(&[0x1f, 0x8b]) {
        let mut out = Vec::new();
        // One more than allowed shows that there is more.
        let mut reader = GzDecoder::new(bytes).take(most as u64 + 1);
        reader
            .read_to_end(&mut out)
            .map_err(|_| FeedbackError::Packed)?;
        out
    } else if bytes.starts_with(b"PK\x03\x04") {
        let file = first_file_of_zip(bytes, most + 1);
        file.ok_or(FeedbackError::Packed)?
    } else {
        *budget = most;
        let fits = bytes.len() <= UNPACKED_BYTES_MAX;
        return fits
            .then_some(Cow::Borrowed(bytes))
            .ok_or(FeedbackError::Packed);
    };
    let left = most.checked_sub(unpacked.len());
    *budget = left.ok_or(FeedbackError::Packed)?;
    Ok(Cow::Owned(unpacked))
}
