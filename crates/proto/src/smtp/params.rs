//! Parameters of MAIL and RCPT: RFC 1870, 3461, 4954, 6152, 6531, shared by server and client.

use std::fmt;
use std::time::Duration;

use base::{EmailAddress, Timestamp};

/// BODY= of MAIL, RFC 6152 §3.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Body {
    /// `7BIT`, or no parameter.
    #[default]
    SevenBit,
    /// `8BITMIME`.
    EightBitMime,
    /// `BINARYMIME`, RFC 3030 §3: lines need not end with CR LF, and it comes by BDAT.
    Binary,
}

/// RET= of MAIL, RFC 3461 §4.3: how much of the letter a failure notice carries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ret {
    /// The whole letter.
    Full,
    /// Its header only.
    Headers,
}

impl Ret {
    /// The word of the protocol.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Full => "FULL",
            Self::Headers => "HDRS",
        }
    }
}

/// BY= of MAIL, RFC 2852 §4: in how many seconds the letter should be delivered, and what then.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DeliverBy {
    /// Seconds from now; nothing or less is only for `N`, once the time has passed.
    pub seconds: i64,
    /// `R`: returned when it is late; `N`: the sender is told, and it is tried on.
    pub returned: bool,
    /// `T`: each hand-over is reported.
    pub trace: bool,
}

impl DeliverBy {
    /// Reads `by-time ";" by-mode [by-trace]`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (time, mode) = text.split_once(';')?;
        let digits = time.strip_prefix(['-', '+']).unwrap_or(time);
        let number = (1..=9).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
        let seconds: i64 = time.parse().ok().filter(|_| number)?;
        let (returned, trace) = match mode.to_ascii_uppercase().as_str() {
            "R" => (true, false),
            "RT" => (true, true),
            "N" => (false, false),
            "NT" => (false, true),
            _ => return None,
        };
        // RFC 2852 §4: what is to be returned needs some time.
        (seconds > 0 || !returned).then_some(Self {
            seconds,
            returned,
            trace,
        })
    }
}

impl fmt::Display for DeliverBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mode = if self.returned { 'R' } else { 'N' };
        let trace = if self.trace { "T" } else { "" };
        write!(f, "{};{mode}{trace}", self.seconds)
    }
}

/// RFC 4865 §4 HOLDFOR: up to nine digits of seconds.
pub(super) fn seconds(text: &str) -> Option<Duration> {
    let number = (1..=9).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    text.parse()
        .ok()
        .filter(|_| number)
        .map(Duration::from_secs)
}

/// RFC 4865 §4 HOLDUNTIL: a date of RFC 3339 §5.6, perhaps with the letter (`;R` or `;C`) that says
/// what to do with a date beyond the limit; such a one is always refused here.
pub(super) fn date_time(text: &str) -> Option<Timestamp> {
    let text = match text.split_once(';') {
        Some((date, "R" | "r" | "C" | "c")) => date,
        Some(_) => return None,
        None => text,
    };
    Timestamp::parse(text)
}

/// NOTIFY= of RCPT, RFC 3461 §4.1: when the sender wants to hear.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Notify {
    /// When it is delivered.
    pub success: bool,
    /// When it has failed for good.
    pub failure: bool,
    /// When it takes long.
    pub delay: bool,
}

impl Notify {
    /// `NEVER`: no report at all.
    pub const NEVER: Self = Self {
        success: false,
        failure: false,
        delay: false,
    };

    /// Reads `"NEVER" / 1#("SUCCESS" / "FAILURE" / "DELAY")`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text.eq_ignore_ascii_case("NEVER") {
            return Some(Self::NEVER);
        }
        let mut notify = Self::NEVER;
        for word in text.split(',') {
            match word.to_ascii_uppercase().as_str() {
                "SUCCESS" => notify.success = true,
                "FAILURE" => notify.failure = true,
                "DELAY" => notify.delay = true,
                _ => return None,
            }
        }
        Some(notify)
    }
}

