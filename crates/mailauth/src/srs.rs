//! The Sender Rewriting Scheme: the envelope sender of a letter that is forwarded becomes an address
//! here, so that SPF of the next server holds, and reports come back and are sent on.
//!
//! The forms are those that others have used since 2003 and know: `SRS0=hash=day=domain=local` for
//! a sender, `SRS1=hash=host==rest` for one that another forwarder has rewritten already. Only who
//! made an address reads it, so that the hash is our own: nobody can make one and have mail sent on
//! to where they please. An address is good for 21 days. The second form has no place for the day that
//! other forwarders would leave alone, so it is in the hash, and each day that may be is tried.
//!
//! There is no RFC. Nothing is stored: the address holds everything.

use std::fmt::{self, Write as _};

use aws_lc_rs::hmac;
use base::{Domain, EmailAddress, LocalPart, Timestamp};

/// How long reports about a letter may come, in days; queues of others keep letters 5 days, and
/// people's out-of-office notes take longer.
pub const DAYS_MAX: u32 = 21;
/// Days are counted modulo this: two letters of 32 each.
const DAYS: u32 = 1_024;
/// Letters of a hash; of 5 bits each, so that a stranger guesses one in a thousand million, or one in
/// 45 million where 23 days are tried.
const HASH_LETTERS: usize = 6;
/// Letters and digits that stay what they are when a relay changes upper case to lower.
const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// Why an address is not sent on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SrsError {
    /// It is not of the form, not made here, or of the second form and too old.
    NotOurs,
    /// It is of the first form and too old.
    Expired,
}

impl fmt::Display for SrsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotOurs => "the forwarding address was not made here",
            Self::Expired => "the forwarding address has expired",
        })
    }
}

impl std::error::Error for SrsError {}

/// Rewrites addresses with a key.
pub struct Srs(hmac::Key);

impl Srs {
    /// Takes a key; nodes that share a domain have the same.
    #[must_use]
    pub fn new(key: &[u8]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, key))
    }

    /// The sender for a letter forwarded by a domain of ours; `None` where it would be longer than an
    /// address may be, and the letter goes with the sender that it has.
    #[must_use]
    pub fn forward(
        &self,
        sender: &EmailAddress,
        via: &Domain,
        now: Timestamp,
    ) -> Option<EmailAddress> {
        let local = sender.local.as_str();
        let inner = match form(local) {
            // Rewritten by another forwarder: reports go back to that one.
            Some((Form::First, rest)) => format!("{}=={rest}", sender.domain),
            // Rewritten twice: the first forwarder stays, and we take the place of the second.
            Some((Form::Again, rest)) => after_hash(rest)?.to_owned(),
            None => {
                let rest = format!("{}={}={local}", day_text(day(now)), sender.domain);
                return address("SRS0", &self.hash(&rest, via, None), &rest, via);
            }
        };
        let hash = self.hash(&inner, via, Some(whole_day(now)));
        address("SRS1", &hash, &inner, via)
    }

    /// The address that a rewritten one stands for.
    ///
    /// # Errors
    /// [`SrsError`].
    pub fn reverse(
        &self,
        address: &EmailAddress,
        now: Timestamp,
    ) -> Result<EmailAddress, SrsError> {
        let (form, content) = form(address.local.as_str()).ok_or(SrsError::NotOurs)?;
        let (hash, rest) = content.split_once('=').ok_or(SrsError::NotOurs)?;
        let made_here = |day| {
            let own = self.hash(rest, &address.domain, day);
            let hash = hash.to_ascii_lowercase();
            let (own, hash) = (own.as_bytes(), hash.as_bytes());
            aws_lc_rs::constant_time::verify_slices_are_equal(own, hash).is_ok()
        };
        let today = whole_day(now);
        let found = match form {
            Form::First => made_here(None),
            // A day ahead is a node whose clock is behind.
            Form::Again => {
                (today - i64::from(DAYS_MAX)..=today + 1).any(|day| made_here(Some(day)))
            }
        };
        if !found {
            return Err(SrsError::NotOurs);
        }
        match form {
            Form::First => {
                let (at, rest) = rest.split_once('=').ok_or(SrsError::NotOurs)?;
                let (domain, local) = rest.split_once('=').ok_or(SrsError::NotOurs)?;
                let made = day_of(at).ok_or(SrsError::NotOurs)?;
                let age = (day(now) + DAYS - made) % DAYS;
                // A day ahead is a node whose clock is behind.
                if age > DAYS_MAX && age != DAYS - 1 {
                    return Err(SrsError::Expired);
                }
                joined(local, domain)
            }
            Form::Again => {
                let (host, rest) = rest.split_once("==").ok_or(SrsError::NotOurs)?;
                joined(&format!("SRS0={rest}"), host)
            }
        }
    }

    /// Whether an address has the form of a rewritten one.
    #[must_use]
    pub fn is_rewritten(address: &EmailAddress) -> bool {
        form(address.local.as_str()).is_some()
    }

    fn hash(&self, rest: &str, via: &Domain, day: Option<i64>) -> String {
        let mut text = format!("{}@{via}", rest.to_lowercase());
        if let Some(day) = day {
            // Writing to a String cannot fail.
            let _ = write!(text, " {day}");
        }
        let tag = hmac::sign(&self.0, text.as_bytes());
        let letter = |byte: &u8| char::from(ALPHABET[usize::from(byte % 32)]);
        tag.as_ref().iter().take(HASH_LETTERS).map(letter).collect()
    }
}

