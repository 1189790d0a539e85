//! Sessions over a real store in a temporary folder, spoken to through a pipe.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base::limits::Limits;
use base::metrics::Metrics;
use base::ports::{BoxFuture, BoxStream, ChannelBinding, TlsAcceptor, TlsInfo, TokenCheck};
use base::throttle::LoginThrottle;
use base::{AccountId, Domain, EmailAddress, Secret, Timestamp};
use proto::smtp::Role;
use store::{BlobHome, Database, NewAccount, QueueFilter, Store, StoreOptions, Synchronous};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{BackupMx, Listener, Security, SmtpContext, SmtpOptions, serve};
use crate::auth::{AuthOptions, Network, Policy};
use crate::net::Gate;
use crate::testing::{Counting, SetClock, Table};

mod backup;
mod checks;
mod groups;
mod reports;
mod rewritten;
mod senders;
mod sending;
mod tokens;
mod wishes;

const STRANGER: &str = "192.0.2.1:4000";
const HOME: &str = "127.0.0.1:4000";
const RELAY: Listener = Listener {
    role: Role::Relay,
    security: Security::StartTls,
};
const SUBMISSION: Listener = Listener {
    role: Role::Submission,
    security: Security::StartTls,
};

/// TLS as a mark only: real handshakes are tested where the sockets are.
struct MarkedTls;

impl TlsAcceptor for MarkedTls {
    fn accept(
        &self,
        mut stream: BoxStream,
    ) -> BoxFuture<'_, std::io::Result<(BoxStream, TlsInfo)>> {
        Box::pin(async move {
            let mut mark = [0; 6];
            stream.read_exact(&mut mark).await?;
            assert!([b"<TLS>\n", b"<CRT>\n"].contains(&&mark), "{mark:?}");
            let info = TlsInfo {
                version: "TLSv1.3",
                cipher: "TLS_AES_256_GCM_SHA384".to_owned(),
                verified: false,
                binding: ChannelBinding {
                    exporter: Some([7; 32]),
                    server_end_point: None,
                },
                client_addresses: match &mark {
                    b"<CRT>\n" => vec![address("carol@black.test"), address("bob@red.test")],
                    _ => Vec::new(),
                },
            };
            Ok((stream, info))
        })
    }
}

/// An issuer of two tokens.
struct Tokens;

impl TokenCheck for Tokens {
    fn check<'a>(&'a self, token: &'a Secret) -> BoxFuture<'a, Result<Option<String>, String>> {
        Box::pin(async {
            match token.expose() {
                b"bobs" => Ok(Some("bob@black.test".to_owned())),
                b"tagged" => Ok(Some("bob+tag@black.test".to_owned())),
                b"gone" => Ok(Some("nobody@black.test".to_owned())),
                b"slow" => std::future::pending().await,
                b"down" => Err("the issuer does not answer".to_owned()),
                _ => Ok(None),
            }
        })
    }
}

/// A node's part: black.test with bob and carol, an admin, and some aliases.
struct World {
    store: Store,
    context: Arc<SmtpContext>,
    clock: Arc<SetClock>,
    stop: CancellationToken,
    bob: AccountId,
    admin: AccountId,
    _dir: tempfile::TempDir,
}

fn address(text: &str) -> EmailAddress {
    EmailAddress::parse(text).unwrap()
}

/// Fills a store; gives bob and the admin.
async fn populate(store: &Store) -> (AccountId, AccountId) {
    store
        .add_domain(&Domain::parse("black.test").unwrap())
        .await
        .unwrap();
    let add = async |name: &str, admin| {
        let new = NewAccount {
            address: address(&format!("{name}@black.test")),
            name: name.to_owned(),
            password: Some(Secret::new(*b"pencil")),
            quota_bytes: (name == "carol").then_some(2_000),
            quota_messages: None,
            admin,
        };
        store.add_account(new).await.unwrap()
    };
    let bob = add("bob", false).await;
    add("carol", false).await;
    let admin = add("root", true).await;
    for (alias, target) in [
        ("robert@black.test", "bob@black.test"),
        ("away@black.test", "bob@elsewhere.test"),
        ("both@black.test", "bob@black.test"),
        ("both@black.test", "bob@elsewhere.test"),
    ] {
        let targets = [address(target)];
        store.add_alias(&address(alias), &targets).await.unwrap();
    }
    (bob, admin)
}

