//! RFC 5490 (mailbox), RFC 8579 (special-use), RFC 9042 (mailboxid).

use pennyblack_sieve::Question;

use crate::support::{Scene, check, errors};

fn world() -> Scene {
    let special_use = |mailbox: Option<&str>| Question::SpecialUseExists {
        mailbox: mailbox.map(str::to_owned),
        special_use: "\\Junk".into(),
    };
    Scene {
        yes: vec![
            Question::MailboxExists("Partners".into()),
            Question::MailboxExists("Other".into()),
            Question::MailboxIdExists("F1".into()),
            special_use(None),
            special_use(Some("Spam")),
        ],
        ..Scene::default()
    }
}

#[test]
fn section_3_1_mailboxexists() {
    assert!(world().is("mailbox", "mailboxexists \"Partners\""));
    assert!(world().is("mailbox", "mailboxexists [\"Partners\", \"Other\"]"));
    assert!(!world().is("mailbox", "mailboxexists [\"Partners\", \"None\"]"));
    let script = "require [\"fileinto\", \"mailbox\"]; if header :contains \"subject\" \"lunch\" { \
        if mailboxexists \"Partners\" { fileinto \"Partners\"; } else { fileinto \"INBOX\"; } }";
    world().check(script, "fileinto \"Partners\"");
    check(script, "fileinto \"INBOX\"");
}

#[test]
fn section_3_2_create() {
    check(
        "require [\"fileinto\", \"mailbox\"]; fileinto :create \"Partners\";",
        "fileinto \"Partners\" create",
    );
}

#[test]
fn rfc_8579_section_3_and_4() {
    assert!(world().is("special-use", "specialuse_exists \"\\\\Junk\""));
    assert!(world().is("special-use", "specialuse_exists \"Spam\" \"\\\\Junk\""));
    assert!(!world().is("special-use", "specialuse_exists \"Other\" \"\\\\Junk\""));
    assert!(!world().is(
        "special-use",
        "specialuse_exists [\"\\\\Junk\", \"\\\\Archive\"]"
    ));
    check(
        "require [\"fileinto\", \"special-use\", \"mailbox\"]; fileinto :specialuse \"\\\\Archive\" :create \"INBOX/Archive\";",
        "fileinto \"INBOX/Archive\" create use \\Archive",
    );
    assert_eq!(
        errors("require [\"fileinto\", \"special-use\"]; fileinto :specialuse \"Junk\" \"Spam\";"),
        "line 1, column 47: \"Junk\" is no special use, like \"\\\\Junk\""
    );
}

#[test]
fn rfc_9042_section_3_and_4() {
    assert!(world().is("mailboxid", "mailboxidexists \"F1\""));
    assert!(!world().is("mailboxid", "mailboxidexists [\"F1\", \"F2\"]"));
    check(
        "require [\"fileinto\", \"mailboxid\"]; fileinto :mailboxid \"F6352ae03-b7f5-463c-896f-d8b48ee3\" \"INBOX.x\";",
        "fileinto \"INBOX.x\" id F6352ae03-b7f5-463c-896f-d8b48ee3",
    );
}
