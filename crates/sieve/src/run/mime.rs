//! Parts of the letter as tests see them (RFC 5703): loops, `:mime`, `extracttext`.

use std::borrow::Cow;

use message::header::{decoded_param, parse_content_value};
use message::{Fields, Part};

use super::values::{PART_WORK, chosen, descendants};
use super::{Flow, Go, Machine};
use crate::matching::{Work, cut};
use crate::program::{Command, Index, Mime, MimeOption, Modifier};

/// Parameters of one field that are looked at.
const PARAMS_MAX: usize = 100;

impl<'a> Machine<'a> {
    /// §3: the parts of the letter in its order; inside of another loop those below its part.
    pub(super) fn for_every_part(
        &mut self,
        name: Option<&'a str>,
        block: &'a [Command],
    ) -> Go<Flow<'a>> {
        let parts = match self.parts.last() {
            None => descendants(self.run.letter.root()),
            Some(outer) => descendants(outer).split_off(1),
        };
        for part in parts {
            self.budget.step()?;
            self.parts.push(part);
            let flow = self.block(block);
            self.parts.pop();
            match flow? {
                Flow::Next => {}
                Flow::Break(wanted) if wanted.is_none() || wanted == name => return Ok(Flow::Next),
                flow => return Ok(flow),
            }
        }
        Ok(Flow::Next)
    }

    /// The parts that `:mime` looks at.
    fn entities(&self, mime: &Mime) -> Vec<&'a Part> {
        let root = self.run.letter.root();
        let current = self.parts.last().copied().unwrap_or(root);
        if mime.any_child {
            descendants(current)
        } else {
            vec![current]
        }
    }

    /// The raw values of the fields of this name in those parts.
    pub(super) fn mime_fields(&mut self, mime: &Mime, name: &str) -> Go<Vec<Vec<u8>>> {
        let root = self.run.letter.root();
        let mut out = Vec::new();
        for part in self.entities(mime) {
            self.budget.work(PART_WORK)?;
            // The letter's own header may have been edited.
            if std::ptr::eq(part, root) {
                let places = self.places(name, None)?;
                let entries = places.iter().filter_map(|place| self.fields.get(*place));
                out.extend(entries.map(|entry| entry.value.to_vec()));
                continue;
            }
            let header = self.run.letter.bytes(part.header);
            self.budget.work(header.len() + 1)?;
            out.extend(
                Fields::new(header)
                    .named(name)
                    .map(|field| field.value.to_vec()),
            );
        }
        Ok(out)
    }

    /// §4.1: whole values, or what the option takes out of them.
    pub(super) fn mime_values(
        &mut self,
        mime: &'a Mime,
        name: &str,
        index: Option<Index>,
        values: &mut Vec<Cow<'a, str>>,
    ) -> Go<()> {
        let params = match &mime.option {
            MimeOption::Params(names) => self.texts(names)?,
            MimeOption::Value
            | MimeOption::Type
            | MimeOption::Subtype
            | MimeOption::ContentType => Vec::new(),
        };
        let is_type = name.eq_ignore_ascii_case("content-type");
        let is_structured = is_type || name.eq_ignore_ascii_case("content-disposition");
        for value in chosen(self.mime_fields(mime, name)?, index) {
            self.budget.work(value.len())?;
            let value = value.get(..self.limits.text_bytes_max).unwrap_or(&value);
            if matches!(mime.option, MimeOption::Value) {
                values.push(Cow::Owned(message::header::decode_text(value)));
                continue;
            }
            if !is_structured {
                continue;
            }
            let content = parse_content_value(value, PARAMS_MAX);
            let (kind, subtype) = match content.value.split_once('/') {
                Some((kind, subtype)) => (kind.to_owned(), subtype.to_owned()),
                None => (content.value.clone(), String::new()),
            };
            match &mime.option {
                MimeOption::Value => {}
                MimeOption::Type => values.push(Cow::Owned(kind)),
                MimeOption::Subtype => values.push(Cow::Owned(subtype)),
                MimeOption::ContentType => values.push(Cow::Owned(content.value)),
                MimeOption::Params(_) => {
                    let found = params
                        .iter()
                        .filter_map(|name| decoded_param(&content.params, name));
                    values.extend(found.map(Cow::Owned));
                }
            }
        }
        Ok(())
    }

    /// §7: the text of the current part; a part that is no text has none.
    pub(super) fn extract_text(
        &mut self,
        first: Option<u64>,
        name: &str,
        modifiers: &[Modifier],
    ) -> Go<()> {
        let mut text = String::new();
        if let Some(part) = self.parts.last().copied()
            && part.content_type == "text"
        {
            text = self.part_text(part)?;
        }
        let characters = usize::try_from(first.unwrap_or(u64::MAX)).unwrap_or(usize::MAX);
        if let Some((end, _)) = text.char_indices().nth(characters) {
            text.truncate(end);
        }
        let text = cut(&text, self.limits.variable_bytes_max);
        let value = super::variables::modified(text, modifiers, self.limits.variable_bytes_max);
        self.assign(name, &value)
    }
}
