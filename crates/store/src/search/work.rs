//! What the index still has to do for an account: read from its log of changes, or, where the log
//! does not reach back, from what is in its mailboxes.

use std::collections::BTreeMap;

use base::{AccountId, MessageId};

use super::index::Progress;
use crate::StoreError;
use crate::copies::{ChangeKind, Operation};
use crate::engine::{Body, Tx, params};

/// Rows of the log, and messages of a mailbox, that one look reads.
const LOOK_ROWS: i64 = 1_000;

/// What one look has found.
pub(crate) struct Work {
    /// What there is to do.
    pub kind: WorkKind,
    /// Messages that are new: by id, or in the log by the modseq that made them.
    pub created: Vec<MessageId>,
    /// In the log, the modseq of each of them.
    pub modseqs: Vec<i64>,
    /// Messages that are gone.
    pub destroyed: Vec<MessageId>,
    /// How far the index has come when this is done.
    pub to: Progress,
    /// The account's modseq at the look.
    pub modseq: i64,
}

/// Where it was found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum WorkKind {
    /// In the log, up to where it ends now or at the limit of rows.
    Log,
    /// In the mailboxes: all messages above the first id up to the second.
    Mailboxes(i64, i64),
}

impl Work {
    /// Leaves all but the first `read` new messages to a later look, or some of these too: what one
    /// modseq has made is not divided. `false` if the work cannot be divided there.
    pub(crate) fn cut(&mut self, read: usize) -> bool {
        let Some(before) = read.checked_sub(1) else {
            return false;
        };
        let Some(last) = self.created.get(before) else {
            return false;
        };
        if read == self.created.len() {
            return false;
        }
        if let WorkKind::Mailboxes(after, _) = self.kind {
            self.to.scan_after = Some(last.0);
            self.kind = WorkKind::Mailboxes(after, last.0);
            self.created.truncate(read);
            return true;
        }
        let next = self.modseqs.get(read).copied();
        let whole = self.modseqs.partition_point(|at| Some(*at) < next);
        let Some(until) = whole.checked_sub(1).and_then(|at| self.modseqs.get(at)) else {
            return false;
        };
        // What is gone after this is taken out early, and once more: no harm.
        self.to.modseq = *until;
        self.created.truncate(whole);
        self.modseqs.truncate(whole);
        true
    }
}

/// The next piece of work for an account; nothing if the account is gone or all is done.
pub(crate) struct Look {
    pub account: AccountId,
    pub progress: Option<Progress>,
}

impl Body for Look {
    type Out = Option<Work>;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Option<Work>, StoreError> {
        let sql = "SELECT modseq, change_floor FROM account
            WHERE account_id = $1 AND removing = 0";
        let Some(row) = tx.row(sql, params![self.account]).await? else {
            return Ok(None);
        };
        let (modseq, floor) = (row.int(0)?, row.int(1)?);
        // An index ahead of its database belongs to another one: a backup was put back.
        let reaches = |progress: &Progress| (floor..=modseq).contains(&progress.modseq);
        let progress = self.progress.filter(reaches);
        let progress = progress.unwrap_or_else(|| Progress::start(modseq));
        if let Some(after) = progress.scan_after {
            let mut work = mailboxes(tx, self.account, progress.modseq, after).await?;
            work.modseq = modseq;
            return Ok(Some(work));
        }
        if progress.modseq == modseq {
            return Ok(None);
        }
        log(tx, self.account, progress.modseq, modseq)
            .await
            .map(Some)
    }
}

async fn mailboxes(
    tx: &mut Tx<'_>,
    account: AccountId,
    modseq: i64,
    after: i64,
) -> Result<Work, StoreError> {
    let sql = "SELECT DISTINCT message_id FROM placement
        WHERE account_id = $1 AND message_id > $2 ORDER BY message_id LIMIT $3";
    let rows = tx.rows(sql, params![account, after, LOOK_ROWS]).await?;
    let created = rows
        .iter()
        .map(|row| Ok(MessageId(row.int(0)?)))
        .collect::<Result<Vec<_>, StoreError>>()?;
    let last = created
        .last()
        .filter(|_| i64::try_from(created.len()) == Ok(LOOK_ROWS))
        .map(|last| last.0);
    Ok(Work {
        kind: WorkKind::Mailboxes(after, last.unwrap_or(i64::MAX)),
        created,
        modseqs: Vec::new(),
        destroyed: Vec::new(),
        to: Progress {
            modseq,
            scan_after: last,
        },
        modseq,
    })
}

