//! What a failure means for a person, and what can be done about it: from the status code (RFC
//! 3463, RFC 5248, RFC 7372, RFC 8689), as the words of servers come in all languages; those are looked at
//! only where the status says nothing. What was waited for in vain is told by its class.

use super::{Item, Why};
use crate::queue::class::FailureClass;

/// A failure in plain words.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Words {
    /// What happened.
    pub(super) meaning: &'static str,
    /// What the sender can do.
    pub(super) next: &'static str,
}

const fn words(meaning: &'static str, next: &'static str) -> Words {
    Words { meaning, next }
}

const ASK: &str =
    "Ask the recipient in another way, by telephone for example, for an address that works.";
const SPELLING: &str =
    "Look at the address letter by letter. If it is right, ask the recipient for the new one.";
const LATER: &str = "Send the letter again later. If that fails too, tell your own administrator.";
const ADMIN: &str = "Pass this report on to your own administrator.";

/// The words for a recipient that was given up.
pub(super) fn of_failure(item: &Item) -> Words {
    match item.why {
        Why::Suppressed => words(
            "Letters to this address have failed again and again, so it was not tried this time.",
            "Look at the address letter by letter, or ask the recipient for the right one. If it is \
             right and works again, your own administrator can let letters through as said below.",
        ),
        Why::Waited(class) => words(waited(class), after_waiting(class)),
        Why::Status => of_reply(&item.status, item.diagnostic.as_deref().unwrap_or_default()),
    }
}

/// The words for a recipient that is tried again.
pub(super) fn of_delay(item: &Item) -> &'static str {
    match item.why {
        Why::Waited(class) => waits(class),
        Why::Status | Why::Suppressed => of_status(&item.status).meaning,
    }
}

/// What a server means by a status that many use for everything, if its words tell.
fn of_reply(status: &str, reply: &str) -> Words {
    let vague = ["5.0.0", "5.7.0", "5.7.1", "5.1.0", "5.4.0", "5.6.0"];
    if !vague.contains(&status) {
        return of_status(status);
    }
    let said = reply.to_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| said.contains(word));
    if says(BLOCKED) {
        BLOCKED_WORDS
    } else if says(SPAM) {
        SPAM_WORDS
    } else {
        of_status(status)
    }
}

/// Words of servers that refuse all mail of a sending server.
const BLOCKED: &[&str] = &[
    "blocklist",
    "block list",
    "blacklist",
    "denylist",
    "blocked using",
    "spamhaus",
    "barracuda",
    "spamcop",
    "reputation",
    "listed at",
    "listed in",
];

/// Words of servers that refuse one letter as unwanted.
const SPAM: &[&str] = &[
    "spam",
    "unsolicited",
    "junk",
    "bulk mail",
    "virus",
    "malware",
    "phish",
];

const BLOCKED_WORDS: Words = words(
    "The other server takes no mail from your mail server: its address is on a list of senders of \
     unwanted mail.",
    "It is not about your letter. Pass this report on to your own administrator, who can have the \
     server taken off the list.",
);

const SPAM_WORDS: Words = words(
    "The other server takes the letter for unwanted or dangerous mail.",
    "Send it again as a plain text without links and attachments; or reach the recipient in another \
     way, who can tell their administrator that your letters are wanted.",
);

/// Why a recipient was not reached in all the time, by the last reason.
fn waited(class: FailureClass) -> &'static str {
    match class {
        FailureClass::Unreachable => {
            "The other server could not be reached in all the time that it was tried."
        }
        FailureClass::Dns => {
            "No answer could be had about where mail for the part behind the @ goes, in all the time \
             that it was asked for."
        }
        FailureClass::Greylisted | FailureClass::Refused => {
            "The other server said \"not now\" in all the time that it was tried."
        }
        FailureClass::RateLimited => {
            "The other server took no more letters from your mail server in all the time that it was \
             tried."
        }
        FailureClass::MailboxFull => "The mailbox was full in all the time that it was tried.",
        FailureClass::Policy => {
            "The rules of the other server did not let the letter in, in all the time that it was \
             tried."
        }
        FailureClass::Unsafe => {
            "No connection to the other server was as safe as it has to be, in all the time that it \
             was tried."
        }
        FailureClass::Interrupted => {
            "Each connection to the other server was lost before it had taken the letter."
        }
        FailureClass::Ours => "Your own mail server had a fault in all the time that it tried.",
    }
}

