//! Routes found in a table of records.

use std::collections::BTreeMap;
use std::time::Duration;

use base::{Secret, Timestamp};

use super::*;
use crate::queue::settings::Login;
use crate::testing::{Counting, SetClock, Table};

struct World {
    router: Router,
    table: Arc<Table>,
    clock: Arc<SetClock>,
}

fn world(records: &str, smarthost: Option<Smarthost>) -> World {
    let table = Arc::new(Table::new(records));
    let clock = Arc::new(SetClock::new(Timestamp(1_000_000)));
    let own = Own {
        hostname: Domain::parse("us.test").unwrap(),
        listening: vec!["127.0.1.1:2525".parse().unwrap()],
    };
    World {
        router: Router::new(
            table.clone(),
            clock.clone(),
            own,
            2525,
            smarthost,
            Vec::new(),
        ),
        table,
        clock,
    }
}

fn show(found: &Result<Arc<Route>, Failure>) -> String {
    match found {
        Ok(route) => route
            .hosts
            .iter()
            .map(|host| {
                let ips: Vec<_> = host
                    .addresses
                    .iter()
                    .map(|at| at.ip().to_string())
                    .collect();
                format!("{} {} {}", host.preference, host.name, ips.join(" "))
            })
            .collect::<Vec<_>>()
            .join("; "),
        Err(failure) => format!(
            "{} {failure}",
            if failure.permanent { "never" } else { "later" }
        ),
    }
}

async fn check(records: &str, domain: &str, expected: &str) {
    let world = world(records, None);
    let found = world.router.route(&Domain::parse(domain).unwrap()).await;
    assert_eq!(show(&found), expected, "{domain} in {records}");
}

#[tokio::test]
async fn mx_by_preference() {
    check(
        "a.test MX 20 two.test
         a.test MX 10 one.test
         one.test A 192.0.2.1
         two.test A 192.0.2.2",
        "a.test",
        "10 one.test 192.0.2.1; 20 two.test 192.0.2.2",
    )
    .await;
}

#[tokio::test]
async fn families_take_turns() {
    check(
        "a.test A 2001:db8::1
         a.test A 2001:db8::2
         a.test A 192.0.2.1
         a.test A 192.0.2.2",
        "a.test",
        "0 a.test 2001:db8::1 192.0.2.1 2001:db8::2 192.0.2.2",
    )
    .await;
}

#[tokio::test]
async fn without_mx_the_domain_itself() {
    check("a.test A 192.0.2.9", "a.test", "0 a.test 192.0.2.9").await;
    check(
        "sub.a.test A 192.0.2.9
         a.test MX SERVFAIL",
        "sub.a.test",
        "0 sub.a.test 192.0.2.9",
    )
    .await;
}

#[tokio::test]
async fn an_mx_forbids_the_fallback_to_the_domain_itself() {
    check(
        "a.test MX 10 gone.test
         a.test A 192.0.2.1",
        "a.test",
        "never none of the mail servers of a.test has an address (5.4.4)",
    )
    .await;
}

#[tokio::test]
async fn null_mx() {
    let expected = "never the domain a.test takes no mail (null MX) (5.1.10)";
    check("a.test MX 0 .\n a.test A 192.0.2.1", "a.test", expected).await;
    // RFC 7505 §3: beside others it means nothing.
    check(
        "a.test MX 0 .
         a.test MX 5 mx.test
         mx.test A 192.0.2.1",
        "a.test",
        "5 mx.test 192.0.2.1",
    )
    .await;
}

#[tokio::test]
async fn names_that_do_not_exist() {
    check("", "a.test", "never there is no domain a.test (5.1.2)").await;
    check(
        "a.test MX 1 mx.test\n b.test A SERVFAIL",
        "b.test",
        "later b.test: no answer from the DNS: SERVFAIL (4.4.3)",
    )
    .await;
    let world = world("a.test MX SERVFAIL", None);
    let found = world.router.route(&Domain::parse("a.test").unwrap()).await;
    assert_eq!(
        show(&found),
        "later a.test: no answer from the DNS: SERVFAIL (4.4.3)"
    );
}

#[tokio::test]
async fn a_host_without_answer_does_not_hide_the_others() {
    check(
        "a.test MX 10 lame.test
         a.test MX 20 good.test
         lame.test A SERVFAIL
         good.test A 192.0.2.2",
        "a.test",
        "20 good.test 192.0.2.2",
    )
    .await;
    check(
        "a.test MX 10 lame.test
         a.test MX 20 gone.test
         lame.test A SERVFAIL",
        "a.test",
        "later lame.test: no answer from the DNS: SERVFAIL (4.4.3)",
    )
    .await;
}

