//! Which parts are shown as text, which as HTML and which are attachments (RFC 8621 §4.1.4).

use super::{Content, Part};

/// The three lists of JMAP, in the order of the letter.
#[derive(Clone, Debug, Default)]
pub struct BodyLists<'a> {
    /// `textBody`.
    pub text: Vec<&'a Part>,
    /// `htmlBody`.
    pub html: Vec<&'a Part>,
    /// `attachments`.
    pub attachments: Vec<&'a Part>,
}

/// Which lists a part may still go into; the algorithm's `null` lists.
#[derive(Clone, Copy)]
struct Open {
    text: bool,
    html: bool,
    in_alternative: bool,
}

impl<'a> BodyLists<'a> {
    /// The lists of a letter.
    #[must_use]
    pub fn of(root: &'a Part) -> Self {
        let mut lists = Self::default();
        let open = Open {
            text: true,
            html: true,
            in_alternative: false,
        };
        lists.add(std::slice::from_ref(root), "mixed", open);
        lists
    }

    /// RFC 8621 §4.1.4: the algorithm it suggests.
    fn add(&mut self, parts: &'a [Part], multipart: &str, mut open: Open) {
        let (text_before, html_before) = (self.text.len(), self.html.len());
        for (at, part) in parts.iter().enumerate() {
            if let Content::Multipart(children) = &part.content {
                let inside = Open {
                    in_alternative: open.in_alternative || part.subtype == "alternative",
                    ..open
                };
                self.add(children, &part.subtype, inside);
            } else if is_inline(part, at == 0, multipart) {
                self.add_inline(part, multipart, &mut open);
            } else {
                self.attachments.push(part);
            }
        }
        if multipart == "alternative" && open.text && open.html {
            let (found_text, found_html) =
                (self.text.len() > text_before, self.html.len() > html_before);
            if found_html && !found_text {
                self.text.extend_from_slice(&self.html[html_before..]);
            } else if found_text && !found_html {
                self.html.extend_from_slice(&self.text[text_before..]);
            }
        }
    }

    fn add_inline(&mut self, part: &'a Part, multipart: &str, open: &mut Open) {
        let (is_text, is_html) = (part.is("text", "plain"), part.is("text", "html"));
        if multipart == "alternative" {
            if is_text {
                self.text.push(part);
            } else if is_html {
                self.html.push(part);
            } else {
                self.attachments.push(part);
            }
            return;
        }
        if open.in_alternative {
            open.html &= !is_text;
            open.text &= !is_html;
        }
        if open.text {
            self.text.push(part);
        }
        if open.html {
            self.html.push(part);
        }
        if (!open.text || !open.html) && is_inline_media(part) {
            self.attachments.push(part);
        }
    }
}

fn is_inline_media(part: &Part) -> bool {
    matches!(part.content_type.as_str(), "image" | "audio" | "video")
}

fn is_inline(part: &Part, first: bool, multipart: &str) -> bool {
    let media = is_inline_media(part);
    !part.is_attachment()
        && (part.is("text", "plain") || part.is("text", "html") || media)
        && (first || (multipart != "related" && (media || part.filename().is_none())))
}
