//! Backups, restores, moves: what comes out is what went in, on every engine.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use base::{AccountId, Secret};
use pennyblack_store::backup::{self, BackupOptions, BackupReport, Progress, Watcher};
use pennyblack_store::{
    FlagChange, FlagOp, Lost, QueueFilter, QueueRecipientState, RestoreOptions, Store, StoreError,
};
use tokio::task::JoinHandle;

use crate::house::{House, letter, secret};

/// Nobody watches.
fn nobody() -> Watcher {
    Arc::new(|_: Progress| {})
}

fn options(folder: PathBuf) -> BackupOptions {
    BackupOptions {
        folder,
        keep: None,
        with_key: false,
    }
}

fn restore_options(folder: PathBuf) -> RestoreOptions {
    RestoreOptions {
        folder,
        at: None,
        send_queue: false,
        forget_key: false,
    }
}

/// A store with mail of all kinds: small and large, shared, copied, flagged, expunged, queued.
async fn lived_in(house: &House) -> (Store, AccountId, AccountId) {
    let (store, alice, bob) = house.with_people().await;
    store
        .set_password(alice, &secret("one penny"))
        .await
        .unwrap();
    for number in 0..30 {
        let text = letter(&format!("n{number}"));
        let delivery = house
            .delivery(
                &store,
                &text,
                &[(alice, "alice@red.test"), (bob, "bob@red.test")],
            )
            .await;
        store.deliver(delivery).await.unwrap();
    }
    // Several parts, which cannot be compressed.
    let mut body = letter("large");
    let mut state = 1_u64;
    while body.len() < 700_000 {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        body.push_str(&format!("{state:016x}{:016x}\r\n", state.rotate_left(17)));
    }
    let delivery = house
        .delivery(&store, &body, &[(bob, "bob@red.test")])
        .await;
    store.deliver(delivery).await.unwrap();
    let inbox = store.mailbox(bob, "INBOX").await.unwrap().unwrap().id;
    let archive = store.mailbox(bob, "Archive").await.unwrap().unwrap().id;
    let uids = [base::Uid(2), base::Uid(3)];
    store.copy(bob, inbox, &uids, archive).await.unwrap();
    let change = FlagChange {
        op: FlagOp::Add,
        keywords: ["$seen", "blue"].into_iter().collect(),
        deleted: true,
        unchanged_since: None,
    };
    store.set_flags(bob, inbox, &uids, &change).await.unwrap();
    store
        .expunge(bob, inbox, Some(&[base::Uid(2)]))
        .await
        .unwrap();
    let submission = house
        .submission(
            &store,
            &letter("queued"),
            alice,
            &["x@black.test", "y@green.test"],
        )
        .await;
    store.submit(submission).await.unwrap();
    (store, alice, bob)
}

/// All that a client can see, in words.
async fn seen(store: &Store, accounts: &[AccountId]) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    for account in accounts {
        for mailbox in store.mailboxes(*account).await.unwrap() {
            let first = base::Uid(1);
            let rows = store
                .placements(*account, mailbox.id, first, 10_000)
                .await
                .unwrap();
            all.insert(
                format!("{account:?} {}", mailbox.name),
                format!("{mailbox:?} {rows:?}"),
            );
            for row in rows {
                let reader = store.body(*account, row.message).await.unwrap();
                let bytes = reader.read(0..u64::MAX).await.unwrap();
                let hash = blake3::hash(&bytes).to_hex();
                let key = format!("{account:?} {} {:?}", mailbox.name, row.uid);
                all.insert(key, format!("{} {hash}", bytes.len()));
            }
        }
    }
    let queue = store.queue_list(&QueueFilter::default()).await.unwrap();
    all.insert("queue".to_owned(), format!("{}", queue.len()));
    all
}

