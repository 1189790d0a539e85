//! What letters leave with, over a real store and real keys.

use base::limits::Limits;
use base::metrics::Metrics;
use base::ports::{BoxFuture, DnsError, Mx, Resolver};
use base::{AccountId, RecipientId};
use mailauth::dkim::{Outcome, Prepared, verify};
use mailauth::{Answer, Answers, Question, RecordType, Records, arc};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;
use store::{
    BlobHome, ClaimRef, ClaimedRecipient, Database, DkimAlgorithm, DkimState, DsnReturn, Handling,
    Notify, StoreOptions, Synchronous,
};

use super::*;
use crate::testing::{Counting, SetClock};

const BOTH: [DkimAlgorithm; 2] = [DkimAlgorithm::Rsa, DkimAlgorithm::Ed25519];
const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
const LETTER: &str =
    "From: Alice <alice@here.test>\r\nTo: b@far.test\r\nSubject: x\r\n\r\nhello\r\n";

struct World {
    store: Store,
    clock: Arc<SetClock>,
    signer: Signer,
    _folder: tempfile::TempDir,
}

impl World {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(SetClock::new(NOW));
        let store = Store::open(StoreOptions {
            key_file: None,
            data_dir: folder.path().to_owned(),
            database: Database::default(),
            blobs: BlobHome::Inline,
            node: "here".to_owned(),
            synchronous: Synchronous::Off,
            limits: Arc::new(Limits {
                free_disk_bytes_min: 0,
                ..Limits::default()
            }),
            clock: clock.clone(),
            entropy: Arc::new(Counting::default()),
            metrics: Metrics::default(),
            extractor: None,
        });
        let store = store.await.unwrap();
        store.add_domain(&domain("here.test")).await.unwrap();
        Self {
            signer: Signer::new(store.clone(), clock.clone()),
            store,
            clock,
            _folder: folder,
        }
    }

    async fn with_keys() -> Self {
        let world = Self::new().await;
        let here = domain("here.test");
        let made = make_keys(&world.store, &here, &BOTH, false, NOW)
            .await
            .unwrap();
        assert_eq!(made, ["rsa-20270115", "ed-20270115"]);
        world
    }

    async fn leaving(&self, claim: &Claim, letter: &str) -> Leaving {
        let letter = self
            .store
            .letter(Bytes::from(letter.to_owned()))
            .await
            .unwrap();
        self.signer.leaving(claim, &letter).await
    }

    /// The DNS with the records of all keys.
    async fn answers(&self) -> Answers {
        let mut answers = Answers::default();
        for key in self.store.dkim_keys(None).await.unwrap() {
            let name = format!("{}._domainkey.{}", key.selector, key.domain);
            let kind = RecordType::Txt;
            let texts = Records::Txt(vec![key.record.into_bytes()]);
            answers.insert(Question { name, kind }, Answer::Found(texts));
        }
        answers
    }

    async fn outcomes(&self, leaving: &Leaving, claim: &Claim, letter: &str) -> Vec<Outcome> {
        let pieces: [&[u8]; 3] = [&leaving.fields, &claim.head, letter.as_bytes()];
        let results = verify(&Prepared::new(&pieces), &self.answers().await, NOW).unwrap();
        results.into_iter().map(|result| result.outcome).collect()
    }
}

fn domain(text: &str) -> Domain {
    Domain::parse(text).unwrap()
}

fn address(text: &str) -> EmailAddress {
    EmailAddress::parse(text).unwrap()
}

fn claim(number: i64, account: Option<AccountId>, sender: Option<&str>, head: &str) -> Claim {
    Claim {
        lane: store::Lane::default(),
        reference: ClaimRef {
            letter: LetterId(number),
            fence: 1,
        },
        domain: domain("far.test"),
        account,
        reverse_path: sender.map(address),
        envelope_id: None,
        dsn_return: DsnReturn::Unasked,
        needs_utf8: false,
        head: Bytes::from(head.to_owned()),
        size: 0,
        received_at: NOW,
        expires_at: NOW,
        handling: Handling::default(),
        recipients: vec![ClaimedRecipient {
            id: RecipientId(1),
            address: address("b@far.test"),
            original: None,
            notify: Notify::DEFAULT,
            attempts: 0,
            delay_reported: false,
        }],
    }
}

