//! RFC 5429: refusing letters.

use crate::support::{check, errors};

#[test]
fn section_2_1_ereject() {
    check(
        "require \"ereject\"; ereject \"I no longer accept mail from this address\";",
        "ereject \"I no longer accept mail from this address\"",
    );
}

#[test]
fn section_2_2_reject() {
    let script = "require \"reject\"; if header :contains \"from\" \"alice\" { reject text:\nI am not taking mail\nfrom you.\n.\n; }";
    check(
        script,
        "reject \"I am not taking mail\\r\\nfrom you.\\r\\n\"",
    );
    assert_eq!(
        errors("require \"ereject\"; reject \"x\";"),
        "line 1, column 20: `reject` needs `require \"reject\";` at the start of the script"
    );
}

#[test]
fn section_2_4_what_does_not_go_together() {
    let both = "implicit keep; error: line 2: a letter cannot be rejected and also kept, sent on or answered";
    for other in ["keep;", "fileinto \"A\";", "redirect \"a@b.test\";"] {
        check(
            &format!("require [\"reject\", \"fileinto\"]; {other}\nreject \"x\";"),
            both,
        );
        check(
            &format!("require [\"reject\", \"fileinto\"]; reject \"x\";\n{other}"),
            both,
        );
    }
    check(
        "require \"reject\"; reject \"x\"; reject \"y\";",
        "implicit keep; error: line 1: the letter is rejected twice",
    );
    check("require \"reject\"; discard; reject \"x\";", "reject \"x\"");
    check(
        "require \"reject\"; reject \"x\"; stop; keep;",
        "reject \"x\"",
    );
}
