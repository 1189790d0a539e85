//! All checks of one letter, and what they found: one value for the header field, the journey and the
//! decision.

use base::{Domain, Timestamp};
use message::Fields;

use crate::arc::{self, ArcOutcome, ArcResult};
use crate::dkim::{self, DkimResult, Outcome, Prepared};
use crate::dmarc::{self, Aligned, Authors, DmarcOutcome, DmarcResult, Identifier, Method, Policy};
use crate::dns::{Answers, Need};
use crate::feedback;
use crate::feedback::aggregate::{self, Record, Signature};
use crate::iprev::{self, IprevOutcome, IprevResult};
use crate::name::to_ascii;
use crate::results::{AuthResults, MethodResult};
use crate::spf::{self, SpfIdentity, SpfInput, SpfOutcome, SpfResult};

/// Why less is done than an author's domain wishes, where the settings say so.
const LOCAL_POLICY: &str = "local policy";

/// The checks of a letter, each done once. They are advanced until nothing is missing: those of the
/// connection while the letter still comes in, the others when it is there.
#[derive(Debug, Default)]
pub struct Checks {
    iprev: Option<IprevOutcome>,
    mail_from: Option<SpfOutcome>,
    helo: Option<SpfOutcome>,
    dkim: Option<Vec<DkimResult>>,
    arc: Option<ArcResult>,
    dmarc: Option<Vec<DmarcOutcome>>,
    sole_author: Option<String>,
}

/// What is read of a letter before the DNS is asked.
#[derive(Debug)]
pub struct LetterInput {
    authors: Authors,
    prepared: Prepared,
    looks_like_report: bool,
}

impl LetterInput {
    /// Reads and hashes a letter; see [`Prepared::new`] for what it costs.
    #[must_use]
    pub fn new(letter: &[u8]) -> Self {
        let limits = message::ParseLimits {
            header_fields_max: dkim::FIELDS_MAX,
            header_bytes_max: dkim::HEADER_BYTES_MAX,
            ..message::ParseLimits::default()
        };
        Self {
            authors: Authors::read(Fields::with_limits(letter, &limits)),
            prepared: Prepared::new(&[letter]),
            looks_like_report: feedback::looks_like_report(Fields::with_limits(letter, &limits)),
        }
    }

    /// Whether its header is that of a report, see [`feedback::looks_like_report`].
    #[must_use]
    pub const fn looks_like_report(&self) -> bool {
        self.looks_like_report
    }
}

impl Checks {
    /// iprev, and SPF of the reverse-path and of the HELO name.
    ///
    /// # Errors
    /// [`Need`] with everything that can be asked at once.
    pub fn advance_connection(
        &mut self,
        input: &SpfInput<'_>,
        answers: &Answers,
    ) -> Result<(), Need> {
        let mut missing = Missing::default();
        missing.fill(&mut self.iprev, || iprev::check(input.address, answers));
        missing.fill(&mut self.mail_from, || {
            spf::check(input, SpfIdentity::MailFrom, answers)
        });
        // The null reverse-path is checked by the HELO name already (RFC 7208 §2.4).
        if !input.reverse_path.is_empty() {
            missing.fill(&mut self.helo, || {
                spf::check(input, SpfIdentity::Helo, answers)
            });
        }
        missing.end()
    }

    /// DKIM and ARC; the author's record is asked for beside their keys.
    ///
    /// # Errors
    /// [`Need`] with everything that can be asked at once.
    pub fn advance_signatures(
        &mut self,
        letter: &LetterInput,
        now: Timestamp,
        answers: &Answers,
    ) -> Result<(), Need> {
        let mut missing = Missing::default();
        missing.fill(&mut self.dkim, || {
            dkim::verify(&letter.prepared, answers, now)
        });
        missing.fill(&mut self.arc, || arc::verify(&letter.prepared, answers));
        if !missing.0.is_empty() {
            missing.fill(&mut None, || dmarc::evaluate(&letter.authors, &[], answers));
        }
        missing.end()
    }

