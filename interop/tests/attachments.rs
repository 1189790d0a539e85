//! Letters with files, pictures, sound and film travel from a client over two nodes to another
//! client, and arrive as they were sent, byte by byte.
#![expect(clippy::unwrap_used, reason = "a test stops at what it cannot do")]

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use interop::clients::{Tls, curl, imaplib, mbsync, msmtp, mutt, swaks, with_lf};
use interop::corpus::{self, Letter};
use interop::node::Node;
use interop::place::Place;
use interop::process::{must_run, program, said};
use interop::world::{BLACK, RED, World, reading, submission, wait_for_letters};

const ALICE: &str = "alice@red.test";
const BOB: &str = "bob@black.test";

/// Header fields that servers put on top of a letter.
const TRACE_FIELDS: &[&str] = &[
    "return-path",
    "delivered-to",
    "received",
    "authentication-results",
    "dkim-signature",
];

#[test]
fn collected_letters_arrive_byte_for_byte() {
    let world = World::new();
    let letters = corpus::with_attachments(world.place.dir(), ALICE, 1);
    assert!(
        letters.len() >= 20,
        "only {} letters were chosen",
        letters.len()
    );
    let red = world.node(RED, "red.test", &["alice"]);
    let black = world.node(BLACK, "black.test", &["bob"]);
    std::thread::scope(|scope| {
        for client in 0..3 {
            let (place, red, letters) = (&world.place, &red, &letters);
            scope.spawn(move || {
                let own = letters.iter().skip(client).step_by(3);
                own.for_each(|letter| send_by_a_client(place, red, client, letter));
            });
        }
    });
    let arrived = wait_for_letters(&black, BOB, letters.len());
    assert_eq!(arrived.len(), letters.len());
    let by_starttls = imaplib::read(&world.place, &reading(&black, BOB, Tls::StartTls), "INBOX");
    assert_eq!(by_starttls, arrived, "imaplib reads other letters");
    let by_tls = reading(&black, BOB, Tls::Implicit);
    let mut synchronised = mbsync::read_inbox(&world.place, &by_tls);
    let mut with_lf: Vec<Vec<u8>> = arrived.iter().map(|letter| with_lf(letter)).collect();
    synchronised.sort();
    with_lf.sort();
    assert!(synchronised == with_lf, "mbsync reads other letters");
    for letter in &letters {
        assert_arrived(letter, &arrived);
    }
    assert_eq!(
        curl::fetch(&by_tls, "INBOX", 1),
        arrived[0],
        "curl reads another letter"
    );
    assert_eq!(red.queue(), "[]");
}

/// Each client in turn, each with its own way to TLS.
fn send_by_a_client(place: &Place, red: &Node, client: usize, letter: &Letter) {
    let (starttls, implicit) = (
        submission(red, ALICE, Tls::StartTls),
        submission(red, ALICE, Tls::Implicit),
    );
    let output = match client {
        0 => swaks::send(&starttls, ALICE, &[BOB], &letter.bytes),
        1 => msmtp::send(&starttls, ALICE, &[BOB], &letter.bytes),
        _ => curl::send(place, &implicit, ALICE, &[BOB], &letter.bytes),
    };
    assert!(
        output.status.success(),
        "{}: {}",
        letter.name,
        said(&output)
    );
}

