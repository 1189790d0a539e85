//! PostgreSQL: a server of the test's own, from Debian's package, on a loopback port.
//!
//! Making a cluster takes a second, so that one is made once per machine and copied for each test.
//! The server refuses to run as root; it then runs as the user `postgres`, which the package makes.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::place::Place;
use crate::process::{Daemon, must_run, wait_for};

/// How long any step of it may take.
const LIMIT: Duration = Duration::from_secs(60);
/// The host number in a place's network.
const HOST: u8 = 54;
/// The usual port.
const PORT: u16 = 5_432;

/// Whether commits are flushed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flushed {
    /// As an operator runs it.
    Yes,
    /// For tests that never lose power: several times as fast.
    No,
}

/// A running server.
#[derive(Debug)]
pub struct Postgres {
    /// Where it listens.
    pub address: SocketAddr,
    data: PathBuf,
    bin: PathBuf,
    log: PathBuf,
    flushed: Flushed,
    disk: PathBuf,
    disk_mb: Option<u32>,
    daemon: Option<Daemon>,
    _place: Place,
}

impl Postgres {
    /// Starts a server with an empty cluster.
    ///
    /// # Panics
    /// When the package is missing or the server does not start.
    #[must_use]
    pub fn start(flushed: Flushed) -> Postgres {
        Postgres::start_with_disk(flushed, None)
    }

    /// Starts a server that sees a file system of its own with so many megabytes at
    /// [`Postgres::small_disk`].
    ///
    /// # Panics
    /// When the package is missing or the server does not start.
    #[must_use]
    pub fn start_with_disk(flushed: Flushed, disk_mb: Option<u32>) -> Postgres {
        let place = Place::new();
        let bin = programs();
        let data = place.path("data");
        copy(&template(&bin), &data);
        fs::create_dir(place.path("disk")).expect("a directory of ours can be made");
        give_away(&place.path("disk"));
        let mut server = Postgres {
            disk: place.path("disk"),
            disk_mb,
            address: place.at(HOST, PORT),
            log: place.path("postgres.log"),
            data,
            bin,
            flushed,
            daemon: None,
            _place: place,
        };
        server.begin();
        server
    }

    /// The URL of a database; `postgres` is there from the start.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@{}/{database}", self.address)
    }

    /// Makes a database and gives its URL.
    pub fn database(&self, name: &str) -> String {
        self.psql("postgres", &format!("CREATE DATABASE {name}"));
        self.url(name)
    }

    /// Makes a user who logs in by a password, and a database that is his; gives its URL.
    pub fn database_of_user(&self, name: &str, password: &str) -> String {
        let make = format!("CREATE ROLE {name} LOGIN PASSWORD '{password}'");
        self.psql("postgres", &make);
        self.psql("postgres", &format!("CREATE DATABASE {name} OWNER {name}"));
        let rules = format!(
            "host all {name} all scram-sha-256\n{}",
            fs::read_to_string(self.data.join("pg_hba.conf")).unwrap_or_default()
        );
        fs::write(self.data.join("pg_hba.conf"), rules).expect("a file of ours can be written");
        self.reload();
        format!("postgres://{name}:{password}@{}/{name}", self.address)
    }

    /// Changes a setting of the running server.
    pub fn set(&self, setting: &str) {
        self.psql("postgres", &format!("ALTER SYSTEM SET {setting}"));
        self.reload();
    }

    /// Lets the server read its files again, and waits until new connections are made by them.
    fn reload(&self) {
        let loaded = || self.psql("postgres", "SELECT pg_conf_load_time()");
        let before = loaded();
        self.psql("postgres", "SELECT pg_reload_conf()");
        wait_for("PostgreSQL to read its files", LIMIT, || {
            (loaded() != before).then_some(())
        });
    }

    /// Turns TLS on with a certificate of its own for this host name; gives the certificate's file.
    pub fn use_tls(&self, host_name: &str) -> PathBuf {
        let (key, certificate) = (self.data.join("server.key"), self.data.join("server.crt"));
        let mut command = Command::new(crate::process::program("openssl"));
        command.args(["req", "-x509", "-newkey", "ec", "-pkeyopt"]);
        command.args(["ec_paramgen_curve:P-256", "-nodes", "-days", "30"]);
        command.args(["-subj", &format!("/CN={host_name}")]);
        command.args(["-addext", &format!("subjectAltName=DNS:{host_name}")]);
        command
            .arg("-keyout")
            .arg(&key)
            .arg("-out")
            .arg(&certificate);
        must_run(&mut command, LIMIT);
        give_away(&key);
        self.set("ssl = on");
        certificate
    }

    /// The file of a table, to be damaged while the server does not run.
    #[must_use]
    pub fn file_of(&self, database: &str, table: &str) -> PathBuf {
        let sql = format!("SELECT pg_relation_filepath('{table}')");
        self.data.join(self.psql(database, &sql).trim())
    }

    /// Where the small file system is, for the server alone.
    #[must_use]
    pub fn small_disk(&self) -> &Path {
        &self.disk
    }

    /// Runs statements by psql and gives what it prints, unaligned and without headings.
    pub fn psql(&self, database: &str, sql: &str) -> String {
        let mut command = Command::new(self.bin.join("psql"));
        command.args(["--no-psqlrc", "-qAt", "-v", "ON_ERROR_STOP=1", "-c", sql]);
        command.arg(self.url(database));
        must_run(&mut command, LIMIT)
    }

    /// Ends it at once, as a crash would, with all its processes.
    pub fn kill(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            daemon.kill();
        }
    }

    /// Stops it the way `pg_ctl stop -m fast` does: connections are cut.
    pub fn stop(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            daemon.interrupt(LIMIT);
        }
    }

    /// Starts it again where it was.
    pub fn begin(&mut self) {
        let program = self.bin.join("postgres");
        let mut command = match self.disk_mb {
            Some(megabytes) => with_disk(&self.disk, megabytes, &program),
            None => as_postgres(&program),
        };
        command.arg("-D").arg(&self.data);
        let port = format!("port={PORT}");
        let listen = format!("listen_addresses={}", self.address.ip());
        let mut settings = vec![port, listen, "unix_socket_directories=".to_owned()];
        settings.extend(
            [
                "max_connections=200",
                "shared_buffers=32MB",
                "log_min_messages=warning",
            ]
            .map(str::to_owned),
        );
        if self.flushed == Flushed::No {
            settings.extend(["fsync=off", "full_page_writes=off"].map(str::to_owned));
        }
        for setting in &settings {
            command.args(["-c", setting]);
        }
        let from = std::time::Instant::now();
        let daemon = loop {
            // A killed server leaves the number of its process, which may belong to another by now,
            // and for a moment processes that hold its address and its memory.
            let _ = fs::remove_file(self.data.join("postmaster.pid"));
            let mut daemon = Daemon::start(&mut command, &self.log);
            if daemon.comes_to_listen(self.address, LIMIT) {
                break daemon;
            }
            assert!(from.elapsed() < LIMIT, "the server ends: {}", self.log());
            std::thread::sleep(Duration::from_millis(100));
        };
        self.daemon = Some(daemon);
        self.wait_until_ready();
    }

    /// All it has said.
    #[must_use]
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    fn wait_until_ready(&self) {
        let mut command = Command::new(self.bin.join("pg_isready"));
        let (host, port) = (self.address.ip().to_string(), PORT.to_string());
        command.args(["-h", &host, "-p", &port, "-t", "1", "-q"]);
        let from = std::time::Instant::now();
        while !crate::process::run(&mut command, LIMIT).status.success() {
            assert!(
                from.elapsed() < LIMIT,
                "PostgreSQL is not ready:\n{}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// The newest of Debian's versions that is installed.
fn programs() -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let newest = versions
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let number: u32 = path.file_name()?.to_str()?.parse().ok()?;
            path.join("bin/postgres").exists().then_some((number, path))
        })
        .max();
    newest
        .map(|(_, path)| path.join("bin"))
        .expect("PostgreSQL is installed (script/setup test)")
}

