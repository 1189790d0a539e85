//! The store: accounts, mailboxes, messages, changes, queue and blobs. It alone knows SQL, and it
//! offers mail verbs ([`Store::deliver`], [`Store::submit`], [`Store::claim`], [`Store::settle`],
//! [`Store::append`], …), never rows or keys.
//!
//! What a verb that writes has answered with `Ok` is on disk.

mod alerts;
mod app_passwords;
mod aside;
mod auth;
pub mod backup;
mod blobs;
mod confirmed;
mod copies;
mod deliver;
mod directory;
mod dkim;
mod dmarc_outcomes;
mod engine;
mod error;
mod hold;
mod ids;
mod import;
mod intake;
mod jobs;
mod journey;
mod keys;
mod letter;
mod lists;
mod mailbox;
mod maintenance;
mod message_rows;
mod metrics;
mod moving;
mod nodes;
mod open;
mod outcomes;
mod prepare;
mod queue;
mod removed;
mod reports;
mod restore;
mod retention;
mod search;
mod sending;
mod shared;
mod simulated;
mod sts;
mod suppression;
mod usage;
mod verify;
mod watch;

pub use alerts::{Alert, QueueState};
pub use app_passwords::{AppKeys, AppPasswordInfo, LoginFrom, MailKeys, MailProtocol};
pub use auth::{SHA1_BYTES, ScramKeys};
pub use blobs::{BlobMove, KeptBlobs, ObjectKeys, ObjectOptions};
pub use deliver::{
    Delivered, Delivery, LocalRecipient, StoredCopy, Submission, Submitted, Unconfirmed,
};
pub use directory::{
    AccountInfo, AliasInfo, AuthorCheck, DomainInfo, GroupInfo, NewAccount, QuotaChange, Refusal,
    Resolved, SendRight, Senders, SendingAs, Target,
};
pub use dkim::{DkimAlgorithm, DkimKey, DkimKeyInfo, DkimState, NewDkimKey};
pub use dmarc_outcomes::DmarcOutcome;
pub use engine::{TABLES, TableClass};
pub use error::StoreError;
pub use import::{ImportLetter, ImportMailbox, ImportMark, Imported};
pub use jobs::JobHold;
pub use journey::{JourneyEvent, Note, Step};
pub use letter::{Letter, Spool};
pub use lists::{
    Bounced, Decision, HeldLetter, ListAddress, ListInfo, ListMember, ListOptions, ListPart,
    ListQuestion, ListTags, MemberLetter, MemberState, NewHeld, Portion, Posting, TagUse,
};
pub use mailbox::{MailboxInfo, MailboxStatus, Role};
pub use message_rows::{
    Appended, BodyReader, CopiedUid, FlagChange, FlagOp, Keywords, MailboxChanges, MessageMeta,
    PlacementRow, Structured,
};
pub use moving::MoveReport;
pub use open::Lost;
pub use outcomes::TlsOutcome;
pub use queue::{
    BecameDue, Claim, ClaimRef, ClaimedRecipient, DeliverBy, DeliverByMode, DsnReturn, DueCursor,
    DueDestination, DuePage, Handling, Lane, LastAttempt, Notify, Outcome, QueueEntry, QueueFilter,
    QueueRecipient, QueueRecipientState, RecipientEntry, Settlement, TlsWish,
};
pub use removed::{RemovedCursor, RemovedFilter, RemovedMessage};
pub use reports::{ReportInfo, ReportRow, ReportSum};
pub use restore::{RestoreOptions, RestoreReport};
pub use search::{Highlights, SearchField, SearchFields, SearchQuery, Snippet, TextExtractor};
pub use sending::{HeldAccount, SendLimits, Sent, SentTooMuch};
pub use simulated::SimulatedDisk;
pub use sts::StsPolicy;
pub use suppression::{
    AddressNews, CountedFailure, NewSuppression, Suppression, SuppressionFilter, SuppressionRule,
};
pub use usage::BlobUsage;
pub use verify::{Finding, VerifyOptions};
pub use watch::{AccountWatch, QueueNews, QueueSignal};

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use base::Secret;
use base::limits::Limits;
use base::metrics::Metrics;
use base::ports::{Clock, Entropy};

