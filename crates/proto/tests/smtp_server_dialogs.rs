//! Plays every dialogue of `tests/dialogs/smtp/` against the server engine: whole, byte by byte,
//! and split at random; each must give the same replies and the same events.
//!
//! A dialogue is a text. `# …` names the RFC sections; `@ name value` sets the server up; `C: …` is
//! a line of the client (with CR LF), `C| …` the same without a line end; `S: …` is a reply line;
//! `E: …` is what the driver hears; `TLS` finishes a handshake; `T: 300` lets so many seconds
//! pass; `STOP` drains; `CLOSED` says that the session is over. In client lines `\r`, `\n`, `\0`,
//! `\xNN` and `\\` are escapes, and `{text*N}` repeats a text.
//!
//! With `UPDATE_DIALOGS=1` the `S:`, `E:` and `CLOSED` lines are written anew; read the difference.

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;
    use std::net::IpAddr;
    use std::num::NonZeroU32;
    use std::path::{Path, PathBuf};
    use std::sync::Arc;
    use std::time::Duration;

    use base::ports::ChannelBinding;
    use base::{Domain, Timestamp};
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD as BASE64;
    use pennyblack_proto::sasl::Algorithm;
    use pennyblack_proto::sasl::scram::derive_keys;
    use pennyblack_proto::smtp::server::{Mail, Offers, Rcpt};
    use pennyblack_proto::smtp::{Config, Event, Recipient, Reply, Role, Server};

    /// How the input of a group is cut.
    #[derive(Clone, Copy, Debug)]
    enum Split {
        Whole,
        Bytes,
        Random(u64),
    }

    #[derive(Clone, Debug)]
    enum Line {
        Text(String),
        Set(String, String),
        Client { text: String, raw: bool },
        Tls,
        Pass(u64),
        Stop,
        Expected,
    }

    fn parse(text: &str) -> Vec<Line> {
        text.lines()
            .map(|line| match line.split_once(' ').unwrap_or((line, "")) {
                ("@", rest) => {
                    let (name, value) = rest.split_once(' ').unwrap();
                    Line::Set(name.to_owned(), value.to_owned())
                }
                ("C:", text) => Line::Client {
                    text: text.to_owned(),
                    raw: false,
                },
                ("C|", text) => Line::Client {
                    text: text.to_owned(),
                    raw: true,
                },
                ("TLS", _) => Line::Tls,
                ("T:", seconds) => Line::Pass(seconds.parse().unwrap()),
                ("STOP", _) => Line::Stop,
                ("S:" | "E:" | "CLOSED", _) => Line::Expected,
                ("" | "#", _) => Line::Text(line.to_owned()),
                _ => panic!("not a dialogue line: {line}"),
            })
            .collect()
    }

    fn unescape(text: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            let end = rest.find('}');
            if c == '{'
                && let Some((body, times)) = end.and_then(|end| rest[1..end].rsplit_once('*'))
                && let Ok(times) = times.parse::<usize>()
            {
                bytes.extend(unescape(body).repeat(times));
                rest = &rest[end.unwrap() + 1..];
                continue;
            }
            let used = match (c, rest.as_bytes().get(1)) {
                ('\\', Some(b'r')) => push(&mut bytes, b"\r", 2),
                ('\\', Some(b'n')) => push(&mut bytes, b"\n", 2),
                ('\\', Some(b'0')) => push(&mut bytes, b"\0", 2),
                ('\\', Some(b'\\')) => push(&mut bytes, b"\\", 2),
                ('\\', Some(b'x')) => {
                    let byte = u8::from_str_radix(&rest[2..4], 16).unwrap();
                    push(&mut bytes, &[byte], 4)
                }
                _ => push(&mut bytes, &rest.as_bytes()[..c.len_utf8()], c.len_utf8()),
            };
            rest = &rest[used..];
        }
        bytes
    }

    fn push(bytes: &mut Vec<u8>, added: &[u8], used: usize) -> usize {
        bytes.extend_from_slice(added);
        used
    }

    fn config() -> Config {
        Config {
            hostname: Domain::parse("mx.black.test").unwrap(),
            role: Role::Relay,
            starttls: true,
            auth_without_tls: false,
            scram: true,
            letter_bytes_max: 100_000,
            recipients_max: 5,
            errors_max: 20,
            letters_max: 100,
            command_timeout: Duration::from_secs(300),
            data_timeout: Duration::from_secs(180),
            session_timeout: Duration::from_secs(3_600),
            offers: Offers::default(),
        }
    }

    /// The engine with the world around it.
    struct Stage {
        server: Server,
        now: Timestamp,
        letter: Vec<u8>,
        letters: u32,
        heard: String,
        said: Vec<u8>,
        disk_full: bool,
        lmtp: bool,
        /// Each recipient gets its own reply to the letter.
        each: bool,
        accepted: Vec<String>,
        /// The address of another proxy that may use XCLIENT.
        xclient: Option<IpAddr>,
    }

    impl Stage {
        fn new(lines: &[Line]) -> Self {
            let mut config = config();
            let (mut tls, mut disk_full, mut crowded) = (false, false, false);
            let (mut xclient, mut bound, mut certificate) = (None, false, false);
            for line in lines {
                let Line::Set(name, value) = line else {
                    continue;
                };
                match name.as_str() {
                    "role" if value == "submission" => config.role = Role::Submission,
                    "role" if value == "lmtp" => config.role = Role::Lmtp,
                    "offers" if value == "all" => {
                        config.offers = Offers {
                            require_tls: true,
                            future_release: Some(Duration::from_secs(86_400)),
                            deliver_by: true,
                            mt_priority: true,
                            tokens: false,
                        };
                    }
                    "starttls" => config.starttls = value == "yes",
                    "tls" => tls = value == "yes",
                    "auth_without_tls" => config.auth_without_tls = value == "yes",
                    "letter_bytes_max" => config.letter_bytes_max = value.parse().unwrap(),
                    "recipients_max" => config.recipients_max = value.parse().unwrap(),
                    "errors_max" => config.errors_max = value.parse().unwrap(),
                    "letters_max" => config.letters_max = value.parse().unwrap(),
                    "xclient" => xclient = Some(value.parse().unwrap()),
                    "bound" => bound = value == "yes",
                    "certificate" => certificate = value == "yes",
                    "tokens" => config.offers.tokens = value == "yes",
                    "disk_full" => disk_full = value == "yes",
                    "crowded" => crowded = value == "yes",
                    _ => panic!("not a setting: {name}"),
                }
            }
            let now = Timestamp::from_secs(1_800_000_000);
            let lmtp = config.role == Role::Lmtp;
            let mut server = Server::new(Arc::new(config), tls, now);
            if xclient.is_some() {
                server.offer_xclient();
            }
            if bound {
                server.set_channel_binding(ChannelBinding {
                    exporter: Some(*b"the exporter of this connection."),
                    server_end_point: Some(b"its certificate".to_vec()),
                });
            }
            if certificate {
                server.offer_external();
            }
            if crowded {
                server.refuse(&Reply::too_many_connections("Too many connections"));
            } else {
                server.greet();
            }
            Self {
                server,
                now,
                letter: Vec::new(),
                letters: 0,
                heard: String::new(),
                said: Vec::new(),
                disk_full,
                xclient,
                lmtp,
                each: false,
                accepted: Vec::new(),
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
                    Split::Whole => rest.len().min(32 * 1024),
                    Split::Bytes => 1,
                    Split::Random(_) => {
                        // A linear congruence (Knuth) is random enough to cut with.
                        seed = seed
                            .wrapping_mul(6_364_136_223_846_793_005)
                            .wrapping_add(1_442_695_040_888_963_407);
                        let most = if seed >> 62 == 0 { 2_000 } else { 12 };
                        ((seed >> 33) as usize % most + 1).min(rest.len())
                    }
                };
                self.server.receive(&rest[..count], self.now);
                rest = &rest[count..];
                self.run();
            }
        }

        fn run(&mut self) {
            loop {
                while let Some(event) = self.server.poll() {
                    if let Some(heard) = self.event(event) {
                        writeln!(self.heard, "E: {heard}").unwrap();
                    }
                }
                self.said
                    .extend_from_slice(&self.server.transmit().unwrap_or_default());
                if !self.server.is_stalled() {
                    break;
                }
            }
        }

        fn event(&mut self, event: Event) -> Option<String> {
            match event {
                Event::Mail(mail) => {
                    self.accepted.clear();
                    self.each = mail.reply_each || self.lmtp;
                    self.server.accept();
                    Some(mail_text(mail))
                }
                Event::Rcpt(rcpt) => {
                    self.recipient(&rcpt.recipient);
                    Some(rcpt_text(&rcpt))
                }
                Event::LetterStart if self.disk_full => {
                    self.server.reject(&Reply::disk_full());
                    None
                }
                Event::LetterStart => {
                    self.letter.clear();
                    self.server.accept();
                    None
                }
                Event::Chunk(bytes) => {
                    self.letter.extend_from_slice(&bytes);
                    None
                }
                Event::LetterDropped => {
                    self.letter.clear();
                    Some("letter dropped".to_owned())
                }
                Event::LetterEnd if self.each => {
                    self.answer_each();
                    Some("letter".to_owned())
                }
                Event::LetterEnd => {
                    self.letters += 1;
                    self.server.accept_with(&Reply::kept_as(&self.letters));
                    let letter = std::mem::take(&mut self.letter);
                    Some(if letter.len() > 200 {
                        format!("letter of {} bytes", letter.len())
                    } else {
                        format!("letter {}", letter.escape_ascii())
                    })
                }
                Event::Reset => Some("reset".to_owned()),
                Event::StartTls => {
                    self.server.accept();
                    Some("start tls".to_owned())
                }
                Event::Xclient(told) => {
                    if told.address != self.xclient {
                        self.server.withdraw_xclient();
                    }
                    self.server.accept();
                    Some(format!("xclient {told:?}"))
                }
                Event::Password { .. }
                | Event::Token { .. }
                | Event::External { .. }
                | Event::Keys { .. }
                | Event::Proved { .. } => self.login(event),
                Event::WrongProof { login } => Some(format!("wrong proof {login}")),
                Event::Refused(reply) => Some(format!("refused {}", reply.code)),
                Event::Quit => Some("quit".to_owned()),
            }
        }

        fn login(&mut self, event: Event) -> Option<String> {
            match event {
                Event::Password { login, password } => {
                    let password = password.expose_str().unwrap().to_owned();
                    match (login.as_str(), password.as_str()) {
                        ("user", "pencil") => self.server.accept(),
                        _ => self.server.reject(&Reply::authentication_failed()),
                    }
                    Some(format!("password {login} {password}"))
                }
                Event::Token { login, token } => {
                    let token = token.expose_str().unwrap().to_owned();
                    match token.as_str() {
                        "good" => self.server.stands_for("user"),
                        _ => self.server.token_refused(),
                    }
                    Some(format!("token {} of {login:?}", token))
                }
                Event::External { identity } => {
                    match identity.as_deref() {
                        None | Some("user") => self.server.stands_for("user"),
                        Some(_) => self.server.reject(&Reply::authentication_failed()),
                    }
                    Some(format!("external {identity:?}"))
                }
                Event::Keys { login, algorithm } => {
                    // The example of RFC 7677 §3.
                    let salt = BASE64.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
                    // The example of RFC 5802 §5.
                    let (salt, nonce) = match algorithm {
                        Algorithm::Sha256 => (salt, "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"),
                        Algorithm::Sha1 => {
                            let salt = BASE64.decode("QSXCR+Q6sek8bf92").unwrap();
                            (salt, "3rfcNHYJY1ZVvWVs7j")
                        }
                    };
                    let iterations = NonZeroU32::new(4_096).unwrap();
                    let keys = derive_keys(algorithm, "pencil", &salt, iterations);
                    self.server.keys(keys, nonce);
                    Some(format!("keys {login} {algorithm:?}"))
                }
                Event::Proved { login, .. } => {
                    self.server.accept();
                    Some(format!("proved {login}"))
                }
                _ => None,
            }
        }

        fn answer_each(&mut self) {
            let reply = |name: &String| match name.as_str() {
                "late" => Reply::over_quota(),
                name => Reply::kept_as(&name),
            };
            let replies: Vec<Reply> = self.accepted.iter().map(reply).collect();
            assert!(self.server.replies_each());
            self.server.answer_each(&replies);
        }

        fn recipient(&mut self, recipient: &Recipient) {
            let Recipient::Address(address) = recipient else {
                return self.server.accept();
            };
            let ours = address.domain.as_str() == "black.test";
            match address.local.as_str() {
                _ if !ours && self.server.login().is_none() => {
                    self.server.reject(&Reply::relay_denied());
                }
                "nobody" => self.server.reject(&Reply::unknown_user()),
                "full" => self.server.reject(&Reply::over_quota()),
                name => {
                    self.accepted.push(name.to_owned());
                    self.server.accept();
                }
            }
        }

        /// What was heard and said since the last time, as lines of a dialogue.
        fn take(&mut self) -> String {
            let mut lines = std::mem::take(&mut self.heard);
            let said = std::mem::take(&mut self.said);
            let said = String::from_utf8(said).unwrap();
            assert!(said.is_empty() || said.ends_with("\r\n"), "{said}");
            for line in said.split_terminator("\r\n") {
                writeln!(lines, "S: {line}").unwrap();
            }
            lines
        }
    }

    fn mail_text(mail: Mail) -> String {
        let sender = mail.reverse_path.map(|a| a.to_string());
        let mut text = format!("mail <{}>", sender.unwrap_or_default());
        if let Some(size) = mail.size {
            write!(text, " size={size}").unwrap();
        }
        if mail.utf8 {
            text.push_str(" utf8");
        }
        if let Some(ret) = mail.ret {
            write!(text, " ret={}", ret.as_str()).unwrap();
        }
        if let Some(id) = mail.envelope_id {
            write!(text, " envid={id}").unwrap();
        }
        if let Some(submitter) = mail.submitter {
            write!(text, " auth={submitter}").unwrap();
        }
        if mail.require_tls {
            text.push_str(" requiretls");
        }
        if let Some(until) = mail.hold_until {
            write!(text, " hold until {until}").unwrap();
        }
        if let Some(by) = mail.deliver_by {
            write!(text, " by={by}").unwrap();
        }
        if let Some(priority) = mail.priority {
            write!(text, " priority={priority}").unwrap();
        }
        write!(text, " body={:?}", mail.body).unwrap();
        text
    }

    fn rcpt_text(rcpt: &Rcpt) -> String {
        let mut text = format!("rcpt <{}>", rcpt.recipient);
        if let Some(notify) = rcpt.notify {
            write!(text, " notify={notify}").unwrap();
        }
        if let Some(original) = &rcpt.original {
            write!(text, " orcpt={};{}", original.kind, original.address).unwrap();
        }
        text
    }

    /// Plays a dialogue and gives it back with what was really said.
    fn play(lines: &[Line], split: Split) -> String {
        let mut stage = Stage::new(lines);
        stage.run();
        let mut played = String::new();
        let mut pending = Vec::new();
        let mut greeted = false;
        for line in lines {
            // What was expected stands in groups, so the replies come where it stood first.
            if matches!(line, Line::Expected) {
                stage.input(&std::mem::take(&mut pending), split);
                played.push_str(&stage.take());
                greeted = true;
                continue;
            }
            match line {
                Line::Text(text) => writeln!(played, "{text}").unwrap(),
                Line::Set(name, value) => writeln!(played, "@ {name} {value}").unwrap(),
                Line::Client { text, raw } => {
                    assert!(greeted, "the greeting comes first");
                    let mark = if *raw { "C|" } else { "C:" };
                    writeln!(played, "{}", format!("{mark} {text}").trim_end()).unwrap();
                    pending.extend(unescape(text));
                    if !raw {
                        pending.extend_from_slice(b"\r\n");
                    }
                }
                Line::Tls => {
                    writeln!(played, "TLS").unwrap();
                    stage.input(&std::mem::take(&mut pending), split);
                    stage.server.tls_started(stage.now);
                }
                Line::Pass(seconds) => {
                    writeln!(played, "T: {seconds}").unwrap();
                    stage.input(&std::mem::take(&mut pending), split);
                    stage.now = stage.now + Duration::from_secs(*seconds);
                    stage.server.timeout(stage.now);
                    stage.run();
                }
                Line::Stop => {
                    writeln!(played, "STOP").unwrap();
                    stage.input(&std::mem::take(&mut pending), split);
                    stage.server.drain();
                    stage.run();
                }
                Line::Expected => {}
            }
        }
        stage.input(&pending, split);
        played.push_str(&stage.take());
        if stage.server.is_closed() {
            played.push_str("CLOSED\n");
        }
        played
    }

    fn dialogues() -> Vec<PathBuf> {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dialogs/smtp");
        let mut paths: Vec<PathBuf> = std::fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|e| e == "txt"))
            .collect();
        paths.sort();
        assert!(paths.len() >= 20, "the dialogues are gone");
        paths
    }

    #[test]
    fn dialogues_go_the_same_however_they_are_split() {
        let update = std::env::var_os("UPDATE_DIALOGS").is_some();
        for path in dialogues() {
            let text = std::fs::read_to_string(&path).unwrap();
            assert!(text.starts_with("# RFC "), "{path:?} names its RFC first");
            let lines = parse(&text);
            if update {
                std::fs::write(&path, play(&lines, Split::Whole)).unwrap();
                continue;
            }
            let splits = [Split::Whole, Split::Bytes];
            for split in splits.into_iter().chain((0..20).map(Split::Random)) {
                assert_eq!(play(&lines, split), text, "{path:?} {split:?}");
            }
        }
    }
}
