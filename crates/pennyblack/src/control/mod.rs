//! What an operator can ask of a store, as values: the commands of the program send them to a
//! running node over `data_dir/control.sock`, or, where no node runs, to a store opened for the
//! occasion. Either way [`operate::operate`] does the work.
//!
//! The wire form is one JSON line for the request and JSON lines for the reply: any number of
//! rows, then one end. A line is at most [`LINE_BYTES_MAX`] long. The socket is readable by its
//! owner only, who may do anything with the store anyway, so nobody logs in here.

mod addresses;
pub mod blobs;
mod brake;
pub mod client;
mod lists;
pub mod long;
pub mod operate;
mod passwords;
mod people;
pub mod reporting;
pub mod rows;
mod senders;
mod sending;
pub mod server;
mod signing;
mod suppression;
pub mod wire;

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};

use base::Class;
use base::error::Classified as _;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use store::StoreError;

/// The longest line in either direction, in bytes. A letter's row names all its recipients: 10,000
/// of them, each with an address and a reason of the longest kind, fit.
pub const LINE_BYTES_MAX: usize = 16 << 20;

/// The socket's name in the data folder.
const SOCKET: &str = "control.sock";

/// A request of the operator.
#[derive(Clone, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// Makes a domain ours.
    DomainAdd {
        /// The domain.
        domain: String,
    },
    /// Gives a domain up.
    DomainRemove {
        /// The domain.
        domain: String,
    },
    /// Lists our domains.
    DomainList,
    /// Sets where the mail of a domain goes that nobody else takes.
    DomainCatchAll {
        /// The domain.
        domain: String,
        /// Where it goes; nowhere, if there are none.
        targets: Vec<String>,
    },
    /// Lists the keys that sign as domains.
    DkimList {
        /// Only of this domain.
        domain: Option<String>,
    },
    /// Makes keys for a domain.
    DkimMake {
        /// The domain.
        domain: String,
        /// `rsa` or `ed25519`; otherwise both.
        algorithm: Option<String>,
        /// Also where the domain has one.
        anew: bool,
    },
    /// Lets an announced key sign.
    DkimActivate {
        /// The domain.
        domain: String,
        /// The selector.
        selector: String,
    },
    /// Removes a key.
    DkimRemove {
        /// The domain.
        domain: String,
        /// The selector.
        selector: String,
    },
    /// Makes an account.
    AccountAdd {
        /// Its first address.
        address: String,
        /// The person's name.
        name: String,
        /// Whether postmaster@ reaches it.
        admin: bool,
        /// The most bytes its mail may take; as the settings say if it is kept as it is.
        quota_bytes: Quota,
        /// The most messages it may hold, likewise.
        quota_messages: Quota,
        /// Its password.
        password: Option<String>,
    },
    /// Lists accounts.
    AccountList,
    /// Closes an account, and removes it with its mail after a grace.
    AccountRemove {
        /// Its address.
        address: String,
        /// Whether it is removed at once.
        now: bool,
    },
    /// Takes a removal back.
    AccountRestore {
        /// Its address.
        address: String,
    },
    /// Gives an account another address.
    AccountRename {
        /// Its address.
        address: String,
        /// The new one.
        new: String,
        /// Whether the old one stays, as an alias.
        keep_old: bool,
    },
    /// Shows one account.
    AccountShow {
        /// Its address.
        address: String,
    },
    /// Tells what accounts take, and the whole store.
    AccountUsage {
        /// Only this account, with its mailboxes.
        address: Option<String>,
        /// Whether all letters are summed up, too.
        blobs: bool,
    },
    /// Lists a page of an account's deleted mail.
    DeletedList {
        /// The account's address.
        address: String,
        /// Which mail.
        which: Deleted,
        /// The time and the number of the last message of the page before.
        after: Option<(i64, i64)>,
    },
    /// Puts deleted mail back.
    DeletedRecover {
        /// The account's address.
        address: String,
        /// Which mail.
        which: Deleted,
        /// Into this mailbox; otherwise where it was.
        to: Option<String>,
    },
    /// Removes deleted mail for good.
    DeletedPurge {
        /// The account's address.
        address: String,
        /// Which mail.
        which: Deleted,
    },
    /// Sets a password.
    AccountPassword {
        /// The account's address.
        address: String,
        /// The new password.
        password: String,
    },
    /// Allows or forbids logging in and receiving.
    AccountEnable {
        /// The account's address.
        address: String,
        /// Whether it may.
        enabled: bool,
    },
    /// Sets the most that an account's mail may take.
    AccountQuota {
        /// The account's address.
        address: String,
        /// In bytes.
        quota_bytes: Quota,
        /// In messages.
        quota_messages: Quota,
    },
    /// Makes an app password.
    AppPasswordAdd {
        /// The account's address.
        address: String,
        /// Its name.
        name: String,
        /// For what it is good; empty: for all.
        protocols: Vec<Protocol>,
    },
    /// Lists app passwords.
    AppPasswordList {
        /// The account's address.
        address: String,
    },
    /// Takes an app password back.
    AppPasswordRemove {
        /// The account's address.
        address: String,
        /// Its name.
        name: String,
    },
    /// Sets whether only app passwords are good for mail protocols.
    AppPasswordOnly {
        /// The account's address.
        address: String,
        /// Whether.
        only: bool,
    },
    /// Lists failed logins.
    BrakeList,
    /// Forgets failed logins.
    BrakeLift {
        /// An address or a login.
        who: String,
    },
    /// Tells what an account has sent.
    AccountSending {
        /// Its address.
        address: String,
    },
    /// Sets how much an account may send.
    AccountLimit {
        /// Its address.
        address: String,
        /// What changes.
        limits: Limits,
    },
    /// Sets how much all accounts of a domain may send together.
    DomainLimit {
        /// The domain.
        domain: String,
        /// What changes.
        limits: Limits,
    },
    /// Lets an account go that is held for sending too much.
    AccountRelease {
        /// Its address.
        address: String,
        /// Whether its letters are dropped instead of sent.
        drop: bool,
    },
    /// Lets an account send as something.
    SendRightAdd {
        /// The account's address.
        address: String,
        /// As what.
        right: Right,
        /// Also where the domain is not ours.
        outside: bool,
    },
    /// Takes a right to send back.
    SendRightRemove {
        /// The account's address.
        address: String,
        /// As what.
        right: Right,
    },
    /// Lists as what an account may send.
    SendRightList {
        /// The account's address.
        address: String,
    },
    /// Sets whether the authors are checked that letters of a domain's accounts name.
    DomainAuthorCheck {
        /// The domain.
        domain: String,
        /// Whether.
        check: CheckAuthors,
    },
    /// Adds targets to an alias.
    AliasAdd {
        /// The alias.
        alias: String,
        /// Where its mail goes.
        targets: Vec<String>,
    },
    /// Removes an alias.
    AliasRemove {
        /// The alias.
        alias: String,
    },
    /// Takes targets out of an alias, or members out of a group.
    TargetsRemove {
        /// The alias or group.
        address: String,
        /// Who does not belong to it any more.
        targets: Vec<String>,
    },
    /// Lists aliases.
    AliasList,
    /// Adds members to a group, making it if needed, or says who may write to it.
    GroupSet {
        /// The group.
        group: String,
        /// Who is in it besides.
        members: Vec<String>,
        /// `anyone`, `members` or `domain`.
        senders: Option<String>,
    },
    /// Removes a group.
    GroupRemove {
        /// The group.
        group: String,
    },
    /// Lists groups.
    GroupList,
    /// Makes a mailing list.
    ListAdd {
        /// Its address.
        list: String,
        /// Whom it belongs to.
        owners: Vec<String>,
        /// What it is like.
        settings: ListSettings,
    },
    /// Changes what a list is like.
    ListSet {
        /// The list.
        list: String,
        /// Further owners.
        add_owners: Vec<String>,
        /// Who does not own it any more.
        remove_owners: Vec<String>,
        /// What changes.
        settings: ListSettings,
    },
    /// Removes a list.
    ListRemove {
        /// The list.
        list: String,
    },
    /// Shows a list, or all.
    ListShow {
        /// The list.
        list: Option<String>,
    },
    /// Lists the members of a list.
    ListMembers {
        /// The list.
        list: String,
    },
    /// Puts people on a list.
    ListSubscribe {
        /// The list.
        list: String,
        /// Their addresses.
        members: Vec<String>,
    },
    /// Takes people off a list.
    ListUnsubscribe {
        /// The list.
        list: String,
        /// Their addresses.
        members: Vec<String>,
    },
    /// Says whether a member gets letters.
    ListMember {
        /// The list.
        list: String,
        /// The member.
        member: String,
        /// Whether it gets none.
        paused: bool,
    },
    /// Lists letters that wait for a word of an owner.
    ListHeld {
        /// Only those of this list.
        list: Option<String>,
    },
    /// Does what an owner says about a letter that waits.
    ListDecide {
        /// The list.
        list: String,
        /// The letter.
        letter: i64,
        /// Whether it is handed out; otherwise it is dropped.
        approve: bool,
    },
    /// Lists queued letters.
    QueueList {
        /// Which ones.
        filter: Filter,
    },
    /// Shows the journey of a letter.
    QueueTrace {
        /// Its id, or its Message-ID.
        letter: String,
    },
    /// Does something with queued letters.
    QueueAct {
        /// What.
        act: QueueAct,
        /// With which ones.
        filter: Filter,
    },
    /// Lists addresses elsewhere that are not tried.
    SuppressionList {
        /// Only this one.
        address: Option<String>,
        /// Only for letters of this domain's senders.
        sender_domain: Option<String>,
        /// At most so many; 0: 10,000.
        limit: usize,
    },
    /// Keeps an address elsewhere from being tried.
    SuppressionAdd {
        /// The address.
        address: String,
        /// Only for letters of this domain's senders.
        sender_domain: Option<String>,
        /// Why.
        reason: String,
        /// For how long, in milliseconds; otherwise until it is removed.
        for_ms: Option<u64>,
    },
    /// Lets an address be tried again.
    SuppressionRemove {
        /// The address.
        address: String,
        /// Only for letters of this domain's senders.
        sender_domain: Option<String>,
    },
    /// Checks the store's invariants.
    Verify {
        /// Whether every letter's bytes are read, too.
        deep: bool,
        /// Whether what can be repaired is repaired.
        repair: bool,
        /// The backup from which lost bytes of letters are fetched.
        backup: Option<PathBuf>,
    },
    /// Makes a restore point.
    Backup {
        /// The folder, absolute: the node opens it.
        folder: PathBuf,
        /// How many restore points stay.
        keep: Option<usize>,
        /// Whether the key of the secrets goes into the backup.
        with_key: bool,
    },
    /// Moves letters to the home that takes new ones, a step.
    MoveBlobs {
        /// How far it has come.
        progress: blobs::Progress,
    },
    /// Makes a new key for the secrets of the store.
    KeyRotate {
        /// Whether the old key is dropped.
        drop_old: bool,
    },
    /// Makes the search index anew.
    Reindex {
        /// The account's address; all accounts if none is given.
        account: Option<String>,
    },
    /// Tells what others report about our domains.
    Reports(reporting::ReportsRequest),
    /// Lists what is wrong.
    AlertList,
    /// Stores letters that the command sends; see `transfer::wire`.
    Import(ImportOrder),
    /// Gives letters; see `transfer::wire`.
    Export(ExportOrder),
}

