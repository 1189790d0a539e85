//! Commands (RFC 9051 §6), read from a line that has arrived whole.

use base::secret::Secret;

use super::cursor::{Cursor, Parsed};
use super::error::SyntaxError;
use super::fetch::{self, Item};
use super::list::{self, Create, List, StatusItem};
use super::mailbox::MailboxName;
use super::search::Search;
use super::sequence::MessageSet;
use super::store::StoreFlags;
use super::tag::Tag;

/// Whether a command's set and its answers are message numbers or UIDs (RFC 9051 §6.4.9).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Numbering {
    /// Message sequence numbers.
    Sequence,
    /// Unique identifiers.
    Uid,
}

/// A command other than APPEND, which comes as [`super::Event::Append`].
#[derive(Clone, Debug)]
#[expect(
    missing_docs,
    reason = "each is the command of RFC 9051 §6 with its name"
)]
pub enum Command {
    Capability,
    Noop,
    Logout,
    /// RFC 2971.
    Id(Vec<(String, String)>),
    StartTls,
    Authenticate {
        /// In upper case.
        mechanism: String,
        /// RFC 4959: the first response, still in base64; `=` is an empty one.
        initial: Option<Secret>,
    },
    Login {
        user: String,
        password: Secret,
    },
    /// RFC 5161: the names, in upper case.
    Enable(Vec<String>),
    Select(MailboxName),
    Examine(MailboxName),
    Create(Create),
    Delete(MailboxName),
    Rename {
        from: MailboxName,
        to: MailboxName,
    },
    Subscribe(MailboxName),
    Unsubscribe(MailboxName),
    List(List),
    /// RFC 3501 §6.3.9.
    Lsub(List),
    Namespace,
    Status {
        mailbox: MailboxName,
        items: Vec<StatusItem>,
    },
    Idle,
    /// RFC 3501 §6.4.1.
    Check,
    Close,
    Unselect,
    Expunge,
    UidExpunge(MessageSet),
    Search {
        numbering: Numbering,
        search: Search,
    },
    Fetch {
        numbering: Numbering,
        set: MessageSet,
        items: Vec<Item>,
    },
    Store {
        numbering: Numbering,
        set: MessageSet,
        store: StoreFlags,
    },
    Copy {
        numbering: Numbering,
        set: MessageSet,
        mailbox: MailboxName,
    },
    Move {
        numbering: Numbering,
        set: MessageSet,
        mailbox: MailboxName,
    },
}

/// Reads the tag and the command's name; the cursor is left behind the name.
pub(super) fn read_start(cursor: &mut Cursor<'_>) -> Parsed<(Tag, String)> {
    let bytes = cursor.take_while(|b| super::cursor::is_astring(b) && b != b'+');
    let tag = Tag::parse(bytes).ok_or(SyntaxError::Tag)?;
    cursor.space().map_err(|_| SyntaxError::Tag)?;
    let name = cursor.word("a command")?;
    Ok((tag, name))
}

impl Command {
    /// Its name, for logs and metrics.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Capability => "CAPABILITY",
            Self::Noop => "NOOP",
            Self::Logout => "LOGOUT",
            Self::Id(_) => "ID",
            Self::StartTls => "STARTTLS",
            Self::Authenticate { .. } => "AUTHENTICATE",
            Self::Login { .. } => "LOGIN",
            Self::Enable(_) => "ENABLE",
            Self::Select(_) => "SELECT",
            Self::Examine(_) => "EXAMINE",
            Self::Create(_) => "CREATE",
            Self::Delete(_) => "DELETE",
            Self::Rename { .. } => "RENAME",
            Self::Subscribe(_) => "SUBSCRIBE",
            Self::Unsubscribe(_) => "UNSUBSCRIBE",
            Self::List(_) => "LIST",
            Self::Lsub(_) => "LSUB",
            Self::Namespace => "NAMESPACE",
            Self::Status { .. } => "STATUS",
            Self::Idle => "IDLE",
            Self::Check => "CHECK",
            Self::Close => "CLOSE",
            Self::Unselect => "UNSELECT",
            Self::Expunge => "EXPUNGE",
            Self::UidExpunge(_) => "UID EXPUNGE",
            Self::Search { .. } => "SEARCH",
            Self::Fetch { .. } => "FETCH",
            Self::Store { .. } => "STORE",
            Self::Copy { .. } => "COPY",
            Self::Move { .. } => "MOVE",
        }
    }

    /// Reads the rest of a command whose name has been read.
    pub(super) fn read(cursor: &mut Cursor<'_>, name: &str) -> Parsed<Self> {
        let command = match read_plain(name) {
            Some(command) => command,
            None => Self::read_with_arguments(cursor, name)?,
        };
        cursor.end()?;
        Ok(command)
    }

    fn read_with_arguments(cursor: &mut Cursor<'_>, name: &str) -> Parsed<Self> {
        if !is_known(name) {
            return Err(SyntaxError::UnknownCommand);
        }
        cursor.space()?;
        Ok(match name {
            "ID" => Self::Id(super::id::read(cursor)?),
            "AUTHENTICATE" => read_authenticate(cursor)?,
            "LOGIN" => read_login(cursor)?,
            "ENABLE" => read_enable(cursor)?,
            "SELECT" => Self::Select(cursor.mailbox()?),
            "EXAMINE" => Self::Examine(cursor.mailbox()?),
            "CREATE" => Self::Create(Create::read(cursor)?),
            "DELETE" => Self::Delete(cursor.mailbox()?),
            "RENAME" => {
                let from = cursor.mailbox()?;
                cursor.space()?;
                let to = cursor.mailbox()?;
                Self::Rename { from, to }
            }
            "SUBSCRIBE" => Self::Subscribe(cursor.mailbox()?),
            "UNSUBSCRIBE" => Self::Unsubscribe(cursor.mailbox()?),
            "LIST" => Self::List(List::read(cursor)?),
            "LSUB" => Self::Lsub(list::read_lsub(cursor)?),
            "STATUS" => {
                let mailbox = cursor.mailbox()?;
                cursor.space()?;
                let items = StatusItem::read_list(cursor)?;
                Self::Status { mailbox, items }
            }
            "UID" => read_uid(cursor)?,
            _ => read_numbered(cursor, name, Numbering::Sequence)?,
        })
    }
}

