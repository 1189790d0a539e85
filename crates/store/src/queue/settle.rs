//! The end of a claim: outcomes, local copies, forwards and reports in one commit.

use std::collections::BTreeSet;
use std::sync::Arc;

use base::{AccountId, Domain, LetterId, RecipientId, Timestamp};

use super::claims::LetterHash;
use super::rows::{NewLetter, insert_letter, lanes_of, remove_if_done};
use super::{DsnReturn, Handling, Lane, LastAttempt, Outcome, Settlement};
use crate::blobs::{revive, store_blob};
use crate::copies::Stored;
use crate::deliver::{LocalCopies, StoredCopies, Submit};
use crate::directory::{address, domain};
use crate::engine::{Body, Tx, params};
use crate::journey::{self, Step};
use crate::prepare::{Need, Prepared};
use crate::sending::count_refused;
use crate::shared::Shared;
use crate::{Note, Store, StoreError, suppression};

/// Words of a reason that are kept.
const REASON_BYTES_MAX: usize = 1_000;

/// A settlement, ready for its transaction.
pub(super) struct Settle {
    settlement: Settlement,
    /// The letter, if there are local copies.
    prepared: Option<Prepared>,
    copies: LocalCopies,
    reports: Vec<Submit>,
    forward_letter: LetterId,
    batch: i64,
    forward_batch: i64,
    now: Timestamp,
    shared: Arc<Shared>,
}

impl Store {
    /// Does what can be done before the transaction; `None` if the letter is gone.
    pub(super) async fn prepare_settlement(
        &self,
        mut settlement: Settlement,
    ) -> Result<Option<Settle>, StoreError> {
        let shared = &self.0.shared;
        let letter = settlement.claim.letter;
        let mut reports = Vec::with_capacity(settlement.reports.len());
        for report in std::mem::take(&mut settlement.reports) {
            reports.push(self.prepare_submission(report).await?);
        }
        let mut prepared = None;
        if !settlement.local.is_empty() {
            let hash = match self.0.engine.read(LetterHash { letter }).await {
                Ok(hash) => hash,
                Err(StoreError::NotFound(_)) => return Ok(None),
                Err(error) => return Err(error),
            };
            let bytes = self.load_letter(hash).await?;
            prepared = Some(self.prepare(&bytes, Need::Shown).await?);
        }
        // Good news need no transaction where nothing is known against anybody.
        if !settlement.addresses.reached.is_empty() && !self.has_suppressions().await? {
            settlement.addresses.reached.clear();
        }
        let now = shared.now();
        Ok(Some(Settle {
            copies: LocalCopies::new(&settlement.local, letter, now, true)?,
            settlement,
            prepared,
            reports,
            forward_letter: LetterId(shared.next_id()),
            batch: shared.next_id(),
            forward_batch: shared.next_id(),
            now,
            shared: Arc::clone(shared),
        }))
    }
}

/// What became of a settlement in its transaction.
pub(super) struct Settled {
    /// Whether the claim was ours.
    pub held: bool,
    stored: Vec<Stored>,
    /// The senders' copies of the reports, in their order.
    report_copies: Vec<Option<Stored>>,
    /// Where letters are due now: what was given back, and what was forwarded.
    due_now: Vec<(Domain, Lane)>,
}

impl Body for Settle {
    type Out = Settled;

    fn account(&self) -> Option<AccountId> {
        self.copies.first_account()
    }

    fn accounts(&self) -> Vec<AccountId> {
        let senders = self.reports.iter().filter_map(Body::account);
        self.copies.accounts().chain(senders).collect()
    }

