//! Letters come in: stored for local recipients, queued for others, each in one durable commit.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use base::{AccountId, EmailAddress, LetterId, MailboxId, MessageId, Timestamp, Uid};
use bytes::Bytes;

use crate::blobs::store_blob;
use crate::confirmed::confirm;
use crate::copies::{Inserted, NewMessage, Place, Stored, insert_message};
use crate::engine::{Body, Priority, Row, Tx, params};
use crate::ids::first_id_at;
use crate::journey::{self, Step};
use crate::nodes::NodeRow;
use crate::prepare::{Need, Prepared};
use crate::queue::rows::{NewLetter, insert_letter, lanes_of};
use crate::sending::{self, Allowance, Counted, Held};
use crate::shared::Shared;
use crate::{DsnReturn, Handling, Keywords, Letter, Note, QueueRecipient, Role, Store, StoreError};

/// How long a delivery is remembered whose reply the peer may not have seen.
pub(crate) const UNCONFIRMED_FOR: Duration = Duration::from_secs(24 * 3_600);

/// One local copy to be stored.
#[derive(Clone, Debug)]
pub struct LocalRecipient {
    /// Whose mailbox.
    pub account: AccountId,
    /// The address that led here, for the journey.
    pub address: EmailAddress,
    /// The mailbox by role; one that is missing falls back to the inbox.
    pub mailbox: Role,
    /// Keywords to set.
    pub keywords: Keywords,
    /// What stands before the letter for this reader: Return-Path, Delivered-To, Received, …;
    /// complete header fields with CRLF.
    pub head: Bytes,
}

/// A letter taken from another server.
pub struct Delivery {
    /// The letter as received.
    pub letter: Letter,
    /// The reverse-path; `None` is `<>`.
    pub reverse_path: Option<EmailAddress>,
    /// The recipients of the envelope as given, in order; part of the key by which a repeated
    /// delivery is known.
    pub envelope: Vec<EmailAddress>,
    /// Local copies.
    pub local: Vec<LocalRecipient>,
    /// Recipients elsewhere that aliases lead to; queued in the same commit.
    pub forwards: Vec<QueueRecipient>,
    /// What stands before the letter when it is forwarded (Received, …).
    pub forward_head: Bytes,
    /// RFC 3461 ENVID, decoded; passed on with what is forwarded.
    pub envelope_id: Option<String>,
    /// RFC 3461 RET; passed on with what is forwarded.
    pub dsn_return: DsnReturn,
    /// Whether the letter needs SMTPUTF8 on its way on.
    pub needs_utf8: bool,
    /// What the sender asked of its way; passed on with what is forwarded.
    pub handling: Handling,
    /// Reports to the sender, queued in the same commit; not if the letter is a repetition.
    pub reports: Vec<Submission>,
    /// When it was received.
    pub received_at: Timestamp,
    /// When forwarding is given up.
    pub expires_at: Timestamp,
    /// Steps to note.
    pub notes: Vec<Note>,
    /// Earlier letters of this connection whose replies the peer has surely seen. They count as
    /// confirmed whatever becomes of this letter.
    pub confirms: Vec<LetterId>,
}

/// What became of a delivery.
#[derive(Clone, Debug)]
pub struct Delivered {
    /// The letter's name in journey and log.
    pub letter: LetterId,
    /// The copies stored; empty if `repeated`.
    pub stored: Vec<StoredCopy>,
    /// Whether it equals a letter whose reply was never confirmed, and so was not stored again.
    pub repeated: bool,
    /// To be kept while the peer's connection is alive and it has not sent its next command.
    pub unconfirmed: Arc<Unconfirmed>,
}

/// Says, while it is kept, that the connection of a delivery is alive: an equal letter that comes
/// meanwhile is a letter of its own and is stored. When it is dropped without [`Store::confirm`],
/// an equal letter counts as the repetition of this one, for 24 hours.
pub struct Unconfirmed {
    letter: LetterId,
    shared: Arc<Shared>,
}

impl Unconfirmed {
    fn new(letter: LetterId, shared: &Arc<Shared>) -> Arc<Self> {
        shared.add_living(letter);
        Arc::new(Self {
            letter,
            shared: Arc::clone(shared),
        })
    }