fn read_plain(name: &str) -> Option<Command> {
    Some(match name {
        "CAPABILITY" => Command::Capability,
        "NOOP" => Command::Noop,
        "LOGOUT" => Command::Logout,
        "STARTTLS" => Command::StartTls,
        "NAMESPACE" => Command::Namespace,
        "IDLE" => Command::Idle,
        "CHECK" => Command::Check,
        "CLOSE" => Command::Close,
        "UNSELECT" => Command::Unselect,
        "EXPUNGE" => Command::Expunge,
        _ => return None,
    })
}

/// The commands that take arguments.
fn is_known(name: &str) -> bool {
    const NAMES: [&str; 19] = [
        "ID",
        "AUTHENTICATE",
        "LOGIN",
        "ENABLE",
        "SELECT",
        "EXAMINE",
        "CREATE",
        "DELETE",
        "RENAME",
        "SUBSCRIBE",
        "UNSUBSCRIBE",
        "LIST",
        "LSUB",
        "STATUS",
        "UID",
        "SEARCH",
        "FETCH",
        "STORE",
        "COPY",
    ];
    NAMES.contains(&name) || name == "MOVE"
}

fn read_authenticate(cursor: &mut Cursor<'_>) -> Parsed<Command> {
    let mechanism = cursor.word("a mechanism")?;
    let mut initial = None;
    if cursor.has_argument() {
        cursor.space()?;
        let base64 = cursor.take_while(|b| b.is_ascii_graphic());
        if base64.is_empty() {
            return Err(SyntaxError::Expected("an initial response"));
        }
        initial = Some(Secret::new(base64));
    }
    Ok(Command::Authenticate { mechanism, initial })
}

fn read_login(cursor: &mut Cursor<'_>) -> Parsed<Command> {
    let user = cursor.text()?;
    cursor.space()?;
    let password = Secret::new(cursor.astring()?.into_owned());
    Ok(Command::Login { user, password })
}

fn read_enable(cursor: &mut Cursor<'_>) -> Parsed<Command> {
    let mut names = vec![cursor.word("a capability")?];
    while cursor.take(b' ') && !cursor.is_at_end() {
        names.push(cursor.word("a capability")?);
    }
    Ok(Command::Enable(names))
}

fn read_uid(cursor: &mut Cursor<'_>) -> Parsed<Command> {
    let name = cursor.word("a command")?;
    cursor.space()?;
    match name.as_str() {
        "EXPUNGE" => Ok(Command::UidExpunge(MessageSet::read(cursor)?)),
        "SEARCH" | "FETCH" | "STORE" | "COPY" | "MOVE" => {
            read_numbered(cursor, &name, Numbering::Uid)
        }
        _ => Err(SyntaxError::UnknownCommand),
    }
}

