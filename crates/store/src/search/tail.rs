//! Letters that are not in the index yet: they are read and compared, one after another.

use base::{AccountId, MessageId};

use super::index::Progress;
use super::query::SearchQuery;
use super::text::Raw;
use super::work::{Look, WorkKind};
use crate::{Store, StoreError};

/// Letters of more bytes are not split into words on a thread that others wait for.
const INLINE_BYTES_MAX: usize = 32 * 1024;
/// Letters opened at once.
const PAGE_LETTERS: usize = 32;

/// Tells `found` the letters that were not in the index when it had come so far, and that a query
/// (by number) finds.
pub(super) async fn search(
    store: &Store,
    account: AccountId,
    progress: Option<Progress>,
    queries: &[SearchQuery],
    mut found: impl FnMut(usize, MessageId),
) -> Result<(), StoreError> {
    let mut progress = progress;
    // The log may go on for ever: what comes after the first look came after this search began.
    let mut end = None;
    loop {
        let look = Look { account, progress };
        let Some(work) = store.0.engine.read(look).await? else {
            return Ok(());
        };
        let end = *end.get_or_insert(work.modseq);
        for page in work.created.chunks(PAGE_LETTERS) {
            let mut bodies = store.bodies(account, page.to_vec()).await?;
            for row in store.structured(account, page).await? {
                if let Some(opened) = bodies.remove(&row.meta.id) {
                    let raw = Raw::of(opened, &row).await?;
                    each_match(store, account, raw, queries, &mut found).await?;
                }
            }
        }
        if work.kind == WorkKind::Log && work.to.modseq >= end {
            return Ok(());
        }
        progress = Some(work.to);
    }
}

async fn each_match(
    store: &Store,
    account: AccountId,
    raw: Option<Raw>,
    queries: &[SearchQuery],
    found: &mut impl FnMut(usize, MessageId),
) -> Result<(), StoreError> {
    let Some(raw) = raw else {
        return Ok(());
    };
    let message = raw.message;
    let extractor = store.0.extractor.clone();
    let document = if raw.bytes() <= INLINE_BYTES_MAX && !raw.has_documents() {
        raw.document(account, None)
    } else {
        let work = move || raw.document(account, extractor.as_ref());
        store.0.aside.run("reading a text", work).await?
    };
    for (number, query) in queries.iter().enumerate() {
        if !query.is_empty() && document.matches(account, query) {
            found(number, message);
        }
    }
    Ok(())
}
