//! The client's side of an exchange, for a smarthost and for tests.

use std::fmt;
use std::num::NonZeroU32;

use base::Secret;
use base::ports::ChannelBinding;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::{Algorithm, Mechanism, Needs, prepare, scram};

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
    /// What a mechanism with channel binding is bound to (RFC 9266), where the connection has it.
    exporter: Option<[u8; 32]>,
    state: State,
}

#[derive(Debug)]
enum State {
    Initial(Mechanism, String),
    LoginPassword,
    ScramFirst {
        algorithm: Algorithm,
        /// The `gs2-header` and the data of the channel binding, which `c=` repeats.
        bound: Vec<u8>,
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
            exporter: None,
            state: State::Initial(mechanism, nonce.to_owned()),
        }
    }

    /// Binds the exchange to its connection. With a mechanism that is not bound the server is told that
    /// this client could (RFC 5802 §6), so that it notices if somebody in between hid its better ones.
    #[must_use]
    pub fn bound_to(mut self, channel: &ChannelBinding) -> Self {
        self.exporter = channel.exporter;
        self
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
                let (gs2_header, channel) = self.header_and_channel(mechanism)?;
                let bare = format!("n={},r={nonce}", scram::encode_name(&self.login));
                let message = format!("{gs2_header}{bare}").into_bytes();
                self.state = State::ScramFirst {
                    algorithm,
                    bound: [gs2_header.as_bytes(), channel].concat(),
                    bare,
                    nonce,
                };
                Ok(message)
            }
            State::ScramFirst {
                algorithm,
                bound,
                bare,
                nonce,
            } => self.client_final(algorithm, &bound, (&bare, &nonce), challenge),
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
            // Tokens and certificates are not ours to send.
            State::Initial(
                Mechanism::External | Mechanism::OAuthBearer | Mechanism::XOAuth2,
                _,
            )
            | State::Over => Err(ClientError::Malformed),
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
        bound: &[u8],
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
        let without_proof = format!("c={},r={full_nonce}", BASE64.encode(bound));
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

    /// RFC 5802 §7 `gs2-header`, and the data of the channel binding.
    fn header_and_channel(
        &self,
        mechanism: Mechanism,
    ) -> Result<(&'static str, &[u8]), ClientError> {
        match (mechanism.needs(), &self.exporter) {
            (Needs::KeysAndBinding, Some(exporter)) => Ok(("p=tls-exporter,,", exporter)),
            (Needs::KeysAndBinding, None) => Err(ClientError::Malformed),
            (_, Some(_)) => Ok(("y,,", &[])),
            (_, None) => Ok(("n,,", &[])),
        }
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

#[cfg(test)]
mod tests {
    use super::super::{Binding, Server, ServerStep, scram::derive_keys};
    use super::*;

    const NONCE: &str = "rOprNGfwEbeRWgbNEkqO";

    /// How an exchange between our client and our server ends.
    fn ends(mechanism: Mechanism, client: Option<u8>, server: Option<u8>) -> bool {
        let channel = |mark: Option<u8>| ChannelBinding {
            exporter: mark.map(|mark| [mark; 32]),
            server_end_point: None,
        };
        let mut sends = Client::new(mechanism, "bob", Secret::new(*b"pencil"), NONCE)
            .bound_to(&channel(client));
        let Some(initial) = sends.initial() else {
            return false;
        };
        let binding = Binding {
            offered: server.is_some(),
            channel: channel(server),
        };
        let (mut takes, mut step) = Server::start(mechanism, Some(&initial), binding);
        loop {
            step = match step {
                ServerStep::Lookup { algorithm, .. } => {
                    let iterations = NonZeroU32::new(4_096).unwrap();
                    let keys = derive_keys(algorithm, "pencil", b"salt", iterations);
                    takes.keys(keys, NONCE)
                }
                ServerStep::Challenge(challenge) => match sends.respond(&challenge) {
                    Ok(response) => takes.respond(&response),
                    Err(_) => return false,
                },
                ServerStep::Proved { .. } => return sends.finish(),
                _ => return false,
            };
        }
    }

    /// RFC 5802 §6, RFC 9266: the same connection at both ends, or none.
    #[test]
    fn a_bound_exchange_needs_one_connection() {
        for plus in [Mechanism::ScramSha256Plus, Mechanism::ScramSha1Plus] {
            assert!(ends(plus, Some(7), Some(7)));
            assert!(!ends(plus, Some(7), Some(8)), "somebody sits in between");
            assert!(!ends(plus, None, Some(7)), "nothing to bind to");
        }
        for plain in [Mechanism::ScramSha256, Mechanism::ScramSha1] {
            assert!(ends(plain, None, None));
            assert!(ends(plain, Some(7), None));
            assert!(
                !ends(plain, Some(7), Some(7)),
                "the better ones were hidden"
            );
        }
    }
}
