//! A reading thread: each body sees one snapshot, which ends with it.

use std::time::Duration;

use super::Session;
use super::job::Job;
use super::queue::{JobQueue, Taken};
use crate::StoreError;

/// Runs until the queue is closed and empty.
pub(super) fn run(mut session: Session, queue: &JobQueue) {
    loop {
        match queue.take(Duration::from_secs(60)) {
            Taken::Job(job) => read(&mut session, job),
            Taken::Nothing => {
                if let Err(error) = session.shrink() {
                    tracing::debug!(%error, "the page cache could not be given back");
                }
            }
            Taken::Closed => return,
        }
    }
}

/// Runs one body on a snapshot.
pub(super) fn read(session: &mut Session, mut job: Box<dyn Job>) {
    if let Err(error) = session.control("BEGIN") {
        job.refuse(error);
        return;
    }
    job.run(session);
    // A body that wrote here failed at once: the connection is read-only.
    if session.in_transaction()
        && let Err(error) = session.control("ROLLBACK")
    {
        tracing::error!(%error, "a snapshot could not be ended");
        job.refuse(StoreError::Io(error.to_string()));
        return;
    }
    job.acknowledge();
}