/// A fresh cluster, made once and kept for all tests of this machine.
fn template(bin: &Path) -> PathBuf {
    let version = bin.parent().and_then(Path::file_name).unwrap_or_default();
    let name = format!("pennyblack-postgres-{}-sums", version.display());
    let kept = std::env::temp_dir().join(name);
    if kept.join("PG_VERSION").exists() {
        return kept;
    }
    let place = Place::new();
    let made = place.path("cluster");
    fs::create_dir(&made).expect("a directory of ours can be made");
    give_away(&made);
    let mut command = as_postgres(&bin.join("initdb"));
    command.args([
        "--username=postgres",
        "--auth=trust",
        "--encoding=UTF8",
        "--locale=C",
        "--data-checksums",
    ]);
    command
        .args(["--no-sync", "--wal-segsize=4", "-D"])
        .arg(&made);
    must_run(&mut command, LIMIT);
    // Another test may have been quicker; its cluster is as good.
    let mine = kept.with_extension(std::process::id().to_string());
    copy(&made, &mine);
    if fs::rename(&mine, &kept).is_err() {
        let _ = fs::remove_dir_all(&mine);
    }
    kept
}

fn copy(from: &Path, to: &Path) {
    must_run(Command::new("cp").arg("-a").arg(from).arg(to), LIMIT);
}

/// A command that runs as `postgres` where we are root, and ends with us in any case.
fn as_postgres(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]);
    if is_root() {
        command.args(["--reuid=postgres", "--regid=postgres", "--init-groups"]);
    }
    command.arg("--").arg(program);
    command.current_dir("/");
    command
}

/// A command that runs as `postgres` in a mount namespace of its own, with a small file system.
fn with_disk(disk: &Path, megabytes: u32, program: &Path) -> Command {
    let owner = if is_root() { "postgres:" } else { "0" };
    let script = format!(
        "mount -t tmpfs -o size={megabytes}m,mode=0777 none \"$0\" && mkdir \"$0/space\" && \
         chown {owner} \"$0/space\" && exec \"$@\""
    );
    let mut command = Command::new("unshare");
    if !is_root() {
        command.arg("--map-root-user");
    }
    command.args(["--mount", "sh", "-c", &script]).arg(disk);
    if is_root() {
        let inner = as_postgres(program);
        command.arg(inner.get_program()).args(inner.get_args());
    } else {
        // The server refuses to be root, also of a namespace.
        command.args(["setpriv", "--pdeathsig", "KILL", "--", "unshare"]);
        command
            .args(["--map-user=1000", "--map-group=1000"])
            .arg(program);
    }
    command.current_dir("/");
    command
}

fn give_away(folder: &Path) {
    if is_root() {
        must_run(Command::new("chown").arg("postgres:").arg(folder), LIMIT);
    }
}

fn is_root() -> bool {
    must_run(Command::new("id").arg("-u"), LIMIT).trim() == "0"
}
