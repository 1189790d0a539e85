//! The extensions of the language that there are, and which of them a script may use.

use std::fmt;

/// An extension, as `require` names it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum Capability {
    /// Reserved: RFC 5228 §2.7.3 has both comparators without `require`.
    Base,
    /// RFC 5173.
    Body,
    /// RFC 4790 §9.1, a comparator of numbers.
    ComparatorNumeric,
    /// RFC 5051, a comparator for all letters of Unicode.
    ComparatorUnicode,
    /// RFC 3894.
    Copy,
    /// RFC 5260.
    Date,
    /// RFC 7352.
    Duplicate,
    /// RFC 5293.
    EditHeader,
    /// RFC 5703 §6.
    Enclose,
    /// RFC 5228 §2.4.2.4.
    EncodedCharacter,
    /// RFC 5435, with the method mailto (RFC 5436).
    Enotify,
    /// RFC 5228 §5.4.
    Envelope,
    /// RFC 5183.
    Environment,
    /// RFC 5429 §2.1.
    Ereject,
    /// RFC 6134.
    ExtLists,
    /// RFC 5703 §7.
    ExtractText,
    /// RFC 8580.
    Fcc,
    /// RFC 5228 §4.1.
    FileInto,
    /// RFC 5703 §3.
    ForEveryPart,
    /// RFC 5463.
    Ihave,
    /// RFC 5232.
    Imap4Flags,
    /// RFC 6609.
    Include,
    /// RFC 5260 §6.
    Index,
    /// RFC 5490 §3.
    Mailbox,
    /// RFC 9042.
    MailboxId,
    /// RFC 5703 §4.
    Mime,
    /// draft-ietf-sieve-regex.
    Regex,
    /// RFC 5429 §2.2.
    Reject,
    /// RFC 5231.
    Relational,
    /// RFC 5703 §5.
    Replace,
    /// RFC 5235 §2.1.
    SpamTest,
    /// RFC 5235 §2.2.
    SpamTestPlus,
    /// RFC 8579.
    SpecialUse,
    /// RFC 5233.
    Subaddress,
    /// RFC 5230.
    Vacation,
    /// RFC 6131.
    VacationSeconds,
    /// RFC 5229.
    Variables,
    /// RFC 5235 §2.3.
    VirusTest,
}

use Capability as C;

/// All of them with their names, in the order in which a server lists them.
const NAMES: &[(C, &str)] = &[
    (C::Body, "body"),
    (C::ComparatorNumeric, "comparator-i;ascii-numeric"),
    (C::ComparatorUnicode, "comparator-i;unicode-casemap"),
    (C::Copy, "copy"),
    (C::Date, "date"),
    (C::Duplicate, "duplicate"),
    (C::EditHeader, "editheader"),
    (C::Enclose, "enclose"),
    (C::EncodedCharacter, "encoded-character"),
    (C::Enotify, "enotify"),
    (C::Envelope, "envelope"),
    (C::Environment, "environment"),
    (C::Ereject, "ereject"),
    (C::ExtLists, "extlists"),
    (C::ExtractText, "extracttext"),
    (C::Fcc, "fcc"),
    (C::FileInto, "fileinto"),
    (C::ForEveryPart, "foreverypart"),
    (C::Ihave, "ihave"),
    (C::Imap4Flags, "imap4flags"),
    (C::Include, "include"),
    (C::Index, "index"),
    (C::Mailbox, "mailbox"),
    (C::MailboxId, "mailboxid"),
    (C::Mime, "mime"),
    (C::Regex, "regex"),
    (C::Reject, "reject"),
    (C::Relational, "relational"),
    (C::Replace, "replace"),
    (C::SpamTest, "spamtest"),
    (C::SpamTestPlus, "spamtestplus"),
    (C::SpecialUse, "special-use"),
    (C::Subaddress, "subaddress"),
    (C::Vacation, "vacation"),
    (C::VacationSeconds, "vacation-seconds"),
    (C::Variables, "variables"),
    (C::VirusTest, "virustest"),
    // RFC 5228 §2.7.3: always there, but may be named.
    (C::Base, "comparator-i;octet"),
    (C::Base, "comparator-i;ascii-casemap"),
];

impl Capability {
    /// The extension of this name, as it stands in `require`.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        let found = NAMES.iter().find(|(_, known)| *known == name);
        found.map(|(capability, _)| *capability)
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        let found = NAMES.iter().find(|(capability, _)| *capability == self);
        found.map_or("", |(_, name)| name)
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A set of extensions: those that a host allows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Capabilities(u64);

impl Default for Capabilities {
    fn default() -> Self {
        Self::all()
    }
}

impl Capabilities {
    /// No extension.
    #[must_use]
    pub const fn none() -> Self {
        Self(0)
    }

    /// All that this crate has.
    #[must_use]
    pub fn all() -> Self {
        let all = NAMES.iter().map(|(capability, _)| *capability);
        all.fold(Self::none(), Self::with)
    }

    /// With this one, too.
    #[must_use]
    pub const fn with(self, capability: Capability) -> Self {
        Self(self.0 | 1 << capability as u8)
    }

    /// Without this one.
    #[must_use]
    pub const fn without(self, capability: Capability) -> Self {
        Self(self.0 & !(1 << capability as u8))
    }

    /// Whether it is there.
    #[must_use]
    pub const fn has(self, capability: Capability) -> bool {
        matches!(capability, Capability::Base) || self.0 & (1 << capability as u8) != 0
    }

    /// Their names, as ManageSieve announces them (RFC 5804 §1.7).
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        let here = NAMES.iter().filter(move |(capability, _)| {
            *capability != Capability::Base && self.has(*capability)
        });
        here.map(|(_, name)| *name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_and_found() {
        for name in Capabilities::all().names() {
            let capability = Capability::from_name(name).unwrap();
            assert_eq!(capability.to_string(), name);
            assert!(Capabilities::none().with(capability).has(capability));
            assert!(!Capabilities::all().without(capability).has(capability));
        }
        assert_eq!(Capabilities::all().names().count(), NAMES.len() - 2);
        assert_eq!(
            Capability::from_name("comparator-i;octet"),
            Some(Capability::Base)
        );
        assert_eq!(Capability::from_name("FILEINTO"), None);
    }
}
