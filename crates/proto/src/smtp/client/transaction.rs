//! One letter: MAIL, RCPT, DATA and the letter itself (RFC 5321 §3.3), pipelined where the peer
//! offers it (RFC 2920).

use std::fmt::Write;

use super::body::{BodyWriter, has_clean_line_ends};
use super::{Client, Event, Expect, Failure, Outgoing, RecipientOutcome, Step};
use crate::smtp::params::encode_xtext;
use crate::smtp::reply::Reply;
use bytes::Bytes;

/// Commands that may be without their replies: few enough that neither side's socket buffer fills
/// with replies while the other still writes (RFC 2920 §3.1).
const OUTSTANDING_MAX: usize = 64;

/// The letter under way.
#[derive(Debug)]
pub(super) struct Transaction {
    outgoing: Outgoing,
    outcomes: Vec<Option<RecipientOutcome>>,
    stage: Stage,
    accepted: usize,
    /// PRDR: the recipients the peer would take the letter for, each with its reply. They count once
    /// the reply to the whole letter says so.
    promised: Vec<(usize, Reply)>,
    /// Nothing more is asked; what is outstanding is waited for.
    given_up: bool,
}

#[derive(Debug)]
enum Stage {
    Mail,
    /// The next recipient.
    Rcpt(usize),
    Data,
    /// DATA was sent; its reply decides.
    DataSent,
    Body(BodyWriter),
    BodySent,
}

impl Transaction {
    /// The outcome of each recipient; `rest` for those without one.
    pub(super) fn outcomes(self, rest: &RecipientOutcome) -> Vec<RecipientOutcome> {
        let or_rest = |outcome: Option<_>| outcome.unwrap_or_else(|| rest.clone());
        self.outcomes.into_iter().map(or_rest).collect()
    }

    fn refuse_rest(&mut self, reply: &Reply) {
        self.settle_rest(&RecipientOutcome::Refused(reply.clone()));
    }

    /// What we found ourselves.
    fn is_unfit(&mut self, reply: Reply) {
        self.settle_rest(&RecipientOutcome::Unfit(reply));
    }

    fn settle_rest(&mut self, rest: &RecipientOutcome) {
        for outcome in self.outcomes.iter_mut().filter(|o| o.is_none()) {
            *outcome = Some(rest.clone());
        }
    }
}

impl Client {
    /// Starts a letter. May be called when [`Client::is_ready`]; otherwise the letter is answered
    /// as unfinished at once.
    pub fn send(&mut self, outgoing: Outgoing) {
        let recipients = outgoing.recipients.len();
        let mut transaction = Transaction {
            outcomes: vec![None; recipients],
            outgoing,
            stage: Stage::Mail,
            accepted: 0,
            promised: Vec::new(),
            given_up: false,
        };
        if !self.is_ready() || recipients == 0 {
            let failure = Failure::Disconnected(Step::Idle);
            let rest = RecipientOutcome::Unfinished(failure);
            self.events
                .push_back(Event::Done(transaction.outcomes(&rest)));
            return;
        }
        self.refuse_what_cannot_travel(&mut transaction);
        if transaction.outcomes.iter().all(Option::is_some) {
            // The peer has not heard of it; any value serves for the rest, which is empty.
            let rest = RecipientOutcome::Unfinished(Failure::Disconnected(Step::Idle));
            self.events
                .push_back(Event::Done(transaction.outcomes(&rest)));
            return;
        }
        self.transaction = Some(transaction);
        self.progress_at = self.now;
        if std::mem::take(&mut self.needs_reset) {
            self.command(format_args!("RSET"), Expect::Reset);
        }
        self.pump();
    }

