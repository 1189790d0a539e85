//! MTA-STS (RFC 8461) against real parts: policies of a web server of OpenSSL, MX records of NSD, and
//! Postfix with a certificate that is good for some of the domains.

#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use interop::certificates::Certificate;
use interop::clients::Tls;
use interop::letters::{Heading, Writer};
use interop::node::{self, Node, port};
use interop::nsd::{Nsd, Zone};
use interop::place::Place;
use interop::postfix::{self, Postfix};
use interop::process::wait_for;
use interop::smtp::Client;
use interop::web::Web;
use interop::world::submission;

const LIMIT: Duration = Duration::from_secs(60);
const ALICE: &str = "alice@red.test";
const PATH: &str = ".well-known/mta-sts.txt";

/// Domain, mode, the host that the policy names, and whether the web server's certificate is expired.
const POLICIES: &[(&str, &str, &str, bool)] = &[
    ("good.test", "enforce", "mx1.good.test", false),
    ("star.test", "enforce", "*.star.test", false),
    ("other.test", "enforce", "mx9.other.test", false),
    ("name.test", "enforce", "mx1.name.test", false),
    ("trial.test", "testing", "mx9.trial.test", false),
    ("none.test", "none", "mx9.none.test", false),
    ("expired.test", "enforce", "mx9.expired.test", true),
];

struct World {
    postfix: Postfix,
    node: Node,
    webs: Vec<Web>,
    _nsd: Nsd,
    _place: Place,
}

fn world() -> World {
    let place = Place::new();
    let authority = Certificate::authority(&place, "authority");
    // Postfix is not `mx1.name.test` by its certificate.
    let names: Vec<String> = POLICIES
        .iter()
        .filter(|(domain, ..)| *domain != "name.test")
        .map(|(domain, ..)| format!("mx1.{domain}"))
        .collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let certificate = authority.sign(&place, "postfix", &names, false);
    let mut zones = vec![Zone::new("test")];
    let mut webs = Vec::new();
    for ((domain, mode, host, expired), number) in POLICIES.iter().zip(10..) {
        let web = place.address(number);
        zones.push(
            Zone::new(domain)
                .mx(10, "mx1", place.address(3))
                .record("_mta-sts TXT \"v=STSv1; id=1;\"")
                .record(&format!("mta-sts A {web}")),
        );
        let host_name = format!("mta-sts.{domain}");
        let certificate = authority.sign(&place, domain, &[&host_name], *expired);
        let policy = format!("version: STSv1\nmode: {mode}\nmx: {host}\nmax_age: 86400\n");
        let page = (PATH, policy.as_str());
        webs.push(Web::start(
            &place,
            domain,
            place.at(number, 443),
            &certificate,
            page,
        ));
    }
    let nsd = Nsd::start(&place, place.at(53, 53), &zones);
    let setup = postfix::Setup {
        hostname: "mx1.good.test".to_owned(),
        domains: POLICIES
            .iter()
            .map(|(name, ..)| (*name).to_owned())
            .collect(),
        main: certificate.for_postfix(),
        ..postfix::Setup::default()
    };
    let postfix = Postfix::start(&place, "postfix", place.at(3, port::SMTP), &setup);
    let setup = node::Setup {
        dns: Some(nsd.address),
        settings: "sts.mode = \"testing\"\n".to_owned(),
        environment: vec![("SSL_CERT_FILE", authority.chain.display().to_string())],
        ..node::Setup::new(1, "red.test")
    };
    let node = Node::start(&place, &setup, &["alice"]);
    World {
        postfix,
        node,
        webs,
        _nsd: nsd,
        _place: place,
    }
}

impl World {
    fn send(&self, domain: &str) {
        let server = submission(&self.node, ALICE, Tls::None);
        let to = format!("bob@{domain}");
        let heading = Heading {
            from: ALICE,
            to: &to,
            number: 1,
        };
        let letter = Writer::new(1).letter(heading, 500);
        let mut client = Client::connect(server.address, LIMIT).expect("the node greets");
        client.log_in(ALICE, node::PASSWORD).expect("the login");
        client
            .send(ALICE, std::slice::from_ref(&to), letter.as_bytes())
            .expect("the letter is taken");
    }

    fn delivered(&self, domain: &str) -> usize {
        let to = format!("bob@{domain}");
        let letters = self.postfix.delivered();
        let is_to = |letter: &&Vec<u8>| String::from_utf8_lossy(letter).contains(&to);
        letters.iter().filter(is_to).count()
    }

    fn arrives(&self, domain: &str, count: usize) {
        wait_for(&format!("the letter to {domain}"), LIMIT, || {
            (self.delivered(domain) == count).then_some(())
        });
    }

    /// The log line about the recipient that says so.
    fn told(&self, domain: &str, what: &str) {
        let to = format!("bob@{domain}");
        wait_for(&format!("{what} about {domain}"), LIMIT, || {
            let log = self.node.log();
            log.lines()
                .any(|line| line.contains(&to) && line.contains(what))
                .then_some(())
        });
    }
}

#[test]
fn policies_of_other_domains_are_minded() {
    let mut world = world();
    for (domain, ..) in POLICIES {
        world.send(domain);
    }
    for domain in [
        "good.test",
        "star.test",
        "trial.test",
        "none.test",
        "expired.test",
    ] {
        world.arrives(domain, 1);
    }
    for domain in ["good.test", "star.test"] {
        world.told(domain, "certificate verified by MTA-STS");
    }
    // RFC 8461 §5: what cannot be fetched safely is no policy, and one on trial stops nothing.
    for domain in ["trial.test", "none.test", "expired.test"] {
        world.told(domain, "certificate valid");
    }
    world.told("other.test", "MTA-STS policy does not name this server");
    world.told("name.test", "the certificate is for other names");
    assert_eq!(
        world.delivered("other.test") + world.delivered("name.test"),
        0
    );
    // RFC 8461 §3.1: a policy that was fetched once holds, also over a restart, when the web server
    // is gone.
    world.webs.clear();
    assert!(world.node.stop().success());
    world.node.serve();
    world.send("good.test");
    world.send("other.test");
    world.arrives("good.test", 2);
    let verified = world
        .node
        .log()
        .matches("certificate verified by MTA-STS")
        .count();
    assert!(verified >= 3, "{verified}");
    assert_eq!(world.delivered("other.test"), 0);
}

/// RFC 8461 §3.3: our own policy, by the host name that is asked for.
#[test]
fn our_own_policy_is_served() {
    let place = Place::new();
    let setup = node::Setup {
        settings: "sts.mode = \"enforce\"\n".to_owned(),
        ..node::Setup::new(1, "red.test")
    };
    let node = Node::start(&place, &setup, &[]);
    let ask = |host: &str| {
        let mut stream = TcpStream::connect(node.at(port::HTTP)).expect("the node listens");
        stream.set_read_timeout(Some(LIMIT)).expect("a time limit");
        let request = format!("GET /{PATH} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        stream
            .write_all(request.as_bytes())
            .expect("the request goes");
        let mut answer = String::new();
        stream
            .read_to_string(&mut answer)
            .expect("the answer comes");
        answer
    };
    let answer = ask("mta-sts.red.test");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains("content-type: text/plain\r\n"), "{answer}");
    assert!(
        answer.ends_with(
            "version: STSv1\r\nmode: enforce\r\nmx: mx.red.test\r\nmax_age: 1209600\r\n"
        ),
        "{answer}"
    );
    for host in ["red.test", "mta-sts.black.test", "mta-sts."] {
        let answer = ask(host);
        assert!(answer.starts_with("HTTP/1.1 404"), "{host}: {answer}");
    }
}
