-- Version 2: blobs outside the database, deleted mail that can be recovered, many nodes.

-- Where the bytes of a part are. segment 0: in the row; above: in the segment file of that number;
-- -1: in the object store, in the object named by hash and blob_id. place: the offset there.
-- checksum: the first 64 bits of BLAKE3 of the stored bytes.
ALTER TABLE blob ADD COLUMN segment INTEGER NOT NULL DEFAULT 0;
ALTER TABLE blob ADD COLUMN place INTEGER NOT NULL DEFAULT 0;
ALTER TABLE blob ADD COLUMN stored_bytes INTEGER NOT NULL DEFAULT 0;
ALTER TABLE blob ADD COLUMN checksum INTEGER NOT NULL DEFAULT 0;
CREATE INDEX blob_segment ON blob (segment, place, stored_bytes) WHERE segment > 0;

-- quota_messages: the most messages. delete_at: when the account and its mail are removed.
-- removed_bytes, removed_messages: what its rows in `removed` take.
ALTER TABLE account ADD COLUMN quota_messages INTEGER;
ALTER TABLE account ADD COLUMN delete_at INTEGER;
ALTER TABLE account ADD COLUMN removed_bytes INTEGER NOT NULL DEFAULT 0;
ALTER TABLE account ADD COLUMN removed_messages INTEGER NOT NULL DEFAULT 0;

-- Messages that were deleted and can be recovered: their rows stay, without a placement and
-- without counting.
CREATE TABLE removed (
    account_id INTEGER NOT NULL,
    message_id INTEGER NOT NULL,
    removed_at INTEGER NOT NULL,
    mailbox_id INTEGER NOT NULL,
    mailbox_name TEXT NOT NULL,
    keywords TEXT NOT NULL,
    PRIMARY KEY (account_id, message_id)
) WITHOUT ROWID;
CREATE INDEX removed_by_time ON removed (account_id, removed_at, message_id);

-- Whose connection a delivery came over; lost: that connection ended without a confirmation.
ALTER TABLE delivery ADD COLUMN node TEXT NOT NULL DEFAULT '';
ALTER TABLE delivery ADD COLUMN incarnation INTEGER NOT NULL DEFAULT 0;
ALTER TABLE delivery ADD COLUMN lost INTEGER NOT NULL DEFAULT 0;

-- What the sender asked of a letter's way. tls_wish: 1 required, 2 optional. deliver_by_mode: the sum
-- of 1 (returned when the time is over) and 2 (each hand-over is reported).
ALTER TABLE letter ADD COLUMN tls_wish INTEGER NOT NULL DEFAULT 0;
ALTER TABLE letter ADD COLUMN deliver_by INTEGER;
ALTER TABLE letter ADD COLUMN deliver_by_mode INTEGER NOT NULL DEFAULT 0;
ALTER TABLE letter ADD COLUMN priority INTEGER NOT NULL DEFAULT 0;

-- kind: 0 of an account, or an alias; 1 to 3 a group that anyone, its members, its domain may write
-- to; 4 a mailing list, whose targets are its owners.
ALTER TABLE address ADD COLUMN kind INTEGER NOT NULL DEFAULT 0;

-- The queue in lanes. lane: tenant/account/priority, see `queue/lane.rs`. By time it is found what has
-- become due; by destination and lane what is claimed.
ALTER TABLE recipient ADD COLUMN lane TEXT NOT NULL DEFAULT '//';
DROP INDEX recipient_due;
CREATE INDEX recipient_due ON recipient (domain, lane, next_at, letter_id) WHERE held = 0;
CREATE INDEX recipient_by_time ON recipient (next_at, domain, lane) WHERE held = 0;
CREATE INDEX recipient_held ON recipient (domain, letter_id) WHERE held <> 0;
DELETE FROM sqlite_stat1 WHERE idx = 'recipient_due';
INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES
    ('recipient', 'recipient_due', '1000000 100000 10000 100 2 1'),
    ('recipient', 'recipient_by_time', '1000000 100 10 5 1'),
    ('recipient', 'recipient_held', '1000 1000 2 1');
ANALYZE sqlite_schema;

-- The nodes that share the store, and when each was last seen alive.
CREATE TABLE node (
    name TEXT NOT NULL PRIMARY KEY,
    incarnation INTEGER NOT NULL,
    started_at INTEGER NOT NULL,
    seen_at INTEGER NOT NULL
) WITHOUT ROWID;

