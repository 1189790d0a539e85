//! DMARC records: their tags (RFC 9989 §4.7, §4.8).

use base::EmailAddress;

/// What a domain's owner wants done with a letter that fails.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Policy {
    /// Nothing.
    None,
    /// It is suspicious.
    Quarantine,
    /// It is a forgery.
    Reject,
}

impl Policy {
    /// The word of the `p` tag.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Quarantine => "quarantine",
            Self::Reject => "reject",
        }
    }

    /// Reads the word; letter case makes no difference.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::None, Self::Quarantine, Self::Reject]
            .into_iter()
            .find(|policy| policy.word().eq_ignore_ascii_case(text))
    }

    /// RFC 9989 §4.7, `t=y`: one level below what is published.
    pub(super) fn relaxed(self) -> Self {
        match self {
            Self::None | Self::Quarantine => Self::None,
            Self::Reject => Self::Quarantine,
        }
    }
}

/// Whether a domain says that it is a public suffix (RFC 9989 §4.7, `psd`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PublicSuffix {
    /// `y`: domains below it belong to others.
    Yes,
    /// `n`: it is an organisational domain.
    No,
    /// `u`: it does not say.
    Unknown,
}

/// A place where reports go.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReportUri {
    /// The URI as written, without the size.
    pub uri: String,
    /// The largest report that is wanted there, in bytes as it is sent.
    pub bytes_max: Option<u64>,
}

impl ReportUri {
    /// Reads a URI with the size that may follow it, such as `mailto:a@b.test!10m` (RFC 9990 §3.5: a
    /// report that is larger is not sent there). A size that cannot be read is none.
    fn parse(text: &str) -> Self {
        let (uri, size) = match text.split_once('!') {
            Some((uri, size)) => (uri, bytes_of(size)),
            None => (text, None),
        };
        Self {
            uri: uri.to_owned(),
            bytes_max: size,
        }
    }

    /// The mailbox of a `mailto` URI (RFC 6068); other kinds have none.
    #[must_use]
    pub fn mailbox(&self) -> Option<EmailAddress> {
        let (scheme, rest) = self.uri.split_once(':')?;
        let to = rest.split('?').next()?;
        if !scheme.eq_ignore_ascii_case("mailto") {
            return None;
        }
        EmailAddress::parse(&decoded(to)?).ok()
    }
}

/// A number with `k`, `m`, `g` or `t` behind it, which stand for powers of 1,024.
fn bytes_of(size: &str) -> Option<u64> {
    let digits = size.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let power = match size[digits.len()..].to_ascii_lowercase().as_str() {
        "" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        _ => return None,
    };
    let number: u64 = digits.parse().ok()?;
    number.checked_mul(1_024_u64.checked_pow(power)?)
}

/// RFC 3986 §2.1: without percent signs.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let (digits, after) = rest.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
        rest = after;
    }
    String::from_utf8(bytes).ok()
}

/// A DMARC record, read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DmarcRecord {
    /// `p`.
    pub policy: Policy,
    /// `sp`, for subdomains.
    pub subdomain_policy: Option<Policy>,
    /// `np`, for subdomains that do not exist.
    pub missing_policy: Option<Policy>,
    /// `adkim=s`.
    pub strict_dkim: bool,
    /// `aspf=s`.
    pub strict_spf: bool,
    /// `psd`.
    pub public_suffix: PublicSuffix,
    /// `t=y`: the policy is being tested.
    pub testing: bool,
    /// `rua`: where aggregate reports go.
    pub aggregate_reports: Vec<ReportUri>,
    /// `ruf`: where failure reports go.
    pub failure_reports: Vec<ReportUri>,
    /// `fo`: which failures are to be reported; `0` by default.
    pub failure_options: String,
    /// A policy tag has a value that is none. With a report address the record counts as `p=none`,
    /// else it does not count (RFC 9989 §4.10.1).
    pub(super) bad_policy: bool,
}

/// URIs of one tag that are kept.
const URIS_MAX: usize = 10;

