//! Looks at one thing after the other, and says what is wrong in words.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use base::Domain;
use serde_json::Value;
use store::{Alert, StoreError};
use tokio::time::timeout;

use super::blocklist::{self, Listing};
use super::{Kind, Seen, State, Watcher};
use crate::control::rows;
use crate::outside::sntp;
use crate::records;

/// The port of NTP.
const NTP: u16 = 123;
/// How long all time servers together may take.
const TIME_LIMIT: Duration = Duration::from_secs(20);
/// Addresses of ours that are looked for on blocklists.
const ADDRESSES_MAX: usize = 16;

/// A time server of the settings.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TimeServer {
    host: String,
    port: u16,
}

impl TimeServer {
    /// Reads `host`, `host:port`, an address or `address:port`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if let Ok(address) = text.parse::<SocketAddr>() {
            return Some(Self {
                host: address.ip().to_string(),
                port: address.port(),
            });
        }
        if let Ok(address) = text.parse::<IpAddr>() {
            return Some(Self {
                host: address.to_string(),
                port: NTP,
            });
        }
        let (host, port) = match text.split_once(':') {
            Some((host, port)) => (host, port.parse().ok()?),
            None => (text, NTP),
        };
        Some(Self {
            host: Domain::parse(host).ok()?.to_string(),
            port,
        })
    }
}

impl Watcher {
    /// What concerns this node alone.
    pub(super) async fn look_here(&self) -> Vec<Seen> {
        let mut seen = vec![self.here(Kind::Disk, self.disk())];
        if let Some(tls) = &self.tls {
            let end = transport::certificate_end(&tls.certificate());
            seen.push(self.here(Kind::Certificate, self.certificate(end)));
        }
        if !self.settings.alerts.time_servers.is_empty() {
            let found = timeout(TIME_LIMIT, self.clock_offset()).await;
            let state = self.clock_state(found.ok().flatten());
            seen.push(self.here(Kind::Clock, state));
        }
        if let Some(folder) = self.settings.alerts.backup.clone() {
            let subject = format!("{} on {}", folder.display(), self.settings.node);
            // Reading a folder may take long.
            let points = tokio::task::spawn_blocking(move || store::backup::list(&folder)).await;
            let state = match points {
                Ok(Ok(points)) => {
                    self.backup_state(points.iter().map(|point| point.taken_at).max())
                }
                Ok(Err(error)) => State::Wrong(format!("the backup cannot be read: {error}")),
                Err(_) => State::Unknown,
            };
            seen.push(Seen {
                kind: Kind::Backup,
                subject,
                state,
            });
        }
        seen
    }

    /// What this node found earlier and does not look at any more, by its settings: it is over.
    pub(super) async fn left_off(&self, seen: &[Seen]) -> Result<Vec<Seen>, StoreError> {
        let node = &self.settings.node;
        let backup = format!(" on {node}");
        let mut over = Vec::new();
        for alert in self.store.alerts().await? {
            let kind = match alert.kind.as_str() {
                "backup" if alert.subject.ends_with(&backup) => Kind::Backup,
                "certificate" if alert.subject == *node => Kind::Certificate,
                "clock" if alert.subject == *node => Kind::Clock,
                _ => continue,
            };
            let is_seen = |one: &Seen| one.kind == kind && one.subject == alert.subject;
            if !seen.iter().any(is_seen) {
                over.push(Seen {
                    kind,
                    subject: alert.subject,
                    state: State::Fine,
                });
            }
        }
        Ok(over)
    }

    fn here(&self, kind: Kind, state: State) -> Seen {
        Seen {
            kind,
            subject: self.settings.node.clone(),
            state,
        }
    }

    fn disk(&self) -> State {
        let space = self.store.disk_space();
        let wanted = space.total_bytes / 100 * self.settings.alerts.disk_percent;
        let is_low = self.store.is_disk_low();
        if !is_low && space.free_bytes >= wanted {
            return State::Fine;
        }
        let megabytes = |bytes: u64| bytes / 1_000_000;
        let (free, total) = (megabytes(space.free_bytes), megabytes(space.total_bytes));
        let end = if is_low {
            "; new letters are refused"
        } else {
            ""
        };
        State::Wrong(format!(
            "only {free} MB of {total} MB of the disk are free{end}"
        ))
    }

    fn certificate(&self, end: Option<base::Timestamp>) -> State {
        let Some(end) = end else {
            return State::Wrong("the end of the certificate cannot be read".to_owned());
        };
        let now = self.clock.now();
        if now + self.settings.alerts.certificate < end {
            return State::Fine;
        }
        State::Wrong(if end <= now {
            format!("the certificate has ended at {}", end.whole_seconds())
        } else {
            format!("the certificate ends at {}", end.whole_seconds())
        })
    }

