//! Confirmations: the peer has seen the reply for a letter, so that an equal one is a letter of its
//! own and no repetition.
//!
//! A confirmation removes the letter's row of `delivery`. While the database is away that cannot be
//! written, and it must not be forgotten: the equal letter would be taken for a repetition and lost.
//! So it is noted here first, counts from then on, and is written until it is. What is noted here
//! ends with the process.

use std::collections::BTreeSet;
use std::sync::{Arc, Weak};
use std::time::Duration;

use base::LetterId;
use tokio::sync::watch;

use crate::engine::{Body, Priority, Tx, params};
use crate::open::Inner;
use crate::shared::Shared;
use crate::{Store, StoreError};

/// Confirmations that wait at most, 200 KB of them: several minutes of all that one node takes.
const WAITING_MAX: usize = 10_000;
/// Confirmations that one transaction writes.
const WRITTEN_AT_ONCE: usize = 500;
/// The first pause after one that could not be written; each next one is twice as long.
const PAUSE_FIRST: Duration = Duration::from_millis(500);
/// The longest such pause.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// Letters that were confirmed here and whose rows may still be there.
///
/// It is bounded. When it is full, the oldest goes, and with it everything of this node that is as
/// old counts as confirmed: some of it may be unconfirmed, and then a letter that really comes again
/// is stored twice. That is the safe side, as a letter is never lost by it.
#[derive(Debug, Default)]
pub(crate) struct Confirmed {
    letters: BTreeSet<LetterId>,
    /// All letters of this node up to this one count as confirmed.
    up_to: Option<LetterId>,
}

impl Confirmed {
    /// Notes letters, before they are written.
    pub(crate) fn add(&mut self, letters: &[LetterId]) {
        let were_all_noted = self.up_to.is_none();
        self.letters.extend(letters);
        while self.letters.len() > WAITING_MAX {
            self.up_to = self.up_to.max(self.letters.pop_first());
        }
        if were_all_noted && self.up_to.is_some() {
            tracing::warn!(
                "more confirmed letters than are kept wait for the database: letters that come \
                 again may be stored twice"
            );
        }
    }

    /// Whether a letter was confirmed here. `is_ours`: its row names this start of this node.
    pub(crate) fn has(&self, letter: LetterId, is_ours: bool) -> bool {
        self.letters.contains(&letter) || (is_ours && self.up_to.is_some_and(|last| letter <= last))
    }

    /// Forgets letters whose rows are gone.
    pub(crate) fn written(&mut self, letters: &[LetterId]) {
        for letter in letters {
            self.letters.remove(letter);
        }
    }

    fn written_up_to(&mut self, last: LetterId) {
        if self.up_to == Some(last) {
            self.up_to = None;
        }
    }

    fn is_empty(&self) -> bool {
        self.letters.is_empty() && self.up_to.is_none()
    }
}

impl Store {
    /// Says that the peer has seen the replies for these letters (it sent another command, or
    /// closed properly). It counts at once; durable some time later.
    ///
    /// # Errors
    /// Those of writing. The confirmations count all the same, and are written as soon as that is
    /// possible; what is not written when the process ends is lost.
    pub async fn confirm(&self, letters: Vec<LetterId>) -> Result<(), StoreError> {
        if letters.is_empty() {
            return Ok(());
        }
        self.0.shared.confirmed().add(&letters);
        let written = self.write_confirmed(letters).await;
        if written.is_err() {
            self.0.shared.confirmed_later.notify_one();
        }
        written
    }

    /// Starts the task that writes what could not be written at once; it ends with the store.
    pub(crate) fn start_confirming(&self, running: watch::Receiver<bool>) {
        let shared = Arc::clone(&self.0.shared);
        tokio::spawn(run(Arc::downgrade(&self.0), shared, running));
    }

    /// Writes all confirmations that wait.
    pub(crate) async fn write_all_confirmed(&self) -> Result<(), StoreError> {
        let shared = &self.0.shared;
        let (letters, up_to) = {
            let confirmed = shared.confirmed();
            let letters: Vec<LetterId> = confirmed.letters.iter().copied().collect();
            (letters, confirmed.up_to)
        };
        for letters in letters.chunks(WRITTEN_AT_ONCE) {
            self.write_confirmed(letters.to_vec()).await?;
        }
        if let Some(up_to) = up_to {
            let body = || ConfirmUpTo {
                up_to,
                shared: Arc::clone(shared),
            };
            while self.0.engine.write(body(), Priority::Bulk).await? > 0 {}
            shared.confirmed().written_up_to(up_to);
        }
        Ok(())
    }

