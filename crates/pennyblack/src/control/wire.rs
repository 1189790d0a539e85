//! JSON lines of limited length over any stream.

use std::io;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _, AsyncWrite, AsyncWriteExt};

use super::LINE_BYTES_MAX;

/// Writes one line.
///
/// # Errors
/// Those of the stream; [`io::ErrorKind::InvalidData`] for a line that would be too long.
pub async fn write_line<W: AsyncWrite + Unpin>(
    writer: &mut W,
    value: &impl Serialize,
) -> io::Result<()> {
    let mut line = serde_json::to_vec(value)?;
    if line.len() >= LINE_BYTES_MAX {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "the line is too long",
        ));
    }
    line.push(b'\n');
    writer.write_all(&line).await
}

/// Reads one line; `None` at the end of the stream.
///
/// # Errors
/// Those of the stream; [`io::ErrorKind::InvalidData`] for a line that is too long or not of this
/// form.
pub async fn read_line<T: DeserializeOwned, R: AsyncBufRead + Unpin>(
    reader: &mut R,
) -> io::Result<Option<T>> {
    let mut line = Vec::new();
    reader
        .take(LINE_BYTES_MAX as u64)
        .read_until(b'\n', &mut line)
        .await?;
    if line.is_empty() {
        return Ok(None);
    }
    if line.last() != Some(&b'\n') {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "the line has no end",
        ));
    }
    serde_json::from_slice(&line)
        .map(Some)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))
}

#[cfg(test)]
mod tests {
    use tokio::io::BufReader;

    use super::*;

    #[tokio::test]
    async fn there_and_back() {
        let mut bytes = Vec::new();
        write_line(&mut bytes, &"a\nb").await.unwrap();
        write_line(&mut bytes, &"c").await.unwrap();
        let mut reader = BufReader::new(bytes.as_slice());
        assert_eq!(
            read_line::<String, _>(&mut reader).await.unwrap().unwrap(),
            "a\nb"
        );
        assert_eq!(
            read_line::<String, _>(&mut reader).await.unwrap().unwrap(),
            "c"
        );
        assert_eq!(read_line::<String, _>(&mut reader).await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_line_at_the_limit_and_beyond() {
        let mut bytes = Vec::new();
        // Two quotes and the line end belong to the line.
        write_line(&mut bytes, &"x".repeat(LINE_BYTES_MAX - 3))
            .await
            .unwrap();
        assert_eq!(bytes.len(), LINE_BYTES_MAX);
        let mut reader = BufReader::new(bytes.as_slice());
        assert!(read_line::<String, _>(&mut reader).await.unwrap().is_some());
        assert!(
            write_line(&mut bytes, &"x".repeat(LINE_BYTES_MAX - 2))
                .await
                .is_err()
        );
        bytes.insert(1, b'x');
        let mut reader = BufReader::new(bytes.as_slice());
        assert!(read_line::<String, _>(&mut reader).await.is_err());
    }
}
