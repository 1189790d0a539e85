//! Periodic jobs on one node.

use std::time::Duration;

use pennyblack_store::StoreError;

use crate::house::House;

const PERIOD: Duration = Duration::from_secs(600);
/// The lease of a hold, and a little.
const LEASE_OVER: Duration = Duration::from_secs(61);

/// A job is due once in its period, held by one at a time, and due again after an error.
pub(crate) async fn a_job_and_its_period(house: &House) {
    let store = house.open().await;
    let hold = store.hold_job("tidy", PERIOD).await.unwrap().unwrap();
    assert!(store.hold_job("tidy", PERIOD).await.unwrap().is_none());
    let other = store.hold_job("count", PERIOD).await.unwrap();
    assert!(other.is_some(), "another job has nothing to do with it");
    let done = hold.run(async { Ok(7) }).await.unwrap();
    assert_eq!(done, Some(7));
    house.pass(PERIOD / 2);
    assert!(store.hold_job("tidy", PERIOD).await.unwrap().is_none());
    house.pass(PERIOD / 2);
    let hold = store.hold_job("tidy", PERIOD).await.unwrap().unwrap();
    let failed = hold.run(async { Err::<(), _>(StoreError::DiskFull) }).await;
    assert_eq!(failed, Err(StoreError::DiskFull));
    assert!(store.hold_job("tidy", PERIOD).await.unwrap().is_none());
    house.pass(LEASE_OVER);
    assert!(store.hold_job("tidy", PERIOD).await.unwrap().is_some());
    house.finish(store).await;
}

/// What a node held when it died is its own again at once.
pub(crate) async fn a_restarted_node_takes_its_jobs_back(house: &House) {
    let store = house.open().await;
    let hold = store.hold_job("tidy", PERIOD).await.unwrap();
    drop(hold);
    store.close().await.unwrap();
    drop(store);
    let mut options = house.options();
    options.entropy = std::sync::Arc::new(crate::house::TestEntropy::from(99));
    let store = pennyblack_store::Store::open(options).await.unwrap();
    assert!(store.hold_job("tidy", PERIOD).await.unwrap().is_some());
    house.finish(store).await;
}
