//! S3: an object store in this process, and Garage as a process of its own. Both stand behind a
//! switch that can answer in their stead as a broken, slow or lying one would.
//!
//! The one in this process keeps its objects as files (s3s-fs) and speaks real HTTP on a free
//! loopback port, with signatures checked.

mod garage;
mod loopback;
mod switch;

pub use garage::Garage;
pub use switch::{Fault, Method, Switch};

use std::path::PathBuf;

use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s_fs::FileSystem;
use tempfile::TempDir;
use tokio::net::TcpListener;

use loopback::Loopback;

/// What a client needs to reach a bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// `http://127.0.0.1:port`.
    pub endpoint: String,
    /// The region that signatures name.
    pub region: String,
    /// The bucket.
    pub bucket: String,
    /// The name of the key.
    pub key_id: String,
    /// The key.
    pub secret_key: String,
}

/// An object store in this process, with one bucket. It goes with all its objects when it is
/// dropped.
pub struct S3Server {
    switch: Switch,
    _server: Loopback,
    dir: TempDir,
}

const BUCKET: &str = "letters";
const KEY_ID: &str = "PENNYBLACKTEST";
const SECRET_KEY: &str = "only-for-tests-on-loopback";

impl S3Server {
    /// Starts it on a free port of 127.0.0.1.
    ///
    /// # Panics
    /// When there is no port or no room for a folder.
    #[must_use]
    pub fn start() -> S3Server {
        let dir = tempfile::tempdir().expect("a temporary directory can be made");
        std::fs::create_dir(dir.path().join(BUCKET)).expect("a directory of ours can be made");
        let files = FileSystem::new(dir.path()).expect("a directory of ours can be served");
        let mut builder = S3ServiceBuilder::new(files);
        builder.set_auth(SimpleAuth::from_single(KEY_ID, SECRET_KEY));
        let service = builder.build();
        let server = Loopback::start(async move |listener| serve(&listener, &service).await);
        S3Server {
            switch: Switch::start(server.address),
            _server: server,
            dir,
        }
    }

    /// How to reach the bucket.
    #[must_use]
    pub fn access(&self) -> Access {
        Access {
            endpoint: format!("http://{}", self.switch.address()),
            region: "garage".to_owned(),
            bucket: BUCKET.to_owned(),
            key_id: KEY_ID.to_owned(),
            secret_key: SECRET_KEY.to_owned(),
        }
    }

    /// What stands before it.
    #[must_use]
    pub fn switch(&self) -> &Switch {
        &self.switch
    }

    /// The files of all objects, in order. To look at, to damage and to remove.
    #[must_use]
    pub fn objects(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut folders = vec![self.dir.path().join(BUCKET)];
        while let Some(folder) = folders.pop() {
            let entries = std::fs::read_dir(&folder).expect("a directory of ours can be read");
            for entry in entries {
                let path = entry.expect("an entry of ours can be read").path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    found.push(path);
                }
            }
        }
        found.sort();
        found
    }
}

async fn serve(listener: &TcpListener, service: &S3Service) {
    loop {
        let Ok((socket, _)) = listener.accept().await else {
            return;
        };
        let service = service.clone();
        tokio::spawn(async move {
            let server = Builder::new(TokioExecutor::new());
            // A peer that goes away is no event here.
            let _ = server.serve_connection(TokioIo::new(socket), service).await;
        });
    }
}
