//! The Authentication-Results field (RFC 8601, with RFC 6008 and 8616): written, read, and recognised
//! where a stranger has written one in our name.

mod forged;
mod parse;
#[cfg(test)]
mod tests;
mod write;

pub use forged::{forged_fields, same_server};

/// The name of the field.
pub const FIELD_NAME: &str = "Authentication-Results";

/// What a server found about a letter.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct AuthResults {
    /// Who says it: the authserv-id, in most cases a host name.
    pub server: String,
    /// What it found; empty is written as `none`.
    pub results: Vec<MethodResult>,
}

/// `resinfo`: the result of one method for one identity.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct MethodResult {
    /// `spf`, `dkim`, `dmarc`, `arc`, `iprev`, …
    pub method: String,
    /// `pass`, `fail`, …
    pub result: String,
    /// A word beside the result, for people.
    pub comment: Option<String>,
    /// Why.
    pub reason: Option<String>,
    /// What was checked.
    pub properties: Vec<Property>,
}

/// `ptype.property=pvalue`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Property {
    /// `smtp`, `header`, `body` or `policy`.
    pub kind: String,
    /// `mailfrom`, `d`, `from`, …
    pub name: String,
    /// Without quotes.
    pub value: String,
}

impl MethodResult {
    /// A result without properties.
    #[must_use]
    pub fn new(method: &str, result: &str) -> Self {
        Self {
            method: method.to_owned(),
            result: result.to_owned(),
            ..Self::default()
        }
    }

    /// The same with a property, where there is a value.
    #[must_use]
    pub fn with(mut self, kind: &str, name: &str, value: Option<impl Into<String>>) -> Self {
        if let Some(value) = value {
            self.properties.push(Property {
                kind: kind.to_owned(),
                name: name.to_owned(),
                value: value.into(),
            });
        }
        self
    }

    /// The value of a property.
    #[must_use]
    pub fn property(&self, kind: &str, name: &str) -> Option<&str> {
        let found = self.properties.iter().find(|property| {
            property.kind.eq_ignore_ascii_case(kind) && property.name.eq_ignore_ascii_case(name)
        });
        found.map(|property| property.value.as_str())
    }
}
