//! The policy of MTA-STS that our own domains have, for others to fetch (RFC 8461 §3).

use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use mailauth::sts::{Mode, Policy};

/// The bytes of the digest in an id: changes must show, nothing more.
const ID_BYTES: usize = 10;

/// The policy of our domains as it is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnPolicy {
    /// Its text.
    pub text: String,
    /// Its id, made from the text: another text has another.
    pub id: String,
}

impl OwnPolicy {
    /// A policy that names these hosts.
    #[must_use]
    pub fn new(mode: Mode, hosts: Vec<String>, age_max: Duration) -> Self {
        let policy = Policy {
            mode,
            hosts,
            age_s_max: age_max.as_secs(),
        };
        let text = policy.to_string();
        let id = digest(&SHA256, text.as_bytes()).as_ref()[..ID_BYTES]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        Self { text, id }
    }

    /// The text at `_mta-sts.DOMAIN`.
    #[must_use]
    pub fn record(&self) -> String {
        format!("v=STSv1; id={}", self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_policy_has_another_id() {
        let hosts = vec!["mx.us.test".to_owned()];
        let week = Duration::from_secs(604_800);
        let one = OwnPolicy::new(Mode::Testing, hosts.clone(), week);
        let other = OwnPolicy::new(Mode::Enforce, hosts, week);
        assert_eq!(
            one.text,
            "version: STSv1\r\nmode: testing\r\nmx: mx.us.test\r\nmax_age: 604800\r\n"
        );
        assert_ne!(one.id, other.id);
        let record = one.record().into_bytes();
        assert_eq!(mailauth::sts::policy_id(&[record]), Some(one.id));
    }
}
