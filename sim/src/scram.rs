//! SCRAM-SHA-256 as a client (RFC 5802, RFC 7677), of our own. Like a mail program it remembers what
//! it made of a password and a salt (RFC 5802 §5.1 lets it): ten thousand hashes for each letter
//! would be half the cost of a world.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};

use aws_lc_rs::{digest, hmac, pbkdf2};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

/// Nobody listens in who could use it again.
const NONCE: &str = "c2ltdWxhdGVkIG5vbmNlIG9mIGEgdXNlcg==";
/// The base64 of `n,,`: no channel binding.
const NO_BINDING: &str = "biws";

/// Password, salt, and how often it is hashed.
type Question = (String, Vec<u8>, NonZeroU32);

/// `SaltedPassword` by what it is made from; nothing in it depends on a world.
static SALTED: Mutex<BTreeMap<Question, [u8; 32]>> = Mutex::new(BTreeMap::new());

/// The `client-first-message` of a user.
#[must_use]
pub fn first(user: &str) -> String {
    format!("n,,{}", bare(user))
}

fn bare(user: &str) -> String {
    let user = user.replace('=', "=3D").replace(',', "=2C");
    format!("n={user},r={NONCE}")
}

/// The answer to the server's first message, and the message that shows that the server knows the
/// password too; `None` if the server's message is none.
#[must_use]
pub fn last(user: &str, password: &str, server_first: &str) -> Option<(String, String)> {
    let attribute = |name| {
        server_first
            .split(',')
            .find_map(|part| part.strip_prefix(name))
    };
    let nonce: &str = attribute("r=").filter(|nonce| nonce.starts_with(NONCE))?;
    let salt = BASE64.decode(attribute("s=")?).ok()?;
    let iterations = attribute("i=")?.parse().ok()?;
    let salted = salted((password.to_owned(), salt, iterations));
    let without_proof = format!("c={NO_BINDING},r={nonce}");
    let said = format!("{},{server_first},{without_proof}", bare(user));
    let client_key = hmac(&salted, b"Client Key");
    let stored_key = digest::digest(&digest::SHA256, client_key.as_ref());
    let signature = hmac(stored_key.as_ref(), said.as_bytes());
    let both = client_key.as_ref().iter().zip(signature.as_ref());
    let proof: Vec<u8> = both.map(|(key, signature)| key ^ signature).collect();
    let server_key = hmac(&salted, b"Server Key");
    let proven = hmac(server_key.as_ref(), said.as_bytes());
    Some((
        format!("{without_proof},p={}", BASE64.encode(proof)),
        format!("v={}", BASE64.encode(proven)),
    ))
}

fn salted(question: Question) -> [u8; 32] {
    let mut known = SALTED.lock().unwrap_or_else(PoisonError::into_inner);
    *known.entry(question).or_insert_with_key(|question| {
        let (password, salt, iterations) = question;
        let (mut salted, password) = ([0; 32], password.as_bytes());
        pbkdf2::derive(
            pbkdf2::PBKDF2_HMAC_SHA256,
            *iterations,
            salt,
            password,
            &mut salted,
        );
        salted
    })
}

fn hmac(key: &[u8], data: &[u8]) -> hmac::Tag {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), data)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The keys of the example in RFC 7677 §3; its nonce is another.
    #[test]
    fn the_password_of_the_example_is_salted_as_it_says() {
        let salt = BASE64.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        let iterations = NonZeroU32::new(4_096).unwrap();
        let salted = salted(("pencil".to_owned(), salt, iterations));
        let said = "n=user,r=rOprNGfwEbeRWgbNEkqO,r=rOprNGfwEbeRWgbNEkqO\
                    %hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,c=biws,\
                    r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
        let server_key = hmac(&salted, b"Server Key");
        let proven = hmac(server_key.as_ref(), said.as_bytes());
        assert_eq!(
            BASE64.encode(proven.as_ref()),
            "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
        );
    }

    #[test]
    fn a_server_that_changes_the_nonce_is_not_answered() {
        assert_eq!(
            last("u", "p", "r=another,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"),
            None
        );
    }
}
