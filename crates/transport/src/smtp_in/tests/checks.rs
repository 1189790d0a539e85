//! Letters from outside are checked, and what follows.

use store::ReportInfo;

use super::*;

const ZONE: &str = "1.2.0.192.in-addr.arpa PTR mx.red.test
mx.red.test A 192.0.2.1
red.test TXT v=spf1 ip4:192.0.2.0/24 -all
_dmarc.red.test TXT v=DMARC1; p=reject
_dmarc.blue.test TXT v=DMARC1; p=quarantine
blue.test TXT v=spf1 -all
_dmarc.grey.test TXT v=DMARC1; p=reject
grey.test TXT SERVFAIL
_dmarc.slow.test TXT SILENT
slow.test TXT SILENT";

async fn world(dmarc: Policy) -> World {
    let auth = AuthOptions {
        resolver: Arc::new(Table::new(ZONE)),
        dmarc,
        time_limit: Duration::from_millis(500),
        trusted: vec![Network::parse("198.51.100.0/24").unwrap()],
        names: vec!["mx2.black.test".to_owned()],
        arc_sealers: Vec::new(),
        ledger: None,
    };
    World::checking(Limits::default(), auth).await
}

fn letter(from: &str) -> String {
    format!("From: {from}\r\nSubject: x\r\n\r\ny\r\n")
}

impl World {
    /// Bob's letters in a folder, without line folds.
    async fn folder(&self, name: &str) -> Vec<String> {
        let found = self.store.mailbox(self.bob, name).await.unwrap().unwrap();
        let rows = self.store.placements(self.bob, found.id, base::Uid(1), 100);
        let mut letters = Vec::new();
        for row in rows.await.unwrap() {
            let body = self.store.body(self.bob, row.message).await.unwrap();
            let bytes = body.read(0..body.size()).await.unwrap();
            letters.push(
                String::from_utf8(bytes.to_vec())
                    .unwrap()
                    .replace("\r\n\t", " "),
            );
        }
        letters
    }

    /// Sends a letter to bob; gives the reply.
    async fn send(&self, sender: &str, letter: &str) -> String {
        let mut peer = self.stranger().await;
        peer.letter(sender, &["bob@black.test"], letter).await
    }
}

#[tokio::test]
async fn the_result_stands_above_our_received_and_in_the_journey() {
    let world = world(Policy::Reject).await;
    let reply = world.send("a@red.test", &letter("a@red.test")).await;
    assert!(reply.starts_with("250"), "{reply}");
    let stored = world.folder("INBOX").await.remove(0);
    let head = "Return-Path: <a@red.test>\r\nDelivered-To: bob@black.test\r\n\
                Authentication-Results: mx.black.test; \
                iprev=pass (mx.red.test) policy.iprev=192.0.2.1; \
                spf=pass (ip4:192.0.2.0/24) smtp.mailfrom=a@red.test; \
                spf=pass (ip4:192.0.2.0/24) smtp.helo=red.test; dkim=none; \
                dmarc=pass reason=\"spf of red.test aligned\" header.from=red.test \
                policy.dmarc=reject\r\nReceived: from red.test";
    assert!(stored.starts_with(head), "{stored}");
    let kept = reply.split("Kept as ").nth(1).unwrap().trim();
    let id = base::LetterId(kept.parse().unwrap());
    let journey = world.store.journey(id).await.unwrap();
    let checked = journey
        .iter()
        .find(|event| event.note.step == store::Step::Checked);
    let detail = &checked.unwrap().note.detail;
    assert!(detail.contains("dmarc=pass reason="), "{detail}");
}

#[tokio::test]
async fn a_failure_is_refused_as_the_domain_wishes() {
    let world = world(Policy::Reject).await;
    let reply = world.send("a@blue.test", &letter("a@red.test")).await;
    assert_eq!(
        reply.trim_end(),
        "550 5.7.26 The letter fails DMARC, and red.test has such letters refused"
    );
    // SPF alone refuses nothing, and the weaker wish is followed too.
    let reply = world.send("a@blue.test", &letter("a@other.test")).await;
    assert!(reply.starts_with("250"), "{reply}");
    let reply = world.send("a@blue.test", &letter("a@blue.test")).await;
    assert!(reply.starts_with("250"), "{reply}");
    assert_eq!(world.folder("INBOX").await.len(), 1);
    let junk = world.folder("Junk").await;
    assert_eq!(junk.len(), 1);
    assert!(
        junk[0].contains("dmarc=fail (done: quarantine) reason="),
        "{}",
        junk[0]
    );
    // A second author does not hide the first.
    let both = letter("a@other.test, a@red.test");
    let reply = world.send("a@other.test", &both).await;
    assert!(reply.starts_with("550 5.7.26"), "{reply}");
    let twice = letter("a@other.test\r\nFrom: a@red.test");
    let reply = world.send("a@other.test", &twice).await;
    assert!(reply.starts_with("550 5.7.26"), "{reply}");
}

