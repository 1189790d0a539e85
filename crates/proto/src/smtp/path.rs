//! The paths of MAIL and RCPT: RFC 5321 §4.1.1.2, §4.1.1.3, §4.1.2.

use std::fmt;

use base::{AddressError, EmailAddress};

/// Whom a letter is for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Recipient {
    /// An address.
    Address(EmailAddress),
    /// `<Postmaster>` without a domain, which every server accepts (RFC 5321 §4.1.1.3).
    Postmaster,
}

impl fmt::Display for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Postmaster => f.write_str("postmaster"),
        }
    }
}

/// Why a path is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum PathError {
    /// No `<…>`.
    NoBrackets,
    /// What is inside is no address.
    Address(AddressError),
}

/// A path and the text of its parameters.
pub(super) struct Argument<'a> {
    /// Inside the brackets, without a source route.
    pub(super) path: &'a str,
    /// What follows.
    pub(super) params: &'a str,
}

/// Splits `<path> params`. A space before the path is let through: many clients send it.
pub(super) fn split(text: &str) -> Result<Argument<'_>, PathError> {
    let text = text.trim_start_matches(' ');
    let inside = text.strip_prefix('<').ok_or(PathError::NoBrackets)?;
    let end = closing_bracket(inside).ok_or(PathError::NoBrackets)?;
    let params = &inside[end + 1..];
    if !params.is_empty() && !params.starts_with(' ') {
        return Err(PathError::NoBrackets);
    }
    Ok(Argument {
        path: without_route(&inside[..end]),
        params,
    })
}

/// `None` is the null reverse path `<>`, RFC 5321 §4.5.5.
pub(super) fn reverse(path: &str) -> Result<Option<EmailAddress>, PathError> {
    if path.is_empty() {
        return Ok(None);
    }
    EmailAddress::parse(path)
        .map(Some)
        .map_err(PathError::Address)
}

pub(super) fn forward(path: &str) -> Result<Recipient, PathError> {
    if path.eq_ignore_ascii_case("postmaster") {
        return Ok(Recipient::Postmaster);
    }
    EmailAddress::parse(path)
        .map(Recipient::Address)
        .map_err(PathError::Address)
}

/// Where the `>` outside of a quoted local part is.
fn closing_bracket(inside: &str) -> Option<usize> {
    let (mut quoted, mut escaped) = (false, false);
    for (at, byte) in inside.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'>' if !quoted => return Some(at),
            _ => {}
        }
    }
    None
}

/// RFC 5321 §4.1.1.3 and appendix C: a source route is to be accepted and ignored.
fn without_route(path: &str) -> &str {
    match path
        .strip_prefix('@')
        .and_then(|route| route.split_once(':'))
    {
        Some((_, rest)) => rest,
        None => path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brackets_quotes_and_routes() {
        let check = |text: &str, path: &str, params: &str| {
            let argument = split(text).unwrap_or_else(|_| panic!("{text}"));
            assert_eq!((argument.path, argument.params), (path, params));
        };
        check("<a@x.test> SIZE=1", "a@x.test", " SIZE=1");
        check(" <>", "", "");
        check("<\"a>b\\\"\"@x.test>", "\"a>b\\\"\"@x.test", "");
        check("<@a.test,@b.test:u@x.test>", "u@x.test", "");
        for bad in ["a@x.test", "<a@x.test", "<a@x.test>SIZE=1", ""] {
            assert!(split(bad).is_err(), "{bad}");
        }
    }
}
