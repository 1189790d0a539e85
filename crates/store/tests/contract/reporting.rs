//! What is kept for reports and of reports, and what is wrong.

use std::time::Duration;

use base::Timestamp;
use pennyblack_store::{Alert, DmarcOutcome, ReportInfo, ReportRow, ReportSum};

use super::house::{House, domain};

fn outcome(name: &str, record: &str, letters: u64) -> DmarcOutcome {
    DmarcOutcome {
        day: 3,
        domain: domain(name),
        policy: "v=DMARC1; p=none".to_owned(),
        source: "192.0.2.1".to_owned(),
        record: record.to_owned(),
        letters,
    }
}

/// RFC 9990 §3: counts are kept until the report is sent.
pub(crate) async fn outcomes_of_dmarc_are_counted(house: &House) {
    let store = house.open().await;
    let first = vec![outcome("b.test", "x", 2), outcome("a.test", "x", 1)];
    store.count_dmarc_outcomes(first).await.unwrap();
    // More than one transaction takes, and one that is known already.
    let mut more: Vec<_> = (0..450)
        .map(|n| outcome("b.test", &format!("r{n:03}"), 1))
        .collect();
    more.push(outcome("b.test", "x", 3));
    store.count_dmarc_outcomes(more).await.unwrap();
    let domains = store
        .domains_with_dmarc_outcomes(3, None, 10)
        .await
        .unwrap();
    assert_eq!(domains, [domain("a.test"), domain("b.test")]);
    let after = domain("a.test");
    let domains = store.domains_with_dmarc_outcomes(3, Some(&after), 10);
    assert_eq!(domains.await.unwrap(), [domain("b.test")]);
    let found = store.dmarc_outcomes(3, &domain("b.test")).await.unwrap();
    assert_eq!(found.len(), 451);
    assert_eq!(found.last(), Some(&outcome("b.test", "x", 5)));
    store
        .forget_dmarc_outcomes(3, &domain("b.test"))
        .await
        .unwrap();
    assert!(
        store
            .dmarc_outcomes(3, &domain("b.test"))
            .await
            .unwrap()
            .is_empty()
    );
    let day = |day: i64| Timestamp(day * 86_400_000 + 1);
    store.forget_dmarc_outcomes_before(day(2)).await.unwrap();
    assert_eq!(store.dmarc_outcomes(3, &after).await.unwrap().len(), 1);
    store.forget_dmarc_outcomes_before(day(3)).await.unwrap();
    assert!(store.dmarc_outcomes(3, &after).await.unwrap().is_empty());
}

fn report(house: &House, id: &str, believed: bool) -> ReportInfo {
    ReportInfo {
        name: ReportInfo::name_of("dmarc", "other.test", "Other", id, "us.test"),
        kind: "dmarc".to_owned(),
        domain: domain("us.test"),
        sender: "other.test".to_owned(),
        organisation: "Other".to_owned(),
        id: id.to_owned(),
        begins_at: Timestamp(0),
        ends_at: Timestamp(86_399_000),
        received_at: house.now(),
        believed,
        good: 3,
        bad: 4,
    }
}

fn row(source: &str, good: bool, count: u64) -> ReportRow {
    ReportRow {
        source: source.to_owned(),
        good,
        result: "dkim=fail spf=fail".to_owned(),
        count,
    }
}

