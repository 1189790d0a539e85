//! Rules for the text of files: length, header, words.

use std::path::Path;

use crate::Finding;

/// A source file longer than this is several files.
const LINES_MAX: usize = 1_200;

/// A `mod.rs` is where people look first: more than this hides what else is there.
const MOD_LINES_MAX: usize = 800;

/// A rule about words: what is looked for, and what to write instead.
struct Banned {
    word: &'static str,
    why: &'static str,
}

// The words are split, so that this file does not contain what it bans.
const BANNED: &[Banned] = &[
    Banned {
        word: concat!("FIX", "ME"),
        why: "mend it, or file an issue",
    },
    Banned {
        word: concat!("XX", "X"),
        why: "say in a sentence what is meant",
    },
    Banned {
        word: concat!("/ho", "me/"),
        why: "a path of one machine",
    },
    Banned {
        word: concat!("/ro", "ot/"),
        why: "a path of one machine",
    },
    Banned {
        word: concat!("/tm", "p/"),
        why: "use a temporary directory",
    },
    Banned {
        word: concat!("#[al", "low("),
        why: "use #[expect(…, reason = \"…\")]",
    },
    Banned {
        word: concat!("lore", "m ipsum"),
        why: "write what belongs there",
    },
];

/// The places where code may stay unfinished must say why: `todo: reason`.
const UNFINISHED: &str = concat!("TO", "DO");

/// Checks one file.
pub fn check(path: &Path, content: &str, findings: &mut Vec<Finding>) {
    let extension = path
        .extension()
        .and_then(|extension| extension.to_str())
        .unwrap_or_default();
    let ours = matches!(extension, "rs" | "md" | "toml" | "sql" | "sh" | "yml")
        || path.starts_with("script")
        || path == Path::new("Makefile");
    if !ours || is_of_others(path) {
        return;
    }
    let mut wrong = |line, what: String| {
        findings.push(Finding {
            path: path.to_owned(),
            line,
            what,
        })
    };
    if extension == "rs" {
        check_source(path, content, &mut wrong);
    }
    for (index, line) in content.lines().enumerate() {
        let number = index + 1;
        for Banned { word, why } in BANNED {
            if line.contains(word) {
                wrong(number, format!("`{word}`: {why}"));
            }
        }
        if lacks_reason(line) {
            wrong(
                number,
                format!("`{UNFINISHED}` without a reason behind a colon"),
            );
        }
        if extension != "md" && line.ends_with([' ', '\t']) {
            wrong(number, "white space at the end of the line".to_owned());
        }
    }
    if !content.is_empty() && !content.ends_with('\n') {
        wrong(0, "does not end with a line end".to_owned());
    }
}

/// Test vectors that others wrote are kept byte for byte, with their licence beside them.
fn is_of_others(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    let folder = path
        .parent()
        .is_some_and(|folder| folder.ends_with("tests/vectors"));
    folder && extension == Some("yml")
}

fn check_source(path: &Path, content: &str, wrong: &mut dyn FnMut(usize, String)) {
    let lines = content.lines().count();
    if lines > LINES_MAX {
        wrong(
            0,
            format!("has {lines} lines; {LINES_MAX} is the most: split it"),
        );
    }
    // Integration tests and build scripts are crates too: they say what they are for as well.
    if !content.starts_with("//!") {
        wrong(
            1,
            "does not start with `//!`: what it does and what it does not".to_owned(),
        );
    }
    if path.components().any(|part| part.as_os_str() == "mod.rs") && lines > MOD_LINES_MAX {
        wrong(
            0,
            format!("a mod.rs of {lines} lines: move code into named files"),
        );
    }
}

fn lacks_reason(line: &str) -> bool {
    let Some((_, rest)) = line.split_once(UNFINISHED) else {
        return false;
    };
    rest.strip_prefix(':')
        .is_none_or(|reason| reason.trim().len() <= 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(path: &str, content: &str) -> Vec<(usize, String)> {
        let mut findings = Vec::new();
        check(Path::new(path), content, &mut findings);
        findings
            .into_iter()
            .map(|finding| (finding.line, finding.what))
            .collect()
    }

    #[test]
    fn a_clean_file_has_no_finding() {
        assert_eq!(findings("a.rs", "//! Does a thing.\n\nfn a() {}\n"), []);
    }

    #[test]
    fn a_file_at_the_limit_passes_and_one_above_fails() {
        let file = |lines| format!("//! Long.\n{}", "\n".repeat(lines - 1));
        assert_eq!(findings("a.rs", &file(LINES_MAX)), []);
        assert_eq!(findings("a.rs", &file(LINES_MAX + 1)).len(), 1);
    }

    #[test]
    fn a_source_without_header_is_found() {
        assert_eq!(findings("a.rs", "fn a() {}\n")[0].0, 1);
        assert_eq!(findings("a.md", "text\n"), []);
    }

    #[test]
    fn vectors_of_others_stay_as_they_are_and_nothing_else() {
        assert_eq!(findings("crates/a/tests/vectors/b.yml", "c: d \n"), []);
        assert_eq!(findings("crates/a/tests/b.yml", "c: d \n").len(), 1);
        assert_eq!(findings("crates/a/tests/vectors/b.rs", "c: d \n").len(), 2);
    }

    #[test]
    fn banned_words_are_found_with_their_line() {
        let content = format!("//! A.\n\n// {}\n", BANNED[0].word);
        assert_eq!(findings("a.rs", &content)[0].0, 3);
    }

    #[test]
    fn an_unfinished_place_needs_its_reason() {
        assert!(lacks_reason(&format!("// {UNFINISHED}")));
        assert!(lacks_reason(&format!("// {UNFINISHED}: x")));
        assert!(!lacks_reason(&format!(
            "// {UNFINISHED}: the RFC leaves this open"
        )));
    }
}
