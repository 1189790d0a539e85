//! Reports of others that come in letters (RFC 9990, RFC 8460, RFC 5965) are read into rows, besides
//! being delivered as any letter. Which letters are reports is seen by their header, so that no address
//! has to be set up for them; only reports about domains of ours are kept.
//!
//! Whether a report is believed depends on its letter alone: it must pass DMARC for its author.

use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use base::Domain;
use mailauth::feedback::{FeedbackError, Report};
use store::{Letter, ReportInfo, ReportRow, StoreError};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tracing::{info, warn};

use super::SmtpContext;

/// Held while a report is read.
static READING: Semaphore = Semaphore::const_new(1);
/// How long a report waits for those before it; the peer waits with it.
const TURN_TIMEOUT: Duration = Duration::from_secs(30);

/// Reads the report of a letter and keeps it. What goes wrong is only told in the log: the letter itself
/// is stored already.
pub(super) async fn keep(context: &SmtpContext, letter: Letter, (sender, passes): (String, bool)) {
    match read_and_keep(context, letter, &sender, passes).await {
        Ok(()) => {}
        Err(error) => warn!(sender, %error, "a report could not be kept"),
    }
}

async fn read_and_keep(
    context: &SmtpContext,
    letter: Letter,
    sender: &str,
    believed: bool,
) -> Result<(), StoreError> {
    let store = &context.options.store;
    let ours = store.domains().await?;
    let ours: Vec<String> = ours.iter().map(|info| info.domain.to_string()).collect();
    // Unpacked it may be large: one at a time. The letter itself is stored, so that nothing is lost
    // where too many come at once.
    let Ok(Ok(permit)) = timeout(TURN_TIMEOUT, READING.acquire()).await else {
        info!(sender, "too many reports at once: one is not read");
        return Ok(());
    };
    let read = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        let report = Report::from_letter(letter.bytes(), |domain| is_ours(&ours, domain));
        let hash = digest(&SHA256, letter.bytes());
        let hash: String = hash.as_ref()[..8]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        report.map(|report| (is_ours(&ours, &report.domain), report, hash))
    });
    let (is_ours, report, hash) = match read.await {
        Ok(Ok(found)) => found,
        Ok(Err(FeedbackError::NotThere)) => return Ok(()),
        Ok(Err(error)) => {
            info!(sender, %error, "a report cannot be read");
            return Ok(());
        }
        Err(error) => return Err(StoreError::Io(error.to_string())),
    };
    let Some(domain) = Domain::parse(&report.domain).ok().filter(|_| is_ours) else {
        info!(
            sender,
            domain = report.domain,
            "a report about a domain that is not ours"
        );
        return Ok(());
    };
    let (info, rows) = in_rows(context, report, domain, sender, believed, hash);
    let (kind, name, domain) = (info.kind.clone(), info.name.clone(), info.domain.clone());
    let is_new = store.keep_report(info, rows).await?;
    info!(kind, name, %domain, sender, believed, is_new, "a report came");
    Ok(())
}

/// A domain of ours, or one below it.
fn is_ours(ours: &[String], domain: &str) -> bool {
    let domain = domain.to_ascii_lowercase();
    ours.iter().any(|own| {
        let rest = domain.strip_suffix(own.as_str());
        rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    })
}

fn in_rows(
    context: &SmtpContext,
    report: Report,
    domain: Domain,
    sender: &str,
    believed: bool,
    hash: String,
) -> (ReportInfo, Vec<ReportRow>) {
    let kind = report.kind.word();
    // A complaint need not have an id.
    let id = Some(report.id).filter(|id| !id.is_empty()).unwrap_or(hash);
    let name = ReportInfo::name_of(kind, sender, &report.organisation, &id, domain.as_str());
    let info = ReportInfo {
        name,
        kind: kind.to_owned(),
        domain,
        sender: sender.to_owned(),
        organisation: report.organisation,
        id,
        begins_at: report.begins_at,
        ends_at: report.ends_at,
        received_at: context.now(),
        believed,
        good: report.good,
        bad: report.bad,
    };
    let rows = report.rows.into_iter().map(|row| ReportRow {
        source: row.source,
        good: row.good,
        result: row.result,
        count: row.count,
    });
    (info, rows.collect())
}
