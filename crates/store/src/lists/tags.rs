//! Tags of a list's addresses and links: a number, and a proof that this system wrote it. Whoever has
//! one got it in a letter of ours, and so may do what it is for.

use base::EmailAddress;

use crate::{Store, StoreError};

/// The name under which the store keeps the key.
const SECRET: &str = "lists";
/// Letters of a proof, of 5 bits each: 80 bits.
const PROOF_LETTERS: usize = 16;
/// Of base 32; in lower case, as servers on the way may change the case.
const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// What a tag is for; one that was made for something else is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TagUse {
    /// Reports about letters to a member.
    Bounce,
    /// Reports about a letter that asks whether a suspended member can be reached.
    Probe,
    /// A member leaves.
    Unsubscribe,
    /// A held letter is handed out.
    Approve,
    /// A held letter is dropped.
    Discard,
}

/// Makes and reads tags.
#[derive(Clone)]
pub struct ListTags([u8; 32]);

impl Store {
    /// What makes and reads the tags of all lists of this system.
    ///
    /// # Errors
    /// Those of reading and writing.
    pub async fn list_tags(&self) -> Result<ListTags, StoreError> {
        let secret = self.installation_secret(SECRET).await?;
        Ok(ListTags(blake3::derive_key(
            "pennyblack 2026 tags of mailing lists",
            secret.expose(),
        )))
    }
}

impl TagUse {
    const fn letter(self) -> char {
        match self {
            Self::Bounce => 'b',
            Self::Probe => 'p',
            Self::Unsubscribe => 'u',
            Self::Approve => 'a',
            Self::Discard => 'd',
        }
    }
}

impl ListTags {
    /// The tag for a number: `b1f-` and the proof.
    #[must_use]
    pub fn make(&self, purpose: TagUse, list: &EmailAddress, number: i64) -> String {
        let start = format!("{}{number:x}", purpose.letter());
        let text = format!("{start} {}", list.key());
        let proof = blake3::keyed_hash(&self.0, text.as_bytes());
        let proof: String = proof.as_bytes()[..PROOF_LETTERS]
            .iter()
            .map(|byte| char::from(ALPHABET[usize::from(byte % 32)]))
            .collect();
        format!("{start}-{proof}")
    }

    /// The number in a tag that was made here for this list and purpose.
    #[must_use]
    pub fn read(&self, purpose: TagUse, list: &EmailAddress, tag: &str) -> Option<i64> {
        let tag = tag.to_ascii_lowercase();
        let (start, _) = tag.split_once('-')?;
        let digits = start.strip_prefix(purpose.letter())?;
        let number = i64::from_str_radix(digits, 16).ok()?;
        let own = self.make(purpose, list, number);
        // Hashes are compared in constant time.
        let same = blake3::hash(own.as_bytes()) == blake3::hash(tag.as_bytes());
        same.then_some(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_for_one_use_of_one_list() {
        let tags = ListTags([7; 32]);
        let list = EmailAddress::parse("dev@red.test").unwrap();
        let other = EmailAddress::parse("dev2@red.test").unwrap();
        let tag = tags.make(TagUse::Bounce, &list, 0x17);
        assert_eq!(tags.read(TagUse::Bounce, &list, &tag), Some(0x17));
        let loud = tag.to_uppercase();
        assert_eq!(tags.read(TagUse::Bounce, &list, &loud), Some(0x17));
        assert_eq!(tags.read(TagUse::Probe, &list, &tag), None);
        assert_eq!(tags.read(TagUse::Bounce, &other, &tag), None);
        let next = tag.replace("b17", "b18");
        assert_eq!(tags.read(TagUse::Bounce, &list, &next), None);
        let no_proof = tags.read(TagUse::Bounce, &list, "b17-");
        assert_eq!(no_proof, None);
        // The longest: RFC 5321 §4.5.3.1.1.
        let longest = tags.make(TagUse::Approve, &list, i64::MAX);
        let name = format!("-moderate+{longest}");
        assert_eq!(name.len() + super::super::NAME_BYTES_MAX, 64, "{name}");
    }
}
