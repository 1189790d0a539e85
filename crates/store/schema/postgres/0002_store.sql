-- Version 2, the first that PostgreSQL has: the same tables as on SQLite. Texts are compared byte by
-- byte, as they are there. Times are milliseconds since 1970; truth is 0 or 1.

-- Global tables.

CREATE TABLE server_secret (
    name TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    value BYTEA NOT NULL
);

CREATE TABLE sequence (
    name TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    next BIGINT NOT NULL
);

-- author_check: 0 always, 1 not where a letter is sent again, 2 never.
CREATE TABLE domain (
    name TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    created_at BIGINT NOT NULL,
    author_check BIGINT NOT NULL DEFAULT 0
);

-- As whom an account may send besides its own addresses. kind and subject: 1 an address (its key), 2 a
-- domain, 3 as the account of that number, 4 on its behalf.
CREATE TABLE send_right (
    account_id BIGINT NOT NULL,
    kind BIGINT NOT NULL,
    subject TEXT COLLATE "C" NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (account_id, kind, subject)
);

-- An address of an account, or an alias (account_id is NULL) with its targets in alias_target.
-- kind: 0 of an account, or an alias; 1 to 3 a group that anyone, its members, its domain may write
-- to; 4 a mailing list, whose targets are its owners.
CREATE TABLE address (
    address_key TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    address TEXT COLLATE "C" NOT NULL,
    domain TEXT COLLATE "C" NOT NULL,
    account_id BIGINT,
    kind BIGINT NOT NULL DEFAULT 0
);
CREATE INDEX address_domain ON address (domain);
CREATE INDEX address_account ON address (account_id) WHERE account_id IS NOT NULL;

CREATE TABLE alias_target (
    address_key TEXT COLLATE "C" NOT NULL,
    target TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (address_key, target)
);

-- Account tables: account_id comes first in every key.

-- change_floor: changes up to this modseq are no longer in the log. quota_messages: the most
-- messages. delete_at: when the account and its mail are removed. removed_bytes, removed_messages:
-- what its rows in `removed` take. mail_password: whether its own password is good for mail protocols.
-- send_held_at, send_held_why: since when and why what the account submits is held; send_held_told: the
-- administrators know. The brake leaves it alone until send_free_until, and is strict until strict_until.
CREATE TABLE account (
    account_id BIGINT NOT NULL PRIMARY KEY,
    address TEXT COLLATE "C" NOT NULL,
    name TEXT COLLATE "C" NOT NULL,
    created_at BIGINT NOT NULL,
    enabled BIGINT NOT NULL,
    admin BIGINT NOT NULL,
    removing BIGINT NOT NULL,
    quota_bytes BIGINT,
    used_bytes BIGINT NOT NULL,
    messages BIGINT NOT NULL,
    modseq BIGINT NOT NULL,
    change_floor BIGINT NOT NULL,
    next_message_id BIGINT NOT NULL,
    next_mailbox_id BIGINT NOT NULL,
    next_uid_validity BIGINT NOT NULL,
    quota_messages BIGINT,
    delete_at BIGINT,
    removed_bytes BIGINT NOT NULL DEFAULT 0,
    removed_messages BIGINT NOT NULL DEFAULT 0,
    mail_password BIGINT NOT NULL DEFAULT 1,
    send_held_at BIGINT,
    send_held_why TEXT COLLATE "C" NOT NULL DEFAULT '',
    send_held_told BIGINT NOT NULL DEFAULT 0,
    send_free_until BIGINT NOT NULL DEFAULT 0,
    strict_until BIGINT NOT NULL DEFAULT 0
);

-- What accounts have submitted, by the hour since 1970. refused: recipients that could not be reached.
CREATE TABLE sent (
    account_id BIGINT NOT NULL,
    hour BIGINT NOT NULL,
    letters BIGINT NOT NULL,
    recipients BIGINT NOT NULL,
    refused BIGINT NOT NULL,
    PRIMARY KEY (account_id, hour)
);
CREATE INDEX sent_by_hour ON sent (hour);

