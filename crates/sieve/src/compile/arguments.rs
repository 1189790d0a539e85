//! Tagged and positional arguments (RFC 5228 §2.6), by a table for each command.

use super::{Checked, Compiler, unknown, wrong};
use crate::Capability;
use crate::program::Text;
use crate::syntax::{Argument, At, Node, Value};

/// What follows a tag.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Takes {
    Nothing,
    Text,
    Texts,
    Number,
}

/// A tag that a command knows.
#[derive(Clone, Copy)]
pub(super) struct Tag {
    name: &'static str,
    takes: Takes,
    needs: Capability,
    /// Of one group only one tag may be there; empty: of itself.
    group: &'static str,
}

impl Tag {
    pub(super) const fn new(name: &'static str, takes: Takes, needs: Capability) -> Self {
        Self {
            name,
            takes,
            needs,
            group: "",
        }
    }

    pub(super) const fn flag(name: &'static str, needs: Capability) -> Self {
        Self::new(name, Takes::Nothing, needs)
    }

    pub(super) const fn name(&self) -> &'static str {
        self.name
    }

    pub(super) const fn of(self, group: &'static str) -> Self {
        Self { group, ..self }
    }
}

/// The arguments of a command or test, told apart.
pub(super) struct Given<'n> {
    node: &'n Node,
    tags: Vec<(Tag, At, Option<&'n Argument>)>,
    pub(super) positional: Vec<&'n Argument>,
}

impl<'n> Given<'n> {
    pub(super) fn has(&self, name: &str) -> bool {
        self.tags.iter().any(|(tag, ..)| tag.name == name)
    }

    /// Which tag of a group is there.
    pub(super) fn of_group(&self, group: &str) -> Option<(&'static str, At, Option<&'n Argument>)> {
        let found = self.tags.iter().find(|(tag, ..)| tag.group == group);
        found.map(|(tag, at, argument)| (tag.name, *at, *argument))
    }

    /// The argument of a tag.
    pub(super) fn tag(&self, name: &str) -> Option<&'n Argument> {
        self.tags.iter().find(|(tag, ..)| tag.name == name)?.2
    }

    /// Where a tag stands; else the command.
    pub(super) fn at(&self, name: &str) -> At {
        let found = self.tags.iter().find(|(tag, ..)| tag.name == name);
        found.map_or(self.node.at, |(_, at, _)| *at)
    }

    /// The positional argument; the table has seen to it that it is there.
    pub(super) fn argument(&self, at: usize) -> Checked<&'n Argument> {
        match self.positional.get(at) {
            Some(argument) => Ok(argument),
            None => wrong(
                self.node.at,
                format!("`{}` lacks an argument", self.node.name),
            ),
        }
    }
}

