//! The index in PostgreSQL: a row with a `tsvector` for each letter, made of our own tokens with
//! their positions, under one GIN index. The server never tokenises: its texts are cast.
//!
//! A long letter is several rows, each with a piece of its tokens and some of those before, because
//! a `tsvector` counts positions to 16,383 and keeps 256 of each word. The words of a query may then
//! stand in different rows.
//!
//! The subject has weight A, addresses B, attachments C, the body D. There is no fifth weight:
//! tokens of other header fields have a mark of their own.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Write as _;

use base::{AccountId, MessageId};

use super::index::{Page, Progress, Step, token_prefix};
use super::query::{PHRASE_TOKENS_MAX, SearchField, SearchQuery, Term};
use super::text::Document;
use crate::StoreError;
use crate::engine::{Body, Engine, Priority, Tx, params};
use crate::shared::Shared;

/// Tokens of one row.
const PIECE_TOKENS: usize = 10_000;
/// How often one token may come in a row.
const PIECE_SAME_TOKENS: u32 = 250;
/// Tokens that the next row has again: no phrase is longer.
const OVERLAP_TOKENS: usize = PHRASE_TOKENS_MAX;
/// How long a node may work on an account before others take it for dead, in milliseconds.
const LEASE_MS: i64 = 30_000;
/// Rows that one transaction of a removal takes.
const PIECE_ROWS: i64 = 500;
/// Accounts that one look finds; the rest comes with the next.
const LAGGING_MAX: i64 = 10_000;

/// How far the index has come with an account.
pub(super) struct ReadProgress {
    pub account: AccountId,
}

impl Body for ReadProgress {
    type Out = Option<Progress>;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Option<Progress>, StoreError> {
        progress(tx, self.account).await
    }
}

async fn progress(tx: &mut Tx<'_>, account: AccountId) -> Result<Option<Progress>, StoreError> {
    let sql = "SELECT modseq, scan_after FROM search_progress
        WHERE account_id = $1 AND modseq >= 0";
    let row = tx.row(sql, params![account]).await?;
    row.map(|row| {
        Ok(Progress {
            modseq: row.int(0)?,
            scan_after: row.maybe_int(1)?,
        })
    })
    .transpose()
}

/// Takes or renews this node's right to work on an account. It only spares work: two nodes at once
/// do no harm, as a step is taken only from where it started.
pub(super) async fn take_lease(
    engine: &Engine,
    account: AccountId,
    shared: &Shared,
) -> Result<bool, StoreError> {
    let body = TakeLease {
        account,
        node: shared.node.clone(),
        now: shared.now().millis(),
    };
    engine.write(body, Priority::Index).await
}

struct TakeLease {
    account: AccountId,
    node: String,
    now: i64,
}

impl Body for TakeLease {
    type Out = bool;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<bool, StoreError> {
        let until = self.now + LEASE_MS;
        // modseq -1: nothing is in the index yet.
        let sql = "INSERT INTO search_progress (account_id, modseq, scan_after, node, held_until)
            VALUES ($1, -1, NULL, $2, $3)
            ON CONFLICT (account_id) DO UPDATE SET node = $2, held_until = $3
            WHERE search_progress.node = $2 OR search_progress.held_until < $4";
        let values = params![self.account, &self.node, until, self.now];
        Ok(tx.execute(sql, values).await? > 0)
    }
}

/// Takes steps, each in a transaction of its own.
pub(super) async fn take(engine: &Engine, steps: Vec<Step>) -> Result<(), StoreError> {
    for step in steps {
        engine.write(Take { step }, Priority::Index).await?;
    }
    Ok(())
}

struct Take {
    step: Step,
}

impl Body for Take {
    type Out = ();