impl DmarcRecord {
    /// Reads a text of the DNS; `None` if it is not of this version. Tags that are unknown or
    /// repeated, and values that are wrong, are passed over.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?;
        let mut tags = text.split(';').map(|tag| match tag.split_once('=') {
            Some((name, value)) => (name.trim(), value.trim()),
            None => (tag.trim(), ""),
        });
        // RFC 9989 §4.7: the version comes first, and its letter case counts.
        let (name, value) = tags.next()?;
        if !name.eq_ignore_ascii_case("v") || value != "DMARC1" {
            return None;
        }
        let mut record = Self {
            policy: Policy::None,
            subdomain_policy: None,
            missing_policy: None,
            strict_dkim: false,
            strict_spf: false,
            public_suffix: PublicSuffix::Unknown,
            testing: false,
            aggregate_reports: Vec::new(),
            failure_reports: Vec::new(),
            failure_options: "0".to_owned(),
            bad_policy: false,
        };
        let mut seen = Vec::new();
        for (name, value) in tags {
            let name = name.to_ascii_lowercase();
            if seen.len() < 100 && !seen.contains(&name) {
                record.take(&name, value);
                seen.push(name);
            }
        }
        if record.bad_policy {
            record.policy = Policy::None;
            record.subdomain_policy = None;
            record.missing_policy = None;
        }
        Some(record)
    }

    fn take(&mut self, name: &str, value: &str) {
        let is = |word: &str| value.eq_ignore_ascii_case(word);
        match name {
            "p" => self.policy = self.policy_of(value).unwrap_or(Policy::None),
            "sp" => self.subdomain_policy = self.policy_of(value),
            "np" => self.missing_policy = self.policy_of(value),
            "adkim" => self.strict_dkim = is("s"),
            "aspf" => self.strict_spf = is("s"),
            "psd" if is("y") => self.public_suffix = PublicSuffix::Yes,
            "psd" if is("n") => self.public_suffix = PublicSuffix::No,
            "t" => self.testing = is("y"),
            "rua" => self.aggregate_reports = uris(value),
            "ruf" => self.failure_reports = uris(value),
            "fo" => self.failure_options = value.to_owned(),
            _ => {}
        }
    }

    fn policy_of(&mut self, value: &str) -> Option<Policy> {
        let policy = Policy::parse(value);
        self.bad_policy |= policy.is_none();
        policy
    }

    /// What the record says of policy, in a form that is the same for records that mean the same, and
    /// that [`Self::parse`] reads again; without the places of reports.
    #[must_use]
    pub fn policy_text(&self) -> String {
        let mut text = format!("v=DMARC1; p={}", self.policy.word());
        for (tag, policy) in [("sp", self.subdomain_policy), ("np", self.missing_policy)] {
            if let Some(policy) = policy {
                text.push_str(&format!("; {tag}={}", policy.word()));
            }
        }
        for (tag, strict) in [("adkim", self.strict_dkim), ("aspf", self.strict_spf)] {
            text.push_str(&format!("; {tag}={}", if strict { "s" } else { "r" }));
        }
        text.push_str(&format!("; t={}", if self.testing { "y" } else { "n" }));
        // RFC 9989 §4.7: of these letters, with colons between them.
        let fo = &self.failure_options;
        if fo.len() <= 7 && fo.chars().all(|c| "01ds:".contains(c)) {
            text.push_str(&format!("; fo={fo}"));
        }
        text
    }

    /// Whether the record says what is wanted; see [`Self::bad_policy`].
    pub(super) fn counts(&self) -> bool {
        !self.bad_policy || !self.aggregate_reports.is_empty()
    }
}