impl Compiler<'_> {
    /// Tells arguments apart. `positional` names those that must be there.
    pub(super) fn arguments<'n>(
        &self,
        node: &'n Node,
        tags: &[Tag],
        positional: &[&str],
    ) -> Checked<Given<'n>> {
        let given = self.arguments_any(node, tags)?;
        self.count(&given, positional)?;
        Ok(given)
    }

    /// That the positional arguments are these.
    pub(super) fn count(&self, given: &Given<'_>, wanted: &[&str]) -> Checked<()> {
        let name = &given.node.name;
        if let Some(missing) = wanted.get(given.positional.len()) {
            return wrong(
                given.node.at,
                format!("`{name}` lacks an argument: {missing}"),
            );
        }
        match given.positional.get(wanted.len()) {
            Some(more) => wrong(more.at, format!("`{name}` takes no argument here")),
            None => Ok(()),
        }
    }

    /// Tells arguments apart, with any number of positional ones.
    pub(super) fn arguments_any<'n>(&self, node: &'n Node, tags: &[Tag]) -> Checked<Given<'n>> {
        let mut given = Given {
            node,
            tags: Vec::new(),
            positional: Vec::new(),
        };
        let mut arguments = node.arguments.iter();
        while let Some(argument) = arguments.next() {
            let Value::Tag(name) = &argument.value else {
                given.positional.push(argument);
                continue;
            };
            let Some(tag) = tags.iter().find(|tag| tag.name == name) else {
                return unknown(argument.at, format!("`{}` has no `:{name}`", node.name));
            };
            // RFC 5228 §2.6.2: tags stand before what is told by its place.
            if !given.positional.is_empty() {
                let text = format!("`:{name}` must stand before the arguments without a tag");
                return wrong(argument.at, text);
            }
            self.needs_for(argument.at, &format!("`:{name}`"), tag.needs)?;
            self.is_alone(&given, tag, argument.at)?;
            let value = match tag.takes {
                Takes::Nothing => None,
                takes => match arguments.next() {
                    Some(value) => {
                        self.is_of_kind(value, takes, name)?;
                        Some(value)
                    }
                    None => return wrong(argument.at, format!("`:{name}` lacks its value")),
                },
            };
            given.tags.push((*tag, argument.at, value));
        }
        Ok(given)
    }

    fn is_alone(&self, given: &Given<'_>, tag: &Tag, at: At) -> Checked<()> {
        for (other, ..) in &given.tags {
            if other.name == tag.name {
                return wrong(at, format!("`:{}` stands here twice", tag.name));
            }
            if !tag.group.is_empty() && other.group == tag.group {
                let text = format!(
                    "`:{}` and `:{}` cannot stand together",
                    other.name, tag.name
                );
                return wrong(at, text);
            }
        }
        Ok(())
    }

    fn is_of_kind(&self, value: &Argument, takes: Takes, name: &str) -> Checked<()> {
        let (right, wanted) = match takes {
            Takes::Nothing => (true, ""),
            Takes::Text => (matches!(value.value, Value::String(_)), "a string"),
            Takes::Texts => (
                matches!(value.value, Value::String(_) | Value::Strings(_)),
                "a string or a list of strings",
            ),
            Takes::Number => (matches!(value.value, Value::Number(_)), "a number"),
        };
        if right {
            Ok(())
        } else {
            wrong(value.at, format!("{wanted} must follow `:{name}`"))
        }
    }

    /// One string.
    pub(super) fn text(&self, argument: &Argument) -> Checked<Text> {
        match &argument.value {
            Value::String(text) => self.template(argument.at, text),
            Value::Strings(_) => wrong(argument.at, "one string is expected here, not a list"),
            Value::Tag(_) | Value::Number(_) => wrong(argument.at, "a string is expected here"),
        }
    }

    /// A string list; one string stands for a list of it (RFC 5228 §2.4.2.1).
    pub(super) fn texts(&self, argument: &Argument) -> Checked<Vec<Text>> {
        Ok(self
            .texts_at(argument)?
            .into_iter()
            .map(|(_, text)| text)
            .collect())
    }

    /// The same, each with its place.
    pub(super) fn texts_at(&self, argument: &Argument) -> Checked<Vec<(At, Text)>> {
        match &argument.value {
            Value::String(text) => Ok(vec![(argument.at, self.template(argument.at, text)?)]),
            Value::Strings(list) => list
                .iter()
                .map(|(at, text)| Ok((*at, self.template(*at, text)?)))
                .collect(),
            Value::Tag(_) | Value::Number(_) => wrong(
                argument.at,
                "a string or a list of strings is expected here",
            ),
        }
    }

    pub(super) fn number(&self, argument: &Argument) -> Checked<u64> {
        match argument.value {
            Value::Number(number) => Ok(number),
            Value::Tag(_) | Value::String(_) | Value::Strings(_) => {
                wrong(argument.at, "a number is expected here")
            }
        }
    }

    /// A string without variables.
    pub(super) fn constant(&self, argument: &Argument) -> Checked<String> {
        match self.text(argument)? {
            Text::Constant(text) => Ok(text),
            Text::Template(_) => wrong(argument.at, "no variable may stand here"),
        }
    }

    /// A string list without variables.
    pub(super) fn constants(&self, argument: &Argument) -> Checked<Vec<(At, String)>> {
        let list = self.texts_at(argument)?;
        list.into_iter()
            .map(|(at, text)| match text {
                Text::Constant(text) => Ok((at, text)),
                Text::Template(_) => wrong(at, "no variable may stand here"),
            })
            .collect()
    }

    pub(super) fn tag_text(&self, given: &Given<'_>, name: &str) -> Checked<Option<Text>> {
        given
            .tag(name)
            .map(|argument| self.text(argument))
            .transpose()
    }

    pub(super) fn tag_texts(&self, given: &Given<'_>, name: &str) -> Checked<Option<Vec<Text>>> {
        given
            .tag(name)
            .map(|argument| self.texts(argument))
            .transpose()
    }

    pub(super) fn tag_number(&self, given: &Given<'_>, name: &str) -> Checked<Option<u64>> {
        given
            .tag(name)
            .map(|argument| self.number(argument))
            .transpose()
    }
}
