//! Which key a store has, and sealing what is not sealed with it.
//!
//! The row `store-key` of `server_secret` is sealed by the store's key. It says `begun` until
//! everything else is sealed with that key, and then `done`, so that a start has nothing to look
//! for. Whoever writes it first decides for all nodes that start together.

use std::path::PathBuf;
use std::sync::Arc;

use base::ports::Entropy;

use super::{Keyring, key_of};
use crate::engine::{Body, Engine, Priority, Tx, params};
use crate::{Store, StoreError};

/// The place of the row that says which key the store has.
const OWN_PLACE: &str = "server_secret/store-key";
/// Credentials in one piece.
const PIECE: i64 = 100;

/// Where a server's secret belongs.
pub(crate) fn secret_place(name: &str) -> String {
    format!("server_secret/{name}")
}

/// Where a SCRAM key belongs.
pub(crate) fn scram_place(account: i64, which: &str) -> String {
    format!("credential/{account}/{which}")
}

/// Where a SCRAM key of an app password belongs.
pub(crate) fn app_place(account: i64, password: i64, which: &str) -> String {
    format!("app_password/{account}/{password}/{which}")
}

/// Where a key that signs as a domain belongs.
pub(crate) fn dkim_place(domain: &str, selector: &str) -> String {
    format!("dkim_key/{domain}/{selector}")
}

/// Opens the keys of a store: makes the file on the first start, compares it with the store, and
/// seals what is not.
///
/// # Errors
/// [`StoreError::Invalid`] with the way out when the file is not the one of this store.
pub(crate) async fn open_keys(
    engine: &Engine,
    path: PathBuf,
    entropy: Arc<dyn Entropy>,
) -> Result<Arc<Keyring>, StoreError> {
    let keys = Arc::new(Keyring::load(path, entropy)?);
    match engine.read(ReadOwn).await? {
        Some(value) => {
            let state = keys.unseal(OWN_PLACE, &value)?;
            if state != b"done" || keys.is_old(&value) {
                seal_all(engine, &keys).await?;
            }
        }
        None => {
            let made = keys.is_empty() && keys.make()?;
            let value = keys.seal(OWN_PLACE, b"begun")?;
            let kept = engine.write(own(value), Priority::Urgent).await?;
            if let Err(error) = keys.unseal(OWN_PLACE, &kept) {
                // Another node was first; a file that was just made is worth nothing.
                if made {
                    let _ = std::fs::remove_file(keys.path());
                }
                return Err(error);
            }
            seal_all(engine, &keys).await?;
        }
    }
    Ok(keys)
}

impl Store {
    /// Makes a new key and seals everything with it. The old key is dropped from the file when
    /// `drop_old` is set; other nodes need the new file first.
    ///
    /// # Errors
    /// Those of the file and of writing.
    pub async fn rotate_key(&self, drop_old: bool) -> Result<String, StoreError> {
        let keys = &self.0.keys;
        keys.add_new()?;
        seal_all(&self.0.engine, keys).await?;
        if drop_old {
            keys.drop_old()?;
        }
        Ok(keys.current_id())
    }

    /// Seals what is not sealed with the key of this store: after rows came from elsewhere.
    pub(crate) async fn reseal(&self) -> Result<(), StoreError> {
        let (engine, keys) = (&self.0.engine, &self.0.keys);
        let value = keys.seal(OWN_PLACE, b"begun")?;
        engine.write(own(value), Priority::Urgent).await?;
        seal_all(engine, keys).await
    }

    /// The id of the key with which secrets are sealed.
    #[must_use]
    pub fn key_id(&self) -> String {
        self.0.keys.current_id()
    }
}

/// Removes every sealed secret, so that a store opens whose key is lost. Passwords stay: who logs in
/// with one in the clear (over TLS) is not hindered; logins by SCRAM work again when the password
/// is set anew. App passwords are gone. Gives how many credentials lost their SCRAM keys.
pub(crate) async fn forget(engine: &Engine) -> Result<u64, StoreError> {
    engine.write(Forget, Priority::Urgent).await
}

