//! DMARC aggregate reports (RFC 9990): what was found of letters from outside is counted for the
//! domains that want to know, and told to them once a day ([`send`]).

pub mod send;

use std::net::IpAddr;

use base::{Domain, Timestamp};
use mailauth::Report;
use mailauth::dmarc::Aligned;
use store::{DmarcOutcome, TlsOutcome};

use crate::counts::{Counts, Tallied};

/// Most different outcomes between two writes; more are not counted.
const OUTCOMES_MAX: usize = 5_000;

/// Counts outcomes. Cheap to clone; all clones count together.
#[derive(Clone, Debug)]
pub struct Ledger(Counts<DmarcOutcome>);

impl Default for Ledger {
    fn default() -> Self {
        Self(Counts::new(OUTCOMES_MAX))
    }
}

impl Ledger {
    /// Counts one letter for each of its authors' domains that wants reports.
    pub(crate) fn note(
        &self,
        now: Timestamp,
        (source, reverse_path): (IpAddr, &str),
        (report, aligned): (&Report, &[Aligned]),
        looks_like_report: bool,
    ) {
        for (outcome, record) in report.records(aligned, reverse_path) {
            // The true report of another server is not reported: two servers would tell each other of
            // their reports for ever.
            if looks_like_report && (record.dkim_aligned || record.spf_aligned) {
                continue;
            }
            let Some((policy_domain, policy)) = &outcome.record else {
                continue;
            };
            let Ok(domain) = Domain::parse(policy_domain) else {
                continue;
            };
            let outcome = DmarcOutcome {
                day: TlsOutcome::day_of(now),
                domain,
                policy: policy.policy_text(),
                source: source.to_canonical().to_string(),
                record: record.to_text(),
                letters: 0,
            };
            self.0.add(outcome, 1);
        }
    }

    /// Takes what was counted.
    #[must_use]
    pub fn take(&self) -> Vec<DmarcOutcome> {
        self.0.take_tallied()
    }

    /// Puts back what could not be written.
    pub fn give_back(&self, outcomes: Vec<DmarcOutcome>) {
        self.0.give_back(outcomes);
    }
}

impl Tallied for DmarcOutcome {
    fn tally(&mut self) -> &mut u64 {
        &mut self.letters
    }
}
