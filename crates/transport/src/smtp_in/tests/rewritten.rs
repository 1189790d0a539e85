//! Reports that come back to a sender that was rewritten (SRS) go on to who is behind it.

use mailauth::srs::Srs;

use super::*;

impl World {
    async fn rewritten(&self, sender: &str) -> String {
        let secret = self.store.installation_secret("srs").await.unwrap();
        let now = Timestamp::from_secs(1_800_000_000);
        let via = Domain::parse("black.test").unwrap();
        let srs = Srs::new(secret.expose());
        srs.forward(&address(sender), &via, now)
            .unwrap()
            .to_string()
    }
}

#[tokio::test]
async fn a_report_goes_on_and_nothing_else_does() {
    let world = World::new().await;
    let rewritten = world.rewritten("alice@red.test").await;
    let mut peer = world.stranger().await;
    let reply = peer.letter("", &[&rewritten.to_lowercase()], LETTER).await;
    assert!(reply.starts_with("250"), "{reply}");
    assert_eq!(world.queued().await, ["alice@red.test"]);
    // Not from a person, not with another hash, and not when it is too old.
    peer.ask("MAIL FROM:<eve@red.test>", "250").await;
    peer.ask(&format!("RCPT TO:<{rewritten}>"), "550 5.1.1")
        .await;
    peer.ask("RSET", "250").await;
    peer.ask("MAIL FROM:<>", "250").await;
    let forged = rewritten.replace("alice", "elsie");
    peer.ask(&format!("RCPT TO:<{forged}>"), "550 5.1.1").await;
    world
        .clock
        .set(Timestamp::from_secs(1_800_000_000 + 30 * 86_400));
    let mut peer = world.stranger().await;
    peer.ask("MAIL FROM:<>", "250").await;
    peer.ask(&format!("RCPT TO:<{rewritten}>"), "550 5.1.1")
        .await;
    assert_eq!(world.queued().await, ["alice@red.test"]);
}
