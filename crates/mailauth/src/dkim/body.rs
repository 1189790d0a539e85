//! Hashes of a body: one pass computes every one that the signatures of a letter need.
//!
//! The body goes through in slices as it lies; nothing of it is copied where canonicalisation
//! changes nothing, and no line is looked at by itself (RFC 6376 §3.4.3, §3.4.4).

use aws_lc_rs::digest::{Context, Digest, SHA256};
use memchr::memchr2;

use super::canon::Canon;

/// What one signature wants hashed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Wanted {
    pub(crate) canon: Canon,
    /// RFC 6376 §3.5 `l=`: how many canonical bytes; all when it is not given.
    pub(crate) length: Option<u64>,
}

/// The hash of what was wanted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BodyHash {
    pub(crate) wanted: Wanted,
    pub(crate) digest: Digest,
    /// How long the whole canonical body is.
    pub(crate) canonical_bytes: u64,
}

/// Hashes a body for all that is wanted; equal wishes are computed once.
pub(crate) fn hash(body: &[&[u8]], wanted: &[Wanted]) -> Vec<BodyHash> {
    let mut hashes = Vec::new();
    for canon in [Canon::Simple, Canon::Relaxed] {
        let mut lengths: Vec<Option<u64>> = wanted
            .iter()
            .filter(|wanted| wanted.canon == canon)
            .map(|wanted| wanted.length)
            .collect();
        lengths.sort_unstable();
        lengths.dedup();
        if lengths.is_empty() {
            continue;
        }
        let mut lines = Lines::new(canon, Sinks::new(&lengths));
        for piece in body {
            lines.update(piece);
        }
        hashes.extend(lines.finish().into_hashes(canon));
    }
    hashes
}

/// Where canonical bytes go: a hash for each length.
struct Sinks {
    sinks: Vec<Sink>,
    bytes: u64,
}

struct Sink {
    length: Option<u64>,
    context: Context,
}

impl Sinks {
    fn new(lengths: &[Option<u64>]) -> Self {
        let sink = |length: &Option<u64>| Sink {
            length: *length,
            context: Context::new(&SHA256),
        };
        Self {
            sinks: lengths.iter().map(sink).collect(),
            bytes: 0,
        }
    }

    fn update(&mut self, bytes: &[u8]) {
        for sink in &mut self.sinks {
            let left = sink
                .length
                .map_or(u64::MAX, |length| length.saturating_sub(self.bytes));
            let part = usize::try_from(left).map_or(bytes.len(), |left| left.min(bytes.len()));
            if part > 0 {
                sink.context.update(&bytes[..part]);
            }
        }
        self.bytes += bytes.len() as u64;
    }

    fn into_hashes(self, canon: Canon) -> impl Iterator<Item = BodyHash> {
        let canonical_bytes = self.bytes;
        self.sinks.into_iter().map(move |sink| BodyHash {
            wanted: Wanted {
                canon,
                length: sink.length,
            },
            digest: sink.context.finish(),
            canonical_bytes,
        })
    }
}

/// Holds empty lines back until something follows them, as those at the end do not count.
struct Trailing {
    sinks: Sinks,
    /// Line ends (CRLF) held back.
    held: u64,
    /// A CR whose LF has not come yet is held back behind them.
    half: bool,
    /// Whether anything but line ends has come.
    started: bool,
}

impl Trailing {
    fn update(&mut self, mut bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        if std::mem::take(&mut self.half) {
            match bytes.strip_prefix(b"\n") {
                Some(rest) => {
                    self.held += 1;
                    bytes = rest;
                }
                None => self.release(b"\r"),
            }
        }
        let (bytes, half) = match bytes.strip_suffix(b"\r") {
            Some(rest) => (rest, true),
            None => (bytes, false),
        };
        let mut content = bytes;
        while let Some(rest) = content.strip_suffix(b"\r\n") {
            content = rest;
        }
        if !content.is_empty() {
            self.release(content);
        }
        self.held += (bytes.len() - content.len()) as u64 / 2;
        self.half = half;
    }