/// The commands that exist with message numbers and with UIDs.
fn read_numbered(cursor: &mut Cursor<'_>, name: &str, numbering: Numbering) -> Parsed<Command> {
    if name == "SEARCH" {
        let search = Search::read(cursor)?;
        return Ok(Command::Search { numbering, search });
    }
    let set = MessageSet::read(cursor)?;
    cursor.space()?;
    Ok(match name {
        "FETCH" => Command::Fetch {
            numbering,
            set,
            items: fetch::read_items(cursor)?,
        },
        "STORE" => Command::Store {
            numbering,
            set,
            store: StoreFlags::read(cursor)?,
        },
        "COPY" => Command::Copy {
            numbering,
            set,
            mailbox: cursor.mailbox()?,
        },
        "MOVE" => Command::Move {
            numbering,
            set,
            mailbox: cursor.mailbox()?,
        },
        _ => return Err(SyntaxError::UnknownCommand),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(line: &str) -> Parsed<Command> {
        let mut cursor = Cursor::new(line.as_bytes(), false);
        let (_, name) = read_start(&mut cursor)?;
        Command::read(&mut cursor, &name)
    }

    #[test]
    fn commands() {
        for line in [
            "a CAPABILITY",
            "a noop ",
            "a ID NIL",
            "a ID (\"name\" \"x\" \"version\" NIL)",
            "a ID ()",
            "a AUTHENTICATE PLAIN",
            "a AUTHENTICATE SCRAM-SHA-256 =",
            "a LOGIN a \"b c\"",
            "a LOGIN {1}\r\na {1+}\r\nb",
            "a ENABLE IMAP4rev2 UTF8=ACCEPT",
            "a SELECT inbox",
            "a EXAMINE \"a b\"",
            "a CREATE x/",
            "a CREATE x (USE (\\Sent \\Junk))",
            "a DELETE x",
            "a RENAME x y",
            "a LIST \"\" *",
            "a LIST \"\" \"\"",
            "a LIST (SUBSCRIBED RECURSIVEMATCH) \"\" (\"*\" x%) RETURN (CHILDREN STATUS (MESSAGES SIZE))",
            "a LSUB \"\" *",
            "a STATUS INBOX (MESSAGES UIDNEXT)",
            "a UID FETCH 1:* (FLAGS)",
            "a UID EXPUNGE 3:5",
            "a UID SEARCH RETURN (SAVE) ALL",
            "a STORE 1 +FLAGS.SILENT \\Seen $x",
            "a UID STORE $ -flags (\\Deleted)",
            "a COPY 1,2 x",
            "a UID MOVE 1 x",
            "a IDLE",
            "a STORE 1 FLAGS ()",
            "a STORE 1 FLAGS \\Seen \\Flagged ",
            "a AUTHENTICATE PLAIN ",
            "a CREATE x ",
            "a LIST \"\" * ",
            "a LIST \"\" ~/Mail/%",
            "a LIST ~/Mail/ (~x% %)",
            "a SELECT ~{1}\r\nx",
            "a FETCH 1 ( UID  FLAGS )",
            "a FETCH 1 (BODY.PEEK[HEADER.FIELDS ( From To )] )",
            "a UID STORE 1 +FLAGS (\\Seen )",
            "a STATUS x (MESSAGES )",
            "a UID SEARCH ( SEEN  DELETED )",
        ] {
            assert!(command(line).is_ok(), "{line}: {:?}", command(line));
        }
    }

    #[test]
    fn refuses() {
        for (line, error) in [
            ("", SyntaxError::Tag),
            ("+ NOOP", SyntaxError::Tag),
            ("a", SyntaxError::Tag),
            ("a ", SyntaxError::Expected("a command")),
            ("a FOO", SyntaxError::UnknownCommand),
            ("a UID FOO 1", SyntaxError::UnknownCommand),
            ("a UID EXPUNGE", SyntaxError::Expected("a space")),
            ("a NOOP x", SyntaxError::TrailingText),
            ("a SELECT", SyntaxError::Expected("a space")),
            ("a SELECT INBOX (CONDSTORE)", SyntaxError::TrailingText),
            ("a SELECT \"x", SyntaxError::Expected("a closing quote")),
            ("a CREATE /", SyntaxError::MailboxName),
            ("a STORE 1 FLAGS (\\Foo)", SyntaxError::Flag),
            (
                "a LIST (RECURSIVEMATCH) \"\" *",
                SyntaxError::Expected("an option beside RECURSIVEMATCH"),
            ),
            ("a STATUS x ()", SyntaxError::Expected("a status item")),
            ("a STATUS x ( )", SyntaxError::Expected("a status item")),
            ("a FETCH 1 (UID FLAGS", SyntaxError::Expected("a space")),
        ] {
            assert_eq!(command(line).unwrap_err(), error, "{line}");
        }
    }

    #[test]
    fn a_uid_command_keeps_its_set() {
        let Ok(Command::UidExpunge(parsed)) = command("a UID EXPUNGE 3:5") else {
            panic!("no UID EXPUNGE")
        };
        let set = crate::imap::SequenceSet::parse("3:5").unwrap();
        assert_eq!(parsed, MessageSet::Set(set));
    }
}
