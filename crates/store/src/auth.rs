//! Credentials: argon2id for passwords, SCRAM keys made when a password is set.
//!
//! Checking a password is dear by design, so it is done on a bounded pool, and a success is
//! remembered for five minutes under a keyed hash. A failure is never remembered. A login that does
//! not exist costs the same work and gets SCRAM keys that are made up, but always the same.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use aws_lc_rs::{digest, hmac, pbkdf2};
use base::ports::Entropy;
use base::{AccountId, EmailAddress, Secret, Timestamp};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::app_passwords::ReadSalt;
use crate::aside::Aside;
use crate::engine::{Body, Priority, Tx, params};
use crate::keys::{KeepServerSecret, Keyring, scram_place, secret_place};
use crate::{Store, StoreError};

/// Argon2id with m = 19 MiB, t = 2, p = 1: the first choice of the OWASP Password Storage Cheat
/// Sheet.
const ARGON2_MEMORY_KIB: u32 = 19 * 1024;
const ARGON2_PASSES: u32 = 2;
const ARGON2_LANES: u32 = 1;
/// RFC 7677 §4 asks for at least 4,096.
pub(crate) const SCRAM_ITERATIONS: u32 = 10_000;
pub(crate) const SALT_BYTES: usize = 16;
/// How long a successful check is remembered.
const REMEMBERED_FOR: Duration = Duration::from_secs(300);
/// Checks remembered at once.
const REMEMBERED_MAX: usize = 10_000;
/// Longer passwords are refused: hashing them would be work for nothing.
const PASSWORD_BYTES_MAX: usize = 1_024;

/// The server's side of SCRAM for one login (RFC 5802 §3), with SHA-256 and with SHA-1.
#[derive(Clone, Debug)]
pub struct ScramKeys {
    /// Whose keys; `None` for a login that does not exist, whose keys are made up but always the
    /// same, so that an exchange for it fails only at the proof.
    pub account: Option<AccountId>,
    /// The salt.
    pub salt: Vec<u8>,
    /// The iteration count.
    pub iterations: u32,
    /// `H(ClientKey)`.
    pub stored_key: [u8; 32],
    /// The server key.
    pub server_key: [u8; 32],
    /// The same two made with SHA-1; not there for a password that was set before they were kept.
    pub sha1: Option<[[u8; SHA1_BYTES]; 2]>,
}

/// The bytes of a value of SHA-1.
pub const SHA1_BYTES: usize = 20;

/// What is stored of a password.
pub(crate) struct Credential {
    argon2: String,
    scram: ScramKeys,
    keys: Arc<Keyring>,
}

/// The pool for checks and the successes remembered.
pub(crate) struct Passwords {
    aside: Aside,
    room: Arc<Semaphore>,
    /// Of this process only; a copy of the memory of checks is worth nothing without it.
    key: [u8; 32],
    known: Mutex<Known>,
    /// The hash of a password that nobody has, for logins that do not exist.
    decoy: Arc<str>,
}

#[derive(Default)]
struct Known {
    checks: BTreeMap<[u8; 32], (AccountId, Instant)>,
    /// Raised when checks are forgotten, so that one that was under way is not remembered.
    generation: u64,
}

impl Store {
    /// Checks a login (an address of the account, or its local part when there is one domain) and
    /// its password. `None`: wrong, unknown or disabled; all take the same time.
    ///
    /// # Errors
    /// Those of reading the credential.
    pub async fn authenticate(
        &self,
        login: &str,
        password: &Secret,
    ) -> Result<Option<AccountId>, StoreError> {
        self.authenticate_for(login, password, false).await
    }

    /// The same; over a mail protocol only where the account's own password is good for that.
    pub(crate) async fn authenticate_for(
        &self,
        login: &str,
        password: &Secret,
        for_mail: bool,
    ) -> Result<Option<AccountId>, StoreError> {
        let login = prepared(login.as_bytes());
        let password = Secret::new(prepared(password.expose()));
        let account = self.login(&login).await?;
        let passwords = &self.0.passwords;
        // The row is read each time: another node may have changed it. A check is remembered with
        // what it was made against, so that it counts for nothing once that is another.
        let generation = passwords.known().generation;
        let stored = self.0.engine.read(ReadArgon2 { account, for_mail }).await?;
        let token = passwords.token(account, stored.as_deref(), &password);
        if let Some(account) = passwords.recall(&token) {
            return Ok(Some(account));
        }
        let right = self.check(stored.as_deref(), password).await?;
        let account = account.filter(|_| right && stored.is_some());
        if let Some(account) = account {
            passwords.remember(token, account, generation);
        }
        Ok(account)
    }

