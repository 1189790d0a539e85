//! The server's side of an exchange.
//!
//! Call [`Server::start`], then obey each [`ServerStep`]: send a challenge and give the answer to
//! [`Server::respond`]; check a password; or look up SCRAM keys and give them to [`Server::keys`].

use base::Secret;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::scram::{self, ScramKeys};
use super::{MESSAGE_BYTES_MAX, Mechanism, prepare};

/// What the driver has to do next.
#[derive(Clone, Debug)]
pub enum ServerStep {
    /// Send this to the client and give its answer to [`Server::respond`].
    Challenge(Vec<u8>),
    /// Check this password. The exchange is over; its result is the driver's.
    Verify {
        /// Whose password it should be.
        login: String,
        /// The password, prepared by SASLprep.
        password: Secret,
    },
    /// Find the SCRAM keys of this login (made-up ones for an unknown login, the same each time)
    /// and give them to [`Server::keys`].
    Lookup {
        /// Whose keys.
        login: String,
    },
    /// The client proved that it knows the password of this login. The exchange is over.
    Proved {
        /// Who it is.
        login: String,
    },
    /// The exchange is over, without success.
    Failed(Failure),
}

/// Why an exchange failed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Failure {
    /// The client's message is not of the mechanism's form.
    Malformed(&'static str),
    /// The proof is wrong: counts as a wrong password of this login.
    WrongProof {
        /// Whose password was not known.
        login: String,
    },
    /// The client wants to act for somebody else than it logs in as.
    OtherIdentity,
}

/// One exchange.
#[derive(Debug)]
pub struct Server(State);

#[derive(Debug)]
enum State {
    Initial(Mechanism),
    LoginPassword { login: String },
    ScramKeys(ScramFirst),
    ScramFinal(Box<ScramFinal>),
    ScramAcknowledge { login: String },
    Over,
}

#[derive(Debug)]
struct ScramFirst {
    login: String,
    /// `gs2-header`, which the final message repeats.
    gs2_header: String,
    client_first_bare: String,
    client_nonce: String,
}

#[derive(Debug)]
struct ScramFinal {
    first: ScramFirst,
    server_first: String,
    nonce: String,
    keys: ScramKeys,
}

impl Server {
    /// Starts an exchange, with the client's initial response if it sent one.
    #[must_use]
    pub fn start(mechanism: Mechanism, initial: Option<&[u8]>) -> (Self, ServerStep) {
        let mut server = Self(State::Initial(mechanism));
        let step = match (initial, mechanism) {
            (Some(response), _) => server.respond(response),
            (None, Mechanism::Login) => ServerStep::Challenge(b"Username:".to_vec()),
            (None, Mechanism::Plain | Mechanism::ScramSha256) => ServerStep::Challenge(Vec::new()),
        };
        (server, step)
    }

    /// Takes the client's answer to a challenge.
    pub fn respond(&mut self, response: &[u8]) -> ServerStep {
        let state = std::mem::replace(&mut self.0, State::Over);
        self.step(state, response)
            .unwrap_or_else(ServerStep::Failed)
    }

    /// Takes the keys that [`ServerStep::Lookup`] asked for, and a nonce: 18 or more random bytes
    /// as base64.
    pub fn keys(&mut self, keys: ScramKeys, server_nonce: &str) -> ServerStep {
        let State::ScramKeys(first) = std::mem::replace(&mut self.0, State::Over) else {
            return ServerStep::Failed(Failure::Malformed("no keys are awaited"));
        };
        let nonce = format!("{}{server_nonce}", first.client_nonce);
        let salt = BASE64.encode(&keys.salt);
        let server_first = format!("r={nonce},s={salt},i={}", keys.iterations);
        let challenge = server_first.clone().into_bytes();
        self.0 = State::ScramFinal(Box::new(ScramFinal {
            first,
            server_first,
            nonce,
            keys,
        }));
        ServerStep::Challenge(challenge)
    }

    fn step(&mut self, state: State, response: &[u8]) -> Result<ServerStep, Failure> {
        if response.len() > MESSAGE_BYTES_MAX {
            return Err(Failure::Malformed("the message is too long"));
        }
        match state {
            State::Initial(Mechanism::Plain) => plain(response),
            State::Initial(Mechanism::Login) => {
                let login = text(response)?.to_owned();
                self.0 = State::LoginPassword { login };
                Ok(ServerStep::Challenge(b"Password:".to_vec()))
            }
            State::LoginPassword { login } => verify(&login, text(response)?),
            State::Initial(Mechanism::ScramSha256) => {
                let first = client_first(text(response)?)?;
                let login = first.login.clone();
                self.0 = State::ScramKeys(first);
                Ok(ServerStep::Lookup { login })
            }
            State::ScramFinal(waiting) => self.client_final(*waiting, text(response)?),
            State::ScramAcknowledge { login } if response.is_empty() => {
                Ok(ServerStep::Proved { login })
            }
            State::ScramAcknowledge { .. } => {
                Err(Failure::Malformed("the last message must be empty"))
            }
            State::ScramKeys(_) | State::Over => Err(Failure::Malformed("no message is awaited")),
        }
    }

