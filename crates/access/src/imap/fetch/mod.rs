//! FETCH (RFC 9051 §6.4.5): answers are streamed message by message, so that neither a large set
//! nor a large letter is held in memory.
//!
//! A message is first prepared (whatever can fail with a clean answer, also that its bytes cannot be
//! read) and then written; after the first byte of an answer only the end of the connection is left as
//! an error.

mod binary;
mod section;
mod structure;

use std::ops::Range;

use base::{MessageId, Uid};
use message::{Envelope, Structure};
use proto::imap::bodystructure::{self, Form};
use proto::imap::command::Numbering;
use proto::imap::date::DateTime;
use proto::imap::fetch::{Item, Rfc822};
use proto::imap::{MessageSet, envelope};
use store::{FlagChange, FlagOp, MessageMeta, Store, StoreError};
use tracing::warn;

pub(super) use binary::{Decoder, Encoding};
pub(super) use section::next_piece;

use super::connection::Connection;
use super::reply::Failure;
use super::selected::Row;
use super::session::{Done, Expunges, Session};
use super::store::pages;
use section::{Piece, Sections};

/// What must be read of a message besides its row.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Needs {
    Row,
    Meta,
    Structure,
}

/// What a FETCH does with each message.
struct Plan<'a> {
    items: Vec<&'a Item>,
    needs: Needs,
    sets_seen: bool,
}

/// What is known of a message.
pub(super) struct Detail {
    pub(super) meta: MessageMeta,
    pub(super) envelope: Option<Envelope>,
    pub(super) structure: Option<Structure>,
}

/// Messages that cannot be read, after which a FETCH ends: where their home is away each of them
/// costs a timeout.
const UNREADABLE_MAX: u32 = 3;

/// What became of the messages so far.
#[derive(Default)]
struct Outcome {
    some_gone: bool,
    some_encoding_unknown: bool,
    unreadable: u32,
    /// Why the last of these could not be read.
    why: Option<StoreError>,
}

impl Session {
    pub(super) async fn fetch(
        &mut self,
        numbering: Numbering,
        set: &MessageSet,
        items: &[Item],
    ) -> Result<Done, Failure> {
        let selected = self.selected()?;
        let ranges = selected.resolve(numbering, set)?;
        let plan = Plan::new(items, numbering, selected.read_only);
        let mut outcome = Outcome::default();
        for page in pages(&ranges, plan.page_rows()) {
            self.fetch_page(page, &plan, &mut outcome).await?;
        }
        if let Some(error) = outcome.why {
            return Err(Failure::Store(error));
        }
        if outcome.some_encoding_unknown {
            return Err(Failure::UnknownEncoding);
        }
        if outcome.some_gone && numbering == Numbering::Sequence {
            return Err(Failure::Expunged);
        }
        // RFC 9051 §7.5.1: a UID command may hear of removals.
        let expunges = match numbering {
            Numbering::Sequence => Expunges::Wait,
            Numbering::Uid => Expunges::Told,
        };
        Ok(Done::new("FETCH is done").with_expunges(expunges))
    }

    async fn fetch_page(
        &mut self,
        page: Range<usize>,
        plan: &Plan<'_>,
        outcome: &mut Outcome,
    ) -> Result<(), Failure> {
        let newly_seen = if plan.sets_seen {
            self.mark_seen(page.clone()).await?
        } else {
            Vec::new()
        };
        let (selected, connection, context) = self.parts()?;
        selected.announce_keywords(&mut connection.writer);
        let rows: Vec<Row> = selected.rows()[page.clone()].to_vec();
        let mut details = details(&context.options.store, selected.account, &rows, plan.needs)
            .await?
            .into_iter()
            .peekable();
        for (index, row) in page.zip(rows) {
            let detail = details.next_if(|detail| detail.meta.id == row.message);
            if detail.is_none() && plan.needs > Needs::Row {
                outcome.some_gone = true;
                continue;
            }
            let mut sections = Sections::new(&context.options.store, selected.account, row.message);
            let prepared = match plan.prepare(detail.as_ref(), &mut sections).await {
                Ok(prepared) => prepared,
                Err(Failure::UnknownEncoding) => {
                    outcome.some_encoding_unknown = true;
                    continue;
                }
                Err(Failure::Store(StoreError::NotFound(_))) => {
                    outcome.some_gone = true;
                    continue;
                }
                // The others may be readable.
                Err(Failure::Store(error @ (StoreError::Io(_) | StoreError::Damaged(_))))
                    if outcome.unreadable < UNREADABLE_MAX =>
                {
                    warn!(message = %row.message, %error, "a letter cannot be read");
                    outcome.unreadable += 1;
                    outcome.why = Some(error);
                    continue;
                }
                Err(failure) => return Err(failure),
            };
            let answer = Answer {
                number: index + 1,
                row,
                flags: selected.flags(row).to_string(),
                tells_flags: newly_seen.contains(&row.uid),
                detail: detail.as_ref(),
            };
            answer
                .write(connection, plan, prepared, &mut sections)
                .await?;
        }
        Ok(())
    }

