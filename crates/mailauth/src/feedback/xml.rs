//! Walks XML once, without a tree: the text of each element that holds no others, with the names of
//! those around it. No entity but the five of the standard is known, so that none can expand.

/// The deepest nesting; reports have six levels.
const DEPTH_MAX: usize = 16;

/// Tells the path and the text of every element without children, and, with an empty text, the end of
/// every other. `None` when the elements do not nest properly, or there is a document type.
pub(super) fn walk<'a>(xml: &'a str, mut tell: impl FnMut(&[&'a str], Option<&str>)) -> Option<()> {
    let mut path: Vec<&'a str> = Vec::new();
    let mut text = String::new();
    // Whether the element that is open has no child so far.
    let mut is_leaf = false;
    let mut rest = xml;
    while let Some(start) = rest.find('<') {
        push(&mut text, &rest[..start], is_leaf);
        rest = &rest[start..];
        if let Some(comment) = rest.strip_prefix("<!--") {
            rest = &comment[comment.find("-->")? + 3..];
        } else if let Some(data) = rest.strip_prefix("<![CDATA[") {
            let end = data.find("]]>")?;
            if is_leaf {
                text.push_str(&data[..end]);
            }
            rest = &data[end + 3..];
        } else {
            let end = rest.find('>')?;
            let tag = &rest[1..end];
            rest = &rest[end + 1..];
            // What a document type could declare, such as entities, no report needs.
            if path.is_empty() && tag.starts_with('?') {
                continue;
            }
            if tag.starts_with(['?', '!']) {
                return None;
            }
            if let Some(name) = tag.strip_prefix('/') {
                if path.last() != Some(&local(name)) {
                    return None;
                }
                tell(&path, is_leaf.then_some(text.trim()));
                path.pop();
                is_leaf = false;
            } else {
                if path.len() == DEPTH_MAX {
                    return None;
                }
                path.push(local(tag.trim_end_matches('/')));
                is_leaf = true;
                if tag.ends_with('/') {
                    tell(&path, Some(""));
                    path.pop();
                    is_leaf = false;
                }
            }
            text.clear();
        }
    }
    path.is_empty().then_some(())
}

/// The name of a tag without its attributes and its prefix.
fn local(tag: &str) -> &str {
    let name = tag.split_ascii_whitespace().next().unwrap_or("");
    name.rsplit(':').next().unwrap_or(name)
}

fn push(text: &mut String, raw: &str, wanted: bool) {
    if !wanted {
        return;
    }
    let mut rest = raw;
    while let Some(at) = rest.find('&') {
        text.push_str(&rest[..at]);
        rest = &rest[at..];
        let known = [
            ("&lt;", '<'),
            ("&gt;", '>'),
            ("&quot;", '"'),
            ("&apos;", '\''),
            ("&amp;", '&'),
        ];
        match known.iter().find(|(name, _)| rest.starts_with(name)) {
            Some((name, c)) => {
                text.push(*c);
                rest = &rest[name.len()..];
            }
            None => {
                text.push('&');
                rest = &rest[1..];
            }
        }
    }
    text.push_str(rest);
}
