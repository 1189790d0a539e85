//! Dovecot with a configuration of its own: LMTP in, IMAP out, mdbox below, every write flushed.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::place::Place;
use crate::postfix::user_id;
use crate::process::{Daemon, program};

/// The password of every user of the instance.
pub const PASSWORD: &str = "penny-for-a-letter";

/// A running instance. It stops when it is dropped.
#[derive(Debug)]
pub struct Dovecot {
    /// Where it takes letters by LMTP.
    pub lmtp: PathBuf,
    /// Where it serves IMAP.
    pub imap: SocketAddr,
    daemon: Daemon,
}

impl Dovecot {
    /// Starts an instance; every user exists and has the same password.
    ///
    /// # Panics
    /// When it does not come up; the message holds its log.
    #[must_use]
    pub fn start(place: &Place, imap: SocketAddr) -> Dovecot {
        let dir = place.path("dovecot");
        let lmtp = dir.join("lmtp");
        let mail = dir.join("mail");
        std::fs::create_dir_all(&mail).expect("a directory of ours can be made");
        let id = user_id("nobody");
        std::os::unix::fs::chown(&mail, Some(id), None).expect("Dovecot needs root to start");
        let config = place.write(
            "dovecot/dovecot.conf",
            config(&dir.display().to_string(), imap, id),
        );
        let mut command = Command::new(program("dovecot"));
        command.arg("-F").arg("-c").arg(config);
        let mut daemon = Daemon::start(&mut command, &dir.join("log"));
        daemon.wait_for_port(imap, Duration::from_secs(20));
        Dovecot { lmtp, imap, daemon }
    }

    /// The process number of its master.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.daemon.pid()
    }
}

impl Drop for Dovecot {
    fn drop(&mut self) {
        // The master must end its children itself; killed, it would leave them behind.
        self.daemon.stop(Duration::from_secs(20));
    }
}

fn config(dir: &str, imap: SocketAddr, id: u32) -> String {
    let (ip, port) = (imap.ip(), imap.port());
    format!(
        "base_dir = {dir}/run\nlog_path = {dir}/log\nprotocols = lmtp imap\nssl = no\n\
         disable_plaintext_auth = no\nmail_location = mdbox:{dir}/mail/%n\nmail_fsync = always\n\
         first_valid_uid = 1\nlast_valid_uid = 0\nauth_username_format = %Ln\n\
         namespace inbox {{\n  inbox = yes\n}}\n\
         passdb {{\n  driver = static\n  args = password={PASSWORD}\n}}\n\
         userdb {{\n  driver = static\n\
         \x20 args = uid={id} gid={id} home={dir}/mail/%n allow_all_users=yes\n}}\n\
         service lmtp {{\n  unix_listener {dir}/lmtp {{\n    mode = 0666\n  }}\n}}\n\
         service imap-login {{\n  inet_listener imap {{\n    address = {ip}\n    port = {port}\n  }}\n\
         \x20 inet_listener imaps {{\n    port = 0\n  }}\n}}\n"
    )
}
