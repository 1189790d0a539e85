//! Full-text search: before and after the index has come to a letter.

use std::time::{Duration, Instant};

use base::{AccountId, MailboxId, MessageId};
use bytes::Bytes;
use pennyblack_store::{
    FlagChange, FlagOp, Keywords, RemovedFilter, SearchFields, SearchQuery, Store, StoreError,
};

use crate::house::{House, letter};

async fn inbox(store: &Store, account: AccountId) -> MailboxId {
    store.mailbox(account, "INBOX").await.unwrap().unwrap().id
}

async fn append(house: &House, store: &Store, account: AccountId, text: &str) -> MessageId {
    let letter = store.letter(Bytes::from(text.to_owned())).await.unwrap();
    let mailbox = inbox(store, account).await;
    let keywords = Keywords::default();
    let appended = store
        .append(account, mailbox, letter, keywords, house.now())
        .await;
    appended.unwrap().message
}

async fn search(store: &Store, account: AccountId, query: &str) -> Vec<i64> {
    let query = SearchQuery::parse(query);
    let found = store.search(account, &query, MessageId(0), 1_000).await;
    found
        .unwrap()
        .into_iter()
        .map(|message| message.0)
        .collect()
}

async fn expunge(store: &Store, account: AccountId, messages: &[MessageId]) {
    let mailbox = inbox(store, account).await;
    let rows = store
        .placements(account, mailbox, base::Uid(1), 10_000)
        .await
        .unwrap();
    let uids: Vec<_> = rows
        .iter()
        .filter(|row| messages.contains(&row.message))
        .map(|row| row.uid)
        .collect();
    let deleted = FlagChange {
        op: FlagOp::Add,
        keywords: Keywords::default(),
        deleted: true,
        unchanged_since: None,
    };
    store
        .set_flags(account, mailbox, &uids, &deleted)
        .await
        .unwrap();
    store.expunge(account, mailbox, Some(&uids)).await.unwrap();
}

const GERMAN: &str = "From: =?utf-8?Q?J=C3=BCrgen_M=C3=BCller?= <juergen.mueller@red.test>\r\n\
    To: bob@red.test\r\nSubject: =?utf-8?Q?Gr=C3=B6=C3=9Fe?= des Hauses\r\nX-Project: Neubau 17\r\n\
    Content-Type: text/html; charset=utf-8\r\n\r\n<style>p {}</style><p>Die <b>Küche</b> ist groß.\r\n";
const JAPANESE: &str = "From: hana@black.test\r\nSubject: =?utf-8?B?5p2x5Lqs6YO9?=\r\n\
    Content-Type: text/plain; charset=utf-8\r\n\r\nデータを送ります。\r\n";
const ATTACHED: &str = "From: carol@black.test\r\nSubject: the list\r\n\
    Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nSee the quick brown fox.\r\n--b\r\n\
    Content-Type: text/csv\r\nContent-Disposition: attachment; filename=\"fruit basket.csv\"\r\n\
    Content-Transfer-Encoding: base64\r\n\r\nYmFuYW5hLHF1aW5jZQ==\r\n--b--\r\n";

/// What is found, with the index and without.
pub(crate) async fn words_phrases_and_beginnings(house: &House) {
    let (store, alice, bob) = house.with_people().await;
    for text in [GERMAN, JAPANESE, ATTACHED] {
        append(house, &store, bob, text).await;
    }
    append(house, &store, alice, "Subject: mine\r\n\r\nKüche fox\r\n").await;
    for round in ["while it is being made", "with the index"] {
        let check = async |query: &str, expected: &[i64]| {
            assert_eq!(
                search(&store, bob, query).await,
                expected,
                "{query} {round}"
            );
        };
        check("grosse", &[1]).await;
        check("GRÖSSE hauses", &[1]).await;
        check("\"grosse hauses\"", &[]).await;
        check("\"größe des hauses\"", &[1]).await;
        check("kuche", &[1]).await;
        check("style", &[]).await;
        check("kuch", &[]).await;
        check("kuch*", &[1]).await;
        check("\"die ku\"*", &[1]).await;
        check("subject:kuche", &[]).await;
        check("body:kuche", &[1]).await;
        check("müller", &[1]).await;
        check("juergen.mueller@red.test", &[1]).await;
        check("from:red.test subject:grosse", &[1]).await;
        check("\"x-project: neubau\"", &[1]).await;
        check("body:neubau", &[]).await;
        check("東京", &[2]).await;
        check("京都", &[2]).await;
        check("京", &[2]).await;
        check("ﾃﾞｰﾀ", &[2]).await;
        check("東都", &[]).await;
        check("\"quick brown fox\"", &[3]).await;
        check("quince", &[3]).await;
        check("attachment:\"fruit basket.csv\"", &[3]).await;
        check("attachment:fox", &[]).await;
        check("fox banana list", &[3]).await;
        check("fox kuche", &[]).await;
        check("the* | ' \" & ! ) (", &[3]).await;
        check("", &[]).await;
        store.index_now().await.unwrap();
    }
    assert_eq!(search(&store, alice, "fox").await, [1]);
    assert_eq!(search(&store, alice, "f*").await, [1]);
    let body = SearchQuery::phrase("the quick bro", SearchFields::BODY, true);
    let found = store.search(bob, &body, MessageId(0), 9).await.unwrap();
    assert_eq!(found, [MessageId(3)]);
    house.finish(store).await;
}