/// A backup of one engine is restored into the other.
pub(crate) async fn a_backup_is_restored_elsewhere(house: &House) {
    let other = house.other();
    let (store, alice, bob) = lived_in(house).await;
    let before = seen(&store, &[alice, bob]).await;
    let keys = store.scram_keys("alice").await.unwrap();
    let folder = house.path().join("backup");
    let with_key = BackupOptions {
        with_key: true,
        ..options(folder.clone())
    };
    let report = store.backup(with_key, nobody()).await.unwrap();
    assert_eq!(report.point.accounts, 2);
    assert_eq!(report.point.blobs, 32);
    assert_eq!(report.new_blobs, 32);
    assert_eq!(report.point.lost, Vec::<String>::new());
    let checked = backup::check(&folder, None, &nobody()).unwrap();
    assert_eq!(checked.damages, Vec::<String>::new());
    house.finish(store).await;

    let target = Store::open_idle(other.options(), Lost::Nothing)
        .await
        .unwrap();
    let restored = target
        .restore(&restore_options(folder.clone()), nobody())
        .await
        .unwrap();
    assert_eq!(restored.findings, Vec::<String>::new());
    assert_eq!(restored.held, 1);
    target.close().await.unwrap();
    let target = other.open().await;
    assert_eq!(seen(&target, &[alice, bob]).await, before);
    let queue = target.queue_list(&QueueFilter::default()).await.unwrap();
    assert!(queue.iter().all(|entry| {
        entry
            .recipients
            .iter()
            .all(|row| row.state == QueueRecipientState::Held)
    }));
    let right = target
        .authenticate("alice", &Secret::new("one penny"))
        .await
        .unwrap();
    assert_eq!(right, Some(alice));
    assert_eq!(
        target.scram_keys("alice").await.unwrap().stored_key,
        keys.stored_key
    );
    // It lives: mail comes in, and UIDs go on.
    let delivery = other
        .delivery(&target, &letter("after"), &[(bob, "bob@red.test")])
        .await;
    target.deliver(delivery).await.unwrap();
    let again = Store::open_idle(other.options(), Lost::Nothing).await;
    assert!(matches!(again, Err(StoreError::Locked(_))));
    other.finish(target).await;
    // A store with data is left alone.
    let target = Store::open_idle(other.options(), Lost::Nothing)
        .await
        .unwrap();
    let refused = target.restore(&restore_options(folder), nobody()).await;
    assert!(
        matches!(refused, Err(StoreError::Invalid(_))),
        "{refused:?}"
    );
    target.close().await.unwrap();
}

/// The second backup writes only what is new; old points stay whole until they are pruned.
pub(crate) async fn backups_share_their_packs(house: &House) {
    let (store, alice, bob) = lived_in(house).await;
    let folder = house.path().join("backup");
    let first = store
        .backup(options(folder.clone()), nobody())
        .await
        .unwrap();
    for number in 0..5 {
        let text = letter(&format!("new{number}"));
        let delivery = house
            .delivery(&store, &text, &[(alice, "alice@red.test")])
            .await;
        store.deliver(delivery).await.unwrap();
    }
    house.pass(Duration::from_secs(1));
    let second = store
        .backup(options(folder.clone()), nobody())
        .await
        .unwrap();
    assert_eq!(second.new_blobs, 5);
    assert_eq!(second.point.blobs, first.point.blobs + 5);
    for point in [&first.point, &second.point] {
        let checked = backup::check(&folder, Some(&point.id), &nobody()).unwrap();
        assert_eq!(checked.damages, Vec::<String>::new());
    }
    // Everything of bob goes, and with him the large letter.
    store.remove_account(bob).await.unwrap();
    house.pass(Duration::from_secs(7_200));
    store.maintain().await.unwrap();
    let keep = BackupOptions {
        keep: Some(1),
        ..options(folder.clone())
    };
    let third = store.backup(keep, nobody()).await.unwrap();
    assert_eq!(third.removed, [first.point.id, second.point.id]);
    assert_eq!(backup::list(&folder).unwrap().len(), 1);
    let checked = backup::check(&folder, None, &nobody()).unwrap();
    assert_eq!(checked.damages, Vec::<String>::new());
    let packs = std::fs::read_dir(folder.join("blobs")).unwrap();
    let bytes: u64 = packs
        .map(|file| file.unwrap().metadata().unwrap().len())
        .sum();
    assert!(bytes < 300_000, "{bytes} bytes are left");
    house.finish(store).await;
}