    async fn write_confirmed(&self, letters: Vec<LetterId>) -> Result<(), StoreError> {
        let body = Confirm {
            letters,
            shared: Arc::clone(&self.0.shared),
        };
        self.0.engine.write(body, Priority::Bulk).await
    }
}

async fn run(weak: Weak<Inner>, shared: Arc<Shared>, mut running: watch::Receiver<bool>) {
    let mut pause = PAUSE_FIRST;
    loop {
        tokio::select! {
            biased;
            _ = running.changed() => return,
            () = shared.confirmed_later.notified() => {}
        }
        loop {
            // The database is just away: at once it would say the same.
            tokio::select! {
                biased;
                _ = running.changed() => return,
                () = tokio::time::sleep(pause) => {}
            }
            let Some(inner) = weak.upgrade() else {
                return;
            };
            match Store(inner).write_all_confirmed().await {
                Ok(()) => break,
                Err(StoreError::Closed) => return,
                Err(error) => tracing::debug!(%error, "seen replies still cannot be noted"),
            }
            pause = (pause * 2).min(PAUSE_MAX);
        }
        pause = PAUSE_FIRST;
        tracing::info!("the replies that peers saw while the database was away are noted");
    }
}

/// Confirms a letter in an open transaction.
pub(crate) async fn confirm(tx: &mut Tx<'_>, letter: LetterId) -> Result<(), StoreError> {
    tx.send("DELETE FROM delivery WHERE letter_id = $1", params![letter])
        .await
}

struct Confirm {
    letters: Vec<LetterId>,
    shared: Arc<Shared>,
}

impl Body for Confirm {
    type Out = ();

    async fn run(&self, tx: &mut Tx<'_>) -> Result<(), StoreError> {
        for letter in &self.letters {
            confirm(tx, *letter).await?;
        }
        Ok(())
    }

    fn committed(&self, (): &()) {
        self.shared.end_confirmed(&self.letters);
    }
}

/// Removes this node's rows up to a letter, some at a time.
struct ConfirmUpTo {
    up_to: LetterId,
    shared: Arc<Shared>,
}

impl Body for ConfirmUpTo {
    type Out = u64;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<u64, StoreError> {
        let sql = "DELETE FROM delivery WHERE letter_id IN
            (SELECT letter_id FROM delivery
                WHERE letter_id <= $1 AND node = $2 AND incarnation = $3
                ORDER BY letter_id LIMIT 1000)";
        let (node, incarnation) = (&self.shared.node, self.shared.incarnation);
        tx.execute(sql, params![self.up_to, node, incarnation])
            .await
    }
}

/// Writes what waits, before the store closes.
pub(crate) async fn finish(store: &Store) {
    if store.0.shared.confirmed().is_empty() {
        return;
    }
    let writing = tokio::time::timeout(Duration::from_secs(2), store.write_all_confirmed());
    if !matches!(writing.await, Ok(Ok(()))) {
        tracing::warn!(
            "letters whose replies were seen could not be noted: equal ones that come within a day \
             may be taken for their repetition"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// However many wait, memory is bounded and no confirmed letter counts as unconfirmed.
    #[test]
    fn a_full_set_is_on_the_safe_side() {
        let letter = |number: usize| LetterId(i64::try_from(number).unwrap());
        let mut confirmed = Confirmed::default();
        for number in 1..=WAITING_MAX {
            confirmed.add(&[letter(2 * number)]);
        }
        assert!(!confirmed.has(letter(1), true));
        confirmed.add(&[letter(2 * WAITING_MAX + 2), letter(2 * WAITING_MAX + 4)]);
        assert_eq!(confirmed.letters.len(), WAITING_MAX);
        for number in 1..=WAITING_MAX + 2 {
            assert!(confirmed.has(letter(2 * number), true));
        }
        // Unconfirmed, and as old as what had no room: not held for a repetition.
        assert!(confirmed.has(letter(3), true));
        assert!(!confirmed.has(letter(3), false), "another node's");
        assert!(!confirmed.has(letter(5), true));
        // One older than all that wait is no reason to go back.
        confirmed.add(&[letter(1)]);
        assert!(confirmed.has(letter(4), true));
        // It is empty when both are written.
        let all: Vec<_> = confirmed.letters.iter().copied().collect();
        confirmed.written(&all);
        assert!(!confirmed.is_empty());
        confirmed.written_up_to(letter(2));
        assert!(!confirmed.is_empty(), "more was added meanwhile");
        confirmed.written_up_to(letter(4));
        assert!(confirmed.is_empty());
    }
}
