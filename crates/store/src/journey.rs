//! The journey of a letter: what happened to it, step by step, for its sender and its reader.

//!
//! The notes of one verb are one row, in a form of our own; they are kept for 30 days.

use base::{EmailAddress, LetterId, Timestamp};

use crate::directory::address;
use crate::engine::{Body, Priority, Tx, params};
use crate::prepare::key_of;
use crate::{Store, StoreError};

/// Bytes of a note's words that are kept.
const DETAIL_BYTES_MAX: usize = 1_000;
/// Rows that one letter's journey is read to: some hundred attempts for some hundred recipients.
const ROWS_MAX: i64 = 10_000;
/// Letters that one Message-ID is looked up to.
const LETTERS_MAX: usize = 1_000;

/// A step of a journey. The text form (`as_str`) is stored and shown by `queue trace`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Handed in by a user (authenticated).
    Submitted,
    /// Taken from another server.
    Received,
    /// Whom it is from was checked: SPF, DKIM, DMARC, with reasons.
    Checked,
    /// Stored in a mailbox here.
    Stored,
    /// Routed: the MX and addresses that will be tried.
    Routed,
    /// A connection to a server: opened, with or without TLS.
    Connected,
    /// Handed over to another server, with its reply.
    Transferred,
    /// Not now: will be tried again.
    Deferred,
    /// Given up.
    Failed,
    /// A report was sent to the sender.
    Reported,
    /// Forwarded by an alias.
    Forwarded,
    /// Held, released, retried or dropped by the operator or the sender.
    Operated,
}

/// A step that a verb is to note in its own transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// When.
    pub at: Timestamp,
    /// For which recipient; `None` for the whole letter.
    pub recipient: Option<EmailAddress>,
    /// What.
    pub step: Step,
    /// In words: peer, reply, mailbox, reason. At most 1,000 bytes are kept.
    pub detail: String,
}

/// A step as noted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JourneyEvent {
    /// Of which letter.
    pub letter: LetterId,
    /// The step.
    pub note: Note,
}

impl Step {
    /// All of them, with the text that is stored.
    const ALL: [(Self, &'static str); 12] = [
        (Self::Submitted, "submitted"),
        (Self::Received, "received"),
        (Self::Checked, "checked"),
        (Self::Stored, "stored"),
        (Self::Routed, "routed"),
        (Self::Connected, "connected"),
        (Self::Transferred, "transferred"),
        (Self::Deferred, "deferred"),
        (Self::Failed, "failed"),
        (Self::Reported, "reported"),
        (Self::Forwarded, "forwarded"),
        (Self::Operated, "operated"),
    ];

    /// Its text.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        let found = Self::ALL.iter().find(|(step, _)| *step == self);
        found.map_or("", |(_, text)| text)
    }
}

impl Store {
    /// The journey of a letter, in order of time; empty when it is unknown.
    ///
    /// # Errors
    /// Those of reading.
    pub async fn journey(&self, letter: LetterId) -> Result<Vec<JourneyEvent>, StoreError> {
        self.0.engine.read(ReadJourney { letter }).await
    }

    /// Notes steps outside any other verb (for example a route that was found). Not waited for by
    /// any acknowledgement.
    ///
    /// # Errors
    /// Those of writing.
    pub async fn note(&self, letter: LetterId, notes: Vec<Note>) -> Result<(), StoreError> {
        if notes.is_empty() {
            return Ok(());
        }
        let body = AddNotes {
            letter,
            batch: self.0.shared.next_id(),
            notes: encode(&notes),
        };
        self.0.engine.write(body, Priority::Bulk).await
    }

    /// The letters (newest first, at most `limit`) whose Message-ID is this one, without angle
    /// brackets; for `queue trace` and `demo --send`.
    ///
    /// # Errors
    /// Those of reading.
    pub async fn letters_by_message_id(
        &self,
        message_id: &str,
        limit: usize,
    ) -> Result<Vec<LetterId>, StoreError> {
        let body = ByMessageKey {
            key: key_of(message_id),
            limit: i64::try_from(limit.min(LETTERS_MAX)).unwrap_or(i64::MAX),
        };
        self.0.engine.read(body).await
    }
}

/// Adds a row to a letter's journey; the first one names the letter's Message-ID.
pub(crate) async fn add_row(
    tx: &mut Tx<'_>,
    letter: LetterId,
    batch: i64,
    message_key: Option<i64>,
    notes: &[u8],
) -> Result<(), StoreError> {
    tx.send(
        "INSERT INTO journey (letter_id, batch, notes) VALUES ($1, $2, $3)",
        params![letter, batch, notes],
    )
    .await?;
    if let Some(key) = message_key {
        let sql = "INSERT INTO letter_name (letter_id, message_key) VALUES ($1, $2)";
        tx.send(sql, params![letter, key]).await?;
    }
    Ok(())
}

