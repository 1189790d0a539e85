//! DMARC records: their tags (RFC 9989 §4.7, §4.8).

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
    /// `rua`: where aggregate reports go; each a URI as written.
    pub aggregate_reports: Vec<String>,
    /// `ruf`: where failure reports go; each a URI as written.
    pub failure_reports: Vec<String>,
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

    /// Whether the record says what is wanted; see [`Self::bad_policy`].
    pub(super) fn counts(&self) -> bool {
        !self.bad_policy || !self.aggregate_reports.is_empty()
    }
}

/// RFC 9989 §4.8: URIs with commas between them; the size that older records have after a `!` is
/// left off.
fn uris(value: &str) -> Vec<String> {
    let uris = value.split(',').map(str::trim).filter(|uri| {
        let scheme = uri.split_once(':').map(|(scheme, _)| scheme);
        scheme.is_some_and(|scheme| {
            !scheme.is_empty() && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric())
        }) && uri.bytes().all(|byte| byte.is_ascii_graphic())
    });
    let without_size = |uri: &str| uri.split('!').next().unwrap_or_default().to_owned();
    uris.take(URIS_MAX).map(without_size).collect()
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
        assert_eq!(
            record.aggregate_reports,
            ["mailto:a@x.test", "https://x.test/r"]
        );
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
}