#[tokio::test]
async fn the_setting_limits_what_is_done() {
    for (most, folder, done) in [
        (Policy::Quarantine, "Junk", "quarantine"),
        (Policy::None, "INBOX", "none"),
    ] {
        let world = world(most).await;
        let reply = world.send("a@blue.test", &letter("a@red.test")).await;
        assert!(reply.starts_with("250"), "{reply}");
        let stored = world.folder(folder).await.remove(0);
        let written = format!("dmarc=fail (done: {done}; local policy) reason=");
        assert!(stored.contains(&written), "{stored}");
    }
}

#[tokio::test]
async fn without_an_answer_nothing_is_refused() {
    let world = world(Policy::Reject).await;
    let reply = world.send("a@grey.test", &letter("a@grey.test")).await;
    assert!(reply.starts_with("250"), "{reply}");
    let reply = world.send("a@slow.test", &letter("a@slow.test")).await;
    assert!(reply.starts_with("250"), "{reply}");
    let stored = world.folder("INBOX").await;
    assert_eq!(stored.len(), 1);
    assert!(stored[0].contains("dmarc=temperror"), "{}", stored[0]);
    // Its domain wishes what fails to be refused, so what could not be checked is not believed.
    let stored = world.folder("Junk").await;
    assert!(stored[0].contains("spf=temperror"), "{}", stored[0]);
    let written = "dmarc=temperror (done: quarantine) reason=";
    assert!(stored[0].contains(written), "{}", stored[0]);
}

/// Whoever forges may own a DNS that never answers.
#[tokio::test]
async fn silence_of_a_stranger_s_dns_saves_no_forgery() {
    let world = world(Policy::Reject).await;
    let reply = world.send("a@slow.test", &letter("a@news.red.test")).await;
    assert!(reply.starts_with("550 5.7.26"), "{reply}");
    let both = letter("a@slow.test, a@news.red.test");
    let reply = world.send("a@slow.test", &both).await;
    assert!(reply.starts_with("550 5.7.26"), "{reply}");
}

/// Beyond what is hashed on the session's own thread.
#[tokio::test]
async fn a_large_letter_is_checked_too() {
    let world = world(Policy::Reject).await;
    let text = format!(
        "{}{}",
        letter("a@red.test"),
        "0123456789\r\n".repeat(30_000)
    );
    let reply = world.send("a@red.test", &text).await;
    assert!(reply.starts_with("250"), "{reply}");
    let stored = world.folder("INBOX").await.remove(0);
    assert!(stored.contains("dmarc=pass"), "{stored:.1000}");
    assert!(stored.ends_with(&text));
}

#[tokio::test]
async fn fields_in_our_name_are_taken_out() {
    let world = world(Policy::Reject).await;
    let forged = "Authentication-Results: MX.Black.Test; dmarc=pass header.from=bank.test\r\n\
                  Authentication-Results: mx.other.test; dmarc=fail\r\n\
                  authentication-results :\r\n\t(x) \"mx2.black.test\"; spf=pass\r\n";
    let text = format!("{forged}{}", letter("a@red.test"));
    let reply = world.send("a@red.test", &text).await;
    assert!(reply.starts_with("250"), "{reply}");
    let stored = world.folder("INBOX").await.remove(0);
    let rest = "\r\nAuthentication-Results: mx.other.test; dmarc=fail\r\nFrom: a@red.test\r\n\
                Subject: x\r\n\r\ny\r\n";
    assert!(stored.ends_with(rest), "{stored}");
    assert_eq!(stored.matches("dmarc=pass").count(), 1, "{stored}");
    assert!(!stored.contains("mx2.black.test"), "{stored}");
}

