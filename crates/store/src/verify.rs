//! Checks of the store's invariants, each one statement that finds what breaks it.

use crate::engine::{Body, Tx, params};
use crate::{Store, StoreError};

/// Lines reported of one kind.
const LINES_MAX: i64 = 20;

/// What must not be found: the words for a line, and the statement. Each gives up to three numbers.
const CHECKS: &[(&str, &str)] = &[
    (
        "account, bytes counted, bytes of its messages: differ",
        "SELECT a.account_id, a.used_bytes + a.removed_bytes, coalesce(sum(m.size), 0)
         FROM account a LEFT JOIN message m ON m.account_id = a.account_id WHERE a.removing = 0
         GROUP BY a.account_id, a.used_bytes, a.removed_bytes
         HAVING a.used_bytes + a.removed_bytes <> coalesce(sum(m.size), 0) LIMIT $1",
    ),
    (
        "account, messages counted, messages: differ",
        "SELECT a.account_id, a.messages + a.removed_messages, count(m.message_id)
         FROM account a LEFT JOIN message m ON m.account_id = a.account_id WHERE a.removing = 0
         GROUP BY a.account_id, a.messages, a.removed_messages
         HAVING a.messages + a.removed_messages <> count(m.message_id) LIMIT $1",
    ),
    (
        "account, deleted messages counted, deleted messages kept: they or their bytes differ",
        "SELECT a.account_id, a.removed_messages, count(m.message_id) FROM account a
         LEFT JOIN (removed r JOIN message m
            ON m.account_id = r.account_id AND m.message_id = r.message_id)
            ON r.account_id = a.account_id
         WHERE a.removing = 0 GROUP BY a.account_id, a.removed_messages, a.removed_bytes
         HAVING a.removed_messages <> count(m.message_id)
            OR a.removed_bytes <> coalesce(sum(m.size), 0) LIMIT $1",
    ),
    (
        "account, message: kept as deleted, but placed in a mailbox or without its row",
        "SELECT r.account_id, r.message_id FROM removed r
         JOIN account a ON a.account_id = r.account_id WHERE a.removing = 0
         AND (EXISTS (SELECT 1 FROM placement p
                WHERE p.account_id = r.account_id AND p.message_id = r.message_id)
            OR NOT EXISTS (SELECT 1 FROM message m
                WHERE m.account_id = r.account_id AND m.message_id = r.message_id)) LIMIT $1",
    ),
    (
        "account, mailbox, messages: its counters are wrong",
        "SELECT b.account_id, b.mailbox_id, b.messages FROM mailbox b
         LEFT JOIN placement p ON p.account_id = b.account_id AND p.mailbox_id = b.mailbox_id
         GROUP BY b.account_id, b.mailbox_id, b.messages, b.unseen, b.deleted, b.size
         HAVING b.messages <> count(p.uid) OR b.unseen <> coalesce(sum(1 - p.seen), 0)
            OR b.deleted <> coalesce(sum(p.deleted), 0) OR b.size <> coalesce(sum(p.size), 0)
         LIMIT $1",
    ),
    (
        "account, mailbox, uid: a placement at or above UIDNEXT",
        "SELECT p.account_id, p.mailbox_id, p.uid FROM placement p
         JOIN mailbox b ON b.account_id = p.account_id AND b.mailbox_id = p.mailbox_id
         WHERE p.uid >= b.uid_next LIMIT $1",
    ),
    (
        "account, mailbox, uid: a placement without its mailbox",
        "SELECT p.account_id, p.mailbox_id, p.uid FROM placement p
         WHERE NOT EXISTS (SELECT 1 FROM mailbox b
            WHERE b.account_id = p.account_id AND b.mailbox_id = p.mailbox_id) LIMIT $1",
    ),
    (
        "account, mailbox, uid: a placement without its message, or of another size",
        "SELECT p.account_id, p.mailbox_id, p.uid FROM placement p
         WHERE NOT EXISTS (SELECT 1 FROM message m WHERE m.account_id = p.account_id
            AND m.message_id = p.message_id AND m.size = p.size) LIMIT $1",
    ),
    (
        "account, message: a message without a placement",
        "SELECT m.account_id, m.message_id FROM message m
         JOIN account a ON a.account_id = m.account_id WHERE a.removing = 0
         AND NOT EXISTS (SELECT 1 FROM placement p
            WHERE p.account_id = m.account_id AND p.message_id = m.message_id)
         AND NOT EXISTS (SELECT 1 FROM removed r
            WHERE r.account_id = m.account_id AND r.message_id = m.message_id) LIMIT $1",
    ),
    (
        "account, message: its placements have different keywords",
        "SELECT account_id, message_id FROM placement GROUP BY account_id, message_id
         HAVING min(keywords) <> max(keywords) OR min(seen) <> max(seen) LIMIT $1",
    ),
    (
        "account, message: an id that was not given out yet",
        "SELECT m.account_id, m.message_id FROM message m
         JOIN account a ON a.account_id = m.account_id
         WHERE m.message_id >= a.next_message_id LIMIT $1",
    ),
    (
        "account, mailbox, uid: a modseq above its mailbox's or account's",
        "SELECT p.account_id, p.mailbox_id, p.uid FROM placement p
         JOIN mailbox b ON b.account_id = p.account_id AND b.mailbox_id = p.mailbox_id
         JOIN account a ON a.account_id = p.account_id
         WHERE p.modseq > b.highest_modseq OR b.highest_modseq > a.modseq LIMIT $1",
    ),
    (
        "account, mailbox, uid: a UID that is noted as gone is there",
        "SELECT e.account_id, e.mailbox_id, e.uid FROM expunged e
         JOIN placement p ON p.account_id = e.account_id AND p.mailbox_id = e.mailbox_id
            AND p.uid = e.uid LIMIT $1",
    ),
    (
        "account, modseq: a change above the account's modseq",
        "SELECT c.account_id, c.modseq FROM change c
         JOIN account a ON a.account_id = c.account_id WHERE c.modseq > a.modseq LIMIT $1",
    ),
    (
        "account, message: its blob is missing or has another length",
        "SELECT m.account_id, m.message_id FROM message m
         WHERE NOT EXISTS (SELECT 1 FROM blob b WHERE b.hash = m.blob_hash AND b.part = 0
            AND b.blob_id = m.blob_id AND b.total_bytes = m.size - m.head_bytes) LIMIT $1",
    ),
    (
        "letter: its blob is missing",
        "SELECT l.letter_id FROM letter l WHERE NOT EXISTS
            (SELECT 1 FROM blob b WHERE b.hash = l.blob_hash AND b.part = 0
            AND b.blob_id = l.blob_id) LIMIT $1",
    ),
    (
        "parts, bytes noted, bytes there: a blob is not whole",
        "SELECT count(*), max(b.total_bytes), sum(b.plain_bytes) FROM blob b
         WHERE NOT EXISTS (SELECT 1 FROM condemned c WHERE c.hash = b.hash)
            OR EXISTS (SELECT 1 FROM message m WHERE m.blob_id = b.blob_id)
            OR EXISTS (SELECT 1 FROM letter l WHERE l.blob_id = b.blob_id)
         GROUP BY b.hash
         HAVING max(b.total_bytes) <> sum(b.plain_bytes) OR max(b.part) <> count(*) - 1 LIMIT $1",
    ),
    (
        "bytes: a blob that nobody names and nobody condemned",
        "SELECT b.total_bytes FROM blob b WHERE b.part = 0
         AND NOT EXISTS (SELECT 1 FROM message m WHERE m.blob_id = b.blob_id)
         AND NOT EXISTS (SELECT 1 FROM letter l WHERE l.blob_id = b.blob_id)
         AND NOT EXISTS (SELECT 1 FROM condemned c WHERE c.hash = b.hash) LIMIT $1",
    ),
    (
        "letter: in the queue without a recipient",
        "SELECT l.letter_id FROM letter l WHERE NOT EXISTS
            (SELECT 1 FROM recipient r WHERE r.letter_id = l.letter_id) LIMIT $1",
    ),
    (
        "letter, recipient: a recipient without its letter",
        "SELECT r.letter_id, r.recipient_id FROM recipient r WHERE NOT EXISTS
            (SELECT 1 FROM letter l WHERE l.letter_id = r.letter_id) LIMIT $1",
    ),
];

impl Store {
    /// Checks the store's invariants (counters, orphans, order of modseq); returns what is wrong,
    /// a line each, empty when all is well.
    ///
    /// # Errors
    /// Those of reading.
    pub async fn verify(&self) -> Result<Vec<String>, StoreError> {
        let mut lines = Vec::new();
        for (words, sql) in CHECKS {
            for row in self.0.engine.read(Check { sql }).await? {
                lines.push(format!("{words}: {row}"));
            }
        }
        lines.extend(self.verify_segments(false).await?);
        Ok(lines)
    }
}

struct Check {
    sql: &'static str,
}

impl Body for Check {
    type Out = Vec<String>;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Vec<String>, StoreError> {
        let rows = tx.rows(self.sql, params![LINES_MAX]).await?;
        Ok(rows.iter().map(|row| row.numbers()).collect())
    }
}
