//! Flags as IMAP names them and as the store keeps them (RFC 8621 §4.1.1), and the small table of
//! distinct sets that a snapshot's rows point into.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use proto::imap::Flag;
use store::Keywords;

/// The flags of one message in one mailbox.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub(super) struct FlagSet {
    pub(super) deleted: bool,
    pub(super) keywords: Keywords,
}

/// `\Seen` and friends beside their keywords.
const SYSTEM: [(&str, &str); 4] = [
    ("$answered", "\\Answered"),
    ("$flagged", "\\Flagged"),
    ("$draft", "\\Draft"),
    ("$seen", "\\Seen"),
];

/// The system flags that a client may set, for FLAGS and PERMANENTFLAGS.
pub(super) const SETTABLE: [&str; 5] =
    ["\\Answered", "\\Flagged", "\\Deleted", "\\Seen", "\\Draft"];

impl FlagSet {
    pub(super) fn of_flags(flags: &[Flag]) -> Self {
        let mut set = Self::default();
        for flag in flags {
            let keyword: Box<str> = match flag {
                Flag::Deleted => {
                    set.deleted = true;
                    continue;
                }
                Flag::Answered => "$answered".into(),
                Flag::Flagged => "$flagged".into(),
                Flag::Draft => "$draft".into(),
                Flag::Seen => "$seen".into(),
                Flag::Keyword(keyword) => keyword.as_str().to_ascii_lowercase().into(),
            };
            set.keywords.insert(&keyword);
        }
        set
    }

    pub(super) fn has(&self, keyword: &str) -> bool {
        self.keywords.contains(keyword)
    }

    pub(super) fn is_seen(&self) -> bool {
        self.has("$seen")
    }

    /// The keywords that are no system flags.
    pub(super) fn custom(&self) -> impl Iterator<Item = &str> {
        self.keywords
            .iter()
            .filter(|keyword| !SYSTEM.iter().any(|(system, _)| system == keyword))
    }
}

/// `flag-list`, with its parentheses.
impl fmt::Display for FlagSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let system = SYSTEM
            .iter()
            .filter(|(keyword, _)| self.has(keyword))
            .map(|(_, flag)| *flag);
        let deleted = self.deleted.then_some("\\Deleted");
        f.write_str("(")?;
        let mut separator = "";
        for flag in system.chain(deleted).chain(self.custom()) {
            write!(f, "{separator}{flag}")?;
            separator = " ";
        }
        f.write_str(")")
    }
}

/// Names a set in a [`FlagTable`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct SetId(u32);

/// The distinct sets of flags in a mailbox: a handful, however many messages there are.
#[derive(Debug, Default)]
pub(super) struct FlagTable {
    sets: Vec<Arc<FlagSet>>,
    ids: BTreeMap<Arc<FlagSet>, SetId>,
}

impl FlagTable {
    pub(super) fn intern(&mut self, set: FlagSet) -> SetId {
        if let Some(id) = self.ids.get(&set) {
            return *id;
        }
        // A mailbox has at most 2^32 messages, and `compact` keeps the table smaller than that.
        let id = SetId(u32::try_from(self.sets.len()).unwrap_or(u32::MAX));
        let set = Arc::new(set);
        self.sets.push(Arc::clone(&set));
        self.ids.insert(set, id);
        id
    }

    pub(super) fn set(&self, id: SetId) -> &FlagSet {
        &self.sets[id.0 as usize]
    }

    pub(super) fn len(&self) -> usize {
        self.sets.len()
    }

    /// The keywords in use, in order.
    pub(super) fn keywords(&self) -> Vec<&str> {
        let mut keywords: Vec<&str> = self.sets.iter().flat_map(|set| set.custom()).collect();
        keywords.sort_unstable();
        keywords.dedup();
        keywords
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_both_sides() {
        let flags = [
            Flag::Seen,
            Flag::Deleted,
            Flag::Keyword(proto::imap::Keyword::parse("$MDNSent").unwrap()),
        ];
        let set = FlagSet::of_flags(&flags);
        assert!(set.deleted && set.has("$seen") && set.has("$mdnsent"));
        assert_eq!(set.to_string(), "(\\Seen \\Deleted $mdnsent)");
        assert_eq!(FlagSet::default().to_string(), "()");
    }

    #[test]
    fn equal_sets_are_kept_once() {
        let mut table = FlagTable::default();
        let first = table.intern(FlagSet::default());
        let second = table.intern(FlagSet::of_flags(&[Flag::Seen]));
        assert_eq!(table.intern(FlagSet::default()), first);
        assert_ne!(first, second);
        assert_eq!(table.len(), 2);
    }
}
