//! Lists over a real store: letters are taken from the queue as its worker does it.

use std::sync::Arc;
use std::time::Duration;

use base::EmailAddress;
use base::ports::Clock as _;
use bytes::Bytes;
use store::{
    AddressNews, DsnReturn, Handling, ListOptions, MemberState, Notify, Outcome, QueueFilter,
    QueueRecipient, Resolved, Settlement, Submission, Target,
};

use super::*;
use crate::testing::{self, Counting, SetClock};

struct World {
    store: Store,
    clock: Arc<SetClock>,
    entropy: Counting,
    hostname: Domain,
    _dir: tempfile::TempDir,
}

fn address(text: &str) -> EmailAddress {
    EmailAddress::parse(text).unwrap()
}

const LETTER: &str =
    "From: Ada <ada@far.test>\r\nTo: dev@red.test\r\nSubject: Hello\r\n\r\nwords\r\n";

impl World {
    async fn new(options: ListOptions) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(SetClock::new(Timestamp::from_secs(1_800_000_000)));
        let store = testing::store(dir.path(), clock.clone()).await;
        store
            .add_domain(&Domain::parse("red.test").unwrap())
            .await
            .unwrap();
        let owner = [address("olga@far.test")];
        store
            .add_list(&address("dev@red.test"), &owner, options)
            .await
            .unwrap();
        let members = ["ada@far.test", "bob@far.test", "eve@else.test"].map(address);
        store
            .subscribe(&address("dev@red.test"), &members)
            .await
            .unwrap();
        Self {
            store,
            clock,
            entropy: Counting::default(),
            hostname: Domain::parse("mx.red.test").unwrap(),
            _dir: dir,
        }
    }

    fn context(&self) -> Context<'_> {
        let now = self.clock.now();
        Context {
            store: &self.store,
            entropy: &self.entropy,
            hostname: &self.hostname,
            url: "https://lists.red.test",
            now,
            expires_at: now + Duration::from_secs(86_400),
        }
    }

    /// Queues a letter for an address of ours.
    async fn queue(&self, from: Option<&str>, to: &str, letter: &str) {
        let now = self.clock.now();
        let letter = self
            .store
            .letter(Bytes::copy_from_slice(letter.as_bytes()))
            .await
            .unwrap();
        let submission = Submission {
            letter,
            head: Bytes::from_static(b"Received: here\r\n"),
            account: None,
            reverse_path: from.map(address),
            recipients: vec![QueueRecipient {
                address: address(to),
                original: None,
                notify: Notify::DEFAULT,
            }],
            envelope_id: None,
            dsn_return: DsnReturn::Unasked,
            needs_utf8: false,
            handling: Handling::default(),
            received_at: now,
            hold_until: None,
            expires_at: now + Duration::from_secs(86_400),
            sent_copy: None,
            notes: Vec::new(),
        };
        self.store.submit(submission).await.unwrap();
    }

    /// Claims what is due for a domain.
    async fn claims(&self, domain: &str) -> Vec<Claim> {
        let wanted = [(Domain::parse(domain).unwrap(), 100)];
        let lease = Duration::from_secs(60);
        self.store
            .claim(self.clock.now(), lease, &wanted)
            .await
            .unwrap()
    }

    /// Takes the one letter that is due for the list.
    async fn take(&self) -> (Claim, Taken) {
        let claim = self.claims("red.test").await.remove(0);
        let to = &claim.recipients[0].address;
        let Resolved::Targets(targets) = self.store.resolve(to).await.unwrap() else {
            panic!("{to} leads nowhere");
        };
        let [Target::List(list)] = &targets[..] else {
            panic!("{to} is no list");
        };
        let taken = take(&self.context(), &claim, &claim.recipients[0], list)
            .await
            .unwrap();
        if !matches!(taken.fate, Fate::Kept) {
            self.settle(&claim, &taken).await;
        }
        (claim, taken)
    }

    async fn settle(&self, claim: &Claim, taken: &Taken) {
        let settlement = Settlement {
            claim: claim.reference,
            outcomes: vec![(claim.recipients[0].id, Outcome::Done)],
            local: Vec::new(),
            forwards: Vec::new(),
            reports: taken.letters.clone(),
            notes: Vec::new(),
            addresses: AddressNews::default(),
        };
        assert!(self.store.settle(settlement).await.unwrap());
    }

    fn advance(&self, span: Duration) {
        self.clock.set(self.clock.now() + span);
    }

    /// What a letter for the list became.
    async fn post(&self, from: &str, letter: &str) -> Fate {
        self.queue(Some(from), "dev@red.test", letter).await;
        self.take().await.1.fate
    }

    async fn member(&self, text: &str) -> Option<store::ListMember> {
        self.store
            .list_member(&address("dev@red.test"), &address(text))
            .await
            .unwrap()
    }
}

