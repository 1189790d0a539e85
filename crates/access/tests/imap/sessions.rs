//! Several sessions on one mailbox agree (RFC 9051 §5.2, §7.5.1).

use store::RemovedFilter;

use crate::world::World;

const LETTER: &str = "From: a@red.test\nSubject: one\n\nHello.\n";

async fn world_with(letters: usize) -> World {
    let world = World::new().await;
    let mut client = world.log_in().await;
    for number in 1..=letters {
        client
            .append(&format!(
                "From: a@red.test\nSubject: letter {number}\n\nText {number}.\n"
            ))
            .await;
    }
    world
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn new_letters_and_flags_are_told_to_others() {
    let world = world_with(2).await;
    let (mut first, mut second) = (world.select().await, world.select().await);
    first.ok("STORE 1 +FLAGS (\\Flagged $Work)").await;
    let news = second.ok("NOOP").await;
    assert_eq!(
        news,
        [
            "* FLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft $work)",
            "* 1 FETCH (UID 1 FLAGS (\\Flagged $work))"
        ]
    );
    first.append(LETTER).await;
    assert_eq!(second.ok("NOOP").await, ["* 3 EXISTS"]);
    assert!(second.ok("NOOP").await.is_empty(), "news are told once");
}

/// Letters whose bytes are lost are told with NO; the others of the same FETCH come, and the session
/// goes on (RFC 5530 §3).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn letters_that_cannot_be_read() {
    let world = World::with_segments().await;
    let mut client = world.log_in().await;
    let large = format!("Subject: large\n\n{}\n", "0123456789abcdef\n".repeat(100));
    for letter in [LETTER, &large, LETTER] {
        client.append(letter).await;
    }
    let mut client = world.select().await;
    let numbers = |answer: &[String]| -> Vec<String> {
        let told = answer.iter().filter_map(|line| line.strip_prefix("* "));
        let told = told.filter_map(|line| line.split_once(" FETCH ("));
        told.map(|(number, _)| number.to_owned()).collect()
    };
    let answer = client.ok("FETCH 1:3 (BODY.PEEK[TEXT])").await;
    assert_eq!(numbers(&answer), ["1", "2", "3"]);
    world.damage_segments();
    for items in [
        "BODY.PEEK[]",
        "RFC822.TEXT",
        "BODY.PEEK[TEXT]<20.5>",
        "BINARY.PEEK[1]",
    ] {
        let answer = client.command(&format!("FETCH 1:3 ({items})")).await;
        assert_eq!(numbers(&answer), ["1", "3"], "{items}: {answer:?}");
        let told = answer.last().unwrap();
        assert_eq!(
            told, "NO [UNAVAILABLE] The server cannot do this now",
            "{items}"
        );
    }
    assert_eq!(client.ok("FETCH 2 (RFC822.SIZE)").await.len(), 1);
    client.ok("NOOP").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn message_numbers_change_only_when_it_is_told() {
    let world = world_with(4).await;
    let (mut first, mut second) = (world.select().await, world.select().await);
    first.ok("STORE 2:3 +FLAGS.SILENT \\Deleted").await;
    assert_eq!(first.ok("EXPUNGE").await, ["* 3 EXPUNGE", "* 2 EXPUNGE"]);
    // No EXPUNGE while a FETCH with numbers is answered: 4 is still the last letter here.
    let fetched = second.ok("FETCH 4 (UID)").await;
    assert!(
        fetched.contains(&"* 4 FETCH (UID 4)".to_owned()),
        "{fetched:?}"
    );
    assert!(
        !fetched.iter().any(|line| line.contains("EXPUNGE")),
        "{fetched:?}"
    );
    // A letter that was deleted can be read until the session hears of it (RFC 2180 §4.1.1), for as
    // long as deleted mail is kept.
    let answer = second.ok("FETCH 2 (ENVELOPE)").await;
    assert!(answer[0].starts_with("* 2 FETCH (ENVELOPE "), "{answer:?}");
    let all = RemovedFilter::default();
    let forgotten = world.store.forget_removed(world.account, &all).await;
    assert_eq!(forgotten.unwrap(), 2);
    let answer = second.command("FETCH 2 (ENVELOPE)").await;
    assert_eq!(
        answer.last().unwrap(),
        "NO [EXPUNGEISSUED] Some of the messages are gone"
    );
    // What is known to be gone matches nothing. A letter that comes now gets the next number after all that are still counted.
    first.append(LETTER).await;
    assert_eq!(
        second.ok("SEARCH ALL").await,
        ["* SEARCH 1 4", "* 5 EXISTS"]
    );
    assert_eq!(second.ok("NOOP").await, ["* 3 EXPUNGE", "* 2 EXPUNGE"]);
    assert_eq!(
        second.ok("FETCH 2:3 (UID)").await,
        ["* 2 FETCH (UID 4)", "* 3 FETCH (UID 5)"]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_uid_command_may_hear_of_removals() {
    let world = world_with(2).await;
    let (mut first, mut second) = (world.select().await, world.select().await);
    first.ok("STORE 1 +FLAGS.SILENT \\Deleted").await;
    first.ok("EXPUNGE").await;
    let lines = second.ok("UID FETCH 2 (UID)").await;
    assert_eq!(lines, ["* 2 FETCH (UID 2)", "* 1 EXPUNGE"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_holds_back_only_what_the_client_knows() {
    let world = world_with(1).await;
    let (mut first, mut second) = (world.select().await, world.select().await);
    assert!(first.ok("STORE 1 +FLAGS.SILENT \\Seen").await.is_empty());
    let lines = second.ok("STORE 1 +FLAGS.SILENT \\Flagged").await;
    assert_eq!(lines, ["* 1 FETCH (UID 1 FLAGS (\\Flagged \\Seen))"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_hears_of_a_delivery_and_of_flags() {
    let world = world_with(1).await;
    let mut idler = world.select().await;
    let mut other = world.select().await;
    idler.send(b"i IDLE\r\n").await;
    assert_eq!(idler.line().await, "+ Idling");
    world.deliver(LETTER).await;
    assert_eq!(idler.line().await, "* 2 EXISTS");
    other.ok("UID STORE 1 +FLAGS.SILENT (\\Deleted)").await;
    assert_eq!(idler.line().await, "* 1 FETCH (UID 1 FLAGS (\\Deleted))");
    other.ok("EXPUNGE").await;
    assert_eq!(idler.line().await, "* 1 EXPUNGE");
    idler.send(b"DONE\r\n").await;
    assert_eq!(idler.until("i").await, ["OK IDLE is done"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delivered_letter_has_our_fields_before_it() {
    let world = World::new().await;
    world.deliver("Subject: hello\n\nBody\n").await;
    let mut client = world.select().await;
    let header = client.ok("FETCH 1 (BODY.PEEK[HEADER] RFC822.SIZE)").await;
    assert_eq!(
        header,
        [
            "* 1 FETCH (BODY[HEADER] {65}",
            "Return-Path: <>",
            "Delivered-To: bob@black.test",
            "Subject: hello",
            "",
            " RFC822.SIZE 71)"
        ]
    );
    let text = client
        .ok("FETCH 1 (BODY.PEEK[TEXT] BODY.PEEK[1] BODY.PEEK[]<59.100>)")
        .await;
    assert_eq!(
        text,
        [
            "* 1 FETCH (BODY[TEXT] {6}",
            "Body",
            " BODY[1] {6}",
            "Body",
            " BODY[]<59> {12}",
            "lo",
            "",
            "Body",
            ")"
        ]
    );
    assert_eq!(
        client.ok("SEARCH HEADER Delivered-To bob").await,
        ["* SEARCH 1"]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_mailbox_ends_the_sessions_in_it() {
    let world = World::new().await;
    let mut first = world.log_in().await;
    first.ok("CREATE Gone").await;
    let mut second = world.log_in().await;
    second.ok("SELECT Gone").await;
    first.ok("DELETE Gone").await;
    second.send(b"x NOOP\r\n").await;
    assert_eq!(
        second.line().await,
        "* BYE The selected mailbox was deleted"
    );
    assert_eq!(second.try_line().await, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopping_says_farewell() {
    let world = world_with(1).await;
    let (mut waiting, mut idling) = (world.select().await, world.select().await);
    idling.send(b"i IDLE\r\n").await;
    idling.line().await;
    world.stop.cancel();
    assert_eq!(waiting.line().await, "* BYE The server is stopping");
    assert_eq!(waiting.try_line().await, None);
    assert_eq!(idling.line().await, "i OK The server is stopping");
    assert_eq!(idling.line().await, "* BYE The server is stopping");
    assert_eq!(idling.try_line().await, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixteen_sessions_append_and_every_letter_has_its_uid() {
    let world = World::new().await;
    let mut tasks = Vec::new();
    for task in 0..16 {
        let mut client = world.log_in().await;
        tasks.push(tokio::spawn(async move {
            for number in 0..5 {
                client
                    .append(&format!("Subject: {task} {number}\n\n{task} {number}\n"))
                    .await;
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    let mut client = world.select().await;
    let lines = client.ok("UID SEARCH RETURN (COUNT MIN MAX) ALL").await;
    assert!(lines[0].ends_with("UID MIN 1 MAX 80 COUNT 80"), "{lines:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn renaming_the_inbox_moves_its_letters() {
    let world = world_with(2).await;
    let mut client = world.select().await;
    assert_eq!(
        client.ok("RENAME INBOX Old").await,
        ["* 2 EXPUNGE", "* 1 EXPUNGE"]
    );
    assert_eq!(
        client.ok("STATUS Old (MESSAGES)").await,
        ["* STATUS Old (MESSAGES 2)"]
    );
    client.append(LETTER).await;
    assert_eq!(client.ok("FETCH 1 (UID)").await, ["* 1 FETCH (UID 3)"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_open_mailbox_may_be_renamed() {
    let world = World::new().await;
    let mut client = world.log_in().await;
    client.ok("CREATE A").await;
    client.ok("SELECT A").await;
    client.ok("RENAME A B").await;
    client.ok("NOOP").await;
    let letter = "Subject: x\r\n\r\n";
    let lines = client
        .ok(&format!("APPEND B {{{}+}}\r\n{letter}", letter.len()))
        .await;
    assert_eq!(lines, ["* 1 EXISTS"]);
}
