//! Merging an account's segments: few large ones instead of many small ones, without what is gone.
//!
//! It reads segments that nobody changes, and writes in short transactions, so that letters are added
//! and searched meanwhile. What a node leaves behind when it dies in the middle (a segment that was
//! being built, others that were to be removed) is removed by the next one that merges. Small segments
//! are merged in one transaction.

use std::collections::BTreeMap;

use base::AccountId;

use super::find::marks;
use super::remove::remove;
use super::{NewSegment, SHAPE, add_blocks, add_segment};
use crate::StoreError;
use crate::engine::{Body, Engine, Priority, Row, Tx, params};
use crate::search::segments::{BUILDING, Block, LIVE, Marks, Merger, REMOVED, Segment, Wants};

/// Blocks that each segment gives at first.
const FIRST_BLOCKS: i64 = 8;
/// Blocks that a segment gives at once after that.
const MORE_BLOCKS: i64 = 32;
/// Segments with so many letters together are removed with the transaction that replaces them.
const SMALL_LETTERS: i64 = 500;

/// Merges until nothing is left to merge, or another node is at it.
pub(super) async fn run(engine: &Engine, account: AccountId, node: &str) -> Result<(), StoreError> {
    loop {
        let plan = engine.read(ReadPlan { account }).await?;
        if !plan.others.is_empty() {
            let node = node.to_owned();
            let condemn = Condemn { account, node };
            for segment in engine.write(condemn, Priority::Bulk).await? {
                remove(engine, account, segment).await?;
            }
        }
        if plan.inputs.is_empty() || !merge(engine, account, node, plan).await? {
            return Ok(());
        }
    }
}

/// What is merged next.
struct Plan {
    /// In order of epoch.
    inputs: Vec<Segment>,
    marks: Marks,
    /// The last mark that is taken into account, if all segments are merged, and the letters of all
    /// marks.
    clears: Option<(i64, i64)>,
    /// Segments that are not searched.
    others: Vec<i64>,
}

struct ReadPlan {
    account: AccountId,
}

impl Body for ReadPlan {
    type Out = Plan;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Plan, StoreError> {
        let sql = "SELECT segment_id, epoch, letters, state FROM search_segment
            WHERE account_id = $1 ORDER BY epoch, segment_id";
        let (mut segments, mut others) = (Vec::new(), Vec::new());
        for row in tx.rows(sql, params![self.account]).await? {
            let segment = Segment {
                id: row.int(0)?,
                epoch: row.int(1)?,
                letters: row.int(2)?,
            };
            if row.int(3)? == LIVE {
                segments.push(segment);
            } else {
                others.push(segment.id);
            }
        }
        let sql = "SELECT count(*), CAST(coalesce(sum(letters), 0) AS BIGINT), max(through)
            FROM search_dead WHERE account_id = $1";
        let row = tx.one(sql, params![self.account]).await?;
        let (marked, gone, last) = (row.int(0)?, row.int(1)?, row.maybe_int(2)?);
        let inputs = SHAPE.next(&segments, marked, gone).unwrap_or(0..0);
        let is_all = inputs.len() == segments.len();
        Ok(Plan {
            inputs: segments.drain(inputs).collect(),
            marks: marks(tx, self.account).await?,
            clears: last.filter(|_| is_all).map(|last| (last, gone)),
            others,
        })
    }
}

/// Merges; `false` if another node is at it.
async fn merge(
    engine: &Engine,
    account: AccountId,
    node: &str,
    plan: Plan,
) -> Result<bool, StoreError> {
    let epoch = plan.inputs.last().map_or(0, |segment| segment.epoch);
    let segments: Vec<i64> = plan.inputs.iter().map(|segment| segment.id).collect();
    let gone = plan.inputs.iter().map(|input| plan.marks.at(input.epoch));
    let mut merger = Merger::new(gone);
    let mut keys = first_blocks(engine, account, &segments, &mut merger).await?;
    let mut output = None;
    loop {
        match merger.go()? {
            Wants::Blocks(at) => more_blocks(engine, account, at, &mut keys, &mut merger).await?,
            Wants::Room => {
                let build = Build {
                    account,
                    node: node.to_owned(),
                    output,
                    epoch,
                    blocks: merger.take(),
                };
                output = engine.write(build, Priority::Bulk).await?;
                if output.is_none() {
                    return Ok(false);
                }
            }
            Wants::End => break,
        }
    }
    let exchange = Exchange {
        account,
        node: node.to_owned(),
        inputs: segments,
        letters: plan.inputs.iter().map(|segment| segment.letters).sum(),
        clears: plan.clears,
        output,
        epoch,
        blocks: merger.take(),
    };
    engine.write(exchange, Priority::Bulk).await
}

