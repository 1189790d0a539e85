//! STORE (RFC 9051 §6.4.6).

use std::ops::Range;

use base::Uid;
use proto::imap::MessageSet;
use proto::imap::command::Numbering;
use proto::imap::store::{Change, StoreFlags};
use store::{FlagChange, FlagOp};

use super::flags::FlagSet;
use super::reply::Failure;
use super::session::{Done, Expunges, Session};

/// Messages changed in one verb: one commit each, and the connection is served between them.
const PAGE_ROWS: usize = 1_000;

impl Session {
    pub(super) async fn store(
        &mut self,
        numbering: Numbering,
        set: &MessageSet,
        store: &StoreFlags,
    ) -> Result<Done, Failure> {
        self.writable()?;
        let ranges = self.selected()?.resolve(numbering, set)?;
        let wanted = FlagSet::of_flags(&store.flags);
        let change = FlagChange {
            op: match store.change {
                Change::Replace => FlagOp::Replace,
                Change::Add => FlagOp::Add,
                Change::Remove => FlagOp::Remove,
            },
            keywords: wanted.keywords.clone(),
            deleted: wanted.deleted,
            unchanged_since: None,
        };
        let mut is_complete = true;
        for page in pages(&ranges, PAGE_ROWS) {
            is_complete &= self.store_page(page, &change, store.silent).await?;
        }
        if !is_complete && numbering == Numbering::Sequence {
            return Err(Failure::Expunged);
        }
        // RFC 9051 §7.5.1: a UID command may hear of removals.
        let expunges = match numbering {
            Numbering::Sequence => Expunges::Wait,
            Numbering::Uid => Expunges::Told,
        };
        Ok(Done::new("The flags are set").with_expunges(expunges))
    }

    /// Changes the flags of some rows; false if some messages are gone.
    async fn store_page(
        &mut self,
        page: Range<usize>,
        change: &FlagChange,
        silent: bool,
    ) -> Result<bool, Failure> {
        let (selected, connection, context) = self.parts()?;
        let uids: Vec<Uid> = selected.rows()[page.clone()]
            .iter()
            .map(|row| row.uid)
            .collect();
        let (placements, _) = context
            .options
            .store
            .set_flags(selected.account, selected.mailbox, &uids, change)
            .await?;
        let is_complete = placements.len() == uids.len();
        let expected: Vec<FlagSet> = selected.rows()[page.clone()]
            .iter()
            .map(|row| expected(selected.flags(*row), change))
            .collect();
        for placement in placements {
            selected.apply(placement);
        }
        selected.announce_keywords(&mut connection.writer);
        for (index, expected) in page.zip(expected) {
            let row = selected.rows()[index];
            // RFC 9051 §6.4.6: SILENT holds back what the client can know by itself, not what
            // others have changed meanwhile.
            if !silent || *selected.flags(row) != expected {
                selected.write_flags(&mut connection.writer, index);
                connection.flush_if_large().await?;
            }
        }
        Ok(is_complete)
    }
}

/// The flags that a client expects after its change.
fn expected(before: &FlagSet, change: &FlagChange) -> FlagSet {
    let mut after = before.clone();
    match change.op {
        FlagOp::Replace => {
            after.keywords = change.keywords.clone();
            after.deleted = change.deleted;
        }
        FlagOp::Add => {
            after.keywords = after.keywords.with(&change.keywords);
            after.deleted |= change.deleted;
        }
        FlagOp::Remove => {
            after.keywords = after.keywords.without(&change.keywords);
            after.deleted &= !change.deleted;
        }
    }
    after
}

/// Cuts ranges of indexes into pieces of at most `rows`.
pub(super) fn pages(ranges: &[Range<usize>], rows: usize) -> impl Iterator<Item = Range<usize>> {
    ranges.iter().flat_map(move |range| {
        let end = range.end;
        range
            .clone()
            .step_by(rows)
            .map(move |start| start..end.min(start + rows))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_cover_everything_once() {
        let shown: Vec<_> = pages(&[0..5, 7..8], 2).collect();
        assert_eq!(shown, [0..2, 2..4, 4..5, 7..8]);
    }
}
