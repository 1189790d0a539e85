//! Statements against table classes and indexes, and the two schemas against each other.

use std::collections::BTreeSet;

use base::MailboxId;
use interop::postgres::Postgres;
use pennyblack_store::{StoreError, TABLES, TableClass};

use crate::house::House;
use crate::together::one_of_many;

/// Statements of no one account by their nature: lists for the operator, the collector, checks.
const ACROSS_ACCOUNTS: &[&str] = &[
    "FROM account WHERE removing",
    "SELECT account_id, modseq FROM account",
    "FROM account a WHERE a.removing",
    "FROM search_progress p WHERE NOT EXISTS",
    "(SELECT 1 FROM message m WHERE m.blob_id = blob.blob_id)",
    "FROM mailbox b WHERE b.role",
    "INSERT INTO account ",
    "SELECT account_id, scram_stored_key",
    "SELECT account_id, password_id, scram_stored_key",
    "SELECT account_id, hour FROM sent WHERE hour",
    "SELECT account_id, modseq FROM account WHERE account_id IN list($1)",
];

/// Every statement on account data names its account first; every table has a class.
pub(crate) async fn statements_keep_to_their_account(house: &House) {
    let (store, alice, bob) = house.with_people().await;
    one_of_many(house, &store, (alice, bob), 0).await;
    store
        .mailbox_changes(bob, MailboxId(1), base::ModSeq(1))
        .await
        .unwrap();
    store.remove_account(bob).await.unwrap();
    store.maintain().await.unwrap();
    let found = store
        .authenticate("alice", &crate::house::secret("x"))
        .await;
    assert_eq!(found, Ok::<_, StoreError>(None));
    let mut checked = 0;
    for sql in store.statements() {
        let words: Vec<&str> = sql
            .split(|c: char| !c.is_alphanumeric() && c != '_')
            .collect();
        let of_accounts = TABLES.iter().any(|(table, class)| {
            let named = words.windows(2).any(|pair| {
                matches!(pair[0], "FROM" | "INTO" | "UPDATE" | "JOIN") && pair[1] == *table
            });
            *class == TableClass::Account && named
        });
        if of_accounts && !ACROSS_ACCOUNTS.iter().any(|known| sql.contains(known)) {
            let insert = sql.contains("(account_id, ");
            let keyed = sql.contains("WHERE account_id = $1");
            assert!(insert || keyed, "does not start with account_id: {sql}");
            checked += 1;
        }
    }
    assert!(checked > 30, "{checked} statements checked");
    house.finish(store).await;
}

/// Statements that read a whole table by their nature: small tables, and what runs in the
/// background or for the operator.
const SCANS: &[&str] = &[
    "FROM account WHERE removing",
    "SELECT account_id, modseq FROM account",
    "FROM account a WHERE a.removing",
    "ORDER BY modseq LIMIT $3) limited",
    "FROM search_progress p WHERE NOT EXISTS",
    "FROM mailbox b",
    "FROM domain",
    "FROM server_secret",
    "FROM node",
    "FROM address",
    "FROM alias_target",
    "FROM send_right",
    "FROM send_limit",
    "FROM sent_domain WHERE hour",
    "FROM letter_name WHERE message_key",
    "FROM letter WHERE letter_id > $1",
    "WITH RECURSIVE",
];

/// No verb reads a whole table, or a whole account, to find a few rows.
pub(crate) async fn statements_use_their_indexes(house: &House) {
    let (store, alice, bob) = house.with_people().await;
    one_of_many(house, &store, (alice, bob), 0).await;
    store.remove_account(bob).await.unwrap();
    store.maintain().await.unwrap();
    let statements = store.statements();
    house.finish(store).await;
    let checked = match &house.postgres {
        Some(server) => check_plans_of_postgres(server, &statements),
        None => check_plans_of_sqlite(house, &statements),
    };
    assert!(checked > 60, "{checked} steps checked");
}

