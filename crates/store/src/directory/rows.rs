//! The rows of the directory and the transactions on them.

use std::collections::BTreeMap;
use std::sync::Arc;

use base::{AccountId, Domain, EmailAddress, Timestamp};

use super::memory::{Account, Directory, Quota};
use super::rights::{Rights, read_all_rights};
use super::sending::{AccountSending, from_columns, load_limits};
use super::sync::{Changed, note_changes, read_version};
use super::{AccountInfo, AddressKind, AuthorCheck, DomainInfo, QuotaChange};
use crate::StoreError;
use crate::auth::Credential;
use crate::blobs::condemn;
use crate::copies::Used;
use crate::engine::{Body, Row, Tx, params};
use crate::mailbox::STANDARD_MAILBOXES;
use crate::sending::{STRICT_FOR, SendLimits, account_subject, domain_subject};
use crate::shared::Shared;

/// Messages that one transaction of an account's removal takes.
const REMOVE_PIECE_MESSAGES: i64 = 200;

/// Reads the whole directory.
pub(crate) struct LoadDirectory {
    /// What separates a sub-address.
    pub separator: Option<char>,
}

impl Body for LoadDirectory {
    type Out = Directory;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Directory, StoreError> {
        let mut directory = Directory::default();
        directory.separator = self.separator;
        directory.version = read_version(tx).await?;
        let domains = "SELECT name, created_at, author_check FROM domain";
        for mut row in tx.rows(domains, &[]).await? {
            directory.set_domain(&DomainInfo {
                domain: domain(&row.text(0)?)?,
                created_at: row.time(1)?,
                author_check: AuthorCheck::from_number(row.int(2)?),
                send_limits: SendLimits::default(),
            });
        }
        let accounts = "SELECT account_id, enabled, admin, quota_bytes, quota_messages, used_bytes,
                messages, delete_at, address, send_held_at, send_held_told, send_free_until,
                strict_until
            FROM account WHERE removing = 0";
        for mut row in tx.rows(accounts, &[]).await? {
            let account = Account {
                address: address(&row.text(8)?)?,
                rights: Rights::new(),
                sending: from_columns(
                    row.maybe_int(9)?,
                    row.truth(10)?,
                    row.int(11)?,
                    row.int(12)?,
                ),
                enabled: row.truth(1)?,
                closed: row.maybe_int(7)?.is_some(),
                admin: row.truth(2)?,
                quota: Quota {
                    bytes: row.maybe_int(3)?,
                    messages: row.maybe_int(4)?,
                },
                used: Used {
                    bytes: row.int(5)?,
                    messages: row.int(6)?,
                },
            };
            directory.set_account(AccountId(row.int(0)?), account);
        }
        for (id, right) in read_all_rights(tx).await? {
            directory.change_account(id, |account| {
                account.rights.insert(right);
            });
        }
        load_limits(tx, &mut directory).await?;
        let addresses = "SELECT address, account_id, kind FROM address";
        let mut kinds = BTreeMap::new();
        for mut row in tx.rows(addresses, &[]).await? {
            let named = address(&row.text(0)?)?;
            match row.maybe_int(1)? {
                Some(id) => directory.set_address(&named, AccountId(id)),
                None => {
                    let kind = AddressKind::from_number(row.int(2)?);
                    directory.add_targets(&named, kind, &[]);
                    kinds.insert(named.key(), kind);
                }
            }
        }
        let targets = "SELECT a.address, t.target
            FROM alias_target t JOIN address a ON a.address_key = t.address_key";
        for mut row in tx.rows(targets, &[]).await? {
            let named = address(&row.text(0)?)?;
            let kind = kinds.get(&named.key()).copied();
            let kind = kind.unwrap_or(AddressKind::Alias);
            directory.add_targets(&named, kind, &[address(&row.text(1)?)?]);
        }
        Ok(directory)
    }
}

pub(super) struct AddDomain {
    pub info: DomainInfo,
    pub shared: Arc<Shared>,
}

impl Body for AddDomain {
    type Out = ();