#[tokio::test]
async fn we_and_all_that_are_no_better_are_dropped() {
    let hosts = "one.test A 192.0.2.1
                 us.test A 192.0.2.7
                 two.test A 192.0.2.2
                 alias.test A 127.0.1.1
                 ";
    let backup = "a.test MX 10 one.test
                  a.test MX 20 us.test
                  a.test MX 20 two.test
                  a.test MX 30 two.test";
    check(
        &format!("{hosts}{backup}"),
        "a.test",
        "10 one.test 192.0.2.1",
    )
    .await;
    // The same when only the address tells.
    let backup = backup.replace("us.test", "alias.test");
    check(
        &format!("{hosts}{backup}"),
        "a.test",
        "10 one.test 192.0.2.1",
    )
    .await;
    let loops = "never mail for a.test leads back to this server, which does not take it (5.4.6)";
    check(&format!("{hosts}a.test MX 5 us.test"), "a.test", loops).await;
    check(&format!("{hosts}a.test MX 5 alias.test"), "a.test", loops).await;
    check("a.test A 127.0.1.1", "a.test", loops).await;
}

#[tokio::test]
async fn another_loopback_address_is_another_server() {
    check("a.test A 127.0.1.2", "a.test", "0 a.test 127.0.1.2").await;
}

#[test]
fn own_addresses() {
    let own = |listening: &str| Own {
        hostname: Domain::parse("us.test").unwrap(),
        listening: vec![listening.parse().unwrap()],
    };
    let at = |address: &str| address.parse::<SocketAddr>().unwrap();
    assert!(own("192.0.2.1:25").is_at(at("192.0.2.1:25")));
    assert!(!own("192.0.2.1:25").is_at(at("192.0.2.1:26")));
    assert!(!own("192.0.2.1:25").is_at(at("192.0.2.2:25")));
    assert!(own("0.0.0.0:25").is_at(at("127.0.0.1:25")));
    assert!(own("[::]:25").is_at(at("[::1]:25")));
    assert!(!own("0.0.0.0:25").is_at(at("192.0.2.2:25")));
    assert!(own("192.0.2.1:25").is_at(at("0.0.0.0:25")));
}

#[tokio::test]
async fn literals() {
    check("", "[192.0.2.4]", "0 [192.0.2.4] 192.0.2.4").await;
    check("", "[IPv6:2001:db8::4]", "0 [IPv6:2001:db8::4] 2001:db8::4").await;
}

#[tokio::test]
async fn numbers_of_hosts_and_addresses_are_bounded() {
    use std::fmt::Write as _;
    let mut records = String::new();
    for n in 0..HOSTS_MAX + 1 {
        let _ = writeln!(records, "a.test MX {n} mx{n}.test");
        let _ = writeln!(records, "mx{n}.test A 192.0.2.{n}");
    }
    for n in 0..ADDRESSES_PER_HOST_MAX {
        let _ = writeln!(records, "mx0.test A 198.51.100.{n}");
    }
    let world = world(&records, None);
    let route = world
        .router
        .route(&Domain::parse("a.test").unwrap())
        .await
        .unwrap();
    assert_eq!(route.hosts.len(), HOSTS_MAX);
    assert_eq!(route.hosts[0].addresses.len(), ADDRESSES_PER_HOST_MAX);
}

#[tokio::test]
async fn equal_preferences_are_shuffled_and_others_keep_their_order() {
    let world = world(
        "a.test MX 10 a1.test
         a.test MX 10 a2.test
         a.test MX 10 a3.test
         a.test MX 20 b.test
         a1.test A 192.0.2.1
         a1.test A 192.0.2.11
         a2.test A 192.0.2.2
         a3.test A 192.0.2.3
         b.test A 192.0.2.4",
        None,
    );
    let route = world
        .router
        .route(&Domain::parse("a.test").unwrap())
        .await
        .unwrap();
    let entropy = Counting::default();
    let mut firsts = BTreeMap::new();
    for _ in 0..300 {
        let attempts = route.attempts(&entropy);
        assert_eq!(attempts.len(), 5);
        let hosts: Vec<_> = attempts.iter().map(|peer| peer.host.as_str()).collect();
        assert_eq!(
            hosts[3..],
            ["a1.test", "b.test"],
            "second addresses come later"
        );
        *firsts.entry(hosts[0].to_owned()).or_insert(0) += 1;
    }
    assert_eq!(firsts.len(), 3);
    assert!(firsts.values().all(|count| *count > 60), "{firsts:?}");
}

