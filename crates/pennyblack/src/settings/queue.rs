//! The settings of the queue and of mail going out, in the form that `transport` wants.

use std::collections::BTreeMap;

use base::Secret;
use transport::queue::class::FailureClass;
use transport::queue::plan::Plan;
use transport::queue::settings::{FixedRoute, QueueSettings, Smarthost, TlsPolicy};

use super::{Typing, value};

impl Typing<'_> {
    pub(super) fn queue(&mut self) -> QueueSettings {
        QueueSettings {
            retry_first: self.span("queue.retry_first"),
            retry_max: self.span("queue.retry_max"),
            plans: self.plans(),
            lifetime: self.span("queue.lifetime"),
            delay_warning: self.span("queue.delay_warning"),
            letters_in_hand_max: self.number("queue.letters_in_hand"),
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
            routes: self.routes(),
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

    fn routes(&mut self) -> Vec<FixedRoute> {
        let mut routes = Vec::new();
        for text in self.list("outbound.routes") {
            match FixedRoute::parse(&text) {
                Ok(route) => routes.push(route),
                Err(why) => self.mistake("outbound.routes", format!("`outbound.routes`: {why}")),
            }
        }
        routes
    }

    fn sources(&mut self) -> Vec<std::net::IpAddr> {
        let mut sources = Vec::new();
        for text in self.list("outbound.sources") {
            match text.parse() {
                Ok(address) => sources.push(address),
                Err(_) => self.mistake(
                    "outbound.sources",
                    format!("`outbound.sources`: not an address: \"{text}\""),
                ),
            }
        }
        sources
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
        let tls = TlsPolicy::parse(&self.text("outbound.smarthost_tls")).unwrap_or_default();
        let credentials = self.smarthost_credentials();
        match Smarthost::parse(&text) {
            Ok(smarthost) => Some(Smarthost {
                credentials,
                tls,
                ..smarthost
            }),
            Err(why) => {
                self.mistake("outbound.smarthost", format!("`outbound.smarthost`: {why}"));
                None
            }
        }
    }

    fn smarthost_credentials(&mut self) -> Option<(String, Secret)> {
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
        match std::fs::read_to_string(&file) {
            Ok(text) => {
                let password = text.lines().next().unwrap_or_default();
                if password.is_empty() {
                    let why = format!("{}: its first line holds no password", file.display());
                    self.mistake("outbound.smarthost_password_file", why);
                }
                Some((user, Secret::new(password)))
            }
            Err(error) => {
                let why = format!("{}: {error}", file.display());
                self.mistake("outbound.smarthost_password_file", why);
                None
            }
        }
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
        let (user, password) = smarthost.credentials.unwrap();
        assert_eq!(
            (user.as_str(), password.expose_str()),
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
