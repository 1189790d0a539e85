//! The settings of the queue and of mail going out, in the form that `transport` wants.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use base::{Domain, Secret};
use transport::queue::class::FailureClass;
use transport::queue::plan::Plan;
use transport::queue::settings::{FixedRoute, Login, QueueSettings, Smarthost, TlsPolicy};
use transport::smtp_in::BackupMx;
use transport::smtp_out::{Source, Sources};

use super::{Typing, value};

impl Typing<'_> {
    pub(super) fn queue(&mut self) -> QueueSettings {
        QueueSettings {
            retry_first: self.span("queue.retry_first"),
            retry_max: self.span("queue.retry_max"),
            plans: self.plans(),
            suppress_after: self.number("queue.suppress_after"),
            suppress_for: self.span("queue.suppress_for"),
            lifetime: self.span("queue.lifetime"),
            delay_warning: self.span("queue.delay_warning"),
            letters_in_hand_max: self.number("queue.letters_in_hand"),
            letters_per_tenant_max: self.number("queue.letters_per_tenant"),
            local_letters_in_hand_max: self.number("queue.local_letters_in_hand"),
            connections_max: self.number("queue.connections"),
            connections_per_destination_max: self.number("queue.connections_per_destination"),
            connections_per_address_max: self.number("queue.connections_per_address"),
            connections_initial: self.number("queue.connections_initial"),
            letters_per_connection_max: self.number("queue.letters_per_connection"),
            connection_idle: self.span("queue.connection_idle"),
            connect_timeout: self.span("queue.connect_timeout"),
            lease: self.span("queue.lease"),
            stop_grace: self.span("queue.stop_grace"),
            report_bytes_max: self.number("queue.report_bytes"),
            port: self.number("outbound.port"),
            sources: self.sources(),
            smarthost: self.smarthost(),
            routes: self.routes("outbound.routes"),
            sender_routes: self.sender_routes(),
            backup: Vec::new(),
            list_url: self.list_url(),
        }
    }

    fn plans(&mut self) -> BTreeMap<FailureClass, Plan> {
        let mut plans = BTreeMap::new();
        for text in self.list("queue.plans") {
            match Plan::parse(&text, value::span) {
                Ok((class, plan)) => {
                    if plans.insert(class, plan).is_some() {
                        let twice = format!("`queue.plans`: {} stands twice", class.as_str());
                        self.mistake("queue.plans", twice);
                    }
                }
                Err(why) => self.mistake("queue.plans", format!("`queue.plans`: {why}")),
            }
        }
        plans
    }

    pub(super) fn backup(&mut self) -> BackupMx {
        let domains = self.parsed("backup_mx.domains", "a domain", |text| {
            Domain::parse(text).ok()
        });
        let name = "backup_mx.recipients";
        let list = match self.path(name) {
            None => Ok(String::new()),
            Some(file) => std::fs::read_to_string(&file)
                .map_err(|error| format!("{}: {error}", file.display())),
        };
        let lifetime = self.span("backup_mx.lifetime");
        match list.and_then(|list| BackupMx::new(domains, &list, lifetime)) {
            Ok(backup) => backup,
            Err(why) => {
                self.mistake(name, format!("`{name}`: {why}"));
                BackupMx::default()
            }
        }
    }

    fn routes(&mut self, name: &'static str) -> Vec<FixedRoute> {
        let mut routes = Vec::new();
        for text in self.list(name) {
            match FixedRoute::parse(&text).and_then(|route| self.with_password(route)) {
                Ok(route) => routes.push(route),
                Err(why) => self.mistake(name, format!("`{name}`: {why}")),
            }
        }
        routes
    }

    fn list_url(&mut self) -> String {
        let url = self.text("lists.url");
        let url = url.trim_end_matches('/');
        // RFC 8058 §3.1: an HTTPS URI.
        let plain = |c: char| c.is_ascii_graphic() && !"<>,\"".contains(c);
        if !url.is_empty() && (!url.starts_with("https://") || !url.chars().all(plain)) {
            let why = "`lists.url` is not an https:// address".to_owned();
            self.mistake("lists.url", why);
        }
        url.to_owned()
    }

    fn sender_routes(&mut self) -> Vec<FixedRoute> {
        let name = "outbound.sender_routes";
        let routes = self.routes(name);
        if let Some(route) = routes.iter().find(|route| route.lmtp) {
            let why = format!("`{name}`: {} is no server for one's mailboxes", route.host);
            self.mistake(name, why);
        }
        routes
    }

    /// Reads the password of a route's login.
    fn with_password(&self, mut route: FixedRoute) -> Result<FixedRoute, String> {
        let (Some(login), Some(file)) = (&route.login, &route.password_file) else {
            return Ok(route);
        };
        let user = login.user.clone();
        let password = first_line(&self.beside(file))?;
        route.login = Some(Arc::new(Login { user, password }));
        Ok(route)
    }

    fn sources(&mut self) -> Sources {
        let mut sources = Vec::new();
        for text in self.list("outbound.sources") {
            match Source::parse(&text) {
                Ok(source) => sources.push(source),
                Err(why) => self.mistake("outbound.sources", format!("`outbound.sources`: {why}")),
            }
        }
        let mut bound = BTreeMap::new();
        for text in self.list("outbound.source_pools") {
            let words: Vec<&str> = text.split_ascii_whitespace().collect();
            let read = match words[..] {
                [domain, pool] => Domain::parse(domain).map(|domain| (domain, pool.to_owned())),
                _ => {
                    let why = format!("`outbound.source_pools`: not `domain pool`: {text}");
                    self.mistake("outbound.source_pools", why);
                    continue;
                }
            };
            match read {
                Ok((domain, pool)) => {
                    bound.insert(domain, pool);
                }
                Err(why) => self.mistake(
                    "outbound.source_pools",
                    format!("`outbound.source_pools`: {text}: {why}"),
                ),
            }
        }
        Sources::new(sources, bound).unwrap_or_else(|why| {
            self.mistake(
                "outbound.source_pools",
                format!("`outbound.source_pools`: {why}"),
            );
            Sources::default()
        })
    }

    fn smarthost(&mut self) -> Option<Smarthost> {
        let text = self.text("outbound.smarthost");
        if text.is_empty() {
            if !self.text("outbound.smarthost_user").is_empty() {
                self.mistake(
                    "outbound.smarthost_user",
                    "`outbound.smarthost_user` does nothing without `outbound.smarthost`"
                        .to_owned(),
                );
            }
            return None;
        }
        let word = self.text("outbound.smarthost_tls");
        let (tls, dane) = TlsPolicy::parse_with_dane(&word).unwrap_or_default();
        let login = self.smarthost_login();
        match Smarthost::parse(&text) {
            Ok(smarthost) => Some(Smarthost {
                login,
                tls,
                dane,
                ..smarthost
            }),
            Err(why) => {
                self.mistake("outbound.smarthost", format!("`outbound.smarthost`: {why}"));
                None
            }
        }
    }

    fn smarthost_login(&mut self) -> Option<Arc<Login>> {
        let user = self.text("outbound.smarthost_user");
        let file = self.path("outbound.smarthost_password_file");
        let (false, Some(file)) = (user.is_empty(), file.clone()) else {
            if !user.is_empty() || file.is_some() {
                self.mistake(
                    "outbound.smarthost_user",
                    "`outbound.smarthost_user` and `outbound.smarthost_password_file` must be \
                     set together"
                        .to_owned(),
                );
            }
            return None;
        };
        match first_line(&file) {
            Ok(password) => Some(Arc::new(Login { user, password })),
            Err(why) => {
                self.mistake("outbound.smarthost_password_file", why);
                None
            }
        }
    }
}