/// RFC 9990 §3.5.3: a report that comes twice is kept once.
pub(crate) async fn reports_of_others_are_kept(house: &House) {
    let store = house.open().await;
    let rows = vec![row("192.0.2.1", true, 3), row("192.0.2.2", false, 4)];
    let forged = report(house, "r1", false);
    assert!(store.keep_report(forged.clone(), Vec::new()).await.unwrap());
    assert!(!store.keep_report(forged, rows.clone()).await.unwrap());
    // The true one takes the place of the forged one, and keeps it.
    let first = report(house, "r1", true);
    assert!(
        store
            .keep_report(first.clone(), rows.clone())
            .await
            .unwrap()
    );
    for believed in [true, false] {
        let again = report(house, "r1", believed);
        assert!(!store.keep_report(again, Vec::new()).await.unwrap());
    }
    house.pass(Duration::from_secs(60));
    let second = report(house, "r2", true);
    store
        .keep_report(second.clone(), rows.clone())
        .await
        .unwrap();
    let doubted = report(house, "r3", false);
    store.keep_report(doubted.clone(), rows).await.unwrap();
    let listed = store.reports(None, 10).await.unwrap();
    assert_eq!(listed.len(), 3);
    assert_eq!(listed[2], first);
    let us = domain("us.test");
    assert_eq!(store.reports(Some(&us), 1).await.unwrap().len(), 1);
    assert!(
        store
            .reports(Some(&domain("x.test")), 10)
            .await
            .unwrap()
            .is_empty()
    );
    let (info, rows) = store.report(&first.name).await.unwrap().unwrap();
    assert_eq!(info, first);
    // Those of most letters come first.
    assert_eq!(
        rows,
        [row("192.0.2.2", false, 4), row("192.0.2.1", true, 3)]
    );
    assert_eq!(store.report("nothing").await.unwrap(), None);
    let sum = |source: &str, good, bad| ReportSum {
        domain: us.clone(),
        kind: "dmarc".to_owned(),
        source: source.to_owned(),
        good,
        bad,
    };
    let sums = store
        .report_sums(Some(&us), first.received_at)
        .await
        .unwrap();
    assert_eq!(sums, [sum("192.0.2.2", 0, 8), sum("192.0.2.1", 6, 0)]);
    let sums = store.report_sums(None, second.received_at).await.unwrap();
    assert_eq!(sums, [sum("192.0.2.2", 0, 4), sum("192.0.2.1", 3, 0)]);
    let gone = store.forget_reports_before(second.received_at).await;
    assert_eq!(gone.unwrap(), 1);
    assert_eq!(store.report(&first.name).await.unwrap(), None);
    // At the most and beyond: those that are not believed push out only each other.
    for n in 0..1_000 {
        house.pass(Duration::from_secs(1));
        let one = report(house, &format!("f{n}"), false);
        store.keep_report(one, Vec::new()).await.unwrap();
    }
    let listed = store.reports(None, 2_000).await.unwrap();
    assert_eq!(listed.len(), 1_001);
    assert!(listed.contains(&second) && !listed.contains(&doubted));
}

/// Whoever has a domain of his own writes reports that are believed, and as large numbers as he likes.
pub(crate) async fn one_sender_pushes_out_only_its_own_reports(house: &House) {
    let store = house.open().await;
    let honest = report(house, "r1", true);
    store.keep_report(honest.clone(), Vec::new()).await.unwrap();
    for n in 0..502 {
        house.pass(Duration::from_secs(1));
        let id = format!("e{n}");
        let one = ReportInfo {
            name: ReportInfo::name_of("dmarc", "evil.test", "Evil", &id, "us.test"),
            sender: "evil.test".to_owned(),
            ..report(house, &id, true)
        };
        let rows = match n {
            500.. => vec![row("192.0.2.9", false, u64::MAX)],
            _ => Vec::new(),
        };
        store.keep_report(one, rows).await.unwrap();
    }
    let listed = store.reports(None, 1_000).await.unwrap();
    assert_eq!(listed.len(), 501);
    assert!(listed.contains(&honest));
    assert!(!listed.iter().any(|info| info.id == "e1"));
    let sums = store.report_sums(None, Timestamp(0)).await.unwrap();
    assert_eq!(sums[0].bad, 2_000_000_000);
    let gone = store.forget_reports_before(house.now() + Duration::from_secs(1));
    assert_eq!(gone.await.unwrap(), 501);
}

pub(crate) async fn what_is_wrong_is_kept_until_it_is_over(house: &House) {
    let store = house.open().await;
    let mut disk = Alert {
        kind: "disk".to_owned(),
        subject: "mx1".to_owned(),
        detail: "1 GB free".to_owned(),
        since: house.now(),
        told_at: None,
    };
    store.keep_alert(disk.clone()).await.unwrap();
    assert_eq!(store.alerts().await.unwrap(), [disk.clone()]);
    disk.told_at = Some(house.now());
    store.keep_alert(disk.clone()).await.unwrap();
    let clock = Alert {
        kind: "clock".to_owned(),
        ..disk.clone()
    };
    store.keep_alert(clock.clone()).await.unwrap();
    assert_eq!(store.alerts().await.unwrap(), [clock, disk.clone()]);
    assert!(store.forget_alert("clock", "mx1").await.unwrap());
    assert!(!store.forget_alert("clock", "mx1").await.unwrap());
    assert_eq!(store.alerts().await.unwrap(), [disk]);
}
