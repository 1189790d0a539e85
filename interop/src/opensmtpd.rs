//! OpenSMTPD with a configuration, queue and users of its own: a peer that sends and receives. It
//! needs root, as OpenSMTPD itself does.
//!
//! The 6.8 of Debian 12 offers STARTTLS where it is told to, and then fails each handshake as the
//! server: it loses its private key to OpenSSL 3. As a client it speaks TLS well.

use std::fmt::Write as _;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::process::Command;
use std::time::Duration;

use crate::certificates::Certificate;
use crate::house::{House, MAIL, User, files_below, unpacked};
use crate::place::Place;
use crate::process::{Daemon, must_run, program};

/// The users that the program looks for, of its processes and of its queue.
const USERS: [User; 2] = [
    User {
        name: "opensmtpd",
        id: 59_102,
    },
    User {
        name: "opensmtpq",
        id: 59_103,
    },
];

/// How an instance is set up.
#[derive(Clone, Debug, Default)]
pub struct Setup {
    /// Its own name, in EHLO and in the greeting.
    pub hostname: String,
    /// The domain whose mail it takes, for any local part.
    pub domain: String,
    /// The certificate for STARTTLS; without one it is not offered.
    pub certificate: Option<Certificate>,
    /// The DNS server that it asks, at port 53.
    pub dns: Option<IpAddr>,
    /// Where it sends the mail of other domains, such as `smtp://mx1.black.test:2525`.
    pub relay: String,
    /// The largest letter in bytes; 0 is 60 MB.
    pub letter_bytes_max: u64,
    /// What is said to recipients whose local part is one of these: local part, code and text.
    pub refusals: Vec<(&'static str, &'static str)>,
}

/// A running instance. It stops when it is dropped.
#[derive(Debug)]
pub struct OpenSmtpd {
    /// Where it takes mail.
    pub address: SocketAddr,
    house: House,
    daemon: Daemon,
}

impl OpenSmtpd {
    /// Starts an instance called `name` (letters only) at `address`.
    ///
    /// # Panics
    /// When it does not come up; the message holds its log.
    #[must_use]
    pub fn start(place: &Place, name: &str, address: SocketAddr, setup: &Setup) -> OpenSmtpd {
        let house = House::new(place, name, &USERS, setup.dns);
        for dir in ["var/lib/opensmtpd/empty", "mail/box"] {
            fs::create_dir_all(house.path(dir)).expect("a directory of ours can be made");
        }
        house.give("mail/box", MAIL);
        if let Some(certificate) = &setup.certificate {
            let root = User {
                name: "root",
                id: 0,
            };
            house.write_certificate(certificate, root);
        }
        place.write(
            &format!("{name}/etc/smtpd.conf"),
            configuration(&house, address, setup),
        );
        let mut command = house.command(&unpacked("usr/sbin/smtpd"));
        command.args(["-d", "-v"]);
        let mut daemon = Daemon::start(&mut command, &house.path("log"));
        daemon.wait_for_port(address, Duration::from_secs(20));
        OpenSmtpd {
            address,
            house,
            daemon,
        }
    }

    /// What it logged.
    #[must_use]
    pub fn log(&self) -> String {
        self.daemon.log()
    }

    /// The letters that it delivered, as they stand in files: line ends are LF.
    #[must_use]
    pub fn delivered(&self) -> Vec<Vec<u8>> {
        self.house.letters("mail/box")
    }

    /// Whether its queue holds no letter.
    #[must_use]
    pub fn queue_is_empty(&self) -> bool {
        files_below(&self.house.path("var/spool/smtpd/queue")).is_empty()
    }

    /// Lets it try all that waits now; its own first pause is 400 seconds.
    ///
    /// # Panics
    /// When its control program fails.
    pub fn try_again(&self) {
        let mut command = Command::new(program("nsenter"));
        command
            .args(["--mount", "--target", &self.daemon.pid().to_string()])
            // It asks for the group that owns the queue.
            .args(["--setgid", &USERS[1].id.to_string()])
            .arg(unpacked("usr/sbin/smtpctl"))
            .args(["schedule", "all"]);
        must_run(&mut command, Duration::from_secs(20));
    }
}

impl Drop for OpenSmtpd {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "--- the log of OpenSMTPD at {}:\n{}",
                self.address,
                self.log()
            );
        }
        // Its other processes end when the one that started them does.
        self.daemon.stop(Duration::from_secs(20));
    }
}

fn configuration(house: &House, at: SocketAddr, setup: &Setup) -> String {
    let mut text = String::new();
    let mut tls = "";
    if setup.certificate.is_some() {
        tls = " tls pki own";
        text += "pki own cert \"/etc/chain.pem\"\npki own key \"/etc/key.pem\"\n";
    }
    let bytes = match setup.letter_bytes_max {
        0 => 60_000_000,
        bytes => bytes,
    };
    let mut chain = Vec::new();
    for (number, (local_part, answer)) in setup.refusals.iter().enumerate() {
        let _ = writeln!(
            text,
            "filter no{number} phase rcpt-to match rcpt-to regex \"^{local_part}@\" reject \"{answer}\""
        );
        chain.push(format!("no{number}"));
    }
    let mut filter = "";
    if !chain.is_empty() {
        let _ = writeln!(text, "filter all chain {{ {} }}", chain.join(", "));
        filter = " filter all";
    }
    let Setup {
        hostname,
        domain,
        relay,
        ..
    } = setup;
    let _ = write!(
        text,
        "smtp max-message-size \"{bytes}\"\n\
         listen on {ip} port {port}{tls} hostname {hostname}{filter}\n\
         table boxes {{ \"@\" = \"{user}\" }}\n\
         action \"in\" maildir \"{maildir}\" virtual <boxes>\n\
         action \"out\" relay host \"{relay}\" helo \"{hostname}\"\n\
         match from any for domain \"{domain}\" action \"in\"\n\
         match from any for any action \"out\"\n",
        ip = at.ip(),
        port = at.port(),
        user = MAIL.name,
        maildir = house.path("mail/box").display(),
    );
    text
}