#[tokio::test]
async fn trusted_peers_are_believed() {
    let world = world(Policy::Reject).await;
    let mut peer = world.connect(RELAY, "198.51.100.1:4000");
    peer.expect("220").await;
    peer.ask("EHLO gate.black.test", "250").await;
    let text = format!(
        "Authentication-Results: mx.black.test; dmarc=pass\r\n{}",
        letter("a@red.test")
    );
    let reply = peer.letter("a@blue.test", &["bob@black.test"], &text).await;
    assert!(reply.starts_with("250"), "{reply}");
    let stored = world.folder("INBOX").await.remove(0);
    assert!(stored.ends_with(&text), "{stored}");
    assert_eq!(stored.matches("Authentication-Results").count(), 1);
}

#[tokio::test]
async fn each_letter_of_a_connection_is_checked() {
    let world = world(Policy::Reject).await;
    let mut peer = world.stranger().await;
    for (sender, start) in [
        ("a@red.test", "250"),
        ("a@blue.test", "550 5.7.26"),
        ("a@red.test", "250"),
    ] {
        let reply = peer
            .letter(sender, &["bob@black.test"], &letter("a@red.test"))
            .await;
        assert!(reply.starts_with(start), "{sender}: {reply}");
    }
    // What was begun for a sender is not used for the next.
    peer.ask("MAIL FROM:<a@red.test>", "250").await;
    peer.ask("RCPT TO:<bob@black.test>", "250").await;
    peer.ask("RSET", "250").await;
    let reply = peer
        .letter("a@blue.test", &["bob@black.test"], &letter("a@red.test"))
        .await;
    assert!(reply.starts_with("550 5.7.26"), "{reply}");
}

/// Who asks in another's name to hear of success would have the other hear of it.
#[tokio::test]
async fn success_is_not_reported_to_a_sender_that_was_likely_forged() {
    let world = world(Policy::Quarantine).await;
    for (sender, author, reports) in [
        // SPF says no, though DMARC has no wish; and into Junk by DMARC.
        ("a@blue.test", "a@other.test", 0),
        ("a@red.test", "a@blue.test", 0),
        ("a@red.test", "a@red.test", 1),
    ] {
        let mut peer = world.stranger().await;
        peer.ask(&format!("MAIL FROM:<{sender}>"), "250").await;
        peer.ask("RCPT TO:<bob@black.test> NOTIFY=SUCCESS", "250")
            .await;
        peer.ask("DATA", "354").await;
        peer.ask(&format!("{}.", letter(author)), "250").await;
        let domain = sender.split_once('@').unwrap().1;
        let claims = world.claim(domain).await;
        assert_eq!(claims.len(), reports, "{sender}, {author}");
    }
}

/// RFC 3030 §3: what is signed is the letter before its parts are written as base64. The body's hash
/// is right, so the key is asked for, and there is none.
#[tokio::test]
async fn a_binary_letter_is_checked_as_it_came() {
    let world = world(Policy::Reject).await;
    let mut peer = world.stranger().await;
    peer.ask("MAIL FROM:<a@red.test> BODY=BINARYMIME", "250")
        .await;
    peer.ask("RCPT TO:<bob@black.test>", "250").await;
    let text = "DKIM-Signature: v=1; a=rsa-sha256; d=red.test; s=none; h=from;\r\n \
                bh=bgdeDAKLqMF2jyyrQVKlIfsvWG9adJfl+Gz9s1Bcve0=; b=AAAA\r\n\
                From: a@red.test\r\nMIME-Version: 1.0\r\nContent-Type: image/x\r\n\
                Content-Transfer-Encoding: binary\r\n\r\n\0\u{1}\r\n";
    peer.say(&format!("BDAT {} LAST\r\n{text}", text.len()))
        .await;
    peer.expect("250").await;
    let stored = world.folder("INBOX").await.remove(0);
    assert!(
        stored.contains("dkim=permerror reason=\"there is no key\""),
        "{stored}"
    );
    assert!(stored.ends_with("base64\r\n\r\nAAENCg==\r\n"), "{stored}");
}

