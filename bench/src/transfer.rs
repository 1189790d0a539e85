//! How fast letters move in and out by the command line, and the memory that the command and the
//! node hold meanwhile.
#![expect(
    clippy::expect_used,
    reason = "a measurement that cannot be taken stops with its reason"
)]

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use interop::letters::{Heading, Writer};
use interop::node::{Node, Setup};
use interop::place::Place;

use crate::usage::highest_resident;

/// What to measure.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Letters.
    pub letters: u64,
    /// Bytes of each.
    pub letter_bytes: usize,
    /// The program.
    pub pennyblack: PathBuf,
    /// Where the mail is stored: a disk, not memory.
    pub dir: PathBuf,
    /// Whether a node runs beside the command.
    pub beside_node: bool,
}

/// What one command took.
#[derive(Clone, Debug)]
pub struct Run {
    /// The command.
    pub name: String,
    /// Letters that it moved.
    pub letters: u64,
    /// How long it took.
    pub took: Duration,
    /// The most memory that the command held, in bytes.
    pub command_bytes: u64,
    /// The most memory that the node has held so far; 0 without one.
    pub node_bytes: u64,
}

impl Run {
    /// A line for people.
    #[must_use]
    pub fn text(&self) -> String {
        let seconds = self.took.as_secs_f64();
        let mb = |bytes: u64| bytes as f64 / 1_048_576.0;
        format!(
            "{}: {} letters in {seconds:.1} s, {:.0}/s, at most {:.0} MB in the command and {:.0} MB \
             in the node",
            self.name,
            self.letters,
            self.letters as f64 / seconds,
            mb(self.command_bytes),
            mb(self.node_bytes)
        )
    }
}

const ACCOUNT: &str = "many@black.test";

/// Imports an mbox, and exports it in each format.
///
/// # Panics
/// When a command fails or moves another number of letters.
pub fn run(settings: &Settings, mut each: impl FnMut(&Run)) {
    let place = Place::below(&settings.dir);
    let setup = Setup {
        program: Some(settings.pennyblack.clone()),
        ..Setup::new(1, "black.test")
    };
    let mut node = Node::start(&place, &setup, &["many"]);
    if !settings.beside_node {
        node.stop();
    }
    let mbox = place.path("many.mbox");
    write(&mbox, settings).expect("the mbox can be written");
    let config = place.path("node-1/pennyblack.toml");
    let node = settings.beside_node.then_some(node);
    let measure = |name: &str, arguments: &[&str]| {
        let mut command = Command::new(&settings.pennyblack);
        command
            .args(arguments)
            .args(["--json", "--config"])
            .arg(&config);
        measured(name, &mut command, node.as_ref(), settings.letters)
    };
    let path = |name: &str| place.path(name).display().to_string();
    each(&measure(
        "import mbox",
        &["import", ACCOUNT, &path("many.mbox")],
    ));
    for format in ["mbox", "maildir", "eml", "zip"] {
        let to = path(&format!("out-{format}"));
        let arguments = [
            "export",
            ACCOUNT,
            &to,
            "--format",
            format,
            "--mailbox",
            "many",
        ];
        each(&measure(&format!("export {format}"), &arguments));
    }
    for format in ["maildir", "eml", "zip"] {
        let from = path(&format!("out-{format}"));
        let into = format!("from-{format}");
        let arguments = ["import", ACCOUNT, &from, "--mailbox", &into];
        each(&measure(&format!("import {format}"), &arguments));
    }
}

fn write(path: &Path, settings: &Settings) -> std::io::Result<()> {
    let writer = Writer::new(7);
    let mut file = BufWriter::new(File::create(path)?);
    for number in 0..settings.letters {
        let heading = Heading {
            from: "load@red.test",
            to: ACCOUNT,
            number,
        };
        let letter = writer.letter(heading, settings.letter_bytes);
        let letter = letter.replace("\r\n", "\n").replace("\nFrom ", "\n>From ");
        write!(
            file,
            "From load@red.test Tue Nov 24 09:00:00 2026\n{letter}\n"
        )?;
    }
    file.flush()
}

fn measured(name: &str, command: &mut Command, node: Option<&Node>, letters: u64) -> Run {
    let begun = Instant::now();
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program can be started");
    let mut command_bytes = 0;
    while child.try_wait().expect("a child can be asked").is_none() {
        command_bytes = command_bytes.max(highest_resident(child.id()));
        std::thread::sleep(Duration::from_millis(20));
    }
    let took = begun.elapsed();
    let output = child
        .wait_with_output()
        .expect("a child that ended has output");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{name}: {}: {said}", output.status);
    let moved = serde_json::from_str::<serde_json::Value>(&said)
        .ok()
        .and_then(|said| said["letters"].as_u64());
    assert_eq!(moved, Some(letters), "{name}: {said}");
    Run {
        name: name.to_owned(),
        letters,
        took,
        command_bytes,
        node_bytes: node.map_or(0, |node| highest_resident(node.pid())),
    }
}
