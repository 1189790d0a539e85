//! Tokens of a script (RFC 5228 §8.1).

use super::{At, SyntaxError};

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Token {
    Identifier(String),
    /// Without the colon.
    Tag(String),
    Number(u64),
    String(String),
    /// One of `; , ( ) [ ] { }`.
    Sign(char),
    End,
}

impl Token {
    /// As an error shows it.
    pub(super) fn describe(&self) -> String {
        const CHARS_MAX: usize = 30;
        match self {
            Self::Identifier(name) => {
                format!("`{}`", name.chars().take(CHARS_MAX).collect::<String>())
            }
            Self::Tag(name) => format!("`:{}`", name.chars().take(CHARS_MAX).collect::<String>()),
            Self::Number(number) => format!("the number {number}"),
            Self::String(_) => "a string".to_owned(),
            Self::Sign(sign) => format!("`{sign}`"),
            Self::End => "the end of the script".to_owned(),
        }
    }
}

/// Reads tokens one after the other.
pub(super) struct Lexer<'a> {
    script: &'a str,
    position: At,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(script: &'a str) -> Self {
        // Editors of one system write a mark in front that is no part of the text.
        let position = if script.starts_with('\u{feff}') { 3 } else { 0 };
        Self { script, position }
    }

    /// The next token, where it starts, and where it ends.
    pub(super) fn next(&mut self) -> Result<(Token, At, At), SyntaxError> {
        self.skip_space()?;
        let start = self.position;
        let Some(first) = self.peek() else {
            return Ok((Token::End, start, start));
        };
        let token = match first {
            b';' | b',' | b'(' | b')' | b'[' | b']' | b'{' | b'}' => {
                self.position += 1;
                Token::Sign(char::from(first))
            }
            b'"' => Token::String(self.quoted()?),
            b'0'..=b'9' => self.number()?,
            b':' => {
                self.position += 1;
                match self.word() {
                    "" => return Err(SyntaxError::new(start, "a name must follow the `:`")),
                    name => Token::Tag(name.to_ascii_lowercase()),
                }
            }
            b'a'..=b'z' | b'A'..=b'Z' | b'_' => {
                let name = self.word();
                if name.eq_ignore_ascii_case("text") && self.peek() == Some(b':') {
                    self.position += 1;
                    Token::String(self.multi_line(start)?)
                } else {
                    Token::Identifier(name.to_ascii_lowercase())
                }
            }
            _ => {
                let c = self.script[start..].chars().next().unwrap_or(' ');
                let text = format!("the character `{}` has no meaning here", c.escape_debug());
                return Err(SyntaxError::new(start, text));
            }
        };
        Ok((token, start, self.position))
    }

    fn peek(&self) -> Option<u8> {
        self.script.as_bytes().get(self.position).copied()
    }

    fn rest(&self) -> &'a str {
        self.script.get(self.position..).unwrap_or_default()
    }

    /// `white-space = 1*(SP / CRLF / HTAB) / comment`.
    fn skip_space(&mut self) -> Result<(), SyntaxError> {
        while let Some(byte) = self.peek() {
            match byte {
                b' ' | b'\t' | b'\r' | b'\n' => self.position += 1,
                b'#' => self.position = self.line_end(),
                b'/' if self.rest().starts_with("/*") => {
                    let end = memchr::memmem::find(&self.rest().as_bytes()[2..], b"*/");
                    let Some(end) = end else {
                        return Err(SyntaxError::new(
                            self.position,
                            "this comment has no end: `*/` is missing",
                        ));
                    };
                    self.position += 2 + end + 2;
                }
                _ => break,
            }
        }
        Ok(())
    }

    /// The offset of the next line's start.
    fn line_end(&self) -> At {
        memchr::memchr(b'\n', self.rest().as_bytes())
            .map_or(self.script.len(), |at| self.position + at + 1)
    }

    fn word(&mut self) -> &'a str {
        let rest = self.rest();
        let length = rest
            .bytes()
            .take_while(|b| b.is_ascii_alphanumeric() || *b == b'_')
            .count();
        self.position += length;
        &rest[..length]
    }

    /// `number = 1*DIGIT [ QUANTIFIER ]`.
    fn number(&mut self) -> Result<Token, SyntaxError> {
        let start = self.position;
        let word = self.word();
        let digits = word.trim_end_matches(|c: char| !c.is_ascii_digit());
        let factor = match &word[digits.len()..] {
            "" => 1_u64,
            "k" | "K" => 1 << 10,
            "m" | "M" => 1 << 20,
            "g" | "G" => 1 << 30,
            _ => {
                let text = format!("`{word}` is no number: only K, M or G may follow the digits");
                return Err(SyntaxError::new(start, text));
            }
        };
        if !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(SyntaxError::new(start, format!("`{word}` is no number")));
        }
        let number = digits.parse::<u64>().ok();
        match number.and_then(|number| number.checked_mul(factor)) {
            Some(number) => Ok(Token::Number(number)),
            None => Err(SyntaxError::new(start, "this number is too large")),
        }
    }

    /// `quoted-string = DQUOTE quoted-text DQUOTE`; a backslash takes the next character as it is.
    fn quoted(&mut self) -> Result<String, SyntaxError> {
        let start = self.position;
        let mut out = String::new();
        let mut chars = self.script[start + 1..].char_indices();
        while let Some((at, c)) = chars.next() {
            match c {
                '"' => {
                    self.position = start + 1 + at + 1;
                    return Ok(out);
                }
                '\\' => out.extend(chars.next().map(|(_, c)| c)),
                '\0' => return Err(SyntaxError::new(start + 1 + at, "a string cannot hold NUL")),
                c => out.push(c),
            }
        }
        Err(SyntaxError::new(
            start,
            "this string has no end: its closing `\"` is missing",
        ))
    }

    /// `multi-line = "text:" *(SP / HTAB) (hash-comment / CRLF) *(multiline-literal /
    /// multiline-dotstart) "." CRLF`; line ends become CRLF.
    fn multi_line(&mut self, start: At) -> Result<String, SyntaxError> {
        let line = &self.script[self.position..self.line_end()];
        let after = line.trim_start_matches([' ', '\t']);
        if !after.starts_with('#') && !after.trim_end_matches(['\r', '\n']).is_empty() {
            return Err(SyntaxError::new(
                start,
                "the text must begin on the line after `text:`",
            ));
        }
        self.position = self.line_end();
        let mut out = String::new();
        while self.position < self.script.len() {
            let end = self.line_end();
            let line = &self.script[self.position..end];
            let content = line.strip_suffix('\n').unwrap_or(line);
            let content = content.strip_suffix('\r').unwrap_or(content);
            self.position = end;
            if content == "." {
                return Ok(out);
            }
            // RFC 5228 §2.4.2: the first of two dots goes.
            let content = if content.starts_with("..") {
                &content[1..]
            } else {
                content
            };
            if content.contains('\0') {
                return Err(SyntaxError::new(start, "a string cannot hold NUL"));
            }
            out.push_str(content);
            out.push_str("\r\n");
        }
        Err(SyntaxError::new(
            start,
            "this text has no end: a line with only `.` is missing",
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(script: &str) -> Result<Vec<Token>, (At, String)> {
        let mut lexer = Lexer::new(script);
        let mut tokens = Vec::new();
        loop {
            match lexer.next() {
                Ok((Token::End, ..)) => return Ok(tokens),
                Ok((token, ..)) => tokens.push(token),
                Err(error) => return Err((error.at, error.text)),
            }
        }
    }

    #[test]
    fn rfc_5228_2_3_comments() {
        let script = "# a\nif/* b ** \n */size :OVER 100K{# c\r\n}";
        let expected = [
            Token::Identifier("if".into()),
            Token::Identifier("size".into()),
            Token::Tag("over".into()),
            Token::Number(102_400),
            Token::Sign('{'),
            Token::Sign('}'),
        ];
        assert_eq!(tokens(script).unwrap(), expected);
        assert_eq!(tokens("a /* b").unwrap_err().0, 2);
    }

    #[test]
    fn rfc_5228_2_4_2_strings() {
        let string = |script: &str| match tokens(script).unwrap().remove(0) {
            Token::String(text) => text,
            other => panic!("{other:?}"),
        };
        assert_eq!(string(r#""a\"b\\c\d""#), r#"a"b\cd"#);
        assert_eq!(
            string("text: # x\r\na\r\n..b\r\n.c\r\n.\r\n"),
            "a\r\n.b\r\n.c\r\n"
        );
        assert_eq!(string("text:\na\n.\n"), "a\r\n");
        assert_eq!(string("text:\n.\n"), "");
        assert_eq!(tokens("text: a\n.\n").unwrap_err().0, 0);
        assert_eq!(tokens("x text:\na\n").unwrap_err().0, 2);
        assert_eq!(tokens("\"a").unwrap_err().0, 0);
        assert_eq!(tokens("\"a\0\"").unwrap_err().0, 2);
    }

    #[test]
    fn rfc_5228_2_4_1_numbers() {
        assert_eq!(
            tokens("1 2k 3M 4G").unwrap().last(),
            Some(&Token::Number(4 << 30))
        );
        assert_eq!(
            tokens("18446744073709551615").unwrap(),
            [Token::Number(u64::MAX)]
        );
        for bad in ["18446744073709551616", "17179869184G", "1T", "1K2", "0x1"] {
            assert_eq!(tokens(bad).unwrap_err().0, 0, "{bad}");
        }
    }
}
