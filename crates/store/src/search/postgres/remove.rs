//! Removing segments and whole accounts, piece by piece.

use base::AccountId;

use super::LAGGING_MAX;
use crate::StoreError;
use crate::engine::{Body, Engine, Priority, Tx, params};

/// Blocks that one transaction removes.
const PIECE_BLOCKS: i64 = 500;

/// Removes a segment that is not searched any more.
pub(super) async fn remove(
    engine: &Engine,
    account: AccountId,
    segment: i64,
) -> Result<(), StoreError> {
    while engine
        .write(Remove { account, segment }, Priority::Bulk)
        .await?
    {}
    Ok(())
}

/// Removes some blocks of a segment, and with the last the segment; whether there are more.
struct Remove {
    account: AccountId,
    segment: i64,
}

impl Body for Remove {
    type Out = bool;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<bool, StoreError> {
        let sql = "DELETE FROM search_block
            WHERE account_id = $1 AND segment_id = $2 AND first IN (SELECT first FROM search_block
                WHERE account_id = $1 AND segment_id = $2 ORDER BY first LIMIT $3)";
        let values = params![self.account, self.segment, PIECE_BLOCKS];
        if has_more(tx.execute(sql, values).await?) {
            return Ok(true);
        }
        let sql = "DELETE FROM search_segment
            WHERE account_id = $1 AND segment_id = $2 AND state = 2";
        tx.execute(sql, params![self.account, self.segment]).await?;
        Ok(false)
    }
}

/// Whether a piece may not have been the last.
fn has_more(removed: u64) -> bool {
    i64::try_from(removed).is_ok_and(|removed| removed >= PIECE_BLOCKS)
}

/// Removes what belongs to accounts that are no more.
pub(in crate::search) async fn forget_removed(engine: &Engine) -> Result<(), StoreError> {
    for account in engine.read(Removed).await? {
        forget(engine, account).await?;
    }
    Ok(())
}

/// Removes all of an account.
pub(super) async fn forget(engine: &Engine, account: AccountId) -> Result<(), StoreError> {
    while engine.write(Forget { account }, Priority::Bulk).await? {}
    Ok(())
}

struct Removed;

impl Body for Removed {
    type Out = Vec<AccountId>;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Vec<AccountId>, StoreError> {
        let sql = "SELECT p.account_id FROM search_progress p WHERE NOT EXISTS
                (SELECT 1 FROM account a WHERE a.account_id = p.account_id AND a.removing = 0)
            LIMIT $1";
        let rows = tx.rows(sql, params![LAGGING_MAX]).await?;
        rows.iter().map(|row| Ok(AccountId(row.int(0)?))).collect()
    }
}

/// Removes an account's segments and some of their blocks, and its progress with the last; whether
/// there are more.
struct Forget {
    account: AccountId,
}

impl Body for Forget {
    type Out = bool;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<bool, StoreError> {
        let account = self.account;
        let sql = "SELECT 1 FROM search_progress WHERE account_id = $1 FOR UPDATE";
        tx.lock(sql, params![account]).await?;
        // Who merges notices.
        let sql = "DELETE FROM search_segment WHERE account_id = $1";
        tx.send(sql, params![account]).await?;
        let sql = "DELETE FROM search_dead WHERE account_id = $1";
        tx.send(sql, params![account]).await?;
        let sql = "DELETE FROM search_block WHERE account_id = $1 AND (segment_id, first) IN
            (SELECT segment_id, first FROM search_block
                WHERE account_id = $1 ORDER BY segment_id, first LIMIT $2)";
        if has_more(tx.execute(sql, params![account, PIECE_BLOCKS]).await?) {
            return Ok(true);
        }
        let sql = "DELETE FROM search_progress WHERE account_id = $1";
        tx.execute(sql, params![account]).await?;
        Ok(false)
    }
}
