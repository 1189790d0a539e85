//! Shows by system calls that a letter is on disk before it is acknowledged.
//!
//! `strace` follows all threads of a server and writes down, in one order, when each call was
//! entered and when it returned. For each acknowledgement the checker looks at what happened after
//! the last byte of the letter was read and before the reply was handed to the kernel: enough bytes
//! for the letter must have been written to one file of the store, and an `fsync` or `fdatasync`
//! of that file, begun after those writes, must have returned with success.
//!
//! A killed process leaves the page cache intact, so a kill test cannot show this. The letters of
//! the test do not compress, so that no journal of another kind can pass for them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::process::{Daemon, program, wait_for};

/// The calls that are followed: reading, writing, flushing.
const CALLS: &str = "trace=read,readv,recvfrom,recvmsg,write,writev,pwrite64,pwritev,pwritev2,\
                     sendto,sendmsg,fsync,fdatasync,sync_file_range,ftruncate";

/// A running `strace`.
#[derive(Debug)]
pub struct Tracer {
    daemon: Daemon,
    file: PathBuf,
}

impl Tracer {
    /// Attaches to a process and all its threads. The output goes to `file`.
    ///
    /// # Panics
    /// When strace is missing or may not attach.
    #[must_use]
    pub fn attach(pid: u32, file: &Path) -> Tracer {
        let mut command = Command::new(program("strace"));
        command
            .args(["-f", "-yy", "-s", "512", "-e", CALLS, "-o"])
            .arg(file);
        command.args(["-p", &pid.to_string()]);
        let log = file.with_extension("log");
        let mut daemon = Daemon::start(&mut command, &log);
        daemon.wait_for_log("attached", 0, Duration::from_secs(10));
        Tracer {
            daemon,
            file: file.to_owned(),
        }
    }

    /// Detaches and gives all that was seen.
    ///
    /// # Panics
    /// When nothing was seen.
    #[must_use]
    pub fn finish(mut self) -> String {
        self.daemon.interrupt(Duration::from_secs(10));
        wait_for("the trace", Duration::from_secs(5), || {
            let bytes = std::fs::read(&self.file)
                .ok()
                .filter(|bytes| !bytes.is_empty())?;
            Some(String::from_utf8_lossy(&bytes).into_owned())
        })
    }
}

/// One call, with the places in the trace where it was entered and where it returned.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Call {
    name: String,
    /// What the file descriptor stands for: a path, or `TCP:[…]`.
    target: String,
    /// The arguments behind it, as strace prints them.
    rest: String,
    entered: usize,
    returned: usize,
    result: i64,
}

/// An acknowledgement that was not preceded by a flush of the letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// The line of the trace with the reply, counted from 0.
    pub line: usize,
    /// What was sent.
    pub reply: String,
    /// The bytes that were flushed, by file.
    pub flushed: Vec<(String, i64)>,
}

/// What the checker found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Acknowledgements of letters.
    pub acknowledged: usize,
    /// Those that came too early.
    pub broken: Vec<Broken>,
}

/// Checks every acknowledgement in a trace: `250` after `354` (SMTP), `OK` after `+` (IMAP APPEND).
/// Each letter must have put at least `letter_bytes` into a file below `store`.
#[must_use]
pub fn check(trace: &str, store: &Path, letter_bytes: i64) -> Verdict {
    let store = store.to_string_lossy();
    check_each(trace, |calls, from, to| {
        let flushed = flushed(calls, &store, from, to);
        let fine = flushed.values().any(|bytes| *bytes >= letter_bytes);
        (fine, flushed)
    })
}

/// The same for a store that keeps letters in files of `folder` and names them in `journal`, both
/// below `store`: the file must have been flushed before the journal was written, and the journal
/// before the acknowledgement.
#[must_use]
pub fn check_in_order(
    trace: &str,
    store: &Path,
    (folder, journal): (&str, &str),
    letter_bytes: i64,
) -> Verdict {
    let folder = store.join(folder).to_string_lossy().into_owned();
    let journal = store.join(journal).to_string_lossy().into_owned();
    check_each(trace, |calls, from, to| {
        // The first flush of the letter is the one that counts: whatever comes later is too late.
        let named = calls
            .iter()
            .filter(|call| is_flush(call) && call.target.starts_with(&folder))
            .filter(|call| call.entered > from && call.returned < to)
            .find(|flush| {
                let bytes = flushed(calls, &folder, from, flush.returned + 1);
                bytes.values().any(|bytes| *bytes >= letter_bytes)
            });
        let fine = named.is_some_and(|flush| {
            let after = flushed(calls, &journal, flush.returned, to);
            after.values().any(|bytes| *bytes > 0)
        });
        (fine, flushed(calls, &folder, from, to))
    })
}

