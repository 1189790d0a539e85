//! A password from the first line of stdin.

use std::io::BufRead;

use super::exit::Exit;

/// The longest password, in bytes.
const PASSWORD_BYTES_MAX: usize = 1_000;

/// The first line of stdin.
pub(super) fn from_stdin() -> Result<String, Exit> {
    first_line(std::io::stdin().lock())
}

fn first_line(input: impl BufRead) -> Result<String, Exit> {
    let mut line = Vec::new();
    // Room for the line end.
    input
        .take(PASSWORD_BYTES_MAX as u64 + 2)
        .read_until(b'\n', &mut line)?;
    if line.pop_if(|byte| *byte == b'\n').is_some() {
        line.pop_if(|byte| *byte == b'\r');
    }
    if line.is_empty() {
        return Err(Exit::Usage("there is no password on stdin".to_owned()));
    }
    if line.len() > PASSWORD_BYTES_MAX {
        return Err(Exit::Usage(format!(
            "the password is longer than {PASSWORD_BYTES_MAX} bytes"
        )));
    }
    // RFC 4616 §2: in a login, NUL ends the password.
    match String::from_utf8(line) {
        Ok(text) if !text.contains('\0') => Ok(text),
        _ => Err(Exit::Usage(
            "the password on stdin is not UTF-8 text".to_owned(),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_and_nothing_else() {
        let long = "x".repeat(PASSWORD_BYTES_MAX);
        for (input, password) in [
            ("secret", "secret"),
            ("sécret\r\nmore", "sécret"),
            (long.as_str(), long.as_str()),
            (&format!("{long}\r\n"), long.as_str()),
        ] {
            assert_eq!(first_line(input.as_bytes()).unwrap(), password);
        }
    }

    #[test]
    fn what_is_no_password() {
        let long = format!("x{}", "ä".repeat(PASSWORD_BYTES_MAX));
        for (input, says) in [
            (&b""[..], "no password"),
            (b"\nsecret", "no password"),
            (long.as_bytes(), "longer than"),
            (b"a\xffb", "not UTF-8"),
            (b"a\0b", "not UTF-8"),
        ] {
            let error = first_line(input).unwrap_err();
            assert!(error.to_string().contains(says), "{error}");
        }
    }
}
