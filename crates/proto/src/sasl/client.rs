//! The client's side of an exchange, for a smarthost and for tests.

use std::fmt;
use std::num::NonZeroU32;

use base::Secret;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::{Algorithm, Mechanism, prepare, scram};

/// The server broke the exchange, or is not who it says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ClientError {
    /// A message that is not of the mechanism's form.
    Malformed,
    /// A SCRAM iteration count below 4,096 or absurdly high.
    BadIterations,
    /// The server does not know the password's keys: it is not the right server.
    WrongServerSignature,
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "the server's message breaks the mechanism's form",
            Self::BadIterations => "the server asks for an unacceptable iteration count",
            Self::WrongServerSignature => "the server could not prove that it knows the account",
        })
    }
}

impl std::error::Error for ClientError {}

/// One exchange: send [`Client::initial`] (or wait for an empty challenge), then answer each
/// challenge with [`Client::respond`]; on the server's success, [`Client::finish`] tells whether
/// the server may be believed.
#[derive(Debug)]
pub struct Client {
    login: String,
    password: Secret,
    state: State,
}

#[derive(Debug)]
enum State {
    Initial(Mechanism, String),
    LoginPassword,
    ScramFirst {
        algorithm: Algorithm,
        bare: String,
        nonce: String,
    },
    ScramFinal {
        server_signature: scram::Hash,
    },
    Over,
}

impl Client {
    /// An exchange as `login`. `nonce` is used by SCRAM: 18 or more random bytes as base64.
    #[must_use]
    pub fn new(mechanism: Mechanism, login: &str, password: Secret, nonce: &str) -> Self {
        Self {
            login: prepare(login).into_owned(),
            password,
            state: State::Initial(mechanism, nonce.to_owned()),
        }
    }

    /// The initial response; LOGIN has none.
    pub fn initial(&mut self) -> Option<Vec<u8>> {
        match &self.state {
            State::Initial(Mechanism::Login, _) => None,
            _ => self.respond(b"").ok(),
        }
    }

    /// The answer to a challenge.
    ///
    /// # Errors
    /// [`ClientError`] says how the server broke the exchange; then it must be cancelled.
    pub fn respond(&mut self, challenge: &[u8]) -> Result<Vec<u8>, ClientError> {
        match std::mem::replace(&mut self.state, State::Over) {
            State::Initial(Mechanism::Plain, _) => {
                let mut message = format!("\0{}\0", self.login).into_bytes();
                message.extend_from_slice(&self.prepared_password());
                Ok(message)
            }
            State::Initial(Mechanism::Login, _) => {
                self.state = State::LoginPassword;
                Ok(self.login.clone().into_bytes())
            }
            State::LoginPassword => Ok(self.prepared_password()),
            // RFC 5802 §6: without channel binding.
            State::Initial(
                mechanism @ (Mechanism::ScramSha256
                | Mechanism::ScramSha1
                | Mechanism::ScramSha256Plus
                | Mechanism::ScramSha1Plus),
                nonce,
            ) => {
                let algorithm = match mechanism {
                    Mechanism::ScramSha1 | Mechanism::ScramSha1Plus => Algorithm::Sha1,
                    _ => Algorithm::Sha256,
                };
                let bare = format!("n={},r={nonce}", scram::encode_name(&self.login));
                let message = format!("n,,{bare}").into_bytes();
                self.state = State::ScramFirst {
                    algorithm,
                    bare,
                    nonce,
                };
                Ok(message)
            }
            State::ScramFirst {
                algorithm,
                bare,
                nonce,
            } => self.client_final(algorithm, (&bare, &nonce), challenge),
            State::ScramFinal { server_signature } => {
                let signature = std::str::from_utf8(challenge)
                    .ok()
                    .and_then(|text| scram::attribute(text, 'v'))
                    .and_then(|value| BASE64.decode(value).ok())
                    .ok_or(ClientError::Malformed)?;
                if scram::same(&signature, &server_signature) {
                    Ok(Vec::new())
                } else {
                    Err(ClientError::WrongServerSignature)
                }
            }
            // Tokens are not ours to send.
            State::Initial(Mechanism::OAuthBearer | Mechanism::XOAuth2, _) | State::Over => {
                Err(ClientError::Malformed)
            }
        }
    }

    /// Whether a success that the server tells now may be believed: with SCRAM only after its
    /// signature was right.
    #[must_use]
    pub fn finish(&self) -> bool {
        matches!(self.state, State::Over)
    }

    fn client_final(
        &mut self,
        algorithm: Algorithm,
        (bare, nonce): (&str, &str),
        challenge: &[u8],
    ) -> Result<Vec<u8>, ClientError> {
        let server_first = std::str::from_utf8(challenge).map_err(|_| ClientError::Malformed)?;
        let (full_nonce, salt, iterations) =
            parse_server_first(server_first, nonce).ok_or(ClientError::Malformed)?;
        if !(scram::ITERATIONS_MIN..=scram::ITERATIONS_MAX).contains(&iterations.get()) {
            return Err(ClientError::BadIterations);
        }
        let password = self.password.expose_str().ok_or(ClientError::Malformed)?;
        let salted = algorithm.salted_password(password, &salt, iterations);
        // "biws" is base64 of the gs2-header "n,,".
        let without_proof = format!("c=biws,r={full_nonce}");
        let auth_message = format!("{bare},{server_first},{without_proof}");
        let client_key = algorithm.hmac(&salted, b"Client Key");
        let signature = algorithm.hmac(&algorithm.hash(&client_key), auth_message.as_bytes());
        let proof = BASE64.encode(scram::xor(&client_key, &signature));
        let server_key = algorithm.hmac(&salted, b"Server Key");
        self.state = State::ScramFinal {
            server_signature: algorithm.hmac(&server_key, auth_message.as_bytes()),
        };
        Ok(format!("{without_proof},p={proof}").into_bytes())
    }

    fn prepared_password(&self) -> Vec<u8> {
        match self.password.expose_str() {
            Some(text) => prepare(text).as_bytes().to_vec(),
            None => self.password.expose().to_vec(),
        }
    }
}

/// RFC 5802 §7 `server-first-message`: nonce (which must continue ours), salt, iterations.
fn parse_server_first<'a>(message: &'a str, nonce: &str) -> Option<(&'a str, Vec<u8>, NonZeroU32)> {
    let mut attributes = message.split(',');
    let full_nonce = scram::attribute(attributes.next()?, 'r')?;
    let longer = full_nonce.len() > nonce.len() && full_nonce.starts_with(nonce);
    if !longer || !scram::is_nonce(full_nonce) {
        return None;
    }
    let salt = BASE64
        .decode(scram::attribute(attributes.next()?, 's')?)
        .ok()?;
    let iterations = scram::attribute(attributes.next()?, 'i')?.parse().ok()?;
    Some((full_nonce, salt, iterations))
}
