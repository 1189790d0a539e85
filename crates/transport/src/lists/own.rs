//! Letters that a list writes itself: questions, welcomes, words to its owners, probes. Each says that a
//! program wrote it (RFC 3834 §3.1.7) and, but for probes, has no sender, so that nothing comes back.

use base::{Domain, EmailAddress};
use bytes::Bytes;
use message::Mailbox;
use message::write::{Compose, message_id};
use store::{
    DsnReturn, Handling, ListInfo, ListPart, Note, Notify, QueueRecipient, Step, StoreError,
    Submission,
};

use super::Context;
use super::head::part;

/// A letter of a list.
pub(super) struct Own<'a> {
    pub(super) list: &'a ListInfo,
    pub(super) to: &'a EmailAddress,
    pub(super) subject: String,
    pub(super) text: String,
    /// Where an answer goes; otherwise to the list's program.
    pub(super) reply_to: Option<EmailAddress>,
    /// Where reports about it go.
    pub(super) reverse_path: Option<EmailAddress>,
    /// What stands above it when it is sent.
    pub(super) head: Bytes,
    /// Whether it answers a letter.
    pub(super) answers: bool,
}

impl Own<'_> {
    /// As a letter to be queued.
    ///
    /// # Errors
    /// When there is no room for it in memory.
    pub(super) async fn submission(self, context: &Context<'_>) -> Result<Submission, StoreError> {
        let bytes = self.compose(context).to_bytes();
        let letter = context.store.letter(bytes.into()).await?;
        let probes = self.reverse_path.is_some();
        Ok(Submission {
            letter,
            head: self.head,
            account: None,
            reverse_path: self.reverse_path,
            recipients: vec![QueueRecipient {
                address: self.to.clone(),
                original: None,
                // A letter that asks whether somebody can be reached wants to hear that he cannot.
                notify: if probes {
                    Notify {
                        success: false,
                        failure: true,
                        delay: false,
                        asked: true,
                    }
                } else {
                    Notify::NEVER
                },
            }],
            envelope_id: None,
            dsn_return: DsnReturn::Headers,
            needs_utf8: self.to.needs_utf8(),
            handling: Handling::default(),
            received_at: context.now,
            hold_until: None,
            expires_at: context.expires_at,
            sent_copy: None,
            notes: vec![Note {
                at: context.now,
                recipient: None,
                step: Step::Submitted,
                detail: format!("by this server, for the list {}", self.list.address),
            }],
        })
    }

    fn compose(&self, context: &Context<'_>) -> Compose {
        let address = &self.list.address;
        let program = part(address, ListPart::Request, "");
        let name = match self.list.options.title.as_str() {
            "" => address.local.as_str(),
            title => title,
        };
        let word = if self.answers {
            "auto-replied"
        } else {
            "auto-generated"
        };
        let mut fields = vec![("Auto-Submitted".to_owned(), word.to_owned())];
        if let Some(reply_to) = &self.reply_to {
            fields.push(("Reply-To".to_owned(), format!("<{reply_to}>")));
        }
        let random = context.entropy.next_u64();
        let host: &Domain = context.hostname;
        Compose {
            date: context.now,
            message_id: message_id(context.now, random, host),
            fields,
            random,
            ..Compose::text(
                mailbox(&program, Some(name)),
                mailbox(self.to, None),
                &self.subject,
                &self.text,
            )
        }
    }
}

fn mailbox(address: &EmailAddress, name: Option<&str>) -> Mailbox {
    Mailbox {
        name: name.map(str::to_owned),
        local: address.local.as_str().to_owned(),
        domain: address.domain.to_string(),
    }
}