/// A page at a time, and several queries at once.
pub(crate) async fn pages(house: &House) {
    let (store, _, bob) = house.with_people().await;
    for number in 1..=7 {
        append(house, &store, bob, &letter(&format!("n{number}"))).await;
        if number == 4 {
            store.index_now().await.unwrap();
        }
    }
    let query = SearchQuery::parse("hello");
    let page = |after| store.search(bob, &query, MessageId(after), 3);
    let ids = |page: Result<Vec<MessageId>, StoreError>| {
        page.unwrap().into_iter().map(|id| id.0).collect::<Vec<_>>()
    };
    assert_eq!(ids(page(0).await), [1, 2, 3]);
    assert_eq!(ids(page(3).await), [4, 5, 6]);
    assert_eq!(ids(page(6).await), [7]);
    let queries = [
        query.clone(),
        SearchQuery::parse("n2"),
        SearchQuery::default(),
    ];
    let mut found = vec![std::collections::BTreeSet::new(); 3];
    store
        .search_each(bob, &queries, |number, messages| {
            found[number].extend(messages.iter().map(|message| message.0));
        })
        .await
        .unwrap();
    assert_eq!(found[0].len(), 7);
    assert_eq!(found[1].iter().copied().collect::<Vec<_>>(), [2]);
    assert!(found[2].is_empty());
    house.finish(store).await;
}

/// Letters that are removed, copied and moved; a store that is opened again; an index made anew.
pub(crate) async fn the_index_follows(house: &House) {
    let (store, alice, bob) = house.with_people().await;
    let mut messages = Vec::new();
    for number in 0..5 {
        messages.push(append(house, &store, bob, &letter(&format!("word{number}"))).await);
    }
    store.index_now().await.unwrap();
    expunge(&store, bob, &messages[..2]).await;
    append(house, &store, bob, &letter("later")).await;
    store.index_now().await.unwrap();
    assert_eq!(search(&store, bob, "word1").await, [0_i64; 0]);
    assert_eq!(search(&store, bob, "hello").await, [3, 4, 5, 6]);
    store.close().await.unwrap();
    drop(store);

    let store = house.open().await;
    assert_eq!(search(&store, bob, "hello").await, [3, 4, 5, 6]);
    append(house, &store, bob, &letter("last")).await;
    assert_eq!(search(&store, bob, "last").await, [7]);
    store.rebuild_search(bob).await.unwrap();
    assert_eq!(search(&store, bob, "hello").await, [3, 4, 5, 6, 7]);
    store.index_now().await.unwrap();
    assert_eq!(search(&store, bob, "hello").await, [3, 4, 5, 6, 7]);
    assert_eq!(search(&store, alice, "hello").await, [0_i64; 0]);
    store.remove_account(bob).await.unwrap();
    assert_eq!(search(&store, alice, "hello").await, [0_i64; 0]);
    house.finish(store).await;
}

/// Deleted letters are found no more, recovered ones again.
pub(crate) async fn letters_come_back(house: &House) {
    let (store, _, bob) = house.with_people().await;
    let messages = [
        append(house, &store, bob, &letter("first")).await,
        append(house, &store, bob, &letter("second")).await,
    ];
    for _ in 0..2 {
        store.index_now().await.unwrap();
        expunge(&store, bob, &messages).await;
        store.index_now().await.unwrap();
        assert_eq!(search(&store, bob, "hello").await, [0_i64; 0]);
        let all = RemovedFilter::default();
        assert_eq!(store.recover(bob, &all, None).await.unwrap(), 2);
        assert_eq!(search(&store, bob, "hello").await, [1, 2]);
    }
    house.finish(store).await;
}

/// Where the log of changes does not reach back, the mailboxes are read through.
pub(crate) async fn a_log_that_was_cut(house: &House) {
    let (store, _, bob) = house.with_people().await;
    for number in 0..450 {
        append(house, &store, bob, &letter(&format!("word{number}"))).await;
    }
    expunge(&store, bob, &[MessageId(7)]).await;
    store.rebuild_search(bob).await.unwrap();
    house.pass(Duration::from_secs(40 * 24 * 3_600));
    store.maintain().await.unwrap();
    store.index_now().await.unwrap();
    assert_eq!(search(&store, bob, "word6").await, [0_i64; 0]);
    assert_eq!(search(&store, bob, "word449").await, [450]);
    assert_eq!(search(&store, bob, "hello").await.len(), 449);
    house.finish(store).await;
}

