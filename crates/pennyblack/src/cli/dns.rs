//! `pennyblack dns`: whether the DNS has what a domain of ours needs.

use std::sync::Arc;

use base::Domain;
use base::ports::Resolver;
use clap::Subcommand;
use serde_json::Value;

use super::exit::Exit;
use super::output::{Output, field};
use super::{ListArgs, Operator};
use crate::control::Request;
use crate::outside::HickoryResolver;
use crate::records;

#[derive(Subcommand)]
pub(super) enum DnsCommand {
    /// Looks the records of a domain up: where its mail goes (MX), who may send for it (SPF), what
    /// becomes of letters that are not from it (DMARC), its keys (DKIM), its policy of MTA-STS if it
    /// has one, and where reports go (which it need not have). Fails if one that it needs is missing.
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
    let resolver: Arc<dyn Resolver> = Arc::new(resolver);
    let hostname = &operator.settings.hostname;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let sts = operator.settings.safety.sts.as_ref();
    let rows = runtime.block_on(records::check(
        &resolver, &domain, hostname, &keys.rows, sts,
    ));
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
