//! The command's side of an export: it says what it has already, and writes what comes.

use std::future::Future;

use base::Timestamp;
use serde_json::Value;
use tokio::task::block_in_place;

use super::import::unexpected;
use super::link::{From, Link, To};
use super::report::{Report, Summary};
use super::sink::{Outgoing, Sink, count};
use super::source::Progress;
use super::wire::{Ask, ExportMailbox, MailboxOut, Tell};
use crate::control::{ExportOrder, Failure, Request};
use crate::settings::Settings;

/// Exports into a sink. Must run on a runtime with several threads: the sink blocks.
///
/// # Errors
/// In words for the operator.
pub async fn run(
    settings: &Settings,
    order: ExportOrder,
    mut report: Report,
    open: impl FnOnce() -> Result<Box<dyn Sink>, Failure>,
) -> Result<Summary, Failure> {
    let mut link = Link::open(settings, Request::Export(order)).await?;
    let outcome = export_all(&mut link.from, &mut link.to, &mut report, open).await;
    let closed = link.close().await;
    let summary = report.finish();
    match outcome.and(closed) {
        Ok(()) => Ok(summary),
        Err(failure) => Err(summary.with(failure)),
    }
}

async fn export_all(
    from: &mut From,
    to: &mut To,
    report: &mut Report,
    open: impl FnOnce() -> Result<Box<dyn Sink>, Failure>,
) -> Result<(), Failure> {
    let Tell::Account(account) = from.next().await? else {
        return Err(unexpected());
    };
    let Tell::Mailboxes(mailboxes) = from.next().await? else {
        return Err(unexpected());
    };
    // Only now: a wrong account must not leave an empty folder behind.
    let mut sink = block_in_place(open)?;
    let total = mailboxes
        .iter()
        .map(|mailbox| u64::from(mailbox.messages))
        .sum();
    let mut progress = Progress { done: 0, total };
    for mailbox in &mailboxes {
        let mut one = OneMailbox {
            mailbox,
            sink: sink.as_mut(),
            report,
            progress: &mut progress,
        };
        one.export(from, to).await?;
    }
    to.say(&Ask::End).await?;
    to.flush().await?;
    match from.next().await? {
        Tell::Done => {}
        _ => return Err(unexpected()),
    }
    finish(sink.as_mut(), &account).await
}

fn finish(sink: &mut dyn Sink, account: &Value) -> impl Future<Output = Result<(), Failure>> {
    let done = block_in_place(|| sink.finish(account));
    std::future::ready(done)
}

struct OneMailbox<'a> {
    mailbox: &'a MailboxOut,
    sink: &'a mut dyn Sink,
    report: &'a mut Report,
    progress: &'a mut Progress,
}

impl OneMailbox<'_> {
    async fn export(&mut self, from: &mut From, to: &mut To) -> Result<(), Failure> {
        let have = match block_in_place(|| self.sink.begin(self.mailbox))? {
            Ok(have) => have,
            Err(skipped) => {
                self.report.skipped(skipped);
                return Ok(());
            }
        };
        let there = count(&have);
        self.report.there(there);
        self.progress.done += there;
        let name = self.mailbox.target.name.clone();
        to.say(&Ask::Export(ExportMailbox { name, have })).await?;
        to.flush().await?;
        loop {
            match from.next().await? {
                Tell::MailboxEnd => break,
                Tell::Skipped(skipped) => self.report.skipped(skipped),
                Tell::Letter(letter) => match from.letter(letter.bytes).await? {
                    Ok(bytes) => {
                        let letter = Outgoing {
                            uid: letter.uid,
                            flags: letter.flags,
                            received_at: Timestamp(letter.received_at),
                            bytes,
                        };
                        block_in_place(|| self.sink.letter(&letter))?;
                        self.progress.done += 1;
                        self.report.stored(1, *self.progress);
                    }
                    Err(Tell::Skipped(skipped)) => self.report.skipped(skipped),
                    Err(_) => return Err(unexpected()),
                },
                _ => return Err(unexpected()),
            }
        }
        block_in_place(|| self.sink.end())
    }
}
