//! Claiming what is due, and keeping claims alive.

use std::sync::Arc;

use base::{AccountId, Domain, LetterId, RecipientId, Timestamp};

use super::{Claim, ClaimRef, ClaimedRecipient, DsnReturn, Handling, Lane, Notify};
use crate::StoreError;
use crate::directory::address;
use crate::engine::{Body, Row, Tx, params};
use crate::shared::Shared;

/// Recipients that one transaction claims, or a few more: those of a letter are claimed together.
const RECIPIENTS_CLAIMED_MAX: usize = 1_000;
/// How often a node that comes second to all letters it found looks for more.
const TURNS_IN_VAIN_MAX: u32 = 4;

/// Claims letters of one lane to a domain.
pub(super) struct TakeClaims {
    pub domain: Domain,
    pub lane: Lane,
    pub count: usize,
    pub now: Timestamp,
    pub until: Timestamp,
    pub shared: Arc<Shared>,
}

impl Body for TakeClaims {
    type Out = Vec<Claim>;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Vec<Claim>, StoreError> {
        let mut claims: Vec<Claim> = Vec::new();
        let mut recipients = 0;
        let mut in_vain = 0;
        let lane = self.lane.text();
        while claims.len() < self.count && recipients < RECIPIENTS_CLAIMED_MAX {
            // Recipients of a letter mostly stand beside each other here; those claimed leave the
            // range, so that each turn sees new letters.
            let sql = "SELECT letter_id FROM recipient
                WHERE held = 0 AND domain = $1 AND lane = $2 AND next_at <= $3
                ORDER BY next_at, letter_id LIMIT $4";
            let missing = i64::try_from(self.count - claims.len()).unwrap_or(i64::MAX);
            let values = params![self.domain.as_str(), &lane, self.now, missing];
            let rows = tx.rows(sql, values).await?;
            if rows.is_empty() {
                break;
            }
            let mut letters: Vec<i64> = Vec::with_capacity(rows.len());
            for row in &rows {
                let letter = row.int(0)?;
                if !letters.contains(&letter) {
                    letters.push(letter);
                }
            }
            let before = claims.len();
            for letter in letters {
                if recipients >= RECIPIENTS_CLAIMED_MAX {
                    break;
                }
                if let Some(claim) = self.take(tx, LetterId(letter)).await? {
                    recipients += claim.recipients.len();
                    claims.push(claim);
                }
            }
            // Another node may have claimed all of them meanwhile, and more are due behind them.
            in_vain = if claims.len() == before {
                in_vain + 1
            } else {
                0
            };
            if in_vain == TURNS_IN_VAIN_MAX {
                break;
            }
        }
        Ok(claims)
    }
}

impl TakeClaims {
    async fn take(&self, tx: &mut Tx<'_>, letter: LetterId) -> Result<Option<Claim>, StoreError> {
        let fence = self.shared.next_id();
        let sql = "UPDATE recipient SET fence = $1, node = $2, incarnation = $3, next_at = $4
            WHERE letter_id = $5 AND domain = $6 AND held = 0 AND next_at <= $7
            RETURNING recipient_id, address, original, notify, attempts, delay_reported";
        let values = params![
            fence,
            &self.shared.node,
            self.shared.incarnation,
            self.until,
            letter,
            self.domain.as_str(),
            self.now,
        ];
        let rows = tx.rows(sql, values).await?;
        let recipients: Result<Vec<_>, _> = rows.into_iter().map(claimed).collect();
        let mut recipients = recipients?;
        recipients.sort_by_key(|recipient| recipient.id);
        if recipients.is_empty() {
            // Another was quicker, and the letter may be gone.
            return Ok(None);
        }
        let sql = "SELECT sender_account, reverse_path, envelope_id, dsn_return, needs_utf8,
                head, size, received_at, expires_at,
                tls_wish, deliver_by, deliver_by_mode, priority
            FROM letter WHERE letter_id = $1";
        let mut row = tx.one(sql, params![letter]).await?;
        let reverse_path = row.maybe_text(1)?;
        Ok(Some(Claim {
            reference: ClaimRef { letter, fence },
            domain: self.domain.clone(),
            lane: self.lane.clone(),
            account: row.maybe_int(0)?.map(AccountId),
            reverse_path: reverse_path.as_deref().map(address).transpose()?,
            envelope_id: row.maybe_text(2)?,
            dsn_return: DsnReturn::from_number(row.int(3)?),
            needs_utf8: row.truth(4)?,
            head: row.bytes(5)?.into(),
            size: row.unsigned(6)?,
            received_at: row.time(7)?,
            expires_at: row.time(8)?,
            handling: Handling::read(&mut row, 9)?,
            recipients,
        }))
    }
}

fn claimed(mut row: Row) -> Result<ClaimedRecipient, StoreError> {
    Ok(ClaimedRecipient {
        id: RecipientId(row.int(0)?),
        address: address(&row.text(1)?)?,
        original: row.maybe_text(2)?,
        notify: Notify::from_number(row.int(3)?),
        attempts: row.u32(4)?,
        delay_reported: row.truth(5)?,
    })
}

/// The hash of a queued letter.
pub(super) struct LetterHash {
    pub letter: LetterId,
}

impl Body for LetterHash {
    type Out = [u8; 32];

    async fn run(&self, tx: &mut Tx<'_>) -> Result<[u8; 32], StoreError> {
        let sql = "SELECT blob_hash FROM letter WHERE letter_id = $1";
        let row = tx.row(sql, params![self.letter]).await?;
        row.ok_or(StoreError::NotFound("letter"))?.hash(0)
    }
}

/// Extends claims; gives those that are lost.
pub(super) struct Renew {
    pub claims: Vec<ClaimRef>,
    pub until: Timestamp,
}

impl Body for Renew {
    type Out = Vec<ClaimRef>;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Vec<ClaimRef>, StoreError> {
        let mut lost = Vec::new();
        for claim in &self.claims {
            let sql = "UPDATE recipient SET next_at = $1 WHERE letter_id = $2 AND fence = $3";
            if tx
                .execute(sql, params![self.until, claim.letter, claim.fence])
                .await?
                == 0
            {
                lost.push(*claim);
            }
        }
        Ok(lost)
    }
}
