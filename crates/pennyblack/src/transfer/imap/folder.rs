//! Folders of another server: how it names them and what they are for.

use proto::imap::utf7;

use super::client::Answer;
use super::parse::Value;
use crate::transfer::names::Target;

/// A folder of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Folder {
    /// Its name as the server wants to hear it.
    pub wire_name: String,
    /// Its name for people, with the server's delimiter.
    pub name: String,
    /// Where its letters go.
    pub target: Target,
}

/// RFC 6154 §2: attributes and what they mean here. `\All` and `\Flagged` are views of letters
/// that have other homes; they are folders like others, without a role.
const SPECIAL_USE: [(&str, &str); 5] = [
    ("\\archive", "archive"),
    ("\\drafts", "drafts"),
    ("\\junk", "junk"),
    ("\\sent", "sent"),
    ("\\trash", "trash"),
];

impl Folder {
    /// From an answer of LIST; nothing if it cannot be opened.
    pub(super) fn of(answer: &Answer) -> Option<Self> {
        if !answer.is(0, "LIST") {
            return None;
        }
        let attributes: Vec<String> = answer
            .values
            .get(1)?
            .list()
            .iter()
            .filter_map(lower)
            .collect();
        let has = |name: &str| attributes.iter().any(|attribute| attribute == name);
        if has("\\noselect") || has("\\nonexistent") {
            return None;
        }
        let delimiter = answer.values.get(2).and_then(Value::text);
        let wire_name = answer.values.get(3)?.text()?;
        // Some servers send UTF-8 unasked.
        let name = utf7::decode(wire_name.as_bytes()).unwrap_or_else(|| wire_name.clone());
        let levels: Vec<&str> = match delimiter.as_deref().filter(|text| !text.is_empty()) {
            Some(delimiter) => name.split(delimiter).collect(),
            None => vec![name.as_str()],
        };
        let mut target = Target::guess(&levels);
        let known = SPECIAL_USE.iter().find(|(attribute, _)| has(attribute));
        if let Some((_, role)) = known {
            target.role = Some((*role).to_owned());
        }
        Some(Self {
            wire_name,
            target,
            name,
        })
    }
}

fn lower(value: &Value) -> Option<String> {
    value.text().map(|text| text.to_ascii_lowercase())
}

/// What one letter's answer of FETCH says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Fetched {
    pub uid: Option<u32>,
    pub size: Option<u64>,
    pub date: Option<String>,
    pub flags: Option<Vec<String>>,
    pub body: Option<Vec<u8>>,
}

impl Fetched {
    /// From an answer; nothing if it is of another kind.
    pub(super) fn of(answer: Answer) -> Option<Self> {
        if !answer.is(1, "FETCH") {
            return None;
        }
        let mut fetched = Self::default();
        let Some(Value::List(items)) = answer.values.into_iter().nth(2) else {
            return Some(fetched);
        };
        let mut items = items.into_iter();
        while let (Some(name), Some(value)) = (items.next(), items.next()) {
            let Some(name) = name.text() else { continue };
            match name.to_ascii_uppercase().as_str() {
                "UID" => fetched.uid = value.number().and_then(|uid| u32::try_from(uid).ok()),
                "RFC822.SIZE" => fetched.size = value.number(),
                "INTERNALDATE" => fetched.date = value.text(),
                "FLAGS" => {
                    let flags = value.list().iter().filter_map(Value::text);
                    fetched.flags = Some(flags.collect());
                }
                "BODY[]" | "RFC822" => {
                    fetched.body = match value {
                        Value::Text(bytes) => Some(bytes),
                        Value::Atom(_) | Value::List(_) => None,
                    };
                }
                _ => {}
            }
        }
        Some(fetched)
    }
}

#[cfg(test)]
mod tests {
    use super::super::parse::values;
    use super::*;

    fn answer(text: &str) -> Answer {
        Answer {
            values: values(text.as_bytes(), vec![b"A: 1\r\n".to_vec()]),
            is_cut: false,
        }
    }

    fn folder(text: &str) -> Option<(String, String, Option<String>)> {
        Folder::of(&answer(text))
            .map(|folder| (folder.name, folder.target.name, folder.target.role))
    }

    #[test]
    fn folders_of_servers() {
        let is = |text: &str, name: &str, target: &str, role: Option<&str>| {
            let expected = (name.to_owned(), target.to_owned(), role.map(str::to_owned));
            assert_eq!(folder(text), Some(expected), "{text}");
        };
        is(
            r#"LIST (\HasNoChildren) "/" INBOX"#,
            "INBOX",
            "INBOX",
            Some("inbox"),
        );
        is(
            r#"LIST () "." INBOX.Sent"#,
            "INBOX.Sent",
            "INBOX/Sent",
            Some("sent"),
        );
        is(
            r#"LIST (\Trash) "/" "[Gmail]/Bin""#,
            "[Gmail]/Bin",
            "[Gmail]/Bin",
            Some("trash"),
        );
        is(r#"LIST () NIL a/b"#, "a/b", "a_b", None);
        is(
            r#"LIST () "\\" "a\\Entw&APw-rfe""#,
            "a\\Entw\u{fc}rfe",
            "a/Entw\u{fc}rfe",
            None,
        );
        assert_eq!(folder(r#"LIST (\Noselect) "/" x"#), None);
        assert_eq!(folder("STATUS x (MESSAGES 1)"), None);
        assert_eq!(folder("LIST"), None);
    }

    #[test]
    fn letters_of_servers() {
        let text = r#"3 FETCH (FLAGS (\Seen) UID 9 INTERNALDATE " 1-Jan-2020 00:00:00 +0000" BODY[] {6} RFC822.SIZE 6)"#;
        let fetched = Fetched::of(answer(text)).unwrap();
        assert_eq!((fetched.uid, fetched.size), (Some(9), Some(6)));
        assert_eq!(fetched.flags, Some(vec!["\\Seen".to_owned()]));
        assert_eq!(fetched.body, Some(b"A: 1\r\n".to_vec()));
        assert_eq!(
            Fetched::of(answer("3 FETCH (FLAGS ())")).unwrap().body,
            None
        );
        assert_eq!(
            Fetched::of(answer("3 FETCH (UID 4294967296)")).unwrap().uid,
            None
        );
        assert!(Fetched::of(answer("3 EXISTS")).is_none());
        assert!(Fetched::of(answer("3 FETCH")).is_some());
    }
}
