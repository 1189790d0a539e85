//! The evaluation of records (RFC 7208 §4.4 to §4.7, §5, §6), with its limits (§4.6.4).

use std::net::IpAddr;

use super::expand::Scene;
use super::macros::{MacroString, Place};
use super::record::{Directive, Hosts, Mechanism, Qualifier, Record, is_spf};
use super::{SpfReason, SpfResult};
use crate::dns::{Answer, Need, Question, RecordType, Records};
use crate::name::{is_within, question_name};
use crate::reverse::{Names, address_question, includes, names, shares};

/// RFC 7208 §4.6.4: terms of all records that ask the DNS.
const LOOKUPS_MAX: u32 = 10;
/// RFC 7208 §4.6.4: terms for which the DNS has nothing.
const VOID_LOOKUPS_MAX: u32 = 2;
/// RFC 7208 §4.6.4: MX records of one name.
const MX_MAX: usize = 10;
/// Bytes of an explanation that are kept; it ends up in a reply of SMTP.
const EXPLANATION_BYTES_MAX: usize = 500;

/// How a check ended.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) result: SpfResult,
    pub(super) mechanism: Option<String>,
    pub(super) reason: Option<SpfReason>,
    pub(super) explanation: Option<String>,
}

/// Checks the sender's domain.
pub(super) fn check_host(scene: &Scene<'_>) -> Result<Ended, Need> {
    let mut evaluation = Evaluation {
        scene,
        lookups: 0,
        void_lookups: 0,
    };
    let (result, reason) = match evaluation.record_of(scene.sender_domain) {
        Ok(Some(decision)) => {
            let explanation = match (&decision.result, &decision.explanation) {
                (SpfResult::Fail, Some((spec, domain))) => explain(scene, spec, domain)?,
                _ => None,
            };
            return Ok(Ended {
                result: decision.result,
                mechanism: decision.mechanism,
                reason: None,
                explanation,
            });
        }
        Ok(None) => (SpfResult::None, None),
        Err(Halt::Need(need)) => return Err(need),
        Err(Halt::Temporary(reason)) => (SpfResult::TempError, Some(reason)),
        Err(Halt::Permanent(reason)) => (SpfResult::PermError, Some(reason)),
    };
    Ok(Ended {
        result,
        mechanism: None,
        reason,
        explanation: None,
    })
}

/// Why an evaluation cannot go on.
enum Halt {
    Need(Need),
    Temporary(SpfReason),
    Permanent(SpfReason),
}

impl From<Need> for Halt {
    fn from(need: Need) -> Self {
        Self::Need(need)
    }
}

/// What a record says.
struct Decision {
    result: SpfResult,
    mechanism: Option<String>,
    /// The explanation's domain-spec, and the domain of its record.
    explanation: Option<(MacroString, String)>,
}

struct Evaluation<'a> {
    scene: &'a Scene<'a>,
    lookups: u32,
    void_lookups: u32,
}

