//! A day of reports: to whom they go, and what they say.

use std::io::Read as _;

use flate2::read::GzDecoder;
use mailauth::feedback::{Kind, Report};
use message::Message;

use super::*;
use crate::testing::{SetClock, Table};

const ZONE: &str = "_dmarc.own.test TXT v=DMARC1; p=reject; rua=mailto:r@own.test,mailto:s@mail.own.test
_dmarc.red.test TXT v=DMARC1; p=none; rua=mailto:r@out.test!10m,mailto:small@out.test!100,https://x.test/
red.test._report._dmarc.out.test TXT v=DMARC1
_dmarc.victim.test TXT v=DMARC1; rua=mailto:boss@elsewhere.test
_dmarc.later.test TXT SERVFAIL
slow.test._report._dmarc.out.test TXT SERVFAIL
_dmarc.slow.test TXT v=DMARC1; rua=mailto:r@out.test";

const POLICY: &str = "v=DMARC1; p=reject; adkim=r; aspf=r; t=n; fo=0";

fn name(text: &str) -> Domain {
    Domain::parse(text).unwrap()
}

fn outcome(domain: &str, day: i64) -> DmarcOutcome {
    let record = Record {
        disposition: "reject".to_owned(),
        dkim_aligned: false,
        spf_aligned: false,
        reasons: Vec::new(),
        header_from: format!("news.{domain}"),
        envelope_from: "bulk.test".to_owned(),
        signatures: Vec::new(),
        spf: ("bulk.test".to_owned(), "pass".to_owned(), String::new()),
    };
    DmarcOutcome {
        day,
        domain: name(domain),
        policy: POLICY.to_owned(),
        source: "192.0.2.7".to_owned(),
        record: record.to_text(),
        letters: 3,
    }
}

/// The letters in the queue with their recipients.
async fn queued(store: &Store, now: Timestamp) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for domain in [
        "own.test",
        "mail.own.test",
        "out.test",
        "elsewhere.test",
        "x.test",
    ] {
        let wanted = [(name(domain), 10)];
        let claims = store.claim(now, Duration::from_secs(600), &wanted);
        for claim in claims.await.unwrap() {
            let letter = store.claimed_letter(&claim).await.unwrap();
            assert_eq!(claim.reverse_path, None);
            let to = claim.recipients[0].address.to_string();
            found.push((to, letter.bytes().to_vec()));
        }
    }
    found
}

#[tokio::test]
async fn a_days_reports_go_to_the_places_that_agree() {
    let folder = tempfile::tempdir().unwrap();
    let now = Timestamp(1_780_272_000_000);
    let store = crate::testing::store(folder.path(), Arc::new(SetClock::new(now))).await;
    let yesterday = TlsOutcome::day_of(now) - 1;
    let mut outcomes: Vec<_> = [
        "own.test",
        "red.test",
        "victim.test",
        "none.test",
        "later.test",
        "slow.test",
    ]
    .map(|domain| outcome(domain, yesterday))
    .to_vec();
    outcomes.push(outcome("own.test", yesterday + 1));
    outcomes.push(outcome("later.test", yesterday - 5));
    let mut other = outcome("red.test", yesterday);
    other.policy = "v=DMARC1; p=none; adkim=r; aspf=r; t=n".to_owned();
    outcomes.push(other);
    store.count_dmarc_outcomes(outcomes).await.unwrap();
    let (hostname, from) = (name("mx.us.test"), name("us.test"));
    let sender = Sender {
        store: &store,
        resolver: Arc::new(Table::new(ZONE)),
        hostname: &hostname,
        from: &from,
        now,
    };
    // To two places of one domain, and for two policies to one place of the other, which takes no
    // letter of its size at its second.
    assert_eq!(sender.send_all().await.unwrap(), 4);
    assert_eq!(sender.send_all().await.unwrap(), 0);
    let letters = queued(&store, now).await;
    let to: Vec<&str> = letters.iter().map(|(to, _)| to.as_str()).collect();
    assert_eq!(
        to,
        ["r@own.test", "s@mail.own.test", "r@out.test", "r@out.test"]
    );
    check(&letters[0].1);
    // What may be wanted later is kept, today is not over, and what is old is forgotten.
    let left = async |day| {
        store
            .domains_with_dmarc_outcomes(day, None, 10)
            .await
            .unwrap()
    };
    assert_eq!(
        left(yesterday).await,
        [name("later.test"), name("slow.test")]
    );
    assert_eq!(left(yesterday + 1).await, [name("own.test")]);
    assert!(left(yesterday - 5).await.is_empty());
    // Sent again after a crash, it has the same name.
    store
        .count_dmarc_outcomes(vec![outcome("own.test", yesterday)])
        .await
        .unwrap();
    assert_eq!(sender.send_all().await.unwrap(), 2);
    assert_eq!(queued(&store, now).await[0].1, letters[0].1);
}

/// RFC 9990 §3.5.2: subject, file name, media type, and the report itself.
fn check(letter: &[u8]) {
    let text = String::from_utf8(letter.to_vec()).unwrap();
    let subject = text
        .split("Subject: ")
        .nth(1)
        .unwrap()
        .split("\r\nMessage")
        .next()
        .unwrap();
    let subject = subject.replace("\r\n", "");
    let id = subject
        .strip_prefix("Report Domain: own.test Submitter: us.test Report-ID: <")
        .and_then(|rest| rest.strip_suffix('>'))
        .unwrap_or_else(|| panic!("{subject}"));
    assert!(id.bytes().all(|byte| byte.is_ascii_alphanumeric()));
    let start = TlsOutcome::start_of(TlsOutcome::day_of(Timestamp(1_780_272_000_000)) - 1).secs();
    for part in [
        "From: <postmaster@us.test>\r\n",
        "To: <r@own.test>\r\n",
        "Auto-Submitted: auto-generated\r\n",
        "Content-Type: application/gzip\r\n",
        &format!(
            "filename=\"us.test!own.test!{start}!{}!{id}.xml.gz\"",
            start + 86_399
        ),
    ] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    assert!(mailauth::feedback::looks_like_report(message::Fields::new(
        letter
    )));
    let report = Report::from_letter(letter, |_| true).unwrap();
    assert_eq!((report.kind, report.good, report.bad), (Kind::Dmarc, 0, 3));
    assert_eq!(
        (report.id.as_str(), report.organisation.as_str()),
        (id, "mx.us.test")
    );
    assert_eq!(report.rows[0].source, "192.0.2.7");
    let message = Message::parse(letter);
    let leaves = message.leaves();
    let mut xml = String::new();
    let packed = message.decoded(leaves[1]);
    GzDecoder::new(packed.as_ref())
        .read_to_string(&mut xml)
        .unwrap();
    assert!(
        xml.contains("<header_from>news.own.test</header_from>"),
        "{xml}"
    );
    assert!(xml.contains("<p>reject</p>"), "{xml}");
}
