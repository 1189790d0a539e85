//! Pulls folder after folder, in pages; a broken connection is made again, and goes on where it
//! was.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use base::ports::{BoxStream, Connector as _};
use base::{Domain, Secret, Timestamp};
use message::header::parse_date;

use super::client::{Answer, Client, Wrong, quoted};
use super::folder::{Fetched, Folder};
use super::parse::Value;
use crate::control::{Failure, FailureKind};
use crate::outside::TcpConnector;
use crate::outside::connect::to_host;
use crate::transfer::flags::Flags;
use crate::transfer::import::Intake;
use crate::transfer::names::Target;
use crate::transfer::source::{Incoming, Item, Known, Mark, Progress, Skipped, too_large};

/// Letters whose flags and sizes are asked for at once.
const PAGE: u32 = 500;
/// Letters, and bytes of them, that are fetched at once.
const GROUP: usize = 50;
const GROUP_BYTES: u64 = 4 << 20;
/// Folders of one account.
const FOLDERS_MAX: usize = 10_000;
/// How long connecting and the handshake may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// How often a connection is made again without a letter in between.
const TRIES_MAX: u32 = 5;

/// How the connection is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tls {
    /// From the first byte.
    Implicit,
    /// After STARTTLS.
    StartTls,
    /// Not at all.
    None,
}

/// The server to pull from.
#[derive(Clone, Debug)]
pub struct Server {
    /// Its name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How the connection is protected.
    pub tls: Tls,
    /// Any certificate will do, and a password may go without TLS.
    pub insecure: bool,
    /// The user's name there.
    pub user: String,
    /// The password.
    pub password: Secret,
}

impl Server {
    /// How the marks of this server's letters begin.
    #[must_use]
    pub fn source(&self) -> String {
        format!("imap:{}@{}:{}", self.user, self.host, self.port)
    }
}

/// What to pull.
pub struct Pull {
    /// From where.
    pub server: Server,
    /// Only these folders, if there are any.
    pub only: Vec<String>,
    /// Not these.
    pub without: Vec<String>,
    /// Everything goes below this mailbox.
    pub into: Option<String>,
    /// How far earlier imports came.
    pub known: Known,
    /// Bytes of the largest letter.
    pub bytes_max: u64,
}

/// Why pulling stopped.
enum Stop {
    /// Nobody wants more.
    Unwanted,
    /// The connection or the server.
    Wrong(Wrong),
}

impl From<Wrong> for Stop {
    fn from(wrong: Wrong) -> Self {
        Self::Wrong(wrong)
    }
}

/// The work with its state over several connections.
struct Pulling<'a> {
    pull: &'a mut Pull,
    intake: &'a Intake,
    folders: Option<Vec<Folder>>,
    /// The folder that is being pulled.
    at: usize,
    progress: Progress,
    /// Letters have come over this connection.
    has_moved: bool,
}

/// A letter of a page.
struct Listed {
    size: u64,
    flags: Flags,
    date: Option<Timestamp>,
}

impl Pull {
    /// Pulls everything.
    ///
    /// # Errors
    /// In words for the operator; what was given until then is given.
    pub async fn run(mut self, intake: Intake) -> Result<(), Failure> {
        let mut pulling = Pulling {
            pull: &mut self,
            intake: &intake,
            folders: None,
            at: 0,
            progress: Progress::default(),
            has_moved: false,
        };
        let mut tries = 0;
        loop {
            let wrong = match pulling.session().await {
                Ok(()) | Err(Stop::Unwanted) => return Ok(()),
                Err(Stop::Wrong(wrong)) => wrong,
            };
            if std::mem::take(&mut pulling.has_moved) {
                tries = 0;
            }
            tries += 1;
            // A server that was never reached, or that says no, will not be there in a second.
            let again = matches!(wrong, Wrong::Broken(_)) && pulling.folders.is_some();
            if !again || tries > TRIES_MAX {
                let server = &pulling.pull.server;
                return Err(Failure {
                    kind: match wrong {
                        Wrong::Broken(_) => FailureKind::Transient,
                        Wrong::Refused(_) => FailureKind::Other,
                    },
                    text: format!("{}:{}: {wrong}", server.host, server.port),
                });
            }
            tracing::info!(%wrong, tries, "connecting again");
            tokio::time::sleep(Duration::from_secs(1 << tries.min(5))).await;
        }
    }
}