/// Where the reading of segments stands: each with the first key of the block read last.
type Places = Vec<(i64, Vec<u8>)>;

/// Gives the first blocks of all segments.
async fn first_blocks(
    engine: &Engine,
    account: AccountId,
    segments: &[i64],
    merger: &mut Merger,
) -> Result<Places, StoreError> {
    let segments_read = segments.to_vec();
    let read = FirstBlocks {
        account,
        segments: segments_read,
    };
    let mut found = engine.read(read).await?;
    let mut places = Vec::with_capacity(segments.len());
    for (at, segment) in segments.iter().enumerate() {
        let blocks = found.remove(segment).unwrap_or_default();
        places.push((*segment, give(merger, at, blocks, FIRST_BLOCKS)));
    }
    Ok(places)
}

async fn more_blocks(
    engine: &Engine,
    account: AccountId,
    at: usize,
    places: &mut Places,
    merger: &mut Merger,
) -> Result<(), StoreError> {
    let Some((segment, after)) = places.get_mut(at) else {
        return Ok(());
    };
    let read = MoreBlocks {
        account,
        segment: *segment,
        after: std::mem::take(after),
    };
    *after = give(merger, at, engine.read(read).await?, MORE_BLOCKS);
    Ok(())
}

/// Gives blocks, of which at most so many were asked for; tells the key of the last.
fn give(merger: &mut Merger, at: usize, blocks: Vec<Block>, limit: i64) -> Vec<u8> {
    let is_all = i64::try_from(blocks.len()) != Ok(limit);
    let last = blocks.last().map(|block| block.first.clone());
    let data = blocks.into_iter().map(|block| block.data);
    merger.give(at, data.collect(), is_all);
    last.unwrap_or_default()
}

struct FirstBlocks {
    account: AccountId,
    segments: Vec<i64>,
}

impl Body for FirstBlocks {
    type Out = BTreeMap<i64, Vec<Block>>;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Self::Out, StoreError> {
        let sql = "SELECT b.first, b.data, s.segment_id FROM
                (SELECT segment_id FROM search_segment
                    WHERE account_id = $1 AND segment_id IN list($2)) s
            CROSS JOIN LATERAL (SELECT first, data FROM search_block
                WHERE account_id = $1 AND segment_id = s.segment_id ORDER BY first LIMIT $3) b
            ORDER BY s.segment_id, b.first";
        let values = params![self.account, self.segments.as_slice(), FIRST_BLOCKS];
        let mut found: BTreeMap<i64, Vec<Block>> = BTreeMap::new();
        for row in tx.rows(sql, values).await? {
            found.entry(row.int(2)?).or_default().push(block(row)?);
        }
        Ok(found)
    }
}

struct MoreBlocks {
    account: AccountId,
    segment: i64,
    after: Vec<u8>,
}

impl Body for MoreBlocks {
    type Out = Vec<Block>;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Vec<Block>, StoreError> {
        let sql = "SELECT first, data FROM search_block
            WHERE account_id = $1 AND segment_id = $2 AND first > $3 ORDER BY first LIMIT $4";
        let after = self.after.as_slice();
        let values = params![self.account, self.segment, after, MORE_BLOCKS];
        let rows = tx.rows(sql, values).await?;
        rows.into_iter().map(block).collect()
    }
}

fn block(mut row: Row) -> Result<Block, StoreError> {
    Ok(Block {
        first: row.bytes(0)?,
        data: row.bytes(1)?,
    })
}

/// Locks the account's row, if the lease is the node's, and gives the last number of a segment.
async fn last_number(
    tx: &mut Tx<'_>,
    account: AccountId,
    node: &str,
) -> Result<Option<i64>, StoreError> {
    let sql = "SELECT segments FROM search_progress
        WHERE account_id = $1 AND node = $2 FOR UPDATE";
    let row = tx.row(sql, params![account, node]).await?;
    row.map(|row| row.int(0)).transpose()
}

/// Gives a number to a segment.
async fn give_number(tx: &mut Tx<'_>, account: AccountId, number: i64) -> Result<(), StoreError> {
    let sql = "UPDATE search_progress SET segments = $2 WHERE account_id = $1";
    tx.send(sql, params![account, number]).await
}

/// Writes blocks of a segment that is being built, which the first time is made.
pub(super) struct Build {
    pub account: AccountId,
    pub node: String,
    pub output: Option<i64>,
    pub epoch: i64,
    pub blocks: Vec<Block>,
}

