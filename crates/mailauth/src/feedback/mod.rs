//! Reports that others send about our domains: DMARC aggregate reports (RFC 9990) and reports about
//! TLS (RFC 8460), found in a letter and read into rows, complaints ([`arf`]), and the DMARC reports that
//! we send ([`aggregate`]).
//!
//! A report is a claim of a stranger. It is read with limits, so that a small file that unpacks into
//! a large one costs no more than they allow, and what it says is not believed here.

pub mod aggregate;
pub mod arf;
mod dmarc;
mod tls;
mod unpack;
mod xml;

use std::fmt;

use base::Timestamp;
use message::{Fields, Message};

pub use unpack::UNPACKED_BYTES_MAX;

/// The most rows of a report that are kept; the counts of all are summed.
pub const ROWS_MAX: usize = 10_000;
/// The longest text of a report that is kept, in bytes.
const TEXT_BYTES_MAX: usize = 255;
/// Parts of a letter that are looked at.
const PARTS_MAX: usize = 20;

/// What a report is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Who sent as the domain, and what SPF, DKIM and DMARC said of it (RFC 9990).
    Dmarc,
    /// What became of TLS on connections to the domain's servers (RFC 8460).
    Tls,
    /// Somebody complains about a letter of the domain (RFC 5965).
    Complaint,
}

impl Kind {
    /// Its name in lists.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Dmarc => "dmarc",
            Self::Tls => "tls",
            Self::Complaint => "complaint",
        }
    }
}

/// A report.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Report {
    /// What it is about.
    pub kind: Kind,
    /// Who reports.
    pub organisation: String,
    /// Its id, unique for the organisation.
    pub id: String,
    /// The domain that it is about.
    pub domain: String,
    /// From when.
    pub begins_at: Timestamp,
    /// Until when.
    pub ends_at: Timestamp,
    /// How many letters or connections were in order.
    pub good: u64,
    /// How many were not.
    pub bad: u64,
    /// The rows, at most [`ROWS_MAX`].
    pub rows: Vec<Row>,
}

/// Letters or connections that are alike.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Row {
    /// DMARC: the address that sent. TLS: the server.
    pub source: String,
    /// Whether they were in order.
    pub good: bool,
    /// What was found, in words.
    pub result: String,
    /// How many.
    pub count: u64,
}

/// Why there is no report in a letter.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FeedbackError {
    /// No part of the letter is one.
    NotThere,
    /// It cannot be unpacked, or unpacks into more than [`UNPACKED_BYTES_MAX`].
    Packed,
    /// It is not written as a report; in words.
    Malformed(String),
}

impl fmt::Display for FeedbackError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotThere => f.write_str("there is no report in it"),
            Self::Packed => write!(
                f,
                "the report cannot be unpacked, or is larger than {} MB",
                UNPACKED_BYTES_MAX / 1_000_000
            ),
            Self::Malformed(why) => write!(f, "the report is malformed: {why}"),
        }
    }
}

impl std::error::Error for FeedbackError {}

impl Report {
    /// Reads the report in a letter. A complaint is about the first of its domains that `is_ours`.
    ///
    /// # Errors
    /// The [`FeedbackError`] of the part that looked most like one.
    pub fn from_letter(
        letter: &[u8],
        is_ours: impl Fn(&str) -> bool,
    ) -> Result<Self, FeedbackError> {
        match arf::Complaint::from_letter(letter) {
            Ok(complaint) => return Ok(complaint.report(is_ours)),
            Err(FeedbackError::NotThere) => {}
            Err(wrong) => return Err(wrong),
        }
        let message = Message::parse(letter);
        let mut error = FeedbackError::NotThere;
        let mut budget = UNPACKED_BYTES_MAX;
        for part in message.leaves().into_iter().take(PARTS_MAX) {
            match Self::within(&message.decoded(part), &mut budget) {
                Ok(report) => return Ok(report),
                Err(FeedbackError::NotThere) => {}
                Err(wrong) => error = wrong,
            }
        }
        Err(error)
    }

    /// Reads a report that stands alone: XML or JSON, as it is, in gzip or in a zip.
    ///
    /// # Errors
    /// The [`FeedbackError`] that says what is wrong.
    pub fn from_file(bytes: &[u8]) -> Result<Self, FeedbackError> {
        Self::within(bytes, &mut UNPACKED_BYTES_MAX.clone())
    }

    /// The parts of a letter share what may be unpacked.
    fn within(bytes: &[u8], budget: &mut usize) -> Result<Self, FeedbackError> {
        let bytes = unpack::unpack(bytes, budget)?;
        let text = String::from_utf8_lossy(&bytes);
        let text = text.trim_start_matches('\u{feff}').trim_start();
        match text.as_bytes().first() {
            Some(b'{') => tls::read(text),
            Some(b'<') => dmarc::read(text),
            _ => Err(FeedbackError::NotThere),
        }
    }

    fn empty(kind: Kind) -> Self {
        Self {
            kind,
            organisation: String::new(),
            id: String::new(),
            domain: String::new(),
            begins_at: Timestamp(0),
            ends_at: Timestamp(0),
            good: 0,
            bad: 0,
            rows: Vec::new(),
        }
    }

    fn add(&mut self, row: Row) {
        let sum = if row.good {
            &mut self.good
        } else {
            &mut self.bad
        };
        *sum = sum.saturating_add(row.count);
        if self.rows.len() < ROWS_MAX {
            self.rows.push(row);
        }
    }

    /// A report names who made it and which it is.
    fn checked(self) -> Result<Self, FeedbackError> {
        for (text, what) in [
            (&self.organisation, "organisation"),
            (&self.id, "id"),
            (&self.domain, "domain"),
        ] {
            if text.is_empty() {
                return Err(FeedbackError::Malformed(format!("it names no {what}")));
            }
        }
        Ok(self)
    }
}

/// Whether a letter is a report by its header: one about TLS or a complaint by its media type (RFC
/// 8460 §5.3, RFC 5965 §2), one of DMARC by its subject (RFC 9990 §3.5.2).
#[must_use]
pub fn looks_like_report(mut header: Fields<'_>) -> bool {
    header.any(|field| {
        if field.is("Subject") {
            let subject = field.raw_text().trim().to_ascii_lowercase();
            let rest = subject.strip_prefix("report").unwrap_or("");
            rest.trim_start().starts_with("domain:") && rest.contains("submitter:")
        } else if field.is("Content-Type") {
            let value = field.raw_text().to_ascii_lowercase();
            let value: String = value.split_ascii_whitespace().collect();
            let value = value.replace('"', "");
            value.starts_with("multipart/report")
                && ["tlsrpt", "feedback-report"]
                    .iter()
                    .any(|kind| value.contains(&format!("report-type={kind}")))
        } else {
            false
        }
    })
}

/// A text of a report as it is kept: short, and without characters that do something on a terminal.
fn kept(text: &str) -> String {
    let mut kept = String::new();
    for c in text.trim().chars().filter(|c| !c.is_control()) {
        if kept.len() + c.len_utf8() > TEXT_BYTES_MAX {
            break;
        }
        kept.push(c);
    }
    kept
}

#[cfg(test)]
mod tests;
