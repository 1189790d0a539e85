//! `pennyblack list`.

use std::io::Read as _;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::Value;

use super::exit::Exit;
use super::output::{Output, bytes, field};
use super::{ListArgs, Operator};
use crate::control::{ListSettings, Request};

#[derive(Subcommand)]
pub(super) enum ListCommand {
    /// Makes a mailing list.
    Add {
        /// Its address.
        list: String,
        /// Whom it belongs to; may be given several times.
        #[arg(long = "owner", required = true)]
        owners: Vec<String>,
        #[command(flatten)]
        options: Box<Options>,
    },
    /// Changes what a list is like.
    Set {
        /// The list.
        list: String,
        /// Further owners.
        #[arg(long)]
        add_owner: Vec<String>,
        /// Who does not own it any more.
        #[arg(long)]
        remove_owner: Vec<String>,
        #[command(flatten)]
        options: Box<Options>,
    },
    /// Shows a list, or all.
    Show {
        /// The list.
        list: Option<String>,
        #[command(flatten)]
        output: ListArgs,
    },
    /// Removes a list with its members.
    Remove {
        /// The list.
        list: String,
    },
    /// Lists the members of a list.
    Members {
        /// The list.
        list: String,
        #[command(flatten)]
        output: ListArgs,
    },
    /// Puts people on a list, without asking them.
    Subscribe {
        /// The list.
        list: String,
        /// Their addresses; `-`: one in each line of stdin.
        #[arg(required = true)]
        members: Vec<String>,
    },
    /// Takes people off a list.
    Unsubscribe {
        /// The list.
        list: String,
        /// Their addresses; `-`: one in each line of stdin.
        #[arg(required = true)]
        members: Vec<String>,
    },
    /// Lets a member get no letters.
    Pause {
        /// The list.
        list: String,
        /// The member.
        member: String,
    },
    /// Lets a member get letters again that was paused, or suspended as letters came back.
    Resume {
        /// The list.
        list: String,
        /// The member.
        member: String,
    },
    /// Lists letters that wait for a word of an owner.
    Held {
        /// Only those of this list.
        list: Option<String>,
        #[command(flatten)]
        output: ListArgs,
    },
    /// Hands a letter out that waits.
    Approve {
        /// The list.
        list: String,
        /// The letter's id.
        letter: i64,
    },
    /// Drops a letter that waits.
    Discard {
        /// The list.
        list: String,
        /// The letter's id.
        letter: i64,
    },
}

