//! What the demo keeps in its folder: the passwords, and a configuration file for each node, so
//! that every other command can be tried on them too.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Person;
use super::places::Places;
use crate::random;

/// The passwords' file.
const PASSWORDS: &str = "passwords.json";

/// The passwords of the demo's people.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct Passwords {
    /// Of alice@red.test.
    pub alice: String,
    /// Of bob@black.test.
    pub bob: String,
}

impl Passwords {
    /// Reads them, or makes new ones the first time.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn load_or_make(folder: &Path) -> io::Result<Self> {
        make_folder(folder)?;
        let file = folder.join(PASSWORDS);
        match fs::read(&file) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map_err(|error| io::Error::other(format!("{}: {error}", file.display()))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let made = Self {
                    alice: random::password(),
                    bob: random::password(),
                };
                write_private(&file, &serde_json::to_string_pretty(&made)?)?;
                Ok(made)
            }
            Err(error) => Err(error),
        }
    }
}

/// A node's configuration file: where it is kept.
#[must_use]
pub fn settings_file(folder: &Path, person: &Person) -> PathBuf {
    folder.join(format!("{}.toml", person.node))
}

/// What stands in it.
#[must_use]
pub fn settings_text(
    person: &Person,
    places: &Places,
    dns: SocketAddr,
    outbound_port: u16,
) -> String {
    let mut text = format!(
        "# Written anew by `pennyblack demo` at each start.\n\
         hostname = \"{}\"\ndata_dir = \"{}\"\ndomains = [\"{}\"]\n\n\
         [dns]\nservers = [\"{dns}\"]\n\n\
         [outbound]\nport = {outbound_port}\nsources = [\"{}\"]\n\n\
         [queue]\nretry_first = \"5 s\"\n\n\
         # The private DNS has no more than the demo needs.\n[alerts]\ndns = false\n",
        person.host(),
        person.node,
        person.domain,
        places.ip,
    );
    for listen in &places.listen {
        text.push_str(&format!(
            "\n[[listen]]\nprotocol = \"{}\"\naddress = \"{}\"\ntls = \"{}\"\n",
            listen.protocol.as_str(),
            listen.address,
            listen.tls.as_str()
        ));
    }
    text
}

fn make_folder(folder: &Path) -> io::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
}

/// Writes a file that only we can read.
///
/// # Errors
/// Those of the file system.
pub fn write_private(file: &Path, text: &str) -> io::Result<()> {
    use io::Write as _;
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    options.open(file)?.write_all(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_stay() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("deep/er");
        let made = Passwords::load_or_make(&folder).unwrap();
        assert_eq!(Passwords::load_or_make(&folder).unwrap(), made);
        assert_ne!(made.alice, made.bob);
    }
}