#[tokio::test]
async fn a_users_letter_is_signed_with_each_key_and_once() {
    let mut world = World::with_keys().await;
    let head = "Received: from laptop by mx.here.test\r\nDate: Fri, 15 Jan 2027 08:00:00 +0000\r\n";
    let own = claim(1, Some(AccountId(1)), Some("alice@here.test"), head);
    let leaving = world.leaving(&own, LETTER).await;
    assert_eq!(
        world.outcomes(&leaving, &own, LETTER).await,
        [Outcome::Pass; 2]
    );
    assert_eq!(
        leaving.told,
        "signed as here.test (rsa-20270115, ed-20270115)"
    );
    assert_eq!(leaving.reverse_path, own.reverse_path);
    // The same letter for another domain: the signature is the one that was made.
    world.clock.set(NOW + Duration::from_secs(5));
    assert_eq!(world.leaving(&own, LETTER).await, leaving);
    // Nor another one after a restart: who got the letter already knows it by its bytes.
    world.signer = Signer::new(world.store.clone(), world.clock.clone());
    assert_eq!(world.leaving(&own, LETTER).await, leaving);
    // A large one, on a thread of its own.
    let large = format!("{LETTER}{}", "0123456789\r\n".repeat(100_000));
    let own = claim(2, Some(AccountId(1)), Some("alice@here.test"), head);
    let leaving = world.leaving(&own, &large).await;
    assert_eq!(
        world.outcomes(&leaving, &own, &large).await,
        [Outcome::Pass; 2]
    );
}

/// Only such letters go where a sender's domain has a login.
#[test]
fn strangers_do_not_prove_their_senders() {
    let sender = Some("alice@here.test");
    let received = "Received: from x.test by mx.here.test\r\n";
    let of_list = format!("List-Id: <dev.here.test>\r\n{received}");
    let forwarded = format!("Delivered-To: bob@here.test\r\n{received}");
    for (account, head, proven) in [
        (Some(AccountId(1)), received, true),
        (None, "", true),
        (None, of_list.as_str(), true),
        (None, received, false),
        (None, forwarded.as_str(), false),
    ] {
        let claim = claim(1, account, sender, head);
        assert_eq!(proven_sender(&claim).is_some(), proven, "{head}");
    }
    assert_eq!(proven_sender(&claim(1, None, None, "")), None);
}

#[tokio::test]
async fn reports_are_signed_and_what_is_not_ours_is_not() {
    let world = World::with_keys().await;
    let report = LETTER.replace("alice@here.test", "mailer-daemon@mx.here.test");
    let from_us = claim(1, None, None, "");
    let leaving = world.leaving(&from_us, &report).await;
    assert_eq!(
        world.outcomes(&leaving, &from_us, &report).await,
        [Outcome::Pass; 2]
    );
    let foreign = LETTER.replace("here.test", "there.test");
    let bare = [
        (
            claim(2, Some(AccountId(1)), Some("alice@here.test"), ""),
            foreign.as_str(),
        ),
        (claim(3, None, Some("x@there.test"), ""), LETTER),
        (
            claim(4, Some(AccountId(1)), None, ""),
            "Subject: no author\r\n\r\n",
        ),
        (
            claim(5, None, None, "Delivered-To: bob@here.test\r\n"),
            LETTER,
        ),
        // Relayed for a domain whose mail is kept for another server.
        (
            claim(6, None, None, "Received: from x.test by mx.here.test\r\n"),
            LETTER,
        ),
    ];
    for (claim, letter) in bare {
        let leaving = world.leaving(&claim, letter).await;
        assert!(leaving.fields.is_empty(), "{:?}", claim.reference);
        assert_eq!(leaving.reverse_path, claim.reverse_path);
    }
    // Without a key a letter leaves as it is.
    let world = World::new().await;
    let leaving = world
        .leaving(&claim(6, Some(AccountId(1)), None, ""), LETTER)
        .await;
    assert_eq!((leaving.fields.len(), leaving.told.as_str()), (0, ""));
}

