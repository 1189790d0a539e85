//! HTML to plain text, for previews, search and replies. It looks only at tags and entities, in one
//! pass, and builds no tree; its output is text and never HTML.

/// The text of an HTML body, at most about `bytes_max` bytes of it.
#[must_use]
pub fn html_to_text(html: &str, bytes_max: usize) -> String {
    let mut stripper = Stripper {
        out: String::with_capacity(html.len().min(bytes_max)),
        space: false,
        never_closed: [false; HIDDEN.len()],
    };
    let mut rest = html;
    while !rest.is_empty() && stripper.out.len() < bytes_max {
        let end = rest.find(['<', '&']).unwrap_or(rest.len());
        stripper.text(&rest[..end]);
        rest = &rest[end..];
        if rest.starts_with('<') {
            rest = stripper.markup(rest);
        } else if rest.starts_with('&') {
            rest = stripper.entity(rest);
        }
    }
    let mut out = stripper.out;
    out.truncate(out.trim_end().len());
    out
}

/// Elements whose content is no text for people.
const HIDDEN: [&str; 5] = ["script", "style", "head", "title", "template"];

struct Stripper {
    out: String,
    /// Hidden elements that were found to have no end, so that the end is looked for only once.
    never_closed: [bool; HIDDEN.len()],
    /// Whether white space was seen since the last text.
    space: bool,
}

impl Stripper {
    fn text(&mut self, text: &str) {
        for c in text.chars() {
            self.push(c);
        }
    }

    fn push(&mut self, c: char) {
        if c.is_whitespace() {
            self.space = true;
        } else if !c.is_control() {
            if self.space && !self.out.is_empty() && !self.out.ends_with('\n') {
                self.out.push(' ');
            }
            self.space = false;
            self.out.push(c);
        }
    }

    fn new_line(&mut self) {
        self.out.truncate(self.out.trim_end_matches(' ').len());
        // One empty line at most, none at the start.
        if !self.out.is_empty() && !self.out.ends_with("\n\n") {
            self.out.push('\n');
        }
        self.space = false;
    }

    /// Passes over the tag, comment or hidden element at the start; gives what is after it.
    fn markup<'a>(&mut self, rest: &'a str) -> &'a str {
        if let Some(comment) = rest.strip_prefix("<!--") {
            return comment.find("-->").map_or("", |end| &comment[end + 3..]);
        }
        let inside = &rest[1..];
        let closing = inside.starts_with('/');
        let name_start = inside.strip_prefix('/').unwrap_or(inside);
        let name_end = name_start
            .find(|c: char| !c.is_ascii_alphanumeric())
            .unwrap_or(name_start.len());
        let name = &name_start[..name_end.min(16)];
        if name.is_empty() && !inside.starts_with(['!', '?', '/']) {
            // A bare `<` in a text.
            self.push('<');
            return inside;
        }
        let after = tag_end(inside);
        let is = |names: &[&str]| names.iter().any(|n| name.eq_ignore_ascii_case(n));
        let hidden = HIDDEN.iter().position(|n| name.eq_ignore_ascii_case(n));
        if let Some(hidden) = hidden.filter(|at| !closing && !self.never_closed[*at]) {
            if let Some(after) = after_closing(after, name) {
                return after;
            }
            // The rest is taken as text rather than lost.
            self.never_closed[hidden] = true;
        }
        if is(&["br"]) {
            self.new_line();
        } else if is(&[
            "p",
            "div",
            "tr",
            "li",
            "ul",
            "ol",
            "table",
            "h1",
            "h2",
            "h3",
            "h4",
            "h5",
            "h6",
            "blockquote",
            "pre",
            "hr",
            "section",
            "article",
            "header",
            "footer",
        ]) {
            if !self.out.ends_with('\n') {
                self.new_line();
            }
        } else if is(&["td", "th"]) {
            self.space = true;
        }
        after
    }

    /// Reads the entity at the start; gives what is after it.
    fn entity<'a>(&mut self, rest: &'a str) -> &'a str {
        // The longest names that are known here have 8 letters.
        let end = rest
            .bytes()
            .take(12)
            .position(|b| b == b';')
            .filter(|end| *end > 1);
        if let Some(end) = end
            && let Some(c) = entity(&rest[1..end])
        {
            self.push(c);
            return &rest[end + 1..];
        }
        self.push('&');
        &rest[1..]
    }
}

