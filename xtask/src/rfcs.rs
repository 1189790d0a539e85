//! Checks `rfc/index.tsv`: what it says to be done has a test that names the section of the RFC, and
//! what must or should be there and is not says why.
//!
//! The areas in [`PROVEN`] are held to that. The others are being built; of them only the form is
//! checked.

use std::path::Path;

use crate::Finding;

/// The index, relative to the root of the repository.
pub const INDEX: &str = "rfc/index.tsv";

/// The names in its first line.
const COLUMNS: &str = "area\trfc\tname\tpriority\tstatus\twhere\ttest";

/// What a row may say of itself.
const STATUSES: &[&str] = &["done", "partial", "planned", "unplanned", "later", "no"];

/// Areas of which each row that is done must name a test, and each other row of priority A or B a
/// reason.
const PROVEN: &[&str] = &[
    "SMTP, submission, DSN",
    "Sender authentication, transport security, reporting",
];

/// Looks at the index, given as text, and at the tests that it names.
///
/// `read` gives the text of a file of the repository, if there is such a file.
pub fn check(content: &str, read: impl Fn(&Path) -> Option<String>, findings: &mut Vec<Finding>) {
    let mut lines = content.lines();
    if lines.next() != Some(COLUMNS) {
        findings.push(finding(
            1,
            "the first line is not the names of the columns".to_owned(),
        ));
    }
    for (number, line) in lines.enumerate() {
        if let Err(what) = row(line, &read) {
            findings.push(finding(number + 2, what));
        }
    }
}

fn row(line: &str, read: impl Fn(&Path) -> Option<String>) -> Result<(), String> {
    let columns: Vec<&str> = line.split('\t').collect();
    let [area, rfcs, name, priority, status, place, tests] = columns[..] else {
        return Err(format!("has {} columns, not 7", columns.len()));
    };
    if !STATUSES.contains(&status) {
        return Err(format!("`{status}` is none of {}", STATUSES.join(", ")));
    }
    let texts = named(tests, read)?;
    if !PROVEN.contains(&area) {
        return Ok(());
    }
    if status == "done" {
        proven(rfcs, name, &texts)
    } else if matches!(priority, "A" | "B") && place.is_empty() {
        Err(format!("{name} is `{status}` without a reason"))
    } else {
        Ok(())
    }
}

/// The texts of the tests that a row names: `path` of a file of tests or `path::name_of_the_test`.
fn named(tests: &str, read: impl Fn(&Path) -> Option<String>) -> Result<Vec<String>, String> {
    let mut texts = Vec::new();
    for test in tests.split(", ").filter(|test| !test.is_empty()) {
        let (path, name) = test
            .split_once("::")
            .map_or((test, None), |(path, name)| (path, Some(name)));
        let text = read(Path::new(path)).ok_or_else(|| format!("there is no file {path}"))?;
        texts.push(match name {
            Some(name) => {
                function(&text, name).ok_or_else(|| format!("there is no test {test}"))?
            }
            None if path.contains("/tests/") || path.ends_with("/tests.rs") => text,
            None => {
                return Err(format!(
                    "{path} is not only tests: name one as {path}::name"
                ));
            }
        });
    }
    Ok(texts)
}

/// A function with its comments and attributes, as `rustfmt` writes it.
fn function(text: &str, name: &str) -> Option<String> {
    let lines: Vec<&str> = text.lines().collect();
    let at = lines
        .iter()
        .position(|line| line.contains(&format!("fn {name}(")))?;
    let belongs =
        |line: &&str| line.trim_start().starts_with("//") || line.trim_start().starts_with("#[");
    let above = lines[..at]
        .iter()
        .rev()
        .take_while(|line| belongs(line))
        .count();
    let line = lines[at];
    let end = format!("{}}}", &line[..line.len() - line.trim_start().len()]);
    let below = lines[at..].iter().take_while(|line| **line != end).count();
    Some(lines[at - above..at + below].join("\n"))
}

