//! Postfix with a configuration, queue and data directory of its own: a peer that sends and
//! receives. It needs root, as Postfix itself does.

use std::fmt::Write as _;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::place::Place;
use crate::process::{Daemon, must_run, program, run};

/// How an instance is set up.
#[derive(Clone, Debug, Default)]
pub struct Setup {
    /// Its own name, in EHLO and in the greeting.
    pub hostname: String,
    /// Domains whose mail it takes, for any local part.
    pub domains: Vec<String>,
    /// How it delivers them: a transport like `lmtp:unix:PATH`, or else into one Maildir.
    pub transport: Option<String>,
    /// Where it sends the mail of other domains: domain and server.
    pub routes: Vec<(String, SocketAddr)>,
    /// The DNS server that it asks for MX records, at port 53. Without one it asks nobody.
    pub dns: Option<IpAddr>,
    /// More lines for `main.cf`.
    pub main: String,
}

/// A running instance. It stops when it is dropped.
#[derive(Debug)]
pub struct Postfix {
    /// Where it takes mail.
    pub address: SocketAddr,
    config: PathBuf,
    mail: PathBuf,
    daemon: Daemon,
}

/// The services of `master.cf` behind the SMTP listener, none of them in a chroot.
const SERVICES: &str = "\
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
virtual unix - n n - - virtual
lmtp unix - - n - - lmtp
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
";

impl Postfix {
    /// Starts an instance called `name` (letters only) at `address`.
    ///
    /// # Panics
    /// When it does not come up; the message holds its log.
    #[must_use]
    pub fn start(place: &Place, name: &str, address: SocketAddr, setup: &Setup) -> Postfix {
        let base = place.path(name);
        let config = base.join("etc");
        let mail = base.join("mail");
        for dir in [&config, &base.join("spool"), &base.join("data"), &mail] {
            fs::create_dir_all(dir).expect("a directory of ours can be made");
        }
        own(&base.join("data"), "postfix");
        own(&mail, "nobody");
        let log = base.join("log");
        place.write(&format!("{name}/etc/main.cf"), main_cf(&base, &log, setup));
        let listener = format!("{address} inet n - n - - smtpd\n{SERVICES}");
        place.write(&format!("{name}/etc/master.cf"), listener);
        let mut daemon = Daemon::start(&mut start_command(place, name, &config, setup), &log);
        daemon.wait_for_port(address, Duration::from_secs(20));
        Postfix {
            address,
            config,
            mail,
            daemon,
        }
    }

    /// The process number of its master.
    #[must_use]
    pub fn pid(&self) -> u32 {
        let spool = self.config.with_file_name("spool");
        let pid = fs::read_to_string(spool.join("pid/master.pid")).unwrap_or_default();
        pid.trim().parse().unwrap_or_else(|_| self.daemon.pid())
    }

    /// What it logged.
    #[must_use]
    pub fn log(&self) -> String {
        self.daemon.log()
    }

    /// The letters that it delivered, as they stand in files: line ends are LF.
    #[must_use]
    pub fn delivered(&self) -> Vec<Vec<u8>> {
        let dir = self.mail.join("box/new");
        let entries = fs::read_dir(dir).into_iter().flatten().flatten();
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
        paths.sort();
        paths
            .iter()
            .filter_map(|path| fs::read(path).ok())
            .collect()
    }

    /// Whether its queue holds no letter.
    #[must_use]
    pub fn queue_is_empty(&self) -> bool {
        let mut command = Command::new(program("postqueue"));
        command.arg("-c").arg(&self.config).arg("-j");
        must_run(&mut command, Duration::from_secs(20))
            .trim()
            .is_empty()
    }
}

impl Drop for Postfix {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "--- the log of Postfix at {}:\n{}",
                self.address,
                self.log()
            );
        }
        let mut command = Command::new(program("postfix"));
        command.arg("-c").arg(&self.config).arg("abort");
        run(&mut command, Duration::from_secs(20));
    }
}

/// Postfix asks the system's resolver. To give it a DNS server of the test, it sees another
/// `/etc/resolv.conf` in a mount namespace of its own; nothing changes for anybody else.
fn start_command(place: &Place, name: &str, config: &Path, setup: &Setup) -> Command {
    let postfix = program("postfix");
    let Some(server) = setup.dns else {
        let mut command = Command::new(postfix);
        command.arg("-c").arg(config).arg("start-fg");
        return command;
    };
    let file = place.write(
        &format!("{name}/resolv.conf"),
        format!("nameserver {server}\n"),
    );
    let script = "mount --bind \"$1\" /etc/resolv.conf && exec \"$2\" -c \"$3\" start-fg";
    let mut command = Command::new(program("unshare"));
    command
        .args(["--mount", "sh", "-c", script, "sh"])
        .arg(file)
        .arg(postfix)
        .arg(config);
    command
}

fn main_cf(base: &Path, log: &Path, setup: &Setup) -> String {
    let (dir, log) = (base.display(), log.display());
    let mut text = format!(
        "compatibility_level = 3.6\nqueue_directory = {dir}/spool\ndata_directory = {dir}/data\n\
         maillog_file = {log}\nmaillog_file_prefixes = {dir}\ninet_interfaces = 127.0.0.1\n\
         inet_protocols = ipv4\nmyhostname = {host}\nmydestination =\nmynetworks = 127.0.0.0/8\n\
         alias_maps =\nalias_database =\nlocal_recipient_maps =\nlocal_transport = error:no local\n\
         smtpd_relay_restrictions = permit_mynetworks, reject\nbiff = no\n\
         message_size_limit = 60000000\nmailbox_size_limit = 0\nvirtual_mailbox_limit = 0\n\
         virtual_mailbox_domains = {domains}\nsmtp_host_lookup = {lookup}\n\
         smtp_tls_security_level = may\nminimal_backoff_time = 5s\nqueue_run_delay = 5s\n",
        host = setup.hostname,
        domains = setup.domains.join(", "),
        lookup = if setup.dns.is_some() { "dns" } else { "native" },
    );
    match &setup.transport {
        Some(transport) => {
            let _ = writeln!(text, "virtual_transport = {transport}");
        }
        None => {
            let _ = writeln!(
                text,
                "virtual_mailbox_base = {dir}/mail\nvirtual_mailbox_maps = static:box/\n\
                 virtual_minimum_uid = 1\nvirtual_uid_maps = static:{0}\nvirtual_gid_maps = static:{0}",
                user_id("nobody")
            );
        }
    }
    let routes: String = setup
        .routes
        .iter()
        .map(|(domain, to)| format!("{{ {domain} = smtp:[{}]:{} }} ", to.ip(), to.port()))
        .collect();
    if !routes.is_empty() {
        let _ = writeln!(text, "transport_maps = inline:{{ {routes}}}");
    }
    text + &setup.main
}

/// Gives a directory to a user of the system.
fn own(path: &Path, user: &str) {
    let id = user_id(user);
    chown(path, Some(id), None)
        .unwrap_or_else(|error| panic!("Postfix needs root to start: {}: {error}", path.display()));
}

/// The number of a user of the system.
pub(crate) fn user_id(user: &str) -> u32 {
    let text = must_run(
        Command::new("id").args(["-u", user]),
        Duration::from_secs(5),
    );
    text.trim().parse().expect("id -u prints a number")
}
