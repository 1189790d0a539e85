//! A node is killed again and again in the middle of its work; every letter that it acknowledged
//! is there once.
//!
//! Two nodes, red and black. Letters are delivered to red by SMTP, submitted on red to neighbours
//! and to black, and appended by IMAP, all at the same time, while one of the nodes is ended with
//! SIGKILL at random moments and started again. A client whose connection dies before the reply
//! sends the same letter again, as real ones do: such a letter may be there twice, never not at
//! all. Once with the embedded database, and once with PostgreSQL. The moments come from a seed that is printed; `PENNYBLACK_SEED` repeats a run, except for
//! what the scheduler decides.
#![expect(clippy::unwrap_used, reason = "a test stops at what it cannot do")]

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use interop::imap;
use interop::letters::{Heading, Random, Writer};
use interop::node::{self, Node, port};
use interop::postgres::{Flushed, Postgres};
use interop::process::said;
use interop::smtp::{Client, Failure};
use interop::world::{BLACK, RED, World, wait_for_empty_queue};

/// How hard a run is.
#[derive(Clone, Copy)]
struct Run {
    kills: u32,
    /// Letters of each way that must have been acknowledged for it to mean anything.
    letters_min: u32,
}

/// A killed node is back within this time, with all its work.
const READY_WITHIN: Duration = Duration::from_secs(8);

/// The longest pause between two kills, in milliseconds.
const PAUSE_MS_MAX: u64 = 700;

const USERS: [&str; 4] = ["u0", "u1", "u2", "u3"];

const LIMIT: Duration = Duration::from_secs(20);

/// How a letter came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Way {
    Delivered,
    Submitted,
    Remote,
    Appended,
}

/// What a client knows about a letter.
#[derive(Clone, Copy, Debug)]
struct Fate {
    way: Way,
    acknowledged: bool,
    /// Attempts whose reply never came.
    unanswered: u32,
}

/// All letters of the run by Message-ID.
type Fates = Mutex<BTreeMap<String, Fate>>;

struct Load<'a> {
    red: [std::net::SocketAddr; 3],
    writer: &'a Writer,
    next: &'a AtomicU64,
    stop: &'a AtomicBool,
    fates: &'a Fates,
}

#[test]
fn no_acknowledged_letter_is_lost_or_doubled_by_kill_9() {
    let world = World::new();
    let red = world.node(RED, "red.test", &USERS);
    let black = world.node(BLACK, "black.test", &USERS);
    let run = Run {
        kills: 24,
        letters_min: 50,
    };
    kill_under_load(run, red, black);
}

/// The same on PostgreSQL, with fewer kills: a node's connections begin anew after each.
#[test]
fn no_acknowledged_letter_is_lost_or_doubled_by_kill_9_on_postgres() {
    let world = World::new();
    let server = Postgres::start(Flushed::Yes);
    let node = |host, domain: &str, database: &str| {
        let mut setup = world.setup(host, domain);
        let url = server.database(database);
        setup.settings += &format!("store.url = \"{url}\"\n");
        Node::start(&world.place, &setup, &USERS)
    };
    let red = node(RED, "red.test", "red");
    let black = node(BLACK, "black.test", "black");
    let run = Run {
        kills: 12,
        letters_min: 15,
    };
    kill_under_load(run, red, black);
}

fn kill_under_load(run: Run, mut red: Node, mut black: Node) {
    let seed = std::env::var("PENNYBLACK_SEED")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(29);
    eprintln!("PENNYBLACK_SEED={seed}");
    let (writer, next) = (Writer::new(seed), AtomicU64::new(0));
    let (stop, fates) = (AtomicBool::new(false), Fates::default());
    std::thread::scope(|scope| {
        for worker in 0..6 {
            let ports = [port::SMTP, port::SUBMISSION, port::IMAP];
            let red = ports.map(|port| red.at(port));
            let load = Load {
                red,
                writer: &writer,
                next: &next,
                stop: &stop,
                fates: &fates,
            };
            scope.spawn(move || load.run(worker));
        }
        let slowest = kill_again_and_again(run.kills, &mut red, &mut black, seed);
        stop.store(true, Ordering::Relaxed);
        assert!(
            slowest < READY_WITHIN,
            "a killed node took {slowest:?} to come back"
        );
        eprintln!("{} kills, slowest start {slowest:?}", run.kills);
    });
    for node in [&red, &black] {
        wait_for_empty_queue(node, Duration::from_secs(60));
    }
    for node in [&red, &black] {
        let output = node.command(&["verify"]);
        assert!(output.status.success(), "verify: {}", said(&output));
    }
    let found = found_everywhere(&red, &black, &writer);
    check(run, &fates.into_inner().unwrap(), &found);
}

