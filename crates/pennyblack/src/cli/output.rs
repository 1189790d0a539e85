//! What commands print: lines and tables on stdout. A reader that goes away (`| head`) is no
//! error: the rest is not printed.

use std::io::{self, Write};

use serde_json::Value;

use super::exit::Exit;

/// Stdout, or whatever stands for it.
pub struct Output<W: Write = io::Stdout> {
    writer: W,
    gone: bool,
}

impl Default for Output {
    fn default() -> Self {
        Self::new(io::stdout())
    }
}

impl<W: Write> Output<W> {
    /// Prints to a writer.
    pub const fn new(writer: W) -> Self {
        Self {
            writer,
            gone: false,
        }
    }

    /// Prints a text as it is.
    ///
    /// # Errors
    /// Those of the writer, except that its reader has gone.
    pub fn text(&mut self, text: &str) -> Result<(), Exit> {
        if self.gone {
            return Ok(());
        }
        match self
            .writer
            .write_all(text.as_bytes())
            .and_then(|()| self.writer.flush())
        {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.gone = true;
                Ok(())
            }
            other => other.map_err(Exit::from),
        }
    }

    /// Prints a line.
    ///
    /// # Errors
    /// As [`Self::text`].
    pub fn line(&mut self, text: &str) -> Result<(), Exit> {
        self.text(&format!("{text}\n"))
    }

    /// Prints rows as one JSON array, a row a line.
    ///
    /// # Errors
    /// As [`Self::text`].
    pub fn json(&mut self, rows: &[Value]) -> Result<(), Exit> {
        if rows.is_empty() {
            return self.line("[]");
        }
        let lines: Vec<String> = rows.iter().map(|row| format!("  {row}")).collect();
        self.line(&format!("[\n{}\n]", lines.join(",\n")))
    }

    /// Prints a table with its head; nothing but a remark when it is empty.
    ///
    /// # Errors
    /// As [`Self::text`].
    pub fn table(&mut self, head: &[&str], rows: &[Vec<String>]) -> Result<(), Exit> {
        if rows.is_empty() {
            return self.line("(none)");
        }
        let width = |column: usize| {
            let cells = rows.iter().filter_map(|row| row.get(column));
            let widest = cells.map(|cell| cell.chars().count()).max().unwrap_or(0);
            widest.max(head[column].chars().count())
        };
        let widths: Vec<usize> = (0..head.len()).map(width).collect();
        let head: Vec<String> = head.iter().map(|word| (*word).to_owned()).collect();
        for row in std::iter::once(&head).chain(rows) {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                line.push_str(&format!("{cell:width$}  "));
            }
            self.line(line.trim_end())?;
        }
        Ok(())
    }
}

/// A field of a row as people read it.
#[must_use]
pub fn field(row: &Value, name: &str) -> String {
    match &row[name] {
        Value::Null => "-".to_owned(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        // What a peer said must not command the operator's terminal.
        Value::String(text) => text.replace(char::is_control, "\u{FFFD}"),
        Value::Array(items) => {
            let items: Vec<&str> = items.iter().filter_map(Value::as_str).collect();
            items.join(", ")
        }
        other => other.to_string(),
    }
}

/// A number of bytes as people read it.
#[must_use]
pub fn bytes(row: &Value, name: &str) -> String {
    let Some(count) = row[name].as_u64() else {
        return "-".to_owned();
    };
    let (shift, unit) = match count {
        0..1_024 => return format!("{count} B"),
        1_024..1_048_576 => (10, "KB"),
        1_048_576..1_073_741_824 => (20, "MB"),
        _ => (30, "GB"),
    };
    let tenths = (count * 10) >> shift;
    format!("{}.{} {unit}", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    struct Gone;

    impl Write for Gone {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_has_gone_is_no_error() {
        let mut output = Output::new(Gone);
        assert!(output.line("a").is_ok());
        assert!(output.line("b").is_ok());
    }

    #[test]
    fn a_table_is_aligned() {
        let mut output = Output::new(Vec::new());
        let rows = [vec!["a@b.test".to_owned(), "1".to_owned()]];
        output.table(&["address", "n"], &rows).unwrap();
        assert_eq!(output.writer, b"address   n\na@b.test  1\n");
    }

    #[test]
    fn json_is_one_array() {
        let mut output = Output::new(Vec::new());
        output.json(&[json!({"a": 1}), json!({"a": 2})]).unwrap();
        let read: Value = serde_json::from_slice(&output.writer).unwrap();
        assert_eq!(read, json!([{"a": 1}, {"a": 2}]));
    }

    #[test]
    fn a_field_does_not_command_the_terminal() {
        let row = json!({ "reason": "no\u{1b}[31m\r\nwa\u{9b}y", "name": "Zo\u{eb}" });
        assert_eq!(
            field(&row, "reason"),
            "no\u{FFFD}[31m\u{FFFD}\u{FFFD}wa\u{FFFD}y"
        );
        assert_eq!(field(&row, "name"), "Zo\u{eb}");
    }

    #[test]
    fn sizes() {
        let row = json!({"a": 1_023, "b": 1_536, "c": 52_428_800, "d": null});
        assert_eq!(bytes(&row, "a"), "1023 B");
        assert_eq!(bytes(&row, "b"), "1.5 KB");
        assert_eq!(bytes(&row, "c"), "50.0 MB");
        assert_eq!(bytes(&row, "d"), "-");
    }
}
