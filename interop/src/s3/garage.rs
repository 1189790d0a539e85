//! Garage: a real object store, one node with one bucket, on loopback addresses of the test.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use super::{Access, Switch};
use crate::place::Place;
use crate::process::{Daemon, run, said, wait_for};

/// A running Garage behind a switch. It goes with all its objects when it is dropped.
pub struct Garage {
    place: Place,
    switch: Switch,
    daemon: Daemon,
}

const BUCKET: &str = "letters";
const REGION: &str = "garage";
/// Garage asks for this form: `GK` and 24 hexadecimal digits, and 64 of them.
const KEY_ID: &str = "GK0123456789abcdef01234567";
const SECRET_KEY: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const API_PORT: u16 = 3_900;
const RPC_PORT: u16 = 3_901;
const PATIENCE: Duration = Duration::from_secs(30);

impl Garage {
    /// Starts it.
    ///
    /// # Panics
    /// When it is not installed or does not come up; the message says why.
    #[must_use]
    pub fn start() -> Garage {
        let place = Place::new();
        let config = place.write("garage.toml", config(&place));
        let mut command = Command::new(garage());
        command
            .arg("-c")
            .arg(&config)
            .args(["server", "--single-node", "--default-bucket"])
            // Its table for secrets in files is checked by mode, and ours holds none that matters.
            .env("GARAGE_ALLOW_WORLD_READABLE_SECRETS", "true")
            .env("GARAGE_DEFAULT_ACCESS_KEY", KEY_ID)
            .env("GARAGE_DEFAULT_SECRET_KEY", SECRET_KEY)
            .env("GARAGE_DEFAULT_BUCKET", BUCKET);
        let mut daemon = Daemon::start(&mut command, &place.path("garage.log"));
        daemon.wait_for_port(place.at(1, API_PORT), PATIENCE);
        let garage = Garage {
            switch: Switch::start(place.at(1, API_PORT)),
            place,
            daemon,
        };
        // The bucket and its key are made after the port is open.
        wait_for("the bucket of Garage", PATIENCE, || {
            garage.info().contains(KEY_ID).then_some(())
        });
        garage
    }

    /// How to reach the bucket, through the switch.
    #[must_use]
    pub fn access(&self) -> Access {
        Access {
            endpoint: format!("http://{}", self.switch.address()),
            region: REGION.to_owned(),
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

    /// The process number.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.daemon.pid()
    }

    /// What Garage says of the bucket: objects, bytes, keys.
    ///
    /// # Panics
    /// When its command does not end.
    #[must_use]
    pub fn info(&self) -> String {
        let mut command = Command::new(garage());
        command
            .arg("-c")
            .arg(self.place.path("garage.toml"))
            .args(["bucket", "info", BUCKET])
            .env("GARAGE_ALLOW_WORLD_READABLE_SECRETS", "true");
        said(&run(&mut command, PATIENCE))
    }
}

fn config(place: &Place) -> String {
    let dir = place.dir().display();
    let (api, rpc) = (place.at(1, API_PORT), place.at(1, RPC_PORT));
    format!(
        "metadata_dir = \"{dir}/garage-meta\"\ndata_dir = \"{dir}/garage-data\"\n\
         db_engine = \"sqlite\"\nreplication_factor = 1\n\
         rpc_bind_addr = \"{rpc}\"\nrpc_public_addr = \"{rpc}\"\nrpc_secret = \"{SECRET_KEY}\"\n\
         [s3_api]\ns3_region = \"{REGION}\"\napi_bind_addr = \"{api}\"\n\
         root_domain = \".s3.test\"\n"
    )
}

/// The program: what `GARAGE` names, or what `script/setup cluster` has built.
fn garage() -> PathBuf {
    if let Some(path) = std::env::var_os("GARAGE") {
        return path.into();
    }
    let built = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/garage/bin/garage");
    let path = PathBuf::from(built);
    assert!(
        path.is_file(),
        "Garage is not installed; `script/setup cluster` builds it"
    );
    path
}