-- The same of all accounts of a domain that has limits.
CREATE TABLE sent_domain (
    domain TEXT COLLATE "C" NOT NULL,
    hour BIGINT NOT NULL,
    letters BIGINT NOT NULL,
    recipients BIGINT NOT NULL,
    PRIMARY KEY (domain, hour)
);

-- Limits of accounts and domains of their own. subject: account/NUMBER or domain/NAME. NULL: as usual; 0:
-- no limit.
CREATE TABLE send_limit (
    subject TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    letters_per_hour BIGINT,
    letters_per_day BIGINT,
    recipients_per_hour BIGINT,
    recipients_per_day BIGINT
);

-- Further passwords, one for each program. hash: HMAC-SHA-256 with a secret of the server. protocols: the
-- sum of 1 (submission) and 2 (IMAP); 0 for all. The SCRAM keys are sealed; the salt is the account's.
CREATE TABLE app_password (
    account_id BIGINT NOT NULL,
    password_id BIGINT NOT NULL,
    name TEXT COLLATE "C" NOT NULL,
    hash BYTEA NOT NULL,
    protocols BIGINT NOT NULL,
    scram_salt BYTEA NOT NULL,
    scram_iterations BIGINT NOT NULL,
    scram_stored_key BYTEA NOT NULL,
    scram_server_key BYTEA NOT NULL,
    created_at BIGINT NOT NULL,
    used_at BIGINT,
    used_from TEXT COLLATE "C" NOT NULL,
    used_by TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (account_id, password_id)
);

CREATE TABLE credential (
    account_id BIGINT NOT NULL PRIMARY KEY,
    argon2 TEXT COLLATE "C" NOT NULL,
    scram_salt BYTEA NOT NULL,
    scram_iterations BIGINT NOT NULL,
    scram_stored_key BYTEA NOT NULL,
    scram_server_key BYTEA NOT NULL,
    changed_at BIGINT NOT NULL
);

CREATE TABLE mailbox (
    account_id BIGINT NOT NULL,
    mailbox_id BIGINT NOT NULL,
    name TEXT COLLATE "C" NOT NULL,
    role BIGINT,
    subscribed BIGINT NOT NULL,
    uid_validity BIGINT NOT NULL,
    uid_next BIGINT NOT NULL,
    messages BIGINT NOT NULL,
    unseen BIGINT NOT NULL,
    deleted BIGINT NOT NULL,
    size BIGINT NOT NULL,
    highest_modseq BIGINT NOT NULL,
    PRIMARY KEY (account_id, mailbox_id)
);
CREATE UNIQUE INDEX mailbox_name ON mailbox (account_id, name);
CREATE UNIQUE INDEX mailbox_role ON mailbox (account_id, role) WHERE role IS NOT NULL;

-- A row of this table is itself the reference that keeps its blob.
CREATE TABLE message (
    account_id BIGINT NOT NULL,
    message_id BIGINT NOT NULL,
    thread_id BIGINT NOT NULL,
    letter_id BIGINT,
    received_at BIGINT NOT NULL,
    size BIGINT NOT NULL,
    head_bytes BIGINT NOT NULL,
    blob_hash BYTEA NOT NULL,
    blob_id BIGINT NOT NULL,
    head BYTEA NOT NULL,
    envelope BYTEA NOT NULL,
    structure BYTEA NOT NULL,
    preview TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (account_id, message_id)
);
-- By id and not by hash: ids grow, so that the index is appended to.
CREATE INDEX message_blob ON message (blob_id, account_id);