    /// Whom a certificate with these addresses logs in, and by which of them: the account that an
    /// address is its own of, or an alias of it alone. With `identity`, only the account that this
    /// address leads to. `None`: unknown, closed or disabled; or, without `identity`, several accounts.
    ///
    /// # Errors
    /// Those of asking for what other nodes have made.
    pub async fn log_in_by_certificate(
        &self,
        addresses: &[EmailAddress],
        identity: Option<&str>,
    ) -> Result<Option<(AccountId, EmailAddress)>, StoreError> {
        let mut found = Vec::with_capacity(addresses.len());
        for address in addresses {
            // A text with an @ is looked up as an address and as nothing else.
            if let Some(account) = self
                .login(&prepared(address.to_string().as_bytes()))
                .await?
            {
                found.push((account, address.clone()));
            }
        }
        if let Some(identity) = identity {
            let wanted = self.login(&prepared(identity.as_bytes())).await?;
            return Ok(found
                .into_iter()
                .find(|(account, _)| Some(*account) == wanted));
        }
        let one = found.first().cloned();
        Ok(one.filter(|(one, _)| found.iter().all(|(account, _)| account == one)))
    }

    /// The SCRAM keys of a login, made up for an unknown one.
    ///
    /// # Errors
    /// Those of reading the keys.
    pub async fn scram_keys(&self, login: &str) -> Result<ScramKeys, StoreError> {
        self.scram_keys_for(login, false).await
    }

    /// The same; over a mail protocol made up where the account's own password is not good for that.
    pub(crate) async fn scram_keys_for(
        &self,
        login: &str,
        for_mail: bool,
    ) -> Result<ScramKeys, StoreError> {
        let login = prepared(login.as_bytes());
        let account = self.login(&login).await?;
        let body = ReadScram { account, for_mail };
        let (secret, keys) = self.0.engine.read(body).await?;
        if let Some(keys) = keys {
            return keys.open(&self.0.keys);
        }
        let secret = match secret {
            Some(secret) => self.0.keys.unseal(&secret_place("scram"), &secret)?,
            None => self.make_server_secret("scram").await?,
        };
        Ok(made_up_keys(&secret, &login))
    }

    /// What is to be stored of a password. Takes a place in the pool.
    pub(crate) async fn make_credential(
        &self,
        account: Option<AccountId>,
        password: &Secret,
    ) -> Result<Credential, StoreError> {
        let password = Secret::new(prepared(password.expose()));
        if password.expose().is_empty() || password.expose().len() > PASSWORD_BYTES_MAX {
            return Err(StoreError::Invalid(format!(
                "a password has 1 to {PASSWORD_BYTES_MAX} bytes"
            )));
        }
        let mut salts = [[0; SALT_BYTES]; 2];
        for salt in &mut salts {
            self.0.entropy.fill(salt);
        }
        // App passwords have the account's salt, and so stay good for SCRAM.
        if let Some(account) = account
            && let Some(salt) = self.0.engine.read(ReadSalt { account }).await?
            && let Ok(salt) = <[u8; SALT_BYTES]>::try_from(salt)
        {
            salts[1] = salt;
        }
        let keys = Arc::clone(&self.0.keys);
        self.0
            .passwords
            .work(move || Credential::of(&password, &salts, keys))
            .await?
    }

    /// The account that logs in under this name, however it proves that it may. None for one that is
    /// disabled or closed.
    ///
    /// # Errors
    /// Those of reading.
    pub async fn account_of_login(&self, login: &str) -> Result<Option<AccountId>, StoreError> {
        self.login(&prepared(login.as_bytes())).await
    }

    pub(crate) async fn login(&self, login: &[u8]) -> Result<Option<AccountId>, StoreError> {
        let Ok(login) = std::str::from_utf8(login) else {
            return Ok(None);
        };
        let known = self.0.shared.directory().login(login);
        if known.is_some() {
            return Ok(known);
        }
        // Another node may have made it just now.
        self.catch_up().await?;
        Ok(self.0.shared.directory().login(login))
    }