    /// DMARC, after the other two have succeeded. It depends on the DNS of the author and of nobody
    /// else: with time of its own, a stranger's slow DNS cannot make it end without a result.
    ///
    /// # Errors
    /// [`Need`] with everything that can be asked at once.
    pub fn advance_author(&mut self, letter: &LetterInput, answers: &Answers) -> Result<(), Need> {
        let mut missing = Missing::default();
        self.sole_author = letter.authors.sole().map(str::to_owned);
        let signatures = self.dkim.as_deref().unwrap_or_default();
        let known = identifiers(self.mail_from.as_ref(), signatures);
        missing.fill(&mut self.dmarc, || {
            dmarc::evaluate(&letter.authors, &known, answers)
        });
        missing.end()
    }

    /// What was found; `None` while a check is missing.
    #[must_use]
    pub fn finish(self) -> Option<Report> {
        Some(Report {
            iprev: self.iprev?,
            mail_from: self.mail_from?,
            helo: self.helo,
            dkim: self.dkim?,
            arc: self.arc?,
            dmarc: self.dmarc?,
            sole_author: self.sole_author,
            applied: Policy::None,
            overridden: None,
        })
    }
}

/// Collects questions of checks that cannot go on.
#[derive(Default)]
struct Missing(Vec<crate::Question>);

impl Missing {
    fn fill<T>(&mut self, slot: &mut Option<T>, check: impl FnOnce() -> Result<T, Need>) {
        if slot.is_none() {
            match check() {
                Ok(found) => *slot = Some(found),
                Err(Need(questions)) => self.0.extend(questions),
            }
        }
    }

    fn end(mut self) -> Result<(), Need> {
        if self.0.is_empty() {
            return Ok(());
        }
        self.0.sort_unstable();
        self.0.dedup();
        Err(Need(self.0))
    }
}

/// The domains that DMARC may rely on.
fn identifiers<'a>(
    mail_from: Option<&'a SpfOutcome>,
    signatures: &'a [DkimResult],
) -> Vec<Identifier<'a>> {
    let signed = signatures.iter().filter_map(|signature| {
        let verified = match signature.outcome {
            Outcome::Pass => open_part(signature).is_none(),
            Outcome::TempError => false,
            Outcome::Fail(_) | Outcome::PermError(_) => return None,
        };
        // A signature that leaves a part of the letter open is as none.
        if signature.is_pass() && !verified {
            return None;
        }
        Some(Identifier {
            domain: signature.domain.as_ref()?.as_str(),
            method: Method::Dkim,
            verified,
        })
    });
    let spf = mail_from.and_then(|outcome| {
        let verified = match outcome.result {
            SpfResult::Pass => true,
            SpfResult::TempError => false,
            SpfResult::None
            | SpfResult::Neutral
            | SpfResult::Fail
            | SpfResult::SoftFail
            | SpfResult::PermError => return None,
        };
        Some(Identifier {
            domain: &outcome.domain,
            method: Method::Spf,
            verified,
        })
    });
    signed.chain(spf).collect()
}

/// What of the letter anyone may have added to: the body (RFC 6376 §8.2), or a field that mail programs
/// show instead of the one that is signed (§8.15).
fn open_part(signature: &DkimResult) -> Option<&'static str> {
    let notes = &signature.notes;
    if notes.unsigned_body_bytes.is_some_and(|bytes| bytes > 0) {
        Some("a part of the body is not signed")
    } else if notes.unsigned_double {
        Some("a field stands several times and is not signed each time")
    } else {
        None
    }
}

