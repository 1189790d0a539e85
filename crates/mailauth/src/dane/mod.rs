//! DANE for SMTP (RFC 6698, RFC 7671, RFC 7672): which TLSA records count, and whether a server's
//! certificates are those that they name.
//!
//! It asks the DNS nothing and does not judge whether DNSSEC vouches for the records: whoever calls
//! it has made sure of that. Certificates come from a handshake that was done already, so that the
//! server is known to hold the key of the first.

mod der;
#[cfg(test)]
mod tests;

use std::fmt;
use std::time::Duration;

use aws_lc_rs::digest::{self, SHA256, SHA512};
use base::ports::Tlsa;
use base::{Domain, Timestamp};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use webpki::{ALL_VERIFICATION_ALGS, EndEntityCert, KeyUsage, anchor_from_trusted_cert};

/// The most records that are looked at; a server with more than a few changes keys too often.
pub const RECORDS_MAX: usize = 32;
/// The most certificates of a chain that are looked at; real chains have two to four.
pub const CHAIN_MAX: usize = 10;
/// The longest certificate that is looked at.
const CERTIFICATE_BYTES_MAX: usize = 64 * 1024;

/// When a certificate's time is over; `None` if it cannot be read.
#[must_use]
pub fn certificate_end(certificate: &[u8]) -> Option<Timestamp> {
    let text = std::str::from_utf8(der::not_after(certificate)?).ok()?;
    // RFC 5280 §4.1.2.5.1: a year of two digits is of 1950 to 2049.
    let text = match (text.len(), text.get(..2)?.parse::<u8>().ok()?) {
        (13, 0..50) => format!("20{text}"),
        (13, _) => format!("19{text}"),
        (_, _) => text.to_owned(),
    };
    let part = |from: usize, to: usize| text.get(from..to);
    let (date, time) = (
        [part(0, 4)?, part(4, 6)?, part(6, 8)?].join("-"),
        [part(8, 10)?, part(10, 12)?, part(12, 14)?].join(":"),
    );
    (part(14, text.len()) == Some("Z"))
        .then(|| Timestamp::parse(&format!("{date}T{time}Z")))
        .flatten()
}

/// The TLSA records of a server that count, at least one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Usable(Vec<Record>);

#[derive(Clone, PartialEq, Eq, Debug)]
struct Record {
    usage: Usage,
    selector: Selector,
    matching: Matching,
    data: Vec<u8>,
}

/// RFC 7671 §5: whose certificate it is. PKIX-TA and PKIX-EE are not for mail (RFC 7672 §3.1.3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Usage {
    TrustAnchor,
    EndEntity,
}

/// RFC 6698 §2.1.2.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Selector {
    Certificate,
    PublicKey,
}

/// RFC 6698 §2.1.3, the stronger later.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Matching {
    Whole,
    Sha256,
    Sha512,
}

/// Which kind of record matched.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Matched {
    /// The server's own certificate or key, by usage 3.
    EndEntity,
    /// One that vouches for the server's, by usage 2.
    TrustAnchor,
}

/// Why no record matched.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Mismatch {
    /// The server showed no certificate.
    NoCertificate,
    /// No certificate is one that a record names.
    NotNamed,
    /// A trust anchor is named, but the server's certificate is for other names.
    OtherName,
    /// A trust anchor is named, but the server's certificate is not valid at this time.
    Expired,
    /// A trust anchor is named, but no valid chain leads to it; in words.
    NoChain(String),
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoCertificate => f.write_str("the server showed no certificate"),
            Self::NotNamed => f.write_str("no TLSA record names the certificate of the server"),
            Self::OtherName => f.write_str(
                "the certificate is of the authority that a TLSA record names, but for other names",
            ),
            Self::Expired => f.write_str(
                "the certificate is of the authority that a TLSA record names, but not valid at \
                 this time",
            ),
            Self::NoChain(why) => write!(
                f,
                "no valid chain leads to the authority that a TLSA record names: {why}"
            ),
        }
    }
}

impl std::error::Error for Mismatch {}

impl Usable {
    /// Takes the records that count; `None` when none does, and then TLS is still a must, though
    /// nobody can be told by it (RFC 7672 §2.2).
    #[must_use]
    pub fn pick(records: &[Tlsa]) -> Option<Self> {
        let known: Vec<Record> = records
            .iter()
            .take(RECORDS_MAX)
            .filter_map(Record::read)
            .collect();
        // RFC 7671 §9: of several digests of one usage and selector only the strongest counts.
        let strongest = |record: &Record| {
            known
                .iter()
                .filter(|other| other.usage == record.usage && other.selector == record.selector)
                .map(|other| other.matching)
                .max()
        };
        let picked: Vec<Record> = known
            .iter()
            .filter(|record| {
                record.matching == Matching::Whole || Some(record.matching) == strongest(record)
            })
            .cloned()
            .collect();
        (!picked.is_empty()).then_some(Self(picked))
    }