    async fn check(&self, stored: Option<&str>, password: Secret) -> Result<bool, StoreError> {
        let passwords = &self.0.passwords;
        let hash = stored.map_or_else(|| Arc::clone(&passwords.decoy), Arc::from);
        passwords.work(move || is_right(&hash, &password)).await
    }

    /// A secret of 32 bytes that all nodes of this store share, made when it is first asked for.
    ///
    /// # Errors
    /// Those of reading and writing.
    pub async fn installation_secret(&self, name: &'static str) -> Result<Secret, StoreError> {
        let kept = match self.0.engine.read(ReadServerSecret { name }).await? {
            Some(value) => self.0.keys.unseal(&secret_place(name), &value)?,
            None => self.make_server_secret(name).await?,
        };
        Ok(Secret::new(kept))
    }

    async fn make_server_secret(&self, name: &'static str) -> Result<Vec<u8>, StoreError> {
        let mut value = [0; 32];
        self.0.entropy.fill(&mut value);
        let place = secret_place(name);
        let value = self.0.keys.seal(&place, &value)?;
        let body = KeepServerSecret { name, value };
        let kept = self.0.engine.write(body, Priority::Urgent).await?;
        self.0.keys.unseal(&place, &kept)
    }
}

impl Passwords {
    pub(crate) fn new(entropy: &dyn Entropy, aside: Aside) -> Self {
        let mut key = [0; 32];
        entropy.fill(&mut key);
        let mut salt = [0; SALT_BYTES];
        entropy.fill(&mut salt);
        // A hash of the right form that no password is known for; making a real one would cost
        // every start its time.
        let mut output = [0; 32];
        entropy.fill(&mut output);
        let decoy = decoy_hash(&salt, &output);
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            aside,
            room: Arc::new(Semaphore::new(cores)),
            key,
            known: Mutex::default(),
            decoy: decoy.into(),
        }
    }

    /// Forgets all checks.
    pub(crate) fn forget(&self) {
        let mut known = self.known();
        known.checks.clear();
        known.generation += 1;
    }

    /// Runs dear work, as many at once as there are cores.
    pub(crate) async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, StoreError> {
        let permit = Arc::clone(&self.room)
            .acquire_owned()
            .await
            .map_err(|_| StoreError::Closed)?;
        let work = move || {
            let result = work();
            drop(permit);
            result
        };
        self.aside.run("work on a password", work).await
    }

    /// The name of a check that tells nothing about the password.
    fn token(
        &self,
        account: Option<AccountId>,
        stored: Option<&str>,
        password: &Secret,
    ) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher.update(&account.map_or(0, |account| account.0).to_le_bytes());
        let stored = stored.unwrap_or_default();
        hasher.update(&stored.len().to_le_bytes());
        hasher.update(stored.as_bytes());
        hasher.update(password.expose());
        *hasher.finalize().as_bytes()
    }

    fn recall(&self, token: &[u8; 32]) -> Option<AccountId> {
        let mut known = self.known();
        let (account, since) = *known.checks.get(token)?;
        if since.elapsed() < REMEMBERED_FOR {
            return Some(account);
        }
        known.checks.remove(token);
        None
    }

    fn remember(&self, token: [u8; 32], account: AccountId, generation: u64) {
        let mut known = self.known();
        if known.generation != generation {
            return;
        }
        if known.checks.len() >= REMEMBERED_MAX {
            known
                .checks
                .retain(|_, (_, since)| since.elapsed() < REMEMBERED_FOR);
        }
        if known.checks.len() < REMEMBERED_MAX {
            known.checks.insert(token, (account, Instant::now()));
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Credential {
    fn of(
        password: &Secret,
        salts: &[[u8; SALT_BYTES]; 2],
        keys: Arc<Keyring>,
    ) -> Result<Self, StoreError> {
        let argon2 = argon2()?
            .hash_password_with_salt(password.expose(), &salts[0])
            .map_err(|error| StoreError::Bug(format!("argon2: {error}")))?
            .to_string();
        Ok(Self {
            argon2,
            scram: derive_scram(password.expose(), &salts[1]),
            keys,
        })
    }

    pub(crate) async fn store(
        &self,
        tx: &mut Tx<'_>,
        account: AccountId,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let seal = |which, key: &[u8]| self.keys.seal(&scram_place(account.0, which), key);
        // The keys of SHA-1 stand behind those of SHA-256, under one seal.
        let [stored_1, server_1] = self.scram.sha1.unwrap_or_default();
        let stored_key = seal("stored", &[&self.scram.stored_key[..], &stored_1].concat())?;
        let server_key = seal("server", &[&self.scram.server_key[..], &server_1].concat())?;
        tx.execute(
            "INSERT INTO credential (account_id, argon2, scram_salt, scram_iterations,
                scram_stored_key, scram_server_key, changed_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7)
             ON CONFLICT (account_id) DO UPDATE SET argon2 = $2, scram_salt = $3,
                scram_iterations = $4, scram_stored_key = $5, scram_server_key = $6,
                changed_at = $7",
            params![
                account,
                &self.argon2,
                self.scram.salt.as_slice(),
                self.scram.iterations,
                stored_key.as_slice(),
                server_key.as_slice(),
                now,
            ],
        )
        .await?;
        Ok(())
    }
}

fn argon2() -> Result<Argon2<'static>, StoreError> {
    let params = Params::new(ARGON2_MEMORY_KIB, ARGON2_PASSES, ARGON2_LANES, None)
        .map_err(|error| StoreError::Bug(format!("argon2: {error}")))?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

fn is_right(hash: &str, password: &Secret) -> bool {
    let (Ok(hash), Ok(argon2)) = (PasswordHash::new(hash), argon2()) else {
        return false;
    };
    argon2.verify_password(password.expose(), &hash).is_ok()
}

fn decoy_hash(salt: &[u8], output: &[u8]) -> String {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD_NO_PAD;

    format!(
        "$argon2id$v=19$m={ARGON2_MEMORY_KIB},t={ARGON2_PASSES},p={ARGON2_LANES}${}${}",
        STANDARD_NO_PAD.encode(salt),
        STANDARD_NO_PAD.encode(output)
    )
}

/// SASLprep (RFC 4013), as RFC 4616 §2 and RFC 5802 §2.2 ask; a text that it forbids stays as it
/// is, as it does in the SASL exchange.
pub(crate) fn prepared(bytes: &[u8]) -> Vec<u8> {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.is_ascii() => stringprep::saslprep(text)
            .map_or_else(|_| bytes.to_vec(), |text| text.into_owned().into()),
        _ => bytes.to_vec(),
    }
}

