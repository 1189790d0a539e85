//! The SMTP engines on random input: hostile bytes harm neither, and a client and a server of ours
//! carry any letter over unchanged, however the bytes between them are cut.

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use base::{Domain, EmailAddress, Secret, Timestamp};
    use bytes::Bytes;
    use pennyblack_proto::sasl::scram::derive_keys;
    use pennyblack_proto::smtp::client::{
        self, Client, Credentials, Outgoing, RecipientOutcome, Timeouts, TlsPolicy,
    };
    use pennyblack_proto::smtp::server::{Config, Event, INPUT_BYTES_MAX, Offers};
    use pennyblack_proto::smtp::{Reply, Role, Server};
    use proptest::prelude::*;

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    fn config(role: Role) -> Arc<Config> {
        Arc::new(Config {
            hostname: Domain::parse("mx.black.test").unwrap(),
            role,
            starttls: true,
            auth_without_tls: true,
            scram: true,
            letter_bytes_max: 5_000_000,
            recipients_max: 100,
            errors_max: 1_000_000,
            letters_max: 1_000_000,
            command_timeout: Duration::from_secs(300),
            data_timeout: Duration::from_secs(180),
            session_timeout: Duration::from_secs(3_600),
            offers: Offers::default(),
        })
    }

    /// A driver that says yes to all but recipients that begin with `x`.
    #[derive(Default)]
    struct Driver {
        letter: Vec<u8>,
        letters: Vec<Vec<u8>>,
        senders: Vec<String>,
    }

    impl Driver {
        /// Drains the engine; gives what it said.
        fn run(&mut self, server: &mut Server) -> Vec<u8> {
            let mut said = Vec::new();
            loop {
                self.drain(server);
                said.extend(server.transmit().unwrap_or_default());
                if !server.is_stalled() {
                    return said;
                }
            }
        }

        fn drain(&mut self, server: &mut Server) {
            while let Some(event) = server.poll() {
                match event {
                    Event::Mail(mail) => {
                        let sender = mail.reverse_path.map(|a| a.to_string());
                        self.senders.push(sender.unwrap_or_default());
                        server.accept();
                    }
                    Event::Rcpt(rcpt) if rcpt.recipient.to_string().starts_with('x') => {
                        server.reject(&Reply::unknown_user());
                    }
                    Event::LetterEnd => {
                        self.letters.push(std::mem::take(&mut self.letter));
                        server.accept();
                    }
                    Event::Rcpt(_)
                    | Event::Password { .. }
                    | Event::Proved { .. }
                    | Event::StartTls
                    | Event::Xclient(_) => server.accept(),
                    Event::LetterStart => {
                        self.letter.clear();
                        server.accept();
                    }
                    Event::Chunk(bytes) => self.letter.extend_from_slice(&bytes),
                    Event::LetterDropped => self.letter.clear(),
                    Event::External { .. } => server.stands_for("user"),
                    Event::Token { .. } => server.token_refused(),
                    Event::Keys { algorithm, .. } => {
                        let iterations = std::num::NonZeroU32::new(4_096).unwrap();
                        server.keys(
                            derive_keys(algorithm, "pencil", b"salt", iterations),
                            "nonce",
                        );
                    }
                    Event::Reset | Event::WrongProof { .. } | Event::Refused(_) | Event::Quit => {}
                }
            }
        }
    }

    /// Pieces that a hostile client might send: commands, line ends, noise.
    fn hostile_client() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            4 => prop::sample::select(vec![
                "EHLO x\r\n", "HELO x\r\n", "MAIL FROM:<a@x.test>\r\n", "RCPT TO:<b@x.test>\r\n",
                "DATA\r\n", "BDAT 10\r\n", "BDAT 0 LAST\r\n", "BDAT 99999999999\r\n", "RSET\r\n",
                "AUTH PLAIN\r\n", "AUTH LOGIN\r\n", "AUTH SCRAM-SHA-256 bixhPWEsbj1hLHI9YQ==\r\n",
                "XCLIENT ADDR=192.0.2.1 HELO=x\r\n", "*\r\n", ".\r\n", "\r\n.\r\n", "\r", "\n", "\r\n", ".", "<", ">", "\"", "NOOP\r\n",
                "MAIL FROM:<", " SIZE=", " BODY=", "=", "+", "STARTTLS\r\n",
            ]).prop_map(|text| text.as_bytes().to_vec()),
            1 => prop::collection::vec(any::<u8>(), 0..40),
            1 => (any::<u8>(), 0..20_000_usize).prop_map(|(byte, count)| vec![byte; count]),
        ];
        prop::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
    }

    fn hostile_server() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            6 => prop::sample::select(vec![
                "220 x\r\n", "250 x\r\n", "250-x\r\n", "250-PIPELINING\r\n", "250 SIZE 10\r\n",
                "354 go\r\n", "550 5.1.1 no\r\n", "450 no\r\n", "334 \r\n", "334 YWJj\r\n",
                "235 ok\r\n", "221 x\r\n", "220", "\r\n", "\n", "250-AUTH SCRAM-SHA-256 PLAIN\r\n",
            ]).prop_map(|text| text.as_bytes().to_vec()),
            1 => prop::collection::vec(any::<u8>(), 0..40),
        ];
        prop::collection::vec(piece, 0..80).prop_map(|pieces| pieces.concat())
    }

    fn cuts() -> impl Strategy<Value = Vec<usize>> {
        let size = prop_oneof![3 => 1..8_usize, 2 => 1..300_usize, 1 => 1..9_000_usize];
        prop::collection::vec(size, 1..40)
    }

    /// Lines of every kind, with CR LF; dots and empty lines are frequent.
    fn letter() -> impl Strategy<Value = Vec<u8>> {
        let line = prop_oneof![
            2 => Just(Vec::new()),
            2 => prop::collection::vec(Just(b'.'), 1..4),
            3 => prop::collection::vec(
                any::<u8>().prop_filter("no line end", |b| !matches!(b, b'\r' | b'\n')), 0..90),
            1 => (0..70_000_usize).prop_map(|count| vec![b'x'; count]),
        ];
        prop::collection::vec(line, 0..30).prop_map(|lines| {
            let mut letter = Vec::new();
            for line in lines {
                letter.extend(line);
                letter.extend_from_slice(b"\r\n");
            }
            letter
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

        #[test]
        fn hostile_bytes_do_not_harm_the_server(
            input in hostile_client(), cuts in cuts(), submission in any::<bool>(),
        ) {
            let role = if submission { Role::Submission } else { Role::Relay };
            let play = |cuts: &[usize]| {
                let mut server = Server::new(config(role), false, NOW);
                server.greet();
                let mut driver = Driver::default();
                let mut said = Vec::new();
                let mut rest = input.as_slice();
                for cut in cuts.iter().cycle() {
                    if rest.is_empty() || server.is_closed() {
                        break;
                    }
                    if server.wants_input() {
                        let bytes = (*cut).min(rest.len());
                        server.receive(&rest[..bytes], NOW);
                        rest = &rest[bytes..];
                    }
                    said.extend(driver.run(&mut server));
                    // All that is complete is done: what waits is less than a line.
                    prop_assert!(server.wants_input() || server.deadline().is_some()
                        || server.is_closed());
                    server.tls_started(NOW);
                }
                Ok((said, driver.letters))
            };
            let first = play(&cuts)?;
            // What a peer sends after STARTTLS in one piece is thrown away, so the cut matters there.
            if !first.0.windows(12).any(|w| w == b"Start TLS no") {
                let whole = play(&[INPUT_BYTES_MAX / 2])?;
                prop_assert_eq!(first, whole);
            }
        }

        #[test]
        fn hostile_bytes_do_not_harm_the_client(input in hostile_server(), cuts in cuts()) {
            let mut client = Client::new(client_config(true), true, NOW);
            let mut rest = input.as_slice();
            for cut in cuts.iter().cycle() {
                if rest.is_empty() || client.is_closed() {
                    break;
                }
                let bytes = (*cut).min(rest.len());
                client.receive(&rest[..bytes], NOW);
                rest = &rest[bytes..];
                while client.poll().is_some() {}
                if client.is_ready() {
                    client.send(outgoing(b"A: b\r\n".to_vec(), &["a@x.test", "b@x.test"]));
                }
                while client.transmit(NOW).is_some() {}
            }
        }

        #[test]
        fn letters_arrive_as_they_were_sent(
            letters in prop::collection::vec(letter(), 1..4), cuts in cuts(), login in any::<bool>(),
        ) {
            let role = if login { Role::Submission } else { Role::Relay };
            let mut server = Server::new(config(role), true, NOW);
            server.greet();
            let mut client = Client::new(client_config(login), true, NOW);
            let mut driver = Driver::default();
            let mut waiting = letters.iter().rev().cloned().collect::<Vec<_>>();
            let (mut to_server, mut to_client) = (Vec::<u8>::new(), Vec::<u8>::new());
            let mut outcomes = Vec::new();
            for cut in cuts.iter().cycle() {
                while let Some(event) = client.poll() {
                    match event {
                        client::Event::Done(done) => outcomes.push(done),
                        client::Event::Failed(failure) => panic!("{failure}"),
                        client::Event::Ready | client::Event::StartTls => {}
                    }
                }
                if client.is_ready() {
                    let Some(letter) = waiting.pop() else { break };
                    client.send(outgoing(letter, &["a@x.test", "x@x.test", "b@x.test"]));
                }
                while let Some(bytes) = client.transmit(NOW) {
                    to_server.extend(bytes);
                }
                let bytes = (*cut).min(to_server.len());
                server.receive(&to_server[..bytes], NOW);
                to_server.drain(..bytes);
                to_client.extend(driver.run(&mut server));
                let bytes = (*cut).min(to_client.len());
                client.receive(&to_client[..bytes], NOW);
                to_client.drain(..bytes);
            }
            prop_assert_eq!(&driver.letters, &letters);
            prop_assert_eq!(outcomes.len(), letters.len());
            for outcome in outcomes {
                prop_assert!(matches!(
                    outcome.as_slice(),
                    [RecipientOutcome::Accepted(_), RecipientOutcome::Refused(reply),
                     RecipientOutcome::Accepted(_)] if reply.code == 550
                ), "{:?}", outcome);
            }
        }
    }

    fn client_config(login: bool) -> client::Config {
        client::Config {
            hostname: Domain::parse("mx.red.test").unwrap(),
            tls: TlsPolicy::Opportunistic,
            credentials: login.then(|| Credentials {
                login: "user".to_owned(),
                password: Secret::new(*b"pencil"),
                nonce: "rOprNGfwEbeRWgbNEkqO".to_owned(),
                without_tls: false,
            }),
            timeouts: Timeouts::default(),
            lmtp: false,
        }
    }

    fn outgoing(letter: Vec<u8>, recipients: &[&str]) -> Outgoing {
        let middle = letter.len() / 2;
        let letter = Bytes::from(letter);
        let address = |text: &str| EmailAddress::parse(text).unwrap();
        Outgoing::plain(
            Some(address("a@red.test")),
            recipients.iter().map(|text| address(text)).collect(),
            vec![letter.slice(..middle), letter.slice(middle..)],
        )
    }
}
