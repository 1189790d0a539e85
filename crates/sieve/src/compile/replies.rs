//! `vacation` (RFC 5230, RFC 6131) and `notify` (RFC 5435), with `:fcc` (RFC 8580).

use super::actions::STORING;
use super::arguments::{Given, Tag, Takes};
use super::{Checked, Compiler, wrong};
use crate::Capability as C;
use crate::outcome::Importance;
use crate::program::{Notify, Op, Target, Text, Vacation};
use crate::syntax::Node;

const FCC: Tag = Tag::new("fcc", Takes::Text, C::Fcc);

impl Compiler<'_> {
    /// `Usage: vacation [":days" number] [":subject" string] [":from" string] [":addresses"
    /// string-list] [":mime"] [":handle" string] <reason: string>`.
    pub(super) fn vacation(&mut self, node: &Node) -> Checked<Op> {
        self.needs(node, C::Vacation)?;
        let own = [
            Tag::new("days", Takes::Number, C::Vacation).of("period"),
            Tag::new("seconds", Takes::Number, C::VacationSeconds).of("period"),
            Tag::new("subject", Takes::Text, C::Vacation),
            Tag::new("from", Takes::Text, C::Vacation),
            Tag::new("addresses", Takes::Texts, C::Vacation),
            Tag::flag("mime", C::Vacation),
            Tag::new("handle", Takes::Text, C::Vacation),
            FCC,
        ];
        let tags = [&own[..], &STORING].concat();
        let given = self.arguments(node, &tags, &["the text of the answer"])?;
        let from = self.tag_text(&given, "from")?;
        self.is_mailbox(&given, from.as_ref())?;
        let days = self.tag_number(&given, "days")?;
        let seconds = match days {
            Some(days) => Some(days.saturating_mul(24 * 3_600)),
            None => self.tag_number(&given, "seconds")?,
        };
        Ok(Op::Vacation(Box::new(Vacation {
            seconds,
            subject: self.tag_text(&given, "subject")?,
            from,
            addresses: self.tag_texts(&given, "addresses")?.unwrap_or_default(),
            mime: given.has("mime"),
            handle: self.tag_text(&given, "handle")?,
            fcc: self.fcc(&given)?,
            reason: self.text(given.argument(0)?)?,
        })))
    }

    /// `usage: notify [":from" string] [":importance" <"1" / "2" / "3">] [":options" string-list]
    /// [":message" string] <method: string>`.
    pub(super) fn notify(&mut self, node: &Node) -> Checked<Op> {
        self.needs(node, C::Enotify)?;
        let own = [
            Tag::new("from", Takes::Text, C::Enotify),
            Tag::new("importance", Takes::Text, C::Enotify),
            Tag::new("options", Takes::Texts, C::Enotify),
            Tag::new("message", Takes::Text, C::Enotify),
            FCC,
        ];
        let tags = [&own[..], &STORING].concat();
        let given = self.arguments(node, &tags, &["a method like \"mailto:me@example.org\""])?;
        let importance = match given.tag("importance") {
            None => Importance::Normal,
            Some(argument) => match self.constant(argument)?.as_str() {
                "1" => Importance::High,
                "2" => Importance::Normal,
                "3" => Importance::Low,
                _ => return wrong(argument.at, "`:importance` is \"1\", \"2\" or \"3\""),
            },
        };
        let from = self.tag_text(&given, "from")?;
        self.is_mailbox(&given, from.as_ref())?;
        let argument = given.argument(0)?;
        let method = self.text(argument)?;
        if let Some(uri) = method.constant()
            && let Err(error) = crate::notify::MailtoUri::parse(uri)
        {
            return wrong(argument.at, error);
        }
        Ok(Op::Notify(Box::new(Notify {
            from,
            importance,
            options: self.tag_texts(&given, "options")?.unwrap_or_default(),
            message: self.tag_text(&given, "message")?,
            fcc: self.fcc(&given)?,
            method,
        })))
    }

    /// RFC 5230 §4.3: a `:from` that is no address is an error.
    fn is_mailbox(&self, given: &Given<'_>, from: Option<&Text>) -> Checked<()> {
        match from.and_then(Text::constant) {
            Some(text) if crate::vacation::one_mailbox(text).is_none() => {
                wrong(given.at("from"), "one address must follow `:from`")
            }
            Some(_) | None => Ok(()),
        }
    }

    /// RFC 8580 §3.1; what says where a copy goes needs a copy.
    fn fcc(&self, given: &Given<'_>) -> Checked<Option<Target>> {
        if let Some(mailbox) = given.tag("fcc") {
            return self.target(given, mailbox).map(Some);
        }
        match STORING.iter().find(|tag| given.has(tag.name())) {
            Some(tag) => wrong(
                given.at(tag.name()),
                format!("`:{}` needs `:fcc`", tag.name()),
            ),
            None => Ok(None),
        }
    }
}