/// `kept.test` is another server's; bob is there.
fn backup() -> BackupMx {
    let domain = Domain::parse("kept.test").unwrap();
    let days = Duration::from_secs(20 * 86_400);
    BackupMx::new([domain], "bob@kept.test", days).unwrap()
}

impl World {
    async fn new() -> Self {
        Self::with(Limits::default()).await
    }

    async fn with(limits: Limits) -> Self {
        let everybody = ["0.0.0.0/0", "::/0"].map(|text| Network::parse(text).unwrap());
        let auth = AuthOptions {
            resolver: Arc::new(Table::new("")),
            dmarc: Policy::Reject,
            time_limit: Duration::from_secs(20),
            trusted: everybody.to_vec(),
            names: Vec::new(),
            arc_sealers: Vec::new(),
            ledger: None,
        };
        Self::checking(limits, auth).await
    }

    async fn checking(limits: Limits, auth: AuthOptions) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let limits = Arc::new(Limits {
            // Tests run on disks of any size.
            free_disk_bytes_min: 0,
            free_disk_percent_min: 0,
            ..limits
        });
        let clock = Arc::new(SetClock::new(Timestamp::from_secs(1_800_000_000)));
        let entropy = Arc::new(Counting::default());
        let metrics = Metrics::default();
        let store = Store::open(StoreOptions {
            key_file: None,
            data_dir: dir.path().to_owned(),
            database: Database::default(),
            blobs: BlobHome::Inline,
            node: "test".to_owned(),
            synchronous: Synchronous::Full,
            limits: limits.clone(),
            clock: clock.clone(),
            entropy: entropy.clone(),
            metrics: metrics.clone(),
            extractor: None,
        })
        .await
        .unwrap();
        let (bob, admin) = populate(&store).await;
        let context = SmtpContext::new(SmtpOptions {
            hostname: Domain::parse("mx.black.test").unwrap(),
            store: store.clone(),
            gate: Gate::new(&limits),
            throttle: Arc::new(LoginThrottle::new(&limits)),
            limits,
            tls: Some(Arc::new(MarkedTls)),
            clock: clock.clone(),
            entropy,
            metrics,
            queue_lifetime: Duration::from_secs(432_000),
            scram: true,
            auth: Arc::new(auth),
            auth_without_tls_on_loopback: true,
            tokens: Some(Arc::new(Tokens)),
            xclient_trusted: vec![Network::parse("127.0.0.1").unwrap()],
            backup: Arc::new(backup()),
        });
        Self {
            store,
            context: Arc::new(context),
            clock,
            stop: CancellationToken::new(),
            bob,
            admin,
            _dir: dir,
        }
    }

    fn connect(&self, listener: Listener, peer: &str) -> Peer {
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        let (context, stop) = (self.context.clone(), self.stop.clone());
        let peer: SocketAddr = peer.parse().unwrap();
        let task = tokio::spawn(async move {
            serve(&context, Box::new(theirs), peer, listener, stop).await;
        });
        Peer { stream: ours, task }
    }

    async fn stranger(&self) -> Peer {
        let mut peer = self.connect(RELAY, STRANGER);
        peer.expect("220 mx.black.test ESMTP").await;
        peer.ask("EHLO red.test", "250").await;
        peer
    }

    /// Bob, logged in.
    async fn user(&self) -> Peer {
        let mut peer = self.connect(SUBMISSION, HOME);
        peer.expect("220").await;
        peer.ask("EHLO client", "250").await;
        peer.ask("AUTH PLAIN AGJvYkBibGFjay50ZXN0AHBlbmNpbA==", "235 2.7.0")
            .await;
        peer
    }

    /// The messages of an inbox, heads and letters together.
    async fn inbox(&self, account: AccountId) -> Vec<String> {
        let inbox = self.store.mailbox(account, "INBOX").await.unwrap().unwrap();
        let rows = self
            .store
            .placements(account, inbox.id, base::Uid(1), 1_000);
        let mut messages = Vec::new();
        for row in rows.await.unwrap() {
            let body = self.store.body(account, row.message).await.unwrap();
            let bytes = body.read(0..body.size()).await.unwrap();
            messages.push(String::from_utf8(bytes.to_vec()).unwrap());
        }
        messages
    }

    /// The recipients in the queue.
    async fn queued(&self) -> Vec<String> {
        let entries = self
            .store
            .queue_list(&QueueFilter::default())
            .await
            .unwrap();
        let recipients = entries.iter().flat_map(|entry| &entry.recipients);
        recipients.map(|r| r.address.to_string()).collect()
    }
}

