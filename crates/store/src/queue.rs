//! The queue: letters with the recipients still to be reached, claimed by nodes under a lease.
//!
//! The unit of work is a [`Claim`]: one letter and its due recipients of one domain. A claim
//! carries a fencing number; [`Store::settle`] with an old one changes nothing. A restarted node
//! takes its own claims back at once; those of a dead one are due again when their leases end.
//!
//! What to try when, how often and over how many connections is not decided here.

mod claims;
mod due;
mod handling;
mod lane;
mod operator;
pub(crate) mod rows;
mod settle;

use std::sync::Arc;
use std::time::Duration;

use base::{AccountId, Domain, EmailAddress, LetterId, RecipientId, Timestamp};
use bytes::Bytes;

pub use due::{BecameDue, DueCursor, DuePage};
pub use handling::{DeliverBy, DeliverByMode, Handling, TlsWish};
pub use lane::Lane;

use crate::engine::Priority;
use crate::{AddressNews, Letter, LocalRecipient, Note, Store, StoreError, Submission};

/// Lanes that one page of the queue looks at.
const PAGE_LANES: usize = 500;
/// Recipients up to which the letters of a lane are counted where nobody says how far.
const COUNTED_MAX: usize = 1_000;
/// Letters that one transaction claims.
const CLAIMS_PER_TRANSACTION: usize = 64;
/// Letters that a list of the queue shows when no limit is given.
const LIST_DEFAULT: usize = 1_000;

/// RFC 3461 §4.3 RET: how much of the letter a report returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum DsnReturn {
    /// Nothing was asked: the header. The next server is told nothing (RFC 3461 §5.2.1).
    #[default]
    Unasked,
    /// The whole letter.
    Full,
    /// Only the header.
    Headers,
}

/// RFC 3461 §4.1 NOTIFY.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Notify {
    /// Report success.
    pub success: bool,
    /// Report failure.
    pub failure: bool,
    /// Report delay.
    pub delay: bool,
    /// The sender said so; otherwise the next server is told nothing (RFC 3461 §5.2.1).
    pub asked: bool,
}

impl Notify {
    /// Nothing was asked: failures and delays are reported.
    pub const DEFAULT: Self = Self {
        success: false,
        failure: true,
        delay: true,
        asked: false,
    };
    /// NOTIFY=NEVER.
    pub const NEVER: Self = Self {
        success: false,
        failure: false,
        delay: false,
        asked: true,
    };

    /// RFC 3461 §5.2.7.2: what is passed on where an alias leads to several, as the success of the
    /// alias itself is reported as an expansion.
    #[must_use]
    pub fn without_success(self) -> Self {
        Self {
            success: false,
            ..self
        }
    }
}

/// A recipient to be queued.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueRecipient {
    /// The address.
    pub address: EmailAddress,
    /// RFC 3461 ORCPT as given (`rfc822;…`), for reports.
    pub original: Option<String>,
    /// When to report.
    pub notify: Notify,
}

/// A lane of a destination that has work due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DueDestination {
    /// The recipients' domain.
    pub domain: Domain,
    /// Which of its lanes.
    pub lane: Lane,
    /// How many letters are due there, as far as they were counted.
    pub letters: u32,
    /// Whether there are more.
    pub more: bool,
    /// Since when the first has been due.
    pub oldest: Timestamp,
    /// Whether the first was tried before, and is still here.
    pub tried: bool,
    /// Letters for it that other nodes have in hand, as of at most a second ago.
    pub letters_elsewhere: u32,
    /// How many nodes those are.
    pub nodes_elsewhere: u32,
}

/// Names a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClaimRef {
    /// The letter.
    pub letter: LetterId,
    /// The fencing number.
    pub fence: i64,
}