/// Seals what is plain or sealed with an older key.
async fn seal_all(engine: &Engine, keys: &Arc<Keyring>) -> Result<(), StoreError> {
    let mut after = Some(-1);
    while let Some(account) = after {
        let body = SealCredentials {
            keys: Arc::clone(keys),
            after: account,
        };
        after = engine.write(body, Priority::Bulk).await?;
    }
    let mut after = Some((-1, -1));
    while let Some(last) = after {
        let body = SealAppPasswords {
            keys: Arc::clone(keys),
            after: last,
        };
        after = engine.write(body, Priority::Bulk).await?;
    }
    let mut after = Some((String::new(), String::new()));
    while let Some(last) = after {
        let body = SealDkimKeys {
            keys: Arc::clone(keys),
            after: last,
        };
        after = engine.write(body, Priority::Bulk).await?;
    }
    let body = SealSecrets {
        keys: Arc::clone(keys),
    };
    engine.write(body, Priority::Urgent).await
}

/// Keeps the row that tells the store's key.
fn own(value: Vec<u8>) -> KeepServerSecret {
    let name = "store-key";
    KeepServerSecret { name, value }
}

struct ReadOwn;

impl Body for ReadOwn {
    type Out = Option<Vec<u8>>;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Option<Vec<u8>>, StoreError> {
        let sql = "SELECT value FROM server_secret WHERE name = 'store-key'";
        tx.row(sql, &[])
            .await?
            .map(|mut row| row.bytes(0))
            .transpose()
    }
}

/// Keeps a secret of this installation, unless there is one; gives the one that is kept.
pub(crate) struct KeepServerSecret {
    pub name: &'static str,
    pub value: Vec<u8>,
}

impl Body for KeepServerSecret {
    type Out = Vec<u8>;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Vec<u8>, StoreError> {
        let insert = "INSERT INTO server_secret (name, value) VALUES ($1, $2)
            ON CONFLICT (name) DO NOTHING";
        tx.execute(insert, params![self.name, self.value.as_slice()])
            .await?;
        let read = "SELECT value FROM server_secret WHERE name = $1";
        tx.one(read, params![self.name]).await?.bytes(0)
    }
}

/// Seals the secrets of the server, and notes that all is sealed.
struct SealSecrets {
    keys: Arc<Keyring>,
}

impl Body for SealSecrets {
    type Out = ();

    async fn run(&self, tx: &mut Tx<'_>) -> Result<(), StoreError> {
        let sql = "SELECT name, value FROM server_secret WHERE name <> 'store-key'";
        for mut row in tx.rows(sql, &[]).await? {
            let (name, value) = (row.text(0)?, row.bytes(1)?);
            if !self.keys.is_old(&value) {
                continue;
            }
            let place = secret_place(&name);
            let plain = self.keys.unseal(&place, &value)?;
            let sealed = self.keys.seal(&place, &plain)?;
            let sql = "UPDATE server_secret SET value = $2 WHERE name = $1 AND value = $3";
            tx.execute(sql, params![&name, sealed.as_slice(), value.as_slice()])
                .await?;
        }
        let done = self.keys.seal(OWN_PLACE, b"done")?;
        let sql = "UPDATE server_secret SET value = $1 WHERE name = 'store-key'";
        tx.execute(sql, params![done.as_slice()]).await?;
        Ok(())
    }
}

/// Seals the SCRAM keys of some accounts; it crosses accounts, as work on the whole store does.
/// Gives the last account, or `None` at the end.
struct SealCredentials {
    keys: Arc<Keyring>,
    after: i64,
}

impl Body for SealCredentials {
    type Out = Option<i64>;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Option<i64>, StoreError> {
        let sql = "SELECT account_id, scram_stored_key, scram_server_key FROM credential
            WHERE account_id > $1 ORDER BY account_id LIMIT $2";
        let rows = tx.rows(sql, params![self.after, PIECE]).await?;
        let mut last = None;
        for mut row in rows {
            let account = row.int(0)?;
            last = Some(account);
            let values = [row.bytes(1)?, row.bytes(2)?];
            if values
                .iter()
                .all(|value| value.is_empty() || !self.keys.is_old(value))
            {
                continue;
            }
            let [stored, server] = ["stored", "server"].map(|which| scram_place(account, which));
            let again =
                |place: &str, value: &[u8]| self.keys.seal(place, &self.keys.unseal(place, value)?);
            let (stored, server) = (again(&stored, &values[0])?, again(&server, &values[1])?);
            let sql = "UPDATE credential SET scram_stored_key = $2, scram_server_key = $3
                WHERE account_id = $1 AND scram_stored_key = $4";
            let old = values[0].as_slice();
            let new = params![account, stored.as_slice(), server.as_slice(), old];
            tx.execute(sql, new).await?;
        }
        Ok(last)
    }
}

