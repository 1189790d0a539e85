//! Address lists (RFC 5322 §3.4 and §4.4), read liberally: groups, routes, comments as names,
//! quoted and unquoted phrases with dots, missing domains.

use super::text::bytes_to_utf8;
use super::{decode_words, unfold};

/// One mailbox of a field. The texts are as written: unquoted, encoded words not decoded.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Mailbox {
    /// The display name, or the comment of the old form `user@host (Name)`.
    pub name: Option<String>,
    /// The part before the `@`, without quotes.
    pub local: String,
    /// The part after the `@`; empty when there is none.
    pub domain: String,
}

impl Mailbox {
    /// The display name for people: encoded words decoded.
    #[must_use]
    pub fn display_name(&self) -> Option<String> {
        self.name.as_deref().map(|n| decode_words(n).into_owned())
    }

    /// `local@domain`, or the local part alone when there is no domain (JMAP `email`).
    #[must_use]
    pub fn email(&self) -> String {
        if self.domain.is_empty() {
            self.local.clone()
        } else {
            format!("{}@{}", self.local, self.domain)
        }
    }

    /// As an address that mail can be sent to.
    #[must_use]
    pub fn to_address(&self) -> Option<base::EmailAddress> {
        let email = format!("{}@{}", self.local, self.domain);
        base::EmailAddress::parse(&email).ok().or_else(|| {
            let escaped = self.local.replace('\\', "\\\\").replace('"', "\\\"");
            base::EmailAddress::parse(&format!("\"{escaped}\"@{}", self.domain)).ok()
        })
    }
}

/// `group = display-name ":" [group-list] ";"`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Group {
    /// Its name as written, unquoted.
    pub name: String,
    /// Its members.
    pub members: Vec<Mailbox>,
}

/// `address = mailbox / group`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Address {
    /// One mailbox.
    Mailbox(Mailbox),
    /// A named list of mailboxes.
    Group(Group),
}

/// The addresses of a field, in their order.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct AddressList(pub Vec<Address>);

impl AddressList {
    /// Whether there is no address and no group.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All mailboxes, those of groups too.
    pub fn mailboxes(&self) -> impl Iterator<Item = &Mailbox> {
        self.0.iter().flat_map(|address| match address {
            Address::Mailbox(mailbox) => std::slice::from_ref(mailbox),
            Address::Group(group) => group.members.as_slice(),
        })
    }
}

/// Reads an address list; at most `addresses_max` mailboxes and groups are kept.
#[must_use]
pub fn parse_addresses(value: &[u8], addresses_max: usize) -> AddressList {
    let unfolded = unfold(value);
    let text = bytes_to_utf8(&unfolded);
    let mut parser = Parser {
        rest: &text,
        left: addresses_max,
        list: Vec::new(),
        group: None,
        current: Current::default(),
    };
    parser.run();
    AddressList(parser.list)
}

/// What is known of the address being read.
#[derive(Default)]
struct Current {
    /// Words outside of angle brackets.
    phrase: String,
    /// The offset in `phrase` of the last `@` outside of quotes.
    at: Option<usize>,
    /// Whether white space stands before the next word.
    space: bool,
    /// The content of the angle brackets: local part and domain.
    angle: Option<(String, String)>,
    /// The last comment.
    comment: Option<String>,
}

struct Parser<'a> {
    rest: &'a str,
    left: usize,
    list: Vec<Address>,
    group: Option<Group>,
    current: Current,
}