    /// Makes a letter alive again; `None` if it is alive.
    fn again(letter: LetterId, shared: &Arc<Shared>) -> Option<Arc<Self>> {
        shared.add_living(letter).then(|| {
            Arc::new(Self {
                letter,
                shared: Arc::clone(shared),
            })
        })
    }
}

impl fmt::Debug for Unconfirmed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Unconfirmed({})", self.letter)
    }
}

impl Drop for Unconfirmed {
    fn drop(&mut self) {
        self.shared.end_living(self.letter);
    }
}

/// A copy in a mailbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredCopy {
    /// Whose.
    pub account: AccountId,
    /// The message.
    pub message: MessageId,
    /// The mailbox.
    pub mailbox: MailboxId,
    /// Its UID there.
    pub uid: Uid,
}

/// A letter to be sent: by a user, or by us (a report).
#[derive(Clone)]
pub struct Submission {
    /// The letter as received.
    pub letter: Letter,
    /// What stands before it when it is sent on (Received; missing Date or Message-ID).
    pub head: Bytes,
    /// Who sends; `None` for our own reports.
    pub account: Option<AccountId>,
    /// The reverse-path; `None` is `<>`.
    pub reverse_path: Option<EmailAddress>,
    /// To whom; at least one.
    pub recipients: Vec<QueueRecipient>,
    /// RFC 3461 ENVID, decoded.
    pub envelope_id: Option<String>,
    /// RFC 3461 RET.
    pub dsn_return: DsnReturn,
    /// Whether the envelope or header needs SMTPUTF8.
    pub needs_utf8: bool,
    /// What the sender asked of its way.
    pub handling: Handling,
    /// When it was received.
    pub received_at: Timestamp,
    /// Not to be tried before.
    pub hold_until: Option<Timestamp>,
    /// When it is given up.
    pub expires_at: Timestamp,
    /// The mailbox of `account` that gets a copy in the same commit.
    pub sent_copy: Option<Role>,
    /// Steps to note.
    pub notes: Vec<Note>,
}

/// What became of a submission.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submitted {
    /// The letter's name in queue, journey and log.
    pub letter: LetterId,
    /// Why it is held: its account sends far more than usual. An administrator decides about it.
    pub held: Option<String>,
}

impl Store {
    /// Stores and forwards a letter from another server in one commit; it is durable on `Ok`.
    ///
    /// # Errors
    /// [`StoreError::OverQuota`] only if no recipient at all could take it.
    pub async fn deliver(&self, delivery: Delivery) -> Result<Delivered, StoreError> {
        let shared = &self.0.shared;
        let has_confirms = !delivery.confirms.is_empty();
        shared.confirmed().add(&delivery.confirms);
        let delivered = self.deliver_one(delivery).await;
        if has_confirms && delivered.is_err() {
            // The confirmations went back with the rest; they are true all the same.
            shared.confirmed_later.notify_one();
        }
        delivered
    }

    async fn deliver_one(&self, mut delivery: Delivery) -> Result<Delivered, StoreError> {
        let mut reports = Vec::with_capacity(delivery.reports.len());
        for report in std::mem::take(&mut delivery.reports) {
            reports.push(self.prepare_submission(report).await?);
        }
        let need = if delivery.local.is_empty() {
            Need::Blob
        } else {
            Need::All
        };
        let prepared = self.prepare(&delivery.letter, need).await?;
        let shared = &self.0.shared;
        let letter = LetterId(shared.next_id());
        let unconfirmed = Unconfirmed::new(letter, shared);
        let copies = LocalCopies::new(&delivery.local, letter, delivery.received_at, false)?;
        let body = Deliver {
            letter,
            batch: shared.next_id(),
            key: delivery_key(&delivery),
            now: shared.now(),
            delivery,
            copies,
            prepared,
            reports,
            shared: Arc::clone(shared),
        };
        Ok(match self.0.engine.write(body, Priority::Urgent).await? {
            DeliverOut::Stored(stored) => Delivered {
                letter,
                stored: stored.iter().map(|message| message.copy).collect(),
                repeated: false,
                unconfirmed,
            },
            DeliverOut::Repeated(unconfirmed) => Delivered {
                letter: unconfirmed.letter,
                stored: Vec::new(),
                repeated: true,
                unconfirmed,
            },
        })
    }