    async fn run(&self, tx: &mut Tx<'_>) -> Result<(), StoreError> {
        let sql = "INSERT INTO domain (name, created_at) VALUES ($1, $2)
            ON CONFLICT (name) DO NOTHING";
        let values = params![self.info.domain.as_str(), self.info.created_at];
        match tx.execute(sql, values).await? {
            0 => Err(StoreError::Exists("domain")),
            _ => note_changes(tx, &[Changed::Domain(self.info.domain.to_string())]).await,
        }
    }

    fn committed(&self, (): &()) {
        self.shared.directory_mut().set_domain(&self.info);
        self.shared.directory_changed();
    }
}

pub(super) struct RemoveDomain {
    pub domain: Domain,
    pub shared: Arc<Shared>,
}

impl Body for RemoveDomain {
    type Out = ();

    async fn run(&self, tx: &mut Tx<'_>) -> Result<(), StoreError> {
        let name = self.domain.as_str();
        // Whoever takes an address of it holds the same row.
        let lock = "SELECT 1 FROM domain WHERE name = $1 FOR UPDATE";
        tx.lock(lock, params![name]).await?;
        let used = "SELECT address FROM address WHERE domain = $1 LIMIT 1";
        if let Some(mut row) = tx.row(used, params![name]).await? {
            return Err(StoreError::Invalid(format!(
                "the domain is in use, for example by {}",
                row.text(0)?
            )));
        }
        let keys = "DELETE FROM dkim_key WHERE domain = $1";
        tx.execute(keys, params![name]).await?;
        let limits = "DELETE FROM send_limit WHERE subject = $1";
        tx.execute(limits, params![&domain_subject(&self.domain)])
            .await?;
        let sent = "DELETE FROM sent_domain WHERE domain = $1";
        tx.execute(sent, params![name]).await?;
        match tx
            .execute("DELETE FROM domain WHERE name = $1", params![name])
            .await?
        {
            0 => Err(StoreError::NotFound("domain")),
            _ => note_changes(tx, &[Changed::Domain(name.to_owned())]).await,
        }
    }

    fn committed(&self, (): &()) {
        self.shared.directory_mut().remove_domain(&self.domain);
        self.shared.directory_changed();
    }
}

pub(super) struct AddAccount {
    pub address: EmailAddress,
    pub name: String,
    pub credential: Option<Credential>,
    pub quota: Quota,
    pub admin: bool,
    pub now: Timestamp,
    pub shared: Arc<Shared>,
}

impl Body for AddAccount {
    type Out = AccountId;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<AccountId, StoreError> {
        need_domain(tx, &self.address.domain).await?;
        let next = "INSERT INTO sequence (name, next) VALUES ('account', 2)
            ON CONFLICT (name) DO UPDATE SET next = sequence.next + 1 RETURNING next - 1";
        let id = AccountId(tx.one(next, &[]).await?.int(0)?);
        claim_address(tx, &self.address, Some(id)).await?;
        let standard = i64::try_from(STANDARD_MAILBOXES.len()).unwrap_or(0);
        let epoch = self.now.secs();
        tx.execute(
            "INSERT INTO account (account_id, address, name, created_at, enabled, admin, removing,
                quota_bytes, used_bytes, messages, modseq, change_floor, next_message_id,
                next_mailbox_id, next_uid_validity, quota_messages, strict_until)
             VALUES ($1, $2, $3, $4, 1, $5, 0, $6, 0, 0, 1, 0, 1, $7, $8, $9, $10)",
            params![
                id,
                &self.address.to_string(),
                &self.name,
                self.now,
                self.admin,
                self.quota.bytes,
                standard + 1,
                epoch + standard,
                self.quota.messages,
                self.now + STRICT_FOR,
            ],
        )
        .await?;
        for (at, (role, name)) in (0..).zip(STANDARD_MAILBOXES) {
            tx.execute(
                "INSERT INTO mailbox (account_id, mailbox_id, name, role, subscribed,
                    uid_validity, uid_next, messages, unseen, deleted, size, highest_modseq)
                 VALUES ($1, $2, $3, $4, 1, $5, 1, 0, 0, 0, 0, 1)",
                params![id, at + 1, *name, role.number(), epoch + at],
            )
            .await?;
        }
        if let Some(credential) = &self.credential {
            credential.store(tx, id, self.now).await?;
        }
        let changes = [Changed::Account(id), Changed::Address(self.address.key())];
        note_changes(tx, &changes).await?;
        Ok(id)
    }

    fn committed(&self, id: &AccountId) {
        let mut directory = self.shared.directory_mut();
        directory.set_address(&self.address, *id);
        let account = Account {
            address: self.address.clone(),
            rights: Rights::new(),
            sending: AccountSending {
                strict_until: self.now + STRICT_FOR,
                ..AccountSending::default()
            },
            enabled: true,
            closed: false,
            admin: self.admin,
            quota: self.quota,
            used: Used::default(),
        };
        directory.set_account(*id, account);
        drop(directory);
        self.shared.directory_changed();
    }
}