    async fn run(&self, tx: &mut Tx<'_>) -> Result<(), StoreError> {
        let step = &self.step;
        let account = step.account;
        let sql = "INSERT INTO search_progress (account_id, modseq, scan_after, node, held_until)
            VALUES ($1, -1, NULL, '', 0) ON CONFLICT (account_id) DO NOTHING";
        tx.execute(sql, params![account]).await?;
        let from = step.from.unwrap_or(Progress {
            modseq: -1,
            scan_after: None,
        });
        let sql = "UPDATE search_progress SET modseq = $2, scan_after = $3
            WHERE account_id = $1 AND modseq = $4 AND coalesce(scan_after, -1) = $5";
        let scan_from = from.scan_after.unwrap_or(-1);
        let values = params![
            account,
            step.to.modseq,
            step.to.scan_after,
            from.modseq,
            scan_from
        ];
        if tx.execute(sql, values).await? == 0 {
            return Ok(());
        }
        if let Some((after, through)) = step.cleared {
            let sql = "DELETE FROM search_document
                WHERE account_id = $1 AND message_id > $2 AND message_id <= $3";
            tx.execute(sql, params![account, after, through]).await?;
        }
        let mut gone: Vec<i64> = step.removed.iter().map(|message| message.0).collect();
        gone.extend(step.documents.iter().map(|document| document.message.0));
        let sql = "DELETE FROM search_document WHERE account_id = $1 AND message_id IN list($2)";
        tx.execute(sql, params![account, gone.as_slice()]).await?;
        for document in &step.documents {
            insert(tx, account, document).await?;
        }
        Ok(())
    }
}

async fn insert(
    tx: &mut Tx<'_>,
    account: AccountId,
    document: &Document,
) -> Result<(), StoreError> {
    let pieces = pieces(account, document);
    let count = i64::try_from(pieces.len()).unwrap_or(i64::MAX);
    for (number, piece) in (0_i64..).zip(&pieces) {
        let sql = "INSERT INTO search_document (account_id, message_id, piece, pieces, document)
            VALUES ($1, $2, $3, $4, CAST(CAST($5 AS TEXT) AS tsvector))";
        let values = params![account, document.message, number, count, piece];
        tx.execute(sql, values).await?;
    }
    Ok(())
}

/// The messages that a query finds.
pub(super) async fn find(
    engine: &Engine,
    account: AccountId,
    query: &SearchQuery,
    after: MessageId,
    limit: usize,
) -> Result<Page, StoreError> {
    let body = Find {
        account,
        terms: query
            .terms
            .iter()
            .map(|term| ts_query(account, term))
            .collect(),
        after,
        limit: i64::try_from(limit).unwrap_or(i64::MAX),
    };
    engine.read(body).await
}

struct Find {
    account: AccountId,
    /// As `tsquery` is written.
    terms: Vec<String>,
    after: MessageId,
    limit: i64,
}

impl Body for Find {
    type Out = Page;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Page, StoreError> {
        let progress = progress(tx, self.account).await?;
        let rows = match self.terms.as_slice() {
            [term] => {
                let sql = "SELECT DISTINCT message_id FROM search_document
                    WHERE account_id = $1 AND message_id > $2
                        AND document @@ CAST(CAST($3 AS TEXT) AS tsquery)
                    ORDER BY message_id LIMIT $4";
                let values = params![self.account, self.after, term, self.limit];
                tx.rows(sql, values).await?
            }
            terms => {
                // All in the one row of a letter; or each in some row of a long one.
                let sql = "SELECT message_id FROM search_document
                    WHERE account_id = $1 AND message_id > $2 AND pieces = 1
                        AND document @@ CAST(CAST($3 AS TEXT) AS tsquery)
                    UNION
                    SELECT message_id FROM search_document,
                        unnest(string_to_array(CAST($6 AS TEXT), chr(10))) AS term
                    WHERE account_id = $1 AND message_id > $2 AND pieces > 1
                        AND document @@ CAST(CAST($5 AS TEXT) AS tsquery)
                        AND document @@ CAST(term AS tsquery)
                    GROUP BY message_id HAVING count(DISTINCT term) = $7
                    ORDER BY message_id LIMIT $4";
                let (all, any) = (terms.join(" & "), terms.join(" | "));
                let distinct: BTreeSet<&String> = terms.iter().collect();
                let count = i64::try_from(distinct.len()).unwrap_or(i64::MAX);
                let lines = terms.join("\n");
                let values = params![
                    self.account,
                    self.after,
                    &all,
                    self.limit,
                    &any,
                    &lines,
                    count
                ];
                tx.rows(sql, values).await?
            }
        };
        let messages = rows.iter().map(|row| Ok(MessageId(row.int(0)?)));
        Ok(Page {
            progress,
            messages: messages.collect::<Result<_, StoreError>>()?,
        })
    }
}

