//! Writes DMARC aggregate reports: XML of RFC 9990 §3.1, from records that were counted.
//!
//! A record is kept as text until the report is written; two letters that are alike have the same
//! text.

use std::fmt::Write as _;
use std::net::IpAddr;

use serde_json::{Value, json};

use crate::dmarc::{DmarcRecord, Policy};

/// The namespace of RFC 9990 §7.1.
const NAMESPACE: &str = "urn:ietf:params:xml:ns:dmarc-2.0";
/// The most signatures of a record; RFC 9990 §3.1.3 wants no more than 100, real letters have up to 5.
const SIGNATURES_MAX: usize = 10;
/// The most bytes of a record as text; signatures of the least weight are left off.
const RECORD_BYTES_MAX: usize = 2_048;
/// The most bytes of a remark for people.
const REMARK_BYTES_MAX: usize = 100;

/// A signature and what became of it; the results in the words of RFC 8601 §2.7.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Signature {
    /// `d=`.
    pub domain: String,
    /// `s=`.
    pub selector: String,
    /// The result.
    pub result: String,
    /// Why, for people; empty if there is nothing to say.
    pub remark: String,
}

/// Letters that are alike but for the address that they came from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record {
    /// What was done: `none`, `pass` (nothing, where the policy is stricter), `quarantine` or `reject`.
    pub disposition: String,
    /// Whether a DKIM signature was right and aligned.
    pub dkim_aligned: bool,
    /// Whether SPF passed and was aligned.
    pub spf_aligned: bool,
    /// Why what was done is not the policy: a type of RFC 9990 §3.1.6, and a remark.
    pub reasons: Vec<(String, String)>,
    /// The domain of From.
    pub header_from: String,
    /// The domain of the reverse-path; empty for the null one.
    pub envelope_from: String,
    /// The signatures, those of most weight first.
    pub signatures: Vec<Signature>,
    /// The domain that SPF was checked for, the result, and a remark.
    pub spf: (String, String, String),
}

impl Record {
    /// The record as a text of bounded length.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut signatures = self.signatures.len().min(SIGNATURES_MAX);
        loop {
            let text = self.json(&self.signatures[..signatures]).to_string();
            if text.len() <= RECORD_BYTES_MAX || signatures == 0 {
                return text;
            }
            signatures -= 1;
        }
    }

    fn json(&self, signatures: &[Signature]) -> Value {
        let signatures: Vec<Value> = signatures
            .iter()
            .map(|one| json!([one.domain, one.selector, one.result, shortened(&one.remark)]))
            .collect();
        let (domain, result, remark) = &self.spf;
        json!({
            "disposition": self.disposition,
            "aligned": [self.dkim_aligned, self.spf_aligned],
            "reasons": self.reasons.iter().map(|(kind, remark)| [kind, shortened(remark)])
                .collect::<Vec<_>>(),
            "from": [self.header_from, self.envelope_from],
            "dkim": signatures,
            "spf": [domain, result, shortened(remark)],
        })
    }

    /// Reads what [`Self::to_text`] has written; `None` for anything else.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        let json: Value = serde_json::from_str(text).ok()?;
        let string = |value: &Value| value.as_str().map(str::to_owned);
        let signature = |one: &Value| {
            Some(Signature {
                domain: string(&one[0])?,
                selector: string(&one[1])?,
                result: string(&one[2])?,
                remark: string(&one[3])?,
            })
        };
        let reason = |one: &Value| Some((string(&one[0])?, string(&one[1])?));
        let spf = &json["spf"];
        Some(Self {
            disposition: string(&json["disposition"])?,
            dkim_aligned: json["aligned"][0].as_bool()?,
            spf_aligned: json["aligned"][1].as_bool()?,
            reasons: json["reasons"]
                .as_array()?
                .iter()
                .map(reason)
                .collect::<Option<_>>()?,
            header_from: string(&json["from"][0])?,
            envelope_from: string(&json["from"][1])?,
            signatures: json["dkim"]
                .as_array()?
                .iter()
                .map(signature)
                .collect::<Option<_>>()?,
            spf: (string(&spf[0])?, string(&spf[1])?, string(&spf[2])?),
        })
    }
}