pub(super) struct Accounts {
    pub only: Option<AccountId>,
}

impl Body for Accounts {
    type Out = Vec<AccountInfo>;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Vec<AccountInfo>, StoreError> {
        let rows = match self.only {
            Some(id) => {
                let sql = "SELECT account_id, address, name, quota_bytes, used_bytes, messages,
                        enabled, admin, quota_messages, removed_bytes, removed_messages, created_at,
                        delete_at
                    FROM account WHERE account_id = $1 AND removing = 0";
                tx.rows(sql, params![id]).await?
            }
            None => {
                let sql = "SELECT account_id, address, name, quota_bytes, used_bytes, messages,
                        enabled, admin, quota_messages, removed_bytes, removed_messages, created_at,
                        delete_at
                    FROM account WHERE removing = 0";
                tx.rows(sql, &[]).await?
            }
        };
        rows.into_iter().map(account_info).collect()
    }
}

fn account_info(mut row: Row) -> Result<AccountInfo, StoreError> {
    Ok(AccountInfo {
        id: AccountId(row.int(0)?),
        address: address(&row.text(1)?)?,
        name: row.text(2)?,
        quota_bytes: row.maybe_int(3)?.map(unsigned),
        quota_messages: row.maybe_int(8)?.map(unsigned),
        used_bytes: row.unsigned(4)?,
        messages: row.unsigned(5)?,
        removed_bytes: row.unsigned(9)?,
        removed_messages: row.unsigned(10)?,
        created_at: row.time(11)?,
        delete_at: row.maybe_int(12)?.map(Timestamp),
        enabled: row.truth(6)?,
        admin: row.truth(7)?,
    })
}

/// A quota as it was stored.
fn unsigned(quota: i64) -> u64 {
    u64::try_from(quota).unwrap_or(0)
}

/// The first step of an account's removal: nobody reaches it any more.
pub(super) struct CloseAccount {
    pub id: AccountId,
    /// Only if it was told to go until then.
    pub due_at: Option<Timestamp>,
    pub shared: Arc<Shared>,
}

impl Body for CloseAccount {
    type Out = ();

    async fn run(&self, tx: &mut Tx<'_>) -> Result<(), StoreError> {
        let sql = "UPDATE account SET removing = 1, enabled = 0
            WHERE account_id = $1 AND removing = 0 AND ($2 = 1 OR delete_at <= $3)";
        let values = params![self.id, self.due_at.is_none(), self.due_at];
        if tx.execute(sql, values).await? == 0 {
            return Err(StoreError::NotFound("account"));
        }
        tx.execute(
            "DELETE FROM address WHERE account_id = $1",
            params![self.id],
        )
        .await?;
        for sql in [
            "DELETE FROM credential WHERE account_id = $1",
            "DELETE FROM app_password WHERE account_id = $1",
            "DELETE FROM sent WHERE account_id = $1",
        ] {
            tx.execute(sql, params![self.id]).await?;
        }
        let sql = "DELETE FROM send_limit WHERE subject = $1";
        tx.execute(sql, params![&account_subject(self.id)]).await?;
        // Also what others might have done in its name: its number is never used again.
        let sql = "DELETE FROM send_right
            WHERE account_id = $1 OR (kind IN (3, 4) AND subject = $2)";
        tx.execute(sql, params![self.id, &self.id.0.to_string()])
            .await?;
        note_changes(tx, &[Changed::Account(self.id)]).await
    }