/// The stored form of notes, one after another: time, step, recipient and words with their lengths.
pub(crate) fn encode(notes: &[Note]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(notes.len() * 64);
    for note in notes {
        bytes.extend_from_slice(&note.at.millis().to_le_bytes());
        text(&mut bytes, note.step.as_str());
        let recipient = note.recipient.as_ref().map(ToString::to_string);
        text(&mut bytes, recipient.as_deref().unwrap_or_default());
        let mut end = note.detail.len().min(DETAIL_BYTES_MAX);
        while !note.detail.is_char_boundary(end) {
            end -= 1;
        }
        text(&mut bytes, &note.detail[..end]);
    }
    bytes
}

/// A text of at most 64 KiB with its length; addresses and details are far shorter.
fn text(bytes: &mut Vec<u8>, text: &str) {
    let length = u16::try_from(text.len()).unwrap_or(u16::MAX);
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(&text.as_bytes()[..usize::from(length)]);
}

fn decode(mut bytes: &[u8]) -> Option<Vec<Note>> {
    let mut notes = Vec::new();
    while !bytes.is_empty() {
        let (at, rest) = bytes.split_first_chunk::<8>()?;
        bytes = rest;
        let step = take_text(&mut bytes)?;
        let recipient = take_text(&mut bytes)?;
        let detail = take_text(&mut bytes)?;
        notes.push(Note {
            at: Timestamp(i64::from_le_bytes(*at)),
            recipient: match recipient.as_str() {
                "" => None,
                text => Some(address(text).ok()?),
            },
            step: Step::ALL.iter().find(|(_, text)| *text == step)?.0,
            detail,
        });
    }
    Some(notes)
}

fn take_text(bytes: &mut &[u8]) -> Option<String> {
    let (length, rest) = bytes.split_first_chunk::<2>()?;
    let (text, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes(*length)))?;
    *bytes = rest;
    String::from_utf8(text.to_vec()).ok()
}

struct ReadJourney {
    letter: LetterId,
}

impl Body for ReadJourney {
    type Out = Vec<JourneyEvent>;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Vec<JourneyEvent>, StoreError> {
        let sql = "SELECT notes FROM journey WHERE letter_id = $1 ORDER BY batch LIMIT $2";
        let mut events = Vec::new();
        for mut row in tx.rows(sql, params![self.letter, ROWS_MAX]).await? {
            let notes = decode(&row.bytes(0)?)
                .ok_or_else(|| StoreError::Io("a stored journey is damaged".to_owned()))?;
            events.extend(notes.into_iter().map(|note| JourneyEvent {
                letter: self.letter,
                note,
            }));
        }
        // A stable sort: notes of the same time stay in the order in which they were made.
        events.sort_by_key(|event| event.note.at);
        Ok(events)
    }
}

struct AddNotes {
    letter: LetterId,
    batch: i64,
    notes: Vec<u8>,
}

impl Body for AddNotes {
    type Out = ();

    async fn run(&self, tx: &mut Tx<'_>) -> Result<(), StoreError> {
        add_row(tx, self.letter, self.batch, None, &self.notes).await
    }
}

struct ByMessageKey {
    key: i64,
    limit: i64,
}

impl Body for ByMessageKey {
    type Out = Vec<LetterId>;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Vec<LetterId>, StoreError> {
        let sql = "SELECT letter_id FROM letter_name WHERE message_key = $1
            ORDER BY letter_id DESC LIMIT $2";
        let rows = tx.rows(sql, params![self.key, self.limit]).await?;
        rows.iter().map(|row| Ok(LetterId(row.int(0)?))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_there_and_back() {
        let notes = Step::ALL.map(|(step, text)| Note {
            at: Timestamp(-5),
            recipient: EmailAddress::parse("\"a b\"@x.test").ok(),
            step,
            detail: text.repeat(3),
        });
        assert_eq!(decode(&encode(&notes)).unwrap(), notes);
    }

    #[test]
    fn long_words_are_cut_between_characters() {
        let note = Note {
            at: Timestamp(0),
            recipient: None,
            step: Step::Failed,
            detail: "ä".repeat(600),
        };
        assert_eq!(decode(&encode(&[note])).unwrap()[0].detail, "ä".repeat(500));
        assert_eq!(decode(&[1, 2, 3]), None);
    }
}
