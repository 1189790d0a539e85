//! Exim with a configuration, spool and users of its own: a peer that sends and receives. It needs
//! root, as Exim itself does.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::PathBuf;
use std::time::Duration;

use crate::certificates::Certificate;
use crate::house::{House, MAIL, User, files_below, unpacked};
use crate::place::Place;
use crate::process::Daemon;

/// The user that the program of Debian looks for.
const EXIM: User = User {
    name: "Debian-exim",
    id: 59_101,
};

/// How an instance is set up.
#[derive(Clone, Debug, Default)]
pub struct Setup {
    /// Its own name, in EHLO and in the greeting.
    pub hostname: String,
    /// The domain whose mail it takes, for any local part.
    pub domain: String,
    /// The certificate for STARTTLS; without one it is not offered.
    pub certificate: Option<Certificate>,
    /// The DNS server that it asks for MX records, at port 53.
    pub dns: Option<IpAddr>,
    /// The port at which it finds other servers.
    pub port: u16,
    /// More lines for the main section.
    pub main: String,
    /// What the ACL for RCPT says before it accepts.
    pub rcpt: String,
}

/// A running instance. It stops when it is dropped.
#[derive(Debug)]
pub struct Exim {
    /// Where it takes mail.
    pub address: SocketAddr,
    house: House,
    daemon: Daemon,
}

impl Exim {
    /// Starts an instance called `name` (letters only) at `address`.
    ///
    /// # Panics
    /// When it does not come up; the message holds its log.
    #[must_use]
    pub fn start(place: &Place, name: &str, address: SocketAddr, setup: &Setup) -> Exim {
        let house = House::new(place, name, &[EXIM], setup.dns);
        for dir in ["var/spool/exim4", "logs"] {
            fs::create_dir_all(house.path(dir)).expect("a directory of ours can be made");
            house.give(dir, EXIM);
        }
        if let Some(certificate) = &setup.certificate {
            house.write_certificate(certificate, EXIM);
        }
        let program = own_copy(&house);
        place.write(
            &format!("{name}/etc/exim4/exim4.conf"),
            configuration(&house, &program, address, setup),
        );
        let mut command = house.command(&program);
        // In the foreground, and each second through the queue.
        command.args(["-bdf", "-q1s"]);
        let mut daemon = Daemon::start(&mut command, &house.path("log"));
        daemon.wait_for_port(address, Duration::from_secs(20));
        Exim {
            address,
            house,
            daemon,
        }
    }

    /// What it logged of letters and what it said itself.
    #[must_use]
    pub fn log(&self) -> String {
        let mut log = self.daemon.log();
        for file in files_below(&self.house.path("logs")) {
            log += &String::from_utf8_lossy(&fs::read(file).unwrap_or_default());
        }
        log
    }

    /// The letters that it delivered, as they stand in files: line ends are LF.
    #[must_use]
    pub fn delivered(&self) -> Vec<Vec<u8>> {
        self.house.letters("mail/box")
    }

    /// Whether its queue holds no letter.
    #[must_use]
    pub fn queue_is_empty(&self) -> bool {
        files_below(&self.house.path("var/spool/exim4/input")).is_empty()
    }
}

impl Drop for Exim {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the log of Exim at {}:\n{}", self.address, self.log());
        }
    }
}

/// Exim becomes root again to deliver what it received as its own user. The copy that may do so is
/// in the directory of the test, and for the users of that house only.
fn own_copy(house: &House) -> PathBuf {
    let program = house.path("exim");
    fs::copy(unpacked("usr/sbin/exim4"), &program).expect("a program can be copied");
    chown(&program, Some(0), Some(EXIM.id))
        .unwrap_or_else(|error| panic!("Exim needs root: {error}"));
    fs::set_permissions(&program, fs::Permissions::from_mode(0o4750)).expect("it is ours");
    program
}

fn configuration(
    house: &House,
    program: &std::path::Path,
    at: SocketAddr,
    setup: &Setup,
) -> String {
    let (base, program) = (house.path(""), program.display());
    let (base, mail) = (base.display(), MAIL.name);
    let Setup {
        hostname,
        domain,
        port,
        main,
        rcpt,
        ..
    } = setup;
    let tls = match setup.certificate {
        None => "tls_advertise_hosts =\n".to_owned(),
        Some(_) => "tls_advertise_hosts = *\ntls_certificate = /etc/chain.pem\n\
                    tls_privatekey = /etc/key.pem\n"
            .to_owned(),
    };
    format!(
        "primary_hostname = {hostname}\nexim_path = {program}\nspool_directory = /var/spool/exim4\n\
         log_file_path = {base}logs/%s\npid_file_path = /var/spool/exim4/pid\nkeep_environment =\n\
         local_interfaces = <; {ip}\ndaemon_smtp_ports = {listens}\nnever_users =\n{tls}\
         dsn_advertise_hosts = *\nsmtputf8_advertise_hosts = *\nnotifier_socket =\n\
         rfc1413_query_timeout = 0s\nacl_smtp_rcpt = rcpt\n{main}\
         begin acl\nrcpt:\n{rcpt}  accept\n\
         begin routers\n\
         ours:\n  driver = accept\n  domains = {domain}\n  transport = box\n\
         others:\n  driver = dnslookup\n  domains = ! {domain}\n  transport = smtp\n  self = send\n\
         begin transports\n\
         box:\n  driver = appendfile\n  maildir_format\n  directory = {base}mail/box\n  user = {mail}\n\
         smtp:\n  driver = smtp\n  port = {port}\n  hosts_try_fastopen =\n\
         begin retry\n* * F,1h,1s\n",
        ip = at.ip(),
        listens = at.port(),
    )
}