    /// Queues a letter in one commit; it is durable on `Ok`.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] without recipients; [`StoreError::OverQuota`] if the sender's copy
    /// does not fit.
    pub async fn submit(&self, submission: Submission) -> Result<LetterId, StoreError> {
        Ok(self.submit_and_tell(submission).await?.letter)
    }

    /// The same, telling whether the letter is held.
    ///
    /// # Errors
    /// Those of [`Self::submit`], and [`StoreError::SentTooMuch`].
    pub async fn submit_and_tell(&self, submission: Submission) -> Result<Submitted, StoreError> {
        let body = self.prepare_submission(submission).await?;
        let letter = body.letter;
        let out = self.0.engine.write(body, Priority::Urgent).await?;
        Ok(Submitted {
            letter,
            held: out.counted.hold,
        })
    }

    /// Does what can be done before the transaction.
    pub(crate) async fn prepare_submission(
        &self,
        submission: Submission,
    ) -> Result<Submit, StoreError> {
        if submission.recipients.is_empty() {
            return Err(StoreError::Invalid("a letter needs a recipient".to_owned()));
        }
        let need = match submission.sent_copy {
            Some(_) => Need::All,
            None => Need::Blob,
        };
        let prepared = self.prepare(&submission.letter, need).await?;
        let shared = &self.0.shared;
        let now = submission.received_at;
        let sending = &self.0.limits.sending;
        let account = submission.account;
        let allowance = account.and_then(|id| shared.directory().allowance(id, sending, now));
        Ok(Submit {
            allowance,
            letter: LetterId(shared.next_id()),
            batch: shared.next_id(),
            notes: journey::encode(&submission.notes),
            submission,
            prepared,
            shared: Arc::clone(shared),
        })
    }
}

/// Local copies of a letter, ready to be stored.
pub(crate) struct LocalCopies {
    copies: Vec<LocalCopy>,
    letter: LetterId,
    received_at: Timestamp,
    /// Whether they are stored even where no recipient has room.
    over_quota: bool,
}

struct LocalCopy {
    recipient: LocalRecipient,
    keywords: String,
}

/// What the copies of a letter became.
#[derive(Default)]
pub(crate) struct StoredCopies {
    pub stored: Vec<Stored>,
    pub notes: Vec<Note>,
    over_quota: bool,
}

impl LocalCopies {
    pub(crate) fn new(
        recipients: &[LocalRecipient],
        letter: LetterId,
        received_at: Timestamp,
        over_quota: bool,
    ) -> Result<Self, StoreError> {
        let mut copies = Vec::with_capacity(recipients.len());
        for recipient in recipients {
            copies.push(LocalCopy {
                recipient: recipient.clone(),
                keywords: recipient.keywords.stored()?,
            });
        }
        // One order of accounts for all transactions: engines that lock rows need it.
        copies.sort_by_key(|copy| copy.recipient.account);
        Ok(Self {
            copies,
            letter,
            received_at,
            over_quota,
        })
    }

    /// The lowest account among them.
    pub(crate) fn first_account(&self) -> Option<AccountId> {
        self.copies.first().map(|copy| copy.recipient.account)
    }

