//! Reading the mailboxes of nodes: what only grows, looked at from time to time, and every letter
//! in them.

use std::collections::{BTreeMap, BTreeSet};

use base::{AccountId, MailboxId, MessageId, Uid};
use store::{FlagChange, FlagOp, Keywords, Store, StoreError};

use crate::ledger::Ledger;
use crate::letters::{self, Item};

/// Placements that are read at once.
const PAGE: usize = 200;
/// Letters that are removed at once.
const EMPTIED_MAX: usize = 2_000;

/// What was seen of a mailbox.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Seen {
    uid_validity: u32,
    uid_next: u32,
    modseq: i64,
}

/// What was seen of the mailboxes of all nodes.
#[derive(Default)]
pub struct Watcher {
    mailboxes: BTreeMap<(String, AccountId, MailboxId), Seen>,
    /// Which message has a UID: none changes.
    messages: BTreeMap<Place, MessageId>,
    /// Letters that are being removed.
    removals: BTreeMap<Place, (String, Read)>,
}

/// A message's place: node, account, mailbox, UID.
type Place = (String, AccountId, MailboxId, Uid);

impl Watcher {
    /// Looks at all mailboxes of a node.
    ///
    /// # Errors
    /// Those of reading.
    pub async fn look(
        &mut self,
        node: &str,
        store: &Store,
        ledger: &Ledger,
    ) -> Result<(), StoreError> {
        for account in store.accounts().await? {
            for mailbox in store.mailboxes(account.id).await? {
                let key = (node.to_owned(), account.id, mailbox.id);
                let seen = Seen {
                    uid_validity: mailbox.uid_validity.0,
                    uid_next: mailbox.status.uid_next.0,
                    modseq: mailbox.status.highest_modseq.0,
                };
                let before = self.mailboxes.insert(key, seen);
                let from = before.map_or(1, |before| before.uid_next);
                if let Some(before) = before
                    && (seen.uid_validity != before.uid_validity
                        || seen.uid_next < before.uid_next
                        || seen.modseq < before.modseq)
                {
                    let name = &mailbox.name;
                    ledger.violation(format!("{node}: {name} goes back: {before:?}, {seen:?}"));
                }
                self.remember(node, store, (account.id, mailbox.id), from)
                    .await?;
            }
        }
        Ok(())
    }

    async fn remember(
        &mut self,
        node: &str,
        store: &Store,
        (account, mailbox): (AccountId, MailboxId),
        from: u32,
    ) -> Result<(), StoreError> {
        let mut from = Uid(from);
        loop {
            let rows = store.placements(account, mailbox, from, PAGE).await?;
            for row in &rows {
                let key = (node.to_owned(), account, mailbox, row.uid);
                self.messages.insert(key, row.message);
                from = Uid(row.uid.0 + 1);
            }
            if rows.len() < PAGE {
                return Ok(());
            }
        }
    }

    /// Whether a UID means the message that it meant before.
    fn is_same(
        &self,
        node: &str,
        (account, mailbox): (AccountId, MailboxId),
        uid: Uid,
        message: MessageId,
    ) -> bool {
        let key = (node.to_owned(), account, mailbox, uid);
        self.messages
            .get(&key)
            .is_none_or(|known| *known == message)
    }

    /// Reads every letter of a node into the books.
    ///
    /// # Errors
    /// Those of reading.
    pub async fn read_all(
        &self,
        node: &str,
        store: &Store,
        ledger: &Ledger,
    ) -> Result<(), StoreError> {
        for account in store.accounts().await? {
            for mailbox in store.mailboxes(account.id).await? {
                let place = (account.id, mailbox.id);
                let mut from = Uid(1);
                loop {
                    let rows = store.placements(place.0, place.1, from, PAGE).await?;
                    for row in &rows {
                        if !self.is_same(node, place, row.uid, row.message) {
                            ledger.violation(format!(
                                "{node}: UID {} means another message",
                                row.uid.0
                            ));
                        }
                        let read = read(store, account.id, row.message).await?;
                        read.enter(&account.address.to_string(), ledger);
                        from = Uid(row.uid.0 + 1);
                    }
                    if rows.len() < PAGE {
                        break;
                    }
                }
            }
        }
        Ok(())
    }

