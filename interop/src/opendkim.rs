//! OpenDKIM as a milter: it verifies what comes through a server, and signs as the server's own
//! domain.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use crate::place::Place;
use crate::process::{Daemon, must_run, program};

/// The selector that it signs with.
pub const SELECTOR: &str = "open";

/// A running OpenDKIM.
#[derive(Debug)]
pub struct OpenDkim {
    /// Where the mail server reaches it.
    pub address: SocketAddr,
    _daemon: Daemon,
}

/// A key that it can sign with: made by its own tool.
#[derive(Debug)]
pub struct Key {
    domain: String,
    file: std::path::PathBuf,
    /// Its record as a line of a zone file.
    pub record: String,
}

impl Key {
    /// Makes one.
    #[must_use]
    pub fn new(place: &Place, domain: &str) -> Key {
        let folder = place.path("opendkim");
        std::fs::create_dir_all(&folder).expect("a folder of ours can be made");
        let mut command = Command::new(program("opendkim-genkey"));
        command.args(["-b", "2048", "-d", domain, "-s", SELECTOR, "-D"]);
        must_run(command.arg(&folder), Duration::from_secs(60));
        let record = std::fs::read_to_string(folder.join(format!("{SELECTOR}.txt")));
        Key {
            domain: domain.to_owned(),
            file: folder.join(format!("{SELECTOR}.private")),
            record: record.expect("the tool writes the record"),
        }
    }
}

impl OpenDkim {
    /// Starts it at an address. It asks the DNS server at `dns`, port 53, for names in `test`.
    #[must_use]
    pub fn start(place: &Place, address: SocketAddr, dns: SocketAddr, key: &Key) -> OpenDkim {
        // Its resolver knows `test` as a name that nobody has (RFC 6761 §6.2), unless it is told.
        let resolver = place.write(
            "opendkim/unbound.conf",
            format!(
                "server:\n  do-not-query-localhost: no\n  local-zone: \"test.\" nodefault\n\
                 stub-zone:\n  name: \"test.\"\n  stub-addr: {}\n",
                dns.ip()
            ),
        );
        let config = place.write(
            "opendkim/opendkim.conf",
            format!(
                "Mode sv\nSyslog no\nBackground no\nDomain {domain}\nSelector {SELECTOR}\n\
                 KeyFile {key}\nRequireSafeKeys no\nCanonicalization relaxed/simple\n\
                 SignatureAlgorithm rsa-sha256\nInternalHosts 127.0.0.0/8\nAlwaysAddARHeader yes\n\
                 AuthservID opendkim.test\nResolverConfiguration {resolver}\nSocket inet:{port}@{ip}\n",
                domain = key.domain,
                key = key.file.display(),
                resolver = resolver.display(),
                port = address.port(),
                ip = address.ip(),
            ),
        );
        let mut command = Command::new(program("opendkim"));
        command.arg("-f").arg("-x").arg(config);
        let mut daemon = Daemon::start(&mut command, &place.path("opendkim/log"));
        daemon.wait_for_port(address, Duration::from_secs(20));
        OpenDkim {
            address,
            _daemon: daemon,
        }
    }
}
