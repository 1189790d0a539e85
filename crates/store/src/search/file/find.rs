//! Answers a query from the segments of the index.

use base::AccountId;
use rusqlite::{Connection, params};

use super::blocks::{BlockReader, key};
use super::dead::{Dead, Gone};
use super::docs::Docs;
use super::merge::{LIVE, block_data};
use super::postings::{Chunk, FIELD_BITS, NEXT_WORD, each_place};
use super::{failure, row_at, rows_of};
use crate::StoreError;
use crate::search::index::keys;
use crate::search::query::{SearchField, SearchFields, SearchQuery, Term};

/// Bytes of places that are looked at together; one letter may have more.
const WINDOW_BYTES: usize = 512 * 1024;
/// Above every byte of a token.
const LAST: u8 = 0xff;

/// The segments, as one search sees them.
struct View<'c> {
    connection: &'c Connection,
    account: AccountId,
    segments: Vec<(i64, Gone)>,
}

/// The messages of an account that a query finds.
pub(super) fn find(
    connection: &Connection,
    account: AccountId,
    query: &SearchQuery,
) -> Result<Docs, StoreError> {
    let view = View::open(connection, account)?;
    let mut all: Option<Docs> = None;
    for term in &query.terms {
        if all.as_ref().is_some_and(Docs::is_empty) {
            break;
        }
        let mut found = view.term(term)?;
        if let Some(all) = &all {
            found.keep(all);
        }
        all = Some(found);
    }
    Ok(all.unwrap_or_default())
}

impl<'c> View<'c> {
    fn open(connection: &'c Connection, account: AccountId) -> Result<Self, StoreError> {
        let (first, last) = rows_of(account)?;
        let dead = Dead::load(connection, first, last)?;
        let sql = "SELECT segment_id, epoch FROM segment WHERE state = ?1 ORDER BY epoch";
        let mut statement = connection.prepare_cached(sql).map_err(failure)?;
        let rows = statement.query_map([LIVE], |row| Ok((row.get(0)?, row.get(1)?)));
        let segments = rows.map_err(failure)?.map(|row| {
            let (segment, epoch): (i64, i64) = row.map_err(failure)?;
            Ok((segment, dead.at(epoch)))
        });
        Ok(Self {
            connection,
            account,
            segments: segments.collect::<Result<_, StoreError>>()?,
        })
    }

    fn term(&self, term: &Term) -> Result<Docs, StoreError> {
        let words: Vec<String> = keys(self.account, term).collect();
        let last = words.len().saturating_sub(1);
        let is_prefix = |at| term.prefix && at == last;
        let mut common: Option<Docs> = None;
        for (at, word) in words.iter().enumerate() {
            let mut docs = self.docs(word, is_prefix(at), term.fields)?;
            if let Some(common) = &common {
                docs.keep(common);
            }
            if docs.is_empty() || last == 0 {
                return Ok(docs);
            }
            common = Some(docs);
        }
        let common = common.unwrap_or_default();
        // The words stand in the same letters: which of these have them in a row?
        let mut docs = Docs::default();
        for window in self.windows(&words, term, &common)? {
            let mut row = Hits::default();
            for (at, word) in words.iter().enumerate() {
                let hits = self.hits(word, is_prefix(at), term.fields, &window)?;
                row = if at == 0 { hits } else { row.followed(&hits) };
            }
            row.0.iter().for_each(|(message, _)| docs.insert(*message));
        }
        Ok(docs)
    }

    /// Messages some at a time, so that the places of the words in them take little memory.
    fn windows(&self, words: &[String], term: &Term, all: &Docs) -> Result<Vec<Docs>, StoreError> {
        let mut bytes = Vec::new();
        for (at, word) in words.iter().enumerate() {
            let prefix = term.prefix && at + 1 == words.len();
            self.each_chunk(word, prefix, (0, u32::MAX), |_, chunk| {
                chunk.each(|message, places| {
                    if all.contains(message) {
                        bytes.push((message, places.len()));
                    }
                    Ok(())
                })
            })?;
        }
        bytes.sort_unstable_by_key(|(message, _)| *message);
        let (mut windows, mut window, mut sum) = (Vec::new(), Docs::default(), 0);
        for of_one in bytes.chunk_by(|(one, _), (next, _)| one == next) {
            if sum > WINDOW_BYTES {
                windows.push(std::mem::take(&mut window));
                sum = 0;
            }
            of_one.iter().for_each(|(message, bytes)| {
                window.insert(*message);
                sum += bytes;
            });
        }
        windows.push(window);
        Ok(windows)
    }

