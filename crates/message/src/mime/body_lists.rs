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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Message;

    /// The example of RFC 8621 §4.1.4; each leaf has its letter as body.
    #[test]
    fn the_example_of_the_rfc() {
        fn multipart(subtype: &str, parts: &[String]) -> String {
            // Each boundary must be another one.
            let boundary = format!("b{}", parts.concat().len());
            let parts: String = parts
                .iter()
                .map(|p| format!("--{boundary}\n{p}\n"))
                .collect();
            format!(
                "Content-Type: multipart/{subtype}; boundary={boundary}\n\n{parts}--{boundary}--\n"
            )
        }
        let leaf = |media_type: &str, disposition: &str, name: &str| {
            format!("Content-Type: {media_type}\n{disposition}\n{name}")
        };
        let (none, inline) = ("", "Content-Disposition: inline\n");
        let attachment = "Content-Disposition: attachment\n";
        let letter = multipart(
            "mixed",
            &[
                leaf("text/plain", inline, "A"),
                multipart(
                    "mixed",
                    &[
                        multipart(
                            "alternative",
                            &[
                                multipart(
                                    "mixed",
                                    &[
                                        leaf("text/plain", inline, "B"),
                                        leaf("image/jpeg", inline, "C"),
                                        leaf("text/plain", inline, "D"),
                                    ],
                                ),
                                multipart(
                                    "related",
                                    &[leaf("text/html", none, "E"), leaf("image/jpeg", none, "F")],
                                ),
                            ],
                        ),
                        leaf("image/jpeg", attachment, "G"),
                        leaf("application/x-excel", none, "H"),
                        leaf("message/rfc822", none, "J"),
                    ],
                ),
                leaf("text/plain", inline, "K"),
            ],
        );
        let message = Message::parse(letter.as_bytes());
        let lists = message.body_lists();
        let shown = |parts: &[&Part]| {
            parts
                .iter()
                .map(|p| String::from_utf8_lossy(message.bytes(p.body)).into_owned())
                .collect::<String>()
        };
        assert_eq!(shown(&lists.text), "ABCDK");
        assert_eq!(shown(&lists.html), "AEK");
        assert_eq!(shown(&lists.attachments), "CFGHJ");
    }

    #[test]
    fn an_alternative_of_one_kind_is_both() {
        let raw = b"Content-Type: multipart/alternative; boundary=x\n\n--x\n\
            Content-Type: text/html\n\n<p>x</p>\n--x--";
        let message = Message::parse(raw);
        let lists = message.body_lists();
        assert_eq!((lists.text.len(), lists.html.len()), (1, 1));
        assert_eq!(message.text_body(), "x");
    }
}