/// A backup that has begun to write rows, in the middle of its snapshot, and goes on when it is told.
async fn backup_in_its_middle(
    store: &Store,
    options: BackupOptions,
) -> (
    JoinHandle<Result<BackupReport, StoreError>>,
    Arc<AtomicBool>,
) {
    let begun = Arc::new(AtomicBool::new(false));
    let go_on = Arc::new(AtomicBool::new(false));
    let (tell, wait) = (Arc::clone(&begun), Arc::clone(&go_on));
    let watcher: Watcher = Arc::new(move |_| {
        tell.store(true, Ordering::Release);
        while !wait.load(Ordering::Acquire) {
            std::thread::sleep(Duration::from_millis(5));
        }
    });
    let store = store.clone();
    let running = tokio::spawn(async move { store.backup(options, watcher).await });
    while !begun.load(Ordering::Acquire) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    (running, go_on)
}

/// While a backup holds the store, no blob goes.
pub(crate) async fn the_collector_waits_for_a_backup(house: &House) {
    let (store, _, bob) = lived_in(house).await;
    store.remove_account(bob).await.unwrap();
    house.pass(Duration::from_secs(3_500));
    let folder = house.path().join("backup");
    let (running, go_on) = backup_in_its_middle(&store, options(folder.clone())).await;
    let second = store
        .backup(options(house.path().join("second")), nobody())
        .await;
    assert!(matches!(second, Err(StoreError::Busy(_))), "{second:?}");
    // The collector's grace is over now, and the hold is not.
    house.pass(Duration::from_secs(200));
    store.maintain().await.unwrap();
    go_on.store(true, Ordering::Release);
    let report = running.await.unwrap().unwrap();
    assert_eq!(
        report.point.blobs, 32,
        "a blob went while the backup held the store"
    );
    assert_eq!(report.point.lost, Vec::<String>::new());
    store.maintain().await.unwrap();
    let after = store.backup(options(folder), nobody()).await.unwrap();
    assert_eq!(after.point.blobs, 31, "the hold has not ended");
    house.finish(store).await;
}

/// A backup that is cut short leaves the earlier one as it was, and the next one works.
pub(crate) async fn a_backup_cut_short(house: &House) {
    let (store, alice, _) = lived_in(house).await;
    let folder = house.path().join("backup");
    let first = store
        .backup(options(folder.clone()), nobody())
        .await
        .unwrap();
    let text = letter("second");
    let delivery = house
        .delivery(&store, &text, &[(alice, "alice@red.test")])
        .await;
    store.deliver(delivery).await.unwrap();
    house.pass(Duration::from_secs(1));
    let (running, go_on) = backup_in_its_middle(&store, options(folder.clone())).await;
    running.abort();
    assert!(running.await.unwrap_err().is_cancelled());
    go_on.store(true, Ordering::Release);
    let points = backup::list(&folder).unwrap();
    assert_eq!(points, [first.point]);
    let checked = backup::check(&folder, None, &nobody()).unwrap();
    assert_eq!(checked.damages, Vec::<String>::new());
    house.pass(Duration::from_secs(1));
    let third = loop {
        match store.backup(options(folder.clone()), nobody()).await {
            // The thread that wrote the rows has not seen yet that nobody waits.
            Err(StoreError::Busy(_)) => tokio::time::sleep(Duration::from_millis(20)).await,
            other => break other.unwrap(),
        }
    };
    assert_eq!(third.new_blobs, 1);
    assert_eq!(backup::list(&folder).unwrap().len(), 2);
    let names = std::fs::read_dir(folder.join("points")).unwrap();
    assert_eq!(
        names.count(),
        2,
        "the rest of the one that was cut short is there"
    );
    house.finish(store).await;
}

