//! What must hold of an account's rows. Each check is one statement about one account.

use super::{About, BY_BACKUP, BY_REPAIR, Finding, LINES_MAX};
use crate::StoreError;
use crate::engine::{Body, Tx, params};

/// The words for a line, the statement, the way out. A statement gives up to three numbers.
#[derive(Debug)]
pub(super) struct Check {
    words: &'static str,
    sql: &'static str,
    repair: &'static str,
}

/// Messages that can be recovered have a row in `removed`, no placement, and counters of their own.
pub(super) const CHECKS: &[Check] = &[
    Check {
        words: "account, bytes counted, bytes of its messages: differ",
        sql: "SELECT account_id, counted, bytes FROM (SELECT a.account_id,
            a.used_bytes + a.removed_bytes AS counted,
            (SELECT CAST(coalesce(sum(m.size), 0) AS BIGINT) FROM message m
                WHERE m.account_id = $1) AS bytes
            FROM account a WHERE a.account_id = $1 AND a.removing = 0) both_of
            WHERE counted <> bytes LIMIT $2",
        repair: BY_REPAIR,
    },
    Check {
        words: "account, messages counted, messages: differ",
        sql: "SELECT account_id, counted, there FROM (SELECT a.account_id,
            a.messages + a.removed_messages AS counted,
            (SELECT count(*) FROM message m WHERE m.account_id = $1) AS there
            FROM account a WHERE a.account_id = $1 AND a.removing = 0) both_of
            WHERE counted <> there LIMIT $2",
        repair: BY_REPAIR,
    },
    Check {
        words: "account, deleted messages counted, deleted messages kept: they or their bytes differ",
        sql: "SELECT account_id, removed_messages, there FROM (SELECT a.account_id,
            a.removed_messages, a.removed_bytes,
            (SELECT count(*) FROM removed r JOIN message m
                ON m.account_id = r.account_id AND m.message_id = r.message_id
                WHERE r.account_id = $1 AND m.account_id = $1) AS there,
            (SELECT CAST(coalesce(sum(m.size), 0) AS BIGINT) FROM removed r JOIN message m
                ON m.account_id = r.account_id AND m.message_id = r.message_id
                WHERE r.account_id = $1 AND m.account_id = $1) AS bytes
            FROM account a WHERE a.account_id = $1 AND a.removing = 0) both_of
            WHERE removed_messages <> there OR removed_bytes <> bytes LIMIT $2",
        repair: BY_REPAIR,
    },
    Check {
        words: "account, mailbox, messages: its counters are wrong",
        sql: "SELECT b.account_id, b.mailbox_id, b.messages FROM mailbox b
            LEFT JOIN placement p ON p.account_id = b.account_id AND p.mailbox_id = b.mailbox_id
            WHERE b.account_id = $1
            GROUP BY b.account_id, b.mailbox_id, b.messages, b.unseen, b.deleted, b.size
            HAVING b.messages <> count(p.uid) OR b.unseen <> coalesce(sum(1 - p.seen), 0)
                OR b.deleted <> coalesce(sum(p.deleted), 0) OR b.size <> coalesce(sum(p.size), 0)
            LIMIT $2",
        repair: BY_REPAIR,
    },
    Check {
        words: "account, mailbox, uid: a placement at or above UIDNEXT",
        sql: "SELECT p.account_id, p.mailbox_id, p.uid FROM placement p
            JOIN mailbox b ON b.account_id = p.account_id AND b.mailbox_id = p.mailbox_id
            WHERE p.account_id = $1 AND b.account_id = $1 AND p.uid >= b.uid_next LIMIT $2",
        repair: BY_REPAIR,
    },
    Check {
        words: "account, mailbox, uid: a placement without its mailbox",
        sql: "SELECT p.account_id, p.mailbox_id, p.uid FROM placement p
            WHERE p.account_id = $1 AND NOT EXISTS (SELECT 1 FROM mailbox b
                WHERE b.account_id = $1 AND b.mailbox_id = p.mailbox_id) LIMIT $2",
        repair: BY_REPAIR,
    },
    Check {
        words: "account, mailbox, uid: a placement without its message, or of another size",
        sql: "SELECT p.account_id, p.mailbox_id, p.uid FROM placement p
            WHERE p.account_id = $1 AND NOT EXISTS (SELECT 1 FROM message m
                WHERE m.account_id = $1 AND m.message_id = p.message_id AND m.size = p.size)
            LIMIT $2",
        repair: BY_REPAIR,
    },
    Check {
        words: "account, message: a message without a placement",
        sql: "SELECT m.account_id, m.message_id FROM message m
            JOIN account a ON a.account_id = m.account_id
            WHERE m.account_id = $1 AND a.account_id = $1 AND a.removing = 0
            AND NOT EXISTS (SELECT 1 FROM placement p
                WHERE p.account_id = $1 AND p.message_id = m.message_id)
            AND NOT EXISTS (SELECT 1 FROM removed r
                WHERE r.account_id = $1 AND r.message_id = m.message_id) LIMIT $2",
        repair: "`pennyblack verify --repair --yes` puts it among the messages that can be recovered",
    },
    Check {
        words: "account, message: noted as removed, but it has a placement or is gone",
        sql: "SELECT r.account_id, r.message_id FROM removed r
            JOIN account a ON a.account_id = r.account_id
            WHERE r.account_id = $1 AND a.account_id = $1 AND a.removing = 0
            AND (EXISTS (SELECT 1 FROM placement p
                    WHERE p.account_id = $1 AND p.message_id = r.message_id)
                OR NOT EXISTS (SELECT 1 FROM message m
                    WHERE m.account_id = $1 AND m.message_id = r.message_id)) LIMIT $2",
        repair: BY_REPAIR,
    },
    Check {
        words: "account, message: its placements have different keywords",
        sql: "SELECT account_id, message_id FROM placement WHERE account_id = $1
            GROUP BY account_id, message_id
            HAVING min(keywords) <> max(keywords) OR min(seen) <> max(seen) LIMIT $2",
        repair: BY_REPAIR,
    },
    Check {
        words: "account, message: an id that was not given out yet",
        sql: "SELECT m.account_id, m.message_id FROM message m
            JOIN account a ON a.account_id = m.account_id
            WHERE m.account_id = $1 AND a.account_id = $1
            AND m.message_id >= a.next_message_id LIMIT $2",
        repair: BY_REPAIR,
    },
    Check {
        words: "account, mailbox, uid: a modseq above its mailbox's or account's",
        sql: "SELECT p.account_id, p.mailbox_id, p.uid FROM placement p
            JOIN mailbox b ON b.account_id = p.account_id AND b.mailbox_id = p.mailbox_id
            JOIN account a ON a.account_id = p.account_id
            WHERE p.account_id = $1 AND b.account_id = $1 AND a.account_id = $1
            AND (p.modseq > b.highest_modseq OR b.highest_modseq > a.modseq) LIMIT $2",
        repair: BY_REPAIR,
    },
    Check {
        words: "account, mailbox, uid: a UID that is noted as gone is there",
        sql: "SELECT e.account_id, e.mailbox_id, e.uid FROM expunged e
            JOIN placement p ON p.account_id = e.account_id AND p.mailbox_id = e.mailbox_id
                AND p.uid = e.uid
            WHERE e.account_id = $1 AND p.account_id = $1 LIMIT $2",
        repair: BY_REPAIR,
    },
    Check {
        words: "account, modseq: a change above the account's modseq",
        sql: "SELECT c.account_id, c.modseq FROM change c
            JOIN account a ON a.account_id = c.account_id
            WHERE c.account_id = $1 AND a.account_id = $1 AND c.modseq > a.modseq LIMIT $2",
        repair: BY_REPAIR,
    },
    Check {
        words: "account, message: its blob is missing or has another length",
        sql: "SELECT m.account_id, m.message_id FROM message m
            WHERE m.account_id = $1 AND NOT EXISTS (SELECT 1 FROM blob b
                WHERE b.hash = m.blob_hash AND b.part = 0 AND b.blob_id = m.blob_id
                AND b.total_bytes = m.size - m.head_bytes) LIMIT $2",
        repair: BY_BACKUP,
    },
];

/// All accounts.
pub(crate) struct List;

impl Body for List {
    type Out = Vec<i64>;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Vec<i64>, StoreError> {
        let sql = "SELECT account_id FROM account ORDER BY account_id";
        tx.rows(sql, &[])
            .await?
            .iter()
            .map(|row| row.int(0))
            .collect()
    }
}

/// One check of one account.
#[derive(Clone, Copy)]
pub(super) struct Look {
    pub(super) check: &'static Check,
    pub(super) account: i64,
}

impl Body for Look {
    type Out = Vec<Finding>;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Vec<Finding>, StoreError> {
        let rows = tx
            .rows(self.check.sql, params![self.account, LINES_MAX])
            .await?;
        let found = rows.iter().map(|row| Finding {
            what: format!("{}: {}", self.check.words, row.numbers()),
            repair: self.check.repair,
            repaired: false,
            about: About::Account(self.account),
        });
        Ok(found.collect())
    }
}