#[tokio::test]
async fn a_forwarded_letter_is_sealed_and_its_sender_rewritten() {
    let world = World::with_keys().await;
    let head = "Delivered-To: bob@here.test\r\nAuthentication-Results: mx.here.test; spf=pass \
                smtp.mailfrom=x@there.test; dkim=none\r\nReceived: from there.test by mx.here.test\r\n";
    let forward = claim(1, None, Some("x@there.test"), head);
    let letter = LETTER.replace("here.test", "there.test");
    let leaving = world.leaving(&forward, &letter).await;
    let rewritten = leaving.reverse_path.clone().unwrap();
    assert_eq!(rewritten.domain, domain("here.test"));
    let behind = unwrap_sender(&world.store, &rewritten, NOW).await.unwrap();
    assert_eq!(behind, Ok(address("x@there.test")));
    assert_eq!(
        leaving.told,
        format!("sent on as {rewritten}; sealed as here.test")
    );
    let pieces: [&[u8]; 3] = [&leaving.fields, head.as_bytes(), letter.as_bytes()];
    let found = arc::verify(&Prepared::new(&pieces), &world.answers().await).unwrap();
    assert_eq!((found.outcome, found.instance), (arc::ArcOutcome::Pass, 1));
    let results = found.results.unwrap();
    assert!(results.contains("mx.here.test; spf=pass"), "{results}");
    // On it goes, by another alias.
    let again = [&leaving.fields, letter.as_bytes()].concat();
    let again = String::from_utf8(again).unwrap();
    let head = head.replace("dkim=none", "dkim=none; arc=pass");
    let forward = claim(2, None, Some("x@there.test"), &head);
    let leaving = world.leaving(&forward, &again).await;
    let pieces: [&[u8]; 3] = [&leaving.fields, head.as_bytes(), again.as_bytes()];
    let found = arc::verify(&Prepared::new(&pieces), &world.answers().await).unwrap();
    assert_eq!((found.outcome, found.instance), (arc::ArcOutcome::Pass, 2));
    // A sender of ours stays, and without results nothing is sealed.
    let forward = claim(
        3,
        None,
        Some("alice@here.test"),
        "Delivered-To: bob@here.test\r\n",
    );
    let leaving = world.leaving(&forward, &letter).await;
    assert_eq!(leaving.reverse_path, Some(address("alice@here.test")));
    assert!(leaving.fields.is_empty());
}

/// A DNS of texts.
#[derive(Default)]
struct Texts(BTreeMap<String, Vec<String>>);

impl Resolver for Texts {
    fn mx<'a>(&'a self, _: &'a Domain) -> BoxFuture<'a, Result<Vec<Mx>, DnsError>> {
        Box::pin(async { Err(DnsError::NoName) })
    }

    fn addresses<'a>(&'a self, _: &'a Domain) -> BoxFuture<'a, Result<Vec<IpAddr>, DnsError>> {
        Box::pin(async { Err(DnsError::NoName) })
    }

    fn txt<'a>(&'a self, name: &'a Domain) -> BoxFuture<'a, Result<Vec<String>, DnsError>> {
        let found = self.0.get(name.as_str()).cloned();
        Box::pin(async { found.ok_or(DnsError::NoName) })
    }

    fn ptr(&self, _: IpAddr) -> BoxFuture<'_, Result<Vec<Domain>, DnsError>> {
        Box::pin(async { Err(DnsError::NoName) })
    }

    fn records<'a>(
        &'a self,
        name: &'a str,
        _: RecordType,
    ) -> BoxFuture<'a, Result<Records, DnsError>> {
        let found = self.0.get(name).cloned();
        let texts = |found: Vec<String>| found.into_iter().map(String::into_bytes).collect();
        Box::pin(async move {
            found
                .map(|found| Records::Txt(texts(found)))
                .ok_or(DnsError::NoName)
        })
    }
}

