//! Three nodes on one PostgreSQL and one object store are one mail server: what comes in at one is
//! read at another, one may die or be started anew, and nothing that was acknowledged is lost.
//!
//! The nodes serve `red.test`; a fourth, with a store of its own, serves `black.test`. Letters are
//! submitted on all three to both domains, and delivered by SMTP, while one node is ended with
//! SIGKILL, stays away for longer than its lease, comes back, is killed and started at once, and
//! while all three are stopped and started in turn.
#![expect(clippy::unwrap_used, reason = "a test stops at what it cannot do")]

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use interop::imap;
use interop::letters::{Heading, Random, Writer};
use interop::node::{self, Node, port};
use interop::postgres::{Flushed, Postgres};
use interop::process::{said, wait_for};
use interop::s3::S3Server;
use interop::smtp::{Client, Failure};
use interop::world::{BLACK, World, wait_for_empty_queue};

/// The addresses of the three.
const HOSTS: [u8; 3] = [1, 11, 12];
const USERS: [&str; 4] = ["u0", "u1", "u2", "u3"];
/// What the nodes' claims last without being renewed.
const LEASE: Duration = Duration::from_secs(4);
/// A change on one node is seen on another within this time.
const SEEN_WITHIN: Duration = Duration::from_secs(1);
const LIMIT: Duration = Duration::from_secs(20);

/// The servers, in the order in which they end.
struct Cluster {
    nodes: [Node; 3],
    black: Node,
    database: Postgres,
    objects: S3Server,
    _world: World,
}

impl Cluster {
    fn start() -> Self {
        let world = World::new();
        let database = Postgres::start(Flushed::Yes);
        database.database("mail");
        let objects = S3Server::start();
        let nodes =
            HOSTS.map(|host| Node::new(&world.place, &setup(&world, host, &database, &objects)));
        let mut cluster = Cluster {
            nodes,
            black: world.node(BLACK, "black.test", &USERS),
            database,
            objects,
            _world: world,
        };
        // The first makes the key that all need; the others start together.
        cluster.nodes[0].serve();
        let [_, second, third] = &mut cluster.nodes;
        std::thread::scope(|scope| {
            scope.spawn(|| second.serve());
            scope.spawn(|| third.serve());
        });
        // Each account is made on another node, and is there on all of them at once.
        for (number, user) in USERS.iter().enumerate() {
            cluster.nodes[number % 3].add_account(&format!("{user}@red.test"));
        }
        cluster
    }

    fn reader(&self, node: usize, user: &str) -> imap::Client {
        let login = format!("{user}@red.test");
        imap::Client::log_in(self.nodes[node].at(port::IMAP), &login, node::PASSWORD).unwrap()
    }

    /// How many recipients a node has in hand.
    fn in_hand(&self, host: u8) -> u64 {
        let sql = format!("SELECT count(*) FROM recipient WHERE node = 'node-{host}'");
        self.database.psql("mail", &sql).trim().parse().unwrap()
    }
}

fn setup(world: &World, host: u8, database: &Postgres, objects: &S3Server) -> node::Setup {
    let access = objects.access();
    let settings = format!(
        "node = \"node-{host}\"\nqueue.lease = \"{}s\"\nqueue.retry_first = \"1s\"\n\
         queue.retry_max = \"2s\"\nqueue.stop_grace = \"2s\"\nstop_grace = \"2s\"\n\
         limits.connections_per_second = 1000\nstore.url = \"{}\"\n\
         blobs.url = \"s3://{}/mail\"\n\
         blobs.endpoint = \"{}\"\nblobs.region = \"{}\"\nblobs.inline_max = \"2 KB\"\n",
        LEASE.as_secs(),
        database.url("mail"),
        access.bucket,
        access.endpoint,
        access.region,
    );
    node::Setup {
        settings,
        environment: vec![
            ("AWS_ACCESS_KEY_ID", access.key_id),
            ("AWS_SECRET_ACCESS_KEY", access.secret_key),
        ],
        ..world.setup(host, "red.test")
    }
}

#[test]
fn three_nodes_are_one_server() {
    let mut cluster = Cluster::start();
    mail_in_at_one_is_read_at_another(&cluster);
    changes_on_two_nodes_fit_together(&cluster);
    let load = Load::new(&cluster);
    std::thread::scope(|scope| {
        for worker in 0..6 {
            let load = &load;
            scope.spawn(move || load.run(worker));
        }
        kill_one(&mut cluster);
        restart_all(&mut cluster);
        load.stop.store(true, Ordering::Relaxed);
    });
    for node in [&cluster.nodes[2], &cluster.black] {
        wait_for_empty_queue(node, Duration::from_secs(60));
        let output = node.command(&["verify"]);
        assert!(output.status.success(), "verify: {}", said(&output));
    }
    assert!(!cluster.objects.objects().is_empty());
    load.check(&cluster);
    the_views_are_equal(&cluster);
}

