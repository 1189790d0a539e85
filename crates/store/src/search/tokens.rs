//! Words of a text, the same for every engine and language.
//!
//! A word is a run of letters and digits, with upper and lower case, accents and forms of width put
//! together (`Größe` is `grosse`, `ｆｕｌｌ` is `full`). Scripts that put no spaces between words
//! (Chinese, Japanese, Korean, Thai, Lao, Khmer, Burmese) are split into pairs of letters, each
//! letter but the last beginning one; the last stands alone, so that every letter begins a token
//! and one letter is found as the beginning of a pair.
//!
//! Addresses, host names and numbers with signs in them are the sequence of their parts: they are
//! found whole as a phrase, and by each part. No words are left out and none are put to their stems:
//! both need to know the language.

use std::ops::Range;

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

/// Bytes of a token; the rest of a longer word does not count, neither here nor in a query.
pub(crate) const TOKEN_BYTES_MAX: usize = 64;

/// Calls `take` with each token in order, until it answers `false`.
pub(crate) fn each_token(text: &str, mut take: impl FnMut(&str) -> bool) {
    let mut splitter = Splitter {
        token: String::with_capacity(TOKEN_BYTES_MAX + 4),
        pending: None,
        take: &mut take,
        goes_on: true,
    };
    // Pieces between the signs of ASCII, which no normal form changes or joins across.
    for piece in text.split(|c: char| c.is_ascii() && !c.is_ascii_alphanumeric()) {
        if piece.is_ascii() {
            splitter.ascii(piece);
        } else {
            splitter.unicode(piece);
        }
        if !splitter.goes_on {
            return;
        }
    }
}

/// All tokens of a text, at most `tokens_max`.
pub(crate) fn tokens(text: &str, tokens_max: usize) -> Vec<Box<str>> {
    let mut out = Vec::new();
    if tokens_max > 0 {
        each_token(text, |token| {
            out.push(Box::from(token));
            out.len() < tokens_max
        });
    }
    out
}

/// Calls `take` with each token and where its letters stand in the text. Signs that become letters
/// (such as `½`) belong to one token here; otherwise the tokens are those of [`each_token`].
pub(crate) fn each_token_at(text: &str, mut take: impl FnMut(&str, Range<usize>)) {
    // Where a word began; and the last letter of a script without spaces, with its place.
    let mut word: Option<usize> = None;
    let mut letter: Option<Range<usize>> = None;
    let mut emit = |range: Range<usize>| {
        let token: String = fold(&text[range.clone()]).collect();
        let end = token.floor_char_boundary(TOKEN_BYTES_MAX);
        if end > 0 {
            take(&token[..end], range);
        }
    };
    for (at, c) in text.char_indices() {
        let class = fold(c.encode_utf8(&mut [0; 4])).next().map(class_of);
        let here = at..at + c.len_utf8();
        match class {
            // An accent belongs to the letter before it.
            None => {
                if let Some(letter) = &mut letter {
                    letter.end = here.end;
                }
            }
            Some(Class::Word) => {
                if let Some(last) = letter.take() {
                    emit(last);
                }
                word.get_or_insert(at);
            }
            Some(Class::Pairs) => {
                if let Some(start) = word.take() {
                    emit(start..at);
                }
                if let Some(first) = letter.replace(here.clone()) {
                    emit(first.start..here.end);
                }
            }
            Some(Class::None) => {
                if let Some(start) = word.take() {
                    emit(start..at);
                }
                if let Some(last) = letter.take() {
                    emit(last);
                }
            }
        }
    }
    if let Some(start) = word {
        emit(start..text.len());
    }
    if let Some(last) = letter {
        emit(last);
    }
}

/// Whether a token is of a script that is split into pairs of letters.
pub(crate) fn is_of_pairs(token: &str) -> bool {
    token.chars().all(|c| class_of(c) == Class::Pairs)
}

/// How a letter is put into tokens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Class {
    /// Between words.
    None,
    /// Part of a word.
    Word,
    /// A letter of a script without spaces.
    Pairs,
}

struct Splitter<'t> {
    /// The word so far.
    token: String,
    /// The last letter of a script without spaces, whose token waits for the next one.
    pending: Option<char>,
    take: &'t mut dyn FnMut(&str) -> bool,
    goes_on: bool,
}

