//! Logging in: passwords and SCRAM keys are the store's, failures are counted by the node.

use std::fmt::Write;
use std::time::Duration;

use base::{AccountId, Secret};
use proto::sasl::{Algorithm, ScramKeys};
use proto::smtp::Reply;
use store::{LoginFrom, MailKeys, MailProtocol, SHA1_BYTES};
use tokio::time::timeout;
use tracing::{info, warn};

use super::session::Session;

/// RFC 5802 §5.1 leaves the length open; 18 bytes make guessing hopeless.
const NONCE_BYTES: usize = 18;

/// Logins refused unseen before the session is closed: a program that goes on is not a person's.
const SHUT_OUT_MAX: u32 = 3;

/// How long the issuer of a token may take to say whose it is: a person waits for it.
const TOKEN_TIMEOUT: Duration = Duration::from_secs(30);

impl Session<'_> {
    pub(super) async fn check_password(&mut self, login: &str, password: &Secret) {
        if !self.may_try(login) {
            return;
        }
        match self
            .context
            .options
            .store
            .log_in(login, password, self.from())
            .await
        {
            Ok(Some(account)) => self.logged_in(login, account),
            Ok(None) => {
                self.password_failed(login, password);
                self.server.reject(&Reply::authentication_failed());
            }
            Err(error) => {
                warn!(peer = %self.peer, %error, "logins cannot be checked");
                self.server.reject(&Reply::authentication_unavailable());
            }
        }
    }

    /// Unknown logins get keys too, made up by the store, so that they fail only at the proof.
    pub(super) async fn find_keys(&mut self, login: &str, algorithm: Algorithm) {
        if !self.may_try(login) {
            return;
        }
        let store = &self.context.options.store;
        match store.mail_scram_keys(login, MailProtocol::Smtp).await {
            Ok(MailKeys { own, others }) => {
                let numbers = others.iter().map(|other| other.password).collect();
                self.scram_account = own.account.map(|account| (account, numbers));
                let mut random = [0; NONCE_BYTES];
                self.context.options.entropy.fill(&mut random);
                let mut nonce = String::with_capacity(2 * NONCE_BYTES);
                for byte in random {
                    // Writing to a String cannot fail.
                    let _ = write!(nonce, "{byte:02x}");
                }
                let [stored_key, server_key] = match algorithm {
                    Algorithm::Sha256 => [own.stored_key, own.server_key].map(Secret::new),
                    Algorithm::Sha1 => self.sha1_keys(own.sha1).map(Secret::new),
                };
                let keys = ScramKeys {
                    salt: own.salt,
                    iterations: own.iterations,
                    stored_key,
                    server_key,
                    also: others
                        .into_iter()
                        .map(|other| match algorithm {
                            Algorithm::Sha256 => {
                                [other.stored_key, other.server_key].map(Secret::new)
                            }
                            Algorithm::Sha1 => other.sha1.map(Secret::new),
                        })
                        .collect(),
                };
                self.server.keys(keys, &nonce);
            }
            Err(error) => {
                warn!(peer = %self.peer, %error, "logins cannot be checked");
                self.server.reject(&Reply::authentication_unavailable());
            }
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

    /// Whom a token stands for is the checker's word; the account must be there all the same.
    pub(super) async fn check_token(&mut self, login: Option<&str>, token: &Secret) {
        // RFC 7628 §3.1: the login may be left out; failures are counted all the same.
        if !self.may_try(login.unwrap_or_default()) {
            return;
        }
        let Some(checker) = self.context.options.tokens.clone() else {
            return self.server.token_refused();
        };
        let limit = self.context.options.limits.command_timeout;
        let checked = match timeout(limit.min(TOKEN_TIMEOUT), checker.check(token)).await {
            Ok(checked) => checked,
            Err(_) => Err("no answer in time".to_owned()),
        };
        let known = match checked {
            Ok(known) => known.filter(|known| login.is_none_or(|login| login == known)),
            Err(error) => {
                warn!(peer = %self.peer, error, "tokens cannot be checked");
                return self.server.reject(&Reply::authentication_unavailable());
            }
        };
        let Some(login) = known else {
            return self.server.token_refused();
        };
        // The same names as with a password: no catch-all and no sub-address.
        match self.context.options.store.account_of_login(&login).await {
            Ok(Some(account)) => {
                self.enter(&login, account);
                self.server.stands_for(&login);
            }
            Ok(None) => self.server.token_refused(),
            Err(error) => {
                warn!(peer = %self.peer, %error, "logins cannot be checked");
                self.server.reject(&Reply::authentication_unavailable());
            }
        }
    }

    /// RFC 4422 appendix A: TLS has proved who it is, and the store knows whose address that is.
    pub(super) async fn check_certificate(&mut self, identity: Option<&str>) {
        let shown = self.tls.as_ref().map(|tls| tls.client_addresses.clone());
        let shown = shown.unwrap_or_default();
        let named = shown.first().map(ToString::to_string).unwrap_or_default();
        let login = identity.unwrap_or(&named);
        if !self.may_try(login) {
            return;
        }
        let store = &self.context.options.store;
        match store.log_in_by_certificate(&shown, identity).await {
            Ok(Some((account, address))) => {
                let login = address.to_string();
                self.enter(&login, account);
                self.server.stands_for(&login);
            }
            Ok(None) => {
                self.login_failed(login);
                self.server.reject(&Reply::authentication_failed());
            }
            Err(error) => {
                warn!(peer = %self.peer, %error, "logins cannot be checked");
                self.server.reject(&Reply::authentication_unavailable());
            }
        }
    }

    /// The proof was right; made-up keys have no proof that is, but nothing rests on that.
    pub(super) async fn proved(&mut self, login: &str, which: usize) {
        match self.scram_account.take() {
            Some((account, numbers)) => {
                // The first is the account's own password.
                let number = which.checked_sub(1).and_then(|which| numbers.get(which));
                if let Some(number) = number {
                    let store = &self.context.options.store;
                    store.app_password_used(account, *number, self.from()).await;
                }
                self.logged_in(login, account);
            }
            None => {
                self.login_failed(login);
                self.server.reject(&Reply::authentication_failed());
            }
        }
    }

    pub(super) fn login_failed(&mut self, login: &str) {
        let now = self.context.now();
        let throttle = &self.context.options.throttle;
        throttle.failed(self.peer.ip(), login, now);
        self.tell_failure(login);
    }

    fn password_failed(&mut self, login: &str, password: &Secret) {
        let now = self.context.now();
        let throttle = &self.context.options.throttle;
        throttle.failed_with(self.peer.ip(), login, password, now);
        self.tell_failure(login);
    }

    fn tell_failure(&self, login: &str) {
        self.context.metrics.failed_logins.inc();
        self.context
            .metrics
            .refusal(&Reply::authentication_failed());
        info!(peer = %self.peer, login, "login failed");
    }

    fn from(&self) -> LoginFrom {
        LoginFrom {
            protocol: MailProtocol::Smtp,
            address: self.peer.ip(),
        }
    }

    fn logged_in(&mut self, login: &str, account: AccountId) {
        self.enter(login, account);
        self.server.accept();
    }

    fn enter(&mut self, login: &str, account: AccountId) {
        info!(peer = %self.peer, login, %account, "logged in");
        let now = self.context.now();
        self.context
            .options
            .throttle
            .succeeded(self.peer.ip(), login, now);
        self.account = Some(account);
    }

    fn may_try(&mut self, login: &str) -> bool {
        let now = self.context.now();
        let throttle = &self.context.options.throttle;
        let may = throttle.allows(self.peer.ip(), login, now);
        if !may {
            self.shut_out += 1;
            let reply = match self.shut_out {
                ..SHUT_OUT_MAX => Reply::too_many_failed_logins(),
                SHUT_OUT_MAX.. => Reply::closing_for_failed_logins(),
            };
            self.refuse(&reply);
        }
        may
    }
}
