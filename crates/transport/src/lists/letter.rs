//! The letter as members get it. It is left as it came wherever that is possible, so that the author's
//! own signature holds (DKIM) and with it DMARC. Where the list wants a tag before the subject or
//! answers for itself, or the author's domain wishes letters to be refused that do not prove
//! themselves, the list takes the author's place: `Ada via Dev <dev@red.test>`.

use std::borrow::Cow;

use base::{Domain, EmailAddress};
use mailauth::results::{AuthResults, FIELD_NAME};
use message::write::HeaderWriter;
use message::{Field, Fields, Mailbox};
use store::ListInfo;

use super::facts::Facts;

/// Fields that speak for another list or for the sender's own server, or that make members' programs
/// answer.
const TAKEN_OUT: [&str; 14] = [
    "List-Id",
    "List-Help",
    "List-Post",
    "List-Owner",
    "List-Subscribe",
    "List-Unsubscribe",
    "List-Unsubscribe-Post",
    "List-Archive",
    "Precedence",
    "Return-Path",
    "Return-Receipt-To",
    "Disposition-Notification-To",
    "Errors-To",
    "Bcc",
];

/// Writes the letter for the members. `head` holds what was found when it came, `believed` says whether
/// the author is likely who the letter says.
pub(super) fn write<'a>(
    list: &ListInfo,
    (facts, believed): (&Facts, bool),
    letter: &'a [u8],
    head: &[u8],
) -> Cow<'a, [u8]> {
    let plan = Plan::new(list, (facts, believed), letter, head);
    if !plan.changes {
        return Cow::Borrowed(letter);
    }
    let mut out = Vec::with_capacity(letter.len() + 512);
    let mut position = 0;
    for field in Fields::new(letter) {
        let range = field.span.range();
        // Lines that are no fields stay where they are.
        out.extend_from_slice(&letter[position..range.start]);
        position = range.end;
        match plan.replacement(list, facts, &field) {
            Some(replacement) => out.extend_from_slice(&replacement),
            None => out.extend_from_slice(&letter[range]),
        }
    }
    let mut top = plan.added(list, letter);
    out.extend_from_slice(&letter[position..]);
    top.extend_from_slice(&out);
    Cow::Owned(top)
}

/// What is to be done.
struct Plan {
    changes: bool,
    /// The subject with its tag, if it has none.
    subject: Option<String>,
    takes_place: bool,
    reply_to: bool,
}

impl Plan {
    fn new(list: &ListInfo, (facts, believed): (&Facts, bool), letter: &[u8], head: &[u8]) -> Self {
        let tag = format!("[{}]", list.options.subject_tag);
        let wants_tag = !list.options.subject_tag.is_empty();
        let subject = (wants_tag && !facts.subject.contains(&tag))
            .then(|| format!("{tag} {}", facts.subject).trim().to_owned());
        let mut names = Fields::new(letter);
        let takes_out = names.any(|field| is_taken_out(&field));
        let reply_to = list.options.reply_to_list;
        let changes = subject.is_some() || takes_out || reply_to;
        let own = &list.address.domain;
        let takes_place =
            list.options.rewrites_always || !holds(own, (facts, believed), head, changes);
        Self {
            changes: changes || takes_place,
            subject,
            takes_place,
            reply_to,
        }
    }

    /// What stands in place of a field; `None` if it stays.
    fn replacement(&self, list: &ListInfo, facts: &Facts, field: &Field<'_>) -> Option<Vec<u8>> {
        if is_taken_out(field) || (field.is("Reply-To") && self.reply_to) {
            return Some(Vec::new());
        }
        if field.is("Subject")
            && let Some(subject) = &self.subject
        {
            return Some(HeaderWriter::new().text("Subject", subject).finish());
        }
        if field.is("From") && self.takes_place {
            let author = [via(list, facts, field)];
            let mut out = HeaderWriter::new().addresses("From", &author).finish();
            out.extend_from_slice(b"X-Original-From:");
            out.extend_from_slice(field.value);
            if !out.ends_with(b"\r\n") {
                out.extend_from_slice(b"\r\n");
            }
            return Some(out);
        }
        None
    }

    /// What is new at the top.
    fn added(&self, list: &ListInfo, letter: &[u8]) -> Vec<u8> {
        let mut header = HeaderWriter::new();
        if self.reply_to {
            header = header.addresses("Reply-To", &[mailbox(&list.address, None)]);
        } else if self.takes_place && Fields::new(letter).find("Reply-To").is_none() {
            // Who answers the author shall reach the author.
            let from = Fields::new(letter).find("From");
            let addresses = from.map(|from| from.addresses());
            let authors: Vec<Mailbox> = addresses
                .iter()
                .flat_map(|addresses| addresses.mailboxes().cloned())
                .collect();
            if !authors.is_empty() {
                header = header.addresses("Reply-To", &decoded(authors));
            }
        }
        if let Some(subject) = &self.subject
            && Fields::new(letter).find("Subject").is_none()
        {
            header = header.text("Subject", subject);
        }
        header.finish()
    }
}

