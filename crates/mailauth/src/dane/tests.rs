//! Records of every kind against certificates made here; no DNS.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, PublicKeyData as _,
};

use super::*;

/// 2026-06-01; the certificates are valid from 2026-01-01 to 2027-01-01.
const NOW: Timestamp = Timestamp(1_780_272_000_000);

struct Server {
    chain: Vec<Vec<u8>>,
    own_key: Vec<u8>,
    authority_key: Vec<u8>,
}

fn params(names: &[&str]) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.not_before = rcgen::date_time_ymd(2026, 1, 1);
    params.not_after = rcgen::date_time_ymd(2027, 1, 1);
    params
}

fn server() -> Server {
    let mut authority = params(&[]);
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let own = params(&["mx.test"]).signed_by(&key, &authority).unwrap();
    Server {
        chain: vec![own.der().to_vec(), authority.der().to_vec()],
        own_key: key.subject_public_key_info(),
        authority_key: authority.key().subject_public_key_info(),
    }
}

fn record(usage: u8, selector: u8, matching: u8, data: &[u8]) -> Tlsa {
    let data = match matching {
        1 => digest::digest(&SHA256, data).as_ref().to_vec(),
        2 => digest::digest(&SHA512, data).as_ref().to_vec(),
        _ => data.to_vec(),
    };
    Tlsa {
        usage,
        selector,
        matching,
        data,
    }
}

fn check(
    records: &[Tlsa],
    chain: &[Vec<u8>],
    name: &str,
    now: Timestamp,
) -> Result<Matched, Mismatch> {
    let names = [Domain::parse(name).unwrap()];
    Usable::pick(records).unwrap().check(chain, &names, now)
}

#[test]
fn every_selector_and_matching_type_of_both_usages() {
    let server = server();
    for matching in 0..=2 {
        for (selector, own, authority) in [
            (0, &server.chain[0], &server.chain[1]),
            (1, &server.own_key, &server.authority_key),
        ] {
            let end = record(3, selector, matching, own);
            let found = check(&[end], &server.chain, "mx.test", NOW);
            assert_eq!(found, Ok(Matched::EndEntity), "3 {selector} {matching}");
            let anchor = record(2, selector, matching, authority);
            let found = check(&[anchor], &server.chain, "mx.test", NOW);
            assert_eq!(found, Ok(Matched::TrustAnchor), "2 {selector} {matching}");
        }
    }
}

#[test]
fn a_certificate_that_no_record_names_is_not_taken() {
    let (one, other) = (server(), server());
    for (selector, data) in [(0, &other.chain[0]), (1, &other.own_key)] {
        for usage in [2, 3] {
            let records = [record(usage, selector, 1, data)];
            let found = check(&records, &one.chain, "mx.test", NOW);
            assert_eq!(found, Err(Mismatch::NotNamed));
        }
    }
    // RFC 7671 §5.2: what signs must be named, not what is signed.
    let own = [record(2, 1, 1, &one.own_key)];
    assert_eq!(
        check(&own, &one.chain, "mx.test", NOW),
        Err(Mismatch::NotNamed)
    );
    assert_eq!(
        check(&own, &[], "mx.test", NOW),
        Err(Mismatch::NoCertificate)
    );
}

#[test]
fn one_record_that_matches_is_enough() {
    let (one, other) = (server(), server());
    let records = [
        record(3, 1, 1, &other.own_key),
        record(3, 1, 1, &one.own_key),
    ];
    let found = check(&records, &one.chain, "mx.test", NOW);
    assert_eq!(found, Ok(Matched::EndEntity));
}

/// RFC 7671 §5.1 and §5.2, RFC 7672 §3.1.1.
#[test]
fn names_and_times_count_for_a_trust_anchor_only() {
    let server = server();
    let later = Timestamp(NOW.millis() + 2 * 366 * 86_400_000);
    let end = [record(3, 1, 1, &server.own_key)];
    assert!(check(&end, &server.chain, "other.test", later).is_ok());
    let anchor = [record(2, 0, 1, &server.chain[1])];
    assert_eq!(
        check(&anchor, &server.chain, "other.test", NOW),
        Err(Mismatch::OtherName)
    );
    assert_eq!(
        check(&anchor, &server.chain, "mx.test", later),
        Err(Mismatch::Expired)
    );
}

