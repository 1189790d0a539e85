//! A Pennyblack node as its operator runs it: a settings file, `serve`, and the command line.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output};
use std::sync::OnceLock;
use std::time::Duration;

use crate::place::Place;
use crate::process::{Daemon, run, run_with_input, said};

/// The password of every account that the harness makes.
pub const PASSWORD: &str = "one penny, any distance";

/// A node must be ready within this time, also after a crash and on a busy machine.
const READY_WITHIN: Duration = Duration::from_secs(20);

/// Where a node listens: the same ports at each address, above 1024.
pub mod port {
    /// SMTP from other servers, STARTTLS offered.
    pub const SMTP: u16 = 2525;
    /// Mail from other servers behind a proxy that speaks the PROXY protocol.
    pub const SMTP_PROXIED: u16 = 2526;
    /// Mail from programs of the same house.
    pub const LMTP: u16 = 2524;
    /// Submission without TLS, for this machine only.
    pub const SUBMISSION: u16 = 2588;
    /// Submission with STARTTLS.
    pub const SUBMISSION_STARTTLS: u16 = 2587;
    /// Submission with TLS from the first byte.
    pub const SUBMISSION_TLS: u16 = 2465;
    /// IMAP without TLS, for this machine only.
    pub const IMAP: u16 = 2143;
    /// IMAP with STARTTLS.
    pub const IMAP_STARTTLS: u16 = 2144;
    /// IMAP with TLS from the first byte.
    pub const IMAP_TLS: u16 = 2993;
    /// `/metrics` and `/healthz`.
    pub const HTTP: u16 = 2080;
}

/// How a node is set up.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The number of its address in the place.
    pub host: u8,
    /// The domain it serves; it calls itself `mx.DOMAIN`.
    pub domain: String,
    /// The DNS server it asks; without one it finds no other domain.
    pub dns: Option<SocketAddr>,
    /// More settings, as TOML with full names (`limits.connections_per_second = 1000`).
    pub settings: String,
    /// The program; the one that Cargo built when not given.
    pub program: Option<PathBuf>,
    /// What stands in the environment of the node and of its commands.
    pub environment: Vec<(&'static str, String)>,
}

impl Setup {
    /// A node for a domain at an address.
    #[must_use]
    pub fn new(host: u8, domain: &str) -> Setup {
        let domain = domain.to_owned();
        Setup {
            host,
            domain,
            dns: None,
            settings: String::new(),
            program: None,
            environment: Vec::new(),
        }
    }
}

/// A node. It is killed when it is dropped.
#[derive(Debug)]
pub struct Node {
    program: PathBuf,
    config: PathBuf,
    log: PathBuf,
    host: std::net::Ipv4Addr,
    daemon: Option<Daemon>,
    environment: Vec<(&'static str, String)>,
}

impl Node {
    /// Writes the settings of a node, and starts nothing yet.
    #[must_use]
    pub fn new(place: &Place, setup: &Setup) -> Node {
        let name = format!("node-{}", setup.host);
        let host = place.address(setup.host);
        let config = place.write(&format!("{name}/pennyblack.toml"), settings(setup, host));
        let program = setup.program.clone().unwrap_or_else(|| built().to_owned());
        let log = config.with_file_name("log");
        Node {
            program,
            config,
            log,
            host,
            daemon: None,
            environment: setup.environment.clone(),
        }
    }

    /// Starts a node and makes accounts for these local parts.
    #[must_use]
    pub fn start(place: &Place, setup: &Setup, accounts: &[&str]) -> Node {
        let mut node = Node::new(place, setup);
        node.serve();
        for account in accounts {
            node.add_account(&format!("{account}@{}", setup.domain));
        }
        node
    }

    /// Starts `serve` and waits until it says that it is ready.
    ///
    /// # Panics
    /// When it is not ready in time; the message holds its log.
    pub fn serve(&mut self) {
        let mut command = self.program();
        command.arg("serve").arg("--config").arg(&self.config);
        let start = std::fs::metadata(&self.log).map_or(0, |log| log.len() as usize);
        let mut daemon = Daemon::start(&mut command, &self.log);
        daemon.wait_for_log("pennyblack ready:", start, READY_WITHIN);
        self.daemon = Some(daemon);
    }

    fn program(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Ends it as a crash would.
    pub fn kill(&mut self) {
        self.daemon = None;
    }

    /// Asks it to stop and waits until it has.
    ///
    /// # Panics
    /// When it does not run or does not stop.
    pub fn stop(&mut self) -> ExitStatus {
        let mut daemon = self.daemon.take().expect("the node runs");
        daemon.stop(Duration::from_secs(20))
    }

    /// The process number of `serve`.
    ///
    /// # Panics
    /// When it does not run.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.daemon.as_ref().expect("the node runs").pid()
    }

