//! Commands that do something with the letter, and with variables and flags.

use super::arguments::{Given, Tag, Takes};
use super::{Checked, Compiler, wrong};
use crate::Capability as C;
use crate::program::{
    AddHeader, DeleteHeader, FileInto, FlagChange, Modifier, Op, Redirect, Reject, Set, Target,
    Text,
};
use crate::syntax::{Argument, Node};

/// What a command that stores a letter takes.
pub(super) const STORING: [Tag; 4] = [
    Tag::new("flags", Takes::Texts, C::Imap4Flags),
    Tag::flag("create", C::Mailbox),
    Tag::new("specialuse", Takes::Text, C::SpecialUse),
    Tag::new("mailboxid", Takes::Text, C::MailboxId),
];

/// `MODIFIER`, RFC 5229 §4.1.
pub(super) const MODIFIERS: [Tag; 8] = [
    Tag::flag("lower", C::Variables),
    Tag::flag("upper", C::Variables),
    Tag::flag("lowerfirst", C::Variables),
    Tag::flag("upperfirst", C::Variables),
    Tag::flag("quotewildcard", C::Variables),
    Tag::flag("quoteregex", C::Regex),
    Tag::flag("encodeurl", C::Enotify),
    Tag::flag("length", C::Variables),
];

impl Compiler<'_> {
    pub(super) fn keep(&mut self, node: &Node) -> Checked<Op> {
        let given = self.arguments(node, &STORING[..1], &[])?;
        Ok(Op::Keep {
            flags: self.tag_texts(&given, "flags")?,
        })
    }

    /// `Usage: fileinto <mailbox: string>`, RFC 5228 §4.1.
    pub(super) fn file_into(&mut self, node: &Node) -> Checked<Op> {
        self.needs(node, C::FileInto)?;
        let tags = [&STORING[..], &[Tag::flag("copy", C::Copy)]].concat();
        let given = self.arguments(node, &tags, &["the name of a mailbox"])?;
        Ok(Op::FileInto(Box::new(FileInto {
            target: self.target(&given, given.argument(0)?)?,
            copy: given.has("copy"),
        })))
    }

    pub(super) fn target(&self, given: &Given<'_>, mailbox: &Argument) -> Checked<Target> {
        let special_use = self.tag_text(given, "specialuse")?;
        if let Some(use_) = special_use.as_ref().and_then(Text::constant)
            && !is_special_use(use_)
        {
            return wrong(
                given.at("specialuse"),
                format!("\"{use_}\" is no special use, like \"\\\\Junk\""),
            );
        }
        let name = self.text(mailbox)?;
        if name
            .constant()
            .is_some_and(|name| !crate::run::actions::is_mailbox_name(name))
        {
            return wrong(mailbox.at, "this is no name of a mailbox");
        }
        Ok(Target {
            mailbox: name,
            flags: self.tag_texts(given, "flags")?,
            create: given.has("create"),
            special_use,
            mailbox_id: self.tag_text(given, "mailboxid")?,
        })
    }

    /// `Usage: redirect <address: string>`, RFC 5228 §4.2.
    pub(super) fn redirect(&mut self, node: &Node) -> Checked<Op> {
        let tags = [Tag::flag("copy", C::Copy), Tag::flag("list", C::ExtLists)];
        let given = self.arguments(node, &tags, &["an address"])?;
        let argument = given.argument(0)?;
        let address = self.text(argument)?;
        let list = given.has("list");
        if let Some(text) = address.constant().filter(|_| !list)
            && let Err(error) = crate::run::actions::redirect_address(text)
        {
            return wrong(argument.at, error);
        }
        Ok(Op::Redirect(Box::new(Redirect {
            address,
            list,
            copy: given.has("copy"),
        })))
    }

    pub(super) fn reject(&mut self, node: &Node, needs: C) -> Checked<Op> {
        self.needs(node, needs)?;
        let given = self.arguments(node, &[], &["a reason"])?;
        Ok(Op::Reject(Box::new(Reject {
            in_protocol: needs == C::Ereject,
            reason: self.text(given.argument(0)?)?,
        })))
    }

    /// `Usage: set [MODIFIER] <name: string> <value: string>`, RFC 5229 §4.
    pub(super) fn set(&mut self, node: &Node) -> Checked<Op> {
        self.needs(node, C::Variables)?;
        let given = self.arguments(node, &MODIFIERS, &["the name of a variable", "a value"])?;
        let name_at = given.argument(0)?;
        let name = self.constant(name_at)?;
        Ok(Op::Set(Box::new(Set {
            name: self.variable_name(name_at.at, &name)?,
            value: self.text(given.argument(1)?)?,
            modifiers: self.modifiers(&given)?,
        })))
    }

    /// The modifiers, in the order in which they work.
    pub(super) fn modifiers(&self, given: &Given<'_>) -> Checked<Vec<Modifier>> {
        let kinds = [
            Modifier::Lower,
            Modifier::Upper,
            Modifier::LowerFirst,
            Modifier::UpperFirst,
            Modifier::QuoteWildcard,
            Modifier::QuoteRegex,
            Modifier::EncodeUrl,
            Modifier::Length,
        ];
        let names = MODIFIERS.iter().zip(kinds);
        let mut found: Vec<(&Tag, Modifier)> =
            names.filter(|(tag, _)| given.has(tag.name())).collect();
        found.sort_by_key(|(_, modifier)| std::cmp::Reverse(modifier.precedence()));
        for pair in found.windows(2) {
            // RFC 5229 §4.1: two of one precedence are an error.
            if pair[0].1.precedence() == pair[1].1.precedence() {
                let (one, other) = (pair[0].0.name(), pair[1].0.name());
                return wrong(
                    given.at(other),
                    format!("`:{one}` and `:{other}` cannot stand together"),
                );
            }
        }
        Ok(found.into_iter().map(|(_, modifier)| modifier).collect())
    }

    /// `Usage: addflag [<variablename: string>] <list-of-flags: string-list>`, RFC 5232 §3.
    pub(super) fn flags(&mut self, node: &Node) -> Checked<Op> {
        self.needs(node, C::Imap4Flags)?;
        let change = match node.name.as_str() {
            "addflag" => FlagChange::Add,
            "removeflag" => FlagChange::Remove,
            _ => FlagChange::Set,
        };
        let given = self.arguments_any(node, &[])?;
        let mut variable = None;
        if given.positional.len() == 2 {
            let argument = given.argument(0)?;
            self.needs_for(argument.at, "the name of a variable", C::Variables)?;
            let name = self.constant(argument)?;
            variable = Some(self.variable_name(argument.at, &name)?);
        } else {
            self.count(&given, &["flags"])?;
        }
        let flags = self.texts(given.argument(given.positional.len() - 1)?)?;
        Ok(Op::Flags {
            change,
            variable,
            flags,
        })
    }

    /// `Usage: "addheader" [":last"] <field-name: string> <value: string>`, RFC 5293 §4.
    pub(super) fn add_header(&mut self, node: &Node) -> Checked<Op> {
        self.needs(node, C::EditHeader)?;
        let tags = [Tag::flag("last", C::EditHeader)];
        let given = self.arguments(node, &tags, &["a header name", "a value"])?;
        let name = given.argument(0)?;
        self.header_names(name)?;
        Ok(Op::AddHeader(Box::new(AddHeader {
            last: given.has("last"),
            name: self.text(name)?,
            value: self.text(given.argument(1)?)?,
        })))
    }

    /// `Usage: "deleteheader" [":index" <fieldno: number> [":last"]] [COMPARATOR] [MATCH-TYPE]
    /// <field-name: string> [<value-patterns: string-list>]`, RFC 5293 §5.
    pub(super) fn delete_header(&mut self, node: &Node) -> Checked<Op> {
        self.needs(node, C::EditHeader)?;
        // `:index` is part of the command here, without the extension of that name.
        let index = [
            Tag::new("index", Takes::Number, C::EditHeader),
            Tag::flag("last", C::EditHeader),
        ];
        let tags = [super::tests::matching_tags(), &index].concat();
        let given = self.arguments_any(node, &tags)?;
        let matcher = if given.positional.len() == 2 {
            Some(self.matcher(&given, 1)?)
        } else {
            self.count(&given, &["a header name"])?;
            None
        };
        let name = given.argument(0)?;
        self.header_names(name)?;
        Ok(Op::DeleteHeader(Box::new(DeleteHeader {
            index: self.index(&given)?,
            name: self.text(name)?,
            matcher,
        })))
    }
}

/// RFC 6154 §2: a backslash and an atom.
pub(crate) fn is_special_use(text: &str) -> bool {
    text.strip_prefix('\\').is_some_and(|name| {
        !name.is_empty()
            && name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-_.$".contains(&b))
    })
}