    /// Sends as many commands as may be sent now.
    pub(super) fn pump(&mut self) {
        while let Some(transaction) = &mut self.transaction {
            let outstanding = self.expected.len();
            let window = match self.extensions.pipelining {
                true => OUTSTANDING_MAX,
                false => 1,
            };
            if transaction.given_up {
                if outstanding == 0 {
                    self.finish(None);
                }
                return;
            }
            if outstanding >= window {
                return;
            }
            match transaction.stage {
                Stage::Mail => {
                    transaction.stage = Stage::Rcpt(0);
                    self.write_mail();
                }
                Stage::Rcpt(index) if index < transaction.outgoing.recipients.len() => {
                    transaction.stage = Stage::Rcpt(index + 1);
                    // One that cannot travel was refused before.
                    if transaction.outcomes[index].is_none() {
                        self.write_rcpt(index);
                    }
                }
                Stage::Rcpt(_) => transaction.stage = Stage::Data,
                Stage::Data if outstanding == 0 && transaction.accepted == 0 => {
                    self.needs_reset = true;
                    transaction.given_up = true;
                }
                // RFC 3030 §2: the letter follows the command at once, so it waits until it is
                // known that somebody wants it.
                Stage::Data if self.extensions.chunking && outstanding > 0 => return,
                Stage::Data if self.extensions.chunking => {
                    let parts = std::mem::take(&mut transaction.outgoing.parts);
                    let bytes: usize = parts.iter().map(Bytes::len).sum();
                    transaction.stage = Stage::Body(BodyWriter::plain(parts));
                    // Writing to a BytesMut cannot fail: it grows.
                    let _ = write!(self.output, "BDAT {bytes} LAST\r\n");
                }
                Stage::Data => {
                    transaction.stage = Stage::DataSent;
                    self.command(format_args!("DATA"), Expect::Data);
                }
                Stage::DataSent | Stage::Body(_) | Stage::BodySent => return,
            }
        }
    }

    pub(super) fn mail_answered(&mut self, reply: &Reply) {
        self.needs_reset = true;
        if reply.code / 100 == 2 {
            return;
        }
        if reply.is_positive() {
            return self.refused(Step::Mail, reply.clone());
        }
        self.needs_reset = false;
        if let Some(transaction) = &mut self.transaction {
            transaction.refuse_rest(reply);
            // A DATA that is on its way already decides for itself.
            transaction.given_up = !matches!(transaction.stage, Stage::DataSent);
        }
    }

    pub(super) fn rcpt_answered(&mut self, index: usize, reply: Reply) {
        let Some(transaction) = &mut self.transaction else {
            return;
        };
        let outcome = &mut transaction.outcomes[index];
        match reply.code / 100 {
            // After a refused MAIL the outcome is there already.
            2 if outcome.is_none() => transaction.accepted += 1,
            4 | 5 if outcome.is_none() => *outcome = Some(RecipientOutcome::Refused(reply)),
            2 | 4 | 5 => {}
            _ => self.refused(Step::Rcpt, reply),
        }
    }

    pub(super) fn data_answered(&mut self, reply: &Reply) {
        let Some(transaction) = &mut self.transaction else {
            return;
        };
        match reply.code {
            354 => {
                // RFC 2920 §3.1: with no recipient accepted the letter is empty, and its reply
                // without meaning.
                let parts = match transaction.accepted {
                    0 => Vec::new(),
                    _ => std::mem::take(&mut transaction.outgoing.parts),
                };
                transaction.stage = Stage::Body(BodyWriter::new(parts));
            }
            code if code >= 400 => {
                transaction.refuse_rest(reply);
                transaction.given_up = true;
                self.needs_reset = true;
            }
            _ => self.refused(Step::Data, reply.clone()),
        }
    }

    /// In LMTP and PRDR: the reply to the letter for one recipient (RFC 2033 §4.2).
    pub(super) fn letter_answered_for(&mut self, index: usize, reply: Reply) {
        if reply.is_positive() && reply.code / 100 != 2 {
            return self.refused(Step::LetterEnd, reply);
        }
        let provisional = matches!(self.expected.back(), Some(Expect::LetterEndOfAll));
        if let Some(transaction) = &mut self.transaction {
            match reply.is_positive() {
                true if provisional => transaction.promised.push((index, reply)),
                true => transaction.outcomes[index] = Some(RecipientOutcome::Accepted(reply)),
                false => transaction.outcomes[index] = Some(RecipientOutcome::Refused(reply)),
            }
        }
        if self.config.lmtp && self.expected.is_empty() {
            self.needs_reset = false;
            self.finish(None);
        }
    }