impl Body for Build {
    /// The segment; nothing if another node is at it.
    type Out = Option<i64>;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Option<i64>, StoreError> {
        if let Some(output) = self.output {
            // Who takes it for left behind locks it, too.
            let sql = "SELECT 1 FROM search_segment
                WHERE account_id = $1 AND segment_id = $2 AND state = 0 FOR UPDATE";
            if tx.row(sql, params![self.account, output]).await?.is_none() {
                return Ok(None);
            }
            add_blocks(tx, self.account, output, &self.blocks).await?;
            return Ok(Some(output));
        }
        let Some(last) = last_number(tx, self.account, &self.node).await? else {
            return Ok(None);
        };
        let id = last + 1;
        give_number(tx, self.account, id).await?;
        let segment = NewSegment {
            id,
            epoch: self.epoch,
            letters: 0,
            state: BUILDING,
        };
        add_segment(tx, self.account, &segment, &self.blocks).await?;
        Ok(Some(id))
    }
}

/// Puts the new segment in the place of the others.
pub(super) struct Exchange {
    pub account: AccountId,
    pub node: String,
    pub inputs: Vec<i64>,
    pub letters: i64,
    pub clears: Option<(i64, i64)>,
    /// The segment that was being built; nothing if all of it is in `blocks`.
    pub output: Option<i64>,
    pub epoch: i64,
    pub blocks: Vec<Block>,
}

impl Body for Exchange {
    /// Whether it was done; not if another node has merged meanwhile.
    type Out = bool;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<bool, StoreError> {
        let account = self.account;
        let Some(last) = last_number(tx, account, &self.node).await? else {
            return Ok(false);
        };
        let inputs = self.inputs.as_slice();
        // 0 is no number of a segment.
        let output = self.output.unwrap_or(0);
        let sql = "SELECT (SELECT count(*) FROM search_segment
                WHERE account_id = $1 AND state = 1 AND segment_id IN list($2)),
            (SELECT count(*) FROM search_segment
                WHERE account_id = $1 AND state = 0 AND segment_id = $3)";
        let row = tx.one(sql, params![account, inputs, output]).await?;
        let is_built = (row.int(1)? == 1) == self.output.is_some();
        if i64::try_from(inputs.len()) != Ok(row.int(0)?) || !is_built {
            return Ok(false);
        }
        self.clear(tx).await?;
        let gone = self.clears.map_or(0, |(_, gone)| gone);
        let letters = (self.letters - gone).max(0);
        if self.output.is_some() {
            let sql = "UPDATE search_segment SET state = 1, letters = $3
                WHERE account_id = $1 AND segment_id = $2";
            tx.send(sql, params![account, output, letters]).await?;
            add_blocks(tx, account, output, &self.blocks).await?;
        } else if !self.blocks.is_empty() {
            let segment = NewSegment {
                id: last + 1,
                epoch: self.epoch,
                letters,
                state: LIVE,
            };
            give_number(tx, account, segment.id).await?;
            add_segment(tx, account, &segment, &self.blocks).await?;
        }
        Ok(true)
    }
}

impl Exchange {
    /// Takes away what was merged, and the marks that were taken into account.
    async fn clear(&self, tx: &mut Tx<'_>) -> Result<(), StoreError> {
        let (account, inputs) = (self.account, self.inputs.as_slice());
        if self.letters <= SMALL_LETTERS {
            let sql = "DELETE FROM search_block WHERE account_id = $1 AND segment_id IN list($2)";
            tx.send(sql, params![account, inputs]).await?;
            let sql = "DELETE FROM search_segment
                WHERE account_id = $1 AND segment_id IN list($2)";
            tx.send(sql, params![account, inputs]).await?;
        } else {
            let sql = "UPDATE search_segment SET state = $3
                WHERE account_id = $1 AND segment_id IN list($2)";
            tx.send(sql, params![account, inputs, REMOVED]).await?;
        }
        if let Some((last, _)) = self.clears {
            let sql = "DELETE FROM search_dead WHERE account_id = $1 AND through <= $2";
            tx.send(sql, params![account, last]).await?;
        }
        Ok(())
    }
}

/// Takes segments that are being built for left behind, and tells all that are to be removed. Only
/// who merges asks: what this node builds is finished by then.
struct Condemn {
    account: AccountId,
    node: String,
}

impl Body for Condemn {
    type Out = Vec<i64>;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Vec<i64>, StoreError> {
        if last_number(tx, self.account, &self.node).await?.is_none() {
            return Ok(Vec::new());
        }
        let sql = "UPDATE search_segment SET state = 2 WHERE account_id = $1 AND state = 0";
        tx.send(sql, params![self.account]).await?;
        let sql = "SELECT segment_id FROM search_segment WHERE account_id = $1 AND state = 2";
        let rows = tx.rows(sql, params![self.account]).await?;
        rows.iter().map(|row| row.int(0)).collect()
    }
}