/// What can be done then.
fn after_waiting(class: FailureClass) -> &'static str {
    match class {
        FailureClass::Dns => {
            "Look at the part of the address behind the @ letter by letter. If it is right, send the \
             letter again later, or reach the recipient in another way."
        }
        FailureClass::MailboxFull => {
            "Tell the recipient in another way, and send the letter again later."
        }
        FailureClass::RateLimited | FailureClass::Policy | FailureClass::Ours => ADMIN,
        FailureClass::Unsafe => {
            "Reach the recipient in another way, and tell your own administrator: the certificate or \
             the policy of the other domain is wrong."
        }
        FailureClass::Unreachable
        | FailureClass::Greylisted
        | FailureClass::Interrupted
        | FailureClass::Refused => {
            "If it is still of use, send it again; or reach the recipient in another way."
        }
    }
}

/// Why a recipient waits.
fn waits(class: FailureClass) -> &'static str {
    match class {
        FailureClass::Unreachable => "The other server could not be reached.",
        FailureClass::Dns => "No answer could be had about where mail for the domain goes.",
        FailureClass::Greylisted => {
            "The other server wants to see the letter once more, as some do with senders that they do \
             not know yet."
        }
        FailureClass::RateLimited => {
            "The other server takes no more letters from your mail server for a while."
        }
        FailureClass::MailboxFull => "The mailbox is full.",
        FailureClass::Policy => "The rules of the other server do not let the letter in now.",
        FailureClass::Unsafe => {
            "No connection to the other server was as safe as it has to be for this letter."
        }
        FailureClass::Interrupted => {
            "The connection to the other server was lost before it had taken the letter."
        }
        FailureClass::Refused => "The other server said \"not now\".",
        FailureClass::Ours => "Your own mail server had a fault.",
    }
}

/// The words for a status `5.subject.detail`; the class does not matter.
pub(super) fn of_status(status: &str) -> Words {
    let mut parts = status
        .split('.')
        .skip(1)
        .map(|part| part.parse().unwrap_or(0));
    let (subject, detail): (u16, u16) = (parts.next().unwrap_or(0), parts.next().unwrap_or(0));
    match subject {
        1 => address(detail),
        2 => mailbox(detail),
        3 => system(detail),
        4 => network(detail),
        6 => content(detail),
        7 => security(detail),
        _ => words("The other server refused the letter.", ADMIN),
    }
}

/// RFC 3463 §3.2.
fn address(detail: u16) -> Words {
    match detail {
        2 | 4 => words(
            "The part of the address behind the @ is not known, or leads to no mail server.",
            "Look at the part behind the @ letter by letter.",
        ),
        3 => words(
            "The other server cannot read the address.",
            "Look at the address letter by letter; it may hold a space or a comma too many.",
        ),
        6 => words("The recipient has moved, without a new address.", ASK),
        7 | 8 => words(
            "The other server does not accept your own address as the sender.",
            ADMIN,
        ),
        10 => words("The domain behind the @ takes no mail at all.", ASK),
        _ => words("There is no mailbox with this address.", SPELLING),
    }
}

/// RFC 3463 §3.3.
fn mailbox(detail: u16) -> Words {
    match detail {
        1 => words("The mailbox is closed or takes no mail now.", ASK),
        2 => words(
            "The mailbox is full.",
            "Tell the recipient in another way, and send the letter again later.",
        ),
        3 => TOO_LARGE,
        4 => words(
            "The address is a list, and one of its members could not be reached.",
            "Tell the owner of the list.",
        ),
        _ => words("The mailbox could not take the letter.", ASK),
    }
}

const TOO_LARGE: Words = words(
    "The letter is larger than the other server takes.",
    "Send it again without the attachments, or with smaller ones; large files can be shared by a \
     link instead.",
);

/// RFC 3463 §3.4.
fn system(detail: u16) -> Words {
    match detail {
        1 => words("The other server has no room for letters now.", LATER),
        4 => TOO_LARGE,
        _ => words("The server had a fault.", LATER),
    }
}

/// RFC 3463 §3.5.
fn network(detail: u16) -> Words {
    match detail {
        4 => words(
            "No mail server could be found for the part of the address behind the @.",
            "Look at the part behind the @ letter by letter.",
        ),
        6 | 14 => words(
            "The letter goes round in circles: the address forwards to itself.",
            "Tell the recipient, who can end the forwarding; your letter is not at fault.",
        ),
        7 => words(
            "The other server could not take the letter in all the time that it was tried.",
            "If it is still of use, send it again; or reach the recipient in another way.",
        ),
        _ => words("The other server could not be reached.", LATER),
    }
}