/// Display names as the writer wants them.
fn decoded(mailboxes: Vec<Mailbox>) -> Vec<Mailbox> {
    let plain = |mailbox: Mailbox| Mailbox {
        name: mailbox.display_name(),
        ..mailbox
    };
    mailboxes.into_iter().map(plain).collect()
}

fn is_taken_out(field: &Field<'_>) -> bool {
    TAKEN_OUT.iter().any(|name| field.is(name))
}

fn mailbox(address: &EmailAddress, name: Option<String>) -> Mailbox {
    Mailbox {
        name,
        local: address.local.as_str().to_owned(),
        domain: address.domain.to_string(),
    }
}

/// The list in place of the author.
fn via(list: &ListInfo, facts: &Facts, from: &Field<'_>) -> Mailbox {
    let addresses = from.addresses();
    let name = addresses.mailboxes().next().and_then(Mailbox::display_name);
    let name = name.filter(|name| !name.trim().is_empty());
    let name = name.unwrap_or_else(|| match facts.authors.first() {
        // Not the address: programs show what looks like one in place of the real one.
        Some(author) => author.local.as_str().to_owned(),
        None => "Somebody".to_owned(),
    });
    let title = match list.options.title.as_str() {
        "" => list.address.local.as_str(),
        title => title,
    };
    mailbox(&list.address, Some(format!("{name} via {title}")))
}

/// Whether a letter that the list sends on as its author's passes DMARC, or need not: the list's own
/// signature stands for the author's domain, or the author's signature is not touched, or the
/// domain wishes nothing. What was not checked, and is not of the list's domain, is taken for strict.
/// The list signs in its domain's name, so that nobody may bear that who is not believed.
fn holds(own: &Domain, (facts, believed): (&Facts, bool), head: &[u8], changes: bool) -> bool {
    let Some(author) = facts.authors.first() else {
        return true;
    };
    let of_own = |author: &EmailAddress| is_aligned(author.domain.as_str(), own.as_str());
    if !believed && (facts.has_several_authors || of_own(author)) {
        return false;
    }
    if of_own(author) {
        return true;
    }
    let field = Fields::new(head).find(FIELD_NAME);
    let Some(results) = field.and_then(|field| AuthResults::parse(field.value)) else {
        return false;
    };
    let dmarc = results
        .results
        .iter()
        .find(|result| result.method == "dmarc");
    let policy = dmarc.and_then(|dmarc| {
        let named = |property: &&mailauth::results::Property| {
            property.kind == "policy" && property.name == "dmarc"
        };
        dmarc.properties.iter().find(named)
    });
    match policy.map(|policy| policy.value.as_str()) {
        None | Some("none") => return true,
        Some(_) => {}
    }
    let signed = results.results.iter().any(|result| {
        let by_author = |property: &mailauth::results::Property| {
            property.kind == "header"
                && property.name == "d"
                && is_aligned(author.domain.as_str(), &property.value)
        };
        result.method == "dkim"
            && result.result == "pass"
            && result.properties.iter().any(by_author)
    });
    signed && !changes
}

/// RFC 9989 §4.4, relaxed: one is the other, or above it.
fn is_aligned(one: &str, other: &str) -> bool {
    let below = |low: &str, high: &str| {
        low.strip_suffix(high)
            .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    };
    below(one, other) || below(other, one)
}

#[cfg(test)]
mod unit {
    use store::{ListOptions, Posting};

    use super::*;

    fn list(change: impl FnOnce(&mut ListOptions)) -> ListInfo {
        let mut options = ListOptions {
            title: "Dev".to_owned(),
            posting: Posting::Anyone,
            ..ListOptions::default()
        };
        change(&mut options);
        ListInfo {
            address: EmailAddress::parse("dev@red.test").unwrap(),
            options,
            owners: Vec::new(),
            members: 0,
            active: 0,
            created_at: base::Timestamp(0),
        }
    }

    fn written(list: &ListInfo, letter: &str, results: &str) -> String {
        written_as(list, letter, results, true)
    }

    fn written_as(list: &ListInfo, letter: &str, results: &str, believed: bool) -> String {
        let head = match results {
            "" => "Received: x\r\n".to_owned(),
            results => format!("Authentication-Results: mx.red.test; {results}\r\n"),
        };
        let facts = Facts::read(letter.as_bytes());
        let out = write(list, (&facts, believed), letter.as_bytes(), head.as_bytes());
        String::from_utf8(out.into_owned()).unwrap()
    }