    /// Content has come: what was held back counts.
    fn release(&mut self, content: &[u8]) {
        const LINE_ENDS: &[u8] =
            b"\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n";
        let mut left = std::mem::take(&mut self.held).saturating_mul(2);
        while left > 0 {
            let part = left.min(LINE_ENDS.len() as u64);
            // The part is at most as long as the constant.
            self.sinks
                .update(&LINE_ENDS[..usize::try_from(part).unwrap_or(0)]);
            left -= part;
        }
        self.started = true;
        self.sinks.update(content);
    }

    fn finish(mut self, canon: Canon) -> Sinks {
        if std::mem::take(&mut self.half) {
            self.release(b"\r");
        }
        // RFC 6376 §3.4.3: a body ends with one CRLF, and an empty one is a CRLF. §3.4.4: relaxed,
        // an empty one stays empty.
        if self.started || canon == Canon::Simple {
            self.sinks.update(b"\r\n");
        }
        self.sinks
    }
}

/// Reduces white space where that is asked for.
struct Lines {
    canon: Canon,
    trailing: Trailing,
    /// White space has come, and it is not known yet what follows.
    space: bool,
    /// A CR has come after it.
    cr: bool,
}

/// Bytes that are looked at together. The compiler turns the test of a block into vector
/// instructions.
const BLOCK: usize = 64;

impl Lines {
    fn new(canon: Canon, sinks: Sinks) -> Self {
        Self {
            canon,
            trailing: Trailing {
                sinks,
                held: 0,
                half: false,
                started: false,
            },
            space: false,
            cr: false,
        }
    }

    fn update(&mut self, bytes: &[u8]) {
        match self.canon {
            Canon::Simple => self.trailing.update(bytes),
            Canon::Relaxed => self.relax(bytes),
        }
    }

    /// RFC 6376 §3.4.4: runs of white space become one space, and those at line ends nothing.
    fn relax(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.space {
                bytes = self.after_space(bytes);
                continue;
            }
            let plain = plain_prefix(bytes);
            if plain > 0 {
                self.trailing.update(&bytes[..plain]);
            }
            bytes = &bytes[plain..];
            if !bytes.is_empty() {
                self.space = true;
                bytes = &bytes[1..];
            }
        }
    }

    /// Goes on after white space that was not passed on yet.
    fn after_space<'b>(&mut self, bytes: &'b [u8]) -> &'b [u8] {
        if self.cr {
            self.cr = false;
            self.space = false;
            if bytes[0] == b'\n' {
                self.trailing.update(b"\r\n");
                return &bytes[1..];
            }
            // A CR alone ends no line.
            self.trailing.update(b" \r");
            return bytes;
        }
        match bytes[0] {
            b' ' | b'\t' => &bytes[1..],
            b'\r' => {
                self.cr = true;
                &bytes[1..]
            }
            _ => {
                self.space = false;
                self.trailing.update(b" ");
                bytes
            }
        }
    }

    fn finish(mut self) -> Sinks {
        if self.cr {
            self.trailing.update(b" \r");
        }
        self.trailing.finish(self.canon)
    }
}