-- The keywords are those of the message: all its placements carry the same, so that a list of a
-- mailbox reads one narrow table. A change of keywords raises the modseq of all of them anyway.
CREATE TABLE placement (
    account_id BIGINT NOT NULL,
    mailbox_id BIGINT NOT NULL,
    uid BIGINT NOT NULL,
    message_id BIGINT NOT NULL,
    modseq BIGINT NOT NULL,
    deleted BIGINT NOT NULL,
    seen BIGINT NOT NULL,
    size BIGINT NOT NULL,
    saved_at BIGINT NOT NULL,
    keywords TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (account_id, mailbox_id, uid)
);
CREATE UNIQUE INDEX placement_message ON placement (account_id, message_id, mailbox_id);
CREATE INDEX placement_modseq ON placement (account_id, mailbox_id, modseq);
CREATE INDEX placement_deleted ON placement (account_id, mailbox_id, uid) WHERE deleted = 1;

-- UIDs that are gone, for QRESYNC.
CREATE TABLE expunged (
    account_id BIGINT NOT NULL,
    mailbox_id BIGINT NOT NULL,
    modseq BIGINT NOT NULL,
    uid BIGINT NOT NULL,
    PRIMARY KEY (account_id, mailbox_id, modseq, uid)
);

-- type: 1 message, 2 mailbox. operation: 1 created, 2 updated, 3 destroyed.
CREATE TABLE change (
    account_id BIGINT NOT NULL,
    modseq BIGINT NOT NULL,
    type BIGINT NOT NULL,
    id BIGINT NOT NULL,
    operation BIGINT NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (account_id, modseq, type, id)
);

-- Which conversation a Message-ID (its hash) belongs to. A row is never changed: threads do not
-- merge.
CREATE TABLE thread_key (
    account_id BIGINT NOT NULL,
    thread_key BIGINT NOT NULL,
    thread_id BIGINT NOT NULL,
    PRIMARY KEY (account_id, thread_key)
);

-- Letter tables.

-- A row is itself the reference that keeps its blob.
-- tls_wish: 1 required, 2 optional. deliver_by_mode: the sum of 1 (returned when the time is over)
-- and 2 (each hand-over is reported).
CREATE TABLE letter (
    letter_id BIGINT NOT NULL PRIMARY KEY,
    blob_hash BYTEA NOT NULL,
    blob_id BIGINT NOT NULL,
    sender_account BIGINT,
    reverse_path TEXT COLLATE "C",
    envelope_id TEXT COLLATE "C",
    dsn_return BIGINT NOT NULL,
    needs_utf8 BIGINT NOT NULL,
    size BIGINT NOT NULL,
    received_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    head BYTEA NOT NULL,
    tls_wish BIGINT NOT NULL DEFAULT 0,
    deliver_by BIGINT,
    deliver_by_mode BIGINT NOT NULL DEFAULT 0,
    priority BIGINT NOT NULL DEFAULT 0
);
CREATE INDEX letter_blob ON letter (blob_id);

-- fence: 0, or the number of the claim that holds the row; next_at is then the end of its lease.
-- lane: tenant/account/priority, see `queue/lane.rs`. By time it is found what has become due; by
-- destination and lane what is claimed.
CREATE TABLE recipient (
    letter_id BIGINT NOT NULL,
    recipient_id BIGINT NOT NULL,
    address TEXT COLLATE "C" NOT NULL,
    domain TEXT COLLATE "C" NOT NULL,
    original TEXT COLLATE "C",
    notify BIGINT NOT NULL,
    attempts BIGINT NOT NULL,
    delay_reported BIGINT NOT NULL,
    held BIGINT NOT NULL,
    next_at BIGINT NOT NULL,
    reason TEXT COLLATE "C" NOT NULL,
    fence BIGINT NOT NULL,
    node TEXT COLLATE "C" NOT NULL,
    incarnation BIGINT NOT NULL,
    lane TEXT COLLATE "C" NOT NULL DEFAULT '//',
    class TEXT COLLATE "C" NOT NULL DEFAULT '',
    reply TEXT COLLATE "C" NOT NULL DEFAULT '',
    host TEXT COLLATE "C" NOT NULL DEFAULT '',
    tls TEXT COLLATE "C" NOT NULL DEFAULT '',
    tried_at BIGINT,
    PRIMARY KEY (letter_id, recipient_id)
);
CREATE INDEX recipient_due ON recipient (domain, lane, next_at, letter_id) WHERE held = 0;
CREATE INDEX recipient_by_time ON recipient (next_at, domain, lane) WHERE held = 0;
CREATE INDEX recipient_held ON recipient (domain, letter_id) WHERE held <> 0;
-- held is 2 where the account is held; 1 is an operator's hold.
CREATE INDEX recipient_held_by_brake ON recipient (letter_id) WHERE held = 2;
CREATE INDEX recipient_claimed ON recipient (node) WHERE fence <> 0;

