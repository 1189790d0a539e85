//! Peers that mean no good, or know no better.

use std::net::SocketAddr;
use std::time::Duration;

use base::limits::Limits;

use store::MailProtocol;

use crate::world::{LOGIN, PASSWORD, World};

fn small_limits() -> Limits {
    Limits {
        free_disk_bytes_min: 0,
        free_disk_percent_min: 0,
        letter_bytes_max: 1_000,
        errors_per_session_max: 5,
        auth_failures_max: 3,
        ..Limits::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn errors_are_counted_and_end_the_session() {
    let world = World::with_limits(small_limits()).await;
    let mut client = world.connect();
    client.line().await;
    for _ in 0..4 {
        assert!(client.command("FOO").await[0].starts_with("BAD"));
    }
    client.send(b"x FOO\r\n").await;
    assert!(client.line().await.starts_with("x BAD"));
    assert_eq!(client.line().await, "* BYE Too many errors");
    assert_eq!(client.try_line().await, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn passwords_cannot_be_tried_at_will() {
    let world = World::with_limits(small_limits()).await;
    let mut client = world.connect();
    client.line().await;
    for number in 0..3 {
        let answer = client
            .command(&format!("LOGIN {LOGIN} wrong{number}"))
            .await;
        assert_eq!(
            answer,
            ["NO [AUTHENTICATIONFAILED] Wrong login or password"]
        );
    }
    let answer = client
        .command(&format!("LOGIN {LOGIN} \"{PASSWORD}\""))
        .await;
    assert_eq!(
        answer,
        ["NO [UNAVAILABLE] Too many wrong passwords; try again later"]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_user_hears_the_same_as_a_wrong_password() {
    let world = World::new().await;
    let mut client = world.connect();
    client.line().await;
    let unknown = client.command("LOGIN nobody@black.test x").await;
    let wrong = client.command(&format!("LOGIN {LOGIN} x")).await;
    assert_eq!(unknown, wrong);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn app_passwords_are_good_for_what_they_were_made_for() {
    let world = World::new().await;
    let made = async |name: &str, protocol| {
        let protocols = [protocol];
        let made = world
            .store
            .add_app_password(world.account, name, &protocols)
            .await;
        made.unwrap().expose_str().unwrap().to_owned()
    };
    let phone = made("phone", MailProtocol::Imap).await;
    let printer = made("printer", MailProtocol::Smtp).await;
    let mut client = world.connect();
    client.line().await;
    let wrong = client.command(&format!("LOGIN {LOGIN} {printer}")).await;
    assert_eq!(wrong, ["NO [AUTHENTICATIONFAILED] Wrong login or password"]);
    client.ok(&format!("LOGIN {LOGIN} {phone}")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_password_without_tls_from_elsewhere() {
    let world = World::new().await;
    let elsewhere: SocketAddr = "192.0.2.1:4000".parse().unwrap();
    let mut client = world.connect_by(elsewhere, false);
    let greeting = client.line().await;
    assert!(
        greeting.contains("LOGINDISABLED") && !greeting.contains("AUTH="),
        "{greeting}"
    );
    for command in [
        "LOGIN a b",
        "AUTHENTICATE PLAIN",
        "AUTHENTICATE SCRAM-SHA-256",
    ] {
        let answer = client.command(command).await;
        assert_eq!(
            answer,
            ["NO [PRIVACYREQUIRED] Start TLS before you log in"],
            "{command}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn letters_at_the_limit_and_beyond() {
    let world = World::with_limits(small_limits()).await;
    let mut client = world.log_in().await;
    let letter = |length: usize| format!("Subject: x\r\n\r\n{}", "y".repeat(length - 14));
    let append = |plus: &str, length: usize| format!("APPEND INBOX {{{length}{plus}}}");
    client
        .ok(&format!("{}\r\n{}", append("+", 1_000), letter(1_000)))
        .await;
    let answer = client.command(&append("", 1_001)).await;
    assert_eq!(
        answer,
        ["NO [TOOBIG] The message is larger than this server takes"]
    );
    let answer = client
        .command(&format!("{}\r\n{}", append("+", 1_001), letter(1_001)))
        .await;
    assert_eq!(
        answer,
        ["NO [TOOBIG] The message is larger than this server takes"]
    );
    client.ok("NOOP").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_letter_with_nul_is_read_to_its_end_and_refused() {
    let world = World::new().await;
    let mut client = world.log_in().await;
    let answer = client.command("APPEND INBOX ~{6+}\r\nA: b\0\n").await;
    assert_eq!(
        answer,
        ["NO [UNKNOWN-CTE] A message may not hold NUL bytes"]
    );
    assert_eq!(
        client.ok("STATUS INBOX (MESSAGES)").await,
        ["* STATUS INBOX (MESSAGES 0)"]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_cut_in_a_letter_stores_nothing() {
    let world = World::new().await;
    let mut client = world.log_in().await;
    client.send(b"x APPEND INBOX {100+}\r\nSubject: half").await;
    drop(client);
    let mut client = world.log_in().await;
    assert_eq!(
        client.ok("STATUS INBOX (MESSAGES)").await,
        ["* STATUS INBOX (MESSAGES 0)"]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_commands_in_idle_are_no_commands() {
    let world = World::new().await;
    let mut client = world.select().await;
    client.send(b"i IDLE\r\nx LOGOUT\r\n").await;
    assert_eq!(client.line().await, "+ Idling");
    assert_eq!(client.until("i").await, ["BAD DONE was expected"]);
    client.ok("NOOP").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_bytes_leave_the_server_alive() {
    let world = World::new().await;
    let mut state = 42_u64;
    for round in 0..50 {
        let mut client = world.log_in().await;
        let mut noise = Vec::new();
        for _ in 0..400 {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            noise.push(u8::try_from(state >> 56).unwrap());
        }
        client.send(&noise).await;
        client.send(b"\r\n").await;
        drop(client);
        let mut client = world.select().await;
        assert!(client.ok("NOOP").await.is_empty(), "round {round}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deep_letter_is_told_and_searched() {
    let world = World::new().await;
    let mut client = world.log_in().await;
    let mut letter = String::from("Subject: deep\n");
    for depth in 0..200 {
        letter.push_str(&format!(
            "Content-Type: multipart/mixed; boundary=b{depth}\n\n--b{depth}\n"
        ));
    }
    letter.push_str("\nend\n");
    client.append(&letter).await;
    client.ok("SELECT INBOX").await;
    let lines = client.ok("FETCH 1 (BODYSTRUCTURE BODY ENVELOPE)").await;
    assert!(
        lines[0].starts_with("* 1 FETCH (BODYSTRUCTURE ("),
        "{lines:?}"
    );
    client.ok("SEARCH TEXT end").await;
    assert_eq!(
        client.ok("FETCH 1 BODY.PEEK[1.1.1.1.1.1.1.1.2]").await,
        ["* 1 FETCH (BODY[1.1.1.1.1.1.1.1.2] NIL)"]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_slipped_in_before_tls_are_thrown_away() {
    let world = World::new().await;
    let elsewhere: SocketAddr = "192.0.2.1:4000".parse().unwrap();
    let mut client = world.connect_by(elsewhere, true);
    assert!(client.line().await.contains("STARTTLS LOGINDISABLED"));
    client.send(b"a STARTTLS\r\nb NOOP\r\n").await;
    assert_eq!(client.line().await, "a OK Begin TLS now");
    let lines = client.ok("CAPABILITY").await;
    assert!(
        !lines[0].contains("STARTTLS") && lines[0].contains("AUTH=PLAIN"),
        "{lines:?}"
    );
    assert_eq!(client.command("STARTTLS").await, ["BAD TLS is on already"]);
    client.ok(&format!("LOGIN {LOGIN} \"{PASSWORD}\"")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_says_nothing_is_sent_away() {
    let world = World::with_limits(Limits {
        command_timeout: Duration::from_millis(50),
        ..small_limits()
    })
    .await;
    let mut client = world.connect();
    client.line().await;
    assert_eq!(client.line().await, "* BYE Idle for too long");
    assert_eq!(client.try_line().await, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_spells_its_login_slowly_is_sent_away() {
    let world = World::with_limits(Limits {
        command_timeout: Duration::from_millis(200),
        ..small_limits()
    })
    .await;
    let mut client = world.connect();
    client.line().await;
    let mut pieces = 0;
    while client.try_send(b"x").await {
        pieces += 1;
        assert!(pieces < 500, "each piece buys more time");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(client.line().await, "* BYE Idle for too long");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_takes_nothing_is_given_up() {
    let world = World::with_limits(Limits {
        data_timeout: Duration::from_millis(100),
        letter_bytes_max: 1_000_000,
        ..small_limits()
    })
    .await;
    let mut client = world.log_in().await;
    client
        .append(&format!("Subject: large\n\n{}", "x".repeat(500_000)))
        .await;
    client.ok("SELECT INBOX").await;
    client.send(b"x FETCH 1 BODY[]\r\n").await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let received = client.drain().await;
    assert!(
        received < 500_000,
        "{received} bytes came after the server should have given up"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_literal_that_never_ends_holds_no_session() {
    let world = World::with_limits(Limits {
        data_timeout: Duration::from_millis(100),
        ..small_limits()
    })
    .await;
    let mut client = world.log_in().await;
    client.send(b"x APPEND INBOX {500+}\r\nSubject: ").await;
    assert_eq!(client.line().await, "* BYE Idle for too long");
    assert_eq!(client.try_line().await, None);
}

/// Each text costs a pass over every letter that is read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_search_looks_for_some_texts_only() {
    let world = World::new().await;
    world.deliver("Subject: hello\r\n\r\ntext 99\r\n").await;
    let mut client = world.log_in().await;
    client.ok("SELECT INBOX").await;
    let texts = |count: usize| {
        let keys: Vec<String> = (0..count).map(|number| format!("TEXT 0{number}")).collect();
        keys.join(" ")
    };
    let not = texts(100).replace("TEXT", "NOT TEXT");
    assert_eq!(client.ok(&format!("SEARCH {not}")).await, ["* SEARCH 1"]);
    // The same text again is no further one.
    client
        .ok(&format!(
            "SEARCH NOT TEXT 05 {}",
            texts(100).replace("TEXT", "NOT TEXT")
        ))
        .await;
    assert_eq!(
        client.command(&format!("SEARCH {}", texts(101))).await,
        ["NO [LIMIT] A search may look for at most 100 texts"]
    );
}

/// RFC 9051 §9: `CHAR8 = %x01-ff`, so a plain literal has no NUL; RFC 3516: a literal8 may.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_nul_byte_is_sent_only_where_the_grammar_has_it() {
    let world = World::new().await;
    // SMTP takes such letters, so they are there.
    let body = "a\0b\n";
    let letter = format!("Subject: n\0l\nX-Long: {}\n\n{body}", "y".repeat(70_000));
    world.deliver(&letter).await;
    world
        .deliver("Content-Type: multipart/mixed; boundary=b\n\n--b\n\nq\0q\n--b--\n")
        .await;
    let mut client = world.select().await;

    let (text, whole) = client.literal("FETCH 1 BODY.PEEK[]").await;
    assert!(!whole.contains(&0), "no NUL");
    assert!(whole.ends_with(b"a\x80b\r\n"));
    let size = client.ok("FETCH 1 RFC822.SIZE").await;
    assert_eq!(size, [format!("* 1 FETCH (RFC822.SIZE {})", whole.len())]);
    assert!(
        text.ends_with(&format!("BODY[] {{{}}}", whole.len())),
        "{text}"
    );
    for (item, expected) in [
        (
            "BODY.PEEK[HEADER.FIELDS (SUBJECT)]",
            &b"Subject: n\x80l\r\n\r\n"[..],
        ),
        ("BODY.PEEK[TEXT]", b"a\x80b\r\n"),
        ("BODY.PEEK[TEXT]<1.1>", b"\x80"),
        ("RFC822.TEXT", b"a\x80b\r\n"),
        ("BODY.PEEK[1]", b"a\x80b\r\n"),
    ] {
        let (text, content) = client.literal(&format!("FETCH 1 {item}")).await;
        assert_eq!(content, expected, "{item}");
        assert!(!text.contains('~'), "{text}");
    }

    let (text, content) = client.literal("FETCH 1 BINARY.PEEK[1]").await;
    assert_eq!(
        (content.as_slice(), text.contains("~{5}")),
        (&b"a\0b\r\n"[..], true)
    );
    let (text, content) = client.literal("FETCH 1 BINARY.PEEK[]").await;
    assert!(text.contains("BINARY[] ~{"), "{text}");
    assert!(content.ends_with(b"a\0b\r\n") && content.len() == whole.len());
    let (text, content) = client.literal("FETCH 2 BINARY.PEEK[]").await;
    assert!(text.contains("BINARY[] ~{"), "{text}");
    assert!(content.ends_with(b"\r\nq\0q\r\n--b--\r\n"));
    let size = client.ok("FETCH 1 BINARY.SIZE[]").await;
    assert_eq!(size, [format!("* 1 FETCH (BINARY.SIZE[] {})", whole.len())]);
}