    /// Whose they are, ascending.
    pub(crate) fn accounts(&self) -> impl Iterator<Item = AccountId> + '_ {
        self.copies.iter().map(|copy| copy.recipient.account)
    }

    /// Stores them. A recipient whose mailbox became full since it was accepted gets its letter all
    /// the same if others do: refusing the whole letter would make their copies come twice.
    pub(crate) async fn store(
        &self,
        tx: &mut Tx<'_>,
        letter: (&Prepared, i64),
        now: Timestamp,
        elsewhere: bool,
    ) -> Result<StoredCopies, StoreError> {
        let mut result = StoredCopies::default();
        let mut full = Vec::new();
        for copy in &self.copies {
            match self.insert(tx, copy, letter, now, self.over_quota).await? {
                Inserted::Stored(stored) => result.add(copy, stored, now),
                Inserted::OverQuota => full.push(copy),
                Inserted::NoAccount | Inserted::NoMailbox => result.lose(copy, now),
            }
        }
        if result.stored.is_empty() && !elsewhere {
            result.over_quota = !full.is_empty();
            return Ok(result);
        }
        for copy in full {
            match self.insert(tx, copy, letter, now, true).await? {
                Inserted::Stored(stored) => result.add(copy, stored, now),
                Inserted::OverQuota | Inserted::NoAccount | Inserted::NoMailbox => {
                    result.lose(copy, now);
                }
            }
        }
        Ok(result)
    }

    async fn insert(
        &self,
        tx: &mut Tx<'_>,
        copy: &LocalCopy,
        (prepared, blob_id): (&Prepared, i64),
        now: Timestamp,
        over_quota: bool,
    ) -> Result<Inserted, StoreError> {
        let recipient = &copy.recipient;
        let new = NewMessage {
            account: recipient.account,
            place: Place::Role(recipient.mailbox),
            keywords: &copy.keywords,
            seen: recipient.keywords.seen(),
            head: &recipient.head,
            letter: Some(self.letter),
            prepared,
            blob_id,
            received_at: self.received_at,
            now,
            over_quota,
        };
        insert_message(tx, &new).await
    }
}

impl StoredCopies {
    fn add(&mut self, copy: &LocalCopy, stored: Stored, now: Timestamp) {
        self.notes.push(Note {
            at: now,
            recipient: Some(copy.recipient.address.clone()),
            step: Step::Stored,
            detail: format!("{}, UID {}", stored.mailbox_name, stored.copy.uid),
        });
        self.stored.push(stored);
    }

    /// An account that was removed since its address was accepted.
    fn lose(&mut self, copy: &LocalCopy, now: Timestamp) {
        self.notes.push(Note {
            at: now,
            recipient: Some(copy.recipient.address.clone()),
            step: Step::Failed,
            detail: "the account was removed".to_owned(),
        });
    }

    /// Tells those who watch, and what the accounts take now.
    pub(crate) fn tell(stored: &[Stored], shared: &Shared) {
        for message in stored {
            let account = message.copy.account;
            shared.takes_now(account, message.used);
        }
    }
}

/// By what a repeated delivery is known: the letter, the reverse-path and the envelope.
fn delivery_key(delivery: &Delivery) -> [u8; 16] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(delivery.letter.hash());
    let reverse_path = delivery.reverse_path.as_ref().map(EmailAddress::key);
    hasher.update(reverse_path.unwrap_or_default().as_bytes());
    for recipient in &delivery.envelope {
        hasher.update(b"\n");
        hasher.update(recipient.key().as_bytes());
    }
    let mut key = [0; 16];
    hasher.finalize_xof().fill(&mut key);
    key
}

struct Deliver {
    letter: LetterId,
    batch: i64,
    key: [u8; 16],
    now: Timestamp,
    delivery: Delivery,
    copies: LocalCopies,
    prepared: Prepared,
    reports: Vec<Submit>,
    shared: Arc<Shared>,
}

/// What became of a delivery in its transaction.
enum DeliverOut {
    Stored(Vec<Stored>),
    /// The letter is alive again, on the connection that repeated it: what equals it from now on
    /// is a letter of its own. It is so from within the transaction, so that of two that come
    /// together only one counts as the repetition.
    Repeated(Arc<Unconfirmed>),
}

impl Body for Deliver {
    type Out = DeliverOut;

    fn account(&self) -> Option<AccountId> {
        self.copies.first_account()
    }

    fn accounts(&self) -> Vec<AccountId> {
        self.copies.accounts().collect()
    }

    fn blobs(&self) -> Vec<[u8; 32]> {
        let letter = std::iter::once(self.prepared.hash);
        letter
            .chain(self.reports.iter().flat_map(Body::blobs))
            .collect()
    }