    /// The middle one of what the time servers say, in milliseconds.
    async fn clock_offset(&self) -> Option<i64> {
        let mut offsets = Vec::new();
        for server in &self.settings.alerts.time_servers {
            let Some(address) = self.address_of(server).await else {
                continue;
            };
            let asked = sntp::offset_ms(address, self.clock.as_ref(), self.entropy.as_ref());
            match asked.await {
                Ok(offset) => offsets.push(offset),
                Err(error) => tracing::debug!(%address, %error, "a time server does not answer"),
            }
        }
        offsets.sort_unstable();
        offsets.get(offsets.len() / 2).copied()
    }

    async fn address_of(&self, server: &TimeServer) -> Option<SocketAddr> {
        if let Ok(address) = server.host.parse::<IpAddr>() {
            return Some(SocketAddr::new(address, server.port));
        }
        let host = Domain::parse(&server.host).ok()?;
        let found = self.resolver.addresses(&host).await.ok()?;
        found.first().map(|ip| SocketAddr::new(*ip, server.port))
    }

    fn clock_state(&self, offset_ms: Option<i64>) -> State {
        let Some(offset) = offset_ms else {
            return State::Unknown;
        };
        let most = i64::try_from(self.settings.alerts.clock.as_millis()).unwrap_or(i64::MAX);
        if offset.abs() <= most {
            return State::Fine;
        }
        let way = if offset > 0 { "behind" } else { "ahead of" };
        State::Wrong(format!(
            "the clock is {} s {way} the time servers",
            offset.abs() / 1_000
        ))
    }

    fn backup_state(&self, newest_ms: Option<i64>) -> State {
        let Some(newest) = newest_ms.map(base::Timestamp) else {
            return State::Wrong("there is no backup".to_owned());
        };
        if self.clock.now() < newest + self.settings.alerts.backup_age {
            return State::Fine;
        }
        State::Wrong(format!(
            "the newest backup is of {}",
            newest.whole_seconds()
        ))
    }

    /// The queue of all nodes.
    pub(super) async fn look_at_queue(&self) -> Result<Seen, StoreError> {
        let settings = &self.settings.alerts;
        let state = self
            .store
            .queue_state(settings.queue_recipients + 1)
            .await?;
        let mut wrong = Vec::new();
        if let Some(oldest) = state.oldest_tried
            && oldest + settings.queue_age <= self.clock.now()
        {
            wrong.push(format!("a letter waits since {}", oldest.whole_seconds()));
        }
        if state.recipients > settings.queue_recipients {
            let most = settings.queue_recipients;
            wrong.push(format!("more than {most} recipients wait"));
        }
        Ok(Seen {
            kind: Kind::Queue,
            subject: "all nodes".to_owned(),
            state: match wrong.is_empty() {
                true => State::Fine,
                false => State::Wrong(wrong.join("; ")),
            },
        })
    }

    /// Our records. What is not looked at any more is over.
    pub(super) async fn look_at_dns(&self) -> Result<Vec<Seen>, StoreError> {
        let mut seen = Vec::new();
        if self.settings.alerts.dns {
            for info in self.store.domains().await? {
                seen.push(self.look_at_records(&info.domain).await?);
            }
        }
        let known = self.store.alerts().await?;
        seen.extend(over(Kind::Dns, "", &seen, known));
        Ok(seen)
    }

    /// This node's addresses on blocklists. What it does not look at any more is over; what other nodes
    /// have found is theirs.
    pub(super) async fn look_on_blocklists(&self) -> Result<Vec<Seen>, StoreError> {
        let mut seen = self.look_at_blocklists().await;
        let here = format!(" ({})", self.settings.node);
        for one in &mut seen {
            one.subject.push_str(&here);
        }
        let known = self.store.alerts().await?;
        seen.extend(over(Kind::Blocklist, &here, &seen, known));
        Ok(seen)
    }

    async fn look_at_records(&self, domain: &Domain) -> Result<Seen, StoreError> {
        let keys = self.store.dkim_keys(Some(domain)).await?;
        let keys: Vec<Value> = keys.iter().map(rows::dkim_key).collect();
        let found = records::check(
            &self.resolver,
            domain,
            &self.settings.hostname,
            &keys,
            self.settings.safety.sts.as_ref(),
        );
        let found = found.await;
        let needed = found.iter().filter(|row| row["needed"] == true);
        let (unknown, wrong): (Vec<_>, Vec<_>) = needed
            .filter(|row| row["state"] != "ok")
            .partition(|row| row["state"] == "unknown");
        let told: Vec<String> = wrong
            .iter()
            .map(|row| {
                let text = |name: &str| row[name].as_str().unwrap_or_default().to_owned();
                format!("{} of {} is {}", text("type"), text("name"), text("state"))
            })
            .collect();
        let state = match (wrong.is_empty(), unknown.is_empty()) {
            (false, _) => State::Wrong(told.join("; ")),
            (true, false) => State::Unknown,
            (true, true) => State::Fine,
        };
        Ok(Seen {
            kind: Kind::Dns,
            subject: domain.to_string(),
            state,
        })
    }

