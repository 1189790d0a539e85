//! FETCH (RFC 9051 §6.4.5) and BINARY (RFC 3516).

use super::cursor::{Cursor, Parsed, is_astring};
use super::error::SyntaxError;

/// Deeper part numbers are no part of any letter that is stored.
pub const PART_DEPTH_MAX: usize = 100;
/// Most items in one FETCH.
pub const ITEMS_MAX: usize = 500;

/// One thing to tell of a message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Item {
    /// `FLAGS`
    Flags,
    /// `UID`
    Uid,
    /// `INTERNALDATE`
    InternalDate,
    /// `RFC822.SIZE`
    Size,
    /// `ENVELOPE`
    Envelope,
    /// `BODY`: the structure without extension data.
    Body,
    /// `BODYSTRUCTURE`
    BodyStructure,
    /// `BODY[…]`, `BODY.PEEK[…]`
    Section {
        /// Which part of the letter.
        section: Section,
        /// Whether `\Seen` stays as it is.
        peek: bool,
        /// Which bytes of it.
        partial: Option<Partial>,
    },
    /// `RFC822`, `RFC822.HEADER`, `RFC822.TEXT` (RFC 3501 §6.4.5).
    Rfc822(Rfc822),
    /// `BINARY[…]`, `BINARY.PEEK[…]`
    Binary {
        /// Which part, decoded.
        part: PartPath,
        /// Whether `\Seen` stays as it is.
        peek: bool,
        /// Which bytes of it.
        partial: Option<Partial>,
    },
    /// `BINARY.SIZE[…]`
    BinarySize(PartPath),
}

/// The old names of three sections.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rfc822 {
    /// `RFC822` is `BODY[]`.
    Whole,
    /// `RFC822.HEADER` is `BODY.PEEK[HEADER]`.
    Header,
    /// `RFC822.TEXT` is `BODY[TEXT]`.
    Text,
}

/// `section-part = nz-number *("." nz-number)`; empty is the letter itself.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PartPath(pub Vec<u32>);

/// `section-spec`, RFC 9051 §6.4.5.1.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Section {
    /// The part.
    pub part: PartPath,
    /// What of the part; all of its body (for the letter: all of it) if absent.
    pub text: Option<SectionText>,
}

/// `section-msgtext / "MIME"`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SectionText {
    /// The header of the letter or of an embedded letter.
    Header,
    /// Only these fields, as written by the client.
    HeaderFields(Vec<String>),
    /// All but these fields.
    HeaderFieldsNot(Vec<String>),
    /// The body of the letter or of an embedded letter.
    Text,
    /// The MIME header of a part.
    Mime,
}

/// `partial = "<" number64 "." nz-number64 ">"`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Partial {
    /// The first byte.
    pub offset: u64,
    /// At most so many bytes; never 0.
    pub length: u64,
}

/// `fetch-att` list or macro; the cursor stands behind the set and its space.
pub(super) fn read_items(cursor: &mut Cursor<'_>) -> Parsed<Vec<Item>> {
    for (name, items) in MACROS {
        if cursor.take_word(name) {
            return Ok(items.to_vec());
        }
    }
    let items = if cursor.peek() == Some(b'(') {
        cursor.list(Item::read)?
    } else {
        vec![Item::read(cursor)?]
    };
    if items.is_empty() || items.len() > ITEMS_MAX {
        return Err(SyntaxError::Expected("1 to 500 fetch items"));
    }
    let mut unique: Vec<Item> = Vec::with_capacity(items.len());
    for item in items {
        if !unique.contains(&item) {
            unique.push(item);
        }
    }
    Ok(unique)
}

/// RFC 9051 §6.4.5: macros stand alone.
const MACROS: [(&str, &[Item]); 3] = [
    (
        "ALL",
        &[Item::Flags, Item::InternalDate, Item::Size, Item::Envelope],
    ),
    ("FAST", &[Item::Flags, Item::InternalDate, Item::Size]),
    (
        "FULL",
        &[
            Item::Flags,
            Item::InternalDate,
            Item::Size,
            Item::Envelope,
            Item::Body,
        ],
    ),
];

