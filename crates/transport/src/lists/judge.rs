//! May this letter go to this list? Decided from what its header tells and who its author is.

use base::{AccountId, EmailAddress};
use mailauth::results::{AuthResults, FIELD_NAME};
use message::Fields;
use proto::smtp::Reply;
use store::{ListInfo, Posting, Store, StoreError};

use super::facts::Facts;
use super::head::list_id;
use crate::queue::failure::{Failure, Status};

/// What is to become of a letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Judgement {
    /// To the members.
    HandOut,
    /// An owner must say.
    Hold(String),
    /// No, and its sender may know.
    Refuse(No),
    /// No, and nobody is told: a program wrote it.
    Ignore(No),
}

/// Why not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum No {
    /// It has been on this list before (RFC 2919 §6).
    Loop,
    /// RFC 3834 §5, or Precedence.
    Automatic,
    /// It has no sender, so it is a report.
    Report,
    /// Nobody can be named as its author.
    Nobody,
    /// It is larger than the list takes, in bytes.
    TooLarge(u64),
    /// The author may not write to it.
    NotYou,
}

/// Who somebody is for a list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) has_sender: bool,
    pub(super) is_member: bool,
    pub(super) is_owner: bool,
    /// Whether the author is likely who the letter says.
    pub(super) believed: bool,
    /// Whether the author has an address in a domain of ours.
    pub(super) is_ours: bool,
}

impl No {
    fn words(&self) -> String {
        match self {
            Self::Loop => "the letter has been on this list before".to_owned(),
            Self::Automatic => "a program wrote the letter".to_owned(),
            Self::Report => "the letter is a report".to_owned(),
            Self::Nobody => "the letter has no author that can be read".to_owned(),
            Self::TooLarge(most) => format!("the list takes letters of at most {most} bytes"),
            Self::NotYou => "the list takes letters only from certain authors".to_owned(),
        }
    }

    /// What another server is told.
    pub(super) fn reply(&self) -> Reply {
        match self {
            Self::Loop => Reply::list_loop(),
            Self::Automatic | Self::Report | Self::Nobody | Self::NotYou => {
                Reply::closed_list(&self.words())
            }
            Self::TooLarge(_) => Reply::too_large_for_list(&self.words()),
        }
    }

    /// What stands in the report to the sender.
    pub(super) fn failure(&self) -> Failure {
        let status = match self {
            Self::Loop => Status(5, 4, 6),
            Self::Automatic | Self::Report | Self::Nobody | Self::NotYou => Status(5, 7, 2),
            // RFC 3463 §3.3: X.2.3.
            Self::TooLarge(_) => Status(5, 2, 3),
        };
        Failure::permanent(status, self.words())
    }

    pub(super) fn told(&self) -> String {
        format!("not handed out: {}", self.words())
    }
}

/// Decides.
pub(super) fn judge(list: &ListInfo, facts: &Facts, standing: &Standing) -> Judgement {
    let own = list_id(&list.address);
    if facts.list_ids.contains(&own) {
        return Judgement::Ignore(No::Loop);
    }
    if facts.automatic || facts.bulk {
        return Judgement::Ignore(No::Automatic);
    }
    if !standing.has_sender {
        return Judgement::Ignore(No::Report);
    }
    if facts.authors.is_empty() {
        return Judgement::Refuse(No::Nobody);
    }
    if facts.bytes > list.options.letter_bytes_max {
        return Judgement::Refuse(No::TooLarge(list.options.letter_bytes_max));
    }
    let of_the_list = standing.is_owner || standing.is_member;
    let may = match list.options.posting {
        // In our own name nobody speaks who has not proven it.
        Posting::Anyone => standing.believed || !standing.is_ours,
        Posting::Members => of_the_list && standing.believed,
        Posting::Owners => standing.is_owner && standing.believed,
    };
    match (may, list.options.holds_others) {
        (true, _) => Judgement::HandOut,
        (false, true) => Judgement::Hold(match list.options.posting {
            Posting::Owners => "its author is no owner".to_owned(),
            Posting::Anyone => "its author could be somebody else".to_owned(),
            Posting::Members if of_the_list => "its author could be somebody else".to_owned(),
            Posting::Members => "its author is no member".to_owned(),
        }),
        (false, false) => Judgement::Refuse(No::NotYou),
    }
}

