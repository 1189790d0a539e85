-- The first schema. Times are milliseconds since 1970; truth is 0 or 1.

-- Global tables.

CREATE TABLE server_secret (
    name TEXT NOT NULL PRIMARY KEY,
    value BLOB NOT NULL
) WITHOUT ROWID;

CREATE TABLE sequence (
    name TEXT NOT NULL PRIMARY KEY,
    next INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE domain (
    name TEXT NOT NULL PRIMARY KEY,
    created_at INTEGER NOT NULL
) WITHOUT ROWID;

-- An address of an account, or an alias (account_id is NULL) with its targets in alias_target.
CREATE TABLE address (
    address_key TEXT NOT NULL PRIMARY KEY,
    address TEXT NOT NULL,
    domain TEXT NOT NULL,
    account_id INTEGER
) WITHOUT ROWID;
CREATE INDEX address_domain ON address (domain);
CREATE INDEX address_account ON address (account_id) WHERE account_id IS NOT NULL;

CREATE TABLE alias_target (
    address_key TEXT NOT NULL,
    target TEXT NOT NULL,
    PRIMARY KEY (address_key, target)
) WITHOUT ROWID;

-- Account tables: account_id comes first in every key.

-- change_floor: changes up to this modseq are no longer in the log.
CREATE TABLE account (
    account_id INTEGER NOT NULL PRIMARY KEY,
    address TEXT NOT NULL,
    name TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    enabled INTEGER NOT NULL,
    admin INTEGER NOT NULL,
    removing INTEGER NOT NULL,
    quota_bytes INTEGER,
    used_bytes INTEGER NOT NULL,
    messages INTEGER NOT NULL,
    modseq INTEGER NOT NULL,
    change_floor INTEGER NOT NULL,
    next_message_id INTEGER NOT NULL,
    next_mailbox_id INTEGER NOT NULL,
    next_uid_validity INTEGER NOT NULL
);

CREATE TABLE credential (
    account_id INTEGER NOT NULL PRIMARY KEY,
    argon2 TEXT NOT NULL,
    scram_salt BLOB NOT NULL,
    scram_iterations INTEGER NOT NULL,
    scram_stored_key BLOB NOT NULL,
    scram_server_key BLOB NOT NULL,
    changed_at INTEGER NOT NULL
);

CREATE TABLE mailbox (
    account_id INTEGER NOT NULL,
    mailbox_id INTEGER NOT NULL,
    name TEXT NOT NULL,
    role INTEGER,
    subscribed INTEGER NOT NULL,
    uid_validity INTEGER NOT NULL,
    uid_next INTEGER NOT NULL,
    messages INTEGER NOT NULL,
    unseen INTEGER NOT NULL,
    deleted INTEGER NOT NULL,
    size INTEGER NOT NULL,
    highest_modseq INTEGER NOT NULL,
    PRIMARY KEY (account_id, mailbox_id)
) WITHOUT ROWID;
CREATE UNIQUE INDEX mailbox_name ON mailbox (account_id, name);
CREATE UNIQUE INDEX mailbox_role ON mailbox (account_id, role) WHERE role IS NOT NULL;

-- A row of this table is itself the reference that keeps its blob. Rows are appended in the order
-- of arrival and found by the index of the key: the rows are wide, and a tree clustered by account
-- would rewrite a page for each.
CREATE TABLE message (
    account_id INTEGER NOT NULL,
    message_id INTEGER NOT NULL,
    thread_id INTEGER NOT NULL,
    letter_id INTEGER,
    received_at INTEGER NOT NULL,
    size INTEGER NOT NULL,
    head_bytes INTEGER NOT NULL,
    blob_hash BLOB NOT NULL,
    blob_id INTEGER NOT NULL,
    head BLOB NOT NULL,
    envelope BLOB NOT NULL,
    structure BLOB NOT NULL,
    preview TEXT NOT NULL,
    PRIMARY KEY (account_id, message_id)
);
-- By id and not by hash: ids grow, so that the index is appended to.
CREATE INDEX message_blob ON message (blob_id, account_id);

-- The keywords are those of the message: all its placements carry the same, so that a list of a
-- mailbox reads one narrow table. A change of keywords raises the modseq of all of them anyway.
CREATE TABLE placement (
    account_id INTEGER NOT NULL,
    mailbox_id INTEGER NOT NULL,
    uid INTEGER NOT NULL,
    message_id INTEGER NOT NULL,
    modseq INTEGER NOT NULL,
    deleted INTEGER NOT NULL,
    seen INTEGER NOT NULL,
    size INTEGER NOT NULL,
    saved_at INTEGER NOT NULL,
    keywords TEXT NOT NULL,
    PRIMARY KEY (account_id, mailbox_id, uid)
) WITHOUT ROWID;
CREATE UNIQUE INDEX placement_message ON placement (account_id, message_id, mailbox_id);
CREATE INDEX placement_modseq ON placement (account_id, mailbox_id, modseq);
CREATE INDEX placement_deleted ON placement (account_id, mailbox_id, uid) WHERE deleted = 1;

-- UIDs that are gone, for QRESYNC.
CREATE TABLE expunged (
    account_id INTEGER NOT NULL,
    mailbox_id INTEGER NOT NULL,
    modseq INTEGER NOT NULL,
    uid INTEGER NOT NULL,
    PRIMARY KEY (account_id, mailbox_id, modseq, uid)
) WITHOUT ROWID;

-- type: 1 message, 2 mailbox. operation: 1 created, 2 updated, 3 destroyed.
CREATE TABLE change (
    account_id INTEGER NOT NULL,
    modseq INTEGER NOT NULL,
    type INTEGER NOT NULL,
    id INTEGER NOT NULL,
    operation INTEGER NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (account_id, modseq, type, id)
) WITHOUT ROWID;

-- Which conversation a Message-ID (its hash) belongs to. A row is never changed: threads do not
-- merge.
CREATE TABLE thread_key (
    account_id INTEGER NOT NULL,
    thread_key INTEGER NOT NULL,
    thread_id INTEGER NOT NULL,
    PRIMARY KEY (account_id, thread_key)
) WITHOUT ROWID;

-- Letter tables.

-- A row is itself the reference that keeps its blob.
CREATE TABLE letter (
    letter_id INTEGER NOT NULL PRIMARY KEY,
    blob_hash BLOB NOT NULL,
    blob_id INTEGER NOT NULL,
    sender_account INTEGER,
    reverse_path TEXT,
    envelope_id TEXT,
    dsn_return INTEGER NOT NULL,
    needs_utf8 INTEGER NOT NULL,
    size INTEGER NOT NULL,
    received_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    head BLOB NOT NULL
);
CREATE INDEX letter_blob ON letter (blob_id);

-- fence: 0, or the number of the claim that holds the row; next_at is then the end of its lease.
CREATE TABLE recipient (
    letter_id INTEGER NOT NULL,
    recipient_id INTEGER NOT NULL,
    address TEXT NOT NULL,
    domain TEXT NOT NULL,
    original TEXT,
    notify INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    delay_reported INTEGER NOT NULL,
    held INTEGER NOT NULL,
    next_at INTEGER NOT NULL,
    reason TEXT NOT NULL,
    fence INTEGER NOT NULL,
    node TEXT NOT NULL,
    incarnation INTEGER NOT NULL,
    PRIMARY KEY (letter_id, recipient_id)
) WITHOUT ROWID;
CREATE INDEX recipient_due ON recipient (domain, next_at, letter_id) WHERE held = 0;
CREATE INDEX recipient_claimed ON recipient (node) WHERE fence <> 0;

-- Deliveries whose replies the peer may not have seen.
CREATE TABLE delivery (
    letter_id INTEGER NOT NULL PRIMARY KEY,
    delivery_key BLOB NOT NULL,
    received_at INTEGER NOT NULL
);
CREATE INDEX delivery_by_key ON delivery (delivery_key);

-- One row for the notes that one verb makes.
CREATE TABLE journey (
    letter_id INTEGER NOT NULL,
    batch INTEGER NOT NULL,
    notes BLOB NOT NULL,
    PRIMARY KEY (letter_id, batch)
) WITHOUT ROWID;
-- The hash of a letter's Message-ID. It is looked for from the newest letter backwards: an operator
-- can wait for a scan of 20 bytes a letter, and an index would cost every letter a random page.
CREATE TABLE letter_name (
    letter_id INTEGER NOT NULL PRIMARY KEY,
    message_key INTEGER NOT NULL
);

-- Blobs, by the hash of their content, in parts of at most 256 KiB before compression. coding: 0
-- plain, 1 zstd. Rows are appended; the index of the key finds them. blob_id is that of part 0.
CREATE TABLE blob (
    hash BLOB NOT NULL,
    part INTEGER NOT NULL,
    blob_id INTEGER NOT NULL,
    coding INTEGER NOT NULL,
    plain_bytes INTEGER NOT NULL,
    total_bytes INTEGER NOT NULL,
    data BLOB NOT NULL,
    PRIMARY KEY (hash, part)
);

-- Blobs that lost a reference and may have none. The collector looks again after a grace.
CREATE TABLE condemned (
    hash BLOB NOT NULL PRIMARY KEY,
    condemned_at INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX condemned_by_time ON condemned (condemned_at);

-- What the planner cannot see in an empty database: an account's id alone selects very many rows,
-- and so does a destination's name.
-- Without this it takes a tenth of them for granted, and reads a whole account to find one message
-- (a change of one keyword took 0.8 ms among 20,000 placements, and grew with them).
ANALYZE;
DELETE FROM sqlite_stat1;
INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES
    ('placement', 'placement', '1000000 50000 5000 1'),
    ('placement', 'placement_message', '1000000 50000 1 1'),
    ('placement', 'placement_modseq', '1000000 50000 5000 2'),
    ('placement', 'placement_deleted', '1000 100 20 1'),
    ('message', 'sqlite_autoindex_message_1', '1000000 50000 1'),
    ('message', 'message_blob', '1000000 2 1'),
    ('expunged', 'expunged', '1000000 50000 5000 2 1'),
    ('change', 'change', '1000000 50000 2 2 1'),
    ('thread_key', 'thread_key', '1000000 50000 1'),
    ('recipient', 'recipient', '1000000 2 1'),
    ('recipient', 'recipient_due', '1000000 100000 100 2 1'),
    ('recipient', 'recipient_claimed', '1000 1000 2 1');
ANALYZE sqlite_schema;