#[tokio::test]
async fn keys_are_made_announced_changed_and_forgotten() {
    let world = World::new().await;
    let (store, here) = (&world.store, domain("here.test"));
    let mut dns = Texts::default();
    tend(store, &dns, NOW).await.unwrap();
    let first = store.dkim_keys(None).await.unwrap();
    assert!(
        first.iter().all(|key| key.state == DkimState::Active(NOW)),
        "{first:?}"
    );
    tend(store, &dns, NOW).await.unwrap();
    assert_eq!(store.dkim_keys(None).await.unwrap(), first);
    // The next one of a day has another name, and signs only once it is in the DNS.
    let made = make_keys(store, &here, &BOTH[1..], true, NOW)
        .await
        .unwrap();
    assert_eq!(made, ["ed-20270115b"]);
    tend(store, &dns, NOW).await.unwrap();
    let state = async |selector: &str| {
        let keys = store.dkim_keys(Some(&here)).await.unwrap();
        keys.into_iter().find(|key| key.selector == selector)
    };
    let new = state("ed-20270115b").await.unwrap();
    assert_eq!(new.state, DkimState::Announced);
    assert_eq!(
        is_published(&dns, &record_name(&new), &new.record).await,
        Published::No
    );
    let name = "ed-20270115b._domainkey.here.test".to_owned();
    dns.0.insert(name.clone(), vec![first[1].record.clone()]);
    assert_eq!(
        is_published(&dns, &record_name(&new), &new.record).await,
        Published::Other(first[1].record.clone())
    );
    dns.0.insert(name, vec![new.record.clone()]);
    world.clock.set(NOW + Duration::from_secs(60));
    tend(store, &dns, NOW + Duration::from_secs(60))
        .await
        .unwrap();
    let at = NOW + Duration::from_secs(60);
    assert_eq!(
        state("ed-20270115b").await.unwrap().state,
        DkimState::Active(at)
    );
    assert_eq!(
        state("ed-20270115").await.unwrap().state,
        DkimState::Retired(at)
    );
    tend(store, &dns, at + GRACE).await.unwrap();
    assert!(state("ed-20270115").await.is_some());
    tend(store, &dns, at + GRACE + Duration::from_secs(1))
        .await
        .unwrap();
    assert!(state("ed-20270115").await.is_none());
}

/// RFC 6376 §5.3: a letter that an old server takes only in seven bits is signed as it is sent.
#[tokio::test]
async fn a_converted_letter_is_signed_anew() {
    let world = World::with_keys().await;
    let head = "Received: from laptop by mx.here.test\r\nDate: Fri, 15 Jan 2027 08:00:00 +0000\r\n";
    let own = claim(1, Some(AccountId(1)), Some("alice@here.test"), head);
    let text =
        "From: alice@here.test\r\nSubject: x\r\nMIME-Version: 1.0\r\n\r\nGr\u{fc}\u{df}e\r\n";
    let leaving = world.leaving(&own, text).await;
    let converted = message::write::to_seven_bit(format!("{head}{text}").as_bytes()).unwrap();
    let bare = claim(1, Some(AccountId(1)), Some("alice@here.test"), "");
    let sent = String::from_utf8(converted.clone()).unwrap();
    let broken = world.outcomes(&leaving, &bare, &sent).await;
    assert!(!broken.contains(&Outcome::Pass), "{broken:?}");
    let anew = Leaving {
        fields: Anew(&world.signer, &own).fields(converted.into()).await,
        ..leaving.clone()
    };
    let found = world.outcomes(&anew, &bare, &sent).await;
    assert_eq!(found, [Outcome::Pass, Outcome::Pass]);
    // What goes to others is still signed as it stands in the queue.
    let known = world.leaving(&own, text).await;
    assert_eq!(known, leaving);
}