/// Begins anew with an account.
pub(super) async fn restart(engine: &Engine, account: AccountId) -> Result<(), StoreError> {
    engine.write(Restart { account }, Priority::Index).await
}

struct Restart {
    account: AccountId,
}

impl Body for Restart {
    type Out = ();

    async fn run(&self, tx: &mut Tx<'_>) -> Result<(), StoreError> {
        let sql = "UPDATE search_progress SET modseq = -1, scan_after = NULL
            WHERE account_id = $1";
        tx.execute(sql, params![self.account]).await?;
        Ok(())
    }
}

/// Accounts that the index lags behind, whichever node has changed them. It belongs to no account:
/// it asks across them.
pub(super) struct Lagging;

impl Body for Lagging {
    type Out = Vec<AccountId>;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Vec<AccountId>, StoreError> {
        let sql = "SELECT a.account_id FROM account a WHERE a.removing = 0 AND NOT EXISTS
                (SELECT 1 FROM search_progress p WHERE p.account_id = a.account_id
                    AND p.modseq = a.modseq AND p.scan_after IS NULL)
            LIMIT $1";
        let rows = tx.rows(sql, params![LAGGING_MAX]).await?;
        rows.iter().map(|row| Ok(AccountId(row.int(0)?))).collect()
    }
}

/// Removes what belongs to accounts that are no more.
pub(super) async fn forget_removed(engine: &Engine) -> Result<(), StoreError> {
    for account in engine.read(Removed).await? {
        while engine.write(Forget { account }, Priority::Index).await? {}
    }
    Ok(())
}

struct Removed;

impl Body for Removed {
    type Out = Vec<AccountId>;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Vec<AccountId>, StoreError> {
        let sql = "SELECT p.account_id FROM search_progress p WHERE NOT EXISTS
                (SELECT 1 FROM account a WHERE a.account_id = p.account_id AND a.removing = 0)
            LIMIT $1";
        let rows = tx.rows(sql, params![LAGGING_MAX]).await?;
        rows.iter().map(|row| Ok(AccountId(row.int(0)?))).collect()
    }
}

/// Removes some rows of an account, and its progress with the last; whether there may be more.
struct Forget {
    account: AccountId,
}

impl Body for Forget {
    type Out = bool;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<bool, StoreError> {
        let sql = "DELETE FROM search_document WHERE account_id = $1 AND message_id IN
            (SELECT message_id FROM search_document
                WHERE account_id = $1 ORDER BY message_id LIMIT $2)";
        let removed = tx.execute(sql, params![self.account, PIECE_ROWS]).await?;
        if removed == 0 {
            let sql = "DELETE FROM search_progress WHERE account_id = $1";
            tx.execute(sql, params![self.account]).await?;
        }
        Ok(removed > 0)
    }
}

/// The mark of a token of another header field: `1/word` becomes `1h/word`.
fn marked(prefix: &str) -> String {
    prefix.replace('/', "h/")
}

/// A letter's rows, as `tsvector` is written: `'1/red':1A '1/fox':2A`.
fn pieces(account: AccountId, document: &Document) -> Vec<String> {
    let prefix = token_prefix(account);
    let mut tokens = Vec::new();
    let fields = SearchField::ALL.into_iter().zip(&document.fields);
    for (field, text) in fields {
        let before = tokens.len();
        tokens.extend(
            text.split_ascii_whitespace()
                .map(|token| Some((field, token))),
        );
        // No phrase goes from one field into the next.
        if tokens.len() > before {
            tokens.push(None);
        }
    }
    let mut pieces = Vec::new();
    let mut first = 0;
    loop {
        let (text, count) = piece(&prefix, &tokens[first..]);
        pieces.push(text);
        if first + count == tokens.len() {
            return pieces;
        }
        first += count - OVERLAP_TOKENS;
    }
}

