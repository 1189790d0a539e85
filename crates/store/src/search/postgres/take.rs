//! Steps: all of a batch in one transaction, the letters of each account as a segment.

use base::AccountId;

use super::{NewSegment, SHAPE, Tables, add_segment};
use crate::StoreError;
use crate::aside::Aside;
use crate::engine::{Body, Engine, Priority, Tx, params};
use crate::search::index::{Progress, Step};
use crate::search::segments::{Batches, Block, LIVE, join, runs_of};

/// A step whose letters are blocks now.
struct Taken {
    account: AccountId,
    from: Option<Progress>,
    to: Progress,
    /// Above the first message and up to the second.
    cleared: Option<(i64, i64)>,
    /// Messages that are gone: first, last.
    removed: Vec<(i64, i64)>,
    letters: i64,
    blocks: Vec<Block>,
}

impl Taken {
    async fn new(mut step: Step, aside: Aside) -> Result<Self, StoreError> {
        let mut batches = Batches::default();
        let documents = std::mem::take(&mut step.documents);
        let letters = batches.add(step.account, documents)?;
        let runs = runs_of(batches, aside).await?;
        let blocks = aside.run("the search index", move || join(runs)).await??;
        Ok(Self {
            account: step.account,
            from: step.from,
            to: step.to,
            cleared: step.cleared,
            removed: ranges_of(step.removed.iter().map(|message| message.0)),
            letters,
            blocks,
        })
    }
}

/// Numbers that follow one another, as ranges.
fn ranges_of(numbers: impl Iterator<Item = i64>) -> Vec<(i64, i64)> {
    let mut numbers: Vec<i64> = numbers.collect();
    numbers.sort_unstable();
    let mut ranges: Vec<(i64, i64)> = Vec::new();
    for number in numbers {
        match ranges.last_mut() {
            Some((_, last)) if number <= last.saturating_add(1) => *last = number,
            _ => ranges.push((number, number)),
        }
    }
    ranges
}

impl Tables {
    /// Takes steps. One that starts elsewhere than where the index is does nothing.
    pub(in crate::search) async fn take(
        &self,
        engine: &Engine,
        aside: Aside,
        mut steps: Vec<Step>,
    ) -> Result<(), StoreError> {
        // All who take the rows of several accounts take them in this order.
        steps.sort_by_key(|step| step.account);
        let mut taken = Vec::with_capacity(steps.len());
        for step in steps {
            taken.push(Taken::new(step, aside).await?);
        }
        let crowded = engine.write(Take { steps: taken }, Priority::Index).await?;
        self.note_crowded(crowded);
        Ok(())
    }
}

struct Take {
    steps: Vec<Taken>,
}

impl Body for Take {
    /// The accounts in which there may be something to merge.
    type Out = Vec<AccountId>;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Vec<AccountId>, StoreError> {
        let mut crowded = Vec::new();
        for step in &self.steps {
            if take(tx, step).await? {
                crowded.push(step.account);
            }
        }
        Ok(crowded)
    }
}

/// Takes a step if the index is where it starts; tells whether there may be something to merge then.
async fn take(tx: &mut Tx<'_>, step: &Taken) -> Result<bool, StoreError> {
    let account = step.account;
    if step.from.is_none() {
        let sql = "INSERT INTO search_progress (account_id, modseq, scan_after, segments, again,
                node, held_until)
            VALUES ($1, -1, NULL, 0, 0, '', 0) ON CONFLICT (account_id) DO NOTHING";
        tx.send(sql, params![account]).await?;
    }
    let (modseq, scan_after) = step.from.map_or((-1, -1), |from| {
        (from.modseq, from.scan_after.unwrap_or(-1))
    });
    let sql = "SELECT segments, again,
            (SELECT count(*) FROM search_segment WHERE account_id = $1 AND state = 1),
            (SELECT count(*) FROM search_segment WHERE account_id = $1 AND state <> 1)
        FROM search_progress
        WHERE account_id = $1 AND modseq = $2 AND coalesce(scan_after, -1) = $3 FOR UPDATE";
    let found = tx.row(sql, params![account, modseq, scan_after]).await?;
    let Some(row) = found else {
        return Ok(false);
    };
    let (last, live, others) = (row.int(0)?, row.int(2)?, row.int(3)?);
    // Read through from the beginning although it had come further.
    let is_anew = step.from.is_some_and(|from| {
        let is_back = |at| step.cleared.is_some_and(|(after, _)| after < at);
        from.scan_after.is_none_or(is_back)
    });
    let again = step.cleared.is_some() && (is_anew || row.truth(1)?);
    let has_marks = mark(tx, step, again, last).await?;
    let sql = "UPDATE search_progress
        SET modseq = $2, scan_after = $3, segments = $4, again = $5 WHERE account_id = $1";
    let id = last + 1;
    let again = again && step.to.scan_after.is_some();
    let values = params![account, step.to.modseq, step.to.scan_after, id, again];
    tx.send(sql, values).await?;
    if step.letters > 0 {
        let segment = NewSegment {
            id,
            epoch: id,
            letters: step.letters,
            state: LIVE,
        };
        add_segment(tx, account, &segment, &step.blocks).await?;
    }
    let is_crowd = usize::try_from(live).is_ok_and(|live| live + 1 >= SHAPE.fan_in);
    Ok(is_crowd || has_marks || others > 0)
}

/// Marks what is gone from the segments up to the last; whether there was anything.
async fn mark(tx: &mut Tx<'_>, step: &Taken, again: bool, last: i64) -> Result<bool, StoreError> {
    let removed = step
        .removed
        .iter()
        .map(|(first, last)| (*first, *last, last - first + 1));
    // What is read through for the first time is not there yet.
    let cleared = step.cleared.filter(|_| again);
    let cleared = cleared.map(|(after, through)| (after.saturating_add(1), through, step.letters));
    let mut any = false;
    for (first, until, letters) in removed.chain(cleared) {
        let sql = "INSERT INTO search_dead (account_id, through, first, last, letters)
            VALUES ($1, $2, $3, $4, $5) ON CONFLICT (account_id, through, first) DO UPDATE
            SET last = greatest(search_dead.last, $4), letters = search_dead.letters + $5";
        let values = params![step.account, last, first, until, letters];
        tx.send(sql, values).await?;
        any = true;
    }
    Ok(any)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_gone_in_a_row_is_one_mark() {
        assert_eq!(
            ranges_of([7, 3, 4, 5, 9, 4].into_iter()),
            [(3, 5), (7, 7), (9, 9)]
        );
        assert_eq!(
            ranges_of([i64::MAX, 1].into_iter()),
            [(1, 1), (i64::MAX, i64::MAX)]
        );
        assert_eq!(ranges_of(std::iter::empty()), []);
    }
}
