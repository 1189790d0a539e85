//! What a letter's header tells about it, as far as a list cares.

use base::EmailAddress;
use message::{Fields, Mailbox};

/// Authors that are looked at.
const AUTHORS_MAX: usize = 5;
/// Characters of a subject that are kept.
const SUBJECT_CHARS_MAX: usize = 200;

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Facts {
    pub(super) authors: Vec<EmailAddress>,
    /// More than one author, or more than one From: programs differ in whom they show.
    pub(super) has_several_authors: bool,
    pub(super) subject: String,
    /// The ids of lists that it has passed (RFC 2919), in lower case.
    pub(super) list_ids: Vec<String>,
    /// RFC 3834 §5: a program wrote it.
    pub(super) automatic: bool,
    /// It says to be one of many.
    pub(super) bulk: bool,
    pub(super) bytes: u64,
}

impl Facts {
    pub(super) fn read(letter: &[u8]) -> Self {
        let mut facts = Self {
            bytes: letter.len() as u64,
            ..Self::default()
        };
        let mut named = 0;
        for field in Fields::new(letter) {
            if field.is("From") {
                let addresses = field.addresses();
                named += addresses.mailboxes().count().max(1);
                let authors = addresses.mailboxes().filter_map(Mailbox::to_address);
                facts.authors.extend(authors.take(AUTHORS_MAX));
            } else if field.is("Subject") {
                let text = field.text();
                facts.subject = text.trim().chars().take(SUBJECT_CHARS_MAX).collect();
            } else if field.is("List-Id") {
                let text = field.raw_text().to_ascii_lowercase();
                let id = text.rfind('<').map_or(text.as_str(), |at| &text[at + 1..]);
                let id = id.split('>').next().unwrap_or_default();
                facts.list_ids.push(id.trim().to_owned());
            } else if field.is("Auto-Submitted") {
                let text = field.raw_text();
                let word = text.split(';').next().unwrap_or_default().trim();
                facts.automatic |= !word.eq_ignore_ascii_case("no");
            } else if field.is("Precedence") {
                let text = field.raw_text().trim().to_ascii_lowercase();
                facts.bulk |= matches!(text.as_str(), "bulk" | "junk" | "list");
            }
        }
        facts.has_several_authors = named > 1;
        facts
    }

    /// The same of a letter below its head: a submission without From has one there, and what a list of
    /// ours has sent says so only there.
    pub(super) fn with_head(head: &[u8], letter: &[u8]) -> Self {
        let mut facts = Self::read(letter);
        let head = Self::read(head);
        facts.list_ids.extend(head.list_ids);
        facts.automatic |= head.automatic;
        facts.bulk |= head.bulk;
        if facts.authors.is_empty() && Fields::new(letter).find("From").is_none() {
            facts.authors = head.authors;
            facts.has_several_authors = head.has_several_authors;
        }
        facts
    }

    /// Whether a program should answer it (RFC 3834 §2).
    pub(super) fn wants_an_answer(&self, sender: Option<&EmailAddress>) -> bool {
        let from_somebody = sender.is_some_and(|sender| {
            let local = sender.local.as_str();
            !local.eq_ignore_ascii_case("mailer-daemon") && !local.starts_with("owner-")
        });
        from_somebody && !self.automatic && !self.bulk && self.list_ids.is_empty()
    }
}
