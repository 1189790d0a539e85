//! The letter to the administrators about an account that the brake holds.

use std::time::Duration;

use base::ports::Entropy;
use base::{Domain, EmailAddress, Timestamp};
use message::header::Mailbox;
use message::write::{Compose, message_id};
use store::{
    DsnReturn, Handling, HeldAccount, Note, Notify, QueueRecipient, Step, Store, StoreError,
    Submission,
};
use tracing::warn;

/// How long the letter waits in the queue.
const LIFETIME: Duration = Duration::from_secs(5 * 86_400);

/// Tells the postmaster of the account's domain of each account that is held, once over all nodes.
/// Where no account is held it costs nothing.
///
/// # Errors
/// Those of the store; who was not told is told the next time.
pub async fn tell_of_held(
    store: &Store,
    hostname: &Domain,
    entropy: &dyn Entropy,
    now: Timestamp,
) -> Result<usize, StoreError> {
    let mut told = 0;
    for held in store.untold_holds().await? {
        let Ok(postmaster) = EmailAddress::parse(&format!("postmaster@{}", held.address.domain))
        else {
            continue;
        };
        let letter = compose(&held, &postmaster, hostname, entropy.next_u64(), now);
        let letter = store.letter(letter.into()).await?;
        let submission = Submission {
            letter,
            head: bytes::Bytes::new(),
            account: None,
            reverse_path: None,
            recipients: vec![QueueRecipient {
                address: postmaster,
                original: None,
                notify: Notify::NEVER,
            }],
            envelope_id: None,
            dsn_return: DsnReturn::Unasked,
            needs_utf8: held.address.needs_utf8(),
            handling: Handling::default(),
            received_at: now,
            hold_until: None,
            expires_at: now + LIFETIME,
            sent_copy: None,
            notes: vec![Note {
                at: now,
                recipient: None,
                step: Step::Reported,
                detail: format!("that {} is held", held.address),
            }],
        };
        if store.tell_hold(held.id, submission).await? {
            warn!(account = %held.address, why = held.why, "an account is held for sending too much");
            told += 1;
        }
    }
    Ok(told)
}

fn compose(
    held: &HeldAccount,
    postmaster: &EmailAddress,
    hostname: &Domain,
    random: u64,
    now: Timestamp,
) -> Vec<u8> {
    let mailbox = |name: &str, address: &EmailAddress| Mailbox {
        name: Some(name.to_owned()),
        local: address.local.as_str().to_owned(),
        domain: address.domain.to_string(),
    };
    let account = &held.address;
    let why = held.why.strip_prefix("held: ").unwrap_or(&held.why);
    let text = format!(
        "The account {account} is held since {since}: {why}.\n\
         \n\
         Its password may be in the wrong hands. What it submits is taken, and kept in the queue until \
         you decide; its mail here works as before.\n\
         \n\
         Look at what it has sent:\n\
         \n    pennyblack queue list\n    pennyblack account sending {account}\n\
         \n\
         If it was not the user, give it a new password and throw the letters away:\n\
         \n    pennyblack account password {account}\n    pennyblack account release {account} --drop\n\
         \n\
         If all is well, let them go; the account is left alone for a day:\n\
         \n    pennyblack account release {account}\n",
        since = held.since,
    );
    let subject = format!("{account} is held for sending too much");
    let mut letter = Compose::text(
        mailbox("Mail server", postmaster),
        mailbox("Postmaster", postmaster),
        &subject,
        &text,
    );
    letter.date = now;
    letter.message_id = message_id(now, random, hostname);
    // RFC 3834 §5: nobody is to answer this by a program.
    letter.fields = vec![("Auto-Submitted".to_owned(), "auto-generated".to_owned())];
    letter.random = random;
    letter.to_bytes()
}