/// A proxy that is trusted lends nothing to a client of whom it tells no address.
#[tokio::test]
async fn a_client_of_unknown_address_is_checked() {
    let auth = AuthOptions {
        resolver: Arc::new(Table::new(ZONE)),
        dmarc: Policy::Reject,
        time_limit: Duration::from_secs(20),
        trusted: vec![Network::parse("127.0.0.0/8").unwrap()],
        names: Vec::new(),
        arc_sealers: Vec::new(),
        ledger: None,
    };
    let world = World::checking(Limits::default(), auth).await;
    for (told, reply) in [
        (None, "250"),
        (Some("HELO=mail.red.test"), "550 5.7.26"),
        (Some("ADDR=[UNAVAILABLE]"), "550 5.7.26"),
        (Some("ADDR=192.0.2.1"), "250"),
    ] {
        let mut peer = world.connect(RELAY, HOME);
        peer.expect("220").await;
        peer.ask("EHLO mail.red.test", "250").await;
        if let Some(told) = told {
            peer.ask(&format!("XCLIENT {told}"), "220").await;
            peer.ask("EHLO mail.red.test", "250").await;
        }
        let text = letter("a@red.test");
        let answer = peer.letter("a@red.test", &["bob@black.test"], &text).await;
        assert!(answer.starts_with(reply), "{told:?}: {answer}");
    }
}

const REPORTING: &str = "red.test TXT v=spf1 ip4:192.0.2.0/24 -all
bounce.red.test TXT v=spf1 ip4:192.0.2.0/24 -all
_dmarc.red.test TXT v=DMARC1; p=reject; t=y; rua=mailto:r@red.test
_dmarc.blue.test TXT v=DMARC1; p=reject; rua=mailto:r@blue.test
blue.test TXT v=spf1 -all
_dmarc.grey.test TXT v=DMARC1; p=reject";

/// RFC 9990 §3.1: each letter of a domain that wants reports is counted, with both alignments, also one
/// that is refused.
#[tokio::test]
async fn what_was_found_is_counted_for_reports() {
    let ledger = crate::dmarc_reports::Ledger::default();
    let auth = AuthOptions {
        resolver: Arc::new(Table::new(REPORTING)),
        dmarc: Policy::Reject,
        time_limit: Duration::from_millis(500),
        trusted: Vec::new(),
        names: Vec::new(),
        arc_sealers: Vec::new(),
        ledger: Some(ledger.clone()),
    };
    let world = World::checking(Limits::default(), auth).await;
    for _ in 0..2 {
        let reply = world.send("a@bounce.red.test", &letter("a@red.test")).await;
        assert!(reply.starts_with("250"), "{reply}");
    }
    let reply = world.send("a@blue.test", &letter("a@blue.test")).await;
    assert!(reply.starts_with("550 5.7.26"), "{reply}");
    // Who wants no reports gets none; the report of another server is not reported, but who only says
    // that it is one is.
    world.send("a@grey.test", &letter("a@grey.test")).await;
    let report = |from: &str| {
        format!(
            "From: {from}\r\nSubject: Report domain: black.test\r\n Submitter: x Report-ID: <1>\r\n\
             \r\ny\r\n"
        )
    };
    world.send("a@red.test", &report("a@red.test")).await;
    world.send("a@red.test", &report("a@blue.test")).await;
    let counted = ledger.take();
    let shown: Vec<String> = counted
        .iter()
        .map(|one| {
            let record = mailauth::feedback::aggregate::Record::from_text(&one.record).unwrap();
            format!(
                "{} {} {} {} dkim={} spf={} from={} envelope={}",
                one.letters,
                one.domain,
                one.source,
                record.disposition,
                record.dkim_aligned,
                record.spf_aligned,
                record.header_from,
                record.envelope_from,
            )
        })
        .collect();
    assert_eq!(
        shown,
        [
            "1 blue.test 192.0.2.1 reject dkim=false spf=false from=blue.test envelope=blue.test",
            "1 blue.test 192.0.2.1 reject dkim=false spf=false from=blue.test envelope=red.test",
            "2 red.test 192.0.2.1 pass dkim=false spf=true from=red.test envelope=bounce.red.test",
        ]
    );
    assert_eq!(
        counted[2].policy,
        "v=DMARC1; p=reject; adkim=r; aspf=r; t=y; fo=0"
    );
    assert!(ledger.take().is_empty());
    ledger.give_back(counted.clone());
    assert_eq!(ledger.take(), counted);
}

