//! A TCP proxy that cuts connections at a chosen word of the client: between a request and its
//! answer, or before the request arrives.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// What is cut, once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cut {
    /// The request is handed on; its answer never comes.
    Answer,
    /// The request is lost as well, and the server does not learn that the client is gone.
    Request,
}

/// What is remembered of a client's words.
const REMEMBERED_BYTES: usize = 64 * 1024;

/// A running proxy. Connections end with it.
#[derive(Debug)]
pub struct Proxy {
    /// Where it listens.
    pub address: SocketAddr,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    to: SocketAddr,
    after: &'static [u8],
    word: &'static [u8],
    cut: Option<Cut>,
    /// Whether nothing gets through any more after the cut.
    closes: bool,
    closed: bool,
    cuts: u32,
    /// Both ends of all connections.
    open: Vec<TcpStream>,
    /// Ends at servers that wait for clients that are gone.
    forgotten: Vec<TcpStream>,
}

type Shared = Arc<Mutex<State>>;

impl Proxy {
    /// Listens on the server's address, on a port of its own.
    ///
    /// # Panics
    /// When there is no port.
    #[must_use]
    pub fn start(to: SocketAddr) -> Proxy {
        let listener = TcpListener::bind((to.ip(), 0)).expect("there is a free port");
        let address = listener.local_addr().expect("a listener has an address");
        let state = Arc::new(Mutex::new(State {
            to,
            after: b"",
            word: b"",
            cut: None,
            closes: false,
            closed: false,
            cuts: 0,
            open: Vec::new(),
            forgotten: Vec::new(),
        }));
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                serve(client, &shared);
            }
        });
        Proxy { address, state }
    }

    /// Cuts the next connection whose client says this word, and has said another since it said
    /// the word last.
    pub fn cut_at(&self, after: &'static str, word: &'static str, cut: Cut) {
        let mut state = lock(&self.state);
        state.after = after.as_bytes();
        state.word = word.as_bytes();
        state.cut = Some(cut);
    }

    /// Lets nothing through after that cut until [`Proxy::open`].
    pub fn close_with_cut(&self) {
        lock(&self.state).closes = true;
    }

    /// Cuts everything, until [`Proxy::open`].
    pub fn close(&self) {
        let mut state = lock(&self.state);
        state.closed = true;
        end_all(&mut state);
    }

    /// Lets connections through again.
    pub fn open(&self) {
        let mut state = lock(&self.state);
        (state.closed, state.closes) = (false, false);
    }

    /// How often it has cut.
    #[must_use]
    pub fn cuts(&self) -> u32 {
        lock(&self.state).cuts
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.close();
    }
}

fn lock(state: &Shared) -> std::sync::MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn end_all(state: &mut State) {
    for stream in state.open.drain(..) {
        // It may have ended by itself.
        let _ = stream.shutdown(Shutdown::Both);
    }
}

fn serve(client: TcpStream, shared: &Shared) {
    let to = {
        let state = lock(shared);
        if state.closed {
            return;
        }
        state.to
    };
    let Ok(server) = TcpStream::connect_timeout(&to, Duration::from_secs(2)) else {
        return;
    };
    let (Ok(client_2), Ok(server_2)) = (client.try_clone(), server.try_clone()) else {
        return;
    };
    for stream in [&client, &server] {
        let _ = stream.set_nodelay(true);
        lock(shared).open.extend(stream.try_clone());
    }
    let shared = Arc::clone(shared);
    std::thread::spawn(move || up(client, server, &shared));
    std::thread::spawn(move || down(server_2, client_2));
}

/// From the server to the client.
fn down(mut from: TcpStream, mut to: TcpStream) {
    let mut buffer = [0; 16_384];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        // A server that is cut from its client is read to its end all the same.
        let _ = to.write_all(&buffer[..read]);
    }
    let _ = to.shutdown(Shutdown::Both);
}

/// From the client to the server, with an eye on the word.
fn up(mut from: TcpStream, mut to: TcpStream, shared: &Shared) {
    let mut buffer = [0; 16_384];
    let mut tail: Vec<u8> = Vec::new();
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        let chunk = buffer[..read].to_vec();
        tail.extend_from_slice(&chunk);
        if let Some(cut) = take_cut(shared, &tail) {
            // No answer may get through.
            let _ = from.shutdown(Shutdown::Both);
            match cut {
                Cut::Answer => {
                    // The server reads what it was sent before it learns that nobody listens.
                    let _ = to.write_all(&chunk);
                    let _ = to.shutdown(Shutdown::Write);
                    let _ = to.set_read_timeout(Some(Duration::from_secs(10)));
                    while let Ok(1..) = to.read(&mut buffer) {}
                }
                Cut::Request => lock(shared).forgotten.extend(to.try_clone()),
            }
            let mut state = lock(shared);
            if state.closes {
                state.closed = true;
                end_all(&mut state);
            }
            return;
        }
        if to.write_all(&chunk).is_err() {
            break;
        }
        forget(shared, &mut tail);
    }
    let _ = to.shutdown(Shutdown::Both);
}

fn take_cut(shared: &Shared, said: &[u8]) -> Option<Cut> {
    let mut state = lock(shared);
    let word = find(said, state.word)?;
    if !state.after.is_empty() {
        find(&said[..word], state.after)?;
    }
    let cut = state.cut.take()?;
    state.cuts += 1;
    Some(cut)
}

/// Forgets what the client said up to the word, or too long ago.
fn forget(shared: &Shared, said: &mut Vec<u8>) {
    let word = lock(shared).word;
    while let Some(at) = find(said, word) {
        said.drain(..at + word.len());
    }
    said.drain(..said.len().saturating_sub(REMEMBERED_BYTES));
}

fn find(text: &[u8], word: &[u8]) -> Option<usize> {
    if word.is_empty() {
        return None;
    }
    text.windows(word.len()).position(|window| window == word)
}