/// The other end of a connection.
struct Peer {
    stream: DuplexStream,
    task: JoinHandle<()>,
}

impl Peer {
    async fn say(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).await.unwrap();
    }

    /// Reads one reply, which must begin like this.
    async fn expect(&mut self, start: &str) -> String {
        let mut reply = String::new();
        loop {
            let line = self.line().await;
            let last = line.as_bytes().get(3) != Some(&b'-');
            reply.push_str(&line);
            if last {
                break;
            }
        }
        assert!(reply.starts_with(start), "{start} expected, got {reply}");
        reply
    }

    async fn line(&mut self) -> String {
        let mut line = Vec::new();
        while line.last() != Some(&b'\n') {
            let byte = tokio::time::timeout(Duration::from_secs(20), self.stream.read_u8()).await;
            line.push(byte.expect("a reply in time").expect("a reply"));
        }
        String::from_utf8(line).unwrap()
    }

    async fn ask(&mut self, line: &str, start: &str) -> String {
        self.say(&format!("{line}\r\n")).await;
        self.expect(start).await
    }

    /// Sends a letter from a stranger to these, and gives the reply to it.
    async fn letter(&mut self, sender: &str, recipients: &[&str], letter: &str) -> String {
        self.ask(&format!("MAIL FROM:<{sender}>"), "250").await;
        for recipient in recipients {
            self.ask(&format!("RCPT TO:<{recipient}>"), "250").await;
        }
        self.ask("DATA", "354").await;
        self.ask(&format!("{letter}."), "").await
    }

    async fn closed(mut self) {
        let mut rest = Vec::new();
        self.stream.read_to_end(&mut rest).await.unwrap();
        assert_eq!(String::from_utf8_lossy(&rest), "");
        drop(self.stream);
        self.task.await.unwrap();
    }
}

const LETTER: &str = "From: alice@red.test\r\nSubject: Hello\r\n\r\n.dots and text\r\n";

/// RFC 5321 §4.4: the trace; RFC 9228 §4: to whom it was delivered; RFC 3848 §1: `with` names.
#[tokio::test]
async fn a_letter_is_in_the_mailbox_when_it_is_acknowledged() {
    let world = World::new().await;
    let mut peer = world.stranger().await;
    let stuffed = LETTER.replace("\r\n.", "\r\n..");
    let reply = peer
        .letter(
            "alice@red.test",
            &["Bob@black.test", "robert+x@black.test"],
            &stuffed,
        )
        .await;
    assert!(reply.starts_with("250 2.0.0 Kept as "), "{reply}");
    let [message] = &world.inbox(world.bob).await[..] else {
        panic!("one copy although two addresses lead to bob");
    };
    let head = message.strip_suffix(LETTER).expect("the letter unchanged");
    assert!(
        head.starts_with("Return-Path: <alice@red.test>\r\nDelivered-To: Bob@black.test\r\n"),
        "{head}"
    );
    let received = head.replace("\r\n", "");
    for part in [
        "from red.test",
        "[192.0.2.1]",
        "by mx.black.test",
        "with ESMTP",
        " id ",
    ] {
        assert!(received.contains(part), "{part} in {head}");
    }
    assert!(!received.contains("for <"), "two recipients are not told");
    peer.ask("QUIT", "221").await;
    peer.closed().await;
}

#[tokio::test]
async fn strangers_reach_only_whom_we_have() {
    let world = World::new().await;
    let carol = address("carol@black.test");
    let carol = world.store.account_by_address(&carol).await;
    let carol = carol.unwrap().unwrap();
    let mut peer = world.stranger().await;
    peer.ask("MAIL FROM:<bob@black.test>", "250").await;
    for (recipient, reply) in [
        ("eve@elsewhere.test", "550 5.7.1"),
        ("eve%elsewhere.test@black.test", "550 5.1.1"),
        ("nobody@black.test", "550 5.1.1"),
        ("bob@black.test", "250 2.1.5"),
        ("postmaster", "250 2.1.5"),
        ("abuse@black.test", "250 2.1.5"),
    ] {
        peer.ask(&format!("RCPT TO:<{recipient}>"), reply).await;
    }
    peer.ask("DATA", "354").await;
    peer.ask("Subject: x\r\n\r\n.", "250").await;
    assert_eq!(
        world.inbox(world.admin).await.len(),
        1,
        "postmaster and abuse"
    );
    assert_eq!(world.queued().await, [""; 0]);

    world.store.set_enabled(carol, false).await.unwrap();
    peer.ask("MAIL FROM:<>", "250").await;
    peer.ask("RCPT TO:<carol@black.test>", "550 5.2.1").await;
}

