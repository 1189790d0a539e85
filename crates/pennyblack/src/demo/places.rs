//! Where the demo's nodes listen: their own loopback addresses and the usual ports plus 2,000 or
//! so; what is taken is replaced by something free.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};

use crate::settings::{Listen, Protocol, TlsMode};

/// The addresses of the two nodes where the whole of 127.0.0.0/8 is loopback (Linux).
const OWN: [Ipv4Addr; 2] = [Ipv4Addr::new(127, 0, 1, 1), Ipv4Addr::new(127, 0, 1, 2)];

/// The DNS port that is tried first.
const DNS_PORT: u16 = 5_354;

/// What each node listens for, with the port that is tried first.
const LISTENERS: [(Protocol, TlsMode, u16); 6] = [
    (Protocol::Smtp, TlsMode::StartTls, 2_525),
    (Protocol::Submission, TlsMode::StartTls, 2_587),
    (Protocol::Submission, TlsMode::Implicit, 2_465),
    (Protocol::Imap, TlsMode::StartTls, 2_143),
    (Protocol::Imap, TlsMode::Implicit, 2_993),
    (Protocol::Http, TlsMode::None, 2_080),
];

/// The places of one node.
#[derive(Clone, Debug)]
pub struct Places {
    /// The node's address.
    pub ip: IpAddr,
    /// Its listeners.
    pub listen: Vec<Listen>,
    /// Ports that were taken, and what is used instead.
    pub replaced: Vec<(u16, u16)>,
}

impl Places {
    /// The address of a listener.
    #[must_use]
    pub fn address(&self, protocol: Protocol, tls: TlsMode) -> Option<SocketAddr> {
        self.listen
            .iter()
            .find(|listen| listen.protocol == protocol && listen.tls == tls)
            .map(|listen| listen.address)
    }
}

/// Finds places for two nodes.
///
/// # Errors
/// When there is no free port.
pub fn find() -> io::Result<[Places; 2]> {
    let own = OWN.iter().all(|ip| is_free((*ip).into(), 0));
    let [first, second] = if own { OWN } else { [Ipv4Addr::LOCALHOST; 2] };
    // On one address the second node has ports of its own.
    let shift = if own { 0 } else { 1_000 };
    Ok([places(first.into(), 0)?, places(second.into(), shift)?])
}

/// A place for the DNS authority: the same port free for UDP and TCP.
#[must_use]
pub fn dns(ip: IpAddr) -> SocketAddr {
    let usual = SocketAddr::new(ip, DNS_PORT);
    let free = is_free(ip, DNS_PORT) && UdpSocket::bind(usual).is_ok();
    if free { usual } else { SocketAddr::new(ip, 0) }
}

fn places(ip: IpAddr, shift: u16) -> io::Result<Places> {
    let mut places = Places {
        ip,
        listen: Vec::new(),
        replaced: Vec::new(),
    };
    for (protocol, tls, usual) in LISTENERS {
        let usual = usual + shift;
        let port = if is_free(ip, usual) {
            usual
        } else {
            free_port(ip)?
        };
        if port != usual {
            places.replaced.push((usual, port));
        }
        places.listen.push(Listen {
            protocol,
            address: SocketAddr::new(ip, port),
            tls,
            proxy: false,
        });
    }
    Ok(places)
}

fn is_free(ip: IpAddr, port: u16) -> bool {
    TcpListener::bind((ip, port)).is_ok()
}

fn free_port(ip: IpAddr) -> io::Result<u16> {
    Ok(TcpListener::bind((ip, 0))?.local_addr()?.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_replaced() {
        let _taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = _taken.local_addr().unwrap().port();
        assert!(!is_free(Ipv4Addr::LOCALHOST.into(), port));
        let places = places(Ipv4Addr::LOCALHOST.into(), 0).unwrap();
        assert_eq!(places.listen.len(), LISTENERS.len());
        let smtp = places.address(Protocol::Smtp, TlsMode::StartTls).unwrap();
        assert!(smtp.port() > 1_024);
    }
}