    fn committed(&self, (): &()) {
        self.shared.directory_mut().remove_account(self.id);
        self.shared.directory_changed();
        self.shared.watches.account_changed(self.id);
    }
}

/// A further step; `true` when nothing is left.
pub(crate) struct RemovePiece {
    pub id: AccountId,
    pub now: Timestamp,
}

impl Body for RemovePiece {
    type Out = bool;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<bool, StoreError> {
        let account = params![self.id];
        let sql = "SELECT message_id, blob_hash FROM message WHERE account_id = $1
            ORDER BY message_id LIMIT $2";
        let rows = tx
            .rows(sql, params![self.id, REMOVE_PIECE_MESSAGES])
            .await?;
        for mut row in rows.iter().cloned() {
            let message = row.int(0)?;
            let placed = "DELETE FROM placement WHERE account_id = $1 AND message_id = $2";
            tx.execute(placed, params![self.id, message]).await?;
            let stored = "DELETE FROM message WHERE account_id = $1 AND message_id = $2";
            tx.execute(stored, params![self.id, message]).await?;
            condemn(tx, &row.hash(1)?, self.now).await?;
        }
        if !rows.is_empty() {
            return Ok(false);
        }
        let pieces = [
            "DELETE FROM change WHERE account_id = $1 AND modseq IN
                (SELECT modseq FROM change WHERE account_id = $1 ORDER BY modseq LIMIT 2000)",
            "DELETE FROM expunged WHERE account_id = $1
                AND mailbox_id = (SELECT min(mailbox_id) FROM expunged WHERE account_id = $1)
                AND modseq <= (SELECT max(modseq) FROM (SELECT modseq FROM expunged
                    WHERE account_id = $1
                        AND mailbox_id = (SELECT min(mailbox_id) FROM expunged
                            WHERE account_id = $1)
                    ORDER BY modseq LIMIT 2000) limited)",
            "DELETE FROM thread_key WHERE account_id = $1 AND thread_key IN
                (SELECT thread_key FROM thread_key WHERE account_id = $1 LIMIT 2000)",
            "DELETE FROM import_state WHERE account_id = $1 AND source IN
                (SELECT source FROM import_state WHERE account_id = $1 LIMIT 200)",
            "DELETE FROM removed WHERE account_id = $1 AND message_id IN
                (SELECT message_id FROM removed WHERE account_id = $1
                    ORDER BY message_id LIMIT 2000)",
        ];
        for sql in pieces {
            if tx.execute(sql, account).await? > 0 {
                return Ok(false);
            }
        }
        tx.execute("DELETE FROM mailbox WHERE account_id = $1", account)
            .await?;
        tx.execute("DELETE FROM account WHERE account_id = $1", account)
            .await?;
        Ok(true)
    }
}

pub(super) struct SetCredential {
    pub id: AccountId,
    pub credential: Credential,
    pub now: Timestamp,
    pub shared: Arc<Shared>,
}

impl Body for SetCredential {
    type Out = ();

    async fn run(&self, tx: &mut Tx<'_>) -> Result<(), StoreError> {
        let sql = "SELECT 1 FROM account WHERE account_id = $1 AND removing = 0 FOR UPDATE";
        if tx.row(sql, params![self.id]).await?.is_none() {
            return Err(StoreError::NotFound("account"));
        }
        self.credential.store(tx, self.id, self.now).await?;
        // Who has just got hold of an account often begins by changing its password.
        let sql = "UPDATE account SET strict_until = $2 WHERE account_id = $1";
        tx.execute(sql, params![self.id, self.now + STRICT_FOR])
            .await?;
        note_changes(tx, &[Changed::Account(self.id)]).await
    }