/// A backup with damaged rows or lists is not restored, and says what is damaged; one with a damaged
/// letter is restored without its bytes.
pub(crate) async fn a_damaged_backup_is_refused(house: &House) {
    let (store, ..) = lived_in(house).await;
    let folder = house.path().join("backup");
    let point = store
        .backup(options(folder.clone()), nobody())
        .await
        .unwrap()
        .point;
    house.finish(store).await;
    let other = house.other();
    let place = |name: &str| folder.join("points").join(&point.id).join(name);
    let files = [
        place("tables/message.zst"),
        place("blobs.zst"),
        folder.join("blobs/000001.pack"),
        folder.join("blobs/000001.index"),
    ];
    for path in files {
        let whole = std::fs::read(&path).unwrap();
        let mut broken = whole.clone();
        let middle = broken.len() / 2;
        broken[middle] ^= 0x10;
        std::fs::write(&path, &broken).unwrap();
        let checked = backup::check(&folder, None, &nobody()).unwrap();
        assert!(!checked.damages.is_empty(), "{}", path.display());
        let mut there = other.options();
        there.key_file = house.options().key_file;
        let target = Store::open_idle(there, Lost::Nothing).await.unwrap();
        let refused = target
            .restore(&restore_options(folder.clone()), nobody())
            .await;
        if path.ends_with("000001.pack") {
            // One letter is damaged; everything else comes back.
            let report = refused.unwrap();
            assert_eq!((checked.lost, report.lost), (1, 1));
            let findings = &report.findings;
            assert!(
                findings
                    .iter()
                    .all(|what| what.contains("its blob is missing")),
                "{findings:?}"
            );
        } else {
            assert!(matches!(refused, Err(StoreError::Io(_))), "{refused:?}");
        }
        target.close().await.unwrap();
        std::fs::write(&path, &whole).unwrap();
    }
    assert!(
        backup::check(&folder, None, &nobody())
            .unwrap()
            .damages
            .is_empty()
    );
}

/// A move to the other engine and back, cut short once.
pub(crate) async fn a_move_and_back(house: &House) {
    let other = house.other();
    let (store, alice, bob) = lived_in(house).await;
    let before = seen(&store, &[alice, bob]).await;
    house.finish(store).await;
    let source = Store::open_idle(house.options(), Lost::Nothing)
        .await
        .unwrap();
    let mut beside = other.options();
    beside.data_dir = house.options().data_dir;
    beside.key_file = house.options().key_file;
    let target = source.open_beside(beside).await.unwrap();
    // Cut short when half of the rows have come: who waits for it stops waiting.
    let cut = Arc::new(AtomicBool::new(false));
    let seen_rows = Arc::clone(&cut);
    let watcher: Watcher = Arc::new(move |progress: Progress| {
        if progress.step == "rows" && progress.done > 50 {
            seen_rows.store(true, Ordering::Release);
        }
    });
    let running = tokio::spawn({
        let (source, target) = (source.clone(), target.clone());
        async move { source.move_into(&target, watcher).await.map(|_| ()) }
    });
    while !cut.load(Ordering::Acquire) && !running.is_finished() {
        tokio::time::sleep(Duration::from_micros(200)).await;
    }
    let cut_short = !running.is_finished();
    running.abort();
    let _ = running.await;
    target.close().await.unwrap();
    let mut beside = other.options();
    beside.data_dir = house.options().data_dir;
    beside.key_file = house.options().key_file;
    let target = source.open_beside(beside).await.unwrap();
    if cut_short {
        let report = source.move_into(&target, nobody()).await.unwrap();
        assert_eq!(report.copied, 0, "blobs that had come were copied again");
        assert_eq!(report.findings, Vec::<String>::new());
        assert_eq!(report.lost, Vec::<String>::new());
        assert_eq!(report.blobs, 32);
    }
    target.close().await.unwrap();
    source.close().await.unwrap();
    let mut moved = other.options();
    moved.data_dir = house.options().data_dir;
    moved.key_file = house.options().key_file;
    let store = Store::open(moved).await.unwrap();
    assert_eq!(seen(&store, &[alice, bob]).await, before);
    let right = store
        .authenticate("alice", &Secret::new("one penny"))
        .await
        .unwrap();
    assert_eq!(right, Some(alice));
    store.close().await.unwrap();
}
