//! Keys that sign as a domain: announced, then signing, then kept a while, then gone.
//!
//! It knows neither how keys are made nor what the DNS says; private keys are sealed in their rows.

use base::{Domain, Secret, Timestamp};

use crate::directory::domain as parse_domain;
use crate::engine::{Body, Priority, Row, Tx, params};
use crate::keys::dkim_place;
use crate::{Store, StoreError};

/// The most keys of a domain: an algorithm's key that signs, the next one, and old ones.
const KEYS_OF_A_DOMAIN_MAX: i64 = 32;

/// What a key is for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum DkimAlgorithm {
    /// RSA with SHA-256.
    Rsa,
    /// Ed25519.
    Ed25519,
}

impl DkimAlgorithm {
    fn number(self) -> i64 {
        match self {
            Self::Rsa => 1,
            Self::Ed25519 => 2,
        }
    }

    fn from_number(number: i64) -> Result<Self, StoreError> {
        match number {
            1 => Ok(Self::Rsa),
            2 => Ok(Self::Ed25519),
            other => Err(StoreError::Bug(format!("a DKIM key of the kind {other}"))),
        }
    }
}

/// Where a key is in its life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DkimState {
    /// Its record is to be published; it does not sign yet.
    Announced,
    /// It signs since then.
    Active(Timestamp),
    /// It has not signed since then; its record is still needed for letters under way.
    Retired(Timestamp),
}

/// A key to keep.
#[derive(Clone, Debug)]
pub struct NewDkimKey {
    /// The domain; must be ours.
    pub domain: Domain,
    /// The selector; unique in the domain.
    pub selector: String,
    /// What it is for.
    pub algorithm: DkimAlgorithm,
    /// The private key, in PKCS #8.
    pub private_key: Secret,
    /// The text of its DNS record.
    pub record: String,
}

/// A key, without its secret.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DkimKeyInfo {
    /// The domain.
    pub domain: Domain,
    /// The selector.
    pub selector: String,
    /// What it is for.
    pub algorithm: DkimAlgorithm,
    /// The text of its DNS record.
    pub record: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// Where it is in its life.
    pub state: DkimState,
}

/// A key that signs.
#[derive(Clone, Debug)]
pub struct DkimKey {
    /// The selector.
    pub selector: String,
    /// What it is for.
    pub algorithm: DkimAlgorithm,
    /// The private key, in PKCS #8.
    pub private_key: Secret,
}

impl Store {
    /// Keeps new keys of a domain. They are announced, or sign at once if the domain has no key of
    /// their kind that signs. Gives those that were not there; a selector that is taken stays.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] for a domain that is not ours, [`StoreError::Invalid`] for too many.
    pub async fn add_dkim_keys(&self, keys: Vec<NewDkimKey>) -> Result<usize, StoreError> {
        let mut rows = Vec::with_capacity(keys.len());
        for key in keys {
            let place = dkim_place(key.domain.as_str(), &key.selector);
            let sealed = self.0.keys.seal(&place, key.private_key.expose())?;
            rows.push((key, sealed));
        }
        let body = AddKeys {
            rows,
            now: self.0.shared.now(),
        };
        self.0.engine.write(body, Priority::Urgent).await
    }

    /// Keys of a domain or of all, by domain and selector.
    ///
    /// # Errors
    /// Those of reading.
    pub async fn dkim_keys(&self, domain: Option<&Domain>) -> Result<Vec<DkimKeyInfo>, StoreError> {
        let domain = domain.map(|domain| domain.as_str().to_owned());
        self.0.engine.read(ReadKeys { domain }).await
    }

    /// The keys that sign as a domain now, with their secrets.
    ///
    /// # Errors
    /// Those of reading, and of the key file.
    pub async fn signing_keys(&self, domain: &Domain) -> Result<Vec<DkimKey>, StoreError> {
        let name = domain.as_str().to_owned();
        let rows = self.0.engine.read(ReadSigning { domain: name }).await?;
        let keyring = &self.0.keys;
        rows.into_iter()
            .map(|(selector, algorithm, sealed)| {
                let place = dkim_place(domain.as_str(), &selector);
                Ok(DkimKey {
                    private_key: Secret::new(keyring.unseal(&place, &sealed)?),
                    selector,
                    algorithm,
                })
            })
            .collect()
    }

    /// Lets an announced key sign; those of its kind that signed until now are retired.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if there is no such announced key.
    pub async fn activate_dkim_key(
        &self,
        domain: &Domain,
        selector: &str,
    ) -> Result<(), StoreError> {
        let body = Activate {
            domain: domain.as_str().to_owned(),
            selector: selector.to_owned(),
            now: self.0.shared.now(),
        };
        self.0.engine.write(body, Priority::Urgent).await
    }

    /// Removes a key at once, whatever it does.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub async fn remove_dkim_key(&self, domain: &Domain, selector: &str) -> Result<(), StoreError> {
        let body = RemoveKey {
            domain: domain.as_str().to_owned(),
            selector: selector.to_owned(),
        };
        self.0.engine.write(body, Priority::Urgent).await
    }

    /// Removes the keys that were retired before a time; how many.
    ///
    /// # Errors
    /// Those of writing.
    pub async fn remove_retired_dkim_keys(&self, before: Timestamp) -> Result<u64, StoreError> {
        let body = RemoveRetired { before };
        self.0.engine.write(body, Priority::Bulk).await
    }
}

struct AddKeys {
    rows: Vec<(NewDkimKey, Vec<u8>)>,
    now: Timestamp,
}

