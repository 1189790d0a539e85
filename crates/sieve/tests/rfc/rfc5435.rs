//! RFC 5435 and RFC 5436: notifications by mail.

use base::Timestamp;
use pennyblack_sieve::{Importance, Notification, What};

use crate::support::{Scene, check, errors, is};

fn notification(scene: &Scene, arguments: &str) -> Notification {
    let mut outcome = scene
        .outcome(&format!(
            "require [\"enotify\", \"fcc\"]; notify {arguments};"
        ))
        .0;
    match outcome.actions.remove(0).what {
        What::Notify(notification) => *notification,
        other => panic!("{other:?} {:?}", outcome.error),
    }
}

#[test]
fn section_3_notify() {
    check(
        "require \"enotify\"; notify \"mailto:alm@example.com\";",
        "notify alm@example.com \"The lunch on Friday\"; implicit keep",
    );
    let from = |arguments: &str| {
        notification(
            &Scene::default(),
            &format!("{arguments} \"mailto:a@b.test\""),
        )
    };
    assert_eq!(from(":message \"New mail\"").subject, "New mail");
    assert_eq!(from(":importance \"1\"").importance, Importance::High);
    assert_eq!(from("").importance, Importance::Normal);
    assert_eq!(from(":options [\"a=b\", \"c\"]").options, ["a=b", "c"]);
    assert_eq!(
        from(":from \"robert@black.test\"").from.to_string(),
        "robert@black.test"
    );
    assert_eq!(
        from(":from \"boss@red.test\"").from.to_string(),
        "bob+orders@black.test"
    );
    assert_eq!(
        errors("require \"enotify\"; notify \"xmpp:a@b.test\";"),
        "line 1, column 27: notifications by \"xmpp\" are not supported"
    );
    assert_eq!(
        errors("require \"enotify\"; notify :importance \"4\" \"mailto:a@b.test\";"),
        "line 1, column 39: `:importance` is \"1\", \"2\" or \"3\""
    );
}

#[test]
fn section_3_3_and_8_no_loops() {
    let scene = Scene::letter(
        "To: bob@black.test\nAuto-Submitted: auto-notified; owner-email=\"x@y.test\"\n\nx",
    );
    scene.check(
        "require \"enotify\"; notify \"mailto:a@b.test\";",
        "implicit keep; note: no notification: the letter is one itself",
    );
}

#[test]
fn section_4_and_5_tests() {
    assert!(is("enotify", "valid_notify_method [\"mailto:a@b.test\"]"));
    assert!(!is(
        "enotify",
        "valid_notify_method [\"mailto:a@b.test\", \"http://gw.example.net/notify?test\"]"
    ));
    assert!(is(
        "enotify",
        "notify_method_capability \"mailto:a@b.test\" \"Online\" \"maybe\""
    ));
    assert!(!is(
        "enotify",
        "notify_method_capability \"mailto:a@b.test\" \"Online\" \"yes\""
    ));
    assert!(!is(
        "enotify",
        "notify_method_capability \"mailto:a@b.test\" \"x\" \"maybe\""
    ));
}

#[test]
fn section_6_encodeurl() {
    let script = "require [\"enotify\", \"variables\"]; set :encodeurl \"b\" \"Safe body&evil=evilbody\"; notify \"mailto:x@y.test?body=${b}\";";
    let outcome = Scene::default().outcome(script).0;
    let What::Notify(notification) = &outcome.actions[0].what else {
        panic!("{outcome:?}");
    };
    assert_eq!(notification.text, "Safe body&evil=evilbody");
    assert!(notification.fields.is_empty());
}

#[test]
fn rfc_5436_section_2_the_letter() {
    let notification = notification(
        &Scene::default(),
        ":importance \"3\" :message \"Héllo\" \"mailto:a@b.test?cc=c@b.test&bcc=d@b.test&x-tag=1&subject=Sub\"",
    );
    let bytes = notification.to_bytes(
        Timestamp::parse("2026-11-24T23:30:05Z").unwrap(),
        "n@black.test",
    );
    let expected = "Date: Tue, 24 Nov 2026 23:30:05 +0000\nFrom: bob+orders@black.test\nTo: a@b.test\nCc: c@b.test\n\
        Subject: Sub\nMessage-ID: <n@black.test>\nAuto-Submitted: auto-notified; owner-email=\"bob@black.test\"\n\
        Importance: low\nx-tag: 1\nMIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\n\
        Content-Transfer-Encoding: quoted-printable\n\nH=C3=A9llo\n";
    assert_eq!(
        String::from_utf8(bytes).unwrap().replace("\r\n", "\n"),
        expected
    );
}

#[test]
fn rfc_8580_section_3_copies() {
    check(
        "require [\"enotify\", \"fcc\"]; notify :fcc \"INBOX.Sent\" :message \"You got mail!\" \"mailto:ken@example.com\";",
        "notify ken@example.com \"You got mail!\" fcc \"INBOX.Sent\"; implicit keep",
    );
}
