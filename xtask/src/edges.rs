//! Which crate may use which. The table is that of ARCHITECTURE.md; an edge that is not in it is
//! an error, in dev-dependencies too.

use std::path::Path;

use crate::Finding;

/// Each of our packages with the workspace names it may depend on. The runtime crates stand above
/// the line; below it are programs of development, which nothing may depend on.
const ALLOWED: &[(&str, &[&str])] = &[
    (
        "pennyblack",
        &[
            "transport",
            "access",
            "store",
            "filter",
            "proto",
            "message",
            "base",
        ],
    ),
    (
        "pennyblack-transport",
        &["store", "filter", "mailauth", "proto", "message", "base"],
    ),
    (
        "pennyblack-access",
        &["store", "filter", "sieve", "proto", "message", "base"],
    ),
    (
        "pennyblack-filter",
        &["mailauth", "sieve", "message", "base"],
    ),
    ("pennyblack-store", &["message", "base"]),
    ("pennyblack-mailauth", &["message", "base"]),
    ("pennyblack-sieve", &["message", "base"]),
    ("pennyblack-proto", &["base"]),
    ("pennyblack-message", &["base"]),
    ("pennyblack-base", &[]),
    // --- development only ---
    (
        "sim",
        &[
            "pennyblack",
            "transport",
            "access",
            "store",
            "filter",
            "proto",
            "message",
            "base",
            "sim-vfs",
        ],
    ),
    ("pennyblack-sim-vfs", &[]),
    ("pennyblack-interop", &[]),
    ("pennyblack-bench", &["interop"]),
    ("xtask", &[]),
];

/// What tests may use besides: `interop` starts the real servers that a store needs.
const ALLOWED_IN_TESTS: &[(&str, &str)] = &[("pennyblack-store", "interop")];

/// The workspace names of our crates, as they stand in dependency tables.
const OURS: &[&str] = &[
    "base",
    "message",
    "proto",
    "sieve",
    "mailauth",
    "filter",
    "store",
    "transport",
    "access",
    "pennyblack",
    "sim",
    "sim-vfs",
    "interop",
    "bench",
    "xtask",
];

/// Crates that know neither async nor sockets, files or clocks, and dependencies that would bring
/// them in.
const PURE: &[&str] = &[
    "pennyblack-base",
    "pennyblack-message",
    "pennyblack-proto",
    "pennyblack-sieve",
    "pennyblack-mailauth",
];
const IMPURE: &[&str] = &[
    "tokio",
    "axum",
    "hickory-resolver",
    "rusqlite",
    "nix",
    "tokio-util",
];

/// Only the store knows SQL.
const SQL: &[&str] = &["rusqlite", "tokio-postgres", "libsqlite3-sys"];

const STORE: &str = "pennyblack-store";

/// Who uses these crates without knowing SQL: the disk of the simulation stands below SQLite, and
/// its tests put SQLite on it.
const BELOW_SQL: &str = "pennyblack-sim-vfs";

/// Checks one manifest.
pub fn check(path: &Path, content: &str, findings: &mut Vec<Finding>) {
    let mut wrong = |what| {
        findings.push(Finding {
            path: path.to_owned(),
            line: 0,
            what,
        })
    };
    let manifest: toml::Table = match content.parse() {
        Ok(manifest) => manifest,
        Err(error) => return wrong(format!("is not TOML: {error}")),
    };
    let Some(name) = manifest
        .get("package")
        .and_then(|table| table.get("name")?.as_str())
    else {
        // The manifest of the workspace.
        return;
    };
    let Some((_, allowed)) = ALLOWED.iter().find(|(package, _)| *package == name) else {
        return wrong(format!(
            "package {name} is not in the table of edges (xtask/src/edges.rs)"
        ));
    };
    for table in ["dependencies", "dev-dependencies", "build-dependencies"] {
        let names = manifest.get(table).and_then(toml::Value::as_table);
        for (dependency, value) in names.into_iter().flatten() {
            let for_tests = table == "dev-dependencies"
                && ALLOWED_IN_TESTS.contains(&(name, dependency.as_str()));
            if OURS.contains(&dependency.as_str())
                && !allowed.contains(&dependency.as_str())
                && !for_tests
            {
                wrong(format!("{name} may not use {dependency} ([{table}])"));
            }
            if PURE.contains(&name) && IMPURE.contains(&dependency.as_str()) && !traits_only(value)
            {
                wrong(format!(
                    "{name} is pure and may not use {dependency} ([{table}])"
                ));
            }
            if ![STORE, BELOW_SQL].contains(&name) && SQL.contains(&dependency.as_str()) {
                wrong(format!(
                    "only store knows SQL: {name} may not use {dependency}"
                ));
            }
        }
    }
}

/// tokio without any feature is only the traits AsyncRead and AsyncWrite.
fn traits_only(value: &toml::Value) -> bool {
    let off = value.get("default-features").and_then(toml::Value::as_bool) == Some(false);
    off && value.get("features").is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(content: &str) -> Vec<String> {
        let mut findings = Vec::new();
        check(Path::new("Cargo.toml"), content, &mut findings);
        findings.into_iter().map(|finding| finding.what).collect()
    }

    #[test]
    fn an_edge_outside_the_table_is_found() {
        let content =
            "[package]\nname = 'pennyblack-store'\n[dependencies]\nmessage = '1'\nproto = '1'";
        assert_eq!(
            findings(content),
            ["pennyblack-store may not use proto ([dependencies])"]
        );
    }

    #[test]
    fn the_store_uses_interop_in_tests_only() {
        let content = "[package]\nname = 'pennyblack-store'\n[dev-dependencies]\ninterop = '1'";
        assert_eq!(findings(content), [""; 0]);
        let content = "[package]\nname = 'pennyblack-store'\n[dependencies]\ninterop = '1'";
        assert_eq!(
            findings(content),
            ["pennyblack-store may not use interop ([dependencies])"]
        );
    }

    #[test]
    fn async_in_a_pure_crate_is_found() {
        let content = "[package]\nname = 'pennyblack-proto'\n[dev-dependencies]\ntokio = '1'";
        let wrong = "pennyblack-proto is pure and may not use tokio ([dev-dependencies])";
        assert_eq!(findings(content), [wrong]);
        let content = "[package]\nname = 'pennyblack-base'\n[dependencies]\n\
                       tokio = { version = '1', default-features = false }";
        assert_eq!(findings(content), [""; 0]);
    }

    #[test]
    fn sql_outside_the_store_is_found() {
        let content = "[package]\nname = 'pennyblack-access'\n[dependencies]\nrusqlite = '1'";
        assert_eq!(
            findings(content),
            ["only store knows SQL: pennyblack-access may not use rusqlite"]
        );
    }

    #[test]
    fn an_unknown_package_is_found() {
        assert_eq!(findings("[package]\nname = 'new'").len(), 1);
    }
}
