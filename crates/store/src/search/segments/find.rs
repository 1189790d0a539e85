//! Answers a query from the blocks of segments.
//!
//! Call [`Finder::next`] for the keys of the next word; give the blocks of all segments that may hold
//! them to [`Finder::take`], in any order; when there is no next, [`Finder::found`] has the answer.
//! The blocks of a segment that may hold keys are those whose first keys are among them, and the last
//! one before.

use std::collections::VecDeque;

use base::AccountId;

use super::blocks::{BlockReader, key};
use super::docs::Docs;
use super::gone::Gone;
use super::postings::{FIELD_BITS, NEXT_WORD, each_place};
use super::row_at;
use crate::StoreError;
use crate::search::index::keys;
use crate::search::query::{SearchField, SearchFields, SearchQuery, Term};

/// Bytes of places that are looked at together; one letter may have more.
const WINDOW_BYTES: usize = 512 * 1024;
/// Above every byte of a token.
const LAST: u8 = 0xff;

/// The keys of a word: from the first, and below the second.
pub(in crate::search) struct Keys {
    pub start: Vec<u8>,
    pub end: Vec<u8>,
}

/// A query that is being answered: term after term, and in each pass word after word.
pub(in crate::search) struct Finder {
    account: AccountId,
    terms: std::vec::IntoIter<Asked>,
    /// The messages that all terms before have.
    all: Option<Docs>,
    /// The term that is looked for now.
    asked: Option<Asked>,
    pass: Pass,
    /// The number of its word that is looked for now.
    at: usize,
    is_begun: bool,
    /// The messages that have the word.
    docs: Docs,
    /// The messages that have all words of the term so far.
    common: Option<Docs>,
    /// Bytes of all places that the first pass has seen.
    seen_bytes: usize,
    /// Messages with bytes of places.
    sizes: Vec<(u32, usize)>,
    /// Messages some at a time, so that the places of the words in them take little memory.
    windows: VecDeque<Docs>,
    /// Where the word stands in the first window.
    hits: Vec<(u32, u32)>,
    /// Where the words so far stand in a row there.
    row: Hits,
    /// The messages of windows before that have the words in a row.
    found: Docs,
}

/// What is asked of each word of a term, one after the other.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pass {
    /// In which messages does it stand?
    Messages,
    /// How many bytes do its places take in those that have all? Asked of several words, if many.
    Sizes,
    /// Where does it stand, in the messages of the first window?
    Places,
}

/// A term, with its words as they stand in the index; at least one.
struct Asked {
    words: Vec<String>,
    prefix: bool,
    fields: SearchFields,
}

impl Asked {
    fn new(account: AccountId, term: &Term) -> Self {
        Self {
            words: keys(account, term).collect(),
            prefix: term.prefix,
            fields: term.fields,
        }
    }

    /// A word, and whether it is the beginning of one.
    fn word(&self, at: usize) -> Option<(&[u8], bool)> {
        let word = self.words.get(at)?;
        Some((word.as_bytes(), self.prefix && at + 1 == self.words.len()))
    }
}

impl Finder {
    pub(in crate::search) fn new(account: AccountId, query: &SearchQuery) -> Self {
        let asked = query.terms.iter().map(|term| Asked::new(account, term));
        let mut terms = asked.collect::<Vec<_>>().into_iter();
        Self {
            account,
            asked: terms.next(),
            terms,
            all: None,
            pass: Pass::Messages,
            at: 0,
            is_begun: false,
            docs: Docs::default(),
            common: None,
            seen_bytes: 0,
            sizes: Vec::new(),
            windows: VecDeque::new(),
            hits: Vec::new(),
            row: Hits::default(),
            found: Docs::default(),
        }
    }

    /// What has to be looked for next; nothing when the answer is known.
    pub(in crate::search) fn next(&mut self) -> Option<Keys> {
        if std::mem::replace(&mut self.is_begun, true) {
            self.end_word();
        }
        let (word, prefix) = self.asked.as_ref()?.word(self.at)?;
        // Behind a word stands a zero, and then the message.
        let (start, end) = if prefix {
            let mut end = word.to_vec();
            end.push(LAST);
            (key(word, 0), end)
        } else {
            let (from, to) = self.range();
            let mut end = key(word, to);
            end.push(0);
            (key(word, from), end)
        };
        Some(Keys { start, end })
    }