/// Kills a node at random moments and gives the slowest start that followed.
fn kill_again_and_again(kills: u32, red: &mut Node, black: &mut Node, seed: u64) -> Duration {
    let mut random = Random::new(seed);
    let mut slowest = Duration::ZERO;
    for _ in 0..kills {
        std::thread::sleep(Duration::from_millis(random.below(PAUSE_MS_MAX)));
        // Red does most of the work, so it is killed most of the time.
        let victim = if random.below(4) == 0 {
            &mut *black
        } else {
            &mut *red
        };
        victim.kill();
        let from = Instant::now();
        victim.serve();
        slowest = slowest.max(from.elapsed());
    }
    slowest
}

impl Load<'_> {
    fn run(&self, worker: usize) {
        let mut random = Random::new(worker as u64 + 77);
        while !self.stop.load(Ordering::Relaxed) {
            let result = match worker {
                0 | 1 => self.deliver(&mut random),
                2..=4 => self.submit(&mut random),
                _ => self.append(&mut random),
            };
            if result.is_err() {
                // The node is down: a client waits a little and connects again.
                std::thread::sleep(Duration::from_millis(30));
            }
        }
    }

    /// Letters by SMTP on one connection after another, until one breaks.
    fn deliver(&self, random: &mut Random) -> Result<(), Failure> {
        let mut client = Client::connect(self.red[0], LIMIT)?;
        while !self.stop.load(Ordering::Relaxed) {
            let to = format!("{}@red.test", user(random));
            self.one(
                Way::Delivered,
                &to,
                || Client::connect(self.red[0], LIMIT),
                &mut client,
            )?;
        }
        Ok(())
    }

    fn submit(&self, random: &mut Random) -> Result<(), Failure> {
        let log_in = || {
            let mut client = Client::connect(self.red[1], LIMIT)?;
            client.log_in("u0@red.test", node::PASSWORD)?;
            Ok(client)
        };
        let mut client = log_in()?;
        while !self.stop.load(Ordering::Relaxed) {
            let (way, domain) = match random.below(2) {
                0 => (Way::Submitted, "red.test"),
                _ => (Way::Remote, "black.test"),
            };
            self.one(
                way,
                &format!("{}@{domain}", user(random)),
                log_in,
                &mut client,
            )?;
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// One letter, sent until it is acknowledged, if need be on new connections.
    fn one(
        &self,
        way: Way,
        to: &str,
        connect: impl Fn() -> Result<Client, Failure>,
        client: &mut Client,
    ) -> Result<(), Failure> {
        let (id, letter) = self.letter(to);
        self.note(
            &id,
            Fate {
                way,
                acknowledged: false,
                unanswered: 0,
            },
        );
        let recipients = [to.to_owned()];
        let mut sent = client.send("u0@red.test", &recipients, &letter);
        for _ in 0..1_000 {
            match sent {
                Ok(_) => {
                    self.change(&id, |fate| fate.acknowledged = true);
                    return Ok(());
                }
                Err(Failure::Broken(_)) => self.change(&id, |fate| fate.unanswered += 1),
                // A node that stops or starts may say 4xx: nothing was taken then.
                Err(Failure::Refused { ref reply, .. }) if reply.code / 100 == 4 => {}
                Err(Failure::Refused { stage, reply }) => panic!("{to}: {stage}: {reply:?}"),
            }
            std::thread::sleep(Duration::from_millis(20));
            match connect() {
                Ok(fresh) => {
                    *client = fresh;
                    sent = client.send("u0@red.test", &recipients, &letter);
                }
                // Nothing was sent, so nothing is unanswered.
                Err(failure) => sent = Err(refusal(&failure)),
            }
        }
        panic!("{id} was not taken in a thousand attempts");
    }

    fn append(&self, random: &mut Random) -> Result<(), Failure> {
        let user = format!("{}@red.test", user(random));
        let mut client = imap::Client::log_in(self.red[2], &user, node::PASSWORD)?;
        while !self.stop.load(Ordering::Relaxed) {
            let (id, letter) = self.letter(&user);
            self.note(
                &id,
                Fate {
                    way: Way::Appended,
                    acknowledged: false,
                    unanswered: 1,
                },
            );
            client.append("INBOX", &letter)?;
            self.change(&id, |fate| (fate.acknowledged, fate.unanswered) = (true, 0));
            std::thread::sleep(Duration::from_millis(3));
        }
        Ok(())
    }

    fn letter(&self, to: &str) -> (String, Vec<u8>) {
        letter(self.writer, to, self.next.fetch_add(1, Ordering::Relaxed))
    }

    fn note(&self, id: &str, fate: Fate) {
        self.fates.lock().unwrap().insert(id.to_owned(), fate);
    }

    fn change(&self, id: &str, change: impl FnOnce(&mut Fate)) {
        change(self.fates.lock().unwrap().get_mut(id).unwrap());
    }
}

/// A connection that was not made has taken no letter: told apart from one that broke.
fn refusal(failure: &Failure) -> Failure {
    let reply = interop::smtp::Reply {
        code: 421,
        text: failure.to_string(),
    };
    Failure::Refused {
        stage: "connecting",
        reply,
    }
}

fn user(random: &mut Random) -> &'static str {
    USERS[random.below(USERS.len() as u64) as usize]
}

