//! `demo --send`: one letter from Alice to Bob, by our own client, and what happened to it.

use std::time::{Duration, Instant};

use base::ports::{BoxStream, Clock as _, Connector as _, Entropy as _};
use base::{Domain, EmailAddress, MessageId, Secret, Timestamp};
use bytes::Bytes;
use proto::smtp::Client;
use proto::smtp::client::{
    Config, Credentials, Event, Failure, Outgoing, RecipientOutcome, Step, Timeouts, TlsPolicy,
};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use store::{JourneyEvent, Store};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{Demo, DemoError, Side, person_address};
use crate::control::rows::step_word;
use crate::outside::{OsEntropy, SystemClock, TcpConnector};
use crate::settings::{Protocol, TlsMode};

/// How long the whole journey may take.
const JOURNEY_MAX: Duration = Duration::from_secs(30);

/// How often Bob's mailbox is looked at, besides when it wakes us.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Sends the letter, waits for it, and tells the journey: lines to be printed.
///
/// # Errors
/// In words: where the journey ended.
pub async fn send(demo: &Demo) -> Result<Vec<String>, String> {
    let started = Instant::now();
    let started_at = SystemClock.now();
    let message_id = format!("{:016x}@{}", OsEntropy.next_u64(), demo.red.person.domain);
    let letter = letter(demo, &message_id);
    let told = |error: DemoError| error.to_string();
    let (from, to) = (
        person_address(&demo.red.person).map_err(told)?,
        person_address(&demo.black.person).map_err(told)?,
    );
    let session = Session::open(&demo.red).await?;
    let accepted = session.submit(from, to.clone(), letter.clone()).await?;
    let accepted_after = started.elapsed();
    let arrival = tokio::time::timeout(JOURNEY_MAX, arrive(demo, &to, &letter))
        .await
        .map_err(|_| format!("the letter did not arrive in {} s", JOURNEY_MAX.as_secs()))??;
    let arrived_after = started.elapsed();
    settled(demo, &message_id).await?;
    let mut lines = vec![format!("The journey of <{message_id}>:")];
    lines.extend(journey(demo, &message_id, started_at).await?);
    lines.push(String::new());
    lines.push(format!(
        "accepted after {} ms: {accepted}",
        accepted_after.as_millis()
    ));
    lines.push(format!(
        "in Bob's mailbox after {} ms, {} bytes, the letter's own bytes unchanged",
        arrived_after.as_millis(),
        arrival
    ));
    Ok(lines)
}

fn letter(demo: &Demo, message_id: &str) -> Bytes {
    let (alice, bob) = (&demo.red.person, &demo.black.person);
    let now = message::write::format_date(SystemClock.now());
    format!(
        "Date: {now}\r\nFrom: {} <{}>\r\nTo: {} <{}>\r\nSubject: Hello Bob\r\n\
         Message-ID: <{message_id}>\r\nMIME-Version: 1.0\r\n\
         Content-Type: text/plain; charset=utf-8\r\n\r\n\
         Hello Bob,\r\n\r\nthis letter went from {} to {} by SMTP.\r\n\r\nAlice\r\n",
        alice.name,
        alice.address(),
        bob.name,
        bob.address(),
        alice.host(),
        bob.host()
    )
    .into()
}

/// A session with the submission listener of a node.
struct Session {
    client: Client,
    stream: BoxStream,
    connector: TcpConnector,
    host: Domain,
}

impl Session {
    async fn open(side: &Side) -> Result<Self, String> {
        let host = Domain::parse(&side.person.host()).map_err(|error| error.to_string())?;
        let address = side
            .listener(Protocol::Submission, TlsMode::StartTls)
            .map_err(|error| error.to_string())?;
        let connector = TcpConnector::with_roots(roots(side)?);
        let stream = connector
            .connect(address, None)
            .await
            .map_err(|error| format!("{address}: {error}"))?;
        let config = Config {
            hostname: host.clone(),
            tls: TlsPolicy::Required,
            credentials: Some(Credentials {
                login: side.person.address(),
                password: Secret::new(side.password.as_str()),
                nonce: format!("{:016x}{:016x}", OsEntropy.next_u64(), OsEntropy.next_u64()),
                without_tls: false,
            }),
            lmtp: false,
            timeouts: Timeouts::default(),
        };
        let client = Client::new(config, false, SystemClock.now());
        Ok(Self {
            client,
            stream,
            connector,
            host,
        })
    }

    /// Hands one letter over; the reply to it.
    async fn submit(
        mut self,
        from: EmailAddress,
        to: EmailAddress,
        letter: Bytes,
    ) -> Result<String, String> {
        let mut outgoing = Some(Outgoing::plain(Some(from), vec![to], vec![letter]));
        let mut accepted = None;
        loop {
            while let Some(event) = self.client.poll() {
                match event {
                    Event::StartTls => self = self.start_tls().await?,
                    Event::Ready => match outgoing.take() {
                        Some(letter) => self.client.send(letter),
                        None => self.client.quit(),
                    },
                    Event::Done(outcomes) => {
                        accepted = Some(reply_of(outcomes)?);
                        self.client.quit();
                    }
                    Event::Failed(failure) => {
                        return accepted.ok_or_else(|| failure.to_string());
                    }
                }
            }
            self.transmit().await.map_err(|error| error.to_string())?;
            if self.client.is_closed() {
                return accepted.ok_or_else(|| "the session ended early".to_owned());
            }
            self.receive().await;
        }
    }

