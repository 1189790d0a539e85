//! mutt, a client for people at a terminal.

use std::path::Path;
use std::process::{Command, Output};

use super::{LIMIT, Server, Tls};
use crate::place::Place;
use crate::process::{program, run, run_with_input, said};

/// Runs a command in a terminal of 40 lines, types nothing, and ends as the command ends.
const TERMINAL: &str = r#"
import fcntl, os, pty, struct, sys, termios
child, terminal = pty.fork()
if child == 0:
    fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("4H", 40, 120, 0, 0))
    os.execv(sys.argv[1], sys.argv[1:])
try:
    while data := os.read(terminal, 65536):
        os.write(1, data)
except OSError:
    pass
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"#;

/// Writes and sends a letter with attachments, as `mutt -s SUBJECT -a FILES -- TO` does.
///
/// # Panics
/// When mutt is missing or hangs.
#[must_use]
pub fn send(
    place: &Place,
    server: &Server,
    from: &str,
    to: &str,
    subject: &str,
    attachments: &[&Path],
) -> Output {
    let settings = format!(
        "set from = \"{from}\"\nset use_from = yes\nset realname = \"Alice\"\nset copy = no\n\
         set smtp_url = \"{}\"\n{}",
        url(server, ["smtp", "smtps"]),
        common(server),
    );
    let file = place.write("mutt/send.rc", settings);
    let mut command = Command::new(program("mutt"));
    command.arg("-n").arg("-F").arg(file).args(["-s", subject]);
    command.env("HOME", place.path("mutt")).env("TERM", "xterm");
    for attachment in attachments {
        command.arg("-a").arg(attachment);
    }
    command.args(["--", to]);
    run_with_input(&mut command, b"The files are attached.\n", LIMIT)
}

/// Opens the inbox in a terminal, copies all letters into a Maildir and gives them:
/// line ends are LF there.
///
/// # Panics
/// When mutt is missing, hangs or fails.
#[must_use]
pub fn read_inbox(place: &Place, server: &Server) -> Vec<Vec<u8>> {
    let copy = place.path("mutt/copy");
    // mbox quotes lines that begin with "From ", and mutt adds fields; a Maildir has neither.
    let settings = format!(
        "set spoolfile = \"{}/INBOX\"\nset mbox_type = Maildir\nset confirmcreate = no\n\
         set confirmappend = no\nset move = no\nset mark_old = no\nset delete = no\nset quit = yes\n\
         set wait_key = no\nset auto_tag = yes\n{}\
         push \"<tag-pattern>~A<enter><copy-message><kill-line>{}<enter><quit>\"\n",
        url(server, ["imap", "imaps"]),
        common(server),
        copy.display(),
    );
    let file = place.write("mutt/read.rc", settings);
    // Without its folder mutt would ask whether to make it, and take our keys for the answer.
    std::fs::create_dir_all(place.path("mutt/Mail")).expect("a directory of ours can be made");
    let mut command = Command::new(program("python3"));
    command
        .args(["-c", TERMINAL])
        .arg(program("mutt"))
        .arg("-n")
        .arg("-F")
        .arg(file);
    command.env("HOME", place.path("mutt")).env("TERM", "xterm");
    let output = run(&mut command, LIMIT);
    assert!(output.status.success(), "mutt: {}", said(&output));
    let mut letters = super::files_in(&copy.join("new"));
    letters.extend(super::files_in(&copy.join("cur")));
    // mutt counts what it copies and writes the figures into the header.
    let counts = ["Content-Length", "Lines"];
    letters
        .iter()
        .map(|letter| super::without_fields(letter, &counts))
        .collect()
}

fn common(server: &Server) -> String {
    let (user, password) = server.user_and_password();
    let starttls = if server.tls == Tls::StartTls {
        "yes"
    } else {
        "no"
    };
    format!(
        "set imap_user = \"{user}\"\nset imap_pass = \"{password}\"\nset smtp_pass = \"{password}\"\n\
         set ssl_starttls = {starttls}\nset ssl_force_tls = no\n"
    )
}

fn url(server: &Server, schemes: [&str; 2]) -> String {
    let scheme = schemes[usize::from(server.tls == Tls::Implicit)];
    let user = server.login.as_ref().map_or(String::new(), |(user, _)| {
        format!("{}@", user.replace('@', "%40"))
    });
    format!("{scheme}://{user}{}", server.address)
}