fn told(fate: &Fate) -> &str {
    match fate {
        Fate::Done(told) | Fate::HandedOut(told) => told,
        Fate::Refused(failure) => panic!("refused: {failure}"),
        Fate::Kept => "kept",
    }
}

#[tokio::test]
async fn each_member_gets_the_letter_with_a_way_back_of_its_own() {
    let world = World::new(ListOptions::default()).await;
    let fate = world.post("ada@far.test", LETTER).await;
    assert_eq!(told(&fate), "handed out to 3 members of dev@red.test");
    let mut claims = world.claims("far.test").await;
    claims.extend(world.claims("else.test").await);
    let mut paths = Vec::new();
    let mut bodies = Vec::new();
    for claim in &claims {
        let path = claim.reverse_path.as_ref().unwrap().to_string();
        assert!(path.starts_with("dev-bounces+b"), "{path}");
        let head = String::from_utf8(claim.head.to_vec()).unwrap();
        for expected in [
            "List-Id: <dev.red.test>\r\n",
            "List-Help: <mailto:dev-request@red.test?subject=help>\r\n",
            "List-Post: <mailto:dev@red.test>\r\n",
            "List-Owner: <mailto:dev-owner@red.test>\r\n",
            "List-Subscribe: <mailto:dev-subscribe@red.test>\r\n",
            "<https://lists.red.test/lists/unsubscribe/dev@red.test/u",
            "<mailto:dev-unsubscribe+u",
            "List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n",
            "Precedence: list\r\nReceived: here\r\n",
        ] {
            assert!(head.contains(expected), "{expected} in {head}");
        }
        assert_eq!(list_of(claim).unwrap().as_str(), "red.test");
        paths.push(path);
        let letter = world.store.claimed_letter(claim).await.unwrap();
        // The author's domain asks for nothing that was found: here nothing was checked.
        assert!(letter.bytes().ends_with(b"\r\n\r\nwords\r\n"));
        bodies.push(*letter.hash());
    }
    paths.sort();
    paths.dedup();
    assert_eq!(paths.len(), 3);
    bodies.dedup();
    assert_eq!(bodies.len(), 1, "one letter is stored for all");
}

/// Ten thousand members in portions; a crash between two of them repeats and loses nobody.
#[tokio::test]
async fn a_large_list_is_handed_out_once_also_after_a_crash() {
    let world = World::new(ListOptions::default()).await;
    let list = address("dev@red.test");
    let many: Vec<EmailAddress> = (0..1_997)
        .map(|n| address(&format!("m{n}@far.test")))
        .collect();
    world.store.subscribe(&list, &many).await.unwrap();
    world
        .queue(Some("ada@far.test"), "dev@red.test", LETTER)
        .await;
    let claim = world.claims("red.test").await.remove(0);
    let recipient = &claim.recipients[0];
    // A portion, and then the node is gone: its claim is given back.
    let letter = world.store.claimed_letter(&claim).await.unwrap();
    let some = world.store.list_members(&list, 0, 250).await.unwrap();
    let portion = store::Portion {
        claim: claim.reference,
        recipient: recipient.id,
        list: list.clone(),
        after: 0,
        up_to: some[249].id,
        letter: letter.clone(),
        members: some
            .iter()
            .map(|member| store::MemberLetter {
                address: member.address.clone(),
                reverse_path: list.clone(),
                head: Bytes::new(),
            })
            .collect(),
        needs_utf8: false,
        expires_at: world.context().expires_at,
    };
    assert_eq!(world.store.hand_out(portion).await.unwrap(), Some(250));
    let to = ListAddress::new(&list, ListPart::Post, "");
    let taken = take(&world.context(), &claim, recipient, &to)
        .await
        .unwrap();
    assert_eq!(
        told(&taken.fate),
        "handed out to 2000 members of dev@red.test"
    );
    let again = take(&world.context(), &claim, recipient, &to)
        .await
        .unwrap();
    assert_eq!(
        told(&again.fate),
        "handed out to 2000 members of dev@red.test"
    );
    let all = QueueFilter {
        limit: 5_000,
        ..QueueFilter::default()
    };
    // And the letter that the list got.
    assert_eq!(world.store.queue_list(&all).await.unwrap().len(), 2_001);
}

