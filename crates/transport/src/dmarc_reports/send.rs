//! Sends the reports of a day to each domain that wants them, at the places that agree (RFC 9990 §3.5,
//! §4).

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use base::ports::Resolver;
use base::{Domain, EmailAddress, Timestamp};
use mailauth::dmarc::{DmarcRecord, ReportUri, destinations};
use mailauth::feedback::aggregate::{self, About, Record};
use store::{DmarcOutcome, Store, StoreError, TlsOutcome, TlsWish};
use tracing::{info, warn};

use crate::attached::{self, Attached, pack};
use crate::auth::Lookups;

/// Domains that are read from the store at once.
const PAGE: usize = 100;
/// Days that a report is tried.
const DAYS_TRIED: i64 = 2;
/// Most places that one domain's report goes to.
const PLACES_MAX: usize = 4;
/// Most policies of a domain in one day, each of which has a report of its own.
const POLICIES_MAX: usize = 4;
/// How long the DNS may take to tell where the reports of a domain go.
const LOOKUP: Duration = Duration::from_secs(20);
/// Who made the report, for the author's questions about faults.
const GENERATOR: &str = concat!("Pennyblack ", env!("CARGO_PKG_VERSION"));

/// Where the reports about a domain go, as its record asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AskedReports {
    /// Places that get them.
    pub places: Vec<String>,
    /// Places that get nothing, as they do not say that they take them; with their hosts.
    pub refused: Vec<(String, String)>,
}

/// Looks up where other servers send the reports about a domain.
///
/// # Errors
/// When the DNS gives no answer.
pub async fn asked_reports(
    resolver: &Arc<dyn Resolver>,
    domain: &Domain,
) -> Result<AskedReports, String> {
    let mut lookups = Lookups::new(Arc::clone(resolver), LOOKUP);
    let found = lookups
        .run(|answers| destinations(domain.as_str(), answers))
        .await;
    if found.unknown {
        return Err("no answer from the DNS".to_owned());
    }
    let refused = found.refused.into_iter().map(|place| {
        let host = place.mailbox().map(|to| to.domain.to_string());
        (place.uri, host.unwrap_or_default())
    });
    Ok(AskedReports {
        places: found.places.into_iter().map(|place| place.uri).collect(),
        refused: refused.collect(),
    })
}

/// Sends reports.
pub struct Sender<'a> {
    /// Where counts are and letters go.
    pub store: &'a Store,
    /// Finds where reports go.
    pub resolver: Arc<dyn Resolver>,
    /// Our host name.
    pub hostname: &'a Domain,
    /// The domain of ours that reports.
    pub from: &'a Domain,
    /// Now.
    pub now: Timestamp,
}

