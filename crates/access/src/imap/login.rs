//! LOGIN (RFC 9051 §6.2.3), and what every way of logging in ends with.

use base::{AccountId, Secret};
use proto::imap::Code;
use proto::sasl::prepare;
use store::{LoginFrom, MailProtocol};
use tracing::info;

use super::reply::Failure;
use super::session::{Done, Session};

impl Session {
    pub(super) async fn login(&mut self, user: &str, password: &Secret) -> Result<Done, Failure> {
        self.may_log_in()?;
        let prepared = password
            .expose_str()
            .map(|text| Secret::new(prepare(text).as_bytes()));
        // A password that is no text is wrong, in the same time as any other.
        let password = prepared.unwrap_or_else(|| password.clone());
        let account = self.check_password(&prepare(user), &password).await?;
        Ok(self.logged_in(account, user))
    }

    /// Whether a login may be tried in this state.
    pub(super) fn may_log_in(&self) -> Result<(), Failure> {
        if self.account.is_some() {
            return Err(Failure::WrongState("Already logged in"));
        }
        if !self.may_send_password() {
            return Err(Failure::PrivacyRequired);
        }
        Ok(())
    }

    /// Checks a password, unless too many were wrong.
    pub(super) async fn check_password(
        &mut self,
        login: &str,
        password: &Secret,
    ) -> Result<AccountId, Failure> {
        self.throttle_allows(login)?;
        match self
            .context
            .options
            .store
            .log_in(login, password, self.from())
            .await?
        {
            Some(account) => Ok(account),
            None => {
                let (address, now) = (self.entry.peer.ip(), self.context.options.clock.now());
                let throttle = &self.context.options.throttle;
                throttle.failed_with(address, login, password, now);
                Err(self.told_wrong(login))
            }
        }
    }

    pub(super) fn from(&self) -> LoginFrom {
        LoginFrom {
            protocol: MailProtocol::Imap,
            address: self.entry.peer.ip(),
        }
    }

    pub(super) fn throttle_allows(&self, login: &str) -> Result<(), Failure> {
        let (address, now) = (self.entry.peer.ip(), self.context.options.clock.now());
        if self.context.options.throttle.allows(address, login, now) {
            return Ok(());
        }
        self.count_login("throttled");
        Err(Failure::Throttled)
    }

    /// Notes a failed login.
    pub(super) fn wrong_credentials(&self, login: &str) -> Failure {
        let (address, now) = (self.entry.peer.ip(), self.context.options.clock.now());
        self.context.options.throttle.failed(address, login, now);
        self.told_wrong(login)
    }

    fn told_wrong(&self, login: &str) -> Failure {
        self.count_login("failed");
        info!(login, "wrong login or password");
        Failure::Credentials
    }

    /// Goes on as this account.
    pub(super) fn logged_in(&mut self, account: AccountId, login: &str) -> Done {
        let (address, now) = (self.entry.peer.ip(), self.context.options.clock.now());
        self.context.options.throttle.succeeded(address, login, now);
        self.count_login("ok");
        info!(login, %account, tls = self.tls.is_some(), "logged in");
        self.account = Some(account);
        let code = Code::Capability(self.capabilities());
        Done::new("Logged in").with_code(code)
    }

    fn count_login(&self, outcome: &str) {
        let labels = vec![("outcome", outcome.to_owned())];
        self.context.metrics.logins.get_or_create(&labels).inc();
    }
}