#[tokio::test]
async fn a_full_mailbox_is_refused_for_now() {
    let world = World::new().await;
    let mut peer = world.stranger().await;
    let long = format!("Subject: x\r\n\r\n{}\r\n", "x".repeat(1_500));
    let reply = peer
        .letter("a@red.test", &["carol@black.test"], &long)
        .await;
    assert!(reply.starts_with("250"), "{reply}");
    peer.ask("MAIL FROM:<a@red.test>", "250").await;
    let reply = peer.ask("RCPT TO:<carol@black.test>", "").await;
    if reply.starts_with("250") {
        peer.ask("DATA", "354").await;
        peer.ask(&format!("{long}."), "452 4.2.2").await;
    } else {
        assert!(reply.starts_with("452 4.2.2"), "{reply}");
    }
}

/// The letter is acknowledged for the others, so that nobody would hear that one missed it.
#[tokio::test]
async fn a_full_mailbox_behind_an_alias_gets_what_the_others_get() {
    let world = World::new().await;
    let targets = [address("bob@black.test"), address("carol@black.test")];
    let alias = address("all@black.test");
    world.store.add_alias(&alias, &targets).await.unwrap();
    let long = format!("Subject: long\r\n\r\n{}", "x\r\n".repeat(600));
    let short = "Subject: short\r\n\r\nx\r\n";
    let mut peer = world.stranger().await;
    for letter in [long.as_str(), short, short] {
        let reply = peer
            .letter("eve@elsewhere.test", &["all@black.test"], letter)
            .await;
        assert!(reply.starts_with("250"), "{reply}");
    }
    let accounts = world.store.accounts().await.unwrap();
    let carol = accounts.iter().find(|account| account.name == "carol");
    assert_eq!(world.inbox(carol.unwrap().id).await.len(), 3);
    assert_eq!(world.inbox(world.bob).await.len(), 3);
    // Alone it is refused.
    peer.ask("MAIL FROM:<eve@elsewhere.test>", "250").await;
    peer.ask("RCPT TO:<carol@black.test>", "452 4.2.2").await;
}

#[tokio::test]
async fn an_alias_forwards_and_knows_its_own_letters() {
    let world = World::new().await;
    let mut peer = world.stranger().await;
    let reply = peer
        .letter("a@red.test", &["both@black.test"], LETTER)
        .await;
    assert!(reply.starts_with("250"), "{reply}");
    assert_eq!(world.inbox(world.bob).await.len(), 1);
    assert_eq!(world.queued().await, ["bob@elsewhere.test"]);
    let back = format!("Delivered-To: away@black.test\r\n{LETTER}");
    let reply = peer.letter("a@red.test", &["away@black.test"], &back).await;
    assert!(reply.starts_with("554 5.4.6"), "{reply}");
}

#[tokio::test]
async fn a_letter_in_circles_and_a_monstrous_header_are_refused() {
    let world = World::with(Limits {
        hops_max: 3,
        ..Limits::default()
    })
    .await;
    let mut peer = world.stranger().await;
    for (letter, start) in [
        ("Received: x\r\n".repeat(3), "250"),
        ("Received: x\r\n".repeat(4), "554 5.4.6"),
        ("X: y\r\n".repeat(2_001), "554 5.6.0"),
    ] {
        let reply = peer
            .letter("a@red.test", &["bob@black.test"], &letter)
            .await;
        assert!(reply.starts_with(start), "{start}: {reply}");
    }
}

