//! Ids as types, so that a mailbox's number is never taken for a message's.

use std::fmt;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }
    };
}

id!(/// An account: whom the mail belongs to. The first part of every account table's key.
    AccountId(i64));
id!(/// A domain this system is responsible for.
    DomainId(i64));
id!(/// A mailbox (folder) of an account.
    MailboxId(i64));
id!(/// A message of an account, however many mailboxes it is placed in (IMAP EMAILID, JMAP Email id).
    MessageId(i64));
id!(/// A conversation; never changes and never merges.
    ThreadId(i64));
id!(/// A letter in the queue, and the name of its life in logs and journey.
    LetterId(i64));
id!(/// One recipient of a letter in the queue.
    RecipientId(i64));
id!(/// IMAP unique identifier of a placement in a mailbox (RFC 9051 §2.3.1.1); never 0.
    Uid(u32));
id!(/// The epoch of a mailbox's UIDs (RFC 9051 §2.3.1.1).
    UidValidity(u32));
id!(/// Modification sequence: grows with every change of an account (RFC 7162 §1).
    ModSeq(i64));
