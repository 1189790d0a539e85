//! RFC 5230 and RFC 6131: automatic answers, with the rules of RFC 3834, and `:fcc` of RFC 8580.

use base::Timestamp;
use message::Message;
use pennyblack_sieve::{Question, VacationAnswer, What};

use crate::support::{Scene, address, check, errors};

const SCRIPT: &str = "require \"vacation\"; vacation \"I'm out -- send mail to cyrus-bugs\";";
const ANSWER: &str = "answer alice+home@red.test \"Auto: The lunch on Friday\" \"I'm out -- send mail to cyrus-bugs\"";

fn answer(scene: &Scene, script: &str) -> VacationAnswer {
    let mut outcome = scene.outcome(script).0;
    match outcome.actions.remove(0).what {
        What::Vacation(answer) => *answer,
        other => panic!("{other:?} {:?}", outcome.error),
    }
}

fn days(script: &str) -> u64 {
    answer(&Scene::default(), script).seconds / 86_400
}

#[test]
fn section_4_an_answer_keeps_the_letter() {
    check(SCRIPT, &format!("{ANSWER}; implicit keep"));
    check(&format!("{SCRIPT} discard;"), &format!("{ANSWER}; discard"));
    let script = "require [\"vacation\", \"fileinto\"]; if header :contains \"subject\" \"lunch\" { \
        vacation \"I will be out\"; fileinto \"Lunch\"; }";
    check(
        script,
        "answer alice+home@red.test \"Auto: The lunch on Friday\" \"I will be out\"; fileinto \"Lunch\"",
    );
}

#[test]
fn section_4_1_days() {
    assert_eq!(days(SCRIPT), 7);
    assert_eq!(days("require \"vacation\"; vacation :days 23 \"x\";"), 23);
    assert_eq!(
        days("require \"vacation\"; vacation :days 31 \"x\";"),
        30,
        "the longest that the user may have"
    );
    assert_eq!(
        days("require \"vacation\"; vacation :days 999999999999 \"x\";"),
        30
    );
    assert_eq!(
        answer(
            &Scene::default(),
            "require \"vacation\"; vacation :days 0 \"x\";"
        )
        .seconds,
        60
    );
}

#[test]
fn rfc_6131_section_2_seconds() {
    let seconds = |number: u64| {
        let script = format!(
            "require [\"vacation\", \"vacation-seconds\"]; vacation :seconds {number} \"x\";"
        );
        answer(&Scene::default(), &script).seconds
    };
    assert_eq!(seconds(1_800), 1_800);
    assert_eq!(seconds(0), 60);
    assert_eq!(
        errors("require [\"vacation\", \"vacation-seconds\"]; vacation :days 1 :seconds 1 \"x\";"),
        "line 1, column 60: `:days` and `:seconds` cannot stand together"
    );
}

#[test]
fn section_4_2_previous_answers() {
    let (_, asked) = Scene::default().outcome(SCRIPT);
    let Question::Answered {
        sender,
        seconds,
        key,
    } = &asked[0]
    else {
        panic!("{asked:?}");
    };
    assert_eq!(
        (sender.as_str(), *seconds),
        ("alice+home@red.test", 7 * 86_400)
    );
    assert_eq!(key, &answer(&Scene::default(), SCRIPT).key);
    let scene = Scene {
        yes: asked.clone(),
        ..Scene::default()
    };
    scene.check(
        SCRIPT,
        "implicit keep; note: no automatic answer: the sender has had it already",
    );

    // What makes answers different, and what a handle joins.
    let key = |arguments: &str| {
        answer(
            &Scene::default(),
            &format!("require \"vacation\"; vacation {arguments};"),
        )
        .key
    };
    let keys = [
        "\"x\"",
        "\"y\"",
        ":subject \"s\" \"x\"",
        ":from \"bob@black.test\" \"x\"",
        ":mime \"x\"",
        ":handle \"x\" \"x\"",
        ":subject \"x\" \"\"",
    ];
    for (at, one) in keys.iter().enumerate() {
        for other in &keys[at + 1..] {
            assert_ne!(key(one), key(other), "{one} {other}");
        }
    }
    assert_eq!(
        key(":handle \"h\" \"x\""),
        key(":handle \"h\" :subject \"s\" \"y\"")
    );
    assert_eq!(key(":days 3 \"x\""), key(":days 4 \"x\""));
}

