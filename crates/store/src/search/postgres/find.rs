//! Answers a query, on one snapshot.

use std::collections::BTreeMap;

use base::{AccountId, MessageId};

use super::{mend, progress};
use crate::StoreError;
use crate::engine::{Body, Engine, Tx, params};
use crate::search::index::Page;
use crate::search::query::SearchQuery;
use crate::search::segments::{Docs, Finder, Gone, Keys, Marks, rows_of};

/// Blocks of a word that each segment gives at first: together a few megabytes at most.
const FIRST_BLOCKS: i64 = 4;
/// Blocks that a segment that has more gives at once.
const MORE_BLOCKS: i64 = 128;

/// The messages that a query finds.
pub(in crate::search) async fn find(
    engine: &Engine,
    account: AccountId,
    query: &SearchQuery,
    after: MessageId,
    limit: usize,
) -> Result<Page, StoreError> {
    let body = Find {
        account,
        query: query.clone(),
        after,
        limit,
    };
    let found = engine.read(body).await;
    let nothing = Page {
        progress: None,
        messages: Vec::new(),
    };
    Ok(mend(engine, account, found).await?.unwrap_or(nothing))
}

struct Find {
    account: AccountId,
    query: SearchQuery,
    after: MessageId,
    limit: usize,
}

impl Body for Find {
    type Out = Page;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Page, StoreError> {
        let progress = progress(tx, self.account).await?;
        let docs = self.docs(tx).await?;
        let least = self.after.0.max(0).saturating_add(1);
        let messages = match u32::try_from(least) {
            Ok(least) => docs
                .from(least)
                .take(self.limit)
                .map(|message| MessageId(message.into()))
                .collect(),
            Err(_) => Vec::new(),
        };
        Ok(Page { progress, messages })
    }
}

impl Find {
    async fn docs(&self, tx: &mut Tx<'_>) -> Result<Docs, StoreError> {
        let marks = marks(tx, self.account).await?;
        let sql = "SELECT segment_id, epoch FROM search_segment
            WHERE account_id = $1 AND state = 1";
        let rows = tx.rows(sql, params![self.account]).await?;
        let segments = rows
            .iter()
            .map(|row| Ok((row.int(0)?, marks.at(row.int(1)?))));
        let segments = segments.collect::<Result<BTreeMap<i64, Gone>, StoreError>>()?;
        let mut finder = Finder::new(self.account, &self.query);
        if segments.is_empty() {
            return Ok(finder.found());
        }
        while let Some(keys) = finder.next() {
            self.word(tx, &segments, &keys, &mut finder).await?;
        }
        Ok(finder.found())
    }

    /// Gives the blocks of a word.
    async fn word(
        &self,
        tx: &mut Tx<'_>,
        segments: &BTreeMap<i64, Gone>,
        keys: &Keys,
        finder: &mut Finder,
    ) -> Result<(), StoreError> {
        let sql = "SELECT s.segment_id, b.first, b.data FROM
                (SELECT segment_id FROM search_segment WHERE account_id = $1 AND state = 1) s
            CROSS JOIN LATERAL (SELECT first, data FROM search_block
                WHERE account_id = $1 AND segment_id = s.segment_id AND first < $3
                    AND first >= coalesce((SELECT first FROM search_block
                        WHERE account_id = $1 AND segment_id = s.segment_id AND first <= $2
                        ORDER BY first DESC LIMIT 1), $2)
                ORDER BY first LIMIT $4) b";
        let (start, end) = (keys.start.as_slice(), keys.end.as_slice());
        let values = params![self.account, start, end, FIRST_BLOCKS];
        // By segment: how many blocks it gave, and the highest first key.
        let mut given: BTreeMap<i64, (i64, Vec<u8>)> = BTreeMap::new();
        for mut row in tx.rows(sql, values).await? {
            let (segment, first) = (row.int(0)?, row.bytes(1)?);
            let (count, highest) = given.entry(segment).or_default();
            *count += 1;
            if first > *highest {
                *highest = first;
            }
            if let Some(gone) = segments.get(&segment) {
                finder.take(gone, row.bytes(2)?)?;
            }
        }
        for (segment, (count, highest)) in given {
            if let Some(gone) = segments.get(&segment).filter(|_| count == FIRST_BLOCKS) {
                self.rest(tx, segment, (highest, end), |block| {
                    finder.take(gone, block)
                })
                .await?;
            }
        }
        Ok(())
    }

    /// Gives the blocks of a segment whose first keys are between two.
    async fn rest(
        &self,
        tx: &mut Tx<'_>,
        segment: i64,
        (mut after, end): (Vec<u8>, &[u8]),
        mut take: impl FnMut(Vec<u8>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        loop {
            let sql = "SELECT first, data FROM search_block
                WHERE account_id = $1 AND segment_id = $2 AND first > $3 AND first < $4
                ORDER BY first LIMIT $5";
            let values = params![self.account, segment, after.as_slice(), end, MORE_BLOCKS];
            let rows = tx.rows(sql, values).await?;
            let is_all = i64::try_from(rows.len()) != Ok(MORE_BLOCKS);
            for mut row in rows {
                after = row.bytes(0)?;
                take(row.bytes(1)?)?;
            }
            if is_all {
                return Ok(());
            }
        }
    }
}

/// The marks of an account.
pub(super) async fn marks(tx: &mut Tx<'_>, account: AccountId) -> Result<Marks, StoreError> {
    let (zero, last) = rows_of(account)?;
    let sql = "SELECT first, last, through FROM search_dead
        WHERE account_id = $1 ORDER BY first";
    let rows = tx.rows(sql, params![account]).await?;
    let row_at = |message: i64| zero.saturating_add(message.max(0)).min(last);
    let marks = rows
        .iter()
        .map(|row| Ok((row_at(row.int(0)?), row_at(row.int(1)?), row.int(2)?)));
    marks.collect::<Result<_, StoreError>>().map(Marks)
}
