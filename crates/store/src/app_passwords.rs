//! App passwords: further passwords of an account, one for each program, made here, shown once,
//! taken back one by one, and good only for the protocols they were made for.
//!
//! They are long and random (100 bits), so that a keyed hash is enough to keep: nobody can try them
//! out, with or without the hash. So a login costs one look-up however many there are, and at most one
//! run of argon2, for the account's own password. All have the account's SCRAM salt, so that a proof
//! (RFC 5802 §3) can be held against each of them.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use base::{AccountId, Secret, Timestamp};

use crate::auth::{SALT_BYTES, SCRAM_ITERATIONS, ScramKeys, derive_scram, mac, prepared};
use crate::engine::{Body, Priority, Row, Tx, params};
use crate::keys::{Keyring, app_place};
use crate::{SHA1_BYTES, Store, StoreError};

/// The letters of a password (RFC 4648 §6 in lower case): 5 bits each, none that looks like another.
const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
const LETTERS_OF_ONE: usize = 20;
const GROUP: usize = 5;
/// App passwords of one account; each login by SCRAM reads them all.
const PER_ACCOUNT_MAX: u64 = 50;
/// The longest name, in bytes.
const NAME_BYTES_MAX: usize = 100;
/// A use is written down again after this time at the earliest: some programs log in each minute.
const NOTED_EVERY: Duration = Duration::from_secs(300);
/// The name of the secret that the hashes are keyed with.
const SECRET: &str = "app-password";

/// What a password may be limited to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum MailProtocol {
    /// Submission.
    Smtp,
    /// IMAP.
    Imap,
}

impl MailProtocol {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Smtp, Self::Imap];

    /// Its name in lists and settings.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Smtp => "smtp",
            Self::Imap => "imap",
        }
    }

    const fn bit(self) -> i64 {
        match self {
            Self::Smtp => 1,
            Self::Imap => 2,
        }
    }
}

/// Where a login comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoginFrom {
    /// Over which protocol.
    pub protocol: MailProtocol,
    /// From which address.
    pub address: IpAddr,
}

/// An app password, without the password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppPasswordInfo {
    /// Its name; an account has each name once.
    pub name: String,
    /// For what it is good; empty: for all.
    pub protocols: Vec<MailProtocol>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last used, to within five minutes, over which protocol and from which address.
    pub used: Option<(Timestamp, String, String)>,
}

/// The SCRAM keys that a login over a mail protocol may be proved with.
#[derive(Clone, Debug)]
pub struct MailKeys {
    /// Those of the account's password; made up where there is none, or where it is not good for
    /// mail protocols.
    pub own: ScramKeys,
    /// Those of app passwords, of the same salt and count.
    pub others: Vec<AppKeys>,
}

/// The keys of an app password.
#[derive(Clone, Debug)]
pub struct AppKeys {
    /// Its number in the account, for [`Store::app_password_used`].
    pub password: i64,
    /// `H(ClientKey)`.
    pub stored_key: [u8; 32],
    /// The server key.
    pub server_key: [u8; 32],
    /// The same two made with SHA-1.
    pub sha1: [[u8; SHA1_BYTES]; 2],
}

impl Store {
    /// Checks a login over a mail protocol: with an app password, or with the account's own one where
    /// that is allowed. `None`: wrong, unknown, disabled, or not for this protocol.
    ///
    /// # Errors
    /// Those of reading.
    pub async fn log_in(
        &self,
        login: &str,
        password: &Secret,
        from: LoginFrom,
    ) -> Result<Option<AccountId>, StoreError> {
        if let Some(letters) = letters(password.expose()) {
            let account = self.login(&prepared(login.as_bytes())).await?;
            let key = self.installation_secret(SECRET).await?;
            let body = Find {
                account: account.unwrap_or(AccountId(0)),
                hash: hash(&key, account, &letters),
                protocol: from.protocol,
            };
            // Also of an unknown account, so that it takes the same time.
            let found = self.0.engine.read(body).await?;
            if let (Some(account), Some(found)) = (account, found) {
                self.note_use(account, found, from).await;
                return Ok(Some(account));
            }
        }
        self.authenticate_for(login, password, true).await
    }