impl Parser<'_> {
    fn run(&mut self) {
        while let Some(c) = self.rest.chars().next() {
            if self.left == 0 {
                break;
            }
            self.rest = &self.rest[c.len_utf8()..];
            match c {
                '(' => self.current.comment = Some(comment(&mut self.rest)),
                '"' => {
                    let text = quoted(&mut self.rest, '"');
                    self.word(&text);
                }
                '[' => {
                    let text = quoted(&mut self.rest, ']');
                    self.word(&format!("[{text}]"));
                }
                '<' => self.angle(),
                ',' => self.finish(),
                ';' => {
                    self.finish();
                    self.close_group();
                }
                ':' if self.group.is_none() && self.current.at.is_none() => self.open_group(),
                c if c.is_whitespace() => self.current.space = true,
                '@' => {
                    self.current.space = false;
                    self.current.at = Some(self.current.phrase.len());
                    self.current.phrase.push('@');
                }
                c => {
                    let end = self.rest.find(is_special).unwrap_or(self.rest.len());
                    let mut word = String::from(c);
                    word.push_str(&self.rest[..end]);
                    self.rest = &self.rest[end..];
                    self.word(&word);
                }
            }
        }
        self.finish();
        self.close_group();
    }

    fn word(&mut self, text: &str) {
        let current = &mut self.current;
        let after_at = current.at.is_some_and(|at| at + 1 == current.phrase.len());
        // Obsolete syntax has white space around the dots of an address.
        let dotted =
            current.at.is_some() && (text.starts_with('.') || current.phrase.ends_with('.'));
        if current.space && !current.phrase.is_empty() && !after_at && !dotted {
            current.phrase.push(' ');
        }
        current.space = false;
        current.phrase.push_str(text);
    }

    /// `angle-addr = "<" [obs-route] addr-spec ">"`.
    fn angle(&mut self) {
        // `<a@b> <c@d>` has no comma, but two addresses all the same: none may hide the other.
        if self.current.angle.is_some() {
            self.finish();
        }
        let mut local = String::new();
        let mut at = None;
        while let Some(c) = self.rest.chars().next() {
            self.rest = &self.rest[c.len_utf8()..];
            match c {
                '>' => break,
                '(' => drop(comment(&mut self.rest)),
                '"' => local.push_str(&quoted(&mut self.rest, '"')),
                '<' => {
                    // `<<a@b>>`: start again.
                    local.clear();
                    at = None;
                }
                // RFC 5322 §4.4: `<@hop,@hop:user@host>`; the route is of no use.
                ':' if at == Some(0) => {
                    local.clear();
                    at = None;
                }
                c if c.is_whitespace() => {}
                c => {
                    if c == '@' {
                        at = Some(local.len());
                    }
                    local.push(c);
                }
            }
        }
        let domain = at.map(|at| local.split_off(at)[1..].to_owned());
        self.current.angle = Some((local, domain.unwrap_or_default()));
        self.current.space = true;
    }

    fn open_group(&mut self) {
        let current = std::mem::take(&mut self.current);
        self.left -= 1;
        self.group = Some(Group {
            name: current.phrase,
            members: Vec::new(),
        });
    }

    fn close_group(&mut self) {
        if let Some(group) = self.group.take() {
            self.list.push(Address::Group(group));
        }
    }

    /// Ends the address being read.
    fn finish(&mut self) {
        let Current {
            phrase,
            at,
            angle,
            comment,
            ..
        } = std::mem::take(&mut self.current);
        let not_empty = |text: String| Some(text).filter(|t| !t.trim().is_empty());
        let mailbox = if let Some((local, domain)) = angle {
            // `<>` alone is no address.
            if local.is_empty() && domain.is_empty() && phrase.is_empty() {
                return;
            }
            Mailbox {
                name: not_empty(phrase).or_else(|| comment.and_then(not_empty)),
                local,
                domain,
            }
        } else if phrase.is_empty() {
            return;
        } else {
            let (local, domain) = match at {
                Some(at) => {
                    let domain = phrase[at + 1..].split(' ').next().unwrap_or_default();
                    (phrase[..at].to_owned(), domain.to_owned())
                }
                None => (phrase, String::new()),
            };
            Mailbox {
                name: comment.and_then(not_empty),
                local,
                domain,
            }
        };
        if self.left == 0 {
            return;
        }
        self.left -= 1;
        match &mut self.group {
            Some(group) => group.members.push(mailbox),
            None => self.list.push(Address::Mailbox(mailbox)),
        }
    }
}

fn is_special(c: char) -> bool {
    matches!(c, '(' | ')' | '<' | '>' | '[' | ',' | ';' | ':' | '@' | '"') || c.is_whitespace()
}

