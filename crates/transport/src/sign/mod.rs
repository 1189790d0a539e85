//! What a letter gets when it leaves for the outside: signatures of its domain (DKIM), and where it
//! is only forwarded, a seal of what was found (ARC) and a sender that is ours (SRS).
//!
//! The queue's bytes stay as they are: everything here goes before them when they are sent, and is
//! made once for a letter, however many domains it goes to; and again where a server takes the letter
//! only in another form, as what is sent must be what is signed (RFC 6376 §5.3). A letter that cannot
//! be signed is sent without a signature.
//!
//! Keys are made here ([`make_keys`]), and tended ([`tend`]): a key that was announced signs once its
//! record is in the DNS, and one that is retired goes after a grace.

mod forward;
mod keys;
mod tend;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use base::ports::{BoxFuture, Clock};
use base::{Domain, EmailAddress, LetterId, Timestamp};
use bytes::Bytes;
use mailauth::dkim;
use mailauth::srs::Srs;
use message::{Fields, Mailbox};
use store::{Claim, Letter, Store, StoreError};
use tokio::sync::OnceCell;
use tracing::{debug, warn};

pub use forward::unwrap_sender;
pub use keys::{RSA_BITS, make_keys, new_selector};
pub use tend::{GRACE, Published, is_published, record_name, tend};

use keys::Keys;

use crate::lists::list_of;
use crate::smtp_out::Dressing;

/// Letters whose fields are remembered; each goes to its domains within a short time.
const LETTERS_KEPT: usize = 256;
/// Letters above this are hashed on a thread of their own: 1 MiB takes about a millisecond.
const HASHED_HERE_BYTES_MAX: usize = 1024 * 1024;

/// What a letter leaves with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaving {
    /// The fields that go before everything else; may be empty.
    pub fields: Bytes,
    /// The reverse-path to use.
    pub reverse_path: Option<EmailAddress>,
    /// What was done, for the journey; empty if nothing.
    pub told: String,
}

/// Signs what leaves. One for each node.
pub struct Signer {
    store: Store,
    clock: Arc<dyn Clock>,
    keys: Keys,
    srs: OnceCell<Srs>,
    done: Mutex<VecDeque<(LetterId, Leaving)>>,
}

/// What this server put before a letter, and the letter.
type Pieces = [Bytes; 2];

/// What is to be done for a letter.
enum Task {
    /// Ours: signed as this domain.
    Sign(Domain),
    /// Only forwarded, by an address of this domain.
    Forward(Domain),
    /// From a mailing list of this domain: signed and sealed.
    List(Domain),
    /// Nothing.
    Pass,
}

impl Signer {
    /// With the keys of a store.
    #[must_use]
    pub fn new(store: Store, clock: Arc<dyn Clock>) -> Self {
        Self {
            keys: Keys::new(store.clone()),
            store,
            clock,
            srs: OnceCell::new(),
            done: Mutex::default(),
        }
    }

    /// What a claimed letter leaves with. Where signing fails it leaves as it is, and the log says
    /// why.
    pub async fn leaving(&self, claim: &Claim, letter: &Letter) -> Leaving {
        if let Some(known) = self.known(claim.reference.letter) {
            return known;
        }
        let as_it_is = Leaving {
            fields: Bytes::new(),
            reverse_path: claim.reverse_path.clone(),
            told: String::new(),
        };
        let pieces = [claim.head.clone(), letter.bytes().clone()];
        let leaving = match self.make(claim, pieces, as_it_is.clone()).await {
            Ok(leaving) => leaving,
            Err(error) => {
                warn!(letter = %claim.reference.letter, %error, "a letter leaves without a signature");
                return as_it_is;
            }
        };
        let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        if done.len() >= LETTERS_KEPT {
            done.pop_front();
        }
        done.push_back((claim.reference.letter, leaving.clone()));
        leaving
    }

    fn known(&self, letter: LetterId) -> Option<Leaving> {
        let done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        let found = done.iter().rev().find(|(known, _)| *known == letter);
        found.map(|(_, leaving)| leaving.clone())
    }

    async fn make(
        &self,
        claim: &Claim,
        pieces: Pieces,
        mut leaving: Leaving,
    ) -> Result<Leaving, StoreError> {
        // Whoever gets the letter twice, because a reply was lost, must know it again by its bytes: a
        // signature is the same at every attempt.
        let now = claim.received_at;
        match self.task(claim, &pieces).await? {
            Task::Pass => {}
            Task::Sign(domain) => {
                let keys = self.keys.of(&domain, self.clock.now()).await?;
                if keys.is_empty() {
                    debug!(%domain, "the domain has no key to sign with");
                    return Ok(leaving);
                }
                let signed = signed(pieces, Arc::clone(&keys), now).await;
                match signed {
                    Ok(fields) => {
                        leaving.fields = fields.into();
                        let selectors: Vec<&str> = keys.iter().map(|key| key.selector()).collect();
                        leaving.told = format!("signed as {domain} ({})", selectors.join(", "));
                    }
                    Err(why) => warn!(%domain, %why, "a letter is not signed"),
                }
            }
            Task::List(domain) => self.list(claim, pieces, &domain, now, &mut leaving).await?,
            Task::Forward(via) => self.forward(claim, pieces, &via, now, &mut leaving).await?,
        }
        Ok(leaving)
    }