    async fn look_at_blocklists(&self) -> Vec<Seen> {
        let lists = &self.settings.alerts.blocklists;
        if lists.is_empty() {
            return Vec::new();
        }
        let addresses = self.addresses().await;
        let mut seen = Vec::new();
        for list in lists {
            let state = blocklist::state(self.resolver.as_ref(), list).await;
            let answers = state == State::Fine;
            seen.push(Seen {
                kind: Kind::Blocklist,
                subject: list.to_string(),
                state,
            });
            for address in &addresses {
                let listing = match answers {
                    true => blocklist::ask(self.resolver.as_ref(), list, *address).await,
                    false => Listing::Unknown,
                };
                seen.push(Seen {
                    kind: Kind::Blocklist,
                    subject: format!("{address} on {list}"),
                    state: match listing {
                        Listing::No => State::Fine,
                        Listing::Yes(why) => State::Wrong(format!("{address} is listed: {why}")),
                        Listing::Strange(_) | Listing::Unknown => State::Unknown,
                    },
                });
            }
        }
        seen
    }

    /// Where our mail goes out.
    async fn addresses(&self) -> Vec<IpAddr> {
        let configured = &self.settings.alerts.addresses;
        if !configured.is_empty() {
            return configured.clone();
        }
        let found = self.resolver.addresses(&self.settings.hostname).await;
        let mut found = found.unwrap_or_default();
        found.retain(is_public);
        found.truncate(ADDRESSES_MAX);
        found
    }
}

/// What is known of a kind, with a subject that ends so, and was not seen any more: it is over.
fn over(kind: Kind, end: &str, seen: &[Seen], known: Vec<Alert>) -> Vec<Seen> {
    let is_over = |alert: &Alert| {
        let is_seen = |one: &Seen| one.kind == kind && one.subject == alert.subject;
        alert.kind == kind.word() && alert.subject.ends_with(end) && !seen.iter().any(is_seen)
    };
    let fine = |alert: Alert| Seen {
        kind,
        subject: alert.subject,
        state: State::Fine,
    };
    known.into_iter().filter(is_over).map(fine).collect()
}

/// An address that others see.
fn is_public(address: &IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => !(v4.is_loopback() || v4.is_private() || v4.is_link_local()),
        IpAddr::V6(v6) => !(v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_ends_only_what_it_has_found_itself() {
        let alert = |kind: &str, subject: &str| Alert {
            kind: kind.to_owned(),
            subject: subject.to_owned(),
            detail: String::new(),
            since: base::Timestamp(0),
            told_at: None,
        };
        let known = vec![
            alert("blocklist", "192.0.2.1 on list.test (mx1)"),
            alert("blocklist", "192.0.2.2 on list.test (mx1)"),
            alert("blocklist", "192.0.2.3 on list.test (mx2)"),
            alert("dns", "x (mx1)"),
        ];
        let seen = [Seen {
            kind: Kind::Blocklist,
            subject: "192.0.2.1 on list.test (mx1)".to_owned(),
            state: State::Unknown,
        }];
        let found = over(Kind::Blocklist, " (mx1)", &seen, known);
        let subjects: Vec<&str> = found.iter().map(|one| one.subject.as_str()).collect();
        assert_eq!(subjects, ["192.0.2.2 on list.test (mx1)"]);
    }

    #[test]
    fn time_servers_as_people_write_them() {
        let of = |text: &str| {
            let server = TimeServer::parse(text)?;
            Some(format!("{} {}", server.host, server.port))
        };
        for (text, read) in [
            ("time.test", "time.test 123"),
            ("time.test:1123", "time.test 1123"),
            ("192.0.2.1", "192.0.2.1 123"),
            ("[2001:db8::1]:9", "2001:db8::1 9"),
            ("2001:db8::1", "2001:db8::1 123"),
        ] {
            assert_eq!(of(text).as_deref(), Some(read), "{text}");
        }
        assert_eq!(of("time test"), None);
        assert_eq!(of("time.test:x"), None);
    }

    #[test]
    fn addresses_that_others_see() {
        let public = |text: &str| is_public(&text.parse().unwrap());
        assert!(public("192.0.2.1") && public("2001:db8::1"));
        for inside in [
            "127.0.0.1",
            "10.0.0.1",
            "::1",
            "fd00::1",
            "fe80::1",
            "::ffff:10.0.0.1",
        ] {
            assert!(!public(inside), "{inside}");
        }
    }
}
