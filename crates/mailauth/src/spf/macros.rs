//! Macro strings: their grammar (RFC 7208 §7.1).

/// A text with macros, read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct MacroString(pub(super) Vec<Part>);

/// A piece of a macro string.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Part {
    /// As it stands.
    Literal(String),
    /// `%%`, `%_` or `%-`.
    Escape(&'static str),
    /// `%{…}`.
    Macro(Macro),
}

/// `"%{" macro-letter transformers *delimiter "}"`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Macro {
    /// In lower case.
    pub(super) letter: u8,
    /// An upper-case letter: the value is escaped as in an URL.
    pub(super) escaped: bool,
    /// How many parts are kept, from the right.
    pub(super) keep: usize,
    pub(super) reversed: bool,
    /// Empty: the dot.
    pub(super) delimiters: Vec<u8>,
}

/// Where a macro string stands, which decides the letters that it may have (RFC 7208 §7.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Place {
    /// In a record.
    Record,
    /// In an explanation, where `c`, `r`, `t` and spaces are allowed as well.
    Explanation,
}

impl MacroString {
    /// Reads a text; `None` if it breaks the grammar.
    pub(super) fn parse(text: &str, place: Place) -> Option<Self> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(at) = rest.find('%') {
            push_literal(&mut parts, &rest[..at], place)?;
            rest = &rest[at + 1..];
            let (part, length) = parse_expand(rest, place)?;
            parts.push(part);
            rest = &rest[length..];
        }
        push_literal(&mut parts, rest, place)?;
        Some(Self(parts))
    }

    /// Reads `domain-spec = macro-string domain-end`.
    pub(super) fn parse_domain_spec(text: &str) -> Option<Self> {
        let spec = Self::parse(text, Place::Record)?;
        match spec.0.last()? {
            Part::Escape(_) | Part::Macro(_) => Some(spec),
            Part::Literal(literal) => {
                let literal = literal.strip_suffix('.').unwrap_or(literal);
                let (_, top) = literal.rsplit_once('.')?;
                is_top_label(top).then_some(spec)
            }
        }
    }
}

fn push_literal(parts: &mut Vec<Part>, text: &str, place: Place) -> Option<()> {
    let may_stand =
        |byte: u8| byte.is_ascii_graphic() || (place == Place::Explanation && byte == b' ');
    if !text.bytes().all(may_stand) {
        return None;
    }
    if !text.is_empty() {
        parts.push(Part::Literal(text.to_owned()));
    }
    Some(())
}

/// What follows a `%`, and how long it is.
fn parse_expand(text: &str, place: Place) -> Option<(Part, usize)> {
    match text.as_bytes().first()? {
        b'%' => Some((Part::Escape("%"), 1)),
        b'_' => Some((Part::Escape(" "), 1)),
        b'-' => Some((Part::Escape("%20"), 1)),
        b'{' => {
            let end = text.find('}')?;
            let inside = &text.as_bytes()[1..end];
            Some((Part::Macro(parse_macro(inside, place)?), end + 1))
        }
        _ => None,
    }
}

fn parse_macro(inside: &[u8], place: Place) -> Option<Macro> {
    let (&written, rest) = inside.split_first()?;
    let letter = written.to_ascii_lowercase();
    let known = match place {
        Place::Record => b"slodiphv".as_slice(),
        Place::Explanation => b"slodiphvcrt".as_slice(),
    };
    if !known.contains(&letter) {
        return None;
    }
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let keep = match digits {
        0 => usize::MAX,
        _ => std::str::from_utf8(&rest[..digits])
            .ok()?
            .parse()
            .unwrap_or(usize::MAX),
    };
    let rest = &rest[digits..];
    let (reversed, delimiters) = match rest.split_first() {
        Some((b'r' | b'R', rest)) => (true, rest),
        _ => (false, rest),
    };
    // RFC 7208 §7.1: a number of parts is not zero.
    let valid = keep > 0 && delimiters.iter().all(|byte| b".-+,/_=".contains(byte));
    valid.then(|| Macro {
        letter,
        escaped: written.is_ascii_uppercase(),
        keep,
        reversed,
        delimiters: delimiters.to_vec(),
    })
}

/// `toplabel`: letters, digits and inner hyphens, not digits only.
fn is_top_label(label: &str) -> bool {
    let bytes = label.as_bytes();
    let ends = [bytes.first(), bytes.last()];
    ends.iter()
        .all(|end| end.is_some_and(u8::is_ascii_alphanumeric))
        && bytes
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-')
        && !bytes.iter().all(u8::is_ascii_digit)
}
