//! The real resolver against a real (small) authority over UDP and TCP.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use base::Domain;
use base::ports::{DnsError, Mx, RecordType, Records, Resolver as _};
use pennyblack::demo::dns::{Authority, Zones};
use pennyblack::outside::HickoryResolver;
use pennyblack::settings::{DnsSettings, TrustAd};
use tokio_util::sync::CancellationToken;

fn domain(text: &str) -> Domain {
    Domain::parse(text).unwrap()
}

fn zones() -> Result<Zones, String> {
    let long = "x".repeat(255);
    let long: Vec<&str> = std::iter::repeat_n(long.as_str(), 8).collect();
    let string = "y".repeat(255);
    let longer: Vec<&str> = std::iter::repeat_n(string.as_str(), 70).collect();
    let mut zones = Zones::default().zone("red.test")?;
    for number in 0..100 {
        zones = zones.txt("many.red.test", &[&format!("proof {number}")])?;
    }
    zones
        .txt("longer.red.test", &longer)?
        .mx("red.test", 20, "mx2.red.test")?
        .mx("red.test", 10, "mx1.red.test")?
        .address("mx1.red.test", "127.0.0.1".parse().unwrap())?
        .address("mx1.red.test", "::1".parse().unwrap())?
        .address("mx2.red.test", "127.0.0.2".parse().unwrap())?
        .cname("www.red.test", "mx1.red.test")?
        .cname("loop.red.test", "loop2.red.test")?
        .cname("loop2.red.test", "loop.red.test")?
        .txt("red.test", &["v=spf1 ", "-all"])?
        .txt("long.red.test", &long)?
        .zone("null.test")?
        .mx("null.test", 0, ".")
}

async fn start() -> (HickoryResolver, CancellationToken) {
    let loopback = "127.0.0.1:0".parse().unwrap();
    let authority = Authority::bind(loopback, zones().unwrap()).await.unwrap();
    let address = authority.address().unwrap();
    let shutdown = CancellationToken::new();
    tokio::spawn(authority.serve(shutdown.clone()));
    (resolver(address), shutdown)
}

fn resolver(server: SocketAddr) -> HickoryResolver {
    HickoryResolver::new(&DnsSettings {
        servers: vec![server],
        timeout: Duration::from_millis(500),
        attempts: 2,
        cache_answers: 100,
        trust_ad: TrustAd::Loopback,
    })
    .unwrap()
}

#[tokio::test]
async fn records_that_are_there() {
    let (resolver, _shutdown) = start().await;
    let mut mx = resolver.mx(&domain("red.test")).await.unwrap();
    mx.sort_by_key(|mx| mx.preference);
    let names: Vec<_> = mx
        .iter()
        .map(|mx| mx.exchange.as_ref().unwrap().as_str())
        .collect();
    assert_eq!(names, ["mx1.red.test", "mx2.red.test"]);

    let addresses = resolver.addresses(&domain("mx1.red.test")).await.unwrap();
    let wanted: [std::net::IpAddr; 2] = ["::1".parse().unwrap(), "127.0.0.1".parse().unwrap()];
    assert_eq!(addresses, wanted);
    assert_eq!(
        resolver.addresses(&domain("www.red.test")).await.unwrap(),
        wanted
    );
    assert_eq!(
        resolver
            .addresses(&domain("mx2.red.test"))
            .await
            .unwrap()
            .len(),
        1
    );
    assert_eq!(
        resolver
            .addresses(&domain("[127.0.0.9]"))
            .await
            .unwrap()
            .len(),
        1
    );

    assert_eq!(
        resolver.txt(&domain("red.test")).await.unwrap(),
        ["v=spf1 -all"]
    );
    let null = Mx {
        preference: 0,
        exchange: None,
    };
    assert_eq!(resolver.mx(&domain("null.test")).await.unwrap(), [null]);
}

/// What checks of mail authentication ask for.
#[tokio::test]
async fn records_as_they_are() {
    let (resolver, _shutdown) = start().await;
    let text = Records::Txt(vec![b"v=spf1 -all".to_vec()]);
    let ask = async |name: &str, kind| resolver.records(name, kind).await;
    assert_eq!(ask("red.test", RecordType::Txt).await, Ok(text));
    let v4 = Records::A(vec![[127, 0, 0, 1].into()]);
    assert_eq!(ask("www.red.test", RecordType::A).await, Ok(v4));
    let v6 = Records::Aaaa(vec![1.into()]);
    assert_eq!(ask("mx1.red.test", RecordType::Aaaa).await, Ok(v6));
    let null = Records::Mx(vec![(0, String::new())]);
    assert_eq!(ask("null.test", RecordType::Mx).await, Ok(null));
    assert_eq!(
        ask("mx2.red.test", RecordType::Aaaa).await,
        Err(DnsError::NoRecords)
    );
    // A macro of SPF may make any name.
    assert_eq!(
        ask("no host%name.red.test", RecordType::A).await,
        Err(DnsError::NoName)
    );
    let refused = ask("elsewhere.test", RecordType::Txt).await;
    assert!(
        matches!(refused, Err(DnsError::Temporary(_))),
        "{refused:?}"
    );
}

#[tokio::test]
async fn an_answer_too_long_for_udp_comes_over_tcp() {
    let (resolver, _shutdown) = start().await;
    let texts = resolver.txt(&domain("long.red.test")).await.unwrap();
    assert_eq!(texts[0].len(), 8 * 255);
}

/// A policy may be the last of many texts; a text is cut where no policy is so long.
#[tokio::test]
async fn texts_are_many_but_not_of_any_length() {
    let (resolver, _shutdown) = start().await;
    let texts = resolver.txt(&domain("many.red.test")).await.unwrap();
    assert_eq!(texts.len(), 100);
    let cut = Records::Txt(vec![vec![b'y'; 16 * 1024]]);
    let found = resolver.records("longer.red.test", RecordType::Txt).await;
    assert_eq!(found, Ok(cut));
}

#[tokio::test]
async fn nothing_there_and_no_answer_are_told_apart() {
    let (resolver, _shutdown) = start().await;
    assert_eq!(
        resolver.mx(&domain("mx1.red.test")).await,
        Err(DnsError::NoRecords)
    );
    assert_eq!(
        resolver.mx(&domain("nobody.red.test")).await,
        Err(DnsError::NoName)
    );
    assert_eq!(
        resolver.addresses(&domain("nobody.red.test")).await,
        Err(DnsError::NoName)
    );
    assert_eq!(
        resolver.addresses(&domain("red.test")).await,
        Err(DnsError::NoRecords)
    );
    // A name the server knows nothing of: it refuses, which proves nothing.
    let refused = resolver.mx(&domain("elsewhere.test")).await;
    assert!(
        matches!(refused, Err(DnsError::Temporary(_))),
        "{refused:?}"
    );
    let looping = resolver.addresses(&domain("loop.red.test")).await;
    assert!(
        matches!(looping, Err(DnsError::Temporary(_) | DnsError::NoRecords)),
        "{looping:?}"
    );
}

#[tokio::test]
async fn a_silent_server_costs_bounded_time() {
    let silent = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let resolver = resolver(silent.local_addr().unwrap());
    let started = Instant::now();
    let answer = resolver.mx(&domain("red.test")).await;
    assert!(matches!(answer, Err(DnsError::Temporary(_))), "{answer:?}");
    assert!(
        started.elapsed() < Duration::from_secs(10),
        "{:?}",
        started.elapsed()
    );
}
