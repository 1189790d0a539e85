//! Response codes in brackets (RFC 9051 §7.1, RFC 5530, RFC 4315).

use std::fmt;

use super::sequence::Compact;

/// A response code.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Code {
    /// The server keeps something that the user must hear.
    Alert,
    /// RFC 5530: a name that exists already.
    AlreadyExists,
    /// RFC 4315: where the letter went.
    AppendUid {
        /// The mailbox's epoch.
        uid_validity: u32,
        /// The letter's UID.
        uid: u32,
    },
    /// RFC 5530: wrong user or password.
    AuthenticationFailed,
    /// RFC 5530: authenticated, but may not act as this user.
    AuthorizationFailed,
    /// The charset of a SEARCH is not known.
    BadCharset,
    /// RFC 5530: this cannot be done.
    Cannot,
    /// The capabilities, already joined by spaces.
    Capability(String),
    /// RFC 5530: the client broke the protocol.
    ClientBug,
    /// The mailbox is closed, another may be selected.
    Closed,
    /// RFC 5530: two changes at once.
    ContactAdmin,
    /// RFC 4315: the UIDs of the copies. Both lists have the same length and order.
    CopyUid {
        /// The target's epoch.
        uid_validity: u32,
        /// UIDs of the sources, ascending.
        from: Vec<u32>,
        /// UIDs of the copies, ascending.
        to: Vec<u32>,
    },
    /// RFC 9051 §6.3.3: a mailbox with children may not go.
    HasChildren,
    /// RFC 5530: a value longer than a limit.
    Limit,
    /// RFC 5530: there is no such mailbox.
    NonExistent,
    /// RFC 5530: no space is left.
    OverQuota,
    /// Flags that stay, already with their parentheses.
    PermanentFlags(String),
    /// RFC 5530: TLS first.
    PrivacyRequired,
    /// The mailbox is open for reading.
    ReadOnly,
    /// The mailbox is open for reading and writing.
    ReadWrite,
    /// RFC 5530: a fault of the server.
    ServerBug,
    /// RFC 3516: the encoding of a part is not known.
    UnknownCte,
    /// RFC 5182: `$` could not be kept.
    NotSaved,
    /// RFC 7888: the literal is too large.
    TooBig,
    /// RFC 9051 §7.1: the mailbox must be created first.
    TryCreate,
    /// The next UID.
    UidNext(u32),
    /// UIDs are not kept.
    UidNotSticky,
    /// The epoch of the UIDs.
    UidValidity(u32),
    /// RFC 5530: not now.
    Unavailable,
    /// RFC 6154: the special use is not possible.
    UseAttr,
    /// RFC 5530: another holds it.
    InUse,
    /// RFC 5530: messages are gone.
    ExpungeIssued,
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Alert => "ALERT",
            Self::AlreadyExists => "ALREADYEXISTS",
            Self::AppendUid { uid_validity, uid } => {
                return write!(f, "APPENDUID {uid_validity} {uid}");
            }
            Self::AuthenticationFailed => "AUTHENTICATIONFAILED",
            Self::AuthorizationFailed => "AUTHORIZATIONFAILED",
            Self::BadCharset => "BADCHARSET (US-ASCII UTF-8)",
            Self::Cannot => "CANNOT",
            Self::Capability(names) => return write!(f, "CAPABILITY {names}"),
            Self::ClientBug => "CLIENTBUG",
            Self::Closed => "CLOSED",
            Self::ContactAdmin => "CONTACTADMIN",
            Self::CopyUid {
                uid_validity,
                from,
                to,
            } => {
                let (from, to) = (Compact(from), Compact(to));
                return write!(f, "COPYUID {uid_validity} {from} {to}");
            }
            Self::HasChildren => "HASCHILDREN",
            Self::Limit => "LIMIT",
            Self::NonExistent => "NONEXISTENT",
            Self::OverQuota => "OVERQUOTA",
            Self::PermanentFlags(flags) => return write!(f, "PERMANENTFLAGS {flags}"),
            Self::PrivacyRequired => "PRIVACYREQUIRED",
            Self::ReadOnly => "READ-ONLY",
            Self::ReadWrite => "READ-WRITE",
            Self::ServerBug => "SERVERBUG",
            Self::UnknownCte => "UNKNOWN-CTE",
            Self::NotSaved => "NOTSAVED",
            Self::TooBig => "TOOBIG",
            Self::TryCreate => "TRYCREATE",
            Self::UidNext(uid) => return write!(f, "UIDNEXT {uid}"),
            Self::UidNotSticky => "UIDNOTSTICKY",
            Self::UidValidity(number) => return write!(f, "UIDVALIDITY {number}"),
            Self::Unavailable => "UNAVAILABLE",
            Self::UseAttr => "USEATTR",
            Self::InUse => "INUSE",
            Self::ExpungeIssued => "EXPUNGEISSUED",
        })
    }
}