#[test]
fn a_chain_must_lead_to_the_anchor() {
    let (one, other) = (server(), server());
    let chain = [one.chain[0].clone(), other.chain[1].clone()];
    let anchor = [record(2, 0, 1, &other.chain[1])];
    let found = check(&anchor, &chain, "mx.test", NOW);
    assert!(matches!(found, Err(Mismatch::NoChain(_))), "{found:?}");
}

/// RFC 7671 §5.2.2.
#[test]
fn an_anchor_in_the_record_need_not_be_shown() {
    let server = server();
    let anchor = [record(2, 0, 0, &server.chain[1])];
    let found = check(&anchor, &server.chain[..1], "mx.test", NOW);
    assert_eq!(found, Ok(Matched::TrustAnchor));
    let digest = [record(2, 0, 1, &server.chain[1])];
    let found = check(&digest, &server.chain[..1], "mx.test", NOW);
    assert_eq!(found, Err(Mismatch::NotNamed));
}

/// RFC 7672 §3.1.3 and RFC 6698 §4.1.
#[test]
fn records_that_do_not_count() {
    let data = [7; 32];
    for (usage, selector, matching, data) in [
        (0, 0, 1, &data[..]),
        (1, 0, 1, &data[..]),
        (4, 0, 1, &data[..]),
        (3, 2, 1, &data[..]),
        (3, 0, 3, &data[..]),
        (3, 0, 1, &data[..31]),
        (3, 0, 2, &data[..]),
        (3, 0, 0, &[]),
    ] {
        let tlsa = Tlsa {
            usage,
            selector,
            matching,
            data: data.to_vec(),
        };
        assert_eq!(Usable::pick(std::slice::from_ref(&tlsa)), None, "{tlsa:?}");
    }
}

/// RFC 7671 §9.
#[test]
fn only_the_strongest_digest_counts() {
    let (one, other) = (server(), server());
    let weak = record(3, 1, 1, &one.own_key);
    let strong = record(3, 1, 2, &other.own_key);
    let whole = record(3, 1, 0, &one.own_key);
    assert_eq!(
        check(&[weak.clone(), strong.clone()], &one.chain, "mx.test", NOW),
        Err(Mismatch::NotNamed)
    );
    assert!(check(&[whole, strong.clone()], &one.chain, "mx.test", NOW).is_ok());
    // Another selector is another question.
    let of_certificate = record(3, 0, 1, &one.chain[0]);
    assert!(check(&[of_certificate, strong], &one.chain, "mx.test", NOW).is_ok());
}

#[test]
fn broken_certificates_have_no_key() {
    let server = server();
    let whole = &server.chain[0];
    assert_eq!(der::public_key(whole), Some(server.own_key.as_slice()));
    for end in 0..whole.len() {
        assert_eq!(der::public_key(&whole[..end]), None);
    }
    for at in 0..whole.len().min(400) {
        let mut broken = whole.clone();
        broken[at] ^= 0xff;
        // Anything but a panic.
        let _ = der::public_key(&broken);
        let _ = check(&[record(2, 0, 0, &broken)], &server.chain, "mx.test", NOW);
    }
}

#[test]
fn records_are_shown_as_in_a_zone_file() {
    let records = Usable::pick(&[record(2, 0, 0, &[0, 255]), record(3, 1, 2, b"x")]).unwrap();
    let lines = records.lines();
    assert_eq!(lines[0], "2 0 0 00ff");
    assert!(lines[1].starts_with("3 1 2 ") && lines[1].len() == 6 + 128);
}

/// RFC 5280 §4.1.2.5: both spellings of a time.
#[test]
fn the_end_of_a_certificate() {
    let chain = server().chain;
    let end = |certificate: &[u8]| certificate_end(certificate).map(Timestamp::whole_seconds);
    assert_eq!(end(&chain[0]).as_deref(), Some("2027-01-01T00:00:00Z"));
    let key = KeyPair::generate().unwrap();
    let mut late = params(&["mx.test"]);
    late.not_after = rcgen::date_time_ymd(2051, 2, 3);
    let late = late.self_signed(&key).unwrap();
    assert_eq!(end(late.der()).as_deref(), Some("2051-02-03T00:00:00Z"));
    for length in 0..chain[0].len() {
        // A certificate that is cut has none, or the one that it has.
        let _ = end(&chain[0][..length]);
    }
    assert_eq!(end(&[]), None);
    assert_eq!(end(&[0x30, 0x02, 0x30, 0x00]), None);
}