impl Pulling<'_> {
    async fn session(&mut self) -> Result<(), Stop> {
        let mut client = self.connect().await?;
        let folders = match &self.folders {
            Some(folders) => folders.clone(),
            None => {
                let folders = self.list(&mut client).await?;
                self.folders = Some(folders.clone());
                folders
            }
        };
        for (number, folder) in folders.iter().enumerate().skip(self.at) {
            self.at = number;
            match self.folder(&mut client, folder).await {
                Err(Stop::Wrong(Wrong::Refused(reason))) => {
                    let name = format!("folder {}", folder.name);
                    self.give(Item::Skipped(Skipped { name, reason })).await?;
                }
                other => other?,
            }
        }
        self.at = folders.len();
        // All letters are here: a farewell that fails changes nothing.
        let _ = client.command("LOGOUT").await;
        Ok(())
    }

    async fn connect(&self) -> Result<Client, Wrong> {
        let server = &self.pull.server;
        let connected = tokio::time::timeout(CONNECT_TIMEOUT, open(server, self.pull.bytes_max));
        let mut client = connected
            .await
            .map_err(|_| Wrong::Broken(std::io::ErrorKind::TimedOut.into()))??;
        let password = server.password.expose_str().unwrap_or_default();
        client.log_in(&server.user, password).await?;
        Ok(client)
    }

    /// The folders that are wanted, INBOX first.
    async fn list(&mut self, client: &mut Client) -> Result<Vec<Folder>, Stop> {
        let mut folders = Vec::new();
        let keep = |folders: &mut Vec<Folder>, answer: &Answer| {
            if let Some(folder) = Folder::of(answer)
                && folders.len() < FOLDERS_MAX
            {
                folders.push(folder);
            }
        };
        let extended = client.has("SPECIAL-USE") && client.has("LIST-EXTENDED");
        if extended {
            // RFC 6154 §2: some servers name the uses only when they are asked to.
            let command = "LIST \"\" \"*\" RETURN (SPECIAL-USE)";
            match client
                .command_with(command, |answer| keep(&mut folders, &answer))
                .await
            {
                Err(Wrong::Refused(_)) => folders.clear(),
                other => other?,
            }
        }
        if folders.is_empty() {
            let each = |answer: Answer| keep(&mut folders, &answer);
            client.command_with("LIST \"\" \"*\"", each).await?;
        }
        let mut subscribed = Vec::new();
        let note = |answer: Answer| {
            if answer.is(0, "LSUB") {
                subscribed.extend(answer.values.get(3).and_then(Value::text));
            }
        };
        if client.command_with("LSUB \"\" \"*\"", note).await.is_err() {
            subscribed.clear();
        }
        let Pull {
            only,
            without,
            into,
            ..
        } = &*self.pull;
        let named = |names: &[String], folder: &Folder| {
            names
                .iter()
                .any(|name| *name == folder.name || *name == folder.wire_name)
        };
        folders
            .retain(|folder| (only.is_empty() || named(only, folder)) && !named(without, folder));
        for folder in &mut folders {
            if !subscribed.is_empty() {
                folder.target.subscribed = subscribed.contains(&folder.wire_name);
            }
            if let Some(into) = into {
                folder.target = match folder.name.eq_ignore_ascii_case("inbox") {
                    true => Target::named(into),
                    false => folder.target.clone().below(Some(into)),
                };
            }
        }
        folders.sort_by_key(|folder| {
            (
                !folder.name.eq_ignore_ascii_case("inbox"),
                folder.name.clone(),
            )
        });
        self.progress.total = count(client, &folders).await?;
        Ok(folders)
    }

    async fn folder(&mut self, client: &mut Client, folder: &Folder) -> Result<(), Stop> {
        self.give(Item::Mailbox(folder.target.clone())).await?;
        let mut opened = Opened::default();
        let command = format!("EXAMINE {}", quoted(&folder.wire_name)?);
        client
            .command_with(&command, |answer| opened.note(&answer))
            .await?;
        let source = format!("{}/{}", self.pull.server.source(), folder.name);
        let mut last = 0;
        if let Some((validity, uid)) = self
            .pull
            .known
            .get(&source)
            .and_then(|at| at.split_once(':'))
        {
            if validity.parse() != Ok(opened.uid_validity) {
                return Err(Stop::Wrong(Wrong::Refused(
                    "was made anew on the server since the last import (its UIDVALIDITY has \
                     changed); --again imports everything once more"
                        .to_owned(),
                )));
            }
            last = uid.parse().unwrap_or(0);
        }
        let target = Arc::new(folder.target.clone());
        opened.next = 1;
        while opened.next <= opened.exists {
            let page = self.page(client, &mut opened, last).await?;
            let mut letters = Letters {
                folder,
                target: &target,
                source: &source,
                opened: &mut opened,
            };
            self.letters(client, &mut letters, page).await?;
        }
        Ok(())
    }

    /// Lists the next page; letters that earlier imports took are left out.
    async fn page(
        &mut self,
        client: &mut Client,
        opened: &mut Opened,
        last: u32,
    ) -> Result<BTreeMap<u32, Listed>, Stop> {
        let first = opened.next;
        let end = opened.exists.min(first.saturating_add(PAGE - 1));
        opened.next = end.saturating_add(1);
        let mut page = BTreeMap::new();
        let mut passed = 0;
        let command = format!("FETCH {first}:{end} (UID FLAGS INTERNALDATE RFC822.SIZE)");
        let note = |answer: Answer| {
            opened.note(&answer);
            let Some(fetched) = Fetched::of(answer) else {
                return;
            };
            let (Some(uid), Some(size)) = (fetched.uid, fetched.size) else {
                return;
            };
            if uid <= last {
                passed += 1;
                return;
            }
            let mut flags = Flags::default();
            for flag in fetched.flags.iter().flatten() {
                flags.insert_imap(flag);
            }
            let date = fetched.date.as_deref().and_then(parse_date);
            let date = date.map(|date| date.timestamp);
            page.insert(uid, Listed { size, flags, date });
        };
        client.command_with(&command, note).await?;
        self.progress.done += passed;
        Ok(page)
    }

    /// Fetches and gives the letters of a page, in groups.
    async fn letters(
        &mut self,
        client: &mut Client,
        letters: &mut Letters<'_>,
        mut page: BTreeMap<u32, Listed>,
    ) -> Result<(), Stop> {
        while !page.is_empty() {
            let mut bytes = 0;
            let fitting = page.values().take_while(|listed| {
                bytes += listed.size;
                bytes <= GROUP_BYTES
            });
            let count = fitting.count().clamp(1, GROUP);
            let end = page.keys().nth(count).copied();
            let rest = end.map(|end| page.split_off(&end)).unwrap_or_default();
            let group = std::mem::replace(&mut page, rest);
            self.group(client, letters, group).await?;
        }
        Ok(())
    }

    async fn group(
        &mut self,
        client: &mut Client,
        letters: &mut Letters<'_>,
        mut group: BTreeMap<u32, Listed>,
    ) -> Result<(), Stop> {
        let limit = self.pull.bytes_max;
        let wanted: Vec<u32> = group
            .iter()
            .filter(|(_, listed)| listed.size <= limit)
            .map(|(uid, _)| *uid)
            .collect();
        let mut bodies = BTreeMap::new();
        match letters.fetch(client, &wanted, &mut bodies).await {
            Err(Wrong::Refused(_)) if wanted.len() > 1 => {
                // One of them is broken on the server: which one shows when each is asked for alone.
                bodies.clear();
                for uid in wanted {
                    match letters.fetch(client, &[uid], &mut bodies).await {
                        Err(Wrong::Refused(reason)) => {
                            bodies.insert(uid, Err(reason));
                        }
                        other => other?,
                    }
                }
            }
            Err(Wrong::Refused(reason)) => {
                bodies.extend(wanted.first().map(|uid| (*uid, Err(reason))));
            }
            other => other?,
        }
        while let Some((uid, listed)) = group.pop_first() {
            self.progress.done += 1;
            let body = match bodies.remove(&uid) {
                Some(body) => body,
                None if listed.size > limit => Err(too_large(limit)),
                // It was removed there meanwhile.
                None => continue,
            };
            let item = letters.item(uid, listed, body);
            let position = format!("{}:{uid}", letters.opened.uid_validity);
            self.give(item).await?;
            self.pull.known.insert(letters.source.to_owned(), position);
            self.has_moved = true;
        }
        Ok(())
    }

    async fn give(&self, item: Item) -> Result<(), Stop> {
        match self.intake.give(item, self.progress).await {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(Stop::Unwanted),
        }
    }
}