#[tokio::test]
async fn a_user_submits_as_himself_only() {
    let world = World::new().await;
    let mut peer = world.user().await;
    peer.ask("MAIL FROM:<carol@black.test>", "550 5.7.1").await;
    let own = "From: Bob <bob@black.test>\r\nSubject: x\r\n\r\ny\r\n";
    let forged = "From: Carol <carol@black.test>\r\n\r\ny\r\n";
    let nobody = "From: Nobody:;\r\nSubject: x\r\n\r\ny\r\n";
    let sent_by_another = "From: bob@black.test\r\nSender: carol@black.test\r\n\r\ny\r\n";
    let two_authors = "From: bob@black.test, carol@black.test\r\n\r\ny\r\n";
    let twice = "From: bob@black.test\r\nFrom : carol@black.test\r\n\r\ny\r\n";
    for (letter, start) in [
        (forged, "550 5.7.1"),
        (sent_by_another, "550 5.7.1"),
        (two_authors, "550 5.7.1"),
        (twice, "554 5.6.0"),
        (nobody, "554 5.6.0"),
        (own, "250 2.0.0"),
    ] {
        let reply = peer
            .letter(
                "bob@black.test",
                &["eve@elsewhere.test", "carol@black.test"],
                letter,
            )
            .await;
        assert!(reply.starts_with(start), "{start}: {reply}");
    }
    peer.ask("MAIL FROM:<bob+tag@black.test>", "250").await;
    peer.ask("RCPT TO:<nobody@black.test>", "550 5.1.1").await;
    let mut queued = world.queued().await;
    queued.sort();
    assert_eq!(queued, ["carol@black.test", "eve@elsewhere.test"]);

    let entries = world
        .store
        .queue_list(&QueueFilter::default())
        .await
        .unwrap();
    let domains = [(Domain::parse("elsewhere.test").unwrap(), 1)];
    let now = entries[0].received_at + Duration::from_secs(1);
    let claims = world.store.claim(now, Duration::from_secs(60), &domains);
    let head = String::from_utf8(claims.await.unwrap()[0].head.to_vec()).unwrap();
    assert!(head.contains("\r\nDate: "), "{head}");
    assert!(head.contains("\r\nMessage-ID: <"), "{head}");
    assert!(head.contains("with ESMTPA"), "{head}");
    assert!(
        !head.contains("127.0.0.1"),
        "the user's address is private: {head}"
    );
}

/// RFC 3463 §3.2: X.1.1, as the address is what does not work.
#[tokio::test]
async fn a_suppressed_address_is_refused_with_the_reason() {
    let world = World::new().await;
    let new = store::NewSuppression {
        address: address("eve@elsewhere.test"),
        sender_domain: Some(Domain::parse("black.test").unwrap()),
        reason: "she has left".to_owned(),
        until: None,
    };
    world.store.suppress(new).await.unwrap();
    let mut peer = world.user().await;
    peer.ask("MAIL FROM:<bob@black.test>", "250").await;
    let reply = peer.ask("RCPT TO:<Eve@elsewhere.test>", "550").await;
    for part in [
        "550-5.1.1 the administrator has stopped letters to eve@elsewhere.test: she has left",
        "550-5.1.1 not tried since ",
        "550 5.1.1 lifted by the administrator with: pennyblack suppression remove eve@elsewhere.test",
    ] {
        assert!(reply.contains(part), "{reply}");
    }
    peer.ask("RCPT TO:<adam@elsewhere.test>", "250").await;
}

#[tokio::test]
async fn a_user_logs_in_by_scram() {
    use proto::smtp::client::{Client, Config, Credentials, Event, Timeouts, TlsPolicy};
    let world = World::new().await;
    let mut peer = world.connect(SUBMISSION, HOME);
    let phone = world.store.add_app_password(world.bob, "phone", &[]).await;
    let reader = [store::MailProtocol::Imap];
    let reader = world.store.add_app_password(world.bob, "reader", &reader);
    let (phone, reader) = (phone.unwrap(), reader.await.unwrap());
    for (password, succeeds) in [
        ("pencil", true),
        ("crayon", false),
        (phone.expose_str().unwrap(), true),
        (reader.expose_str().unwrap(), false),
    ] {
        let config = Config {
            hostname: Domain::parse("client.test").unwrap(),
            tls: TlsPolicy::Never,
            credentials: Some(Credentials {
                login: "bob@black.test".to_owned(),
                password: Secret::new(password.as_bytes()),
                nonce: "rOprNGfwEbeRWgbNEkqO".to_owned(),
                without_tls: true,
            }),
            lmtp: false,
            timeouts: Timeouts::default(),
        };
        let now = Timestamp::from_secs(1_800_000_000);
        let mut client = Client::new(config, false, now);
        let mut buffer = vec![0; 4_096];
        let event = loop {
            if let Some(event) = client.poll() {
                break event;
            }
            while let Some(bytes) = client.transmit(now) {
                peer.stream.write_all(&bytes).await.unwrap();
            }
            let bytes = peer.stream.read(&mut buffer).await.unwrap();
            client.receive(&buffer[..bytes], now);
        };
        assert_eq!(event == Event::Ready, succeeds, "{event:?}");
        peer = world.connect(SUBMISSION, HOME);
    }
    let (list, _) = world.store.app_passwords(world.bob).await.unwrap();
    let used: Vec<bool> = list.iter().map(|one| one.used.is_some()).collect();
    assert_eq!(used, [true, false]);
}