fn check_plans_of_sqlite(house: &House, statements: &[&str]) -> usize {
    let file = house.path().join("data/mail.db");
    let connection = rusqlite::Connection::open(file).unwrap();
    let mut checked = 0;
    for sql in statements {
        let text = sql.strip_suffix(" FOR UPDATE").unwrap_or(sql);
        let text = text
            .replace("list($3)", "(SELECT value FROM json_each($3))")
            .replace('$', "?");
        let Ok(mut plan) = connection.prepare(&format!("EXPLAIN QUERY PLAN {text}")) else {
            // The engine's own: BEGIN, PRAGMA, …
            continue;
        };
        let steps = plan.raw_query().mapped(|row| row.get::<_, String>(3));
        for step in steps.map(Result::unwrap) {
            // What a subquery has cut to a few rows is read whole.
            let few = step.contains("json_each") || step == "SCAN limited";
            let scan = step.starts_with("SCAN ") && !few;
            assert!(!scan || may_scan(sql), "{step}: {sql}");
            let by_domain = step.contains("recipient_due") && sql.contains("letter_id = ");
            assert!(
                !by_domain,
                "reads a destination's letters to find one: {sql}"
            );
            let by_account = step.contains("placement") && step.ends_with("(account_id=?)");
            assert!(!by_account, "reads an account to find one message: {sql}");
            checked += 1;
        }
    }
    checked
}

fn may_scan(sql: &str) -> bool {
    SCANS.iter().any(|known| sql.contains(known))
}

/// Rows enough for the planner to tell a good index from a bad one: ten accounts with 2,000
/// messages each, and 20,000 letters for twenty destinations.
const FILL: &str = "
    INSERT INTO placement SELECT 100 + n / 2000, 1, n, n, n, 0, 0, 100, 0, ''
        FROM generate_series(1, 19999) n;
    INSERT INTO message SELECT 100 + n / 2000, n, n, n, 0, 100, 0, decode(md5(n::text), 'hex'), n,
        '', '', '', '' FROM generate_series(1, 19999) n;
    INSERT INTO expunged SELECT 100 + n / 2000, 1, n, n + 100000 FROM generate_series(1, 19999) n;
    INSERT INTO change SELECT 100 + n / 2000, n, 1, n, 1, 0 FROM generate_series(1, 19999) n;
    INSERT INTO thread_key SELECT 100 + n / 2000, n, n FROM generate_series(1, 19999) n;
    INSERT INTO mailbox SELECT 100 + n / 100, n, n::text, NULL, 0, 1, 1, 0, 0, 0, 0, 1
        FROM generate_series(1, 999) n;
    INSERT INTO blob SELECT decode(md5(n::text), 'hex'), 0, n, 0, 1, 1, ''
        FROM generate_series(1, 19999) n;
    INSERT INTO condemned SELECT decode(md5(n::text), 'hex'), n FROM generate_series(1, 19999) n;
    INSERT INTO letter SELECT n, decode(md5(n::text), 'hex'), n, NULL, NULL, NULL, 0, 0, 1, 0, 0, ''
        FROM generate_series(1, 19999) n;
    INSERT INTO recipient SELECT n, n, '', (n % 20)::text, NULL, 0, 0, 0, 0, n, '', 0, '', 0
        FROM generate_series(1, 19999) n;
    INSERT INTO delivery SELECT n, decode(md5(n::text), 'hex'), n FROM generate_series(1, 19999) n;
    INSERT INTO journey SELECT n, 1, '' FROM generate_series(1, 19999) n;
    INSERT INTO letter_name SELECT n, n FROM generate_series(1, 19999) n;
    ANALYZE;";

fn check_plans_of_postgres(server: &Postgres, statements: &[&str]) -> usize {
    server.psql("mail", FILL);
    let mut checked = 0;
    for sql in statements {
        let text = sql.replace("IN list(", "= ANY(");
        let values = (1..20).take_while(|number| text.contains(&format!("${number}")));
        let values = vec!["NULL"; values.count()].join(", ");
        let values = if values.is_empty() {
            values
        } else {
            format!("({values})")
        };
        let plan = server.psql(
            "mail",
            &format!(
                "SET enable_seqscan = off; SET plan_cache_mode = force_generic_plan;
                PREPARE one AS {text}; EXPLAIN EXECUTE one{values}"
            ),
        );
        assert!(!plan.contains("Seq Scan") || may_scan(sql), "{sql}\n{plan}");
        let by_domain = plan.contains("recipient_due") && sql.contains("letter_id = ");
        assert!(
            !by_domain,
            "reads a destination's letters to find one: {plan}"
        );
        let by_account = plan.contains("placement") && plan.contains("Cond: (account_id = $1)\n");
        assert!(!by_account, "reads an account to find one message: {plan}");
        checked += plan.matches("Index").count();
    }
    checked
}

/// Tables that one engine has alone: how each searches is its own, and only one has commits that
/// may not be answered.
const OF_ONE_ENGINE: &[&str] = &[
    "search_block",
    "search_dead",
    "search_progress",
    "search_segment",
    "commit_mark",
];

