//! How much of a letter is looked at. A letter beyond a limit is still taken whole: what lies
//! beyond is an opaque part or an unread field, never an error.

/// The limits of one parse.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ParseLimits {
    /// Multiparts and embedded messages inside each other; deeper ones are opaque leaves. More than
    /// [`DEPTH_MAX`] counts as that.
    pub depth_max: usize,
    /// Parts of the whole letter; the rest of the letter is then one opaque leaf.
    pub parts_max: usize,
    /// Fields of one header that are looked at.
    pub header_fields_max: usize,
    /// Bytes of one header that are looked at, counted at the start of each field.
    pub header_bytes_max: usize,
    /// Addresses kept from one field.
    pub addresses_max: usize,
    /// Parameters kept from one Content-Type or Content-Disposition field.
    pub params_max: usize,
}

impl Default for ParseLimits {
    fn default() -> Self {
        Self {
            // Real letters nest five deep; other parsers stop between 15 and 100.
            depth_max: 64,
            parts_max: 10_000,
            header_fields_max: 10_000,
            header_bytes_max: 1024 * 1024,
            addresses_max: 10_000,
            params_max: 100,
        }
    }
}

/// The longest letter whose offsets fit into a [`Span`](crate::Span); bytes after it are not
/// looked at. The server's own size limit is far below.
pub const LETTER_BYTES_MAX: usize = u32::MAX as usize;

/// The deepest nesting that any limit allows: parsing goes one call deeper for each level, and a
/// thread of 2 MiB stack must bear it in an unoptimised build.
pub const DEPTH_MAX: usize = 90;
