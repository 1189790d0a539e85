//! A letter is handed out to the members of a list, a portion in each transaction. Each member's
//! letter is one of the queue with a reverse-path and a head of its own; the bytes below the head are
//! stored once.
//!
//! How far it has come stands beside the letter that the list got. A crash between two portions
//! costs nothing: whoever claims that letter next goes on behind the last member.

use std::sync::Arc;

use base::{EmailAddress, LetterId, RecipientId, Timestamp};
use bytes::Bytes;

use crate::blobs::{revive, store_blob};
use crate::directory::signed;
use crate::engine::{Body, Priority, Tx, params};
use crate::journey::{self, Step};
use crate::prepare::{Need, Prepared};
use crate::queue::rows::{NewLetter, insert_letter};
use crate::shared::Shared;
use crate::{
    ClaimRef, DsnReturn, Handling, Letter, Note, Notify, QueueRecipient, Store, StoreError,
};

/// A portion of the members.
pub struct Portion {
    /// The claim of the letter that the list got.
    pub claim: ClaimRef,
    /// The recipient that is the list.
    pub recipient: RecipientId,
    /// The list.
    pub list: EmailAddress,
    /// The last member before this portion; 0 at the start.
    pub after: i64,
    /// The last member that was looked at for this portion.
    pub up_to: i64,
    /// What is below the heads.
    pub letter: Letter,
    /// Who gets it.
    pub members: Vec<MemberLetter>,
    /// Whether it needs SMTPUTF8.
    pub needs_utf8: bool,
    /// When the members' letters are given up.
    pub expires_at: Timestamp,
}

/// One member's letter.
#[derive(Clone, Debug)]
pub struct MemberLetter {
    /// The member.
    pub address: EmailAddress,
    /// Where reports about it come back.
    pub reverse_path: EmailAddress,
    /// What stands above the letter.
    pub head: Bytes,
}

impl Store {
    /// How far a letter has been handed out: the last member, and how many have got it.
    ///
    /// # Errors
    /// Those of reading.
    pub async fn handed_out(
        &self,
        letter: LetterId,
        recipient: RecipientId,
    ) -> Result<(i64, u64), StoreError> {
        self.0.engine.read(ReadProgress { letter, recipient }).await
    }

    /// Hands a portion out in one commit; how many have the letter now. `None`: the claim was lost,
    /// or the portion is not the next one, and nothing was changed.
    ///
    /// # Errors
    /// Those of writing.
    pub async fn hand_out(&self, portion: Portion) -> Result<Option<u64>, StoreError> {
        let prepared = self.prepare(&portion.letter, Need::Blob).await?;
        let shared = &self.0.shared;
        let ids = portion.members.iter().map(|_| LetterId(shared.next_id()));
        let body = HandOut {
            letters: ids.collect(),
            batch: shared.next_id(),
            now: shared.now(),
            prepared,
            portion,
            shared: Arc::clone(shared),
        };
        self.0.engine.write(body, Priority::Bulk).await
    }
}

struct HandOut {
    portion: Portion,
    prepared: Prepared,
    letters: Vec<LetterId>,
    batch: i64,
    now: Timestamp,
    shared: Arc<Shared>,
}

impl Body for HandOut {
    type Out = Option<u64>;

    fn blobs(&self) -> Vec<[u8; 32]> {
        vec![self.prepared.hash]
    }

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Option<u64>, StoreError> {
        let portion = &self.portion;
        let claim = portion.claim;
        let sql = "SELECT 1 FROM recipient
            WHERE letter_id = $1 AND recipient_id = $2 AND fence = $3 FOR UPDATE";
        let held = params![claim.letter, portion.recipient, claim.fence];
        if tx.row(sql, held).await?.is_none() {
            return Ok(None);
        }
        let (after, sent) = progress(tx, claim.letter, portion.recipient).await?;
        if after != portion.after {
            return Ok(None);
        }
        if !portion.members.is_empty() {
            let blob_id = store_blob(tx, &self.prepared).await?;
            revive(tx, &self.prepared.hash).await?;
            for (letter, member) in self.letters.iter().zip(&portion.members) {
                self.insert(tx, *letter, member, blob_id).await?;
            }
        }
        let sent = sent + portion.members.len() as u64;
        let sql = "INSERT INTO list_sending (letter_id, recipient_id, list_key, last_member, sent)
            VALUES ($1, $2, $3, $4, $5)
            ON CONFLICT (letter_id, recipient_id) DO UPDATE SET last_member = $4, sent = $5";
        let key = portion.list.key();
        let values = params![
            claim.letter,
            portion.recipient,
            &key,
            portion.up_to,
            signed(sent)
        ];
        tx.execute(sql, values).await?;
        Ok(Some(sent))
    }

    fn committed(&self, sent: &Option<u64>) {
        if sent.is_some() {
            self.shared.watches.much_of_queue_changed();
        }
    }
}

impl HandOut {
    async fn insert(
        &self,
        tx: &mut Tx<'_>,
        letter: LetterId,
        member: &MemberLetter,
        blob_id: i64,
    ) -> Result<(), StoreError> {
        let portion = &self.portion;
        let recipient = QueueRecipient {
            address: member.address.clone(),
            original: None,
            // A list wants to hear of failures, and of nothing else.
            notify: Notify {
                success: false,
                failure: true,
                delay: false,
                asked: true,
            },
        };
        let new = NewLetter {
            letter,
            hash: &self.prepared.hash,
            blob_id,
            bytes: self.prepared.bytes,
            head: &member.head,
            account: None,
            reverse_path: Some(&member.reverse_path),
            envelope_id: None,
            dsn_return: DsnReturn::Headers,
            needs_utf8: portion.needs_utf8,
            received_at: self.now,
            due_at: self.now,
            expires_at: portion.expires_at,
            handling: Handling::default(),
            held: None,
            recipients: std::slice::from_ref(&recipient),
        };
        insert_letter(tx, &new, &self.shared).await?;
        let origin = portion.claim.letter;
        let note = Note {
            at: self.now,
            recipient: None,
            step: Step::Forwarded,
            detail: format!(
                "by the list {}; before that it was letter {origin}",
                portion.list
            ),
        };
        journey::add_row(tx, letter, self.batch, None, &journey::encode(&[note])).await
    }
}

struct ReadProgress {
    letter: LetterId,
    recipient: RecipientId,
}

impl Body for ReadProgress {
    type Out = (i64, u64);

    async fn run(&self, tx: &mut Tx<'_>) -> Result<(i64, u64), StoreError> {
        progress(tx, self.letter, self.recipient).await
    }
}

async fn progress(
    tx: &mut Tx<'_>,
    letter: LetterId,
    recipient: RecipientId,
) -> Result<(i64, u64), StoreError> {
    let sql = "SELECT last_member, sent FROM list_sending
        WHERE letter_id = $1 AND recipient_id = $2";
    match tx.row(sql, params![letter, recipient]).await? {
        Some(row) => Ok((row.int(0)?, row.unsigned(1)?)),
        None => Ok((0, 0)),
    }
}
