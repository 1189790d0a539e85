//! LIST and STATUS (RFC 9051 §6.3.9, §6.3.11), with the selection and return options of RFC 5258,
//! RFC 5819 (STATUS) and RFC 6154 (SPECIAL-USE, CREATE … USE).

use super::cursor::{Cursor, Parsed};
use super::error::SyntaxError;
use super::mailbox::{MailboxName, NAME_BYTES_MAX, fold_inbox};

/// Most patterns in one LIST.
pub const PATTERNS_MAX: usize = 100;

/// What LIST asks for.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct List {
    /// The name that patterns are relative to; may be empty.
    pub reference: String,
    /// The patterns, with `%` and `*`. One empty pattern asks for the separator.
    pub patterns: Vec<Pattern>,
    /// Which mailboxes.
    pub select: Select,
    /// What to tell of each.
    pub returns: Returns,
}

/// `list-select-opts`, RFC 9051 §6.3.9.1.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Select {
    /// Only names that are subscribed to, whether they exist or not.
    pub subscribed: bool,
    /// Also names that do not match but have children that do.
    pub recursive_match: bool,
    /// Only mailboxes with a special use (RFC 6154).
    pub special_use: bool,
}

/// `return-option`, RFC 9051 §6.3.9.2.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Returns {
    /// `\Subscribed` on those that are.
    pub subscribed: bool,
    /// `\HasChildren` or `\HasNoChildren`.
    pub children: bool,
    /// The special use (RFC 6154). It is always told, as every server does.
    pub special_use: bool,
    /// A STATUS response for each mailbox.
    pub status: Vec<StatusItem>,
}

/// `list-mailbox`: a name with wildcards, in Unicode.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pattern(Box<str>);

impl Pattern {
    /// Makes a pattern of this text.
    #[must_use]
    pub fn new(text: &str) -> Self {
        // Runs of `*` mean what one means; without them matching cannot be made slow.
        let mut pattern = String::with_capacity(text.len());
        for c in fold_inbox(text).chars() {
            let repeats = pattern.ends_with('*') && matches!(c, '*' | '%');
            if !repeats {
                pattern.push(c);
            }
        }
        Self(pattern.into())
    }

    /// Whether nothing is asked for but the separator.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The text of the pattern.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether `name` matches: `*` stands for anything, `%` for anything without the separator.
    ///
    /// The time is bounded by the product of the lengths.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        let name = name.as_bytes();
        // `reached[i]`: the pattern so far can match the first i bytes of the name.
        let mut reached = vec![false; name.len() + 1];
        reached[0] = true;
        for byte in self.0.bytes() {
            match byte {
                b'*' | b'%' => {
                    for at in 0..name.len() {
                        let passes = byte == b'*' || name[at] != b'/';
                        reached[at + 1] |= reached[at] && passes;
                    }
                }
                byte => {
                    for at in (0..name.len()).rev() {
                        reached[at + 1] = reached[at] && name[at] == byte;
                    }
                    reached[0] = false;
                }
            }
        }
        reached[name.len()]
    }
}

impl List {
    /// `list = "LIST" [SP list-select-opts] SP mailbox SP mbox-or-pat [SP list-return-opts]`; the
    /// cursor stands behind the command and its space.
    pub(super) fn read(cursor: &mut Cursor<'_>) -> Parsed<Self> {
        let select = if cursor.peek() == Some(b'(') {
            let select = Select::read(cursor)?;
            cursor.space()?;
            select
        } else {
            Select::default()
        };
        let (reference, patterns) = read_reference_and_patterns(cursor)?;
        let returns = if cursor.has_argument() {
            cursor.space()?;
            Returns::read(cursor)?
        } else {
            Returns::default()
        };
        Ok(Self {
            reference,
            patterns,
            select,
            returns,
        })
    }
}

