//! `pennyblack account usage` and `pennyblack account show`.

use serde_json::Value;

use super::Operator;
use super::exit::Exit;
use super::output::{Output, bytes, field};
use crate::control::Request;

/// What accounts take, or one of them with its mailboxes.
pub(super) fn usage(
    operator: &Operator,
    address: Option<String>,
    blobs: bool,
    json: bool,
) -> Result<(), Exit> {
    let is_one = address.is_some();
    let rows = operator.ask(Request::AccountUsage { address, blobs })?.rows;
    let mut output = Output::default();
    if json {
        return output.json(&rows);
    }
    if is_one {
        let (account, mailboxes) = rows.split_at(rows.len().min(1));
        accounts(&mut output, account)?;
        output.line("")?;
        return output.table(
            &["mailbox", "messages", "unseen", "size"],
            &cells(mailboxes, |row| {
                vec![
                    field(row, "mailbox"),
                    field(row, "messages"),
                    field(row, "unseen"),
                    bytes(row, "size"),
                ]
            }),
        );
    }
    let (all, whole) = rows.split_at(rows.len().saturating_sub(1));
    accounts(&mut output, all)?;
    output.line("")?;
    whole.iter().try_for_each(|row| summary(&mut output, row))
}

fn cells(rows: &[Value], cells: impl Fn(&Value) -> Vec<String>) -> Vec<Vec<String>> {
    rows.iter().map(cells).collect()
}

fn accounts(output: &mut Output, rows: &[Value]) -> Result<(), Exit> {
    let head = ["address", "messages", "of", "used", "of", "deleted", "kept"];
    output.table(
        &head,
        &cells(rows, |row| {
            vec![
                field(row, "address"),
                field(row, "messages"),
                field(row, "quota_messages"),
                bytes(row, "used_bytes"),
                bytes(row, "quota_bytes"),
                field(row, "removed_messages"),
                bytes(row, "removed_bytes"),
            ]
        }),
    )
}

fn summary(output: &mut Output, row: &Value) -> Result<(), Exit> {
    output.line(&format!(
        "all {} accounts: {} messages of {}; deleted but kept: {} of {}",
        field(row, "accounts"),
        field(row, "messages"),
        bytes(row, "used_bytes"),
        field(row, "removed_messages"),
        bytes(row, "removed_bytes"),
    ))?;
    output.line(&format!("database: {}", bytes(row, "database_bytes")))?;
    if row["letters"].is_null() {
        return Ok(());
    }
    let stored = bytes(row, "stored_bytes");
    output.line(&format!(
        "letters, each once: {} of {}, stored in {stored}",
        field(row, "letters"),
        bytes(row, "letter_bytes"),
    ))
}

/// All that is known of an account, a line each.
pub(super) fn show(operator: &Operator, address: String, json: bool) -> Result<(), Exit> {
    let rows = operator.ask(Request::AccountShow { address })?.rows;
    let mut output = Output::default();
    if json {
        return output.json(&rows);
    }
    for row in &rows {
        let lines = [
            ("address", field(row, "address")),
            ("name", field(row, "name")),
            ("aliases", field(row, "aliases")),
            ("made", field(row, "created_at")),
            ("enabled", field(row, "enabled")),
            ("admin", field(row, "admin")),
            ("removed at", field(row, "delete_at")),
            ("mailboxes", field(row, "mailboxes")),
            ("messages", field(row, "messages")),
            ("messages at most", field(row, "quota_messages")),
            ("used", bytes(row, "used_bytes")),
            ("quota", bytes(row, "quota_bytes")),
            ("deleted but kept", field(row, "removed_messages")),
            ("their size", bytes(row, "removed_bytes")),
        ];
        for (name, value) in lines {
            output.line(&format!("{name:18}{value}"))?;
        }
    }
    Ok(())
}
