//! The text of PDF files, for search. What reads them is large and meets the worst of files, so it
//! runs as a process of its own (this program with another command), which may use little memory and
//! time, opens no files, and whose end by any means is only the loss of a text.
//!
//! No pictures of texts are read, and no files that want a password.

use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, setrlimit};
use store::TextExtractor;

/// The hidden command.
pub const COMMAND: &str = "pdf-text";
/// Seconds of CPU for one file, and twice that by the clock.
const CPU_SECONDS: u64 = 10;
/// The address space of the process: what is allocated, the program, and room that the allocator
/// reserves without using it.
const ADDRESS_BYTES: u64 = 1024 * 1024 * 1024;
/// Bytes of text that are taken.
const TEXT_BYTES_MAX: u64 = 1024 * 1024;
/// Bytes of a file that are read.
const FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// How often it is looked whether the process has ended.
const LOOK: Duration = Duration::from_millis(5);

/// Reads PDF files by running a program.
pub struct PdfReader {
    program: PathBuf,
}

impl Default for PdfReader {
    fn default() -> Self {
        // Also right when a newer version has taken the file's place.
        Self::new(PathBuf::from("/proc/self/exe"))
    }
}

impl PdfReader {
    /// By this program, which must know [`COMMAND`].
    #[must_use]
    pub fn new(program: PathBuf) -> Self {
        Self { program }
    }
}

impl TextExtractor for PdfReader {
    fn pdf_text(&self, data: &[u8]) -> Option<String> {
        let mut child = Command::new(&self.program)
            .arg(COMMAND)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| tracing::warn!(%error, "PDF files cannot be read"))
            .ok()?;
        let (mut stdin, stdout) = (child.stdin.take()?, child.stdout.take()?);
        std::thread::scope(|scope| {
            scope.spawn(move || {
                // A process that ends before it has read all is seen by its end.
                let _ = stdin.write_all(data);
            });
            let reader = scope.spawn(move || {
                let mut text = Vec::new();
                let read = stdout.take(TEXT_BYTES_MAX).read_to_end(&mut text);
                read.is_ok().then_some(text)
            });
            let is_done = wait(&mut child);
            let text = reader.join().ok()??;
            // A process that came to a limit, also to that of the text, has written what it had by
            // then; one that was given no PDF has written nothing.
            (is_done || !text.is_empty()).then(|| String::from_utf8_lossy(&text).into_owned())
        })
    }
}

/// Waits for the end of the process, and ends it if that takes too long. Whether it did its work.
fn wait(child: &mut Child) -> bool {
    let until = Instant::now() + Duration::from_secs(CPU_SECONDS * 2);
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return status.success(),
            Ok(None) if Instant::now() < until => std::thread::sleep(LOOK),
            Ok(None) | Err(_) => {
                // It may have ended just now.
                let _ = child.kill();
                let _ = child.wait();
                return false;
            }
        }
    }
}

/// The work of the process: a file on stdin, its text to stdout.
///
/// # Errors
/// When the limits cannot be set, or what came is no PDF.
pub fn run() -> std::io::Result<()> {
    setrlimit(Resource::RLIMIT_CPU, CPU_SECONDS, CPU_SECONDS)?;
    setrlimit(Resource::RLIMIT_AS, ADDRESS_BYTES, ADDRESS_BYTES)?;
    setrlimit(Resource::RLIMIT_FSIZE, 0, 0)?;
    setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
    let mut data = Vec::new();
    std::io::stdin()
        .lock()
        .take(FILE_BYTES_MAX)
        .read_to_end(&mut data)?;
    // No file is opened from here on.
    setrlimit(Resource::RLIMIT_NOFILE, 3, 3)?;
    let document = lopdf::Document::load_mem(&data).map_err(std::io::Error::other)?;
    let mut out = std::io::stdout().lock();
    for page in document.get_pages().into_keys() {
        // A page that cannot be read does not hide the others.
        if let Ok(text) = document.extract_text(&[page]) {
            writeln!(out, "{text}")?;
        }
    }
    Ok(())
}