impl fmt::Display for Notify {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = [
            (self.success, "SUCCESS"),
            (self.failure, "FAILURE"),
            (self.delay, "DELAY"),
        ];
        let mut first = true;
        for (_, word) in words.into_iter().filter(|(wanted, _)| *wanted) {
            write!(f, "{}{word}", if first { "" } else { "," })?;
            first = false;
        }
        if first { f.write_str("NEVER") } else { Ok(()) }
    }
}

/// ORCPT= of RCPT, RFC 3461 §4.2: the address that the sender wrote first, `rfc822;bob@x.test`,
/// decoded from xtext.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OriginalRecipient {
    /// The address type: `rfc822` or `utf-8`.
    pub kind: String,
    /// The address as it was given.
    pub address: String,
}

/// RFC 3461 §4.2: the longest ORCPT value.
pub const ORCPT_BYTES_MAX: usize = 500;
/// RFC 3461 §4.4: the longest ENVID value.
pub const ENVID_BYTES_MAX: usize = 100;

impl OriginalRecipient {
    /// The address that stands for itself, where the sender wrote no ORCPT.
    #[must_use]
    pub fn of(address: &EmailAddress) -> Self {
        let kind = if address.needs_utf8() {
            "utf-8"
        } else {
            "rfc822"
        };
        Self {
            kind: kind.to_owned(),
            address: address.to_string(),
        }
    }

    /// Reads `atom ";" xtext`; of the type `utf-8` a `utf-8-addr-xtext` or `-unitext` (RFC 6533 §3).
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() > ORCPT_BYTES_MAX {
            return None;
        }
        let (kind, address) = text.split_once(';')?;
        let atom = !kind.is_empty() && kind.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        let address = match kind.eq_ignore_ascii_case("utf-8") {
            true => decode_utf8_address(address)?,
            false => decode_xtext(address)?,
        };
        (atom && !address.is_empty()).then(|| Self {
            kind: kind.to_owned(),
            address,
        })
    }
}

impl fmt::Display for OriginalRecipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = match self.kind.eq_ignore_ascii_case("utf-8") {
            true => encode_utf8_address(&self.address),
            false => encode_xtext(&self.address),
        };
        write!(f, "{};{address}", self.kind)
    }
}

/// RFC 3461 §4: `xtext = *( xchar / hexchar )`; every other character is `+XX`.
#[must_use]
pub fn encode_xtext(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_ascii_graphic() && !matches!(c, '+' | '=') {
            encoded.push(c);
        } else {
            let mut bytes = [0; 4];
            for byte in c.encode_utf8(&mut bytes).bytes() {
                // Writing to a String cannot fail.
                let _ = fmt::Write::write_fmt(&mut encoded, format_args!("+{byte:02X}"));
            }
        }
    }
    encoded
}

/// The text behind an xtext; `None` when it is not one or not UTF-8, or holds a control character.
#[must_use]
pub fn decode_xtext(text: &str) -> Option<String> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'+' => {
                let hex = [bytes.next()?, bytes.next()?];
                let upper = hex.iter().all(|b| matches!(b, b'0'..=b'9' | b'A'..=b'F'));
                let value = std::str::from_utf8(&hex)
                    .ok()
                    .and_then(|hex| u8::from_str_radix(hex, 16).ok());
                decoded.push(value.filter(|_| upper)?);
            }
            b'=' => return None,
            byte if byte.is_ascii_graphic() => decoded.push(byte),
            _ => return None,
        }
    }
    let decoded = String::from_utf8(decoded).ok()?;
    (!decoded.chars().any(char::is_control)).then_some(decoded)
}

