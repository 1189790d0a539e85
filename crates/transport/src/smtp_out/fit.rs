//! The letter in a form that the next server can take: 8-bit parts are encoded for one without
//! 8BITMIME (RFC 6152 §3), and NUL octets for one without CHUNKING (RFC 3030), where no signature in
//! the letter breaks by it.
//!
//! Our own DKIM signature is made anew for it (RFC 6376 §5.3). That of somebody else over the body
//! does break; it would say nothing either if the old server cut the eighth bits off.

use base::EmailAddress;
use bytes::Bytes;
use message::write::to_seven_bit;
use proto::smtp::Reply;
use proto::smtp::client::{Extensions, Outgoing};

/// The letter for a server, and whether it had to be converted; or, for how many recipients it
/// cannot be had, and why.
pub(super) fn for_peer(
    mut outgoing: Outgoing,
    extensions: &Extensions,
) -> Result<(Outgoing, bool), (usize, Reply)> {
    let has_null = |part: &Bytes| part.contains(&0);
    let eight_bit = outgoing.parts.iter().any(|part| !part.is_ascii());
    let null = !extensions.chunking && outgoing.parts.iter().any(has_null);
    if (!eight_bit || extensions.eight_bit_mime) && !null {
        return Ok((outgoing, false));
    }
    // What needs SMTPUTF8 is refused for want of that, in words that say so (RFC 6531 §3.2).
    if !extensions.smtputf8 && needs_utf8(&outgoing) {
        return Ok((outgoing, false));
    }
    let letter = outgoing.parts.concat();
    match to_seven_bit(&letter) {
        Ok(converted) => {
            outgoing.parts = vec![converted.into()];
            Ok((outgoing, true))
        }
        Err(error) => {
            let reply = Reply::peer_lacks_eight_bit(&error.to_string());
            Err((outgoing.recipients.len(), reply))
        }
    }
}

/// Whether no recipient can have it without SMTPUTF8.
fn needs_utf8(outgoing: &Outgoing) -> bool {
    let sender = outgoing.reverse_path.as_ref();
    let mut recipients = outgoing.recipients.iter();
    outgoing.needs_utf8
        || sender.is_some_and(EmailAddress::needs_utf8)
        || recipients.all(|recipient| recipient.address.needs_utf8())
}

#[cfg(test)]
mod tests {

    use super::*;

    fn check(letter: &str, extensions: &Extensions) -> Result<String, String> {
        let outgoing = Outgoing::plain(
            None,
            vec![EmailAddress::parse("bob@black.test").unwrap()],
            vec![
                Bytes::from_static(b"Received: x\r\n"),
                Bytes::copy_from_slice(letter.as_bytes()),
            ],
        );
        match for_peer(outgoing, extensions) {
            Ok((outgoing, _)) => Ok(String::from_utf8(outgoing.parts.concat()).unwrap()),
            Err((1, reply)) => Err(reply.to_string()),
            Err(_) => panic!("one recipient"),
        }
    }

    #[test]
    fn only_what_the_server_cannot_take_is_changed() {
        let old = Extensions::default();
        let new = Extensions {
            eight_bit_mime: true,
            chunking: true,
            ..Extensions::default()
        };
        let letter = "MIME-Version: 1.0\r\n\r\nä\r\n";
        assert_eq!(
            check(letter, &new).unwrap(),
            format!("Received: x\r\n{letter}")
        );
        assert_eq!(
            check(letter, &old).unwrap(),
            "Received: x\r\nMIME-Version: 1.0\r\n\
             Content-Transfer-Encoding: quoted-printable\r\n\r\n=C3=A4\r\n"
        );
        let null = "MIME-Version: 1.0\r\n\r\n\0\r\n";
        assert_eq!(check(null, &new).unwrap(), format!("Received: x\r\n{null}"));
        assert!(
            check(null, &old)
                .unwrap()
                .ends_with("base64\r\n\r\nAA0K\r\n")
        );
        assert_eq!(
            check("Subject: ä\r\n\r\n", &old).unwrap_err(),
            "550 5.6.3 The next server takes no 8-bit letters, and the letter has such octets \
             outside of its parts"
        );
    }
}
