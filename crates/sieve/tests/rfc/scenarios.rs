//! What people do with Sieve: a script, a letter, and what comes out, each in a file of
//! `tests/scenarios`. The first lines say what it is about; `from:` and `to:` change the envelope.

use std::collections::BTreeMap;
use std::path::Path;

use crate::support::{Scene, address};

/// One file.
pub(crate) struct Scenario {
    pub(crate) name: String,
    pub(crate) script: String,
    pub(crate) scene: Scene,
    expected: String,
}

/// All files, by name.
pub(crate) fn all() -> Vec<Scenario> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let entries = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = entries
        .filter(|path| path.extension().is_some_and(|e| e == "txt"))
        .collect();
    files.sort();
    let read = |path: &Path| {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        parse(name, &std::fs::read_to_string(path).unwrap())
    };
    files.iter().map(|path| read(path)).collect()
}

fn parse(name: String, text: &str) -> Scenario {
    let mut sections: BTreeMap<&str, String> = BTreeMap::new();
    let mut current = "";
    for line in text.lines() {
        if let Some(title) = line.strip_prefix("--- ") {
            current = title;
        } else {
            let section = sections.entry(current).or_default();
            section.push_str(line);
            section.push('\n');
        }
    }
    let mut section = |title: &str| {
        let found = sections.remove(title);
        found.unwrap_or_else(|| panic!("{name} has no section {title}"))
    };
    let (head, script, letter, expected) = (
        section(""),
        section("script"),
        section("letter"),
        section("expected"),
    );
    assert!(sections.is_empty(), "{name}: {sections:?}");
    let mut scene = Scene::letter(&letter);
    scene.reverse_path = Some(address("alice@red.test"));
    scene.recipient = Some(address("bob@black.test"));
    for line in head.lines() {
        if let Some(from) = line.strip_prefix("from: ") {
            scene.reverse_path = (from != "<>").then(|| address(from));
        } else if let Some(to) = line.strip_prefix("to: ") {
            scene.recipient = Some(address(to));
        }
    }
    Scenario {
        name,
        script,
        scene,
        expected: expected.trim_end().to_owned(),
    }
}

#[test]
fn scenarios_come_out_as_they_say() {
    let all = all();
    assert!(all.len() >= 13);
    for scenario in all {
        let came = scenario.scene.run(&scenario.script);
        assert_eq!(came, scenario.expected, "{}", scenario.name);
    }
}
