//! An inverted index made of segments, wherever they are kept: it holds no text, only which words
//! stand where. A batch of letters becomes a segment, in which the words are in order, each with its
//! messages and places ([`batch`]); small segments are merged into larger ones ([`merge`], [`plan`]),
//! and a search looks into all of them ([`find`]). A segment is a list of blocks by their first keys.
//!
//! Nothing here reads or writes: who keeps the blocks hands them in, so that it serves a file and a
//! server alike. It splits no words: the tokens come separated by spaces, with their account before
//! each.

mod batch;
mod blocks;
mod docs;
mod find;
mod gone;
mod join;
mod merge;
mod plan;
mod postings;

use base::{AccountId, MessageId};

pub(in crate::search) use batch::{Batches, join, runs_of};
pub(in crate::search) use blocks::Block;
#[cfg(test)]
pub(in crate::search) use blocks::{BlockReader, key};
pub(in crate::search) use docs::Docs;
pub(in crate::search) use find::{Finder, Keys};
pub(in crate::search) use gone::{Gone, Marks};
pub(in crate::search) use merge::{Merger, Wants};
pub(in crate::search) use plan::{BUILDING, LIVE, REMOVED, Segment, Shape};
pub(in crate::search) use postings::damaged;
#[cfg(test)]
pub(in crate::search) use postings::each_place;

use crate::StoreError;

/// Bits of a row's number that are the message's; the account's are above.
const MESSAGE_BITS: u32 = 32;

/// The account that a word belongs to: the words of the index begin with its number.
fn account_of(word: &[u8]) -> Option<AccountId> {
    let end = word.iter().position(|byte| *byte == b'/')?;
    let number = std::str::from_utf8(word.get(..end)?).ok()?;
    i64::from_str_radix(number, 16).ok().map(AccountId)
}

/// The lowest and the highest number of an account's rows.
pub(in crate::search) fn rows_of(account: AccountId) -> Result<(i64, i64), StoreError> {
    let low = (1 << MESSAGE_BITS) - 1;
    let first = account.0.checked_mul(1 << MESSAGE_BITS);
    first
        .filter(|first| *first >= 0)
        .map(|first| (first, first | low))
        .ok_or_else(|| StoreError::Bug(format!("account {} has no place in the index", account.0)))
}

/// The number of a message's row.
pub(in crate::search) fn row_of(account: AccountId, message: MessageId) -> Result<i64, StoreError> {
    let (first, last) = rows_of(account)?;
    let row = message.0.checked_add(first);
    row.filter(|row| (first..=last).contains(row))
        .ok_or_else(|| StoreError::Bug(format!("message {} has no place in the index", message.0)))
}

/// The row of a message of the index.
fn row_at(account: AccountId, message: u32) -> Result<i64, StoreError> {
    row_of(account, MessageId(message.into()))
}
