//! Reports as they are written.

use base::{EmailAddress, LetterId, RecipientId};
use expect_test::{Expect, expect};
use store::ClaimRef;

use super::*;

const NOW: Timestamp = Timestamp(1_795_501_553_120);
const LETTER: &[u8] = b"From: Alice <alice@red.test>\r\n\
    To: bob@black.test\r\n\
    Subject: The plan\r\n\
    Message-ID: <42@red.test>\r\n\
    \r\n\
    Bring the map.\r\n";

fn address(text: &str) -> EmailAddress {
    EmailAddress::parse(text).unwrap()
}

fn recipient(id: i64, text: &str) -> ClaimedRecipient {
    ClaimedRecipient {
        id: RecipientId(id),
        address: address(text),
        original: None,
        notify: Notify::DEFAULT,
        attempts: 0,
        delay_reported: false,
    }
}

fn claim(recipients: Vec<ClaimedRecipient>) -> Claim {
    let head = Bytes::from_static(b"Received: from laptop by mx.red.test\r\n");
    Claim {
        lane: store::Lane::default(),
        reference: ClaimRef {
            letter: LetterId(7),
            fence: 1,
        },
        domain: Domain::parse("black.test").unwrap(),
        account: None,
        reverse_path: Some(address("alice@red.test")),
        envelope_id: None,
        dsn_return: DsnReturn::Unasked,
        needs_utf8: false,
        handling: Handling::default(),
        size: (head.len() + LETTER.len()) as u64,
        head,
        received_at: NOW - std::time::Duration::from_secs(60),
        expires_at: NOW + std::time::Duration::from_secs(5 * 86_400),
        recipients,
    }
}

fn item(recipient: usize, action: Action, status: &str) -> Item {
    Item {
        recipient,
        action,
        status: status.to_owned(),
        why: Why::Status,
        diagnostic: None,
        remote_host: None,
    }
}

fn write(claim: &Claim, items: &[Item], bytes_max: u64) -> String {
    let (hostname, from_domain) = (
        Domain::parse("mx.red.test").unwrap(),
        Domain::parse("red.test").unwrap(),
    );
    let reporter = Reporter {
        hostname: &hostname,
        from_domain: &from_domain,
        bytes_max,
        now: NOW,
        expires_at: NOW,
        random: 9,
    };
    let about = About::claim(claim).unwrap();
    let returned = returned_bytes(&about, items, LETTER, bytes_max);
    let report = write_report(&reporter, &about, items, &returned);
    String::from_utf8(report).unwrap()
}

fn check(claim: &Claim, items: &[Item], expected: &Expect) {
    let report = write(claim, items, 1_000_000);
    assert!(
        !report.replace("\r\n", "").contains(['\r', '\n']),
        "CRLF only"
    );
    expected.assert_eq(&report.replace("\r\n", "\n"));
}

/// One was refused by its server, the other by its domain.
fn two_failures() -> (Claim, [Item; 2]) {
    let both = ["bob@black.test", "carol@black.test"].map(|text| recipient(1, text));
    let mut claim = claim(both.into());
    claim.envelope_id = Some("QQ314159".to_owned());
    claim.recipients[1].original = Some("rfc822;c+2Bx@old.test".to_owned());
    let no_mail = "556 5.1.10 the domain black.test takes no mail (null MX)";
    let items = [
        Item {
            diagnostic: Some("550 5.1.1 No such user here".to_owned()),
            remote_host: Some("mx.black.test".to_owned()),
            ..item(0, Action::Failed, "5.1.1")
        },
        Item {
            diagnostic: Some(no_mail.to_owned()),
            ..item(1, Action::Failed, "5.1.10")
        },
    ];
    (claim, items)
}

