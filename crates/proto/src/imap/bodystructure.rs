//! BODY and BODYSTRUCTURE (RFC 9051 §7.5.2).

use super::envelope::{self, Envelope};
use super::write::Writer;

/// Names and values.
pub type Parameters<'a> = Vec<(&'a [u8], &'a [u8])>;

/// A part of a letter.
#[derive(Clone, Debug)]
pub struct Part<'a> {
    /// `text`, `image`, `multipart`, …
    pub media_type: &'a [u8],
    /// `plain`, `png`, `mixed`, …
    pub media_subtype: &'a [u8],
    /// Parameters of Content-Type: names and values.
    pub parameters: Parameters<'a>,
    /// Content-ID.
    pub id: Option<&'a [u8]>,
    /// Content-Description.
    pub description: Option<&'a [u8]>,
    /// Content-Transfer-Encoding; `7BIT` if the letter has none.
    pub encoding: &'a [u8],
    /// The size of the body, encoded as it is, in bytes.
    pub body_bytes: u64,
    /// The lines of the body, encoded as it is; for texts and embedded letters.
    pub body_lines: u64,
    /// Content-MD5.
    pub md5: Option<&'a [u8]>,
    /// Content-Disposition with its parameters.
    pub disposition: Option<(&'a [u8], Parameters<'a>)>,
    /// Content-Language.
    pub languages: Vec<&'a [u8]>,
    /// Content-Location.
    pub location: Option<&'a [u8]>,
    /// What is inside.
    pub content: Content<'a>,
}

/// What is inside a part.
#[derive(Clone, Debug)]
pub enum Content<'a> {
    /// Data.
    Single,
    /// `message/rfc822`, `message/global`: a letter.
    Message(Box<(Envelope<'a>, Part<'a>)>),
    /// `multipart/…`; an empty one is told as one with an empty text.
    Multipart(Vec<Part<'a>>),
}

/// Whether extension data is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    /// `BODY`
    Basic,
    /// `BODYSTRUCTURE`
    Extended,
}

/// Writes the parenthesised list. The depth is bounded by that of the letters that are stored.
pub fn write(writer: &mut Writer, part: &Part<'_>, form: Form) {
    writer.raw("(");
    match &part.content {
        Content::Multipart(children) => write_multipart(writer, part, children, form),
        Content::Single | Content::Message(_) => write_single(writer, part, form),
    }
    writer.raw(")");
}

/// `body-type-mpart = 1*body SP media-subtype [SP body-ext-mpart]`.
fn write_multipart(writer: &mut Writer, part: &Part<'_>, children: &[Part<'_>], form: Form) {
    if children.is_empty() {
        // The grammar asks for at least one.
        writer.raw("(\"text\" \"plain\" NIL NIL NIL \"7bit\" 0 0)");
    }
    for child in children {
        write(writer, child, form);
    }
    writer.raw(" ");
    writer.string(part.media_subtype);
    if form == Form::Extended {
        writer.raw(" ");
        write_parameters(writer, &part.parameters);
        write_extension(writer, part);
    }
}

/// `body-type-1part = (body-type-basic / body-type-msg / body-type-text) [SP body-ext-1part]`.
fn write_single(writer: &mut Writer, part: &Part<'_>, form: Form) {
    writer.string(part.media_type);
    writer.raw(" ");
    writer.string(part.media_subtype);
    writer.raw(" ");
    write_parameters(writer, &part.parameters);
    writer.raw(" ");
    writer.nstring(part.id);
    writer.raw(" ");
    writer.nstring(part.description);
    writer.raw(" ");
    writer.string(part.encoding);
    writer.display(format_args!(" {}", part.body_bytes));
    // RFC 3501 §9: only message/rfc822 has this form; a client that has not asked for IMAP4rev2 or
    // UTF8=ACCEPT would stumble over it in message/global.
    let is_known = writer.is_utf8() || part.media_subtype.eq_ignore_ascii_case(b"rfc822");
    if let Content::Message(inner) = &part.content
        && is_known
    {
        writer.raw(" ");
        envelope::write(writer, &inner.0);
        writer.raw(" ");
        write(writer, &inner.1, form);
        writer.display(format_args!(" {}", part.body_lines));
    } else if part.media_type.eq_ignore_ascii_case(b"text") {
        writer.display(format_args!(" {}", part.body_lines));
    }
    if form == Form::Extended {
        writer.raw(" ");
        writer.nstring(part.md5);
        write_extension(writer, part);
    }
}

