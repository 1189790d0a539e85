//! The header of the letter as the script has edited it.

use std::borrow::Cow;

use message::{Field, Fields, Span};

/// One field. Names and values are as in the letter, or as a script made them.
#[derive(Clone, Debug)]
pub(super) struct Entry<'a> {
    pub(super) name: Cow<'a, [u8]>,
    pub(super) value: Cow<'a, [u8]>,
}

impl Entry<'_> {
    pub(super) fn field(&self) -> Field<'_> {
        Field {
            name: &self.name,
            value: &self.value,
            span: Span::default(),
        }
    }
}

/// The fields of a header.
pub(super) fn entries(header: &[u8]) -> Vec<Entry<'_>> {
    let fields = Fields::new(header);
    fields
        .map(|field| Entry {
            name: Cow::Borrowed(field.name),
            value: Cow::Borrowed(field.value),
        })
        .collect()
}
