//! Letters from outside are checked, and what follows.

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
