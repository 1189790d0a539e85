//! A compiled script: what is left to do at each run. Made by [`compile`](crate::compile), carried
//! out by [`run`](crate::run).

use crate::matching::{Comparator, Pattern, Relation};
use crate::outcome::Importance;

/// The commands of a script.
#[derive(Debug)]
pub(crate) struct Program {
    pub(crate) commands: Vec<Command>,
}

/// One command with its line.
#[derive(Debug)]
pub(crate) struct Command {
    pub(crate) line: u32,
    pub(crate) op: Op,
}

#[derive(Debug)]
pub(crate) enum Op {
    /// The first branch whose test is true.
    If(Vec<Branch>),
    Stop,
    Keep {
        flags: Option<Vec<Text>>,
    },
    Discard,
    FileInto(Box<FileInto>),
    Redirect(Box<Redirect>),
    Reject(Box<Reject>),
    Set(Box<Set>),
    Flags {
        change: FlagChange,
        variable: Option<String>,
        flags: Vec<Text>,
    },
    Vacation(Box<Vacation>),
    Notify(Box<Notify>),
    AddHeader(Box<AddHeader>),
    DeleteHeader(Box<DeleteHeader>),
    Include(Box<Include>),
    Return,
    Global(Vec<String>),
    ForEveryPart {
        name: Option<String>,
        block: Vec<Command>,
    },
    Break(Option<String>),
    ExtractText {
        first: Option<u64>,
        name: String,
        modifiers: Vec<Modifier>,
    },
    Replace(Box<Replace>),
    Enclose(Box<Enclose>),
    Error(Text),
    /// What this engine does not know, in a script that asks with `ihave` (RFC 5463 §4).
    Unsupported(String),
}

#[derive(Debug)]
pub(crate) struct Branch {
    pub(crate) line: u32,
    /// The test as written, cut; empty for `else`.
    pub(crate) source: String,
    pub(crate) test: Test,
    pub(crate) block: Vec<Command>,
}

#[derive(Debug)]
pub(crate) enum Test {
    True,
    False,
    Not(Box<Test>),
    AnyOf(Vec<Test>),
    AllOf(Vec<Test>),
    Exists {
        headers: Vec<Text>,
        mime: Option<Mime>,
    },
    Size {
        over: bool,
        bytes: u64,
    },
    Header(Box<HeaderTest>),
    Address(Box<AddressTest>),
    Envelope {
        parts: Vec<Text>,
        part: AddressPart,
        matcher: Matcher,
    },
    Body {
        transform: BodyTransform,
        matcher: Matcher,
    },
    Date(Box<DateTest>),
    String {
        sources: Vec<Text>,
        matcher: Matcher,
    },
    HasFlag {
        variables: Vec<String>,
        matcher: Matcher,
    },
    Environment {
        name: Text,
        matcher: Matcher,
    },
    Duplicate(Box<Duplicate>),
    MailboxExists(Vec<Text>),
    MailboxIdExists(Vec<Text>),
    SpecialUseExists {
        mailbox: Option<Text>,
        uses: Vec<Text>,
    },
    Spam {
        percent: bool,
        matcher: Matcher,
    },
    Virus {
        matcher: Matcher,
    },
    ValidNotifyMethod(Vec<Text>),
    NotifyMethodCapability {
        uri: Text,
        capability: Text,
        matcher: Matcher,
    },
    ValidExtList(Vec<Text>),
    /// Whether all are supported is known when it is compiled (RFC 5463 §4).
    Ihave(bool),
    Unsupported(String),
}

