//! Where a test lives: a directory of its own and a loopback network of its own, so that tests run
//! side by side without meeting and peers may keep their usual ports' shape.

use std::fs::{self, Permissions};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// A directory that goes when it is dropped, and a network 127.x.y.0/24 that nobody else uses.
#[derive(Debug)]
pub struct Place {
    dir: TempDir,
    net: [u8; 2],
}

impl Place {
    /// Takes a place below the system's directory for temporary files.
    #[must_use]
    pub fn new() -> Place {
        Place::below(&std::env::temp_dir())
    }

    /// Takes a place below a given directory, which must exist.
    #[must_use]
    pub fn below(parent: &Path) -> Place {
        let dir = tempfile::Builder::new()
            .prefix("pennyblack-interop-")
            .tempdir_in(parent)
            .expect("a temporary directory can be made");
        // Peers give up root and must still reach their files.
        fs::set_permissions(dir.path(), Permissions::from_mode(0o755))
            .expect("a directory of ours can be opened to others");
        Place {
            dir,
            net: free_net(),
        }
    }

    /// The directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// A path in the directory.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Address number `host` of the network.
    #[must_use]
    pub fn address(&self, host: u8) -> Ipv4Addr {
        Ipv4Addr::new(127, self.net[0], self.net[1], host)
    }

    /// A port at address number `host`.
    #[must_use]
    pub fn at(&self, host: u8, port: u16) -> SocketAddr {
        SocketAddr::new(IpAddr::V4(self.address(host)), port)
    }

    /// Writes a file into the directory and gives its path.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).expect("a directory of ours can be made");
        }
        fs::write(&path, content).expect("a file of ours can be written");
        path
    }
}

impl Default for Place {
    fn default() -> Place {
        Place::new()
    }
}

/// A network that no other test process uses: chosen by the process number, and proven free.
fn free_net() -> [u8; 2] {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    /// Holds the network for the life of the process: whoever binds this port has it.
    static HELD: std::sync::Mutex<Vec<TcpListener>> = std::sync::Mutex::new(Vec::new());
    const KEY_PORT: u16 = 60_009;
    for _ in 0..1_000 {
        let turn = std::process::id().wrapping_add(NEXT.fetch_add(7_919, Ordering::Relaxed));
        // 127.16.0.0 to 127.239.255.0: away from the addresses that systems and demos use.
        let net = [16 + ((turn >> 8) % 224) as u8, (turn & 0xff) as u8];
        let key = (Ipv4Addr::new(127, net[0], net[1], 254), KEY_PORT);
        if let Ok(listener) = TcpListener::bind(key) {
            HELD.lock().expect("no holder panics").push(listener);
            return net;
        }
    }
    panic!("no free loopback network among a thousand");
}
