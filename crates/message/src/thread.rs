//! What joins letters to threads: message ids, and the base subject of RFC 5256 §2.1.

use crate::mime::Envelope;

/// Ids of a letter that are kept: threads longer than this still hang together, as each letter
/// names its nearest ancestors.
pub const THREAD_IDS_MAX: usize = 30;

/// Characters of a subject that are looked at: more than a line of a header can hold, and a bound
/// for the work that nested brackets cause.
const SUBJECT_CHARS_MAX: usize = 1_000;

/// The keys of one letter.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ThreadKeys {
    /// The letter's own id, without angle brackets.
    pub message_id: Option<String>,
    /// The ids it answers to (References, then In-Reply-To), oldest first, each once, without its
    /// own; of more than [`THREAD_IDS_MAX`] the first, which names the thread, and the newest.
    pub ancestors: Vec<String>,
    /// The base subject, in lower case; empty when there is none.
    pub base_subject: String,
    /// Whether the subject says that it is an answer or was forwarded.
    pub is_reply: bool,
}

impl ThreadKeys {
    /// The keys that an envelope gives.
    #[must_use]
    pub fn of(envelope: &Envelope) -> Self {
        let message_id = envelope.id();
        let mut ancestors: Vec<String> = Vec::new();
        let references = envelope.reference_ids();
        let in_reply_to = envelope.in_reply_to_ids();
        // Newest first, so that the bound keeps the nearest ones.
        let newest_first = in_reply_to.iter().rev().chain(references.iter().rev());
        let thread_root = references.first();
        for id in newest_first {
            if ancestors.len() + 1 >= THREAD_IDS_MAX {
                break;
            }
            if Some(id) != message_id.as_ref() && !ancestors.contains(id) {
                ancestors.push(id.clone());
            }
        }
        if let Some(id) = thread_root
            && Some(id) != message_id.as_ref()
            && !ancestors.contains(id)
        {
            ancestors.push(id.clone());
        }
        ancestors.reverse();
        let subject = envelope.decoded_subject().unwrap_or_default();
        let (base_subject, is_reply) = base_subject(&subject);
        Self {
            message_id,
            ancestors,
            base_subject,
            is_reply,
        }
    }

    /// All ids: the ancestors and then its own.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.ancestors
            .iter()
            .chain(&self.message_id)
            .map(String::as_str)
    }
}

/// The base subject of a decoded subject in lower case, and whether anything was taken off that
/// says it is a reply or forward (RFC 5256 §2.1).
#[must_use]
pub fn base_subject(subject: &str) -> (String, bool) {
    // (1) White space put together. Comparing needs one letter case, too.
    let start: String = subject.chars().take(SUBJECT_CHARS_MAX).collect();
    let normal = start
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .to_lowercase();
    let mut text = normal.as_str();
    let mut is_reply = false;
    loop {
        // (2) subj-trailer.
        while let Some(shorter) = text.strip_suffix("(fwd)") {
            is_reply = true;
            text = shorter.trim_end();
        }
        // (3) to (5) subj-leader and subj-blob.
        loop {
            if let Some(shorter) = strip_leader(text) {
                is_reply = true;
                text = shorter;
            } else if let Some(shorter) = strip_blob(text).filter(|rest| !rest.is_empty()) {
                text = shorter;
            } else {
                break;
            }
        }
        // (6) `[fwd: …]`.
        match text
            .strip_prefix("[fwd:")
            .and_then(|inside| inside.strip_suffix(']'))
        {
            Some(inside) => {
                is_reply = true;
                text = inside.trim();
            }
            None => break,
        }
    }
    (text.to_owned(), is_reply)
}

/// `subj-leader = (*subj-blob subj-refwd) / WSP`,
/// `subj-refwd = ("re" / ("fw" ["d"])) *WSP [subj-blob] ":"`. The German and Nordic ones, which
/// people write, count too.
fn strip_leader(text: &str) -> Option<&str> {
    let mut rest = text.trim_start();
    while let Some(shorter) = strip_blob(rest) {
        rest = shorter;
    }
    let rest = ["re", "fwd", "fw", "aw", "wg", "sv", "vs"]
        .iter()
        .find_map(|word| rest.strip_prefix(word))?
        .trim_start();
    let rest = strip_blob(rest).unwrap_or(rest);
    Some(rest.strip_prefix(':')?.trim_start())
}

/// `subj-blob = "[" *BLOBCHAR "]" *WSP`.
fn strip_blob(text: &str) -> Option<&str> {
    let inside = text.strip_prefix('[')?;
    let end = inside.find(['[', ']'])?;
    // `[fwd: …]` around the whole subject is another rule's.
    if inside.starts_with("fwd:") {
        return None;
    }
    Some(inside[end..].strip_prefix(']')?.trim_start())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Message;

    #[test]
    fn base_subjects() {
        let check = |subject: &str, expected: &str, reply: bool| {
            assert_eq!(
                base_subject(subject),
                (expected.to_owned(), reply),
                "{subject}"
            );
        };
        check("Hello  World", "hello world", false);
        check("Re: Hello", "hello", true);
        check("RE : [list] Re[2]: Hello (fwd) (FWD)", "hello", true);
        check("[list] Hello", "hello", false);
        check("[list]", "[list]", false);
        check("[Fwd: Re: Hello]", "hello", true);
        check("Fwd: AW: x", "x", true);
        check("Reading", "reading", false);
        check("re:", "", true);
        check("", "", false);
    }

    #[test]
    fn ids_are_bounded_and_unique() {
        let references: String = (0..100).map(|n| format!(" <{n}@x>\r\n")).collect();
        let raw = format!(
            "Message-ID: <99@x>\r\nReferences:{references}In-Reply-To: <98@x> <new@x>\r\n\r\n"
        );
        let keys = Message::parse(raw.as_bytes()).thread_keys();
        assert_eq!(keys.message_id.as_deref(), Some("99@x"));
        assert_eq!(keys.ancestors.len(), THREAD_IDS_MAX);
        assert_eq!(keys.ancestors.first().map(String::as_str), Some("0@x"));
        assert_eq!(keys.ancestors.last().map(String::as_str), Some("new@x"));
        assert!(!keys.ancestors.contains(&"99@x".to_owned()));
        assert_eq!(keys.ids().last(), Some("99@x"));
    }
}