    /// Sets `\Seen`; tells which messages did not have it.
    async fn mark_seen(&mut self, page: Range<usize>) -> Result<Vec<Uid>, Failure> {
        let (selected, _, context) = self.parts()?;
        let rows = selected.rows()[page].iter();
        let unseen: Vec<Uid> = rows
            .filter(|row| !selected.flags(**row).is_seen())
            .map(|row| row.uid)
            .collect();
        if unseen.is_empty() {
            return Ok(unseen);
        }
        let change = FlagChange {
            op: FlagOp::Add,
            keywords: ["$seen"].into_iter().collect(),
            deleted: false,
            unchanged_since: None,
        };
        let (placements, _) = context
            .options
            .store
            .set_flags(selected.account, selected.mailbox, &unseen, &change)
            .await?;
        for placement in placements {
            selected.apply(placement);
        }
        Ok(unseen)
    }
}

impl<'a> Plan<'a> {
    fn new(items: &'a [Item], numbering: Numbering, read_only: bool) -> Self {
        let mut all: Vec<&Item> = Vec::with_capacity(items.len() + 1);
        // RFC 9051 §6.4.9: the UID is told whether or not it was asked for.
        if numbering == Numbering::Uid && !items.contains(&Item::Uid) {
            all.push(&Item::Uid);
        }
        all.extend(items);
        Self {
            needs: all
                .iter()
                .map(|item| needs(item))
                .max()
                .unwrap_or(Needs::Row),
            sets_seen: !read_only && all.iter().any(|item| sets_seen(item)),
            items: all,
        }
    }

    /// How many messages are read from the store at once: structures of hostile letters are large.
    fn page_rows(&self) -> usize {
        match self.needs {
            Needs::Row => 2_000,
            Needs::Meta => 500,
            Needs::Structure => 50,
        }
    }

    /// Finds what the items with content stand for.
    async fn prepare(
        &self,
        detail: Option<&Detail>,
        sections: &mut Sections<'_>,
    ) -> Result<Vec<Option<Piece>>, Failure> {
        let mut pieces = Vec::with_capacity(self.items.len());
        for item in &self.items {
            pieces.push(match detail {
                Some(detail) => sections.piece(item, detail).await?,
                None => None,
            });
        }
        Ok(pieces)
    }
}

fn needs(item: &Item) -> Needs {
    match item {
        Item::Flags | Item::Uid => Needs::Row,
        Item::InternalDate | Item::Size => Needs::Meta,
        Item::Rfc822(Rfc822::Whole) => Needs::Meta,
        Item::Section { section, .. } if section.part.0.is_empty() && section.text.is_none() => {
            Needs::Meta
        }
        Item::Envelope
        | Item::Body
        | Item::BodyStructure
        | Item::Section { .. }
        | Item::Rfc822(Rfc822::Header | Rfc822::Text)
        | Item::Binary { .. }
        | Item::BinarySize(_) => Needs::Structure,
    }
}

fn sets_seen(item: &Item) -> bool {
    match item {
        Item::Section { peek, .. } | Item::Binary { peek, .. } => !peek,
        // RFC 3501 §6.4.5: RFC822.HEADER is a PEEK.
        Item::Rfc822(Rfc822::Whole | Rfc822::Text) => true,
        Item::Rfc822(Rfc822::Header)
        | Item::Flags
        | Item::Uid
        | Item::InternalDate
        | Item::Size
        | Item::Envelope
        | Item::Body
        | Item::BodyStructure
        | Item::BinarySize(_) => false,
    }
}