/// Who reports, and about what.
#[derive(Clone, Debug)]
pub struct About<'a> {
    /// The name of the organisation that reports.
    pub organisation: &'a str,
    /// How it is reached.
    pub contact: &'a str,
    /// The id of the report: letters and digits.
    pub id: &'a str,
    /// The program that reports.
    pub generator: &'a str,
    /// The first and the last second of the time that it is about, since 1970.
    pub seconds: (i64, i64),
    /// The domain whose record holds the policy.
    pub domain: &'a str,
    /// The record.
    pub policy: &'a DmarcRecord,
}

/// Writes a report of one policy; each record with its source and the count of its letters.
#[must_use]
pub fn write(about: &About<'_>, records: &[(IpAddr, u64, Record)]) -> String {
    let mut xml = Xml(String::new());
    xml.0
        .push_str("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    xml.within(&format!("feedback xmlns=\"{NAMESPACE}\""), |xml| {
        xml.text("version", "1.0");
        xml.within("report_metadata", |xml| metadata(xml, about));
        xml.within("policy_published", |xml| published(xml, about));
        for (source, count, record) in records {
            xml.within("record", |xml| write_record(xml, (*source, *count), record));
        }
    });
    xml.0
}

fn metadata(xml: &mut Xml, about: &About<'_>) {
    xml.text("org_name", about.organisation);
    xml.text("email", about.contact);
    xml.text("report_id", about.id);
    xml.within("date_range", |xml| {
        xml.text("begin", &about.seconds.0.to_string());
        xml.text("end", &about.seconds.1.to_string());
    });
    xml.text("generator", about.generator);
}

/// RFC 9990 §3.1.1.5: what the record does not say has its default.
fn published(xml: &mut Xml, about: &About<'_>) {
    let policy = about.policy;
    let mode = |strict: bool| if strict { "s" } else { "r" };
    let below = policy.subdomain_policy.unwrap_or(policy.policy);
    xml.text("domain", about.domain);
    xml.text("discovery_method", "treewalk");
    xml.text("p", policy.policy.word());
    xml.text("sp", below.word());
    xml.text("np", policy.missing_policy.unwrap_or(below).word());
    xml.text("fo", &policy.failure_options);
    xml.text("adkim", mode(policy.strict_dkim));
    xml.text("aspf", mode(policy.strict_spf));
    xml.text("testing", if policy.testing { "y" } else { "n" });
}

fn write_record(xml: &mut Xml, (source, count): (IpAddr, u64), record: &Record) {
    let result = |pass: bool| if pass { "pass" } else { "fail" };
    xml.within("row", |xml| {
        xml.text("source_ip", &source.to_canonical().to_string());
        xml.text("count", &count.to_string());
        xml.within("policy_evaluated", |xml| {
            xml.text("disposition", &record.disposition);
            xml.text("dkim", result(record.dkim_aligned));
            xml.text("spf", result(record.spf_aligned));
            for (kind, remark) in &record.reasons {
                xml.within("reason", |xml| {
                    xml.text("type", kind);
                    xml.remark("comment", remark);
                });
            }
        });
    });
    xml.within("identifiers", |xml| {
        xml.text("header_from", &record.header_from);
        xml.text("envelope_from", &record.envelope_from);
    });
    xml.within("auth_results", |xml| {
        for signature in &record.signatures {
            xml.within("dkim", |xml| {
                xml.text("domain", &signature.domain);
                xml.text("selector", &signature.selector);
                xml.text("result", &signature.result);
                xml.remark("human_result", &signature.remark);
            });
        }
        let (domain, result, remark) = &record.spf;
        xml.within("spf", |xml| {
            xml.text("domain", domain);
            xml.text("scope", "mfrom");
            xml.text("result", result);
            xml.remark("human_result", remark);
        });
    });
}

/// What was done with a letter, in the words of RFC 9990: one that passes a policy that asks for
/// something is `pass`.
#[must_use]
pub fn disposition(passes: bool, policy: Policy, applied: Policy) -> &'static str {
    match (passes, policy, applied) {
        (true, Policy::Quarantine | Policy::Reject, Policy::None) => "pass",
        (_, _, applied) => applied.word(),
    }
}

/// XML that is being written, two spaces deeper with each level.
struct Xml(String);

impl Xml {
    /// An element that holds others.
    fn within(&mut self, tag: &str, content: impl FnOnce(&mut Self)) {
        self.0.push_str(&format!("<{tag}>\n"));
        content(self);
        let name = tag.split(' ').next().unwrap_or(tag);
        self.0.push_str(&format!("</{name}>\n"));
    }

