//! `vacation` (RFC 5230) and `notify` (RFC 5435): what is sent because of the letter.

use base::EmailAddress;
use message::Mailbox;

use super::{Go, Machine, error};
use crate::Question;
use crate::matching::cut;
use crate::notify::MailtoUri;
use crate::outcome::{Notification, What};
use crate::program::{Notify, Vacation};
use crate::vacation::{NoAnswer, Thread, VacationAnswer, may_answer, one_line, one_mailbox};

/// Bytes of a subject that is made.
const SUBJECT_BYTES_MAX: usize = 400;

/// Addresses that `:addresses` may add.
const OWN_ADDRESSES_MAX: usize = 100;

impl<'a> Machine<'a> {
    pub(super) fn vacation(&mut self, vacation: &'a Vacation) -> Go<()> {
        // RFC 5230 §4.7: an answer twice is an error; one that was not given counts, too.
        let answers = |what: &What| matches!(what, What::Vacation(_));
        if self.actions.iter().any(|action| answers(&action.what)) {
            return error("the letter is answered twice");
        }
        let own = self.own_addresses(vacation)?;
        let run = self.run;
        let sender = match may_answer(run.letter, run.reverse_path, &own) {
            Ok(sender) => sender,
            Err(why) => {
                self.note(why.text());
                return Ok(());
            }
        };
        let answer = self.answer(vacation, sender)?;
        let answered = self.ask(Question::Answered {
            key: answer.key.clone(),
            sender: sender.key(),
            seconds: answer.seconds,
        })?;
        if answered {
            self.note(NoAnswer::Answered.text());
            return Ok(());
        }
        self.act(What::Vacation(Box::new(answer)))
    }

    /// The addresses that the letter may be sent to for an answer (RFC 5230 §4.5).
    fn own_addresses(&mut self, vacation: &'a Vacation) -> Go<Vec<EmailAddress>> {
        let mut own: Vec<EmailAddress> = self.run.user.addresses().cloned().collect();
        own.extend(self.run.recipient.cloned());
        for text in self
            .texts(&vacation.addresses)?
            .iter()
            .take(OWN_ADDRESSES_MAX)
        {
            let mailbox = one_mailbox(text);
            own.extend(mailbox.and_then(|mailbox| mailbox.to_address()));
        }
        Ok(own)
    }

    fn answer(&mut self, vacation: &'a Vacation, sender: &EmailAddress) -> Go<VacationAnswer> {
        let reason = self.text(&vacation.reason)?.into_owned();
        let subject = self.optional(vacation.subject.as_ref())?;
        let handle = self.optional(vacation.handle.as_ref())?;
        let from = self.optional(vacation.from.as_ref())?;
        let user = self.run.user;
        let seconds = vacation.seconds.unwrap_or(user.vacation_seconds_default);
        // RFC 5230 §4.2: without a handle answers are the same when all of this is. Lengths keep one
        // text from running into the next.
        let key = match &handle {
            Some(handle) => format!("handle:{handle}"),
            None => {
                let subject = subject.as_deref().unwrap_or_default();
                let from = from.as_deref().unwrap_or_default();
                let lengths = format!("{},{},{}", subject.len(), from.len(), vacation.mime);
                format!("answer:{lengths}:{subject}{from}{reason}")
            }
        };
        let thread = Thread::of(self.run.letter);
        let subject = match subject {
            Some(subject) => one_line(&subject),
            // RFC 5230 §4.4.
            None if thread.subject.is_empty() => "Automatic reply".to_owned(),
            None => format!("Auto: {}", one_line(&thread.subject)),
        };
        let from = self.answer_from(from.as_deref());
        let fcc = vacation
            .fcc
            .as_ref()
            .map(|target| self.target(target))
            .transpose()?;
        Ok(VacationAnswer {
            to: sender.clone(),
            from,
            subject: cut(&subject, SUBJECT_BYTES_MAX).to_owned(),
            reason,
            mime: vacation.mime,
            handle,
            key,
            seconds: seconds.clamp(
                user.vacation_seconds_min,
                user.vacation_seconds_max.max(user.vacation_seconds_min),
            ),
            in_reply_to: thread.in_reply_to,
            references: thread.references,
            fcc,
        })
    }

