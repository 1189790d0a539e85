//! The DNS records that a domain of ours needs: whether they are there, and what they should be.

use std::sync::Arc;

use base::Domain;
use base::ports::{DnsError, Resolver};
use serde_json::{Value, json};
use transport::dmarc_reports::send::asked_reports;
use transport::sign::{Published, is_published};
use transport::sts::OwnPolicy;

/// A TXT record as a line of a zone file; a string in it has at most 255 bytes (RFC 1035 §3.3).
#[must_use]
pub fn zone_line(name: &str, text: &str) -> String {
    let mut strings = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (string, behind) = rest.split_at(rest.len().min(255));
        strings.push(format!("\"{string}\""));
        rest = behind;
    }
    format!("{name}. IN TXT ( {} )", strings.join(" "))
}

/// Looks everything up; a row for each record. `keys` are rows of [`crate::control::rows::dkim_key`].
pub async fn check(
    shared: &Arc<dyn Resolver>,
    domain: &Domain,
    hostname: &Domain,
    keys: &[Value],
    sts: Option<&OwnPolicy>,
) -> Vec<Value> {
    let resolver = shared.as_ref();
    let mut rows = vec![mx(resolver, domain, hostname).await];
    let spf = zone_line(domain.as_str(), "v=spf1 mx -all");
    rows.push(text(resolver, domain.as_str(), "v=spf1", &spf).await);
    let name = format!("_dmarc.{domain}");
    let dmarc = zone_line(&name, "v=DMARC1; p=quarantine");
    rows.push(text(resolver, &name, "v=DMARC1", &dmarc).await);
    rows.push(reports(shared, domain).await);
    for key in keys {
        rows.push(dkim(resolver, key).await);
    }
    if let Some(policy) = sts {
        let name = format!("_mta-sts.{domain}");
        let record = policy.record();
        let wanted = zone_line(&name, &record);
        rows.push(text(resolver, &name, &record, &wanted).await);
        rows.push(policy_host(resolver, domain).await);
    }
    let name = format!("_smtp._tls.{domain}");
    let wanted = zone_line(
        &name,
        &format!("v=TLSRPTv1; rua=mailto:postmaster@{domain}"),
    );
    let mut tls = text(resolver, &name, "v=TLSRPTv1", &wanted).await;
    // Nothing is worse without these reports.
    tls["needed"] = json!(false);
    rows.push(tls);
    rows
}

/// Where reports of DMARC go, and whether those places take them (RFC 9990 §4).
async fn reports(resolver: &Arc<dyn Resolver>, domain: &Domain) -> Value {
    let name = format!("_dmarc.{domain}");
    let asked = asked_reports(resolver, domain).await;
    let mut wanted = zone_line(
        &name,
        &format!("v=DMARC1; p=quarantine; rua=mailto:postmaster@{domain}"),
    );
    let found = match asked {
        Err(why) => ("unknown", why),
        Ok(asked) if asked.places.is_empty() && asked.refused.is_empty() => {
            ("missing", String::new())
        }
        Ok(asked) => match asked.refused.first() {
            None => ("ok", asked.places.join(", ")),
            Some((uri, host)) => {
                wanted = zone_line(&format!("{domain}._report._dmarc.{host}"), "v=DMARC1");
                (
                    "different",
                    format!("{uri} does not say that it takes them"),
                )
            }
        },
    };
    row(&name, "TXT rua", found, &wanted, false)
}

/// RFC 8461 §3.3: the policy is fetched from this host.
async fn policy_host(resolver: &dyn Resolver, domain: &Domain) -> Value {
    let name = format!("mta-sts.{domain}");
    let found = match Domain::parse(&name) {
        Ok(host) => resolver.addresses(&host).await,
        Err(_) => Err(DnsError::NoName),
    };
    let found = match found {
        Ok(addresses) => {
            let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
            ("ok", addresses.join(", "))
        }
        Err(error) => unanswered(error),
    };
    let wanted = format!("{name}. IN A ADDRESS ; of a listener with protocol = \"http\"");
    row(&name, "A", found, &wanted, true)
}

async fn mx(resolver: &dyn Resolver, domain: &Domain, hostname: &Domain) -> Value {
    let (state, found) = match resolver.mx(domain).await {
        Ok(records) => {
            let names = records.iter().filter_map(|mx| mx.exchange.as_ref());
            let names: Vec<String> = names.map(ToString::to_string).collect();
            let is_there = names.iter().any(|name| name == hostname.as_str());
            (if is_there { "ok" } else { "different" }, names.join(", "))
        }
        Err(error) => unanswered(error),
    };
    let wanted = format!("{domain}. IN MX 10 {hostname}.");
    row(domain.as_str(), "MX", (state, found), &wanted, true)
}

/// A text that begins so.
async fn text(resolver: &dyn Resolver, name: &str, start: &str, wanted: &str) -> Value {
    let found = match Domain::parse(name) {
        Ok(name) => resolver.txt(&name).await,
        Err(_) => Err(DnsError::NoName),
    };
    let found = match found {
        Ok(texts) => match texts.into_iter().find(|text| text.starts_with(start)) {
            Some(text) => ("ok", text),
            None => ("missing", String::new()),
        },
        Err(error) => unanswered(error),
    };
    row(name, "TXT", found, wanted, true)
}

async fn dkim(resolver: &dyn Resolver, key: &Value) -> Value {
    let (name, record) = (text_of(key, "name"), text_of(key, "record"));
    let found = match is_published(resolver, &name, &record).await {
        Published::Yes => ("ok", "the key".to_owned()),
        Published::Other(text) => ("different", text),
        Published::No => ("missing", String::new()),
        Published::Unknown(why) => ("unknown", why),
    };
    // One that is only announced, or retired, keeps no letter from being verified.
    let is_active = key["state"] == "active";
    row(&name, "TXT", found, &zone_line(&name, &record), is_active)
}

fn unanswered(error: DnsError) -> (&'static str, String) {
    match error {
        DnsError::NoName | DnsError::NoRecords => ("missing", String::new()),
        DnsError::Temporary(why) => ("unknown", why),
    }
}

fn row(
    name: &str,
    kind: &str,
    (state, found): (&str, String),
    zone_line: &str,
    needed: bool,
) -> Value {
    json!({
        "name": name,
        "type": kind,
        "state": state,
        "found": found,
        "zone_line": zone_line,
        "needed": needed,
    })
}

fn text_of(row: &Value, name: &str) -> String {
    row[name].as_str().unwrap_or_default().to_owned()
}