    async fn run(&self, tx: &mut Tx<'_>) -> Result<DeliverOut, StoreError> {
        let delivery = &self.delivery;
        for letter in &delivery.confirms {
            confirm(tx, *letter).await?;
        }
        if let Some(unconfirmed) = self.repeated(tx).await? {
            return Ok(DeliverOut::Repeated(unconfirmed));
        }
        let blob_id = store_blob(tx, &self.prepared).await?;
        let letter = (&self.prepared, blob_id);
        let forwarded = !delivery.forwards.is_empty();
        let copies = self.copies.store(tx, letter, self.now, forwarded).await?;
        if copies.stored.is_empty() && !forwarded {
            return Err(if copies.over_quota {
                StoreError::OverQuota
            } else {
                StoreError::NotFound("account")
            });
        }
        if forwarded {
            let letter = self.forwarded(blob_id);
            insert_letter(tx, &letter, &self.shared).await?;
        }
        for report in &self.reports {
            report.run(tx).await?;
        }
        let sql = "INSERT INTO delivery
                (letter_id, delivery_key, received_at, node, incarnation, lost)
            VALUES ($1, $2, $3, $4, $5, 0)";
        let shared = &self.shared;
        let (key, node) = (self.key.as_slice(), &shared.node);
        let values = params![self.letter, key, self.now, node, shared.incarnation];
        tx.send(sql, values).await?;
        let mut notes = journey::encode(&delivery.notes);
        notes.extend(journey::encode(&copies.notes));
        let key = self.prepared.message_key;
        journey::add_row(tx, self.letter, self.batch, key, &notes).await?;
        Ok(DeliverOut::Stored(copies.stored))
    }

    fn committed(&self, out: &DeliverOut) {
        self.shared.end_confirmed(&self.delivery.confirms);
        let DeliverOut::Stored(stored) = out else {
            return;
        };
        self.shared.metrics.deliveries.inc();
        StoredCopies::tell(stored, &self.shared);
        for report in &self.reports {
            report.tell(None);
        }
        if !self.delivery.forwards.is_empty() {
            let lane = self.forwarded(0).lane();
            let lanes = lanes_of(&self.delivery.forwards, &lane);
            self.shared.watches.queue_changed(lanes);
        }
    }
}

impl Deliver {
    /// The letter that this one repeats: equal, unconfirmed, and its connection gone.
    async fn repeated(&self, tx: &mut Tx<'_>) -> Result<Option<Arc<Unconfirmed>>, StoreError> {
        let sql = "SELECT d.letter_id, d.node, d.incarnation, d.lost, n.incarnation, n.seen_at
            FROM delivery d LEFT JOIN node n ON n.name = d.node
            WHERE d.delivery_key = $1 AND d.received_at > $2 ORDER BY d.letter_id";
        let values = params![self.key.as_slice(), self.now - UNCONFIRMED_FOR];
        for row in tx.rows(sql, values).await? {
            let earlier = Earlier::read(row)?;
            if earlier.is_confirmed(&self.shared) || earlier.is_living(&self.shared, self.now) {
                continue;
            }
            let Some(unconfirmed) = Unconfirmed::again(earlier.letter, &self.shared) else {
                continue;
            };
            if !earlier.take_over(tx, &self.shared).await? {
                // Another node took this moment what repeats it.
                continue;
            }
            let note = Note {
                at: self.now,
                recipient: None,
                step: Step::Received,
                detail: "came again after a lost reply; not stored twice".to_owned(),
            };
            let notes = journey::encode(&[note]);
            journey::add_row(tx, earlier.letter, self.batch, None, &notes).await?;
            return Ok(Some(unconfirmed));
        }
        Ok(None)
    }

    fn forwarded(&self, blob_id: i64) -> NewLetter<'_> {
        let delivery = &self.delivery;
        NewLetter {
            letter: self.letter,
            hash: &self.prepared.hash,
            blob_id,
            bytes: self.prepared.bytes,
            head: &delivery.forward_head,
            account: None,
            reverse_path: delivery.reverse_path.as_ref(),
            envelope_id: delivery.envelope_id.as_deref(),
            dsn_return: delivery.dsn_return,
            needs_utf8: delivery.needs_utf8,
            handling: delivery.handling,
            received_at: delivery.received_at,
            due_at: self.now,
            expires_at: delivery.expires_at,
            recipients: &delivery.forwards,
            held: None,
        }
    }
}