    /// `:from` when it is an address of the user (RFC 5230 §4.3 lets a site ask that), else the one
    /// that the letter came to, else the user's first.
    fn answer_from(&mut self, given: Option<&str>) -> Mailbox {
        let user = self.run.user;
        let own = |address: &EmailAddress| {
            let bare = address.without_tag('+');
            user.addresses().any(|own| {
                own.key() == address.key()
                    || bare.as_ref().is_some_and(|bare| own.key() == bare.key())
            })
        };
        let mut name = user.name.clone();
        if let Some(given) = given {
            match one_mailbox(given) {
                Some(mailbox) if mailbox.to_address().is_some_and(|address| own(&address)) => {
                    return mailbox;
                }
                Some(mailbox) => {
                    self.note("the address in `:from` is none of the user's: another one is used");
                    name = mailbox.name.or(name);
                }
                None => self.note("what follows `:from` is no address: another one is used"),
            }
        }
        let address = self
            .run
            .recipient
            .filter(|address| own(address))
            .unwrap_or(&user.address);
        Mailbox {
            name,
            local: address.local.as_str().to_owned(),
            domain: address.domain.as_str().to_owned(),
        }
    }

    pub(super) fn notify(&mut self, notify: &'a Notify) -> Go<()> {
        let sent = |what: &What| matches!(what, What::Notify(_));
        let count = self
            .actions
            .iter()
            .filter(|action| sent(&action.what))
            .count();
        if count >= self.limits.notifications_max {
            return error(format!(
                "the script sends more than {} notifications",
                self.limits.notifications_max
            ));
        }
        let uri = match MailtoUri::parse(&self.text(&notify.method)?) {
            Ok(uri) => uri,
            Err(wrong) => return error(wrong),
        };
        // RFC 5436 §2.7.1: a notification makes no further one, or two users' would never end.
        let automatic = self.run.letter.field("auto-submitted");
        let automatic = automatic.map(|field| field.raw_text().to_ascii_lowercase());
        if automatic.is_some_and(|text| text.starts_with("auto-notified")) {
            self.note("no notification: the letter is one itself");
            return Ok(());
        }
        let letter = self.run.letter.envelope();
        let letter_subject = letter.decoded_subject().unwrap_or_default();
        let letter_from = letter.first_from().map(Mailbox::email).unwrap_or_default();
        let message = self.optional(notify.message.as_ref())?;
        let from = self.optional(notify.from.as_ref())?;
        let from = self.answer_from(from.as_deref());
        let subject = uri
            .subject
            .or_else(|| message.clone())
            .unwrap_or_else(|| letter_subject.clone());
        let text = uri.body.or(message).unwrap_or_else(|| {
            format!(
                "A letter from {letter_from} has come.\r\n\r\nSubject: {}\r\n",
                one_line(&letter_subject)
            )
        });
        let mut options = Vec::new();
        for option in self.texts(&notify.options)? {
            options.push(option.into_owned());
        }
        let user = self.run.user;
        let notification = Notification {
            to: uri.to,
            cc: uri.cc,
            bcc: uri.bcc,
            from: from.to_address().unwrap_or_else(|| user.address.clone()),
            owner: user.address.clone(),
            subject: cut(&one_line(&subject), SUBJECT_BYTES_MAX).to_owned(),
            text,
            importance: notify.importance,
            fields: uri.fields,
            options,
            fcc: notify
                .fcc
                .as_ref()
                .map(|target| self.target(target))
                .transpose()?,
        };
        self.act(What::Notify(Box::new(notification)))
    }
}
