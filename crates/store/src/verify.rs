//! Checks of the store's invariants, and their repair.
//!
//! Safe on a running server with a large store: accounts one by one, letters and blobs in pages, each
//! a short snapshot of its own. What a statement finds was true of its snapshot; it is looked at a
//! second time before it is told, as the store goes on meanwhile.

mod accounts;
mod blobs;
mod repair;

pub(crate) use accounts::List as AccountIds;

use std::path::PathBuf;
use std::sync::Arc;

use crate::backup::{Progress, Watcher};
use crate::engine::{Body, Tx, params};
use crate::{Store, StoreError};

/// Findings of one kind in one account or page.
const LINES_MAX: i64 = 20;
/// Findings in all; a store with more is not repaired by hand.
const FINDINGS_MAX: usize = 1_000;

/// What a check looks at, and whether it repairs.
#[derive(Clone, Debug, Default)]
pub struct VerifyOptions {
    /// Whether every blob is read and its BLAKE3 compared.
    pub deep: bool,
    /// Whether what can be repaired is repaired.
    pub repair: bool,
    /// A backup from which lost bytes of letters are fetched.
    pub backup: Option<PathBuf>,
}

/// Something that should not be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What is wrong, in words, with its numbers.
    pub what: String,
    /// The way out, in words.
    pub repair: &'static str,
    /// Whether it was repaired.
    pub repaired: bool,
    /// What it is about.
    pub(crate) about: About,
}

/// What a finding is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum About {
    /// Rows of an account.
    Account(i64),
    /// The bytes of a blob.
    Bytes([u8; 32]),
    /// A blob that nobody names.
    Unnamed([u8; 32]),
    /// The queue.
    Letter(i64),
    /// Something that no repair exists for.
    Other,
}

/// The ways out.
const BY_REPAIR: &str = "`pennyblack verify --repair --yes` puts it right";
const BY_BACKUP: &str = "`pennyblack verify --repair --yes --backup FOLDER` fetches the letter from a \
    backup; without one its bytes are gone, and its message can only be deleted";
const BY_RESTORE: &str = "restore a backup into a new store (docs/backup.md)";

impl Store {
    /// Checks the store's invariants (counters, orphans, order of modseq); returns what is wrong,
    /// a line each, empty when all is well.
    ///
    /// # Errors
    /// Those of reading.
    pub async fn verify(&self) -> Result<Vec<String>, StoreError> {
        let findings = self
            .examine(&VerifyOptions::default(), Arc::new(|_| {}))
            .await?;
        Ok(findings.into_iter().map(|finding| finding.what).collect())
    }

    /// Checks the store's invariants, and repairs what can be repaired if so wanted.
    ///
    /// # Errors
    /// Those of reading and writing, and of the backup.
    pub async fn examine(
        &self,
        options: &VerifyOptions,
        watcher: Watcher,
    ) -> Result<Vec<Finding>, StoreError> {
        let mut findings = self.examine_accounts(&watcher).await?;
        findings.extend(self.examine_letters().await?);
        findings.extend(self.examine_blobs(options.deep, &watcher).await?);
        let outside = self.verify_segments(options.deep).await?;
        findings.extend(outside.into_iter().map(|what| Finding {
            what,
            repair: BY_BACKUP,
            repaired: false,
            about: About::Other,
        }));
        if options.deep {
            findings.extend(self.examine_file().await?);
        }
        findings.truncate(FINDINGS_MAX);
        if options.repair && !findings.is_empty() {
            self.repair(&mut findings, options.backup.as_deref())
                .await?;
        }
        Ok(findings)
    }

    async fn examine_accounts(&self, watcher: &Watcher) -> Result<Vec<Finding>, StoreError> {
        let accounts = self.0.engine.read(accounts::List).await?;
        let mut findings = Vec::new();
        for (done, account) in accounts.iter().enumerate() {
            for check in accounts::CHECKS {
                let look = accounts::Look {
                    check,
                    account: *account,
                };
                let found = self.0.engine.read(look).await?;
                if found.is_empty() {
                    continue;
                }
                // The account may have gone meanwhile, or a statement may have been cut short.
                let again = self.0.engine.read(look).await?;
                findings.extend(again.into_iter().filter(|finding| found.contains(finding)));
            }
            watcher(Progress {
                step: "accounts",
                done: done as u64 + 1,
                total: accounts.len() as u64,
            });
            if findings.len() >= FINDINGS_MAX {
                break;
            }
        }
        Ok(findings)
    }

    /// What the database says of its file, on SQLite.
    async fn examine_file(&self) -> Result<Vec<Finding>, StoreError> {
        let lines = self.0.engine.read(blobs::FileCheck).await?;
        Ok(lines
            .into_iter()
            .map(|line| Finding {
                what: format!("the database file is damaged: {line}"),
                repair: BY_RESTORE,
                repaired: false,
                about: About::Other,
            })
            .collect())
    }

    async fn examine_letters(&self) -> Result<Vec<Finding>, StoreError> {
        let mut findings = Vec::new();
        for check in LETTER_CHECKS {
            let found = self.0.engine.read(LetterLook { check }).await?;
            if found.is_empty() {
                continue;
            }
            let again = self.0.engine.read(LetterLook { check }).await?;
            findings.extend(again.into_iter().filter(|finding| found.contains(finding)));
        }
        Ok(findings)
    }
}

/// What must not be found in the queue: the words, the statement, the way out. The queue is short, so
/// that each is one look.
const LETTER_CHECKS: &[(&str, &str, &str)] = &[
    (
        "letter: its blob is missing",
        "SELECT l.letter_id FROM letter l WHERE NOT EXISTS
            (SELECT 1 FROM blob b WHERE b.hash = l.blob_hash AND b.part = 0
            AND b.blob_id = l.blob_id) ORDER BY l.letter_id LIMIT $1",
        "`pennyblack verify --repair --yes --backup FOLDER` fetches the letter from a backup; \
         `--repair` without one holds it, and `queue drop` removes it",
    ),
    (
        "letter: in the queue without a recipient",
        "SELECT l.letter_id FROM letter l WHERE NOT EXISTS
            (SELECT 1 FROM recipient r WHERE r.letter_id = l.letter_id)
            ORDER BY l.letter_id LIMIT $1",
        BY_REPAIR,
    ),
    (
        "letter, recipient: a recipient without its letter",
        "SELECT r.letter_id, r.recipient_id FROM recipient r WHERE NOT EXISTS
            (SELECT 1 FROM letter l WHERE l.letter_id = r.letter_id)
            ORDER BY r.letter_id LIMIT $1",
        BY_REPAIR,
    ),
];

struct LetterLook {
    check: &'static (&'static str, &'static str, &'static str),
}

impl Body for LetterLook {
    type Out = Vec<Finding>;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Vec<Finding>, StoreError> {
        let (words, sql, repair) = *self.check;
        let rows = tx.rows(sql, params![LINES_MAX]).await?;
        rows.iter()
            .map(|row| {
                Ok(Finding {
                    what: format!("{words}: {}", row.numbers()),
                    repair,
                    repaired: false,
                    about: About::Letter(row.int(0)?),
                })
            })
            .collect()
    }
}
