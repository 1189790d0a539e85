//! Writing mboxrd.

use std::io::{self, Write};

use base::Timestamp;
use base::time::Civil;

use super::MARK;
use crate::transfer::flags::Flags;
use crate::transfer::{lines, names};

const DAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

/// Writes one letter with its flags and its date.
///
/// # Errors
/// Those of the writer.
pub fn write_letter(
    writer: &mut impl Write,
    letter: &[u8],
    flags: &Flags,
    received_at: Timestamp,
) -> io::Result<()> {
    let sender = names::return_path(letter).unwrap_or("MAILER-DAEMON");
    writeln!(writer, "From {sender} {}", asctime(received_at))?;
    let lf = lines::to_lf(letter);
    let body = lf.as_deref().unwrap_or(letter);
    let fields = flags.to_mbox_fields();
    let raw = lf.is_none() && !lines::stays(letter);
    let open = !body.is_empty() && body.last() != Some(&b'\n');
    write!(
        writer,
        "{MARK}: v=1; lines={}; at={}",
        fields.len(),
        received_at.millis()
    )?;
    // A word for each thing that the text alone would not tell.
    for (is, word) in [(open, "; open"), (raw, "; raw")] {
        if is {
            writer.write_all(word.as_bytes())?;
        }
    }
    writer.write_all(b"\n")?;
    for field in &fields {
        writeln!(writer, "{field}")?;
    }
    write_quoted(writer, body)?;
    writer.write_all(if open { b"\n\n" } else { b"\n" })
}

/// Puts a `>` before each line that could be taken for the next letter's first.
fn write_quoted(writer: &mut impl Write, mut body: &[u8]) -> io::Result<()> {
    while !body.is_empty() {
        let end = memchr::memchr(b'\n', body).map_or(body.len(), |end| end + 1);
        let (line, rest) = body.split_at(end);
        let quotes = line.iter().take_while(|byte| **byte == b'>').count();
        if line[quotes..].starts_with(b"From ") {
            writer.write_all(b">")?;
        }
        writer.write_all(line)?;
        body = rest;
    }
    Ok(())
}

/// `Tue Nov 24 06:25:53 2026`, in UTC.
fn asctime(moment: Timestamp) -> String {
    let Civil {
        year,
        month,
        day,
        hour,
        minute,
        second,
        weekday,
    } = moment.civil();
    let weekday = DAYS[usize::from(weekday) % 7];
    let month = MONTHS[usize::from(month.max(1) - 1) % 12];
    format!("{weekday} {month} {day:2} {hour:02}:{minute:02}:{second:02} {year:04}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_as_other_programs_see_it() {
        let mut flags = Flags::default();
        flags.insert("$seen");
        let mut file = Vec::new();
        let letter = b"Return-Path: <a@b.test>\r\nSubject: x\r\n\r\nFrom here\r\n>From there\r\n";
        write_letter(&mut file, letter, &flags, Timestamp(1_795_501_553_120)).unwrap();
        assert_eq!(
            String::from_utf8(file).unwrap(),
            "From a@b.test Tue Nov 24 06:25:53 2026\n\
             X-Pennyblack: v=1; lines=1; at=1795501553120\nStatus: RO\n\
             Return-Path: <a@b.test>\nSubject: x\n\n>From here\n>>From there\n\n"
        );
    }
}