/// The content of a comment whose opening bracket is gone; nested ones stay in it.
fn comment(rest: &mut &str) -> String {
    let mut depth = 1_usize;
    let mut out = String::new();
    let mut chars = rest.chars();
    while let Some(c) = chars.next() {
        match c {
            '(' => depth += 1,
            ')' => {
                depth -= 1;
                if depth == 0 {
                    break;
                }
            }
            '\\' => {
                out.extend(chars.next());
                continue;
            }
            _ => {}
        }
        out.push(c);
    }
    *rest = chars.as_str();
    out.trim().to_owned()
}

/// The content of a quoted string or domain literal whose opening character is gone.
fn quoted(rest: &mut &str, close: char) -> String {
    let mut out = String::new();
    let mut chars = rest.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => out.extend(chars.next()),
            c if c == close => break,
            c => out.push(c),
        }
    }
    *rest = chars.as_str();
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};

    fn check(value: &str, expected: &Expect) {
        let show = |m: &Mailbox| {
            format!(
                "{} <{}|{}>\n",
                m.display_name().unwrap_or_else(|| "-".into()),
                m.local,
                m.domain
            )
        };
        let mut shown = String::new();
        for address in &parse_addresses(value.as_bytes(), 100).0 {
            match address {
                Address::Mailbox(m) => shown += &show(m),
                Address::Group(g) => {
                    shown += &format!("{}:\n", g.name);
                    for m in &g.members {
                        shown += &format!("  {}", show(m));
                    }
                }
            }
        }
        expected.assert_eq(&shown);
    }

    /// RFC 5322 §3.4: names, quoted names, comments, folding, encoded words.
    #[test]
    fn the_usual_forms() {
        check(
            "Bob Q. Public <bob@example.org>, \"Doe, Jane\" <jane@example.org>,\r\n joe@example.org (Joe (the) Plumber), =?utf-8?q?J=C3=B6rg?= <j@x.de>, <a@b>",
            &expect![[r#"
                Bob Q. Public <bob|example.org>
                Doe, Jane <jane|example.org>
                Joe (the) Plumber <joe|example.org>
                Jörg <j|x.de>
                - <a|b>
            "#]],
        );
    }

    /// RFC 5322 §3.4 and RFC 6854 §2.1: groups, which may be empty.
    #[test]
    fn groups() {
        check(
            "undisclosed-recipients:;, A Group:Ed <ed@x>,joe@y;, z@z",
            &expect![[r#"
                undisclosed-recipients:
                A Group:
                  Ed <ed|x>
                  - <joe|y>
                - <z|z>
            "#]],
        );
    }

    #[test]
    fn odd_forms() {
        check(
            "<@hop,@hop2:user@host>, root, \"a b\"@c, x @ y . z, user@[192.0.2.1], <<a@b>>, <>, ,",
            &expect![[r#"
                - <@hop,@hop2:user|host>
                - <root|>
                - <a b|c>
                - <x|y.z>
                - <user|[192.0.2.1]>
                > <a|b>
            "#]],
        );
        check(
            "A <a@b> B <c@d>, <e@f><g@h>",
            &expect![[r#"
                A B <a|b>
                - <c|d>
                - <e|f>
                - <g|h>
            "#]],
        );
        check(
            "\"unclosed <a@b",
            &expect![[r#"
            - <unclosed <a@b|>
        "#]],
        );
        check(
            "a <b@c",
            &expect![[r#"
            a <b|c>
        "#]],
        );
        check(
            "mailto:a@b",
            &expect![[r#"
            mailto:
              - <a|b>
        "#]],
        );
    }

    #[test]
    fn the_limit_holds() {
        let many = "a@b,".repeat(10);
        assert_eq!(parse_addresses(many.as_bytes(), 3).0.len(), 3);
        let groups = "g:a@b;".repeat(10);
        assert_eq!(parse_addresses(groups.as_bytes(), 4).mailboxes().count(), 2);
    }
}