impl Evaluation<'_> {
    /// What the record of a domain says; `None` if it has none. Each level of recursion has counted
    /// a look-up, so there are at most 11.
    fn record_of(&mut self, domain: &str) -> Result<Option<Decision>, Halt> {
        let Some(text) = self.find(domain)? else {
            return Ok(None);
        };
        let record = Record::parse(text).map_err(|term| {
            Halt::Permanent(SpfReason::BadTerm {
                domain: domain.to_owned(),
                term,
            })
        })?;
        for directive in &record.directives {
            if self.matches(directive, domain)? {
                return Ok(Some(Decision {
                    result: result_of(directive.qualifier),
                    mechanism: Some(directive.text.clone()),
                    explanation: record.explanation.map(|spec| (spec, domain.to_owned())),
                }));
            }
        }
        match &record.redirect {
            Some(spec) => self.redirect(spec, domain).map(Some),
            // RFC 7208 §4.7.
            None => Ok(Some(Decision {
                result: SpfResult::Neutral,
                mechanism: None,
                explanation: None,
            })),
        }
    }

    /// The one SPF record of a domain (RFC 7208 §4.4, §4.5).
    fn find(&self, domain: &str) -> Result<Option<&[u8]>, Halt> {
        let question = Question {
            name: domain.to_owned(),
            kind: RecordType::Txt,
        };
        let texts = match self.scene.answers.get(question)? {
            Answer::Found(Records::Txt(texts)) => texts,
            Answer::NoRecords | Answer::NoName => return Ok(None),
            Answer::Found(_) | Answer::Temporary => return Err(no_answer(domain)),
        };
        let mut records = texts.iter().filter(|text| is_spf(text));
        match (records.next(), records.next()) {
            (found, None) => Ok(found.map(Vec::as_slice)),
            (_, Some(_)) => Err(Halt::Permanent(SpfReason::SeveralRecords(
                domain.to_owned(),
            ))),
        }
    }

    /// RFC 7208 §6.1.
    fn redirect(&mut self, spec: &MacroString, domain: &str) -> Result<Decision, Halt> {
        self.count_lookup()?;
        let target = self.scene.target(spec, domain)?;
        self.named_record(target, domain)
    }

    /// The record that `include` or `redirect` leads to; there must be one.
    fn named_record(&mut self, target: Option<String>, domain: &str) -> Result<Decision, Halt> {
        let missing = |name: &str| Halt::Permanent(SpfReason::NoRecordAt(name.to_owned()));
        let Some(target) = target else {
            return Err(missing(domain));
        };
        self.record_of(&target)?.ok_or_else(|| missing(&target))
    }

    fn matches(&mut self, directive: &Directive, domain: &str) -> Result<bool, Halt> {
        let peer = self.scene.address;
        match &directive.mechanism {
            Mechanism::All => Ok(true),
            Mechanism::Ip4(network, prefix) => Ok(match peer {
                IpAddr::V4(v4) => {
                    shares(network.to_bits().into(), v4.to_bits().into(), 32, *prefix)
                }
                IpAddr::V6(_) => false,
            }),
            Mechanism::Ip6(network, prefix) => Ok(match peer {
                IpAddr::V4(_) => false,
                IpAddr::V6(v6) => shares(network.to_bits(), v6.to_bits(), 128, *prefix),
            }),
            Mechanism::Include(spec) => {
                self.count_lookup()?;
                let target = self.scene.target(spec, domain)?;
                // RFC 7208 §5.2: only a pass of the other record is a match.
                let decision = self.named_record(target, domain)?;
                Ok(decision.result == SpfResult::Pass)
            }
            Mechanism::A(hosts) => self.matches_a(hosts, domain),
            Mechanism::Mx(hosts) => self.matches_mx(hosts, domain),
            Mechanism::Ptr(spec) => self.matches_ptr(spec.as_ref(), domain),
            Mechanism::Exists(spec) => self.matches_exists(spec, domain),
        }
    }

    /// RFC 7208 §5.3.
    fn matches_a(&mut self, hosts: &Hosts, domain: &str) -> Result<bool, Halt> {
        self.count_lookup()?;
        let Some(target) = self.target_or(hosts.domain.as_ref(), domain)? else {
            return Ok(false);
        };
        let question = address_question(self.scene.address, &target);
        match self.scene.answers.get(question)? {
            Answer::Found(records) => Ok(self.includes(records, hosts)),
            Answer::NoRecords | Answer::NoName => self.count_void().map(|()| false),
            Answer::Temporary => Err(no_answer(&target)),
        }
    }

    /// RFC 7208 §5.4.
    fn matches_mx(&mut self, hosts: &Hosts, domain: &str) -> Result<bool, Halt> {
        self.count_lookup()?;
        let Some(target) = self.target_or(hosts.domain.as_ref(), domain)? else {
            return Ok(false);
        };
        let exchanges = match self.scene.answers.get(Question {
            name: target.clone(),
            kind: RecordType::Mx,
        })? {
            Answer::Found(Records::Mx(exchanges)) => exchanges,
            Answer::NoRecords | Answer::NoName => return self.count_void().map(|()| false),
            Answer::Found(_) | Answer::Temporary => return Err(no_answer(&target)),
        };
        if exchanges.len() > MX_MAX {
            return Err(Halt::Permanent(SpfReason::TooManyMx(target)));
        }
        let names = exchanges.iter().map(|(_, host)| host);
        let names = names.filter_map(|host| question_name(host));
        let questions: Vec<Question> = names
            .map(|name| address_question(self.scene.address, &name))
            .collect();
        let answers = self.scene.answers.get_all(questions.iter().cloned())?;
        for (question, answer) in questions.iter().zip(answers) {
            match answer {
                Answer::Found(records) if self.includes(records, hosts) => return Ok(true),
                Answer::Found(_) | Answer::NoRecords | Answer::NoName => {}
                Answer::Temporary => return Err(no_answer(&question.name)),
            }
        }
        Ok(false)
    }

    /// RFC 7208 §5.5: whatever goes wrong here is no match.
    fn matches_ptr(&mut self, spec: Option<&MacroString>, domain: &str) -> Result<bool, Halt> {
        self.count_lookup()?;
        let Some(target) = self.target_or(spec, domain)? else {
            return Ok(false);
        };
        match names(self.scene.address, self.scene.answers)? {
            Names::Found { valid: names, .. } => {
                Ok(names.iter().any(|name| is_within(name, &target)))
            }
            Names::Void => self.count_void().map(|()| false),
            Names::Unknown => Ok(false),
        }
    }

    /// RFC 7208 §5.7: an A record of any value, also for a peer with an IPv6 address.
    fn matches_exists(&mut self, spec: &MacroString, domain: &str) -> Result<bool, Halt> {
        self.count_lookup()?;
        let Some(name) = self.scene.target(spec, domain)? else {
            return Ok(false);
        };
        let kind = RecordType::A;
        match self.scene.answers.get(Question {
            name: name.clone(),
            kind,
        })? {
            Answer::Found(_) => Ok(true),
            Answer::NoRecords | Answer::NoName => self.count_void().map(|()| false),
            Answer::Temporary => Err(no_answer(&name)),
        }
    }

    fn target_or(&self, spec: Option<&MacroString>, domain: &str) -> Result<Option<String>, Need> {
        match spec {
            Some(spec) => self.scene.target(spec, domain),
            None => Ok(Some(domain.to_owned())),
        }
    }

    fn includes(&self, records: &Records, hosts: &Hosts) -> bool {
        let peer = self.scene.address;
        includes(records, peer, hosts.prefix_v4, hosts.prefix_v6)
    }

    fn count_lookup(&mut self) -> Result<(), Halt> {
        self.lookups += 1;
        if self.lookups > LOOKUPS_MAX {
            return Err(Halt::Permanent(SpfReason::TooManyLookups));
        }
        Ok(())
    }

    fn count_void(&mut self) -> Result<(), Halt> {
        self.void_lookups += 1;
        if self.void_lookups > VOID_LOOKUPS_MAX {
            return Err(Halt::Permanent(SpfReason::TooManyVoidLookups));
        }
        Ok(())
    }
}

