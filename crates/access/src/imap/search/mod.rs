//! SEARCH (RFC 9051 §6.4.4, RFC 3501 §6.4.4) with ESEARCH (RFC 4731) and SEARCHRES (RFC 5182).
//!
//! Keys are decided with as little reading as they need — the snapshot, then what the full-text
//! search says to TEXT and BODY, then sizes and dates, then envelopes, then the letters themselves, one
//! after another.
//!
//! TEXT and BODY look for words that begin with the text that is asked for, not for any sequence of
//! letters (see `docs/decisions`); all other keys compare as the RFC says.

mod facts;
mod program;
mod scan;

use base::{MessageId, Uid};
use proto::imap::command::Numbering;
use proto::imap::search::{Returns, Search};
use proto::imap::{Tag, esearch};
use store::SearchQuery;

use super::fetch::structured_details;
use super::reply::Failure;
use super::selected::Row;
use super::session::{Done, Expunges, Session};
use super::store::pages;
use facts::{Facts, Indexed};
use program::Program;

/// Rows that are decided in one go, with up to a thousand keys each; then others get their turn.
const ROWS_IN_ONE_GO: usize = 200;

/// Messages whose details are read at once.
const PAGE_ROWS: usize = 100;

impl Session {
    pub(super) async fn search(
        &mut self,
        tag: &Tag,
        numbering: Numbering,
        search: &Search,
    ) -> Result<Done, Failure> {
        let saves = search.returns.is_some_and(|returns| returns.save);
        let found = match self.find(search).await {
            Ok(found) => found,
            Err(failure) => {
                // RFC 9051 §6.4.4.1: a search that fails leaves nothing in `$`.
                if saves && let Some(selected) = self.selected.as_mut() {
                    selected.saved.clear();
                }
                return Err(failure);
            }
        };
        let (selected, _, _) = self.parts()?;
        if let Some(returns) = search.returns.filter(|returns| returns.save) {
            let uids = found.iter().map(|index| selected.rows()[*index].uid);
            selected.saved = kept(uids.collect(), returns);
        }
        let numbers: Vec<u32> = found
            .iter()
            .map(|index| match numbering {
                // A mailbox has fewer than 2^32 messages.
                Numbering::Sequence => u32::try_from(index + 1).unwrap_or(u32::MAX),
                Numbering::Uid => selected.rows()[*index].uid.0,
            })
            .collect();
        self.write_found(tag, numbering, search.returns, &numbers);
        self.connection.flush_if_large().await?;
        // RFC 9051 §7.5.1: a UID command may hear of removals.
        let expunges = match numbering {
            Numbering::Sequence => Expunges::Wait,
            Numbering::Uid => Expunges::Told,
        };
        Ok(Done::new("SEARCH is done").with_expunges(expunges))
    }

    fn write_found(
        &mut self,
        tag: &Tag,
        numbering: Numbering,
        returns: Option<Returns>,
        numbers: &[u32],
    ) {
        let writer = &mut self.connection.writer;
        let all = Returns {
            all: true,
            ..Returns::default()
        };
        let returns = match returns {
            Some(returns) => returns,
            // RFC 9051 §6.4.4: once IMAP4rev2 is enabled, the answer is always ESEARCH.
            None if self.is_rev2 => all,
            None => {
                writer.raw("* SEARCH");
                for number in numbers {
                    writer.display(format_args!(" {number}"));
                }
                writer.end();
                return;
            }
        };
        let tells = returns.min || returns.max || returns.all || returns.count;
        if tells {
            esearch::write(writer, tag, numbering, returns, numbers);
        }
    }

    /// The indexes of the rows that match, ascending.
    async fn find(&mut self, search: &Search) -> Result<Vec<usize>, Failure> {
        let selected = self.selected()?;
        let program = Program::new(&search.key, selected)?;
        let (mut found, mut open) = (Vec::new(), Vec::new());
        for (index, row) in selected.rows().iter().enumerate() {
            if index % ROWS_IN_ONE_GO == 0 {
                tokio::task::yield_now().await;
            }
            if selected.is_gone(*row) {
                continue;
            }
            match program.decide(&Facts::of_row(index, selected.flags(*row))) {
                Some(true) => found.push(index),
                Some(false) => {}
                None => open.push(index),
            }
        }
        let indexed = if open.is_empty() || !program.uses_index() {
            None
        } else {
            Some(self.ask_index(&program, &open).await?)
        };
        let all = 0..open.len();
        for page in pages(std::slice::from_ref(&all), PAGE_ROWS) {
            let open = &open[page];
            tokio::task::yield_now().await;
            self.find_in_page(&program, indexed.as_ref(), open, &mut found)
                .await?;
        }
        found.sort_unstable();
        Ok(found)
    }