/// What all checks of a letter found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Report {
    /// Whether the peer's address has a name.
    pub iprev: IprevOutcome,
    /// SPF of the reverse-path.
    pub mail_from: SpfOutcome,
    /// SPF of the HELO name; none for the null reverse-path, whose check it is already.
    pub helo: Option<SpfOutcome>,
    /// Each signature.
    pub dkim: Vec<DkimResult>,
    /// The chain of forwarders.
    pub arc: ArcResult,
    /// Each author domain, the one that decides first; never empty.
    pub dmarc: Vec<DmarcOutcome>,
    /// The author's domain, if the letter has one From field with one domain, and nothing else in it.
    pub sole_author: Option<String>,
    /// What is done with the letter.
    pub applied: Policy,
    /// Why it is less than the author's domain wishes.
    pub overridden: Option<String>,
}

impl Report {
    /// Decides what is done: the wish of the author's domain, but no more than `most`, and nothing
    /// where a forwarder in `sealers` vouches for the letter.
    pub fn decide(&mut self, most: Policy, sealers: &[Domain]) {
        let wish = self.dmarc.iter().map(DmarcOutcome::wish).max();
        let wish = wish.unwrap_or(Policy::None);
        if wish > Policy::None
            && let Some(sealer) = self.vouching_sealer(sealers)
        {
            self.overridden = Some(format!("{sealer} vouches for it by ARC"));
            self.applied = Policy::None;
        } else {
            if wish > most {
                self.overridden = Some(LOCAL_POLICY.to_owned());
            }
            self.applied = wish.min(most);
        }
    }

    /// RFC 8617 §7.2: a chain that is right, whose last sealer is trusted and found that DMARC had
    /// passed when the letter came to it, for the author that the letter has now. Whoever got a letter
    /// of another author sealed, or adds a second one, has no voucher for this one.
    fn vouching_sealer(&self, trusted: &[Domain]) -> Option<&Domain> {
        let sealer = self.arc.sealers.last()?;
        if self.arc.outcome != ArcOutcome::Pass || !trusted.contains(sealer) {
            return None;
        }
        let author = self.sole_author.as_deref()?;
        let found = AuthResults::parse(self.arc.results.as_ref()?.as_bytes())?;
        let is_dmarc = |result: &&MethodResult| result.method == "dmarc";
        let mut dmarc = found.results.iter().filter(is_dmarc).peekable();
        dmarc.peek()?;
        let vouches = |result: &MethodResult| {
            let from = result.property("header", "from").and_then(to_ascii);
            result.result == "pass" && from.as_deref() == Some(author)
        };
        dmarc.all(vouches).then_some(sealer)
    }

    /// Whether the owner of an author domain wants reports (RFC 9989 §4.7, `rua`).
    #[must_use]
    pub fn wants_reports(&self) -> bool {
        self.dmarc.iter().any(DmarcOutcome::wants_reports)
    }

    /// Both alignments for each author domain, as [`Self::dmarc`] has them (RFC 9990).
    ///
    /// # Errors
    /// [`Need`] with everything that can be asked at once.
    pub fn alignments(&self, answers: &Answers) -> Result<Vec<Aligned>, Need> {
        let known = identifiers(Some(&self.mail_from), &self.dkim);
        let mut missing = Missing::default();
        let mut all = Vec::new();
        for outcome in &self.dmarc {
            let mut aligned = None;
            missing.fill(&mut aligned, || dmarc::alignments(outcome, &known, answers));
            all.extend(aligned);
        }
        missing.end().map(|()| all)
    }

