//! AUTHENTICATE (RFC 9051 §6.2.2) with an initial response (RFC 4959); the mechanisms are
//! [`proto::sasl`]'s.

use base::{AccountId, Secret};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use proto::imap::Line;
use proto::sasl::{
    Algorithm, Binding, Failure as SaslFailure, Mechanism, ScramKeys, Server, ServerStep,
};
use store::{MailKeys, MailProtocol, SHA1_BYTES};

use super::reply::Failure;
use super::session::{Done, Session};

/// RFC 5802 §5.1: the nonce must be unpredictable; 18 bytes are 24 letters of base64.
const NONCE_BYTES: usize = 18;

impl Session {
    pub(super) async fn authenticate(
        &mut self,
        mechanism: &str,
        initial: Option<Secret>,
    ) -> Result<Done, Failure> {
        self.may_log_in()?;
        let mechanism = Mechanism::parse(mechanism)
            .filter(|mechanism| self.offers(*mechanism))
            .ok_or(Failure::Mechanism)?;
        let initial = match initial {
            // RFC 4959 §3: `=` is an empty response.
            Some(text) if text.expose() == b"=" => Some(Secret::new([])),
            Some(text) => Some(decode(text.expose())?),
            None => None,
        };
        let (mut server, mut step) = Server::start(
            mechanism,
            initial.as_ref().map(Secret::expose),
            self.binding(),
        );
        // Whose keys were given out, and the numbers of the app passwords among them.
        let mut known: Option<(AccountId, Vec<i64>)> = None;
        loop {
            step = match step {
                ServerStep::Challenge(challenge) => {
                    let response = self.challenge(&challenge).await?;
                    server.respond(response.expose())
                }
                ServerStep::Verify { login, password } => {
                    let account = self.check_password(&login, &password).await?;
                    return Ok(self.logged_in(account, &login));
                }
                ServerStep::Lookup { login, algorithm } => {
                    self.throttle_allows(&login)?;
                    let store = &self.context.options.store;
                    let kept = store.mail_scram_keys(&login, MailProtocol::Imap).await?;
                    let numbers = kept.others.iter().map(|other| other.password).collect();
                    known = kept.own.account.map(|account| (account, numbers));
                    let keys = self.scram_keys(kept, algorithm);
                    server.keys(keys, &self.nonce())
                }
                ServerStep::Proved { login, which } => {
                    let (account, numbers) = known.ok_or(Failure::Credentials)?;
                    // The first is the account's own password.
                    let number = which.checked_sub(1).and_then(|which| numbers.get(which));
                    if let Some(number) = number {
                        let store = &self.context.options.store;
                        store.app_password_used(account, *number, self.from()).await;
                    }
                    return Ok(self.logged_in(account, &login));
                }
                ServerStep::External { identity } => {
                    return self.by_certificate(identity.as_deref()).await;
                }
                // Not offered: nobody checks tokens here.
                ServerStep::Token { .. } => return Err(Failure::Mechanism),
                ServerStep::Failed(failure) => return Err(self.sasl_failed(failure)),
            };
        }
    }

    /// RFC 4422 appendix A: TLS has proved who it is, and the store knows whose address that is.
    async fn by_certificate(&mut self, identity: Option<&str>) -> Result<Done, Failure> {
        let shown = self.client_addresses().to_vec();
        let named = shown.first().map(ToString::to_string).unwrap_or_default();
        let login = identity.unwrap_or(&named);
        self.throttle_allows(login)?;
        let store = &self.context.options.store;
        match store.log_in_by_certificate(&shown, identity).await? {
            Some((account, address)) => Ok(self.logged_in(account, &address.to_string())),
            None => Err(self.wrong_credentials(login)),
        }
    }

    fn sasl_failed(&self, failure: SaslFailure) -> Failure {
        match failure {
            SaslFailure::Malformed(what) => Failure::Protocol(what),
            SaslFailure::WrongProof { login } => self.wrong_credentials(&login),
            SaslFailure::OtherIdentity => Failure::OtherIdentity,
        }
    }

    /// What the login may be bound to (RFC 5802 §6).
    fn binding(&self) -> Binding {
        Binding {
            channel: self.channel().cloned().unwrap_or_default(),
            offered: self.offers(Mechanism::ScramSha256Plus),
        }
    }

    fn scram_keys(&self, kept: MailKeys, algorithm: Algorithm) -> ScramKeys {
        let MailKeys { own, others } = kept;
        let [stored_key, server_key] = match algorithm {
            Algorithm::Sha256 => [own.stored_key, own.server_key].map(Secret::new),
            Algorithm::Sha1 => self.sha1_keys(own.sha1).map(Secret::new),
        };
        let also = others.into_iter().map(|other| match algorithm {
            Algorithm::Sha256 => [other.stored_key, other.server_key].map(Secret::new),
            Algorithm::Sha1 => other.sha1.map(Secret::new),
        });
        ScramKeys {
            salt: own.salt,
            iterations: own.iterations,
            stored_key,
            server_key,
            also: also.collect(),
        }
    }

    /// Where no keys of SHA-1 are kept, such a login fails at the proof.
    fn sha1_keys(&self, kept: Option<[[u8; SHA1_BYTES]; 2]>) -> [[u8; SHA1_BYTES]; 2] {
        kept.unwrap_or_else(|| {
            let mut keys = [[0; SHA1_BYTES]; 2];
            for key in &mut keys {
                self.context.options.entropy.fill(key);
            }
            keys
        })
    }

    fn nonce(&self) -> String {
        let mut bytes = [0; NONCE_BYTES];
        self.context.options.entropy.fill(&mut bytes);
        BASE64.encode(bytes)
    }

    /// Sends a challenge and waits for its answer.
    async fn challenge(&mut self, challenge: &[u8]) -> Result<Secret, Failure> {
        let text = BASE64.encode(challenge);
        self.connection.writer.continuation(&text);
        let deadline = self.deadline();
        match self.connection.line(deadline).await? {
            // RFC 9051 §6.2.2: the client takes the command back.
            Line::Text(line) if line.as_ref() == b"*" => Err(Failure::Cancelled),
            Line::Text(line) => decode(&line),
            Line::TooLong => Err(Failure::Protocol("the response is too long")),
        }
    }
}

fn decode(text: &[u8]) -> Result<Secret, Failure> {
    let bytes = BASE64
        .decode(text)
        .map_err(|_| Failure::Protocol("The response is not base64"))?;
    Ok(Secret::new(bytes))
}
