//! Letters for tests and loads: distinct, reproducible from a seed, and made of English-like text,
//! so that what a store saves by compression is what it would save on real mail.
//!
//! The text is drawn from a list of common words with the frequencies of Zipf's law. At 5 KB it
//! compresses to about the same share as personal mail of that size does. It is not meant to be read.

use std::fmt::Write as _;

/// A small generator of random numbers: fast, seeded, the same on every machine (SplitMix64).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// A generator that always gives the same row of numbers for the same seed.
    #[must_use]
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    /// The next 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        bits ^ (bits >> 31)
    }

    /// A number from 0 to `end - 1`; 0 when `end` is 0.
    pub fn below(&mut self, end: u64) -> u64 {
        ((u128::from(self.next_u64()) * u128::from(end)) >> 64) as u64
    }
}

/// Makes letters. Two writers with the same seed make the same letters.
#[derive(Clone, Debug)]
pub struct Writer {
    seed: u64,
    /// Words, each as often as it is frequent.
    table: Vec<&'static str>,
}

/// What one letter says about itself in its header.
#[derive(Clone, Copy, Debug)]
pub struct Heading<'a> {
    /// The address in `From`.
    pub from: &'a str,
    /// The address in `To`.
    pub to: &'a str,
    /// Which letter of the run this is; a part of its Message-ID.
    pub number: u64,
}

impl Writer {
    /// A writer for the given seed.
    #[must_use]
    pub fn new(seed: u64) -> Writer {
        Writer {
            seed,
            table: word_table(),
        }
    }

    /// The Message-ID of a letter, without the angle brackets.
    #[must_use]
    pub fn message_id(&self, number: u64) -> String {
        format!("{:016x}.{number}@letters.test", self.seed)
    }

    /// A letter of about `bytes` bytes, header included, with CRLF line ends.
    #[must_use]
    pub fn letter(&self, heading: Heading<'_>, bytes: usize) -> String {
        let mut random =
            Random::new(self.seed ^ heading.number.wrapping_mul(0xD134_2543_DE82_EF95));
        let mut text = String::with_capacity(bytes + 256);
        let id = self.message_id(heading.number);
        let minute = heading.number % 60;
        let Heading { from, to, .. } = heading;
        let mut subject = String::new();
        self.words(&mut random, &mut subject, 5);
        // Writing into a String cannot fail.
        let _ = write!(
            text,
            "Date: Tue, 24 Nov 2026 09:{minute:02}:17 +0000\r\nFrom: <{from}>\r\nTo: <{to}>\r\n\
             Subject: {subject}\r\nMessage-ID: <{id}>\r\nMIME-Version: 1.0\r\n\
             Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 7bit\r\n\r\n"
        );
        while text.len() < bytes {
            self.paragraph(&mut random, &mut text);
        }
        text.truncate(bytes.max(1));
        while text.ends_with(['\r', '\n']) {
            text.pop();
        }
        text.push_str("\r\n");
        text
    }

    fn paragraph(&self, random: &mut Random, text: &mut String) {
        let sentences = 2 + random.below(5);
        let mut column = 0;
        for _ in 0..sentences {
            let words = 4 + random.below(16);
            for position in 0..words {
                let start = text.len();
                self.word(random, text, position == 0);
                if position + 1 == words {
                    text.push(if random.below(12) == 0 { '?' } else { '.' });
                } else if random.below(11) == 0 {
                    text.push(',');
                }
                column += text.len() - start + 1;
                if column > 66 {
                    text.push_str("\r\n");
                    column = 0;
                } else {
                    text.push(' ');
                }
            }
        }
        text.push_str("\r\n\r\n");
    }

    fn words(&self, random: &mut Random, text: &mut String, count: usize) {
        for position in 0..count {
            if position > 0 {
                text.push(' ');
            }
            self.word(random, text, position == 0);
        }
    }

    fn word(&self, random: &mut Random, text: &mut String, capital: bool) {
        let roll = random.next_u64();
        // One word in 40 is a number or a name made up on the spot, as in real mail.
        match roll % 40 {
            0 => {
                let _ = write!(text, "{}", random.below(9_000) + 10);
                return;
            }
            1 => return name(random, text),
            _ => {}
        }
        let start = text.len();
        text.push_str(self.table[(roll >> 32) as usize % self.table.len()]);
        if capital && let Some(first) = text.get_mut(start..=start) {
            first.make_ascii_uppercase();
        }
    }
}

/// A name that no list holds: two to four syllables.
fn name(random: &mut Random, text: &mut String) {
    let start = text.len();
    for _ in 0..2 + random.below(3) {
        let syllable = random.below(SYLLABLES.len() as u64) as usize;
        text.push_str(SYLLABLES[syllable]);
    }
    if let Some(first) = text.get_mut(start..=start) {
        first.make_ascii_uppercase();
    }
}

/// Each word as often as Zipf's law (with Mandelbrot's offset of 2.7) gives it.
fn word_table() -> Vec<&'static str> {
    const SLOTS: f64 = 8192.0;
    let weight = |rank: usize| 1.0 / (rank as f64 + 2.7);
    let words: Vec<&str> = WORDS.split_ascii_whitespace().collect();
    let total: f64 = (0..words.len()).map(weight).sum();
    let mut table = Vec::with_capacity(10_000);
    for (rank, word) in words.into_iter().enumerate() {
        let slots = (weight(rank) / total * SLOTS).ceil() as usize;
        table.extend(std::iter::repeat_n(word, slots));
    }
    table
}

const SYLLABLES: &[&str] = &[
    "ba", "ri", "lo", "ken", "sha", "mir", "tol", "ves", "an", "dor", "el", "quin", "ju", "pe",
    "gar", "ost", "wen", "hil", "cor", "nay", "fi", "zu", "bro", "lyn", "tam", "ek", "sor", "vi",
];

/// Common English words, the most frequent first.
const WORDS: &str = include_str!("words.txt");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_writes_the_same_letter_and_each_number_another() {
        let heading = |number| Heading {
            from: "a@red.test",
            to: "b@black.test",
            number,
        };
        let (one, other) = (Writer::new(7), Writer::new(7));
        assert_eq!(
            one.letter(heading(1), 5_000),
            other.letter(heading(1), 5_000)
        );
        assert_ne!(one.letter(heading(1), 5_000), one.letter(heading(2), 5_000));
    }

    #[test]
    fn a_letter_has_the_size_asked_for_and_clean_lines() {
        let heading = Heading {
            from: "a@red.test",
            to: "b@black.test",
            number: 3,
        };
        for bytes in [400, 5_120, 50_000] {
            let letter = Writer::new(1).letter(heading, bytes);
            assert!(
                letter.len().abs_diff(bytes) < 8,
                "{} for {bytes}",
                letter.len()
            );
            assert!(letter.ends_with("\r\n"));
            assert!(
                letter
                    .split("\r\n")
                    .all(|line| line.len() < 100 && !line.contains(['\r', '\n']))
            );
        }
    }
}