/// Asks about every acknowledgement whether the calls between the last read of the letter and the
/// reply are fine; the answer comes with what was flushed.
fn check_each<'a>(
    trace: &str,
    fine: impl for<'c> Fn(&'c [Call], usize, usize) -> (bool, BTreeMap<&'c str, i64>) + 'a,
) -> Verdict {
    let calls = parse(trace);
    let mut verdict = Verdict::default();
    // Sockets on which the server has asked for a letter, with the end of the last read so far.
    let mut open: BTreeMap<&str, usize> = BTreeMap::new();
    for call in &calls {
        if !call.target.starts_with("TCP:") && !call.target.starts_with("TCPv6:") {
            continue;
        }
        if is_read(call) {
            if let Some(last) = open.get_mut(call.target.as_str())
                && call.result > 0
            {
                *last = call.returned;
            }
        } else if asks_for_letter(call) {
            open.insert(&call.target, call.returned);
        } else if let Some(read) = open.remove(call.target.as_str())
            && acknowledges(call)
        {
            verdict.acknowledged += 1;
            let (is_fine, flushed) = fine(&calls, read, call.entered);
            if !is_fine {
                let flushed = flushed
                    .into_iter()
                    .map(|(file, bytes)| (file.to_owned(), bytes));
                verdict.broken.push(Broken {
                    line: call.entered,
                    reply: call.rest.clone(),
                    flushed: flushed.collect(),
                });
            }
        }
    }
    verdict
}

/// Bytes written to each file of the store after `from` and flushed before `to`.
fn flushed<'a>(calls: &'a [Call], store: &str, from: usize, to: usize) -> BTreeMap<&'a str, i64> {
    let first = calls.partition_point(|call| call.entered <= from);
    let end = calls.partition_point(|call| call.entered < to);
    let fine = |call: &&Call| call.returned < to && call.result >= 0;
    let of_store: Vec<&Call> = calls[first..end]
        .iter()
        .filter(fine)
        .filter(|call| call.target.starts_with(store))
        .collect();
    let mut flushed: BTreeMap<&str, i64> = BTreeMap::new();
    for flush in of_store.iter().filter(|call| is_flush(call)) {
        let written: i64 = of_store
            .iter()
            .filter(|call| call.target == flush.target && is_write(call))
            .filter(|call| call.returned < flush.entered)
            .map(|call| call.result)
            .sum();
        let most = flushed.entry(&flush.target).or_default();
        *most = written.max(*most);
    }
    flushed
}

fn is_read(call: &Call) -> bool {
    matches!(
        call.name.as_str(),
        "read" | "readv" | "recvfrom" | "recvmsg"
    )
}

fn is_write(call: &Call) -> bool {
    matches!(
        call.name.as_str(),
        "write" | "writev" | "pwrite64" | "pwritev" | "pwritev2"
    )
}

fn is_flush(call: &Call) -> bool {
    matches!(call.name.as_str(), "fsync" | "fdatasync")
}

/// The last line of what is sent is `354 …` or `+ …`.
fn asks_for_letter(call: &Call) -> bool {
    let text = sent(call);
    let last = text
        .trim_end_matches("\\r\\n")
        .rsplit("\\r\\n")
        .next()
        .unwrap_or_default();
    last.starts_with("354") || last.starts_with('+')
}

fn acknowledges(call: &Call) -> bool {
    let text = sent(call);
    text.starts_with("250") || text.contains(" OK ")
}

/// What a call sent, as strace prints it: the text within the outermost quotes.
fn sent(call: &Call) -> &str {
    let text = call.rest.split_once('"').map_or("", |(_, text)| text);
    text.rsplit_once('"').map_or("", |(text, _)| text)
}

/// The calls of a trace in the order in which they were entered.
fn parse(trace: &str) -> Vec<Call> {
    let mut calls: Vec<Call> = Vec::new();
    let mut unfinished: BTreeMap<&str, (usize, String)> = BTreeMap::new();
    for (number, line) in trace.lines().enumerate() {
        let Some((process, text)) = line.split_once(' ') else {
            continue;
        };
        let text = text.trim_start();
        if let Some(begun) = text.strip_suffix("<unfinished ...>") {
            unfinished.insert(process, (number, begun.to_owned()));
        } else if let Some((_, rest)) = text.strip_prefix("<... ").and_then(|t| t.split_once('>')) {
            if let Some((entered, begun)) = unfinished.remove(process) {
                calls.extend(call(&format!("{begun}{rest}"), entered, number));
            }
        } else {
            calls.extend(call(text, number, number));
        }
    }
    calls.sort_by_key(|call| call.entered);
    calls
}

