//! Two nodes, red and blue, on one database.

use std::time::Duration;

use base::AccountId;
use pennyblack_store::{
    AuthorCheck, Claim, Delivered, FlagChange, FlagOp, Keywords, Outcome, QuotaChange, Refusal,
    Resolved, SendRight, Settlement, Store, StoreError, Target, Wakeup,
};
use tokio::time::{Instant, timeout};

use crate::house::{House, address, domain, letter, person, secret};

const LEASE: Duration = Duration::from_secs(60);
/// More than what any of it takes.
const LONG: Duration = Duration::from_secs(60);
/// A node that shows no sign of life for so long is dead.
const DEAD_AFTER: Duration = Duration::from_secs(31);

async fn deliver(house: &House, store: &Store, text: &str, to: AccountId) -> Delivered {
    let delivery = house
        .delivery(store, &letter(text), &[(to, "bob@red.test")])
        .await;
    store.deliver(delivery).await.unwrap()
}

async fn claim(house: &House, store: &Store, count: usize) -> Result<Vec<Claim>, StoreError> {
    let wanted = [(domain("black.test"), count)];
    store.claim(house.now(), LEASE, &wanted).await
}

async fn submit(house: &House, store: &Store, from: AccountId) {
    let submission = house
        .submission(store, &letter("s"), from, &["x@black.test"])
        .await;
    store.submit(submission).await.unwrap();
}

