//! The network of the world: addresses, who listens there, and what goes wrong between them.

mod ear;
mod link;

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base::Domain;
use base::ports::{BoxFuture, BoxStream, Connector, TlsInfo};
use tokio::time::{Instant, sleep};

pub use ear::TOKEN_FIELD;
pub use link::{End, Fate, Power, Side};

use crate::faults::Faults;
use crate::ledger::{Ledger, Passage};
use crate::random::Random;
use crate::tls;
use crate::trace::Trace;
use link::{LinkOptions, NEVER};

/// What is done with a connection that comes in.
pub type Accept = Arc<dyn Fn(BoxStream, SocketAddr) + Send + Sync>;

/// The network. Clones are the same.
#[derive(Clone)]
pub struct Net {
    inner: Arc<Mutex<Inner>>,
    random: Random,
    trace: Trace,
    ledger: Ledger,
    replies_early: bool,
}

struct Inner {
    listeners: BTreeMap<SocketAddr, (Accept, Power)>,
    /// The names of addresses in the trace.
    names: BTreeMap<IpAddr, String>,
    /// Pairs between which nothing passes, in both orders, and until when.
    parted: BTreeMap<(IpAddr, IpAddr), Instant>,
    faults: Faults,
    connections: u64,
    next_port: u16,
}

impl Net {
    /// An empty network.
    #[must_use]
    pub fn new(random: Random, trace: Trace, ledger: Ledger, replies_early: bool) -> Self {
        Self {
            inner: Arc::new(Mutex::new(Inner {
                listeners: BTreeMap::new(),
                names: BTreeMap::new(),
                parted: BTreeMap::new(),
                faults: Faults::default(),
                connections: 0,
                next_port: 0,
            })),
            random,
            trace,
            ledger,
            replies_early,
        }
    }

    /// Which faults connections have from now on.
    pub fn set_faults(&self, faults: Faults) {
        self.lock().faults = faults;
    }

    /// Names an address.
    pub fn add_name(&self, address: IpAddr, name: &str) {
        self.lock().names.insert(address, name.to_owned());
    }

    /// Lets somebody listen.
    pub fn listen(&self, address: SocketAddr, accept: Accept, power: Power) {
        self.lock().listeners.insert(address, (accept, power));
    }

    /// Nobody listens at this address any more.
    pub fn silence(&self, address: IpAddr) {
        self.lock().listeners.retain(|at, _| at.ip() != address);
    }

    /// Parts two addresses for a while.
    pub fn part(&self, one: IpAddr, other: IpAddr, until: Instant) {
        let mut inner = self.lock();
        inner.parted.insert((one, other), until);
        inner.parted.insert((other, one), until);
    }

    /// Ends all partings.
    pub fn heal(&self) {
        self.lock().parted.clear();
    }

    /// The view of one machine.
    #[must_use]
    pub fn at(&self, address: IpAddr, power: Power) -> Host {
        Host {
            net: self.clone(),
            address,
            power,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn parted_until(&self, one: IpAddr, other: IpAddr) -> Option<Instant> {
        let until = self.lock().parted.get(&(one, other)).copied();
        until.filter(|until| *until > Instant::now())
    }

    fn name(&self, address: IpAddr) -> String {
        let name = self.lock().names.get(&address).cloned();
        name.unwrap_or_else(|| address.to_string())
    }

    /// How slow a connection is, and what will go wrong with it.
    fn chances(&self) -> ((u64, u64), Fate) {
        let faults = self.lock().faults;
        let random = &self.random;
        let delay = if faults.latency && random.percent(8) {
            (200, 4_000)
        } else {
            (1, 30)
        };
        let side = if random.percent(60) {
            Side::Server
        } else {
            Side::Client
        };
        // The replies up to that of a letter are some hundred bytes; letters are longer.
        let limit = match side {
            Side::Server => random.below(700),
            Side::Client => random.below(2_500),
        };
        let roll = random.below(100);
        let fate = match roll {
            0..12 if faults.cut => Fate::Cut(side, limit),
            12..18 if faults.half_open => Fate::Vanish(side, limit),
            _ => Fate::Whole,
        };
        (delay, fate)
    }

    async fn connect(&self, from: IpAddr, power: &Power, to: SocketAddr) -> io::Result<BoxStream> {
        sleep(self.random.span_ms(1, 30)).await;
        if self.parted_until(from, to.ip()).is_some() {
            sleep(NEVER).await;
        }
        let listener = self.lock().listeners.get(&to).cloned();
        let Some((accept, server)) = listener.filter(|(_, power)| power.is_on()) else {
            // A machine that is off answers nothing; its neighbours may say so.
            if self.random.percent(50) {
                sleep(NEVER).await;
            }
            return Err(io::ErrorKind::ConnectionRefused.into());
        };
        let peer = {
            let mut inner = self.lock();
            inner.connections += 1;
            inner.next_port = inner.next_port % 20_000 + 1;
            SocketAddr::new(from, 30_000 + inner.next_port)
        };
        let number = self.lock().connections;
        let (delay_ms, fate) = self.chances();
        let passage = Passage {
            client: self.name(from),
            server: self.name(to.ip()),
        };
        let net = self.clone();
        let options = LinkOptions {
            name: format!("#{number}"),
            fate,
            delay_ms,
            random: self.random.clone(),
            trace: self.trace.clone(),
            ledger: self.ledger.clone(),
            replies_early: self.replies_early,
            parted_until: Arc::new(move || net.parted_until(from, to.ip())),
            passage,
        };
        self.trace.note(
            &options.name,
            format_args!(
                "{} connects to {}:{}",
                options.passage.client,
                options.passage.server,
                to.port()
            ),
        );
        self.ledger.opened();
        let (ours, theirs) = link::connect(options, power, &server);
        accept(Box::new(theirs), peer);
        Ok(Box::new(ours))
    }
}

/// A machine's view of the network.
#[derive(Clone)]
pub struct Host {
    net: Net,
    address: IpAddr,
    power: Power,
}

impl Host {
    /// Connects within a time.
    ///
    /// # Errors
    /// When nobody answers.
    pub async fn connect_within(&self, to: SocketAddr, limit: Duration) -> io::Result<BoxStream> {
        match tokio::time::timeout(limit, self.connect(to, None)).await {
            Ok(stream) => stream,
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    }
}

impl Connector for Host {
    fn connect(
        &self,
        address: SocketAddr,
        _: Option<IpAddr>,
    ) -> BoxFuture<'_, io::Result<BoxStream>> {
        Box::pin(self.net.connect(self.address, &self.power, address))
    }

    fn start_tls<'a>(
        &'a self,
        stream: BoxStream,
        name: &'a Domain,
        require_valid: bool,
    ) -> BoxFuture<'a, io::Result<(BoxStream, TlsInfo)>> {
        Box::pin(tls::connect(stream, name, require_valid))
    }
}
