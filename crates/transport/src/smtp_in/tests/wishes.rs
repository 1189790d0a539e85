//! What a sender may ask of a letter's way, and the listeners that hand letters over otherwise.

use base::ports::Clock;
use store::{DeliverBy, DeliverByMode, Handling, TlsWish};

use super::*;

const LMTP: Listener = Listener {
    role: Role::Lmtp,
    security: Security::None,
};
const HOUR: Duration = Duration::from_secs(3_600);

impl World {
    /// Bob sends a letter to elsewhere with these parameters; gives the reply to MAIL.
    async fn bob_sends(&self, parameters: &str, letter: &str) -> String {
        let mut peer = self.user().await;
        let mail = format!("MAIL FROM:<bob@black.test>{parameters}");
        let reply = peer.ask(&mail, "").await;
        if reply.starts_with('2') {
            peer.ask("RCPT TO:<eve@far.test>", "250").await;
            peer.ask("DATA", "354").await;
            peer.ask(&format!("{letter}\r\n."), "250").await;
        }
        peer.ask("QUIT", "221").await;
        reply
    }

    async fn far(&self) -> Vec<store::Claim> {
        let wanted = [(Domain::parse("far.test").unwrap(), 10)];
        let claims = self.store.claim(self.clock.now(), HOUR, &wanted).await;
        claims.unwrap()
    }
}

const BOBS: &str = "From: bob@black.test\r\nSubject: x\r\n\r\nx";

/// RFC 4865 §4.
#[tokio::test]
async fn a_letter_may_be_held() {
    let world = World::new().await;
    let start = world.clock.now();
    world.bob_sends(" HOLDFOR=3600 MT-PRIORITY=9", BOBS).await;
    world.clock.set(start + HOUR - Duration::from_secs(1));
    assert!(world.far().await.is_empty(), "not yet");
    world.clock.set(start + HOUR);
    let claims = world.far().await;
    let lifetime = Duration::from_secs(432_000);
    assert_eq!(claims[0].expires_at, start + HOUR + lifetime);
    let reply = world.bob_sends(" HOLDFOR=7776001", BOBS).await;
    assert!(reply.starts_with("501 5.5.4"), "{reply}");
}

/// RFC 2852 §4, RFC 6710 §4.1, RFC 8689 §5.
#[tokio::test]
async fn wishes_are_kept_with_the_letter() {
    let world = World::new().await;
    let start = world.clock.now();
    let optional = format!("TLS-Required: No\r\n{BOBS}");
    world.bob_sends(" BY=600;RT MT-PRIORITY=4", &optional).await;
    world.bob_sends(" BY=60;N", BOBS).await;
    let claims = world.far().await;
    let (at, mode) = (start + Duration::from_secs(600), DeliverByMode::Return);
    assert_eq!(
        claims[0].handling,
        Handling {
            tls: TlsWish::Optional,
            deliver_by: Some(DeliverBy {
                at,
                mode,
                trace: true
            }),
            priority: 4,
        }
    );
    assert_eq!(claims[0].expires_at, at, "it is returned then");
    assert_eq!(
        claims[1].handling.deliver_by.map(|by| by.mode),
        Some(DeliverByMode::Notify)
    );
    assert_eq!(claims[1].expires_at, start + Duration::from_secs(432_000));
}

/// RFC 6710 §4.1: what is more urgent is claimed first, though it came later.
#[tokio::test]
async fn urgent_letters_go_first() {
    let world = World::new().await;
    for priority in [0, -3, 2, 7] {
        world
            .bob_sends(&format!(" MT-PRIORITY={priority}"), BOBS)
            .await;
    }
    let claims = world.far().await;
    let order: Vec<i8> = claims.iter().map(|claim| claim.handling.priority).collect();
    assert_eq!(order, [7, 2, 0, -3]);
}

/// RFC 8689 §2, §4.1.
#[tokio::test]
async fn requiretls_is_there_with_tls() {
    let world = World::new().await;
    let mut peer = world.stranger().await;
    peer.ask("MAIL FROM:<a@red.test> REQUIRETLS", "555 5.5.4")
        .await;
    peer.ask("STARTTLS", "220").await;
    peer.say("<TLS>\n").await;
    let hello = peer.ask("EHLO red.test", "250").await;
    assert!(hello.contains("250-REQUIRETLS\r\n"), "{hello}");
    peer.ask("MAIL FROM:<a@red.test> REQUIRETLS", "250").await;
    peer.ask("RCPT TO:<away@black.test>", "250").await;
    peer.ask("DATA", "354").await;
    peer.ask(&format!("{LETTER}."), "250").await;
    let wanted = [(Domain::parse("elsewhere.test").unwrap(), 10)];
    let claims = world.store.claim(world.clock.now(), HOUR, &wanted).await;
    assert_eq!(claims.unwrap()[0].handling.tls, TlsWish::Required);
}

