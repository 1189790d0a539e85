//! Finds the public key in a certificate (RFC 5280 §4.1): the little of DER that this takes.
//!
//! It checks nothing of the certificate but that it can be walked to there.

/// The SubjectPublicKeyInfo of a certificate, with its tag and length.
pub(super) fn public_key(certificate: &[u8]) -> Option<&[u8]> {
    let (outer, _) = element(certificate, SEQUENCE)?;
    let (mut rest, _) = element(outer.value, SEQUENCE)?;
    let mut inner = rest.value;
    // version [0] EXPLICIT, which is missing in version 1.
    if inner.first() == Some(&VERSION) {
        (_, inner) = element(inner, VERSION)?;
    }
    // serialNumber, signature, issuer, validity, subject.
    for tag in [INTEGER, SEQUENCE, SEQUENCE, SEQUENCE, SEQUENCE] {
        (_, inner) = element(inner, tag)?;
    }
    (rest, _) = element(inner, SEQUENCE)?;
    Some(rest.whole)
}

/// The end of a certificate's validity, in its own spelling: `YYMMDDHHMMSSZ` or `YYYYMMDDHHMMSSZ` (RFC
/// 5280 §4.1.2.5).
pub(super) fn not_after(certificate: &[u8]) -> Option<&[u8]> {
    let (outer, _) = element(certificate, SEQUENCE)?;
    let (inner, _) = element(outer.value, SEQUENCE)?;
    let mut rest = inner.value;
    if rest.first() == Some(&VERSION) {
        (_, rest) = element(rest, VERSION)?;
    }
    for tag in [INTEGER, SEQUENCE, SEQUENCE] {
        (_, rest) = element(rest, tag)?;
    }
    let (validity, _) = element(rest, SEQUENCE)?;
    let mut time = validity.value;
    for _ in 0..2 {
        let tag = *time.first()?;
        if ![UTC_TIME, GENERALIZED_TIME].contains(&tag) {
            return None;
        }
        let (found, behind) = element(time, tag)?;
        if behind.is_empty() {
            return Some(found.value);
        }
        time = behind;
    }
    None
}

const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const VERSION: u8 = 0xa0;

struct Element<'a> {
    whole: &'a [u8],
    value: &'a [u8],
}

/// The first element, which must have this tag, and what comes after it.
fn element(bytes: &[u8], tag: u8) -> Option<(Element<'_>, &[u8])> {
    let (&first, rest) = bytes.split_first()?;
    let (&short, rest) = rest.split_first()?;
    let (length, rest) = match short {
        0..=0x7f => (usize::from(short), rest),
        // Certificates are far below the 16 MB that three bytes can say.
        0x81..=0x83 => {
            let (digits, rest) = rest.split_at_checked(usize::from(short & 0x7f))?;
            let length = digits
                .iter()
                .fold(0, |length, digit| length << 8 | usize::from(*digit));
            (length, rest)
        }
        _ => return None,
    };
    let (value, after) = rest.split_at_checked(length)?;
    let whole = &bytes[..bytes.len() - after.len()];
    (first == tag).then_some((Element { whole, value }, after))
}