/// RFC 5802 §3: the keys of a password that is prepared already.
pub(crate) fn derive_scram(password: &[u8], salt: &[u8]) -> ScramKeys {
    let iterations = NonZeroU32::new(SCRAM_ITERATIONS).unwrap_or(NonZeroU32::MIN);
    let mut salted = [0; 32];
    pbkdf2::derive(
        pbkdf2::PBKDF2_HMAC_SHA256,
        iterations,
        salt,
        password,
        &mut salted,
    );
    let client_key = mac(&salted, b"Client Key");
    let mut stored_key = [0; 32];
    stored_key.copy_from_slice(digest::digest(&digest::SHA256, &client_key).as_ref());
    ScramKeys {
        account: None,
        salt: salt.to_vec(),
        iterations: SCRAM_ITERATIONS,
        stored_key,
        server_key: mac(&salted, b"Server Key"),
        sha1: Some(derive_scram_1(password, salt, iterations)),
    }
}

/// The same with SHA-1, for clients that have nothing better.
fn derive_scram_1(password: &[u8], salt: &[u8], iterations: NonZeroU32) -> [[u8; SHA1_BYTES]; 2] {
    let mut salted = [0; SHA1_BYTES];
    pbkdf2::derive(
        pbkdf2::PBKDF2_HMAC_SHA1,
        iterations,
        salt,
        password,
        &mut salted,
    );
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &salted);
    let client_key = hmac::sign(&key, b"Client Key");
    let stored = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, client_key.as_ref());
    let server = hmac::sign(&key, b"Server Key");
    [stored.as_ref(), server.as_ref()].map(|value| {
        let mut bytes = [0; SHA1_BYTES];
        bytes.copy_from_slice(value);
        bytes
    })
}

fn made_up_keys(secret: &[u8], login: &[u8]) -> ScramKeys {
    let part = |name: &[u8]| {
        let mut data = name.to_vec();
        data.extend_from_slice(login);
        mac(secret, &data)
    };
    ScramKeys {
        account: None,
        salt: part(b"salt ")[..SALT_BYTES].to_vec(),
        iterations: SCRAM_ITERATIONS,
        stored_key: part(b"stored key "),
        server_key: part(b"server key "),
        sha1: Some([b"stored key 1 ", b"server key 1 "].map(|name| {
            let mut bytes = [0; SHA1_BYTES];
            bytes.copy_from_slice(&part(name)[..SHA1_BYTES]);
            bytes
        })),
    }
}