async fn log(
    tx: &mut Tx<'_>,
    account: AccountId,
    since: i64,
    modseq: i64,
) -> Result<Work, StoreError> {
    // Whole changes: the rows of one modseq are not divided.
    let sql = "SELECT count(*), max(modseq) FROM (SELECT modseq FROM change
        WHERE account_id = $1 AND modseq > $2 ORDER BY modseq LIMIT $3) limited";
    let limited = tx.one(sql, params![account, since, LOOK_ROWS]).await?;
    let until = match limited.maybe_int(1)? {
        Some(last) if limited.int(0)? == LOOK_ROWS => last,
        _ => modseq,
    };
    let sql = "SELECT id, operation, modseq FROM change
        WHERE account_id = $1 AND modseq > $2 AND modseq <= $3 AND type = $4 ORDER BY modseq";
    let kind = ChangeKind::Message as i64;
    let mut last = BTreeMap::new();
    for row in tx.rows(sql, params![account, since, until, kind]).await? {
        let operation = row.int(1)?;
        // A message that is updated is in other mailboxes or has other keywords, but the same text.
        if operation != Operation::Updated as i64 {
            let is_created = operation == Operation::Created as i64;
            last.insert(MessageId(row.int(0)?), (is_created, row.int(2)?));
        }
    }
    let of = |wanted: bool| -> Vec<i64> {
        let chosen = last
            .iter()
            .filter(move |(_, (created, _))| *created == wanted);
        chosen.map(|(message, _)| message.0).collect()
    };
    // A deleted message that can be recovered still has its row; what comes after this look in the
    // log tells of the deletion.
    let sql = "SELECT DISTINCT message_id FROM placement
        WHERE account_id = $1 AND message_id IN list($2) ORDER BY message_id";
    let rows = tx.rows(sql, params![account, of(true).as_slice()]).await?;
    let mut created = Vec::with_capacity(rows.len());
    for row in &rows {
        let message = MessageId(row.int(0)?);
        created.push((last.get(&message).map_or(until, |(_, at)| *at), message));
    }
    created.sort_unstable();
    let (modseqs, created) = created.into_iter().unzip();
    Ok(Work {
        kind: WorkKind::Log,
        created,
        modseqs,
        destroyed: of(false).into_iter().map(MessageId).collect(),
        to: Progress {
            modseq: until,
            scan_after: None,
        },
        modseq,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn work(kind: WorkKind, modseqs: &[i64]) -> Work {
        Work {
            kind,
            created: (1..=4).map(MessageId).collect(),
            modseqs: modseqs.to_vec(),
            destroyed: Vec::new(),
            to: Progress {
                modseq: 20,
                scan_after: None,
            },
            modseq: 20,
        }
    }

    #[test]
    fn the_log_is_cut_between_changes() {
        let check = |read: usize, cut: Option<(i64, usize)>| {
            let mut work = work(WorkKind::Log, &[5, 7, 7, 9]);
            assert_eq!(work.cut(read), cut.is_some(), "{read}");
            let (modseq, count) = cut.unwrap_or((20, 4));
            assert_eq!((work.to.modseq, work.created.len()), (modseq, count));
            assert_eq!(work.modseqs.len(), count);
        };
        check(0, None);
        check(1, Some((5, 1)));
        check(2, Some((5, 1)));
        check(3, Some((7, 3)));
        check(4, None);
        // The first change is not whole yet.
        assert!(!work(WorkKind::Log, &[5, 5, 5, 9]).cut(2));
    }

    #[test]
    fn mailboxes_are_cut_between_letters() {
        let mut work = work(WorkKind::Mailboxes(0, i64::MAX), &[]);
        assert!(!work.cut(4));
        assert!(work.cut(3));
        assert_eq!(work.kind, WorkKind::Mailboxes(0, 3));
        assert_eq!(work.to.scan_after, Some(3));
        assert_eq!(work.created.len(), 3);
    }
}
