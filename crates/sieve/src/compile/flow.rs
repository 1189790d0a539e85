//! `require`, `if` (RFC 5228 §3), `include` and `global` (RFC 6609), `error` (RFC 5463).

use super::arguments::Tag;
use super::{Checked, Compiler, Wrong, wrong};
use crate::Capability;
use crate::program::{Branch, Include, Op, Test, Text};
use crate::syntax::{Node, Tests};

impl Compiler<'_> {
    /// `Usage: require <capabilities: string-list>`.
    pub(super) fn require(&mut self, node: &Node) -> Checked<()> {
        self.takes_no_block(node)?;
        self.takes_no_test(node)?;
        if self.requires_are_over {
            return wrong(node.at, "`require` must stand before all other commands");
        }
        let given = self.arguments(node, &[], &["the names of extensions"])?;
        for (at, name) in self.constants(given.argument(0)?)? {
            match Capability::from_name(&name) {
                Some(capability) if self.allowed.has(capability) => {
                    self.required = self.required.with(capability);
                }
                _ => {
                    let shown: String = name.chars().take(50).collect();
                    let text = format!("there is no extension \"{}\" here", shown.escape_debug());
                    self.errors
                        .extend(wrong::<()>(at, text).err().map(|wrong| wrong.error));
                }
            }
        }
        Ok(())
    }

    /// `if <test> <block>`, then any number of `elsif`, then at most one `else`.
    pub(super) fn conditional(&mut self, chain: &[&Node]) -> Checked<Op> {
        let mut branches = Vec::new();
        let mut closed = false;
        for node in chain {
            if closed {
                return wrong(node.at, format!("`{}` cannot follow `else`", node.name));
            }
            closed = node.name == "else";
            let (source, test) = self.condition(node)?;
            self.arguments(node, &[], &[])?;
            let Some(block) = &node.block else {
                return wrong(
                    node.end,
                    format!("a block in `{{ }}` must follow `{}`", node.name),
                );
            };
            branches.push(Branch {
                line: self.lines.line(node.at),
                source,
                test,
                block: self.block(block),
            });
        }
        Ok(Op::If(branches))
    }

    /// The test as written, and compiled. An error in it does not hide those in the block.
    fn condition(&mut self, node: &Node) -> Checked<(String, Test)> {
        if node.name == "else" {
            return match &node.tests {
                Tests::None => Ok((String::new(), Test::True)),
                Tests::One(_) | Tests::List(_) => wrong(node.at, "`else` takes no test"),
            };
        }
        match &node.tests {
            Tests::One(test) => {
                let source = self.lines.excerpt(test.at, test.end);
                let test = match self.test(test) {
                    Ok(test) => test,
                    Err(Wrong { error, .. }) => {
                        self.errors.push(error);
                        Test::False
                    }
                };
                Ok((source, test))
            }
            Tests::None => wrong(node.at, format!("a test must follow `{}`", node.name)),
            Tests::List(_) => {
                let text = format!(
                    "one test must follow `{}`; `anyof` or `allof` take several",
                    node.name
                );
                wrong(node.at, text)
            }
        }
    }

    /// `Usage: include [LOCATION] [":once"] [":optional"] <value: string>`, RFC 6609 §3.2.
    pub(super) fn include(&mut self, node: &Node) -> Checked<Op> {
        use Capability::Include as I;
        self.needs(node, I)?;
        let tags = [
            Tag::flag("personal", I).of("location"),
            Tag::flag("global", I).of("location"),
            Tag::flag("once", I),
            Tag::flag("optional", I),
        ];
        let given = self.arguments(node, &tags, &["the name of a script"])?;
        Ok(Op::Include(Box::new(Include {
            global: given.has("global"),
            once: given.has("once"),
            optional: given.has("optional"),
            name: self.text(given.argument(0)?)?,
        })))
    }

    /// `Usage: global <value: string-list>`, RFC 6609 §3.4.1.
    pub(super) fn global(&mut self, node: &Node) -> Checked<Op> {
        self.needs(node, Capability::Include)?;
        self.needs(node, Capability::Variables)?;
        let given = self.arguments(node, &[], &["names of variables"])?;
        let mut names = Vec::new();
        for (at, name) in self.constants(given.argument(0)?)? {
            if !super::text::is_identifier(&name) {
                return wrong(at, format!("`{name}` is no name of a variable"));
            }
            names.push(self.variable_name(at, &name)?);
        }
        Ok(Op::Global(names))
    }

    /// `Usage: error <message: string>`, RFC 5463 §5.
    pub(super) fn error(&mut self, node: &Node) -> Checked<Op> {
        self.needs(node, Capability::Ihave)?;
        let given = self.arguments(node, &[], &["a text"])?;
        Ok(Op::Error(self.text(given.argument(0)?)?))
    }

    /// `Usage: ihave <capabilities: string-list>`, RFC 5463 §4. What it names can be used from here
    /// on, as if it had been required; a script that comes to such a place without the extension
    /// being there has an error at run time.
    pub(super) fn ihave(&mut self, node: &Node) -> Checked<Test> {
        self.needs(node, Capability::Ihave)?;
        let given = self.arguments(node, &[], &["names of extensions"])?;
        let names = self.constants(given.argument(0)?)?;
        let found = names.iter().map(|(_, name)| Capability::from_name(name));
        let found: Option<Vec<Capability>> = found
            .map(|capability| capability.filter(|c| self.allowed.has(*c)))
            .collect();
        for capability in found.iter().flatten() {
            self.required = self.required.with(*capability);
        }
        Ok(Test::Ihave(found.is_some()))
    }

    /// Names of header fields; constant ones must be right (RFC 5228 §2.4.2.2).
    pub(super) fn header_names(&self, argument: &crate::syntax::Argument) -> Checked<Vec<Text>> {
        let names = self.texts_at(argument)?;
        for (at, name) in &names {
            if let Some(name) = name.constant().filter(|name| !is_field_name(name)) {
                let shown: String = name.chars().take(50).collect();
                return wrong(
                    *at,
                    format!("\"{}\" is no name of a header field", shown.escape_debug()),
                );
            }
        }
        Ok(names.into_iter().map(|(_, name)| name).collect())
    }
}

/// RFC 5322 §3.6.8: `field-name = 1*ftext`.
pub(crate) fn is_field_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_graphic() && b != b':')
}