    /// The messages of a word.
    fn docs(&self, word: &str, prefix: bool, fields: SearchFields) -> Result<Docs, StoreError> {
        let mut docs = Docs::default();
        self.each_chunk(word, prefix, (0, u32::MAX), |gone, chunk| {
            chunk.each(|message, places| {
                if !self.is_gone(gone, message)? && has_field(places, fields)? {
                    docs.insert(message);
                }
                Ok(())
            })
        })?;
        Ok(docs)
    }

    /// The places of a word in some messages.
    fn hits(
        &self,
        word: &str,
        prefix: bool,
        fields: SearchFields,
        within: &Docs,
    ) -> Result<Hits, StoreError> {
        let mut hits = Vec::new();
        let Some(range) = within.range() else {
            return Ok(Hits::default());
        };
        self.each_chunk(word, prefix, range, |gone, chunk| {
            chunk.each(|message, places| {
                if within.contains(message) && !self.is_gone(gone, message)? {
                    each_place(places, |place| {
                        if is_in(place, fields) {
                            hits.push((message, place));
                        }
                    })?;
                }
                Ok(())
            })
        })?;
        hits.sort_unstable();
        hits.dedup();
        Ok(Hits(hits))
    }

    fn is_gone(&self, gone: &Gone, message: u32) -> Result<bool, StoreError> {
        Ok(!gone.is_empty() && gone.has(row_at(self.account, message)?))
    }

    fn each_chunk(
        &self,
        word: &str,
        prefix: bool,
        (from, to): (u32, u32),
        mut take: impl FnMut(&Gone, Chunk<'_>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let word = word.as_bytes();
        // Behind a word stands a zero, and then the message.
        let (start, end) = if prefix {
            let mut end = word.to_vec();
            end.push(LAST);
            (key(word, 0), end)
        } else {
            let mut end = key(word, to);
            end.push(0);
            (key(word, from), end)
        };
        let sql = "SELECT block_id FROM fence WHERE segment_id = ?1 AND first < ?3
            AND first >= coalesce((SELECT max(first) FROM fence
                WHERE segment_id = ?1 AND first <= ?2), x'')
            ORDER BY first";
        let mut statement = self.connection.prepare_cached(sql).map_err(failure)?;
        for (segment, gone) in &self.segments {
            let rows = statement.query_map(params![segment, start, end], |row| row.get(0));
            for block in rows.map_err(failure)? {
                let data = block_data(self.connection, block.map_err(failure)?)?;
                let mut reader = BlockReader::new(data);
                while let Some(found) = reader.next()? {
                    let term = reader.term();
                    if term == word || (prefix && term.starts_with(word)) {
                        let chunk = reader.chunk(found);
                        if chunk.first <= to && chunk.last >= from {
                            take(gone, chunk)?;
                        }
                    } else if term > word {
                        break;
                    }
                }
            }
        }
        Ok(())
    }
}

/// Messages with places, in order.
#[derive(Default)]
struct Hits(Vec<(u32, u32)>);

impl Hits {
    /// The places of `next` that follow one of these.
    fn followed(&self, next: &Self) -> Self {
        let follows = |(message, place): &(u32, u32)| {
            let before = place.checked_sub(NEXT_WORD);
            before.is_some_and(|before| self.0.binary_search(&(*message, before)).is_ok())
        };
        Self(next.0.iter().copied().filter(follows).collect())
    }
}

fn is_in(place: u32, fields: SearchFields) -> bool {
    let field = SearchField::ALL.get((place & ((1 << FIELD_BITS) - 1)) as usize);
    field.is_some_and(|field| fields.has(*field))
}

fn has_field(places: &[u8], fields: SearchFields) -> Result<bool, StoreError> {
    if fields == SearchFields::ALL {
        return Ok(true);
    }
    let mut found = false;
    each_place(places, |place| found |= is_in(place, fields))?;
    Ok(found)
}