/// Disposition, language and location, which both kinds of part end with.
fn write_extension(writer: &mut Writer, part: &Part<'_>) {
    writer.raw(" ");
    match &part.disposition {
        Some((name, parameters)) => {
            writer.raw("(");
            writer.string(name);
            writer.raw(" ");
            write_parameters(writer, parameters);
            writer.raw(")");
        }
        None => writer.raw("NIL"),
    }
    writer.raw(" ");
    match part.languages.as_slice() {
        [] => writer.raw("NIL"),
        languages => {
            writer.raw("(");
            for (index, language) in languages.iter().enumerate() {
                if index > 0 {
                    writer.raw(" ");
                }
                writer.string(language);
            }
            writer.raw(")");
        }
    }
    writer.raw(" ");
    writer.nstring(part.location);
}

/// `body-fld-param = "(" string SP string *(SP string SP string) ")" / nil`.
fn write_parameters(writer: &mut Writer, parameters: &[(&[u8], &[u8])]) {
    if parameters.is_empty() {
        writer.raw("NIL");
        return;
    }
    writer.raw("(");
    for (index, (name, value)) in parameters.iter().enumerate() {
        if index > 0 {
            writer.raw(" ");
        }
        writer.string(name);
        writer.raw(" ");
        writer.string(value);
    }
    writer.raw(")");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(content: Content<'static>) -> Part<'static> {
        Part {
            media_type: b"text",
            media_subtype: b"plain",
            parameters: vec![(b"charset", b"utf-8")],
            id: None,
            description: None,
            encoding: b"7bit",
            body_bytes: 12,
            body_lines: 2,
            md5: None,
            disposition: Some((b"inline", vec![])),
            languages: vec![b"en"],
            location: None,
            content,
        }
    }

    fn shown(part: &Part<'_>, form: Form) -> String {
        let mut writer = Writer::default();
        write(&mut writer, part, form);
        String::from_utf8(writer.take()).unwrap()
    }

    #[test]
    fn a_text() {
        let part = text(Content::Single);
        let basic = "\"text\" \"plain\" (\"charset\" \"utf-8\") NIL NIL \"7bit\" 12 2";
        assert_eq!(shown(&part, Form::Basic), format!("({basic})"));
        assert_eq!(
            shown(&part, Form::Extended),
            format!("({basic} NIL (\"inline\" NIL) (\"en\") NIL)")
        );
    }

    #[test]
    fn a_multipart_and_an_embedded_letter() {
        let letter = Part {
            media_type: b"message",
            media_subtype: b"rfc822",
            parameters: vec![],
            disposition: None,
            languages: vec![],
            ..text(Content::Message(Box::new((
                Envelope::default(),
                text(Content::Single),
            ))))
        };
        let multipart = Part {
            media_type: b"multipart",
            media_subtype: b"mixed",
            ..text(Content::Multipart(vec![letter]))
        };
        let inner = shown(&text(Content::Single), Form::Basic);
        let nils = ["NIL"; 10].join(" ");
        assert_eq!(
            shown(&multipart, Form::Basic),
            format!(
                "((\"message\" \"rfc822\" NIL NIL NIL \"7bit\" 12 ({nils}) {inner} 2) \"mixed\")"
            )
        );
        let empty = Part {
            media_subtype: b"mixed",
            ..text(Content::Multipart(vec![]))
        };
        assert!(
            shown(&empty, Form::Extended)
                .ends_with(" \"mixed\" (\"charset\" \"utf-8\") (\"inline\" NIL) (\"en\") NIL)")
        );
    }

    #[test]
    fn an_embedded_global_letter_is_opaque_to_old_clients() {
        let inner = (Envelope::default(), text(Content::Single));
        let letter = Part {
            media_type: b"message",
            media_subtype: b"global",
            ..text(Content::Message(Box::new(inner)))
        };
        let basic = "(\"message\" \"global\" (\"charset\" \"utf-8\") NIL NIL \"7bit\" 12";
        assert_eq!(shown(&letter, Form::Basic), format!("{basic})"));
        let mut writer = Writer::default();
        writer.use_utf8();
        write(&mut writer, &letter, Form::Basic);
        let text = String::from_utf8(writer.take()).unwrap();
        assert!(text.starts_with(&format!("{basic} (NIL NIL")), "{text}");
    }
}