/// Seals the SCRAM keys of some app passwords. Gives the last, or `None` at the end.
struct SealAppPasswords {
    keys: Arc<Keyring>,
    after: (i64, i64),
}

impl Body for SealAppPasswords {
    type Out = Option<(i64, i64)>;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Self::Out, StoreError> {
        let sql = "SELECT account_id, password_id, scram_stored_key, scram_server_key
            FROM app_password
            WHERE account_id > $1 OR (account_id = $1 AND password_id > $2)
            ORDER BY account_id, password_id LIMIT $3";
        let (account, password) = self.after;
        let mut last = None;
        for mut row in tx.rows(sql, params![account, password, PIECE]).await? {
            let (account, id) = (row.int(0)?, row.int(1)?);
            last = Some((account, id));
            let values = [row.bytes(2)?, row.bytes(3)?];
            if values.iter().all(|value| !self.keys.is_old(value)) {
                continue;
            }
            let again = |which, value: &[u8]| {
                let place = app_place(account, id, which);
                self.keys.seal(&place, &self.keys.unseal(&place, value)?)
            };
            let (stored, server) = (again("stored", &values[0])?, again("server", &values[1])?);
            let sql = "UPDATE app_password SET scram_stored_key = $3, scram_server_key = $4
                WHERE account_id = $1 AND password_id = $2 AND scram_stored_key = $5";
            let old = values[0].as_slice();
            let new = params![account, id, stored.as_slice(), server.as_slice(), old];
            tx.execute(sql, new).await?;
        }
        Ok(last)
    }
}

/// Seals some of the keys that sign as domains. Gives the last, or `None` at the end.
struct SealDkimKeys {
    keys: Arc<Keyring>,
    after: (String, String),
}

impl Body for SealDkimKeys {
    type Out = Option<(String, String)>;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Self::Out, StoreError> {
        let sql = "SELECT domain, selector, private_key FROM dkim_key
            WHERE domain > $1 OR (domain = $1 AND selector > $2)
            ORDER BY domain, selector LIMIT $3";
        let (domain, selector) = &self.after;
        let mut last = None;
        for mut row in tx.rows(sql, params![domain, selector, PIECE]).await? {
            let (domain, selector, value) = (row.text(0)?, row.text(1)?, row.bytes(2)?);
            if self.keys.is_old(&value) {
                let place = dkim_place(&domain, &selector);
                let sealed = self.keys.seal(&place, &self.keys.unseal(&place, &value)?)?;
                let sql = "UPDATE dkim_key SET private_key = $3
                    WHERE domain = $1 AND selector = $2 AND private_key = $4";
                let new = params![&domain, &selector, sealed.as_slice(), value.as_slice()];
                tx.execute(sql, new).await?;
            }
            last = Some((domain, selector));
        }
        Ok(last)
    }
}

/// Removes what is sealed.
struct Forget;

impl Body for Forget {
    type Out = u64;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<u64, StoreError> {
        let sql = "SELECT name, value FROM server_secret";
        for mut row in tx.rows(sql, &[]).await? {
            let (name, value) = (row.text(0)?, row.bytes(1)?);
            if key_of(&value).is_some() {
                let sql = "DELETE FROM server_secret WHERE name = $1";
                tx.execute(sql, params![&name]).await?;
            }
        }
        // Every private key is sealed: new ones are made.
        tx.execute("DELETE FROM dkim_key", &[]).await?;
        // The secret that their hashes are made with is gone.
        tx.execute("DELETE FROM app_password", &[]).await?;
        let none: &[u8] = &[];
        // Of all accounts at once: nothing runs on a store without its key.
        let sql = "UPDATE credential SET scram_stored_key = $1, scram_server_key = $1";
        tx.execute(sql, params![none]).await
    }
}
