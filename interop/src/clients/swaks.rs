//! swaks, the Swiss Army Knife for SMTP.

use std::process::{Command, Output};

use super::{LIMIT, Server, Tls};
use crate::process::{program, run_with_input};

/// Sends a letter byte for byte; the output holds the whole dialogue.
///
/// # Panics
/// When swaks is missing or hangs.
#[must_use]
pub fn send(server: &Server, from: &str, to: &[&str], letter: &[u8]) -> Output {
    let mut command = Command::new(program("swaks"));
    command.args(["--server", &server.address.to_string()]);
    command.args([
        "--helo",
        "client.test",
        "--from",
        from,
        "--to",
        &to.join(","),
    ]);
    // The letter as it is: no tokens replaced, no line ends changed. Then the dots are ours to
    // double, and the end is ours to mark. The body would fill the log.
    command.args(["--no-data-fixup", "--suppress-data", "--data", "-"]);
    match server.tls {
        Tls::None => {}
        Tls::StartTls => {
            command.arg("--tls");
        }
        Tls::Implicit => {
            command.arg("--tls-on-connect");
        }
    }
    if let Some((user, password)) = &server.login {
        command.args([
            "--auth",
            "PLAIN",
            "--auth-user",
            user,
            "--auth-password",
            password,
        ]);
    }
    let mut data = Vec::new();
    crate::smtp::stuff_dots(letter, &mut data);
    // swaks itself ends the line with the last dot.
    run_with_input(
        &mut command,
        data.strip_suffix(b"\r\n").unwrap_or(&data),
        LIMIT,
    )
}
