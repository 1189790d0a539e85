//! The worker stops: what it has in hand is finished or given back at once.

use super::*;
use crate::testing::{Act, hello, script, takes};
use store::QueueRecipientState;

const FAR: &str = "far.test A 192.0.2.1";

#[tokio::test]
async fn letters_in_hand_are_given_back_and_do_not_count_as_tried() {
    let settings = QueueSettings {
        connections_initial: 1,
        ..settings()
    };
    let world = World::with(FAR, &[("192.0.2.1", vec![Line::Blackhole])], settings).await;
    let mut letters = Vec::new();
    for _ in 0..3 {
        letters.push(world.submit(&["carol@far.test"]).await);
    }
    world
        .until("the first is being tried", async || {
            world.net.has_heard("[192.0.2.1]")
        })
        .await;
    world.stop.cancel();
    let started = std::time::Instant::now();
    let World {
        worker,
        store,
        net,
        context,
        _folder,
        ..
    } = world;
    worker.await.unwrap();
    assert!(started.elapsed() < Duration::from_secs(5));
    let queue = store.queue_list(&QueueFilter::default()).await.unwrap();
    assert_eq!(queue.len(), 3);
    for recipient in queue.iter().flat_map(|entry| &entry.recipients) {
        assert_eq!(recipient.state, QueueRecipientState::Waiting);
        assert_eq!(recipient.attempts, 0);
    }

    // Another worker takes them at once.
    let all = (0..3).map(|_| takes()).collect::<Vec<_>>().concat();
    net.add("192.0.2.1", vec![script(&[hello(), all])]);
    let stop = CancellationToken::new();
    let worker = tokio::spawn(run(context, stop.clone()));
    tokio::time::timeout(PATIENCE, async {
        let filter = QueueFilter::default();
        while !store.queue_list(&filter).await.unwrap().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .unwrap();
    stop.cancel();
    worker.await.unwrap();
}

#[tokio::test]
async fn a_transfer_under_way_is_finished() {
    let settings = QueueSettings {
        stop_grace: Duration::from_secs(10),
        ..settings()
    };
    let mut slow = takes();
    slow.insert(6, Act::Pause(Duration::from_millis(300)));
    let lines = vec![script(&[hello(), slow])];
    let world = World::with(FAR, &[("192.0.2.1", lines)], settings).await;
    let letter = world.submit(&["carol@far.test"]).await;
    world
        .until("the letter is being sent", async || {
            world.net.has_heard("DATA")
        })
        .await;
    world.stop.cancel();
    let World {
        worker,
        store,
        _folder,
        ..
    } = world;
    worker.await.unwrap();
    let filter = QueueFilter::default();
    assert!(store.queue_list(&filter).await.unwrap().is_empty());
    let journey = store.journey(letter).await.unwrap();
    let last = &journey.last().unwrap().note;
    assert_eq!(last.step, store::Step::Transferred, "{journey:?}");
}
