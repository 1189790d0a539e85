//! Keys that sign as a domain.

use std::time::Duration;

use base::Secret;
use base::ports::Clock as _;
use pennyblack_store::{DkimAlgorithm, DkimState, NewDkimKey, StoreError};

use super::house::{House, domain};

const DAY: Duration = Duration::from_secs(86_400);

fn key(name: &str, selector: &str, algorithm: DkimAlgorithm) -> NewDkimKey {
    NewDkimKey {
        domain: domain(name),
        selector: selector.to_owned(),
        algorithm,
        private_key: Secret::new(format!("secret of {selector}")),
        record: format!("v=DKIM1; p={selector}"),
    }
}

/// A key is announced, signs, is retired, and goes; its secret comes back as it was.
pub(crate) async fn a_key_lives(house: &House) {
    let store = house.open().await;
    let red = domain("red.test");
    let keys = vec![
        key("red.test", "r1", DkimAlgorithm::Rsa),
        key("red.test", "e1", DkimAlgorithm::Ed25519),
    ];
    let added = store.add_dkim_keys(keys.clone()).await;
    assert!(matches!(added, Err(StoreError::NotFound("domain"))));
    store.add_domain(&red).await.unwrap();
    assert_eq!(store.add_dkim_keys(keys.clone()).await.unwrap(), 2);
    assert_eq!(store.add_dkim_keys(keys).await.unwrap(), 0);
    let signing = store.signing_keys(&red).await.unwrap();
    let shown: Vec<_> = signing
        .iter()
        .map(|key| (key.selector.as_str(), key.algorithm))
        .collect();
    assert_eq!(
        shown,
        [("r1", DkimAlgorithm::Rsa), ("e1", DkimAlgorithm::Ed25519)]
    );
    assert_eq!(signing[0].private_key.expose(), b"secret of r1");
    // A second one is only announced, until it is told to sign.
    store
        .add_dkim_keys(vec![key("red.test", "r2", DkimAlgorithm::Rsa)])
        .await
        .unwrap();
    assert_eq!(store.signing_keys(&red).await.unwrap().len(), 2);
    house.pass(DAY);
    store.activate_dkim_key(&red, "r2").await.unwrap();
    let again = store.activate_dkim_key(&red, "r2").await;
    assert!(matches!(again, Err(StoreError::NotFound(_))));
    let now = house.clock.now();
    let states: Vec<_> = store.dkim_keys(Some(&red)).await.unwrap();
    let states: Vec<_> = states
        .iter()
        .map(|key| (key.selector.as_str(), key.state))
        .collect();
    let made = DkimState::Active(now - DAY);
    let expected = [
        ("e1", made),
        ("r1", DkimState::Retired(now)),
        ("r2", DkimState::Active(now)),
    ];
    assert_eq!(states, expected);
    assert_eq!(store.remove_retired_dkim_keys(now).await.unwrap(), 0);
    house.pass(DAY);
    assert_eq!(
        store
            .remove_retired_dkim_keys(house.clock.now())
            .await
            .unwrap(),
        1
    );
    // The key of the store is another one from now on; a domain that goes takes its keys with it.
    store.rotate_key(true).await.unwrap();
    store.close().await.unwrap();
    let store = house.open().await;
    let signing = store.signing_keys(&red).await.unwrap();
    assert_eq!(signing[0].private_key.expose(), b"secret of r2");
    store.remove_dkim_key(&red, "e1").await.unwrap();
    store.remove_domain(&red).await.unwrap();
    assert!(store.dkim_keys(None).await.unwrap().is_empty());
    store.close().await.unwrap();
}

/// The number of keys has a limit.
pub(crate) async fn keys_have_a_limit(house: &House) {
    let store = house.open().await;
    store.add_domain(&domain("red.test")).await.unwrap();
    for number in 0..32 {
        let new = key("red.test", &format!("s{number}"), DkimAlgorithm::Ed25519);
        store.add_dkim_keys(vec![new]).await.unwrap();
    }
    let more = key("red.test", "more", DkimAlgorithm::Ed25519);
    let refused = store.add_dkim_keys(vec![more]).await;
    assert!(matches!(refused, Err(StoreError::Invalid(_))));
    assert_eq!(
        store.signing_keys(&domain("red.test")).await.unwrap().len(),
        1
    );
    let secret = store.installation_secret("srs").await.unwrap();
    let again = store.installation_secret("srs").await.unwrap();
    assert_eq!(
        (secret.expose().len(), again.expose()),
        (32, secret.expose())
    );
    store.close().await.unwrap();
}
