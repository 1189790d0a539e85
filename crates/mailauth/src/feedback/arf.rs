//! Complaints about letters in the Abuse Reporting Format (RFC 5965), with the reports of failed
//! authentication that are written in it (RFC 6591): read and written.
//!
//! Fields that are unknown are passed over (RFC 5965 §3.6), and of one that may stand only once the first
//! counts: mail programs and feedback loops are not strict. What a complaint says is a stranger's word.

use std::fmt::Write as _;
use std::net::IpAddr;

use base::{EmailAddress, Timestamp};
use message::header::parse_date;
use message::write::{HeaderWriter, format_date};
use message::{Field, Fields, Message};

use super::{FeedbackError, Kind, Report, Row, kept};

/// The most values of a field that may stand several times.
const VALUES_MAX: usize = 20;
/// The most incidents that one complaint may stand for; a larger number is not believed.
const INCIDENTS_MAX: u64 = 1_000_000;

/// What a report of failed authentication adds (RFC 6591 §3).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct AuthFailure {
    /// What failed: `dkim`, `spf`, `bodyhash`, `revoked`, `signature`, `adsp` or another word.
    pub kind: String,
    /// What became of the letter: `delivered`, `spam`, `policy`, `reject` or `other`.
    pub delivery_result: Option<String>,
    /// `d=` of the signature.
    pub dkim_domain: Option<String>,
    /// `s=`.
    pub dkim_selector: Option<String>,
    /// `i=`.
    pub dkim_identity: Option<String>,
    /// The SPF record that was used.
    pub spf_dns: Option<String>,
}

/// A complaint.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Complaint {
    /// `abuse`, `fraud`, `virus`, `not-spam`, `auth-failure`, `other` or a word of the registry, in lower
    /// case (RFC 5965 §3.5, RFC 6430).
    pub kind: String,
    /// The program that made it.
    pub user_agent: String,
    /// The reverse-path of the letter.
    pub mail_from: Option<String>,
    /// Whom the letter was for; often hidden.
    pub rcpt_to: Vec<String>,
    /// When the letter came to who complains.
    pub arrived_at: Option<Timestamp>,
    /// The server that took the letter.
    pub reporting_mta: Option<String>,
    /// Where the letter came from.
    pub source: Option<IpAddr>,
    /// How many letters of the kind it stands for.
    pub incidents: u64,
    /// What was found about the letter (RFC 8601), a value for each field.
    pub authentication_results: Vec<String>,
    /// Domains that it is about.
    pub reported_domains: Vec<String>,
    /// URIs that it is about.
    pub reported_uris: Vec<String>,
    /// Of `auth-failure`.
    pub failure: Option<AuthFailure>,
    /// The Message-ID of the letter, if the letter or its header is there.
    pub message_id: Option<String>,
    /// The author's address of the letter, if it is there.
    pub author: Option<EmailAddress>,
}

impl Complaint {
    /// Reads the complaint in a letter (RFC 5965 §2).
    ///
    /// # Errors
    /// [`FeedbackError::NotThere`] for a letter of another kind, [`FeedbackError::Malformed`] for one
    /// without what a complaint must have.
    pub fn from_letter(letter: &[u8]) -> Result<Self, FeedbackError> {
        let message = Message::parse(letter);
        let root = message.root();
        let is_feedback = root.is("multipart", "report")
            && root
                .param("report-type")
                .is_some_and(|kind| kind.eq_ignore_ascii_case("feedback-report"));
        if !is_feedback {
            return Err(FeedbackError::NotThere);
        }
        let missing = |what: &str| FeedbackError::Malformed(format!("it has no {what}"));
        let mut parts = root.children().iter();
        let report = parts
            .find(|part| part.is("message", "feedback-report"))
            .ok_or_else(|| missing("part message/feedback-report"))?;
        let mut complaint = Self::read(&message.decoded(report));
        if complaint.kind.is_empty() {
            return Err(missing("Feedback-Type"));
        }
        // RFC 5965 §2 (d): the letter, or its header.
        let original = parts.find(|part| {
            part.is("message", "rfc822") || part.is("message", "global") || {
                part.is("text", "rfc822-headers")
            }
        });
        if let Some(original) = original {
            complaint.look_at(&message.decoded(original));
        }
        Ok(complaint)
    }