/// What a list is like; what is not given stays.
#[derive(Args)]
pub(super) struct Options {
    /// Its name for people.
    #[arg(long)]
    title: Option<String>,
    /// Who may write to it.
    #[arg(long)]
    posting: Option<Posting>,
    /// What becomes of letters of others.
    #[arg(long)]
    others: Option<Others>,
    /// Whether people may join by themselves.
    #[arg(long)]
    joining: Option<Joining>,
    /// Words in brackets before each subject; "" for none.
    #[arg(long)]
    subject_tag: Option<String>,
    /// Whom answers go to.
    #[arg(long)]
    reply_to: Option<ReplyTo>,
    /// Whose name letters bear.
    #[arg(long)]
    from: Option<From>,
    /// The largest letter, in bytes.
    #[arg(long)]
    size: Option<u64>,
    /// Where its letters can be read; "" for nowhere.
    #[arg(long)]
    archive: Option<String>,
    /// Days with reports of failure after which a member is suspended.
    #[arg(long)]
    bounces: Option<u32>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Posting {
    Anyone,
    Members,
    Owners,
}

#[derive(Clone, Copy, ValueEnum)]
enum Others {
    /// Refused.
    Refuse,
    /// They wait for a word of an owner.
    Hold,
}

#[derive(Clone, Copy, ValueEnum)]
enum Joining {
    /// After a question to the address.
    Open,
    /// Only `list subscribe` does it.
    Closed,
}

#[derive(Clone, Copy, ValueEnum)]
enum ReplyTo {
    Author,
    List,
}

#[derive(Clone, Copy, ValueEnum)]
enum From {
    /// The author's, but where that would fail DMARC.
    Author,
    /// Always the list's.
    List,
}

impl Options {
    fn settings(self) -> ListSettings {
        let posting = self.posting.map(|posting| match posting {
            Posting::Anyone => "anyone",
            Posting::Members => "members",
            Posting::Owners => "owners",
        });
        ListSettings {
            title: self.title,
            posting: posting.map(str::to_owned),
            holds_others: self.others.map(|others| matches!(others, Others::Hold)),
            open: self.joining.map(|joining| matches!(joining, Joining::Open)),
            subject_tag: self.subject_tag,
            reply_to_list: self.reply_to.map(|to| matches!(to, ReplyTo::List)),
            rewrites_always: self.from.map(|from| matches!(from, From::List)),
            letter_bytes_max: self.size,
            archive: self.archive,
            bounces_max: self.bounces,
        }
    }
}

pub(super) fn run(operator: &Operator, command: ListCommand) -> Result<(), Exit> {
    match command {
        ListCommand::Add {
            list,
            owners,
            options,
        } => operator.act(Request::ListAdd {
            list,
            owners,
            settings: options.settings(),
        }),
        ListCommand::Set {
            list,
            add_owner,
            remove_owner,
            options,
        } => operator.act(Request::ListSet {
            list,
            add_owners: add_owner,
            remove_owners: remove_owner,
            settings: options.settings(),
        }),
        ListCommand::Show { list, output } => show(operator, list, &output),
        ListCommand::Remove { list } => operator.act(Request::ListRemove { list }),
        ListCommand::Members { list, output } => {
            let rows = operator.ask(Request::ListMembers { list })?.rows;
            let columns = ["member", "state", "joined_at", "bounces", "bounce"];
            table(&rows, &output, &columns)
        }
        ListCommand::Subscribe { list, members } => operator.act(Request::ListSubscribe {
            list,
            members: named(members)?,
        }),
        ListCommand::Unsubscribe { list, members } => operator.act(Request::ListUnsubscribe {
            list,
            members: named(members)?,
        }),
        ListCommand::Pause { list, member } => operator.act(Request::ListMember {
            list,
            member,
            paused: true,
        }),
        ListCommand::Resume { list, member } => operator.act(Request::ListMember {
            list,
            member,
            paused: false,
        }),
        ListCommand::Held { list, output } => {
            let rows = operator.ask(Request::ListHeld { list })?.rows;
            let columns = ["letter", "list", "author", "subject", "reason", "held_at"];
            table(&rows, &output, &columns)
        }
        ListCommand::Approve { list, letter } => decide(operator, list, letter, true),
        ListCommand::Discard { list, letter } => decide(operator, list, letter, false),
    }
}

fn decide(operator: &Operator, list: String, letter: i64, approve: bool) -> Result<(), Exit> {
    operator.act(Request::ListDecide {
        list,
        letter,
        approve,
    })
}

/// Addresses as given, or those on stdin.
fn named(members: Vec<String>) -> Result<Vec<String>, Exit> {
    if members != ["-"] {
        return Ok(members);
    }
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text)?;
    let lines = text.lines().map(str::trim);
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    Ok(lines.map(str::to_owned).collect())
}

fn show(operator: &Operator, list: Option<String>, args: &ListArgs) -> Result<(), Exit> {
    let one = list.is_some();
    let rows = operator.ask(Request::ListShow { list })?.rows;
    if !one || args.json {
        return table(
            &rows,
            args,
            &["list", "title", "posting", "members", "owners"],
        );
    }
    let mut output = Output::default();
    for row in &rows {
        for name in [
            "list",
            "title",
            "owners",
            "members",
            "active",
            "posting",
            "others",
            "joining",
            "subject_tag",
            "reply_to",
            "from",
            "archive",
            "bounces",
            "created_at",
        ] {
            output.line(&format!("{name:<12} {}", field(row, name)))?;
        }
        output.line(&format!("{:<12} {}", "size", bytes(row, "size")))?;
    }
    Ok(())
}

fn table(rows: &[Value], args: &ListArgs, columns: &[&str]) -> Result<(), Exit> {
    let mut output = Output::default();
    if args.json {
        return output.json(rows);
    }
    let cells: Vec<Vec<String>> = rows
        .iter()
        .map(|row| columns.iter().map(|name| field(row, name)).collect())
        .collect();
    output.table(columns, &cells)
}