/// As what an account may send.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Right {
    /// This address.
    Address(String),
    /// Every address of this domain.
    Domain(String),
    /// The account of this address.
    As(String),
    /// The same, with the sender named.
    OnBehalfOf(String),
}

/// Limits of sending that change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Letters in an hour.
    pub letters_per_hour: Option<Limit>,
    /// Letters in a day.
    pub letters_per_day: Option<Limit>,
    /// Recipients in an hour.
    pub recipients_per_hour: Option<Limit>,
    /// Recipients in a day.
    pub recipients_per_day: Option<Limit>,
}

/// What a limit becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Limit {
    /// As the settings say.
    Usual,
    /// There is none.
    None,
    /// At most so many.
    AtMost(u32),
}

/// What an app password may be limited to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    /// Submission.
    Smtp,
    /// IMAP.
    Imap,
}

/// Whether authors are checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum CheckAuthors {
    /// Always.
    Always,
    /// But for letters sent again whose authors are of other domains.
    NotResent,
    /// Never.
    Never,
}

/// What a mailing list is like; what is not given stays.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ListSettings {
    /// Its name for people.
    pub title: Option<String>,
    /// `anyone`, `members` or `owners` may write to it.
    pub posting: Option<String>,
    /// Whether letters of others wait for an owner; otherwise they are refused.
    pub holds_others: Option<bool>,
    /// Whether people may join by themselves.
    pub open: Option<bool>,
    /// Words in brackets before each subject.
    pub subject_tag: Option<String>,
    /// Whether answers go to the list.
    pub reply_to_list: Option<bool>,
    /// Whether letters always bear the list's name.
    pub rewrites_always: Option<bool>,
    /// The largest letter, in bytes.
    pub letter_bytes_max: Option<u64>,
    /// Where its letters can be read.
    pub archive: Option<String>,
    /// Days with reports of failure after which a member is suspended.
    pub bounces_max: Option<u32>,
}

