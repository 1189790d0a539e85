//! Writing the field (RFC 8601 §2.2). Values come from strangers, so nothing of them can end the
//! field, the value or the comment that it stands in.

use super::{AuthResults, FIELD_NAME, MethodResult};

/// Bytes of one value, comment or reason; the longest address has 254.
const VALUE_BYTES_MAX: usize = 300;
/// RFC 5322 §2.1.1: lines should be no longer than this.
const LINE_BYTES: usize = 78;

impl AuthResults {
    /// The whole field with its line end, a result to a line. With `utf8`, characters beyond ASCII are
    /// kept (RFC 8616 §6: in international letters only), otherwise they become `?`.
    #[must_use]
    pub fn field(&self, utf8: bool) -> Vec<u8> {
        let mut lines = Lines::new(format!("{FIELD_NAME}:"));
        lines.push(&self.payload_words(utf8));
        lines.finish().into_bytes()
    }

    /// What stands after the field's name, on one line: for the journey, the log, and the
    /// ARC-Authentication-Results field (RFC 8617 §4.1.1).
    #[must_use]
    pub fn payload(&self, utf8: bool) -> String {
        let words = self.payload_words(utf8);
        let words: Vec<String> = words.into_iter().flatten().collect();
        words.join(" ")
    }

    /// The words of each line.
    fn payload_words(&self, utf8: bool) -> Vec<Vec<String>> {
        let mut lines = vec![vec![format!("{};", value(&self.server, utf8))]];
        if self.results.is_empty() {
            lines.push(vec!["none".to_owned()]);
        }
        for (position, result) in self.results.iter().enumerate() {
            let mut words = result.words(utf8);
            if position + 1 < self.results.len()
                && let Some(last) = words.last_mut()
            {
                last.push(';');
            }
            lines.push(words);
        }
        lines
    }
}

impl MethodResult {
    fn words(&self, utf8: bool) -> Vec<String> {
        let mut words = vec![format!(
            "{}={}",
            keyword(&self.method),
            keyword(&self.result)
        )];
        if let Some(comment) = &self.comment {
            words.push(format!("({})", escaped(comment, "()\\", utf8)));
        }
        if let Some(reason) = &self.reason {
            words.push(format!("reason={}", quoted(reason, utf8)));
        }
        for property in &self.properties {
            let (kind, name) = (keyword(&property.kind), keyword(&property.name));
            words.push(format!("{kind}.{name}={}", value(&property.value, utf8)));
        }
        words
    }
}

/// Folded lines: a new one for each result, and where a line would be too long.
struct Lines {
    done: String,
    column: usize,
}

impl Lines {
    fn new(start: String) -> Self {
        Self {
            column: start.len(),
            done: start,
        }
    }

    fn push(&mut self, lines: &[Vec<String>]) {
        for (position, words) in lines.iter().enumerate() {
            if position > 0 {
                self.fold();
            }
            for (nth, word) in words.iter().enumerate() {
                let at_start = position > 0 && nth == 0;
                if !at_start {
                    if self.column + 1 + word.len() > LINE_BYTES {
                        self.fold();
                    } else {
                        self.done.push(' ');
                        self.column += 1;
                    }
                }
                self.done.push_str(word);
                self.column += word.len();
            }
        }
    }

    fn fold(&mut self) {
        self.done.push_str("\r\n\t");
        self.column = 8;
    }

    fn finish(mut self) -> String {
        self.done.push_str("\r\n");
        self.done
    }
}

/// A name of our own making; anything else in it is left out.
fn keyword(text: &str) -> String {
    text.chars()
        .filter(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
        .collect()
}

/// `pvalue`: bare where it is a token, a domain or a plain address, else quoted.
fn value(text: &str, utf8: bool) -> String {
    let plain = |part: &str| {
        part.bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-^_`{|}~.".contains(&byte))
    };
    let bare = match text.rsplit_once('@') {
        Some((local, domain)) => !domain.is_empty() && plain(local) && plain(domain),
        None => !text.is_empty() && plain(text),
    };
    if bare && text.len() <= VALUE_BYTES_MAX {
        text.to_owned()
    } else {
        quoted(text, utf8)
    }
}

fn quoted(text: &str, utf8: bool) -> String {
    format!("\"{}\"", escaped(text, "\"\\", utf8))
}

/// The text, cut to the limit, with a backslash before these characters. Control characters, and
/// with them line ends, become `?`.
fn escaped(text: &str, special: &str, utf8: bool) -> String {
    let mut written = String::with_capacity(text.len());
    for c in text.chars() {
        if written.len() >= VALUE_BYTES_MAX {
            break;
        }
        match c {
            c if c.is_control() || (!utf8 && !c.is_ascii()) => written.push('?'),
            c => {
                if special.contains(c) {
                    written.push('\\');
                }
                written.push(c);
            }
        }
    }
    written
}