    /// RFC 5802 §7 `client-final-message`, answered with `server-final-message`.
    fn client_final(&mut self, waiting: ScramFinal, message: &str) -> Result<ServerStep, Failure> {
        let malformed = Failure::Malformed("not a SCRAM client-final-message");
        let (without_proof, proof) = message
            .rsplit_once(",p=")
            .ok_or_else(|| malformed.clone())?;
        let mut attributes = without_proof.split(',');
        let binding = attributes.next().and_then(|a| scram::attribute(a, 'c'));
        let nonce = attributes.next().and_then(|a| scram::attribute(a, 'r'));
        // RFC 5802 §5.1: c= repeats the gs2-header, r= the whole nonce.
        if binding != Some(&BASE64.encode(&waiting.first.gs2_header))
            || nonce != Some(&waiting.nonce)
        {
            return Err(malformed);
        }
        let proof = BASE64.decode(proof).ok().and_then(|p| p.try_into().ok());
        let auth_message = format!(
            "{},{},{without_proof}",
            waiting.first.client_first_bare, waiting.server_first
        );
        let login = waiting.first.login;
        let right = proof.is_some_and(|proof| {
            scram::proof_is_right(&waiting.keys, auth_message.as_bytes(), &proof)
        });
        if !right {
            return Err(Failure::WrongProof { login });
        }
        let signature = scram::hmac(waiting.keys.server_key.expose(), auth_message.as_bytes());
        self.0 = State::ScramAcknowledge { login };
        let challenge = format!("v={}", BASE64.encode(signature)).into_bytes();
        Ok(ServerStep::Challenge(challenge))
    }
}

/// RFC 4616 §2: `[authzid] UTF8NUL authcid UTF8NUL passwd`.
fn plain(response: &[u8]) -> Result<ServerStep, Failure> {
    let malformed = Failure::Malformed("not a PLAIN message");
    let mut parts = response.split(|b| *b == 0);
    let (Some(identity), Some(login), Some(password), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(malformed);
    };
    let login = text(login)?;
    if !identity.is_empty() && identity != login.as_bytes() {
        return Err(Failure::OtherIdentity);
    }
    verify(login, text(password)?)
}

fn verify(login: &str, password: &str) -> Result<ServerStep, Failure> {
    if login.is_empty() || password.is_empty() {
        return Err(Failure::Malformed("login or password is empty"));
    }
    Ok(ServerStep::Verify {
        login: prepare(login).into_owned(),
        password: Secret::new(prepare(password).as_bytes()),
    })
}

/// RFC 5802 §7: `gs2-header client-first-message-bare`.
fn client_first(message: &str) -> Result<ScramFirst, Failure> {
    let malformed = || Failure::Malformed("not a SCRAM client-first-message");
    let mut parts = message.splitn(3, ',');
    let (flag, identity) = (parts.next(), parts.next().ok_or_else(malformed)?);
    let bare = parts.next().ok_or_else(malformed)?;
    // RFC 5802 §6: "p=" would need channel binding, which is not offered.
    if !matches!(flag, Some("n" | "y")) {
        return Err(Failure::Malformed("channel binding is not offered"));
    }
    let mut attributes = bare.split(',');
    let login = attributes
        .next()
        .and_then(|a| scram::attribute(a, 'n'))
        .and_then(scram::decode_name)
        .ok_or_else(malformed)?;
    let nonce = attributes
        .next()
        .and_then(|a| scram::attribute(a, 'r'))
        .filter(|nonce| scram::is_nonce(nonce))
        .ok_or_else(malformed)?;
    let identity = match identity {
        "" => None,
        given => Some(
            scram::attribute(given, 'a')
                .and_then(scram::decode_name)
                .ok_or_else(malformed)?,
        ),
    };
    if identity.is_some_and(|identity| identity != login) {
        return Err(Failure::OtherIdentity);
    }
    Ok(ScramFirst {
        login: prepare(&login).into_owned(),
        gs2_header: message[..message.len() - bare.len()].to_owned(),
        client_first_bare: bare.to_owned(),
        client_nonce: nonce.to_owned(),
    })
}

fn text(bytes: &[u8]) -> Result<&str, Failure> {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.contains('\0') => Ok(text),
        _ => Err(Failure::Malformed("the message is not UTF-8 text")),
    }
}