/// A letter with a report of DMARC about a domain.
fn report_letter(domain: &str, id: &str) -> String {
    format!(
        "From: noreply@red.test\r\nSubject: Report Domain: {domain} Submitter: red.test Report-ID: \
         <{id}>\r\nMIME-Version: 1.0\r\nContent-Type: text/xml\r\n\r\n\
         <feedback><report_metadata><org_name>Red</org_name><report_id>{id}</report_id>\
         </report_metadata><policy_published><domain>{domain}</domain></policy_published>\
         <record><row><source_ip>192.0.2.9</source_ip><count>4</count><policy_evaluated>\
         <spf>pass</spf></policy_evaluated></row></record></feedback>\r\n"
    )
}

/// RFC 9990 §6: a report is believed where its letter is from whom it says, and it is kept once.
#[tokio::test]
async fn reports_of_others_are_kept_and_delivered() {
    let world = world(Policy::None).await;
    let letter = report_letter("news.black.test", "r1");
    for _ in 0..2 {
        let reply = world.send("noreply@red.test", &letter).await;
        assert!(reply.starts_with("250"), "{reply}");
    }
    // One in somebody else's name, one about a domain that is not ours, one that is damaged, and a letter
    // that only looks like one.
    world
        .send("x@evil.test", &report_letter("black.test", "r2"))
        .await;
    world
        .send("noreply@red.test", &report_letter("other.test", "r3"))
        .await;
    let cut = report_letter("black.test", "r4").replace("</row>", "");
    world.send("noreply@red.test", &cut).await;
    let no_report = report_letter("black.test", "r5").replace("<feedback>", "hello");
    world.send("noreply@red.test", &no_report).await;
    // The first came twice, as its sender had not seen the reply, and is in the mailbox once.
    assert_eq!(world.folder("INBOX").await.len(), 5);
    let mut kept = world.store.reports(None, 10).await.unwrap();
    kept.sort_by(|one, other| one.id.cmp(&other.id));
    let shown: Vec<_> = kept
        .iter()
        .map(|info| {
            let ReportInfo {
                id,
                domain,
                sender,
                believed,
                good,
                ..
            } = info;
            format!("{id} {} {domain} {sender} {believed} {good}", info.kind)
        })
        .collect();
    assert_eq!(
        shown,
        [
            "r1 dmarc news.black.test red.test true 4",
            "r2 dmarc black.test red.test false 4",
        ]
    );
    let (_, rows) = world.store.report(&kept[0].name).await.unwrap().unwrap();
    assert_eq!((rows[0].source.as_str(), rows[0].count), ("192.0.2.9", 4));
}

/// RFC 5965: a complaint about a letter of ours.
#[tokio::test]
async fn complaints_are_kept() {
    let world = world(Policy::Reject).await;
    let letter = "From: fbl@red.test\r\nSubject: FW: x\r\nMIME-Version: 1.0\r\n\
        Content-Type: multipart/report; report-type=feedback-report; boundary=b\r\n\r\n\
        --b\r\nContent-Type: text/plain\r\n\r\nA complaint.\r\n\
        --b\r\nContent-Type: message/feedback-report\r\n\r\nFeedback-Type: abuse\r\n\
        User-Agent: x/1\r\nVersion: 1\r\nSource-IP: 192.0.2.8\r\n\
        Original-Mail-From: <carol@black.test>\r\n\r\n\
        --b\r\nContent-Type: text/rfc822-headers\r\n\r\nMessage-ID: <m1@black.test>\r\n\r\n--b--\r\n";
    let reply = world.send("fbl@red.test", letter).await;
    assert!(reply.starts_with("250"), "{reply}");
    let kept = world.store.reports(None, 10).await.unwrap();
    let info = &kept[0];
    assert_eq!(
        (info.kind.as_str(), info.id.as_str()),
        ("complaint", "m1@black.test")
    );
    assert_eq!(
        (info.domain.as_str(), info.believed, info.bad),
        ("black.test", true, 1)
    );
    let (_, rows) = world.store.report(&info.name).await.unwrap().unwrap();
    assert_eq!(rows[0].source, "192.0.2.8");
    assert_eq!(rows[0].result, "abuse from=<carol@black.test>");
}