impl Splitter<'_> {
    /// A piece of ASCII letters and digits: nearly all there is.
    fn ascii(&mut self, piece: &str) {
        if piece.is_empty() {
            return;
        }
        self.token.clear();
        self.token
            .push_str(&piece[..piece.len().min(TOKEN_BYTES_MAX)]);
        self.token.make_ascii_lowercase();
        self.goes_on = self.goes_on && (self.take)(&self.token);
        self.token.clear();
    }

    fn unicode(&mut self, piece: &str) {
        for c in fold(piece) {
            match class_of(c) {
                Class::None => self.end(),
                Class::Word => {
                    self.end_pairs();
                    if self.token.len() + c.len_utf8() <= TOKEN_BYTES_MAX {
                        self.token.push(c);
                    }
                }
                Class::Pairs => {
                    self.end_word();
                    if let Some(first) = self.pending.replace(c) {
                        self.emit(&[first, c]);
                    }
                }
            }
            if !self.goes_on {
                return;
            }
        }
        self.end();
    }

    fn end(&mut self) {
        self.end_word();
        self.end_pairs();
    }

    fn end_word(&mut self) {
        if !self.token.is_empty() {
            self.goes_on = self.goes_on && (self.take)(&self.token);
            self.token.clear();
        }
    }

    fn end_pairs(&mut self) {
        if let Some(last) = self.pending.take() {
            self.emit(&[last]);
        }
    }

    fn emit(&mut self, letters: &[char]) {
        let token: String = letters.iter().collect();
        self.goes_on = self.goes_on && (self.take)(&token);
    }
}

/// The letters of a text without what does not tell words apart.
fn fold(text: &str) -> impl Iterator<Item = char> {
    // Accents stand apart in the compatible decomposed form; what is left is put together again,
    // because Korean syllables and Japanese voiced letters come apart too.
    text.nfkd()
        .filter(|c| !is_accent(*c))
        .flat_map(char::to_lowercase)
        .flat_map(expand)
        // A capital with an accent of its own becomes a small letter with one.
        .filter(|c| !is_accent(*c))
        .nfc()
}

/// Marks over and under letters of alphabets that can be read without them: Latin, Greek, Cyrillic,
/// Hebrew, Arabic. Vowel signs of Indian scripts are not among them, as they are letters.
fn is_accent(c: char) -> bool {
    matches!(c,
        '\u{300}'..='\u{36f}'
        | '\u{483}'..='\u{489}'
        | '\u{591}'..='\u{5bd}' | '\u{5bf}' | '\u{5c1}'..='\u{5c2}' | '\u{5c4}'..='\u{5c5}' | '\u{5c7}'
        | '\u{610}'..='\u{61a}' | '\u{640}' | '\u{64b}'..='\u{65f}' | '\u{670}'
        | '\u{6d6}'..='\u{6dc}' | '\u{6df}'..='\u{6e4}' | '\u{6e7}'..='\u{6e8}' | '\u{6ea}'..='\u{6ed}'
        | '\u{1ab0}'..='\u{1aff}' | '\u{1dc0}'..='\u{1dff}' | '\u{20d0}'..='\u{20ff}'
        | '\u{fe00}'..='\u{fe0f}' | '\u{fe20}'..='\u{fe2f}'
        // Marks that nobody sees: soft hyphen, joiners, directions, byte order.
        | '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2064}'
        | '\u{feff}')
}

/// Letters that are written as others where they are missing, and the two forms of sigma.
fn expand(c: char) -> impl Iterator<Item = char> {
    let (first, second) = match c {
        'ß' => ('s', Some('s')),
        'æ' => ('a', Some('e')),
        'œ' => ('o', Some('e')),
        'þ' => ('t', Some('h')),
        'ø' => ('o', None),
        'đ' | 'ð' => ('d', None),
        'ł' => ('l', None),
        'ħ' => ('h', None),
        'ı' => ('i', None),
        'ς' => ('σ', None),
        other => (other, None),
    };
    std::iter::once(first).chain(second)
}

fn class_of(c: char) -> Class {
    match c {
        'a'..='z' | '0'..='9' => Class::Word,
        '\0'..='\u{a9}' => Class::None,
        _ if has_no_spaces(c) => Class::Pairs,
        _ if c.is_alphanumeric() || is_combining_mark(c) => Class::Word,
        _ => Class::None,
    }
}