#[tokio::test]
async fn a_smarthost_takes_the_place_of_the_dns_of_the_domain() {
    let smarthost = Smarthost {
        login: Some(Arc::new(Login {
            user: "us".to_owned(),
            password: Secret::new("secret"),
        })),
        tls: TlsPolicy::Required,
        ..Smarthost::parse("relay.test:587").unwrap()
    };
    let world = world("relay.test A 192.0.2.8", Some(smarthost));
    let route = world
        .router
        .route(&Domain::parse("nowhere.test").unwrap())
        .await
        .unwrap();
    assert_eq!(route.hosts[0].addresses, ["192.0.2.8:587".parse().unwrap()]);
    assert_eq!(route.tls, TlsPolicy::Required);
    assert!(route.smarthost);
    assert_eq!(route.login.as_ref().unwrap().user, "us");
}

#[tokio::test]
async fn the_mail_of_a_sender_s_domain_goes_to_its_own_smarthost() {
    let mut world = world(
        "relay.test A 192.0.2.8\nhost.test A 192.0.2.9\na.test MX 10 mx.a.test\nmx.a.test A 192.0.2.1",
        None,
    );
    let own = FixedRoute::parse("red.test smtp:relay.test:587 user=me password-file=x").unwrap();
    let fixed = FixedRoute::parse("b.test smtp:host.test:26").unwrap();
    world.router.fixed = vec![fixed];
    world.router.by_sender = vec![own];
    let red = Domain::parse("red.test").unwrap();
    let black = Domain::parse("black.test").unwrap();
    for (sender, to, expected, login) in [
        (Some(&red), "a.test", "192.0.2.8:587", true),
        (Some(&red), "b.test", "192.0.2.9:26", false),
        (Some(&black), "a.test", "192.0.2.1:2525", false),
        (None, "a.test", "192.0.2.1:2525", false),
    ] {
        let to = Domain::parse(to).unwrap();
        let route = world.router.route_from(sender, &to).await.unwrap();
        assert_eq!(route.hosts[0].addresses, [expected.parse().unwrap()]);
        assert_eq!((route.login.is_some(), route.smarthost), (login, login));
    }
}

#[tokio::test]
async fn mail_that_is_kept_for_another_server_goes_to_no_smarthost() {
    let mut world = world(
        "relay.test A 192.0.2.8\nb.test MX 10 mx.b.test\nmx.b.test A 192.0.2.1",
        Some(Smarthost::parse("relay.test:587").unwrap()),
    );
    let own = FixedRoute::parse("red.test smtp:relay.test:587 user=me password-file=x").unwrap();
    world.router.by_sender = vec![own];
    let red = Domain::parse("red.test").unwrap();
    let to = Domain::parse("b.test").unwrap();
    world.router = world.router.with_backup(vec![to.clone()]);
    assert!(!world.router.has_own_route(Some(&red), &to));
    let route = world.router.route_from(Some(&red), &to).await.unwrap();
    assert_eq!(
        route.hosts[0].addresses,
        ["192.0.2.1:2525".parse().unwrap()]
    );
    assert!(!route.smarthost);
}

/// Without records that DNSSEC vouches for nothing goes there.
#[tokio::test]
async fn a_smarthost_that_must_prove_itself_by_dane() {
    let smarthost = Smarthost {
        dane: true,
        tls: TlsPolicy::Required,
        ..Smarthost::parse("relay.test:587").unwrap()
    };
    let world = world("relay.test A 192.0.2.8", Some(smarthost));
    let to = Domain::parse("nowhere.test").unwrap();
    let route = world.router.route(&to).await.unwrap();
    assert!(matches!(
        route.hosts[0].proof,
        Proof::Refused(Refusal::Unknown(_))
    ));
}

#[tokio::test]
async fn a_smarthost_that_is_not_found_only_delays() {
    let found = world("", Some(Smarthost::parse("relay.test").unwrap()))
        .router
        .route(&Domain::parse("a.test").unwrap())
        .await;
    assert_eq!(
        show(&found),
        "later the smarthost relay.test: the name does not exist (4.4.3)"
    );
    let found = world("", Some(Smarthost::parse("[127.0.1.1]:2525").unwrap()))
        .router
        .route(&Domain::parse("a.test").unwrap())
        .await;
    assert_eq!(
        show(&found),
        "later the smarthost [127.0.1.1] is this server itself (4.4.6)"
    );
}