/// RFC 9989 §4.8: URIs with commas between them.
fn uris(value: &str) -> Vec<ReportUri> {
    let uris = value.split(',').map(str::trim).filter(|uri| {
        let scheme = uri.split_once(':').map(|(scheme, _)| scheme);
        scheme.is_some_and(|scheme| {
            !scheme.is_empty() && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric())
        }) && uri.bytes().all(|byte| byte.is_ascii_graphic())
    });
    uris.take(URIS_MAX).map(ReportUri::parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Option<DmarcRecord> {
        DmarcRecord::parse(text.as_bytes())
    }

    #[test]
    fn the_version_comes_first_and_is_exact() {
        assert!(parse("v=DMARC1").is_some());
        assert!(parse(" v = DMARC1 ; p = none").is_some());
        for other in [
            "v=dmarc1;p=none",
            "p=none;v=DMARC1",
            "v=DMARC12",
            "v=spf1",
            "",
        ] {
            assert_eq!(parse(other), None, "{other}");
        }
    }

    #[test]
    fn tags_are_read_and_unknown_ones_are_not() {
        let record = parse(
            "v=DMARC1; P=Reject; sp=quarantine; np=none; adkim=s; aspf=S; psd=n; t=y; pct=20; \
             rua=mailto:a@x.test!10m, nothing,https://x.test/r; fo=1:d; p=none;",
        )
        .unwrap();
        assert_eq!(record.policy, Policy::Reject);
        assert_eq!(record.subdomain_policy, Some(Policy::Quarantine));
        assert_eq!(record.missing_policy, Some(Policy::None));
        assert!(record.strict_dkim && record.strict_spf && record.testing);
        assert_eq!(record.public_suffix, PublicSuffix::No);
        let [mail, web] = record.aggregate_reports.as_slice() else {
            panic!("{record:?}");
        };
        assert_eq!(
            (mail.uri.as_str(), mail.bytes_max),
            ("mailto:a@x.test", Some(10 << 20))
        );
        assert_eq!(
            (web.uri.as_str(), web.bytes_max),
            ("https://x.test/r", None)
        );
        assert_eq!(web.mailbox(), None);
        assert_eq!(record.failure_options, "1:d");
    }

    #[test]
    fn a_wrong_policy_counts_as_none_where_reports_go_somewhere() {
        let with = parse("v=DMARC1; p=reject; sp=rejekt; rua=mailto:a@x.test").unwrap();
        assert_eq!((with.policy, with.counts()), (Policy::None, true));
        assert!(!parse("v=DMARC1; p=rejekt").unwrap().counts());
        let absent = parse("v=DMARC1; rua=mailto:a@x.test").unwrap();
        assert_eq!((absent.policy, absent.counts()), (Policy::None, true));
        assert!(parse("v=DMARC1").unwrap().counts());
    }

    #[test]
    fn places_of_reports() {
        let place = |text: &str| {
            let place = ReportUri::parse(text);
            (place.mailbox().map(|to| to.to_string()), place.bytes_max)
        };
        let to = |address: &str| Some(address.to_owned());
        assert_eq!(
            place("MAILTO:a%2Bb@x.test?subject=r!7"),
            (to("a+b@x.test"), Some(7))
        );
        assert_eq!(
            place("mailto:a%21@x.test!2K"),
            (to("a!@x.test"), Some(2_048))
        );
        assert_eq!(place("mailto:a@x.test!10x"), (to("a@x.test"), None));
        assert_eq!(place("mailto:a@x.test!99999999999t").1, None);
        for wrong in [
            "mailto:a%2@x.test",
            "mailto:a%",
            "mailto:x.test",
            "https:a@x.test",
        ] {
            assert_eq!(place(wrong).0, None, "{wrong}");
        }
    }

    #[test]
    fn a_policy_is_written_and_read_again() {
        let text = "v=DMARC1; p=reject; sp=none; adkim=s; aspf=r; t=y; fo=1:d";
        let record = parse(&format!("{text}; rua=mailto:a@x.test; unknown=1")).unwrap();
        assert_eq!(record.policy_text(), text);
        assert_eq!(parse(text).unwrap().policy_text(), text);
        let odd = parse("v=DMARC1; fo=<script>").unwrap();
        assert_eq!(odd.policy_text(), "v=DMARC1; p=none; adkim=r; aspf=r; t=n");
    }
}
