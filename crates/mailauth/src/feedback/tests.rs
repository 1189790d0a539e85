//! Reports written here, packed in every way, damaged, and too large.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder};
use proptest::prelude::*;

use super::*;

const DMARC: &str = r#"<?xml version="1.0"?>
<feedback xmlns="urn:ietf:params:xml:ns:dmarc-2.0">
 <version>1.0</version>
 <report_metadata><org_name>Other &amp; Co</org_name><email>x@other.test</email>
  <report_id>r1</report_id><date_range><begin>1764028800</begin><end>1764115199</end></date_range>
 </report_metadata>
 <policy_published><domain>us.test</domain><p>reject</p></policy_published>
 <record><row><source_ip>192.0.2.1</source_ip><count>3</count>
  <policy_evaluated><disposition>none</disposition><dkim>fail</dkim><spf>pass</spf></policy_evaluated>
  </row><identifiers><header_from>us.test</header_from></identifiers>
  <auth_results><spf><domain>us.test</domain><result>pass</result></spf></auth_results></record>
 <record><row><source_ip>2001:db8::1</source_ip><count>2</count>
  <policy_evaluated><disposition>reject</disposition><dkim>fail</dkim><spf>fail</spf></policy_evaluated>
  </row><identifiers><header_from>us.test</header_from></identifiers></record>
</feedback>"#;

const TLS: &str = r#"{"organization-name": "Other", "report-id": "r2",
 "date-range": {"start-datetime": "2026-11-24T00:00:00Z", "end-datetime": "2026-11-24T23:59:59Z"},
 "policies": [{"policy": {"policy-type": "sts", "policy-domain": "us.test"},
  "summary": {"total-successful-session-count": 9, "total-failure-session-count": 5},
  "failure-details": [{"result-type": "certificate-expired", "receiving-mx-hostname": "mx.us.test",
   "failed-session-count": 3}]}]}"#;

fn row(source: &str, good: bool, result: &str, count: u64) -> Row {
    Row {
        source: source.to_owned(),
        good,
        result: result.to_owned(),
        count,
    }
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

/// A zip of one deflated file.
fn zip(text: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text).unwrap();
    let packed = encoder.finish().unwrap();
    let mut sizes = [0; 12];
    sizes[4..8].copy_from_slice(&u32::try_from(packed.len()).unwrap().to_le_bytes());
    let common = [&[20, 0, 0, 0, 8, 0, 0, 0, 0, 0][..], &sizes, &[1, 0, 0, 0]].concat();
    let mut out = [b"PK\x03\x04", common.as_slice(), b"r", &packed].concat();
    let list = u32::try_from(out.len()).unwrap();
    out.extend([b"PK\x01\x02\0\0", common.as_slice(), &[0; 14], b"r"].concat());
    out.extend([b"PK\x05\x06", &[0; 12][..], &list.to_le_bytes(), &[0, 0]].concat());
    out
}

#[test]
fn dmarc_reports_are_read_however_they_are_packed() {
    let expected = Report {
        kind: Kind::Dmarc,
        organisation: "Other & Co".to_owned(),
        id: "r1".to_owned(),
        domain: "us.test".to_owned(),
        begins_at: Timestamp(1_764_028_800_000),
        ends_at: Timestamp(1_764_115_199_000),
        good: 3,
        bad: 2,
        rows: vec![
            row(
                "192.0.2.1",
                true,
                "dkim=fail spf=pass disposition=none from=us.test",
                3,
            ),
            row(
                "2001:db8::1",
                false,
                "dkim=fail spf=fail disposition=reject from=us.test",
                2,
            ),
        ],
    };
    for bytes in [DMARC.into(), gzip(DMARC.as_bytes()), zip(DMARC.as_bytes())] {
        assert_eq!(Report::from_file(&bytes), Ok(expected.clone()));
    }
}

#[test]
fn tls_reports_are_read() {
    let report = Report::from_file(&gzip(TLS.as_bytes())).unwrap();
    assert_eq!((report.kind, report.good, report.bad), (Kind::Tls, 9, 5));
    assert_eq!(report.begins_at.whole_seconds(), "2026-11-24T00:00:00Z");
    assert_eq!(
        report.rows,
        [
            row("", true, "sts", 9),
            row("mx.us.test", false, "sts: certificate-expired", 3),
            row("", false, "sts: not told why", 2),
        ]
    );
}

