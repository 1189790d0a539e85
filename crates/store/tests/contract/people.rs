//! The directory and credentials.

use std::time::{Duration, Instant};

use base::AccountId;
use pennyblack_store::{
    AuthorCheck, NewAccount, QuotaChange, Refusal, Resolved, SendRight, Senders, SendingAs, Store,
    StoreError, Target,
};

use crate::house::{House, address, domain, letter, person, secret};

async fn check(store: &Store, text: &str, expected: Resolved) {
    assert_eq!(
        store.resolve(&address(text)).await.unwrap(),
        expected,
        "{text}"
    );
}

fn to(account: AccountId) -> Resolved {
    Resolved::Targets(vec![Target::Account(account)])
}

/// Where addresses lead, before and after the store was opened anew.
pub(crate) async fn addresses(house: &House) {
    let (store, alice, bob) = house.with_people().await;
    store.add_domain(&domain("blue.test")).await.unwrap();
    let all = [
        address("bob@red.test"),
        address("far@else.test"),
        address("alice@red.test"),
    ];
    store
        .add_alias(&address("team@red.test"), &all[..2])
        .await
        .unwrap();
    store
        .add_alias(&address("team@red.test"), &all[2..])
        .await
        .unwrap();
    store
        .add_alias(&address("b@red.test"), &all[..1])
        .await
        .unwrap();
    store
        .add_alias(&address("*@blue.test"), &all[..1])
        .await
        .unwrap();
    let round = [address("loop2@red.test")];
    store
        .add_alias(&address("loop1@red.test"), &round)
        .await
        .unwrap();
    store
        .add_alias(&round[0], &[address("loop1@red.test")])
        .await
        .unwrap();
    store.close().await.unwrap();
    drop(store);
    let store = house.open().await;
    check(&store, "bob@red.test", to(bob)).await;
    check(&store, "BOB+tag@RED.test", to(bob)).await;
    check(&store, "b@red.test", to(bob)).await;
    check(&store, "any.one@blue.test", to(bob)).await;
    check(&store, "postmaster@red.test", to(alice)).await;
    check(&store, "Abuse@blue.test", to(alice)).await;
    check(&store, "nobody@red.test", Resolved::Unknown).await;
    check(&store, "bob@else.test", Resolved::NotOurs).await;
    check(
        &store,
        "loop1@red.test",
        Resolved::Refused(Refusal::AliasLoop),
    )
    .await;
    let team = vec![
        Target::Account(alice),
        Target::Account(bob),
        Target::Address(address("far@else.test")),
    ];
    check(&store, "team@red.test", Resolved::Targets(team)).await;
    assert_eq!(store.postmaster().await.unwrap(), Some(alice));
    named(&store, bob).await;
    house.finish(store).await;
}

async fn named(store: &Store, bob: AccountId) {
    store.set_enabled(bob, false).await.unwrap();
    check(store, "bob@red.test", Resolved::Refused(Refusal::Disabled)).await;
    assert!(store.is_ours(&domain("blue.test")).await.unwrap());
    let by_alias = store
        .account_by_address(&address("b@red.test"))
        .await
        .unwrap();
    assert_eq!(by_alias, Some(bob));
    let team = store
        .account_by_address(&address("team@red.test"))
        .await
        .unwrap();
    assert_eq!(team, None);
}

/// Groups: who is in them, who may write to them, before and after the store was opened anew.
pub(crate) async fn groups(house: &House) {
    let (store, alice, bob) = house.with_people().await;
    let team = address("team@red.test");
    let nobody = store.set_group(&team, &[], Some(Senders::Domain)).await;
    assert_eq!(nobody, Err(StoreError::NotFound("group")));
    let people = [
        address("bob@red.test"),
        address("far@else.test"),
        address("alice@red.test"),
    ];
    store.set_group(&team, &people[..2], None).await.unwrap();
    store
        .set_group(&team, &people[2..], Some(Senders::Members))
        .await
        .unwrap();
    store
        .add_alias(&address("t@red.test"), std::slice::from_ref(&team))
        .await
        .unwrap();
    let taken = store.add_alias(&team, &people[..1]).await;
    assert_eq!(taken, Err(StoreError::Exists("address")));
    store.close().await.unwrap();
    drop(store);
    let store = house.open().await;
    let all = Resolved::Targets(vec![
        Target::Account(alice),
        Target::Account(bob),
        Target::Address(people[1].clone()),
    ]);
    check(&store, "t@red.test", all).await;
    let may = async |to: &str, from: &str| {
        let from = (!from.is_empty()).then(|| address(from));
        store
            .may_send_to(&address(to), from.as_ref())
            .await
            .unwrap()
    };
    for (to, from, expected) in [
        ("team@red.test", "Far@else.test", true),
        ("t@red.test", "bob+x@red.test", true),
        ("t@red.test", "stranger@else.test", false),
        ("team@red.test", "", false),
        ("bob@red.test", "stranger@else.test", true),
    ] {
        assert_eq!(may(to, from).await, expected, "{from} to {to}");
    }
    assert!(store.is_restricted(&address("t@red.test")));
    // A member speaks for himself.
    assert_eq!(store.may_send_from(bob, &team).await, Ok(false));
    store
        .set_group(&team, &[], Some(Senders::Domain))
        .await
        .unwrap();
    assert!(may("team@red.test", "anybody@red.test").await);
    assert!(!may("team@red.test", "far@else.test").await);
    let rest = store.remove_targets(&team, &people).await;
    assert!(matches!(rest, Err(StoreError::Invalid(_))), "{rest:?}");
    store.remove_targets(&team, &people[..2]).await.unwrap();
    check(&store, "team@red.test", to(alice)).await;
    let groups = store.groups().await.unwrap();
    assert_eq!((groups.len(), groups[0].senders), (1, Senders::Domain));
    assert_eq!(
        store.remove_alias(&team).await,
        Err(StoreError::NotFound("address"))
    );
    store.remove_group(&team).await.unwrap();
    check(&store, "team@red.test", Resolved::Unknown).await;
    catch_all(&store, alice, bob).await;
    house.finish(store).await;
}

