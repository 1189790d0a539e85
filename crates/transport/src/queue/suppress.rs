//! Which failures keep an address elsewhere from being tried for a while, and in which words that is
//! told. The store counts ([`store::AddressNews`]); here is what counts.
//!
//! Only what another server said of the address itself counts: that there is no such mailbox, or that it
//! is closed. Everything else is as often wrong as right: rules and reputation (5.7.x) change with what is
//! sent, a full mailbox is emptied, and 5.0.0 says nothing. Addresses of this server are never counted.
//!
//! It is counted for each sender's domain: nobody can make an address unreachable for the other tenants of
//! a server, or find out from a refusal what others have sent. Only the operator's rows are for all.

use std::collections::BTreeMap;
use std::time::Duration;

use base::{Domain, EmailAddress};
use store::{AddressNews, Claim, CountedFailure, Store, StoreError, Suppression, SuppressionRule};

use super::failure::{Failure, Status};
use super::settings::QueueSettings;

const DAY: Duration = Duration::from_secs(86_400);
/// The least time between the first and the last failure: directories of large providers have said "no
/// such user" of everybody for some hours.
const SPAN_MIN: Duration = DAY;
/// A mailbox that is closed may be opened again, so it is watched for longer.
const SPAN_MIN_CLOSED: Duration = DAY.saturating_mul(3);
/// Failures longer ago than this before the next are forgotten.
const MEMORY: Duration = DAY.saturating_mul(90);
/// The longest time, however often it was in vain.
const KEPT_MAX: Duration = DAY.saturating_mul(180);

/// What follows from a failure for good; `None`: it does not count.
#[must_use]
pub fn rule(settings: &QueueSettings, failure: &Failure) -> Option<SuppressionRule> {
    // Said by the server itself, and not found by us or by the DNS, which cost nothing to ask again.
    failure.reply.as_ref().filter(|_| failure.permanent)?;
    let failures = settings.suppress_after;
    let rule = |failures, span| SuppressionRule {
        failures,
        span,
        memory: MEMORY,
        kept: settings.suppress_for,
        kept_max: KEPT_MAX.max(settings.suppress_for),
    };
    if failures == 0 {
        return None;
    }
    match failure.status {
        // RFC 3463 §3.2: no such mailbox, and moved without a new address.
        Status(5, 1, 1 | 6) => Some(rule(failures, SPAN_MIN)),
        // RFC 3463 §3.3: disabled.
        Status(5, 2, 1) => Some(rule(failures.saturating_add(2), SPAN_MIN_CLOSED)),
        _ => None,
    }
}

/// For whose letters a claim's failures count: those of users of ours. What an alias sends on has
/// somebody else's sender, and a list has its own account of bounces.
#[must_use]
pub fn sender_domain(claim: &Claim) -> Option<&Domain> {
    claim.account?;
    Some(&claim.reverse_path.as_ref()?.domain)
}

/// Takes a failure into account.
pub(super) fn count(
    news: &mut AddressNews,
    settings: &QueueSettings,
    (claim, address): (&Claim, &EmailAddress),
    failure: &Failure,
) {
    if let (Some(rule), Some(domain)) = (rule(settings, failure), sender_domain(claim)) {
        let counted = CountedFailure {
            address: address.clone(),
            status: failure.status.to_string(),
            reason: failure.diagnostic(),
            rule,
        };
        news.failed.push((domain.clone(), counted));
    }
}

/// The recipients of a claim that are not tried, by their places in it.
///
/// # Errors
/// Those of reading.
pub(super) async fn of_claim(
    store: &Store,
    claim: &Claim,
) -> Result<BTreeMap<usize, Failure>, StoreError> {
    let addresses: Vec<_> = claim.recipients.iter().map(|to| &to.address).collect();
    let rows = store.suppressed(&addresses, sender_domain(claim)).await?;
    let found = claim.recipients.iter().enumerate();
    let found = found.filter_map(|(index, recipient)| {
        let row = rows.iter().find(|row| row.is_for(&recipient.address))?;
        Some((index, failure(row)))
    });
    Ok(found.collect())
}

