//! Changes of the letter: `addheader`, `deleteheader` (RFC 5293), `replace`, `enclose` (RFC 5703).

use std::borrow::Cow;
use std::collections::BTreeSet;

use message::write::HeaderWriter;
use message::{Fields, Span};

use super::letter::{Entry, entries};
use super::tests::Capture;
use super::values::chosen;
use super::{Go, Machine, error};
use crate::edits::{Edit, edited};
use crate::matching::{Work, cut};
use crate::program::{AddHeader, DeleteHeader, Enclose, Replace};
use crate::vacation::{entity, one_line, text_entity};

/// Bytes of the value of a field that a script adds.
const VALUE_BYTES_MAX: usize = 2 * 1024;

/// RFC 5293 §6: fields that show where a letter has been are not taken away.
const KEPT: [&str; 2] = ["received", "auto-submitted"];

impl<'a> Machine<'a> {
    fn edit(&mut self, edit: Edit) -> Go<()> {
        if self.edits.len() >= self.limits.edits_max {
            return error(format!(
                "the script changes the letter more than {} times",
                self.limits.edits_max
            ));
        }
        self.edits.push(edit);
        Ok(())
    }

    pub(super) fn add_header(&mut self, add: &'a AddHeader) -> Go<()> {
        let name = self.text(&add.name)?.into_owned();
        if !crate::compile::is_field_name(&name) || name.len() > 200 {
            return error(format!(
                "\"{}\" is no name of a header field",
                cut(&name, 50).escape_debug()
            ));
        }
        let value = one_line(&self.text(&add.value)?);
        if value.len() > VALUE_BYTES_MAX {
            return error(format!(
                "the value of a new header field is longer than {VALUE_BYTES_MAX} bytes"
            ));
        }
        let last = add.last;
        let entry = Entry {
            name: Cow::Owned(name.clone().into_bytes()),
            value: Cow::Owned(value.clone().into_bytes()),
        };
        self.edit(Edit::Add { name, value, last })?;
        let place = if last { self.fields.len() } else { 0 };
        self.fields.insert(place, entry);
        Ok(())
    }

    pub(super) fn delete_header(&mut self, delete: &'a DeleteHeader) -> Go<()> {
        let name = self.text(&delete.name)?.into_owned();
        if !crate::compile::is_field_name(&name) {
            return error(format!(
                "\"{}\" is no name of a header field",
                cut(&name, 50).escape_debug()
            ));
        }
        if KEPT.iter().any(|kept| kept.eq_ignore_ascii_case(&name)) {
            self.note(format!("the field {name} cannot be deleted"));
            return Ok(());
        }
        // §5: the index counts fields of this name, before values are looked at.
        let mut places = self.places(&name, delete.index)?;
        if let Some(matcher) = &delete.matcher {
            let mut matching = Vec::new();
            for place in places {
                let Some(entry) = self.fields.get(place) else {
                    continue;
                };
                let value = Cow::Owned(entry.field().text());
                if self.matches(matcher, &[value], Capture::No)? {
                    matching.push(place);
                }
            }
            places = matching;
        }
        self.remove_fields(places)
    }

    fn remove_fields(&mut self, places: Vec<usize>) -> Go<()> {
        if places.is_empty() {
            return Ok(());
        }
        let mut place = 0;
        self.fields.retain(|_| {
            place += 1;
            places.binary_search(&(place - 1)).is_err()
        });
        self.edit(Edit::Remove(places))
    }

    /// §5: other content for the current part, or outside of loops for the whole letter.
    pub(super) fn replace(&mut self, replace: &'a Replace) -> Go<()> {
        if self
            .edits
            .iter()
            .any(|edit| matches!(edit, Edit::Letter(_)))
        {
            return error("`replace` cannot follow `enclose`");
        }
        let text = self.text(&replace.text)?;
        let content = if replace.mime {
            entity(&text).into_bytes()
        } else {
            text_entity(&text)
        };
        self.budget.work(content.len())?;
        let root = self.run.letter.root();
        let part = self.parts.last().copied().unwrap_or(root);
        if !std::ptr::eq(part, root) {
            let span = Span::new(part.header.range().start, part.body.range().end);
            // The line end before the next boundary is not part of it.
            let content = content.strip_suffix(b"\r\n").unwrap_or(&content).to_vec();
            return self.edit(Edit::Splice {
                span,
                bytes: content,
            });
        }
        self.replace_letter(replace, &content)
    }