/// One letter and its due recipients of one domain.
#[derive(Clone, Debug)]
pub struct Claim {
    /// Names it.
    pub reference: ClaimRef,
    /// The recipients' domain.
    pub domain: Domain,
    /// The lane in which it stood.
    pub lane: Lane,
    /// Who sent it.
    pub account: Option<AccountId>,
    /// The reverse-path; `None` is `<>`.
    pub reverse_path: Option<EmailAddress>,
    /// RFC 3461 ENVID, decoded.
    pub envelope_id: Option<String>,
    /// RFC 3461 RET.
    pub dsn_return: DsnReturn,
    /// Whether it needs SMTPUTF8.
    pub needs_utf8: bool,
    /// What stands before the letter when it is sent on.
    pub head: Bytes,
    /// Bytes of head and letter together.
    pub size: u64,
    /// When it was received.
    pub received_at: Timestamp,
    /// When it is given up.
    pub expires_at: Timestamp,
    /// What the sender asked of its way.
    pub handling: Handling,
    /// The due recipients; at least one.
    pub recipients: Vec<ClaimedRecipient>,
}

/// A claimed recipient.
#[derive(Clone, Debug)]
pub struct ClaimedRecipient {
    /// Its id.
    pub id: RecipientId,
    /// Its address.
    pub address: EmailAddress,
    /// RFC 3461 ORCPT.
    pub original: Option<String>,
    /// When to report.
    pub notify: Notify,
    /// Attempts made before this one.
    pub attempts: u32,
    /// Whether a delay has been reported.
    pub delay_reported: bool,
}

/// What came of the last attempt at a recipient, for the operator; empty where there is nothing to tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LastAttempt {
    /// The word for the class of the failure.
    pub class: String,
    /// The other server's reply: code and text.
    pub reply: String,
    /// Its name and address.
    pub host: String,
    /// Protocol version and cipher of the connection.
    pub tls: String,
}

/// What became of a recipient in one attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Handed over or stored: it leaves the queue.
    Done,
    /// Not now.
    Retry {
        /// When to try again.
        at: Timestamp,
        /// Why, in words.
        reason: String,
        /// Whether this settlement reports the delay.
        delay_reported: bool,
        /// Whether it counts as an attempt (not when we were stopping).
        counts: bool,
        /// What came of the attempt, if it counts.
        last: Box<LastAttempt>,
    },
    /// Never: it leaves the queue.
    Failed {
        /// Why, in words.
        reason: String,
    },
}

/// The end of a claim: all in one commit.
pub struct Settlement {
    /// Which claim.
    pub claim: ClaimRef,
    /// What became of each recipient; those not named stay due.
    pub outcomes: Vec<(RecipientId, Outcome)>,
    /// Copies to store for recipients that are local.
    pub local: Vec<LocalRecipient>,
    /// Recipients that aliases of local recipients lead to; queued as a letter of their own with
    /// the same bytes.
    pub forwards: Vec<QueueRecipient>,
    /// Reports to the sender.
    pub reports: Vec<Submission>,
    /// What it says about addresses elsewhere.
    pub addresses: AddressNews,
    /// Steps to note.
    pub notes: Vec<Note>,
}

/// The state of a queued recipient, for the operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueueRecipientState {
    /// Waits for its time.
    Waiting,
    /// A node works on it.
    Claimed,
    /// Held by the operator.
    Held,
}

/// A queued letter, for the operator.
#[derive(Clone, Debug)]
pub struct QueueEntry {
    /// The letter.
    pub letter: LetterId,
    /// The reverse-path.
    pub reverse_path: Option<EmailAddress>,
    /// Bytes of head and letter together.
    pub size: u64,
    /// When it was received.
    pub received_at: Timestamp,
    /// When it is given up.
    pub expires_at: Timestamp,
    /// Its recipients still in the queue.
    pub recipients: Vec<RecipientEntry>,
}

/// A queued recipient, for the operator.
#[derive(Clone, Debug)]
pub struct RecipientEntry {
    /// Its address.
    pub address: EmailAddress,
    /// Its state.
    pub state: QueueRecipientState,
    /// Attempts made.
    pub attempts: u32,
    /// When it is tried next.
    pub next_at: Timestamp,
    /// Why it waits, in words.
    pub reason: String,
    /// What came of the last attempt.
    pub last: LastAttempt,
    /// When that was.
    pub tried_at: Option<Timestamp>,
}

/// Which letters a queue command means.
#[derive(Clone, Debug, Default)]
pub struct QueueFilter {
    /// Only this letter.
    pub letter: Option<LetterId>,
    /// Only recipients of this domain.
    pub domain: Option<Domain>,
    /// At most so many letters (0: 1,000).
    pub limit: usize,
}