    /// In PRDR: the reply to the whole letter. Only with it the peer takes the responsibility
    /// (draft-hall-prdr §3), so a letter it refuses now is refused for every recipient.
    pub(super) fn letter_answered_for_all(&mut self, reply: Reply) {
        if reply.is_positive() && reply.code / 100 != 2 {
            return self.refused(Step::LetterEnd, reply);
        }
        if let Some(transaction) = &mut self.transaction {
            let promised = std::mem::take(&mut transaction.promised);
            if reply.is_positive() {
                for (index, reply) in promised {
                    transaction.outcomes[index] = Some(RecipientOutcome::Accepted(reply));
                }
            } else {
                transaction.refuse_rest(&reply);
            }
        }
        self.needs_reset = false;
        self.finish(None);
    }

    /// Awaits a reply for each recipient that was accepted.
    fn expect_each(&mut self) {
        let Some(transaction) = &self.transaction else {
            return;
        };
        let open = transaction.outcomes.iter().enumerate();
        let open = open.filter(|(_, outcome)| outcome.is_none());
        self.expected
            .extend(open.map(|(index, _)| Expect::LetterEndOf(index)));
    }

    pub(super) fn letter_answered(&mut self, reply: &Reply) {
        // draft-hall-prdr §3: the replies for each recipient follow, then one for the whole.
        if reply.code == 353 && self.replies_each() {
            self.expect_each();
            return self.expected.push_back(Expect::LetterEndOfAll);
        }
        if reply.is_positive() && reply.code / 100 != 2 {
            return self.refused(Step::LetterEnd, reply.clone());
        }
        self.needs_reset = false;
        self.finish(Some(reply));
    }

    /// The peer refuses before it has the whole letter. What is still sent would be taken for
    /// commands, so the session ends with it.
    pub(super) fn refused_while_sending(&mut self, reply: Reply) {
        if let Some(transaction) = &mut self.transaction {
            transaction.refuse_rest(&reply);
        }
        self.refused(Step::Letter, reply);
    }

    /// Ends the transaction, with the reply to the letter if there was one.
    fn finish(&mut self, reply: Option<&Reply>) {
        let Some(transaction) = self.transaction.take() else {
            return;
        };
        let rest = match reply {
            Some(reply) if reply.is_positive() => RecipientOutcome::Accepted(reply.clone()),
            Some(reply) => RecipientOutcome::Refused(reply.clone()),
            // Each recipient has its own.
            None => RecipientOutcome::Unfinished(Failure::Disconnected(Step::Idle)),
        };
        self.events
            .push_back(Event::Done(transaction.outcomes(&rest)));
    }

    pub(super) fn is_sending(&self) -> bool {
        matches!(&self.transaction, Some(t) if matches!(t.stage, Stage::Body(_)))
    }

    pub(super) fn fill_from_letter(&mut self) {
        let Some(transaction) = &mut self.transaction else {
            return;
        };
        if let Stage::Body(writer) = &mut transaction.stage
            && writer.write(&mut self.output)
        {
            transaction.stage = Stage::BodySent;
            if self.config.lmtp && transaction.accepted > 0 {
                self.expect_each();
            } else {
                self.expected.push_back(Expect::LetterEnd);
            }
        }
    }

    /// Whether PRDR was asked for with the letter under way.
    fn replies_each(&self) -> bool {
        let several = |transaction: &Transaction| transaction.outgoing.recipients.len() > 1;
        self.extensions.reply_each
            && !self.config.lmtp
            && self.transaction.as_ref().is_some_and(several)
    }