#[test]
fn section_4_3_and_4_4_subject_and_from() {
    let fields = |arguments: &str| {
        let answer = answer(
            &Scene::default(),
            &format!("require \"vacation\"; vacation {arguments} \"x\";"),
        );
        (answer.subject, answer.from.name, answer.from.local)
    };
    let some = |name: &str| Some(name.to_owned());
    assert_eq!(
        fields(""),
        (
            "Auto: The lunch on Friday".into(),
            some("Bob"),
            "bob+orders".into()
        )
    );
    assert_eq!(
        fields(":subject \"Gone\n\nX: y\"").0,
        "Gone X: y",
        "one line"
    );
    assert_eq!(
        fields(":from \"Robert <robert@black.test>\"").1,
        some("Robert")
    );
    assert_eq!(
        fields(":from \"Boss <boss@red.test>\"").2,
        "bob+orders",
        "an address of somebody else"
    );
    assert_eq!(
        errors("require \"vacation\"; vacation :from \"nobody\" \"x\";"),
        "line 1, column 30: one address must follow `:from`"
    );
    let scene = Scene::letter("To: bob@black.test\n\nx");
    assert_eq!(answer(&scene, SCRIPT).subject, "Automatic reply");
}

#[test]
fn section_4_5_only_letters_to_the_user() {
    let not = "implicit keep; note: no automatic answer: the letter is not addressed to the user";
    let script = "require \"vacation\"; vacation :addresses [\"tjs@example.edu\", \"ts4z@landru.example\"] \"x\";";
    let to = |field: &str| Scene::letter(&format!("{field}\nSubject: s\n\nx"));
    for field in [
        "To: Robert@Black.test",
        "Cc: x@y.test, Bob <bob@black.test>",
        "Bcc: bob+orders@black.test",
        "Resent-To: bob@black.test",
        "To: TS4Z@landru.example",
    ] {
        assert_eq!(
            to(field).run(script),
            "answer alice+home@red.test \"Auto: s\" \"x\"; implicit keep",
            "{field}"
        );
    }
    to("To: ts4z@landru.example").check(SCRIPT, not);
    to("X-To: bob@black.test").check(script, not);
    to("To: undisclosed-recipients:;").check(script, not);
}

#[test]
fn section_4_6_and_rfc_3834_section_2_who_gets_none() {
    let letter = |field: &str| Scene::letter(&format!("To: bob@black.test\n{field}\n\nx"));
    let none = |field: &str, why: &str| {
        letter(field).check(
            SCRIPT,
            &format!("implicit keep; note: no automatic answer: {why}"),
        );
    };
    none(
        "Auto-Submitted: auto-replied",
        "the letter was sent by a program",
    );
    none(
        "Auto-Submitted: auto-generated; x=y",
        "the letter was sent by a program",
    );
    none("List-Id: <a.b.test>", "the letter came over a mailing list");
    none(
        "List-Unsubscribe: <mailto:x@y.test>",
        "the letter came over a mailing list",
    );
    none("Precedence: Bulk", "the letter is bulk mail");
    none(
        "X-Auto-Response-Suppress: DR, OOF",
        "the sender asks for none",
    );
    for fine in [
        "Auto-Submitted: no",
        "Auto-Submitted: No (really)",
        "Precedence: first-class",
        "X-Auto-Response-Suppress: RN",
    ] {
        assert!(letter(fine).run(SCRIPT).starts_with("answer"), "{fine}");
    }
    let from = |sender: &str, why: &str| {
        let scene = Scene {
            reverse_path: Some(address(sender)),
            ..Scene::default()
        };
        scene.check(
            SCRIPT,
            &format!("implicit keep; note: no automatic answer: {why}"),
        );
    };
    for sender in [
        "MAILER-DAEMON@red.test",
        "owner-list@red.test",
        "list-request@red.test",
        "listserv@red.test",
        "no-reply@red.test",
        "list-bounces+bob=black@red.test",
    ] {
        from(sender, "the sender is a mail system or a list");
    }
    from("Bob@black.test", "the letter is from the user");
    let scene = Scene {
        reverse_path: None,
        ..Scene::default()
    };
    scene.check(
        SCRIPT,
        "implicit keep; note: no automatic answer: the letter has no sender to answer",
    );
}

