//! curl, for SMTP and IMAP.

use std::process::{Command, Output};

use super::{LIMIT, Server, Tls};
use crate::place::Place;
use crate::process::{program, run, said};

/// Sends a letter.
///
/// # Panics
/// When curl is missing or hangs.
#[must_use]
pub fn send(place: &Place, server: &Server, from: &str, to: &[&str], letter: &[u8]) -> Output {
    let file = place.write("curl-letter", letter);
    let mut command = base(server, ["smtp", "smtps"], "client.test");
    command
        .args(["--mail-from", from, "--upload-file"])
        .arg(file);
    for recipient in to {
        command.args(["--mail-rcpt", recipient]);
    }
    run(&mut command, LIMIT)
}

/// Fetches one letter by its UID.
///
/// # Panics
/// When curl is missing, hangs or fails.
#[must_use]
pub fn fetch(server: &Server, mailbox: &str, uid: u32) -> Vec<u8> {
    let mut command = base(server, ["imap", "imaps"], &format!("{mailbox};UID={uid}"));
    let output = run(&mut command, LIMIT);
    assert!(output.status.success(), "{command:?}: {}", said(&output));
    output.stdout
}

fn base(server: &Server, schemes: [&str; 2], path: &str) -> Command {
    let mut command = Command::new(program("curl"));
    let scheme = schemes[usize::from(server.tls == Tls::Implicit)];
    command.args(["--disable", "--silent", "--show-error", "--insecure"]);
    command.args(["--url", &format!("{scheme}://{}/{path}", server.address)]);
    if server.tls == Tls::StartTls {
        command.arg("--ssl-reqd");
    }
    if let Some((user, password)) = &server.login {
        command.args(["--user", &format!("{user}:{password}")]);
    }
    command
}