    /// Takes a block that may hold the word.
    pub(in crate::search) fn take(
        &mut self,
        gone: &Gone,
        block: Vec<u8>,
    ) -> Result<(), StoreError> {
        let range = self.range();
        let Self {
            account,
            asked: Some(asked),
            pass,
            at,
            docs,
            common,
            seen_bytes,
            sizes,
            windows,
            hits,
            ..
        } = self
        else {
            return Ok(());
        };
        let Some((word, prefix)) = asked.word(*at) else {
            return Ok(());
        };
        let is_living = |message| -> Result<bool, StoreError> {
            Ok(gone.is_empty() || !gone.has(row_at(*account, message)?))
        };
        let is_among = |set: Option<&Docs>, message| set.is_some_and(|set| set.contains(message));
        each_message(block, (word, prefix), range, |message, places| {
            match pass {
                Pass::Messages => {
                    if is_living(message)? && has_field(places, asked.fields)? {
                        docs.insert(message);
                        *seen_bytes += places.len();
                    }
                }
                Pass::Sizes => {
                    if is_among(common.as_ref(), message) {
                        sizes.push((message, places.len()));
                    }
                }
                Pass::Places => {
                    if is_among(windows.front(), message) && is_living(message)? {
                        each_place(places, |place| {
                            if is_in(place, asked.fields) {
                                hits.push((message, place));
                            }
                        })?;
                    }
                }
            }
            Ok(())
        })
    }

    /// The messages that the query finds.
    pub(in crate::search) fn found(self) -> Docs {
        self.all.unwrap_or_default()
    }

    /// The least and the greatest message that matter now.
    fn range(&self) -> (u32, u32) {
        let of_window = self.windows.front().and_then(Docs::range);
        of_window.unwrap_or((0, u32::MAX))
    }

    /// All blocks of the word were there.
    fn end_word(&mut self) {
        let count = self.asked.as_ref().map_or(0, |asked| asked.words.len());
        let is_last = self.at + 1 >= count;
        match self.pass {
            Pass::Messages => {
                let mut docs = std::mem::take(&mut self.docs);
                if let Some(common) = &self.common {
                    docs.keep(common);
                }
                if docs.is_empty() || count <= 1 {
                    return self.end_term(docs);
                }
                // The words stand in the same letters: which of these have them in a row?
                if is_last && self.seen_bytes <= WINDOW_BYTES {
                    self.windows.push_back(docs);
                    self.pass = Pass::Places;
                } else {
                    self.common = Some(docs);
                    if is_last {
                        self.pass = Pass::Sizes;
                    }
                }
            }
            Pass::Sizes => {
                if is_last {
                    self.windows = windows_of(std::mem::take(&mut self.sizes));
                    self.pass = Pass::Places;
                }
            }
            Pass::Places => {
                self.end_places(is_last);
                if is_last && self.windows.is_empty() {
                    let found = std::mem::take(&mut self.found);
                    return self.end_term(found);
                }
            }
        }
        self.at = if is_last { 0 } else { self.at + 1 };
    }

    /// All places of a word in the first window are known, and if it is the last, of all.
    fn end_places(&mut self, is_last: bool) {
        let hits = Hits::new(std::mem::take(&mut self.hits));
        self.row = if self.at == 0 {
            hits
        } else {
            self.row.followed(&hits)
        };
        if is_last {
            let row = std::mem::take(&mut self.row);
            row.0
                .iter()
                .for_each(|(message, _)| self.found.insert(*message));
            self.windows.pop_front();
        }
    }

    fn end_term(&mut self, mut docs: Docs) {
        if let Some(all) = &self.all {
            docs.keep(all);
        }
        self.asked = if docs.is_empty() {
            None
        } else {
            self.terms.next()
        };
        self.all = Some(docs);
        self.pass = Pass::Messages;
        self.at = 0;
        self.common = None;
        self.seen_bytes = 0;
    }
}