fn assert_arrived(letter: &Letter, arrived: &[Vec<u8>]) {
    let id = format!("Message-ID: <{}>\r\n", letter.message_id);
    let found: Vec<&Vec<u8>> = arrived
        .iter()
        .filter(|stored| contains(stored, id.as_bytes()))
        .collect();
    let [stored] = found[..] else {
        panic!("{} is there {} times", letter.name, found.len());
    };
    let Some(trace) = stored.strip_suffix(letter.bytes.as_slice()) else {
        let (sent, stored) = (
            String::from_utf8_lossy(&letter.bytes),
            String::from_utf8_lossy(stored),
        );
        panic!(
            "{} was changed on the way.\n--- sent:\n{sent:.3000}\n--- stored:\n{stored:.4000}",
            letter.name
        );
    };
    for line in String::from_utf8_lossy(trace)
        .lines()
        .filter(|line| !line.starts_with([' ', '\t']))
    {
        let name = line
            .split(':')
            .next()
            .unwrap_or_default()
            .to_ascii_lowercase();
        assert!(
            TRACE_FIELDS.contains(&name.as_str()),
            "{}: {line} was put on top",
            letter.name
        );
    }
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

#[test]
fn files_that_mutt_attaches_arrive_with_the_same_hash() {
    let world = World::new();
    let files = make_files(&world.place);
    let red = world.node(RED, "red.test", &["alice"]);
    let black = world.node(BLACK, "black.test", &["bob"]);
    let paths: Vec<&std::path::Path> = files.iter().map(PathBuf::as_path).collect();
    let server = submission(&red, ALICE, Tls::None);
    let output = mutt::send(
        &world.place,
        &server,
        ALICE,
        BOB,
        "Grüße mit Dateien",
        &paths,
    );
    assert!(output.status.success(), "{}", said(&output));
    let arrived = wait_for_letters(&black, BOB, 1);
    let read = mutt::read_inbox(&world.place, &reading(&black, BOB, Tls::None));
    assert_eq!(read, [with_lf(&arrived[0])], "mutt reads another letter");
    assert_eq!(
        hashes_of_attachments(&world.place, &arrived[0]),
        hashes_of_files(&files)
    );
}

/// A picture, a sound, a film, an archive and a large file of noise, made by the usual tools of
/// Python, with names that are not ASCII among them.
const MAKE: &str = r#"
import io, os, random, struct, sys, wave, zipfile, zlib
random.seed(17)
def chunk(kind, data):
    body = kind + data
    return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))
rows = b"".join(b"\0" + random.randbytes(96 * 3) for _ in range(64))
picture = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">2I5B", 96, 64, 8, 2, 0, 0, 0))
picture += chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
sound = io.BytesIO()
with wave.open(sound, "wb") as file:
    file.setparams((1, 2, 8000, 0, "NONE", ""))
    file.writeframes(b"".join(struct.pack("<h", (n * n) % 9000) for n in range(40000)))
film = b"YUV4MPEG2 W32 H32 F25:1 C420jpeg\n"
film += b"".join(b"FRAME\n" + random.randbytes(32 * 32 * 3 // 2) for _ in range(50))
archive = io.BytesIO()
with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
    file.writestr("a.txt", "letters\n" * 1000)
contents = {
    "picture.png": picture, "sound.wav": sound.getvalue(), "film.y4m": film,
    "archive.zip": archive.getvalue(), "noise.bin": random.randbytes(2_000_000),
    "Übersicht 2026.pdf": b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n.\n..\n", "empty.dat": b"",
}
os.makedirs(sys.argv[1])
for name, content in contents.items():
    with open(os.path.join(sys.argv[1], name), "wb") as file:
        file.write(content)
"#;

const HASH_ATTACHMENTS: &str = r#"
import email, email.policy, hashlib, sys
letter = email.message_from_bytes(open(sys.argv[1], "rb").read(), policy=email.policy.default)
for part in letter.iter_attachments():
    print(part.get_filename(), hashlib.sha256(part.get_payload(decode=True)).hexdigest())
"#;

const LIMIT: Duration = Duration::from_secs(30);

fn make_files(place: &Place) -> Vec<PathBuf> {
    let dir = place.path("files");
    must_run(
        Command::new(program("python3"))
            .args(["-c", MAKE])
            .arg(&dir),
        LIMIT,
    );
    let entries = std::fs::read_dir(dir).unwrap();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert_eq!(files.len(), 7);
    files
}

fn hashes_of_attachments(place: &Place, letter: &[u8]) -> String {
    let file = place.write("arrived.eml", letter);
    let mut command = Command::new(program("python3"));
    must_run(command.args(["-c", HASH_ATTACHMENTS]).arg(file), LIMIT)
}

fn hashes_of_files(files: &[PathBuf]) -> String {
    let hash = |file: &PathBuf| {
        let text = must_run(
            Command::new(program("sha256sum")).arg("--zero").arg(file),
            LIMIT,
        );
        let hash = text.split(' ').next().unwrap_or_default().to_owned();
        format!("{} {hash}\n", file.file_name().unwrap().to_string_lossy())
    };
    files.iter().map(hash).collect()
}