/// The row that begins with the first of some tokens, and the number of tokens in it.
fn piece(prefix: &str, tokens: &[Option<(SearchField, &str)>]) -> (String, usize) {
    let mark = marked(prefix);
    let mut text = String::new();
    let mut counts: HashMap<&str, u32> = HashMap::new();
    for (at, token) in tokens.iter().enumerate() {
        let position = at + 1;
        if position > PIECE_TOKENS {
            return (text, at);
        }
        let Some((field, token)) = *token else {
            continue;
        };
        let count = counts.entry(token).or_default();
        *count += 1;
        if *count > PIECE_SAME_TOKENS {
            return (text, at);
        }
        let (before, weight) = match field {
            SearchField::Subject => (prefix, "A"),
            SearchField::Addresses => (prefix, "B"),
            SearchField::Header => (mark.as_str(), ""),
            SearchField::Body => (prefix, ""),
            SearchField::Attachments => (prefix, "C"),
        };
        let word = token.strip_prefix(prefix).unwrap_or(token);
        // Writing to a text does not fail.
        let _ = write!(text, "'{before}{word}':{position}{weight} ");
    }
    (text, tokens.len())
}

/// A term, as `tsquery` is written: `('1/red':D <-> '1/fo':*D)`.
fn ts_query(account: AccountId, term: &Term) -> String {
    let prefix = token_prefix(account);
    let phrase = |before: &str, weights: &str| {
        let last = term.tokens.len() - 1;
        let words = term.tokens.iter().enumerate().map(|(at, token)| {
            let star = if term.prefix && at == last { "*" } else { "" };
            let after = match (star, weights) {
                ("", "") => String::new(),
                _ => format!(":{star}{weights}"),
            };
            format!("'{before}{token}'{after}")
        });
        format!("({})", words.collect::<Vec<_>>().join(" <-> "))
    };
    let mut weights = String::new();
    for (field, weight) in [
        (SearchField::Subject, 'A'),
        (SearchField::Addresses, 'B'),
        (SearchField::Attachments, 'C'),
        (SearchField::Body, 'D'),
    ] {
        if term.fields.has(field) {
            weights.push(weight);
        }
    }
    let mut choices = Vec::new();
    if !weights.is_empty() {
        // All weights together are no condition, and need no look into the row.
        let asked = if weights.len() == 4 { "" } else { &weights };
        choices.push(phrase(&prefix, asked));
    }
    if term.fields.has(SearchField::Header) {
        choices.push(phrase(&marked(&prefix), ""));
    }
    format!("({})", choices.join(" | "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SearchFields;

    fn document(fields: [&str; 5]) -> Document {
        Document {
            message: MessageId(1),
            fields: fields.map(str::to_owned),
        }
    }

    #[test]
    fn vectors() {
        let document = document([" a/red a/fox ", "", " a/x ", " a/red ", " a/cat "]);
        let expected = "'a/red':1A 'a/fox':2A 'ah/x':4 'a/red':6 'a/cat':8C ";
        assert_eq!(pieces(AccountId(10), &document), [expected]);
    }

    #[test]
    fn long_letters_are_several_rows() {
        let check = |body: &str, expected: &[usize]| {
            let found = pieces(AccountId(10), &document(["", "", "", body, ""]));
            let counts = found.iter().map(|piece| piece.matches("a/w").count());
            assert_eq!(counts.collect::<Vec<_>>(), expected);
        };
        let body: String = (0..PIECE_TOKENS + 5).map(|n| format!("a/w{n} ")).collect();
        check(&body, &[PIECE_TOKENS, OVERLAP_TOKENS + 5]);
        check(&"a/w ".repeat(300), &[250, 66]);
        let empty = pieces(AccountId(10), &document(["", "", "", "", ""]));
        assert_eq!(empty, [""]);
    }

    #[test]
    fn queries() {
        let check = |query: &SearchQuery, expected: &str| {
            assert_eq!(ts_query(AccountId(10), &query.terms[0]), expected);
        };
        let all = SearchQuery::parse("\"red fo\"*");
        check(&all, "(('a/red' <-> 'a/fo':*) | ('ah/red' <-> 'ah/fo':*))");
        let body = SearchQuery::phrase("red", SearchFields::BODY, true);
        check(&body, "(('a/red':*CD))");
        check(&SearchQuery::parse("subject:red"), "(('a/red':A))");
        check(&SearchQuery::parse("header:red"), "(('ah/red'))");
    }
}