/// Messages some at a time.
fn windows_of(mut sizes: Vec<(u32, usize)>) -> VecDeque<Docs> {
    sizes.sort_unstable_by_key(|(message, _)| *message);
    let (mut windows, mut window, mut sum) = (VecDeque::new(), Docs::default(), 0);
    for of_one in sizes.chunk_by(|(one, _), (next, _)| one == next) {
        if sum > WINDOW_BYTES {
            windows.push_back(std::mem::take(&mut window));
            sum = 0;
        }
        of_one.iter().for_each(|(message, bytes)| {
            window.insert(*message);
            sum += bytes;
        });
    }
    windows.push_back(window);
    windows
}

/// Tells the messages of a word in a block, from those chunks that have some of a range.
fn each_message(
    block: Vec<u8>,
    (word, prefix): (&[u8], bool),
    (from, to): (u32, u32),
    mut take: impl FnMut(u32, &[u8]) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let mut reader = BlockReader::new(block);
    while let Some(found) = reader.next()? {
        let term = reader.term();
        if term == word || (prefix && term.starts_with(word)) {
            let chunk = reader.chunk(found);
            if chunk.first <= to && chunk.last >= from {
                chunk.each(&mut take)?;
            }
        } else if term > word {
            break;
        }
    }
    Ok(())
}

/// Messages with places, in order.
#[derive(Default)]
struct Hits(Vec<(u32, u32)>);

impl Hits {
    fn new(mut hits: Vec<(u32, u32)>) -> Self {
        hits.sort_unstable();
        hits.dedup();
        Self(hits)
    }

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

#[cfg(test)]
mod tests {
    use base::MessageId;

    use super::*;
    use crate::aside::Aside;
    use crate::search::segments::{Batches, Block, Marks, join, runs_of};
    use crate::search::text::Document;

    const ACCOUNT: AccountId = AccountId(26);

    /// Gives the blocks that may hold what is asked for; tells how often was asked.
    fn answer(blocks: &[Block], query: &str) -> (Vec<u32>, usize) {
        let gone = Marks::default().at(0);
        let mut finder = Finder::new(ACCOUNT, &SearchQuery::parse(query));
        let mut asked = 0;
        while let Some(keys) = finder.next() {
            asked += 1;
            let before = blocks.partition_point(|block| block.first <= keys.start);
            for block in &blocks[before.saturating_sub(1)..] {
                if block.first < keys.end {
                    finder.take(&gone, block.data.clone()).unwrap();
                }
            }
        }
        (finder.found().from(0).collect(), asked)
    }

    /// A phrase whose words have more places than are held at once.
    #[tokio::test]
    async fn phrases_of_frequent_words() {
        let letter = |message: i64| {
            let words = match message % 2 {
                0 => " 1a/same 1a/other".repeat(1_000),
                _ => [" 1a/other".repeat(1_000), " 1a/same".repeat(1_000)].concat(),
            };
            let mut fields: [String; 5] = Default::default();
            fields[3] = words;
            Document {
                message: MessageId(message),
                fields,
            }
        };
        let mut batches = Batches::default();
        batches
            .add(ACCOUNT, (1..=300).map(letter).collect())
            .unwrap();
        let blocks = join(runs_of(batches, Aside::Inline).await.unwrap()).unwrap();
        let all: Vec<u32> = (1..=300).collect();
        let even: Vec<u32> = all.iter().copied().filter(|one| one % 2 == 0).collect();
        assert_eq!(answer(&blocks, "same other"), (all.clone(), 2));
        // In two windows.
        assert_eq!(answer(&blocks, "\"same other\""), (even.clone(), 8));
        assert_eq!(answer(&blocks, "\"sa other\"").0, [] as [u32; 0]);
        assert_eq!(answer(&blocks, "\"same ot\"*"), (even, 8));
        assert_eq!(answer(&blocks, "\"other same\""), (all, 8));
    }
}
