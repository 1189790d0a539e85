//! A letter cut into the fields of its header and its body, as signatures see it: exact bytes.
//!
//! `message` reads letters for people; here nothing may be normalised, and a letter may come in
//! pieces (the fields that this server puts before it, then the letter as received).

use memchr::{memchr, memmem};

/// The most fields that are looked at. A letter with more has no signature that can be right.
pub const FIELDS_MAX: usize = 2_000;
/// The longest header that is looked at, in bytes.
pub const HEADER_BYTES_MAX: usize = 1024 * 1024;

/// One field as it stands in the letter.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Field<'a> {
    /// The name without white space behind it.
    pub(crate) name: &'a str,
    /// Name, colon, value, and all line ends except the last.
    pub(crate) raw: &'a [u8],
    /// Where the value starts in `raw`, after the colon.
    pub(crate) value_at: usize,
}

impl<'a> Field<'a> {
    /// Reads a field without its last line end.
    pub(crate) fn parse(raw: &'a [u8]) -> Option<Self> {
        let colon = memchr(b':', raw)?;
        let name = std::str::from_utf8(&raw[..colon]).ok()?.trim_ascii_end();
        let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic());
        is_name.then_some(Self {
            name,
            raw,
            value_at: colon + 1,
        })
    }

    /// Whether it has this name; letter case does not matter.
    pub(crate) fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }

    /// Everything after the colon.
    pub(crate) fn value(&self) -> &'a [u8] {
        &self.raw[self.value_at..]
    }
}

/// A letter in its two halves.
#[derive(Debug)]
pub(crate) struct Halves<'a> {
    /// The fields, from the top.
    pub(crate) fields: Vec<Field<'a>>,
    /// The pieces of the body.
    pub(crate) body: Vec<&'a [u8]>,
    /// Whether the header is beyond a limit, and `fields` is not all of it.
    pub(crate) cut: bool,
}

impl<'a> Halves<'a> {
    /// Cuts a letter. Its pieces follow one another; each but the last holds whole fields, or lies
    /// in the body.
    pub(crate) fn of(pieces: &[&'a [u8]]) -> Self {
        let mut halves = Self {
            fields: Vec::new(),
            body: Vec::new(),
            cut: false,
        };
        let mut bytes_left = HEADER_BYTES_MAX;
        let mut pieces = pieces.iter();
        for piece in pieces.by_ref() {
            let (header, body) = split(piece);
            halves.read(&header[..header.len().min(bytes_left)]);
            halves.cut |= header.len() > bytes_left;
            bytes_left = bytes_left.saturating_sub(header.len());
            if let Some(body) = body {
                halves.body.push(body);
                break;
            }
        }
        halves.body.extend(pieces);
        halves
    }

    /// Reads the fields of a piece. A line that is no field is no part of any signature.
    fn read(&mut self, header: &'a [u8]) {
        let mut rest = header;
        while !rest.is_empty() {
            let (field, behind) = next_field(rest);
            rest = behind;
            let Some(field) = Field::parse(field) else {
                continue;
            };
            if self.fields.len() == FIELDS_MAX {
                self.cut = true;
                return;
            }
            self.fields.push(field);
        }
    }

    /// The fields of this name, from the top.
    pub(crate) fn named<'h>(&'h self, name: &'h str) -> impl Iterator<Item = &'h Field<'a>> {
        self.fields.iter().filter(move |field| field.is(name))
    }
}

/// The header of a piece, with the line end of its last field, and the body if it begins here.
fn split(piece: &[u8]) -> (&[u8], Option<&[u8]>) {
    if let Some(body) = piece.strip_prefix(b"\r\n") {
        return (&[], Some(body));
    }
    match memmem::find(piece, b"\r\n\r\n") {
        Some(at) => (&piece[..at + 2], Some(&piece[at + 4..])),
        None => (piece, None),
    }
}

/// The first field without its last line end, and what follows.
fn next_field(bytes: &[u8]) -> (&[u8], &[u8]) {
    let mut end = 0;
    loop {
        let Some(at) = memchr(b'\n', &bytes[end..]) else {
            return (bytes, &[]);
        };
        end += at + 1;
        if !matches!(bytes.get(end), Some(b' ' | b'\t')) {
            let field = &bytes[..end - 1];
            return (field.strip_suffix(b"\r").unwrap_or(field), &bytes[end..]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(pieces: &[&str]) -> (Vec<String>, String) {
        let pieces: Vec<&[u8]> = pieces.iter().map(|piece| piece.as_bytes()).collect();
        let halves = Halves::of(&pieces);
        let fields = halves.fields.iter();
        let fields = fields.map(|field| String::from_utf8_lossy(field.raw).into_owned());
        let body = String::from_utf8(halves.body.concat()).unwrap();
        (fields.collect(), body)
    }

    #[test]
    fn fields_and_body_are_exact() {
        let (fields, body) = shown(&["A: 1\r\n", "B : 2\r\n\t3\r\nnone\r\nC:\r\n\r\nx\r\n", "y"]);
        assert_eq!(fields, ["A: 1", "B : 2\r\n\t3", "C:"]);
        assert_eq!(body, "x\r\ny");
        assert_eq!(
            shown(&["", "\r\nA: b\r\n"]),
            (vec![], "A: b\r\n".to_owned())
        );
        assert_eq!(shown(&["A: 1"]), (vec!["A: 1".to_owned()], String::new()));
    }

    #[test]
    fn limits_at_the_limit_and_beyond() {
        let many = "A: 1\r\n".repeat(FIELDS_MAX);
        assert!(!Halves::of(&[many.as_bytes()]).cut);
        let more = format!("{many}A: 1\r\n\r\n");
        let halves = Halves::of(&[more.as_bytes()]);
        assert!(halves.cut && halves.fields.len() == FIELDS_MAX);
        let long = format!("A: {}\r\n", "x".repeat(HEADER_BYTES_MAX - 5));
        assert!(!Halves::of(&[long.as_bytes(), b"\r\n"]).cut);
        assert!(Halves::of(&[long.as_bytes(), b"B: 1\r\n\r\n"]).cut);
    }
}
