//! A password from the first line of stdin.

use std::io::Read as _;

use super::exit::Exit;

/// The longest password, in bytes.
const PASSWORD_BYTES_MAX: usize = 1_000;

/// The first line of stdin.
pub(super) fn from_stdin() -> Result<String, Exit> {
    let mut bytes = Vec::new();
    std::io::stdin()
        .take(PASSWORD_BYTES_MAX as u64 + 3)
        .read_to_end(&mut bytes)?;
    let text = String::from_utf8(bytes)
        .map_err(|_| Exit::Usage("the password on stdin is not UTF-8".to_owned()))?;
    let line = text.lines().next().unwrap_or_default();
    if line.is_empty() {
        return Err(Exit::Usage("there is no password on stdin".to_owned()));
    }
    if line.len() > PASSWORD_BYTES_MAX {
        return Err(Exit::Usage(format!(
            "the password is longer than {PASSWORD_BYTES_MAX} bytes"
        )));
    }
    Ok(line.to_owned())
}