/// One of the tests names a section of one of the RFCs. What no RFC describes only needs a test.
fn proven(rfcs: &str, name: &str, texts: &[String]) -> Result<(), String> {
    if texts.is_empty() {
        return Err(format!("{name} is done, but no test is named"));
    }
    let numbers = numbers(rfcs);
    let shown = numbers.iter().any(|number| {
        let section = format!("RFC {number} §");
        let appendix = format!("RFC {number} appendix");
        texts
            .iter()
            .any(|text| text.contains(&section) || text.contains(&appendix))
    });
    if numbers.is_empty() || shown {
        Ok(())
    } else {
        Err(format!("no test of {name} names a section of RFC {rfcs}"))
    }
}

/// The numbers in `5890-5893, 3492`. Ranges are short.
fn numbers(rfcs: &str) -> Vec<u32> {
    rfcs.split(|c: char| !c.is_ascii_digit() && c != '-')
        .filter_map(|span| {
            let (first, last) = span.split_once('-').unwrap_or((span, span));
            let (first, last) = (first.parse::<u32>().ok()?, last.parse::<u32>().ok()?);
            (first >= 100 && (first..first + 20).contains(&last)).then_some(first..=last)
        })
        .flatten()
        .collect()
}

fn finding(line: usize, what: String) -> Finding {
    Finding {
        path: INDEX.into(),
        line,
        what,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_row(row: &str, expected: Option<&str>) {
        let files = |path: &Path| {
            match path.to_str() {
            Some("a/tests/a.rs") => Some("/// RFC 5321 §4.1.\nfn a_test() {}".to_owned()),
            Some("b.rs") => Some(
                "/// RFC 1870 §1.\nmod tests {\n    /// RFC 5321 §4.1.\n    #[test]\n    fn one() {\n    }\n\
                 \n    #[test]\n    fn two() {\n        // RFC 2045 §2.\n    }\n}\n"
                    .to_owned(),
            ),
            _ => None,
        }
        };
        let mut findings = Vec::new();
        check(&format!("{COLUMNS}\n{row}\n"), files, &mut findings);
        let found: Vec<&str> = findings
            .iter()
            .map(|finding| finding.what.as_str())
            .collect();
        assert_eq!(found, expected.into_iter().collect::<Vec<_>>(), "{row}");
    }

    #[test]
    fn what_is_done_names_a_test_with_its_section() {
        let row = |rfc: &str, tests: &str| {
            format!("SMTP, submission, DSN\t{rfc}\tX\tA\tdone\there\t{tests}")
        };
        check_row(&row("5321", "a/tests/a.rs"), None);
        check_row(&row("5321", "b.rs::two, b.rs::one"), None);
        check_row(&row("1652, 2045-2049", "b.rs::two"), None);
        check_row(&row("", "b.rs::two"), None);
        check_row(&row("5321", ""), Some("X is done, but no test is named"));
        check_row(
            &row("5321", "b.rs::two"),
            Some("no test of X names a section of RFC 5321"),
        );
        check_row(
            &row("1870", "b.rs::one"),
            Some("no test of X names a section of RFC 1870"),
        );
        check_row(&row("5321", "c.rs"), Some("there is no file c.rs"));
        check_row(
            &row("5321", "b.rs"),
            Some("b.rs is not only tests: name one as b.rs::name"),
        );
        check_row(
            &row("5321", "b.rs::three"),
            Some("there is no test b.rs::three"),
        );
    }

    #[test]
    fn what_is_not_done_says_why() {
        let row = |area: &str, rest: &str| format!("{area}\t1\tX\t{rest}");
        let area = "SMTP, submission, DSN";
        check_row(&row(area, "A\tpartial\twhy\t"), None);
        check_row(&row(area, "C\tlater\t\t"), None);
        check_row(
            &row(area, "B\tplanned\t\t"),
            Some("X is `planned` without a reason"),
        );
        check_row(&row("IMAP", "A\tplanned\t\t"), None);
        check_row(
            &row("IMAP", "A\tperhaps\t\t"),
            Some("`perhaps` is none of done, partial, planned, unplanned, later, no"),
        );
        check_row("IMAP\t1", Some("has 2 columns, not 7"));
    }
}
