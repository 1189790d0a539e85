//! `pennyblack dns`: whether the DNS has what a domain of ours needs.

use base::Domain;
use base::ports::{DnsError, Resolver};
use clap::Subcommand;
use serde_json::{Value, json};
use transport::sign::{Published, is_published};
use transport::sts::OwnPolicy;

use super::exit::Exit;
use super::key::zone_line;
use super::output::{Output, field};
use super::{ListArgs, Operator};
use crate::control::Request;
use crate::outside::HickoryResolver;

#[derive(Subcommand)]
pub(super) enum DnsCommand {
    /// Looks the records of a domain up: where its mail goes (MX), who may send for it (SPF), what
    /// becomes of letters that are not from it (DMARC), and its keys (DKIM). Fails if one is missing.
    Check {
        /// The domain.
        domain: String,
        #[command(flatten)]
        list: ListArgs,
    },
}

pub(super) fn run(operator: &Operator, command: DnsCommand) -> Result<(), Exit> {
    let DnsCommand::Check { domain, list } = command;
    let domain = Domain::parse(&domain)
        .map_err(|error| Exit::Usage(format!("{domain} is no domain: {error}")))?;
    let keys = operator.ask(Request::DkimList {
        domain: Some(domain.to_string()),
    })?;
    let resolver = HickoryResolver::new(&operator.settings.dns).map_err(Exit::Failed)?;
    let hostname = &operator.settings.hostname;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let sts = operator.settings.safety.sts.as_ref();
    let rows = runtime.block_on(check(&resolver, &domain, hostname, &keys.rows, sts));
    let mut output = Output::default();
    if list.json {
        output.json(&rows)?;
    } else {
        print(&mut output, &rows)?;
    }
    let missing = rows.iter().filter(|row| row["state"] != "ok");
    match missing.filter(|row| row["needed"] == true).count() {
        0 => Ok(()),
        count => Err(Exit::Failed(format!(
            "{count} of the records of {domain} are not as they should be"
        ))),
    }
}

fn print(output: &mut Output, rows: &[Value]) -> Result<(), Exit> {
    let columns = ["name", "type", "state", "found"];
    let cells: Vec<Vec<String>> = rows
        .iter()
        .map(|row| columns.iter().map(|name| field(row, name)).collect())
        .collect();
    output.table(&columns, &cells)?;
    let wrong = rows.iter().filter(|row| row["state"] != "ok");
    let wanted: Vec<String> = wrong.map(|row| field(row, "zone_line")).collect();
    if !wanted.is_empty() {
        output.line("\nWhat should be there:")?;
    }
    wanted.iter().try_for_each(|line| output.line(line))
}

/// Looks everything up; a row for each record.
async fn check(
    resolver: &dyn Resolver,
    domain: &Domain,
    hostname: &Domain,
    keys: &[Value],
    sts: Option<&OwnPolicy>,
) -> Vec<Value> {
    let mut rows = vec![mx(resolver, domain, hostname).await];
    let spf = zone_line(domain.as_str(), "v=spf1 mx -all");
    rows.push(text(resolver, domain.as_str(), "v=spf1", &spf).await);
    let name = format!("_dmarc.{domain}");
    let dmarc = zone_line(&name, "v=DMARC1; p=quarantine");
    rows.push(text(resolver, &name, "v=DMARC1", &dmarc).await);
    for key in keys {
        rows.push(dkim(resolver, key).await);
    }
    if let Some(policy) = sts {
        let name = format!("_mta-sts.{domain}");
        let record = policy.record();
        let wanted = zone_line(&name, &record);
        rows.push(text(resolver, &name, &record, &wanted).await);
    }
    rows
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
    let (name, record) = (field(key, "name"), field(key, "record"));
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