    /// The SCRAM keys of a login over a mail protocol; made up for an unknown one.
    ///
    /// # Errors
    /// Those of reading the keys.
    pub async fn mail_scram_keys(
        &self,
        login: &str,
        protocol: MailProtocol,
    ) -> Result<MailKeys, StoreError> {
        let account = self.login(&prepared(login.as_bytes())).await?;
        let own = self.scram_keys_for(login, true).await?;
        let body = ReadKeys {
            account: account.unwrap_or(AccountId(0)),
            protocol,
        };
        let rows = self.0.engine.read(body).await?;
        let Some(account) = account.filter(|_| !rows.is_empty()) else {
            return Ok(MailKeys {
                own,
                others: Vec::new(),
            });
        };
        let mut keys = MailKeys {
            own,
            others: Vec::with_capacity(rows.len()),
        };
        if keys.own.account.is_none() {
            // What was made up proves nothing; its salt is that of the others.
            keys.own.account = Some(account);
            keys.own.salt.clone_from(&rows[0].salt);
        }
        for row in rows {
            // Another salt, or keys that were given up with what sealed them, prove nothing.
            if row.salt == keys.own.salt && !row.stored_key.is_empty() {
                keys.others.push(row.open(account, &self.0.keys)?);
            }
        }
        Ok(keys)
    }

    /// Notes that an app password was used; a failure is not worth a refused login.
    pub async fn app_password_used(&self, account: AccountId, password: i64, from: LoginFrom) {
        let found = Found {
            password,
            used_at: None,
            used_from: String::new(),
            used_by: String::new(),
        };
        self.note_use(account, found, from).await;
    }

    /// Makes an app password; it is told here and never again. Good for these protocols; for all if
    /// there are none.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Exists`] for a name that is taken,
    /// [`StoreError::Invalid`] for a bad name or too many.
    pub async fn add_app_password(
        &self,
        account: AccountId,
        name: &str,
        protocols: &[MailProtocol],
    ) -> Result<Secret, StoreError> {
        if name.is_empty() || name.len() > NAME_BYTES_MAX || name.chars().any(char::is_control) {
            return Err(StoreError::Invalid(format!(
                "the name of an app password has 1 to {NAME_BYTES_MAX} bytes"
            )));
        }
        let (password, letters) = self.make_password();
        let key = self.installation_secret(SECRET).await?;
        let salt = match self.0.engine.read(ReadSalt { account }).await? {
            Some(salt) => salt,
            None => {
                let mut salt = vec![0; SALT_BYTES];
                self.0.entropy.fill(&mut salt);
                salt
            }
        };
        let hash = hash(&key, Some(account), &letters);
        let text = password.clone();
        let work = move || derive_scram(text.as_bytes(), &salt);
        let body = Add {
            account,
            name: name.to_owned(),
            hash,
            protocols: protocols.iter().fold(0, |mask, one| mask | one.bit()),
            scram: self.0.passwords.work(work).await?,
            keys: Arc::clone(&self.0.keys),
            now: self.0.shared.now(),
        };
        self.0.engine.write(body, Priority::Urgent).await?;
        Ok(Secret::new(password))
    }