    /// Where one of its ports is.
    #[must_use]
    pub fn at(&self, port: u16) -> SocketAddr {
        SocketAddr::from((self.host, port))
    }

    /// All it logged, over all starts.
    #[must_use]
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Its data directory.
    #[must_use]
    pub fn data_dir(&self) -> PathBuf {
        self.config.with_file_name("data")
    }

    /// Runs a command of the command line, such as `queue list --json`.
    #[must_use]
    pub fn command(&self, arguments: &[&str]) -> Output {
        run(&mut self.command_line(arguments), Duration::from_secs(30))
    }

    /// A command of the command line, to be run in another way.
    #[must_use]
    pub fn command_line(&self, arguments: &[&str]) -> Command {
        let mut command = self.program();
        command.args(arguments).arg("--config").arg(&self.config);
        command
    }

    /// Makes an account with the harness's password.
    ///
    /// # Panics
    /// When the command fails.
    pub fn add_account(&self, address: &str) {
        let mut command = self.program();
        command
            .args(["account", "add", address, "--password-stdin", "--config"])
            .arg(&self.config);
        let password = format!("{PASSWORD}\n");
        let output = run_with_input(&mut command, password.as_bytes(), Duration::from_secs(30));
        assert!(
            output.status.success(),
            "account add {address}: {}",
            said(&output)
        );
    }

    /// What `queue list --json` prints.
    ///
    /// # Panics
    /// When the command fails.
    #[must_use]
    pub fn queue(&self) -> String {
        let output = self.command(&["queue", "list", "--json"]);
        assert!(output.status.success(), "queue list: {}", said(&output));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the log of the node at {}:\n{}", self.host, self.log());
        }
    }
}

fn settings(setup: &Setup, host: std::net::Ipv4Addr) -> String {
    let Setup {
        domain,
        dns,
        settings,
        ..
    } = setup;
    let servers = dns.map_or(String::new(), |address| format!("\"{address}\""));
    let mut text = format!(
        "hostname = \"mx.{domain}\"\ndata_dir = \"data\"\ndomains = [\"{domain}\"]\n\
         dns.servers = [{servers}]\nsmtp.auth_without_tls = \"loopback\"\n\
         store.key_file = \"../store.key\"\noutbound.port = {}\n{settings}\n",
        port::SMTP
    );
    let listeners = [
        ("smtp", port::SMTP, "starttls"),
        ("lmtp", port::LMTP, "none"),
        ("submission", port::SUBMISSION, "none"),
        ("submission", port::SUBMISSION_STARTTLS, "starttls"),
        ("submission", port::SUBMISSION_TLS, "implicit"),
        ("imap", port::IMAP, "none"),
        ("imap", port::IMAP_STARTTLS, "starttls"),
        ("imap", port::IMAP_TLS, "implicit"),
        ("http", port::HTTP, "none"),
    ];
    for (protocol, port, tls) in listeners {
        let _ = write!(
            text,
            "[[listen]]\nprotocol = \"{protocol}\"\naddress = \"{host}:{port}\"\ntls = \"{tls}\"\n"
        );
    }
    let _ = write!(
        text,
        "[[listen]]\nprotocol = \"smtp\"\naddress = \"{host}:{}\"\nproxy = true\n",
        port::SMTP_PROXIED
    );
    text
}

/// The program under test: `PENNYBLACK_BIN`, or else the one that Cargo builds now.
///
/// # Panics
/// When it cannot be built.
#[must_use]
pub fn built() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        if let Some(path) = std::env::var_os("PENNYBLACK_BIN") {
            let path = PathBuf::from(path);
            assert!(
                path.is_file(),
                "PENNYBLACK_BIN is {}, which is no file",
                path.display()
            );
            return path;
        }
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(cargo);
        let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml");
        command.args([
            "build",
            "--quiet",
            "-p",
            "pennyblack",
            "--manifest-path",
            manifest,
        ]);
        let output = run(&mut command, Duration::from_secs(900));
        assert!(
            output.status.success(),
            "pennyblack does not build:\n{}",
            said(&output)
        );
        // A test runs from target/debug/deps; the program stands one level above.
        let test = std::env::current_exe().expect("a running test has a path");
        let debug = test
            .ancestors()
            .nth(2)
            .unwrap_or_else(|| Path::new("target/debug"));
        debug.join("pennyblack")
    })
}
