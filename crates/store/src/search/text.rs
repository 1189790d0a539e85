//! From a stored letter to its tokens: reads the bytes of the parts that hold text, and no others.

use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use base::{AccountId, MessageId};
use bytes::Bytes;
use message::search::{SearchText, SourceKind, TextBuilder, TextLimits, sources};
use message::{Message, Span, Structure};

use super::TextExtractor;
use super::index::{keys, token_prefix};
use super::query::{SearchField, SearchQuery, Term};
use super::tokens::each_token;
use crate::{BodyReader, Store, StoreError, Structured};

/// Tokens of one letter; what is behind them is not found.
const TOKENS_MAX: usize = 200_000;
/// How long the PDF files of one letter may take together, those without a text too. No more of
/// them are begun after that.
const PDF_TIME: Duration = Duration::from_secs(20);
/// Each is held while a PDF file is read: so many at once in the process.
static PDF_TURNS: [Mutex<()>; 2] = [Mutex::new(()), Mutex::new(())];

/// A letter's tokens by field, each behind the account's prefix and between two spaces.
pub(crate) struct Document {
    pub message: MessageId,
    pub fields: [String; SearchField::ALL.len()],
}

/// The bytes of a letter that hold text.
pub(crate) struct Raw {
    pub message: MessageId,
    structure: Structure,
    header: Bytes,
    /// One for each of the structure's sources.
    parts: Vec<Bytes>,
}

impl Raw {
    /// Reads them. Nothing if the message is gone.
    pub(crate) async fn read(
        store: &Store,
        account: AccountId,
        row: &Structured,
    ) -> Result<Option<Self>, StoreError> {
        Self::of(store.body(account, row.meta.id).await, row).await
    }

    /// Reads them from an opened message. Nothing if it is gone.
    pub(crate) async fn of(
        opened: Result<BodyReader, StoreError>,
        row: &Structured,
    ) -> Result<Option<Self>, StoreError> {
        let message = row.meta.id;
        let body = match opened {
            Err(StoreError::NotFound(_)) => return Ok(None),
            other => other?,
        };
        let head = u64::from(row.meta.head_bytes);
        let structure = match Structure::decode(&row.structure) {
            Ok(structure) => structure,
            // Written by another version of the program.
            Err(_) => {
                let bytes = TextLimits::default().read_bytes_max as u64;
                let raw = body.read(head..head + bytes).await?;
                Message::parse(&raw).into_structure()
            }
        };
        let limits = TextLimits::default();
        let mut parts = Vec::new();
        for source in sources(&structure, &limits) {
            parts.push(part(&body, head, source.span).await?);
        }
        let header_bytes = structure.root.header.len().min(limits.part_bytes_max);
        let start = structure.root.header.range().start;
        let header = part(&body, head, Span::new(start, start + header_bytes)).await?;
        Ok(Some(Self {
            message,
            structure,
            header,
            parts,
        }))
    }

    /// What is known of a letter whose bytes cannot be read.
    pub(crate) fn without_bytes(row: &Structured) -> Option<Self> {
        Some(Self {
            message: row.meta.id,
            structure: Structure::decode(&row.structure).ok()?,
            header: Bytes::new(),
            parts: Vec::new(),
        })
    }

    /// Bytes held, and what is unpacked later: a small document may hold a long text.
    pub(crate) fn bytes(&self) -> usize {
        let held = self.parts.iter().map(Bytes::len).sum::<usize>() + self.header.len();
        let limits = TextLimits::default();
        let packed = sources(&self.structure, &limits)
            .iter()
            .filter(|source| matches!(source.kind, SourceKind::Office(_) | SourceKind::Pdf))
            .count();
        held + packed * limits.part_bytes_max
    }

    /// Whether there are parts that take longer than plain text.
    pub(crate) fn has_documents(&self) -> bool {
        let sources = sources(&self.structure, &TextLimits::default());
        let mut kinds = sources.iter().map(|source| source.kind);
        kinds.any(|kind| matches!(kind, SourceKind::Office(_) | SourceKind::Pdf))
    }

