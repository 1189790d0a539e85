//! RFC 5232: flags.

use crate::support::{Scene, is};

fn run(commands: &str) -> String {
    Scene::default().run(&format!(
        "require [\"imap4flags\", \"variables\", \"fileinto\", \"relational\"];\n{commands}"
    ))
}

#[test]
fn section_2_1_and_5_the_tagged_argument() {
    assert_eq!(
        run("keep :flags [\"\\\\Seen\", \"$MDNRequired\"];"),
        "keep (\\Seen $MDNRequired)"
    );
    assert_eq!(
        run("fileinto :flags \"\\\\Deleted \\\\deleted\" \"A\";"),
        "fileinto \"A\" (\\Deleted)"
    );
    assert_eq!(run("setflag \"\\\\Seen\"; keep :flags \"\";"), "keep");
    assert_eq!(
        run("keep :flags [\"a(b\", \"\\\\Recent\", \"ok\"];"),
        "keep (ok)",
        "what is no flag is passed over"
    );
}

#[test]
fn section_3_actions_on_the_internal_variable() {
    assert_eq!(
        run("setflag \"\\\\Deleted\"; fileinto \"A\"; fileinto \"B\";"),
        "fileinto \"A\" (\\Deleted); fileinto \"B\" (\\Deleted)"
    );
    assert_eq!(
        run("addflag [\"a\", \"b c\"]; addflag \"B d\"; removeflag \"A\"; keep;"),
        "keep (b c d)"
    );
    assert_eq!(run("addflag \"x\"; setflag \"y\";"), "implicit keep (y)");
    assert_eq!(run("setflag \"x\"; setflag \"\";"), "implicit keep");
    assert_eq!(
        run("addflag \"x\"; fileinto \"A\"; addflag \"y\"; keep;"),
        "fileinto \"A\" (x); keep (x y)"
    );
}

#[test]
fn section_3_actions_on_variables() {
    assert_eq!(
        run("setflag \"v\" [\"\\\\Deleted\", \"a\"]; fileinto :flags \"${v}\" \"A\";"),
        "fileinto \"A\" (\\Deleted a)"
    );
    assert_eq!(
        run("addflag \"v\" \"a\"; addflag \"v\" \"b A\"; fileinto \"${v}\";"),
        "fileinto \"a b\""
    );
    assert_eq!(
        run("setflag \"v\" \"a b c\"; removeflag \"v\" [\"A\", \"c\"]; fileinto \"${v}\";"),
        "fileinto \"b\""
    );
}

#[test]
fn section_4_hasflag() {
    let has = |commands: &str, test: &str| {
        run(&format!("{commands} if {test} {{ discard; }}")) == "discard"
    };
    assert!(has("addflag [\"A\", \"B\"];", "hasflag [\"b\", \"A\"]"));
    assert!(!has("addflag [\"A\", \"B\"];", "hasflag \"c\""));
    assert!(has(
        "setflag \"MyVar\" \"NonJunk Junk gnus-forward $Forwarded NotJunk JunkRecorded $Junk $NotJunk\";",
        "hasflag :contains \"MyVar\" \"Junk\""
    ));
    assert!(has(
        "setflag \"MyVar\" \"A B\";",
        "hasflag [\"x\", \"MyVar\"] \"b\""
    ));
    assert!(has(
        "setflag \"MyVar\" \"A B\";",
        "hasflag :count \"ge\" \"MyVar\" \"2\""
    ));
    assert!(!is("imap4flags", "hasflag \"a\""));
}
