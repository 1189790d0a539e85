//! Who is who in a world: nodes with their domains and addresses, servers and people outside.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// The password of every user.
pub const PASSWORD: &str = "correct horse battery staple";
/// The domain of the server outside.
pub const OUTSIDE: &str = "outside.test";

/// Users of a node that send: making a password costs more than many letters.
const SENDERS_MAX: usize = 4;

/// A node.
#[derive(Clone, Debug)]
pub struct NodePlan {
    /// Its number, from 0.
    pub number: usize,
    /// Its name in the trace.
    pub name: String,
    /// Its host name.
    pub host: String,
    /// Its domains; each has a user.
    pub domains: Vec<String>,
    /// Where the alias `team@` of its first domain leads to.
    pub forward: String,
}

/// How letters for an address go.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Way {
    /// The address in whose mailbox they end.
    pub address: String,
    /// The servers that take them, the last one first.
    pub servers: Vec<String>,
}

/// All of them.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The nodes.
    pub nodes: Vec<NodePlan>,
    /// Which node a domain belongs to.
    homes: BTreeMap<String, usize>,
}

impl NodePlan {
    /// Its address.
    #[must_use]
    pub fn ip(&self) -> IpAddr {
        address(10, self.number)
    }

    /// Where its users come from.
    #[must_use]
    pub fn users_ip(&self) -> IpAddr {
        address(11, self.number)
    }

    /// Where it listens for servers.
    #[must_use]
    pub fn smtp(&self) -> SocketAddr {
        SocketAddr::new(self.ip(), 25)
    }

    /// Where it listens for users.
    #[must_use]
    pub fn submission(&self) -> SocketAddr {
        SocketAddr::new(self.ip(), 465)
    }

    /// The users' addresses.
    #[must_use]
    pub fn users(&self) -> Vec<String> {
        let user = |domain: &String| format!("user@{domain}");
        self.domains.iter().map(user).collect()
    }

    /// Those of them who send, and so have a password.
    #[must_use]
    pub fn senders(&self) -> Vec<String> {
        let mut users = self.users();
        users.truncate(SENDERS_MAX);
        users
    }

    /// The alias that leads to a user of another node.
    #[must_use]
    pub fn alias(&self) -> String {
        format!("team@{}", self.domains[0])
    }

    /// The alias that leads to nobody at another node.
    #[must_use]
    pub fn lost_alias(&self) -> String {
        format!("gone@{}", self.domains[0])
    }

    /// All aliases with what they lead to.
    #[must_use]
    pub fn aliases(&self) -> [(String, String); 2] {
        let ghost = self.forward.replace("user@", "ghost@");
        [
            (self.alias(), self.forward.clone()),
            (self.lost_alias(), ghost),
        ]
    }
}

impl Plan {
    /// A world of so many nodes that share so many domains.
    #[must_use]
    pub fn new(nodes: usize, domains: usize) -> Self {
        let domain = |number: usize| format!("d{number}.test");
        let nodes = nodes.max(1);
        let domains = domains.max(nodes);
        let of = |node: usize| (node..domains).step_by(nodes).map(domain).collect();
        Self {
            homes: (0..domains).map(|n| (domain(n), n % nodes)).collect(),
            nodes: (0..nodes)
                .map(|number| NodePlan {
                    number,
                    name: format!("node{number}"),
                    host: format!("mx{number}.test"),
                    domains: of(number),
                    forward: format!("user@{}", domain((number + 1) % nodes)),
                })
                .collect(),
        }
    }

    /// The node of a domain.
    #[must_use]
    pub fn node_of(&self, domain: &str) -> Option<&NodePlan> {
        self.homes.get(domain).map(|node| &self.nodes[*node])
    }

    /// Whether a report can reach a sender: the server outside refuses some, and others live where
    /// nobody is.
    #[must_use]
    pub fn can_be_told(address: &str) -> bool {
        !address.starts_with("no-one@") && !address.ends_with("@dead.test")
    }

    /// Where letters for an address arrive in the end, and by way of which servers.
    #[must_use]
    pub fn way(&self, address: &str) -> Way {
        let (local, domain) = address.split_once('@').unwrap_or((address, ""));
        let node = self.node_of(domain);
        let server = node.map_or("outside", |node| node.name.as_str()).to_owned();
        match node {
            Some(node) if local == "team" || local == "gone" => {
                let [(_, user), (_, ghost)] = node.aliases();
                let mut way = self.way(if local == "team" { &user } else { &ghost });
                way.servers.push(server);
                way
            }
            _ => Way {
                address: address.to_owned(),
                servers: vec![server],
            },
        }
    }
}

/// The server outside.
#[must_use]
pub fn outside_ip() -> IpAddr {
    address(12, 0)
}

/// People outside who send to nodes.
#[must_use]
pub fn strangers_ip() -> IpAddr {
    address(12, 1)
}

/// An address at which nobody is.
#[must_use]
pub fn nobody_ip() -> IpAddr {
    address(12, 2)
}

/// A server that takes nothing.
#[must_use]
pub fn elsewhere_ip() -> IpAddr {
    address(12, 3)
}

fn address(network: u8, number: usize) -> IpAddr {
    let [high, low] = u16::try_from(number).unwrap_or(u16::MAX).to_be_bytes();
    Ipv4Addr::new(network, 0, high, low).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domains_are_shared_out_and_aliases_followed() {
        let plan = Plan::new(2, 5);
        assert_eq!(plan.nodes[0].domains, ["d0.test", "d2.test", "d4.test"]);
        let way = plan.way("team@d0.test");
        assert_eq!(way.address, "user@d1.test");
        assert_eq!(way.servers, ["node1", "node0"]);
        assert_eq!(plan.way("gone@d1.test").address, "ghost@d0.test");
        assert_eq!(plan.way("x@outside.test").servers, ["outside"]);
    }
}
