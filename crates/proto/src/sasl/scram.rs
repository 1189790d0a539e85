//! SCRAM (RFC 5802) with SHA-256 (RFC 7677) or SHA-1: keys, messages and proofs, shared by client and
//! server.

use std::num::NonZeroU32;

use aws_lc_rs::{constant_time, digest, hmac, pbkdf2};
use base::Secret;

use super::prepare;

/// The hash function of a mechanism.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Algorithm {
    /// 20 bytes.
    Sha1,
    /// 32 bytes.
    Sha256,
}

/// A value of the hash function.
pub(super) type Hash = Vec<u8>;

/// RFC 7677 §4: at least 4,096 iterations.
pub const ITERATIONS_MIN: u32 = 4_096;
/// More than this from a server would only burn a client's time.
pub const ITERATIONS_MAX: u32 = 10_000_000;

/// What a server keeps of a password (RFC 5802 §3): enough to check it, not enough to log in.
#[derive(Clone, Debug)]
pub struct ScramKeys {
    /// The salt, told to the client.
    pub salt: Vec<u8>,
    /// The iteration count, told to the client.
    pub iterations: u32,
    /// `StoredKey`.
    pub stored_key: Secret,
    /// `ServerKey`.
    pub server_key: Secret,
    /// `StoredKey` and `ServerKey` of further passwords with the same salt and count.
    pub also: Vec<[Secret; 2]>,
}

/// The keys of a password. Costs `iterations` HMACs, so it is never called in a session's loop.
#[must_use]
pub fn derive_keys(
    algorithm: Algorithm,
    password: &str,
    salt: &[u8],
    iterations: NonZeroU32,
) -> ScramKeys {
    let salted = algorithm.salted_password(password, salt, iterations);
    ScramKeys {
        salt: salt.to_vec(),
        iterations: iterations.get(),
        stored_key: Secret::new(algorithm.hash(&algorithm.hmac(&salted, b"Client Key"))),
        server_key: Secret::new(algorithm.hmac(&salted, b"Server Key")),
        also: Vec::new(),
    }
}

impl Algorithm {
    /// `SaltedPassword := Hi(Normalize(password), salt, i)`, RFC 5802 §3.
    pub(super) fn salted_password(
        self,
        password: &str,
        salt: &[u8],
        iterations: NonZeroU32,
    ) -> Hash {
        let (algorithm, bytes) = match self {
            Self::Sha1 => (pbkdf2::PBKDF2_HMAC_SHA1, 20),
            Self::Sha256 => (pbkdf2::PBKDF2_HMAC_SHA256, 32),
        };
        let mut salted = vec![0; bytes];
        let password = prepare(password);
        pbkdf2::derive(
            algorithm,
            iterations,
            salt,
            password.as_bytes(),
            &mut salted,
        );
        salted
    }

    pub(super) fn hmac(self, key: &[u8], data: &[u8]) -> Hash {
        let algorithm = match self {
            Self::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha256 => hmac::HMAC_SHA256,
        };
        let tag = hmac::sign(&hmac::Key::new(algorithm, key), data);
        tag.as_ref().to_vec()
    }

    pub(super) fn hash(self, data: &[u8]) -> Hash {
        let algorithm = match self {
            Self::Sha1 => &digest::SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha256 => &digest::SHA256,
        };
        digest::digest(algorithm, data).as_ref().to_vec()
    }

    /// Whether the client's proof fits, in constant time: RFC 5802 §3, `H(ClientProof XOR
    /// ClientSignature) = StoredKey`.
    pub(super) fn proof_is_right(
        self,
        stored_key: &Secret,
        auth_message: &[u8],
        proof: &[u8],
    ) -> bool {
        let signature = self.hmac(stored_key.expose(), auth_message);
        if proof.len() != signature.len() {
            return false;
        }
        let client_key = xor(proof, &signature);
        same(&self.hash(&client_key), stored_key.expose())
    }
}

pub(super) fn xor(a: &[u8], b: &[u8]) -> Hash {
    a.iter().zip(b).map(|(a, b)| a ^ b).collect()
}

/// Equal, in constant time.
pub(super) fn same(a: &[u8], b: &[u8]) -> bool {
    constant_time::verify_slices_are_equal(a, b).is_ok()
}

/// The value of `name=value`, if the attribute has that name.
pub(super) fn attribute(text: &str, name: char) -> Option<&str> {
    text.strip_prefix(name)?.strip_prefix('=')
}

/// `saslname`, RFC 5802 §5.1: `,` and `=` written as `=2C` and `=3D`.
pub(super) fn encode_name(name: &str) -> String {
    name.replace('=', "=3D").replace(',', "=2C")
}

/// The name behind a `saslname`; any other `=` is an error.
pub(super) fn decode_name(text: &str) -> Option<String> {
    let mut name = String::with_capacity(text.len());
    let mut parts = text.split('=');
    name.push_str(parts.next()?);
    for part in parts {
        let (c, rest) = match part.get(..2)? {
            "2C" => (',', &part[2..]),
            "3D" => ('=', &part[2..]),
            _ => return None,
        };
        name.push(c);
        name.push_str(rest);
    }
    (!name.is_empty()).then_some(name)
}

/// RFC 5802 §5.1: a nonce is printable ASCII without a comma.
pub(super) fn is_nonce(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic() && b != b',')
}
