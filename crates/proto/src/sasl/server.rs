//! The server's side of an exchange.
//!
//! Call [`Server::start`], then obey each [`ServerStep`]: send a challenge and give the answer to
//! [`Server::respond`]; check a password; or look up SCRAM keys and give them to [`Server::keys`].

use base::Secret;
use base::ports::ChannelBinding;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::scram::{self, ScramKeys};
use super::{Algorithm, MESSAGE_BYTES_MAX, Mechanism, oauth, prepare};

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
        /// Made with which hash function.
        algorithm: Algorithm,
    },
    /// Check this access token. If it stands for the login (or for any, where none is named), the
    /// exchange is over; otherwise say so with [`Server::token_refused`].
    Token {
        /// Whose token it should be, if the client says.
        login: Option<String>,
        /// The token.
        token: Secret,
    },
    /// Find whom the client's certificate stands for. The exchange is over; its result is the
    /// driver's.
    External {
        /// Whom the client wants to act as; `None`: whom the certificate names.
        identity: Option<String>,
    },
    /// The client proved that it knows a password of this login. The exchange is over.
    Proved {
        /// Who it is.
        login: String,
        /// Which password: 0 for the first, then those of [`ScramKeys::also`].
        which: usize,
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
pub struct Server {
    state: State,
    binding: Binding,
}

/// What the exchange knows of the connection.
#[derive(Clone, Debug, Default)]
pub struct Binding {
    /// What a client may bind to.
    pub channel: ChannelBinding,
    /// A mechanism with channel binding is offered beside this one: a client that believes that it
    /// is not has been told so by somebody in between (RFC 5802 §6).
    pub offered: bool,
}

#[derive(Debug)]
enum State {
    Initial(Mechanism),
    LoginPassword {
        login: String,
    },
    ScramKeys(ScramFirst),
    ScramFinal(Box<ScramFinal>),
    ScramAcknowledge {
        login: String,
        which: usize,
    },
    /// The error of a token was told; the client's answer ends it.
    TokenRefused {
        login: Option<String>,
    },
    Over,
}

#[derive(Debug)]
struct ScramFirst {
    algorithm: Algorithm,
    login: String,
    /// The data of the channel binding that the client has chosen.
    channel: Vec<u8>,
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
    pub fn start(
        mechanism: Mechanism,
        initial: Option<&[u8]>,
        binding: Binding,
    ) -> (Self, ServerStep) {
        let mut server = Self {
            state: State::Initial(mechanism),
            binding,
        };
        let step = match (initial, mechanism) {
            (Some(response), _) => server.respond(response),
            (None, Mechanism::Login) => ServerStep::Challenge(b"Username:".to_vec()),
            (None, _) => ServerStep::Challenge(Vec::new()),
        };
        (server, step)
    }

    /// Says that the token is not valid (RFC 7628 §3.2.2): the client is told, and its answer to
    /// that ends the exchange.
    pub fn token_refused(&mut self) -> ServerStep {
        let State::TokenRefused { .. } = self.state else {
            return ServerStep::Failed(Failure::Malformed("no token is awaited"));
        };
        ServerStep::Challenge(br#"{"status":"invalid_token"}"#.to_vec())
    }

    /// Takes the client's answer to a challenge.
    pub fn respond(&mut self, response: &[u8]) -> ServerStep {
        let state = std::mem::replace(&mut self.state, State::Over);
        self.step(state, response)
            .unwrap_or_else(ServerStep::Failed)
    }

    /// Takes the keys that [`ServerStep::Lookup`] asked for, and a nonce: 18 or more random bytes
    /// as base64.
    pub fn keys(&mut self, keys: ScramKeys, server_nonce: &str) -> ServerStep {
        let State::ScramKeys(first) = std::mem::replace(&mut self.state, State::Over) else {
            return ServerStep::Failed(Failure::Malformed("no keys are awaited"));
        };
        let nonce = format!("{}{server_nonce}", first.client_nonce);
        let salt = BASE64.encode(&keys.salt);
        let server_first = format!("r={nonce},s={salt},i={}", keys.iterations);
        let challenge = server_first.clone().into_bytes();
        self.state = State::ScramFinal(Box::new(ScramFinal {
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
                self.state = State::LoginPassword { login };
                Ok(ServerStep::Challenge(b"Password:".to_vec()))
            }
            // RFC 4422 appendix A.1: an authorization identity or nothing.
            State::Initial(Mechanism::External) => {
                let identity = Some(text(response)?).filter(|text| !text.is_empty());
                let identity = identity.map(|text| prepare(text).into_owned());
                Ok(ServerStep::External { identity })
            }
            State::LoginPassword { login } => verify(&login, text(response)?),
            State::Initial(Mechanism::ScramSha256) => {
                self.scram(response, Algorithm::Sha256, false)
            }
            State::Initial(Mechanism::ScramSha256Plus) => {
                self.scram(response, Algorithm::Sha256, true)
            }
            State::Initial(Mechanism::ScramSha1) => self.scram(response, Algorithm::Sha1, false),
            State::Initial(Mechanism::ScramSha1Plus) => self.scram(response, Algorithm::Sha1, true),
            State::Initial(mechanism @ (Mechanism::OAuthBearer | Mechanism::XOAuth2)) => {
                let (login, token) = match mechanism {
                    Mechanism::OAuthBearer => oauth::bearer(text(response)?),
                    _ => oauth::xoauth2(text(response)?),
                }
                .ok_or(Failure::Malformed("not a message with a token"))?;
                let login = login.map(|login| prepare(&login).into_owned());
                self.state = State::TokenRefused {
                    login: login.clone(),
                };
                Ok(ServerStep::Token { login, token })
            }
            State::TokenRefused { login } => Err(Failure::WrongProof {
                login: login.unwrap_or_default(),
            }),
            State::ScramFinal(waiting) => self.client_final(&waiting, text(response)?),
            State::ScramAcknowledge { login, which } if response.is_empty() => {
                Ok(ServerStep::Proved { login, which })
            }
            State::ScramAcknowledge { .. } => {
                Err(Failure::Malformed("the last message must be empty"))
            }
            State::ScramKeys(_) | State::Over => Err(Failure::Malformed("no message is awaited")),
        }
    }

    fn scram(
        &mut self,
        response: &[u8],
        algorithm: Algorithm,
        bound: bool,
    ) -> Result<ServerStep, Failure> {
        let first = client_first(text(response)?, algorithm, bound, &self.binding)?;
        let login = first.login.clone();
        self.state = State::ScramKeys(first);
        Ok(ServerStep::Lookup { login, algorithm })
    }

    /// RFC 5802 §7 `client-final-message`, answered with `server-final-message`.
    fn client_final(&mut self, waiting: &ScramFinal, message: &str) -> Result<ServerStep, Failure> {
        let malformed = Failure::Malformed("not a SCRAM client-final-message");
        let (without_proof, proof) = message
            .rsplit_once(",p=")
            .ok_or_else(|| malformed.clone())?;
        let mut attributes = without_proof.split(',');
        let binding = attributes.next().and_then(|a| scram::attribute(a, 'c'));
        let nonce = attributes.next().and_then(|a| scram::attribute(a, 'r'));
        let (algorithm, login) = (waiting.first.algorithm, waiting.first.login.clone());
        // RFC 5802 §5.1: c= repeats the gs2-header with the data of the channel, r= the whole nonce.
        let mut channel = waiting.first.gs2_header.clone().into_bytes();
        channel.extend_from_slice(&waiting.first.channel);
        let binding = binding.and_then(|text| BASE64.decode(text).ok());
        let binding = binding.ok_or_else(|| malformed.clone())?;
        if nonce != Some(&waiting.nonce) {
            return Err(malformed);
        }
        if !scram::same(&binding, &channel) {
            // Of another connection: somebody sits in between, and is told no more than others.
            return match waiting.first.channel.is_empty() {
                true => Err(malformed),
                false => Err(Failure::WrongProof { login }),
            };
        }
        let proof = BASE64.decode(proof).ok();
        let auth_message = format!(
            "{},{},{without_proof}",
            waiting.first.client_first_bare, waiting.server_first
        );
        let own = [&waiting.keys.stored_key, &waiting.keys.server_key];
        let also = waiting
            .keys
            .also
            .iter()
            .map(|[stored, server]| [stored, server]);
        // All have one salt, so that the proof tells which it was made with.
        let found = std::iter::once(own)
            .chain(also)
            .enumerate()
            .find(|(_, [stored, _])| {
                proof.as_ref().is_some_and(|proof| {
                    algorithm.proof_is_right(stored, auth_message.as_bytes(), proof)
                })
            });
        let Some((which, [_, server_key])) = found else {
            return Err(Failure::WrongProof { login });
        };
        let signature = algorithm.hmac(server_key.expose(), auth_message.as_bytes());
        self.state = State::ScramAcknowledge { login, which };
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
fn client_first(
    message: &str,
    algorithm: Algorithm,
    bound: bool,
    binding: &Binding,
) -> Result<ScramFirst, Failure> {
    let malformed = || Failure::Malformed("not a SCRAM client-first-message");
    let mut parts = message.splitn(3, ',');
    let (flag, identity) = (parts.next(), parts.next().ok_or_else(malformed)?);
    let bare = parts.next().ok_or_else(malformed)?;
    let channel = chosen_channel(flag.unwrap_or_default(), bound, binding)?;
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
        algorithm,
        channel,
        login: prepare(&login).into_owned(),
        gs2_header: message[..message.len() - bare.len()].to_owned(),
        client_first_bare: bare.to_owned(),
        client_nonce: nonce.to_owned(),
    })
}

/// The data of the channel binding that the client has chosen (RFC 5802 §6, §7 `gs2-cbind-flag`);
/// empty for none.
fn chosen_channel(flag: &str, bound: bool, binding: &Binding) -> Result<Vec<u8>, Failure> {
    match (flag, flag.strip_prefix("p=")) {
        ("n", _) if !bound => Ok(Vec::new()),
        ("y", _) if !bound && !binding.offered => Ok(Vec::new()),
        ("y", _) if !bound => Err(Failure::Malformed(
            "the client did not see that channel binding is offered",
        )),
        (_, Some(name)) if bound => {
            let data = binding.channel.data(name).map(<[u8]>::to_vec);
            data.ok_or(Failure::Malformed("this channel binding is not there"))
        }
        (_, Some(_)) => Err(Failure::Malformed(
            "channel binding needs a -PLUS mechanism",
        )),
        _ if bound => Err(Failure::Malformed(
            "a -PLUS mechanism needs channel binding",
        )),
        _ => Err(Failure::Malformed("not a SCRAM client-first-message")),
    }
}

fn text(bytes: &[u8]) -> Result<&str, Failure> {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.contains('\0') => Ok(text),
        _ => Err(Failure::Malformed("the message is not UTF-8 text")),
    }
}
