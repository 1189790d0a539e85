//! A web server of one page over HTTPS: `openssl s_server`.

use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::certificates::Certificate;
use crate::place::Place;
use crate::process::{Daemon, program};

/// A running web server.
#[derive(Debug)]
pub struct Web {
    _daemon: Daemon,
}

impl Web {
    /// Serves one text at a path (without a slash before it) of an address.
    #[must_use]
    pub fn start(
        place: &Place,
        name: &str,
        address: SocketAddr,
        certificate: &Certificate,
        (path, text): (&str, &str),
    ) -> Web {
        let answer = format!("HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\n{text}");
        place.write(&format!("web-{name}/{path}"), answer);
        let mut command = Command::new(program("openssl"));
        command
            .current_dir(place.path(&format!("web-{name}")))
            .args(["s_server", "-quiet", "-HTTP", "-accept"])
            .arg(address.to_string())
            .arg("-cert")
            .arg(&certificate.chain)
            .arg("-key")
            .arg(&certificate.key)
            .stdin(Stdio::null());
        let mut daemon = Daemon::start(&mut command, &place.path(&format!("web-{name}.log")));
        daemon.wait_for_port(address, Duration::from_secs(60));
        Web { _daemon: daemon }
    }
}
