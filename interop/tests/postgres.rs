//! A node whose PostgreSQL goes away and comes back, as its peers and its users see it.
#![expect(clippy::unwrap_used, reason = "a test stops at what it cannot do")]

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use interop::imap;
use interop::letters::{Heading, Writer};
use interop::node::{self, Node, port};
use interop::place::Place;
use interop::postgres::{Flushed, Postgres};
use interop::process::{said, wait_for};
use interop::smtp::{Client, Failure};
use interop::world::wait_for_letters;

const LIMIT: Duration = Duration::from_secs(60);
/// The node is not asked to wait for anything but its database.
const BACK_WITHIN: Duration = Duration::from_secs(60);

/// A node whose password for the database comes from its environment.
fn node(place: &Place, server: &Postgres) -> Node {
    let url = server.database_of_user("mail", "s3cret");
    let mut setup = node::Setup::new(1, "red.test");
    setup.settings = format!("store.url = \"{}\"\n", url.replace(":s3cret@", "@"));
    let script = format!(
        "#!/bin/sh\nPGPASSWORD=s3cret exec {} \"$@\"\n",
        node::built().display()
    );
    let program = place.write("with-password", script);
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    setup.program = Some(program);
    Node::start(place, &setup, &["u0"])
}

fn deliver(node: &Node, number: u64) -> Result<(), Failure> {
    let heading = Heading {
        from: "carol@black.test",
        to: "u0@red.test",
        number,
    };
    let letter = Writer::new(7).letter(heading, 900).into_bytes();
    let mut client = Client::connect(node.at(port::SMTP), LIMIT)?;
    client
        .send("carol@black.test", &["u0@red.test".to_owned()], &letter)
        .map(drop)
}

#[test]
fn a_node_without_its_database_says_later() {
    let place = Place::new();
    let mut server = Postgres::start(Flushed::No);
    let node = node(&place, &server);
    deliver(&node, 1).unwrap();
    let mut reader =
        imap::Client::log_in(node.at(port::IMAP), "u0@red.test", node::PASSWORD).unwrap();
    assert_eq!(reader.count("INBOX").unwrap(), 1);
    server.stop();
    let Failure::Refused { reply, .. } = deliver(&node, 2).unwrap_err() else {
        panic!("the connection broke");
    };
    assert_eq!(reply.code, 451, "{reply:?}");
    assert!(!reply.text.contains("PostgreSQL"), "{reply:?}");
    let refused = reader.count("INBOX").unwrap_err().to_string();
    assert!(refused.contains("NO [UNAVAILABLE]"), "{refused}");
    let refused = reader
        .append("INBOX", b"Subject: x\r\n\r\nx\r\n")
        .unwrap_err();
    let refused = refused.to_string();
    assert!(refused.contains("NO [UNAVAILABLE]"), "{refused}");
    server.begin();
    wait_for("a letter to be taken", BACK_WITHIN, || {
        deliver(&node, 2).ok()
    });
    assert_eq!(reader.count("INBOX").unwrap(), 2);
    assert_eq!(wait_for_letters(&node, "u0@red.test", 2).len(), 2);
    let output = node.command(&["verify"]);
    assert!(output.status.success(), "verify: {}", said(&output));
    // What the operator needs stands in the log; the password does not.
    let log = node.log();
    assert!(log.contains("cannot connect to mail@"), "{log}");
    assert!(!log.contains("s3cret"), "{log}");
}
