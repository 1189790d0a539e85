//! From the generic grammar to a [`Program`]: which commands there are, what arguments they take,
//! which extension each part belongs to. As much as can be known before a letter is there is
//! checked here.

mod actions;
mod arguments;
mod flow;
mod parts;
mod replies;
mod tests;
mod text;

pub(crate) use actions::is_special_use;
pub(crate) use flow::is_field_name;

use crate::limits::NESTING_MAX;
use crate::program::{Command, Op, Program};
use crate::syntax::{self, At, Lines, Node, SyntaxError, Tests};
use crate::{Capabilities, Capability, CompileErrors, Limits};

/// Compiles a script.
pub(crate) fn compile(
    script: &str,
    allowed: Capabilities,
    limits: &Limits,
) -> Result<Program, CompileErrors> {
    let lines = Lines::new(script);
    let one = |error: SyntaxError| CompileErrors(vec![lines.error(error)]);
    if script.len() > limits.script_bytes_max {
        let text = format!(
            "the script is longer than {} bytes",
            limits.script_bytes_max
        );
        return Err(one(SyntaxError::new(0, text)));
    }
    let nodes = syntax::parse(script, limits.nesting_max.min(NESTING_MAX)).map_err(one)?;
    let mut compiler = Compiler {
        lines: &lines,
        limits,
        allowed,
        required: Capabilities::none(),
        requires_are_over: false,
        loops: Vec::new(),
        regexes: 0,
        errors: Vec::new(),
    };
    let commands = compiler.block(&nodes);
    let mut errors = compiler.errors;
    if errors.is_empty() {
        return Ok(Program { commands });
    }
    errors.sort_by_key(|error| error.at);
    errors.truncate(limits.errors_max.max(1));
    let errors = errors.into_iter().map(|error| lines.error(error));
    Err(CompileErrors(errors.collect()))
}

struct Compiler<'a> {
    lines: &'a Lines<'a>,
    limits: &'a Limits,
    /// What the host lets scripts use.
    allowed: Capabilities,
    /// What the script has asked for so far.
    required: Capabilities,
    requires_are_over: bool,
    /// The names of the `foreverypart` loops around, outermost first.
    loops: Vec<Option<String>>,
    /// Regular expressions so far.
    regexes: usize,
    errors: Vec<SyntaxError>,
}

/// Why a command or test cannot be compiled.
struct Wrong {
    error: SyntaxError,
    /// It may belong to an extension that this engine has not: with `ihave` that is an error only
    /// if it is carried out (RFC 5463 §4).
    unknown: bool,
}

type Checked<T> = Result<T, Wrong>;

fn wrong<T>(at: At, text: impl Into<String>) -> Checked<T> {
    Err(Wrong {
        error: SyntaxError::new(at, text),
        unknown: false,
    })
}

fn unknown<T>(at: At, text: impl Into<String>) -> Checked<T> {
    Err(Wrong {
        error: SyntaxError::new(at, text),
        unknown: true,
    })
}

impl Compiler<'_> {
    fn block(&mut self, nodes: &[Node]) -> Vec<Command> {
        let mut commands = Vec::new();
        let mut rest = nodes.iter().peekable();
        while let Some(node) = rest.next() {
            if node.name == "require" {
                if let Err(error) = self.require(node) {
                    self.errors.push(error.error);
                }
                continue;
            }
            self.requires_are_over = true;
            let op = if node.name == "if" {
                let mut chain = vec![node];
                while let Some(next) =
                    rest.next_if(|next| next.name == "elsif" || next.name == "else")
                {
                    chain.push(next);
                }
                self.conditional(&chain)
            } else {
                self.command(node)
            };
            let op = match op {
                Ok(op) => op,
                Err(wrong) if wrong.unknown && self.required.has(Capability::Ihave) => {
                    Op::Unsupported(wrong.error.text)
                }
                Err(wrong) => {
                    self.errors.push(wrong.error);
                    continue;
                }
            };
            let line = self.lines.line(node.at);
            commands.push(Command { line, op });
        }
        commands
    }

    fn command(&mut self, node: &Node) -> Checked<Op> {
        let op = self.named_command(node)?;
        self.takes_no_test(node)?;
        if !matches!(op, Op::ForEveryPart { .. }) {
            self.takes_no_block(node)?;
        }
        Ok(op)
    }

    fn named_command(&mut self, node: &Node) -> Checked<Op> {
        match node.name.as_str() {
            "stop" => self.bare(node, Op::Stop),
            "discard" => self.bare(node, Op::Discard),
            "keep" => self.keep(node),
            "fileinto" => self.file_into(node),
            "redirect" => self.redirect(node),
            "reject" => self.reject(node, Capability::Reject),
            "ereject" => self.reject(node, Capability::Ereject),
            "set" => self.set(node),
            "setflag" | "addflag" | "removeflag" => self.flags(node),
            "vacation" => self.vacation(node),
            "notify" => self.notify(node),
            "addheader" => self.add_header(node),
            "deleteheader" => self.delete_header(node),
            "include" => self.include(node),
            "return" => {
                self.needs(node, Capability::Include)?;
                self.bare(node, Op::Return)
            }
            "global" => self.global(node),
            "foreverypart" => self.for_every_part(node),
            "break" => self.break_loop(node),
            "extracttext" => self.extract_text(node),
            "replace" => self.replace(node),
            "enclose" => self.enclose(node),
            "error" => self.error(node),
            "elsif" | "else" => wrong(
                node.at,
                format!("`{}` must follow the block of an `if`", node.name),
            ),
            name if tests::is_test(name) => wrong(
                node.at,
                format!("`{name}` is a test: it must follow an `if`"),
            ),
            name => unknown(node.at, format!("there is no command `{name}`")),
        }
    }

    /// A command without arguments.
    fn bare(&self, node: &Node, op: Op) -> Checked<Op> {
        self.arguments(node, &[], &[])?;
        Ok(op)
    }

    /// That an extension was asked for; the name in the error is the command's or test's.
    fn needs(&self, node: &Node, capability: Capability) -> Checked<()> {
        self.needs_for(node.at, &format!("`{}`", node.name), capability)
    }

    fn needs_for(&self, at: At, what: &str, capability: Capability) -> Checked<()> {
        if self.required.has(capability) {
            Ok(())
        } else if self.allowed.has(capability) {
            wrong(
                at,
                format!("{what} needs `require \"{capability}\";` at the start of the script"),
            )
        } else {
            unknown(at, format!("{what} is not available here"))
        }
    }

    fn takes_no_block(&self, node: &Node) -> Checked<()> {
        match node.block {
            Some(_) => wrong(
                node.end,
                format!("`{}` has no block: a `;` is expected here", node.name),
            ),
            None => Ok(()),
        }
    }

    fn takes_no_test(&self, node: &Node) -> Checked<()> {
        match &node.tests {
            Tests::None => Ok(()),
            Tests::One(test) => {
                let text = format!("a `;` or `,` is missing before `{}`", test.name);
                wrong(
                    node.at,
                    format!("`{}` takes no test; perhaps {text}", node.name),
                )
            }
            Tests::List(_) => wrong(node.at, format!("`{}` takes no list of tests", node.name)),
        }
    }
}