#[tokio::test]
async fn strangers_are_refused_or_wait_for_an_owner() {
    let stranger = LETTER.replace("ada@far", "mallory@far");
    let world = World::new(ListOptions::default()).await;
    let fate = world.post("mallory@far.test", &stranger).await;
    assert!(
        matches!(fate, Fate::Refused(ref failure) if failure.permanent),
        "{fate:?}"
    );
    let options = ListOptions {
        holds_others: true,
        ..ListOptions::default()
    };
    let world = World::new(options).await;
    let fate = world.post("mallory@far.test", &stranger).await;
    assert_eq!(told(&fate), "kept");
    let held = world.store.held_for_lists(None).await.unwrap();
    assert_eq!(
        (held.len(), held[0].author.as_str()),
        (1, "mallory@far.test")
    );
    assert!(world.claims("red.test").await.is_empty(), "it waits");
    // The owner answers the notice.
    let notice = world.claims("far.test").await.remove(0);
    assert_eq!(notice.recipients[0].address, address("olga@far.test"));
    let text = world.store.claimed_letter(&notice).await.unwrap();
    let message = message::Message::parse(text.bytes());
    let reply_to = message.field("Reply-To").unwrap().addresses();
    let approve = reply_to.mailboxes().next().unwrap().to_address().unwrap();
    world
        .queue(Some("olga@far.test"), &approve.to_string(), LETTER)
        .await;
    let (_, taken) = world.take().await;
    let word = format!("letter {} is handed out on an owner's word", held[0].letter);
    assert_eq!(told(&taken.fate), word);
    let claims = world.claims("red.test").await;
    let claim = claims
        .iter()
        .find(|claim| claim.reference.letter == held[0].letter);
    let claim = claim.unwrap();
    let to = ListAddress::new(&address("dev@red.test"), ListPart::Post, "");
    let taken = take(&world.context(), claim, &claim.recipients[0], &to)
        .await
        .unwrap();
    assert_eq!(told(&taken.fate), "handed out to 3 members of dev@red.test");
}

#[tokio::test]
async fn joining_and_leaving_by_mail_ask_back() {
    let world = World::new(ListOptions::default()).await;
    let zoe = "From: zoe@far.test\r\nSubject: x\r\n\r\nplease\r\n";
    for (to, question, done) in [
        (
            "dev-subscribe@red.test",
            "zoe@far.test is asked whether to join",
            "has joined",
        ),
        (
            "dev-unsubscribe@red.test",
            "zoe@far.test is asked whether to leave",
            "has left",
        ),
    ] {
        world.queue(Some("zoe@far.test"), to, zoe).await;
        let (_, taken) = world.take().await;
        assert_eq!(told(&taken.fate), question);
        let text = taken.letters[0].letter.bytes();
        let message = message::Message::parse(text);
        assert!(message.field("Auto-Submitted").is_some());
        let reply_to = message.field("Reply-To").unwrap().addresses();
        let confirm = reply_to.mailboxes().next().unwrap().to_address().unwrap();
        // Nobody is asked again and again, and a guess is nothing.
        world.queue(Some("zoe@far.test"), to, zoe).await;
        let (_, taken) = world.take().await;
        assert_eq!(told(&taken.fate), "zoe@far.test was asked just now");
        world
            .queue(Some("zoe@far.test"), "dev-confirm+00ff@red.test", zoe)
            .await;
        let (_, taken) = world.take().await;
        assert_eq!(told(&taken.fate), "nothing done: no such question is open");
        world
            .queue(Some("zoe@far.test"), &confirm.to_string(), zoe)
            .await;
        let (_, taken) = world.take().await;
        assert_eq!(told(&taken.fate), format!("zoe@far.test {done}"));
    }
    let robot = format!("Auto-Submitted: auto-generated\r\n{zoe}");
    world
        .queue(Some("zoe@far.test"), "dev-subscribe@red.test", &robot)
        .await;
    let (_, taken) = world.take().await;
    assert_eq!(
        (told(&taken.fate), taken.letters.len()),
        ("not answered: a program wrote it", 0)
    );
    world
        .queue(Some("zoe@far.test"), "dev-request@red.test", zoe)
        .await;
    let (_, taken) = world.take().await;
    assert_eq!(told(&taken.fate), "zoe@far.test is answered: Help");
    world
        .queue(Some("zoe@far.test"), "dev-request@red.test", zoe)
        .await;
    let (_, taken) = world.take().await;
    assert_eq!(
        (told(&taken.fate), taken.letters.len()),
        ("zoe@far.test was answered just now", 0)
    );
    let two = zoe.replace("zoe@far.test", "zoe@far.test, eve@far.test");
    world
        .queue(Some("zoe@far.test"), "dev-request@red.test", &two)
        .await;
    let (_, taken) = world.take().await;
    assert_eq!(
        (told(&taken.fate), taken.letters.len()),
        ("not answered: its author could be somebody else", 0)
    );
}