impl Item {
    fn read(cursor: &mut Cursor<'_>) -> Parsed<Self> {
        let name = cursor.take_while(|b| b.is_ascii_alphanumeric() || b == b'.');
        let name = name.to_ascii_uppercase();
        Ok(match name.as_slice() {
            b"FLAGS" => Self::Flags,
            b"UID" => Self::Uid,
            b"INTERNALDATE" => Self::InternalDate,
            b"RFC822.SIZE" => Self::Size,
            b"ENVELOPE" => Self::Envelope,
            b"BODYSTRUCTURE" => Self::BodyStructure,
            b"RFC822" => Self::Rfc822(Rfc822::Whole),
            b"RFC822.HEADER" => Self::Rfc822(Rfc822::Header),
            b"RFC822.TEXT" => Self::Rfc822(Rfc822::Text),
            b"BODY" if cursor.peek() != Some(b'[') => Self::Body,
            b"BODY" | b"BODY.PEEK" => Self::Section {
                section: Section::read(cursor)?,
                peek: name.ends_with(b"PEEK"),
                partial: Partial::read(cursor)?,
            },
            b"BINARY" | b"BINARY.PEEK" => Self::Binary {
                part: read_bracketed_part(cursor)?,
                peek: name.ends_with(b"PEEK"),
                partial: Partial::read(cursor)?,
            },
            b"BINARY.SIZE" => Self::BinarySize(read_bracketed_part(cursor)?),
            _ => return Err(SyntaxError::Expected("a known fetch item")),
        })
    }
}

fn read_bracketed_part(cursor: &mut Cursor<'_>) -> Parsed<PartPath> {
    cursor.expect(b'[', "an opening bracket")?;
    let mut part = PartPath::default();
    if cursor.peek().is_some_and(|b| b.is_ascii_digit()) {
        read_part(cursor, &mut part)?;
    }
    cursor.expect(b']', "a closing bracket")?;
    Ok(part)
}

/// Reads part numbers; true if a dot follows the last, so that a text specifier comes next.
fn read_part(cursor: &mut Cursor<'_>, part: &mut PartPath) -> Parsed<bool> {
    loop {
        let number = cursor.number()?;
        if number == 0 || part.0.len() == PART_DEPTH_MAX {
            return Err(SyntaxError::Number);
        }
        part.0.push(number);
        if !cursor.take(b'.') {
            return Ok(false);
        }
        if !cursor.peek().is_some_and(|b| b.is_ascii_digit()) {
            return Ok(true);
        }
    }
}

impl Section {
    /// `section = "[" [section-spec] "]"`.
    fn read(cursor: &mut Cursor<'_>) -> Parsed<Self> {
        cursor.expect(b'[', "an opening bracket")?;
        let mut section = Self::default();
        let starts_with_part = cursor.peek().is_some_and(|b| b.is_ascii_digit());
        let has_text = if starts_with_part {
            read_part(cursor, &mut section.part)?
        } else {
            cursor.peek() != Some(b']')
        };
        if has_text {
            section.text = Some(SectionText::read(cursor, starts_with_part)?);
        }
        cursor.expect(b']', "a closing bracket")?;
        Ok(section)
    }
}

impl SectionText {
    fn read(cursor: &mut Cursor<'_>, in_part: bool) -> Parsed<Self> {
        let name = cursor.take_while(|b| b.is_ascii_alphabetic() || b == b'.');
        Ok(match name.to_ascii_uppercase().as_slice() {
            b"HEADER" => Self::Header,
            b"HEADER.FIELDS" => Self::HeaderFields(read_field_names(cursor)?),
            b"HEADER.FIELDS.NOT" => Self::HeaderFieldsNot(read_field_names(cursor)?),
            b"TEXT" => Self::Text,
            // RFC 9051 §6.4.5.1: MIME needs a part number before it.
            b"MIME" if in_part => Self::Mime,
            _ => return Err(SyntaxError::Expected("a section")),
        })
    }