-- Periodic work that one node does at a time.
CREATE TABLE job (
    name TEXT NOT NULL PRIMARY KEY,
    node TEXT NOT NULL,
    incarnation INTEGER NOT NULL,
    held_until INTEGER NOT NULL,
    done_at INTEGER NOT NULL
) WITHOUT ROWID;

-- The number that the note of this store in its bucket bears, in one row: whose objects they are.
CREATE TABLE object_note (
    one INTEGER NOT NULL PRIMARY KEY,
    number INTEGER NOT NULL
) WITHOUT ROWID;

-- How far an import has come; written with what it imported.
CREATE TABLE import_state (
    account_id INTEGER NOT NULL,
    source TEXT NOT NULL,
    position TEXT NOT NULL,
    changed_at INTEGER NOT NULL,
    PRIMARY KEY (account_id, source)
) WITHOUT ROWID;

-- What has changed in the directory (domains, accounts, addresses), for nodes that keep it in memory.
-- kind: 1 domain, 2 account, 3 address. The last version is in sequence, under the name 'directory'.
CREATE TABLE directory_change (
    version INTEGER NOT NULL PRIMARY KEY,
    kind INTEGER NOT NULL,
    key TEXT NOT NULL
) WITHOUT ROWID;

-- Keys that sign as a domain (DKIM). algorithm: 1 RSA, 2 Ed25519. private_key: PKCS #8, sealed.
-- record: the text of its DNS record. It signs from active_at on (NULL: it is only announced) until
-- retired_at, and is kept a while after that.
CREATE TABLE dkim_key (
    domain TEXT NOT NULL,
    selector TEXT NOT NULL,
    algorithm INTEGER NOT NULL,
    private_key BLOB NOT NULL,
    record TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    active_at INTEGER,
    retired_at INTEGER,
    PRIMARY KEY (domain, selector)
) WITHOUT ROWID;

-- author_check: 0 always, 1 not where a letter is sent again, 2 never.
ALTER TABLE domain ADD COLUMN author_check INTEGER NOT NULL DEFAULT 0;

-- As whom an account may send besides its own addresses. kind and subject: 1 an address (its key), 2 a
-- domain, 3 as the account of that number, 4 on its behalf.
CREATE TABLE send_right (
    account_id INTEGER NOT NULL,
    kind INTEGER NOT NULL,
    subject TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (account_id, kind, subject)
) WITHOUT ROWID;

-- mail_password: whether the account's own password is good for mail protocols.
ALTER TABLE account ADD COLUMN mail_password INTEGER NOT NULL DEFAULT 1;

-- Further passwords, one for each program. hash: HMAC-SHA-256 with a secret of the server. protocols: the
-- sum of 1 (submission) and 2 (IMAP); 0 for all. The SCRAM keys are sealed; the salt is the account's.
CREATE TABLE app_password (
    account_id INTEGER NOT NULL,
    password_id INTEGER NOT NULL,
    name TEXT NOT NULL,
    hash BLOB NOT NULL,
    protocols INTEGER NOT NULL,
    scram_salt BLOB NOT NULL,
    scram_iterations INTEGER NOT NULL,
    scram_stored_key BLOB NOT NULL,
    scram_server_key BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    used_at INTEGER,
    used_from TEXT NOT NULL,
    used_by TEXT NOT NULL,
    PRIMARY KEY (account_id, password_id)
) WITHOUT ROWID;

-- send_held_at, send_held_why: since when and why what the account submits is held; send_held_told: the
-- administrators know. The brake leaves it alone until send_free_until, and is strict until strict_until.
ALTER TABLE account ADD COLUMN send_held_at INTEGER;
ALTER TABLE account ADD COLUMN send_held_why TEXT NOT NULL DEFAULT '';
ALTER TABLE account ADD COLUMN send_held_told INTEGER NOT NULL DEFAULT 0;
ALTER TABLE account ADD COLUMN send_free_until INTEGER NOT NULL DEFAULT 0;
ALTER TABLE account ADD COLUMN strict_until INTEGER NOT NULL DEFAULT 0;

-- What accounts have submitted, by the hour since 1970. refused: recipients that could not be reached.
CREATE TABLE sent (
    account_id INTEGER NOT NULL,
    hour INTEGER NOT NULL,
    letters INTEGER NOT NULL,
    recipients INTEGER NOT NULL,
    refused INTEGER NOT NULL,
    PRIMARY KEY (account_id, hour)
) WITHOUT ROWID;
CREATE INDEX sent_by_hour ON sent (hour);

