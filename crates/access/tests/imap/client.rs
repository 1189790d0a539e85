//! A client that knows just enough: tags, lines, literals.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::time::timeout;

/// Nothing here takes longer, even on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Client {
    stream: DuplexStream,
    input: Vec<u8>,
    next_tag: u32,
}

impl Client {
    pub(crate) fn new(stream: DuplexStream) -> Self {
        Self {
            stream,
            input: Vec::new(),
            next_tag: 0,
        }
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        timeout(PATIENCE, self.stream.write_all(bytes))
            .await
            .expect("the server reads")
            .unwrap();
    }

    /// False if the server has closed.
    pub(crate) async fn try_send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).await.is_ok()
    }

    /// More bytes of the server; false at the end.
    async fn fill(&mut self) -> bool {
        let mut buffer = [0; 4096];
        let read = self.stream.read(&mut buffer);
        let length = timeout(PATIENCE, read)
            .await
            .unwrap_or_else(|_| {
                panic!(
                    "no answer; so far: {:?}",
                    String::from_utf8_lossy(&self.input)
                )
            })
            .unwrap();
        self.input.extend_from_slice(&buffer[..length]);
        length > 0
    }

    /// The next line without its end; `None` when the server has closed.
    pub(crate) async fn try_line(&mut self) -> Option<String> {
        loop {
            if let Some(at) = self.input.windows(2).position(|pair| pair == b"\r\n") {
                let rest = self.input.split_off(at + 2);
                let line = std::mem::replace(&mut self.input, rest);
                return Some(String::from_utf8_lossy(&line[..at]).into_owned());
            }
            if !self.fill().await {
                assert!(self.input.is_empty(), "half a line: {:?}", self.input);
                return None;
            }
        }
    }

    /// Reads until the server closes; how many bytes came.
    pub(crate) async fn drain(&mut self) -> usize {
        while self.fill().await {}
        self.input.len()
    }

    pub(crate) async fn line(&mut self) -> String {
        self.try_line().await.expect("a line")
    }

    /// Sends a command; all lines up to its tagged one.
    pub(crate) async fn command(&mut self, command: &str) -> Vec<String> {
        self.next_tag += 1;
        let tag = format!("t{}", self.next_tag);
        self.send(format!("{tag} {command}\r\n").as_bytes()).await;
        self.until(&tag).await
    }

    /// All lines up to the one with this tag, whose tag is cut off.
    pub(crate) async fn until(&mut self, tag: &str) -> Vec<String> {
        let mut lines = Vec::new();
        loop {
            let line = self.line().await;
            if let Some(rest) = line.strip_prefix(&format!("{tag} ")) {
                lines.push(rest.to_owned());
                return lines;
            }
            lines.push(line);
        }
    }

    /// Sends a command that must succeed; the untagged lines.
    pub(crate) async fn ok(&mut self, command: &str) -> Vec<String> {
        let mut lines = self.command(command).await;
        let last = lines.pop().unwrap();
        assert!(last.starts_with("OK"), "{command}: {last}");
        lines
    }

    /// Appends a letter to the INBOX.
    pub(crate) async fn append(&mut self, letter: &str) {
        let letter = letter.replace('\n', "\r\n");
        let command = format!("APPEND INBOX {{{}+}}\r\n{letter}", letter.len());
        self.ok(&command).await;
    }

    /// Sends a FETCH whose answer has one literal: the line that announces it, and its bytes.
    pub(crate) async fn literal(&mut self, command: &str) -> (String, Vec<u8>) {
        self.next_tag += 1;
        let tag = format!("t{}", self.next_tag);
        self.send(format!("{tag} {command}\r\n").as_bytes()).await;
        let line = self.line().await;
        let (_, size) = line.strip_suffix('}').unwrap().rsplit_once('{').unwrap();
        let size: usize = size.parse().unwrap();
        while self.input.len() < size {
            assert!(self.fill().await, "the literal is cut short");
        }
        let rest = self.input.split_off(size);
        let literal = std::mem::replace(&mut self.input, rest);
        let lines = self.until(&tag).await;
        assert!(lines.last().unwrap().starts_with("OK"), "{lines:?}");
        (line, literal)
    }
}
