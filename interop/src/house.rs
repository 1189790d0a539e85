//! A house of its own for a peer whose files have fixed places: in a mount namespace it sees
//! another `/etc`, `/run`, `/usr/libexec` and `/var`, with its own users in its own `passwd`. Nothing is installed
//! for it and nothing changes for anybody else. It needs root.
//!
//! Debian's mail servers exclude one another, so `script/setup` unpacks those that stand here
//! (Exim, OpenSMTPD) below `target/peers` instead of installing them.

use std::fmt::Write as _;
use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::certificates::Certificate;
use crate::place::Place;
use crate::process::program;

/// A user of a house, with a group of the same name and number. The numbers are far from those that
/// systems give.
#[derive(Clone, Copy, Debug)]
pub struct User {
    /// Its name.
    pub name: &'static str,
    /// Its number and that of its group.
    pub id: u32,
}

/// The user who has the mailboxes in every house.
pub const MAIL: User = User {
    name: "mail",
    id: 59_100,
};

/// The directory in which a peer finds its files.
#[derive(Debug)]
pub struct House {
    base: PathBuf,
}

impl House {
    /// Makes a house called `name` with users, who may ask a DNS server at port 53.
    #[must_use]
    pub fn new(place: &Place, name: &str, users: &[User], dns: Option<IpAddr>) -> House {
        let mut passwd = "root:x:0:0::/root:/bin/sh\n".to_owned();
        let mut group = "root:x:0:\n".to_owned();
        for User { name, id } in users.iter().chain([&MAIL]) {
            let _ = writeln!(passwd, "{name}:x:{id}:{id}::/nonexistent:/bin/sh");
            let _ = writeln!(group, "{name}:x:{id}:");
        }
        let resolv = dns.map_or(String::new(), |server| format!("nameserver {server}\n"));
        for (file, text) in [
            ("passwd", passwd.as_str()),
            ("group", &group),
            ("resolv.conf", &resolv),
            ("hosts", "127.0.0.1 localhost\n"),
            ("nsswitch.conf", "passwd: files\ngroup: files\nhosts: dns\n"),
        ] {
            place.write(&format!("{name}/etc/{file}"), text);
        }
        let base = place.path(name);
        for dir in ["run", "var/spool", "var/lib", "var/mail", "mail"] {
            fs::create_dir_all(base.join(dir)).expect("a directory of ours can be made");
        }
        // Debian has it so, and OpenSMTPD's socket is at /var/run.
        std::os::unix::fs::symlink("/run", base.join("var/run")).expect("a link can be made");
        let house = House { base };
        house.give("mail", MAIL);
        house
    }

    /// A path in the directory, as seen from outside.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.base.join(name)
    }

    /// Gives a file or directory to a user.
    ///
    /// # Panics
    /// When the test does not run as root.
    pub fn give(&self, name: &str, to: User) {
        let path = self.path(name);
        chown(&path, Some(to.id), Some(to.id))
            .unwrap_or_else(|error| panic!("a peer needs root: {}: {error}", path.display()));
    }

    /// Writes a file for a user and nobody else.
    pub fn write_for(&self, name: &str, content: impl AsRef<[u8]>, to: User) -> PathBuf {
        use std::os::unix::fs::PermissionsExt as _;
        let path = self.path(name);
        fs::write(&path, content).expect("a file of ours can be written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("it is ours");
        self.give(name, to);
        path
    }

    /// Puts a certificate and its key at `etc/chain.pem` and `etc/key.pem`, for a user and nobody else.
    pub fn write_certificate(&self, certificate: &Certificate, to: User) {
        for (file, from) in [
            ("etc/chain.pem", &certificate.chain),
            ("etc/key.pem", &certificate.key),
        ] {
            self.write_for(file, fs::read(from).expect("OpenSSL wrote it"), to);
        }
    }

    /// A command that runs inside. The directory itself has the same path inside and outside.
    #[must_use]
    pub fn command(&self, program_path: &Path) -> Command {
        // /var comes last: the directory itself might be below it.
        let script = "mount --bind \"$1/etc\" /etc && mount --bind \"$1/run\" /run && \
            mount --bind \"$2/usr/libexec\" /usr/libexec && \
            for dir in spool lib mail; do mount --bind \"$1/var/$dir\" /var/$dir || exit 1; done; \
            shift 2; exec \"$@\"";
        let mut command = Command::new(program("unshare"));
        command
            .args(["--mount", "sh", "-c", script, "sh"])
            .arg(&self.base)
            .arg(unpacked_at())
            .arg(program_path);
        command
    }

    /// The letters of a Maildir below the directory, as they stand in files, in the order of their
    /// names.
    #[must_use]
    pub fn letters(&self, maildir: &str) -> Vec<Vec<u8>> {
        files_below(&self.path(maildir).join("new"))
            .iter()
            .filter_map(|path| fs::read(path).ok())
            .collect()
    }
}

/// All files below a directory, sorted by path.
pub(crate) fn files_below(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => found.extend(files_below(&entry.path())),
            _ => found.push(entry.path()),
        }
    }
    found.sort();
    found
}

/// A program that `script/setup` unpacked.
///
/// # Panics
/// When it is not there: a missing peer is a failure, never a silent skip.
pub(crate) fn unpacked(name: &str) -> PathBuf {
    let path = unpacked_at().join(name);
    assert!(
        path.is_file(),
        "{name} is not there; `script/setup test` unpacks it"
    );
    path
}

/// Where `script/setup` unpacks.
fn unpacked_at() -> PathBuf {
    // A test runs from target/debug/deps.
    let test = std::env::current_exe().expect("a running test has a path");
    let mut targets: Vec<PathBuf> = test.ancestors().skip(1).map(Path::to_owned).collect();
    targets.extend(std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from));
    targets.push(concat!(env!("CARGO_MANIFEST_DIR"), "/../target").into());
    targets
        .into_iter()
        .map(|target| target.join("peers"))
        .find(|path| path.is_dir())
        .unwrap_or_else(|| panic!("no peers are there; `script/setup test` unpacks them"))
}
