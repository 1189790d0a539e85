//! Transcripts: `tests/dialogs/*.txt`. Lines `C:` are sent, lines `S:` must be the answer.
//!
//! `{#}` or `{#+}` at the end of a `C:` line is a literal of the `L:` lines that follow, joined by
//! line ends; an `R:` line is the rest of the command behind it. `<*>` in an `S:` line stands for
//! anything. Every file runs with each turn of the client sent whole, byte by
//! byte, and in pieces of changing size.

use std::path::Path;

use crate::client::Client;
use crate::world::World;

#[derive(Debug)]
enum Step {
    Send(Vec<u8>),
    Expect(String),
}

/// How the client's bytes are cut.
#[derive(Clone, Copy, Debug)]
enum Cut {
    Whole,
    Bytes,
    Mixed(u64),
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dialogs_whole() {
    run_all(Cut::Whole).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dialogs_byte_by_byte() {
    run_all(Cut::Bytes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dialogs_in_mixed_pieces() {
    for seed in [1, 2] {
        run_all(Cut::Mixed(seed)).await;
    }
}

async fn run_all(cut: Cut) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dialogs");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    assert!(files.len() >= 10, "the transcripts are there");
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        assert!(text.starts_with("# RFC "), "{name} names its RFC sections");
        let world = World::new().await;
        run(&name, &parse(&text), world.connect(), cut).await;
        world.store.close().await.unwrap();
    }
}

fn parse(text: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let (kind, rest) = line.split_at(line.len().min(2));
        let rest = rest.strip_prefix(' ').unwrap_or(rest);
        match kind {
            "C:" | "R:" => {
                let literal: Vec<&str> = std::iter::from_fn(|| {
                    let line = lines.next_if(|next| next.starts_with("L:"))?;
                    Some(line[2..].strip_prefix(' ').unwrap_or_else(|| &line[2..]))
                })
                .collect();
                let literal = literal.join("\r\n");
                let line = rest.replace("{#", &format!("{{{}", literal.len()));
                steps.push(Step::Send(format!("{line}\r\n").into_bytes()));
                if rest.ends_with("{#}") {
                    steps.push(Step::Expect("+ <*>".into()));
                }
                if rest.ends_with("{#}") || rest.ends_with("{#+}") {
                    let has_more = lines.peek().is_some_and(|next| next.starts_with("R:"));
                    let end = if has_more { "" } else { "\r\n" };
                    steps.push(Step::Send(format!("{literal}{end}").into_bytes()));
                }
            }
            "S:" => steps.push(Step::Expect(rest.to_owned())),
            "" | "# " => {}
            _ if line.starts_with('#') => {}
            _ => panic!("what is this line? {line}"),
        }
    }
    steps
}

async fn run(name: &str, steps: &[Step], mut client: Client, cut: Cut) {
    let mut steps = steps.iter().peekable();
    while let Some(step) = steps.next() {
        match step {
            Step::Send(bytes) => {
                let mut turn = bytes.clone();
                while let Some(Step::Send(more)) = steps.peek() {
                    turn.extend_from_slice(more);
                    steps.next();
                }
                send(&mut client, &turn, cut).await;
            }
            Step::Expect(expected) => {
                let line = client.try_line().await.unwrap_or_else(|| "(closed)".into());
                assert!(
                    matches(expected, &line),
                    "{name}, {cut:?}:\nexpected {expected}\n     got {line}"
                );
            }
        }
    }
}

async fn send(client: &mut Client, mut bytes: &[u8], cut: Cut) {
    let mut state = match cut {
        Cut::Mixed(seed) => seed,
        Cut::Whole | Cut::Bytes => 0,
    };
    while !bytes.is_empty() {
        let length = match cut {
            Cut::Whole => bytes.len(),
            Cut::Bytes => 1,
            Cut::Mixed(_) => {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                usize::try_from(state >> 60).unwrap() + 1
            }
        };
        let (piece, rest) = bytes.split_at(length.min(bytes.len()));
        client.send(piece).await;
        tokio::task::yield_now().await;
        bytes = rest;
    }
}

/// Whether the line is as expected; `<*>` stands for anything.
fn matches(expected: &str, line: &str) -> bool {
    let mut pieces = expected.split("<*>");
    let first = pieces.next().unwrap_or_default();
    let Some(mut rest) = line.strip_prefix(first) else {
        return false;
    };
    let pieces: Vec<&str> = pieces.collect();
    let Some((last, middle)) = pieces.split_last() else {
        return rest.is_empty();
    };
    for piece in middle {
        let Some(at) = rest.find(piece) else {
            return false;
        };
        rest = &rest[at + piece.len()..];
    }
    rest.ends_with(last)
}

#[test]
fn expectations_can_fail() {
    assert!(matches("a <*> c", "a b c"));
    assert!(matches("<*>", ""));
    assert!(!matches("a <*> c", "a b d"));
    assert!(!matches("a", "a b"));
    assert!(!matches("a b", "a"));
}