/// What is after the `>` that ends a tag; quotes may hold one.
fn tag_end(inside: &str) -> &str {
    let mut quote = None;
    for (at, byte) in inside.bytes().enumerate() {
        match (quote, byte) {
            (None, b'>') => return &inside[at + 1..],
            (None, b'"' | b'\'') => quote = Some(byte),
            (Some(open), close) if open == close => quote = None,
            _ => {}
        }
    }
    // An unclosed quote would eat the letter: then the first `>` ends it.
    match quote {
        Some(_) => inside.find('>').map_or("", |at| &inside[at + 1..]),
        None => "",
    }
}

/// What is after `</name…>`. Elements that hold no text do not nest.
fn after_closing<'a>(rest: &'a str, name: &str) -> Option<&'a str> {
    let mut from = 0;
    while let Some(at) = rest[from..].find("</") {
        let start = from + at + 2;
        let found = rest[start..].get(..name.len());
        if found.is_some_and(|found| found.eq_ignore_ascii_case(name)) {
            return Some(tag_end(&rest[start..]));
        }
        from = start;
    }
    None
}

fn entity(name: &str) -> Option<char> {
    if let Some(number) = name.strip_prefix('#') {
        let code = match number.strip_prefix(['x', 'X']) {
            Some(hex) => u32::from_str_radix(hex, 16).ok()?,
            None => number.parse().ok()?,
        };
        return char::from_u32(code);
    }
    Some(match name {
        "amp" => '&',
        "lt" => '<',
        "gt" => '>',
        "quot" => '"',
        "apos" => '\'',
        "nbsp" | "ensp" | "emsp" | "thinsp" => ' ',
        "zwnj" => '\u{200c}',
        "shy" => '\u{ad}',
        "copy" => '©',
        "reg" => '®',
        "trade" => '™',
        "euro" => '€',
        "pound" => '£',
        "hellip" => '…',
        "mdash" => '—',
        "ndash" => '–',
        "laquo" => '«',
        "raquo" => '»',
        "lsquo" => '‘',
        "rsquo" => '’',
        "ldquo" => '“',
        "rdquo" => '”',
        "bull" => '•',
        "middot" => '·',
        "auml" => 'ä',
        "ouml" => 'ö',
        "uuml" => 'ü',
        "Auml" => 'Ä',
        "Ouml" => 'Ö',
        "Uuml" => 'Ü',
        "szlig" => 'ß',
        "eacute" => 'é',
        "egrave" => 'è',
        "agrave" => 'à',
        "ccedil" => 'ç',
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(html: &str, expected: &str) {
        assert_eq!(html_to_text(html, 1_000), expected);
    }

    #[test]
    fn tags_go_and_text_stays() {
        check(
            "<html><head><title>x</title><style>p > a {}</style></head><body><p>Hello,\n <b>world</b>!</p><p>Next<br>line &amp; more &#8364;&#x20ac;</body>",
            "Hello, world!\nNext\nline & more €€",
        );
        check("<!-- a > b -->x<img alt=\"a>b\">y", "xy");
        check("1 < 2 &bogus; & <", "1 < 2 &bogus; & <");
        check("<script>never closed", "never closed");
        check("a<b title=\"open>c", "ac");
        check("<td>a</td><td>b</td>", "a b");
    }

    #[test]
    fn the_output_is_bounded() {
        assert!(html_to_text(&"word ".repeat(1_000), 100).len() < 6_000);
    }
}
