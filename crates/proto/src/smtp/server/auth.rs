//! AUTH: RFC 4954.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::BufMut;

use super::{Event, Mode, Reply, Role, Server, Step, Waiting};
use crate::sasl::{self, Failure, Mechanism, ServerStep};

impl Server {
    pub(super) fn auth(&mut self, argument: &str) -> Step {
        if let Some(reply) = self.auth_out_of_place() {
            return self.refuse_command(reply);
        }
        let (name, initial) = match argument.split_once(' ') {
            Some((name, initial)) => (name, Some(initial)),
            None => (argument, None),
        };
        let Some(mechanism) = Mechanism::parse(name).filter(|m| self.offers(*m)) else {
            return self.refuse_command(Reply::unknown_mechanism());
        };
        // RFC 4954 §4: "=" is an initial response without content.
        let decoded = match initial {
            None => Ok(None),
            Some("=") => Ok(Some(Vec::new())),
            Some(text) => BASE64.decode(text).map(Some),
        };
        let Ok(initial) = decoded else {
            return self.refuse_command(Reply::bad_base64());
        };
        let binding = sasl::Binding {
            offered: self.offers(Mechanism::ScramSha256Plus),
            channel: self.channel.clone(),
        };
        let (exchange, step) = sasl::Server::start(mechanism, initial.as_deref(), binding);
        self.exchange(exchange, step)
    }

    /// The client's next line in an exchange.
    pub(super) fn auth_line(&mut self, mut exchange: sasl::Server, line: &str) -> Step {
        if line == "*" {
            return self.refuse_command(Reply::authentication_cancelled());
        }
        match BASE64.decode(line) {
            Ok(response) => {
                let step = exchange.respond(&response);
                self.exchange(exchange, step)
            }
            Err(_) => self.refuse_command(Reply::bad_base64()),
        }
    }

    /// Goes on with an exchange after the driver gave keys; a reply that refused it is given back.
    pub(super) fn challenge(&mut self, exchange: sasl::Server, step: ServerStep) -> Option<Reply> {
        match self.exchange(exchange, step) {
            Step::Event(Event::Refused(reply)) => Some(reply),
            Step::Event(_) | Step::Again | Step::NeedInput => None,
        }
    }

    fn exchange(&mut self, exchange: sasl::Server, step: ServerStep) -> Step {
        match step {
            ServerStep::Challenge(challenge) => {
                self.output.put_slice(b"334 ");
                self.output.put_slice(BASE64.encode(challenge).as_bytes());
                self.output.put_slice(b"\r\n");
                self.mode = Mode::Auth(exchange);
                Step::Again
            }
            ServerStep::Verify { login, password } => {
                let waiting = Waiting::Password {
                    login: login.clone(),
                };
                self.ask(waiting, Event::Password { login, password })
            }
            ServerStep::Lookup { login, algorithm } => {
                self.ask(Waiting::Keys(exchange), Event::Keys { login, algorithm })
            }
            ServerStep::Token { login, token } => {
                self.ask(Waiting::Token(exchange), Event::Token { login, token })
            }
            ServerStep::External { identity } => {
                self.ask(Waiting::External, Event::External { identity })
            }
            ServerStep::Proved { login, which } => {
                let waiting = Waiting::Proved {
                    login: login.clone(),
                };
                self.ask(waiting, Event::Proved { login, which })
            }
            ServerStep::Failed(Failure::WrongProof { login }) => {
                self.say(&Reply::authentication_failed());
                Step::Event(Event::WrongProof { login })
            }
            ServerStep::Failed(Failure::Malformed(why)) => {
                self.refuse_command(Reply::bad_authentication_message(why))
            }
            ServerStep::Failed(Failure::OtherIdentity) => {
                self.refuse_command(Reply::authentication_failed())
            }
        }
    }

    /// Answers [`Event::Token`] or [`Event::External`]: the token or the certificate stands for this
    /// login.
    pub fn stands_for(&mut self, login: &str) {
        if let Some(Waiting::Token(_) | Waiting::External) = self.waiting.take() {
            self.login = Some(login.to_owned());
            Reply::authenticated().write(&mut self.output);
        }
    }

    /// Answers [`Event::Token`]: the token is not valid. Its end is told as
    /// [`Event::WrongProof`].
    pub fn token_refused(&mut self) {
        if let Some(Waiting::Token(mut exchange)) = self.waiting.take() {
            let step = exchange.token_refused();
            self.refused = self.challenge(exchange, step);
        }
    }

    fn auth_out_of_place(&self) -> Option<Reply> {
        if self.config.role != Role::Submission {
            Some(Reply::not_implemented())
        } else if !self.extended {
            Some(Reply::bad_sequence("EHLO first"))
        } else if self.login.is_some() {
            // RFC 4954 §4: only one successful AUTH in a session.
            Some(Reply::bad_sequence("You are logged in already"))
        } else if self.transaction.is_some() {
            Some(Reply::bad_sequence("Not inside of a transaction"))
        } else if !self.auth_is_safe() {
            Some(Reply::encryption_required())
        } else {
            None
        }
    }
}
