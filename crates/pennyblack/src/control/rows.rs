//! The rows of lists: what `--json` prints, and what tables for people are made from. The field
//! names stay.

use base::{Domain, Timestamp};
use serde_json::{Value, json};
use store::{
    AccountInfo, AliasInfo, DkimAlgorithm, DkimKeyInfo, DkimState, DomainInfo, GroupInfo,
    HeldLetter, JourneyEvent, ListInfo, ListMember, MailboxInfo, MemberState, Posting, QueueEntry,
    QueueRecipientState, RecipientEntry, RemovedMessage, Senders, Step, Suppression,
};

/// A domain, with what its catch-all among these aliases leads to.
#[must_use]
pub fn domain(info: &DomainInfo, aliases: &[AliasInfo]) -> Value {
    let catches = |alias: &&AliasInfo| {
        alias.address.domain == info.domain && alias.address.local.as_str() == "*"
    };
    let catch_all = aliases.iter().find(catches);
    let targets = catch_all.map_or(&[][..], |alias| &alias.targets);
    let targets: Vec<String> = targets.iter().map(ToString::to_string).collect();
    json!({
        "domain": info.domain.to_string(),
        "created_at": time(info.created_at),
        "author_check": super::senders::check_word(info.author_check),
        "catch_all": targets,
    })
}

/// A group.
#[must_use]
pub fn group(info: &GroupInfo) -> Value {
    let members: Vec<String> = info.members.iter().map(ToString::to_string).collect();
    json!({
        "group": info.address.to_string(),
        "members": members,
        "senders": match info.senders {
            Senders::Anyone => "anyone",
            Senders::Members => "members",
            Senders::Domain => "domain",
        },
    })
}

/// A key that signs as a domain; never its secret.
#[must_use]
pub fn dkim_key(key: &DkimKeyInfo) -> Value {
    let (state, since) = match key.state {
        DkimState::Announced => ("announced", key.created_at),
        DkimState::Active(at) => ("active", at),
        DkimState::Retired(at) => ("retired", at),
    };
    json!({
        "domain": key.domain.to_string(),
        "selector": key.selector,
        "algorithm": match key.algorithm {
            DkimAlgorithm::Rsa => "rsa",
            DkimAlgorithm::Ed25519 => "ed25519",
        },
        "state": state,
        "since": time(since),
        "created_at": time(key.created_at),
        "name": transport::sign::record_name(key),
        "record": key.record,
    })
}

/// An account.
#[must_use]
pub fn account(info: &AccountInfo) -> Value {
    json!({
        "address": info.address.to_string(),
        "name": info.name,
        "enabled": info.enabled,
        "admin": info.admin,
        "messages": info.messages,
        "used_bytes": info.used_bytes,
        "quota_bytes": info.quota_bytes,
        "quota_messages": info.quota_messages,
        "removed_messages": info.removed_messages,
        "removed_bytes": info.removed_bytes,
        "delete_at": info.delete_at.map(time),
    })
}

/// A mailbox, by what it takes.
#[must_use]
pub fn mailbox(info: &MailboxInfo) -> Value {
    json!({
        "mailbox": info.name,
        "messages": info.status.messages,
        "unseen": info.status.unseen,
        "size": info.status.size,
    })
}

/// A deleted message that can be recovered.
#[must_use]
pub fn removed(message: &RemovedMessage) -> Value {
    json!({
        "message": message.message.0,
        "removed_at": time(message.removed_at),
        "removed_ms": message.removed_at.millis(),
        "mailbox": message.mailbox_name,
        "received_at": time(message.received_at),
        "size": message.size,
        "from": message.from,
        "subject": message.subject,
    })
}

/// An alias.
#[must_use]
pub fn alias(info: &AliasInfo) -> Value {
    let targets: Vec<String> = info.targets.iter().map(ToString::to_string).collect();
    json!({ "alias": info.address.to_string(), "targets": targets })
}

