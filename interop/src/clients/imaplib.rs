//! Python's imaplib, the client of countless scripts.

use std::process::Command;

use super::{LIMIT, Server, Tls};
use crate::place::Place;
use crate::process::{must_run, program};

/// Reads the letters of a mailbox into files and says nothing else. The certificate is not checked.
const READ: &str = r#"
import imaplib, ssl, sys
host, port, tls, user, password, mailbox, directory = sys.argv[1:]
context = ssl.create_default_context()
context.check_hostname = False
context.verify_mode = ssl.CERT_NONE
if tls == "implicit":
    client = imaplib.IMAP4_SSL(host, int(port), ssl_context=context)
else:
    client = imaplib.IMAP4(host, int(port))
    if tls == "starttls":
        client.starttls(context)
client.login(user, password)
client.select(mailbox, readonly=True)
status, found = client.uid("SEARCH", None, "ALL")
assert status == "OK", status
for uid in found[0].split():
    status, parts = client.uid("FETCH", uid, "(UID FLAGS INTERNALDATE RFC822.SIZE BODY.PEEK[])")
    assert status == "OK", status
    head, letter = next(part for part in parts if isinstance(part, tuple))
    size = int(head.split(b"RFC822.SIZE ")[1].split()[0])
    assert size == len(letter), (size, len(letter))
    with open("%s/%08d" % (directory, int(uid)), "wb") as file:
        file.write(letter)
client.logout()
"#;

/// All letters of a mailbox, whole, in the order of their UIDs.
///
/// # Panics
/// When Python is missing, hangs or fails.
#[must_use]
pub fn read(place: &Place, server: &Server, mailbox: &str) -> Vec<Vec<u8>> {
    let directory = tempfile::tempdir_in(place.dir()).expect("a directory of ours can be made");
    let (host, port) = (
        server.address.ip().to_string(),
        server.address.port().to_string(),
    );
    let tls = match server.tls {
        Tls::None => "none",
        Tls::StartTls => "starttls",
        Tls::Implicit => "implicit",
    };
    let (user, password) = server.user_and_password();
    let mut command = Command::new(program("python3"));
    command.args(["-c", READ, &host, &port, tls, user, password, mailbox]);
    must_run(command.arg(directory.path()), LIMIT);
    super::files_in(directory.path())
}
