//! mbsync (the package is called isync): copies an IMAP account into Maildirs.

use std::process::Command;

use super::{LIMIT, Server, Tls};
use crate::place::Place;
use crate::process::{must_run, program};

/// Copies the inbox into a new Maildir and gives the letters: line ends are LF there.
///
/// # Panics
/// When mbsync is missing, hangs or fails.
#[must_use]
pub fn read_inbox(place: &Place, server: &Server) -> Vec<Vec<u8>> {
    let directory = tempfile::tempdir_in(place.dir()).expect("a directory of ours can be made");
    let dir = directory.path().display();
    let (host, port) = (server.address.ip(), server.address.port());
    let (user, password) = server.user_and_password();
    let tls = match server.tls {
        Tls::None => "SSLType None".to_owned(),
        Tls::StartTls => format!(
            "SSLType STARTTLS\nCertificateFile {}",
            certificate(server, &dir.to_string())
        ),
        Tls::Implicit => format!(
            "SSLType IMAPS\nCertificateFile {}",
            certificate(server, &dir.to_string())
        ),
    };
    let config = format!(
        "IMAPAccount test\nHost {host}\nPort {port}\nUser \"{user}\"\nPass \"{password}\"\n\
         AuthMechs LOGIN\n{tls}\n\n\
         IMAPStore far\nAccount test\n\n\
         MaildirStore near\nInbox {dir}/inbox\n\n\
         Channel test\nFar :far:\nNear :near:\nPatterns INBOX\nCreate Near\nSync Pull\nSyncState *\n"
    );
    let file = directory.path().join("mbsyncrc");
    std::fs::write(&file, config).expect("a file of ours can be written");
    let mut command = Command::new(program("mbsync"));
    must_run(
        command
            .arg("--config")
            .arg(file)
            .arg("test")
            .env("HOME", directory.path()),
        LIMIT,
    );
    let mut letters = super::files_in(&directory.path().join("inbox/new"));
    letters.extend(super::files_in(&directory.path().join("inbox/cur")));
    // mbsync marks what it copies with a field of its own.
    letters
        .iter()
        .map(|letter| super::without_fields(letter, &["X-TUID"]))
        .collect()
}

/// Trusts the certificate that the server shows at its implicit TLS port, as a person would who
/// knows that the server is theirs. For STARTTLS the same node shows the same certificate.
fn certificate(server: &Server, dir: &str) -> String {
    let script = "import ssl, sys, imaplib\n\
        host, port, tls = sys.argv[1], int(sys.argv[2]), sys.argv[3]\n\
        context = ssl.create_default_context()\n\
        context.check_hostname = False\n\
        context.verify_mode = ssl.CERT_NONE\n\
        if tls == 'implicit':\n    client = imaplib.IMAP4_SSL(host, port, ssl_context=context)\n\
        else:\n    client = imaplib.IMAP4(host, port)\n    client.starttls(context)\n\
        print(ssl.DER_cert_to_PEM_cert(client.sock.getpeercert(True)))\n";
    let (host, port) = (
        server.address.ip().to_string(),
        server.address.port().to_string(),
    );
    let tls = if server.tls == Tls::Implicit {
        "implicit"
    } else {
        "starttls"
    };
    let mut command = Command::new(program("python3"));
    let text = must_run(command.args(["-c", script, &host, &port, tls]), LIMIT);
    let file = format!("{dir}/certificate.pem");
    std::fs::write(&file, text).expect("a file of ours can be written");
    file
}