#[tokio::test]
async fn passwords_cannot_be_tried_at_will() {
    let world = World::with(Limits {
        auth_failures_max: 2,
        ..Limits::default()
    })
    .await;
    let mut peer = world.connect(SUBMISSION, HOME);
    peer.expect("220").await;
    peer.ask("EHLO client", "250").await;
    let right = "AUTH PLAIN AGJvYkBibGFjay50ZXN0AHBlbmNpbA==";
    let wrong = "AUTH PLAIN AGJvYkBibGFjay50ZXN0AHdyb25n";
    let unknown = "AUTH PLAIN AG5vYm9keUBibGFjay50ZXN0AHdyb25n";
    let first = peer.ask(wrong, "535 5.7.8").await;
    let second = peer.ask(unknown, "535 5.7.8").await;
    assert_eq!(first, second, "an unknown user looks like a wrong password");
    peer.ask(right, "454 4.7.0").await;
    peer.ask(right, "454 4.7.0").await;
    peer.ask(right, "421 4.7.0").await;
    peer.closed().await;
    world.clock.set(Timestamp::from_secs(1_800_000_000 + 600));
    world.user().await;
}

#[tokio::test]
async fn starttls_begins_anew() {
    let world = World::new().await;
    let mut peer = world.stranger().await;
    peer.say("STARTTLS\r\nMAIL FROM:<evil@red.test>\r\n").await;
    peer.expect("220 2.0.0").await;
    peer.say("<TLS>\n").await;
    peer.ask("MAIL FROM:<a@red.test>", "503").await;
    let hello = peer.ask("EHLO red.test", "250").await;
    assert!(!hello.contains("STARTTLS"), "{hello}");
    peer.letter("a@red.test", &["bob@black.test"], LETTER).await;
    let message = world.inbox(world.bob).await.remove(0).replace("\r\n", "");
    assert!(message.contains("with ESMTPS"), "{message}");
    assert!(message.contains("TLSv1.3"), "{message}");
    assert!(message.contains("for <bob@black.test>"), "{message}");
}

#[tokio::test]
async fn a_crowd_hears_why_it_is_refused() {
    let world = World::with(Limits {
        connections_per_address_max: 1,
        ..Limits::default()
    })
    .await;
    let first = world.stranger().await;
    let mut second = world.connect(RELAY, "192.0.2.1:4001");
    second
        .expect("421 4.7.0 Too many connections from your")
        .await;
    second.closed().await;
    let mut implicit = world.connect(
        Listener {
            role: Role::Submission,
            security: Security::Implicit,
        },
        "192.0.2.1:4002",
    );
    implicit.say("<TLS>\n").await;
    implicit.expect("421 4.7.0").await;
    implicit.closed().await;
    drop(first.stream);
    first.task.await.unwrap();
    world.stranger().await;
}

#[tokio::test]
async fn a_stop_ends_idle_sessions_and_finishes_letters() {
    let world = World::new().await;
    let mut idle = world.stranger().await;
    let mut busy = world.stranger().await;
    busy.ask("MAIL FROM:<a@red.test>", "250").await;
    busy.ask("RCPT TO:<bob@black.test>", "250").await;
    busy.ask("DATA", "354").await;
    busy.say("Subject: x\r\n").await;
    // The idle session's end shows that the stop was seen.
    world.stop.cancel();
    idle.expect("421 4.3.2").await;
    idle.closed().await;
    busy.say("\r\nthe end\r\n.\r\n").await;
    busy.expect("250 2.0.0 Kept as").await;
    busy.expect("421 4.3.2").await;
    busy.closed().await;
    assert_eq!(world.inbox(world.bob).await.len(), 1);
}

/// Sends commands without end, and never lets anybody wait.
struct Endless;

impl tokio::io::AsyncRead for Endless {
    fn poll_read(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
        buffer: &mut tokio::io::ReadBuf<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        while buffer.remaining() >= 6 {
            buffer.put_slice(b"NOOP\r\n");
        }
        std::task::Poll::Ready(Ok(()))
    }
}

