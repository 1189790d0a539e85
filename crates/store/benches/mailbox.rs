//! How fast one large mailbox is read and changed: `cargo bench -p pennyblack-store --bench mailbox
//! -- [messages=100K] [rounds=20] [store=postgres]` and the choices of [`world`].
//!
//! What a client asks for: the newest 50, all (UID, flags), one flag and 10,000, bodies at random.
//! Then the same reads while letters come in as fast as they can.

#![expect(clippy::unwrap_used, reason = "a failure ends the measurement")]
#![expect(clippy::print_stdout, reason = "its output is its purpose")]
#![expect(clippy::cast_precision_loss, reason = "figures for people")]

mod world;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use base::{AccountId, MailboxId, MessageId, Uid};
use pennyblack_store::{FlagChange, FlagOp, Role, Store};
use world::{Place, Times, letter, number, proc_number};

/// Messages of a page of a list.
const PAGE: u32 = 50;
/// Messages of a large change.
const MANY: u32 = 10_000;
/// Bodies read in one go.
const BODIES: u64 = 100;

/// The mailbox that is measured.
#[derive(Clone)]
struct Inbox {
    store: Store,
    account: AccountId,
    mailbox: MailboxId,
    messages: u32,
}

impl Inbox {
    async fn fill(store: Store, messages: u32) -> Self {
        let account = world::make_accounts(&store, 2).await[0];
        let next = Arc::new(AtomicU64::new(0));
        let mut tasks = Vec::new();
        for _ in 0..64 {
            let (store, next) = (store.clone(), Arc::clone(&next));
            let end = u64::from(messages);
            tasks.push(tokio::spawn(async move {
                deliver(&store, account, &next, end).await
            }));
        }
        for task in tasks {
            task.await.unwrap();
        }
        let mailboxes = store.mailboxes(account).await.unwrap();
        let inbox = mailboxes.iter().find(|info| info.role == Some(Role::Inbox));
        Self {
            mailbox: inbox.unwrap().id,
            store,
            account,
            messages,
        }
    }

    async fn newest(&self) {
        let from = Uid(self.messages.saturating_sub(PAGE) + 1);
        let page = self
            .store
            .placements(self.account, self.mailbox, from, PAGE as usize)
            .await
            .unwrap();
        let ids: Vec<MessageId> = page.iter().map(|row| row.message).collect();
        let rows = self.store.structured(self.account, &ids).await.unwrap();
        assert_eq!(rows.len(), PAGE as usize);
    }

    async fn all_flags(&self) {
        let all = self
            .store
            .placements(self.account, self.mailbox, Uid(1), usize::MAX)
            .await
            .unwrap();
        assert!(all.len() >= self.messages as usize);
    }

    async fn flag(&self, uids: &[Uid], op: FlagOp) {
        let change = FlagChange {
            op,
            keywords: ["$flagged"].into_iter().collect(),
            deleted: false,
            unchanged_since: None,
        };
        self.store
            .set_flags(self.account, self.mailbox, uids, &change)
            .await
            .unwrap();
    }

    async fn bodies(&self, round: u64) {
        for pick in 0..BODIES {
            // Spread over the mailbox without an order that a cache could follow.
            let at = (round * BODIES + pick).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 33;
            let message = MessageId(i64::try_from(at % u64::from(self.messages)).unwrap() + 1);
            let body = self.store.body(self.account, message).await.unwrap();
            let size = body.size();
            assert_eq!(body.read(0..size).await.unwrap().len() as u64, size);
        }
    }
}

async fn deliver(store: &Store, account: AccountId, next: &AtomicU64, end: u64) {
    let bytes = usize::try_from(number("size", 5_000)).unwrap();
    let mut confirms = Vec::new();
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number >= end {
            return;
        }
        let delivery = world::delivery(store, letter(number, bytes), account, &mut confirms).await;
        confirms.push(store.deliver(delivery).await.unwrap().letter);
    }
}

/// Runs something so many times and prints how long it took.
async fn measure(name: &str, rounds: u64, work: impl AsyncFn(u64)) {
    let mut times = Times::default();
    // The first finds cold caches, and statements that are not prepared.
    work(0).await;
    for round in 1..=rounds {
        let began = Instant::now();
        work(round).await;
        times.add(began);
    }
    println!("{name:<34} {}", times.told());
}

async fn reads(mailbox: &Inbox, rounds: u64) {
    measure("newest 50 with envelopes", rounds * 5, async |_| {
        mailbox.newest().await
    })
    .await;
    measure("all (uid, flags)", rounds, async |_| {
        mailbox.all_flags().await
    })
    .await;
    measure("100 bodies at random", rounds, async |round| {
        mailbox.bodies(round).await
    })
    .await;
}

async fn changes(mailbox: &Inbox, rounds: u64) {
    let op = |round: u64| {
        if round.is_multiple_of(2) {
            FlagOp::Add
        } else {
            FlagOp::Remove
        }
    };
    let one = [Uid(mailbox.messages / 2)];
    measure("flag one", rounds * 5, async |round| {
        mailbox.flag(&one, op(round)).await
    })
    .await;
    let many: Vec<Uid> = (1..=MANY.min(mailbox.messages)).map(Uid).collect();
    measure("flag 10,000", rounds.div_ceil(4), async |round| {
        mailbox.flag(&many, op(round)).await;
    })
    .await;
}

/// The reads again, while letters come to another account as fast as they can.
async fn under_load(mailbox: &Inbox, rounds: u64) {
    let other = base::EmailAddress::parse("user1@red.test").unwrap();
    let other = mailbox.store.account_by_address(&other).await.unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let next = Arc::new(AtomicU64::new(u64::from(mailbox.messages)));
    let began = Instant::now();
    let mut tasks = Vec::new();
    for _ in 0..16 {
        let (store, stop, next) = (mailbox.store.clone(), Arc::clone(&stop), Arc::clone(&next));
        let account = other.unwrap_or(mailbox.account);
        tasks.push(tokio::spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                let end = next.load(Ordering::Relaxed) + 20;
                deliver(&store, account, &next, end).await;
            }
        }));
    }
    println!("while 16 producers deliver:");
    reads(mailbox, rounds).await;
    stop.store(true, Ordering::Relaxed);
    for task in tasks {
        task.await.unwrap();
    }
    let came = next.load(Ordering::Relaxed) - u64::from(mailbox.messages);
    println!(
        "{:.0} letters/s came in meanwhile",
        came as f64 / began.elapsed().as_secs_f64()
    );
}

async fn measure_all(place: &Place) {
    let messages = u32::try_from(number("messages", 100_000)).unwrap();
    let rounds = number("rounds", 20);
    let began = Instant::now();
    let store = place.open().await;
    let mailbox = Inbox::fill(store, messages).await;
    println!(
        "{messages} messages in {:.1} s",
        began.elapsed().as_secs_f64()
    );
    reads(&mailbox, rounds).await;
    changes(&mailbox, rounds).await;
    under_load(&mailbox, rounds).await;
    println!(
        "RSS {} KiB, on disk {} KiB",
        proc_number("status", "VmRSS:"),
        place.bytes() / 1024
    );
    mailbox.store.close().await.unwrap();
}

fn main() {
    let place = Place::chosen();
    world::runtime().block_on(measure_all(&place));
}
