//! Finding what is due. No look at the queue reads all of it: what has become due since the last
//! look is found by time, what a wake-up names is looked up, and the whole is gone through in pages,
//! by jumps in the index from lane to lane. So the cost of each follows what it finds, and not the
//! number of letters that wait.

use std::collections::BTreeSet;

use base::{Domain, Timestamp};

use super::{DueDestination, Lane};
use crate::StoreError;
use crate::directory::domain;
use crate::engine::{Body, Row, Tx, params};

/// What is due at `$1` of the lanes in `known`: the letters, counted up to `$2` recipients, since when,
/// how often the first was tried, and whether there are more recipients.
macro_rules! due_of_known {
    () => {
        "SELECT known.domain, known.lane,
            (SELECT count(DISTINCT limited.letter_id) FROM (SELECT r.letter_id FROM recipient r
                WHERE r.held = 0 AND r.domain = known.domain AND r.lane = known.lane
                    AND r.next_at <= $1
                ORDER BY r.next_at, r.letter_id LIMIT $2) limited),
            (SELECT r.next_at FROM recipient r
                WHERE r.held = 0 AND r.domain = known.domain AND r.lane = known.lane
                ORDER BY r.next_at, r.letter_id LIMIT 1),
            (SELECT r.attempts FROM recipient r
                WHERE r.held = 0 AND r.domain = known.domain AND r.lane = known.lane
                ORDER BY r.next_at, r.letter_id LIMIT 1),
            (SELECT count(*) FROM (SELECT 1 FROM recipient r
                WHERE r.held = 0 AND r.domain = known.domain AND r.lane = known.lane
                    AND r.next_at <= $1
                ORDER BY r.next_at, r.letter_id LIMIT 1 OFFSET $2) beyond)
        FROM known WHERE known.domain IS NOT NULL"
    };
}

/// A place in the order of time: what stands behind it has not been seen.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DueCursor {
    at: Timestamp,
    domain: String,
    lane: String,
}

impl DueCursor {
    /// Before everything.
    #[must_use]
    pub fn start() -> Self {
        Self::before(Timestamp(i64::MIN))
    }

    /// Before all that becomes due at this moment.
    #[must_use]
    pub fn before(at: Timestamp) -> Self {
        Self {
            at,
            domain: String::new(),
            lane: String::new(),
        }
    }
}

/// Destinations and lanes that have become due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BecameDue {
    /// Which; each once.
    pub lanes: Vec<(Domain, Lane)>,
    /// How far that is.
    pub cursor: DueCursor,
    /// Whether more was due behind it.
    pub more: bool,
}

/// A page of all that is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DuePage {
    /// What of it is due.
    pub due: Vec<DueDestination>,
    /// The last lane that was looked at; `None` after the last of all.
    pub last: Option<(Domain, Lane)>,
}

/// What has become due since a moment, in the order of time.
pub(super) struct Newly {
    pub after: DueCursor,
    pub now: Timestamp,
    pub recipients_max: usize,
}

impl Body for Newly {
    type Out = BecameDue;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<BecameDue, StoreError> {
        let sql = "SELECT next_at, domain, lane FROM recipient
            WHERE held = 0 AND (next_at, domain, lane) > ($1, $2, $3) AND next_at <= $4
            ORDER BY next_at, domain, lane LIMIT $5";
        let limit = i64::try_from(self.recipients_max).unwrap_or(i64::MAX);
        let (at, domain_text, lane) = (self.after.at, &self.after.domain, &self.after.lane);
        let rows = tx
            .rows(sql, params![at, domain_text, lane, self.now, limit])
            .await?;
        let more = rows.len() >= self.recipients_max;
        let mut seen = BTreeSet::new();
        let mut cursor = self.after.clone();
        for mut row in rows {
            cursor = DueCursor {
                at: row.time(0)?,
                domain: row.text(1)?,
                lane: row.text(2)?,
            };
            seen.insert((cursor.domain.clone(), cursor.lane.clone()));
        }
        let lanes: Result<Vec<_>, _> = seen
            .into_iter()
            .map(|(name, lane)| Ok::<_, StoreError>((domain(&name)?, Lane::parse(&lane))))
            .collect();
        Ok(BecameDue {
            lanes: lanes?,
            cursor,
            more,
        })
    }
}

