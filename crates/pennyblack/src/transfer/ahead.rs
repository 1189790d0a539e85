//! Reading a long file with a look ahead, in bounded memory.

use std::io::{self, Read};

/// Bytes that are read at once.
const READ_BYTES: usize = 256 * 1024;

/// A reader that can be looked into before bytes are taken.
pub struct Ahead<R> {
    inner: R,
    buffer: Vec<u8>,
    start: usize,
    offset: u64,
    ended: bool,
}

impl<R: Read> Ahead<R> {
    /// Reads from a reader whose next byte is number `offset` of the file.
    pub fn new(inner: R, offset: u64) -> Self {
        Self {
            inner,
            buffer: Vec::new(),
            start: 0,
            offset,
            ended: false,
        }
    }

    /// The number of the next byte.
    pub const fn offset(&self) -> u64 {
        self.offset
    }

    /// At least so many of the next bytes; fewer only at the end of the file.
    ///
    /// # Errors
    /// Those of the reader.
    pub fn look(&mut self, bytes: usize) -> io::Result<&[u8]> {
        while self.buffer.len() - self.start < bytes && !self.ended {
            if self.start > 0 {
                self.buffer.drain(..self.start);
                self.start = 0;
            }
            let filled = self.buffer.len();
            self.buffer.resize(filled + READ_BYTES, 0);
            let read = loop {
                match self.inner.read(&mut self.buffer[filled..]) {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    other => break other,
                }
            };
            self.buffer.truncate(filled + *read.as_ref().unwrap_or(&0));
            self.ended = read? == 0;
        }
        Ok(&self.buffer[self.start..])
    }

    /// Passes over bytes that have been looked at.
    pub fn pass(&mut self, bytes: usize) {
        let bytes = bytes.min(self.buffer.len() - self.start);
        self.start += bytes;
        self.offset += bytes as u64;
        if self.start == self.buffer.len() && self.buffer.capacity() > 4 * READ_BYTES {
            // A large look ahead is not kept.
            self.buffer = Vec::new();
            self.start = 0;
        }
    }

    /// Reads and forgets bytes; fewer at the end of the file.
    ///
    /// # Errors
    /// Those of the reader.
    pub fn skip(&mut self, mut bytes: u64) -> io::Result<()> {
        while bytes > 0 {
            let there = self.look(1)?.len();
            if there == 0 {
                return Ok(());
            }
            let now = usize::try_from(bytes).unwrap_or(usize::MAX).min(there);
            self.pass(now);
            bytes -= now as u64;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_and_passes() {
        let bytes: Vec<u8> = (0..=255).cycle().take(3 * READ_BYTES).collect();
        let mut ahead = Ahead::new(bytes.as_slice(), 10);
        assert_eq!(&ahead.look(4).unwrap()[..4], [0, 1, 2, 3]);
        ahead.pass(2);
        assert_eq!(ahead.look(1).unwrap()[0], 2);
        assert_eq!(ahead.look(2 * READ_BYTES).unwrap()[..9], bytes[2..11]);
        ahead.skip(2 * READ_BYTES as u64).unwrap();
        assert_eq!(ahead.offset(), 12 + 2 * READ_BYTES as u64);
        assert_eq!(ahead.look(1).unwrap()[0], 2);
        ahead.skip(u64::MAX).unwrap();
        assert_eq!(ahead.look(1).unwrap(), b"");
        assert_eq!(ahead.offset(), 10 + 3 * READ_BYTES as u64);
    }
}