#[test]
fn a_failure_of_two_recipients() {
    let (claim, items) = two_failures();
    check(
        &claim,
        &items,
        &expect![[r#"
            Date: Tue, 24 Nov 2026 06:25:53 +0000
            From: Mail Delivery System <mailer-daemon@red.test>
            To: alice@red.test
            Subject: Your letter could not be delivered
            Message-ID: <1a20c3b75e0.0000000000000009@mx.red.test>
            In-Reply-To: <42@red.test>
            References: <42@red.test>
            Auto-Submitted: auto-replied
            MIME-Version: 1.0
            Content-Type: multipart/report; report-type=delivery-status;
             boundary="=_0000000000000009"

            --=_0000000000000009
            Content-Type: text/plain; charset=utf-8
            Content-Transfer-Encoding: 7bit

            This is the mail server mx.red.test.

            Your letter "The plan" did not reach everybody named below, and the server will
            not try again. The letter, or its header, is attached.

            It could not be delivered to <bob@black.test>.
            There is no mailbox with this address.
            What you can do: Look at the address letter by letter. If it is right, ask the
            recipient for the new one.
            The server mx.black.test said: 550 5.1.1 No such user here

            It could not be delivered to <carol@black.test>, to which <c+x@old.test> leads.
            The domain behind the @ takes no mail at all.
            What you can do: Ask the recipient in another way, by telephone for example,
            for an address that works.
            The reason: 556 5.1.10 the domain black.test takes no mail (null MX)

            --=_0000000000000009
            Content-Type: message/delivery-status

            Original-Envelope-Id: QQ314159
            Reporting-MTA: dns; mx.red.test
            Arrival-Date: Tue, 24 Nov 2026 06:24:53 +0000

            Final-Recipient: rfc822; bob@black.test
            Action: failed
            Status: 5.1.1
            Remote-MTA: dns; mx.black.test
            Diagnostic-Code: smtp; 550 5.1.1 No such user here
            Last-Attempt-Date: Tue, 24 Nov 2026 06:25:53 +0000

            Original-Recipient: rfc822;c+x@old.test
            Final-Recipient: rfc822; carol@black.test
            Action: failed
            Status: 5.1.10
            Diagnostic-Code: smtp; 556 5.1.10 the domain black.test takes no mail (null
             MX)
            Last-Attempt-Date: Tue, 24 Nov 2026 06:25:53 +0000

            --=_0000000000000009
            Content-Type: text/rfc822-headers
            Content-Transfer-Encoding: 7bit

            Received: from laptop by mx.red.test
            From: Alice <alice@red.test>
            To: bob@black.test
            Subject: The plan
            Message-ID: <42@red.test>

            --=_0000000000000009--
        "#]],
    );
}

#[test]
fn a_delay() {
    let claim = claim(vec![recipient(1, "bob@black.test")]);
    let items = [Item {
        diagnostic: Some("451 4.4.1 connecting: connection refused".to_owned()),
        ..item(0, Action::Delayed, "4.4.1")
    }];
    check(
        &claim,
        &items,
        &expect![[r#"
            Date: Tue, 24 Nov 2026 06:25:53 +0000
            From: Mail Delivery System <mailer-daemon@red.test>
            To: alice@red.test
            Subject: Your letter is delayed
            Message-ID: <1a20c3b75e0.0000000000000009@mx.red.test>
            In-Reply-To: <42@red.test>
            References: <42@red.test>
            Auto-Submitted: auto-replied
            MIME-Version: 1.0
            Content-Type: multipart/report; report-type=delivery-status;
             boundary="=_0000000000000009"

            --=_0000000000000009
            Content-Type: text/plain; charset=utf-8
            Content-Transfer-Encoding: 7bit

            This is the mail server mx.red.test.

            Your letter "The plan" is on its way for longer than usual. The server goes on
            trying; you do not have to do anything, and you will be told if it fails in the end.

            It could not be delivered yet, and will be tried again, to <bob@black.test>.
            The other server could not be reached.
            The reason: 451 4.4.1 connecting: connection refused
            You need not send it again; it is tried until Sun, 29 Nov 2026 06:25:53 +0000.

            --=_0000000000000009
            Content-Type: message/delivery-status

            Reporting-MTA: dns; mx.red.test
            Arrival-Date: Tue, 24 Nov 2026 06:24:53 +0000

            Final-Recipient: rfc822; bob@black.test
            Action: delayed
            Status: 4.4.1
            Diagnostic-Code: smtp; 451 4.4.1 connecting: connection refused
            Last-Attempt-Date: Tue, 24 Nov 2026 06:25:53 +0000
            Will-Retry-Until: Sun, 29 Nov 2026 06:25:53 +0000

            --=_0000000000000009
            Content-Type: text/rfc822-headers
            Content-Transfer-Encoding: 7bit

            Received: from laptop by mx.red.test
            From: Alice <alice@red.test>
            To: bob@black.test
            Subject: The plan
            Message-ID: <42@red.test>

            --=_0000000000000009--
        "#]],
    );
}

#[test]
fn a_success_returns_the_header_whatever_was_asked() {
    let mut claim = claim(vec![recipient(1, "bob@black.test")]);
    claim.dsn_return = DsnReturn::Full;
    let items = [item(0, Action::Delivered, "2.0.0")];
    check(
        &claim,
        &items,
        &expect![[r#"
            Date: Tue, 24 Nov 2026 06:25:53 +0000
            From: Mail Delivery System <mailer-daemon@red.test>
            To: alice@red.test
            Subject: Your letter was delivered
            Message-ID: <1a20c3b75e0.0000000000000009@mx.red.test>
            In-Reply-To: <42@red.test>
            References: <42@red.test>
            Auto-Submitted: auto-replied
            MIME-Version: 1.0
            Content-Type: multipart/report; report-type=delivery-status;
             boundary="=_0000000000000009"

            --=_0000000000000009
            Content-Type: text/plain; charset=utf-8
            Content-Transfer-Encoding: 7bit

            This is the mail server mx.red.test.

            Your letter "The plan" is on its way as you see below; you asked to be told.

            It was delivered to <bob@black.test>.

            --=_0000000000000009
            Content-Type: message/delivery-status

            Reporting-MTA: dns; mx.red.test
            Arrival-Date: Tue, 24 Nov 2026 06:24:53 +0000

            Final-Recipient: rfc822; bob@black.test
            Action: delivered
            Status: 2.0.0
            Last-Attempt-Date: Tue, 24 Nov 2026 06:25:53 +0000

            --=_0000000000000009
            Content-Type: text/rfc822-headers
            Content-Transfer-Encoding: 7bit

            Received: from laptop by mx.red.test
            From: Alice <alice@red.test>
            To: bob@black.test
            Subject: The plan
            Message-ID: <42@red.test>

            --=_0000000000000009--
        "#]],
    );
}

#[test]
fn an_address_in_utf8() {
    let mut claim = claim(vec![recipient(1, "pelé@black.test")]);
    claim.needs_utf8 = true;
    let report = write(&claim, &[item(0, Action::Failed, "5.1.1")], 0);
    assert!(report.contains("Content-Type: message/global-delivery-status\r\n"));
    assert!(
        report.contains("Final-Recipient: utf-8; pelé@black.test\r\n"),
        "{report}"
    );
}

#[test]
fn a_letter_at_the_limit_is_returned_whole_and_a_larger_one_is_not() {
    let mut claim = claim(vec![recipient(1, "bob@black.test")]);
    claim.dsn_return = DsnReturn::Full;
    let items = [item(0, Action::Failed, "5.1.1")];
    let whole = write(&claim, &items, claim.size);
    assert!(whole.contains("Bring the map."));
    assert!(whole.contains("Content-Type: message/rfc822"));
    let header = write(&claim, &items, claim.size - 1);
    assert!(!header.contains("Bring the map."));
    assert!(header.contains("Content-Type: text/rfc822-headers"));
    claim.dsn_return = DsnReturn::Headers;
    assert!(!write(&claim, &items, claim.size).contains("Bring the map."));
}

#[test]
fn the_header_is_found_and_bounded() {
    assert_eq!(header_end(b"A: b\r\n\r\nbody"), 6);
    assert_eq!(header_end(b"\r\nbody"), 0);
    assert_eq!(header_end(b"A: b\r\n"), 6);
    let claim = claim(vec![recipient(1, "bob@black.test")]);
    let endless = b"A: b\r\n".repeat(100_000);
    let kept = returned_bytes(&About::claim(&claim).unwrap(), &[], &endless, 0);
    assert_eq!(kept.len(), claim.head.len() + HEADER_BYTES_MAX);
}

#[test]
fn who_is_told_what() {
    let told = |notify: Notify, action| {
        let claim = claim(vec![ClaimedRecipient {
            notify,
            ..recipient(1, "bob@black.test")
        }]);
        is_wanted(&claim, &claim.recipients[0], action)
    };
    assert_eq!(placed(1, 0), Some(Action::Delivered));
    assert_eq!(placed(0, 1), None, "RFC 3461 §5.2.7.1: NOTIFY goes on");
    for (mailboxes, forwarded) in [(0, 2), (1, 1), (2, 0)] {
        assert_eq!(placed(mailboxes, forwarded), Some(Action::Expanded));
    }
    assert!(told(Notify::DEFAULT, Action::Failed));
    assert!(told(Notify::DEFAULT, Action::Delayed));
    assert!(!told(Notify::DEFAULT, Action::Delivered));
    assert!(!told(Notify::DEFAULT, Action::Relayed));
    for action in [Action::Failed, Action::Delayed, Action::Delivered] {
        assert!(!told(Notify::NEVER, action));
    }
    let success = Notify {
        success: true,
        ..Notify::NEVER
    };
    assert!(told(success, Action::Delivered));
    assert!(told(success, Action::Relayed));
    assert!(!told(success, Action::Failed));
}

#[test]
fn nobody_is_told_about_a_report_and_a_delay_is_told_once() {
    let mut claim = claim(vec![recipient(1, "bob@black.test")]);
    claim.recipients[0].delay_reported = true;
    assert!(!is_wanted(&claim, &claim.recipients[0], Action::Delayed));
    assert!(is_wanted(&claim, &claim.recipients[0], Action::Failed));
    claim.reverse_path = None;
    assert!(!is_wanted(&claim, &claim.recipients[0], Action::Failed));
}
