//! Full-text search: words, phrases and beginnings of words in the letters of an account.
//!
//! An index follows each account's log of changes, in the background and after the commits, so that
//! no delivery waits for it. Letters that are not in it yet are read when somebody searches: a search
//! that starts after a letter was acknowledged finds it.
//!
//! It deliberately does not rank, and does not look inside words: `haus` finds `Haus`, `haus*` also
//! `Hausbau`, neither finds `Rathaus`. See `docs/decisions` for why.

mod file;
mod highlight;
mod index;
mod indexer;
mod postgres;
mod query;
mod segments;
mod tail;
mod text;
mod tokens;
mod work;

use std::path::Path;
use std::sync::Arc;

use base::{AccountId, MessageId};
use message::search::SearchText;

pub(crate) use file::IndexFile;
pub use highlight::{Highlights, Snippet};
pub(crate) use index::Index;
use postgres::Tables;
pub use query::{SearchField, SearchFields, SearchQuery};
use text::Raw;

use crate::{SimulatedDisk, Store, StoreError};

/// Message ids that are held at once for a caller that takes all.
const PAGE_HITS: usize = 20_000;

/// Reads the text out of formats that are not read in this process, because what reads them may
/// crash or never end.
pub trait TextExtractor: Send + Sync {
    /// The text of a PDF; nothing if it cannot be read. Blocks for a bounded time, and never
    /// panics.
    fn pdf_text(&self, data: &[u8]) -> Option<String>;
}

/// The index of an embedded store. Blocks.
pub(crate) fn open_file(
    data_dir: &Path,
    simulated: Option<&Arc<dyn SimulatedDisk>>,
) -> Result<Index, StoreError> {
    IndexFile::open(&data_dir.join("search.db"), simulated.cloned()).map(Index::Sqlite)
}

/// The index in the database.
pub(crate) fn in_database() -> Index {
    Index::Postgres(Tables::default())
}

impl Store {
    /// The messages of an account that a query finds, with ids above `after`, ascending, at most
    /// `limit`. An empty query finds nothing. A message that was removed a moment ago may still be
    /// among them.
    ///
    /// # Errors
    /// Those of reading.
    pub async fn search(
        &self,
        account: AccountId,
        query: &SearchQuery,
        after: MessageId,
        limit: usize,
    ) -> Result<Vec<MessageId>, StoreError> {
        if query.is_empty() || limit == 0 {
            return Ok(Vec::new());
        }
        let inner = &self.0;
        let page = inner
            .search
            .find(&inner.engine, account, query, after, limit)
            .await?;
        let mut found = page.messages;
        let queries = std::slice::from_ref(query);
        let late = |_: usize, message: MessageId| {
            if message > after {
                found.push(message);
            }
        };
        tail::search(self, account, page.progress, queries, late).await?;
        found.sort_unstable();
        found.dedup();
        found.truncate(limit);
        Ok(found)
    }

    /// Tells `found` all messages of an account that each of some queries finds, a page at a time,
    /// with the number of the query. A message may be told twice, and in no order; one that was removed
    /// a moment ago may be among them. An empty query finds nothing.
    ///
    /// # Errors
    /// Those of reading.
    pub async fn search_each(
        &self,
        account: AccountId,
        queries: &[SearchQuery],
        mut found: impl FnMut(usize, &[MessageId]) + Send,
    ) -> Result<(), StoreError> {
        let inner = &self.0;
        // What was not in the index at the first look may never be seen by a later page.
        let mut progress = None;
        for (number, query) in queries.iter().enumerate() {
            let mut after = MessageId(0);
            while !query.is_empty() {
                let page = inner
                    .search
                    .find(&inner.engine, account, query, after, PAGE_HITS)
                    .await?;
                progress = progress.or(Some(page.progress));
                found(number, &page.messages);
                match page.messages.last() {
                    Some(last) if page.messages.len() == PAGE_HITS => after = *last,
                    _ => break,
                }
            }
        }
        let Some(progress) = progress else {
            return Ok(());
        };
        let late = |number: usize, message: MessageId| found(number, &[message]);
        tail::search(self, account, progress, queries, late).await
    }

    /// Where a query's words stand in a message, for a list of what was found.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub async fn highlights(
        &self,
        account: AccountId,
        message: MessageId,
        query: &SearchQuery,
    ) -> Result<Highlights, StoreError> {
        let text = self.search_text(account, message).await?;
        let query = query.clone();
        let work = move || highlight::highlights(&text, &query);
        self.0.aside.run("highlighting", work).await
    }

    async fn search_text(
        &self,
        account: AccountId,
        message: MessageId,
    ) -> Result<SearchText, StoreError> {
        let rows = self.structured(account, &[message]).await?;
        let row = rows.first().ok_or(StoreError::NotFound("message"))?;
        let raw = Raw::read(self, account, row).await?;
        let raw = raw.ok_or(StoreError::NotFound("message"))?;
        let extractor = self.0.extractor.clone();
        let work = move || raw.text(extractor.as_ref());
        self.0.aside.run("reading a text", work).await
    }

    /// Makes the index of an account anew, in the background. Until it is done, searching reads the
    /// letters that are not in it.
    ///
    /// # Errors
    /// Those of writing.
    pub async fn rebuild_search(&self, account: AccountId) -> Result<(), StoreError> {
        self.0.search.restart(&self.0.engine, account).await?;
        self.0.shared.watches.account_changed(account);
        Ok(())
    }

    /// Waits until the index holds everything that was committed before the call. For tests, and
    /// for an operator who waits for a rebuild.
    ///
    /// # Errors
    /// Those of reading and writing.
    pub async fn index_now(&self) -> Result<(), StoreError> {
        indexer::catch_up(self).await
    }
}

/// Starts the index's background work; it ends with the last clone of the store.
pub(crate) fn start(store: &Store) {
    let touched = Arc::clone(&store.0.shared.watches.touched);
    indexer::start(Arc::downgrade(&store.0), touched, store.0.search.gather());
}