/// What is to be imported.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ImportOrder {
    /// The account's address.
    pub account: String,
    /// Where the letters come from, as their marks name it.
    pub sources: Vec<String>,
    /// Forgets how far earlier imports came.
    pub again: bool,
    /// Lets letters go over the quota.
    pub over_quota: bool,
}

/// What is to be exported.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ExportOrder {
    /// The account's address.
    pub account: String,
    /// These mailboxes and those below them; all, if there are none.
    pub mailboxes: Vec<String>,
}

/// Which deleted mail is meant: all that meets every condition given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deleted {
    /// Only these messages; empty: no condition.
    pub messages: Vec<i64>,
    /// Deleted since then, in milliseconds since 1970.
    pub since_ms: Option<i64>,
    /// Deleted from this mailbox.
    pub mailbox: Option<String>,
}

/// What becomes of a quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Quota {
    /// It stays as it is.
    Keep,
    /// There is no limit any more.
    Lift,
    /// So many bytes or messages at most.
    AtMost(u64),
}

/// Which queued letters are meant.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Filter {
    /// Only this letter.
    pub letter: Option<i64>,
    /// Only recipients of this domain.
    pub domain: Option<String>,
    /// At most so many letters; 0: 1,000.
    pub limit: usize,
}

/// What is done with queued letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum QueueAct {
    /// Makes them due now.
    Retry,
    /// Holds them.
    Hold,
    /// Releases held ones.
    Release,
    /// Releases them and makes them due now.
    Expedite,
    /// Drops them without a report.
    Drop,
}

