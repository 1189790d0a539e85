//! The switch: stands between a client and a server of HTTP, passes requests on, and on demand
//! fails, lies, waits or goes away instead. One request per connection, so that each is judged.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::loopback::Loopback;

/// What a request is answered with instead of the truth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// This status, with the words that S3 has for it. The server never sees the request.
    Status(u16),
    /// The answer comes so late.
    Slow(Duration),
    /// No answer ever.
    Silent,
    /// One bit of the body is wrong.
    WrongBytes,
    /// The connection ends in the middle of the body.
    Cut,
    /// The connection ends before anything is answered, though the server did what was asked.
    LostReply,
}

/// Which requests a fault meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// All.
    Any,
    /// Those that read an object or a list.
    Get,
    /// Those that store.
    Put,
    /// Those that remove.
    Delete,
}

/// A running switch; it goes when it is dropped.
pub struct Switch {
    server: Loopback,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    fault: Option<(Method, Fault)>,
    /// How many requests still meet it.
    times: usize,
    /// First lines of all requests.
    seen: Vec<String>,
}

/// The largest request: above any letter of a test.
const REQUEST_BYTES_MAX: usize = 256 << 20;

impl Switch {
    /// Starts it on a free port of 127.0.0.1.
    ///
    /// # Panics
    /// When there is no free port.
    #[must_use]
    pub fn start(upstream: SocketAddr) -> Switch {
        let state = Arc::<Mutex<State>>::default();
        let shared = Arc::clone(&state);
        let server =
            Loopback::start(async move |listener| pass(&listener, upstream, &shared).await);
        Switch { server, state }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.server.address
    }

    /// From now on, requests of this kind meet this fault: `times` of them, then no more.
    pub fn fail(&self, method: Method, fault: Fault, times: usize) {
        let mut state = self.lock();
        state.fault = Some((method, fault));
        state.times = times;
    }

    /// All is well again.
    pub fn heal(&self) {
        self.lock().fault = None;
    }

    /// How many requests of a kind there were so far, those that failed too.
    #[must_use]
    pub fn count(&self, method: Method) -> usize {
        let state = self.lock();
        let seen = state.seen.iter();
        seen.filter(|line| method.covers(line)).count()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Method {
    fn covers(self, line: &str) -> bool {
        match self {
            Method::Any => true,
            Method::Get => line.starts_with("GET "),
            Method::Put => line.starts_with("PUT ") || line.starts_with("POST "),
            Method::Delete => line.starts_with("DELETE "),
        }
    }
}

async fn pass(listener: &TcpListener, upstream: SocketAddr, state: &Arc<Mutex<State>>) {
    loop {
        let Ok((client, _)) = listener.accept().await else {
            return;
        };
        let state = Arc::clone(state);
        tokio::spawn(async move {
            // A client that goes away is no event here.
            let _ = exchange(client, upstream, &state).await;
        });
    }
}

/// One request and its answer.
async fn exchange(
    mut client: TcpStream,
    upstream: SocketAddr,
    state: &Mutex<State>,
) -> io::Result<()> {
    let Some(request) = read_request(&mut client).await? else {
        return Ok(());
    };
    let fault = judge(state, &request);
    match fault {
        Some(Fault::Silent) => return std::future::pending().await,
        Some(Fault::Status(status)) => {
            client.write_all(refusal(status).as_bytes()).await?;
            return client.shutdown().await;
        }
        Some(Fault::Slow(span)) => tokio::time::sleep(span).await,
        Some(Fault::WrongBytes | Fault::Cut | Fault::LostReply) | None => {}
    }
    let mut server = TcpStream::connect(upstream).await?;
    server.write_all(&request).await?;
    let mut answer = Vec::new();
    server.read_to_end(&mut answer).await?;
    let body = find(&answer, b"\r\n\r\n").map_or(answer.len(), |end| end + 4);
    let middle = body + (answer.len() - body) / 2;
    match fault {
        Some(Fault::WrongBytes) => {
            if let Some(byte) = answer.get_mut(middle) {
                *byte ^= 1;
            }
        }
        Some(Fault::Cut) => answer.truncate(middle),
        Some(Fault::LostReply) => answer.clear(),
        Some(Fault::Status(_) | Fault::Slow(_) | Fault::Silent) | None => {}
    }
    client.write_all(&answer).await?;
    client.shutdown().await
}

/// Notes a request, and says what is to happen to it.
fn judge(state: &Mutex<State>, request: &[u8]) -> Option<Fault> {
    let line = request.split(|byte| *byte == b'\r').next().unwrap_or(&[]);
    let line = String::from_utf8_lossy(line).into_owned();
    let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
    let fault = match state.fault {
        Some((method, fault)) if state.times > 0 && method.covers(&line) => {
            state.times -= 1;
            Some(fault)
        }
        _ => None,
    };
    state.seen.push(line);
    fault
}

/// Reads a whole request and asks in it that the connection ends with the answer.
async fn read_request(client: &mut TcpStream) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    let head = loop {
        if let Some(end) = find(&bytes, b"\r\n\r\n") {
            break end + 4;
        }
        if client.read_buf(&mut bytes).await? == 0 {
            return Ok(None);
        }
    };
    let length = content_length(&bytes[..head]);
    while bytes.len() < head + length && bytes.len() < REQUEST_BYTES_MAX {
        if client.read_buf(&mut bytes).await? == 0 {
            return Ok(None);
        }
    }
    let first = find(&bytes, b"\r\n").map_or(0, |end| end + 2);
    bytes.splice(first..first, *b"connection: close\r\n");
    Ok(Some(bytes))
}

fn content_length(head: &[u8]) -> usize {
    let head = String::from_utf8_lossy(head);
    head.lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .and_then(|(_, value)| value.trim().parse().ok())
        .unwrap_or(0)
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

/// What S3 says with a status.
fn refusal(status: u16) -> String {
    let code = match status {
        403 => "AccessDenied",
        404 => "NoSuchKey",
        500 => "InternalError",
        503 => "SlowDown",
        _ => "Refused",
    };
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code>\
         <Message>as the test asked</Message></Error>"
    );
    format!(
        "HTTP/1.1 {status} Refused\r\ncontent-type: application/xml\r\ncontent-length: {}\r\n\
         connection: close\r\n\r\n{body}",
        body.len()
    )
}