    /// The records as a zone file writes them: `3 1 1 00ff…`.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let line = |record: &Record| {
            let usage = match record.usage {
                Usage::TrustAnchor => 2,
                Usage::EndEntity => 3,
            };
            let selector = u8::from(record.selector == Selector::PublicKey);
            let matching = match record.matching {
                Matching::Whole => 0,
                Matching::Sha256 => 1,
                Matching::Sha512 => 2,
            };
            let data: String = record
                .data
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect();
            format!("{usage} {selector} {matching} {data}")
        };
        self.0.iter().map(line).collect()
    }

    /// Whether the certificates of a server, its own first, are those that the records name. The
    /// names are those by which a certificate may know the server (RFC 7672 §3.2.2).
    ///
    /// # Errors
    /// The [`Mismatch`] that came nearest.
    pub fn check(
        &self,
        chain: &[Vec<u8>],
        names: &[Domain],
        now: Timestamp,
    ) -> Result<Matched, Mismatch> {
        let chain = &chain[..chain.len().min(CHAIN_MAX)];
        let fits = |certificate: &Vec<u8>| certificate.len() <= CERTIFICATE_BYTES_MAX;
        let own = chain.first().filter(|own| fits(own));
        let own = own.ok_or(Mismatch::NoCertificate)?;
        let names_own = |record: &Record| record.usage == Usage::EndEntity && record.names(own);
        // RFC 7671 §5.1: neither names nor times of it count, the record says all.
        if self.0.iter().any(names_own) {
            return Ok(Matched::EndEntity);
        }
        let mut nearest = Mismatch::NotNamed;
        for record in &self.0 {
            if record.usage != Usage::TrustAnchor {
                continue;
            }
            let given = record.whole_certificate();
            let shown = chain[1..].iter().filter(|one| fits(one));
            for anchor in shown.filter(|one| record.names(one)).chain(given) {
                match leads_to(anchor, chain, names, now) {
                    Ok(()) => return Ok(Matched::TrustAnchor),
                    Err(mismatch) => nearest = mismatch,
                }
            }
        }
        Err(nearest)
    }
}

impl Record {
    fn read(tlsa: &Tlsa) -> Option<Self> {
        let usage = match tlsa.usage {
            2 => Usage::TrustAnchor,
            3 => Usage::EndEntity,
            _ => return None,
        };
        let selector = match tlsa.selector {
            0 => Selector::Certificate,
            1 => Selector::PublicKey,
            _ => return None,
        };
        let (matching, fits) = match (tlsa.matching, tlsa.data.len()) {
            (0, bytes) => (
                Matching::Whole,
                (1..=CERTIFICATE_BYTES_MAX).contains(&bytes),
            ),
            (1, bytes) => (Matching::Sha256, bytes == digest::SHA256_OUTPUT_LEN),
            (2, bytes) => (Matching::Sha512, bytes == digest::SHA512_OUTPUT_LEN),
            _ => return None,
        };
        fits.then(|| Self {
            usage,
            selector,
            matching,
            data: tlsa.data.clone(),
        })
    }

    fn names(&self, certificate: &[u8]) -> bool {
        let selected = match self.selector {
            Selector::Certificate => Some(certificate),
            Selector::PublicKey => der::public_key(certificate),
        };
        selected.is_some_and(|selected| match self.matching {
            Matching::Whole => self.data == selected,
            Matching::Sha256 => digest::digest(&SHA256, selected).as_ref() == self.data,
            Matching::Sha512 => digest::digest(&SHA512, selected).as_ref() == self.data,
        })
    }

    /// RFC 7671 §5.2.2: the record itself holds the certificate, so the server need not show it.
    fn whole_certificate(&self) -> Option<&Vec<u8>> {
        let whole = self.selector == Selector::Certificate && self.matching == Matching::Whole;
        whole.then_some(&self.data)
    }
}

/// RFC 7671 §5.2: a chain to the anchor, and a name that is looked for.
fn leads_to(
    anchor: &[u8],
    chain: &[Vec<u8>],
    names: &[Domain],
    now: Timestamp,
) -> Result<(), Mismatch> {
    let no_chain = |error: webpki::Error| Mismatch::NoChain(error.to_string());
    let anchor = CertificateDer::from(anchor);
    let anchor = anchor_from_trusted_cert(&anchor).map_err(no_chain)?;
    let mut chain = chain.iter().map(|one| CertificateDer::from(one.as_slice()));
    let own = chain.next().ok_or(Mismatch::NoCertificate)?;
    let between: Vec<CertificateDer<'_>> = chain.collect();
    let own = EndEntityCert::try_from(&own).map_err(no_chain)?;
    let seconds = u64::try_from(now.millis() / 1_000).unwrap_or(0);
    let time = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
    own.verify_for_usage(
        ALL_VERIFICATION_ALGS,
        &[anchor],
        &between,
        time,
        KeyUsage::server_auth(),
        None,
        None,
    )
    .map_err(|error| match error {
        webpki::Error::CertExpired { .. } | webpki::Error::CertNotValidYet { .. } => {
            Mismatch::Expired
        }
        error => no_chain(error),
    })?;
    let is_for = |name: &Domain| {
        ServerName::try_from(name.as_str())
            .is_ok_and(|name| own.verify_is_valid_for_subject_name(&name).is_ok())
    };
    if names.iter().any(is_for) {
        Ok(())
    } else {
        Err(Mismatch::OtherName)
    }
}
