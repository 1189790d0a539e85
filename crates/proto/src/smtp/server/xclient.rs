//! XCLIENT: a proxy of the same house tells whose session it passes on (Postfix `XCLIENT_README`).
//! Offered only where the driver says that the peer is such a proxy, and until it withdraws that.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use super::{Config, Event, Reply, Server, Step, Waiting};
use crate::smtp::params;

/// What the proxy tells; what it does not know is not there.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Xclient {
    /// ADDR: the address of its client.
    pub address: Option<IpAddr>,
    /// PORT: and its port.
    pub port: Option<u16>,
    /// HELO: the name that its client gave.
    pub helo: Option<String>,
}

impl Server {
    /// Offers XCLIENT: the peer is a proxy of the same house.
    pub fn offer_xclient(&mut self) {
        self.xclient = true;
    }

    /// Offers XCLIENT no more: the peer is now the proxy's client, who may not do the same again.
    pub fn withdraw_xclient(&mut self) {
        self.xclient = false;
    }

    /// What applies to the proxy's client, where it is not what applied to the proxy.
    pub fn set_config(&mut self, config: Arc<Config>) {
        self.config = config;
    }

    pub(super) fn xclient(&mut self, argument: &str) -> Step {
        if !self.xclient {
            return self.refuse_command(Reply::not_implemented());
        }
        if self.transaction.is_some() {
            return self.refuse_command(Reply::bad_sequence("Not inside of a transaction"));
        }
        match parse(argument) {
            Some(told) => self.ask(Waiting::Xclient(told.helo.clone()), Event::Xclient(told)),
            None => self.refuse_command(Reply::syntax(
                "Syntax: XCLIENT NAME= ADDR= PORT= PROTO= HELO=, values in xtext",
            )),
        }
    }

    /// The session begins anew with the greeting, as if the client itself had connected.
    pub(super) fn begin_again(&mut self, helo: Option<String>) {
        self.peer_name = None;
        self.extended = false;
        self.login = None;
        // The certificate was the proxy's, not its client's.
        self.certificate = false;
        self.told_name = helo;
        self.end_transaction();
        self.greet();
    }
}

/// `attribute "=" value` words; `None` if one of them is not to be understood.
fn parse(argument: &str) -> Option<Xclient> {
    let mut told = Xclient::default();
    let mut words = 0;
    for (name, value) in params::split(argument) {
        words += 1;
        let value = params::decode_xtext(value?)?;
        let is_known = !value.eq_ignore_ascii_case("[UNAVAILABLE]")
            && !value.eq_ignore_ascii_case("[TEMPUNAVAIL]");
        match name.to_ascii_uppercase().as_str() {
            "ADDR" if is_known => told.address = Some(address(&value)?),
            "PORT" if is_known => told.port = Some(value.parse().ok()?),
            "HELO" if is_known => {
                let printable = value.bytes().all(|b| b.is_ascii_graphic());
                told.helo = Some(value).filter(|name| printable && name.len() <= 255);
            }
            // The name is of no use without asking the DNS, and the protocol is seen by itself.
            "ADDR" | "PORT" | "HELO" | "NAME" | "PROTO" => {}
            _ => return None,
        }
    }
    (words > 0).then_some(told)
}

/// IPv6 addresses have `IPV6:` before them.
fn address(text: &str) -> Option<IpAddr> {
    match text.get(..5) {
        Some(tag) if tag.eq_ignore_ascii_case("ipv6:") => {
            let address: Ipv6Addr = text[5..].parse().ok()?;
            Some(IpAddr::V6(address).to_canonical())
        }
        _ => text.parse().ok().map(IpAddr::V4),
    }
}