async fn catch_all(store: &Store, alice: AccountId, bob: AccountId) {
    let red = domain("red.test");
    let none = store.set_catch_all(&red, &[]).await;
    assert_eq!(none, Err(StoreError::NotFound("address")));
    let (to_alice, to_bob) = (address("alice@red.test"), address("bob@red.test"));
    store.set_catch_all(&red, &[to_alice]).await.unwrap();
    check(store, "any@red.test", to(alice)).await;
    store.set_catch_all(&red, &[to_bob]).await.unwrap();
    check(store, "any@red.test", to(bob)).await;
    store.set_catch_all(&red, &[]).await.unwrap();
    check(store, "any@red.test", Resolved::Unknown).await;
}

/// Own addresses, sub-addresses, aliases; nobody else's.
pub(crate) async fn who_may_send(house: &House) {
    let (store, alice, bob) = house.with_people().await;
    let both = [address("bob@red.test"), address("alice@red.test")];
    store
        .add_alias(&address("team@red.test"), &both)
        .await
        .unwrap();
    let may = async |account, from: &str| store.may_send_from(account, &address(from)).await;
    assert_eq!(may(bob, "bob@red.test").await, Ok(true));
    assert_eq!(may(bob, "Bob+x@red.test").await, Ok(true));
    assert_eq!(may(bob, "team@red.test").await, Ok(true));
    assert_eq!(may(alice, "team@red.test").await, Ok(true));
    assert_eq!(may(bob, "alice@red.test").await, Ok(false));
    assert_eq!(may(bob, "bob@else.test").await, Ok(false));
    assert_eq!(may(bob, "nobody@red.test").await, Ok(false));
    // Being over the quota forbids to receive, not to send.
    store
        .set_quota(bob, QuotaChange::AtMost(0), QuotaChange::Keep)
        .await
        .unwrap();
    assert_eq!(may(bob, "bob@red.test").await, Ok(true));
    house.finish(store).await;
}

