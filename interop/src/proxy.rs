//! A TCP proxy that cuts connections at a chosen word of the client: between a request and its
//! answer, or before the request arrives. It can also keep connections and hold the answers back, as
//! a server does that hangs.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What is done at the word, once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cut {
    /// The request is handed on; its answer never comes.
    Answer,
    /// The request is lost as well, and the server does not learn that the client is gone.
    Request,
    /// The request is handed on and the connection stays; what the server says on it is held back
    /// until [`Proxy::open`].
    Silence,
}

/// What is remembered of a client's words.
const REMEMBERED_BYTES: usize = 64 * 1024;

/// A running proxy. Connections end with it.
#[derive(Debug)]
pub struct Proxy {
    /// Where it listens.
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    to: SocketAddr,
    state: Mutex<State>,
    /// Rung when answers are held back no longer.
    opened: Condvar,
}

#[derive(Debug, Default)]
struct State {
    after: &'static [u8],
    word: &'static [u8],
    cut: Option<Cut>,
    /// Whether nothing gets through any more from the cut on.
    closes: bool,
    closed: bool,
    /// Whether all answers are held back.
    silent: bool,
    cuts: u32,
    /// The number of the next connection.
    next: u64,
    open: Vec<Connection>,
    /// Ends at servers that wait for clients that are gone.
    forgotten: Vec<TcpStream>,
}

/// Both ends of a connection.
#[derive(Debug)]
struct Connection {
    number: u64,
    ends: [TcpStream; 2],
    /// Whether its answers are held back.
    silent: bool,
}

impl Proxy {
    /// Listens on the server's address, on a port of its own.
    ///
    /// # Panics
    /// When there is no port.
    #[must_use]
    pub fn start(to: SocketAddr) -> Proxy {
        let listener = TcpListener::bind((to.ip(), 0)).expect("there is a free port");
        let address = listener.local_addr().expect("a listener has an address");
        let shared = Arc::new(Shared {
            to,
            state: Mutex::default(),
            opened: Condvar::new(),
        });
        let serving = Arc::clone(&shared);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                serve(client, &serving);
            }
        });
        Proxy { address, shared }
    }

    /// Cuts the next connection whose client says this word, and has said another since it said
    /// the word last.
    pub fn cut_at(&self, after: &'static str, word: &'static str, cut: Cut) {
        let mut state = self.shared.lock();
        state.after = after.as_bytes();
        state.word = word.as_bytes();
        state.cut = Some(cut);
    }

    /// Lets nothing through from that cut on, on any connection, until [`Proxy::open`]. With
    /// [`Cut::Silence`] connections are made and kept, and no answer comes on any.
    pub fn close_with_cut(&self) {
        self.shared.lock().closes = true;
    }

    /// Cuts everything, until [`Proxy::open`].
    pub fn close(&self) {
        let mut state = self.shared.lock();
        state.closed = true;
        end_all_but(&mut state, None);
        drop(state);
        self.shared.opened.notify_all();
    }

    /// Holds back all answers on all connections, until [`Proxy::open`].
    pub fn hush(&self) {
        self.shared.lock().silent = true;
    }

    /// Lets connections through again, and the answers that were held back.
    pub fn open(&self) {
        let mut state = self.shared.lock();
        (state.closed, state.closes, state.silent) = (false, false, false);
        for connection in &mut state.open {
            connection.silent = false;
        }
        drop(state);
        self.shared.opened.notify_all();
    }

    /// How often it has cut.
    #[must_use]
    pub fn cuts(&self) -> u32 {
        self.shared.lock().cuts
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.close();
        for stream in self.shared.lock().forgotten.drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits while the answers of a connection are held back.
    fn wait_until_heard(&self, number: u64) {
        let state = self.lock();
        let is_held = |state: &mut State| {
            let this = state.open.iter().find(|one| one.number == number);
            // One that has ended holds nothing back: its client hears nothing in any case.
            this.is_some_and(|this| this.silent || state.silent)
        };
        drop(self.opened.wait_while(state, is_held));
    }
}

