//! Where the server is: the URL as libpq's users write it, with `sslmode` and `sslrootcert`, which
//! the client library does not know all of, and the password from the environment.

use std::str::FromStr as _;
use std::time::Duration;

use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::tls::{Check, Roots, connector};
use crate::StoreError;

/// How long making a connection may take, with TLS and login.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A server whose machine is gone is noticed after about this.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// How often a silent server's machine is asked for a sign of life.
const KEEPALIVE: Duration = Duration::from_secs(10);
/// How often it is asked again when it gave none.
const KEEPALIVE_AGAIN: Duration = Duration::from_secs(5);

/// A server and how to talk to it.
pub(super) struct Address {
    pub config: Config,
    pub tls: MakeRustlsConnect,
    /// For messages: `user@host:port/database`, without the password.
    pub told: String,
}

/// How `sslmode` was given.
struct Wanted {
    mode: SslMode,
    check: Check,
    is_given: bool,
}

impl Address {
    /// Reads a URL.
    ///
    /// # Errors
    /// [`StoreError::Invalid`], without any part of the URL that may hold a password;
    /// [`StoreError::Io`] for certificates that cannot be read.
    pub(super) fn parse(url: &str, environment: Option<Vec<u8>>) -> Result<Self, StoreError> {
        let (front, query) = url.split_once('?').unwrap_or((url, ""));
        let mut rest = Vec::new();
        let (mut mode, mut root) = (None, None);
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            match name {
                "sslmode" => mode = Some(decoded(value)?),
                "sslrootcert" => root = Some(decoded(value)?),
                "sslcert" | "sslkey" | "sslpassword" | "sslcrl" => {
                    return Err(invalid(&format!(
                        "`{name}` is not supported; log in by a password"
                    )));
                }
                _ => rest.push(pair),
            }
        }
        let wanted = wanted(mode.as_deref(), root.as_deref())?;
        let mut config = Config::from_str(&format!("{front}?{}", rest.join("&")))
            .map_err(|error| invalid(&cause(&error)))?;
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            return Err(invalid("it names no host"));
        }
        if config.get_password().is_none()
            && let Some(password) = environment
        {
            config.password(password);
        }
        config.ssl_mode(wanted.mode);
        config.application_name("pennyblack");
        config.tcp_user_timeout(SILENCE_MAX);
        config.keepalives_idle(KEEPALIVE);
        config.keepalives_interval(KEEPALIVE_AGAIN);
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT_TIMEOUT);
        }
        let roots = match root.as_deref() {
            _ if wanted.check == Check::Nothing => Roots::None,
            None | Some("system") => Roots::System,
            Some(path) => Roots::File(path.into()),
        };
        let told = told(&config);
        let tls = connector(wanted.check, &roots)?;
        Ok(Self { config, tls, told })
    }
}

/// The modes of libpq. `require` with a root certificate checks it, as it does there.
fn wanted(mode: Option<&str>, root: Option<&str>) -> Result<Wanted, StoreError> {
    let is_given = mode.is_some();
    let with = |mode, check| Wanted {
        mode,
        check,
        is_given,
    };
    let wanted = match (mode, root) {
        (None | Some("verify-full"), Some("system")) => with(SslMode::Require, Check::ChainAndName),
        (Some(_), Some("system")) => {
            return Err(invalid("`sslrootcert=system` needs `sslmode=verify-full`"));
        }
        (Some("disable"), _) => with(SslMode::Disable, Check::Nothing),
        (None | Some("allow" | "prefer"), _) => with(SslMode::Prefer, Check::Nothing),
        (Some("require"), None) => with(SslMode::Require, Check::Nothing),
        (Some("require"), Some(_)) | (Some("verify-ca"), _) => with(SslMode::Require, Check::Chain),
        (Some("verify-full"), _) => with(SslMode::Require, Check::ChainAndName),
        (Some(_), _) => {
            return Err(invalid(
                "`sslmode` is one of disable, allow, prefer, require, verify-ca, verify-full",
            ));
        }
    };
    if root.is_some() && wanted.check == Check::Nothing && !wanted.is_given {
        return Err(invalid(
            "`sslrootcert` needs an `sslmode` that checks it: verify-full, or verify-ca",
        ));
    }
    Ok(wanted)
}

fn invalid(why: &str) -> StoreError {
    StoreError::Invalid(format!(
        "`store.url`: {why} (it is written postgres://user:password@host:port/database?sslmode=…)"
    ))
}

fn cause(error: &tokio_postgres::Error) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string)
}

/// RFC 3986 §2.1.
fn decoded(text: &str) -> Result<String, StoreError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let digits = rest.get(..2).and_then(|two| std::str::from_utf8(two).ok());
        let byte = digits.and_then(|two| u8::from_str_radix(two, 16).ok());
        bytes.push(byte.ok_or_else(|| invalid("a % is not followed by two digits"))?);
        rest = rest.get(2..).unwrap_or_default();
    }
    String::from_utf8(bytes).map_err(|_| invalid("a parameter is not UTF-8"))
}

fn told(config: &Config) -> String {
    let host = match (config.get_hosts().first(), config.get_hostaddrs().first()) {
        (Some(Host::Tcp(name)), _) => name.clone(),
        (Some(Host::Unix(path)), _) => path.display().to_string(),
        (None, Some(address)) => address.to_string(),
        (None, None) => String::new(),
    };
    let port = config.get_ports().first().copied().unwrap_or(5_432);
    let user = config.get_user().unwrap_or_default();
    let database = config.get_dbname().unwrap_or(user);
    format!("{user}@{host}:{port}/{database}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(url: &str) -> Result<Address, String> {
        Address::parse(url, Some(b"from outside".to_vec())).map_err(|error| error.to_string())
    }

    #[test]
    fn modes_of_libpq() {
        let mode = |query: &str| {
            let address = parsed(&format!("postgres://u@h/d{query}"))?;
            Ok::<_, String>(address.config.get_ssl_mode())
        };
        assert_eq!(mode(""), Ok(SslMode::Prefer));
        assert_eq!(mode("?sslmode=disable"), Ok(SslMode::Disable));
        assert_eq!(mode("?sslmode=require"), Ok(SslMode::Require));
        assert_eq!(mode("?sslmode=verify-full"), Ok(SslMode::Require));
        let refused = [
            ("?sslmode=full", "one of disable"),
            ("?sslmode=require&sslrootcert=system", "verify-full"),
            ("?sslrootcert=%2Fx.pem", "needs an `sslmode`"),
            (
                "?sslmode=verify-ca&sslrootcert=/not/there.pem",
                "/not/there.pem",
            ),
            ("?sslcert=x", "password"),
            ("?sslmode=%zz", "two digits"),
            ("?colour=red", "colour"),
        ];
        for (query, expected) in refused {
            let error = mode(query).unwrap_err();
            assert!(error.contains(expected), "{query}: {error}");
        }
    }

    #[test]
    fn passwords_are_used_and_never_told() {
        let address = parsed("postgres://u:s3cret@h:5433/d").unwrap();
        assert_eq!(address.config.get_password(), Some(&b"s3cret"[..]));
        assert_eq!(address.told, "u@h:5433/d");
        let address = parsed("postgres://u@h/d").unwrap();
        assert_eq!(address.config.get_password(), Some(&b"from outside"[..]));
        for wrong in [
            "postgres://u:s3cret@h:port/d",
            "postgres://u:s3cret@h/d?sslmode=s",
        ] {
            let error = parsed(wrong).err().unwrap();
            assert!(!error.contains("s3cret"), "{error}");
        }
        assert!(parsed("postgres:///d").err().unwrap().contains("no host"));
    }
}
