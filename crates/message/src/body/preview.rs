//! Previews: the first words of a letter, for lists (RFC 8621 §4.1.4 `preview`, RFC 8970).

/// RFC 8621 §4.1.4: at most 256 characters.
pub const PREVIEW_CHARS_MAX: usize = 256;

/// The first characters of a plain text: white space put together, quoted lines and the lines that
/// introduce them left out where there is other text.
#[must_use]
pub fn preview_of(text: &str, chars_max: usize) -> String {
    let own = collect(text.lines().filter(|line| !is_quote(line)), chars_max);
    if own.is_empty() {
        collect(text.lines(), chars_max)
    } else {
        own
    }
}

fn is_quote(line: &str) -> bool {
    let line = line.trim();
    // "On Monday, Bob wrote:" ends so in many languages; without the quote it says nothing.
    line.starts_with('>')
        || (line.ends_with("wrote:") || line.ends_with("schrieb:") || line.ends_with("a écrit :"))
}

fn collect<'a>(lines: impl Iterator<Item = &'a str>, chars_max: usize) -> String {
    let mut out = String::new();
    let mut chars = 0;
    for line in lines {
        // RFC 3676 §4.3: what is after it is the signature.
        if line == "-- " {
            break;
        }
        // A ruler of one repeated sign says nothing.
        for word in line.split_whitespace().filter(|word| !is_ruler(word)) {
            let space = usize::from(!out.is_empty());
            if chars + space >= chars_max {
                return out;
            }
            if space == 1 {
                out.push(' ');
            }
            let left = chars_max - chars - space;
            let before = out.len();
            out.extend(word.chars().filter(|c| !c.is_control()).take(left));
            chars += space + out[before..].chars().count();
        }
    }
    out
}

fn is_ruler(word: &str) -> bool {
    let mut bytes = word.bytes();
    matches!(bytes.next(), Some(first @ (b'-' | b'=' | b'_' | b'*' | b'~' | b'#'))
        if word.len() >= 4 && bytes.all(|b| b == first))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn previews() {
        let check = |text: &str, expected: &str| assert_eq!(preview_of(text, 20), expected);
        check("Hello,\r\n\r\n  world!", "Hello, world!");
        check("On Monday, Bob wrote:\n> old\n\nnew -----\n-- \nme", "new");
        check("> only\n> quotes", "> only > quotes");
        check("0123456789 0123456789", "0123456789 012345678");
        check("01234567890123456789 x", "01234567890123456789");
        check("", "");
    }
}
