//! The DNS tree walk (RFC 9989 §4.10): which records stand at a domain and above it, and which of
//! these domains is the organisation's.

use super::record::{DmarcRecord, PublicSuffix};
use crate::dns::{Answer, Answers, Need, Question, RecordType, Records};
use crate::name::question_name;

/// RFC 9989 §4.10: questions of one walk at most.
const QUERIES_MAX: usize = 8;

/// A record and where it was found.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) domain: String,
    pub(super) record: DmarcRecord,
}

/// Why a walk cannot go on.
pub(super) enum Halt {
    Need(Need),
    /// The DNS did not answer for this domain.
    Temporary(String),
}

impl From<Need> for Halt {
    fn from(need: Need) -> Self {
        Self::Need(need)
    }
}

/// The one DMARC record of a domain; several are as none (RFC 9989 §4.10, step 2).
pub(super) fn record_at(answers: &Answers, domain: &str) -> Result<Option<Found>, Halt> {
    let Some(question) = question(domain) else {
        return Ok(None);
    };
    let texts = match answers.get(question)? {
        Answer::Found(Records::Txt(texts)) => texts,
        Answer::NoRecords | Answer::NoName => return Ok(None),
        Answer::Found(_) | Answer::Temporary => return Err(Halt::Temporary(domain.to_owned())),
    };
    let mut records = texts.iter().filter_map(|text| DmarcRecord::parse(text));
    match (records.next(), records.next()) {
        (Some(record), None) => Ok(Some(Found {
            domain: domain.to_owned(),
            record,
        })),
        (None, _) | (Some(_), Some(_)) => Ok(None),
    }
}

/// The records from a domain up to the top, or up to one that says what it is.
pub(super) fn walk(answers: &Answers, start: &str) -> Result<Vec<Found>, Halt> {
    let names = names(start);
    let mut records = Vec::new();
    for (position, name) in names.iter().enumerate() {
        let found = match record_at(answers, name) {
            // What is still to be asked is asked at once: the top is seldom reached in vain.
            Err(Halt::Need(_)) => {
                let rest = names[position..].iter().filter_map(|name| question(name));
                answers.get_all(rest)?;
                continue;
            }
            other => other?,
        };
        if let Some(found) = found {
            let says = found.record.public_suffix != PublicSuffix::Unknown;
            records.push(found);
            if says {
                break;
            }
        }
    }
    Ok(records)
}

/// RFC 9989 §4.10.2: the organisational domain of where a walk started.
pub(super) fn organisation(start: &str, records: &[Found]) -> String {
    for found in records {
        match found.record.public_suffix {
            PublicSuffix::No => return found.domain.clone(),
            PublicSuffix::Yes if found.domain != start => {
                let labels = found.domain.split('.').count() + 1;
                return last_labels(start, labels).to_owned();
            }
            PublicSuffix::Yes | PublicSuffix::Unknown => {}
        }
    }
    // The walk goes upwards, so the last is the one with the fewest labels.
    let last = records.last().map(|found| found.domain.as_str());
    last.unwrap_or(start).to_owned()
}

/// The domains of a walk: the start, and what is left of it after labels are taken off.
fn names(start: &str) -> Vec<&str> {
    let labels = start.split('.').count();
    let above = (labels - 1).min(QUERIES_MAX - 1);
    let above = (1..=above).rev().map(|count| last_labels(start, count));
    std::iter::once(start).chain(above).collect()
}

fn question(domain: &str) -> Option<Question> {
    Some(Question {
        name: question_name(&format!("_dmarc.{domain}"))?,
        kind: RecordType::Txt,
    })
}

/// The last `count` labels of a name.
fn last_labels(name: &str, count: usize) -> &str {
    match name.rmatch_indices('.').nth(count.saturating_sub(1)) {
        Some((dot, _)) => &name[dot + 1..],
        None => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 9989 §4.10 has this list.
    #[test]
    fn long_names_are_cut_to_eight_questions() {
        assert_eq!(
            names("a.b.c.d.e.f.g.h.i.j.mail.example.com"),
            [
                "a.b.c.d.e.f.g.h.i.j.mail.example.com",
                "g.h.i.j.mail.example.com",
                "h.i.j.mail.example.com",
                "i.j.mail.example.com",
                "j.mail.example.com",
                "mail.example.com",
                "example.com",
                "com",
            ]
        );
        assert_eq!(names("a.b.c.d.e.f.g.test").len(), 8);
        assert_eq!(names("a.test"), ["a.test", "test"]);
        assert_eq!(names("test"), ["test"]);
    }

    /// The examples of RFC 9989 §4.10.2.
    #[test]
    fn the_organisation_is_chosen_by_the_rules() {
        let found = |domain: &str, text: &str| Found {
            domain: domain.to_owned(),
            record: DmarcRecord::parse(text.as_bytes()).unwrap(),
        };
        let start = "a.mail.example.com";
        let plain = "v=DMARC1";
        let two = [
            found("mail.example.com", plain),
            found("example.com", plain),
        ];
        assert_eq!(organisation(start, &two), "example.com");
        let says_no = [found("mail.example.com", "v=DMARC1;psd=n")];
        assert_eq!(organisation(start, &says_no), "mail.example.com");
        let suffix = [found("com", "v=DMARC1;psd=y")];
        assert_eq!(organisation(start, &suffix), "example.com");
        let below = [found("example.com", "v=DMARC1;psd=y")];
        assert_eq!(organisation(start, &below), "mail.example.com");
        // A public suffix that writes itself is its own organisation.
        assert_eq!(organisation("example.com", &below), "example.com");
        assert_eq!(organisation(start, &[]), start);
    }
}