fn mail_in_at_one_is_read_at_another(cluster: &Cluster) {
    let writer = Writer::new(5);
    let mut reader = cluster.reader(1, "u0");
    reader.command("SELECT INBOX").unwrap();
    let mut client = Client::connect(cluster.nodes[0].at(port::SMTP), LIMIT).unwrap();
    let mut slowest = Duration::ZERO;
    for number in 0..10 {
        reader.idle().unwrap();
        let (_, letter) = letter(&writer, "u0@red.test", 1_000_000 + number);
        let recipients = ["u0@red.test".to_owned()];
        client.send("x@black.test", &recipients, &letter).unwrap();
        let from = Instant::now();
        reader.until_there_are(number + 1).unwrap();
        slowest = slowest.max(from.elapsed());
        reader.done().unwrap();
        let read = reader
            .command(&format!("FETCH {} (BODY.PEEK[])", number + 1))
            .unwrap();
        assert!(read[0].literals[0].ends_with(&letter));
    }
    eprintln!("seen on another node after {slowest:?} at most");
    assert!(slowest < SEEN_WITHIN);
}

/// Two nodes append to one mailbox and change its flags at the same time.
fn changes_on_two_nodes_fit_together(cluster: &Cluster) {
    let writer = Writer::new(6);
    std::thread::scope(|scope| {
        for node in 0..2 {
            let writer = &writer;
            scope.spawn(move || {
                let mut client = cluster.reader(node, "u3");
                client.command("SELECT INBOX").unwrap();
                for number in 0..30 {
                    let number = 2_000_000 + node as u64 * 1_000 + number;
                    let (_, letter) = letter(writer, "u3@red.test", number);
                    client.append("INBOX", &letter).unwrap();
                    client.command("STORE 1:* +FLAGS (\\Flagged)").unwrap();
                    client
                        .command(&format!("STORE 1 +FLAGS (node{node})"))
                        .unwrap();
                }
            });
        }
    });
    let mut client = cluster.reader(2, "u3");
    assert_eq!(client.count("INBOX").unwrap(), 60);
    the_views_are_equal(cluster);
}

/// Every inbox is the same on all nodes, and no UID is there twice.
fn the_views_are_equal(cluster: &Cluster) {
    for user in USERS {
        let views: Vec<Vec<String>> = (0..3).map(|node| view(cluster, node, user)).collect();
        let uids: BTreeSet<&str> = views[0]
            .iter()
            .filter_map(|row| row.split("UID ").nth(1)?.split([' ', ')']).next())
            .collect();
        assert_eq!(uids.len(), views[0].len(), "{user}: a UID is there twice");
        assert_eq!(views[0], views[1], "{user}");
        assert_eq!(views[0], views[2], "{user}");
    }
}

fn view(cluster: &Cluster, node: usize, user: &str) -> Vec<String> {
    let mut client = cluster.reader(node, user);
    client.command("EXAMINE INBOX").unwrap();
    if client.count("INBOX").unwrap() == 0 {
        return Vec::new();
    }
    let rows = client.command("FETCH 1:* (UID FLAGS RFC822.SIZE)").unwrap();
    rows.into_iter().map(|row| row.text).collect()
}

/// One node dies for longer than its lease, and once more for a moment.
fn kill_one(cluster: &mut Cluster) {
    let pause = Duration::from_millis(1_500);
    std::thread::sleep(pause);
    let victim = HOSTS[1];
    // A moment when it has work in hand; under load there is one at once.
    wait_for("work in hand", LIMIT, || {
        (cluster.in_hand(victim) > 0).then_some(())
    });
    cluster.nodes[1].kill();
    let died = Instant::now();
    let left = cluster.in_hand(victim);
    wait_for("the others to take over", LEASE * 3, || {
        (cluster.in_hand(victim) == 0).then_some(())
    });
    eprintln!(
        "{left} claims of the dead node were taken over {:?} later",
        died.elapsed()
    );
    cluster.nodes[1].serve();
    std::thread::sleep(pause);
    cluster.nodes[1].kill();
    cluster.nodes[1].serve();
    std::thread::sleep(pause);
}

/// All nodes are stopped and started in turn.
fn restart_all(cluster: &mut Cluster) {
    for node in &mut cluster.nodes {
        assert!(node.stop().success());
        node.serve();
        std::thread::sleep(Duration::from_millis(300));
    }
}

/// What is known of a letter.
#[derive(Clone, Copy, Debug, Default)]
struct Fate {
    acknowledged: bool,
    /// Attempts whose reply never came.
    unanswered: u32,
}

/// Clients that send until they are told to stop.
struct Load {
    smtp: [SocketAddr; 3],
    submission: [SocketAddr; 3],
    writer: Writer,
    next: AtomicU64,
    stop: AtomicBool,
    fates: Mutex<BTreeMap<String, Fate>>,
}

impl Load {
    fn new(cluster: &Cluster) -> Self {
        let at = |port| [0, 1, 2].map(|node: usize| cluster.nodes[node].at(port));
        Load {
            smtp: at(port::SMTP),
            submission: at(port::SUBMISSION),
            writer: Writer::new(7),
            next: AtomicU64::new(0),
            stop: AtomicBool::new(false),
            fates: Mutex::default(),
        }
    }