/// `lsub = "LSUB" SP mailbox SP list-mailbox`, RFC 3501 §6.3.9.
pub(super) fn read_lsub(cursor: &mut Cursor<'_>) -> Parsed<List> {
    let (reference, patterns) = read_reference_and_patterns(cursor)?;
    Ok(List {
        reference,
        patterns,
        ..List::default()
    })
}

fn read_reference_and_patterns(cursor: &mut Cursor<'_>) -> Parsed<(String, Vec<Pattern>)> {
    let bytes = cursor.astring()?;
    let reference = bounded(cursor.mailbox_text(&bytes)?)?;
    cursor.space()?;
    let patterns = if cursor.peek() == Some(b'(') {
        cursor.list(|cursor| bounded(cursor.list_mailbox()?))?
    } else {
        vec![bounded(cursor.list_mailbox()?)?]
    };
    if patterns.is_empty() || patterns.len() > PATTERNS_MAX {
        return Err(SyntaxError::Expected("1 to 100 patterns"));
    }
    let patterns = patterns.iter().map(|text| Pattern::new(text)).collect();
    Ok((reference, patterns))
}

fn bounded(text: String) -> Parsed<String> {
    if text.len() <= NAME_BYTES_MAX && !text.contains(char::is_control) {
        Ok(text)
    } else {
        Err(SyntaxError::MailboxName)
    }
}

impl Select {
    fn read(cursor: &mut Cursor<'_>) -> Parsed<Self> {
        let mut select = Self::default();
        cursor.list(|cursor| {
            match cursor.word("a selection option")?.as_str() {
                "SUBSCRIBED" => select.subscribed = true,
                "RECURSIVEMATCH" => select.recursive_match = true,
                "SPECIAL-USE" => select.special_use = true,
                // There are no mailboxes on other servers.
                "REMOTE" => {}
                _ => return Err(SyntaxError::Expected("a known selection option")),
            }
            Ok(())
        })?;
        // RFC 9051 §6.3.9.1: it modifies another option and may not stand alone.
        if select.recursive_match && !select.subscribed && !select.special_use {
            return Err(SyntaxError::Expected("an option beside RECURSIVEMATCH"));
        }
        Ok(select)
    }
}

impl Returns {
    fn read(cursor: &mut Cursor<'_>) -> Parsed<Self> {
        if !cursor.take_word("RETURN") {
            return Err(SyntaxError::Expected("RETURN"));
        }
        cursor.space()?;
        let mut returns = Self::default();
        cursor.list(|cursor| {
            match cursor.word("a return option")?.as_str() {
                "SUBSCRIBED" => returns.subscribed = true,
                "CHILDREN" => returns.children = true,
                "SPECIAL-USE" => returns.special_use = true,
                "STATUS" => {
                    cursor.space()?;
                    returns.status = StatusItem::read_list(cursor)?;
                }
                _ => return Err(SyntaxError::Expected("a known return option")),
            }
            Ok(())
        })?;
        Ok(returns)
    }
}

/// `status-att`, RFC 9051 §6.3.11.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum StatusItem {
    /// The number of messages.
    Messages,
    /// The UID that the next message gets.
    UidNext,
    /// The epoch of the UIDs.
    UidValidity,
    /// The number of messages without `\Seen`.
    Unseen,
    /// The number of messages with `\Deleted`.
    Deleted,
    /// The sizes of all messages together.
    Size,
    /// RFC 3501: always 0 here, as RFC 9051 allows.
    Recent,
}

impl StatusItem {
    /// The name in commands and responses.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Messages => "MESSAGES",
            Self::UidNext => "UIDNEXT",
            Self::UidValidity => "UIDVALIDITY",
            Self::Unseen => "UNSEEN",
            Self::Deleted => "DELETED",
            Self::Size => "SIZE",
            Self::Recent => "RECENT",
        }
    }

    pub(super) fn read_list(cursor: &mut Cursor<'_>) -> Parsed<Vec<Self>> {
        let mut items = cursor.list(|cursor| {
            Ok(match cursor.word("a status item")?.as_str() {
                "MESSAGES" => Self::Messages,
                "UIDNEXT" => Self::UidNext,
                "UIDVALIDITY" => Self::UidValidity,
                "UNSEEN" => Self::Unseen,
                "DELETED" => Self::Deleted,
                "SIZE" => Self::Size,
                "RECENT" => Self::Recent,
                _ => return Err(SyntaxError::Expected("a known status item")),
            })
        })?;
        if items.is_empty() {
            return Err(SyntaxError::Expected("a status item"));
        }
        items.sort_unstable();
        items.dedup();
        Ok(items)
    }
}