/// A string of the script with places for variables (RFC 5229 §3).
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Text {
    Constant(String),
    Template(Vec<Piece>),
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Piece {
    Literal(String),
    /// In lower case.
    Variable(String),
    /// `${1}`.
    Match(usize),
}

impl Text {
    /// The text, when no variable is in it.
    pub(crate) fn constant(&self) -> Option<&str> {
        match self {
            Self::Constant(text) => Some(text),
            Self::Template(_) => None,
        }
    }
}

/// What values are compared with, and how.
#[derive(Debug)]
pub(crate) struct Matcher {
    pub(crate) kind: MatchKind,
    pub(crate) comparator: Comparator,
    pub(crate) keys: Vec<Key>,
}

#[derive(Debug)]
pub(crate) struct Key {
    pub(crate) text: Text,
    /// Made once when the text is constant.
    pub(crate) pattern: Option<Pattern>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum MatchKind {
    Is,
    Contains,
    Matches,
    Regex,
    Value(Relation),
    Count(Relation),
    List,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum AddressPart {
    All,
    LocalPart,
    Domain,
    User,
    Detail,
}

/// `:index 1 :last` (RFC 5260 §6).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Index {
    /// From 1.
    pub(crate) number: usize,
    pub(crate) last: bool,
}

/// `:mime` (RFC 5703 §4).
#[derive(Debug)]
pub(crate) struct Mime {
    pub(crate) any_child: bool,
    pub(crate) option: MimeOption,
}

#[derive(Debug)]
pub(crate) enum MimeOption {
    /// The whole value.
    Value,
    Type,
    Subtype,
    ContentType,
    Params(Vec<Text>),
}

#[derive(Debug)]
pub(crate) struct HeaderTest {
    pub(crate) names: Vec<Text>,
    pub(crate) index: Option<Index>,
    pub(crate) mime: Option<Mime>,
    pub(crate) matcher: Matcher,
}

#[derive(Debug)]
pub(crate) struct AddressTest {
    pub(crate) names: Vec<Text>,
    pub(crate) part: AddressPart,
    pub(crate) index: Option<Index>,
    pub(crate) mime: Option<Mime>,
    pub(crate) matcher: Matcher,
}

#[derive(Debug)]
pub(crate) enum BodyTransform {
    Raw,
    Content(Vec<Text>),
    Text,
}

#[derive(Debug)]
pub(crate) struct DateTest {
    /// `None`: `currentdate`.
    pub(crate) header: Option<Text>,
    pub(crate) index: Option<Index>,
    pub(crate) zone: Zone,
    pub(crate) part: Text,
    pub(crate) matcher: Matcher,
}

#[derive(Debug)]
pub(crate) enum Zone {
    /// The user's.
    Local,
    Original,
    Given(Text),
}

#[derive(Debug)]
pub(crate) struct Duplicate {
    pub(crate) handle: Option<Text>,
    pub(crate) source: DuplicateSource,
    pub(crate) seconds: Option<u64>,
    pub(crate) last: bool,
}

#[derive(Debug)]
pub(crate) enum DuplicateSource {
    MessageId,
    Header(Text),
    UniqueId(Text),
}

/// Where a letter or copy goes.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) mailbox: Text,
    pub(crate) flags: Option<Vec<Text>>,
    pub(crate) create: bool,
    pub(crate) special_use: Option<Text>,
    pub(crate) mailbox_id: Option<Text>,
}

#[derive(Debug)]
pub(crate) struct FileInto {
    pub(crate) target: Target,
    pub(crate) copy: bool,
}

#[derive(Debug)]
pub(crate) struct Redirect {
    pub(crate) address: Text,
    pub(crate) list: bool,
    pub(crate) copy: bool,
}

#[derive(Debug)]
pub(crate) struct Reject {
    /// `ereject`.
    pub(crate) in_protocol: bool,
    pub(crate) reason: Text,
}

#[derive(Debug)]
pub(crate) struct Set {
    pub(crate) name: String,
    pub(crate) value: Text,
    pub(crate) modifiers: Vec<Modifier>,
}

/// RFC 5229 §4.1, RFC 5435 §6, draft-ietf-sieve-regex.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Modifier {
    Lower,
    Upper,
    LowerFirst,
    UpperFirst,
    QuoteWildcard,
    QuoteRegex,
    EncodeUrl,
    Length,
}

impl Modifier {
    /// The higher one is used first; two of the same may not stand together.
    pub(crate) fn precedence(self) -> u8 {
        match self {
            Self::Lower | Self::Upper => 40,
            Self::LowerFirst | Self::UpperFirst => 30,
            Self::QuoteWildcard | Self::QuoteRegex => 20,
            Self::EncodeUrl => 15,
            Self::Length => 10,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum FlagChange {
    Set,
    Add,
    Remove,
}

#[derive(Debug)]
pub(crate) struct Vacation {
    /// How long there is one answer a sender.
    pub(crate) seconds: Option<u64>,
    pub(crate) subject: Option<Text>,
    pub(crate) from: Option<Text>,
    pub(crate) addresses: Vec<Text>,
    pub(crate) mime: bool,
    pub(crate) handle: Option<Text>,
    pub(crate) fcc: Option<Target>,
    pub(crate) reason: Text,
}

#[derive(Debug)]
pub(crate) struct Notify {
    pub(crate) from: Option<Text>,
    pub(crate) importance: Importance,
    pub(crate) options: Vec<Text>,
    pub(crate) message: Option<Text>,
    pub(crate) fcc: Option<Target>,
    pub(crate) method: Text,
}

#[derive(Debug)]
pub(crate) struct AddHeader {
    pub(crate) last: bool,
    pub(crate) name: Text,
    pub(crate) value: Text,
}

#[derive(Debug)]
pub(crate) struct DeleteHeader {
    pub(crate) index: Option<Index>,
    pub(crate) name: Text,
    pub(crate) matcher: Option<Matcher>,
}

#[derive(Debug)]
pub(crate) struct Include {
    pub(crate) global: bool,
    pub(crate) once: bool,
    pub(crate) optional: bool,
    pub(crate) name: Text,
}

#[derive(Debug)]
pub(crate) struct Replace {
    pub(crate) mime: bool,
    pub(crate) subject: Option<Text>,
    pub(crate) from: Option<Text>,
    pub(crate) text: Text,
}

#[derive(Debug)]
pub(crate) struct Enclose {
    pub(crate) subject: Option<Text>,
    pub(crate) headers: Vec<Text>,
    pub(crate) text: Text,
}
