//! Connections that want nothing: silent after the greeting, a byte of a command every few seconds,
//! stuck in the middle of a letter, stuck in a TLS handshake. They come from several addresses of
//! 127.0.0.0/8 and are opened again when the server has enough of them.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::process::{must_run, program};

/// Connections that are being opened at once: fewer than a listener's backlog.
const OPENING_MAX: usize = 64;

/// A step of a dialogue takes no longer, on a busy machine.
const STEP: Duration = Duration::from_secs(60);

/// What flood to make.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The SMTP server.
    pub to: SocketAddr,
    /// Connections at once; a quarter of each kind.
    pub connections: usize,
    /// Where they come from. An address has about 28,000 ports for this.
    pub sources: Vec<Ipv4Addr>,
    /// The recipient of the letters that never end.
    pub recipient: String,
    /// How often a slow one sends its byte.
    pub drip_every: Duration,
}

/// A flood that stands. It ends when it is dropped.
#[derive(Debug)]
pub struct Flood {
    shared: Arc<Shared>,
    keeper: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    open: AtomicU64,
    reopened: AtomicU64,
    rounds: AtomicU64,
    failed: AtomicU64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Idle,
    Drip,
    Letter,
    Handshake,
}

impl Flood {
    /// Opens all connections and keeps them.
    ///
    /// # Panics
    /// When they are not all open after two minutes, or three for each ten thousand.
    #[must_use]
    pub fn start(plan: Plan) -> Flood {
        let shared = Arc::new(Shared::default());
        let (wanted, limit) = (plan.connections as u64, plan.connections as u64 / 55 + 120);
        let keeper = {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .expect("a runtime can be made");
                runtime.block_on(keep(plan, &shared));
            })
        };
        let flood = Flood {
            shared,
            keeper: Some(keeper),
        };
        crate::process::wait_for("the flood", Duration::from_secs(limit), || {
            let failed = flood.shared.failed.load(Ordering::Relaxed);
            assert!(failed < 100, "the server takes no such flood");
            (flood.open() == wanted).then_some(())
        });
        flood
    }

    /// Connections that were open when they were looked at last.
    #[must_use]
    pub fn open(&self) -> u64 {
        self.shared.open.load(Ordering::Relaxed)
    }

    /// Connections that the server had closed and that were opened again.
    #[must_use]
    pub fn reopened(&self) -> u64 {
        self.shared.reopened.load(Ordering::Relaxed)
    }

    /// How often all connections were looked at.
    #[must_use]
    pub fn rounds(&self) -> u64 {
        self.shared.rounds.load(Ordering::Relaxed)
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(keeper) = self.keeper.take() {
            // A panic of it has been told already.
            let _ = keeper.join();
        }
    }
}

/// Lets this process, and what it starts, have so many files open. Above the limit that the system
/// gives it needs the right to raise it (CAP_SYS_RESOURCE).
///
/// # Panics
/// When the system does not let it.
pub fn raise_file_limit(files: usize) {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max open files"));
    let words = line.map(|line| line.split_whitespace().filter_map(|word| word.parse().ok()));
    let known: Vec<usize> = words.into_iter().flatten().collect();
    // The soft and the hard limit; what is started raises the soft one itself.
    if known.iter().all(|limit| *limit >= files) && !known.is_empty() {
        return;
    }
    let mut command = Command::new(program("prlimit"));
    command.args(["--pid", &std::process::id().to_string()]);
    command.arg(format!("--nofile={files}:{files}"));
    must_run(&mut command, Duration::from_secs(10));
}

async fn keep(plan: Plan, shared: &Shared) {
    let plan = Arc::new(plan);
    let mut connections: Vec<Option<TcpStream>> = Vec::new();
    connections.resize_with(plan.connections, || None);
    while !shared.stop.load(Ordering::Relaxed) {
        let closed: Vec<usize> = (0..plan.connections)
            .filter(|number| !stands(*number, connections[*number].as_ref()))
            .collect();
        if shared.rounds.fetch_add(1, Ordering::Relaxed) > 0 {
            let again = closed.len() as u64;
            shared.reopened.fetch_add(again, Ordering::Relaxed);
        }
        open_all(&plan, shared, &mut connections, closed).await;
        let mut waited = Duration::ZERO;
        while waited < plan.drip_every && !shared.stop.load(Ordering::Relaxed) {
            let step = Duration::from_millis(50);
            tokio::time::sleep(step).await;
            waited += step;
        }
    }
}