    /// An element that holds a text.
    fn text(&mut self, name: &str, text: &str) {
        // Writing to a String cannot fail.
        let _ = write!(self.0, "<{name}>");
        for c in text.chars() {
            match c {
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '&' => self.0.push_str("&amp;"),
                // XML 1.0 §2.2 has no place for control characters and these two.
                c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => self.0.push('?'),
                c => self.0.push(c),
            }
        }
        let _ = writeln!(self.0, "</{name}>");
    }

    /// A text for people, if there is one.
    fn remark(&mut self, name: &str, text: &str) {
        if !text.is_empty() {
            self.text(name, text);
        }
    }
}

fn shortened(text: &str) -> &str {
    let mut end = text.len().min(REMARK_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feedback::{Kind, Report};

    fn record() -> Record {
        Record {
            disposition: "none".to_owned(),
            dkim_aligned: false,
            spf_aligned: true,
            reasons: vec![("local_policy".to_owned(), "a < b & \u{1}c".to_owned())],
            header_from: "a.red.test".to_owned(),
            envelope_from: String::new(),
            signatures: vec![Signature {
                domain: "x.test".to_owned(),
                selector: "s1".to_owned(),
                result: "fail".to_owned(),
                remark: "the body has changed".to_owned(),
            }],
            spf: ("red.test".to_owned(), "pass".to_owned(), String::new()),
        }
    }

    fn report(records: &[(IpAddr, u64, Record)]) -> String {
        let policy = "v=DMARC1; p=reject; adkim=s; t=y";
        let about = About {
            organisation: "mx.us.test",
            contact: "postmaster@us.test",
            id: "r1",
            generator: "Pennyblack",
            seconds: (1_764_028_800, 1_764_115_199),
            domain: "red.test",
            policy: &DmarcRecord::parse(policy.as_bytes()).unwrap(),
        };
        write(&about, records)
    }

    #[test]
    fn what_is_written_is_read() {
        let v4: IpAddr = "::ffff:192.0.2.1".parse().unwrap();
        let mut failed = record();
        failed.spf_aligned = false;
        let xml = report(&[
            (v4, 3, record()),
            ("2001:db8::1".parse().unwrap(), 2, failed),
        ]);
        let read = Report::from_file(xml.as_bytes()).unwrap();
        assert_eq!((read.kind, read.good, read.bad), (Kind::Dmarc, 3, 2));
        assert_eq!(
            (
                read.organisation.as_str(),
                read.id.as_str(),
                read.domain.as_str()
            ),
            ("mx.us.test", "r1", "red.test")
        );
        assert_eq!(read.begins_at.secs(), 1_764_028_800);
        assert_eq!(read.rows[0].source, "192.0.2.1");
        assert_eq!(read.rows[1].source, "2001:db8::1");
        assert_eq!(
            read.rows[0].result,
            "dkim=fail spf=pass disposition=none from=a.red.test"
        );
        for part in [
            "<comment>a &lt; b &amp; ?c</comment>",
            "<sp>reject</sp>\n<np>reject</np>\n<fo>0</fo>\n<adkim>s</adkim>\n<aspf>r</aspf>\n\
             <testing>y</testing>",
            "<envelope_from></envelope_from>",
        ] {
            assert!(xml.contains(part), "{part} is not in {xml}");
        }
    }

    #[test]
    fn a_record_is_kept_as_text_of_bounded_length() {
        assert_eq!(Record::from_text(&record().to_text()), Some(record()));
        assert_eq!(Record::from_text("{}"), None);
        let mut long = record();
        long.signatures = vec![record().signatures.remove(0); SIGNATURES_MAX + 1];
        let read = Record::from_text(&long.to_text()).unwrap();
        assert_eq!(read.signatures.len(), SIGNATURES_MAX);
        for signature in &mut long.signatures {
            signature.domain = "x".repeat(250);
            signature.remark = "ä".repeat(200);
        }
        let text = long.to_text();
        assert!(text.len() <= RECORD_BYTES_MAX, "{}", text.len());
        let read = Record::from_text(&text).unwrap();
        assert!((1..SIGNATURES_MAX).contains(&read.signatures.len()));
        assert_eq!(read.signatures[0].remark, "ä".repeat(50));
    }

    #[test]
    fn dispositions() {
        use Policy::{None, Quarantine, Reject};
        assert_eq!(disposition(true, None, None), "none");
        assert_eq!(disposition(true, Reject, None), "pass");
        assert_eq!(disposition(false, Reject, Quarantine), "quarantine");
        assert_eq!(disposition(false, Reject, None), "none");
    }
}