/// Letters of scripts that put no spaces between words, by block; signs and digits in them are not
/// letters.
fn has_no_spaces(c: char) -> bool {
    let in_block = matches!(c,
        // Thai and Lao, Burmese, Khmer.
        '\u{e00}'..='\u{eff}' | '\u{1000}'..='\u{109f}' | '\u{1780}'..='\u{17ff}'
        // Japanese, with the signs of repetition and length; Bopomofo; Korean.
        | '\u{3005}'..='\u{3007}' | '\u{3031}'..='\u{3035}' | '\u{3041}'..='\u{312f}'
        | '\u{31a0}'..='\u{31bf}' | '\u{31f0}'..='\u{31ff}' | '\u{ac00}'..='\u{d7a3}'
        // Chinese characters.
        | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{f900}'..='\u{faff}'
        | '\u{20000}'..='\u{3ffff}');
    in_block && (c.is_alphabetic() || is_combining_mark(c) || matches!(c, '々' | '〇' | 'ー'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(text: &str, expected: &str) {
        assert_eq!(tokens(text, 100).join(" "), expected, "{text}");
    }

    #[test]
    fn words() {
        check("The quick, brown (fox)!", "the quick brown fox");
        check(
            "Größe Ångström ÉTÉ naïve İstanbul",
            "grosse angstrom ete naive istanbul",
        );
        check("ΟΔΟΣ οδός Ёлка", "οδοσ οδοσ елка");
        check("ｆｕｌｌ ﬁne ① x²", "full fine 1 x2");
        check("j.doe+tag@mail.red.test", "j doe tag mail red test");
        check(
            "don't foo_bar 3.14 2026-11-25",
            "don t foo bar 3 14 2026 11 25",
        );
        check("שָׁלוֹם مُحَمَّد", "שלום محمد");
        check("so\u{ad}ft z\u{200b}ero", "soft zero");
        check("हिन्दी भाषा", "हिन्दी भाषा");
        check("", "");
        check("--- !?", "");
    }

    #[test]
    fn scripts_without_spaces() {
        check("東京都", "東京 京都 都");
        check("東 京", "東 京");
        check("東京abc大", "東京 京 abc 大");
        check("データ。ガ", "デー ータ タ ガ");
        check("ﾃﾞｰﾀ", "デー ータ タ");
        check("한국어", "한국 국어 어");
        check("สวัสดี", "สว วั ัส สด ดี ี");
    }

    #[test]
    fn pairs_are_known() {
        assert!(is_of_pairs("東京") && is_of_pairs("ก") && !is_of_pairs("abc"));
    }

    #[test]
    fn bounds() {
        let long = "x".repeat(1_000);
        assert_eq!(
            tokens(&long, 9),
            [Box::from("x".repeat(TOKEN_BYTES_MAX).as_str())]
        );
        let long = "й".repeat(1_000);
        assert_eq!(tokens(&long, 9)[0].len(), TOKEN_BYTES_MAX);
        assert_eq!(tokens(&"a ".repeat(100), 7).len(), 7);
        assert_eq!(tokens("a b", 0).len(), 0);
    }

    proptest! {
        /// What the engines rely on: tokens are short, not empty, and hold no space, quote or `/`.
        #[test]
        fn tokens_are_plain(text in "\\PC{0,40}|[ -~äéßİ東京ก-๛가-힣\u{300}-\u{303}]{0,60}") {
            each_token(&text, |token| {
                assert!((1..=TOKEN_BYTES_MAX).contains(&token.len()));
                assert!(token.chars().all(|c| !c.is_whitespace() && !c.is_control()));
                assert!(!token.contains(['/', '\'', '"', '\\', '*', ':']));
                assert!(!token.bytes().any(|byte| byte.is_ascii_uppercase()));
                true
            });
        }

        /// Folding again changes nothing, so that a query made of tokens finds them.
        #[test]
        fn tokens_of_words_stay(text in "[a-zA-Z0-9äÉßøŁİςΣйЁ]{1,20}") {
            let once = tokens(&text, 100);
            prop_assert_eq!(tokens(&once.join(" "), 100), once);
        }

        /// Both ways to split a text agree.
        #[test]
        fn places_have_the_same_tokens(text in "[a-zA-Z ,äÉ東京ก데\u{301}]{0,40}") {
            let mut found = Vec::new();
            each_token_at(&text, |token, range| {
                assert!(text.get(range).is_some());
                found.push(Box::from(token));
            });
            prop_assert_eq!(found, tokens(&text, 1_000));
        }

        /// Texts one after another give their tokens one after another.
        #[test]
        fn texts_do_not_run_together(a in "\\PC{0,20}", b in "\\PC{0,20}") {
            let both = tokens(&format!("{a} {b}"), 1_000);
            let mut apart = tokens(&a, 1_000);
            apart.extend(tokens(&b, 1_000));
            prop_assert_eq!(both, apart);
        }
    }
}