-- The same of all accounts of a domain that has limits.
CREATE TABLE sent_domain (
    domain TEXT NOT NULL,
    hour INTEGER NOT NULL,
    letters INTEGER NOT NULL,
    recipients INTEGER NOT NULL,
    PRIMARY KEY (domain, hour)
) WITHOUT ROWID;

-- Limits of accounts and domains of their own. subject: account/NUMBER or domain/NAME. NULL: as usual; 0:
-- no limit.
CREATE TABLE send_limit (
    subject TEXT NOT NULL PRIMARY KEY,
    letters_per_hour INTEGER,
    letters_per_day INTEGER,
    recipients_per_hour INTEGER,
    recipients_per_day INTEGER
) WITHOUT ROWID;

-- Recipients of letters whose account is held (held is 2; 1 is an operator's hold).
CREATE INDEX recipient_held_by_brake ON recipient (letter_id) WHERE held = 2;

-- Policies of MTA-STS (RFC 8461) that other domains have. body: as it was fetched.
CREATE TABLE sts_policy (
    domain TEXT NOT NULL PRIMARY KEY,
    id TEXT NOT NULL,
    body TEXT NOT NULL,
    fetched_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX sts_policy_by_age ON sts_policy (fetched_at);

-- Connections to other servers and what became of their TLS, counted for reports (RFC 8460). day: since
-- 1970. policy: kind and text of the policy that was applied. result: empty for a success.
CREATE TABLE tls_outcome (
    day INTEGER NOT NULL,
    domain TEXT NOT NULL,
    policy TEXT NOT NULL,
    result TEXT NOT NULL,
    host TEXT NOT NULL,
    address TEXT NOT NULL,
    sessions INTEGER NOT NULL,
    PRIMARY KEY (day, domain, policy, result, host, address)
) WITHOUT ROWID;

-- Addresses elsewhere that failed for good: counted, and from since_at until until_at (NULL: until it is
-- removed) not tried. scope: the domain of the senders for whom that is so; empty: all. manual: made by
-- the operator. times: how often it was suppressed.
CREATE TABLE suppression (
    address TEXT NOT NULL,
    scope TEXT NOT NULL,
    domain TEXT NOT NULL,
    manual INTEGER NOT NULL,
    failures INTEGER NOT NULL,
    times INTEGER NOT NULL,
    status TEXT NOT NULL,
    reason TEXT NOT NULL,
    first_at INTEGER NOT NULL,
    last_at INTEGER NOT NULL,
    since_at INTEGER,
    until_at INTEGER,
    PRIMARY KEY (address, scope)
) WITHOUT ROWID;
CREATE INDEX suppression_by_domain ON suppression (domain) WHERE since_at IS NOT NULL;
CREATE INDEX suppression_by_age ON suppression (last_at);

-- What DMARC said of letters from outside, counted for reports to the domains (RFC 9990). day: since 1970.
-- name: the hash of policy, source and record. record: what was found and done, as JSON.
CREATE TABLE dmarc_outcome (
    day INTEGER NOT NULL,
    domain TEXT NOT NULL,
    name BLOB NOT NULL,
    policy TEXT NOT NULL,
    source TEXT NOT NULL,
    record TEXT NOT NULL,
    letters INTEGER NOT NULL,
    PRIMARY KEY (day, domain, name)
) WITHOUT ROWID;

-- Reports of others about our domains (RFC 9990, 8460, 5965). name: the hash of sender and ids. believed:
-- 1 when its letter was from whom it says.
CREATE TABLE report (
    name TEXT NOT NULL PRIMARY KEY,
    kind TEXT NOT NULL,
    domain TEXT NOT NULL,
    sender TEXT NOT NULL,
    organisation TEXT NOT NULL,
    report_id TEXT NOT NULL,
    begins_at INTEGER NOT NULL,
    ends_at INTEGER NOT NULL,
    received_at INTEGER NOT NULL,
    believed INTEGER NOT NULL,
    good INTEGER NOT NULL,
    bad INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX report_by_age ON report (believed, received_at);
CREATE INDEX report_by_domain ON report (domain, received_at);
CREATE INDEX report_by_sender ON report (sender, believed, received_at);

-- What a report says of one source. good: 1 when all was in order.
CREATE TABLE report_row (
    report TEXT NOT NULL,
    number INTEGER NOT NULL,
    source TEXT NOT NULL,
    good INTEGER NOT NULL,
    result TEXT NOT NULL,
    count INTEGER NOT NULL,
    PRIMARY KEY (report, number)
) WITHOUT ROWID;

-- What is wrong and the administrator is told. told_at: last; NULL: not yet.
CREATE TABLE alert (
    kind TEXT NOT NULL,
    subject TEXT NOT NULL,
    detail TEXT NOT NULL,
    since INTEGER NOT NULL,
    told_at INTEGER,
    PRIMARY KEY (kind, subject)
) WITHOUT ROWID;

-- What came of the last attempt at a recipient: the class of the failure, the other server's reply, its
-- name and address, how the connection was encrypted, and when it was.
ALTER TABLE recipient ADD COLUMN class TEXT NOT NULL DEFAULT '';
ALTER TABLE recipient ADD COLUMN reply TEXT NOT NULL DEFAULT '';
ALTER TABLE recipient ADD COLUMN host TEXT NOT NULL DEFAULT '';
ALTER TABLE recipient ADD COLUMN tls TEXT NOT NULL DEFAULT '';
ALTER TABLE recipient ADD COLUMN tried_at INTEGER;

-- Mailing lists; owners are the targets of the address. posting: 0 anyone, 1 members, 2 owners may
-- write. holds_others: letters of others wait for an owner. next_member: the number of the next
-- member; none is used twice.
CREATE TABLE list (
    address_key TEXT NOT NULL PRIMARY KEY,
    address TEXT NOT NULL,
    title TEXT NOT NULL,
    posting INTEGER NOT NULL,
    holds_others INTEGER NOT NULL,
    open INTEGER NOT NULL,
    subject_tag TEXT NOT NULL,
    reply_to_list INTEGER NOT NULL,
    rewrites_always INTEGER NOT NULL,
    letter_bytes_max INTEGER NOT NULL,
    archive TEXT NOT NULL,
    bounces_max INTEGER NOT NULL,
    next_member INTEGER NOT NULL,
    created_at INTEGER NOT NULL
) WITHOUT ROWID;

-- state: 0 gets letters, 1 suspended with a probe under way, 2 suspended, 3 paused. bounces: days on
-- which letters came back, the last at bounced_at.
CREATE TABLE list_member (
    list_key TEXT NOT NULL,
    member_id INTEGER NOT NULL,
    address_key TEXT NOT NULL,
    address TEXT NOT NULL,
    state INTEGER NOT NULL,
    joined_at INTEGER NOT NULL,
    bounces INTEGER NOT NULL,
    bounced_at INTEGER,
    bounce TEXT NOT NULL,
    probed_at INTEGER,
    PRIMARY KEY (list_key, member_id)
) WITHOUT ROWID;
CREATE UNIQUE INDEX list_member_address ON list_member (list_key, address_key);
CREATE INDEX list_member_probed ON list_member (probed_at) WHERE state = 1;

-- Who was asked whether he wants to join a list, or to leave it, and with which token he answers.
-- joins: 0 leave, 1 join, 2 no question: he was told something, which is done once an hour.
CREATE TABLE list_request (
    list_key TEXT NOT NULL,
    address_key TEXT NOT NULL,
    joins INTEGER NOT NULL,
    token TEXT NOT NULL,
    address TEXT NOT NULL,
    asked_at INTEGER NOT NULL,
    PRIMARY KEY (list_key, address_key, joins)
) WITHOUT ROWID;
CREATE UNIQUE INDEX list_request_token ON list_request (list_key, token);

-- Letters for a list that wait for a word of an owner. state: 0 waits, 1 approved.
CREATE TABLE list_held (
    letter_id INTEGER NOT NULL,
    recipient_id INTEGER NOT NULL,
    list_key TEXT NOT NULL,
    state INTEGER NOT NULL,
    author TEXT NOT NULL,
    subject TEXT NOT NULL,
    reason TEXT NOT NULL,
    held_at INTEGER NOT NULL,
    PRIMARY KEY (letter_id, recipient_id)
) WITHOUT ROWID;
CREATE INDEX list_held_by_list ON list_held (list_key, state, letter_id);

-- How far a letter for a list has been handed out: to the members up to this number.
CREATE TABLE list_sending (
    letter_id INTEGER NOT NULL,
    recipient_id INTEGER NOT NULL,
    list_key TEXT NOT NULL,
    last_member INTEGER NOT NULL,
    sent INTEGER NOT NULL,
    PRIMARY KEY (letter_id, recipient_id)
) WITHOUT ROWID;