-- Deliveries whose replies the peer may not have seen. node, incarnation: whose connection it came
-- over; lost: that connection ended without a confirmation.
CREATE TABLE delivery (
    letter_id BIGINT NOT NULL PRIMARY KEY,
    delivery_key BYTEA NOT NULL,
    received_at BIGINT NOT NULL,
    node TEXT COLLATE "C" NOT NULL DEFAULT '',
    incarnation BIGINT NOT NULL DEFAULT 0,
    lost BIGINT NOT NULL DEFAULT 0
);
CREATE INDEX delivery_by_key ON delivery (delivery_key);

-- One row for the notes that one verb makes.
CREATE TABLE journey (
    letter_id BIGINT NOT NULL,
    batch BIGINT NOT NULL,
    notes BYTEA NOT NULL,
    PRIMARY KEY (letter_id, batch)
);
-- The hash of a letter's Message-ID. It is looked for from the newest letter backwards: an operator
-- can wait for a scan of 20 bytes a letter, and an index would cost every letter a random page.
CREATE TABLE letter_name (
    letter_id BIGINT NOT NULL PRIMARY KEY,
    message_key BIGINT NOT NULL
);

-- Blobs, by the hash of their content, in parts of at most 256 KiB before compression. coding: 0
-- plain, 1 zstd. blob_id is that of part 0.
-- Where the bytes of a part are. segment 0: in the row; above: in the segment file of that number;
-- -1: in the object store, in the object named by hash and blob_id. place: the offset there.
-- checksum: the first 64 bits of BLAKE3 of the stored bytes.
CREATE TABLE blob (
    hash BYTEA NOT NULL,
    part BIGINT NOT NULL,
    blob_id BIGINT NOT NULL,
    coding BIGINT NOT NULL,
    plain_bytes BIGINT NOT NULL,
    total_bytes BIGINT NOT NULL,
    data BYTEA NOT NULL,
    segment BIGINT NOT NULL DEFAULT 0,
    place BIGINT NOT NULL DEFAULT 0,
    stored_bytes BIGINT NOT NULL DEFAULT 0,
    checksum BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (hash, part)
);

-- Blobs that lost a reference and may have none. The collector looks again after a grace.
CREATE TABLE condemned (
    hash BYTEA NOT NULL PRIMARY KEY,
    condemned_at BIGINT NOT NULL
);
CREATE INDEX condemned_by_time ON condemned (condemned_at);

CREATE INDEX blob_segment ON blob (segment, place, stored_bytes) WHERE segment > 0;

-- Messages that were deleted and can be recovered: their rows stay, without a placement and
-- without counting.
CREATE TABLE removed (
    account_id BIGINT NOT NULL,
    message_id BIGINT NOT NULL,
    removed_at BIGINT NOT NULL,
    mailbox_id BIGINT NOT NULL,
    mailbox_name TEXT COLLATE "C" NOT NULL,
    keywords TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (account_id, message_id)
);
CREATE INDEX removed_by_time ON removed (account_id, removed_at, message_id);

-- The nodes that share the store, and when each was last seen alive.
CREATE TABLE node (
    name TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    incarnation BIGINT NOT NULL,
    started_at BIGINT NOT NULL,
    seen_at BIGINT NOT NULL
);

-- Periodic work that one node does at a time.
CREATE TABLE job (
    name TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    node TEXT COLLATE "C" NOT NULL,
    incarnation BIGINT NOT NULL,
    held_until BIGINT NOT NULL,
    done_at BIGINT NOT NULL
);