    fn blobs(&self) -> Vec<[u8; 32]> {
        let letter = self.prepared.iter().map(|prepared| prepared.hash);
        letter
            .chain(self.reports.iter().flat_map(Body::blobs))
            .collect()
    }

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Settled, StoreError> {
        let claim = self.settlement.claim;
        let sql = "SELECT recipient_id, domain, lane FROM recipient
            WHERE letter_id = $1 AND fence = $2 ORDER BY recipient_id FOR UPDATE";
        let rows = tx.rows(sql, params![claim.letter, claim.fence]).await?;
        let mut held = BTreeSet::new();
        let mut due_now = Vec::new();
        for mut row in rows {
            held.insert(RecipientId(row.int(0)?));
            // All of a claim stand in one lane.
            if due_now.is_empty() {
                due_now.push((domain(&row.text(1)?)?, Lane::parse(&row.text(2)?)));
            }
        }
        if held.is_empty() {
            return Ok(Settled {
                held: false,
                stored: Vec::new(),
                report_copies: Vec::new(),
                due_now: Vec::new(),
            });
        }
        if !self.outcomes(tx, held).await? {
            due_now.clear();
        }
        let mut notes = journey::encode(&self.settlement.notes);
        let mut stored = Vec::new();
        if let Some(prepared) = &self.prepared {
            let blob_id = store_blob(tx, prepared).await?;
            let letter = (prepared, blob_id);
            let copies = self.copies.store(tx, letter, self.now, true).await?;
            notes.extend(journey::encode(&copies.notes));
            stored = copies.stored;
        }
        due_now.extend(self.forward(tx).await?);
        suppression::learn(tx, &self.settlement.addresses, self.now).await?;
        let mut report_copies = Vec::with_capacity(self.reports.len());
        for report in &self.reports {
            report_copies.push(report.run(tx).await?.copy);
        }
        if !notes.is_empty() {
            journey::add_row(tx, claim.letter, self.batch, None, &notes).await?;
        }
        remove_if_done(tx, claim.letter, self.now).await?;
        Ok(Settled {
            held: true,
            stored,
            report_copies,
            due_now,
        })
    }

    fn committed(&self, out: &Settled) {
        if !out.held {
            return;
        }
        StoredCopies::tell(&out.stored, &self.shared);
        if !self.settlement.addresses.failed.is_empty() {
            self.shared.suppressions.forget();
        }
        for (report, copy) in self.reports.iter().zip(&out.report_copies) {
            report.tell(copy.as_ref());
        }
        // What has left the queue is no news to who works on it.
        if !out.due_now.is_empty() {
            let lanes = out.due_now.iter().cloned();
            self.shared.watches.queue_changed(lanes);
        }
        if let Some(at) = self.next_at() {
            self.shared.watches.queue_later(at);
        }
    }
}

fn short(text: &str) -> &str {
    &text[..text.floor_char_boundary(REASON_BYTES_MAX)]
}

impl Settle {
    /// When the first recipient that is tried later is tried.
    fn next_at(&self) -> Option<Timestamp> {
        let outcomes = self.settlement.outcomes.iter();
        let times = outcomes.filter_map(|(_, outcome)| match outcome {
            Outcome::Retry { at, .. } => Some(*at),
            Outcome::Done | Outcome::Failed { .. } => None,
        });
        times.min()
    }

    /// Writes what became of the recipients; whether any of them is due at once.
    async fn outcomes(
        &self,
        tx: &mut Tx<'_>,
        mut held: BTreeSet<RecipientId>,
    ) -> Result<bool, StoreError> {
        let mut due_now = false;
        let letter = self.settlement.claim.letter;
        for (recipient, outcome) in &self.settlement.outcomes {
            if !held.remove(recipient) {
                // Dropped by the operator, or named twice.
                continue;
            }
            match outcome {
                Outcome::Done | Outcome::Failed { .. } => {
                    let sql = "DELETE FROM recipient WHERE letter_id = $1 AND recipient_id = $2";
                    tx.send(sql, params![letter, *recipient]).await?;
                }
                Outcome::Retry {
                    at,
                    reason,
                    delay_reported,
                    counts,
                    last,
                } => {
                    due_now |= *at <= self.now;
                    let sql = "UPDATE recipient SET fence = 0, node = '', incarnation = 0,
                            next_at = $1, reason = $2, attempts = attempts + $3,
                            delay_reported = CASE WHEN $4 = 1 THEN 1 ELSE delay_reported END
                        WHERE letter_id = $5 AND recipient_id = $6";
                    let values = params![
                        *at,
                        short(reason),
                        *counts,
                        *delay_reported,
                        letter,
                        *recipient
                    ];
                    tx.send(sql, values).await?;
                    if *counts {
                        self.keep_last(tx, *recipient, last).await?;
                    }
                }
            }
        }
        let refused = self.settlement.outcomes.iter();
        let refused = refused.filter(|(_, outcome)| matches!(outcome, Outcome::Failed { .. }));
        let refused = refused.count();
        if refused > 0 {
            count_refused(tx, letter, refused, self.now).await?;
        }
        for recipient in held {
            due_now = true;
            let sql = "UPDATE recipient SET fence = 0, node = '', incarnation = 0, next_at = $1
                WHERE letter_id = $2 AND recipient_id = $3";
            tx.send(sql, params![self.now, letter, recipient]).await?;
        }
        Ok(due_now)
    }

