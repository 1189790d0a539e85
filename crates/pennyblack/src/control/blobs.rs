//! Moving letters between their homes, a step per request: how far it has come travels with the
//! request, so that nothing is kept between two of them and any of them may be the last.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use store::{BlobMove, Store};

use super::Failure;
use super::operate::Answer;

/// How long a step works before it tells how far it has come.
const STEP: Duration = Duration::from_secs(1);

/// How far a move has come.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// The last letter that was looked at, by the hash of its bytes in hexadecimal digits; empty at
    /// the beginning.
    pub after: String,
    /// Letters that were looked at.
    pub seen: u64,
    /// Letters in all, as counted at the beginning.
    pub total: u64,
    /// Letters that were moved.
    pub moved: u64,
    /// Bytes of these.
    pub bytes: u64,
    /// Letters that cannot be read and stay where they are.
    pub left: u64,
    /// Whether all have been looked at.
    pub is_done: bool,
}

/// Goes on with a move.
///
/// # Errors
/// [`Failure`] of the store or the home; what was moved stays moved.
pub async fn go_on(store: &Store, mut progress: Progress) -> Result<Answer, Failure> {
    if progress.after.is_empty() {
        progress.total = store.count_blobs().await?;
    }
    let begun = BlobMove {
        after: hash(&progress.after)?,
        seen: progress.seen,
        moved: progress.moved,
        bytes: progress.bytes,
        left: progress.left,
        is_done: false,
    };
    let come = store.bring_blobs_home(begun, STEP).await?;
    let hex = |hash: [u8; 32]| hash.iter().map(|byte| format!("{byte:02x}")).collect();
    progress = Progress {
        after: come.after.map(hex).unwrap_or_default(),
        seen: come.seen,
        total: progress.total,
        moved: come.moved,
        bytes: come.bytes,
        left: come.left,
        is_done: come.is_done,
    };
    let row =
        serde_json::to_value(progress).map_err(|error| Failure::invalid(error.to_string()))?;
    Ok(Answer {
        rows: vec![row],
        done: String::new(),
    })
}

fn hash(text: &str) -> Result<Option<[u8; 32]>, Failure> {
    if text.is_empty() {
        return Ok(None);
    }
    let mut hash = [0; 32];
    for (at, byte) in hash.iter_mut().enumerate() {
        let digits = text.get(at * 2..at * 2 + 2);
        *byte = digits
            .and_then(|digits| u8::from_str_radix(digits, 16).ok())
            .ok_or_else(|| Failure::invalid("`after` is not the hash of a letter"))?;
    }
    Ok(Some(hash))
}