pub(crate) fn mac(key: &[u8], data: &[u8]) -> [u8; 32] {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), data);
    let mut bytes = [0; 32];
    bytes.copy_from_slice(tag.as_ref());
    bytes
}

/// Reads what is stored of a password. An unknown account is looked for all the same.
struct ReadArgon2 {
    account: Option<AccountId>,
    /// Only if it is good for mail protocols.
    for_mail: bool,
}

impl Body for ReadArgon2 {
    type Out = Option<String>;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Option<String>, StoreError> {
        let sql = "SELECT argon2 FROM credential WHERE account_id = $1 AND EXISTS
            (SELECT 1 FROM account WHERE account_id = $1 AND enabled = 1 AND delete_at IS NULL
                AND (mail_password = 1 OR $2 = 0))";
        let account = self.account.unwrap_or(AccountId(0));
        match tx.row(sql, params![account, self.for_mail]).await? {
            Some(mut row) => Ok(Some(row.text(0)?)),
            None => Ok(None),
        }
    }
}

/// SCRAM keys as they are stored.
struct SealedKeys {
    account: Option<AccountId>,
    salt: Vec<u8>,
    iterations: u32,
    stored_key: Vec<u8>,
    server_key: Vec<u8>,
}

impl SealedKeys {
    fn open(self, keys: &Keyring) -> Result<ScramKeys, StoreError> {
        let account = self.account.unwrap_or(AccountId(0)).0;
        let open = |which, value: &[u8]| {
            let plain = keys.unseal(&scram_place(account, which), value)?;
            let wrong = || StoreError::Io("a SCRAM key has the wrong length".to_owned());
            let (key, rest) = plain.split_first_chunk::<32>().ok_or_else(wrong)?;
            let sha1 = match rest {
                [] => None,
                rest => Some(<[u8; SHA1_BYTES]>::try_from(rest).map_err(|_| wrong())?),
            };
            Ok::<_, StoreError>((*key, sha1))
        };
        let (stored_key, stored_1) = open("stored", &self.stored_key)?;
        let (server_key, server_1) = open("server", &self.server_key)?;
        Ok(ScramKeys {
            account: self.account,
            stored_key,
            server_key,
            sha1: stored_1
                .zip(server_1)
                .map(|(stored, server)| [stored, server]),
            salt: self.salt,
            iterations: self.iterations,
        })
    }
}

struct ReadServerSecret {
    name: &'static str,
}

impl Body for ReadServerSecret {
    type Out = Option<Vec<u8>>;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Option<Vec<u8>>, StoreError> {
        let sql = "SELECT value FROM server_secret WHERE name = $1";
        let row = tx.row(sql, params![self.name]).await?;
        row.map(|mut row| row.bytes(0)).transpose()
    }
}

struct ReadScram {
    account: Option<AccountId>,
    /// Only if they are good for mail protocols.
    for_mail: bool,
}

impl Body for ReadScram {
    type Out = (Option<Vec<u8>>, Option<SealedKeys>);

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Self::Out, StoreError> {
        let secret = "SELECT value FROM server_secret WHERE name = 'scram'";
        let secret = match tx.row(secret, &[]).await? {
            Some(mut row) => Some(row.bytes(0)?),
            None => None,
        };
        let sql = "SELECT scram_salt, scram_iterations, scram_stored_key, scram_server_key
            FROM credential WHERE account_id = $1 AND EXISTS
            (SELECT 1 FROM account WHERE account_id = $1 AND enabled = 1 AND delete_at IS NULL
                AND (mail_password = 1 OR $2 = 0))";
        let account = self.account.unwrap_or(AccountId(0));
        let keys = match tx.row(sql, params![account, self.for_mail]).await? {
            Some(mut row) => Some(SealedKeys {
                account: self.account,
                salt: row.bytes(0)?,
                iterations: row.u32(1)?,
                stored_key: row.bytes(2)?,
                server_key: row.bytes(3)?,
            }),
            None => None,
        };
        // Keys that were given up with the key that sealed them are as those of nobody.
        Ok((secret, keys.filter(|keys| !keys.stored_key.is_empty())))
    }
}
