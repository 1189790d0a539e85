//! A server in a thread of its own, on a free port of 127.0.0.1; it ends when it is dropped.

use std::net::SocketAddr;
use std::thread::JoinHandle;

use tokio::net::TcpListener;
use tokio::runtime;
use tokio::sync::oneshot;

/// The running server.
pub(super) struct Loopback {
    /// Where it listens.
    pub address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Loopback {
    /// Starts it.
    ///
    /// # Panics
    /// When there is no free port.
    pub(super) fn start(serve: impl AsyncFnOnce(TcpListener) + Send + 'static) -> Loopback {
        let (stop, stopped) = oneshot::channel();
        let (ready, address) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let runtime = runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime can be made");
            runtime.block_on(async {
                let listener = TcpListener::bind("127.0.0.1:0")
                    .await
                    .expect("there is a free port");
                let own = listener
                    .local_addr()
                    .expect("a bound socket has an address");
                ready.send(own).expect("the starter waits");
                tokio::select! {
                    biased;
                    _ = stopped => {}
                    () = serve(listener) => {}
                }
            });
        });
        Loopback {
            address: address.recv().expect("the server has started"),
            stop: Some(stop),
            thread: Some(thread),
        }
    }
}

impl Drop for Loopback {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            // It may have ended by itself.
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            // Its panic has been printed; the test sees a server that does not answer.
            let _ = thread.join();
        }
    }
}