/// A mailing list.
#[must_use]
pub fn list(info: &ListInfo) -> Value {
    let owners: Vec<String> = info.owners.iter().map(ToString::to_string).collect();
    let options = &info.options;
    let either = |first: bool, one: &'static str, other| if first { one } else { other };
    json!({
        "list": info.address.to_string(),
        "title": options.title,
        "owners": owners,
        "members": info.members,
        "active": info.active,
        "posting": match options.posting {
            Posting::Anyone => "anyone",
            Posting::Members => "members",
            Posting::Owners => "owners",
        },
        "others": either(options.holds_others, "hold", "refuse"),
        "joining": either(options.open, "open", "closed"),
        "subject_tag": options.subject_tag,
        "reply_to": either(options.reply_to_list, "list", "author"),
        "from": either(options.rewrites_always, "list", "author"),
        "size": options.letter_bytes_max,
        "archive": options.archive,
        "bounces": options.bounces_max,
        "created_at": time(info.created_at),
    })
}

/// A member of a mailing list.
#[must_use]
pub fn list_member(member: &ListMember) -> Value {
    json!({
        "member": member.address.to_string(),
        "state": match member.state {
            MemberState::Active => "active",
            MemberState::Probed => "probed",
            MemberState::Suspended => "suspended",
            MemberState::Paused => "paused",
        },
        "joined_at": time(member.joined_at),
        "bounces": member.bounces,
        "bounced_at": member.bounced_at.map(time),
        "bounce": member.bounce,
    })
}

/// A letter that waits for a word of an owner.
#[must_use]
pub fn held_letter(held: &HeldLetter) -> Value {
    json!({
        "letter": held.letter.0,
        "list": held.list.to_string(),
        "author": held.author,
        "subject": held.subject,
        "reason": held.reason,
        "held_at": time(held.held_at),
    })
}

/// A queued letter.
#[must_use]
pub fn queued(entry: &QueueEntry) -> Value {
    let recipients: Vec<Value> = entry.recipients.iter().map(recipient).collect();
    json!({
        "letter": entry.letter.0,
        "from": entry.reverse_path.as_ref().map_or_else(String::new, ToString::to_string),
        "size": entry.size,
        "received_at": time(entry.received_at),
        "expires_at": time(entry.expires_at),
        "recipients": recipients,
    })
}

fn recipient(entry: &RecipientEntry) -> Value {
    json!({
        "address": entry.address.to_string(),
        "state": match entry.state {
            QueueRecipientState::Waiting => "waiting",
            QueueRecipientState::Claimed => "claimed",
            QueueRecipientState::Held => "held",
        },
        "attempts": entry.attempts,
        "next_at": time(entry.next_at),
        "reason": entry.reason,
        "class": entry.last.class,
        "reply": entry.last.reply,
        "host": entry.last.host,
        "tls": entry.last.tls,
        "tried_at": entry.tried_at.map(time),
    })
}

/// An address elsewhere that is not tried.
#[must_use]
pub fn suppression(row: &Suppression) -> Value {
    json!({
        "address": row.address.to_string(),
        "senders": row.sender_domain.as_ref().map_or("all", Domain::as_str),
        "manual": row.manual,
        "failures": row.failures,
        "status": row.status,
        "reason": row.reason,
        "last_at": time(row.last_at),
        "since": time(row.since),
        "until": row.until.map(time),
    })
}

/// A step of a journey.
#[must_use]
pub fn step(event: &JourneyEvent) -> Value {
    json!({
        "letter": event.letter.0,
        "at": time(event.note.at),
        "step": step_word(event.note.step),
        "recipient": event.note.recipient.as_ref().map(ToString::to_string),
        "detail": event.note.detail,
    })
}

/// The word for a step.
#[must_use]
pub const fn step_word(step: Step) -> &'static str {
    match step {
        Step::Submitted => "submitted",
        Step::Received => "received",
        Step::Checked => "checked",
        Step::Stored => "stored",
        Step::Routed => "routed",
        Step::Connected => "connected",
        Step::Transferred => "transferred",
        Step::Deferred => "deferred",
        Step::Failed => "failed",
        Step::Reported => "reported",
        Step::Forwarded => "forwarded",
        Step::Operated => "operated",
    }
}

fn time(at: Timestamp) -> String {
    at.to_string()
}
