//! `foreverypart`, `:mime`, `extracttext`, `replace`, `enclose` (RFC 5703).

use super::actions::MODIFIERS;
use super::arguments::{Given, Tag, Takes};
use super::{Checked, Compiler, wrong};
use crate::Capability as C;
use crate::program::{Enclose, Mime, MimeOption, Op, Replace};
use crate::syntax::Node;

/// `[":mime"] [":anychild"]` of `exists` and `address`.
pub(super) const MIME_ANY_CHILD: [Tag; 2] =
    [Tag::flag("mime", C::Mime), Tag::flag("anychild", C::Mime)];

/// `[":mime"] [":anychild"] [MIMEOPTS]` of `header`.
pub(super) const MIME: [Tag; 6] = [
    MIME_ANY_CHILD[0],
    MIME_ANY_CHILD[1],
    Tag::flag("type", C::Mime).of(OPTION),
    Tag::flag("subtype", C::Mime).of(OPTION),
    Tag::flag("contenttype", C::Mime).of(OPTION),
    Tag::new("param", Takes::Texts, C::Mime).of(OPTION),
];
const OPTION: &str = "mime option";

impl Compiler<'_> {
    pub(super) fn mime(&self, given: &Given<'_>) -> Checked<Option<Mime>> {
        if !given.has("mime") {
            // RFC 5703 §4.1, §4.2: the others mean nothing without it.
            let other = ["anychild", "type", "subtype", "contenttype", "param"];
            return match other.iter().find(|name| given.has(name)) {
                Some(name) => wrong(given.at(name), format!("`:{name}` needs `:mime`")),
                None => Ok(None),
            };
        }
        let option = match given.of_group(OPTION) {
            None => MimeOption::Value,
            Some(("type", ..)) => MimeOption::Type,
            Some(("subtype", ..)) => MimeOption::Subtype,
            Some((_, _, Some(names))) => MimeOption::Params(self.texts(names)?),
            Some((_, _, None)) => MimeOption::ContentType,
        };
        Ok(Some(Mime {
            any_child: given.has("anychild"),
            option,
        }))
    }

    /// `Usage: foreverypart [":name" string] block`, §3.
    pub(super) fn for_every_part(&mut self, node: &Node) -> Checked<Op> {
        self.needs(node, C::ForEveryPart)?;
        let tags = [Tag::new("name", Takes::Text, C::ForEveryPart)];
        let given = self.arguments(node, &tags, &[])?;
        let name = given
            .tag("name")
            .map(|argument| self.constant(argument))
            .transpose()?;
        let Some(block) = &node.block else {
            return wrong(node.end, "a block in `{ }` must follow `foreverypart`");
        };
        self.loops.push(name.clone());
        let block = self.block(block);
        self.loops.pop();
        Ok(Op::ForEveryPart { name, block })
    }

    /// `Usage: break [":name" string];`, §3.
    pub(super) fn break_loop(&mut self, node: &Node) -> Checked<Op> {
        self.needs(node, C::ForEveryPart)?;
        let tags = [Tag::new("name", Takes::Text, C::ForEveryPart)];
        let given = self.arguments(node, &tags, &[])?;
        let name = given
            .tag("name")
            .map(|argument| self.constant(argument))
            .transpose()?;
        match &name {
            None if self.loops.is_empty() => {
                wrong(node.at, "`break` must stand inside of `foreverypart`")
            }
            Some(wanted) if !self.loops.contains(&name) => wrong(
                given.at("name"),
                format!("`break` stands in no loop of the name \"{wanted}\""),
            ),
            Some(_) | None => Ok(Op::Break(name)),
        }
    }

    /// `Usage: extracttext [MODIFIER] [":first" number] <varname: string>`, §7.
    pub(super) fn extract_text(&mut self, node: &Node) -> Checked<Op> {
        self.needs(node, C::ExtractText)?;
        self.needs(node, C::Variables)?;
        let first = [Tag::new("first", Takes::Number, C::ExtractText)];
        let tags = [&first[..], &MODIFIERS].concat();
        let given = self.arguments(node, &tags, &["the name of a variable"])?;
        if self.loops.is_empty() {
            return wrong(node.at, "`extracttext` must stand inside of `foreverypart`");
        }
        let argument = given.argument(0)?;
        let name = self.constant(argument)?;
        Ok(Op::ExtractText {
            first: self.tag_number(&given, "first")?,
            name: self.variable_name(argument.at, &name)?,
            modifiers: self.modifiers(&given)?,
        })
    }

    /// `Usage: replace [":mime"] [":subject" string] [":from" string] <replacement: string>`, §5.
    pub(super) fn replace(&mut self, node: &Node) -> Checked<Op> {
        self.needs(node, C::Replace)?;
        let tags = [
            Tag::flag("mime", C::Replace),
            Tag::new("subject", Takes::Text, C::Replace),
            Tag::new("from", Takes::Text, C::Replace),
        ];
        let given = self.arguments(node, &tags, &["a text"])?;
        Ok(Op::Replace(Box::new(Replace {
            mime: given.has("mime"),
            subject: self.tag_text(&given, "subject")?,
            from: self.tag_text(&given, "from")?,
            text: self.text(given.argument(0)?)?,
        })))
    }

    /// `Usage: enclose <:subject string> <:headers string-list> string`, §6.
    pub(super) fn enclose(&mut self, node: &Node) -> Checked<Op> {
        self.needs(node, C::Enclose)?;
        let tags = [
            Tag::new("subject", Takes::Text, C::Enclose),
            Tag::new("headers", Takes::Texts, C::Enclose),
        ];
        let given = self.arguments(node, &tags, &["a text"])?;
        Ok(Op::Enclose(Box::new(Enclose {
            subject: self.tag_text(&given, "subject")?,
            headers: self.tag_texts(&given, "headers")?.unwrap_or_default(),
            text: self.text(given.argument(0)?)?,
        })))
    }
}