-- The number that the note of this store in its bucket bears, in one row: whose objects they are.
CREATE TABLE object_note (
    one BIGINT NOT NULL PRIMARY KEY,
    number BIGINT NOT NULL
);

-- How far an import has come; written with what it imported.
CREATE TABLE import_state (
    account_id BIGINT NOT NULL,
    source TEXT COLLATE "C" NOT NULL,
    position TEXT COLLATE "C" NOT NULL,
    changed_at BIGINT NOT NULL,
    PRIMARY KEY (account_id, source)
);

-- PostgreSQL alone: the number of the last transaction of each connection, by which a node finds
-- out what became of a COMMIT that was not answered. A connection updates its own row, over and
-- over, and so keeps room for its next version beside it.
CREATE SEQUENCE connection_mark AS BIGINT;
CREATE TABLE commit_mark (
    mark BIGINT NOT NULL PRIMARY KEY,
    number BIGINT NOT NULL,
    at BIGINT NOT NULL
) WITH (fillfactor = 10);

-- Full-text search (with SQLite it is in a file of its own). How far the index has come with an
-- account: changes up to modseq are in it (-1: none); scan_after: while the mailboxes are being read
-- through, the last message that is in it; again: they are read through once more. segments: the last
-- number of a segment that was given. node, held_until: who is at work on it.
CREATE TABLE search_progress (
    account_id BIGINT NOT NULL PRIMARY KEY,
    modseq BIGINT NOT NULL,
    scan_after BIGINT,
    segments BIGINT NOT NULL,
    again BIGINT NOT NULL,
    node TEXT COLLATE "C" NOT NULL,
    held_until BIGINT NOT NULL
);

-- The segments of an account's index, each the words of some letters. epoch: the number of the last
-- step whose letters are in it. state: 0 it is being built, 1 searched, 2 it is to be removed.
CREATE TABLE search_segment (
    account_id BIGINT NOT NULL,
    segment_id BIGINT NOT NULL,
    epoch BIGINT NOT NULL,
    letters BIGINT NOT NULL,
    state BIGINT NOT NULL,
    PRIMARY KEY (account_id, segment_id)
);

-- The blocks of segments, by their first words. A block fills a page: it is kept in its row, not
-- beside it in pieces. Merging removes many.
CREATE TABLE search_block (
    account_id BIGINT NOT NULL,
    segment_id BIGINT NOT NULL,
    first BYTEA NOT NULL,
    data BYTEA NOT NULL,
    PRIMARY KEY (account_id, segment_id, first)
) WITH (toast_tuple_target = 8160, autovacuum_vacuum_scale_factor = 0.05);

-- Messages (from first to last) whose words in segments of epochs up to through do not count any more,
-- and how many they are.
CREATE TABLE search_dead (
    account_id BIGINT NOT NULL,
    through BIGINT NOT NULL,
    first BIGINT NOT NULL,
    last BIGINT NOT NULL,
    letters BIGINT NOT NULL,
    PRIMARY KEY (account_id, through, first)
);

-- What has changed in the directory (domains, accounts, addresses), for nodes that keep it in memory.
-- kind: 1 domain, 2 account, 3 address. The last version is in sequence, under the name 'directory'.
CREATE TABLE directory_change (
    version BIGINT NOT NULL PRIMARY KEY,
    kind BIGINT NOT NULL,
    key TEXT COLLATE "C" NOT NULL
);

-- Keys that sign as a domain (DKIM). algorithm: 1 RSA, 2 Ed25519. private_key: PKCS #8, sealed.
-- record: the text of its DNS record. It signs from active_at on (NULL: it is only announced) until
-- retired_at, and is kept a while after that.
CREATE TABLE dkim_key (
    domain TEXT COLLATE "C" NOT NULL,
    selector TEXT COLLATE "C" NOT NULL,
    algorithm BIGINT NOT NULL,
    private_key BYTEA NOT NULL,
    record TEXT COLLATE "C" NOT NULL,
    created_at BIGINT NOT NULL,
    active_at BIGINT,
    retired_at BIGINT,
    PRIMARY KEY (domain, selector)
);

