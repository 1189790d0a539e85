//! A place to open stores in, with a clock that tests turn and randomness from a seed.

use std::path::Path;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base::limits::{Limits, Sending};
use base::metrics::Metrics;
use base::ports::{Clock, Entropy};
use base::{AccountId, Domain, EmailAddress, Secret, Timestamp};
use bytes::Bytes;
use interop::postgres::{Flushed, Postgres};
use interop::s3::{Access, S3Server};
use pennyblack_store::{
    BlobHome, Database, Delivery, Keywords, Letter, LocalRecipient, NewAccount, Notify, ObjectKeys,
    ObjectOptions, PostgresOptions, QueueRecipient, Role, Store, StoreOptions, Submission,
    Synchronous, Wakeup,
};
use tempfile::TempDir;

/// A clock that moves only when it is told to.
pub(crate) struct TestClock(AtomicI64);

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::Relaxed))
    }
}

/// Randomness that repeats from run to run.
pub(crate) struct TestEntropy(AtomicU64);

impl From<u64> for TestEntropy {
    fn from(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }
}

impl Entropy for TestEntropy {
    fn fill(&self, buffer: &mut [u8]) {
        for chunk in buffer.chunks_mut(8) {
            let count = self.0.fetch_add(1, Ordering::Relaxed);
            let hash = blake3::hash(&count.to_le_bytes());
            chunk.copy_from_slice(&hash.as_bytes()[..chunk.len()]);
        }
    }
}

/// A folder for one store, and its clock.
pub(crate) struct House {
    folder: TempDir,
    pub(crate) clock: Arc<TestClock>,
    database: Database,
    pub(crate) blobs: BlobHome,
    /// The server, if there is one.
    pub(crate) postgres: Option<Postgres>,
    /// The object store, if there is one.
    pub(crate) objects: Option<S3Server>,
    /// How much accounts may send; other tests send without limit.
    pub(crate) sending: Mutex<Sending>,
    /// Where its randomness begins.
    pub(crate) seed: u64,
    pub(crate) wakeup: Wakeup,
    pub(crate) answer_within: Duration,
    /// Whether the node blue is open beside every store.
    beside: Option<Mutex<Option<Store>>>,
}

impl House {
    /// For the embedded engine.
    pub(crate) fn sqlite() -> Self {
        Self::new(Database::default())
    }

    /// For the embedded engine with every letter in segment files.
    pub(crate) fn segments() -> Self {
        let mut house = Self::sqlite();
        house.blobs = BlobHome::Segments {
            folder: None,
            inline_bytes_max: 0,
        };
        house
    }

    /// For the embedded engine with every letter in an object store.
    pub(crate) fn objects() -> Self {
        let mut house = Self::sqlite();
        let server = S3Server::start();
        house.blobs = BlobHome::Objects(object_options(&server.access()));
        house.objects = Some(server);
        house
    }

    /// For PostgreSQL, with a server of its own.
    pub(crate) fn postgres() -> Self {
        let server = Postgres::start(Flushed::No);
        let mut house = Self::at(&server.database("mail"));
        house.postgres = Some(server);
        house
    }

    /// For a server that the test looks after.
    pub(crate) fn at(url: &str) -> Self {
        let database = Database::Postgres(PostgresOptions {
            url: Secret::new(url),
            connections: 16,
            wakeup: Wakeup::Notify,
            answer_within: PostgresOptions::ANSWER_WITHIN,
        });
        Self::new(database)
    }

    /// One with another engine, for what is carried from one to the other.
    pub(crate) fn other(&self) -> Self {
        let other = match self.postgres {
            Some(_) => Self::segments(),
            None => Self::postgres(),
        };
        other.pass(self.clock.now().since(other.clock.now()));
        other
    }

    /// For PostgreSQL with a second node on it.
    pub(crate) fn two_nodes() -> Self {
        let mut house = Self::postgres();
        house.beside = Some(Mutex::default());
        house
    }

