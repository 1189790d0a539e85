//! NSD: an authoritative DNS server with the zones of a test.

use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
use std::time::Duration;

use crate::place::Place;
use crate::process::{Daemon, must_run, program};

/// A running NSD.
#[derive(Debug)]
pub struct Nsd {
    /// Where it answers, over UDP and TCP.
    pub address: SocketAddr,
    _daemon: Daemon,
}

/// A zone: its name, and its records in the form of a zone file.
#[derive(Clone, Debug)]
pub struct Zone {
    name: String,
    records: String,
    /// The whole file, once it is signed.
    signed: Option<String>,
}

/// How the signatures of a zone are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signatures {
    /// Valid now.
    Valid,
    /// Their time is over.
    Expired,
    /// The TLSA records were changed after they were signed.
    Forged,
}

impl Zone {
    /// A zone without records of its own.
    #[must_use]
    pub fn new(name: &str) -> Zone {
        Zone {
            name: name.to_owned(),
            records: String::new(),
            signed: None,
        }
    }

    /// Adds a host that takes the mail of this domain, at a preference.
    #[must_use]
    pub fn mx(mut self, preference: u16, host: &str, address: Ipv4Addr) -> Zone {
        let name = &self.name;
        let _ = writeln!(
            self.records,
            "@ MX {preference} {host}.{name}.\n{host} A {address}"
        );
        self
    }

    /// Adds a line of a zone file.
    #[must_use]
    pub fn record(mut self, line: &str) -> Zone {
        let _ = writeln!(self.records, "{line}");
        self
    }

    /// Signs it with a new key (ldns-signzone), and gives the DS record that trusts the key.
    ///
    /// # Panics
    /// When the programs of ldns fail.
    pub fn sign(&mut self, place: &Place, signatures: Signatures) -> String {
        let limit = Duration::from_secs(60);
        let dir = place.path("nsd");
        let unsigned = place.write(&format!("nsd/{}.unsigned", self.name), self.file());
        let mut keygen = Command::new(program("ldns-keygen"));
        keygen.current_dir(&dir);
        keygen.args([
            "-k",
            "-a",
            "ECDSAP256SHA256",
            "-r",
            "/dev/urandom",
            &self.name,
        ]);
        let key = must_run(&mut keygen, limit).trim().to_owned();
        let mut signer = Command::new(program("ldns-signzone"));
        signer.current_dir(&dir);
        if signatures == Signatures::Expired {
            signer.args(["-i", "20250101000000", "-e", "20250201000000"]);
        }
        let signed = dir.join(format!("{}.signed", self.name));
        signer.arg("-f").arg(&signed).arg(unsigned).arg(&key);
        must_run(&mut signer, limit);
        let mut text = fs::read_to_string(signed).expect("ldns wrote it");
        if signatures == Signatures::Forged {
            let honest = text.clone();
            text = text.replace("\tTLSA\t3 1 1 ", "\tTLSA\t3 1 2 ");
            assert_ne!(text, honest, "the zone has no TLSA records");
        }
        self.signed = Some(text);
        let ds = fs::read_to_string(dir.join(format!("{key}.ds"))).expect("ldns wrote it");
        ds.trim().to_owned()
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    fn file(&self) -> String {
        let Zone {
            name,
            records,
            signed,
        } = self;
        if let Some(signed) = signed {
            return signed.clone();
        }
        format!(
            "$ORIGIN {name}.\n$TTL 60\n@ SOA ns.{name}. admin.{name}. 1 3600 600 86400 60\n\
             @ NS ns.{name}.\nns A 127.0.0.1\n{records}"
        )
    }
}

impl Nsd {
    /// Starts it at an address of the place.
    #[must_use]
    pub fn start(place: &Place, address: SocketAddr, zones: &[Zone]) -> Nsd {
        let (ip, port) = (address.ip(), address.port());
        let dir = place.path("nsd");
        let dir = dir.display();
        let mut config = format!(
            "server:\n  ip-address: {ip}@{port}\n  do-ip6: no\n  server-count: 1\n  username: \"\"\n\
             \x20 chroot: \"\"\n  zonesdir: \"{dir}\"\n  database: \"\"\n  pidfile: \"{dir}/pid\"\n\
             \x20 xfrdfile: \"{dir}/xfrd\"\n  xfrdir: \"{dir}\"\n  zonelistfile: \"{dir}/list\"\n\
             \x20 verbosity: 1\n\
             remote-control:\n  control-enable: no\n",
        );
        for zone in zones {
            let name = &zone.name;
            place.write(&format!("nsd/{name}.zone"), zone.file());
            let _ = writeln!(
                config,
                "zone:\n  name: \"{name}\"\n  zonefile: \"{name}.zone\""
            );
        }
        let config = place.write("nsd/nsd.conf", config);
        let mut command = Command::new(program("nsd"));
        command.arg("-d").arg("-c").arg(config);
        let mut daemon = Daemon::start(&mut command, &place.path("nsd/log"));
        daemon.wait_for_port(address, Duration::from_secs(10));
        Nsd {
            address,
            _daemon: daemon,
        }
    }
}