    /// RFC 5965 §3: the fields of the machine-readable part.
    fn read(part: &[u8]) -> Self {
        let mut complaint = Self {
            incidents: 1,
            ..Self::default()
        };
        let mut failure = AuthFailure::default();
        for field in Fields::new(part) {
            complaint.take(&field, &mut failure);
        }
        if !failure.kind.is_empty() {
            complaint.failure = Some(failure);
        }
        complaint
    }

    fn take(&mut self, field: &Field<'_>, failure: &mut AuthFailure) {
        let value = kept(&field.raw_text());
        let path = || kept(value.trim_matches(['<', '>']));
        let first = |slot: &mut Option<String>, value: String| {
            slot.get_or_insert(value);
        };
        match String::from_utf8_lossy(field.name)
            .to_ascii_lowercase()
            .as_str()
        {
            "feedback-type" if self.kind.is_empty() => self.kind = value.to_ascii_lowercase(),
            "user-agent" if self.user_agent.is_empty() => self.user_agent = value,
            "original-mail-from" => first(&mut self.mail_from, path()),
            "original-rcpt-to" => add(&mut self.rcpt_to, path()),
            "arrival-date" | "received-date" if self.arrived_at.is_none() => {
                self.arrived_at = parse_date(&value).map(|date| date.timestamp);
            }
            // RFC 5965 §3.2: with the type of name before it, as in a delivery report.
            "reporting-mta" => {
                let name = value
                    .split_once(';')
                    .map_or(value.as_str(), |(_, name)| name);
                first(&mut self.reporting_mta, name.trim().to_owned());
            }
            "source-ip" if self.source.is_none() => self.source = value.parse().ok(),
            "incidents" => {
                let count = value.parse().unwrap_or(1_u64);
                self.incidents = count.clamp(1, INCIDENTS_MAX);
            }
            // Folded in another way it says the same.
            "authentication-results" => {
                let words: Vec<&str> = value.split_ascii_whitespace().collect();
                add(&mut self.authentication_results, words.join(" "));
            }
            "reported-domain" => add(&mut self.reported_domains, value.to_ascii_lowercase()),
            "reported-uri" => add(&mut self.reported_uris, value),
            "auth-failure" if failure.kind.is_empty() => failure.kind = value.to_ascii_lowercase(),
            "delivery-result" => first(&mut failure.delivery_result, value),
            "dkim-domain" => first(&mut failure.dkim_domain, value),
            "dkim-selector" => first(&mut failure.dkim_selector, value),
            "dkim-identity" => first(&mut failure.dkim_identity, value),
            "spf-dns" => first(&mut failure.spf_dns, value),
            _ => {}
        }
    }

    /// What the letter itself tells.
    fn look_at(&mut self, original: &[u8]) {
        let envelope = Message::parse(original);
        let envelope = envelope.envelope();
        self.message_id = envelope.id().map(|id| kept(&id));
        self.author = envelope.first_from().and_then(message::Mailbox::to_address);
    }

    /// The domains that it is about, those that it names itself before those of the letter.
    #[must_use]
    pub fn domains(&self) -> Vec<String> {
        let of_path = |path: &String| Some(path.rsplit_once('@')?.1.to_ascii_lowercase());
        let author = self.author.as_ref().map(|author| author.domain.to_string());
        let sender = self.mail_from.as_ref().and_then(of_path);
        let signer = self
            .failure
            .as_ref()
            .and_then(|failure| failure.dkim_domain.clone());
        let mut domains = self.reported_domains.clone();
        domains.extend([signer, author, sender].into_iter().flatten());
        domains
    }