/// Finds out who wrote a letter: `account` and `sender` are who handed it in, `head` holds what was
/// found when it came from outside. There only the author counts about whom something was found, and
/// the sender where that is proven and not one of ours, who would have logged in.
pub(super) async fn standing(
    store: &Store,
    list: &ListInfo,
    facts: &Facts,
    (account, sender): (Option<AccountId>, Option<&EmailAddress>),
    head: &[u8],
) -> Result<Standing, StoreError> {
    let mut standing = Standing {
        has_sender: sender.is_some(),
        ..Standing::default()
    };
    let owners: Vec<String> = list.owners.iter().map(EmailAddress::key).collect();
    let mut counted: Vec<&EmailAddress> = facts.authors.iter().collect();
    for author in &facts.authors {
        standing.is_ours |= store.is_ours(&author.domain).await?;
    }
    if account.is_some() {
        standing.believed = true;
        counted.extend(sender);
    } else {
        counted.truncate(1);
        standing.believed = !facts.has_several_authors
            && !counted.is_empty()
            && is_believed(head, standing.is_ours);
        if let Some(sender) = sender
            && is_proven(head, sender)
            && !store.is_ours(&sender.domain).await?
        {
            counted.push(sender);
        }
    }
    for one in counted {
        standing.is_owner |= owners.contains(&one.key());
        let member = store.list_member(&list.address, one).await?;
        standing.is_member |= member.is_some();
    }
    Ok(standing)
}

/// Whether SPF has proven the sender (RFC 7208 §8.3, RFC 8601 §2.7.2).
fn is_proven(head: &[u8], sender: &EmailAddress) -> bool {
    let field = Fields::new(head).find(FIELD_NAME);
    let results = field.and_then(|field| AuthResults::parse(field.value));
    let sender = sender.to_string();
    results.is_some_and(|results| {
        results.results.iter().any(|result| {
            let mailfrom = result.property("smtp", "mailfrom");
            result.method == "spf"
                && result.result == "pass"
                && mailfrom.is_some_and(|mailfrom| mailfrom.eq_ignore_ascii_case(&sender))
        })
    })
}

