//! The store: accounts, mailboxes, messages, changes, queue and blobs. It alone knows SQL, and it
//! offers mail verbs ([`Store::deliver`], [`Store::submit`], [`Store::claim`], [`Store::settle`],
//! [`Store::append`], …), never rows or keys.
//!
//! What a verb that writes has answered with `Ok` is on disk.

mod auth;
mod blobs;
mod copies;
mod deliver;
mod directory;
mod engine;
mod error;
mod ids;
mod journey;
mod letter;
mod mailbox;
mod maintenance;
mod message_rows;
mod metrics;
mod open;
mod prepare;
mod queue;
mod shared;
mod verify;
mod watch;

pub use auth::ScramKeys;
pub use deliver::{Delivered, Delivery, LocalRecipient, StoredCopy, Submission, Unconfirmed};
pub use directory::{AccountInfo, AliasInfo, DomainInfo, NewAccount, Refusal, Resolved, Target};
pub use engine::{TABLES, TableClass};
pub use error::StoreError;
pub use journey::{JourneyEvent, Note, Step};
pub use letter::{Letter, Spool};
pub use mailbox::{MailboxInfo, MailboxStatus, Role};
pub use message_rows::{
    Appended, BodyReader, CopiedUid, FlagChange, FlagOp, Keywords, MailboxChanges, MessageMeta,
    PlacementRow, Structured,
};
pub use queue::{
    Claim, ClaimRef, ClaimedRecipient, DsnReturn, DueDestination, Notify, Outcome, QueueEntry,
    QueueFilter, QueueRecipient, QueueRecipientState, RecipientEntry, Settlement,
};
pub use watch::{AccountWatch, QueueSignal};

use std::path::PathBuf;
use std::sync::Arc;

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

/// What a store needs to open.
pub struct StoreOptions {
    /// The folder that holds everything of this node; made if it is not there.
    pub data_dir: PathBuf,
    /// The database file; `data_dir/mail.db` when not given.
    pub database: Option<PathBuf>,
    /// The node's name, for queue claims.
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
