//! From which address letters leave: a real Postfix tells who connected to it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use interop::node::{self, Node, port};
use interop::postfix::{Postfix, Setup};
use interop::process::wait_for;
use interop::smtp;
use interop::world::{ARRIVES_WITHIN, POSTFIX, RED, World};

const LIMIT: Duration = Duration::from_secs(60);
const DESTINATIONS: usize = 16;

fn send(node: &Node, user: &str, recipients: &[String]) {
    let told = |error: smtp::Failure| -> ! { panic!("the submission: {error:?}") };
    let address = node.at(port::SUBMISSION);
    let mut client = smtp::Client::connect(address, LIMIT).unwrap_or_else(|error| told(error));
    client
        .log_in(user, node::PASSWORD)
        .unwrap_or_else(|error| told(error));
    let mut lines = vec![(format!("MAIL FROM:<{user}>"), 250)];
    for recipient in recipients {
        lines.push((format!("RCPT TO:<{recipient}>"), 250));
    }
    lines.push(("DATA".to_owned(), 354));
    lines.push((format!("From: {user}\r\nSubject: x\r\n\r\nhello\r\n."), 250));
    for (line, code) in lines {
        let reply = client.command(&line).unwrap_or_else(|error| told(error));
        assert_eq!(reply.code, code, "{line}: {reply:?}");
    }
    client.quit().unwrap_or_else(|error| told(error));
}

/// What Postfix wrote of who handed each letter over: destination, and `name [address]`.
fn origins(postfix: &Postfix, count: usize) -> Vec<(String, String)> {
    let all = || Some(postfix.delivered()).filter(|letters| letters.len() >= count);
    let letters = wait_for("the letters", ARRIVES_WITHIN, all);
    let origin = |letter: &Vec<u8>| {
        let text = String::from_utf8_lossy(letter).into_owned();
        let field = |start: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(start));
            line.unwrap_or_else(|| panic!("no {start} in {text}"))
                .to_owned()
        };
        let to = field("Delivered-To: ");
        // `Received: from NAME (unknown [ADDRESS])`
        let received = field("Received: from ");
        let (name, rest) = received.split_once(' ').unwrap_or((&received, ""));
        let address = rest.split(['[', ']']).nth(1).unwrap_or_default();
        let domain = to.rsplit('@').next().unwrap_or_default().to_owned();
        (domain, format!("{name} [{address}]"))
    };
    letters.iter().map(origin).collect()
}

/// RFC 5321 §4.1.1.1: each address has its own name in EHLO. Destinations are spread over the addresses
/// of the pool and each sees always the same; a bound sender uses only its own pool.
#[test]
fn letters_leave_from_the_addresses_of_their_pool() {
    let world = World::new();
    let domains: Vec<String> = (0..DESTINATIONS).map(|n| format!("d{n}.test")).collect();
    let setup = Setup {
        hostname: "mx.postfix.test".to_owned(),
        domains: domains.clone(),
        ..Setup::default()
    };
    let address = world.place.at(POSTFIX, port::SMTP);
    let postfix = Postfix::start(&world.place, "postfix", address, &setup);
    let (one, two, three) = (
        world.place.address(11),
        world.place.address(12),
        world.place.address(13),
    );
    let routes: Vec<String> = domains
        .iter()
        .map(|domain| format!("\"{domain} smtp:[{}]:{}\"", address.ip(), address.port()))
        .collect();
    let red = node::Setup {
        settings: format!(
            "outbound.routes = [{}]\noutbound.sources = [\"{one} name=one.red.test\", \
             \"{two} name=two.red.test\", \"{three} name=bulk.red.test pool=bulk\"]\n\
             outbound.source_pools = [\"news.test bulk\"]\n",
            routes.join(", ")
        ),
        ..world.setup(RED, "red.test")
    };
    let red = Node::start(&world.place, &red, &["alice"]);
    let added = red.command(&["domain", "add", "news.test"]);
    assert!(added.status.success(), "{added:?}");
    red.add_account("news@news.test");
    let to: Vec<String> = domains
        .iter()
        .map(|domain| format!("carol@{domain}"))
        .collect();
    send(&red, "alice@red.test", &to);
    origins(&postfix, DESTINATIONS);
    send(&red, "alice@red.test", &to);
    let mut seen: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let origins_of_alice = origins(&postfix, 2 * DESTINATIONS);
    for (domain, origin) in origins_of_alice.clone() {
        seen.entry(domain).or_default().insert(origin);
    }
    assert_eq!(seen.len(), DESTINATIONS);
    assert!(seen.values().all(|origins| origins.len() == 1), "{seen:?}");
    let used: BTreeSet<String> = seen.into_values().flatten().collect();
    let expected = [
        format!("one.red.test [{one}]"),
        format!("two.red.test [{two}]"),
    ];
    assert_eq!(used.into_iter().collect::<Vec<_>>(), expected);

    send(&red, "news@news.test", &to[..4]);
    let mut bulk = origins(&postfix, 2 * DESTINATIONS + 4);
    for known in origins_of_alice {
        let at = bulk.iter().position(|origin| *origin == known);
        bulk.swap_remove(at.unwrap_or_else(|| panic!("{known:?} is gone")));
    }
    let bulk: BTreeSet<String> = bulk.into_iter().map(|(_, origin)| origin).collect();
    let expected = format!("bulk.red.test [{three}]");
    assert_eq!(bulk.into_iter().collect::<Vec<_>>(), [expected]);
}