/// Identities, domains and what other accounts lend: granted, kept over a start, taken back, and gone
/// with their accounts.
pub(crate) async fn rights_to_send(house: &House) {
    let (store, alice, bob) = house.with_people().await;
    let carol = store.add_account(person("carol@red.test", false)).await;
    let carol = carol.unwrap();
    let sales = SendRight::Address(address("Sales@else.test"));
    for (account, right) in [
        (bob, sales.clone()),
        (bob, SendRight::Domain(domain("app.test"))),
        (bob, SendRight::OnBehalfOf(alice)),
        (carol, SendRight::As(bob)),
        (carol, SendRight::OnBehalfOf(alice)),
    ] {
        store.add_send_right(account, right).await.unwrap();
    }
    let twice = store.add_send_right(bob, sales.clone()).await;
    assert_eq!(twice, Err(StoreError::Exists("right")));
    let oneself = store.add_send_right(bob, SendRight::As(bob)).await;
    assert!(matches!(oneself, Err(StoreError::Invalid(_))));
    store
        .set_author_check(&domain("red.test"), AuthorCheck::NotResent)
        .await
        .unwrap();
    let none = domain("none.test");
    let none = store.set_author_check(&none, AuthorCheck::Never).await;
    assert_eq!(none, Err(StoreError::NotFound("domain")));
    store.close().await.unwrap();
    drop(store);
    let store = house.open().await;
    let sends = async |account, from: &str| store.sending_as(account, &address(from)).await;
    assert_eq!(sends(bob, "sales@ELSE.test").await, Ok(SendingAs::Own));
    assert_eq!(sends(bob, "sales+x@else.test").await, Ok(SendingAs::Own));
    assert_eq!(sends(bob, "other@else.test").await, Ok(SendingAs::No));
    assert_eq!(sends(bob, "any.one@app.test").await, Ok(SendingAs::Own));
    assert_eq!(sends(bob, "any@sub.app.test").await, Ok(SendingAs::No));
    assert_eq!(sends(bob, "alice@red.test").await, Ok(SendingAs::OnBehalf));
    assert_eq!(sends(carol, "bob@red.test").await, Ok(SendingAs::Own));
    assert_eq!(sends(carol, "sales@else.test").await, Ok(SendingAs::Own));
    assert_eq!(
        sends(carol, "alice@red.test").await,
        Ok(SendingAs::OnBehalf)
    );
    assert_eq!(sends(alice, "carol@red.test").await, Ok(SendingAs::No));
    let bobs = store.send_rights(bob).await.unwrap();
    let expected = [
        SendRight::Address(address("sales@else.test")),
        SendRight::Domain(domain("app.test")),
        SendRight::OnBehalfOf(alice),
    ];
    assert_eq!(bobs, expected);
    let about = store.sender(bob).unwrap();
    assert_eq!(about, (address("bob@red.test"), AuthorCheck::NotResent));
    store.remove_send_right(bob, sales.clone()).await.unwrap();
    assert_eq!(sends(bob, "sales@else.test").await, Ok(SendingAs::No));
    let gone = store.remove_send_right(bob, sales).await;
    assert_eq!(gone, Err(StoreError::NotFound("right")));
    // What was lent on is not: carol may do as bob, not what bob does for alice in her stead.
    store
        .remove_send_right(carol, SendRight::OnBehalfOf(alice))
        .await
        .unwrap();
    assert_eq!(sends(carol, "alice@red.test").await, Ok(SendingAs::No));
    store.remove_account(bob).await.unwrap();
    assert_eq!(sends(carol, "bob@red.test").await, Ok(SendingAs::No));
    assert_eq!(store.send_rights(carol).await.unwrap(), []);
    house.finish(store).await;
}

/// What exists is not made again; what is used is not removed.
pub(crate) async fn making_and_removing(house: &House) {
    let (store, alice, bob) = house.with_people().await;
    let red = domain("red.test");
    assert_eq!(
        store.add_domain(&red).await,
        Err(StoreError::Exists("domain"))
    );
    assert!(matches!(
        store.remove_domain(&red).await,
        Err(StoreError::Invalid(_))
    ));
    let none = store.remove_domain(&domain("none.test")).await;
    assert_eq!(none, Err(StoreError::NotFound("domain")));
    let taken = store.add_account(person("Bob@red.test", false)).await;
    assert_eq!(taken, Err(StoreError::Exists("address")));
    let foreign = store.add_account(person("bob@none.test", false)).await;
    assert_eq!(foreign, Err(StoreError::NotFound("domain")));
    let over = store
        .add_alias(&address("bob@red.test"), &[address("a@else.test")])
        .await;
    assert_eq!(over, Err(StoreError::Exists("address")));
    store
        .add_alias(&address("x@red.test"), &[address("bob@red.test")])
        .await
        .unwrap();
    assert_eq!(store.aliases().await.unwrap().len(), 1);
    store.remove_alias(&address("x@red.test")).await.unwrap();
    let gone = store.remove_alias(&address("x@red.test")).await;
    assert_eq!(gone, Err(StoreError::NotFound("address")));
    let delivery = house
        .delivery(&store, &letter("x"), &[(bob, "bob@red.test")])
        .await;
    store.deliver(delivery).await.unwrap();
    store.remove_account(bob).await.unwrap();
    assert_eq!(
        store.account(bob).await.err(),
        Some(StoreError::NotFound("account"))
    );
    check(&store, "bob@red.test", Resolved::Unknown).await;
    let next = store
        .add_account(person("bob@red.test", false))
        .await
        .unwrap();
    assert!(next > bob, "an id is never used again");
    let accounts = store.accounts().await.unwrap();
    let ids: Vec<_> = accounts.iter().map(|account| account.id).collect();
    assert_eq!(ids, [alice, next]);
    store.remove_account(alice).await.unwrap();
    store.remove_account(next).await.unwrap();
    store.remove_domain(&red).await.unwrap();
    assert!(store.domains().await.unwrap().is_empty());
    house.finish(store).await;
}