    /// Workers 0 to 2 submit on a node each, the others deliver by SMTP.
    fn run(&self, worker: usize) {
        let mut random = Random::new(worker as u64 + 99);
        let mut client = None;
        while !self.stop.load(Ordering::Relaxed) {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let domain = if worker < 3 && random.below(3) > 0 {
                "black.test"
            } else {
                "red.test"
            };
            let user = USERS[random.below(USERS.len() as u64) as usize];
            self.send(worker, number, &format!("{user}@{domain}"), &mut client);
            std::thread::sleep(Duration::from_millis(15));
        }
    }

    /// Sends one letter until it is acknowledged; after a failure on the next node, as a client
    /// does that knows several servers.
    fn send(&self, worker: usize, number: u64, to: &str, client: &mut Option<Client>) {
        let (id, letter) = letter(&self.writer, to, number);
        self.fates
            .lock()
            .unwrap()
            .insert(id.clone(), Fate::default());
        let change =
            |change: &dyn Fn(&mut Fate)| change(self.fates.lock().unwrap().get_mut(&id).unwrap());
        let recipients = [to.to_owned()];
        for attempt in 0..1_000 {
            let connected = match client.take() {
                Some(client) => Ok(client),
                None => self.connect(worker, worker + attempt),
            };
            // A connection that was not made has taken nothing.
            if let Ok(mut connection) = connected {
                match connection.send("u0@red.test", &recipients, &letter) {
                    Ok(_) => {
                        change(&|fate| fate.acknowledged = true);
                        *client = Some(connection);
                        return;
                    }
                    Err(Failure::Broken(_)) => change(&|fate| fate.unanswered += 1),
                    Err(Failure::Refused { reply, .. }) if reply.code / 100 == 4 => {}
                    Err(Failure::Refused { stage, reply }) => panic!("{to}: {stage}: {reply:?}"),
                }
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("{id} was not taken in a thousand attempts");
    }

    fn connect(&self, worker: usize, node: usize) -> Result<Client, Failure> {
        if worker >= 3 {
            return Client::connect(self.smtp[node % 3], LIMIT);
        }
        let mut client = Client::connect(self.submission[node % 3], LIMIT)?;
        client.log_in("u0@red.test", node::PASSWORD)?;
        Ok(client)
    }

    /// Every acknowledged letter is there, and none more often than its client sent it.
    fn check(&self, cluster: &Cluster) {
        let found = self.found(cluster);
        let fates = self.fates.lock().unwrap();
        let (mut wrong, mut acknowledged, mut unanswered, mut doubled) = (Vec::new(), 0, 0, 0);
        for (id, fate) in fates.iter() {
            let times = found.get(id).copied().unwrap_or(0);
            let least = u32::from(fate.acknowledged);
            if !(least..=least + fate.unanswered).contains(&times) {
                wrong.push(format!("{id} is there {times} times: {fate:?}"));
            }
            acknowledged += least;
            unanswered += fate.unanswered;
            doubled += times.saturating_sub(1);
        }
        eprintln!("{acknowledged} acknowledged, {unanswered} without reply, {doubled} doubled");
        assert!(
            wrong.is_empty(),
            "{} letters:\n{}",
            wrong.len(),
            wrong.join("\n")
        );
        assert!(
            acknowledged > 150,
            "too few letters for the test to mean anything"
        );
    }

    /// How often each letter of the load stands in the inboxes of both domains, unchanged.
    fn found(&self, cluster: &Cluster) -> BTreeMap<String, u32> {
        let mut found = BTreeMap::new();
        for (node, domain) in [
            (&cluster.nodes[0], "red.test"),
            (&cluster.black, "black.test"),
        ] {
            for user in USERS {
                let login = format!("{user}@{domain}");
                let imap = node.at(port::IMAP);
                let mut client = imap::Client::log_in(imap, &login, node::PASSWORD).unwrap();
                for stored in client.letters("INBOX").unwrap() {
                    if let Some(id) = self.checked_id(&stored, &login) {
                        *found.entry(id).or_insert(0) += 1;
                    }
                }
            }
        }
        found
    }

    /// The Message-ID of a stored letter of the load; what stands below the trace fields is what
    /// was sent.
    fn checked_id(&self, stored: &[u8], to: &str) -> Option<String> {
        let text = String::from_utf8_lossy(stored);
        let id = text
            .lines()
            .find_map(|line| line.strip_prefix("Message-ID: "))?;
        let number: u64 = id.split(['.', '@']).nth(1)?.parse().ok()?;
        if number >= 1_000_000 {
            return None;
        }
        let (_, sent) = letter(&self.writer, to, number);
        assert!(stored.ends_with(&sent), "{id} was changed:\n{text:.2000}");
        Some(id.to_owned())
    }
}

/// A letter and its Message-ID; some fit into the database, others go to the object store.
fn letter(writer: &Writer, to: &str, number: u64) -> (String, Vec<u8>) {
    let heading = Heading {
        from: "u0@red.test",
        to,
        number,
    };
    let bytes = 400 + (number % 5) as usize * 3_000;
    let letter = writer.letter(heading, bytes).into_bytes();
    (format!("<{}>", writer.message_id(number)), letter)
}
