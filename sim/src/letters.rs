//! The letters of the world: each has a token, from which its text follows, so that whoever finds
//! one can tell whether every byte of it arrived. And reports, as their readers understand them.

use std::fmt::Write as _;

use crate::net::TOKEN_FIELD;
use crate::random::Random;

/// The text of a letter.
#[must_use]
pub fn write(token: u64, sender: &str) -> Vec<u8> {
    let mut text = format!(
        "From: <{sender}>\r\nTo: undisclosed-recipients:;\r\nSubject: letter {token}\r\n\
         Date: Mon, 01 Jun 2026 00:00:00 +0000\r\nMessage-ID: <{token}@letters.sim.test>\r\n\
         {TOKEN_FIELD}{token}\r\n\r\n"
    );
    text.push_str(&body(token));
    text.into_bytes()
}

/// The text of a letter behind its header.
#[must_use]
pub fn body(token: u64) -> String {
    let random = Random::of(token, "text");
    let mut text = String::new();
    for _ in 0..2 + random.below(20) {
        // Lines that begin with a dot are stuffed on their way.
        let dot = if random.percent(15) { "." } else { "" };
        // Writing to a text does not fail.
        let _ = write!(
            text,
            "{dot}{:016x}{:016x}\r\n",
            random.number(),
            random.number()
        );
    }
    let _ = write!(text, "end {token}\r\n");
    text
}

/// The token of a letter, or of the letter that a report returns.
#[must_use]
pub fn token(letter: &[u8]) -> Option<u64> {
    let text = String::from_utf8_lossy(letter);
    text.lines()
        .find_map(|line| line.strip_prefix(TOKEN_FIELD)?.trim().parse().ok())
}

/// What a report says about one recipient.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Item {
    /// The address that the sender wrote.
    pub recipient: String,
    /// `failed`, `delayed`, …
    pub action: String,
}

/// Reads a report (RFC 3464); `None` if it is none.
#[must_use]
pub fn report(letter: &[u8]) -> Option<Vec<Item>> {
    let text = String::from_utf8_lossy(letter);
    if !text.to_ascii_lowercase().contains("multipart/report") {
        return None;
    }
    let (mut items, mut original, mut last) = (Vec::new(), None, None);
    for line in text.lines() {
        let Some((name, value)) = line.split_once(':') else {
            // An empty line ends the fields of a recipient.
            if line.is_empty() {
                (original, last) = (None, None);
            }
            continue;
        };
        let address = || {
            value
                .split_once(';')
                .map(|(_, address)| address.trim().to_owned())
        };
        match name {
            "Original-Recipient" => original = address(),
            "Final-Recipient" => last = address(),
            "Action" => {
                if let Some(recipient) = original.take().or_else(|| last.take()) {
                    items.push(Item {
                        recipient,
                        action: value.trim().to_owned(),
                    });
                }
            }
            _ => {}
        }
    }
    Some(items)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_names_itself() {
        let letter = write(42, "a@x.test");
        assert_eq!(token(&letter), Some(42));
        assert!(letter.ends_with(b"end 42\r\n"));
        assert_eq!(report(&letter), None);
    }

    #[test]
    fn a_report_names_the_address_that_was_written() {
        let text = b"Content-Type: multipart/report\n\nFinal-Recipient: rfc822; b@y.test\n\
            Action: failed\n\nOriginal-Recipient: rfc822;c@z.test\n\
            Final-Recipient: rfc822; d@z.test\nAction: delayed\n\nX-Sim: 9\n";
        let items = report(text).unwrap();
        let short: Vec<(&str, &str)> = items
            .iter()
            .map(|item| (item.recipient.as_str(), item.action.as_str()))
            .collect();
        assert_eq!(short, [("b@y.test", "failed"), ("c@z.test", "delayed")]);
        assert_eq!(token(text), Some(9));
    }
}
