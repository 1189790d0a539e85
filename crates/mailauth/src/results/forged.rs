//! Fields that a stranger has written in our name (RFC 8601 §5).

use std::ops::Range;

use message::{Fields, ParseLimits};

use super::{AuthResults, FIELD_NAME};
use crate::dkim::{FIELDS_MAX, HEADER_BYTES_MAX};
use crate::name::to_ascii;

/// The places of the Authentication-Results fields in a letter that bear one of these names, in
/// whatever spelling, or whose server cannot be read and so might be taken for us. In order; they do
/// not overlap, and each is a whole field with its line end.
#[must_use]
pub fn forged_fields(letter: &[u8], servers: &[&str]) -> Vec<Range<usize>> {
    let limits = ParseLimits {
        header_fields_max: FIELDS_MAX,
        header_bytes_max: HEADER_BYTES_MAX,
        ..ParseLimits::default()
    };
    let fields = Fields::with_limits(letter, &limits).named(FIELD_NAME);
    let forged = fields.filter(|field| match AuthResults::parse(field.value) {
        Some(read) => servers
            .iter()
            .any(|server| same_server(&read.server, server)),
        None => true,
    });
    forged.map(|field| field.span.range()).collect()
}

/// Whether two names are of the same server: letter case, a final dot, white space around it, and
/// U-labels for A-labels make no difference (RFC 8616 §6).
#[must_use]
pub fn same_server(one: &str, other: &str) -> bool {
    let plain = |name: &str| to_ascii(name.trim()).unwrap_or_else(|| name.trim().to_lowercase());
    plain(one) == plain(other)
}