/// Sends the byte of a slow one, and tells whether the server still has the connection.
fn stands(number: usize, connection: Option<&TcpStream>) -> bool {
    let Some(stream) = connection else {
        return false;
    };
    let alive = match stream.try_read(&mut [0; 512]) {
        Ok(bytes) => bytes > 0,
        Err(error) => error.kind() == io::ErrorKind::WouldBlock,
    };
    match kind(number) {
        Kind::Idle | Kind::Handshake => alive,
        Kind::Drip | Kind::Letter => alive && stream.try_write(b"x").is_ok(),
    }
}

async fn open_all(
    plan: &Arc<Plan>,
    shared: &Shared,
    connections: &mut [Option<TcpStream>],
    numbers: Vec<usize>,
) {
    let open = |connections: &[Option<TcpStream>]| {
        let open = connections.iter().flatten().count() as u64;
        shared.open.store(open, Ordering::Relaxed);
    };
    for number in &numbers {
        connections[*number] = None;
    }
    let mut opening = JoinSet::new();
    let mut numbers = numbers.into_iter();
    loop {
        while opening.len() < OPENING_MAX
            && let Some(number) = numbers.next()
        {
            let plan = Arc::clone(plan);
            opening.spawn(async move { (number, timeout(STEP, open_one(&plan, number)).await) });
        }
        match opening.join_next().await {
            None => break,
            Some(Ok((number, Ok(Ok(stream))))) => connections[number] = Some(stream),
            Some(_) => {
                shared.failed.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
    open(connections);
}

fn kind(number: usize) -> Kind {
    [Kind::Idle, Kind::Drip, Kind::Letter, Kind::Handshake][number % 4]
}

async fn open_one(plan: &Plan, number: usize) -> io::Result<TcpStream> {
    let source = plan.sources[number / 4 % plan.sources.len()];
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::new(IpAddr::V4(source), 0))?;
    let mut stream = socket.connect(plan.to).await?;
    heard(&mut stream, "220").await?;
    match kind(number) {
        Kind::Idle => {}
        Kind::Drip => stream.write_all(b"EH").await?,
        Kind::Letter => {
            stream.write_all(b"EHLO slow.test\r\n").await?;
            heard(&mut stream, "250").await?;
            let envelope = format!(
                "MAIL FROM:<slow@red.test>\r\nRCPT TO:<{}>\r\nDATA\r\n",
                plan.recipient
            );
            stream.write_all(envelope.as_bytes()).await?;
            heard(&mut stream, "354").await?;
            stream
                .write_all(b"Subject: slow\r\n\r\nonce upon a ")
                .await?;
        }
        Kind::Handshake => {
            stream.write_all(b"EHLO slow.test\r\n").await?;
            heard(&mut stream, "250").await?;
            stream.write_all(b"STARTTLS\r\n").await?;
            heard(&mut stream, "220").await?;
            // The start of a record of the handshake (RFC 8446 §5.1), and then nothing.
            stream.write_all(&[22, 3, 1]).await?;
        }
    }
    Ok(stream)
}

/// Reads replies until one with this code has ended.
async fn heard(stream: &mut TcpStream, code: &str) -> io::Result<()> {
    let (mut text, mut buffer) = (String::new(), [0; 1024]);
    loop {
        let bytes = stream.read(&mut buffer).await?;
        if bytes == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        text += &String::from_utf8_lossy(&buffer[..bytes]);
        for line in text.split_inclusive("\r\n") {
            let last = line.ends_with("\r\n") && line.as_bytes().get(3) == Some(&b' ');
            if last && line.starts_with(code) {
                return Ok(());
            }
            if last && !line.starts_with(['2', '3']) {
                return Err(io::Error::other(line.trim_end().to_owned()));
            }
        }
    }
}
