//! Outgoing port 25 that is blocked.

use super::*;

#[tokio::test]
async fn a_blocked_port_is_recognised_and_said() {
    let names = ["a", "b", "c", "d", "e"];
    let records: String = names
        .iter()
        .enumerate()
        .map(|(n, name)| format!("{name}.test A 10.{n}.0.1\n"))
        .collect();
    let drops = [
        ("10.0.0.1", vec![Line::Blackhole]),
        ("10.1.0.1", vec![Line::Refused]),
        ("10.2.0.1", vec![Line::Blackhole]),
    ];
    let settings = QueueSettings {
        retry_first: Duration::from_secs(600),
        connect_timeout: Duration::from_millis(100),
        ..settings()
    };
    let world = World::with(&records, &drops, settings).await;
    let mut last = None;
    for name in names {
        let letter = world.submit(&[&format!("carol@{name}.test")]).await;
        let entry = world.deferred(letter, 1).await;
        let reason = entry.recipients[0].reason.clone();
        assert_eq!(
            reason.contains("port 25 seems to be blocked"),
            name == "e",
            "{reason}"
        );
        assert_eq!(entry.recipients[0].last.class, "unreachable");
        last = Some(letter);
    }
    world
        .until("the figure tells", async || {
            let metrics = world.context.metrics.encode();
            metrics.contains("queue_port_25_blocked 1\n")
        })
        .await;
    // The sender hears of it with the delay.
    world.forward(Duration::from_secs(5 * 3_600)).await;
    world.deferred(last.unwrap(), 2).await;
    let reports = world.inbox_after(world.alice, 5).await;
    let unfolded: Vec<String> = reports
        .iter()
        .map(|report| report.replace("\r\n ", " "))
        .collect();
    assert!(
        has(&unfolded, "", "outgoing port 25 seems to be blocked"),
        "{unfolded:?}"
    );
    world.end().await;
}
