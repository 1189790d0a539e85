//! What can go wrong with an object store, in words that name the cause and the way out. Peers
//! never see them: a letter that cannot be stored now is answered 451, and its sender comes again.

use std::error::Error as _;
use std::time::Duration;

use object_store::client::{HttpError, HttpErrorKind};

use crate::StoreError;

/// Bytes of a server's own words that are repeated.
const WORDS_MAX: usize = 160;

/// A call to the object store that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub kind: FaultKind,
    text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FaultKind {
    /// It may be well in a moment.
    Passing,
    /// The operator has to do something: bucket, keys, region, clock.
    Setup,
    /// There is no such object.
    Missing,
    /// The object is not what was written.
    Damaged,
}

impl Fault {
    /// The fault behind an error of the client.
    pub(crate) fn of(place: &str, what: &str, error: &object_store::Error) -> Self {
        let (kind, why) = explain(error);
        Self::new(kind, place, what, &why)
    }

    /// A try that got no answer in time.
    pub(crate) fn late(place: &str, what: &str, after: Duration) -> Self {
        let why = format!(
            "no answer within {:.1} s; it is overloaded, or the way to it is bad",
            after.as_secs_f32()
        );
        Self::new(FaultKind::Passing, place, what, &why)
    }

    /// An object whose bytes are wrong, asked for twice.
    pub(crate) fn damaged(place: &str, object: &str) -> Self {
        let why = format!(
            "object {object} is not what was written; it has to come back from a backup of the \
             bucket, and `pennyblack verify` lists all such letters"
        );
        Self::new(FaultKind::Damaged, place, "reading", &why)
    }

    fn new(kind: FaultKind, place: &str, what: &str, why: &str) -> Self {
        Self {
            kind,
            text: format!("{what} in the object store {place}: {why}"),
        }
    }

    /// Whether another try makes sense.
    pub(crate) fn may_heal(&self) -> bool {
        match self.kind {
            FaultKind::Passing => true,
            FaultKind::Setup | FaultKind::Missing | FaultKind::Damaged => false,
        }
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Fault {}

impl From<Fault> for StoreError {
    fn from(fault: Fault) -> Self {
        match fault.kind {
            // Also what the operator has to mend is only for now: mail waits until it is mended.
            FaultKind::Passing | FaultKind::Setup => StoreError::Io(fault.text),
            FaultKind::Missing | FaultKind::Damaged => StoreError::Damaged(fault.text),
        }
    }
}

/// The kind of an error, and what to say of it.
fn explain(error: &object_store::Error) -> (FaultKind, String) {
    if let Some(told) = transport(error) {
        return told;
    }
    // The client gives the answer of the server as text only.
    let text = chain(error);
    let code = between(&text, "<Code>", "</Code>").unwrap_or_default();
    let status = between(&text, "status code: ", " ").and_then(|status| status.parse().ok());
    let words = words(&code, &text);
    let (kind, advice) = match (code.as_str(), status) {
        ("NoSuchBucket", _) => (
            FaultKind::Setup,
            "there is no such bucket: make it, or correct blobs.url",
        ),
        ("NoSuchKey", _) => (FaultKind::Missing, "there is no such object"),
        ("InvalidAccessKeyId", _) => (
            FaultKind::Setup,
            "the store does not know this key: correct AWS_ACCESS_KEY_ID",
        ),
        ("SignatureDoesNotMatch", _) => (
            FaultKind::Setup,
            "the signature is wrong: correct AWS_SECRET_ACCESS_KEY",
        ),
        ("RequestTimeTooSkewed", _) => (
            FaultKind::Setup,
            "the clocks differ: set the clock of this machine",
        ),
        ("AuthorizationHeaderMalformed", _) | (_, Some(300..=399)) => (
            FaultKind::Setup,
            "the bucket is elsewhere: correct blobs.region and blobs.endpoint",
        ),
        (_, Some(404)) => (FaultKind::Missing, "there is no such object"),
        (_, Some(401 | 403)) => (
            FaultKind::Setup,
            "access is denied: correct AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and let the \
             key read, write, list and remove in the bucket",
        ),
        (_, Some(416)) => (
            FaultKind::Damaged,
            "the object is shorter than what was written",
        ),
        (_, Some(408 | 429 | 500..=599)) => (
            FaultKind::Passing,
            "the store fails or is overloaded: look at its own log",
        ),
        (_, Some(_)) => (FaultKind::Setup, "the store refuses"),
        (_, None) if text.contains("LOCATION") => (
            FaultKind::Setup,
            "the bucket is elsewhere: correct blobs.region and blobs.endpoint",
        ),
        (_, None) => (FaultKind::Passing, "no proper answer"),
    };
    (kind, format!("{advice} ({words})"))
}

/// The fault of a connection, if it is one.
fn transport(error: &object_store::Error) -> Option<(FaultKind, String)> {
    let mut current: &(dyn std::error::Error + 'static) = error;
    let kind = loop {
        if let Some(error) = current.downcast_ref::<HttpError>() {
            break error.kind();
        }
        current = current.source()?;
    };
    let mut last = current;
    while let Some(source) = last.source() {
        last = source;
    }
    let last = printable(&last.to_string());
    Some((
        FaultKind::Passing,
        match kind {
            HttpErrorKind::Connect => format!(
                "it cannot be reached ({last}): correct blobs.endpoint, or see whether it runs"
            ),
            HttpErrorKind::Timeout => {
                format!("no answer in time ({last}); it is overloaded, or the way to it is bad")
            }
            _ => format!("the connection broke ({last})"),
        },
    ))
}

/// What the server said itself: status, code and message.
fn words(code: &str, text: &str) -> String {
    let status = between(text, "status code: ", ":");
    let message = between(text, "<Message>", "</Message>");
    let parts = [status, Some(code.to_owned()), message];
    let said: Vec<String> = parts
        .into_iter()
        .flatten()
        .filter(|part| !part.is_empty())
        .collect();
    if said.is_empty() {
        printable(text)
    } else {
        printable(&said.join(": "))
    }
}

/// An error with all its causes.
fn chain(error: &object_store::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

fn between(text: &str, from: &str, to: &str) -> Option<String> {
    let rest = &text[text.find(from)? + from.len()..];
    Some(rest[..rest.find(to)?].to_owned())
}

/// A stranger's words on one line of a log.
fn printable(text: &str) -> String {
    let mut said: String = text
        .chars()
        .map(|letter| if letter.is_control() { ' ' } else { letter })
        .take(WORDS_MAX)
        .collect();
    if said.len() < text.len() {
        said.push('…');
    }
    said
}
