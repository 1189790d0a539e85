//! The house rules hold in this repository.

#[test]
fn the_house_rules_hold() {
    let findings = xtask::tidy(xtask::root()).expect("the repository can be read");
    let lines: Vec<String> = findings.iter().map(ToString::to_string).collect();
    assert!(
        findings.is_empty(),
        "broken house rules:\n{}",
        lines.join("\n")
    );
}