    /// The records of a report to the owner of each author domain that wants reports.
    pub fn records<'a>(
        &'a self,
        aligned: &'a [Aligned],
        reverse_path: &'a str,
    ) -> impl Iterator<Item = (&'a DmarcOutcome, Record)> {
        let outcomes = self.dmarc.iter().zip(aligned);
        outcomes
            .filter(|(outcome, _)| outcome.wants_reports())
            .map(move |(outcome, aligned)| (outcome, self.record(outcome, *aligned, reverse_path)))
    }

    fn record(&self, outcome: &DmarcOutcome, aligned: Aligned, reverse_path: &str) -> Record {
        let passes = aligned.dkim || aligned.spf;
        let mut signatures: Vec<&DkimResult> = self.dkim.iter().collect();
        // RFC 9990 §3.1.3: those that pass first, those of the author's domain before.
        signatures.sort_by_key(|signature| {
            let domain = signature.domain.as_ref().map_or("", Domain::as_str);
            (!signature.is_pass(), domain != outcome.author)
        });
        let signature = |signature: &DkimResult| {
            let result = dkim_result(signature);
            Some(Signature {
                domain: signature.domain.as_ref()?.to_string(),
                selector: signature.selector.clone()?,
                result: result.result,
                remark: result.reason.unwrap_or_default(),
            })
        };
        let spf = &self.mail_from;
        let reason = spf.reason.as_ref().map(ToString::to_string);
        Record {
            disposition: aggregate::disposition(passes, outcome.policy, self.applied).to_owned(),
            dkim_aligned: aligned.dkim,
            spf_aligned: aligned.spf,
            reasons: self.override_reasons(outcome, passes),
            header_from: outcome.author.clone(),
            envelope_from: reverse_path
                .rsplit_once('@')
                .and_then(|(_, domain)| to_ascii(domain))
                .unwrap_or_default(),
            signatures: signatures.into_iter().filter_map(signature).collect(),
            spf: (
                spf.domain.clone(),
                spf.result.word().to_owned(),
                reason.unwrap_or_default(),
            ),
        }
    }

    /// RFC 9990 §3.1.6: why what is done is not what the record says.
    fn override_reasons(&self, outcome: &DmarcOutcome, passes: bool) -> Vec<(String, String)> {
        let reason = |kind: &str, remark: &str| vec![(kind.to_owned(), remark.to_owned())];
        let testing = outcome.record.as_ref().is_some_and(|(_, r)| r.testing);
        match &self.overridden {
            _ if passes => Vec::new(),
            Some(why) if why == LOCAL_POLICY => reason("local_policy", ""),
            Some(why) => reason("trusted_forwarder", why),
            None if testing => reason("policy_test_mode", ""),
            None if outcome.result == DmarcResult::TempError => {
                reason("other", "not all answers of the DNS were there")
            }
            None if self.applied != outcome.policy => reason("other", "another author decided"),
            None => Vec::new(),
        }
    }

    /// The outcome of DMARC that decides.
    #[must_use]
    pub fn deciding(&self) -> Option<&DmarcOutcome> {
        self.dmarc.first()
    }

    /// What is written into the letter's head, in the name of `server`. `reverse_path` is written
    /// whole, as it was given.
    #[must_use]
    pub fn results(&self, server: &str, reverse_path: &str) -> AuthResults {
        let mut results = vec![iprev_result(&self.iprev)];
        results.push(spf_result(&self.mail_from, reverse_path));
        let helo = self
            .helo
            .iter()
            .filter(|helo| helo.result != SpfResult::None);
        results.extend(helo.map(|helo| spf_result(helo, "")));
        if self.dkim.is_empty() {
            results.push(MethodResult::new("dkim", "none"));
        }
        results.extend(self.dkim.iter().map(dkim_result));
        if self.arc.outcome != ArcOutcome::None {
            results.push(arc_result(&self.arc));
        }
        for (position, outcome) in self.dmarc.iter().enumerate() {
            let mut result = dmarc_result(outcome);
            let fails = outcome.result == DmarcResult::Fail || outcome.wish() > Policy::None;
            if position == 0 && fails {
                result.comment = Some(self.disposition());
            }
            results.push(result);
        }
        AuthResults {
            server: server.to_owned(),
            results,
        }
    }

    fn disposition(&self) -> String {
        let applied = self.applied.word();
        match &self.overridden {
            Some(why) => format!("done: {applied}; {why}"),
            None => format!("done: {applied}"),
        }
    }
}