/// RFC 3463 §3.7, RFC 6531 §4.2.
fn content(detail: u16) -> Words {
    match detail {
        1 | 2 | 3 | 5 | 6 => words(
            "The other server is an old one and cannot take letters of this form.",
            "Send the letter again as plain text in Latin letters, without a signature or \
             encryption of its own.",
        ),
        7..=10 => words(
            "The letter, or an address of it, has letters that the other server cannot take.",
            "Use addresses of Latin letters, your own too, or ask the recipient for such a one.",
        ),
        _ => words(
            "The other server refused what is in the letter.",
            "Send it again without attachments, or as a shorter text.",
        ),
    }
}

/// RFC 3463 §3.8, RFC 7372 §3, RFC 8689 §5.
fn security(detail: u16) -> Words {
    match detail {
        4 | 5 | 10 | 11 | 30 => words(
            "No connection to the other server was as safe as it has to be for this letter.",
            "Send it again without the wish for protection on its way, if that is acceptable; \
             or reach the recipient in another way.",
        ),
        // RFC 7372 §3.1: signatures (DKIM).
        20..=22 => words(
            "The other server demands a signature of your domain on the letter, and found none that is \
             right.",
            ADMIN,
        ),
        // RFC 7372 §3.2: SPF.
        23 | 24 => words(
            "The other server was told by your domain (SPF) that your mail server may not send for it, \
             or could not find out.",
            ADMIN,
        ),
        // RFC 7372 §3.3: reverse DNS.
        25 => words(
            "The other server takes no mail from your mail server, as the name of its address is \
             missing or wrong in the DNS.",
            ADMIN,
        ),
        // RFC 7505 §4.2.
        27 => words(
            "The domain of your own address says that it takes no mail, so nobody could answer you.",
            ADMIN,
        ),
        28 => words(
            "The other server got too many letters at once from your mail server.",
            LATER,
        ),
        // RFC 7372 §3.4, RFC 8617 §7.2.
        26 | 29 => words(
            "The other server could not make sure that the letter is really from you.",
            ADMIN,
        ),
        _ => words(
            "The rules of the other server do not let the letter in.",
            "If you think that this is a mistake, reach the recipient in another way: only they \
             and their administrator can change the rules.",
        ),
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn every_status_has_words_and_a_next_step() {
        for subject in 0..10 {
            for detail in 0..40 {
                let words = of_status(&format!("5.{subject}.{detail}"));
                assert!(words.meaning.ends_with('.') && words.next.ends_with('.'));
            }
        }
        assert_eq!(
            of_status("").meaning,
            "The other server refused the letter."
        );
    }

    fn item(status: &str, why: Why, diagnostic: &str) -> Item {
        Item {
            recipient: 0,
            action: message::write::Action::Failed,
            status: status.to_owned(),
            why,
            diagnostic: Some(diagnostic.to_owned()),
            remote_host: None,
        }
    }

    /// Each kind of bounce, as a person reads it.
    #[test]
    #[expect(clippy::too_many_lines, reason = "a table")]
    fn every_kind_of_bounce() {
        use FailureClass::{Dns, MailboxFull, RateLimited, Unreachable, Unsafe};
        let said = [
            ("user unknown", "5.1.1", "550 5.1.1 no such user"),
            ("mailbox full", "5.2.2", "552 5.2.2 over quota"),
            ("too large", "5.3.4", "552 5.3.4 too big"),
            ("spam", "5.7.1", "554 5.7.1 looks like SPAM"),
            (
                "blocked",
                "5.7.1",
                "554 5.7.1 blocked using zen.spamhaus.org",
            ),
            ("rules", "5.7.1", "554 5.7.1 not allowed"),
            ("no domain", "5.1.2", "550 5.1.2 there is no domain x"),
            ("loop", "5.4.6", "554 5.4.6 loop"),
            ("tls demanded", "5.7.10", "550 5.7.10 no TLS"),
            ("dkim", "5.7.20", "550 5.7.20 no passing signature"),
            ("spf", "5.7.23", "550 5.7.23 SPF"),
            ("reverse dns", "5.7.25", "550 5.7.25 PTR"),
        ];
        let waited = [
            ("expired", Unreachable),
            ("dns dead", Dns),
            ("full for long", MailboxFull),
            ("rate limit", RateLimited),
            ("no proof", Unsafe),
        ];
        let said = said.map(|(kind, status, reply)| (kind, item(status, Why::Status, reply)));
        let waited = waited.map(|(kind, class)| (kind, item("5.4.7", Why::Waited(class), "451")));
        let suppressed = item(
            "5.1.1",
            Why::Suppressed,
            "550 5.1.1 failed for good 3 times",
        );
        let all = said.into_iter().chain(waited);
        let mut text = String::new();
        for (kind, item) in all.chain([("suppressed", suppressed)]) {
            let Words { meaning, next } = of_failure(&item);
            text.push_str(&format!("{kind}: {meaning}\n  {next}\n"));
        }
        expect![[r#"
            user unknown: There is no mailbox with this address.
              Look at the address letter by letter. If it is right, ask the recipient for the new one.
            mailbox full: The mailbox is full.
              Tell the recipient in another way, and send the letter again later.
            too large: The letter is larger than the other server takes.
              Send it again without the attachments, or with smaller ones; large files can be shared by a link instead.
            spam: The other server takes the letter for unwanted or dangerous mail.
              Send it again as a plain text without links and attachments; or reach the recipient in another way, who can tell their administrator that your letters are wanted.
            blocked: The other server takes no mail from your mail server: its address is on a list of senders of unwanted mail.
              It is not about your letter. Pass this report on to your own administrator, who can have the server taken off the list.
            rules: The rules of the other server do not let the letter in.
              If you think that this is a mistake, reach the recipient in another way: only they and their administrator can change the rules.
            no domain: The part of the address behind the @ is not known, or leads to no mail server.
              Look at the part behind the @ letter by letter.
            loop: The letter goes round in circles: the address forwards to itself.
              Tell the recipient, who can end the forwarding; your letter is not at fault.
            tls demanded: No connection to the other server was as safe as it has to be for this letter.
              Send it again without the wish for protection on its way, if that is acceptable; or reach the recipient in another way.
            dkim: The other server demands a signature of your domain on the letter, and found none that is right.
              Pass this report on to your own administrator.
            spf: The other server was told by your domain (SPF) that your mail server may not send for it, or could not find out.
              Pass this report on to your own administrator.
            reverse dns: The other server takes no mail from your mail server, as the name of its address is missing or wrong in the DNS.
              Pass this report on to your own administrator.
            expired: The other server could not be reached in all the time that it was tried.
              If it is still of use, send it again; or reach the recipient in another way.
            dns dead: No answer could be had about where mail for the part behind the @ goes, in all the time that it was asked for.
              Look at the part of the address behind the @ letter by letter. If it is right, send the letter again later, or reach the recipient in another way.
            full for long: The mailbox was full in all the time that it was tried.
              Tell the recipient in another way, and send the letter again later.
            rate limit: The other server took no more letters from your mail server in all the time that it was tried.
              Pass this report on to your own administrator.
            no proof: No connection to the other server was as safe as it has to be, in all the time that it was tried.
              Reach the recipient in another way, and tell your own administrator: the certificate or the policy of the other domain is wrong.
            suppressed: Letters to this address have failed again and again, so it was not tried this time.
              Look at the address letter by letter, or ask the recipient for the right one. If it is right and works again, your own administrator can let letters through as said below.
        "#]].assert_eq(&text);
    }

    #[test]
    fn every_reason_to_wait() {
        let mut text = String::new();
        for (class, word) in FailureClass::ALL {
            let why = Why::Waited(class);
            text.push_str(&format!("{word}: {}\n", of_delay(&item("4.0.0", why, ""))));
            assert!(of_failure(&item("5.4.7", why, "")).next.ends_with('.'));
        }
        expect![[r#"
            unreachable: The other server could not be reached.
            dns: No answer could be had about where mail for the domain goes.
            greylisted: The other server wants to see the letter once more, as some do with senders that they do not know yet.
            rate-limited: The other server takes no more letters from your mail server for a while.
            mailbox-full: The mailbox is full.
            policy: The rules of the other server do not let the letter in now.
            unsafe: No connection to the other server was as safe as it has to be for this letter.
            interrupted: The connection to the other server was lost before it had taken the letter.
            refused: The other server said "not now".
            ours: Your own mail server had a fault.
        "#]]
        .assert_eq(&text);
    }

    #[test]
    fn the_common_ones() {
        let check = |status, part| {
            let meaning = of_status(status).meaning;
            assert!(meaning.contains(part), "{status}: {meaning}");
        };
        check("5.1.1", "no mailbox");
        check("5.1.10", "takes no mail at all");
        check("5.2.2", "full");
        check("5.3.4", "larger");
        check("5.4.7", "in all the time");
        check("5.6.7", "letters that the other server cannot take");
        check("5.7.1", "rules");
        check("5.7.26", "really from you");
        check("5.7.30", "safe");
    }
}