/// An equal letter that nobody has confirmed yet.
struct Earlier {
    letter: LetterId,
    /// The node that has, or had, its connection.
    node: String,
    incarnation: i64,
    lost: bool,
    /// That node's row, if it has one.
    row: Option<NodeRow>,
}

impl Earlier {
    fn read(mut row: Row) -> Result<Self, StoreError> {
        let node = row.text(1)?;
        let known = match row.maybe_int(4)? {
            Some(incarnation) => Some(NodeRow {
                name: node.clone(),
                incarnation,
                seen_at: row.time(5)?,
            }),
            None => None,
        };
        Ok(Self {
            letter: LetterId(row.int(0)?),
            node,
            incarnation: row.int(2)?,
            lost: row.truth(3)?,
            row: known,
        })
    }

    /// Whether it was confirmed here, and only that could not be written yet.
    fn is_confirmed(&self, shared: &Shared) -> bool {
        let is_ours = self.node == shared.node && self.incarnation == shared.incarnation;
        shared.is_confirmed(self.letter, is_ours)
    }

    /// Whether its connection may still be alive. Taking a letter of its own for a repetition loses
    /// it, and the opposite only stores one twice: so another node counts as alive until it says
    /// that the connection is lost, or is known to be dead.
    fn is_living(&self, shared: &Shared, now: Timestamp) -> bool {
        if self.node == shared.node {
            return self.incarnation == shared.incarnation && shared.is_living(self.letter);
        }
        !self.lost
            && !shared
                .nodes
                .is_dead(self.incarnation, self.row.as_ref(), now)
    }

    /// Makes it this node's; `false` if another took it since it was read, whose connection is alive.
    /// That its connection was noted as lost meanwhile, by a task of this node, is no such change.
    async fn take_over(&self, tx: &mut Tx<'_>, shared: &Shared) -> Result<bool, StoreError> {
        let sql = "UPDATE delivery SET node = $1, incarnation = $2, lost = 0
            WHERE letter_id = $3 AND node = $4 AND incarnation = $5 AND lost >= $6";
        let values = params![
            &shared.node,
            shared.incarnation,
            self.letter,
            &self.node,
            self.incarnation,
            self.lost,
        ];
        Ok(tx.execute(sql, values).await? > 0)
    }
}

/// A submission, ready to be stored.
pub(crate) struct Submit {
    letter: LetterId,
    batch: i64,
    notes: Vec<u8>,
    submission: Submission,
    prepared: Prepared,
    /// What the account may send, if that is counted.
    allowance: Option<Allowance>,
    shared: Arc<Shared>,
}

/// What a submission gave in its transaction.
#[derive(Default)]
pub(crate) struct SubmitOut {
    /// The copy for the sender.
    pub copy: Option<Stored>,
    counted: Counted,
}

impl Body for Submit {
    type Out = SubmitOut;

    fn account(&self) -> Option<AccountId> {
        self.submission.account
    }

    fn blobs(&self) -> Vec<[u8; 32]> {
        vec![self.prepared.hash]
    }

    async fn run(&self, tx: &mut Tx<'_>) -> Result<SubmitOut, StoreError> {
        let submission = &self.submission;
        let now = submission.received_at;
        let counted = match (submission.account, &self.allowance) {
            (Some(account), Some(allowance)) => {
                let recipients = submission.recipients.len();
                sending::count(tx, account, allowance, recipients, now).await?
            }
            _ => Counted::default(),
        };
        let blob_id = store_blob(tx, &self.prepared).await?;
        let copy = self.sent_copy(tx, blob_id).await?;
        let held = counted.hold.as_deref();
        self.queue(tx, blob_id, copy.as_ref(), held).await?;
        if let (Some(account), Some(why), true) = (submission.account, held, counted.trips) {
            sending::trip(tx, account, why, now).await?;
        }
        Ok(SubmitOut { copy, counted })
    }