    fn new(database: Database) -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            clock: Arc::new(TestClock(AtomicI64::new(1_795_501_553_000))),
            database,
            blobs: BlobHome::Inline,
            postgres: None,
            objects: None,
            sending: Mutex::new(Sending::NONE),
            seed: 1,
            wakeup: Wakeup::Notify,
            answer_within: PostgresOptions::ANSWER_WITHIN,
            beside: None,
        }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn options(&self) -> StoreOptions {
        let mut database = self.database.clone();
        if let Database::Postgres(options) = &mut database {
            options.wakeup = self.wakeup;
            options.answer_within = self.answer_within;
        }
        StoreOptions {
            // Of all nodes.
            key_file: Some(self.folder.path().join("store.key")),
            data_dir: self.folder.path().join("data"),
            database,
            blobs: self.blobs.clone(),
            node: "red".to_owned(),
            synchronous: Synchronous::Full,
            limits: Arc::new(Limits {
                sending: *self.sending.lock().unwrap(),
                ..Limits::default()
            }),
            clock: Arc::clone(&self.clock) as Arc<dyn Clock>,
            entropy: Arc::new(TestEntropy(AtomicU64::new(self.seed))),
            metrics: Metrics::default(),
            extractor: None,
        }
    }

    /// Another node on the same database, where the engine allows that.
    pub(crate) async fn another(&self, node: &str) -> Store {
        Store::open(self.options_of(node, node)).await.unwrap()
    }

    /// The options of another node, in a folder of its own.
    pub(crate) fn options_of(&self, node: &str, folder: &str) -> StoreOptions {
        let mut options = self.options();
        options.data_dir = self.folder.path().join(folder);
        options.node = node.to_owned();
        options.entropy = Arc::new(TestEntropy(AtomicU64::new(1_000_000)));
        options
    }

    pub(crate) async fn open(&self) -> Store {
        let store = Store::open(self.options()).await.unwrap();
        if let Some(beside) = &self.beside
            && beside.lock().unwrap().is_none()
        {
            let blue = self.another("blue").await;
            *beside.lock().unwrap() = Some(blue);
        }
        store
    }

    /// Runs statements behind the store's back.
    pub(crate) fn sql(&self, text: &str) {
        match &self.postgres {
            Some(server) => {
                server.psql("mail", text);
            }
            None => {
                let file = self.folder.path().join("data/mail.db");
                let connection = rusqlite::Connection::open(file).unwrap();
                connection.busy_timeout(Duration::from_secs(10)).unwrap();
                connection.execute_batch(text).unwrap();
            }
        }
    }

    /// Lets no row of a table be removed, until [`House::allow_deletes`].
    pub(crate) fn refuse_deletes(&self, table: &str) {
        let trigger = match &self.postgres {
            Some(_) => format!(
                "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
                    $$ BEGIN RAISE EXCEPTION 'refused' USING ERRCODE = 'disk_full'; END $$;
                CREATE TRIGGER refusing BEFORE DELETE ON {table}
                    FOR EACH ROW EXECUTE FUNCTION refuse()"
            ),
            None => format!(
                "CREATE TRIGGER refusing BEFORE DELETE ON {table}
                    BEGIN SELECT RAISE(ABORT, 'refused'); END"
            ),
        };
        self.sql(&trigger);
    }

    /// Lets rows be removed again.
    pub(crate) fn allow_deletes(&self, table: &str) {
        self.sql(&match &self.postgres {
            Some(_) => format!("DROP TRIGGER refusing ON {table}; DROP FUNCTION refuse"),
            None => "DROP TRIGGER refusing".to_owned(),
        });
    }

    /// The number that a statement gives, asked behind the store's back.
    pub(crate) fn number(&self, sql: &str) -> i64 {
        match &self.postgres {
            Some(server) => server.psql("mail", sql).trim().parse().unwrap(),
            None => {
                let file = self.folder.path().join("data/mail.db");
                let connection = rusqlite::Connection::open(file).unwrap();
                connection.busy_timeout(Duration::from_secs(10)).unwrap();
                connection.query_row(sql, [], |row| row.get(0)).unwrap()
            }
        }
    }

    /// A store with `red.test`, alice (the admin) and bob.
    pub(crate) async fn with_people(&self) -> (Store, AccountId, AccountId) {
        let store = self.open().await;
        store.add_domain(&domain("red.test")).await.unwrap();
        let alice = store
            .add_account(person("alice@red.test", true))
            .await
            .unwrap();
        let bob = store
            .add_account(person("bob@red.test", false))
            .await
            .unwrap();
        (store, alice, bob)
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(crate) fn pass(&self, span: Duration) {
        let millis = i64::try_from(span.as_millis()).unwrap();
        self.clock.0.fetch_add(millis, Ordering::Relaxed);
    }

    /// Checks the store's invariants and closes it.
    pub(crate) async fn finish(&self, store: Store) {
        assert_eq!(store.verify().await.unwrap(), Vec::<String>::new());
        store.close().await.unwrap();
    }

    /// A delivery to accounts' inboxes.
    pub(crate) async fn delivery(
        &self,
        store: &Store,
        text: &str,
        to: &[(AccountId, &str)],
    ) -> Delivery {
        let letter = store
            .letter(Bytes::copy_from_slice(text.as_bytes()))
            .await
            .unwrap();
        let local = to.iter().map(|(account, to)| LocalRecipient {
            account: *account,
            address: address(to),
            mailbox: Role::Inbox,
            keywords: Keywords::default(),
            head: Bytes::from(format!("Delivered-To: {to}\r\n")),
        });
        Delivery {
            letter,
            reverse_path: Some(address("carol@black.test")),
            envelope: to.iter().map(|(_, to)| address(to)).collect(),
            local: local.collect(),
            forwards: Vec::new(),
            forward_head: Bytes::new(),
            envelope_id: None,
            dsn_return: pennyblack_store::DsnReturn::Unasked,
            needs_utf8: false,
            handling: pennyblack_store::Handling::default(),
            reports: Vec::new(),
            received_at: self.now(),
            expires_at: self.now() + Duration::from_secs(5 * 24 * 3_600),
            notes: Vec::new(),
            confirms: Vec::new(),
        }
    }

    /// A letter with its own Message-ID.
    pub(crate) async fn letter(&self, store: &Store, name: &str) -> Letter {
        store.letter(Bytes::from(letter(name))).await.unwrap()
    }

    /// A submission of an account.
    pub(crate) async fn submission(
        &self,
        store: &Store,
        text: &str,
        from: AccountId,
        to: &[&str],
    ) -> Submission {
        let letter = store
            .letter(Bytes::copy_from_slice(text.as_bytes()))
            .await
            .unwrap();
        Submission {
            letter,
            head: Bytes::from_static(b"Received: by red.test\r\n"),
            account: Some(from),
            reverse_path: Some(address("alice@red.test")),
            recipients: to.iter().map(|to| recipient(to)).collect(),
            envelope_id: Some("id-1".to_owned()),
            dsn_return: pennyblack_store::DsnReturn::Headers,
            needs_utf8: false,
            handling: pennyblack_store::Handling::default(),
            received_at: self.now(),
            hold_until: None,
            expires_at: self.now() + Duration::from_secs(5 * 24 * 3_600),
            sent_copy: None,
            notes: Vec::new(),
        }
    }
}