/// Right, wrong, unknown, disabled, changed.
pub(crate) async fn passwords(house: &House) {
    let store = house.open().await;
    store.add_domain(&domain("red.test")).await.unwrap();
    let new = NewAccount {
        password: Some(secret("cor\u{AD}rect ⅸ")),
        ..person("bob@red.test", false)
    };
    let bob = store.add_account(new).await.unwrap();
    let login = async |login: &str, password: &str| {
        store.authenticate(login, &secret(password)).await.unwrap()
    };
    // SASLprep: the soft hyphen goes, the Roman numeral is written out.
    assert_eq!(login("bob@red.test", "correct ix").await, Some(bob));
    let started = Instant::now();
    for _ in 0..20 {
        assert_eq!(login("Bob", "correct ix").await, Some(bob), "by local part");
    }
    let remembered = started.elapsed();
    assert_eq!(login("bob@red.test", "Correct ix").await, None);
    assert_eq!(login("nobody@red.test", "correct ix").await, None);
    let started = Instant::now();
    assert_eq!(login("nobody@red.test", "correct ix").await, None);
    assert!(
        started.elapsed() > remembered / 20,
        "an unknown login costs a real check"
    );
    store.set_enabled(bob, false).await.unwrap();
    assert_eq!(
        login("bob", "correct ix").await,
        None,
        "also where it was remembered"
    );
    store.set_enabled(bob, true).await.unwrap();
    store.set_password(bob, &secret("new")).await.unwrap();
    assert_eq!(login("bob", "correct ix").await, None);
    assert_eq!(login("bob", "new").await, Some(bob));
    let empty = store.set_password(bob, &secret("")).await;
    assert!(matches!(empty, Err(StoreError::Invalid(_))));
    store.add_domain(&domain("blue.test")).await.unwrap();
    assert_eq!(
        login("bob", "new").await,
        None,
        "ambiguous with two domains"
    );
    house.finish(store).await;
}

/// SCRAM keys stay the same, for known and unknown logins, also after a restart.
pub(crate) async fn scram(house: &House) {
    let (store, _, bob) = house.with_people().await;
    store.set_password(bob, &secret("pencil")).await.unwrap();
    let known = store.scram_keys("bob@red.test").await.unwrap();
    assert_eq!(known.account, Some(bob));
    assert!(known.iterations >= 4_096);
    let unknown = store.scram_keys("nobody@red.test").await.unwrap();
    assert_eq!(unknown.account, None);
    assert_eq!(unknown.iterations, known.iterations);
    assert_eq!(unknown.salt.len(), known.salt.len());
    let alice = store.scram_keys("alice@red.test").await.unwrap();
    assert_eq!(alice.account, None, "no password, no keys");
    assert_ne!(alice.salt, unknown.salt);
    store.close().await.unwrap();
    drop(store);
    let store = house.open().await;
    let again = store.scram_keys("nobody@red.test").await.unwrap();
    assert_eq!(
        (again.salt, again.stored_key),
        (unknown.salt, unknown.stored_key)
    );
    assert_eq!(
        store.scram_keys("bob").await.unwrap().stored_key,
        known.stored_key
    );
    house.finish(store).await;
}

/// The salted password of RFC 7677 §3's example gives the proof that the example shows.
pub(crate) async fn scram_keys_are_those_of_the_rfc(house: &House) {
    use aws_lc_rs::{digest, hmac, pbkdf2};
    let (store, _, bob) = house.with_people().await;
    store.set_password(bob, &secret("pencil")).await.unwrap();
    let keys = store.scram_keys("bob").await.unwrap();
    let mut salted = [0; 32];
    let iterations = std::num::NonZeroU32::new(keys.iterations).unwrap();
    let algorithm = pbkdf2::PBKDF2_HMAC_SHA256;
    pbkdf2::derive(algorithm, iterations, &keys.salt, b"pencil", &mut salted);
    let key = hmac::Key::new(hmac::HMAC_SHA256, &salted);
    let client_key = hmac::sign(&key, b"Client Key");
    let stored_key = digest::digest(&digest::SHA256, client_key.as_ref());
    assert_eq!(stored_key.as_ref(), keys.stored_key);
    assert_eq!(hmac::sign(&key, b"Server Key").as_ref(), keys.server_key);
    house.finish(store).await;
}

/// One process at a time, and a folder that a dead one held is free at once.
pub(crate) async fn one_process_at_a_time(house: &House) {
    let store = house.open().await;
    let second = Store::open(house.options()).await.err();
    assert!(matches!(second, Some(StoreError::Locked(_))), "{second:?}");
    drop(store);
    let started = Instant::now();
    let store = house.open().await;
    assert!(started.elapsed() < Duration::from_secs(1));
    let embedded = house.postgres.is_none();
    assert_eq!(house.path().join("data/mail.db").exists(), embedded);
    store.close().await.unwrap();
    let closed = store.mailboxes(AccountId(1)).await;
    assert_eq!(closed.err(), Some(StoreError::Closed));
}
