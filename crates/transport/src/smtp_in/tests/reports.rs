//! RFC 3461: what other servers ask of us, and what goes on with a letter that is forwarded.

use base::ports::Clock;
use store::{Claim, DsnReturn, Notify};

use super::*;

const ASKED: Notify = Notify {
    success: true,
    failure: true,
    delay: false,
    asked: true,
};

impl World {
    /// What is queued for a domain, claimed for good.
    pub(super) async fn claim(&self, domain: &str) -> Vec<Claim> {
        let wanted = [(Domain::parse(domain).unwrap(), 10)];
        let lease = Duration::from_secs(3_600);
        let now = self.clock.now();
        self.store.claim(now, lease, &wanted).await.unwrap()
    }

    async fn queued_letter(&self, claim: &Claim) -> String {
        let letter = self.store.claimed_letter(claim).await.unwrap();
        let bytes = [claim.head.to_vec(), letter.bytes().to_vec()].concat();
        String::from_utf8(bytes).unwrap()
    }

    /// Takes a letter; gives the reply to it.
    async fn take(&self, recipient: &str, notify: &str) -> String {
        let mut peer = self.stranger().await;
        peer.ask("MAIL FROM:<alice@red.test> RET=FULL ENVID=e+2B1", "250")
            .await;
        let rcpt = format!("RCPT TO:<{recipient}@black.test> {notify}");
        peer.ask(&rcpt, "250").await;
        peer.ask("DATA", "354").await;
        let reply = peer.ask(&format!("{LETTER}."), "250").await;
        peer.ask("QUIT", "221").await;
        reply
    }
}

#[tokio::test]
async fn delivered_is_reported_when_asked() {
    let world = World::new().await;
    let reply = world
        .take(
            "robert",
            "NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;old+2Bx@red.test",
        )
        .await;
    assert_eq!(world.inbox(world.bob).await.len(), 1);
    let claims = world.claim("red.test").await;
    let [claim] = &claims[..] else {
        panic!("one report: {claims:?}");
    };
    assert_eq!(claim.reverse_path, None, "RFC 5321 §4.5.5");
    assert_eq!(claim.recipients[0].address, address("alice@red.test"));
    assert_eq!(claim.recipients[0].notify, Notify::NEVER);
    let report = world.queued_letter(claim).await;
    for part in [
        "Subject: Your letter was delivered\r\n",
        "From: Mail Delivery System <mailer-daemon@mx.black.test>\r\n",
        "Your letter \"Hello\" is on its way",
        "\r\nOriginal-Envelope-Id: e+1\r\n",
        "\r\nOriginal-Recipient: rfc822;old+x@red.test\r\n\
         Final-Recipient: rfc822; robert@black.test\r\n\
         Action: delivered\r\n\
         Status: 2.1.5\r\n",
        // RFC 3461 §4.3: RET is for failures.
        "Content-Type: text/rfc822-headers\r\n",
        "\r\nReceived: from red.test",
    ] {
        assert!(report.contains(part), "{part} in {report}");
    }
    assert!(!report.contains("dots and text"), "{report}");
    // The journey tells of it.
    let id = reply
        .split(|c: char| !c.is_ascii_digit())
        .max_by_key(|word| word.len());
    let letter = base::LetterId(id.unwrap().parse().unwrap());
    let journey = world.store.journey(letter).await.unwrap();
    let told = journey
        .iter()
        .find(|event| event.note.step == store::Step::Reported);
    let detail = &told.unwrap().note.detail;
    assert_eq!(detail, "to alice@red.test: robert@black.test delivered");
}

#[tokio::test]
async fn nothing_is_reported_unasked_or_to_nobody() {
    let world = World::new().await;
    for notify in ["", "NOTIFY=NEVER", "NOTIFY=FAILURE,DELAY"] {
        world.take("bob", notify).await;
    }
    let mut peer = world.stranger().await;
    peer.ask("MAIL FROM:<>", "250").await;
    peer.ask("RCPT TO:<bob@black.test> NOTIFY=SUCCESS", "250")
        .await;
    peer.ask("DATA", "354").await;
    peer.ask(&format!("{LETTER}."), "250").await;
    assert_eq!(world.inbox(world.bob).await.len(), 4);
    assert_eq!(world.queued().await, [""; 0]);
}

/// RFC 3461 §5.2.7.1.
#[tokio::test]
async fn an_alias_for_one_passes_everything_on() {
    let world = World::new().await;
    world.take("away", "NOTIFY=SUCCESS,FAILURE").await;
    let claims = world.claim("elsewhere.test").await;
    let [claim] = &claims[..] else {
        panic!("one letter: {claims:?}");
    };
    assert_eq!(claim.envelope_id.as_deref(), Some("e+1"));
    assert_eq!(claim.dsn_return, DsnReturn::Full);
    let recipient = &claim.recipients[0];
    assert_eq!(recipient.notify, ASKED);
    assert_eq!(
        recipient.original.as_deref(),
        Some("rfc822;away@black.test")
    );
    assert!(
        world.claim("red.test").await.is_empty(),
        "no report of ours"
    );
}

/// RFC 3461 §5.2.7.2.
#[tokio::test]
async fn an_alias_for_several_is_reported_as_expanded() {
    let world = World::new().await;
    world
        .take("both", "NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;team@red.test")
        .await;
    assert_eq!(world.inbox(world.bob).await.len(), 1);
    let claims = world.claim("elsewhere.test").await;
    let recipient = &claims[0].recipients[0];
    assert_eq!(recipient.notify, ASKED.without_success());
    assert_eq!(recipient.original.as_deref(), Some("rfc822;team@red.test"));
    let report = world.queued_letter(&world.claim("red.test").await[0]).await;
    assert!(report.contains("\r\nAction: expanded\r\n"), "{report}");
}

#[tokio::test]
async fn a_repeated_letter_is_not_reported_twice() {
    let world = World::new().await;
    for _ in 0..2 {
        let mut peer = world.stranger().await;
        peer.ask("MAIL FROM:<alice@red.test>", "250").await;
        peer.ask("RCPT TO:<bob@black.test> NOTIFY=SUCCESS", "250")
            .await;
        peer.ask("DATA", "354").await;
        peer.ask(&format!("{LETTER}."), "250").await;
        // The connection is lost: the peer does not know whether its letter was taken.
        drop(peer.stream);
        peer.task.await.unwrap();
    }
    assert_eq!(world.inbox(world.bob).await.len(), 1);
    assert_eq!(world.claim("red.test").await.len(), 1);
}

/// RFC 6531 §3.2: SMTPUTF8 was given, and only what needs it goes on with it.
#[tokio::test]
async fn what_needs_smtputf8() {
    let world = World::new().await;
    for (letter, needs) in [
        ("Subject: x\r\n\r\ntext\r\n", false),
        ("Subject: x\r\n\r\nbödy\r\n", false),
        ("Subject: ä\r\n\r\ntext\r\n", true),
        (
            "Content-Type: message/global\r\n\r\nSubject: ä\r\n\r\ntext\r\n",
            true,
        ),
    ] {
        let mut peer = world.stranger().await;
        peer.ask("MAIL FROM:<alice@red.test> SMTPUTF8 BODY=8BITMIME", "250")
            .await;
        peer.ask("RCPT TO:<away@black.test>", "250").await;
        peer.ask("DATA", "354").await;
        peer.ask(&format!("{letter}."), "250").await;
        let claims = world.claim("elsewhere.test").await;
        assert_eq!(claims[0].needs_utf8, needs, "{letter}");
    }
}
