//! What an operator asks about reports of others and about what is wrong.

use std::time::Duration;

use base::ports::Clock as _;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use store::{Alert, ReportInfo, ReportRow, ReportSum, Store};

use super::Failure;
use super::operate::{Answer, parse_domain};
use crate::outside::SystemClock;

/// A question about reports.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReportsRequest {
    /// The newest reports.
    List {
        /// Only about this domain.
        domain: Option<String>,
        /// So many at most.
        limit: usize,
    },
    /// One report with its rows.
    Show {
        /// Its name.
        name: String,
    },
    /// The sums of the believed reports, by source.
    Summary {
        /// Only about this domain.
        domain: Option<String>,
        /// Of so many days.
        days: u32,
    },
}

/// Does what is asked.
///
/// # Errors
/// In words for the operator.
pub(super) async fn operate(store: &Store, request: ReportsRequest) -> Result<Answer, Failure> {
    match request {
        ReportsRequest::List { domain, limit } => {
            let domain = domain.as_deref().map(parse_domain).transpose()?;
            let reports = store.reports(domain.as_ref(), limit).await?;
            Ok(Answer::list(reports.iter().map(report).collect()))
        }
        ReportsRequest::Show { name } => {
            let found = store.report(&name).await?;
            let (info, rows) =
                found.ok_or_else(|| Failure::not_found(format!("there is no report {name}")))?;
            let mut shown = report(&info);
            shown["rows"] = rows.iter().map(report_row).collect();
            Ok(Answer::list(vec![shown]))
        }
        ReportsRequest::Summary { domain, days } => {
            let domain = domain.as_deref().map(parse_domain).transpose()?;
            let since = SystemClock.now() - Duration::from_secs(u64::from(days) * 86_400);
            let sums = store.report_sums(domain.as_ref(), since).await?;
            Ok(Answer::list(sums.iter().map(sum).collect()))
        }
    }
}

/// Everything that is wrong.
///
/// # Errors
/// In words for the operator.
pub(super) async fn alerts(store: &Store) -> Result<Answer, Failure> {
    let alerts = store.alerts().await?;
    Ok(Answer::list(alerts.iter().map(alert).collect()))
}

fn report(info: &ReportInfo) -> Value {
    json!({
        "name": info.name,
        "kind": info.kind,
        "domain": info.domain.to_string(),
        "sender": info.sender,
        "organisation": info.organisation,
        "id": info.id,
        "begins_at": info.begins_at.whole_seconds(),
        "ends_at": info.ends_at.whole_seconds(),
        "received_at": info.received_at.to_string(),
        "believed": info.believed,
        "good": info.good,
        "bad": info.bad,
    })
}

fn report_row(row: &ReportRow) -> Value {
    json!({
        "source": row.source,
        "good": row.good,
        "result": row.result,
        "count": row.count,
    })
}

fn sum(sum: &ReportSum) -> Value {
    json!({
        "domain": sum.domain.to_string(),
        "kind": sum.kind,
        "source": sum.source,
        "good": sum.good,
        "bad": sum.bad,
    })
}

fn alert(alert: &Alert) -> Value {
    json!({
        "kind": alert.kind,
        "subject": alert.subject,
        "since": alert.since.to_string(),
        "told_at": alert.told_at.map(|at| at.to_string()),
        "detail": alert.detail,
    })
}