/// Waits until something is so.
async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let from = Instant::now();
    while !is_so().await {
        assert!(from.elapsed() < LONG, "{what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Two nodes of one name cannot run; the refusal says what to do. When one is gone, the other can.
pub(crate) async fn a_name_is_one_nodes(house: &House) {
    let red = house.open().await;
    let refused = Store::open(house.options_of("red", "elsewhere")).await;
    let Err(StoreError::Locked(why)) = refused else {
        panic!("two nodes have one name");
    };
    assert!(why.contains("node red") && why.contains("`node`"), "{why}");
    house.finish(red).await;
    let red = Store::open(house.options_of("red", "elsewhere")).await;
    house.finish(red.unwrap()).await;
}

/// A node whose own connection is cut has its name again at once; where somebody has taken the name
/// meanwhile, it claims nothing until that one is gone.
pub(crate) async fn a_name_that_was_lost(house: &House) {
    let (red, alice, _) = house.with_people().await;
    submit(house, &red, alice).await;
    let server = house.postgres.as_ref().unwrap();
    let cut = || {
        let sql = "SELECT pg_terminate_backend(pid) FROM pg_locks
            WHERE locktype = 'advisory' AND granted";
        server.psql("mail", sql);
    };
    cut();
    until("the name is back", async || {
        claim(house, &red, 0).await.is_ok()
    })
    .await;
    // Who waits for a lock has it before its holder can ask again.
    let sql = "SELECT pg_advisory_lock((CAST(classid AS BIGINT) << 32) | CAST(objid AS BIGINT)),
            pg_sleep(2)
        FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 1";
    let mut thief = std::process::Command::new("psql")
        .args(["-qAt", "-c", sql, &server.url("mail")])
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    until("the thief waits", async || {
        let waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted";
        server.psql("mail", waiting).trim() == "1"
    })
    .await;
    cut();
    until("red has seen it", async || {
        claim(house, &red, 0)
            .await
            .is_err_and(|error| error.to_string().contains("another process"))
    })
    .await;
    assert!(thief.wait().unwrap().success());
    until("red has its name again", async || {
        claim(house, &red, 0).await.is_ok()
    })
    .await;
    assert_eq!(claim(house, &red, 9).await.unwrap().len(), 1);
    house.finish(red).await;
}

/// A letter comes again at the moment when its node notes that its connection was lost.
pub(crate) async fn a_repetition_while_its_loss_is_noted(house: &House) {
    let (red, _, bob) = house.with_people().await;
    let server = house.postgres.as_ref().unwrap();
    let first = deliver(house, &red, "x", bob).await;
    // What the node writes, by somebody who takes two seconds for it.
    let sql = "BEGIN; UPDATE delivery SET lost = 1; SELECT pg_sleep(2); COMMIT";
    let mut slow = std::process::Command::new("psql")
        .args(["-qAt", "-c", sql, &server.url("mail")])
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    until("the row is taken", async || {
        let sleeping = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
        server.psql("mail", sleeping).trim() == "1"
    })
    .await;
    let id = first.letter;
    drop(first);
    let again = deliver(house, &red, "x", bob).await;
    assert_eq!((again.repeated, again.letter), (true, id));
    assert!(slow.wait().unwrap().success());
    house.finish(red).await;
}

/// Eight nodes start together on an empty database.
pub(crate) async fn nodes_start_together(house: &House) {
    let starting: Vec<_> = (0..8)
        .map(|number| {
            let name = format!("node{number}");
            tokio::spawn(Store::open(house.options_of(&name, &name)))
        })
        .collect();
    for node in starting {
        let node = node.await.unwrap().unwrap();
        assert_eq!(node.domains().await.unwrap(), []);
        node.close().await.unwrap();
    }
}

/// Waits for blue to know of red, after which it tells what it changes.
async fn blue_beside(house: &House, red: &Store, alice: AccountId) -> Store {
    let blue = house.another("blue").await;
    let mut watch = red.watch(alice);
    // Each look wakes once for an account that was not looked at before: both nodes have looked.
    timeout(LONG, watch.changed()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    blue
}

/// Ten changes there wake ten times here, far sooner than the look of each second would.
pub(crate) async fn changes_are_told(house: &House) {
    let (red, alice, bob) = house.with_people().await;
    let blue = blue_beside(house, &red, alice).await;
    let mut watch = red.watch(bob);
    let mut queue = red.queue_signal();
    let from = Instant::now();
    for number in 0..10 {
        let delivered = deliver(house, &blue, &format!("n{number}"), bob).await;
        timeout(LONG, watch.changed()).await.unwrap();
        blue.confirm(vec![delivered.letter]).await.unwrap();
        submit(house, &blue, alice).await;
        timeout(LONG, queue.woken()).await.unwrap();
    }
    let took = from.elapsed();
    assert!(
        took < Duration::from_secs(4),
        "twenty wake-ups took {took:?}"
    );
    blue.close().await.unwrap();
    house.finish(red).await;
}

/// Without LISTEN, a change there is seen here within a second, and a little.
pub(crate) async fn changes_are_found_without_being_told(house: &House) {
    let (red, _, _) = house.with_people().await;
    house.finish(red).await;
    // House::finish has closed red; both nodes now only look.
    let options = |node: &str| {
        let mut options = house.options_of(node, node);
        if let pennyblack_store::Database::Postgres(postgres) = &mut options.database {
            postgres.wakeup = Wakeup::Poll;
        }
        options
    };
    let red = Store::open(options("red")).await.unwrap();
    let blue = Store::open(options("blue")).await.unwrap();
    let bob = red.account_by_address(&address("bob@red.test")).await;
    let bob = bob.unwrap().unwrap();
    let mut watch = red.watch(bob);
    let mut queue = red.queue_signal();
    timeout(LONG, watch.changed()).await.unwrap();
    for number in 0..3 {
        let text = format!("n{number}");
        let delivered = deliver(house, &blue, &text, bob).await;
        let from = Instant::now();
        timeout(LONG, watch.changed()).await.unwrap();
        assert!(from.elapsed() < Duration::from_secs(2));
        timeout(LONG, queue.woken()).await.unwrap();
        blue.confirm(vec![delivered.letter]).await.unwrap();
    }
    let carol = person("carol@red.test", false);
    let carol = blue.add_account(carol).await.unwrap();
    assert_eq!(
        red.resolve(&address("carol@red.test")).await.unwrap(),
        Resolved::Targets(vec![Target::Account(carol)])
    );
    blue.close().await.unwrap();
    house.finish(red).await;
}

/// Claims are disjoint and seen by the other; a node that dies leaves its work after the lease,
/// and its late settlement changes nothing.
pub(crate) async fn claims_and_leases(house: &House) {
    let (red, alice, _) = house.with_people().await;
    let blue = blue_beside(house, &red, alice).await;
    for _ in 0..20 {
        submit(house, &red, alice).await;
    }
    let (of_red, of_blue) = tokio::join!(claim(house, &red, 8), claim(house, &blue, 7));
    let (of_red, of_blue) = (of_red.unwrap(), of_blue.unwrap());
    let mut letters: Vec<_> = of_red.iter().chain(&of_blue).collect();
    letters.sort_by_key(|claim| claim.reference.letter);
    letters.dedup_by_key(|claim| claim.reference.letter);
    assert_eq!(
        (of_red.len(), letters.len()),
        (8, of_red.len() + of_blue.len())
    );
    until("red sees what blue has in hand", async || {
        let due = red.due(house.now(), 9).await.unwrap();
        (due[0].nodes_elsewhere, due[0].letters_elsewhere as usize) == (1, of_blue.len())
    })
    .await;
    house.pass(LEASE + Duration::from_secs(1));
    let again = claim(house, &red, 99).await.unwrap();
    assert_eq!(again.len(), 20, "the leases of both are over");
    let settled = blue
        .settle(Settlement {
            claim: of_blue[0].reference,
            outcomes: vec![(of_blue[0].recipients[0].id, Outcome::Done)],
            local: Vec::new(),
            forwards: Vec::new(),
            reports: Vec::new(),
            addresses: Default::default(),
            notes: Vec::new(),
        })
        .await;
    assert_eq!(settled, Ok(false));
    blue.close().await.unwrap();
    house.finish(red).await;
}

/// A letter that equals one on a living connection of another node is a letter of its own.
pub(crate) async fn deliveries_on_living_connections(house: &House) {
    let (red, _, bob) = house.with_people().await;
    let blue = house.another("blue").await;
    let first = deliver(house, &red, "x", bob).await;
    let second = deliver(house, &blue, "x", bob).await;
    assert!(!second.repeated, "red's connection is alive");
    red.confirm(vec![first.letter]).await.unwrap();
    blue.confirm(vec![second.letter]).await.unwrap();
    blue.close().await.unwrap();
    house.finish(red).await;
}

/// A letter whose connection to one node was lost is known by another when it is sent again, once.
pub(crate) async fn deliveries_whose_connections_are_lost(house: &House) {
    let (red, _, bob) = house.with_people().await;
    let blue = house.another("blue").await;
    let first = deliver(house, &red, "x", bob).await;
    let id = first.letter;
    drop(first);
    tokio::time::sleep(Duration::from_millis(500)).await;
    let again = deliver(house, &blue, "x", bob).await;
    assert_eq!((again.repeated, again.letter), (true, id));
    let other = deliver(house, &red, "x", bob).await;
    assert!(!other.repeated, "blue's connection is alive");
    red.confirm(vec![other.letter]).await.unwrap();
    drop(again);
    tokio::time::sleep(Duration::from_millis(500)).await;
    // Both nodes get it at once; one of the letters is a repetition, the other is not.
    let (a, b) = tokio::join!(
        deliver(house, &red, "x", bob),
        deliver(house, &blue, "x", bob)
    );
    assert_ne!(a.repeated, b.repeated);
    blue.close().await.unwrap();
    house.finish(red).await;
}

/// What a node that died had not marked counts as lost: after a while, and at once when it was
/// started again or has left.
pub(crate) async fn deliveries_of_a_dead_node(house: &House) {
    let (red, _, bob) = house.with_people().await;
    let blue = house.another("blue").await;
    let silent = deliver(house, &blue, "silent", bob).await;
    let first = deliver(house, &red, "silent", bob).await;
    assert!(!first.repeated);
    red.confirm(vec![first.letter]).await.unwrap();
    let left = deliver(house, &blue, "left", bob).await;
    // The guards are kept: nobody marks the letters.
    blue.close().await.unwrap();
    drop(blue);
    let again = deliver(house, &red, "left", bob).await;
    assert_eq!((again.repeated, again.letter), (true, left.letter));
    let blue = house.another("blue").await;
    let again = deliver(house, &red, "silent", bob).await;
    assert_eq!((again.repeated, again.letter), (true, silent.letter));
    let unknown = deliver(house, &blue, "unknown", bob).await;
    // Its row stands still, as it does when the process is gone without a word.
    let stop = "UPDATE node SET seen_at = seen_at + 1 WHERE name = 'blue'";
    house.postgres.as_ref().unwrap().psql("mail", stop);
    let between = deliver(house, &red, "unknown", bob).await;
    assert!(!between.repeated);
    red.confirm(vec![between.letter]).await.unwrap();
    drop(blue);
    house.pass(DEAD_AFTER);
    let again = deliver(house, &red, "unknown", bob).await;
    assert_eq!((again.repeated, again.letter), (true, unknown.letter));
    house.finish(red).await;
}

/// What one node changes in the directory is so on the other, at once where it would refuse mail.
#[expect(clippy::too_many_lines, reason = "one story, step by step")]
pub(crate) async fn the_directory_is_one(house: &House) {
    let (red, alice, bob) = house.with_people().await;
    let blue = house.another("blue").await;
    let to = |text: &str| address(text);
    blue.add_domain(&domain("blue.test")).await.unwrap();
    let carol = blue
        .add_account(person("carol@blue.test", false))
        .await
        .unwrap();
    assert_eq!(
        red.resolve_anew(&to("carol@blue.test")).await.unwrap(),
        Resolved::Targets(vec![Target::Account(carol)])
    );
    blue.add_alias(
        &to("team@red.test"),
        &[to("bob@red.test"), to("carol@blue.test")],
    )
    .await
    .unwrap();
    assert_eq!(
        red.resolve(&to("team@red.test")).await.unwrap(),
        Resolved::Targets(vec![Target::Account(bob), Target::Account(carol)])
    );
    assert!(
        red.may_send_from(carol, &to("team@red.test"))
            .await
            .unwrap()
    );
    blue.add_send_right(bob, SendRight::As(carol))
        .await
        .unwrap();
    assert!(
        red.may_send_from(bob, &to("carol@blue.test"))
            .await
            .unwrap()
    );
    blue.set_author_check(&domain("red.test"), AuthorCheck::Never)
        .await
        .unwrap();
    until("red knows that authors are not checked", async || {
        red.sender(bob).unwrap().1 == AuthorCheck::Never
    })
    .await;
    red.remove_alias(&to("team@red.test")).await.unwrap();
    red.add_alias(&to("team@red.test"), &[to("alice@red.test")])
        .await
        .unwrap();
    until("blue has the new alias", async || {
        blue.resolve(&to("team@red.test")).await.unwrap()
            == Resolved::Targets(vec![Target::Account(alice)])
    })
    .await;
    blue.set_enabled(bob, false).await.unwrap();
    until("red knows that bob is disabled", async || {
        red.resolve(&to("bob@red.test")).await.unwrap() == Resolved::Refused(Refusal::Disabled)
    })
    .await;
    blue.set_enabled(bob, true).await.unwrap();
    assert!(matches!(
        red.resolve(&to("bob@red.test")).await.unwrap(),
        Resolved::Targets(_)
    ));
    let (old, new) = (to("carol@blue.test"), to("caroline@blue.test"));
    blue.rename_account(carol, &new, false).await.unwrap();
    until("red knows carol's new address", async || {
        red.resolve(&new).await.unwrap() == Resolved::Targets(vec![Target::Account(carol)])
            && red.resolve(&old).await.unwrap() == Resolved::Unknown
    })
    .await;
    blue.remove_account(carol).await.unwrap();
    until("red knows that carol is gone", async || {
        red.resolve(&new).await.unwrap() == Resolved::Unknown
    })
    .await;
    blue.remove_domain(&domain("blue.test")).await.unwrap();
    until("red knows that the domain is gone", async || {
        !red.is_ours(&domain("blue.test")).await.unwrap()
    })
    .await;
    assert_eq!(red.domains().await.unwrap(), blue.domains().await.unwrap());
    assert_eq!(red.aliases().await.unwrap(), blue.aliases().await.unwrap());
    blue.close().await.unwrap();
    house.finish(red).await;
}

/// A password that was changed, and an account that was disabled, on one node are so on the other
/// with the next login, even where the old one is remembered.
pub(crate) async fn passwords_hold_everywhere(house: &House) {
    let (red, _, bob) = house.with_people().await;
    let blue = house.another("blue").await;
    blue.set_password(bob, &secret("old")).await.unwrap();
    let login = async |store: &Store, password: &str| {
        store
            .authenticate("bob@red.test", &secret(password))
            .await
            .unwrap()
    };
    assert_eq!(login(&red, "old").await, Some(bob));
    assert_eq!(login(&red, "old").await, Some(bob));
    blue.set_password(bob, &secret("new")).await.unwrap();
    assert_eq!(login(&red, "old").await, None);
    assert_eq!(login(&red, "new").await, Some(bob));
    blue.set_enabled(bob, false).await.unwrap();
    assert_eq!(login(&red, "new").await, None);
    assert_eq!(red.scram_keys("bob@red.test").await.unwrap().account, None);
    blue.set_enabled(bob, true).await.unwrap();
    assert_eq!(login(&red, "new").await, Some(bob));
    blue.close().await.unwrap();
    house.finish(red).await;
}

/// A mailbox that one node filled and the other emptied takes mail again, and one that is full by
/// the rows is full whatever a node remembers.
pub(crate) async fn quotas_hold_everywhere(house: &House) {
    let (red, _, bob) = house.with_people().await;
    let first = deliver(house, &red, "much", bob).await;
    red.confirm(vec![first.letter]).await.unwrap();
    let blue = house.another("blue").await;
    blue.set_quota(bob, QuotaChange::AtMost(1), QuotaChange::Keep)
        .await
        .unwrap();
    let full = Resolved::Refused(Refusal::OverQuota);
    let bobs = address("bob@red.test");
    until("red knows the quota", async || {
        red.resolve(&bobs).await.unwrap() == full
    })
    .await;
    let inbox = blue.mailbox(bob, "INBOX").await.unwrap().unwrap().id;
    let delete = FlagChange {
        op: FlagOp::Add,
        keywords: Keywords::default(),
        deleted: true,
        unchanged_since: None,
    };
    let uid = first.stored[0].uid;
    blue.set_flags(bob, inbox, &[uid], &delete).await.unwrap();
    blue.expunge(bob, inbox, None).await.unwrap();
    // Nothing in the directory has changed: only the account's own row tells.
    assert_eq!(
        red.resolve(&bobs).await.unwrap(),
        Resolved::Targets(vec![Target::Account(bob)])
    );
    let another = house
        .delivery(&red, &letter("more"), &[(bob, "bob@red.test")])
        .await;
    let refused = red.deliver(another).await;
    assert!(matches!(refused, Err(StoreError::OverQuota)), "{refused:?}");
    blue.close().await.unwrap();
    house.finish(red).await;
}

/// Of two nodes one does a job; when it dies, the other does after the lease, and what the first
/// says then is not heard.
pub(crate) async fn one_node_does_a_job(house: &House) {
    const PERIOD: Duration = Duration::from_secs(600);
    let red = house.open().await;
    let blue = house.another("blue").await;
    let late = red.hold_job("tidy", PERIOD).await.unwrap().unwrap();
    assert!(blue.hold_job("tidy", PERIOD).await.unwrap().is_none());
    house.pass(Duration::from_secs(61));
    let taken = blue.hold_job("tidy", PERIOD).await.unwrap().unwrap();
    late.run(async { Ok(()) }).await.unwrap();
    // Red's word did not count: blue still has it, and it is due until blue is done.
    assert!(red.hold_job("tidy", PERIOD).await.unwrap().is_none());
    house.pass(Duration::from_secs(61));
    assert!(red.hold_job("tidy", PERIOD).await.unwrap().is_some());
    drop(taken);
    blue.close().await.unwrap();
    house.finish(red).await;
}