    /// The app passwords of an account, oldest first, and whether its own password is good for mail
    /// protocols.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub async fn app_passwords(
        &self,
        account: AccountId,
    ) -> Result<(Vec<AppPasswordInfo>, bool), StoreError> {
        self.0.engine.read(List { account }).await
    }

    /// Takes an app password back; sessions that are open stay.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub async fn remove_app_password(
        &self,
        account: AccountId,
        name: &str,
    ) -> Result<(), StoreError> {
        let body = Remove {
            account,
            name: name.to_owned(),
        };
        self.0.engine.write(body, Priority::Urgent).await
    }

    /// Sets whether an account's own password is good for mail protocols, or only app passwords.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub async fn set_mail_password(
        &self,
        account: AccountId,
        allowed: bool,
    ) -> Result<(), StoreError> {
        let body = SetMailPassword { account, allowed };
        self.0.engine.write(body, Priority::Urgent).await?;
        self.0.passwords.forget();
        Ok(())
    }

    /// A password as it is shown, and its letters alone.
    fn make_password(&self) -> (String, String) {
        let mut random = [0; LETTERS_OF_ONE];
        self.0.entropy.fill(&mut random);
        let letter = |byte: &u8| char::from(LETTERS[usize::from(byte % 32)]);
        let letters: String = random.iter().map(letter).collect();
        let groups: Vec<&str> = (0..LETTERS_OF_ONE)
            .step_by(GROUP)
            .map(|at| &letters[at..at + GROUP])
            .collect();
        (groups.join("-"), letters)
    }

    async fn note_use(&self, account: AccountId, found: Found, from: LoginFrom) {
        let now = self.0.shared.now();
        let address = from.address.to_canonical().to_string();
        let is_news = found.used_from != address || found.used_by != from.protocol.name();
        let is_recent = |at: Timestamp| now.since(at) < NOTED_EVERY;
        if !is_news && found.used_at.is_some_and(is_recent) {
            return;
        }
        let body = NoteUse {
            account,
            password: found.password,
            now,
            address,
            protocol: from.protocol,
        };
        if let Err(error) = self.0.engine.write(body, Priority::Bulk).await {
            tracing::debug!(%account, %error, "the use of an app password was not noted");
        }
    }
}

/// The letters of what looks like an app password, however its groups are parted.
fn letters(password: &[u8]) -> Option<String> {
    let mut found = String::with_capacity(LETTERS_OF_ONE);
    for byte in password {
        let letter = byte.to_ascii_lowercase();
        match letter {
            b'-' | b' ' => {}
            _ if found.len() < LETTERS_OF_ONE && LETTERS.contains(&letter) => {
                found.push(char::from(letter));
            }
            _ => return None,
        }
    }
    (found.len() == LETTERS_OF_ONE).then_some(found)
}

fn hash(key: &Secret, account: Option<AccountId>, letters: &str) -> [u8; 32] {
    let account = account.map_or(0, |account| account.0);
    mac(key.expose(), format!("{account} {letters}").as_bytes())
}

/// What is known of the password that was given.
struct Found {
    password: i64,
    used_at: Option<Timestamp>,
    used_from: String,
    used_by: String,
}

struct Find {
    account: AccountId,
    hash: [u8; 32],
    protocol: MailProtocol,
}

impl Body for Find {
    type Out = Option<Found>;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Option<Found>, StoreError> {
        let sql = "SELECT password_id, protocols, used_at, used_from, used_by FROM app_password
            WHERE account_id = $1 AND hash = $2 AND EXISTS
            (SELECT 1 FROM account WHERE account_id = $1 AND enabled = 1 AND delete_at IS NULL)";
        let values = params![self.account, self.hash.as_slice()];
        let Some(mut row) = tx.row(sql, values).await? else {
            return Ok(None);
        };
        if !allows(row.int(1)?, self.protocol) {
            return Ok(None);
        }
        Ok(Some(Found {
            password: row.int(0)?,
            used_at: row.maybe_int(2)?.map(Timestamp),
            used_from: row.text(3)?,
            used_by: row.text(4)?,
        }))
    }
}

/// A mask of nothing allows all, also protocols that come later.
fn allows(protocols: i64, protocol: MailProtocol) -> bool {
    protocols == 0 || protocols & protocol.bit() != 0
}

/// Keys as they are stored.
struct SealedKeys {
    password: i64,
    salt: Vec<u8>,
    stored_key: Vec<u8>,
    server_key: Vec<u8>,
}

