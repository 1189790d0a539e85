//! The settings for people: as the text of `pennyblack settings` and as `docs/settings.md`.

use std::fmt::Write as _;

use super::table;
use super::value::describe;

/// `docs/settings.md`, whole.
#[must_use]
pub fn markdown() -> String {
    let mut text = String::from(
        "# Settings\n\n\
         Made from the tables in the code by `pennyblack settings --markdown`; a test fails when \
         this page is not the same. The file is `pennyblack.toml`, or the one named with \
         `--config`. Names with a dot live in a table: `limits.hops` is `hops` under `[limits]`. \
         A name that does not exist and a value out of its range are errors.\n\n\
         Sizes are whole bytes or a text with `KB`, `MB`, `GB` (powers of 1,024); spans of time \
         are whole seconds or a text with `ms`, `s`, `m`, `h`, `d`.\n\n\
         | setting | takes | default | meaning |\n|---|---|---|---|\n",
    );
    for row in table::rows() {
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "| `{}` | {} | `{}` | {} |",
            row.name,
            describe(row.kind),
            row.default,
            row.doc
        );
    }
    text
}

/// All settings with their docs, as a commented TOML text.
#[must_use]
pub fn plain() -> String {
    let mut text = String::new();
    for row in table::rows() {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{} = {}", row.name, row.default);
        let _ = writeln!(text, "    Takes {}.", describe(row.kind));
        for line in wrapped(row.doc, 76) {
            let _ = writeln!(text, "    {line}");
        }
        text.push('\n');
    }
    text
}

fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last_mut().filter(|line| {
            line.is_empty() || line.chars().count() + 1 + word.chars().count() <= width
        });
        match line {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) => {
                line.push(' ');
                line.push_str(word);
            }
            None => lines.push(word.to_owned()),
        }
    }
    lines
}