    async fn keep_last(
        &self,
        tx: &mut Tx<'_>,
        recipient: RecipientId,
        last: &LastAttempt,
    ) -> Result<(), StoreError> {
        let sql = "UPDATE recipient SET class = $1, reply = $2, host = $3, tls = $4, tried_at = $5
            WHERE letter_id = $6 AND recipient_id = $7";
        let values = params![
            short(&last.class),
            short(&last.reply),
            short(&last.host),
            short(&last.tls),
            self.now,
            self.settlement.claim.letter,
            recipient,
        ];
        tx.send(sql, values).await
    }

    /// Queues what aliases of local recipients lead to: a letter of its own on the same blob. Gives
    /// where it stands.
    async fn forward(&self, tx: &mut Tx<'_>) -> Result<Vec<(Domain, Lane)>, StoreError> {
        let forwards = &self.settlement.forwards;
        if forwards.is_empty() {
            return Ok(Vec::new());
        }
        let letter = self.settlement.claim.letter;
        let sql = "SELECT blob_hash, sender_account, reverse_path, envelope_id, dsn_return,
                needs_utf8, size, received_at, expires_at, head, blob_id,
                tls_wish, deliver_by, deliver_by_mode, priority
            FROM letter WHERE letter_id = $1";
        let mut row = tx.one(sql, params![letter]).await?;
        let hash = row.hash(0)?;
        let head = row.bytes(9)?;
        let reverse_path = row.maybe_text(2)?.as_deref().map(address).transpose()?;
        let envelope_id = row.maybe_text(3)?;
        let new = NewLetter {
            letter: self.forward_letter,
            hash: &hash,
            blob_id: row.int(10)?,
            bytes: row.unsigned(6)?.saturating_sub(head.len() as u64),
            head: &head,
            account: row.maybe_int(1)?.map(AccountId),
            reverse_path: reverse_path.as_ref(),
            envelope_id: envelope_id.as_deref(),
            dsn_return: DsnReturn::from_number(row.int(4)?),
            needs_utf8: row.truth(5)?,
            received_at: row.time(7)?,
            due_at: self.now,
            expires_at: row.time(8)?,
            handling: Handling::read(&mut row, 11)?,
            recipients: forwards,
            held: None,
        };
        let lanes = lanes_of(forwards, &new.lane());
        insert_letter(tx, &new, &self.shared).await?;
        revive(tx, &hash).await?;
        let sql = "SELECT message_key FROM letter_name WHERE letter_id = $1";
        let key = match tx.row(sql, params![letter]).await? {
            Some(row) => row.maybe_int(0)?,
            None => None,
        };
        let notes = journey::encode(&[Note {
            at: self.now,
            recipient: None,
            step: Step::Forwarded,
            detail: format!("by an alias; before that it was letter {letter}"),
        }]);
        journey::add_row(tx, self.forward_letter, self.forward_batch, key, &notes).await?;
        Ok(lanes)
    }
}
