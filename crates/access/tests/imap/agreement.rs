//! Many sessions change one mailbox at random, and each keeps the picture that its answers paint:
//! no number may be out of range, no removal may be told in the wrong place, and in the end all see
//! the same.

use std::collections::BTreeMap;

use crate::client::Client;
use crate::world::World;

/// What a session has been told.
struct Picture {
    client: Client,
    /// By message number: the UID, if it is known.
    uids: Vec<Option<u32>>,
    state: u64,
}

impl Picture {
    async fn new(world: &World, seed: u64) -> Self {
        let mut client = world.log_in().await;
        let lines = client.ok("SELECT INBOX").await;
        let mut picture = Self {
            client,
            uids: Vec::new(),
            state: seed,
        };
        picture.take(&lines, true);
        picture
    }

    fn random(&mut self, below: usize) -> usize {
        self.state = self
            .state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        usize::try_from(self.state >> 33).unwrap() % below
    }

    /// Takes untagged answers in.
    fn take(&mut self, lines: &[String], may_expunge: bool) {
        for line in lines {
            let words: Vec<&str> = line.split([' ', '(', ')']).collect();
            let [_, number, what, ..] = words.as_slice() else {
                continue;
            };
            let Ok(number) = number.parse::<usize>() else {
                continue;
            };
            match *what {
                "EXISTS" => {
                    assert!(
                        number >= self.uids.len(),
                        "{line}: {} were known",
                        self.uids.len()
                    );
                    self.uids.resize(number, None);
                }
                "EXPUNGE" => {
                    assert!(may_expunge, "{line} in the wrong place: {lines:?}");
                    assert!(
                        (1..=self.uids.len()).contains(&number),
                        "{line}: {}",
                        self.uids.len()
                    );
                    self.uids.remove(number - 1);
                }
                "FETCH" => {
                    let at = words.iter().position(|word| *word == "UID").expect("a UID");
                    let uid = words[at + 1].parse().unwrap();
                    let known = self.uids.get_mut(number - 1).expect("a number in range");
                    assert!(
                        known.is_none_or(|known| known == uid),
                        "{line}: was {known:?}"
                    );
                    *known = Some(uid);
                }
                _ => {}
            }
        }
        let known: Vec<u32> = self.uids.iter().flatten().copied().collect();
        assert!(known.is_sorted_by(|a, b| a < b), "UIDs ascend: {known:?}");
    }

    async fn step(&mut self) {
        let count = self.uids.len();
        let number = self.random(count.max(1)) + 1;
        let flag = ["\\Seen", "\\Flagged", "$Work", "\\Deleted"][self.random(4)];
        let sign = ["+", "-"][self.random(2)];
        let (command, may_expunge) = match self.random(9) {
            0 | 1 => {
                let letter = format!("Subject: {number}\r\n\r\n{}\r\n", self.state);
                (
                    format!("APPEND INBOX {{{}+}}\r\n{letter}", letter.len()),
                    true,
                )
            }
            2 if count > 0 => (format!("STORE {number} {sign}FLAGS ({flag})"), false),
            3 if count > 0 => (format!("FETCH {number}:* (UID FLAGS RFC822.SIZE)"), false),
            4 if count > 0 => (format!("COPY {number} INBOX"), true),
            5 if count > 4 => (format!("MOVE {number} Trash"), true),
            6 if count > 4 => ("EXPUNGE".to_owned(), true),
            7 => ("SEARCH UNSEEN NOT FLAGGED".to_owned(), false),
            _ => ("NOOP".to_owned(), true),
        };
        let mut lines = self.client.command(&command).await;
        let answer = lines.pop().unwrap();
        let is_known = answer.starts_with("OK") || answer.contains("[EXPUNGEISSUED]");
        assert!(is_known, "{command}: {answer}");
        self.take(&lines, may_expunge);
    }

    /// What is in the mailbox, once all news are told.
    async fn result(&mut self) -> BTreeMap<u32, String> {
        let lines = self.client.ok("NOOP").await;
        self.take(&lines, true);
        let lines = self.client.ok("UID FETCH 1:* (FLAGS)").await;
        self.take(&lines, true);
        assert!(self.uids.iter().all(Option::is_some));
        let flags = |line: &String| {
            let (_, rest) = line.split_once("(UID ").expect("a FETCH");
            let (uid, flags) = rest.split_once(' ').unwrap();
            (uid.parse().unwrap(), flags.to_owned())
        };
        lines.iter().map(flags).collect()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_that_change_a_mailbox_at_random_agree() {
    let world = World::new().await;
    let mut tasks = Vec::new();
    for seed in 11..=16 {
        let mut picture = Picture::new(&world, seed).await;
        tasks.push(tokio::spawn(async move {
            for _ in 0..200 {
                picture.step().await;
            }
            picture
        }));
    }
    let mut pictures = Vec::new();
    for task in tasks {
        pictures.push(task.await.unwrap());
    }
    let expected = Picture::new(&world, 0).await.result().await;
    assert!(expected.len() > 4, "something is left");
    for picture in &mut pictures {
        assert_eq!(picture.result().await, expected);
    }
    assert_eq!(world.store.verify().await.unwrap(), Vec::<String>::new());
}
