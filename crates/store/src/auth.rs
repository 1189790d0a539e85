//! Credentials: argon2id for passwords, SCRAM keys made when a password is set.

use base::{AccountId, Secret};

use crate::{Store, StoreError};

/// The server's side of SCRAM-SHA-256 for one login (RFC 5802 §3).
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
}

impl Store {
    /// Checks a login (an address of the account, or its local part when there is one domain) and
    /// its password. `None`: wrong, unknown or disabled; all take the same time.
    pub async fn authenticate(
        &self,
        login: &str,
        password: &Secret,
    ) -> Result<Option<AccountId>, StoreError> {
        todo!()
    }

    /// The SCRAM keys of a login, made up for an unknown one.
    pub async fn scram_keys(&self, login: &str) -> Result<ScramKeys, StoreError> {
        todo!()
    }
}
