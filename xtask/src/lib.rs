//! The house rules, checked by machine: which crate may use which, how long a file may be, which
//! words stay out, which documents must be there, which test shows what the index of RFCs claims.
//!
//! It reads files and changes none. Formatting, lints and dependencies are checked by `rustfmt`,
//! clippy and `cargo deny`. That `docs/settings.md` is fresh is a test of the `pennyblack` crate.

pub mod edges;
pub mod rfcs;
pub mod text;

use std::path::{Path, PathBuf};

/// One broken rule: where, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// The file, relative to the root of the repository.
    pub path: PathBuf,
    /// The line, counted from 1; 0 when the whole file is meant.
    pub line: usize,
    /// What is wrong.
    pub what: String,
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Finding { path, line, what } = self;
        match line {
            0 => write!(f, "{}: {what}", path.display()),
            line => write!(f, "{}:{line}: {what}", path.display()),
        }
    }
}

/// Checks the repository at `root` and gives all that is wrong with it.
///
/// # Errors
/// When a file or directory cannot be read.
pub fn tidy(root: &Path) -> std::io::Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for name in DOCUMENTS {
        if !root.join(name).is_file() {
            findings.push(Finding {
                path: name.into(),
                line: 0,
                what: "is missing".to_owned(),
            });
        }
    }
    for path in files(root, Path::new(""))? {
        let Ok(content) = std::fs::read_to_string(root.join(&path)) else {
            // Not text: letters and other data of tests.
            continue;
        };
        if path.file_name().is_some_and(|name| name == "Cargo.toml") {
            edges::check(&path, &content, &mut findings);
        }
        text::check(&path, &content, &mut findings);
    }
    let index = std::fs::read_to_string(root.join(rfcs::INDEX))?;
    rfcs::check(
        &index,
        |path| std::fs::read_to_string(root.join(path)).ok(),
        &mut findings,
    );
    findings.sort();
    Ok(findings)
}

/// The root of the repository that this program was built from.
#[must_use]
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap_or_else(|| Path::new("."))
}

/// Documents that a reader expects.
const DOCUMENTS: &[&str] = &[
    "README.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "CHANGELOG.md",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "docs/testing.md",
    "docs/benchmarks.md",
    "docs/settings.md",
    "docs/limits.md",
];

/// Directories that hold nothing of ours.
const FOREIGN: &[&str] = &[".git", "target", "node_modules", "demo-data"];

/// All files of the repository in a fixed order, as paths relative to its root.
fn files(root: &Path, below: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut entries = std::fs::read_dir(root.join(below))?.collect::<Result<Vec<_>, _>>()?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let path = below.join(entry.file_name());
        let kind = entry.file_type()?;
        if kind.is_dir() {
            let foreign = FOREIGN.iter().any(|name| entry.file_name() == *name);
            if !foreign {
                found.extend(files(root, &path)?);
            }
        } else if kind.is_file() {
            found.push(path);
        }
    }
    Ok(found)
}
