//! MTA-STS (RFC 8461): the record that says that a domain has a policy, and the policy itself.
//!
//! It fetches nothing and keeps nothing. A policy is believed because it came over HTTPS from the
//! domain's own host, which is the business of who fetched it.

use std::fmt;

use base::Domain;

/// The longest policy that is read (RFC 8461 §3.3 suggests 64 KB).
pub const POLICY_BYTES_MAX: usize = 64 * 1024;
/// The longest record that is read; real ones have under 100 bytes.
const RECORD_BYTES_MAX: usize = 1_024;
/// The most hosts of a policy.
pub const HOSTS_MAX: usize = 100;
/// RFC 8461 §3.1: `sts-id = 1*32(ALPHA / DIGIT)`.
const ID_BYTES_MAX: usize = 32;
/// RFC 8461 §3.2: about a year, in seconds.
const AGE_S_MAX: u64 = 31_557_600;
/// RFC 8461 §3.3: where the policy of a domain is, at its host `mta-sts`.
pub const PATH: &str = "/.well-known/mta-sts.txt";

/// Picks the id of a domain's policy from the texts at `_mta-sts.DOMAIN` (RFC 8461 §3.1). `None`:
/// the domain has no policy, and neither does one with several records or a broken one.
#[must_use]
pub fn policy_id(texts: &[Vec<u8>]) -> Option<String> {
    let mut records = texts.iter().filter(|text| {
        let rest = text.strip_prefix(b"v=STSv1");
        rest.is_some_and(|rest| matches!(rest.first(), None | Some(b';' | b' ' | b'\t')))
    });
    let (Some(record), None) = (records.next(), records.next()) else {
        return None;
    };
    if record.len() > RECORD_BYTES_MAX {
        return None;
    }
    let text = std::str::from_utf8(record).ok()?;
    let mut id = None;
    for field in text.split(';').skip(1) {
        if let Some((name, value)) = field.split_once('=')
            && name.trim_matches(is_blank) == "id"
        {
            id = id.or_else(|| Some(value.trim_matches(is_blank)));
        }
    }
    let id = id?;
    let fits = (1..=ID_BYTES_MAX).contains(&id.len());
    let all = id.bytes().all(|byte| byte.is_ascii_alphanumeric());
    (fits && all).then(|| id.to_owned())
}

/// What a policy asks for (RFC 8461 §5).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// Letters go only to servers that the policy names, with a valid certificate.
    Enforce,
    /// What would go wrong is reported, and not minded.
    Testing,
    /// The domain has no policy any more.
    None,
}

impl Mode {
    /// As it stands in a policy.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Testing => "testing",
            Self::None => "none",
        }
    }

    /// Reads the word of a policy.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "enforce" => Some(Self::Enforce),
            "testing" => Some(Self::Testing),
            "none" => Some(Self::None),
            _ => None,
        }
    }
}

/// A policy.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Policy {
    /// What it asks for.
    pub mode: Mode,
    /// The servers of the domain, as the policy writes them.
    pub hosts: Vec<String>,
    /// How long it may be kept, in seconds.
    pub age_s_max: u64,
}

/// Why bytes are not a policy.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PolicyError {
    /// Longer than [`POLICY_BYTES_MAX`].
    TooLong,
    /// More hosts than [`HOSTS_MAX`].
    TooManyHosts,
    /// Not lines of `key: value`.
    Malformed,
    /// A key that a policy must have is missing or has no proper value.
    Wrong(&'static str),
}

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => f.write_str("the policy is too long"),
            Self::TooManyHosts => f.write_str("the policy names too many hosts"),
            Self::Malformed => f.write_str("the policy is not of lines of key and value"),
            Self::Wrong(key) => write!(f, "the policy has no proper value of {key}"),
        }
    }
}

impl std::error::Error for PolicyError {}

impl Policy {
    /// Reads a policy (RFC 8461 §3.2). Of a key that stands twice the first counts, but for `mx`.
    ///
    /// # Errors
    /// The [`PolicyError`] that says what is wrong.
    pub fn parse(bytes: &[u8]) -> Result<Self, PolicyError> {
        if bytes.len() > POLICY_BYTES_MAX {
            return Err(PolicyError::TooLong);
        }
        let text = std::str::from_utf8(bytes).map_err(|_| PolicyError::Malformed)?;
        let (mut version, mut mode, mut age, mut hosts) = (None, None, None, Vec::new());
        for line in text.lines() {
            let line = line.trim_end_matches(is_blank);
            if line.is_empty() {
                continue;
            }
            let (key, value) = line.split_once(':').ok_or(PolicyError::Malformed)?;
            let value = value.trim_matches(is_blank);
            match key.trim_matches(is_blank) {
                "version" => version = version.or(Some(value)),
                "mode" => mode = mode.or(Some(value)),
                "max_age" => age = age.or(Some(value)),
                "mx" if hosts.len() == HOSTS_MAX => return Err(PolicyError::TooManyHosts),
                "mx" => hosts.push(host(value).ok_or(PolicyError::Wrong("mx"))?),
                // RFC 8461 §3.2: what is not known is no fault.
                _ => {}
            }
        }
        if version != Some("STSv1") {
            return Err(PolicyError::Wrong("version"));
        }
        let mode = mode
            .and_then(Mode::parse)
            .ok_or(PolicyError::Wrong("mode"))?;
        let age_s_max = age
            .filter(|age| age.bytes().all(|byte| byte.is_ascii_digit()) && age.len() <= 10)
            .and_then(|age| age.parse::<u64>().ok())
            .ok_or(PolicyError::Wrong("max_age"))?;
        if hosts.is_empty() && mode != Mode::None {
            return Err(PolicyError::Wrong("mx"));
        }
        Ok(Self {
            mode,
            hosts,
            age_s_max: age_s_max.min(AGE_S_MAX),
        })
    }

