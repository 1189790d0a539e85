//! A set of messages of one account, as bits in pages of 65,536: a search in a large mailbox finds
//! tens of thousands for each word, and combines them.

use std::collections::BTreeMap;

/// Words of 64 bits in a page.
const PAGE_WORDS: usize = 1_024;
/// Bits of a message's number within its page.
const PAGE_BITS: u32 = 16;

/// The set.
#[derive(Default, Clone, Debug, PartialEq, Eq)]
pub(in crate::search) struct Docs(BTreeMap<u32, Box<[u64; PAGE_WORDS]>>);

impl Docs {
    pub(in crate::search) fn insert(&mut self, message: u32) {
        let page = self.0.entry(message >> PAGE_BITS);
        let page = page.or_insert_with(|| Box::new([0; PAGE_WORDS]));
        let (word, bit) = place(message);
        if let Some(word) = page.get_mut(word) {
            *word |= bit;
        }
    }

    pub(in crate::search) fn contains(&self, message: u32) -> bool {
        let (word, bit) = place(message);
        let page = self.0.get(&(message >> PAGE_BITS));
        page.and_then(|page| page.get(word))
            .is_some_and(|word| word & bit != 0)
    }

    /// Leaves what is in both.
    pub(in crate::search) fn keep(&mut self, other: &Self) {
        self.0.retain(|number, page| {
            let Some(others) = other.0.get(number) else {
                return false;
            };
            for (word, other) in page.iter_mut().zip(others.iter()) {
                *word &= other;
            }
            page.iter().any(|word| *word != 0)
        });
    }

    pub(in crate::search) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The least and the greatest.
    pub(in crate::search) fn range(&self) -> Option<(u32, u32)> {
        let first = self.from(0).next()?;
        let (number, page) = self.0.last_key_value()?;
        let mut words = page.iter().enumerate().rev();
        let (at, word) = words.find(|(_, word)| **word != 0)?;
        let at = u32::try_from(at).ok()?;
        Some((first, number << PAGE_BITS | at << 6 | word.ilog2()))
    }

    /// Those from a number on, ascending.
    pub(in crate::search) fn from(&self, least: u32) -> impl Iterator<Item = u32> {
        let pages = self.0.range(least >> PAGE_BITS..);
        pages
            .flat_map(|(number, page)| {
                let base = number << PAGE_BITS;
                let words = (0..).zip(page.iter());
                words.flat_map(move |(at, word)| {
                    let bits = (0..64).filter(move |bit| word & 1 << bit != 0);
                    bits.map(move |bit| base | at << 6 | bit)
                })
            })
            .skip_while(move |message| *message < least)
    }
}

/// The word of a page and the bit in it.
const fn place(message: u32) -> (usize, u64) {
    let low = message & ((1 << PAGE_BITS) - 1);
    ((low >> 6) as usize, 1 << (low & 63))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn is_a_set(
            one: BTreeSet<u16>, other: BTreeSet<u16>, high in 0..3_u32, least in 0..200_000_u32,
        ) {
            let wide = |set: &BTreeSet<u16>| -> BTreeSet<u32> {
                set.iter().map(|low| (u32::from(*low) * 3) | high << 17).collect()
            };
            let docs = |set: &BTreeSet<u32>| {
                let mut docs = Docs::default();
                set.iter().for_each(|message| docs.insert(*message));
                docs
            };
            let (one, other) = (wide(&one), wide(&other));
            let mut both = docs(&one);
            both.keep(&docs(&other));
            let expected: BTreeSet<u32> = one.intersection(&other).copied().collect();
            prop_assert_eq!(both.is_empty(), expected.is_empty());
            prop_assert_eq!(both.from(0).collect::<BTreeSet<u32>>(), expected);
            let from: Vec<u32> = docs(&one).from(least).collect();
            prop_assert_eq!(from, one.range(least..).copied().collect::<Vec<u32>>());
            let range = one.first().copied().zip(one.last().copied());
            prop_assert_eq!(docs(&one).range(), range);
            prop_assert!(one.iter().all(|message| docs(&one).contains(*message)));
            prop_assert!(other.iter().all(|m| docs(&one).contains(*m) == one.contains(m)));
        }
    }
}
