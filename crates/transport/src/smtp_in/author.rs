//! Whom a user's letter names: who may stand in From, Sender and the reverse-path, and what a
//! submission server adds and takes out.
//!
//! RFC 6409 §6.1 and §8, RFC 5322 §3.6.2 (several authors, Sender) and §3.6.6 (letters that are sent
//! again), RFC 6854 (groups in From: their members are authors like others). The rights are the
//! store's; how they are granted stands in `docs/senders.md`.

use std::fmt::Write as _;
use std::ops::Range;

use base::{AccountId, EmailAddress};
use message::write::{format_date, message_id};
use proto::smtp::Reply;
use store::{AuthorCheck, Letter, SendRight, SendingAs, Store, StoreError};

use super::header::Header;
use super::letter::Complete;
use super::session::Session;
use crate::sign::own_domain;

/// Rights that a refusal names; a reply line has at most 512 octets (RFC 5321 §4.5.3.1.5).
const TOLD_MAX: usize = 2;
/// Octets of the addresses that a refusal names as allowed.
const TOLD_BYTES_MAX: usize = 300;

/// Fields of the author and the sender that the letter does not have and the server adds.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Added {
    from: Option<EmailAddress>,
    sender: Option<EmailAddress>,
}

impl Session<'_> {
    /// RFC 6409 §6.1: the reverse-path must be the user's own, as reports go there.
    pub(super) async fn check_reverse_path(
        &self,
        account: AccountId,
        sender: &EmailAddress,
    ) -> Result<(), Reply> {
        match self.sending_as(account, sender).await? {
            SendingAs::Own => Ok(()),
            SendingAs::OnBehalf | SendingAs::No => {
                Err(self.not_yours(account, "MAIL FROM", sender).await)
            }
        }
    }

    /// The author and the sender inside the letter must be the user's too. Gives what is missing.
    ///
    /// # Errors
    /// The reply that names the address, and what would be allowed.
    pub(super) async fn check_author(
        &self,
        header: &Header,
        reverse_path: Option<&EmailAddress>,
    ) -> Result<Added, Reply> {
        header.check_author_fields()?;
        let Some(account) = self.account else {
            return Err(Reply::try_later());
        };
        let store = &self.context.options.store;
        let sender = store.sender(account);
        let (own, check) = sender.map_err(|error| self.reply_for(&error))?;
        // RFC 5322 §3.6.2: whoever is named as Sender sent the letter, so that is the user.
        self.check_own(account, "Sender field", &header.sender)
            .await?;
        let resent = &header.resent;
        self.check_own(account, "Resent-Sender field", &resent.sender)
            .await?;
        for address in &resent.from {
            let sending_as = self.sending_as(account, address).await?;
            let named = !resent.sender.is_empty();
            if !(sending_as == SendingAs::Own || sending_as == SendingAs::OnBehalf && named) {
                return Err(self.not_yours(account, "Resent-From field", address).await);
            }
        }
        let mut all_own = true;
        for address in &header.from {
            let sending_as = self.sending_as(account, address).await?;
            all_own &= sending_as == SendingAs::Own;
            if sending_as == SendingAs::No
                && !self
                    .may_pass((check, &own), !resent.from.is_empty(), address)
                    .await?
            {
                return Err(self.not_yours(account, "From field", address).await);
            }
        }
        // RFC 6409 §8.1: who sends is said where the authors do not say it. A letter that is sent
        // again says so by Resent-From and stays as it was.
        let needs_sender = header.sender.is_empty() && resent.from.is_empty();
        let unsaid = needs_sender && (header.from.len() > 1 || !all_own);
        Ok(Added {
            from: header
                .lacks_from()
                .then(|| reverse_path.unwrap_or(&own).clone()),
            sender: unsaid.then_some(own),
        })
    }

    async fn check_own(
        &self,
        account: AccountId,
        place: &str,
        addresses: &[EmailAddress],
    ) -> Result<(), Reply> {
        for address in addresses {
            match self.sending_as(account, address).await? {
                SendingAs::Own => {}
                SendingAs::OnBehalf | SendingAs::No => {
                    return Err(self.not_yours(account, place, address).await);
                }
            }
        }
        Ok(())
    }

    /// Whether an author who is not the user passes. One of another domain of ours never does, and in a
    /// letter that is sent again none of ours: the letter would be signed in that name.
    async fn may_pass(
        &self,
        (check, own): (AuthorCheck, &EmailAddress),
        is_resent: bool,
        author: &EmailAddress,
    ) -> Result<bool, Reply> {
        if check == AuthorCheck::Always {
            return Ok(false);
        }
        let signs = own_domain(&self.context.options.store, &author.domain).await;
        let signs = signs.map_err(|error| self.reply_for(&error))?;
        Ok(match check {
            AuthorCheck::Always => false,
            AuthorCheck::Never => signs.is_none_or(|domain| domain == own.domain),
            AuthorCheck::NotResent => is_resent && signs.is_none(),
        })
    }

    async fn sending_as(
        &self,
        account: AccountId,
        address: &EmailAddress,
    ) -> Result<SendingAs, Reply> {
        let found = self.context.options.store.sending_as(account, address);
        found.await.map_err(|error| self.reply_for(&error))
    }

    async fn not_yours(&self, account: AccountId, place: &str, address: &EmailAddress) -> Reply {
        match allowed(&self.context.options.store, account).await {
            Ok(allowed) => Reply::may_not_send_as(place, address, &allowed),
            Err(error) => self.reply_for(&error),
        }
    }

    /// Received, and what RFC 6409 §8 lets a submission server add.
    pub(super) fn submission_head(&self, complete: &Complete, added: &Added) -> Vec<u8> {
        let mut head = self.received_field(complete);
        let mut field = |name: &str, value: &str| {
            head.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        };
        if !complete.header.has_date {
            field("Date", &format_date(complete.at));
        }
        if let Some(from) = &added.from {
            field("From", &from.to_string());
        }
        if let Some(sender) = &added.sender {
            field("Sender", &sender.to_string());
        }
        if !complete.header.has_message_id {
            let options = &self.context.options;
            let id = message_id(complete.at, options.entropy.next_u64(), &options.hostname);
            field("Message-ID", &format!("<{id}>"));
        }
        head
    }

    /// RFC 5322 §3.6.3: nobody is to see who else got it. RFC 5321 §4.4: Return-Path is written by
    /// the last server, so that one that comes in is not true.
    pub(super) async fn without_private(&self, complete: Complete) -> Result<Complete, Reply> {
        if complete.header.private.is_empty() {
            return Ok(complete);
        }
        let store = &self.context.options.store;
        let letter = without(store, complete.letter, &complete.header.private).await;
        let letter = letter.map_err(|error| self.reply_for(&error))?;
        Ok(Complete { letter, ..complete })
    }
}