    fn committed(&self, out: &SubmitOut) {
        if let (Some(account), true) = (self.submission.account, out.counted.trips) {
            let mut directory = self.shared.directory_mut();
            directory.change_account(account, |known| {
                known.sending.held = Some(Held { told: false });
            });
            drop(directory);
            self.shared.directory_changed();
        }
        self.tell(out.copy.as_ref());
    }
}

impl Submit {
    /// Stores the letter, its recipients, its blob and its journey.
    async fn queue(
        &self,
        tx: &mut Tx<'_>,
        blob_id: i64,
        sent_copy: Option<&Stored>,
        held: Option<&str>,
    ) -> Result<(), StoreError> {
        let submission = &self.submission;
        let new = NewLetter {
            held,
            ..self.new_letter(blob_id)
        };
        insert_letter(tx, &new, &self.shared).await?;
        let mut notes = self.notes.clone();
        if let Some(why) = held {
            notes.extend(journey::encode(&[Note {
                at: submission.received_at,
                recipient: None,
                step: Step::Operated,
                detail: why.to_owned(),
            }]));
        }
        if let Some(stored) = sent_copy {
            notes.extend(journey::encode(&[Note {
                at: submission.received_at,
                recipient: None,
                step: Step::Stored,
                detail: format!("{}, UID {}", stored.mailbox_name, stored.copy.uid),
            }]));
        }
        let key = self.prepared.message_key;
        journey::add_row(tx, self.letter, self.batch, key, &notes).await
    }

    fn new_letter(&self, blob_id: i64) -> NewLetter<'_> {
        let submission = &self.submission;
        NewLetter {
            letter: self.letter,
            hash: &self.prepared.hash,
            blob_id,
            bytes: self.prepared.bytes,
            head: &submission.head,
            account: submission.account,
            reverse_path: submission.reverse_path.as_ref(),
            envelope_id: submission.envelope_id.as_deref(),
            dsn_return: submission.dsn_return,
            needs_utf8: submission.needs_utf8,
            handling: submission.handling,
            received_at: submission.received_at,
            due_at: submission.hold_until.unwrap_or(submission.received_at),
            expires_at: submission.expires_at,
            recipients: &submission.recipients,
            held: None,
        }
    }

    /// What follows the commit.
    pub(crate) fn tell(&self, copy: Option<&Stored>) {
        self.shared.metrics.submissions.inc();
        let lane = self.new_letter(0).lane();
        let lanes = lanes_of(&self.submission.recipients, &lane);
        self.shared.watches.queue_changed(lanes);
        if let Some(copy) = copy {
            StoredCopies::tell(std::slice::from_ref(copy), &self.shared);
        }
    }

    async fn sent_copy(&self, tx: &mut Tx<'_>, blob_id: i64) -> Result<Option<Stored>, StoreError> {
        let submission = &self.submission;
        let (Some(account), Some(role)) = (submission.account, submission.sent_copy) else {
            return Ok(None);
        };
        let new = NewMessage {
            account,
            place: Place::Role(role),
            keywords: "$seen",
            seen: true,
            head: &submission.head,
            letter: Some(self.letter),
            prepared: &self.prepared,
            blob_id,
            received_at: submission.received_at,
            now: submission.received_at,
            over_quota: false,
        };
        match insert_message(tx, &new).await? {
            Inserted::Stored(stored) => Ok(Some(stored)),
            Inserted::OverQuota => Err(StoreError::OverQuota),
            Inserted::NoAccount => Err(StoreError::NotFound("account")),
            Inserted::NoMailbox => Err(StoreError::NotFound("mailbox")),
        }
    }
}

/// Forgets deliveries that are too old to be repeated.
pub(crate) struct ForgetDeliveries {
    pub now: Timestamp,
}

impl Body for ForgetDeliveries {
    type Out = u64;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<u64, StoreError> {
        let sql = "DELETE FROM delivery WHERE letter_id IN
            (SELECT letter_id FROM delivery WHERE letter_id < $1 ORDER BY letter_id LIMIT 1000)";
        let oldest = first_id_at(self.now - UNCONFIRMED_FOR);
        tx.execute(sql, params![oldest]).await
    }
}