    const LETTER: &str = "From: Ada <ada@far.test>\r\nSubject: Hello\r\n\r\nwords\r\n";
    const STRICT: &str = "dkim=pass header.d=far.test; dmarc=pass header.from=far.test \
                          policy.dmarc=reject";
    const BY_SPF: &str = "dkim=none; dmarc=pass header.from=far.test policy.dmarc=quarantine";
    const VIA: &str = "From: Ada via Dev <dev@red.test>\r\n";

    /// A letter is left alone where DMARC holds at the members without that.
    #[test]
    fn whose_name_it_bears() {
        let plain = list(|_| {});
        let own = LETTER.replace("far.test", "sub.red.test");
        for (letter, results, kept) in [
            (LETTER, STRICT, true),
            (LETTER, BY_SPF, false),
            (LETTER, "dmarc=none header.from=far.test", true),
            (
                LETTER,
                "dmarc=pass header.from=far.test policy.dmarc=none",
                true,
            ),
            (
                LETTER,
                "dkim=pass header.d=other.test; dmarc=pass policy.dmarc=reject",
                false,
            ),
            // Not checked.
            (LETTER, "", false),
            (&own, "", true),
        ] {
            let out = written(&plain, letter, results);
            assert_eq!(out == letter, kept, "{results}: {out}");
            assert_eq!(out.contains(VIA), !kept, "{results}: {out}");
        }
        let always = list(|options| options.rewrites_always = true);
        let out = written(&always, LETTER, STRICT);
        assert!(out.starts_with("Reply-To: Ada <ada@far.test>\r\n"), "{out}");
        assert!(
            out.contains("X-Original-From: Ada <ada@far.test>\r\n"),
            "{out}"
        );
        assert!(out.ends_with("Subject: Hello\r\n\r\nwords\r\n"), "{out}");
        // What changes the letter breaks the signature.
        let tagged = list(|options| options.subject_tag = "dev".to_owned());
        let out = written(&tagged, LETTER, STRICT);
        assert!(
            out.contains(VIA) && out.contains("Subject: [dev] Hello\r\n"),
            "{out}"
        );
        let reply = LETTER.replace("Hello", "Re: [dev] Hello");
        assert_eq!(written(&tagged, &reply, STRICT), reply, "one tag is enough");
    }

    /// The list's signature stands for nobody of its domain who has not proven himself.
    #[test]
    fn a_stranger_does_not_bear_the_name_of_the_lists_domain() {
        let plain = list(|_| {});
        let one = LETTER.replace("ada@far", "boss@red");
        let two = LETTER.replace("<ada@far.test>", "<ada@far.test>, boss@red.test");
        for letter in [&one, &two] {
            let out = written_as(&plain, letter, "dmarc=none", false);
            assert!(out.contains(VIA), "{out}");
        }
        assert_eq!(written_as(&plain, &one, "dmarc=pass", true), one);
    }

    #[test]
    fn fields_of_others_are_taken_out() {
        let letter = "List-Id: <other.test>\r\nReturn-Path: <a@b.test>\r\n\
                      List-Unsubscribe:\r\n <mailto:x@other.test>\r\nReply-To: me@far.test\r\n\
                      From: ada@far.test\r\nDisposition-Notification-To: ada@far.test\r\n\r\nx\r\n";
        let lenient = "dmarc=none header.from=far.test";
        let out = written(&list(|_| {}), letter, lenient);
        assert_eq!(
            out,
            "Reply-To: me@far.test\r\nFrom: ada@far.test\r\n\r\nx\r\n"
        );
        let answers = list(|options| options.reply_to_list = true);
        let out = written(&answers, letter, lenient);
        assert_eq!(
            out,
            "Reply-To: dev@red.test\r\nFrom: ada@far.test\r\n\r\nx\r\n"
        );
        // An author's own Reply-To stays where the list takes his place.
        let out = written(&list(|_| {}), letter, BY_SPF);
        let expected = "Reply-To: me@far.test\r\nFrom: ada via Dev <dev@red.test>\r\n\
                        X-Original-From: ada@far.test\r\n\r\nx\r\n";
        assert_eq!(out, expected);
    }

    /// A name that looks like an address, or ends the field, does neither harm.
    #[test]
    fn names_that_mean_harm() {
        let letter = "From: \"boss@red.test\\\"> <x@red.test\" <ada@far.test>\r\n\r\nx\r\n";
        let out = written(&list(|_| {}), letter, "");
        let from = Fields::new(out.as_bytes())
            .find("From")
            .unwrap()
            .addresses();
        let authors: Vec<String> = from.mailboxes().map(Mailbox::email).collect();
        assert_eq!(authors, ["dev@red.test"], "{out}");
    }
}