/// How many bytes from the start stay as they are: up to a tab, or a space before white space, a CR
/// or the end.
fn plain_prefix(bytes: &[u8]) -> usize {
    let mut at = 0;
    while let Some(block) = bytes.get(at..=at + BLOCK) {
        let next = &block[1..];
        let changed = block.iter().zip(next).fold(false, |changed, (byte, next)| {
            changed | (*byte == b'\t') | ((*byte == b' ') & matches!(*next, b' ' | b'\t' | b'\r'))
        });
        if changed {
            break;
        }
        at += BLOCK;
    }
    while let Some(found) = memchr2(b' ', b'\t', &bytes[at..]) {
        at += found;
        let stays = bytes[at] == b' '
            && bytes
                .get(at + 1)
                .is_some_and(|next| !matches!(next, b' ' | b'\t' | b'\r'));
        if !stays {
            return at;
        }
        at += 1;
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The canonical body by the words of the RFC, slowly.
    fn canonical(body: &[u8], canon: Canon) -> Vec<u8> {
        let mut text = body.to_vec();
        if canon == Canon::Relaxed {
            let mut lines: Vec<Vec<u8>> = vec![Vec::new()];
            let mut at = 0;
            while at < text.len() {
                if text[at..].starts_with(b"\r\n") {
                    lines.push(Vec::new());
                    at += 2;
                } else {
                    lines.last_mut().unwrap().push(text[at]);
                    at += 1;
                }
            }
            let reduced = lines.iter().map(|line| {
                let mut reduced: Vec<u8> = Vec::new();
                for byte in line {
                    match byte {
                        b' ' | b'\t' if reduced.last() == Some(&b' ') => {}
                        b' ' | b'\t' => reduced.push(b' '),
                        other => reduced.push(*other),
                    }
                }
                if reduced.last() == Some(&b' ') {
                    reduced.pop();
                }
                reduced
            });
            text = reduced.collect::<Vec<_>>().join(&b"\r\n"[..]);
        }
        while text.ends_with(b"\r\n") {
            text.truncate(text.len() - 2);
        }
        if !text.is_empty() || canon == Canon::Simple {
            text.extend_from_slice(b"\r\n");
        }
        text
    }

    fn digest_of(bytes: &[u8]) -> Vec<u8> {
        aws_lc_rs::digest::digest(&SHA256, bytes).as_ref().to_vec()
    }

    fn check(pieces: &[&[u8]], length: Option<u64>) {
        for canon in [Canon::Simple, Canon::Relaxed] {
            let wanted = Wanted { canon, length };
            let hashes = hash(pieces, &[wanted]);
            let expected = canonical(&pieces.concat(), canon);
            assert_eq!(
                hashes[0].canonical_bytes,
                expected.len() as u64,
                "{pieces:?} {canon:?}"
            );
            let part = length.map_or(expected.len(), |length| expected.len().min(length as usize));
            let found = hashes[0].digest.as_ref();
            assert_eq!(found, digest_of(&expected[..part]), "{pieces:?} {canon:?}");
        }
    }

    #[test]
    fn the_examples_of_the_rfc() {
        // RFC 6376 §3.4.5.
        let body = b" C \r\nD \t E\r\n\r\n\r\n";
        assert_eq!(canonical(body, Canon::Relaxed), b" C\r\nD E\r\n");
        assert_eq!(canonical(body, Canon::Simple), b" C \r\nD \t E\r\n");
        check(&[body], None);
        for body in [
            "",
            "\r\n",
            "\r\n\r\n",
            " \r\n\t\r\n",
            "a",
            "a ",
            "a\r",
            "a \r",
            "\r",
            "\n",
        ] {
            check(&[body.as_bytes()], None);
        }
    }

    #[test]
    fn long_plain_text_and_late_changes() {
        let line = "The quick brown fox jumps over the lazy dog, and so on and on and on.\r\n";
        check(&[line.repeat(50).as_bytes()], None);
        check(
            &[format!("{}{}", line.repeat(50), "a  b\tc \r\n\r\n \r\n").as_bytes()],
            None,
        );
        check(&["\r\n".repeat(1_000).as_bytes(), b"x"], None);
    }

    #[test]
    fn equal_wishes_are_computed_once_and_lengths_apart() {
        let wish = |length| Wanted {
            canon: Canon::Relaxed,
            length,
        };
        let hashes = hash(
            &[b"abc\r\n"],
            &[wish(None), wish(Some(2)), wish(None), wish(Some(99))],
        );
        assert_eq!(hashes.len(), 3);
        check(&[b"abc  d\r\n"], Some(4));
        check(&[b"abc  d\r\n"], Some(0));
    }

    proptest! {
        #[test]
        fn any_cut_gives_the_same_hash(
            body in proptest::collection::vec(proptest::sample::select(b" \t\r\nab".to_vec()), 0..200),
            cuts in proptest::collection::vec(0usize..200, 0..4),
            length in proptest::option::of(0u64..64),
        ) {
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(body.len())).collect();
            cuts.push(0);
            cuts.push(body.len());
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|cut| &body[cut[0]..cut[1]]).collect();
            check(&pieces, length);
        }
    }
}
