//! What is kept of the safety of the way to other servers: policies, and what became of TLS.

use std::time::Duration;

use base::Timestamp;
use base::ports::Clock as _;
use pennyblack_store::{StsPolicy, TlsOutcome};

use super::house::{House, domain};

const DAY: Duration = Duration::from_secs(86_400);

pub(crate) async fn a_policy_is_kept_and_forgotten(house: &House) {
    let store = house.open().await;
    let red = domain("red.test");
    let now = house.clock.now();
    assert_eq!(store.sts_policy(&red).await.unwrap(), None);
    let first = StsPolicy {
        domain: red.clone(),
        id: "1".to_owned(),
        body: "version: STSv1\r\n".to_owned(),
        fetched_at: now,
        expires_at: now + DAY,
    };
    store.keep_sts_policy(first.clone()).await.unwrap();
    assert_eq!(store.sts_policy(&red).await.unwrap(), Some(first.clone()));
    let second = StsPolicy {
        id: "2".to_owned(),
        fetched_at: now + Duration::from_secs(1),
        ..first
    };
    store.keep_sts_policy(second.clone()).await.unwrap();
    assert_eq!(store.sts_policy(&red).await.unwrap(), Some(second.clone()));
    let old = store.sts_policies_fetched_before(now, 10).await.unwrap();
    assert!(old.is_empty());
    let later = now + DAY;
    let old = store.sts_policies_fetched_before(later, 10).await.unwrap();
    assert_eq!(old, [second]);
    assert_eq!(store.remove_expired_sts_policies(later).await.unwrap(), 0);
    let later = later + Duration::from_millis(1);
    assert_eq!(store.remove_expired_sts_policies(later).await.unwrap(), 1);
    assert_eq!(store.sts_policy(&red).await.unwrap(), None);
}

pub(crate) async fn outcomes_of_tls_are_counted(house: &House) {
    let store = house.open().await;
    let outcome = |name: &str, result: &str, sessions| TlsOutcome {
        day: TlsOutcome::day_of(Timestamp(3 * 86_400_000 + 5)),
        domain: domain(name),
        policy: "sts".to_owned(),
        result: result.to_owned(),
        host: String::new(),
        address: String::new(),
        sessions,
    };
    let first = vec![outcome("b.test", "", 2), outcome("a.test", "x", 1)];
    store.count_tls_outcomes(first).await.unwrap();
    let more = vec![outcome("b.test", "", 3), outcome("b.test", "y", 1)];
    store.count_tls_outcomes(more).await.unwrap();
    let domains = store.domains_with_tls_outcomes(3, None, 10).await.unwrap();
    assert_eq!(domains, [domain("a.test"), domain("b.test")]);
    let after = domain("a.test");
    let domains = store.domains_with_tls_outcomes(3, Some(&after), 10);
    assert_eq!(domains.await.unwrap(), [domain("b.test")]);
    let found = store.tls_outcomes(3, &domain("b.test")).await.unwrap();
    assert_eq!(found, [outcome("b.test", "", 5), outcome("b.test", "y", 1)]);
    let forgotten = store.forget_tls_outcomes(3, Some(&after)).await;
    assert_eq!(forgotten.unwrap(), 1);
    assert_eq!(store.forget_tls_outcomes(2, None).await.unwrap(), 0);
    assert_eq!(store.forget_tls_outcomes(3, None).await.unwrap(), 2);
    // At the limit and beyond: what is known is still counted.
    for n in 0..=200 {
        let result = format!("r{n:03}");
        let one = vec![outcome("c.test", &result, 1)];
        store.count_tls_outcomes(one).await.unwrap();
    }
    let again = vec![outcome("c.test", "r000", 1)];
    store.count_tls_outcomes(again).await.unwrap();
    let found = store.tls_outcomes(3, &domain("c.test")).await.unwrap();
    assert_eq!((found.len(), found[0].sessions), (200, 2));
}
