//! The key of the store's secrets: it lies in a file outside the database, so that a copy of the
//! database alone gives nobody the means to log in as somebody or to sign as a domain.
//!
//! What is sealed: every value of `server_secret`, the private keys of `dkim_key`, and of credentials the SCRAM keys (who has them
//! can play the server, and with one overheard login the client). Password hashes are not: they
//! are made to be seen. A sealed value is a magic, the id of its key, a nonce, and what AES-256-GCM
//! gives, bound to the place where the value belongs, so that values cannot be exchanged.
//!
//! The file is text: a line `key ID BASE64` for each key. The first one seals; all of them open.
//! Nodes that share a store have the same file. A value with an unknown key makes the file be read
//! again, so that a node sees a key that was added while it runs.

mod file;
mod reseal;

pub(crate) use reseal::{
    KeepServerSecret, app_place, dkim_place, forget, open_keys, scram_place, secret_place,
};

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use base::ports::Entropy;

use crate::StoreError;
use file::KeyLine;

/// The start of a sealed value.
const MAGIC: &[u8; 4] = b"PBS1";
/// Bytes before what the cipher gives.
const HEAD_BYTES: usize = 4 + 8 + NONCE_LEN;

/// The keys of a store.
pub(crate) struct Keyring {
    path: PathBuf,
    keys: RwLock<Vec<KeyLine>>,
    entropy: Arc<dyn Entropy>,
}

impl Keyring {
    /// Reads the file; without one there are no keys.
    pub(crate) fn load(path: PathBuf, entropy: Arc<dyn Entropy>) -> Result<Self, StoreError> {
        let keys = RwLock::new(file::read(&path)?);
        Ok(Self {
            path,
            keys,
            entropy,
        })
    }

    /// The file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether there is a key at all.
    pub(crate) fn is_empty(&self) -> bool {
        self.lines().is_empty()
    }

    /// The id of the key that seals.
    pub(crate) fn current_id(&self) -> String {
        self.lines()
            .first()
            .map_or_else(String::new, |line| file::id_text(&line.id))
    }

    /// What the file says.
    pub(crate) fn text(&self) -> Result<String, StoreError> {
        Ok(file::text(&self.lines()))
    }

    /// Makes the file with its first key, unless another node has made it meanwhile; whether it was
    /// made.
    fn make(&self) -> Result<bool, StoreError> {
        let mut secret = [0; 32];
        self.entropy.fill(&mut secret);
        let made = file::create(&self.path, &[KeyLine::new(secret)])?;
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = file::read(&self.path)?;
        Ok(made)
    }

    /// Makes a new key the first one; the file is on disk then.
    fn add_new(&self) -> Result<(), StoreError> {
        let mut secret = [0; 32];
        self.entropy.fill(&mut secret);
        let mut lines = self.lines();
        lines.insert(0, KeyLine::new(secret));
        self.keep(lines)
    }

    /// Leaves only the key that seals.
    fn drop_old(&self) -> Result<(), StoreError> {
        let mut lines = self.lines();
        lines.truncate(1);
        self.keep(lines)
    }

    fn keep(&self, lines: Vec<KeyLine>) -> Result<(), StoreError> {
        file::write(&self.path, &lines)?;
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = lines;
        Ok(())
    }