    /// The text between the brackets, in canonical spelling, behind the part and its dot.
    #[must_use]
    pub fn names(&self) -> (&'static str, &[String]) {
        match self {
            Self::Header => ("HEADER", &[]),
            Self::HeaderFields(names) => ("HEADER.FIELDS", names),
            Self::HeaderFieldsNot(names) => ("HEADER.FIELDS.NOT", names),
            Self::Text => ("TEXT", &[]),
            Self::Mime => ("MIME", &[]),
        }
    }
}

/// `header-list = "(" header-fld-name *(SP header-fld-name) ")"`.
fn read_field_names(cursor: &mut Cursor<'_>) -> Parsed<Vec<String>> {
    cursor.space()?;
    let names = cursor.list(|cursor| {
        let name = cursor.astring()?;
        // RFC 5322 §3.6.8: printable US-ASCII but the colon. Names come back in the response, so
        // they are held to what needs no escape there.
        let valid = !name.is_empty() && name.iter().all(|b| is_astring(*b) && *b != b':');
        let text = std::str::from_utf8(&name).ok().filter(|_| valid);
        text.map(str::to_owned)
            .ok_or(SyntaxError::Expected("a header field name"))
    })?;
    if names.is_empty() {
        return Err(SyntaxError::Expected("a header field name"));
    }
    Ok(names)
}

impl Partial {
    fn read(cursor: &mut Cursor<'_>) -> Parsed<Option<Self>> {
        if !cursor.take(b'<') {
            return Ok(None);
        }
        let offset = cursor.number64()?;
        cursor.expect(b'.', "a dot")?;
        let length = cursor.number64()?;
        cursor.expect(b'>', "a closing angle bracket")?;
        if length == 0 {
            return Err(SyntaxError::Number);
        }
        Ok(Some(Self { offset, length }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items(text: &str) -> Parsed<Vec<Item>> {
        let mut cursor = Cursor::new(text.as_bytes(), false);
        let items = read_items(&mut cursor)?;
        cursor.end()?;
        Ok(items)
    }

    #[test]
    fn macros_stand_alone() {
        assert_eq!(items("all").unwrap().len(), 4);
        assert_eq!(items("FULL").unwrap().last(), Some(&Item::Body));
        assert!(items("(ALL)").is_err());
        assert!(items("ALLE").is_err());
    }

    #[test]
    fn sections() {
        let parsed = items("BODY.PEEK[1.2.HEADER.FIELDS (From \"To\")]<5.10>").unwrap();
        let section = Section {
            part: PartPath(vec![1, 2]),
            text: Some(SectionText::HeaderFields(vec!["From".into(), "To".into()])),
        };
        let partial = Some(Partial {
            offset: 5,
            length: 10,
        });
        assert_eq!(
            parsed,
            [Item::Section {
                section,
                peek: true,
                partial
            }]
        );
        assert_eq!(
            items("(BODY BODY[] BODY[TEXT] BODY[1] BODY[1.MIME])")
                .unwrap()
                .len(),
            5
        );
        assert_eq!(
            items("(BINARY[1]<0.5> BINARY.SIZE[2] BINARY.PEEK[])")
                .unwrap()
                .len(),
            3
        );
        assert_eq!(items("(UID UID FLAGS)").unwrap().len(), 2);
    }

    #[test]
    fn refuses() {
        for bad in [
            "()",
            "BODY[MIME]",
            "BODY[0]",
            "BODY[1.]",
            "BODY[]<0.0>",
            "BODY[]<1>",
            "BODY[HEADER.FIELDS]",
            "BODY[HEADER.FIELDS ()]",
            "BINARY[TEXT]",
            "FOO",
            "(UID",
            "BODY[1",
            "BODY.PEEK",
            "BODY[HEADER.FIELDS (\"a:b\")]",
        ] {
            assert!(items(bad).is_err(), "{bad}");
        }
    }
}