    /// Reads the letters of a node into the books and removes them, for long runs. A letter is in
    /// the books once it is gone for sure: a removal whose answer was lost is looked up next time.
    ///
    /// # Errors
    /// Those of reading and writing.
    pub async fn empty(
        &mut self,
        node: &str,
        store: &Store,
        ledger: &Ledger,
    ) -> Result<(), StoreError> {
        for account in store.accounts().await? {
            for mailbox in store.mailboxes(account.id).await? {
                let place = (account.id, mailbox.id);
                let rows = store
                    .placements(place.0, place.1, Uid(1), EMPTIED_MAX)
                    .await?;
                let there: BTreeSet<Uid> = rows.iter().map(|row| row.uid).collect();
                self.settle_removals(node, place, |uid| !there.contains(&uid), ledger);
                if rows.is_empty() {
                    continue;
                }
                for row in &rows {
                    let read = read(store, account.id, row.message).await?;
                    let key = (node.to_owned(), place.0, place.1, row.uid);
                    self.removals
                        .insert(key, (account.address.to_string(), read));
                }
                let uids: Vec<Uid> = there.into_iter().collect();
                let change = FlagChange {
                    op: FlagOp::Add,
                    keywords: Keywords::default(),
                    deleted: true,
                    unchanged_since: None,
                };
                store.set_flags(place.0, place.1, &uids, &change).await?;
                let gone = store.expunge(place.0, place.1, Some(&uids)).await?;
                self.settle_removals(node, place, |uid| gone.contains(&uid), ledger);
            }
        }
        Ok(())
    }

    /// Enters what was removed into the books, and forgets the rest.
    fn settle_removals(
        &mut self,
        node: &str,
        (account, mailbox): (AccountId, MailboxId),
        is_gone: impl Fn(Uid) -> bool,
        ledger: &Ledger,
    ) {
        let first = (node.to_owned(), account, mailbox, Uid(0));
        let last = (node.to_owned(), account, mailbox, Uid(u32::MAX));
        let keys: Vec<_> = self
            .removals
            .range(first..=last)
            .map(|(key, _)| key.clone())
            .collect();
        for key in keys {
            if let Some((address, read)) = self.removals.remove(&key)
                && is_gone(key.3)
            {
                read.enter(&address, ledger);
            }
        }
    }
}

/// What a letter in a mailbox is.
enum Read {
    /// One of ours, with its whole text or not.
    Letter(u64, bool),
    /// A report about one of ours.
    Report(u64, Vec<Item>),
    /// Neither.
    Strange,
}

impl Read {
    fn enter(self, address: &str, ledger: &Ledger) {
        match self {
            Self::Letter(token, whole) => {
                ledger.stored(token, address);
                if !whole {
                    ledger.violation(format!("letter {token} for {address} has changed"));
                }
            }
            Self::Report(token, items) => {
                for item in items.iter().filter(|item| item.action == "failed") {
                    ledger.reported(token, &item.recipient);
                }
            }
            Self::Strange => {
                ledger.violation(format!("a letter of nobody in the mailbox of {address}"));
            }
        }
    }
}

async fn read(store: &Store, account: AccountId, message: MessageId) -> Result<Read, StoreError> {
    let body = store.body(account, message).await?;
    let letter = body.read(0..body.size()).await?;
    let Some(token) = letters::token(&letter) else {
        return Ok(Read::Strange);
    };
    Ok(match letters::report(&letter) {
        Some(items) => Read::Report(token, items),
        None => Read::Letter(token, letter.ends_with(letters::body(token).as_bytes())),
    })
}
