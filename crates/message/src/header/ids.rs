//! Message ids: `msg-id = [CFWS] "<" id-left "@" id-right ">" [CFWS]` (RFC 5322 §3.6.4).

use super::raw_text;

/// The longest message id that is kept: a longer one fits on no line (RFC 5322 §2.1.1) and is not
/// a key that anyone answers to.
pub const MESSAGE_ID_BYTES_MAX: usize = 996;

/// Ids taken from one field; more are noise or an attack.
const IDS_MAX: usize = 1_000;

/// All ids of a Message-ID, In-Reply-To or References field, without brackets and white space.
///
/// Phrases and comments of obsolete syntax are passed over; a field without brackets whose whole
/// value is one word counts as an id, since real letters have them.
#[must_use]
pub fn parse_message_ids(value: &[u8]) -> Vec<String> {
    let text = raw_text(value);
    let mut ids = Vec::new();
    let mut rest = text.as_str();
    while let Some(open) = rest.find('<') {
        rest = &rest[open + 1..];
        let Some(close) = rest.find('>') else { break };
        // A stray bracket before: the id starts at the last one.
        let inside = &rest[..close];
        let inside = inside.rfind('<').map_or(inside, |at| &inside[at + 1..]);
        push(&mut ids, inside);
        rest = &rest[close + 1..];
        if ids.len() >= IDS_MAX {
            return ids;
        }
    }
    if ids.is_empty() && !text.contains([' ', '<', '>', ',']) {
        push(&mut ids, &text);
    }
    ids
}

fn push(ids: &mut Vec<String>, inside: &str) {
    let id: String = inside.chars().filter(|c| !c.is_whitespace()).collect();
    if !id.is_empty() && id.len() <= MESSAGE_ID_BYTES_MAX {
        ids.push(id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_found() {
        let ids = |text: &str| parse_message_ids(text.as_bytes()).join(" | ");
        assert_eq!(ids(" <a@b>\r\n <c@d>(x)<e@f>"), "a@b | c@d | e@f");
        assert_eq!(ids("Your letter of Monday <a @b>"), "a@b");
        assert_eq!(ids("a@b"), "a@b");
        assert_eq!(ids("000200"), "000200");
        assert_eq!(ids("two words"), "");
        assert_eq!(ids("<<a@b>"), "a@b");
        assert_eq!(ids("<open"), "");
        assert_eq!(ids("<>"), "");
    }
}
