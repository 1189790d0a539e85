//! Two nodes, red and blue, on one database.

use std::time::Duration;

use crate::house::House;

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