/// A holiday's answer to a question is no answer, and neither is a report.
#[tokio::test]
async fn programs_do_not_confirm() {
    let world = World::new(ListOptions::default()).await;
    let [list, zoe] = ["dev@red.test", "zoe@far.test"].map(address);
    let join = store::ListQuestion::Join;
    let asked = world.store.ask_about_list(&list, &zoe, join, "12ab");
    assert_eq!(asked.await, Ok(true));
    let plain = "From: zoe@far.test\r\n\r\nyes\r\n";
    let holiday = format!("Auto-Submitted: auto-replied\r\n{plain}");
    let bulk = format!("Precedence: bulk\r\n{plain}");
    let sender = Some("zoe@far.test");
    let expected = "nothing done: a program wrote it";
    for (from, letter, expected) in [
        (sender, &holiday[..], expected),
        (sender, &bulk, expected),
        (None, plain, expected),
        (sender, plain, "zoe@far.test has joined"),
    ] {
        world.queue(from, "dev-confirm+12ab@red.test", letter).await;
        let (_, taken) = world.take().await;
        assert_eq!(told(&taken.fate), expected, "{letter}");
    }
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one story, step by step")]
async fn a_member_whose_letters_come_back_is_suspended_and_probed() {
    let options = ListOptions {
        bounces_max: 2,
        ..ListOptions::default()
    };
    let world = World::new(options).await;
    let list = address("dev@red.test");
    let tags = world.store.list_tags().await.unwrap();
    let bob = world.member("bob@far.test").await.unwrap().id;
    let at = |purpose| {
        let tag = tags.make(purpose, &list, bob);
        ListAddress::new(&list, ListPart::Bounces, tag)
            .to_address()
            .unwrap()
            .to_string()
    };
    let report = "From: MAILER-DAEMON@far.test\r\nSubject: failed\r\n\r\nno such user\r\n";
    let day = Duration::from_secs(86_400);
    let mut said = Vec::new();
    for _ in 0..2 {
        for _ in 0..2 {
            world.queue(None, &at(TagUse::Bounce), report).await;
            let (_, taken) = world.take().await;
            said.push(told(&taken.fate).to_owned());
        }
        world.advance(day);
    }
    assert_eq!(
        said,
        [
            "counted for bob@far.test: 1",
            "not counted for bob@far.test",
            "bob@far.test is suspended: a plain report: failed",
            "not counted for bob@far.test"
        ]
    );
    assert_eq!(
        world.member("bob@far.test").await.unwrap().state,
        MemberState::Probed
    );
    let probe = world.claims("far.test").await.remove(0);
    assert_eq!(
        probe.reverse_path.as_ref().unwrap().to_string(),
        at(TagUse::Probe)
    );
    assert!(list_of(&probe).is_some(), "it is signed");
    assert!(probe.recipients[0].notify.failure, "it comes back");
    // It does not come back: in a week all is well.
    assert_eq!(world.store.tend_lists().await.unwrap(), 0);
    world.advance(day * 7);
    assert_eq!(world.store.tend_lists().await.unwrap(), 1);
    assert_eq!(
        world.member("bob@far.test").await.unwrap().state,
        MemberState::Active
    );
    for _ in 0..2 {
        world.queue(None, &at(TagUse::Bounce), report).await;
        world.take().await;
        world.advance(day);
    }
    world.queue(None, &at(TagUse::Probe), report).await;
    let (_, taken) = world.take().await;
    assert_eq!(
        told(&taken.fate),
        "the probe came back: the member stays suspended"
    );
    world.advance(day * 7);
    assert_eq!(world.store.tend_lists().await.unwrap(), 0);
    assert_eq!(
        world.member("bob@far.test").await.unwrap().state,
        MemberState::Suspended
    );
    let fate = world.post("ada@far.test", LETTER).await;
    assert_eq!(told(&fate), "handed out to 2 members of dev@red.test");
}

#[tokio::test]
async fn a_link_takes_its_member_off_and_nobody_else() {
    let world = World::new(ListOptions::default()).await;
    let list = address("dev@red.test");
    let tags = world.store.list_tags().await.unwrap();
    let eve = world.member("eve@else.test").await.unwrap().id;
    let tag = tags.make(TagUse::Unsubscribe, &list, eve);
    let wrong = tags.make(TagUse::Bounce, &list, eve);
    assert_eq!(
        unsubscribe_by_link(&world.store, &list, &wrong).await,
        Ok(None)
    );
    assert_eq!(is_link(&world.store, &list, &tag).await, Ok(true));
    assert!(world.member("eve@else.test").await.is_some());
    for expected in [Some(true), Some(false)] {
        assert_eq!(
            unsubscribe_by_link(&world.store, &list, &tag).await,
            Ok(expected)
        );
    }
    assert!(world.member("eve@else.test").await.is_none());
    assert!(world.member("bob@far.test").await.is_some());
}

/// From outside only the one author counts about whom something was found.
#[tokio::test]
async fn nobody_is_a_member_by_a_second_name() {
    let world = World::new(ListOptions::default()).await;
    let list = world.store.list(&address("dev@red.test")).await.unwrap();
    let list = list.unwrap();
    let ada = "ada@far.test";
    let pass = "spf=pass smtp.mailfrom=ada@far.test; dmarc=pass header.from=evil.test";
    for (from, sender, results, of_the_list, believed) in [
        (ada, "x@evil.test", "dmarc=pass", true, true),
        (ada, ada, "dmarc=fail", true, false),
        ("x@evil.test", ada, pass, true, true),
        ("x@evil.test", ada, "dmarc=pass", false, true),
        (
            "x@evil.test, ada@far.test",
            "x@evil.test",
            "dmarc=pass",
            false,
            false,
        ),
        (
            "x@evil.test\r\nFrom: ada@far.test",
            "x@evil.test",
            "dmarc=pass",
            false,
            false,
        ),
    ] {
        let facts = Facts::read(format!("From: {from}\r\n\r\n").as_bytes());
        let head = format!("Authentication-Results: mx.red.test; {results}\r\n");
        let sender = address(sender);
        let from_outside = (None, Some(&sender));
        let found = standing(&world.store, &list, &facts, from_outside, head.as_bytes());
        let found = found.await.unwrap();
        assert_eq!(
            (found.is_member, found.believed),
            (of_the_list, believed),
            "{from} {results}"
        );
    }
}

/// Lists that are on each other hand a letter out once.
#[tokio::test]
async fn lists_on_each_other_do_not_go_round_in_circles() {
    let world = World::new(ListOptions::default()).await;
    let [dev, other, ada] = ["dev@red.test", "other@red.test", "ada@far.test"].map(address);
    let owner = [address("olga@far.test")];
    let options = ListOptions::default();
    world.store.add_list(&other, &owner, options).await.unwrap();
    let people = [ada, dev.clone()];
    world.store.subscribe(&other, &people).await.unwrap();
    world.store.subscribe(&dev, &[other]).await.unwrap();
    let fate = world.post("ada@far.test", LETTER).await;
    assert_eq!(told(&fate), "handed out to 4 members of dev@red.test");
    let (claim, taken) = world.take().await;
    assert_eq!(claim.recipients[0].address, address("other@red.test"));
    assert_eq!(
        told(&taken.fate),
        "not handed out: a program wrote the letter"
    );
    assert!(world.claims("red.test").await.is_empty());
    let facts = Facts::with_head(&claim.head, LETTER.as_bytes());
    assert_eq!(facts.list_ids, ["dev.red.test"]);
}

/// What waits for an owner does not grow old meanwhile, and is let go of when the list is removed.
#[tokio::test]
async fn a_letter_that_waited_is_not_lost() {
    let options = ListOptions {
        holds_others: true,
        ..ListOptions::default()
    };
    let world = World::new(options).await;
    let dev = address("dev@red.test");
    let stranger = LETTER.replace("ada@far", "mallory@far");
    for _ in 0..2 {
        let fate = world.post("mallory@far.test", &stranger).await;
        assert_eq!(told(&fate), "kept");
    }
    let held = world.store.held_for_lists(None).await.unwrap();
    world.advance(Duration::from_secs(10 * 86_400));
    let approve = store::Decision::Approve;
    let decided = world.store.decide_held(&dev, held[0].letter, approve);
    assert_eq!(decided.await, Ok(true));
    let claim = world.claims("red.test").await.remove(0);
    assert_eq!(claim.reference.letter, held[0].letter);
    assert!(claim.expires_at > world.clock.now());
    world.store.remove_list(&dev).await.unwrap();
    let claim = world.claims("red.test").await.remove(0);
    assert_eq!(claim.reference.letter, held[1].letter);
    let resolved = world.store.resolve(&dev).await.unwrap();
    assert_eq!(resolved, Resolved::Unknown);
}