    /// The same as a report of one row, about the first of its domains that `is_ours`, if there is one.
    #[must_use]
    pub fn report(&self, is_ours: impl Fn(&str) -> bool) -> Report {
        let domains = self.domains();
        let ours = domains.iter().find(|domain| is_ours(domain));
        let mut report = Report::empty(Kind::Complaint);
        report.organisation = match &self.reporting_mta {
            Some(name) => name.clone(),
            None => self.user_agent.clone(),
        };
        report.domain = ours
            .or_else(|| domains.first())
            .cloned()
            .unwrap_or_default();
        // A complaint has no id; the letter that it is about has one.
        report.id = self.message_id.clone().unwrap_or_default();
        report.begins_at = self.arrived_at.unwrap_or(Timestamp(0));
        report.ends_at = report.begins_at;
        let mut result = self.kind.clone();
        if let Some(failure) = &self.failure {
            let _ = write!(result, ": {}", failure.kind);
        }
        if let Some(mail_from) = &self.mail_from {
            let _ = write!(result, " from=<{mail_from}>");
        }
        report.add(Row {
            source: self
                .source
                .map(|source| source.to_string())
                .unwrap_or_default(),
            // RFC 6430: somebody says that a letter was none.
            good: self.kind == "not-spam",
            result,
            count: self.incidents,
        });
        report
    }

    /// The machine-readable part (RFC 5965 §3), lines of CRLF.
    #[must_use]
    pub fn fields(&self) -> String {
        let mut header = HeaderWriter::new()
            .raw("Feedback-Type", &self.kind)
            .raw("User-Agent", &self.user_agent)
            .raw("Version", "1");
        let mut one = |name: &str, value: Option<String>| {
            if let Some(value) = value {
                header = std::mem::take(&mut header).raw(name, &value);
            }
        };
        one(
            "Original-Mail-From",
            self.mail_from.as_ref().map(|path| format!("<{path}>")),
        );
        for path in &self.rcpt_to {
            one("Original-Rcpt-To", Some(format!("<{path}>")));
        }
        one("Arrival-Date", self.arrived_at.map(format_date));
        one(
            "Reporting-MTA",
            self.reporting_mta
                .as_ref()
                .map(|name| format!("dns; {name}")),
        );
        one("Source-IP", self.source.map(|source| source.to_string()));
        one(
            "Incidents",
            (self.incidents > 1).then(|| self.incidents.to_string()),
        );
        for results in &self.authentication_results {
            one("Authentication-Results", Some(results.clone()));
        }
        for domain in &self.reported_domains {
            one("Reported-Domain", Some(domain.clone()));
        }
        for uri in &self.reported_uris {
            one("Reported-URI", Some(uri.clone()));
        }
        if let Some(failure) = &self.failure {
            one("Auth-Failure", Some(failure.kind.clone()));
            one("Delivery-Result", failure.delivery_result.clone());
            one("DKIM-Domain", failure.dkim_domain.clone());
            one("DKIM-Identity", failure.dkim_identity.clone());
            one("DKIM-Selector", failure.dkim_selector.clone());
            one("SPF-DNS", failure.spf_dns.clone());
        }
        String::from_utf8_lossy(&header.finish()).into_owned()
    }

    /// The letter (RFC 5965 §2): a text for people, the fields, and the letter that it is about, which is
    /// given back as it came. `random` makes the boundary, which stands nowhere in them.
    #[must_use]
    pub fn to_letter(&self, about: &About<'_>, original: &[u8], random: u64) -> Vec<u8> {
        let fields = self.fields();
        let mut boundary = format!("=_feedback_{random:016x}");
        while contains(original, boundary.as_bytes()) || about.text.contains(&boundary) {
            boundary.push('_');
        }
        let is_ascii = original.is_ascii();
        let mut letter = HeaderWriter::new()
            .raw("Date", &format_date(about.at))
            .raw("From", &format!("<{}>", about.from))
            .raw("To", &format!("<{}>", about.to))
            .text("Subject", about.subject)
            .raw("Message-ID", &format!("<{}>", about.message_id))
            .raw("Auto-Submitted", "auto-generated")
            .raw("MIME-Version", "1.0")
            .raw(
                "Content-Type",
                &format!("multipart/report; report-type=feedback-report; boundary=\"{boundary}\""),
            )
            .finish();
        letter.extend_from_slice(
            format!(
                "\r\n--{boundary}\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\n{}\r\n\
                 --{boundary}\r\nContent-Type: message/feedback-report\r\n\r\n{fields}\r\n\
                 --{boundary}\r\nContent-Type: message/rfc822\r\nContent-Transfer-Encoding: {}\r\n\
                 Content-Disposition: inline\r\n\r\n",
                about.text,
                if is_ascii { "7bit" } else { "8bit" },
            )
            .as_bytes(),
        );
        letter.extend_from_slice(original);
        letter.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
        letter
    }
}