/// RFC 3030 §3.
#[tokio::test]
async fn a_binary_letter_is_written_as_base64() {
    let world = World::new().await;
    let mut peer = world.stranger().await;
    peer.ask("MAIL FROM:<a@red.test> BODY=BINARYMIME", "250")
        .await;
    peer.ask("RCPT TO:<bob@black.test>", "250").await;
    let head = "MIME-Version: 1.0\r\nContent-Type: image/x\r\n\
                Content-Transfer-Encoding: binary\r\n\r\n";
    let body = "\0\n.\r";
    let bytes = head.len() + body.len();
    peer.say(&format!("BDAT {bytes} LAST\r\n{head}{body}"))
        .await;
    peer.expect("250").await;
    let inbox = world.inbox(world.bob).await;
    assert!(
        inbox[0].ends_with("Content-Transfer-Encoding: base64\r\n\r\nAAouDQ==\r\n"),
        "{}",
        inbox[0]
    );
    // Nothing hides a NUL in a header.
    peer.ask("MAIL FROM:<a@red.test> BODY=BINARYMIME", "250")
        .await;
    peer.ask("RCPT TO:<bob@black.test>", "250").await;
    peer.say("BDAT 8 LAST\r\nA: \0\r\n\r\n").await;
    peer.expect("554 5.6.0 Letter refused: the letter has such octets outside of its parts")
        .await;
}

/// RFC 2033 §4.2.
#[tokio::test]
async fn lmtp_answers_for_each_recipient() {
    let world = World::new().await;
    let mut peer = world.connect(LMTP, HOME);
    peer.expect("220 mx.black.test LMTP").await;
    let hello = peer.ask("LHLO filter.black.test", "250").await;
    assert!(
        !hello.contains("AUTH") && !hello.contains("STARTTLS"),
        "{hello}"
    );
    peer.ask("MAIL FROM:<alice@red.test>", "250").await;
    for (recipient, reply) in [
        ("bob@black.test", "250"),
        ("nobody@black.test", "550 5.1.1"),
        ("eve@far.test", "550 5.7.1"),
        ("root@black.test", "250"),
    ] {
        peer.ask(&format!("RCPT TO:<{recipient}>"), reply).await;
    }
    peer.ask("DATA", "354").await;
    let first = peer.ask(&format!("{LETTER}."), "250 2.0.0 Kept as").await;
    assert_eq!(peer.expect("250").await, first);
    for account in [world.bob, world.admin] {
        let inbox = world.inbox(account).await;
        assert!(
            inbox[0].replace("\r\n", "").contains("with LMTP"),
            "{}",
            inbox[0]
        );
    }
    peer.ask("QUIT", "221").await;
    peer.closed().await;
}

/// draft-hall-prdr §3.
#[tokio::test]
async fn prdr_answers_for_each_recipient() {
    let world = World::new().await;
    let mut peer = world.stranger().await;
    peer.ask("MAIL FROM:<alice@red.test> PRDR", "250").await;
    peer.ask("RCPT TO:<bob@black.test>", "250").await;
    peer.ask("RCPT TO:<root@black.test>", "250").await;
    peer.ask("DATA", "354").await;
    peer.ask(&format!("{LETTER}."), "353").await;
    for _ in 0..2 {
        peer.expect("250 2.0.0 Kept as").await;
    }
    peer.expect("250 2.0.0 Letter accepted").await;
    assert_eq!(world.inbox(world.bob).await.len(), 1);
}

/// Postfix XCLIENT: the letter is its client's, and nobody else may say so.
#[tokio::test]
async fn a_trusted_proxy_tells_of_its_client() {
    let world = World::new().await;
    let mut peer = world.connect(RELAY, HOME);
    peer.expect("220").await;
    let hello = peer.ask("EHLO proxy", "250").await;
    assert!(
        hello.contains("XCLIENT NAME ADDR PORT PROTO HELO"),
        "{hello}"
    );
    peer.ask("XCLIENT ADDR=192.0.2.77 PORT=99 HELO=mail.red.test", "220")
        .await;
    let hello = peer.ask("EHLO proxy", "250").await;
    assert!(!hello.contains("XCLIENT"), "{hello}");
    peer.ask("XCLIENT ADDR=127.0.0.1", "502").await;
    let reply = peer
        .letter("alice@red.test", &["bob@black.test"], LETTER)
        .await;
    assert!(reply.starts_with("250"), "{reply}");
    let inbox = world.inbox(world.bob).await;
    assert!(
        inbox[0].contains("Received: from mail.red.test ([192.0.2.77])"),
        "{}",
        inbox[0]
    );
    let mut stranger = world.stranger().await;
    stranger.ask("XCLIENT ADDR=192.0.2.77", "502").await;
}

/// What this machine may do is not for whom a proxy on it passes on.
#[tokio::test]
async fn a_client_of_a_proxy_does_not_inherit_its_trust() {
    let world = World::new().await;
    for told in ["ADDR=192.0.2.77", "ADDR=[UNAVAILABLE] HELO=mail.red.test"] {
        let mut peer = world.connect(SUBMISSION, HOME);
        peer.expect("220").await;
        let hello = peer.ask("EHLO proxy", "250").await;
        assert!(hello.contains("AUTH "), "{hello}");
        peer.ask(&format!("XCLIENT {told}"), "220").await;
        let hello = peer.ask("EHLO proxy", "250").await;
        assert!(!hello.contains("AUTH "), "{hello}");
        assert!(!hello.contains("XCLIENT"), "{hello}");
    }
}
