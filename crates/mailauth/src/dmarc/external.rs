//! Whether reports about a domain may go to a place outside of its organisation (RFC 9990 §4): only if
//! that place says so in the DNS. Else anybody could have reports poured over anybody.

use super::record::{DmarcRecord, ReportUri};
use super::walk::{Halt, organisation, record_at, walk};
use crate::dns::{Answer, Answers, Need, Question, RecordType, Records};
use crate::name::question_name;

/// Where reports may go.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Destination {
    /// To this place, which need not be the one that was asked for.
    Yes(ReportUri),
    /// Not there.
    No,
    /// The DNS gave no answer; another time it may.
    Unknown,
}

/// Decides for one URI of the record that stands at `policy_domain`. Places that are no mailbox are
/// not known here and get nothing.
///
/// # Errors
/// [`Need`] while answers are missing.
pub fn destination(
    policy_domain: &str,
    uri: &ReportUri,
    answers: &Answers,
) -> Result<Destination, Need> {
    let Some(mailbox) = uri.mailbox() else {
        return Ok(Destination::No);
    };
    let host = mailbox.domain.as_str();
    match decide(policy_domain, uri, host, answers) {
        Ok(destination) => Ok(destination),
        Err(Halt::Need(need)) => Err(need),
        Err(Halt::Temporary(_)) => Ok(Destination::Unknown),
    }
}

/// Where the reports about a policy domain go now.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Destinations {
    /// The places, in the order of the record.
    pub places: Vec<ReportUri>,
    /// Places of the record that get nothing.
    pub refused: Vec<ReportUri>,
    /// The DNS gave no answer for some of them, or for the record.
    pub unknown: bool,
}

/// Reads the record of a policy domain, and decides for each of its URIs.
///
/// # Errors
/// [`Need`] while answers are missing.
pub fn destinations(policy_domain: &str, answers: &Answers) -> Result<Destinations, Need> {
    let mut all = Destinations::default();
    let record = match record_at(answers, policy_domain) {
        Ok(Some(found)) => found.record,
        Ok(None) => return Ok(all),
        Err(Halt::Need(need)) => return Err(need),
        Err(Halt::Temporary(_)) => {
            all.unknown = true;
            return Ok(all);
        }
    };
    for uri in &record.aggregate_reports {
        match destination(policy_domain, uri, answers)? {
            Destination::Yes(place) if !all.places.contains(&place) => all.places.push(place),
            Destination::Yes(_) => {}
            Destination::No => all.refused.push(uri.clone()),
            Destination::Unknown => all.unknown = true,
        }
    }
    Ok(all)
}

fn decide(
    policy_domain: &str,
    uri: &ReportUri,
    host: &str,
    answers: &Answers,
) -> Result<Destination, Halt> {
    if policy_domain == host {
        return Ok(Destination::Yes(uri.clone()));
    }
    let own = organisation(policy_domain, &walk(answers, policy_domain)?);
    if own == organisation(host, &walk(answers, host)?) {
        return Ok(Destination::Yes(uri.clone()));
    }
    // Steps 2 to 4: a name that is too long confirms nothing.
    let Some(name) = question_name(&format!("{policy_domain}._report._dmarc.{host}")) else {
        return Ok(Destination::No);
    };
    let question = Question {
        name,
        kind: RecordType::Txt,
    };
    let texts = match answers.get(question)? {
        Answer::Found(Records::Txt(texts)) => texts,
        Answer::NoRecords | Answer::NoName => return Ok(Destination::No),
        Answer::Found(_) | Answer::Temporary => return Err(Halt::Temporary(host.to_owned())),
    };
    // Steps 6 to 8: one of the version is enough.
    let records: Vec<DmarcRecord> = texts
        .iter()
        .filter_map(|text| DmarcRecord::parse(text))
        .collect();
    if records.is_empty() {
        return Ok(Destination::No);
    }
    // Step 9: they may go elsewhere at the same host; one who names another gets nothing at all.
    let mut others = records
        .into_iter()
        .flat_map(|record| record.aggregate_reports);
    match others.next() {
        None => Ok(Destination::Yes(uri.clone())),
        Some(other) => {
            let same_host = other.mailbox().is_some_and(|to| to.domain.as_str() == host);
            Ok(if same_host {
                Destination::Yes(other)
            } else {
                Destination::No
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ZONE: &[(&str, &str)] = &[
        ("_dmarc.example.test", "v=DMARC1; p=reject"),
        ("blue.example.test._report._dmarc.red.test", "v=DMARC1"),
        (
            "over.test._report._dmarc.red.test",
            "v=DMARC1; rua=mailto:other@red.test",
        ),
        (
            "loop.test._report._dmarc.red.test",
            "v=DMARC1; rua=mailto:victim@else.test",
        ),
        ("text.test._report._dmarc.red.test", "hello"),
        ("slow.test._report._dmarc.red.test", "SERVFAIL"),
    ];

    fn ask(policy_domain: &str, uri: &str) -> Destination {
        let text = format!("v=DMARC1; rua={uri}");
        let uri = DmarcRecord::parse(text.as_bytes())
            .unwrap()
            .aggregate_reports
            .remove(0);
        let mut answers = Answers::default();
        loop {
            match destination(policy_domain, &uri, &answers) {
                Ok(found) => return found,
                Err(Need(questions)) => {
                    for question in questions {
                        let found = ZONE.iter().find(|(name, _)| *name == question.name);
                        let answer = match found {
                            Some((_, "SERVFAIL")) => Answer::Temporary,
                            Some((_, text)) => {
                                Answer::Found(Records::Txt(vec![text.as_bytes().to_vec()]))
                            }
                            None => Answer::NoName,
                        };
                        answers.insert(question, answer);
                    }
                }
            }
        }
    }

    fn to(uri: &str) -> Destination {
        Destination::Yes(ReportUri {
            uri: uri.to_owned(),
            bytes_max: None,
        })
    }

    #[test]
    fn the_own_organisation_needs_no_word() {
        let own = "mailto:r@mail.example.test";
        assert_eq!(ask("blue.example.test", own), to(own));
        assert_eq!(
            ask("none.test", "mailto:r@none.test"),
            to("mailto:r@none.test")
        );
    }

    /// RFC 9990 §4, steps 1 to 9.
    #[test]
    fn others_are_asked() {
        let red = "mailto:r@red.test";
        assert_eq!(ask("blue.example.test", red), to(red));
        assert_eq!(ask("over.test", red), to("mailto:other@red.test"));
        assert_eq!(ask("slow.test", red), Destination::Unknown);
        let long = format!("{}.test", ["a"; 120].join("."));
        for no in [
            "loop.test",
            "text.test",
            "none.test",
            "green.example.test",
            &long,
        ] {
            assert_eq!(ask(no, red), Destination::No, "{no}");
        }
        assert_eq!(
            ask("blue.example.test", "https://red.test/"),
            Destination::No
        );
    }
}