    /// The texts. Blocks: unpacks documents.
    pub(crate) fn text(&self, extractor: Option<&Arc<dyn TextExtractor>>) -> SearchText {
        let limits = TextLimits::default();
        let mut builder = TextBuilder::new(&self.structure, &limits);
        builder.header(&self.header);
        let sources = sources(&self.structure, &limits);
        let mut pdf_time = PDF_TIME;
        for (source, encoded) in sources.iter().zip(&self.parts) {
            if builder.is_full() {
                break;
            }
            match (source.kind, extractor) {
                (SourceKind::Pdf, Some(_)) if pdf_time.is_zero() => {}
                (SourceKind::Pdf, Some(extractor)) => {
                    let data = source.part.transfer_encoding().decode(encoded);
                    let _turn = pdf_turn();
                    // Waiting for others is not the letter's fault.
                    let began = Instant::now();
                    let text = extractor.pdf_text(&data);
                    pdf_time = pdf_time.saturating_sub(began.elapsed());
                    if let Some(text) = text {
                        builder.extracted(source, &text);
                    }
                }
                _ => builder.part(source, encoded),
            }
        }
        builder.finish()
    }

    /// The tokens. Blocks.
    pub(crate) fn document(
        &self,
        account: AccountId,
        extractor: Option<&Arc<dyn TextExtractor>>,
    ) -> Document {
        Document::new(account, self.message, &self.text(extractor))
    }
}

/// Waits until a PDF file may be read. Blocks.
fn pdf_turn() -> MutexGuard<'static, ()> {
    let [first, second] = &PDF_TURNS;
    match first.try_lock() {
        Ok(turn) => turn,
        Err(TryLockError::Poisoned(turn)) => turn.into_inner(),
        Err(TryLockError::WouldBlock) => second.lock().unwrap_or_else(PoisonError::into_inner),
    }
}

async fn part(body: &BodyReader, head: u64, span: Span) -> Result<Bytes, StoreError> {
    let Range { start, end } = span.range();
    body.read(head + start as u64..head + end as u64).await
}

impl Document {
    /// The tokens of texts.
    pub(crate) fn new(account: AccountId, message: MessageId, text: &SearchText) -> Self {
        let prefix = token_prefix(account);
        let mut left = TOKENS_MAX;
        let fields = SearchField::ALL.map(|field| match field {
            SearchField::Subject => text.subject.as_str(),
            SearchField::Addresses => text.addresses.as_str(),
            SearchField::Header => text.header.as_str(),
            SearchField::Body => text.body.as_str(),
            SearchField::Attachments => text.attachments.as_str(),
        });
        let fields = fields.map(|text| tokens_of(text, &prefix, &mut left));
        Self { message, fields }
    }

    /// Whether a query finds it.
    pub(crate) fn matches(&self, account: AccountId, query: &SearchQuery) -> bool {
        query.terms.iter().all(|term| self.has(account, term))
    }

    fn has(&self, account: AccountId, term: &Term) -> bool {
        let mut wanted = String::new();
        for key in keys(account, term) {
            wanted.push(' ');
            wanted.push_str(&key);
        }
        if !term.prefix {
            wanted.push(' ');
        }
        let searched = SearchField::ALL.iter().zip(&self.fields);
        let mut searched = searched.filter(|(field, _)| term.fields.has(**field));
        searched.any(|(_, tokens)| tokens.contains(&wanted))
    }
}

fn tokens_of(text: &str, prefix: &str, left: &mut usize) -> String {
    let mut out = String::with_capacity(text.len() + text.len() / 4);
    out.push(' ');
    each_token(text, |token| {
        if *left == 0 {
            return false;
        }
        *left -= 1;
        out.push_str(prefix);
        out.push_str(token);
        out.push(' ');
        true
    });
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SearchFields;

    #[test]
    fn a_document_is_found_by_its_words() {
        let text = SearchText {
            subject: "Größe des Hauses".to_owned(),
            addresses: "Bob <bob.smith@red.test>".to_owned(),
            body: "the quick brown fox, 東京都".to_owned(),
            ..SearchText::default()
        };
        let account = AccountId(7);
        let document = Document::new(account, MessageId(1), &text);
        let check = |query: &str, expected: bool| {
            let query = SearchQuery::parse(query);
            assert_eq!(document.matches(account, &query), expected, "{query:?}");
        };
        check("grosse", true);
        check("haus", false);
        check("haus*", true);
        check("\"quick brown\" bob", true);
        check("\"brown quick\"", false);
        check("bob.smith@red.test", true);
        check("smith", true);
        check("body:smith", false);
        check("京都", true);
        check("京", true);
        check("都", true);
        check("東都", false);
        check("ick", false);
        let query = SearchQuery::phrase("brown fo", SearchFields::BODY, true);
        assert!(document.matches(account, &query));
        assert!(!document.matches(AccountId(8), &query));
    }
}