/// Ends all connections but one that is being cut.
fn end_all_but(state: &mut State, spared: Option<u64>) {
    state.open.retain(|connection| {
        if Some(connection.number) == spared {
            return true;
        }
        for end in &connection.ends {
            // It may have ended by itself.
            let _ = end.shutdown(Shutdown::Both);
        }
        false
    });
}

fn serve(client: TcpStream, shared: &Arc<Shared>) {
    if shared.lock().closed {
        return;
    }
    let Ok(server) = TcpStream::connect_timeout(&shared.to, Duration::from_secs(2)) else {
        return;
    };
    let (Ok(client_2), Ok(server_2)) = (client.try_clone(), server.try_clone()) else {
        return;
    };
    let (Ok(client_3), Ok(server_3)) = (client.try_clone(), server.try_clone()) else {
        return;
    };
    for stream in [&client, &server] {
        let _ = stream.set_nodelay(true);
    }
    let number = {
        let mut state = shared.lock();
        // It may have been closed while the server was called.
        if state.closed {
            return;
        }
        state.next += 1;
        let number = state.next;
        state.open.push(Connection {
            number,
            ends: [client_3, server_3],
            silent: false,
        });
        number
    };
    let (sending, answering) = (Arc::clone(shared), Arc::clone(shared));
    std::thread::spawn(move || up(client, server, &sending, number));
    std::thread::spawn(move || down(server_2, client_2, &answering, number));
}

/// From the server to the client.
fn down(mut from: TcpStream, mut to: TcpStream, shared: &Shared, number: u64) {
    let mut buffer = [0; 16_384];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        shared.wait_until_heard(number);
        // A server that is cut from its client is read to its end all the same.
        let _ = to.write_all(&buffer[..read]);
    }
    let _ = to.shutdown(Shutdown::Both);
}

/// From the client to the server, with an eye on the word.
fn up(mut from: TcpStream, mut to: TcpStream, shared: &Shared, number: u64) {
    let mut buffer = [0; 16_384];
    let mut tail: Vec<u8> = Vec::new();
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        let chunk = buffer[..read].to_vec();
        tail.extend_from_slice(&chunk);
        match take_cut(shared, &tail, number) {
            None | Some(Cut::Silence) => {}
            Some(Cut::Answer) => {
                // The server reads what it was sent before it learns that nobody listens.
                let _ = to.write_all(&chunk);
                let _ = to.shutdown(Shutdown::Write);
                let _ = to.set_read_timeout(Some(Duration::from_secs(10)));
                while let Ok(1..) = to.read(&mut buffer) {}
                break;
            }
            Some(Cut::Request) => {
                let mut state = shared.lock();
                state.forgotten.push(to);
                state.open.retain(|one| one.number != number);
                return;
            }
        }
        if to.write_all(&chunk).is_err() {
            break;
        }
        forget(shared, &mut tail);
    }
    shared.lock().open.retain(|one| one.number != number);
    shared.opened.notify_all();
    let _ = to.shutdown(Shutdown::Both);
}

/// Takes the cut, if this is the word for it. When this answers, the client hears nothing any more;
/// and whoever closes with the cut has closed all other ways before the client can notice.
fn take_cut(shared: &Shared, said: &[u8], number: u64) -> Option<Cut> {
    let mut state = shared.lock();
    let from = match state.after {
        b"" => 0,
        after => find(said, after)?,
    };
    find(&said[from..], state.word)?;
    let cut = state.cut.take()?;
    state.cuts += 1;
    if cut == Cut::Silence {
        state.silent |= state.closes;
    } else if state.closes {
        state.closed = true;
        end_all_but(&mut state, Some(number));
    }
    let this = state.open.iter_mut().find(|one| one.number == number);
    if let Some(this) = this {
        if cut == Cut::Silence {
            this.silent = true;
        } else {
            let _ = this.ends[0].shutdown(Shutdown::Both);
        }
    }
    Some(cut)
}

/// Forgets what the client said up to the word, or too long ago.
fn forget(shared: &Shared, said: &mut Vec<u8>) {
    let word = shared.lock().word;
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
