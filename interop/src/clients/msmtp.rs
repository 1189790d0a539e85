//! msmtp, the `sendmail` of people without a mail server.

use std::process::{Command, Output};

use super::{LIMIT, Server, Tls, with_lf};
use crate::process::{program, run_with_input};

/// Sends a letter.
///
/// # Panics
/// When msmtp is missing or hangs.
#[must_use]
pub fn send(server: &Server, from: &str, to: &[&str], letter: &[u8]) -> Output {
    let mut command = Command::new(program("msmtp"));
    let (host, port) = (server.address.ip(), server.address.port());
    // No file of the user is read: --file is one that is always empty.
    command.args([
        "--file=/dev/null",
        &format!("--host={host}"),
        &format!("--port={port}"),
    ]);
    command.args([
        "--domain=client.test",
        &format!("--from={from}"),
        "--tls-certcheck=off",
    ]);
    command.args(match server.tls {
        Tls::None => ["--tls=off", "--tls-starttls=off"],
        Tls::StartTls => ["--tls=on", "--tls-starttls=on"],
        Tls::Implicit => ["--tls=on", "--tls-starttls=off"],
    });
    if let Some((user, password)) = &server.login {
        command.args(["--auth=plain", &format!("--user={user}")]);
        command.args([format!("--passwordeval=printf '%s\\n' '{password}'")]);
    }
    command.arg("--").args(to);
    run_with_input(&mut command, &with_lf(letter), LIMIT)
}