fn no_answer(name: &str) -> Halt {
    Halt::Temporary(SpfReason::NoAnswer(name.to_owned()))
}

fn result_of(qualifier: Qualifier) -> SpfResult {
    match qualifier {
        Qualifier::Pass => SpfResult::Pass,
        Qualifier::Fail => SpfResult::Fail,
        Qualifier::SoftFail => SpfResult::SoftFail,
        Qualifier::Neutral => SpfResult::Neutral,
    }
}

/// RFC 7208 §6.2: whatever is wrong with an explanation, there is none.
fn explain(scene: &Scene<'_>, spec: &MacroString, domain: &str) -> Result<Option<String>, Need> {
    let Some(name) = scene.target(spec, domain)? else {
        return Ok(None);
    };
    let kind = RecordType::Txt;
    let Answer::Found(Records::Txt(texts)) = scene.answers.get(Question { name, kind })? else {
        return Ok(None);
    };
    let [text] = texts.as_slice() else {
        return Ok(None);
    };
    let parsed = std::str::from_utf8(text)
        .ok()
        .and_then(|text| MacroString::parse(text, Place::Explanation));
    let Some(parsed) = parsed else {
        return Ok(None);
    };
    let mut text = scene.expand(&parsed, domain)?;
    let printable = text.bytes().all(|b| b.is_ascii_graphic() || b == b' ');
    if !printable || text.trim().is_empty() {
        return Ok(None);
    }
    text.truncate(EXPLANATION_BYTES_MAX);
    Ok(Some(text))
}