/// How durable a commit is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Synchronous {
    /// On disk before it is acknowledged: the only choice for real mail.
    #[default]
    Full,
    /// Left to the operating system; loses acknowledged letters in a power cut. Only for tests that
    /// show that the durability checks see the difference.
    Off,
}

/// Which database holds the rows.
#[derive(Clone, Debug)]
pub enum Database {
    /// One SQLite file of this node.
    Sqlite {
        /// The file; `data_dir/mail.db` when not given.
        path: Option<PathBuf>,
    },
    /// A PostgreSQL server, which many nodes may share.
    Postgres(PostgresOptions),
    /// One SQLite file on the disk of a simulation, without any thread; only for tests.
    Simulated(Arc<dyn SimulatedDisk>),
}

impl Default for Database {
    fn default() -> Self {
        Self::Sqlite { path: None }
    }
}

/// How PostgreSQL is reached.
#[derive(Clone, Debug)]
pub struct PostgresOptions {
    /// `postgres://user:password@host:port/database?…`
    pub url: Secret,
    /// Connections of this node at most.
    pub connections: usize,
    /// Whether nodes wake each other by LISTEN/NOTIFY, or only look each second (behind poolers).
    pub wakeup: Wakeup,
    /// How long a server that says nothing is waited for, usually [`Self::ANSWER_WITHIN`]. Then the
    /// connection is given up, and what became of a commit on it is asked on another.
    pub answer_within: Duration,
}

impl PostgresOptions {
    /// A server that is well ends a statement itself after 60 seconds, and says so.
    pub const ANSWER_WITHIN: Duration = Duration::from_secs(65);
}

/// How a node hears of another node's changes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Wakeup {
    /// LISTEN/NOTIFY, and a look each second.
    #[default]
    Notify,
    /// Only a look each second.
    Poll,
}

/// Where the bytes of letters are kept.
#[derive(Clone, Debug, Default)]
pub enum BlobHome {
    /// In the database.
    #[default]
    Inline,
    /// In append-only files of this node; only with SQLite.
    Segments {
        /// The folder; `data_dir/segments` when not given.
        folder: Option<PathBuf>,
        /// Letters up to this size stay in the database.
        inline_bytes_max: u64,
    },
    /// In an S3-compatible object store.
    Objects(ObjectOptions),
    /// In that home; those that an object store still holds are read from there.
    Leaving {
        /// Where letters are kept from now on; not in an object store.
        home: Box<BlobHome>,
        /// Where they were.
        objects: ObjectOptions,
    },
}

/// What a store needs to open.
pub struct StoreOptions {
    /// The folder that holds everything of this node; made if it is not there.
    pub data_dir: PathBuf,
    /// The database.
    pub database: Database,
    /// Where the bytes of letters are kept.
    pub blobs: BlobHome,
    /// The file with the key of the store's secrets; `data_dir/store.key` when not given.
    pub key_file: Option<PathBuf>,
    /// The node's name, for queue claims: of nodes that share a database each has its own.
    pub node: String,
    /// How durable a commit is.
    pub synchronous: Synchronous,
    /// The limits in force.
    pub limits: Arc<Limits>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Randomness for salts, hashes' keys and ids.
    pub entropy: Arc<dyn Entropy>,
    /// Where the store's metrics go.
    pub metrics: Metrics,
    /// What reads the text of formats that are not read in this process, for search.
    pub extractor: Option<Arc<dyn TextExtractor>>,
}

/// The store of one node. Cheap to clone; all clones share one writer.
#[derive(Clone)]
pub struct Store(Arc<open::Inner>);

/// Free space on the disk that holds the store.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DiskSpace {
    /// Bytes free for us.
    pub free_bytes: u64,
    /// Bytes in all.
    pub total_bytes: u64,
}