/// Reads what is needed of messages, in the order of the rows; messages that are gone are left out.
async fn details(
    store: &Store,
    account: base::AccountId,
    rows: &[Row],
    needs: Needs,
) -> Result<Vec<Detail>, Failure> {
    let ids: Vec<MessageId> = rows.iter().map(|row| row.message).collect();
    match needs {
        Needs::Row => Ok(Vec::new()),
        Needs::Meta => {
            let metas = store.message_metas(account, &ids).await?;
            let detail = |meta| Detail {
                meta,
                envelope: None,
                structure: None,
            };
            Ok(metas.into_iter().map(detail).collect())
        }
        Needs::Structure => structured_details(store, account, &ids).await,
    }
}

/// Reads messages with their cached envelopes and structures.
pub(super) async fn structured_details(
    store: &Store,
    account: base::AccountId,
    ids: &[MessageId],
) -> Result<Vec<Detail>, Failure> {
    let mut details = Vec::with_capacity(ids.len());
    for structured in store.structured(account, ids).await? {
        let decoded = Envelope::decode(&structured.envelope)
            .and_then(|envelope| Ok((envelope, Structure::decode(&structured.structure)?)));
        let (envelope, structure) =
            decoded.map_err(|error| StoreError::Bug(format!("cached structure: {error}")))?;
        details.push(Detail {
            meta: structured.meta,
            envelope: Some(envelope),
            structure: Some(structure),
        });
    }
    Ok(details)
}

/// One FETCH response.
struct Answer<'a> {
    number: usize,
    row: Row,
    flags: String,
    /// Whether FLAGS is told although it was not asked for: `\Seen` is new.
    tells_flags: bool,
    detail: Option<&'a Detail>,
}

impl Answer<'_> {
    async fn write(
        &self,
        connection: &mut Connection,
        plan: &Plan<'_>,
        pieces: Vec<Option<Piece>>,
        sections: &mut Sections<'_>,
    ) -> Result<(), Failure> {
        connection
            .writer
            .display(format_args!("* {} FETCH (", self.number));
        for (at, (item, piece)) in plan.items.iter().zip(pieces).enumerate() {
            if at > 0 {
                connection.writer.raw(" ");
            }
            match piece {
                Some(piece) => sections.write(connection, piece).await?,
                None => self.write_plain(connection, item),
            }
        }
        if self.tells_flags && !plan.items.contains(&&Item::Flags) {
            connection
                .writer
                .display(format_args!(" FLAGS {}", self.flags));
        }
        connection.writer.raw(")");
        connection.writer.end();
        connection.flush_if_large().await
    }

    /// Writes an item that is known already.
    fn write_plain(&self, connection: &mut Connection, item: &Item) {
        let writer = &mut connection.writer;
        match (item, self.detail) {
            (Item::Flags, _) => writer.display(format_args!("FLAGS {}", self.flags)),
            (Item::Uid, _) => writer.display(format_args!("UID {}", self.row.uid)),
            (Item::InternalDate, Some(detail)) => {
                let date = DateTime(detail.meta.received_at);
                writer.display(format_args!("INTERNALDATE {date}"));
            }
            (Item::Size, Some(detail)) => {
                writer.display(format_args!("RFC822.SIZE {}", detail.meta.size));
            }
            (Item::Envelope, Some(detail)) => {
                writer.raw("ENVELOPE ");
                let cached = detail.envelope.as_ref();
                let view = cached.map(structure::envelope_view).unwrap_or_default();
                envelope::write(writer, &view);
            }
            (Item::Body | Item::BodyStructure, Some(detail)) => {
                let form = match item {
                    Item::Body => Form::Basic,
                    _ => Form::Extended,
                };
                writer.raw(match form {
                    Form::Basic => "BODY ",
                    Form::Extended => "BODYSTRUCTURE ",
                });
                match &detail.structure {
                    Some(cached) => {
                        bodystructure::write(writer, &structure::part_view(&cached.root), form);
                    }
                    None => writer.raw("NIL"),
                }
            }
            // `Needs` has brought the detail, and items with content come as pieces.
            (_, _) => writer.raw("NIL"),
        }
    }
}
