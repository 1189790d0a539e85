//! `pennyblack queue`.

use std::io::Write as _;

use clap::{Args, Subcommand};
use serde_json::Value;

use super::exit::Exit;
use super::output::{Output, bytes, field};
use super::{ListArgs, Operator};
use crate::control::{Filter, QueueAct, Request};

#[derive(Subcommand)]
pub(super) enum QueueCommand {
    /// Lists queued letters, oldest first.
    List {
        /// Only letters with recipients of this domain.
        #[arg(long)]
        domain: Option<String>,
        /// At most so many letters.
        #[arg(long, default_value_t = 1_000)]
        limit: usize,
        #[command(flatten)]
        list: ListArgs,
    },
    /// Shows one queued letter with its recipients.
    Show {
        /// The letter's id.
        letter: i64,
        #[command(flatten)]
        list: ListArgs,
    },
    /// Shows the journey of a letter, also when it has left the queue.
    Trace {
        /// The letter's id, or its Message-ID.
        letter: String,
        #[command(flatten)]
        list: ListArgs,
    },
    /// Tries letters again now.
    Retry(Which),
    /// Holds letters: they are not tried until they are released.
    Hold(Which),
    /// Releases held letters.
    Release(Which),
    /// Releases letters and tries them now.
    Expedite(Which),
    /// Drops letters without a report to their senders.
    Drop(Which),
}

/// Which letters are meant: one way of saying it must be used.
#[derive(Args)]
#[group(required = true, multiple = false)]
pub(super) struct Which {
    /// Letters by id.
    letters: Vec<i64>,
    /// Recipients of this domain.
    #[arg(long)]
    domain: Option<String>,
    /// All.
    #[arg(long)]
    all: bool,
}

impl Which {
    fn filters(self) -> Vec<Filter> {
        if !self.letters.is_empty() {
            let one = |letter| Filter {
                letter: Some(letter),
                ..Filter::default()
            };
            return self.letters.into_iter().map(one).collect();
        }
        // `--all` is a filter that lets everything through.
        vec![Filter {
            domain: self.domain,
            ..Filter::default()
        }]
    }
}

pub(super) fn run(operator: &Operator, command: QueueCommand) -> Result<(), Exit> {
    match command {
        QueueCommand::List {
            domain,
            limit,
            list,
        } => {
            let filter = Filter {
                domain,
                limit,
                ..Filter::default()
            };
            let rows = operator.ask(Request::QueueList { filter })?.rows;
            print_list(&rows, list.json)?;
            if rows.len() == limit {
                // On stderr, as stdout is for the list; without one nobody is told.
                let _ = writeln!(
                    std::io::stderr(),
                    "pennyblack: only {limit} letters are listed; there may be more (--limit)"
                );
            }
            Ok(())
        }
        QueueCommand::Show { letter, list } => {
            let filter = Filter {
                letter: Some(letter),
                ..Filter::default()
            };
            let rows = operator.ask(Request::QueueList { filter })?.rows;
            if rows.is_empty() {
                return Err(Exit::NotFound(format!(
                    "letter {letter} is not in the queue"
                )));
            }
            print_letters(&rows, list.json)
        }
        QueueCommand::Trace { letter, list } => print_journey(
            &operator.ask(Request::QueueTrace { letter })?.rows,
            list.json,
        ),
        QueueCommand::Retry(which) => act(operator, QueueAct::Retry, which),
        QueueCommand::Hold(which) => act(operator, QueueAct::Hold, which),
        QueueCommand::Release(which) => act(operator, QueueAct::Release, which),
        QueueCommand::Expedite(which) => act(operator, QueueAct::Expedite, which),
        QueueCommand::Drop(which) => act(operator, QueueAct::Drop, which),
    }
}

fn act(operator: &Operator, act: QueueAct, which: Which) -> Result<(), Exit> {
    for filter in which.filters() {
        operator.act(Request::QueueAct { act, filter })?;
    }
    Ok(())
}

fn print_list(rows: &[Value], json: bool) -> Result<(), Exit> {
    let mut output = Output::default();
    if json {
        return output.json(rows);
    }
    let mut cells = Vec::new();
    for row in rows {
        let recipients = row["recipients"].as_array().map_or(&[][..], Vec::as_slice);
        let first = recipients.first().unwrap_or(&Value::Null);
        let more = match recipients.len() {
            0 | 1 => String::new(),
            n => format!(" +{}", n - 1),
        };
        cells.push(vec![
            field(row, "letter"),
            sender(row),
            format!("{}{more}", field(first, "address")),
            bytes(row, "size"),
            field(first, "state"),
            field(first, "attempts"),
            field(first, "next_at"),
            field(first, "class"),
            field(first, "host"),
            field(first, "tls"),
            last_word(first),
        ]);
    }
    let head = [
        "letter",
        "from",
        "to",
        "size",
        "state",
        "attempts",
        "next",
        "class",
        "server",
        "tls",
        "last word",
    ];
    output.table(&head, &cells)
}

fn print_letters(rows: &[Value], json: bool) -> Result<(), Exit> {
    let mut output = Output::default();
    if json {
        return output.json(rows);
    }
    for row in rows {
        output.line(&format!("letter    {}", field(row, "letter")))?;
        output.line(&format!("from      {}", sender(row)))?;
        output.line(&format!("size      {}", bytes(row, "size")))?;
        output.line(&format!("received  {}", field(row, "received_at")))?;
        output.line(&format!("expires   {}", field(row, "expires_at")))?;
        let recipients = row["recipients"].as_array().map_or(&[][..], Vec::as_slice);
        for recipient in recipients {
            print_recipient(&mut output, recipient)?;
        }
    }
    Ok(())
}

/// Everything about a recipient that is waited for, a line each; what is empty is left out.
fn print_recipient(output: &mut Output, recipient: &Value) -> Result<(), Exit> {
    output.line("")?;
    let names = [
        ("to", "address"),
        ("state", "state"),
        ("attempts", "attempts"),
        ("next", "next_at"),
        ("tried", "tried_at"),
        ("class", "class"),
        ("server", "host"),
        ("tls", "tls"),
        ("it said", "reply"),
        ("reason", "reason"),
    ];
    for (shown, name) in names {
        let value = field(recipient, name);
        if !value.is_empty() {
            output.line(&format!("{shown:<9} {value}"))?;
        }
    }
    Ok(())
}

/// What the other server said, or what happened if it said nothing.
fn last_word(recipient: &Value) -> String {
    match field(recipient, "reply") {
        reply if reply.is_empty() => field(recipient, "reason"),
        reply => reply,
    }
}

fn print_journey(rows: &[Value], json: bool) -> Result<(), Exit> {
    let mut output = Output::default();
    if json {
        return output.json(rows);
    }
    let names = ["letter", "at", "step", "recipient", "detail"];
    let cells: Vec<Vec<String>> = rows
        .iter()
        .map(|row| names.iter().map(|name| field(row, name)).collect())
        .collect();
    output.table(&names, &cells)
}

/// RFC 5321 §4.5.5: the empty reverse-path of a report.
fn sender(row: &Value) -> String {
    match row["from"].as_str() {
        None | Some("") => "<>".to_owned(),
        Some(from) => from.to_owned(),
    }
}
