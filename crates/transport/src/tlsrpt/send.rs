//! Sends the reports of a day: to each domain that publishes where it wants them (RFC 8460 §3), by
//! mail or by HTTPS.

use std::io::Write as _;
use std::time::Duration;

use base::ports::{DnsError, Entropy, HttpFetch, HttpRequest, Resolver};
use base::{Domain, EmailAddress, Timestamp};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use message::write::{HeaderWriter, format_date};
use store::{
    DsnReturn, Handling, Note, Notify, QueueRecipient, Step, Store, StoreError, Submission,
    TlsOutcome, TlsWish,
};
use tracing::{info, warn};

use super::report::{self, About};

/// Domains that are read from the store at once.
const PAGE: usize = 100;
/// Days that a report is tried; RFC 8460 §4.5 wants at least one more than the first.
const DAYS_TRIED: i64 = 2;
/// Most places that one domain's report goes to.
const PLACES_MAX: usize = 4;
/// How long a report waits in the queue.
const LIFETIME: Duration = Duration::from_secs(2 * 86_400);
/// The longest answer of a web server that takes a report.
const ANSWER_BYTES_MAX: usize = 4 * 1024;
/// The most characters of a base64 line (RFC 2045 §6.8).
const LINE_CHARS: usize = 76;

/// Sends reports.
pub struct Sender<'a> {
    /// Where counts are and letters go.
    pub store: &'a Store,
    /// Finds where reports go.
    pub resolver: &'a dyn Resolver,
    /// Posts reports.
    pub http: &'a dyn HttpFetch,
    /// For ids and boundaries.
    pub entropy: &'a dyn Entropy,
    /// Our host name.
    pub hostname: &'a Domain,
    /// The domain of ours that reports.
    pub from: &'a Domain,
    /// Now.
    pub now: Timestamp,
}

/// A place that wants reports.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    Mail(EmailAddress),
    Web {
        host: Domain,
        port: u16,
        path: String,
    },
}