fn iprev_result(outcome: &IprevOutcome) -> MethodResult {
    let mut result = MethodResult::new("iprev", outcome.result.word());
    result.comment.clone_from(&outcome.name);
    result.reason = match outcome.result {
        IprevResult::Pass => None,
        IprevResult::Fail => Some("no name of the address leads back to it".to_owned()),
        IprevResult::TempError => Some("no answer from the DNS".to_owned()),
        IprevResult::PermError => Some("the address has no name".to_owned()),
    };
    result.with("policy", "iprev", Some(outcome.address.to_string()))
}

/// RFC 8601 §2.7.2.
fn spf_result(outcome: &SpfOutcome, reverse_path: &str) -> MethodResult {
    let mut result = MethodResult::new("spf", outcome.result.word());
    result.comment.clone_from(&outcome.mechanism);
    result.reason = outcome.reason.as_ref().map(ToString::to_string);
    if reverse_path.is_empty() {
        result.with("smtp", "helo", Some(&outcome.domain))
    } else {
        result.with("smtp", "mailfrom", Some(reverse_path))
    }
}

/// RFC 8601 §2.7.1, RFC 6008.
fn dkim_result(signature: &DkimResult) -> MethodResult {
    let mut result = MethodResult::new("dkim", signature.outcome.word());
    result.reason = signature.outcome.reason();
    if let Some(open) = open_part(signature).filter(|_| signature.is_pass()) {
        result.result = "policy".to_owned();
        result.reason = Some(open.to_owned());
    }
    if signature.notes.testing {
        result.comment = Some("the domain is testing".to_owned());
    }
    let domain = signature.domain.as_ref().map(Domain::as_str);
    let algorithm = signature.algorithm.map(|algorithm| algorithm.to_string());
    result
        .with("header", "d", domain)
        .with("header", "s", signature.selector.as_deref())
        .with("header", "i", signature.identity.as_deref())
        .with("header", "a", algorithm)
        .with("header", "b", signature.signature_start.as_deref())
}

/// RFC 8617 §10.1.
fn arc_result(arc: &ArcResult) -> MethodResult {
    let mut result = MethodResult::new("arc", arc.outcome.word());
    result.comment = Some(match arc.sealers.last() {
        Some(sealer) => format!("i={} by {sealer}", arc.instance),
        None => format!("i={}", arc.instance),
    });
    result.reason = match arc.outcome {
        ArcOutcome::Fail(fault) => Some(fault.to_string()),
        ArcOutcome::TempError => Some("a key could not be looked up".to_owned()),
        ArcOutcome::None | ArcOutcome::Pass => None,
    };
    result
}

