//! A letter that is only forwarded: a sender that is ours (SRS), a seal of what was found (ARC), and
//! the way back of reports.

use base::{Domain, EmailAddress, Timestamp};
use bytes::Bytes;
use mailauth::arc;
use mailauth::dkim::Algorithm;
use mailauth::results::{AuthResults, FIELD_NAME};
use mailauth::srs::{Srs, SrsError};
use message::Fields;
use store::{Claim, Store, StoreError};
use tracing::warn;

use super::{HASHED_HERE_BYTES_MAX, Leaving, Pieces, Signer};

/// The name under which the store keeps the key of SRS.
const SRS_SECRET: &str = "srs";

impl Signer {
    /// Makes what a forwarded letter leaves with.
    pub(super) async fn forward(
        &self,
        claim: &Claim,
        pieces: Pieces,
        via: &Domain,
        now: Timestamp,
        leaving: &mut Leaving,
    ) -> Result<(), StoreError> {
        let mut told = Vec::new();
        if let Some(sender) = &claim.reverse_path
            && !self.store.is_ours(&sender.domain).await?
        {
            let srs = self.srs.get_or_try_init(|| srs(&self.store)).await?;
            match srs.forward(sender, via, now) {
                Some(rewritten) => {
                    told.push(format!("sent on as {rewritten}"));
                    leaving.reverse_path = Some(rewritten);
                }
                None => told.push(format!("sent on as {sender}, which is too long to rewrite")),
            }
        }
        if let Some(fields) = self.seal(claim, pieces, via, now).await? {
            told.push(format!("sealed as {via}"));
            leaving.fields = fields;
        }
        leaving.told = told.join("; ");
        Ok(())
    }

    /// RFC 8617 §5.1. What was found stands in the head of the queue; without it nothing is sealed. The
    /// pieces are what leaves.
    pub(super) async fn seal(
        &self,
        claim: &Claim,
        [head, letter]: Pieces,
        via: &Domain,
        now: Timestamp,
    ) -> Result<Option<Bytes>, StoreError> {
        let Some(results) = found(&claim.head) else {
            return Ok(None);
        };
        let keys = self.keys.of(via, self.clock.now()).await?;
        // RFC 8617 §4.1.1: one seal; RSA is what every verifier knows.
        let rsa = keys
            .iter()
            .position(|key| key.algorithm() == Algorithm::RsaSha256);
        let Some(at) = rsa.or_else(|| keys.len().checked_sub(1)) else {
            return Ok(None);
        };
        let is_large = letter.len() > HASHED_HERE_BYTES_MAX;
        let seal = move || {
            let pieces: [&[u8]; 2] = [&head, &letter];
            let key = keys.get(at)?;
            let chain = arc::as_told(&pieces, &results.word)?;
            arc::seal(&pieces, &chain, &results.payload, key, now)
                .inspect_err(|why| warn!(%why, "a letter is not sealed"))
                .ok()
                .flatten()
        };
        let sealed = if is_large {
            tokio::task::spawn_blocking(seal).await.ok().flatten()
        } else {
            seal()
        };
        Ok(sealed.map(Bytes::from))
    }
}

/// What was found when the letter came.
struct Found {
    /// The state of its chain: `none`, `pass`, `fail`.
    word: String,
    payload: String,
}

/// The Authentication-Results that stand in the head: this server has written them, as the head is
/// its own.
fn found(head: &[u8]) -> Option<Found> {
    let field = Fields::new(head).find(FIELD_NAME)?;
    let results = AuthResults::parse(field.value)?;
    let word = results.results.iter().find(|result| result.method == "arc");
    Some(Found {
        word: word.map_or_else(|| "none".to_owned(), |result| result.result.clone()),
        payload: String::from_utf8_lossy(field.value).trim().to_owned(),
    })
}

/// The domain of the address that a letter is forwarded by; none for one that is not. Only letters
/// that are forwarded have Delivered-To in the head that the queue keeps.
pub(super) fn forwarded_by(head: &[u8]) -> Option<Domain> {
    let field = Fields::new(head).find("Delivered-To")?;
    let address = EmailAddress::parse(field.raw_text().trim()).ok()?;
    Some(address.domain)
}

/// The address that a report to a rewritten sender is sent on to.
///
/// # Errors
/// The [`SrsError`] within; those of the store outside.
pub async fn unwrap_sender(
    store: &Store,
    address: &EmailAddress,
    now: Timestamp,
) -> Result<Result<EmailAddress, SrsError>, StoreError> {
    Ok(srs(store).await?.reverse(address, now))
}

async fn srs(store: &Store) -> Result<Srs, StoreError> {
    let secret = store.installation_secret(SRS_SECRET).await?;
    Ok(Srs::new(secret.expose()))
}
