//! The report itself: JSON of RFC 8460 §4, written from counts.

use base::{Domain, Timestamp};
use serde_json::{Value, json};
use store::TlsOutcome;

/// Who reports, and about when.
#[derive(Clone, Debug)]
pub struct About<'a> {
    /// The name of the organisation: our host name.
    pub organisation: &'a str,
    /// How it is reached.
    pub contact: &'a str,
    /// The id of the report.
    pub id: &'a str,
    /// The domain that it is for.
    pub domain: &'a Domain,
    /// The day.
    pub day: i64,
}

/// Writes a report (RFC 8460 §4.4).
#[must_use]
pub fn write(about: &About<'_>, outcomes: &[TlsOutcome]) -> String {
    let mut policies: Vec<Value> = Vec::new();
    for same in outcomes.chunk_by(|one, other| one.policy == other.policy) {
        policies.push(policy(about.domain, same));
    }
    let start = TlsOutcome::start_of(about.day);
    // The last second of the day, as the examples of RFC 8460 have it.
    let end = Timestamp(TlsOutcome::start_of(about.day + 1).millis() - 1_000);
    json!({
        "organization-name": about.organisation,
        "date-range": {
            "start-datetime": start.whole_seconds(),
            "end-datetime": end.whole_seconds(),
        },
        "contact-info": about.contact,
        "report-id": about.id,
        "policies": policies,
    })
    .to_string()
}

fn policy(domain: &Domain, outcomes: &[TlsOutcome]) -> Value {
    let text = outcomes.first().map_or("", |first| first.policy.as_str());
    let mut lines = text.lines();
    let kind = lines.next().unwrap_or("no-policy-found");
    let lines: Vec<&str> = lines.collect();
    let mut described = json!({ "policy-type": kind, "policy-domain": domain.as_str() });
    if !lines.is_empty() {
        let hosts: Vec<&str> = lines
            .iter()
            .filter_map(|line| line.strip_prefix("mx:").map(str::trim))
            .collect();
        described["policy-string"] = json!(lines);
        if !hosts.is_empty() {
            described["mx-host"] = json!(hosts);
        }
    }
    let (mut good, mut bad) = (0_u64, 0_u64);
    let mut details = Vec::new();
    for outcome in outcomes {
        if outcome.result.is_empty() {
            good = good.saturating_add(outcome.sessions);
            continue;
        }
        bad = bad.saturating_add(outcome.sessions);
        details.push(json!({
            "result-type": outcome.result,
            "receiving-mx-hostname": outcome.host,
            "receiving-ip": outcome.address,
            "failed-session-count": outcome.sessions,
        }));
    }
    let mut whole = json!({
        "policy": described,
        "summary": {
            "total-successful-session-count": good,
            "total-failure-session-count": bad,
        },
    });
    if !details.is_empty() {
        whole["failure-details"] = json!(details);
    }
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_counts_by_policy() {
        let domain = Domain::parse("d.test").unwrap();
        let outcome = |policy: &str, result: &str, sessions| TlsOutcome {
            day: 20_000,
            domain: domain.clone(),
            policy: policy.to_owned(),
            result: result.to_owned(),
            host: if result.is_empty() { "" } else { "mx.d.test" }.to_owned(),
            address: if result.is_empty() { "" } else { "192.0.2.1" }.to_owned(),
            sessions,
        };
        let sts = "sts\nversion: STSv1\nmode: testing\nmx: *.d.test\nmax_age: 1";
        let outcomes = [
            outcome("no-policy-found", "", 2),
            outcome(sts, "", 5),
            outcome(sts, "certificate-expired", 3),
        ];
        let about = About {
            organisation: "mx.us.test",
            contact: "postmaster@us.test",
            id: "7@us.test",
            domain: &domain,
            day: 20_000,
        };
        let report: Value = serde_json::from_str(&write(&about, &outcomes)).unwrap();
        assert_eq!(
            report["date-range"],
            json!({
                "start-datetime": "2024-10-04T00:00:00Z",
                "end-datetime": "2024-10-04T23:59:59Z",
            })
        );
        let policies = report["policies"].as_array().unwrap();
        assert_eq!(policies.len(), 2);
        assert_eq!(policies[0]["policy"]["policy-type"], "no-policy-found");
        assert_eq!(policies[0]["summary"]["total-successful-session-count"], 2);
        assert!(policies[0].get("failure-details").is_none());
        assert_eq!(policies[1]["policy"]["mx-host"], json!(["*.d.test"]));
        assert_eq!(policies[1]["policy"]["policy-string"][1], "mode: testing");
        assert_eq!(policies[1]["summary"]["total-failure-session-count"], 3);
        assert_eq!(
            policies[1]["failure-details"],
            json!([{
                "result-type": "certificate-expired",
                "receiving-mx-hostname": "mx.d.test",
                "receiving-ip": "192.0.2.1",
                "failed-session-count": 3,
            }])
        );
    }
}