/// `use-attr` of RFC 6154 §6, for LIST responses and `CREATE … (USE (…))`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SpecialUse {
    /// `\All`
    All,
    /// `\Archive`
    Archive,
    /// `\Drafts`
    Drafts,
    /// `\Flagged`
    Flagged,
    /// `\Junk`
    Junk,
    /// `\Sent`
    Sent,
    /// `\Trash`
    Trash,
    /// `\Important` (RFC 8457)
    Important,
}

impl SpecialUse {
    /// The name with its backslash.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::All => "\\All",
            Self::Archive => "\\Archive",
            Self::Drafts => "\\Drafts",
            Self::Flagged => "\\Flagged",
            Self::Junk => "\\Junk",
            Self::Sent => "\\Sent",
            Self::Trash => "\\Trash",
            Self::Important => "\\Important",
        }
    }

    fn read(cursor: &mut Cursor<'_>) -> Parsed<Self> {
        cursor.expect(b'\\', "a special use")?;
        Ok(match cursor.word("a special use")?.as_str() {
            "ALL" => Self::All,
            "ARCHIVE" => Self::Archive,
            "DRAFTS" => Self::Drafts,
            "FLAGGED" => Self::Flagged,
            "JUNK" => Self::Junk,
            "SENT" => Self::Sent,
            "TRASH" => Self::Trash,
            "IMPORTANT" => Self::Important,
            _ => return Err(SyntaxError::Expected("a known special use")),
        })
    }
}

/// CREATE: a name, whether only a level above others is meant, and uses (RFC 6154 §3).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Create {
    /// The name, without a separator at its end.
    pub mailbox: MailboxName,
    /// The uses asked for.
    pub uses: Vec<SpecialUse>,
}

impl Create {
    pub(super) fn read(cursor: &mut Cursor<'_>) -> Parsed<Self> {
        let name = cursor.mailbox()?;
        // RFC 9051 §6.3.4: a separator at the end only declares that names under it will follow.
        let stripped = name.as_str().trim_end_matches(super::mailbox::SEPARATOR);
        let mailbox = MailboxName::parse(stripped)?;
        let mut uses = Vec::new();
        if cursor.has_argument() {
            cursor.space()?;
            cursor.open()?;
            if !cursor.take_word("USE") {
                return Err(SyntaxError::Expected("USE"));
            }
            cursor.space()?;
            uses = cursor.list(SpecialUse::read)?;
            cursor.close()?;
        }
        Ok(Self { mailbox, uses })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pattern: &str, name: &str, expected: bool) {
        assert_eq!(
            Pattern::new(pattern).matches(name),
            expected,
            "{pattern} {name}"
        );
    }

    #[test]
    fn wildcards() {
        check("*", "a/b/c", true);
        check("%", "a", true);
        check("%", "a/b", false);
        check("a/%", "a/b", true);
        check("a/%", "a/b/c", false);
        check("a*c", "a/b/c", true);
        check("%/%", "a/b", true);
        check("inbox", "INBOX", true);
        check("inbox/*", "INBOX/x", true);
        check("", "a", false);
        check("*%*", "x/y", true);
        check("ä%", "äö", true);
    }

    #[test]
    fn many_wildcards_stay_fast() {
        let pattern = "a*".repeat(400);
        check(&pattern, &"a".repeat(1_000), true);
        check(&format!("{pattern}b"), &"a".repeat(1_000), false);
    }
}
