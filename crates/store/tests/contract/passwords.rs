//! App passwords.

use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU32;

use aws_lc_rs::{digest, hmac, pbkdf2};
use base::{AccountId, Secret};
use pennyblack_store::{LoginFrom, MailProtocol, Store, StoreError};

use crate::house::{House, secret};

const LAPTOP: LoginFrom = LoginFrom {
    protocol: MailProtocol::Imap,
    address: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7)),
};
const SENDER: LoginFrom = LoginFrom {
    protocol: MailProtocol::Smtp,
    ..LAPTOP
};

async fn log_in(
    store: &Store,
    login: &str,
    password: &Secret,
    from: LoginFrom,
) -> Option<AccountId> {
    store.log_in(login, password, from).await.unwrap()
}

/// RFC 5802 §3: the stored key of a password.
fn stored_key(password: &Secret, salt: &[u8], iterations: u32) -> Vec<u8> {
    let mut salted = [0; 32];
    let iterations = NonZeroU32::new(iterations).unwrap();
    let algorithm = pbkdf2::PBKDF2_HMAC_SHA256;
    pbkdf2::derive(algorithm, iterations, salt, password.expose(), &mut salted);
    let key = hmac::Key::new(hmac::HMAC_SHA256, &salted);
    let client_key = hmac::sign(&key, b"Client Key");
    digest::digest(&digest::SHA256, client_key.as_ref())
        .as_ref()
        .to_vec()
}

/// Made, used, limited, taken back; the account's own password turned off and on.
pub(crate) async fn app_passwords(house: &House) {
    let (store, alice, bob) = house.with_people().await;
    store.set_password(bob, &secret("pencil")).await.unwrap();
    let phone = store.add_app_password(bob, "phone", &[]).await.unwrap();
    let printer = store
        .add_app_password(bob, "printer", &[MailProtocol::Smtp])
        .await
        .unwrap();
    let again = store.add_app_password(bob, "phone", &[]).await;
    assert_eq!(again.err(), Some(StoreError::Exists("app password")));
    let nameless = store.add_app_password(bob, "", &[]).await;
    assert!(matches!(nameless, Err(StoreError::Invalid(_))));
    for from in [LAPTOP, SENDER] {
        assert_eq!(log_in(&store, "bob", &phone, from).await, Some(bob));
        assert_eq!(
            log_in(&store, "bob", &secret("pencil"), from).await,
            Some(bob)
        );
        assert_eq!(log_in(&store, "alice", &phone, from).await, None);
        assert_eq!(log_in(&store, "nobody", &phone, from).await, None);
    }
    // However it was typed.
    let typed = phone.expose_str().unwrap().to_uppercase().replace('-', " ");
    assert_eq!(
        log_in(&store, "bob", &secret(&typed), LAPTOP).await,
        Some(bob)
    );
    assert_eq!(log_in(&store, "bob", &printer, LAPTOP).await, None);
    assert_eq!(log_in(&store, "bob", &printer, SENDER).await, Some(bob));
    // It is a password for mail programs, not that of the account.
    assert_eq!(store.authenticate("bob", &phone).await.unwrap(), None);

    store.set_mail_password(bob, false).await.unwrap();
    assert_eq!(log_in(&store, "bob", &secret("pencil"), SENDER).await, None);
    assert_eq!(log_in(&store, "bob", &phone, SENDER).await, Some(bob));
    let own = store.authenticate("bob", &secret("pencil")).await.unwrap();
    assert_eq!(own, Some(bob), "elsewhere it is good");
    store.close().await.unwrap();
    drop(store);
    let store = house.open().await;
    let (list, own) = store.app_passwords(bob).await.unwrap();
    assert!(!own);
    let names: Vec<_> = list.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(names, ["phone", "printer"]);
    assert_eq!(list[1].protocols, [MailProtocol::Smtp]);
    let (at, protocol, address) = list[0].used.clone().unwrap();
    assert_eq!(at, store.app_passwords(bob).await.unwrap().0[0].created_at);
    assert_eq!((protocol.as_str(), address.as_str()), ("smtp", "192.0.2.7"));

    store.set_mail_password(bob, true).await.unwrap();
    assert_eq!(
        log_in(&store, "bob", &secret("pencil"), SENDER).await,
        Some(bob)
    );
    store.remove_app_password(bob, "phone").await.unwrap();
    assert_eq!(log_in(&store, "bob", &phone, SENDER).await, None);
    let gone = store.remove_app_password(bob, "phone").await;
    assert_eq!(gone, Err(StoreError::NotFound("app password")));
    store.set_enabled(bob, false).await.unwrap();
    assert_eq!(log_in(&store, "bob", &printer, SENDER).await, None);
    store.remove_account(bob).await.unwrap();
    assert_eq!(store.app_passwords(alice).await.unwrap().0, []);
    house.finish(store).await;
}

/// All passwords of an account have one salt, so that a proof can be held against each; keys outlive a
/// new password and a new key of the store.
pub(crate) async fn app_passwords_by_scram(house: &House) {
    let (store, _, bob) = house.with_people().await;
    store.set_password(bob, &secret("pencil")).await.unwrap();
    let phone = store.add_app_password(bob, "phone", &[]).await.unwrap();
    let only = [MailProtocol::Smtp];
    let printer = store.add_app_password(bob, "printer", &only).await.unwrap();
    store.set_password(bob, &secret("crayon")).await.unwrap();
    store.rotate_key(true).await.unwrap();
    let keys = store
        .mail_scram_keys("bob", MailProtocol::Smtp)
        .await
        .unwrap();
    assert_eq!(keys.own.account, Some(bob));
    let (salt, iterations) = (keys.own.salt.as_slice(), keys.own.iterations);
    let expected = stored_key(&secret("crayon"), salt, iterations);
    assert_eq!(keys.own.stored_key.as_slice(), expected);
    let [first, second] = &keys.others[..] else {
        panic!("{} app passwords", keys.others.len());
    };
    assert_eq!(
        first.stored_key.as_slice(),
        stored_key(&phone, salt, iterations)
    );
    assert_eq!(
        second.stored_key.as_slice(),
        stored_key(&printer, salt, iterations)
    );
    let imap = store
        .mail_scram_keys("bob", MailProtocol::Imap)
        .await
        .unwrap();
    assert_eq!(imap.others.len(), 1, "the printer's is for sending only");
    store.app_password_used(bob, second.password, SENDER).await;
    assert!(store.app_passwords(bob).await.unwrap().0[1].used.is_some());

    // Without the account's own password its keys are made up, and fail only at the proof.
    store.set_mail_password(bob, false).await.unwrap();
    let keys = store
        .mail_scram_keys("bob", MailProtocol::Smtp)
        .await
        .unwrap();
    assert_eq!(keys.own.account, Some(bob));
    assert_ne!(keys.own.stored_key.as_slice(), expected);
    let unknown = store.mail_scram_keys("nobody", MailProtocol::Smtp).await;
    let unknown = unknown.unwrap();
    assert_eq!((unknown.own.account, unknown.others.len()), (None, 0));
    house.finish(store).await;
}