    /// What the full-text search says of the rows that are not decided.
    async fn ask_index(&mut self, program: &Program, open: &[usize]) -> Result<Indexed, Failure> {
        let selected = self.selected()?;
        let rows = selected.rows();
        let queries: Vec<SearchQuery> = program
            .needles
            .iter()
            .map(|needle| needle.query.clone().unwrap_or_default())
            .collect();
        // A mailbox has fewer than 2^32 messages.
        let mut by_message: Vec<u32> = open
            .iter()
            .map(|index| u32::try_from(*index).unwrap_or(u32::MAX))
            .collect();
        let message_of = |index: u32| rows[index as usize].message;
        by_message.sort_unstable_by_key(|index| message_of(*index));
        let mut indexed = Indexed::new(queries.len(), rows.len());
        let note = |needle: usize, messages: &[MessageId]| {
            for message in messages {
                let at = by_message.binary_search_by_key(message, |index| message_of(*index));
                if let Ok(at) = at {
                    indexed.add(needle, by_message[at] as usize);
                }
            }
        };
        let store = &self.context.options.store;
        store.search_each(selected.account, &queries, note).await?;
        Ok(indexed)
    }

    async fn find_in_page(
        &mut self,
        program: &Program,
        indexed: Option<&Indexed>,
        open: &[usize],
        found: &mut Vec<usize>,
    ) -> Result<(), Failure> {
        let selected = self.selected()?;
        let store = &self.context.options.store;
        let mut rows: Vec<(usize, Row)> = Vec::with_capacity(open.len());
        for index in open {
            let row = selected.rows()[*index];
            let facts = Facts::of_row(*index, selected.flags(row)).with_indexed(indexed);
            match program.decide(&facts) {
                Some(true) => found.push(*index),
                Some(false) => {}
                None => rows.push((*index, row)),
            }
        }
        let ids: Vec<MessageId> = rows.iter().map(|(_, row)| row.message).collect();
        let mut metas = store
            .message_metas(selected.account, &ids)
            .await?
            .into_iter()
            .peekable();
        let mut undecided = Vec::new();
        for (index, row) in rows {
            // Messages that are gone match nothing.
            let Some(meta) = metas.next_if(|meta| meta.id == row.message) else {
                continue;
            };
            let mut facts = Facts::of_row(index, selected.flags(row)).with_indexed(indexed);
            facts.meta = Some(&meta);
            match program.decide(&facts) {
                Some(true) => found.push(index),
                Some(false) => {}
                None => undecided.push((index, row)),
            }
        }
        let ids: Vec<MessageId> = undecided.iter().map(|(_, row)| row.message).collect();
        let mut details = structured_details(store, selected.account, &ids)
            .await?
            .into_iter()
            .peekable();
        for (index, row) in undecided {
            let Some(detail) = details.next_if(|detail| detail.meta.id == row.message) else {
                continue;
            };
            let mut facts = Facts::of_row(index, selected.flags(row)).with_indexed(indexed);
            facts.meta = Some(&detail.meta);
            facts.envelope = detail.envelope.as_ref();
            let matches = match program.decide(&facts) {
                Some(matches) => matches,
                None => {
                    let scanned = scan::scan(store, selected.account, &detail, program).await?;
                    facts.scanned = Some(&scanned);
                    program.decide(&facts) == Some(true)
                }
            };
            if matches {
                found.push(index);
            }
        }
        Ok(())
    }
}

/// RFC 5182 §2.1: with MIN and MAX alone, only those are kept.
fn kept(uids: Vec<Uid>, returns: Returns) -> Vec<Uid> {
    let only_ends = (returns.min || returns.max) && !returns.all && !returns.count;
    if !only_ends {
        return uids;
    }
    let first = uids.first().copied().filter(|_| returns.min);
    let last = uids.last().copied().filter(|_| returns.max);
    let mut ends: Vec<Uid> = first.into_iter().chain(last).collect();
    ends.dedup();
    ends
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_kept_alone() {
        let uids = || vec![Uid(1), Uid(2), Uid(3)];
        let min_max = Returns {
            min: true,
            max: true,
            save: true,
            ..Returns::default()
        };
        assert_eq!(kept(uids(), min_max), [Uid(1), Uid(3)]);
        let count = Returns {
            count: true,
            ..min_max
        };
        assert_eq!(kept(uids(), count), uids());
        assert_eq!(kept(vec![Uid(1)], min_max), [Uid(1)]);
    }
}