#[test]
fn section_4_7_what_excludes_an_answer() {
    let twice = format!("{SCRIPT}\nvacation \"again\";");
    check(
        &twice,
        "implicit keep; error: line 2: the letter is answered twice",
    );
    let script = "require [\"vacation\", \"reject\"]; vacation \"x\"; reject \"y\";";
    check(
        script,
        "implicit keep; error: line 1: a letter cannot be rejected and also kept, sent on or answered",
    );
}

#[test]
fn section_5_the_letter_that_is_sent() {
    let scene = Scene::letter(
        "To: bob@black.test\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\nMessage-ID: <2@red.test>\n\
         References: <0@red.test> <1@red.test>\n\nx",
    );
    let answer = answer(
        &scene,
        "require \"vacation\"; vacation text:\nBin weg.\nGrüße\n.\n;",
    );
    let now = Timestamp::parse("2026-11-24T23:30:05Z").unwrap();
    let bytes = answer.to_bytes(now, "a@black.test");
    let expected = "Date: Tue, 24 Nov 2026 23:30:05 +0000\n\
        From: Bob <bob+orders@black.test>\n\
        To: alice+home@red.test\n\
        Subject: =?utf-8?b?QXV0bzogR3LDvMOfZQ==?=\n\
        Message-ID: <a@black.test>\n\
        In-Reply-To: <2@red.test>\n\
        References: <0@red.test> <1@red.test> <2@red.test>\n\
        Auto-Submitted: auto-replied (vacation)\n\
        Precedence: bulk\n\
        X-Auto-Response-Suppress: All\n\
        MIME-Version: 1.0\n\
        Content-Type: text/plain; charset=utf-8\n\
        Content-Transfer-Encoding: quoted-printable\n\
        \n\
        Bin weg.\n\
        Gr=C3=BC=C3=9Fe\n";
    assert_eq!(
        String::from_utf8(bytes.clone())
            .unwrap()
            .replace("\r\n", "\n"),
        expected
    );
    let letter = Message::parse(&bytes);
    assert_eq!(letter.text(letter.root()), "Bin weg.\r\nGrüße\r\n");
    // RFC 3834: an answer to the answer is not made.
    let back = Scene {
        letter: bytes.clone(),
        reverse_path: Some(address("bob@black.test")),
        recipient: Some(address("alice+home@red.test")),
        user: pennyblack_sieve::User::new(address("alice+home@red.test")),
        ..Scene::default()
    };
    back.check(
        SCRIPT,
        "implicit keep; note: no automatic answer: the letter was sent by a program",
    );
}

#[test]
fn section_4_1_mime_reasons() {
    let script = "require \"vacation\"; vacation :mime text:\nContent-Type: multipart/alternative; boundary=foo\n\n--foo\n\nI'm gone.\n--foo\nContent-Type: text/html\n\n<p>gone</p>\n--foo--\n.\n;";
    let bytes = answer(&Scene::default(), script).to_bytes(Timestamp(0), "a@b");
    let letter = Message::parse(&bytes);
    assert_eq!(letter.leaves().len(), 2);
    let script = "require \"vacation\"; vacation :mime \"no header\";";
    let bytes = answer(&Scene::default(), script).to_bytes(Timestamp(0), "a@b");
    assert!(
        String::from_utf8(bytes)
            .unwrap()
            .ends_with("MIME-Version: 1.0\r\n\r\nno header\r\n")
    );
}

#[test]
fn rfc_8580_section_3_copies() {
    let script = "require [\"vacation\", \"fcc\", \"mailbox\", \"imap4flags\"]; vacation :days 7 :fcc \"Sent\" :create :flags [\"\\\\Seen\"] \"Gone\";";
    check(
        script,
        "answer alice+home@red.test \"Auto: The lunch on Friday\" \"Gone\" fcc \"Sent\" (\\Seen) create; implicit keep",
    );
    assert_eq!(
        errors("require [\"vacation\", \"fcc\", \"mailbox\"]; vacation :create \"x\";"),
        "line 1, column 50: `:create` needs `:fcc`"
    );
}