/// What is known of the folder that is open.
#[derive(Default)]
struct Opened {
    exists: u32,
    uid_validity: u32,
    /// The number of the next letter that is listed.
    next: u32,
}

impl Opened {
    /// Takes in what a server says at any time.
    fn note(&mut self, answer: &Answer) {
        let number = answer.values.first().and_then(Value::number);
        let number = number.and_then(|number| u32::try_from(number).ok());
        if let Some(number) = number {
            if answer.is(1, "EXISTS") {
                self.exists = number;
            } else if answer.is(1, "EXPUNGE") {
                self.exists = self.exists.saturating_sub(1);
                if number < self.next {
                    self.next -= 1;
                }
            }
        } else if answer.is(0, "OK")
            && let Some(code) = answer.values.get(1).and_then(Value::text)
            && let Some(validity) = code.to_ascii_uppercase().strip_prefix("[UIDVALIDITY ")
        {
            self.uid_validity = validity.trim_end_matches(']').trim().parse().unwrap_or(0);
        }
    }
}

/// The letters of a folder.
struct Letters<'a> {
    folder: &'a Folder,
    target: &'a Arc<Target>,
    source: &'a str,
    opened: &'a mut Opened,
}

impl Letters<'_> {
    async fn fetch(
        &mut self,
        client: &mut Client,
        uids: &[u32],
        bodies: &mut BTreeMap<u32, Result<Vec<u8>, String>>,
    ) -> Result<(), Wrong> {
        if uids.is_empty() {
            return Ok(());
        }
        let set: Vec<String> = uids.iter().map(u32::to_string).collect();
        let tag = client
            .send(&format!("UID FETCH {} (UID BODY.PEEK[])", set.join(",")))
            .await?;
        while let Some(answer) = client.next(&tag).await? {
            self.opened.note(&answer);
            let is_cut = answer.is_cut;
            let Some(Fetched {
                uid: Some(uid),
                body,
                ..
            }) = Fetched::of(answer)
            else {
                continue;
            };
            let Some(body) = body.filter(|_| uids.contains(&uid)) else {
                continue;
            };
            let body = if is_cut {
                Err("is larger than the server said".to_owned())
            } else {
                Ok(body)
            };
            bodies.insert(uid, body);
        }
        Ok(())
    }

    fn item(&self, uid: u32, listed: Listed, body: Result<Vec<u8>, String>) -> Item {
        let name = format!("UID {uid} of {}", self.folder.name);
        match body {
            Err(reason) => Item::Skipped(Skipped { name, reason }),
            Ok(bytes) => Item::Letter(Box::new(Incoming {
                name,
                target: Arc::clone(self.target),
                flags: listed.flags,
                received_at: listed.date,
                bytes: bytes.into(),
                mark: Mark {
                    source: self.source.to_owned(),
                    position: format!("{}:{uid}", self.opened.uid_validity),
                },
            })),
        }
    }
}

