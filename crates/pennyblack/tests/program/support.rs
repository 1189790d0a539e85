//! A folder with a configuration, a node started in it, and a line dialogue.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

/// A node's folder; removed at the end.
pub(crate) struct Folder {
    folder: TempDir,
    /// A DNS server that never answers.
    _silent: UdpSocket,
}

impl Folder {
    pub(crate) fn new() -> Self {
        let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
        let dns = silent.local_addr().unwrap();
        let this = Self {
            folder: tempfile::tempdir().unwrap(),
            _silent: silent,
        };
        let mut text = format!(
            "hostname = \"mx.me.test\"\ndata_dir = \"data\"\ndomains = [\"me.test\"]\n\
             dns = {{ servers = [\"{dns}\"], timeout = \"200 ms\", attempts = 1 }}\n"
        );
        for protocol in ["submission", "imap", "http"] {
            text.push_str(&format!(
                "[[listen]]\nprotocol = \"{protocol}\"\naddress = \"127.0.0.1:0\"\n"
            ));
        }
        this.write_settings(&text);
        this
    }

    fn config(&self) -> PathBuf {
        self.folder.path().join("pennyblack.toml")
    }

    pub(crate) fn write_settings(&self, text: &str) {
        std::fs::write(self.config(), text).unwrap();
    }

    pub(crate) fn append_settings(&self, text: &str) {
        let before = std::fs::read_to_string(self.config()).unwrap();
        self.write_settings(&format!("{before}{text}"));
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pennyblack"));
        command
            .arg("--config")
            .arg(self.config())
            .args(args)
            .env_remove("RUST_LOG");
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Output {
        self.command(args).stdin(Stdio::null()).output().unwrap()
    }

    /// Runs a command that must work; its stdout.
    pub(crate) fn ok(&self, args: &[&str]) -> String {
        self.ok_with_stdin(args, "")
    }

    pub(crate) fn ok_with_stdin(&self, args: &[&str], stdin: &str) -> String {
        let output = self.run_with_stdin(args, stdin);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{args:?}: {error}");
        String::from_utf8(output.stdout).unwrap()
    }

    pub(crate) fn run_with_stdin(&self, args: &[&str], stdin: &str) -> Output {
        let mut command = self.command(args);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(stdin.as_bytes())
            .unwrap();
        child.wait_with_output().unwrap()
    }

    pub(crate) fn json(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.ok(args)).unwrap()
    }

    /// Runs a command that must fail with this code and say this.
    pub(crate) fn fails(&self, code: i32, args: &[&str], says: &str) {
        let output = self.run(args);
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {error}");
        assert!(error.contains(says), "{args:?}: {error}");
    }

    pub(crate) fn path(&self) -> &std::path::Path {
        self.folder.path()
    }

    pub(crate) fn serve(&self) -> Serving {
        self.serve_with(&[])
    }

    pub(crate) fn serve_with(&self, environment: &[(&str, &str)]) -> Serving {
        let mut command = self.command(&["serve"]);
        command.envs(environment.iter().copied());
        Self::start(command)
    }

    /// With at most so many open files.
    pub(crate) fn serve_with_files(&self, files: u32) -> Serving {
        let script = format!("ulimit -n {files}; exec \"$@\"");
        let mut command = Command::new("sh");
        command.args([
            "-c",
            &script,
            "sh",
            env!("CARGO_BIN_EXE_pennyblack"),
            "--config",
        ]);
        command.arg(self.config()).arg("serve");
        Self::start(command)
    }

    /// On a disk of its own of so many megabytes, seen by this node alone; `run` and the like only
    /// reach it through [`Serving::within`].
    pub(crate) fn serve_on_small_disk(&self, megabytes: u32) -> Serving {
        let data = self.folder.path().join("data");
        std::fs::create_dir_all(&data).unwrap();
        let script = format!("mount -t tmpfs -o size={megabytes}m none \"$0\" && exec \"$@\"");
        let mut command = Command::new("unshare");
        command.args(["--map-root-user", "--mount", "sh", "-c", &script]);
        command
            .arg(data)
            .args([env!("CARGO_BIN_EXE_pennyblack"), "--config"]);
        command.arg(self.config()).arg("serve");
        Self::start(command)
    }

    fn start(mut command: Command) -> Serving {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut log = String::new();
        let ready = loop {
            let mut line = String::new();
            let length = stderr.read_line(&mut line).unwrap();
            assert!(length > 0, "the node did not start: {log}");
            if line.starts_with("pennyblack ready:") {
                break line;
            }
            log.push_str(&line);
        };
        // What the node logs must not fill the pipe.
        let log = Arc::new(Mutex::new(log));
        let written = log.clone();
        std::thread::spawn(move || {
            let mut line = String::new();
            while stderr.read_line(&mut line).is_ok_and(|length| length > 0) {
                written.lock().unwrap().push_str(&line);
                line.clear();
            }
        });
        Serving { child, ready, log }
    }
}

/// A running node; killed when it is dropped.
pub(crate) struct Serving {
    child: Child,
    ready: String,
    log: Arc<Mutex<String>>,
}

impl Serving {
    pub(crate) fn address(&self, protocol: &str) -> SocketAddr {
        let start = format!("{protocol}=");
        let word = self
            .ready
            .split_whitespace()
            .find_map(|word| word.strip_prefix(&start));
        word.unwrap().split('/').next().unwrap().parse().unwrap()
    }