/// What of these lanes is due.
pub(super) struct OfLanes {
    pub lanes: Vec<(Domain, Lane)>,
    pub now: Timestamp,
    pub counted_max: usize,
}

impl Body for OfLanes {
    type Out = Vec<DueDestination>;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Vec<DueDestination>, StoreError> {
        let sql = concat!(
            "WITH known (domain, lane) AS (SELECT CAST($3 AS TEXT), CAST($4 AS TEXT)) ",
            due_of_known!()
        );
        let counted_max = i64::try_from(self.counted_max).unwrap_or(i64::MAX);
        let mut due = Vec::with_capacity(self.lanes.len());
        for (domain, lane) in &self.lanes {
            let lane = lane.text();
            let values = params![self.now, counted_max, domain.as_str(), &lane];
            for row in tx.rows(sql, values).await? {
                due.extend(looked_at(row)?.1);
            }
        }
        Ok(due)
    }
}

/// Lanes behind one, in the order of their names.
pub(super) struct Page {
    pub after: Option<(Domain, Lane)>,
    pub lanes_max: usize,
    pub now: Timestamp,
    pub counted_max: usize,
}

impl Body for Page {
    type Out = DuePage;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<DuePage, StoreError> {
        let sql = concat!(
            "WITH RECURSIVE known (number, domain, lane) AS (
                SELECT 1, first.domain, first.lane FROM (SELECT r.domain, r.lane FROM recipient r
                    WHERE r.held = 0 AND (r.domain, r.lane) > ($3, $4)
                    ORDER BY r.domain, r.lane LIMIT 1) first
                UNION ALL
                SELECT known.number + 1,
                    (SELECT r.domain FROM recipient r
                        WHERE r.held = 0 AND (r.domain, r.lane) > (known.domain, known.lane)
                        ORDER BY r.domain, r.lane LIMIT 1),
                    (SELECT r.lane FROM recipient r
                        WHERE r.held = 0 AND (r.domain, r.lane) > (known.domain, known.lane)
                        ORDER BY r.domain, r.lane LIMIT 1)
                FROM known WHERE known.domain IS NOT NULL AND known.number < $5
            ) ",
            due_of_known!()
        );
        let after = match &self.after {
            Some((domain, lane)) => (domain.to_string(), lane.text()),
            None => (String::new(), String::new()),
        };
        let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        let (counted_max, lanes_max) = (number(self.counted_max), number(self.lanes_max));
        let values = params![self.now, counted_max, &after.0, &after.1, lanes_max];
        let rows = tx.rows(sql, values).await?;
        let mut page = DuePage {
            due: Vec::new(),
            last: None,
        };
        let is_full = rows.len() >= self.lanes_max;
        for row in rows {
            let (lane, due) = looked_at(row)?;
            page.due.extend(due);
            page.last = Some(lane).filter(|_| is_full);
        }
        Ok(page)
    }
}

/// A lane that was looked at, and what is due of it.
fn looked_at(mut row: Row) -> Result<((Domain, Lane), Option<DueDestination>), StoreError> {
    let lane = (domain(&row.text(0)?)?, Lane::parse(&row.text(1)?));
    let letters = row.u32(2)?;
    if letters == 0 {
        return Ok((lane, None));
    }
    let due = DueDestination {
        domain: lane.0.clone(),
        lane: lane.1.clone(),
        letters,
        oldest: row.time(3)?,
        tried: row.int(4)? > 0,
        more: row.truth(5)?,
        letters_elsewhere: 0,
        nodes_elsewhere: 0,
    };
    Ok((lane, Some(due)))
}

/// When the next recipient becomes due.
pub(super) struct NextDue {
    pub now: Timestamp,
}

impl Body for NextDue {
    type Out = Option<Timestamp>;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Option<Timestamp>, StoreError> {
        let sql = "SELECT next_at FROM recipient WHERE held = 0 AND next_at > $1
            ORDER BY next_at LIMIT 1";
        let row = tx.row(sql, params![self.now]).await?;
        row.map(|row| row.time(0)).transpose()
    }
}