/// RFC 9989 §9.1.
fn dmarc_result(outcome: &DmarcOutcome) -> MethodResult {
    let mut result = MethodResult::new("dmarc", outcome.result.word());
    result.reason = outcome.reason.as_ref().map(ToString::to_string);
    let author = Some(outcome.author.as_str()).filter(|author| !author.is_empty());
    let policy = outcome.record.as_ref().map(|_| outcome.policy.word());
    result
        .with("header", "from", author)
        .with("policy", "dmarc", policy)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dmarc::DmarcReason;
    use crate::{Answer, Question, RecordType, Records};

    const LETTER: &[u8] = b"From: a@red.test\r\nSubject: x\r\n\r\ny\r\n";

    fn spf_input() -> SpfInput<'static> {
        SpfInput {
            address: "192.0.2.1".parse().unwrap(),
            helo: "mx.red.test",
            reverse_path: "a@bounce.red.test",
            receiver: "mx.black.test",
            now_secs: 1_800_000_000,
        }
    }

    fn answer(question: &Question, spf: &str, dmarc: &str) -> Answer {
        let text = |text: &str| Answer::Found(Records::Txt(vec![text.as_bytes().to_vec()]));
        match (question.name.as_str(), question.kind) {
            ("1.2.0.192.in-addr.arpa", RecordType::Ptr) => {
                Answer::Found(Records::Ptr(vec!["mx.red.test".to_owned()]))
            }
            ("mx.red.test", RecordType::A) => {
                Answer::Found(Records::A(vec![[192, 0, 2, 1].into()]))
            }
            ("bounce.red.test", RecordType::Txt) => text(spf),
            ("_dmarc.red.test", RecordType::Txt) => text(dmarc),
            _ => Answer::NoName,
        }
    }

    /// Runs all checks; gives the report and the rounds of questions that it took.
    fn run(letter: &[u8], spf: &str, dmarc: &str) -> (Report, usize) {
        let (mut checks, mut answers) = (Checks::default(), Answers::default());
        let letter = LetterInput::new(letter);
        let now = Timestamp::from_secs(1_800_000_000);
        let mut rounds = 0;
        loop {
            let step = checks
                .advance_connection(&spf_input(), &answers)
                .and_then(|()| checks.advance_signatures(&letter, now, &answers))
                .and_then(|()| checks.advance_author(&letter, &answers));
            let Err(Need(questions)) = step else { break };
            rounds += 1;
            for question in questions {
                let answer = answer(&question, spf, dmarc);
                answers.insert(question, answer);
            }
        }
        (checks.finish().unwrap(), rounds)
    }

    #[test]
    fn a_letter_that_passes_is_written_down() {
        let (mut report, rounds) =
            run(LETTER, "v=spf1 ip4:192.0.2.0/24 -all", "v=DMARC1; p=reject");
        report.decide(Policy::Reject, &[]);
        assert_eq!(report.applied, Policy::None);
        // Names and SPF records; the name's address; the author's record; the tree walk.
        assert_eq!(rounds, 4);
        let field = report.results("mx.black.test", "a@bounce.red.test");
        expect_test::expect![[r#"mx.black.test; iprev=pass (mx.red.test) policy.iprev=192.0.2.1; spf=pass (ip4:192.0.2.0/24) smtp.mailfrom=a@bounce.red.test; dkim=none; dmarc=pass reason="spf of bounce.red.test aligned" header.from=red.test policy.dmarc=reject"#]]
            .assert_eq(&field.payload(false));
    }

    #[test]
    fn a_wish_is_followed_up_to_the_setting() {
        let (report, _) = run(LETTER, "v=spf1 -all", "v=DMARC1; p=reject");
        for most in [Policy::Reject, Policy::Quarantine, Policy::None] {
            let mut report = report.clone();
            report.decide(most, &[]);
            assert_eq!(report.applied, most);
            assert_eq!(report.overridden.is_some(), most != Policy::Reject);
        }
        let (mut soft, _) = run(LETTER, "v=spf1 -all", "v=DMARC1; p=quarantine");
        soft.decide(Policy::Reject, &[]);
        assert_eq!(soft.applied, Policy::Quarantine);
        let field = soft
            .results("mx.black.test", "a@bounce.red.test")
            .payload(false);
        assert!(
            field.contains("dmarc=fail (done: quarantine) reason="),
            "{field}"
        );
    }

    #[test]
    fn who_cannot_be_read_is_suspect() {
        let letter = b"From: nobody\r\nSubject: x\r\n\r\ny\r\n";
        let (mut report, _) = run(letter, "v=spf1 ip4:192.0.2.1 -all", "");
        report.decide(Policy::Reject, &[]);
        assert_eq!(report.applied, Policy::Quarantine);
        let field = report.results("mx.black.test", "a@bounce.red.test");
        let shown = field.payload(false);
        assert!(
            shown.contains("dmarc=permerror (done: quarantine) reason="),
            "{shown}"
        );
    }

    #[test]
    fn a_trusted_forwarder_vouches_for_what_it_saw_pass() {
        let (report, _) = run(LETTER, "v=spf1 -all", "v=DMARC1; p=reject");
        let list = Domain::parse("list.test").unwrap();
        let sealed = |results: &str, outcome| {
            let mut report = report.clone();
            report.arc = ArcResult {
                outcome,
                instance: 1,
                closed: false,
                sealers: vec![list.clone()],
                results: Some(results.to_owned()),
            };
            report
        };
        let passed =
            "mx.list.test; spf=pass smtp.mailfrom=red.test; dmarc=pass header.from=red.test";
        let failed = "mx.list.test; dmarc=fail header.from=red.test";
        let of_another = "mx.list.test; dmarc=pass header.from=evil.test";
        let of_nobody = "mx.list.test; dmarc=pass";
        for (results, outcome, trusted, applied) in [
            (passed, ArcOutcome::Pass, true, Policy::None),
            (passed, ArcOutcome::Pass, false, Policy::Reject),
            (passed, ArcOutcome::TempError, true, Policy::Reject),
            (failed, ArcOutcome::Pass, true, Policy::Reject),
            (of_another, ArcOutcome::Pass, true, Policy::Reject),
            (of_nobody, ArcOutcome::Pass, true, Policy::Reject),
            ("mx.list.test; none", ArcOutcome::Pass, true, Policy::Reject),
        ] {
            let mut report = sealed(results, outcome);
            let trusted = if trusted {
                vec![list.clone()]
            } else {
                Vec::new()
            };
            report.decide(Policy::Reject, &trusted);
            assert_eq!(report.applied, applied, "{results}");
        }
        let twice = b"From: a@red.test\r\nFrom: b@red.test\r\n\r\ny\r\n";
        let (other, _) = run(twice, "v=spf1 -all", "v=DMARC1; p=reject");
        let mut report = Report {
            arc: sealed(passed, ArcOutcome::Pass).arc,
            ..other
        };
        report.decide(Policy::Reject, std::slice::from_ref(&list));
        assert_eq!(report.applied, Policy::Reject);
    }

    #[test]
    fn the_null_reverse_path_is_the_helo_name() {
        let input = SpfInput {
            reverse_path: "",
            ..spf_input()
        };
        let (mut checks, mut answers) = (Checks::default(), Answers::default());
        while let Err(Need(questions)) = checks.advance_connection(&input, &answers) {
            for question in questions {
                let answer = answer(&question, "", "");
                answers.insert(question, answer);
            }
        }
        let outcome = checks.mail_from.unwrap();
        assert!(checks.helo.is_none());
        let result = spf_result(&outcome, "");
        assert_eq!(result.property("smtp", "helo"), Some("mx.red.test"));
    }

    /// RFC 6376 §8.2: what anyone may add to is not the signer's.
    #[test]
    fn a_signature_that_leaves_a_part_open_does_not_count() {
        let (report, _) = run(LETTER, "v=spf1 -all", "v=DMARC1; p=reject");
        assert_eq!(
            report.deciding().unwrap().reason,
            Some(DmarcReason::NothingVerified)
        );
        let mut signature = DkimResult {
            outcome: Outcome::Pass,
            domain: Domain::parse("red.test").ok(),
            selector: Some("s1".to_owned()),
            identity: None,
            algorithm: None,
            signature_start: None,
            notes: dkim::Notes::default(),
        };
        assert_eq!(identifiers(None, std::slice::from_ref(&signature)).len(), 1);
        signature.notes.unsigned_body_bytes = Some(1);
        assert_eq!(identifiers(None, std::slice::from_ref(&signature)).len(), 0);
        assert_eq!(dkim_result(&signature).result, "policy");
        signature.notes.unsigned_body_bytes = Some(0);
        assert_eq!(identifiers(None, std::slice::from_ref(&signature)).len(), 1);
        signature.notes.unsigned_double = true;
        assert_eq!(identifiers(None, std::slice::from_ref(&signature)).len(), 0);
        assert_eq!(dkim_result(&signature).result, "policy");
        signature.outcome = Outcome::TempError;
        assert!(!identifiers(None, std::slice::from_ref(&signature))[0].verified);
    }
}
