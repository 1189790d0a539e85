//! Unbound: a resolver that validates, over the zones of a test.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use crate::nsd::Nsd;
use crate::place::Place;
use crate::process::{Daemon, program};

/// A running Unbound.
#[derive(Debug)]
pub struct Unbound {
    /// Where it answers, over UDP and TCP.
    pub address: SocketAddr,
    _daemon: Daemon,
}

impl Unbound {
    /// Starts it at an address of the place. It asks `nsd` for these zones; those with a DS record
    /// are trusted to be signed, the others not to be.
    #[must_use]
    pub fn start(
        place: &Place,
        address: SocketAddr,
        nsd: &Nsd,
        zones: &[(&str, Option<String>)],
    ) -> Unbound {
        let (ip, port) = (address.ip(), address.port());
        let dir = place.path("unbound");
        let dir = dir.display();
        let mut config = format!(
            "server:\n  interface: {ip}@{port}\n  do-ip6: no\n  num-threads: 1\n\
             \x20 username: \"\"\n  chroot: \"\"\n  directory: \"{dir}\"\n  pidfile: \"{dir}/pid\"\n\
             \x20 use-syslog: no\n  verbosity: 1\n  do-daemonize: no\n\
             \x20 do-not-query-localhost: no\n  module-config: \"validator iterator\"\n\
             \x20 local-zone: \"test.\" nodefault\n  val-log-level: 2\n",
        );
        for (_, anchor) in zones {
            if let Some(ds) = anchor {
                let _ = writeln!(config, "  trust-anchor: \"{ds}\"");
            }
        }
        config.push_str("remote-control:\n  control-enable: no\n");
        for (zone, _) in zones {
            let (ip, port) = (nsd.address.ip(), nsd.address.port());
            let _ = writeln!(
                config,
                "stub-zone:\n  name: \"{zone}.\"\n  stub-addr: {ip}@{port}\n  stub-prime: no"
            );
        }
        let config = place.write("unbound/unbound.conf", config);
        let mut command = Command::new(program("unbound"));
        command.arg("-d").arg("-c").arg(config);
        let mut daemon = Daemon::start(&mut command, &place.path("unbound/log"));
        daemon.wait_for_port(address, Duration::from_secs(30));
        Unbound {
            address,
            _daemon: daemon,
        }
    }
}
