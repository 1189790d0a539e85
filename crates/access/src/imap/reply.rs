//! The one place where an error becomes IMAP text (RFC 9051 §7.1, RFC 5530 codes). Internal text
//! goes to the log only.

use std::borrow::Cow;
use std::io;

use proto::imap::write::Status;
use proto::imap::{Code, SyntaxError};
use store::StoreError;

/// Why a command, or the session, failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// The command cannot be understood.
    Syntax(SyntaxError),
    /// The command is not for this state.
    WrongState(&'static str),
    /// A message number that does not exist.
    MessageNumber,
    /// A client breaks the protocol (text: how).
    Protocol(&'static str),
    /// The client took back its AUTHENTICATE.
    Cancelled,
    /// Wrong login or password.
    Credentials,
    /// Too many wrong passwords.
    Throttled,
    /// Somebody else's identity was asked for.
    OtherIdentity,
    /// A password may not come without TLS.
    PrivacyRequired,
    /// The mechanism is not offered.
    Mechanism,
    /// There is no such mailbox.
    NoMailbox,
    /// There is no such mailbox to put a message into; it may be created.
    NoTarget,
    /// The mailbox is open for reading only.
    ReadOnly,
    /// The mailbox has others under it.
    HasChildren,
    /// INBOX can be neither created nor deleted.
    Inbox,
    /// A name with wildcards.
    Wildcard,
    /// A message cannot be moved to where it is.
    SameMailbox,
    /// The special use is not possible.
    SpecialUse,
    /// A search for too many texts.
    SearchTexts,
    /// Some messages are gone.
    Expunged,
    /// A part's encoding is not known (RFC 3516 §4.3).
    UnknownEncoding,
    /// A letter with NUL bytes.
    Nul,
    /// A letter of no bytes.
    EmptyLetter,
    /// The disk is nearly full.
    DiskLow,
    /// The selected mailbox was deleted by another session.
    MailboxGone,
    /// The store failed.
    Store(StoreError),
    /// The store failed in the middle of an answer that cannot be taken back (text: how).
    CutShort(String),
    /// The connection failed: nothing can be told.
    Io(io::Error),
    /// The client was silent, or took nothing, for too long.
    TimedOut,
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<SyntaxError> for Failure {
    fn from(error: SyntaxError) -> Self {
        Self::Syntax(error)
    }
}

/// What a client is told.
pub(super) type Told = (Status, Option<Code>, Cow<'static, str>);

impl Failure {
    /// Whether the session cannot go on.
    pub(super) fn ends_session(&self) -> bool {
        matches!(
            self,
            Self::Io(_) | Self::CutShort(_) | Self::TimedOut | Self::MailboxGone
        )
    }

    /// Whether it counts against the limit of errors in a session.
    pub(super) fn is_clients_fault(&self) -> bool {
        matches!(
            self,
            Self::Syntax(_)
                | Self::WrongState(_)
                | Self::MessageNumber
                | Self::Protocol(_)
                | Self::Credentials
                | Self::Throttled
                | Self::OtherIdentity
                | Self::Mechanism
                | Self::PrivacyRequired
        )
    }

    /// What the client is told.
    pub(super) fn told(&self) -> Told {
        match self {
            Self::Syntax(error) => syntax(*error),
            Self::Store(error) => of_store(error),
            Self::Io(_) | Self::CutShort(_) | Self::TimedOut | Self::MailboxGone => self.farewell(),
            Self::WrongState(_) | Self::MessageNumber | Self::Protocol(_) | Self::Cancelled => {
                (Status::Bad, None, self.plain_text())
            }
            Self::Credentials
            | Self::Throttled
            | Self::OtherIdentity
            | Self::PrivacyRequired
            | Self::Mechanism
            | Self::NoMailbox
            | Self::NoTarget
            | Self::ReadOnly
            | Self::HasChildren
            | Self::Inbox
            | Self::Wildcard
            | Self::SameMailbox
            | Self::SpecialUse
            | Self::SearchTexts
            | Self::Expunged
            | Self::UnknownEncoding
            | Self::Nul
            | Self::EmptyLetter
            | Self::DiskLow => (Status::No, self.code(), self.plain_text()),
        }
    }

    /// The last line of a session that ends by this failure.
    pub(super) fn farewell(&self) -> Told {
        let text = match self {
            Self::TimedOut => "Idle for too long",
            Self::MailboxGone => "The selected mailbox was deleted",
            _ => "The connection failed",
        };
        (Status::Bye, None, text.into())
    }

    fn code(&self) -> Option<Code> {
        Some(match self {
            // RFC 5530 §3: one answer for an unknown user, a wrong password and a locked one.
            Self::Credentials => Code::AuthenticationFailed,
            Self::Throttled => Code::Unavailable,
            Self::OtherIdentity => Code::AuthorizationFailed,
            Self::PrivacyRequired => Code::PrivacyRequired,
            Self::NoMailbox => Code::NonExistent,
            Self::NoTarget => Code::TryCreate,
            Self::ReadOnly => Code::ReadOnly,
            Self::HasChildren => Code::HasChildren,
            Self::Inbox | Self::Wildcard | Self::SameMailbox | Self::EmptyLetter => Code::Cannot,
            Self::SpecialUse => Code::UseAttr,
            Self::SearchTexts => Code::Limit,
            Self::Expunged => Code::ExpungeIssued,
            Self::UnknownEncoding | Self::Nul => Code::UnknownCte,
            Self::DiskLow => Code::Unavailable,
            _ => return None,
        })
    }

    fn plain_text(&self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Self::WrongState(text) | Self::Protocol(text) => text,
            Self::MessageNumber => "There is no message with this number",
            Self::Cancelled => "Authentication was cancelled",
            Self::Credentials => "Wrong login or password",
            Self::Throttled => "Too many wrong passwords; try again later",
            Self::OtherIdentity => "You may not act for somebody else",
            Self::PrivacyRequired => "Start TLS before you log in",
            Self::Mechanism => "This mechanism is not offered",
            Self::NoMailbox => "There is no such mailbox",
            Self::NoTarget => "There is no such mailbox; create it first",
            Self::ReadOnly => "The mailbox is open for reading only",
            Self::HasChildren => "The mailbox has others under it; delete those first",
            Self::Inbox => "INBOX is always there",
            Self::Wildcard => "A mailbox name may not have the wildcards % and *",
            Self::SameMailbox => "The messages are in this mailbox already",
            Self::SpecialUse => "A mailbox cannot be given this use",
            Self::SearchTexts => "A search may look for at most 100 texts",
            Self::Expunged => "Some of the messages are gone",
            Self::UnknownEncoding => "The encoding of the part is not known",
            Self::Nul => "A message may not hold NUL bytes",
            Self::EmptyLetter => "An empty message is not stored",
            Self::DiskLow => "There is not enough space on the server now",
            _ => "The command failed",
        })
    }
}

fn syntax(error: SyntaxError) -> Told {
    let (status, code) = match error {
        SyntaxError::Charset => (Status::No, Some(Code::BadCharset)),
        SyntaxError::LetterTooLarge => (Status::No, Some(Code::TooBig)),
        SyntaxError::LiteralTooLarge => (Status::Bad, Some(Code::TooBig)),
        _ => (Status::Bad, None),
    };
    (status, code, error.to_string().into())
}

fn of_store(error: &StoreError) -> Told {
    let no = |code, text: &'static str| (Status::No, Some(code), Cow::Borrowed(text));
    match error {
        StoreError::OverQuota => no(Code::OverQuota, "The account is over its quota"),
        StoreError::SentTooMuch(_) => no(Code::Limit, "The account has sent too much"),
        StoreError::NotFound(_) => no(Code::NonExistent, "There is no such thing"),
        StoreError::Exists(_) => no(Code::AlreadyExists, "It exists already"),
        // The store's words for a broken rule are meant for people.
        StoreError::Invalid(why) => (Status::No, Some(Code::Cannot), why.clone().into()),
        StoreError::DiskFull => no(Code::Unavailable, "There is no space on the server now"),
        StoreError::Busy(_) => no(Code::Unavailable, "The server is busy; try again later"),
        StoreError::Closed => no(Code::Unavailable, "The server is stopping"),
        StoreError::Locked(_) | StoreError::Io(_) | StoreError::Damaged(_) => {
            no(Code::Unavailable, "The server cannot do this now")
        }
        StoreError::Bug(_) => no(Code::ServerBug, "The server made a mistake; it was noted"),
    }
}