/// RFC 6533 §3 `utf-8-addr-xtext`: what is not printable ASCII, and `+`, `=`, `\\`, as `\\x{HEX}`.
#[must_use]
pub fn encode_utf8_address(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_ascii_graphic() && !matches!(c, '+' | '=' | '\\') {
            encoded.push(c);
        } else {
            // Writing to a String cannot fail.
            let _ = fmt::Write::write_fmt(&mut encoded, format_args!("\\x{{{:X}}}", u32::from(c)));
        }
    }
    encoded
}

/// The address behind a `utf-8-addr-xtext` or `utf-8-addr-unitext` (RFC 6533 §3), in which plain
/// UTF-8 may stand too; `None` when it is neither, or holds a control character.
#[must_use]
pub fn decode_utf8_address(text: &str) -> Option<String> {
    let mut decoded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if let Some(escaped) = rest.strip_prefix("\\x{") {
            let (digits, after) = escaped.split_once('}')?;
            let hex =
                (1..=6).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_hexdigit());
            let value = u32::from_str_radix(digits, 16).ok().filter(|_| hex)?;
            decoded.push(char::from_u32(value)?);
            rest = after;
        } else {
            decoded.push(c);
            rest = &rest[c.len_utf8()..];
        }
    }
    let bad = |c: char| c.is_control() || c == ' ';
    (!decoded.chars().any(bad)).then_some(decoded)
}

/// The `esmtp-keyword [ "=" esmtp-value ]` of a command, RFC 5321 §4.1.2.
pub(super) fn split(text: &str) -> impl Iterator<Item = (&str, Option<&str>)> {
    text.split(' ')
        .filter(|word| !word.is_empty())
        .map(|word| match word.split_once('=') {
            Some((keyword, value)) => (keyword, Some(value)),
            None => (word, None),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn xtext_there_and_back() {
        for text in ["bob@x.test", "a+b=c", "ä b", "+2B"] {
            assert_eq!(decode_xtext(&encode_xtext(text)).as_deref(), Some(text));
        }
        assert_eq!(encode_xtext("a+b"), "a+2Bb");
        for bad in ["a=b", "a+", "a+2", "a+2b", "a b", "+00", "+0D"] {
            assert_eq!(decode_xtext(bad), None, "{bad}");
        }
    }

    #[test]
    fn addresses_of_rfc_6533() {
        for (text, address, again) in [
            (
                "utf-8;pelé@x.test",
                "pelé@x.test",
                "utf-8;pel\\x{E9}@x.test",
            ),
            (
                "UTF-8;pel\\x{e9}@x.test",
                "pelé@x.test",
                "UTF-8;pel\\x{E9}@x.test",
            ),
            (
                "utf-8;a\\x{2B}b\\x{5C}@x.test",
                "a+b\\@x.test",
                "utf-8;a\\x{2B}b\\x{5C}@x.test",
            ),
            ("utf-8;a+b@x.test", "a+b@x.test", "utf-8;a\\x{2B}b@x.test"),
        ] {
            let original = OriginalRecipient::parse(text).unwrap();
            assert_eq!(original.address, address);
            assert_eq!(original.to_string(), again);
        }
        for bad in [
            "utf-8;\\x{}",
            "utf-8;\\x{D800}",
            "utf-8;\\x{E9",
            "utf-8;\\x{A}",
            "rfc822;é",
        ] {
            assert_eq!(OriginalRecipient::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn deliver_by() {
        for text in ["120;R", "120;RT", "-5;N", "0;NT"] {
            assert_eq!(DeliverBy::parse(text).unwrap().to_string(), text);
        }
        for bad in [
            "",
            "5",
            "0;R",
            "-1;R",
            "5;X",
            "1234567890;R",
            "1.5;N",
            ";N",
            "5;",
        ] {
            assert_eq!(DeliverBy::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn notify_words() {
        for text in ["NEVER", "SUCCESS,FAILURE", "DELAY"] {
            assert_eq!(Notify::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(Notify::parse("NEVER,DELAY"), None);
        assert_eq!(Notify::parse(""), None);
    }
}
