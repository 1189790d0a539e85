//! The demonstration: two nodes with two domains and a private DNS in one process.
//!
//! A letter from alice@red.test to bob@black.test goes the whole way for real: submission with a
//! password over TLS, the MX look-up, SMTP with STARTTLS, the mailbox. Everything is on loopback,
//! offline, without root; the state lives in one folder and survives restarts.

pub mod dns;
pub mod places;
pub mod print;
pub mod send;
pub mod state;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base::{EmailAddress, Secret};
use store::{NewAccount, Store, StoreError};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::node::{Node, NodeError};
use crate::settings::{Protocol, Settings, SettingsError, TlsMode};
use dns::{Authority, Zones};
use places::Places;
use state::Passwords;

/// One of the demo's two people, with the node where the mail is.
#[derive(Clone, Copy, Debug)]
pub struct Person {
    /// The node's short name: the folder of its data and the file of its settings.
    pub node: &'static str,
    /// The domain.
    pub domain: &'static str,
    /// The local part.
    pub user: &'static str,
    /// The person's name.
    pub name: &'static str,
}

/// Who writes.
pub const ALICE: Person = Person {
    node: "red",
    domain: "red.test",
    user: "alice",
    name: "Alice Red",
};

/// Who reads.
pub const BOB: Person = Person {
    node: "black",
    domain: "black.test",
    user: "bob",
    name: "Bob Black",
};

impl Person {
    /// The address.
    #[must_use]
    pub fn address(&self) -> String {
        format!("{}@{}", self.user, self.domain)
    }

    /// The name of the node's host.
    #[must_use]
    pub fn host(&self) -> String {
        format!("mx.{}", self.domain)
    }
}

/// Why the demo does not start.
#[derive(Debug)]
pub enum DemoError {
    /// The folder or a port.
    Io(io::Error),
    /// A node.
    Node(NodeError),
    /// A store.
    Store(StoreError),
    /// What should not happen: our own names or settings are wrong.
    Bug(String),
}

impl fmt::Display for DemoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(f, "the demo cannot start: {error}"),
            Self::Node(error) => error.fmt(f),
            Self::Store(error) => error.fmt(f),
            Self::Bug(why) => write!(f, "bug: {why}"),
        }
    }
}

impl std::error::Error for DemoError {}

impl From<io::Error> for DemoError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<NodeError> for DemoError {
    fn from(error: NodeError) -> Self {
        Self::Node(error)
    }
}

impl From<StoreError> for DemoError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<SettingsError> for DemoError {
    fn from(error: SettingsError) -> Self {
        Self::Bug(error.to_string())
    }
}

/// One node of the demo, with its person.
pub struct Side {
    /// The person.
    pub person: Person,
    /// The password.
    pub password: String,
    /// Where it listens.
    pub places: Places,
    /// Its configuration file.
    pub config: PathBuf,
    /// The node.
    pub node: Node,
}

impl Side {
    /// The address of a listener.
    ///
    /// # Errors
    /// When the demo has no such listener.
    pub fn listener(&self, protocol: Protocol, tls: TlsMode) -> Result<SocketAddr, DemoError> {
        self.places
            .address(protocol, tls)
            .ok_or_else(|| DemoError::Bug(format!("no listener for {}", protocol.as_str())))
    }
}

/// The running demo.
pub struct Demo {
    /// Alice's node.
    pub red: Side,
    /// Bob's node.
    pub black: Side,
    /// Where the DNS answers.
    pub dns: SocketAddr,
    /// The folder with all its state.
    pub folder: PathBuf,
    shutdown: CancellationToken,
    tasks: TaskTracker,
}

impl Demo {
    /// Starts everything.
    ///
    /// # Errors
    /// What is in the way.
    pub async fn start(folder: &Path) -> Result<Self, DemoError> {
        let passwords = Passwords::load_or_make(folder)?;
        let [red, black] = places::find()?;
        let authority = Authority::bind(places::dns(red.ip), zones(&red, &black)?).await?;
        let dns = authority.address()?;
        let shutdown = CancellationToken::new();
        let tasks = TaskTracker::new();
        tasks.spawn(authority.serve(shutdown.clone()));
        let (red_port, black_port) = (smtp_port(&red)?, smtp_port(&black)?);
        let red = side(folder, ALICE, passwords.alice, red, dns, black_port).await?;
        let black = match side(folder, BOB, passwords.bob, black, dns, red_port).await {
            Ok(black) => black,
            Err(error) => {
                red.node.stop().await;
                return Err(error);
            }
        };
        Ok(Self {
            red,
            black,
            dns,
            folder: folder.to_owned(),
            shutdown,
            tasks,
        })
    }

    /// Stops everything; the state stays in the folder.
    pub async fn stop(self) {
        tokio::join!(self.red.node.stop(), self.black.node.stop());
        self.shutdown.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

async fn side(
    folder: &Path,
    person: Person,
    password: String,
    places: Places,
    dns: SocketAddr,
    outbound_port: u16,
) -> Result<Side, DemoError> {
    let config = state::settings_file(folder, &person);
    let text = state::settings_text(&person, &places, dns, outbound_port);
    let node = Node::start(Arc::new(Settings::parse(&text, &config)?)).await?;
    // Only now: the file of a demo that runs already stays as it is.
    state::write_private(&config, &text)?;
    if let Err(error) = ensure_account(node.store(), &person, &password).await {
        node.stop().await;
        return Err(error);
    }
    Ok(Side {
        person,
        password,
        places,
        config,
        node,
    })
}

/// Makes the account the first time; afterwards it has the password that is printed.
async fn ensure_account(store: &Store, person: &Person, password: &str) -> Result<(), DemoError> {
    let address = person_address(person)?;
    let password = Secret::new(password);
    if let Some(account) = store.account_by_address(&address).await? {
        if store
            .authenticate(&person.address(), &password)
            .await?
            .is_none()
        {
            store.set_password(account, &password).await?;
        }
        return Ok(());
    }
    let new = NewAccount {
        address,
        name: person.name.to_owned(),
        password: Some(password),
        quota_bytes: None,
        quota_messages: None,
        admin: true,
    };
    store.add_account(new).await?;
    Ok(())
}

/// The address of a person, as a value.
pub(crate) fn person_address(person: &Person) -> Result<EmailAddress, DemoError> {
    EmailAddress::parse(&person.address()).map_err(|error| DemoError::Bug(error.to_string()))
}

fn smtp_port(places: &Places) -> Result<u16, DemoError> {
    places
        .address(Protocol::Smtp, TlsMode::StartTls)
        .map(|address| address.port())
        .ok_or_else(|| DemoError::Bug("no listener for smtp".to_owned()))
}

fn zones(red: &Places, black: &Places) -> Result<Zones, DemoError> {
    let both = [(ALICE, red), (BOB, black)];
    both.into_iter()
        .try_fold(Zones::default(), |zones, (person, places)| {
            let (domain, host) = (person.domain, person.host());
            zones
                .zone(domain)?
                .mx(domain, 10, &host)?
                .address(&host, places.ip)
        })
        .map_err(DemoError::Bug)
}