/// The failure of a letter to such an address.
#[must_use]
pub fn failure(row: &Suppression) -> Failure {
    // RFC 3463 has no status for it; the address is what does not work.
    let mut failure = Failure::permanent(Status(5, 1, 1), lines(row).join("; "));
    failure.suppressed = true;
    failure
}

/// Why it is not tried, since when and until when, and how that is lifted: a line each.
#[must_use]
pub fn lines(row: &Suppression) -> [String; 3] {
    let address = &row.address;
    let why = if row.manual {
        format!(
            "the administrator has stopped letters to {address}: {}",
            row.reason
        )
    } else {
        format!(
            "{address} failed for good {} times, the last time on {}: {}",
            row.failures,
            day(row.last_at),
            row.reason
        )
    };
    let time = match row.until {
        Some(until) => format!("not tried from {} until {}", day(row.since), day(until)),
        None => format!("not tried since {}", day(row.since)),
    };
    let lift = format!("lifted by the administrator with: pennyblack suppression remove {address}");
    [why, time, lift]
}

/// `2026-11-25`.
fn day(at: base::Timestamp) -> String {
    at.to_string().chars().take(10).collect()
}

#[cfg(test)]
mod tests {
    use base::Timestamp;

    use super::*;

    fn said(status: Status, reply: &str) -> Failure {
        Failure {
            reply: Some(reply.to_owned()),
            ..Failure::permanent(status, "refused")
        }
    }

    #[test]
    fn what_counts() {
        let settings = QueueSettings::default();
        let check = |failure: &Failure, expected: Option<(u32, u64)>| {
            let rule = rule(&settings, failure);
            let shown = rule.map(|rule| (rule.failures, rule.span.as_secs() / 86_400));
            assert_eq!(shown, expected, "{failure}");
        };
        check(
            &said(Status(5, 1, 1), "550 5.1.1 no such user"),
            Some((3, 1)),
        );
        check(&said(Status(5, 1, 6), "551 5.1.6 moved"), Some((3, 1)));
        check(&said(Status(5, 2, 1), "550 5.2.1 disabled"), Some((5, 3)));
        for status in [
            Status(5, 0, 0),
            Status(5, 1, 0),
            Status(5, 2, 2),
            Status(5, 3, 4),
            Status(5, 4, 4),
            Status(5, 7, 1),
        ] {
            check(&said(status, "550 no"), None);
        }
        // Found by ourselves, or only for now.
        check(&Failure::permanent(Status(5, 1, 1), "no user here"), None);
        let mut for_now = said(Status(4, 1, 1), "450 4.1.1 unverified");
        for_now.permanent = false;
        check(&for_now, None);
        let off = QueueSettings {
            suppress_after: 0,
            ..QueueSettings::default()
        };
        assert_eq!(rule(&off, &said(Status(5, 1, 1), "550 5.1.1 no")), None);
    }

    #[test]
    fn it_says_why_since_when_and_how_it_is_lifted() {
        let mut row = Suppression {
            address: EmailAddress::parse("bob@black.test").unwrap(),
            sender_domain: None,
            manual: false,
            failures: 3,
            status: "5.1.1".to_owned(),
            reason: "550 5.1.1 no such user".to_owned(),
            last_at: Timestamp(1_795_501_553_120),
            since: Timestamp(1_795_501_553_120),
            until: Some(Timestamp(1_795_501_553_120) + DAY * 30),
        };
        assert_eq!(
            failure(&row).to_string(),
            "bob@black.test failed for good 3 times, the last time on 2026-11-24: 550 5.1.1 no such \
             user; not tried from 2026-11-24 until 2026-12-24; lifted by the administrator with: \
             pennyblack suppression remove bob@black.test (5.1.1)"
        );
        row.manual = true;
        row.until = None;
        row.reason = "asked for".to_owned();
        let [why, time, _] = lines(&row);
        assert_eq!(
            why,
            "the administrator has stopped letters to bob@black.test: asked for"
        );
        assert_eq!(time, "not tried since 2026-11-24");
    }
}
