//! Sends the reports of a day: to each domain that publishes where it wants them (RFC 8460 §3), by
//! mail or by HTTPS.

use base::ports::{DnsError, Entropy, HttpFetch, HttpRequest, Resolver};
use base::{Domain, EmailAddress, Timestamp};
use store::{Store, StoreError, TlsOutcome, TlsWish};
use tracing::{info, warn};

use super::report::{self, About};
use crate::attached::{self, Attached, pack};

/// Domains that are read from the store at once.
const PAGE: usize = 100;
/// Days that a report is tried; RFC 8460 §4.5 wants at least one more than the first.
const DAYS_TRIED: i64 = 2;
/// Most places that one domain's report goes to.
const PLACES_MAX: usize = 4;
/// The longest answer of a web server that takes a report.
const ANSWER_BYTES_MAX: usize = 4 * 1024;

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
                let told = format!("by this server, a report about TLS to {}", about.domain);
                let wish = TlsWish::Optional;
                let submission = attached::submission(letter, to, wish, self.now, told);
                self.store.submit(submission).await?;
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
        let start = TlsOutcome::start_of(about.day).secs();
        attached::letter(&Attached {
            at: self.now,
            from,
            to,
            subject: &format!(
                "Report Domain: {domain} Submitter: {from} Report-ID: <{}>",
                about.id
            ),
            message_id: &format!("tlsrpt.{}", about.id),
            fields: &[
                ("TLS-Report-Domain", domain.as_str()),
                ("TLS-Report-Submitter", from.as_str()),
                // RFC 8460 §5.3 and RFC 8689 §5: what is wrong with TLS must not stop the report of it.
                ("TLS-Required", "No"),
            ],
            whole_type: "multipart/report; report-type=tlsrpt",
            text: &format!(
                "This is a report about the TLS of connections from {} to the mail servers of\r\n\
                 {domain} on one day. Programs read the part below.\r\n",
                self.hostname
            ),
            file_type: "application/tlsrpt+gzip",
            file: &format!(
                "{from}!{domain}!{start}!{}!{number:016x}.json.gz",
                start + 86_399
            ),
            bytes: packed,
        })
    }
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