    async fn start_tls(mut self) -> Result<Self, String> {
        let (stream, _) = self
            .connector
            .start_tls(self.stream, &self.host, true)
            .await
            .map_err(|error| format!("{}: {error}", Failure::Disconnected(Step::StartTls)))?;
        self.stream = stream;
        self.client.tls_started(SystemClock.now());
        Ok(self)
    }

    async fn transmit(&mut self) -> std::io::Result<()> {
        while let Some(bytes) = self.client.transmit(SystemClock.now()) {
            self.stream.write_all(&bytes).await?;
        }
        self.stream.flush().await
    }

    async fn receive(&mut self) {
        let mut buffer = [0; 4_096];
        let now = SystemClock.now();
        let patience = self
            .client
            .deadline()
            .map_or(JOURNEY_MAX, |deadline| deadline.since(now));
        match tokio::time::timeout(patience, self.stream.read(&mut buffer)).await {
            Ok(Ok(length @ 1..)) => self.client.receive(&buffer[..length], SystemClock.now()),
            Ok(Ok(0) | Err(_)) => self.client.disconnected(),
            Err(_) => self.client.timeout(SystemClock.now()),
        }
    }
}

/// The node's own certificate is the only authority that is trusted here.
fn roots(side: &Side) -> Result<RootCertStore, String> {
    let file = side.node.certificate_file().ok_or("the node has no TLS")?;
    let certificate = CertificateDer::from_pem_file(file).map_err(|error| error.to_string())?;
    let mut roots = RootCertStore::empty();
    roots.add(certificate).map_err(|error| error.to_string())?;
    Ok(roots)
}

fn reply_of(outcomes: Vec<RecipientOutcome>) -> Result<String, String> {
    match outcomes.into_iter().next() {
        Some(RecipientOutcome::Accepted(reply)) => Ok(reply.to_string().trim_end().to_owned()),
        Some(RecipientOutcome::Refused(reply) | RecipientOutcome::Unfit(reply)) => {
            Err(format!("refused: {reply}"))
        }
        Some(RecipientOutcome::Unfinished(failure)) => Err(failure.to_string()),
        None => Err("no recipient was settled".to_owned()),
    }
}

/// Waits until the letter is in Bob's inbox, with its own bytes unchanged; its size there.
async fn arrive(demo: &Demo, to: &EmailAddress, letter: &Bytes) -> Result<u64, String> {
    let store = demo.black.node.store();
    let account = store
        .account_by_address(to)
        .await
        .map_err(|error| error.to_string())?
        .ok_or("Bob has no account")?;
    let mut watch = store.watch(account);
    loop {
        if let Some(size) = look(store, account, letter)
            .await
            .map_err(|e| e.to_string())?
        {
            return Ok(size);
        }
        // Woken or not, the mailbox is looked at again.
        let _ = tokio::time::timeout(LOOK_EVERY, watch.changed()).await;
    }
}

/// The size of the newest letter in the inbox, if it ends with these bytes.
async fn look(
    store: &Store,
    account: base::AccountId,
    letter: &Bytes,
) -> Result<Option<u64>, store::StoreError> {
    let Some(inbox) = store.mailbox(account, "INBOX").await? else {
        return Ok(None);
    };
    let from = base::Uid(inbox.status.uid_next.0.saturating_sub(5).max(1));
    for row in store
        .placements(account, inbox.id, from, 5)
        .await?
        .iter()
        .rev()
    {
        if ends_with(store, account, row.message, letter).await? {
            return Ok(Some(store.body(account, row.message).await?.size()));
        }
    }
    Ok(None)
}

async fn ends_with(
    store: &Store,
    account: base::AccountId,
    message: MessageId,
    letter: &Bytes,
) -> Result<bool, store::StoreError> {
    let body = store.body(account, message).await?;
    let length = letter.len() as u64;
    if body.size() < length {
        return Ok(false);
    }
    Ok(body.read(body.size() - length..body.size()).await? == *letter)
}

/// Waits until Alice's node has noted how it handed the letter over.
async fn settled(demo: &Demo, message_id: &str) -> Result<(), String> {
    let store = demo.red.node.store();
    let wait = async {
        loop {
            for letter in store.letters_by_message_id(message_id, 10).await? {
                let steps = store.journey(letter).await?;
                if steps
                    .iter()
                    .any(|event| event.note.step == store::Step::Transferred)
                {
                    return Ok(());
                }
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(JOURNEY_MAX, wait)
        .await
        .map_err(|_| "the hand-over was not noted".to_owned())?
        .map_err(|error: store::StoreError| error.to_string())
}

/// Both nodes' notes on the letter, in order of time.
async fn journey(
    demo: &Demo,
    message_id: &str,
    started_at: Timestamp,
) -> Result<Vec<String>, String> {
    let mut steps: Vec<(&'static str, JourneyEvent)> = Vec::new();
    for side in [&demo.red, &demo.black] {
        let store = side.node.store();
        let letters = store
            .letters_by_message_id(message_id, 10)
            .await
            .map_err(|error| error.to_string())?;
        for letter in letters {
            let events = store
                .journey(letter)
                .await
                .map_err(|error| error.to_string())?;
            steps.extend(events.into_iter().map(|event| (side.person.node, event)));
        }
    }
    steps.sort_by_key(|(_, event)| event.note.at);
    Ok(steps
        .into_iter()
        .map(|(node, event)| {
            let after = event.note.at.since(started_at).as_millis();
            let word = step_word(event.note.step);
            format!(
                "  {after:>5} ms  {node:<6} {word:<12} {}",
                event.note.detail
            )
        })
        .collect())
}