impl Store {
    /// All that is due, longest waiting first, at most `limit` lanes: a look at the whole queue, page
    /// by page.
    ///
    /// # Errors
    /// Those of reading.
    pub async fn due(
        &self,
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<DueDestination>, StoreError> {
        let (mut due, mut after) = (Vec::new(), None);
        loop {
            let page = self.due_page(now, after, COUNTED_MAX).await?;
            due.extend(page.due);
            after = page.last;
            if after.is_none() {
                break;
            }
        }
        due.sort_by(|one, other| {
            let key = |due: &DueDestination| (due.oldest, due.domain.clone(), due.lane.clone());
            key(one).cmp(&key(other))
        });
        due.truncate(limit);
        Ok(due)
    }

    /// What is due of the lanes behind one, in the order of their names; a page of 500 lanes. Letters
    /// are counted up to so many recipients.
    ///
    /// # Errors
    /// Those of reading.
    pub async fn due_page(
        &self,
        now: Timestamp,
        after: Option<(Domain, Lane)>,
        counted_max: usize,
    ) -> Result<DuePage, StoreError> {
        let body = due::Page {
            after,
            lanes_max: PAGE_LANES,
            now,
            counted_max,
        };
        let mut page = self.0.engine.read(body).await?;
        self.see_other_nodes(&mut page.due);
        Ok(page)
    }

    /// What is due of these lanes; those with nothing due are left out. Letters are counted up to so
    /// many recipients.
    ///
    /// # Errors
    /// Those of reading.
    pub async fn due_of(
        &self,
        now: Timestamp,
        lanes: Vec<(Domain, Lane)>,
        counted_max: usize,
    ) -> Result<Vec<DueDestination>, StoreError> {
        let body = due::OfLanes {
            lanes,
            now,
            counted_max,
        };
        let mut due = self.0.engine.read(body).await?;
        self.see_other_nodes(&mut due);
        Ok(due)
    }

    /// The lanes of at most so many recipients that have become due behind the cursor, in the order
    /// of time. What is put behind the cursor later is not found: new letters are named by
    /// [`QueueSignal::news`](crate::QueueSignal::news), and a page finds everything.
    ///
    /// # Errors
    /// Those of reading.
    pub async fn became_due(
        &self,
        after: DueCursor,
        now: Timestamp,
        recipients_max: usize,
    ) -> Result<BecameDue, StoreError> {
        let body = due::Newly {
            after,
            now,
            recipients_max,
        };
        self.0.engine.read(body).await
    }

    fn see_other_nodes(&self, due: &mut [DueDestination]) {
        let nodes = &self.0.shared.nodes;
        if nodes.has_others() {
            for destination in due {
                let elsewhere = nodes.elsewhere(&destination.domain);
                destination.letters_elsewhere = elsewhere.letters;
                destination.nodes_elsewhere = elsewhere.nodes;
            }
        }
    }

    /// When the next recipient that is not due yet becomes due.
    ///
    /// # Errors
    /// Those of reading.
    pub async fn next_due(&self, now: Timestamp) -> Result<Option<Timestamp>, StoreError> {
        self.0.engine.read(due::NextDue { now }).await
    }

    /// Claims up to the given number of letters for each domain, of whatever lanes, urgent ones
    /// first; see [`Self::claim_lanes`].
    ///
    /// # Errors
    /// Those of reading and of [`Self::claim_lanes`].
    pub async fn claim(
        &self,
        now: Timestamp,
        lease: Duration,
        wanted: &[(Domain, usize)],
    ) -> Result<Vec<Claim>, StoreError> {
        self.0.shared.nodes.may_claim()?;
        let mut due = self.due(now, usize::MAX).await?;
        due.sort_by_key(|due| std::cmp::Reverse(due.lane.priority));
        let mut claims = Vec::new();
        for (domain, count) in wanted {
            let mut left = *count;
            for due in due.iter().filter(|due| due.domain == *domain) {
                let lane = [(domain.clone(), due.lane.clone(), left)];
                let taken = self.claim_lanes(now, lease, &lane).await?;
                left -= taken.len();
                claims.extend(taken);
            }
        }
        Ok(claims)
    }

    /// Claims up to the given number of letters of each lane, as they come due. The lease is a time of this node's
    /// clock: another node whose clock is ahead takes a letter over so much earlier. Renewed each
    /// third of it, a lease bears clocks that differ by half of it.
    ///
    /// # Errors
    /// Those of writing, and [`StoreError::Busy`] while another process has this node's name. Letters
    /// claimed before an error come back when their lease ends.
    pub async fn claim_lanes(
        &self,
        now: Timestamp,
        lease: Duration,
        wanted: &[(Domain, Lane, usize)],
    ) -> Result<Vec<Claim>, StoreError> {
        self.0.shared.nodes.may_claim()?;
        let mut claims = Vec::new();
        for (domain, lane, count) in wanted {
            let mut left = *count;
            while left > 0 {
                let count = left.min(CLAIMS_PER_TRANSACTION);
                let body = claims::TakeClaims {
                    domain: domain.clone(),
                    lane: lane.clone(),
                    count,
                    now,
                    // A claim must leave the range of what is due.
                    until: now + lease.max(Duration::from_millis(1)),
                    shared: Arc::clone(&self.0.shared),
                };
                let taken = self.0.engine.write(body, Priority::Urgent).await?;
                if taken.is_empty() {
                    break;
                }
                // A transaction may end early: it has a limit of recipients as well.
                left = left.saturating_sub(taken.len());
                claims.extend(taken);
            }
        }
        Ok(claims)
    }

    /// The letter of a claim.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if the letter has left the queue.
    pub async fn claimed_letter(&self, claim: &Claim) -> Result<Letter, StoreError> {
        let body = claims::LetterHash {
            letter: claim.reference.letter,
        };
        let hash = self.0.engine.read(body).await?;
        self.load_letter(hash).await
    }

    /// Extends claims; returns those that are lost.
    ///
    /// # Errors
    /// Those of writing.
    pub async fn renew(
        &self,
        claims: &[ClaimRef],
        now: Timestamp,
        lease: Duration,
    ) -> Result<Vec<ClaimRef>, StoreError> {
        let mut lost = Vec::new();
        for some in claims.chunks(CLAIMS_PER_TRANSACTION) {
            let body = claims::Renew {
                claims: some.to_vec(),
                until: now + lease,
            };
            lost.extend(self.0.engine.write(body, Priority::Urgent).await?);
        }
        Ok(lost)
    }

    /// Ends a claim. `false`: the claim was lost to another node and nothing was changed.
    ///
    /// # Errors
    /// Those of reading the letter and of writing.
    pub async fn settle(&self, settlement: Settlement) -> Result<bool, StoreError> {
        let Some(body) = self.prepare_settlement(settlement).await? else {
            return Ok(false);
        };
        Ok(self.0.engine.write(body, Priority::Urgent).await?.held)
    }

    /// The queue, oldest first.
    ///
    /// # Errors
    /// Those of reading.
    pub async fn queue_list(&self, filter: &QueueFilter) -> Result<Vec<QueueEntry>, StoreError> {
        let body = operator::List {
            filter: filter.clone(),
            now: self.0.shared.now(),
        };
        self.0.engine.read(body).await
    }

    /// Makes matching recipients due now; returns how many.
    ///
    /// # Errors
    /// Those of writing.
    pub async fn queue_retry(&self, filter: &QueueFilter) -> Result<u64, StoreError> {
        self.operate(filter, operator::Act::Retry).await
    }

    /// Holds matching recipients; returns how many.
    ///
    /// # Errors
    /// Those of writing.
    pub async fn queue_hold(&self, filter: &QueueFilter) -> Result<u64, StoreError> {
        self.operate(filter, operator::Act::Hold).await
    }

    /// Releases held recipients; returns how many.
    ///
    /// # Errors
    /// Those of writing.
    pub async fn queue_release(&self, filter: &QueueFilter) -> Result<u64, StoreError> {
        self.operate(filter, operator::Act::Release).await
    }

    /// Drops matching recipients without a report; returns how many.
    ///
    /// # Errors
    /// Those of writing.
    pub async fn queue_drop(&self, filter: &QueueFilter) -> Result<u64, StoreError> {
        self.operate(filter, operator::Act::Drop).await
    }
}
