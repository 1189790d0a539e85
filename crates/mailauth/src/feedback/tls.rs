//! Reports about TLS: JSON of RFC 8460 §4.4.

use base::Timestamp;
use serde_json::Value;

use super::{FeedbackError, Kind, Report, Row, kept};

/// The most values of a report, about as many as [`super::ROWS_MAX`] rows with all that may be told have.
const VALUES_MAX: usize = 150_000;

pub(super) fn read(text: &str) -> Result<Report, FeedbackError> {
    let wrong = |error: serde_json::Error| FeedbackError::Malformed(error.to_string());
    // A value takes up to some 600 bytes of memory, and three of the text.
    let values = memchr::memchr3_iter(b',', b'{', b'[', text.as_bytes()).take(VALUES_MAX + 1);
    if values.count() > VALUES_MAX {
        return Err(FeedbackError::Malformed(
            "it has too many values".to_owned(),
        ));
    }
    // serde_json ends a recursion of more than 128 levels by itself.
    let json: Value = serde_json::from_str(text).map_err(wrong)?;
    let string = |value: &Value| kept(value.as_str().unwrap_or(""));
    let time = |value: &Value| value.as_str().and_then(Timestamp::parse);
    let mut report = Report::empty(Kind::Tls);
    report.organisation = string(&json["organization-name"]);
    report.id = string(&json["report-id"]);
    let range = &json["date-range"];
    let no_range = || FeedbackError::Malformed("it has no date range".to_owned());
    report.begins_at = time(&range["start-datetime"]).ok_or_else(no_range)?;
    report.ends_at = time(&range["end-datetime"]).ok_or_else(no_range)?;
    let policies = json["policies"].as_array();
    for item in policies.map_or(&[][..], Vec::as_slice) {
        let policy = &item["policy"];
        if report.domain.is_empty() {
            report.domain = string(&policy["policy-domain"]);
        }
        add_policy(&mut report, &string(&policy["policy-type"]), item);
    }
    report.checked()
}

fn add_policy(report: &mut Report, kind: &str, item: &Value) {
    let count = |value: &Value| value.as_u64().unwrap_or(0);
    let summary = &item["summary"];
    let good = count(&summary["total-successful-session-count"]);
    if good > 0 {
        report.add(Row {
            source: String::new(),
            good: true,
            result: kind.to_owned(),
            count: good,
        });
    }
    let mut left = count(&summary["total-failure-session-count"]);
    let details = item["failure-details"].as_array();
    for detail in details.map_or(&[][..], Vec::as_slice) {
        let failed = count(&detail["failed-session-count"]);
        left = left.saturating_sub(failed);
        let result = kept(detail["result-type"].as_str().unwrap_or(""));
        report.add(Row {
            source: kept(detail["receiving-mx-hostname"].as_str().unwrap_or("")),
            good: false,
            result: format!("{kind}: {result}"),
            count: failed,
        });
    }
    // RFC 8460 §4.4: the details need not tell all.
    if left > 0 {
        report.add(Row {
            source: String::new(),
            good: false,
            result: format!("{kind}: not told why"),
            count: left,
        });
    }
}
