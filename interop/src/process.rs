//! Child processes: daemons that end with the test, and commands that end in time.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

/// A process that runs until it is dropped, with all it says in a file.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    log: PathBuf,
}

impl Daemon {
    /// Starts a command in the background. Both outputs are appended to `log`.
    #[must_use]
    pub fn start(command: &mut Command, log: &Path) -> Daemon {
        let open = || File::options().create(true).append(true).open(log);
        let output = open().expect("a log of ours can be opened");
        let errors = output.try_clone().expect("a file handle can be doubled");
        let child = command
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        Daemon {
            child,
            log: log.to_owned(),
        }
    }

    /// The process number.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// All it has said so far.
    #[must_use]
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Waits until something listens at `address`.
    ///
    /// # Panics
    /// When the process ends first or the time is over.
    pub fn wait_for_port(&mut self, address: SocketAddr, limit: Duration) {
        let from = Instant::now();
        while TcpStream::connect_timeout(&address, Duration::from_millis(200)).is_err() {
            self.still_runs(from, limit, &format!("nothing listens at {address}"));
        }
    }

    /// Waits until something listens at an address; `false` when the process ends first.
    ///
    /// # Panics
    /// When the time is over.
    pub fn comes_to_listen(&mut self, address: SocketAddr, limit: Duration) -> bool {
        let from = Instant::now();
        while TcpStream::connect_timeout(&address, Duration::from_millis(200)).is_err() {
            if let Ok(Some(_)) = self.child.try_wait() {
                return false;
            }
            self.still_runs(from, limit, &format!("nothing listens at {address}"));
        }
        true
    }

    /// Waits until the log, from byte `start` on, contains `text`.
    ///
    /// # Panics
    /// When the process ends first or the time is over.
    pub fn wait_for_log(&mut self, text: &str, start: usize, limit: Duration) {
        let from = Instant::now();
        while !self
            .log()
            .get(start..)
            .is_some_and(|log| log.contains(text))
        {
            self.still_runs(from, limit, &format!("the log does not say {text:?}"));
        }
    }

    fn still_runs(&mut self, from: Instant, limit: Duration, what: &str) {
        if let Ok(Some(status)) = self.child.try_wait() {
            panic!(
                "{what}, and the process ended with {status}:\n{}",
                self.log()
            );
        }
        assert!(
            from.elapsed() < limit,
            "{what} after {limit:?}:\n{}",
            self.log()
        );
        std::thread::sleep(Duration::from_millis(10));
    }

    /// Ends the process at once, as a crash would (SIGKILL), and waits until it is gone.
    pub fn kill(&mut self) {
        // It may be gone already; then there is nothing to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Asks the process to end (SIGTERM) and waits for it.
    ///
    /// # Panics
    /// When it has not ended in time.
    pub fn stop(&mut self, limit: Duration) -> ExitStatus {
        self.end_by("-TERM", limit)
    }

    /// Asks the process to end as Ctrl-C does (SIGINT) and waits for it.
    ///
    /// # Panics
    /// When it has not ended in time.
    pub fn interrupt(&mut self, limit: Duration) -> ExitStatus {
        self.end_by("-INT", limit)
    }

    fn end_by(&mut self, signal: &str, limit: Duration) -> ExitStatus {
        // The shell has `kill` built in; the program of that name is not everywhere.
        let line = format!("kill {signal} {}", self.child.id());
        run(Command::new("sh").args(["-c", &line]), limit);
        let from = Instant::now();
        loop {
            if let Ok(Some(status)) = self.child.try_wait() {
                return status;
            }
            assert!(
                from.elapsed() < limit,
                "did not stop within {limit:?}:\n{}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Runs a command to its end and gives what it said, whether it succeeded or not.
///
/// # Panics
/// When it cannot be started or has not ended in time.
pub fn run(command: &mut Command, limit: Duration) -> Output {
    run_with_input(command, &[], limit)
}

/// Runs a command with this on its standard input.
///
/// # Panics
/// When it cannot be started or has not ended in time.
pub fn run_with_input(command: &mut Command, input: &[u8], limit: Duration) -> Output {
    // `timeout` is coreutils: a client that hangs is ended and seen as such.
    let mut limited = Command::new("timeout");
    limited.args(["--kill-after=2", &limit.as_secs().max(1).to_string()]);
    limited.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => limited.env(name, value),
            None => limited.env_remove(name),
        };
    }
    if let Some(dir) = command.get_current_dir() {
        limited.current_dir(dir);
    }
    let mut child = limited
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
    let stdin = child.stdin.take();
    let output = std::thread::scope(|scope| {
        scope.spawn(|| {
            // A command that does not read its input ends early; its output tells why.
            let _ = stdin.map(|mut pipe| std::io::Write::write_all(&mut pipe, input));
        });
        child
            .wait_with_output()
            .expect("a child of ours can be waited for")
    });
    // 124 and 137 are what `timeout` itself says.
    let late = matches!(output.status.code(), Some(124 | 137));
    assert!(
        !late,
        "{command:?} did not end within {limit:?}:\n{}",
        said(&output)
    );
    output
}

/// Runs a command that must succeed, and gives its standard output.
///
/// # Panics
/// When it fails; the message holds all it said.
pub fn must_run(command: &mut Command, limit: Duration) -> String {
    let output = run(command, limit);
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}",
        output.status,
        said(&output)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Both outputs of a command as text.
#[must_use]
pub fn said(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    format!(
        "{}{}",
        String::from_utf8_lossy(out),
        String::from_utf8_lossy(err)
    )
}

/// Asks again and again until there is an answer.
///
/// # Panics
/// When there is none in time.
pub fn wait_for<T>(what: &str, limit: Duration, mut ask: impl FnMut() -> Option<T>) -> T {
    let from = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(from.elapsed() < limit, "waited {limit:?} for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The full path of a program that a test cannot do without.
///
/// # Panics
/// When it is not installed: a missing peer is a failure, never a silent skip.
#[must_use]
pub fn program(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"].map(PathBuf::from);
    std::env::split_paths(&path)
        .chain(system)
        .map(|dir| dir.join(name))
        .find(|path| path.is_file())
        .unwrap_or_else(|| panic!("{name} is not installed; `script/setup test` installs it"))
}
