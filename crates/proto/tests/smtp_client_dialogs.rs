//! Plays every dialogue of `tests/dialogs/smtp_client/` against the client engine: whole, byte by
//! byte, and split at random; each must send the same and settle the same.
//!
//! `# …` names the RFC sections; `@ name value` sets the client up; `S: …` is a line of the
//! server, `S| …` the same without a line end; `C: …` is what the client sends, `E: …` what its
//! driver hears; `TLS` finishes a handshake; `T: 300` lets so many seconds pass; `EOF` cuts the
//! connection; `SEND name` sends a letter of the table below; `QUIT` says goodbye; `CLOSED` says
//! that the session is over.
//!
//! With `UPDATE_DIALOGS=1` the `C:`, `E:` and `CLOSED` lines are written anew; read the difference.

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;
    use std::path::{Path, PathBuf};
    use std::time::Duration;

    use base::{Domain, EmailAddress, Secret, Timestamp};
    use bytes::Bytes;
    use pennyblack_proto::smtp::client::{
        Config, Credentials, Event, Outgoing, OutgoingRecipient, RecipientOutcome, Timeouts,
        TlsPolicy,
    };
    use pennyblack_proto::smtp::{Client, DeliverBy, Notify, OriginalRecipient, Ret};

    fn letter(name: &str) -> Outgoing {
        let (sender, recipients, body): (&str, &[&str], &[&str]) = match name {
            "one" => (
                "a@red.test",
                &["bob@black.test"],
                &["Subject: x\r\n", "\r\n.dot\r\n"],
            ),
            "two" => (
                "a@red.test",
                &["bob@black.test", "carol@black.test"],
                &["A: b\r\n\r\nc"],
            ),
            "both" => (
                "a@red.test",
                &["bob@black.test", "carol@black.test"],
                &["A: b\r\n\r\n"],
            ),
            "report" => ("", &["bob@black.test"], &["A: b\r\n\r\n"]),
            "eight" => ("a@red.test", &["bob@black.test"], &["A: ä\r\n\r\n"]),
            "utf8" => ("jürgen@red.test", &["bob@black.test"], &["A: b\r\n\r\n"]),
            "mixed" => (
                "a@red.test",
                &["用户@black.test", "bob@black.test"],
                &["A: b\r\n\r\n"],
            ),
            "dsn" | "safe" | "late" | "returned" => {
                ("a@red.test", &["bob@black.test"], &["A: b\r\n\r\n"])
            }
            "bare" => ("a@red.test", &["bob@black.test"], &["A: b\r\n\r\n\n.\r\n"]),
            "big" => (
                "a@red.test",
                &["bob@black.test"],
                &["A: b\r\n\r\n", "0123456789\r\n"],
            ),
            "many" => ("a@red.test", &["u@black.test"; 70], &["A: b\r\n\r\n"]),
            _ => panic!("not a letter: {name}"),
        };
        let dsn = name == "dsn";
        Outgoing {
            reverse_path: (!sender.is_empty()).then(|| EmailAddress::parse(sender).unwrap()),
            recipients: recipients
                .iter()
                .map(|address| OutgoingRecipient {
                    address: EmailAddress::parse(address).unwrap(),
                    notify: dsn.then_some(Notify {
                        success: true,
                        failure: true,
                        delay: false,
                    }),
                    original: dsn.then(|| OriginalRecipient {
                        kind: "rfc822".to_owned(),
                        address: "b+x@black.test".to_owned(),
                    }),
                })
                .collect(),
            ret: dsn.then_some(Ret::Headers),
            envelope_id: dsn.then(|| "id=1".to_owned()),
            needs_utf8: false,
            submitter: (name == "dsn").then(|| EmailAddress::parse("a+b@red.test").unwrap()),
            require_tls: name == "safe",
            deliver_by: match name {
                "late" => DeliverBy::parse("-7;NT"),
                "returned" => DeliverBy::parse("60;R"),
                _ => None,
            },
            priority: if name == "late" { 3 } else { 0 },
            parts: body
                .iter()
                .map(|part| Bytes::from(part.to_string()))
                .collect(),
        }
    }

    #[derive(Clone, Copy, Debug)]
    enum Split {
        Whole,
        Bytes,
        Random(u64),
    }

    struct Stage {
        client: Client,
        now: Timestamp,
        heard: String,
        sent: Vec<u8>,
    }

    impl Stage {
        fn new(text: &str) -> Self {
            let mut config = Config {
                hostname: Domain::parse("mx.red.test").unwrap(),
                tls: TlsPolicy::Opportunistic,
                credentials: None,
                timeouts: Timeouts::default(),
                lmtp: false,
            };
            let mut tls = false;
            for line in text.lines().filter_map(|line| line.strip_prefix("@ ")) {
                match line {
                    "tls required" => config.tls = TlsPolicy::Required,
                    "tls never" => config.tls = TlsPolicy::Never,
                    "tls started" => tls = true,
                    "protocol lmtp" => config.lmtp = true,
                    "login user" => {
                        config.credentials = Some(Credentials {
                            login: "user".to_owned(),
                            password: Secret::new(*b"pencil"),
                            nonce: "rOprNGfwEbeRWgbNEkqO".to_owned(),
                            without_tls: false,
                        });
                    }
                    _ => panic!("not a setting: {line}"),
                }
            }
            let now = Timestamp::from_secs(1_800_000_000);
            Self {
                client: Client::new(config, tls, now),
                now,
                heard: String::new(),
                sent: Vec::new(),
            }
        }

        fn input(&mut self, bytes: &[u8], split: Split) {
            let mut rest = bytes;
            let mut seed = match split {
                Split::Random(seed) => seed,
                Split::Whole | Split::Bytes => 0,
            };
            while !rest.is_empty() {
                let count = match split {
                    Split::Whole => rest.len(),
                    Split::Bytes => 1,
                    Split::Random(_) => {
                        seed = seed
                            .wrapping_mul(6_364_136_223_846_793_005)
                            .wrapping_add(1_442_695_040_888_963_407);
                        ((seed >> 33) as usize % 40 + 1).min(rest.len())
                    }
                };
                self.client.receive(&rest[..count], self.now);
                rest = &rest[count..];
                self.run();
            }
        }

        fn run(&mut self) {
            while let Some(event) = self.client.poll() {
                match event {
                    Event::StartTls => self.heard.push_str("E: start tls\n"),
                    Event::Ready => self.heard.push_str("E: ready\n"),
                    Event::Failed(failure) => writeln!(self.heard, "E: failed: {failure}").unwrap(),
                    Event::Done(outcomes) if outcomes.len() > 10 => {
                        let accepted = |o: &&_| matches!(o, RecipientOutcome::Accepted(_));
                        let count = outcomes.iter().filter(accepted).count();
                        writeln!(self.heard, "E: {count} of {}", outcomes.len()).unwrap();
                    }
                    Event::Done(outcomes) => {
                        for outcome in outcomes {
                            let text = match outcome {
                                RecipientOutcome::Accepted(reply) => format!("accepted: {reply}"),
                                RecipientOutcome::Refused(reply) => format!("refused: {reply}"),
                                RecipientOutcome::Unfit(reply) => format!("unfit: {reply}"),
                                RecipientOutcome::Unfinished(why) => format!("unfinished: {why}"),
                            };
                            writeln!(self.heard, "E: {text}").unwrap();
                        }
                    }
                }
            }
            while let Some(bytes) = self.client.transmit(self.now) {
                self.sent.extend_from_slice(&bytes);
            }
        }

        fn take(&mut self) -> String {
            let mut lines = std::mem::take(&mut self.heard);
            let sent = String::from_utf8(std::mem::take(&mut self.sent)).unwrap();
            assert!(sent.is_empty() || sent.ends_with("\r\n"), "{sent}");
            for line in sent.split_terminator("\r\n") {
                writeln!(lines, "{}", format!("C: {line}").trim_end()).unwrap();
            }
            lines
        }
    }

    fn play(text: &str, split: Split) -> String {
        let mut stage = Stage::new(text);
        let mut played = String::new();
        let mut pending = Vec::new();
        let settle = |stage: &mut Stage, pending: &mut Vec<u8>, played: &mut String| {
            stage.input(&std::mem::take(pending), split);
            stage.run();
            played.push_str(&stage.take());
        };
        for line in text.lines() {
            let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
            match word {
                "S:" => pending.extend_from_slice(format!("{rest}\r\n").as_bytes()),
                "S|" => pending.extend_from_slice(rest.replace("\\n", "\n").as_bytes()),
                "C:" | "E:" | "CLOSED" => {
                    settle(&mut stage, &mut pending, &mut played);
                    continue;
                }
                "" | "#" | "@" => {}
                _ => settle(&mut stage, &mut pending, &mut played),
            }
            writeln!(played, "{line}").unwrap();
            match word {
                "TLS" => stage.client.tls_started(stage.now),
                "T:" => {
                    stage.now = stage.now + Duration::from_secs(rest.parse().unwrap());
                    stage.client.timeout(stage.now);
                }
                "EOF" => stage.client.disconnected(),
                "SEND" => stage.client.send(letter(rest)),
                "QUIT" => stage.client.quit(),
                _ => {}
            }
        }
        settle(&mut stage, &mut pending, &mut played);
        if stage.client.is_closed() {
            played.push_str("CLOSED\n");
        }
        played
    }

    #[test]
    fn dialogues_go_the_same_however_they_are_split() {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dialogs/smtp_client");
        let mut paths: Vec<PathBuf> = std::fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        paths.sort();
        assert!(paths.len() >= 10, "the dialogues are gone");
        for path in paths {
            let text = std::fs::read_to_string(&path).unwrap();
            assert!(text.starts_with("# RFC "), "{path:?} names its RFC first");
            if std::env::var_os("UPDATE_DIALOGS").is_some() {
                std::fs::write(&path, play(&text, Split::Whole)).unwrap();
                continue;
            }
            let splits = [Split::Whole, Split::Bytes];
            for split in splits.into_iter().chain((0..20).map(Split::Random)) {
                assert_eq!(play(&text, split), text, "{path:?} {split:?}");
            }
        }
    }
}