impl SealedKeys {
    fn open(self, account: AccountId, keys: &Keyring) -> Result<AppKeys, StoreError> {
        let open = |which, value: &[u8]| {
            let plain = keys.unseal(&app_place(account.0, self.password, which), value)?;
            let parts = plain.split_first_chunk::<32>().and_then(|(key, rest)| {
                let sha1 = <[u8; SHA1_BYTES]>::try_from(rest).ok()?;
                Some((*key, sha1))
            });
            parts.ok_or_else(|| StoreError::Io("a SCRAM key has the wrong length".to_owned()))
        };
        let (stored_key, stored_1) = open("stored", &self.stored_key)?;
        let (server_key, server_1) = open("server", &self.server_key)?;
        Ok(AppKeys {
            password: self.password,
            stored_key,
            server_key,
            sha1: [stored_1, server_1],
        })
    }
}

struct ReadKeys {
    account: AccountId,
    protocol: MailProtocol,
}

impl Body for ReadKeys {
    type Out = Vec<SealedKeys>;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Vec<SealedKeys>, StoreError> {
        let sql = "SELECT password_id, protocols, scram_salt, scram_stored_key, scram_server_key
            FROM app_password WHERE account_id = $1 AND EXISTS
            (SELECT 1 FROM account WHERE account_id = $1 AND enabled = 1 AND delete_at IS NULL)
            ORDER BY password_id";
        let mut found = Vec::new();
        for mut row in tx.rows(sql, params![self.account]).await? {
            if allows(row.int(1)?, self.protocol) {
                found.push(SealedKeys {
                    password: row.int(0)?,
                    salt: row.bytes(2)?,
                    stored_key: row.bytes(3)?,
                    server_key: row.bytes(4)?,
                });
            }
        }
        Ok(found)
    }
}

/// The SCRAM salt of an account, whose passwords share it.
pub(crate) struct ReadSalt {
    pub account: AccountId,
}

impl Body for ReadSalt {
    type Out = Option<Vec<u8>>;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Option<Vec<u8>>, StoreError> {
        for sql in [
            "SELECT scram_salt FROM app_password WHERE account_id = $1 LIMIT 1",
            "SELECT scram_salt FROM credential WHERE account_id = $1",
        ] {
            if let Some(mut row) = tx.row(sql, params![self.account]).await? {
                return row.bytes(0).map(Some);
            }
        }
        Ok(None)
    }
}

struct Add {
    account: AccountId,
    name: String,
    hash: [u8; 32],
    protocols: i64,
    scram: ScramKeys,
    keys: Arc<Keyring>,
    now: Timestamp,
}

impl Body for Add {
    type Out = ();

    async fn run(&self, tx: &mut Tx<'_>) -> Result<(), StoreError> {
        let lock = "SELECT 1 FROM account WHERE account_id = $1 AND removing = 0 FOR UPDATE";
        if tx.row(lock, params![self.account]).await?.is_none() {
            return Err(StoreError::NotFound("account"));
        }
        let known = "SELECT 1 FROM app_password WHERE account_id = $1 AND name = $2";
        if tx
            .row(known, params![self.account, &self.name])
            .await?
            .is_some()
        {
            return Err(StoreError::Exists("app password"));
        }
        let count = "SELECT count(*), coalesce(max(password_id), 0) FROM app_password
            WHERE account_id = $1";
        let row = tx.one(count, params![self.account]).await?;
        if row.unsigned(0)? >= PER_ACCOUNT_MAX {
            return Err(StoreError::Invalid(format!(
                "an account has at most {PER_ACCOUNT_MAX} app passwords"
            )));
        }
        let id = row.int(1)? + 1;
        let [stored_1, server_1] = self.scram.sha1.unwrap_or_default();
        let seal = |which, key: &[u8], sha1: &[u8]| {
            let place = app_place(self.account.0, id, which);
            self.keys.seal(&place, &[key, sha1].concat())
        };
        let stored = seal("stored", &self.scram.stored_key, &stored_1)?;
        let server = seal("server", &self.scram.server_key, &server_1)?;
        tx.execute(
            "INSERT INTO app_password (account_id, password_id, name, hash, protocols, scram_salt,
                scram_iterations, scram_stored_key, scram_server_key, created_at, used_at,
                used_from, used_by)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, NULL, '', '')",
            params![
                self.account,
                id,
                &self.name,
                self.hash.as_slice(),
                self.protocols,
                self.scram.salt.as_slice(),
                SCRAM_ITERATIONS,
                stored.as_slice(),
                server.as_slice(),
                self.now,
            ],
        )
        .await?;
        Ok(())
    }
}

