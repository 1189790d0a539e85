//! SCRAM-SHA-256 (RFC 5802 with RFC 7677): keys, messages and proofs, shared by client and server.

use std::num::NonZeroU32;

use aws_lc_rs::{constant_time, digest, hmac, pbkdf2};
use base::Secret;

use super::prepare;

/// A SHA-256 value.
pub type Hash = [u8; 32];

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
}

/// The keys of a password. Costs `iterations` HMACs, so it is never called in a session's loop.
#[must_use]
pub fn derive_keys(password: &str, salt: &[u8], iterations: NonZeroU32) -> ScramKeys {
    let salted = salted_password(password, salt, iterations);
    ScramKeys {
        salt: salt.to_vec(),
        iterations: iterations.get(),
        stored_key: Secret::new(sha256(&hmac(&salted, b"Client Key"))),
        server_key: Secret::new(hmac(&salted, b"Server Key")),
    }
}

/// `SaltedPassword := Hi(Normalize(password), salt, i)`, RFC 5802 §3.
pub(super) fn salted_password(password: &str, salt: &[u8], iterations: NonZeroU32) -> Hash {
    let mut salted = [0; 32];
    pbkdf2::derive(
        pbkdf2::PBKDF2_HMAC_SHA256,
        iterations,
        salt,
        prepare(password).as_bytes(),
        &mut salted,
    );
    salted
}

pub(super) fn hmac(key: &[u8], data: &[u8]) -> Hash {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), data);
    to_hash(tag.as_ref())
}

pub(super) fn sha256(data: &[u8]) -> Hash {
    to_hash(digest::digest(&digest::SHA256, data).as_ref())
}

fn to_hash(bytes: &[u8]) -> Hash {
    let mut hash = [0; 32];
    hash.copy_from_slice(bytes);
    hash
}

pub(super) fn xor(a: &Hash, b: &Hash) -> Hash {
    std::array::from_fn(|i| a[i] ^ b[i])
}

/// Whether the client's proof fits, in constant time: RFC 5802 §3, `H(ClientProof XOR
/// ClientSignature) = StoredKey`.
pub(super) fn proof_is_right(keys: &ScramKeys, auth_message: &[u8], proof: &Hash) -> bool {
    let signature = hmac(keys.stored_key.expose(), auth_message);
    let client_key = xor(proof, &signature);
    same(&sha256(&client_key), keys.stored_key.expose())
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
