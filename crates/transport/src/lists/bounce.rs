//! A letter to a member that came back to the list (VERP): read as a report of RFC 3464, or guessed from
//! a plain one, and counted.

use bytes::Bytes;
use message::{Fields, Message, Part};
use store::{Bounced, Claim, Letter, ListInfo, ListMember, ListPart, StoreError, TagUse};

use super::facts::Facts;
use super::head::{id_field, part};
use super::own::Own;
use super::{Context, Fate, Taken};

/// Bytes of a report's part that are read.
const STATUS_BYTES_MAX: usize = 64 * 1024;

/// What a letter to the list's address for reports says.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Said {
    /// The member was not reached; in the other server's words.
    Failed(String),
    /// Anything else: late, arrived, on holiday.
    Nothing,
}

pub(super) async fn came_back(
    context: &Context<'_>,
    claim: &Claim,
    list: &ListInfo,
    tag: &str,
    letter: &Letter,
) -> Result<Taken, StoreError> {
    let tags = context.store.list_tags().await?;
    let words = match read(letter.bytes(), claim.reverse_path.is_none()) {
        Said::Failed(words) => words,
        Said::Nothing => return Ok(Fate::Done("no report of failure".to_owned()).into()),
    };
    if let Some(id) = tags.read(TagUse::Probe, &list.address, tag) {
        let was_open = context.store.probe_came_back(&list.address, id).await?;
        let told = if was_open {
            "the probe came back: the member stays suspended"
        } else {
            "a probe came back too late"
        };
        return Ok(Fate::Done(told.to_owned()).into());
    }
    let Some(id) = tags.read(TagUse::Bounce, &list.address, tag) else {
        return Ok(Fate::Done("nothing done: not a tag of this list".to_owned()).into());
    };
    let Some(member) = context.store.list_member_by_id(&list.address, id).await? else {
        return Ok(Fate::Done("the member has left".to_owned()).into());
    };
    let counted = context
        .store
        .count_bounce(&list.address, id, &words)
        .await?;
    let who = &member.address;
    Ok(match counted {
        Bounced::Ignored => Fate::Done(format!("not counted for {who}")).into(),
        Bounced::Counted(count) => Fate::Done(format!("counted for {who}: {count}")).into(),
        Bounced::Suspended => Taken {
            fate: Fate::Done(format!("{who} is suspended: {words}")),
            letters: vec![probe(context, list, &member).await?],
        },
    })
}

/// The letter that asks whether a suspended member can be reached.
async fn probe(
    context: &Context<'_>,
    list: &ListInfo,
    member: &ListMember,
) -> Result<store::Submission, StoreError> {
    let tags = context.store.list_tags().await?;
    let tag = tags.make(TagUse::Probe, &list.address, member.id);
    let text = format!(
        "Letters of the mailing list {} to you came back, so that you get none for now.\n\n\
         If this one reaches you, you need do nothing: in a week you get letters again.\n\
         What the other server said last is known to the owners:\n{}\n",
        list.address,
        part(&list.address, ListPart::Owner, "")
    );
    let letter = Own {
        list,
        to: &member.address,
        subject: format!("Can you be reached? ({})", list.address),
        text,
        reply_to: None,
        reverse_path: Some(part(&list.address, ListPart::Bounces, &tag)),
        head: Bytes::from(id_field(list)),
        answers: false,
    };
    letter.submission(context).await
}

/// Reads a report. Without the parts of RFC 3464 a letter without a sender that no holiday wrote, or one of
/// a mail system by name, is a failure.
fn read(letter: &[u8], has_no_sender: bool) -> Said {
    let message = Message::parse(letter);
    let leaves = message.leaves();
    let status = |part: &&&Part| {
        part.content_type == "message"
            && matches!(
                part.subtype.as_str(),
                "delivery-status" | "global-delivery-status"
            )
    };
    if let Some(part) = leaves.iter().find(status) {
        let bytes = message.decoded(part);
        let text = String::from_utf8_lossy(&bytes[..bytes.len().min(STATUS_BYTES_MAX)]);
        return from_status(&text);
    }
    let facts = Facts::read(letter);
    let is_reply = Fields::new(letter)
        .find("Auto-Submitted")
        .is_some_and(|field| {
            let text = field.raw_text().trim().to_ascii_lowercase();
            text.starts_with("auto-replied")
        });
    let system = facts.authors.iter().any(|author| {
        let local = author.local.as_str();
        local.eq_ignore_ascii_case("mailer-daemon") || local.eq_ignore_ascii_case("postmaster")
    });
    if system || (has_no_sender && !is_reply) {
        return Said::Failed(format!("a plain report: {}", facts.subject));
    }
    Said::Nothing
}

/// RFC 3464 §2.1: groups of fields, the first about the whole letter.
fn from_status(text: &str) -> Said {
    let text = text.replace("\r\n", "\n");
    for group in text.split("\n\n") {
        let field = |name: &str| {
            let found = Fields::new(group.as_bytes()).find(name);
            found.map(|field| field.raw_text().trim().to_owned())
        };
        let action = field("Action").unwrap_or_default();
        if action.eq_ignore_ascii_case("failed") {
            let status = field("Status").unwrap_or_default();
            let words = field("Diagnostic-Code").unwrap_or_default();
            return Said::Failed(format!("{status} {words}").trim().to_owned());
        }
    }
    Said::Nothing
}

#[cfg(test)]
mod unit {
    use super::*;

    fn report(action: &str) -> String {
        format!(
            "From: MAILER-DAEMON@x.test\r\nSubject: x\r\nMIME-Version: 1.0\r\n\
             Content-Type: multipart/report; report-type=delivery-status; boundary=b\r\n\r\n\
             --b\r\n\r\nSorry.\r\n--b\r\nContent-Type: message/delivery-status\r\n\r\n\
             Reporting-MTA: dns; x.test\r\n\r\nFinal-Recipient: rfc822; a@x.test\r\n\
             Action: {action}\r\nStatus: 5.1.1\r\nDiagnostic-Code: smtp; 550 5.1.1 no\r\n\
             \x20such user\r\n\r\n--b--\r\n"
        )
    }

    #[test]
    fn reports_and_what_is_none() {
        let failed = Said::Failed("5.1.1 smtp; 550 5.1.1 no such user".to_owned());
        assert_eq!(read(report("failed").as_bytes(), true), failed);
        for other in ["delayed", "delivered", "relayed"] {
            assert_eq!(read(report(other).as_bytes(), true), Said::Nothing);
        }
        let plain = "From: system@x.test\r\nSubject: undeliverable\r\n\r\nsorry\r\n";
        let guessed = Said::Failed("a plain report: undeliverable".to_owned());
        assert_eq!(read(plain.as_bytes(), true), guessed);
        assert_eq!(read(plain.as_bytes(), false), Said::Nothing);
        let named = plain.replace("system", "Mailer-Daemon");
        assert_eq!(read(named.as_bytes(), false), guessed);
        let holiday = format!("Auto-Submitted: auto-replied\r\n{plain}");
        assert_eq!(read(holiday.as_bytes(), true), Said::Nothing);
    }
}