    /// Whether the policy names this server (RFC 8461 §4.1): as it is, or by `*.` for exactly one
    /// label more.
    #[must_use]
    pub fn names(&self, server: &Domain) -> bool {
        self.hosts
            .iter()
            .any(|pattern| match pattern.strip_prefix("*.") {
                Some(parent) => server
                    .as_str()
                    .split_once('.')
                    .is_some_and(|(_, rest)| rest == parent),
                None => pattern == server.as_str(),
            })
    }
}

/// As it is served.
impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "version: STSv1\r\nmode: {}\r\n", self.mode.word())?;
        for host in &self.hosts {
            write!(f, "mx: {host}\r\n")?;
        }
        write!(f, "max_age: {}\r\n", self.age_s_max)
    }
}

/// A host of a policy, in lower case and as A-labels.
fn host(text: &str) -> Option<String> {
    match text.strip_prefix("*.") {
        Some(parent) => Some(format!("*.{}", Domain::parse(parent).ok()?)),
        None => Some(Domain::parse(text).ok()?.to_string()),
    }
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(texts: &[&str]) -> Option<String> {
        let texts: Vec<Vec<u8>> = texts.iter().map(|text| text.as_bytes().to_vec()).collect();
        policy_id(&texts)
    }

    #[test]
    fn records() {
        assert_eq!(id(&["v=STSv1; id=20261124;"]).as_deref(), Some("20261124"));
        assert_eq!(
            id(&["v=spf1 -all", "v=STSv1;id=a1 ; more=b"]).as_deref(),
            Some("a1")
        );
        // RFC 8461 §3.1: several records are none.
        assert_eq!(id(&["v=STSv1; id=1", "v=STSv1; id=2"]), None);
        let long = format!("v=STSv1; id={}", "a".repeat(33));
        for wrong in [
            "v=STSv12; id=1",
            "v=STSv1",
            "v=STSv1; id=",
            "v=STSv1; id=a-b",
            &long,
            "id=1",
        ] {
            assert_eq!(id(&[wrong]), None, "{wrong}");
        }
        let longest = format!("v=STSv1; id={}", "a".repeat(32));
        assert!(id(&[&longest]).is_some());
    }

    fn policy(text: &str) -> Result<Policy, PolicyError> {
        Policy::parse(text.as_bytes())
    }

    #[test]
    fn policies() {
        let found = policy(
            "version: STSv1\nmode: enforce\r\nmx: Mail.Example.COM\nmx:*.example.net \n\
             extra: x\nmax_age: 604800\nmax_age: 1\n",
        );
        let expected = Policy {
            mode: Mode::Enforce,
            hosts: vec!["mail.example.com".to_owned(), "*.example.net".to_owned()],
            age_s_max: 604_800,
        };
        assert_eq!(found, Ok(expected.clone()));
        assert_eq!(policy(&expected.to_string()), Ok(expected));
        let none = policy("version: STSv1\nmode: none\nmax_age: 99999999\n").unwrap();
        assert_eq!((none.mode, none.age_s_max), (Mode::None, AGE_S_MAX));
        for (text, error) in [
            ("", PolicyError::Wrong("version")),
            (
                "version: STSv1\nmode: x\nmax_age: 1\nmx: a.test",
                PolicyError::Wrong("mode"),
            ),
            (
                "version: STSv1\nmode: testing\nmx: a.test",
                PolicyError::Wrong("max_age"),
            ),
            (
                "version: STSv1\nmode: testing\nmx: a.test\nmax_age: -1",
                PolicyError::Wrong("max_age"),
            ),
            (
                "version: STSv1\nmode: testing\nmax_age: 1",
                PolicyError::Wrong("mx"),
            ),
            (
                "version: STSv1\nmode: testing\nmx: *.*.test\nmax_age: 1",
                PolicyError::Wrong("mx"),
            ),
            ("<html>", PolicyError::Malformed),
        ] {
            assert_eq!(policy(text), Err(error), "{text}");
        }
    }

    #[test]
    fn limits_at_the_limit_and_beyond() {
        let hosts = |count| {
            let hosts = "mx: a.test\n".repeat(count);
            policy(&format!(
                "version: STSv1\nmode: enforce\nmax_age: 1\n{hosts}"
            ))
        };
        assert!(hosts(HOSTS_MAX).is_ok());
        assert_eq!(hosts(HOSTS_MAX + 1), Err(PolicyError::TooManyHosts));
        let start = "version: STSv1\nmode: none\nmax_age: 1\nx: ";
        let long = format!("{start}{}", "x".repeat(POLICY_BYTES_MAX - start.len()));
        assert!(policy(&long).is_ok());
        assert_eq!(policy(&format!("{long}x")), Err(PolicyError::TooLong));
    }

    /// RFC 8461 §4.1.
    #[test]
    fn a_star_stands_for_one_label() {
        let policy =
            policy("version: STSv1\nmode: enforce\nmx: *.b.test\nmx: c.test\nmax_age: 1\n");
        let policy = policy.unwrap();
        let names = |server: &str| policy.names(&Domain::parse(server).unwrap());
        assert!(names("a.b.test") && names("c.test") && names("C.Test"));
        assert!(!names("b.test") && !names("x.a.b.test") && !names("a.c.test"));
    }
}