/// A line of a reply.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reply {
    /// One row of a list.
    Row(Value),
    /// All went well; in words.
    Done(String),
    /// It failed.
    Failed(Failure),
}

/// Why a request failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The kind, from which the exit code is made.
    pub kind: FailureKind,
    /// In words.
    pub text: String,
}

/// The kinds of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailureKind {
    /// What was asked for makes no sense.
    Invalid,
    /// The thing named does not exist.
    NotFound,
    /// The thing to be made exists.
    Exists,
    /// Not now: trying again may help.
    Transient,
    /// Anything else.
    Other,
}

impl Failure {
    /// A request that makes no sense.
    #[must_use]
    pub fn invalid(text: impl Into<String>) -> Self {
        Self {
            kind: FailureKind::Invalid,
            text: text.into(),
        }
    }

    /// A thing that does not exist.
    #[must_use]
    pub fn not_found(text: impl Into<String>) -> Self {
        Self {
            kind: FailureKind::NotFound,
            text: text.into(),
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        let kind = match (&error, error.class()) {
            (StoreError::NotFound(_), _) => FailureKind::NotFound,
            (StoreError::Exists(_), _) => FailureKind::Exists,
            (StoreError::Invalid(_), _) => FailureKind::Invalid,
            (StoreError::Locked(_), _) | (_, Class::Transient) => FailureKind::Transient,
            (_, Class::Permanent | Class::Peer | Class::Bug) => FailureKind::Other,
        };
        Self {
            kind,
            text: error.to_string(),
        }
    }
}

/// The path of the socket. The kernel takes at most 107 bytes, so a longer one is named through
/// the open folder, which must live as long as the path is used.
pub(crate) struct SocketPath {
    path: PathBuf,
    _folder: Option<File>,
}

impl SocketPath {
    pub(crate) fn in_folder(data_dir: &Path) -> io::Result<Self> {
        let path = data_dir.join(SOCKET);
        // unix(7): sun_path holds 108 bytes with the closing zero.
        if path.as_os_str().len() < 108 {
            return Ok(Self {
                path,
                _folder: None,
            });
        }
        let folder = File::open(data_dir)?;
        let path = PathBuf::from(format!("/proc/self/fd/{}/{SOCKET}", folder.as_raw_fd()));
        Ok(Self {
            path,
            _folder: Some(folder),
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}
