//! Which parts of a letter hold text that can be searched, and where their bytes lie.

use super::TextLimits;
use crate::office::OfficeKind;
use crate::{BodyLists, Content, Part, Span, Structure};

/// A part that holds text.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// The part.
    pub part: &'a Part,
    /// Its bytes that are needed, as offsets in the letter.
    pub span: Span,
    /// How it is read.
    pub kind: SourceKind,
    /// Whether it is read as the letter; otherwise it is an attachment.
    pub is_body: bool,
    /// Whether it is the HTML form of a text that was there before.
    pub is_alternative: bool,
}

/// How a part is read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SourceKind {
    /// Text of a charset.
    Plain,
    /// HTML.
    Html,
    /// A zip of XML files.
    Office(OfficeKind),
    /// A PDF, which [`TextBuilder::part`](super::TextBuilder::part) does not read.
    Pdf,
}

/// The parts that hold text, in the order of the letter, those of inner letters too.
#[must_use]
pub fn sources<'a>(structure: &'a Structure, limits: &TextLimits) -> Vec<Source<'a>> {
    let mut out = Vec::new();
    let lists = BodyLists::of(&structure.root);
    collect(&structure.root, Some(&lists), limits, &mut out);
    out
}

/// `lists` tells what is shown of the outermost letter; inner letters are attachments.
fn collect<'a>(
    part: &'a Part,
    lists: Option<&BodyLists<'a>>,
    limits: &TextLimits,
    out: &mut Vec<Source<'a>>,
) {
    if out.len() >= limits.parts_max {
        return;
    }
    match &part.content {
        Content::Multipart(children) => {
            for child in children {
                collect(child, lists, limits, out);
            }
        }
        Content::Message(inner) => collect(&inner.root, None, limits, out),
        Content::Leaf => {
            let Some(kind) = kind_of(part) else { return };
            let is_in = |list: &[&Part]| list.iter().any(|other| std::ptr::eq(*other, part));
            let (is_body, is_alternative) = match lists {
                Some(lists) => {
                    let (text, html) = (is_in(&lists.text), is_in(&lists.html));
                    (text || html, html && !text)
                }
                None => (false, false),
            };
            let before: usize = out.iter().map(|source| source.span.len()).sum();
            let left = limits.read_bytes_max.saturating_sub(before);
            let range = part.body.range();
            let span = if !matches!(kind, SourceKind::Office(_) | SourceKind::Pdf) {
                let bytes = range.len().min(limits.part_bytes_max).min(left);
                Span::new(range.start, range.start + bytes)
            } else if range.len() <= limits.document_bytes_max.min(left) {
                part.body
            } else {
                return;
            };
            out.push(Source {
                part,
                span,
                kind,
                is_body,
                is_alternative,
            });
        }
    }
}

/// By the media type, and by the file name where the type says nothing.
fn kind_of(part: &Part) -> Option<SourceKind> {
    match (part.content_type.as_str(), part.subtype.as_str()) {
        ("text", "html") | ("application", "xhtml+xml") => return Some(SourceKind::Html),
        // Pictures of letters from before HTML, and keys: no words.
        ("text", "x-vcard-photo" | "x-pgp-key") => return None,
        ("text", _) => return Some(SourceKind::Plain),
        ("application", "pdf") => return Some(SourceKind::Pdf),
        ("application", "json" | "xml" | "x-yaml" | "ics" | "rtf") => {
            return Some(SourceKind::Plain);
        }
        ("message", "delivery-status" | "disposition-notification" | "rfc822-headers") => {
            return Some(SourceKind::Plain);
        }
        ("application", subtype) => {
            if let Some(office) = OfficeKind::of_subtype(subtype) {
                return Some(SourceKind::Office(office));
            }
        }
        _ => return None,
    }
    let name = part.filename()?;
    let (_, extension) = name.rsplit_once('.')?;
    let extension = extension.to_ascii_lowercase();
    match extension.as_str() {
        "txt" | "text" | "log" | "csv" | "md" | "ics" | "vcf" | "diff" | "patch" | "json"
        | "xml" => Some(SourceKind::Plain),
        "html" | "htm" => Some(SourceKind::Html),
        "pdf" => Some(SourceKind::Pdf),
        other => OfficeKind::of_extension(other).map(SourceKind::Office),
    }
}