fn address(form: &str, hash: &str, rest: &str, via: &Domain) -> Option<EmailAddress> {
    Some(EmailAddress {
        local: local_part(&format!("{form}={hash}={rest}"))?,
        domain: via.clone(),
    })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    First,
    Again,
}

/// The form of a local part and what follows its separator, which may be `=`, `+` or `-`.
fn form(local: &str) -> Option<(Form, &str)> {
    let tag = local.get(..4)?;
    let form = if tag.eq_ignore_ascii_case("SRS0") {
        Form::First
    } else if tag.eq_ignore_ascii_case("SRS1") {
        Form::Again
    } else {
        return None;
    };
    let rest = local.get(5..).filter(|rest| !rest.is_empty())?;
    matches!(local.as_bytes()[4], b'=' | b'+' | b'-').then_some((form, rest))
}

/// What follows the hash of an SRS1 address: host and rest.
fn after_hash(content: &str) -> Option<&str> {
    let (_, rest) = content.split_once('=')?;
    rest.contains("==").then_some(rest)
}

fn joined(local: &str, domain: &str) -> Result<EmailAddress, SrsError> {
    Ok(EmailAddress {
        local: local_part(local).ok_or(SrsError::NotOurs)?,
        domain: Domain::parse(domain).map_err(|_| SrsError::NotOurs)?,
    })
}

/// A local part by its content, quoted where the grammar wants that.
fn local_part(content: &str) -> Option<LocalPart> {
    LocalPart::parse(content).ok().or_else(|| {
        let quoted = content.replace('\\', "\\\\").replace('"', "\\\"");
        LocalPart::parse(&format!("\"{quoted}\"")).ok()
    })
}

fn whole_day(now: Timestamp) -> i64 {
    now.secs().div_euclid(86_400)
}

fn day(now: Timestamp) -> u32 {
    let day = whole_day(now).rem_euclid(i64::from(DAYS));
    u32::try_from(day).unwrap_or(0)
}

fn day_text(day: u32) -> String {
    let letter = |value: u32| char::from(ALPHABET[(value % 32) as usize]);
    [letter(day / 32), letter(day)].iter().collect()
}

