//! Nobody smuggles a letter in behind another one, or commands into TLS, and we give nobody the
//! means to: RFC 5321 §2.3.8, §4.1.1.4 (the end of a letter), RFC 3207 §4.2, §6 (what was said in
//! clear).
//!
//! The spellings of the end of a letter that servers were found to take in 2023 are all of up to
//! six octets of CR, LF, dot, NUL and a letter; here every one of them is tried.

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use base::{Domain, EmailAddress, Timestamp};
    use bytes::Bytes;
    use pennyblack_proto::smtp::client::{
        self, Client, Outgoing, RecipientOutcome, Timeouts, TlsPolicy,
    };
    use pennyblack_proto::smtp::{Config, Event, Offers, Role, Server};

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
    const ALPHABET: [u8; 5] = *b"\r\n.\0x";
    const LENGTH_MAX: usize = 6;

    /// Calls with every sequence of up to so many octets of the alphabet.
    fn all_sequences(mut check: impl FnMut(&[u8])) {
        for length in 1..=LENGTH_MAX {
            let count = ALPHABET.len().pow(u32::try_from(length).unwrap());
            for number in 0..count {
                let mut rest = number;
                let sequence: Vec<u8> = (0..length)
                    .map(|_| {
                        let octet = ALPHABET[rest % ALPHABET.len()];
                        rest /= ALPHABET.len();
                        octet
                    })
                    .collect();
                check(&sequence);
            }
        }
    }

    fn server(role: Role) -> Server {
        let config = Config {
            hostname: Domain::parse("mx.black.test").unwrap(),
            role,
            starttls: true,
            auth_without_tls: false,
            scram: true,
            letter_bytes_max: 100_000,
            recipients_max: 5,
            errors_max: 1_000,
            letters_max: 100,
            command_timeout: Duration::from_secs(300),
            data_timeout: Duration::from_secs(180),
            session_timeout: Duration::from_secs(3_600),
            offers: Offers::default(),
        };
        let mut server = Server::new(Arc::new(config), false, NOW);
        server.greet();
        server.transmit();
        server
    }

    #[derive(Default)]
    struct Heard {
        senders: Vec<String>,
        letters: usize,
        /// Logins and STARTTLS.
        others: usize,
    }

    /// Gives the server these octets and says yes to everything.
    fn hear(server: &mut Server, bytes: &[u8], heard: &mut Heard) -> String {
        let mut said = Vec::new();
        for piece in bytes.chunks(32 * 1024) {
            server.receive(piece, NOW);
            while let Some(event) = server.poll() {
                match event {
                    Event::Mail(mail) => {
                        let sender = mail.reverse_path.map(|sender| sender.to_string());
                        heard.senders.push(sender.unwrap_or_default());
                    }
                    Event::LetterEnd => heard.letters += 1,
                    Event::Password { .. } | Event::StartTls => heard.others += 1,
                    _ => {}
                }
                server.accept();
            }
            said.extend(server.transmit().unwrap_or_default());
        }
        String::from_utf8(said).unwrap()
    }

    const ENVELOPE: &[u8] =
        b"EHLO red.test\r\nMAIL FROM:<a@red.test>\r\nRCPT TO:<b@black.test>\r\nDATA\r\n";
    const SMUGGLED: &[u8] =
        b"MAIL FROM:<evil@red.test>\r\nRCPT TO:<b@black.test>\r\nDATA\r\nevil\r\n.\r\n";

    #[test]
    fn no_spelling_but_one_ends_a_letter_that_comes_in() {
        all_sequences(|sequence| {
            let body = [b"A: b\r\n\r\ntext", sequence].concat();
            // The one true end, or a dot that was to be doubled.
            if body.windows(5).any(|end| end == b"\r\n.\r\n") {
                return;
            }
            let mut server = server(Role::Relay);
            let mut heard = Heard::default();
            let input = [ENVELOPE, &body, SMUGGLED].concat();
            hear(&mut server, &input, &mut heard);
            let name = sequence.escape_ascii();
            assert_eq!(heard.senders, ["a@red.test"], "{name}");
            // The end of the smuggled letter is the end of ours; it counts if nothing in it was
            // bare.
            assert!(heard.letters <= 1, "{name}");
        });
    }

    /// All spellings of an end that some server was found to take.
    fn has_an_end(bytes: &[u8]) -> bool {
        let breaks: [&[u8]; 4] = [b"\r\n", b"\n", b"\r", b"\r\r\n"];
        let ends = breaks.iter().flat_map(|before| {
            let after = breaks.iter();
            after.map(move |after| [before, b".".as_slice(), after].concat())
        });
        let with_null: [&[u8]; 3] = [b"\r\n\0.\r\n", b"\r\n.\0\r\n", b"\n\0.\n"];
        let with_null = with_null.iter().map(|end| end.to_vec());
        ends.chain(with_null)
            .any(|end| bytes.windows(end.len()).any(|found| found == end))
    }

    /// What our client sends of a letter; `None` if it refuses it.
    fn sent(body: &[u8], extensions: &str) -> Option<Vec<u8>> {
        let config = client::Config {
            hostname: Domain::parse("mx.red.test").unwrap(),
            tls: TlsPolicy::Never,
            credentials: None,
            timeouts: Timeouts::default(),
            lmtp: false,
        };
        let mut client = Client::new(config, false, NOW);
        client.receive(b"220 mx.black.test\r\n", NOW);
        client.receive(
            format!("250-mx.black.test\r\n250 {extensions}\r\n").as_bytes(),
            NOW,
        );
        client.send(Outgoing::plain(
            EmailAddress::parse("a@red.test").ok(),
            vec![EmailAddress::parse("b@black.test").unwrap()],
            vec![
                Bytes::from_static(b"A: b\r\n\r\n"),
                Bytes::copy_from_slice(body),
            ],
        ));
        for reply in ["250 ok", "250 ok", "354 go"] {
            while let Some(event) = client.poll() {
                if let client::Event::Done(outcomes) = event {
                    assert!(matches!(outcomes[0], RecipientOutcome::Unfit(_)));
                    return None;
                }
            }
            while client.transmit(NOW).is_some() {}
            client.receive(format!("{reply}\r\n").as_bytes(), NOW);
        }
        let mut bytes = Vec::new();
        while let Some(piece) = client.transmit(NOW) {
            bytes.extend(piece);
        }
        Some(bytes)
    }

    #[test]
    fn no_letter_of_ours_has_two_ends_for_anybody() {
        all_sequences(|sequence| {
            let Some(bytes) = sent(sequence, "PIPELINING") else {
                return;
            };
            let name = sequence.escape_ascii();
            let end = bytes.strip_suffix(b"\r\n.\r\n");
            let inside = end.unwrap_or_else(|| panic!("{name}: no end in {bytes:?}"));
            // The line break of the end belongs to the letter, too.
            assert!(!has_an_end(&[inside, b"\r\n"].concat()), "{name}");
        });
    }

    #[test]
    fn what_is_refused_is_what_has_a_bare_octet() {
        for (body, goes) in [
            (&b"x\r\n.\r\nx"[..], true),
            (b".\r\n", true),
            (b"\n.\n", false),
            (b"\n.\r\n", false),
            (b"\r.\r", false),
            (b"\r\n.\r", false),
            (b"\r\n.\n", false),
            (b"\r\r\n.\r\r\n", false),
            (b"\0.\r\n", false),
        ] {
            assert_eq!(
                sent(body, "PIPELINING").is_some(),
                goes,
                "{}",
                body.escape_ascii()
            );
        }
    }

    /// RFC 3207 §4.2: commands that were put behind STARTTLS in clear are not done inside of TLS.
    #[test]
    fn nothing_said_in_clear_is_done_in_tls() {
        for injected in [
            "EHLO evil\r\n",
            "MAIL FROM:<evil@red.test>\r\n",
            "EHLO evil\r\nMAIL FROM:<evil@red.test>\r\nRCPT TO:<b@black.test>\r\nDATA\r\n",
            "AUTH PLAIN AGV2aWwAcGVuY2ls\r\n",
            "RSET\r\nNOOP\r\n",
            "MAIL FROM:<evil",
            "\r\n",
            "STARTTLS\r\n",
        ] {
            let mut server = server(Role::Submission);
            let mut heard = Heard::default();
            let said = hear(
                &mut server,
                format!("EHLO red.test\r\nSTARTTLS\r\n{injected}").as_bytes(),
                &mut heard,
            );
            assert!(
                said.ends_with("220 2.0.0 Start TLS now\r\n"),
                "{injected}: {said}"
            );
            assert_eq!(heard.others, 1, "{injected}");
            // More of it, between the reply and the handshake.
            assert_eq!(hear(&mut server, injected.as_bytes(), &mut heard), "");
            server.tls_started(NOW);
            assert_eq!(hear(&mut server, b"", &mut heard), "", "{injected}");
            // RFC 3207 §4.2: the session begins anew, without what was said before.
            let said = hear(&mut server, b"MAIL FROM:<a@red.test>\r\n", &mut heard);
            assert!(said.starts_with("503 5.5.1"), "{injected}: {said}");
            assert!(heard.senders.is_empty(), "{injected}: {:?}", heard.senders);
            assert_eq!(heard.others, 1, "{injected}");
        }
    }

    /// RFC 3207 §6: replies that were put behind that to STARTTLS count for nothing.
    #[test]
    fn no_reply_in_clear_counts_in_tls() {
        for injected in [
            "250 AUTH PLAIN\r\n",
            "250-evil\r\n250 PIPELINING\r\n",
            "2",
            "554 no\r\n",
        ] {
            let config = client::Config {
                hostname: Domain::parse("mx.red.test").unwrap(),
                tls: TlsPolicy::Required,
                credentials: None,
                timeouts: Timeouts::default(),
                lmtp: false,
            };
            let mut client = Client::new(config, false, NOW);
            client.receive(b"220 mx\r\n", NOW);
            client.receive(b"250-mx\r\n250 STARTTLS\r\n", NOW);
            while client.transmit(NOW).is_some() {}
            client.receive(format!("220 go\r\n{injected}").as_bytes(), NOW);
            assert_eq!(client.poll(), Some(client::Event::StartTls), "{injected}");
            client.receive(injected.as_bytes(), NOW);
            client.tls_started(NOW);
            assert_eq!(client.poll(), None, "{injected}");
            let hello = client.transmit(NOW).unwrap();
            assert_eq!(hello, "EHLO mx.red.test\r\n");
            client.receive(b"250 mx\r\n", NOW);
            assert_eq!(client.poll(), Some(client::Event::Ready), "{injected}");
            assert!(!client.extensions().pipelining);
        }
    }
}