#[test]
fn a_report_is_found_in_its_letter() {
    let letter = |body: &str| {
        format!(
            "Subject: x\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n\
             --b\r\nContent-Type: text/plain\r\n\r\nA report.\r\n\
             --b\r\nContent-Type: application/tlsrpt+json\r\n\r\n{body}\r\n--b--\r\n"
        )
        .into_bytes()
    };
    assert!(Report::from_letter(&letter(TLS), |_| true).is_ok());
    assert_eq!(
        Report::from_letter(&letter("hello"), |_| true),
        Err(FeedbackError::NotThere)
    );
    let found = Report::from_letter(&letter("{}"), |_| true);
    assert!(
        matches!(found, Err(FeedbackError::Malformed(_))),
        "{found:?}"
    );
}

#[test]
fn what_is_no_report() {
    for text in ["", "hello", "<html><body>hello</body></html>"] {
        let found = Report::from_file(text.as_bytes());
        assert_eq!(found, Err(FeedbackError::NotThere), "{text}");
    }
    let cut = &DMARC[..DMARC.len() - 20];
    let found = Report::from_file(cut.as_bytes());
    assert!(
        matches!(found, Err(FeedbackError::Malformed(_))),
        "{found:?}"
    );
    let nameless = DMARC.replace("r1", "");
    let found = Report::from_file(nameless.as_bytes());
    assert!(
        matches!(found, Err(FeedbackError::Malformed(_))),
        "{found:?}"
    );
    // No entity can expand: whoever declares one is refused.
    let bomb = "<!DOCTYPE feedback [<!ENTITY a \"aaaa\"><!ENTITY b \"&a;&a;\">]>";
    let found = Report::from_file(
        DMARC
            .replace("<feedback", &format!("{bomb}<feedback"))
            .as_bytes(),
    );
    assert!(
        matches!(found, Err(FeedbackError::Malformed(_))),
        "{found:?}"
    );
    let deep = "<feedback>".repeat(17);
    assert!(Report::from_file(deep.as_bytes()).is_err());
    let broken = &gzip(DMARC.as_bytes())[..100];
    assert_eq!(Report::from_file(broken), Err(FeedbackError::Packed));
}

/// A few kilobytes that unpack into more than is allowed.
#[test]
fn bombs_do_not_go_off() {
    let most = vec![b' '; UNPACKED_BYTES_MAX];
    let more = vec![b' '; UNPACKED_BYTES_MAX + 1];
    for pack in [gzip, zip] {
        assert_eq!(
            Report::from_file(&pack(&most)),
            Err(FeedbackError::NotThere)
        );
        assert_eq!(Report::from_file(&pack(&more)), Err(FeedbackError::Packed));
    }
}

/// What takes three bytes in the file takes hundreds in memory.
#[test]
fn many_small_values_are_refused() {
    let many = format!("\"policies\": [{}", "{},".repeat(200_000));
    let report = TLS.replace("\"policies\": [", &many);
    let found = Report::from_file(report.as_bytes());
    let wrong = FeedbackError::Malformed("it has too many values".to_owned());
    assert_eq!(found, Err(wrong));
}

#[test]
fn the_parts_of_a_letter_share_what_may_be_unpacked() {
    let packed = gzip(&vec![b' '; UNPACKED_BYTES_MAX / 2]);
    let mut budget = UNPACKED_BYTES_MAX;
    for expected in [
        FeedbackError::NotThere,
        FeedbackError::NotThere,
        FeedbackError::Packed,
    ] {
        assert_eq!(Report::within(&packed, &mut budget), Err(expected));
    }
    assert_eq!(budget, 0);
    assert!(Report::within(TLS.as_bytes(), &mut budget).is_ok());
}

#[test]
fn rows_and_texts_have_limits() {
    let record = "<record><row><source_ip>192.0.2.1</source_ip><count>1</count></row></record>";
    let end = format!("{}</feedback>", record.repeat(ROWS_MAX));
    let report = Report::from_file(DMARC.replace("</feedback>", &end).as_bytes()).unwrap();
    assert_eq!(report.rows.len(), ROWS_MAX);
    assert_eq!(report.bad, 2 + ROWS_MAX as u64);
    assert_eq!(kept(&"ä".repeat(200)).len(), 254);
    assert_eq!(kept(" a\u{1b}[31m\r\n"), "a[31m");
}

proptest! {
    #[test]
    fn damage_never_panics(at in 0_usize..2_000, byte in any::<u8>(), which in 0..3_u8) {
        let mut bytes = match which {
            0 => DMARC.as_bytes().to_vec(),
            1 => TLS.as_bytes().to_vec(),
            _ => gzip(DMARC.as_bytes()),
        };
        let at = at % bytes.len();
        bytes[at] = byte;
        let _ = Report::from_file(&bytes);
    }
}