/// How many letters the folders hold; only for the bar, so that a refusal is no error.
async fn count(client: &mut Client, folders: &[Folder]) -> Result<u64, Wrong> {
    let mut total = 0;
    for folder in folders {
        let Ok(name) = quoted(&folder.wire_name) else {
            continue;
        };
        let note = |answer: Answer| {
            if answer.is(0, "STATUS") {
                let items = answer.values.get(2).map(Value::list).unwrap_or_default();
                total += items.get(1).and_then(Value::number).unwrap_or(0);
            }
        };
        match client
            .command_with(&format!("STATUS {name} (MESSAGES)"), note)
            .await
        {
            Err(wrong @ Wrong::Broken(_)) => return Err(wrong),
            Ok(()) | Err(Wrong::Refused(_)) => {}
        }
    }
    Ok(total)
}

/// Connects, with TLS as it is wanted.
async fn open(server: &Server, bytes_max: u64) -> Result<Client, Wrong> {
    let (stream, address) = to_host(&server.host, server.port).await?;
    if server.tls == Tls::None {
        if !server.insecure && !address.ip().is_loopback() {
            return Err(Wrong::Refused(
                "a password goes without TLS only to this machine (--insecure lets it)".to_owned(),
            ));
        }
        return Client::new(stream, false, bytes_max).await;
    }
    if server.tls == Tls::Implicit {
        let stream = secure(server, stream).await?;
        return Client::new(stream, false, bytes_max).await;
    }
    let client = Client::new(stream, false, bytes_max).await?;
    let stream = secure(server, client.start_tls().await?).await?;
    Client::new(stream, true, bytes_max).await
}

async fn secure(server: &Server, stream: BoxStream) -> Result<BoxStream, Wrong> {
    let text = match server.host.parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) => format!("[{address}]"),
        Ok(IpAddr::V6(address)) => format!("[IPv6:{address}]"),
        Err(_) => server.host.clone(),
    };
    let name = Domain::parse(&text)
        .map_err(|error| Wrong::Refused(format!("{} is no host name: {error}", server.host)))?;
    let connector = TcpConnector::default();
    let secured = connector.start_tls(stream, &name, !server.insecure).await;
    secured.map(|(stream, _)| stream).map_err(|error| {
        Wrong::Broken(std::io::Error::new(
            error.kind(),
            format!("TLS: {error} (--insecure takes any certificate)"),
        ))
    })
}