-- Policies of MTA-STS (RFC 8461) that other domains have. body: as it was fetched.
CREATE TABLE sts_policy (
    domain TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    id TEXT COLLATE "C" NOT NULL,
    body TEXT COLLATE "C" NOT NULL,
    fetched_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX sts_policy_by_age ON sts_policy (fetched_at);

-- Connections to other servers and what became of their TLS, counted for reports (RFC 8460). day: since
-- 1970. policy: kind and text of the policy that was applied. result: empty for a success.
CREATE TABLE tls_outcome (
    day BIGINT NOT NULL,
    domain TEXT COLLATE "C" NOT NULL,
    policy TEXT COLLATE "C" NOT NULL,
    result TEXT COLLATE "C" NOT NULL,
    host TEXT COLLATE "C" NOT NULL,
    address TEXT COLLATE "C" NOT NULL,
    sessions BIGINT NOT NULL,
    PRIMARY KEY (day, domain, policy, result, host, address)
);

-- Addresses elsewhere that failed for good: counted, and from since_at until until_at (NULL: until it is
-- removed) not tried. scope: the domain of the senders for whom that is so; empty: all. manual: made by
-- the operator. times: how often it was suppressed.
CREATE TABLE suppression (
    address TEXT COLLATE "C" NOT NULL,
    scope TEXT COLLATE "C" NOT NULL,
    domain TEXT COLLATE "C" NOT NULL,
    manual BIGINT NOT NULL,
    failures BIGINT NOT NULL,
    times BIGINT NOT NULL,
    status TEXT COLLATE "C" NOT NULL,
    reason TEXT COLLATE "C" NOT NULL,
    first_at BIGINT NOT NULL,
    last_at BIGINT NOT NULL,
    since_at BIGINT,
    until_at BIGINT,
    PRIMARY KEY (address, scope)
);
CREATE INDEX suppression_by_domain ON suppression (domain) WHERE since_at IS NOT NULL;
CREATE INDEX suppression_by_age ON suppression (last_at);

-- What DMARC said of letters from outside, counted for reports to the domains (RFC 9990). day: since 1970.
-- name: the hash of policy, source and record. record: what was found and done, as JSON.
CREATE TABLE dmarc_outcome (
    day BIGINT NOT NULL,
    domain TEXT COLLATE "C" NOT NULL,
    name BYTEA NOT NULL,
    policy TEXT COLLATE "C" NOT NULL,
    source TEXT COLLATE "C" NOT NULL,
    record TEXT COLLATE "C" NOT NULL,
    letters BIGINT NOT NULL,
    PRIMARY KEY (day, domain, name)
);

-- Reports of others about our domains (RFC 9990, 8460, 5965). name: the hash of sender and ids. believed:
-- 1 when its letter was from whom it says.
CREATE TABLE report (
    name TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    kind TEXT COLLATE "C" NOT NULL,
    domain TEXT COLLATE "C" NOT NULL,
    sender TEXT COLLATE "C" NOT NULL,
    organisation TEXT COLLATE "C" NOT NULL,
    report_id TEXT COLLATE "C" NOT NULL,
    begins_at BIGINT NOT NULL,
    ends_at BIGINT NOT NULL,
    received_at BIGINT NOT NULL,
    believed BIGINT NOT NULL,
    good BIGINT NOT NULL,
    bad BIGINT NOT NULL
);
CREATE INDEX report_by_age ON report (believed, received_at);
CREATE INDEX report_by_domain ON report (domain, received_at);
CREATE INDEX report_by_sender ON report (sender, believed, received_at);

-- What a report says of one source. good: 1 when all was in order.
CREATE TABLE report_row (
    report TEXT COLLATE "C" NOT NULL,
    number BIGINT NOT NULL,
    source TEXT COLLATE "C" NOT NULL,
    good BIGINT NOT NULL,
    result TEXT COLLATE "C" NOT NULL,
    count BIGINT NOT NULL,
    PRIMARY KEY (report, number)
);

-- What is wrong and the administrator is told. told_at: last; NULL: not yet.
CREATE TABLE alert (
    kind TEXT COLLATE "C" NOT NULL,
    subject TEXT COLLATE "C" NOT NULL,
    detail TEXT COLLATE "C" NOT NULL,
    since BIGINT NOT NULL,
    told_at BIGINT,
    PRIMARY KEY (kind, subject)
);

-- Mailing lists; owners are the targets of the address. posting: 0 anyone, 1 members, 2 owners may
-- write. holds_others: letters of others wait for an owner. next_member: the number of the next
-- member; none is used twice.
CREATE TABLE list (
    address_key TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    address TEXT COLLATE "C" NOT NULL,
    title TEXT COLLATE "C" NOT NULL,
    posting BIGINT NOT NULL,
    holds_others BIGINT NOT NULL,
    open BIGINT NOT NULL,
    subject_tag TEXT COLLATE "C" NOT NULL,
    reply_to_list BIGINT NOT NULL,
    rewrites_always BIGINT NOT NULL,
    letter_bytes_max BIGINT NOT NULL,
    archive TEXT COLLATE "C" NOT NULL,
    bounces_max BIGINT NOT NULL,
    next_member BIGINT NOT NULL,
    created_at BIGINT NOT NULL
);

-- state: 0 gets letters, 1 suspended with a probe under way, 2 suspended, 3 paused. bounces: days on
-- which letters came back, the last at bounced_at.
CREATE TABLE list_member (
    list_key TEXT COLLATE "C" NOT NULL,
    member_id BIGINT NOT NULL,
    address_key TEXT COLLATE "C" NOT NULL,
    address TEXT COLLATE "C" NOT NULL,
    state BIGINT NOT NULL,
    joined_at BIGINT NOT NULL,
    bounces BIGINT NOT NULL,
    bounced_at BIGINT,
    bounce TEXT COLLATE "C" NOT NULL,
    probed_at BIGINT,
    PRIMARY KEY (list_key, member_id)
);
CREATE UNIQUE INDEX list_member_address ON list_member (list_key, address_key);
CREATE INDEX list_member_probed ON list_member (probed_at) WHERE state = 1;

-- Who was asked whether he wants to join a list, or to leave it, and with which token he answers.
-- joins: 0 leave, 1 join, 2 no question: he was told something, which is done once an hour.
CREATE TABLE list_request (
    list_key TEXT COLLATE "C" NOT NULL,
    address_key TEXT COLLATE "C" NOT NULL,
    joins BIGINT NOT NULL,
    token TEXT COLLATE "C" NOT NULL,
    address TEXT COLLATE "C" NOT NULL,
    asked_at BIGINT NOT NULL,
    PRIMARY KEY (list_key, address_key, joins)
);
CREATE UNIQUE INDEX list_request_token ON list_request (list_key, token);

-- Letters for a list that wait for a word of an owner. state: 0 waits, 1 approved.
CREATE TABLE list_held (
    letter_id BIGINT NOT NULL,
    recipient_id BIGINT NOT NULL,
    list_key TEXT COLLATE "C" NOT NULL,
    state BIGINT NOT NULL,
    author TEXT COLLATE "C" NOT NULL,
    subject TEXT COLLATE "C" NOT NULL,
    reason TEXT COLLATE "C" NOT NULL,
    held_at BIGINT NOT NULL,
    PRIMARY KEY (letter_id, recipient_id)
);
CREATE INDEX list_held_by_list ON list_held (list_key, state, letter_id);

-- How far a letter for a list has been handed out: to the members up to this number.
CREATE TABLE list_sending (
    letter_id BIGINT NOT NULL,
    recipient_id BIGINT NOT NULL,
    list_key TEXT COLLATE "C" NOT NULL,
    last_member BIGINT NOT NULL,
    sent BIGINT NOT NULL,
    PRIMARY KEY (letter_id, recipient_id)
);