impl Body for AddKeys {
    type Out = usize;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<usize, StoreError> {
        let mut added = 0;
        for (key, sealed) in &self.rows {
            let domain = key.domain.as_str();
            // Whoever else adds keys, or removes the domain, waits.
            let lock = "SELECT 1 FROM domain WHERE name = $1 FOR UPDATE";
            if tx.row(lock, params![domain]).await?.is_none() {
                return Err(StoreError::NotFound("domain"));
            }
            let count = "SELECT count(*) FROM dkim_key WHERE domain = $1";
            if tx.one(count, params![domain]).await?.int(0)? >= KEYS_OF_A_DOMAIN_MAX {
                return Err(StoreError::Invalid(format!(
                    "the domain {domain} has {KEYS_OF_A_DOMAIN_MAX} keys already; remove old ones"
                )));
            }
            let signing = "SELECT count(*) FROM dkim_key
                WHERE domain = $1 AND algorithm = $2 AND active_at IS NOT NULL
                    AND retired_at IS NULL";
            let values = params![domain, key.algorithm.number()];
            let is_first = tx.one(signing, values).await?.int(0)? == 0;
            let active_at = is_first.then_some(self.now.millis());
            let sql = "INSERT INTO dkim_key (domain, selector, algorithm, private_key, record,
                    created_at, active_at, retired_at)
                VALUES ($1, $2, $3, $4, $5, $6, $7, NULL)
                ON CONFLICT (domain, selector) DO NOTHING";
            let values = params![
                domain,
                &key.selector,
                key.algorithm.number(),
                sealed.as_slice(),
                &key.record,
                self.now,
                active_at,
            ];
            added += usize::try_from(tx.execute(sql, values).await?).unwrap_or(0);
        }
        Ok(added)
    }
}

struct ReadKeys {
    domain: Option<String>,
}

impl Body for ReadKeys {
    type Out = Vec<DkimKeyInfo>;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Vec<DkimKeyInfo>, StoreError> {
        let rows = match &self.domain {
            Some(domain) => {
                let sql = "SELECT domain, selector, algorithm, record, created_at, active_at,
                        retired_at
                    FROM dkim_key WHERE domain = $1 ORDER BY selector";
                tx.rows(sql, params![domain]).await?
            }
            None => {
                let sql = "SELECT domain, selector, algorithm, record, created_at, active_at,
                        retired_at
                    FROM dkim_key ORDER BY domain, selector";
                tx.rows(sql, &[]).await?
            }
        };
        rows.into_iter().map(key_info).collect()
    }
}

fn key_info(mut row: Row) -> Result<DkimKeyInfo, StoreError> {
    let state = match (row.maybe_int(5)?, row.maybe_int(6)?) {
        (_, Some(at)) => DkimState::Retired(Timestamp(at)),
        (Some(at), None) => DkimState::Active(Timestamp(at)),
        (None, None) => DkimState::Announced,
    };
    Ok(DkimKeyInfo {
        domain: parse_domain(&row.text(0)?)?,
        selector: row.text(1)?,
        algorithm: DkimAlgorithm::from_number(row.int(2)?)?,
        record: row.text(3)?,
        created_at: row.time(4)?,
        state,
    })
}

struct ReadSigning {
    domain: String,
}

impl Body for ReadSigning {
    type Out = Vec<(String, DkimAlgorithm, Vec<u8>)>;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Self::Out, StoreError> {
        let sql = "SELECT selector, algorithm, private_key FROM dkim_key
            WHERE domain = $1 AND active_at IS NOT NULL AND retired_at IS NULL
            ORDER BY algorithm, selector";
        let rows = tx.rows(sql, params![&self.domain]).await?;
        rows.into_iter()
            .map(|mut row| {
                let algorithm = DkimAlgorithm::from_number(row.int(1)?)?;
                Ok((row.text(0)?, algorithm, row.bytes(2)?))
            })
            .collect()
    }
}

struct Activate {
    domain: String,
    selector: String,
    now: Timestamp,
}

impl Body for Activate {
    type Out = ();

    async fn run(&self, tx: &mut Tx<'_>) -> Result<(), StoreError> {
        let lock = "SELECT 1 FROM domain WHERE name = $1 FOR UPDATE";
        tx.lock(lock, params![&self.domain]).await?;
        let sql = "UPDATE dkim_key SET active_at = $3
            WHERE domain = $1 AND selector = $2 AND active_at IS NULL RETURNING algorithm";
        let values = params![&self.domain, &self.selector, self.now];
        let Some(row) = tx.row(sql, values).await? else {
            return Err(StoreError::NotFound("announced DKIM key"));
        };
        let retire = "UPDATE dkim_key SET retired_at = $4
            WHERE domain = $1 AND selector <> $2 AND algorithm = $3 AND active_at IS NOT NULL
                AND retired_at IS NULL";
        let values = params![&self.domain, &self.selector, row.int(0)?, self.now];
        tx.execute(retire, values).await?;
        Ok(())
    }
}

struct RemoveKey {
    domain: String,
    selector: String,
}

impl Body for RemoveKey {
    type Out = ();

    async fn run(&self, tx: &mut Tx<'_>) -> Result<(), StoreError> {
        let sql = "DELETE FROM dkim_key WHERE domain = $1 AND selector = $2";
        match tx
            .execute(sql, params![&self.domain, &self.selector])
            .await?
        {
            0 => Err(StoreError::NotFound("DKIM key")),
            _ => Ok(()),
        }
    }
}

struct RemoveRetired {
    before: Timestamp,
}

impl Body for RemoveRetired {
    type Out = u64;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<u64, StoreError> {
        let sql = "DELETE FROM dkim_key WHERE retired_at < $1";
        tx.execute(sql, params![self.before]).await
    }
}