    /// What the peer's EHLO rules out is not tried.
    fn refuse_what_cannot_travel(&self, transaction: &mut Transaction) {
        let outgoing = &transaction.outgoing;
        let bytes: u64 = outgoing.parts.iter().map(|part| part.len() as u64).sum();
        if let Some(max) = self.extensions.size
            && max != 0
            && bytes > max
        {
            return transaction.is_unfit(Reply::peer_takes_less(bytes, max));
        }
        if outgoing.require_tls && !(self.extensions.require_tls && self.tls) {
            return transaction.is_unfit(Reply::peer_lacks_require_tls());
        }
        let returned = outgoing.deliver_by.is_some_and(|by| by.returned);
        if returned && !self.extensions.deliver_by {
            return transaction.is_unfit(Reply::peer_lacks_deliver_by());
        }
        if !has_clean_line_ends(&outgoing.parts) {
            return transaction.is_unfit(Reply::bare_line_end_in_letter());
        }
        // RFC 2045 §2.8: no NUL outside of binary. Some servers drop it, and then a dot behind it
        // stands at the start of a line and may end the letter.
        let has_null = |part: &Bytes| memchr::memchr(0, part).is_some();
        if !self.extensions.chunking && outgoing.parts.iter().any(has_null) {
            return transaction.is_unfit(Reply::null_in_letter());
        }
        if self.extensions.smtputf8 {
            return;
        }
        // RFC 6531 §3.1: without the extension such a letter cannot be sent.
        let sender = outgoing.reverse_path.as_ref();
        if outgoing.needs_utf8 || sender.is_some_and(|sender| sender.needs_utf8()) {
            return transaction.is_unfit(Reply::peer_lacks_smtputf8());
        }
        for (recipient, outcome) in outgoing.recipients.iter().zip(&mut transaction.outcomes) {
            if recipient.address.needs_utf8() {
                *outcome = Some(RecipientOutcome::Unfit(Reply::peer_lacks_smtputf8()));
            }
        }
    }

    fn write_mail(&mut self) {
        let Some(transaction) = &self.transaction else {
            return;
        };
        let (outgoing, extensions) = (&transaction.outgoing, &self.extensions);
        let mut line = match &outgoing.reverse_path {
            Some(address) => format!("MAIL FROM:<{address}>"),
            None => "MAIL FROM:<>".to_owned(),
        };
        // Writing to a String cannot fail.
        if extensions.size.is_some() {
            let bytes: usize = outgoing.parts.iter().map(|part| part.len()).sum();
            let _ = write!(line, " SIZE={bytes}");
        }
        if extensions.eight_bit_mime && !outgoing.parts.iter().all(|part| part.is_ascii()) {
            line.push_str(" BODY=8BITMIME");
        }
        let utf8 = outgoing.needs_utf8
            || outgoing
                .reverse_path
                .as_ref()
                .is_some_and(|a| a.needs_utf8())
            || outgoing.recipients.iter().any(|r| r.address.needs_utf8());
        if utf8 && extensions.smtputf8 {
            line.push_str(" SMTPUTF8");
        }
        if extensions.dsn {
            if let Some(ret) = outgoing.ret {
                let _ = write!(line, " RET={}", ret.as_str());
            }
            if let Some(id) = &outgoing.envelope_id {
                let _ = write!(line, " ENVID={}", encode_xtext(id));
            }
        }
        self.write_wishes(&mut line, outgoing);
        self.command(format_args!("{line}"), Expect::Mail);
    }

    /// The parameters that say how the letter is to be handled. Writing to a String cannot fail.
    fn write_wishes(&self, line: &mut String, outgoing: &Outgoing) {
        let extensions = &self.extensions;
        // RFC 4954 §5: where it is not known who submitted a letter, `<>` says so.
        if extensions.auth && self.config.credentials.is_some() {
            let submitter = match &outgoing.submitter {
                Some(address) => encode_xtext(&address.to_string()),
                None => "<>".to_owned(),
            };
            let _ = write!(line, " AUTH={submitter}");
        }
        if self.replies_each() {
            line.push_str(" PRDR");
        }
        if outgoing.require_tls {
            line.push_str(" REQUIRETLS");
        }
        if let Some(by) = outgoing.deliver_by
            && extensions.deliver_by
        {
            let _ = write!(line, " BY={by}");
        }
        if outgoing.priority != 0 && extensions.mt_priority {
            let _ = write!(line, " MT-PRIORITY={}", outgoing.priority);
        }
    }

    fn write_rcpt(&mut self, index: usize) {
        let Some(transaction) = &self.transaction else {
            return;
        };
        let recipient = &transaction.outgoing.recipients[index];
        let mut line = format!("RCPT TO:<{}>", recipient.address);
        if self.extensions.dsn {
            // Writing to a String cannot fail.
            if let Some(notify) = recipient.notify {
                let _ = write!(line, " NOTIFY={notify}");
            }
            if let Some(original) = &recipient.original {
                let _ = write!(line, " ORCPT={original}");
            }
        }
        self.command(format_args!("{line}"), Expect::Rcpt(index));
    }
}
