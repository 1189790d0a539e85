//! What a failure means for a person, and what can be done about it: from the status code (RFC
//! 3463, RFC 5248, RFC 7372, RFC 8689), as the words of servers come in all languages.

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
        6 => words(
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
        5 | 10 | 11 | 30 => words(
            "No connection to the other server was as safe as it has to be for this letter.",
            "Send it again without the wish for protection on its way, if that is acceptable; \
             or reach the recipient in another way.",
        ),
        20..=29 => words(
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