/// How the bucket of a server is reached, for every letter, with little patience.
pub(crate) fn object_options(access: &Access) -> ObjectOptions {
    let mut options = ObjectOptions::from_url(&format!("s3://{}/mail", access.bucket)).unwrap();
    options.endpoint = access.endpoint.clone();
    options.region = access.region.clone();
    options.keys = Some(ObjectKeys {
        key_id: access.key_id.clone(),
        secret_key: Secret::new(access.secret_key.clone()),
        token: None,
    });
    options.timeout = Duration::from_secs(8);
    options.inline_bytes_max = 0;
    options
}

pub(crate) fn recipient(to: &str) -> QueueRecipient {
    QueueRecipient {
        address: address(to),
        original: Some(format!("rfc822;{to}")),
        notify: Notify::DEFAULT,
    }
}

pub(crate) fn domain(text: &str) -> Domain {
    Domain::parse(text).unwrap()
}

pub(crate) fn address(text: &str) -> EmailAddress {
    EmailAddress::parse(text).unwrap()
}

pub(crate) fn person(text: &str, admin: bool) -> NewAccount {
    NewAccount {
        address: address(text),
        name: String::new(),
        password: None,
        quota_bytes: None,
        quota_messages: None,
        admin,
    }
}

pub(crate) fn secret(text: &str) -> Secret {
    Secret::new(text)
}

/// A letter with its own Message-ID.
pub(crate) fn letter(name: &str) -> String {
    format!(
        "From: carol@black.test\r\nTo: bob@red.test\r\nSubject: {name}\r\n\
         Message-ID: <{name}@black.test>\r\n\r\nHello, this is {name}.\r\n"
    )
}