/// The password in a file.
fn first_line(file: &Path) -> Result<Secret, String> {
    let text = std::fs::read_to_string(file);
    let text = text.map_err(|error| format!("{}: {error}", file.display()))?;
    match text.lines().next().unwrap_or_default() {
        "" => Err(format!(
            "{}: its first line holds no password",
            file.display()
        )),
        password => Ok(Secret::new(password)),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::Settings;
    use super::*;

    #[test]
    fn the_defaults_of_the_table_are_those_of_the_queue() {
        let file = Path::new("pennyblack.toml");
        let settings = Settings::parse("hostname = \"mx.test\"", file).unwrap();
        assert_eq!(
            format!("{:?}", settings.queue),
            format!("{:?}", QueueSettings::default())
        );
    }

    #[test]
    fn routes_with_logins_and_kept_domains() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("secret"), "pass word\n").unwrap();
        std::fs::write(folder.path().join("people"), "bob@black.test\n").unwrap();
        let text = "hostname = \"mx.test\"\n[outbound]\nsender_routes = [\"red.test smtp:relay.test:587 \
                    dane user=me password-file=secret\"]\n[backup_mx]\ndomains = [\"black.test\"]\n\
                    recipients = \"people\"\n";
        let file = folder.path().join("pennyblack.toml");
        let settings = Settings::parse(text, &file).unwrap();
        let route = &settings.queue.sender_routes[0];
        let login = route.login.as_ref().unwrap();
        assert_eq!(login.password.expose_str(), Some("pass word"));
        assert_eq!((route.dane, route.tls), (true, TlsPolicy::Required));
        let black = Domain::parse("black.test").unwrap();
        assert!(settings.backup.has(&black));
        assert_eq!(settings.queue.backup, [black]);
        for (from, to) in [
            ("smtp:relay", "lmtp:relay"),
            ("user=me ", ""),
            ("\"secret", "\"none"),
            ("file=secret", "file=none"),
            ("dane", "danish"),
            ("= \"people\"", "= \"secret\""),
        ] {
            let wrong = text.replace(from, to);
            assert!(
                wrong == text || Settings::parse(&wrong, &file).is_err(),
                "{wrong}"
            );
        }
    }

    #[test]
    fn a_smarthost_with_a_password() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("secret"), "pass word\n").unwrap();
        let text = "hostname = \"mx.test\"\n[outbound]\nsmarthost = \"relay.test:587\"\n\
                    smarthost_user = \"me\"\nsmarthost_password_file = \"secret\"\n";
        let file = folder.path().join("pennyblack.toml");
        let smarthost = Settings::parse(text, &file)
            .unwrap()
            .queue
            .smarthost
            .unwrap();
        let login = smarthost.login.unwrap();
        assert_eq!(
            (login.user.as_str(), login.password.expose_str()),
            ("me", Some("pass word"))
        );
        assert_eq!((smarthost.port, smarthost.tls), (587, TlsPolicy::Required));
        let half = text.replace("smarthost_user = \"me\"\n", "");
        assert!(Settings::parse(&half, &file).is_err());
        let without = text.replace("smarthost = \"relay.test:587\"\n", "");
        let told = Settings::parse(&without, &file).unwrap_err().to_string();
        assert!(told.contains("does nothing without"), "{told}");
        std::fs::write(folder.path().join("secret"), "\n").unwrap();
        let told = Settings::parse(text, &file).unwrap_err().to_string();
        assert!(told.contains("holds no password"), "{told}");
    }
}