    /// The port of the listener with this kind of TLS.
    pub(crate) fn port_with(&self, protocol: &str, tls: &str) -> u16 {
        let start = format!("{protocol}=");
        let listener = self
            .ready
            .split_whitespace()
            .filter_map(|word| word.strip_prefix(&start)?.strip_suffix(&format!("/{tls}")))
            .next();
        let address: SocketAddr = listener.unwrap().parse().unwrap();
        address.port()
    }

    /// What it logged so far.
    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Runs a shell script where this node sees its files, with the path of its data folder as
    /// `$0`; its stdout.
    pub(crate) fn within(&self, folder: &Folder, script: &str) -> String {
        let output = Command::new("nsenter")
            .args(["--user", "--preserve-credentials", "--mount", "--target"])
            .arg(self.child.id().to_string())
            .args(["sh", "-c", script])
            .arg(folder.path().join("data"))
            .arg(env!("CARGO_BIN_EXE_pennyblack"))
            .arg(folder.config())
            .output()
            .unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{script}: {error}");
        String::from_utf8(output.stdout).unwrap()
    }

    pub(crate) fn submit(&self, login: &str, password: &str, to: &str, letter: &str) {
        let mut smtp = Talk::new(self.address("submission"));
        smtp.expect("220 ");
        smtp.say("EHLO client.test");
        smtp.until("250 ");
        smtp.say(&format!(
            "AUTH PLAIN {}",
            base64(&format!("\0{login}\0{password}"))
        ));
        smtp.expect("235 ");
        smtp.say(&format!("MAIL FROM:<{login}>"));
        smtp.expect("250 ");
        smtp.say(&format!("RCPT TO:<{to}>"));
        smtp.expect("250 ");
        smtp.say("DATA");
        smtp.expect("354 ");
        smtp.say(&format!("From: <{login}>\r\nTo: <{to}>\r\n{letter}."));
        smtp.expect("250 ");
        smtp.say("QUIT");
        smtp.expect("221 ");
    }

    pub(crate) fn http(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(self.address("http")).unwrap();
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        )
        .unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    }

    /// Asks it to stop, and waits until it has.
    pub(crate) fn stop(mut self) {
        kill(self.pid(), Signal::SIGTERM).unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                assert!(status.success(), "{status}");
                return;
            }
            assert!(Instant::now() < deadline, "the node does not stop");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub(crate) fn hang_up(&self) {
        kill(self.pid(), Signal::SIGHUP).unwrap();
    }

    /// Kills it as a power cut would.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).unwrap())
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A dialogue of lines.
pub(crate) struct Talk {
    reader: BufReader<TcpStream>,
}

impl Talk {
    pub(crate) fn new(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        // Lines in small writes must not wait for acknowledgements.
        stream.set_nodelay(true).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        Self {
            reader: BufReader::new(stream),
        }
    }

    /// Its own port, by which the log of the node knows it.
    pub(crate) fn port(&self) -> u16 {
        self.reader.get_ref().local_addr().unwrap().port()
    }

    /// Sends bytes as they are; whether the node still takes them.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> bool {
        self.reader.get_mut().write_all(bytes).is_ok()
    }

    /// The next reply whole, its lines joined by LF; empty when the node has closed.
    pub(crate) fn reply(&mut self) -> String {
        let mut text = String::new();
        loop {
            let line = self.line();
            text.push_str(line.trim_end_matches("\r\n"));
            if line.as_bytes().get(3) != Some(&b'-') {
                return text;
            }
            text.push('\n');
        }
    }

    /// Announced literals with their bytes, up to the line that starts so.
    pub(crate) fn literals(&mut self, end: &str) -> Vec<Vec<u8>> {
        let mut literals = Vec::new();
        loop {
            let line = self.line();
            assert!(!line.is_empty(), "closed before {end}");
            if line.starts_with(end) {
                return literals;
            }
            let size = line
                .trim_end()
                .strip_suffix('}')
                .and_then(|line| line.rsplit_once('{'));
            if let Some((_, size)) = size {
                let mut literal = vec![0; size.parse().unwrap()];
                self.reader.read_exact(&mut literal).unwrap();
                literals.push(literal);
            }
        }
    }

    pub(crate) fn say(&mut self, line: &str) {
        write!(self.reader.get_mut(), "{line}\r\n").unwrap();
    }

    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.reader.read_line(&mut line).unwrap();
        line
    }

    pub(crate) fn expect(&mut self, start: &str) {
        let line = self.line();
        assert!(line.starts_with(start), "wanted {start}, got {line}");
    }

    /// Reads lines until one starts so; all of them.
    pub(crate) fn until(&mut self, start: &str) -> String {
        let mut text = String::new();
        loop {
            let line = self.line();
            assert!(!line.is_empty(), "wanted {start}, got {text}");
            let end = line.starts_with(start);
            text.push_str(&line);
            if end {
                return text;
            }
        }
    }
}

pub(crate) fn base64(text: &str) -> String {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut coded = String::new();
    for group in text.as_bytes().chunks(3) {
        let bits = (0..3).fold(0_u32, |bits, i| {
            bits << 8 | u32::from(*group.get(i).unwrap_or(&0))
        });
        for i in 0..4 {
            let index = usize::try_from(bits >> (18 - 6 * i) & 63).unwrap();
            let letter = if i <= group.len() {
                char::from(LETTERS[index])
            } else {
                '='
            };
            coded.push(letter);
        }
    }
    coded
}