fn day_of(text: &str) -> Option<u32> {
    let value = |byte: &u8| {
        let position = ALPHABET
            .iter()
            .position(|known| *known == byte.to_ascii_lowercase());
        position.and_then(|position| u32::try_from(position).ok())
    };
    match text.as_bytes() {
        [high, low] => Some(value(high)? * 32 + value(low)?),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
    const DAY: Duration = Duration::from_secs(86_400);

    fn address(text: &str) -> EmailAddress {
        EmailAddress::parse(text).unwrap()
    }

    fn via(text: &str) -> Domain {
        Domain::parse(text).unwrap()
    }

    #[test]
    fn there_and_back_also_in_lower_case_until_it_expires() {
        let srs = Srs::new(b"key");
        let rewritten = srs
            .forward(&address("Bob=x+y@red.test"), &via("fwd.test"), NOW)
            .unwrap();
        let text = rewritten.to_string();
        assert!(
            text.starts_with("SRS0=") && text.ends_with("=red.test=Bob=x+y@fwd.test"),
            "{text}"
        );
        for (text, at, expected) in [
            (text.clone(), NOW, Ok("Bob=x+y@red.test")),
            (
                text.to_lowercase(),
                NOW + DAY * DAYS_MAX,
                Ok("bob=x+y@red.test"),
            ),
            (text.clone(), NOW - DAY, Ok("Bob=x+y@red.test")),
            (
                text.clone(),
                NOW + DAY * (DAYS_MAX + 1),
                Err(SrsError::Expired),
            ),
            (text.clone(), NOW - DAY * 2, Err(SrsError::Expired)),
            (text.replace("Bob", "Rob"), NOW, Err(SrsError::NotOurs)),
            (text.replace("fwd", "other"), NOW, Err(SrsError::NotOurs)),
            (
                "SRS0=abcdef=aa=red.test=bob@fwd.test".into(),
                NOW,
                Err(SrsError::NotOurs),
            ),
            ("SRS0=@fwd.test".into(), NOW, Err(SrsError::NotOurs)),
            ("bob@fwd.test".into(), NOW, Err(SrsError::NotOurs)),
        ] {
            let found = srs
                .reverse(&address(&text), at)
                .map(|address| address.to_string());
            assert_eq!(found, expected.map(str::to_owned), "{text}");
        }
        assert!(Srs::new(b"other").reverse(&rewritten, NOW).is_err());
    }

    #[test]
    fn a_chain_of_forwarders_stays_short_and_goes_back_by_the_first() {
        let (one, two, three) = (Srs::new(b"1"), Srs::new(b"2"), Srs::new(b"3"));
        let first = one
            .forward(&address("bob@red.test"), &via("one.test"), NOW)
            .unwrap();
        let second = two.forward(&first, &via("two.test"), NOW).unwrap();
        assert!(second.to_string().starts_with("SRS1="), "{second}");
        assert_eq!(two.reverse(&second, NOW).unwrap(), first);
        for (at, good) in [
            (NOW - DAY, true),
            (NOW + DAY * DAYS_MAX, true),
            (NOW - DAY * 2, false),
            (NOW + DAY * (DAYS_MAX + 1), false),
        ] {
            assert_eq!(two.reverse(&second, at).is_ok(), good, "{at:?}");
        }
        let third = three.forward(&second, &via("three.test"), NOW).unwrap();
        assert_eq!(third.to_string().len(), second.to_string().len() + 2);
        assert_eq!(three.reverse(&third, NOW).unwrap(), first);
        assert!(two.reverse(&third, NOW).is_err());
        // As another program writes it.
        let other = address("SRS0+Xy9/=2B=red.test=bob@one.test");
        let second = two.forward(&other, &via("two.test"), NOW).unwrap();
        let back = two.reverse(&second, NOW).unwrap().to_string();
        assert_eq!(back, "SRS0=Xy9/=2B=red.test=bob@one.test");
    }

    #[test]
    fn what_does_not_fit_is_not_rewritten() {
        let srs = Srs::new(b"key");
        let local = "a".repeat(40);
        assert!(
            srs.forward(&address(&format!("{local}@red.test")), &via("f.test"), NOW)
                .is_some()
        );
        let local = "a".repeat(41);
        assert!(
            srs.forward(&address(&format!("{local}@red.test")), &via("f.test"), NOW)
                .is_none()
        );
        let quoted = srs
            .forward(&address("\"a b\"@red.test"), &via("f.test"), NOW)
            .unwrap();
        assert_eq!(
            srs.reverse(&quoted, NOW).unwrap().to_string(),
            "\"a b\"@red.test"
        );
    }
}
