//! DMARC aggregate reports: XML of RFC 9990 §3 (and of RFC 7489 appendix C, which is still sent).

use base::Timestamp;

use super::{FeedbackError, Kind, Report, Row, kept, xml};

/// What is known of a record before it ends.
#[derive(Default)]
struct Record {
    source: String,
    count: u64,
    disposition: String,
    dkim: String,
    spf: String,
    author: String,
}

pub(super) fn read(text: &str) -> Result<Report, FeedbackError> {
    let mut report = Report::empty(Kind::Dmarc);
    let mut record = Record::default();
    let mut is_report = false;
    let walked = xml::walk(text, |path, value| {
        is_report |= path.first() == Some(&"feedback");
        let path = path.strip_prefix(&["feedback"]).unwrap_or(&[]);
        match (path, value) {
            (["record"], None) => report.add(std::mem::take(&mut record).row()),
            (["record", inner @ ..], Some(value)) => record.take(inner, value),
            (_, Some(value)) => head(&mut report, path, value),
            (_, None) => {}
        }
    });
    // HTML and other XML is no report at all.
    let was_refused = walked.is_none() && text.contains("<feedback");
    if !is_report && !was_refused {
        return Err(FeedbackError::NotThere);
    }
    if walked.is_none() {
        let why = "its elements do not nest properly, or it has a document type";
        return Err(FeedbackError::Malformed(why.to_owned()));
    }
    report.checked()
}

fn head(report: &mut Report, path: &[&str], value: &str) {
    let time = || Timestamp(value.parse::<u32>().map_or(0, i64::from) * 1_000);
    match path {
        ["report_metadata", "org_name"] => report.organisation = kept(value),
        ["report_metadata", "report_id"] => report.id = kept(value),
        ["report_metadata", "date_range", "begin"] => report.begins_at = time(),
        ["report_metadata", "date_range", "end"] => report.ends_at = time(),
        ["policy_published", "domain"] => report.domain = kept(value),
        _ => {}
    }
}

impl Record {
    fn take(&mut self, path: &[&str], value: &str) {
        match path {
            ["row", "source_ip"] => self.source = kept(value),
            ["row", "count"] => self.count = value.parse().unwrap_or(0),
            ["row", "policy_evaluated", "disposition"] => self.disposition = kept(value),
            ["row", "policy_evaluated", "dkim"] => self.dkim = kept(value),
            ["row", "policy_evaluated", "spf"] => self.spf = kept(value),
            ["identifiers", "header_from"] => self.author = kept(value),
            _ => {}
        }
    }

    /// DMARC passes when one of the two does (RFC 9989 §5.3).
    fn row(self) -> Row {
        let Self {
            source,
            count,
            disposition,
            dkim,
            spf,
            author,
        } = self;
        Row {
            good: dkim == "pass" || spf == "pass",
            result: format!("dkim={dkim} spf={spf} disposition={disposition} from={author}"),
            source,
            count,
        }
    }
}