    fn committed(&self, (): &()) {
        let until = self.now + STRICT_FOR;
        let mut directory = self.shared.directory_mut();
        directory.change_account(self.id, |account| account.sending.strict_until = until);
        drop(directory);
        self.shared.directory_changed();
    }
}

pub(super) struct SetEnabled {
    pub id: AccountId,
    pub enabled: bool,
    pub shared: Arc<Shared>,
}

impl Body for SetEnabled {
    type Out = ();

    async fn run(&self, tx: &mut Tx<'_>) -> Result<(), StoreError> {
        let sql = "UPDATE account SET enabled = $2 WHERE account_id = $1 AND removing = 0";
        match tx.execute(sql, params![self.id, self.enabled]).await? {
            0 => Err(StoreError::NotFound("account")),
            _ => note_changes(tx, &[Changed::Account(self.id)]).await,
        }
    }

    fn committed(&self, (): &()) {
        let mut directory = self.shared.directory_mut();
        directory.change_account(self.id, |account| account.enabled = self.enabled);
        drop(directory);
        self.shared.directory_changed();
    }
}

pub(super) struct SetQuota {
    pub id: AccountId,
    pub bytes: QuotaChange,
    pub messages: QuotaChange,
    pub shared: Arc<Shared>,
}

impl Body for SetQuota {
    type Out = Quota;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Quota, StoreError> {
        let sql = "UPDATE account SET
                quota_bytes = CASE WHEN $2 = 1 THEN quota_bytes ELSE $3 END,
                quota_messages = CASE WHEN $4 = 1 THEN quota_messages ELSE $5 END
            WHERE account_id = $1 AND removing = 0 RETURNING quota_bytes, quota_messages";
        let keeps = |change: QuotaChange| change == QuotaChange::Keep;
        let value = |change: QuotaChange| match change {
            QuotaChange::Keep | QuotaChange::Lift => None,
            QuotaChange::AtMost(most) => Some(signed(most)),
        };
        let values = params![
            self.id,
            keeps(self.bytes),
            value(self.bytes),
            keeps(self.messages),
            value(self.messages)
        ];
        let row = tx.row(sql, values).await?;
        let row = row.ok_or(StoreError::NotFound("account"))?;
        note_changes(tx, &[Changed::Account(self.id)]).await?;
        Ok(Quota {
            bytes: row.maybe_int(0)?,
            messages: row.maybe_int(1)?,
        })
    }

    fn committed(&self, quota: &Quota) {
        let mut directory = self.shared.directory_mut();
        directory.change_account(self.id, |account| account.quota = *quota);
        drop(directory);
        self.shared.directory_changed();
    }
}

pub(crate) async fn need_domain(tx: &mut Tx<'_>, domain: &Domain) -> Result<(), StoreError> {
    let sql = "SELECT 1 FROM domain WHERE name = $1 FOR UPDATE";
    let found = tx.row(sql, params![domain.as_str()]).await?;
    found.map(|_| ()).ok_or(StoreError::NotFound("domain"))
}

/// Takes an address for an account, or (without one) for an alias.
pub(crate) async fn claim_address(
    tx: &mut Tx<'_>,
    address: &EmailAddress,
    account: Option<AccountId>,
) -> Result<(), StoreError> {
    let sql = "INSERT INTO address (address_key, address, domain, account_id)
        VALUES ($1, $2, $3, $4) ON CONFLICT (address_key) DO NOTHING";
    let key = address.key();
    let text = address.to_string();
    let values = params![&key, &text, address.domain.as_str(), account];
    match tx.execute(sql, values).await? {
        0 => Err(StoreError::Exists("address")),
        _ => Ok(()),
    }
}

/// An address that was stored.
pub(crate) fn address(text: &str) -> Result<EmailAddress, StoreError> {
    EmailAddress::parse(text)
        .map_err(|error| StoreError::Io(format!("a stored address is damaged: {error}")))
}

/// A domain that was stored.
pub(crate) fn domain(text: &str) -> Result<Domain, StoreError> {
    Domain::parse(text)
        .map_err(|error| StoreError::Io(format!("a stored domain is damaged: {error}")))
}

/// A number of bytes as it is stored.
pub(crate) fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