/// Users of ours log in; others pass DMARC, or have a domain that says nothing about it. What came
/// from a trusted peer was not checked, and is believed.
fn is_believed(head: &[u8], is_ours: bool) -> bool {
    let Some(field) = Fields::new(head).find(FIELD_NAME) else {
        return true;
    };
    let results = AuthResults::parse(field.value);
    let dmarc = results.and_then(|results| {
        let mut results = results.results.into_iter();
        results.find(|result| result.method == "dmarc")
    });
    match dmarc.as_ref().map(|dmarc| dmarc.result.as_str()) {
        Some("pass") => true,
        Some("none") | None => !is_ours,
        Some(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use store::ListOptions;

    use super::*;

    fn list(posting: Posting, holds_others: bool) -> ListInfo {
        ListInfo {
            address: EmailAddress::parse("dev@red.test").unwrap(),
            options: ListOptions {
                posting,
                holds_others,
                letter_bytes_max: 200,
                ..ListOptions::default()
            },
            owners: Vec::new(),
            members: 0,
            active: 0,
            created_at: base::Timestamp(0),
        }
    }

    const MEMBER: Standing = Standing {
        has_sender: true,
        is_member: true,
        is_owner: false,
        believed: true,
        is_ours: false,
    };

    #[expect(
        clippy::needless_pass_by_value,
        reason = "so that a row names what it expects"
    )]
    fn check(letter: &str, list: &ListInfo, standing: &Standing, expected: Judgement) {
        let facts = Facts::read(letter.as_bytes());
        assert_eq!(judge(list, &facts, standing), expected, "{letter}");
    }

    #[test]
    fn who_may_write() {
        let letter = "From: a@x.test\r\n\r\n";
        let stranger = Standing {
            is_member: false,
            ..MEMBER
        };
        let owner = Standing {
            is_owner: true,
            ..stranger
        };
        let forged = Standing {
            believed: false,
            ..MEMBER
        };
        let in_our_name = Standing {
            believed: false,
            is_ours: true,
            ..stranger
        };
        let hold = |why: &str| Judgement::Hold(why.to_owned());
        let refuse = || Judgement::Refuse(No::NotYou);
        for (posting, holds, standing, expected) in [
            (Posting::Anyone, false, stranger, Judgement::HandOut),
            (Posting::Anyone, false, in_our_name, refuse()),
            (
                Posting::Anyone,
                true,
                in_our_name,
                hold("its author could be somebody else"),
            ),
            (Posting::Members, false, MEMBER, Judgement::HandOut),
            (Posting::Members, false, owner, Judgement::HandOut),
            (Posting::Members, false, stranger, refuse()),
            (
                Posting::Members,
                true,
                stranger,
                hold("its author is no member"),
            ),
            (Posting::Members, false, forged, refuse()),
            (
                Posting::Members,
                true,
                forged,
                hold("its author could be somebody else"),
            ),
            (
                Posting::Owners,
                true,
                MEMBER,
                hold("its author is no owner"),
            ),
            (Posting::Owners, false, owner, Judgement::HandOut),
        ] {
            check(letter, &list(posting, holds), &standing, expected);
        }
    }

    #[test]
    fn what_goes_round_in_circles_or_is_no_letter() {
        let list = list(Posting::Anyone, true);
        let ignore = |fields: &str, why| {
            let letter = format!("From: a@x.test\r\n{fields}\r\n\r\n");
            check(&letter, &list, &MEMBER, Judgement::Ignore(why));
        };
        ignore("List-Id: Dev <DEV.red.test>", No::Loop);
        ignore("Auto-Submitted: auto-replied (vacation)", No::Automatic);
        ignore("Precedence: bulk", No::Automatic);
        let plain = "From: a@x.test\r\nAuto-Submitted: no\r\nList-Id: <other.x.test>\r\n\r\n";
        check(plain, &list, &MEMBER, Judgement::HandOut);
        let report = Standing {
            has_sender: false,
            ..MEMBER
        };
        check(plain, &list, &report, Judgement::Ignore(No::Report));
        let nobody = Judgement::Refuse(No::Nobody);
        check("Subject: x\r\n\r\n", &list, &MEMBER, nobody);
        let start = "From: a@x.test\r\n\r\n";
        let at_limit = format!("{start}{}", "x".repeat(200 - start.len()));
        check(&at_limit, &list, &MEMBER, Judgement::HandOut);
        let above = format!("{at_limit}x");
        check(&above, &list, &MEMBER, Judgement::Refuse(No::TooLarge(200)));
    }

    #[test]
    fn whose_sender_is_proven() {
        let sender = EmailAddress::parse("a@x.test").unwrap();
        for (results, expected) in [
            ("spf=pass smtp.mailfrom=A@x.test", true),
            ("spf=pass smtp.helo=x.test", false),
            ("spf=pass smtp.mailfrom=b@x.test", false),
            ("spf=softfail smtp.mailfrom=a@x.test", false),
        ] {
            let head = format!("Authentication-Results: mx.red.test; {results}\r\n");
            assert_eq!(is_proven(head.as_bytes(), &sender), expected, "{results}");
        }
        assert!(!is_proven(b"Received: x\r\n", &sender));
    }

    #[test]
    fn who_is_believed() {
        let head = |dmarc: &str| format!("Authentication-Results: mx.red.test; dmarc={dmarc}\r\n");
        assert!(is_believed(b"Received: x\r\n", true));
        assert!(is_believed(head("pass").as_bytes(), true));
        assert!(!is_believed(head("fail").as_bytes(), false));
        assert!(is_believed(head("none").as_bytes(), false));
        assert!(!is_believed(head("none").as_bytes(), true));
    }
}