    /// A mailing list signs what it sends, and seals above that what was found when the letter came.
    async fn list(
        &self,
        claim: &Claim,
        [head, letter]: Pieces,
        domain: &Domain,
        now: Timestamp,
        leaving: &mut Leaving,
    ) -> Result<(), StoreError> {
        let keys = self.keys.of(domain, self.clock.now()).await?;
        let mut signatures = Vec::new();
        if !keys.is_empty() {
            let pieces = [head.clone(), letter.clone()];
            match signed(pieces, Arc::clone(&keys), now).await {
                Ok(fields) => signatures = fields,
                Err(why) => warn!(%domain, %why, "a letter of a list is not signed"),
            }
        }
        let pieces = [[&signatures[..], &head[..]].concat().into(), letter];
        let seal = self.seal(claim, pieces, domain, now).await?;
        if !signatures.is_empty() {
            leaving.told = format!("signed as {domain}");
        }
        if seal.is_some() {
            leaving.told.push_str(", sealed");
        }
        let seal = seal.unwrap_or_default();
        leaving.fields = [&seal[..], &signatures[..]].concat().into();
        Ok(())
    }

    /// Whose letter it is. Letters of users and reports of ours are signed; what came from elsewhere
    /// and is only sent on is not, whatever its From says.
    async fn task(&self, claim: &Claim, [_, letter]: &Pieces) -> Result<Task, StoreError> {
        if let Some(list) = list_of(claim)
            && let Some(domain) = own_domain(&self.store, &list).await?
        {
            return Ok(Task::List(domain));
        }
        if claim.account.is_none()
            && let Some(via) = forward::forwarded_by(&claim.head)
        {
            return Ok(Task::Forward(via));
        }
        if claim.account.is_none() && (claim.reverse_path.is_some() || !is_made_here(claim)) {
            return Ok(Task::Pass);
        }
        // One that was missing was added, and stands in the head.
        let added = Fields::new(&claim.head).find("From");
        let from = added.or_else(|| Fields::new(letter).find("From"));
        let author = from.and_then(|field| {
            let addresses = field.addresses();
            addresses.mailboxes().find_map(Mailbox::to_address)
        });
        let Some(author) = author else {
            return Ok(Task::Pass);
        };
        Ok(match own_domain(&self.store, &author.domain).await? {
            Some(domain) => Task::Sign(domain),
            None => Task::Pass,
        })
    }
}

/// Whether this server wrote the letter. One that came from another server, and is only relayed or
/// forwarded, has the Received in its head with which it was taken; the head is this server's own.
fn is_made_here(claim: &Claim) -> bool {
    claim.account.is_none()
        && (list_of(claim).is_some() || Fields::new(&claim.head).find("Received").is_none())
}

/// The sender's domain where it is known to be true. A stranger writes any reverse-path, and his letter
/// that is relayed or forwarded must not go where only users' letters may.
pub(crate) fn proven_sender(claim: &Claim) -> Option<&Domain> {
    let is_ours = claim.account.is_some() || is_made_here(claim);
    let sender = claim.reverse_path.as_ref().filter(|_| is_ours);
    sender.map(|sender| &sender.domain)
}

/// A domain if it is ours, or the nearest above it that is: reports come from the host's name, and
/// RFC 9989 §4.4 aligns it with its domain. A letter of such an author is signed as what is found.
pub(crate) async fn own_domain(
    store: &Store,
    domain: &Domain,
) -> Result<Option<Domain>, StoreError> {
    let mut name = domain.as_str();
    while name.contains('.') {
        let Ok(candidate) = Domain::parse(name) else {
            break;
        };
        if store.is_ours(&candidate).await? {
            return Ok(Some(candidate));
        }
        name = name.split_once('.').map_or("", |(_, above)| above);
    }
    Ok(None)
}

/// The fields for a claimed letter that is sent in another form than it stands in the queue.
pub(crate) struct Anew<'a>(pub(crate) &'a Signer, pub(crate) &'a Claim);

impl Dressing for Anew<'_> {
    fn fields(&self, converted: Bytes) -> BoxFuture<'_, Bytes> {
        let Self(signer, claim) = *self;
        let as_it_is = Leaving {
            fields: Bytes::new(),
            reverse_path: None,
            told: String::new(),
        };
        Box::pin(async move {
            let pieces = [Bytes::new(), converted];
            match signer.make(claim, pieces, as_it_is).await {
                Ok(leaving) => leaving.fields,
                Err(error) => {
                    warn!(letter = %claim.reference.letter, %error, "a converted letter leaves without a signature");
                    Bytes::new()
                }
            }
        })
    }
}

async fn signed(
    [head, letter]: Pieces,
    keys: Arc<Vec<dkim::SigningKey>>,
    now: Timestamp,
) -> Result<Vec<u8>, dkim::SignError> {
    let is_large = letter.len() > HASHED_HERE_BYTES_MAX;
    let sign = move || {
        let keys: Vec<&dkim::SigningKey> = keys.iter().collect();
        dkim::sign(&[&head, &letter], &keys, now)
    };
    if !is_large {
        return sign();
    }
    let signing = tokio::task::spawn_blocking(sign).await;
    signing.unwrap_or(Err(dkim::SignError::Refused))
}
