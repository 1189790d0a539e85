//! LIST and LSUB (RFC 9051 §6.3.9, RFC 3501 §6.3.9) with selection and return options, special
//! uses (RFC 6154) and STATUS (RFC 5819).

use std::collections::BTreeSet;

use proto::imap::Writer;
use proto::imap::list::{List, Pattern, SpecialUse};
use store::{MailboxInfo, Role};

use super::reply::Failure;
use super::session::{Done, Session};
use super::status::write_status;

impl Session {
    pub(super) async fn list(&mut self, list: &List) -> Result<Done, Failure> {
        let account = self.account()?;
        if let [pattern] = list.patterns.as_slice()
            && pattern.is_empty()
        {
            // RFC 9051 §6.3.9: an empty pattern asks for the separator.
            let writer = &mut self.connection.writer;
            writer.raw("* LIST (\\Noselect) \"/\" \"\"\r\n");
            return Ok(Done::new("LIST is done"));
        }
        let mailboxes = self.context.options.store.mailboxes(account).await?;
        let patterns = patterns(list);
        let parents = parents(mailboxes.iter());
        let wanted = mailboxes.iter().filter(|info| is_selected(list, info));
        let parents_of_wanted = match list.select.recursive_match {
            true => self::parents(wanted),
            false => BTreeSet::new(),
        };
        for info in &mailboxes {
            if !patterns.iter().any(|pattern| pattern.matches(&info.name)) {
                continue;
            }
            let attributes = Attributes::of(&parents, info);
            let is_wanted = is_selected(list, info);
            let child_info = parents_of_wanted.contains(info.name.as_str());
            if !is_wanted && !child_info {
                continue;
            }
            let writer = &mut self.connection.writer;
            write_entry(writer, list, info, &attributes, child_info);
            if is_wanted && !list.returns.status.is_empty() {
                write_status(writer, info, &list.returns.status);
            }
            self.connection.flush_if_large().await?;
        }
        Ok(Done::new("LIST is done"))
    }

    pub(super) async fn lsub(&mut self, list: &List) -> Result<Done, Failure> {
        let account = self.account()?;
        let mailboxes = self.context.options.store.mailboxes(account).await?;
        let patterns = patterns(list);
        let matches = |name: &str| patterns.iter().any(|pattern| pattern.matches(name));
        let writer = &mut self.connection.writer;
        let mut told = BTreeSet::new();
        let subscribed: Vec<&MailboxInfo> =
            mailboxes.iter().filter(|info| info.subscribed).collect();
        for info in &subscribed {
            if matches(&info.name) {
                told.insert(info.name.as_str());
                write_list(writer, "LSUB", &[], &info.name);
            }
        }
        // RFC 3501 §6.3.9: with `%`, a level above a subscribed name that is hidden by the pattern
        // is told as \Noselect.
        for info in &subscribed {
            for (at, _) in info.name.match_indices('/') {
                let parent = &info.name[..at];
                if !matches(&info.name) && matches(parent) && told.insert(parent) {
                    write_list(writer, "LSUB", &["\\Noselect"], parent);
                }
            }
        }
        Ok(Done::new("LSUB is done"))
    }
}

/// The patterns with the reference before them: names here are one tree, so the two are joined.
fn patterns(list: &List) -> Vec<Pattern> {
    let join = |pattern: &Pattern| Pattern::new(&format!("{}{}", list.reference, pattern.as_str()));
    list.patterns.iter().map(join).collect()
}

fn is_selected(list: &List, info: &MailboxInfo) -> bool {
    let has_use = info.role.and_then(special_use).is_some();
    (!list.select.subscribed || info.subscribed) && (!list.select.special_use || has_use)
}

/// The names that stand above these mailboxes, on every level.
pub(super) fn parents<'a>(mailboxes: impl Iterator<Item = &'a MailboxInfo>) -> BTreeSet<&'a str> {
    let above = |info: &'a MailboxInfo| {
        let separators = info.name.match_indices('/');
        separators.map(|(at, _)| &info.name[..at])
    };
    mailboxes.flat_map(above).collect()
}

/// What LIST may say of a mailbox.
pub(super) struct Attributes {
    children: &'static str,
    special_use: Option<&'static str>,
    is_subscribed: bool,
}

impl Attributes {
    pub(super) fn of(parents: &BTreeSet<&str>, info: &MailboxInfo) -> Self {
        Self {
            children: if parents.contains(info.name.as_str()) {
                "\\HasChildren"
            } else {
                "\\HasNoChildren"
            },
            special_use: info.role.and_then(special_use).map(SpecialUse::name),
            is_subscribed: info.subscribed,
        }
    }

    /// All that is known, as SELECT tells it.
    pub(super) fn all(&self) -> Vec<&'static str> {
        let subscribed = self.is_subscribed.then_some("\\Subscribed");
        let names = [Some(self.children), self.special_use, subscribed];
        names.into_iter().flatten().collect()
    }
}

fn write_entry(
    writer: &mut Writer,
    list: &List,
    info: &MailboxInfo,
    attributes: &Attributes,
    child_info: bool,
) {
    // RFC 9051 §6.3.9.1: selecting the subscribed ones tells that they are. Children and special
    // uses are always told: every client can use them.
    let tells_subscribed = list.returns.subscribed || list.select.subscribed;
    let mut names = attributes.all();
    names.retain(|name| tells_subscribed || *name != "\\Subscribed");
    if !child_info {
        write_list(writer, "LIST", &names, &info.name);
        return;
    }
    writer.raw("* LIST ");
    writer.list(names);
    writer.raw(" \"/\" ");
    writer.mailbox(&info.name);
    writer.raw(" (CHILDINFO ");
    let options = [
        list.select.subscribed.then_some("\"SUBSCRIBED\""),
        list.select.special_use.then_some("\"SPECIAL-USE\""),
    ];
    writer.list(options.into_iter().flatten());
    writer.raw(")");
    writer.end();
}

/// `* LIST (…) "/" name`.
pub(super) fn write_list(writer: &mut Writer, response: &str, attributes: &[&str], name: &str) {
    writer.raw("* ");
    writer.raw(response);
    writer.raw(" ");
    writer.list(attributes);
    writer.raw(" \"/\" ");
    writer.mailbox(name);
    writer.end();
}

/// The special use that a role is told as; INBOX has none.
pub(super) fn special_use(role: Role) -> Option<SpecialUse> {
    match role {
        Role::Inbox => None,
        Role::Drafts => Some(SpecialUse::Drafts),
        Role::Sent => Some(SpecialUse::Sent),
        Role::Archive => Some(SpecialUse::Archive),
        Role::Junk => Some(SpecialUse::Junk),
        Role::Trash => Some(SpecialUse::Trash),
    }
}