/// Reads `name(fd<target>, rest) = result`.
fn call(text: &str, entered: usize, returned: usize) -> Option<Call> {
    let (name, arguments) = text.split_once('(')?;
    let (arguments, result) = arguments.rsplit_once(" = ")?;
    let result = result.split(' ').next()?.parse().ok()?;
    let (_, target) = arguments.split_once('<')?;
    // A socket's target has an arrow inside: `TCP:[1.2.3.4:5->6.7.8.9:10]`.
    let end = if target.starts_with("TCP") {
        target.find("]>")? + 1
    } else {
        target.find('>')?
    };
    let (target, rest) = target.split_at(end);
    let (name, target, rest) = (name.to_owned(), target.to_owned(), rest.to_owned());
    Some(Call {
        name,
        target,
        rest,
        entered,
        returned,
        result,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ASK: &str =
        r#"7 sendto(9<TCP:[127.0.0.1:25->127.0.0.1:4]>, "250 ok\r\n354 go on\r\n", 9, 0) = 9"#;
    const READ: &str = r#"7 recvfrom(9<TCP:[127.0.0.1:25->127.0.0.1:4]>, "x\r\n.\r\n", 9) = 900"#;
    const WRITE: &str = r#"8 pwrite64(5</d/mail.db-wal>, "x"..., 900, 0) = 900"#;
    const FLUSH: &str = "8 fdatasync(5</d/mail.db-wal>) = 0";
    const REPLY: &str =
        r#"7 sendto(9<TCP:[127.0.0.1:25->127.0.0.1:4]>, "250 2.0.0 ok\r\n", 9, 0) = 9"#;

    fn broken(lines: &[&str]) -> usize {
        let verdict = check(&lines.join("\n"), Path::new("/d"), 800);
        assert_eq!(verdict.acknowledged, 1);
        verdict.broken.len()
    }

    #[test]
    fn a_flush_between_write_and_reply_is_enough() {
        assert_eq!(broken(&[ASK, READ, WRITE, FLUSH, REPLY]), 0);
    }

    #[test]
    fn a_reply_without_flush_or_before_it_is_found() {
        assert_eq!(broken(&[ASK, READ, WRITE, REPLY]), 1);
        assert_eq!(broken(&[ASK, READ, WRITE, REPLY, FLUSH]), 1);
        assert_eq!(broken(&[ASK, READ, FLUSH, WRITE, REPLY]), 1);
        assert_eq!(broken(&[ASK, WRITE, FLUSH, READ, REPLY]), 1);
    }

    #[test]
    fn a_flush_that_failed_or_of_another_file_does_not_count() {
        let failed = FLUSH.replace("= 0", "= -1 EIO (Input/output error)");
        assert_eq!(broken(&[ASK, READ, WRITE, &failed, REPLY]), 1);
        let other = FLUSH.replace("mail.db-wal", "mail.db");
        assert_eq!(broken(&[ASK, READ, WRITE, &other, REPLY]), 1);
    }

    #[test]
    fn a_flush_that_returns_after_the_reply_was_sent_does_not_count() {
        let (begun, ended) = (
            "8 fdatasync(5</d/mail.db-wal> <unfinished ...>",
            "8 <... fdatasync resumed>) = 0",
        );
        assert_eq!(broken(&[ASK, READ, WRITE, begun, REPLY, ended]), 1);
        assert_eq!(broken(&[ASK, READ, WRITE, begun, ended, REPLY]), 0);
    }

    #[test]
    fn a_file_of_letters_is_flushed_before_the_journal_names_it() {
        let in_file = |line: &str| line.replace("mail.db-wal", "segments/1.seg");
        let (write, flush) = (in_file(WRITE), in_file(FLUSH));
        let name = WRITE.replace("= 900", "= 90");
        let broken = |lines: &[&str]| {
            let lines = lines.join("\n");
            let verdict = check_in_order(&lines, Path::new("/d"), ("segments", "mail.db-wal"), 800);
            assert_eq!(verdict.acknowledged, 1);
            verdict.broken.len()
        };
        assert_eq!(broken(&[ASK, READ, &write, &flush, &name, FLUSH, REPLY]), 0);
        assert_eq!(broken(&[ASK, READ, &write, &name, &flush, FLUSH, REPLY]), 1);
        assert_eq!(broken(&[ASK, READ, &write, &name, FLUSH, &flush, REPLY]), 1);
        assert_eq!(broken(&[ASK, READ, &write, &flush, &name, REPLY, FLUSH]), 1);
        assert_eq!(broken(&[ASK, READ, &write, &name, FLUSH, REPLY, &flush]), 1);
        assert_eq!(broken(&[ASK, READ, &flush, &write, &name, FLUSH, REPLY]), 1);
    }

    #[test]
    fn too_few_bytes_are_not_the_letter() {
        let few = WRITE.replace("= 900", "= 90");
        assert_eq!(broken(&[ASK, READ, &few, FLUSH, REPLY]), 1);
    }

    #[test]
    fn an_append_is_checked_too() {
        let socket = "7 write(9<TCP:[127.0.0.1:143->127.0.0.1:4]>";
        let ask = format!(r#"{socket}, "+ go on\r\n", 9) = 9"#);
        let reply = format!(r#"{socket}, "* 1 EXISTS\r\na2 OK done\r\n", 9) = 9"#);
        let read = READ.replace(":25-", ":143-");
        assert_eq!(broken(&[&ask, &read, WRITE, FLUSH, &reply]), 0);
        assert_eq!(broken(&[&ask, &read, WRITE, &reply]), 1);
    }
}