impl Sender<'_> {
    /// Sends the reports of the days before today, and forgets what was sent or is too old. How many
    /// reports were sent. Should it end between a report and the forgetting of its counts, the report is
    /// sent again under the same name, as RFC 9990 §3.5.2 has it.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn send_all(&self) -> Result<usize, StoreError> {
        let today = TlsOutcome::day_of(self.now);
        let mut sent = 0;
        for day in (today - DAYS_TRIED)..today {
            let mut after: Option<Domain> = None;
            loop {
                let domains = self
                    .store
                    .domains_with_dmarc_outcomes(day, after.as_ref(), PAGE);
                let domains = domains.await?;
                let Some(last) = domains.last() else { break };
                after = Some(last.clone());
                for domain in &domains {
                    sent += self.send(day, domain).await?;
                }
            }
        }
        let old = TlsOutcome::start_of(today - DAYS_TRIED - 1);
        self.store.forget_dmarc_outcomes_before(old).await?;
        Ok(sent)
    }

    /// The reports to one domain; how many letters were sent.
    async fn send(&self, day: i64, domain: &Domain) -> Result<usize, StoreError> {
        let mut lookups = Lookups::new(Arc::clone(&self.resolver), LOOKUP);
        let found = lookups
            .run(|answers| destinations(domain.as_str(), answers))
            .await;
        if found.places.is_empty() && found.unknown {
            // Asked again later, while the counts are kept.
            return Ok(0);
        }
        let mut sent = 0;
        if !found.places.is_empty() {
            let outcomes = self.store.dmarc_outcomes(day, domain).await?;
            let policies = outcomes.chunk_by(|one, other| one.policy == other.policy);
            for same in policies.take(POLICIES_MAX) {
                sent += self.send_policy((day, domain), same, &found.places).await?;
            }
            info!(%domain, day, letters = sent, "a report of DMARC was sent");
        }
        self.store.forget_dmarc_outcomes(day, domain).await?;
        Ok(sent)
    }

    /// One report, for one policy, to all places.
    async fn send_policy(
        &self,
        (day, domain): (i64, &Domain),
        outcomes: &[DmarcOutcome],
        places: &[ReportUri],
    ) -> Result<usize, StoreError> {
        let text = outcomes.first().map_or("", |first| first.policy.as_str());
        let Some(policy) = DmarcRecord::parse(text.as_bytes()) else {
            return Ok(0);
        };
        let records: Vec<(IpAddr, u64, Record)> = outcomes.iter().filter_map(record).collect();
        let start = TlsOutcome::start_of(day).secs();
        let about = About {
            organisation: self.hostname.as_str(),
            contact: &format!("postmaster@{}", self.from),
            id: &self.id(day, domain, text),
            generator: GENERATOR,
            seconds: (start, start + 86_399),
            domain: domain.as_str(),
            policy: &policy,
        };
        let xml = aggregate::write(&about, &records);
        let Some(packed) = pack(&xml).filter(|_| !records.is_empty()) else {
            return Ok(0);
        };
        let mut sent = 0;
        for place in places.iter().take(PLACES_MAX) {
            sent += usize::from(self.send_to(place, &about, &packed).await?);
        }
        Ok(sent)
    }

    async fn send_to(
        &self,
        place: &ReportUri,
        about: &About<'_>,
        packed: &[u8],
    ) -> Result<bool, StoreError> {
        let Some(to) = place.mailbox() else {
            return Ok(false);
        };
        let letter = self.letter(&to, about, packed);
        // RFC 9990 §3.5: after compression and encoding.
        if place.bytes_max.is_some_and(|max| letter.len() as u64 > max) {
            warn!(
                domain = about.domain,
                place = place.uri,
                "a report of DMARC is larger than is wanted"
            );
            return Ok(false);
        }
        let letter = self.store.letter(letter.into()).await?;
        let told = format!("by this server, a report of DMARC to {}", about.domain);
        let submission = attached::submission(letter, &to, TlsWish::None, self.now, told);
        self.store.submit(submission).await?;
        Ok(true)
    }

    /// RFC 9990 §3.5.1: the same for a report that is sent again, and of letters and digits only, as
    /// §3.5.2 wants it for the file.
    fn id(&self, day: i64, domain: &Domain, policy: &str) -> String {
        let text = format!(
            "{day}\n{}\n{}\n{domain}\n{policy}",
            self.hostname, self.from
        );
        let hash = digest(&SHA256, text.as_bytes());
        let hex = hash
            .as_ref()
            .iter()
            .take(12)
            .map(|byte| format!("{byte:02x}"));
        hex.collect()
    }

    /// RFC 9990 §3.5.2.
    fn letter(&self, to: &EmailAddress, about: &About<'_>, packed: &[u8]) -> Vec<u8> {
        let (domain, from, id) = (about.domain, self.from, about.id);
        let (begin, end) = about.seconds;
        attached::letter(&Attached {
            at: self.now,
            from,
            to,
            subject: &format!("Report Domain: {domain} Submitter: {from} Report-ID: <{id}>"),
            message_id: &format!("dmarc.{id}@{from}"),
            fields: &[],
            whole_type: "multipart/mixed",
            text: &format!(
                "This is a DMARC report about letters from {domain} to {}\r\n\
                 on one day. Programs read the part below.\r\n",
                self.hostname
            ),
            file_type: "application/gzip",
            file: &format!("{from}!{domain}!{begin}!{end}!{id}.xml.gz"),
            bytes: packed,
        })
    }
}

fn record(outcome: &DmarcOutcome) -> Option<(IpAddr, u64, Record)> {
    let record = Record::from_text(&outcome.record)?;
    Some((outcome.source.parse().ok()?, outcome.letters, record))
}

#[cfg(test)]
mod tests;