impl Sender<'_> {
    /// Sends the reports of the days before today, and forgets what was sent or is too old. How many
    /// reports were sent. Done twice, it sends no report twice: a domain's counts go once its report
    /// is in the queue.
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
                    .domains_with_tls_outcomes(day, after.as_ref(), PAGE);
                let domains = domains.await?;
                let Some(last) = domains.last() else { break };
                after = Some(last.clone());
                for domain in &domains {
                    sent += usize::from(self.send(day, domain).await?);
                }
            }
        }
        self.store
            .forget_tls_outcomes(today - DAYS_TRIED - 1, None)
            .await?;
        Ok(sent)
    }

    /// One report; whether it was sent.
    async fn send(&self, day: i64, domain: &Domain) -> Result<bool, StoreError> {
        let places = match self.places(domain).await {
            Ok(places) => places,
            // Asked again tomorrow, while the counts are kept.
            Err(DnsError::Temporary(_)) => return Ok(false),
            Err(DnsError::NoRecords | DnsError::NoName) => Vec::new(),
        };
        let mut sent = false;
        if !places.is_empty() {
            let outcomes = self.store.tls_outcomes(day, domain).await?;
            let number = self.entropy.next_u64();
            let id = format!("{day}.{number:016x}@{}", self.from);
            let contact = format!("postmaster@{}", self.from);
            let about = About {
                organisation: self.hostname.as_str(),
                contact: &contact,
                id: &id,
                domain,
                day,
            };
            let Some(packed) = pack(&report::write(&about, &outcomes)) else {
                return Ok(false);
            };
            for place in &places {
                sent |= self.send_to(place, &about, &packed, number).await?;
            }
            if !sent {
                return Ok(false);
            }
            info!(%domain, day, "a report about TLS was sent");
        }
        self.store.forget_tls_outcomes(day, Some(domain)).await?;
        Ok(sent)
    }

    /// RFC 8460 §3: the places in the record at `_smtp._tls`.
    async fn places(&self, domain: &Domain) -> Result<Vec<Place>, DnsError> {
        let name = Domain::parse(&format!("_smtp._tls.{domain}")).map_err(|_| DnsError::NoName)?;
        let texts = self.resolver.txt(&name).await?;
        Ok(places(&texts))
    }

    async fn send_to(
        &self,
        place: &Place,
        about: &About<'_>,
        packed: &[u8],
        number: u64,
    ) -> Result<bool, StoreError> {
        match place {
            Place::Mail(to) => {
                let letter = self.letter(to, about, packed, number);
                let letter = self.store.letter(letter.into()).await?;
                self.store
                    .submit(self.submission(to, about.domain, letter))
                    .await?;
                Ok(true)
            }
            Place::Web { host, port, path } => {
                let request = HttpRequest {
                    host,
                    port: *port,
                    path,
                    post: Some(("application/tlsrpt+gzip", packed)),
                    body_bytes_max: ANSWER_BYTES_MAX,
                };
                match self.http.fetch(request).await {
                    // RFC 8460 §3: any 2xx is a success.
                    Ok(reply) if (200..300).contains(&reply.status) => Ok(true),
                    Ok(reply) => {
                        warn!(domain = %about.domain, %host, status = reply.status, "a report about TLS was refused");
                        Ok(false)
                    }
                    Err(error) => {
                        warn!(domain = %about.domain, %host, %error, "a report about TLS was not posted");
                        Ok(false)
                    }
                }
            }
        }
    }

    /// RFC 8460 §5.3: a multipart/report with the text for people and the packed report.
    fn letter(&self, to: &EmailAddress, about: &About<'_>, packed: &[u8], number: u64) -> Vec<u8> {
        let (domain, from) = (about.domain, self.from);
        let boundary = format!("=_tlsrpt_{number:016x}");
        let start = TlsOutcome::start_of(about.day).secs();
        let file = format!(
            "{from}!{domain}!{start}!{}!{number:016x}.json.gz",
            start + 86_399
        );
        let header = HeaderWriter::new()
            .raw("Date", &format_date(self.now))
            .raw("From", &format!("<postmaster@{from}>"))
            .raw("To", &format!("<{to}>"))
            .raw(
                "Subject",
                &format!(
                    "Report Domain: {domain} Submitter: {from} Report-ID: <{}>",
                    about.id
                ),
            )
            .raw("Message-ID", &format!("<tlsrpt.{}>", about.id))
            .raw("TLS-Report-Domain", domain.as_str())
            .raw("TLS-Report-Submitter", from.as_str())
            // RFC 8460 §5.3 and RFC 8689 §5: what is wrong with TLS must not stop the report of it.
            .raw("TLS-Required", "No")
            .raw("Auto-Submitted", "auto-generated")
            .raw("MIME-Version", "1.0")
            .raw(
                "Content-Type",
                &format!("multipart/report; report-type=tlsrpt; boundary=\"{boundary}\""),
            )
            .finish();
        let mut letter = header;
        letter.extend_from_slice(b"\r\n");
        letter.extend_from_slice(
            format!(
                "--{boundary}\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\n\
                 This is a report about the TLS of connections from {} to the mail servers of\r\n\
                 {domain} on one day. Programs read the part below.\r\n\r\n\
                 --{boundary}\r\nContent-Type: application/tlsrpt+gzip\r\n\
                 Content-Transfer-Encoding: base64\r\n\
                 Content-Disposition: attachment;\r\n filename=\"{file}\"\r\n\r\n",
                self.hostname
            )
            .as_bytes(),
        );
        let text = base64(packed);
        for line in text.as_bytes().chunks(LINE_CHARS) {
            letter.extend_from_slice(line);
            letter.extend_from_slice(b"\r\n");
        }
        letter.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
        letter
    }

    fn submission(&self, to: &EmailAddress, domain: &Domain, letter: store::Letter) -> Submission {
        Submission {
            needs_utf8: false,
            letter,
            head: Bytes::new(),
            account: None,
            // Nobody is told when a report cannot be delivered.
            reverse_path: None,
            recipients: vec![QueueRecipient {
                address: to.clone(),
                original: None,
                notify: Notify::NEVER,
            }],
            envelope_id: None,
            dsn_return: DsnReturn::Unasked,
            handling: Handling {
                tls: TlsWish::Optional,
                ..Handling::default()
            },
            received_at: self.now,
            hold_until: None,
            expires_at: self.now + LIFETIME,
            sent_copy: None,
            notes: vec![Note {
                at: self.now,
                recipient: None,
                step: Step::Submitted,
                detail: format!("by this server, a report about TLS to {domain}"),
            }],
        }
    }
}

fn pack(text: &str) -> Option<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text.as_bytes()).ok()?;
    encoder.finish().ok()
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

/// RFC 8460 §3: exactly one record that begins with its version; `mailto:` and `https:` places.
fn places(texts: &[String]) -> Vec<Place> {
    let mut records = texts.iter().filter_map(|text| {
        let rest = text.strip_prefix("v=TLSRPTv1")?;
        rest.trim_start().strip_prefix(';')
    });
    let (Some(record), None) = (records.next(), records.next()) else {
        return Vec::new();
    };
    let rua = record.split(';').find_map(|field| {
        field
            .trim()
            .strip_prefix("rua")?
            .trim_start()
            .strip_prefix('=')
    });
    let places = rua
        .unwrap_or("")
        .split(',')
        .filter_map(|text| place(text.trim()));
    places.take(PLACES_MAX).collect()
}

fn place(text: &str) -> Option<Place> {
    if let Some(address) = text.strip_prefix("mailto:") {
        // Neither percent-encoding nor fields: RFC 8460 shows none, and nobody needs them.
        return EmailAddress::parse(address).ok().map(Place::Mail);
    }
    let rest = text.strip_prefix("https://")?;
    let (authority, path) = match rest.find('/') {
        Some(at) => rest.split_at(at),
        None => (rest, "/"),
    };
    let (host, port) = match authority.split_once(':') {
        Some((host, port)) => (host, port.parse().ok()?),
        None => (authority, 443),
    };
    let printable = path.bytes().all(|byte| byte.is_ascii_graphic());
    printable.then_some(Place::Web {
        host: Domain::parse(host).ok()?,
        port,
        path: path.to_owned(),
    })
}

#[cfg(test)]
mod tests;
