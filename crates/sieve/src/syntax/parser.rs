//! Commands, tests and blocks (RFC 5228 §8.2).

use super::lexer::{Lexer, Token};
use super::{Argument, At, Node, SyntaxError, Tests, Value};

/// Reads a script; `nesting_max` bounds blocks and tests inside each other.
pub(crate) fn parse(script: &str, nesting_max: usize) -> Result<Vec<Node>, SyntaxError> {
    let mut lexer = Lexer::new(script);
    let (token, at, end) = lexer.next()?;
    let mut parser = Parser {
        lexer,
        token,
        at,
        end,
        last_end: 0,
        depth: 0,
        nesting_max,
    };
    let mut commands = Vec::new();
    while parser.token != Token::End {
        commands.push(parser.command()?);
    }
    Ok(commands)
}

struct Parser<'a> {
    lexer: Lexer<'a>,
    /// The token that comes next, and where.
    token: Token,
    at: At,
    end: At,
    /// Where the token before it ended.
    last_end: At,
    depth: usize,
    nesting_max: usize,
}

impl Parser<'_> {
    fn advance(&mut self) -> Result<Token, SyntaxError> {
        self.last_end = self.end;
        let (token, at, end) = self.lexer.next()?;
        self.at = at;
        self.end = end;
        Ok(std::mem::replace(&mut self.token, token))
    }

    fn wrong<T>(&self, wanted: &str) -> Result<T, SyntaxError> {
        let text = format!("{wanted} is expected here, not {}", self.token.describe());
        Err(SyntaxError::new(self.at, text))
    }

    fn is_sign(&self, sign: char) -> bool {
        self.token == Token::Sign(sign)
    }

    fn deeper(&mut self) -> Result<(), SyntaxError> {
        self.depth += 1;
        if self.depth > self.nesting_max {
            let text = format!("blocks and tests may be nested {} deep", self.nesting_max);
            return Err(SyntaxError::new(self.at, text));
        }
        Ok(())
    }

    fn command(&mut self) -> Result<Node, SyntaxError> {
        let mut node = self.node("a command")?;
        if self.is_sign('{') {
            let open = self.at;
            self.deeper()?;
            self.advance()?;
            let mut block = Vec::new();
            while !self.is_sign('}') {
                if self.token == Token::End {
                    return Err(SyntaxError::new(
                        open,
                        "this block has no end: its `}` is missing",
                    ));
                }
                block.push(self.command()?);
            }
            self.advance()?;
            self.depth -= 1;
            node.block = Some(block);
        } else if self.is_sign(';') {
            self.advance()?;
        } else {
            // The error stands where the `;` is missing, not at the next line's start.
            let text = format!(
                "`;` or a block in `{{ }}` must follow `{}`, not {}",
                node.name,
                self.token.describe()
            );
            return Err(SyntaxError::new(self.last_end, text));
        }
        Ok(node)
    }

    /// An identifier with its arguments and tests.
    fn node(&mut self, wanted: &str) -> Result<Node, SyntaxError> {
        let at = self.at;
        let Token::Identifier(name) = &self.token else {
            return self.wrong(wanted);
        };
        let name = name.clone();
        self.advance()?;
        let mut arguments = Vec::new();
        while let Some(argument) = self.argument()? {
            arguments.push(argument);
        }
        let tests = self.tests()?;
        Ok(Node {
            name,
            at,
            end: self.last_end,
            arguments,
            tests,
            block: None,
        })
    }

    fn argument(&mut self) -> Result<Option<Argument>, SyntaxError> {
        let at = self.at;
        let value = match &self.token {
            Token::Sign('[') => self.strings()?,
            Token::Tag(_) | Token::Number(_) | Token::String(_) => match self.advance()? {
                Token::Tag(name) => Value::Tag(name),
                Token::Number(number) => Value::Number(number),
                Token::String(text) => Value::String(text),
                Token::Identifier(_) | Token::Sign(_) | Token::End => return Ok(None),
            },
            Token::Identifier(_) | Token::Sign(_) | Token::End => return Ok(None),
        };
        Ok(Some(Argument { at, value }))
    }

    /// `string-list = "[" string *("," string) "]"`.
    fn strings(&mut self) -> Result<Value, SyntaxError> {
        let open = self.at;
        self.advance()?;
        let mut list = Vec::new();
        loop {
            let at = self.at;
            if !matches!(self.token, Token::String(_)) {
                if self.token == Token::End {
                    return Err(SyntaxError::new(
                        open,
                        "this list has no end: its `]` is missing",
                    ));
                }
                return self.wrong("a string");
            }
            if let Token::String(text) = self.advance()? {
                list.push((at, text));
            }
            if self.is_sign(']') {
                self.advance()?;
                return Ok(Value::Strings(list));
            }
            if !self.is_sign(',') {
                return self.wrong("`,` or `]`");
            }
            self.advance()?;
        }
    }

    fn tests(&mut self) -> Result<Tests, SyntaxError> {
        match self.token {
            Token::Identifier(_) => {
                self.deeper()?;
                let test = self.node("a test")?;
                self.depth -= 1;
                Ok(Tests::One(Box::new(test)))
            }
            Token::Sign('(') => {
                self.deeper()?;
                let mut list = Vec::new();
                loop {
                    self.advance()?;
                    list.push(self.node("a test")?);
                    if self.is_sign(')') {
                        break;
                    }
                    if !self.is_sign(',') {
                        return self.wrong("`,` or `)`");
                    }
                }
                self.advance()?;
                self.depth -= 1;
                Ok(Tests::List(list))
            }
            Token::Tag(_) | Token::Number(_) | Token::String(_) | Token::Sign(_) | Token::End => {
                Ok(Tests::None)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Lines;
    use super::*;

    fn error(script: &str) -> String {
        let error = parse(script, 4).unwrap_err();
        Lines::new(script).error(error).to_string()
    }

    #[test]
    fn errors_say_where_and_what() {
        let check = |script, expected: &str| assert_eq!(error(script), expected, "{script}");
        check(
            "keep",
            "line 1, column 5: `;` or a block in `{ }` must follow `keep`, not the end of the script",
        );
        check(
            "if true {\n keep;\n",
            "line 1, column 9: this block has no end: its `}` is missing",
        );
        check(
            "if anyof(true; false) {}",
            "line 1, column 14: `,` or `)` is expected here, not `;`",
        );
        check(
            "a [\"é\", 1];",
            "line 1, column 9: a string is expected here, not the number 1",
        );
        check(
            "a [\"b\"",
            "line 1, column 7: `,` or `]` is expected here, not the end of the script",
        );
        check(
            "a [",
            "line 1, column 3: this list has no end: its `]` is missing",
        );
        check("}", "line 1, column 1: a command is expected here, not `}`");
        check(
            "\"é\" é",
            "line 1, column 1: a command is expected here, not a string",
        );
        check(
            "keep é;",
            "line 1, column 6: the character `é` has no meaning here",
        );
    }

    #[test]
    fn nesting_has_a_limit() {
        let blocks = |depth: usize| "a {".repeat(depth) + &"}".repeat(depth);
        assert!(parse(&blocks(4), 4).is_ok());
        assert!(parse(&blocks(5), 4).is_err());
        let tests = |depth: usize| "if ".to_owned() + &"not ".repeat(depth - 1) + "true;";
        assert!(parse(&tests(4), 4).is_ok());
        assert!(parse(&tests(5), 4).is_err());
        let lists = |depth: usize| {
            format!(
                "if {}true{};",
                "anyof(".repeat(depth - 1),
                ")".repeat(depth - 1)
            )
        };
        assert!(parse(&lists(4), 4).is_ok());
        assert!(parse(&lists(5), 4).is_err());
    }
}