struct List {
    account: AccountId,
}

impl Body for List {
    type Out = (Vec<AppPasswordInfo>, bool);

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Self::Out, StoreError> {
        let allowed = "SELECT mail_password FROM account WHERE account_id = $1 AND removing = 0";
        let row = tx.row(allowed, params![self.account]).await?;
        let allowed = row.ok_or(StoreError::NotFound("account"))?.truth(0)?;
        let sql = "SELECT name, protocols, created_at, used_at, used_by, used_from
            FROM app_password WHERE account_id = $1 ORDER BY password_id";
        let rows = tx.rows(sql, params![self.account]).await?;
        let list = rows.into_iter().map(info).collect::<Result<_, _>>()?;
        Ok((list, allowed))
    }
}

fn info(mut row: Row) -> Result<AppPasswordInfo, StoreError> {
    let mask = row.int(1)?;
    let used = match row.maybe_int(3)? {
        Some(at) => Some((Timestamp(at), row.text(4)?, row.text(5)?)),
        None => None,
    };
    Ok(AppPasswordInfo {
        name: row.text(0)?,
        protocols: MailProtocol::ALL
            .into_iter()
            .filter(|protocol| mask & protocol.bit() != 0)
            .collect(),
        created_at: row.time(2)?,
        used,
    })
}

struct Remove {
    account: AccountId,
    name: String,
}

impl Body for Remove {
    type Out = ();

    async fn run(&self, tx: &mut Tx<'_>) -> Result<(), StoreError> {
        let sql = "DELETE FROM app_password WHERE account_id = $1 AND name = $2";
        match tx.execute(sql, params![self.account, &self.name]).await? {
            0 => Err(StoreError::NotFound("app password")),
            _ => Ok(()),
        }
    }
}

struct SetMailPassword {
    account: AccountId,
    allowed: bool,
}

impl Body for SetMailPassword {
    type Out = ();

    async fn run(&self, tx: &mut Tx<'_>) -> Result<(), StoreError> {
        let sql = "UPDATE account SET mail_password = $2 WHERE account_id = $1 AND removing = 0";
        match tx.execute(sql, params![self.account, self.allowed]).await? {
            0 => Err(StoreError::NotFound("account")),
            _ => Ok(()),
        }
    }
}

struct NoteUse {
    account: AccountId,
    password: i64,
    now: Timestamp,
    address: String,
    protocol: MailProtocol,
}

impl Body for NoteUse {
    type Out = ();

    async fn run(&self, tx: &mut Tx<'_>) -> Result<(), StoreError> {
        let sql = "UPDATE app_password SET used_at = $3, used_from = $4, used_by = $5
            WHERE account_id = $1 AND password_id = $2";
        let values = params![
            self.account,
            self.password,
            self.now,
            &self.address,
            self.protocol.name(),
        ];
        tx.execute(sql, values).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_like_an_app_password() {
        let plain = "abcde234567zzzzzyyyy";
        assert_eq!(letters(plain.as_bytes()).as_deref(), Some(plain));
        assert_eq!(letters(b"abcde-23456-7ZZzz-zyyyy").as_deref(), Some(plain));
        assert_eq!(letters(b"abcde 23456 7zzzz zyyyy").as_deref(), Some(plain));
        assert_eq!(letters(b"abcde234567zzzzzyyy"), None);
        assert_eq!(letters(b"abcde234567zzzzzyyyyy"), None);
        assert_eq!(letters(b"abcde234567zzzzzyyy1"), None);
        assert_eq!(letters(b""), None);
    }
}
