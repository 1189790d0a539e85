//! Logging in otherwise than by a password: tokens, and what is bound to the connection.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::*;

fn bearer(login: &str, token: &str) -> String {
    BASE64.encode(format!("n,{login},\u{1}auth=Bearer {token}\u{1}\u{1}"))
}

/// RFC 7628 §3.
#[tokio::test]
async fn a_token_opens_its_own_account() {
    let world = World::new().await;
    let mut peer = world.connect(SUBMISSION, HOME);
    peer.expect("220").await;
    let hello = peer.ask("EHLO client", "250").await;
    assert!(hello.contains(" OAUTHBEARER XOAUTH2 "), "{hello}");
    for (login, token) in [("", "false"), ("", "gone"), ("a=root@black.test", "bobs")] {
        let line = format!("AUTH OAUTHBEARER {}", bearer(login, token));
        peer.ask(&line, "334 eyJzdGF0dXMiOiJpbnZhbGlkX3Rva2VuIn0=")
            .await;
        peer.ask("AQ==", "535 5.7.8").await;
    }
    let line = format!("AUTH OAUTHBEARER {}", bearer("", "down"));
    peer.ask(&line, "454 4.7.0").await;
    let line = format!("AUTH OAUTHBEARER {}", bearer("a=bob@black.test", "bobs"));
    peer.ask(&line, "235 2.7.0").await;
    peer.ask("MAIL FROM:<root@black.test>", "550 5.7.1").await;
    peer.ask("MAIL FROM:<bob@black.test>", "250").await;
}

/// As with passwords: a sub-address of an account is no login.
#[tokio::test]
async fn a_token_for_a_sub_address_opens_nothing() {
    let world = World::new().await;
    let mut peer = world.connect(SUBMISSION, HOME);
    peer.expect("220").await;
    peer.ask("EHLO client", "250").await;
    let line = format!("AUTH OAUTHBEARER {}", bearer("", "tagged"));
    peer.ask(&line, "334").await;
    peer.ask("AQ==", "535 5.7.8").await;
}

/// An issuer that says nothing does not hold a session for ever.
#[tokio::test]
async fn a_token_that_nobody_judges_is_put_off() {
    let limits = Limits {
        command_timeout: Duration::from_secs(5),
        ..Limits::default()
    };
    let world = World::with(limits).await;
    let mut peer = world.connect(SUBMISSION, HOME);
    peer.expect("220").await;
    peer.ask("EHLO client", "250").await;
    let line = format!("AUTH OAUTHBEARER {}", bearer("", "slow"));
    peer.ask(&line, "454 4.7.0").await;
}

/// RFC 5802 §6: there once the connection is encrypted.
#[tokio::test]
async fn channel_binding_is_there_with_tls() {
    let world = World::new().await;
    let mut peer = world.connect(SUBMISSION, HOME);
    peer.expect("220").await;
    let hello = peer.ask("EHLO client", "250").await;
    assert!(hello.contains("SCRAM-SHA-256 SCRAM-SHA-1 "), "{hello}");
    assert!(!hello.contains("-PLUS"), "{hello}");
    peer.ask("STARTTLS", "220").await;
    peer.say("<TLS>\n").await;
    let hello = peer.ask("EHLO client", "250").await;
    assert!(hello.contains("AUTH SCRAM-SHA-256-PLUS "), "{hello}");
}

/// RFC 4422 appendix A: the account whose address is in the certificate, and no other.
#[tokio::test]
async fn a_certificate_opens_the_account_that_it_names() {
    let world = World::new().await;
    let secured = async |mark: &str| {
        let mut peer = world.connect(SUBMISSION, HOME);
        peer.expect("220").await;
        peer.ask("EHLO client", "250").await;
        peer.ask("STARTTLS", "220").await;
        peer.say(mark).await;
        let hello = peer.ask("EHLO client", "250").await;
        (peer, hello)
    };
    let (mut peer, hello) = secured("<TLS>\n").await;
    assert!(!hello.contains("EXTERNAL"), "{hello}");
    peer.ask("AUTH EXTERNAL =", "504").await;

    let (mut peer, hello) = secured("<CRT>\n").await;
    assert!(hello.contains(" EXTERNAL "), "{hello}");
    for other in ["bob@black.test", "bob@red.test", "nobody@black.test"] {
        let line = format!("AUTH EXTERNAL {}", BASE64.encode(other));
        peer.ask(&line, "535 5.7.8").await;
    }
    let line = format!("AUTH EXTERNAL {}", BASE64.encode("carol@black.test"));
    peer.ask(&line, "235 2.7.0").await;
    peer.ask("MAIL FROM:<bob@black.test>", "550 5.7.1").await;
    peer.ask("MAIL FROM:<carol@black.test>", "250").await;

    let (mut peer, _) = secured("<CRT>\n").await;
    peer.ask("AUTH EXTERNAL =", "235 2.7.0").await;
    peer.ask("MAIL FROM:<carol@black.test>", "250").await;
}

/// The brake keeps out whoever asks for others' accounts, also with a certificate.
#[tokio::test]
async fn refused_certificates_count_as_failed_logins() {
    let limits = Limits {
        auth_failures_max: 1,
        ..Limits::default()
    };
    let world = World::with(limits).await;
    let mut peer = world.connect(SUBMISSION, HOME);
    peer.expect("220").await;
    peer.ask("EHLO client", "250").await;
    peer.ask("STARTTLS", "220").await;
    peer.say("<CRT>\n").await;
    peer.ask("EHLO client", "250").await;
    let line = format!("AUTH EXTERNAL {}", BASE64.encode("bob@black.test"));
    peer.ask(&line, "535 5.7.8").await;
    peer.ask("AUTH EXTERNAL =", "454 4.7.0 Too many").await;
}

/// RFC 5802 §3: the keys of SHA-1 are made with the password, too.
#[tokio::test]
async fn scram_with_sha_1() {
    let world = World::new().await;
    for (password, succeeds) in [("pencil", true), ("crayon", false)] {
        let mut client = proto::sasl::Client::new(
            proto::sasl::Mechanism::ScramSha1,
            "bob@black.test",
            Secret::new(password.as_bytes()),
            "fyko+d2lbbFgONRv9qkxdawL",
        );
        let mut peer = world.connect(SUBMISSION, HOME);
        peer.expect("220").await;
        peer.ask("EHLO client", "250").await;
        let initial = BASE64.encode(client.initial().unwrap());
        let reply = peer
            .ask(&format!("AUTH SCRAM-SHA-1 {initial}"), "334")
            .await;
        let challenge = BASE64.decode(reply[4..].trim()).unwrap();
        let answer = BASE64.encode(client.respond(&challenge).unwrap());
        let reply = peer
            .ask(&answer, if succeeds { "334" } else { "535" })
            .await;
        if succeeds {
            let last = BASE64.decode(reply[4..].trim()).unwrap();
            client.respond(&last).unwrap();
            peer.ask("", "235").await;
            assert!(client.finish());
        }
    }
}