/// Both schemas have the same tables, columns, keys and indexes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_schemas_are_one() {
    let (embedded, served) = (House::sqlite(), House::postgres());
    for house in [&embedded, &served] {
        let store = house.open().await;
        house.finish(store).await;
    }
    let of_sqlite = schema_of_sqlite(&embedded);
    let of_postgres = schema_of_postgres(served.postgres.as_ref().unwrap());
    let (only_sqlite, only_postgres) = (
        of_sqlite.difference(&of_postgres).collect::<Vec<_>>(),
        of_postgres.difference(&of_sqlite).collect::<Vec<_>>(),
    );
    assert_eq!((only_sqlite, only_postgres), (vec![], vec![]));
    assert!(of_sqlite.len() > 150, "{} facts", of_sqlite.len());
    for (table, _) in TABLES {
        let column = format!("{table} column ");
        let known = OF_ONE_ENGINE.contains(table);
        assert!(
            known || of_sqlite.iter().any(|fact| fact.starts_with(&column)),
            "{table} is not in the schema"
        );
    }
    for fact in &of_sqlite {
        let table = fact.split(' ').next().unwrap();
        let known = TABLES.iter().any(|(name, _)| *name == table);
        assert!(known, "{table} has no class");
    }
}

/// A line for each column, key and index.
fn schema_of_sqlite(house: &House) -> BTreeSet<String> {
    let file = house.path().join("data/mail.db");
    let connection = rusqlite::Connection::open(file).unwrap();
    let columns = "SELECT t.name || ' column ' || c.name
            || CASE c.type WHEN 'INTEGER' THEN ' bigint' WHEN 'BLOB' THEN ' bytea'
                ELSE ' ' || lower(c.type) END
            || CASE WHEN c.\"notnull\" THEN ' filled' ELSE '' END
        FROM sqlite_schema t JOIN pragma_table_info(t.name) c
        WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite_%'";
    let keys = "SELECT t.name || ' key ' || (SELECT group_concat(name, ',') FROM
            (SELECT name FROM pragma_table_info(t.name) WHERE pk > 0 ORDER BY pk))
        FROM sqlite_schema t WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite_%'";
    let indexes = "SELECT t.name || CASE WHEN i.\"unique\" THEN ' unique ' ELSE ' index ' END
            || (SELECT group_concat(name, ',') FROM
                (SELECT name FROM pragma_index_info(i.name) ORDER BY seqno))
            || CASE WHEN i.partial THEN ' partly' ELSE '' END
        FROM sqlite_schema t JOIN pragma_index_list(t.name) i
        WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite_%' AND i.origin = 'c'";
    let mut facts = BTreeSet::new();
    for sql in [columns, keys, indexes] {
        let mut statement = connection.prepare(sql).unwrap();
        let found = statement.query_map([], |row| row.get::<_, String>(0));
        facts.extend(found.unwrap().map(Result::unwrap));
    }
    without_own(facts)
}

fn schema_of_postgres(server: &Postgres) -> BTreeSet<String> {
    let columns = "SELECT table_name || ' column ' || column_name || ' ' || data_type
            || CASE is_nullable WHEN 'NO' THEN ' filled' ELSE '' END
        FROM information_schema.columns WHERE table_schema = 'public'";
    let keys = "SELECT t.relname
            || CASE WHEN i.indisprimary THEN ' key ' WHEN i.indisunique THEN ' unique '
                ELSE ' index ' END
            || (SELECT string_agg(a.attname, ',' ORDER BY k.at)
                FROM unnest(i.indkey) WITH ORDINALITY k (number, at)
                JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = k.number)
            || CASE WHEN i.indpred IS NULL THEN '' ELSE ' partly' END
        FROM pg_index i JOIN pg_class t ON t.oid = i.indrelid
        JOIN pg_namespace n ON n.oid = t.relnamespace WHERE n.nspname = 'public'";
    let facts = [columns, keys].map(|sql| server.psql("mail", sql));
    let facts = facts.iter().flat_map(|text| text.lines());
    without_own(facts.map(str::to_owned).collect())
}

fn without_own(mut facts: BTreeSet<String>) -> BTreeSet<String> {
    facts.retain(|fact| {
        let table = fact.split(' ').next().unwrap();
        !OF_ONE_ENGINE.contains(&table)
    });
    facts
}