/// Many letters, while people search.
pub(crate) async fn catching_up(house: &House) {
    // PostgreSQL takes fewer letters in the same time.
    let letters = if house.postgres.is_some() {
        2_000
    } else {
        10_000
    };
    let (store, alice, bob) = house.with_people().await;
    let mut tasks = tokio::task::JoinSet::new();
    let mailboxes = [
        (alice, inbox(&store, alice).await),
        (bob, inbox(&store, bob).await),
    ];
    let now = house.now();
    for task in 0..16 {
        let store = store.clone();
        tasks.spawn(async move {
            for number in (task..letters).step_by(16) {
                let (account, mailbox) = mailboxes[number % 2];
                let bytes = Bytes::from(letter(&format!("word{number}")));
                let letter = store.letter(bytes).await.unwrap();
                let appended = store.append(account, mailbox, letter, Keywords::default(), now);
                let message = appended.await.unwrap().message;
                // Not each time: what is not in the index is read for it.
                if number % 1_000 == task {
                    let found = search(&store, account, &format!("word{number}")).await;
                    assert_eq!(found, [message.0], "what was acknowledged is found");
                }
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    store.index_now().await.unwrap();
    for number in [0, 1, 999, letters - 2, letters - 1] {
        let account = mailboxes[number % 2].0;
        let found = search(&store, account, &format!("word{number}")).await;
        assert_eq!(found.len(), 1, "{number}");
    }
    let query = SearchQuery::parse("hello");
    let found = store.search(bob, &query, MessageId(0), letters).await;
    assert_eq!(found.unwrap().len(), letters / 2);
    house.finish(store).await;
}

/// Many small steps do not leave as many pieces of the index behind.
pub(crate) async fn pieces_are_put_together(house: &House) {
    let (store, _, bob) = house.with_people().await;
    for number in 0..40 {
        append(house, &store, bob, &letter(&format!("word{number}"))).await;
        store.index_now().await.unwrap();
    }
    expunge(&store, bob, &[MessageId(7)]).await;
    store.index_now().await.unwrap();
    if let Some(server) = &house.postgres {
        let pieces = || {
            let sql = "SELECT count(*) FROM search_segment";
            let pieces = server.psql("mail", sql);
            pieces.trim().parse::<usize>().unwrap()
        };
        let from = Instant::now();
        while pieces() >= 32 {
            assert!(from.elapsed() < Duration::from_secs(60), "{}", pieces());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    assert_eq!(search(&store, bob, "hello").await.len(), 39);
    assert_eq!(search(&store, bob, "word39").await, [40]);
    assert_eq!(search(&store, bob, "word6").await, [0_i64; 0]);
    house.finish(store).await;
}

/// A letter whose words fill many blocks of the index.
pub(crate) async fn long_letters(house: &House) {
    let (store, _, bob) = house.with_people().await;
    let words = (0..30_000).map(|number| format!("the w{number}\r\n"));
    let text = format!("Subject: long\r\n\r\n{}", words.collect::<String>());
    append(house, &store, bob, &text).await;
    append(house, &store, bob, "Subject: short\r\n\r\nw1 the w2\r\n").await;
    for _ in 0..2 {
        let check = async |query: &str, expected: &[i64]| {
            assert_eq!(search(&store, bob, query).await, expected, "{query}");
        };
        check("w29999", &[1]).await;
        check("w1 w15000 w29999 subject:long", &[1]).await;
        check("\"w1 the w2\"", &[1, 2]).await;
        check("\"the w27123 the w27124 the\"", &[1]).await;
        check("\"w27123 w27124\"", &[]).await;
        check("w1 w2 w2", &[1, 2]).await;
        check("w1 w15000 short", &[]).await;
        for number in (1_985..2_005).step_by(3) {
            check(&format!("\"w{number} the w{}\"", number + 1), &[1]).await;
        }
        store.index_now().await.unwrap();
    }
    house.finish(store).await;
}

/// What is shown of a letter that was found.
pub(crate) async fn highlights(house: &House) {
    let (store, alice, bob) = house.with_people().await;
    let message = append(house, &store, bob, GERMAN).await;
    let query = SearchQuery::parse("grosse kuche");
    let found = store.highlights(bob, message, &query).await.unwrap();
    let subject = found.subject.unwrap();
    assert_eq!(&subject.text[subject.ranges[0].clone()], "Größe");
    let text = found.text.unwrap();
    assert_eq!(text.text, "Die Küche ist groß.");
    assert_eq!(&text.text[text.ranges[0].clone()], "Küche");
    let other = store.highlights(alice, message, &query).await;
    assert_eq!(other, Err(StoreError::NotFound("message")));
    house.finish(store).await;
}
