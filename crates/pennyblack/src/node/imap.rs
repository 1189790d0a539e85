//! IMAP behind the guard.

use std::sync::Arc;

use access::imap::{self, Entry, ImapContext};
use base::ports::{BoxFuture, BoxStream};
use tokio_util::sync::CancellationToken;
use transport::net::Crowded;

use super::guard::{Arrival, Guarded};

/// The service of one IMAP listener.
pub(super) struct ImapService {
    pub context: Arc<ImapContext>,
    pub offers_starttls: bool,
    pub shutdown: CancellationToken,
}

impl Guarded for ImapService {
    fn serve(&self, stream: BoxStream, arrival: Arrival) -> BoxFuture<'static, ()> {
        let context = self.context.clone();
        let shutdown = self.shutdown.clone();
        let entry = Entry {
            peer: arrival.peer,
            tls: arrival.tls,
            offers_starttls: self.offers_starttls,
        };
        let permit = arrival.permit;
        Box::pin(async move {
            imap::serve(&context, stream, entry, shutdown).await;
            drop(permit);
        })
    }

    fn refusal(&self, reason: Crowded) -> String {
        imap::refusal(reason.reason())
    }
}