/// Who complains to whom.
#[derive(Clone, Debug)]
pub struct About<'a> {
    /// Now.
    pub at: Timestamp,
    /// Who complains.
    pub from: &'a EmailAddress,
    /// Who is to hear of it.
    pub to: &'a EmailAddress,
    /// The subject, which RFC 5965 §2 (g) wants to be that of the letter.
    pub subject: &'a str,
    /// The id of the complaint.
    pub message_id: &'a str,
    /// What people read: lines of ASCII with CRLF.
    pub text: &'a str,
}

fn add(values: &mut Vec<String>, value: String) {
    if values.len() < VALUES_MAX {
        values.push(value);
    }
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    memchr::memmem::find(bytes, part).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A letter with these fields as its machine-readable part.
    fn letter(fields: &str) -> Vec<u8> {
        let text = format!(
            "From: <abusedesk@example.com>\nDate: Thu, 8 Mar 2005 17:40:36 EDT\n\
             Subject: FW: Earn money\nTo: <abuse@example.net>\nMIME-Version: 1.0\n\
             Content-Type: multipart/report; report-type=feedback-report;\n    \
             boundary=\"part1_13d.2e68ed54_boundary\"\n\n\
             --part1_13d.2e68ed54_boundary\nContent-Type: text/plain; charset=\"US-ASCII\"\n\n\
             A complaint.\n\n\
             --part1_13d.2e68ed54_boundary\nContent-Type: message/feedback-report\n\n{fields}\n\
             --part1_13d.2e68ed54_boundary\nContent-Type: message/rfc822\n\
             Content-Disposition: inline\n\n\
             From: <somespammer@example.net>\nTo: <Undisclosed Recipients>\n\
             Subject: Earn money\nMessage-ID: <8787KJKJ3K4J3K4J3K4J3.mail@example.net>\n\n\
             Spam Spam Spam\n\n--part1_13d.2e68ed54_boundary--\n"
        );
        text.replace('\n', "\r\n").into_bytes()
    }

    /// RFC 5965 appendix B.1.
    #[test]
    fn the_simple_example() {
        let fields = "Feedback-Type: abuse\nUser-Agent: SomeGenerator/1.0\nVersion: 1\n";
        let complaint = Complaint::from_letter(&letter(fields)).unwrap();
        assert_eq!(
            (
                complaint.kind.as_str(),
                complaint.user_agent.as_str(),
                complaint.incidents
            ),
            ("abuse", "SomeGenerator/1.0", 1)
        );
        assert_eq!(
            complaint.message_id.as_deref(),
            Some("8787KJKJ3K4J3K4J3K4J3.mail@example.net")
        );
        assert_eq!(complaint.domains(), ["example.net"]);
        let report = complaint.report(|_| true);
        assert_eq!(
            (report.kind, report.good, report.bad),
            (Kind::Complaint, 0, 1)
        );
        assert_eq!(report.rows[0].result, "abuse");
    }

    /// RFC 5965 appendix B.2.
    const FULL: &str = "Feedback-Type: abuse
User-Agent: SomeGenerator/1.0
Version: 1
Original-Mail-From: <somespammer@example.net>
Original-Rcpt-To: <user@example.com>
Arrival-Date: Thu, 8 Mar 2005 14:00:00 EDT
Reporting-MTA: dns; mail.example.com
Source-IP: 192.0.2.1
Authentication-Results: mail.example.com;
    spf=fail smtp.mail=somespammer@example.com
Reported-Domain: example.net
Reported-Uri: http://example.net/earn_money.html
Reported-Uri: mailto:user@example.com
Removal-Recipient: user@example.com
";

    #[test]
    fn the_full_example() {
        let complaint = Complaint::from_letter(&letter(FULL)).unwrap();
        assert_eq!(
            complaint.mail_from.as_deref(),
            Some("somespammer@example.net")
        );
        assert_eq!(complaint.rcpt_to, ["user@example.com"]);
        let arrived = complaint.arrived_at.unwrap();
        assert_eq!(arrived.whole_seconds(), "2005-03-08T18:00:00Z");
        assert_eq!(complaint.reporting_mta.as_deref(), Some("mail.example.com"));
        assert_eq!(complaint.source, Some("192.0.2.1".parse().unwrap()));
        assert_eq!(
            complaint.authentication_results,
            ["mail.example.com; spf=fail smtp.mail=somespammer@example.com"]
        );
        assert_eq!(complaint.reported_domains, ["example.net"]);
        assert_eq!(
            complaint.reported_uris,
            [
                "http://example.net/earn_money.html",
                "mailto:user@example.com"
            ]
        );
        let report = complaint.report(|domain| domain == "example.net");
        assert_eq!(report.organisation, "mail.example.com");
        assert_eq!(report.domain, "example.net");
        assert_eq!(report.rows[0].source, "192.0.2.1");
        assert_eq!(
            report.rows[0].result,
            "abuse from=<somespammer@example.net>"
        );
    }

    /// RFC 6591 appendix B, and RFC 6430.
    #[test]
    fn failed_authentication_and_what_was_no_spam() {
        let fields = "Feedback-Type: auth-failure\nUser-Agent: SomeDKIMFilter/1.0\nVersion: 1\n\
            Original-Mail-From: <randomuser@example.net>\nOriginal-Rcpt-To: <user@example.com>\n\
            Received-Date: Thu, 8 Oct 2011 15:18:59 -0700 (PDT)\nSource-IP: 192.0.2.1\n\
            Authentication-Results: mail.example.com;\n  dkim=fail header.d=example.net\n\
            Reported-Domain: example.net\nDKIM-Domain: example.net\nAuth-Failure: bodyhash\n";
        let complaint = Complaint::from_letter(&letter(fields)).unwrap();
        let failure = complaint.failure.clone().unwrap();
        assert_eq!(failure.kind, "bodyhash");
        assert_eq!(failure.dkim_domain.as_deref(), Some("example.net"));
        assert!(complaint.arrived_at.is_some());
        assert!(
            complaint.report(|_| true).rows[0]
                .result
                .starts_with("auth-failure: bodyhash")
        );
        let none = "Feedback-Type: Not-Spam\nIncidents: 99999999999\nIncidents: x\n";
        let report = Complaint::from_letter(&letter(none))
            .unwrap()
            .report(|_| true);
        assert_eq!((report.good, report.bad), (1, 0));
    }

    #[test]
    fn what_is_written_is_read() {
        let mut complaint = Complaint::from_letter(&letter(FULL)).unwrap();
        complaint.incidents = 7;
        complaint.failure = Some(AuthFailure {
            kind: "spf".to_owned(),
            delivery_result: Some("reject".to_owned()),
            spf_dns: Some("txt : example.net : \"v=spf1 -all\"".to_owned()),
            ..AuthFailure::default()
        });
        let address = |text: &str| EmailAddress::parse(text).unwrap();
        let about = About {
            at: Timestamp(1_780_272_000_000),
            from: &address("postmaster@us.test"),
            to: &address("abuse@example.net"),
            subject: "Earn money",
            message_id: "1@us.test",
            text: "A complaint.\r\n",
        };
        // The first boundary stands in the letter, so another one is taken.
        let original = "From: <somespammer@example.net>\r\nSubject: \u{e4}\r\n\
            Message-ID: <8787KJKJ3K4J3K4J3K4J3.mail@example.net>\r\n\r\n\
            --=_feedback_0000000000000007\r\n";
        let letter = complaint.to_letter(&about, original.as_bytes(), 7);
        assert_eq!(Complaint::from_letter(&letter).unwrap(), complaint);
        assert!(super::super::looks_like_report(Fields::new(&letter)));
    }

    #[test]
    fn what_is_no_complaint() {
        let of = |letter: &[u8]| Complaint::from_letter(letter).unwrap_err();
        assert_eq!(of(b"Subject: x\r\n\r\ny\r\n"), FeedbackError::NotThere);
        let missing = of(&letter("User-Agent: x\n"));
        assert_eq!(
            missing.to_string(),
            "the report is malformed: it has no Feedback-Type"
        );
        let other = String::from_utf8(letter(FULL)).unwrap();
        let other = other.replace("message/feedback-report", "text/plain");
        assert!(matches!(of(other.as_bytes()), FeedbackError::Malformed(_)));
    }
}