/// A letter without these pieces, which are in order and do not overlap.
pub(super) async fn without(
    store: &Store,
    letter: Letter,
    pieces: &[Range<usize>],
) -> Result<Letter, StoreError> {
    let mut spool = store.spool();
    let mut position = 0;
    for piece in pieces {
        spool.write(&letter.bytes()[position..piece.start]).await?;
        position = piece.end;
    }
    spool.write(&letter.bytes()[position..]).await?;
    // Its share of the memory is free before the new one's is taken.
    drop(letter);
    spool.finish().await
}

/// What an account may send as, in words; the first few.
async fn allowed(store: &Store, account: AccountId) -> Result<String, StoreError> {
    let (own, _) = store.sender(account)?;
    let rights = store.send_rights(account).await?;
    let mut words = own.to_string();
    let mut told = 0;
    for right in rights.iter().take(TOLD_MAX) {
        let word = match right {
            SendRight::Address(address) => address.to_string(),
            SendRight::Domain(domain) => format!("any address of {domain}"),
            SendRight::As(owner) => match store.sender(*owner) {
                Ok((address, _)) => address.to_string(),
                Err(_) => continue,
            },
            SendRight::OnBehalfOf(owner) => match store.sender(*owner) {
                Ok((address, _)) => format!("{own} on behalf of {address}"),
                Err(_) => continue,
            },
        };
        if words.len() + word.len() > TOLD_BYTES_MAX {
            break;
        }
        told += 1;
        // Writing to a String cannot fail.
        let _ = write!(words, ", {word}");
    }
    if told < rights.len() {
        let _ = write!(words, " and more");
    }
    Ok(words)
}