/// How often each Message-ID stands in the inboxes of both nodes. Each letter is compared with what
/// was sent.
fn found_everywhere(red: &Node, black: &Node, writer: &Writer) -> BTreeMap<String, u32> {
    let mut found = BTreeMap::new();
    for (node, domain) in [(red, "red.test"), (black, "black.test")] {
        for user in USERS {
            let login = format!("{user}@{domain}");
            let imap = node.at(port::IMAP);
            let mut client = imap::Client::log_in(imap, &login, node::PASSWORD).unwrap();
            for letter in client.letters("INBOX").unwrap() {
                *found
                    .entry(checked_id(&letter, writer, &login))
                    .or_insert(0) += 1;
            }
        }
    }
    found
}

/// The Message-ID of a stored letter; what stands below the trace fields is what was sent.
fn checked_id(stored: &[u8], writer: &Writer, to: &str) -> String {
    let text = String::from_utf8_lossy(stored);
    let id = text
        .lines()
        .find_map(|line| line.strip_prefix("Message-ID: "))
        .unwrap_or_default();
    let number = id
        .split(['.', '@'])
        .nth(1)
        .and_then(|number| number.parse().ok());
    let number = number.unwrap_or_else(|| panic!("a letter that nobody sent:\n{text:.2000}"));
    let (_, sent) = letter(writer, to, number);
    assert!(stored.ends_with(&sent), "{id} was changed:\n{text:.2000}");
    id.to_owned()
}

/// A letter of the run and its Message-ID.
fn letter(writer: &Writer, to: &str, number: u64) -> (String, Vec<u8>) {
    // Sizes from a line to what does not fit into one buffer.
    let bytes = 400 + (number % 7) as usize * 3_000;
    let heading = Heading {
        from: "u0@red.test",
        to,
        number,
    };
    let letter = writer.letter(heading, bytes).into_bytes();
    (format!("<{}>", writer.message_id(number)), letter)
}

fn check(run: Run, fates: &BTreeMap<String, Fate>, found: &BTreeMap<String, u32>) {
    let mut wrong = Vec::new();
    let mut by_way: BTreeMap<Way, (u32, u32, u32)> = BTreeMap::new();
    for (id, fate) in fates {
        let times = found.get(id).copied().unwrap_or(0);
        let least = u32::from(fate.acknowledged);
        // Between the nodes, too: black remembers an unanswered letter, red settles before it goes on.
        let most = least + fate.unanswered;
        if !(least..=most).contains(&times) {
            wrong.push(format!("{id} is there {times} times: {fate:?}"));
        }
        let (letters, unanswered, doubled) = by_way.entry(fate.way).or_default();
        *letters += least;
        *unanswered += fate.unanswered;
        *doubled += times.saturating_sub(1);
    }
    for (way, (letters, unanswered, doubled)) in &by_way {
        eprintln!("{way:?}: {letters} acknowledged, {unanswered} without reply, {doubled} doubled");
        assert!(
            *letters > run.letters_min,
            "too few letters ({way:?}) for the test to mean anything"
        );
    }
    for id in found.keys().filter(|id| !fates.contains_key(*id)) {
        wrong.push(format!("{id} was never sent"));
    }
    assert!(
        wrong.is_empty(),
        "{} letters:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}
