//! Reads the vectors: the part of YAML that they use, and no more.

use std::collections::BTreeMap;

/// A file has several groups of cases, each with its own keys.
pub(crate) struct Group {
    /// The cases, in order.
    pub(crate) cases: Vec<Case>,
    /// Names and texts of the DNS.
    pub(crate) records: BTreeMap<String, String>,
    /// The values beside the cases.
    pub(crate) values: BTreeMap<String, String>,
}

/// One case: its values by name.
pub(crate) struct Case {
    /// Its name.
    pub(crate) name: String,
    /// The values.
    pub(crate) values: BTreeMap<String, String>,
}

/// Reads a file.
pub(crate) fn read(text: &str) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    let mut section = String::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let indent = line.len() - line.trim_start().len();
        let Some((key, value)) = line.trim().split_once(':') else {
            assert!(
                line.trim().is_empty() || line.trim() == "---",
                "a line of YAML: {line}"
            );
            continue;
        };
        let mut block = Vec::new();
        let style = value.trim();
        if style.starts_with(['|', '>']) {
            while let Some(line) = lines.next_if(|line| is_inside(line, indent)) {
                block.push(line);
            }
        }
        let value = match style.get(..1) {
            Some("|") => literal(&block),
            Some(">") => folded(&block),
            _ => style.trim_matches('"').to_owned(),
        };
        if indent == 0 && key == "description" {
            groups.push(Group {
                cases: Vec::new(),
                records: BTreeMap::new(),
                values: BTreeMap::new(),
            });
            continue;
        }
        let group = groups
            .last_mut()
            .expect("a group begins with its description");
        match indent {
            0 => {
                section = key.to_owned();
                group.values.insert(key.to_owned(), value);
            }
            2 if section == "tests" => group.cases.push(Case {
                name: key.to_owned(),
                values: BTreeMap::new(),
            }),
            2 => {
                group.records.insert(key.to_owned(), value);
            }
            _ => {
                let case = group.cases.last_mut().expect("values belong to a case");
                case.values.insert(key.to_owned(), value);
            }
        }
    }
    groups
}

fn is_inside(line: &str, indent: usize) -> bool {
    line.trim().is_empty() || line.len() - line.trim_start().len() > indent
}

/// A block with its line ends; of the empty lines at its end none is left.
fn literal(block: &[&str]) -> String {
    let indent = block
        .iter()
        .find(|line| !line.trim().is_empty())
        .map_or(0, |line| line.len() - line.trim_start().len());
    let lines: Vec<&str> = block
        .iter()
        .map(|line| line.get(indent..).unwrap_or(""))
        .collect();
    let text = lines.join("\n");
    format!("{}\n", text.trim_end_matches('\n'))
}

fn folded(block: &[&str]) -> String {
    let lines: Vec<&str> = block.iter().map(|line| line.trim()).collect();
    lines.join(" ").trim_end().to_owned()
}