    fn lines(&self) -> Vec<KeyLine> {
        self.keys
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn line(&self, id: &[u8]) -> Option<KeyLine> {
        self.lines().into_iter().find(|line| line.id == id)
    }

    /// Seals a value for a place.
    pub(crate) fn seal(&self, place: &str, plain: &[u8]) -> Result<Vec<u8>, StoreError> {
        let line = self.lines().into_iter().next();
        let line =
            line.ok_or_else(|| StoreError::Bug("there is no key to seal with".to_owned()))?;
        let mut nonce = [0; NONCE_LEN];
        self.entropy.fill(&mut nonce);
        let mut sealed = MAGIC.to_vec();
        sealed.extend_from_slice(&line.id);
        sealed.extend_from_slice(&nonce);
        let mut content = plain.to_vec();
        let nonce = Nonce::assume_unique_for_key(nonce);
        cipher(&line)?
            .seal_in_place_append_tag(nonce, Aad::from(place.as_bytes()), &mut content)
            .map_err(|_| StoreError::Bug("a secret cannot be sealed".to_owned()))?;
        sealed.extend_from_slice(&content);
        Ok(sealed)
    }

    /// Opens a value of a place. One that is not sealed is as it was before values were sealed.
    ///
    /// # Errors
    /// [`StoreError::Io`] when its key is not in the file, or it was changed or belongs elsewhere.
    pub(crate) fn unseal(&self, place: &str, value: &[u8]) -> Result<Vec<u8>, StoreError> {
        let Some(id) = key_of(value) else {
            return Ok(value.to_vec());
        };
        let line = match self.line(id) {
            Some(line) => line,
            None => {
                let lines = file::read(&self.path)?;
                *self.keys.write().unwrap_or_else(PoisonError::into_inner) = lines;
                self.line(id).ok_or_else(|| self.missing(id))?
            }
        };
        let (head, content) = value.split_at(HEAD_BYTES);
        let mut nonce = [0; NONCE_LEN];
        nonce.copy_from_slice(&head[12..]);
        let nonce = Nonce::assume_unique_for_key(nonce);
        let mut content = content.to_vec();
        let opened = cipher(&line)?.open_in_place(nonce, Aad::from(place.as_bytes()), &mut content);
        opened.map(|plain| plain.to_vec()).map_err(|_| {
            StoreError::Io(format!(
                "the secret \"{place}\" was changed, or the key {} in {} is not the one it was sealed with",
                file::id_text(id),
                self.path.display()
            ))
        })
    }

    /// Whether a value is to be sealed (again) with the key that seals now.
    fn is_old(&self, value: &[u8]) -> bool {
        let lines = self.lines();
        key_of(value).is_none_or(|id| lines.first().is_none_or(|line| line.id != id))
    }

    /// That a key is missing, and the way out.
    fn missing(&self, id: &[u8]) -> StoreError {
        let there = match self.lines().first() {
            Some(line) => format!("has the key {}", file::id_text(&line.id)),
            None => "does not exist".to_owned(),
        };
        StoreError::Invalid(format!(
            "the secrets in the store are sealed with the key {}, and the key file {} {there}: \
             put the right file there (other nodes of this store have it, and so has a backup made \
             with --with-key), or give the sealed secrets up with `pennyblack store key forget`",
            file::id_text(id),
            self.path.display(),
        ))
    }

    /// Whether this key is in the file.
    pub(crate) fn has(&self, id: &str) -> bool {
        self.lines()
            .iter()
            .any(|line| file::id_text(&line.id) == id)
    }

    /// Adds the keys of another file behind those that are there.
    pub(crate) fn add_text(&self, text: &str, from: &Path) -> Result<(), StoreError> {
        let mut lines = self.lines();
        for line in file::parse(text, from)? {
            if lines.iter().all(|known| known.id != line.id) {
                lines.push(line);
            }
        }
        self.keep(lines)
    }
}

/// The id of the key of a value; `None` if it is not sealed.
fn key_of(value: &[u8]) -> Option<&[u8]> {
    let is_sealed = value.starts_with(MAGIC) && value.len() >= HEAD_BYTES + AES_256_GCM.tag_len();
    is_sealed.then(|| &value[4..12])
}

fn cipher(line: &KeyLine) -> Result<LessSafeKey, StoreError> {
    let key = UnboundKey::new(&AES_256_GCM, line.secret.expose());
    let key = key.map_err(|_| StoreError::Bug("a key of the wrong length".to_owned()))?;
    Ok(LessSafeKey::new(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Counting(std::sync::atomic::AtomicU8);

    impl Entropy for Counting {
        fn fill(&self, buffer: &mut [u8]) {
            buffer.fill(self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed));
        }
    }

    fn ring(folder: &Path) -> Keyring {
        let entropy = Arc::new(Counting(1.into()));
        Keyring::load(folder.join("store.key"), entropy).unwrap()
    }

    #[test]
    fn sealed_values_belong_to_their_place_and_key() {
        let folder = tempfile::tempdir().unwrap();
        let keys = ring(folder.path());
        keys.add_new().unwrap();
        let sealed = keys.seal("a", b"secret").unwrap();
        assert_eq!(keys.unseal("a", &sealed).unwrap(), b"secret");
        assert!(matches!(keys.unseal("b", &sealed), Err(StoreError::Io(_))));
        let mut changed = sealed.clone();
        *changed.last_mut().unwrap() ^= 1;
        assert!(keys.unseal("a", &changed).is_err());
        assert_eq!(keys.unseal("a", b"plain").unwrap(), b"plain");
        // Another key seals from now on; the old one still opens, until it is dropped.
        keys.add_new().unwrap();
        assert!(keys.is_old(&sealed) && keys.is_old(b"plain"));
        assert_eq!(keys.unseal("a", &sealed).unwrap(), b"secret");
        keys.drop_old().unwrap();
        let error = keys.unseal("a", &sealed).unwrap_err().to_string();
        assert!(error.contains("store key forget"), "{error}");
    }

    #[test]
    fn a_file_that_changed_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let (one, two) = (ring(folder.path()), ring(folder.path()));
        one.add_new().unwrap();
        let sealed = one.seal("a", b"secret").unwrap();
        assert_eq!(two.unseal("a", &sealed).unwrap(), b"secret");
    }

    #[test]
    fn the_file_is_for_its_owner_and_mistakes_are_told() {
        use std::os::unix::fs::PermissionsExt as _;

        let folder = tempfile::tempdir().unwrap();
        let keys = ring(folder.path());
        keys.add_new().unwrap();
        let path = folder.path().join("store.key");
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        std::fs::write(&path, "key 00 x\n").unwrap();
        let again = Keyring::load(path, Arc::new(Counting(1.into())));
        assert!(again.err().unwrap().to_string().contains("store.key"));
    }
}
