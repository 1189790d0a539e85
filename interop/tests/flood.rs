//! Connections that want nothing do not stop mail. `pennyblack-bench flood` is the large version,
//! with times.

use std::time::Duration;

use interop::flood::{Flood, Plan, raise_file_limit};
use interop::letters::{Heading, Writer};
use interop::node::{self, Node, port};
use interop::place::Place;
use interop::smtp::Client;
use interop::world::wait_for_letters;

const BOB: &str = "bob@black.test";
const LETTERS: u64 = 40;

#[test]
fn two_thousand_idlers_do_not_stop_mail() {
    raise_file_limit(4_096);
    let place = Place::new();
    let setup = node::Setup {
        settings: "limits.connections_per_address = 3000\nlimits.connections_per_second = 3000\n\
                   auth.dmarc = \"none\"\n"
            .to_owned(),
        ..node::Setup::new(1, "black.test")
    };
    let node = Node::start(&place, &setup, &["bob"]);
    let to = node.at(port::SMTP);
    let flood = Flood::start(Plan {
        to,
        connections: 2_000,
        sources: (10..14).map(|host| place.address(host)).collect(),
        recipient: BOB.to_owned(),
        drip_every: Duration::from_secs(1),
    });
    let writer = Writer::new(3);
    for number in 0..LETTERS {
        let heading = Heading {
            from: "a@red.test",
            to: BOB,
            number,
        };
        let letter = writer.letter(heading, 5_000);
        // Each comes by a connection of its own, through the same door as the idlers.
        let sent = Client::connect(to, Duration::from_secs(60)).and_then(|mut client| {
            client.send("a@red.test", &[BOB.to_owned()], letter.as_bytes())?;
            client.quit()
        });
        sent.unwrap_or_else(|failure| panic!("letter {number}: {failure}"));
    }
    assert_eq!(
        wait_for_letters(&node, BOB, LETTERS as usize).len(),
        LETTERS as usize
    );
    assert_eq!(flood.open(), 2_000);
}