impl tokio::io::AsyncWrite for Endless {
    fn poll_write(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
        bytes: &[u8],
    ) -> std::task::Poll<std::io::Result<usize>> {
        std::task::Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn poll_shutdown(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::task::Poll::Ready(Ok(()))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_sends_without_end_does_not_outrun_the_stop() {
    let world = World::new().await;
    let (context, stop) = (world.context.clone(), world.stop.clone());
    let peer = STRANGER.parse().unwrap();
    let session = tokio::spawn(async move {
        serve(&context, Box::new(Endless), peer, RELAY, stop).await;
    });
    tokio::time::sleep(Duration::from_millis(50)).await;
    world.stop.cancel();
    let ended = tokio::time::timeout(Duration::from_secs(20), session).await;
    ended.unwrap().unwrap();
}

#[tokio::test]
async fn a_letter_cut_short_is_not_kept() {
    let world = World::new().await;
    let mut peer = world.stranger().await;
    peer.ask("MAIL FROM:<a@red.test>", "250").await;
    peer.ask("RCPT TO:<bob@black.test>", "250").await;
    peer.ask("DATA", "354").await;
    peer.say(&format!("{LETTER}.\r")).await;
    drop(peer.stream);
    peer.task.await.unwrap();
    assert_eq!(world.inbox(world.bob).await.len(), 0);
}

#[tokio::test]
async fn only_a_repetition_after_a_lost_reply_is_not_stored_again() {
    let world = World::new().await;
    // Twice on a living connection: both are meant.
    let mut peer = world.stranger().await;
    for _ in 0..2 {
        let reply = peer.letter("a@red.test", &["bob@black.test"], LETTER).await;
        assert!(reply.starts_with("250"), "{reply}");
    }
    assert_eq!(world.inbox(world.bob).await.len(), 2);
    peer.ask("QUIT", "221").await;
    peer.closed().await;

    // The connection dies before the peer goes on: it sends the letter again.
    let other = LETTER.replace("Hello", "Once");
    let mut peer = world.stranger().await;
    peer.letter("a@red.test", &["bob@black.test"], &other).await;
    drop(peer.stream);
    peer.task.await.unwrap();
    assert_eq!(world.inbox(world.bob).await.len(), 3);
    let mut peer = world.stranger().await;
    let reply = peer.letter("a@red.test", &["bob@black.test"], &other).await;
    assert!(reply.starts_with("250"), "{reply}");
    assert_eq!(world.inbox(world.bob).await.len(), 3, "the repetition");
    // And once more on the same, living connection: this one is meant.
    let reply = peer.letter("a@red.test", &["bob@black.test"], &other).await;
    assert!(reply.starts_with("250"), "{reply}");
    assert_eq!(world.inbox(world.bob).await.len(), 4);
}

#[tokio::test]
async fn a_silent_peer_is_told_that_it_waited_too_long() {
    let world = World::with(Limits {
        command_timeout: Duration::from_millis(100),
        ..Limits::default()
    })
    .await;
    let mut peer = world.stranger().await;
    world.clock.set(Timestamp::from_secs(1_800_000_000 + 1));
    peer.expect("421 4.4.2").await;
    peer.closed().await;
}

#[tokio::test]
async fn large_letters_arrive_as_they_were_sent() {
    let world = World::new().await;
    let mut peer = world.stranger().await;
    let line = format!("{}\r\n", "0123456789".repeat(7));
    let letter = format!("Subject: large\r\n\r\n{}", line.repeat(30_000));
    peer.ask("MAIL FROM:<a@red.test>", "250").await;
    peer.ask("RCPT TO:<bob@black.test>", "250").await;
    peer.ask("DATA", "354").await;
    peer.ask(&format!("{letter}."), "250").await;
    let message = world.inbox(world.bob).await.remove(0);
    assert!(message.ends_with(&letter), "{} bytes", message.len());
}

/// Tens of thousands of them may wait at once.
#[tokio::test]
async fn a_session_that_waits_is_small() {
    let world = World::new().await;
    let (_peer, inside) = tokio::io::duplex(64);
    let peer = STRANGER.parse().unwrap();
    let stop = CancellationToken::new();
    let session = serve(&world.context, Box::new(inside), peer, RELAY, stop);
    let bytes = size_of_val(&session);
    assert!(bytes <= 4 * 1024, "{bytes} bytes");
}
