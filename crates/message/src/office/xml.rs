//! Text out of XML, in one pass without a tree. No entity but the five of the standard and numbers
//! is known, so that none can expand.

/// Elements that begin or end a line, a cell or a paragraph.
const SEPARATES: [&str; 10] = [
    "p",
    "h",
    "tab",
    "br",
    "cr",
    "tc",
    "si",
    "s",
    "line-break",
    "row",
];

/// Collects text.
pub(super) struct XmlText {
    out: String,
    bytes_max: usize,
    /// Local names of the elements whose text counts.
    elements: &'static [&'static str],
    /// How many of them are open.
    open: usize,
    /// Whether the next text is on a line of its own.
    separated: bool,
}

impl XmlText {
    pub(super) fn new(elements: &'static [&'static str], bytes_max: usize) -> Self {
        Self {
            out: String::new(),
            bytes_max,
            elements,
            open: 0,
            separated: false,
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.out.len() >= self.bytes_max
    }

    pub(super) fn finish(self) -> String {
        self.out
    }

    /// Takes a file.
    pub(super) fn add(&mut self, xml: &str) {
        self.open = 0;
        self.separated = true;
        let mut rest = xml;
        while !rest.is_empty() && !self.is_full() {
            let end = rest.find('<').unwrap_or(rest.len());
            self.text(&rest[..end]);
            rest = &rest[end..];
            if let Some(comment) = rest.strip_prefix("<!--") {
                rest = after(comment, "-->");
            } else if let Some(data) = rest.strip_prefix("<![CDATA[") {
                let end = data.find("]]>").unwrap_or(data.len());
                self.push(&data[..end]);
                rest = after(data, "]]>");
            } else if let Some(tag) = rest.strip_prefix('<') {
                rest = self.tag(tag);
            }
        }
    }

    fn tag<'a>(&mut self, tag: &'a str) -> &'a str {
        let length = tag_length(tag);
        let inside = &tag[..length];
        let closes = inside.starts_with('/');
        let alone = inside.ends_with('/');
        let name = inside.strip_prefix('/').unwrap_or(inside);
        let end = name
            .find(|c: char| c.is_ascii_whitespace() || c == '/')
            .unwrap_or(name.len());
        let name = &name[..end];
        let local = name.rsplit_once(':').map_or(name, |(_, local)| local);
        if self.elements.contains(&local) && !alone {
            self.open = if closes {
                self.open.saturating_sub(1)
            } else {
                self.open.saturating_add(1)
            };
        }
        self.separated |= SEPARATES.contains(&local);
        tag.get(length + 1..).unwrap_or_default()
    }

    fn text(&mut self, text: &str) {
        let mut rest = text;
        while let Some(at) = rest.find('&') {
            self.push(&rest[..at]);
            rest = &rest[at..];
            // `&#x10FFFF;` is the longest.
            let end = rest.bytes().take(10).position(|byte| byte == b';');
            match end.and_then(|end| Some((end, entity(&rest[1..end])?))) {
                Some((end, c)) => {
                    self.push(c.encode_utf8(&mut [0; 4]));
                    rest = &rest[end + 1..];
                }
                None => {
                    self.push("&");
                    rest = &rest[1..];
                }
            }
        }
        self.push(rest);
    }

    fn push(&mut self, text: &str) {
        if text.is_empty() || self.open == 0 || self.is_full() {
            return;
        }
        if self.separated && !self.out.is_empty() {
            self.out.push('\n');
        }
        self.separated = false;
        let room = self.bytes_max.saturating_sub(self.out.len());
        self.out.push_str(&text[..text.floor_char_boundary(room)]);
    }
}

/// Bytes up to the `>` that ends a tag; an attribute may hold one.
fn tag_length(tag: &str) -> usize {
    let mut quote = None;
    for (at, byte) in tag.bytes().enumerate() {
        match (quote, byte) {
            (None, b'>') => return at,
            (None, b'"' | b'\'') => quote = Some(byte),
            (Some(open), close) if open == close => quote = None,
            _ => {}
        }
    }
    tag.len()
}

fn after<'a>(text: &'a str, end: &str) -> &'a str {
    text.find(end).map_or("", |at| &text[at + end.len()..])
}

fn entity(name: &str) -> Option<char> {
    Some(match name {
        "amp" => '&',
        "lt" => '<',
        "gt" => '>',
        "quot" => '"',
        "apos" => '\'',
        _ => {
            let number = name.strip_prefix('#')?;
            let code = match number.strip_prefix('x') {
                Some(hex) => u32::from_str_radix(hex, 16).ok()?,
                None => number.parse().ok()?,
            };
            char::from_u32(code)?
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(xml: &str) -> String {
        let mut text = XmlText::new(&["t"], 100);
        text.add(xml);
        text.finish()
    }

    #[test]
    fn texts() {
        assert_eq!(
            text("<t a='>'>x</t>no<t/>no<p/><t><![CDATA[<y>]]></t>"),
            "x\n<y>"
        );
        assert_eq!(text("<t>&lt;&#65;&#x42;&bogus;&</t>"), "<AB&bogus;&");
        assert_eq!(text("<!-- <t>no</t> --><t>a"), "a");
        assert_eq!(text("</t></t><t>a</t>"), "a");
        assert_eq!(text(&format!("<t>{}</t>", "\u{e4}".repeat(99))).len(), 100);
    }

    proptest! {
        #[test]
        fn nothing_panics(xml in "(<|>|/|&|;|t|p|'|\"|#|x|\u{e4}| |<!--|-->|<!\\[CDATA\\[|\\]\\]>){0,60}") {
            prop_assert!(text(&xml).len() <= 110);
        }
    }
}
