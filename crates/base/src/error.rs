//! Whose fault an error is, and whether trying again may help.

/// The class of an error: it decides the reply's first digit, the log level and whether to retry.
#[derive(Clone, Copy, PartialEq, Eq, Debug, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Trying again later may succeed (4yz, `NO [UNAVAILABLE]`).
    Transient,
    /// Trying again will fail the same way (5yz, `NO`).
    Permanent,
    /// The peer broke the protocol or a limit (5yz, `BAD`).
    Peer,
    /// We are wrong: logged as an error, told to the peer as transient.
    Bug,
}

/// An error that knows its class.
pub trait Classified: std::error::Error {
    /// Whose fault it is.
    fn class(&self) -> Class;
}