#[tokio::test]
async fn routes_are_kept_for_a_short_time_and_failures_for_a_shorter() {
    let world = world("a.test A 192.0.2.1", None);
    let ask = async |name: &str, seconds: u64| {
        world
            .clock
            .set(Timestamp(1_000_000) + Duration::from_secs(seconds));
        let before = world.table.questions();
        let _ = world.router.route(&Domain::parse(name).unwrap()).await;
        world.table.questions() > before
    };
    assert!(ask("a.test", 0).await);
    assert!(!ask("a.test", 59).await);
    assert!(ask("a.test", 60).await);
    assert!(ask("none.test", 100).await);
    assert!(!ask("none.test", 104).await);
    assert!(ask("none.test", 105).await);
}

#[tokio::test]
async fn the_cache_is_bounded() {
    let world = world("", None);
    for n in 0..cache::ROUTES_MAX + 10 {
        let domain = Domain::parse(&format!("d{n}.test")).unwrap();
        let _ = world.router.route(&domain).await;
    }
    assert_eq!(world.router.cache.len(), cache::ROUTES_MAX);
}

/// RFC 7672 §2: MX, address and TLSA records must all be vouched for.
#[tokio::test]
async fn what_a_host_must_prove_by_dane() {
    let proof = async |more: &str| {
        let records = format!("d.test MX 10 mx.test\nmx.test A 192.0.2.1\n{more}");
        let world = world(&records, None);
        let domain = Domain::parse("d.test").unwrap();
        let route = world.router.route(&domain).await.map_err(|failure| {
            assert!(!failure.permanent);
            failure.to_string()
        })?;
        Ok::<_, String>(route.hosts[0].proof.clone())
    };
    let tlsa = "_2525._tcp.mx.test TLSA 3 1 1 7";
    let secure = format!("d.test SECURE d.test\nmx.test SECURE mx.test\n{tlsa}");
    let Ok(Proof::Dane(dane)) = proof(&secure).await else {
        panic!("DANE is missed");
    };
    assert_eq!(dane.base.as_str(), "mx.test");
    let names: Vec<&str> = dane.names.iter().map(Domain::as_str).collect();
    assert_eq!(names, ["mx.test", "d.test"]);
    // Without DNSSEC for the MX records nothing is known of the host, without it for the address
    // nothing of its TLSA records.
    let insecure = format!("mx.test SECURE mx.test\n{tlsa}");
    assert_eq!(proof(&insecure).await, Ok(Proof::Nothing));
    let half = format!("d.test SECURE d.test\n{tlsa}");
    assert_eq!(proof(&half).await, Ok(Proof::Named));
    let none = "d.test SECURE d.test\nmx.test SECURE mx.test";
    assert_eq!(proof(none).await, Ok(Proof::Named));
    let unusable = secure.replace("3 1 1 7", "1 1 1 7");
    assert_eq!(proof(&unusable).await, Ok(Proof::DaneUnusable));
    let bogus = secure.replace("3 1 1 7", "SERVFAIL");
    let found = proof(&bogus).await;
    assert!(
        matches!(&found, Ok(Proof::Refused(Refusal::Unknown(why))) if why.contains("SERVFAIL")),
        "{found:?}"
    );
    let silent = secure.replace("d.test SECURE d.test", "d.test SECURE SERVFAIL");
    assert!(proof(&silent).await.is_err());
}

/// RFC 7672 §2.2.3: the records are at the name to which an alias leads, and else at the alias.
#[tokio::test]
async fn aliases_of_hosts_with_tlsa_records() {
    for (at, base) in [("real.test", "real.test"), ("mx.test", "mx.test")] {
        let records = format!(
            "d.test MX 10 mx.test\nd.test SECURE d.test\nmx.test A 192.0.2.1\n\
             mx.test SECURE real.test\n_2525._tcp.{at} TLSA 3 1 1 7"
        );
        let world = world(&records, None);
        let route = world.router.route(&Domain::parse("d.test").unwrap()).await;
        let Proof::Dane(dane) = route.unwrap().hosts[0].proof.clone() else {
            panic!("DANE is missed");
        };
        assert_eq!(dane.base.as_str(), base);
        assert_eq!(dane.names[0].as_str(), base);
    }
}