    fn replace_letter(&mut self, replace: &'a Replace, content: &[u8]) -> Go<()> {
        let is_content = |entry: &Entry<'_>| {
            let name = entry.name.to_ascii_lowercase();
            name.starts_with(b"content-") || name == b"mime-version"
        };
        let fields = self.fields.iter().enumerate();
        let places = fields
            .filter(|(_, entry)| is_content(entry))
            .map(|(place, _)| place);
        self.remove_fields(places.collect())?;
        let subject = self.optional(replace.subject.as_ref())?;
        let from = self.optional(replace.from.as_ref())?;
        for (name, value) in [("Subject", subject), ("From", from)] {
            let Some(value) = value else { continue };
            // What stood there before is not lost.
            let places = chosen(self.places(name, None)?, None);
            if let Some(place) = places.first().copied()
                && let Some(entry) = self.fields.get(place)
            {
                let original = one_line(&entry.field().text());
                self.remove_fields(places)?;
                self.add_last(&format!("Original-{name}"), &original)?;
            }
            self.add_last(name, &one_line(&value))?;
        }
        self.add_last("MIME-Version", "1.0")?;
        let mut body = 0;
        for field in Fields::new(content) {
            let name = String::from_utf8_lossy(field.name).into_owned();
            self.add_last(&name, &field.raw_text())?;
            body = field.span.range().end;
        }
        let rest = content.get(body..).unwrap_or_default();
        let rest = rest.strip_prefix(b"\r\n").unwrap_or(rest);
        let span = self.run.letter.root().body;
        let bytes = rest.to_vec();
        self.edit(Edit::Splice { span, bytes })
    }

    fn add_last(&mut self, name: &str, value: &str) -> Go<()> {
        let value = cut(value, VALUE_BYTES_MAX).to_owned();
        self.fields.push(Entry {
            name: Cow::Owned(name.as_bytes().to_vec()),
            value: Cow::Owned(value.clone().into_bytes()),
        });
        self.edit(Edit::Add {
            name: name.to_owned(),
            value,
            last: true,
        })
    }

    /// §6: a new letter with a text, and the letter as it is now behind it.
    pub(super) fn enclose(&mut self, enclose: &'a Enclose) -> Go<()> {
        let text = self.text(&enclose.text)?;
        let subject = self.optional(enclose.subject.as_ref())?;
        let headers = self.texts(&enclose.headers)?;
        let raw = self.run.letter.raw();
        let made: usize = self.edits.iter().map(edit_bytes).sum();
        self.budget.work(raw.len() + made)?;
        let letter = edited(raw, &self.edits);
        let mut header = HeaderWriter::new();
        let mut names: Vec<&str> = vec!["from", "to", "cc", "date", "message-id"];
        names.extend(headers.iter().map(AsRef::as_ref));
        if subject.is_none() {
            names.push("subject");
        }
        for entry in &self.fields {
            let name = String::from_utf8_lossy(&entry.name);
            if names
                .iter()
                .any(|wanted| wanted.eq_ignore_ascii_case(&name))
            {
                header = header.raw(&name, &entry.field().raw_text());
            }
        }
        if let Some(subject) = &subject {
            header = header.text("Subject", &one_line(subject));
        }
        let boundary = boundary_for(&letter, &text);
        let mut out = header
            .raw("MIME-Version", "1.0")
            .raw(
                "Content-Type",
                &format!("multipart/mixed; boundary=\"{boundary}\""),
            )
            .finish();
        out.extend_from_slice(format!("\r\n--{boundary}\r\n").as_bytes());
        out.extend_from_slice(&text_entity(&text));
        let kind = "Content-Type: message/rfc822\r\nContent-Disposition: attachment";
        out.extend_from_slice(format!("\r\n--{boundary}\r\n{kind}\r\n\r\n").as_bytes());
        out.extend_from_slice(&letter);
        out.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
        let fields = entries(&out).into_iter().map(|entry| Entry {
            name: Cow::Owned(entry.name.into_owned()),
            value: Cow::Owned(entry.value.into_owned()),
        });
        self.fields = fields.collect();
        self.edit(Edit::Letter(out))
    }
}

fn edit_bytes(edit: &Edit) -> usize {
    match edit {
        Edit::Letter(bytes) | Edit::Splice { bytes, .. } => bytes.len(),
        Edit::Add { .. } | Edit::Remove(_) => 0,
    }
}

/// A boundary that stands nowhere in the letter. One look at the letter finds all that do, whoever
/// wrote them.
fn boundary_for(letter: &[u8], text: &str) -> String {
    const START: &[u8] = b"=_enclosed_";
    let mut taken = BTreeSet::new();
    for bytes in [letter, text.as_bytes()] {
        for at in memchr::memmem::find_iter(bytes, START) {
            let rest = bytes.get(at + START.len()..).unwrap_or_default();
            let digits = rest
                .iter()
                .take(8)
                .take_while(|b| b.is_ascii_digit())
                .count();
            let number = std::str::from_utf8(&rest[..digits]).ok();
            taken.extend(number.and_then(|number| number.parse::<u32>().ok()));
        }
    }
    // Ten million starts of that form would be a letter of 100 MB.
    let free = (0..10_000_000)
        .find(|number| !taken.contains(number))
        .unwrap_or(10_000_000);
    format!("=_enclosed_{free:08}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boundaries_are_new() {
        assert_eq!(boundary_for(b"x", "y"), "=_enclosed_00000000");
        let letter = b"=_enclosed_00000000 =_enclosed_00000002 =_enclosed_x =_enclosed_";
        assert_eq!(
            boundary_for(letter, "=_enclosed_00000001"),
            "=_enclosed_00000003"
        );
    }
}
