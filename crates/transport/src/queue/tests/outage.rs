//! A store that cannot be read for a while.

use store::QueueNews;
use tokio::time::Instant;

use super::agenda::Agenda;
use super::lookout::Lookout;
use super::*;

/// An error is followed by a pause, also where a sweep was asked for at once: otherwise the worker
/// would ask, and log, as fast as it can.
#[tokio::test]
async fn after_an_error_the_next_sweep_waits() {
    let world = World::new("", &[]).await;
    let store = world.store.clone();
    let mut lookout = Lookout::new(store.clone(), 10);
    let mut agenda = Agenda::default();
    let now = world.clock.now();
    let news = || QueueNews {
        others: true,
        ..QueueNews::default()
    };
    lookout.look(now, news(), &mut agenda).await.unwrap();
    assert!(lookout.sweep_at() <= Instant::now(), "at once");
    world.end().await;
    store.close().await.unwrap();
    let before = Instant::now();
    assert!(lookout.look(now, news(), &mut agenda).await.is_err());
    assert!(lookout.sweep_at() > before + Duration::from_millis(500));
}
